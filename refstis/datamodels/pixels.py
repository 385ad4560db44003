"""Images whose pixels are produced when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["Pixels"]


class Pixels:
    """An image of which any window can be produced on demand.

    A raw frame stays the integers of its file, and its bias level a line and a slope, until somebody needs the rows.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    dtype : numpy.dtype
        Type of the pixels.
    produce : callable
        Gives the array of the window (rows, columns), two slices with start and stop.
    constant : float, optional
        The value of every pixel, where all are equal by construction (a null HDU).

    Examples
    --------
    >>> image = Pixels.of(np.arange(6.0).reshape(2, 3))
    >>> image[1]
    array([3., 4., 5.])
    """

    __slots__ = ("_produce", "constant", "dtype", "shape")

    def __init__(
        self, shape, dtype, produce: Callable[[slice, slice], np.ndarray], constant: float | None = None
    ):
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype = np.dtype(dtype)
        self.constant = constant
        self._produce = produce

    @classmethod
    def of(cls, array: np.ndarray) -> Pixels:
        """Pixels of an array in memory.

        Parameters
        ----------
        array : numpy.ndarray
            Two-dimensional array; it must not be changed afterwards.

        Returns
        -------
        Pixels
            Windows are views of the array.
        """
        return cls(array.shape, array.dtype, lambda rows, columns: array[rows, columns])

    @classmethod
    def filled(cls, shape, dtype, value: float) -> Pixels:
        """Pixels that are all equal.

        Parameters
        ----------
        shape : tuple of int
            Rows and columns.
        dtype : numpy.dtype
            Type of the pixels.
        value : float
            The value.

        Returns
        -------
        Pixels
            An image that needs no memory.
        """

        def produce(rows, columns):
            return np.full((rows.stop - rows.start, columns.stop - columns.start), value, dtype)

        return cls(shape, dtype, produce, constant=value)

    def release(self) -> None:
        """Forget what was read from a file; it is read again where somebody asks for it."""
        if hasattr(self._produce, "release"):
            self._produce.release()

    def __getitem__(self, key):
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        window = self._produce(
            *(_bounds(word, n) for word, n in zip((rows, columns), self.shape, strict=True))
        )
        # a whole number takes its axis away, as in numpy
        return window[
            tuple(0 if isinstance(word, int | np.integer) else slice(None) for word in (rows, columns))
        ]

    def __array__(self, dtype=None, copy=None):
        array = self[:]
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __repr__(self):
        value = "" if self.constant is None else f", all {self.constant}"
        return f"Pixels({self.shape[0]} x {self.shape[1]}, {self.dtype}{value})"


def _bounds(word, length):
    """The slice of one axis that a whole number or a slice names."""
    if isinstance(word, int | np.integer):
        number = range(length)[word]
        return slice(number, number + 1)
    return slice(*word.indices(length)[:2])
