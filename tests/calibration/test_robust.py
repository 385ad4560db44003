"""Clipped statistics and running medians, against plain Python."""

import statistics

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.calibration.robust import clip, median_filter_reflected, median_filter_zero_padded

TRIES = settings(deadline=None, derandomize=True, max_examples=30)


def slow_clip(values, sigma, iterations):
    """Mean, median and standard deviation after clipping about the median."""
    kept = np.asarray(values, dtype=np.float64)
    for _ in range(iterations):
        centre, spread = np.median(kept), kept.std()
        new = kept[(kept >= centre - sigma * spread) & (kept <= centre + sigma * spread)]
        if len(new) == len(kept):
            break
        kept = new
    return kept.mean(), np.median(kept), kept.std()


@pytest.mark.parametrize(("sigma", "iterations"), [(3.0, 40), (5.0, 40), (3.0, 1), (2.0, 3)])
def test_clip(sigma, iterations):
    generator = np.random.default_rng(1)
    image = generator.normal(10.0, 2.0, (60, 50)).astype(np.float32)
    image[generator.random(image.shape) < 0.05] += 500
    found = clip(image, sigma, iterations)
    assert tuple(found) == pytest.approx(slow_clip(image.ravel(), sigma, iterations), rel=1e-5)
    # to the last bit it is astropy's, also where the byte order makes numpy add in another way
    for stored in (image, np.tile(image, (7, 9)).astype(">f4")):
        clipped = sigma_clipped_stats(stored, sigma=sigma, maxiters=iterations)
        assert tuple(clip(stored, sigma, iterations)) == tuple(clipped)


def one_sided(generator, size):
    """Values of which so many are high that the median of the others is another one."""
    values = generator.normal(10.0, 2.0, size).astype(np.float32)
    return np.where(generator.random(size) < 0.2, values + generator.exponential(40.0, size), values)


SAMPLES = {
    "normal": lambda generator, size: generator.normal(-3.0, 2.0, size),
    "hot": one_sided,
    "ties": lambda generator, size: generator.poisson(4.0, size),
    "two values": lambda generator, size: generator.random(size) < 0.5,
    "one value": lambda generator, size: np.full(size, 2.1),
    "far apart": lambda generator, size: generator.standard_cauchy(size),
}


# to either side of where a sample is large enough, of numpy's blocks, and of the runs that are copied at a time
@pytest.mark.parametrize("size", [1, 2, 65, 8191, 8193, 97_659, 97_723, 300_001])
@pytest.mark.parametrize("kind", SAMPLES)
def test_clip_is_astropys_in_every_bit(kind, size):
    generator = np.random.default_rng(size)
    image = SAMPLES[kind](generator, size).astype(np.float32)
    before = image.copy()
    for sigma, iterations in ((3.0, 40), (5.0, 40), (1.5, 2), (4.0, 1)):
        for stored in (image, image.astype(">f4")):
            expected = sigma_clipped_stats(stored, sigma=sigma, maxiters=iterations)
            found = clip(stored, sigma, iterations)
            assert np.array(found, np.float32).tobytes() == np.array(expected, np.float32).tobytes()
    assert image.tobytes() == before.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_cannot_be_clipped(bad):
    image = np.ones(100_000, dtype=np.float32)
    image[5] = bad
    with pytest.raises(ValueError, match="not all finite"):
        clip(image, 3.0, 5)


def window(image, y, x, kernel, outside):
    ny, nx = image.shape
    values = []
    for j in range(y - kernel[0] // 2, y + kernel[0] // 2 + 1):
        for i in range(x - kernel[1] // 2, x + kernel[1] // 2 + 1):
            if outside == "zero":
                values.append(image[j, i] if 0 <= j < ny and 0 <= i < nx else 0.0)
            else:  # reflected about the edge of the outermost pixel: d c b a | a b c d | d c b a
                jj, ii = j % (2 * ny), i % (2 * nx)
                values.append(image[min(jj, 2 * ny - 1 - jj), min(ii, 2 * nx - 1 - ii)])
    return statistics.median(values)


@given(st.integers(0, 10**6), st.sampled_from([(3, 15), (5, 5), (1, 3), (3, 1)]))
@TRIES
def test_running_medians(seed, kernel):
    image = np.random.default_rng(seed).normal(3.0, 1.0, (8, 17)).astype(np.float32)
    for function, outside in ((median_filter_zero_padded, "zero"), (median_filter_reflected, "reflected")):
        expected = [[window(image, y, x, kernel, outside) for x in range(17)] for y in range(8)]
        found = function(image, kernel)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))


def test_edges_differ():
    image = np.full((9, 20), 5.0, dtype=np.float32)
    assert median_filter_zero_padded(image, (3, 15))[0, 0] == 0.0
    assert median_filter_reflected(image, (3, 15))[0, 0] == 5.0
