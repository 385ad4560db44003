import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from refstis.anneal import making
from refstis.anneal.exposures import Exclusion
from refstis.anneal.ledger import DEFAULT_NAME, Ledger
from refstis.anneal.records import read_record
from refstis.anneal.runner import Choice, _places
from refstis.anneal.schedulers import Admission
from refstis.anneal.table import read_table
from refstis.cores import threads_at_hand
from refstis.datamodels import config_path
from refstis.datamodels.checksums import checksum_of
from refstis.errors import ConfigurationError, InputError, OutputError
from refstis.pipelines import base

NAME = "14825_05"
WEEKBIAS = "weekbias_14825_05_{}_1-4x4_bia{}.fits"
WEEKDARK = "weekdark_14825_05_{}_drk.fits"
BASEDARK = "basedark_14825_05.fits"
TWO_WEEKS = sorted(
    ["basebias.fits", BASEDARK, *(WEEKBIAS.format(w, "") for w in ("wk01", "wk02")),
     *(WEEKDARK.format(w) for w in ("wk01", "wk02"))]
)  # fmt: skip


@pytest.fixture
def copied(two_weeks_made, tmp_path):
    """Products of one's own, with their ledger: as if they had been made here."""

    def copy():
        shutil.copytree(two_weeks_made, tmp_path / "out")
        with Ledger(tmp_path / "out" / DEFAULT_NAME) as ledger:
            for path, record in ledger.products().items():
                moved = path.replace(str(two_weeks_made), str(tmp_path / "out"))
                ledger.record_product(replace(record, path=moved))
        return tmp_path / "out"

    return copy


def week_of(month, week, target):
    """Raws of a kind in the first or second half of the month."""
    raws = [raw for raw in month.raws if fits.getval(raw, "TARGNAME") == target]
    begin = next(iter(read_table(month.anneals))).last
    return [raw for raw in raws if (fits.getval(raw, "TEXPSTRT") > begin + 6) == (week == "wk02")]


# ---------------------------------------------------------------- the products


def test_a_month_is_pixel_for_pixel_what_the_documented_functions_make(
    four_weeks, make, tmp_path, monkeypatch
):
    from refstis.basedark import make_basedark
    from refstis.basejoint import make_basebias
    from refstis.functions import bias_subtract_data, refaver
    from refstis.refbias import make_refbias
    from refstis.weekbias import make_weekbias
    from refstis.weekdark import make_weekdark

    result, _ = make(four_weeks, tmp_path / "out")
    assert (result.exit_status, result.verdict(NAME)) == (0, "PASS")
    plan = result.plan
    kinds = [node.kind for node in plan.nodes.values() if node.kind != "biassub"]
    assert sorted(kinds) == [
        "basebias",
        "basedark",
        # a week and the two biweeks of gain 4 have sub-lists, two more weeks have enough without
        *["refaver"] * 3,
        *["refbias"] * 8,
        "weekbias",
        *["weekdark"] * 4,
    ]
    assert sum("/4-4x4/" in identity for identity in plan.nodes) == 6
    monkeypatch.chdir(tmp_path)
    by_hand = {}

    def raws(node):
        return [one.path for one in node.exposures]

    for identity, node in plan.nodes.items():
        path = tmp_path / "by_hand" / identity
        path.parent.mkdir(parents=True, exist_ok=True)
        before = [by_hand[one] for one in node.parents]
        if node.kind == "basebias":
            make_basebias(raws(node), path)
        elif node.kind == "refbias":
            make_refbias(raws(node), path)
        elif node.kind == "weekbias":
            make_weekbias(raws(node), path, before[0])
        elif node.kind == "refaver":
            refaver(before, path)
        elif node.kind == "biassub":
            path = bias_subtract_data(raws(node)[0], before[0], outdir=path.parent)
        elif node.kind == "basedark":
            make_basedark(before, path)
        else:
            make_weekdark(before[:-1], path, before[-1])
        by_hand[identity] = path
    for identity, path in by_hand.items():
        if plan.nodes[identity].kind == "biassub":
            continue
        with fits.open(path) as expected, fits.open(tmp_path / "out" / identity) as found:
            for name in ("SCI", "ERR", "DQ"):
                np.testing.assert_array_equal(
                    found[name].data, expected[name].data, err_msg=f"{identity} {name}"
                )


def test_darks_of_a_week_are_looked_at_together(two_weeks, make, tmp_path):
    from refstis.pipelines import WeekDarkPipeline

    improved = replace(two_weeks, profile=f"{two_weeks.profile},improved")
    result, _ = make(improved, tmp_path / "out", Choice(until=("weekdark",)))
    assert result.exit_status == 0
    plan = result.plan
    for node in [node for node in plan.nodes.values() if node.kind == "weekdark"]:
        darks = [plan.nodes[one] for one in node.parents if plan.nodes[one].kind == "biassub"]
        basedark = next(one for one in node.parents if plan.nodes[one].kind == "basedark")
        pipeline = WeekDarkPipeline.from_config_file(str(config_path("improved/weekdark.asdf")))
        pipeline.save_results = False
        pipeline.biascorr.override_biasfile = str(tmp_path / "out" / darks[0].inputs[1].node)
        pipeline.superdark.override_basedark = str(tmp_path / "out" / basedark)
        expected = pipeline.run([one.path for dark in darks for one in dark.exposures]).imsets[0]
        with fits.open(tmp_path / "out" / node.identity) as found:
            np.testing.assert_array_equal(found["SCI"].data, expected.sci[:])
            np.testing.assert_array_equal(found["ERR"].data, expected.err[:])


def test_only_products_and_their_records_are_written(two_weeks, two_weeks_made):
    found = {path for path in two_weeks_made.rglob("*") if path.is_file()}
    products = {path for path in found if path.suffix == ".fits"}
    assert sorted(path.name for path in products) == TWO_WEEKS
    beside = {path.with_suffix(ending) for path in products for ending in (".log", ".asdf")}
    kept = {two_weeks_made / name for name in (DEFAULT_NAME, "run.json", ".refstis.lock")}
    ledger = {path for path in found if path.name.startswith(f"{DEFAULT_NAME}-")}
    assert found == products | beside | kept | ledger


def test_each_log_is_about_its_own_product(two_weeks, two_weeks_made):
    for week in ("wk01", "wk02"):
        log = (two_weeks_made / NAME / "darks" / week / WEEKDARK.format(week)).with_suffix(".log").read_text()
        own = {raw.name for raw in week_of(two_weeks, week, "DARK")}
        named = {raw.name for raw in two_weeks.raws if raw.name in log}
        assert named == own
        assert "INFO Step weekdark running" in log


def test_the_basedark_tells_of_every_superbias(two_weeks_made):
    history = " ".join(fits.getheader(two_weeks_made / NAME / BASEDARK)["HISTORY"])
    for week in ("wk01", "wk02"):
        assert f"superbias {WEEKBIAS.format(week, '')} was subtracted" in history.replace("\n", " ")


def test_the_record_of_a_run(two_weeks_made, digests):
    record = json.loads((two_weeks_made / "run.json").read_text())
    assert (record["status"], record["exit_status"], record["verdicts"]) == ("done", 0, {NAME: "PASS"})
    assert {one["identity"]: one["checksum"] for one in record["outcomes"]} == digests(two_weeks_made)
    with Ledger(two_weeks_made / DEFAULT_NAME) as ledger:
        assert [one["status"] for one in ledger.runs()] == ["done"]
        assert {path: one.checksum for path, one in ledger.products().items()} == {
            str(two_weeks_made / path): checksum for path, checksum in digests(two_weeks_made).items()
        }


def test_raws_stay_as_they_are(two_weeks, make, tmp_path):
    before = {raw: (checksum_of(raw), raw.stat().st_mtime_ns) for raw in two_weeks.raws}
    make(two_weeks, tmp_path / "out", Choice(until=("basebias",)))
    assert {raw: (checksum_of(raw), raw.stat().st_mtime_ns) for raw in two_weeks.raws} == before


# ---------------------------------------------------------------- nothing is made twice


def test_what_is_made_is_kept(two_weeks, make, copied):
    output = copied()
    result, notes = make(two_weeks, output)
    assert (notes.begun, result.exit_status) == ([], 0)
    assert notes.plans[0][1] == []


def test_a_lost_ledger_costs_nothing(two_weeks, make, copied):
    output = copied()
    for path in output.glob(f"{DEFAULT_NAME}*"):
        path.unlink()
    result, notes = make(two_weeks, output)
    assert (notes.begun, result.exit_status) == ([], 0)
    with Ledger(output / DEFAULT_NAME) as ledger:
        assert len(ledger.products()) == len(TWO_WEEKS)


def test_a_record_of_another_file_is_not_believed(two_weeks, make, copied):
    output = copied()
    for path in output.glob(f"{DEFAULT_NAME}*"):
        path.unlink()
    product = output / NAME / "darks" / "wk01" / WEEKDARK.format("wk01")
    with fits.open(product, mode="update") as hdus:
        hdus["SCI"].data[3, 4] += 1
    _, notes = make(two_weeks, output)
    assert notes.made() == [WEEKDARK.format("wk01")]


def test_a_product_that_is_gone_is_made_again_with_the_same_bytes(
    two_weeks, make, copied, digests, two_weeks_made
):
    output = copied()
    (output / NAME / BASEDARK).unlink()
    _, notes = make(two_weeks, output)
    assert notes.made() == [BASEDARK]
    assert digests(output) == digests(two_weeks_made)


def test_what_changed_is_remade_and_nothing_else(two_weeks, make, copied, tmp_path):
    output = copied()
    profile = tmp_path / "profile"
    shutil.copytree(two_weeks.profile, profile)
    shutil.copy(config_path("weekdark.asdf"), profile)
    text = (profile / "weekdark.asdf").read_text()
    (profile / "weekdark.asdf").write_text(text.replace("sigma: 5.0", "sigma: 6.0"))
    month = two_weeks.copy(tmp_path / "raws")
    month.profile = profile
    result, notes = make(month, output)
    assert notes.made() == [WEEKDARK.format("wk01"), WEEKDARK.format("wk02")]
    assert {node.why for node in result.plan.nodes.values() if node.kind == "weekdark"} == {
        "parameters changed"
    }


def test_force_only_and_until(two_weeks, make, copied):
    output = copied()
    _, notes = make(two_weeks, output, Choice(force=True, only=(BASEDARK,)))
    assert notes.made() == [BASEDARK]
    _, notes = make(two_weeks, output, Choice(force=True, until=("weekbias",)))
    assert notes.made() == ["basebias.fits", WEEKBIAS.format("wk02", "")]


def test_names_that_cannot_be_chosen(two_weeks, make, tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"--only nothing: the plan has no such product; it has basebias\.fits"
    ):
        make(two_weeks, tmp_path / "out", Choice(only=("nothing",)))
    with pytest.raises(
        ConfigurationError, match=r"needs .* which is not made or not as planned; use --until"
    ):
        make(two_weeks, tmp_path / "out", Choice(only=("basedark",)))
    assert not list((tmp_path / "out").rglob("*.fits"))


# ---------------------------------------------------------------- one failure is one failure


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_bad_raw_is_left_out_and_only_what_depends_on_it_is_made_again(two_weeks, make, copied, tmp_path):
    output = copied()
    month = two_weeks.copy(tmp_path / "raws")
    bad = week_of(month, "wk01", "DARK")[3]
    sound = bad.read_bytes()
    cut_off(bad)
    result, notes = make(month, output)
    assert (result.exit_status, result.verdict(NAME)) == (3, "BAD RAWS")
    assert notes.made() == sorted([BASEDARK, WEEKDARK.format("wk01"), WEEKDARK.format("wk02")])
    node = result.plan.nodes[f"{NAME}/{BASEDARK}"]
    assert any(bad.name in caution for caution in node.cautions)
    assert bad.name not in str(fits.getheader(output / NAME / BASEDARK)["HISTORY"])
    bad.write_bytes(sound)
    result, notes = make(month, output)
    assert result.exit_status == 0
    assert notes.made() == sorted([BASEDARK, WEEKDARK.format("wk01"), WEEKDARK.format("wk02")])


def test_a_raw_that_fails_only_when_pixels_are_read_is_left_out_by_name(two_weeks, make, tmp_path, digests):
    month = two_weeks.copy(tmp_path / "raws")
    bad = week_of(month, "wk02", "DARK")[5]
    with fits.open(bad) as hdus:
        pixels = hdus["SCI"].data.astype(np.float32)
        pixels[100:103, 100] = np.nan
        hdus["SCI"].data = pixels
        for key in ("BZERO", "BSCALE"):
            hdus["SCI"].header.pop(key, None)
        hdus.writeto(bad, overwrite=True)
    result, notes = make(month, tmp_path / "out")
    assert (result.exit_status, result.verdict(NAME)) == (3, "BAD RAWS")
    assert any(text.startswith(f"{bad.name} is left out") and "not finite" in text for text in notes.texts)
    assert notes.made() == TWO_WEEKS
    assert bad.name not in str(fits.getheader(tmp_path / "out" / NAME / BASEDARK)["HISTORY"])
    assert any(bad.name in caution for caution in result.plan.nodes[f"{NAME}/{BASEDARK}"].cautions)


def test_a_week_with_nothing_left_makes_no_product_and_says_why(two_weeks, make, copied, tmp_path):
    output = copied()
    with Ledger(output / DEFAULT_NAME) as ledger:
        for raw in week_of(two_weeks, "wk02", "DARK"):
            ledger.mark(raw.name[:9], True, "light leak")
    result, notes = make(two_weeks, output)
    assert [str(one) for one in result.plan.missing] == ["wk02: no weekdark: no darks"]
    assert notes.made() == sorted([BASEDARK, WEEKDARK.format("wk01")])
    # somebody knows of what was marked, but what was made of it before is still there
    assert (result.exit_status, result.verdict(NAME)) == (0, "CAUTION")
    stale = f"{NAME}/darks/wk02/{WEEKDARK.format('wk02')}"
    assert result.plan.stale == [stale]
    assert (output / stale).exists()
    (month,) = result.plan.months
    assert month.cautions == [
        f"darks/wk02/{WEEKDARK.format('wk02')} is there and not in this plan; it is left as it is"
    ]


def test_a_superbias_that_cannot_be_made_is_done_without(two_weeks, make, tmp_path, monkeypatch):
    failing = f"{NAME}/biases/1-4x4/wk02/{WEEKBIAS.format('wk02', '')}"
    original = making._calibrated

    def calibrated(task, *others):
        if task.identity == failing:
            raise InputError("no product can be made of these")
        return original(task, *others)

    monkeypatch.setattr(making, "_calibrated", calibrated)
    result, notes = make(two_weeks, tmp_path / "out")
    assert (result.exit_status, result.verdict(NAME)) == (1, "FAIL")
    assert [one.identity for one in result.failed] == [failing]
    assert notes.made() == sorted(set(TWO_WEEKS) - {WEEKBIAS.format("wk02", "")})
    node = result.plan.nodes[f"{NAME}/darks/wk02/{WEEKDARK.format('wk02')}"]
    assert node.cautions == ["bias-subtracted with the basebias: there is no superbias of wk02"]


@pytest.mark.parametrize("error", [MemoryError("9 GB"), RuntimeError("a bug")])
def test_trouble_that_says_nothing_of_the_data_is_no_reason_for_a_lesser_product(
    two_weeks, make, tmp_path, monkeypatch, error
):
    failing = f"{NAME}/biases/1-4x4/wk02/{WEEKBIAS.format('wk02', '')}"
    original = making._calibrated

    def calibrated(task, *others):
        if task.identity == failing:
            raise error
        return original(task, *others)

    monkeypatch.setattr(making, "_calibrated", calibrated)
    result, notes = make(two_weeks, tmp_path / "out")
    assert result.exit_status == 1
    assert notes.made() == ["basebias.fits", WEEKBIAS.format("wk01", "")]
    reasons = {one.identity.rpartition("/")[2]: one.reason for one in result.failed}
    assert reasons[WEEKBIAS.format("wk02", "")].startswith(f"{type(error).__name__}: {error}")
    assert reasons[BASEDARK] == f"needs {WEEKBIAS.format('wk02', '')}, which was not made"
    assert reasons[WEEKDARK.format("wk01")] == f"needs {BASEDARK}, which was not made"


@pytest.mark.parametrize("cause", [OSError(errno.EMFILE, "Too many open files"), MemoryError()], ids=repr)
def test_no_raw_is_left_out_for_what_the_machine_lacks(two_weeks, make, tmp_path, monkeypatch, cause):
    failing = f"{NAME}/biases/1-4x4/wk02/{WEEKBIAS.format('wk02', '')}"
    raw = week_of(two_weeks, "wk02", "BIAS")[0]
    original = making._calibrated

    def calibrated(task, *others):
        if task.identity == failing:
            raise InputError(f"{raw}: not a readable FITS file ({cause}).") from cause
        return original(task, *others)

    monkeypatch.setattr(making, "_calibrated", calibrated)
    result, notes = make(two_weeks, tmp_path / "out")
    assert result.exit_status == 1
    assert (result.broken, result.bad_raws) == ({}, [])
    # the month's darks wait for the superbias, and are not subtracted by another
    assert notes.made() == ["basebias.fits", WEEKBIAS.format("wk01", "")]


def test_a_raw_that_changes_during_a_run_is_looked_at_again(two_weeks, make, tmp_path, monkeypatch):
    month = two_weeks.copy(tmp_path / "raws")
    changed = week_of(month, "wk01", "DARK")[0]
    original = making._calibrated

    def calibrated(task, *others):
        if task.kind == "basedark" and not calibrated.done:
            calibrated.done = True
            with fits.open(changed, mode="update") as hdus:
                hdus["SCI"].data[10, 10] += 1
        return original(task, *others)

    calibrated.done = False
    monkeypatch.setattr(making, "_calibrated", calibrated)
    result, notes = make(month, tmp_path / "out")
    assert result.exit_status == 0
    assert [one.reason for one in notes.outcomes if one.status == "failed"] == [
        f"{changed}: was changed since the plan was made. Run again."
    ]
    record = read_record(tmp_path / "out" / NAME / BASEDARK)
    assert checksum_of(changed) in {one["sha256"] for one in record["inputs"]}


def test_a_product_whose_raw_changes_while_it_is_written_is_made_again(
    two_weeks, make, tmp_path, monkeypatch
):
    month = two_weeks.copy(tmp_path / "raws")
    changed = week_of(month, "wk01", "DARK")[0]
    original = base.write_record

    def write_record(step, target, *others):
        if "basedark" in target.name and not write_record.done:
            write_record.done = True
            with fits.open(changed, mode="update") as hdus:
                hdus["SCI"].data[10, 10] += 1
        original(step, target, *others)

    write_record.done = False
    monkeypatch.setattr(base, "write_record", write_record)
    result, notes = make(month, tmp_path / "out")
    assert result.exit_status == 0
    failed = [one for one in notes.outcomes if one.status == "failed"]
    assert {one.reason for one in failed} == {f"{changed}: was changed since the plan was made. Run again."}
    record = read_record(tmp_path / "out" / NAME / BASEDARK)
    made = {one.identity: one for one in notes.outcomes if one.status == "made"}
    assert checksum_of(changed) in {one["sha256"] for one in record["inputs"]}
    assert f"{NAME}/{BASEDARK}" in made


def test_a_raw_that_vanishes_during_a_run_is_done_without(two_weeks, make, tmp_path, monkeypatch):
    month = two_weeks.copy(tmp_path / "raws")
    gone = week_of(month, "wk01", "DARK")[0]
    original = making._calibrated

    def calibrated(task, *others):
        if task.kind == "basebias":
            gone.unlink()
        return original(task, *others)

    monkeypatch.setattr(making, "_calibrated", calibrated)
    result, notes = make(month, tmp_path / "out")
    assert result.exit_status == 3
    assert notes.made() == TWO_WEEKS
    assert any("cannot be read any more" in one for one in result.plan.nodes[f"{NAME}/{BASEDARK}"].cautions)


def test_an_output_folder_that_cannot_be_made(two_weeks, make, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be"):
        make(two_weeks, tmp_path / "file" / "out", ledger=tmp_path / "ledger.db")


def test_what_a_killed_run_left_is_taken_away(two_weeks, make, copied, digests, two_weeks_made):
    output = copied()
    left = output / NAME / ".weekdark.4711.0badcafe.part"
    left.mkdir()
    (left / "half.fits").write_bytes(b"SIMPLE")
    (output / NAME / ".basebias.fits.4711.0badcafe.part").write_bytes(b"SIMPLE")
    make(two_weeks, output)
    assert not list(output.rglob(".*.part"))
    assert digests(output) == digests(two_weeks_made)


# ---------------------------------------------------------------- headers


def test_products_of_a_month_that_is_not_over_say_so(two_weeks, make, tmp_path):
    month = two_weeks.copy(tmp_path / "raws")
    table = tmp_path / "anneals.csv"
    table.write_text("\n".join(month.anneals.read_text().splitlines()[:2]) + "\n")
    month.anneals = table
    result, _ = make(month, tmp_path / "out", Choice(until=("basebias",)))
    path = next((tmp_path / "out").rglob("basebias.fits"))
    descrip = fits.getval(path, "DESCRIP")
    assert len(descrip) == 67
    assert descrip.rstrip("-").endswith(", provisional")
    with Ledger(tmp_path / "out" / DEFAULT_NAME) as ledger:
        assert [one.provisional for one in ledger.products().values()] == [True]
    assert result.verdict(result.plan.months[0].month.name) == "CAUTION"


@pytest.mark.parametrize(("useafter", "word"), [("anneal", "Jun 05 2017"), ("period", "Jun 11 2017")])
def test_useafter_by_policy(two_weeks, make, tmp_path, useafter, word):
    month = two_weeks.copy(tmp_path / "raws")
    month.profile = tmp_path / "profile"
    shutil.copytree(two_weeks.profile, month.profile)
    with (month.profile / "policy.yaml").open("a") as policy:
        policy.write(f"useafter: {useafter}\n")
    make(month, tmp_path / "out", Choice(until=(WEEKBIAS.format("wk02", ""),)))
    product = tmp_path / "out" / NAME / "biases" / "1-4x4" / "wk02" / WEEKBIAS.format("wk02", "")
    assert fits.getval(product, "USEAFTER").startswith(word)


# ---------------------------------------------------------------- who runs when


def test_what_others_are_made_of_comes_first_in_its_month():
    chosen = ["b/other", "b/bias", "a/other", "a/bias", "a/dark"]
    places = _places({one: one[0] for one in chosen}, {"a/dark": ["a/bias"]})
    # in month b nothing is made of the bias
    assert sorted(places, key=places.get) == ["b/other", "b/bias", "a/bias", "a/other", "a/dark"]


def test_admission_holds_threads_and_memory():
    admission = Admission(4, 100, first=6)
    lock = threading.Lock()
    now = {"threads": 0, "memory": 0, "tasks": 0}
    most = {"threads": 0, "memory": 0}
    order = []

    def task(place, memory):
        with admission.enter(place, memory), threads_at_hand() as threads:
            with lock:
                order.append(place)
                now["threads"] += threads
                now["memory"] += memory
                now["tasks"] += 1
                most["threads"] = max(most["threads"], now["threads"])
                if now["tasks"] > 1:
                    most["memory"] = max(most["memory"], now["memory"])
            threading.Event().wait(0.02)
            with lock:
                now["threads"] -= threads
                now["memory"] -= memory
                now["tasks"] -= 1

    tasks = [
        threading.Thread(target=task, args=one)
        for one in ((9, 10), (8, 60), (7, 60), (5, 40), (6, 10), (1, 300))
    ]
    for one in tasks:
        one.start()
    for one in tasks:
        one.join()
    assert (most["threads"], most["memory"] <= 100) == (4, True)
    # the first of the plan, alone as it needs more than there is
    assert order[0] == 1
    assert len(order) == 6


def test_a_task_alone_has_all_cores():
    admission = Admission(8, 100)
    with admission.enter(1, 10):
        with threads_at_hand() as threads:
            assert threads == 8
        with threads_at_hand(3) as threads:
            assert threads == 3


def test_cores_that_become_idle_are_lent_and_given_back():
    admission = Admission(4, 100)
    entered, leave = threading.Event(), threading.Event()

    def other():
        with admission.enter(1, 10), threads_at_hand() as threads:
            lent.append(threads)
            entered.set()
            leave.wait()

    lent: list[int] = []
    beside = threading.Thread(target=other)
    with admission.enter(1, 10):
        beside.start()
        entered.wait()
        with threads_at_hand() as threads:
            # each task has one; of the two that nobody uses the first to ask had its half
            assert (lent, threads) == ([2], 2)
        leave.set()
        beside.join()
        for _ in range(2):
            with threads_at_hand() as threads:
                assert threads == 4


def test_a_large_task_is_not_passed_for_ever():
    admission = Admission(1, 100)
    order = []
    started = threading.Event()

    def task(name, place, memory):
        with admission.enter(place, memory):
            started.set()
            order.append(name)
            threading.Event().wait(0.005)

    threads = [threading.Thread(target=task, args=("first", 1, 10))]
    threads[0].start()
    started.wait()
    threads += [threading.Thread(target=task, args=("large", 99, 1000))]
    threads += [threading.Thread(target=task, args=(f"small{n}", 10, 10)) for n in range(12)]
    for one in threads[1:]:
        one.start()
    for one in threads:
        one.join()
    assert len(order) == 14


def test_the_exit_status_is_that_of_the_worst_group(two_weeks, make, copied):
    result, _ = make(two_weeks, copied())
    bad = Exclusion("x_raw.fits", "cut off", fault=True)
    node = next(iter(result.plan.nodes.values()))
    assert result.exit_status == 0
    node.exclusions.append(bad)
    assert (result.exit_status, result.bad_raws) == (3, [bad])
    result.outcomes["14825_05/x"] = making.Outcome("14825_05/x", "failed", reason="no")
    assert result.exit_status == 1
    result.interrupted = True
    assert result.exit_status == 130


FAULTS = """\
import resource
import numpy as np
from refstis.anneal.making import share_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones((1024, 1024), dtype=np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first = faults()
share_memory()
faults()
print(first, faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not the GNU one")
def test_a_worker_of_dask_keeps_the_memory_of_its_images():
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask begins its workers
    found = subprocess.run(
        [sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True
    )
    before, after = map(int, found.stdout.split())
    assert before > 50  # each image took new pages
    assert after < before / 10
