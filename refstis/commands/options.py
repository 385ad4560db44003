"""Options that several commands of a month share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Anneals", "Dates", "Folder", "LedgerUrl", "MonthName", "Output", "ProfileName"]

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
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the products.")]
ProfileName = Annotated[
    str,
    typer.Option(
        "--profile", metavar="P", help="Parameters and policy: a shipped profile or a folder of your own."
    ),
]
