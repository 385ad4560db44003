"""Superdarks: rates, hot pixels, and the week on the baseline."""

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from scipy.signal import medfilt

from refstis.calibration.reference_image import ReferenceImage
from refstis.calibration.superdark import (
    combine_superdark,
    draw_to_surroundings,
    flag_hot_dark,
    normalize_dark,
)

F = np.float32


def dark(seed, shape=(30, 40), rate=0.005, noise=0.001, hot=()):
    generator = np.random.default_rng(seed)
    sci = generator.normal(rate, noise, shape).astype(np.float32)
    for y, x, value in hot:
        sci[y, x] += F(value)
    return ReferenceImage(
        sci,
        generator.random(shape).astype(np.float32) * F(1e-3),
        np.where(generator.random(shape) < 0.02, 256, 0).astype(np.int16),
    )


def test_rate():
    image = ReferenceImage(np.array([[2200.0]], "f4"), np.array([[55.0]], "f4"), np.array([[4]], "i2"))
    found = normalize_dark(image, 4400.0, 4.0)
    # 2200 DN at 4 e-/DN in 4400 s
    assert (found.sci[0, 0], found.err[0, 0], found.dq[0, 0]) == (2.0, F(0.05), 4)
    assert found.sci.dtype == np.float32


def test_rate_is_divided_by_one_float32():
    image = dark(1, rate=900.0, noise=50.0)
    found = normalize_dark(image, 15400.0, 1.0001)
    divisor = F(15400.0 / 1.0001)
    np.testing.assert_array_equal(found.sci, image.sci / divisor)
    np.testing.assert_array_equal(found.err, image.err / divisor)


def flags_by_definition(sci, dq):
    mean, _, std = sigma_clipped_stats(sci, sigma=5, maxiters=50)
    excess = np.where(sci >= mean + 5 * std, sci - mean, 0)
    dq = np.where(excess >= 0.1, 16, dq)
    mean, median, std = sigma_clipped_stats(sci, sigma=3, maxiters=40)
    return np.where((sci > median + 5 * std) & (sci > mean + 0.1), 16, dq)


@pytest.mark.parametrize("noise", [0.001, 0.05])
def test_hot_pixels_of_the_baseline(noise):
    image = dark(2, noise=noise, hot=[(3, 3, 0.05), (4, 4, 0.11), (5, 5, 2.0), (6, 6, 0.3)])
    image.dq[5, 5] = 256
    found = flag_hot_dark(image.sci, image.dq)
    np.testing.assert_array_equal(found, flags_by_definition(image.sci, image.dq))
    assert found.dtype == np.int16
    assert found[5, 5] == 16  # in place of its other flag
    assert found[3, 3] != 16  # too faint, however significant


def test_significance_alone_does_not_make_a_hot_pixel_nor_rate_alone():
    image = dark(2, noise=0.05, hot=[(4, 4, 0.15)])
    assert flag_hot_dark(image.sci, np.zeros_like(image.dq))[4, 4] == 0
    assert flag_hot_dark(image.sci, np.zeros_like(image.dq), sigma=1.0)[4, 4] == 16
    assert flag_hot_dark(image.sci, np.zeros_like(image.dq), rate=0.3, sigma=1.0)[4, 4] == 0


def test_week_on_the_baseline():
    # hot in the week only, in both, in the baseline only (annealed)
    week = dark(5, hot=[(10, 10, 0.5), (15, 20, 0.3), (12, 30, 0.004)])
    base = dark(6, hot=[(15, 20, 0.25), (20, 8, 0.4)])
    found = combine_superdark(week, base)
    _, median, std = sigma_clipped_stats(week.sci, sigma=5, maxiters=40)
    limit = median + 5 * std
    background = sigma_clipped_stats(base.sci, sigma=5, maxiters=40)[1]
    only_hot = np.where(week.sci >= limit, week.sci - background, 0).astype(np.float32)
    only_dark = np.where(base.sci >= limit, medfilt(base.sci, (5, 5)), base.sci)
    np.testing.assert_allclose(found.sci, only_dark + only_hot, rtol=1e-6)
    np.testing.assert_array_equal(found.err, np.where(only_hot == 0, base.err, week.err))
    np.testing.assert_array_equal(found.dq, np.where(only_hot >= limit, 16, week.dq))
    assert (found.sci.dtype, found.err.dtype, found.dq.dtype) == (np.float32, np.float32, np.int16)

    assert found.sci[20, 8] == pytest.approx(0.005, abs=0.003)  # annealed: the running median
    # the local background is counted twice: once in the baseline, once in the excess over its median
    assert found.sci[10, 10] == pytest.approx(base.sci[10, 10] + week.sci[10, 10] - background, rel=1e-5)
    assert found.sci[15, 20] == pytest.approx(
        medfilt(base.sci, (5, 5))[15, 20] + week.sci[15, 20] - background, rel=1e-5
    )
    assert found.dq[10, 10] == 16
    assert found.dq[12, 30] != 16
    assert found.err[10, 10] == week.err[10, 10]


def test_the_limit_of_flags_is_compared_with_the_excess():
    # a pixel just above the limit counts as hot, but its excess over the background is below the limit
    week, base = dark(5, rate=0.05), dark(6, rate=0.05)
    _, median, std = sigma_clipped_stats(week.sci, sigma=5, maxiters=40)
    week.sci[8, 8] = median + 6 * std
    week.dq[8, 8] = 0
    found = combine_superdark(week, base)
    assert found.sci[8, 8] != base.sci[8, 8]
    assert found.dq[8, 8] == 0


def test_baseline_without_anything_hot_stays():
    week, base = dark(5), dark(6)
    found = combine_superdark(week, base, sigma=50.0)
    for a, b in zip(found[:2], base[:2], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found.dq, week.dq)


def drawn(seed, scatter, noise=0.0008, shape=(128, 160)):
    """Ordinary pixels with a gradient, one in ten warm or hot; true rates, measured ones, and which are ordinary."""
    generator = np.random.default_rng(seed)
    typical = np.linspace(0.012, 0.009, shape[0])[:, None] * np.ones(shape)
    true = typical * (1.0 + scatter * generator.normal(size=shape))
    warm = generator.random(shape) < 0.1
    true[warm] += 10.0 ** generator.uniform(-2.0, 1.0, np.count_nonzero(warm))
    return true, true + noise * generator.normal(size=shape), ~warm


@pytest.mark.parametrize("scatter", [0.0, 0.05, 0.1, 0.3])
def test_ordinary_pixels_know_their_surroundings(scatter):
    noise = 0.0008
    true, rate, ordinary = drawn(3, scatter, noise)
    value, variance, found = draw_to_surroundings(
        rate, np.full(rate.shape, noise**2), np.zeros(rate.shape, bool), side=32
    )
    assert found == pytest.approx(scatter, abs=0.02)
    error = (value - true)[ordinary]
    own = 0.0105 * scatter
    # what a Gaussian of known width allows; a scatter of nothing is found to be 1 percent
    best = noise * own / np.hypot(noise, own)
    assert error.std() < (1.06 * best if scatter else 0.25 * noise)
    assert abs(np.median(error)) < 0.02 * noise
    # an ERR that is too large by what might be a warm pixel, and never too small
    assert 0.88 < (error / np.sqrt(variance[ordinary])).std() < 1.02 or not scatter
    # hot pixels, which no surroundings tell anything of, keep their rates
    hot = true > 0.03
    np.testing.assert_allclose(value[hot], rate[hot], rtol=1e-3)
    np.testing.assert_allclose(variance[hot], noise**2, rtol=0.02)


def test_pixels_that_changed_keep_their_rates():
    _, rate, _ = drawn(4, 0.1)
    changed = np.zeros(rate.shape, bool)
    changed[::3] = True
    value, variance, _ = draw_to_surroundings(rate, np.full(rate.shape, 0.0008**2), changed)
    np.testing.assert_array_equal(value[::3], rate[::3])
    np.testing.assert_array_equal(variance[::3], 0.0008**2)
    assert (value[1::3] != rate[1::3]).mean() > 0.8
