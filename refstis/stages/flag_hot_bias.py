"""Stage flag_hot_bias: hot pixels of a superbias."""

from __future__ import annotations

import numpy as np

from refstis.calibration.superbias import HOT_PIXEL, flag_hot_bias
from refstis.datamodels.pixels import Pixels
from refstis.stages.base import RefstisStep

__all__ = ["FlagHotBiasStep"]


class FlagHotBiasStep(RefstisStep):
    """Flag the pixels of a superbias that stand out of their surroundings (DQ 16)."""

    class_alias = "flag_hot_bias"

    spec = """
    kernel     = int_list(min=2, max=2, default=list(3, 15))  # Rows and columns of the running median (pixels)
    sigma      = float(default=5.0)  # Limit of a hot pixel (clipped standard deviations)
    clip       = float(default=3.0)  # Clip of the statistics (sigma)
    iterations = integer(min=1, default=30)  # Most iterations of the clip
    """

    def process(self, bias):
        """Flag hot pixels.

        Parameters
        ----------
        bias : str, os.PathLike or Exposure
            A superbias (DN).

        Returns
        -------
        Exposure
            With DQ 16 in hot pixels, in place of their other flags.
        """
        bias = self.open(bias)
        imset = bias.imsets[0]
        dq = flag_hot_bias(
            imset.sci[:], imset.dq[:], tuple(self.kernel), self.sigma, self.clip, self.iterations
        )
        words = (
            f"{int(np.count_nonzero(dq == HOT_PIXEL))} pixels more than {self.sigma:g} sigma above a running median of "
            f"{self.kernel[0]} rows by {self.kernel[1]} columns were flagged as hot (DQ 16)."
        )
        return bias.changed(imsets=[imset.with_pixels(dq=Pixels.of(dq))], procedure=words)
