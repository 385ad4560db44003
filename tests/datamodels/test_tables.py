"""Reference tables and the selection of their rows."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from frames import ccd_row, in_memory, rejection_row, write_table

from refstis.datamodels.configuration import config_path
from refstis.datamodels.tables import (
    ReferenceTable,
    parse_sigmas,
    read_bad_pixels,
    read_ccd_parameters,
    read_rejection_parameters,
    read_temperatures,
)
from refstis.errors import ReferenceFileError


@pytest.fixture
def table(tmp_path):
    def make(rows, header=(), primary=()):
        return ReferenceTable.open(write_table(tmp_path / "x_tab.fits", rows, header, primary))

    return make


def exposure(**primary):
    return in_memory([np.zeros((2, 2), "f4")], primary=primary)


# -------------------------------------------------------------- reading


def test_columns_are_found_whatever_their_case(tmp_path):
    path = tmp_path / "x.fits"
    hdu = fits.BinTableHDU(Table({"CcdAmp": ["D  "], "ccdgain": [1]}))
    fits.HDUList(
        [fits.PrimaryHDU(header=fits.Header({"PEDIGREE": "dummy 1", "DESCRIP": "text"})), hdu]
    ).writeto(path)
    found = ReferenceTable.open(path)
    assert found.rows == [{"CCDAMP": "D", "CCDGAIN": 1}]
    assert found.dummy
    assert found.descrip == "text"


@pytest.mark.parametrize("content", [b"", b"text", b"SIMPLE  =" + b" " * 100])
def test_what_is_no_table(tmp_path, content):
    (tmp_path / "x_ccd.fits").write_bytes(content)
    with pytest.raises(ReferenceFileError, match=r"x_ccd\.fits: not a readable reference table"):
        ReferenceTable.open(tmp_path / "x_ccd.fits")


def test_an_image_is_no_table(tmp_path):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 3)))]).writeto(tmp_path / "x_ccd.fits")
    with pytest.raises(ReferenceFileError, match=r"x_ccd\.fits"):
        read_ccd_parameters(ReferenceTable.open(tmp_path / "x_ccd.fits"), exposure())


def test_a_missing_table(tmp_path):
    with pytest.raises(ReferenceFileError, match=r"none\.fits: no such reference table.*\$oref"):
        ReferenceTable.open(tmp_path / "none.fits")


def test_a_table_that_changed_is_read_again(tmp_path):
    path = write_table(tmp_path / "x.fits", [ccd_row()])
    assert len(ReferenceTable.open(path).rows) == 1
    path.unlink()
    write_table(path, [ccd_row(), ccd_row()])
    assert len(ReferenceTable.open(path).rows) == 2


def test_missing_columns_and_words_for_numbers(table):
    row = ccd_row()
    del row["SATURATE"]
    with pytest.raises(ReferenceFileError, match="no column SATURATE"):
        read_ccd_parameters(table([row]), exposure())


def test_words_for_numbers(table):
    with pytest.raises(ReferenceFileError, match="ATODGAIN is 'one'"):
        read_ccd_parameters(table([ccd_row(ATODGAIN="one")]), exposure())


# -------------------------------------------------------------- CCDTAB


def test_first_row_that_holds(table):
    rows = [
        ccd_row(CCDAMP="A", ATODGAIN=9.0),
        ccd_row(CCDAMP="D", CCDGAIN=4, ATODGAIN=8.0),
        ccd_row(CCDAMP="D", BINAXIS2=2, ATODGAIN=7.0),
        ccd_row(CCDAMP="D", CCDOFFST=1, ATODGAIN=6.0),
        ccd_row(CCDAMP="ANY", CCDGAIN=1, ATODGAIN=1.25),
        ccd_row(
            CCDAMP="D", CCDGAIN=1, CCDOFFST=3, BINAXIS1=1, BINAXIS2=1, ATODGAIN=5.0
        ),  # fits better, but later
    ]
    assert read_ccd_parameters(table(rows), exposure()).gain == 1.25


def test_an_amplifier_in_lower_case(table):
    found = table([ccd_row(CCDAMP="D", ATODGAIN=5.0)])
    assert read_ccd_parameters(found, exposure(CCDAMP="d")).gain == 5.0
    with pytest.raises(ReferenceFileError, match=r"has no row for CCDAMP Dx"):
        read_ccd_parameters(found, exposure(CCDAMP="dx"))


def test_values_have_the_digits_of_headers(table):
    found = read_ccd_parameters(
        table([ccd_row(ATODGAIN=4.016, READNSE=8.2328, CCDBIAS=1528.1, SATURATE=32400.3)]), exposure()
    )
    assert (found.gain, found.readnoise) == (4.0159998, 8.2327995)
    assert (found.bias, found.saturate) == (float(np.float32(1528.1)), float(np.float32(32400.3)))


def test_clip_of_the_virtual_overscan_is_optional(table, tmp_path):
    assert read_ccd_parameters(table([ccd_row(BLEV_CLIP=3.5)]), exposure()).blev_clip == 3.5
    row = ccd_row()
    del row["BLEV_CLIP"]
    path = write_table(tmp_path / "y.fits", [row])
    assert read_ccd_parameters(ReferenceTable.open(path), exposure()).blev_clip == 50.0


def test_modes_default_to_one(table):
    bare = exposure(CCDOFFST=None, BINAXIS1=None, BINAXIS2=None)
    assert read_ccd_parameters(table([ccd_row(CCDOFFST=1, BINAXIS1=1, BINAXIS2=1)]), bare).gain == 1.0


@pytest.mark.parametrize("change", [{"CCDAMP": "A"}, {"CCDGAIN": 4}, {"BINAXIS1": 4}])
def test_no_row_holds(table, change):
    words = ", ".join(
        f"{k} {v}"
        for k, v in {"CCDAMP": "D", "CCDGAIN": 1, "CCDOFFST": 3, "BINAXIS1": 1, "BINAXIS2": 1}.items()
    )
    with pytest.raises(
        ReferenceFileError, match=rf"memory_flt\.fits: x_tab\.fits has no row for {words}.*override_ccdtab"
    ):
        read_ccd_parameters(table([ccd_row(**change)]), exposure())


def test_a_dummy_has_no_parameters(table):
    with pytest.raises(ReferenceFileError, match="PEDIGREE is DUMMY"):
        read_ccd_parameters(table([ccd_row()], primary={"PEDIGREE": "DUMMY 01/01/1997"}), exposure())


def test_built_in_rows():
    built_in = ReferenceTable.open(config_path("ccdtab.ecsv"))
    found = read_ccd_parameters(built_in, exposure())
    # STIS Instrument Handbook: gain 1 and its read noise of 6.2 electrons
    assert (found.gain, found.readnoise, found.saturate) == (1.0, 6.2399998, 32000.0)
    assert read_ccd_parameters(built_in, exposure(CCDGAIN=4)).gain == 4.0159998
    assert read_ccd_parameters(built_in, exposure(BINAXIS1=2, BINAXIS2=2)).bias == 1117.0
    with pytest.raises(ReferenceFileError, match="CCDAMP A"):
        read_ccd_parameters(built_in, exposure(CCDAMP="A"))


# -------------------------------------------------------------- BPIXTAB

SIZE = {"SIZAXIS1": 1024, "SIZAXIS2": 1024}


def run_row(**changes):
    return {"OPT_ELEM": "ANY", "PIX1": 5, "PIX2": 6, "LENGTH": 2, "AXIS": 1, "VALUE": 4, **changes}


def test_runs_for_an_optical_element(table):
    rows = [run_row(), run_row(OPT_ELEM="MIRVIS", VALUE=8), run_row(OPT_ELEM="G750L", VALUE=2)]
    found = read_bad_pixels(table(rows, SIZE), "MIRVIS")
    assert [run.value for run in found.runs] == [4, 8]
    assert found.size == (1024, 1024)


def test_flags_have_sixteen_bits(table):
    found = read_bad_pixels(table([run_row(VALUE=v) for v in (65535, 32768, 65540)], SIZE), "X")
    assert [run.value for run in found.runs] == [-1, -32768, 4]


@pytest.mark.parametrize("change", [{"AXIS": 3}, {"AXIS": 0}, {"LENGTH": 0}, {"LENGTH": -1}])
def test_wrong_runs_are_errors_for_every_element(table, change):
    with pytest.raises(ReferenceFileError, match="row 2 has AXIS"):
        read_bad_pixels(table([run_row(), run_row(OPT_ELEM="G750L", **change)], SIZE), "MIRVIS")


def test_size_is_needed(table):
    with pytest.raises(ReferenceFileError, match="SIZAXIS1 and SIZAXIS2"):
        read_bad_pixels(table([run_row()]), "MIRVIS")


# -------------------------------------------------------------- CRREJTAB


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6.5,5.5,4.5", (6.5, 5.5, 4.5)),
        ("5", (5.0,)),
        ("5,4.0", (5.0, 4.0)),
        ("4;3/2 1", (4.0, 3.0, 2.0, 1.0)),
        ("  6, 5;  4  3 ", (6.0, 5.0, 4.0, 3.0)),
        ("6.5,5.5,", (6.5, 5.5)),
        (".5", (0.5,)),
        ("-1", (-1.0,)),
        ("4.1", (float(np.float32(4.1)),)),
        (",".join(["3"] * 20), (3.0,) * 20),
    ],
)
def test_limits(text, expected):
    assert parse_sigmas(text) == expected


@pytest.mark.parametrize(
    "text", ["", "   ", ",", "5,,4", "6 ,5", "five", "5,x", "+5", "5,4,-", ",".join(["3"] * 21)]
)
def test_what_are_no_limits(text):
    with pytest.raises(ValueError, match=r"CRSIGMAS|could not convert"):
        parse_sigmas(text)


def test_row_by_number_and_mean_exposure(table):
    rows = [{"CRSPLIT": 2, "MEANEXP": m} for m in (10.0, 100.0, 1000.0)] + [
        {"CRSPLIT": 3, "MEANEXP": m} for m in (1000.0, 60.0)
    ]
    made = table([rejection_row(CRSIGMAS=str(n), **row) for n, row in enumerate(rows)])
    found = [
        read_rejection_parameters(made, times, False)[0].sigmas[0]
        for times in (
            [5.0, 5.0],
            [10.0, 10.0],
            [10.0, 10.1],
            [900.0, 0.0],
            [50.0] * 3,
            [70.0] * 3,
            [50.0] * 9,
            [0.0, 0.0],
        )
    ]
    # the least MEANEXP not below the mean; more images than any row counts as its largest number
    assert found == [0, 0, 1, 2, 4, 3, 4, 0]


def test_the_last_of_equal_rows_is_taken(table):
    rows = [{"MEANEXP": 100.0}, {"MEANEXP": 100.0}, {"MEANEXP": 50.0}, {"MEANEXP": 50.0}, {"MEANEXP": 500.0}]
    made = table([rejection_row(CRSIGMAS=str(n + 1), **row) for n, row in enumerate(rows)])
    assert read_rejection_parameters(made, [40.0, 40.0], False)[0].sigmas == (4.0,)
    assert read_rejection_parameters(made, [90.0, 90.0], False)[0].sigmas == (2.0,)


@pytest.mark.parametrize(("count", "seconds"), [(4, 10.0), (2, 101.0)])
def test_no_row_for_a_number_or_an_exposure_time(table, count, seconds):
    made = table([rejection_row(CRSPLIT=n, MEANEXP=100.0) for n in (2, 6)])
    with pytest.raises(
        ReferenceFileError,
        match=rf"no row for {count} images \(CRSPLIT {count}\) of {seconds:g} s.*override_crrejtab",
    ):
        read_rejection_parameters(made, [seconds] * count, False)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("minimum", "minimum"),
        ("med", "median"),
        ("MEDIAN", "median"),
        ("medium", "median"),
        ("mean", "minimum"),
        ("", "minimum"),
    ],
)
def test_words_for_the_first_guess(table, given, expected):
    found, _ = read_rejection_parameters(table([rejection_row(INITGUES=given)]), [1.0, 1.0], False)
    assert found.initial_guess == expected


def test_spectra_have_no_sky(table):
    made = table([rejection_row(SKYSUB="mode")])
    assert read_rejection_parameters(made, [1.0, 1.0], True)[0].sky == "none"
    assert read_rejection_parameters(made, [1.0, 1.0], False)[0].sky == "mode"


@pytest.mark.parametrize("change", [{"SKYSUB": "mean"}, {"CRSIGMAS": "5,,4"}, {"SCALENSE": "much"}])
def test_rows_without_meaning(table, change):
    with pytest.raises(ReferenceFileError, match=r"x_tab\.fits: "):
        read_rejection_parameters(table([rejection_row(**change)]), [1.0, 1.0], False)


def test_parameters_of_a_row(table):
    row = rejection_row(
        SCALENSE="2.5", CRSIGMAS="6,5", CRRADIUS=2.0, CRTHRESH=0.5, BADINPDQ=24, SKYSUB="MODE"
    )
    found, of_row = read_rejection_parameters(table([row]), [1.0, 1.0], False)
    assert found.sigmas == (6.0, 5.0)
    assert (found.radius, found.threshold, found.scale_noise, found.bad_bits, found.sky) == (
        2.0,
        0.5,
        2.5,
        24,
        "mode",
    )
    assert of_row["CRMASK"] is True


# -------------------------------------------------------------- engineering temperatures


def test_temperatures(table):
    times, values = read_temperatures(
        table([{"TIME": 57000.5, "VALUE": 20.5}, {"TIME": 57000.6, "VALUE": 20.7}])
    )
    assert times.tolist() == [57000.5, 57000.6]
    assert values.tolist() == [20.5, 20.7]
