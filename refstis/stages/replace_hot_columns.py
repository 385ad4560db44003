"""Stage replace_hot_columns: hot columns of a baseline superbias."""

from __future__ import annotations

import numpy as np

from refstis.calibration.superbias import replace_hot_columns, residual_image
from refstis.datamodels.pixels import Pixels
from refstis.stages.base import RefstisStep

__all__ = ["ReplaceHotColumnsStep"]


class ReplaceHotColumnsStep(RefstisStep):
    """Replace the hot columns of a superbias by its running median."""

    class_alias = "replace_hot_columns"

    spec = """
    kernel     = int_list(min=2, max=2, default=list(3, 15))  # Rows and columns of the running median (pixels)
    fractions  = float_list(default=list(1.0, 0.2))  # Fractions of the rows that columns are judged by, in turn
    sigma      = float(default=3.0)  # Limit of a hot column (clipped standard deviations)
    clip       = float(default=3.0)  # Clip of the statistics (sigma)
    iterations = integer(min=1, default=40)  # Most iterations of the clip
    """

    def process(self, bias):
        """Replace hot columns.

        Parameters
        ----------
        bias : str, os.PathLike or Exposure
            A mean frame (DN).

        Returns
        -------
        Exposure
            The same without its hot columns.
        """
        bias = self.open(bias)
        imset = bias.imsets[0]
        sci = imset.sci[:]
        residual, median = residual_image(sci, tuple(self.kernel))
        out = replace_hot_columns(
            sci, residual, median, self.fractions, self.sigma, self.clip, self.iterations
        )
        count = int(np.count_nonzero((out != sci).any(axis=0)))
        fractions = " and ".join(f"{fraction:g}" for fraction in self.fractions)
        words = (
            f"{count} hot columns (above {self.sigma:g} sigma, judged by fractions {fractions} of the rows) "
            "were replaced by a "
            f"running median of {self.kernel[0]} rows by {self.kernel[1]} columns."
        )
        return bias.changed(imsets=[imset.with_pixels(sci=Pixels.of(out))], procedure=words)
