"""Medians that are taken of many pixels side by side.

All loops run over neighbouring pixels, so that they become vector instructions, which a selection pixel by pixel could
not. Up to some hundred values are put in order by a network, which compares the same pairs whatever the values are, as
far as the median depends on them. Of more values, a bracket around each median is halved, by counting how many values
do not exceed its middle, until two are left in it; it begins with two ranks of a small sample, as the extremes of a
stack are its cosmic rays. Middles are taken by value first, which is quick where values are spread evenly, and later by
place among the floats, too, which ends also where one of them is far out.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from numba import njit

from refstis.cores import in_threads

__all__ = ["BLOCK", "median_network", "network_for", "sort_lanes", "stack_medians", "window_median"]

# Pixels that the median is taken of side by side: the block of 100 images fits the first-level cache.
BLOCK = 64
# Rows of a running median that one thread takes at a time.
ROWS = 128
# Up to this many values a sorting network takes less time than a bracket.
FEW_IMAGES = 140
# Values that the bracket begins with, and which of them in their order.
SAMPLE, SAMPLE_LOW, SAMPLE_HIGH = 9, 1, 7
# Halvings of the median's bracket, at most (NaN and equal values keep it wide); the first ones are by value alone.
MOST_HALVINGS = 60
BY_VALUE = 20
# Values that are left in a bracket which is narrow enough.
NARROW = 2


@functools.cache
def _sorting_network(size: int) -> np.ndarray:
    """Pairs of places to put in order, one pair after the other: Batcher's merge exchange (Knuth, TAOCP 5.2.2, M)."""
    pairs = []
    top = 1 << max(size - 1, 0).bit_length() - 1 if size > 1 else 0
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(size - d) if i & p == r]
            if q == p:
                break
            q, r, d = q // 2, p, q - p
        p //= 2
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


@functools.cache
def median_network(size: int) -> np.ndarray:
    """The pairs of places of a sorting network that the median depends on.

    Parameters
    ----------
    size : int
        Number of values.

    Returns
    -------
    numpy.ndarray
        Pairs of places to put in order, one pair after the other, int64 (pair, 2).
    """
    needed = {(size - 1) // 2, size // 2}
    kept = []
    for a, b in _sorting_network(size)[::-1].tolist():
        if a in needed or b in needed:
            needed |= {a, b}
            kept.append((a, b))
    return np.array(kept[::-1], dtype=np.int64).reshape(-1, 2)


@njit(nogil=True, cache=True)
def sort_lanes(values, network):
    """Put the values of each pixel of a block in the order that a network gives, in place.

    Parameters
    ----------
    values : numpy.ndarray
        Of shape (values, `BLOCK`), contiguous.
    network : numpy.ndarray
        Pairs of places.
    """
    for k in range(network.shape[0]):
        a, b = network[k, 0], network[k, 1]
        for x in range(BLOCK):
            one, other = values[a, x], values[b, x]
            values[a, x] = min(one, other)
            values[b, x] = max(one, other)


@njit(nogil=True, cache=True)
def _extremes(values, low, high):
    """Least and highest value of each pixel of a block."""
    low[:] = np.float32(np.inf)
    high[:] = -np.float32(np.inf)
    for n in range(values.shape[0]):
        for x in range(BLOCK):
            low[x] = min(low[x], values[n, x])
            high[x] = max(high[x], values[n, x])


@njit(nogil=True, cache=True)
def _middle_of_keys(low, high, middle):
    """Float in the middle between two others, counted in floats."""
    lows, highs, middles = low.view(np.uint32), high.view(np.uint32), middle.view(np.uint32)
    sign = np.uint32(0x80000000)
    for x in range(BLOCK):
        # the order of these keys, as integers, is the order of the floats
        a = lows[x] ^ (~np.uint32(0) if lows[x] & sign else sign)
        b = highs[x] ^ (~np.uint32(0) if highs[x] & sign else sign)
        key = a + ((b - a) >> np.uint32(1))
        middles[x] = key ^ (sign if key & sign else ~np.uint32(0))


@njit(nogil=True, cache=True)
def _count_up_to(values, limit, counts):
    """Number of images whose value does not exceed the limit, for each pixel of a block."""
    counts[:] = 0
    for n in range(values.shape[0]):
        for x in range(BLOCK):
            counts[x] += np.int32(values[n, x] <= limit[x])


@njit(nogil=True, cache=True)
def _next_above(values, limit, out):
    """Least value above the limit, infinity where there is none, for each pixel of a block."""
    infinity = np.float32(np.inf)
    out[:] = infinity
    for n in range(values.shape[0]):
        for x in range(BLOCK):
            value = values[n, x]
            out[x] = min(out[x], value if value > limit[x] else infinity)


@njit(nogil=True, cache=True)
def _highest_up_to(values, limit, out):
    """Highest value that does not exceed the limit, for each pixel of a block."""
    infinity = np.float32(np.inf)
    out[:] = -infinity
    for n in range(values.shape[0]):
        for x in range(BLOCK):
            value = values[n, x]
            out[x] = max(out[x], value if value <= limit[x] else -infinity)


@njit(nogil=True, cache=True)
def _narrow(middle, counts, rank, low, high, below, upto):
    """Take the middle, where it lies in the bracket, for that end of it which keeps the value of this rank inside.

    Returns the most values that are left in any bracket of the block.
    """
    widest = np.int32(0)
    for x in range(BLOCK):
        inside = (middle[x] >= low[x]) & (middle[x] <= high[x])
        enough = counts[x] >= rank
        is_high, is_low = inside & enough, inside & (not enough)
        high[x] = middle[x] if is_high else high[x]
        upto[x] = counts[x] if is_high else upto[x]
        low[x] = middle[x] if is_low else low[x]
        below[x] = counts[x] if is_low else below[x]
        widest = max(widest, upto[x] - below[x])
    return widest


@njit(nogil=True, cache=True)
def _bracket_median(values, sample, network, low, high, middle, other, below, upto, counts, out):
    """Median of each pixel of a block; all but values, network and out is scratch."""
    images = values.shape[0]
    rank = np.int32((images - 1) // 2 + 1)
    infinity, half = np.float32(np.inf), np.float32(0.5)
    _extremes(values, low, high)
    below[:] = 0
    upto[:] = images
    for k in range(SAMPLE):
        for x in range(BLOCK):
            sample[k, x] = values[k * images // SAMPLE, x]
    sort_lanes(sample, network)
    widest = images
    for k in (SAMPLE_LOW, SAMPLE_HIGH):
        _count_up_to(values, sample[k], counts)
        widest = _narrow(sample[k], counts, rank, low, high, below, upto)
    for step in range(MOST_HALVINGS):
        if widest <= NARROW:
            break
        if step >= BY_VALUE and step % 2:
            _middle_of_keys(low, high, middle)
        else:
            for x in range(BLOCK):
                middle[x] = low[x] * half + high[x] * half
        _count_up_to(values, middle, counts)
        widest = _narrow(middle, counts, rank, low, high, below, upto)
    # the least value of all lies in the bracket, too
    for x in range(BLOCK):
        low[x] = low[x] if below[x] else -infinity
    if widest > NARROW:
        _one_by_one(values, low, middle, upto, counts, rank, out)
    else:
        _next_above(values, low, out)
        _highest_up_to(values, high, other)
        for x in range(BLOCK):
            out[x] = out[x] if rank - below[x] == 1 else other[x]
    if images % 2 == 0:
        if widest <= NARROW:
            _next_above(values, high, middle)
        else:
            _next_above(values, out, middle)
            other[:] = out
        for x in range(BLOCK):
            upper = other[x] if upto[x] > rank else middle[x]
            out[x] = (out[x] + upper) / np.float32(2)


@njit(nogil=True, cache=True)
def _one_by_one(values, low, middle, upto, counts, rank, out):
    """Values of the bracket in their order; upto becomes the number of values up to the one found."""
    infinity = np.float32(np.inf)
    out[:] = low
    upto[:] = 0
    waiting = True
    while waiting:
        _next_above(values, out, middle)
        _count_up_to(values, middle, counts)
        waiting = False
        for x in range(BLOCK):
            if upto[x] < rank:
                out[x] = middle[x]
                # beyond the last value there is nothing to wait for
                upto[x] = counts[x] if middle[x] < infinity else np.int32(values.shape[0])
                waiting |= upto[x] < rank


@njit(nogil=True, cache=True)
def _middle_of_sorted(values, out):
    """Median of each pixel of a block whose middle values are in their places."""
    lower, upper = (values.shape[0] - 1) // 2, values.shape[0] // 2
    if lower == upper:
        for x in range(BLOCK):
            out[x] = values[lower, x]
    else:
        for x in range(BLOCK):
            out[x] = (values[lower, x] + values[upper, x]) / np.float32(2)


@njit(nogil=True, cache=True)
def stack_medians(stack, network, out):
    """Median of each pixel over the images of a stack.

    Parameters
    ----------
    stack : numpy.ndarray
        float32 array (image, row, column), no value minus infinity; it may have more rows and columns than there are
        medians.
    network : numpy.ndarray
        `network_for` so many images.
    out : numpy.ndarray
        Where the medians go, float32 (row, column); the mean of the two central values for an even number of images.
    """
    images, (rows, columns) = stack.shape[0], out.shape
    values = np.zeros((images, BLOCK), dtype=np.float32)
    sample, found = np.empty((SAMPLE, BLOCK), dtype=np.float32), np.empty(BLOCK, dtype=np.float32)
    # arrays of their own: of parts of one array the compiler cannot tell that they do not overlap
    low, high = np.empty(BLOCK, dtype=np.float32), np.empty(BLOCK, dtype=np.float32)
    middle, other = np.empty(BLOCK, dtype=np.float32), np.empty(BLOCK, dtype=np.float32)
    below, upto = np.empty(BLOCK, dtype=np.int32), np.empty(BLOCK, dtype=np.int32)
    counts = np.empty(BLOCK, dtype=np.int32)
    for y in range(rows):
        for begin in range(0, columns, BLOCK):
            width = min(BLOCK, columns - begin)
            for n in range(images):
                # of parts of lines that are named beforehand the compiler makes vector instructions
                source, lanes = stack[n, y, begin : begin + width], values[n]
                for x in range(width):
                    lanes[x] = source[x]
            if images <= FEW_IMAGES:
                sort_lanes(values, network)
                _middle_of_sorted(values, found)
            else:
                _bracket_median(values, sample, network, low, high, middle, other, below, upto, counts, found)
            for x in range(width):
                out[y, begin + x] = found[x]


def network_for(images: int) -> np.ndarray:
    """Network for all values, or for the sample of them.

    Parameters
    ----------
    images : int
        Number of values.

    Returns
    -------
    numpy.ndarray
        Pairs of places to put in order, one pair after the other, int64 (pair, 2).
    """
    return median_network(images) if images <= FEW_IMAGES else _sorting_network(SAMPLE)


@njit(nogil=True, cache=True)
def _window_medians(padded, height, width, first, last, network, out):
    """Running median of the rows first to last; the image is padded by half a window on each side."""
    columns = out.shape[1]
    values = np.zeros((height * width, BLOCK), dtype=np.float32)
    sample, found = np.empty((SAMPLE, BLOCK), dtype=np.float32), np.empty(BLOCK, dtype=np.float32)
    low, high = np.empty(BLOCK, dtype=np.float32), np.empty(BLOCK, dtype=np.float32)
    middle, other = np.empty(BLOCK, dtype=np.float32), np.empty(BLOCK, dtype=np.float32)
    below, upto = np.empty(BLOCK, dtype=np.int32), np.empty(BLOCK, dtype=np.int32)
    counts = np.empty(BLOCK, dtype=np.int32)
    for y in range(first, last):
        for begin in range(0, columns, BLOCK):
            size = min(BLOCK, columns - begin)
            for j in range(height):
                for i in range(width):
                    source = padded[y + j, begin + i : begin + i + size]
                    lanes = values[j * width + i]
                    for x in range(size):
                        lanes[x] = source[x]
            if height * width <= FEW_IMAGES:
                sort_lanes(values, network)
                _middle_of_sorted(values, found)
            else:
                _bracket_median(values, sample, network, low, high, middle, other, below, upto, counts, found)
            for x in range(size):
                out[y, begin + x] = found[x]


def window_median(
    image: np.ndarray, kernel: tuple[int, int], mode: Literal["constant", "symmetric"]
) -> np.ndarray:
    """Running median of an image.

    Parameters
    ----------
    image : numpy.ndarray
        Two-dimensional float32 image.
    kernel : tuple of int
        Rows and columns of the window, both odd.
    mode : str
        How `numpy.pad` continues the image beyond its edge: "constant" with 0, or "symmetric".

    Returns
    -------
    numpy.ndarray
        float32 image of the same shape.

    Raises
    ------
    ValueError
        Where a side of the window is even, or longer than the image.
    """
    height, width = kernel
    if height % 2 == 0 or width % 2 == 0 or height > image.shape[0] or width > image.shape[1]:
        raise ValueError(
            f"window {kernel} of an image {image.shape}: both sides must be odd and fit the image"
        )
    padded = np.pad(image.astype(np.float32), ((height // 2,) * 2, (width // 2,) * 2), mode=mode)
    out = np.empty(image.shape, dtype=np.float32)
    network = network_for(height * width)

    def run(begin):
        _window_medians(padded, height, width, begin, min(begin + ROWS, image.shape[0]), network, out)

    in_threads(run, range(0, image.shape[0], ROWS))
    return out
