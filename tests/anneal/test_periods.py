import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refstis.anneal.periods import divide_month, figure_days_in_period, figure_number_of_periods, period_index

# refstis-algorithms, "Periods": number of periods of 0 to 84 days, written out from its sentences.
WEEKS = [-1] * 6 + [1] * 4 + [-1] * 2
WEEKS += [2] * 7 + [3] * 9 + [4] * 9 + [5] * 9 + [6] * 9 + [7] * 9 + [8] * 9 + [9] * 9 + [10] * 3
BIWEEKS = [-1] * 11 + [1] * 11 + [2] * 15 + [3] * 18 + [4] * 18 + [5] * 12


@pytest.mark.parametrize(("mode", "expected"), [("WK", WEEKS), ("BIWK", BIWEEKS)])
def test_number_of_periods_from_0_to_84_days(mode, expected):
    assert len(expected) == 85
    assert [figure_number_of_periods(days, mode) for days in range(85)] == expected
    assert [figure_number_of_periods(days + 0.99, mode.lower()) for days in range(85)] == expected


@pytest.mark.parametrize("mode", ["MONTH", "", None])
def test_other_modes_are_refused(mode):
    with pytest.raises(ValueError, match="'WK' or 'BIWK'"):
        figure_number_of_periods(20, mode)


@given(st.integers(1, 40), st.integers(0, 400))
def test_days_are_spread_evenly_and_the_longer_periods_come_first(periods, days):
    spread = figure_days_in_period(periods, days)
    assert len(spread) == periods
    assert sum(spread) == days
    assert max(spread) - min(spread) <= 1
    assert spread == sorted(spread, reverse=True)


def test_fraction_of_a_day_goes_to_the_last_period_or_is_dropped():
    assert figure_days_in_period(3, 22.25) == [8, 7, 7]
    assert figure_days_in_period(3, 22.25, add_remainder=True) == [8, 7, 7.25]


def test_days_need_a_period():
    with pytest.raises(ValueError, match="at least one period"):
        figure_days_in_period(-1, 10)


@pytest.mark.parametrize("mode", ["WK", "BIWK"])
@given(
    begin=st.floats(50000, 65000),
    days=st.floats(0, 84.999),
    fractions=st.lists(st.floats(0, 1), max_size=30),
)
def test_every_exposure_is_in_exactly_one_period(mode, begin, days, fractions):
    periods = divide_month(begin, begin + days, mode)
    assert periods[0].begin == begin
    assert periods[-1].end == begin + days
    assert all(one.end == other.begin for one, other in pairwise(periods))
    assert all(one.begin < one.end for one in periods) or begin + days == begin
    times = [min(begin + fraction * days, begin + days) for fraction in fractions]
    for time, index in zip(times, period_index(periods, times), strict=True):
        holding = [n for n, one in enumerate(periods) if one.begin <= time < one.end]
        assert holding == [index] or (time == periods[-1].end and index == len(periods) - 1)


@pytest.mark.parametrize("days", [0, 1, 5, 10, 10.9, 11, 11.9])
def test_months_without_a_rule_are_one_period_and_say_why(days):
    periods = divide_month(56000.0, 56000.0 + days, "WK")
    assert [one.name for one in periods] == ["wk01"]
    assert "so one period" in periods[0].reason
    assert periods[0].reason.startswith(f"{int(days)} day")


def test_borders_lie_at_whole_days_after_the_anneal():
    periods = divide_month(56000.3, 56028.9, "WK")
    assert [round(one.begin - 56000.3, 6) for one in periods] == [0, 7, 14, 21]
    assert periods[-1].end == 56028.9
    assert [one.name for one in divide_month(56000.3, 56028.9, "BIWK")] == ["biwk01", "biwk02"]


def test_a_month_does_not_end_before_it_begins():
    with pytest.raises(ValueError, match="before it begins"):
        divide_month(56001, 56000, "WK")


@pytest.mark.parametrize("time", [55999.9, 56028.1, math.nan, math.inf])
def test_times_outside_the_month_are_refused(time):
    with pytest.raises(ValueError, match="outside"):
        period_index(divide_month(56000, 56028, "WK"), np.array([56001.0, time]))
