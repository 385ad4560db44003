"""Downloads: whole or not there, resumed, each once, a few at once."""

import base64
import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from refstis.errors import OutputError
from refstis.retrieval import Selection
from refstis.retrieval.whole import why_not_whole

NAME = "oc4u5rfmq_raw.fits"


@pytest.fixture
def fetch(mast, source, tmp_path):
    def go(destination=tmp_path / "here", selection=None, **options):
        archive = source(**options)
        return archive.fetch(archive.find(selection or Selection()), destination)

    return go


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_what_comes_is_what_was_sent(mast, fetch, tmp_path):
    expected = {}
    for number in range(20):
        expected[f"oc4u{number:02d}fmq_raw.fits"] = mast.add(f"OC4U{number:02d}FMQ").content
    fetched = fetch()
    assert contents(tmp_path / "here") == expected
    assert {name: path.read_bytes() for name, path in fetched.paths.items()} == expected
    assert fetched.failed == fetched.excluded == []
    assert set(mast.begun.values()) == {1}
    assert mast.most <= 4

    again = fetch()
    assert set(again.paths) == set(expected)
    assert set(mast.begun.values()) == {1}


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_more_than_so_many_at_once(mast, fetch, patience, at_once):
    mast.rate = 2_000_000
    for number in range(12):
        mast.add(f"OC4U{number:02d}FMQ")
    fetch(patience=dataclasses.replace(patience, at_once=at_once))
    assert mast.most == at_once


@pytest.mark.parametrize("fault", [429, 500, 502, 503, 504])
def test_passing_failures_are_repeated(mast, fetch, fault):
    entry = mast.add("OC4U5RFMQ")
    mast.faults[NAME] = [fault, fault]
    assert fetch().paths[NAME].read_bytes() == entry.content


@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("validator", ["etag", None])
def test_truncated_bodies_are_continued(mast, fetch, tmp_path, announce, validator):
    mast.announce, mast.validator = announce, validator
    entry = mast.add("OC4U5RFMQ", size=300)
    mast.faults[NAME] = ["cut", "cut", "cut"]
    assert fetch().paths[NAME].read_bytes() == entry.content
    assert list(contents(tmp_path / "here")) == [NAME]
    assert mast.begun[NAME] == 1
    assert mast.served[NAME] < 1.1 * len(entry.content) + 3 * 65536


def test_without_ranges_a_truncated_body_is_fetched_from_its_begin(mast, fetch):
    mast.ranges = False
    entry = mast.add("OC4U5RFMQ", size=300)
    mast.faults[NAME] = ["cut", "cut"]
    assert fetch().paths[NAME].read_bytes() == entry.content
    assert mast.begun[NAME] == 3


def test_what_stays_broken_fails_alone_and_leaves_nothing_under_its_name(mast, fetch, tmp_path):
    good = mast.add("OC4U6RFMQ")
    for name in ("OC4U5RFMQ", "OC4U7RFMQ", "OC4U8RFMQ", "OC4U9RFMQ"):
        mast.add(name)
    half = mast.entries["OC4U8RFMQ"].content[:8640]
    mast.faults["oc4u5rfmq_raw.fits"] = [503] * 100
    mast.faults["oc4u7rfmq_raw.fits"] = [404]
    mast.faults["oc4u8rfmq_raw.fits"] = [half] * 100
    mast.faults["oc4u9rfmq_raw.fits"] = [b"<html>We are sorry</html>"] * 100
    fetched = fetch()
    assert list(fetched.paths) == ["oc4u6rfmq_raw.fits"]
    reasons = dict(fetched.failed)
    assert "answers 503" in reasons["oc4u5rfmq_raw.fits"]
    assert "answers 404" in reasons["oc4u7rfmq_raw.fits"]
    assert "cut off" in reasons["oc4u8rfmq_raw.fits"]
    assert "not a FITS file" in reasons["oc4u9rfmq_raw.fits"]
    there = contents(tmp_path / "here")
    assert {name for name in there if not name.startswith(".")} == {"oc4u6rfmq_raw.fits"}
    assert there["oc4u6rfmq_raw.fits"] == good.content


def test_an_archive_that_is_down_is_not_asked_for_every_file(mast, fetch, patience):
    for number in range(60):
        mast.add(f"OC4U{number:02d}FMQ")
        mast.faults[f"oc4u{number:02d}fmq_raw.fits"] = [503] * 10
    fetched = fetch(patience=dataclasses.replace(patience, at_once=2, attempts=2))
    assert len(fetched.failed) == 60
    assert sum("was stopped" in left.reason for left in fetched.failed) > 40


def test_size_in_the_catalogue_may_be_old_but_a_file_must_be_whole(mast, fetch, caplog):
    entry = mast.add("OC4U5RFMQ", listed_size=1234)
    assert fetch().paths[NAME].read_bytes() == entry.content
    assert "listed with 1234" in caplog.text
    mast.requests.clear()
    assert NAME in fetch().paths
    assert mast.begun[NAME] == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (
            "Content-MD5",
            lambda body: base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
        ),
        ("Digest", lambda body: f"sha-256={base64.b64encode(hashlib.sha256(body).digest()).decode()}"),
        ("Repr-Digest", lambda body: f"sha-512=:{base64.b64encode(hashlib.sha512(body).digest()).decode()}:"),
    ],
)
def test_checksums_are_verified(mast, fetch, field, value):
    entry = mast.add("OC4U5RFMQ")
    mast.headers[field] = value(entry.content)
    spoilt = entry.content[:-1] + b"!"
    mast.faults[NAME] = [spoilt]
    assert fetch().paths[NAME].read_bytes() == entry.content
    mast.entries.clear()
    mast.add("OC4U6RFMQ")
    mast.faults["oc4u6rfmq_raw.fits"] = [spoilt] * 10
    assert "checksum" in fetch().failed[0].reason


def test_checksum_that_the_caller_knows(mast, source, tmp_path):
    entry = mast.add("OC4U5RFMQ")
    archive = source()
    found = archive.find(Selection())
    right = f"sha256:{hashlib.sha256(entry.content).hexdigest()}"
    for checksum, failures in ((right, 0), (f"sha256:{'0' * 64}", 1)):
        found.files[0] = dataclasses.replace(found.files[0], checksum=checksum)
        (tmp_path / NAME).unlink(missing_ok=True)
        assert len(archive.fetch(found, tmp_path).failed) == failures


def test_another_exposure_under_the_name_is_refused(mast, fetch, raw):
    mast.add("OC4U5RFMQ", content=raw("oc4u6rfmq"))
    assert "another exposure, oc4u6rfmq" in fetch().failed[0].reason


def test_broken_files_of_that_name_are_replaced_and_whole_ones_kept(mast, fetch, tmp_path):
    entry = mast.add("OC4U5RFMQ")
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / NAME).write_bytes(entry.content[:5000])
    fetch()
    assert (folder / NAME).read_bytes() == entry.content
    mine = entry.content + bytes(2880)  # not whole: the archive's has another end
    (folder / NAME).write_bytes(mine)
    fetch()
    assert (folder / NAME).read_bytes() == entry.content


def interrupted(mast, fetch, folder, **options):
    """Leave a part behind, as a killed run does."""
    mast.faults[NAME] = ["cut"]
    mast.faults[NAME] += [404]
    fetched = fetch(**options)
    assert fetched.failed
    assert sorted(contents(folder)) == [f".{NAME}.part", f".{NAME}.part.json"]
    return (folder / f".{NAME}.part").stat().st_size


def test_a_part_is_continued_by_a_later_run(mast, fetch, tmp_path):
    entry = mast.add("OC4U5RFMQ", size=400)
    have = interrupted(mast, fetch, tmp_path / "here")
    assert have > 100_000
    mast.served.clear()
    assert fetch().paths[NAME].read_bytes() == entry.content
    assert mast.served[NAME] == len(entry.content) - have
    assert list(contents(tmp_path / "here")) == [NAME]


def test_a_part_of_another_version_is_not_continued(mast, fetch, raw, tmp_path):
    mast.add("OC4U5RFMQ", size=400)
    interrupted(mast, fetch, tmp_path / "here")
    newer = raw("oc4u5rfmq", size=400, OPUS_VER="HSTDP 2026_1")
    mast.entries.clear()
    mast.add("OC4U5RFMQ", content=newer)
    assert fetch().paths[NAME].read_bytes() == newer


@pytest.mark.parametrize("note", [None, b"", b"{}", b'{"origin": "x", "length": "?"}', b"\xff"])
def test_a_part_of_unknown_origin_is_not_continued(mast, fetch, tmp_path, note):
    entry = mast.add("OC4U5RFMQ", size=400)
    interrupted(mast, fetch, tmp_path / "here")
    folder = tmp_path / "here"
    (folder / f".{NAME}.part").write_bytes(b"rubbish" * 5000)
    if note is None:
        (folder / f".{NAME}.part.json").unlink()
    else:
        (folder / f".{NAME}.part.json").write_bytes(note)
    assert fetch().paths[NAME].read_bytes() == entry.content


def test_a_spoilt_part_is_noticed_and_fetched_again(mast, fetch, tmp_path):
    entry = mast.add("OC4U5RFMQ", size=400)
    interrupted(mast, fetch, tmp_path / "here")
    part = tmp_path / "here" / f".{NAME}.part"
    part.write_bytes(part.read_bytes()[:2880] + bytes(4000) + part.read_bytes()[6880:])
    assert fetch().paths[NAME].read_bytes() == entry.content


def test_a_folder_that_cannot_be_written_is_one_error(mast, fetch, tmp_path):
    mast.add("OC4U5RFMQ")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        fetch(tmp_path / "file" / "below")


def test_no_room_is_said_before_the_first_byte(mast, fetch):
    mast.add("OC4U5RFMQ", listed_size=10**18)
    with pytest.raises(OutputError, match="GB free"):
        fetch()
    assert not mast.begun


# A process that has imported everything, and forks a run for each line that it reads.
RUNS = """
import os, resource, signal, sys, traceback
import astroquery.mast
from refstis.errors import RefstisError
from refstis.retrieval import Mast, Selection, client, transfer
for line in sys.stdin:
    what, *arguments = line.split()
    if what == "wait":
        print(os.waitstatus_to_exitcode(os.waitpid(int(arguments[0]), 0)[1]), flush=True)
        continue
    url, folder, longest, message = arguments
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    with open(message, "w") as log:
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(longest), int(longest)))
            archive = Mast(url)
            found = archive.find(Selection(targets=("DARK",)))
            fetched = archive.fetch(found, folder)
            status = 0 if len(fetched.paths) == len(found.files) else 1
        except RefstisError as error:
            log.write(str(error))
            status = 2
        except BaseException:
            traceback.print_exc(file=log)
            status = 3
    os._exit(status)
"""


@pytest.fixture(scope="module")
def speak():
    """Tell the process that forks runs what to do, and hear what it says."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def say(*words):
        process.stdin.write(" ".join(str(word) for word in words) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield say
    process.communicate(timeout=30)


@pytest.fixture
def begin(speak, mast, tmp_path):
    def go(folder, longest=10**9):
        return speak("run", mast.url, folder, longest, tmp_path / "message")

    return go


def test_killed_five_times_200_files_come_whole_and_each_once(mast, begin, speak, tmp_path):
    """SIGKILL in the middle of downloads, with 503s and truncated bodies; the last run ends the work."""
    expected = {}
    for number in range(200):
        name = f"oc4{number:03d}fmq_raw.fits"
        expected[name] = mast.add(f"OC4{number:03d}FMQ", start=56000 + number / 100, size=300).content
        if number % 10 == 3:
            mast.faults[name] = [503]
        if number % 10 == 7:
            mast.faults[name] = ["cut"]
    size = len(next(iter(expected.values())))
    mast.rate = 4_000_000
    folder = tmp_path / "darks"
    parts = 0
    kills = (10, 45, 90, 130, 170)
    for kill_at in kills:
        process = begin(folder)
        deadline = time.monotonic() + 30
        while sum(mast.finished.values()) < kill_at and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(process, signal.SIGKILL)
        assert speak("wait", process) == -signal.SIGKILL
        for name, content in contents(folder).items():
            parts += name.endswith(".part") and len(content) > 0
            if not name.startswith("."):
                assert content == expected[name]
    assert parts > 0
    assert speak("wait", begin(folder)) == 0
    assert contents(folder) == expected
    # Each byte came once, but for what was on its way to the at most four downloads that a kill ended.
    assert sum(mast.served.values()) < 200 * size + len(kills) * 4 * size
    # What was cut off was continued, unless so little had come that there was nothing to continue.
    assert sum(begun - 1 for begun in mast.begun.values()) <= len(kills) * 4
    # What had come to its end was not asked for again, unless a kill came before its last bytes did.
    assert sum(finished - 1 for finished in mast.finished.values()) <= len(kills) * 4


def test_two_runs_on_one_folder_share_the_work(mast, begin, speak, tmp_path):
    for number in range(40):
        mast.add(f"OC4{number:03d}FMQ", start=56000 + number / 100)
    mast.rate = 400_000
    folder = tmp_path / "darks"
    both = begin(folder), begin(folder)
    assert [speak("wait", process) for process in both] == [0, 0]
    assert set(mast.begun.values()) == {1}
    assert len(contents(folder)) == 40


def test_a_full_disk_is_one_error_and_leaves_no_partial_file(mast, begin, speak, tmp_path):
    mast.add("OC4U5RFMQ", size=400)
    assert speak("wait", begin(tmp_path / "here", 100_000)) == 2
    assert NAME not in contents(tmp_path / "here")
    assert "File too large. Make room" in (tmp_path / "message").read_text()


def test_a_whole_file_is_told_from_its_parts(raw, tmp_path):
    content = raw("oc4u5rfmq")
    path = tmp_path / NAME
    path.write_bytes(content)
    assert why_not_whole(path) is None
    for length in [0, 1, 2880, *range(0, len(content), 2880)][1:]:
        if length < len(content):
            path.write_bytes(content[:length])
            assert why_not_whole(path) is not None, length
    path.write_bytes(content[:2880] + b"\xff" * 2880 + content[5760:])
    assert why_not_whole(path) is not None
    assert why_not_whole(tmp_path / "missing.fits").startswith("cannot be read")
