"""Whole simulated months: cadence, names, files, and the same bytes every time."""

import hashlib
import json

import numpy as np
import pytest
from astropy.io import fits

from refstis.anneal.table import read_table
from refstis.datamodels.association import Association
from refstis.errors import ConfigurationError, InputError, OutputError
from refstis.simulation import Truth, simulate
from refstis.simulation.detector import parameters

# Of the first raw file of `simulate(seed=1, days=2, size="small", products=["darks"])`. It may only change when the
# simulated detector is meant to change, and never with a version of Python, numpy, numba or astropy.
FIRST_DARK = "a656ba0e2e1fb432b732a751de062ab292f9fcd9db39fd4a060f46daf6ba345c"


def checksums(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*_raw.fits"))
    }


@pytest.mark.parametrize("threads", [1, 3])
def test_equal_seeds_give_equal_bytes_whatever_the_number_of_threads(tmp_path, threads):
    arguments = {"days": 2, "size": "small", "seed": 1, "imsets": [3]}
    simulate(tmp_path / "a", threads=threads, **arguments)
    simulate(tmp_path / "b", threads=2, products=("darks",), **arguments)
    simulate(tmp_path / "c", threads=2, products=("darks",), **(arguments | {"seed": 2}))
    first, darks, other = (checksums(tmp_path / name) for name in "abc")
    assert darks.items() <= first.items()
    assert not set(darks.values()) & set(other.values())


def test_raw_files_are_the_same_in_every_environment(tmp_path):
    made = simulate(tmp_path, days=2, size="small", seed=1, products=["darks"])
    assert hashlib.sha256(made.raws[0].read_bytes()).hexdigest() == FIRST_DARK


def test_cadence_of_a_month(month):
    """Programme of the monitors: 56 darks of 1100 s in 28 days, the first about 0.84 d after the anneal."""
    truth = Truth.open(month.truth)
    frames = truth.frames
    darks = np.unique(frames["rootname"][(frames["kind"] == "dark") & (frames["extver"] == 1)])
    monitor = [name for name in darks if name.startswith("odbr")]
    assert len(monitor) == 56
    starts = frames["mjd"][np.isin(frames["rootname"], monitor)]
    assert 0.26 < starts.min() - truth.detector.begin < 1.25
    assert np.ptp(starts) > 26.0
    assert set(frames["exptime"][np.isin(frames["rootname"], monitor)]) == {1100.0}
    begins = frames["mjd"]
    ends = begins + frames["exptime"] / 86400.0
    order = np.argsort(begins)
    assert (begins[order][1:] > ends[order][:-1]).all()


def test_imsets_of_each_week(month):
    for week, number in enumerate([20, 7, 9, 16], start=1):
        members = Association.open(month.associations[f"refbias_wk{week:02d}_bia"]).members
        assert {member.role for member in members} == {"bias"}
        assert sum(fits.getval(member.path, "NEXTEND") // 3 for member in members) == number


def test_dark_association_names_its_superbias_and_basedark(month):
    association = Association.open(month.associations["weekdark_wk02_drk"])
    roles = [member.role for member in association.members]
    assert association.name == "weekdark_wk02_drk"
    assert 13 <= roles.count("dark") <= 15
    assert roles[-2:] == ["superbias", "basedark"]
    assert json.loads(month.associations["basedark"].read_text())["products"][0]["name"] == "basedark"


def test_anneal_table_is_one_of_the_project(month):
    anneals = list(read_table(month.anneals))
    assert len(anneals) == 2
    assert anneals[1].begin - anneals[0].end == pytest.approx(28.05, abs=1e-3)
    assert {anneal.proposal for anneal in anneals} == {"14825"}


def test_reference_tables_fit_the_raws(month):
    for raw in month.raws[:3]:
        header = fits.getheader(raw)
        for keyword in ("CCDTAB", "BPIXTAB", "CRREJTAB"):
            assert (month.oref / header[keyword].removeprefix("oref$")).exists()
    rows = fits.getdata(month.oref / "16j1600do_ccd.fits")
    row = rows[
        (rows["CCDAMP"] == "D") & (rows["CCDGAIN"] == 4) & (rows["BINAXIS1"] == 1) & (rows["BINAXIS2"] == 1)
    ]
    # Values of the real table.
    assert row["ATODGAIN"][0] == pytest.approx(4.016)
    assert row["READNSE"][0] == pytest.approx(8.2328)
    assert row["CCDBIAS"][0] == 1528.0
    assert row["SATURATE"][0] == 32400.0


def test_bad_pixel_table_flags_the_pixels_that_it_means(month):
    truth = Truth.open(month.truth)
    rows = fits.getdata(month.oref / "h1v11475o_bpx.fits")
    y = (rows["PIX2"] - 1) // 4
    # The first frame column that only sees the sensor is the twelfth: unbinned pixels 4 to 7.
    x = (rows["PIX1"] - 4) // 4
    assert (truth.detector.dark_rate(truth.detector.begin)[y, x] > 10.0).mean() > 0.9


def test_science_exposure_shows_its_spectrum(month):
    truth = Truth.open(month.truth)
    frame = int(np.flatnonzero(truth.frames["kind"] == "science")[0])
    path = next(raw for raw in month.raws if raw.name.startswith(str(truth.frames["rootname"][frame])))
    assert fits.getval(path, "OBSTYPE") == "SPECTROSCOPIC"
    rows, columns = truth.readout(frame).trim
    image = fits.getdata(path, ("SCI", 1)).astype(float)[rows, columns]
    middle = image.shape[0] // 2
    trace = np.median(image[middle - 1 : middle + 2], axis=1).mean()
    sky = np.median(np.r_[image[middle - 20 : middle - 8], image[middle + 8 : middle + 20]])
    expected = np.median(truth.scene[middle - 1 : middle + 2], axis=1).mean() * 1000.0
    assert trace - sky == pytest.approx(expected, rel=0.25)


def test_two_months_have_two_anneals_and_names_of_their_own(tmp_path):
    made = simulate(tmp_path, months=2, days=2, size="small", seed=1, products=["darks"])
    assert len(made.raws) == len(set(made.raws)) == 8
    assert len(list(read_table(made.anneals))) == 3
    assert set(made.associations) >= {"basedark_m01", "basedark_m02"}


def test_hits_in_the_truth_are_in_the_raw_frame(month):
    truth = Truth.open(month.truth)
    frame = int(np.flatnonzero((truth.frames["kind"] == "dark") & (truth.frames["extver"] == 1))[3])
    rays = truth.cosmic_rays(frame)
    name = str(truth.frames["rootname"][frame])
    rows, columns = truth.readout(frame).trim
    image = fits.getdata(month.folder / f"{name}_raw.fits", ("SCI", 1)).astype(float)[rows, columns]
    residual = (
        image - truth.pattern(truth.readout(frame)) - truth.charge(frame) - truth.frames["level"][frame]
    )
    strong = (rays > 300.0) & (rays < 10000.0)
    assert strong.sum() > 100
    assert np.median(residual[strong] / rays[strong]) == pytest.approx(1.0, abs=0.03)
    assert np.median(residual[rays == 0]) == pytest.approx(0.0, abs=1.0)


def test_no_temporary_files_are_left(month):
    assert not list(month.folder.rglob("*.part"))


def test_wrong_arguments_are_refused(tmp_path, month):
    with pytest.raises(ConfigurationError, match="biases"):
        simulate(tmp_path, products=["flats"])
    with pytest.raises(ConfigurationError, match="month"):
        simulate(tmp_path, months=0)
    with pytest.raises(ConfigurationError, match="imsets"):
        simulate(tmp_path, imsets=[-1])
    with pytest.raises(ConfigurationError, match="epoch"):
        simulate(tmp_path, epoch=1985)
    with pytest.raises(OutputError, match="raw files already"):
        simulate(month.folder, size="small")
    with pytest.raises(InputError, match="of this simulation"):
        Truth.open(month.truth).select(["o12345678"])
    with pytest.raises(InputError, match="truth"):
        Truth.open(tmp_path)


def test_codes_of_programmes_are_texts():
    # also where all their characters are digits
    for epoch, figures in parameters()["epochs"].items():
        assert all(isinstance(code, str) and len(code) == 3 for code in figures["codes"].values()), epoch


def test_a_simulation_that_was_killed_is_begun_again(tmp_path, monkeypatch):
    options = {
        "size": "small",
        "binning": (4, 4),
        "days": 4,
        "imsets": [4],
        "products": ("biases",),
        "seed": 3,
    }
    expected = simulate(tmp_path / "whole", **options)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("refstis.simulation.month.save_truth", killed)
        with pytest.raises(KeyboardInterrupt):
            simulate(tmp_path / "raws", **options)
    stranger = tmp_path / "raws" / "o00000000_raw.fits"
    stranger.write_bytes(b"somebody's")
    with pytest.raises(OutputError, match="holds raw files already"):
        simulate(tmp_path / "raws", **options)
    stranger.unlink()
    made = simulate(tmp_path / "raws", **options)
    assert [one.read_bytes() for one in made.raws] == [one.read_bytes() for one in expected.raws]
    assert made.truth.read_bytes() == expected.truth.read_bytes()
    with pytest.raises(OutputError, match="holds raw files already"):
        simulate(tmp_path / "raws", **options)
