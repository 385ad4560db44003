"""Where illuminated pixels and overscan lie: every amplifier and binning by hand, from the published geometry."""

import numpy as np
import pytest
from frames import RAW_SIZE, raw_ltv
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.calibration.geometry import PixelGrid, nint, overscan_geometry, sequential_sum


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 0), (0.49, 0), (0.5, 1), (1.5, 2), (2.5, 3), (-0.49, 0), (-0.5, -1), (-2.5, -3), (7.999, 8)],
)
def test_halves_are_rounded_away_from_zero(value, expected):
    assert nint(value) == expected


def test_sums_are_taken_one_after_the_other():
    # beyond 2**24 a float32 cannot count by ones; adding in pairs would gather them first
    values = np.array([2.0**24, *[1.0] * 200], dtype=np.float32)
    assert sequential_sum(values) == np.float32(2.0**24)
    assert values.sum() != np.float32(2.0**24)
    assert sequential_sum(values).dtype == np.float32
    assert sequential_sum(np.empty(0)) == 0


@given(st.lists(st.floats(-1e6, 1e6), max_size=300))
@settings(deadline=None, derandomize=True, max_examples=50)
def test_sum_is_that_of_a_loop(values):
    total = 0.0
    for value in values:
        total += value
    assert sequential_sum(np.array(values, dtype=np.float64)) == total


# -------------------------------------------------------------- pixel grids


@pytest.mark.parametrize(
    ("amp", "binning", "corner"),
    [
        ("A", (1, 1), (-19, 0)), ("D", (1, 1), (-19, -20)),
        ("A", (2, 2), (-19, 0)), ("B", (2, 2), (-21, 0)), ("D", (2, 2), (-21, -20)), ("C", (2, 2), (-19, -20)),
        ("A", (4, 4), (-19, 0)), ("D", (4, 4), (-41, -40)),
        ("D", (4, 1), (-41, -20)), ("C", (1, 4), (-19, -40)),
    ],
)  # fmt: skip
def test_grid_of_a_raw_frame(amp, binning, corner):
    grid = PixelGrid((1.0 / binning[0], 1.0 / binning[1]), raw_ltv(amp, binning))
    assert grid.bins == binning
    assert grid.corner == corner


@pytest.mark.parametrize(
    ("amp", "binning", "corner"),
    [("A", (2, 2), (1, 0)), ("D", (2, 2), (1, 0)), ("A", (4, 4), (1, 0)), ("B", (4, 4), (3, 0)), ("D", (4, 4), (3, 0)),
     ("D", (1, 1), (0, 0)), ("B", (4, 2), (3, 0)), ("C", (2, 4), (1, 0))],
)  # fmt: skip
def test_first_reference_pixel_of_a_trimmed_frame(amp, binning, corner):
    columns, rows = RAW_SIZE[binning]
    geometry = overscan_geometry(amp, (rows, columns), binning)
    grid = PixelGrid((1.0 / binning[0], 1.0 / binning[1]), raw_ltv(amp, binning))
    assert grid.trimmed(geometry.left, geometry.bottom).corner == corner


@pytest.mark.parametrize("ltm", [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_a_grid_needs_a_scale(ltm):
    with pytest.raises(ValueError, match="LTM1_1 and LTM2_2"):
        PixelGrid(ltm)


# -------------------------------------------------------------- overscan

# binning: left and right margin, rows of the virtual overscan, bias section; all of amplifier A
MARGINS = {
    (1, 1): (19, 19, 20, (1046, 1060)),
    (1, 2): (19, 11, 10, (1046, 1052)),
    (1, 4): (19, 11, 10, (1046, 1052)),
    (2, 1): (10, 11, 10, (524, 530)),
    (2, 2): (10, 11, 10, (524, 530)),
    (2, 4): (10, 11, 10, (524, 530)),
    (4, 1): (5, 11, 10, (263, 269)),
    (4, 2): (5, 11, 10, (263, 269)),
    (4, 4): (5, 11, 10, (263, 269)),
}
TRIMMED = {1: 1024, 2: 511, 4: 255}


@pytest.mark.parametrize("amp", "ABCD")
@pytest.mark.parametrize("binning", list(MARGINS))
def test_margins_of_a_frame(amp, binning):
    columns, rows = RAW_SIZE[binning]
    first, second, virtual, section = MARGINS[binning]
    geometry = overscan_geometry(amp, (rows, columns), binning)
    if amp in "AC":
        assert (geometry.left, geometry.right, geometry.section) == (first, second, section)
    else:
        assert (geometry.left, geometry.right) == (second, first)
        assert geometry.section == ((1, 15) if binning == (1, 1) else (1, 7))
    if amp in "AB":
        assert (geometry.bottom, geometry.top, geometry.virtual_y) == (0, virtual, (rows - virtual, rows - 1))
    else:
        assert (geometry.bottom, geometry.top, geometry.virtual_y) == (virtual, 0, (0, virtual - 1))
    assert geometry.virtual_x == (geometry.left, columns - 1 - geometry.right)
    assert geometry.has_drift
    lit = np.zeros((rows, columns))[geometry.trim((rows, columns))]
    assert lit.shape == (1024 // binning[1], TRIMMED[binning[0]])


@pytest.mark.parametrize(
    ("amp", "section"), [("A", (1046, 1059)), ("B", (0, 13)), ("C", (1046, 1059)), ("D", (0, 13))]
)
@pytest.mark.parametrize("rows", [32, 1024])
def test_a_subarray_has_no_virtual_overscan(amp, section, rows):
    geometry = overscan_geometry(amp, (rows, 1060))
    assert (geometry.left, geometry.right, geometry.bottom, geometry.top) == (18, 18, 0, 0)
    assert geometry.section == section
    assert not geometry.has_drift
    assert np.zeros((rows, 1060))[geometry.trim((rows, 1060))].shape == (rows, 1024)


@pytest.mark.parametrize(
    ("shape", "binning"),
    [
        ((1024, 1024), (1, 1)),  # trimmed already
        ((1043, 1062), (1, 1)),  # one row too few
        ((1044, 1061), (1, 1)),  # one column too few
        ((500, 1059), (1, 1)),
        ((522, 520), (2, 2)),
        ((511, 532), (2, 2)),
        ((255, 271), (4, 4)),
        ((24, 40), (1, 1)),
    ],
)
def test_too_small_for_overscan(shape, binning):
    assert all(overscan_geometry(amp, shape, binning) is None for amp in "ABCD")


def test_what_a_frame_has_beyond_its_nominal_size_stays():
    rows, columns = overscan_geometry("D", (1050, 1070)).trim((1050, 1070))
    assert (rows.stop - rows.start, columns.stop - columns.start) == (1050 - 20, 1070 - 38)


@pytest.mark.parametrize(
    ("amp", "binning", "word"), [("E", (1, 1), "amplifier"), ("D", (3, 1), "3 x 1"), ("D", (1, 8), "1 x 8")]
)
def test_what_the_ccd_does_not_have(amp, binning, word):
    with pytest.raises(ValueError, match=word):
        overscan_geometry(amp, (1044, 1062), binning)
