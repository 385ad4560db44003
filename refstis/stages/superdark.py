"""Stage superdark: a week's hot pixels on the month's baseline dark."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refstis.calibration.superbias import HOT_PIXEL
from refstis.calibration.superdark import combine_superdark
from refstis.datamodels.exposure import Imset
from refstis.stages.add_hot_columns import open_baseline
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import reference_image

__all__ = ["SuperdarkStep"]


class SuperdarkStep(RefstisStep):
    """Bring the hot pixels of one week onto the baseline dark of the month."""

    class_alias = "superdark"
    reference_file_types: ClassVar = ["basedark"]

    spec = """
    sigma      = float(default=5.0)  # A pixel is hot from this many clipped standard deviations above the week's median
    kernel     = int_list(min=2, max=2, default=list(5, 5))  # Window that annealed pixels are replaced from (pixels)
    clip       = float(default=5.0)  # Clip of the statistics (sigma)
    iterations = integer(min=1, default=40)  # Most iterations of the clip
    """

    def process(self, week):
        """Combine week and baseline.

        Parameters
        ----------
        week : str, os.PathLike or Exposure
            The week's dark rate (e-/s).

        Returns
        -------
        Exposure
            The week's superdark (e-/s).

        Raises
        ------
        ReferenceFileError
            Where there is no baseline dark, or it has another size.
        """
        week = self.open(week)
        baseline, base = open_baseline(self, week, "basedark")
        result = combine_superdark(
            reference_image(week), base, self.sigma, tuple(self.kernel), self.clip, self.iterations
        )
        words = (
            f"Pixels of the week more than {self.sigma:g} sigma above its clipped median replace those of the "
            "baseline dark "
            f"{baseline.name}; pixels that are hot in the baseline only are replaced by its running median of "
            f"{self.kernel[0]} by {self.kernel[1]} pixels. {int(np.count_nonzero(result.dq == HOT_PIXEL))} "
            "pixels are flagged as "
            "hot (DQ 16): those whose excess over the baseline's median exceeds the same limit, and those of "
            "the superbias."
        )
        return week.changed(imsets=[Imset.of_arrays(*result, week.imsets[0])], procedure=words)
