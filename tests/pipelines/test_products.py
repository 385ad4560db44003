"""The five products: the order of their stages, names, records, inputs, and ways to start them."""

import json
import logging

import asdf
import numpy as np
import pytest
import yaml
from astropy.io import fits
from frames import MONTH_BIASES as BIASES
from frames import MONTH_DARKS as DARKS
from frames import MONTH_MEMBERS as MEMBERS
from frames import MONTH_SHAPE as SHAPE
from frames import arrays, association, checksums, write_raw
from stpipe import Step

import refstis
from refstis import stages
from refstis.datamodels.exposure import Exposure
from refstis.datamodels.reference_header import input_names
from refstis.errors import InputError, ReferenceFileError

PIPELINES = {
    "basebias": refstis.BaseBiasPipeline,
    "refbias": refstis.RefBiasPipeline,
    "weekbias": refstis.WeekBiasPipeline,
    "basedark": refstis.BaseDarkPipeline,
    "weekdark": refstis.WeekDarkPipeline,
}
SUFFIX = {
    "basebias": "basebias",
    "refbias": "refbias_bia",
    "weekbias": "weekbias_bia",
    "basedark": "basedark",
    "weekdark": "weekdark_drk",
}
each = pytest.mark.parametrize("name", list(PIPELINES))


def open_all(folder, names):
    return [Exposure.open(folder / name) for name in names]


def frame(exposure):
    return stages.BlevCorrStep().process(stages.DqiCorrStep().process(exposure))


def by_hand(name, folder):
    """The product, made by its stages one after the other."""
    if name.endswith("dark"):
        calibrated = []
        for dark in open_all(folder, DARKS):
            subtracted = stages.BiasCorrStep(override_biasfile=str(folder / "super_bia.fits")).process(
                frame(dark)
            )
            calibrated.append(stages.TempCorrStep().process(subtracted))
        rate = stages.NormalizeStep().process(stages.CrCorrStep().process(calibrated))
        if name == "basedark":
            return stages.FlagHotDarkStep().process(rate)
        return stages.SuperdarkStep(override_basedark=str(folder / "base_drk.fits")).process(rate)
    frames = [frame(bias) for bias in open_all(folder, BIASES)]
    if name == "basebias":
        mean = stages.AverageStep().process([stages.CrCorrStep().process(bias) for bias in frames])
        return stages.ReplaceHotPixelsStep().process(stages.ReplaceHotColumnsStep().process(mean), mean)
    mean = stages.NormalizeStep().process(stages.CrCorrStep().process(frames))
    if name == "refbias":
        return stages.FlagHotBiasStep().process(mean)
    return stages.AddHotColumnsStep(override_basebias=str(folder / "base_bia.fits")).process(mean)


def assert_same_pixels(one, two):
    for a, b in zip(arrays(one), arrays(two), strict=True):
        np.testing.assert_array_equal(a, b)


@each
def test_a_product(month, work, name):
    before = checksums(month)
    product = PIPELINES[name].call(str(month / f"{name}.json"))
    assert checksums(month) == before
    stem = f"{name}_{SUFFIX[name]}"
    assert sorted(path.name for path in work.iterdir()) == [f"{stem}.asdf", f"{stem}.fits", f"{stem}.log"]
    written = Exposure.open(work / f"{stem}.fits")
    assert_same_pixels(written, product)
    assert_same_pixels(written, by_hand(name, month))

    header = written.primary
    assert header["FILENAME"] == f"{stem}.fits"
    assert header["NEXTEND"] == 3
    inputs = DARKS if name.endswith("dark") else BIASES
    assert input_names(header.history) == inputs
    assert len(header["DESCRIP"]) == 67
    assert header["USEAFTER"] == "Jun 06 2017 06:00:00"
    assert written.imsets[0].sci_header["NCOMBINE"] == (4 if name.endswith("dark") else 9)
    with fits.open(work / f"{stem}.fits") as hdus:
        assert [hdu.data.shape for hdu in hdus[1:]] == [SHAPE] * 3
        assert "DATE" not in hdus[0].header
        sci = hdus["SCI"].data
    # it is what it should be: noise about nothing, with the defects that such a product keeps
    assert abs(np.median(sci)) < (0.02 if name.endswith("dark") else 1.0)
    if name.endswith("dark"):
        assert header["DRK_VS_T"] == 0.07
        expected = 2000 / 1100 / (1 + 0.07 * 3.0)
        assert sci[15, 22] == pytest.approx(expected, rel=0.05)
        assert hdus_dq(work / f"{stem}.fits")[15, 22] == 16
    elif name == "basebias":
        assert abs(np.median(sci[:, 12])) < 2.0
    else:
        assert np.median(sci[:, 12]) > 12.0


def hdus_dq(path):
    return fits.getdata(path, ("DQ", 1))


@each
def test_the_record_beside_a_product(month, work, name):
    PIPELINES[name].call(str(month / f"{name}.json"), output_file="product.fits")
    log = (work / "product.log").read_text()
    assert "image sets" in log
    with asdf.open(work / "product.asdf") as record:
        tree = record.tree["record"]
        assert record["class"].endswith(PIPELINES[name].__name__)
        assert {step["name"] for step in record["steps"]} == set(PIPELINES[name].step_defs)
    known = checksums(month)
    inputs = DARKS if name.endswith("dark") else BIASES
    assert [(i["name"], i["sha256"]) for i in tree["inputs"]] == [(i, known[i]) for i in inputs]
    assert {i["imsets"] for i in tree["inputs"]} == ({1} if name.endswith("dark") else {3})
    kinds = {reference["kind"]: reference for reference in tree["references"]}
    assert {"ccdtab", "bpixtab", "crrejtab"} <= set(kinds)
    assert kinds["ccdtab"]["found"] == "built-in"
    for kind, file in (
        ("biasfile", "super_bia.fits"),
        ("basebias", "base_bia.fits"),
        ("basedark", "base_drk.fits"),
    ):
        if kind in kinds:
            assert (kinds[kind]["found"], kinds[kind]["sha256"]) == ("association", known[file])
    expected = {"weekbias": {"basebias"}, "basedark": {"biasfile"}, "weekdark": {"biasfile", "basedark"}}
    assert set(kinds) & {"biasfile", "basebias", "basedark"} == expected.get(name, set())
    assert {"refstis", "numpy", "astropy", "python"} <= set(tree["versions"])


@each
def test_equal_inputs_give_equal_bytes_in_every_form(month, work, name):
    """JSON, YAML, a plain list and a list of paths; from Python and from the arguments of a command line."""
    content = json.loads((month / f"{name}.json").read_text())
    (month / f"{name}.yaml").write_text(yaml.safe_dump(content))
    files = [member["expname"] for member in content["products"][0]["members"]]
    (month / f"{name}.txt").write_text("\n".join([*files, ""]))
    products = []
    for n, inputs in enumerate(
        [
            f"{month}/{name}.json",
            f"{month}/{name}.yaml",
            f"{month}/{name}.txt",
            [str(month / f) for f in files],
        ]
    ):
        PIPELINES[name].call(inputs, output_dir=str(work / str(n)), output_file="product.fits")
        products.append((work / str(n) / "product.fits").read_bytes())
    Step.from_cmdline(
        [
            f"refstis.{PIPELINES[name].__name__}",
            f"{month}/{name}.json",
            f"--output_dir={work}/5",
            "--output_file=product.fits",
        ]
    )
    products.append((work / "5" / "product.fits").read_bytes())
    assert len(set(products)) == 1


# -------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("file", "content", "options", "expected"),
    [
        ("inputs.asn", None, {}, "inputs_refbias_bia.fits"),
        ("ob0_asn.json", None, {}, "ob0_refbias_bia.fits"),
        ("week.of.june.txt", None, {}, "week.of.june_refbias_bia.fits"),
        ("inputs.asn", "refbias_14819_52_wk01_bia", {}, "refbias_14819_52_wk01_bia.fits"),
        ("inputs.asn", "named.fits", {}, "named.fits"),
        ("inputs.asn", "named", {"output_file": "exactly this.fits"}, "exactly this.fits"),
        ("inputs.asn", "named", {"output_dir": "sub"}, "sub/named.fits"),
        ("inputs.asn", None, {"output_dir": "sub", "output_file": "other/x.fits"}, "sub/x.fits"),
        ("inputs.asn", None, {"output_file": "new/folder/x.fits"}, "new/folder/x.fits"),
    ],
)
def test_names_of_products(month, work, file, content, options, expected):
    if content is None and not file.endswith(".json"):
        (month / file).write_text("\n".join(BIASES))
    else:
        association(month / file, bias=BIASES, name=content)
    refstis.RefBiasPipeline.call(str(month / file), **options)
    assert [str(path.relative_to(work)) for path in work.rglob("*.fits")] == [expected]
    beside = {path.suffix for path in (work / expected).parent.iterdir() if path.is_file()}
    assert beside == {".fits", ".log", ".asdf"}


def test_a_product_need_not_be_written(month, work):
    product = refstis.RefBiasPipeline.call(str(month / "refbias.json"), save_results=False)
    assert list(work.iterdir()) == []
    assert_same_pixels(product, by_hand("refbias", month))


def test_an_input_is_not_overwritten(month, work):
    before = checksums(month)
    for name in (BIASES[1], "base_bia.fits"):
        with pytest.raises(refstis.errors.OutputError, match=rf"{name}: is an input"):
            refstis.WeekBiasPipeline.call(str(month / "weekbias.json"), output_file=str(month / name))
    assert checksums(month) == before


# -------------------------------------------------------------- parameters


def strun(*arguments):
    return Step.from_cmdline([str(argument) for argument in arguments])


def test_the_record_repeats_the_run(month, work):
    arguments = (
        "--steps.crcorr.crsigmas=6,5",
        "--steps.superdark.sigma=3.5",
        f"--steps.superdark.override_basedark={month}/base_drk.fits",
    )
    (month / "list.txt").write_text("\n".join([*DARKS, "super_bia.fits"]))
    strun("refstis.WeekDarkPipeline", month / "list.txt", "--output_file=one.fits", *arguments)
    strun("one.asdf", month / "list.txt", "--output_file=two.fits")
    assert_same_pixels(Exposure.open("one.fits"), Exposure.open("two.fits"))
    history = " ".join(Exposure.open("two.fits").primary.history)
    assert "6,5 sigma" in history
    assert "3.5 sigma" in history
    with asdf.open("two.asdf") as record:
        parameters = {step["name"]: step["parameters"] for step in record["steps"]}
    assert parameters["crcorr"]["crsigmas"] == [6.0, 5.0]
    assert parameters["superdark"]["override_basedark"] == f"{month}/base_drk.fits"
    # the same from Python, and other than the default
    steps = {
        "crcorr": {"crsigmas": [6, 5]},
        "superdark": {"sigma": 3.5, "override_basedark": f"{month}/base_drk.fits"},
    }
    called = refstis.WeekDarkPipeline.call(str(month / "list.txt"), steps=steps, save_results=False)
    assert_same_pixels(called, Exposure.open("one.fits"))
    default = refstis.WeekDarkPipeline.call(str(month / "weekdark.json"), save_results=False)
    assert (arrays(default).sci != arrays(called).sci).any()


def test_a_repeated_run_does_not_write_over_the_first(month, work, monkeypatch):
    strun("refstis.RefBiasPipeline", month / "refbias.json", "--output_file=first/one.fits")
    strun(
        "refstis.RefBiasPipeline",
        month / "refbias.json",
        f"--output_dir={work}/first",
        "--output_file=two.fits",
    )
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (work / "first").iterdir()}
    (work / "elsewhere").mkdir()
    monkeypatch.chdir(work / "elsewhere")
    for name in ("one", "two"):
        strun(f"../first/{name}.asdf", month / "refbias.json")
        again, first = (
            Exposure.open("refbias_refbias_bia.fits"),
            Exposure.open(work / "first" / f"{name}.fits"),
        )
        assert_same_pixels(again, first)
    assert {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (work / "first").iterdir()
    } == before


def test_overrides_are_saved_with_the_parameters(month, work):
    strun(
        "refstis.WeekDarkPipeline", month / "weekdark.json", "--save-parameters=saved.asdf",
        "--steps.crcorr.crsigmas=5,",
        f"--steps.biascorr.override_biasfile={month}/super_bia.fits", "--steps.blevcorr.skip=false",
    )  # fmt: skip
    with asdf.open("saved.asdf") as saved:
        parameters = {step["name"]: step["parameters"] for step in saved["steps"]}
    assert parameters["biascorr"]["override_biasfile"] == f"{month}/super_bia.fits"
    assert parameters["crcorr"]["crsigmas"] == [5.0]
    assert "override_basedark" not in parameters["superdark"]


def test_one_limit_at_a_shell(month, work):
    strun(
        "refstis.RefBiasPipeline",
        month / "refbias.json",
        "--steps.crcorr.crsigmas=3,",
        "--output_file=one.fits",
    )
    called = refstis.RefBiasPipeline.call(
        str(month / "refbias.json"), steps={"crcorr": {"crsigmas": [3]}}, save_results=False
    )
    assert_same_pixels(Exposure.open("one.fits"), called)


def test_a_stage_alone(month, work):
    before = checksums(month)
    strun("blevcorr", month / DARKS[0])
    assert [path.name for path in work.iterdir()] == ["od01010_blevcorr.fits"]
    expected = stages.BlevCorrStep().process(str(month / DARKS[0]))
    assert_same_pixels(Exposure.open(work / "od01010_blevcorr.fits"), expected)
    strun("refstis.stages.TempCorrStep", "od01010_blevcorr.fits", "--output_file=exact.fits")
    assert_same_pixels(Exposure.open(work / "exact.fits"), stages.TempCorrStep().process(expected))
    assert checksums(month) == before


def test_an_instance_can_be_used_for_one_group_after_the_other(month, work):
    for name in ("one", "two"):
        product = refstis.RefBiasPipeline.call(str(month / "refbias.json"), output_file=f"{name}.fits")
        assert len(product.inputs) == 3
    assert (work / "one.fits").read_bytes().replace(b"one.fits", b"two.fits") == (
        work / "two.fits"
    ).read_bytes()


# -------------------------------------------------------------- what pipelines pass by


def test_darks_without_bias_are_taken_as_they_are(month, work):
    for name in DARKS:
        done = stages.BiasCorrStep(override_biasfile=str(month / "super_bia.fits")).process(
            frame(Exposure.open(month / name))
        )
        done.save(work / name.replace("_raw", "_flt"))
    association(
        work / "a.json",
        dark=[name.replace("_raw", "_flt") for name in DARKS],
        basedark=month / "base_drk.fits",
    )
    before = checksums(work)
    product = refstis.WeekDarkPipeline.call("a.json", output_dir=str(work / "out"))
    assert_same_pixels(product, by_hand("weekdark", month))
    assert {k: v for k, v in checksums(work).items() if not k.startswith("out/")} == before


def test_temperatures_are_brought_to_the_reference_once(month, work):
    for name in DARKS:
        done = stages.BiasCorrStep(override_biasfile=str(month / "super_bia.fits")).process(
            frame(Exposure.open(month / name))
        )
        stages.TempCorrStep().process(done).save(work / name.replace("_raw", "_flt"))
    association(
        work / "a.json",
        dark=[name.replace("_raw", "_flt") for name in DARKS],
        basedark=month / "base_drk.fits",
    )
    product = refstis.WeekDarkPipeline.call("a.json", save_results=False)
    assert_same_pixels(product, by_hand("weekdark", month))


def test_single_frames_are_left_out_of_the_baseline(month, work, caplog):
    write_raw(month / "ob09010_raw.fits", "BIAS", imsets=1, shape=SHAPE, primary={"BPIXTAB": "N/A"})
    association(month / "a.json", bias=[*BIASES, "ob09010_raw.fits"])
    with caplog.at_level(logging.WARNING):
        product = refstis.BaseBiasPipeline.call(str(month / "a.json"))
    assert_same_pixels(product, by_hand("basebias", month))
    assert "ob09010_raw.fits: left out" in (work / "a_basebias.log").read_text()
    assert "ob09010_raw.fits" not in input_names(product.primary.history)


def test_corrected_for_cti(month, work):
    for name in DARKS:
        primary = {"BPIXTAB": "N/A", "PCTECORR": "COMPLETE", "PCTETAB": "x_cte.fits"}
        write_raw(work / name, "DARK", imsets=1, shape=SHAPE, primary=primary, sci={"LTV1": 0.0, "LTV2": 0.0})
    association(work / "a.json", dark=DARKS, superbias=month / "super_bia.fits")
    product = refstis.BaseDarkPipeline.call("a.json", save_results=False)
    assert (product.primary["PCTECORR"], product.primary["PCTETAB"]) == ("COMPLETE", "x_cte.fits")


def test_the_header_names_the_superbias(month, work, monkeypatch):
    monkeypatch.setenv("oref", f"{month}/")
    for name in DARKS:
        path = work / name
        path.write_bytes((month / name).read_bytes())
        fits.setval(path, "BIASFILE", value="oref$super_bia.fits")
    association(work / "a.json", dark=DARKS, basedark=month / "base_drk.fits")
    product = refstis.WeekDarkPipeline.call("a.json", save_results=False)
    assert_same_pixels(product, by_hand("weekdark", month))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("weekbias", "basebias"), ("weekdark", "basedark"), ("basedark", "biasfile"), ("weekdark", "biasfile")],
)
def test_a_reference_that_is_missing_is_missed_first(month, work, name, kind):
    members = {k: v for k, v in MEMBERS[name].items() if k != {"biasfile": "superbias"}.get(kind, kind)}
    association(month / "a.json", **members)
    with pytest.raises(ReferenceFileError, match=rf"_raw\.fits: needs a {kind}.*override_{kind}"):
        PIPELINES[name].call(str(month / "a.json"))
    assert list(work.iterdir()) == []


def test_a_baseline_of_single_frames(month, work):
    write_raw(month / "ob09010_raw.fits", "BIAS", imsets=1, shape=SHAPE)
    association(month / "a.json", bias=["ob09010_raw.fits"])
    with pytest.raises(InputError, match="every file holds a single image set"):
        refstis.BaseBiasPipeline.call(str(month / "a.json"))
