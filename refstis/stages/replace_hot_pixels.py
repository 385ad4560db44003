"""Stage replace_hot_pixels: single hot pixels of a baseline superbias."""

from __future__ import annotations

import numpy as np

from refstis.calibration.superbias import replace_hot_pixels, residual_image
from refstis.datamodels.pixels import Pixels
from refstis.stages.base import RefstisStep

__all__ = ["ReplaceHotPixelsStep"]


class ReplaceHotPixelsStep(RefstisStep):
    """Replace single hot pixels of a superbias by a running median."""

    class_alias = "replace_hot_pixels"

    spec = """
    kernel     = int_list(min=2, max=2, default=list(3, 15))  # Rows and columns of the running median (pixels)
    sigma      = float(default=5.0)  # Limit of a hot pixel (clipped standard deviations)
    clip       = float(default=5.0)  # Clip of the statistics (sigma)
    iterations = integer(min=1, default=40)  # Most iterations of the clip
    """

    def process(self, bias, original=None):
        """Replace hot pixels.

        Parameters
        ----------
        bias : str, os.PathLike or Exposure
            A mean frame (DN), without its hot columns.
        original : str, os.PathLike or Exposure, optional
            The frame that the running median is taken of: with its hot columns, as in refstis 0.8; the first
            by default.

        Returns
        -------
        Exposure
            The same without its hot pixels.
        """
        bias = self.open(bias)
        imset = bias.imsets[0]
        sci = imset.sci[:]
        source = sci if original is None else self.open(original).imsets[0].sci[:]
        _, median = residual_image(source, tuple(self.kernel))
        out = replace_hot_pixels(sci, median, self.sigma, self.clip, self.iterations)
        words = (
            f"{int(np.count_nonzero(out != sci))} hot pixels (above {self.sigma:g} sigma) were replaced by a "
            "running median of "
            f"{self.kernel[0]} rows by {self.kernel[1]} columns."
        )
        return bias.changed(imsets=[imset.with_pixels(sci=Pixels.of(out))], procedure=words)
