"""A self-contained page that shows how close a product comes to the truth."""

import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from refstis.datamodels.atomic import atomic_write
from refstis.simulation.scoring import Comparison

__all__ = ["figures_of", "summary", "write_page"]

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ figures.product }} against the truth</title>
<style>
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; color: #1c2530;
} h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0; overflow-wrap: anywhere; } h2 { font-size:
1.15rem; margin: 2rem 0 0.5rem; } p.note { color: #4b5563; margin: 0.25rem 0 1rem; } table { border-collapse:
collapse; width: 100%; } th, td { padding: 0.3rem 0.5rem; border-bottom: 1px solid #d7dce2; text-align: right;
font-variant-numeric: tabular-nums; } th:first-child, td:first-child { text-align: left; } figure { margin:
1rem 0; } figure img { width: 100%; height: auto; } figcaption { color: #4b5563; font-size: 0.9rem; } .pair {
display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem; } .pair figure {
margin: 0; min-width: 0; } </style> </head> <body> <h1>{{ figures.product }} against the truth</h1> <p
class="note">{{ figures.kind | capitalize }} of {{ figures.frames }} simulated frames in {{ figures.exposures
}} exposures (epoch {{ figures.epoch }}, seed {{ figures.seed }}). Values in {{ figures.unit }}. The limits
are the best that these exposures allow: photon and read noise only, no cosmic rays, a known bias.</p> <table>
<thead><tr><th scope="col">Figure</th><th scope="col">Value</th><th scope="col">Limit</th></tr></thead>
<tbody> {%- for name, value, limit in rows %} <tr><td>{{ name }}</td><td>{{ value }}</td><td>{{ limit
}}</td></tr> {%- endfor %} </tbody> </table> <h2>Images</h2> <div class="pair"> {%- for plot in plots if
plot.half %} <figure><img alt="{{ plot.alt }}" src="data:image/png;base64,{{ plot.data }}"><figcaption>{{
plot.caption }}</figcaption></figure> {%- endfor %} </div> <h2>Plots</h2> <div class="pair"> {%- for plot in
plots if not plot.half %} <figure><img alt="{{ plot.alt }}" src="data:image/png;base64,{{ plot.data
}}"><figcaption>{{ plot.caption }}</figcaption></figure> {%- endfor %} </div> </body> </html>
"""


def _number(value: float | int | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100.0 * value:.3g} %"


def summary(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The most telling figures of a score.

    Parameters
    ----------
    figures : dict
        What `refstis.simulation.score` returns.

    Returns
    -------
    list of tuple of str
        Name, value and limit.
    """
    rows: list[tuple[str, str, str]] = []

    def add(name: str, section: dict[str, Any], key: str) -> None:
        if key in section:
            rows.append((name, _number(section[key]), _number(section.get(f"{key}_limit"))))

    labels = {
        "ordinary": "ordinary pixels",
        "warm": "warm pixels (below 0.1)",
        "hot": "hot pixels (from 0.1)",
        "hot_columns": "hot columns",
        "hot_pixels": "hot pixels",
    }
    for key, label in labels.items():
        section = figures.get(key, {})
        add(f"{label}: number", section, "pixels")
        for name in ("mean", "median", "rms", "robust_rms", "largest"):
            add(f"{label}: {name.replace('_', ' ')} of the error", section, name)
    if "saturated" in figures:
        rows.append(("saturated and bled into, left out above", _number(figures["saturated"]), ""))
    add("hot pixels: relative bias", figures.get("hot", {}), "relative_bias")
    add("column means: rms of the error", figures["columns"], "rms")
    add("column means: largest error", figures["columns"], "largest")
    add("column means: tilt across the image", figures["columns"], "tilt")
    for key, section in figures["pulls"].items():
        add(f"pulls, {key} pixels: standard deviation", section, "standard_deviation")
        add(f"pulls, {key} pixels: of the core", section, "robust_standard_deviation")
        if "beyond_5" in section:
            rows.append((f"pulls, {key} pixels: beyond 5", _percent(section["beyond_5"]), "0 %"))
        add(f"pulls, {key} pixels: with ERR = 0", section, "without_error")
    flags = figures.get("flags")
    if flags:
        rows += [
            ("pixels flagged as hot", _number(flags["flagged"]), _number(flags["hot"])),
            ("flagged of those above 0.12", _percent(flags["completeness_above_0.12"]), "100 %"),
            ("flagged of those below 0.08", _percent(flags["false_below_0.08"]), "0 %"),
            ("hot (from 0.1) of those flagged", _percent(flags["purity"]), "100 %"),
        ]
    rejection = figures.get("rejection")
    if rejection:
        rows += [
            ("cosmic rays above 5 sigma found", _percent(rejection["completeness_above_5_sigma"]), "100 %"),
            ("pixels rejected without a ray", _percent(rejection["false_alarms"]), "0 %"),
        ]
    return rows


def figures_of(comparison: Comparison) -> list[dict[str, Any]]:
    """Plots of a comparison.

    Parameters
    ----------
    comparison : Comparison
        Figures and images.

    Returns
    -------
    list of dict
        ``data`` (PNG, base64), ``caption``, ``alt`` and ``half`` (an image, not a plot).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    unit = comparison.figures["unit"]
    error = comparison.value - comparison.truth
    ordinary = comparison.ordinary
    margin = 2.0 * float(np.median(comparison.limit))
    low, high = np.quantile(comparison.truth, (0.005, 0.97)) + np.array([-margin, margin])
    width = 4.0 * float(np.median(comparison.limit[ordinary]))
    plots = []

    def keep(figure: Figure, caption: str, half: bool) -> None:
        stream = io.BytesIO()
        FigureCanvasAgg(figure).print_png(stream)
        data = base64.b64encode(stream.getvalue()).decode()
        plots.append({"data": data, "caption": caption, "alt": caption, "half": half})

    def image(data: np.ndarray, low: float, high: float, cmap: str, caption: str) -> None:
        figure = Figure(figsize=(5.2, 4.4), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        shown = axes.imshow(data, vmin=low, vmax=high, cmap=cmap, origin="lower", interpolation="nearest")
        axes.set_xlabel("column")
        axes.set_ylabel("row")
        figure.colorbar(shown, ax=axes, label=unit, extend="both")
        keep(figure, caption, True)

    image(comparison.value, low, high, "viridis", "The product")
    image(comparison.truth, low, high, "viridis", "The truth, on the same scale")
    image(error, -width, width, "RdBu_r", "Product minus truth; the scale is four times the limit")

    def axes_of(xlabel: str, ylabel: str) -> tuple[Figure, Any]:
        figure = Figure(figsize=(5.6, 3.8), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(alpha=0.3)
        axes.locator_params(axis="x", nbins=6)
        return figure, axes

    figure, axes = axes_of(f"error of ordinary pixels ({unit})", "pixels")
    edges = np.linspace(-1.5 * width, 1.5 * width, 121)
    axes.hist(error[ordinary], bins=edges, histtype="stepfilled", color="#7aa6d8", label="product")
    centers = 0.5 * (edges[1:] + edges[:-1])
    sigma = comparison.limit[ordinary]
    expected = np.zeros_like(centers)
    for part in np.quantile(sigma, np.linspace(0.05, 0.95, 10)):
        expected += np.exp(-0.5 * (centers / part) ** 2) / part
    expected *= ordinary.sum() * (edges[1] - edges[0]) / (10.0 * np.sqrt(2.0 * np.pi))
    axes.plot(centers, expected, color="#b3261e", label="limit")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    axes.legend()
    keep(figure, "Errors of ordinary pixels, and what photon and read noise alone would leave", False)

    figure, axes = axes_of("column", f"mean error ({unit})")
    count = np.maximum(ordinary.sum(axis=0), 1)
    axes.plot(np.where(ordinary, error, 0.0).sum(axis=0) / count, ".", markersize=3, color="#2f5d8a")
    best = np.sqrt(np.where(ordinary, comparison.limit**2, 0.0).sum(axis=0)) / count
    reach = 6.0 * float(np.median(best)) + 2.0 * abs(float(np.median(error[ordinary])))
    axes.set_ylim(-reach, reach)
    axes.fill_between(
        np.arange(best.size), -2 * best, 2 * best, color="#b3261e", alpha=0.25, label="limit, 2 sigma"
    )
    axes.legend()
    keep(figure, "Mean error of each column (ordinary pixels)", False)

    figure, axes = axes_of("(value - truth) / ERR", "density")
    bins = np.linspace(-7.0, 7.0, 141)
    for label, chosen in (("ordinary", ordinary), ("hot", ~ordinary)):
        use = chosen & (comparison.error > 0.0)
        if use.any():
            pulls = np.clip(error[use] / comparison.error[use], -6.99, 6.99)
            axes.hist(pulls, bins=bins, histtype="step", density=True, label=label)
    middle = 0.5 * (bins[1:] + bins[:-1])
    axes.plot(
        middle, np.exp(-0.5 * middle**2) / np.sqrt(2.0 * np.pi), color="black", linewidth=1, label="normal"
    )
    axes.set_yscale("log")
    axes.set_ylim(1e-6, 1.0)
    axes.legend()
    keep(figure, "Pulls: does ERR tell the truth?", False)

    flags = comparison.figures.get("flags")
    if flags:
        rows = [row for row in flags["by_rate"] if row["flagged"] is not None]
        figure, axes = axes_of("true rate (electrons/s)", "fraction flagged as hot")
        middles = [np.sqrt(max(row["from"], 0.01) * min(row["to"], 100.0)) for row in rows]
        axes.plot(middles, [row["flagged"] for row in rows], "o-", color="#2f5d8a")
        axes.axvline(0.1, color="#b3261e", linewidth=1)
        axes.set_xscale("log")
        axes.set_ylim(-0.03, 1.03)
        keep(figure, "Pixels with DQ 16 by their true rate; the line is the limit of the definition", False)

        figure, axes = axes_of("true rate (electrons/s)", "value / truth")
        hot = np.flatnonzero(comparison.truth.ravel() >= 0.03)[:60000]
        true = comparison.truth.ravel()[hot]
        axes.plot(true, comparison.value.ravel()[hot] / true, ",", color="#2f5d8a", alpha=0.5)
        axes.axhline(1.0, color="#b3261e", linewidth=1)
        axes.set_xscale("log")
        axes.set_ylim(0.0, 2.0)
        keep(figure, "Rates of warm and hot pixels", False)
    return plots


def write_page(path: str | os.PathLike[str], comparison: Comparison) -> Path:
    """Write the page.

    Parameters
    ----------
    path : str or os.PathLike
        HTML file.
    comparison : Comparison
        Figures and images.

    Returns
    -------
    pathlib.Path
        The file.
    """
    from jinja2 import Environment

    template = Environment(autoescape=True).from_string(_TEMPLATE)
    text = template.render(
        figures=comparison.figures,
        rows=summary(comparison.figures),
        plots=figures_of(comparison),
    )
    path = Path(path)
    with atomic_write(path, "w") as file:
        file.write(text)
    return path
