"""The ledger: one SQL data base of exposures, anneals, products, runs and verdicts.

A SQLite file beside the products by default, PostgreSQL by URL. What a raw's headers say is remembered by the
checksum of its content, so a file that was seen once is never read again, wherever it is moved; that a file still is
what it was is told from its size, times and inode. Nothing here is needed to read a product: a lost ledger costs
time, not results.
"""

import importlib
import itertools
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from refstis.anneal.exposures import Exclusion, Exposure, Signature, read_exposure, rootname_of, signature_of
from refstis.anneal.schema import (
    anneals,
    exposures,
    files,
    marks,
    migrate,
    products,
    runs,
    verdicts,
)
from refstis.anneal.table import Anneal
from refstis.cores import cores
from refstis.datamodels.atomic import make_folder
from refstis.errors import ConfigurationError, InputError, OutputError, lacks_resources

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

__all__ = ["DEFAULT_NAME", "Ledger", "Mark", "ProductRecord", "Verdict", "without_password"]

DEFAULT_NAME = "refstis_ledger.db"
# A file that was changed within this time of being read may have been changed again without its times telling.
_RACE_NS = 2_000_000_000
_BATCH = 200
# What comes out of a data base into which somebody else has written.
_STRANGE = (LookupError, OverflowError, TypeError, ValueError)
# Parameters of one statement; SQLite allows 32766, PostgreSQL 65535.
_CHUNK = 5000

# A run that is ended while a connection is being closed ends in one line: SQLAlchemy's own log, a traceback, goes where
# the calling program wants logs, and nowhere if it has said nothing.
logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Mark:
    """Somebody's judgement of an exposure.

    Attributes
    ----------
    rootname : str
        Of the exposure: the judgement holds for every version of its file.
    bad : bool
        Whether it is left out.
    reason, marked : str
        Why, and when (UTC).
    """

    rootname: str
    bad: bool
    reason: str
    marked: str = ""


@dataclass(frozen=True)
class ProductRecord:
    """What is known of a product that was made.

    Attributes
    ----------
    path : str
        Absolute.
    kind, month, key : str
        Of the plan's node that it was made from.
    checksum : str
        sha256 of the file.
    signature : Signature
        Of the file when it was recorded.
    provisional : bool
        Whether its month was not over.
    record : dict
        What the key was made of: inputs, parameters, versions.
    run, made : str
        The run that made it, and when (UTC).
    """

    path: str
    kind: str
    month: str
    key: str
    checksum: str
    signature: Signature
    provisional: bool = False
    record: dict[str, Any] = field(default_factory=dict)
    run: str = ""
    made: str = ""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check of one product.

    Attributes
    ----------
    product, checksum : str
        Absolute path, and sha256 of the file that was checked.
    name, outcome : str
        The check, and PASS, CAUTION or FAIL.
    reason : str
        Why.
    figure, limit : float or None
        What was measured and what was allowed.
    judged : str
        When (UTC).
    """

    product: str
    checksum: str
    name: str
    outcome: str
    reason: str = ""
    figure: float | None = None
    limit: float | None = None
    judged: str = ""


class Ledger:
    """An open ledger.

    Parameters
    ----------
    where : str or path-like
        A SQLAlchemy URL of a SQLite or PostgreSQL data base, or the path of a SQLite file. It is made, or brought to
        the present schema, where needed.
    new : bool
        Whether a file that is not there may be made.

    Attributes
    ----------
    name : str
        What it is called in messages, without a password.
    new : bool
        Whether the file was not there before.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where the URL is wrong, its server or driver is not there, or the file is no ledger, or not there.
    refstis.errors.OutputError
        Where it cannot be written.
    """

    def __init__(self, where: str | os.PathLike, new: bool = True):
        url, self.name = _url_of(where)
        self.new = url.get_backend_name() == "sqlite" and not Path(self.name).exists()
        if self.new and not new:
            raise ConfigurationError(
                f"{self.name}: there is no ledger; plan or run with a folder of raws begins one, --ledger and -o name "
                "another"
            )
        if self.new:
            make_folder(Path(self.name).parent)
        self._engine = _engine_of(url, self.name)
        with self._errors():
            migrate(self._engine)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # ---------------------------------------------------------------- exposures

    def look(
        self, paths: Sequence[str], progress: Callable[[int, int], None] | None = None
    ) -> tuple[list[Exposure], list[Exclusion]]:
        """What the given files hold; those that are new or changed are read and remembered.

        Parameters
        ----------
        paths : sequence of str
            Absolute paths of raws.
        progress : callable, optional
            Called with the number of files read so far and the number to be read.

        Returns
        -------
        known : list of Exposure
            In the order of `paths`; broken files are among them, with their fault.
        unreadable : list of Exclusion
            Files that could not be opened.
        """
        remembered = {path: (signature, checked, one) for path, signature, checked, one in self._files(paths)}
        known: dict[str, Exposure] = {}
        unreadable: list[Exclusion] = []
        unread = []
        for path in paths:
            try:
                path.encode()
                signature = signature_of(path)
            except UnicodeEncodeError:
                name = ascii(Path(path).name)
                unreadable.append(Exclusion(name, "its name is not valid UTF-8; rename the file", fault=True))
                continue
            except OSError as error:
                unreadable.append(_unreadable(path, error))
                continue
            if path in remembered:
                before, checked, exposure = remembered[path]
                if signature == before and max(signature.mtime_ns, signature.ctime_ns) < checked - _RACE_NS:
                    known[path] = exposure
                    continue
            unread.append(path)
        # Reading is hashing and input, both of which leave the interpreter to other threads.
        with ThreadPoolExecutor(cores()) as threads:
            outcomes = threads.map(_read, unread)
            for start in range(0, len(unread), _BATCH):
                batch = list(itertools.islice(outcomes, _BATCH))
                for path, outcome in zip(unread[start : start + _BATCH], batch, strict=True):
                    if isinstance(outcome, OSError):
                        if lacks_resources(outcome):
                            raise InputError(
                                f"{path}: cannot be read ({outcome.strerror}), as is so of all that comes after it. "
                                "End other programs or raise the limits (ulimit -a), and run again."
                            ) from outcome
                        unreadable.append(_unreadable(path, outcome))
                    else:
                        known[path] = outcome[0]
                self._remember([outcome for outcome in batch if not isinstance(outcome, OSError)])
                if progress:
                    progress(min(start + _BATCH, len(unread)), len(unread))
        return [known[path] for path in paths if path in known], unreadable

    def signatures(self, paths: Sequence[str]) -> dict[str, Signature]:
        """How files looked to the file system when what they hold was read.

        Parameters
        ----------
        paths : sequence of str
            Absolute paths.

        Returns
        -------
        dict
            Path to signature, of files that are known.
        """
        return {path: signature for path, signature, _, _ in self._files(paths)}

    def exposures(self) -> list[Exposure]:
        """All exposures that this ledger remembers.

        Returns
        -------
        list of Exposure
            In order of time; each once, with the path where it was last seen.
        """
        query = (
            sa.select(exposures.c.checksum, exposures.c.facts, sa.func.max(files.c.path))
            .select_from(exposures.outerjoin(files, files.c.checksum == exposures.c.checksum))
            .group_by(exposures.c.checksum)
        )
        with self._read() as connection:
            found = [
                Exposure.from_facts(path or "", checksum, facts)
                for checksum, facts, path in connection.execute(query)
            ]
            return sorted(found, key=lambda exposure: exposure.order)

    def remember(self, known: Iterable[Exposure]) -> None:
        """Remember exposures whose files are elsewhere, such as those that another ledger knows.

        Parameters
        ----------
        known : iterable of Exposure
            With checksum and facts; their paths are not kept.
        """
        rows = [_exposure_row(exposure) for exposure in known]
        with self._write() as connection:
            for start in range(0, len(rows), _CHUNK // len(exposures.c)):
                part = rows[start : start + _CHUNK // len(exposures.c)]
                connection.execute(self._insert(exposures).values(part).on_conflict_do_nothing())

    def _files(self, paths: Sequence[str]) -> Iterator[tuple[str, Signature, int, Exposure]]:
        # Names that are no UTF-8 hold surrogates, which no data base takes.
        usable = [path for path in paths if not any("\ud800" <= character <= "\udfff" for character in path)]
        with self._read() as connection:
            for start in range(0, len(usable), _CHUNK):
                query = (
                    sa.select(files, exposures.c.facts)
                    .join(exposures, exposures.c.checksum == files.c.checksum)
                    .where(files.c.path.in_(usable[start : start + _CHUNK]))
                )
                for row in connection.execute(query):
                    signature = Signature(int(row.size), int(row.mtime_ns), int(row.ctime_ns), str(row.inode))
                    yield (
                        row.path,
                        signature,
                        int(row.checked_ns),
                        Exposure.from_facts(row.path, row.checksum, row.facts),
                    )

    def _remember(self, outcomes: Sequence[tuple[Exposure, Signature, int]]) -> None:
        if not outcomes:
            return
        facts = {exposure.checksum: _exposure_row(exposure) for exposure, _, _ in outcomes}
        rows = [
            {
                "path": exposure.path,
                "checksum": exposure.checksum,
                "size": signature.size,
                "mtime_ns": signature.mtime_ns,
                "ctime_ns": signature.ctime_ns,
                "inode": signature.inode,
                "checked_ns": checked,
            }
            for exposure, signature, checked in outcomes
        ]
        with self._write() as connection:
            connection.execute(self._insert(exposures).values(list(facts.values())).on_conflict_do_nothing())
            insert = self._insert(files)
            update = {name: insert.excluded[name] for name in rows[0] if name != "path"}
            connection.execute(
                insert.values(rows).on_conflict_do_update(index_elements=["path"], set_=update)
            )

    # ---------------------------------------------------------------- marks

    def mark(self, rootname: str, bad: bool, reason: str) -> None:
        """Record a judgement of an exposure.

        Parameters
        ----------
        rootname : str
            Of the exposure.
        bad : bool
            Whether it is to be left out from now on.
        reason : str
            Why.
        """
        with self._write() as connection:
            connection.execute(
                marks.insert().values(rootname=rootname.lower(), bad=bad, reason=reason, marked=_now())
            )

    def marks(self) -> dict[str, Mark]:
        """The judgement that holds of each exposure that was ever judged.

        Returns
        -------
        dict
            Rootname to its latest mark.
        """
        query = sa.select(marks.c.rootname, marks.c.bad, marks.c.reason, marks.c.marked).order_by(marks.c.id)
        with self._read() as connection:
            return {
                row.rootname: Mark(row.rootname, bool(row.bad), row.reason, row.marked)
                for row in connection.execute(query)
            }

    # ---------------------------------------------------------------- anneals

    def add_anneals(self, found: Iterable[Anneal]) -> list[Anneal]:
        """Add anneals; what is there stays.

        Parameters
        ----------
        found : iterable of Anneal
            What was learnt.

        Returns
        -------
        list of Anneal
            Those that were not yet there in just this form.
        """
        known = {tuple(anneal.row().items()) for anneal in self.anneals()}
        new = [anneal for anneal in found if tuple(anneal.row().items()) not in known]
        with self._write() as connection:
            for anneal in new:
                connection.execute(
                    anneals.insert().values(
                        begin_mjd=anneal.begin,
                        end_mjd=anneal.end,
                        proposal=anneal.proposal,
                        visit=anneal.visit,
                        source=anneal.source,
                        remark=anneal.remark,
                        added=_now(),
                    )
                )
        return new

    def anneals(self) -> list[Anneal]:
        """Anneals that were added to this ledger.

        Returns
        -------
        list of Anneal
            In the order in which they were added.
        """
        with self._read() as connection:
            return [
                Anneal(row.begin_mjd, row.end_mjd, row.proposal, row.visit, row.source, row.remark)
                for row in connection.execute(sa.select(anneals).order_by(anneals.c.id))
            ]

    # ---------------------------------------------------------------- products

    def products(self, paths: Sequence[str] | None = None) -> dict[str, ProductRecord]:
        """What is known of products.

        Parameters
        ----------
        paths : sequence of str, optional
            Absolute paths; all products where it is left out.

        Returns
        -------
        dict
            Path to record.
        """
        found = {}
        chunks = [None] if paths is None else [paths[n : n + _CHUNK] for n in range(0, len(paths), _CHUNK)]
        with self._read() as connection:
            for chunk in chunks:
                query = (
                    sa.select(products)
                    if chunk is None
                    else sa.select(products).where(products.c.path.in_(chunk))
                )
                for row in connection.execute(query):
                    found[row.path] = ProductRecord(
                        row.path,
                        row.kind,
                        row.month,
                        row.key,
                        row.checksum,
                        Signature(row.size, row.mtime_ns, row.ctime_ns, row.inode),
                        bool(row.provisional),
                        row.record,
                        row.run,
                        row.made,
                    )
        return found

    def record_product(self, product: ProductRecord) -> None:
        """Record that a product was made; an earlier record of the same path is replaced.

        Parameters
        ----------
        product : ProductRecord
            Its `made` is set here.
        """
        signature = product.signature
        row = {
            "path": product.path,
            "kind": product.kind,
            "month": product.month,
            "key": product.key,
            "checksum": product.checksum,
            "size": signature.size,
            "mtime_ns": signature.mtime_ns,
            "ctime_ns": signature.ctime_ns,
            "inode": signature.inode,
            "provisional": product.provisional,
            "record": product.record,
            "run": product.run,
            "made": _now(),
        }
        insert = self._insert(products)
        update = {name: insert.excluded[name] for name in row if name != "path"}
        with self._write() as connection:
            connection.execute(insert.values(row).on_conflict_do_update(index_elements=["path"], set_=update))

    # ---------------------------------------------------------------- runs and verdicts

    def start_run(self, run: str, details: Mapping[str, Any]) -> None:
        """Record that a run began.

        Parameters
        ----------
        run : str
            Its name, unique in this ledger.
        details : mapping
            Command, folders, versions: whatever JSON can hold.
        """
        with self._write() as connection:
            connection.execute(
                runs.insert().values(run=run, began=_now(), status="running", details=dict(details))
            )

    def finish_run(self, run: str, status: str, details: Mapping[str, Any]) -> None:
        """Record how a run ended.

        Parameters
        ----------
        run : str
            Its name.
        status : str
            Such as ``done``, ``failed`` or ``interrupted``.
        details : mapping
            The whole record of the run; it replaces what was recorded at its begin.
        """
        update = (
            runs.update().where(runs.c.run == run).values(ended=_now(), status=status, details=dict(details))
        )
        with self._write() as connection:
            connection.execute(update)

    def runs(self) -> list[dict[str, Any]]:
        """All runs, in the order in which they began.

        Returns
        -------
        list of dict
            With the keys run, began, ended, status and details.
        """
        with self._read() as connection:
            query = sa.select(runs).order_by(runs.c.began, runs.c.run)
            return [dict(row) for row in connection.execute(query).mappings()]

    def add_verdicts(self, found: Iterable[Verdict]) -> None:
        """Record the outcome of checks.

        Parameters
        ----------
        found : iterable of Verdict
            Their `judged` is set here.
        """
        rows = [{**asdict(verdict), "judged": _now()} for verdict in found]
        if rows:
            with self._write() as connection:
                connection.execute(verdicts.insert(), rows)

    def verdicts(self, product: str | None = None) -> list[Verdict]:
        """Outcomes of checks, oldest first.

        Parameters
        ----------
        product : str, optional
            Absolute path of the one product that is asked for.

        Returns
        -------
        list of Verdict
            All that were ever recorded, of every version of the file.
        """
        query = sa.select(verdicts).order_by(verdicts.c.id)
        if product is not None:
            query = query.where(verdicts.c.product == product)
        with self._read() as connection:
            columns = [column for column in verdicts.c if column.name != "id"]
            return [
                Verdict(**row) for row in connection.execute(query.with_only_columns(*columns)).mappings()
            ]

    # ---------------------------------------------------------------- the data base itself

    def _insert(self, table: sa.Table):
        # the one in use is there already
        dialect = importlib.import_module(f"sqlalchemy.dialects.{self._engine.dialect.name}")
        return dialect.insert(table)

    @contextmanager
    def _read(self) -> Iterator["Connection"]:
        with (
            self._errors(),
            self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            yield connection

    @contextmanager
    def _write(self) -> Iterator["Connection"]:
        with self._errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            cause = " ".join(str(error.orig).split())
            if "readonly" in cause or "read-only" in cause or "permission denied" in cause:
                raise OutputError(
                    f"{self.name}: cannot be written ({cause}); name another ledger with --ledger"
                ) from None
            if "is locked" in cause:
                raise OutputError(f"{self.name}: is in use by another process; try again later") from None
            if "disk is full" in cause or "No space left" in cause:
                raise OutputError(f"{self.name}: cannot be written ({cause}); free some space") from None
            raise ConfigurationError(
                f"{self.name}: cannot be used as a ledger ({cause}); check --ledger"
            ) from None
        except _STRANGE as error:
            raise ConfigurationError(
                f"{self.name}: holds what no refstis has written ({type(error).__name__}: {error}); it is damaged: "
                "begin a new one, products are found by their records"
            ) from error


def without_password(text: str) -> str:
    """A word of a command line, or a URL, as it may be shown and recorded.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        With stars in place of the password of a URL, before its host or in its query.

    Examples
    --------
    >>> without_password("--ledger=postgresql://ada:secret@host/db")
    '--ledger=postgresql://ada:***@host/db'
    >>> without_password("postgresql://host/db?user=ada&password=secret")
    'postgresql://host/db?user=ada&password=***'
    """
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&](?:ssl)?password=)[^&\s]*", r"\1***", text)


def _url_of(where: str | os.PathLike) -> tuple[sa.URL, str]:
    text = os.fspath(where)
    if "://" not in text:
        url = sa.URL.create("sqlite", database=str(Path(text).absolute()))
    else:
        try:
            url = sa.make_url(text)
        except (sa.exc.ArgumentError, ValueError):
            # The message of the library repeats the URL, and with it a password.
            raise ConfigurationError(
                "--ledger is neither a path nor a URL such as postgresql://user@host/database"
            ) from None
    backend = url.get_backend_name()
    name = str(url.database) if backend == "sqlite" else without_password(url.render_as_string())
    if backend not in ("sqlite", "postgresql"):
        raise ConfigurationError(
            f"{name}: a ledger is a SQLite file or a PostgreSQL data base, not {backend}"
        )
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return url, name


def _engine_of(url: sa.URL, name: str) -> "Engine":
    backend = url.get_backend_name()
    try:
        engine = sa.create_engine(url, **({"connect_args": {"timeout": 60}} if backend == "sqlite" else {}))
    except (ImportError, sa.exc.NoSuchModuleError):
        raise ConfigurationError(
            f"{name}: the driver for PostgreSQL is not installed; pip install 'refstis[postgresql]'"
        ) from None
    if backend == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection, _record) -> None:
    # Transactions begin where we say so: the driver's own idea of it leaves reading and writing in one
    # transaction open to "database is locked".
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: "Connection") -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")


def _exposure_row(exposure: Exposure) -> dict[str, Any]:
    return {
        "checksum": exposure.checksum,
        "rootname": exposure.rootname,
        "target": exposure.target,
        "begin_mjd": exposure.begin,
        "fault": exposure.fault,
        "facts": exposure.facts(),
    }


def _read(path: str) -> tuple[Exposure, Signature, int] | OSError:
    try:
        for _ in range(3):
            checked = time.time_ns()
            signature = signature_of(path)
            exposure = read_exposure(path)
            if signature_of(path) == signature:
                return exposure, signature, checked
    except OSError as error:
        return error
    return OSError("it changes while it is read")


def _unreadable(path: str, error: OSError) -> Exclusion:
    reason = f"cannot be read: {error.strerror or error}; check the file and its rights"
    return Exclusion(Path(path).name, reason, True, path, rootname_of(path))
