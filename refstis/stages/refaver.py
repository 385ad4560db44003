"""Stage refaver: the average of two reference files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from refstis.calibration.superbias import average_references
from refstis.datamodels.association import Association
from refstis.datamodels.exposure import Imset
from refstis.datamodels.keywords import Keywords
from refstis.datamodels.reference_header import averaged_header
from refstis.errors import InputError
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import check_pixels, reference_image
from refstis.stages.statflag import with_statistics

__all__ = ["RefaverStep"]


class RefaverStep(RefstisStep):
    """Average two reference files, each with the same weight."""

    class_alias = "refaver"

    def process(self, files, second=None):
        """Average two reference files.

        Parameters
        ----------
        files : str, os.PathLike, Exposure or sequence
            Two reference files: a list, their association, or the first of them.
        second : str, os.PathLike or Exposure, optional
            The second file.

        Returns
        -------
        Exposure
            The average, with a header made from both.

        Raises
        ------
        InputError
            Where there are not two files, or they are of different modes.
        """
        if second is not None:
            files = [files, second]
        elif not isinstance(files, Sequence) or isinstance(files, str):
            files = [member.path for member in Association.open(files).members]
        if len(files) != 2:
            raise InputError(f"refaver: {len(files)} file(s); it averages 2 reference files.")
        one, two = (self.open(file) for file in files)
        header = averaged_header(one, two)
        images = reference_image(one), reference_image(two)
        for exposure, image in zip((one, two), images, strict=True):
            check_pixels(exposure.name, image)
        average = average_references(*images)
        imset = with_statistics(Imset.of_arrays(*average, one.imsets[0])).with_keywords(
            {"NCOMBINE": one.ncombine + two.ncombine}
        )
        return dataclasses.replace(
            one, primary=Keywords(header), imsets=(imset,), inputs=one.inputs + two.inputs, path=None
        )
