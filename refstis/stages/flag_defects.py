"""Stage flag_defects: hot pixels and hot columns of a superbias."""

from __future__ import annotations

import numpy as np

from refstis.calibration.superbias import HOT_PIXEL, flag_defects
from refstis.datamodels.pixels import Pixels
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import reference_image
from refstis.stages.ccd import last_row_first

__all__ = ["FlagDefectsStep"]


class FlagDefectsStep(RefstisStep):
    """Flag hot pixels of a superbias, and hot columns in the rows that they reach (DQ 16)."""

    class_alias = "flag_defects"

    spec = """
    skip   = boolean(default=True)  # refstis 0.8 does not do this
    kernel = int_list(min=2, max=2, default=list(3, 15))  # Rows and columns of the running median (pixels)
    sigma  = float(min=0, default=5.0)  # Least significance (standard deviations)
    excess = float(min=0, default=3.0)  # Least charge (DN)
    """

    def process(self, bias):
        """Flag defects.

        Parameters
        ----------
        bias : str, os.PathLike or Exposure
            A superbias (DN).

        Returns
        -------
        Exposure
            With DQ 16 in addition to other flags.
        """
        bias = self.open(bias)
        imset = bias.imsets[0]
        dq = flag_defects(
            reference_image(bias),
            tuple(self.kernel),
            self.sigma,
            self.excess,
            last_row_first=last_row_first(bias),
        )
        words = (
            f"{int(np.count_nonzero(dq & HOT_PIXEL))} pixels that stand out of a running median of {self.kernel[0]} "
            f"rows by {self.kernel[1]} columns by {self.sigma:g} sigma and {self.excess:g} DN, by themselves or with "
            "their column from some row on, are flagged as hot (DQ 16)."
        )
        return bias.changed(imsets=[imset.with_pixels(dq=Pixels.of(dq))], procedure=words)
