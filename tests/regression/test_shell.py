"""The main job at a shell: strun without network, CRDS or $oref, on the expected outputs' exposures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table

import refstis
from refstis.datamodels import config_path

STRUN = Path(sys.executable).with_name("strun")


def strun(folder, *arguments, oref=None):
    environment = {
        key: value for key, value in os.environ.items() if key not in {"oref", "CRDS_PATH", "CRDS_SERVER_URL"}
    }
    environment |= {
        "HOME": str(folder),
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    if oref:
        environment["oref"] = f"{oref}/"
    return subprocess.run(
        [STRUN, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def association(folder, members, name="inputs.asn", product=None):
    products = [{"members": [{"expname": str(path), "exptype": role} for path, role in members]}]
    if product:
        products[0]["name"] = product
    (folder / name).write_text(json.dumps({"products": products}))
    return name


def pixels(path):
    with fits.open(path) as hdus:
        return [np.asarray(hdu.data) for hdu in hdus[1:]]


@pytest.fixture(scope="module")
def chain(oracle, tmp_path_factory):
    """All five products by strun, one after the other, from raws only and without $oref."""
    folder = tmp_path_factory.mktemp("shell")
    biases = [(path, "bias") for path in oracle.raws("r_refbias_wk01")[:2]]
    darks = [(oracle.raw(f"ofd103a{letter}q_raw.fits"), "dark") for letter in "ab"]
    runs = {}
    for alias, pipeline, members, output in (
        ("basebias", "BaseBiasPipeline", biases, "b_basebias.fits"),
        ("refbias", "RefBiasPipeline", biases, "r_refbias_bia.fits"),
        ("weekbias", "WeekBiasPipeline", [*biases, ("b_basebias.fits", "basebias")], "w_weekbias_bia.fits"),
        ("basedark", "BaseDarkPipeline", [*darks, ("r_refbias_bia.fits", "superbias")], "d_basedark.fits"),
        (
            "weekdark", "WeekDarkPipeline",
            [*darks, ("r_refbias_bia.fits", "superbias"), ("d_basedark.fits", "basedark")], "k_weekdark_drk.fits",
        ),
    ):  # fmt: skip
        name = association(folder, members, f"{output[0]}.asn")
        runs[alias] = strun(folder, f"refstis.{pipeline}", name), output
    return folder, runs


@pytest.mark.parametrize("alias", ["basebias", "refbias", "weekbias", "basedark", "weekdark"])
def test_product_of_each_pipeline(chain, alias):
    folder, runs = chain
    run, output = runs[alias]
    assert run.returncode == 0, run.stderr
    names = {path.name for path in folder.iterdir() if path.stem == Path(output).stem}
    assert names == {output, output.replace(".fits", ".asdf"), output.replace(".fits", ".log")}
    assert "used the built-in 16j1600do_ccd.fits" in run.stderr
    assert "used the built-in" in (folder / output.replace(".fits", ".log")).read_text()
    assert not list(folder.glob(".*"))


def test_parameters_at_a_shell_and_in_python_and_again(chain, oracle, tmp_path):
    folder, _ = chain
    default = pixels(folder / "k_weekdark_drk.fits")
    run = strun(
        folder,
        config_path("weekdark.asdf"),
        "k.asn",
        "--steps.crcorr.crsigmas=6,5",
        "--output_file=shell.fits",
    )
    assert run.returncode == 0, run.stderr
    assert "2 pass(es) at 6,5 sigma" in " ".join(map(str, fits.getheader(folder / "shell.fits")["HISTORY"]))
    assert any((a != b).any() for a, b in zip(default, pixels(folder / "shell.fits"), strict=True))
    again = strun(folder, "shell.asdf", "k.asn", "--output_dir=again", "--output_file=shell.fits")
    assert again.returncode == 0, again.stderr
    assert (folder / "again" / "shell.fits").read_bytes() == (folder / "shell.fits").read_bytes()
    refstis.WeekDarkPipeline.call(
        str(folder / "k.asn"),
        steps={"crcorr": {"crsigmas": [6, 5]}},
        output_file=str(tmp_path / "shell.fits"),
    )
    assert (tmp_path / "shell.fits").read_bytes() == (folder / "shell.fits").read_bytes()


def test_one_stage_alone(oracle, tmp_path):
    run = strun(tmp_path, "blevcorr", oracle.raw("ofb2220aq_raw.fits"), oref=oracle.work / "oref")
    assert run.returncode == 0, run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["ofb2220aq_blevcorr.fits"]
    assert fits.getheader(tmp_path / "ofb2220aq_blevcorr.fits")["BLEVCORR"] == "COMPLETE"


def test_the_same_product_of_every_form_of_association(oracle, oref, tmp_path):
    raws = oracle.raws("r_refbias_2x2")
    for raw in raws:
        (tmp_path / raw.name).symlink_to(raw)
    names = [raw.name for raw in raws]
    members = [{"expname": name, "exptype": "bias"} for name in names]
    (tmp_path / "json.asn").write_text(json.dumps({"products": [{"members": members}]}))
    (tmp_path / "yaml.asn").write_text(yaml.safe_dump({"products": [{"members": members}]}))
    (tmp_path / "list.asn").write_text("# biases\n" + "\n".join(names) + "\n")
    rows = [(name[:9].upper(), "EXP-BIAS", True) for name in names]
    table = Table(rows=rows, names=["MEMNAME", "MEMTYPE", "MEMPRSNT"])
    table.write(tmp_path / "fits_asn.fits")
    (tmp_path / "fits_asn.fits").rename(tmp_path / "fits.asn")
    contents = set()
    for form in ("json", "yaml", "list", "fits"):
        refstis.RefBiasPipeline.call(
            str(tmp_path / f"{form}.asn"), output_file=str(tmp_path / form / "product.fits")
        )
        contents.add((tmp_path / form / "product.fits").read_bytes())
    assert len(contents) == 1


def test_an_error_stands_in_the_box_without_a_traceback(oracle, tmp_path):
    name = association(
        tmp_path, [(oracle.raw("ofd103aaq_raw.fits"), "dark"), (oracle.raw("ofd103abq_raw.fits"), "dark")]
    )
    run = strun(tmp_path, "refstis.WeekDarkPipeline", name)
    assert run.returncode != 0
    assert "ERROR RUNNING STEP 'WeekDarkPipeline'" in run.stdout
    assert "ofd103aaq_raw.fits: needs a basedark" in " ".join(run.stdout.split())
    assert "Traceback" not in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
