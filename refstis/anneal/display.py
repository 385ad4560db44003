"""A plan for people: a table at a terminal, and a picture of its graph."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from refstis.anneal.dates import isoformat
from refstis.anneal.plan import MonthPlan, Node, Plan

__all__ = ["console_for_tables", "graph_svg", "print_left_out", "print_plan", "print_refused", "summary"]

_STATUS_STYLE = {"new": "cyan", "made": "green", "remake": "yellow", "not needed": "dim"}
_LEFT_OUT_AT_MOST = 12


def console_for_tables() -> Console:
    """Console for standard output; in a file or a pipe lines are as long as a table needs.

    Returns
    -------
    rich.console.Console
        240 columns wide where standard output is no terminal.
    """
    console = Console()
    return console if console.is_terminal else Console(width=240)


def print_plan(plan: Plan, console: Console) -> None:
    """Print a plan: months, products with procedure and reason, what is missing and what is left out.

    Parameters
    ----------
    plan : Plan
        With the status of its nodes.
    console : rich.console.Console
        Where to.
    """
    for month in plan.months:
        nodes = [node for node in plan.nodes.values() if node.month == month.month.name]
        console.print(_month(plan, month, nodes))
    print_left_out(plan, console)
    print_refused(plan, console)
    console.print(Text(f"\n{summary(plan)}", style="bold"))


def print_left_out(plan: Plan, console: Console) -> None:
    """Print which exposures are used nowhere, and why.

    Parameters
    ----------
    plan : Plan
        With its exclusions.
    console : rich.console.Console
        Where to.
    """
    faults = [one for one in plan.exclusions if one.fault]
    others = [one for one in plan.exclusions if not one.fault]
    if faults:
        console.print(Text(f"\nBad exposures: {len(faults)}", style="bold red"))
        for one in faults:
            console.print(Text(f"  {one}"), soft_wrap=True)
    if others:
        console.print(Text(f"\nLeft out: {len(others)}", style="bold"))
        if len(others) <= _LEFT_OUT_AT_MOST:
            for one in others:
                console.print(Text(f"  {one}"), soft_wrap=True)
        else:
            reasons: dict[str, list[str]] = defaultdict(list)
            for one in others:
                reasons[one.reason].append(one.name)
            for reason, names in sorted(reasons.items(), key=lambda pair: -len(pair[1])):
                more = f" and {len(names) - 2} more" if len(names) > 2 else ""
                console.print(Text(f"  {', '.join(names[:2])}{more}: {reason}"), soft_wrap=True)


def print_refused(plan: Plan, console: Console) -> None:
    """Print which exposures belong to no month, and the remedy.

    Parameters
    ----------
    plan : Plan
        With what it refused.
    console : rich.console.Console
        Where to.
    """
    for one in plan.refused:
        console.print(Text(f"\nREFUSED {one}", style="bold red"), soft_wrap=True)


def summary(plan: Plan) -> str:
    """How many products there are, and how many of them are to be made.

    Parameters
    ----------
    plan : Plan
        With the status of its nodes.

    Returns
    -------
    str
        One line.
    """
    # What a run counts: files, sub-lists included. Bias-subtracted darks are never written.
    counts = Counter(node.status for node in plan.nodes.values() if node.kind != "biassub")
    total = sum(counts.values()) - counts["not needed"]
    darks = sum(node.status == "new" for node in plan.nodes.values() if node.kind == "biassub")
    parts = [
        f"{counts[status]} {word}"
        for status, word in (("new", "to make"), ("remake", "to make again"), ("made", "made"))
    ]
    months = f"{len(plan.months)} month{'s' * (len(plan.months) != 1)}"
    text = f"{months}, {total} product{'s' * (total != 1)}: {', '.join(parts)}"
    if darks:
        text += f"; {darks} darks to bias-subtract"
    if plan.missing:
        text += f"; {len(plan.missing)} not made"
    return text


def _month(plan: Plan, one: MonthPlan, nodes: Sequence[Node]) -> RenderableType:
    title = f"{one.month.name}  {isoformat(one.begin, 'minutes')} to {isoformat(one.end, 'minutes')} UTC"
    lines: list[RenderableType] = [
        Text(f"\n{title}", style="bold"),
        Text(
            f"weeks: {one.periods['WK'][0].reason}; two weeks: {one.periods['BIWK'][0].reason}", style="dim"
        ),
    ]
    lines += [Text(f"CAUTION {caution}", style="yellow") for caution in one.cautions]
    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in ("period", "product", "procedure and reason", "inputs", "status"):
        table.add_column(column, overflow="fold", no_wrap=column in ("period", "status"))
    for period, name, reason, inputs, status, why, cautions in _rows(nodes):
        text = Text(reason)
        for caution in cautions:
            text.append(f"\nCAUTION {caution}", style="yellow")
        told = Text(status, style=_STATUS_STYLE[status])
        if status == "remake":
            text.append(f"\nagain because: {why}", style="yellow")
        table.add_row(period, Text(name), text, inputs, told)
    for missing in plan.missing:
        if missing.month == one.month.name:
            table.add_row(
                missing.period,
                Text("none", style="red"),
                Text(f"no {missing.kind}: {missing.reason}"),
                "",
                "",
            )
    lines.append(table)
    return Group(*lines)


def _rows(nodes: Sequence[Node]):
    """One row a product; the bias-subtracted darks of a week with one status share a row."""
    darks: dict[tuple[str, str, str], list[Node]] = defaultdict(list)
    for node in nodes:
        if node.kind == "biassub":
            darks[(node.period.name, node.status, node.reason)].append(node)
    shown = set()
    for node in nodes:
        if node.kind != "biassub":
            count = len(node.inputs)
            yield (
                node.period.name, node.name, node.reason, f"{count} files", node.status, node.why, node.cautions,
            )  # fmt: skip
            continue
        key = (node.period.name, node.status, node.reason)
        if key not in shown:
            shown.add(key)
            group = darks[key]
            why = "; ".join(dict.fromkeys(one.why for one in group))
            plural = "s" if len(group) > 1 else ""
            name = f"{len(group)} bias-subtracted dark{plural}"
            yield node.period.name, name, node.reason, f"{len(group)} files", node.status, why, []


# ---------------------------------------------------------------------------- the picture

_COLUMNS = (("basebias",), ("refbias", "weekbias"), ("refaver",), ("biassub",), ("basedark",), ("weekdark",))
_FILL = {
    "basebias": "#d8e6f3", "refbias": "#d8e6f3", "weekbias": "#d8e6f3", "refaver": "#d8e6f3",
    "biassub": "#eeeeee", "basedark": "#f3e3d0", "weekdark": "#f3e3d0",
}  # fmt: skip
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 250, 46, 70, 14, 24


def graph_svg(plan: Plan) -> str:
    """Draw the graph of a plan.

    Parameters
    ----------
    plan : Plan
        Its months stand under each other; what is made of what runs from left to right. Raw exposures are
        given as numbers, and the bias-subtracted darks of a week share a box.

    Returns
    -------
    str
        An SVG document.
    """
    parts: list[str] = []
    top = float(_MARGIN)
    for one in plan.months:
        nodes = [node for node in plan.nodes.values() if node.month == one.month.name]
        drawing, height = _month_svg(one, nodes, top)
        parts += drawing
        top += height + 2 * _MARGIN
    width = 2 * _MARGIN + len(_COLUMNS) * _WIDTH + (len(_COLUMNS) - 1) * _GAP_X
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top:g}" width="{width}" height="{top:g}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">\n'
        f"<title>{_text(summary(plan))}</title>\n"
        '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(text: str) -> str:
    return escape("".join(character if character.isprintable() else "?" for character in text))


def _month_svg(one: MonthPlan, nodes: Sequence[Node], top: float) -> tuple[list[str], float]:
    boxes: dict[str, list[Node]] = defaultdict(list)
    box_of: dict[str, str] = {}
    for node in nodes:
        box = f"{node.kind} {node.period.name}" if node.kind == "biassub" else node.identity
        boxes[box].append(node)
        box_of[node.identity] = box
    columns: list[list[str]] = [
        [box for box, members in boxes.items() if members[0].kind in kinds] for kinds in _COLUMNS
    ]
    places: dict[str, tuple[float, float]] = {}
    for number, column in enumerate(columns):
        for row, box in enumerate(column):
            # Half a row down, the basedark lets the darks' lines to the weekdarks pass.
            down = 0.5 if boxes[box][0].kind == "basedark" else 0.0
            places[box] = (
                _MARGIN + number * (_WIDTH + _GAP_X),
                top + 30 + (row + down) * (_HEIGHT + _GAP_Y),
            )
    edges = dict.fromkeys(
        (box_of[parent], box_of[node.identity])
        for node in nodes
        for parent in node.parents
        if parent in box_of
    )
    title = f"{one.month.name}: {isoformat(one.begin, 'days')} to {isoformat(one.end, 'days')}"
    parts = [f'<text x="{_MARGIN}" y="{top + 14:g}" font-size="16" font-weight="bold">{_text(title)}</text>']
    for start, end in edges:
        x1, y1 = places[start][0] + _WIDTH, places[start][1] + _HEIGHT / 2
        x2, y2 = places[end][0], places[end][1] + _HEIGHT / 2
        bend = (x2 - x1) / 2
        parts.append(
            f'<path d="M{x1:g} {y1:g} C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}" '
            'fill="none" stroke="#8a8a8a"/>'
        )
    for box, (x, y) in places.items():
        parts += _box_svg(boxes[box], x, y)
    rows = 1 + max((len(column) for column in columns), default=0)
    return parts, 30 + rows * (_HEIGHT + _GAP_Y)


def _box_svg(members: Sequence[Node], x: float, y: float) -> Iterable[str]:
    node = members[0]
    if node.kind == "biassub":
        name = f"{node.period.name}: {len(members)} darks, bias-subtracted"
        detail = node.reason
    else:
        name = node.name
        detail = f"{node.kind}: {node.imsets} imsets" if node.imsets else node.reason
    statuses = {member.status for member in members}
    stroke = "#b8860b" if statuses & {"new", "remake"} else "#2e7d32"
    state = "to make" if statuses & {"new", "remake"} else "made"
    tooltip = "\n".join([node.name if len(members) == 1 else name, node.reason, state, *node.cautions])
    mark = ' stroke-dasharray="5 3"' if node.cautions else ""
    yield f"<g><title>{_text(tooltip.replace(chr(10), ' · '))}</title>"
    yield (
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" fill="{_FILL[node.kind]}" '
        f'stroke="{stroke}" stroke-width="1.5"{mark}/>'
    )
    yield f'<text x="{x + 8:g}" y="{y + 19:g}">{_text(_short(name))}</text>'
    yield f'<text x="{x + 8:g}" y="{y + 36:g}" fill="#555555" font-size="11">{_text(_short(detail, 44))}</text></g>'


def _short(text: str, length: int = 38) -> str:
    return text if len(text) <= length else f"{text[: length - 8]}...{text[-5:]}"
