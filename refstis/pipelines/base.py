"""What the pipelines have in common: opening their inputs, naming the product, and the record beside it."""

from __future__ import annotations

import functools
import gc
import logging
import os
import platform
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from stpipe import Pipeline
from stpipe._config import export_config
from stpipe._log import LogConfig

from refstis.datamodels.association import Association, ExposureLibrary
from refstis.datamodels.atomic import atomic_write
from refstis.datamodels.checksums import ChecksumsAhead, file_checksum
from refstis.datamodels.configuration import expand_home
from refstis.datamodels.damage import write_asdf
from refstis.datamodels.exposure import Exposure
from refstis.garbage import set_aside
from refstis.stages.base import RefstisStep

__all__ = [
    "RefstisPipeline",
    "making_products",
    "product_log",
    "write_record",
]

logger = logging.getLogger(__name__)

# What made a product: its sidecar tells their versions.
MAKERS = ("refstis", "stpipe", "numpy", "scipy", "numba", "astropy")

_lines: ContextVar[list[str] | None] = ContextVar("product_log", default=None)


class _ProductLog(logging.Handler):
    """Gives each message to the product in whose context it was logged."""

    def emit(self, record):
        lines = _lines.get()
        if lines is not None:
            lines.append(self.format(record))


class _Making:
    """How many products are in the making in this process, and what is set up meanwhile."""

    lock = threading.Lock()
    products = 0
    handler = _ProductLog()
    config: LogConfig | None = None
    levels: ClassVar[dict[str, int]] = {}


_Making.handler.setFormatter(RefstisStep._log_records_formatter)  # noqa: SLF001 - our own class


@contextmanager
def making_products() -> Iterator[None]:
    """Set up what the making of products shares in a process, until the last of them is made.

    Logging is the whole process's, and so is Python's collection of garbage. Messages go to the log of the product
    that they are about, also where several are made at a time in threads of their own. Garbage is collected where
    stpipe asks for it, which is before every step, and at no other time; what the imports left is set aside from that,
    so that it costs nothing.

    Yields
    ------
    None
        While products are made.
    """
    names = RefstisStep.get_stpipe_loggers()
    with _Making.lock:
        _Making.products += 1
        if _Making.products == 1:
            for log in map(logging.getLogger, names):
                log.addHandler(_Making.handler)
                _Making.levels[log.name] = log.level
                if not log.isEnabledFor(
                    logging.INFO
                ):  # where else messages appear is the calling program's choice
                    log.setLevel(logging.INFO)
            if LogConfig.applied is None:
                # else every step would set up logging anew, and take it away from products beside it
                _Making.config = LogConfig([], level=logging.NOTSET)
                _Making.config.apply([name for name in names if name != "py.warnings"])
    try:
        with set_aside():
            yield
    finally:
        with _Making.lock:
            _Making.products -= 1
            if not _Making.products:
                for log in map(logging.getLogger, names):
                    log.removeHandler(_Making.handler)
                    log.setLevel(_Making.levels.pop(log.name))
                if _Making.config is not None:
                    _Making.config.undo([name for name in names if name != "py.warnings"])
                    _Making.config = None


@contextmanager
def product_log(lines: list[str] | None = None) -> Iterator[list[str]]:
    """Collect what is logged in this context, and in no other thread's.

    Parameters
    ----------
    lines : list of str, optional
        Lines to go on from.

    Yields
    ------
    list of str
        Lines of the log; those of an enclosing context where there is one.
    """
    outer = _lines.get()
    collected = outer if outer is not None else [] if lines is None else lines
    token = _lines.set(collected)
    try:
        yield collected
    finally:
        _lines.reset(token)


class RefstisPipeline(Pipeline, RefstisStep):
    """Base of the pipelines: one product from an association."""

    spec = """
    save_results = boolean(default=True)  # Write the product and the record beside it
    """

    product_suffix: ClassVar[str]
    exposure_role: ClassVar[str]

    @contextmanager
    def _surroundings(self):
        with making_products(), product_log() as self._log_lines, ChecksumsAhead() as self._ahead:
            yield

    @property
    def log_records(self) -> list[str]:
        """Lines of the log of the most recent run, and of no other pipeline's."""
        return getattr(self, "_log_lines", [])

    def library(self, inputs) -> ExposureLibrary:
        """Open the inputs and hand the association's reference files to the stages.

        Parameters
        ----------
        inputs : str, os.PathLike, Association, ExposureLibrary or sequence
            What the pipeline was called with.

        Returns
        -------
        ExposureLibrary
            The exposures, checked.
        """
        library = ExposureLibrary.open(inputs, self.exposure_role)
        self._association = library.association
        kinds = {"superbias": "biasfile", "basebias": "basebias", "basedark": "basedark"}
        associated = {kinds[role]: path for role, path in library.references.items()}
        for name in self.step_defs:
            getattr(self, name).associated = associated
        self._inputs = [exposure.path for exposure in library if exposure.path] + list(
            library.references.values()
        )
        if self.save_results:
            # after the inputs, the references that are found until then
            references = (one.path for one in self.references_used if one.path)
            self._ahead.begin(chain(self._inputs, references))
        # the headers just read, too, are set aside from stpipe's collection of garbage before every step
        gc.freeze()
        logger.info(
            "%s: %d exposures, %d image sets.", self.name, len(library), sum(len(e.imsets) for e in library)
        )
        return library

    @staticmethod
    def _make_output_path(step, basepath=None, ext=None, suffix=None, **components):  # noqa: ARG004 - theirs
        """Where the product goes: ``--output_file`` exactly; else the association's name; else the input's stem."""
        folder = expand_home(os.path.expandvars(step.output_dir or ""))
        if basepath or step.output_file:
            exact = Path(basepath or step.output_file)
            return str(folder / exact.name if step.output_dir else exact)
        association: Association | None = getattr(step, "_association", None)
        if association is not None and association.name:
            return str(folder / f"{association.name.removesuffix('.fits')}.fits")
        stem = (
            Path(step.default_output_file()).name.removesuffix(".gz").rsplit(".", 1)[0].removesuffix("_asn")
        )
        return str(folder / f"{stem}_{step.product_suffix}{step.output_ext}")

    def save_model(self, model, *args, **kwargs):  # noqa: ARG002 - stpipe's signature
        """Write the product; its log and its record appear with it.

        Parameters
        ----------
        model : Exposure
            The product.
        *args, **kwargs
            Not used: the name follows from the parameters.

        Returns
        -------
        str
            Where it was written.
        """
        target = Path(self.make_output_path())
        logger.info("Writing %s.", target)

        def record():
            self._ahead.wait()
            write_record(self, target, model)

        model.save(target, before_rename=record, inputs=self._inputs)
        return str(target)

    def run_each(self, names: Iterable[str], exposure: Exposure) -> Exposure:
        """Run stages one after the other.

        Parameters
        ----------
        names : iterable of str
            Names of the stages.
        exposure : Exposure
            What the first one gets.

        Returns
        -------
        Exposure
            What the last one gives.
        """
        for name in names:
            # stpipe collects garbage before every step, and goes through everything that lives in the process for it;
            # what lives after this collection is set aside, so that the next one has little to go through
            gc.collect()
            gc.freeze()
            exposure = getattr(self, name).run(exposure)
        return exposure


def write_record(
    step: RefstisStep, target: Path, product: Exposure, more: Mapping[str, Any] | None = None
) -> None:
    """Write what lies beside a product: its log, and the parameters with inputs, references and versions.

    Parameters
    ----------
    step : RefstisStep
        The pipeline or stage that made it.
    target : pathlib.Path
        Name of the product; ``.log`` and ``.asdf`` take the place of its ending.
    product : Exposure
        The product.
    more : mapping, optional
        What else the record shall hold.
    """
    tree = export_config(step)._to_tree()  # noqa: SLF001 - stpipe has no public form that takes more keys
    for one in (tree, *tree.get("steps", ())):
        # who repeats a run says where to; stpipe would write over the first product from wherever it is repeated
        one["parameters"].update(dict.fromkeys(("input_dir", "output_dir", "output_file")))
    tree["record"] = {
        "product": target.name,
        "inputs": [
            {"name": record.name, "imsets": record.imsets, "sha256": _checksum(record.path)}
            for record in product.inputs
        ],
        "references": [
            {
                "kind": reference.kind,
                "name": reference.name,
                "found": reference.how,
                "warning": reference.warning,
                "sha256": _checksum(reference.path),
            }
            for reference in step.references_used
        ],
        "versions": {**_versions(), "python": platform.python_version()},
        **(more or {}),
    }
    write_asdf(target.with_suffix(".asdf"), tree)
    with atomic_write(target.with_suffix(".log"), "w") as stream:
        stream.write("\n".join([*(_lines.get() or step.log_records), ""]))


def _checksum(path: Path | None) -> str:
    return "" if path is None else file_checksum(path)


@functools.cache
def _versions() -> dict[str, str]:
    """Versions of what makes products; the file that tells one is long, and what is installed stays as it is."""
    return {name: version(name) for name in MAKERS}
