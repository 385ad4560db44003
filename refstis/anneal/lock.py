"""One run at a time in an output folder."""

import fcntl
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from refstis.errors import OutputError

__all__ = ["LOCK_NAME", "folder_lock"]

logger = logging.getLogger(__name__)

LOCK_NAME = ".refstis.lock"


@contextmanager
def folder_lock(folder: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Have an output folder for oneself, waiting for whoever has it.

    The operating system gives the lock back when its holder ends, in whatever way.

    Parameters
    ----------
    folder : pathlib.Path
        The output folder; it is made where needed.
    waiting : callable
        Called once with who has the folder, where one has to wait.

    Yields
    ------
    None
        While the folder is one's own.

    Raises
    ------
    refstis.errors.OutputError
        Where the folder cannot be written.
    """
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror}). Check its rights and the free space, or choose another "
            "folder with -o."
        ) from None
    try:
        try:
            _lock(descriptor, waiting)
        except OSError as error:
            # some network file systems know no locks; products appear whole and by content even so
            logger.warning(
                "%s: this file system has no locks (%s); see that no other run works here.",
                path,
                error.strerror,
            )
        holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        with suppress(OSError):  # only for the message to others; a full disk will be told of elsewhere
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, waiting: Callable[[str], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            holder = json.loads(os.pread(descriptor, 1000, 0))
            who = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
        except (ValueError, KeyError, TypeError):
            who = "another process"
        waiting(who)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
