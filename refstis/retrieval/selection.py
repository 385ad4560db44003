"""What is looked for, what was found and what came: the words that all sources of exposures share."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from refstis.errors import ConfigurationError, InputError, RefstisError

__all__ = [
    "ArchiveFile",
    "Fetched",
    "Findings",
    "Left",
    "Recall",
    "Remember",
    "RetrievalError",
    "Selection",
    "Source",
    "header_facts",
    "iso_time",
    "mjd",
    "policy",
]

Recall = Callable[[str], Mapping[str, Any] | None]
Remember = Callable[[str, Mapping[str, Any]], None]

_MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)
_ROOTNAME = re.compile(r"[A-Za-z0-9]{9}")


class RetrievalError(RefstisError):
    """An archive that cannot be reached, refuses, or does not answer as documented."""


@cache
def policy() -> dict[str, Any]:
    """The numbers of ``config/retrieval.yaml``.

    Returns
    -------
    dict
        The content of the file, read once.
    """
    import yaml

    from refstis.datamodels import config_path

    return yaml.safe_load(config_path("retrieval.yaml").read_text(encoding="utf-8"))


def mjd(when: str | float | date | datetime) -> float:
    """A point in time as Modified Julian Date (UTC).

    Parameters
    ----------
    when : str, float, datetime.date or datetime.datetime
        An MJD, or a date or time; text is an MJD or ISO 8601. A time without a zone is UTC.

    Returns
    -------
    float
        Days since 1858-11-17 00:00 UTC.

    Raises
    ------
    refstis.errors.ConfigurationError
        If the text is neither.

    Examples
    --------
    >>> mjd("2011-05-26"), mjd("2011-05-26T12:00:00"), mjd("55707.25")
    (55707.0, 55707.5, 55707.25)
    """
    if isinstance(when, str):
        text = when.strip()
        try:
            value = float(text)
        except ValueError:
            try:
                when = datetime.fromisoformat(text)
            except ValueError:
                raise ConfigurationError(
                    f"'{text}' is no time: give a date (2023-10-19), a UTC time (2023-10-19T08:30) or an MJD."
                ) from None
        else:
            # 20231019 is ISO 8601 in its basic form; as an MJD it would be the year 57,000.
            when = datetime.fromisoformat(text) if re.fullmatch(r"(19|20)\d{6}", text) else value
    if isinstance(when, datetime):
        moment = when if when.tzinfo else when.replace(tzinfo=UTC)
        return (moment - _MJD_ZERO) / timedelta(days=1)
    if isinstance(when, date):
        return (datetime.combine(when, time(), UTC) - _MJD_ZERO) / timedelta(days=1)
    if not math.isfinite(when):
        raise ConfigurationError(f"{when} is not a time: an MJD is a finite number of days.")
    return float(when)


def iso_time(days: float) -> str:
    """An MJD as text, to the second, in the form that MAST writes in its documentation.

    Parameters
    ----------
    days : float
        Modified Julian Date.

    Returns
    -------
    str
        ``YYYY-MM-DD HH:MM:SS``, UTC.

    Examples
    --------
    >>> iso_time(55707.5)
    '2011-05-26 12:00:00'
    """
    try:
        return f"{_MJD_ZERO + timedelta(seconds=round(days * 86400)):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        raise ConfigurationError(f"MJD {days} is outside the calendar.") from None


def header_facts(header: Mapping[str, Any]) -> dict[str, Any]:
    """The cards of a primary header as plain values that a data base or JSON can hold.

    Parameters
    ----------
    header : Mapping
        A FITS header.

    Returns
    -------
    dict
        Keyword to str, int, float, bool, or None for a card without a value; no commentary cards.
    """
    facts = {}
    for keyword, value in header.items():
        if keyword in ("", "COMMENT", "HISTORY"):
            continue
        if isinstance(value, str):
            value = value.strip()
        facts[keyword] = value if isinstance(value, (str, int, float, bool)) else None
    return facts


class Left(NamedTuple):
    """An exposure that was left out, or could not be had."""

    name: str
    reason: str


@dataclass(frozen=True)
class ArchiveFile:
    """One file of an exposure, where it lies now.

    Attributes
    ----------
    filename : str
        Such as ``oc4u5rfmq_raw.fits``; never with a folder.
    location : str
        The archive's name for it, or its path.
    size : int or None
        Length in bytes, where the source knows it.
    checksum : str or None
        ``algorithm:hexdigits``, where somebody knows it.
    public : bool
        False within its exclusive-access period.
    target : str or None
        TARGNAME: BIAS or DARK.
    start : float or None
        MJD of the first exposure's start.
    duration : float or None
        Total exposure time in seconds.
    program : int or None
        Proposal number.
    """

    filename: str
    location: str
    size: int | None = None
    checksum: str | None = None
    public: bool = True
    target: str | None = None
    start: float | None = None
    duration: float | None = None
    program: int | None = None

    @property
    def rootname(self) -> str:
        """The nine characters of the exposure, in lower case."""
        return self.filename.split("_")[0].lower()


@dataclass(frozen=True)
class Selection:
    """Which STIS CCD exposures are wanted.

    What an archive's catalogue knows narrows the query; amplifier, gain and binning stand only in the
    files' headers and are applied as soon as a header has been seen.

    Attributes
    ----------
    targets : tuple of str
        TARGNAMEs.
    begin, end : float or None
        MJD; exposures that start at `begin` or later, and before `end`.
    programs : tuple of int
        Proposal numbers; empty for any.
    rootnames : tuple of str
        These exposures and no others; targets, times and durations then do not matter.
    durations : dict or None
        ``{"DARK": (1000, 1200)}``, seconds, ends included; None for the limits of ``config/retrieval.yaml``.
    amps : tuple of str
        CCDAMP; empty for any.
    gains : tuple of int
        CCDGAIN; empty for any.
    binnings : tuple of (int, int)
        (BINAXIS1, BINAXIS2); empty for any.
    suffix : str
        ``raw``, or ``flt`` for the calibrated exposures.
    """

    targets: tuple[str, ...] = ("BIAS", "DARK")
    begin: float | None = None
    end: float | None = None
    programs: tuple[int, ...] = ()
    rootnames: tuple[str, ...] = ()
    durations: Mapping[str, tuple[float, float]] | None = None
    amps: tuple[str, ...] = ()
    gains: tuple[int, ...] = ()
    binnings: tuple[tuple[int, int], ...] = ()
    suffix: str = "raw"

    def __post_init__(self):
        if self.begin is not None and self.end is not None and not self.begin < self.end:
            raise ConfigurationError(
                f"No time lies between MJD {self.begin} and {self.end}: the first must be before the second."
            )
        for name in self.rootnames:
            if not _ROOTNAME.fullmatch(name):
                raise InputError(
                    f"'{name}' is not the rootname of an exposure: nine letters and digits are expected."
                )
        if not re.fullmatch(r"[a-z0-9]+", self.suffix):
            raise ConfigurationError(f"'{self.suffix}' is not a file suffix: raw or flt is expected.")

    def duration_limits(self, target: str, start: float | None = None) -> tuple[float, float]:
        """Shortest and longest exposure time that counts.

        Parameters
        ----------
        target : str
            TARGNAME.
        start : float, optional
            MJD; without it, the limits that cover the whole selection.

        Returns
        -------
        tuple of float
            Seconds, ends included.
        """
        if self.durations is not None:
            return self.durations.get(target, (0.0, math.inf))
        low, high = [], []
        for rule in policy()["durations"].get(target, [{"limits": (0.0, math.inf)}]):
            since = mjd(rule["since"]) if "since" in rule else -math.inf
            until = mjd(rule["until"]) if "until" in rule else math.inf
            if start is not None:
                holds = since <= start < until
            else:
                holds = (self.begin is None or until > self.begin) and (self.end is None or since < self.end)
            if holds:
                low.append(rule["limits"][0])
                high.append(rule["limits"][1])
        return min(low, default=math.inf), max(high, default=-math.inf)

    def wants(self, target: str, start: float, duration: float, program: int) -> bool:
        """Whether an exposure of these catalogue values belongs to the selection.

        Parameters
        ----------
        target : str
            TARGNAME.
        start : float
            MJD.
        duration : float
            Total exposure time, seconds.
        program : int
            Proposal number.

        Returns
        -------
        bool
        """
        if target not in self.targets or (self.programs and program not in self.programs):
            return False
        if (self.begin is not None and start < self.begin) or (self.end is not None and start >= self.end):
            return False
        low, high = self.duration_limits(target, start)
        return low <= duration <= high

    def refusal(self, header: Mapping[str, Any]) -> str | None:
        """Why an exposure with this primary header is not wanted after all.

        Parameters
        ----------
        header : Mapping
            FITS header, or the facts that were remembered of it.

        Returns
        -------
        str or None
            The reason; None for a wanted exposure.
        """

        def text(keyword):
            return str(header.get(keyword, "")).strip()

        if text("INSTRUME") != "STIS" or text("DETECTOR") != "CCD":
            return f"is of {text('INSTRUME') or '?'}/{text('DETECTOR') or '?'}, not of STIS/CCD"
        if not self.rootnames and text("TARGNAME") not in self.targets:
            return f"has TARGNAME {text('TARGNAME') or '(none)'}, wanted is {' or '.join(self.targets)}"
        if self.amps and text("CCDAMP") not in self.amps:
            return f"has CCDAMP {text('CCDAMP') or '(none)'}, wanted is {' or '.join(self.amps)}"
        if self.gains and header.get("CCDGAIN") not in self.gains:
            return f"has CCDGAIN {header.get('CCDGAIN')}, wanted is {' or '.join(map(str, self.gains))}"
        binning = (header.get("BINAXIS1"), header.get("BINAXIS2"))
        if self.binnings and binning not in self.binnings:
            wanted = " or ".join(f"{x}x{y}" for x, y in self.binnings)
            return f"is binned {binning[0]}x{binning[1]}, wanted is {wanted}"
        return None


@dataclass
class Findings:
    """What a source holds of a selection, sorted by time and rootname."""

    selection: Selection
    files: list[ArchiveFile] = field(default_factory=list)
    excluded: list[Left] = field(default_factory=list)


@dataclass
class Fetched:
    """What came of `Findings`.

    Attributes
    ----------
    paths : dict of str to pathlib.Path
        File name to the whole file, for all that are there now.
    excluded : list of Left
        Not wanted, once their headers were seen.
    failed : list of Left
        Wanted, and not to be had.
    """

    paths: dict[str, Path] = field(default_factory=dict)
    excluded: list[Left] = field(default_factory=list)
    failed: list[Left] = field(default_factory=list)


class Source(Protocol):
    """A place that exposures come from."""

    def find(self, selection: Selection) -> Findings:
        """Say which exposures answer the selection.

        Parameters
        ----------
        selection : Selection
            What is wanted.
        """
        ...

    def fetch(
        self, findings: Findings, destination: str | Path | None = None, *, progress: bool = False
    ) -> Fetched:
        """Bring the files that were found to a folder.

        Parameters
        ----------
        findings : Findings
            What `find` returned.
        destination : str or pathlib.Path, optional
            The folder; each source says where it puts the files without one.
        progress : bool, optional
            Show a bar on stderr.
        """
        ...
