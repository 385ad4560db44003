"""What the pipelines have in common: opening their inputs, naming the product, and the record beside it."""

from __future__ import annotations

import functools
import gc
import hashlib
import logging
import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import asdf
from stpipe import Pipeline
from stpipe._config import export_config

from refstis.datamodels.association import Association, ExposureLibrary
from refstis.datamodels.atomic import atomic_write
from refstis.datamodels.exposure import Exposure
from refstis.stages.base import RefstisStep

__all__ = ["RefstisPipeline", "file_checksum"]

logger = logging.getLogger(__name__)

# What made a product: its sidecar tells their versions.
MAKERS = ("refstis", "stpipe", "numpy", "scipy", "numba", "astropy")


class RefstisPipeline(Pipeline, RefstisStep):
    """Base of the pipelines: one product from an association."""

    spec = """
    save_results = boolean(default=True)  # Write the product and the record beside it
    """

    product_suffix: ClassVar[str]
    exposure_role: ClassVar[str]

    def run(self, *args):
        """Run the pipeline.

        Parameters
        ----------
        *args
            What `process` takes.

        Returns
        -------
        Exposure
            The product.
        """
        # stpipe collects garbage before every step; what the imports left is set aside, so that this costs nothing
        gc.freeze()
        try:
            return super().run(*args)
        finally:
            gc.unfreeze()

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
        # the headers just read, too, are set aside from stpipe's collection of garbage before every step
        gc.freeze()
        logger.info(
            "%s: %d exposures, %d image sets.", self.name, len(library), sum(len(e.imsets) for e in library)
        )
        return library

    @staticmethod
    def _make_output_path(step, basepath=None, ext=None, suffix=None, **components):  # noqa: ARG004 - theirs
        """Where the product goes: ``--output_file`` exactly; else the association's name; else the input's stem."""
        folder = Path(os.path.expandvars(step.output_dir or "")).expanduser()
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
        model.save(target, before_rename=lambda: self._write_record(target, model), inputs=self._inputs)
        return str(target)

    def _write_record(self, target: Path, product: Exposure) -> None:
        """Beside the product: the log of the run, and the parameters with inputs, references and versions."""
        tree = export_config(self)._to_tree()  # noqa: SLF001 - stpipe has no public form of it that takes more keys
        tree["record"] = {
            "product": target.name,
            "inputs": [
                {"name": record.name, "imsets": record.imsets, "sha256": file_checksum(record.path)}
                for record in product.inputs
            ],
            "references": [
                {
                    "kind": reference.kind,
                    "name": reference.name,
                    "found": reference.how,
                    "warning": reference.warning,
                    "sha256": file_checksum(reference.path),
                }
                for reference in self.references_used
            ],
            "versions": {**{name: version(name) for name in MAKERS}, "python": platform.python_version()},
        }
        with atomic_write(target.with_suffix(".asdf")) as stream:
            asdf.AsdfFile(tree).write_to(stream)
        with atomic_write(target.with_suffix(".log"), "w") as stream:
            stream.write("\n".join([*self.log_records, ""]))

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
            exposure = getattr(self, name).run(exposure)
        return exposure


def file_checksum(path: Path | None) -> str:
    """SHA-256 of a file.

    Parameters
    ----------
    path : pathlib.Path or None
        The file.

    Returns
    -------
    str
        64 hexadecimal digits; empty where there is no file.
    """
    if path is None:
        return ""
    status = Path(path).stat()
    return _checksum(Path(path), status.st_mtime_ns, status.st_size, status.st_ino)


@functools.lru_cache(maxsize=4096)
def _checksum(path, _modified, _size, _inode):
    """Read a file, once for each state of it: in a month every bias goes into two products."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
