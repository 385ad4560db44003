"""Where the CCD's illuminated pixels and its overscan lie in a frame.

Indices are 0-based and arrays are [y, x]; ranges written ``(first, last)`` include both ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Overscan", "PixelGrid", "nint", "overscan_geometry", "sequential_sum"]

# Illuminated pixels along one axis of the CCD, IHB section 7.1.
ILLUMINATED = 1024


def nint(value: float) -> int:
    """Nearest integer, halves away from zero, as CALSTIS rounds.

    Parameters
    ----------
    value : float
        Any finite number.

    Returns
    -------
    int
        The nearest integer.

    Examples
    --------
    >>> nint(2.5), nint(-2.5)
    (3, -3)
    """
    return math.trunc(value + 0.5) if value >= 0 else math.trunc(value - 0.5)


def sequential_sum(values: np.ndarray) -> np.floating:
    """Sum from the first element to the last, rounding after each addition, as a C loop does.

    `numpy.sum` adds in pairs, which differs in the last bits.

    Parameters
    ----------
    values : numpy.ndarray
        One-dimensional float32 or float64 array.

    Returns
    -------
    numpy.floating
        The sum in the array's own precision; 0 for an empty array.
    """
    return np.add.accumulate(values)[-1] if len(values) else values.dtype.type(0)


@dataclass(frozen=True)
class PixelGrid:
    """How the pixels of an image lie on the unbinned CCD, by the keywords LTM and LTV.

    Parameters
    ----------
    ltm : tuple of float
        LTM1_1 and LTM2_2: image pixels in one reference pixel, in x and y.
    ltv : tuple of float
        LTV1 and LTV2: offset of the image in image pixels, in x and y.
    """

    ltm: tuple[float, float] = (1.0, 1.0)
    ltv: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self):
        if min(self.ltm) <= 0:
            raise ValueError(f"LTM1_1 and LTM2_2 are {self.ltm}; both must be greater than 0")

    @property
    def bins(self) -> tuple[int, int]:
        """Reference pixels in one image pixel, in x and y."""
        return nint(1.0 / self.ltm[0]), nint(1.0 / self.ltm[1])

    @property
    def corner(self) -> tuple[int, int]:
        """Reference pixel (0-based) of the image's first pixel, in x and y."""
        x, y = (nint((1.0 / m - 1.0) / 2.0 - v / m) for m, v in zip(self.ltm, self.ltv, strict=True))
        return x, y

    @property
    def start(self) -> tuple[float, float]:
        """Image pixel (0-based, fractional) of the first reference pixel, in x and y."""
        x, y = (v + (m - 1.0) for m, v in zip(self.ltm, self.ltv, strict=True))
        return x, y

    def trimmed(self, left: int, bottom: int) -> PixelGrid:
        """Grid of the same image without its first columns and rows.

        Parameters
        ----------
        left, bottom : int
            Columns and rows cut off at the low ends.

        Returns
        -------
        PixelGrid
            The grid with LTV reduced.
        """
        return PixelGrid(self.ltm, (self.ltv[0] - left, self.ltv[1] - bottom))


@dataclass(frozen=True)
class Overscan:
    """Margins of a frame and the regions that the bias level is taken from.

    Parameters
    ----------
    left, right, bottom, top : int
        Columns and rows outside the illuminated area.
    section : tuple of int
        First and last column of the bias section (physical overscan).
    virtual_x, virtual_y : tuple of int
        First and last column and row of the virtual (parallel) overscan.
    """

    left: int
    right: int
    bottom: int
    top: int
    section: tuple[int, int]
    virtual_x: tuple[int, int]
    virtual_y: tuple[int, int]

    def trim(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the illuminated area.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns of the frame.

        Returns
        -------
        tuple of slice
            Rows and columns.
        """
        return slice(self.bottom, shape[0] - self.top), slice(self.left, shape[1] - self.right)

    @property
    def has_drift(self) -> bool:
        """Whether the virtual overscan is large enough to measure the drift along the lines."""
        return self.virtual_x[1] > self.virtual_x[0] and self.virtual_y[1] > self.virtual_y[0]


def overscan_geometry(amp: str, shape: tuple[int, int], bins: tuple[int, int] = (1, 1)) -> Overscan | None:
    """Overscan of a CCD frame as read out by one amplifier.

    Parameters
    ----------
    amp : str
        Amplifier, one of A, B, C, D (keyword CCDAMP).
    shape : tuple of int
        Rows and columns of the raw frame.
    bins : tuple of int
        Binning in x and y; each 1, 2 or 4.

    Returns
    -------
    Overscan or None
        None for a frame that is too small to hold any overscan.

    Raises
    ------
    ValueError
        Where amplifier or binning are none of the CCD's.

    References
    ----------
    STIS Instrument Handbook section 7.1; the regions are those of CALSTIS.

    Examples
    --------
    >>> full = overscan_geometry("D", (1044, 1062))
    >>> full.trim((1044, 1062)), full.section
    ((slice(20, 1044, None), slice(19, 1043, None)), (1, 15))
    """
    ny, nx = shape
    xbin, ybin = bins
    if amp not in {"A", "B", "C", "D"}:
        raise ValueError(f"amplifier {amp!r} is none of A, B, C, D")
    if xbin not in {1, 2, 4} or ybin not in {1, 2, 4}:
        raise ValueError(f"binning {xbin} x {ybin} is not one of 1, 2, 4 in each axis")

    unbinned = bins == (1, 1)
    if unbinned and ny > ILLUMINATED:
        left, right, top, section = 19, 19, 20, (1046, 1060)
    elif unbinned:
        left, right, top, section = 18, 18, 0, (1046, 1059)
    else:
        left, width, section = {
            1: (19, 1024, (1046, 1052)),
            2: (10, 511, (524, 530)),
            4: (5, 255, (263, 269)),
        }[xbin]
        right = nx - width - left
        top = ny - ILLUMINATED // ybin
    bottom = 0

    too_narrow = unbinned and nx - left - right < ILLUMINATED
    too_low = unbinned and ny > ILLUMINATED and ny - top - bottom < ILLUMINATED
    if too_narrow or too_low or min(right, top) < 0:
        return None
    if amp in "BD":
        left, right = right, left
        section = (nx - 1 - section[1], nx - 1 - section[0])
    if amp in "CD":
        bottom, top = top, bottom
        virtual_y = (0, bottom - 1)
    else:
        virtual_y = (ny - top, ny - 1)
    return Overscan(left, right, bottom, top, section, (left, nx - 1 - right), virtual_y)
