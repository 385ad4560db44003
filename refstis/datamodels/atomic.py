"""Files that appear whole or not at all, and their folders."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from refstis.errors import OutputError

__all__ = ["atomic_write", "make_folder"]


@contextmanager
def atomic_write(
    path: str | os.PathLike, mode: str = "wb", overwrite: bool = True, inputs: Iterable[os.PathLike] = ()
) -> Iterator[IO]:
    """Write a file under a temporary name in its folder, and rename it when it is complete and on disk.

    Parameters
    ----------
    path : str or os.PathLike
        Final name.
    mode : str
        "wb" for bytes or "w" for text (UTF-8).
    overwrite : bool
        Whether an existing file may be replaced.
    inputs : iterable of os.PathLike
        Files that must not be replaced in any case.

    Yields
    ------
    file object
        Where to write to.

    Raises
    ------
    OutputError
        Where the file must not be replaced or cannot be written.
    """
    path = Path(path)
    if os.path.exists(path):
        if not overwrite:
            raise OutputError(f"{path}: exists already. Choose another name or remove it.")
        if any(Path(i).exists() and path.samefile(i) for i in inputs):
            raise OutputError(
                f"{path}: is an input and would be overwritten. Choose another name for the output."
            )
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a new file of this process and thread, with the rights of any new file
        temporary = path.parent / f".{path.name[:80]}.{os.getpid()}.{secrets.token_hex(4)}.part"
        # the names of files, which logs tell, may be any bytes
        encoding, errors = (None, None) if "b" in mode else ("utf-8", "backslashreplace")
        with open(temporary, mode, encoding=encoding, errors=errors, opener=_create) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}). Check the folder, its rights and the free space."
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def _create(path, flags):
    return os.open(path, flags | os.O_EXCL, 0o666)


def make_folder(path: str | os.PathLike) -> Path:
    """Make a folder, and those above it, where it is not there.

    Parameters
    ----------
    path : str or os.PathLike
        Folder.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    OutputError
        Where it cannot be made.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path}: the folder cannot be made ({error.strerror or error}). Check the rights and the free space."
        ) from error
    return path
