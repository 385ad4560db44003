"""`refstis fetch` as a shell calls it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from refstis.commands.fetch import fetch
from refstis.errors import ConfigurationError
from refstis.retrieval import RetrievalError

TABLE = "begin,end,proposal,visit,source,remark\n" + "".join(
    f"{begin},{end},{proposal},{visit},test,\n"
    for begin, end, proposal, visit in (
        ("2012-02-20", "2012-02-21", "12765", "11"),
        ("2012-03-20", "2012-03-21", "12765", "12"),
        ("2012-04-17", "2012-04-18", "12765", "13"),
    )
)


@pytest.fixture
def shell(mast, patience, monkeypatch):
    """`refstis fetch` in this process, with the loopback archive as MAST."""
    import refstis.retrieval.mast as module
    from refstis.retrieval import Mast

    monkeypatch.setattr(module, "Mast", lambda **options: Mast(mast.url, patience=patience, **options))
    app = typer.Typer()
    app.command("fetch")(fetch)

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.fixture
def month(mast, tmp_path):
    """56007 to 56035 (2012-03-21 to 2012-04-18), and what lies around it."""
    mast.add("OBEFORE0Q", start=56005.9)
    mast.add("ODARK010Q", start=56007.0)
    mast.add("OBIAS010Q", start=56010.0, target="BIAS", duration=0.0, program=12743)
    mast.add("OBIASA10Q", start=56011.0, target="BIAS", duration=0.0, program=12743, CCDAMP="A")
    mast.add("OBIAS410Q", start=56012.0, target="BIAS", duration=0.0, program=12743, CCDGAIN=4)
    mast.add("OAFTER00Q", start=56034.0)
    path = tmp_path / "anneals.csv"
    path.write_text(TABLE)
    return path


@pytest.mark.parametrize("name", ["2012-04-01", "12765_13", "2012-03", "56020.5"])
def test_a_month(shell, month, tmp_path, name):
    here = tmp_path / "month"
    said = shell("--month", name, "--anneals", month, "-o", here)
    assert sorted(path.name for path in here.iterdir()) == [
        "obias010q_raw.fits",
        "obias410q_raw.fits",
        "odark010q_raw.fits",
    ]
    assert "left out: obiasa10q_raw.fits has CCDAMP A, wanted is D" in said
    assert said.splitlines()[-1] == f"3 exposures in {here}, 1 left out, 0 failed."


def test_dry_run_says_what_would_be_fetched_and_fetches_nothing(shell, month, mast, tmp_path):
    here = tmp_path / "month"
    shell("--month", "12765_13", "--anneals", month, "-o", here, "--target", "DARK")
    mast.begun.clear()
    said = shell("--month", "12765_13", "--anneals", month, "-o", here, "--dry-run").splitlines()
    assert [line.split()[0] for line in said[:-1]] == [
        "odark010q_raw.fits",
        "obias010q_raw.fits",
        "obiasa10q_raw.fits",
        "obias410q_raw.fits",
    ]
    assert said[0].endswith("is there")
    assert "2012-03-21 00:00:00   1100.0 s  12740" in said[0]
    assert said[-1].startswith(f"4 exposures, 1 of them in {here}, 0.00 GB to fetch")
    assert not mast.begun


def test_dates_programs_and_headers(shell, month, tmp_path):
    said = shell(
        "--dates", "2012-03-21", "56013", "--programs", "12743,1", "--gain", "4", "-o", tmp_path / "a"
    )
    assert "1 exposures" in said
    assert (tmp_path / "a" / "obias410q_raw.fits").exists()
    said = shell("--programs", "12743", "--amp", "any", "--binning", "1x1", "-o", tmp_path / "b")
    assert "3 exposures" in said


def test_the_ledger_remembers_what_came(shell, month, tmp_path):
    from refstis.anneal.ledger import Ledger

    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    shell("--month", "12765_13", "--anneals", month, "--ledger", url, "-o", tmp_path / "month")
    with Ledger(url) as ledger:
        known = {exposure.rootname: exposure for exposure in ledger.exposures()}
    assert sorted(known) == ["obias010q", "obias410q", "odark010q"]


def test_from_a_folder(shell, month, mast, tmp_path):
    tree = tmp_path / "tree" / "deep"
    tree.mkdir(parents=True)
    (tree / "odark010q_raw.fits").write_bytes(mast.entries["ODARK010Q"].content)
    said = shell("--programs", "12740", "--from", tmp_path / "tree", "-o", tmp_path / "out")
    assert said == f"1 exposures in {tmp_path / 'out'}, 0 left out, 0 failed.\n"
    assert mast.requests == []


def test_failures_end_with_an_error_after_the_others_came(shell, month, mast, tmp_path):
    mast.faults["odark010q_raw.fits"] = [404]
    with pytest.raises(RetrievalError, match="1 of 4 exposures could not be fetched"):
        shell("--month", "12765_13", "--anneals", month, "-o", tmp_path / "month")
    assert (tmp_path / "month" / "obias010q_raw.fits").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Nothing was asked for"),
        (["--month", "2012-04-01", "--dates", "1", "2"], "exclude each other"),
        (["--dates", "2012-04-01", "2012-03-01"], "must be before"),
        (["--dates", "yesterday", "today"], "yesterday"),
        (["--programs", "12x"], "12x"),
        (["--programs", "1", "--binning", "big"], "--binning big"),
        (["--month", "2012-03-20T12:00"], "being annealed"),
        (["--month", "2012-05"], "no anneal that begins"),
        (["--month", "2011-01-01"], "no anneal that begins"),
    ],
)
def test_what_cannot_be_meant_is_said(shell, month, mast, arguments, said):
    with pytest.raises(ConfigurationError, match=said):
        shell(*arguments, "--anneals", month)
    assert mast.requests == []


def test_the_installed_command_with_astroquerys_own_configuration(mast, month, tmp_path):
    """Nothing of refstis is told the address: astroquery's configuration file is where one sets it."""
    (tmp_path / "config" / "astropy").mkdir(parents=True)
    (tmp_path / "config" / "astropy" / "astroquery.cfg").write_text(f"[mast]\nserver = {mast.url}\n")
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}
    command = [Path(sys.executable).with_name("refstis"), "fetch"]
    result = subprocess.run(
        [*command, "--month", "12765_13", "--anneals", month, "-o", tmp_path / "out"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "3 exposures in" in result.stdout
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert "4 of 4 files" in result.stderr
    result = subprocess.run(
        [*command, "--programs", "x"], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr == "refstis: --programs x: 'x' is not a proposal number.\n"
