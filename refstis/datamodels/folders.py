"""Folders that are looked through for exposures."""

from __future__ import annotations

import os
from collections.abc import Iterator

from refstis.errors import InputError, printable

__all__ = ["walk_folders"]


def walk_folders(root: str | os.PathLike, follow_links: bool = True) -> Iterator[tuple[str, list[str]]]:
    """A folder and all folders below it, each of them once, also where links lead in a circle.

    Parameters
    ----------
    root : str or os.PathLike
        The folder.
    follow_links : bool
        Whether symbolic links to folders are followed.

    Yields
    ------
    folder : str
        A folder, before those below it, which come in order of their names.
    names : list of str
        The files in it, in order.

    Raises
    ------
    InputError
        Where a folder cannot be listed: what lies in it would be missed without a word. One that is not there, or
        vanishes meanwhile, has nothing to give.
    """
    visited = set()
    for folder, subfolders, names in os.walk(os.fspath(root), onerror=_refuse, followlinks=follow_links):
        try:
            status = os.stat(folder)
        except OSError as error:
            _refuse(error)
            subfolders.clear()
            continue
        if (status.st_dev, status.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subfolders.sort()
        yield folder, sorted(names)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise InputError(
            f"{printable(error.filename)}: cannot be listed ({error.strerror}), so that exposures in it would be "
            "missed. Give yourself the right to read it, or name folders without it."
        ) from error
