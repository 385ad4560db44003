r"""Charge that columns bring into the virtual overscan, and that is no drift of the bias level.

Whatever is transferred through a hot pixel takes up its dark current for the time of one row, and whatever passes
the origin of a hot column takes up its charge. All of it arrives in the virtual rows, which pass the whole column. The
drift of the bias level along the lines is the slope of a straight line through these rows
(`refstis.calibration.blevcorr`), so a few tens of columns with some DN pull it.

The same charge is in the line that is read last, which has passed (nearly) all of its column too, and it is not in the
line that is read first. The structure of the column itself and the drift of the level are in both, and cancel:

.. math:: q_i = \mathrm{med}_{j \in \mathrm{last}}\,\bar S_{ji} - \mathrm{med}_{j \in \mathrm{first}}\,\bar S_{ji}

with the mean :math:`\bar S` over the frames. Less :math:`q_i`, columns whose virtual rows still stand out of the
straight line (origins within the last lines) take no part.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["add_clipped", "gained_charge", "standing_out"]

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


def gained_charge(last: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Charge that each column gains on the way to the virtual rows, relative to that of the typical column.

    Parameters
    ----------
    last, first : numpy.ndarray
        Mean of the frames: the lines read last and those read first, by columns (DN). NaN where there is no value.

    Returns
    -------
    numpy.ndarray
        One row, float64 (DN); 0 where a column has no value.
    """
    with np.errstate(invalid="ignore"):
        gained = _column_median(last) - _column_median(first)
    known = np.isfinite(gained)
    if not known.any():
        return np.zeros(gained.shape)
    return np.where(known, gained - np.median(gained[known]), 0.0)


def _column_median(lines):
    known = np.isfinite(lines).any(axis=0)
    median = np.full(lines.shape[1], np.nan)
    median[known] = np.nanmedian(lines[:, known], axis=0)
    return median


def standing_out(virtual: np.ndarray, sigma: float) -> np.ndarray:
    """Columns of the virtual overscan that stand out of a straight line.

    Parameters
    ----------
    virtual : numpy.ndarray
        Mean of the virtual rows over rows and frames (DN), one row; NaN where there is no value.
    sigma : float
        Limit in standard deviations, which are taken from the median absolute deviation.

    Returns
    -------
    numpy.ndarray
        Boolean row, true where there is no value, too.
    """
    x = np.arange(virtual.size, dtype=np.float64)
    known = np.isfinite(virtual)
    kept = known.copy()
    for _ in range(REPETITIONS):
        if np.count_nonzero(kept) < 3:
            break
        residual = virtual - np.polyval(np.polyfit(x[kept], virtual[kept], 1), x)
        centre = np.median(residual[known])
        spread = 1.482602218505602 * np.median(np.abs(residual[known] - centre))
        now = known & (np.abs(residual - centre) <= sigma * spread)
        if (now == kept).all():
            break
        kept = now
    return ~kept
