"""Options that several commands of a month share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from refstis.anneal.ledger import Ledger

__all__ = [
    "Anneals", "Dates", "Folder", "LedgerFolder", "LedgerUrl", "MonthName", "Output", "ProfileName", "begin_ledger",
]  # fmt: skip

Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DIR]", help="Folder with raws, in it or below; without it, what the ledger knows."
    ),
]
MonthName = Annotated[
    str | None,
    typer.Option(
        "--month",
        metavar="2013-05|PROPOSAL_VISIT",
        help="Months that begin then, or the one of this name or around a date.",
    ),
]
Dates = Annotated[
    tuple[str, str] | None,
    typer.Option("--dates", metavar="A B", help="Exposures that began from A up to B (dates or MJD)."),
]
Anneals = Annotated[
    Path | None,
    typer.Option("--anneals", metavar="FILE", help="Anneal table of your own (CSV, YAML, anneal_info.db)."),
]
LedgerUrl = Annotated[
    str | None,
    typer.Option("--ledger", metavar="URL", help="Ledger: a SQLite file or postgresql://user@host/name."),
]
LedgerFolder = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="OUT", help="Output folder, whose ledger is meant without --ledger."
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the products.")]
ProfileName = Annotated[
    str,
    typer.Option(
        "--profile", metavar="P", help="Parameters and policy: a shipped profile or a folder of your own."
    ),
]


def begin_ledger(ledger: str | None, output: Path, new: bool = True) -> Ledger:
    """Open a ledger or begin it; that one of this name was begun is told, because the name may be mistyped."""
    import sys

    from refstis.anneal.survey import open_ledger

    opened = open_ledger(ledger, output, new)
    if opened.new and ledger is not None:
        print(f"new ledger: {opened.name}", file=sys.stderr)
    return opened
