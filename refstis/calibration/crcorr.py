r"""Cosmic-ray rejection by combining the images of a stack (CALSTIS's ocrreject).

Each image *n* is brought to a rate, :math:`v_n = (S_n - s_n) / e_n`, with its sky :math:`s_n` and exposure factor
:math:`e_n` (its exposure time; 1 for biases). A first guess *a* is the median or the minimum of the rates. In each
iteration with a limit :math:`\sigma`, a pixel is a hit where

.. math:: (v_n - a)^2 > \sigma^2 \frac{r_n^2 + d_n / g_n + (\epsilon p_n)^2}{e_n^2},
   \qquad d_n = \max(a e_n + s_n, 0), \quad p_n = \max(d_n - s_n, 0)

with read noise :math:`r_n` (DN), gain :math:`g_n` and multiplicative noise :math:`\epsilon`. Its neighbours within
the radius are spilled on where the square exceeds the limit without the multiplicative term, times the square of
the propagation threshold. The new *a* is the exposure-weighted mean of what is left. The result is scaled to the total
exposure, with the skies added back.

All arithmetic is float32 and every sum is taken image after image, as in CALSTIS.

References
----------
STIS ISR 98-22; the order of operations is that of CALSTIS 3.5.0, ocrreject.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit

from refstis.calibration.blevcorr import LANES, LevelledFrame
from refstis.calibration.geometry import sequential_sum
from refstis.calibration.medians import network_for, stack_medians
from refstis.cores import in_threads

__all__ = [
    "COSMIC_RAY",
    "Combination",
    "RejectionParameters",
    "StackImage",
    "put_rows",
    "reject_cosmic_rays",
    "sky_mode",
    "sky_of",
]

COSMIC_RAY = 8192
NOT_COSMIC_RAY = ~COSMIC_RAY
# State of a pixel of one image: used, next to a hit, excluded by its flags, hit.
USED, SPILL, EXCLUDED, HIT = 0, 1, 2, 3
# Rows of a tile are chosen so that its stack of float32 pixels stays below this size (bytes), and are no more than
# these: of few images, what stays in the caches is worth more than the overlap costs.
TILE_BYTES = 24 * 2**20
TILE_ROWS = 150
# Rows whose images are gone through one after the other: what they are added up in stays in the second-level cache.
BLOCK_ROWS = 16
# Pixels that are looked at together for whether there is anything to do.
LOOKED_AT = 64
# Floats that a line of the stack is longer than one of the image.
LINE_PADDING = 16
# Rows that the sky is taken of at a time, the range (DN) that pixels are counted in first, and
# where the histogram of the sky begins if there are values below that.
SKY_ROWS = 128
SKY_LOW, SKY_HIGH = -1001, 3000
SKY_LEAST = -1000
# Pixels whose sums are taken side by side, and rows after which these are added up.
SKY_WIDTH, SKY_GROUP = 64, 8


class Image(Protocol):
    """Anything that gives an array for a window and has a shape: an array, or pixels produced on demand.

    What can tell its `source`, a frame less its bias level, is asked for the histogram of that; what can `remember`,
    for what follows from it.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        ...

    def __getitem__(self, key, /) -> np.ndarray: ...


def put_rows(image: Image, rows: slice, out: np.ndarray, less: np.float32, divisor: np.float32) -> None:
    """Put some rows of an image, less a constant and divided by another, into the first rows and columns of an array.

    Parameters
    ----------
    image : array_like
        Pixels (DN); see `StackImage`.
    rows : slice
        With start and stop.
    out : numpy.ndarray
        Where to: float32, of as many rows and columns or more.
    less, divisor : numpy.float32
        The constants.
    """
    window = image[rows]
    target = out[: window.shape[0], : window.shape[1]]
    np.subtract(window, less, out=target)
    if divisor != 1:
        np.divide(target, divisor, out=target)


def _remember(image, question, answer):
    """What follows from an image, found out once where it can remember."""
    return image.remember(question, answer) if hasattr(image, "remember") else answer()


class StackImage(NamedTuple):
    """One image of the stack.

    Parameters
    ----------
    sci : array_like
        Pixels (DN): anything that gives a float32 array for ``sci[rows]`` and has a shape.
    dq : array_like or None
        Data quality flags (int16), likewise; None where no pixel is flagged.
    exptime : float
        Exposure time (s).
    gain : float
        Calibrated gain ATODGAIN (e-/DN).
    readnoise : float
        Calibrated read noise READNSE (e- rms).
    """

    sci: Image
    dq: Image | None
    exptime: float
    gain: float
    readnoise: float


@dataclass(frozen=True)
class RejectionParameters:
    """Parameters of the rejection: one row of the CRREJTAB.

    Parameters
    ----------
    sigmas : tuple of float
        Limit of each iteration (CRSIGMAS).
    initial_guess : str
        "median" or "minimum" (INITGUES).
    sky : str
        "mode" or "none" (SKYSUB).
    radius : float
        Radius of propagation around a hit (pixels; CRRADIUS).
    threshold : float
        Limit within the radius, in units of the iteration's (CRTHRESH); all neighbours are rejected at 0 or below.
    scale_noise : float
        Multiplicative noise (percent; SCALENSE).
    bad_bits : int
        Pixels with any of these flags take no part (BADINPDQ).
    """

    sigmas: tuple[float, ...]
    initial_guess: str = "median"
    sky: str = "mode"
    radius: float = 1.5
    threshold: float = 0.8
    scale_noise: float = 0.0
    bad_bits: int = 0

    def __post_init__(self):
        if not self.sigmas:
            raise ValueError("the rejection needs at least one limit (CRSIGMAS)")
        if self.sky not in {"mode", "none"}:
            raise ValueError(f"sky subtraction {self.sky!r} is neither 'mode' nor 'none' (SKYSUB)")
        if self.initial_guess not in {"median", "minimum"}:
            raise ValueError(
                f"initial guess {self.initial_guess!r} is neither 'median' nor 'minimum' (INITGUES)"
            )


@dataclass(frozen=True)
class Combination:
    """What a stack was combined to.

    Parameters
    ----------
    sci, err : numpy.ndarray
        Sum of the accepted pixels scaled to the total exposure, and its uncertainty (DN), float32.
    dq : numpy.ndarray
        OR of the images' flags without 8192, and 8192 where a pixel was rejected in every image, int16.
    sky : numpy.ndarray
        Sky of each image (DN), float32.
    exptime : numpy.float32
        Total exposure time (s).
    rejected_count : int
        Rejected pixels, summed over the images.
    rejected_bits : numpy.ndarray
        Rejected pixels of each image, eight to a byte along x (`numpy.packbits`).
    """

    sci: np.ndarray
    err: np.ndarray
    dq: np.ndarray
    sky: np.ndarray
    exptime: np.float32
    rejected_count: int
    rejected_bits: np.ndarray = field(repr=False)

    def rejected(self, n: int) -> np.ndarray:
        """Rejected pixels of one image.

        Parameters
        ----------
        n : int
            Index of the image.

        Returns
        -------
        numpy.ndarray
            Boolean array of the image's shape.
        """
        return np.unpackbits(self.rejected_bits[n], axis=1, count=self.sci.shape[1]).view(np.bool_)


@njit(nogil=True, cache=True)
def _sequential_total(sci, total):
    """Float32 sum in raster order, from a total on."""
    for y in range(sci.shape[0]):
        for x in range(sci.shape[1]):
            total += sci[y, x]
    return total


@njit(nogil=True, cache=True)
def _survey_lines(sci, flagged, low, line, bins, signed, magnitudes, sums, counts):
    """Add pixels to a sum and to a histogram of their integer parts, cut towards zero. The flagged pixels count as 0.

    Sums: the sum so far, and a bound of the magnitude of all partial sums on the way to it. The first and last bin take
    what lies outside. Neighbouring pixels go to different histograms, as an increment has to wait for the one before it
    in the same bin. All arrays from line to magnitudes are scratch.
    """
    size = counts.shape[0]
    columns = sci.shape[1]
    least, highest = np.float32(low - 1), np.float32(low + size - 2)
    next_flagged = 0
    for y in range(sci.shape[0]):
        for x in range(columns):
            line[x] = np.float32(sci[y, x])
        while next_flagged < flagged.size and flagged[next_flagged] < (y + 1) * columns:
            line[flagged[next_flagged] - y * columns] = 0
            next_flagged += 1
        if y % SKY_GROUP == 0:
            signed[:] = 0
            magnitudes[:] = 0
        for part in range(line.shape[0] // SKY_WIDTH):
            for x in range(SKY_WIDTH):
                value = np.float64(line[part * SKY_WIDTH + x])
                signed[x] += value
                magnitudes[x] += abs(value)
        if y % SKY_GROUP == SKY_GROUP - 1 or y == sci.shape[0] - 1:
            sums[1] = max(sums[1], abs(sums[0]) + magnitudes.sum())
            sums[0] += signed.sum()
        for x in range(columns):
            # NaN goes beyond the last bin
            value = min(highest, max(least, line[x]))
            bins[x] = np.uint32(np.int32(value) - low + 1)
        for x in range(columns):
            counts[bins[x], np.uint32(x) % np.uint32(LANES)] += np.uint32(1)


def sky_mode(sci, flagged: np.ndarray | None = None) -> np.float32:
    """Most frequent value of an image, from a histogram with bins of 1 DN.

    Parameters
    ----------
    sci : array_like
        Pixels (DN): anything that gives a float32 array for ``sci[rows]`` and has a shape.
    flagged : numpy.ndarray or None
        Flat indices of the pixels to leave out, ascending; None for none.

    Returns
    -------
    numpy.float32
        Mode (DN), interpolated between the highest bin and its neighbours; 0 where no pixel is good.

    Raises
    ------
    ValueError
        Where good pixels are not finite numbers.

    Notes
    -----
    Values are cut towards zero, so the bin of 0 is two DN wide and the mode of zero-mean data lies near +0.5.

    The ends of the histogram follow from the least value and from the float32 mean, summed in raster order. Pixels are
    counted over a wide range, of which the histogram is a part, so that they are gone through once. Where the mode is
    the same for all upper ends that the rounding of the sequential sum could lead to, that sum is spared.
    """
    columns = sci.shape[1]
    bad = np.empty(0, dtype=np.int64) if flagged is None else flagged
    good = sci.shape[0] * columns - len(bad)
    if not good:
        return np.float32(0)

    source = getattr(sci, "source", None)
    frame = source if isinstance(source, LevelledFrame) and source.of_integers else None
    # what is produced on demand is produced once
    pixels = sci if frame is not None or isinstance(sci, np.ndarray) else sci[:]

    def bands():
        for begin in range(0, sci.shape[0], SKY_ROWS):
            first, last = np.searchsorted(bad, (begin * columns, (begin + SKY_ROWS) * columns))
            yield pixels[begin : begin + SKY_ROWS], bad[first:last] - begin * columns

    def survey(low, high):
        """Sum of the good pixels, what no partial sum exceeds, and the numbers below, in, and above the bins."""
        if frame is not None:
            return frame.survey(bad, low, high)
        counts = np.zeros((high - low + 3, LANES), dtype=np.uint32)
        # columns up to a multiple of the width are 0
        line = np.zeros(-(-columns // SKY_WIDTH) * SKY_WIDTH, dtype=np.float32)
        bins, sums = np.empty(columns, dtype=np.uint32), np.zeros(2)
        _survey_lines(pixels, bad, low, line, bins, np.empty(SKY_WIDTH), np.empty(SKY_WIDTH), sums, counts)
        numbers = counts.sum(axis=1, dtype=np.int64)
        numbers[1 - low] -= len(bad)
        return float(sums[0]), float(sums[1]), numbers

    total, reach, counts = survey(SKY_LOW, SKY_HIGH)
    if not (math.isfinite(total) and math.isfinite(reach)):
        # the sky of such an image would be wrong, and all its pixels rejected for it
        raise ValueError("pixels that are not finite numbers")
    if counts[: 2 - SKY_LOW + SKY_LEAST].any():
        least = min(float(_patched(lines, places).min()) for lines, places in bands())
        low = SKY_LEAST if least < SKY_LEAST else math.trunc(least) - 1
    else:
        negative = np.flatnonzero(counts[: 1 - SKY_LOW])
        low = (int(negative[0]) + SKY_LOW - 1 if len(negative) else 0) - 1
    # each of the sequential additions rounds by half a unit in the last place at most, of a sum that is itself off by
    # less than its bound as long as the additions are fewer than 2**23
    doubt = 2.0 * 2.0**-24 * reach if good < 2**23 else math.inf
    ends = _histogram_end(total / good - doubt), _histogram_end(total / good + doubt)
    if low >= SKY_LOW and ends[1] <= SKY_HIGH:
        narrow, wide = (counts[1 + low - SKY_LOW : 2 + high - SKY_LOW] for high in ends)
        # what is highest of all bins, and not the last of any, is so whatever the end
        if len(narrow) == len(wide) or (len(narrow) > 2 and int(np.argmax(wide)) < len(narrow) - 1):
            return _mode(narrow, low)
    exact = np.float32(0)
    for lines, places in bands():
        exact = _sequential_total(_patched(lines, places), exact)
    high = _histogram_end(np.float32(exact / np.float32(good)))
    if low >= SKY_LOW and high <= SKY_HIGH:
        return _mode(counts[1 + low - SKY_LOW : 2 + high - SKY_LOW], low)
    return _mode(survey(low, high)[2][1:-1], low)


def _patched(pixels, places):
    """Pixels with 0 in these places, which changes neither sums nor the least value that matters."""
    if not len(places):
        return pixels
    pixels = pixels.copy()
    pixels.flat[places] = 0
    return pixels


def _histogram_end(mean):
    """Upper end of the histogram that belongs to a mean."""
    return 1 if not mean > 0 else math.trunc(min(float(mean), 1e8) + 1.0) * 2


def _mode(counts, low):
    """Place of the highest bin, interpolated between its neighbours."""
    size, peak = len(counts), int(np.argmax(counts))
    if size == 1:
        return np.float32(low + 0.5)
    if size == 2:
        return np.float32(low + 1 if counts[0] == counts[1] else low + peak + 0.5)
    if peak in {0, size - 1}:
        return np.float32(low + peak + 0.5)
    before = np.float32(counts[peak] - counts[peak - 1])
    after = np.float32(counts[peak] - counts[peak + 1])
    width = np.float32(before + after)
    if width < 1e-20:
        return np.float32(low + peak + 0.5)
    place = np.float32(peak + 1 + 0.5 * np.float64(np.float32(before - after)) / np.float64(width))
    return np.float32(np.float64(np.float32(low)) + (np.float64(place) - 0.5))


@njit(nogil=True, cache=True)
def _minimum_variance(sci, n, chosen, efac, sky, gain, noise, scale, variance):
    zero = np.float32(0)
    for y in range(sci.shape[0]):
        for x in range(sci.shape[1]):
            if chosen[y, x] == n:
                raw = max(sci[y, x], zero)
                signal = max(sci[y, x] - sky, zero)
                variance[y, x] = (noise * noise + raw / gain + (scale * signal) * (scale * signal)) / (
                    efac * efac
                )


# Loops are over neighbouring pixels of a line, with few arrays at a time, so that the compiler makes vector
# instructions.


@njit(nogil=True, cache=True, error_model="numpy")
def _limits(guess, variance, use_variance, efac, sky, gain, noise, scale, sig2):
    """Limits of the squared deviation of a pixel: of a hit, and, before the threshold, of a hit's neighbour."""
    if use_variance:
        return sig2 * variance, sig2 * variance
    e2, zero = efac * efac, np.float32(0)
    detected = guess * efac + sky
    near = noise * noise + max(detected, zero) / gain
    signal = max(detected - sky, zero)
    return (sig2 * (near + (scale * signal) * (scale * signal))) / e2, (sig2 * near) / e2


@njit(nogil=True, cache=True, error_model="numpy")
def _flag_line(rate, guess, variance, use_variance, efac, sky, gain, noise, scale, sig2, psig2, flags):
    """For each pixel of a line, bit 1: beyond the limit; bit 2: beyond the limit of a hit's neighbour."""
    for x in range(rate.shape[0]):
        d = rate[x] - guess[x]
        limit, near = _limits(guess[x], variance[x], use_variance, efac, sky, gain, noise, scale, sig2)
        flags[x] = np.uint8(d * d > limit) | (np.uint8(not (d * d <= psig2 * near)) << np.uint8(1))


def _neighbours(radius: float) -> np.ndarray:
    """Rows and columns from a pixel to those within the radius."""
    width = _width(radius)
    side = range(-width, width + 1)
    limit = np.float32(radius) * np.float32(radius)
    return np.array([(j, i) for j in side for i in side if not np.float32(i * i + j * j) > limit])


def _width(radius: float) -> int:
    """Rows or columns that the radius reaches."""
    return math.trunc(float(np.float32(radius)) + 1e-5)


@njit(nogil=True, cache=True)
def _state_of_line(flags, y, width, neighbours, near, state):
    """States of the pixels of a line, of an image without exclusions: the line above which flags begin is -width."""
    columns = state.shape[0]
    near[:] = 0
    for k in range(neighbours.shape[0]):
        left = width + neighbours[k, 1]
        line = flags[y + width + neighbours[k, 0], left : left + columns]
        for x in range(columns):
            near[x] |= line[x]
    line = flags[y + width, width : width + columns]
    for x in range(columns):
        hit = line[x] & np.uint8(1)
        state[x] = hit | ((line[x] >> np.uint8(1)) & near[x] & np.uint8(1)) | (hit << np.uint8(1))


@njit(nogil=True, cache=True)
def _mark(flags, width, neighbours, excluded, mask):
    """States of the pixels of an image with exclusions, in raster order.

    A neighbour of a hit loses its exclusion, and may then be a hit itself.
    """
    rows, columns = mask.shape
    for y in range(rows):
        for x in range(columns):
            mask[y, x] = EXCLUDED if excluded[y, x] else USED
    for y in range(rows):
        for x in range(columns):
            if not flags[y + width, x + width] & 1 or mask[y, x] == EXCLUDED:
                continue
            mask[y, x] = HIT
            for k in range(neighbours.shape[0]):
                j, i = y + neighbours[k, 0], x + neighbours[k, 1]
                # beyond the edges no pixel is flagged
                if flags[j + width, i + width] & 2 and mask[j, i] != HIT:
                    mask[j, i] = SPILL


@njit(nogil=True, cache=True)
def _places_of_odd(values, places):
    """Put the places of the odd values first, and return their number: no branch has to guess which they are."""
    count = 0
    for x in range(values.shape[0]):
        places[count] = x
        count += values[x] & np.uint8(1)
    return count


@njit(nogil=True, cache=True)
def _any_odd(values):
    """Whether any of the values is odd."""
    found = np.uint8(0)
    for x in range(values.shape[0]):
        found |= values[x]
    return (found & np.uint8(1)) > 0


@njit(nogil=True, cache=True)
def _note(state, bits, rejections, places):
    """Rejected pixels of a line as bits, and one more rejection for each of them; return their number."""
    count = 0
    for begin in range(0, state.shape[0], LOOKED_AT):
        part = state[begin : begin + LOOKED_AT]
        if not _any_odd(part):
            continue
        found = _places_of_odd(part, places)
        for k in range(found):
            x = begin + places[k]
            bits[x >> 3] |= np.uint8(128) >> np.uint8(x & 7)
            rejections[x] += 1
        count += found
    return count


@njit(nogil=True, cache=True)
def _add_line(rate, efac, state, total, weight):
    """Add the used pixels of a line to the sums."""
    zero = np.float32(0)
    for x in range(rate.shape[0]):
        used = state[x] == USED
        total[x] += rate[x] * efac if used else zero
        weight[x] += efac if used else zero


@njit(nogil=True, cache=True, error_model="numpy")
def _add_variance_of_line(rate, efac, sky, gain, noise, scale, state, variance):
    """Add the variance of the used pixels of a line."""
    rog2, zero = noise * noise, np.float32(0)
    for x in range(rate.shape[0]):
        signal = max(rate[x] * efac + sky, zero)
        one = (rog2 + signal / gain) + (scale * signal) * (scale * signal)
        variance[x] += one if state[x] == USED else zero


@njit(nogil=True, cache=True, error_model="numpy")
def _iterate(
    stack, guess, variance, use_variance, efac, sky, gain, noise, scale, sig2, psig2, neighbours, width, excluded,
    has_excluded, last, first_row, last_row, total, weight, scatter, rejections, bits,
):  # fmt: skip
    """One iteration over a tile: mark each image by the guess and add what is used, image after image.

    The stack may have more rows and columns than the guess. Bits and rejections are those of the rows first_row to
    last_row, and are made in the last iteration. Returns the number of rejected pixels in these rows.

    Blocks of rows are gone through with all images, one after the other: their hits follow from the rows within the
    radius. Where pixels are excluded they may follow from all rows before, and the tile is one block.
    """
    rows, columns = guess.shape
    height = rows if has_excluded.any() else min(BLOCK_ROWS, rows)
    # flags of a block and of what is near it, with a margin where no pixel is ever flagged
    flags = np.zeros((height + 4 * width, columns + 2 * width), dtype=np.uint8)
    mask = np.empty((rows if has_excluded.any() else 0, columns), dtype=np.uint8)
    near, state = np.empty(columns, dtype=np.uint8), np.empty(columns, dtype=np.uint8)
    places = np.empty(LOOKED_AT, dtype=np.int64)
    found = 0
    for begin in range(0, rows, height):
        end = min(begin + height, rows)
        low, high = max(begin - width, 0), min(end + width, rows)
        flags[:] = 0
        for n in range(stack.shape[0]):
            for y in range(low, high):
                _flag_line(
                    stack[n, y, :columns], guess[y], variance[y], use_variance, efac[n], sky[n], gain[n], noise[n],
                    scale, sig2, psig2, flags[y - low + width, width : width + columns],
                )  # fmt: skip
            if has_excluded[n]:
                _mark(flags, width, neighbours, excluded[n], mask)
            for y in range(begin, end):
                line = stack[n, y, :columns]
                if has_excluded[n]:
                    state[:] = mask[y]
                else:
                    _state_of_line(flags, y - low, width, neighbours, near, state)
                _add_line(line, efac[n], state, total[y], weight[y])
                if last:
                    _add_variance_of_line(line, efac[n], sky[n], gain[n], noise[n], scale, state, scatter[y])
                    if first_row <= y < last_row:
                        found += _note(state, bits[n, y - first_row], rejections[y - first_row], places)
    return found


# Of biases, whose gain and exposure factor are 1, pixels are rejected in few lines. So lines are only looked at for
# whether there is a hit, and added as a whole, and the rejected pixels are put back afterwards.


@njit(nogil=True, cache=True)
def _least(values, side_by_side):
    """Least of the values that are numbers; infinity where none is. The other array is scratch."""
    side_by_side[:] = np.inf
    for begin in range(0, values.shape[0], LOOKED_AT):
        part = values[begin : begin + LOOKED_AT]
        for k in range(part.shape[0]):
            side_by_side[k] = min(side_by_side[k], part[k])
    least = np.float32(np.inf)
    for k in range(LOOKED_AT):
        least = min(least, side_by_side[k])
    return least


@njit(nogil=True, cache=True)
def _may_have_hit(rate, guess, limit):
    """Whether the square of the deviation of any pixel of a line is beyond a limit."""
    count = np.int32(0)
    for x in range(rate.shape[0]):
        d = rate[x] - guess[x]
        count += np.int32(d * d > limit)
    return count > 0


@njit(nogil=True, cache=True)
def _add_bias_line(rate, total):
    for x in range(rate.shape[0]):
        total[x] += rate[x]


@njit(nogil=True, cache=True)
def _add_bias_line_and_variance(rate, sky, rog2, total, variance):
    zero = np.float32(0)
    for x in range(rate.shape[0]):
        total[x] += rate[x]
        variance[x] += rog2 + max(rate[x] + sky, zero)


@njit(nogil=True, cache=True)
def _reject(mask, y, x, state, rejected, count):
    """Give a pixel a state, and put it on the list where it was used before; return the length of the list."""
    if mask[y, x] == USED:
        rejected[count, 0], rejected[count, 1] = y, x
        count += 1
    mask[y, x] = state
    return count


@njit(nogil=True, cache=True)
def _iterate_biases(
    stack, guess, sky, noise, sig2, psig2, neighbours, width, last, first_row, last_row, total, weight, scatter,
    rejections, bits,
):  # fmt: skip
    """As `_iterate`, of images with gain and exposure factor 1, without multiplicative noise and exclusions."""
    rows, columns = guess.shape
    zero, one = np.float32(0), np.float32(1)
    mask = np.zeros((BLOCK_ROWS + 2 * width, columns), dtype=np.uint8)
    # places of the pixels of an image that are not used, and the sums there
    rejected, kept = np.empty((mask.size, 2), dtype=np.int32), np.empty((mask.size, 2), dtype=np.float32)
    flags, places = np.empty(columns, dtype=np.uint8), np.empty(LOOKED_AT, dtype=np.int64)
    # no limit of a line is below that of its least guess: sums and products round in the order of their terms
    least, side_by_side = np.empty(rows, dtype=np.float32), np.empty(LOOKED_AT, dtype=np.float32)
    for y in range(rows):
        least[y] = _least(guess[y], side_by_side)
    found = 0
    for begin in range(0, rows, BLOCK_ROWS):
        end = min(begin + BLOCK_ROWS, rows)
        low, high = max(begin - width, 0), min(end + width, rows)
        # whole numbers, whose sums do not depend on the order
        weight[begin:end] += np.float32(stack.shape[0])
        for n in range(stack.shape[0]):
            rog2, count = noise[n] * noise[n], 0
            for y in range(low, high):
                line = stack[n, y, :columns]
                if not _may_have_hit(line, guess[y], sig2 * (rog2 + max(least[y] + sky[n], zero))):
                    continue
                _flag_line(
                    line, guess[y], guess[y], False, one, sky[n], one, noise[n], zero, sig2, psig2, flags
                )
                for part in range(0, columns, LOOKED_AT):
                    if not _any_odd(flags[part : part + LOOKED_AT]):
                        continue
                    for k in range(_places_of_odd(flags[part : part + LOOKED_AT], places)):
                        x = part + places[k]
                        count = _reject(mask, y - low, x, HIT, rejected, count)
                        for m in range(neighbours.shape[0]):
                            j, i = y + neighbours[m, 0], x + neighbours[m, 1]
                            if not (low <= j < high and 0 <= i < columns) or mask[j - low, i] != USED:
                                continue
                            d = stack[n, j, i] - guess[j, i]
                            if not d * d <= psig2 * (sig2 * (rog2 + max(guess[j, i] + sky[n], zero))):
                                count = _reject(mask, j - low, i, SPILL, rejected, count)
            for k in range(count):
                y, x = low + rejected[k, 0], rejected[k, 1]
                kept[k, 0], kept[k, 1] = total[y, x], scatter[y, x]
            for y in range(begin, end):
                line = stack[n, y, :columns]
                if last:
                    _add_bias_line_and_variance(line, sky[n], rog2, total[y], scatter[y])
                else:
                    _add_bias_line(line, total[y])
            for k in range(count):
                y, x = low + rejected[k, 0], rejected[k, 1]
                mask[y - low, x] = USED
                if not begin <= y < end:
                    continue
                total[y, x], scatter[y, x] = kept[k, 0], kept[k, 1]
                weight[y, x] -= one
                if last and first_row <= y < last_row:
                    bits[n, y - first_row, x >> 3] |= np.uint8(128) >> np.uint8(x & 7)
                    rejections[y - first_row, x] += 1
                    found += 1
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def _means(total, weight, empty, guess):
    """Means of the used pixels; a pixel that is used in no image becomes the value for empty ones, unless NaN."""
    keep = np.isnan(empty)
    for y in range(guess.shape[0]):
        for x in range(guess.shape[1]):
            mean = total[y, x] / weight[y, x]
            guess[y, x] = mean if weight[y, x] > 0 else (guess[y, x] if keep else empty)


@njit(nogil=True, cache=True, error_model="numpy")
def _scaled_sums(mean, scatter, weight, exptime, sky, sci, err):
    """Means scaled to the total exposure, with the skies, and their uncertainties, 0 where no image is used."""
    for y in range(sci.shape[0]):
        for x in range(sci.shape[1]):
            sci[y, x] = mean[y, x] * exptime + sky
            error = np.float32(np.sqrt(np.float64(scatter[y, x])) / np.float64(weight[y, x]))
            err[y, x] = (error if weight[y, x] > 0 else np.float32(0)) * exptime


@njit(nogil=True, cache=True)
def _combine(
    stack, network, guess, variance, from_minimum, efac, sky, gain, noise, scale, sig2, psig2, neighbours, width,
    excluded, has_excluded, plain, first_row, last_row, exptime, total_sky, sci, err, rejected, bits,
):  # fmt: skip
    """Combine the rows of a tile; its rows first_row to last_row go to the arrays behind.

    All in one step, which leaves the interpreter to other threads. Returns the number of rejected pixels.
    """
    if not from_minimum:
        stack_medians(stack, network, guess)
    rejections = np.zeros(sci.shape, dtype=np.uint16)
    count = 0
    total, weight, scatter = np.empty_like(guess), np.empty_like(guess), np.empty_like(guess)
    for iteration in range(sig2.shape[0]):
        last = iteration == sig2.shape[0] - 1
        total[:], weight[:], scatter[:] = 0, 0, 0
        if plain and not from_minimum:
            count = _iterate_biases(
                stack, guess, sky, noise, sig2[iteration], psig2, neighbours, width, last, first_row, last_row, total,
                weight, scatter, rejections, bits,
            )  # fmt: skip
        else:
            count = _iterate(
                stack, guess, variance, from_minimum and iteration == 0, efac, sky, gain, noise, scale, sig2[iteration],
                psig2, neighbours, width, excluded, has_excluded, last, first_row, last_row, total, weight, scatter,
                rejections, bits,
            )  # fmt: skip
        _means(total, weight, np.float32(0 if last else np.nan), guess)
    inner = slice(first_row, last_row)
    _scaled_sums(guess[inner], scatter[inner], weight[inner], exptime, total_sky, sci, err)
    for y in range(rejected.shape[0]):
        for x in range(rejected.shape[1]):
            rejected[y, x] = rejections[y, x] == stack.shape[0]
    return count


def _halo(parameters):
    """Rows that a tile's edge needs of its neighbours: one radius for each iteration."""
    return _width(parameters.radius) * len(parameters.sigmas)


class _Stack:
    """The images of a stack with their constants in float32, and the arrays that the tiles fill in."""

    def __init__(self, images, parameters, threads):
        self.images, self.parameters = images, parameters
        self.shape = images[0].sci.shape
        ny, nx = self.shape
        self.gain = np.array([image.gain for image in images], dtype=np.float32)
        self.noise = np.array(
            [np.float32(i.readnoise) / np.float32(i.gain) for i in images], dtype=np.float32
        )
        exptime = np.array([image.exptime for image in images], dtype=np.float32)
        self.exptime = sequential_sum(exptime)
        self.efac = np.ones_like(exptime) if self.exptime == 0 else exptime
        self.scale = np.float32(np.float64(np.float32(parameters.scale_noise)) / 100.0)
        self.biases = bool(self.scale == 0 and (self.gain == 1).all() and (self.efac == 1).all())
        self.threads = threads
        self.sky = np.zeros(len(images), dtype=np.float32)
        if parameters.sky == "mode":
            self.sky[:] = in_threads(sky_of, images, threads)
        self.texpt = np.float32(len(images)) if self.exptime == 0 else self.exptime
        self.total_sky = sequential_sum(self.sky)
        self.sci = np.empty(self.shape, dtype=np.float32)
        self.err = np.empty(self.shape, dtype=np.float32)
        self.rejected = np.empty(self.shape, dtype=np.bool_)
        self.bits = np.zeros((len(images), ny, (nx + 7) // 8), dtype=np.uint8)
        # memory for the rates of a tile, which the next tile uses again
        self._stacks: list[np.ndarray] = []

    def combine(self):
        """Combine tile by tile; return the number of rejected pixels."""
        ny, nx = self.shape
        rows = min(TILE_BYTES // (4 * len(self.images) * nx), TILE_ROWS)
        rows = max(rows, 2 * _halo(self.parameters) + 4)
        if self._any_excluded():
            # exclusions make the mask depend on all rows before: one tile
            return self._tile(0, ny)
        begins = range(0, ny, rows)
        return sum(in_threads(lambda begin: self._tile(begin, min(begin + rows, ny)), begins, self.threads))

    def _any_excluded(self):
        bits = np.int16(self.parameters.bad_bits)
        return bool(bits) and any((_flagged(dq)[1] & bits).any() for dq in self._masks())

    def _masks(self):
        """The flags of the images; they often share one bad pixel mask, which comes once."""
        return {id(image.dq): image.dq for image in self.images if image.dq is not None}.values()

    def _rates(self, rows):
        """Stack of the rates of some rows; it may have more rows and columns than are asked for."""
        ny, nx = rows.stop - rows.start, self.shape[1]
        stack = self._stacks.pop() if self._stacks else None
        if stack is None or stack.shape[1] < ny:
            # lines are somewhat longer: images whose distance is a power of 2 would displace each other in the caches
            stack = np.empty((len(self.images), ny, nx + LINE_PADDING), dtype=np.float32)
        if hasattr(self.images, "put_rows"):
            self.images.put_rows(rows, stack, self.sky, self.efac)
        else:
            for n, image in enumerate(self.images):
                put_rows(image.sci, rows, stack[n], self.sky[n], self.efac[n])
        return stack

    def _tile(self, begin, end):
        """Combine the rows begin to end; return the number of rejected pixels in them."""
        parameters, images = self.parameters, self.images
        ny, nx = self.shape
        halo = _halo(parameters)
        top, bottom = max(begin - halo, 0), min(end + halo, ny)
        rows = slice(top, bottom)
        stack = self._rates(rows)

        guess = np.empty((bottom - top, nx), dtype=np.float32)
        # what is not looked at need not be there
        variance = guess
        from_minimum = parameters.initial_guess == "minimum"
        if from_minimum:
            variance = np.zeros_like(guess)
            self._minimum(stack[:, : bottom - top, :nx], rows, guess, variance)

        masks = [self._excluded(image, rows) for image in images]
        has_excluded = np.array([mask is not None for mask in masks])
        excluded = np.zeros((len(images), *guess.shape) if has_excluded.any() else (0, 0, 0), dtype=np.uint8)
        for n in np.flatnonzero(has_excluded):
            excluded[n] = masks[n]
        threshold = np.float32(parameters.threshold)
        psig2 = threshold * threshold if threshold > 0 else np.float32(-1)
        sigmas = np.array(parameters.sigmas, dtype=np.float32)
        count = _combine(
            stack, network_for(len(images)), guess, variance, from_minimum, self.efac, self.sky, self.gain, self.noise,
            self.scale, sigmas * sigmas, psig2, _neighbours(parameters.radius), _width(parameters.radius),
            excluded, has_excluded, self.biases and not has_excluded.any(), begin - top, end - top, self.texpt,
            self.total_sky, self.sci[begin:end], self.err[begin:end], self.rejected[begin:end], self.bits[:, begin:end],
        )  # fmt: skip
        self._stacks.append(stack)
        return count

    def _minimum(self, stack, rows, guess, variance):
        chosen = np.argmin(stack, axis=0)
        guess[:] = np.take_along_axis(stack, chosen[np.newaxis], axis=0)[0]
        for n, image in enumerate(self.images):
            _minimum_variance(
                image.sci[rows],
                n,
                chosen,
                self.efac[n],
                self.sky[n],
                self.gain[n],
                self.noise[n],
                self.scale,
                variance,
            )

    def _excluded(self, image, rows):
        bits = np.int16(self.parameters.bad_bits)
        if not bits or image.dq is None:
            return None
        excluded = (image.dq[rows] & bits) != 0
        return excluded.view(np.uint8) if excluded.any() else None

    def flags(self):
        """Flags of all images, and of what was rejected in all of them."""
        combined = np.zeros(self.shape, dtype=np.int16)
        for dq in self._masks():
            places, flags = _flagged(dq)
            combined.reshape(-1)[places] |= flags
        combined &= np.int16(NOT_COSMIC_RAY)
        combined |= self.rejected * np.int16(COSMIC_RAY)
        return combined


def _flagged(dq):
    """Places of the flagged pixels, in raster order, and their flags; found out once where that is remembered."""

    def find():
        flags = dq[:].reshape(-1)
        # numpy looks for True much faster than for numbers that are not 0
        places = np.flatnonzero(flags != 0)
        return places, flags[places]

    return _remember(dq, "flagged", find)


def sky_of(image: StackImage) -> np.float32:
    """Sky of an image of a stack, found out once where its pixels remember.

    Parameters
    ----------
    image : StackImage
        The image; flagged pixels are left out.

    Returns
    -------
    numpy.float32
        Mode (DN).
    """
    if image.dq is None:
        return _remember(image.sci, "sky", lambda: sky_mode(image.sci))
    return _remember(image.sci, ("sky", image.dq), lambda: sky_mode(image.sci, _flagged(image.dq)[0]))


def reject_cosmic_rays(
    images: Sequence[StackImage], parameters: RejectionParameters, threads: int = 0
) -> Combination:
    """Combine a stack of images, rejecting what deviates from the other images.

    Parameters
    ----------
    images : sequence of StackImage
        At least two images of one shape, all with exposure times above 0 or all with 0. A sequence that has a method
        ``put_rows(rows, out, less, divisors)`` puts lines of all images, less their skies and divided by their
        exposure factors, into a stack by itself.
    parameters : RejectionParameters
        Limits and options.
    threads : int
        Threads to use; 0 for as many as are at hand.

    Returns
    -------
    Combination
        The sum, scaled to the total exposure (to the number of images where that is 0), its uncertainty and flags.

    Raises
    ------
    ValueError
        For fewer than two images, unequal shapes, a gain of 0, exposure times of which only some are 0, or a sky of
        pixels that are not finite numbers.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} image(s); cosmic rays are found by comparing at least 2")
    if len({image.sci.shape for image in images}) > 1:
        raise ValueError(f"images of different shapes: {sorted({image.sci.shape for image in images})}")
    if any(image.gain == 0 for image in images):
        raise ValueError("ATODGAIN is 0: the images were not calibrated")
    if any(image.exptime == 0 for image in images) and any(image.exptime != 0 for image in images):
        raise ValueError("some exposure times are 0 and others are not")

    stack = _Stack(images, parameters, threads)
    count = stack.combine()
    return Combination(
        sci=stack.sci,
        err=stack.err,
        dq=stack.flags(),
        sky=stack.sky,
        exptime=stack.exptime,
        rejected_count=count,
        rejected_bits=stack.bits,
    )
