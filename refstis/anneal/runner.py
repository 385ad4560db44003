"""The run: a plan is executed, what fails is planned around, and everything is recorded.

Products are tasks of a Dask graph, in threads of this process, in processes of this machine or on a cluster. The plan
is the same in all cases, and so are the products. What runs the tasks only passes names and outcomes: pixels go through
the shared folder.
"""

import importlib
import logging
import platform
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from refstis.anneal.exposures import Exclusion, signature_of
from refstis.anneal.ledger import Ledger, ProductRecord, without_password
from refstis.anneal.lock import folder_lock
from refstis.anneal.making import Outcome, Source, Task, environment_of
from refstis.anneal.plan import Node, Plan
from refstis.anneal.records import adopt_products
from refstis.anneal.schedulers import Scheduler, open_scheduler
from refstis.anneal.survey import Survey
from refstis.errors import ConfigurationError, RefstisError

__all__ = ["Choice", "Conclusion", "Listener", "Result", "run"]

logger = logging.getLogger(__name__)

RECORD_NAME = "run.json"
# A raw that changes again and again while products are made of it is given up after so many plans.
MOST_CHANGES = 3
# Bytes that a product takes while it is made: for each pixel of each image set, and for each pixel besides.
BYTES_PER_IMSET = 0.25
BYTES_BESIDES = 100.0
FULL_FRAME = 1062 * 1044


class Listener(Protocol):
    """Who is told how a run goes on."""

    def planned(self, plan: Plan, chosen: Sequence[str]) -> None:
        """A plan was made, of which the nodes of these identities are to be made."""

    def started(self, node: Node) -> None:
        """A product is being made."""

    def finished(self, node: Node, outcome: Outcome) -> None:
        """A product was made, or not."""

    def said(self, text: str) -> None:
        """Something else that one should know."""


class Conclusion(Protocol):
    """What came of a month's products after they were made: checks, a delivery."""

    @property
    def verdict(self) -> str:
        """``PASS``, ``CAUTION`` or ``FAIL``."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""


@dataclass(frozen=True)
class Choice:
    """Which products of a plan are made.

    Attributes
    ----------
    force : bool
        Also those that are made already.
    only : tuple of str
        Names: these alone.
    until : tuple of str
        Names: these and what they need.
    """

    force: bool = False
    only: tuple[str, ...] = ()
    until: tuple[str, ...] = ()

    def apply(self, plan: Plan) -> list[str]:
        """Choose nodes and set the status of those that are made although they need not be.

        Parameters
        ----------
        plan : Plan
            With the status of its nodes.

        Returns
        -------
        list of str
            Identities in the order of the plan.

        Raises
        ------
        refstis.errors.ConfigurationError
            Where a name is that of no product, or a product is chosen alone and needs one that is not made.
        """
        chosen = set(plan.nodes)
        if self.only:
            chosen = {identity for name in self.only for identity in _named(plan, name, "--only")}
        if self.until:
            wanted = {identity for name in self.until for identity in _named(plan, name, "--until")}
            chosen &= _with_ancestors(plan, wanted)
        if self.force:
            for identity in chosen:
                node = plan.nodes[identity]
                if node.status == "made" or (node.status == "not needed" and node.kind != "biassub"):
                    node.status, node.why = "remake", "asked for (--force)"
        made = [identity for identity in plan.nodes if identity in chosen and _to_make(plan.nodes[identity])]
        if self.only:
            self._check_alone(plan, made)
        return made

    @staticmethod
    def _check_alone(plan: Plan, made: Sequence[str]) -> None:
        for identity in made:
            lacking = [
                one
                for one in _product_parents(plan, plan.nodes[identity])
                if one not in made and plan.nodes[one].status in ("new", "remake", "not needed")
            ]
            if lacking:
                raise ConfigurationError(
                    f"--only {plan.nodes[identity].name}: needs {plan.nodes[lacking[0]].name}, which is not made or "
                    "not as planned; use --until to make both"
                )


def _to_make(node: Node) -> bool:
    return node.kind != "biassub" and node.status in ("new", "remake")


def _named(plan: Plan, name: str, option: str) -> list[str]:
    found = [
        node.identity
        for node in plan.nodes.values()
        if node.kind != "biassub"
        and name in (node.identity, node.name, node.name.removesuffix(".fits"), node.kind, node.month)
    ]
    if not found:
        known = ", ".join(dict.fromkeys(node.name for node in plan.nodes.values() if node.kind != "biassub"))
        raise ConfigurationError(f"{option} {name}: the plan has no such product; it has {known or 'none'}")
    return found


def _product_parents(plan: Plan, node: Node) -> list[str]:
    """Products on disk that a product is made of: the superbias in place of each bias-subtracted dark."""
    parents: dict[str, None] = {}
    for identity in node.parents:
        parent = plan.nodes[identity]
        parents.update(dict.fromkeys(parent.parents if parent.kind == "biassub" else [identity]))
    return list(parents)


def _places(months: Mapping[str, str], parents: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Order of nodes where there is a choice: of a month, those first that others are made of; by identity, all."""
    number = {month: k for k, month in enumerate(dict.fromkeys(months.values()))}
    needed = {one for before in parents.values() for one in before}
    order = sorted(months, key=lambda one: (number[months[one]], one not in needed))
    return {identity: place for place, identity in enumerate(order)}


def _with_ancestors(plan: Plan, wanted: Iterable[str]) -> set[str]:
    found: set[str] = set()
    stack = list(wanted)
    while stack:
        identity = stack.pop()
        if identity not in found:
            found.add(identity)
            stack += plan.nodes[identity].parents
    return found


@dataclass
class Result:
    """What became of a run.

    Attributes
    ----------
    run : str
        Its name in the ledger.
    plan : Plan
        The last one that was made.
    outcomes : dict
        Identity to outcome of everything that was to be made.
    broken : dict
        Path of each raw that turned out to be bad while products were made, to the reason.
    seconds : float
        How long it took.
    interrupted : bool
        Whether somebody ended it.
    conclusions : dict
        Name of a month to what came of its products afterwards.
    """

    run: str
    plan: Plan
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    interrupted: bool = False
    conclusions: Mapping[str, Conclusion] = field(default_factory=dict)

    @property
    def failed(self) -> list[Outcome]:
        """What was to be made and was not."""
        return [one for one in self.outcomes.values() if one.status != "made"]

    def verdict(self, month: str) -> str:
        """The verdict of one month: ``FAIL``, ``BAD RAWS``, ``CAUTION`` or ``PASS``."""
        concluded = self.conclusions[month].verdict if month in self.conclusions else "PASS"
        if concluded == "FAIL" or any(one.identity.startswith(f"{month}/") for one in self.failed):
            return "FAIL"
        nodes = [node for node in self.plan.nodes.values() if node.month == month]
        if any(node.exclusions for node in nodes):
            return "BAD RAWS"
        own = [one for one in self.plan.months if one.month.name == month]
        if any(node.cautions for node in nodes) or any(one.cautions for one in own):
            return "CAUTION"
        return concluded

    @property
    def bad_raws(self) -> list[Exclusion]:
        """Bad exposures that something was made without, or not made for."""
        found = {one.name: one for node in self.plan.nodes.values() for one in node.exclusions}
        if self.plan.missing or not self.plan.nodes:
            found.update({one.name: one for one in self.plan.exclusions if one.fault})
        return list(found.values())

    @property
    def exit_status(self) -> int:
        """0 where all is made; 1 where something failed or was refused; 3 where bad raws are left out; 130 if ended."""
        if self.interrupted:
            return 130
        if (
            self.failed
            or self.plan.refused
            or any(one.verdict == "FAIL" for one in self.conclusions.values())
        ):
            return 1
        return 3 if self.bad_raws else 0


def run(
    survey: Survey,
    *,
    choice: Choice | None = None,
    scheduler: str | None = None,
    workers: int = 0,
    listener: Listener,
    command: Sequence[str] = (),
    look: Callable[[int, int], None] | None = None,
    conclude: Callable[[Result], Mapping[str, Conclusion]] | None = None,
) -> Result:
    """Make the products of a survey.

    Parameters
    ----------
    survey : Survey
        What there is; it is looked at here, once the output folder is ours.
    choice : Choice, optional
        Which products.
    scheduler : str, optional
        Address of a Dask scheduler.
    workers : int
        Number of processes of this machine; 0 for threads of this one.
    listener : Listener
        Who is told.
    command : sequence of str
        What was called, for the record.
    look : callable, optional
        Called with the number of raws read and the number to be read.
    conclude : callable, optional
        What is done with the products of each month at the end, while the output folder is still ours and after
        ``run.json`` was written.

    Returns
    -------
    Result
        What became of it.

    Raises
    ------
    refstis.errors.RefstisError
        Where nothing can be made at all.
    """
    output = survey.output.absolute()
    with folder_lock(
        output, lambda who: listener.said(f"{output} is in use by {who}; waiting for it to finish.")
    ):
        begin = time.monotonic()
        if scheduler is None and not workers:
            # while raws are read, which mostly leaves the interpreter to others
            threading.Thread(target=_prepare, daemon=True).start()
        survey.look(look)
        runner = _Runner(survey, choice or Choice(), listener, command)
        # what cannot be chosen is told before anything starts
        plan = survey.plan()
        chosen = runner.choice.apply(plan)
        _clean(plan)
        try:
            with open_scheduler(scheduler, workers) as opened:
                result = runner.run(plan, chosen, opened)
        finally:
            _clean(plan)  # a worker that was killed had no time for it
        result.seconds = time.monotonic() - begin
        runner.record(result)
        if conclude is not None and not result.interrupted:
            try:
                result.conclusions = conclude(result)
            except KeyboardInterrupt:
                result.interrupted = True
            result.seconds = time.monotonic() - begin
            runner.record(result)
        return result


def _prepare() -> None:
    """Import what the products of this process need, and let the compiler set itself up at a first call."""
    from refstis.calibration.blevcorr import masked_medians

    importlib.import_module("refstis.pipelines")
    masked_medians(np.zeros((1, 1)), np.ones((1, 1), dtype=np.bool_))


class _Runner:
    """One run."""

    def __init__(self, survey: Survey, choice: Choice, listener: Listener, command: Sequence[str]):
        self.survey = survey
        self.choice = choice
        self.listener = listener
        self.ledger: Ledger = survey.ledger
        self.command = [without_password(word) for word in command]  # it is recorded
        self.began = datetime.now(UTC)
        self.name = f"{self.began:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self.broken: dict[str, str] = {}
        self.unavailable: dict[str, str] = {}
        self.changes: dict[str, int] = {}

    # ---------------------------------------------------------------- plans

    def run(self, plan: Plan, chosen: list[str], scheduler: Scheduler) -> Result:
        self.ledger.start_run(self.name, {"command": self.command, "output": str(plan.output)})
        outcomes: dict[str, Outcome] = {}
        done: set[str] = set()
        while True:
            self._adopt(plan)
            self.listener.planned(plan, chosen)
            made = self._execute(plan, chosen, scheduler)
            outcomes.update(made)
            done.update(identity for identity, one in made.items() if one.status == "made")
            result = Result(self.name, plan, outcomes, self.broken)
            if scheduler.interrupted:
                result.interrupted = True
                break
            if not self._learn(plan, made.values()):
                break
            plan = self.survey.plan(self.broken, self.unavailable)
            chosen = [
                identity
                for identity in self._choose_again(plan)
                if identity not in done or not self.choice.force
            ]
        # what a later plan does without has failed all the same, and what it made of others has not
        result.outcomes = {
            identity: one
            for identity, one in outcomes.items()
            if one.status != "waiting" or identity in result.plan.nodes
        }
        return result

    def _choose_again(self, plan: Plan) -> list[str]:
        try:
            return self.choice.apply(plan)
        except ConfigurationError as error:  # what was asked for cannot be made
            self.listener.said(str(error))
            return []

    def _learn(self, plan: Plan, outcomes: Iterable[Outcome]) -> bool:
        """Take from failures what to plan without; whether there is anything new."""
        new = False
        look_again = False
        for one in outcomes:
            if one.status != "failed":
                continue
            if one.culprit:
                changed = self._changed(plan, one)
                look_again |= changed
                if not changed and one.culprit not in self.broken:
                    self.broken[one.culprit] = one.reason
                    self.listener.said(f"{Path(one.culprit).name} is left out: {one.reason}")
                new = True
            elif one.lasting and one.identity not in self.unavailable:
                self.unavailable[one.identity] = one.reason
                new = True
        if look_again:
            self.survey.look()
        return new

    def _changed(self, plan: Plan, failure: Outcome) -> bool:
        """Whether a raw is another one now than when the plan was made, and may be looked at again."""
        source = next(
            one for one in plan.nodes[failure.identity].exposures + self._darks(plan, failure.identity)
            if one.path == failure.culprit
        )  # fmt: skip
        known, _ = self.ledger.look([source.path]) if Path(source.path).is_file() else ([], [])
        if not known or known[0].checksum == source.content:
            return False
        self.changes[source.path] = self.changes.get(source.path, 0) + 1
        return self.changes[source.path] <= MOST_CHANGES

    @staticmethod
    def _darks(plan: Plan, identity: str):
        parents = [plan.nodes[one] for one in plan.nodes[identity].parents]
        return [source for one in parents if one.kind == "biassub" for source in one.exposures]

    def _adopt(self, plan: Plan) -> None:
        records = self.ledger.products([str(plan.path(node)) for node in plan.nodes.values()])
        for record in adopt_products(plan, records).values():
            self.ledger.record_product(replace(record, run=self.name))

    # ---------------------------------------------------------------- tasks

    def _execute(self, plan: Plan, chosen: Sequence[str], scheduler: Scheduler) -> dict[str, Outcome]:
        tasks = self._tasks(plan, chosen)
        outcomes: dict[str, Outcome] = {}

        def finished(outcome: Outcome) -> None:
            node = plan.nodes[outcome.identity]
            outcome = self._recorded(plan, node, outcome)
            outcomes[outcome.identity] = outcome
            self.listener.finished(node, outcome)

        scheduler.run(tasks, lambda identity: self.listener.started(plan.nodes[identity]), finished)
        return outcomes

    def _tasks(self, plan: Plan, chosen: Sequence[str]) -> dict[str, tuple[Task, list[str]]]:
        """Identity to task and the identities of the tasks that come before it."""
        wanted = set(chosen)
        nodes = {identity: plan.nodes[identity] for identity in chosen}
        parents = {
            identity: [one for one in _product_parents(plan, node) if one in wanted]
            for identity, node in nodes.items()
        }
        places = _places({identity: node.month for identity, node in nodes.items()}, parents)
        exposures = {one.path: one for one in self.survey.exposures}
        signatures = self.ledger.signatures([path for path in exposures if path])
        tasks: dict[str, tuple[Task, list[str]]] = {}
        for identity, node in nodes.items():
            sources = [Source(one.path, signatures.get(one.path), one.content) for one in node.exposures]
            products: dict[str, list[str]] = {}
            subtraction: dict[str, Any] = {}
            for one in node.inputs:
                if not one.node:
                    continue
                parent = plan.nodes[one.node]
                if parent.kind != "biassub":
                    products.setdefault(one.role, []).append(str(plan.path(parent)))
                    continue
                dark, superbias = parent.inputs
                path = str(plan.path(plan.nodes[superbias.node]))
                signature = signatures.get(dark.path)
                sources.append(Source(dark.path, signature, dark.content, path, parent.period.name))
                subtraction = parent.parameters
            size = exposures[sources[0].path].size if sources else (0, 0)
            imsets = sum(exposures[one.path].imsets for one in sources)
            references = [
                *node.references,
                *(ref for one in node.parents for ref in plan.nodes[one].references),
            ]
            task = Task(
                identity,
                node.kind,
                node.month,
                node.key,
                str(plan.path(node)),
                node.parameters,
                subtraction,
                tuple(sources),
                {role: tuple(paths) for role, paths in products.items()},
                node.useafter,
                node.provisional,
                dict(environment_of(references)),
                places[identity],
                round((size[0] * size[1] or FULL_FRAME) * (BYTES_PER_IMSET * imsets + BYTES_BESIDES)),
            )
            tasks[identity] = task, parents[identity]
        return tasks

    def _recorded(self, plan: Plan, node: Node, outcome: Outcome) -> Outcome:
        """The outcome, after a product was entered into the ledger."""
        if outcome.status != "made":
            return outcome
        path = plan.path(node)
        try:
            # of this machine: another one may see other times and inodes
            signature = signature_of(path)
            self.ledger.record_product(
                ProductRecord(
                    str(path), node.kind, node.month, node.key, outcome.checksum, signature, node.provisional,
                    node.record(), self.name,
                )
            )  # fmt: skip
        except OSError as error:
            reason = (
                f"{path}: cannot be read here after it was made ({error.strerror}); is the folder shared?"
            )
            return replace(outcome, status="failed", reason=reason)
        except RefstisError as error:
            return replace(outcome, status="failed", reason=str(error))
        return outcome

    # ---------------------------------------------------------------- the record

    def record(self, result: Result) -> None:
        """Write ``run.json`` and end the run in the ledger."""
        import json

        from refstis import __version__
        from refstis.datamodels.atomic import atomic_write

        status = {0: "done", 1: "failed", 3: "done without bad raws", 130: "interrupted"}[result.exit_status]
        plan = result.plan
        record = {
            "run": result.run,
            "command": self.command,
            "version": __version__,
            "python": platform.python_version(),
            "began": f"{self.began:%Y-%m-%dT%H:%M:%SZ}",
            "seconds": round(result.seconds, 3),
            "status": status,
            "exit_status": result.exit_status,
            "verdicts": {one.month.name: result.verdict(one.month.name) for one in plan.months},
            "conclusions": {name: one.to_dict() for name, one in result.conclusions.items()},
            "outcomes": [
                {
                    key: value
                    for key, value in asdict(one).items()
                    if value and key not in ("signature", "lasting")
                }
                for one in result.outcomes.values()
            ],
            "plan": plan.to_dict(),
        }
        with atomic_write(plan.output / RECORD_NAME, "w") as stream:
            json.dump(record, stream, indent=1)
        self.ledger.finish_run(
            result.run, status, {key: value for key, value in record.items() if key != "plan"}
        )


def _clean(plan: Plan) -> None:
    """Take away what runs and workers left behind that were killed while they wrote: the folder is ours."""
    for one in plan.months:
        folder = plan.output / one.month.name
        for left in folder.rglob(".*.part") if folder.is_dir() else ():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
    for left in plan.output.glob(f".{RECORD_NAME}.*.part"):
        left.unlink(missing_ok=True)
