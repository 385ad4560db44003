"""Files over HTTP: resumed, verified, a few at once, and whole or not there at all.

A file grows as ``.<name>.part`` in its destination and gets its name only when it is complete, verified and
on the disk. A part that a killed run left is continued where it ended, if the archive still holds the same
file (its ETag or date of change is kept beside the part). The part is locked, so that two runs on one folder
fetch each file once.
"""

import base64
import binascii
import hashlib
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import requests

from refstis.errors import OutputError
from refstis.retrieval.client import PASSING, Patience, cause, session
from refstis.retrieval.selection import ArchiveFile, Fetched, Left, Remember, Selection
from refstis.retrieval.whole import (
    StoppedError,
    locked,
    primary_facts,
    publish,
    unwritable,
    why_cut_off,
    why_not_whole,
)

__all__ = ["download"]

log = logging.getLogger("refstis.retrieval")

# What one read asks for, and so the most that is lost of a body that breaks off.
_CHUNK = 1 << 14
# A STIS primary header takes about 20 kB.
_LONGEST_HEADER = 1 << 20

_Advance = Callable[[int], None]


class _FailedError(Exception):
    """A file that cannot be had."""


class _UnreachableError(_FailedError):
    """A file that cannot be had, and it seems no other either."""


class _BrokenError(Exception):
    """A transfer that broke off; another one may continue it."""


class _RefusedError(Exception):
    """A file whose header says that it is not wanted."""


@dataclass(frozen=True)
class _Job:
    """What all transfers of one call share."""

    address: Callable[[ArchiveFile], str]
    destination: Path
    selection: Selection
    patience: Patience
    stop: threading.Event
    advance: _Advance


def download(
    files: Sequence[ArchiveFile],
    address: Callable[[ArchiveFile], str],
    destination: str | Path,
    selection: Selection,
    patience: Patience,
    *,
    token: str | None = None,
    remember: Remember | None = None,
    progress: bool = False,
) -> Fetched:
    """Fetch files, a few at once.

    Parameters
    ----------
    files : sequence of ArchiveFile
        What to fetch; each name once.
    address : callable
        Gives the URL of a file.
    destination : str or pathlib.Path
        The folder, made where it does not exist. Whole files that are there already are kept.
    selection : Selection
        Its header criteria are applied as soon as a primary header has come; the rest of an unwanted file is
        not fetched.
    patience : Patience
        How often, how long, how many at once.
    token : str, optional
        MAST's token.
    remember : callable, optional
        Called in this thread with a file name and its header facts.
    progress : bool, optional
        Show a bar on stderr.

    Returns
    -------
    Fetched
        One file that fails does not stop the others.

    Raises
    ------
    refstis.errors.OutputError
        If the destination cannot be written to, or has no room.
    """
    destination = Path(destination)
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(destination, error) from error
    _check_room(files, destination)
    fetched, stop, local = Fetched(), threading.Event(), threading.local()
    unreachable = 0

    def work(transfer: "_Transfer") -> Path:
        if not hasattr(local, "session"):
            local.session = session(patience, token)
        return transfer.run(local.session)

    with _bar(files, progress) as (advance, next_file), ThreadPoolExecutor(patience.at_once) as pool:
        job = _Job(address, destination, selection, patience, stop, advance)
        transfers = [_Transfer(file, job) for file in files]
        futures = {pool.submit(work, transfer): transfer for transfer in transfers}
        try:
            for future in as_completed(futures):
                transfer = futures[future]
                name = transfer.file.filename
                try:
                    fetched.paths[name] = future.result()
                    unreachable = 0
                except _RefusedError as refused:
                    fetched.excluded.append(Left(name, str(refused)))
                    log.info("%s: left out, it %s.", name, refused)
                except _FailedError as error:
                    fetched.failed.append(Left(name, str(error)))
                    log.error("%s: %s.", name, error)  # noqa: TRY400 - expected, and said in full
                    unreachable += isinstance(error, _UnreachableError)
                    if unreachable >= 2 * patience.at_once and not stop.is_set():
                        log.error("The archive cannot be reached: no more files are tried.")  # noqa: TRY400
                        stop.set()
                if remember is not None and transfer.facts is not None:
                    remember(name, transfer.facts)
                next_file()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return fetched


class _Transfer:
    """One file on its way."""

    def __init__(self, file: ArchiveFile, job: _Job):
        self.file, self.job = file, job
        self.final = job.destination / file.filename
        self.part = job.destination / f".{file.filename}.part"
        self.note = job.destination / f".{file.filename}.part.json"
        self.facts: dict[str, Any] | None = None
        self.announced: int | None = None  # length of the whole file, as its server says
        self.origin: str | None = None  # ETag or date of change of the file that the part is of
        self.digests: dict[str, bytes] = {}

    def run(self, client: requests.Session) -> Path:
        """Bring the file, or raise one of the four exceptions above, or OutputError."""
        try:
            if self._is_there():
                self._forget()  # what a kill between two steps may have left
                return self._keep()
            with locked(self.part, self.job.stop) as stream:
                if self._is_there():  # another run was faster
                    self._forget()
                    return self._keep()
                self._take_up(stream)
                self._receive(stream, client)
                wrong = self._what_is_wrong(stream)
                if wrong is not None:
                    log.warning("%s: %s; fetched again.", self.file.filename, wrong)
                    self._start_over(stream)
                    self._receive(stream, client)
                    wrong = self._what_is_wrong(stream)
                if wrong is not None:
                    self._forget()
                    raise _FailedError(f"{wrong}, twice")
                publish(stream, self.part, self.final)
                self.note.unlink(missing_ok=True)
        except StoppedError as error:
            raise _FailedError("not fetched, the run was stopped") from error
        except OSError as error:
            raise unwritable(self.final, error) from error
        log.info("%s: fetched, %s bytes.", self.file.filename, self.announced or "?")
        return self.final

    def _is_there(self) -> bool:
        """Whether a whole file already bears the name."""
        try:
            size = self.final.stat().st_size
        except FileNotFoundError:
            return False
        wrong = why_not_whole(self.final)
        if wrong is not None:
            log.warning("%s in %s %s; fetched again.", self.final.name, self.final.parent, wrong)
            return False
        if self.file.size not in (None, size):
            log.warning(
                "%s has %d bytes, the archive's has %d; it is kept. Remove it to have it fetched again.",
                self.final,
                size,
                self.file.size,
            )
        return True

    def _keep(self) -> Path:
        with self.final.open("rb") as stream:
            self.facts = primary_facts(stream)
            self.job.advance(stream.seek(0, os.SEEK_END))
        self._judge()
        return self.final

    def _take_up(self, stream: IO[bytes]) -> None:
        """Continue a part whose origin is known; without that, two versions of a file could be mixed."""
        have = stream.seek(0, os.SEEK_END)
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            self.origin, self.announced = str(note["origin"]), int(note["length"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self.origin = self.announced = None
        if have == 0 or self.announced is None or have > self.announced:
            self.job.advance(have)  # _start_over takes it back
            self._start_over(stream)
        else:
            log.info("%s: continued at byte %d.", self.file.filename, have)
            self.job.advance(have)
            self._look(stream)

    def _start_over(self, stream: IO[bytes]) -> None:
        self.job.advance(-stream.seek(0, os.SEEK_END))
        stream.truncate(0)
        stream.seek(0)
        self.note.unlink(missing_ok=True)
        self.origin = self.announced = self.facts = None
        self.digests = {}

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _receive(self, stream: IO[bytes], client: requests.Session) -> None:
        """Ask until the body is complete, or until nothing new comes any more."""
        failures, reached = 0, stream.seek(0, os.SEEK_END)
        while True:
            try:
                return self._ask(stream, client)
            except _BrokenError as error:
                have = stream.seek(0, os.SEEK_END)
                # Only a chunk more than ever before counts as progress, so the loop ends.
                failures = 1 if have >= reached + _CHUNK else failures + 1
                reached = max(reached, have)
                if failures >= self.job.patience.attempts:
                    raise _FailedError(f"broke off {failures} times at byte {have}: {error}") from error
                log.info("%s: broke off at byte %d (%s).", self.file.filename, have, error)
                self.job.stop.wait(self.job.patience.pause(failures))

    def _ask(self, stream: IO[bytes], client: requests.Session) -> None:
        """One request, for what is missing behind the part."""
        have = stream.seek(0, os.SEEK_END)
        if have and have == self.announced:
            return
        headers = {}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.origin:
                headers["If-Range"] = self.origin
        self._check_stop()
        url = self.job.address(self.file)
        host = url.split("/")[2]
        try:
            answer = client.get(url, headers=headers, stream=True)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _UnreachableError(f"{host} cannot be reached ({cause(error)})") from error
        except requests.RequestException as error:
            raise _FailedError(f"cannot be fetched ({cause(error)})") from error
        with answer:
            self._prepare(stream, answer, have, host)
            try:
                for chunk in answer.iter_content(_CHUNK):
                    self._check_stop()
                    stream.write(chunk)
                    self.job.advance(len(chunk))
                    if self.facts is None:
                        self._look(stream)
            except requests.RequestException as error:
                raise _BrokenError(f"the connection was lost, {cause(error)}") from error
        have = stream.seek(0, os.SEEK_END)
        if self.announced is not None:
            expected = self.announced
        else:  # the end of the connection was the end of the body, or it was cut
            expected = self.file.size if self.file.size is not None and why_cut_off(stream) else have
        if have < expected:
            raise _BrokenError(f"{have} of {expected} bytes came")

    def _prepare(self, stream: IO[bytes], answer: requests.Response, have: int, host: str) -> None:
        """Judge the head of an answer, and make the part ready for its body."""
        status = answer.status_code
        if status in (401, 403):
            raise _FailedError(
                f"{host} refuses it ({status} {answer.reason}): it may be in its exclusive-access period; "
                "the token of somebody entitled is taken from MAST_API_TOKEN or the keyring"
            )
        if status in PASSING:
            raise _UnreachableError(f"{host} answers {status} {answer.reason}, again and again")
        if status == 416 or (status == 206 and not self._continues(answer, have)):
            self._start_over(stream)
            raise _BrokenError("the archive did not continue where the part ends")
        if status not in (200, 206):
            raise _FailedError(f"{host} answers {status} {answer.reason}")
        if status == 200:
            if have:
                self._start_over(stream)
            self.announced = _number(answer.headers.get("Content-Length"))
        elif self.announced is None:
            self.announced = _number(answer.headers["Content-Range"].rpartition("/")[2])
        self.digests = _digests(answer)
        origin = _origin(answer)
        if origin is not None and self.announced is not None and origin != self.origin:
            self.origin = origin
            temporary = self.note.with_suffix(".new")
            temporary.write_text(json.dumps({"origin": origin, "length": self.announced}), encoding="utf-8")
            temporary.replace(self.note)

    def _continues(self, answer: requests.Response, have: int) -> bool:
        """Whether a 206 brings the bytes behind the part, of the same file."""
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not match or int(match[1]) != have:
            return False
        if self.origin is not None and _origin(answer) not in (None, self.origin):
            return False
        return self.announced is None or match[2] in ("*", str(self.announced))

    def _look(self, stream: IO[bytes]) -> None:
        """Read the primary header as soon as it has come, and stop where the exposure is not wanted."""
        end = stream.seek(0, os.SEEK_END)
        self.facts = primary_facts(stream)
        stream.seek(end)
        if self.facts is None:
            if end > _LONGEST_HEADER:
                self._forget()
                raise _FailedError(f"is no FITS file: no header ends in its first {end} bytes")
            return
        try:
            self._judge()
        except _RefusedError:
            self._forget()
            raise

    def _judge(self) -> None:
        reason = self.job.selection.refusal(self.facts or {})
        if reason is not None:
            raise _RefusedError(reason)

    def _what_is_wrong(self, stream: IO[bytes]) -> str | None:
        """Compare what came with all that is known of the file."""
        size = stream.seek(0, os.SEEK_END)
        if self.announced not in (None, size):
            return f"has {size} bytes where its server announced {self.announced}"
        wrong = why_cut_off(stream)
        if wrong is not None:
            return wrong
        for algorithm, digest in self._expected_digests():
            if _digest(stream, algorithm) != digest:
                return f"has not the {algorithm} checksum that it should have"
        rootname = str((self.facts or {}).get("ROOTNAME", self.file.rootname)).lower()
        if rootname != self.file.rootname:
            return f"is another exposure, {rootname}"
        if self.file.size not in (None, size):
            # The catalogue may be older than the file. Pixels cannot be missing: the structure is whole.
            log.warning("%s: whole with %d bytes, listed with %d.", self.file.filename, size, self.file.size)
        return None

    def _expected_digests(self) -> Iterator[tuple[str, bytes]]:
        yield from self.digests.items()
        if self.file.checksum:
            algorithm, _, digits = self.file.checksum.partition(":")
            yield algorithm, bytes.fromhex(digits)

    def _check_stop(self) -> None:
        if self.job.stop.is_set():
            raise StoppedError


def _origin(answer: requests.Response) -> str | None:
    """What If-Range may compare: a strong ETag, else the date of change."""
    etag = answer.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")


def _digests(answer: requests.Response) -> dict[str, bytes]:
    """Checksums of the whole file that an answer carries: Repr-Digest, Digest, Content-MD5."""
    found = {}
    fields = ",".join(answer.headers.get(name, "") for name in ("Repr-Digest", "Digest"))
    given = dict(re.findall(r"([A-Za-z0-9-]+)=:?([A-Za-z0-9+/]+=*)", fields))
    if answer.status_code == 200 and "Content-MD5" in answer.headers:
        given["md5"] = answer.headers["Content-MD5"]
    for name, value in given.items():
        algorithm = {"sha-512": "sha512", "sha-256": "sha256", "md5": "md5"}.get(name.lower())
        if algorithm is None:
            continue
        try:
            found[algorithm] = base64.b64decode(value, validate=True)
        except binascii.Error:
            log.warning("The archive sends a %s checksum that is none: %s.", name, value)
    return found


def _digest(stream: IO[bytes], algorithm: str) -> bytes:
    stream.seek(0)
    value = hashlib.new(algorithm, usedforsecurity=False)
    while block := stream.read(1 << 20):
        value.update(block)
    return value.digest()


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _check_room(files: Sequence[ArchiveFile], destination: Path) -> None:
    """Say before the first byte that the files will not fit."""
    missing = 0
    for file in files:
        for name in (file.filename, f".{file.filename}.part"):
            try:
                missing -= (destination / name).stat().st_size
            except FileNotFoundError:
                continue
        missing += file.size or 0
    free = shutil.disk_usage(destination).free
    if missing > free:
        raise OutputError(
            f"{destination} has {free / 1e9:.2f} GB free and the exposures need {missing / 1e9:.2f} GB: "
            "make room or give another folder."
        )


@contextmanager
def _bar(files: Sequence[ArchiveFile], shown: bool) -> Iterator[tuple[_Advance, Callable[[], None]]]:
    """A progress bar on stderr: one function takes bytes, the other counts files."""
    if not shown:
        yield (lambda _bytes: None), (lambda: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    total = sum(file.size or 0 for file in files) or None
    done = 0
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"0 of {len(files)} files", total=total)

        def next_file():
            nonlocal done
            done += 1
            progress.update(task, description=f"{done} of {len(files)} files")

        yield (lambda count: progress.advance(task, count)), next_file
