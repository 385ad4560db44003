"""Stage blend_superbias: a week's superbias and the month's, weighted by what each knows of a pixel."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refstis.calibration.superbias import blend_superbias
from refstis.datamodels.exposure import Imset
from refstis.stages.add_hot_columns import open_baseline
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import reference_image
from refstis.stages.ccd import last_row_first

__all__ = ["BlendSuperbiasStep"]


class BlendSuperbiasStep(RefstisStep):
    """Draw the week's superbias towards the month's, unless a pixel or column changed; in place of add_hot_columns."""

    class_alias = "blend_superbias"
    reference_file_types: ClassVar = ["basebias"]

    spec = """
    skip    = boolean(default=True)  # Whether add_hot_columns combines week and baseline, as refstis 0.8 did
    changed = float(min=0, max=1, default=0.003)  # Share of pixels that change within a month
    sigma   = float(min=0, default=5.0)  # Least significance of the change of a column (standard deviations)
    """

    def process(self, week):
        """Combine week and baseline.

        Parameters
        ----------
        week : str, os.PathLike or Exposure
            The week's mean frame (DN).

        Returns
        -------
        Exposure
            The week's superbias.

        Raises
        ------
        ReferenceFileError
            Where there is no baseline superbias, or it has another size.
        """
        week = self.open(week)
        baseline, base = open_baseline(self, week, "basebias")
        result, own = blend_superbias(
            reference_image(week), base, self.changed, self.sigma, last_row_first=last_row_first(week)
        )
        words = (
            f"Values are those of the baseline superbias {baseline.name}, unless the week's differ: single pixels by "
            f"the probability that they have changed ({self.changed:g} before they are compared), columns from the row "
            f"on where they differ by {self.sigma:g} sigma. {int(np.count_nonzero(own > 0.5))} pixels have the week's."
        )
        return week.changed(imsets=[Imset.of_arrays(*result, week.imsets[0])], procedure=words)
