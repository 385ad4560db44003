"""Bad input for every pipeline: one message that names file, fault and remedy; no product; inputs as they were."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from frames import MONTH_MEMBERS, MONTH_SHAPE, association, checksums, write_raw, write_reference
from stpipe.exceptions import StpipeExitException

import refstis
from refstis.errors import RefstisError

PIPELINES = {
    "basebias": refstis.BaseBiasPipeline,
    "refbias": refstis.RefBiasPipeline,
    "weekbias": refstis.WeekBiasPipeline,
    "basedark": refstis.BaseDarkPipeline,
    "weekdark": refstis.WeekDarkPipeline,
}
BAD = "bad_raw.fits"
REMEDIES = (
    r"[Ll]eave it out|Leave the (file|exposure) out|Remove one|Check the name|make one for each|override_|Add exposures"
    r"|files of at least 2|[Rr]etrieve"
)


def role_of(name):
    return "dark" if name.endswith("dark") else "bias"


def write_bad(folder, name, **options):
    """A member like the others, but for what the options say."""
    role = role_of(name)
    primary = {"BPIXTAB": "N/A", **options.pop("primary", {})}
    sci = {"LTV1": 0.0, "LTV2": 0.0, **options.pop("sci", {})}
    options = {"imsets": 1 if role == "dark" else 3, "shape": MONTH_SHAPE, **options}
    return write_raw(folder / BAD, role.upper(), primary=primary, sci=sci, **options)


def missing(folder, name):
    return rf"{BAD}: no such file"


def truncated(folder, name):
    path = write_bad(folder, name)
    path.write_bytes(path.read_bytes()[:-5000])
    return rf"{BAD}: .*(cut short|missing)"


def mama(folder, name):
    write_bad(folder, name, primary={"DETECTOR": "NUV-MAMA"})
    return rf"{BAD}: DETECTOR is 'NUV-MAMA'; expected 'CCD'"


def amplifier(folder, name):
    write_bad(folder, name, amp="A")
    return rf"{BAD}: CCDAMP is A; o[bd]01010_raw\.fits has D"


def gain(folder, name):
    write_bad(folder, name, gain=4)
    return rf"{BAD}: CCDGAIN is 4; o[bd]01010_raw\.fits has 1"


def binning(folder, name):
    write_bad(folder, name, binning=(2, 2))
    return rf"{BAD}: BINAXIS1 is 2; o[bd]01010_raw\.fits has 1"


def size(folder, name):
    write_bad(folder, name, shape=(MONTH_SHAPE[0], MONTH_SHAPE[1] - 1))
    return rf"{BAD}: image set 1 has 39 x 20 pixels; o[bd]01010_raw\.fits has 40 x 20"


def named_twice(folder, name):
    members = dict(MONTH_MEMBERS[name])
    role = role_of(name)
    members[role] = [*members[role], members[role][0]]
    association(folder / "bad.json", **members)
    return rf"bad\.json: names {members[role][0]} twice"


def not_a_number(folder, name):
    role = role_of(name)
    frames = [np.full(MONTH_SHAPE, 1402.0, dtype=np.float32) for _ in range(1 if role == "dark" else 3)]
    frames[-1][7, 9] = np.nan
    write_bad(folder, name, frames=frames)
    return rf"{BAD}: pixel \(10, 8\) and 0 more are not finite"


def interrupted(folder, name):
    write_bad(folder, name, sci={"EXPFLAG": "INTERRUPTED"})
    return rf"{BAD}: EXPFLAG of image set 1 is 'INTERRUPTED'; expected 'NORMAL'"


def marked_as_bad(folder, name):
    write_bad(folder, name, sci={"IMSET_OK": False})
    return rf"{BAD}: image set 1 is marked as bad \(IMSET_OK = F\)"


def other_target(folder, name):
    write_bad(folder, name, primary={"TARGNAME": "CCDFLAT"})
    return rf"{BAD}: TARGNAME is 'CCDFLAT'; expected '(BIAS|DARK)'"


def no_fits(folder, name):
    (folder / BAD).write_text("<html>not found</html>")
    return rf"{BAD}: not a FITS file"


def single(folder, name):
    write_bad(folder, name, imsets=1)
    association(folder / "bad.json", **{**MONTH_MEMBERS[name], role_of(name): [BAD]})
    if name == "basebias":
        return "every file holds a single image set"
    return rf"{BAD}: 1 usable image set"


def other_keyword(folder, name):
    write_bad(folder, name, primary={"CCDGAIN": None})
    return rf"{BAD}: CCDGAIN"


CASES = [
    missing, truncated, mama, amplifier, gain, binning, size, named_twice, not_a_number, interrupted, marked_as_bad,
    other_target, no_fits, single, other_keyword,
]  # fmt: skip


def bad_association(folder, name, case):
    """The association with the bad member last, and what the message has to say."""
    words = case(folder, name)
    if not (folder / "bad.json").exists():
        members = dict(MONTH_MEMBERS[name])
        association(folder / "bad.json", **{**members, role_of(name): [*members[role_of(name)], BAD]})
    return words


def check_refused(folder, work, name, words, remedy=REMEDIES):
    before = checksums(folder)
    with pytest.raises(RefstisError) as caught, np.errstate(invalid="ignore"):
        PIPELINES[name].call(str(folder / "bad.json"))
    message = str(caught.value)
    assert re.search(words, message), message
    assert re.search(remedy, message), message
    assert "Traceback" not in message
    # the status and the message that a strun ends with
    assert isinstance(caught.value, StpipeExitException)
    assert caught.value.exit_status == 1
    assert list(work.iterdir()) == []
    assert checksums(folder) == before


@pytest.mark.parametrize("name", list(PIPELINES))
@pytest.mark.parametrize("case", CASES)
def test_bad_members(month, work, name, case):
    words = bad_association(month, name, case)
    check_refused(month, work, name, words, REMEDIES)


@pytest.mark.parametrize("name", ["basedark", "weekdark"])
@pytest.mark.parametrize(("value", "words"), [(None, "is missing"), (-1.0, "is -1")])
def test_side_2_darks_without_temperature(month, work, name, value, words):
    write_bad(month, name, sci={"OCCDHTAV": value})
    members = MONTH_MEMBERS[name]
    association(month / "bad.json", **{**members, "dark": [*members["dark"], BAD]})
    check_refused(month, work, name, rf"{BAD}: OCCDHTAV {words} in imset 1; a Side-2 dark")


@pytest.mark.parametrize(
    ("name", "role", "kind"),
    [
        ("weekbias", "basebias", "basebias"),
        ("weekdark", "basedark", "basedark"),
        ("weekdark", "superbias", "biasfile"),
        ("basedark", "superbias", "biasfile"),
    ],
)
def test_references_that_are_missing(month, work, name, role, kind):
    members = {key: value for key, value in MONTH_MEMBERS[name].items() if key != role}
    association(month / "bad.json", **members)
    check_refused(month, work, name, rf"needs a {kind}.*exptype {role}")
    association(month / "bad.json", **members, **{role: "none.fits"})
    check_refused(month, work, name, rf"none\.fits: no such file, named as {role}")
    (month / "none.fits").write_text("no FITS")
    check_refused(month, work, name, r"none\.fits: not a FITS file", "retrieve it again")


@pytest.mark.parametrize(
    ("name", "role"), [("weekbias", "basebias"), ("weekdark", "basedark"), ("basedark", "superbias")]
)
def test_references_of_another_size(month, work, name, role):
    write_reference(month / "small.fits", np.zeros((5, 5)))
    association(month / "bad.json", **{**MONTH_MEMBERS[name], role: "small.fits"})
    check_refused(month, work, name, r"small\.fits.*5 x 5")


def test_a_disk_that_cannot_be_written(month, work):
    (work / "folder").write_text("a file")
    before = checksums(month)
    with pytest.raises(
        refstis.errors.OutputError, match=r"product\.fits: cannot be written .*Check the folder"
    ):
        refstis.RefBiasPipeline.call(str(month / "refbias.json"), output_file="folder/product.fits")
    assert [path.name for path in work.iterdir()] == ["folder"]
    assert checksums(month) == before


def test_a_record_that_cannot_be_written(month, work):
    # no product without its record
    (work / "product.log").mkdir()
    with pytest.raises(refstis.errors.OutputError, match=r"product\.log: cannot be written"):
        refstis.RefBiasPipeline.call(str(month / "refbias.json"), output_file="product.fits")
    assert not (work / "product.fits").exists()
    assert not [path.name for path in work.iterdir() if path.name.startswith(".")]


# -------------------------------------------------------------- at a shell


def strun(*arguments, cwd):
    # beside the interpreter that runs the tests
    program = Path(sys.executable).with_name("strun")
    return subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_success_and_failure_at_a_shell(month, work):
    bad_association(month, "weekdark", mama)
    before = checksums(month)
    failed = strun("refstis.WeekDarkPipeline", str(month / "bad.json"), cwd=work)
    text = failed.stdout + failed.stderr
    assert failed.returncode == 1
    assert "Traceback" not in text
    box = [line for line in text.splitlines() if "NUV-MAMA" in line and BAD in line]
    assert box, text
    assert re.search(r"\*{20,}|={20,}|-{20,}", text), text
    assert list(work.iterdir()) == []

    done = strun(
        "refstis.WeekDarkPipeline", str(month / "weekdark.json"), "--output_file=shell.fits", cwd=work
    )
    assert done.returncode == 0, done.stderr
    refstis.WeekDarkPipeline.call(str(month / "weekdark.json"), output_file="called/shell.fits")
    assert (work / "shell.fits").read_bytes() == (work / "called" / "shell.fits").read_bytes()
    assert fits.getval(work / "shell.fits", "TASKNAME") == "WEEKDARK"
    assert checksums(month) == before
