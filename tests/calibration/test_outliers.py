"""The mean of a stack by a noise model: against least squares, counted hits, and a truth."""

import numpy as np
import pytest
from scipy import stats

from refstis.calibration.crcorr import COSMIC_RAY, RejectionParameters, StackImage
from refstis.calibration.outliers import (
    CHANGING,
    EMPTY,
    EXCLUDED,
    HIT,
    NEAR_HIT,
    SETTLED,
    USED,
    mean_of_stack,
    most_hits,
    reject_outliers,
)

SHAPE = (20, 24)


def frames(number, rate, exptime=1.0, readnoise=4.0, gain=1.0, seed=1, shape=SHAPE):
    """Poisson electrons of a rate and read noise, in DN."""
    generator = np.random.default_rng(seed)
    exptime = np.broadcast_to(exptime, number)
    electrons = np.stack([generator.poisson(rate * seconds, shape) for seconds in exptime])
    return ((electrons + generator.normal(0.0, readnoise, electrons.shape)) / gain).astype("f4")


def model(number, exptime=1.0, readnoise=4.0, gain=1.0):
    """Scale, read variance and gain of frames."""
    return (
        np.broadcast_to(exptime, number).astype(float),
        np.full(number, (readnoise / gain) ** 2),
        np.full(number, gain),
    )


@pytest.mark.parametrize(("frames_", "share"), [(2, 0.001), (13, 0.04), (56, 0.04), (130, 5e-4)])
def test_more_hits_than_chance_gives_are_rare(frames_, share):
    most = most_hits(frames_, share)
    assert stats.poisson.sf(most, frames_ * share) <= 1e-5 < stats.poisson.sf(most - 1, frames_ * share)


def test_without_outliers_it_is_the_weighted_mean_of_least_squares():
    exptime, gain, noise = np.array([10.0, 40.0, 40.0, 100.0]), 4.0, 6.0
    stack = frames(4, 2.0, exptime, noise, gain)
    found = mean_of_stack(stack, *model(4, exptime, noise, gain), limit=50.0)
    assert not found.use.any()
    assert (found.state == SETTLED).all()
    values = np.moveaxis(stack, 0, 2).astype(float)
    rate = np.median(values / exptime, axis=2)
    for _ in range(2):
        variance = (noise / gain) ** 2 + np.maximum(rate[..., np.newaxis] * exptime, 0.0) / gain
        weight = exptime / variance
        rate = (values * weight).sum(axis=2) / (exptime * weight).sum(axis=2)
    np.testing.assert_allclose(found.value, rate, rtol=1e-5)
    np.testing.assert_allclose(found.error, 1.0 / np.sqrt((exptime**2 / variance).sum(axis=2)), rtol=1e-5)


@pytest.mark.parametrize("rate", [0.5, 30.0])
@pytest.mark.parametrize("number", [4, 7, 40])
def test_mean_is_not_biased_and_its_uncertainty_is_right(rate, number):
    shape = (120, 120)
    found = mean_of_stack(frames(number, rate, shape=shape), *model(number))
    error = found.value - rate
    assert abs(error.mean()) < 4.0 * error.std() / 120.0
    pull = error / found.error
    assert pull.std() == pytest.approx(1.0, abs=0.04)
    assert (found.use == HIT).mean() < 1e-4


def test_hits_are_left_out_and_nothing_else():
    stack = frames(30, 3.0)
    clean = mean_of_stack(stack, *model(30))
    hit = np.zeros(stack.shape, dtype=bool)
    hit[4, 5, 6] = hit[20, 5, 6] = hit[9, 15, 3] = True
    found = mean_of_stack(stack + 400.0 * hit, *model(30), radius=0.0, hits=0.01)
    np.testing.assert_array_equal(found.use == HIT, hit)
    untouched = ~hit.any(axis=0)
    np.testing.assert_array_equal(found.value[untouched], clean.value[untouched])
    others = np.delete(stack[:, 5, 6], [4, 20])
    assert found.value[5, 6] == pytest.approx(others.mean(), rel=1e-4)


def test_neighbours_of_a_hit_fall_at_a_lower_limit():
    stack = np.zeros((10, 7, 7), dtype="f4")
    stack[3, 3, 3] = 100.0
    stack[3, 3, 4] = stack[3, 2, 2] = stack[3, 3, 5] = stack[6, 3, 4] = 18.0
    found = mean_of_stack(stack, *model(10), limit=5.0, near=3.0, radius=1.5)
    assert [tuple(i) for i in np.argwhere(found.use == HIT)] == [(3, 3, 3)]
    assert [tuple(i) for i in np.argwhere(found.use == NEAR_HIT)] == [(3, 2, 2), (3, 3, 4)]
    all_of_them = mean_of_stack(stack, *model(10), limit=5.0, near=-np.inf, radius=1.0)
    assert (all_of_them.use == NEAR_HIT).sum() == 4


def test_pixel_that_turns_hot_has_the_mean_of_all_frames():
    stack = frames(40, 1.0)
    stack[30:, 4, 4] += 80.0
    stack[12, 4, 4] += 900.0
    found = mean_of_stack(stack, *model(40))
    assert found.state[4, 4] == CHANGING
    assert (found.state == CHANGING).sum() == 1
    assert np.flatnonzero(found.use[:, 4, 4]).tolist() == [12]
    assert found.value[4, 4] == pytest.approx(np.delete(stack[:, 4, 4], 12).mean(), rel=1e-5)


def test_even_number_of_frames_of_a_pixel_with_two_rates():
    # the median lies between the two, and every frame deviates from it
    stack = frames(12, 1.0)
    stack[::2, 4, 4] += 200.0
    found = mean_of_stack(stack, *model(12))
    assert found.value[4, 4] == pytest.approx(stack[:, 4, 4].mean(), rel=1e-5)
    assert found.error[4, 4] > 0


def test_of_a_changing_pixel_long_frames_count_more():
    exptime = np.repeat([60.0, 1100.0], 10)
    stack = frames(20, 0.01, exptime)
    rates = np.where(np.arange(20) % 2, 2.0, 0.5)
    stack[:, 4, 4] = rates * exptime
    found = mean_of_stack(stack, *model(20, exptime), hits=0.001)
    assert found.state[4, 4] == CHANGING
    assert found.value[4, 4] == pytest.approx((rates * exptime).sum() / exptime.sum(), rel=1e-5)


def test_excluded_values_take_no_part():
    stack = frames(10, 3.0)
    excluded = np.zeros(stack.shape, dtype=bool)
    excluded[2:5] = True
    excluded[:, 7, 7] = True
    stack[2:5] += 1000.0
    found = mean_of_stack(stack, *model(10), excluded=excluded)
    assert ((found.use == EXCLUDED) == excluded).all()
    assert found.value[6, 6] == pytest.approx(np.delete(stack[:, 6, 6], [2, 3, 4]).mean(), rel=1e-4)


def test_no_pixel_is_without_value_and_uncertainty():
    stack = frames(2, 1.0)
    stack[:, 3, 3] = 500.0, 900.0
    found = mean_of_stack(stack, *model(2), hits=0.5)
    assert found.state[3, 3] == EMPTY
    assert found.value[3, 3] == 500.0
    # nobody knows what of it is a cosmic ray
    assert found.error[3, 3] > 500.0
    assert (found.error > 0).all()


# ------------------------------------------------------------------ the engine


def images(stack, exptime=0.0, gain=1.0, readnoise=4.0, dq=None):
    return [StackImage(one, dq, exptime, gain, readnoise) for one in stack]


@pytest.mark.parametrize("threads", [1, 3])
def test_engine_gives_the_sum_of_biases_in_any_tiles(monkeypatch, threads):
    stack = frames(9, 2.0)
    stack[3, 10, 5] += 300.0
    whole = mean_of_stack(stack, *model(9))
    monkeypatch.setattr("refstis.calibration.outliers.TILE_BYTES", 4 * 9 * SHAPE[1] * 4)
    found = reject_outliers(images(stack), RejectionParameters(sigmas=(5.0,), sky="none"), threads)
    np.testing.assert_allclose(found.sci, whole.value * 9, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.err, whole.error * 9, rtol=1e-6)
    np.testing.assert_array_equal(
        np.stack([found.rejected(n) for n in range(9)]), (whole.use == HIT) | (whole.use == NEAR_HIT)
    )
    assert found.rejected_count == np.count_nonzero(whole.use != USED)
    assert not found.dq.any()


def test_engine_gives_the_sum_of_darks_and_the_flags():
    dq = np.zeros(SHAPE, dtype="i2")
    dq[2, 2] = 16 | COSMIC_RAY
    stack = frames(6, 0.02, 1000.0)
    found = reject_outliers(
        images(stack, 1000.0, dq=dq), RejectionParameters(sigmas=(6.0, 4.0), sky="mode", bad_bits=0)
    )
    assert found.exptime == 6000.0
    assert np.median(found.sci) == pytest.approx(0.02 * 6000.0, rel=0.05)
    assert np.argwhere(found.dq).tolist() == [[2, 2]]
    assert found.dq[2, 2] == 16


def test_engine_refuses_what_it_cannot_judge():
    stack = frames(3, 1.0)
    parameters = RejectionParameters(sigmas=(5.0,), sky="none")
    with pytest.raises(ValueError, match=r"1 image\(s\)"):
        reject_outliers(images(stack[:1]), parameters)
    with pytest.raises(ValueError, match="different shapes"):
        reject_outliers([*images(stack), *images(stack[:, :5])], parameters)
    stack[1, 3, 3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        reject_outliers(images(stack), parameters)
