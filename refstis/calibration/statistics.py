"""Statistics of an image that its header carries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

__all__ = ["ImageStatistics", "image_statistics"]


class ImageStatistics(NamedTuple):
    """Statistics over the good pixels of an image.

    Parameters
    ----------
    pixels : int
        Number of good pixels (NGOODPIX).
    minimum, maximum, mean : float
        Of the values (GOODMIN, GOODMAX, GOODMEAN).
    snr_minimum, snr_maximum, snr_mean : float
        Of value over uncertainty (SNRMIN, SNRMAX, SNRMEAN).
    err_minimum, err_maximum, err_mean : float
        Of the uncertainties.
    """

    pixels: int
    minimum: float
    maximum: float
    mean: float
    snr_minimum: float
    snr_maximum: float
    snr_mean: float
    err_minimum: float
    err_maximum: float
    err_mean: float


@njit(nogil=True, cache=True)
def _accumulate(sci, err, dq, bits):
    count = 0
    out = np.zeros(9)
    snr = np.float64(0)
    for y in range(sci.shape[0]):
        for x in range(sci.shape[1]):
            if dq[y, x] & bits:
                continue
            value, sigma = np.float64(sci[y, x]), np.float64(err[y, x])
            if sigma > 0:
                snr = value / sigma
            elif value <= 0:
                snr = np.float64(0)
            else:
                continue
            if count == 0:
                out[0] = out[1] = value
                out[3] = out[4] = snr
                out[6] = out[7] = sigma
            else:
                out[0], out[1] = min(out[0], value), max(out[1], value)
                out[3], out[4] = min(out[3], snr), max(out[4], snr)
                out[6], out[7] = min(out[6], sigma), max(out[7], sigma)
            out[2] += value
            out[5] += snr
            out[8] += sigma
            count += 1
    if count:
        for i in (2, 5, 8):
            out[i] /= count
    return count, out


def image_statistics(sci: np.ndarray, err: np.ndarray, dq: np.ndarray, sdqflags: int) -> ImageStatistics:
    """Statistics of an image, its signal-to-noise ratio and its uncertainties.

    Parameters
    ----------
    sci, err : numpy.ndarray
        Values and uncertainties, float32, of one shape.
    dq : numpy.ndarray
        Data quality flags, int16.
    sdqflags : int
        Pixels with any of these flags are left out (keyword SDQFLAGS).

    Returns
    -------
    ImageStatistics
        Sums are taken in raster order in double. A pixel with a value above 0 and no uncertainty is left out of all.
    """
    count, out = _accumulate(sci, err, dq, np.int16(sdqflags))
    return ImageStatistics(int(count), *(float(value) for value in out))
