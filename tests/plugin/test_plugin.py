"""A third-party package brings a step, a hook and an engine, without a line of refstis knowing of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import asdf
import numpy as np
import pytest
from frames import MONTH_BIASES, arrays, checksums, write_month
from stpipe import Step

import refstis
from refstis.datamodels.exposure import Exposure
from refstis.datamodels.reference_header import input_names
from refstis.stages import BlevCorrStep
from refstis.stages.crcorr import _load_engine

HERE = Path(__file__).resolve().parent
METADATA = "Metadata-Version: 2.1\nName: pedestal\nVersion: 0.3\n"
ENTRY_POINTS = """
[stpipe.steps]
pedestal = pedestal:get_steps

[refstis.crcorr_engines]
sum = pedestal:sum_of_images
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the package installed in it, as pip leaves it."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(HERE / "pedestal.py", folder)
    info = folder / "pedestal-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("pedestal", None)
    _load_engine.cache_clear()


@pytest.fixture
def month(tmp_path, monkeypatch):
    (tmp_path / "month").mkdir()
    (tmp_path / "work").mkdir()
    write_month(tmp_path / "month")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "month"


def program(name, *arguments, site):
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )


def test_stpipe_lists_our_steps_and_theirs(site):
    done = program("stpipe", "list", site=site)
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"^(\S+) ?\(?(\w*)\)?", done.stdout, re.MULTILINE)
    found = {name: alias for name, alias in shown if "." in name}
    assert found["pedestal.PedestalStep"] == "pedestal"
    for name, alias, _ in refstis.integration.get_steps():
        assert found[name] == alias


def test_their_step_alone_at_a_shell(site, month):
    before = checksums(month)
    done = program("strun", "pedestal", month / MONTH_BIASES[0], "--level=2.5", site=site)
    assert done.returncode == 0, done.stderr
    raw, found = Exposure.open(month / MONTH_BIASES[0]), Exposure.open("ob01010_pedestal.fits")
    for n in range(3):
        np.testing.assert_array_equal(arrays(found, n).sci, arrays(raw, n).sci + np.float32(2.5))
    assert checksums(month) == before


@pytest.mark.parametrize("how", ["post_hooks", "pre_hooks"])
def test_their_step_as_a_hook(installed, month, how):
    plain = refstis.RefBiasPipeline.call(str(month / "refbias.json"), save_results=False)
    steps = {
        "flag_hot_bias" if how == "pre_hooks" else "normalize": {how: ["pedestal.PedestalStep(level=100)"]}
    }
    found = refstis.RefBiasPipeline.call(str(month / "refbias.json"), steps=steps, output_file="hooked.fits")
    np.testing.assert_array_equal(arrays(found).sci, arrays(plain).sci + np.float32(100.0))
    # the product's history tells of it, in its place
    history = [str(line) for line in found.primary.history]
    assert "A pedestal of 100 DN was added." in history
    assert input_names(history) == MONTH_BIASES
    # and so does the record, which is a parameter file
    with asdf.open("hooked.asdf") as record:
        parameters = {step["name"]: step["parameters"] for step in record["steps"]}
    ((stage, _),) = steps.items()
    assert any("pedestal" in str(hook) for hook in parameters[stage][how])
    Step.from_cmdline(["hooked.asdf", str(month / "refbias.json"), "--output_file=again.fits"])
    np.testing.assert_array_equal(arrays(Exposure.open("again.fits")).sci, arrays(found).sci)


def test_their_step_as_a_class_and_as_an_instance(installed, month):
    from pedestal import PedestalStep

    for hook, name, level in (
        (PedestalStep, "pedestal.PedestalStep", 1.0),
        (PedestalStep(level=-2.5), "pedestal.PedestalStep(level=-25e-1)", -2.5),
    ):
        steps = {"normalize": {"post_hooks": [hook]}}
        found = refstis.RefBiasPipeline.call(
            str(month / "refbias.json"), steps=steps, output_file="hooked.fits"
        )
        assert f"A pedestal of {level:g} DN was added." in [str(line) for line in found.primary.history]
        # the record names what was run, and repeats it
        with asdf.open("hooked.asdf") as record:
            parameters = {step["name"]: step["parameters"] for step in record["steps"]}
        assert parameters["normalize"]["post_hooks"] == [name]
        Step.from_cmdline(["hooked.asdf", str(month / "refbias.json"), "--output_file=again.fits"])
        np.testing.assert_array_equal(arrays(Exposure.open("again.fits")).sci, arrays(found).sci)


def test_their_hook_from_a_shell(site, month):
    done = program(
        "strun", "refstis.RefBiasPipeline", month / "refbias.json",
        "--steps.normalize.post_hooks=pedestal.PedestalStep,",
        "--output_file=hooked.fits", site=site,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plain = refstis.RefBiasPipeline.call(str(month / "refbias.json"), save_results=False)
    np.testing.assert_array_equal(
        arrays(Exposure.open("hooked.fits")).sci, arrays(plain).sci + np.float32(1.0)
    )


def test_their_engine(installed, month):
    steps = {"crcorr": {"engine": "sum"}}
    found = refstis.RefBiasPipeline.call(str(month / "refbias.json"), steps=steps, save_results=False)
    total = 0
    for name in MONTH_BIASES:
        frames = BlevCorrStep().process(str(month / name))
        total = total + sum(arrays(frames, n).sci for n in range(3))
    np.testing.assert_allclose(arrays(found).sci, total / np.float32(9), rtol=1e-4, atol=1e-4)


def test_without_them_there_is_no_such_engine(month):
    with pytest.raises(
        refstis.errors.ConfigurationError, match=r"no engine 'sum'; installed are calstis, .*native"
    ):
        refstis.RefBiasPipeline.call(str(month / "refbias.json"), steps={"crcorr": {"engine": "sum"}})
