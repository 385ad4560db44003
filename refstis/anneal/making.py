"""Making one product of a plan, in whatever thread, process or machine.

A `Task` says everything that is needed, and `make` gives an `Outcome`: both are small, and no pixels travel with
them. A product and what lies beside it are written whole into a hidden folder next to their place, read back, and then
moved there.
"""

import ctypes
import functools
import gc
import logging
import os
import secrets
import shutil
import socket
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refstis.anneal.exposures import Signature, signature_of
from refstis.cores import in_threads, threads_at_hand
from refstis.datamodels.checksums import checksum_of, remember_checksum
from refstis.errors import InputError, OutputError, RefstisError, lacks_resources, printable

__all__ = ["Outcome", "Source", "Task", "environment_of", "make", "share_memory"]

logger = logging.getLogger(__name__)

# What appears beside a product; the product itself comes last, so that it never stands there without them.
ENDINGS = (".log", ".asdf", ".fits")
# From malloc.h of the GNU C library.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Images up to this size (bytes) take memory that others left: the most that the library adapts itself to.
_REUSED_UP_TO = 2**25


@dataclass(frozen=True)
class Source:
    """A raw exposure that goes into a product.

    Attributes
    ----------
    path : str
        Absolute.
    signature : Signature or None
        Of the file when it was looked at.
    checksum : str
        sha256 of the file, which its content must have.
    superbias : str
        Of a dark: path of the superbias to subtract.
    period : str
        Of a dark: the part of the month that it belongs to.
    """

    path: str
    signature: Signature | None
    checksum: str
    superbias: str = ""
    period: str = ""


@dataclass(frozen=True)
class Task:
    """What one product is made of, and how.

    Attributes
    ----------
    identity, kind, month, key : str
        Of the plan's node.
    target : str
        Absolute path of the product.
    parameters : dict
        Of the pipeline: ``parameters`` and ``steps`` as in a parameter file.
    subtraction : dict
        The same of the bias subtraction of darks.
    sources : tuple of Source
        Raw exposures.
    products : dict
        Role to the paths of the products that it is made of.
    useafter : str
        Where USEAFTER is not that of the first exposure.
    provisional : bool
        Whether DESCRIP is to say that the month is not over.
    environment : dict
        Variables that stand for folders of reference files in headers.
    place : int
        When it comes, where there is a choice.
    memory : int
        Estimate of what it takes, in bytes.
    """

    identity: str
    kind: str
    month: str
    key: str
    target: str
    parameters: dict[str, Any]
    subtraction: dict[str, Any]
    sources: tuple[Source, ...]
    products: dict[str, tuple[str, ...]]
    useafter: str = ""
    provisional: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    place: int = 0
    memory: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    identity : str
        Of the task.
    status : str
        ``made``, ``failed``, or ``waiting``: for a product that was not made.
    seconds : float
        How long it took.
    reason : str
        Why it failed, or what it waits for.
    culprit : str
        Path of the raw exposure that is to blame.
    checksum : str
        sha256 of the product.
    signature : Signature or None
        Of the product.
    where : str
        Host and process.
    lasting : bool
        Whether it would fail again: then other products are made without it.
    """

    identity: str
    status: str
    seconds: float = 0.0
    reason: str = ""
    culprit: str = ""
    checksum: str = ""
    signature: Signature | None = None
    where: str = ""
    lasting: bool = False


def make(task: Task, share: "dict[str, Any] | None" = None) -> Outcome:
    """Make a product.

    Parameters
    ----------
    task : Task
        What to make.
    share : dict, optional
        Path to exposure, of darks without their bias: those in it are used, and new ones are put there.

    Returns
    -------
    Outcome
        Also where it failed: one failure is one failure.
    """
    begin = time.monotonic()
    where = f"{socket.gethostname()} {os.getpid()}"
    try:
        try:
            checksum, signature = _make(task, share)
        finally:
            _give_memory_back()
    except RefstisError as error:
        reason = str(error)
        # where the machine lacks something no exposure is to blame, and nothing may be made without it
        lacking = lacks_resources(error)
        blamed = (one.path for one in task.sources if not lacking and _blames(reason, one.path))
        culprit = next(blamed, "")
        lasting = not lacking and not isinstance(error, OutputError)
        seconds = time.monotonic() - begin
        return Outcome(task.identity, "failed", seconds, reason, culprit, where=where, lasting=lasting)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        logger.debug("%s", task.identity, exc_info=True)
        reason = f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
        return Outcome(task.identity, "failed", time.monotonic() - begin, reason, where=where)
    seconds = time.monotonic() - begin
    return Outcome(task.identity, "made", seconds, "", "", checksum, signature, where)


@functools.cache
def _c_library() -> ctypes.CDLL | None:
    """The C library, where it is the GNU one, whose use of memory can be told what to do."""
    try:
        library = ctypes.CDLL(None)
    except OSError:
        return None
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None


def share_memory() -> None:
    """Let threads that begin from now on take memory from one place: what one of them frees, the others can use.

    The library would learn by itself to keep what images of this size leave, but not in a process that was begun with
    `MALLOC_TRIM_THRESHOLD_`, as Dask begins its workers: half of their time went into pages that were given back.
    """
    library = _c_library()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_MMAP_THRESHOLD, _REUSED_UP_TO)
        library.mallopt(_M_TRIM_THRESHOLD, 4 * _REUSED_UP_TO)


def _give_memory_back() -> None:
    """Give the memory of a product back to the system."""
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)


def _blames(message: str, path: str) -> bool:
    """Whether an error is about this file: messages begin with the name of the file at fault."""
    return message.startswith((f"{printable(path)}:", f"{printable(Path(path).name)}:"))


def _make(task: Task, share: dict[str, Any] | None) -> tuple[str, Signature]:
    from refstis.pipelines.base import making_products, product_log, write_record

    os.environ.update(task.environment)
    _check_unchanged(task.sources)
    with making_products(), product_log():
        step, product = _calibrated(task, share)
        _check_unchanged(task.sources)
        for one in task.sources:
            remember_checksum(one.path, one.checksum)
        if task.provisional:
            text = str(product.primary["DESCRIP"])
            words = f"{text.rstrip('-')}, provisional"
            product = product.changed({"DESCRIP": words.ljust(len(text), "-")})
        target = Path(task.target)
        with _staging(target) as folder:
            product.save(folder / target.name)
            checksum = checksum_of(folder / target.name)
            # the record is a parameter file: what it says must not depend on the machine, and must make the product
            step.save_results = True
            more = {"identity": task.identity, "key": task.key, "sha256": checksum}
            write_record(step, folder / target.name, product, more)
            # the record holds their checksums
            _check_unchanged(task.sources)
            for ending in ENDINGS:
                part = target.with_suffix(ending)
                os.replace(folder / part.name, part)
    return checksum, signature_of(target)


def _check_unchanged(sources: Sequence[Source]) -> None:
    """The plan was made for the files as they were: a product of others would bear a wrong key."""
    for one in sources:
        try:
            found = signature_of(one.path)
        except OSError as error:
            raise InputError(
                f"{one.path}: cannot be read any more ({error.strerror}). Bring it back, or run again without it."
            ) from None
        if found == one.signature:
            continue
        if checksum_of(one.path) != one.checksum:
            raise InputError(f"{one.path}: was changed since the plan was made. Run again.")


def _parameters(task: Task) -> dict[str, dict[str, Any]]:
    """Parameters of the stages of a pipeline, by name, as the plan has them."""
    return {one["name"]: dict(one.get("parameters", {})) for one in task.parameters.get("steps", [])}


def _calibrated(task: Task, share: dict[str, Any] | None):
    """The product, not yet written, and the step that made it."""
    from refstis import pipelines
    from refstis.datamodels.exposure import Exposure
    from refstis.stages import RefaverStep

    if task.kind == "refaver":
        step = RefaverStep(**task.parameters.get("parameters", {}))
        return step, step.run([Exposure.open(path) for path in task.products["refbias"]])

    steps = _parameters(task)
    if task.useafter:
        steps.setdefault("reference_header", {})["useafter"] = task.useafter
    stage = {"basebias": "add_hot_columns", "basedark": "superdark"}
    for role, paths in task.products.items():
        if role in stage:
            steps.setdefault(stage[role], {})[f"override_{role}"] = paths[0]
    superbiases = {one.superbias for one in task.sources if one.superbias}
    if len(superbiases) == 1:
        steps.setdefault("biascorr", {})["override_biasfile"] = next(iter(superbiases))

    names = {
        "basebias": "BaseBiasPipeline", "refbias": "RefBiasPipeline", "weekbias": "WeekBiasPipeline",
        "basedark": "BaseDarkPipeline", "weekdark": "WeekDarkPipeline",
    }  # fmt: skip
    kind = getattr(pipelines, names[task.kind])
    parameters = {**task.parameters.get("parameters", {}), "steps": steps, "save_results": False}
    config, _ = kind.build_config(None, **parameters)
    pipeline = kind.from_config_section(config, name=task.kind)
    if superbiases:
        exposures, references = _subtracted(task, {} if share is None else share)
        pipeline.references_used.extend(references)
    else:
        exposures = [_opened(one.path, share) for one in task.sources]
    return pipeline, pipeline.run(exposures)


def _opened(path: str, share: dict[str, Any] | None):
    from refstis.datamodels.exposure import Exposure

    if share is None:
        return Exposure.open(path)
    return share.get(path) or share.setdefault(path, Exposure.open(path))


def _subtracted(task: Task, share: dict[str, Any]):
    """Darks without their weeks' superbias, and the reference files that were used for that.

    They are not written: float32 pixels come back from a file as they went there, so the products are the same.
    """
    from refstis.datamodels.exposure import Exposure
    from refstis.stages import BiasCorrStep, BlevCorrStep, CleanOverscanStep, DqiCorrStep
    from refstis.stages.base import RefstisStep

    given = {one["name"]: one.get("parameters", {}) for one in task.subtraction.get("steps", [])}
    references: dict[Any, None] = {}
    # each with the reference files that were used for it
    raws: dict[str, tuple[Exposure, tuple[Any, ...]]] = {}

    def clean(week: Sequence[Source]) -> None:
        # columns with a few electrons stand out where all darks of a week are looked at together, and pull the drift of
        # each; what is together is the same for the month's product and the week's
        step = CleanOverscanStep(override_biasfile=week[0].superbias, **given.get("clean_overscan", {}))
        cleaned = step.run([raws[one.path][0] for one in week])
        for one, exposure in zip(week, cleaned, strict=True):
            raws[one.path] = exposure, tuple(step.references_used)

    def subtract(part: Sequence[Source]) -> None:
        superbias = part[0].superbias
        # as parts of something, they do not tell their parameters anew for every dark
        whole = RefstisStep("biassub")
        stages = (
            DqiCorrStep(parent=whole, **given.get("dqicorr", {})),
            BlevCorrStep(parent=whole, **given.get("blevcorr", {})),
            BiasCorrStep(parent=whole, override_biasfile=superbias, **given.get("biascorr", {})),
        )
        for one in part:
            # stpipe collects garbage before every stage: what was opened meanwhile is set aside
            gc.freeze()
            exposure, before = raws.pop(one.path)
            with exposure.held():
                for stage in stages:
                    exposure = stage.run(exposure)
            share[one.path] = exposure, (*before, *whole.references_used)

    weeks: dict[tuple[str, str], list[Source]] = {}
    for one in task.sources:
        if one.path not in share:
            raws[one.path] = Exposure.open(one.path), ()
            weeks.setdefault((one.superbias, one.period), []).append(one)
    with threads_at_hand() as threads:
        # a stage by itself runs whatever it is told about skipping
        if not given.get("clean_overscan", {}).get("skip", True):
            in_threads(clean, weeks.values(), threads)
        parts = []
        for week in weeks.values():
            number = max(1, min(threads, len(week)))
            parts += [week[n::number] for n in range(number)]
        in_threads(subtract, parts, threads)
    made = [share[one.path] for one in task.sources]
    for _, used in made:
        references.update(dict.fromkeys(used))
    return [exposure for exposure, _ in made], list(references)


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    folder = target.parent / f".{target.stem[:80]}.{os.getpid()}.{secrets.token_hex(4)}.part"
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({error.strerror or error}). Check the folder, its rights and the free space."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment_of(references: Sequence[Sequence[str]]) -> Mapping[str, str]:
    """Variables that names of reference files begin with, as they are here.

    Parameters
    ----------
    references : sequence
        Keyword, name and checksum of each.

    Returns
    -------
    mapping
        Name to folder, absolute.
    """
    names = {
        value.rpartition("$")[0] or value[1:].partition("/")[0] for _, value, *_ in references if "$" in value
    }
    return {name: os.path.abspath(os.environ[name]) for name in sorted(names) if name in os.environ}
