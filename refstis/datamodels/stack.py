"""Images to be combined, whose lines are put into a stack together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import pairwise

import numpy as np

from refstis.calibration.blevcorr import LevelledFrame
from refstis.calibration.crcorr import StackImage, put_rows
from refstis.calibration.stored import put_levelled
from refstis.datamodels.exposure import StoredPixels

__all__ = ["FrameStack"]

# Files that are open at a time in one thread: a process may have about a thousand of them.
MOST_OPEN = 16


class FrameStack(Sequence[StackImage]):
    """Images to be combined; lines of raw frames less their bias levels come right from the files, in one step.

    Parameters
    ----------
    images : iterable of StackImage
        The images.
    """

    def __init__(self, images: Iterable[StackImage]):
        self._images = tuple(images)
        direct = [(n, found) for n, image in enumerate(self._images) if (found := _stored(image.sci))]
        frames = [frame for _, (frame, _) in direct]
        self._raws = [raw for _, (_, raw) in direct]
        self._places = np.array([n for n, _ in direct], dtype=np.int64)
        self._begins = np.array([raw.begin for raw in self._raws], dtype=np.int64)
        self._columns = np.array([raw.shape[1] for raw in self._raws], dtype=np.int64)
        self._corners = np.array([frame.corner for frame in frames], dtype=np.int64)
        self._level = np.array([frame.level for frame in frames])
        self._drift = np.array([frame.drift for frame in frames])
        # they stay where they are as long as the frames are there
        self._biases = np.array([_address(frame.bias) for frame in frames], dtype=np.uint64)
        self._factors = np.array([frame.factor for frame in frames], dtype=np.float32)
        self._parts = _parts([raw.file for raw in self._raws])

    def __len__(self):
        return len(self._images)

    def __getitem__(self, index):
        return self._images[index]

    def put_rows(self, rows: slice, out: np.ndarray, less: np.ndarray, divisors: np.ndarray) -> None:
        """Put some lines of all images, less a constant of each and divided by another, into a stack.

        Parameters
        ----------
        rows : slice
            With start and stop.
        out : numpy.ndarray
            Where to: float32 (image, row, column), contiguous, of as many rows and columns or more.
        less, divisors : numpy.ndarray
            The constants, float32.

        Raises
        ------
        InputError
            Where a file cannot be read any more.
        """
        direct: set[int] = set()
        for part in self._parts:
            direct.update(self._put_direct(part, rows, out, less, divisors))
        for n, image in enumerate(self._images):
            if n not in direct:
                put_rows(image.sci, rows, out[n], less[n], divisors[n])

    def _put_direct(self, part, rows, out, less, divisors):
        """Put some of what lies in files, or in memory as it stands there; return the places of these images."""
        raws = self._raws[part]
        # what is in memory stays there as long as it is listed here
        arrays = [raw.array for raw in raws]
        addresses = np.array([_address(array) for array in arrays], dtype=np.uint64)
        with ExitStack() as stack:
            files = {raw.file for raw, array in zip(raws, arrays, strict=True) if array is None}
            opened = {file: stack.enter_context(file.opened()).fileno() for file in files}
            descriptors = np.array([opened.get(raw.file, -1) for raw in raws], dtype=np.int32)
            number = put_levelled(
                addresses, descriptors, self._begins[part], self._columns[part], self._corners[part], rows.start,
                rows.stop, self._level[part], self._drift[part], self._biases[part], self._factors[part],
                self._places[part], less, divisors, out,
            )  # fmt: skip
        # one that could not be read is asked for by itself, and tells what is wrong
        return self._places[part][:number].tolist()


def _parts(files: Sequence[object]) -> list[slice]:
    """Frames that are put in one step: those of some files, which follow one another."""
    begins: list[int] = [0]
    seen: set[object] = set()
    for n, file in enumerate(files):
        if len(seen | {file}) > MOST_OPEN:
            begins.append(n)
            seen = set()
        seen.add(file)
    return [slice(begin, end) for begin, end in pairwise([*begins, len(files)]) if end > begin]


def _stored(pixels) -> tuple[LevelledFrame, StoredPixels] | None:
    """A raw frame as it stands in a file, and what is done to its lines; None where an image is something else."""
    frame = getattr(pixels, "source", None)
    if not isinstance(frame, LevelledFrame) or not hasattr(os, "pread"):
        return None
    raw = getattr(frame.raw, "source", None)
    plain = frame.bias is None or (frame.bias.dtype == np.float32 and frame.bias.flags.c_contiguous)
    return (frame, raw) if isinstance(raw, StoredPixels) and raw.dtype == np.uint16 and plain else None


def _address(array: np.ndarray | None) -> int:
    return 0 if array is None else array.ctypes.data
