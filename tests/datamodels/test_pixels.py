"""Images that are produced on demand."""

import gc
import weakref

import numpy as np
import pytest

from refstis.datamodels.pixels import Pixels

IMAGE = np.arange(30, dtype=np.float32).reshape(5, 6)
WINDOWS = [
    np.s_[:],
    np.s_[1:3],
    np.s_[-2:],
    np.s_[2],
    np.s_[-1],
    np.s_[1:3, 2:5],
    np.s_[:, -3:],
    np.s_[2, 1:4],
    np.s_[1:4, -2],
    np.s_[3, 5],
    np.s_[4:9, 5:9],
]


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_are_those_of_the_array(window):
    pixels = Pixels.of(IMAGE)
    np.testing.assert_array_equal(pixels[window], IMAGE[window])
    np.testing.assert_array_equal(Pixels.filled((5, 6), np.int16, 7)[window], np.full((5, 6), 7)[window])


def test_only_what_is_asked_for_is_produced():
    asked = []

    def produce(rows, columns):
        asked.append((rows.start, rows.stop, columns.start, columns.stop))
        return IMAGE[rows, columns]

    pixels = Pixels((5, 6), np.float32, produce)
    assert pixels[1:3, 4:].tolist() == [[10.0, 11.0], [16.0, 17.0]]
    assert asked == [(1, 3, 4, 6)]


def test_as_an_array():
    pixels = Pixels.of(IMAGE)
    assert np.asarray(pixels, dtype=np.float64).dtype == np.float64
    copied = np.array(pixels)
    copied[0, 0] = 99
    assert IMAGE[0, 0] == 0
    assert Pixels.filled((2, 3), np.int16, 4).constant == 4
    assert repr(Pixels.filled((2, 3), np.int16, 4)) == "Pixels(2 x 3, int16, all 4)"


def test_a_window_is_an_image_of_its_own_and_always_the_same():
    whole = Pixels.of(IMAGE)
    part = whole.window(1, 2, (2, 3))
    np.testing.assert_array_equal(part[:], IMAGE[1:3, 2:5])
    np.testing.assert_array_equal(part[1, 1:], IMAGE[2, 3:5])
    assert whole.window(1, 2, (2, 3)) is part
    assert whole.window(1, 1, (2, 3)) is not part
    constant = Pixels.filled((4, 5), np.int16, 7).window(1, 2, (2, 3))
    assert (constant.constant, constant.shape, constant.dtype) == (7, (2, 3), np.int16)


def test_what_follows_from_pixels_is_found_out_once_for_each_question():
    pixels, asked = Pixels.of(IMAGE), []

    def answer():
        asked.append(1)
        return object()

    first = pixels.remember(("level", 3.0), answer)
    assert pixels.remember(("level", 3.0), answer) is first
    assert pixels.remember(("level", 4.0), answer) is not first
    assert len(asked) == 2


def test_pixels_with_windows_go_without_a_collection_of_garbage():
    gc.disable()
    try:
        array = IMAGE.copy()
        whole, gone = Pixels.of(array), weakref.ref(array)
        whole.window(0, 0, (2, 2))
        del whole, array
        assert gone() is None
    finally:
        gc.enable()
