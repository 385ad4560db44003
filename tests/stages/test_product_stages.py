"""The stages that make reference files of combinations."""

import dataclasses

import numpy as np
import pytest
from frames import BEGIN, arrays, checksums, in_memory, write_reference

from refstis.calibration import superbias, superdark
from refstis.calibration.reference_image import ReferenceImage
from refstis.datamodels.exposure import Exposure, InputRecord
from refstis.datamodels.reference_header import input_names
from refstis.errors import ConfigurationError, InputError, ReferenceFileError
from refstis.stages import (
    AddHotColumnsStep,
    AverageStep,
    FlagHotBiasStep,
    FlagHotDarkStep,
    NormalizeStep,
    RefaverStep,
    ReferenceHeaderStep,
    ReplaceHotColumnsStep,
    ReplaceHotPixelsStep,
    SuperdarkStep,
)

SHAPE = (30, 40)
F = np.float32


def image(seed=1, level=2.0, noise=0.3):
    generator = np.random.default_rng(seed)
    sci = generator.normal(level, noise, SHAPE).astype("f4")
    sci[:, 12] += 4
    sci[20, 30] += 50
    err = generator.random(SHAPE).astype("f4")
    return ReferenceImage(sci, err, np.where(generator.random(SHAPE) < 0.05, 256, 0).astype("i2"))


def bias(seed=1, primary=(), **header):
    made = image(seed)
    return in_memory(
        [made.sci],
        made.err,
        made.dq,
        {"TARGNAME": "BIAS", "CRCORR": "COMPLETE", **dict(primary)},
        {"EXPTIME": 0.0, **header},
    )


def dark(seed=1, primary=(), level=0.01, noise=0.002, **header):
    made = image(seed, level, noise)
    primary = {"TARGNAME": "DARK", "CRCORR": "COMPLETE", "TEXPTIME": 5500.0, "ATODGAIN": 1.0, **dict(primary)}
    return in_memory([made.sci], made.err, made.dq, primary, header)


def assert_pixels(found, expected):
    for a, b in zip(arrays(found), expected, strict=True):
        np.testing.assert_array_equal(a, b)


# -------------------------------------------------------------- normalize


def test_biases_are_divided_by_their_number():
    found = NormalizeStep().process(bias(NCOMBINE=7))
    made = image()
    assert_pixels(found, (made.sci / F(7), made.err / F(7), made.dq))
    assert "number of frames, 7" in found.procedure[-1]


def test_darks_are_divided_by_exposure_time_over_gain():
    found = NormalizeStep().process(dark(primary={"ATODGAIN": 4.016}))
    made = image(1, 0.01, 0.002)
    divisor = F(5500.0 / 4.016)
    assert_pixels(found, (made.sci / divisor, made.err / divisor, made.dq))
    assert found.primary["TEXPTIME"] == 1.0
    header = found.imsets[0].sci_header
    assert (header["BUNIT"], header["EXPTIME"]) == ("ELECTRONS/S", 1.0)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (bias(primary={"CRCORR": "PERFORM"}), "CRCORR is PERFORM; expected COMPLETE"),
        (dark(primary={"CRCORR": None}), "CRCORR is OMIT"),
        (dark(primary={"TEXPTIME": 0.0}), r"TEXPTIME is 0\.0"),
        (dark(primary={"TEXPTIME": None}), "TEXPTIME"),
    ],
)
def test_what_cannot_be_normalized(made, words):
    with pytest.raises(InputError, match=rf"memory_flt\.fits: .*{words}"):
        NormalizeStep().process(made)


# -------------------------------------------------------------- average


def test_average():
    one, two = (
        bias(1, {"TEXPTIME": 0.0}, NCOMBINE=5),
        bias(2, {"TEXPTIME": 0.0, "FILENAME": "b_crj.fits"}, NCOMBINE=3),
    )
    found = AverageStep().process([one, two])
    a, b = image(1), image(2)
    assert_pixels(
        found, ((a.sci + b.sci) / F(8), np.sqrt((a.err * a.err + b.err * b.err) / F(64)), a.dq | b.dq)
    )
    assert found.imsets[0].sci_header["NCOMBINE"] == 8
    assert [record.name for record in found.inputs] == ["memory_flt.fits", "b_crj.fits"]


@pytest.mark.parametrize(
    "made",
    [bias(NCOMBINE=1), in_memory([image().sci] * 2, primary={"TARGNAME": "BIAS"}, headers={"NCOMBINE": 4})],
)
def test_single_frames_are_not_averaged(made):
    with pytest.raises(InputError, match=r"memory_flt\.fits: .*NCOMBINE.*Run crcorr first"):
        AverageStep().process([bias(NCOMBINE=5), made])


# -------------------------------------------------------------- hot columns and pixels


def test_hot_columns_and_pixels_are_replaced():
    made = image()
    columns = ReplaceHotColumnsStep().process(bias())
    residual, median = superbias.residual_image(made.sci)
    expected = superbias.replace_hot_columns(made.sci, residual, median)
    assert_pixels(columns, (expected, made.err, made.dq))
    assert "hot columns" in columns.procedure[-1]
    # the running median of hot pixels is that of the frame with its hot columns
    pixels = ReplaceHotPixelsStep().process(columns, bias())
    assert_pixels(pixels, (superbias.replace_hot_pixels(expected, median), made.err, made.dq))
    alone = ReplaceHotPixelsStep().process(columns)
    assert_pixels(
        alone,
        (superbias.replace_hot_pixels(expected, superbias.residual_image(expected)[1]), made.err, made.dq),
    )


def test_parameters_of_hot_columns():
    made = image()
    found = ReplaceHotColumnsStep(kernel=[5, 7], fractions=[0.5], sigma=2.0, clip=2.5, iterations=5).process(
        bias()
    )
    residual, median = superbias.residual_image(made.sci, (5, 7))
    np.testing.assert_array_equal(
        arrays(found).sci, superbias.replace_hot_columns(made.sci, residual, median, [0.5], 2.0, 2.5, 5)
    )


def test_hot_pixels_of_a_superbias_are_flagged():
    made = image()
    found = FlagHotBiasStep().process(bias())
    assert_pixels(found, (made.sci, made.err, superbias.flag_hot_bias(made.sci, made.dq)))
    found = FlagHotBiasStep(sigma=2.0, kernel=[3, 3], clip=2.0, iterations=4).process(bias())
    assert_pixels(
        found, (made.sci, made.err, superbias.flag_hot_bias(made.sci, made.dq, (3, 3), 2.0, 2.0, 4))
    )


def test_hot_pixels_of_a_dark_are_flagged():
    made = image(1, 0.01, 0.002)
    found = FlagHotDarkStep().process(dark())
    assert_pixels(found, (made.sci, made.err, superdark.flag_hot_dark(made.sci, made.dq)))
    found = FlagHotDarkStep(rate=3.0, sigma=2.0, excess_clip=[4.0, 3.0], rate_clip=[2.0, 5.0]).process(dark())
    assert_pixels(
        found, (made.sci, made.err, superdark.flag_hot_dark(made.sci, made.dq, 3.0, 2.0, (4.0, 3), (2.0, 5)))
    )


# -------------------------------------------------------------- week on baseline


@pytest.fixture
def baselines(tmp_path):
    made = image(7)
    rate = image(8, 0.01, 0.002)
    base = write_reference(tmp_path / "base_bia.fits", *made)
    return {"basebias": (base, made), "basedark": (write_reference(tmp_path / "base_drk.fits", *rate), rate)}


def test_hot_columns_of_a_week(baselines):
    path, base = baselines["basebias"]
    found = AddHotColumnsStep(override_basebias=str(path)).process(bias(3))
    assert_pixels(found, superbias.add_hot_columns(image(3), base))
    assert "base_bia.fits" in found.procedure[-1]


def test_superdark(baselines):
    path, base = baselines["basedark"]
    found = SuperdarkStep(override_basedark=str(path)).process(dark(3))
    assert_pixels(found, superdark.combine_superdark(image(3, 0.01, 0.002), base))
    assert "base_drk.fits" in found.procedure[-1]


@pytest.mark.parametrize(("stage", "kind"), [(AddHotColumnsStep, "basebias"), (SuperdarkStep, "basedark")])
def test_a_baseline_is_needed_and_fits(tmp_path, stage, kind):
    with pytest.raises(
        ReferenceFileError, match=rf"memory_flt\.fits: needs a {kind}.*exptype {kind}.*override_{kind}"
    ):
        stage().process(bias(3))
    other = write_reference(tmp_path / "small.fits", np.zeros((4, 5)))
    with pytest.raises(ReferenceFileError, match=rf"small\.fits: 5 x 4 pixels; .*40 x 30.*override_{kind}"):
        stage(**{f"override_{kind}": str(other)}).process(bias(3))


# -------------------------------------------------------------- refaver and reference_header


def reference(folder, name, seed, begin):
    record = InputRecord(f"{name}_raw.fits", None, 4, begin, begin + 0.5, 14819, "Bias Monitor")
    made = dataclasses.replace(bias(seed, NCOMBINE=4), inputs=(record,), procedure=(f"Made of {name}.",))
    path = folder / f"{name}_bia.fits"
    ReferenceHeaderStep(product="refbias").process(made).save(path)
    return path


def test_refaver(tmp_path):
    one, two = reference(tmp_path, "one", 1, BEGIN), reference(tmp_path, "two", 2, BEGIN + 3)
    before = checksums(tmp_path)
    a, b = image(1), image(2)
    expected = a.sci / 2 + b.sci / 2, np.sqrt((a.err / 2) ** 2 + (b.err / 2) ** 2), a.dq | b.dq
    (tmp_path / "list.txt").write_text("one_bia.fits\ntwo_bia.fits\n")
    for inputs in (
        (str(one), str(two)),
        ([str(one), str(two)],),
        (str(tmp_path / "list.txt"),),
        (Exposure.open(one), Exposure.open(two)),
    ):
        found = RefaverStep().process(*inputs)
        assert_pixels(found, expected)
        assert input_names(found.primary.history) == ["one_raw.fits", "two_raw.fits"]
        assert found.imsets[0].sci_header["NCOMBINE"] == 8
    (tmp_path / "list.txt").unlink()
    assert checksums(tmp_path) == before


@pytest.mark.parametrize("number", [1, 3])
def test_refaver_takes_two(tmp_path, number):
    files = [str(reference(tmp_path, f"n{n}", n, BEGIN)) for n in range(number)]
    with pytest.raises(InputError, match=rf"refaver: {number} file\(s\)"):
        RefaverStep().process(files)


@pytest.mark.parametrize("product", ["basebias", "refbias", "weekbias", "basedark", "weekdark"])
def test_reference_header(tmp_path, product):
    made = (dark if product.endswith("dark") else bias)(1, NCOMBINE=4, MEANBLEV=1500.0, LTV1=0.0)
    made = made.changed(procedure="It was made.")
    found = ReferenceHeaderStep(product=product).process(made)
    assert_pixels(found, image(1, 0.01, 0.002) if product.endswith("dark") else image(1))
    found.save(tmp_path / "x.fits")
    found = Exposure.open(tmp_path / "x.fits")
    assert found.primary["FILENAME"] == "x.fits"
    assert len(found.primary["DESCRIP"]) == 67
    assert input_names(found.primary.history) == ["memory_flt.fits"]
    assert "It was made." in found.primary.history
    header = found.imsets[0].sci_header
    assert (header["NCOMBINE"], header["MEANBLEV"], header["LTV1"]) == (4, 1500.0, 0.0)
    assert header["NGOODPIX"] > 0
    assert "EXPSTART" not in header
    assert "ROOTNAME" not in found.primary


@pytest.mark.parametrize(
    ("given", "useafter"),
    [
        ("2023-10-19", "Oct 19 2023 00:00:00"),
        ("2023-10-19T06:30:00", "Oct 19 2023 06:30:00"),
        (None, "Jun 06 2017 06:00:00"),
    ],
)
def test_useafter(given, useafter):
    found = ReferenceHeaderStep(product="refbias", useafter=given).process(bias())
    assert found.primary["USEAFTER"] == useafter


@pytest.mark.parametrize("given", ["someday", "2023-13-01"])
def test_useafter_is_a_date(given):
    with pytest.raises(ConfigurationError, match=rf"useafter is '{given}'; expected a date"):
        ReferenceHeaderStep(product="refbias", useafter=given).process(bias())
