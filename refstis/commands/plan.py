"""`refstis plan`: what would be made of a folder of raws, how, and why."""

from pathlib import Path
from typing import Annotated

import typer

from refstis.commands.options import (
    Anneals,
    Dates,
    Folder,
    LedgerUrl,
    MonthName,
    Output,
    ProfileName,
    begin_ledger,
)

__all__ = ["plan"]


def plan(
    folder: Folder = None,
    month: MonthName = None,
    dates: Dates = None,
    anneals: Anneals = None,
    ledger: LedgerUrl = None,
    output: Output = Path(),
    profile: ProfileName = "heritage",
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
    from refstis.anneal.survey import survey

    errors = Console(stderr=True)
    with (
        errors.status("looking at raws") as status,
        begin_ledger(ledger, output, folder is not None) as opened,
    ):
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
