"""From a folder and a few words to a plan: what ``refstis plan`` and ``refstis run`` share."""

import os
from collections.abc import Callable
from pathlib import Path

from refstis.anneal.dates import parse_date
from refstis.anneal.exposures import Exclusion, find_raws
from refstis.anneal.ledger import DEFAULT_NAME, Ledger
from refstis.anneal.plan import Plan, build_plan, compare_with_products
from refstis.anneal.policy import load_profile
from refstis.anneal.table import AnnealTable, read_table, shipped_table
from refstis.errors import ConfigurationError

__all__ = ["anneal_table", "open_ledger", "survey"]


def open_ledger(ledger: str | None, output: str | os.PathLike) -> Ledger:
    """Open the ledger that is asked for, or that of an output folder.

    Parameters
    ----------
    ledger : str or None
        URL of a data base or path of a SQLite file.
    output : path-like
        Where the ledger lies when none is asked for.

    Returns
    -------
    Ledger
        Made where it did not exist.
    """
    return Ledger(ledger if ledger is not None else Path(output) / DEFAULT_NAME)


def anneal_table(anneals: str | os.PathLike | None, ledger: Ledger | None = None) -> AnnealTable:
    """Read the anneal table that is asked for.

    Parameters
    ----------
    anneals : path-like or None
        A table of one's own, which is then the whole table.
    ledger : Ledger, optional
        Without a table of one's own, its anneals come on top of the shipped ones.

    Returns
    -------
    AnnealTable
        The anneals to plan with.
    """
    if anneals is not None:
        return read_table(anneals)
    additions = ledger.anneals() if ledger is not None else []
    return shipped_table().extended(additions) if additions else shipped_table()


def survey(
    folder: str | os.PathLike | None,
    output: str | os.PathLike,
    ledger: Ledger,
    *,
    anneals: str | os.PathLike | None = None,
    profile: str = "heritage",
    month: str | None = None,
    dates: tuple[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Plan:
    """Look at the raws of a folder and plan their products.

    Parameters
    ----------
    folder : path-like or None
        Searched with all folders below it; None for the exposures that the ledger knows.
    output : path-like
        Folder for the products. Nothing is written there.
    ledger : Ledger
        What it does not know yet of the raws is read and remembered.
    anneals : path-like, optional
        An anneal table of one's own.
    profile : str
        Name or folder of a profile.
    month : str, optional
        Only months that begin in a calendar month (``2013-05``), the one of this name (``13134_26``), or the one
        around a date.
    dates : tuple of str, optional
        Only exposures between two dates.
    progress : callable, optional
        Called with the number of files read and the number to be read.

    Returns
    -------
    Plan
        With the status of every product.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where there are no exposures, or an option names nothing.
    """
    chosen = load_profile(profile)
    table = anneal_table(anneals, ledger)
    interval = None
    if dates is not None:
        interval = (parse_date(dates[0]), parse_date(dates[1]))
        if interval[0] >= interval[1]:
            raise ConfigurationError(
                f"--dates {dates[0]} {dates[1]}: the first date must come before the second"
            )
    unreadable: list[Exclusion] = []
    if folder is not None:
        paths = find_raws(folder)
        if not paths:
            raise ConfigurationError(f"{folder}: holds no raw exposures (*_raw.fits), in it or below")
        exposures, unreadable = ledger.look(paths, progress)
    else:
        exposures = ledger.exposures()
        if not exposures:
            raise ConfigurationError(
                f"{ledger.name}: knows no exposures yet; name a folder with raws, or another ledger with --ledger"
            )
    plan = build_plan(
        exposures,
        table,
        chosen,
        output,
        unreadable=unreadable,
        marks=ledger.marks(),
        month=month,
        dates=interval,
    )
    compare_with_products(plan, ledger.products([str(plan.path(node)) for node in plan.nodes.values()]))
    return plan
