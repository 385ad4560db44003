r"""Bias level from the overscan of each frame.

The level of line *j* and the drift along column *i* are straight lines, fitted to the medians of the physical
overscan (by line) and of the virtual overscan (by column):

.. math:: S'_{ji} = (S_{ji} - (a\,(j - j_0) + b)) - c\,(i - i_0)

The drift is zero at the centre of the bias section, so the level measured there is kept. Signal lowers the whole line
that it is read in, overscan included (STIS ISR 97-09); where that is asked for, the level of each line follows its own
signal, and the straight line is that of the lines without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit

from refstis.calibration.geometry import Overscan, sequential_sum
from refstis.calibration.medians import BLOCK, median_network, sort_lanes

__all__ = [
    "BLEV_CLIP",
    "BiasLevel",
    "LevelledFrame",
    "fit_bias_level",
    "fit_line",
    "masked_medians",
    "subtract_bias_level",
]

# Clip of the virtual overscan (sigma) where the CCDTAB has no column BLEV_CLIP, as in CALSTIS.
BLEV_CLIP = 50.0
# Half width (columns) of the window that a hot value of the virtual overscan is replaced from, as in CALSTIS.
HALF_WINDOW = 10
# Histograms side by side: an increment has to wait for the one before it in the same bin.
LANES = 8
# A level as near as that to a whole number (DN) does not tell how differences up to some thousand DN are cut.
NEAR_INTEGER = 2.0**-10
# A level beyond the range of 16 bits (DN) is none.
MOST_LEVEL = 1e6
# Deviations above this multiple of the median deviation do not enter the scatter of the virtual overscan.
SCATTER_CLIP = 4.5
ONE = np.float32(1)


@dataclass(frozen=True)
class BiasLevel:
    """Bias level of one frame.

    Parameters
    ----------
    level : numpy.ndarray
        Level of each output line (DN), float64.
    drift : numpy.ndarray
        Drift at each output column (DN), float64; 0 at the centre of the bias section.
    mean : numpy.float32
        Mean level including the drift at the middle column (keyword MEANBLEV, DN).
    from_overscan : bool
        False where no pixel of the bias section was good and the level is CCDBIAS.
    has_drift : bool
        Whether the drift was measured.
    """

    level: np.ndarray
    drift: np.ndarray
    mean: np.float32
    from_overscan: bool
    has_drift: bool


def masked_medians(values: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median of the good values of each row.

    Parameters
    ----------
    values : numpy.ndarray
        Two-dimensional float64 array.
    good : numpy.ndarray
        Boolean array of the same shape.

    Returns
    -------
    tuple of numpy.ndarray
        Medians (float64; the mean of the two central values for an even number) and numbers of good values.
    """
    return _masked_medians(values, good, median_network(values.shape[1]))


@njit(nogil=True, cache=True)
def _masked_medians(values, good, network):
    """Medians of rows: of many rows side by side where all their values are good, else row by row."""
    rows, columns = values.shape
    medians = np.zeros(rows)
    counts = np.zeros(rows, dtype=np.int64)
    work = np.empty(columns)
    lanes = np.empty((columns, BLOCK))
    for begin in range(0, rows, BLOCK):
        end = min(begin + BLOCK, rows)
        if columns and end - begin == BLOCK and good[begin:end].all():
            for x in range(BLOCK):
                for i in range(columns):
                    lanes[i, x] = values[begin + x, i]
            sort_lanes(lanes, network)
            lower, upper = lanes[(columns - 1) // 2], lanes[columns // 2]
            for x in range(BLOCK):
                medians[begin + x] = lower[x] if columns % 2 else (lower[x] + upper[x]) / 2.0
            counts[begin:end] = columns
            continue
        for j in range(begin, end):
            n = 0
            for i in range(columns):
                if good[j, i]:
                    value = values[j, i]
                    k = n
                    while k > 0 and work[k - 1] > value:
                        work[k] = work[k - 1]
                        k -= 1
                    work[k] = value
                    n += 1
            counts[j] = n
            if n:
                medians[j] = work[n // 2] if n % 2 else (work[n // 2 - 1] + work[n // 2]) / 2.0
    return medians, counts


@njit(nogil=True, cache=True)
def _replace_above(rows, limit, first, last):
    """Replace values above the limit by the median of their neighbours in the row, in place and in raster order."""
    width = 2 * HALF_WINDOW + 1
    work = np.empty(width)
    for j in range(rows.shape[0]):
        for i in range(first, last + 1):
            if not rows[j, i] > limit:
                continue
            begin = max(i - HALF_WINDOW, first)
            end = begin + width - 1
            if end > last:
                end = last
                begin = max(end - width + 1, 0)
            n = end - begin + 1
            for m in range(n):
                # each goes to its place among those before it, behind them where it is no number
                value, k = rows[j, begin + m], m
                while k > 0 and (work[k - 1] > value or np.isnan(work[k - 1])):
                    work[k] = work[k - 1]
                    k -= 1
                work[k] = value
            middle = work[n // 2] if n % 2 else (work[n // 2 - 1] + work[n // 2]) / 2.0
            rows[j, i] = np.float64(np.float32(middle))


@njit(nogil=True, cache=True)
def _scatter_of_integers(values, clip):
    """As `_scatter`, of whole numbers from 0 to 65535: counted, not put in order."""
    counts = np.zeros(65536, dtype=np.int64)
    low, high = np.int64(65535), np.int64(0)
    for j in range(values.shape[0]):
        for i in range(values.shape[1]):
            value = np.int64(values[j, i])
            counts[value] += 1
            low, high = min(low, value), max(high, value)
    n = values.size
    first, second, seen = low, low, np.int64(0)
    for level in range(low, high + 1):
        if seen <= (n - 1) // 2:
            first = np.int64(level)
        if seen <= n // 2:
            second = np.int64(level)
        seen += counts[level]
    centre = (np.float64(first) + np.float64(second)) / 2.0
    # deviations in their order: outwards from the median on both sides; first their median, then the sum to the limit
    total, used, before, spread = 0.0, np.int64(0), 0.0, 0.0
    for summing in range(2):
        seen = np.int64(0)
        below, above = np.int64(np.ceil(centre)) - 1, np.int64(np.ceil(centre))
        while below >= low or above <= high:
            nearer_below = below >= low and (above > high or centre - below < above - centre)
            value = below if nearer_below else above
            deviation = abs(value - centre)
            if summing:
                if deviation > clip * spread:
                    break
                for _ in range(counts[value]):
                    total += deviation * deviation
                used += counts[value]
            else:
                if seen <= n // 2 - 1 < seen + counts[value]:
                    before = deviation
                if seen <= n // 2 < seen + counts[value]:
                    spread = deviation if n % 2 else (before + deviation) / 2.0
                    break
                seen += counts[value]
            below, above = (below - 1, above) if nearer_below else (below, above + 1)
    return centre, np.sqrt(total / used) if used else 0.0


def _scatter(values, clip):
    """Median, and root mean square of the deviations up to a multiple of their median."""
    values = values.astype(np.float64)
    centre = np.median(values)
    deviations = np.sort(np.abs(values.ravel() - centre))
    n = len(deviations)
    spread = deviations[n // 2] if n % 2 else (deviations[n // 2 - 1] + deviations[n // 2]) / 2.0
    kept = deviations[: np.searchsorted(deviations, clip * spread, side="right")]
    return centre, math.sqrt(sequential_sum(kept * kept) / len(kept)) if len(kept) else 0.0


@njit(nogil=True, cache=True)
def fit_line(x, values, counts):
    r"""Unweighted straight line through points, with sums taken in order.

    .. math:: a = \frac{\sum x v - \bar x \bar v n}{\sum x^2 - (\sum x)^2 / n}, \quad b = \bar v - a \bar x

    Parameters
    ----------
    x, values : numpy.ndarray
        float64 arrays of equal length.
    counts : numpy.ndarray
        Of each point, int64: those with 0 are left out.

    Returns
    -------
    found : bool
        Whether the points determine a line.
    slope, intercept : float
        Slope *a* and value at 0 *b*; both 0 where they do not.
    """
    n, sum_x, sum_v, sum_xv, sum_xx = 0, 0.0, 0.0, 0.0, 0.0
    for k in range(x.shape[0]):
        if counts[k] > 0:
            n += 1
            sum_x += x[k]
            sum_v += values[k]
            sum_xv += x[k] * values[k]
            sum_xx += x[k] * x[k]
    if n < 1:
        return False, 0.0, 0.0
    determinant = sum_xx - sum_x * sum_x / n
    if determinant == 0:
        return False, 0.0, 0.0
    mean_x, mean_v = sum_x / n, sum_v / n
    slope = (sum_xv - mean_x * mean_v * n) / determinant
    return True, slope, mean_v - slope * mean_x


def _means_near(values, good, medians, limit):
    """Mean of the good values of each row within a limit of its median."""
    near = good & (np.abs(values - medians[:, np.newaxis]) <= limit)
    counts = np.count_nonzero(near, axis=1)
    return np.where(near, values, 0.0).sum(axis=1) / np.maximum(counts, 1), counts


def fit_bias_level(
    frame,
    flags,
    geometry: Overscan,
    sdqflags: int,
    ccdbias: float,
    blev_clip: float,
    mean_within: float | None = None,
    row_signal: float | None = None,
) -> BiasLevel:
    """Bias level of a frame from its overscan.

    Parameters
    ----------
    frame : array_like
        Raw frame (DN), float32 or uint16, anything that gives an array for ``frame[rows, columns]``.
    flags : array_like or None
        Data quality (int16) of the same shape, likewise; None where no pixel is flagged.
    geometry : Overscan
        Overscan of the frame.
    sdqflags : int
        Pixels with any of these flags are left out (keyword SDQFLAGS).
    ccdbias : float
        Level (DN) where the overscan has no good pixel (CCDTAB column CCDBIAS).
    blev_clip : float
        Values of the virtual overscan higher than this many sigma are replaced (CCDTAB column BLEV_CLIP).
    mean_within : float, optional
        Take means of what lies within this distance of the medians (DN) in place of the medians, whose variance is
        half as large again (1.57 times that of a mean for many values, 1.5 for 15).
    row_signal : float, optional
        Mean signal of a line (DN) that lowers the line by 1 DN. Without it the straight line goes through the mean of
        all lines, and those of little signal, which are more than half of them, stay too high.

    Returns
    -------
    BiasLevel
        Level by line, drift by column and their mean.

    Notes
    -----
    Hot columns that run through the virtual overscan pull the drift where they stay below the clip.
    """
    rows, columns = geometry.trim(frame.shape)
    ny, nx = rows.stop - rows.start, columns.stop - columns.start
    section = slice(geometry.section[0], geometry.section[1] + 1)
    values = frame[rows, section].astype(np.float64)
    good = _good(flags, rows, section, values.shape, sdqflags)
    levels, counts = masked_medians(values, good)
    if mean_within is not None:
        levels, counts = _means_near(values, good, levels, mean_within)
    depression = np.zeros(ny) if row_signal is None else _depression(frame, rows, columns, row_signal)
    zero = sum(geometry.section) / 2 - geometry.left
    drift_slope = (
        _fit_drift(frame, flags, geometry, sdqflags, blev_clip, mean_within) if geometry.has_drift else 0.0
    )
    level, drift = np.empty(ny), np.empty(nx)
    found, mean = _fit_level(
        levels, counts, depression, float(np.float32(ccdbias)), drift_slope, zero, level, drift
    )
    return BiasLevel(level, drift, np.float32(mean), found, geometry.has_drift)


@njit(nogil=True, cache=True)
def _fit_level(levels, counts, depression, ccdbias, drift_slope, zero, level, drift):
    """Level of each line and drift at each column; whether the level is measured, and their mean."""
    ny, nx = level.shape[0], drift.shape[0]
    lines = np.arange(ny) - float(ny // 2)
    found, slope, intercept = fit_line(lines, levels + depression, counts)
    if not found:
        slope, intercept = 0.0, ccdbias
    for x in range(nx):
        drift[x] = (x - zero) * drift_slope
    total = 0.0
    for y in range(ny):
        level[y] = lines[y] * slope + intercept - depression[y]
        total += level[y] + drift[nx // 2]
    return found, total / ny


def _depression(frame, rows, columns, row_signal):
    """By how much the signal of each line lowers it more than that of all lines lowers them in the mean (DN)."""
    signal = np.asarray(frame[rows, columns]).mean(axis=1, dtype=np.float64)
    return (signal - signal.mean()) / row_signal


def _good(flags, rows, columns, shape, sdqflags):
    if flags is None:
        return np.ones(shape, dtype=np.bool_)
    return (flags[rows, columns] & np.int16(sdqflags)) == 0


def _fit_drift(frame, flags, geometry, sdqflags, blev_clip, mean_within):
    first, last = geometry.virtual_x
    rows, columns = slice(geometry.virtual_y[0], geometry.virtual_y[1] + 1), slice(first, last + 1)
    lines = np.ascontiguousarray(frame[rows, :])
    good = _good(flags, rows, columns, (lines.shape[0], last - first + 1), sdqflags)
    centre, sigma = (0.0, 0.0) if lines.dtype == np.uint16 else _scatter(lines[:, columns], SCATTER_CLIP)
    by_column, medians, counts = _column_medians(
        lines, first, last, float(np.float32(blev_clip)), centre, sigma, good, median_network(len(lines))
    )
    if mean_within is not None:
        medians, counts = _means_near(by_column, np.ascontiguousarray(good.T), medians, mean_within)
    found, slope, _ = fit_line(
        np.arange(first, last + 1, dtype=np.float64) - (first + last) // 2, medians, counts
    )
    return slope if found else 0.0


@njit(nogil=True, cache=True)
def _column_medians(lines, first, last, clip, centre, sigma, good, network):
    """Medians of the columns first to last of the virtual overscan (whole lines), after its hot values were replaced.

    Of whole numbers the scatter is taken here. Gives the values by column, too, and the numbers of good ones.
    """
    if lines.itemsize == 2:
        centre, sigma = _scatter_of_integers(lines[:, first : last + 1], SCATTER_CLIP)
    virtual = lines.astype(np.float64)
    _replace_above(virtual, centre + clip * sigma, first, last)
    by_column = np.ascontiguousarray(virtual[:, first : last + 1].T)
    medians, counts = _masked_medians(by_column, np.ascontiguousarray(good.T), network)
    return by_column, medians, counts


@njit(nogil=True, cache=True)
def _subtract(pixels, left, level, drift, out):
    for j in range(level.shape[0]):
        # of parts of lines that are named beforehand the compiler makes vector instructions
        line, target, base = pixels[j, left : left + drift.shape[0]], out[j], level[j]
        for i in range(drift.shape[0]):
            target[i] = np.float32((np.float64(line[i]) - base) - drift[i])


def subtract_bias_level(pixels: np.ndarray, level: np.ndarray, drift: np.ndarray) -> np.ndarray:
    """Subtract a bias level from lines of a frame: two subtractions in double, then one rounding.

    Parameters
    ----------
    pixels : numpy.ndarray
        Lines of the illuminated area (DN), float32 or uint16.
    level : numpy.ndarray
        Level of each of these lines (DN), float64.
    drift : numpy.ndarray
        Drift at each of these columns (DN), float64.

    Returns
    -------
    numpy.ndarray
        float32 array of the same shape (DN).
    """
    out = np.empty(pixels.shape, dtype=np.float32)
    _subtract(np.ascontiguousarray(pixels), 0, level, drift, out)
    return out


@njit(nogil=True, cache=True)
def _bins_of_part(values, base, low, size, bins):
    """Bins of whole numbers less a level between base and base + 1, cut towards zero; sums of them and of magnitudes.

    The first and last of the bins take what lies outside.
    """
    total, magnitude = np.int32(0), np.int32(0)
    # a result of two 32-bit numbers has 64 bits here, half as many at a time, unless it is cut
    lowest, highest, first = np.int32(low - 1), np.int32(low + size - 2), np.int32(low - 1)
    for x in range(values.shape[0]):
        above = np.int32(np.int32(values[x]) - base)
        total = np.int32(total + above)
        magnitude = np.int32(magnitude + abs(above))
        part = np.int32(above - np.int32(above > 0))
        bins[x] = np.uint32(min(max(part, lowest), highest) - first)
    return total, magnitude


@njit(nogil=True, cache=True)
def _survey(pixels, left, level, drift, flagged, low, counts, sums):
    """Histogram of a frame of whole numbers less its level, and sums of it; see `LevelledFrame.survey`.

    In a part of a line whose level lies between the same whole numbers, and not next to one, the cut of a difference
    follows from whole numbers alone, whatever its rounding to float32 is. Of other pixels the differences are formed.
    """
    columns, size = drift.shape[0], np.int32(counts.shape[0])
    low = np.int32(low)
    bins = np.empty(columns, dtype=np.uint32)
    drifts = np.zeros(columns + 1)
    for x in range(columns):
        drifts[x + 1] = drifts[x] + drift[x]
    rising = drift[columns - 1] >= drift[0]
    next_flagged = 0
    for y in range(level.shape[0]):
        line, total, magnitude = pixels[y, left : left + columns], 0.0, 0.0
        begin = 0
        while begin < columns:
            here = level[y] + drift[begin]
            base = np.floor(here)
            least, greatest = base + NEAR_INTEGER, base + 1 - NEAR_INTEGER
            end = begin
            if least < here < greatest:
                # the drift is monotonous: the end of the part is found by halving
                first, last = begin, columns
                while last - first > 1:
                    middle = (first + last) // 2
                    there = level[y] + drift[middle]
                    if (there < greatest) if rising else (there > least):
                        first = middle
                    else:
                        last = middle
                end = first + 1
            if end > begin:
                integers, magnitudes = _bins_of_part(
                    line[begin:end], np.int32(base), low, size, bins[begin:end]
                )
                number = end - begin
                total += integers - (number * (level[y] - base) + drifts[end] - drifts[begin])
                magnitude += magnitudes + number
            else:
                end = begin + 1
                value = np.float32((np.float64(line[begin]) - level[y]) - drift[begin])
                bins[begin] = np.uint32(
                    min(max(np.int32(value) - low + np.int32(1), np.int32(0)), size - np.int32(1))
                )
                total += np.float64(value)
                magnitude += abs(np.float64(value))
            begin = end
        for x in range(columns):
            counts[bins[x], np.uint32(x) % np.uint32(LANES)] += np.uint32(1)
        while next_flagged < flagged.size and flagged[next_flagged] < (y + 1) * columns:
            x = flagged[next_flagged] - y * columns
            counts[bins[x], np.uint32(x) % np.uint32(LANES)] -= np.uint32(1)
            total -= (np.float64(line[x]) - level[y]) - drift[x]
            next_flagged += 1
        sums[1] = max(sums[1], abs(sums[0]) + magnitude)
        sums[0] += total


@dataclass(frozen=True, eq=False)
class LevelledFrame:
    """A frame less its bias level, of which any window can be produced; of a dark, less its superbias and scaled.

    Parameters
    ----------
    raw : array_like
        Raw frame (DN), uint16 or float32: anything that gives an array for ``raw[rows]``.
    level, drift : numpy.ndarray
        Level of each line and drift at each column of what is illuminated (DN), float64.
    corner : tuple of int
        Row and column of the raw frame where that begins.
    bias : numpy.ndarray or None
        What is subtracted then (DN), float32 of the shape of what is illuminated.
    factor : numpy.float32
        What that is multiplied by.
    """

    raw: Any
    level: np.ndarray
    drift: np.ndarray
    corner: tuple[int, int] = (0, 0)
    bias: np.ndarray | None = None
    factor: np.float32 = ONE

    def __call__(self, rows: slice, columns: slice) -> np.ndarray:
        """A window.

        Parameters
        ----------
        rows, columns : slice
            With start and stop.

        Returns
        -------
        numpy.ndarray
            float32 (DN).
        """
        level, drift = self.level[rows], self.drift[columns]
        out = np.empty((len(level), len(drift)), dtype=np.float32)
        _subtract(self._lines(rows), self.corner[1] + columns.start, level, drift, out)
        if self.bias is not None:
            out -= self.bias[rows, columns]
        if self.factor != 1:
            out *= self.factor
        return out

    def less(self, bias: np.ndarray) -> LevelledFrame | None:
        """The same less another image.

        Parameters
        ----------
        bias : numpy.ndarray
            The image (DN), float32.

        Returns
        -------
        LevelledFrame or None
            None where another one was subtracted already, or the frame scaled.
        """
        return replace(self, bias=bias) if self.bias is None and self.factor == 1 else None

    def times(self, factor: np.float32) -> LevelledFrame | None:
        """The same multiplied by a number.

        Parameters
        ----------
        factor : numpy.float32
            The number.

        Returns
        -------
        LevelledFrame or None
            None where the frame was scaled already.
        """
        return replace(self, factor=factor) if self.factor == 1 else None

    @property
    def of_integers(self) -> bool:
        """Whether this is a frame of whole numbers less a level that such a frame can have, and no more."""
        plain = self.bias is None and self.factor == 1
        return plain and np.dtype(self.raw.dtype) == np.uint16 and bool(np.abs(self.level).max() < MOST_LEVEL)

    def survey(self, flagged: np.ndarray, low: int, high: int) -> tuple[float, float, np.ndarray]:
        """Histogram of a frame of whole numbers, with bins of 1 DN, which needs no differences to be formed.

        Parameters
        ----------
        flagged : numpy.ndarray
            Flat indices of pixels to leave out, ascending, int64.
        low, high : int
            Integer parts, cut towards zero, of the first and last bin.

        Returns
        -------
        total : float
            Sum of the pixels that are not flagged (DN).
        reach : float
            What the magnitude of no sum of the pixels up to any of them exceeds (DN), with room for the rounding of
            the pixels to float32.
        counts : numpy.ndarray
            Numbers of pixels below, in and above the bins.
        """
        counts = np.zeros((high - low + 3, LANES), dtype=np.uint32)
        sums = np.zeros(2)
        lines = self._lines(slice(0, len(self.level)))
        _survey(lines, self.corner[1], self.level, self.drift, flagged, low, counts, sums)
        # rounding changes the mean by less than 2**-24 of the mean magnitude: that of a line over its length
        reach = float(sums[1]) * (1 + 1 / len(self.drift))
        return float(sums[0]), reach, counts.sum(axis=1, dtype=np.int64)

    def _lines(self, rows):
        bottom = self.corner[0]
        return np.ascontiguousarray(self.raw[bottom + rows.start : bottom + rows.stop])
