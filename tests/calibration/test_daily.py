"""Hot pixels from the darks nearest in time: births followed, cosmic rays and ordinary pixels left alone."""

import numpy as np
import pytest

from refstis.calibration.daily import nearness, prefer_nearest, weighted_median
from refstis.calibration.reference_image import ReferenceImage

EXPTIME, READNOISE = 1100.0, 6.2
DISTANCES = [-2.6, -1.9, -1.2, -0.6, -0.2, 0.4, 0.9, 1.3]


def half_of_weight(values, weights):
    """The weighted median by its definition, one pixel at a time."""
    total = 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        total += weight
        if total >= 0.5 * sum(weights):
            return value
    raise AssertionError


def test_weighted_median_is_where_half_of_the_weight_is_reached():
    generator = np.random.default_rng(1)
    images, weights = generator.normal(size=(7, 5, 6)), generator.uniform(0.1, 1.0, 7)
    expected = [[half_of_weight(images[:, y, x], weights) for x in range(6)] for y in range(5)]
    assert np.array_equal(weighted_median(images, weights), expected)


def test_equal_weights_give_the_median():
    images = np.random.default_rng(2).normal(size=(9, 4, 4))
    assert np.array_equal(weighted_median(images, np.ones(9)), np.median(images, axis=0))


@pytest.mark.parametrize(
    "distances", [[0.1, 5.0, 6.0, 7.0], [-9.0, -8.0, -7.5], [0.0, 0.0, 0.0, 0.0], DISTANCES]
)
def test_no_dark_outvotes_two_others(distances):
    weights = nearness(distances)
    assert weights.max() <= np.sort(weights)[-3:].sum() / 3 * (1 + 1e-12)
    assert (weights > 0).all()
    assert (np.diff(weights[np.argsort(np.abs(distances))]) <= 0).all()


def scene(seed=3, shape=(40, 50)):
    """Rates of darks before and after, and the superdark that is their mean."""
    generator = np.random.default_rng(seed)
    truth = np.full(shape, 0.01)
    truth[5, 5] = 0.8
    rates = [
        ((generator.poisson(truth * EXPTIME) + generator.normal(0, READNOISE, shape)) / EXPTIME).astype("f4")
        for _ in DISTANCES
    ]
    for number, days in enumerate(DISTANCES):
        rates[number][10, 10] = 0.01 if days < -0.3 else 0.5  # born half a day before
        rates[number][11, 11] = 0.5 if days < -0.3 else 0.01  # gone half a day before
    return rates


def superdark(rates, values):
    sci = np.mean(rates, axis=0).astype("f4")
    for (y, x), value in values.items():
        sci[y, x] = value
    err = np.full(sci.shape, 0.0025, dtype="f4")
    return ReferenceImage(sci, err, np.where(sci > 0.1, 16, 0).astype("i2"))


def test_a_pixel_that_turned_hot_or_cold_follows_the_nearest_darks():
    rates = scene()
    # What rejection of cosmic rays makes of them: the hot half of the frames is rejected.
    dark = superdark(rates, {(10, 10): 0.01, (11, 11): 0.2})
    result, replaced = prefer_nearest(dark, rates, DISTANCES, EXPTIME, READNOISE)
    assert {tuple(place) for place in np.argwhere(replaced)} == {(10, 10), (11, 11)}
    assert result.sci[10, 10] == np.float32(0.5)
    assert result.sci[11, 11] == np.float32(0.01)
    assert (result.dq[10, 10], result.dq[11, 11], result.dq[5, 5]) == (16, 0, 16)
    assert np.array_equal(result.sci[~replaced], dark.sci[~replaced])
    assert np.array_equal(result.err[~replaced], dark.err[~replaced])


def test_a_cosmic_ray_in_the_nearest_dark_changes_nothing():
    rates = scene()
    dark = superdark(rates, {(10, 10): 0.5, (11, 11): 0.01})
    rates[4][20:23, 20:30] = 5.0
    _, replaced = prefer_nearest(dark, rates, DISTANCES, EXPTIME, READNOISE)
    assert not replaced.any()


def test_uncertainty_of_a_replaced_pixel_is_that_of_a_weighted_median():
    """Scatter of the result over many pixels that all turned hot, against the ERR that it claims."""
    generator = np.random.default_rng(7)
    hot, shape = 1.0, (100, 100)
    rates = []
    for days in DISTANCES:
        counts = generator.poisson(hot * EXPTIME if days > -2.0 else 11.0, shape) + generator.normal(
            0, READNOISE, shape
        )
        rates.append((counts / EXPTIME).astype("f4"))
    # Few enough ordinary pixels aside would have no limit: the lower half stays dark in all of them.
    for rate in rates:
        rate[:80] = generator.normal(0.01, 0.006, (80, 100))
    dark = ReferenceImage(np.full(shape, 0.01, "f4"), np.full(shape, 0.002, "f4"), np.zeros(shape, "i2"))
    dark.sci[:80] += generator.normal(0, 0.002, (80, 100)).astype("f4")
    result, replaced = prefer_nearest(dark, rates, DISTANCES, EXPTIME, READNOISE)
    assert replaced[80:].all()
    ratio = result.sci[80:].std() / np.median(result.err[80:])
    assert 0.85 < ratio < 1.15
