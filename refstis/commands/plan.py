"""`refstis plan`: what would be made of a folder of raws, how, and why."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["plan"]


def plan(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="Folder with raws, in it or below; without it, what the ledger knows."
        ),
    ] = None,
    month: Annotated[
        str | None,
        typer.Option(
            metavar="2013-05|PROPOSAL_VISIT",
            help="Months that begin then, or the one of this name or around a date.",
        ),
    ] = None,
    dates: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Exposures that began from A up to B (dates or MJD)."),
    ] = None,
    anneals: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Anneal table of your own (CSV, YAML, anneal_info.db)."),
    ] = None,
    ledger: Annotated[
        str | None, typer.Option(metavar="URL", help="Ledger: a SQLite file or postgresql://user@host/name.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the products.")
    ] = Path(),
    profile: Annotated[
        str,
        typer.Option(metavar="P", help="Parameters and policy: a shipped profile or a folder of your own."),
    ] = "heritage",
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    graph: Annotated[
        Path | None, typer.Option(metavar="OUT.svg", help="Draw the graph of products, too.")
    ] = None,
) -> None:
    """Print every product with its inputs, procedure and reason; make nothing.

    Only the ledger's memory of headers is written.
    """
    from rich.console import Console

    from refstis.anneal.display import console_for_tables, graph_svg, print_plan
    from refstis.anneal.survey import open_ledger, survey

    errors = Console(stderr=True)
    with errors.status("looking at raws") as status, open_ledger(ledger, output) as opened:
        made = survey(
            folder,
            output,
            opened,
            anneals=anneals,
            profile=profile,
            month=month,
            dates=dates,
            progress=lambda done, total: status.update(f"reading headers: {done} of {total}"),
        )
    if graph is not None:
        from refstis.datamodels.atomic import atomic_write

        with atomic_write(graph, "w") as stream:
            stream.write(graph_svg(made))
    if json:
        from json import dumps

        print(dumps(made.to_dict(), indent=1))
    else:
        print_plan(made, console_for_tables())
