"""Figures and images as text that a page can hold: SVG in the page's own colours, PNG as data."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["image_data", "svg"]

# Drawn in this colour, replaced by that of the page, so that plots are readable on light and dark.
_INK, _GRID = "#123456", "#654321"
# Noise does not compress: so many colours keep a page of twelve full frames below 20 MB.
LEVELS, FEW_LEVELS = 32, 16


def svg(figure: Figure, title: str) -> str:
    """A figure as SVG to be put into a page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    title : str
        What it shows, for readers who cannot see it.

    Returns
    -------
    str
        An ``svg`` element without prologue; its lines and letters have the page's colour.
    """
    from html import escape

    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.patch.set_alpha(0.0)
    for axis in figure.axes:
        axis.patch.set_alpha(0.0)
        axis.tick_params(which="both", colors=_INK)
        axis.grid(True, color=_GRID, linewidth=0.6)
        for spine in axis.spines.values():
            spine.set_color(_INK)
        offsets = (axis.xaxis.get_offset_text(), axis.yaxis.get_offset_text())
        for label in (axis.xaxis.label, axis.yaxis.label, axis.title, *offsets):
            label.set_color(_INK)
        legend = axis.get_legend()
        if legend is not None:
            legend.get_frame().set_alpha(0.0)
            for label in legend.get_texts():
                label.set_color(_INK)
    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "path.simplify_threshold": 0.3}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(stream, metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # a tenth of a point is finer than any screen
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\d\.\d)\d+", r"\1", path[0]), text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace(_INK, "currentColor").replace(_GRID, "var(--line)")
    text = re.sub(r"font: (\d+\.?\d*)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def image_data(image: np.ndarray, low: float, high: float, colours: str, levels: int = LEVELS) -> str:
    """An image as PNG in a data address: one point for each pixel, the first row at the bottom.

    Parameters
    ----------
    image : numpy.ndarray
        Values.
    low, high : float
        Values of the first and the last colour.
    colours : str
        Name of a colour map.
    levels : int
        How many colours.

    Returns
    -------
    str
        ``data:image/png;base64,...``.
    """
    import matplotlib as mpl
    from PIL import Image

    with np.errstate(invalid="ignore"):
        scaled = np.clip((np.asarray(image, dtype=np.float64) - low) / (high - low), 0.0, 1.0)
    index = np.round(np.nan_to_num(scaled, nan=0.0) * (levels - 1)).astype(np.uint8)
    picture = Image.fromarray(index[::-1])
    palette = (mpl.colormaps[colours](np.linspace(0.0, 1.0, levels))[:, :3] * 255.0).round().astype(np.uint8)
    picture.putpalette(palette.tobytes())
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def colour_bar(colours: str) -> str:
    """A colour map as a CSS gradient, from left to right.

    Parameters
    ----------
    colours : str
        Name of a colour map.

    Returns
    -------
    str
        ``linear-gradient(...)``.
    """
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    stops = ", ".join(to_hex(mpl.colormaps[colours](x)) for x in np.linspace(0.0, 1.0, 9))
    return f"linear-gradient(to right, {stops})"
