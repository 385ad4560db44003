"""`refstis simulate`: raw exposures of a detector of which everything is known."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["simulate"]


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write to; made if need be.")],
    months: Annotated[int, typer.Option(min=1, help="Number of anneal months.")] = 1,
    days: Annotated[float | None, typer.Option(min=1.0, help="Days of a month (default: 28).")] = None,
    product: Annotated[
        list[str] | None,
        typer.Option(
            help="biases, darks, short-darks, binned, anneals or science; may be given several times.  "
            "(default: biases and darks)"
        ),
    ] = None,
    imsets: Annotated[
        str | None,
        typer.Option(help="Bias imsets of each week, such as 130,104,61,118, which is the default."),
    ] = None,
    epoch: Annotated[int, typer.Option(help="1999, 2009, 2017 or 2023.")] = 2017,
    seed: Annotated[int, typer.Option(help="Everything follows from it.")] = 0,
    amp: Annotated[str, typer.Option(help="Amplifier: A, B, C or D.")] = "D",
    gain: Annotated[int, typer.Option(help="CCDGAIN: 1 or 4.")] = 1,
    binning: Annotated[str, typer.Option(help="BINAXIS1,BINAXIS2.")] = "1,1",
    size: Annotated[str, typer.Option(help="full, or small: a sixteenth of the pixels.")] = "full",
    cti: Annotated[
        bool, typer.Option("--cti", help="With charge transfer inefficiency and its trails.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Frames at a time (default: one per processor).")
    ] = None,
) -> None:
    """Simulate anneal months of raw exposures whose truth is known."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from refstis.errors import ConfigurationError
    from refstis.simulation.month import simulate as run

    weekly, bins = _integers("--imsets", imsets), _integers("--binning", binning) or []
    if len(bins) != 2:
        raise ConfigurationError(f"--binning {binning!r}: give BINAXIS1 and BINAXIS2, such as 2,1")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("raw files", total=None)
        made = run(
            out,
            months=months,
            days=days,
            products=tuple(product or ("biases", "darks")),
            imsets=weekly,
            epoch=epoch,
            seed=seed,
            amp=amp.upper(),
            gain=gain,
            binning=(bins[0], bins[1]),
            size=size,
            cti=cti,
            threads=threads,
            progress=lambda done, total, name: bar.update(
                task, completed=done, total=total, description=name
            ),
        )
    typer.echo(f"{len(made.raws)} raw files in {made.folder}")
    typer.echo(f"associations:     {len(made.associations)} files *_asn.json beside them")
    typer.echo(f"reference tables: export oref={made.oref.resolve()}/")
    typer.echo(f"anneal table:     {made.anneals}")
    typer.echo(f"truth:            {made.truth}")
    if product and "science" in product:
        typer.echo(f"science:          {', '.join(map(str, _science(made.raws)))}")


def _science(raws: list[Path]) -> list[Path]:
    from astropy.io import fits

    return [path for path in raws if fits.getval(path, "TARGNAME") not in ("BIAS", "DARK")]


def _integers(option: str, text: str | None) -> list[int] | None:
    from refstis.errors import ConfigurationError

    if text is None:
        return None
    try:
        return [int(part) for part in text.replace("x", ",").split(",") if part.strip()]
    except ValueError:
        raise ConfigurationError(f"{option} {text!r}: give whole numbers with commas between them") from None
