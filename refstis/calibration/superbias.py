"""Superbiases: normalization, averages, hot columns and hot pixels.

The limits are those of refstis 0.8, which go back to STIS ISR 99-08. Each is a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from refstis.calibration.reference_image import ReferenceImage
from refstis.calibration.robust import clip, median_filter_reflected, median_filter_zero_padded

__all__ = [
    "HOT_PIXEL",
    "add_hot_columns",
    "average_biases",
    "average_references",
    "blend_superbias",
    "column_residual",
    "column_steps",
    "flag_defects",
    "flag_hot_bias",
    "hot_columns",
    "replace_hot_columns",
    "replace_hot_pixels",
    "residual_image",
]

HOT_PIXEL = 16
# Deviations of single pixels are cut to this many sigma where columns are looked at.
CUT = 4.0
# Most origins in a column.
ORIGINS = 20


def average_biases(biases: Iterable[tuple[ReferenceImage, int]]) -> ReferenceImage:
    r"""Mean of sums of frames, each frame with the same weight.

    .. math:: S = \frac{\sum_k S_k}{W}, \quad \sigma = \sqrt{\frac{\sum_k \sigma_k^2}{W^2}}, \quad W = \sum_k N_k

    Parameters
    ----------
    biases : iterable of tuple
        Sums of frames (DN), as cosmic-ray rejection leaves them, each with its number of frames (NCOMBINE). They are
        taken one after the other, so that an iterator needs the memory of one.

    Returns
    -------
    ReferenceImage
        Mean frame (DN); flags are combined by OR. Sums are taken in the order given, in float32.

    Raises
    ------
    ValueError
        Where there is no bias.
    """
    pairs = iter(biases)
    first = next(pairs, None)
    if first is None:
        raise ValueError("no biases to average")
    bias, weight = first
    total, square, flags = bias.sci.copy(), bias.err * bias.err, bias.dq.copy()
    for bias, count in pairs:
        total += bias.sci
        square += bias.err * bias.err
        flags |= bias.dq
        weight += count
    frames = np.float32(weight)
    return ReferenceImage(total / frames, np.sqrt(square / (frames * frames)), flags)


def average_references(first: ReferenceImage, second: ReferenceImage) -> ReferenceImage:
    r"""Average of two reference images with equal weights.

    .. math:: S = \frac{S_1}{2} + \frac{S_2}{2}, \qquad
              \sigma = \sqrt{\left(\frac{\sigma_1}{2}\right)^2 + \left(\frac{\sigma_2}{2}\right)^2}

    Parameters
    ----------
    first, second : ReferenceImage
        Images of one shape.

    Returns
    -------
    ReferenceImage
        The average; flags are combined by OR.
    """
    half = np.float32(0.5)
    a, b = first.err * half, second.err * half
    return ReferenceImage(first.sci * half + second.sci * half, np.sqrt(a * a + b * b), first.dq | second.dq)


def residual_image(
    sci: np.ndarray, kernel: tuple[int, int] = (3, 15), sigma: float = 3.0, iterations: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """Image less its running median, which is first brought to the same clipped mean.

    Parameters
    ----------
    sci : numpy.ndarray
        Superbias (DN), float32.
    kernel : tuple of int
        Rows and columns of the running median.
    sigma, iterations : float, int
        Clip of the means.

    Returns
    -------
    tuple of numpy.ndarray
        Residual and median image (DN), float32.
    """
    median = median_filter_reflected(sci, kernel)
    # refstis 0.8 took the mean of the array in FITS byte order, which numpy adds up block by block
    mean = clip(sci.astype(">f4"), sigma, iterations).mean
    median += mean - clip(median, sigma, iterations).mean
    return sci - median, median


def column_residual(residual: np.ndarray, fraction: float = 1.0) -> np.ndarray:
    """Mean residual of each column over the rows nearest the bottom.

    Parameters
    ----------
    residual : numpy.ndarray
        Residual image (DN), float32.
    fraction : float
        Fraction of the rows to use, at most 1024 rows.

    Returns
    -------
    numpy.ndarray
        One row (DN), float32.
    """
    rows = min(1024, math.floor(fraction * residual.shape[0] + 0.5))
    return residual[:rows].mean(axis=0)


def hot_columns(columns: np.ndarray, sigma: float, clip_sigma: float, iterations: int) -> np.ndarray:
    """Columns whose residual stands out.

    Parameters
    ----------
    columns : numpy.ndarray
        Column residual (DN), one row.
    sigma : float
        Limit in clipped standard deviations above the clipped mean.
    clip_sigma, iterations : float, int
        Clip of mean and standard deviation.

    Returns
    -------
    numpy.ndarray
        Boolean row.
    """
    statistics = clip(columns, clip_sigma, iterations)
    return columns >= statistics.mean + sigma * statistics.std


def replace_hot_columns(
    sci: np.ndarray,
    residual: np.ndarray,
    median: np.ndarray,
    fractions: Sequence[float] = (1.0, 0.2),
    sigma: float = 3.0,
    clip_sigma: float = 3.0,
    iterations: int = 40,
) -> np.ndarray:
    """Replace hot columns by the running median.

    Parameters
    ----------
    sci : numpy.ndarray
        Superbias (DN), float32.
    residual, median : numpy.ndarray
        Its residual and median image.
    fractions : sequence of float
        Fractions of the rows that columns are judged by, one pass for each.
    sigma : float
        Limit of a hot column, in clipped standard deviations.
    clip_sigma, iterations : float, int
        Clip of the column residual's statistics.

    Returns
    -------
    numpy.ndarray
        Superbias without its hot columns (DN), float32.
    """
    out = sci.copy()
    for fraction in fractions:
        hot = hot_columns(column_residual(residual, fraction), sigma, clip_sigma, iterations)
        out[:, hot] = median[:, hot]
    return out


def replace_hot_pixels(
    sci: np.ndarray, median: np.ndarray, sigma: float = 5.0, clip_sigma: float = 5.0, iterations: int = 40
) -> np.ndarray:
    """Replace single hot pixels by the running median.

    Parameters
    ----------
    sci, median : numpy.ndarray
        Superbias and the median image to replace from (DN), float32.
    sigma : float
        Limit of a hot pixel, in clipped standard deviations of the residual.
    clip_sigma, iterations : float, int
        Clip of the residual's statistics.

    Returns
    -------
    numpy.ndarray
        Superbias without its hot pixels (DN), float32.
    """
    residual = sci - median
    statistics = clip(residual, clip_sigma, iterations)
    return np.where(residual >= statistics.mean + sigma * statistics.std, median, sci)


def flag_hot_bias(
    sci: np.ndarray,
    dq: np.ndarray,
    kernel: tuple[int, int] = (3, 15),
    sigma: float = 5.0,
    clip_sigma: float = 3.0,
    iterations: int = 30,
) -> np.ndarray:
    """Flag pixels that stand out of their surroundings.

    Parameters
    ----------
    sci : numpy.ndarray
        Superbias (DN), float32.
    dq : numpy.ndarray
        Its flags, int16.
    kernel : tuple of int
        Rows and columns of the running median, which is padded with zeros at the edges.
    sigma : float
        Limit in clipped standard deviations of the residual.
    clip_sigma, iterations : float, int
        Clip of the statistics.

    Returns
    -------
    numpy.ndarray
        Flags, int16: a hot pixel's other flags are replaced by 16, as refstis has always done.
    """
    smooth = median_filter_zero_padded(sci, kernel)
    smooth += clip(sci, clip_sigma, iterations).mean - clip(smooth, clip_sigma, iterations).mean
    residual = sci - smooth
    statistics = clip(residual, clip_sigma, iterations)
    return np.where(residual > statistics.mean + sigma * statistics.std, np.int16(HOT_PIXEL), dq)


def add_hot_columns(
    week: ReferenceImage,
    base: ReferenceImage,
    kernel: tuple[int, int] = (3, 15),
    fraction: float = 0.25,
    sigma: float = 5.0,
    clip_sigma: float = 3.0,
    iterations: int = 20,
) -> ReferenceImage:
    """Baseline superbias with the hot columns of one week.

    Parameters
    ----------
    week, base : ReferenceImage
        The week's mean frame and the month's baseline superbias (DN).
    kernel : tuple of int
        Rows and columns of the running median.
    fraction : float
        Fraction of the rows that columns are judged by.
    sigma : float
        Limit of a hot column, in clipped standard deviations.
    clip_sigma, iterations : float, int
        Clip of the column residual's statistics.

    Returns
    -------
    ReferenceImage
        Values of the baseline plus the week's residual in hot columns; the week's uncertainty where that is not 0, else
        the baseline's; the week's flags, replaced by 16 where the residual is above 0.

    References
    ----------
    STIS ISR 99-08: hot columns above 5 sigma are added to the baseline superbias.
    """
    residual, _ = residual_image(week.sci, kernel)
    hot = hot_columns(column_residual(residual, fraction), sigma, clip_sigma, iterations)
    only_hot = np.where(hot, residual, np.float32(0))
    return ReferenceImage(
        base.sci + only_hot,
        np.where(only_hot == 0, base.err, week.err),
        np.where(only_hot > 0, np.int16(HOT_PIXEL), week.dq),
    )


def column_steps(
    image: np.ndarray, variance: np.ndarray, sigma: float = 5.0, *, last_row_first: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    r"""Charge that columns have from some row on, in the order of the read-out.

    Everything that passes the origin of a hot column, or a hot pixel, takes up charge: it is in all rows that are read
    after it, and in no other. In each column the origin with the most significant mean beyond it,

    .. math:: z_k = \frac{\sum_{j \ge k} d_j / \sigma_j^2}{\sqrt{\sum_{j \ge k} 1 / \sigma_j^2}},

    is taken, its mean subtracted, and the next one looked for, until none is significant.

    Parameters
    ----------
    image : numpy.ndarray
        Differences *d* from what is expected (DN).
    variance : numpy.ndarray
        Their variances (DN squared).
    sigma : float
        Least significance of a step.
    last_row_first : bool
        Whether the row with the highest index is read first: amplifiers C and D.

    Returns
    -------
    tuple of numpy.ndarray
        Charge (DN) and its variance, float64; 0 where no step was found.

    Examples
    --------
    >>> image = np.zeros((100, 3))
    >>> image[:40, 1] = 2.0
    >>> charge, _ = column_steps(image, np.full((100, 3), 0.25))
    >>> charge[39:41, 1], bool(charge[:, [0, 2]].any())
    (array([2., 0.]), False)
    """
    order = slice(None, None, -1) if last_row_first else slice(None)
    weight = 1.0 / np.asarray(variance, dtype=np.float64)[order]
    difference = np.asarray(image, dtype=np.float64)[order]
    charge, doubt = np.zeros(image.shape), np.zeros(image.shape)
    left = np.arange(image.shape[1])
    beyond = weight[::-1].cumsum(axis=0)[::-1]
    for _ in range(ORIGINS):
        rest = difference[:, left] - charge[:, left]
        limit = CUT / np.sqrt(weight[:, left])
        sums = (np.clip(rest, -limit, limit) * weight[:, left])[::-1].cumsum(axis=0)[::-1]
        significance = np.abs(sums) / np.sqrt(beyond[:, left])
        origin = significance.argmax(axis=0)
        columns = np.arange(left.size)
        found = significance[origin, columns] >= sigma
        if not found.any():
            break
        left, origin, columns = left[found], origin[found], columns[found]
        reached = np.arange(image.shape[0])[:, np.newaxis] >= origin
        # the mean of all but single pixels: cut values would make large charges too small
        mean = _mean_beyond(rest[:, columns], weight[:, left], reached)
        charge[:, left] += np.where(reached, mean, 0.0)
        doubt[:, left] += np.where(reached, 1.0 / beyond[origin, left], 0.0)
    return charge[order], doubt[order]


def _mean_beyond(rest, weight, reached):
    """Mean of the rows that are reached, from which single pixels are clipped about the median."""
    values = np.where(reached, rest, np.nan)
    centre = np.nanmedian(values, axis=0)
    near = reached & (np.abs(values - centre) <= CUT / np.sqrt(weight))
    total = np.where(near, rest * weight, 0.0).sum(axis=0)
    weights = np.where(near, weight, 0.0).sum(axis=0)
    return np.where(weights > 0, total / np.where(weights > 0, weights, 1.0), centre)


def blend_superbias(
    week: ReferenceImage,
    base: ReferenceImage,
    changed: float = 0.003,
    sigma: float = 5.0,
    *,
    last_row_first: bool = True,
) -> tuple[ReferenceImage, np.ndarray]:
    r"""Superbias of a week, drawn towards the month's where the two agree.

    The month's mean *b* is made of the week's frames, too, so the difference :math:`d = w - b` of a pixel that did not
    change has the variance :math:`V = \sigma_w^2 - \sigma_b^2`. Hot columns that came or went are steps in *d*
    (`column_steps`); what is left, *e*, is a change of the single pixel with the probability

    .. math:: P = \frac{p\,N(e; V + e^2)}{p\,N(e; V + e^2) + (1 - p)\,N(e; V)}

    (about one half at four sigma with *p* = 0.003), and the value is *b* plus the steps plus *P e*.

    Parameters
    ----------
    week, base : ReferenceImage
        The week's mean frame and the month's baseline superbias (DN).
    changed : float
        Share of pixels that change within a month, *p*.
    sigma : float
        Least significance of the change of a column.
    last_row_first : bool
        Whether the row with the highest index is read first: amplifiers C and D.

    Returns
    -------
    result : ReferenceImage
        Value, uncertainty (that of the two possibilities together) and the week's flags.
    own : numpy.ndarray
        Probability *P* that a pixel has the week's value, float64; 1 where its column has changed.
    """
    w, b = week.sci.astype(np.float64), base.sci.astype(np.float64)
    var_w, var_b = week.err.astype(np.float64) ** 2, base.err.astype(np.float64) ** 2
    # a quarter where the month knows no more than the week
    spread = np.maximum(np.maximum(var_w - var_b, 0.25 * var_w), np.finfo(np.float64).tiny)
    steps, doubt = column_steps(w - b, spread, sigma, last_row_first=last_row_first)
    rest = w - b - steps
    square = rest * rest / spread
    # beyond the range of exp() the answer is known
    ratio = np.exp(np.minimum(0.5 * square * (1.0 - 1.0 / (1.0 + square)), 700.0)) / np.sqrt(1.0 + square)
    odds = changed * ratio
    single = odds / (odds + (1.0 - changed))
    value = b + steps + single * rest
    variance = single * (var_w + ((1.0 - single) * rest) ** 2) + (1.0 - single) * (
        var_b + doubt + (single * rest) ** 2
    )
    result = ReferenceImage(value.astype(np.float32), np.sqrt(variance).astype(np.float32), week.dq)
    return result, np.where(steps != 0, 1.0, single)


def flag_defects(
    bias: ReferenceImage,
    kernel: tuple[int, int] = (3, 15),
    sigma: float = 5.0,
    excess: float = 3.0,
    *,
    last_row_first: bool = True,
) -> np.ndarray:
    """Flag hot pixels and hot columns where they are, by their significance and their charge.

    Parameters
    ----------
    bias : ReferenceImage
        Superbias (DN) with its uncertainty.
    kernel : tuple of int
        Rows and columns of the running median that they stand out of; the image is reflected at its edges.
    sigma : float
        Least significance of a pixel, or of a column from some row on.
    excess : float
        Least charge (DN).
    last_row_first : bool
        Whether the row with the highest index is read first: amplifiers C and D.

    Returns
    -------
    numpy.ndarray
        Flags, int16, with 16 in addition where a pixel, or its column in this row, is hot.
    """
    residual = bias.sci - median_filter_reflected(bias.sci, kernel)
    variance = np.maximum(bias.err.astype(np.float64) ** 2, np.finfo(np.float64).tiny)
    charge, _ = column_steps(residual, variance, sigma, last_row_first=last_row_first)
    single = residual - charge
    hot = (charge >= excess) | ((single >= excess) & (single >= sigma * bias.err))
    return bias.dq | np.where(hot, np.int16(HOT_PIXEL), np.int16(0))
