"""Anneals from what the archive's catalogue says of the anneal monitor, against a loopback MAST."""

import json
from importlib.resources import files

import pytest
from astroquery.mast import conf
from typer.testing import CliRunner

from refstis.anneal.table import archived_anneals, read_table
from refstis.commands.anneals import app
from refstis.errors import InputError
from refstis.retrieval import RetrievalError

TITLE = "STIS CCD Hot Pixel Annealing Cycle 20"
PORTAL = "/api/v0/invoke"


def add_monitor(mast, program="BT0", number=13085, first=56429.0, anneals=2, title=TITLE):
    """Visits of the monitor: exposures before each anneal, none during it, exposures after it."""
    for anneal in range(anneals):
        begin = first + 28.0 * anneal
        for visit, start in ((3 * anneal + 1, begin), (3 * anneal + 3, begin + 1.1)):
            for exposure in range(4):
                mast.add(
                    f"O{program}{visit:02d}0{exposure}Q",
                    target="BIAS" if exposure % 2 else "DARK",
                    start=start + 0.01 * exposure,
                    duration=0.0 if exposure % 2 else 300.0,
                    program=number,
                    title=title,
                    content=b"",
                )


@pytest.fixture
def monitor(mast):
    mast.add("OTHERDRKQ", start=56430.0, program=13131)
    add_monitor(mast)
    add_monitor(mast, "CX1", 13540, first=56429.0 + 56.0, anneals=1, title="stis ccd hot pixel annealing")
    return mast


def test_the_portal_answers_in_the_form_of_a_recorded_answer(monitor, source):
    source().programs(TITLE)
    request = next(query for path, query in monitor.requests if path == PORTAL)
    answer = monitor.portal(request)
    recorded = json.loads((files("astroquery.mast.tests") / "data" / "advSearch.json").read_text())
    assert set(answer) == set(recorded)
    assert set(answer["paging"]) == set(recorded["paging"])
    assert set(answer["data"][0]) <= set(recorded["data"][0])
    assert {key: type(value) for key, value in answer["data"][0].items()} == {
        key: type(recorded["data"][0][key]) for key in answer["data"][0]
    }


def test_programs_by_title(monitor, source):
    monitor.page_limit = 3
    assert source().programs("STIS CCD Hot Pixel Annealing") == {
        13085: TITLE,
        13540: "stis ccd hot pixel annealing",
    }
    assert source().programs("no such title") == {}


def test_anneals_lie_between_visits_two_apart(monitor, source):
    found = archived_anneals(source())
    assert [(one.proposal, one.visit, one.begin, one.end) for one in found] == [
        ("13085", "02", pytest.approx(56429.0), pytest.approx(56430.1)),
        ("13085", "05", pytest.approx(56457.0), pytest.approx(56458.1)),
        ("13540", "02", pytest.approx(56485.0), pytest.approx(56486.1)),
    ]
    assert found[0].source == f"archive: {TITLE}"
    assert [one.begin for one in archived_anneals(source(), since=56450.0)] == [
        pytest.approx(56457.0),
        pytest.approx(56485.0),
    ]
    # nothing is downloaded, and no list of files is asked for
    assert {path for path, _ in monitor.requests} == {
        PORTAL,
        "/search/util/api/v0.1/column_list",
        "/search/hst/api/v0.1/search",
    }


def test_visits_with_exposures_during_the_anneal_are_no_border(mast, source):
    add_monitor(mast, anneals=2)
    mast.add("OBT00200Q", start=56429.5, program=13085, title=TITLE, content=b"")
    assert [one.visit for one in archived_anneals(source())] == ["02", "05"]


def test_an_answer_that_is_not_as_documented(monitor, source):
    monitor.faults["invoke"] = [b'{"status": "ERROR", "msg": "too many users"}']
    with pytest.raises(RetrievalError, match=r"search for titles .* too many users"):
        source().programs(TITLE)
    monitor.faults["invoke"] = [b'{"status": "EXECUTING"}'] * 2
    assert len(source().programs(TITLE)) == 1


def test_the_command_asks_the_archive(monitor, tmp_path, monkeypatch):
    table = tmp_path / "mine.csv"
    with conf.set_temp("server", monitor.url):
        done = CliRunner().invoke(app, ["refresh", "--anneals", str(table)])
        again = CliRunner().invoke(app, ["refresh", "--anneals", str(table), "--since", "2013-06-01"])
        nothing = CliRunner().invoke(app, ["refresh", "--anneals", str(table), "--since", "2030-01-01"])
    assert done.exit_code == 0, done.output
    assert "3 of 3 anneals added" in done.output
    assert [one.name for one in read_table(table)] == ["13085_02", "13085_05", "13540_02"]
    assert "0 of 2 anneals added" in again.output
    assert isinstance(nothing.exception, InputError)
    assert "since 2030-01-01" in str(nothing.exception)
