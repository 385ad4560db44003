"""Exposures calibrated with the month's files: without a suite, with one, and through CALSTIS."""

import shutil
import stat
import sys

import numpy as np
import pytest
from astropy.io import fits

from refstis.delivery.regression import regress
from refstis.errors import ConfigurationError, InputError


@pytest.fixture(scope="module")
def result(months):
    return regress(months.now)


def test_simulated_exposures_come_out_empty(result):
    assert result.passed
    assert len(result.reductions) == 8  # a dark and a science exposure at gains 1 and 4, two weeks
    for one in result.reductions:
        assert one.engine == "refstis"
        assert abs(one.figures["after"]) < 0.1 * one.figures["before"]
        # what is left of hot pixels is their noise: the suite is made of the first week's, which change afterwards
        assert abs(one.figures["hot_after"]) < 0.02 * one.figures["hot_before"]
        assert 0.9 < one.figures["hot_scatter"] < 1.5


def test_each_exposure_gets_the_superbias_of_its_mode_and_week(result):
    pairs = {(one.bias, one.dark) for one in result.reductions}
    assert pairs == {
        ("weekbias_14825_08_wk01_bia.fits", "weekdark_14825_08_wk01_drk.fits"),
        ("weekbias_14825_08_wk02_bia.fits", "weekdark_14825_08_wk02_drk.fits"),
        ("weekbias_14825_08_biwk01_bia.fits", "weekdark_14825_08_wk01_drk.fits"),
        ("weekbias_14825_08_biwk01_bia.fits", "weekdark_14825_08_wk02_drk.fits"),
    }


@pytest.fixture
def suite(months, tmp_path):
    """Two of the month's own darks as a suite."""
    folder = tmp_path / "suite"
    folder.mkdir()
    darks = [
        path for path in sorted(months.raws.glob("*_raw.fits")) if fits.getval(path, "TARGNAME") == "DARK"
    ]
    for path in darks[-2:]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def oref(months, monkeypatch):
    monkeypatch.setenv("oref", f"{months.raws / 'oref'}/")


def test_a_suite_of_ones_own_stays_as_it_is(months, suite, oref):
    before = {path.name: path.read_bytes() for path in suite.iterdir()}
    found = regress(months.now, suite)
    assert found.passed
    assert len(found.reductions) == 4
    assert {path.name: path.read_bytes() for path in suite.iterdir()} == before
    # the chip is the same: the last week's superdark takes its hot pixels away
    last = [one for one in found.reductions if "_wk02_" in one.dark]
    assert all(abs(one.figures["hot_after"]) < 0.02 * one.figures["hot_before"] for one in last)


def test_failure_names_file_and_step(months, suite, oref, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    shutil.copy(months.product("_wk01_bia.fits"), files)
    bad = files / "weekdark_14825_08_wk01_drk.fits"
    with fits.open(months.product("_wk01_drk.fits"), memmap=False) as hdus:
        for hdu in hdus[1:]:
            hdu.data = hdu.data[:100].copy()
        hdus.writeto(bad)
    broken = suite / "obroken1q_raw.fits"
    broken.write_bytes(b"SIMPLE  = nothing")
    found = regress(files, suite)
    steps = {(one.exposure, one.step) for one in found.failures}
    assert len(found.failures) == 3
    assert ("obroken1q_raw.fits", "selection") in steps
    assert {step for name, step in steps if name != "obroken1q_raw.fits"} == {"darkcorr"}


def test_a_dark_that_is_not_subtracted_is_a_failure(months, suite, oref, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    shutil.copy(months.product("_wk01_bia.fits"), files)
    with fits.open(months.product("_wk01_drk.fits"), memmap=False) as hdus:
        hdus[1].data = hdus[1].data * 3.0
        hdus.writeto(files / "weekdark_14825_08_wk01_drk.fits")
    found = regress(files, suite)
    assert not found.passed
    assert "should come closer to 0" in found.failures[0].error
    assert found.failures[0].exposure.startswith("odbr")


@pytest.mark.parametrize("missing", ["_bia.fits", "_drk.fits"])
def test_both_kinds_are_needed(months, missing, tmp_path):
    for path in months.now.rglob("week*.fits"):
        if not path.name.endswith(missing):
            shutil.copy(path, tmp_path)
    with pytest.raises(InputError, match=missing.replace(".", r"\.")):
        regress(tmp_path)


def test_empty_suite(months, tmp_path):
    with pytest.raises(InputError, match="no raw exposures"):
        regress(months.now, tmp_path)


def test_calstis_that_is_not_installed(months, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match=r"cs0\.e"):
        regress(months.now, engine="calstis")


PROGRAM = """#!{python}
import sys, numpy as np
from astropy.io import fits
raw, out = sys.argv[1], sys.argv[2]
print("DQICORR  COMPLETE")
with fits.open(raw) as hdus:
    header = hdus[0].header
    if {fail}:
        print("DARKCORR PERFORM")
        print("ERROR    Can't open", header["DARKFILE"])
        sys.exit(1)
    assert fits.getval(header["DARKFILE"], "FILETYPE") == "DARK IMAGE"
    assert header["CRCORR"] == "OMIT"
    count = header["NEXTEND"] // 3
    shape = fits.getdata(header["DARKFILE"]).shape
noise = np.random.default_rng(1).normal(0.0, 7.0, (count, *shape)).astype("f4")
hdus = fits.HDUList([fits.PrimaryHDU(header=fits.Header({{"NEXTEND": 3 * count, "TEXPSTRT": 57000.0}}))])
for n in range(count):
    for name, data in (("SCI", noise[n]), ("ERR", np.full(shape, 7.0, "f4")), ("DQ", np.zeros(shape, "i2"))):
        hdus.append(fits.ImageHDU(data, name=name, ver=n + 1))
hdus.writeto(out + raw.split("/")[-1].replace("_raw", "_flt"))
"""


def calstis(folder, monkeypatch, fail=False):
    """A program in place of cs0.e, which writes what CALSTIS would."""
    program = folder / "cs0.e"
    program.write_text(PROGRAM.format(python=sys.executable, fail=fail))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.fixture
def one_mode(months, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    for ending in ("_wk01_bia.fits", "_wk01_drk.fits"):
        shutil.copy(months.product(ending), files)
    return files


def test_calstis_is_used_where_it_is_installed(one_mode, monkeypatch, tmp_path):
    calstis(tmp_path, monkeypatch)
    found = regress(one_mode)
    assert found.passed
    assert {one.engine for one in found.reductions} == {"calstis"}
    assert {name for one in found.reductions for name in one.products} == {
        "otst00d0q_flt.fits",
        "otst00s0q_flt.fits",
    }
    assert np.isclose(found.reductions[0].figures["scatter"], 7.0, rtol=0.05)


def test_calstis_that_fails_tells_the_step(one_mode, monkeypatch, tmp_path):
    calstis(tmp_path, monkeypatch, fail=True)
    found = regress(one_mode)
    assert {one.step for one in found.failures} == {"darkcorr"}
    assert "Can't open" in found.failures[0].error
