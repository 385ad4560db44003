"""Stage average: mean of several combined biases."""

from __future__ import annotations

import dataclasses
import logging

from refstis.calibration.superbias import average_biases
from refstis.datamodels.association import ExposureLibrary
from refstis.datamodels.exposure import Imset
from refstis.datamodels.keywords import header_float
from refstis.errors import InputError
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import reference_image

__all__ = ["AverageStep"]

logger = logging.getLogger(__name__)


class AverageStep(RefstisStep):
    """Average combined biases, each frame with the same weight."""

    class_alias = "average"

    def process(self, biases):
        """Average biases.

        Parameters
        ----------
        biases : str, os.PathLike, ExposureLibrary or sequence
            Biases after cosmic-ray rejection (DN), or their association.

        Returns
        -------
        Exposure
            The mean frame (DN), NCOMBINE the number of frames.

        Raises
        ------
        InputError
            Where a bias holds more than one image set, or fewer than two frames were combined in it.
        """
        library = ExposureLibrary.open(biases, "bias")
        for bias in library:
            if len(bias.imsets) != 1 or bias.ncombine <= 1:
                raise InputError(
                    f"{bias.name}: {len(bias.imsets)} image set(s), NCOMBINE {bias.ncombine}; expected one "
                    "image set of at least 2 "
                    "frames. Run crcorr first."
                )
        counts = [bias.ncombine for bias in library]
        mean = average_biases([reference_image(bias) for bias in library], counts)
        first = library.exposures[0]
        total = header_float(sum(float(bias.primary.get("TEXPTIME", 0.0)) for bias in library))
        imset = Imset.of_arrays(*mean, first.imsets[0]).with_keywords(
            {"NCOMBINE": sum(counts), "EXPTIME": total}
        )
        words = (
            f"The {len(library)} combinations were averaged, weighted by their numbers of frames "
            f"({sum(counts)} in all)."
        )
        product = first.changed({"TEXPTIME": total, "NCOMBINE": sum(counts)}, [imset], procedure=words)
        records = tuple(record for bias in library for record in bias.inputs)
        return dataclasses.replace(product, inputs=records)
