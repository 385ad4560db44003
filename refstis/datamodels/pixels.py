"""Images whose pixels are produced when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

__all__ = ["Pixels", "remembered"]


def remembered(known: dict[Hashable, Any], question: Hashable, answer: Callable[[], Any]) -> Any:
    """Answer to a question, found out once.

    Parameters
    ----------
    known : dict
        Answers so far.
    question : hashable
        What is asked.
    answer : callable
        Finds it out.

    Returns
    -------
    object
        The answer; of two threads that ask at a time, both get that of the first.
    """
    if question not in known:
        known.setdefault(question, answer())
    return known[question]


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

    Attributes
    ----------
    source : callable
        What produces the pixels.

    Examples
    --------
    >>> image = Pixels.of(np.arange(6.0).reshape(2, 3))
    >>> image[1]
    array([3., 4., 5.])
    """

    __slots__ = ("_known", "constant", "dtype", "shape", "source")

    def __init__(
        self,
        shape,
        dtype,
        produce: Callable[[slice, slice], np.ndarray],
        constant: float | None = None,
    ):
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype = np.dtype(dtype)
        self.constant = constant
        self.source = produce
        self._known: dict[Hashable, Any] = {}

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

    def hold(self, users: int) -> None:
        """Count users: when the last one has gone, what was read from a file is forgotten.

        Parameters
        ----------
        users : int
            1 for another one, -1 for one less.
        """
        if hasattr(self.source, "hold"):
            self.source.hold(users)

    def window(self, bottom: int, left: int, shape: tuple[int, int]) -> Pixels:
        """A part of the image as an image of its own.

        Parameters
        ----------
        bottom, left : int
            Row and column that become the first.
        shape : tuple of int
            Rows and columns.

        Returns
        -------
        Pixels
            For the same window always the same object.
        """
        if self.constant is not None:
            return Pixels.filled(shape, self.dtype, self.constant)
        whole = self.source

        def produce(rows, columns):
            return whole(
                slice(bottom + rows.start, bottom + rows.stop),
                slice(left + columns.start, left + columns.stop),
            )

        # it holds what produces the pixels and not this object, which would hold itself then
        return self.remember(("window", bottom, left, shape), lambda: Pixels(shape, self.dtype, produce))

    def remember(self, question: Hashable, answer: Callable[[], Any]) -> Any:
        """What follows from these pixels, found out once.

        Parameters
        ----------
        question : hashable
            What is asked, with everything that the answer depends on besides the pixels.
        answer : callable
            Finds it out.

        Returns
        -------
        object
            The answer; to equal questions always the same object. It must not be changed, nor refer to this object.
        """
        return remembered(self._known, question, answer)

    def __getitem__(self, key):
        if isinstance(key, slice):
            # whole lines, which is what most ask for
            begin, end, _ = key.indices(self.shape[0])
            return self.source(slice(begin, end), slice(0, self.shape[1]))
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        window = self.source(*(_bounds(word, n) for word, n in zip((rows, columns), self.shape, strict=True)))
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
