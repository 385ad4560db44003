"""`refstis anneals`: when the CCD was annealed, and which month a date belongs to."""

from pathlib import Path
from typing import Annotated

import typer

from refstis.commands.options import LedgerFolder

__all__ = ["app"]

app = typer.Typer(no_args_is_help=False, help="When the CCD was annealed, and the months between.")

Anneals = Annotated[
    Path | None,
    typer.Option("--anneals", metavar="FILE", help="Table of your own (CSV, YAML, anneal_info.db)."),
]
LedgerUrl = Annotated[
    str | None,
    typer.Option("--ledger", metavar="URL", help="Ledger whose anneals come on top of the shipped ones."),
]


@app.callback(invoke_without_command=True)
def anneals(context: typer.Context) -> None:
    """When the CCD was annealed, and the months between."""
    if context.invoked_subcommand is None:
        list_anneals()


@app.command("list")
def list_anneals(
    table: Anneals = None,
    ledger: LedgerUrl = None,
    output: LedgerFolder = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all anneals, with the name of the month that each one closes."""
    known = _table(table, ledger, output)
    if json:
        from json import dumps

        print(dumps([{**one.row(), "closes": one.name} for one in known], indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    from refstis.anneal.display import console_for_tables

    shown = Table(box=None, pad_edge=False)
    for name in ("begin (UTC)", "end (UTC)", "closes month", "source", "remark"):
        shown.add_column(name, no_wrap=name != "remark")
    for one in known:
        row = one.row()
        end = row["end"].partition(".")[0] or "unknown"
        shown.add_row(
            row["begin"].partition(".")[0], end, *(Text(text) for text in (one.name, one.source, one.remark))
        )
    console_for_tables().print(shown)


@app.command("at")
def at(
    moment: Annotated[
        str, typer.Argument(metavar="DATE|MJD|FILE", help="A date in UTC, an MJD, or an exposure.")
    ],
    table: Anneals = None,
    ledger: LedgerUrl = None,
    output: LedgerFolder = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which month a date or an exposure belongs to, and which week of it."""
    from refstis.anneal.dates import isoformat
    from refstis.anneal.periods import divide_month, period_index
    from refstis.anneal.table import Anneal

    mjd = _moment(moment)
    found = _table(table, ledger, output).at(mjd)
    facts: dict[str, str | float | bool | None] = {"date": isoformat(mjd), "mjd": mjd}
    if isinstance(found, Anneal):
        facts |= {"during": found.name, "begin": isoformat(found.begin), "end": isoformat(found.last)}
        sentence = (
            f"{facts['date']} lies within the anneal of {facts['begin']} to {facts['end']}, in no month."
        )
        if found.remark:
            sentence += f" ({found.remark})"
    else:
        begin = None if found.begin is None else isoformat(found.begin)
        end = None if found.end is None else isoformat(found.end)
        facts |= {"month": found.name, "begin": begin, "end": end, "provisional": found.provisional}
        sentence = (
            f"{facts['date']} lies in the month {found.name}: {begin or 'unknown'} to {end or 'not over'}"
        )
        if found.begin is not None and found.end is not None:
            for mode, word in (("WK", "week"), ("BIWK", "biweek")):
                periods = divide_month(found.begin, found.end, mode)
                period = periods[period_index(periods, [mjd])[0]]
                facts[word] = period.name
                sentence += f"; {period.name} ({isoformat(period.begin)} to {isoformat(period.end)})"
        sentence += "."
        if found.opening is not None and found.provisional and mjd - found.opening.last > 45:
            days = mjd - found.opening.last
            sentence += f" The table's last anneal was {days:.0f} days before: name a newer table with --anneals FILE."
    if json:
        from json import dumps

        print(dumps(facts, indent=1))
    else:
        print(sentence)


@app.command("add")
def add(
    begin: Annotated[str, typer.Argument(help="Begin of the anneal: date and time in UTC, or MJD.")],
    end: Annotated[str | None, typer.Argument(help="Its end; may be left out where it is not known.")] = None,
    proposal: Annotated[str, typer.Option(help="Number of the anneal's programme.")] = "",
    visit: Annotated[str, typer.Option(help="The anneal's own visit.")] = "",
    source: Annotated[str, typer.Option(help="Where the dates come from.")] = "by hand",
    remark: Annotated[str, typer.Option(help="What else is to be said.")] = "",
    table: Anneals = None,
    ledger: LedgerUrl = None,
    output: LedgerFolder = Path(),
) -> None:
    """Add one anneal to a table of your own (--anneals) or to a ledger; nothing is ever removed.

    In a ledger, an anneal that is known already is replaced by what was added last.
    """
    from refstis.anneal.dates import parse_date
    from refstis.anneal.table import Anneal

    last = None if end is None else parse_date(end)
    number = visit.zfill(2) if visit else ""
    _add([Anneal(parse_date(begin), last, proposal, number, source, remark)], table, ledger, output)


@app.command("refresh")
def refresh(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="Folder with the anneal monitor's CR-rejected exposures (*_crj.fits), in it or below; without it the "
            "archive is asked.",
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Ask the archive only for exposures from then on.")
    ] = None,
    table: Anneals = None,
    ledger: LedgerUrl = None,
    output: LedgerFolder = Path(),
) -> None:
    """Learn anneals from the anneal monitor's exposures before and after each: of a folder, or in the archive.

    In the archive the titles of their programmes tell; nothing is downloaded.
    """
    from refstis.anneal.dates import parse_date
    from refstis.anneal.table import MONITOR_TITLE, archived_anneals, find_anneals
    from refstis.errors import ConfigurationError, InputError

    if folder is not None:
        if since is not None:
            raise ConfigurationError("--since goes with the archive: leave the folder out.")
        found = find_anneals(folder)
        if not found:
            raise ConfigurationError(
                f"{folder}: holds no pair of anneal monitor exposures (?????????_crj.fits)"
            )
    else:
        from refstis.retrieval.mast import Mast

        found = archived_anneals(Mast(), None if since is None else parse_date(since))
        if not found:
            raise InputError(
                f"the archive has no visits before and after an anneal in programmes of the title {MONITOR_TITLE!r}"
                + ("" if since is None else f" since {since}")
            )
    _add(found, table, ledger, output)


def _moment(text: str) -> float:
    from refstis.anneal.dates import parse_date
    from refstis.anneal.headers import read_headers
    from refstis.errors import InputError

    if not Path(text).is_file():
        return parse_date(text)
    headers = read_headers(text)
    images = headers.extensions("SCI")
    for keywords, name in ((images[0].keywords if images else {}, "EXPSTART"), (headers.primary, "TEXPSTRT")):
        value = keywords.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return parse_date(value)
    raise InputError(f"{text}: has neither EXPSTART nor TEXPSTRT in its headers; give a date instead")


def _table(table: Path | None, ledger: str | None, output: Path):
    from refstis.anneal.ledger import DEFAULT_NAME
    from refstis.anneal.survey import anneal_table, open_ledger

    if table is not None or (ledger is None and not (output / DEFAULT_NAME).exists()):
        return anneal_table(table)
    with open_ledger(ledger, output, new=False) as opened:
        return anneal_table(None, opened)


def _add(found, table: Path | None, ledger: str | None, output: Path) -> None:
    from refstis.anneal.dates import isoformat
    from refstis.anneal.survey import open_ledger
    from refstis.anneal.table import append_to_file

    if table is not None:
        added = [one for one in found if append_to_file(table, one)]
        where = str(table)
    else:
        with open_ledger(ledger, output) as opened:
            added = opened.add_anneals(found)
            where = f"the new ledger {opened.name}" if opened.new else opened.name
    for one in added:
        print(
            f"added: {isoformat(one.begin)} to {'unknown' if one.end is None else isoformat(one.end)}, {one.name}"
        )
    others = "; the others were there" if len(added) < len(found) else ""
    print(f"{len(added)} of {len(found)} anneals added to {where}{others}.")
