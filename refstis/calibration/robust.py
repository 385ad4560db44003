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
# So many values are copied and compared with the limits at a time: most such runs lie between them.
RUN = 64


@njit(nogil=True, cache=True)
def _between(values, low, high, kept):
    """Put the values from low to high, in their order, first into kept; how many there are, and how many lower."""
    number, below = 0, 0
    whole = values.size - values.size % RUN
    for begin in range(0, whole, RUN):
        run, room = values[begin : begin + RUN], kept[number : number + RUN]
        outside = 0
        for k in range(RUN):
            room[k] = run[k]
            outside += (run[k] < low) | (run[k] > high)
        if outside:
            number, below = _pick(run, low, high, kept, number, below)
        else:
            number += RUN
    return _pick(values[whole:], low, high, kept, number, below)


@njit(nogil=True, cache=True)
def _pick(run, low, high, kept, number, below):
    """Put the values from low to high after those that are kept already; see `_between`."""
    for k in range(run.size):
        value = run[k]
        kept[number] = value
        number += (value >= low) & (value <= high)
        below += value < low
    return number, below


class _Middle:
    """The middle of some float32 values, from which values are taken away at both ends.

    Only values near the median of a sample are put in order, and stay in order when others go.
    """

    def __init__(self):
        self.near, self.first = np.empty(0, np.float32), 0

    def median(self, values: np.ndarray, memory: np.ndarray) -> np.float32:
        """Median of the values that are left, equal to `numpy.median`; memory for as many is written to."""
        lower, upper = (values.size - 1) // 2, values.size // 2
        known = self.first <= lower and upper < self.first + self.near.size
        if not known and not self._look(values, memory):
            return np.median(values)
        return np.mean(self.near[lower - self.first : upper - self.first + 1])

    def _look(self, values: np.ndarray, memory: np.ndarray) -> bool:
        """Put the values near the median in order; whether it is among them."""
        sample = np.sort(values[::SAMPLE_STEP])
        if sample.size <= 4 * SAMPLE_RANKS:
            return False
        centre = sample.size // 2
        number, self.first = _between(
            values, sample[centre - SAMPLE_RANKS], sample[centre + SAMPLE_RANKS], memory
        )
        self.near = np.sort(memory[:number])
        return self.first <= (values.size - 1) // 2 and values.size // 2 < self.first + number

    def keep(self, low: np.float32, high: np.float32, below: int) -> None:
        """Forget the values that are not from low to high; so many of all were lower."""
        begin, end = np.searchsorted(self.near, low), np.searchsorted(self.near, high, side="right")
        self.near, self.first = self.near[begin:end], self.first + int(begin) - below


def _mean_and_deviation(
    values: np.ndarray, squares: np.ndarray, in_blocks: bool
) -> tuple[np.float32, np.float32]:
    """Mean and standard deviation; in blocks, with the sums that numpy takes of an array in FITS byte order.

    The steps are those of `numpy.mean` and `numpy.std`, but that the mean is taken once, and that the squares go where
    there is memory already.
    """
    number = np.intp(values.size)
    mean = np.float32(np.add.reduce(values.astype(">f4") if in_blocks else values) / number)
    np.subtract(values, mean, out=squares)
    np.multiply(squares, squares, out=squares)
    variance = np.float32(np.add.reduce(squares.astype(">f4") if in_blocks else squares) / number)
    return mean, np.sqrt(variance)


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
    middle = _Middle()
    # one holds the values that are left, and the other first their squares, then those of them that stay
    memory, other = np.empty_like(values), np.empty_like(values)
    for _ in range(iterations):
        centre = middle.median(values, memory)
        mean, spread = _mean_and_deviation(values, memory[: values.size], in_blocks)
        low, high = centre - spread * sigma, centre + spread * sigma
        number, below = _between(values, low, high, memory)
        if number == values.size:
            return ClippedStatistics(mean, centre, spread)
        middle.keep(low, high, below)
        values, memory, other = memory[:number], other, memory
    mean, spread = _mean_and_deviation(values, memory[: values.size], in_blocks)
    return ClippedStatistics(mean, middle.median(values, memory), spread)


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
