"""The documented functions and commands against refstis 0.8.5, and the building blocks in the order it used them."""

import functools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from refstis.basedark import find_hotpix, make_basedark, update_sci
from refstis.basejoint import (
    average_biases,
    calibrate,
    make_basebias,
    replace_hot_cols,
    replace_hot_pix,
)
from refstis.functions import (
    apply_dark_correction,
    bd_calstis,
    bd_crreject,
    bias_subtract_data,
    crreject,
    make_residual,
    msjoin,
    normalize_crj,
    refaver,
    update_header_from_input,
)
from refstis.refbias import flag_hot_pixels, make_refbias
from refstis.weekbias import make_weekbias
from refstis.weekdark import create_superdark, make_weekdark

# DESCRIP has the words of today's deliveries; GROUNT was a misspelt GCOUNT.
EXCEPTIONS = {"DESCRIP", "GROUNT", "FILENAME"}
FIRST_WEEK = 4
BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def front(oracle, tmp_path_factory):
    """File of a product, made once by the documented functions."""
    folder = tmp_path_factory.mktemp("front")

    @functools.cache
    def make(name):
        target = folder / name
        if name == "basebias.fits":
            make_basebias(raws("r_basebias"), str(target))
        elif name == "refbias_wk01.fits":
            make_refbias(raws("r_refbias_wk01"), str(target))
        elif name == "weekbias_wk02.fits":
            make_weekbias(raws("r_weekbias_wk02"), str(target), str(make("basebias.fits")))
        elif name == "refbias_2x2.fits":
            make_refbias(raws("r_refbias_2x2"), str(target))
        elif name.endswith("_flt.fits"):
            raw = oracle.raw(name.replace("_flt", "_raw"))
            first = raw in oracle.raws("r_darks")[:FIRST_WEEK]
            superbias = make("refbias_wk01.fits" if first else "weekbias_wk02.fits")
            assert bias_subtract_data(str(raw), str(superbias), outdir=str(folder)) == str(target)
        elif name == "basedark.fits":
            make_basedark(flts(), str(target))
        elif name == "weekdark_wk01.fits":
            make_weekdark(flts()[:FIRST_WEEK], str(target), str(make("basedark.fits")))
        return target

    def raws(step):
        return [str(raw) for raw in oracle.raws(step)]

    def flts():
        return [str(make(raw.name.replace("_raw", "_flt"))) for raw in oracle.raws("r_darks")]

    make.flts = flts
    make.raws = raws
    return make


def check(oracle, step, name, path, exceptions=frozenset()):
    with oracle.expected(step, name) as expected, fits.open(path) as found:
        assert oracle.pixel_differences(expected, found) == {}
        assert oracle.keyword_differences(expected, found, EXCEPTIONS | exceptions) == {}


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("r_basebias", "basebias.fits"),
        ("r_refbias_wk01", "refbias_wk01.fits"),
        ("r_weekbias_wk02", "weekbias_wk02.fits"),
        ("r_refbias_2x2", "refbias_2x2.fits"),
        ("r_darks", "basedark.fits"),
        ("r_darks", "weekdark_wk01.fits"),
    ],
)
def test_functions(oracle, oref, front, step, name):
    check(oracle, step, name, front(name))


def test_refaver(oracle, oref, front, tmp_path):
    # the average of two halves is that of the whole arrays, whichever files they are
    one, two = front("refbias_wk01.fits"), front("weekbias_wk02.fits")
    before = one.read_bytes(), two.read_bytes()
    refaver([str(one), str(two)], str(tmp_path / "average.fits"))
    expected = fits.getdata(one) / np.float32(2) + fits.getdata(two) / np.float32(2)
    np.testing.assert_array_equal(fits.getdata(tmp_path / "average.fits"), expected)
    assert (one.read_bytes(), two.read_bytes()) == before


def test_basedark_from_its_building_blocks(oracle, oref, front, tmp_path):
    """In the order that release 0.8.5 calls them."""
    flts = [str(shutil.copy(flt, tmp_path)) for flt in front.flts()]
    for flt in flts:
        apply_dark_correction(flt, fits.getval(flt, "TEXPSTRT"))
    check(oracle, "r_darks", "ofd103aaq_flt.fits", flts[0], {"BIASFILE"})
    joined, product = str(tmp_path / "basedark_joined.fits"), str(tmp_path / "basedark.fits")
    msjoin(flts, joined)
    assert bd_crreject(joined) == 0
    bd_calstis(joined)
    normalize_crj(joined.replace(".fits", "_crj.fits"))
    shutil.copy(joined.replace(".fits", "_crj.fits"), product)
    update_sci(product)
    find_hotpix(product)
    fits.setval(product, "TASKNAME", value="BASEDARK")
    update_header_from_input(product, flts)
    check(oracle, "r_darks", "basedark.fits", product)

    week = str(tmp_path / "weekdark_wk01.fits")
    joined = str(tmp_path / "week_joined.fits")
    msjoin(flts[:FIRST_WEEK], joined)
    bd_calstis(joined)
    shutil.copy(joined.replace(".fits", "_crj.fits"), week)
    normalize_crj(week)
    create_superdark(week, product)
    fits.setval(week, "TASKNAME", value="WEEKDARK")
    update_header_from_input(week, flts[:FIRST_WEEK])
    check(oracle, "r_darks", "weekdark_wk01.fits", week)


def test_superbiases_from_their_building_blocks(oracle, oref, front, tmp_path):
    raws = [str(shutil.copy(raw, tmp_path)) for raw in front.raws("r_refbias_2x2")]
    joined = str(tmp_path / "refbias_2x2_joined.fits")
    msjoin(raws, joined)
    mean = crreject(joined)
    flag_hot_pixels(mean)
    update_header_from_input(mean, raws)
    check(oracle, "r_refbias_2x2", "refbias_2x2.fits", mean)

    mean, weight = average_biases([calibrate(raw) for raw in raws])
    assert weight == 6
    residual, median = make_residual(mean)
    replace_hot_cols(mean, median, residual)
    replace_hot_cols(mean, median, residual, yfrac=0.2)
    replace_hot_pix(mean, median)
    make_basebias(raws, str(tmp_path / "base.fits"))
    with fits.open(mean) as blocks, fits.open(tmp_path / "base.fits") as whole:
        for extension in (1, 2, 3):
            np.testing.assert_array_equal(blocks[extension].data, whole[extension].data)


# ---------------------------------------------------------------- commands


def shell(folder, *arguments):
    return subprocess.run(
        [BIN / arguments[0], *map(str, arguments[1:])],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_commands_in_both_forms(oracle, oref, front, tmp_path):
    flts = front.flts()
    base = front("basedark.fits")
    superbias = front("refbias_wk01.fits")
    runs = [
        ("refbias", *front.raws("r_refbias_2x2"), "refbias_2x2.fits"),
        ("refstis", "refbias", "-o", "options.fits", *front.raws("r_refbias_2x2")),
        ("weekdark", *flts[:FIRST_WEEK], "weekdark_wk01.fits", base, superbias),
        ("basedark", *flts),
    ]
    # without any option, the last two names of the last run would be output and superbias
    runs[-1] = (*runs[-1], "-o", "basedark.fits")
    for run in runs:
        done = shell(tmp_path, *run)
        assert done.returncode == 0, done.stderr
    check(oracle, "r_refbias_2x2", "refbias_2x2.fits", tmp_path / "refbias_2x2.fits")
    check(oracle, "r_refbias_2x2", "refbias_2x2.fits", tmp_path / "options.fits")
    check(oracle, "r_darks", "weekdark_wk01.fits", tmp_path / "weekdark_wk01.fits")
    check(oracle, "r_darks", "basedark.fits", tmp_path / "basedark.fits")
