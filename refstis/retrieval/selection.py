"""What is looked for, what was found and what came: the words that all sources of exposures share."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
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
def policy(name: str = "retrieval.yaml") -> dict[str, Any]:
    """The numbers of a shipped configuration file, read once.

    Parameters
    ----------
    name : str, optional
        The file, below ``config``.

    Returns
    -------
    dict
        Its content.
    """
    import yaml

    from refstis.datamodels import config_path

    return yaml.safe_load(config_path(name).read_text(encoding="utf-8"))


def mjd(moment: datetime) -> float:
    """Modified Julian Date of a moment.

    Parameters
    ----------
    moment : datetime.datetime
        UTC where it names no zone.

    Returns
    -------
    float
        Days since 1858-11-17 00:00 UTC.

    Examples
    --------
    >>> from datetime import datetime
    >>> mjd(datetime(2011, 5, 26, 12))
    55707.5
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _MJD_ZERO) / timedelta(days=1)


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


@cache
def _windows(target: str) -> tuple[tuple[float, float, float, float], ...]:
    """Exposure times that the policy allows: from MJD, until MJD, shortest, longest."""
    rules = policy("policy.yaml")["selection"]
    if target == rules["bias"]["target"]:
        longest = math.nextafter(rules["bias"]["exposure_time_below"], 0)
        return ((-math.inf, math.inf, 0.0, longest),)
    if target != rules["dark"]["target"]:
        return ((-math.inf, math.inf, 0.0, math.inf),)
    windows = []
    for rule in rules["dark"]["exposure_times"]:
        since = mjd(datetime.combine(rule["from"], time())) if "from" in rule else -math.inf
        until = mjd(datetime.combine(rule["until"], time())) if "until" in rule else math.inf
        if "values" in rule:
            limits = [(value - rule["tolerance"], value + rule["tolerance"]) for value in rule["values"]]
        else:
            limits = [(rule["minimum"], rule["maximum"])]
        windows += [(since, until, low, high) for low, high in limits]
    return tuple(windows)


class Left(NamedTuple):
    """An exposure that was left out, or could not be had.

    Parameters
    ----------
    name : str
        File name, path or rootname: what is known of it.
    reason : str
        Continues a sentence that begins with the name.
    """

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
        ``{"DARK": (1000, 1200)}``, seconds, ends included; None for the shipped policy of what a month is
        made of (``config/policy.yaml``). Other targets than biases and darks may last as they will.
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

    def duration_limits(self, target: str) -> tuple[float, float]:
        """Shortest and longest exposure time that may count, at any time of the selection.

        Parameters
        ----------
        target : str
            TARGNAME.

        Returns
        -------
        tuple of float
            Seconds, ends included.
        """
        if self.durations is not None:
            return self.durations.get(target, (0.0, math.inf))
        begin = -math.inf if self.begin is None else self.begin
        end = math.inf if self.end is None else self.end
        fitting = [window for window in _windows(target) if window[1] > begin and window[0] < end]
        return min((window[2] for window in fitting), default=0.0), max(
            (window[3] for window in fitting), default=0.0
        )

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
        if self.durations is not None:
            low, high = self.duration_limits(target)
            return low <= duration <= high
        return any(
            since <= start < until and low <= duration <= high for since, until, low, high in _windows(target)
        )

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
    """What a source holds of a selection.

    Attributes
    ----------
    selection : Selection
        What was asked for.
    files : list of ArchiveFile
        In order of time and rootname.
    excluded : list of Left
        What belongs to the selection and yet cannot be taken.
    """

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
