"""Temperature of the CCD: the law of the dark rate, and means of engineering telemetry."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.calibration.darkcorr import dark_scale
from refstis.calibration.tempcorr import dark_scale_factor, mean_temperature, scale_uncertainty

TRIES = settings(deadline=None, derandomize=True, max_examples=60)


@pytest.mark.parametrize(
    ("temperature", "slope", "reference", "expected"),
    [
        (18.0, 0.07, 18.0, 1.0),
        (22.0, 0.07, 18.0, 1 / 1.28),
        (8.0, 0.07, 18.0, 1 / 0.3),
        (20.0, 0.0, 18.0, 1.0),
        (20.0, 0.1, 15.0, 1 / 1.5),
    ],
)
def test_law_by_hand(temperature, slope, reference, expected):
    assert dark_scale_factor(temperature, slope, reference) == pytest.approx(expected, rel=1e-15)


@given(st.floats(10, 30))
@TRIES
def test_there_and_back(temperature):
    # what darkcorr multiplies a dark with to bring it to an exposure's temperature, tempcorr divides by
    there = float(dark_scale(1.0, 1.0, temperature))
    assert there * dark_scale_factor(temperature) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("temperature", [18.0 - 1 / 0.07, 3.0, -3.0])
def test_below_the_end_of_the_law(temperature):
    with pytest.raises(ValueError, match="no dark current"):
        dark_scale_factor(temperature)


def test_uncertainty_is_scaled_by_a_square_in_double():
    err = np.random.default_rng(0).random(1000).astype(np.float32)
    factor = dark_scale_factor(21.3692)
    found = scale_uncertainty(err, factor)
    expected = [np.float32(math.sqrt(float(e * e * np.float32(factor * factor)))) for e in err]
    assert found.tolist() == [float(e) for e in expected]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, err * factor, rtol=3e-7)


# -------------------------------------------------------------- engineering telemetry

# Temperatures that differ by less than 0.9 C from a neighbour are alike (Gaussian of 0.40 C above 0.05).
TIMES = np.arange(0.0, 1.01, 0.1)
RISING = 20.0 + TIMES


def test_within_one_interval_the_value_before_is_taken():
    assert mean_temperature(TIMES, RISING, 0.31, 0.39, 100.0) == pytest.approx(20.3)


def test_mean_over_several_intervals():
    begin, end = 0.33, 0.67
    v = {r: RISING[r] for r in range(11)}
    first = (0.4 - begin) * (v[3] + 0.5 * (v[4] - v[3]) * (begin - 0.3) / 0.1)  # CALSTIS's first segment
    middle = 0.1 * (0.5 * (v[4] + v[5]) + 0.5 * (v[5] + v[6]))
    last = (end - 0.6) * (v[6] + 0.5 * (v[7] - v[6]) * (end - 0.6) / 0.1)
    expected = (first + middle + last) / (end - begin)
    assert mean_temperature(TIMES, RISING, begin, end, 100.0) == pytest.approx(expected, rel=1e-12)
    # the true mean is 20.5; the first segment's weight makes it a little lower
    assert expected == pytest.approx(20.49, abs=0.01)


@given(st.floats(0.001, 0.9), st.floats(0.001, 0.09))
@TRIES
def test_constant_temperature_is_its_own_mean(begin, length):
    constant = np.full_like(TIMES, 19.5)
    assert mean_temperature(TIMES, constant, begin, min(begin + length, 0.99), 100.0) == pytest.approx(
        19.5, rel=1e-12
    )


def test_biases_take_the_last_value_before_them():
    assert mean_temperature(TIMES, RISING, 0.35, 0.35, 0.0) == pytest.approx(20.3)
    assert mean_temperature(TIMES, RISING, 5.0, 5.0, 0.0) == pytest.approx(21.0)


@pytest.mark.parametrize(("begin", "end"), [(-0.5, 0.35), (0.35, 1.5), (2.0, 3.0), (0.35, 0.35)])
def test_telemetry_that_does_not_cover_the_exposure(begin, end):
    assert mean_temperature(TIMES, RISING, begin, end, 100.0) is None


def test_no_telemetry():
    assert mean_temperature(np.empty(0), np.empty(0), 0.1, 0.2, 100.0) is None


@pytest.mark.parametrize(
    ("row", "value", "taken"),
    [
        (3, 26.0, 20.2),  # not plausible
        (3, 14.0, 20.2),
        (3, 22.0, 20.2),  # unlike both neighbours
        (3, 20.9, 20.9),  # like its neighbours
        (
            10,
            24.0,
            20.3,
        ),  # the end, unlike its neighbour: dropped, and without it nothing covers what follows
    ],
)
def test_implausible_values_are_dropped(row, value, taken):
    values = RISING.copy()
    values[row] = value
    found = mean_temperature(TIMES, values, 0.31, 0.39, 100.0)
    if taken == 20.2:
        # row 2 is the last before the exposure then, and the exposure lies between the rows 2 and 4
        assert found == pytest.approx(20.2)
    else:
        assert found == pytest.approx(taken)
    assert (mean_temperature(TIMES, values, 0.91, 0.99, 100.0) is None) == (row == 10)


def test_unlike_the_only_neighbour_at_the_begin():
    values = RISING.copy()
    values[0] = 23.0
    assert mean_temperature(TIMES, values, 0.05, 0.09, 100.0) is None
    values[0] = 20.5
    assert mean_temperature(TIMES, values, 0.05, 0.09, 100.0) == pytest.approx(20.5)
