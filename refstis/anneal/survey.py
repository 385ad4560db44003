"""From a folder and a few words to a plan: what ``refstis plan`` and ``refstis run`` share."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from refstis.anneal.dates import parse_date
from refstis.anneal.exposures import Exclusion, Exposure, find_raws
from refstis.anneal.ledger import DEFAULT_NAME, Ledger
from refstis.anneal.plan import Plan, build_plan, compare_with_products
from refstis.anneal.policy import load_profile
from refstis.anneal.records import adopt_products, find_stale
from refstis.anneal.table import AnnealTable, read_table, shipped_table
from refstis.errors import ConfigurationError
from refstis.garbage import collection_paused

__all__ = ["Survey", "anneal_table", "open_ledger", "survey"]


def open_ledger(ledger: str | os.PathLike | None, output: str | os.PathLike, new: bool = True) -> Ledger:
    """Open the ledger that is asked for, or that of an output folder.

    Parameters
    ----------
    ledger : str, path-like or None
        URL of a data base or path of a SQLite file.
    output : path-like
        Where the ledger lies when none is asked for.
    new : bool
        Whether it may be made where it is not there.

    Returns
    -------
    Ledger
        Its `new` says whether it was made.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where there is none that may be used.
    """
    if ledger is None:
        return Ledger(Path(output) / DEFAULT_NAME, new)
    if "://" not in str(ledger) and not (folder := Path(ledger).absolute().parent).is_dir():
        raise ConfigurationError(
            f"{folder}: there is no such folder for the ledger; make it, or correct --ledger"
        )
    return Ledger(ledger, new)


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


class Survey:
    """What a plan is made from: exposures as they are now, anneals, profile and choices.

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
    month : str or tuple of str, optional
        Only months that begin in a calendar month (``2013-05``), the one of this name (``13134_26``), or the one
        around a date; of a pair, months that begin from one calendar month to another, both included.
    dates : tuple of str, optional
        Only exposures between two dates.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where an option names nothing.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None,
        output: str | os.PathLike,
        ledger: Ledger,
        *,
        anneals: str | os.PathLike | None = None,
        profile: str = "heritage",
        month: str | tuple[str, str] | None = None,
        dates: tuple[str, str] | None = None,
    ):
        self.folder = folder
        self.output = Path(output)
        self.ledger = ledger
        self.profile = load_profile(profile)
        self.table = anneal_table(anneals, ledger)
        self.month = month
        self.dates: tuple[float, float] | None = None
        if dates is not None:
            self.dates = (parse_date(dates[0]), parse_date(dates[1]))
            if self.dates[0] >= self.dates[1]:
                raise ConfigurationError(
                    f"--dates {dates[0]} {dates[1]}: the first date must come before the second"
                )
        self.exposures: list[Exposure] = []
        self.unreadable: list[Exclusion] = []

    @collection_paused()
    def look(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Look at the exposures.

        Parameters
        ----------
        progress : callable, optional
            Called with the number of files read and the number to be read.

        Raises
        ------
        refstis.errors.ConfigurationError
            Where there are no exposures.
        """
        if self.folder is not None:
            paths = find_raws(self.folder)
            if not paths:
                raise ConfigurationError(
                    f"{self.folder}: holds no raw exposures (*_raw.fits), in it or below"
                )
            self.exposures, self.unreadable = self.ledger.look(paths, progress)
        else:
            self.exposures = self.ledger.exposures()
            if not self.exposures:
                raise ConfigurationError(
                    f"{self.ledger.name}: knows no exposures yet; name a folder with raws, or another ledger "
                    "with --ledger"
                )

    @collection_paused()
    def plan(
        self, broken: Mapping[str, str] | None = None, unavailable: Mapping[str, str] | None = None
    ) -> Plan:
        """Plan the products.

        Parameters
        ----------
        broken : mapping, optional
            Path of an exposure that turned out to be bad, to the reason.
        unavailable : mapping, optional
            Identity of a product that cannot be made, to the reason.

        Returns
        -------
        Plan
            With the status of every product.
        """
        exposures = [
            replace(one, fault=broken[one.path]) if broken and one.path in broken else one
            for one in self.exposures
        ]
        plan = build_plan(
            exposures,
            self.table,
            self.profile,
            self.output,
            unreadable=self.unreadable,
            marks=self.ledger.marks(),
            month=self.month,
            dates=self.dates,
            unavailable=unavailable,
        )
        records = self.ledger.products([str(plan.path(node)) for node in plan.nodes.values()])
        compare_with_products(plan, {**records, **adopt_products(plan, records)})
        plan.stale = find_stale(plan)
        for one in plan.months:
            one.cautions += [
                f"{Path(stale).relative_to(one.month.name)} is there and not in this plan; it is left as it is"
                for stale in plan.stale
                if Path(stale).parts[0] == one.month.name
            ]
        return plan


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
    made = Survey(folder, output, ledger, anneals=anneals, profile=profile, month=month, dates=dates)
    made.look(progress)
    return made.plan()
