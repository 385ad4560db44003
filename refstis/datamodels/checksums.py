"""Checksums of files."""

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["ChecksumsAhead", "checksum_of", "file_checksum", "file_state", "remember_checksum"]

# Bytes that are read and summed up at a time: few pieces, as after each of them another thread may be in the
# interpreter, and the thread that takes the checksum has to wait until it leaves.
PIECE = 2**24

# Checksums of files in the states that they were seen in, and how many are remembered.
_checksums: dict[tuple[Path, tuple[int, int, int]], str] = {}
MOST_CHECKSUMS = 4096


def checksum_of(path: str | os.PathLike) -> str:
    """Checksum of a file's bytes.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    str
        sha256 in hexadecimal.

    Raises
    ------
    OSError
        Where it cannot be read, or is no regular file: a named pipe would make everything wait for ever.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # of a folder the system says what it is
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    digest = hashlib.sha256()
    with Path(path).open("rb", 0) as stream:
        piece = memoryview(bytearray(min(PIECE, os.fstat(stream.fileno()).st_size + 1)))
        while length := stream.readinto(piece):
            digest.update(piece[:length])
    return digest.hexdigest()


def file_checksum(path: str | os.PathLike) -> str:
    """Checksum of a file, which is read once for each state of it: in a month every bias goes into two products.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    str
        sha256 in hexadecimal.

    Raises
    ------
    OSError
        Where it cannot be read.
    """
    state = file_state(path)
    known = _checksums.get((Path(path), state))
    if known is None:
        known = checksum_of(path)
        # of a file that was changed meanwhile nobody knows which state this is the checksum of
        if file_state(path) == state:
            remember_checksum(path, known)
    return known


def remember_checksum(path: str | os.PathLike, checksum: str) -> None:
    """Spare the reading of a file whose checksum is known.

    Parameters
    ----------
    path : path-like
        The file, as it was when the checksum was taken.
    checksum : str
        sha256 in hexadecimal.
    """
    while len(_checksums) >= MOST_CHECKSUMS:
        _checksums.pop(next(iter(_checksums)), None)
    _checksums[Path(path), file_state(path)] = checksum


def file_state(file: str | os.PathLike | int) -> tuple[int, int, int]:
    """What another version of a file has otherwise.

    Parameters
    ----------
    file : path-like or int
        The file, or its descriptor.

    Returns
    -------
    tuple of int
        Time of its last change (ns), size (bytes) and inode.

    Raises
    ------
    OSError
        Where there is none.
    """
    status = os.stat(file)
    return status.st_mtime_ns, status.st_size, status.st_ino


class ChecksumsAhead:
    """Checksums that are asked for later, taken while something else goes on; as a context, no longer than that."""

    def __init__(self):
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, paths: Iterable[str | os.PathLike]) -> None:
        """Begin to take them, in a thread.

        Parameters
        ----------
        paths : iterable of path-like
            The files; the thread goes through it.
        """
        self._thread = threading.Thread(target=self._take, args=(paths,), daemon=True)
        self._thread.start()

    def _take(self, paths):
        # who needs them asks again, and is told
        with suppress(OSError):
            for path in paths:
                if self._ended.is_set():
                    return
                with suppress(OSError):
                    file_checksum(path)

    def wait(self) -> None:
        """Wait for the last one."""
        if self._thread is not None:
            self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.wait()
