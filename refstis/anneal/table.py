"""The anneal table: when the CCD was annealed, and the months between.

A month runs from the end of one anneal to the begin of the next. The shipped table (``config/anneals.csv``) holds
facts with their source; a table of one's own (CSV, YAML, or the ``anneal_info.db`` of refstis 0.8) takes its
place, and anneals that were added to a ledger come on top of it.
"""

import csv
import io
import math
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refstis.anneal.dates import isoformat, parse_date
from refstis.datamodels import config_path
from refstis.datamodels.atomic import atomic_write
from refstis.errors import ConfigurationError, OutputError

if TYPE_CHECKING:
    from refstis.retrieval.mast import Mast

__all__ = [
    "Anneal", "AnnealTable", "Month", "append_to_file", "archived_anneals", "find_anneals", "read_table",
    "shipped_table",
]  # fmt: skip

# The anneal monitor's programmes, one for each year; what follows in their titles is the cycle.
MONITOR_TITLE = "STIS CCD Hot Pixel Annealing"
# Days between the monitor's exposures before and after one anneal at most; the next one is four weeks later.
_LONGEST = 5.0

_COLUMNS = ("begin", "end", "proposal", "visit", "source", "remark")
# What other tables call these columns: the data base of refstis 0.8, and lists exported from it.
_ALIASES = {
    "begin": ("begin", "start", "start_mjd", "start_utc"),
    "end": ("end", "end_mjd", "end_utc"),
    "proposal": ("proposal", "proposid"),
    "visit": ("visit",),
    "source": ("source",),
    "remark": ("remark", "note"),
}
_NAME = re.compile(r"[A-Za-z0-9]*$")
# Strictly: a quotation mark without a second one would swallow the rest of the table without a word.
_CSV: dict[str, Any] = {"skipinitialspace": True, "strict": True}


@dataclass(frozen=True, order=True)
class Anneal:
    """One anneal, or another event that ends a month as an anneal does.

    Attributes
    ----------
    begin : float
        MJD, UTC.
    end : float or None
        MJD; None where it is not known: the next month then starts at `begin`.
    proposal, visit : str
        Of the anneal's own programme; empty where not known. A visit has at least two characters.
    source, remark : str
        Where the dates come from, and what else is to be said.
    """

    begin: float
    end: float | None = field(default=None, compare=False)
    proposal: str = field(default="", compare=False)
    visit: str = field(default="", compare=False)
    source: str = field(default="", compare=False)
    remark: str = field(default="", compare=False)

    def __post_init__(self):
        if self.end is not None and self.end < self.begin:
            raise ConfigurationError(
                f"an anneal cannot end ({isoformat(self.end)}) before it begins ({isoformat(self.begin)})"
            )
        for label in ("proposal", "visit"):
            # Both become part of folder and file names.
            if not _NAME.match(getattr(self, label)):
                raise ConfigurationError(
                    f"the {label} of the anneal of {isoformat(self.begin)} is {getattr(self, label)!r}: "
                    "only letters and digits were expected"
                )

    @property
    def last(self) -> float:
        """MJD from which exposures belong to the next month."""
        return self.begin if self.end is None else self.end

    @property
    def name(self) -> str:
        """Name of the month that this anneal closes: ``12404_11``, or ``anneal_20110124``."""
        if self.proposal and self.visit:
            return f"{self.proposal}_{self.visit}"
        return f"anneal_{isoformat(self.begin, 'days').replace('-', '')}"

    def row(self) -> dict[str, str]:
        """The columns of the shipped table."""
        return {
            "begin": isoformat(self.begin, "milliseconds"),
            "end": "" if self.end is None else isoformat(self.end, "milliseconds"),
            "proposal": self.proposal,
            "visit": self.visit,
            "source": self.source,
            "remark": self.remark,
        }


@dataclass(frozen=True)
class Month:
    """The time between two anneals.

    Attributes
    ----------
    begin, end : float or None
        MJD; exposures with ``begin <= EXPSTART < end`` belong to it. None where the table does not say.
    name : str
        Folder name: proposal and visit of the closing anneal, ``anneal_YYYYMMDD`` with its date where those are
        unknown, and ``anneal_YYYYMMDD_open`` with the opening anneal's date where no closing anneal is known.
    opening, closing : Anneal or None
        The anneals on either side.
    """

    begin: float | None
    end: float | None
    name: str
    opening: Anneal | None = None
    closing: Anneal | None = None

    @property
    def provisional(self) -> bool:
        """Whether the month is not over: the table's last anneal opened it."""
        return self.opening is not None and self.closing is None

    def contains(self, mjd: float) -> bool:
        """Whether an exposure that began at `mjd` belongs to this month."""
        return (self.begin is None or self.begin <= mjd) and (self.end is None or mjd < self.end)


class AnnealTable:
    """Anneals in order of time.

    Parameters
    ----------
    anneals : iterable of Anneal
        In any order.
    name : str
        What messages call this table.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where two anneals overlap.
    """

    def __init__(self, anneals: Iterable[Anneal], name: str = "anneal table"):
        self.name = name
        self.anneals = tuple(sorted(anneals))
        for earlier, later in pairwise(self.anneals):
            if later.begin < earlier.last or later.begin == earlier.begin:
                raise ConfigurationError(
                    f"{name}: the anneal of {isoformat(later.begin)} begins before that of "
                    f"{isoformat(earlier.begin)} ends ({isoformat(earlier.last)}); correct or remove one of them"
                )

    def __len__(self) -> int:
        return len(self.anneals)

    def __iter__(self) -> Iterator[Anneal]:
        return iter(self.anneals)

    def months(self) -> list[Month]:
        """All months: one before the first anneal, one after each.

        Returns
        -------
        list of Month
            In order of time; empty where the table is. The first has no begin and the last no end.
        """
        months = []
        for opening, closing in zip((None, *self.anneals), (*self.anneals, None), strict=True):
            begin = None if opening is None else opening.last
            end = None if closing is None else closing.begin
            if closing is not None:
                name = closing.name
            elif opening is not None:
                date = isoformat(opening.begin, "days").replace("-", "")
                name = f"anneal_{date}_open"
            else:
                break
            if begin is None or end is None or begin < end:
                months.append(Month(begin, end, name, opening, closing))
        names = [month.name for month in months]
        duplicates = (
            sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        )
        if duplicates:
            raise ConfigurationError(
                f"{self.name}: two anneals have the same programme and visit or date ({', '.join(duplicates)}), "
                "and their months would share a folder; correct one of them"
            )
        return months

    def at(self, mjd: float) -> Month | Anneal:
        """The month that a moment belongs to, or the anneal that was going on.

        Parameters
        ----------
        mjd : float
            Modified Julian Date, UTC.

        Returns
        -------
        Month or Anneal
            The month; the anneal where the moment lies between an anneal's begin and its end.

        Raises
        ------
        refstis.errors.ConfigurationError
            Where the table is empty.
        """
        if not self.anneals:
            raise ConfigurationError(f"{self.name} holds no anneal; name a table with --anneals FILE")
        index = bisect_right([anneal.begin for anneal in self.anneals], mjd)
        if index and mjd < self.anneals[index - 1].last:
            return self.anneals[index - 1]
        return next(month for month in self.months() if month.contains(mjd))

    def extended(self, additions: Iterable[Anneal], name: str | None = None) -> "AnnealTable":
        """The same table with others' anneals on top.

        Parameters
        ----------
        additions : iterable of Anneal
            In the order in which they were learnt. One that is the same event as an anneal already there (they
            overlap, or begin within a day of each other) takes its place: that is how an end or a visit that
            was unknown becomes known.
        name : str, optional
            What messages call the result.

        Returns
        -------
        AnnealTable
            A new table.
        """
        anneals = list(self.anneals)
        for addition in additions:
            anneals = [anneal for anneal in anneals if not same_event(anneal, addition)]
            anneals.append(addition)
        return AnnealTable(anneals, name or self.name)


def same_event(one: Anneal, other: Anneal) -> bool:
    """Whether two entries speak of the same anneal: they overlap or begin within a day of each other.

    Parameters
    ----------
    one, other : Anneal
        Two entries.

    Returns
    -------
    bool
        Whether they are one anneal.
    """
    return abs(one.begin - other.begin) < 1.0 or (one.begin < other.last and other.begin < one.last)


def shipped_table() -> AnnealTable:
    """The table that comes with refstis: anneals from 1997 to 2017.

    Returns
    -------
    AnnealTable
        Facts with their source; proposal, visit and end may be unknown.
    """
    return read_table(config_path("anneals.csv"))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read as an anneal table: {error.strerror}") from None


def read_table(path: str | os.PathLike) -> AnnealTable:
    """Read an anneal table.

    Parameters
    ----------
    path : path-like
        CSV with a header line, YAML (a list of mappings), or a SQLite data base with the table ``anneals`` (id,
        proposid, visit, start, end) as refstis 0.8 made it. Which of them is told from the content. Dates are
        MJD or ISO 8601 in UTC.

    Returns
    -------
    AnnealTable
        The anneals in it.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where the file cannot be read, has no column for the begin, or holds a date that is none.
    """
    path = Path(path)
    content = _content(path)
    if content.startswith(b"SQLite format 3\0"):
        rows = _rows_of_database(path)
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ConfigurationError(
                f"{path}: is neither CSV nor YAML nor a SQLite data base; an anneal table was expected"
            ) from None
        rows = _rows_of_yaml(path, text) if _looks_like_yaml(text) else _rows_of_csv(path, text)
    anneals = []
    for where, row in rows:
        try:
            anneals.append(_anneal_of_row(row))
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}, {where}: {error}") from None
    return AnnealTable(anneals, str(path))


def _looks_like_yaml(text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return bool(lines) and (lines[0].lstrip().startswith(("-", "[", "{")) or lines[0].rstrip().endswith(":"))


def _rows_of_yaml(path: Path, text: str) -> Sequence[tuple[str, Mapping]]:
    from refstis.datamodels.damage import parse_yaml

    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise ConfigurationError(f"{path}: is not valid YAML ({error})") from None
    if isinstance(content, Mapping):
        content = content.get("anneals")
    if not isinstance(content, Sequence) or not all(isinstance(row, Mapping) for row in content):
        raise ConfigurationError(f"{path}: a list of anneals with 'begin' and 'end' was expected")
    return [(f"entry {number}", row) for number, row in enumerate(content, 1)]


def _rows_of_csv(path: Path, text: str) -> Sequence[tuple[str, Mapping]]:
    # Only whole lines can be comments: a remark may hold a '#'.
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    reader = csv.DictReader(lines, **_CSV)
    try:
        rows = [(f"row {number}", row) for number, row in enumerate(reader, 1) if any(row.values())]
    except csv.Error as error:
        raise ConfigurationError(f"{path}: is not valid CSV: {error}") from None
    names = {name.strip().lower() for name in reader.fieldnames or () if name}
    if not names.intersection(_ALIASES["begin"]):
        raise ConfigurationError(f"{path}: has no column 'begin'; expected are {', '.join(_COLUMNS)}")
    return rows


def _rows_of_database(path: Path) -> Sequence[tuple[str, Mapping]]:
    import sqlite3
    from contextlib import closing
    from urllib.parse import quote

    # Read-only, so that neither a journal nor a changed time is left behind.
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            cursor = connection.execute("SELECT * FROM anneals")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, values, strict=True)) for values in cursor]
    except (UnicodeDecodeError, sqlite3.Error) as error:
        raise ConfigurationError(
            f"{path}: has no readable table 'anneals' (id, proposid, visit, start, end): {error}"
        ) from None
    return [(f"row {number}", row) for number, row in enumerate(rows, 1)]


def _anneal_of_row(row: Mapping) -> Anneal:
    lowered = {str(key).strip().lower(): value for key, value in row.items() if key is not None}

    def value(column: str):
        for alias in _ALIASES[column]:
            found = lowered.get(alias)
            if found is not None and str(found).strip() != "":
                return found.strip() if isinstance(found, str) else found
        return None

    begin, end = value("begin"), value("end")
    if begin is None:
        raise ConfigurationError("the begin of the anneal is missing")
    return Anneal(
        begin=parse_date(begin),
        end=None if end is None else parse_date(end),
        proposal=_whole(value("proposal")),
        visit=_whole(value("visit")).zfill(2) if value("visit") is not None else "",
        source=str(value("source") or ""),
        remark=str(value("remark") or ""),
    )


def _whole(value) -> str:
    # A data base column of type REAL gives visit 11 as 11.0.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)


def append_to_file(path: str | os.PathLike, anneal: Anneal) -> bool:
    """Add one anneal to a table of one's own.

    Rows are only ever added; what is there stays as it is.

    Parameters
    ----------
    path : path-like
        A CSV file (made where it does not exist) or a data base of refstis 0.8.
    anneal : Anneal
        What to add.

    Returns
    -------
    bool
        False where it was there already.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where the table already holds this anneal with other values, or is of a kind that cannot be added to.
    """
    path = Path(path)
    table = read_table(path) if path.exists() else AnnealTable((), str(path))
    for known in table:
        if same_event(known, anneal):
            # Not every kind of table keeps source and remark.
            if list(known.row().values())[:4] == list(anneal.row().values())[:4]:
                return False
            raise ConfigurationError(
                f"{path}: already holds the anneal of {isoformat(known.begin)}, with other values; "
                "correct that row in the file, or add the anneal to a ledger, which keeps both"
            )
    content = _content(path) if path.exists() else f"{','.join(_COLUMNS)}\n".encode()
    if content.startswith(b"SQLite format 3\0"):
        _append_to_database(path, anneal)
        return True
    text = content.decode("utf-8-sig")
    if _looks_like_yaml(text):
        raise ConfigurationError(
            f"{path}: anneals are added to CSV files and data bases; edit a YAML file by hand"
        )
    header = next(csv.reader((line for line in text.splitlines() if not line.startswith("#")), **_CSV))
    row = anneal.row()
    columns = [
        next((name for name, aliases in _ALIASES.items() if column.strip().lower() in aliases), None)
        for column in header
    ]
    if "mjd" in header[columns.index("begin")].lower():
        row["begin"] = f"{anneal.begin:.8f}"
        row["end"] = "" if anneal.end is None else f"{anneal.end:.8f}"
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(
        [row.get(column, "") if column else "" for column in columns]
    )
    with atomic_write(path, "w") as stream:
        stream.write(text + ("" if text.endswith("\n") else "\n") + line.getvalue())
    return True


def _append_to_database(path: Path, anneal: Anneal) -> None:
    import sqlite3
    from contextlib import closing

    if anneal.end is None:
        raise ConfigurationError(f"{path}: this kind of data base needs the end of the anneal")
    number = [int(text) if text.isdecimal() else text for text in (anneal.proposal, anneal.visit)]
    try:
        with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
            connection.execute(
                'INSERT INTO anneals (proposid, visit, start, "end") VALUES (?, ?, ?, ?)',
                (*number, anneal.begin, anneal.end),
            )
    except sqlite3.Error as error:
        raise OutputError(f"{path}: the anneal could not be added: {error}") from None


def find_anneals(folder: str | os.PathLike) -> list[Anneal]:
    """Find anneals from the anneal monitor's own exposures.

    The monitor takes exposures just before and just after each anneal, in the visits on either side of the
    anneal's own. Two CR-rejected exposures (``?????????_crj.fits``) alone in a folder are such a pair; among
    more, two that follow each other in one programme, with visit numbers that differ by two. The first begins
    the anneal, the second ends it, and the visit before the second's is the anneal's own.

    Parameters
    ----------
    folder : path-like
        Searched with all folders below it; each folder is looked at for itself.

    Returns
    -------
    list of Anneal
        In order of time.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where the folder does not exist.
    """
    from refstis.anneal.headers import read_headers
    from refstis.errors import InputError

    root = Path(folder)
    if not root.is_dir():
        raise ConfigurationError(
            f"{root}: is not a folder; the folder of the anneal monitor's exposures was expected"
        )
    found: dict[float, Anneal] = {}
    for directory in [root, *sorted(path for path in root.rglob("*") if path.is_dir())]:
        monitors = []
        for path in sorted(directory.glob("?????????_crj.fits")):
            try:
                header = read_headers(path).primary
                visit = str(header["OBSET_ID"]).strip()
                monitors.append((float(header["TEXPSTRT"]), str(header["PROPOSID"]).strip(), visit))
            except (InputError, KeyError, ValueError, TypeError):
                continue
        monitors.sort()
        for (begin, proposal, before), (end, other, after) in pairwise(monitors):
            numbered = before.isdecimal() and after.isdecimal()
            apart = int(after) - int(before) if numbered else None
            if len(monitors) == 2 or (proposal == other and apart == 2):
                visit = str(int(after) - 1).zfill(2) if numbered else ""
                found[begin] = Anneal(begin, end, proposal, visit, "anneal monitor exposures")
    return [found[begin] for begin in sorted(found)]


def archived_anneals(archive: "Mast", since: float | None = None) -> list[Anneal]:
    """Find anneals from what an archive's catalogue says of the anneal monitor's exposures.

    Each anneal is a visit of a programme of the title "STIS CCD Hot Pixel Annealing"; the visits before and after it
    take biases and darks. The first exposure of the one begins the anneal, that of the other ends it. Nothing is
    downloaded.

    Parameters
    ----------
    archive : Mast
        Knows titles of programmes and times of exposures.
    since : float, optional
        MJD; earlier exposures are not asked for.

    Returns
    -------
    list of Anneal
        In order of time.

    Raises
    ------
    refstis.errors.RefstisError
        Where the archive cannot be asked.
    """
    from refstis.retrieval import Selection

    programs = archive.programs(MONITOR_TITLE)
    if not programs:
        return []
    every = (0.0, math.inf)
    wanted = Selection(
        targets=("BIAS", "DARK"),
        begin=since,
        programs=tuple(programs),
        durations={"BIAS": every, "DARK": every},
    )
    visits: dict[tuple[int, str], float] = {}
    for rootname, entry in archive.catalogue(wanted).items():
        # instrument, programme (3), visit (2), exposure (2) and what sent it
        key = entry["program"], rootname[4:6].upper()
        visits[key] = min(entry["start"], visits.get(key, math.inf))
    found = []
    for (program, visit), begin in visits.items():
        if not visit.isdecimal():
            continue
        end = visits.get((program, f"{int(visit) + 2:02d}"))
        if end is not None and 0 < end - begin <= _LONGEST:
            source = f"archive: {programs[program]}"
            found.append(Anneal(begin, end, str(program), f"{int(visit) + 1:02d}", source))
    return sorted(found)
