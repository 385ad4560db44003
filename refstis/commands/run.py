"""`refstis run`: make the products of a plan, and deliver them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from refstis.anneal.runner import Result
    from refstis.delivery.conclusion import Delivered, DeliveryOrder

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

DELIVERY = "With --deliver"


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
    deliver: Annotated[
        bool,
        typer.Option(
            "--deliver",
            help="Then check, certify and regress the files, report on them and put the delivery together.",
        ),
    ] = False,
    delivery: Annotated[
        Path | None,
        typer.Option(
            "--delivery",
            metavar="DIR",
            help="Folder for deliveries (default: of the configuration, else OUT/to_deliver).",
            rich_help_panel=DELIVERY,
        ),
    ] = None,
    deliverer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Who delivers (default: of the configuration).", rich_help_panel=DELIVERY
        ),
    ] = None,
    previous: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Folder or file of the period before (default: what was delivered last).",
            rich_help_panel=DELIVERY,
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=REASON",
            help="Deliver this file in spite of FAIL; the reason is recorded.",
            rich_help_panel=DELIVERY,
        ),
    ] = None,
    send: Annotated[
        bool,
        typer.Option("--send", help="Mail the form, as the configuration says.", rich_help_panel=DELIVERY),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Configuration file (default: ~/refstis_config.yaml).",
            rich_help_panel=DELIVERY,
        ),
    ] = None,
) -> None:
    """Make every product of the months of a folder, in OUT/PROPOSAL_VISIT; raws stay where they are.

    What is made already stays; a run that was ended goes on where it was. Exit status: 0 all is made, 1 something
    failed, 3 made without bad raws. With --deliver the run ends with checks, certification, regression, plots, report
    and delivery of each month; a file that fails stops that, and the exit status is 1.
    """
    order = None
    if deliver:
        order = _order(output, delivery, deliverer, previous, accept, send, config, anneals)
    elif delivery or deliverer or previous or accept or send:
        from refstis.errors import ConfigurationError

        raise ConfigurationError(
            "--delivery, --deliverer, --previous, --accept and --send go with --deliver."
        )
    execute_run(
        folder, output, ledger, anneals=anneals, profile=profile, month=month, dates=dates, force=force,
        only=only or (), until=until or (), workers=workers, scheduler=scheduler, order=order,
    )  # fmt: skip


def _order(
    output: Path,
    delivery: Path | None,
    deliverer: str | None,
    previous: list[Path] | None,
    accept: list[str] | None,
    send: bool,
    config: Path | None,
    anneals: Path | None,
) -> DeliveryOrder:
    """What is to be delivered, with the configuration where the options say nothing."""
    from refstis.datamodels.settings import Settings
    from refstis.delivery.conclusion import DeliveryOrder
    from refstis.delivery.mail import MailServer
    from refstis.delivery.package import parse_acceptances

    settings = Settings.find(config)
    return DeliveryOrder(
        delivery or Path(settings.delivery_directory or output / "to_deliver"),
        deliverer or ", ".join(settings.deliverers),
        (settings.email,) if settings.email else (),
        MailServer.of(settings) if send else None,
        previous,
        parse_acceptances(accept or []),
        settings.test_suite,
        anneals,
    )


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
    order: DeliveryOrder | None = None,
) -> None:
    """Make products, show how it goes on, print the result and end with its exit status."""
    import sys
    from functools import partial

    from refstis.datamodels.checksums import ChecksumsAhead
    from refstis.garbage import collection_paused

    with collection_paused(), ChecksumsAhead() as ahead:
        if folder is not None and ledger is None and not any(output.glob("*.db")):
            # no ledger knows these raws yet; reading them leaves the interpreter to the imports
            ahead.begin(folder.rglob("*_raw.fits"))
        from refstis.anneal.display import console_for_tables
        from refstis.anneal.progress import listening, print_result
        from refstis.anneal.runner import Choice
        from refstis.anneal.runner import run as make_all
        from refstis.anneal.survey import Survey

    with listening() as listener, begin_ledger(ledger, output, folder is not None) as opened:
        delivered: dict[str, Delivered] = {}

        def deliver(order: DeliveryOrder, made: Result) -> dict[str, Delivered]:
            from refstis.delivery.conclusion import conclude

            delivered.update(conclude(made, order, opened, listener))
            return delivered

        survey = Survey(folder, output, opened, anneals=anneals, profile=profile, month=month, dates=dates)
        result = make_all(
            survey,
            choice=Choice(force, tuple(only), tuple(until)),
            scheduler=scheduler,
            workers=workers,
            listener=listener,
            command=sys.argv,
            conclude=None if order is None else partial(deliver, order),
        )
    print_result(result, console_for_tables())
    if delivered:
        from refstis.delivery.display import console, print_deliveries

        print_deliveries(delivered, console())
    raise typer.Exit(result.exit_status)
