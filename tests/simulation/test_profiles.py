"""The profile `improved` against the truth of a simulated month, beside the default."""

import json
import os

import numpy as np
import pytest
from astropy.io import fits

from refstis.calibration.geometry import overscan_geometry
from refstis.datamodels import config_path
from refstis.datamodels.exposure import Exposure
from refstis.datamodels.pixels import Pixels
from refstis.pipelines import BaseBiasPipeline, RefBiasPipeline, WeekBiasPipeline
from refstis.simulation import Truth
from refstis.simulation.scoring import compare
from refstis.stages import BlevCorrStep, CleanOverscanStep

PIPELINES = {"basebias": BaseBiasPipeline, "refbias": RefBiasPipeline, "weekbias": WeekBiasPipeline}


@pytest.fixture(scope="module")
def oref(month):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("oref", f"{month.oref}{os.sep}")
        yield


@pytest.fixture(scope="module")
def comparisons(month, oref, tmp_path_factory):
    """Comparison of each superbias of both profiles; the third week has 9 frames."""
    truth = Truth.open(month.folder)
    found = {}
    for profile in ("", "improved"):
        folder = tmp_path_factory.mktemp("products")
        biases = json.loads((month.folder / "basebias_asn.json").read_text())["products"][0]["members"]
        week = json.loads((month.folder / "weekbias_wk03_asn.json").read_text())["products"][0]["members"]
        for kind, pipeline in PIPELINES.items():
            members = [one for one in (week if kind == "weekbias" else biases) if one["exptype"] == "bias"]
            for one in members:
                one["expname"] = str(month.folder / os.path.basename(one["expname"]))  # noqa: PTH119
            if kind == "weekbias":
                members = [*members, {"expname": str(folder / "basebias.fits"), "exptype": "basebias"}]
            (folder / f"{kind}.json").write_text(
                json.dumps({"products": [{"name": kind, "members": members}]})
            )
            pipeline.call(
                str(folder / f"{kind}.json"),
                config_file=str(config_path(profile) / f"{kind}.asdf"),
                output_file=str(folder / f"{kind}.fits"),
                configure_log=False,
            )
            found[profile or "heritage", kind] = compare(folder / f"{kind}.fits", truth)
    return found


@pytest.mark.parametrize("kind", list(PIPELINES))
def test_improved_superbias_is_at_its_limit(comparisons, kind):
    figures = comparisons["improved", kind].figures
    assert figures["ordinary"]["rms_ratio"] < 1.03
    assert figures["hot_pixels"]["rms_ratio"] < 1.1
    assert figures["hot_columns"]["rms_ratio"] < 1.1
    assert figures["pulls"]["ordinary"]["standard_deviation"] == pytest.approx(1.0, abs=0.05)
    assert figures["pulls"]["ordinary"]["beyond_5"] < 1e-4


def test_improved_superbias_is_better_wherever_the_default_is_not_at_the_limit(comparisons):
    for kind in PIPELINES:
        before, after = (comparisons[profile, kind].figures for profile in ("heritage", "improved"))
        for part in ("hot_pixels", "hot_columns"):
            assert before[part]["rms_ratio"] > 1.3 * after[part]["rms_ratio"]
    before, after = (
        comparisons[profile, "weekbias"].figures["hot_pixels"]["mean"] for profile in ("heritage", "improved")
    )
    assert before < -3.0
    assert abs(after) < 0.2 * abs(before)


def test_improved_flags_are_those_of_defects(comparisons):
    for kind in PIPELINES:
        one = comparisons["improved", kind]
        excess = one.truth - np.median(one.truth, axis=1, keepdims=True)
        clear = 5.0 + 6.0 * float(np.median(one.error))
        assert one.flagged[excess > clear].mean() > 0.98
        assert one.flagged[excess < 1.0].mean() < 0.001


def drifts(month, stages):
    """Mean error of the drift from the section to the middle of the frame (DN)."""
    truth = Truth.open(month.folder)
    names = [path.name for path in month.raws if "odbt0" in path.name]
    frames = [f for f in truth.select(names) if truth.frames["gain"][f] == 1]
    names = dict.fromkeys(str(truth.frames["rootname"][f]) for f in frames)
    exposures = [Exposure.open(month.folder / f"{name}_raw.fits") for name in names]
    for stage in stages:
        exposures = stage(exposures)
    found = [imset for exposure in exposures for imset in exposure.imsets]
    raw = Exposure.open(month.folder / f"{next(iter(names))}_raw.fits").imsets[0].sci.shape
    geometry = overscan_geometry("D", raw, (4, 4))
    middle = 255 // 2 + geometry.left - sum(geometry.section) / 2.0
    # MEANBLEV is the level at the middle row and column, the drift included
    mean = np.array([imset.sci_header["MEANBLEV"] for imset in found])
    true = np.array([truth.frames["level"][f] + truth.frames["level_by_column"][f] * middle for f in frames])
    return mean - true


def test_overscan_without_the_charge_of_hot_columns_gives_the_level(month, oref):
    def plain(exposures):
        return [BlevCorrStep().process(one) for one in exposures]

    def clipped(exposures):
        return [BlevCorrStep(clip=5.0).process(one) for one in exposures]

    before, cleaned, both = (
        drifts(month, stages)
        for stages in ([plain], [CleanOverscanStep().process, plain], [CleanOverscanStep().process, clipped])
    )
    # ends of hot columns pull the same way in all frames
    scatter = both.std() / np.sqrt(both.size)
    assert abs(before.mean()) > 6.0 * scatter
    assert abs(both.mean()) < 3.5 * scatter
    # the variance of medians is half as large again as that of means
    assert both.std() < 0.92 * cleaned.std()


def test_cleaning_changes_virtual_rows_alone_and_can_be_forgotten(month, oref):
    biases = [Exposure.open(path) for path in month.raws if "odbt01" in path.name][:3]
    cleaned = CleanOverscanStep().process(biases)
    for before, after in zip(biases, cleaned, strict=True):
        for one, two in zip(before.imsets, after.imsets, strict=True):
            np.testing.assert_array_equal(one.sci[10:], two.sci[10:])
            changed = one.sci[:10].astype(float) - two.sci[:10]
            assert (changed[:, :11] == 0).all()
            assert (np.ptp(changed, axis=0) < 1e-3).all()
            assert set(np.unique(two.dq[:10])) <= {0, 16}
            assert not two.dq[10:].any()
        with after.held():
            assert after.imsets[0].sci[12].any()
        np.testing.assert_array_equal(after.imsets[0].sci[12], before.imsets[0].sci[12])
    done = BlevCorrStep().process(cleaned[0])
    assert CleanOverscanStep().process(done) is done


def test_darks_together_tell_the_charge_that_their_superbias_does_not_show(month, oref, tmp_path):
    darks = [Exposure.open(path) for path in month.raws if "odbr" in path.name][:12]
    column = 100
    # a superbias that shows nothing
    blank = [
        fits.ImageHDU(np.zeros((256, 256), kind), name=name)
        for name, kind in zip(("SCI", "ERR", "DQ"), ("f4", "f4", "i2"), strict=True)
    ]
    fits.HDUList([fits.PrimaryHDU(), *blank]).writeto(tmp_path / "blank_bia.fits")

    def clean(what):
        return CleanOverscanStep(override_biasfile=str(tmp_path / "blank_bia.fits")).process(what)

    def with_charge(dark):
        sci = np.array(dark.imsets[0].sci[:], dtype=np.float32)
        # 4 electrons are less than 3 sigma of the ten virtual rows of one dark
        sci[:10, column] += 4.0
        return dark.changed(imsets=[dark.imsets[0].with_pixels(sci=Pixels.of(sci))])

    charged = [with_charge(dark) for dark in darks]
    together = clean(charged)
    assert all((dark.imsets[0].dq[:10, column] == 16).all() for dark in together)
    assert not any(dark.imsets[0].dq[10:].any() for dark in together)
    alone = [clean(dark) for dark in charged]
    assert sum(bool((dark.imsets[0].dq[:10, column] == 16).all()) for dark in alone) < len(alone) / 2
    without = clean(darks)
    assert not any(dark.imsets[0].dq[:10, column].any() for dark in without)
