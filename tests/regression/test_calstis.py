"""basic2d and ocrreject: every pixel and every keyword that the C programs wrote."""

import functools

import pytest
from astropy.io import fits
from astropy.table import Table

from refstis.datamodels.exposure import Exposure
from refstis.stages import BiasCorrStep, BlevCorrStep, CrCorrStep, DqiCorrStep, StatFlagStep
from refstis.stages.darkcorr import with_engineering_temperature

BASIC2D = [
    "c_blev_1x1", "c_blev_1x1_m", "c_blev_g4", "c_blev_2x2", "c_blev_ampB", "c_blev_optcol", "c_blev_2x2_optcol",
    "c_flt_ofd103aaq", "c_flt_ofd103abq", "c_flt_ofd103ahq", "c_real_o56502010", "c_real_o56503020",
]  # fmt: skip
OCRREJECT = [
    "c_crj_dark2", "c_crj_dark4", "c_crj_dark4_543", "c_crj_2x2", "c_crj_2x2_543", "c_crj_2x2_odd",
    "c_real_o56502010_crj",
    "c_real_o56503020_crj", "c_crj_dark2_odd", "c_crj_split_odd", "c_crj_g4", "c_crj_dark4_scale",
]  # fmt: skip
# The velocity of the Earth is written by CALSTIS for spectroscopic exposures; it has no part in biases and darks.
EXCEPTIONS = {step: {"V_HELIO"} for step in (*BASIC2D, *OCRREJECT) if "real" in step}
# The word of the command line is kept by CALSTIS; ours is the one of the table.
EXCEPTIONS["c_crj_dark4_scale"] = {"INITGUES"}
OPTIONS = {
    "-scale": ("scalense", float),
    "-init": ("initgues", {"min": "minimum", "med": "median"}.get),
    "-sky": ("skysub", str),
    "-sigmas": ("crsigmas", lambda text: [float(word) for word in text.split(",")]),
    "-radius": ("crradius", float),
    "-thresh": ("crthresh", float),
    "-pdq": ("badinpdq", int),
}


@pytest.fixture(scope="session")
def calibrated(oracle):
    """Exposure of a basic2d step or of a join, made once."""

    @functools.cache
    def make(step_id):
        step = oracle.plan[step_id]
        if step["type"] == "join":
            parts = [make(name.split("/")[0]) for name in step["in"]]
            imsets = [imset for part in parts for imset in part.imsets]
            return parts[0].changed({"NEXTEND": 3 * len(imsets)}, imsets)
        exposure = Exposure.open(oracle.raw(step["in"])).changed(step.get("edit", {}))
        exposure = BlevCorrStep().process(DqiCorrStep().process(exposure))
        if "-bias" in step["switches"]:
            exposure = BiasCorrStep().process(exposure)
        return StatFlagStep().process(exposure) if "-stat" in step["switches"] else exposure

    return make


def check(oracle, step, name, exposure, tmp_path, exceptions=frozenset()):
    exposure.save(tmp_path / name)
    with oracle.expected(step, name) as expected, fits.open(tmp_path / name) as found:
        assert len(found) == len(expected)
        assert oracle.pixel_differences(expected, found) == {}
        assert oracle.keyword_differences(expected, found, EXCEPTIONS.get(step, set()) | exceptions) == {}


@pytest.mark.parametrize("step", BASIC2D)
def test_basic2d(oracle, oref, calibrated, tmp_path, step):
    check(oracle, step, oracle.plan[step]["out"], calibrated(step), tmp_path)


@pytest.mark.parametrize("step", OCRREJECT)
def test_ocrreject(oracle, oref, calibrated, tmp_path, step):
    plan = oracle.plan[step]
    exposure = calibrated(plan["in"].split("/")[0]).changed(plan.get("edit", {}))
    arguments = plan.get("args", [])
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    options = {OPTIONS[key][0]: OPTIONS[key][1](value) for key, value in pairs}
    product = CrCorrStep(**options).process(exposure)
    check(oracle, step, plan["out"], product, tmp_path)
    updated = exposure
    if product.input_dq:
        pairs = zip(exposure.imsets, product.input_dq, strict=True)
        updated = exposure.changed(imsets=[imset.with_pixels(dq=dq) for imset, dq in pairs])
    # the C program changes the file in place, so that it keeps the name of the first of the joined ones
    check(oracle, step, plan["in"].split("/")[1], updated, tmp_path, {"FILENAME"})


def test_engineering_temperature(oracle, oref, calibrated, tmp_path):
    step = oracle.plan["c_flt_epc"]
    ((name, rows),) = step["epc"].items()
    Table(rows=rows, names=["TIME", "VALUE"]).write(tmp_path / name)
    exposure = calibrated("c_flt_ofd103aaq")
    replaced = exposure.map_imsets(lambda imset: with_engineering_temperature(imset, tmp_path / name))
    assert replaced.imsets[0].housing_temperature != exposure.imsets[0].housing_temperature
    check(oracle, "c_flt_epc", step["out"], replaced, tmp_path)


def test_every_step_is_compared(oracle):
    steps = {name for name, step in oracle.plan.items() if step["type"] in {"cs1", "cs2"}}
    assert steps == {*BASIC2D, *OCRREJECT, "c_flt_epc"}
