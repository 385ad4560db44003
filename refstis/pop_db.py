"""The data base of anneals, from the exposures that the anneal monitor takes before and after each.

The folder of the monitor is ``anneal_directory`` of the configuration file, the data base its ``anneal_database``.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from refstis.anneal.table import find_anneals
from refstis.datamodels.settings import DEFAULT_FILE, Settings
from refstis.errors import ConfigurationError, OutputError

__all__ = ["get_directories", "grab_anneal_mjds", "main", "pop_database"]

logger = logging.getLogger(__name__)


def get_directories() -> list[str]:
    """Folders of the anneal monitor that hold the exposures of one anneal.

    Returns
    -------
    list of str
        Those with exactly two CR-rejected exposures (``?????????_crj.fits``), by name, each with a slash at its end.

    Raises
    ------
    ConfigurationError
        Where the configuration file has no ``anneal_directory``, or that is no folder.
    """
    return monitor_folders(Settings.open(DEFAULT_FILE))


def grab_anneal_mjds() -> list[tuple[Any, ...]]:
    """Anneals of the monitor's exposures.

    Returns
    -------
    list of tuple
        Proposal, visit of the anneal itself, begin and end (MJD).
    """
    return monitored_anneals(Settings.open(DEFAULT_FILE))


def pop_database(anneal_info: Iterable[tuple[Any, ...]]) -> None:
    """Replace the table of anneals in the data base.

    Parameters
    ----------
    anneal_info : list of tuple
        Proposal, visit, begin and end of each anneal, as `grab_anneal_mjds` returns them.

    Raises
    ------
    OutputError
        Where the data base cannot be written; it then stays as it was.
    """
    write_database(Settings.open(DEFAULT_FILE).anneal_database, anneal_info)


def main() -> None:
    """Look for anneals and write the data base."""
    pop_database(grab_anneal_mjds())


def monitor_folders(settings: Settings) -> list[str]:
    """Folders with a pair of exposures, of given settings.

    Parameters
    ----------
    settings : Settings
        The configuration.

    Returns
    -------
    list of str
        The folders, with a separator at their ends.
    """
    if not settings.anneal_directory:
        raise ConfigurationError(
            "the configuration has no anneal_directory: name the folder of the anneal monitor."
        )
    root = Path(settings.anneal_directory)
    if not root.is_dir():
        raise ConfigurationError(f"anneal_directory: {root} is not a folder.")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    return [f"{folder}{os.sep}" for folder in folders if len(list(folder.glob("?????????_crj.fits"))) == 2]


def monitored_anneals(settings: Settings) -> list[tuple[Any, ...]]:
    """Anneals of the pairs of exposures, of given settings.

    Parameters
    ----------
    settings : Settings
        The configuration.

    Returns
    -------
    list of tuple
        Programme, visit, begin and end (MJD) of each.
    """
    found = []
    for folder in monitor_folders(settings):
        anneals = find_anneals(folder)
        if not anneals:
            logger.warning("%s: its exposures lack the keywords of an anneal; left out.", folder)
        found += [(_whole(one.proposal), _whole(one.visit), one.begin, one.end) for one in anneals]
    return found


def _whole(text: str) -> int | str | None:
    return int(text) if text.isdecimal() else text or None


def write_database(path: str | os.PathLike, anneal_info: Iterable[tuple[Any, ...]]) -> None:
    """Replace the table in one transaction: who reads meanwhile sees the old one or the new one.

    Parameters
    ----------
    path : path-like
        The SQLite file.
    anneal_info : iterable of tuple
        Programme, visit, begin and end (MJD) of each anneal.
    """
    rows = [(number, *row) for number, row in enumerate(anneal_info, start=1)]
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DROP TABLE IF EXISTS anneals")
            connection.execute(
                "CREATE TABLE anneals "
                "(id INTEGER PRIMARY KEY, proposid INTEGER, visit REAL, start REAL, end REAL)"
            )
            connection.executemany("INSERT INTO anneals VALUES (?, ?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise OutputError(
            f"{path}: the table of anneals cannot be written ({error}). It stays as it was."
        ) from None
    logger.info("%s: %d anneals.", path, len(rows))
