"""Pictures of the demonstration's page: SVG drawings that take the page's colours, with pixels as small PNG."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from refstis.simulation.scoring import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Picture",
    "columns",
    "completeness",
    "errors",
    "hot_pixels",
    "hot_rates",
    "images",
    "poster",
    "pulls",
    "zoom_window",
    "zooms",
]

# Colours that the page replaces, so that a drawing follows a dark or a light page. The two of the data are Okabe's
# and Ito's blue and vermilion, which all kinds of colour vision tell apart; lines differ in their dashes as well.
INK, FAINT, FIRST, SECOND = "#010203", "#040506", "#0072b2", "#d55e00"
_PAGE_COLOURS = {INK: "currentColor", FAINT: "var(--line)", FIRST: "var(--first)", SECOND: "var(--second)"}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)))
_MARKERS = "o^s"
_LEVELS = 64
# Rates of the pictures in which hot pixels, from 0.1 on, are to stand out (e-/s).
_ZOOMED = (0.0, 0.15)
_RATE = "e⁻/s at 18 °C"
_RATES, _COUNTS, _DIFFERENCES, _DENSITY = "inferno", "viridis", "RdBu_r", "density"
_STYLE: Any = {
    "font.size": 10.5, "svg.fonttype": "none", "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "grid.color": FAINT, "grid.linewidth": 0.6, "legend.frameon": False,
    "legend.fontsize": 10.0, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A drawing for the page.

    Attributes
    ----------
    svg : str
        The drawing.
    caption : str
        What it shows, with units.
    """

    svg: str
    caption: str


@dataclass(frozen=True)
class _Scale:
    """How values become colours."""

    low: float
    high: float
    cmap: str
    label: str


def _colours(cmap: str) -> np.ndarray:
    """RGBA of the levels, 0 to 255."""
    import matplotlib as mpl

    if cmap == _DENSITY:
        # from nothing to a blue that shows on dark and light pages
        colours = np.tile((0.23, 0.56, 0.77, 1.0), (_LEVELS, 1))
        colours[:, 3] = np.linspace(0.0, 1.0, _LEVELS)
    else:
        colours = mpl.colormaps[cmap](np.linspace(0.0, 1.0, _LEVELS))
    return np.round(colours * 255).astype(np.uint8)


def _png(values: np.ndarray, scale: _Scale) -> str:
    """Pixels as a PNG of few colours, the first row at the bottom, for an ``href``."""
    from PIL import Image

    part = np.clip((values - scale.low) / (scale.high - scale.low), 0.0, 1.0)
    picture = Image.fromarray(np.round(part * (_LEVELS - 1)).astype(np.uint8)[::-1])
    colours = _colours(scale.cmap)
    picture.putpalette(colours[:, :3].tobytes())
    seen = {"transparency": colours[:, 3].tobytes()} if scale.cmap == _DENSITY else {}
    stream = io.BytesIO()
    picture.save(stream, "png", optimize=True, **seen)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _smaller(values: np.ndarray, most: int = 512) -> np.ndarray:
    """Means of blocks of pixels, so that neither side has more than `most`."""
    step = -(-max(values.shape) // most)
    ny, nx = (side // step * step for side in values.shape)
    return values[:ny, :nx].reshape(ny // step, step, nx // step, step).mean(axis=(1, 3))


def _svg(figure: Figure, name: str, alt: str, pixels: str = "") -> str:
    """A drawing as part of a page; `pixels` take the place of the axes' patch that is called ``pixels``."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    stream = io.StringIO()
    # The salt keeps the names within a drawing apart from those of the page's other drawings, and the same next time.
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(stream, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", text)
    text = re.sub(r' id="(?!m?[0-9a-z]{9,}")[^"]*"', "", text.replace('id="pixels"', "data-pixels"))
    for colour, replacement in _PAGE_COLOURS.items():
        text = text.replace(colour, replacement)
    if pixels:
        (axes,) = (one for one in figure.axes if one.patch.get_gid() == "pixels")
        box = axes.get_window_extent()
        place = f'x="{box.x0:.2f}" y="{figure.bbox.height - box.y1:.2f}"'
        size = f'width="{box.width:.2f}" height="{box.height:.2f}" preserveAspectRatio="none"'
        drawing = f'<image {place} {size} href="{pixels}"/>'
        text = re.sub(r"<g data-pixels>.*?</g>", lambda _: drawing, text, count=1, flags=re.DOTALL)
    head = re.search(r"<svg[^>]*>", text)
    assert head is not None  # noqa: S101 - matplotlib has just written it
    width, height = figure.bbox.width, figure.bbox.height
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(alt, quote=True)}">'
    return opening + text[head.end() :]


def _drawing(width: float, height: float) -> Figure:
    """A figure whose unit is the point, as that of SVG."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=72, facecolor="none")


def _plot(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = _drawing(5.1, 4.0)
    axes = figure.add_axes((0.165, 0.13, 0.815, 0.85), facecolor="none")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(visible=True)
    return figure, axes


def _square(shape: Sequence[int], corner: Sequence[int], step: int) -> tuple[Figure, Axes]:
    """Axes of an image, with room for a colour bar at its right."""
    figure = _drawing(5.1, 4.0)
    axes = figure.add_axes((0.72 / 5.1, 0.52 / 4.0, 3.4 / 5.1, 3.4 / 4.0), facecolor="none")
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.set_xlim(corner[1], corner[1] + shape[1] * step)
    axes.set_ylim(corner[0], corner[0] + shape[0] * step)
    axes.locator_params(nbins=6)
    axes.set_xlabel("column (pixels)")
    axes.set_ylabel("row (pixels)")
    return figure, axes


def _image(
    values: np.ndarray,
    scale: _Scale,
    name: str,
    caption: str,
    corner: Sequence[int] = (0, 0),
    step: int = 1,
) -> Picture:
    """An image with axes and colour bar; `step` pixels of the detector lie along one of `values`."""
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    with mpl.rc_context(_STYLE):
        figure, axes = _square(values.shape, corner, step)
        axes.patch.set_gid("pixels")
        bar = figure.colorbar(
            ScalarMappable(Normalize(scale.low, scale.high), scale.cmap),
            cax=figure.add_axes((4.24 / 5.1, 0.52 / 4.0, 0.13 / 5.1, 3.4 / 4.0)),
            extend="both",
            extendfrac=0.03,
            label=scale.label,
        )
        for mesh in bar.ax.collections:
            mesh.set_rasterized(True)
        return Picture(_svg(figure, name, f"{caption} ({scale.label})", _png(values, scale)), caption)


def images(comparison: Comparison, name: str) -> list[Picture]:
    """Draw a product, its truth on the same scale, and what is between them.

    Parameters
    ----------
    comparison : Comparison
        Product and truth.
    name : str
        Of the drawings, unique on the page.

    Returns
    -------
    list of Picture
        Three; of large images, means of blocks of pixels.
    """
    value, truth = _smaller(comparison.value), _smaller(comparison.truth)
    step = comparison.value.shape[1] // value.shape[1]
    dark = comparison.figures["kind"] == "dark"
    unit, cmap = _unit(comparison), _RATES if dark else _COUNTS
    noise = float(np.median(comparison.limit[comparison.ordinary])) / step
    # thousandths keep the numbers at the colour bar short
    factor = 1000.0 if dark else 1.0
    value, truth, noise = value * factor, truth * factor, noise * factor
    unit = f"10⁻³ {unit}" if dark else unit
    low, high = _stretch(truth, noise)
    scale = _Scale(low, high, cmap, unit)
    apart = _Scale(-4.0 * noise, 4.0 * noise, _DIFFERENCES, unit)
    return [
        _image(value, scale, f"{name}-value", "The product", step=step),
        _image(truth, scale, f"{name}-truth", "The truth, in the same colours", step=step),
        _image(
            value - truth,
            apart,
            f"{name}-apart",
            "Product minus truth; the colours end at four times the smallest possible noise",
            step=step,
        ),
    ]


def _stretch(image: np.ndarray, noise: float = 0.0) -> tuple[float, float]:
    """Ends of a scale for the many ordinary pixels: hot ones do not widen it."""
    middle = float(np.median(image))
    spread = 1.4826 * float(np.median(np.abs(image - middle))) + noise
    return middle - 3.0 * spread, middle + 6.0 * spread


def pulls(comparison: Comparison, name: str) -> Picture:
    """Draw the distribution of errors in units of ERR.

    Parameters
    ----------
    comparison : Comparison
        Product and truth.
    name : str
        Of the drawing, unique on the page.

    Returns
    -------
    Picture
        Ordinary and hot pixels beside the normal distribution.
    """
    import matplotlib as mpl

    edges = np.linspace(-7.0, 7.0, 113)
    middle = 0.5 * (edges[1:] + edges[:-1])
    with mpl.rc_context(_STYLE):
        figure, axes = _plot("(product − truth) / ERR", "fraction per unit")
        axes.plot(
            middle,
            np.exp(-0.5 * middle**2) / np.sqrt(2.0 * np.pi),
            color=INK,
            linestyle=_DASHES[2],
            label="normal",
        )
        parts = (("ordinary", comparison.ordinary, FIRST), ("hot", ~comparison.ordinary, SECOND))
        for (label, chosen, colour), dash in zip(parts, _DASHES, strict=False):
            use = chosen & (comparison.error > 0.0)
            if use.any():
                pull = (comparison.value[use] - comparison.truth[use]) / comparison.error[use]
                share = np.histogram(np.clip(pull, -6.99, 6.99), edges, density=True)[0]
                axes.stairs(
                    share, edges, color=colour, linestyle=dash, linewidth=1.3, label=label, baseline=None
                )
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_xlim(-7.0, 7.0)
        axes.set_ylim(1e-6, 2.0)
        axes.legend(loc="upper right")
        caption = "Does ERR tell the truth? Beyond ±7 is counted at the ends"
        return Picture(_svg(figure, name, caption), caption)


def errors(comparison: Comparison, name: str) -> Picture:
    """Draw the distribution of errors of ordinary pixels, and the narrowest that there can be.

    Parameters
    ----------
    comparison : Comparison
        Product and truth.
    name : str
        Of the drawing, unique on the page.

    Returns
    -------
    Picture
        A histogram.
    """
    import matplotlib as mpl

    chosen = comparison.ordinary
    error, sigma = (comparison.value - comparison.truth)[chosen], comparison.limit[chosen]
    reach = 6.0 * float(np.median(sigma))
    edges = np.linspace(-reach, reach, 97)
    middle = 0.5 * (edges[1:] + edges[:-1])
    expected = np.zeros_like(middle)
    for part in np.quantile(sigma, np.linspace(0.05, 0.95, 10)):
        expected += np.exp(-0.5 * (middle / part) ** 2) / part
    expected *= error.size * (edges[1] - edges[0]) / (10.0 * np.sqrt(2.0 * np.pi))
    with mpl.rc_context(_STYLE):
        figure, axes = _plot(f"product − truth ({_unit(comparison)})", "pixels")
        axes.stairs(np.histogram(error, edges)[0], edges, color=FIRST, linewidth=1.3, label="product")
        axes.plot(middle, expected, color=SECOND, linestyle=_DASHES[1], label="least noise")
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_xlim(-reach, reach)
        axes.set_ylim(bottom=0.5)
        axes.legend(loc="upper right")
        caption = "Errors of ordinary pixels, and what photons and read noise of the same frames alone leave"
        return Picture(_svg(figure, name, caption), caption)


def columns(comparison: Comparison, name: str) -> Picture:
    """Draw the mean error of each column.

    Parameters
    ----------
    comparison : Comparison
        Product and truth.
    name : str
        Of the drawing, unique on the page.

    Returns
    -------
    Picture
        A dot for each column, of its ordinary pixels.
    """
    import matplotlib as mpl

    chosen = comparison.ordinary
    count = chosen.sum(axis=0)
    known = np.flatnonzero(count > 0.2 * chosen.shape[0])
    error = np.where(chosen, comparison.value - comparison.truth, 0.0).sum(axis=0)[known] / count[known]
    least = np.sqrt(np.where(chosen, comparison.limit**2, 0.0).sum(axis=0)[known]) / count[known]
    factor = 1000.0 if comparison.figures["kind"] == "dark" else 1.0
    error, usual = error * factor, float(np.median(least)) * factor
    reach = max(4.0 * usual, 1.3 * float(np.quantile(np.abs(error), 0.99)))
    with mpl.rc_context(_STYLE):
        figure, axes = _plot(
            "column (pixels)", f"mean error ({'10⁻³ ' if factor > 1.0 else ''}{_unit(comparison)})"
        )
        axes.plot(known, error, ".", markersize=2.5, color=FIRST, label="product")
        axes.axhline(-2.0 * usual, color=SECOND, linestyle=_DASHES[1], label="twice the least noise")
        axes.axhline(2.0 * usual, color=SECOND, linestyle=_DASHES[1])
        axes.set_ylim(-reach, 1.25 * reach)
        axes.set_xlim(0, chosen.shape[1])
        axes.legend(loc="upper right", ncols=2, columnspacing=1.0)
        caption = "Mean error of each column, hot pixels left out"
        return Picture(_svg(figure, name, caption), caption)


def _unit(comparison: Comparison) -> str:
    return _RATE if comparison.figures["kind"] == "dark" else "DN"


def hot_rates(comparison: Comparison, name: str) -> Picture:
    """Draw the rates of warm and hot pixels against the true ones.

    Parameters
    ----------
    comparison : Comparison
        A superdark and its truth.
    name : str
        Of the drawing, unique on the page.

    Returns
    -------
    Picture
        Number of pixels by true rate and ratio.
    """
    import matplotlib as mpl

    hot = comparison.truth >= 0.05
    true, ratio = comparison.truth[hot], comparison.value[hot] / comparison.truth[hot]
    across, up = np.geomspace(0.05, 50.0, 97), np.linspace(0.7, 1.3, 81)
    number = np.histogram2d(np.clip(ratio, 0.7, 1.3 - 1e-9), true, (up, across))[0]
    inside = number / np.maximum(number.max(axis=0), 1.0)
    with mpl.rc_context(_STYLE):
        figure, axes = _plot(f"true rate ({_RATE})", "product / truth")
        axes.patch.set_gid("pixels")
        axes.set_xscale("log")
        axes.set_xlim(across[0], across[-1])
        axes.set_ylim(up[0], up[-1])
        axes.axhline(1.0, color=SECOND, linestyle=_DASHES[1], linewidth=1.0)
        caption = (
            "Rates of warm and hot pixels; at each rate the darkest is where most pixels are, and the dashed "
            "line is the truth"
        )
        pixels = _png(inside, _Scale(0.0, 1.0, _DENSITY, ""))
        return Picture(_svg(figure, name, caption, pixels), caption)


def completeness(flags: Sequence[tuple[str, dict[str, Any]]], name: str) -> Picture:
    """Draw which part of the pixels the superdarks flag as hot, by their true rate.

    Parameters
    ----------
    flags : sequence of tuple
        Label and ``flags`` of the score of at most three superdarks.
    name : str
        Of the drawing, unique on the page.

    Returns
    -------
    Picture
        One line for each superdark.
    """
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure, axes = _plot(f"true rate ({_RATE})", "flagged with DQ 16 (%)")
        axes.axvline(0.1, color=INK, linestyle=_DASHES[2], linewidth=1.0)
        for (label, found), dash, marker, colour in zip(
            flags, _DASHES, _MARKERS, (FIRST, SECOND, INK), strict=False
        ):
            bins = [one for one in found["by_rate"] if one["flagged"] is not None]
            rates = [np.sqrt(max(one["from"], 0.01) * min(one["to"], 100.0)) for one in bins]
            share = [100.0 * one["flagged"] for one in bins]
            axes.plot(
                rates, share, linestyle=dash, marker=marker, markersize=4.5, markerfacecolor="none", color=colour,
                linewidth=1.2, label=label,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_ylim(-3.0, 103.0)
        axes.legend(loc="lower right")
        caption = "Pixels flagged as hot; what is right of the dotted line is hot by definition"
        return Picture(_svg(figure, name, caption), caption)


def hot_pixels(
    days: np.ndarray, true: Sequence[int], products: Sequence[tuple[str, float, float, int]], name: str
) -> Picture:
    """Draw how many pixels are hot from day to day, and how many are in the superdarks.

    Parameters
    ----------
    days : numpy.ndarray
        Of each dark, since the anneal.
    true : sequence of int
        Pixels that are hot while it is taken.
    products : sequence of tuple
        Label, first and last day, and number of hot pixels of at most three superdarks.
    name : str
        Of the drawing, unique on the page.

    Returns
    -------
    Picture
        A dot for each dark, a line for each superdark.
    """
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure, axes = _plot("days since the anneal", "hot pixels (thousands)")
        axes.plot(
            days, np.asarray(true) / 1000.0, "x", color=INK, markersize=4.5, label="truth, dark by dark"
        )
        for (label, begin, end, number), dash, marker, colour in zip(
            products, _DASHES, _MARKERS, (FIRST, SECOND, SECOND), strict=False
        ):
            axes.plot(
                (begin, end), (number / 1000.0, number / 1000.0), linestyle=dash, marker=marker, markersize=4.5,
                markerfacecolor="none", color=colour, linewidth=1.5, label=label,
            )  # fmt: skip
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.25 * (high - low))
        axes.legend(loc="upper left", ncols=2, columnspacing=1.0)
        caption = "Pixels that reach 0.1 e⁻/s: more from day to day; a superdark shows those of its own days"
        return Picture(_svg(figure, name, caption), caption)


def zoom_window(comparison: Comparison, side: int = 64) -> tuple[slice, slice]:
    """The part of a superdark with the most hot pixels.

    Parameters
    ----------
    comparison : Comparison
        A superdark and its truth.
    side : int
        Rows and columns of the part.

    Returns
    -------
    tuple of slice
        Rows and columns.
    """
    hot = (comparison.truth >= 0.1) & (comparison.truth < 10.0)
    ny, nx = (length // side for length in hot.shape)
    number = hot[: ny * side, : nx * side].reshape(ny, side, nx, side).sum(axis=(1, 3))
    row, column = (int(place) * side for place in np.unravel_index(number.argmax(), number.shape))
    return slice(row, row + side), slice(column, column + side)


def zooms(single: np.ndarray, comparison: Comparison, window: tuple[slice, slice]) -> list[Picture]:
    """Draw one dark, the superdark, the truth and the judgement of each pixel, all of one part of the chip.

    Parameters
    ----------
    single : numpy.ndarray
        One dark as a rate (e-/s at 18 C), with its cosmic rays.
    comparison : Comparison
        The superdark and its truth.
    window : tuple of slice
        Rows and columns.

    Returns
    -------
    list of Picture
        Four.
    """
    import matplotlib as mpl

    scale = _Scale(*_ZOOMED, _RATES, _RATE)
    corner = (window[0].start, window[1].start)
    truth, flagged = comparison.truth[window], comparison.flagged[window]
    made = [
        _image(
            single[window], scale, "zoom-single", "One dark of 1100 s: cosmic rays and read noise", corner
        ),
        _image(comparison.value[window], scale, "zoom-value", "The superdark of its week", corner),
        _image(truth, scale, "zoom-truth", "The truth: what a perfect superdark would show", corner),
    ]
    kinds = (
        ("flagged", "●", flagged & (truth >= 0.1), FIRST, "o", FIRST),
        ("not flagged", "△", ~flagged & (truth >= 0.1), SECOND, "^", "none"),
        ("flagged, but not hot", "×", flagged & (truth < 0.1), INK, "x", INK),
    )
    with mpl.rc_context(_STYLE):
        figure, axes = _square(truth.shape, corner, 1)
        for _, _, chosen, colour, marker, face in kinds:
            rows, columns = np.nonzero(chosen)
            axes.plot(
                columns + corner[1] + 0.5, rows + corner[0] + 0.5, linestyle="none", marker=marker, markersize=3.6,
                color=colour, markerfacecolor=face,
            )  # fmt: skip
        told = ", ".join(f"{sign} {int(chosen.sum())} {label}" for label, sign, chosen, *_ in kinds)
        caption = f"Hot pixels, from 0.1 e⁻/s, and what the superdark's DQ says of each: {told}"
        made.append(Picture(_svg(figure, "zoom-flags", caption), caption))
    return made


def poster(single: np.ndarray, comparison: Comparison, window: tuple[slice, slice]) -> bytes:
    """Draw a superdark, and a part of it beside the same part of one dark.

    Parameters
    ----------
    single : numpy.ndarray
        One dark as a rate (e-/s at 18 C), with its cosmic rays.
    comparison : Comparison
        The superdark.
    window : tuple of slice
        Rows and columns of the part.

    Returns
    -------
    bytes
        A PNG of less than 300 kB.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator
    from PIL import Image

    width, height, side = 13.9, 4.1, 3.2
    figure = Figure(figsize=(width, height), dpi=88)
    rows, columns = window
    value = _smaller(comparison.value)
    ny, nx = comparison.value.shape
    corner = (columns.start, columns.stop, rows.start, rows.stop)
    panels = (
        ("superdark of one week", value, (0, nx, 0, ny), _stretch(value)),
        ("the white square in one dark of 1100 s", single[window], corner, _ZOOMED),
        ("the same in the superdark", comparison.value[window], corner, _ZOOMED),
    )
    for number, (title, pixels, extent, (low, high)) in enumerate(panels):
        left = 0.7 + 4.55 * number
        axes = figure.add_axes((left / width, 0.5 / height, side / width, side / height))
        shown = axes.imshow(pixels, vmin=low, vmax=high, cmap=_RATES, origin="lower", extent=extent)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("column (pixels)")
        axes.set_ylabel("row (pixels)", labelpad=1.0)
        axes.locator_params(nbins=6)
        bar = figure.add_axes(((left + side + 0.08) / width, 0.5 / height, 0.11 / width, side / height))
        figure.colorbar(shown, cax=bar, extend="both", extendfrac=0.03, ticks=MaxNLocator(6))
        bar.set_title("e⁻/s", fontsize=9)
        if number == 0:
            square = (columns.start, rows.start)
            size = columns.stop - columns.start
            axes.add_patch(Rectangle(square, size, size, fill=False, color="white", linewidth=1.5))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
    stream = io.BytesIO()
    few = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(stream, "png", optimize=True)
    return stream.getvalue()
