"""`refstis score`: a product against the truth of its simulation."""

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["score"]


def score(
    product: Annotated[Path, typer.Argument(help="Superbias, superdark, or one calibrated bias or dark.")],
    truth: Annotated[Path, typer.Option(help="truth.asdf of the simulation, or its folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write a page with the figures and plots.")] = None,
    rejected: Annotated[
        Path | None, typer.Option(help="File with the masks of the rejection of cosmic rays (DQ 8192).")
    ] = None,
) -> None:
    """Compare a product with the truth of the simulation that it was made from."""
    import json as encoder

    from refstis.simulation.scoring import compare

    comparison = compare(product, truth, rejected=rejected)
    if page is not None:
        from refstis.simulation.page import write_page

        write_page(page, comparison)
    if json:
        typer.echo(encoder.dumps(comparison.figures, indent=1))
        return
    figures = comparison.figures
    typer.echo(
        f"{figures['product']}: {figures['kind']} of {figures['frames']} frames, unit {figures['unit']}"
    )
    for line in _lines(figures):
        typer.echo(line)
    if page is not None:
        typer.echo(f"page: {page}")


def _lines(figures: dict[str, Any]) -> list[str]:
    from refstis.simulation.page import summary

    rows = summary(figures)
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'':{width}}  {'value':>12}  {'limit':>12}"]
    lines += [f"{name:{width}}  {value:>12}  {limit:>12}" for name, value, limit in rows]
    return lines
