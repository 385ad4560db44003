"""The comparison page of a custom dark: what is new in it, and what it does to the exposure."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refstis.anneal.dates import isoformat
from refstis.anneal.table import Month
from refstis.custom.choice import Science, rules
from refstis.datamodels import config_path
from refstis.datamodels.atomic import atomic_write
from refstis.datamodels.exposure import Exposure
from refstis.datamodels.references import resolve_name
from refstis.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from refstis.custom.making import CustomDark

__all__ = ["Changes", "find_changes", "write_page", "zoom_window"]

_UNIT = "electrons/s"


@dataclass(frozen=True)
class Changes:
    """Hot pixels of one dark that are none in another.

    Attributes
    ----------
    appeared, vanished : numpy.ndarray
        Boolean images: hot in the new dark only, hot in the other only.
    both : int
        Pixels that are hot in both.
    """

    appeared: np.ndarray
    vanished: np.ndarray
    both: int


@dataclass(frozen=True)
class _Dark:
    """A dark to be compared with: its name, its rate and uncertainty."""

    name: str
    sci: np.ndarray
    err: np.ndarray


def find_changes(
    new: tuple[np.ndarray, np.ndarray],
    other: tuple[np.ndarray, np.ndarray],
    hot: float = 0.1,
    significance: float = 5.0,
) -> Changes:
    """Hot pixels that appeared and vanished between two darks.

    Parameters
    ----------
    new, other : tuple of numpy.ndarray
        Rate and uncertainty (e-/s) of each.
    hot : float
        A pixel is hot at or above this rate (e-/s).
    significance : float
        Changes across that limit of less than so many standard deviations do not count.

    Returns
    -------
    Changes
        Boolean images and a count.

    Examples
    --------
    >>> err = np.full(4, 0.01)
    >>> changes = find_changes((np.array([0.3, 0.0, 0.5, 0.11]), err), (np.array([0.0, 0.3, 0.5, 0.09]), err))
    >>> changes.appeared.tolist(), changes.vanished.tolist(), changes.both
    ([True, False, False, False], [False, True, False, False], 1)
    """
    sure = np.abs(new[0] - other[0]) > significance * np.hypot(new[1], other[1])
    now, before = new[0] >= hot, other[0] >= hot
    return Changes(now & ~before & sure, before & ~now & sure, int(np.count_nonzero(now & before)))


def zoom_window(changed: np.ndarray, side: int) -> tuple[slice, slice]:
    """The square with most changes.

    Parameters
    ----------
    changed : numpy.ndarray
        Boolean image.
    side : int
        Length of its sides (pixels), cut to the image.

    Returns
    -------
    tuple of slice
        Rows and columns. Squares lie half a side apart; of equal ones the first counts.

    Examples
    --------
    >>> changed = np.zeros((40, 60), dtype=bool)
    >>> changed[25, 33] = True
    >>> zoom_window(changed, 20)
    (slice(10, 30, None), slice(20, 40, None))
    """
    ny, nx = changed.shape
    height, width = min(side, ny), min(side, nx)
    starts = [
        (y, x)
        for y in range(0, ny - height + 1, max(1, height // 2))
        for x in range(0, nx - width + 1, max(1, width // 2))
    ]
    y, x = max(
        starts, key=lambda at: np.count_nonzero(changed[at[0] : at[0] + height, at[1] : at[1] + width])
    )
    return slice(y, y + height), slice(x, x + width)


def write_page(made: CustomDark, science: Science, month: Month, *, daily: bool = False) -> Path:
    """Write the comparison page of a custom dark.

    Parameters
    ----------
    made : CustomDark
        What was made.
    science : Science
        The exposure it is for.
    month : Month
        Its anneal period.
    daily : bool
        Whether hot pixels follow the nearest darks.

    Returns
    -------
    pathlib.Path
        The page, which needs no other file.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    new, base = _read(made.dark), _read(made.basedark)
    default, why_not = _default(science, new)
    folder = config_path("templates")
    record = json.loads(made.inputs.read_text(encoding="utf-8"))
    sections = [*_dark_sections(new, base, default, why_not)]
    sections += _science_sections(made.recalibrated, science)
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("custom_dark.html").render(
        style=Markup((folder / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        title=f"Dark for {science.name}",
        facts=_facts(made, science, month, daily),
        cautions=made.cautions,
        sections=sections,
        inputs=record["inputs"],
        left_out=record["left_out"],
        asdf=made.dark.with_suffix(".asdf").name,
        association=made.association.name,
    )
    with atomic_write(made.page, "w") as stream:
        stream.write(text)
    return made.page


def _read(path: Path) -> _Dark:
    exposure = Exposure.open(path)
    return _Dark(path.name, exposure.imsets[0].sci[:], exposure.imsets[0].err[:])


def _default(science: Science, new: _Dark) -> tuple[_Dark | None, str]:
    """The dark that the exposure's header names, or why there is none."""
    if science.darkfile.upper() in ("", "N/A"):
        return None, "the header names no DARKFILE"
    path, variable = resolve_name(science.darkfile, science.path.parent)
    if path is None:
        return None, f"DARKFILE is {science.darkfile}, and ${variable} is not set"
    if not path.is_file():
        return None, f"DARKFILE is {science.darkfile}, and {path} is not there"
    try:
        default = _read(path)
    except InputError as error:
        return None, f"DARKFILE cannot be read: {error}"
    if default.sci.shape != new.sci.shape:
        shapes = " and ".join(f"{one.sci.shape[1]}x{one.sci.shape[0]}" for one in (default, new))
        return None, f"DARKFILE {path.name} has another size than the new dark ({shapes})"
    return default, ""


def _facts(made: CustomDark, science: Science, month: Month, daily: bool) -> list[tuple[str, str]]:
    choice = made.choice
    begin, end = (isoformat(value or 0.0, "minutes").replace("T", " ") for value in (month.begin, month.end))
    return [
        ("Exposure", f"{science.name}, begun {isoformat(science.begin, 'minutes').replace('T', ' ')} UTC"),
        ("Anneal period", f"{begin} to {end} UTC"),
        ("Darks", f"{len(choice.period)} {choice.state} in the period, {len(choice.near)} within the window"),
        ("Window", choice.reason),
        ("Hot pixels", "of the darks nearest in time (--daily)" if daily else "of all darks in the window"),
        (
            "Superbias",
            "none: the darks are bias-subtracted" if made.superbias is None else made.superbias.name,
        ),
        ("Baseline dark", made.basedark.name),
        ("Custom dark", made.dark.name),
        ("Science raw with this dark", "not made" if made.science is None else made.science.name),
    ]


# ---------------------------------------------------------------------------- figures


def _section(
    title: str, words: str, figures: Sequence[dict[str, str]] = (), rows: Any = (), head: Any = ()
) -> dict:
    return {"title": title, "words": words, "figures": list(figures), "rows": list(rows), "head": list(head)}


def _png(figure: Figure, caption: str) -> dict[str, str]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    stream = io.BytesIO()
    # The version of matplotlib is no part of the picture.
    FigureCanvasAgg(figure)
    figure.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.08, metadata={"Software": None})
    return {"data": base64.b64encode(stream.getvalue()).decode(), "caption": caption}


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120)
    return figure, figure.add_subplot()


def _image(
    image: np.ndarray,
    limits: tuple[float, float],
    colours: str,
    unit: str,
    caption: str,
    window: tuple[slice, slice] | None = None,
) -> dict[str, str]:
    """A picture with axes in pixels and a colour bar; all of an image, or a window of it."""
    from mpl_toolkits.axes_grid1 import make_axes_locatable

    figure, axes = _figure(6.2, 5.2)
    rows, columns = window or (slice(0, image.shape[0]), slice(0, image.shape[1]))
    shown = axes.imshow(
        image[rows, columns],
        vmin=limits[0],
        vmax=limits[1],
        cmap=colours,
        origin="lower",
        # Pixels count from 1, as in headers; the first is centred there.
        extent=(columns.start + 0.5, columns.stop + 0.5, rows.start + 0.5, rows.stop + 0.5),
        interpolation="nearest" if window else "antialiased",
    )
    axes.set_xlabel("column (pixels)")
    axes.set_ylabel("row (pixels)")
    beside = make_axes_locatable(axes).append_axes("right", size="4%", pad=0.12)
    figure.colorbar(shown, cax=beside, label=unit, extend="both")
    return _png(figure, caption)


def _dark_sections(new: _Dark, base: _Dark, default: _Dark | None, why_not: str) -> list[dict]:
    settings = rules()["page"]
    other = default or base
    label = f"the default dark {other.name}" if default else f"the baseline dark {other.name}"
    low, high = np.quantile(new.sci, (0.01, 0.95))
    whole = (float(low), float(high))
    sections = [
        _section(
            "The new dark",
            f"{new.name}. The scale runs from the 1st to the 95th percentile; hot pixels lie beyond it.",
            [_image(new.sci, whole, "viridis", _UNIT, "Dark rate at the reference temperature")],
        )
    ]
    if default is None:
        sections.append(_section("Ratio to the default dark", f"Left out: {why_not}."))
    else:
        ratio = np.divide(new.sci, default.sci, out=np.ones_like(new.sci), where=default.sci > 0)
        usual = float(np.median(ratio[default.sci > 0])) if (default.sci > 0).any() else 1.0
        sections.append(
            _section(
                "Ratio to the default dark",
                f"{new.name} divided by {default.name}; the median ratio is {usual:.3f}.",
                [_image(ratio, (0.5, 1.5), "RdBu_r", "ratio, new / default", "Red: the new dark is higher")],
            )
        )
    changes = find_changes(
        (new.sci, new.err), (other.sci, other.err), settings["hot"], settings["significance"]
    )
    sections.append(_changes_section(new, other, label, changes, settings))
    window = zoom_window(changes.appeared | changes.vanished, settings["zoom"])
    bright = (0.0, max(0.15, float(np.quantile(new.sci[window], 0.97))))
    difference = new.sci - other.sci
    reach = max(0.05, float(np.quantile(np.abs(difference[window]), 0.99)))
    sections.append(
        _section(
            "A closer look",
            f"The square of {settings['zoom']} pixels in which most hot pixels appeared or vanished against {label}.",
            [
                _image(other.sci, bright, "viridis", _UNIT, label[0].upper() + label[1:], window),
                _image(new.sci, bright, "viridis", _UNIT, f"The new dark {new.name}", window),
                _image(difference, (-reach, reach), "RdBu_r", _UNIT, "New minus old: red appeared", window),
            ],
        )
    )
    return sections


def _changes_section(new: _Dark, other: _Dark, label: str, changes: Changes, settings: dict) -> dict:
    figure, axes = _figure(6.2, 5.2)
    for image, colour, word in (
        (changes.vanished, "#2166ac", "vanished"),
        (changes.appeared, "#b2182b", "appeared"),
    ):
        y, x = np.nonzero(image)
        axes.scatter(x + 1, y + 1, s=4, color=colour, linewidths=0, label=f"{word}: {y.size}")
    axes.set_xlim(0.5, new.sci.shape[1] + 0.5)
    axes.set_ylim(0.5, new.sci.shape[0] + 0.5)
    axes.set_aspect("equal")
    axes.set_xlabel("column (pixels)")
    axes.set_ylabel("row (pixels)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, markerscale=3, frameon=False)
    places = _png(figure, "Where hot pixels appeared and vanished")

    figure, axes = _figure(6.2, 5.2)
    top = max(1.0, float(new.sci.max()), float(other.sci.max()))
    edges = np.geomspace(0.01, top, 80)
    for dark, colour, style in ((other, "#2166ac", "--"), (new, "#b2182b", "-")):
        ordered = np.sort(dark.sci, axis=None)
        above = ordered.size - np.searchsorted(ordered, edges)
        axes.plot(edges, above, color=colour, linestyle=style, label=dark.name)
    axes.axvline(settings["hot"], color="0.5", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"dark rate ({_UNIT})")
    axes.set_ylabel("pixels at or above it")
    axes.grid(alpha=0.3)
    axes.legend()
    counts = _png(figure, f"How many pixels are hot; the line is {settings['hot']:g} {_UNIT}")

    hot = settings["hot"]
    rows = [
        ("hot in the new dark", int(np.count_nonzero(new.sci >= hot))),
        (f"hot in {other.name}", int(np.count_nonzero(other.sci >= hot))),
        ("hot in both", changes.both),
        ("appeared", int(np.count_nonzero(changes.appeared))),
        ("vanished", int(np.count_nonzero(changes.vanished))),
    ]
    words = (
        f"Against {label}. Hot is {hot:g} {_UNIT} and more; a pixel counts as appeared or vanished where its rate also "
        f"changed by {settings['significance']:g} sigma."
    )
    return _section("Hot pixels that appeared and vanished", words, [places, counts], rows, ("", "pixels"))


# ---------------------------------------------------------------------------- the science exposure


def _science_sections(recalibrated: Sequence[Path], science: Science) -> list[dict]:
    """What CALSTIS made with the new dark, beside what lies beside the exposure."""
    if not recalibrated:
        return []
    found = {path.name.rpartition("_")[2].partition(".")[0]: path for path in recalibrated}
    return [*_image_sections(found, science), *_spectrum_sections(found, science)]


def _image_sections(found: dict[str, Path], science: Science) -> list[dict]:
    suffix = next((name for name in ("crj", "flt") if name in found), None)
    if suffix is None:
        return []
    after = Exposure.open(found[suffix]).imsets[0].sci[:]
    before_path = science.path.parent / f"{science.rootname}_{suffix}.fits"
    before = Exposure.open(before_path).imsets[0].sci[:] if before_path.is_file() else None
    if before is not None and before.shape != after.shape:
        before = None
    scatter = 1.4826 * float(np.median(np.abs(after - np.median(after))))
    middle = float(np.median(after))
    limits = (middle - 5 * scatter, middle + 10 * scatter)
    if before is None:
        window = zoom_window(after > limits[1], rules()["page"]["zoom"])
        words = (
            f"Left out is the comparison with the default calibration: {before_path.name} is not "
            "beside the exposure."
        )
        figures = []
    else:
        window = zoom_window(np.abs(after - before) > 5 * scatter, rules()["page"]["zoom"])
        words = f"The {suffix} of the default calibration and that with the new dark, where they differ most."
        figures = [_image(before, limits, "gray", "DN", "Default calibration", window)]
    figures.append(_image(after, limits, "gray", "DN", "With the new dark", window))
    if before is not None:
        reach = 10 * scatter
        figures.append(_image(after - before, (-reach, reach), "RdBu_r", "DN", "New minus default", window))
    return [_section("The exposure recalibrated", words, figures)]


def _spectrum_sections(found: dict[str, Path], science: Science) -> list[dict]:
    suffix = next((name for name in ("sx1", "x1d") if name in found), None)
    if suffix is None:
        return []
    before_path = science.path.parent / f"{science.rootname}_{suffix}.fits"
    after = _spectrum(found[suffix])
    before = _spectrum(before_path) if before_path.is_file() else None
    title = "Spectra"
    figures = []
    figure, axes = _figure(6.4, 3.6)
    if before is not None:
        axes.plot(*before[:2], color="#2166ac", linewidth=0.8, label="default calibration")
    axes.plot(*after[:2], color="#b2182b", linewidth=0.8, label="with the new dark")
    axes.set_xlabel("wavelength (Å)")
    axes.set_ylabel(after[2])
    axes.grid(alpha=0.3)
    axes.legend()
    figures.append(_png(figure, "Extracted spectrum"))
    words = f"The {suffix} with the new dark."
    if before is None:
        words += f" The difference is left out: {before_path.name} is not beside the exposure."
    else:
        words = f"The {suffix} of the default calibration and that with the new dark."
        figure, axes = _figure(6.4, 3.6)
        axes.plot(after[0], after[1] - np.interp(after[0], *before[:2]), color="black", linewidth=0.8)
        axes.axhline(0.0, color="0.6", linewidth=0.8)
        axes.set_xlabel("wavelength (Å)")
        axes.set_ylabel(f"difference, {after[2]}")
        axes.grid(alpha=0.3)
        figures.append(_png(figure, "With the new dark minus default"))
    return [_section(title, words, figures)]


def _spectrum(path: Path) -> tuple[np.ndarray, np.ndarray, str]:
    """Wavelengths (Angstrom), flux or net rate of the first order, and what that is."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        table = hdus["SCI", 1]
        row = table.data[0]
        flux = np.asarray(row["FLUX"], dtype=float)
        if flux.any():
            return np.asarray(row["WAVELENGTH"], dtype=float), flux, "flux (erg/s/cm²/Å)"
        return (
            np.asarray(row["WAVELENGTH"], dtype=float),
            np.asarray(row["NET"], dtype=float),
            "net (counts/s)",
        )
