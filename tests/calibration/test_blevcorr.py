"""Bias level: against a model in plain Python, and the points that a misreading would get wrong."""

import math
import statistics

import numpy as np
import pytest
from frames import RAW_SIZE, fitted, raw_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from refstis.calibration import blevcorr
from refstis.calibration.blevcorr import fit_bias_level, masked_medians, subtract_bias_level
from refstis.calibration.geometry import Overscan, overscan_geometry
from refstis.calibration.medians import median_network

TRIES = settings(deadline=None, derandomize=True, max_examples=60)


# -------------------------------------------------------------- the model


def line(points):
    """Slope and value at 0 of a line, with sums taken point after point."""
    n, sx, sv, sxv, sxx = 0, 0.0, 0.0, 0.0, 0.0
    for x, v in points:
        n, sx, sv, sxv, sxx = n + 1, sx + x, sv + v, sxv + x * v, sxx + x * x
    if n < 1:
        return None
    d = sxx - sx * sx / n
    if d == 0:
        return None
    xm, vm = sx / n, sv / n
    slope = (sxv - xm * vm * n) / d
    return slope, vm - slope * xm


def replaced(rows, clip, first, last):
    """Virtual overscan with its high values replaced, one after the other."""
    rows = [list(row) for row in rows]
    values = [v for row in rows for v in row[first : last + 1]]
    centre = statistics.median(values)
    away = sorted(abs(v - centre) for v in values)
    near = statistics.median(away)
    kept = [a for a in away if a <= 4.5 * near]
    total = 0.0
    for a in kept:
        total += a * a
    limit = centre + float(np.float32(clip)) * math.sqrt(total / len(kept))
    for row in rows:
        for i in range(first, last + 1):
            if row[i] > limit:
                i0 = max(i - 10, first)
                i1 = i0 + 20
                if i1 > last:
                    i1 = last
                    i0 = i1 - 20
                row[i] = float(np.float32(statistics.median(row[i0 : i1 + 1])))
    return rows


def level_and_drift(frame, dq, geometry, sdq, ccdbias, clip):
    rows, columns = geometry.trim(frame.shape)
    ny_out, nx_out = rows.stop - rows.start, columns.stop - columns.start
    lo, hi = geometry.section
    frame = [[float(v) for v in row] for row in frame]
    levels = []
    for j in range(ny_out):
        good = [
            frame[j + geometry.bottom][i] for i in range(lo, hi + 1) if not dq[j + geometry.bottom, i] & sdq
        ]
        if good:
            levels.append((float(j - ny_out // 2), statistics.median(good)))
    slope, intercept = line(levels) or (0.0, ccdbias)
    level = [(j - ny_out // 2) * slope + intercept for j in range(ny_out)]

    drift_slope = 0.0
    (vx0, vx1), (vy0, vy1) = geometry.virtual_x, geometry.virtual_y
    if vx1 > vx0 and vy1 > vy0:
        virtual = replaced(frame[vy0 : vy1 + 1], clip, vx0, vx1)
        points = []
        for i in range(vx0, vx1 + 1):
            good = [virtual[j][i] for j in range(vy1 - vy0 + 1) if not dq[vy0 + j, i] & sdq]
            if good:
                points.append((float(i - (vx0 + vx1) // 2), statistics.median(good)))
        drift_slope = (line(points) or (0.0, 0.0))[0]
    zero = (lo + hi) / 2 - geometry.left
    drift = [(i - zero) * drift_slope for i in range(nx_out)]
    total = 0.0
    for value in level:
        total += value + drift[nx_out // 2]
    return level, drift, np.float32(total / ny_out)


def check(frame, dq, geometry, sdq=31743, ccdbias=1000.0, clip=50.0):
    found = fit_bias_level(frame, dq, geometry, sdq, ccdbias, clip)
    flags = np.zeros(frame.shape, dtype=np.int16) if dq is None else dq
    level, drift, mean = level_and_drift(frame, flags, geometry, sdq, ccdbias, clip)
    assert found.level.tolist() == level
    assert found.drift.tolist() == drift
    assert found.mean == mean
    assert found.mean.dtype == np.float32
    return found


# -------------------------------------------------------------- frames


@pytest.mark.parametrize("amp", "ABCD")
@pytest.mark.parametrize("binning", [(4, 4), (4, 2), (2, 4)])
def test_level_of_binned_frames(amp, binning):
    columns, rows = RAW_SIZE[binning]
    frame = raw_frame(ord(amp), (rows, columns))
    generator = np.random.default_rng(3)
    frame[generator.random(frame.shape) < 0.01] += 400  # hits, in the overscan too
    frame[:, 60] += 100  # a hot column through the virtual overscan, where medians do not help
    dq = np.where(generator.random(frame.shape) < 0.05, 16, 0).astype(np.int16)
    dq |= np.where(generator.random(frame.shape) < 0.05, 1024, 0).astype(np.int16)
    geometry = overscan_geometry(amp, frame.shape, binning)
    wide, narrow = check(frame, dq, geometry, clip=50.0), check(frame, dq, geometry, clip=3.0)
    assert wide.drift.tolist() != narrow.drift.tolist()
    assert wide.from_overscan
    assert wide.has_drift
    check(frame, None, geometry)


@pytest.mark.parametrize("amp", "AD")
def test_level_of_full_frames(amp):
    frame = raw_frame(7, (1044, 1062))
    frame[:, 500] += 300  # a hot column runs through the virtual overscan
    found = check(frame, None, overscan_geometry(amp, frame.shape), clip=3.0)
    # the drift is 0 where the level is measured: outside the lit columns
    zero = 1034.0 if amp == "A" else -11.0
    slope = found.drift[1] - found.drift[0]
    assert found.drift[0] == pytest.approx(-zero * slope, rel=1e-9)
    assert slope == pytest.approx(-0.02, abs=0.002)
    assert found.mean == pytest.approx(1500 + 0.01 * 522 - 0.02 * (512 + 19), abs=1.0)


@pytest.mark.parametrize("amp", "BC")
def test_level_of_subarrays_has_no_drift(amp):
    frame = raw_frame(1, (9, 1060)).astype(np.float32)
    found = check(frame, None, overscan_geometry(amp, frame.shape))
    assert not found.has_drift
    assert not found.drift.any()


def test_lines_without_good_overscan_are_left_out():
    frame = raw_frame(2, (266, 271))
    geometry = overscan_geometry("D", frame.shape, (4, 4))
    dq = np.zeros(frame.shape, dtype=np.int16)
    dq[20:60, :12] = 4
    frame[20:60, :12] = 60000
    found = check(frame, dq, geometry)
    assert found.level.max() < 1510


def test_ccdbias_where_no_overscan_is_good():
    frame = raw_frame(2, (266, 271))
    geometry = overscan_geometry("A", frame.shape, (4, 4))
    dq = np.zeros(frame.shape, dtype=np.int16)
    dq[:, 263:270] = 16
    found = check(frame, dq, geometry, ccdbias=977.0)
    assert not found.from_overscan
    assert set(found.level) == {977.0}
    assert found.drift.any()  # the drift is known all the same
    # flags that SDQFLAGS does not name leave the pixels in
    assert check(frame, dq, geometry, sdq=31743 & ~16, ccdbias=977.0).from_overscan


def test_no_drift_where_no_virtual_overscan_is_good():
    frame = raw_frame(2, (266, 271))
    geometry = overscan_geometry("A", frame.shape, (4, 4))
    dq = np.zeros(frame.shape, dtype=np.int16)
    dq[256:] = 16
    assert not check(frame, dq, geometry).drift.any()


# -------------------------------------------------------------- its parts


def test_line_takes_its_sums_in_order():
    x = np.arange(-512, 512, dtype=np.float64)
    values = np.random.default_rng(5).normal(1500.0, 3.0, 1024)
    slope, intercept = fitted(x, values)
    assert (slope, intercept) == line(zip(x.tolist(), values.tolist(), strict=True))
    # what numpy's sums in pairs would give has other last bits
    n = len(x)
    pairs = ((x * values).sum() - x.sum() / n * (values.sum() / n) * n) / ((x * x).sum() - x.sum() ** 2 / n)
    assert slope == pytest.approx(pairs, rel=1e-9)
    assert slope != pairs


@given(st.lists(st.tuples(st.floats(-600, 600), st.floats(-5e3, 5e3)), max_size=40))
@TRIES
def test_line_is_that_of_a_loop(points):
    x, v = (np.array([p[i] for p in points], dtype=np.float64) for i in (0, 1))
    assert fitted(x, v) == line(points)


def test_line_by_hand():
    assert fitted(np.array([-1.0, 0.0, 1.0]), np.array([1.0, 3.0, 5.0])) == (2.0, 3.0)


@pytest.mark.parametrize("x", [[], [5.0], [2.0, 2.0, 2.0]])
def test_no_line_through_one_place(x):
    assert fitted(np.array(x), np.ones(len(x))) is None


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-1e4, 1e4), st.booleans()), min_size=6, max_size=6),
        min_size=1,
        max_size=4,
    )
)
@TRIES
def test_masked_medians(rows):
    values = np.array([[v for v, _ in row] for row in rows])
    good = np.array([[g for _, g in row] for row in rows])
    medians, counts = masked_medians(values, good)
    for row, median, count in zip(rows, medians, counts, strict=True):
        kept = [v for v, g in row if g]
        assert count == len(kept)
        assert median == (statistics.median(kept) if kept else 0.0)


def window_row(*hot):
    """A row whose values are their columns, with hot values in it."""
    row = np.arange(40, dtype=np.float64)
    row[list(hot)] = 1000.0
    return row[np.newaxis]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        # 21 columns that begin at the left edge: 6..25 and the hot one; a window cut to 5..15 would give 11
        (5, 16.0),
        (12, 16.0),  # still 5..25, less 12: 5..11, 13..25, hot -> the eleventh is 16
        (15, 16.0),  # 5..25 about itself
        (20, 21.0),  # 10..30
        (34, 24.0),  # 21 columns that end at the right edge: 14..33 and the hot one
        (30, 24.0),
    ],
)
def test_window_at_the_edges_of_the_virtual_overscan(column, expected):
    row = window_row(column)
    blevcorr._replace_above(row, 100.0, 5, 34)
    assert row[0, column] == expected


def test_replaced_values_enter_the_next_window():
    row = window_row(20, 25)
    blevcorr._replace_above(row, 100.0, 5, 34)
    # 20: the eleventh of 10..19, 21..24, 26..30 and two hot values
    assert row[0, 20] == 21.0
    # 25: the eleventh of 14..19, that 21, 21..24, 26..34 and the hot one; with 20 still hot it would be 26
    assert row[0, 25] == 24.0


def test_a_region_of_fewer_than_21_columns_looks_left_of_itself():
    row = window_row(20)
    blevcorr._replace_above(row, 100.0, 22 - 10, 24)
    assert row[0, 20] == 14.0  # columns 4..24: the eleventh of 4..19, 21..24, hot; of 12..24 it would be 18


def test_only_high_values_above_the_limit_are_replaced():
    row = window_row()
    row[0, [8, 9, 12]] = [-1000.0, 100.0, 100.00001]
    blevcorr._replace_above(row, 100.0, 5, 34)
    assert row[0, 8] == -1000.0
    assert row[0, 9] == 100.0
    assert row[0, 12] < 100.0


def test_replaced_value_is_rounded_to_float32():
    row = np.full((1, 30), 0.1)
    row[0, 10] = 5.0
    blevcorr._replace_above(row, 1.0, 0, 29)
    assert row[0, 10] == float(np.float32(0.1))
    assert row[0, 9] == 0.1


def test_hot_values_count_although_they_are_flagged():
    # replacement looks at all pixels, flagged or not
    rows = np.random.default_rng(0).normal(1500, 3, (4, 60))
    rows[2, 30] = 9000
    columns = rows[:, 5:51]
    good = np.ones(columns.shape, dtype=np.bool_)
    good[2, 25] = False
    scatter = blevcorr._scatter(columns, blevcorr.SCATTER_CLIP)
    by_column, medians, counts = blevcorr._column_medians(rows, 5, 50, 5.0, *scatter, good, median_network(4))
    expected = np.array(replaced(rows.tolist(), 5.0, 5, 50))[:, 5:51]
    assert by_column.T.tolist() == expected.tolist()
    assert by_column[25, 2] < 1600
    assert counts.tolist() == [4] * 25 + [3] + [4] * 20
    assert medians[24] == np.median(expected[:, 24])
    assert medians[25] == np.median(expected[[0, 1, 3], 25])


@given(
    st.lists(st.integers(0, 65535), min_size=1, max_size=40),
    st.sampled_from([1, 100, 20000]),
    st.floats(0.0, 6.0),
)
@TRIES
def test_scatter_of_integers_is_counted(values, step, clip):
    values = np.array([[value // step for value in values]], dtype=np.uint16)
    assert blevcorr._scatter_of_integers(values, clip) == blevcorr._scatter(values, clip)


@given(st.floats(0, 65535, width=32), st.floats(900, 2500), st.floats(-30, 30))
@TRIES
def test_level_and_drift_are_subtracted_in_double(value, level, drift):
    pixels = np.array([[value]], dtype=np.float32)
    out = subtract_bias_level(pixels, np.array([level]), np.array([drift]))
    assert out.dtype == np.float32
    assert out[0, 0] == np.float32((float(pixels[0, 0]) - level) - drift)


def test_one_rounding_after_two_subtractions():
    # 30000 - 29999.9999 rounds to 0.0001 in double but to 0 once the level is a float32
    out = subtract_bias_level(np.array([[30000]], dtype=np.uint16), np.array([29999.9999]), np.array([1e-5]))
    assert out[0, 0] == np.float32((30000.0 - 29999.9999) - 1e-5)
    assert out[0, 0] != np.float32(30000) - np.float32(29999.9999) - np.float32(1e-5)


def test_geometry_of_one_line():
    # a frame can be a single line: its level is then that line's, and no line can be fitted
    geometry = Overscan(1, 3, 0, 0, (7, 9), (1, 6), (1, 0))
    frame = np.array([[9, 1, 2, 3, 4, 5, 6, 10, 12, 11]], dtype=np.uint16)
    found = fit_bias_level(frame, None, geometry, 32767, 5.5, 50.0)
    assert not found.from_overscan
    assert found.level.tolist() == [5.5]


def test_level_of_lines_that_their_signal_lowers():
    generator = np.random.default_rng(5)
    noise = 0.2
    frame = generator.normal(1400.0, noise, (266, 271))
    geometry = overscan_geometry("D", frame.shape, (4, 4))
    rows, columns = geometry.trim(frame.shape)
    # a few bright pixels: most lines have none
    y, x = generator.integers([[256], [255]], size=(2, 40))
    np.add.at(frame[rows, columns], (y, x), generator.exponential(60000.0, 40))
    lowered = (frame[rows, columns].mean(axis=1) - 1400.0) / 1000.0
    frame[rows] -= lowered[:, None]
    dark = np.setdiff1d(np.arange(256), y)
    scatter = noise / np.sqrt(7 * 256)

    def error(row_signal):
        level = fit_bias_level(frame, None, geometry, 31743, 1400.0, 50.0, 2.0, row_signal).level
        return level - (1400.0 - lowered)

    before, after = error(None), error(1000.0)
    assert before[dark].mean() < -5.0 * scatter
    assert before.std() > 10.0 * scatter
    assert abs(after[dark].mean()) < 3.0 * scatter
    # what is left is the noise of a straight line
    assert after.std() < 3.0 * scatter


@pytest.mark.parametrize("columns", [1, 2, 15, 20])
def test_medians_of_many_rows_are_those_of_numpy(columns):
    rng = np.random.default_rng(columns)
    values = rng.integers(0, 2000, (200, columns)).astype(np.float64)
    good = np.ones(values.shape, dtype=np.bool_)
    # whole blocks of rows are good, and others are not
    good[70, rng.integers(columns)] = False
    medians, counts = masked_medians(values, good)
    assert counts.tolist() == good.sum(axis=1).tolist()
    expected = [np.median(row[kept]) if kept.any() else 0.0 for row, kept in zip(values, good, strict=True)]
    np.testing.assert_array_equal(medians, expected)
