"""Clipped statistics and median filters, as the superbias and superdark procedures take them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from astropy.stats import sigma_clipped_stats

__all__ = ["ClippedStatistics", "clip", "median_filter_reflected", "median_filter_zero_padded"]


class ClippedStatistics(NamedTuple):
    """Statistics of what is left after iterative clipping.

    Parameters
    ----------
    mean, median, std : float
        Of the values that are left.
    """

    mean: float
    median: float
    std: float


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
        As `astropy.stats.sigma_clipped_stats` gives them.
    """
    return ClippedStatistics(*sigma_clipped_stats(image, sigma=sigma, maxiters=iterations))


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
    from scipy.signal import medfilt

    return medfilt(image.astype(np.float32), kernel)


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
    from scipy.ndimage import median_filter

    return median_filter(image, kernel)
