"""Superbiases: each step written out with numpy from its description."""

import math

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from scipy.ndimage import median_filter
from scipy.signal import medfilt

from refstis.calibration import superbias
from refstis.calibration.reference_image import ReferenceImage

F = np.float32


def bias(seed, shape=(40, 60), level=2.0, noise=0.3):
    generator = np.random.default_rng(seed)
    return ReferenceImage(
        generator.normal(level, noise, shape).astype(np.float32),
        generator.random(shape).astype(np.float32) + F(0.1),
        np.where(generator.random(shape) < 0.02, generator.choice([1, 4, 256], shape), 0).astype(np.int16),
    )


@pytest.fixture
def hot():
    """A bias with hot columns, a half-hot column at the bottom and hot pixels."""
    image = bias(3)
    image.sci[:, 20] += 4
    image.sci[:3, 33] += 1.4
    image.sci[10, 45] += 30
    image.sci[25, 5] += 50
    return image


def test_average_weights_each_frame_alike():
    files, counts = [bias(n) for n in range(3)], [5, 2, 7]
    found = superbias.average_biases(zip(files, counts, strict=True))
    total, square = files[0].sci, files[0].err * files[0].err
    for file in files[1:]:
        total = total + file.sci
        square = square + file.err * file.err
    np.testing.assert_array_equal(found.sci, total / F(14))
    np.testing.assert_array_equal(found.err, np.sqrt(square / F(14 * 14)))
    np.testing.assert_array_equal(found.dq, files[0].dq | files[1].dq | files[2].dq)
    assert found.sci.dtype == found.err.dtype == np.float32


def test_average_by_hand_and_its_inputs_stay():
    one = ReferenceImage(np.array([[10.0]], "f4"), np.array([[3.0]], "f4"), np.array([[1]], "i2"))
    two = ReferenceImage(np.array([[20.0]], "f4"), np.array([[4.0]], "f4"), np.array([[2]], "i2"))
    found = superbias.average_biases([(one, 4), (two, 6)])
    assert (found.sci[0, 0], found.err[0, 0], found.dq[0, 0]) == (3.0, 0.5, 3)
    assert (one.sci[0, 0], one.dq[0, 0]) == (10.0, 1)


def test_average_of_two_references():
    one, two = bias(1), bias(2)
    found = superbias.average_references(one, two)
    np.testing.assert_array_equal(found.sci, one.sci / 2 + two.sci / 2)
    np.testing.assert_array_equal(found.err, np.sqrt((one.err / 2) ** 2 + (two.err / 2) ** 2))
    np.testing.assert_array_equal(found.dq, one.dq | two.dq)


def test_residual_image(hot):
    residual, median = superbias.residual_image(hot.sci)
    smooth = median_filter(hot.sci, (3, 15))
    level = (
        sigma_clipped_stats(hot.sci, sigma=3, maxiters=40)[0]
        - sigma_clipped_stats(smooth, sigma=3, maxiters=40)[0]
    )
    np.testing.assert_allclose(median, smooth + F(level), rtol=1e-6)
    np.testing.assert_array_equal(residual, hot.sci - median)
    assert residual[:, 20].mean() == pytest.approx(4.0, abs=0.3)
    assert sigma_clipped_stats(residual, sigma=3, maxiters=40)[0] == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(
    ("rows", "fraction", "used"),
    [
        (266, 0.25, 67),
        (266, 0.2, 53),
        (40, 0.25, 10),
        (6, 0.25, 2),
        (1044, 1.0, 1024),
        (1024, 0.2, 205),
        (10, 0.25, 3),
    ],
)
def test_column_residual_takes_the_rows_at_the_bottom(rows, fraction, used):
    residual = np.zeros((rows, 4), dtype=np.float32)
    residual[used - 1, 0] = used
    residual[used:, 1] = 1e6  # not looked at
    found = superbias.column_residual(residual, fraction)
    assert used == min(1024, math.floor(fraction * rows + 0.5))
    assert found.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_hot_columns_by_their_definition():
    columns = np.random.default_rng(0).normal(0.0, 1.0, 300).astype(np.float32)
    columns[[7, 90]] = [40.0, 6.0]
    mean, _, std = sigma_clipped_stats(columns, sigma=3, maxiters=40)
    found = superbias.hot_columns(columns, 5.0, 3.0, 40)
    np.testing.assert_array_equal(found, columns >= mean + 5.0 * std)
    assert np.flatnonzero(found).tolist() == [7, 90]


def test_a_column_exactly_at_the_limit_is_hot():
    # 0 and 2 about a mean of 1 with deviation 1: the limit 1 + 1 is reached
    columns = np.array([0.0, 2.0] * 10, dtype=np.float32)
    assert superbias.hot_columns(columns, 1.0, 3.0, 5).tolist() == [False, True] * 10


def test_hot_columns_are_replaced(hot):
    residual, median = superbias.residual_image(hot.sci)
    found = superbias.replace_hot_columns(hot.sci, residual, median)
    whole, low = (residual[:n].mean(axis=0) for n in (40, 8))
    expected = hot.sci.copy()
    for columns in (whole, low):
        mean, _, std = sigma_clipped_stats(columns, sigma=3, maxiters=40)
        expected = np.where(columns >= mean + 3 * std, median, expected)
    np.testing.assert_array_equal(found, expected)
    changed = set(np.flatnonzero((found != hot.sci).any(axis=0)))
    assert {20, 33} <= changed
    # the half-hot column is found by its lowest fifth only
    assert 33 not in set(
        np.flatnonzero(
            (superbias.replace_hot_columns(hot.sci, residual, median, [1.0]) != hot.sci).any(axis=0)
        )
    )


def test_hot_pixels_are_replaced(hot):
    _, median = superbias.residual_image(hot.sci)
    found = superbias.replace_hot_pixels(hot.sci, median)
    residual = hot.sci - median
    mean, _, std = sigma_clipped_stats(residual, sigma=5, maxiters=40)
    np.testing.assert_array_equal(found, np.where(residual >= mean + 5 * std, median, hot.sci))
    assert found[10, 45] == median[10, 45]
    assert found[25, 5] == median[25, 5]


def test_hot_bias_pixels_lose_their_other_flags(hot):
    hot.dq[10, 45], hot.dq[11, 45] = 256, 256
    found = superbias.flag_hot_bias(hot.sci, hot.dq)
    smooth = medfilt(hot.sci, (3, 15))
    smooth += (
        sigma_clipped_stats(hot.sci, sigma=3, maxiters=30)[0]
        - sigma_clipped_stats(smooth, sigma=3, maxiters=30)[0]
    )
    residual = hot.sci - smooth
    mean, _, std = sigma_clipped_stats(residual, sigma=3, maxiters=30)
    np.testing.assert_array_equal(found, np.where(residual > mean + 5 * std, 16, hot.dq))
    assert found.dtype == np.int16
    assert (found[10, 45], found[11, 45]) == (16, 256)
    # the running median is 0 beyond the edge: an ordinary corner stands out
    assert found[0, 0] == 16


def test_hot_columns_of_a_week_on_the_baseline(hot):
    base = bias(9)
    hot.sci[30, 20] -= 40  # a negative residual in a hot column counts, and is not flagged
    found = superbias.add_hot_columns(hot, base)
    residual, _ = superbias.residual_image(hot.sci)
    columns = residual[:10].mean(axis=0)
    mean, _, std = sigma_clipped_stats(columns, sigma=3, maxiters=20)
    only_hot = np.where(columns >= mean + 5 * std, residual, 0).astype(np.float32)
    assert 20 in np.flatnonzero(only_hot.any(axis=0))
    np.testing.assert_array_equal(found.sci, base.sci + only_hot)
    np.testing.assert_array_equal(found.err, np.where(only_hot == 0, base.err, hot.err))
    np.testing.assert_array_equal(found.dq, np.where(only_hot > 0, 16, hot.dq))
    assert found.sci[30, 20] < base.sci[30, 20]
    assert found.dq[30, 20] == hot.dq[30, 20]
    assert found.sci.dtype == np.float32


# ------------------------------------------------------------------ changes of columns, and defects where they are


def noise_of(shape, sigma, seed=1):
    return np.random.default_rng(seed).normal(0.0, sigma, shape)


@pytest.mark.parametrize("last_row_first", [True, False])
def test_column_steps_are_found_where_they_begin(last_row_first):
    shape, sigma = (400, 60), 0.8
    true = np.zeros(shape)
    true[:300, 10] = 1.0
    true[:100, 10] += 2.0
    true[:, 30] = -0.6
    true[:350, 50] = 30.0
    if not last_row_first:
        true = true[::-1]
    image = true + noise_of(shape, sigma)
    image[200, 20] += 500.0  # a hot pixel is no column
    charge, doubt = superbias.column_steps(image, np.full(shape, sigma**2), last_row_first=last_row_first)
    clean = [x for x in range(60) if x not in (10, 30, 50)]
    assert not charge[:, clean].any()
    assert not doubt[:, clean].any()
    for x in (10, 30, 50):
        away = np.abs(charge[:, x] - true[:, x])
        # of a step of little more than the noise nobody can tell the row to better than some tens
        assert np.count_nonzero(away > 0.35) <= (2 if x == 50 else 30)
        assert np.median(away) < 3.0 * np.sqrt(np.median(doubt[:, x]))


def blended(seed=5, frames=(60, 400), noise=6.0, changed=True):
    """Truth of a week, its mean and that of the month, which contains it, and what they blend to."""
    generator = np.random.default_rng(seed)
    shape = (256, 128)
    month = generator.normal(0.0, 0.5, shape)
    month[generator.random(shape) < 0.02] += 20.0
    week = month.copy()
    if changed:
        born = generator.random(shape) < 0.002
        week[born] += generator.uniform(5.0, 50.0, born.sum())
        week[:180, 40] += 3.0
    share = frames[0] / frames[1]
    first = week + generator.normal(0.0, noise / np.sqrt(frames[0]), shape)
    rest = month + generator.normal(0.0, noise / np.sqrt(frames[1] - frames[0]), shape)
    whole = share * first + (1.0 - share) * rest
    images = [
        ReferenceImage(
            mean.astype("f4"), np.full(shape, noise / np.sqrt(number), "f4"), np.zeros(shape, "i2")
        )
        for mean, number in ((first, frames[0]), (whole, frames[1]))
    ]
    return week, *images, *superbias.blend_superbias(*images)


def test_week_without_changes_has_the_months_noise():
    truth, week, base, result, own = blended(changed=False)
    error = result.sci - truth
    assert error.std() < 1.02 * (base.sci - truth).std() < 0.5 * (week.sci - truth).std()
    assert (error / result.err).std() == pytest.approx(1.0, abs=0.05)
    assert (own > 0.5).mean() < 0.001


def test_what_changed_in_the_week_is_the_weeks():
    truth, week, base, result, own = blended()
    born = np.abs(truth - base.sci) > 4.0
    column = np.zeros(truth.shape, dtype=bool)
    column[:170, 40] = True
    alone = born & ~column
    assert alone.sum() > 30
    assert (own[alone] > 0.5).all()
    assert np.abs(result.sci - truth)[alone].max() < 5.0 * week.err.max()
    # a column is known better than its pixels
    assert (result.sci - truth)[column & ~born].std() < 0.75 * (week.sci - truth)[column].std()
    assert abs((result.sci - truth)[column].mean()) < 0.15
    assert ((result.sci - truth) / result.err).std() == pytest.approx(1.0, abs=0.06)


def test_defects_are_flagged_where_they_are():
    shape = (200, 120)
    sci = noise_of(shape, 0.4, 3)
    sci[:150, 60] += 8.0
    sci[30, 20] += 20.0
    sci[40, 90] += 2.5  # significant, but less than the least charge
    dq = np.zeros(shape, "i2")
    dq[30, 20] = 256
    found = superbias.flag_defects(ReferenceImage(sci.astype("f4"), np.full(shape, 0.4, "f4"), dq))
    assert found[30, 20] == 256 | 16
    assert (found[:148, 60] == 16).all()
    assert not found[153:, 60].any()
    assert not found[40, 90]
    assert np.count_nonzero(found) <= 153
    # a charge that is known no better than this is no defect
    vague = superbias.flag_defects(ReferenceImage(sci.astype("f4"), np.full(shape, 6.0, "f4"), dq))
    assert np.count_nonzero(vague & 16) <= 152
    assert not vague[30, 20] & 16
