"""`refstis score`: a product against the truth of its simulation."""

from pathlib import Path
from typing import Annotated, Any

import typer

from refstis.commands.options import ProfileName

__all__ = ["score"]


def score(
    product: Annotated[
        Path,
        typer.Argument(
            help="Superbias, superdark, or one calibrated bias or dark; or the folder of a simulation, whose "
            "products are then made (into a folder that is removed) with --profile."
        ),
    ],
    truth: Annotated[
        Path | None,
        typer.Option(help="truth.asdf of the simulation, or its folder.", show_default="PRODUCT, a folder"),
    ] = None,
    profile: ProfileName = "heritage",
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write a page with the figures and plots.")] = None,
    rejected: Annotated[
        Path | None, typer.Option(help="File with the masks of the rejection of cosmic rays (DQ 8192).")
    ] = None,
) -> None:
    """Compare a product with the truth of the simulation that it was made from."""
    import json as encoder

    from refstis.errors import ConfigurationError
    from refstis.simulation.scoring import compare

    if product.is_dir():
        if page is not None or rejected is not None:
            raise ConfigurationError("--page and --rejected: are of a single product; name a file")
        scores = _of_month(product, truth or product, profile)
        if json:
            typer.echo(encoder.dumps(scores, indent=1))
        else:
            for figures in scores:
                _tell(figures)
        return
    if profile != "heritage":
        raise ConfigurationError(
            f"--profile {profile}: {product} is made already; name the folder of a simulation"
        )
    if truth is None:
        raise ConfigurationError(f"{product}: its truth is needed: name the truth.asdf with --truth")
    comparison = compare(product, truth, rejected=rejected)
    if page is not None:
        from refstis.simulation.page import write_page

        write_page(page, comparison)
    if json:
        typer.echo(encoder.dumps(comparison.figures, indent=1))
        return
    _tell(comparison.figures)
    if page is not None:
        typer.echo(f"page: {page}")


def _of_month(month: Path, truth: Path, profile: str) -> list[dict[str, Any]]:
    """Make the products of a simulated month, and score them."""
    from tempfile import TemporaryDirectory

    from rich.console import Console

    from refstis.demo.chain import make_products
    from refstis.simulation.scoring import compare
    from refstis.simulation.truth import Truth

    known = Truth.open(truth)
    with TemporaryDirectory(prefix="refstis-score-") as folder, Console(stderr=True).status("") as status:
        plan = make_products(
            month,
            Path(folder),
            profile,
            lambda _, done, total, name: status.update(f"making products: {done} of {total} {name}"),
            ("refstis", "score"),
        )
        nodes = [node for node in plan.nodes.values() if not node.intermediate]
        return [compare(plan.path(node), known).figures for node in nodes]


def _tell(figures: dict[str, Any]) -> None:
    typer.echo(
        f"{figures['product']}: {figures['kind']} of {figures['frames']} frames, unit {figures['unit']}"
    )
    for line in _lines(figures):
        typer.echo(line)


def _lines(figures: dict[str, Any]) -> list[str]:
    from refstis.simulation.page import summary

    rows = summary(figures)
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'':{width}}  {'value':>12}  {'limit':>12}"]
    lines += [f"{name:{width}}  {value:>12}  {limit:>12}" for name, value, limit in rows]
    return lines
