"""Side by side with the C programs of HSTCAL, where they are on the PATH, on other pixels than the expected outputs."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import refstis
from refstis.calibration.crcorr import RejectionParameters, StackImage, reject_cosmic_rays
from refstis.datamodels.exposure import Exposure
from refstis.stages import BiasCorrStep, BlevCorrStep, DarkCorrStep, DqiCorrStep
from refstis.stages.calstis_engine import reject_cosmic_rays as c_reject_cosmic_rays

pytestmark = [
    pytest.mark.skipif(
        any(shutil.which(name) is None for name in ("cs0.e", "cs1.e", "cs2.e")),
        reason="the C programs of HSTCAL are not on the PATH",
    ),
    pytest.mark.filterwarnings("ignore"),  # stistools warns of itself
]

FLAGS = np.array([0, 4, 16, 256, 512, 8192, 1024], dtype=np.int16)


def random_stack(generator):
    count, height, width = generator.integers((2, 3, 3), (12, 40, 40))
    level, exptime = generator.choice([0.0, 3.0, 50.0, 1000.0]), generator.choice([0.0, 60.0, 1100.0])
    growth = generator.choice([0.0, 0.37])
    gain, readnoise = (float(np.float32(generator.choice(c))) for c in ([1.0, 4.016], [4.46, 7.9]))
    scene = generator.gamma(1.0, level + 0.1, (height, width))
    images = []
    for n in range(count):
        sci = (scene + generator.normal(0, readnoise, scene.shape)).astype(np.float32)
        hit = generator.random(scene.shape) < generator.choice([0.01, 0.2])
        sci[hit] += generator.exponential(800, hit.sum()).astype(np.float32)
        dq = generator.choice(FLAGS, scene.shape, p=[0.8, 0.04, 0.04, 0.04, 0.02, 0.03, 0.03])
        images.append(StackImage(sci, dq, float(exptime * (1 + n * growth)), gain, readnoise))
    parameters = RejectionParameters(
        tuple(generator.choice([2.0, 3.0, 4.0, 5.0, 6.5], generator.integers(1, 4)).tolist()),
        str(generator.choice(["median", "minimum"])),
        str(generator.choice(["mode", "none"])),
        float(generator.choice([0.0, 1.0, 1.5, 2.1, 3.0])),
        float(generator.choice([0.0, 0.5, 0.8, 1.0])),
        float(generator.choice([0.0, 1.0, 3.0, 12.5])),
        int(generator.choice([0, 4, 12, 16, 256, 512, 528])),
    )
    return images, parameters


@pytest.mark.parametrize("seed", range(40))
def test_random_stacks(seed):
    images, parameters = random_stack(np.random.default_rng(seed))
    ours, theirs = reject_cosmic_rays(images, parameters), c_reject_cosmic_rays(images, parameters)
    for plane in ("sci", "err", "dq"):
        np.testing.assert_array_equal(getattr(ours, plane), getattr(theirs, plane))
    for n in range(len(images)):
        np.testing.assert_array_equal(ours.rejected(n), theirs.rejected(n))


def assert_same_image_sets(made, path):
    with fits.open(path) as hdus:
        for number, imset in enumerate(made.imsets, 1):
            for name, plane in (("SCI", imset.sci), ("ERR", imset.err), ("DQ", imset.dq)):
                hdu = hdus[name, number]
                expected = np.float32(hdu.header["PIXVALUE"]) if hdu.data is None else hdu.data
                np.testing.assert_array_equal(plane[:], expected)


@pytest.mark.parametrize("amp", "ABCD")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("raw", ["ofb101aaq_raw.fits", "ofb2220aq_raw.fits", "ofb404aaq_raw.fits"])
def test_spoiled_overscans(raw, amp, seed, oracle, oref, tmp_path):
    """Hot columns and rows, outliers and saturation, also in the overscans; other corners of the detector."""
    generator = np.random.default_rng(seed)
    path = shutil.copy(oracle.raw(raw), tmp_path)
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["CCDAMP"] = amp
        for hdu in hdus:
            if hdu.name != "SCI":
                continue
            pixels = hdu.data.astype(np.int64)
            for _ in range(generator.integers(12)):
                pixels[:, generator.integers(pixels.shape[1])] += int(generator.exponential(300))
            for _ in range(generator.integers(6)):
                pixels[generator.integers(pixels.shape[0])] += int(generator.normal(0, 60))
            hit = generator.random(pixels.shape) < generator.choice([0.001, 0.02])
            pixels[hit] += generator.exponential(30000, hit.sum()).astype(np.int64)
            hdu.data = np.clip(pixels, 0, 65535).astype(np.uint16)
    subprocess.run(["cs1.e", path, tmp_path / "blv.fits", "-dqi", "-blev"], check=True, capture_output=True)
    assert_same_image_sets(
        BlevCorrStep().process(DqiCorrStep().process(Exposure.open(path))), tmp_path / "blv.fits"
    )


def test_calstis_calibrates_a_dark_with_our_superbias_and_superdark(oracle, oref, tmp_path, monkeypatch):
    """What the products are for: the C program reads them, and finds the same as the stages."""
    monkeypatch.chdir(tmp_path)
    superbias, superdark = "bias.fits", "dark.fits"  # a name of over 68 characters would be cut off
    refstis.RefBiasPipeline.call(
        [str(path) for path in oracle.raws("r_refbias_wk01")], output_file=superbias, configure_log=False
    )
    darks = [oracle.raw(f"ofd103a{letter}q_raw.fits") for letter in "abcd"]
    refstis.BaseDarkPipeline.call(
        [*map(str, darks)],
        output_file=superdark,
        steps={"biascorr": {"override_biasfile": superbias}},
        configure_log=False,
    )
    raw = Path(shutil.copy(darks[0], tmp_path))
    with fits.open(raw, mode="update") as hdus:
        hdus[0].header.update({"BIASFILE": superbias, "DARKFILE": superdark})
        hdus[0].header.update(dict.fromkeys(("DQICORR", "BLEVCORR", "BIASCORR", "DARKCORR"), "PERFORM"))
        hdus[0].header.update(dict.fromkeys(("CRCORR", "RPTCORR", "EXPSCORR", "FLATCORR"), "OMIT"))
    subprocess.run(["cs0.e", raw.name], check=True, capture_output=True)
    made = Exposure.open(raw)
    for step in (
        DqiCorrStep(),
        BlevCorrStep(),
        BiasCorrStep(override_biasfile=superbias),
        DarkCorrStep(override_darkfile=superdark),
    ):
        made = step.process(made)
    assert_same_image_sets(made, tmp_path / f"{darks[0].name[:9]}_flt.fits")
