"""The demonstration: simulate a short month, make its reference files, score them, write the page."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refstis.datamodels.atomic import atomic_write
from refstis.errors import OutputError

__all__ = ["MARK", "Demonstration", "Progress", "demonstrate", "make_products"]

# What tells a folder of the demonstration from anybody else's.
MARK = "refstis-demo.json"
DAYS, IMSETS, EPOCH = 12, (42, 14), 2017

# Called with the stage (simulate, make, score), how much of it is done, how much there is, and a name.
Progress = Callable[[str, int, int, str], None]


@dataclass
class Demonstration:
    """What a demonstration made.

    Attributes
    ----------
    folder : pathlib.Path
        Where everything lies.
    page : pathlib.Path
        The page to look at.
    profile : str
        Name or folder of the profile.
    scores : list of dict
        Of each product: ``file`` below `folder`, ``name``, ``procedure``, and ``figures`` as
        `refstis.simulation.score` gives them.
    raws : int
        Number of raw files.
    """

    folder: Path
    page: Path
    profile: str
    scores: list[dict[str, Any]] = field(default_factory=list)
    raws: int = 0

    @property
    def month(self) -> Path:
        """Folder of raws, reference tables, anneal table and truth."""
        return self.folder / "month"

    @property
    def products(self) -> Path:
        """Folder of products and their ledger."""
        return self.folder / "products"


def demonstrate(
    folder: str | os.PathLike[str],
    *,
    seed: int = 1,
    size: str = "full",
    profile: str = "demo",
    progress: Progress | None = None,
) -> Demonstration:
    """Simulate a short anneal month, make its reference files, compare them with the truth, and write a page.

    What an earlier demonstration with the same seed has left in the folder is kept: raws that are complete, and
    products whose inputs and parameters are still the same.

    Parameters
    ----------
    folder : str or os.PathLike
        Made if need be; empty, or of an earlier demonstration.
    seed : int
        Of the simulated detector.
    size : str
        ``full``, or ``small`` for frames with a sixteenth of the pixels.
    profile : str
        Name or folder of the profile; its policy has thresholds that a short month reaches.
    progress : callable, optional
        Called as things get done.

    Returns
    -------
    Demonstration
        Paths and scores.

    Raises
    ------
    refstis.errors.OutputError
        Where the folder holds anything else, or cannot be written.
    """
    told = progress or _nothing
    demo = Demonstration(Path(folder), Path(folder) / "report.html", profile)
    _claim(demo, {"seed": seed, "size": size})
    _simulate(demo, seed, size, told)
    plan = make_products(demo.month, demo.products, profile, told)
    _compare(demo, plan, told)
    return demo


def _nothing(_stage: str, _done: int, _total: int, _name: str) -> None:
    pass


def _claim(demo: Demonstration, month: dict[str, Any]) -> None:
    """Take a folder that is empty or of an earlier demonstration; of another month, nothing is kept."""
    mark = demo.folder / MARK
    if mark.is_file():
        if _marked(mark) == month:
            return
        for made in (demo.month, demo.products):
            shutil.rmtree(made, ignore_errors=True)
    elif demo.folder.exists() and (not demo.folder.is_dir() or any(demo.folder.iterdir())):
        raise OutputError(
            f"{demo.folder}: exists, and no demonstration made it. Name an empty or a new folder: "
            "refstis demo FOLDER."
        )
    with atomic_write(mark, "w") as file:
        json.dump({"made by": "refstis demo", "month": month}, file)


def _marked(mark: Path) -> Any:
    try:
        return json.loads(mark.read_text(encoding="utf-8"))["month"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _simulate(demo: Demonstration, seed: int, size: str, progress: Progress) -> None:
    from refstis.simulation.month import simulate

    # The truth is written last.
    if not (demo.month / "truth.asdf").exists():
        shutil.rmtree(demo.month, ignore_errors=True)
        simulate(
            demo.month,
            days=DAYS,
            imsets=IMSETS,
            epoch=EPOCH,
            seed=seed,
            size=size,
            progress=lambda done, total, name: progress("simulate", done, total, name),
        )
    demo.raws = len(list(demo.month.glob("*_raw.fits")))
    progress("simulate", demo.raws, demo.raws, "")


@contextmanager
def _own_tables(month: Path) -> Iterator[None]:
    """Let ``$oref`` be the tables of the simulated detector, whatever the shell says."""
    before = os.environ.get("oref")  # noqa: SIM112 - CALSTIS writes it so
    os.environ["oref"] = f"{month.resolve() / 'oref'}{os.sep}"  # noqa: SIM112
    try:
        yield
    finally:
        if before is None:
            del os.environ["oref"]  # noqa: SIM112
        else:
            os.environ["oref"] = before  # noqa: SIM112


class _Listener:
    """Tells of a run what the demonstration shows."""

    def __init__(self, progress: Progress):
        self._progress = progress
        self._done, self._total = 0, 0

    def planned(self, plan: Any, chosen: Sequence[str]) -> None:
        # Bias-subtracted darks are steps on the way, and what need not be made again is done.
        self._total = sum(node.kind != "biassub" for node in plan.nodes.values())
        self._done = self._total - len(chosen)
        self._progress("make", self._done, self._total, "")

    def started(self, node: Any) -> None:
        self._progress("make", self._done, self._total, node.name)

    def finished(self, node: Any, _outcome: Any) -> None:
        self._done += 1
        self._progress("make", self._done, self._total, node.name)

    def said(self, text: str) -> None:
        self._progress("make", self._done, self._total, text)


def make_products(
    month: Path,
    products: Path,
    profile: str = "heritage",
    progress: Progress | None = None,
    command: Sequence[str] = ("refstis", "demo"),
) -> Any:
    """Make the products of a simulated month as `refstis run` does, with the reference tables beside its raws.

    Parameters
    ----------
    month : pathlib.Path
        Folder that `refstis simulate` wrote.
    products : pathlib.Path
        Folder for the products and their ledger; what is made there already stays.
    profile : str
        Name or folder of the profile.
    progress : callable, optional
        Called as things get done.
    command : sequence of str
        What the ledger says that they were made with.

    Returns
    -------
    refstis.anneal.plan.Plan
        What was made of what.

    Raises
    ------
    refstis.errors.OutputError
        Where a product could not be made.
    """
    from refstis.anneal.runner import run
    from refstis.anneal.survey import Survey, open_ledger

    with _own_tables(month), open_ledger(None, products) as ledger:
        survey = Survey(month, products, ledger, anneals=month / "anneals.csv", profile=profile)
        result = run(survey, listener=_Listener(progress or _nothing), command=command)
    if result.interrupted:
        raise KeyboardInterrupt
    if result.failed:
        first = result.failed[0]
        raise OutputError(
            f"{products / first.identity}: {first.reason.rstrip('.')}. {len(result.failed)} of the products were "
            "not made; remove the folder and try again."
        )
    return result.plan


def _compare(demo: Demonstration, plan: Any, progress: Progress) -> None:
    """Score the products, and show them on a page."""
    from refstis.demo.page import Page, label
    from refstis.simulation.scoring import compare
    from refstis.simulation.truth import Truth

    truth = Truth.open(demo.month)
    nodes = [node for node in plan.nodes.values() if not node.intermediate]
    page = Page(truth, demo.month)
    for number, node in enumerate(nodes):
        progress("score", number, len(nodes), node.name)
        comparison = compare(plan.path(node), truth)
        page.add(node, comparison)
        demo.scores.append(
            {
                "file": str(plan.path(node).relative_to(demo.folder.absolute())),
                "name": label(node),
                "procedure": node.reason,
                "figures": comparison.figures,
            }
        )
    with atomic_write(demo.folder / "scores.json", "w") as file:
        json.dump(demo.scores, file, indent=1)
    page.write(demo, plan)
    progress("score", len(nodes), len(nodes), "")
