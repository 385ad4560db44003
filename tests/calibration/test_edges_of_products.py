"""Levels, rejection and reference images where numbers end: constant, flagged, noiseless and endless frames."""

import numpy as np
import pytest
from frames import fitted

from refstis.calibration.blevcorr import fit_bias_level, subtract_bias_level
from refstis.calibration.crcorr import RejectionParameters, StackImage, reject_cosmic_rays, sky_mode
from refstis.calibration.geometry import overscan_geometry
from refstis.calibration.medians import network_for, stack_medians
from refstis.calibration.reference_image import ReferenceImage
from refstis.calibration.superbias import (
    add_hot_columns,
    flag_hot_bias,
    replace_hot_columns,
    replace_hot_pixels,
    residual_image,
)
from refstis.calibration.superdark import combine_superdark, flag_hot_dark

SHAPE = 40, 48
FRAME = 1044, 1062
HOT = 16


def constant(value, shape=SHAPE, dtype=np.float32):
    return np.full(shape, value, dtype=dtype)


def stack(values, readnoise=4.0, dq=None, exptime=0.0):
    return [StackImage(constant(value), dq, exptime, 1.0, readnoise) for value in values]


def reference(value, err=1.0):
    return ReferenceImage(constant(value), constant(err), constant(0, dtype=np.int16))


# -------------------------------------------------------------- overscan


@pytest.mark.parametrize("level", [0, 1500, 65535])
def test_a_constant_frame_has_that_level_and_no_drift(level):
    geometry = overscan_geometry("D", FRAME)
    fit = fit_bias_level(constant(level, FRAME, np.uint16), None, geometry, 16, 1500.0, 10.0)
    np.testing.assert_allclose(fit.level, level, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(fit.drift, 0.0, atol=1e-9)
    assert fit.from_overscan
    rows, columns = geometry.trim(FRAME)
    left = subtract_bias_level(constant(level, FRAME, np.uint16)[rows, columns], fit.level, fit.drift)
    np.testing.assert_allclose(left, 0.0, atol=1e-9)


def test_of_an_overscan_that_is_flagged_as_a_whole_the_table_tells_the_level():
    geometry = overscan_geometry("D", FRAME)
    flags = constant(HOT, FRAME, np.int16)
    fit = fit_bias_level(constant(40, FRAME, np.uint16), flags, geometry, HOT, 1510.5, 10.0)
    np.testing.assert_array_equal(fit.level, 1510.5)
    np.testing.assert_array_equal(fit.drift, 0.0)
    assert not fit.from_overscan


def test_no_line_goes_through_one_point_or_none():
    assert fitted(np.array([]), np.array([])) is None
    assert fitted(np.array([3.0]), np.array([5.0])) is None
    assert fitted(np.array([3.0, 3.0]), np.array([5.0, 6.0])) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_where_it_is_when_a_level_is_subtracted(value):
    lines = constant(10.0)
    lines[3, 4] = value
    left = subtract_bias_level(lines, np.full(SHAPE[0], 4.0), np.zeros(SHAPE[1]))
    np.testing.assert_array_equal(left[3, 4], np.float32(value))
    assert np.isfinite(left).sum() == left.size - 1


# -------------------------------------------------------------- cosmic rays


@pytest.mark.parametrize("value", [-7.5, 0.0, 3.25])
@pytest.mark.parametrize("sky", ["none", "mode"])
def test_equal_constant_images_add_up_and_nothing_is_rejected(value, sky):
    found = reject_cosmic_rays(stack([value] * 4), RejectionParameters((5.0, 4.0), sky=sky))
    np.testing.assert_array_equal(found.sci, 4 * value)
    assert found.rejected_count == 0
    np.testing.assert_array_equal(found.dq, 0)


def test_without_read_noise_and_signal_every_difference_is_a_hit():
    images = stack([0.0] * 5, readnoise=0.0)
    images[2].sci[:] = 1.0
    found = reject_cosmic_rays(images, RejectionParameters((5.0,), sky="none", radius=0.0))
    np.testing.assert_array_equal(found.sci, 0.0)
    assert found.rejected_count == SHAPE[0] * SHAPE[1]
    np.testing.assert_array_equal(found.rejected(2), True)
    np.testing.assert_array_equal(found.err, 0.0)


def test_one_pixel_that_differs_is_the_only_one_that_is_rejected():
    images = stack([10.0] * 6)
    images[1].sci[7, 9] = 5000.0
    found = reject_cosmic_rays(images, RejectionParameters((5.0, 4.0), sky="none"))
    np.testing.assert_array_equal(np.argwhere(found.rejected(1)), [[7, 9]])
    assert found.rejected_count == 1
    np.testing.assert_array_equal(found.sci, 60.0)


def test_where_all_images_are_excluded_there_is_no_value_and_no_uncertainty():
    flagged = constant(HOT, dtype=np.int16)
    images = stack([10.0] * 3, dq=flagged)
    found = reject_cosmic_rays(images, RejectionParameters((5.0,), sky="none", bad_bits=HOT))
    np.testing.assert_array_equal(found.sci, 0.0)
    np.testing.assert_array_equal(found.err, 0.0)
    np.testing.assert_array_equal(found.dq & HOT, HOT)


def test_the_sky_of_nothing_is_nothing():
    assert sky_mode(constant(50.0), np.arange(SHAPE[0] * SHAPE[1])) == 0


@pytest.mark.parametrize("value", [-20.5, 0.5, 7.5, 2000.5])
def test_the_sky_of_a_constant_image_lies_in_its_bin(value):
    # a bin of 1 DN, twice as wide around 0, of values cut towards zero
    assert abs(sky_mode(constant(value)) - value) <= 1.5


# -------------------------------------------------------------- medians and clips


@pytest.mark.parametrize("images", [2, 7, 150])
@pytest.mark.parametrize("value", [-3.0, 0.0, np.inf])
def test_the_median_of_a_constant_is_the_constant(images, value):
    out = np.empty(SHAPE, dtype=np.float32)
    stack_medians(constant(value, (images, *SHAPE)), network_for(images), out)
    np.testing.assert_array_equal(out, np.float32(value))


@pytest.mark.parametrize("images", [3, 8, 151])
def test_one_endless_value_does_not_move_the_median_beyond_its_neighbours(images):
    values = np.broadcast_to(np.arange(images, dtype=np.float32)[:, None, None], (images, *SHAPE)).copy()
    values[-1] = np.inf
    out = np.empty(SHAPE, dtype=np.float32)
    stack_medians(values, network_for(images), out)
    np.testing.assert_array_equal(out, np.float32((images - 1) / 2))


# -------------------------------------------------------------- superbiases and superdarks


def test_a_constant_superbias_keeps_its_values():
    bias = constant(2.5)
    residual, median = residual_image(bias)
    # every column reaches a limit that is the mean itself: what replaces it is equal
    np.testing.assert_array_equal(replace_hot_columns(bias, residual, median)[2:-2, 8:-8], 2.5)
    np.testing.assert_array_equal(replace_hot_pixels(bias, median)[2:-2, 8:-8], 2.5)


def test_in_a_superbias_one_pixel_that_differs_is_the_only_one_flagged():
    bias = np.random.default_rng(5).normal(0.0, 0.1, SHAPE).astype(np.float32)
    bias[20, 20] = 50.0
    flags = flag_hot_bias(bias, constant(0, dtype=np.int16), sigma=8.0)
    np.testing.assert_array_equal(np.argwhere(flags), [[20, 20]])


def test_a_week_without_scatter_adds_nothing_to_its_baseline():
    found = add_hot_columns(reference(0.0), reference(3.0, 0.5))
    np.testing.assert_array_equal(found.sci, 3.0)
    np.testing.assert_array_equal(found.err, 0.5)


def test_in_a_dark_one_pixel_that_differs_is_the_only_one_flagged():
    rate = constant(0.01)
    rate[5, 6] = 10.0
    np.testing.assert_array_equal(np.argwhere(flag_hot_dark(rate, constant(0, dtype=np.int16))), [[5, 6]])


def test_a_pixel_that_turned_hot_in_the_week_is_added_to_the_baseline():
    week, base = reference(0.01), reference(0.01, 0.002)
    week.sci[5, 6] = 10.0
    found = combine_superdark(week, base)
    assert found.sci[5, 6] == pytest.approx(10.0, rel=1e-5)
    assert found.err[5, 6] == 1.0
    assert found.dq[5, 6] == HOT
