"""The policy of an anneal month, read from ``config/policy.yaml`` and a profile on top of it."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from refstis.anneal.dates import parse_date
from refstis.datamodels import config_path
from refstis.errors import ConfigurationError

__all__ = ["Policy", "Profile", "load_policy", "load_profile"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class ExposureTimes(_Strict):
    """A window of exposure times that darks of some years have."""

    from_: date | None = Field(default=None, alias="from")
    until: date | None = None
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[float, ...] = ()
    tolerance: float = 0.0

    @model_validator(mode="after")
    def _check(self):
        if not self.values and (self.minimum is None or self.maximum is None):
            raise ValueError("needs 'values', or 'minimum' and 'maximum'")
        return self

    def covers(self, mjd: float) -> bool:
        """Whether this window applies to an exposure that began at `mjd`."""
        return (self.from_ is None or mjd >= parse_date(self.from_)) and (
            self.until is None or mjd < parse_date(self.until)
        )

    def accepts(self, seconds: float) -> bool:
        """Whether an exposure of this length is in the window."""
        if self.minimum is not None and self.maximum is not None and self.minimum <= seconds <= self.maximum:
            return True
        return any(abs(seconds - value) <= self.tolerance for value in self.values)

    def __str__(self) -> str:
        if self.values:
            return ", ".join(f"{value:g}" for value in self.values) + " s"
        return f"{self.minimum:g} to {self.maximum:g} s"


class BiasSelection(_Strict):
    """Which exposures are biases."""

    target: str
    exposure_time_below: float


class DarkSelection(_Strict):
    """Which exposures are darks."""

    target: str
    gain: int
    binning: tuple[int, int]
    exposure_times: tuple[ExposureTimes, ...]


class Selection(_Strict):
    """Which exposures a month is made of."""

    amplifier: str
    bias: BiasSelection
    dark: DarkSelection


class SuperbiasMode(_Strict):
    """How superbiases of one gain and binning are made."""

    gain: int
    xbin: int
    ybin: int
    refbias_from: int
    division: Literal["WK", "BIWK"]


class Deviation(_Strict):
    """When a statistic of an exposure deviates from its group's."""

    sigma: float
    least: float
    action: Literal["caution", "exclude"]


class Saturation(_Strict):
    """When an exposure is saturated."""

    fraction: float
    action: Literal["caution", "exclude"]


class Screening(_Strict):
    """How exposures are compared with the rest of their group."""

    smallest_group: int
    level: Deviation
    rms: Deviation
    saturated: Saturation


class Policy(_Strict):
    """The whole policy; ``config/policy.yaml`` explains each key."""

    selection: Selection
    grouping: tuple[Literal["CCDAMP", "CCDGAIN", "CCDOFFST", "BINAXIS1", "BINAXIS2", "side", "size"], ...]
    side2_begin: float
    superbias: tuple[SuperbiasMode, ...]
    sublists_above: int = Field(ge=2)
    minimum_imsets: int = Field(ge=2)
    useafter: Literal["data", "period", "anneal"]
    days_outside_table: float = Field(gt=0)
    screening: Screening

    def superbias_mode(self, gain: int, xbin: int, ybin: int) -> SuperbiasMode | None:
        """The row for a mode; None where superbiases of that mode are not made."""
        for mode in self.superbias:
            if (mode.gain, mode.xbin, mode.ybin) == (gain, xbin, ybin):
                return mode
        return None


class Profile:
    """A named set of parameters and policy.

    Parameters
    ----------
    name : str
        What it is called.
    folders : sequence of pathlib.Path
        Where its own ``<pipeline>.asdf`` parameter files lie; what is in a later folder counts.
    policy : Policy
        The policy with the profile's own on top.
    """

    def __init__(self, name: str, folders: Sequence[Path], policy: Policy):
        self.name = name
        self.folders = tuple(folders)
        self.policy = policy
        self._parameters: dict[str, dict] = {}

    def parameter_file(self, pipeline: str) -> Path | None:
        """The ASDF parameter file for a pipeline (``weekdark``, ...): the profile's own, else the shipped one."""
        paths = (folder / f"{pipeline}.asdf" for folder in (*reversed(self.folders), config_path()))
        return next((path for path in paths if path.is_file()), None)

    def parameters(self, pipeline: str) -> dict:
        """Parameters of a pipeline and its steps as in the profile's file.

        Parameters
        ----------
        pipeline : str
            ``basebias``, ``refbias``, ``weekbias``, ``basedark`` or ``weekdark``.

        Returns
        -------
        dict
            ``{"parameters": ..., "steps": ...}``; empty where there is no file for it.

        Raises
        ------
        refstis.errors.ConfigurationError
            Where the file cannot be read.
        """
        if pipeline not in self._parameters:
            path = self.parameter_file(pipeline)
            self._parameters[pipeline] = _read_parameters(path) if path else {}
        return self._parameters[pipeline]


def _read_parameters(path: Path) -> dict:
    from refstis.datamodels.damage import read_asdf

    try:
        tree = read_asdf(path)
        tree = {key: _plain(tree[key]) for key in ("parameters", "steps") if key in tree}
        mappings = [
            tree.get("parameters", {}),
            *(step.get("parameters", {}) for step in tree.get("steps", [])),
        ]
        names = [step["name"] for step in tree.get("steps", [])]
    except (OSError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{path}: is no ASDF parameter file: {' '.join(str(error).split())}"
        ) from None
    if not all(isinstance(one, Mapping) for one in mappings) or not all(
        isinstance(one, str) for one in names
    ):
        raise ConfigurationError(
            f"{path}: 'parameters' has to be a mapping, and 'steps' a list of entries with name and parameters"
        )
    return tree


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str | date):
        return str(value) if isinstance(value, date) else value
    raise ValueError(f"a parameter cannot be a {type(value).__name__}")


def load_policy(*paths: Path) -> Policy:
    """Read the shipped policy, with others' keys on top.

    Parameters
    ----------
    *paths : pathlib.Path
        YAML files with the keys that differ, the last one winning.

    Returns
    -------
    Policy
        Validated.

    Raises
    ------
    refstis.errors.ConfigurationError
        Naming the file and the key that is wrong.
    """
    from refstis.datamodels.damage import parse_yaml

    merged: dict = {}
    for path in (config_path("policy.yaml"), *paths):
        try:
            content = parse_yaml(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"{path}: cannot be read as YAML: {' '.join(str(error).split())}"
            ) from None
        if content is None:
            content = {}
        if not isinstance(content, Mapping):
            raise ConfigurationError(
                f"{path}: a mapping of policy keys was expected, as in config/policy.yaml"
            )
        merged = _merge(merged, content)
    try:
        return Policy.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "policy"
        raise ConfigurationError(f"{path}: {key}: {first['msg']} (found {first['input']!r:.60})") from None


def _merge(under: Mapping, over: Mapping) -> dict:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def load_profile(name: str = "heritage") -> Profile:
    """Find a profile.

    Parameters
    ----------
    name : str
        ``heritage`` for the shipped defaults, a folder below the shipped configuration such as ``improved``, or
        the path of a folder of one's own. The folder may hold ASDF parameter files by pipeline and a
        ``policy.yaml``. Several, with commas between them, are taken one on top of the other, the last one winning:
        ``demo,improved``.

    Returns
    -------
    Profile
        Parameters and policy.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where there is no such profile.
    """
    parts = [name] if Path(name).is_dir() else name.split(",")
    folders = [_profile_folder(part.strip()) for part in parts]
    policies = [folder / "policy.yaml" for folder in folders if folder != config_path()]
    return Profile(name, folders, load_policy(*(path for path in policies if path.is_file())))


def _profile_folder(name: str) -> Path:
    """Where a profile lies: that of heritage are the shipped defaults themselves."""
    if name == "heritage":
        return config_path()
    # Not every folder of the configuration is a profile.
    names = sorted(
        {path.parent.name for kind in ("asdf", "yaml") for path in config_path().glob(f"*/*.{kind}")}
    )
    folder = config_path(name) if name in names else Path(name)
    if not name or not folder.is_dir():
        raise ConfigurationError(
            f"there is no profile {name!r}: expected heritage{''.join(f', {known}' for known in names)} or a folder"
        )
    return folder.absolute()
