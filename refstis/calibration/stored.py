"""How numbers stand in files, and many frames of them less their bias levels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

__all__ = ["put_levelled", "read_unsigned", "unsigned_of_stored"]

# Rows, and numbers, that are read at a time: they stay in the second-level cache until they are used.
ROWS_AT_ONCE = 32
NUMBERS_AT_ONCE = 2**16

# From unistd.h: descriptor, memory, number of bytes, and place in the file; gives the number of bytes read.
_pread: Any = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))


def _as_pointer(context, builder, signature, arguments):
    return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))


def _to_uint16(_typing, _address):
    return types.CPointer(types.uint16)(types.uintp), _as_pointer


def _to_float32(_typing, _address):
    return types.CPointer(types.float32)(types.uintp), _as_pointer


# Pointers to the numbers at an address.
_uint16_at: Any = intrinsic(_to_uint16)
_float32_at: Any = intrinsic(_to_float32)


@njit(nogil=True, cache=True)
def _of_stored(value):
    """A number without sign, of one that stands with its first byte first, less 32768, which flips the first bit."""
    swapped = np.uint16((value << np.uint16(8)) | (value >> np.uint16(8)))
    return np.uint16(swapped ^ np.uint16(0x8000))


@njit(nogil=True, cache=True)
def unsigned_of_stored(pixels):
    """Turn 16-bit numbers without sign, as FITS files store them, into such numbers, in place.

    They stand there with the first byte first, less 32768 (BZERO).

    Parameters
    ----------
    pixels : numpy.ndarray
        uint16 array of two dimensions, contiguous, which a file was read into.
    """
    for y in range(pixels.shape[0]):
        line = pixels[y]
        for x in range(line.shape[0]):
            line[x] = _of_stored(line[x])


@njit(nogil=True, cache=True)
def read_unsigned(descriptor, begins, sizes, addresses):
    """Read 16-bit numbers without sign from a FITS file; see `unsigned_of_stored`.

    Parameters
    ----------
    descriptor : int
        The file, open.
    begins, sizes : numpy.ndarray
        Places in the file and numbers of the numbers of each image, int64.
    addresses : numpy.ndarray
        Where in memory each image goes, uint64.

    Returns
    -------
    int
        Number of images up to the first one that could not be read; that of all where all were.
    """
    for n in range(begins.shape[0]):
        for begin in range(0, sizes[n], NUMBERS_AT_ONCE):
            number = min(NUMBERS_AT_ONCE, sizes[n] - begin)
            address = np.uintp(addresses[n]) + np.uintp(2 * begin)
            if _pread(descriptor, address, 2 * number, begins[n] + 2 * begin) != 2 * number:
                return n
            values = carray(_uint16_at(address), (number,))
            for k in range(number):
                values[k] = _of_stored(values[k])
    return begins.shape[0]


@njit(nogil=True, cache=True, error_model="numpy")
def _finish_line(line, factor, less, divisor):
    """Multiply a line, subtract a constant, and divide it."""
    if factor != 1:
        for x in range(line.shape[0]):
            line[x] *= factor
    for x in range(line.shape[0]):
        line[x] -= less
    if divisor != 1:
        for x in range(line.shape[0]):
            line[x] /= divisor


@njit(nogil=True, cache=True)
def put_levelled(
    addresses, descriptors, begins, columns, corners, first, last, level, drift, biases, factors, places, less,
    divisors, out,
):  # fmt: skip
    """Put some lines of raw frames, less their bias levels and a constant, into the images of a stack.

    Parameters
    ----------
    addresses : numpy.ndarray
        Where each frame lies in memory, uint64; 0 where it is read from its file.
    descriptors, begins : numpy.ndarray
        Files that are open (int32), and places of the frames' first bytes in them (int64). They hold 16-bit numbers
        as FITS stores them.
    columns : numpy.ndarray
        Lengths of the lines of the frames, int64.
    corners : numpy.ndarray
        Row and column of each frame where what is illuminated begins, int64 (frame, 2).
    first, last : int
        Lines of what is illuminated, the last one not included.
    level, drift : numpy.ndarray
        Level of all its lines and drift at its columns (DN), of each frame, float64.
    biases : numpy.ndarray
        Where in memory the superbias lies that is subtracted then, float32 of the shape of what is illuminated, uint64;
        0 where none is.
    factors : numpy.ndarray
        What that is multiplied by, float32.
    places : numpy.ndarray
        Image of the stack that each frame becomes, int64.
    less, divisors : numpy.ndarray
        What is subtracted from each image of the stack then (DN), and what it is divided by at last, float32.
    out : numpy.ndarray
        The stack, float32 (image, row, column); its rows and columns may be more.

    Returns
    -------
    int
        Number of frames up to the first one that could not be read; that of all where all were.
    """
    width = drift.shape[1]
    for n in range(addresses.shape[0]):
        length, left, image = columns[n], corners[n, 1], places[n]
        lines = np.empty((ROWS_AT_ONCE, length), dtype=np.uint16)
        for begin in range(first, last, ROWS_AT_ONCE):
            end = min(begin + ROWS_AT_ONCE, last)
            offset, size = (corners[n, 0] + begin) * length * 2, (end - begin) * length * 2
            if addresses[n]:
                place = _uint16_at(np.uintp(addresses[n]) + np.uintp(offset))
                lines = carray(place, (ROWS_AT_ONCE, length))
            elif _pread(descriptors[n], lines.ctypes.data, size, begins[n] + offset) != size:
                return n
            for y in range(begin, end):
                line, target = lines[y - begin, left : left + width], out[image, y - first, :width]
                base, drifts = level[n, y], drift[n]
                if addresses[n]:
                    for x in range(width):
                        target[x] = np.float32((np.float64(line[x]) - base) - drifts[x])
                else:
                    for x in range(width):
                        target[x] = np.float32((np.float64(_of_stored(line[x])) - base) - drifts[x])
                if biases[n]:
                    bias = carray(_float32_at(np.uintp(biases[n]) + np.uintp(4 * y * width)), (width,))
                    for x in range(width):
                        target[x] -= bias[x]
                _finish_line(target, factors[n], less[image], divisors[image])
    return addresses.shape[0]
