"""Limits of the checks: what they are, and which hold for a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from refstis.datamodels import config_path
from refstis.datamodels.damage import parse_yaml
from refstis.errors import ConfigurationError

__all__ = ["Bounds", "Limits", "Rule", "load_limits"]

Range = tuple[float | None, float | None]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Bounds(_Strict):
    """Limits of one figure.

    Attributes
    ----------
    caution, fail : tuple or None
        Smallest and largest value that gives no CAUTION, or no FAIL; None leaves a side open.
    """

    caution: Range | None = None
    fail: Range | None = None


class Condition(_Strict):
    """Files that a rule holds for.

    Attributes
    ----------
    filetype : str or None
        ``bias`` or ``dark``.
    gain : int or None
        CCDGAIN of the inputs.
    binning : tuple of int or None
        BINAXIS1 and BINAXIS2.
    baseline : bool or None
        Whether the file is a month's baseline.
    from_, until : datetime.date or None
        First day of the inputs.
    """

    filetype: Literal["bias", "dark"] | None = None
    gain: int | None = None
    binning: tuple[int, int] | None = None
    baseline: bool | None = None
    from_: date | None = Field(default=None, alias="from")
    until: date | None = None


class Rule(_Strict):
    """Limits for some files.

    Attributes
    ----------
    condition : Condition
        Which files.
    limits : dict
        Bounds by figure.
    """

    condition: Condition = Field(default=Condition(), alias="for")
    limits: dict[str, Bounds]


class Limits(_Strict):
    """The contents of ``limits.yaml``.

    Attributes
    ----------
    useafter : str
        What USEAFTER is: ``data``, ``period`` or ``anneal``.
    longest_period : float
        Longest time from the first to the last input (days).
    keywords, keywords_dark : list of str
        Keywords that every file, or every dark, has.
    values, values_bias, values_dark : dict
        Value, or list of values, by keyword.
    figures : dict
        Text and unit of each figure.
    rules : list of Rule
        In the order in which they are applied.
    """

    useafter: Literal["data", "period", "anneal"]
    longest_period: float
    keywords: list[str]
    keywords_dark: list[str]
    values: dict[str, Any]
    values_bias: dict[str, Any]
    values_dark: dict[str, Any]
    figures: dict[str, tuple[str, str]]
    rules: list[Rule]

    def bounds(
        self,
        filetype: str,
        gain: int | None,
        binning: tuple[int | None, int | None],
        begin: datetime | None,
        baseline: bool = False,
    ) -> dict[str, Bounds]:
        """Bounds that hold for a file.

        Parameters
        ----------
        filetype : str
            ``bias`` or ``dark``.
        gain : int or None
            CCDGAIN of the inputs.
        binning : tuple
            BINAXIS1 and BINAXIS2.
        begin : datetime.datetime or None
            First day of the inputs; without it no rule with dates holds.
        baseline : bool
            Whether the file is a month's baseline.

        Returns
        -------
        dict
            Bounds by figure.
        """
        found: dict[str, Bounds] = {}
        for rule in self.rules:
            wanted = rule.condition
            dates = wanted.from_ is not None or wanted.until is not None
            day = begin.date() if begin else None
            if (
                wanted.filetype in (None, filetype)
                and wanted.gain in (None, gain)
                and wanted.binning in (None, binning)
                and wanted.baseline in (None, baseline)
                and not (dates and day is None)
                and (wanted.from_ is None or day is None or day >= wanted.from_)
                and (wanted.until is None or day is None or day < wanted.until)
            ):
                found |= rule.limits
        return found

    def unit(self, figure: str, filetype: str) -> str:
        """Unit of a figure.

        Parameters
        ----------
        figure : str
            Its name.
        filetype : str
            ``bias`` or ``dark``.

        Returns
        -------
        str
            ``DN``, ``e-/s`` or empty.
        """
        unit = self.figures.get(figure, ("", ""))[1]
        if unit != "unit":
            return unit
        if figure == "tilt_change" and filetype == "dark":
            return ""
        return "e-/s" if filetype == "dark" else "DN"

    def about(self, figure: str) -> str:
        """What a figure is.

        Parameters
        ----------
        figure : str
            Its name.

        Returns
        -------
        str
            Its explanation; the name where there is none.
        """
        return self.figures.get(figure, (figure.replace("_", " "), ""))[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror or error}). Check --limits."
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: no valid YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(content, Mapping):
        raise ConfigurationError(
            f"{path}: no limits in it; expected at least a list of rules (see limits.yaml)."
        )
    return dict(content)


def load_limits(path: str | os.PathLike | None = None) -> Limits:
    """The shipped limits, with those of a file on top.

    Parameters
    ----------
    path : str or os.PathLike, optional
        YAML file with what differs from the shipped limits.

    Returns
    -------
    Limits
        All of them.

    Raises
    ------
    ConfigurationError
        Where the file is missing or wrong; names the key.
    """
    content = _read(config_path("limits.yaml"))
    source = config_path("limits.yaml")
    if path is not None:
        source = Path(path)
        own = _read(source)
        rules = own.pop("rules", [])
        if not isinstance(rules, list):
            raise ConfigurationError(f"{source}: rules: expected a list.")
        for key in ("figures", "values", "values_bias", "values_dark"):
            if isinstance(own.get(key), Mapping):
                own[key] = {**content[key], **own[key]}
        content = {**content, **own, "rules": [*content["rules"], *rules]}
    try:
        limits = Limits.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"{source}: {where}: {first['msg']}. See limits.yaml for the form."
        ) from None
    unknown = sorted({name for rule in limits.rules for name in rule.limits} - set(limits.figures))
    if unknown:
        raise ConfigurationError(
            f"{source}: no such figure: {', '.join(unknown)}. Known: {', '.join(limits.figures)}."
        )
    return limits
