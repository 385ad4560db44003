"""What every refstis Step and Pipeline has in common, and how stpipe is kept to it."""

from __future__ import annotations

import functools
import logging
import math
import os
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

from stpipe import Step
from stpipe.config_parser import get_merged_spec_file, load_spec_file

from refstis.datamodels.configuration import expand_home
from refstis.datamodels.exposure import Exposure
from refstis.datamodels.references import Reference, find_reference
from refstis.garbage import set_aside

__all__ = ["RefstisStep"]

logger = logging.getLogger(__name__)

# Parameters of steps, by class and values, as stpipe gives them; and how many are remembered.
_known_parameters: dict[tuple[type, bool, str], dict] = {}
MOST_KNOWN = 256


class RefstisStep(Step):
    """Base of the stages: offline by default, never changes its input, one rule for output names."""

    spec = """
    output_ext = string(default='.fits')   # Extension of output files
    crds       = boolean(default=False)    # Ask CRDS for reference files that are not at hand
    """

    # HST has no parameter reference files, and CRDS ends the process where it finds neither server nor cache
    prefetch_references = False
    reference_file_types: ClassVar[list[str]] = []
    _log_records_formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s")

    @staticmethod
    def get_stpipe_loggers():
        """Names of the loggers that stpipe configures.

        Returns
        -------
        tuple of str
            Ours, stpipe's, and Python's warnings.
        """
        return ("refstis", "stpipe", "py.warnings")

    def run(self, *args):
        """Run the step.

        Parameters
        ----------
        *args
            What `process` takes.

        Returns
        -------
        object
            What `process` gives.
        """
        with self._surroundings():
            return super().run(*args)

    def _surroundings(self) -> AbstractContextManager[None]:
        """What there is while the step runs."""
        return set_aside() if self.parent is None else nullcontext()

    @classmethod
    def get_config_from_reference(cls, dataset, disable=None, crds_observatory=None):  # noqa: ARG003 - theirs
        """Parameters from CRDS: none, as CRDS holds none for HST.

        Parameters
        ----------
        dataset : object
            Not looked at.
        disable : bool, optional
            Not looked at.
        crds_observatory : str, optional
            Not looked at.

        Returns
        -------
        configobj.ConfigObj
            The empty configuration.
        """
        return cls._empty_config()

    @classmethod
    @functools.cache
    def load_spec_file(cls, **kwargs):
        """Specification of the parameters, parsed once: stpipe asks for it several times for each product.

        Parameters
        ----------
        **kwargs
            What stpipe's own takes.

        Returns
        -------
        configobj.ConfigObj
            The specification, which nobody changes.
        """
        return super().load_spec_file(**kwargs)

    @classmethod
    def _get_crds_parameters(cls, dataset):  # noqa: ARG003 - stpipe's signature
        return {}, Exposure.crds_observatory

    @classmethod
    def _datamodels_open(cls, init, **kwargs):  # noqa: ARG003 - stpipe's signature
        return init if isinstance(init, Exposure) else Exposure.open(init)

    def open(self, source: str | os.PathLike | Exposure) -> Exposure:
        """Open an exposure.

        Parameters
        ----------
        source : str, os.PathLike or Exposure
            A file, or an exposure that is open already.

        Returns
        -------
        Exposure
            The exposure.
        """
        return self.open_model(os.fspath(source) if isinstance(source, os.PathLike) else source)

    def get_reference(self, exposure: Exposure, kind: str) -> Reference:
        """Find a reference file, say where it came from and remember it.

        Parameters
        ----------
        exposure : Exposure
            The exposure that is calibrated.
        kind : str
            Keyword of the reference in lower case, such as "ccdtab".

        Returns
        -------
        Reference
            The file.
        """
        override = getattr(self, f"override_{kind}", None)
        associated = getattr(self, "associated", {}).get(kind)
        reference = find_reference(kind, exposure, override, associated, crds=self.crds)
        if reference not in self.root.references_used:
            self.root.references_used.append(reference)
            if reference.warning:
                logger.warning("%s: %s", exposure.name, reference.warning)
            else:
                logger.info("%s: %s is %s (%s).", exposure.name, kind.upper(), reference.name, reference.how)
        return reference

    @property
    def root(self) -> RefstisStep:
        """The outermost step of this run: it collects what its stages used."""
        return self if self.parent is None else self.parent.root

    @property
    def references_used(self) -> list[Reference]:
        """Reference files that this run used so far."""
        if not hasattr(self, "_references"):
            self._references: list[Reference] = []
        return self._references

    def get_pars(self, full_spec=True):
        """Parameters of the step, overrides of reference files included.

        Parameters
        ----------
        full_spec : bool
            Whether to include those of the base classes.

        Returns
        -------
        dict
            Values by name.
        """
        overrides = {
            f"override_{kind}": getattr(self, f"override_{kind}", None) for kind in self.reference_file_types
        }
        # stpipe parses the specification and checks all values against it, several times for each product
        names = _parameter_names(type(self), full_spec)  # type: ignore[arg-type]  # a class can be hashed
        state = type(self), full_spec, repr([getattr(self, name, None) for name in names])
        if state not in _known_parameters:
            while len(_known_parameters) >= MOST_KNOWN:
                _known_parameters.pop(next(iter(_known_parameters)), None)
            _known_parameters[state] = super().get_pars(full_spec=full_spec)
        parameters = {
            key: list(value) if isinstance(value, list) else value
            for key, value in _known_parameters[state].items()
        }
        # hooks may be given as classes or instances; a file of parameters holds their names
        hooks = {key: [_hook_name(hook) for hook in parameters[key]] for key in HOOKS if key in parameters}
        return {**parameters, **hooks, **{k: v for k, v in overrides.items() if v is not None}}

    def default_suffix(self):
        """What the stage adds to the name of its output.

        Returns
        -------
        str
            The name of the stage.
        """
        return self.class_alias or self.name.lower()

    @staticmethod
    def remove_suffix(name):
        """Cut the processing stage off a file name.

        Parameters
        ----------
        name : str
            File name without extension.

        Returns
        -------
        tuple of str
            The root, and the separator that stood behind it.
        """
        root, separator, suffix = name.rpartition("_")
        return (root, separator) if suffix in KNOWN_SUFFIXES else (name, "_")

    @staticmethod
    def _make_output_path(step, basepath=None, ext=None, suffix=None, **components):
        """Where the result goes: ``--output_file`` exactly; else the input's root with the stage's name."""
        folder = expand_home(os.path.expandvars(step.search_attr("output_dir") or ""))
        exact = basepath or step.output_file
        if exact:
            exact = Path(exact)
            return str(folder / exact.name if step.search_attr("output_dir") else exact)
        root, separator = step.remove_suffix(
            Path(step.default_output_file()).name.removesuffix(".gz").rsplit(".", 1)[0]
        )
        words = [
            root + separator + (suffix or step.suffix or step.name),
            *(str(v) for v in components.values() if v is not None),
        ]
        return str(folder / ("_".join(words) + (ext or step.output_ext)))


@functools.cache
def _parameter_names(step_class, full_spec):
    """Names of the parameters of a class, with or without those of its bases."""
    return tuple((get_merged_spec_file if full_spec else load_spec_file)(step_class) or ())


def _hook_name(hook):
    """What stpipe imports a hook by: the name of its class, with the parameters that an instance was given."""
    if isinstance(hook, Step):
        # a run sets the suffix
        defaults = {**type(hook)().get_pars(), "suffix": hook.suffix}
        given = [
            f"{key}={_literal(value)}" for key, value in hook.get_pars().items() if value != defaults.get(key)
        ]
        return f"{_hook_name(type(hook))}({', '.join(given)})"
    return f"{hook.__module__}.{hook.__qualname__}" if isinstance(hook, type) else hook


def _literal(value):
    """A value as Python writes it, but numbers without a point: stpipe takes that for one between modules."""
    if not isinstance(value, float) or not math.isfinite(value):
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    return f"{'-' * sign}{''.join(map(str, digits))}e{exponent}"


HOOKS = ("pre_hooks", "post_hooks")
KNOWN_SUFFIXES = frozenset(
    ["raw", "flt", "flc", "crj", "blv", "tmp", "dqicorr", "blevcorr", "biascorr", "darkcorr", "tempcorr", "crcorr",
     "normalize", "statflag", "clean_overscan", "blend_superbias", "flag_defects",
     "average", "replace_hot_columns", "replace_hot_pixels", "flag_hot_bias",
     "add_hot_columns", "flag_hot_dark", "fit_rates", "blend_baseline", "flag_hot_rates",
     "superdark", "reference_header", "refaver"]
)  # fmt: skip
