r"""Reference images (superbias, superdark) on the pixels of an exposure, and their subtraction.

.. math:: S' = S - B, \qquad \sigma' = \sqrt{\sigma^2 + \sigma_B^2}, \qquad q' = q \,|\, q_B
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from refstis.calibration.geometry import PixelGrid

__all__ = ["ReferenceImage", "combined_uncertainty", "match_reference"]


class ReferenceImage(NamedTuple):
    """Pixels of a reference image.

    Parameters
    ----------
    sci, err : numpy.ndarray
        Values and uncertainties, float32.
    dq : numpy.ndarray
        Data quality flags, int16.
    """

    sci: np.ndarray
    err: np.ndarray
    dq: np.ndarray

    def scaled(self, factor: np.float32) -> ReferenceImage:
        """Values and uncertainties times a factor, in float32.

        Parameters
        ----------
        factor : numpy.float32
            The factor.

        Returns
        -------
        ReferenceImage
            Itself where the factor is 1.
        """
        factor = np.float32(factor)
        return self if factor == 1 else ReferenceImage(self.sci * factor, self.err * factor, self.dq)


@njit(nogil=True, cache=True)
def _rebin(sci, err, dq, x0, y0, xbin, ybin, nx, ny):
    """Sum of the values, root of the sum of squares of the errors, OR of the flags, in raster order of the block."""
    out_sci = np.empty((ny, nx), dtype=np.float32)
    out_err = np.empty((ny, nx), dtype=np.float32)
    out_dq = np.empty((ny, nx), dtype=np.int16)
    for j in range(ny):
        for i in range(nx):
            total, square, flags = np.float32(0), np.float32(0), np.int16(0)
            for y in range(y0 + j * ybin, y0 + (j + 1) * ybin):
                for x in range(x0 + i * xbin, x0 + (i + 1) * xbin):
                    total += sci[y, x]
                    square += err[y, x] * err[y, x]
                    flags |= dq[y, x]
            out_sci[j, i], out_err[j, i], out_dq[j, i] = total, np.float32(np.sqrt(np.float64(square))), flags
    return out_sci, out_err, out_dq


def match_reference(
    reference: ReferenceImage, reference_grid: PixelGrid, shape: tuple[int, int], grid: PixelGrid
) -> ReferenceImage:
    """The part of a reference image that covers an exposure, summed to its binning.

    Parameters
    ----------
    reference : ReferenceImage
        The reference image.
    reference_grid : PixelGrid
        How the reference lies on the CCD.
    shape : tuple of int
        Rows and columns of the exposure.
    grid : PixelGrid
        How the exposure lies on the CCD.

    Returns
    -------
    ReferenceImage
        Arrays of the exposure's shape.

    Raises
    ------
    ValueError
        Where the reference is binned more coarsely than the exposure, by a number that does not divide the
        exposure's, or does not cover it.
    """
    bins, reference_bins = grid.bins, reference_grid.bins
    if bins == reference_bins and grid.corner == reference_grid.corner and shape == reference.sci.shape:
        return reference
    if any(r > b for r, b in zip(reference_bins, bins, strict=True)):
        raise ValueError(
            f"its binning {_times(reference_bins)} is coarser than the exposure's {_times(bins)}"
        )
    if any(b % r for r, b in zip(reference_bins, bins, strict=True)):
        raise ValueError(
            f"its binning {_times(reference_bins)} does not divide the exposure's {_times(bins)}"
        )
    xbin, ybin = (b // r for r, b in zip(reference_bins, bins, strict=True))
    # C's integer division rounds towards zero
    x0, y0 = (
        int((c - rc) / r) for c, rc, r in zip(grid.corner, reference_grid.corner, reference_bins, strict=True)
    )
    ny, nx = shape
    if x0 < 0 or y0 < 0 or y0 + ny * ybin > reference.sci.shape[0] or x0 + nx * xbin > reference.sci.shape[1]:
        raise ValueError(
            f"it has {_times(reference.sci.shape[::-1])} pixels and does not cover the exposure's {nx} x {ny} pixels "
            f"(binned {_times(bins)}) that begin at reference pixel ({x0}, {y0}); was the overscan not subtracted?"
        )
    return ReferenceImage(*_rebin(*reference, x0, y0, xbin, ybin, nx, ny))


def _times(pair):
    return f"{pair[0]} x {pair[1]}"


def combined_uncertainty(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Root of the sum of squares, in float32.

    Parameters
    ----------
    first, second : numpy.ndarray
        Uncertainties, float32, of one shape.

    Returns
    -------
    numpy.ndarray
        float32 uncertainties.
    """
    return np.sqrt(first * first + second * second)
