"""Stage average: mean of several combined biases."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

from refstis.calibration.superbias import average_biases
from refstis.datamodels.association import ExposureLibrary
from refstis.datamodels.exposure import Exposure, Imset
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
        biases : str, os.PathLike, ExposureLibrary or iterable
            Biases after cosmic-ray rejection (DN), or their association. An iterator is asked for one after the other.

        Returns
        -------
        Exposure
            The mean frame (DN), NCOMBINE the number of frames.

        Raises
        ------
        InputError
            Where there is no bias, one holds more than one image set, or fewer than two frames were combined in it.
        """
        if not isinstance(biases, Iterator):
            biases = ExposureLibrary.open(biases, "bias")
        heads: list[Exposure] = []

        def images():
            for bias in biases:
                _check(bias)
                # of what follows the first only the keywords are needed afterwards
                heads.append(bias if not heads else dataclasses.replace(bias, imsets=(), input_dq=()))
                counts.append(bias.ncombine)
                yield reference_image(bias), bias.ncombine

        counts: list[int] = []
        try:
            mean = average_biases(images())
        except ValueError as error:
            raise InputError(
                f"average: {error}. Give biases that are combined of at least 2 frames each."
            ) from None
        first = heads[0]
        total = header_float(sum(float(bias.primary.get("TEXPTIME", 0.0)) for bias in heads))
        imset = Imset.of_arrays(*mean, first.imsets[0]).with_keywords(
            {"NCOMBINE": sum(counts), "EXPTIME": total}
        )
        words = (
            f"The {len(heads)} combinations were averaged, weighted by their numbers of frames "
            f"({sum(counts)} in all)."
        )
        product = first.changed({"TEXPTIME": total, "NCOMBINE": sum(counts)}, [imset])
        records = tuple(record for bias in heads for record in bias.inputs)
        told = dict.fromkeys(sentence for bias in heads for sentence in bias.procedure)
        return dataclasses.replace(product, inputs=records, procedure=(*told, words), input_dq=())


def _check(bias):
    if len(bias.imsets) != 1 or bias.ncombine <= 1:
        raise InputError(
            f"{bias.name}: {len(bias.imsets)} image set(s), NCOMBINE {bias.ncombine}; expected one image set of at "
            "least 2 frames. Run crcorr first."
        )
