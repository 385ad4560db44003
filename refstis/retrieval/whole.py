"""Files that appear whole or not at all, and what tells a whole FITS file from a part of one."""

import fcntl
import gzip
import os
import shutil
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from refstis.errors import OutputError
from refstis.retrieval.selection import header_facts

__all__ = [
    "StoppedError",
    "locked",
    "place_copy",
    "primary_facts",
    "publish",
    "unwritable",
    "why_cut_off",
    "why_not_whole",
]

_BLOCK = 2880
_CARD = 80
# A STIS primary header takes about 20 kB.
_LONGEST_HEADER = 1 << 20


class StoppedError(Exception):
    """The run was stopped while it waited for another one."""


def why_not_whole(path: str | Path) -> str | None:
    """What is wrong with the structure of a FITS file.

    Parameters
    ----------
    path : str or pathlib.Path
        A FITS file, ``.gz`` or not.

    Returns
    -------
    str or None
        What is wrong; None for a file whose HDUs, as many as NEXTEND says, end where the file ends.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return why_cut_off(stream)
    except (OSError, EOFError, zlib.error) as error:
        return f"cannot be read ({error})"


def why_cut_off(stream: IO[bytes] | gzip.GzipFile) -> str | None:
    """What is wrong with the structure of an open FITS file; it walks over the headers, not the pixels.

    Parameters
    ----------
    stream : file object
        Seekable, in binary mode.

    Returns
    -------
    str or None
        As `why_not_whole` does.
    """
    from refstis.datamodels.blocks import data_size
    from refstis.datamodels.damage import UNREADABLE

    length = stream.seek(0, os.SEEK_END)
    position, hdus, announced = 0, 0, None
    while position < length:
        try:
            header = _read_header(stream, position, b"XTENSION=" if hdus else b"SIMPLE  =")
            if header is None:
                return f"has no header at byte {position}" if hdus else "is not a FITS file"
            if hdus == 0 and isinstance(header.get("NEXTEND"), int):
                announced = header["NEXTEND"] + 1
            position = stream.tell() + -(-data_size(header) // _BLOCK) * _BLOCK
        except UNREADABLE as error:
            return f"has a broken header at byte {position} ({error})"
        hdus += 1
    if position != length:
        return f"is cut off: {length} bytes where its headers announce {position}"
    if announced is not None and hdus < announced:
        return f"is cut off: {hdus} HDUs where NEXTEND announces {announced}"
    return None if hdus else "is empty"


def primary_facts(stream: IO[bytes] | gzip.GzipFile) -> dict[str, Any] | None:
    """Read the primary header of a file that may still be growing.

    Parameters
    ----------
    stream : file object
        Seekable, in binary mode.

    Returns
    -------
    dict or None
        Its facts, as `~refstis.retrieval.selection.header_facts` gives them; None where no header ends yet.
    """
    from refstis.datamodels.damage import UNREADABLE

    try:
        header = _read_header(stream, 0, b"SIMPLE  =")
        return None if header is None else header_facts(header)
    except UNREADABLE:
        return None


def _read_header(stream: IO[bytes] | gzip.GzipFile, position: int, begin: bytes) -> Mapping[str, Any] | None:
    """Header that begins at this byte, the stream behind it; None where there is none, or not all of it."""
    from refstis.datamodels.blocks import parse_header

    stream.seek(position)
    text = b""
    while len(text) < _LONGEST_HEADER:
        block = stream.read(_BLOCK)
        if len(block) < _BLOCK or not (text or block.startswith(begin)) or not block.isascii():
            return None
        text += block
        if any(block[card : card + 8] == b"END     " for card in range(0, _BLOCK, _CARD)):
            return parse_header(text)
    return None


@contextmanager
def locked(part: Path, stop: threading.Event) -> Iterator[IO[bytes]]:
    """Open a growing file for this run alone; the lock ends with the process, however that ends.

    Parameters
    ----------
    part : pathlib.Path
        The file, made where it does not exist.
    stop : threading.Event
        Ends the wait for another run.

    Yields
    ------
    file object
        For reading and writing, at its beginning.

    Raises
    ------
    StoppedError
        If the wait was ended.
    """
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "r+b") as stream:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if stop.wait(0.1):
                        raise StoppedError from None
            try:
                still_there = os.path.samestat(os.fstat(descriptor), part.stat())
            except FileNotFoundError:
                still_there = False
            if still_there:  # else whoever held the lock has renamed or removed this file
                yield stream
                return


def publish(stream: IO[bytes], part: Path, final: Path) -> None:
    """Give a file its name, once it is on the disk.

    Parameters
    ----------
    stream : file object
        The open file.
    part, final : pathlib.Path
        Its name so far and the one it gets, in the same folder.
    """
    stream.flush()
    os.fsync(stream.fileno())
    part.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def place_copy(origin: Path, final: Path) -> None:
    """Copy a file so that it appears whole or not at all.

    Parameters
    ----------
    origin : pathlib.Path
        The file.
    final : pathlib.Path
        The copy's name; its folder exists.
    """
    part = final.with_name(f".{final.name}.part")
    with locked(part, threading.Event()) as target:
        target.truncate(0)
        with origin.open("rb") as source:
            shutil.copyfileobj(source, target, 1 << 20)
        publish(target, part, final)


def unwritable(path: Path, error: OSError) -> OutputError:
    """Error that says that a file or folder cannot be written.

    Parameters
    ----------
    path : pathlib.Path
        Which.
    error : OSError
        What the system says.

    Returns
    -------
    refstis.errors.OutputError
    """
    return OutputError(
        f"{path} cannot be written: {error.strerror or error}. Make room, allow it, or give another folder."
    )
