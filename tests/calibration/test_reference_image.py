"""Reference images on the pixels of an exposure: windows, binning, scale, and uncertainties in quadrature."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.calibration.geometry import PixelGrid
from refstis.calibration.reference_image import ReferenceImage, combined_uncertainty, match_reference

UNBINNED = PixelGrid()


def reference(shape, seed=0):
    generator = np.random.default_rng(seed)
    return ReferenceImage(
        generator.normal(1.0, 5.0, shape).astype(np.float32),
        generator.random(shape).astype(np.float32),
        (2 ** generator.integers(0, 10, shape)).astype(np.int16),
    )


def binned(image, x0, y0, xbin, ybin, shape):
    out = ReferenceImage(np.zeros(shape, "f4"), np.zeros(shape, "f4"), np.zeros(shape, "i2"))
    for j in range(shape[0]):
        for i in range(shape[1]):
            total, square, flags = np.float32(0), np.float32(0), 0
            for y in range(y0 + j * ybin, y0 + (j + 1) * ybin):
                for x in range(x0 + i * xbin, x0 + (i + 1) * xbin):
                    total = total + image.sci[y, x]
                    square = square + image.err[y, x] * image.err[y, x]
                    flags |= int(image.dq[y, x])
            out.sci[j, i], out.err[j, i], out.dq[j, i] = total, np.float32(math.sqrt(float(square))), flags
    return out


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_reference_of_the_same_pixels_is_taken_as_it_is():
    image = reference((6, 8))
    assert match_reference(image, UNBINNED, (6, 8), UNBINNED) is image


@pytest.mark.parametrize(
    ("binning", "ltv", "corner"),
    [
        ((2, 2), (-0.25, 0.25), (1, 0)),  # trimmed 2 x 2 frames begin at the second column
        ((4, 4), (0.125, 0.375), (1, 0)),
        ((4, 4), (-0.375, 0.375), (3, 0)),
        ((4, 1), (-0.375, 0.0), (3, 0)),
        ((1, 2), (0.0, 0.25), (0, 0)),
        ((4, 2), (0.125, -0.75), (1, 2)),
    ],
)
def test_sums_over_the_pixels_of_a_binned_exposure(binning, ltv, corner):
    image = reference((24, 30))
    shape = (20 // binning[1], 24 // binning[0])
    found = match_reference(image, UNBINNED, shape, PixelGrid((1 / binning[0], 1 / binning[1]), ltv))
    assert_same(found, binned(image, *corner, *binning, shape))


def test_sums_run_along_x_first():
    # in another order the float32 sum of these four would be 0 or 1
    block = np.array([[2.0**24, 1.0], [-(2.0**24), 1.0]], dtype=np.float32)
    image = ReferenceImage(block, np.zeros_like(block), np.zeros((2, 2), dtype=np.int16))
    found = match_reference(image, UNBINNED, (1, 1), PixelGrid((0.5, 0.5), (0.25, 0.25)))
    assert found.sci[0, 0] == 1.0
    assert found.sci[0, 0] == ((block[0, 0] + block[0, 1]) + block[1, 0]) + block[1, 1]


def test_window_of_a_larger_reference():
    image = reference((24, 30))
    found = match_reference(image, UNBINNED, (10, 12), PixelGrid((1.0, 1.0), (-3.0, -5.0)))
    assert_same(found, ReferenceImage(*(plane[5:15, 3:15] for plane in image)))


def test_reference_binned_half_as_much():
    image = reference((12, 12))
    found = match_reference(
        image, PixelGrid((0.5, 0.5), (0.25, 0.25)), (6, 6), PixelGrid((0.25, 0.25), (0.375, 0.375))
    )
    assert_same(found, binned(image, 0, 0, 2, 2, (6, 6)))


def test_begin_is_cut_towards_zero():
    # the exposure begins 3 unbinned pixels in, which is 1.5 pixels of the reference
    image = reference((12, 12))
    found = match_reference(
        image, PixelGrid((0.5, 0.5), (0.25, 0.25)), (4, 4), PixelGrid((0.5, 0.5), (-1.25, 0.25))
    )
    assert_same(found, ReferenceImage(*(plane[:4, 1:5] for plane in image)))


@pytest.mark.parametrize(
    ("reference_ltm", "ltm", "ltv", "shape", "words"),
    [
        ((0.5, 0.5), (1.0, 1.0), (0.0, 0.0), (4, 4), "coarser"),
        ((1.0, 0.5), (0.5, 1.0), (0.0, 0.0), (4, 4), "coarser"),
        ((1 / 3, 1.0), (0.25, 1.0), (0.0, 0.0), (2, 2), "does not divide"),
        ((1.0, 1.0), (1.0, 1.0), (0.0, 0.0), (13, 12), "does not cover"),
        ((1.0, 1.0), (1.0, 1.0), (19.0, 0.0), (12, 12), "overscan"),
        ((1.0, 1.0), (0.5, 0.5), (0.25, 0.25), (7, 6), "does not cover"),
    ],
)
def test_references_that_do_not_fit(reference_ltm, ltm, ltv, shape, words):
    with pytest.raises(ValueError, match=words):
        match_reference(reference((12, 12)), PixelGrid(reference_ltm), shape, PixelGrid(ltm, ltv))


def test_scale_is_taken_in_float32():
    image = reference((4, 5))
    factor = np.float32(1100.1)
    scaled = image.scaled(1100.1)
    assert_same(scaled, ReferenceImage(image.sci * factor, image.err * factor, image.dq))
    assert image.scaled(1) is image


@given(st.lists(st.tuples(st.floats(0, 300, width=32), st.floats(0, 300, width=32)), min_size=1, max_size=20))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_uncertainties_in_quadrature(pairs):
    first, second = (np.array([p[i] for p in pairs], dtype=np.float32) for i in (0, 1))
    found = combined_uncertainty(first, second)
    assert found.dtype == np.float32
    expected = [np.float32(math.sqrt(float(a * a + b * b))) for a, b in zip(first, second, strict=True)]
    assert found.tolist() == [float(value) for value in expected]


def test_squares_are_added_in_float32():
    generator = np.random.default_rng(1)
    first, second = (generator.random(2000).astype(np.float32) for _ in range(2))
    double = np.sqrt(first.astype("f8") ** 2 + second.astype("f8") ** 2).astype(np.float32)
    assert (combined_uncertainty(first, second) != double).any()
    np.testing.assert_allclose(combined_uncertainty(first, second), double, rtol=2e-7)
