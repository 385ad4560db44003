"""The commands as a shell calls them."""

import json
import os
import sys

import pytest

from refstis.anneal.ledger import DEFAULT_NAME

MONTH = 56428.790812824074


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """Call `refstis` in an empty folder: exit status, standard output and standard error."""
    from refstis.commands import main

    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["refstis", *(str(word) for word in words)])
        status = 0
        try:
            main.main()
        except SystemExit as end:
            status = end.code or 0
        streams = capsys.readouterr()
        return status, streams.out, streams.err

    return call


@pytest.fixture
def raws(tmp_path, write_raw):
    folder = tmp_path / "raws"
    (folder / "darks").mkdir(parents=True)
    for number in range(4):
        write_raw(folder / f"ob0{number}01aaq_raw.fits", "BIAS", MONTH + 1 + 5 * number)
        write_raw(folder / "darks" / f"od0{number}01aaq_raw.fits", "DARK", MONTH + 1.5 + 5 * number)
    write_raw(folder / "oa0001aaq_raw.fits", "BIAS", MONTH + 1, primary={"CCDAMP": "A"})
    (folder / "ob0501aaq_raw.fits").write_bytes(b"SIMPLE  =")
    return folder


def test_plan_prints_products_reasons_and_what_is_left_out(shell, raws, tmp_path):
    status, out, _ = shell("plan", raws, "-o", tmp_path / "out", "--graph", "plan.svg")
    assert status == 0
    for words in (
        "13134_26", "weekbias on basebias, 2 imsets < 98", "weekdark, 4 imsets of 2 darks on the month's basedark",
        "oa0001aaq_raw.fits left out: CCDAMP A, expected D",
        "ob0501aaq_raw.fits left out: is not a FITS file; download it again; replace the file",
    ):  # fmt: skip
        assert words in out
    assert [path.name for path in (tmp_path / "out").iterdir()] == [DEFAULT_NAME]
    assert (tmp_path / "here" / "plan.svg").read_text().startswith("<svg")


def test_a_run_that_can_make_nothing_says_why(shell, tmp_path, write_raw):
    folder = tmp_path / "raws"
    folder.mkdir()
    write_raw(folder / "oa0001aaq_raw.fits", "BIAS", MONTH + 1, primary={"CCDAMP": "A"})
    status, out, _ = shell("run", folder)
    assert status == 0
    assert "oa0001aaq_raw.fits left out: CCDAMP A, expected D" in out
    assert "0 products made, 0 kept" in out


def test_plan_writes_nothing_but_the_ledger(shell, raws, tmp_path):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in raws.rglob("*.fits")}
    assert shell("plan", raws)[0] == 0
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in raws.rglob("*.fits")} == before
    assert {path.name for path in (tmp_path / "here").iterdir()} == {DEFAULT_NAME}


def test_plan_as_json_and_from_the_ledger_alone(shell, raws):
    status, out, _ = shell("plan", raws, "--json")
    first = json.loads(out)
    assert status == 0
    assert {one["kind"] for one in first["products"]} == {
        "basebias",
        "weekbias",
        "biassub",
        "basedark",
        "weekdark",
    }
    assert {one["status"] for one in first["products"]} == {"new"}
    assert json.loads(shell("plan", "--json")[1]) == first
    assert shell("plan", raws, "--json", "--month", "2013-05", "--ledger", DEFAULT_NAME)[1] == out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: is not a folder"),
        (["."], ".: holds no raw exposures"),
        ([], "refstis_ledger.db: there is no ledger; plan or run with a folder of raws begins one"),
        (["--ledger", "typed.db"], "typed.db: there is no ledger"),
        (["RAWS", "--ledger", "no/typed.db"], "no: there is no such folder for the ledger"),
        (["RAWS", "--month", "2020-01"], "--month 2020-01: no month"),
        (["RAWS", "--dates", "2013-06-01", "2013-05-01"], "the first date must come before the second"),
        (["RAWS", "--dates", "now", "then"], "'now' is not a date"),
        (["RAWS", "--anneals", "none.csv"], "none.csv: cannot be read as an anneal table"),
        (["RAWS", "--profile", "wild"], "there is no profile 'wild'"),
        (["RAWS", "--ledger", "oracle://x"], "a SQLite file or a PostgreSQL data base, not oracle"),
        (["RAWS", "--graph", "/proc/x.svg"], "/proc/x.svg: cannot be written"),
    ],
)
def test_an_error_is_one_line_with_the_remedy(shell, raws, words, message):
    status, out, err = shell("plan", *(raws if word == "RAWS" else word for word in words))
    assert status == 1
    assert err.strip().splitlines()[-1].startswith("refstis: ")
    assert message in err
    assert "Traceback" not in out + err


def test_a_new_ledger_is_named(shell, raws, tmp_path):
    words = ("plan", raws, "--json", "--ledger", "may.db")
    assert shell(*words)[2] == f"new ledger: {tmp_path / 'here' / 'may.db'}\n"
    assert shell(*words)[2] == ""
    assert "10 of 10 exposures" in shell("exposures", "list", "--ledger", "may.db")[1]


@pytest.mark.parametrize(
    "words",
    [
        ("exposures", "list"),
        ("exposures", "mark-bad", "od0001aaq", "--reason", "light leak"),
        ("exposures", "mark-good", "od0001aaq"),
        ("anneals", "list"),
        ("anneals", "at", "2013-05-20"),
        ("reproduce", "od0001aaq_drk.fits"),
        ("plan",),
        ("run",),
    ],
)
def test_what_only_reads_or_marks_makes_no_ledger(shell, tmp_path, words):
    status, _, err = shell(*words, "--ledger", "typed.db")
    assert status == 1
    assert err == (
        f"refstis: {tmp_path / 'here' / 'typed.db'}: there is no ledger; plan or run with a folder of raws begins one, "
        "--ledger and -o name another\n"
    )
    assert list((tmp_path / "here").glob("*.db*")) == []


def test_a_table_of_ones_own_decides(shell, raws, tmp_path):
    (tmp_path / "own.csv").write_text(
        f"begin,end,proposal,visit\n{MONTH},,17000,2\n{MONTH + 12.5},,17000,5\n{MONTH + 30},,,\n"
    )
    out = shell("plan", raws, "--anneals", tmp_path / "own.csv", "--json")[1]
    assert [one["name"] for one in json.loads(out)["months"]] == ["17000_05", "anneal_20130615"]


def test_exposures_are_listed_marked_and_left_out(shell, raws):
    shell("plan", raws)
    status, out, _ = shell("exposures", "list")
    assert status == 0
    assert "10 of 10 exposures" in out
    assert "od0001aaq" in out
    assert (
        shell("exposures", "mark-bad", raws / "darks" / "od0001aaq_raw.fits", "--reason", "light leak")[0]
        == 0
    )
    assert "od0001aaq_raw.fits left out: marked bad: light leak" in shell("plan", raws)[1]
    assert shell("exposures", "list", "--bad")[1].count("light leak") == 1
    assert shell("exposures", "mark-good", "OD0001AAQ")[0] == 0
    assert "marked bad" not in shell("plan", raws)[1]
    listed = json.loads(shell("exposures", "list", "--json")[1])
    assert {one["state"] for one in listed} == {"", "is not a FITS file; download it again"}
    status, _, err = shell("exposures", "mark-bad", "nothing", "--reason", "x")
    assert status == 1
    assert "nothing: is no file" in err
    assert shell("exposures", "mark-bad", "od0001aaq", "--reason", " ")[0] == 1


def test_anneals_are_listed_and_found(shell, raws):
    status, out, _ = shell("anneals")
    assert status == 0
    assert "13134_26" in out
    assert len(json.loads(shell("anneals", "list", "--json")[1])) == 199
    for moment in ("2013-05-20", "56432.0", raws / "ob0001aaq_raw.fits"):
        out = shell("anneals", "at", moment)[1]
        assert "lies in the month 13134_26: 2013-05-16T18:58:46 to 2013-06-10T03:31:51; wk01" in out
    assert json.loads(shell("anneals", "at", "2013-06-09", "--json")[1])["biweek"] == "biwk02"
    assert "within the anneal" in shell("anneals", "at", "2013-05-16T12:00")[1]
    assert "name a newer table with --anneals" in shell("anneals", "at", "2020-01-01")[1]
    assert shell("anneals", "at", "soon")[0] == 1


def test_anneals_are_added_to_a_ledger_or_a_file(shell, tmp_path):
    words = ("anneals", "add", "2023-10-19T03:00", "2023-10-20", "--proposal", "17400", "--visit", "5")
    path = tmp_path / "here" / DEFAULT_NAME
    assert f"1 of 1 anneals added to the new ledger {path}.\n" in shell(*words)[1]
    assert f"0 of 1 anneals added to {path}; the others were there.\n" in shell(*words)[1]
    assert "anneal_20231019_open" in shell("anneals", "at", "2023-11-01")[1]
    assert "17400_05" in shell("anneals", "at", "2023-09-01")[1]
    assert "1 of 1 anneals added" in shell(*words, "-o", tmp_path / "out")[1]
    assert "17400_05" in shell("anneals", "at", "2023-09-01", "-o", tmp_path / "out")[1]
    assert "17400_05" in shell(*words, "--anneals", "own.csv")[1]
    assert (tmp_path / "here" / "own.csv").read_text().splitlines()[1] == (
        "2023-10-19T03:00:00.000,2023-10-20T00:00:00.000,17400,05,by hand,"
    )
    assert shell("anneals", "add", "2023-10-19", "2023-10-01")[0] == 1


def test_anneals_are_learnt_from_monitor_exposures(shell, tmp_path, write_raw):
    assert shell("anneals", "refresh", tmp_path)[0] == 1
    for begin, visit in [(60236.1, "04"), (60237.0, "06")]:
        primary = {"OBSET_ID": visit, "PROPOSID": 17400}
        write_raw(tmp_path / f"of00{visit}010_crj.fits", "CCD-ANNEAL", begin, 1, primary=primary)
    assert "17400_05" in shell("anneals", "refresh", tmp_path, "--anneals", "own.csv")[1]
    assert "17400_05" in shell("anneals", "list", "--anneals", "own.csv")[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_cannot_be_written(shell, raws, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    status, _, err = shell("plan", raws, "-o", tmp_path / "locked")
    assert status == 1
    assert "--ledger" in err
