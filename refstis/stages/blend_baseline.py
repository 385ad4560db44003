"""Stage blend_baseline: a week's dark and the month's, weighted by what each knows of a pixel."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refstis.calibration.superdark import blend_superdark
from refstis.datamodels.exposure import Imset
from refstis.stages.add_hot_columns import open_baseline
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import reference_image

__all__ = ["BlendBaselineStep"]


class BlendBaselineStep(RefstisStep):
    """Draw the week's dark rate towards that of the month, unless the pixel has changed; in the place of superdark."""

    class_alias = "blend_baseline"
    reference_file_types: ClassVar = ["basedark"]

    spec = """
    skip     = boolean(default=True)  # Whether superdark combines week and baseline, as refstis 0.8 did
    changed  = float(min=0, max=1, default=0.02)  # Share of pixels that change in a month
    relative = float(min=0, default=0.005)  # Uncertainty of the week's scale against the month's
    mark     = integer(min=0, max=32767, default=1024)  # Flag with which fit_rates marks changes
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
        result, own = blend_superdark(reference_image(week), base, self.changed, self.relative, self.mark)
        words = (
            f"Rates are those of the baseline dark {baseline.name} and of the week, weighted by the probability that "
            f"the pixel has changed ({self.changed:g} before its rates are compared); "
            f"{int(np.count_nonzero(own > 0.5))} pixels have the week's."
        )
        return week.changed(imsets=[Imset.of_arrays(*result, week.imsets[0])], procedure=words)
