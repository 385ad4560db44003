"""The stages that do CALSTIS's steps: what changes in an exposure, what stays, and what they refuse."""

import numpy as np
import pytest
from astropy.io import fits
from frames import (
    BEGIN,
    RAW_SIZE,
    arrays,
    ccd_row,
    checksums,
    in_memory,
    raw_frame,
    write_raw,
    write_reference,
    write_table,
)

from refstis.calibration.blevcorr import fit_bias_level, subtract_bias_level
from refstis.calibration.geometry import overscan_geometry
from refstis.calibration.noise import pixel_uncertainty
from refstis.datamodels.exposure import Exposure
from refstis.datamodels.pixels import Pixels
from refstis.errors import InputError, ReferenceFileError
from refstis.stages import BiasCorrStep, BlevCorrStep, DarkCorrStep, DqiCorrStep, StatFlagStep, TempCorrStep

F = np.float32
SHAPE = (6, 8)


@pytest.fixture
def ccdtab(tmp_path):
    """A CCDTAB with a gain that is no power of 2."""
    return str(
        write_table(tmp_path / "test_ccd.fits", [ccd_row(ATODGAIN=4.016, READNSE=8.25, CCDBIAS=1500.0)])
    )


def opened(path, **options):
    return Exposure.open(write_raw(path, **{"shape": SHAPE, **options}))


# -------------------------------------------------------------- dqicorr


def bad_pixels(path, rows, **primary):
    rows = [{"OPT_ELEM": "ANY", "PIX1": x, "PIX2": y, "LENGTH": 1, "AXIS": 1, "VALUE": v} for x, y, v in rows]
    return str(write_table(path, rows, {"SIZAXIS1": 1024, "SIZAXIS2": 1024}, primary))


def test_dqicorr_adds_flags_and_clears_none(tmp_path, ccdtab):
    frame = np.full(SHAPE, 1500, dtype=np.uint16)
    frame[0, 0], frame[0, 1], frame[5, 7] = 33000, 33001, 65535
    exposure = opened(
        tmp_path / "x_raw.fits", frames=[frame, frame], imsets=2, sci={"LTV1": 0.0, "LTV2": 0.0}
    )
    before = np.zeros(SHAPE, dtype=np.int16)
    before[5, 7] = before[3, 3] = 2
    exposure = exposure.changed(
        imsets=[exposure.imsets[0].with_pixels(dq=Pixels.of(before)), exposure.imsets[1]]
    )
    bpixtab = bad_pixels(tmp_path / "x_bpx.fits", [(4, 4, 16), (8, 6, 4)])
    found = DqiCorrStep(override_ccdtab=ccdtab, override_bpixtab=bpixtab).process(exposure)
    expected = np.zeros(SHAPE, dtype=np.int16)
    expected[0, 1], expected[5, 7], expected[3, 3] = 256, 256 | 4, 16
    np.testing.assert_array_equal(arrays(found, 1).dq, expected)
    np.testing.assert_array_equal(arrays(found, 0).dq, expected | before)
    assert found.done("DQICORR")
    assert (found.primary["ATODGAIN"], found.primary["READNSE"]) == (4.0159998, 8.25)
    assert any("DQICORR complete" in line for line in found.primary.history)
    # once more: nothing new, nothing lost; and what went in is as it was
    again = DqiCorrStep(override_ccdtab=ccdtab, override_bpixtab=bpixtab).process(found)
    np.testing.assert_array_equal(arrays(again, 0).dq, arrays(found, 0).dq)
    assert before[0, 1] == 0
    np.testing.assert_array_equal(arrays(exposure, 0).dq, before)


def test_dqicorr_without_bad_pixel_table(tmp_path, ccdtab):
    exposure = opened(tmp_path / "x_raw.fits", imsets=1, primary={"BPIXTAB": "N/A"})
    found = DqiCorrStep(override_ccdtab=ccdtab).process(exposure)
    assert found.done("DQICORR")
    assert not arrays(found).dq.any()


def test_dqicorr_with_a_dummy_table_flags_saturation(tmp_path, ccdtab):
    frame = np.full(SHAPE, 40000, dtype=np.uint16)
    exposure = opened(tmp_path / "x_raw.fits", imsets=1, frames=[frame], sci={"LTV1": 0.0, "LTV2": 0.0})
    dummy = bad_pixels(tmp_path / "x_bpx.fits", [(1, 1, 4)], PEDIGREE="DUMMY")
    found = DqiCorrStep(override_ccdtab=ccdtab, override_bpixtab=dummy).process(exposure)
    assert found.switch("DQICORR") == "SKIPPED"
    assert (arrays(found).dq == 256).all()


@pytest.mark.parametrize(("target", "flagged"), [("BIAS", False), ("DARK", False), ("NGC-1068", True)])
def test_dqicorr_flags_the_aperture_in_science_exposures(tmp_path, ccdtab, target, flagged):
    sci = {"CD1_1": -1.41e-5 * 4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1.41e-5 * 4}
    exposure = opened(
        tmp_path / "x_raw.fits", target=target, shape=(266, 271), binning=(4, 4), imsets=1, exptime=10.0, sci=sci,
        primary={"APER_FOV": "28x50", "BPIXTAB": "N/A"},
    )  # fmt: skip
    found = DqiCorrStep(override_ccdtab=ccdtab).process(exposure)
    assert bool((arrays(found).dq & 4).any()) is flagged


# -------------------------------------------------------------- blevcorr


@pytest.mark.parametrize("amp", "AD")
def test_blevcorr_subtracts_and_trims(tmp_path, ccdtab, amp):
    columns, rows = RAW_SIZE[4, 4]
    sci = {
        "CRPIX1": 139.721,
        "CRPIX2": 139.5425,
        "CD1_1": -1.41e-5,
        "CD1_2": 0.0,
        "CD2_1": -0.0,
        "CD2_2": 1.41e-5,
    }
    exposure = opened(
        tmp_path / "x_raw.fits", amp=amp, binning=(4, 4), shape=(rows, columns), imsets=2, sci=sci, seed=3
    )
    found = BlevCorrStep(override_ccdtab=ccdtab).process(exposure)
    geometry = overscan_geometry(amp, (rows, columns), (4, 4))
    for n in (1, 2):
        frame = raw_frame(3000 + n, (rows, columns))
        level = fit_bias_level(frame, None, geometry, 31743, 1500.0, 50.0)
        expected = subtract_bias_level(frame[geometry.trim(frame.shape)], level.level, level.drift)
        imset = found.imsets[n - 1]
        np.testing.assert_array_equal(imset.sci[:], expected)
        np.testing.assert_array_equal(imset.sci[20:30, 100:], expected[20:30, 100:])  # any window alone
        np.testing.assert_array_equal(imset.err[:], pixel_uncertainty(expected, 4.016, 8.25))
        assert imset.dq.shape == (256, 255)
        assert imset.sci_header["MEANBLEV"] == pytest.approx(float(level.mean), rel=1e-7)
        for header in (imset.sci_header, imset.err_header, imset.dq_header):
            left, bottom = (5, 0) if amp == "A" else (11, 10)
            assert header["LTV1"] == {"A": 0.125, "D": -0.375}[amp]
            assert header["LTV2"] == 0.375
            assert header["CRPIX1"] == pytest.approx(139.721 - left)
            assert header["CRPIX2"] == pytest.approx(139.5425 - bottom)
            assert str(header["CD2_1"]) == "0.0"
            assert (header["LTM1_1"], header["CD2_2"]) == (0.25, 1.41e-5)
    assert found.done("BLEVCORR")
    assert exposure.imsets[0].sci.shape == (rows, columns)
    assert abs(np.median(arrays(found).sci)) < 1.0


def test_blevcorr_of_a_frame_without_overscan(tmp_path, ccdtab):
    exposure = opened(tmp_path / "x_raw.fits", imsets=1, seed=5)
    found = BlevCorrStep(override_ccdtab=ccdtab).process(exposure)
    expected = raw_frame(5001, SHAPE).astype(np.float64) - 1500.0
    np.testing.assert_array_equal(arrays(found).sci, expected.astype(np.float32))
    assert found.imsets[0].sci_header["MEANBLEV"] == 1500.0
    assert found.imsets[0].sci_header["LTV1"] == 19.0
    assert found.done("BLEVCORR")
    assert any("CCDBIAS 1500 DN" in line for line in found.primary.history)


def test_blevcorr_done_before_initializes_errors_with_the_bias_level(tmp_path, ccdtab):
    # an ERR that is all 0 although BLEVCORR is COMPLETE gets CCDBIAS subtracted once more, as CALSTIS does
    counts = np.array([[10.0, 1509.0, -5.0, 1500.0]], dtype=np.float32)
    exposure = in_memory([counts, counts], [np.zeros_like(counts), 0.0], primary={"BLEVCORR": "COMPLETE"})
    found = BlevCorrStep(override_ccdtab=ccdtab).process(exposure)
    gain, noise = F(4.016), F(8.25)
    bright = F(np.sqrt(float((F(1509) - F(1500)) * gain + noise * noise)) / float(gain))
    for n in (0, 1):
        assert arrays(found, n).err.tolist() == [
            [float(noise / gain), float(bright), float(noise / gain), float(noise / gain)]
        ]
        np.testing.assert_array_equal(arrays(found, n).sci, counts)


def test_blevcorr_leaves_errors_that_are_there(tmp_path, ccdtab):
    counts = np.zeros(SHAPE, dtype=np.float32)
    err = np.zeros(SHAPE, dtype=np.float32)
    err[4, 4] = 1e-20  # one pixel is enough
    found = BlevCorrStep(override_ccdtab=ccdtab).process(
        in_memory([counts], err, primary={"BLEVCORR": "COMPLETE"})
    )
    np.testing.assert_array_equal(arrays(found).err, err)
    found = BlevCorrStep(override_ccdtab=ccdtab).process(
        in_memory([counts], 2.5, primary={"BLEVCORR": "COMPLETE"})
    )
    assert (arrays(found).err == 2.5).all()


@pytest.mark.parametrize(("place", "kept"), [((3, 2), False), ((100, 100), True)])
def test_errors_in_the_overscan_do_not_count(tmp_path, ccdtab, place, kept):
    columns, rows = RAW_SIZE[4, 4]
    exposure = opened(tmp_path / "x_raw.fits", binning=(4, 4), shape=(rows, columns), imsets=1)
    err = np.zeros((rows, columns), dtype=np.float32)
    err[place] = 7.0
    exposure = exposure.changed(imsets=[exposure.imsets[0].with_pixels(err=Pixels.of(err))])
    found = arrays(BlevCorrStep(override_ccdtab=ccdtab).process(exposure)).err
    assert bool((found == 0).any()) is kept
    assert bool((found == 7.0).any()) is kept


@pytest.mark.parametrize(
    ("primary", "sci", "words"),
    [({"CCDAMP": "E"}, {}, "amplifier 'E'"), ({}, {"LTM1_1": 0.125}, "binning 8 x 1")],
)
def test_blevcorr_refuses_what_the_ccd_does_not_have(tmp_path, ccdtab, primary, sci, words):
    exposure = opened(tmp_path / "x_raw.fits", primary=primary, sci=sci)
    with pytest.raises(InputError, match=rf"x_raw\.fits: .*{words}.*leave the exposure out"):
        BlevCorrStep(override_ccdtab=ccdtab).process(exposure)


# -------------------------------------------------------------- biascorr


@pytest.fixture
def superbias(tmp_path):
    generator = np.random.default_rng(6)
    sci, err = generator.normal(0, 2, SHAPE).astype("f4"), generator.random(SHAPE).astype("f4")
    dq = np.where(generator.random(SHAPE) < 0.2, 16, 0).astype("i2")
    return write_reference(tmp_path / "test_bia.fits", sci, err, dq), sci, err, dq


@pytest.mark.parametrize("frames", [1, 7])
def test_biascorr(tmp_path, ccdtab, superbias, frames):
    path, bias, bias_err, bias_dq = superbias
    counts = np.random.default_rng(1).normal(100, 5, SHAPE).astype("f4")
    flags = np.full(SHAPE, 2, dtype=np.int16)
    exposure = in_memory([counts, counts], [1.5, 0.0], [flags, 0], headers={"NCOMBINE": frames})
    found = BiasCorrStep(override_ccdtab=ccdtab, override_biasfile=str(path)).process(exposure)
    for n, (err, dq) in enumerate([(F(1.5), bias_dq | flags), (F(0), bias_dq)]):
        np.testing.assert_array_equal(arrays(found, n).sci, counts - bias * F(frames))
        scaled = bias_err * F(frames)
        np.testing.assert_array_equal(arrays(found, n).err, np.sqrt(err * err + scaled * scaled))
        np.testing.assert_array_equal(arrays(found, n).dq, dq)
    assert found.done("BIASCORR")
    assert found.primary["BIASFILE"] == "test_bia.fits"
    assert any("test_bia.fits" in line for line in found.primary.history)
    again = BiasCorrStep(override_ccdtab=ccdtab, override_biasfile=str(path)).process(found)
    assert again is found


def test_biascorr_of_binned_exposures(tmp_path, ccdtab):
    bias = np.random.default_rng(2).normal(0, 1, (20, 24)).astype("f4")
    path = write_reference(tmp_path / "x_bia.fits", bias, np.full_like(bias, 2.0))
    counts = np.zeros((5, 8), dtype=np.float32)
    header = {"LTM1_1": 0.5, "LTM2_2": 0.25, "LTV1": -0.25, "LTV2": 0.375, "NCOMBINE": 1}
    found = arrays(
        BiasCorrStep(override_ccdtab=ccdtab, override_biasfile=str(path)).process(
            in_memory([counts], headers=header)
        )
    )
    np.testing.assert_allclose(
        found.sci, -bias[:20, 1:17].reshape(5, 4, 8, 2).sum(axis=(1, 3)), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(found.err, np.sqrt(8 * 4.0))


@pytest.mark.parametrize(("given", "state"), [("N/A", "OMIT"), ("dummy", "SKIPPED")])
def test_biascorr_without_a_superbias(tmp_path, ccdtab, given, state):
    if given == "dummy":
        given = str(
            write_reference(tmp_path / "x_bia.fits", np.ones(SHAPE), primary={"PEDIGREE": "DUMMY 1/1/97"})
        )
    counts = np.ones(SHAPE, dtype=np.float32)
    found = BiasCorrStep(override_ccdtab=ccdtab, override_biasfile=given).process(in_memory([counts]))
    np.testing.assert_array_equal(arrays(found).sci, counts)
    assert found.switch("BIASCORR") == state


def test_biascorr_of_an_untrimmed_exposure_says_so(tmp_path, ccdtab, superbias):
    exposure = opened(tmp_path / "x_raw.fits")
    with pytest.raises(
        ReferenceFileError, match=r"x_raw\.fits: .*test_bia\.fits.*overscan not subtracted.*override_biasfile"
    ):
        BiasCorrStep(override_ccdtab=ccdtab, override_biasfile=str(superbias[0])).process(exposure)


# -------------------------------------------------------------- darkcorr and tempcorr


@pytest.fixture
def superdark(tmp_path):
    rate = np.random.default_rng(6).random(SHAPE).astype("f4")
    dq = np.zeros(SHAPE, dtype="i2")
    dq[0] = 16
    primary = {"FILETYPE": "DARK IMAGE", "DRK_VS_T": 0.1, "REF_TEMP": 20.0}
    return write_reference(tmp_path / "test_drk.fits", rate, rate / 10, dq, primary=primary), rate, dq


@pytest.mark.parametrize(
    ("header", "factor"),
    [
        ({"EXPSTART": BEGIN, "OCCDHTAV": 22.0}, 1.2),
        ({"EXPSTART": 52091.0, "OCCDHTAV": 22.0}, 1.2),
        ({"EXPSTART": 52090.99, "OCCDHTAV": 22.0}, 1.0),  # Side 1
        ({"EXPSTART": BEGIN, "OCCDHTAV": -1.0}, 1.0),
        ({"EXPSTART": BEGIN, "OCCDHTAV": None}, 1.0),
    ],
)
def test_darkcorr(tmp_path, ccdtab, superdark, header, factor):
    path, rate, dark_dq = superdark
    counts = np.full(SHAPE, 500.0, dtype=np.float32)
    exposure = in_memory([counts], 3.0, 0, headers={"EXPTIME": 1000.0, **header})
    found = DarkCorrStep(override_ccdtab=ccdtab, override_darkfile=str(path)).process(exposure)
    scale = F((1.0 + 0.1 * (22.0 - 20.0) if factor != 1 else 1.0) * 1000.0 / float(F(4.0159998)))
    dark, err = rate * scale, (rate / F(10)) * scale
    np.testing.assert_array_equal(arrays(found).sci, counts - dark)
    np.testing.assert_allclose(arrays(found).err, np.sqrt(F(9) + err * err), rtol=2e-7)
    np.testing.assert_array_equal(arrays(found).dq, dark_dq)
    assert found.imsets[0].sci_header["MEANDARK"] == pytest.approx(np.median(dark[1:]), rel=1e-6)
    assert found.done("DARKCORR")


def temperatures(path, values):
    rows = [{"TIME": BEGIN - 0.05 + 0.02 * n, "VALUE": v} for n, v in enumerate(values)]
    return str(write_table(path, rows))


def test_darkcorr_with_engineering_temperatures(tmp_path, ccdtab, superdark):
    path, rate, _ = superdark
    table = temperatures(tmp_path / "x_epc.fits", [21.0] * 8)
    exposure = in_memory([np.zeros(SHAPE, "f4")], headers={"EXPTIME": 1000.0, "OCCDHTAV": 25.0})
    found = DarkCorrStep(
        override_ccdtab=ccdtab, override_darkfile=str(path), temperature_table=table
    ).process(exposure)
    assert found.imsets[0].sci_header["OCCDHTAV"] == 21.0
    np.testing.assert_allclose(arrays(found).sci, -rate * 1.1 * 1000 / 4.016, rtol=1e-5)


def test_tempcorr():
    rate, err = np.random.default_rng(1).random(SHAPE).astype("f4"), np.full(SHAPE, 0.25, dtype="f4")
    exposure = in_memory([rate, rate], err, headers=[{"OCCDHTAV": 21.3692}, {"OCCDHTAV": 18.0}])
    found = TempCorrStep().process(exposure)
    factor = 1.0 / (1.0 + 0.07 * (21.3692 - 18.0))
    np.testing.assert_array_equal(arrays(found, 0).sci, rate * F(factor))
    np.testing.assert_array_equal(arrays(found, 0).err, np.sqrt(err * err * F(factor * factor)))
    np.testing.assert_array_equal(arrays(found, 1).sci, rate)
    assert found.done("TEMPCORR")
    assert any("TEMPCORR complete" in line for line in found.primary.history)
    # once only, and not in place
    assert TempCorrStep().process(found) is found
    np.testing.assert_array_equal(arrays(exposure, 0).sci, rate)


def test_tempcorr_parameters():
    rate = np.ones(SHAPE, dtype="f4")
    found = TempCorrStep(slope=0.1, reference=16.0).process(in_memory([rate], headers={"OCCDHTAV": 21.0}))
    np.testing.assert_array_equal(arrays(found).sci, rate * F(1 / (1.0 + 0.1 * 5.0)))


@pytest.mark.parametrize("start", [52091.0, 51000.0])
def test_tempcorr_leaves_side_1_as_it_is(start):
    exposure = in_memory([np.ones(SHAPE, "f4")], primary={"TEXPSTRT": start}, headers={"OCCDHTAV": None})
    found = TempCorrStep().process(exposure)
    np.testing.assert_array_equal(arrays(found).sci, arrays(exposure).sci)
    assert not found.done("TEMPCORR")
    assert "Side 1" in found.procedure[-1]


@pytest.mark.parametrize(
    ("value", "words"), [(None, "is missing"), (-1.0, "is -1"), (0.0, "is 0"), (np.nan, "is nan")]
)
def test_tempcorr_needs_a_temperature(value, words):
    headers = [{"OCCDHTAV": 20.0}, {"OCCDHTAV": value if value is None or value == value else None}]
    exposure = in_memory([np.ones(SHAPE, "f4")] * 2, headers=headers)
    if value is not None and value != value:
        exposure = exposure.changed(
            imsets=[exposure.imsets[0], exposure.imsets[1].with_keywords({"OCCDHTAV": value})]
        )
    with pytest.raises(
        InputError,
        match=rf"memory_flt\.fits: OCCDHTAV {words} in imset 2; .*57910\.2.*Leave the exposure out",
    ):
        TempCorrStep().process(exposure)


def test_tempcorr_below_the_end_of_the_law():
    exposure = in_memory([np.ones(SHAPE, "f4")], headers={"OCCDHTAV": 3.0})
    with pytest.raises(InputError, match=r"memory_flt\.fits: imset 1: no dark current at 3\.0 C"):
        TempCorrStep().process(exposure)


def test_tempcorr_with_engineering_temperatures(tmp_path):
    table = temperatures(tmp_path / "x_epc.fits", [20.0] * 8)
    exposure = in_memory([np.ones(SHAPE, "f4")], headers={"OCCDHTAV": None})
    found = TempCorrStep(temperature_table=table).process(exposure)
    assert arrays(found).sci[0, 0] == F(1 / (1 + 0.07 * 2))
    # where they do not cover the exposure, the header's value is in force
    exposure = in_memory(
        [np.ones(SHAPE, "f4")], headers={"OCCDHTAV": 18.0, "EXPSTART": 50000.0, "EXPEND": 50000.1}
    )
    found = TempCorrStep(temperature_table=table).process(exposure)
    assert arrays(found).sci[0, 0] == 1.0


# -------------------------------------------------------------- statflag


def test_statflag():
    sci = np.array([[1.0, 3.0], [8.0, 100.0]], dtype="f4")
    exposure = in_memory([sci, sci], [2.0, 0.0], [np.array([[0, 0], [0, 16]], "i2"), 16])
    exposure = exposure.changed(imsets=[i.with_keywords({"SDQFLAGS": 31743}) for i in exposure.imsets])
    found = StatFlagStep().process(exposure)
    header, errors = found.imsets[0].sci_header, found.imsets[0].err_header
    assert [header[k] for k in ("NGOODPIX", "GOODMIN", "GOODMAX", "GOODMEAN")] == [3, 1.0, 8.0, 4.0]
    assert [header[k] for k in ("SNRMIN", "SNRMAX", "SNRMEAN")] == [0.5, 4.0, 2.0]
    assert [errors[k] for k in ("NGOODPIX", "GOODMIN", "GOODMAX", "GOODMEAN")] == [3, 2.0, 2.0, 2.0]
    # no good pixel: the number alone
    assert found.imsets[1].sci_header["NGOODPIX"] == 0
    assert "GOODMEAN" not in found.imsets[1].sci_header


# -------------------------------------------------------------- all of them


STAGES = [DqiCorrStep, BlevCorrStep, BiasCorrStep, DarkCorrStep, StatFlagStep, TempCorrStep]


@pytest.mark.parametrize("stage", STAGES)
def test_files_stay_as_they_are(tmp_path, stage, superbias, superdark):
    """Called with a file: the same as with an exposure, and the file stays."""
    path = write_raw(tmp_path / "odbr01h1q_raw.fits", "DARK", shape=SHAPE, sci={"LTV1": 0.0, "LTV2": 0.0})
    step = stage()
    for kind, file in (("biasfile", superbias[0]), ("darkfile", superdark[0]), ("bpixtab", "N/A")):
        if kind in stage.reference_file_types:
            setattr(step, f"override_{kind}", str(file))
    before = checksums(tmp_path)
    found = step.process(str(path))
    assert len(found.imsets) == 2
    for plane in ("sci", "err", "dq"):
        getattr(found.imsets[0], plane)[:]
    assert checksums(tmp_path) == before
    assert [record.name for record in found.inputs] == ["odbr01h1q_raw.fits"]


@pytest.mark.parametrize("stage", [DqiCorrStep, BlevCorrStep, BiasCorrStep, DarkCorrStep, StatFlagStep])
def test_bad_image_sets_are_passed_by(tmp_path, stage, superbias, superdark):
    sci = [{"IMSET_OK": False, "LTV1": 0.0, "LTV2": 0.0}, {"LTV1": 0.0, "LTV2": 0.0}]
    path = write_raw(tmp_path / "odbr01h1q_raw.fits", "DARK", shape=SHAPE, sci=sci)
    step = stage()
    for kind, file in (("biasfile", superbias[0]), ("darkfile", superdark[0]), ("bpixtab", "N/A")):
        if kind in stage.reference_file_types:
            setattr(step, f"override_{kind}", str(file))
    found = step.process(str(path))
    raw = Exposure.open(path)
    for a, b in zip(arrays(found, 0), arrays(raw, 0), strict=True):
        np.testing.assert_array_equal(a, b)
    assert "GOODMEAN" not in found.imsets[0].sci_header


@pytest.mark.parametrize(
    ("primary", "mode"),
    [
        ({}, "STIS 50CCD A2D1 MIRROR CCD MJD#57910.2500"),
        (
            {
                "OBSTYPE": "SPECTROSCOPIC",
                "OPT_ELEM": "G750L",
                "CENWAVE": 7751,
                "APERTURE": "52X0.1",
                "CCDGAIN": 4,
            },
            "STIS 52X0.1 A2D4 G750L CCD 7751 MJD#57910.2500",
        ),
    ],
)
def test_observation_mode(tmp_path, primary, mode):
    exposure = opened(tmp_path / "x_raw.fits", primary={"BPIXTAB": "N/A", **primary})
    assert DqiCorrStep().process(exposure).primary["PHOTMODE"] == mode


@pytest.mark.parametrize(("imsets", "state"), [(1, "SKIPPED"), (2, "PERFORM")])
def test_single_image_sets_will_not_be_combined(tmp_path, imsets, state):
    exposure = opened(tmp_path / "x_raw.fits", imsets=imsets, primary={"CRCORR": "PERFORM", "BPIXTAB": "N/A"})
    assert DqiCorrStep().process(exposure).switch("CRCORR") == state


def test_headers_survive_a_round_trip(tmp_path, ccdtab):
    exposure = opened(tmp_path / "x_raw.fits", imsets=1)
    found = BlevCorrStep(override_ccdtab=ccdtab).process(exposure)
    found.save(tmp_path / "x_flt.fits")
    header = fits.getheader(tmp_path / "x_flt.fits")
    assert (header["BLEVCORR"], header["ATODGAIN"], header["PROPOSID"]) == ("COMPLETE", 4.0159998, 14819)
