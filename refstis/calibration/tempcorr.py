"""Temperature of the CCD: the scale of a dark to the reference temperature, and engineering temperatures."""

from __future__ import annotations

import numpy as np

from refstis.calibration.darkcorr import DRK_VS_T, REF_TEMP

__all__ = ["dark_scale_factor", "mean_temperature", "scale_uncertainty"]


def dark_scale_factor(temperature: float, slope: float = DRK_VS_T, reference: float = REF_TEMP) -> float:
    r"""Factor that brings a dark rate to the reference housing temperature.

    .. math:: f = \frac{1}{1 + a (T - T_0)}

    Parameters
    ----------
    temperature : float
        CCD housing temperature *T*, keyword OCCDHTAV (deg C).
    slope : float
        Relative change of the dark rate *a* (1/deg C).
    reference : float
        Reference temperature *T0* (deg C).

    Returns
    -------
    float
        Dimensionless factor, greater than 0. Multiply rate and error by it.

    Raises
    ------
    ValueError
        Where the linear law has no meaning: ``1 + a (T - T0) <= 0``.

    References
    ----------
    STIS TIR 2004-01; STIS ISR 2018-05 for the spread of *a* over pixels and epochs.

    Examples
    --------
    >>> round(dark_scale_factor(22.0), 4)
    0.7812
    """
    scale = 1.0 + slope * (temperature - reference)
    if scale <= 0.0:
        raise ValueError(f"no dark current at {temperature} C with slope {slope} per C about {reference} C")
    return 1.0 / scale


def scale_uncertainty(err: np.ndarray, factor: float) -> np.ndarray:
    r"""Uncertainty of a scaled dark, :math:`\sqrt{\sigma^2 f^2}`, in float32.

    Parameters
    ----------
    err : numpy.ndarray
        Uncertainties, float32.
    factor : float
        The factor; its square is taken in double and rounded to float32 before it meets the array.

    Returns
    -------
    numpy.ndarray
        float32 uncertainties.
    """
    return np.sqrt(err * err * np.float32(factor * factor))


# Filter of the engineering temperatures, as in CALSTIS: plausible range (deg C), and the width (deg C) and least
# value of the Gaussian that a value's difference to its neighbours is judged by.
PLAUSIBLE = (15.0, 25.0)
NEIGHBOUR_SIGMA = np.float64(np.float32(0.40))
NEIGHBOUR_LEAST = 0.05


def _likeness(values):
    """Likeness of each value to the one before and to the one after; 0 at the ends."""
    likeness = np.exp(-0.5 * (np.diff(values) / NEIGHBOUR_SIGMA) ** 2)
    return np.concatenate([[0.0], likeness]), np.concatenate([likeness, [0.0]])


def mean_temperature(
    times: np.ndarray, temperatures: np.ndarray, begin: float, end: float, exptime: float
) -> float | None:
    """Housing temperature during an exposure, from engineering telemetry.

    Parameters
    ----------
    times : numpy.ndarray
        Times (MJD), ascending, float64.
    temperatures : numpy.ndarray
        Housing temperatures (deg C), float64.
    begin, end : float
        Begin and end of the exposure (MJD).
    exptime : float
        Exposure time (s); for 0 the last value before the exposure is taken.

    Returns
    -------
    float or None
        Time-weighted mean (deg C); None where the telemetry does not cover the exposure.

    Notes
    -----
    Values out of a plausible range, and values unlike both neighbours, are left out. The first segment's weight is
    CALSTIS's, which is not the true mean of that segment.
    """
    if not len(times):
        return None
    before, after = _likeness(temperatures)
    row = np.arange(len(times))
    drop = (temperatures < PLAUSIBLE[0]) | (temperatures > PLAUSIBLE[1])
    drop |= (row == 0) & (after < NEIGHBOUR_LEAST)
    drop |= (row == len(times) - 1) & (before < NEIGHBOUR_LEAST)
    drop |= (before < NEIGHBOUR_LEAST) & (after < NEIGHBOUR_LEAST)
    t, v = times[~drop], temperatures[~drop]

    later = np.flatnonzero(t > end)
    last = int(later[0]) if len(later) else None
    earlier = np.flatnonzero(t[: len(t) if last is None else last + 1] < begin)
    if not len(earlier):
        return None
    first = int(earlier[-1])
    if exptime == 0:
        return float(v[first])
    if last is None or end <= begin:
        return None
    total = 0.0
    for r in range(first, last):
        step = t[r + 1] - t[r]
        half_rise = 0.5 * (v[r + 1] - v[r])
        if first == last - 1:
            weight, value = end - begin, v[first]
        elif r == last - 1:
            weight, value = end - t[r], v[r] + half_rise * (end - t[r]) / step
        elif r == first:
            weight, value = t[r + 1] - begin, v[r] + half_rise * (begin - t[r]) / step
        else:
            weight, value = step, 0.5 * (v[r + 1] + v[r])
        total += weight * value
    return float(total / (end - begin))
