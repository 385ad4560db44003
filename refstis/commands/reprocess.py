"""`refstis reprocess`: make all months of a range of years."""

from pathlib import Path
from typing import Annotated

import typer

from refstis.commands.options import Anneals, Folder, LedgerUrl, Output, ProfileName
from refstis.commands.run import Force, SchedulerAddress, Workers, execute_run

__all__ = ["reprocess"]


def reprocess(
    folder: Folder = None,
    first: Annotated[
        str, typer.Option("--from", metavar="2009-05", help="Calendar month in which the first month begins.")
    ] = "1997-01",
    last: Annotated[
        str, typer.Option("--to", metavar="2017-08", help="Calendar month in which the last month begins.")
    ] = "2100-12",
    anneals: Anneals = None,
    ledger: LedgerUrl = None,
    output: Output = Path(),
    profile: ProfileName = "heritage",
    force: Force = False,
    workers: Workers = 0,
    scheduler: SchedulerAddress = None,
) -> None:
    """Make every product of all months that begin in a range, as one graph.

    What is made already with the same inputs, parameters and algorithms stays. Exit status as of run.
    """
    execute_run(
        folder, output, ledger, anneals=anneals, profile=profile, month=(first, last), force=force,
        workers=workers, scheduler=scheduler,
    )  # fmt: skip
