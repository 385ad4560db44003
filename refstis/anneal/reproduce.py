"""Making a delivered file again, from what it tells of itself, and comparing the two."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from refstis.anneal.dates import isoformat
from refstis.anneal.exposures import rootname_of
from refstis.anneal.ledger import Ledger
from refstis.anneal.plan import Node, Plan, bias_subtraction
from refstis.anneal.records import read_parameters, read_record
from refstis.anneal.runner import Choice, Listener, Result, run
from refstis.anneal.survey import Survey
from refstis.errors import ConfigurationError, InputError, ReferenceFileError

__all__ = ["Comparison", "reproduce"]

# TASKNAME to the kinds of product that bear it.
_KINDS = {
    "basejoin": ("basebias",),
    "refbias": ("refbias", "refaver"),
    "weekbias": ("weekbias",),
    "basedark": ("basedark",),
    "weekdark": ("weekdark",),
}
# What says where and by what a file was written, not what it is.
_OF_THE_FILE = frozenset(
    [
        "FILENAME",
        "ORIGIN",
        "DATE",
        "IRAF-TLM",
        "SIMPLE",
        "BITPIX",
        "NAXIS",
        "EXTEND",
        "COMMENT",
        "HISTORY",
        "",
    ]
)


@dataclass
class Comparison:
    """A product and what was made of the same inputs.

    Attributes
    ----------
    product, made : pathlib.Path
        The two files.
    reason : str
        How it was made.
    parameters : str
        Whose parameters it was made with.
    pixels : dict
        Extension to the number of pixels that differ and the largest difference.
    header : list of str
        Keywords that differ, with both values.
    notes : list of str
        What else is to be known: other inputs, lacking inputs.
    """

    product: Path
    made: Path
    reason: str
    parameters: str
    pixels: dict[str, tuple[int, float]] = field(default_factory=dict)
    header: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def pixels_agree(self) -> bool:
        """Whether all pixels are the same."""
        return not any(number for number, _ in self.pixels.values())

    @property
    def agrees(self) -> bool:
        """Whether pixels and headers are the same."""
        return self.pixels_agree and not self.header


def reproduce(
    product: str | os.PathLike,
    raws: str | os.PathLike | None,
    output: str | os.PathLike,
    ledger: Ledger,
    *,
    anneals: str | os.PathLike | None = None,
    profile: str = "heritage",
    listener: Listener,
) -> Comparison:
    """Make a product again from the inputs that its HISTORY names.

    It is made with the parameters of the record beside it, where there is one, and so is each product that it is made
    of and that lies with its record in the same output folder; else with those of the profile. What is not in a
    record is the profile's in any case: the policy, which decides the procedure.

    Parameters
    ----------
    product : path-like
        A superbias or superdark of this or an earlier refstis.
    raws : path-like or None
        Folder with the raw exposures of its month, in it or below; None for those that the ledger knows.
    output : path-like
        Folder to make it in.
    ledger : Ledger
        What is known of the raws.
    anneals : path-like, optional
        An anneal table of one's own.
    profile : str
        Name or folder of a profile.
    listener : Listener
        Who is told how it goes on.

    Returns
    -------
    Comparison
        Of the two files.

    Raises
    ------
    refstis.errors.InputError
        Where the file tells no inputs, or they are not there.
    refstis.errors.ReferenceFileError
        Where it could not be made.
    """
    told = _Told(Path(product))
    survey = _Reproduction(told, raws, output, ledger, anneals=anneals, profile=profile)
    survey.look()
    node = survey.choose()
    result = run(
        survey, choice=Choice(until=(node.identity,)), listener=listener, command=["reproduce", str(product)]
    )
    made = survey.output.absolute() / node.identity
    if result.failed or not made.is_file():
        raise ReferenceFileError(f"{product}: cannot be made again: {_why(result)}")
    reason = result.plan.nodes[node.identity].reason
    recorded = str(told.record.get("identity", ""))
    if recorded.count("/") == node.identity.count("/") and recorded != node.identity:
        survey.notes.append(
            f"it was made as {recorded}, and is {node.identity} here: name its anneal table (--anneals)"
        )
    comparison = Comparison(told.path, made, reason, survey.whose(), notes=survey.notes)
    try:
        _compare(comparison)
    except OSError as error:
        raise InputError(
            f"{error.filename or comparison.made}: cannot be compared ({error.strerror or error}). Run again."
        ) from None
    return comparison


def _why(result: Result) -> str:
    failures = [one for one in result.failed if one.status == "failed"] or result.failed
    if failures:
        return f"{failures[0].identity}: {failures[0].reason}"
    return "; ".join(str(one) for one in result.plan.missing) or "it is not in the plan any more"


class _Told:
    """What a product tells of how it was made."""

    def __init__(self, path: Path):
        from astropy.io import fits

        from refstis.datamodels.reference_header import input_names

        self.path = path
        try:
            self.header = fits.getheader(path)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: cannot be read ({error}); a superbias or superdark was expected"
            ) from None
        names = [Path(name.rpartition("$")[2]).name for name in input_names(self.header.get("HISTORY", ()))]
        if not names:
            raise InputError(f"{path}: its HISTORY names no input files, so it cannot be made again")
        self.roots = {rootname_of(name) for name in names}
        self.kinds = _KINDS.get(str(self.header.get("TASKNAME", "")).strip().lower(), ())
        if not self.kinds:
            dark = str(self.header.get("FILETYPE", "")).strip() == "DARK IMAGE"
            self.kinds = ("weekdark", "basedark") if dark else ("refaver", "refbias", "weekbias", "basebias")
        self.record = read_record(path)

    def beside(self, identity: str) -> Path | None:
        """Where a product of this identity lies, if this one still lies where a run made it."""
        own, path = str(self.record.get("identity", "")), self.path.absolute()
        if not own or not path.as_posix().endswith(f"/{own}"):
            return None
        return path.parents[len(Path(own).parts) - 1] / identity

    @property
    def checksums(self) -> dict[str, str]:
        """Rootname to sha256 of each raw, where a record tells them."""
        return {
            rootname_of(str(one["name"])): str(one["sha256"])
            for one in self.record.get("inputs", ())
            if isinstance(one, Mapping) and str(one.get("name", "")).startswith("o")
        }

    @property
    def useafter(self) -> str:
        """USEAFTER as an ISO date; empty where it is none."""
        from refstis.datamodels.reference_header import MONTHS

        words = str(self.header.get("USEAFTER", "")).split()
        names = [name.lower() for name in MONTHS]
        if len(words) < 3 or words[0][:3].lower() not in names:
            return ""
        time = words[3] if len(words) > 3 else "00:00:00"
        return f"{words[2]}-{names.index(words[0][:3].lower()) + 1:02d}-{int(words[1]):02d}T{time}"


class _Reproduction(Survey):
    """A survey whose plan makes a product of the very inputs that it names."""

    def __init__(self, told: _Told, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.told = told
        self.notes: list[str] = []
        self.surplus: set[str] = set()
        self.identity = ""
        self.recorded: dict[str, dict[str, Any]] = {}

    def look(self, progress=None) -> None:
        """Look at the exposures, and choose the month of those that the product names."""
        super().look(progress)
        known = {one.rootname: one for one in self.exposures}
        lacking = sorted(self.told.roots - set(known))
        if lacking:
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            raise InputError(
                f"{self.told.path.name}: {len(lacking)} of its {len(self.told.roots)} inputs are not there: "
                f"{', '.join(lacking[:3])}{more}. Name their folder with --raws, or fetch them."
            )
        begins = [known[root].begin for root in self.told.roots]
        first = min((begin for begin in begins if begin is not None), default=None)
        if first is None:
            raise InputError(f"{self.told.path.name}: none of its inputs has a date")
        self.month = isoformat(first)
        for root, checksum in self.told.checksums.items():
            if root in known and known[root].checksum != checksum:
                self._note(f"{known[root].name} is not the file that it was made of: its content differs")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def choose(self) -> Node:
        """The node of the product."""
        try:
            plan = super().plan()
        except ConfigurationError:
            # none of its inputs is in a month: the plan of all there is tells why
            self.month = None
            excluded = [one for one in super().plan().exclusions if one.rootname in self.told.roots]
            why = Counter(one.reason for one in excluded).most_common(1)
            raise InputError(
                f"{self.told.path.name}: its inputs are in no month"
                + (f", {why[0][1]} of {len(self.told.roots)} of them because: {why[0][0]}" if why else "")
                + ". Name the profile and the anneal table that it was made with (--profile, --anneals)."
            ) from None
        nodes = [node for node in plan.nodes.values() if node.kind in self.told.kinds]
        node = max(nodes, key=lambda node: len(_roots(plan, node) & self.told.roots), default=None)
        if node is None or not _roots(plan, node) & self.told.roots:
            reasons = "; ".join(str(one) for one in plan.missing)
            raise InputError(
                f"{self.told.path.name}: its inputs make no {' or '.join(self.told.kinds)} here"
                + (f" ({reasons})" if reasons else "")
            )
        self.surplus = _roots(plan, node) - self.told.roots
        left_out = {one.rootname: one for one in plan.exclusions}
        for root in sorted(self.told.roots - _roots(plan, node)):
            reason = left_out[root].reason if root in left_out else "belongs to another period"
            self._note(f"{root} was an input and is none now: {reason}")
        self.identity = node.identity
        return node

    def plan(self, broken=None, unavailable=None) -> Plan:
        """Plan without what the product was made without, and with its parameters and USEAFTER."""
        own = {
            one.path: "is not among the inputs of the product"
            for one in self.exposures
            if one.rootname in self.surplus
        }
        plan = super().plan({**own, **(broken or {})}, unavailable)
        node = plan.nodes.get(self.identity)
        if node is None:
            return plan
        changes: dict[str, Any] = {"exclusions": [], "cautions": []}
        if self.told.useafter:
            changes["useafter"] = self.told.useafter
        if "provisional" in str(self.told.header.get("DESCRIP", "")).lower():
            changes["provisional"] = True
        plan.nodes[self.identity] = replace(node, **changes)
        self._take_recorded_parameters(plan)
        plan.exclusions = [one for one in plan.exclusions if one.path not in own]
        return plan

    def _take_recorded_parameters(self, plan: Plan) -> None:
        """Let products be made with the parameters that are recorded beside them."""
        darks: dict[str, Any] = {}
        for identity, node in plan.nodes.items():
            if node.kind == "biassub":
                continue
            if identity not in self.recorded:
                path = self.told.path if identity == self.identity else self.told.beside(identity)
                self.recorded[identity] = read_parameters(path) if path is not None else {}
            found = self.recorded[identity]
            if found:
                plan.nodes[identity] = replace(node, parameters=found)
                if node.kind in ("basedark", "weekdark") and (not darks or identity == self.identity):
                    darks = bias_subtraction(found)
        for identity, node in plan.nodes.items():
            if node.kind == "biassub" and darks:
                plan.nodes[identity] = replace(node, parameters=darks)

    def whose(self) -> str:
        """Whose parameters the product is made with."""
        if not self.recorded.get(self.identity):
            return f"those of the profile {self.profile.name}: no record lies beside it"
        others = sum(bool(found) for identity, found in self.recorded.items() if identity != self.identity)
        more = f", and beside {others} other products of its month" if others else ""
        rest = "" if others else f"; what it is made of has those of the profile {self.profile.name}"
        return f"those that are recorded beside it{more}{rest}"


def _roots(plan: Plan, node: Node) -> set[str]:
    """Rootnames of the raws that the HISTORY of a product names."""
    found = {rootname_of(one.name) for one in node.exposures}
    for parent in (plan.nodes[one] for one in node.parents):
        if parent.kind == "biassub" or (node.kind == "refaver" and parent.kind == "refbias"):
            found |= {rootname_of(one.name) for one in parent.exposures}
    return found


def _compare(comparison: Comparison) -> None:
    import numpy as np
    from astropy.io import fits

    with fits.open(comparison.product) as old, fits.open(comparison.made) as new:
        for name in ("SCI", "ERR", "DQ"):
            one, two = (np.asarray(hdus[name].data) for hdus in (old, new))
            if one.shape != two.shape:
                comparison.pixels[name] = (two.size, float("inf"))
                continue
            differ = ~((one == two) | ((one != one) & (two != two)))
            largest = float(np.abs(one[differ].astype(float) - two[differ]).max()) if differ.any() else 0.0
            comparison.pixels[name] = (int(differ.sum()), largest)
        before, after = old[0].header, new[0].header
        for key in dict.fromkeys([*before, *after]):
            if key not in _OF_THE_FILE and before.get(key) != after.get(key):
                comparison.header.append(
                    f"{key}: {before.get(key, 'missing')!r}, now {after.get(key, 'missing')!r}"
                )
        lines = [[str(line).strip() for line in header.get("HISTORY", ())] for header in (before, after)]
        if lines[0] != lines[1]:
            number = sum(one != two for one, two in zip(*lines, strict=False)) + abs(
                len(lines[0]) - len(lines[1])
            )
            comparison.header.append(f"HISTORY: {number} lines differ")
            changed = [pair for pair in zip(*lines, strict=False) if pair[0] != pair[1]]
            comparison.header += [f"  {one!r}, now {two!r}" for one, two in changed[:3]]
