import errno
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from refstis.anneal import ledger as ledger_module
from refstis.anneal import schema
from refstis.anneal.exposures import find_raws, read_exposure, signature_of
from refstis.anneal.ledger import Ledger, ProductRecord, Verdict
from refstis.anneal.table import Anneal
from refstis.errors import ConfigurationError, InputError, OutputError

OLD = time.time_ns() - 10**12


@pytest.fixture
def raws(tmp_path, write_raw):
    folder = tmp_path / "raws"
    folder.mkdir()
    for number in range(4):
        write_raw(folder / f"oabc01a{number}q_raw.fits", begin=56430.0 + number)
    age(folder)
    return find_raws(folder)


def age(folder):
    """Let files look as if they had been there for a while (their ctime cannot be set)."""
    for path in Path(folder).iterdir():
        os.utime(path, ns=(OLD, OLD))


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that are read, while a file is trusted from the moment it was read."""
    names = []

    def counting(path):
        names.append(Path(path).name)
        return read_exposure(path)

    monkeypatch.setattr(ledger_module, "read_exposure", counting)
    monkeypatch.setattr(ledger_module, "_RACE_NS", 0)
    return names


def test_a_file_is_read_once(ledger, raws, reads):
    first, unreadable = ledger.look(raws)
    assert unreadable == []
    assert [one.path for one in first] == raws
    assert first == [read_exposure(path) for path in raws]
    assert sorted(reads) == [Path(path).name for path in raws]
    assert ledger.look(raws)[0] == first
    assert len(reads) == 4
    assert ledger.exposures() == first


def test_only_what_changed_is_read_again(ledger, raws, reads, write_raw):
    before, _ = ledger.look(raws)
    reads.clear()
    path = Path(raws[1])
    status = path.stat()
    path.unlink()
    write_raw(path, begin=56431.5)
    # Same size, same modification time: only inode and change time tell.
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    after, _ = ledger.look(raws)
    assert reads == [path.name]
    assert after[1].begin == 56431.5
    assert [one for n, one in enumerate(after) if n != 1] == [one for n, one in enumerate(before) if n != 1]


def test_a_file_that_just_changed_is_not_trusted(ledger, raws, reads, monkeypatch):
    monkeypatch.setattr(ledger_module, "_RACE_NS", 3600 * 10**9)
    ledger.look(raws)
    ledger.look(raws)
    assert len(reads) == 8


def test_a_moved_file_keeps_its_facts(ledger, raws, reads, tmp_path):
    before, _ = ledger.look(raws)
    target = tmp_path / "elsewhere_raw.fits"
    Path(raws[0]).rename(target)
    moved, unreadable = ledger.look([raws[0], str(target)])
    assert moved == [replace(before[0], path=str(target))]
    assert [(one.name, one.fault) for one in unreadable] == [("oabc01a0q_raw.fits", True)]
    assert len(ledger.exposures()) == 4


def test_broken_and_unreadable_files_are_named(ledger, tmp_path):
    (tmp_path / "bad_raw.fits").write_bytes(b"nothing")
    (tmp_path / "dir_raw.fits").mkdir()
    name = os.fsdecode(b"\xff_raw.fits")
    (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / "pipe_raw.fits")
    names = ("bad_raw.fits", "dir_raw.fits", "pipe_raw.fits", name)
    known, unreadable = ledger.look([str(tmp_path / one) for one in names])
    assert [one.fault for one in known] == ["is not a FITS file; download it again"]
    reasons = {one.name: one.reason for one in unreadable}
    assert reasons["dir_raw.fits"].startswith("cannot be read: Is a directory")
    assert reasons["pipe_raw.fits"].startswith("cannot be read: not a regular file")
    assert reasons["'\\udcff_raw.fits'"].startswith("its name is not valid UTF-8")


def test_what_a_disk_fails_to_give_once_is_not_remembered_of_the_file(ledger, raws, reads, monkeypatch):
    sound = Path.open

    def fail(path, *options):
        if path.name == Path(raws[1]).name and sys._getframe(1).f_code.co_name == "open_fits":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return sound(path, *options)

    monkeypatch.setattr(Path, "open", fail)
    known, unreadable = ledger.look(raws)
    assert [one.path for one in known] == [raws[0], *raws[2:]]
    assert [one.reason for one in unreadable] == [
        "cannot be read: Input/output error; check the file and its rights"
    ]
    monkeypatch.setattr(Path, "open", sound)
    known, unreadable = ledger.look(raws)
    assert ([one.fault for one in known], unreadable) == ([""] * 4, [])


def test_descriptors_that_run_out_are_no_fault_of_a_raw(ledger, raws, monkeypatch):
    def fail(path):
        raise OSError(errno.EMFILE, "Too many open files", path)

    monkeypatch.setattr(ledger_module, "read_exposure", fail)
    with pytest.raises(InputError, match=r"_raw\.fits: cannot be read \(Too many open files\)"):
        ledger.look(raws)
    monkeypatch.undo()
    assert [one.fault for one in ledger.look(raws)[0]] == [""] * 4


def test_names_with_quotes_and_newlines(ledger, tmp_path, write_raw):
    paths = [
        tmp_path / name
        for name in ("a'b\"; DROP TABLE files;--_raw.fits", "new\nline_raw.fits", "%_raw.fits")
    ]
    for path in paths:
        write_raw(tmp_path / "oabc01aaq_raw.fits").rename(path)
    assert len(ledger.look([str(path) for path in paths])[0]) == 3
    assert len(ledger.look([str(path) for path in paths])[0]) == 3


def test_numbers_that_are_none_are_named(tmp_path, raws):
    with Ledger(tmp_path / "ledger.db") as own:
        own.look(raws)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        connection.execute("UPDATE files SET size = 1e999")
    with pytest.raises(ConfigurationError, match=r"ledger\.db"), Ledger(tmp_path / "ledger.db") as own:
        own.look(raws)


def test_the_last_mark_holds(ledger):
    ledger.mark("OABC01AAQ", True, "a trail")
    ledger.mark("oabc01abq", True, "noise")
    ledger.mark("oabc01aaq", False, "it was not")
    marks = ledger.marks()
    assert {name: (one.bad, one.reason) for name, one in marks.items()} == {
        "oabc01aaq": (False, "it was not"),
        "oabc01abq": (True, "noise"),
    }
    assert marks["oabc01aaq"].marked > "2020"


def test_anneals_are_only_added(ledger):
    first, second = Anneal(56428.0, 56428.8, "13134", "23"), Anneal(56453.1)
    assert ledger.add_anneals([first, second]) == [first, second]
    assert ledger.add_anneals([first]) == []
    better = Anneal(56453.1, 56453.9, "13134", "26", "archive", "O'Neill")
    assert ledger.add_anneals([better]) == [better]
    assert [one.row() for one in ledger.anneals()] == [first.row(), second.row(), better.row()]


def test_products_are_recorded_and_replaced(ledger, tmp_path):
    path = tmp_path / "basebias.fits"
    path.write_bytes(b"pixels")
    first = ProductRecord(
        str(path), "basebias", "13134_26", "k" * 64, "c" * 64, signature_of(path), True, {"a": [1]}, "r1"
    )
    ledger.record_product(first)
    ledger.record_product(replace(first, path="/other.fits"))
    found = ledger.products([str(path)])
    assert set(found) == {str(path)}
    assert replace(found[str(path)], made="") == first
    ledger.record_product(replace(first, key="l" * 64, provisional=False))
    assert ledger.products()[str(path)].key == "l" * 64
    assert len(ledger.products()) == 2


def test_runs_and_verdicts(ledger):
    ledger.start_run("r1", {"command": "run"})
    ledger.start_run("r2", {})
    ledger.finish_run("r1", "failed", {"products": 3})
    first, second = ledger.runs()
    assert (first["run"], first["status"], first["details"]) == ("r1", "failed", {"products": 3})
    assert first["ended"] >= first["began"]
    assert (second["status"], second["ended"]) == ("running", None)
    verdicts = [
        Verdict("/a.fits", "c" * 64, "level", "PASS", "", 1.5, 2.0),
        Verdict("/b.fits", "c" * 64, "rms", "FAIL", "too noisy"),
    ]
    ledger.add_verdicts(verdicts)
    ledger.add_verdicts([])
    assert [replace(one, judged="") for one in ledger.verdicts()] == verdicts
    assert [one.name for one in ledger.verdicts("/b.fits")] == ["rms"]


def test_exposures_of_another_ledger_are_remembered(ledger, month_of_exposures):
    known = month_of_exposures()
    ledger.remember(known)
    ledger.remember(known[:3])
    assert ledger.exposures() == sorted((replace(one, path="") for one in known), key=lambda one: one.order)


# ------------------------------------------------------------------ the data base itself


def test_a_ledger_is_found_again(tmp_path, raws):
    with Ledger(tmp_path / "l.db") as ledger:
        ledger.look(raws)
    with Ledger(f"sqlite:///{tmp_path}/l.db") as ledger:
        assert len(ledger.exposures()) == 4


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("mysql://someone:secret@host/x", "a SQLite file or a PostgreSQL data base, not mysql"),
        ("postgresql://someone:secret@127.0.0.1:1/x", "cannot be used as a ledger"),
        ("postgresql://some one:secret@@:x:/y", "neither a path nor a URL|cannot be used"),
        ("://", "neither a path nor a URL"),
    ],
)
def test_what_cannot_be_a_ledger_is_refused_without_the_password(where, message):
    if where.startswith("postgresql"):
        pytest.importorskip("psycopg")
    with pytest.raises(ConfigurationError, match=message) as caught:
        Ledger(where)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_file_is_not_taken_for_a_ledger(tmp_path):
    path = tmp_path / "notes.db"
    path.write_text("my notes " * 100)
    with pytest.raises(
        ConfigurationError, match=r"notes\.db: cannot be used as a ledger \(file is not a database\)"
    ):
        Ledger(path)
    assert path.read_text() == "my notes " * 100


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="/proc/nowhere: the folder cannot be made"):
        Ledger("/proc/nowhere/ledger.db")


def test_an_old_ledger_is_brought_up_and_a_newer_one_refused(tmp_path):
    path = tmp_path / "l.db"
    with Ledger(path) as ledger:
        ledger.mark("oabc01aaq", True, "a trail")
        engine = ledger._engine

        def second(connection):
            connection.execute(sa.text("ALTER TABLE marks ADD COLUMN who TEXT"))

        def third(connection):
            connection.execute(sa.text("UPDATE marks SET who = 'me'"))

        schema.migrate(engine, {2: second, 3: third})
        schema.migrate(engine, {2: second, 3: third})
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT rootname, who FROM marks")).all() == [
                ("oabc01aaq", "me")
            ]
    with pytest.raises(ConfigurationError, match="made by a newer refstis"):
        Ledger(path)


def test_a_migration_that_fails_changes_nothing(ledger):
    def broken(connection):
        connection.execute(sa.text("ALTER TABLE marks ADD COLUMN who TEXT"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        schema.migrate(ledger._engine, {2: broken})
    assert "who" not in {column["name"] for column in sa.inspect(ledger._engine).get_columns("marks")}
    schema.migrate(ledger._engine)


FILL = """
import sys
from refstis.anneal.ledger import Ledger
with Ledger(sys.argv[1]) as ledger:
    for count in range(20):
        ledger.mark(f"o{sys.argv[2]}{count}", True, "at once")
"""


def test_processes_open_and_write_at_once(tmp_path):
    path = str(tmp_path / "l.db")
    workers = [subprocess.Popen([sys.executable, "-c", FILL, path, str(number)]) for number in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    with Ledger(path) as ledger:
        assert len(ledger.marks()) == 40


def test_a_ledger_that_is_locked_for_long_is_said_to_be(tmp_path, monkeypatch):
    path = tmp_path / "l.db"
    plain = sa.create_engine
    monkeypatch.setattr(sa, "create_engine", lambda url, **_: plain(url, connect_args={"timeout": 0.1}))
    with Ledger(path) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutputError, match="in use by another process"):
            ledger.mark("oabc01aaq", True, "x")
        assert ledger.marks() == {}


def test_what_is_ended_while_a_connection_is_closed_shows_no_traceback(tmp_path):
    program = """
import sys
from sqlalchemy.engine.default import DefaultDialect
from refstis.anneal.ledger import Ledger
ledger = Ledger(sys.argv[1])
def end(*_):
    raise KeyboardInterrupt
DefaultDialect.do_close = end
try:
    ledger.close()
except KeyboardInterrupt:
    print("ended")
"""
    command = [sys.executable, "-c", program, tmp_path / "ledger.db"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("ended\n", "")
