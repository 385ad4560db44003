"""Verdicts on reference files: structure, keywords, statistics, and the earlier file."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refstis.datamodels.damage import UNREADABLE, check_structure
from refstis.delivery.limits import Bounds, Limits, load_limits
from refstis.delivery.measures import compare, measure
from refstis.delivery.products import Product, Source, open_products, product_paths

if TYPE_CHECKING:
    from refstis.anneal.ledger import Ledger

__all__ = ["CAUTION", "FAIL", "PASS", "Judgement", "Verdict", "check_files", "judge", "worst"]

PASS, CAUTION, FAIL = "PASS", "CAUTION", "FAIL"
OUTCOMES = (PASS, CAUTION, FAIL)
DESCRIP = re.compile(
    r"(?P<what>Refbias|Weekbias|Baseline bias|Weekdark|Baseline dark) "
    r"\((?:(?P<gain>\d)/(?P<amp>[A-D])|amp=(?P<dark_amp>[A-D]))\)"
    r" for data taken after (?P<date>\d{4}-\d\d-\d\d)(?P<rest>.*)"
)
DESCRIP_LENGTH = 67
TASK_OF_DESCRIP = {
    "Refbias": "REFBIAS",
    "Weekbias": "WEEKBIAS",
    "Baseline bias": "BASEJOIN",
    "Weekdark": "WEEKDARK",
    "Baseline dark": "BASEDARK",
}


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check of one file.

    Attributes
    ----------
    check : str
        What was looked at: the name of a figure of limits.yaml, or of a check of the header.
    outcome : str
        PASS, CAUTION or FAIL.
    reason : str
        What was found and what was expected.
    figure, limit : float or None
        What was measured, and the limit that it is beyond, or the nearest one.
    unit : str
        Of both.
    """

    check: str
    outcome: str
    reason: str
    figure: float | None = None
    limit: float | None = None
    unit: str = ""


@dataclass
class Judgement:
    """All that was found out about one file.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    checksum : str
        Its sha256.
    kind, mode : str
        ``bias`` or ``dark``, and words for its mode.
    verdicts : list of Verdict
        One for each check.
    figures : dict
        All that was measured, by name.
    earlier : str
        File that it was compared with; empty where there was none.
    current : str
        File now in CRDS that it was compared with; empty where there was none.
    """

    path: Path
    checksum: str
    kind: str
    mode: str
    verdicts: list[Verdict] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    earlier: str = ""
    current: str = ""

    @property
    def name(self) -> str:
        """File name without folder."""
        return self.path.name

    @property
    def outcome(self) -> str:
        """The worst outcome of all checks."""
        return worst(verdict.outcome for verdict in self.verdicts)

    @property
    def remarks(self) -> list[Verdict]:
        """Verdicts other than PASS, the worst first."""
        found = [verdict for verdict in self.verdicts if verdict.outcome != PASS]
        return sorted(found, key=lambda verdict: -OUTCOMES.index(verdict.outcome))

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "file": self.name,
            "path": str(self.path),
            "sha256": self.checksum,
            "mode": self.mode,
            "outcome": self.outcome,
            "compared_with": self.earlier or None,
            "compared_with_current": self.current or None,
            "verdicts": [
                {key: _plain(value) for key, value in asdict(verdict).items()} for verdict in self.verdicts
            ],
            "figures": {key: _plain(value) for key, value in self.figures.items()},
        }


def _plain(value: Any) -> Any:
    """JSON has no infinity."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def worst(outcomes: Iterable[str]) -> str:
    """The worst of some outcomes.

    Parameters
    ----------
    outcomes : iterable of str
        PASS, CAUTION and FAIL.

    Returns
    -------
    str
        PASS where there are none.

    Examples
    --------
    >>> worst(["PASS", "CAUTION", "PASS"])
    'CAUTION'
    """
    return max(outcomes, key=OUTCOMES.index, default=PASS)


# ---------------------------------------------------------------------------- a figure and its limits


def _number(value: float) -> str:
    """A figure for a reader: whole numbers as such, others with four digits."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def _allowed(bounds: tuple[float | None, float | None], unit: str) -> str:
    low, high = bounds
    unit = f" {unit}" if unit else ""
    if low is None:
        return f"at most {_number(high)}{unit}" if high is not None else "anything"
    return f"at least {_number(low)}{unit}" if high is None else f"{_number(low)} to {_number(high)}{unit}"


def _beyond(value: float, bounds: tuple[float | None, float | None] | None) -> float | None:
    """The limit that a value is beyond; what is no number is beyond any."""
    if bounds is None:
        return None
    low, high = bounds
    if low is not None and not value >= low:
        return low
    if high is not None and not value <= high:
        return high
    return None


def judge(
    name: str, value: float, bounds: Bounds, limits: Limits, filetype: str, prefix: str = ""
) -> Verdict:
    """Verdict on one figure.

    Parameters
    ----------
    name : str
        Of the figure.
    value : float
        What was measured.
    bounds : Bounds
        Its limits.
    limits : Limits
        Where explanations and units come from.
    filetype : str
        ``bias`` or ``dark``.
    prefix : str
        What the name of the check begins with.

    Returns
    -------
    Verdict
        With the figure, and the limit that it is beyond or the nearest one.
    """
    unit = limits.unit(name, filetype)
    about = limits.about(name)
    text = f"{about}: {_number(value)}{' ' + unit if unit else ''}"
    for outcome, allowed in ((FAIL, bounds.fail), (CAUTION, bounds.caution)):
        limit = _beyond(value, allowed)
        if limit is not None and allowed is not None:
            reason = f"{text}; expected {_allowed(bounds.caution or allowed, unit)}"
            return Verdict(prefix + name, outcome, reason, value, limit, unit)
    inner = [limit for limit in (bounds.caution or bounds.fail or ()) if limit is not None]
    nearest = min(inner, key=lambda limit: abs(limit - value), default=None)
    return Verdict(prefix + name, PASS, text, value, nearest, unit)


# ---------------------------------------------------------------------------- structure and keywords


def _structure(product: Product) -> list[Verdict]:
    faults = []
    for name, image, dtype in (
        ("SCI", product.sci, "f4"),
        ("ERR", product.err, "f4"),
        ("DQ", product.dq, "i2"),
    ):
        found = np.asarray(image).dtype
        if found.newbyteorder("=") != np.dtype(dtype):
            faults.append(f"{name} is {found.name}, expected {np.dtype(dtype).name}")
    xbin, ybin = product.number("BINAXIS1"), product.number("BINAXIS2")
    rows, columns = np.asarray(product.sci).shape
    if xbin in (1, 2, 4) and ybin in (1, 2, 4):
        # CALSTIS cuts a column that lies half in the overscan
        expected = 1024 // ybin, 1024 // xbin
        if rows != expected[0] or not expected[1] - 1 <= columns <= expected[1]:
            faults.append(
                f"{columns} x {rows} pixels, expected {expected[1]} x {expected[0]} for this binning"
            )
    return [_header("structure", faults, "SCI, ERR and DQ of the right types and size")]


def _header(check: str, faults: Sequence[str], good: str, outcome: str = FAIL) -> Verdict:
    return Verdict(check, outcome if faults else PASS, "; ".join(faults) if faults else good)


def _keywords(product: Product, limits: Limits) -> list[Verdict]:
    dark = product.kind == "dark"
    wanted = limits.keywords + (limits.keywords_dark if dark else [])
    missing = [
        key for key in wanted if product.text(key) == "" and not (key == "HISTORY" and key in product.primary)
    ]
    verdicts = [
        _header("keywords", [f"{', '.join(missing)} missing"] if missing else [], "all keywords are there")
    ]

    faults = []
    if not product.text("FILETYPE") or product.text("FILETYPE") not in ("CCD BIAS IMAGE", "DARK IMAGE"):
        faults.append(f"FILETYPE is {product.text('FILETYPE')!r}, expected 'CCD BIAS IMAGE' or 'DARK IMAGE'")
    elif product.name.endswith(("_bia.fits", "_drk.fits")) and dark != product.name.endswith("_drk.fits"):
        faults.append(f"FILETYPE is {product.text('FILETYPE')!r} in a file that is named {product.name[-9:]}")
    values = {**limits.values, **(limits.values_dark if dark else limits.values_bias)}
    for key, expected in values.items():
        allowed = expected if isinstance(expected, list) else [expected]
        if key in product.primary and product.primary[key] not in allowed:
            faults.append(f"{key} is {product.primary[key]!r}, expected {' or '.join(map(str, allowed))}")
    for key, told in product.history_mode.items():
        here = product.text(key)
        if not (dark and key in ("CCDAMP", "CCDGAIN")) and here and told != here:
            faults.append(f"{key} is {here}, HISTORY tells of inputs with {told}")
    return [*verdicts, _header("mode", faults, "the mode is that of the inputs")]


def _filename(product: Product) -> Verdict:
    told = product.text("FILENAME")
    faults = (
        [f"FILENAME is {told!r}, the file is named {product.name}"] if told and told != product.name else []
    )
    return _header("filename", faults, "FILENAME is the name of the file", CAUTION)


def _dates(product: Product, limits: Limits) -> list[Verdict]:
    faults = []
    pedigree, useafter = product.pedigree, product.useafter
    if pedigree is None:
        faults.append(f"PEDIGREE is {product.text('PEDIGREE')!r}, expected INFLIGHT and two dates dd/mm/yyyy")
    elif pedigree[0] > pedigree[1]:
        faults.append(f"PEDIGREE ends ({pedigree[1]:%Y-%m-%d}) before it begins ({pedigree[0]:%Y-%m-%d})")
    elif pedigree[1] - pedigree[0] > timedelta(days=limits.longest_period):
        days = (pedigree[1] - pedigree[0]).days
        faults.append(f"PEDIGREE spans {days} days; no period is longer than {limits.longest_period:g}")
    verdicts = [_header("pedigree", faults, "PEDIGREE is INFLIGHT with two dates")]

    faults, outcome = [], FAIL
    if useafter is None:
        faults.append(f"USEAFTER is {product.text('USEAFTER')!r}, expected such as 'Sep 16 2023 06:00:00'")
    elif pedigree is not None:
        first = pedigree[0]
        early = (first.date() - useafter.date()).days
        what = f"USEAFTER is {useafter:%Y-%m-%d %H:%M:%S}, the first input of {first:%Y-%m-%d}"
        if early < 0:
            faults.append(f"{what}: the file is not used for its own first data")
        elif limits.useafter == "data" and early > 0:
            outcome = CAUTION
            faults.append(f"{what}; expected the same day")
        elif early > limits.longest_period:
            faults.append(f"{what}; that is more than a month before")
    return [*verdicts, _header("useafter", faults, "USEAFTER fits the dates of the inputs", outcome)]


def _descrip(product: Product) -> list[Verdict]:
    text = product.text("DESCRIP")
    found = DESCRIP.fullmatch(text)
    faults = []
    if len(text) != DESCRIP_LENGTH:
        faults.append(f"DESCRIP has {len(text)} characters, expected {DESCRIP_LENGTH} with '-' at the end")
    if not found:
        faults.append(
            f"DESCRIP is {text!r}, expected such as 'Weekdark (amp=D) for data taken after 2023-10-19'"
        )
    else:
        if product.useafter is not None and found["date"] != f"{product.useafter:%Y-%m-%d}":
            faults.append(f"DESCRIP says {found['date']}, USEAFTER {product.useafter:%Y-%m-%d}")
        told = product.history_mode
        pairs = [("CCDAMP", found["amp"] or found["dark_amp"]), ("CCDGAIN", found["gain"])]
        for key, here in pairs:
            header = product.text(key) if product.kind == "bias" else told.get(key)
            if here is not None and header and here != header:
                faults.append(f"DESCRIP says {key} {here}, expected {header}")
        if (found["what"].lower().endswith("dark")) != (product.kind == "dark"):
            faults.append(f"DESCRIP says {found['what']}, FILETYPE {product.text('FILETYPE')}")
        task = product.text("TASKNAME").upper()
        if task and task != TASK_OF_DESCRIP[found["what"]]:
            faults.append(f"DESCRIP says {found['what']}, TASKNAME {task}")
    verdicts = [_header("descrip", faults, "DESCRIP says what the file is", CAUTION)]
    provisional = "provisional" in text.lower()
    note = ["the month is not over: more exposures may come"] if provisional else []
    return [*verdicts, _header("provisional", note, "the month is over", CAUTION)]


def _history(product: Product) -> list[Verdict]:
    history = product.history
    faults = []
    if not history.names:
        faults.append("HISTORY has no list 'The following input files were used:'")
    else:
        twice = [name for name, count in Counter(history.names).items() if count > 1]
        if twice:
            faults.append(f"HISTORY names {', '.join(twice)} more than once")
        if history.count < len(history.names):
            faults.append(f"HISTORY tells of {history.count} frames from {len(history.names)} files")
        recorded = [str(one.get("name")) for one in product.record.get("inputs", [])]
        # the average of two sub-lists was made from these, and names what they were made from
        whole = not any(re.search(r"_grp\d\d\.fits$", name) for name in recorded)
        if recorded and whole and sorted(recorded) != sorted(history.names):
            extra = sorted(set(recorded) ^ set(history.names))
            faults.append(
                f"HISTORY and the record beside the file name different inputs ({', '.join(extra[:3])})"
            )
    verdicts = [_header("history", faults, f"HISTORY names {len(history.names)} input files")]

    told = str(product.record.get("sha256") or "")
    changed = ["the file is not what it was when it was made"] if told and told != product.checksum else []
    verdicts.append(_header("unchanged", changed, "as it was made", CAUTION))
    warnings = [str(one.get("warning")) for one in product.record.get("references", []) if one.get("warning")]
    return [
        *verdicts,
        _header("references", warnings, "made with the reference files that the inputs name", CAUTION),
    ]


def _conformance(product: Product) -> Verdict:
    """FITS standard, as astropy sees it."""
    import warnings

    from astropy.io import fits

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_structure(product.path)
            with fits.open(product.path, memmap=False) as hdus:
                hdus.verify("warn")
        except UNREADABLE as error:
            return Verdict("fits", FAIL, f"not a FITS file: {error}")
    faults = [" ".join(str(one.message).split()) for one in caught]
    return _header(
        "fits", [fault for fault in faults if "Note:" not in fault][:3], "conforms to the FITS standard"
    )


# ---------------------------------------------------------------------------- one file and all files


def _examine(product: Product, limits: Limits) -> Judgement:
    judged = Judgement(product.path, product.checksum, product.kind, product.mode_words)
    if product.fault:
        judged.verdicts.append(Verdict("readable", FAIL, product.fault))
        return judged
    judged.verdicts.append(Verdict("readable", PASS, "can be read"))
    judged.verdicts += [
        _conformance(product),
        *_structure(product),
        *_keywords(product, limits),
        _filename(product),
    ]
    judged.verdicts += [*_dates(product, limits), *_descrip(product), *_history(product)]
    judged.figures = measure(product)
    bounds = _bounds(product, limits)
    judged.verdicts += [
        judge(name, value, bounds[name], limits, product.kind)
        for name, value in judged.figures.items()
        if name in bounds
    ]
    return judged


def _bounds(product: Product, limits: Limits) -> dict[str, Bounds]:
    binning = product.number("BINAXIS1"), product.number("BINAXIS2")
    return limits.bounds(product.kind, product.gain, binning, product.begin, product.baseline)


def _against(judged: Judgement, product: Product, other: Product, limits: Limits, prefix: str = "") -> None:
    if np.shape(product.sci) != np.shape(other.sci):
        judged.verdicts.append(Verdict(f"{prefix}size", FAIL, f"another size than that of {other.name}"))
        return
    figures = compare(product, other)
    bounds = _bounds(product, limits)
    for name, value in figures.items():
        judged.figures[prefix + name] = value
        if name in bounds:
            judged.verdicts.append(judge(name, value, bounds[name], limits, product.kind, prefix))


def _latest(candidates: Iterable[Product], product: Product) -> Product | None:
    """The last file before, or of the same day, of the same mode."""
    moment = product.useafter or product.begin
    if moment is None:
        return None
    found = [
        (then, other.name, other)
        for other in candidates
        if other.path != product.path
        and other.mode == product.mode
        and other.baseline == product.baseline
        and (then := other.useafter or other.begin) is not None
        and then <= moment
    ]
    return max(found, default=(None, "", None), key=lambda one: one[:2])[2]


def check_files(
    files: Iterable[str | os.PathLike],
    *,
    previous: Source | None = None,
    current: Source | None = None,
    limits: Limits | str | os.PathLike | None = None,
    cautions: Mapping[str, Sequence[str]] | None = None,
    ledger: Ledger | None = None,
) -> list[Judgement]:
    """Check reference files and give a verdict on each.

    Each is compared with the last file of its mode before it: one of `files`, or of `previous`. A file that failed is
    nobody's measure: what follows it is compared with the one before.

    Parameters
    ----------
    files : iterable of str or os.PathLike
        Superbiases and superdarks.
    previous : str, os.PathLike or iterable of them, optional
        Folders or files of the period before.
    current : str, os.PathLike or iterable of them, optional
        Folders or files that CRDS gives now for these dates.
    limits : Limits, str or os.PathLike, optional
        A file with limits of one's own; the shipped ones by default.
    cautions : mapping, optional
        What the run that made a file remarks of it, by name of the file.
    ledger : Ledger, optional
        Where the verdicts are recorded.

    Returns
    -------
    list of Judgement
        By kind, mode and time.

    Raises
    ------
    ConfigurationError
        Where the limits are wrong.
    InputError
        Where a folder does not exist.
    """
    if not isinstance(limits, Limits):
        limits = load_limits(limits)
    products = open_products(files)
    sound = [product for product in open_products(product_paths(previous)) if not product.fault]
    now_used = [product for product in open_products(product_paths(current)) if not product.fault]
    judged = []
    seen: dict[tuple, Product] = {}
    for product in products:
        judgement = _examine(product, limits)
        judged.append(judgement)
        said = list((cautions or {}).get(product.name, ()))
        judgement.verdicts.append(_header("run", said, "the run that made it has no remark", CAUTION))
        if product.fault:
            continue
        earlier = _latest(sound, product)
        if earlier is not None:
            judgement.earlier = earlier.name
            _against(judgement, product, earlier, limits)
        if not product.baseline and product.useafter is not None:
            twin = seen.setdefault((product.mode, product.useafter), product)
            if twin is not product:
                reason = f"has the USEAFTER and mode of {twin.name}; CRDS can use only one of them"
                judgement.verdicts.append(Verdict("unique", FAIL, reason))
        in_use = _latest(now_used, product)
        if in_use is not None:
            judgement.current = in_use.name
            _against(judgement, product, in_use, limits, "crds_")
        if judgement.outcome != FAIL:
            sound.append(product)
    if ledger is not None:
        _record(judged, ledger)
    return judged


def _record(judged: Iterable[Judgement], ledger: Ledger) -> None:
    from refstis.anneal import ledger as ledgers

    ledger.add_verdicts(
        ledgers.Verdict(
            product=str(one.path),
            checksum=one.checksum,
            name=verdict.check,
            outcome=verdict.outcome,
            reason=verdict.reason,
            figure=_plain(verdict.figure),
            limit=_plain(verdict.limit),
        )
        for one in judged
        for verdict in one.verdicts
    )
