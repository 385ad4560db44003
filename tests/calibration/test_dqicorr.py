"""Data quality initialization: saturation, the bad pixel table on every binning, the edges of the aperture."""

import math

import numpy as np
import pytest
from frames import RAW_SIZE, raw_ltv
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.calibration.dqicorr import BadPixelRun, aperture_mask, bad_pixel_mask, saturated_pixels
from refstis.calibration.geometry import PixelGrid

TRIES = settings(deadline=None, derandomize=True, max_examples=60)


# -------------------------------------------------------------- saturation


@pytest.mark.parametrize(
    ("value", "limit", "saturated"),
    [
        (33000.0, 33000.0, False),  # exactly at the threshold
        (33000.998, 33000.0, False),  # the fraction is cut off first
        (33001.0, 33000.0, True),
        (32999.998, 33000.0, False),
        (33000.9, 33000.5, False),  # 33000 is not above 33000.5
        (33001.2, 33000.5, True),
        (-0.7, -0.5, True),  # cut towards zero: 0 is above -0.5
        (-1.7, -1.5, True),
        (65535.0, 65534.0, True),
    ],
)
def test_saturation_cuts_the_value_and_compares_strictly(value, limit, saturated):
    frame = (
        np.array([[0.0, value]], dtype=np.float32)
        if limit > 0
        else np.array([[-9.0, value]], dtype=np.float32)
    )
    assert saturated_pixels(frame, limit).tolist() == ([1] if saturated else [])


@given(
    st.lists(st.integers(32990, 33010), min_size=6, max_size=6), st.sampled_from([33000.0, 33000.4, 32995.0])
)
@TRIES
def test_saturation_of_integers(values, limit):
    raw = np.array(values, dtype=np.uint16).reshape(2, 3)
    expected = [i for i, v in enumerate(values) if v > np.float32(limit)]
    assert saturated_pixels(raw, limit).tolist() == expected
    assert saturated_pixels(raw.astype(np.float32), limit).tolist() == expected


# -------------------------------------------------------------- bad pixels


def put(mask, x, y, run):
    for k in range(run.length):
        i, j = (x + k, y) if run.axis == 1 else (x, y + k)
        if 0 <= i < mask.shape[1] and 0 <= j < mask.shape[0]:
            mask[j, i] |= np.int16(run.value)


def inside(run, size):
    return 0 <= run.pix1 - 1 < size[0] and 0 <= run.pix2 - 1 < size[1]


def unbinned_model(runs, size, shape, ltv):
    mask = np.zeros(shape, dtype=np.int16)
    for run in runs:
        if inside(run, size):
            put(mask, int(run.pix1 - 1 + ltv[0]), int(run.pix2 - 1 + ltv[1]), run)
    return mask


def binned_model(runs, size, shape, binning, ltv):
    """Pixel i covers the reference pixels that its edges enclose; those wholly inside the area get the OR of theirs."""
    reference = np.zeros((size[1], size[0]), dtype=np.int16)
    for run in runs:
        if inside(run, size):
            put(reference, run.pix1 - 1, run.pix2 - 1, run)
    mask = np.zeros(shape, dtype=np.int16)
    starts = []
    for b, v, n, s in zip(binning, ltv, shape[::-1], size, strict=True):
        first = round((b - 1) / 2 - v * b)
        starts.append(
            [(i, first + i * b) for i in range(n) if first + i * b >= 0 and first + (i + 1) * b <= s]
        )
    for j, y in starts[1]:
        for i, x in starts[0]:
            for yy in range(y, y + binning[1]):
                for xx in range(x, x + binning[0]):
                    mask[j, i] |= reference[yy, xx]
    return mask


def run_of(width, height):
    return st.builds(
        BadPixelRun,
        st.integers(-2, width + 2),
        st.integers(-2, height + 2),
        st.integers(1, max(width, height)),
        st.sampled_from([1, 2]),
        st.sampled_from([1, 4, 16, 16384, -32768]),
    )


@given(
    st.lists(run_of(14, 11), max_size=6),
    st.tuples(st.sampled_from([-3.0, -0.5, 0.0, 3.0, 5.7]), st.sampled_from([-2.3, 0.0, 2.0])),
)
@TRIES
def test_bad_pixels_of_unbinned_images(runs, ltv):
    found = bad_pixel_mask(runs, (14, 11), (13, 20), PixelGrid((1.0, 1.0), ltv))
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, unbinned_model(runs, (14, 11), (13, 20), ltv))


@pytest.mark.parametrize(
    ("ltv", "column"),
    [(19.0, 19), (18.7, 18), (0.999, 0), (-0.5, 0), (-0.999, 0)],  # cut towards zero, not down
)
def test_place_of_a_run_is_cut_to_an_integer(ltv, column):
    mask = bad_pixel_mask([BadPixelRun(1, 1, 1, 1, 8)], (32, 32), (4, 30), PixelGrid((1.0, 1.0), (ltv, 0.0)))
    assert np.argwhere(mask).tolist() == [[0, column]]


def test_a_run_that_begins_outside_the_area_is_dropped_as_a_whole():
    # begins one pixel to the left, although nine of its ten pixels lie inside
    outside, within = BadPixelRun(0, 3, 10, 1, 4), BadPixelRun(1, 3, 10, 1, 8)
    mask = bad_pixel_mask([outside, within], (32, 32), (8, 32), PixelGrid())
    assert set(mask[2].tolist()) == {8, 0}


@pytest.mark.parametrize("binning", [b for b in RAW_SIZE if b != (1, 1)])
@pytest.mark.parametrize("amp", "ABCD")
def test_bad_pixels_of_binned_frames(amp, binning):
    # an area of fewer pixels than the CCD's, so that frames of few pixels reach beyond all its edges
    size, shape = (128, 120), (145, 150)
    generator = np.random.default_rng(binning[0] * 10 + binning[1])
    runs = [
        BadPixelRun(int(x), int(y), int(n), int(axis), int(value))
        for x, y, n, axis, value in zip(
            generator.integers(-1, 130, 30), generator.integers(-1, 122, 30), generator.integers(1, 40, 30),
            generator.integers(1, 3, 30), 2 ** generator.integers(0, 14, 30), strict=True,
        )
    ]  # fmt: skip
    # the edges of the area, where only pixels fully inside are flagged
    runs += [
        BadPixelRun(1, 1, 128, 1, 2),
        BadPixelRun(1, 120, 128, 1, 2),
        BadPixelRun(1, 1, 120, 2, 2),
        BadPixelRun(128, 1, 120, 2, 2),
    ]
    ltv = raw_ltv(amp, binning)
    found = bad_pixel_mask(runs, size, shape, PixelGrid((1 / binning[0], 1 / binning[1]), ltv))
    np.testing.assert_array_equal(found, binned_model(runs, size, shape, binning, ltv))
    assert found.any()


@pytest.mark.parametrize(
    ("ltv", "flagged"),
    # the first pixel's left edge lies on the area's; the header may be off by 0.001 of a reference pixel
    [(0.25, True), (0.2504, True), (0.2506, False), (0.2496, True)],
)
def test_first_pixel_that_lies_inside_the_area(ltv, flagged):
    grid = PixelGrid((0.5, 1.0), (ltv, 0.0))
    mask = bad_pixel_mask([BadPixelRun(1, 1, 64, 1, 4)], (64, 4), (4, 40), grid)
    assert bool(mask[0, 0]) is flagged


@pytest.mark.parametrize(("ltv", "last"), [(0.25, 31), (0.2504, 31), (0.2496, 31), (0.2494, 30)])
def test_last_pixel_that_lies_inside_the_area(ltv, last):
    # pixel 31 covers the reference pixels 62 and 63, the last ones; a lower LTV moves it out of the area
    grid = PixelGrid((0.5, 1.0), (ltv, 0.0))
    mask = bad_pixel_mask([BadPixelRun(1, 1, 64, 1, 4)], (64, 4), (4, 40), grid)
    assert int(np.flatnonzero(mask[0])[-1]) == last


def test_a_binned_image_outside_the_area_has_no_bad_pixels():
    mask = bad_pixel_mask([BadPixelRun(1, 1, 8, 1, 4)], (8, 8), (4, 4), PixelGrid((0.5, 0.5), (30.25, 0.25)))
    assert not mask.any()


# -------------------------------------------------------------- aperture


def half_up(value):
    return math.floor(value + 0.5) if value >= 0 else -math.floor(-value + 0.5)


def aperture_model(height, width, shape, ltm, ltv, scales, imaging):
    """Flags by pixel: outside the aperture with its margin of 10 pixels, and inside the detector."""
    ny, nx = shape
    limits = []
    for size, m, v, cdelt in (
        (width, ltm[0], ltv[0] + ltm[0] - 1, scales[0]),
        (height, ltm[1], ltv[1] + ltm[1] - 1, scales[1]),
    ):
        scale = cdelt * m * 3600
        low = half_up((512 - size / scale / 2 - 10) * m + v)
        high = half_up((512 + size / scale / 2 + 10) * m + v)
        limits.append((low, high, half_up(v), half_up(1023 * m + v)))
    (lox, hix, dlx, dhx), (loy, hiy, dly, dhy) = limits
    mask = np.zeros(shape, dtype=np.int16)
    for y in range(ny):
        for x in range(nx):
            if dlx <= x <= dhx and dly <= y <= dhy:
                out = y < loy or y > hiy
                if imaging:
                    out = out or x < lox or x > hix
                mask[y, x] = 4 if out else 0
    return mask


PLATE = 0.05078 / 3600


@pytest.mark.parametrize("imaging", [True, False])
@pytest.mark.parametrize(("binning", "amp"), [((4, 4), "D"), ((4, 2), "A"), ((2, 4), "B")])
def test_aperture_edges(binning, amp, imaging):
    columns, rows = RAW_SIZE[binning]
    ltm, ltv = (1 / binning[0], 1 / binning[1]), raw_ltv(amp, binning)
    cd = ((-PLATE * binning[0], 0.0), (0.0, PLATE * binning[1]))
    scales = (PLATE * binning[0], PLATE * binning[1]) if imaging else (PLATE * binning[1],) * 2
    found = aperture_mask("28x50", (rows, columns), PixelGrid(ltm, ltv), cd, imaging)
    expected = aperture_model(28.0, 50.0, (rows, columns), ltm, ltv, scales, imaging)
    np.testing.assert_array_equal(found, expected)
    assert found.any()


def test_scale_of_spectra_depends_on_the_axis_of_dispersion():
    cd = ((1.0e-5, 0.0), (0.0, 2.0e-5))
    along_x, along_y = (
        aperture_mask("10x10", (256, 256), PixelGrid((0.25, 0.25)), cd, False, axis) for axis in (1, 2)
    )
    assert (along_x == 0).sum() < (along_y == 0).sum()


@pytest.mark.parametrize(
    "field",
    ["50x50", "51x51", "4.9x20", "45.1x20", "F28X50", "", "20", "20x20x20"],
)
def test_fields_that_flag_nothing(field):
    cd = ((PLATE, 0.0), (0.0, PLATE))
    assert not aperture_mask(field, (266, 271), PixelGrid((0.25, 0.25), (10.6, 10.4)), cd, True).any()


def test_an_aperture_off_the_image_flags_nothing():
    cd = ((PLATE, 0.0), (0.0, PLATE))
    assert not aperture_mask("20x20", (100, 100), PixelGrid((1.0, 1.0), (0.0, -2000.0)), cd, True).any()
    assert not aperture_mask("20x20", (100, 100), PixelGrid((1.0, 1.0), (-2000.0, -450.0)), cd, True).any()
    # the place in x counts for images only
    assert aperture_mask("20x20", (100, 100), PixelGrid((1.0, 1.0), (-500.0, -250.0)), cd, False).any()
    assert not aperture_mask("20x20", (100, 100), PixelGrid(), ((0.0, 0.0), (0.0, 0.0)), True).any()
