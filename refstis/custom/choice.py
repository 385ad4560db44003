"""Which darks belong to a science exposure: its anneal period, one state of calibration, a window in time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from refstis.anneal.dates import isoformat
from refstis.anneal.exposures import (
    Exclusion,
    Exposure,
    read_exposure,
    remove_duplicates,
    screen_group,
    select,
)
from refstis.anneal.headers import read_headers
from refstis.anneal.policy import Policy
from refstis.anneal.table import Anneal, AnnealTable, Month
from refstis.errors import InputError

__all__ = [
    "CORRECTED", "RAW", "SUBTRACTED", "Choice", "Dark", "Science", "choose_biases", "choose_darks", "find_month",
    "read_dark", "read_science", "rules",
]  # fmt: skip

# States of calibration. Darks of two states are never combined.
RAW, SUBTRACTED, CORRECTED = "raw", "bias-subtracted", "CTI-corrected"


@cache
def rules() -> dict[str, Any]:
    """The numbers of config/custom.yaml.

    Returns
    -------
    dict
        Its content.
    """
    import yaml

    from refstis.datamodels import config_path

    return yaml.safe_load(config_path("custom.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Science:
    """The exposure that a dark is made for.

    Attributes
    ----------
    path : pathlib.Path
        The file that was named, absolute.
    rootname : str
        ROOTNAME, lower case.
    begin : float
        Start (MJD).
    raw : pathlib.Path or None
        Its raw file: itself, or the one beside it.
    corrected : bool
        Whether it is corrected for charge transfer inefficiency.
    darkfile : str
        DARKFILE of its header: the default dark.
    """

    path: Path
    rootname: str
    begin: float
    raw: Path | None
    corrected: bool
    darkfile: str

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name


@dataclass(frozen=True)
class Dark:
    """A dark that may be used.

    Attributes
    ----------
    exposure : refstis.anneal.exposures.Exposure
        What its headers say.
    state : str
        `RAW`, `SUBTRACTED` or `CORRECTED`.
    """

    exposure: Exposure
    state: str


@dataclass
class Choice:
    """The darks of an exposure, and why they are those.

    Attributes
    ----------
    state : str
        `RAW`, `SUBTRACTED` or `CORRECTED`.
    period : list of refstis.anneal.exposures.Exposure
        All darks of the anneal period, in order of time.
    near : list of refstis.anneal.exposures.Exposure
        Those of them within the window.
    window : float
        Days on either side that `near` was taken from.
    reason : str
        How the window came about.
    cautions : list of str
        What somebody should look at.
    excluded : list of refstis.anneal.exposures.Exclusion
        Exposures that were found and are not used, with the reason.
    """

    state: str
    period: list[Exposure]
    near: list[Exposure]
    window: float
    reason: str
    cautions: list[str] = field(default_factory=list)
    excluded: list[Exclusion] = field(default_factory=list)


def read_science(path: str | os.PathLike) -> Science:
    """Read the headers of a science exposure.

    Parameters
    ----------
    path : path-like
        Its raw, flt or crj file, or another image of it.

    Returns
    -------
    Science
        What a dark for it depends on.

    Raises
    ------
    refstis.errors.InputError
        Where it is no exposure of the STIS CCD, or does not say when it was taken.
    """
    path = Path(path).absolute()
    headers = read_headers(path)
    primary = headers.primary
    if headers.fault:
        raise InputError(f"{path}: {headers.fault}; retrieve it again")
    instrument = f"{_text(primary, 'INSTRUME') or '?'}/{_text(primary, 'DETECTOR') or '?'}"
    if instrument != "STIS/CCD":
        raise InputError(f"{path}: is of {instrument}; a custom dark is made for exposures of STIS/CCD")
    if _text(primary, "FILETYPE").upper() in ("CCD BIAS IMAGE", "DARK IMAGE"):
        raise InputError(f"{path}: is a reference file; a raw, flt or crj of a science exposure was expected")
    images = headers.extensions("SCI")
    begin = primary.get("TEXPSTRT") or (images[0].keywords.get("EXPSTART") if images else None)
    rootname = _text(primary, "ROOTNAME").lower()
    if (
        not images
        or not rootname
        or isinstance(begin, bool)
        or not isinstance(begin, int | float)
        or begin <= 0
    ):
        raise InputError(
            f"{path}: has no image, no ROOTNAME or no TEXPSTRT; a raw, flt or crj of a science exposure was expected"
        )
    done = [key for key in ("BLEVCORR", "CRCORR") if _done(primary, key)]
    raw: Path | None = path
    if done:
        beside = [path.parent / f"{rootname}_raw.fits{ending}" for ending in ("", ".gz")]
        raw = next((file for file in beside if file.is_file()), None)
    return Science(path, rootname, float(begin), raw, _done(primary, "PCTECORR"), _text(primary, "DARKFILE"))


def _text(keywords: Mapping[str, Any], name: str) -> str:
    value = keywords.get(name)
    return "" if value is None else str(value).strip()


def _done(keywords: Mapping[str, Any], name: str) -> bool:
    return _text(keywords, name).upper() == "COMPLETE"


def find_month(science: Science, table: AnnealTable, policy: Policy) -> tuple[Month, list[str]]:
    """The anneal period of an exposure.

    Parameters
    ----------
    science : Science
        The exposure.
    table : AnnealTable
        Known anneals.
    policy : Policy
        Says how long after the last known anneal a period may be taken as undivided.

    Returns
    -------
    month : Month
        With a begin and an end.
    cautions : list of str
        Where the end is not known.

    Raises
    ------
    refstis.errors.InputError
        Where the exposure was taken during an anneal, or the table does not know the anneals around it.
    """
    when = isoformat(science.begin)
    found = table.at(science.begin)
    if isinstance(found, Anneal):
        raise InputError(
            f"{science.name}: taken at {when}, during the anneal of {isoformat(found.begin)} to "
            f"{isoformat(found.last)}: the CCD was warm, and no darks belong to it"
        )
    ask = (
        "Darks are never taken across an anneal, so name a table that knows those around it with --anneals FILE "
        "(lines of begin,end in UTC)"
    )
    if found.begin is None:
        first = table.anneals[0]
        raise InputError(
            f"{science.name}: taken at {when}, before the first anneal in {table.name} "
            f"({isoformat(first.begin)}). {ask}"
        )
    if found.end is not None:
        return found, []
    limit = policy.days_outside_table
    if science.begin > found.begin + limit:
        raise InputError(
            f"{science.name}: taken at {when}, {science.begin - found.begin:.0f} days after the last anneal in "
            f"{table.name} ({isoformat(found.begin)}), and more than {limit:g} days cannot be one period. {ask}"
        )
    caution = (
        f"{table.name} knows no anneal after {isoformat(found.begin)}: the next {limit:g} days are taken as one "
        "period, whether or not an anneal divides them"
    )
    return Month(found.begin, found.begin + limit, found.name, found.opening), [caution]


def read_dark(path: str | os.PathLike, policy: Policy) -> Dark | Exclusion:
    """Read what a dark must say of itself to be used.

    Parameters
    ----------
    path : path-like
        A raw or calibrated dark.
    policy : Policy
        Which exposures are darks.

    Returns
    -------
    Dark or Exclusion
        The reason where it cannot be used.
    """
    exposure = read_exposure(path)
    role = select(exposure, policy)
    if isinstance(role, Exclusion):
        return role
    if role != "dark":
        return Exclusion.of(exposure, f"TARGNAME {exposure.target}, expected {policy.selection.dark.target}")
    primary = read_headers(path).primary
    if _done(primary, "CRCORR"):
        return Exclusion.of(exposure, "CRCORR is COMPLETE: a combination; the single exposures were expected")
    overscan, bias, transfer = (_done(primary, key) for key in ("BLEVCORR", "BIASCORR", "PCTECORR"))
    if overscan != bias:
        rest = "BIASCORR" if overscan else "BLEVCORR"
        return Exclusion.of(exposure, f"partly calibrated: {rest} is not COMPLETE; give the raw or the flt")
    if transfer and not bias:
        return Exclusion.of(exposure, "PCTECORR is COMPLETE and BIASCORR is not; give the raw or the flt")
    return Dark(exposure, CORRECTED if transfer else SUBTRACTED if bias else RAW)


def choose_darks(
    science: Science,
    month: Month,
    darks: Sequence[Dark],
    policy: Policy,
    *,
    window: float,
    subtractable: bool,
    prefer_raw: bool = False,
) -> Choice:
    """Choose the darks of an exposure.

    Parameters
    ----------
    science : Science
        The exposure.
    month : Month
        Its anneal period.
    darks : sequence of Dark
        What there is, also outside the period.
    policy : Policy
        What a group must agree in.
    window : float
        Days on either side of the exposure's start.
    subtractable : bool
        Whether there is a superbias for raw darks, or biases to make one of.
    prefer_raw : bool
        Whether a superbias was given on purpose.

    Returns
    -------
    Choice
        At least two image sets within the window.

    Raises
    ------
    refstis.errors.InputError
        Where the period has too few darks.
    """
    cautions: list[str] = []
    excluded = []
    inside = []
    for dark in darks:
        if month.contains(dark.exposure.begin or 0.0):
            inside.append(dark)
        else:
            excluded.append(Exclusion.of(dark.exposure, _beyond(dark.exposure, month)))
    state = _choose_state(science, inside, subtractable, prefer_raw, cautions)
    of_state = [dark.exposure for dark in inside if dark.state == state]
    chosen, copies = remove_duplicates(of_state)
    excluded += copies
    names = {one.rootname: one.name for one in chosen}
    for dark in inside:
        if dark.state != state:
            one = dark.exposure
            same = f": the same exposure as {names[one.rootname]}" if one.rootname in names else ""
            excluded.append(Exclusion.of(one, f"{dark.state}, and the dark is made of {state} ones{same}"))
    chosen, odd = _agreeing(chosen, policy)
    excluded += odd
    chosen, remarks, outliers = screen_group(chosen, policy)
    excluded += outliers
    cautions += [text for found in remarks.values() for text in found]
    period = sorted(chosen, key=lambda one: one.order)
    near, width, reason, widened = _near(science, month, period, window)
    cautions += widened
    imsets = sum(one.imsets for one in near)
    if imsets < policy.minimum_imsets:
        bounds = f"{isoformat(month.begin or 0.0)} to {isoformat(month.end or 0.0)}"
        why = f"; left out: {'; '.join(str(one) for one in excluded[:3])}" if excluded else ""
        raise InputError(
            f"{science.name}: its anneal period, {bounds}, has {len(period)} usable darks of {imsets} image sets here, "
            f"and cosmic rays are found by comparing at least {policy.minimum_imsets}. Add darks of this period{why}"
        )
    return Choice(state, period, near, width, reason, cautions, excluded)


def _beyond(dark: Exposure, month: Month) -> str:
    """Why a dark outside the period is not used."""
    begin = dark.begin or 0.0
    after = month.end is not None and begin >= month.end
    anneal = month.closing if after else month.opening
    if anneal is None:
        return f"taken at {isoformat(begin)}, outside the period of the exposure"
    if anneal.begin <= begin < anneal.last:
        return f"taken during the anneal of {isoformat(anneal.begin)}"
    return f"taken {'after' if after else 'before'} the anneal of {isoformat(anneal.begin)}, which darks never cross"


def _choose_state(
    science: Science, darks: Sequence[Dark], subtractable: bool, prefer_raw: bool, cautions: list[str]
) -> str:
    """One state for all: that of the exposure, then the one that can be used, then the one with most darks."""
    counts = Counter(dark.state for dark in darks)
    if not counts:
        return RAW

    def worth(state: str) -> tuple:
        fits = (state == CORRECTED) == science.corrected
        usable = state != RAW or subtractable
        return fits, usable, prefer_raw and state == RAW, counts[state], state == RAW

    best = max(sorted(counts), key=worth)
    if (best == CORRECTED) != science.corrected:
        what, other = ("", "not ") if best == CORRECTED else ("not ", "")
        cautions.append(
            f"the darks at hand are {what}corrected for CTI and {science.name} is {other}: use them together only "
            "after they are in the same state"
        )
    elif len(counts) > 1 and CORRECTED in counts:
        others = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()) if state != best)
        cautions.append(
            f"darks of different states are never mixed: {counts[best]} {best} taken, {others} left out"
        )
    return best


def _agreeing(darks: Sequence[Exposure], policy: Policy) -> tuple[list[Exposure], list[Exclusion]]:
    """Those that agree with most in offset, size and side."""

    def properties(one: Exposure) -> dict[str, Any]:
        return {"CCDOFFST": one.offset, "size": one.size, "side": one.side(policy)}

    counts: Counter[Any] = Counter()
    for one in darks:
        counts[tuple(properties(one).values())] += one.imsets
    if len(counts) < 2:
        return list(darks), []
    most = max(sorted(counts, key=str), key=lambda key: counts[key])
    agreeing, odd = [], []
    for one in darks:
        differing = [
            f"{name} {value}, most darks have {usual}"
            for (name, value), usual in zip(properties(one).items(), most, strict=True)
            if value != usual
        ]
        if differing:
            odd.append(Exclusion.of(one, "; ".join(differing)))
        else:
            agreeing.append(one)
    return agreeing, odd


def _near(
    science: Science, month: Month, darks: Sequence[Exposure], window: float
) -> tuple[list[Exposure], float, str, list[str]]:
    """Darks within the window, widened where they are too few."""
    fewest = rules()["fewest_darks"]
    by_distance = sorted(darks, key=lambda one: (abs((one.begin or 0.0) - science.begin), one.order))
    near = [one for one in by_distance if abs((one.begin or 0.0) - science.begin) <= window]
    cut = ""
    if month.end is not None and science.begin + window >= month.end:
        cut = f", cut at the end of its period, {isoformat(month.end)}"
    elif month.begin is not None and science.begin - window < month.begin:
        cut = f", cut at the begin of its period, {isoformat(month.begin)}"
    reason = f"{len(near)} darks within {window:g} days of the exposure{cut}"
    cautions = []
    if len(near) < fewest and len(darks) > len(near):
        found = len(near)
        near = by_distance[:fewest]
        widest = abs((near[-1].begin or 0.0) - science.begin)
        reason = (
            f"only {found} darks within {window:g} days{cut}: widened to {widest:.2f} days, which hold {len(near)} "
            f"of the same period (at least {fewest} are wanted)"
        )
        window = widest
        cautions.append(reason)
    if len(near) < fewest and len(near) == len(darks):
        reason = f"all {len(near)} darks of the period: at least {fewest} are wanted, and there are no more"
        window = max((abs((one.begin or 0.0) - science.begin) for one in near), default=window)
        cautions = [reason]
    return sorted(near, key=lambda one: one.order), window, reason, cautions


def choose_biases(
    science: Science, month: Month, darks: Sequence[Exposure], biases: Sequence[Exposure], policy: Policy
) -> tuple[list[Exposure], str, list[Exclusion]]:
    """Choose raw biases for a superbias of the darks' mode.

    Parameters
    ----------
    science : Science
        The exposure.
    month : Month
        Its anneal period.
    darks : sequence of refstis.anneal.exposures.Exposure
        The raw darks that it is for.
    biases : sequence of refstis.anneal.exposures.Exposure
        Raw biases that can be used as such.
    policy : Policy
        How many image sets a refbias wants.

    Returns
    -------
    biases : list of refstis.anneal.exposures.Exposure
        In order of time; empty where there are too few.
    reason : str
        Why these.
    excluded : list of refstis.anneal.exposures.Exclusion
        The others.
    """

    def mode(one: Exposure) -> tuple:
        return one.amplifier, one.gain, one.offset, one.xbin, one.ybin, one.size

    wanted = mode(darks[0])
    kept, excluded = remove_duplicates(biases)
    fitting = []
    for one in kept:
        if not month.contains(one.begin or 0.0):
            excluded.append(Exclusion.of(one, _beyond(one, month)))
        elif mode(one) != wanted:
            what = f"amp {one.amplifier}, gain {one.gain}, offset {one.offset}, {one.xbin}x{one.ybin}"
            excluded.append(Exclusion.of(one, f"a bias of another mode than the darks: {what}"))
        else:
            fitting.append(one)
    fitting, _, outliers = screen_group(fitting, policy)
    excluded += outliers
    nearest = sorted(fitting, key=lambda one: (abs((one.begin or 0.0) - science.begin), one.order))
    rule = policy.superbias_mode(*(value or 0 for value in (darks[0].gain, darks[0].xbin, darks[0].ybin)))
    enough = rule.refbias_from if rule else policy.minimum_imsets
    chosen: list[Exposure] = []
    total = 0
    for one in nearest:
        if total >= enough:
            excluded.append(Exclusion.of(one, f"{total} image sets of biases nearer in time are enough"))
            continue
        chosen.append(one)
        total += one.imsets
    if total < policy.minimum_imsets:
        return [], "", excluded
    reason = f"refbias of the {len(chosen)} biases nearest in time, {total} image sets"
    if total < enough:
        reason += f": all of the period, and a refbias wants {enough}"
    return sorted(chosen, key=lambda one: one.order), reason, excluded
