"""How numbers stand in files."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["unsigned_of_stored"]


@njit(nogil=True, cache=True)
def unsigned_of_stored(pixels):
    """Turn 16-bit numbers without sign, as FITS files store them, into such numbers, in place.

    They stand there with the first byte first, less 32768 (BZERO), which flips the first bit.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint16 array of two dimensions, contiguous, which a file was read into.
    """
    for y in range(pixels.shape[0]):
        line = pixels[y]
        for x in range(line.shape[0]):
            value = line[x]
            swapped = np.uint16((value << np.uint16(8)) | (value >> np.uint16(8)))
            line[x] = np.uint16(swapped ^ np.uint16(0x8000))
