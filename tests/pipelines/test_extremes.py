"""Frames and references at the edge of what numbers can say: defined products or a refusal, and never a warning."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from frames import MONTH_SHAPE, association, ccd_row, rejection_row, write_raw, write_reference, write_table

import refstis
from refstis.errors import RefstisError

PIPELINES = {
    "basebias": refstis.BaseBiasPipeline,
    "refbias": refstis.RefBiasPipeline,
    "weekbias": refstis.WeekBiasPipeline,
    "basedark": refstis.BaseDarkPipeline,
    "weekdark": refstis.WeekDarkPipeline,
}
LEVEL, SUPERBIAS, RATE = 1500.0, 2.0, 0.25
EXPTIME = 1000.0
AT = (7, 11)


def constant(value):
    return lambda number: np.full(MONTH_SHAPE, value, dtype=np.uint16)


def one_pixel(number):
    frame = np.full(MONTH_SHAPE, 1510, dtype=np.uint16)
    frame[AT] += 40
    return frame


def negative(number):
    return np.random.default_rng(number).integers(-200, -100, MONTH_SHAPE).astype(np.int16)


def ordinary(number):
    return np.random.default_rng(number).normal(LEVEL + 10, 4, MONTH_SHAPE).round().astype(np.uint16)


FRAMES = {
    "constant": constant(1510),
    "one pixel different": one_pixel,
    "all saturated": constant(65535),
    "all zero": constant(0),
    "negative": negative,
    "ordinary": ordinary,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Tables and reference images that fit the frames; their level is exactly known."""
    oref = tmp_path / "oref"
    oref.mkdir()
    monkeypatch.setenv("oref", f"{oref}/")
    monkeypatch.chdir(tmp_path)
    write_table(oref / "16j1600do_ccd.fits", [ccd_row(CCDBIAS=LEVEL)])
    rows = [rejection_row(CRSPLIT=split, INITGUES="median") for split in range(2, 7)]
    write_table(oref / "j3m1403io_crr.fits", rows)
    flat = np.full(MONTH_SHAPE, SUPERBIAS)
    write_reference("super_bia.fits", flat, np.full(MONTH_SHAPE, 0.1), primary={"TASKNAME": "refbias"})
    write_reference("base_bia.fits", flat, np.full(MONTH_SHAPE, 0.1), primary={"TASKNAME": "BASEJOIN"})
    dark = {"FILETYPE": "DARK IMAGE", "TASKNAME": "BASEDARK"}
    write_reference("base_drk.fits", np.full(MONTH_SHAPE, RATE), np.full(MONTH_SHAPE, 0.001), primary=dark)
    return tmp_path


def raws(name, frame, flags=None):
    """Three exposures of two image sets (darks: one) on one side of the detector's life without temperatures."""
    role = "DARK" if name.endswith("dark") else "BIAS"
    imsets = 1 if role == "DARK" else 2
    made = []
    for number in range(3):
        path = write_raw(
            f"o{number}_raw.fits", role, imsets=imsets, begin=51000.0 + number, exptime=EXPTIME * (role == "DARK"),
            frames=[frame(10 * number + one) for one in range(imsets)],
            primary={"BPIXTAB": "N/A"}, sci={"LTV1": 0.0, "LTV2": 0.0},
        )  # fmt: skip
        if flags is not None:
            with fits.open(path, mode="update") as hdus:
                for one in range(imsets):
                    hdus["DQ", one + 1] = fits.ImageHDU(
                        np.full(MONTH_SHAPE, flags, dtype=np.int16), hdus["DQ", one + 1].header, name="DQ"
                    )
        made.append(path.name)
    references = {"basebias": "base_bia.fits"} if name == "weekbias" else {}
    if role == "DARK":
        references = {"superbias": "super_bia.fits"}
        references |= {"basedark": "base_drk.fits"} if name == "weekdark" else {}
    return association(Path("asn.json").absolute(), **{role.lower(): made}, **references)


def product(name, path, **steps):
    PIPELINES[name].call(str(path), output_file="product.fits", steps={"crcorr": {"threads": 1}, **steps})
    with fits.open("product.fits") as hdus:
        sci, err, dq = (np.asarray(hdus[extension].data) for extension in ("SCI", "ERR", "DQ"))
        assert all(np.isfinite(card.value) for card in hdus[1].header.cards if isinstance(card.value, float))
    assert np.isfinite(sci[dq == 0]).all()
    assert np.isfinite(err[dq == 0]).all()
    assert (err[np.isfinite(err)] >= 0).all()
    return sci, err, dq


def expected(name, counts):
    """What a constant frame of so many counts gives: its excess, a dark's rate; a weekbias is its baseline."""
    excess = SUPERBIAS if name == "weekbias" else counts - LEVEL
    return (excess - SUPERBIAS) / EXPTIME if name.endswith("dark") else excess


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("name", PIPELINES)
def test_frames(folder, name, kind):
    sci, _, dq = product(name, raws(name, FRAMES[kind]))
    if kind in ("constant", "one pixel different") and name != "weekdark":
        rest = np.ones(MONTH_SHAPE, dtype=bool)
        rest[AT] = kind == "constant"
        np.testing.assert_allclose(sci[rest], expected(name, 1510), atol=2e-3)
        # medians see zeros beyond the corners, where a constant then stands out
        rest[[0, -1]] = False
        assert not dq[rest].any()
    if kind == "all saturated" and name in ("refbias", "basebias", "basedark"):
        assert dq.all()
        assert (dq[1:-1] & 256).all()


@pytest.mark.parametrize("name", PIPELINES)
def test_without_read_noise_nothing_is_made(folder, name):
    table = folder / "oref" / "16j1600do_ccd.fits"
    table.unlink()
    write_table(table, [ccd_row(CCDBIAS=LEVEL, READNSE=0.0)])
    # hits could not be told from noise
    with pytest.raises(RefstisError, match="READNSE is 0"):
        product(name, raws(name, ordinary))
    assert not (folder / "product.fits").exists()


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pixel_is_flagged(folder, name):
    sci, _, dq = product(name, raws(name, ordinary, flags=4))
    assert dq.all()
    assert np.isfinite(sci).all()


@pytest.mark.parametrize("extension", ["SCI", "ERR"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("weekbias", "base_bia"),
        ("basedark", "super_bia"),
        ("weekdark", "super_bia"),
        ("weekdark", "base_drk"),
    ],
)
def test_a_reference_that_is_not_finite_is_refused(folder, name, reference, value, extension):
    with fits.open(f"{reference}.fits", mode="update") as hdus:
        hdus[extension].data[AT] = value
    with pytest.raises(RefstisError, match=reference):
        product(name, raws(name, ordinary))
    assert not (folder / "product.fits").exists()
