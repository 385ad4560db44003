"""`refstis check`: verdicts on reference files."""

from pathlib import Path
from typing import Annotated

import typer

from refstis.commands.options import begin_ledger

__all__ = ["check"]


def check(
    files: Annotated[list[Path], typer.Argument(help="Superbiases and superdarks, or folders with them.")],
    previous: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Folder or file of the period before.")
    ] = None,
    current: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="File, or folder of files, that CRDS gives now.")
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(metavar="limits.yaml", help="Limits of your own, on top of the shipped ones."),
    ] = None,
    ledger: Annotated[
        str | None, typer.Option(metavar="URL", help="Record the verdicts in this ledger.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List passed checks, too.")] = False,
) -> None:
    """Check reference files: structure, keywords, statistics, and the change since the file before.

    The exit status is 1 where a file fails.
    """
    from contextlib import ExitStack

    from refstis.delivery.checks import FAIL, check_files
    from refstis.delivery.display import console, print_judgements
    from refstis.delivery.products import product_paths
    from refstis.delivery.records import read_run
    from refstis.errors import InputError

    paths = product_paths(files)
    if not paths:
        raise InputError(
            f"{', '.join(map(str, files))}: no superbiases (*_bia.fits) or superdarks (*_drk.fits)."
        )
    cautions: dict[str, list[str]] = {}
    for folder in (entry for entry in files if entry.is_dir()):
        cautions |= read_run(folder).cautions
    with ExitStack() as stack:
        opened = None
        if ledger is not None:
            opened = stack.enter_context(begin_ledger(ledger, Path()))
        judged = check_files(
            paths, previous=previous, current=current, limits=limits, cautions=cautions, ledger=opened
        )
    if json:
        from json import dumps

        print(dumps([one.to_dict() for one in judged], indent=1, allow_nan=False))
    else:
        print_judgements(judged, console(), verbose)
    if any(one.outcome == FAIL for one in judged):
        raise typer.Exit(1)
