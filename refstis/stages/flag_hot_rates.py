"""Stage flag_hot_rates: hot pixels by rate and significance."""

from __future__ import annotations

import numpy as np

from refstis.calibration.superbias import HOT_PIXEL
from refstis.calibration.superdark import flag_hot_rates
from refstis.datamodels.pixels import Pixels
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import reference_image

__all__ = ["FlagHotRatesStep"]


class FlagHotRatesStep(RefstisStep):
    """Flag the pixels of a superdark whose own rate is that of a hot pixel (DQ 16), beside their other flags."""

    class_alias = "flag_hot_rates"

    spec = """
    skip  = boolean(default=True)  # Whether flag_hot_dark or superdark flags hot pixels, as refstis 0.8 did
    rate  = float(min=0, default=0.1)  # Least rate of a hot pixel (e-/s)
    sigma = float(default=5.0)  # Least significance of its excess over ordinary pixels (sigma of the pixel)
    uncertain = float(min=0, default=0.1)  # Pixels whose rate is as uncertain as this are flagged, too (e-/s)
    """

    def process(self, dark):
        """Flag hot pixels.

        Parameters
        ----------
        dark : str, os.PathLike or Exposure
            A dark rate (e-/s) with its uncertainties.

        Returns
        -------
        Exposure
            With DQ 16 in hot pixels and in no others.
        """
        dark = self.open(dark)
        imset = dark.imsets[0]
        dq = flag_hot_rates(reference_image(dark), self.rate, self.sigma, self.uncertain)
        words = (
            f"{int(np.count_nonzero(dq & HOT_PIXEL))} pixels are flagged as hot (DQ 16): those of {self.rate:g} "
            f"electrons/s or more that exceed the median by {self.sigma:g} of their own sigma, and those that are "
            f"uncertain by {self.uncertain:g} electrons/s or more."
        )
        return dark.changed(imsets=[imset.with_pixels(dq=Pixels.of(dq))], procedure=words)
