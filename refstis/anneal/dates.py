"""Dates of the anneal room: Modified Julian Dates in UTC inside, ISO 8601 outside.

MJD is what the headers hold (EXPSTART, TEXPSTRT). The conversions are plain arithmetic on `datetime`, because
importing `astropy.time` for them costs more than reading a month of headers.
"""

import math
import re
from datetime import UTC, date, datetime, timedelta

from refstis.errors import ConfigurationError

__all__ = ["isoformat", "parse_date", "parse_month"]

_UNIX_EPOCH = datetime(1970, 1, 1)
_UNIX_EPOCH_MJD = 40587
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?$")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})$")
# STIS was launched in 1997; the upper end is only there to catch Julian Dates and typing errors.
_FIRST_MJD, _LAST_MJD = 45000.0, 90000.0


def parse_date(value: str | float | date) -> float:
    """Read a date.

    Parameters
    ----------
    value : str, float or datetime.date
        An MJD, or an ISO 8601 date or date and time, in UTC unless it names an offset.

    Returns
    -------
    float
        Modified Julian Date, UTC.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where the value is no date, or an MJD outside 45000 to 90000.

    Examples
    --------
    >>> parse_date("2013-05-16T00:02:46.123")
    56428.00192271991
    >>> parse_date("2013-05-16"), parse_date("56428")
    (56428.0, 56428.0)
    """
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day)
    elif isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ConfigurationError(f"{value!r:.80} is not a date: write 2013-05-16 or an MJD")
    elif not isinstance(value, str) or _NUMBER.match(value.strip()):
        try:
            mjd = float(value)
        except OverflowError:
            mjd = math.inf
        if not (math.isfinite(mjd) and _FIRST_MJD <= mjd <= _LAST_MJD):
            raise ConfigurationError(
                f"{value!r} is not a date: an MJD between {_FIRST_MJD:.0f} and {_LAST_MJD:.0f} was expected"
            )
        return mjd
    else:
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ConfigurationError(
                f"{value!r} is not a date: write 2013-05-16, 2013-05-16T00:02:46 (UTC) or an MJD"
            ) from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    mjd = _UNIX_EPOCH_MJD + (moment - _UNIX_EPOCH) / timedelta(days=1)
    if not _FIRST_MJD <= mjd <= _LAST_MJD:
        raise ConfigurationError(f"{value!r} is not a date in the lifetime of STIS")
    return mjd


def parse_month(text: str) -> tuple[float, float] | None:
    """Read a calendar month.

    Parameters
    ----------
    text : str
        ``2013-05``.

    Returns
    -------
    tuple of float or None
        MJD of its begin and of the next month's begin; None where the text is no calendar month.
    """
    match = _MONTH.match(text.strip())
    if not match:
        return None
    year, month = int(match[1]), int(match[2])
    if not 1 <= month <= 12:
        raise ConfigurationError(f"{text!r} is not a month: write 2013-05")
    following = date(year + month // 12, month % 12 + 1, 1)
    return parse_date(date(year, month, 1)), parse_date(following)


def isoformat(mjd: float, timespec: str = "seconds") -> str:
    """Write a date.

    Parameters
    ----------
    mjd : float
        Modified Julian Date, UTC.
    timespec : {'days', 'minutes', 'seconds', 'milliseconds'}
        How much of it; rounded, not cut.

    Returns
    -------
    str
        ISO 8601 without an offset.

    Examples
    --------
    >>> isoformat(56428.00192271991)
    '2013-05-16T00:02:46'
    >>> isoformat(56428.9999, "days")
    '2013-05-16'
    """
    moment = _UNIX_EPOCH + timedelta(days=mjd - _UNIX_EPOCH_MJD)
    if timespec == "days":
        return moment.date().isoformat()
    half = {"minutes": 30_000_000, "seconds": 500_000, "milliseconds": 500}[timespec]
    return (moment + timedelta(microseconds=half)).isoformat(timespec=timespec)
