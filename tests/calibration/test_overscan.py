"""Charge of hot columns in the virtual overscan: against the charge that was put there."""

import numpy as np
import pytest

from refstis.calibration.overscan import add_clipped, add_frame, column_gain, hot_charge


def superbias_and_virtual_rows(seed, share=0.005, columns=500, rows=600, noise=0.6, lines=20, slope=2e-4):
    """A superbias with hot pixels and structure, and the mean of virtual rows that each pixel gives a share to."""
    generator = np.random.default_rng(seed)
    hot = np.where(
        generator.random((rows, columns)) < 0.01, generator.pareto(0.7, (rows, columns)) * 2.0, 0.0
    )
    hot = np.minimum(hot, 1500.0)
    structure = generator.normal(0.0, 0.25, columns) + generator.normal(0.0, 0.1, (rows, 1))
    image = structure + hot + generator.normal(0.0, noise, hot.shape)
    scatter = noise / np.sqrt(lines)
    x = np.arange(columns) - columns / 2.0
    virtual = 3.0 + slope * x + share * hot.sum(axis=0) + generator.normal(0.0, scatter, columns)
    return image, virtual, hot, x, scatter / np.sqrt(columns**3 / 12.0)


def test_hot_pixels_are_found_whatever_rows_and_columns_are_like():
    image, _, hot, _, _ = superbias_and_virtual_rows(1)
    found = hot_charge(image, 5.0)
    clear = np.where(hot > 8.0, hot, 0.0).sum(axis=0)
    # what lies between the limit and 8 DN, and the noise of the pixels that are found
    assert (found > clear - 10.0).all()
    assert np.median(found - clear) < 30.0
    assert hot_charge(image - hot, 6.0).sum() == 0.0


@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_share_and_slope_are_those_that_were_put_there(seed):
    image, virtual, _, x, error = superbias_and_virtual_rows(seed)
    # hot columns without a hot pixel at their origin
    virtual[[17, 230, 231, 480]] += [3.0, 40.0, 6.0, 11.0]
    virtual[90] = np.nan
    charge = hot_charge(image)
    gain, outside = column_gain(virtual, charge)
    assert gain == pytest.approx(0.005, rel=0.02)
    assert outside[[17, 90, 230, 231, 480]].all()
    assert outside.mean() < 0.1
    kept = ~outside
    found = np.polyfit(x[kept], (virtual - gain * charge)[kept], 1)[0]
    # pixels below the limit of significance add a little to the noise of the virtual rows
    assert abs(found - 2e-4) < 4.0 * error
    known = np.isfinite(virtual)
    assert abs(np.polyfit(x[known], virtual[known], 1)[0] - 2e-4) > 4.0 * error


def test_nothing_is_taken_away_where_hot_pixels_give_nothing():
    image, virtual, _, _, _ = superbias_and_virtual_rows(6, share=0.0)
    charge = hot_charge(image)
    gain, _ = column_gain(virtual, charge)
    # a share is known as well as the scatter of the virtual rows over that of the charges allows
    assert abs(gain) < 4.0 * 0.6 / np.sqrt(20.0) / (charge.std() * np.sqrt(charge.size))


def test_columns_that_stand_out_leave_the_slope_of_the_others():
    generator = np.random.default_rng(4)
    x = np.arange(500.0)
    virtual = 3.0 + 2e-3 * x + generator.normal(0.0, 0.1, x.size)
    hot = np.zeros(x.size, dtype=bool)
    hot[[20, 150, 151, 400, 470]] = True
    virtual[hot] += [5.0, 40.0, 1.0, 2.0, 8.0]
    virtual[90] = np.nan
    gain, found = column_gain(virtual, np.zeros(x.size), 4.0)
    assert gain == 0.0
    assert (found == (hot | ~np.isfinite(virtual))).all()
    everything = np.polyfit(x[~np.isnan(virtual)], virtual[~np.isnan(virtual)], 1)[0]
    kept = np.polyfit(x[~found], virtual[~found], 1)[0]
    assert abs(kept - 2e-3) < 3.0 * 0.1 / np.sqrt(500.0**3 / 12.0) < abs(everything - 2e-3)


def test_of_columns_without_values_nothing_is_known():
    gain, outside = column_gain(np.full(20, np.nan), np.arange(20.0))
    assert gain == 0.0
    assert outside.all()


def test_frames_are_added_less_their_level():
    frame, total = np.array([[1000, 1003]], dtype=np.uint16), np.zeros((1, 2), dtype=np.float32)
    for level in (1000.0, 999.5):
        add_frame(frame, level, total)
    np.testing.assert_array_equal(total, [[0.5, 6.5]])


def test_sums_leave_out_what_is_far_from_the_level():
    window = np.array([[100, 105, 200], [90, 95, 101]], dtype=np.uint16)
    total, count = np.zeros((2, 3)), np.zeros((2, 3), dtype=np.int64)
    for _ in range(2):
        add_clipped(window, 98.0, 7.0, total, count)
    np.testing.assert_array_equal(count, [[2, 2, 0], [0, 2, 2]])
    np.testing.assert_array_equal(total, [[4.0, 14.0, 0.0], [0.0, -6.0, 6.0]])
