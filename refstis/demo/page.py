"""The page of the demonstration: what was made, what it looks like, and how right it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refstis.demo import figures
from refstis.simulation.page import summary
from refstis.simulation.scoring import Comparison
from refstis.simulation.truth import Truth

if TYPE_CHECKING:
    from refstis.anneal.plan import Node, Plan
    from refstis.demo.chain import Demonstration

__all__ = ["COLUMNS", "Page", "headlines", "label", "next_steps", "rows"]

_WHAT = {
    "basebias": "Baseline superbias",
    "refbias": "Superbias",
    "refaver": "Superbias",
    "weekbias": "Superbias on the baseline",
    "basedark": "Baseline superdark",
    "weekdark": "Superdark",
}


class Page:
    """Collects what the page shows, product by product: only drawings are kept, no pixels.

    Parameters
    ----------
    truth : Truth
        Of the simulated month.
    month : pathlib.Path
        Folder of the raws.
    """

    def __init__(self, truth: Truth, month: Path):
        self._truth, self._month = truth, month
        self._products: list[dict[str, Any]] = []
        self._zooms: list[figures.Picture] = []
        self._flags: list[tuple[str, dict[str, Any]]] = []
        self._hot: list[tuple[str, float, float, int]] = []
        self._poster: bytes = b""

    def add(self, node: Node, comparison: Comparison) -> None:
        """Draw a product.

        Parameters
        ----------
        node : Node
            Of the plan.
        comparison : Comparison
            Of the product with the truth.
        """
        name = f"product-{len(self._products) + 1}"
        dark = comparison.figures["kind"] == "dark"
        draw = figures.hot_rates if dark else figures.errors
        plots = [one(comparison, f"{name}-{one.__name__}") for one in (figures.pulls, draw, figures.columns)]
        if dark:
            self._flags.append((label(node), comparison.figures["flags"]))
            self._hot.append((label(node), *self._days(node), int((comparison.value >= 0.1).sum())))
        if node.kind == "weekdark" and not self._zooms:
            window = figures.zoom_window(comparison)
            single = self._single(node)
            self._zooms = figures.zooms(single, comparison, window)
            self._poster = figures.poster(single, comparison, window)
        self._products.append(
            {
                "anchor": name,
                "name": node.name,
                "label": label(node),
                "what": _WHAT[node.kind],
                "reason": node.reason,
                "cautions": node.cautions,
                "images": figures.images(comparison, name),
                "plots": plots,
                "figures": comparison.figures,
            }
        )

    def _days(self, node: Node) -> tuple[float, float]:
        """First and last dark of a superdark, in days since the anneal."""
        frames = self._truth.select(one.name for one in node.inputs if one.role == "dark")
        days = self._truth.frames["mjd"][frames] - self._truth.detector.begin
        return float(days.min()), float(days.max())

    def _hot_pixels(self) -> figures.Picture:
        truth = self._truth
        darks = np.flatnonzero(truth.frames["kind"] == "dark")
        true = [int((truth.dark_rate(darks[n : n + 1]) >= 0.1).sum()) for n in range(darks.size)]
        return figures.hot_pixels(
            truth.frames["mjd"][darks] - truth.detector.begin, true, self._hot[:3], "hot-pixels"
        )

    def _single(self, node: Node) -> np.ndarray:
        """The first dark of a product as a rate, with everything that is in it but its bias level."""
        from astropy.io import fits

        name = next(one.name for one in node.inputs if one.role == "dark")
        truth = self._truth
        frame = int(truth.select([name])[0])
        seconds = float(truth.frames["exptime"][frame])
        seconds *= truth.detector.base_factor(float(truth.frames["temperature"][frame]))
        raw = fits.getdata(self._month / f"{name.partition('_')[0]}_raw.fits", ("SCI", 1)).astype(np.float64)
        return (raw[truth.readout(frame).trim] - truth.frames["level"][frame]) / seconds

    def write(self, demo: Demonstration, plan: Plan) -> None:
        """Write the page, and the picture of a superdark beside it.

        Parameters
        ----------
        demo : Demonstration
            With the scores of all products.
        plan : Plan
            What was made of what.
        """
        from importlib.metadata import version

        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup

        from refstis.datamodels import config_path
        from refstis.datamodels.atomic import atomic_write

        # The drawings are our own, and the texts in them are escaped.
        for product in self._products:
            product["details"] = summary(product["figures"])
        folder = config_path("templates")
        environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            keep_trailing_newline=True,
        )
        environment.filters["drawing"] = lambda picture: Markup(picture.svg)  # noqa: S704
        frames = self._truth.frames
        text = environment.get_template(
            "demo.html"
        ).render(
            style=Markup((folder / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
            version=version("refstis"),
            seed=self._truth.detector.seed,
            epoch=self._truth.detector.epoch,
            days=int(plan.months[0].end - plan.months[0].begin),
            raws=demo.raws,
            biases=int((frames["kind"] == "bias").sum()),
            darks=int((frames["kind"] == "dark").sum()),
            headlines=headlines(demo.scores),
            columns=COLUMNS,
            rows=rows(demo.scores),
            products=self._products,
            zooms=self._zooms,
            month=[figures.completeness(self._flags[:3], "completeness"), self._hot_pixels()],
            missing=[str(one) for one in plan.missing],
            steps=next_steps(demo),
        )
        with atomic_write(demo.page, "w") as file:
            file.write(text)
        with atomic_write(demo.folder / "superdark.png") as file:
            file.write(self._poster)


def label(node: Node) -> str:
    """What a product is called in a legend.

    Parameters
    ----------
    node : Node
        Of the plan.

    Returns
    -------
    str
        Such as ``weekdark wk01``, or ``refbias 4-1x1 biwk01`` for one of gain 4.
    """
    words = [node.kind]
    if node.exposures and node.exposures[0].role == "bias":
        words += [part for part in node.identity.split("/")[1:-1] if "-" in part]
    if node.period.name != "month":
        words.append(node.period.name)
    return " ".join(words)


COLUMNS = ("Product", "Frames", "Unit", "Error", "Noise", "Least noise", "Hot pixels flagged", "Error / ERR")


def rows(scores: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The score of each product in a line, for the page and for the terminal.

    Parameters
    ----------
    scores : list of dict
        Of a `Demonstration`.

    Returns
    -------
    list of dict
        By column.
    """
    table = []
    for score in scores:
        found = score["figures"]
        ordinary, flags = found["ordinary"], found.get("flags")
        dark = found["kind"] == "dark"
        digits = 5 if dark else 3
        table.append(
            {
                "Product": score["name"],
                "Frames": str(found["frames"]),
                "Unit": "e-/s" if dark else "DN",
                "Error": f"{ordinary['median']:+.{digits}f}",
                "Noise": f"{ordinary['robust_rms']:.{digits}f}",
                "Least noise": f"{ordinary['robust_rms_limit']:.{digits}f}",
                "Hot pixels flagged": f"{100.0 * flags['completeness']:.1f} %" if flags else "",
                "Error / ERR": f"{found['pulls']['ordinary']['standard_deviation']:.2f}",
            }
        )
    return table


def headlines(scores: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The figures that a superdark is judged by.

    Parameters
    ----------
    scores : list of dict
        Of a `Demonstration`.

    Returns
    -------
    list of tuple of str
        Figure, and what it is: of the last superdark, which is a week's.
    """
    found = next(one["figures"] for one in reversed(scores) if one["figures"]["kind"] == "dark")
    ordinary, flags = found["ordinary"], found["flags"]
    return [
        (
            f"{100.0 * ordinary['median'] / found['true_median']:+.1f} %",
            f"is the error of the dark rate of ordinary pixels, which is {found['true_median']:.4f} e⁻/s",
        ),
        (
            f"{ordinary['robust_rms_ratio']:.2f} ×",
            f"the noise that {found['frames']} darks must have: less than 1, where a week borrows from its month",
        ),
        (
            f"{100.0 * flags['completeness']:.1f} %",
            f"of {flags['hot']:,} hot pixels are flagged; {100.0 * flags['purity']:.0f} % of what is flagged is hot",
        ),
        (
            f"{100.0 * found['hot']['relative_bias']:+.1f} %",
            "is the median error of the rate of hot pixels",
        ),
    ]


def next_steps(demo: Demonstration) -> list[tuple[str, str]]:
    """Commands to try next.

    Parameters
    ----------
    demo : Demonstration
        What was made.

    Returns
    -------
    list of tuple of str
        Command, and what it does.
    """
    from shlex import quote

    month, products = quote(str(demo.month)), quote(str(demo.products))
    tables, anneals = quote(str(demo.month.resolve() / "oref")), quote(str(demo.month / "anneals.csv"))
    superdark = quote(str(demo.folder / demo.scores[-1]["file"]))
    return [
        (f"refstis score {superdark} --truth {month}", "every figure of one product"),
        (
            f"oref={tables}/ refstis plan {month} --anneals {anneals} --profile {quote(demo.profile)} -o {products}",
            "what was made, of what, and why",
        ),
        (
            f"refstis report {quote(str(demo.folder.joinpath(*Path(demo.scores[0]['file']).parts[:2])))}",
            "the checks before a delivery, and their page",
        ),
        ("refstis simulate month", "a whole month, with as many exposures as a real one"),
        (
            "oref=$PWD/month/oref/ refstis run month --anneals month/anneals.csv -o products",
            "its reference files, with the thresholds that hold for real months",
        ),
    ]
