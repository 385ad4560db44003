"""Medians that are taken of many pixels side by side.

A bracket around each median is halved, by counting how many values do not exceed its middle, until few values are
left in it; these are then taken one after the other. All loops run over neighbouring pixels, so that they become
vector instructions, which a selection pixel by pixel could not. Middles are taken by value and by place among the
floats in turn: the first is quick where values cross 0, the second where one of them is far out.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from numba import njit

__all__ = ["stack_median", "window_median"]

# Pixels that the median is taken of side by side: the block of 100 images fits the first-level cache.
BLOCK = 64
# Halvings of the median's bracket, at most (NaN and equal values keep it wide), and values to leave in it.
MOST_HALVINGS = 40
FEW = 2


@njit(nogil=True, cache=True)
def _middle_of_keys(low, high, middle):
    """Float in the middle between two others, counted in floats."""
    lows, highs, middles = low.view(np.uint32), high.view(np.uint32), middle.view(np.uint32)
    sign = np.uint32(0x80000000)
    for x in range(lows.size):
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
def _block_median(values, work, counters, out):
    """Median of each pixel of a block; work and counters are scratch."""
    images = values.shape[0]
    rank = np.int32((images - 1) // 2 + 1)
    low, high, middle = work[0], work[1], work[2]
    below, upto, counts = counters[0], counters[1], counters[2]
    infinity, half = np.float32(np.inf), np.float32(0.5)
    low[:] = infinity
    high[:] = -infinity
    for n in range(images):
        for x in range(BLOCK):
            low[x] = min(low[x], values[n, x])
            high[x] = max(high[x], values[n, x])
    below[:] = 0
    upto[:] = images
    for step in range(MOST_HALVINGS):
        if (upto - below).max() <= FEW:
            break
        if step % 2:
            _middle_of_keys(low, high, middle)
        else:
            for x in range(BLOCK):
                middle[x] = low[x] * half + high[x] * half
        _count_up_to(values, middle, counts)
        for x in range(BLOCK):
            enough = counts[x] >= rank
            high[x] = middle[x] if enough else high[x]
            upto[x] = counts[x] if enough else upto[x]
            low[x] = low[x] if enough else middle[x]
            below[x] = below[x] if enough else counts[x]
    # the values of the bracket in their order; upto becomes the number of values up to the one found
    for x in range(BLOCK):
        out[x] = low[x] if below[x] else -infinity
    upto[:] = 0
    while upto.min() < rank:
        _next_above(values, out, middle)
        _count_up_to(values, middle, counts)
        for x in range(BLOCK):
            waiting = upto[x] < rank
            out[x] = middle[x] if waiting else out[x]
            # beyond the last value there is nothing to wait for
            upto[x] = (counts[x] if middle[x] < infinity else images) if waiting else upto[x]
    if images % 2 == 0:
        _next_above(values, out, middle)
        for x in range(BLOCK):
            upper = out[x] if upto[x] > rank else middle[x]
            out[x] = (out[x] + upper) / np.float32(2)


@njit(nogil=True, cache=True)
def stack_median(stack, out):
    """Median of each pixel over the images of a stack.

    Parameters
    ----------
    stack : numpy.ndarray
        float32 array (image, row, column).
    out : numpy.ndarray
        Where the medians go, float32 (row, column); the mean of the two central values for an even number of images.
    """
    images, rows, columns = stack.shape
    values = np.zeros((images, BLOCK), dtype=np.float32)
    work, counters = np.empty((3, BLOCK), dtype=np.float32), np.empty((3, BLOCK), dtype=np.int32)
    found = np.empty(BLOCK, dtype=np.float32)
    for y in range(rows):
        for begin in range(0, columns, BLOCK):
            width = min(BLOCK, columns - begin)
            for n in range(images):
                values[n, :width] = stack[n, y, begin : begin + width]
            _block_median(values, work, counters, found)
            out[y, begin : begin + width] = found[:width]


@njit(nogil=True, cache=True)
def _window_medians(padded, height, width, first, last, out):
    """Running median of the rows first to last; the image is padded by half a window on each side."""
    columns = out.shape[1]
    values = np.zeros((height * width, BLOCK), dtype=np.float32)
    work, counters = np.empty((3, BLOCK), dtype=np.float32), np.empty((3, BLOCK), dtype=np.int32)
    found = np.empty(BLOCK, dtype=np.float32)
    for y in range(first, last):
        for begin in range(0, columns, BLOCK):
            size = min(BLOCK, columns - begin)
            for j in range(height):
                for i in range(width):
                    values[j * width + i, :size] = padded[y + j, begin + i : begin + i + size]
            _block_median(values, work, counters, found)
            out[y, begin : begin + size] = found[:size]


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
    threads = os.cpu_count() or 1
    edges = np.linspace(0, image.shape[0], 4 * threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(
            pool.map(
                lambda first, last: _window_medians(padded, height, width, first, last, out),
                edges[:-1],
                edges[1:],
            )
        )
    return out
