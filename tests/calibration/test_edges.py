"""Functions of pixels where numbers end: what is defined is stated here by itself, and warnings are errors."""

import numpy as np
import pytest

from refstis.calibration.crcorr import sky_mode
from refstis.calibration.darkcorr import dark_scale, median_dark
from refstis.calibration.dqicorr import saturated_pixels
from refstis.calibration.medians import network_for, stack_medians
from refstis.calibration.noise import pixel_uncertainty
from refstis.calibration.reference_image import ReferenceImage, combined_uncertainty
from refstis.calibration.robust import clip, median_filter_reflected, median_filter_zero_padded
from refstis.calibration.statistics import image_statistics
from refstis.calibration.superbias import average_biases, average_references, flag_hot_bias
from refstis.calibration.superdark import flag_hot_dark, normalize_dark
from refstis.calibration.tempcorr import dark_scale_factor, mean_temperature, scale_uncertainty

SHAPE = (20, 30)
AT = (7, 11)
CONSTANTS = [0.0, 1.0, -150.0, 65535.0, 1e-20]


def full(value, dtype=np.float32):
    return np.full(SHAPE, value, dtype=dtype)


def one_different(value, other):
    image = full(value)
    image[AT] = other
    return image


@pytest.mark.parametrize("value", CONSTANTS)
def test_a_constant_image_has_itself_as_statistics_and_no_spread(value):
    found = clip(full(value), 3.0, 30)
    assert float(found.median) == np.float32(value)
    assert float(found.mean) == pytest.approx(value, rel=1e-6)
    assert float(found.std) == pytest.approx(0, abs=1e-6 * abs(value))


@pytest.mark.parametrize("other", [1e6, -1e6])
def test_one_pixel_that_differs_is_clipped(other):
    found = clip(one_different(10.0, other), 3.0, 30)
    assert (float(found.mean), float(found.median), float(found.std)) == (10.0, 10.0, 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_clipped_but_refused(value):
    with pytest.raises(ValueError, match="finite"):
        clip(one_different(1.0, value), 3.0, 30)


@pytest.mark.parametrize("value", CONSTANTS)
def test_running_medians_of_a_constant_and_of_one_pixel_that_differs(value):
    for image in (full(value), one_different(value, 1e6)):
        np.testing.assert_array_equal(median_filter_reflected(image, (3, 15)), full(value))
        # beyond the edge there are zeros: a corner sees more of them than of the image
        found = median_filter_zero_padded(image, (3, 15))
        np.testing.assert_array_equal(found[1:-1, 7:-7], full(value)[1:-1, 7:-7])
        assert found[0, 0] == 0


@pytest.mark.parametrize("value", [0.0, -150.0, 10.0, 65535.0])
def test_the_median_of_equal_frames_is_the_frame(value):
    out = np.empty(SHAPE, dtype=np.float32)
    for number in (1, 2, 5):
        stack_medians(np.stack([full(value)] * number), network_for(number), out)
        np.testing.assert_array_equal(out, full(value))


@pytest.mark.parametrize("readnoise", [0.0, 4.0])
@pytest.mark.parametrize("counts", [-1e6, -0.0, 0.0])
def test_where_there_is_no_light_there_is_read_noise_alone(counts, readnoise):
    np.testing.assert_array_equal(pixel_uncertainty(full(counts), 2.0, readnoise), full(readnoise / 2.0))


def test_of_saturated_counts_the_uncertainty_is_finite():
    found = pixel_uncertainty(full(65535.0), 1.0, 0.0)
    np.testing.assert_allclose(found, np.sqrt(65535.0), rtol=1e-6)


def test_saturation_of_all_of_none_and_of_what_is_no_number():
    np.testing.assert_array_equal(saturated_pixels(full(65535, np.uint16), 33000.0), np.arange(20 * 30))
    assert saturated_pixels(full(0, np.uint16), 33000.0).size == 0
    assert saturated_pixels(full(-1e6), 33000.0).size == 0
    assert saturated_pixels(one_different(0.0, np.nan), 33000.0).size == 0
    assert saturated_pixels(one_different(0.0, np.inf), 33000.0).tolist() == [7 * 30 + 11]


def test_statistics_where_every_pixel_is_flagged_count_none():
    found = image_statistics(full(5.0), full(1.0), full(1, np.int16), 1)
    assert found.pixels == 0
    assert all(np.isfinite(one) for one in found)


def test_statistics_of_constants():
    found = image_statistics(full(-6.0), full(2.0), full(0, np.int16), -1)
    assert (found.pixels, found.minimum, found.maximum, found.mean) == (600, -6.0, -6.0, -6.0)
    assert (found.snr_mean, found.err_mean) == (-3.0, 2.0)
    # light without an uncertainty has no signal-to-noise ratio
    assert image_statistics(full(6.0), full(0.0), full(0, np.int16), -1).pixels == 0


@pytest.mark.parametrize("value", [0.0, 10.0, -150.0])
def test_the_sky_of_a_constant(value):
    assert abs(float(sky_mode(full(value))) - value) <= 1.0


def image(value, error, flags=0):
    return ReferenceImage(full(value), full(error), full(flags, np.int16))


@pytest.mark.parametrize("value", [0.0, -150.0, 65535.0])
def test_averages_of_equal_images(value):
    # two sums of four frames each
    found = average_biases([(image(4 * value, 2.0, 4), 4), (image(4 * value, 2.0, 8), 4)])
    np.testing.assert_array_equal(found.sci, full(value))
    np.testing.assert_allclose(found.err, np.sqrt(8.0) / 8, rtol=1e-6)
    assert (found.dq == 12).all()
    found = average_references(image(value, 0.0), image(value, 0.0))
    np.testing.assert_array_equal(found.sci, full(value))
    np.testing.assert_array_equal(found.err, full(0.0))
    with pytest.raises(ValueError, match="no biases"):
        average_biases([])


def test_uncertainties_of_nothing_are_nothing():
    np.testing.assert_array_equal(combined_uncertainty(full(0.0), full(0.0)), full(0.0))
    np.testing.assert_array_equal(combined_uncertainty(full(3.0), full(4.0)), full(5.0))
    np.testing.assert_array_equal(scale_uncertainty(full(0.0), 0.5), full(0.0))
    np.testing.assert_array_equal(scale_uncertainty(full(4.0), 0.5), full(2.0))


@pytest.mark.parametrize("value", [0.0, 0.5, -0.5])
@pytest.mark.parametrize("flags", [0, 256])
def test_of_a_constant_nothing_is_hot_and_of_one_pixel_that_differs_that_one(value, flags):
    dq = full(flags, np.int16)
    np.testing.assert_array_equal(flag_hot_dark(full(value), dq), dq)
    expected = dq.copy()
    expected[AT] = 16
    np.testing.assert_array_equal(flag_hot_dark(one_different(value, value + 5.0), dq), expected)
    # beyond the edge of a superbias there are zeros
    found = flag_hot_bias(one_different(value, value + 500.0), dq)
    np.testing.assert_array_equal(found[1:-1, 7:-7], expected[1:-1, 7:-7])


def test_dark_rates_of_nothing_and_of_negative_counts():
    found = normalize_dark(image(-500.0, 5.0), 1000.0, 1.0)
    np.testing.assert_allclose(found.sci, -0.5)
    np.testing.assert_allclose(found.err, 0.005)
    assert median_dark(full(5.0), full(1, np.int16)) == 0
    assert dark_scale(0.0, 1.0) == 0


def test_temperatures_at_the_edge():
    assert dark_scale_factor(0.0, slope=0.07, reference=0.0) == 1.0
    with pytest.raises(ValueError, match="no dark current"):
        dark_scale_factor(-100.0)
    assert mean_temperature(np.array([]), np.array([]), 51000.0, 51000.1, 1000.0) is None
