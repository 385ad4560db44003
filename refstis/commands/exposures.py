"""`refstis exposures`: what the ledger knows of exposures, and which of them are to be left out."""

from pathlib import Path
from typing import Annotated

import typer

from refstis.commands.options import LedgerFolder, LedgerUrl

__all__ = ["app"]

app = typer.Typer(help="Exposures in the ledger, and judgements of them.")


@app.callback(invoke_without_command=True)
def exposures(context: typer.Context) -> None:
    """Exposures in the ledger, and judgements of them."""
    if context.invoked_subcommand is None:
        list_exposures()


@app.command("list")
def list_exposures(
    bad: Annotated[bool, typer.Option("--bad", help="Only those that are marked bad or broken.")] = False,
    ledger: LedgerUrl = None,
    output: LedgerFolder = Path(),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the exposures that the ledger remembers."""
    from refstis.anneal.dates import isoformat
    from refstis.anneal.survey import open_ledger

    with open_ledger(ledger, output, new=False) as opened:
        known, marks, name = opened.exposures(), opened.marks(), opened.name
    rows = []
    for one in known:
        mark = marks.get(one.rootname)
        state = (
            f"marked bad: {mark.reason}"
            if mark is not None and mark.bad
            else one.fault or "; ".join(one.flags)
        )
        if state or not bad:
            rows.append((one, state))
    if json:
        from json import dumps

        print(
            dumps(
                [
                    {**one.facts(), "path": one.path, "checksum": one.checksum, "state": state}
                    for one, state in rows
                ]
            )
        )
        return
    from rich.table import Table
    from rich.text import Text

    from refstis.anneal.display import console_for_tables

    shown = Table(box=None, pad_edge=False)
    for column in ("exposure", "target", "begin (UTC)", "time (s)", "mode", "imsets", "level (DN)", "state"):
        shown.add_column(column, no_wrap=column != "state", justify="right" if "(s)" in column else "left")
    for one, state in rows:
        begin = "" if one.begin is None else isoformat(one.begin)
        seconds = "" if one.exposure_time is None else f"{one.exposure_time:g}"
        mode = "" if one.gain is None else f"{one.amplifier} {one.gain}-{one.xbin}x{one.ybin}"
        level = f"{one.level[0]:.1f}" if one.level else ""
        texts = (one.rootname, one.target, begin, seconds, mode, str(one.imsets), level, state)
        shown.add_row(*(Text(text) for text in texts))
    console = console_for_tables()
    console.print(shown)
    console.print(Text(f"{len(rows)} of {len(known)} exposures in {name}"))


@app.command("mark-bad")
def mark_bad(
    exposure: Annotated[
        str, typer.Argument(metavar="FILE", help="A raw, or a rootname that the ledger knows.")
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="R", help="Why; it is printed wherever it is left out.")
    ],
    ledger: LedgerUrl = None,
    output: LedgerFolder = Path(),
) -> None:
    """Leave an exposure out of all products from now on."""
    _mark(exposure, True, reason, ledger, output)


@app.command("mark-good")
def mark_good(
    exposure: Annotated[
        str, typer.Argument(metavar="FILE", help="A raw, or a rootname that the ledger knows.")
    ],
    reason: Annotated[str, typer.Option("--reason", metavar="R", help="Why.")] = "",
    ledger: LedgerUrl = None,
    output: LedgerFolder = Path(),
) -> None:
    """Take an exposure that was marked bad in again; a broken file stays out."""
    _mark(exposure, False, reason, ledger, output)


def _mark(exposure: str, bad: bool, reason: str, ledger: str | None, output: Path) -> None:
    from refstis.anneal.survey import open_ledger
    from refstis.errors import ConfigurationError, InputError

    if bad and not reason.strip():
        raise ConfigurationError("--reason: say why the exposure is bad")
    with open_ledger(ledger, output, new=False) as opened:
        path = Path(exposure).absolute()
        if path.is_file():
            known, unreadable = opened.look([str(path)])
            if unreadable:
                raise InputError(str(unreadable[0]))
            rootname = known[0].rootname
        else:
            rootname = exposure.lower()
            if not any(one.rootname == rootname for one in opened.exposures()):
                raise InputError(
                    f"{exposure}: is no file, and {opened.name} knows no exposure of that rootname; give its path"
                )
        opened.mark(rootname, bad, reason)
        print(f"{rootname} is marked {'bad' if bad else 'good'} in {opened.name}")
