r"""Mean of a stack of frames without cosmic rays, judged by a noise model of each pixel.

A pixel of rate *r* has in frame *n*

.. math:: v_n = r\,s_n + \epsilon_n, \qquad
          \mathrm{Var}(\epsilon_n) = R_n^2 + \frac{\max(r\,s_n, 0)}{g} + (\mu\,r\,s_n)^2

with the scale *s* of the frame (its exposure time; 1 for a bias), read noise *R* (DN), gain *g* (e-/DN) and
multiplicative noise :math:`\mu`. The rate begins at the median; values that deviate from it by more than a limit are
left out, and

.. math:: r = \frac{\sum_n s_n v_n / \mathrm{Var}_n}{\sum_n s_n^2 / \mathrm{Var}_n}, \qquad
          \sigma_r = \Bigl(\sum_n s_n^2 / \mathrm{Var}_n\Bigr)^{-1/2}

is repeated over *all* values until the same ones are left out, so that it does not matter where it began. The variances
are those of the rate and not of the single value: weights that follow the noise would pull the mean down.

Two things make this differ from the rejection of CALSTIS:

- **Pixels that change are no cosmic rays.** Where more values deviate than rays can have hit (a Poisson probability of
  1e-5 for the share of pixels that they hit in a frame), the pixel has had several rates: it was born, annealed or
  switches. Values that others agree with are kept, and the mean is that of the exposures, each with its exposure time.
- **No pixel is without a value.** Where nothing is left, the lowest value stands in, and its uncertainty says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from refstis.calibration.crcorr import COSMIC_RAY, Combination, RejectionParameters, StackImage, sky_of
from refstis.calibration.geometry import sequential_sum
from refstis.cores import in_threads

__all__ = [
    "CHANGING",
    "EMPTY",
    "EXCLUDED",
    "HIT",
    "NEAR_HIT",
    "SETTLED",
    "USED",
    "StackMean",
    "mean_of_stack",
    "most_hits",
    "reject_outliers",
]

# What became of a value.
USED, HIT, NEAR_HIT, EXCLUDED = 0, 1, 2, 3
# What a pixel is: one rate; several rates; no value that was not hit or excluded.
SETTLED, CHANGING, EMPTY = 0, 1, 2
# Probability of more hits than this by chance.
RARE = 1e-5
# Most repetitions of clip and mean.
REPETITIONS = 10
# Pixels that cosmic rays raise by more than the noise, per second: 3.5 % in 1000 s (STIS Instrument Handbook, and
# measured on exposures of 1999 and 2000), and seconds of read-out in which they hit, too (Miles et al. 2021).
HITS_PER_SECOND, READ_OUT = 3.5e-5, 15.0
# Rows of a tile are chosen so that its stack of float32 pixels stays below this size (bytes).
TILE_BYTES = 16 * 2**20
# Others that must agree with a deviating value of a changing pixel.
COMPANY = 2


class StackMean(NamedTuple):
    """Mean of a stack.

    Parameters
    ----------
    value : numpy.ndarray
        Rate: counts of a frame whose scale is 1 (DN), float32, rows by columns.
    error : numpy.ndarray
        Its standard deviation, float32.
    state : numpy.ndarray
        SETTLED, CHANGING or EMPTY of each pixel, uint8.
    use : numpy.ndarray
        USED, HIT, NEAR_HIT or EXCLUDED of each value, uint8, frames by rows by columns.
    """

    value: np.ndarray
    error: np.ndarray
    state: np.ndarray
    use: np.ndarray


@njit(nogil=True, cache=True)
def _median(values, count):
    """Median of the first values, which are put into another order."""
    k = count // 2
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    upper = values[k]
    if count % 2:
        return upper
    lower = values[0]
    for i in range(1, k):
        lower = max(lower, values[i])
    return 0.5 * (lower + upper)


@njit(nogil=True, cache=True)
def _variance(signal, read_variance, gain, multiplicative):
    return read_variance + max(signal, 0.0) / gain + (multiplicative * signal) ** 2


@njit(nogil=True, cache=True)
def _judge(
    stack,
    use,
    scale,
    read_variance,
    gain,
    multiplicative,
    limit,
    near,
    most,
    value,
    state,
    close,
):
    """Find the hits of each pixel by itself; `close` are values that would be hits beside a hit."""
    frames, rows, columns = stack.shape
    v, s, sorting = np.empty(frames), np.empty(frames), np.empty(frames)
    out = np.empty(frames, dtype=np.bool_)
    for y in range(rows):
        for x in range(columns):
            count = 0
            for n in range(frames):
                v[n] = stack[n, y, x]
                s[n] = scale[n]
                out[n] = use[n, y, x] == EXCLUDED
                if not out[n]:
                    sorting[count] = v[n] / s[n]
                    count += 1
            if not count:
                state[y, x] = EMPTY
                continue
            rate = _median(sorting, count)
            left, hits = count, 0
            for _ in range(REPETITIONS):
                changed = False
                top = bottom = 0.0
                left = hits = 0
                for n in range(frames):
                    if use[n, y, x] == EXCLUDED:
                        continue
                    variance = _variance(rate * s[n], read_variance[n], gain[n], multiplicative)
                    deviation = v[n] - rate * s[n]
                    hit = deviation * deviation > limit * limit * variance
                    if hit != out[n]:
                        out[n] = hit
                        changed = True
                    if hit:
                        hits += 1
                    else:
                        left += 1
                        top += s[n] * v[n] / variance
                        bottom += s[n] * s[n] / variance
                if not left:
                    break
                rate = top / bottom
                if not changed:
                    break
            state[y, x] = SETTLED
            if hits > most:
                state[y, x] = CHANGING
                for n in range(frames):
                    if not out[n] or use[n, y, x] == EXCLUDED:
                        continue
                    company = 0
                    for m in range(frames):
                        if m == n or use[m, y, x] == EXCLUDED:
                            continue
                        expected = v[m] / s[m] * s[n]
                        variance = _variance(v[n], read_variance[n], gain[n], multiplicative) + (
                            s[n] / s[m]
                        ) ** 2 * _variance(v[m], read_variance[m], gain[m], multiplicative)
                        if (v[n] - expected) ** 2 <= limit * limit * variance:
                            company += 1
                    if company >= COMPANY:
                        out[n] = False
            value[y, x] = rate
            for n in range(frames):
                if use[n, y, x] == EXCLUDED:
                    continue
                use[n, y, x] = HIT if out[n] else USED
                variance = _variance(rate * s[n], read_variance[n], gain[n], multiplicative)
                deviation = v[n] - rate * s[n]
                close[n, y, x] = state[y, x] == SETTLED and deviation > near * math.sqrt(variance)


@njit(nogil=True, cache=True)
def _spread(use, close, radius):
    """Leave out what lies next to a hit and stands out, too."""
    frames, rows, columns = use.shape
    width = int(radius)
    for n in range(frames):
        for y in range(rows):
            for x in range(columns):
                if use[n, y, x] != HIT:
                    continue
                for j in range(max(y - width, 0), min(y + width, rows - 1) + 1):
                    for i in range(max(x - width, 0), min(x + width, columns - 1) + 1):
                        if (i - x) * (i - x) + (j - y) * (j - y) > radius * radius:
                            continue
                        if close[n, j, i] and use[n, j, i] == USED:
                            use[n, j, i] = NEAR_HIT


@njit(nogil=True, cache=True)
def _average(stack, use, scale, read_variance, gain, multiplicative, value, error, state):
    """Mean and uncertainty of what is left."""
    frames, rows, columns = stack.shape
    for y in range(rows):
        for x in range(columns):
            rate = np.float64(value[y, x])
            top = bottom = total = seconds = squares = noise = all_seconds = 0.0
            left = 0
            for n in range(frames):
                s = scale[n]
                all_seconds += s
                if use[n, y, x] != USED:
                    continue
                v = np.float64(stack[n, y, x])
                variance = _variance(rate * s, read_variance[n], gain[n], multiplicative)
                top += s * v / variance
                bottom += s * s / variance
                total += v
                seconds += s
                squares += v * v / s
                noise += _variance(v, read_variance[n], gain[n], multiplicative)
                left += 1
            if not left:
                state[y, x] = EMPTY
                least = np.inf
                for n in range(frames):
                    s = scale[n]
                    if stack[n, y, x] / s < least:
                        least = stack[n, y, x] / s
                        variance = _variance(
                            np.float64(stack[n, y, x]), read_variance[n], gain[n], multiplicative
                        )
                        error[y, x] = math.sqrt(variance) / s
                value[y, x] = least
                # nobody knows what of it is the pixel's own
                error[y, x] = math.sqrt(error[y, x] ** 2 + least * least)
            elif state[y, x] == CHANGING:
                mean = total / seconds
                value[y, x] = mean
                # what was left out may have been any of the states
                scatter = max(squares / seconds - mean * mean, 0.0)
                missing = (all_seconds - seconds) / all_seconds
                error[y, x] = math.sqrt(noise / (seconds * seconds) + scatter * missing / left)
            else:
                value[y, x] = top / bottom
                error[y, x] = 1.0 / math.sqrt(bottom)


def most_hits(frames: int, share: float) -> int:
    """Number of hits of a pixel that is hardly ever exceeded by chance.

    Parameters
    ----------
    frames : int
        Number of frames.
    share : float
        Share of the pixels that cosmic rays hit in a frame.

    Returns
    -------
    int
        Smallest *k* for which a Poisson number of mean ``frames * share`` exceeds *k* less often than once in 1e5.

    Examples
    --------
    >>> most_hits(104, 5e-4), most_hits(13, 0.035), most_hits(56, 0.035)
    (3, 5, 10)
    """
    mean = frames * share
    term = math.exp(-mean)
    below, k = term, 0
    while 1.0 - below > RARE:
        k += 1
        term *= mean / k
        below += term
    return k


def mean_of_stack(
    stack: np.ndarray,
    scale: np.ndarray,
    read_variance: np.ndarray,
    gain: np.ndarray,
    *,
    limit: float = 5.0,
    near: float = 4.0,
    radius: float = 1.5,
    hits: float = 5e-4,
    multiplicative: float = 0.0,
    excluded: np.ndarray | None = None,
) -> StackMean:
    """Mean of a stack of frames without cosmic rays.

    Parameters
    ----------
    stack : numpy.ndarray
        Frames by rows by columns (DN), float32, without bias.
    scale : numpy.ndarray
        What a rate of 1 gives in each frame: exposure time (s); 1 for biases.
    read_variance : numpy.ndarray
        Of each frame (DN squared).
    gain : numpy.ndarray
        Of each frame (e-/DN).
    limit : float
        Deviation from which a value is left out (standard deviations), above and below.
    near : float
        The same for values above the mean within `radius` of a hit; minus infinity leaves out all of them.
    radius : float
        Of the neighbourhood of a hit (pixels); below 1, none.
    hits : float
        Share of the pixels that rays hit in a frame.
    multiplicative : float
        Noise in proportion to the signal.
    excluded : numpy.ndarray, optional
        Values that take no part, boolean, the shape of `stack`.

    Returns
    -------
    StackMean
        Rate, uncertainty, state of each pixel and use of each value.

    Examples
    --------
    Of ten frames of 1 e-/s, one was hit:

    >>> stack = np.full((10, 3, 3), 100.0, dtype="f4")
    >>> stack[4, 1, 1] = 900.0
    >>> ones = np.ones(10)
    >>> mean = mean_of_stack(stack, 100.0 * ones, 16.0 * ones, ones, hits=0.003)
    >>> float(mean.value[1, 1]), int(mean.use[4, 1, 1]), int((mean.use == HIT).sum())
    (1.0, 1, 1)
    """
    frames, rows, columns = stack.shape
    stack = np.ascontiguousarray(stack, dtype=np.float32)
    scale, read_variance, gain = (np.asarray(a, dtype=np.float64) for a in (scale, read_variance, gain))
    use = np.zeros(stack.shape, dtype=np.uint8)
    if excluded is not None:
        use[excluded] = EXCLUDED
    value, error = np.zeros((2, rows, columns), dtype=np.float32)
    state = np.zeros((rows, columns), dtype=np.uint8)
    close = np.zeros(stack.shape, dtype=np.bool_)
    model = scale, read_variance, gain, float(multiplicative)
    _judge(stack, use, *model, float(limit), float(near), most_hits(frames, hits), value, state, close)
    if radius >= 1.0:
        _spread(use, close, float(radius))
    _average(stack, use, *model, value, error, state)
    return StackMean(value, error, state, use)


def reject_outliers(
    images: Sequence[StackImage], parameters: RejectionParameters, threads: int = 0
) -> Combination:
    """Combine a stack of images as `mean_of_stack` does: engine ``model`` of the stage crcorr.

    Parameters
    ----------
    images : sequence of StackImage
        At least two images of one shape, all with exposure times above 0 or all with 0.
    parameters : RejectionParameters
        The last of the limits, and its fraction within the radius of a hit, are used. There is no first guess.
    threads : int
        Threads to use; 0 for as many as are at hand.

    Returns
    -------
    Combination
        The mean scaled to the total exposure (to the number of images where that is 0), its uncertainty and flags. DQ
        8192 where every value was hit.

    Raises
    ------
    ValueError
        For fewer than two images, unequal shapes, or pixels that are not finite numbers.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} image(s); cosmic rays are found by comparing at least 2")
    if len({image.sci.shape for image in images}) > 1:
        raise ValueError(f"images of different shapes: {sorted({image.sci.shape for image in images})}")
    exptime = np.array([image.exptime for image in images], dtype=np.float32)
    total = sequential_sum(exptime)
    scale = np.ones_like(exptime) if total == 0 else exptime
    gain = np.array([image.gain for image in images])
    read_variance = np.array([(image.readnoise / image.gain) ** 2 for image in images])
    sky = np.zeros(len(images), dtype=np.float32)
    if parameters.sky == "mode":
        sky[:] = [sky_of(image) for image in images]
    limit = float(parameters.sigmas[-1])
    near = limit * parameters.threshold if parameters.threshold > 0 else -math.inf
    hits = HITS_PER_SECOND * (float(exptime.mean()) + READ_OUT)
    (ny, nx), halo = images[0].sci.shape, math.trunc(parameters.radius)
    average, error = np.empty((2, ny, nx), dtype=np.float32)
    dq = np.empty((ny, nx), dtype=np.int16)
    bits = np.empty((len(images), ny, (nx + 7) // 8), dtype=np.uint8)
    bad = np.int16(parameters.bad_bits)

    def tile(begin: int, end: int) -> int:
        rows = slice(max(begin - halo, 0), min(end + halo, ny))
        inner = slice(begin - rows.start, end - rows.start)
        stack = np.empty((len(images), rows.stop - rows.start, nx), dtype=np.float32)
        excluded = np.zeros(stack.shape, dtype=np.bool_) if bad else None
        flags = np.zeros((end - begin, nx), dtype=np.int16)
        for n, image in enumerate(images):
            np.subtract(image.sci[rows], sky[n], out=stack[n])
            if image.dq is not None:
                known = image.dq[rows]
                flags |= known[inner] & np.int16(~COSMIC_RAY)
                if excluded is not None:
                    excluded[n] = (known & bad) != 0
        if not np.isfinite(stack).all():
            raise ValueError("pixels that are not finite numbers")
        mean = mean_of_stack(
            stack,
            scale,
            read_variance,
            gain,
            limit=limit,
            near=near,
            radius=parameters.radius,
            hits=hits,
            multiplicative=parameters.scale_noise / 100.0,
            excluded=excluded,
        )
        average[begin:end], error[begin:end] = mean.value[inner], mean.error[inner]
        dq[begin:end] = flags | np.where(mean.state[inner] == EMPTY, np.int16(COSMIC_RAY), np.int16(0))
        rejected = (mean.use[:, inner] == HIT) | (mean.use[:, inner] == NEAR_HIT)
        bits[:, begin:end] = np.packbits(rejected, axis=2)
        return int(np.count_nonzero(rejected))

    height = max(TILE_BYTES // (4 * len(images) * nx), 2 * halo + 4)
    counts = in_threads(lambda begin: tile(begin, min(begin + height, ny)), range(0, ny, height), threads)
    factor = np.float32(len(images)) if total == 0 else total
    return Combination(
        sci=average * factor + sequential_sum(sky),
        err=error * factor,
        dq=dq,
        sky=sky,
        exptime=total,
        rejected_count=sum(counts),
        rejected_bits=bits,
    )
