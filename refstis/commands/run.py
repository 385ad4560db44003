"""`refstis run` and `refstis reprocess`: make the products of a plan."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from refstis.commands.options import Anneals, Dates, Folder, LedgerUrl, MonthName, Output, ProfileName

__all__ = ["execute_run", "run"]

Force = Annotated[bool, typer.Option("--force", help="Make again what is made already.")]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="NAME", help="This product (name, kind or month) and no other; repeatable."
    ),
]
Until = Annotated[
    list[str] | None,
    typer.Option("--until", metavar="NAME", help="This product and what it needs; repeatable."),
]
Workers = Annotated[
    int, typer.Option("--workers", min=0, metavar="N", help="Processes of this machine, in place of threads.")
]
SchedulerAddress = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="tcp://HOST:8786", help="Dask scheduler of a cluster that sees the folders."
    ),
]


def run(
    folder: Folder = None,
    month: MonthName = None,
    dates: Dates = None,
    anneals: Anneals = None,
    ledger: LedgerUrl = None,
    output: Output = Path(),
    profile: ProfileName = "heritage",
    force: Force = False,
    only: Only = None,
    until: Until = None,
    workers: Workers = 0,
    scheduler: SchedulerAddress = None,
) -> None:
    """Make every product of the months of a folder, in OUT/PROPOSAL_VISIT; raws stay where they are.

    What is made already stays; a run that was ended goes on where it was. Exit status: 0 all is made, 1 something
    failed, 3 made without bad raws.
    """
    execute_run(
        folder, output, ledger, anneals=anneals, profile=profile, month=month, dates=dates, force=force,
        only=only or (), until=until or (), workers=workers, scheduler=scheduler,
    )  # fmt: skip


def execute_run(
    folder: Path | None,
    output: Path,
    ledger: str | None,
    *,
    anneals: Path | None,
    profile: str,
    month: str | tuple[str, str] | None,
    dates: tuple[str, str] | None = None,
    force: bool = False,
    only: Sequence[str] = (),
    until: Sequence[str] = (),
    workers: int = 0,
    scheduler: str | None = None,
) -> None:
    """Make products, show how it goes on, print the result and end with its exit status."""
    import sys

    from refstis.anneal.display import console_for_tables
    from refstis.anneal.progress import listening, print_result
    from refstis.anneal.runner import Choice
    from refstis.anneal.runner import run as make_all
    from refstis.anneal.survey import Survey, open_ledger

    with listening() as listener, open_ledger(ledger, output) as opened:
        survey = Survey(folder, output, opened, anneals=anneals, profile=profile, month=month, dates=dates)
        result = make_all(
            survey,
            choice=Choice(force, tuple(only), tuple(until)),
            scheduler=scheduler,
            workers=workers,
            listener=listener,
            command=sys.argv,
        )
    print_result(result, console_for_tables())
    raise typer.Exit(result.exit_status)
