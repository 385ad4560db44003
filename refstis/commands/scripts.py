"""The documented commands as programs of their own, beside the `refstis` command."""

from functools import partial

import typer

from refstis.commands import pipeline, products
from refstis.commands.main import execute

__all__ = ["basedark", "basejoint", "refbias", "refstis_pipeline", "weekbias", "weekdark"]


def _program(name, command, **settings):
    def app():
        made = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
        made.command(name, **settings)(command)
        return made

    execute(app, name)


basejoint = partial(_program, "basejoint", products.basejoint, no_args_is_help=True)
refbias = partial(_program, "refbias", products.refbias, no_args_is_help=True)
weekbias = partial(_program, "weekbias", products.weekbias, no_args_is_help=True)
basedark = partial(_program, "basedark", products.basedark, no_args_is_help=True)
weekdark = partial(_program, "weekdark", products.weekdark, no_args_is_help=True)
refstis_pipeline = partial(_program, "refstis_pipeline", pipeline.pipeline)
