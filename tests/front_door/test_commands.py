"""The documented commands: what the names mean in each form, and what is refused."""

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from astropy.io import fits
from typer.testing import CliRunner

from refstis.basedark import make_basedark
from refstis.commands.main import registered
from refstis.errors import ConfigurationError, OutputError, ReferenceFileError

COMMANDS = {
    "basejoint": ("make_basebias", "basebias.fits"),
    "refbias": ("make_refbias", "refbias.fits"),
    "weekbias": ("make_weekbias", "weekbias.fits"),
    "basedark": ("make_basedark", "basedark.fits"),
    "weekdark": ("make_weekdark", "weekdark.fits"),
}


@pytest.fixture
def called(monkeypatch):
    """Calls of the product makers, in place of products."""
    calls = []
    for command, (maker, _) in COMMANDS.items():
        monkeypatch.setattr(f"refstis.{command}.{maker}", lambda *arguments: calls.append(arguments))
    return calls


@pytest.fixture
def names(files):
    """Reference files under the names of the manual."""
    make_basedark(files.flts, "basedark.fits")
    shutil.copy(files.superbias, "basebias.fits")


def run(*arguments):
    done = CliRunner().invoke(registered(), [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("basejoint a_raw.fits b_raw.fits out.fits", (["a_raw.fits", "b_raw.fits"], "out.fits")),
        ("basejoint -o out.fits a_raw.fits b_raw.fits", (["a_raw.fits", "b_raw.fits"], "out.fits")),
        ("refbias a_raw.fits out.fits", (["a_raw.fits"], "out.fits")),
        ("refbias a_raw.fits -o out.fits", (["a_raw.fits"], "out.fits")),
        ("weekbias a_raw.fits out.fits basebias.fits", (["a_raw.fits"], "out.fits", "basebias.fits")),
        ("weekbias a_raw.fits -o out.fits", (["a_raw.fits"], "out.fits", "basebias.fits")),
        ("weekbias a_raw.fits -b superbias.fits", (["a_raw.fits"], "weekbias.fits", "superbias.fits")),
        ("basedark a_raw.fits out.fits basebias.fits", (["a_raw.fits"], "out.fits", "basebias.fits")),
        ("basedark a_flt.fits b_flt.fits -o out.fits", (["a_flt.fits", "b_flt.fits"], "out.fits", None)),
        ("basedark a_raw.fits -b basebias.fits", (["a_raw.fits"], "basedark.fits", "basebias.fits")),
        (
            "weekdark a_raw.fits out.fits basedark.fits basebias.fits",
            (["a_raw.fits"], "out.fits", "basedark.fits", "basebias.fits"),
        ),
        ("weekdark a_flt.fits -d basedark.fits", (["a_flt.fits"], "weekdark.fits", "basedark.fits", None)),
        (
            "weekdark a_raw.fits -o out.fits -d basedark.fits -b basebias.fits",
            (["a_raw.fits"], "out.fits", "basedark.fits", "basebias.fits"),
        ),
    ],
)
def test_names_in_both_forms(names, called, line, expected):
    assert run(*line.split()).exit_code == 0
    assert called == [expected]


def test_wildcards_that_find_output_and_references_as_well(names, called, files):
    shutil.copy(files.superbias, "week.fits")  # of an earlier run
    run("weekbias", "a.fits", "basebias.fits", "week.fits", "week.fits", "basebias.fits")
    assert called == [(["a.fits"], "week.fits", "basebias.fits")]


def test_version():
    assert run("--version").output == f"refstis {version('refstis')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_both_forms(command):
    text = " ".join(run(command, "--help").output.split())
    assert f"{command} *raw.fits OUT" in text
    assert "[-o OUT]" in text
    assert COMMANDS[command][1] in text


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("refbias a_raw.fits b_raw.fits", OutputError, "b_raw.fits: .* Name the output with -o"),
        ("refbias a_raw.fits -o a_flt.fits", OutputError, "a_flt.fits: .* Name the output with -o"),
        ("refbias a_raw.fits -o notes.txt", OutputError, "notes.txt: .* Name the output with -o"),
        ("refbias out.fits", ConfigurationError, "the last name is OUT"),
        ("weekdark a_raw.fits b.fits c.fits", ConfigurationError, "the last 3 names are OUT BASEDARK SUPERBIAS"),
        ("weekdark a_raw.fits -o out.fits", ConfigurationError, "BASEDARK is missing: name it with -d"),
        ("weekbias a_raw.fits basebias.fits out.fits", ReferenceFileError, "out.fits: no such file, given as BASEBIAS"),
        (
            "weekdark a_raw.fits out.fits basebias.fits basedark.fits", ReferenceFileError,
            "basebias.fits: FILETYPE is 'CCD BIAS IMAGE'; BASEDARK has 'DARK IMAGE'",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(names, called, files, line, error, message):
    shutil.copy(files.biases[0], "b_raw.fits")
    shutil.copy(files.flts[0], "a_flt.fits")
    Path("notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in files.folder.iterdir()}
    with pytest.raises(error, match=message):
        run(*line.split())
    assert called == []
    assert {path: path.read_bytes() for path in files.folder.iterdir()} == before


def test_products_of_refstis_are_written_over(files):
    run("refbias", *files.biases, "out.fits")
    first = Path("out.fits").read_bytes()
    fits.setval("out.fits", "DESCRIP", value="older")
    done = run("refbias", *files.biases, "out.fits")
    assert Path("out.fits").read_bytes() == first
    assert done.output.splitlines()[-1] == "out.fits"
