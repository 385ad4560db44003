"""`refstis demo`: a short month, from simulated exposures to reference files and their score."""

from pathlib import Path
from typing import Annotated

import typer

from refstis.commands.options import ProfileName

__all__ = ["demo"]

_STAGES = {"simulate": "simulating raw files", "make": "making products", "score": "comparing with the truth"}


def demo(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Empty or new folder, or that of an earlier demonstration."),
    ] = Path("refstis-demo"),
    seed: Annotated[int, typer.Option(help="Of the simulated detector: another seed, another detector.")] = 1,
    profile: ProfileName = "heritage",
) -> None:
    """Simulate a short month, make its reference files, and show how right they are.

    Needs nothing but this package: no network, no reference files. It takes about a minute and 300 MB.
    """
    import time

    from rich.console import Console

    from refstis.demo.chain import demonstrate

    errors = Console(stderr=True)
    begin = time.monotonic()
    with _Bars(errors) if errors.is_terminal else _Lines(errors) as progress:
        # the policy of the demonstration has thresholds that a short month reaches
        made = demonstrate(
            folder,
            seed=seed,
            profile="demo" if profile == "heritage" else f"demo,{profile}",
            progress=progress.show,
        )
    _tell(made, time.monotonic() - begin)


class _Bars:
    """Bars at a terminal, one for each stage."""

    def __init__(self, console):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description:24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[name]}"),
        )
        self._progress = Progress(*columns, console=console)
        self._tasks = {
            stage: self._progress.add_task(words, total=None, start=False, name="")
            for stage, words in _STAGES.items()
        }
        self._begun: set[str] = set()

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()

    def show(self, stage: str, done: int, total: int, name: str) -> None:
        """Move the bar of a stage."""
        if stage not in self._begun:
            self._begun.add(stage)
            self._progress.start_task(self._tasks[stage])
        self._progress.update(
            self._tasks[stage], completed=done, total=total, name="" if done == total else name
        )


class _Lines:
    """A line for each stage where there is no terminal, and one for each product."""

    def __init__(self, console):
        self._console = console
        self._stage, self._done = "", 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def show(self, stage: str, done: int, total: int, name: str) -> None:
        """Tell what begins."""
        if stage != self._stage:
            self._stage, self._done = stage, 0
            self._console.print(f"{_STAGES[stage]}: {total}", markup=False, highlight=False)
        if stage == "make" and done > self._done:
            self._done = done
            self._console.print(f"  {done} of {total}: {name}", markup=False, highlight=False, soft_wrap=True)


def _tell(made, seconds: float) -> None:
    """Say what was made, how right it is, where it is, and what to try next."""
    from rich.table import Table
    from rich.text import Text

    from refstis.anneal.display import console_for_tables
    from refstis.demo.page import COLUMNS, next_steps, rows

    console = console_for_tables()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if number else "left")
    for row in rows(made.scores):
        table.add_row(*(row[column] for column in COLUMNS))
    console.print()
    console.print(table)
    console.print(
        Text(
            "\nError and noise: product minus truth, over pixels that are not hot. Least noise: what these frames "
            "alone allow.\nError / ERR: 1 where ERR tells the truth.",
            style="dim",
        )
    )
    console.print(Text("\nTry next", style="bold"))
    for command, words in next_steps(made):
        console.print(Text(f"  # {words}", style="dim"), soft_wrap=True)
        console.print(Text(f"  {command}"), soft_wrap=True)
    console.print(
        Text(f"\n{made.raws} raw files, {len(made.scores)} reference files, {seconds:.0f} s. ")
        .append("Open in a browser:\n", style="bold")
        .append(made.page.resolve().as_uri(), style="bold"),
        soft_wrap=True,
    )
