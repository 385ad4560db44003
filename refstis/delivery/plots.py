"""Plots of reference files as PDF."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refstis.datamodels.atomic import atomic_write
from refstis.delivery import figures
from refstis.delivery.measures import deviations
from refstis.delivery.products import Product, Source, find_products, open_products, product_paths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_obset"]

# File name, heading and whether a product belongs there.
GROUPS = (
    ("biases.pdf", "Superbiases", lambda product: product.kind == "bias" and "_biwk" not in product.name),
    ("darks.pdf", "Superdarks", lambda product: product.kind == "dark"),
    (
        "biweeks.pdf",
        "Superbiases of two weeks",
        lambda product: product.kind == "bias" and "_biwk" in product.name,
    ),
)


def plot_obset(folder: str | os.PathLike, previous: Source | None = None) -> list[Path]:
    """Plot the superbiases and superdarks of a folder against those of the period before.

    The first page of each file shows collapsed columns and rows, means and standard deviations of all files of one
    mode; a page for each file follows with its averaged rows and columns, its image, the difference to the file
    before, and the histogram. Scales follow the data.

    Parameters
    ----------
    folder : str or os.PathLike
        With ``*_bia.fits`` and ``*_drk.fits``, in it or below; the plots are written into it.
    previous : str, os.PathLike or iterable of them, optional
        Folders or files of the period before.

    Returns
    -------
    list of pathlib.Path
        ``biases.pdf``, ``darks.pdf`` and ``biweeks.pdf``.

    Raises
    ------
    InputError
        Where there is no such folder.
    OutputError
        Where the plots cannot be written.
    """
    folder = Path(folder)
    products = [product for product in open_products(find_products(folder)) if not product.fault]
    before = [one for one in open_products(product_paths(previous)) if not one.fault and not one.baseline]
    written = []
    for name, title, belongs in GROUPS:
        pages = _pages(
            [one for one in products if belongs(one)], [one for one in before if belongs(one)], title
        )
        written.append(_write(folder / name, pages, title))
    return written


def _pages(products: Sequence[Product], before: Sequence[Product], title: str) -> Iterable[Figure]:
    for mode in dict.fromkeys(product.mode for product in products):
        same = [product for product in products if product.mode == mode]
        earlier = [product for product in before if product.mode == mode]
        yield figures.profiles_figure(same, earlier, f"{title}: {same[0].mode_words}")
        for number, product in enumerate(same):
            last = same[number - 1] if number else (earlier[-1] if earlier else None)
            yield product_page(product, last)


def product_page(product: Product, earlier: Product | None) -> Figure:
    """One page on one file.

    Parameters
    ----------
    product : Product
        The file.
    earlier : Product or None
        The file before.

    Returns
    -------
    matplotlib.figure.Figure
        Averaged columns and rows, image, difference and histogram.
    """
    figure, axes = figures.new_figure(9.0, 12.0, 3, 2)
    figure.suptitle(product.name)
    sci = np.nan_to_num(np.asarray(product.sci, dtype=np.float64))
    unit = figures.unit_of(product)
    low, high = figures.stretch(sci)
    _image(figure, axes[0, 0], sci, (low, high), "cividis", f"image ({unit})")
    if earlier is not None and np.shape(earlier.sci) == sci.shape:
        _image(
            figure,
            axes[0, 1],
            deviations(product, earlier),
            (-5.0, 5.0),
            "PuOr",
            f"minus {earlier.name} (sigma)",
        )
    else:
        axes[0, 1].set_axis_off()
        axes[0, 1].text(0.5, 0.5, "no file before to compare with", ha="center", va="center")
    for axis, profile, words in (
        (axes[1, 0], figures.column_profile, "column"),
        (axes[1, 1], figures.row_profile, "row"),
    ):
        lines = [profile(sci)]
        axis.plot(lines[0], color=figures.COLOURS[0], linewidth=0.7)
        low, high = np.percentile(lines[0], [1.0, 99.0])
        margin = 0.25 * (high - low) or 1.0
        axis.set_ylim(low - margin, high + margin)
        axis.set_xlabel(words)
        axis.set_ylabel(f"median of the {words} ({unit})")
    bins = (
        np.logspace(-3, 2.5, 90)
        if product.kind == "dark"
        else np.linspace(*figures.stretch(sci, 12.0, 40.0), 90)
    )
    axes[2, 0].stairs(np.histogram(sci, bins)[0], bins, color=figures.COLOURS[0])
    figures.logarithmic(axes[2, 0], "y")
    if product.kind == "dark":
        figures.logarithmic(axes[2, 0], "x")
    axes[2, 0].set_xlabel(f"value ({unit})")
    axes[2, 0].set_ylabel("pixels")
    axes[2, 1].set_axis_off()
    axes[2, 1].text(0.0, 1.0, _words(product), va="top", fontsize="small", transform=axes[2, 1].transAxes)
    return figure


def _image(figure, axis, image, limits, colours, title) -> None:
    axis.grid(False)
    shown = axis.imshow(
        image, origin="lower", vmin=limits[0], vmax=limits[1], cmap=colours, interpolation="nearest"
    )
    axis.set_title(title, fontsize="small", wrap=True)
    figure.colorbar(shown, ax=axis, fraction=0.046)


def _words(product: Product) -> str:
    keys = ("DESCRIP", "USEAFTER", "PEDIGREE")
    lines = [f"{key}: {product.text(key).rstrip('-')}" for key in keys]
    sci = np.asarray(product.sci, dtype=np.float64)
    lines += [
        f"{product.frames} input frames",
        f"mean {np.nanmean(sci):.4g}, median {np.nanmedian(sci):.4g}, std {np.nanstd(sci):.4g}",
        f"hot pixels flagged: {np.count_nonzero(np.asarray(product.dq) & 16)}",
    ]
    return "\n".join(lines)


def _write(path: Path, pages: Iterable[Figure], title: str) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import PdfPages

    # no date, so that equal inputs give equal bytes
    told = {"Creator": "refstis", "CreationDate": None}
    with atomic_write(path) as stream, PdfPages(stream, metadata=told) as pdf:
        for page in pages:
            FigureCanvasAgg(page)
            pdf.savefig(page)
        if not pdf.get_pagecount():
            empty, axes = figures.new_figure(9.0, 2.0)
            FigureCanvasAgg(empty)
            axes[0, 0].set_axis_off()
            axes[0, 0].text(0.5, 0.5, f"{title}: no such files in this folder", ha="center")
            pdf.savefig(empty)
    return path
