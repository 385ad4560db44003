"""Statistics of the good pixels, summed pixel by pixel in double."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.calibration.statistics import image_statistics


def model(sci, err, dq, bits):
    kept = []
    for value, sigma, flags in zip(sci.ravel(), err.ravel(), dq.ravel(), strict=True):
        value, sigma = float(value), float(sigma)
        if flags & bits:
            continue
        if sigma > 0:
            kept.append((value, value / sigma, sigma))
        elif value <= 0:
            kept.append((value, 0.0, sigma))
    if not kept:
        return (0, *[0.0] * 9)
    figures = [len(kept)]
    for column in zip(*kept, strict=True):
        total = 0.0
        for number in column:
            total += number
        figures += [min(column), max(column), total / len(kept)]
    return tuple(figures)


PIXELS = st.tuples(
    st.floats(-50, 500, width=32), st.sampled_from([0.0, 0.5, 3.25, -1.0]), st.sampled_from([0, 16, 1024, 17])
)


@given(st.lists(PIXELS, min_size=1, max_size=30), st.sampled_from([31743, 32767, 1024, 0, -1]))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_statistics(pixels, bits):
    sci, err = (np.array([[p[i] for p in pixels]], dtype=np.float32) for i in (0, 1))
    dq = np.array([[p[2] for p in pixels]], dtype=np.int16)
    assert tuple(image_statistics(sci, err, dq, bits)) == model(sci, err, dq, bits)


def test_statistics_by_hand():
    sci = np.array([[4.0, 8.0], [-2.0, 5.0]], dtype=np.float32)
    err = np.array([[2.0, 2.0], [0.0, 0.0]], dtype=np.float32)
    found = image_statistics(sci, err, np.array([[0, 1024], [0, 0]], dtype=np.int16), 31743)
    # the last pixel has a value and no uncertainty: left out of everything; 1024 is not in 31743
    assert found.pixels == 3
    assert (found.minimum, found.maximum, found.mean) == (-2.0, 8.0, 10.0 / 3)
    assert (found.snr_minimum, found.snr_maximum, found.snr_mean) == (0.0, 4.0, 2.0)
    assert (found.err_minimum, found.err_maximum, found.err_mean) == (0.0, 2.0, 4.0 / 3)


def test_no_good_pixel():
    zero = np.zeros((2, 2), dtype=np.float32)
    assert image_statistics(zero, zero, np.full((2, 2), 16, dtype=np.int16), 16).pixels == 0


def test_means_are_not_summed_in_pairs():
    generator = np.random.default_rng(2)
    sci = (10.0 ** generator.uniform(-8, 8, (300, 300))).astype(
        np.float32
    )  # of any size, so that additions round
    ones = np.ones_like(sci)
    found = image_statistics(sci, ones, np.zeros(sci.shape, dtype=np.int16), 0).mean
    total = 0.0
    for value in sci.ravel().tolist():
        total += value
    assert found == total / sci.size
    assert found == pytest.approx(math.fsum(sci.ravel().tolist()) / sci.size, rel=1e-12)
    assert found != sci.astype("f8").sum() / sci.size
