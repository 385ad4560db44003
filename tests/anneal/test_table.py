import csv
import errno
import os
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refstis.anneal.dates import isoformat, parse_date, parse_month
from refstis.anneal.table import (
    Anneal,
    AnnealTable,
    Month,
    append_to_file,
    find_anneals,
    read_table,
    shipped_table,
)
from refstis.datamodels import config_path
from refstis.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "mjd"),
    [
        ("2013-05-16", 56428.0),
        ("2013-05-16T12:00:00", 56428.5),
        ("2013-05-16 12:00", 56428.5),
        ("2013-05-16T12:00:00Z", 56428.5),
        ("2013-05-16T14:00:00+02:00", 56428.5),
        ("56428.5", 56428.5),
        (56428.5, 56428.5),
    ],
)
def test_dates_are_read(text, mjd):
    assert parse_date(text) == mjd


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2013-13-01", "1900-01-01", "12", "99999999", float("nan"), -1]
)
def test_other_dates_are_refused(text):
    with pytest.raises(ConfigurationError, match="is not a date"):
        parse_date(text)


@given(st.floats(50000, 70000))
def test_dates_survive_writing(mjd):
    assert abs(parse_date(isoformat(mjd, "milliseconds")) - mjd) * 86400e3 < 0.51


def test_months_are_read():
    assert parse_month("2013-12") == (parse_date("2013-12-01"), parse_date("2014-01-01"))
    assert parse_month("13134_26") is None
    with pytest.raises(ConfigurationError, match="is not a month"):
        parse_month("2013-00")


# ------------------------------------------------------------------ the shipped table


def test_shipped_table_has_199_months_from_1997_to_2017():
    months = [one for one in shipped_table().months() if one.begin is not None]
    assert len(months) == 199
    assert [one.provisional for one in months] == [False] * 198 + [True]
    assert isoformat(months[1].begin) == "1997-04-17T01:04:37"
    assert isoformat(months[-1].begin) == "2017-08-02T22:44:26"
    assert len({one.name for one in months}) == 199


def test_shipped_table_takes_the_finer_list_where_there_are_two():
    # Row 29 of the data base published with refstis 0.8: 13134, 23, 56428.00192328 to 56428.79081282.
    found = shipped_table().at(56440.0)
    assert (found.opening.proposal, found.opening.visit) == ("13134", "23")
    assert found.opening.begin == pytest.approx(56428.00192328, abs=1e-8)
    assert found.begin == pytest.approx(56428.79081282, abs=1e-8)
    assert found.name == "13134_26"
    assert sum(bool(one.proposal) for one in shipped_table()) == 34


def test_every_shipped_anneal_has_a_source():
    with config_path("anneals.csv").open() as handle:
        assert all(row["source"] for row in csv.DictReader(handle))


def test_nothing_was_observed_between_the_failures_and_the_repairs():
    table = shipped_table()
    for date in ("2001-06-15", "2006-01-01", "2009-05-20"):
        found = table.at(parse_date(date))
        assert isinstance(found, Anneal)
        assert found.remark.startswith("not an anneal")


# ------------------------------------------------------------------ months


def test_months_run_from_end_to_begin():
    table = AnnealTable([Anneal(56100.0, 56101.0, "12345", "05"), Anneal(56128.0), Anneal(56150.0, 56151.0)])
    before, first, second, after = table.months()
    assert (before.begin, before.end, before.name) == (None, 56100.0, "12345_05")
    assert (first.begin, first.end, first.name) == (56101.0, 56128.0, "anneal_20120720")
    assert (second.begin, second.end) == (56128.0, 56150.0)
    assert (after.begin, after.end, after.name, after.provisional) == (
        56151.0,
        None,
        "anneal_20120811_open",
        True,
    )
    assert table.at(56127.999) == first
    assert table.at(56128.0) == second
    assert table.at(56150.5) == table.anneals[2]
    assert table.at(1e9) == after


anneal_tables = st.lists(st.tuples(st.floats(5, 60), st.floats(0, 3), st.booleans()), min_size=1, max_size=8)


@given(anneal_tables, st.lists(st.floats(49990, 50600), max_size=20))
def test_a_moment_is_in_one_month_or_in_an_anneal(gaps, moments):
    anneals, last = [], 50000.0
    for gap, length, known in gaps:
        anneals.append(Anneal(last + gap, last + gap + length if known else None))
        last = anneals[-1].last
    table = AnnealTable(anneals)
    for moment in moments:
        holding = [one for one in table.months() if one.contains(moment)]
        during = [one for one in anneals if one.begin <= moment < one.last]
        assert len(holding) + len(during) == 1
        assert table.at(moment) == (holding + during)[0]


def test_overlapping_anneals_are_refused_by_name():
    with pytest.raises(
        ConfigurationError, match="2012-06-22T12:00:00 begins before that of 2012-06-22T00:00:00 ends"
    ):
        AnnealTable([Anneal(56100.0, 56101.0), Anneal(56100.5, 56102.0)])
    with pytest.raises(ConfigurationError, match="before it begins"):
        Anneal(56100.0, 56099.0)


def test_names_cannot_leave_the_folder():
    with pytest.raises(ConfigurationError, match="letters and digits"):
        Anneal(56100.0, None, "../../etc", "05")


def test_two_months_do_not_share_a_folder():
    table = AnnealTable([Anneal(56100.0, None, "12345", "05"), Anneal(56128.0, None, "12345", "05")])
    with pytest.raises(ConfigurationError, match="share a folder"):
        table.months()


def test_an_empty_table_says_what_to_do():
    assert AnnealTable([]).months() == []
    with pytest.raises(ConfigurationError, match="--anneals FILE"):
        AnnealTable([]).at(56000.0)


def test_what_is_learnt_later_takes_the_place_of_what_was_known():
    table = AnnealTable([Anneal(56100.0), Anneal(56128.0)])
    later = table.extended([Anneal(56128.01, 56129.0, "12345", "8"), Anneal(56150.0)])
    assert [(one.begin, one.last) for one in later] == [
        (56100.0, 56100.0),
        (56128.01, 56129.0),
        (56150.0, 56150.0),
    ]
    assert len(table) == 2


# ------------------------------------------------------------------ files


def old_database(path, rows=((1, 13134, 23.0, 56428.0, 56428.8), (2, 13134, 26.0, 56453.1, 56453.9))):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE anneals (id integer PRIMARY KEY, proposid integer, visit real, start real, end real)"
        )
        connection.executemany("INSERT INTO anneals VALUES (?,?,?,?,?)", rows)
    return path


def test_data_base_of_0_8_opens_as_it_is(tmp_path):
    path = old_database(tmp_path / "anneal_info.db")
    before = path.read_bytes()
    assert [one.row() for one in read_table(path)] == [
        {"begin": "2013-05-16T00:00:00.000", "end": "2013-05-16T19:12:00.000", "proposal": "13134", "visit": "23",
         "source": "", "remark": ""},
        {"begin": "2013-06-10T02:24:00.000", "end": "2013-06-10T21:36:00.000", "proposal": "13134", "visit": "26",
         "source": "", "remark": ""},
    ]  # fmt: skip
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


TABLES = {
    "own.csv": "begin,end,proposal,visit\n2013-05-16,2013-05-16T19:12:00,13134,23\n",
    "spaces.csv": "# mine\nBegin, End, Proposal, Visit\n56428.0, 56428.8, 13134, 23\n",
    "export.csv": "id,proposid,visit,start_mjd,end_mjd\n1,13134,23,56428.0,56428.8\n",
    "bom.csv": "\ufeffbegin,end,proposal,visit\n56428.0,56428.8,13134,23\n",
    "own.yaml": "- begin: 2013-05-16\n  end: 2013-05-16T19:12:00Z\n  proposal: 13134\n  visit: 23\n",
    "keyed.yml": "anneals:\n- {begin: 56428.0, end: 56428.8, proposal: '13134', visit: '23'}\n",
    "flow.txt": "[{begin: 56428.0, end: 56428.8, proposal: 13134, visit: 23}]",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_ones_own_are_told_by_their_content(tmp_path, name):
    path = tmp_path / name
    path.write_text(TABLES[name])
    (found,) = read_table(path)
    assert (found.begin, round(found.end, 6), found.proposal, found.visit) == (
        56428.0,
        56428.8,
        "13134",
        "23",
    )


BAD_TABLES = {
    "no begin": ("start_of_something,end\n1,2\n", "no column 'begin'"),
    "no date": ("begin,end\nsoon,56000\n", "row 1: 'soon' is not a date"),
    "empty begin": ("begin,end\n,56000\n", "row 1: the begin of the anneal is missing"),
    "not yaml": ("- {begin: [\n", "is not valid YAML"),
    "yaml of text": ("- begin\n- end\n", "a list of anneals"),
    "binary": (b"\xff\xfe\x00\x01", "neither CSV nor YAML"),
    "other database": (b"SQLite format 3\0" + b"\0" * 100, "no readable table 'anneals'"),
    "python in yaml": ("- !!python/object/apply:os.system ['true']\n", "is not valid YAML"),
    "backwards": ("begin,end\n56001,56000\n", "row 1: an anneal cannot end"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_are_named_with_the_fault(tmp_path, case):
    content, message = BAD_TABLES[case]
    path = tmp_path / "table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_table_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read as an anneal table: No such file"):
        read_table(tmp_path / "nowhere.csv")


NEW = Anneal(56480.0, 56481.25, "13134", "29", "by hand", 'with "quotes", and commas')


def test_rows_are_only_added(tmp_path):
    path = tmp_path / "own.csv"
    assert append_to_file(path, Anneal(56428.0, 56428.8, "13134", "23"))
    before = path.read_text()
    assert append_to_file(path, NEW)
    assert path.read_text().startswith(before)
    assert list(read_table(path))[1].row() == NEW.row()
    assert not append_to_file(path, NEW)
    with pytest.raises(ConfigurationError, match="already holds the anneal of 2013-07-07"):
        append_to_file(path, Anneal(56480.2, 56482.0))


def test_a_table_that_cannot_be_read_a_second_time_is_named(tmp_path, monkeypatch):
    path = tmp_path / "anneals.csv"
    append_to_file(path, NEW)
    sound, looks = type(path).read_bytes, []

    def read(self):
        looks.append(self)
        if len(looks) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return sound(self)

    monkeypatch.setattr(type(path), "read_bytes", read)
    with pytest.raises(ConfigurationError, match="cannot be read as an anneal table"):
        append_to_file(path, Anneal(56428.0, 56428.8, "13134", "23"))
    assert len(looks) == 2


def test_rows_are_added_in_the_layout_of_the_file(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text(TABLES["export.csv"].rstrip("\n"))
    append_to_file(path, NEW)
    assert path.read_text().splitlines()[-1] == ",13134,29,56480.00000000,56481.25000000"
    assert [one.last for one in read_table(path)] == [56428.8, 56481.25]


def test_anneals_are_added_to_a_data_base_of_0_8(tmp_path):
    path = old_database(tmp_path / "anneal_info.db")
    assert append_to_file(path, NEW)
    assert not append_to_file(path, NEW)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM anneals WHERE id = 3").fetchall() == [
            (3, 13134, 29.0, 56480.0, 56481.25)
        ]
    with pytest.raises(ConfigurationError, match="needs the end"):
        append_to_file(path, Anneal(56600.0))


def test_yaml_is_edited_by_hand(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(TABLES["own.yaml"])
    with pytest.raises(ConfigurationError, match="by hand"):
        append_to_file(path, NEW)


# ------------------------------------------------------------------ anneal monitor exposures


@pytest.fixture
def monitor(write_raw):
    def write(folder, name, begin, visit, proposal=13134):
        folder.mkdir(parents=True, exist_ok=True)
        write_raw(folder / name, "CCD-ANNEAL", begin, 1, primary={"OBSET_ID": visit, "PROPOSID": proposal})

    return write


def test_pairs_of_monitor_exposures_are_anneals(tmp_path, monitor):
    monitor(tmp_path / "2013_05", "oc4w22010_crj.fits", 56428.0, "22")
    monitor(tmp_path / "2013_05", "oc4w24010_crj.fits", 56428.8, "24")
    flat = tmp_path / "all"
    for number, (begin, visit) in enumerate(
        [(56453.1, "25"), (56453.9, "27"), (56482.0, "28"), (56482.8, "30")]
    ):
        monitor(flat, f"oc4w{visit}01{number}_crj.fits", begin, visit)
    (flat / "oc4w99999_crj.fits").write_bytes(b"SIMPLE  = broken")
    found = find_anneals(tmp_path)
    assert [(one.begin, one.end, one.name) for one in found] == [
        (56428.0, 56428.8, "13134_23"),
        (56453.1, 56453.9, "13134_26"),
        (56482.0, 56482.8, "13134_29"),
    ]


def test_exposures_of_other_visits_are_no_pair(tmp_path, monitor):
    for begin, visit in [(56428.0, "22"), (56428.8, "23"), (56440.0, "29")]:
        monitor(tmp_path, f"oc4w{visit}010_crj.fits", begin, visit)
    assert find_anneals(tmp_path) == []
    with pytest.raises(ConfigurationError, match="is not a folder"):
        find_anneals(tmp_path / "nowhere")


def test_months_know_what_they_contain():
    assert Month(None, 56000.0, "x").contains(1.0)
    assert not Month(56000.0, 56001.0, "x").contains(56001.0)


def test_a_quotation_mark_without_a_second_one_swallows_no_anneals(tmp_path):
    path = tmp_path / "anneals.csv"
    path.write_text('begin,end,proposal,visit,source,"remark\n56428.0,56428.8,13134,23,x,\n')
    with pytest.raises(ConfigurationError, match=r"anneals\.csv: is not valid CSV: unexpected end of data"):
        read_table(path)


def test_quoted_columns_are_known_when_an_anneal_is_added(tmp_path):
    path = tmp_path / "anneals.csv"
    path.write_text('"begin", "end"\n2013-05-16, "2013-05-17"\n')
    assert append_to_file(path, Anneal(56480.0, 56481.0))
    assert [(one.begin, one.end) for one in read_table(path)] == [(56428.0, 56429.0), (56480.0, 56481.0)]
