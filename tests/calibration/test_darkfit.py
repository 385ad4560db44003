"""Dark rates fitted to a stack: against what the stack was drawn from, and against slower ways to the same numbers."""

import itertools

import numpy as np
import pytest

from refstis.calibration import darkfit
from refstis.calibration.darkfit import DarkModel, Recipe

LOGS, SLOPES = np.array([-2.5, -1.25, 1.0]), np.array([0.053, 0.088, 0.058])
READ = 6.0


def model(number, warmth=2.0, usual=0.0175, scatter=0.008):
    return DarkModel(
        np.full(number, 1100.0),
        np.full(number, warmth) if np.isscalar(warmth) else np.asarray(warmth),
        np.full(number, READ**2),
        LOGS,
        SLOPES,
        scatter,
        usual,
    )


def expected(rate, about, slope=None):
    """Electrons of each dark and pixel."""
    slope = np.interp(np.log10(rate), LOGS, SLOPES) if slope is None else slope
    return about.exptimes[:, None, None] * rate * (1 + slope * about.warmth[:, None, None])


def drawn(rate, about, seed=1, slope=None):
    """A stack with Poisson and read noise."""
    generator = np.random.default_rng(seed)
    mean = expected(rate, about, slope)
    return (generator.poisson(mean) + generator.normal(0, READ, mean.shape)).astype("f4")


def everything(stack):
    return lambda rows: stack[:, rows]


def no_flags(rows):
    return None


def combined(stack, about, flags=no_flags, threads=1, **recipe):
    return darkfit.combine_darks(
        everything(stack), flags, stack.shape[1:], about, Recipe(**recipe), threads=threads
    )


def test_without_noise_the_guess_is_the_rate():
    rate = np.geomspace(0.005, 20.0, 24).reshape(4, 6)
    about = model(7, np.linspace(-1.0, 3.0, 7))
    found = darkfit.first_guess(expected(rate, about).astype("f4"), about)
    # the slope is that of a rate that was found with another slope, once
    np.testing.assert_allclose(found, rate, rtol=2e-3)


def test_hits_and_what_touches_them():
    about = model(12)
    rate = np.full((7, 9), 0.02)
    stack = expected(rate, about).astype("f4")
    stack[5, 3, 4] += 300.0
    state = darkfit.find_hits(stack, rate, about)
    beside = 2 + np.searchsorted(darkfit.CHARGE_EDGES, 300.0)
    assert state[5, 2:5, 3:6].tolist() == [[0, beside, 0], [beside, 1, beside], [0, beside, 0]]
    assert np.count_nonzero(state) == 5


def test_a_pixel_that_is_hit_too_often_is_no_cosmic_ray():
    about = model(12)
    rate = np.full((5, 5), 0.02)
    stack = expected(rate, about).astype("f4")
    stack[:8, 2, 2] += 300.0
    state = darkfit.find_hits(stack, rate, about)
    assert np.count_nonzero(state) == np.count_nonzero(state == 1) == 8


@pytest.mark.parametrize("seed", range(6))
def test_segments_are_the_cheapest_of_all_divisions(seed):
    generator = np.random.default_rng(seed)
    series = generator.normal(10.0, 1.0, 9)
    series[generator.integers(3, 8) :] += generator.choice([0.0, 5.0, 12.0])
    series[generator.integers(0, 9)] += 30.0
    caps = np.where(generator.random(9) < 0.5, 16.0, 30.0)
    outlier, penalty = 4.0, 20.0

    def cost(part, cap):
        level = np.sort(part)[(len(part) - 1) // 2]
        for _ in range(2):
            level = part[part <= level + outlier].mean()
        square = (part - level) ** 2
        return np.where(part > level, np.minimum(square, cap), square).sum()

    def total(cuts):
        edges = [0, *cuts, 9]
        return penalty * len(cuts) + sum(cost(series[a:b], caps[a:b]) for a, b in itertools.pairwise(edges))

    best = min(total(cuts) for k in range(9) for cuts in itertools.combinations(range(1, 9), k))
    labels = np.empty(9, dtype=np.int64)
    levels = darkfit.segments(series, outlier, caps, penalty, labels)
    assert labels[0] == 0
    assert labels[-1] == len(levels) - 1
    assert total((np.flatnonzero(np.diff(labels)) + 1).tolist()) == pytest.approx(best)


def test_rates_are_unbiased_and_their_variance_is_true():
    about = model(30, np.linspace(1.0, 3.0, 30), scatter=0.0)
    rate = np.repeat(np.array([0.018, 0.06, 0.3, 2.0]), 2500).reshape(100, 100)
    stack = drawn(rate, about)
    found, variance, stretches = darkfit.fit_rates(stack, rate, np.zeros(stack.shape, "u1"), about)
    pull = (found - rate) / np.sqrt(variance)
    for block in pull.reshape(4, 2500):
        # 2500 pulls: mean within 4 / sqrt(2500), deviation within 4 / sqrt(5000)
        assert abs(block.mean()) < 0.08
        assert abs(block.std() - 1.0) < 0.06
    assert np.count_nonzero(stretches != 1) < 20
    # the least variance that unbiased estimates can have (Rao and Cramer)
    signal = expected(rate, about)
    information = np.sum((signal / rate) ** 2 / (READ**2 + signal), axis=0)
    np.testing.assert_allclose(np.median(variance * information), 1.0, rtol=1e-2)


def test_a_hot_pixel_has_a_slope_of_its_own():
    generator = np.random.default_rng(8)
    about = model(56, 2.0 + generator.uniform(-1.3, 1.3, 56))
    rate = np.full((40, 50), 3.0)
    slope = np.interp(np.log10(3.0), LOGS, SLOPES) + generator.normal(0, 0.008, rate.shape)
    stack = drawn(rate, about, seed=9, slope=slope)
    nothing = np.zeros(stack.shape, "u1")
    found, variance, _ = darkfit.fit_rates(stack, rate, nothing, about)
    one, alone, _ = darkfit.fit_rates(stack, rate, nothing, about._replace(slope_scatter=0.0), penalty=0.0)
    assert np.std(found - rate) < 0.7 * np.std(one - rate)
    assert np.std((found - rate) / np.sqrt(variance)) == pytest.approx(1.0, abs=0.07)
    assert np.std((one - rate) / np.sqrt(alone)) > 1.5
    # at the darks' own temperature nothing of the slope is left
    there, little, _ = darkfit.fit_rates(stack, rate, nothing, about, exact_at=2.0)
    truth = rate * (1 + slope * 2.0)
    assert np.std((there - truth) / np.sqrt(little)) == pytest.approx(1.0, abs=0.07)
    assert np.median(little) < 0.5 * np.median(variance)


def test_temperatures_from_hot_pixels():
    generator = np.random.default_rng(3)
    warmth = 2.0 + generator.uniform(-1.3, 1.3, 40)
    rate = 10.0 ** generator.uniform(-0.5, 1.2, 800)
    slope = np.interp(np.log10(rate), LOGS, SLOPES) + generator.normal(0, 0.008, rate.size)
    mean = 1100.0 * rate * (1 + slope * warmth[:, None])
    samples = generator.poisson(mean) + generator.normal(0, READ, mean.shape)
    header = np.round(warmth / 0.38) * 0.38
    found, uncertainty = darkfit.frame_temperatures(samples, model(40, header))
    error = found - warmth
    # the mean of the headers is known to 0.38 / sqrt(12 * 40), which is 0.017; that of the steps' common part better
    assert abs(error.mean()) < 0.012
    assert 0.002 < uncertainty < 0.012
    assert np.std(header - warmth) > 0.08
    assert np.std(error) < 0.02


def test_the_zero_of_temperatures_lies_between_the_steps_that_there_are():
    """Steps of the headers are not all of one width: 0.35 below and 0.39 above."""
    steps = (
        np.array([17.6829, 18.0357, 18.3886, 18.7414, 19.0943, 19.4471, 19.8, 20.1923, 20.5846, 20.9769])
        - 18.0
    )
    errors, alone, told = [], [], []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        warmth = generator.uniform(0.2, 2.9, 50)
        header = steps[np.argmin(np.abs(warmth[:, None] - steps), axis=1)]
        rate = 10.0 ** generator.uniform(-0.5, 1.2, 300)
        slope = np.interp(np.log10(rate), LOGS, SLOPES)
        mean = 1100.0 * rate * (1 + slope * warmth[:, None])
        found, uncertainty = darkfit.frame_temperatures(generator.poisson(mean) * 1.0, model(50, header))
        errors.append(np.mean(found - warmth))
        alone.append(np.mean(header - warmth))
        told.append(uncertainty)
    assert np.sqrt(np.mean(np.square(errors))) < np.sqrt(np.mean(np.square(alone))) / 1.5
    assert 0.5 < np.sqrt(np.mean(np.square(errors)) / np.mean(np.square(told))) < 1.3
    uncertain = combined(drawn(np.full((40, 40), 5.0), model(50, header)), model(50, header))
    certain = combined(
        drawn(np.full((40, 40), 5.0), model(50, header)), model(50, header), temperature_prior=0.0
    )
    assert (uncertain.variance > certain.variance).all()


def with_rays(rate, about, share, wing, seed=5):
    """A stack with tracks of two pixels, each with one neighbour more that got little."""
    generator = np.random.default_rng(seed)
    stack = drawn(rate, about, seed=seed)
    charge = (generator.random(stack.shape) < share) * (200.0 + generator.exponential(600.0, stack.shape))
    stack += charge.astype("f4")
    stack[:, 1:] += 0.3 * charge[:, :-1].astype("f4")
    stack[:, :, 1:] += (charge[:, :, :-1] > 0) * generator.exponential(wing, stack[:, :, 1:].shape).astype(
        "f4"
    )
    return stack


def test_wings_of_cosmic_rays_leave_no_bias():
    about = model(40, scatter=0.0)
    rate = np.full((96, 100), 0.018)
    stack = with_rays(rate, about, 0.02, 12.0)
    clean = drawn(rate, about, seed=5)
    unit = np.median(np.sqrt(combined(clean, about).variance))
    kept, fitted, left = (combined(stack, about, neighbours=how) for how in ("keep", "fit", "leave_out"))
    bias = {
        name: np.mean(made.rate - rate) / unit
        for name, made in (("keep", kept), ("fit", fitted), ("leave", left))
    }
    # 12 electrons in 2 % of the values are 0.2 of the 1.2 electrons to which a mean of 40 is known
    assert bias["keep"] > 0.1
    assert abs(bias["fit"]) < 0.05
    assert abs(bias["leave"]) < 0.05
    # of the last row, whose tracks lie outside, and of the few single hits nobody can tell what they are
    inner = slice(0, -1)
    quartiles = {}
    for name, made in (("fit", fitted), ("leave", left)):
        pull = ((made.rate - rate) / np.sqrt(made.variance))[inner]
        assert np.diff(np.percentile(pull, [25, 75])) / 1.349 == pytest.approx(1.0, abs=0.05)
        quartiles[name] = np.diff(np.percentile((made.rate - rate)[inner], [25, 75]))
    # what is subtracted is not lost
    assert quartiles["fit"] < quartiles["leave"]


def test_a_pixel_that_turned_hot_has_the_mean_of_its_rates():
    about = model(30, scatter=0.0)
    rate = np.full((32, 32), 0.018)
    stack = drawn(rate, about)
    later = np.array([3, 12, 24, 28, 29])
    for k, first in enumerate(later):
        stack[first:, 4 + 5 * k, 7] = drawn(np.array([[0.5]]), about, seed=k)[first:, 0, 0]
    stack[:9, 29, 20] = drawn(np.array([[0.5]]), about, seed=20)[:9, 0, 0]  # annealed
    stack[::2, 16, 20] = drawn(np.array([[0.3]]), about, seed=21)[
        ::2, 0, 0
    ]  # switches in an even number of darks
    made = combined(stack, about)
    for k, first in enumerate(later):
        truth = (first * 0.018 + (30 - first) * 0.5) / 30
        at = 4 + 5 * k, 7
        assert abs(made.rate[at] - truth) < 5 * np.sqrt(made.variance[at]), first
        assert made.variance[at] < (0.02 * truth + 0.003) ** 2
        assert made.stretches[at] == 2
    for at, truth in (((29, 20), (9 * 0.5 + 21 * 0.018) / 30), ((16, 20), 0.159)):
        assert abs(made.rate[at] - truth) < 5 * np.sqrt(made.variance[at])
        assert made.variance[at] < (0.02 * truth + 0.003) ** 2
    changed = np.count_nonzero(made.stretches > 1)
    assert 7 <= changed <= 12
    # without changes the hot darks of a pixel are taken for cosmic rays
    assert combined(stack, about, penalty=0.0).rate[14, 7] < 0.03


def test_each_rate_of_a_pixel_has_its_own_slope():
    about = model(40, np.linspace(1.0, 3.0, 40), scatter=0.0)
    rate = np.full((32, 32), 0.018)
    stack = expected(rate, about).astype("f4")
    stack[22:, 9, 9] = expected(np.array([[7.0]]), about)[22:, 0, 0]
    made = combined(stack, about, exact_at=2.0)
    at_two_degrees = [r * (1.0 + 2.0 * np.interp(np.log10(r), LOGS, SLOPES)) for r in (0.018, 7.0)]
    assert made.rate[9, 9] == pytest.approx((22 * at_two_degrees[0] + 18 * at_two_degrees[1]) / 40, rel=2e-3)
    longest = combined(stack, about, exact_at=2.0, longest=True)
    assert longest.rate[9, 9] == pytest.approx(at_two_degrees[0], rel=2e-2)


def test_a_dark_beside_a_ray_tells_that_a_pixel_was_not_hot_yet():
    about = model(14, scatter=0.0)
    rate = np.full((32, 32), 0.018)
    stack = drawn(rate, about)
    stack[1:, 9, 9] = drawn(np.array([[0.5]]), about, seed=2)[1:, 0, 0]
    # raises the neighbours of the pixel in the only dark that has another rate, and not the pixel
    stack[0, 8, 10] += 500.0
    stack[0, 9, 10] += 45.0
    made = combined(stack, about, longest=True)
    assert made.stretches[9, 9] == 2
    assert abs(made.rate[9, 9] - 0.5) < 0.02
    # the dark that disagrees is in the variance
    assert made.variance[9, 9] == pytest.approx(0.48**2 / 14, rel=0.2)


def test_a_change_before_the_last_darks_is_seen_where_a_ray_hit_beside_it_in_the_last():
    about = model(14, scatter=0.0)
    rate = np.full((32, 32), 0.018)
    stack = drawn(rate, about)
    stack[12:, 9, 9] = drawn(np.array([[4.0]]), about, seed=2)[12:, 0, 0]
    stack[13, 10, 9:12] += 900.0
    made = combined(stack, about)
    assert made.stretches[9, 9] == 2
    assert made.rate[9, 9] == pytest.approx((12 * 0.018 + 2 * 4.0) / 14, rel=0.02)


def test_hits_that_may_have_been_changes_are_in_the_variance():
    about = model(14, scatter=0.0)
    rate = np.full((32, 32), 0.018)
    stack = drawn(rate, about)
    share = 900.0 / (1100.0 * 14 * (1.0 + 2.0 * np.interp(np.log10(0.018), LOGS, SLOPES)))
    # no track beside the first; the second, in the last dark, has one
    stack[6, 9, 9] += 900.0
    stack[13, 20, 20:22] += 900.0
    changed = np.zeros(rate.shape, dtype=bool)
    changed[20, 20] = True
    made = combined(stack, about)
    told = darkfit.combine_darks(everything(stack), no_flags, rate.shape, about, Recipe(), changed=changed)
    usual = np.median(made.variance)
    assert made.variance[9, 9] - usual == pytest.approx(0.5 * share**2, rel=0.15)
    # of pixels that never changed a track is believed
    assert made.variance[20, 20] < 1.5 * usual
    assert told.variance[20, 20] - usual == pytest.approx(0.1 * share**2, rel=0.15)
    np.testing.assert_array_equal(told.rate, made.rate)


def test_where_nothing_is_left_an_uncertainty_is():
    about = model(6)
    rate = np.full((8, 9), 0.02)
    stack = drawn(rate, about)
    state = np.zeros(stack.shape, "u1")
    state[:, 4, 4] = 1
    found, variance, stretches = darkfit.fit_rates(stack, rate, state, about, penalty=0.0)
    assert stretches[4, 4] == 0
    assert found[4, 4] == 0.02
    assert variance[4, 4] == pytest.approx((READ**2 + 0.02 * 1100) / 1100**2)
    assert (variance > 0).all()


def test_blocks_and_threads_make_no_difference(monkeypatch):
    about = model(9, np.linspace(1, 3, 9))
    rate = np.random.default_rng(2).uniform(0.015, 0.02, (75, 40))
    rate[::9, ::7] = 0.6
    stack = with_rays(rate, about, 0.02, 12.0)
    one, two = combined(stack, about), combined(stack, about, threads=3)
    for a, b in zip(one[:4], two[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(darkfit, "_ROWS", 80)
    whole = combined(stack, about)
    np.testing.assert_allclose(whole.rate, one.rate, rtol=1e-9)
    np.testing.assert_array_equal(whole.stretches, one.stretches)


def test_flags_are_those_of_darks_that_were_not_hit():
    about = model(8)
    rate = np.full((6, 7), 0.02)
    stack = expected(rate, about).astype("f4")
    flags = np.zeros(stack.shape, "i2")
    stack[3, 2, 2] += 40000.0
    flags[3, 2, 2] = 256
    flags[4, 5, 5], flags[6, 5, 5] = 4, 512
    made = combined(stack, about, flags=everything(flags))
    assert made.flags[2, 2] == 0
    assert made.flags[5, 5] == 516
    assert np.count_nonzero(made.flags) == 1


def test_read_noise_is_that_of_the_darks():
    about = model(20, scatter=0.0)
    generator = np.random.default_rng(4)
    stack = drawn(np.full((96, 96), 0.018), about)
    stack[11] += generator.normal(0, 8.0, stack[11].shape).astype("f4")
    made = combined(stack, about)
    noise = np.sqrt(made.model.variances)
    assert noise[11] == pytest.approx(10.0, abs=0.5)
    assert np.delete(noise, 11) == pytest.approx(READ, abs=0.3)


def test_noise_of_superbiases():
    errors = [np.full((2, 2), 0.6), np.full((2, 2), 0.8)]
    found = darkfit.superbias_variance(errors, [0.5, 0.5], 1250.0)
    np.testing.assert_allclose(found, (0.3**2 + 0.4**2) / 1250.0**2)
    assert darkfit.superbias_variance([], [], 1250.0) == 0.0
