"""Simulated raws have the structure of raws of the archive and of another simulation that CALSTIS has read."""

import gzip
import os
import re
from pathlib import Path

import pytest
from astropy.io import fits

from refstis.simulation import Detector, Readout, simulate

DATA = Path(os.environ.get("REFSTIS_TEST_DATA", Path(__file__).parents[2] / ".." / "shared"))
OTHERS = DATA / "oracle" / "raw"
HEADERS = DATA / "data" / "headers"
# Keywords that tell of who wrote a FITS file last, not of the exposure.
WRITERS = {
    "GROUPS",
    "BSCALE",
    "BZERO",
    "ORIGIN",
    "IRAF-TLM",
    "DATE",
    "COMMENT",
    "HISTORY",
    "",
    "NAXIS1",
    "NAXIS2",
}

pytestmark = pytest.mark.skipif(not OTHERS.is_dir(), reason="needs the comparison data (REFSTIS_TEST_DATA)")


@pytest.fixture(scope="module")
def raws(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raws")
    made = simulate(
        folder, days=1, imsets=[3], seed=1, epoch=2023, products=("biases", "darks", "binned", "science")
    )
    found = {}
    for path in made.raws:
        header = fits.getheader(path)
        key = (header["TARGNAME"], header["CCDGAIN"], header["BINAXIS1"], header["BINAXIS2"])
        found.setdefault(key, path)
    return found


def opened(name):
    return fits.open(gzip.open(OTHERS / f"{name}_raw.fits.gz"), do_not_scale_image_data=True)


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ("ofb101aaq", ("BIAS", 1, 1, 1)),
        ("ofd103aaq", ("DARK", 1, 1, 1)),
        ("ofb404aaq", ("BIAS", 4, 1, 1)),
        ("ofb2220aq", ("BIAS", 1, 2, 2)),
    ],
)
def test_keywords_types_and_null_arrays(raws, other, key):
    with opened(other) as theirs, fits.open(raws[key], do_not_scale_image_data=True) as ours:
        for extension in (0, ("SCI", 1), ("ERR", 1), ("DQ", 1)):
            expected, found = theirs[extension].header, ours[extension].header
            assert set(found) - WRITERS == set(expected) - WRITERS
            for keyword in set(expected) - WRITERS:
                # 0.0 was written as an integer or a float by chance; text and numbers are never exchanged.
                kinds = [bool, str, (int, float)]
                value, model = found[keyword], expected[keyword]
                kind = next(kind for kind in kinds if isinstance(model, kind))
                assert isinstance(value, kind), (extension, keyword, value, model)
        assert ours["SCI", 1].header["BITPIX"] == 16
        assert ours["SCI", 1].header["BZERO"] == 32768
        assert ours["SCI", 1].data.shape == theirs["SCI", 1].data.shape
        assert ours["SCI", 1].header["LTV1"] == theirs["SCI", 1].header["LTV1"]
        assert ours["SCI", 1].header["LTV2"] == theirs["SCI", 1].header["LTV2"]
        for name in ("ERR", "DQ"):
            header = ours[name, 1].header
            ny, nx = ours["SCI", 1].data.shape
            assert (header["NAXIS"], header["NPIX1"], header["NPIX2"], header["PIXVALUE"]) == (0, nx, ny, 0)
        assert ours[0].header["NEXTEND"] == len(ours) - 1


def cards(lines):
    """Keyword to value text of header cards."""
    return {line[:8].strip(): line[10:] for line in lines if re.match(r"[A-Z0-9_-]+ *=", line)}


def test_imaging_header_of_the_archive(raws):
    """A raw of 1999 as the archive wrote it in 2025: the same keywords, text where it has text, 2x1 geometry."""
    with fits.open(raws["BIAS", 1, 2, 1], do_not_scale_image_data=True) as ours:
        for number, name in enumerate(("primary", "sci", "err", "dq")):
            real = cards((DATA / "data" / "templates" / f"raw_{name}.hdr").read_text().splitlines())
            assert set(ours[number].header) - WRITERS == set(real) - WRITERS
            for keyword in set(real) - WRITERS:
                value, text = ours[number].header[keyword], real[keyword].lstrip()
                assert isinstance(value, str) == text.startswith("'"), keyword
                assert isinstance(value, bool) == text.startswith(("T ", "F ")), keyword
        header = ours["SCI", 1].header
        assert (header["LTV1"], header["LTV2"], header["LTM1_1"]) == (10.75, 10.0, 0.5)
        assert ours["SCI", 1].data.shape == (1034, 532)


@pytest.mark.parametrize(
    "name",
    ["o4sp040b0_raw_1998_fullframe_1x1_gain4.txt", "o56502020_raw_1999_fullframe_2x1_gain1_accum.txt"],
)
def test_spectroscopic_header_of_the_archive(raws, name):
    hdus = (HEADERS / name).read_text().split("##### HDU")[1:]
    # Keywords of 1998 that the archive no longer writes; those of dither patterns and of a place on the sky.
    gone = {"DFLTFILE", "WBIAFILE", "LRC_XSTS", "LRC_FAIL", "LTM2_1", "LTM1_2"}
    gone |= {"ATODCORR", "ATODTAB", "SHADCORR", "SHADFILE"} if "1998" in name else set()
    gone |= {"PATTERN", "NUMPOS", "STEPSIZE", "PATTDRC", "PATT_POS", "S_REGION"}
    with fits.open(raws["FAINT-STAR", 1, 1, 1], do_not_scale_image_data=True) as ours:
        for number in (0, 1, 2, 3):
            real = cards(hdus[number].splitlines())
            assert not set(real) - set(ours[number].header) - WRITERS - gone


@pytest.mark.parametrize("amp", "ABCD")
def test_files_are_valid_fits(tmp_path, amp):
    made = simulate(tmp_path, days=1, imsets=[2], size="small", seed=2, amp=amp, products=("biases",))
    with fits.open(made.raws[0]) as hdus:
        hdus.verify("exception")
        assert hdus["SCI", 1].data.shape == Readout(amp, size="small").shape
        assert hdus[0].header["CCDAMP"] == amp


def test_epochs_name_the_reference_files_of_their_time():
    assert Detector(epoch=1999, size="small").figures["ccdtab"] == "0841734eo_ccd.fits"
    assert Detector(epoch=2017, size="small").figures["ccdtab"] == "16j1600do_ccd.fits"
