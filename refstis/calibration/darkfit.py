r"""Dark rates fitted to a stack of darks, each at its own temperature and with its own noise.

The expectation of a pixel of rate *r* (e-/s at the reference temperature) in a dark of *t* seconds at a temperature
:math:`d` above the reference is

.. math:: m = t\,r\,(1 + s(r)\,d), \qquad \sigma^2 = R^2 + m,

with the read noise *R* and a relative slope *s* that depends on the rate (STIS ISR 2018-05). Cosmic rays are what
exceeds this expectation by more than this noise allows, and what lies beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from refstis.calibration.outliers import most_hits
from refstis.cores import in_threads

__all__ = [
    "CHARGE_EDGES",
    "DarkModel",
    "DarkRates",
    "Recipe",
    "WingStatistics",
    "combine_darks",
    "dark_slope",
    "find_hits",
    "first_guess",
    "fit_rates",
    "frame_temperatures",
    "segments",
    "superbias_variance",
    "wing_offsets",
    "wing_statistics",
]

# Charges (e-) that bound the classes of neighbours of a hit: what a hit leaves beside it grows with its charge.
CHARGE_EDGES = np.array([50.0, 100.0, 200.0, 400.0, 800.0, 1600.0])
# What `find_hits` finds: a clean pixel, a hit, or, from 2 on, a class of neighbours.
_CLEAN, _HIT = 0, 1
_CLASSES = 2 + len(CHARGE_EDGES) + 1
# Share of the pixels that cosmic rays hit in a long dark (3.5 % on STIS), with a margin for those near the limit.
HIT_SHARE = 0.05
# Share of its charge that a cosmic ray leaves in the neighbour that gets most: 2 % where diffusion is least.
LEAST_SPREAD = 0.01
# Probability that a hit without a track is a change of the pixel, and that one at an end of the series of a pixel that
# has changed within the month is: 0.3 % of cosmic rays leave no track, a few per cent of the pixels are hit in a dark.
_LONE, _AT_END = 0.5, 0.1
# Softness of the edge of a step of the headers' temperatures (deg C), beside the error of what is compared with it.
_STEP_EDGE = 0.004


class DarkModel(NamedTuple):
    """What is known of the darks of a stack, apart from their pixels.

    Parameters
    ----------
    exptimes : numpy.ndarray
        Exposure times (s), float64.
    warmth : numpy.ndarray
        Temperatures above the reference (deg C), float64; 0 on Side 1.
    variances : numpy.ndarray
        Variance of the read-out of each dark (e-^2), float64.
    log_rates, slopes : numpy.ndarray
        Relative change of the rate per deg C (1/C) at decimal logarithms of the rate (e-/s), float64.
    slope_scatter : float
        Standard deviation of the slopes of single hot pixels about that (1/C).
    usual : float
        Rate of ordinary pixels (e-/s): what exceeds it has a slope of its own.
    """

    exptimes: np.ndarray
    warmth: np.ndarray
    variances: np.ndarray
    log_rates: np.ndarray
    slopes: np.ndarray
    slope_scatter: float
    usual: float


class WingStatistics(NamedTuple):
    """What hits leave in their neighbours that are kept, by class.

    Parameters
    ----------
    offset : numpy.ndarray
        Mean residual (e-).
    inflation : numpy.ndarray
        Variance relative to that of clean pixels; infinite for classes that take no part.
    seen : numpy.ndarray
        Number of pixels seen.
    """

    offset: np.ndarray
    inflation: np.ndarray
    seen: np.ndarray


@njit(nogil=True, cache=True)
def _slope(rate, log_rates, slopes):
    if rate <= 0.0:
        return slopes[0]
    x = np.log10(rate)
    if x <= log_rates[0]:
        return slopes[0]
    for i in range(1, log_rates.size):
        if x <= log_rates[i]:
            part = (x - log_rates[i - 1]) / (log_rates[i] - log_rates[i - 1])
            return slopes[i - 1] + part * (slopes[i] - slopes[i - 1])
    return slopes[-1]


def dark_slope(rate: np.ndarray, log_rates: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Relative change of dark rates per degree, interpolated in the logarithm of the rate.

    Parameters
    ----------
    rate : numpy.ndarray
        Rates (e-/s).
    log_rates, slopes : numpy.ndarray
        Decimal logarithms of rates, ascending, and the slopes there (1/C).

    Returns
    -------
    numpy.ndarray
        Slopes (1/C), float64; the first where a rate is not positive.

    Examples
    --------
    >>> dark_slope(np.array([0.0, 0.1, 1e3]), np.array([-2.0, 0.0]), np.array([0.05, 0.07])).round(3).tolist()
    [0.05, 0.06, 0.07]
    """
    logs = np.log10(np.maximum(rate, 1e-30))
    return np.interp(logs, log_rates, slopes)


def first_guess(counts: np.ndarray, model: DarkModel, quantile: float = 0.5) -> np.ndarray:
    """Rate of each pixel from the middle of its stack.

    Parameters
    ----------
    counts : numpy.ndarray
        Darks without bias (e-), float32, shape (darks, rows, columns).
    model : DarkModel
        What is known of them.
    quantile : float
        Which value of the sorted stack; 0.5 for the median.

    Returns
    -------
    numpy.ndarray
        Rates (e-/s at the reference temperature), float64.
    """
    return _first_guess(counts, model.exptimes, model.warmth, model.log_rates, model.slopes, quantile)


@njit(nogil=True, cache=True)
def _first_guess(counts, exptimes, warmth, log_rates, slopes, quantile):
    number, ny, nx = counts.shape
    guess = np.empty((ny, nx))
    values = np.empty(number)
    place = quantile * (number - 1)
    low = int(place)
    high = min(low + 1, number - 1)
    part = place - low
    for y in range(ny):
        for x in range(nx):
            rate = 0.0
            # the slope depends on the rate: the second round knows it
            for _ in range(2):
                slope = _slope(rate, log_rates, slopes)
                for i in range(number):
                    values[i] = counts[i, y, x] / (exptimes[i] * (1.0 + slope * warmth[i]))
                order = np.sort(values)
                rate = order[low] + part * (order[high] - order[low])
            guess[y, x] = rate
    return guess


def frame_temperatures(
    samples: np.ndarray, model: DarkModel, prior: float = 0.11
) -> tuple[np.ndarray, float]:
    """Temperatures of darks from their hot pixels, about those of the headers.

    OCCDHTAV comes in steps of 0.4 deg C; the hot pixels of a frame tell by how much the chip was warmer or colder
    than the header says, relative to the other frames. What all have in common follows from the steps themselves: a
    temperature is nearer to its own step than to those that other headers have.

    Parameters
    ----------
    samples : numpy.ndarray
        Counts of hot pixels without bias (e-), shape (darks, pixels).
    model : DarkModel
        What is known of the darks; its temperatures are the headers'.
    prior : float
        Standard deviation of the headers' temperatures (deg C): their step over the root of 12.

    Returns
    -------
    warmth : numpy.ndarray
        Temperatures above the reference (deg C), float64.
    uncertainty : float
        Standard deviation of what they have in common (deg C); 0 where the headers are taken as they are.
    """
    warmth = model.warmth.copy()
    if samples.shape[1] < 10 or prior <= 0:
        return warmth, 0.0
    slope = np.full(samples.shape[1], model.slopes[0])
    for _ in range(4):
        factor = model.exptimes[:, None] * (1.0 + slope * warmth[:, None])
        used = np.median(samples / factor, axis=0)
        slope = dark_slope(used, model.log_rates, model.slopes)
        gain = model.exptimes[:, None] * used * slope
        expected = model.exptimes[:, None] * used * (1.0 + slope * warmth[:, None])
        variance = model.variances[:, None] + np.maximum(expected, 0.0)
        # pixels of one frame also differ by their slopes
        variance += (model.exptimes[:, None] * used * model.slope_scatter * warmth[:, None].std()) ** 2
        residual = samples - expected
        good = np.abs(residual) < 4.0 * np.sqrt(variance)
        information = np.sum(np.where(good, gain**2 / variance, 0.0), axis=1)
        step = np.sum(np.where(good, gain * residual / variance, 0.0), axis=1)
        step -= (warmth - model.warmth) / prior**2
        change = step / (information + 1.0 / prior**2)
        warmth = warmth + change
        warmth += model.warmth.mean() - warmth.mean()
    # each header is the step nearest to its temperature: what all of them allow is narrower than their mean
    below, above = _steps(model.warmth, np.sqrt(12.0) * prior)
    error = 1.0 / np.sqrt(information + 1.0 / prior**2)
    # a logistic edge has the width of a normal one at 0.55 of its scale
    edge = np.hypot(0.55 * error, _STEP_EDGE)
    shifts = np.linspace(-prior, prior, 401)
    apart = warmth[:, None] + shifts - model.warmth[:, None]
    likelihood = -np.logaddexp(0.0, (apart - 0.5 * above[:, None]) / edge[:, None])
    likelihood -= np.logaddexp(0.0, (-apart - 0.5 * below[:, None]) / edge[:, None])
    total = likelihood.sum(axis=0)
    weights = np.exp(total - total.max())
    weights /= weights.sum()
    shift = float(np.sum(weights * shifts))
    return warmth + shift, float(np.sqrt(np.sum(weights * (shifts - shift) ** 2)))


def _steps(headers, usual):
    """Distances from each header's temperature to the next lower and the next higher one, or the usual step."""
    levels, which = np.unique(headers.round(4), return_inverse=True)
    steps = np.full(levels.size + 1, usual)
    gaps = np.diff(levels)
    # between two that are further apart there are others
    steps[1:-1] = np.where(gaps < 1.5 * usual, gaps, usual)
    return steps[which], steps[which + 1]


def find_hits(
    counts: np.ndarray, rate: np.ndarray, model: DarkModel, sigma: float = 4.0, excess: float = 0.03
) -> np.ndarray:
    r"""Pixels that exceed their expectation, and the neighbours of those.

    Parameters
    ----------
    counts : numpy.ndarray
        Darks without bias (e-), float32, shape (darks, rows, columns).
    rate : numpy.ndarray
        Rate of each pixel (e-/s).
    model : DarkModel
        What is known of the darks.
    sigma : float
        Least significance of a hit.
    excess : float
        A hit exceeds the expectation by this share of it, too: slopes differ from pixel to pixel.

    Returns
    -------
    numpy.ndarray
        uint8 of the shape of `counts`: 1 for a hit; from 2 on the class, by the charge of the greatest hit, of pixels
        that touch one at a side (as `numpy.searchsorted` in `CHARGE_EDGES`, plus 2); else 0.
    """
    return _find_hits(
        counts, rate, model.exptimes, model.warmth, model.variances, model.log_rates, model.slopes,
        sigma, excess, CHARGE_EDGES, most_hits(len(counts), HIT_SHARE),
    )  # fmt: skip


@njit(nogil=True, cache=True)
def _find_hits(counts, rate, exptimes, warmth, variances, log_rates, slopes, sigma, excess, edges, most):
    number, ny, nx = counts.shape
    state = np.zeros(counts.shape, dtype=np.uint8)
    hits = np.zeros((ny, nx), dtype=np.int16)
    charge = np.zeros((ny, nx), dtype=np.float32)
    slope = np.empty((ny, nx))
    for y in range(ny):
        for x in range(nx):
            slope[y, x] = _slope(rate[y, x], log_rates, slopes)
    for i in range(number):
        for y in range(ny):
            for x in range(nx):
                expected = exptimes[i] * rate[y, x] * (1.0 + slope[y, x] * warmth[i])
                model = max(expected, 0.0)
                limit = sigma * np.sqrt(variances[i] + model) + excess * model
                if counts[i, y, x] - expected > limit:
                    state[i, y, x] = 1
                    hits[y, x] += 1
    for i in range(number):
        for y in range(ny):
            for x in range(nx):
                # what is hit more often than rays can do it has changed, and leaves nothing beside it
                charge[y, x] = 0.0
                if state[i, y, x] == 1 and hits[y, x] <= most:
                    charge[y, x] = counts[i, y, x] - exptimes[i] * rate[y, x] * (
                        1.0 + slope[y, x] * warmth[i]
                    )
        for y in range(ny):
            for x in range(nx):
                if state[i, y, x] == 1:
                    continue
                largest = np.float32(0.0)
                if y > 0:
                    largest = max(largest, charge[y - 1, x])
                if y < ny - 1:
                    largest = max(largest, charge[y + 1, x])
                if x > 0:
                    largest = max(largest, charge[y, x - 1])
                if x < nx - 1:
                    largest = max(largest, charge[y, x + 1])
                if largest > 0.0:
                    klass = 2
                    for edge in edges:
                        if largest > edge:
                            klass += 1
                    state[i, y, x] = klass
    return state


def wing_statistics(
    counts: np.ndarray,
    rate: np.ndarray,
    state: np.ndarray,
    model: DarkModel,
    ordinary: float,
    cut: float = 2.0,
) -> np.ndarray:
    """Sums over the neighbours of hits from which follows what hits leave in them.

    Parameters
    ----------
    counts : numpy.ndarray
        Darks without bias (e-), float32, shape (darks, rows, columns).
    rate : numpy.ndarray
        Rates (e-/s) that owe nothing to these neighbours.
    state : numpy.ndarray
        What `find_hits` found.
    model : DarkModel
        What is known of the darks.
    ordinary : float
        Pixels below this rate (e-/s) are looked at.
    cut : float
        Neighbours that exceed their expectation by more standard deviations take no part.

    Returns
    -------
    numpy.ndarray
        By class, then of clean pixels by dark: number, sum of residuals (e-), sum of squares of residuals, sum of the
        expected variances, and the number of all pixels of the class; sums of parts of an image can be added.
    """
    return _wing_statistics(
        counts, rate, state, model.exptimes, model.warmth, model.variances, model.log_rates, model.slopes,
        ordinary, cut, _CLASSES,
    )  # fmt: skip


@njit(nogil=True, cache=True)
def _wing_statistics(
    counts, rate, state, exptimes, warmth, variances, log_rates, slopes, ordinary, cut, classes
):
    number, ny, nx = counts.shape
    sums = np.zeros((classes + number, 5))
    for y in range(ny):
        for x in range(nx):
            if not rate[y, x] < ordinary:
                continue
            slope = _slope(rate[y, x], log_rates, slopes)
            for i in range(number):
                klass = state[i, y, x]
                if klass == 1:
                    continue
                sums[klass if klass > 0 else classes + i, 4] += 1.0
                expected = exptimes[i] * rate[y, x] * (1.0 + slope * warmth[i])
                variance = variances[i] + max(expected, 0.0)
                residual = counts[i, y, x] - expected
                # what lies far off belongs to pixels whose rate has changed
                limit = 4.0 if klass == 0 else min(cut, 4.0)
                if residual < -4.0 * np.sqrt(variance) or residual > limit * np.sqrt(variance):
                    continue
                row = klass if klass > 0 else classes + i
                sums[row, 0] += 1.0
                sums[row, 1] += residual
                sums[row, 2] += residual * residual
                sums[row, 3] += variance
    for i in range(number):
        sums[0] += sums[classes + i]
    return sums


def wing_offsets(sums: np.ndarray, frames: int) -> WingStatistics:
    """Mean and variance of what hits leave in their neighbours, from the sums of `wing_statistics`.

    Parameters
    ----------
    sums : numpy.ndarray
        Sums over the image.
    frames : int
        Number of darks: the rates that residuals are taken from have this share of one dark's variance.

    Returns
    -------
    WingStatistics
        Classes that were hardly seen, or of which half is cut, take no part.
    """
    count = np.maximum(sums[:, 0], 1.0)
    offset = sums[:, 1] / count
    inflation = (sums[:, 2] / count - offset**2) / np.maximum(sums[:, 3] / count, 1e-30)
    # residuals about a mean of frames that the neighbours of hits are no part of
    inflation *= frames / (frames + 1.0)
    unused = (sums[:, 0] < 200.0) | (sums[:, 0] < 0.5 * sums[:, 4])
    inflation = np.where(unused, np.inf, np.maximum(inflation, 0.5))
    # a truncated, contaminated value tells less of the rate than its variance says: only its kept share counts
    share = count / np.maximum(sums[:, 4], 1.0)
    inflation[2:] /= np.maximum(share[2:], 1e-3) ** 2
    offset[0], inflation[0] = 0.0, 1.0
    return WingStatistics(offset, inflation, sums[:, 4])


@njit(nogil=True, cache=True)
def segments(values, outlier, caps, penalty, labels):
    r"""Divide a series of unit variance into stretches of constant level, with outliers above.

    The division makes :math:`\sum_i \min((u_i - \mu)^2, c_i^2) + \lambda\,k` least, over the *k* jumps; the level of a
    stretch is the mean of what exceeds it by less than a limit. Values below a level are never outliers.

    Parameters
    ----------
    values : numpy.ndarray
        The series, in the order of time, float64.
    outlier : float
        What exceeds a level by more does not count for it.
    caps : numpy.ndarray
        Most that each value can cost as an outlier, :math:`c_i^2`.
    penalty : float
        The price :math:`\lambda` of a jump.
    labels : numpy.ndarray
        int64; overwritten with the number of the stretch of each value.

    Returns
    -------
    numpy.ndarray
        Level of each stretch.
    """
    n = values.size
    best = np.full(n + 1, np.inf)
    best[0] = -penalty
    begin_of = np.zeros(n + 1, dtype=np.int64)
    level_of = np.zeros(n + 1)
    ordered = np.empty(n)
    for i in range(n):
        for j in range(i, n):
            # insertion into the sorted values of this stretch
            k = j - i
            while k > 0 and ordered[k - 1] > values[j]:
                ordered[k] = ordered[k - 1]
                k -= 1
            ordered[k] = values[j]
            size = j - i + 1
            level = ordered[(size - 1) // 2]
            for _ in range(2):
                total, kept = 0.0, 0
                for m in range(size):
                    if ordered[m] > level + outlier:
                        break
                    total += ordered[m]
                    kept += 1
                level = total / kept
            cost = best[i] + penalty
            for m in range(i, j + 1):
                d = values[m] - level
                cost += min(d * d, caps[m]) if d > 0.0 else d * d
            if cost < best[j + 1]:
                best[j + 1] = cost
                begin_of[j + 1] = i
                level_of[j + 1] = level
    count, end = 0, n
    while end > 0:
        end = begin_of[end]
        count += 1
    levels = np.empty(count)
    end = n
    for k in range(count - 1, -1, -1):
        levels[k] = level_of[end]
        labels[begin_of[end] : end] = k
        end = begin_of[end]
    return levels


def fit_rates(
    counts: np.ndarray,
    rate: np.ndarray,
    state: np.ndarray,
    model: DarkModel,
    wings: WingStatistics | None = None,
    ordinary: float = 0.0,
    cut: float = 2.0,
    outlier: float = 4.0,
    penalty: float = 20.0,
    near: float = 2.5,
    exact_at: float = 0.0,
    longest: bool = False,
    changed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rate of each pixel from its darks, and its variance.

    Weighted least squares with the variances that the fitted rate implies. A hot pixel's slope with temperature is
    fitted, too, about that of its rate. Where the series of a pixel does not agree with one rate, it is divided into
    stretches (`segments`), each with a rate of its own; the result is the mean over all darks, also those in which
    a cosmic ray hid the pixel.

    Parameters
    ----------
    counts : numpy.ndarray
        Darks without bias (e-), float32, in the order of time, shape (darks, rows, columns).
    rate : numpy.ndarray
        Guess of the rate (e-/s), as `find_hits` had it.
    state : numpy.ndarray
        What `find_hits` found.
    model : DarkModel
        What is known of the darks.
    wings : WingStatistics, optional
        What hits leave beside them; default: neighbours of hits take no part.
    ordinary : float
        Neighbours of hits take part in pixels below this rate (e-/s).
    cut : float
        As in `wing_statistics`.
    outlier, penalty : float
        As in `segments`; a penalty of 0 keeps one rate for each pixel.
    near : float
        A hit is no cosmic ray by itself where no neighbour is raised by this number of standard deviations.
    exact_at : float
        Temperature above the reference (deg C) at which the rate is given.
    longest : bool
        Of a pixel that changed, give the rate that it had for most of the time, and not the mean; the variance is then
        that of its rates about it.
    changed : numpy.ndarray, optional
        True in pixels of which other darks tell that they have changed: hits at an end of their series may be a change.

    Returns
    -------
    rate : numpy.ndarray
        Rates (e-/s), float64.
    variance : numpy.ndarray
        Their variance, the error of the superbias apart.
    stretches : numpy.ndarray
        Number of stretches with a rate of their own, int16; 0 where no dark could be used and the guess stays.
    """
    if wings is None:
        offset, inflation = np.zeros(_CLASSES), np.full(_CLASSES, np.inf)
        inflation[0] = 1.0
    else:
        offset, inflation = wings.offset, wings.inflation
    if changed is None:
        changed = np.zeros(rate.shape, dtype=np.bool_)
    return _fit_rates(
        counts, rate, state, model.exptimes, model.warmth, model.variances, model.log_rates, model.slopes,
        model.slope_scatter, model.usual, offset, inflation, ordinary, cut, outlier, penalty, near,
        most_hits(len(counts), HIT_SHARE), exact_at, longest, changed,
    )  # fmt: skip


@njit(nogil=True, cache=True)
def _fit_rates(
    counts, guess, state, exptimes, warmth, variances, log_rates, slopes, scatter, usual, offset, inflation,
    ordinary, cut, outlier, penalty, near, most, exact_at, longest, changed,
):  # fmt: skip
    number, ny, nx = counts.shape
    rate = np.empty((ny, nx))
    variance = np.empty((ny, nx))
    stretches = np.zeros((ny, nx), dtype=np.int16)
    values, shift, share = np.empty(number), np.empty(number), np.empty(number)
    use = np.empty(number, dtype=np.bool_)
    beside = np.empty(number)
    slopes_of = np.empty((ny, nx))
    changing = np.empty((ny, nx), dtype=np.bool_)
    for y in range(ny):
        for x in range(nx):
            slopes_of[y, x] = _slope(guess[y, x], log_rates, slopes)
            hits = 0
            for i in range(number):
                hits += state[i, y, x] == 1
            changing[y, x] = hits > most
    for y in range(ny):
        for x in range(nx):
            start = guess[y, x]
            slope = slopes_of[y, x]
            used = 0
            for i in range(number):
                klass = state[i, y, x]
                values[i] = counts[i, y, x]
                shift[i] = offset[klass]
                share[i] = inflation[klass]
                beside[i] = np.inf
                use[i] = klass == 0
                if klass == 1:
                    beside[i] = _beside(
                        counts, guess, slopes_of, state, changing, i, y, x, exptimes, warmth, variances
                    )
                elif klass > 1 and start < ordinary and np.isfinite(inflation[klass]):
                    expected = exptimes[i] * start * (1.0 + slope * warmth[i])
                    limit = cut * np.sqrt(variances[i] + max(expected, 0.0))
                    use[i] = values[i] - expected <= limit
                used += use[i]
            # where nothing is left, the guess stands in, known no better than from one dark
            value, base, square = start * (1.0 + slope * exact_at), start, 0.0
            spread = (variances.mean() + max(start, 0.0) * exptimes.mean()) / exptimes.mean() ** 2
            if used > 0:
                value, spread, base, slope, square = _one_rate(
                    values, shift, share, use, start, exptimes, warmth, variances, log_rates, slopes, scatter, usual,
                    exact_at,
                )  # fmt: skip
                stretches[y, x] = 1
            highest = max(base, start)
            several = penalty > 0.0 and number > 2
            several = several and _suspect(
                values, use, state[:, y, x], beside, near, outlier, highest, base, slope, square, used,
                exptimes, warmth, variances,
            )  # fmt: skip
            if several:
                for i in range(number):
                    if _low(values[i], highest, slope, i, outlier, exptimes, warmth, variances):
                        beside[i] = -np.inf
                    elif not np.isfinite(beside[i]):
                        beside[i] = _beside(
                            counts, guess, slopes_of, state, changing, i, y, x, exptimes, warmth, variances
                        )
                count, mean, error = _several_rates(
                    values, beside, near, exptimes, warmth, variances, log_rates, slopes, scatter, usual, outlier,
                    penalty, exact_at, longest,
                )  # fmt: skip
                if count > 1:
                    value, spread = mean, error
                    stretches[y, x] = count
            if used > 2 and stretches[y, x] == 1:
                # a scatter that the noise does not explain belongs to the uncertainty
                excess = square / (used - 1.0)
                if excess > 1.0 + 3.0 * np.sqrt(2.0 / (used - 1.0)):
                    spread *= excess
            if penalty > 0.0 and number > 2 and stretches[y, x] == 1:
                spread += _doubt(
                    values,
                    state[:, y, x],
                    beside,
                    near,
                    changed[y, x],
                    base,
                    slope,
                    exptimes,
                    warmth,
                    exact_at,
                )
            rate[y, x], variance[y, x] = value, spread
    return rate, variance, stretches


@njit(nogil=True, cache=True)
def _beside(counts, rate, slope, state, changing, i, y, x, exptimes, warmth, variances):
    """By how many standard deviations the eight neighbours are raised at most, beyond a hundredth of the pixel's rise.

    A cosmic ray leaves a track, or a few hundredths of its charge at least; a change of the pixel does not. Neighbours
    that change themselves, or that are hit in the frames before and after, too, tell nothing.
    """
    number, ny, nx = counts.shape
    before, after = (i - 1, i + 1) if 0 < i < number - 1 else (number - 2, number - 3) if i else (1, 2)
    rise = counts[i, y, x] - exptimes[i] * rate[y, x] * (1.0 + slope[y, x] * warmth[i])
    most = -np.inf
    for b in range(max(y - 1, 0), min(y + 2, ny)):
        for a in range(max(x - 1, 0), min(x + 2, nx)):
            if (
                (a == x and b == y)
                or changing[b, a]
                or (state[before, b, a] == 1 and state[after, b, a] == 1)
            ):
                continue
            expected = exptimes[i] * rate[b, a] * (1.0 + slope[b, a] * warmth[i])
            excess = counts[i, b, a] - expected - LEAST_SPREAD * max(rise, 0.0)
            most = max(most, excess / np.sqrt(variances[i] + max(expected, 0.0)))
    return most


@njit(nogil=True, cache=True)
def _one_rate(
    values, shift, share, use, start, exptimes, warmth, variances, log_rates, slopes, scatter, usual, exact_at
):
    """Rate, variance and sum of squares of one series; the slope is fitted too where the pixel is hot."""
    rate = start
    slope = _slope(rate, log_rates, slopes)
    # the ordinary part of the rate has the ordinary slope
    own = start > 1.5 * usual and scatter > 0.0
    scatter *= 1.0 - usual / start if own else 1.0
    aa = ab = bb = 0.0
    for _ in range(5):
        usual = _slope(rate, log_rates, slopes)
        if not own:
            slope = usual
        aa = ab = bb = ar = br = 0.0
        for i in range(values.size):
            if not use[i]:
                continue
            a = exptimes[i] * (1.0 + slope * warmth[i])
            b = exptimes[i] * max(rate, 0.0) * warmth[i]
            weight = 1.0 / ((variances[i] + max(rate * a, 0.0)) * share[i])
            residual = values[i] - shift[i] - rate * a
            aa += weight * a * a
            ar += weight * a * residual
            if own:
                ab += weight * a * b
                bb += weight * b * b
                br += weight * b * residual
        if aa == 0.0:
            return start * (1.0 + slope * exact_at), 0.0, start, slope, 0.0
        if own:
            bb += 1.0 / scatter**2
            br += (usual - slope) / scatter**2
            det = aa * bb - ab * ab
            rate += (bb * ar - ab * br) / det
            slope += (aa * br - ab * ar) / det
        else:
            rate += ar / aa
    scale, tilt = 1.0 + slope * exact_at, rate * exact_at
    if own:
        variance = (bb * scale * scale - 2.0 * ab * scale * tilt + aa * tilt * tilt) / (aa * bb - ab * ab)
    else:
        variance = scale * scale / aa
    square = 0.0
    for i in range(values.size):
        if use[i]:
            expected = exptimes[i] * rate * (1.0 + slope * warmth[i])
            square += (values[i] - shift[i] - expected) ** 2 / (
                (variances[i] + max(expected, 0.0)) * share[i]
            )
    return rate * scale, variance, rate, slope, square


@njit(nogil=True, cache=True)
def _doubt(values, state, beside, near, changed, rate, slope, exptimes, warmth, exact_at):
    """Variance of a single rate for hits that were left out, and may have been the pixel's own."""
    number = values.size
    first, last = 0, number - 1
    while first < number and state[first] == 1:
        first += 1
    while last >= 0 and state[last] == 1:
        last -= 1
    total = variance = 0.0
    for i in range(number):
        total += exptimes[i] * (1.0 + slope * warmth[i])
        if state[i] == 1:
            probability = _LONE if beside[i] < near else _AT_END if changed and not first < i < last else 0.0
            variance += probability * (values[i] - exptimes[i] * rate * (1.0 + slope * warmth[i])) ** 2
    return variance * ((1.0 + slope * exact_at) / total) ** 2


@njit(nogil=True, cache=True)
def _low(value, rate, slope, i, outlier, exptimes, warmth, variances):
    """Whether a value is too low for a rate, which no cosmic ray and no wing of one does."""
    expected = exptimes[i] * rate * (1.0 + slope * warmth[i])
    return value < expected - outlier * np.sqrt(variances[i] + max(expected, 0.0))


@njit(nogil=True, cache=True)
def _suspect(
    values, use, state, beside, near, outlier, highest, rate, slope, square, used, exptimes, warmth, variances
):
    """Whether a series may hold more than one rate.

    Hits in a row or without a track tell, low values in any dark, hits without a track at either end among hits only,
    scatter, or drifting sums.
    """
    number = values.size
    alone = row = 0
    for i in range(number):
        if _low(values[i], highest, slope, i, outlier, exptimes, warmth, variances):
            return True
        if state[i] == 1:
            row += 1
            alone += beside[i] < near
            if row >= 3 or alone >= 2:
                return True
        elif state[i] == 0:
            row = 0
    # a change just after the first dark or before the last ones
    for i in range(number):
        if state[i] != 1:
            break
        if beside[i] < near:
            return True
    for i in range(number - 1, -1, -1):
        if state[i] != 1:
            break
        if beside[i] < near:
            return True
    if used < 4:
        return False
    if square > used - 1.0 + 3.5 * np.sqrt(2.0 * (used - 1.0)):
        return True
    total = largest = 0.0
    for i in range(number):
        if use[i]:
            expected = exptimes[i] * rate * (1.0 + slope * warmth[i])
            total += (values[i] - expected) / np.sqrt(variances[i] + max(expected, 0.0))
            largest = max(largest, abs(total))
    return largest > 1.7 * np.sqrt(used)


@njit(nogil=True, cache=True)
def _several_rates(
    values, beside, near, exptimes, warmth, variances, log_rates, slopes, scatter, usual, outlier, penalty, exact_at,
    longest,
):  # fmt: skip
    """Number of stretches, mean rate over all darks and its variance."""
    number = values.size
    index = np.empty(number, dtype=np.int64)
    n = 0
    for i in range(number):
        if beside[i] < outlier:
            index[n] = i
            n += 1
    if n < 3:
        return 0, 0.0, 0.0
    # square root of the counts, whose variance is 1 at any level; brought to one temperature before
    rough = np.empty(n)
    for k in range(n):
        rough[k] = values[index[k]] / (exptimes[index[k]] * (1.0 + slopes[0] * warmth[index[k]]))
    slope = _slope(np.median(rough), log_rates, slopes)
    series = np.empty(n)
    mean_time, mean_variance = exptimes.mean(), variances.mean()
    for k in range(n):
        i = index[k]
        factor = mean_time / (exptimes[i] * (1.0 + slope * warmth[i]))
        series[k] = 2.0 * np.sqrt(max(values[i] * factor + 0.375 + mean_variance, 0.0))
    labels = np.empty(n, dtype=np.int64)
    # a lone hit may cost more than a jump, so that a change in the last frame is seen, and less than two
    caps = np.empty(n)
    for k in range(n):
        caps[k] = 1.5 * penalty if beside[index[k]] < near else outlier * outlier
    levels = segments(series, outlier, caps, penalty, labels)
    count = levels.size
    length = np.zeros(count, dtype=np.int64)
    out = np.zeros(n, dtype=np.bool_)
    for k in range(n):
        out[k] = series[k] - levels[labels[k]] > outlier
        length[labels[k]] += not out[k]
    # a value above its stretch is no cosmic ray where the pixel has been at that level before or after
    for k in range(n):
        if not out[k]:
            continue
        for other in range(levels.size):
            if length[other] >= 3 and abs(series[k] - levels[other]) < 3.0:
                labels[k] = other
                out[k] = False
        if out[k] and beside[index[k]] < near:
            for m in range(n):
                if m != k and beside[index[m]] < near and abs(series[k] - series[m]) < 4.0:
                    labels[k] = count
                    out[k] = False
            count += not out[k]
    if count < 2:
        return count, 0.0, 0.0
    rates, spreads, tilts = np.zeros(count), np.zeros(count), np.zeros(count)
    for j in range(count):
        total, seen = 0.0, 0
        for k in range(n):
            if labels[k] == j and not out[k]:
                total += values[index[k]] / (exptimes[index[k]] * (1.0 + slope * warmth[index[k]]))
                seen += 1
        rates[j] = total / max(seen, 1)
        for _ in range(3):
            own = _slope(rates[j], log_rates, slopes)
            aa = ar = 0.0
            for k in range(n):
                i = index[k]
                if labels[k] == j and not out[k]:
                    a = exptimes[i] * (1.0 + own * warmth[i])
                    weight = 1.0 / (variances[i] + max(rates[j] * a, 0.0))
                    aa += weight * a * a
                    ar += weight * a * values[i]
            if aa > 0.0:
                rates[j] = ar / aa
                spreads[j] = 1.0 / aa
        # each rate has a slope of its own
        own = _slope(rates[j], log_rates, slopes)
        scale = 1.0 + own * exact_at
        tilts[j] = max(rates[j] - usual, 0.0) * scale
        rates[j] *= scale
        spreads[j] *= scale * scale
    # every dark counts: those that a cosmic ray hides have the rate of their stretch; between two, either's
    following = 0
    total_time = mean = unknown = 0.0
    times, warm = np.zeros(count), np.zeros(count)
    for i in range(number):
        while following < n and index[following] < i:
            following += 1
        right = labels[min(following, n - 1)]
        left = right if following < n and index[following] == i else labels[max(following - 1, 0)]
        times[left] += 0.5 * exptimes[i]
        times[right] += 0.5 * exptimes[i]
        unknown += 0.5 * exptimes[i] * abs(rates[left] - rates[right])
        total_time += exptimes[i]
        warm[left] += 0.5 * exptimes[i] * warmth[i]
        warm[right] += 0.5 * exptimes[i] * warmth[i]
    variance = (unknown / total_time) ** 2
    for j in range(count):
        mean += times[j] / total_time * rates[j]
        variance += (times[j] / total_time) ** 2 * spreads[j]
    warm /= np.maximum(times, 1e-30)
    chosen = np.argmax(times)
    if longest:
        mean, variance = rates[chosen], spreads[chosen]
        for j in range(count):
            variance += times[j] / total_time * (rates[j] - mean) ** 2
    # each stretch was at temperatures of its own
    tilt = 0.0
    for j in range(count):
        share = times[j] / total_time if not longest else 1.0 if j == chosen else 0.0
        tilt += share * tilts[j] * (warm[j] - exact_at) / (1.0 + slope * warm[j])
    variance += (scatter * tilt) ** 2
    return count, mean, variance


class Recipe(NamedTuple):
    """How a stack of darks is combined.

    Parameters
    ----------
    sigma, excess : float
        Limits of a hit, as in `find_hits`.
    neighbours : str
        What becomes of pixels beside a hit: "fit" takes those that are hardly raised and subtracts what hits leave in
        them in the mean, "leave_out" takes none, "keep" takes all as they are.
    cut : float
        Neighbours that are raised by more standard deviations take no part.
    penalty : float
        The price of a change of the rate, as in `segments`; 0: no pixel changes.
    near : float
        As in `fit_rates`.
    temperature_prior : float
        Uncertainty of the headers' temperatures (deg C), as in `frame_temperatures`; 0: they are right.
    exact_at : float
        Temperature above the reference (deg C) at which rates are given.
    longest : bool
        As in `fit_rates`.
    """

    sigma: float = 4.0
    excess: float = 0.03
    neighbours: str = "fit"
    cut: float = 2.0
    penalty: float = 20.0
    near: float = 2.5
    temperature_prior: float = 0.11
    exact_at: float = 0.0
    longest: bool = False


class DarkRates(NamedTuple):
    """Combination of a stack of darks.

    Parameters
    ----------
    rate, variance : numpy.ndarray
        Rates (e-/s) and their variance, float64, the error of the superbias apart.
    stretches : numpy.ndarray
        Number of rates that a pixel had, int16; 0 where no dark could be used.
    flags : numpy.ndarray
        Flags of the darks that were not hit, OR-ed, int16.
    model : DarkModel
        What was found out of the darks: temperatures, variances, the usual rate.
    hit : float
        Share of pixels that cosmic rays hit in a dark.
    """

    rate: np.ndarray
    variance: np.ndarray
    stretches: np.ndarray
    flags: np.ndarray
    model: DarkModel
    hit: float


# Rows that are worked on at a time, and how many more on either side a decision looks at.
_ROWS, _MARGIN = 32, 2
# Hot pixels that tell the temperature: bright enough, and far from saturation.
_THERMOMETERS = (0.3, 20.0)


def combine_darks(
    counts: Callable[[slice], np.ndarray],
    flags: Callable[[slice], np.ndarray | None],
    shape: tuple[int, int],
    model: DarkModel,
    recipe: Recipe,
    threads: int = 0,
    changed: np.ndarray | None = None,
) -> DarkRates:
    """Dark rates of a stack of darks.

    Parameters
    ----------
    counts : callable
        Gives for a slice of rows the darks without bias (e-), float32, in the order of time, shape (darks, rows,
        columns).
    flags : callable
        Gives for a slice of rows their flags, int16, of the same shape; or None where there are none.
    shape : tuple of int
        Rows and columns.
    model : DarkModel
        What is known of the darks; temperatures and variances are improved on, the usual rate is found.
    recipe : Recipe
        How to do it.
    threads : int
        Threads to use; 0 for as many as are at hand.
    changed : numpy.ndarray, optional
        As in `fit_rates`.

    Returns
    -------
    DarkRates
        The rates.
    """
    ny, nx = shape
    number = len(model.exptimes)
    blocks = [slice(begin, min(begin + _ROWS, ny)) for begin in range(0, ny, _ROWS)]
    rate = np.empty(shape)

    def guess(rows):
        stack = counts(rows)
        # of two values the lower one is the one that was not hit
        first = first_guess(stack, model, 0.5 * (1.0 - HIT_SHARE) if number > 2 else 0.0)
        rate[rows] = first
        bright = (first > _THERMOMETERS[0]) & (first < _THERMOMETERS[1])
        return stack[:, bright]

    samples = np.concatenate(in_threads(guess, blocks, threads), axis=1).astype(np.float64)
    doubt = 0.0
    if np.any(model.warmth):
        warmth, doubt = frame_temperatures(samples, model, recipe.temperature_prior)
        model = model._replace(warmth=warmth)
    del samples
    model = model._replace(usual=float(np.median(rate)))
    ordinary = 2.0 * model.usual
    classes = np.full(_CLASSES, np.inf)
    classes[_CLEAN] = 1.0
    if recipe.neighbours == "keep":
        classes[2:] = 1.0
    wings = WingStatistics(np.zeros(_CLASSES), classes, np.zeros(_CLASSES))
    limits: dict[str, Any] = {
        "ordinary": ordinary,
        "cut": np.inf if recipe.neighbours == "keep" else recipe.cut,
    }

    def wide(rows):
        """The rows with those beside them, and where the rows are in that."""
        begin = max(rows.start - _MARGIN, 0)
        more = slice(begin, min(rows.stop + _MARGIN, ny))
        return more, slice(rows.start - begin, rows.stop - begin)

    def hits(rows):
        more, inner = wide(rows)
        stack, before = counts(more), first[more]
        return stack, before, find_hits(stack, before, model, recipe.sigma, recipe.excess), inner

    def improve(rows):
        stack, before, state, inner = hits(rows)
        found, _, _ = fit_rates(stack, before, state, model, wings, penalty=0.0, **limits)
        rate[rows] = found[inner]
        inside = np.ascontiguousarray(stack[:, inner]), np.ascontiguousarray(state[:, inner])
        return wing_statistics(inside[0], found[inner], inside[1], model, ordinary, limits["cut"])

    first = rate.copy()
    sums = np.sum(in_threads(improve, blocks, threads), axis=0)
    by_class, by_frame = sums[:_CLASSES], sums[_CLASSES:]
    model = model._replace(variances=_read_variances(by_frame, model.variances, number))
    if recipe.neighbours == "fit":
        wings = wing_offsets(by_class, number)

    variance = np.empty(shape)
    stretches = np.empty(shape, dtype=np.int16)
    joined = np.zeros(shape, dtype=np.int16)

    def finish(rows):
        stack, before, state, inner = hits(rows)
        fitted = fit_rates(
            stack, before, state, model, wings, **limits,
            penalty=recipe.penalty, near=recipe.near, exact_at=recipe.exact_at, longest=recipe.longest,
            changed=None if changed is None else changed[wide(rows)[0]],
        )  # fmt: skip
        rate[rows], variance[rows], stretches[rows] = (image[inner] for image in fitted)
        if doubt > 0.0:
            # what the temperatures have in common is wrong in all pixels by the slopes that they have
            slope = dark_slope(rate[rows], model.log_rates, model.slopes)
            variance[rows] += (rate[rows] * slope / (1.0 + slope * model.warmth.mean()) * doubt) ** 2
        hit = state[:, inner] == _HIT
        given = flags(rows)
        if given is not None:
            joined[rows] = np.bitwise_or.reduce(np.where(hit, np.int16(0), given), axis=0)
        return np.count_nonzero(hit)

    first = rate.copy()
    total = sum(in_threads(finish, blocks, threads))
    return DarkRates(rate, variance, stretches, joined, model, total / (number * ny * nx))


def _read_variances(sums: np.ndarray, variances: np.ndarray, number: int) -> np.ndarray:
    """Variance of the read-out of each dark as its clean ordinary pixels have it."""
    count, total, squares, expected = sums.T[:4]
    known = count > 1000
    count = np.maximum(count, 1)
    measured = (squares / count - (total / count) ** 2) * number / max(number - 1.0, 1.0)
    found = variances + measured - expected / count
    # pixels that a clip left alone scatter less than the noise where there are few darks
    return np.where(known & (number > 3), np.clip(found, 0.5 * variances, 4.0 * variances), variances)


def superbias_variance(
    errors: Sequence[np.ndarray], shares: Sequence[float], electrons: float
) -> np.ndarray | float:
    r"""Variance that superbiases leave in a dark rate.

    .. math:: \sigma^2 = \sum_k \left(\frac{p_k e_k}{T}\right)^2

    Parameters
    ----------
    errors : sequence of numpy.ndarray
        Uncertainty of each superbias (e-).
    shares : sequence of float
        Share :math:`p` of the darks that it was subtracted from.
    electrons : float
        Electrons per dark of a rate of 1 e-/s, *T* (s).

    Returns
    -------
    numpy.ndarray or float
        Variance of the rate; 0 where no superbias is known.

    Examples
    --------
    >>> superbias_variance([np.array([0.5]), np.array([0.5])], [0.5, 0.5], 1000.0).tolist()
    [1.25e-07]
    """
    total: np.ndarray | float = 0.0
    for error, share in zip(errors, shares, strict=True):
        total = total + (share / electrons * error.astype(np.float64)) ** 2
    return total
