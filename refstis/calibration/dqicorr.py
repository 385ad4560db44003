"""Data quality initialization: saturation, bad pixels and the edges of the aperture.

All flags are combined by OR with those that are already there; none is ever cleared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from refstis.calibration.geometry import PixelGrid, nint

__all__ = [
    "DETECTOR_PROBLEM",
    "SATURATED",
    "BadPixelRun",
    "aperture_mask",
    "bad_pixel_mask",
    "saturated_pixels",
]

SATURATED = 256
DETECTOR_PROBLEM = 4


def saturated_pixels(frame: np.ndarray, saturate: float) -> np.ndarray:
    """Pixels whose raw value, cut to an integer, lies above the saturation threshold.

    Parameters
    ----------
    frame : numpy.ndarray
        Raw frame (DN), overscan included; uint16 or float32.
    saturate : float
        Threshold SATURATE of the CCDTAB (DN), rounded to float32.

    Returns
    -------
    numpy.ndarray
        Flat indices of the saturated pixels, int64, ascending.

    Examples
    --------
    >>> saturated_pixels(np.array([[32000.9, 32001.0]], dtype="f4"), 32000.0)
    array([1])
    """
    limit = np.float32(saturate)
    # cutting keeps the order, so the highest pixel tells whether there is any; NaN is never saturated
    highest = np.fmax.reduce(frame, axis=None)
    if not np.float32(np.trunc(highest)) > limit:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero((frame if frame.dtype.kind == "u" else np.trunc(frame)).astype(np.float32) > limit)


class BadPixelRun(NamedTuple):
    """One row of a BPIXTAB: a run of pixels with a common flag.

    Parameters
    ----------
    pix1, pix2 : int
        First pixel in reference coordinates; (1, 1) is the first illuminated pixel.
    length : int
        Number of reference pixels.
    axis : int
        1 for a run along x, 2 along y.
    value : int
        Flag, 16 bits.
    """

    pix1: int
    pix2: int
    length: int
    axis: int
    value: int


def _flag_run(mask, x, y, run):
    ny, nx = mask.shape
    if run.axis == 1:
        if 0 <= y < ny and x + run.length > 0 and x < nx:
            mask[y, max(x, 0) : x + run.length] |= np.int16(run.value)
    elif 0 <= x < nx and y + run.length > 0 and y < ny:
        mask[max(y, 0) : y + run.length, x] |= np.int16(run.value)


def _first_last(n, size, m, start):
    """First and last image pixel that lie fully inside the reference area, and where the first begins."""
    first = next((i for i in range(n) if (i - 0.5 - start) / m + 0.001 >= -0.5), n)
    begin = nint((first - 0.5 - start) / m + 0.5)
    last = next((i for i in range(n - 1, 0, -1) if (i + 0.5 - start) / m - 0.001 <= size - 0.5), 0)
    return first, begin, last


def bad_pixel_mask(
    runs: Iterable[BadPixelRun], size: tuple[int, int], shape: tuple[int, int], grid: PixelGrid
) -> np.ndarray:
    """Flags of a bad pixel table on the pixels of an image.

    Parameters
    ----------
    runs : iterable of BadPixelRun
        Rows of the BPIXTAB that hold for the exposure.
    size : tuple of int
        SIZAXIS1 and SIZAXIS2 of the table: the reference area in x and y. A run that starts outside is
        dropped as a whole.
    shape : tuple of int
        Rows and columns of the image, overscan included.
    grid : PixelGrid
        How the image lies on the CCD.

    Returns
    -------
    numpy.ndarray
        int16 mask of the image's shape. In a binned image only pixels fully inside the reference area
        are flagged, each with the OR of its reference pixels.
    """
    kept = [run for run in runs if 0 <= run.pix1 - 1 < size[0] and 0 <= run.pix2 - 1 < size[1]]
    mask = np.zeros(shape, dtype=np.int16)
    xbin, ybin = grid.bins
    start_x, start_y = grid.start
    if (xbin, ybin) == (1, 1):
        for run in kept:
            _flag_run(mask, math.trunc(run.pix1 - 1 + start_x), math.trunc(run.pix2 - 1 + start_y), run)
        return mask

    reference = np.zeros((size[1], size[0]), dtype=np.int16)
    for run in kept:
        _flag_run(reference, run.pix1 - 1, run.pix2 - 1, run)
    first_x, begin_x, last_x = _first_last(shape[1], size[0], grid.ltm[0], start_x)
    first_y, begin_y, last_y = _first_last(shape[0], size[1], grid.ltm[1], start_y)
    count_x, count_y = last_x - first_x + 1, last_y - first_y + 1
    if min(count_x, count_y) < 1:
        return mask
    block = reference[begin_y : begin_y + ybin * count_y, begin_x : begin_x + xbin * count_x]
    block = block.reshape(count_y, ybin, count_x, xbin)
    mask[first_y : last_y + 1, first_x : last_x + 1] = np.bitwise_or.reduce(block, axis=(1, 3))
    return mask


def aperture_mask(
    aper_fov: str,
    shape: tuple[int, int],
    grid: PixelGrid,
    cd: tuple[tuple[float, float], tuple[float, float]],
    imaging: bool,
    dispaxis: int = 1,
) -> np.ndarray:
    """Flag 4 on the detector's pixels that the aperture does not illuminate.

    Parameters
    ----------
    aper_fov : str
        Field of view "height x width" in arcsec (keyword APER_FOV).
    shape : tuple of int
        Rows and columns of the image.
    grid : PixelGrid
        How the image lies on the CCD.
    cd : tuple of tuple of float
        ((CD1_1, CD1_2), (CD2_1, CD2_2)) in degrees per pixel.
    imaging : bool
        True for OBSTYPE IMAGING, False for SPECTROSCOPIC.
    dispaxis : int
        Axis of dispersion (keyword DISPAXIS).

    Returns
    -------
    numpy.ndarray
        int16 mask of the image's shape; all 0 where the field cannot be read, is lower than 5 or higher
        than 45 arcsec, or lies off the image.
    """
    mask = np.zeros(shape, dtype=np.int16)
    try:
        height, width = (float(word) for word in aper_fov.lower().split("x"))
    except ValueError:
        return mask
    if not 5.0 <= height <= 45.0:
        return mask
    if imaging:
        cdelt = math.hypot(cd[0][0], cd[1][0]), math.hypot(cd[0][1], cd[1][1])
    else:
        cdelt = (cd[1][1] if dispaxis == 1 else cd[0][0],) * 2
    if 0.0 in cdelt:
        return mask

    limits = []
    for axis, size in enumerate((width, height)):
        m, v = grid.ltm[axis], grid.start[axis]
        half = size / (abs(cdelt[axis] * m) * 3600.0) / 2.0
        limits.append(
            (nint((512 - half - 10) * m + v), nint((512 + half + 10) * m + v), nint(v), nint(1023 * m + v))
        )
    ny, nx = shape
    (lo_x, hi_x, dlo_x, dhi_x), (lo_y, hi_y, dlo_y, dhi_y) = limits
    if lo_y > ny - 1 or hi_y < 0 or (imaging and (lo_x > nx - 1 or hi_x < 0)):
        return mask
    lo_x, hi_x, dlo_x, dhi_x = (min(max(i, 0), nx - 1) for i in (lo_x, hi_x, dlo_x, dhi_x))
    lo_y, hi_y, dlo_y, dhi_y = (min(max(i, 0), ny - 1) for i in (lo_y, hi_y, dlo_y, dhi_y))
    mask[dlo_y:lo_y, dlo_x : dhi_x + 1] = DETECTOR_PROBLEM
    mask[hi_y + 1 : dhi_y + 1, dlo_x : dhi_x + 1] = DETECTOR_PROBLEM
    if imaging:
        mask[lo_y : hi_y + 1, dlo_x:lo_x] = DETECTOR_PROBLEM
        mask[lo_y : hi_y + 1, hi_x + 1 : dhi_x + 1] = DETECTOR_PROBLEM
    return mask
