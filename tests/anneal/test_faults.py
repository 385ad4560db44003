"""Runs of several processes: killed, two at once, and on a cluster of which a part dies."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest

from refstis.anneal import schedulers
from refstis.anneal.ledger import DEFAULT_NAME, Ledger

REFSTIS = [sys.executable, "-m", "refstis"]
KEPT = re.compile(r"\.refstis\.lock|run\.json|refstis_ledger\.db(-wal|-shm)?")


@pytest.fixture
def start(monkeypatch):
    """Start `refstis run` on a month as a process."""

    def begin(month, output, *words):
        return subprocess.Popen(
            [*REFSTIS, "run", *month.options(output), *words],
            env={**os.environ, "oref": str(month.oref)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


def stray(output):
    """Files that belong neither to a product nor to a run."""
    found = [path for path in output.rglob("*") if path.is_file()]
    products = {path.with_suffix("") for path in found if path.suffix == ".fits"}
    return [
        path.name
        for path in found
        if not (path.parent == output and KEPT.fullmatch(path.name))
        and not (path.suffix in (".fits", ".log", ".asdf") and path.with_suffix("") in products)
    ]


def finished(output):
    """Inode and time of every product that stands in the folder."""
    return {
        str(path.relative_to(output)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in output.rglob("*.fits")
        if ".part" not in str(path)
    }


def parts(output):
    """Names of what is being written."""
    # os.walk does not mind folders that vanish meanwhile
    names = [name for _, folders, files in os.walk(output) for name in (*folders, *files)]
    return [name for name in names if name.endswith(".part")]


def until_begun(process):
    """Wait until a product is being made."""
    for line in process.stderr:
        if "begun" in line:
            break


def until_writing(process, output):
    """Wait until something is being written."""
    while process.poll() is None and not parts(output):
        time.sleep(0.001)


def survive(kills, seed, month, start, folder, expected, digests):
    """Kill runs at random instants, resume them and compare; how many kills fell into the writing of products."""
    generator = np.random.default_rng(seed)
    writing = 0
    rounds = 0
    output = folder / "0"
    before: dict[str, tuple[int, int]] = {}
    whole = 3.0  # seconds of a run
    for kill in range(kills):
        begun = time.monotonic()
        process = start(month, output)
        # in turn: while products are made, as one is written, and at any time of the run
        if kill % 3 == 0:
            until_begun(process)
            time.sleep(generator.uniform(0, whole / 2))
        elif kill % 3 == 1:
            until_writing(process, output)
            time.sleep(generator.uniform(0, 0.03))
        else:
            time.sleep(generator.uniform(0, whole))
        process.kill()
        process.communicate()
        writing += bool(parts(output))
        earlier, before = before, finished(output)
        assert {name: before.get(name) for name in earlier} == earlier, "a product was made twice"
        if len(before) == len(expected) or kill == kills - 1:
            process = start(month, output)
            _, errors = process.communicate()
            assert process.returncode == 0, errors
            after = finished(output)
            assert {name: after[name] for name in before} == before, "a product was made twice"
            assert digests(output) == expected
            assert stray(output) == []
            rounds += 1
            output, before = folder / str(rounds), {}
            whole = time.monotonic() - begun
    return writing


def test_killed_at_random_instants_and_resumed(two_weeks, two_weeks_made, start, tmp_path, digests):
    survive(5, 1, two_weeks, start, tmp_path, digests(two_weeks_made), digests)


@pytest.mark.faults
def test_killed_at_fifty_random_instants_and_resumed(two_weeks, two_weeks_made, start, tmp_path, digests):
    assert survive(50, 2, two_weeks, start, tmp_path, digests(two_weeks_made), digests) >= 5


def test_terminated_it_finishes_what_it_makes_and_records_the_end(
    two_weeks, two_weeks_made, start, tmp_path, digests
):
    process = start(two_weeks, tmp_path / "out")
    for line in process.stderr:
        if "begun" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    with Ledger(tmp_path / "out" / DEFAULT_NAME) as ledger:
        assert [one["status"] for one in ledger.runs()] == ["interrupted"]
    assert stray(tmp_path / "out") == []
    expected = digests(two_weeks_made)
    made = digests(tmp_path / "out")
    assert 0 < len(made) < len(expected)
    assert {name: expected[name] for name in made} == made


def test_of_two_runs_at_once_the_second_waits(two_weeks, two_weeks_made, start, tmp_path, digests):
    runs = [start(two_weeks, tmp_path / "out") for _ in range(2)]
    heard = [one.communicate()[1] for one in runs]
    assert [one.returncode for one in runs] == [0, 0]
    assert digests(tmp_path / "out") == digests(two_weeks_made)
    waited = ["is in use by process" in text for text in heard]
    assert sorted(waited) == [False, True]
    second, first = heard[waited.index(True)], heard[waited.index(False)]
    assert first.count(": made in") == len(digests(two_weeks_made))
    assert second.count(": made in") == 0


@contextmanager
def cluster(folder, names=("one", "two")):
    """A Dask scheduler and its workers, each a process of its own; gives the address and the workers."""
    started = []

    def begin(*words):
        process = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    try:
        scheduler = begin("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        address = next(
            match[0] for line in scheduler.stderr if (match := re.search(r"tcp://127\.0\.0\.1:\d+", line))
        )
        workers = [
            begin("dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name)
            for name in names
        ]
        yield address, workers
    finally:
        for process in reversed(started):
            process.kill()
            process.communicate()


def test_a_cluster_of_which_one_worker_is_killed(two_weeks, two_weeks_made, start, tmp_path, digests):
    pytest.importorskip("distributed", reason="dask.distributed is not installed")
    with cluster(tmp_path) as (address, workers):
        run = start(two_weeks, tmp_path / "out", "--scheduler", address)
        victim = workers[0]
        mine = f".{victim.pid}."
        while run.poll() is None and not any(mine in name for name in parts(tmp_path)):
            time.sleep(0.002)
        victim.kill()
        victim.wait()
        assert any(mine in name for name in parts(tmp_path)), "it was not killed while it wrote"
        _, errors = run.communicate(timeout=300)
        assert run.returncode == 0, errors
    assert digests(tmp_path / "out") == digests(two_weeks_made)
    assert stray(tmp_path / "out") == []


def test_a_cluster_without_workers_is_not_waited_for_for_ever(two_weeks, make, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    monkeypatch.setattr(schedulers, "FIRST_WORKER", 2)
    with cluster(tmp_path, ()) as (address, _), distributed.Client(address) as client:
        alone = schedulers.ClusterScheduler(client)
        monkeypatch.setattr("refstis.anneal.runner.open_scheduler", lambda *_: nullcontext(alone))
        result, notes = make(two_weeks, tmp_path / "out")
    assert result.exit_status == 1
    assert notes.made() == []
    assert len(result.failed) == 6
    assert all(one.reason.startswith("the cluster has no workers any more") for one in result.failed)


@pytest.mark.faults
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux")
@pytest.mark.parametrize("left", [8, 64])
def test_a_cluster_whose_workers_have_no_memory_left(
    two_weeks, two_weeks_made, start, tmp_path, digests, left
):
    """With 8 MB of address space workers die as they begin, with 64 MB they cannot begin a thread."""
    pytest.importorskip("distributed", reason="dask.distributed is not installed")
    with cluster(tmp_path) as (address, workers):
        time.sleep(5)  # until both have imported what they need and are known to the scheduler
        for worker in workers:
            pages = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + (left << 20)
            resource.prlimit(worker.pid, resource.RLIMIT_AS, (most, most))
        run = start(two_weeks, tmp_path / "out", "--scheduler", address)
        _, errors = run.communicate(timeout=300)
    assert run.returncode == 1, errors
    assert "Traceback" not in errors
    assert "FAILED: " in errors
    resumed = start(two_weeks, tmp_path / "out")
    _, errors = resumed.communicate()
    assert resumed.returncode == 0, errors
    assert digests(tmp_path / "out") == digests(two_weeks_made)
    assert stray(tmp_path / "out") == []
