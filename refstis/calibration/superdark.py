"""Superdarks: rates, hot pixels, and the week's hot pixels on the month's baseline.

The limits are those of refstis 0.8. Each is a parameter.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from refstis.calibration.reference_image import ReferenceImage
from refstis.calibration.robust import MAD_TO_SIGMA, clip, median_filter_zero_padded
from refstis.calibration.superbias import HOT_PIXEL
from refstis.cores import in_threads

__all__ = [
    "above_mean",
    "above_median",
    "blend_superdark",
    "combine_superdark",
    "draw_to_surroundings",
    "flag_hot_dark",
    "flag_hot_rates",
    "normalize_dark",
]


def normalize_dark(dark: ReferenceImage, exptime: float, gain: float) -> ReferenceImage:
    r"""Dark rate of a combined dark: :math:`S\,g / t`.

    Parameters
    ----------
    dark : ReferenceImage
        Sum of darks (DN).
    exptime : float
        Total exposure time TEXPTIME (s).
    gain : float
        Calibrated gain ATODGAIN (e-/DN).

    Returns
    -------
    ReferenceImage
        Rate and uncertainty (e-/s).
    """
    divisor = np.float32(exptime / gain)
    return ReferenceImage(dark.sci / divisor, dark.err / abs(divisor), dark.dq)


def flag_hot_dark(
    sci: np.ndarray,
    dq: np.ndarray,
    rate: float = 0.1,
    sigma: float = 5.0,
    excess_clip: tuple[float, int] = (5.0, 50),
    rate_clip: tuple[float, int] = (3.0, 40),
) -> np.ndarray:
    """Flag the hot pixels of a baseline dark.

    Parameters
    ----------
    sci : numpy.ndarray
        Dark rate (e-/s), float32.
    dq : numpy.ndarray
        Its flags, int16.
    rate : float
        Least rate above the clipped mean (e-/s).
    sigma : float
        Least significance, in clipped standard deviations.
    excess_clip, rate_clip : tuple
        Clips (sigma, iterations) of the two tests that are taken one after the other.

    Returns
    -------
    numpy.ndarray
        Flags, int16: a hot pixel's other flags are replaced by 16, as refstis has always done.
    """
    tests = ((above_mean, excess_clip), (above_median, rate_clip))
    hot = np.logical_or(*in_threads(lambda test: test[0](sci, rate, sigma, test[1]), tests))
    return np.where(hot, np.int16(HOT_PIXEL), dq)


def above_mean(
    sci: np.ndarray, rate: float = 0.1, sigma: float = 5.0, limits: tuple[float, int] = (5.0, 50)
) -> np.ndarray:
    """Pixels that exceed the clipped mean by a number of standard deviations and by a rate.

    Parameters
    ----------
    sci : numpy.ndarray
        Dark rate (e-/s), float32.
    rate : float
        Least rate above the clipped mean (e-/s).
    sigma : float
        Least significance, in clipped standard deviations.
    limits : tuple
        Sigma and iterations of the clip.

    Returns
    -------
    numpy.ndarray
        Boolean image.
    """
    clipped = clip(sci, *limits)
    excess = np.where(sci >= clipped.mean + sigma * clipped.std, sci - clipped.mean, 0)
    return excess >= rate


def above_median(
    sci: np.ndarray, rate: float = 0.1, sigma: float = 5.0, limits: tuple[float, int] = (3.0, 40)
) -> np.ndarray:
    """Pixels that exceed the clipped median by a number of standard deviations and the clipped mean by a rate.

    Parameters
    ----------
    sci : numpy.ndarray
        Dark rate (e-/s), float32.
    rate : float
        Least rate above the clipped mean (e-/s).
    sigma : float
        Least significance, in clipped standard deviations.
    limits : tuple
        Sigma and iterations of the clip.

    Returns
    -------
    numpy.ndarray
        Boolean image.
    """
    clipped = clip(sci, *limits)
    return (sci > clipped.median + sigma * clipped.std) & (sci > clipped.mean + rate)


def combine_superdark(
    week: ReferenceImage,
    base: ReferenceImage,
    sigma: float = 5.0,
    kernel: tuple[int, int] = (5, 5),
    clip_sigma: float = 5.0,
    iterations: int = 40,
) -> ReferenceImage:
    """Baseline dark with the hot pixels of one week.

    Parameters
    ----------
    week, base : ReferenceImage
        The week's dark rate and the month's baseline (e-/s).
    sigma : float
        A pixel is hot from this many clipped standard deviations of the week above its median.
    kernel : tuple of int
        Rows and columns of the running median that annealed pixels are replaced from; zero-padded at the edges.
    clip_sigma, iterations : float, int
        Clip of the statistics.

    Returns
    -------
    ReferenceImage
        The baseline, with pixels that are hot in it replaced by its running median, plus the week's excess over the
        baseline's median in pixels that are hot in the week; the week's uncertainty where that excess is not
        0, else the
        baseline's; the week's flags, replaced by 16 where the excess exceeds the limit.

    Notes
    -----
    The local background is counted twice in hot pixels, and the limit of the flags is compared with the
    excess: both are
    kept, for continuity with the superdarks delivered since 1999.
    """
    statistics, usual = in_threads(lambda image: clip(image.sci, clip_sigma, iterations), (week, base))
    limit = np.float32(statistics.median + sigma * statistics.std)
    smooth = median_filter_zero_padded(base.sci, kernel)
    combined = ReferenceImage(*map(np.empty_like, week))
    _combine(*week, base.sci, base.err, smooth, limit, np.float32(usual.median), *combined)
    return combined


@njit(nogil=True, cache=True)
def _combine(week, week_err, week_dq, base, base_err, smooth, limit, usual, sci, err, dq):
    """See `combine_superdark`; usual is the median of the baseline."""
    for y in range(sci.shape[0]):
        for x in range(sci.shape[1]):
            only_hot = week[y, x] - usual if week[y, x] >= limit else np.float32(0)
            sci[y, x] = (smooth[y, x] if base[y, x] >= limit else base[y, x]) + only_hot
            err[y, x] = base_err[y, x] if only_hot == 0 else week_err[y, x]
            dq[y, x] = HOT_PIXEL if only_hot >= limit else week_dq[y, x]


# Bins in the logarithm of the rate over the usual rate in which the share of changed pixels is found, the fewest pixels
# that a share is taken from, and how often it is improved.
_BINS = np.array([-0.2, 0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 1.8, 2.5])
_FEWEST = 100
_ROUNDS = 10


def blend_superdark(
    week: ReferenceImage, base: ReferenceImage, changed: float = 0.02, relative: float = 0.005, mark: int = 0
) -> tuple[ReferenceImage, np.ndarray]:
    r"""Dark rate of a week, drawn towards the month's where the two agree.

    The month's rate *b* is made of the week's darks, too, so the difference :math:`d = w - b` of a pixel that did not
    change has the variance :math:`\sigma_d^2 = \sigma_w^2 - \sigma_b^2`; that of one that did change is as wide as the
    rates are. With the share *p* of pixels that change,

    .. math:: P = \frac{p\,N(d; \sigma_d^2 + \max(w, b)^2)}{p\,N(d; \sigma_d^2 + \max(w, b)^2)
              + (1 - p)\,N(d; \sigma_d^2)}, \qquad v = P w + (1 - P) b,

    and the variance is that of the two possibilities together. The share is found for pixels of similar rates in the
    month by repetition, as the mean of *P*: most ordinary pixels never change, many warm ones have.

    Parameters
    ----------
    week, base : ReferenceImage
        The week's dark rate and the month's baseline (e-/s).
    changed : float
        Share of pixels that change, to begin with.
    relative : float
        Uncertainty of the week's scale against the month's: temperatures of few darks.
    mark : int
        Flag of pixels that changed within the week or the month: they have the week's rate. It is taken away.

    Returns
    -------
    result : ReferenceImage
        Rate, uncertainty, and the flags of both, but for the month's flag 16.
    own : numpy.ndarray
        Probability *P* that a pixel has the week's rate, float64.
    """
    w, b = week.sci.astype(np.float64), base.sci.astype(np.float64)
    var_w, var_b = week.err.astype(np.float64) ** 2, base.err.astype(np.float64) ** 2
    difference = w - b
    # a quarter where the two know the same of a pixel, as with slopes that neither could fit
    spread = np.maximum(var_w - var_b, 0.25 * var_w) + (relative * np.maximum(w, b)) ** 2
    spread = np.maximum(spread, np.finfo(np.float64).tiny)
    wide = spread + np.maximum(np.maximum(w, b), 0.0) ** 2
    # logarithm of how much better a change explains the difference
    better = 0.5 * difference**2 * (1.0 / spread - 1.0 / wide) + 0.5 * np.log(spread / wide)
    better = np.exp(np.minimum(better, 700.0))
    usual = np.median(b)
    kind = np.digitize(np.log10(np.maximum(b, 1e-30) / usual), _BINS) if usual > 0 else np.zeros(b.shape, int)
    pixels = np.bincount(kind.ravel(), minlength=_BINS.size + 1)
    share = np.full(pixels.size, changed)
    own = np.zeros(b.shape)
    for _ in range(_ROUNDS):
        prior = share[kind]
        own = prior * better / (prior * better + 1.0 - prior)
        found = np.bincount(kind.ravel(), own.ravel(), minlength=pixels.size) / np.maximum(pixels, 1)
        share = np.where(pixels >= _FEWEST, np.clip(found, 1e-4, 0.5), changed)
    own[((week.dq | base.dq) & np.int16(mark)) != 0] = 1.0
    value = own * w + (1.0 - own) * b
    variance = own * (var_w + (w - value) ** 2) + (1.0 - own) * (var_b + (b - value) ** 2)
    flags = (week.dq | (base.dq & ~np.int16(HOT_PIXEL))) & ~np.int16(mark)
    return ReferenceImage(value.astype(np.float32), np.sqrt(variance).astype(np.float32), flags), own


# How often the typical rates of squares are found again without what stands out of them, and by how much it does.
_REPETITIONS, _TYPICAL = 4, 3.0


def draw_to_surroundings(
    rate: np.ndarray, variance: np.ndarray, changed: np.ndarray, side: int = 32
) -> tuple[np.ndarray, np.ndarray, float]:
    r"""Rates of ordinary pixels, drawn towards the typical rate around them by what is known of either.

    Ordinary pixels differ from the typical rate *m* of their surroundings by less than a single superdark is
    uncertain. With the relative scatter *k* that they really have, :math:`s = k m`, and the variance *v* of the rate
    *r*, the best estimate of an ordinary pixel and its variance are

    .. math:: \hat r = m + \frac{s^2}{s^2 + v}\,(r - m), \qquad \hat v = \frac{s^2 v}{s^2 + v}.

    The scatter is what is measured less the variances. With the probability *P* that a pixel is no ordinary one, found
    as in `blend_superdark`, its rate is :math:`P r + (1 - P)\,\hat r`.

    Parameters
    ----------
    rate, variance : numpy.ndarray
        Rates (e-/s) and their variances.
    changed : numpy.ndarray
        True in pixels that are no ordinary ones by what is known already.
    side : int
        Side of the squares that typical rates are found in (pixels); they are interpolated between their centres.

    Returns
    -------
    rate, variance : numpy.ndarray
        Rates and variances, float64.
    scatter : float
        Relative scatter of ordinary pixels, *k*.

    References
    ----------
    Shrinkage towards a common mean: B. Efron and C. Morris, J. Am. Stat. Assoc. 70, 311 (1975).
    """
    rate, variance = np.asarray(rate, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    usual = np.median(rate)
    # the lower half is free of warm pixels
    limit = _TYPICAL * (usual - np.percentile(rate, 15.87))
    typical = np.full(rate.shape, usual)
    kept = ~changed & (np.abs(rate - typical) <= limit)
    for _ in range(_REPETITIONS):
        typical = _typical_rates(rate, kept, side, float(np.median(rate[kept])))
        limit = _TYPICAL * MAD_TO_SIGMA * np.median(np.abs(rate - typical)[kept])
        kept = ~changed & (np.abs(rate - typical) <= limit)
    typical = np.maximum(typical, np.finfo(np.float64).tiny)
    difference = rate - typical
    measured = (MAD_TO_SIGMA * np.median(np.abs(difference / typical)[kept])) ** 2
    scatter = float(np.sqrt(max(measured - np.median((variance / typical**2)[kept]), 0.0)))
    own = (scatter * typical) ** 2
    narrow = np.maximum(own + variance, np.finfo(np.float64).tiny)
    wide = narrow + np.maximum(rate, typical) ** 2
    better = 0.5 * difference**2 * (1.0 / narrow - 1.0 / wide) + 0.5 * np.log(narrow / wide)
    better = np.exp(np.minimum(better, 700.0))
    share = 0.1
    for _ in range(_ROUNDS):
        other = share * better / (share * better + 1.0 - share)
        other[changed] = 1.0
        share = float(np.clip(other.mean(), 1e-4, 0.9))
    part = own / narrow
    drawn, drawn_variance = typical + part * difference, part * variance
    value = other * rate + (1.0 - other) * drawn
    doubt = other * (variance + (rate - value) ** 2) + (1.0 - other) * (drawn_variance + (drawn - value) ** 2)
    return value, doubt, scatter


def _typical_rates(rate, kept, side, usual):
    """Means of the pixels that are kept in squares, interpolated between their centres."""
    from scipy.ndimage import map_coordinates

    ny, nx = rate.shape
    edges = [np.linspace(0, size, max(1, round(size / side)) + 1).astype(int) for size in (ny, nx)]
    means = np.full((edges[0].size - 1, edges[1].size - 1), usual)
    for j in range(means.shape[0]):
        for i in range(means.shape[1]):
            square = slice(edges[0][j], edges[0][j + 1]), slice(edges[1][i], edges[1][i + 1])
            inside = rate[square][kept[square]]
            # of fewer pixels the mean says less than the rate of all
            if inside.size >= _FEWEST:
                means[j, i] = inside.mean()
    places = [
        np.interp(np.arange(size) + 0.5, 0.5 * (edge[1:] + edge[:-1]), np.arange(edge.size - 1))
        for size, edge in zip((ny, nx), edges, strict=True)
    ]
    return map_coordinates(means, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")


def flag_hot_rates(
    dark: ReferenceImage, rate: float = 0.1, sigma: float = 5.0, uncertain: float = 0.1
) -> np.ndarray:
    """Flag hot pixels by their rate and its own uncertainty.

    A pixel whose rate is that uncertain has been hot, and is of no use either.

    Parameters
    ----------
    dark : ReferenceImage
        Dark rate, uncertainty (e-/s) and flags.
    rate : float
        Least rate (e-/s).
    sigma : float
        Least excess over the median of the image, in uncertainties of the pixel.
    uncertain : float
        Pixels with this uncertainty or more (e-/s) are flagged, whatever their rate.

    Returns
    -------
    numpy.ndarray
        Flags, int16, with 16 in hot pixels and in no others; other flags stay.
    """
    hot = (dark.sci >= rate) & (dark.sci - np.median(dark.sci) >= sigma * dark.err) | (dark.err >= uncertain)
    return (dark.dq & ~np.int16(HOT_PIXEL)) | np.where(hot, np.int16(HOT_PIXEL), np.int16(0))
