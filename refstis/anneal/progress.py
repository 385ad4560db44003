"""How a run goes on, for people: a table that lives at a terminal, or lines in a log."""

import logging
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from refstis.anneal.display import print_left_out, print_refused
from refstis.anneal.making import Outcome
from refstis.anneal.plan import Node, Plan
from refstis.anneal.runner import Result

__all__ = ["LineListener", "LiveListener", "listening", "print_result"]

logger = logging.getLogger("refstis.run")

_STYLE = {"made": "green", "kept": "green", "making": "cyan", "waiting": "dim", "failed": "bold red"}
# Rows of products that are made or kept, and no longer of interest while others are made.
_ROWS = 24


def told(node: Node, outcome: Outcome) -> str:
    """A line about what became of a product.

    Parameters
    ----------
    node : Node
        The product.
    outcome : Outcome
        What became of it.

    Returns
    -------
    str
        The line.
    """
    if outcome.status == "made":
        return f"{node.identity}: made in {outcome.seconds:.1f} s ({node.reason})"
    return f"{node.identity}: {'FAILED' if outcome.status == 'failed' else 'not made'}: {outcome.reason}"


class LineListener:
    """Writes a line to the log for everything that happens."""

    def planned(self, plan: Plan, chosen: Sequence[str]) -> None:
        """Tell what is to be made."""
        kept = sum(node.status == "made" for node in plan.nodes.values())
        months = ", ".join(one.month.name for one in plan.months) or "no month"
        logger.info("%s: %d products to make, %d made before.", months, len(chosen), kept)
        for one in plan.exclusions:
            if one.fault:
                logger.warning("CAUTION %s", one)
        for missing in plan.missing:
            logger.warning("%s %s", missing.month, missing)

    def started(self, node: Node) -> None:
        """Tell that a product is being made."""
        logger.info("%s: begun.", node.identity)

    def finished(self, node: Node, outcome: Outcome) -> None:
        """Tell what became of a product."""
        level = logging.INFO if outcome.status == "made" else logging.ERROR
        logger.log(level, "%s", told(node, outcome))
        if outcome.status == "made":
            for caution in node.cautions:
                logger.warning("%s: CAUTION %s", node.identity, caution)

    def said(self, text: str) -> None:
        """Tell something else."""
        logger.warning("%s", text)


class LiveListener(LineListener):
    """Shows a table that is kept up to date; the lines go to the log all the same.

    Parameters
    ----------
    console : rich.console.Console
        A terminal.
    """

    def __init__(self, console: Console):
        self.console = console
        self._rows: dict[str, tuple[Node, str, str]] = {}
        self._begun: dict[str, float] = {}
        self._lock = threading.Lock()
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveListener":
        self._live.start()
        return self

    def __exit__(self, *_) -> None:
        self._live.stop()

    def planned(self, plan: Plan, chosen: Sequence[str]) -> None:
        """Set up the table."""
        super().planned(plan, chosen)
        wanted = set(chosen)
        with self._lock:
            for identity, node in plan.nodes.items():
                if node.kind != "biassub" and (identity in wanted or identity not in self._rows):
                    state = "waiting" if identity in wanted else "kept" if node.status == "made" else ""
                    if state:
                        self._rows[identity] = (node, state, "")

    def started(self, node: Node) -> None:
        """Mark a product as being made."""
        super().started(node)
        with self._lock:
            self._begun[node.identity] = time.monotonic()
            self._rows[node.identity] = (node, "making", "")

    def finished(self, node: Node, outcome: Outcome) -> None:
        """Mark a product as made or failed."""
        super().finished(node, outcome)
        state = "made" if outcome.status == "made" else "failed"
        note = f"{outcome.seconds:.1f} s" if outcome.status == "made" else outcome.reason
        with self._lock:
            self._rows[node.identity] = (node, state, note)

    def said(self, text: str) -> None:
        """Print a line above the table."""
        super().said(text)
        self.console.print(Text(text, style="yellow"))

    def _table(self) -> RenderableType:
        with self._lock:
            rows = list(self._rows.values())
            now = time.monotonic()
            begun = dict(self._begun)
        counts = Counter(state for _, state, _ in rows)
        done = [row for row in rows if row[1] in ("made", "kept")]
        open_rows = [row for row in rows if row[1] not in ("made", "kept")]
        shown = [*done[-max(0, _ROWS - len(open_rows)) :], *open_rows][:_ROWS]
        table = Table(box=None, pad_edge=False, show_header=False)
        for _ in range(4):
            table.add_column(no_wrap=True, overflow="ellipsis")
        for node, state, note in shown:
            if state == "making":
                note = f"{now - begun[node.identity]:.0f} s"
            mark: RenderableType = Spinner("dots") if state == "making" else Text(" ")
            table.add_row(
                mark,
                Text(f"{node.month}  {node.name}"),
                Text(state, style=_STYLE[state]),
                Text(note or node.kind),
            )
        words = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
        return Group(table, Text(words, style="bold"))


@contextmanager
def listening() -> Iterator[LineListener]:
    """Show on standard error how a run goes on: a table at a terminal, else lines.

    SIGTERM ends the run like Ctrl-C: products in the making are finished, and the run is recorded.

    Yields
    ------
    LineListener
        For the run.
    """

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    errors = Console(stderr=True)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    level = logger.level
    before = signal.signal(signal.SIGTERM, end)
    logger.setLevel(logging.INFO)
    try:
        if errors.is_terminal:
            with LiveListener(errors) as listener:
                yield listener
        else:
            logger.addHandler(handler)
            yield LineListener()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        signal.signal(signal.SIGTERM, before)


def print_result(result: Result, console: Console) -> None:
    """Print what became of a run: a line for each product, the verdict of each month, and what failed.

    Parameters
    ----------
    result : Result
        Of the run.
    console : rich.console.Console
        Where to.
    """
    plan = result.plan
    if not plan.nodes:
        print_left_out(plan, console)
    for one in plan.months:
        name = one.month.name
        verdict = result.verdict(name)
        style = {"PASS": "bold green", "FAIL": "bold red"}.get(verdict, "bold yellow")
        table = Table(box=None, pad_edge=False, show_edge=False)
        for column in ("product", "procedure and reason", "", "time (s)"):
            table.add_column(column, overflow="fold", justify="right" if "(s)" in column else "left")
        nodes = [node for node in plan.nodes.values() if node.month == name and node.kind != "biassub"]
        for node in nodes:
            outcome = result.outcomes.get(node.identity)
            text = Text(node.reason)
            for caution in node.cautions:
                text.append(f"\nCAUTION {caution}", style="yellow")
            if outcome is not None and outcome.status != "made":
                text.append(f"\n{outcome.reason}", style="red")
            state = {"made": "kept"}.get(node.status, "") if outcome is None else outcome.status
            state = "not made" if state == "waiting" else state
            seconds = f"{outcome.seconds:.1f}" if outcome is not None and outcome.status == "made" else ""
            table.add_row(Text(node.name), text, Text(state, style=_STYLE.get(state, "")), seconds)
        for identity, outcome in result.outcomes.items():
            if identity not in plan.nodes and identity.startswith(f"{name}/"):
                state = "failed" if outcome.status == "failed" else "not made"
                text = Text(outcome.reason, style="red")
                table.add_row(
                    Text(identity.rpartition("/")[2]), text, Text(state, style=_STYLE["failed"]), ""
                )
        for missing in plan.missing:
            if missing.month == name:
                table.add_row(Text("none", style="red"), Text(f"{missing}"), "", "")
        console.print(Text(f"\n{name}: ", style="bold").append(verdict, style=style))
        for caution in one.cautions:
            console.print(Text(f"CAUTION {caution}", style="yellow"))
        console.print(table)
    for fault in result.bad_raws:
        console.print(Text(f"CAUTION {fault}", style="yellow"), soft_wrap=True)
    print_refused(plan, console)
    counts = Counter(one.status for one in result.outcomes.values())
    kept = sum(
        node.status == "made" and node.identity not in result.outcomes and node.kind != "biassub"
        for node in plan.nodes.values()
    )
    words = [f"{counts['made']} product{'s' * (counts['made'] != 1)} made", f"{kept} kept"]
    if result.failed:
        words.append(f"{len(result.failed)} not made")
    if result.interrupted:
        words.append("ended before its time")
    console.print(Text(f"\n{', '.join(words)}, in {result.seconds:.1f} s: {plan.output}", style="bold"))
