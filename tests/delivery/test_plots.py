"""Plots as documented, and descriptions."""

import shutil

import numpy as np
import pytest
from astropy.io import fits

from refstis import delivery
from refstis.delivery.figures import stretch
from refstis.delivery.products import find_products
from refstis.errors import InputError


@pytest.fixture
def folder(months, tmp_path):
    for path in find_products(months.now):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_plot_obset_writes_the_documented_files(folder, months):
    written = delivery.plot_obset(str(folder), months.before)
    assert [path.name for path in written] == ["biases.pdf", "darks.pdf", "biweeks.pdf"]
    # one page on all, one on each
    assert [
        path.read_bytes().count(b"/Type /Page\n") + path.read_bytes().count(b"/Type /Page ")
        for path in written
    ] == [3, 3, 2]


def test_plots_of_equal_files_are_equal_and_need_no_files(tmp_path):
    first = [path.read_bytes() for path in delivery.plot_obset(tmp_path)]
    second = [path.read_bytes() for path in delivery.plot_obset(tmp_path)]
    assert first == second
    assert all(content.startswith(b"%PDF") for content in first)


def test_plots_of_files_with_nan(folder):
    path = next(folder.glob("*_wk01_drk.fits"))
    with fits.open(path, mode="update", memmap=False) as hdus:
        hdus[1].data[3:9] = np.nan
    for other in folder.glob("*.fits"):
        if other != path:
            other.unlink()
    assert delivery.plot_obset(folder)[1].stat().st_size > 20000


def test_stretch_is_not_decided_by_outliers():
    image = np.random.default_rng(0).normal(5.0, 1.0, (100, 100))
    image[::10, ::10] = 1e6
    low, high = stretch(image)
    assert -1.0 < low < 2.0
    assert 11.0 < high < 15.0
    assert stretch(np.full((4, 4), np.nan)) == (0.0, 1.0)
    assert stretch(np.zeros((4, 4)))[0] < stretch(np.zeros((4, 4)))[1]


# ---------------------------------------------------------------------------- set_descrip


def test_set_descrip_leaves_what_is_right(folder):
    assert delivery.set_descrip(str(folder)) == []


@pytest.mark.parametrize("ending", ["_wk01_bia.fits", "_wk02_bia.fits", "_biwk01_bia.fits", "_wk02_drk.fits"])
def test_set_descrip_puts_right_what_is_wrong(folder, ending):
    path = next(folder.glob(f"*{ending}"))
    right = fits.getval(path, "DESCRIP")
    pixels = fits.getdata(path, "SCI", 1)
    fits.setval(path, "DESCRIP", value="something")
    assert delivery.set_descrip(folder) == [path]
    assert fits.getval(path, "DESCRIP") == right
    assert len(right) == 67
    assert np.array_equal(fits.getdata(path, "SCI", 1), pixels)


def test_set_descrip_of_a_file_of_another_maker(folder):
    path = next(folder.glob("*_wk02_drk.fits"))
    with fits.open(path, mode="update") as hdus:
        del hdus[0].header["TASKNAME"]
        del hdus[0].header["HISTORY"]
        hdus[0].header["CCDGAIN"] = 1
        hdus[0].header["USEAFTER"] = "Aug 01 2017 00:00:00"
    delivery.set_descrip(folder)
    assert fits.getval(path, "DESCRIP") == "Weekdark (amp=D) for data taken after 2017-08-01".ljust(67, "-")


def test_set_descrip_keeps_provisional(folder):
    path = next(folder.glob("*_wk02_drk.fits"))
    fits.setval(path, "DESCRIP", value="Weekdark, provisional")
    delivery.set_descrip(folder)
    assert "provisional" in fits.getval(path, "DESCRIP")


def test_set_descrip_without_a_date(folder):
    path = next(folder.glob("*_wk01_bia.fits"))
    fits.setval(path, "USEAFTER", value="")
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"{path.name}.*USEAFTER"):
        delivery.set_descrip(folder)
    assert path.read_bytes() == before
