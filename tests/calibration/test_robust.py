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
