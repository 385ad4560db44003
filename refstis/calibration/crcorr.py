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
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit

from refstis.calibration.geometry import sequential_sum
from refstis.calibration.medians import stack_median

__all__ = ["COSMIC_RAY", "Combination", "RejectionParameters", "StackImage", "reject_cosmic_rays", "sky_mode"]

COSMIC_RAY = 8192
NOT_COSMIC_RAY = ~COSMIC_RAY
# State of a pixel of one image: used, next to a hit, excluded by its flags, hit.
USED, SPILL, EXCLUDED, HIT = 0, 1, 2, 3
# Rows of a tile are chosen so that its stack of float32 pixels stays below this size (bytes).
TILE_BYTES = 16 * 2**20
# Rows that the sky is taken of at a time, histograms side by side, the range (DN) that pixels are counted in first, and
# where the histogram of the sky begins if there are values below that.
SKY_ROWS = 128
SKY_LANES = 8
SKY_LOW, SKY_HIGH = -1001, 3000
SKY_LEAST = -1000
# Pixels whose sums are taken side by side, and rows after which these are added up.
SKY_WIDTH, SKY_GROUP = 64, 8


class Image(Protocol):
    """Anything that gives an array for a window and has a shape: an array, or pixels produced on demand."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        ...

    def __getitem__(self, key, /) -> np.ndarray: ...


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
            counts[bins[x], np.uint32(x) % np.uint32(SKY_LANES)] += np.uint32(1)


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
    counted over a wide range, of which the histogram is a part, so that they are gone through once. Where a rough sum
    shows that the rounding of the sequential sum could not change the upper end, that sum is spared.
    """
    columns = sci.shape[1]
    bad = np.empty(0, dtype=np.int64) if flagged is None else flagged
    good = sci.shape[0] * columns - len(bad)
    if not good:
        return np.float32(0)

    def bands():
        for begin in range(0, sci.shape[0], SKY_ROWS):
            first, last = np.searchsorted(bad, (begin * columns, (begin + SKY_ROWS) * columns))
            yield sci[begin : begin + SKY_ROWS], bad[first:last] - begin * columns

    def survey(low, high):
        """Sum of the good pixels, what no partial sum exceeds, and the numbers below, in, and above the bins."""
        counts = np.zeros((high - low + 3, SKY_LANES), dtype=np.uint32)
        # columns up to a multiple of the width are 0
        line = np.zeros(-(-columns // SKY_WIDTH) * SKY_WIDTH, dtype=np.float32)
        bins, sums = np.empty(columns, dtype=np.uint32), np.zeros(2)
        for pixels, places in bands():
            _survey_lines(
                pixels, places, low, line, bins, np.empty(SKY_WIDTH), np.empty(SKY_WIDTH), sums, counts
            )
        numbers = counts.sum(axis=1, dtype=np.int64)
        numbers[1 - low] -= len(bad)
        return float(sums[0]), float(sums[1]), numbers

    total, reach, counts = survey(SKY_LOW, SKY_HIGH)
    if not (math.isfinite(total) and math.isfinite(reach)):
        # the sky of such an image would be wrong, and all its pixels rejected for it
        raise ValueError("pixels that are not finite numbers")
    if counts[: 2 - SKY_LOW + SKY_LEAST].any():
        least = min(float(_patched(pixels, places).min()) for pixels, places in bands())
        low = SKY_LEAST if least < SKY_LEAST else math.trunc(least) - 1
    else:
        negative = np.flatnonzero(counts[: 1 - SKY_LOW])
        low = (int(negative[0]) + SKY_LOW - 1 if len(negative) else 0) - 1
    # each of the sequential additions rounds by half a unit in the last place at most, of a sum that is itself off by
    # less than its bound as long as the additions are fewer than 2**23
    doubt = 2.0 * 2.0**-24 * reach if good < 2**23 else math.inf
    high = _histogram_end(total / good - doubt)
    if high != _histogram_end(total / good + doubt):
        exact = np.float32(0)
        for pixels, places in bands():
            exact = _sequential_total(_patched(pixels, places), exact)
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


@njit(nogil=True, cache=True)
def _flag_image(rate, guess, variance, use_variance, efac, sky, gain, noise, scale, sig2, psig2, flags):
    """For each pixel, bit 1: beyond the limit; bit 2: beyond the limit of a hit's neighbour."""
    rog2 = noise * noise
    e2 = efac * efac
    zero = np.float32(0)
    for y in range(rate.shape[0]):
        for x in range(rate.shape[1]):
            a = guess[y, x]
            if use_variance:
                limit = sig2 * variance[y, x]
                spill = limit
            else:
                dum = a * efac + sky
                value = max(dum, zero)
                signal = max(dum - sky, zero)
                base = rog2 + value / gain
                limit = (sig2 * (base + (scale * signal) * (scale * signal))) / e2
                spill = (sig2 * base) / e2
            d = rate[y, x] - a
            d2 = d * d
            flags[y, x] = np.uint8(d2 > limit) | (np.uint8(not (d2 <= psig2 * spill)) << np.uint8(1))


@njit(nogil=True, cache=True)
def _mark(flags, excluded, has_excluded, width, rej2, mask):
    """Mask of one image in raster order. A neighbour of a hit loses its exclusion, and may then be a hit itself."""
    rows, columns = flags.shape
    if has_excluded:
        for y in range(rows):
            for x in range(columns):
                mask[y, x] = EXCLUDED if excluded[y, x] else USED
    else:
        mask[:] = USED
    for y in range(rows):
        hits = np.uint8(0)
        for x in range(columns):
            hits |= flags[y, x]
        if not hits & 1:
            continue
        for x in range(columns):
            if not flags[y, x] & 1 or mask[y, x] == EXCLUDED:
                continue
            mask[y, x] = HIT
            for j in range(max(y - width, 0), min(y + width, rows - 1) + 1):
                for i in range(max(x - width, 0), min(x + width, columns - 1) + 1):
                    if np.float32((i - x) * (i - x) + (j - y) * (j - y)) > rej2:
                        continue
                    if flags[j, i] & 2 and mask[j, i] != HIT:
                        mask[j, i] = SPILL


@njit(nogil=True, cache=True)
def _accumulate(rate, mask, efac, sky, gain, noise, scale, last, total, weight, variance):
    """Add the used pixels of one image to the sums."""
    rog2 = noise * noise
    zero = np.float32(0)
    for y in range(rate.shape[0]):
        for x in range(rate.shape[1]):
            used = mask[y, x] == USED
            signal = rate[y, x] * efac
            total[y, x] += signal if used else zero
            weight[y, x] += efac if used else zero
            if last:
                value = max(signal + sky, zero)
                term = (rog2 + value / gain) + (scale * value) * (scale * value)
                variance[y, x] += term if used else zero


def _halo(parameters):
    """Rows that a tile's edge needs of its neighbours: one radius for each iteration."""
    return math.trunc(parameters.radius + 1e-5) * len(parameters.sigmas)


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
        self.threads = threads
        self.sky = np.zeros(len(images), dtype=np.float32)
        if parameters.sky == "mode":
            self._flagged: dict[int, np.ndarray] = {}
            with ThreadPoolExecutor(threads) as pool:
                self.sky[:] = list(pool.map(self._sky, images))
            del self._flagged
        self.average = np.empty(self.shape, dtype=np.float32)
        self.error = np.empty(self.shape, dtype=np.float32)
        self.dq = np.empty(self.shape, dtype=np.int16)
        self.bits = np.empty((len(images), ny, (nx + 7) // 8), dtype=np.uint8)

    def _sky(self, image):
        if image.dq is None:
            return sky_mode(image.sci)
        # images often share one bad pixel mask
        flagged = self._flagged.get(id(image.dq))
        if flagged is None:
            flagged = np.flatnonzero(image.dq[:])
            if sum(other.dq is image.dq for other in self.images) > 1:
                self._flagged[id(image.dq)] = flagged
        return sky_mode(image.sci, flagged)

    def combine(self):
        """Combine tile by tile; return the number of rejected pixels."""
        ny, nx = self.shape
        rows = max(TILE_BYTES // (4 * len(self.images) * nx), 2 * _halo(self.parameters) + 4)
        if self._any_excluded():
            # exclusions make the mask depend on all rows before: one tile
            return self._tile(0, ny)
        begins = range(0, ny, rows)
        with ThreadPoolExecutor(self.threads) as pool:
            return sum(pool.map(lambda begin: self._tile(begin, min(begin + rows, ny)), begins))

    def _any_excluded(self):
        bits = np.int16(self.parameters.bad_bits)
        unique = {id(image.dq): image.dq for image in self.images if image.dq is not None}
        return bool(bits) and any((dq[:] & bits).any() for dq in unique.values())

    def _tile(self, begin, end):
        """Combine the rows begin to end; return the number of rejected pixels in them."""
        parameters, images = self.parameters, self.images
        ny, nx = self.shape
        halo = _halo(parameters)
        top, bottom = max(begin - halo, 0), min(end + halo, ny)
        rows = slice(top, bottom)
        stack = np.empty((len(images), bottom - top, nx), dtype=np.float32)
        for n, image in enumerate(images):
            np.subtract(image.sci[rows], self.sky[n], out=stack[n])
            if self.efac[n] != 1:
                np.divide(stack[n], self.efac[n], out=stack[n])

        guess = np.empty(stack.shape[1:], dtype=np.float32)
        variance = np.zeros_like(guess)
        from_minimum = parameters.initial_guess == "minimum"
        if from_minimum:
            self._minimum(stack, rows, guess, variance)
        else:
            stack_median(stack, guess)

        excluded = [self._excluded(image, rows) for image in images]
        mask = np.empty(stack.shape, dtype=np.uint8)
        flags = np.empty(stack.shape[1:], dtype=np.uint8)
        radius = np.float32(parameters.radius)
        width = math.trunc(float(radius) + 1e-5)
        threshold = np.float32(parameters.threshold)
        psig2 = threshold * threshold if threshold > 0 else np.float32(-1)
        for iteration, sigma in enumerate(parameters.sigmas):
            last = iteration == len(parameters.sigmas) - 1
            total, weight, scatter = (np.zeros_like(guess) for _ in range(3))
            for n in range(len(images)):
                noise = self.efac[n], self.sky[n], self.gain[n], self.noise[n], self.scale
                _flag_image(
                    stack[n], guess, variance, from_minimum and iteration == 0, *noise,
                    np.float32(sigma) * np.float32(sigma), psig2, flags,
                )  # fmt: skip
                has_excluded = excluded[n] is not None
                _mark(
                    flags,
                    excluded[n] if has_excluded else flags,
                    has_excluded,
                    width,
                    radius * radius,
                    mask[n],
                )
                _accumulate(stack[n], mask[n], *noise, last, total, weight, scatter)
            used = weight > 0
            if last:
                guess[:] = 0
            np.divide(total, weight, out=guess, where=used)
        error = np.zeros_like(guess)
        with np.errstate(invalid="ignore", divide="ignore"):
            error[used] = (np.sqrt(scatter.astype(np.float64)) / weight.astype(np.float64)).astype(
                np.float32
            )[used]

        inner = slice(begin - top, end - top)
        self.average[begin:end], self.error[begin:end] = guess[inner], error[inner]
        rejected = mask[:, inner] & 1
        self.bits[:, begin:end] = np.packbits(rejected, axis=2)
        self.dq[begin:end] = self._combined_flags(slice(begin, end), rejected)
        return int(np.count_nonzero(rejected))

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

    def _combined_flags(self, rows, rejected):
        combined = np.where(rejected.all(axis=0), np.int16(COSMIC_RAY), np.int16(0))
        # images often share one bad pixel mask: take each array once
        for dq in {id(image.dq): image.dq for image in self.images if image.dq is not None}.values():
            combined |= dq[rows] & np.int16(NOT_COSMIC_RAY)
        return combined


def reject_cosmic_rays(
    images: Sequence[StackImage], parameters: RejectionParameters, threads: int = 0
) -> Combination:
    """Combine a stack of images, rejecting what deviates from the other images.

    Parameters
    ----------
    images : sequence of StackImage
        At least two images of one shape, all with exposure times above 0 or all with 0.
    parameters : RejectionParameters
        Limits and options.
    threads : int
        Threads to use; 0 for as many as there are processors.

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

    stack = _Stack(images, parameters, threads or os.cpu_count() or 1)
    count = stack.combine()
    texpt = np.float32(len(images)) if stack.exptime == 0 else stack.exptime
    sky = sequential_sum(stack.sky)
    return Combination(
        sci=stack.average * texpt + sky,
        err=stack.error * texpt,
        dq=stack.dq,
        sky=stack.sky,
        exptime=stack.exptime,
        rejected_count=count,
        rejected_bits=stack.bits,
    )
