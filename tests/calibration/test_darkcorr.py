"""Scale of the dark for an exposure, and its median."""

import numpy as np
import pytest

from refstis.calibration.darkcorr import dark_scale, median_dark


@pytest.mark.parametrize(
    ("exptime", "gain", "temperature", "expected"),
    [
        (1000.0, 1.0, -1.0, 1000.0),
        (1000.0, 1.0, 0.0, 1000.0),  # not above 0: not known
        (1000.0, 1.0, 18.0, 1000.0),
        (1000.0, 1.0, 20.0, 1140.0),
        (1000.0, 4.0, 20.0, 285.0),
        (0.0, 1.0, 20.0, 0.0),
    ],
)
def test_scale_by_hand(exptime, gain, temperature, expected):
    found = dark_scale(exptime, gain, temperature)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, rel=1e-7)


def test_scale_is_double_with_a_float32_gain_and_rounded_once():
    expected = np.float32((1.0 + 0.07 * (19.37 - 18.0)) * 1100.1 / float(np.float32(4.016)))
    assert dark_scale(1100.1, 4.016, 19.37) == expected


def test_slope_and_reference_come_from_the_dark():
    assert dark_scale(100.0, 1.0, 20.0, slope=0.1, reference=10.0) == np.float32(200.0)


def test_median_leaves_flagged_pixels_out():
    dark = np.array([[1.0, 2.0, 3.0, 900.0]], dtype=np.float32)
    assert median_dark(dark, np.array([[0, 0, 0, 16]], dtype=np.int16)) == 2.0
    assert median_dark(dark, np.zeros((1, 4), dtype=np.int16)) == 2.5
    assert median_dark(dark, np.ones((1, 4), dtype=np.int16)) == 0.0
    assert median_dark(dark, np.ones((1, 4), dtype=np.int16)).dtype == np.float32
