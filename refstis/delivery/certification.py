"""Certification by CRDS's own code, in two depths, without a network unless a context is asked for."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refstis.errors import ConfigurationError, InputError
from refstis.garbage import set_aside

__all__ = ["Certification", "certify_files", "certify_log"]

OBSERVATORY = "hst"
# CRDS counts and logs in one place for the whole process.
_LOCK = threading.Lock()


@dataclass
class Certification:
    """What CRDS says of one file.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    depth : str
        ``tpn``: the values that CRDS's package allows for each keyword; ``full``: also the rules of a context.
    context : str
        The context of a full check.
    errors, warnings : list of str
        What was found.
    log : list of str
        All that CRDS said.
    """

    path: Path
    depth: str
    context: str = ""
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """File name without folder."""
        return self.path.name

    @property
    def passed(self) -> bool:
        """Whether there was no error."""
        return not self.errors

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "file": self.name,
            "depth": self.depth,
            "context": self.context or None,
            "passed": self.passed,
            "errors": self.errors,
            "warnings": self.warnings,
        }


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.levelno, " ".join(record.getMessage().split())))


@contextmanager
def _crds_log() -> Iterator[_Collector]:
    """Collect what CRDS says in place of its writing to the terminal."""
    from crds.core import log

    logger = logging.getLogger("CRDS")
    handlers, collector = list(logger.handlers), _Collector()
    with _LOCK:
        for handler in handlers:
            logger.removeHandler(handler)
        logger.addHandler(collector)
        try:
            with set_aside():
                yield collector
        finally:
            logger.removeHandler(collector)
            for handler in handlers:
                logger.addHandler(handler)
            log.reset()


def _take(found: Certification, collector: _Collector) -> None:
    """Move what was collected to the file that it was said of."""
    for level, message in collector.records:
        found.log.append(f"{logging.getLevelName(level)} {message}")
        if level >= logging.ERROR:
            found.errors.append(message)
        elif level >= logging.WARNING:
            found.warnings.append(message)
    collector.records.clear()


def certify_files(files: Iterable[str | os.PathLike], context: str | None = None) -> list[Certification]:
    """Let CRDS certify reference files.

    Parameters
    ----------
    files : iterable of str or os.PathLike
        Superbiases and superdarks.
    context : str, optional
        Context to check against, such as ``hst_1204.pmap`` or ``latest``: rules and mappings come from the cache
        in ``$CRDS_PATH`` or from the server in ``$CRDS_SERVER_URL``. Without it the allowed values that the crds
        package brings along are checked, and no network is looked for.

    Returns
    -------
    list of Certification
        In the order of the files.

    Raises
    ------
    InputError
        Where a file does not exist.
    ConfigurationError
        Where the context is at neither place.
    """
    paths = [Path(file).absolute() for file in files]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file. Check the name and the folder.")
    with _crds_log() as collector:
        if context is None:
            found = [_certify_values(path, collector) for path in paths]
        else:
            context = _resolved(context, collector)
            found = [_certify_fully(path, context, collector) for path in paths]
            if all(one.passed for one in found):
                _certify_together(found, context, collector)
    for one in found:
        _fitsverify(one)
    return found


def _certify_values(path: Path, collector: _Collector) -> Certification:
    """The check of keywords against the packaged tables, which needs no rules."""
    from crds.certify.certify import FitsCertifier, ReferenceCertifier

    found = Certification(path, "tpn")
    try:
        certifier = FitsCertifier(str(path), "hst.pmap", observatory=OBSERVATORY, original_name=path.name)
        # The method of the base class: that of FITS files ends with a check, empty for HST, that needs the rules.
        ReferenceCertifier.certify(certifier)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever CRDS trips over is an error of this file
        found.errors.append(_words(error))
    _take(found, collector)
    return found


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _resolved(context: str, collector: _Collector) -> str:
    """Name of a context that can be loaded."""
    from crds.core import heavy_client

    name = context
    try:
        if not context.endswith(".pmap"):
            name = heavy_client.get_context_name(OBSERVATORY, None if context == "latest" else context)
        heavy_client.get_symbolic_mapping(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - CRDS leaves the process where it finds no server
        said = [message for level, message in collector.records if level >= logging.ERROR]
        reason = said[-1] if isinstance(error, SystemExit) and said else _words(error)
        raise ConfigurationError(
            f"{context}: CRDS cannot load this context ({reason}). Set CRDS_PATH to a cache that has it or "
            "CRDS_SERVER_URL to a server, or certify without a context."
        ) from None
    collector.records.clear()
    return name


def _certify_fully(path: Path, context: str, collector: _Collector) -> Certification:
    from crds.certify import certify

    found = Certification(path, "full", context)
    try:
        certify.certify_file(
            str(path), context, observatory=OBSERVATORY, original_name=path.name, compare_old_reference=True
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001
        found.errors.append(_words(error))
    _take(found, collector)
    return found


def _certify_together(found: list[Certification], context: str, collector: _Collector) -> None:
    """Insert all files into a copy of their rules, which shows files that exclude each other."""
    from crds.certify import certify
    from crds.core import heavy_client, utils
    from crds.refactoring import refactor

    by_path = {str(one.path): one for one in found}
    mapping = heavy_client.get_symbolic_mapping(context)
    with tempfile.TemporaryDirectory(prefix="refstis-") as folder:
        for (instrument, kind), names in utils.organize_files(OBSERVATORY, list(by_path)).items():
            rules = mapping.get_imap(instrument).get_rmap(kind)
            changed = Path(folder) / rules.basename
            group = [by_path[str(name)] for name in names]
            together = Certification(group[0].path, "full", context)
            try:
                refactor.rmap_insert_references(
                    rules.filename, str(changed), [str(name) for name in names], observatory=OBSERVATORY
                )
                certify.certify_file(str(changed), context, observatory=OBSERVATORY)
            except (Exception, SystemExit) as error:  # noqa: BLE001
                together.errors.append(_words(error))
            _take(together, collector)
            for one in group:
                one.errors += together.errors
                one.warnings += together.warnings
                one.log += [f"with {rules.basename}: {line}" for line in together.log]


def _fitsverify(found: Certification) -> None:
    """The FITS standard as the program of its authors sees it, where that is installed."""
    program = shutil.which("fitsverify")
    if program is None:
        return
    done = subprocess.run(  # noqa: S603 - a fixed program with a file's path
        [program, str(found.path)], capture_output=True, text=True, check=False, timeout=300
    )
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    found.log += [f"fitsverify: {line}" for line in lines]
    found.errors += [f"fitsverify: {line}" for line in lines if line.startswith("*** Error")]
    found.warnings += [f"fitsverify: {line}" for line in lines if line.startswith("*** Warning")]


def certify_log(found: Iterable[Certification]) -> str:
    """The certification of some files as a text to keep.

    Parameters
    ----------
    found : iterable of Certification
        Of the files.

    Returns
    -------
    str
        Some lines for each file.
    """
    import crds

    lines = [f"Certified by crds {crds.__version__}."]
    for one in found:
        depth = "values of keywords" if one.depth == "tpn" else f"context {one.context}"
        lines += ["", f"{one.name}: {'passed' if one.passed else 'FAILED'} ({depth})"]
        lines += [f"  {line}" for line in one.log]
        lines += [f"  ERROR {error}" for error in one.errors if not any(error in line for line in one.log)]
    return "\n".join([*lines, ""])
