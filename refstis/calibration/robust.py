"""Clipped statistics and median filters, as the superbias and superdark procedures take them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from astropy.stats import sigma_clipped_stats
from numba import njit

from refstis.calibration.medians import window_median

__all__ = [
    "MAD_TO_SIGMA",
    "ClippedStatistics",
    "clip",
    "median_filter_reflected",
    "median_filter_zero_padded",
]


# A standard deviation in median absolute deviations.
MAD_TO_SIGMA = 1.482602218505602


class ClippedStatistics(NamedTuple):
    """Statistics of what is left after iterative clipping.

    Parameters
    ----------
    mean, median, std : float
        Of the values that are left.
    """

    mean: float | np.floating
    median: float | np.floating
    std: float | np.floating


# Every so many values, one goes into the sample that the median is looked for with; the sample's ranks on either side
# of its median between which the median of all is expected.
SAMPLE_STEP, SAMPLE_RANKS = 61, 400


@njit(nogil=True, cache=True)
def _between(values, low, high, kept):
    """Put the values from low to high, in their order, first into kept; how many there are, and how many lower."""
    number, below = 0, 0
    for k in range(values.size):
        value = values[k]
        kept[number] = value
        number += (value >= low) & (value <= high)
        below += value < low
    return number, below


def _median(values: np.ndarray) -> np.float32:
    """Median of a float32 array, equal to `numpy.median`: only values near that of a sample are put in order."""
    size = values.size
    lower, upper = (size - 1) // 2, size // 2
    sample = np.sort(values[::SAMPLE_STEP])
    if len(sample) > 4 * SAMPLE_RANKS:
        centre = len(sample) // 2
        near = np.empty_like(values)
        number, first = _between(values, sample[centre - SAMPLE_RANKS], sample[centre + SAMPLE_RANKS], near)
        if first <= lower and upper < first + number:
            near = near[:number]
            near.partition([lower - first, upper - first])
            return np.mean(near[[lower - first, upper - first]])
    return np.median(values)


def _mean_and_deviation(values: np.ndarray, in_blocks: bool) -> tuple[np.float32, np.float32]:
    """Mean and standard deviation; in blocks, with the sums that numpy takes of an array in FITS byte order."""
    if not in_blocks:
        return np.mean(values), np.std(values)
    mean = np.add.reduce(values.astype(">f4")) / np.float32(values.size)
    squares = np.square(values - mean)
    return mean, np.sqrt(np.add.reduce(squares.astype(">f4")) / np.float32(values.size))


def clip(image: np.ndarray, sigma: float, iterations: int) -> ClippedStatistics:
    """Mean, median and standard deviation after clipping about the median.

    Parameters
    ----------
    image : numpy.ndarray
        Values of any shape, float32 in native or FITS byte order, on which the last bits of sums depend.
    sigma : float
        Limit in standard deviations.
    iterations : int
        Most iterations.

    Returns
    -------
    ClippedStatistics
        Equal to what `astropy.stats.sigma_clipped_stats` gives, in every bit.

    Raises
    ------
    ValueError
        Where a value is not a finite number.
    """
    if image.dtype.newbyteorder("=") != np.float32:
        return ClippedStatistics(*sigma_clipped_stats(image, sigma=sigma, maxiters=iterations))
    in_blocks = not image.dtype.isnative
    values = image.astype(np.float32, copy=False).ravel()
    if not np.isfinite(values).all():
        raise ValueError("values to clip are not all finite numbers")
    for _ in range(iterations):
        centre, (mean, spread) = _median(values), _mean_and_deviation(values, in_blocks)
        kept = np.empty_like(values)
        number, _ = _between(values, centre - spread * sigma, centre + spread * sigma, kept)
        if number == values.size:
            return ClippedStatistics(mean, centre, spread)
        values = kept[:number]
    mean, spread = _mean_and_deviation(values, in_blocks)
    return ClippedStatistics(mean, _median(values), spread)


def median_filter_zero_padded(image: np.ndarray, kernel: tuple[int, int]) -> np.ndarray:
    """Running median; pixels beyond the edge count as 0.

    Parameters
    ----------
    image : numpy.ndarray
        Two-dimensional float32 image.
    kernel : tuple of int
        Rows and columns of the window, both odd.

    Returns
    -------
    numpy.ndarray
        float32 image, equal to `scipy.signal.medfilt`.
    """
    return window_median(image, kernel, "constant")


def median_filter_reflected(image: np.ndarray, kernel: tuple[int, int]) -> np.ndarray:
    """Running median; the image is reflected beyond its edge.

    Parameters
    ----------
    image : numpy.ndarray
        Two-dimensional float32 image.
    kernel : tuple of int
        Rows and columns of the window.

    Returns
    -------
    numpy.ndarray
        float32 image, equal to `scipy.ndimage.median_filter`.
    """
    return window_median(image, kernel, "symmetric")
