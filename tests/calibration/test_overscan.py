"""Charge of hot columns in the virtual overscan: against the charge that was put there."""

import numpy as np
import pytest

from refstis.calibration.overscan import add_clipped, gained_charge, standing_out


def columns_of_charge(seed, count=400, rows=200, frames=60, noise=4.0):
    """True gain of each column, and lines read last and first of the mean of frames."""
    generator = np.random.default_rng(seed)
    gain = np.where(generator.random(count) < 0.3, generator.exponential(3.0, count), 0.0)
    structure = generator.normal(0.0, 0.25, count) + 4e-4 * np.arange(count)
    sigma = noise / np.sqrt(frames)
    first = structure + generator.normal(0.0, sigma, (rows, count))
    last = structure + gain + generator.normal(0.0, sigma, (rows, count))
    return gain, last, first


def test_gained_charge_is_free_of_structure_and_drift():
    gain, last, first = columns_of_charge(1)
    found = gained_charge(last, first)
    error = found - (gain - np.median(gain))
    # two medians of 200 values, and the median of all columns
    expected = np.sqrt(2.0 * np.pi / 2.0 / 200.0) * 4.0 / np.sqrt(60.0)
    assert error.std() == pytest.approx(expected, rel=0.15)
    assert abs(np.polyfit(np.arange(400), error, 1)[0]) < 4.0 * expected / np.sqrt(400.0**3 / 12.0)


def test_hot_pixels_within_the_lines_are_no_gain():
    _, last, first = columns_of_charge(2)
    before = gained_charge(last, first)
    last[:20, 7] += 500.0
    first[50:70, 9] += 500.0
    # a tenth of the lines moves the median by an eighth of their scatter
    np.testing.assert_allclose(gained_charge(last, first), before, atol=0.2)


def test_columns_without_value_gain_nothing():
    _, last, first = columns_of_charge(3)
    last[:, 5] = np.nan
    first[3, 6] = np.nan
    found = gained_charge(last, first)
    assert found[5] == 0.0
    assert np.isfinite(found).all()
    assert not gained_charge(np.full((3, 4), np.nan), np.zeros((3, 4))).any()


def test_columns_that_stand_out_leave_the_slope_of_the_others():
    generator = np.random.default_rng(4)
    x = np.arange(500.0)
    virtual = 3.0 + 2e-3 * x + generator.normal(0.0, 0.1, x.size)
    hot = np.zeros(x.size, dtype=bool)
    hot[[20, 150, 151, 400, 470]] = True
    virtual[hot] += [5.0, 40.0, 1.0, 2.0, 8.0]
    virtual[90] = np.nan
    found = standing_out(virtual, 4.0)
    assert (found == (hot | ~np.isfinite(virtual))).all()
    everything = np.polyfit(x[~np.isnan(virtual)], virtual[~np.isnan(virtual)], 1)[0]
    kept = np.polyfit(x[~found], virtual[~found], 1)[0]
    assert abs(kept - 2e-3) < 3.0 * 0.1 / np.sqrt(500.0**3 / 12.0) < abs(everything - 2e-3)


def test_sums_leave_out_what_is_far_from_the_level():
    window = np.array([[100, 105, 200], [90, 95, 101]], dtype=np.uint16)
    total, count = np.zeros((2, 3)), np.zeros((2, 3), dtype=np.int64)
    for _ in range(2):
        add_clipped(window, 98.0, 7.0, total, count)
    np.testing.assert_array_equal(count, [[2, 2, 0], [0, 2, 2]])
    np.testing.assert_array_equal(total, [[4.0, 14.0, 0.0], [0.0, -6.0, 6.0]])
