r"""Uncertainty of a CCD pixel from its own counts.

.. math:: \sigma = \frac{\sqrt{g\,(S - B) + R^2}}{g}

with *S* in DN, gain *g* (e-/DN) and read noise *R* (e-); :math:`R / g` where :math:`S \le B`.
"""

import numpy as np
from numba import njit

__all__ = ["pixel_uncertainty"]


@njit(nogil=True, cache=True, error_model="numpy")
def _uncertainties(counts, bias, gain, readnoise, out):
    variance, least = readnoise * readnoise, readnoise / gain
    for k in range(counts.size):
        electrons = (counts[k] - bias) * gain
        value = np.float32(np.sqrt(np.float64(electrons + variance)) / np.float64(gain))
        out[k] = value if electrons > 0 else least


def pixel_uncertainty(counts: np.ndarray, gain: float, readnoise: float, bias: float = 0.0) -> np.ndarray:
    """Photon and read noise of pixels.

    Parameters
    ----------
    counts : numpy.ndarray
        Pixels (DN), float32.
    gain : float
        Calibrated gain ATODGAIN (e-/DN), rounded to float32.
    readnoise : float
        Calibrated read noise READNSE (e- rms), rounded to float32.
    bias : float
        Level still in the pixels (DN): CCDBIAS where the overscan was not subtracted in the same run.

    Returns
    -------
    numpy.ndarray
        float32 uncertainties (DN). The square root and the division are taken in double, the rest in float32.

    Examples
    --------
    >>> pixel_uncertainty(np.array([-1.0, 9.0], dtype="f4"), gain=1.0, readnoise=4.0)
    array([4., 5.], dtype=float32)
    """
    out = np.empty(counts.size, dtype=np.float32)
    _uncertainties(counts.ravel(), np.float32(bias), np.float32(gain), np.float32(readnoise), out)
    return out.reshape(counts.shape)
