"""The score of products whose errors are known, because the test makes them."""

import json

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from refstis.errors import InputError
from refstis.simulation import Truth, score, streams
from refstis.simulation.page import write_page
from refstis.simulation.scoring import compare


def write(path, filetype, sci, err, dq, names):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(sci.astype("f4"), name="SCI")]
    hdus += [fits.ImageHDU(err.astype("f4"), name="ERR"), fits.ImageHDU(dq.astype("i2"), name="DQ")]
    hdus[0].header["FILETYPE"] = filetype
    for line in (
        "Made for a test.",
        "The following input files were used:",
        *names,
        " ",
        "Then it was written.",
    ):
        hdus[0].header["HISTORY"] = line
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.fixture(scope="module")
def truth(month):
    return Truth.open(month.truth)


@pytest.fixture(scope="module")
def biases(truth):
    frames = truth.frames
    chosen = (
        (frames["kind"] == "bias") & (frames["gain"] == 1) & np.char.startswith(frames["rootname"], "odbt")
    )
    return sorted({f"{name}_raw.fits" for name in frames["rootname"][chosen]})[:3]


@pytest.fixture(scope="module")
def darks(truth):
    frames = truth.frames
    chosen = (frames["kind"] == "dark") & np.char.startswith(frames["rootname"], "odbr")
    return [f"{name}_raw.fits" for name in frames["rootname"][chosen][:14]]


def noise_like(image, *names):
    return streams.normal_array(streams.stream(*names), image.size).reshape(image.shape)


@pytest.fixture(scope="module")
def ideal_dark(truth, darks, tmp_path_factory):
    """A superdark as good as its exposures allow, with an offset of its hot pixels and known flags."""
    folder = tmp_path_factory.mktemp("dark")
    frames = truth.select(darks)
    rate = truth.dark_rate(frames)
    flat = write(folder / "flat.fits", "DARK IMAGE", rate, rate * 0, rate * 0, darks)
    limit = compare(flat, truth).limit
    value = rate + limit * noise_like(rate, "superdark")
    flags = np.where(rate > 0.1, 16, 0) | np.where(rate < 0.005, 16, 0)
    return write(folder / "dark.fits", "DARK IMAGE", value, limit, flags, darks), rate, limit


def test_a_superbias_at_the_limit_scores_at_the_limit(truth, biases, tmp_path):
    frames = truth.select(biases)
    true = truth.bias(frames)
    sigma = np.full(true.shape, np.hypot(5.6, 1.1) / len(frames) ** 0.5)
    product = write(
        tmp_path / "b.fits", "CCD BIAS IMAGE", true + sigma * noise_like(true, "b"), sigma, true * 0, biases
    )
    figures = score(product, truth)
    assert figures["kind"] == "bias"
    assert figures["frames"] == len(frames)
    ordinary = figures["ordinary"]
    assert ordinary["rms"] == pytest.approx(ordinary["rms_limit"], rel=0.05)
    assert abs(ordinary["mean"]) < 5.0 * ordinary["mean_limit"]
    assert figures["columns"]["rms"] == pytest.approx(figures["columns"]["rms_limit"], rel=0.2)
    assert figures["pulls"]["ordinary"]["standard_deviation"] == pytest.approx(1.0, abs=0.02)


def test_errors_of_a_superbias_are_found(truth, biases, tmp_path):
    true = truth.bias(truth.select(biases))
    wrong = true + 0.5
    wrong[:, 100] += 3.0
    wrong += np.linspace(-0.1, 0.1, true.shape[1])
    product = write(tmp_path / "b.fits", "CCD BIAS IMAGE", wrong, true * 0 + 0.25, true * 0, biases)
    figures = score(product, truth)
    assert figures["ordinary"]["median"] == pytest.approx(0.5, abs=0.02)
    assert figures["columns"]["largest"] == pytest.approx(3.0, abs=0.15)
    assert figures["columns"]["tilt"] == pytest.approx(0.2, abs=0.05)
    assert figures["pulls"]["ordinary"]["mean"] == pytest.approx(2.0, abs=0.1)


def test_the_true_bias_is_what_many_frames_average_to(truth, month, biases):
    """Median and not mean of the frames, because of cosmic rays."""
    images = []
    readout = truth.readout(int(truth.select(biases)[0]))
    rows, columns = readout.trim
    for name in biases:
        with fits.open(month.folder / name) as hdus:
            for hdu in hdus:
                if hdu.name == "SCI":
                    data = hdu.data.astype(float)
                    levels = np.polyfit(
                        np.arange(data.shape[0]), np.mean(data[:, readout.section], axis=1), 1
                    )
                    images.append(
                        (data - np.polyval(levels, np.arange(data.shape[0]))[:, None])[rows, columns]
                    )
    error = np.mean(images, axis=0) - truth.bias(truth.select(biases))
    assert np.median(error) == pytest.approx(0.0, abs=0.35)
    assert 1.4826 * np.median(np.abs(error - np.median(error))) == pytest.approx(
        5.6 / len(images) ** 0.5, rel=0.1
    )


def test_a_superdark_at_the_limit_scores_at_the_limit(truth, ideal_dark):
    path, rate, _ = ideal_dark
    figures = score(path, truth)
    assert figures["true_median"] == pytest.approx(0.0175, rel=0.1)  # headers of 2017
    for kind in ("ordinary", "hot"):
        assert figures[kind]["rms_ratio"] == pytest.approx(1.0, abs=0.1)
        assert figures["pulls"][kind]["standard_deviation"] == pytest.approx(1.0, abs=0.06)
    flags = figures["flags"]
    assert flags["completeness_above_0.12"] == 1.0
    assert flags["flagged"] == int((rate > 0.1).sum() + (rate < 0.005).sum())
    assert flags["purity"] == pytest.approx((rate > 0.1).sum() / flags["flagged"])


def test_limit_of_an_ordinary_pixel_is_photon_and_read_noise(truth, ideal_dark):
    _, rate, limit = ideal_dark
    electrons = 0.0175 * 1.14 * 1100.0  # at 20 C
    expected = (electrons + 5.6**2) ** 0.5 / (1100.0 * 1.14) / 14**0.5
    assert np.median(limit[rate < 0.03]) == pytest.approx(expected, rel=0.1)


def test_flags_are_judged_by_rate(truth, darks, tmp_path):
    rate = truth.dark_rate(truth.select(darks))
    half = (np.arange(rate.size).reshape(rate.shape) % 2) * 16
    product = write(tmp_path / "d.fits", "DARK IMAGE", rate, rate, half, darks)
    for row in score(product, truth)["flags"]["by_rate"]:
        if row["pixels"] > 100:
            assert row["flagged"] == pytest.approx(0.5, abs=4.0 * 0.5 / row["pixels"] ** 0.5)


def test_a_pixel_that_turned_hot_has_the_mean_rate_of_the_exposures(truth, darks):
    frames = truth.select(darks)
    detector = truth.detector
    inside = (detector.hot["born"] > truth.frames["mjd"][frames].min()) & (
        detector.hot["born"] < truth.frames["mjd"][frames].max()
    )
    born = int(np.flatnonzero(inside & (detector.hot["swing"] == 0) & (detector.hot["rate"] > 1.0))[0])
    share = (truth.frames["mjd"][frames] >= detector.hot["born"][born]).mean()
    mean = truth.dark_rate(frames)[detector.hot["y"][born], detector.hot["x"][born]]
    assert 0.0 < share < 1.0
    assert mean == pytest.approx(share * detector.hot["rate"][born], rel=0.05)


def test_rejection_masks_are_judged(truth, month, darks, ideal_dark, tmp_path):
    frames = truth.select(darks[:2])
    hdus = [fits.PrimaryHDU()]
    for number, frame in enumerate(frames, start=1):
        rays = truth.cosmic_rays(int(frame))
        mask = np.where(rays > 60.0, 8192, 0)
        mask[:, 5] |= np.where(rays[:, 5] == 0, 8192, 0)
        hdu = fits.ImageHDU(mask.astype("i2"), name="DQ", ver=number)
        hdu.header["EXPNAME"] = str(truth.frames["expname"][frame])
        hdus.append(hdu)
    masks = tmp_path / "masks.fits"
    fits.HDUList(hdus).writeto(masks)
    rejection = score(ideal_dark[0], truth, rejected=masks)["rejection"]
    assert rejection["imsets"] == 2
    assert rejection["false_alarms"] == pytest.approx(1.0 / 255.0, rel=0.15)
    by = {row["from"]: row["found"] for row in rejection["by_significance"]}
    # A charge of 60 electrons is less than 2 sigma in the hottest pixels only.
    assert by[1.0] < 0.05
    assert by[20.0] == 1.0


def test_a_single_calibrated_dark_can_be_scored(truth, darks, tmp_path):
    frame = int(truth.select(darks[:1])[0])
    counts = truth.charge(frame) - truth.charge(frame) * (5.0 / 1105.0)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(counts.astype("f4"), name="SCI")]
    hdus += [fits.ImageHDU(name="ERR"), fits.ImageHDU(name="DQ")]
    hdus[0].header.update({"FILETYPE": "SCI", "TARGNAME": "DARK", "ROOTNAME": darks[0].split("_")[0]})
    hdus[1].header["EXPTIME"] = 1100.0
    path = tmp_path / "x_flt.fits"
    fits.HDUList(hdus).writeto(path)
    figures = score(path, truth)
    assert figures["frames"] == 1
    assert figures["ordinary"]["median"] == pytest.approx(0.0, abs=0.002)


def test_one_image_of_several_is_compared_with_its_own_exposure(truth, biases, tmp_path):
    frame = int(truth.select(biases[:1])[0])
    true = truth.bias([frame])
    hdus = [fits.PrimaryHDU(), fits.ImageHDU((true + 0.25).astype("f4"), name="SCI")]
    hdus += [fits.ImageHDU(name="ERR"), fits.ImageHDU(name="DQ")]
    hdus[0].header.update({"FILETYPE": "SCI", "TARGNAME": "BIAS", "ROOTNAME": biases[0].split("_")[0]})
    hdus[1].header["EXPNAME"] = str(truth.frames["expname"][frame])
    path = tmp_path / "x_blv.fits"
    fits.HDUList(hdus).writeto(path)
    figures = score(path, truth)
    assert figures["frames"] == 1
    assert figures["ordinary"]["mean"] == pytest.approx(0.25, abs=1e-4)
    hdus[1].header["EXPNAME"] = "o00000000"
    fits.HDUList(hdus).writeto(path, overwrite=True)
    with pytest.raises(InputError, match="EXPNAME"):
        score(path, truth)


def test_page_and_command(truth, month, ideal_dark, tmp_path):
    page = write_page(tmp_path / "page.html", compare(ideal_dark[0], truth))
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 8
    assert "http://" not in text
    assert "https://" not in text
    result = CliRunner().invoke(_command(), [str(ideal_dark[0]), "--truth", str(month.folder), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == json.loads(json.dumps(score(ideal_dark[0], truth)))
    table = CliRunner().invoke(_command(), [str(ideal_dark[0]), "--truth", str(month.truth)])
    assert "flagged of those above 0.12" in table.output


def test_products_of_a_profile_are_made_and_scored(month, tmp_path):
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "policy.yaml").write_text(
        "superbias: [{gain: 1, xbin: 4, ybin: 4, refbias_from: 10, division: WK}]\n"
    )
    words = [str(month.folder), "--profile", f"improved,{profile}", "--json"]
    result = CliRunner().invoke(_command(), words)
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)
    kinds = [one["product"].split("_")[0] for one in scores]
    assert kinds == ["basebias", *["weekbias"] * 4]
    assert all(one["ordinary"]["robust_rms_ratio"] < 1.2 for one in scores)
    assert not list(tmp_path.glob("*.fits"))


def _command():
    import typer

    from refstis.commands.score import score as command

    single = typer.Typer()
    single.command()(command)
    return single


def test_what_cannot_be_scored_says_why(truth, darks, tmp_path, month):
    small = np.zeros((5, 5))
    product = write(tmp_path / "s.fits", "DARK IMAGE", small, small, small, darks)
    with pytest.raises(InputError, match="pixels"):
        score(product, truth)
    product = write(tmp_path / "n.fits", "DARK IMAGE", small, small, small, [])
    with pytest.raises(InputError, match="names no input files"):
        score(product, truth)
    product = write(tmp_path / "o.fits", "DARK IMAGE", small, small, small, ["o00000000_raw.fits"])
    with pytest.raises(InputError, match="of this simulation"):
        score(product, truth)
    with pytest.raises(InputError, match="cannot be read"):
        score(tmp_path / "missing.fits", truth)
    mixed = np.unique(truth.frames["rootname"][truth.frames["kind"] == "bias"])
    product = write(
        tmp_path / "m.fits", "CCD BIAS IMAGE", small, small, small, [f"{name}_raw.fits" for name in mixed]
    )
    with pytest.raises(InputError, match="different modes"):
        score(product, truth)
