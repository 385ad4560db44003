"""The five products and refaver against refstis 0.8.5: SCI, ERR and DQ equal in every bit."""

import functools

import numpy as np
import pytest
from astropy.io import fits

import refstis
from refstis.calibration.superbias import column_residual, residual_image
from refstis.datamodels.exposure import Exposure
from refstis.stages import BiasCorrStep, BlevCorrStep, DqiCorrStep, RefaverStep, StatFlagStep, TempCorrStep

# DESCRIP has the words of today's deliveries; GROUNT was a misspelt GCOUNT.
EXCEPTIONS = {"DESCRIP", "GROUNT"}
PRODUCTS = {
    "r_basebias": "basebias.fits",
    "r_refbias_wk01": "refbias_wk01.fits",
    "r_weekbias_wk02": "weekbias_wk02.fits",
    "r_refbias_grp01": "refbias_grp01.fits",
    "r_refbias_grp02": "refbias_grp02.fits",
    "r_refaver": "refaver.fits",
    "r_refbias_g4": "refbias_g4.fits",
    "r_refbias_2x2": "refbias_2x2.fits",
    "r_refbias_ampB": "refbias_ampB.fits",
}
DARKS = ("basedark.fits", "weekdark_wk01.fits", "weekdark_wk02.fits")
FIRST_WEEK = 4


@pytest.fixture(scope="session")
def made(oracle, tmp_path_factory):
    """File of a product, made once in this session."""
    folder = tmp_path_factory.mktemp("products")

    @functools.cache
    def make(name):
        target = folder / name
        if name == "basebias.fits":
            refstis.BaseBiasPipeline.call(oracle.raws("r_basebias"), output_file=str(target))
        elif name == "basebias_2x2.fits":
            refstis.BaseBiasPipeline.call(oracle.raws("r_basebias_2x2"), output_file=str(target))
        elif name in {"weekbias_wk02.fits", "weekbias_2x2.fits"}:
            step = f"r_{name.removesuffix('.fits')}"
            base = "basebias_2x2.fits" if "2x2" in name else "basebias.fits"
            steps = {"add_hot_columns": {"override_basebias": str(make(base))}}
            refstis.WeekBiasPipeline.call(oracle.raws(step), steps=steps, output_file=str(target))
        elif name == "refaver.fits":
            inputs = [str(make(f"refbias_grp0{n}.fits")) for n in (1, 2)]
            RefaverStep.call(inputs, output_file=str(target))
        elif name.startswith("refbias"):
            refstis.RefBiasPipeline.call(
                oracle.raws(f"r_{name.removesuffix('.fits')}"), output_file=str(target)
            )
        elif name.endswith("_flt.fits"):
            raw = oracle.raw(name.replace("_flt", "_raw"))
            first_week = raw in oracle.raws("r_darks")[:FIRST_WEEK]
            superbias = make("refbias_wk01.fits" if first_week else "weekbias_wk02.fits")
            flat = BlevCorrStep().process(DqiCorrStep().process(raw))
            StatFlagStep().process(BiasCorrStep(override_biasfile=str(superbias)).process(flat)).save(target)
        elif name == "basedark.fits":
            refstis.BaseDarkPipeline.call(flts(), output_file=str(target))
        else:
            week = slice(0, FIRST_WEEK) if name == "weekdark_wk01.fits" else slice(FIRST_WEEK, None)
            steps = {"superdark": {"override_basedark": str(make("basedark.fits"))}}
            refstis.WeekDarkPipeline.call(flts()[week], steps=steps, output_file=str(target))
        return target

    def flts():
        return [str(make(raw.name.replace("_raw", "_flt"))) for raw in oracle.raws("r_darks")]

    return make


def check(oracle, step, name, path, exceptions):
    with oracle.expected(step, name) as expected, fits.open(path) as found:
        assert oracle.pixel_differences(expected, found) == {}
        assert oracle.keyword_differences(expected, found, exceptions | {"FILENAME"}) == {}


@pytest.mark.parametrize("step", PRODUCTS)
def test_superbias(oracle, oref, made, step):
    # the average's PEDIGREE tells of both its inputs, where 0.8.5 told of the first only
    exceptions = EXCEPTIONS | ({"PEDIGREE"} if step == "r_refaver" else set())
    check(oracle, step, PRODUCTS[step], made(PRODUCTS[step]), exceptions)


@pytest.mark.parametrize("name", DARKS)
def test_superdark(oracle, oref, made, name):
    check(oracle, "r_darks", name, made(name), EXCEPTIONS)


def test_dark_at_reference_temperature(oracle, oref, made, tmp_path):
    scaled = TempCorrStep().process(made("ofd103aaq_flt.fits"))
    scaled.save(tmp_path / "scaled.fits")
    check(oracle, "r_darks", "ofd103aaq_flt.fits", tmp_path / "scaled.fits", set())


def test_average_tells_of_all_its_inputs(oracle, oref, made):
    header = fits.getheader(made("refaver.fits"))
    history = [str(line) for line in header["HISTORY"]]
    names = [path.name for path in (*oracle.raws("r_refbias_grp01"), *oracle.raws("r_refbias_grp02"))]
    begin = history.index("The following input files were used:") + 1
    assert history[begin : begin + len(names) + 1] == [*names, ""]
    assert header["PEDIGREE"] == "INFLIGHT 16/09/2023 22/09/2023"


def test_hot_columns_of_frames_that_are_not_square(oracle, oref, made):
    """0.8.5 judged and replaced the columns of a 512 x 511 image in its first 511 rows only."""
    with (
        oracle.expected("r_basebias_2x2", "basebias_2x2.fits") as expected,
        fits.open(made("basebias_2x2.fits")) as found,
    ):
        differences = oracle.pixel_differences(expected, found)
        assert set(differences) == {("SCI", 1)}
        header = expected["SCI"].header
        rows = found["SCI"].data[header["ORCLOFF"] :: header["ORCLSTEP"]]
        lines = np.arange(found["SCI"].data.shape[0])[header["ORCLOFF"] :: header["ORCLSTEP"]]
        differing = np.unique(lines[(rows != expected["SCI"].data).any(axis=1)])
        square = min(found["SCI"].data.shape)
        assert differing.size
        assert (differing >= square).all()


def test_weekbias_of_frames_that_are_not_square(oracle, oref, made):
    """0.8.5 crashed here; the week's residual stands in whole columns, all rows included."""
    with fits.open(made("weekbias_2x2.fits")) as week, fits.open(made("basebias_2x2.fits")) as base:
        assert week["SCI"].data.shape == base["SCI"].data.shape
        added = week["SCI"].data != base["SCI"].data
        columns = added.any(axis=0)
        assert 0 < columns.sum() < 100
        assert added[-1, columns].any()
        # elsewhere 16 stands only where the bad pixel table has it, as in the baseline
        elsewhere = (week["DQ"].data == 16) & ~columns
        assert (base["DQ"].data[elsewhere] & 16).all()


def test_inputs_stay_as_they_are(oracle, oref, made, tmp_path):
    raw = oracle.raw("ofb101aaq_raw.fits")
    before = raw.read_bytes()
    refstis.RefBiasPipeline.call([raw], output_file=str(tmp_path / "one.fits"))
    assert raw.read_bytes() == before


def test_residual_columns_by_an_independent_formula(oracle, oref):
    sci = np.asarray(Exposure.open(oracle.raw("ofb2220aq_raw.fits")).imsets[0].sci, dtype=np.float32)[
        :64, :48
    ]
    residual, median = residual_image(sci)
    np.testing.assert_array_equal(residual, sci - median)
    expected = np.array([np.mean(residual[:16, x], dtype=np.float64) for x in range(residual.shape[1])])
    np.testing.assert_allclose(column_residual(residual, 0.25), expected, rtol=1e-5, atol=1e-5)
