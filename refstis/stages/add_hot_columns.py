"""Stage add_hot_columns: a week's hot columns on the month's baseline superbias."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from refstis.calibration.superbias import HOT_PIXEL, add_hot_columns
from refstis.datamodels.exposure import Imset
from refstis.errors import ReferenceFileError
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import check_pixels, reference_image

__all__ = ["AddHotColumnsStep", "open_baseline"]


class AddHotColumnsStep(RefstisStep):
    """Add the hot columns of one week to the baseline superbias of the month."""

    class_alias = "add_hot_columns"
    reference_file_types: ClassVar = ["basebias"]

    spec = """
    kernel     = int_list(min=2, max=2, default=list(3, 15))  # Rows and columns of the running median (pixels)
    fraction   = float(min=0, max=1, default=0.25)  # Fraction of the rows that columns are judged by
    sigma      = float(default=5.0)  # Limit of a hot column (clipped standard deviations)
    clip       = float(default=3.0)  # Clip of the statistics (sigma)
    iterations = integer(min=1, default=20)  # Most iterations of the clip
    """

    def process(self, week):
        """Add hot columns.

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
        result = add_hot_columns(
            reference_image(week),
            base,
            tuple(self.kernel),
            self.fraction,
            self.sigma,
            self.clip,
            self.iterations,
        )
        columns = int(np.count_nonzero((result.sci != base.sci).any(axis=0)))
        words = (
            f"The residuals of {columns} hot columns of the week (above {self.sigma:g} sigma, judged by the lowest "
            f"{self.fraction:g} of the rows) were added to the baseline superbias {baseline.name}; positive "
            "ones were flagged "
            f"as hot (DQ {HOT_PIXEL})."
        )
        return week.changed(imsets=[Imset.of_arrays(*result, week.imsets[0])], procedure=words)


def open_baseline(step, week, kind):
    """Baseline superbias or superdark of a week's product.

    Parameters
    ----------
    step : RefstisStep
        The stage that needs it.
    week : Exposure
        The week's combination.
    kind : str
        "basebias" or "basedark".

    Returns
    -------
    tuple
        The baseline's exposure and its arrays.

    Raises
    ------
    ReferenceFileError
        Where there is none, or it is of another kind or size.
    """
    baseline = step.open(step.get_reference(week, kind).file)
    image = reference_image(baseline)
    shape = week.imsets[0].sci.shape
    if image.sci.shape != shape:
        raise ReferenceFileError(
            f"{baseline.name}: {image.sci.shape[1]} x {image.sci.shape[0]} pixels; the week's exposures have "
            f"{shape[1]} x "
            f"{shape[0]}. Give a {kind} of the same mode (override_{kind})."
        )
    filetype = {"basebias": "CCD BIAS IMAGE", "basedark": "DARK IMAGE"}[kind]
    if str(baseline.primary.get("FILETYPE", "")).strip() != filetype:
        raise ReferenceFileError(
            f"{baseline.name}: FILETYPE is {baseline.primary.get('FILETYPE')!r}; a {kind} has {filetype!r}. Give one "
            f"(override_{kind})."
        )
    check_pixels(baseline.name, image)
    return baseline, image
