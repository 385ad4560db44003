"""`refstis regress`: exposures calibrated with new reference files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["regress"]


class Engine(StrEnum):
    """Who calibrates."""

    auto = "auto"
    refstis = "refstis"
    calstis = "calstis"


def regress(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with *_bia.fits and *_drk.fits.")],
    suite: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder with raw exposures (default: simulated ones).", show_default=False
        ),
    ] = None,
    engine: Annotated[
        Engine, typer.Option(help="calstis: the C programs; refstis: this package; auto: what is installed.")
    ] = Engine.auto,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Calibrate a suite of exposures with the reference files of a folder.

    Nothing is changed in either folder. The exit status is 1 where a reduction fails.
    """
    from refstis.delivery.display import console, print_regression
    from refstis.delivery.regression import regress as run

    result = run(folder, suite, engine.value)
    if json:
        from json import dumps

        print(dumps(result.to_dict(), indent=1, allow_nan=False))
    else:
        print_regression(result, console())
    if not result.passed:
        raise typer.Exit(1)
