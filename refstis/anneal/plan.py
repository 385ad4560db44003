"""The plan: which products a set of exposures makes, from what, how, and why.

A plan is a directed graph of products. `build_plan` makes it from exposures, an anneal table and a profile, without
touching a pixel; ``refstis plan`` prints it and ``refstis run`` executes the same object. Each node has a key: the
hash of its inputs' content, its parameters and the version of its algorithm. A product whose key is that of the
node exists already and is kept.
"""

import hashlib
import json
import os
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from refstis.anneal.dates import isoformat, parse_date, parse_month
from refstis.anneal.exposures import (
    Exclusion,
    Exposure,
    remove_duplicates,
    screen_group,
    select,
    signature_of,
)
from refstis.anneal.ledger import Mark, ProductRecord
from refstis.anneal.periods import Period, divide_month, period_index
from refstis.anneal.policy import Profile, SuperbiasMode
from refstis.anneal.table import Anneal, AnnealTable, Month
from refstis.datamodels import config_path
from refstis.datamodels.checksums import checksum_of
from refstis.errors import ConfigurationError

__all__ = [
    "ALGORITHM_VERSIONS", "Input", "Missing", "MonthPlan", "Node", "Plan", "bias_subtraction", "build_plan",
]  # fmt: skip

# Raised by one when the pixels or headers that a kind of product gets from the same inputs and parameters change:
# every product of that kind is then made again.
ALGORITHM_VERSIONS = {
    "basebias": 1,
    "refbias": 1,
    "weekbias": 1,
    "refaver": 1,
    "biassub": 1,
    "basedark": 1,
    "weekdark": 1,
}
_GROUPING = {
    "CCDAMP": "amplifier",
    "CCDGAIN": "gain",
    "CCDOFFST": "offset",
    "BINAXIS1": "xbin",
    "BINAXIS2": "ybin",
    "size": "size",
}


@dataclass(frozen=True)
class Input:
    """One input of a product.

    Attributes
    ----------
    role : str
        ``bias``, ``dark``, ``superbias``, ``basebias``, ``basedark`` or ``refbias``.
    name : str
        File name.
    content : str
        What the key depends on: checksum of an exposure, key of a product.
    node : str
        Identity of the node that makes it; empty for an exposure.
    path : str
        Of an exposure: where it is; empty where only the ledger knows it.
    imsets : int
        Of an exposure: how many it has.
    """

    role: str
    name: str
    content: str
    node: str = ""
    path: str = ""
    imsets: int = 0


@dataclass
class Node:
    """One product.

    Attributes
    ----------
    identity : str
        Unique in the plan: the path of the product below the output folder.
    kind : str
        ``basebias``, ``refbias``, ``weekbias``, ``refaver``, ``biassub`` (one bias-subtracted dark), ``basedark`` or
        ``weekdark``.
    month : str
        Name of the month, which is that of its folder.
    period : Period
        The part of the month that it is made of.
    inputs : tuple of Input
        Exposures in order of time, then products.
    reason : str
        Procedure and why it was chosen.
    parameters : dict
        What the profile says of the pipeline that makes it.
    references : list
        Reference tables that the inputs name: keyword, name and checksum.
    provisional : bool
        Whether the month is not over.
    useafter : str
        Begin of the period or month, where the policy says that USEAFTER is that; empty for the first exposure's.
    intermediate : bool
        Whether other products need it and nobody else does.
    cautions : list of str
        What somebody should look at.
    exclusions : list of Exclusion
        Faulty exposures that it would have been made of.
    key : str
        Hash of inputs, parameters and version.
    status : str
        ``new``, ``made`` (kept), ``remake``, or ``not needed`` (an intermediate one that everything was made of).
    why : str
        Of the status.
    """

    identity: str
    kind: str
    month: str
    period: Period
    inputs: tuple[Input, ...]
    reason: str
    parameters: dict[str, Any]
    references: list[list[str]]
    provisional: bool = False
    useafter: str = ""
    intermediate: bool = False
    cautions: list[str] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    key: str = ""
    status: str = "new"
    why: str = ""

    def __post_init__(self):
        self.key = hashlib.sha256(json.dumps(self.record(), sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """File name of the product."""
        return self.identity.rpartition("/")[2]

    @property
    def imsets(self) -> int:
        """Number of imsets of the exposures among the inputs."""
        return sum(one.imsets for one in self.inputs)

    @property
    def exposures(self) -> list[Input]:
        """The inputs that are exposures."""
        return [one for one in self.inputs if not one.node]

    @property
    def parents(self) -> list[str]:
        """Identities of the nodes that must be made before this one."""
        return [one.node for one in self.inputs if one.node]

    def record(self) -> dict[str, Any]:
        """What the key is the hash of, as JSON can hold it."""
        return {
            "kind": self.kind,
            "version": ALGORITHM_VERSIONS[self.kind],
            "inputs": [[one.role, one.name, one.content] for one in self.inputs],
            "parameters": self.parameters,
            "references": self.references,
            "provisional": self.provisional,
            "useafter": self.useafter,
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything about it, as JSON can hold it."""
        return {
            "identity": self.identity,
            "name": self.name,
            "kind": self.kind,
            "month": self.month,
            "period": {
                "name": self.period.name,
                "begin": isoformat(self.period.begin),
                "end": isoformat(self.period.end),
                "reason": self.period.reason,
            },
            "reason": self.reason,
            "inputs": [
                {key: value for key, value in vars(one).items() if value or key in ("role", "name")}
                for one in self.inputs
            ],
            "parameters": self.parameters,
            "references": self.references,
            "provisional": self.provisional,
            "useafter": self.useafter,
            "intermediate": self.intermediate,
            "cautions": self.cautions,
            "exclusions": [str(one) for one in self.exclusions],
            "key": self.key,
            "status": self.status,
            "why": self.why,
        }


@dataclass(frozen=True)
class Missing:
    """A product that is not made, and why.

    Attributes
    ----------
    month, period, kind : str
        What it would have been.
    reason : str
        What it lacks.
    """

    month: str
    period: str
    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.period}: no {self.kind}: {self.reason}"


@dataclass
class MonthPlan:
    """What is planned of one month.

    Attributes
    ----------
    month : Month
        From the anneal table.
    begin, end : float
        MJD; from the data where the table does not say.
    periods : dict
        ``WK`` and ``BIWK`` to the periods.
    cautions : list of str
        Of the month as a whole.
    """

    month: Month
    begin: float
    end: float
    periods: dict[str, list[Period]]
    cautions: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """A directed graph of products, with everything that was left out and why.

    Attributes
    ----------
    output : pathlib.Path
        Absolute; the folder below which the products lie.
    profile : str
        Name of the profile.
    months : list of MonthPlan
        In order of time.
    nodes : dict
        Identity to node; a node stands after all nodes that it is made of.
    exclusions : list of Exclusion
        Exposures that are used nowhere.
    missing : list of Missing
        Products that are not made.
    refused : list of str
        Why exposures that were asked for belong to no month, and the remedy.
    stale : list of str
        Products of another plan that lie in the folders of these months, by their paths below the output folder.
    """

    output: Path
    profile: str
    months: list[MonthPlan] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=dict)
    exclusions: list[Exclusion] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    def path(self, node: Node) -> Path:
        """Where a node's product lies, absolute."""
        return self.output / node.identity

    def to_make(self) -> list[Node]:
        """Nodes whose product is to be made, in an order in which that is possible."""
        return [node for node in self.nodes.values() if node.status in ("new", "remake")]

    def dependents(self) -> dict[str, list[str]]:
        """Identity of each node to those of the nodes that are made of it."""
        found: dict[str, list[str]] = {identity: [] for identity in self.nodes}
        for node in self.nodes.values():
            for parent in dict.fromkeys(node.parents):
                found[parent].append(node.identity)
        return found

    def to_dict(self) -> dict[str, Any]:
        """The whole plan, as JSON can hold it."""
        return {
            "output": str(self.output),
            "profile": self.profile,
            "months": [
                {
                    "name": one.month.name,
                    "begin": isoformat(one.begin),
                    "end": isoformat(one.end),
                    "provisional": one.month.provisional,
                    "cautions": one.cautions,
                    "periods": {
                        mode: [
                            [period.name, isoformat(period.begin), isoformat(period.end)]
                            for period in periods
                        ]
                        for mode, periods in one.periods.items()
                    },
                    "division": {mode: periods[0].reason for mode, periods in one.periods.items()},
                }
                for one in self.months
            ],
            "products": [node.to_dict() for node in self.nodes.values()],
            "missing": [vars(one) for one in self.missing],
            "refused": self.refused,
            "stale": self.stale,
            "excluded": [vars(one) for one in self.exclusions],
        }


def build_plan(
    exposures: Iterable[Exposure],
    table: AnnealTable,
    profile: Profile,
    output: str | os.PathLike,
    *,
    unreadable: Sequence[Exclusion] = (),
    marks: Mapping[str, Mark] | None = None,
    month: str | tuple[str, str] | None = None,
    dates: tuple[float, float] | None = None,
    unavailable: Mapping[str, str] | None = None,
) -> Plan:
    """Plan the products of a set of exposures.

    Parameters
    ----------
    exposures : iterable of Exposure
        Whatever there is; what cannot be used is left out by name.
    table : AnnealTable
        The anneals that divide them into months.
    profile : Profile
        Parameters and policy.
    output : path-like
        Folder for the products; it need not exist.
    unreadable : sequence of Exclusion
        Files that could not even be opened.
    marks : mapping, optional
        Rootname to somebody's judgement.
    month : str or tuple of str, optional
        Only months that begin in a calendar month (``2013-05``), the one of this name (``13134_26``), or the one
        around a date; of a pair, months that begin from one calendar month to another, both included.
    dates : tuple of float, optional
        Only exposures that began from the first MJD up to, but not including, the second.
    unavailable : mapping, optional
        Identity of products that cannot be made, to the reason: what would need them is planned without them
        where that is possible.

    Returns
    -------
    Plan
        With keys, but without the status of what was made before: see `compare_with_products`.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where `month` names no month, or all exposures lie outside the table.
    """
    plan = Plan(Path(output).absolute(), profile.name)
    usable, plan.exclusions = remove_duplicates(exposures)
    plan.exclusions += unreadable
    judged = []
    cut = Counter[str]()
    for exposure in usable:
        mark = (marks or {}).get(exposure.rootname)
        if mark is not None and mark.bad:
            plan.exclusions.append(Exclusion.of(exposure, f"marked bad: {mark.reason}"))
        elif dates is None or exposure.begin is None or dates[0] <= exposure.begin < dates[1]:
            judged.append(exposure)
        elif table.anneals and isinstance(found := table.at(exposure.begin), Month):
            cut[found.name] += 1
    by_month = _divide_into_months(judged, table, profile, plan)
    chosen = _choose_months(by_month, month)
    if month is not None:
        plan.refused = []  # nobody asked for them
    tables = _ReferenceTables()
    for one, members, faults in chosen:
        builder = _MonthBuilder(plan, profile, tables, one, members, faults, unavailable or {})
        if cut[one.month.name]:
            one.cautions.append(f"the dates leave out {cut[one.month.name]} exposures of this month")
        builder.build()
        plan.months.append(one)
    plan.exclusions.sort(key=lambda one: (one.begin is None, one.begin or 0.0, one.name))
    return plan


# ---------------------------------------------------------------------------- months


_Fault = tuple[Exclusion, Exposure | None]


def _divide_into_months(
    exposures: Sequence[Exposure], table: AnnealTable, profile: Profile, plan: Plan
) -> list[tuple[MonthPlan, list[tuple[Exposure, str]], list[_Fault]]]:
    """Divide exposures by the table; what is neither bias nor dark goes to the plan's exclusions."""
    months = table.months()
    begins = [one.begin if one.begin is not None else float("-inf") for one in months]
    members: dict[int | None, list[tuple[Exposure, str]]] = defaultdict(list)
    faults: dict[int | None, list[_Fault]] = defaultdict(list)
    homeless: list[_Fault] = [(one, None) for one in plan.exclusions if one.fault]
    for exposure in exposures:
        role = select(exposure, profile.policy)
        excluded = role if isinstance(role, Exclusion) else None
        if excluded is not None:
            plan.exclusions.append(excluded)
            if not excluded.fault:
                continue
        if exposure.begin is None:
            homeless.append((Exclusion.of(exposure, exposure.fault, fault=True), exposure))
            continue
        index = bisect_right(begins, exposure.begin) - 1 if months else None
        if index is not None and not months[index].contains(exposure.begin):
            if excluded is None:
                anneal = next(one for one in table if one.begin <= exposure.begin < one.last)
                plan.exclusions.append(Exclusion.of(exposure, _during(anneal)))
        elif excluded is not None:
            faults[index].append((excluded, exposure))
        else:
            members[index].append((exposure, str(role)))
    found = []
    for index in sorted(members, key=lambda number: -1 if number is None else number):
        try:
            one = _bounds(months[index] if index is not None else None, members[index], profile)
        except ConfigurationError as error:
            plan.refused.append(str(error))
            plan.exclusions += [Exclusion.of(exposure, str(error)) for exposure, _ in members[index]]
            continue
        found.append((one, members[index], faults[index]))
    if plan.refused and not found:
        raise ConfigurationError(plan.refused[0])
    _house(homeless, found)
    return found


def _during(anneal: Anneal) -> str:
    what = anneal.remark if anneal.remark.startswith("not an anneal") else "taken during the anneal"
    return f"{what} ({isoformat(anneal.begin)} to {isoformat(anneal.last)})"


def _bounds(month: Month | None, members: Sequence[tuple[Exposure, str]], profile: Profile) -> MonthPlan:
    """Begin and end of a month: the table's, else the data's, which may not span too long a time."""
    limit = profile.policy.days_outside_table
    times = sorted(exposure.begin for exposure, _ in members if exposure.begin is not None)
    first, last = times[0], times[-1]
    cautions = []
    begin = None if month is None else month.begin
    end = None if month is None else month.end
    if month is None or begin is None or end is None:
        begin, end = (first if begin is None else begin), (last if end is None else end)
        if end - begin > limit:
            # Far from the table's anneals: nothing is known but the data themselves.
            month, begin, end = None, first, last
        if end - begin > limit:
            raise ConfigurationError(
                f"exposures from {isoformat(first, 'days')} to {isoformat(last, 'days')} lie outside the anneal "
                f"table, and at most {limit:g} days can be taken as one month; name a table that knows their "
                "anneals with --anneals FILE, or choose some days with --dates"
            )
        if month is None:
            month = Month(None, None, f"data_{isoformat(first, 'days').replace('-', '')}")
            cautions.append(
                "outside the anneal table: taken as one month, whether or not an anneal divides it"
            )
        elif month.provisional:
            cautions.append("the table's last anneal opened this month: its products are provisional")
        else:
            cautions.append("before the table's first anneal: taken as one month")
    periods = {mode: divide_month(begin, end, mode) for mode in ("WK", "BIWK")}
    return MonthPlan(month, begin, end, periods, cautions)


def _house(homeless: Sequence[_Fault], months) -> None:
    """Give broken files without a date to the month where exposures of the same visit or programme are."""
    for exclusion, exposure in homeless:
        for length in (6, 4):
            near = [
                (other.target, faults)
                for _, members, faults in months
                for other, _ in members
                if exclusion.rootname and other.rootname[:length] == exclusion.rootname[:length]
            ]
            if near:
                target, faults = near[0]
                known = exclusion.target or target
                guess = Exclusion(
                    exclusion.name, exclusion.reason, True, exclusion.path, exclusion.rootname, known, None
                )
                faults.append((guess, exposure))
                break


def _choose_months(found, month: str | tuple[str, str] | None):
    if month is None:
        return found
    if isinstance(month, tuple):
        return _months_between(found, *month)
    bounds = parse_month(month)
    if bounds is not None:
        chosen = [entry for entry in found if bounds[0] <= entry[0].begin < bounds[1]]
    else:
        chosen = [entry for entry in found if entry[0].month.name == month]
    if not chosen and bounds is None:
        try:
            date = parse_date(month)
        except ConfigurationError:
            pass
        else:
            chosen = [entry for entry in found if entry[0].begin <= date < entry[0].end]
    if not chosen:
        known = ", ".join(f"{one.month.name} (from {isoformat(one.begin, 'days')})" for one, _, _ in found)
        raise ConfigurationError(
            f"--month {month}: no month with exposures begins in it, is called so or holds that date; "
            f"there are {known or 'none'}"
        )
    return chosen


def _months_between(found, first: str, last: str):
    bounds = []
    for text in (first, last):
        one = parse_month(text)
        if one is None:
            raise ConfigurationError(f"{text}: is no calendar month; expected such as 2009-05")
        bounds.append(one)
    (begin, _), (_, end) = bounds
    chosen = [entry for entry in found if begin <= entry[0].begin < end]
    if not chosen:
        raise ConfigurationError(f"--from {first} --to {last}: no month with exposures begins in that time")
    return chosen


# ---------------------------------------------------------------------------- one month


class _ReferenceTables:
    """Checksums of the reference tables that headers name, or that stand for them, each file read once."""

    def __init__(self):
        self._known: dict[tuple[str, str], str] = {}
        self._built_in: dict[str, dict[str, Any]] | None = None

    def of(self, exposures: Iterable[Exposure]) -> list[list[str]]:
        named = {(keyword, value) for one in exposures for keyword, value in one.references.items()}
        return [[keyword, value, self._checksum(keyword, value)] for keyword, value in sorted(named)]

    def _checksum(self, keyword: str, value: str) -> str:
        if (keyword, value) not in self._known:
            variable, _, name = value.rpartition("$")
            folder = os.environ.get(variable, "") if variable else "."
            named = Path(folder) / name
            path = named if folder and name and named.is_file() else self._shipped(keyword)
            self._known[keyword, value] = "none" if path is None else checksum_of(path)
        return self._known[keyword, value]

    def _shipped(self, keyword: str) -> Path | None:
        """The table that refstis carries, which takes the place of one that is not at hand."""
        if self._built_in is None:
            text = config_path("references.yaml").read_text(encoding="utf-8")
            self._built_in = yaml.safe_load(text)
        entry = self._built_in.get(keyword.lower())
        return config_path(entry["file"]) if entry else None


class _MonthBuilder:
    """Adds the nodes of one month to a plan."""

    def __init__(self, plan, profile, tables, month_plan, members, faults, unavailable):
        self.plan: Plan = plan
        self.profile: Profile = profile
        self.policy = profile.policy
        self.tables: _ReferenceTables = tables
        self.one: MonthPlan = month_plan
        self.members: list[tuple[Exposure, str]] = members
        self.faults: list[_Fault] = faults
        self.unavailable: Mapping[str, str] = unavailable
        self.folder = month_plan.month.name
        self.cautions: dict[str, list[str]] = {}

    def build(self) -> None:
        groups: dict[tuple, list[Exposure]] = defaultdict(list)
        for exposure, role in self.members:
            groups[(role, exposure.gain, exposure.xbin, exposure.ybin)].append(exposure)
        dark_gain = self.policy.selection.dark.gain
        dark_mode = ("bias", dark_gain, *self.policy.selection.dark.binning)
        superbiases: dict[str, Node] = {}
        basebias: Node | None = None
        offset: int | None = None
        for group in sorted(key for key in groups if key[0] == "bias"):
            members = self._agree(groups[group])
            base, made = self._superbiases(group, members, group == dark_mode)
            if group == dark_mode:
                superbiases, basebias = made, base
                offset = members[0].offset if members else None
        darks = [one for key in sorted(groups) if key[0] == "dark" for one in groups[key]]
        darks = self._agree(darks) if darks else []
        if darks and offset is not None and darks[0].offset != offset and "CCDOFFST" in self.policy.grouping:
            superbiases, basebias = {}, None
        if darks or any(fault.target == self.policy.selection.dark.target for fault, _ in self.faults):
            self._superdarks(darks, superbiases, basebias)

    # -- groups

    def _agree(self, exposures: Sequence[Exposure]) -> list[Exposure]:
        """Those that agree in everything that a group must agree in, screened against each other."""

        def properties(one: Exposure) -> dict[str, Any]:
            return {
                name: one.side(self.policy) if name == "side" else getattr(one, _GROUPING[name])
                for name in self.policy.grouping
            }

        counts: Counter[Any] = Counter()
        for one in exposures:
            counts[(*properties(one).values(),)] += one.imsets
        # Of two equally large groups the lower values win: any rule will do, if it is always the same.
        most = dict(zip(self.policy.grouping, max(sorted(counts), key=lambda key: counts[key]), strict=True))
        agreeing = []
        for one in exposures:
            odd = [
                f"{name} {value}, its group has {most[name]}"
                for name, value in properties(one).items()
                if value != most[name]
            ]
            if odd:
                self.plan.exclusions.append(Exclusion.of(one, "; ".join(odd)))
            else:
                agreeing.append(one)
        kept, cautions, excluded = screen_group(agreeing, self.policy)
        self.cautions.update(cautions)
        self.plan.exclusions += excluded
        by_path = {one.path: one for one in agreeing}
        self.faults += [(one, by_path.get(one.path)) for one in excluded]
        return sorted(kept, key=lambda one: one.order)

    def _by_period(
        self, exposures: Sequence[Exposure], periods: Sequence[Period]
    ) -> dict[str, list[Exposure]]:
        found: dict[str, list[Exposure]] = {period.name: [] for period in periods}
        if exposures:
            indices = period_index(periods, [one.begin for one in exposures if one.begin is not None])
            for one, index in zip(exposures, indices, strict=True):
                found[periods[index].name].append(one)
        return found

    @property
    def _whole(self) -> Period:
        return Period("month", self.one.begin, self.one.end, "the whole month")

    # -- nodes

    def _add(
        self,
        kind: str,
        path: str,
        period: Period,
        inputs: Sequence[Input],
        reason: str,
        exposures: Sequence[Exposure],
        *,
        mode: tuple | None = None,
        intermediate: bool = False,
    ) -> Node | None:
        identity = f"{self.folder}/{path}"
        if identity in self.unavailable:
            self._miss(period, kind, self.unavailable[identity])
            return None
        useafter = ""
        if self.policy.useafter == "period":
            useafter = isoformat(period.begin)
        elif self.policy.useafter == "anneal":
            useafter = isoformat(self.one.begin)
        node = Node(
            identity,
            kind,
            self.folder,
            period,
            tuple(inputs),
            reason,
            self._parameters(kind),
            # Averaging two reference files uses no table.
            [] if kind == "refaver" else self.tables.of(exposures),
            provisional=self.one.month.provisional,
            useafter=useafter,
            intermediate=intermediate,
        )
        for one in exposures:
            node.cautions += self.cautions.get(one.rootname, ())
        if kind != "biassub":
            target = exposures[0].target if exposures else None
            for fault, exposure in self.faults:
                if fault.target == target and self._concerns(fault, exposure, period, mode):
                    node.exclusions.append(fault)
                    maybe = "" if fault.begin is not None else ", which may belong here"
                    node.cautions.append(f"made without {fault.name}{maybe}: {fault.reason}")
        self.plan.nodes[identity] = node
        return node

    def _concerns(
        self, fault: Exclusion, exposure: Exposure | None, period: Period, mode: tuple | None
    ) -> bool:
        if fault.begin is not None:
            # A month that the data bound may end before a broken file that was to belong to it.
            begin = min(max(fault.begin, self.one.begin), self.one.end)
            last = period.end == self.one.end
            if not (period.begin <= begin < period.end or (last and begin == period.end)):
                return False
        if mode is not None and exposure is not None:
            known = (exposure.gain, exposure.xbin, exposure.ybin)
            return None in known or known == mode
        return True

    def _parameters(self, kind: str) -> dict[str, Any]:
        if kind != "biassub":
            return self.profile.parameters(kind)
        return bias_subtraction(self.profile.parameters("basedark"))

    def _miss(self, period: Period | str, kind: str, reason: str) -> None:
        name = period if isinstance(period, str) else period.name
        self.plan.missing.append(Missing(self.folder, name, kind, reason))

    # -- biases

    def _superbiases(
        self, group: tuple, exposures: Sequence[Exposure], for_darks: bool
    ) -> tuple[Node | None, dict[str, Node]]:
        """Superbiases of one mode: the baseline bias where it is needed, and those by period."""
        _, gain, xbin, ybin = group
        mode = self.policy.superbias_mode(gain, xbin, ybin)
        if mode is None or not exposures:
            return None, {}
        periods = self.one.periods[mode.division]
        by_period = self._by_period(exposures, periods)
        label = f"{gain}-{xbin}x{ybin}"
        imsets = {name: sum(one.imsets for one in members) for name, members in by_period.items()}
        weak = any(0 < number < mode.refbias_from for number in imsets.values())
        base = None
        if for_darks or weak:
            base = self._basebias(label, mode, exposures, for_darks)
        made = {}
        for period in periods:
            node = self._superbias(label, mode, period, by_period[period.name], base)
            if node is not None:
                made[period.name] = node
        return base, made

    def _basebias(
        self, label: str, mode: SuperbiasMode, exposures: Sequence[Exposure], for_darks: bool
    ) -> Node | None:
        several = [one for one in exposures if one.imsets > 1]
        path = "basebias.fits" if for_darks else f"biases/{label}/basebias_{label}.fits"
        if not several:
            self._miss(f"month {label}", "basebias", "no bias with more than one imset")
            return None
        total = sum(one.imsets for one in several)
        reason = f"basebias of {label}, {total} imsets of {len(several)} biases"
        single = len(exposures) - len(several)
        if single:
            reason += f"; {single} with a single imset left out"
        return self._add(
            "basebias",
            path,
            self._whole,
            [_input("bias", one) for one in several],
            reason,
            several,
            mode=(mode.gain, mode.xbin, mode.ybin),
        )

    def _superbias(
        self,
        label: str,
        mode: SuperbiasMode,
        period: Period,
        exposures: Sequence[Exposure],
        base: Node | None,
    ) -> Node | None:
        total = sum(one.imsets for one in exposures)
        where = f"{period.name} {label}"
        if total < self.policy.minimum_imsets:
            what = (
                "no biases"
                if not exposures
                else f"{total} imset, at least {self.policy.minimum_imsets} are needed"
            )
            self._miss(where, "superbias", what)
            return None
        tag = "" if (mode.xbin, mode.ybin) == (1, 1) else f"_{label}"
        stem = f"biases/{label}/{period.name}/weekbias_{self.folder}_{period.name}{tag}_bia"
        inputs = [_input("bias", one) for one in exposures]
        key = (mode.gain, mode.xbin, mode.ybin)
        odd = (
            ""
            if len(self.one.periods[mode.division]) > 1 or " in 1 " in period.reason
            else f" ({period.reason})"
        )
        if total < mode.refbias_from:
            if base is None:
                self._miss(
                    where,
                    "weekbias",
                    f"{total} imsets < {mode.refbias_from}, and there is no basebias of {label}",
                )
                return None
            inputs.append(_product("basebias", base))
            reason = f"weekbias on basebias, {total} imsets < {mode.refbias_from}{odd}"
            return self._add("weekbias", f"{stem}.fits", period, inputs, reason, exposures, mode=key)
        lists = [exposures[0::2], exposures[1::2]]
        smallest = min(sum(one.imsets for one in part) for part in lists)
        if total <= self.policy.sublists_above or smallest < self.policy.minimum_imsets:
            reason = f"refbias, {total} imsets >= {mode.refbias_from}{odd}"
            return self._add("refbias", f"{stem}.fits", period, inputs, reason, exposures, mode=key)
        halves = []
        for number, part in enumerate(lists, 1):
            half = self._add(
                "refbias",
                f"{stem}_grp{number:02d}.fits",
                period,
                [_input("bias", one) for one in part],
                f"refbias, sub-list {number} of 2, {sum(one.imsets for one in part)} imsets",
                part,
                mode=key,
                intermediate=True,
            )
            if half is None:
                return None
            halves.append(_product("refbias", half))
        reason = f"refaver of two refbiases, {total} imsets > {self.policy.sublists_above}{odd}"
        return self._add("refaver", f"{stem}.fits", period, halves, reason, exposures, mode=key)

    # -- darks

    def _superdarks(
        self, exposures: Sequence[Exposure], superbiases: Mapping[str, Node], basebias: Node | None
    ) -> None:
        periods = self.one.periods["WK"]
        by_period = self._by_period(exposures, periods)
        subtracted: dict[str, list[tuple[Exposure, Input]]] = {}
        for period in periods:
            subtracted[period.name] = self._bias_subtraction(
                period, by_period[period.name], superbiases.get(period.name), basebias
            )
        everything = [pair for period in periods for pair in subtracted[period.name]]
        basedark = self._basedark(everything)
        odd = "" if len(periods) > 1 or " in 1 " in periods[0].reason else f" ({periods[0].reason})"
        for period in periods:
            darks = subtracted[period.name]
            total = sum(one.imsets for one, _ in darks)
            if not by_period[period.name]:
                self._miss(period, "weekdark", "no darks")
            elif darks and basedark is None:
                self._miss(period, "weekdark", "there is no basedark")
            elif darks and total < self.policy.minimum_imsets:
                self._miss(
                    period, "weekdark", f"{total} imset, at least {self.policy.minimum_imsets} are needed"
                )
            elif darks and basedark is not None:
                path = f"darks/{period.name}/weekdark_{self.folder}_{period.name}_drk.fits"
                inputs = [one for _, one in darks] + [_product("basedark", basedark)]
                reason = f"weekdark, {total} imsets of {len(darks)} darks on the month's basedark{odd}"
                node = self._add("weekdark", path, period, inputs, reason, [one for one, _ in darks])
                if node is not None and period.name not in superbiases:
                    node.cautions.append(
                        f"bias-subtracted with the basebias: there is no superbias of {period.name}"
                    )

    def _bias_subtraction(
        self, period: Period, darks: Sequence[Exposure], superbias: Node | None, basebias: Node | None
    ) -> list[tuple[Exposure, Input]]:
        if not darks:
            return []
        used = superbias or basebias
        if used is None:
            self._miss(
                period, "weekdark", f"no superbias and no basebias to subtract from {len(darks)} darks"
            )
            return []
        reason = (
            f"superbias of {period.name}"
            if superbias
            else f"basebias: there is no superbias of {period.name}"
        )
        made = []
        for one in darks:
            stem = one.name.removesuffix(".gz").removesuffix(".fits").removesuffix("_raw")
            node = self._add(
                "biassub",
                f"darks/{period.name}/{stem}_flt.fits",
                period,
                [_input("dark", one), _product("superbias" if superbias else "basebias", used)],
                reason,
                [one],
                intermediate=True,
            )
            if node is not None:
                made.append((one, _product("dark", node, one.imsets)))
        return made

    def _basedark(self, darks: Sequence[tuple[Exposure, Input]]) -> Node | None:
        total = sum(one.imsets for one, _ in darks)
        if total < self.policy.minimum_imsets:
            what = (
                f"{total} imset, at least {self.policy.minimum_imsets} are needed"
                if total
                else "no usable darks"
            )
            self._miss("month", "basedark", what)
            return None
        reason = f"basedark, {total} imsets of all {len(darks)} darks of the month"
        inputs = [one for _, one in darks]
        path = f"basedark_{self.folder}.fits"
        return self._add("basedark", path, self._whole, inputs, reason, [one for one, _ in darks])


def bias_subtraction(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What the parameters of a superdark say of the bias subtraction of its darks.

    Parameters
    ----------
    parameters : mapping
        ``parameters`` and ``steps`` of a basedark or weekdark.

    Returns
    -------
    dict
        The steps that each dark goes through.
    """
    names = ("clean_overscan", "dqicorr", "blevcorr", "biascorr")
    steps = parameters.get("steps", ())
    return {"steps": [step for step in steps if isinstance(step, dict) and step.get("name") in names]}


def _input(role: str, exposure: Exposure) -> Input:
    return Input(role, exposure.name, exposure.checksum, path=exposure.path, imsets=exposure.imsets)


def _product(role: str, node: Node, imsets: int = 0) -> Input:
    return Input(role, node.name, node.key, node=node.identity, imsets=imsets)


# ---------------------------------------------------------------------------- what is made already


def compare_with_products(
    plan: Plan,
    records: Mapping[str, ProductRecord],
    checksum: Callable[[str], str] = checksum_of,
) -> None:
    """Say of each node whether its product exists already, and if not, why it is made.

    Parameters
    ----------
    plan : Plan
        Its nodes get `status` and `why`.
    records : mapping
        Absolute path to what is known of the product there.
    checksum : callable
        How the checksum of a file is found, where its times say that it may have changed.
    """
    for node in plan.nodes.values():
        path = str(plan.path(node))
        record = records.get(path)
        node.status, node.why = "new", "was never made"
        if record is None:
            continue
        if record.key != node.key:
            node.status, node.why = "remake", _difference(record.record, node.record())
            continue
        try:
            intact = signature_of(path) == record.signature or checksum(path) == record.checksum
        except OSError:
            node.status, node.why = "new", "its file is gone"
            continue
        if intact:
            node.status, node.why = "made", f"made {record.made}"
        else:
            node.status, node.why = "remake", "its file was changed since it was made"
    dependents = plan.dependents()
    for identity in reversed(plan.nodes):
        node = plan.nodes[identity]
        users = [plan.nodes[one].status for one in dependents[identity]]
        if (
            node.intermediate
            and node.status == "new"
            and users
            and all(one in ("made", "not needed") for one in users)
        ):
            node.status, node.why = "not needed", "everything that is made of it is made"


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What makes two keys differ, in words."""
    reasons = []
    old = {(role, name): content for role, name, content in before.get("inputs", ())}
    new = {(role, name): content for role, name, content in now["inputs"]}
    for word, names in (
        ("new input", [name for role, name in new if (role, name) not in old]),
        ("no longer an input", [name for role, name in old if (role, name) not in new]),
        ("changed input", [key[1] for key in new if key in old and old[key] != new[key]]),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            reasons.append(f"{word}: {', '.join(names[:3])}{more}")
    if not reasons and before.get("inputs") != now["inputs"]:
        reasons.append("another order of inputs")
    for name in ("version", "parameters", "references", "provisional", "useafter", "kind"):
        if before.get(name) != now[name]:
            if name in ("parameters", "references"):
                reasons.append(f"{name} changed")
            else:
                reasons.append(f"{name} was {before.get(name) or 'none'}, is {now[name] or 'none'}")
    return "; ".join(reasons) or "its record is of another form"
