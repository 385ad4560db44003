"""Pipelines of superdarks."""

from __future__ import annotations

import logging
from typing import ClassVar

from refstis.pipelines.base import RefstisPipeline
from refstis.stages import (
    BiasCorrStep,
    BlendBaselineStep,
    BlevCorrStep,
    CleanOverscanStep,
    CrCorrStep,
    DailyStep,
    DqiCorrStep,
    FitRatesStep,
    FlagHotDarkStep,
    FlagHotRatesStep,
    NormalizeStep,
    ReferenceHeaderStep,
    SuperdarkStep,
    TempCorrStep,
)

__all__ = ["BaseDarkPipeline", "WeekDarkPipeline"]

logger = logging.getLogger(__name__)


class _DarkPipeline(RefstisPipeline):
    """What both superdarks begin with: darks without bias, at the reference temperature, combined to a rate."""

    exposure_role = "dark"

    def rate(self, darks):
        """Combine darks.

        Parameters
        ----------
        darks : sequence of Exposure
            The darks, without bias and at the reference temperature.

        Returns
        -------
        Exposure
            Their rate (e-/s).
        """
        if not self.fit_rates.skip:
            return self.fit_rates.run(darks)
        return self.normalize.run(self.crcorr.run(darks))

    def calibrated(self, library):
        """Calibrate darks one by one.

        Parameters
        ----------
        library : ExposureLibrary
            The darks, raw or bias-subtracted.

        Returns
        -------
        list of Exposure
            Without bias and at the reference temperature (DN).
        """
        if self.clean_overscan.override_biasfile is None:
            # both need the superbias
            self.clean_overscan.override_biasfile = self.biascorr.override_biasfile
        return [self._calibrated(dark) for dark in self.clean_overscan.run(list(library))]

    def _calibrated(self, dark):
        if dark.done("BLEVCORR") or dark.done("BIASCORR"):
            logger.info("%s: BLEVCORR or BIASCORR is COMPLETE, the bias is taken as subtracted.", dark.name)
            return self.tempcorr.run(dark)
        with dark.held():
            return self.run_each(("dqicorr", "blevcorr", "biascorr", "tempcorr"), dark)


class BaseDarkPipeline(_DarkPipeline):
    """Baseline superdark of an anneal month: all its darks combined, hot pixels flagged."""

    class_alias = "basedark"
    product_suffix = "basedark"
    step_defs: ClassVar = {
        "clean_overscan": CleanOverscanStep,
        "dqicorr": DqiCorrStep,
        "blevcorr": BlevCorrStep,
        "biascorr": BiasCorrStep,
        "tempcorr": TempCorrStep,
        "crcorr": CrCorrStep,
        "normalize": NormalizeStep,
        "fit_rates": FitRatesStep,
        "flag_hot_dark": FlagHotDarkStep,
        "flag_hot_rates": FlagHotRatesStep,
        "reference_header": ReferenceHeaderStep,
    }

    def process(self, inputs):
        """Make a baseline superdark.

        Parameters
        ----------
        inputs : str, os.PathLike, Association, ExposureLibrary or sequence
            The month's darks, and the superbias of raw ones.

        Returns
        -------
        Exposure
            The superdark (e-/s).
        """
        self.reference_header.product = "basedark"
        return self.run_each(
            ("flag_hot_dark", "flag_hot_rates", "reference_header"),
            self.rate(self.calibrated(self.library(inputs))),
        )


class WeekDarkPipeline(_DarkPipeline):
    """Superdark of a week: the week's hot pixels on the month's baseline, or those of one moment (``daily``)."""

    class_alias = "weekdark"
    product_suffix = "weekdark_drk"
    step_defs: ClassVar = {
        "clean_overscan": CleanOverscanStep,
        "dqicorr": DqiCorrStep,
        "blevcorr": BlevCorrStep,
        "biascorr": BiasCorrStep,
        "tempcorr": TempCorrStep,
        "crcorr": CrCorrStep,
        "normalize": NormalizeStep,
        "fit_rates": FitRatesStep,
        "superdark": SuperdarkStep,
        "blend_baseline": BlendBaselineStep,
        "flag_hot_rates": FlagHotRatesStep,
        "daily": DailyStep,
        "reference_header": ReferenceHeaderStep,
    }

    def process(self, inputs):
        """Make a weekly superdark.

        Parameters
        ----------
        inputs : str, os.PathLike, Association, ExposureLibrary or sequence
            The week's darks, the month's baseline dark, and the superbias of raw darks.

        Returns
        -------
        Exposure
            The superdark (e-/s).
        """
        self.reference_header.product = "weekdark"
        library = self.library(inputs)
        if self.blend_baseline.override_basedark is None:
            # the two stages stand in for each other
            self.blend_baseline.override_basedark = self.superdark.override_basedark
        baseline = self.superdark.get_reference(library.exposures[0], "basedark")
        if not self.fit_rates.skip:
            self.fit_rates.as_baseline(baseline.file)
        darks = self.calibrated(library)
        product = self.run_each(("superdark", "blend_baseline", "flag_hot_rates"), self.rate(darks))
        if self.daily.moment is not None:
            product = self.daily.run(product, darks)
        return self.reference_header.run(product)
