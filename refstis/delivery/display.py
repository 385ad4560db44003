"""Verdicts and regressions at a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from refstis.delivery.checks import CAUTION, FAIL, PASS, Judgement
from refstis.delivery.regression import RegressionResult

if TYPE_CHECKING:
    from rich.console import Console

    from refstis.delivery.conclusion import Delivered

__all__ = ["console", "print_deliveries", "print_judgements", "print_regression"]

STYLES = {PASS: "cyan", CAUTION: "yellow", FAIL: "bold magenta"}


def console() -> Console:
    """A terminal; where there is none, lines as long as they need to be.

    Returns
    -------
    rich.console.Console
        Standard output.
    """
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=200)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def print_judgements(judged: Sequence[Judgement], terminal: Console, verbose: bool = False) -> None:
    """Print a table of files, and the reason of every remark.

    Parameters
    ----------
    judged : sequence of Judgement
        What was found.
    terminal : rich.console.Console
        Where to.
    verbose : bool
        Whether to list the checks that passed.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in (
        "file",
        "verdict",
        "mode",
        "frames",
        "level",
        "noise",
        "ERR",
        "hot pixels",
        "compared with",
    ):
        table.add_column(
            heading, justify="left" if heading in ("file", "verdict", "mode", "compared with") else "right"
        )
    for one in judged:
        figures = one.figures
        table.add_row(
            one.name,
            Text(one.outcome, style=STYLES[one.outcome]),
            one.mode,
            *(_number(figures.get(key)) for key in ("frames", "level", "noise", "error")),
            f"{figures['hot_above_0.1']:.0f}" if "hot_above_0.1" in figures else "",
            one.earlier,
        )
    terminal.print(table)
    for one in judged:
        for verdict in one.verdicts if verbose else one.remarks:
            line = Text(f"{one.name}: ")
            line.append(verdict.outcome, style=STYLES[verdict.outcome])
            line.append(f" {verdict.check}: {verdict.reason}")
            terminal.print(line, soft_wrap=True)


def print_regression(result: RegressionResult, terminal: Console) -> None:
    """Print a table of reductions.

    Parameters
    ----------
    result : RegressionResult
        What was found.
    terminal : rich.console.Console
        Where to.
    """
    from rich.table import Table
    from rich.text import Text

    terminal.print(
        Text(f"Exposures: {result.suite}. Medians in DN without and with superbias and superdark.")
    )
    table = Table(box=None, pad_edge=False)
    columns = ("before", "after", "hot_before", "hot_after", "hot_scatter")
    for heading in ("exposure", "superbias", "superdark"):
        table.add_column(heading)
    for heading in columns:
        table.add_column(heading.replace("_", " "), justify="right")
    table.add_column("result")
    for one in result.reductions:
        numbers = [f"{one.figures[key]:.3g}" if key in one.figures else "" for key in columns]
        outcome = PASS if one.passed else FAIL
        table.add_row(one.exposure, one.bias, one.dark, *numbers, Text(outcome, style=STYLES[outcome]))
    terminal.print(table)
    for one in result.failures:
        terminal.print(Text(f"{one.exposure} with {one.dark}: {one.step}: {one.error}"), soft_wrap=True)


def print_deliveries(delivered: Mapping[str, Delivered], terminal: Console) -> None:
    """Print what became of each month after its products were made.

    Parameters
    ----------
    delivered : mapping
        By name of the month.
    terminal : rich.console.Console
        Where to.
    """
    from rich.text import Text

    for month, one in delivered.items():
        terminal.print(Text(f"\n{month}: ", style="bold").append(one.verdict, style=STYLES[one.verdict]))
        if one.findings is not None:
            print_judgements(one.findings.judgements, terminal)
            accepted = sum(certified.passed for certified in one.findings.certifications)
            terminal.print(Text(f"CRDS accepts {accepted} of {len(one.findings.certifications)} files."))
            for certified in one.findings.certifications:
                for error in certified.errors:
                    line = (
                        Text(f"{certified.name}: ").append(FAIL, style=STYLES[FAIL]).append(f" crds: {error}")
                    )
                    terminal.print(line, soft_wrap=True)
            if one.findings.regression is not None:
                print_regression(one.findings.regression, terminal)
        for what, path in (("report", one.page), ("delivery", one.package and one.package.folder)):
            if path is not None:
                terminal.print(Text(f"{what}: {path}"), soft_wrap=True)
        if one.refused:
            terminal.print(Text(one.refused, style=STYLES[FAIL]), soft_wrap=True)
