"""Stage flag_hot_dark: hot pixels of a baseline dark."""

from __future__ import annotations

import numpy as np

from refstis.calibration.superbias import HOT_PIXEL
from refstis.calibration.superdark import flag_hot_dark
from refstis.datamodels.pixels import Pixels
from refstis.stages.base import RefstisStep

__all__ = ["FlagHotDarkStep"]


class FlagHotDarkStep(RefstisStep):
    """Flag the hot pixels of a baseline dark (DQ 16)."""

    class_alias = "flag_hot_dark"

    spec = """
    rate        = float(min=0, default=0.1)  # Least excess over the clipped mean (e-/s)
    sigma       = float(default=5.0)  # Least significance (clipped standard deviations)
    excess_clip = float_list(min=2, max=2, default=list(5.0, 50))  # Clip of the first test: sigma, iterations
    rate_clip   = float_list(min=2, max=2, default=list(3.0, 40))  # Clip of the second test: sigma, iterations
    """

    def process(self, dark):
        """Flag hot pixels.

        Parameters
        ----------
        dark : str, os.PathLike or Exposure
            A dark rate (e-/s).

        Returns
        -------
        Exposure
            With DQ 16 in hot pixels, in place of their other flags.
        """
        dark = self.open(dark)
        imset = dark.imsets[0]
        clips = [(sigma, int(iterations)) for sigma, iterations in (self.excess_clip, self.rate_clip)]
        dq = flag_hot_dark(imset.sci[:], imset.dq[:], self.rate, self.sigma, *clips)
        words = (
            f"{int(np.count_nonzero(dq == HOT_PIXEL))} pixels are flagged as hot (DQ 16): those more than "
            f"{self.sigma:g} sigma "
            f"and {self.rate:g} electrons/s above the clipped mean, and those of the superbias."
        )
        return dark.changed(imsets=[imset.with_pixels(dq=Pixels.of(dq))], procedure=words)
