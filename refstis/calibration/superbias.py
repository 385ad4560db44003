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
    "column_residual",
    "flag_hot_bias",
    "hot_columns",
    "replace_hot_columns",
    "replace_hot_pixels",
    "residual_image",
]

HOT_PIXEL = 16


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
