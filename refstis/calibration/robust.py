"""Clipped statistics and median filters, as the superbias and superdark procedures take them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from astropy.stats import sigma_clipped_stats

from refstis.calibration.medians import window_median

__all__ = ["ClippedStatistics", "clip", "median_filter_reflected", "median_filter_zero_padded"]


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


def _median(values: np.ndarray) -> np.float32:
    """Median of a float32 array, equal to `numpy.median`: only values near that of a sample are put in order."""
    size = values.size
    lower, upper = (size - 1) // 2, size // 2
    sample = np.sort(values[::SAMPLE_STEP])
    if len(sample) > 4 * SAMPLE_RANKS:
        centre = len(sample) // 2
        low, high = sample[centre - SAMPLE_RANKS], sample[centre + SAMPLE_RANKS]
        first = int(np.count_nonzero(values < low))
        near = values[(values >= low) & (values <= high)]
        if first <= lower and upper < first + len(near):
            near.partition([lower - first, upper - first])
            return np.mean(near[[lower - first, upper - first]])
    return np.median(values)


def clip(image: np.ndarray, sigma: float, iterations: int) -> ClippedStatistics:
    """Mean, median and standard deviation after clipping about the median.

    Parameters
    ----------
    image : numpy.ndarray
        Values of any shape, float32.
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
    if image.dtype != np.float32 or not image.dtype.isnative:
        return ClippedStatistics(*sigma_clipped_stats(image, sigma=sigma, maxiters=iterations))
    values = image.ravel()
    if not np.isfinite(values).all():
        raise ValueError("values to clip are not all finite numbers")
    for _ in range(iterations):
        centre, spread = _median(values), np.std(values)
        kept = (values >= centre - spread * sigma) & (values <= centre + spread * sigma)
        if kept.all():
            break
        values = values[kept]
    return ClippedStatistics(np.mean(values), _median(values), np.std(values))


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
