"""Figures of reference files, for PDF and for the report. Nothing here knows limits: scales follow the data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from refstis.delivery.measures import column_profile, row_profile
from refstis.delivery.products import Product

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "averages_figure",
    "darks_figure",
    "histogram_figure",
    "hot_pixels_figure",
    "new_figure",
    "profiles_figure",
    "stretch",
    "trend_figure",
]

# Colours that stay apart for all kinds of colour vision (Okabe and Ito 2008); lines also differ in their dashes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#F0E442")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = "osD^vPX*"
EARLIER = "#7F7F7F"


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure that belongs to no window.

    Parameters
    ----------
    width, height : float
        Inches.
    rows, columns : int
        Of plots.

    Returns
    -------
    tuple
        The figure, and its axes as a two-dimensional array.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.grid(True, alpha=0.35, linewidth=0.6)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    return figure, axes


def label_of(product: Product) -> str:
    """What a line in a plot is called: the period in a product's name, else the name.

    Parameters
    ----------
    product : Product
        The product.

    Returns
    -------
    str
        Such as ``wk02`` or ``basedark``.
    """
    words = product.path.stem.split("_")
    week = next((word for word in words if word.startswith(("wk", "biwk"))), None)
    return week or words[0] or product.name


def unit_of(product: Product) -> str:
    """Unit of a product's pixels.

    Parameters
    ----------
    product : Product
        The product.

    Returns
    -------
    str
        ``DN`` or ``e-/s``.
    """
    return "e-/s" if product.kind == "dark" else "DN"


def stretch(image: np.ndarray, low: float = 4.0, high: float = 8.0) -> tuple[float, float]:
    """Limits of a picture that outliers do not decide.

    Parameters
    ----------
    image : numpy.ndarray
        Values.
    low, high : float
        How far to go below and above the median, in robust standard deviations.

    Returns
    -------
    tuple of float
        Smallest and largest value to show; they differ.
    """
    values = image[np.isfinite(image)]
    if not values.size:
        return 0.0, 1.0
    middle = float(np.median(values))
    scatter = 1.4826 * float(np.median(np.abs(values - middle))) or 1.0
    return middle - low * scatter, middle + high * scatter


def logarithmic(axis: Axes, which: str, steps: Sequence[int] = (1,)) -> None:
    """Make an axis logarithmic with plain numbers.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        The plot.
    which : str
        ``x`` or ``y``.
    steps : sequence of int
        Which numbers of a decade to write.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    getattr(axis, f"set_{which}scale")("log")
    one = getattr(axis, f"{which}axis")
    one.set_major_locator(LogLocator(subs=steps))
    one.set_major_formatter(lambda value, _: f"{value:g}")
    one.set_minor_locator(NullLocator())


def _finite(image: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _tighten(axis: Axes, lines: Sequence[np.ndarray]) -> None:
    """A scale that holds the profiles and not their outliers."""
    if lines:
        values = np.concatenate(lines)
        low, high = np.percentile(values, [1.0, 99.0])
        margin = 0.25 * (high - low) or 1.0
        axis.set_ylim(low - margin, high + margin)


def profiles_figure(products: Sequence[Product], earlier: Sequence[Product], title: str) -> Figure:
    """Collapsed columns and rows, means and standard deviations of some files and of those before.

    Parameters
    ----------
    products : sequence of Product
        Of one kind and mode.
    earlier : sequence of Product
        Files of the period before, in grey.
    title : str
        Heading.

    Returns
    -------
    matplotlib.figure.Figure
        Four plots, one below the other.
    """
    figure, axes = new_figure(9.0, 12.0, 4)
    figure.suptitle(title)
    shown = [(product, EARLIER, "-", f"before: {label_of(product)}") for product in earlier[-1:]]
    for number, product in enumerate(products):
        shown.append((product, COLOURS[number % 7], DASHES[number // 7 % 5], label_of(product)))
    for axis, profile, words in ((axes[0, 0], column_profile, "column"), (axes[1, 0], row_profile, "row")):
        lines = []
        for product, colour, dash, name in shown:
            lines.append(profile(_finite(product.sci)))
            axis.plot(lines[-1], color=colour, linestyle=dash, linewidth=0.8, label=name)
        _tighten(axis, lines)
        axis.set_xlabel(f"{words} (pixels)")
        axis.set_ylabel(f"median of the {words} ({unit_of(products[0])})")
    axes[0, 0].legend(loc="best", fontsize="small", ncols=4)
    for axis, measure, words in ((axes[2, 0], np.mean, "mean"), (axes[3, 0], np.std, "standard deviation")):
        everything = [*[(product, True) for product in earlier], *[(product, False) for product in products]]
        for place, (product, before) in enumerate(everything):
            colour = EARLIER if before else COLOURS[(place - len(earlier)) % 7]
            marker = "o" if before else MARKERS[(place - len(earlier)) % 8]
            axis.plot(
                place, float(measure(_finite(product.sci))), marker=marker, color=colour, linestyle="none"
            )
        axis.set_xticks(range(len(everything)), [label_of(product) for product, _ in everything])
        axis.set_ylabel(f"{words} ({unit_of(products[0])})")
    axes[3, 0].set_xlabel("file (grey: period before)")
    return figure


def averages_figure(
    product: Product, earlier: Product | None = None, width: float = 9.0, height: float = 5.2
) -> Figure:
    """Row- and column-averaged image; scales follow gain and binning, because they follow the data.

    Parameters
    ----------
    product : Product
        The product.
    earlier : Product, optional
        The file before, in grey.
    width, height : float
        Inches.

    Returns
    -------
    matplotlib.figure.Figure
        Two plots.
    """
    figure, axes = new_figure(width, height, 2)
    profiles = ((axes[0, 0], column_profile, "column"), (axes[1, 0], row_profile, "row"))
    for axis, profile, words in profiles:
        lines = [profile(_finite(product.sci))]
        if earlier is not None:
            lines.append(profile(_finite(earlier.sci)))
            axis.plot(lines[-1], color=EARLIER, linewidth=0.9, label=f"before: {label_of(earlier)}")
        axis.plot(lines[0], color=COLOURS[0], linewidth=0.9, label=label_of(product))
        _tighten(axis, lines)
        axis.set_xlim(0, lines[0].size)
        axis.set_xlabel(words)
        axis.set_ylabel(f"median ({unit_of(product)})")
    axes[0, 0].legend(loc="best", fontsize="small")
    return figure


def histogram_figure(
    product: Product, earlier: Product | None = None, width: float = 4.5, height: float = 3.0
) -> Figure:
    """Histogram of the values, logarithmic in number, and in rate for darks.

    Parameters
    ----------
    product : Product
        The product.
    earlier : Product, optional
        The file before, in grey.
    width, height : float
        Inches.

    Returns
    -------
    matplotlib.figure.Figure
        One plot.
    """
    figure, axes = new_figure(width, height)
    axis = axes[0, 0]
    values = _finite(product.sci).ravel()
    if product.kind == "dark":
        bins = np.logspace(-3, 2.5, 90)
        logarithmic(axis, "x")
    else:
        low, high = stretch(values, 12.0, 40.0)
        bins = np.linspace(low, high, 90)
    if earlier is not None:
        axis.stairs(
            np.histogram(_finite(earlier.sci), bins)[0],
            bins,
            color=EARLIER,
            label=f"before: {label_of(earlier)}",
        )
    axis.stairs(np.histogram(values, bins)[0], bins, color=COLOURS[0], label=label_of(product))
    logarithmic(axis, "y")
    axis.set_ylim(bottom=0.5)
    axis.set_xlabel(f"value ({unit_of(product)})")
    axis.set_ylabel("pixels")
    axis.legend(loc="best", fontsize="small")
    return figure


def _date_axis(axis: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=7)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=True))


def hot_pixels_figure(
    points: Sequence[tuple[datetime, dict[str, float]]], anneals: Sequence[datetime] = ()
) -> Figure:
    """Number of hot pixels against time.

    Parameters
    ----------
    points : sequence of tuple
        Date, and figures of a superdark (``hot_above_0.1`` ...).
    anneals : sequence of datetime.datetime
        Drawn as vertical lines.

    Returns
    -------
    matplotlib.figure.Figure
        One plot on a logarithmic scale.
    """
    figure, axes = new_figure(7.2, 3.2)
    axis = axes[0, 0]
    for number, rate in enumerate(("0.1", "1", "10")):
        key = f"hot_above_{rate}"
        known = [(date, figures[key]) for date, figures in points if figures.get(key, 0) > 0]
        if known:
            axis.plot(
                *zip(*known, strict=True), marker=MARKERS[number], color=COLOURS[number], linestyle=DASHES[number],
                linewidth=0.9, label=f"above {rate} e-/s",
            )  # fmt: skip
    for number, anneal in enumerate(anneals):
        axis.axvline(
            anneal, color=EARLIER, linewidth=1.2, linestyle=DASHES[1], label="anneal" if number == 0 else None
        )
    logarithmic(axis, "y", (1, 2, 5))
    axis.set_ylabel("hot pixels (whole chip)")
    axis.legend(loc="best", fontsize="small", ncols=2)
    _date_axis(axis)
    return figure


def darks_figure(darks: Sequence[dict[str, Any]], weeks: Sequence[Product] = ()) -> Figure:
    """Rate of each dark against time and against housing temperature.

    Parameters
    ----------
    darks : sequence of dict
        ``date``, ``rate`` (e-/s), ``scaled`` (at 18 C) and ``temperature`` (deg C, or None on Side 1).
    weeks : sequence of Product
        Superdarks, whose begin is marked.

    Returns
    -------
    matplotlib.figure.Figure
        Two plots.
    """
    figure, axes = new_figure(7.2, 3.2, 1, 2)
    left, right = axes[0]
    dates = [dark["date"] for dark in darks]
    left.plot(dates, [dark["rate"] for dark in darks], "o", markersize=3, color=COLOURS[0], label="as taken")
    left.plot(dates, [dark["scaled"] for dark in darks], "^", markersize=3, color=COLOURS[1], label="at 18 C")
    for product in weeks:
        if product.useafter:
            left.axvline(product.useafter, color=EARLIER, linewidth=0.7, linestyle=DASHES[2])
    left.set_ylabel("median rate (e-/s)")
    left.legend(loc="best", fontsize="small")
    _date_axis(left)
    warm = [dark for dark in darks if dark["temperature"] is not None]
    right.plot(
        [d["temperature"] for d in warm], [d["rate"] for d in warm], "o", markersize=3, color=COLOURS[0]
    )
    if warm:
        rate = float(np.median([dark["scaled"] for dark in warm]))
        line = np.linspace(min(d["temperature"] for d in warm), max(d["temperature"] for d in warm), 20)
        right.plot(
            line,
            rate * (1.0 + 0.07 * (line - 18.0)),
            color=EARLIER,
            linestyle=DASHES[1],
            label="7 % per deg C",
        )
        right.legend(loc="best", fontsize="small")
    right.set_xlabel("housing temperature (deg C)")
    return figure


def trend_figure(series: dict[str, list[tuple[datetime, float]]], label: str, log: bool = False) -> Figure:
    """Figures of some files against time.

    Parameters
    ----------
    series : dict
        By legend: date and value.
    label : str
        Of the axis.
    log : bool
        Whether the scale is logarithmic.

    Returns
    -------
    matplotlib.figure.Figure
        One plot.
    """
    figure, axes = new_figure(7.2, 2.8)
    axis = axes[0, 0]
    for number, (name, points) in enumerate(series.items()):
        axis.plot(
            *zip(*sorted(points), strict=True), marker=MARKERS[number % 8], markersize=4, color=COLOURS[number % 7],
            linestyle=DASHES[number % 5], linewidth=0.9, label=name,
        )  # fmt: skip
    axis.set_ylabel(label)
    if log:
        logarithmic(axis, "y", (1, 2, 5))
    axis.legend(loc="best", fontsize="small", ncols=2)
    _date_axis(axis)
    return figure
