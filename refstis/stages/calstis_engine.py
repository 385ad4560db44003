"""Engine `calstis` of stage crcorr: the C program ocrreject, run through stistools where both are installed."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

from refstis.calibration.crcorr import Combination, RejectionParameters, StackImage
from refstis.calibration.geometry import sequential_sum
from refstis.errors import ConfigurationError, RefstisError

__all__ = ["reject_cosmic_rays"]

logger = logging.getLogger(__name__)

PROGRAM = "cs2.e"
# stistools leaves out a radius of 0, and the program then looks for a table; below 1 pixel there are no neighbours.
NO_RADIUS = 1e-6


def reject_cosmic_rays(
    images: Sequence[StackImage],
    parameters: RejectionParameters,
    threads: int = 0,  # noqa: ARG001 - what an engine takes; the program has one thread
) -> Combination:
    """Combine a stack of images with CALSTIS's own ocrreject.

    Parameters
    ----------
    images : sequence of StackImage
        At least two images of one shape.
    parameters : RejectionParameters
        Limits and options; all are given to the program, so it reads no table.
    threads : int
        Not used: the program has one.

    Returns
    -------
    Combination
        As of the native engine.

    Raises
    ------
    ConfigurationError
        Where the C program is not installed.
    RefstisError
        Where it fails.
    """
    if shutil.which(PROGRAM) is None:
        raise ConfigurationError(
            f"crcorr: engine 'calstis' needs the C program {PROGRAM} of HSTCAL on the PATH, which is not "
            "there. Install HSTCAL "
            "(conda-forge), or use engine 'native', which gives the same pixels."
        )
    from stistools.ocrreject import ocrreject

    with tempfile.TemporaryDirectory() as folder:
        inputs = [_write(Path(folder) / f"image{n:04d}_flt.fits", image) for n, image in enumerate(images)]
        output, log = Path(folder) / "combined_crj.fits", Path(folder) / "ocrreject.log"
        status = ocrreject(
            " ".join(str(path) for path in inputs),
            str(output),
            scalense=f"{parameters.scale_noise:.10g}",
            initgues=parameters.initial_guess[:3],
            skysub=parameters.sky,
            crsigmas=",".join(str(sigma) for sigma in parameters.sigmas),
            crradius=max(parameters.radius, NO_RADIUS),
            crthresh=parameters.threshold,
            badinpdq=parameters.bad_bits,
            crmask="yes",
            trailer=str(log),
        )
        if status or not output.exists():
            text = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
            raise RefstisError(
                f"crcorr: {PROGRAM} failed (status {status}): {' | '.join(text[-3:]) or 'no output'}."
            )
        return _read(output, inputs, images)


def _write(path, image):
    """One image as a file that ocrreject reads."""
    primary = fits.Header()
    primary.update(
        {
            "NEXTEND": 3, "DETECTOR": "CCD", "OBSTYPE": "IMAGING", "CCDAMP": "D", "CRREJTAB": "N/A",
            "ROOTNAME": path.stem[:9],
            "READNSE": float(image.readnoise), "ATODGAIN": float(image.gain), "INSTRUME": "STIS",
            "CRCORR": "PERFORM",
        }
    )  # fmt: skip
    sci = fits.Header({"EXPTIME": float(image.exptime), "EXPSTART": 0.0, "EXPEND": 0.0})
    flags = np.zeros(image.sci.shape, dtype=np.int16) if image.dq is None else image.dq[:]
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(header=primary),
            fits.ImageHDU(image.sci[:], header=sci, name="SCI", ver=1),
            fits.ImageHDU(np.zeros(image.sci.shape, dtype=np.float32), name="ERR", ver=1),
            fits.ImageHDU(flags, name="DQ", ver=1),
        ]
    )
    hdus.writeto(path)
    return path


def _read(output, inputs, images):
    with fits.open(output, memmap=False) as hdus:
        shape = images[0].sci.shape
        sci, err, dq = (
            _plane(hdus[name, 1], shape, dtype)
            for name, dtype in (("SCI", "f4"), ("ERR", "f4"), ("DQ", "i2"))
        )
        total_sky = hdus[0].header.get("SKYSUM", 0.0)
    bits = []
    for path in inputs:
        with fits.open(path, memmap=False) as hdus:
            bits.append(np.packbits((_plane(hdus["DQ", 1], shape, "i2") & 8192) != 0, axis=1))
    exptime = sequential_sum(np.array([image.exptime for image in images], dtype=np.float32))
    count = int(sum(np.unpackbits(b).sum() for b in bits))
    # the program tells the sum of the skies only
    sky = np.zeros(len(images), dtype=np.float32)
    sky[0] = total_sky
    return Combination(sci, err, dq, sky, exptime, count, np.stack(bits))


def _plane(hdu, shape, dtype):
    if hdu.data is None:
        return np.full(shape, hdu.header.get("PIXVALUE", 0), dtype=dtype)
    return np.ascontiguousarray(hdu.data, dtype=dtype)
