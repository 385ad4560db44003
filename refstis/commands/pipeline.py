"""`refstis_pipeline`: the documented pipeline with the options of release 0.8."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["pipeline"]


def pipeline(
    redo_all: Annotated[
        bool, typer.Option("-r", "--redo_all", help="Process all past anneal months.")
    ] = False,
    no_collect: Annotated[
        bool, typer.Option("-c", "--no_collect", help="Do not look for new exposures.")
    ] = False,
    plots_only: Annotated[
        bool, typer.Option("-p", "--plots_only", help="Only make the plots again.")
    ] = False,
    user_information: Annotated[
        str | None,
        typer.Option(
            "-u",
            "--user_information",
            metavar="INFO",
            help="Account to request data with, in place of archive_user.",
        ),
    ] = None,
    reprocess_month: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "-m",
            "--reprocess_month",
            metavar="BEGIN END",
            help="Process the months with exposures of these dates (TDATEOBS).",
        ),
    ] = None,
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="Configuration file.")] = Path(
        "~/refstis_config.yaml"
    ),
) -> None:
    """Retrieve the exposures of the anneal month that ended last and make its reference files.

    What goes where is in the configuration file.
    """
    import logging
    import sys

    from refstis.datamodels.settings import Settings
    from refstis.pipeline import run_months

    settings = Settings.open(config)
    if user_information is not None:
        settings = settings.model_copy(update={"archive_user": user_information})
    logger = logging.getLogger("refstis")
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    run_months(
        settings,
        redo_all=redo_all,
        collect=not no_collect,
        plots_only=plots_only,
        between=reprocess_month,
    )
