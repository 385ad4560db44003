"""The `refstis` command: one roof over everything, each command imported only when it is called."""

import importlib
import sys
from collections.abc import Callable
from typing import Annotated

import typer

__all__ = ["app", "execute", "main", "registered"]

# name: (module:function, help group)
COMMANDS: dict[str, tuple[str, str]] = {
    "config": ("refstis.commands.config:app", "Start here"),
    "demo": ("refstis.commands.demo:demo", "Start here"),
    "basejoint": ("refstis.commands.products:basejoint", "Products"),
    "refbias": ("refstis.commands.products:refbias", "Products"),
    "weekbias": ("refstis.commands.products:weekbias", "Products"),
    "basedark": ("refstis.commands.products:basedark", "Products"),
    "weekdark": ("refstis.commands.products:weekdark", "Products"),
    "anneals": ("refstis.commands.anneals:app", "A month"),
    "exposures": ("refstis.commands.exposures:app", "A month"),
    "fetch": ("refstis.commands.fetch:fetch", "A month"),
    "plan": ("refstis.commands.plan:plan", "A month"),
    "run": ("refstis.commands.run:run", "A month"),
    "reprocess": ("refstis.commands.reprocess:reprocess", "A month"),
    "reproduce": ("refstis.commands.reproduce:reproduce", "A month"),
    "pipeline": ("refstis.commands.pipeline:pipeline", "A month"),
    "check": ("refstis.commands.check:check", "Delivery"),
    "certify": ("refstis.commands.certify:certify", "Delivery"),
    "regress": ("refstis.commands.regress:regress", "Delivery"),
    "report": ("refstis.commands.report:report", "Delivery"),
    "deliver": ("refstis.commands.deliver:deliver", "Delivery"),
    "custom-dark": ("refstis.commands.custom_dark:custom_dark", "One exposure"),
    "score": ("refstis.commands.score:score", "A known truth"),
    "simulate": ("refstis.commands.simulate:simulate", "A known truth"),
}


app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


def _tell_version(asked: bool) -> None:
    if asked:
        from refstis import __version__

        print(f"refstis {__version__}")
        raise typer.Exit


@app.callback()
def refstis(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_tell_version, is_eager=True),
    ] = False,
) -> None:
    """Superbiases and superdarks for the STIS CCD."""


def registered() -> typer.Typer:
    """The app with all commands of the table."""
    for name, (target, group) in COMMANDS.items():
        module, attribute = target.split(":")
        command = getattr(importlib.import_module(module), attribute)
        if isinstance(command, typer.Typer):  # a command with commands of its own
            app.add_typer(command, name=name, rich_help_panel=group)
        else:
            app.command(name, rich_help_panel=group)(command)
    return app


def execute(make_app: Callable[[], typer.Typer], name: str) -> None:
    """Run a command; an expected error is one line, without a traceback."""
    try:
        make_app()()
    except Exception as error:
        # the last place where an error can be made kind, without importing what no command has imported
        errors = sys.modules.get("refstis.errors")
        if errors is None or not isinstance(error, errors.RefstisError):
            raise
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


def main() -> None:
    """Run the `refstis` command."""
    execute(registered, "refstis")
