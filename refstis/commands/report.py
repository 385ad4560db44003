"""`refstis report`: one page on a month, and an index over months."""

from pathlib import Path
from typing import Annotated

import typer

from refstis.commands.options import begin_ledger
from refstis.commands.regress import Engine

__all__ = ["report"]


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of a month, or of months with --index.")
    ],
    previous: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Folder or file of the period before.")
    ] = None,
    current: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="File, or folder of files, that CRDS gives now.")
    ] = None,
    limits: Annotated[Path | None, typer.Option(metavar="limits.yaml", help="Limits of your own.")] = None,
    context: Annotated[
        str | None, typer.Option(metavar="hst_1204.pmap", help="Certify against this context.")
    ] = None,
    suite: Annotated[Path | None, typer.Option(metavar="DIR", help="Exposures for the regression.")] = None,
    engine: Annotated[Engine, typer.Option(help="Who calibrates the regression's exposures.")] = Engine.auto,
    regression: Annotated[bool, typer.Option(help="Run the regression.")] = True,
    anneals: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Anneal table of your own, for the plots.")
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Record the verdicts; compare with what was delivered last."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Folder for report.html (default: DIR)."),
    ] = None,
    index: Annotated[
        bool, typer.Option("--index", help="Only write index.html over the reports in the folders of DIR.")
    ] = False,
) -> None:
    """Check, certify and regress a month's files, and write it all into one page."""
    from contextlib import ExitStack

    from rich.console import Console

    from refstis.delivery.month import examine_month, report_month
    from refstis.delivery.report import write_index

    if index:
        typer.echo(str(write_index(folder)))
        return
    with ExitStack() as stack:
        stack.enter_context(Console(stderr=True).status("looking at the files"))
        opened = None
        if ledger is not None:
            opened = stack.enter_context(begin_ledger(ledger, Path()))
        findings = examine_month(
            folder,
            previous=previous,
            current=current,
            limits=limits,
            context=context,
            suite=suite,
            engine=engine.value,
            regression=regression,
            ledger=opened,
        )
        page = report_month(folder, findings, output=output, anneals=anneals)
    outcomes = [judgement.outcome for judgement in findings.judgements]
    counts = (f"{outcomes.count(name)} {name}" for name in ("PASS", "CAUTION", "FAIL"))
    typer.echo(f"{len(outcomes)} files: {', '.join(counts)}")
    typer.echo(str(page))
