"""`refstis custom-dark`: a superdark for one science exposure."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["custom_dark"]


def custom_dark(
    science: Annotated[
        Path, typer.Argument(metavar="SCIENCE", help="Its raw, flt or crj file; never changed.")
    ],
    darks: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with darks (raw, flt, CTI-corrected) and biases; without it MAST is asked.",
        ),
    ] = None,
    superbias: Annotated[Path | None, typer.Option(metavar="FILE", help="Superbias for raw darks.")] = None,
    basedark: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Baseline dark of the anneal period; else it is made.")
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(metavar="DAYS", help="Darks from so many days before and after; 3 by default."),
    ] = None,
    daily: Annotated[
        bool, typer.Option("--daily", help="Hot pixels follow the darks nearest in time.")
    ] = False,
    anneals: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Anneal table of your own (CSV, YAML, anneal_info.db)."),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(metavar="P", help="Parameters and policy: a shipped profile or a folder of your own."),
    ] = "heritage",
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="Run CALSTIS on the exposure with the new dark.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for everything; ROOTNAME_custom_dark by default."
        ),
    ] = None,
) -> None:
    """Make a superdark for one science exposure from the darks of its anneal period.

    Beside it come the inputs, an association, a page, and a copy of the raw that names it.
    """
    from rich.console import Console

    from refstis.custom import make_custom_dark

    errors = Console(stderr=True, highlight=False)

    def say(line: str) -> None:
        errors.print(line, markup=False, soft_wrap=True)

    made = make_custom_dark(
        science,
        darks=darks,
        superbias=superbias,
        basedark=basedark,
        window=window,
        daily=daily,
        anneals=anneals,
        profile=profile,
        recalibrate=recalibrate,
        output=output,
        progress=say,
    )
    for caution in made.cautions:
        say(f"CAUTION: {caution}")
    for label, path in (
        ("superdark", made.dark),
        ("baseline", made.basedark),
        ("inputs", made.inputs),
        ("association", made.association),
        ("science", made.science),
        ("page", made.page),
    ):
        if path is not None:
            typer.echo(f"{label + ':':13}{path}")
    for path in made.recalibrated:
        typer.echo(f"{'recalibrated:':13} {path}")
