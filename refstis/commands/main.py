"""The `refstis` command: one roof over everything, each command imported only when it is called."""

import importlib
import os
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

# Exit status of an error that is a fault of this program (EX_SOFTWARE of sysexits.h).
UNFORESEEN = 70
_wishes = {"tracebacks": False}

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


def _tell_version(asked: bool) -> None:
    if asked:
        from refstis import __version__

        print(f"refstis {__version__}")
        raise typer.Exit


def _show_tracebacks(asked: bool) -> None:
    _wishes["tracebacks"] = asked


@app.callback()
def refstis(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_tell_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of errors.", callback=_show_tracebacks),
    ] = False,
) -> None:
    """Superbiases and superdarks for the STIS CCD."""


def _in_whole_paragraphs(command: Callable) -> str:
    """Help without the line ends of the source, which a terminal of another width would show as they are."""
    return "\n\n".join(" ".join(part.split()) for part in (command.__doc__ or "").split("\n\n"))


def registered() -> typer.Typer:
    """The app with all commands of the table."""
    for name, (target, group) in COMMANDS.items():
        module, attribute = target.split(":")
        command = getattr(importlib.import_module(module), attribute)
        if isinstance(command, typer.Typer):  # a command with commands of its own
            app.add_typer(command, name=name, rich_help_panel=group)
        else:
            app.command(name, help=_in_whole_paragraphs(command), rich_help_panel=group)(command)
    return app


def execute(make_app: Callable[[], typer.Typer], name: str) -> None:
    """Run a command; an error is one line, without a traceback."""
    # nothing here is linear algebra on large matrices; its threads would wait for work that never comes, and not asleep
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        make_app()()
    except Exception as error:
        if _wishes["tracebacks"]:
            raise
        # the last place where an error can be made kind, without importing what no command has imported
        errors = sys.modules.get("refstis.errors")
        if errors is not None and isinstance(error, errors.RefstisError):
            print(f"{name}: {error}", file=sys.stderr)
            sys.exit(error.exit_status)
        text, status = _explained(error)
        line = "".join(one if one.isprintable() else " " for one in f"{name}: {text}")
        print(line[:2000], file=sys.stderr)
        sys.exit(status)


def _explained(error: Exception) -> tuple[str, int]:
    """What an error says that no part of refstis has put into words, and the exit status."""
    # what Python says of a thread, and the loader of a library
    words = ("can't start new thread", "failed to map segment")
    if isinstance(error, MemoryError) or any(one in str(error) for one in words):
        return "out of memory or threads; end other programs, raise the limit, or use a larger machine.", 1
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}. Check rights, free space and limits (ulimit -a).", 1
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = ""
    if last is not None:
        place = f" ({last.tb_frame.f_code.co_filename.rpartition('/')[2]}, line {last.tb_lineno})"
    return f"{type(error).__name__}: {error}{place}. Not foreseen; refstis --debug shows more.", UNFORESEEN


def main() -> None:
    """Run the `refstis` command."""
    execute(registered, "refstis")
