"""Hot pixels from the darks that were taken nearest in time to one exposure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refstis.calibration.reference_image import ReferenceImage
from refstis.calibration.robust import clip
from refstis.calibration.superbias import HOT_PIXEL

__all__ = ["nearness", "prefer_nearest", "weighted_median"]

_ROWS = 64
# Variance of the median of normal values, relative to that of their mean.
_MEDIAN_VARIANCE = np.pi / 2.0


def nearness(distances: Sequence[float], days: float = 2.0) -> np.ndarray:
    r"""Weights of darks by their distance in time: :math:`e^{-|d|/\tau}` relative to the nearest, capped at the third.

    Three equal weights at the top outvote a cosmic ray in any one of them.

    Parameters
    ----------
    distances : sequence of float
        Days between each of at least three darks and the exposure; the sign does not matter.
    days : float
        Time in which the weight falls to 1/e.

    Returns
    -------
    numpy.ndarray
        float64.

    Examples
    --------
    >>> nearness([-0.5, 0.5, 1.0, 2.0], days=1.0).round(3).tolist()
    [0.607, 0.607, 0.607, 0.223]
    """
    # Relative to the nearest, so that darks of another month still have weights.
    apart = np.abs(np.asarray(distances, dtype=np.float64))
    weights = np.exp((apart.min() - apart) / days)
    return np.minimum(weights, np.sort(weights)[-3])


def weighted_median(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted median of each pixel of a stack: the value at which half of the weight is reached.

    Parameters
    ----------
    images : numpy.ndarray
        Stack of images, float; the first axis counts them.
    weights : numpy.ndarray
        Weight of each image.

    Returns
    -------
    numpy.ndarray
        Image of the stack's type.

    Examples
    --------
    >>> weighted_median(np.array([[1.0], [5.0], [2.0], [9.0]]), np.array([1.0, 1.0, 1.0, 0.2]))
    array([2.])
    """
    order = np.argsort(images, axis=0, kind="stable")
    reached = np.cumsum(weights[order], axis=0)
    middle = np.argmax(reached >= 0.5 * weights.sum(), axis=0)
    index = np.take_along_axis(order, middle[None], axis=0)
    return np.take_along_axis(images, index, axis=0)[0]


def prefer_nearest(
    superdark: ReferenceImage,
    rates: Sequence[np.ndarray],
    distances: Sequence[float],
    exptime: float,
    readnoise: float,
    days: float = 2.0,
    sigma: float = 5.0,
) -> tuple[ReferenceImage, np.ndarray]:
    r"""Superdark whose hot pixels follow the darks nearest in time where those differ from it.

    The rate :math:`m` of each pixel in the darks is their median, weighted by `nearness`. It replaces the rate
    :math:`s` of the superdark where one of both is hot (above the superdark's clipped median by `sigma` clipped
    standard deviations) and :math:`|m - s| > \sigma \sqrt{e_s^2 + e_m^2}` with

    .. math:: e_m^2 = \frac{\pi}{2}\,\frac{\max(m, s)\,t + r^2}{t^2}\,\frac{\sum w^2}{(\sum w)^2}.

    Parameters
    ----------
    superdark : ReferenceImage
        Rate, uncertainty (e-/s) and flags.
    rates : sequence of numpy.ndarray
        Rate of each dark (e-/s), float32, cosmic rays included; at least three.
    distances : sequence of float
        Days from the exposure to each dark.
    exptime : float
        Exposure time of one dark (s).
    readnoise : float
        Read noise (e-).
    days : float
        Time in which the weight of a dark falls to 1/e.
    sigma : float
        Significance from which on a pixel is replaced, and from which on it is hot.

    Returns
    -------
    result : ReferenceImage
        The superdark with the rate and its uncertainty of the nearest darks in the pixels that were replaced; flag
        16 says whether they are hot now.
    replaced : numpy.ndarray
        Boolean image.
    """
    statistics = clip(superdark.sci, sigma, 40)
    limit = np.float32(statistics.median + sigma * statistics.std)
    weights = nearness(distances, days)
    share = np.sum(weights**2) / np.sum(weights) ** 2
    sci, err, dq = superdark.sci.copy(), superdark.err.copy(), superdark.dq.copy()
    replaced = np.zeros(sci.shape, dtype=bool)
    for begin in range(0, sci.shape[0], _ROWS):
        rows = slice(begin, begin + _ROWS)
        nearest = weighted_median(np.stack([rate[rows] for rate in rates]), weights)
        most = np.maximum(nearest, sci[rows])
        variance = _MEDIAN_VARIANCE * share * (np.maximum(most, 0) * exptime + readnoise**2) / exptime**2
        differs = np.abs(nearest - sci[rows]) > sigma * np.sqrt(variance + err[rows] ** 2)
        take = differs & (most >= limit)
        flags = (dq[rows] & ~np.int16(HOT_PIXEL)) | np.where(
            nearest >= limit, np.int16(HOT_PIXEL), np.int16(0)
        )
        dq[rows] = np.where(take, flags, dq[rows])
        err[rows] = np.where(take, np.sqrt(variance), err[rows])
        sci[rows] = np.where(take, nearest, sci[rows])
        replaced[rows] = take
    return ReferenceImage(sci, err, dq), replaced
