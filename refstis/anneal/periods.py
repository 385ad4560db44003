"""How an anneal month is divided into weeks and two-week periods: pure functions of numbers.

The heritage rules, which the names and the USEAFTER dates of thirty years of deliveries follow:
the month has ``d`` whole days; by week (``WK``, gain 1 and darks) it has the smallest number of periods with
``d <= 9 n``, by two weeks (``BIWK``, gain 4 and binned biases) the smallest with ``d <= 18 n``; the days are
spread evenly, the extra days going to the first periods and the fraction of a day to the last.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Period", "divide_month", "figure_days_in_period", "figure_number_of_periods", "period_index"]

# mode: (fewest days that make one period, most days of that one period, fewest days that make several,
#        most days of each of several)
_RULES = {"WK": (6, 9, 12, 9), "BIWK": (11, 21, 22, 18)}


@dataclass(frozen=True)
class Period:
    """A part of an anneal month: from `begin` up to, but not including, `end`.

    Attributes
    ----------
    name : str
        ``wk01``, ``wk02``, ... or ``biwk01``, ...
    begin, end : float
        MJD, UTC.
    reason : str
        Why the month has this many periods.
    """

    name: str
    begin: float
    end: float
    reason: str


def figure_number_of_periods(number_of_days: float, mode: str) -> int:
    """Number of periods that an anneal month is split into.

    Parameters
    ----------
    number_of_days : int or float
        Length of the month; a fraction of a day does not count.
    mode : {'WK', 'BIWK', 'wk', 'biwk'}
        By week or by two weeks.

    Returns
    -------
    int
        The number of periods, and -1 where the rules give none: fewer than 6 days and, a gap in the rules that
        is as old as they are, 10 and 11 days by week; fewer than 11 days by two weeks.

    Raises
    ------
    ValueError
        For any other mode.

    Examples
    --------
    >>> [figure_number_of_periods(days, "WK") for days in (5, 6, 9, 10, 11, 12, 27, 28)]
    [-1, 1, 1, -1, -1, 2, 3, 4]
    >>> [figure_number_of_periods(days, "BIWK") for days in (10, 11, 21, 22, 36, 37)]
    [-1, 1, 1, 2, 2, 3]
    """
    try:
        fewest, most, several, longest = _RULES[mode.upper()]
    except (KeyError, AttributeError):
        raise ValueError(f"mode is 'WK' or 'BIWK', not {mode!r}") from None
    days = int(number_of_days)
    if fewest <= days <= most:
        return 1
    if days >= several:
        return max(2, math.ceil(days / longest))
    return -1


def figure_days_in_period(N_periods: int, N_days: float, add_remainder: bool = False) -> list:  # noqa: N803 - documented
    """Spread the days of a month over its periods.

    Parameters
    ----------
    N_periods : int
        Number of periods, at least 1.
    N_days : int or float
        Number of days to spread.
    add_remainder : bool
        Give the fraction of a day in `N_days` to the last period; otherwise it is dropped.

    Returns
    -------
    list
        Days in each period. They differ by at most one day (and the fraction); the longer periods come first.

    Raises
    ------
    ValueError
        Where there is no period to spread the days over.

    Examples
    --------
    >>> figure_days_in_period(4, 28)
    [7, 7, 7, 7]
    >>> figure_days_in_period(4, 29)
    [8, 7, 7, 7]
    >>> figure_days_in_period(3, 21)
    [7, 7, 7]
    >>> figure_days_in_period(3, 22.25, add_remainder=True)
    [8, 7, 7.25]
    """
    if N_periods < 1:
        raise ValueError(f"the days of a month are spread over at least one period, not {N_periods}")
    whole = int(N_days)
    days: list[float] = [
        whole // N_periods + (1 if number < whole % N_periods else 0) for number in range(N_periods)
    ]
    if add_remainder:
        days[-1] += N_days - whole
    return days


def divide_month(begin: float, end: float, mode: str) -> list[Period]:
    """Divide an anneal month into its periods.

    A month for which the rules give no number of periods becomes one period, and its reason says so: no exposure
    is lost because a month is short.

    Parameters
    ----------
    begin, end : float
        MJD of the end of the anneal that opens the month and of the begin of the one that closes it.
    mode : {'WK', 'BIWK'}
        By week or by two weeks.

    Returns
    -------
    list of Period
        At least one; they follow each other without a gap from `begin` to `end`.

    Raises
    ------
    ValueError
        Where the end comes before the begin.

    Examples
    --------
    >>> [(period.name, period.begin, period.end) for period in divide_month(56000.0, 56022.25, "WK")]
    [('wk01', 56000.0, 56008.0), ('wk02', 56008.0, 56015.0), ('wk03', 56015.0, 56022.25)]
    >>> divide_month(56000.0, 56010.5, "WK")[0].reason
    '10 days: too long for one week and too short for two, so one period'
    """
    if end < begin:
        raise ValueError(f"a month cannot end (MJD {end}) before it begins (MJD {begin})")
    days = int(end - begin)
    number = figure_number_of_periods(days, mode)
    plural = "day" if days == 1 else "days"
    if number == -1:
        if days < _RULES[mode.upper()][0]:
            reason = f"{days} {plural}: shorter than {'a week' if mode.upper() == 'WK' else 'two weeks'}, so one period"
        else:
            reason = f"{days} {plural}: too long for one week and too short for two, so one period"
        number = 1
    else:
        reason = f"{days} {plural} in {number} period{'s' if number > 1 else ''}"
    borders = [begin]
    for length in figure_days_in_period(number, days)[:-1]:
        borders.append(borders[-1] + length)
    borders.append(end)
    return [
        Period(f"{mode.lower()}{index + 1:02d}", borders[index], borders[index + 1], reason)
        for index in range(number)
    ]


def period_index(periods: Sequence[Period], times: Sequence[float] | np.ndarray) -> np.ndarray:
    """In which period each exposure began.

    Parameters
    ----------
    periods : sequence of Period
        The periods of one month, as `divide_month` returns them.
    times : sequence of float
        MJD of the exposures' begin, all within the month. The month's last instant belongs to its last period
        (a month that the table does not close ends with its last exposure).

    Returns
    -------
    numpy.ndarray of int
        Index into `periods` of each time.

    Raises
    ------
    ValueError
        Where a time lies outside the month.
    """
    times = np.asarray(times, dtype=float)
    outside = (times < periods[0].begin) | (times > periods[-1].end) | ~np.isfinite(times)
    if outside.any():
        raise ValueError(f"MJD {times[outside][0]} lies outside {periods[0].begin} to {periods[-1].end}")
    return np.searchsorted([period.begin for period in periods[1:]], times, side="right")
