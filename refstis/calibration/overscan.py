r"""Charge that columns bring into the virtual overscan, and that is no drift of the bias level.

Whatever is transferred through a hot pixel takes up its dark current for the time of one row, and whatever passes
the origin of a hot column takes up its charge. All of it arrives in the virtual rows, which pass the whole column. The
drift of the bias level along the lines is the slope of a straight line through these rows
(`refstis.calibration.blevcorr`), so a few tens of columns with some DN pull it.

What a pixel gives to that which passes it is proportional to its own dark current, and so is what it has collected
itself before the read-out. So the charge of a column in the virtual rows is proportional to the sum of its hot pixels
in the mean of the frames (or in their superbias),

.. math:: q_i = k \sum_j h_{ji},

and *k*, the time of a row over the time that a pixel collects, is found together with the line, from the same virtual
rows. Columns whose virtual rows still stand out of the line (hot columns that no hot pixel tells of) take no part.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from refstis.calibration.robust import MAD_TO_SIGMA

__all__ = ["add_clipped", "add_frame", "column_gain", "hot_charge"]

# Most repetitions of clip and fit.
REPETITIONS = 50


@njit(nogil=True, cache=True)
def add_clipped(window, level, limit, total, count):
    """Add pixels near a level to sums, in place.

    Parameters
    ----------
    window : numpy.ndarray
        Pixels (DN).
    level, limit : float
        What differs from the level by more than the limit is left out (DN).
    total, count : numpy.ndarray
        Sum of the pixels less the level, float64, and number of pixels, int64, of the shape of the window.
    """
    for y in range(window.shape[0]):
        for x in range(window.shape[1]):
            value = np.float64(window[y, x]) - level
            if abs(value) <= limit:
                total[y, x] += value
                count[y, x] += 1


@njit(nogil=True, cache=True)
def add_frame(frame, level, total):
    """Add a frame less its level to a sum, in place.

    Parameters
    ----------
    frame : numpy.ndarray
        Pixels (DN).
    level : float
        Level (DN).
    total : numpy.ndarray
        Sum, float32, of the shape of the frame.
    """
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            total[y, x] += np.float32(np.float64(frame[y, x]) - level)


def hot_charge(image: np.ndarray, sigma: float = 4.0) -> np.ndarray:
    """Sum of the hot pixels of each column of an image.

    Parameters
    ----------
    image : numpy.ndarray
        Mean of biases, or a superbias (DN).
    sigma : float
        Least significance of a hot pixel, in standard deviations of the image less the medians of its rows and columns.

    Returns
    -------
    numpy.ndarray
        One row, float64 (DN).

    Examples
    --------
    >>> image = np.random.default_rng(1).normal(0.0, 0.1, (50, 4))
    >>> image[20:22, 1] += [100.0, 20.0]
    >>> hot_charge(image, 5.0).round().tolist()
    [0.0, 120.0, 0.0, 0.0]
    """
    residual = image - np.median(image, axis=1, keepdims=True)
    residual -= np.median(residual, axis=0)
    spread = MAD_TO_SIGMA * np.median(np.abs(residual))
    return np.where(residual > sigma * spread, residual, 0.0).sum(axis=0, dtype=np.float64)


def column_gain(virtual: np.ndarray, charge: np.ndarray, sigma: float = 3.0) -> tuple[float, np.ndarray]:
    """What columns gain for each DN of their hot pixels, and columns that stand out.

    Parameters
    ----------
    virtual : numpy.ndarray
        Mean of the virtual rows over rows and frames (DN), one row; NaN where there is no value.
    charge : numpy.ndarray
        Sum of the hot pixels of each column (DN).
    sigma : float
        Limit in standard deviations, which are taken from the median absolute deviation.

    Returns
    -------
    gain : float
        The share *k* of the charge that arrives in the virtual rows; 0 where hot pixels do not tell it.
    outside : numpy.ndarray
        Boolean row: columns that stand out of the straight line plus *k* times their charge, or have no value.
    """
    place = np.arange(virtual.size) / virtual.size - 0.5
    terms = np.stack([np.ones(virtual.size), place, charge], axis=1)
    known = np.isfinite(virtual)
    kept, gain = known.copy(), 0.0
    for _ in range(REPETITIONS):
        if np.count_nonzero(kept) < 4:
            break
        # where no column has any, the least solution gives it no share
        fit = np.linalg.lstsq(terms[kept], virtual[kept], rcond=None)[0]
        gain = float(fit[2])
        residual = virtual - terms @ fit
        centre = np.median(residual[known])
        spread = MAD_TO_SIGMA * np.median(np.abs(residual[known] - centre))
        now = known & (np.abs(residual - centre) <= sigma * spread)
        if (now == kept).all():
            break
        kept = now
    return gain, ~kept
