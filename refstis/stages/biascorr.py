"""Stage biascorr: subtraction of the superbias."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import ClassVar

import numpy as np

from refstis.calibration.blevcorr import LevelledFrame
from refstis.calibration.reference_image import ReferenceImage, combined_uncertainty, match_reference
from refstis.cores import in_threads
from refstis.datamodels.checksums import file_state
from refstis.datamodels.exposure import Exposure, Imset
from refstis.datamodels.pixels import Pixels
from refstis.datamodels.references import Reference
from refstis.errors import ReferenceFileError
from refstis.stages.base import RefstisStep
from refstis.stages.ccd import ccd_parameters, with_ccd_keywords

__all__ = [
    "BiasCorrStep",
    "check_pixels",
    "matched_reference",
    "open_reference",
    "reference_image",
    "subtract_reference",
]

logger = logging.getLogger(__name__)


# A pixel of more, in whatever unit, is none; squares of such numbers leave the range of float32.
MOST_COUNTS = 1e15


class BiasCorrStep(RefstisStep):
    """Subtract the superbias, once for each frame that an image set is the sum of."""

    class_alias = "biascorr"
    reference_file_types: ClassVar = ["ccdtab", "biasfile"]

    def process(self, exposure):
        """Subtract the superbias from an exposure.

        Parameters
        ----------
        exposure : str, os.PathLike or Exposure
            An exposure without overscan.

        Returns
        -------
        Exposure
            With the superbias subtracted (DN), its uncertainty and flags added, and BIASCORR COMPLETE.

        Raises
        ------
        ReferenceFileError
            Where there is no superbias, or it does not cover the exposure.
        """
        exposure = self.open(exposure)
        if exposure.done("BIASCORR"):
            logger.info("%s: BIASCORR is COMPLETE already.", exposure.name)
            return exposure
        found = self.get_reference(exposure, "biasfile")
        done = with_ccd_keywords(exposure, ccd_parameters(self, exposure))
        if found.path is None:
            return done.changed({"BIASCORR": "OMIT"}, procedure="No superbias was subtracted (BIASFILE N/A).")
        superbias, image = open_reference(found.path)
        if is_dummy(superbias):
            return done.changed(
                {"BIASCORR": "SKIPPED"}, procedure=f"No superbias was subtracted ({found.name} is a dummy)."
            )

        def subtract(imset: Imset) -> Imset:
            if not imset.good:
                return imset
            matched = matched_reference(image, superbias, imset, exposure, found)
            count = max(int(imset.sci_header.get("NCOMBINE", 1)), 1)
            return subtract_reference(imset, matched.scaled(np.float32(count)))

        pedigree = str(superbias.primary.get("PEDIGREE", ""))
        return done.map_imsets(subtract).changed(
            {"BIASCORR": "COMPLETE", "BIASFILE": header_name(found)},
            procedure=f"The superbias {found.path.name} was subtracted.",
            history=[f"BIASCORR complete: {found.path.name}", f"  PEDIGREE {pedigree}"],
        )


def header_name(reference: Reference) -> str:
    """Name of a reference file for the header: as the header had it, else without folder.

    Parameters
    ----------
    reference : Reference
        The file.

    Returns
    -------
    str
        A name that fits one card.
    """
    return reference.name if reference.how in {"header", "crds"} else reference.file.name


def is_dummy(reference: Exposure) -> bool:
    """Whether a reference image stands for a missing one.

    Parameters
    ----------
    reference : Exposure
        The reference image.

    Returns
    -------
    bool
        True where PEDIGREE begins with DUMMY.
    """
    return str(reference.primary.get("PEDIGREE", "")).upper().startswith("DUMMY")


def open_reference(path: Path) -> tuple[Exposure, ReferenceImage]:
    """Open a reference image, once for each state of its file, so that a month of darks shares its pixels.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    tuple
        The reference with its headers, and its pixels.
    """
    return _open_reference(path, file_state(path))


@functools.lru_cache(maxsize=2)
def _open_reference(path, _state):
    reference = Exposure.open(path)
    image = reference_image(reference)
    check_pixels(str(path), image)
    return reference, image


def check_pixels(name: str, image: ReferenceImage) -> None:
    """Refuse a reference image whose pixels would spoil every exposure that it is used for.

    Parameters
    ----------
    name : str
        What the message calls it.
    image : ReferenceImage
        Its arrays.

    Raises
    ------
    ReferenceFileError
        Where a value or an uncertainty is not finite or beyond all sense, or an uncertainty is negative.
    """
    for extension, plane, least in (("SCI", image.sci, -MOST_COUNTS), ("ERR", image.err, 0.0)):
        # of numbers that are none, comparisons are false, and so are they of extremes among which there is one
        if plane.size and not (least <= plane.min() and plane.max() <= MOST_COUNTS):
            bad = np.argwhere(~((plane >= least) & (plane <= MOST_COUNTS)))
            y, x = bad[0]
            raise ReferenceFileError(
                f"{name}: {extension} of pixel ({x + 1}, {y + 1}) and {len(bad) - 1} more is {plane[y, x]:g}; "
                f"expected finite numbers{'' if least else ' from 0 up'}. Repair the file, or give another."
            )


def reference_image(reference: Exposure) -> ReferenceImage:
    """Pixels of the first image set of a reference image.

    Parameters
    ----------
    reference : Exposure
        The reference image.

    Returns
    -------
    ReferenceImage
        Its arrays.
    """
    imset = reference.imsets[0]
    return ReferenceImage(*in_threads(lambda plane: plane[:], (imset.sci, imset.err, imset.dq)))


def matched_reference(
    image: ReferenceImage, reference: Exposure, imset: Imset, exposure: Exposure, found: Reference
) -> ReferenceImage:
    """The part of a reference image that covers an image set.

    Parameters
    ----------
    image : ReferenceImage
        Pixels of the reference image.
    reference : Exposure
        The reference image with its headers.
    imset : Imset
        The image set.
    exposure : Exposure
        The exposure that it belongs to.
    found : Reference
        How the reference was found.

    Returns
    -------
    ReferenceImage
        Arrays of the image set's shape.

    Raises
    ------
    ReferenceFileError
        Where the reference does not cover the image set.
    """
    try:
        return match_reference(image, reference.imsets[0].grid, imset.sci.shape, imset.grid)
    except ValueError as error:
        raise ReferenceFileError(
            f"{exposure.name}: {found.path} cannot be used as {found.kind}: {error}. Give one of the exposure's mode "
            f"(override_{found.kind})."
        ) from None


def subtract_reference(imset: Imset, reference: ReferenceImage) -> Imset:
    """Image set less a reference image.

    Parameters
    ----------
    imset : Imset
        The image set.
    reference : ReferenceImage
        Arrays of its shape, scaled to it.

    Returns
    -------
    Imset
        Pixels are subtracted when somebody asks for them.
    """
    sci, err, dq = imset.sci, imset.err, imset.dq
    # a frame that is levelled when it is read is freed of the bias in the same step
    less = sci.source.less(reference.sci) if isinstance(sci.source, LevelledFrame) else None
    return imset.with_pixels(
        sci=Pixels(sci.shape, np.float32, less or (lambda y, x: sci[y, x] - reference.sci[y, x])),
        err=Pixels(sci.shape, np.float32, lambda y, x: combined_uncertainty(err[y, x], reference.err[y, x])),
        dq=Pixels(sci.shape, np.int16, lambda y, x: dq[y, x] | reference.dq[y, x]),
    )
