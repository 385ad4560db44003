"""The steps: one stpipe Step per module, with its spec, its reference files and one call into calibration."""

from refstis.stages.add_hot_columns import AddHotColumnsStep
from refstis.stages.average import AverageStep
from refstis.stages.biascorr import BiasCorrStep
from refstis.stages.blend_baseline import BlendBaselineStep
from refstis.stages.blend_superbias import BlendSuperbiasStep
from refstis.stages.blevcorr import BlevCorrStep
from refstis.stages.clean_overscan import CleanOverscanStep
from refstis.stages.crcorr import CrCorrStep
from refstis.stages.daily import DailyStep
from refstis.stages.darkcorr import DarkCorrStep
from refstis.stages.dqicorr import DqiCorrStep
from refstis.stages.fit_rates import FitRatesStep
from refstis.stages.flag_defects import FlagDefectsStep
from refstis.stages.flag_hot_bias import FlagHotBiasStep
from refstis.stages.flag_hot_dark import FlagHotDarkStep
from refstis.stages.flag_hot_rates import FlagHotRatesStep
from refstis.stages.normalize import NormalizeStep
from refstis.stages.refaver import RefaverStep
from refstis.stages.reference_header import ReferenceHeaderStep
from refstis.stages.replace_hot_columns import ReplaceHotColumnsStep
from refstis.stages.replace_hot_pixels import ReplaceHotPixelsStep
from refstis.stages.statflag import StatFlagStep
from refstis.stages.superdark import SuperdarkStep
from refstis.stages.tempcorr import TempCorrStep

__all__ = [
    "AddHotColumnsStep",
    "AverageStep",
    "BiasCorrStep",
    "BlendBaselineStep",
    "BlendSuperbiasStep",
    "BlevCorrStep",
    "CleanOverscanStep",
    "CrCorrStep",
    "DailyStep",
    "DarkCorrStep",
    "DqiCorrStep",
    "FitRatesStep",
    "FlagDefectsStep",
    "FlagHotBiasStep",
    "FlagHotDarkStep",
    "FlagHotRatesStep",
    "NormalizeStep",
    "RefaverStep",
    "ReferenceHeaderStep",
    "ReplaceHotColumnsStep",
    "ReplaceHotPixelsStep",
    "StatFlagStep",
    "SuperdarkStep",
    "TempCorrStep",
]
