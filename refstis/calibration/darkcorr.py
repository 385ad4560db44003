r"""Scale of the dark image for an exposure.

.. math:: k = \frac{t\,(1 + a\,(T - T_0))}{g}

with exposure time *t* (s), housing temperature *T* (deg C) and gain *g* (e-/DN). Before Side 2, and where the
temperature is not known, the bracket is 1.
"""

import numpy as np

__all__ = ["DRK_VS_T", "REF_TEMP", "SIDE2_BEGIN", "dark_scale", "median_dark"]

# First day (MJD) that CALSTIS scales darks on: 2001 July 1. Side 2 operations began on 2001 July 10.
SIDE2_BEGIN = 52091.0
# Relative change of the dark rate per degree, and reference temperature (deg C): STIS TIR 2004-01.
DRK_VS_T = 0.07
REF_TEMP = 18.0


def dark_scale(
    exptime: float,
    gain: float,
    temperature: float = -1.0,
    slope: float = DRK_VS_T,
    reference: float = REF_TEMP,
) -> np.float32:
    """Factor from a dark rate (e-/s) to the dark signal of an exposure (DN).

    Parameters
    ----------
    exptime : float
        Exposure time (s).
    gain : float
        Calibrated gain ATODGAIN (e-/DN), rounded to float32.
    temperature : float
        CCD housing temperature OCCDHTAV (deg C); not above 0 where it is not known.
    slope : float
        DRK_VS_T of the dark image (1/deg C).
    reference : float
        REF_TEMP of the dark image (deg C).

    Returns
    -------
    numpy.float32
        The factor (DN s/e-).

    Examples
    --------
    >>> float(dark_scale(1000.0, 1.0, temperature=20.0)).__round__(1)
    1140.0
    """
    factor = 1.0 if temperature <= 0 else 1.0 + slope * (temperature - reference)
    return np.float32(factor * exptime / np.float64(np.float32(gain)))


def median_dark(dark: np.ndarray, flags: np.ndarray) -> np.float32:
    """Median of the scaled dark over its unflagged pixels (keyword MEANDARK).

    Parameters
    ----------
    dark : numpy.ndarray
        Scaled dark (DN), float32.
    flags : numpy.ndarray
        Its data quality, int16.

    Returns
    -------
    numpy.float32
        The median (DN); 0 where every pixel is flagged.
    """
    good = dark[flags == 0]
    return np.median(good) if good.size else np.float32(0)
