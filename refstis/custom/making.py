"""Making the dark of one science exposure, and everything beside it."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refstis.anneal.dates import isoformat
from refstis.anneal.exposures import Exclusion, Exposure, read_exposure, select
from refstis.anneal.headers import read_headers
from refstis.anneal.policy import Policy, Profile, load_profile
from refstis.anneal.survey import anneal_table
from refstis.anneal.table import Month
from refstis.custom.choice import (
    CORRECTED,
    RAW,
    Choice,
    Dark,
    Science,
    choose_biases,
    choose_darks,
    find_month,
    read_dark,
    read_science,
    rules,
)
from refstis.datamodels.atomic import atomic_write
from refstis.datamodels.checksums import checksum_of
from refstis.errors import ConfigurationError, InputError, OutputError, ReferenceFileError, RefstisError
from refstis.functions import logging_in_full

__all__ = ["CustomDark", "make_custom_dark"]

_CARD, _BLOCK = 80, 2880
# A string of a FITS card; CALSTIS knows no longer ones.
_LONGEST_STRING = 68
_DATE = re.compile(r"(\d\d)/(\d\d)/(\d{4})")


@dataclass
class CustomDark:
    """What `make_custom_dark` made.

    Attributes
    ----------
    dark : pathlib.Path
        The superdark.
    basedark : pathlib.Path
        The baseline dark that it stands on.
    superbias : pathlib.Path or None
        What was subtracted from raw darks.
    association : pathlib.Path
        Makes the superdark again: ``strun <dark>.asdf <association>``.
    inputs : pathlib.Path
        JSON: every exposure that was used or left out, with the reason.
    page : pathlib.Path
        The comparison page.
    science : pathlib.Path or None
        Copy of the science raw whose DARKFILE is the superdark; None where there is no raw.
    recalibrated : list of pathlib.Path
        What CALSTIS made of that copy.
    choice : refstis.custom.choice.Choice
        The darks, and why they are those.
    cautions : list of str
        What somebody should look at.
    """

    dark: Path
    basedark: Path
    superbias: Path | None
    association: Path
    inputs: Path
    page: Path
    science: Path | None
    choice: Choice
    recalibrated: list[Path] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)


@dataclass
class _Found:
    """What a folder or the archive has for an exposure."""

    darks: list[Dark] = field(default_factory=list)
    biases: list[Path] = field(default_factory=list)
    excluded: list[Exclusion] = field(default_factory=list)
    where: str = ""


def make_custom_dark(
    science: str | os.PathLike,
    *,
    darks: str | os.PathLike | None = None,
    superbias: str | os.PathLike | None = None,
    basedark: str | os.PathLike | None = None,
    window: float | None = None,
    daily: bool = False,
    anneals: str | os.PathLike | None = None,
    profile: str = "heritage",
    recalibrate: bool = False,
    output: str | os.PathLike | None = None,
    progress: Callable[[str], None] | None = None,
) -> CustomDark:
    """Make a superdark for one science exposure.

    Parameters
    ----------
    science : path-like
        Its raw, flt or crj file. It is never changed.
    darks : path-like, optional
        Folder with the darks of its anneal period (raw, flt or CTI-corrected), in it or below, and with biases for
        raw ones where there is no `superbias`. The network is not used then; without a folder, MAST is asked.
    superbias : path-like, optional
        What to subtract from raw darks.
    basedark : path-like, optional
        Baseline dark of the anneal period; else it is made of all darks of the period.
    window : float, optional
        Days on either side of the exposure's start that the darks for its hot pixels come from; 3 by default.
    daily : bool
        Let hot pixels follow the darks nearest in time (stage `daily`).
    anneals : path-like, optional
        Anneal table of your own.
    profile : str
        Parameters and policy.
    recalibrate : bool
        Calibrate the copy of the science raw with CALSTIS through stistools.
    output : path-like, optional
        Folder for everything; by default ``<rootname>_custom_dark`` in the working directory.
    progress : callable, optional
        Called with a line of text when something begins.

    Returns
    -------
    CustomDark
        Paths and reasons.

    Raises
    ------
    refstis.errors.RefstisError
        Where a file or an option cannot be used; names it, and what to do.
    """
    say = progress or (lambda _: None)
    window = rules()["window"] if window is None else window
    if not 0.0 < window <= 100.0:
        raise ConfigurationError(f"--window {window:g}: a number of days above 0, up to 100, was expected")
    exposure = read_science(science)
    chosen_profile = load_profile(profile)
    policy = chosen_profile.policy
    folder = (
        Path(output).absolute() if output is not None else Path(f"{exposure.rootname}_custom_dark").absolute()
    )
    if recalibrate:
        _check_calstis()
        if exposure.raw is None and darks is not None:
            raise InputError(
                f"{exposure.name}: --recalibrate begins with the raw, and {exposure.rootname}_raw.fits is not beside it"
            )
    _check_output(folder, exposure)
    given = {
        "superbias": _given(superbias, "--superbias", "CCD BIAS IMAGE"),
        "basedark": _given(basedark, "--basedark", "DARK IMAGE"),
    }
    month, cautions = find_month(exposure, anneal_table(anneals), policy)

    if darks is not None:
        say(f"looking for darks in {darks}")
        found = _in_folder(Path(darks), exposure, month, window, policy)
    else:
        found, exposure = _in_archive(folder, exposure, month, window, given, policy, say)
    if not found.darks:
        raise InputError(_no_darks(exposure, month, found))
    choice = choose_darks(
        exposure,
        month,
        found.darks,
        policy,
        window=window,
        subtractable=given["superbias"] is not None or bool(found.biases),
        prefer_raw=given["superbias"] is not None,
    )
    choice.excluded += found.excluded
    choice.cautions = cautions + choice.cautions
    maker = _Maker(exposure, month, choice, chosen_profile, folder, given, say)
    maker.find_superbias(found, policy)
    maker.find_basedark()
    maker.make_dark(daily)
    made = maker.finish(window, daily)
    if recalibrate and made.science is not None:
        say("calibrating the science exposure")
        made.recalibrated = _recalibrate(made.science, exposure)
    say("drawing the comparison")
    from refstis.custom.page import write_page

    write_page(made, exposure, month, daily=daily)
    return made


# ---------------------------------------------------------------------------- what there is


def _given(path: str | os.PathLike | None, option: str, filetype: str) -> Path | None:
    """A reference file that was named, checked."""
    if path is None:
        return None
    path = Path(os.path.abspath(path))
    if not path.is_file():
        raise ReferenceFileError(f"{path}: no such file, given as {option}. Check the name.")
    found = str(read_headers(path).primary.get("FILETYPE") or "").strip()
    if found != filetype:
        raise ReferenceFileError(f"{path}: FILETYPE is {found or '(none)'}; {option} is a {filetype}.")
    return path


def _in_folder(folder: Path, science: Science, month: Month, window: float, policy: Policy) -> _Found:
    from refstis.retrieval import Folder, Selection

    found = _Found(where=str(folder))
    source = Folder(folder)
    # Lengths and modes are judged below, where the reason is kept for the list of inputs.
    anything = dict.fromkeys((policy.selection.dark.target, policy.selection.bias.target), (0.0, math.inf))
    begin, end = month.begin or science.begin, month.end or science.begin
    for suffix in rules()["folder_suffixes"]:
        selection = Selection(
            targets=(
                policy.selection.dark.target,
                *([policy.selection.bias.target] if suffix == "raw" else []),
            ),
            begin=min(begin, science.begin - window),
            end=max(end, science.begin + window),
            durations=anything,
            suffix=suffix,
        )
        findings = source.find(selection)
        found.excluded += [Exclusion(Path(left.name).name, left.reason) for left in findings.excluded]
        for file in findings.files:
            if file.target == policy.selection.dark.target:
                _add(found, Path(file.location), policy)
            else:
                found.biases.append(Path(file.location))
    return found


def _add(found: _Found, path: Path, policy: Policy) -> None:
    dark = read_dark(path, policy)
    if isinstance(dark, Exclusion):
        found.excluded.append(dark)
    else:
        found.darks.append(dark)


def _in_archive(
    folder: Path,
    science: Science,
    month: Month,
    window: float,
    given: Mapping[str, Path | None],
    policy: Policy,
    say: Callable[[str], None],
) -> tuple[_Found, Science]:
    """Darks of MAST: raw ones where a superbias is given, else those that the archive has calibrated."""
    from dataclasses import replace

    from refstis.retrieval import Mast, RetrievalError, Selection

    archive = Mast()
    rules_of_dark = policy.selection.dark
    suffix = "raw" if given["superbias"] is not None else "flt"
    say(f"asking MAST for the darks from {isoformat(month.begin or 0.0)} to {isoformat(month.end or 0.0)}")
    findings = archive.find(
        Selection(
            targets=(rules_of_dark.target,),
            begin=month.begin,
            end=month.end,
            amps=(policy.selection.amplifier,),
            gains=(rules_of_dark.gain,),
            binnings=(rules_of_dark.binning,),
            suffix=suffix,
        )
    )
    if given["basedark"] is not None:
        # The rest of the period is needed for a baseline only.
        findings.files.sort(key=lambda file: abs((file.start or 0.0) - science.begin))
        near = sum(abs((file.start or 0.0) - science.begin) <= window for file in findings.files)
        findings.files = findings.files[: max(near, rules()["fewest_darks"])]
    say(f"fetching {len(findings.files)} darks")
    fetched = archive.fetch(findings, folder / "darks", progress=True)
    if fetched.failed:
        first = fetched.failed[0]
        raise RetrievalError(
            f"{len(fetched.failed)} of {len(findings.files)} darks could not be fetched ({first.name}: "
            f"{first.reason}); the same command tries those again"
        )
    found = _Found(where="MAST")
    found.excluded += [
        Exclusion(Path(left.name).name, left.reason) for left in (*findings.excluded, *fetched.excluded)
    ]
    for path in fetched.paths.values():
        _add(found, path, policy)
    if science.raw is None:
        say("fetching the science raw")
        raw = archive.find(Selection(rootnames=(science.rootname,), suffix="raw"))
        paths = archive.fetch(raw, folder / "science", progress=True).paths
        science = replace(science, raw=next(iter(paths.values()), None))
    return found, science


def _no_darks(science: Science, month: Month, found: _Found) -> str:
    bounds = f"{isoformat(month.begin or 0.0)} to {isoformat(month.end or 0.0)}"
    reasons: dict[str, list[str]] = {}
    for one in found.excluded:
        reasons.setdefault(one.reason, []).append(one.name)
    left = "; ".join(
        f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {reason}"
        for reason, names in list(reasons.items())[:3]
    )
    return (
        f"{science.name}: no dark of its anneal period, {bounds}, is in {found.where}"
        f"{f' (left out: {left})' if left else ''}. "
        "Give the folder that has them with --darks, or leave --darks out to ask the archive"
        f"{'; which darks are taken, the policy of a --profile says' if left else ''}"
    )


# ---------------------------------------------------------------------------- what is made


class _Maker:
    """Superbias, baseline dark and superdark of one exposure, in this order."""

    def __init__(
        self,
        science: Science,
        month: Month,
        choice: Choice,
        profile: Profile,
        folder: Path,
        given: Mapping[str, Path | None],
        say: Callable[[str], None],
    ):
        self.science, self.month, self.choice = science, month, choice
        self.profile, self.folder, self.given, self.say = profile, folder, given, say
        self.superbias: Path | None = None
        self.superbias_reason = "the darks are bias-subtracted"
        self.biases: list[Exposure] = []
        self.basedark = Path()
        self.basedark_reason = ""
        self.dark = Path()
        self.association = Path()

    def find_superbias(self, found: _Found, policy: Policy) -> None:
        """The superbias for raw darks: the one given, or one of the biases beside them."""
        given = self.given["superbias"]
        if self.choice.state != RAW:
            if given is not None:
                self.choice.cautions.append(
                    f"{given.name} is not used: the darks are {self.choice.state} already"
                )
            return
        if given is not None:
            self.superbias, self.superbias_reason = given, "given with --superbias"
            return
        usable = []
        for path in found.biases:
            exposure = read_exposure(path)
            role = select(exposure, policy)
            if isinstance(role, Exclusion):
                self.choice.excluded.append(role)
            else:
                usable.append(exposure)
        biases, reason, excluded = choose_biases(self.science, self.month, self.choice.period, usable, policy)
        self.choice.excluded += excluded
        if not biases:
            one = self.choice.period[0]
            raise ReferenceFileError(
                f"{one.name} and the other darks in {found.where} are raw and need a superbias: name one with "
                f"--superbias FILE, or put raw biases of the same period and mode (CCDAMP {one.amplifier}, CCDGAIN "
                f"{one.gain}, CCDOFFST {one.offset}, {one.xbin}x{one.ybin}) beside them"
            )
        self.biases, self.superbias_reason = biases, reason
        self.say(f"making the superbias: {reason}")
        self.superbias = self._run(
            "RefBiasPipeline", "refbias", "refbias_bia", [(one.path, "bias") for one in biases]
        )

    def find_basedark(self) -> None:
        """The baseline dark: the one given, or one of all darks of the period."""
        given = self.given["basedark"]
        if given is not None:
            self.basedark, self.basedark_reason = given, "given with --basedark"
            primary = read_headers(given).primary
            corrected = str(primary.get("PCTECORR") or "").strip().upper() == "COMPLETE"
            if corrected != (self.choice.state == CORRECTED):
                raise ReferenceFileError(
                    f"{given}: is {'' if corrected else 'not '}corrected for CTI, and the darks are "
                    f"{self.choice.state}; these are never mixed. Leave --basedark out, or give one in the same state"
                )
            outside = self._outside_period(str(primary.get("PEDIGREE") or ""))
            if outside:
                self.choice.cautions.append(
                    f"{given.name} was made of darks of {outside}, beyond the anneal period"
                )
            return
        darks = self.choice.period
        imsets = sum(one.imsets for one in darks)
        self.basedark_reason = f"basedark of all {len(darks)} darks of the period, {imsets} image sets"
        self.say(f"making the {self.basedark_reason}")
        members = [(one.path, "dark") for one in darks]
        self.basedark = self._run(
            "BaseDarkPipeline", "basedark", "basedark", [*members, *self._bias_member()]
        )

    def make_dark(self, daily: bool) -> None:
        """The superdark of the darks within the window."""
        self.say(f"making the superdark of {len(self.choice.near)} darks: {self.choice.reason}")
        members = [(one.path, "dark") for one in self.choice.near]
        members += [*self._bias_member(), (str(self.basedark), "basedark")]
        steps = {"daily": {"moment": self.science.begin}} if daily else {}
        self.dark = self._run("WeekDarkPipeline", "weekdark", "custom_drk", members, steps)
        self.association = self.folder / f"{self.science.rootname}_custom_drk_asn.json"

    def finish(self, window: float, daily: bool) -> CustomDark:
        """The copy of the science raw and the list of inputs."""
        copy = None
        if self.science.raw is not None:
            copy = self.folder / f"{self.science.rootname}_raw.fits"
            _copy_with_darkfile(self.science.raw, copy, self.dark)
        else:
            self.choice.cautions.append(
                f"no copy of the science raw: {self.science.rootname}_raw.fits is not beside {self.science.name}"
            )
        inputs = self.folder / f"{self.science.rootname}_custom_inputs.json"
        with atomic_write(inputs, "w") as stream:
            json.dump(self._record(window, daily), stream, indent=1)
            stream.write("\n")
        return CustomDark(
            dark=self.dark,
            basedark=self.basedark,
            superbias=self.superbias,
            association=self.association,
            inputs=inputs,
            page=self.folder / f"{self.science.rootname}_custom_dark.html",
            science=copy,
            choice=self.choice,
            cautions=self.choice.cautions,
        )

    def _outside_period(self, pedigree: str) -> str:
        """Dates of a reference file that lie outside the period; empty where none do."""
        from refstis.anneal.dates import parse_date

        dates = [parse_date(f"{year}-{month}-{day}") for day, month, year in _DATE.findall(pedigree)]
        # PEDIGREE has whole days only.
        begin, end = (self.month.begin or 0.0) - 1.0, (self.month.end or 0.0) + 1.0
        if all(begin <= date <= end for date in dates):
            return ""
        return " to ".join(isoformat(date, "days") for date in dates)

    def _bias_member(self) -> list[tuple[str, str]]:
        return [] if self.superbias is None else [(str(self.superbias), "superbias")]

    def _run(
        self,
        pipeline: str,
        kind: str,
        ending: str,
        members: Sequence[tuple[str, str]],
        steps: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Path:
        """Write the association of a product and make it, as strun would."""
        from refstis import pipelines

        name = f"{self.science.rootname}_{ending}"
        association = self.folder / f"{name}_asn.json"
        entries = [{"expname": self._named(path), "exptype": role} for path, role in members]
        with atomic_write(association, "w") as stream:
            json.dump(
                {"asn_type": "None", "products": [{"name": name, "members": entries}]}, stream, indent=1
            )
            stream.write("\n")
        parameters = self.profile.parameter_file(kind)
        options = {} if parameters is None else {"config_file": str(parameters)}
        with logging_in_full():
            getattr(pipelines, pipeline).call(
                str(association),
                output_dir=str(self.folder),
                steps=dict(steps or {}),
                configure_log=False,
                **options,
            )
        return self.folder / f"{name}.fits"

    def _named(self, path: str) -> str:
        """A path as an association in the folder names it: relative where it lies in the folder."""
        try:
            return str(Path(path).relative_to(self.folder))
        except ValueError:
            return path

    def _record(self, window: float, daily: bool) -> dict[str, Any]:
        near = {one.path for one in self.choice.near}

        def entry(one: Exposure, role: str, used_for: list[str], reason: str) -> dict[str, Any]:
            begin = one.begin or 0.0
            return {
                "name": one.name,
                "path": one.path,
                "role": role,
                "used_for": used_for,
                "reason": reason,
                "begin": isoformat(begin),
                "days": round(begin - self.science.begin, 4),
                "exptime": one.exposure_time,
                "imsets": one.imsets,
                "sha256": one.checksum,
            }

        base = [] if self.given["basedark"] is not None else ["basedark"]
        darks, unused = [], []
        for one in self.choice.period:
            days = (one.begin or 0.0) - self.science.begin
            where = (
                f"{abs(days):.2f} days {'after' if days > 0 else 'before'} the exposure, in its anneal period"
            )
            if one.path in near:
                darks.append(
                    entry(one, "dark", [*base, "dark"], f"{where} and within {self.choice.window:.4g} days")
                )
            elif not base:
                unused.append(
                    Exclusion.of(
                        one, f"{where}, beyond the window; {self.basedark.name} takes the place of a baseline"
                    )
                )
            else:
                darks.append(entry(one, "dark", base, f"{where}: for the baseline only"))
        record: dict[str, Any] = {
            "science": {
                "name": self.science.name,
                "path": str(self.science.path),
                "begin": isoformat(self.science.begin),
                "mjd": self.science.begin,
                "corrected_for_cti": self.science.corrected,
            },
            "period": {
                "begin": isoformat(self.month.begin or 0.0),
                "end": isoformat(self.month.end or 0.0),
                "name": self.month.name,
            },
            "window": {
                "asked": window,
                "used": round(self.choice.window, 4),
                "reason": self.choice.reason,
            },
            "state": self.choice.state,
            "daily": daily,
            "profile": self.profile.name,
            "superbias": {
                "path": None if self.superbias is None else str(self.superbias),
                "sha256": None if self.superbias is None else checksum_of(self.superbias),
                "reason": self.superbias_reason,
            },
            "basedark": {
                "path": str(self.basedark),
                "sha256": checksum_of(self.basedark),
                "reason": self.basedark_reason,
            },
            "inputs": [
                *darks,
                *(entry(one, "bias", ["superbias"], self.superbias_reason) for one in self.biases),
            ],
            "left_out": sorted(
                ({"name": one.name, "reason": one.reason} for one in (*self.choice.excluded, *unused)),
                key=lambda one: (one["name"], one["reason"]),
            ),
            "cautions": self.choice.cautions,
        }
        return record


# ---------------------------------------------------------------------------- the science exposure


def _check_output(folder: Path, science: Science) -> None:
    """Refuse to write where the science exposure or somebody else's file lies."""
    copy = folder / f"{science.rootname}_raw.fits"
    if not copy.exists():
        return
    if science.raw is not None and copy.samefile(science.raw):
        raise OutputError(
            f"{copy}: is the science exposure, and its copy would replace it. Name another folder with -o."
        )
    try:
        darkfile = str(read_headers(copy).primary.get("DARKFILE") or "")
    except RefstisError:
        darkfile = ""
    if not darkfile.endswith(f"{science.rootname}_custom_drk.fits"):
        raise OutputError(
            f"{copy}: exists and is no copy that points to a custom dark, so it is not written over. Name another "
            "folder with -o."
        )


def _copy_with_darkfile(raw: Path, copy: Path, dark: Path) -> None:
    """Copy a raw and change one card of its primary header: DARKFILE."""
    name = str(dark) if len(str(dark).replace("'", "''")) <= _LONGEST_STRING else dark.name
    try:
        content = raw.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise InputError(f"{raw}: cannot be read ({error}); retrieve it again") from None
    with atomic_write(copy, inputs=[raw]) as stream:
        stream.write(_with_card(content, "DARKFILE", name))


def _with_card(content: bytes, keyword: str, value: str) -> bytes:
    """The bytes of a FITS file with another string value of a keyword of its primary header."""
    text = "'" + value.replace("'", "''").ljust(8) + "'"
    for position in range(0, len(content), _CARD):
        card = content[position : position + _CARD]
        if card.startswith(f"{keyword:<8}=".encode()):
            old = card.decode("latin-1")
            comment = re.sub(r"^.{8}= *(?:'(?:[^']|'')*'|[^/]*)", "", old).strip()
            new = f"{keyword:<8}= {text:<20} {comment}".rstrip().ljust(_CARD)[:_CARD]
            return content[:position] + new.encode("latin-1") + content[position + _CARD :]
        if card.rstrip() == b"END":
            new_cards = f"{keyword:<8}= {text:<20}".ljust(_CARD).encode("latin-1") + b"END".ljust(_CARD)
            begin_of_data = -(-(position + _CARD) // _BLOCK) * _BLOCK
            header = content[:position] + new_cards
            return header.ljust(-(-len(header) // _BLOCK) * _BLOCK) + content[begin_of_data:]
    raise InputError("the science raw has no end of its primary header; retrieve it again")


def _check_calstis() -> None:
    """One clear error where CALSTIS or stistools is not there."""
    from importlib.util import find_spec

    missing = []
    if find_spec("stistools") is None:
        missing.append("the package stistools is not installed")
    if shutil.which("cs0.e") is None:
        missing.append("CALSTIS (the program cs0.e of HSTCAL) is not on the PATH")
    if missing:
        raise ConfigurationError(
            f"--recalibrate: {' and '.join(missing)}. Install them (conda install -c conda-forge hstcal stistools), or "
            "leave --recalibrate out and calibrate the copy elsewhere"
        )


def _recalibrate(copy: Path, science: Science) -> list[Path]:
    """Run CALSTIS on the copy, in its folder."""
    import warnings

    with warnings.catch_warnings():
        # What stistools imports warns about itself.
        warnings.simplefilter("ignore")
        from stistools.calstis import calstis

    folder = copy.parent / "recalibrated"
    folder.mkdir(exist_ok=True)
    for old in folder.glob(f"{science.rootname}_*"):
        # CALSTIS does not write over anything.
        old.unlink()
    log = folder / f"{science.rootname}_calstis.log"
    beside = (science.raw or science.path).parent / f"{science.rootname}_wav.fits"
    wavecal = str(beside) if beside.is_file() else ""
    # From within the folder: stistools splits names at blanks, and CALSTIS takes a DARKFILE without folder from here.
    with chdir(copy.parent):
        status = calstis(copy.name, wavecal=wavecal, outroot=f"{folder.name}/", trailer=str(log))
    made = sorted(path for path in folder.glob(f"{science.rootname}_*.fits"))
    if status or not made:
        last = log.read_text(errors="replace").strip().splitlines()[-3:] if log.is_file() else []
        raise OutputError(
            f"{copy}: CALSTIS failed (status {status}); the superdark is made, and {log} tells more"
            f"{': ' + ' / '.join(last) if last else ''}"
        )
    return made
