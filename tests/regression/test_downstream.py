"""stis_cti and the custom-darks notebook: their sequences of calls, on simulated exposures.

stis_cti (PyPI) corrects bias-subtracted darks for charge transfer inefficiency, makes superdarks of them with
refstis, and remakes a superdark only where its header tells of other exposures or another correction.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import refstis
from refstis.functions import bias_subtract_data
from refstis.refbias import make_refbias
from refstis.simulation import simulate
from refstis.stages import BlevCorrStep, CrCorrStep, DarkCorrStep, DqiCorrStep

# What stis_cti reads of its parameter table, and under which keywords the corrected exposures tell of it.
TABLE = {
    "SIM_NIT": 7,
    "SHFT_NIT": 3,
    "RN_CLIP": 5.6,
    "NSEMODEL": 1,
    "SUBTHRSH": -30.0,
    "PCTE_VER": "1.1_test",
}
EXPOSURE = {
    "PCTESMIT": 7,
    "PCTESHFT": 3,
    "PCTERNCL": 5.6,
    "PCTENSMD": 1,
    "PCTETRSH": -30.0,
    "PCTE_VER": "1.1_test",
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    month = simulate(
        folder,
        days=12,
        size="small",
        products=("biases", "darks", "science"),
        imsets=[6, 6],
        seed=8,
        epoch=2017,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("oref", f"{month.oref}/")
        headers = {raw: fits.getheader(raw) for raw in month.raws}
        biases = [
            raw for raw in month.raws if (headers[raw]["TARGNAME"], headers[raw]["CCDGAIN"]) == ("BIAS", 1)
        ]
        month.superbias = folder / "superbias_bia.fits"
        make_refbias(biases, month.superbias)
        month.flts = [
            bias_subtract_data(raw, month.superbias)
            for raw in month.raws
            if headers[raw]["TARGNAME"] == "DARK"
        ]
        month.science = next(raw for raw in month.raws if headers[raw]["OBSTYPE"] == "SPECTROSCOPIC")
    return month


@pytest.fixture
def oref_of_month(simulated, monkeypatch):
    monkeypatch.setenv("oref", f"{simulated.oref}/")


# ---------------------------------------------------------------- stis_cti


@pytest.fixture
def corrected(simulated, oref_of_month, tmp_path):
    """Darks as the correction leaves them, and its parameter table."""
    table = tmp_path / "test_pcte.fits"
    fits.PrimaryHDU(header=fits.Header(TABLE)).writeto(table)
    files = []
    for flt in simulated.flts[:6]:
        file = tmp_path / Path(flt).name.replace("_flt", "_cte")
        with fits.open(flt) as hdus:
            hdus[0].header.update(
                {"PCTECORR": "COMPLETE", "PCTETAB": "test_pcte.fits", "PCTEFRAC": 0.9, **EXPOSURE}
            )
            hdus.writeto(file)
        files.append(str(file))
    return files, str(table)


def identity(files, keywords):
    """What a superdark is compared by: its exposures and the parameters of their correction."""
    exposures = sorted(Path(file).name.rpartition("_")[0].upper() for file in files)
    parameters = [keywords[key] for key in list(EXPOSURE)[:-1]]
    return exposures, parameters, str(keywords["PCTE_VER"]).strip().partition("_")[0]


def exposures_in_history(header):
    """Names after the line that announces them, up to an empty line or one that says 'renamed to'."""
    lines = [str(line) for line in header["HISTORY"]]
    announced = re.compile(r"^The following input (dark )?files were used:\s*$", re.IGNORECASE)
    begin = next(number for number, line in enumerate(lines) if announced.match(line)) + 1
    names = []
    for line in lines[begin:]:
        if not line.strip() or "renamed to" in line.lower():
            return names
        names.append(line)
    raise AssertionError("the list of files has no end")


def insert_keywords(superdark, last_dark, basedark=None):
    """Keywords of the last dark go after DRK_VS_T, which must be there."""
    keys = ["PCTECORR", "PCTETAB", "PCTEFRAC", "PCTERNCL", "PCTENSMD", "PCTETRSH", "PCTESMIT", "PCTESHFT", "CTE_NAME",
            "CTE_VER", "PCTE_VER"]  # fmt: skip
    source = fits.getheader(last_dark)
    with fits.open(superdark, mode="update") as hdus:
        header = hdus[0].header
        assert "DRK_VS_T" in header
        for key in reversed(keys):
            if key in header:
                header[key] = source.get(key, "unknown")
            else:
                header.set(key, source.get(key, "unknown"), after="DRK_VS_T")
        if basedark is not None:
            header.set("BASEDARK", basedark, "Used to make weekdark", after=keys[-1])
        header["HISTORY"] = " "
        header["HISTORY"] = "made again on 2026-01-01 12:00:00"


def check_superdark(path, files):
    header = fits.getheader(path)
    assert identity(exposures_in_history(header), header) == identity(files, EXPOSURE)
    assert header["DRK_VS_T"] == 0.07
    assert Path(str(path).replace(".fits", "_joined_bd_calstis_log.txt")).read_text().strip()


def test_calls_of_stis_cti(corrected, tmp_path):
    files, _ = corrected
    before = [Path(file).read_bytes() for file in files]
    base, week = str(tmp_path / "basedark_d100_drk.fits"), str(tmp_path / "d100_1_drk.fits")
    refstis.basedark.make_basedark(files, refdark_name=base)
    check_superdark(base, files)
    insert_keywords(base, files[-1])
    refstis.weekdark.make_weekdark(files[:3], week, str(Path(base).absolute()))
    check_superdark(week, files[:3])
    insert_keywords(week, files[2], basedark=base)
    # what decides whether it is remade holds after the insertion as well, and tells other lists apart
    check_superdark(week, files[:3])
    assert identity(exposures_in_history(fits.getheader(week)), EXPOSURE) != identity(files[:2], EXPOSURE)
    assert fits.getval(week, "BASEDARK") == base
    assert [Path(file).read_bytes() for file in files] == before


DRIVER = """
import importlib, sys
stis_cti = importlib.import_module("stis_cti.stis_cti")  # the package has a function of that name
folder, table, *files = sys.argv[1:]
base, week = f"{folder}/basedark_d100_drk.fits", f"{folder}/d100_1_drk.fits"
for _ in range(2):  # the second time it leaves them alone
    stis_cti.generate_basedark(files, base, table, 1, verbose=2)
    stis_cti.generate_weekdark(files[:3], week, table, base, 1, verbose=2)
"""


def drive(corrected, tmp_path, *path):
    files, table = corrected
    flts = [file.replace("_cte", "_flt") for file in files]
    driver = tmp_path / "driver.py"
    driver.write_text("".join(f"import sys; sys.path.insert(0, {str(p)!r})\n" for p in path) + DRIVER)
    done = subprocess.run(
        [sys.executable, driver, tmp_path, table, *flts],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Basedark complete") == done.stdout.count("Weekdark complete") == 1
    assert "Skipping regeneration of basedark" in done.stdout
    assert "Skipping regeneration of weekdark" in done.stdout
    assert "frames were combined and cosmic rays rejected" in done.stdout
    check_superdark(tmp_path / "d100_1_drk.fits", files[:3])


@pytest.mark.skipif(importlib.util.find_spec("stis_cti") is None, reason="stis_cti is not installed")
def test_stis_cti_itself(corrected, tmp_path):
    drive(corrected, tmp_path)


@pytest.mark.network
def test_stis_cti_of_the_package_index(corrected, tmp_path):
    target = tmp_path / "packages"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        target,
        "stis_cti>=1.6.2",
    ]
    subprocess.run(install, check=True, timeout=600)
    drive(corrected, tmp_path, target)


# ---------------------------------------------------------------- the custom-darks notebook


def test_notebook_of_custom_darks(simulated, oref_of_month, tmp_path, monkeypatch):
    """Baseline dark of the anneal month, dark of three days around an observation, recalibration, pictures."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    contents = {flt: Path(flt).read_bytes() for flt in simulated.flts}
    anneal_dark = list(simulated.flts)
    assert all(fits.getval(flt, "CCDAMP") == "D" for flt in anneal_dark)

    # the cells may be run again, as nothing but the product changes
    for _ in range(2):
        refstis.basedark.make_basedark(anneal_dark, refdark_name="new_basedark.fits", bias_file=None)
        observed = fits.getval(simulated.science, "TEXPSTRT")
        component_flt = [flt for flt in anneal_dark if abs(fits.getval(flt, "TEXPSTRT") - observed) <= 3.0]
        assert 4 <= len(component_flt) < len(anneal_dark)
        refstis.weekdark.make_weekdark(component_flt, "new_weekdark.fits", thebasedark="new_basedark.fits")
        made = Path("new_weekdark.fits").read_bytes()
    assert Path("new_weekdark.fits").read_bytes() == made
    assert {flt: Path(flt).read_bytes() for flt in simulated.flts} == contents

    raw = tmp_path / Path(simulated.science).name
    raw.write_bytes(Path(simulated.science).read_bytes())
    shutil.copy(simulated.superbias, tmp_path)
    fits.setval(raw, "BIASFILE", value=simulated.superbias.name)
    calibrated = {}
    for name in ("new_basedark.fits", "new_weekdark.fits"):
        # where the notebook runs the C programs
        fits.setval(raw, "DARKFILE", value=name)
        exposure = BlevCorrStep().process(DqiCorrStep().process(raw))
        exposure = refstis.stages.BiasCorrStep().process(exposure)
        combined = DarkCorrStep().process(CrCorrStep().process(exposure))
        assert combined.primary["DARKCORR"] == "COMPLETE"
        calibrated[name] = np.asarray(combined.imsets[0].sci)

    new, base = fits.getdata("new_weekdark.fits"), fits.getdata("new_basedark.fits")
    figure, axes = plt.subplots(1, 3)
    axes[0].imshow(new, vmax=1)
    axes[1].imshow(new / base, cmap="RdBu_r", vmin=0.5, vmax=1.5)
    axes[2].imshow(calibrated["new_weekdark.fits"] - calibrated["new_basedark.fits"])
    figure.savefig("custom_dark.png")
    plt.close(figure)
    # pixels that turned hot or annealed since are what a custom dark is made for
    assert (np.abs(calibrated["new_weekdark.fits"] - calibrated["new_basedark.fits"]) > 20).any()
