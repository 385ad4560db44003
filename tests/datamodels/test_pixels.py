"""Images that are produced on demand."""

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
