"""The random numbers: distributions, and the same bits everywhere."""

import numpy as np
import pytest
from scipy import stats

from refstis.simulation import streams

SIZE = 400_000


def test_streams_of_different_names_differ_and_of_equal_names_agree():
    first = streams.uniform_array(streams.stream(1, "a"), 1000)
    assert np.array_equal(first, streams.uniform_array(streams.stream(1, "a"), 1000))
    other = streams.uniform_array(streams.stream(1, "b"), 1000)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.15


def test_uniform_numbers_are_uniform():
    values = streams.uniform_array(streams.stream("uniform"), SIZE)
    assert values.min() > 0.0
    assert values.max() < 1.0
    assert stats.kstest(values, "uniform").pvalue > 1e-4


def test_normal_numbers_are_normal_into_the_tails():
    values = streams.normal_array(streams.stream("normal"), 4_000_000)
    assert values.mean() == pytest.approx(0.0, abs=4 / 2000)
    assert values.std() == pytest.approx(1.0, abs=4 / 2800)
    for limit in (1.0, 2.0, 3.0, 4.0):
        expected = 2.0 * stats.norm.sf(limit) * values.size
        assert abs((np.abs(values) > limit).sum() - expected) < 5.0 * expected**0.5


@pytest.mark.parametrize("mean", [0.004, 0.37, 1.0, 4.7, 20.3, 63.99, 129.4, 800.2])
def test_poisson_numbers_follow_the_law(mean):
    values = streams.poisson_array(streams.stream("poisson", mean), np.full(SIZE, mean))
    observed = np.bincount(values)
    expected = stats.poisson.pmf(np.arange(observed.size), mean) * SIZE
    use = expected > 10.0
    chi2 = ((observed - expected) ** 2 / np.maximum(expected, 1e-9))[use].sum()
    assert stats.chi2.sf(chi2, use.sum()) > 1e-4


def test_poisson_numbers_with_large_means_have_the_right_moments():
    values = streams.poisson_array(streams.stream("large"), np.full(SIZE, 5000.0))
    assert values.mean() == pytest.approx(5000.0, abs=5.0 * (5000.0 / SIZE) ** 0.5)
    assert values.var() == pytest.approx(5000.0, rel=0.02)


def test_own_exponential_and_logarithm_agree_with_the_library():
    x = np.linspace(-650.0, 650.0, 10_001)
    assert np.allclose(streams.exp_array(x), np.exp(x), rtol=1e-14, atol=0.0)
    y = np.exp(np.linspace(-30.0, 30.0, 10_001))
    assert np.allclose(streams.log_array(y), np.log(y), rtol=1e-14, atol=1e-15)
