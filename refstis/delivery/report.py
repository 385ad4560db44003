"""The report of a month: one page that holds everything, and an index over months."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from refstis.datamodels import config_path
from refstis.datamodels.atomic import atomic_write
from refstis.delivery import figures
from refstis.delivery.certification import Certification
from refstis.delivery.checks import CAUTION, FAIL, PASS, Judgement, check_files, worst
from refstis.delivery.pictures import FEW_LEVELS, LEVELS, colour_bar, image_data, svg
from refstis.delivery.products import Product, Source, find_products, open_products, product_paths
from refstis.delivery.regression import RegressionResult
from refstis.delivery.series import changed_pixels, dark_series
from refstis.errors import InputError

__all__ = ["FACTS", "INDEX", "REPORT", "overall", "write_index", "write_report"]

REPORT, FACTS, INDEX = "report.html", "report.json", "index.html"
IMAGE_COLOURS, CHANGE_COLOURS = "cividis", "PuOr_r"
HEADLINES = {
    PASS: "All files are good",
    CAUTION: "Somebody should look at some of the files",
    FAIL: "Not to be delivered as it is",
}


def _render(template: str, **content: Any) -> str:
    from importlib.metadata import version

    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = config_path("templates")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    style = Markup((folder / "style.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    return environment.get_template(template).render(style=style, version=version("refstis"), **content)


def _number(value: float | None, digits: int = 4) -> str:
    if value is None or not np.isfinite(value):
        return ""
    return f"{value:.{digits}g}" if abs(value) < 1e5 else f"{value:.0f}"


def _plot(figure: Any, caption: str) -> dict[str, Any]:
    from markupsafe import Markup

    return {"svg": Markup(svg(figure, caption)), "caption": caption}  # noqa: S704 - drawn here, title escaped


def _picture(image: np.ndarray, low: float, high: float, colours: str, caption: str) -> dict[str, Any]:
    from markupsafe import Markup

    return {
        "data": image_data(image, low, high, colours, LEVELS if colours == IMAGE_COLOURS else FEW_LEVELS),
        "width": image.shape[1],
        "height": image.shape[0],
        "low": _number(low, 3),
        "high": _number(high, 3),
        "bar": Markup(colour_bar(colours)),  # noqa: S704 - colours in hexadecimal
        "caption": caption,
    }


def _pictures(product: Product, earlier: Product | None) -> list[dict[str, Any]]:
    sci = np.asarray(product.sci, dtype=np.float64)
    unit = figures.unit_of(product)
    scale = figures.stretch(sci)
    found = [_picture(sci, *scale, IMAGE_COLOURS, f"Image ({unit})")]
    if earlier is not None and np.shape(earlier.sci) == sci.shape:
        before = np.asarray(earlier.sci, dtype=np.float64)
        width = 0.5 * (scale[1] - scale[0])
        name = f"{figures.label_of(earlier)} before"
        found.append(_picture(sci - before, -width, width, CHANGE_COLOURS, f"Difference to {name} ({unit})"))
        if product.kind == "dark":  # of a superbias, which is about 0, a ratio says nothing
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(before > 0, sci / before, 1.0)
            found.append(_picture(ratio, 0.5, 1.5, CHANGE_COLOURS, f"Ratio to {name}"))
    return found


def _parameters(product: Product) -> str:
    """Parameters of the stages as lines, without those of stpipe itself."""
    lines = []
    for step in product.parameters.get("steps", []):
        for key, value in sorted(dict(step.get("parameters", {})).items()):
            if key not in _HOUSEKEEPING and value is not None:
                lines.append(f"{step.get('name')}.{key} = {value}")
    return "\n".join(lines)


_HOUSEKEEPING = frozenset(
    ["pre_hooks", "post_hooks", "output_file", "output_dir", "output_ext", "output_use_model", "output_use_index",
     "save_results", "suffix", "search_output_file", "input_dir", "skip", "crds"]
)  # fmt: skip


def _entry(
    judgement: Judgement,
    product: Product,
    earlier: Product | None,
    certification: Certification | None,
    accepted: str,
    reason: str,
) -> dict[str, Any]:
    measured, record = judgement.figures, product.record
    sound = not product.fault
    hot = measured.get("hot_above_0.1")
    if hot is None and sound:
        hot = float(np.count_nonzero(np.asarray(product.dq) & 16))
    plots = []
    if sound:
        plots.append(
            _plot(
                figures.averages_figure(product, earlier, 5.6, 4.2),
                f"Averaged columns and rows of {product.name}",
            )
        )
        plots.append(
            _plot(figures.histogram_figure(product, earlier, 5.0, 3.4), f"Histogram of {product.name}")
        )
    versions = record.get("versions", {})
    return {
        "name": product.name,
        "anchor": quote(product.name),
        "outcome": judgement.outcome,
        "mode": judgement.mode,
        "useafter": f"{product.useafter:%Y-%m-%d %H:%M}" if product.useafter else product.text("USEAFTER"),
        "pedigree": product.text("PEDIGREE"),
        "descrip": product.text("DESCRIP").rstrip("-"),
        "frames": product.frames or "",
        "level": _number(measured.get("level")),
        "noise": _number(measured.get("noise")),
        "error": _number(measured.get("error")),
        "hot": _number(hot, 5),
        "remarks": judgement.remarks,
        "verdicts": judgement.verdicts,
        "accepted": accepted,
        "reason": reason,
        "earlier": judgement.earlier,
        "current": judgement.current,
        "checksum": judgement.checksum,
        "pictures": _pictures(product, earlier) if sound else [],
        "plots": plots,
        "inputs": record.get("inputs", []),
        "references": record.get("references", []),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "parameters": _parameters(product),
        "history": "\n".join(str(line) for line in product.primary.get("HISTORY", ())),
        "certification": None
        if certification is None
        else {
            "passed": certification.passed,
            "text": "\n".join([*certification.log, *(f"ERROR {error}" for error in certification.errors)]),
        },
    }


def _month_plots(
    products: Sequence[Product],
    before: Sequence[Product],
    measured: Mapping[str, dict[str, float]],
    darks: Sequence[dict[str, Any]],
    anneals: Sequence[datetime],
) -> list[dict[str, Any]]:
    from refstis.delivery.measures import measure

    plots = []
    weekdarks = [
        product
        for product in products
        if product.kind == "dark" and not product.baseline and product.useafter
    ]
    if weekdarks:
        # with the file before, so that the step at the anneal shows
        last = [
            product
            for product in before
            if product.kind == "dark" and not product.baseline and product.useafter
        ]
        points = [(product.useafter, measure(product)) for product in last if product.useafter]
        points += [(product.useafter, measured[product.name]) for product in weekdarks if product.useafter]
        plots.append(_plot(figures.hot_pixels_figure(points, anneals), "Hot pixels of the superdarks"))
    for kind, unit, what in (("bias", "DN", "bias level"), ("dark", "e-/s", "dark rate")):
        series: dict[str, list] = {}
        for product in products:
            if product.kind == kind and product.useafter and "level" in measured[product.name]:
                words = product.mode_words + (", baseline" if product.baseline else "")
                series.setdefault(words, []).append((product.useafter, measured[product.name]["level"]))
        if series:
            plots.append(
                _plot(figures.trend_figure(series, f"{what} ({unit})"), f"{what.capitalize()} (median)")
            )
    if darks:
        caption = (
            "Median rate of every dark, as taken and scaled to 18 C; dotted: begin of each superdark's period"
        )
        plots.append(_plot(figures.darks_figure(darks, weekdarks), caption))
    return plots


def write_report(
    folder: str | os.PathLike,
    *,
    previous: Source | None = None,
    judgements: Sequence[Judgement] | None = None,
    certifications: Sequence[Certification] = (),
    regression: RegressionResult | None = None,
    accepted: Mapping[str, str] | None = None,
    reasons: Mapping[str, str] | None = None,
    anneals: Sequence[datetime] = (),
    output: str | os.PathLike | None = None,
    index: str | None = None,
) -> Path:
    """Write the report of a month as one page.

    Parameters
    ----------
    folder : str or os.PathLike
        Of the month, or with files for delivery.
    previous : str, os.PathLike or iterable of them, optional
        Folders or files of the period before.
    judgements : sequence of Judgement, optional
        What `check_files` found; the files are checked here where it is left out.
    certifications : sequence of Certification
        What `certify_files` found.
    regression : RegressionResult, optional
        What `regress` found.
    accepted : mapping, optional
        Reason by name of a file that is delivered in spite of its verdict.
    reasons : mapping, optional
        Procedure and why it was chosen, by name of a file.
    anneals : sequence of datetime.datetime
        Anneals to show.
    output : str or os.PathLike, optional
        Folder to write ``report.html`` and ``report.json`` to; the month's own by default.
    index : str, optional
        Address of the index over months, relative to the report.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    InputError
        Where there are no reference files.
    OutputError
        Where the page cannot be written.
    """
    folder = Path(folder)
    paths = find_products(folder, baselines=True)
    if not paths:
        raise InputError(f"{folder}: no superbiases (*_bia.fits) or superdarks (*_drk.fits) in it or below.")
    if judgements is None:
        judgements = check_files(paths, previous=previous)
    by_path = {judgement.path: judgement for judgement in judgements}
    products = [product for product in open_products(paths) if product.path in by_path]
    before = open_products(product_paths(previous))
    known = {product.name: product for product in [*before, *products] if not product.fault}
    certified = {one.name: one for one in certifications}
    accepted, reasons = accepted or {}, reasons or {}
    entries = []
    for product in sorted(products, key=lambda one: (one.baseline, one.mode, one.name)):
        judgement = by_path[product.path]
        entries.append(
            _entry(
                judgement,
                product,
                known.get(judgement.earlier),
                certified.get(product.name),
                accepted.get(product.name, ""),
                reasons.get(product.name, ""),
            )
        )
    measured = {judgement.name: judgement.figures for judgement in judgements}
    sound = [product for product in products if not product.fault]
    used = {judgement.earlier for judgement in judgements}
    darks = dark_series(folder)
    weekdarks = [product for product in sound if product.kind == "dark" and not product.baseline]
    outcome = overall(judgements, certifications, regression, accepted)
    page = _render(
        REPORT,
        title=f"Anneal month {folder.absolute().name}",
        span=_span(sound),
        outcome=outcome,
        headline=HEADLINES[outcome],
        counts=_counts(judgements, certifications, regression, accepted),
        files=entries,
        remarked=[entry for entry in entries if entry["remarks"]],
        month_plots=_month_plots(
            sound, [one for one in before if one.name in used and not one.fault], measured, darks, anneals
        ),
        changes=changed_pixels(weekdarks),
        certified=_certified(certifications),
        regression=_regression(regression),
        index=index,
    )
    target = Path(output) if output is not None else folder
    with atomic_write(target / REPORT, "w") as stream:
        stream.write(page)
    facts = _facts(folder, sound, judgements, outcome)
    with atomic_write(target / FACTS, "w") as stream:
        json.dump(facts, stream, indent=1, allow_nan=False)
        stream.write("\n")
    return target / REPORT


def overall(
    judgements: Sequence[Judgement],
    certifications: Sequence[Certification],
    regression: RegressionResult | None,
    accepted: Mapping[str, str],
) -> str:
    """The verdict on a month: the worst of checks, certification and regression.

    Parameters
    ----------
    judgements : sequence of Judgement
        What `check_files` found.
    certifications : sequence of Certification
        What `certify_files` found.
    regression : RegressionResult or None
        What `regress` found.
    accepted : mapping
        Reason by name of a file that is delivered in spite of its verdict, which then is a CAUTION.

    Returns
    -------
    str
        PASS, CAUTION or FAIL.
    """
    outcomes = [
        CAUTION if judgement.outcome == FAIL and judgement.name in accepted else judgement.outcome
        for judgement in judgements
    ]
    outcomes += [PASS if one.passed else FAIL for one in certifications]
    if regression is not None:
        outcomes.append(PASS if regression.passed else FAIL)
    return worst(outcomes)


def _counts(
    judgements: Sequence[Judgement],
    certifications: Sequence[Certification],
    regression: RegressionResult | None,
    accepted: Mapping[str, str],
) -> str:
    number = Counter(judgement.outcome for judgement in judgements)
    parts = [f"{len(judgements)} files: {number[PASS]} PASS, {number[CAUTION]} CAUTION, {number[FAIL]} FAIL"]
    if accepted:
        parts.append(f"{len(accepted)} accepted")
    if certifications:
        refused = sum(not one.passed for one in certifications)
        parts.append(f"certification: {f'{refused} refused' if refused else 'all accepted'}")
    if regression is not None:
        failed = len(regression.failures)
        parts.append(f"regression: {len(regression.reductions)} reductions, {failed or 'none'} failed")
    return "; ".join(parts) + "."


def _span(products: Sequence[Product]) -> str:
    dates = [date for product in products if product.pedigree for date in product.pedigree]
    return f"Exposures from {min(dates):%Y-%m-%d} to {max(dates):%Y-%m-%d}" if dates else ""


def _certified(certifications: Sequence[Certification]) -> str:
    if not certifications:
        return ""
    import crds

    refused = [one.name for one in certifications if not one.passed]
    first = certifications[0]
    depth = (
        f"the rules of {first.context}"
        if first.depth == "full"
        else "the values that its package allows for each keyword"
    )
    result = (
        f"it refuses {', '.join(refused)}" if refused else f"all {len(certifications)} files are accepted"
    )
    return f"crds {crds.__version__} against {depth}: {result}. What it said stands with each file."


def _regression(regression: RegressionResult | None) -> dict[str, Any] | None:
    if regression is None:
        return None
    keys = ("before", "after", "hot_before", "hot_after", "hot_scatter")
    return {
        "suite": regression.suite,
        "rows": [
            {
                "exposure": one.exposure,
                "bias": one.bias,
                "dark": one.dark,
                "step": one.step,
                "error": one.error,
                **{key: _number(one.figures.get(key), 3) for key in keys},
            }
            for one in regression.reductions
        ],
    }


# ---------------------------------------------------------------------------- over months


def _facts(
    folder: Path, products: Sequence[Product], judgements: Sequence[Judgement], outcome: str
) -> dict[str, Any]:
    """What the index needs, and anybody who wants figures instead of pictures."""
    by_path = {judgement.path: judgement for judgement in judgements}
    return {
        "kind": "refstis report",
        "month": folder.absolute().name,
        "outcome": outcome,
        "span": _span(products),
        "files": [
            {
                **by_path[product.path].to_dict(),
                "kind": product.kind,
                "gain": product.gain,
                "baseline": product.baseline,
                "useafter": product.useafter.isoformat() if product.useafter else None,
                "verdicts": len(by_path[product.path].verdicts),
                "remarks": [
                    vars(verdict) | {"figure": None, "limit": None}
                    for verdict in by_path[product.path].remarks
                ],
            }
            for product in products
        ],
    }


def write_index(folder: str | os.PathLike) -> Path:
    """Write the index over the reports in a folder, with trends.

    Parameters
    ----------
    folder : str or os.PathLike
        With one folder for each month that has a ``report.json``.

    Returns
    -------
    pathlib.Path
        ``index.html`` in the folder.

    Raises
    ------
    InputError
        Where there is no report below it.
    OutputError
        Where the page cannot be written.
    """
    folder = Path(folder)
    months = []
    for path in sorted(folder.glob(f"*/{FACTS}")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and content.get("kind") == "refstis report":
            months.append((path.parent.name, content))
    if not months:
        raise InputError(
            f"{folder}: no month with a report in it. Write one with `refstis report {folder}/MONTH`."
        )
    months.sort(key=lambda month: min((one["useafter"] or "" for one in month[1]["files"]), default=""))
    page = _render(
        INDEX,
        span=f"{len(months)} months",
        plots=_trends([content for _, content in months]),
        months=[_row(name, content) for name, content in months],
    )
    with atomic_write(folder / INDEX, "w") as stream:
        stream.write(page)
    return folder / INDEX


def _series(
    months: Iterable[Mapping[str, Any]], kind: str, figure: str
) -> dict[str, list[tuple[datetime, float]]]:
    found: dict[str, list[tuple[datetime, float]]] = {}
    for month in months:
        for one in month["files"]:
            value = one["figures"].get(figure)
            if one["kind"] == kind and not one["baseline"] and one["useafter"] and value is not None:
                found.setdefault(one["mode"], []).append((datetime.fromisoformat(one["useafter"]), value))
    return found


def _trends(months: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    plots = []
    hot: dict[str, list] = {}
    for rate in ("0.1", "1", "10"):
        points = [
            point for series in _series(months, "dark", f"hot_above_{rate}").values() for point in series
        ]
        if points:
            hot[f"above {rate} e-/s"] = points
    for series, label, caption, log in (
        (_series(months, "dark", "level"), "dark rate (e-/s)", "Dark rate: median of each superdark", False),
        (hot, "hot pixels", "Hot pixels on a whole chip", True),
        (_series(months, "bias", "level"), "level (DN)", "Bias level: median of each superbias", False),
        (_series(months, "bias", "noise"), "noise (DN)", "Noise of each superbias between neighbours", False),
    ):
        if series:
            plots.append(_plot(figures.trend_figure(series, label, log), caption))
    return plots


def _row(name: str, month: Mapping[str, Any]) -> dict[str, Any]:
    def middle(kind: str, figure: str, gain: int | None = None, digits: int = 4) -> str:
        values = [
            one["figures"][figure]
            for one in month["files"]
            if one["kind"] == kind
            and not one["baseline"]
            and one["figures"].get(figure) is not None
            and gain in (None, one["gain"])
        ]
        return _number(float(np.median(values)), digits) if values else ""

    return {
        "name": month["month"],
        "link": f"{quote(name)}/{REPORT}",
        "outcome": month["outcome"],
        "span": month["span"].removeprefix("Exposures from "),
        "files": len(month["files"]),
        "remarks": sum(len(one["remarks"]) for one in month["files"]),
        "dark": middle("dark", "level"),
        "hot": middle("dark", "hot_above_0.1", digits=6),
        "bias": middle("bias", "level", 1),
    }
