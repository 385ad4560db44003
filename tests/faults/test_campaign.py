"""Commands that are killed, and calls that fail: short campaigns in the usual run, long ones behind the marker."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")
QUICK = ("refbias", "exposures mark-bad", "anneals add (file)", "config init", "pop_db")
compiler = pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler")


def campaign(folder, what, number, only=()):
    table = folder / "table.json"
    words = [sys.executable, CAMPAIGN, what, "--number", str(number), "--table", table]
    ended = subprocess.run(
        [*words, *(word for name in only for word in ("--only", name))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "NOT TRIED" not in ended.stdout, ended.stdout
    found = json.loads(table.read_text())
    assert {name: one["problems"] for name, one in found.items() if one["problems"]} == {}
    return found


def test_killed_it_leaves_nothing_partial_and_resumes(tmp_path):
    found = campaign(tmp_path, "kills", 4, QUICK)
    assert sum(one["kills"] for one in found.values()) >= 10


@compiler
def test_with_calls_that_fail_it_says_so_and_resumes(tmp_path):
    found = campaign(tmp_path, "io", 8, QUICK)
    assert sum(one["faults"] for one in found.values()) >= 25


@compiler
def test_where_something_lacks_it_says_so_and_resumes(tmp_path):
    found = campaign(tmp_path, "conditions", 1, QUICK[1:3])
    for one in found.values():
        # what needs the right to mount is left out where there is none
        assert set(one["skipped"]) <= {"disk full", "/tmp full", "read-only"} | {
            name for name in one["skipped"] if name.startswith("input")
        }
        assert sum(tried for tried, _ in one["tried"].values()) >= 7
        assert sum(stopped for _, stopped in one["tried"].values()) >= 2


@pytest.mark.faults
@compiler
def test_every_command_where_something_lacks(tmp_path):
    found = campaign(tmp_path, "conditions", 4)
    assert sum(tried for one in found.values() for tried, _ in one["tried"].values()) >= 500


@pytest.mark.faults
def test_every_command_killed(tmp_path):
    found = campaign(tmp_path, "kills", 24)
    assert sum(one["kills"] for one in found.values()) >= 500
    assert sum(one["within a write"] for one in found.values()) >= 50


@pytest.mark.faults
@compiler
def test_every_command_with_calls_that_fail(tmp_path):
    found = campaign(tmp_path, "io", 60)
    assert sum(one["faults"] for one in found.values()) >= 1000


@pytest.mark.faults
def test_load():
    from faults.load import run

    assert [text for text, held, *_ in run() if not held] == []
