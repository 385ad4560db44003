"""`refstis run`, `reprocess`, `reproduce` and `config` as a shell calls them, and the examples about clusters."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml
from astropy.io import fits

from refstis.datamodels import config_path

NAME = "14825_05"
CLUSTER = Path(__file__).parents[2] / "docs" / "cluster.md"


def shell(*words, oref=None):
    environment = {**os.environ, **({"oref": str(oref)} if oref else {})}
    done = subprocess.run(
        [sys.executable, "-m", "refstis", *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def weekdark(folder, week="wk02"):
    return folder / NAME / "darks" / week / f"weekdark_{NAME}_{week}_drk.fits"


def test_local_processes_make_the_same_products(two_weeks, two_weeks_made, tmp_path, digests):
    pytest.importorskip("distributed", reason="dask.distributed is not installed")
    status, printed, errors = shell(
        "run", *two_weeks.options(tmp_path / "out"), "--workers", 2, oref=two_weeks.oref
    )
    assert (status, "6 products made, 0 kept" in printed) == (0, True), errors
    assert digests(tmp_path / "out") == digests(two_weeks_made)
    # a product begins once, and before it is made
    events = re.findall(r" (\S+\.fits): (begun|made)", errors)
    assert len(events) == 12
    for identity in {identity for identity, _ in events}:
        assert [event for one, event in events if one == identity] == ["begun", "made"]


def test_reprocess_makes_the_months_that_begin_in_a_range(two_weeks, two_weeks_made, tmp_path, digests):
    words = two_weeks.options(tmp_path / "out")
    status, _, errors = shell(
        "reprocess", *words, "--from", "2009-05", "--to", "2017-05", oref=two_weeks.oref
    )
    assert status == 1
    assert errors == "refstis: --from 2009-05 --to 2017-05: no month with exposures begins in that time\n"
    status, _, errors = shell(
        "reprocess", *words, "--from", "2017-06", "--to", "2017-06", oref=two_weeks.oref
    )
    assert status == 0, errors
    assert digests(tmp_path / "out") == digests(two_weeks_made)


@pytest.fixture
def delivered(two_weeks_made, tmp_path):
    """A weekdark alone, without ledger or record, under another name."""
    path = tmp_path / "h7p1532io_drk.fits"
    shutil.copy(weekdark(two_weeks_made), path)
    return path


def reproduce(month, product, *words):
    return shell(
        "reproduce", product, "--raws", month.folder, "--anneals", month.anneals, "--profile", month.profile, *words,
        oref=month.oref,
    )  # fmt: skip


def test_a_delivered_file_is_reproduced(two_weeks, two_weeks_made, delivered, tmp_path):
    status, printed, errors = reproduce(two_weeks, delivered, "-o", tmp_path / "again")
    assert status == 0, printed + errors
    assert printed.count("all pixels agree") == 3
    assert "all keywords agree" in printed
    assert f"parameters: those of the profile {two_weeks.profile}: no record lies beside it" in printed
    assert weekdark(tmp_path / "again").read_bytes() == weekdark(two_weeks_made).read_bytes()


def test_a_product_with_its_record_is_reproduced_with_its_own_parameters(two_weeks, tmp_path):
    """The profile that it was made with is gone: another one has the same policy, but not its parameters."""
    other = tmp_path / "profile"
    shutil.copytree(two_weeks.profile, other)
    for name, before, after in (
        ("weekdark", "sigma: 5.0", "sigma: 9.0"),
        ("basedark", "slope: 0.07", "slope: 0.2"),
    ):
        text = config_path(f"{name}.asdf").read_text()
        assert before in text
        (other / f"{name}.asdf").write_text(text.replace(before, after))
    made = replace(two_weeks, profile=other)
    status, _, errors = shell("run", *made.options(tmp_path / "out"), oref=made.oref)
    assert status == 0, errors
    status, printed, errors = reproduce(two_weeks, weekdark(tmp_path / "out"))
    assert status == 0, printed + errors
    assert (
        "parameters: those that are recorded beside it, and beside 5 other products of its month" in printed
    )
    (tmp_path / "out" / NAME / f"basedark_{NAME}.asdf").unlink()
    status, printed, errors = reproduce(two_weeks, weekdark(tmp_path / "out"))
    assert (status, "beside 4 other products" in printed, "pixels differ" in printed) == (1, True, True), (
        errors
    )


def test_what_differs_from_a_delivered_file_is_told(two_weeks, delivered):
    with fits.open(delivered, mode="update") as hdus:
        hdus["SCI"].data[7, 9] += 0.5
        hdus[0].header["DRK_VS_T"] = 0.08
    status, printed, _ = reproduce(two_weeks, delivered)
    assert status == 1
    assert "SCI: 1 pixels differ, by 0.5 at most" in printed
    assert "ERR: all pixels agree" in printed
    assert "header: DRK_VS_T: 0.08, now 0.07" in printed


def test_a_redelivery_repeats_useafter(two_weeks, delivered, tmp_path):
    with fits.open(delivered, mode="update") as hdus:
        hdus[0].header["USEAFTER"] = "Jun 01 2017 01:02:03"
    _, printed, errors = reproduce(two_weeks, delivered, "-o", tmp_path / "again")
    assert "USEAFTER" not in printed
    assert fits.getval(weekdark(tmp_path / "again"), "USEAFTER") == "Jun 01 2017 01:02:03", errors


def test_inputs_that_are_not_there_are_named(two_weeks, delivered, tmp_path):
    month = two_weeks.copy(tmp_path / "raws")
    names = [line for line in fits.getheader(delivered)["HISTORY"] if line.endswith("_raw.fits")]
    (month.folder / names[2]).unlink()
    status, _, errors = reproduce(month, delivered)
    assert status == 1
    assert f"1 of its {len(names)} inputs are not there: {names[2][:9]}" in errors


def test_another_profile_that_wants_none_of_the_inputs_is_told(two_weeks, delivered):
    words = ["reproduce", delivered, "--raws", two_weeks.folder, "--anneals", two_weeks.anneals]
    status, _, errors = shell(*words, oref=two_weeks.oref)
    assert status == 1
    assert "its inputs are in no month" in errors
    assert "binning 4x4, expected 1x1" in errors
    assert "--profile" in errors


def test_a_file_that_tells_nothing_cannot_be_reproduced(two_weeks):
    status, _, errors = reproduce(two_weeks, two_weeks.raws[0])
    assert status == 1
    assert "its HISTORY names no input files" in errors


# ---------------------------------------------------------------- the configuration file


def test_a_configuration_file_to_begin_with(tmp_path):
    path = tmp_path / "refstis_config.yaml"
    assert shell("config", "init", path)[0] == 0
    assert shell("config", "init", path)[0] == 1
    status, printed, _ = shell("config", "check", path)
    assert (status, "all good" in printed) == (0, True)
    path.write_text(path.read_text() + "mast_password: sesame\nmast_server: x\nbias_propsoals: [12001]\n")
    status, _, errors = shell("config", "check", path)
    assert (status, "bias_propsoals and bias_proposals are the same key" in errors) == (1, True)
    path.write_text(path.read_text().replace("bias_proposals: []", ""))
    status, printed, _ = shell("config", "check", path)
    assert (status, "not needed any more: mast_password, mast_server" in printed) == (0, True)
    status, printed, errors = shell("config", "show", path)
    assert "bias_proposals: 12001" in printed
    assert "sesame" not in printed + errors


def test_where_shipped_parameters_lie():
    assert shell("config", "path", "weekdark")[1].strip() == str(config_path("weekdark.asdf"))
    assert shell("config", "path")[1].strip() == str(config_path())
    for name in ("nothing", "../pyproject.toml"):
        status, _, errors = shell("config", "path", name)
        assert (status, "there is no" in errors) == (1, True)


# ---------------------------------------------------------------- examples about clusters


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", CLUSTER.read_text(), flags=re.DOTALL)


def test_examples_about_clusters_are_well_formed():
    for block in blocks("python"):
        ast.parse(block)
    for block in blocks("yaml"):
        workers = yaml.safe_load(block)["spec"]["worker"]["spec"]
        assert {one["name"] for one in workers["containers"][0]["volumeMounts"]} == {"archive"}
    for block in blocks("sh"):
        assert subprocess.run(["bash", "-n"], input=block, text=True, check=False).returncode == 0


def test_commands_of_examples_about_clusters_are_understood():
    from refstis.commands.main import registered

    group = typer.main.get_command(registered())
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("refstis ")]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        command = group.commands[words[0]]
        context = command.make_context(words[0], words[1:])
        assert context.params["folder"] is not None
