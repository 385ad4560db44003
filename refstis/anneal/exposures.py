"""Exposures as the ledger remembers them: what their headers say, and whether a month can use them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from refstis.anneal.headers import Headers, HeaderUnit, open_fits, read_headers
from refstis.anneal.policy import Policy
from refstis.datamodels.blocks import LONGEST_SIDE
from refstis.datamodels.checksums import file_checksum
from refstis.datamodels.folders import walk_folders
from refstis.errors import ConfigurationError, InputError

__all__ = [
    "Exclusion", "Exposure", "Signature", "find_raws", "read_exposure", "remove_duplicates",
    "rootname_of", "screen_group", "select", "signature_of",
]  # fmt: skip

# Header keywords that name reference files which change the pixels of a superbias or superdark.
REFERENCE_KEYWORDS = ("CCDTAB", "BPIXTAB", "CRREJTAB")
_SAMPLED_ROWS = 64
# Bytes of the longest numbers in FITS.
_LONGEST_NUMBER = 8
# DN; saturation of amp D at gain 1 in the CCDTAB (32400 at gain 4).
_SATURATED = 32000.0


@dataclass(frozen=True)
class Signature:
    """What the file system says of a file: as long as it stays, the file need not be read again.

    Attributes
    ----------
    size : int
        In bytes.
    mtime_ns, ctime_ns : int
        When content and when anything was last changed, ns.
    inode : str
        Number of the file in its file system.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: str


@dataclass(frozen=True)
class Exposure:
    """What is remembered of one raw file.

    Attributes
    ----------
    path : str
        Absolute; empty where only the ledger knows the exposure.
    checksum : str
        sha256 of the file's bytes.
    rootname : str
        ROOTNAME, else the file name up to its last underscore; lower case.
    fault : str
        What is wrong with the file; empty where it is sound.
    proposal, visit, instrument, detector, target, filetype, obsmode, amplifier : str
        PROPOSID, OBSET_ID, INSTRUME, DETECTOR, TARGNAME, FILETYPE, OBSMODE, CCDAMP.
    gain, offset, xbin, ybin : int or None
        CCDGAIN, CCDOFFST, BINAXIS1, BINAXIS2.
    subarray : bool
        SUBARRAY.
    size : tuple of int
        NAXIS1 and NAXIS2 of the images; (0, 0) where there is none.
    begin, end : float or None
        EXPSTART of the first imset and EXPEND of the last, MJD.
    exposure_time : float or None
        TEXPTIME, s.
    exposure_times : tuple of float
        EXPTIME of each imset, s.
    imsets : int
        Number of SCI extensions.
    flags : tuple of str
        What EXPFLAG and IMSET_OK say of imsets that are not as they should be.
    made : str
        DATE of the file: when the archive wrote it.
    references : dict
        Header values of the reference file keywords.
    level, rms, saturated : tuple of float
        Of each imset, from some of its rows: bias level (DN; MEANBLEV where it is set, else the median of the
        leading overscan), robust rms of the image (DN), and part of the image at or above 32000 DN.
    """

    path: str
    checksum: str
    rootname: str
    fault: str = ""
    proposal: str = ""
    visit: str = ""
    instrument: str = ""
    detector: str = ""
    target: str = ""
    filetype: str = ""
    obsmode: str = ""
    amplifier: str = ""
    gain: int | None = None
    offset: int | None = None
    xbin: int | None = None
    ybin: int | None = None
    subarray: bool = False
    size: tuple[int, int] = (0, 0)
    begin: float | None = None
    end: float | None = None
    exposure_time: float | None = None
    exposure_times: tuple[float, ...] = ()
    imsets: int = 0
    flags: tuple[str, ...] = ()
    made: str = ""
    references: dict[str, str] = field(default_factory=dict)
    level: tuple[float, ...] = ()
    rms: tuple[float, ...] = ()
    saturated: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """File name, or the rootname where no file is known."""
        return self.path.rpartition("/")[2] or self.rootname

    @property
    def order(self) -> tuple:
        """Sort key: EXPSTART, then rootname."""
        return (self.begin if self.begin is not None else float("inf"), self.rootname, self.path)

    def side(self, policy: Policy) -> int:
        """Electronics side, by date."""
        return 2 if self.begin is not None and self.begin > policy.side2_begin else 1

    def facts(self) -> dict[str, Any]:
        """Everything but path and checksum, as JSON can hold it."""
        facts = asdict(self)
        del facts["path"], facts["checksum"]
        return facts

    @classmethod
    def from_facts(cls, path: str, checksum: str, facts: dict[str, Any]) -> "Exposure":
        """The inverse of `facts`."""
        kept: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()
        }
        return cls(path=path, checksum=checksum, **kept)


@dataclass(frozen=True)
class Exclusion:
    """An exposure that is left out, and why.

    Attributes
    ----------
    name : str
        File name.
    reason : str
        What is wrong and what was expected.
    fault : bool
        Whether somebody should do something about it (a broken or flagged file), as against an exposure that is
        simply not what this month is made of.
    path, rootname, target : str
        As far as they are known.
    begin : float or None
        MJD.
    """

    name: str
    reason: str
    fault: bool = False
    path: str = ""
    rootname: str = ""
    target: str = ""
    begin: float | None = None

    @classmethod
    def of(cls, exposure: Exposure, reason: str, fault: bool = False) -> "Exclusion":
        """Exclude an exposure."""
        return cls(
            exposure.name, reason, fault, exposure.path, exposure.rootname, exposure.target, exposure.begin
        )

    def __str__(self) -> str:
        return f"{self.name} left out: {self.reason}"


def find_raws(folder: str | os.PathLike) -> list[str]:
    """Raw exposures in a folder and all folders below it.

    Parameters
    ----------
    folder : path-like
        Symbolic links to folders are followed, each folder being visited once.

    Returns
    -------
    list of str
        Absolute paths of ``*_raw.fits`` and ``*_raw.fits.gz``, sorted.

    Raises
    ------
    refstis.errors.ConfigurationError
        Where there is no such folder.
    refstis.errors.InputError
        Where a folder cannot be listed: what lies in it would be missed without a word.
    """
    root = os.path.abspath(folder)
    if not Path(root).is_dir():
        raise ConfigurationError(f"{folder}: is not a folder; a folder with raw exposures was expected")
    return sorted(
        str(Path(directory, name))
        for directory, names in walk_folders(root)
        for name in names
        if name.endswith(("_raw.fits", "_raw.fits.gz")) and not name.startswith(".")
    )


def signature_of(path: str | os.PathLike) -> Signature:
    """What the file system says of a file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Signature
        Size, times and inode.

    Raises
    ------
    OSError
        Where it is not there.
    """
    status = os.stat(path)
    return Signature(status.st_size, status.st_mtime_ns, status.st_ctime_ns, str(status.st_ino))


def read_exposure(path: str | os.PathLike) -> Exposure:
    """Read what a plan needs of one raw: headers, checksum, and statistics of a few rows.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Exposure
        With its fault where something is wrong; a broken file is no exception.

    Raises
    ------
    OSError
        Where the file cannot be read at all.
    """
    path = os.path.abspath(path)
    checksum = file_checksum(path)
    try:
        return _exposure_of(path, checksum, read_headers(path))
    except InputError as error:
        # what a disk or a machine fails to do today is no fault of the file that may be remembered
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        return Exposure(path, checksum, rootname_of(path), fault=str(error).removeprefix(f"{path}: "))


def rootname_of(path: str | os.PathLike) -> str:
    """Rootname by a file's name.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    str
        What stands before the last underscore, in lower case.
    """
    name = Path(path).name.removesuffix(".gz").removesuffix(".fits")
    return name.rpartition("_")[0].lower() or name.lower()


def _exposure_of(path: str, checksum: str, headers: Headers) -> Exposure:
    primary = headers.primary
    images = headers.extensions("SCI")
    first: Mapping[str, Any] = images[0].keywords if images else {}
    missing: list[str] = []

    def text(name: str, required: bool = False) -> str:
        value = primary.get(name)
        if value is None or value == "":
            if required:
                missing.append(name)
            return ""
        return str(value).strip()

    def whole(name: str) -> int | None:
        value = primary.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        # The bound is that of a data base column; no such keyword comes near it.
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31:
            return value
        missing.append(name)
        return None

    def number(keywords: Mapping[str, Any], name: str) -> float | None:
        value = keywords.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                value = float(value)
            except OverflowError:
                value = float("inf")
            if isfinite(value):
                return value
        missing.append(name)
        return None

    rootname = text("ROOTNAME").lower()
    instrument = text("INSTRUME", True)
    detector = text("DETECTOR", True)
    target = text("TARGNAME", True)
    facts: dict[str, Any] = {}
    if (instrument, detector) == ("STIS", "CCD"):
        facts = {
            "amplifier": text("CCDAMP", True),
            "gain": whole("CCDGAIN"),
            "offset": whole("CCDOFFST"),
            "xbin": whole("BINAXIS1"),
            "ybin": whole("BINAXIS2"),
            "exposure_time": number(primary, "TEXPTIME"),
        }
        if images:
            facts["begin"] = number(first, "EXPSTART")
            facts["end"] = number(images[-1].keywords, "EXPEND")
            times = [number(unit.keywords, "EXPTIME") for unit in images]
            facts["exposure_times"] = tuple(time for time in times if time is not None)
    sizes = {_size(unit) for unit in images}
    fault = headers.fault
    if not fault and not images:
        fault = "has no SCI extension"
    if not fault and len(sizes) > 1:
        fault = "its imsets differ in size"
    if not fault and missing:
        fault = f"no usable {', '.join(dict.fromkeys(missing))} in its headers"
    exposure = Exposure(
        path=path,
        checksum=checksum,
        rootname=rootname or rootname_of(path),
        fault=fault,
        proposal=text("PROPOSID"),
        visit=text("OBSET_ID"),
        instrument=instrument,
        detector=detector,
        target=target,
        filetype=text("FILETYPE"),
        obsmode=text("OBSMODE"),
        subarray=primary.get("SUBARRAY") is True,
        size=sizes.pop() if len(sizes) == 1 else (0, 0),
        imsets=len(images),
        flags=_flags(images),
        made=text("DATE"),
        references={name: text(name) for name in REFERENCE_KEYWORDS if text(name)},
        **facts,
    )
    if not fault and facts:
        level, rms, saturated = _statistics(path, images)
        exposure = Exposure.from_facts(
            path, checksum, {**exposure.facts(), "level": level, "rms": rms, "saturated": saturated}
        )
    return exposure


def _size(unit: HeaderUnit) -> tuple[int, int]:
    width, height = (unit.keywords.get(name, 0) for name in ("NAXIS1", "NAXIS2"))
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)


def _flags(images: Sequence[HeaderUnit]) -> tuple[str, ...]:
    flags = []
    for number, unit in enumerate(images, 1):
        flag = unit.keywords.get("EXPFLAG")
        if flag not in (None, "", "NORMAL"):
            flags.append(f"EXPFLAG of imset {number} is {flag}, expected NORMAL")
        if unit.keywords.get("IMSET_OK") is False:
            flags.append(f"IMSET_OK of imset {number} is F")
    return tuple(flags)


def _statistics(path: str, images: Sequence[HeaderUnit]) -> tuple[list[float], list[float], list[float]]:
    figures: list[tuple[float, float, float]] = []
    largest = max((unit.data_size for unit in images), default=0)
    memory = np.empty(min(largest, LONGEST_SIDE**2 * _LONGEST_NUMBER), dtype=np.uint8)
    # Pixels that are no numbers make figures that are none, and those are left out.
    with open_fits(path)[0] as handle, np.errstate(all="ignore"):
        for unit in images:
            rows = _sample(path, handle, unit, memory)
            if rows is None:
                continue
            # LTV1 is the width of the leading overscan (19 unbinned columns); its outermost one is unreliable.
            offset = unit.keywords.get("LTV1")
            known = isinstance(offset, int | float) and 3 <= offset < rows.shape[1] / 4
            overscan = int(offset) if known else 0  # type: ignore[arg-type]
            image = _Levels(rows[:, overscan : rows.shape[1] - overscan])
            level = unit.keywords.get("MEANBLEV")
            if not isinstance(level, int | float) or level <= 0:
                level = _Levels(rows[:, 1:overscan]).median() if overscan else image.median()
            rms = 1.4826 * image.deviation()
            figures.append((level, rms, image.part_from(_SATURATED)))
    sound = [figure for figure in figures if all(isfinite(value) for value in figure)]
    return [one[0] for one in sound], [one[1] for one in sound], [one[2] for one in sound]


class _Levels:
    """Which values pixels have, and how many pixels each: counting whole numbers takes less time than ordering them."""

    def __init__(self, pixels: np.ndarray):
        if pixels.dtype == np.uint16:
            counts = np.bincount(pixels.ravel())
            present = np.flatnonzero(counts)
            self.values, self.counts = present.astype(np.float64), counts[present]
        else:
            self.values, self.counts = np.unique(pixels, return_counts=True)

    def median(self) -> float:
        """Median of the pixels, NaN where one of them is."""
        return _weighted_median(self.values, self.counts)

    def deviation(self) -> float:
        """Median distance of the pixels from their median."""
        distances = np.abs(self.values - self.median())
        order = np.argsort(distances)
        return _weighted_median(distances[order], self.counts[order])

    def part_from(self, value: float) -> float:
        """Part of the pixels that have at least this value."""
        return float(self.counts[self.values >= value].sum() / self.counts.sum())


def _weighted_median(values: np.ndarray, counts: np.ndarray) -> float:
    """Median of ascending values of which each stands for so many."""
    if np.isnan(values[-1]):
        return float("nan")
    upto = np.cumsum(counts)
    lower, upper = np.searchsorted(upto, ((upto[-1] - 1) // 2, upto[-1] // 2), side="right")
    return float((values[lower] + values[upper]) / 2)


def _sample(path: str, handle, unit: HeaderUnit, memory: np.ndarray) -> np.ndarray | None:
    """A few rows of an image, spread over it, as uint16 or float64; None where it is no image of a detector."""
    keywords = unit.keywords
    width, height = _size(unit)
    dtype = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}[int(keywords["BITPIX"] or 0)]
    itemsize = np.dtype(dtype).itemsize
    if keywords.get("NAXIS") != 2 or keywords.get("XTENSION") != "IMAGE":
        return None
    size = width * height * itemsize
    if not 0 < size <= unit.data_size or max(width, height) > LONGEST_SIDE:
        return None
    # all rows in one step: many small ones would have to wait for the interpreter after each
    handle.seek(unit.data_offset)
    if handle.readinto(memory[:size].data) < size:
        raise InputError(f"{path}: was cut short while it was read; copy or retrieve it again, and run again")
    stored = memory[:size].view(dtype).reshape(height, width)[:: max(1, height // _SAMPLED_ROWS)]
    scale, zero = keywords.get("BSCALE", 1.0), keywords.get("BZERO", 0.0)
    if (dtype, scale, zero) == (">i2", 1, 32768):
        # raw counts: adding 32768 to a signed integer flips its first bit
        return stored.astype(np.int16).view(np.uint16) ^ np.uint16(0x8000)
    pixels = stored.astype(float)
    if isinstance(scale, int | float) and isinstance(zero, int | float):
        with np.errstate(all="ignore"):
            pixels = pixels * scale + zero
    return pixels


def select(exposure: Exposure, policy: Policy) -> str | Exclusion:
    """Whether a month can use an exposure, and as what.

    Parameters
    ----------
    exposure : Exposure
        What is known of it.
    policy : Policy
        What is asked for.

    Returns
    -------
    str or Exclusion
        ``bias`` or ``dark``, or the reason why not.
    """
    rules = policy.selection

    def out(reason: str, fault: bool = False) -> Exclusion:
        return Exclusion.of(exposure, reason, fault)

    if exposure.instrument and (exposure.instrument, exposure.detector) != ("STIS", "CCD"):
        return out(f"{exposure.instrument} {exposure.detector}, expected STIS CCD")
    if exposure.target and exposure.target not in (rules.bias.target, rules.dark.target):
        return out(f"TARGNAME {exposure.target}, expected {rules.bias.target} or {rules.dark.target}")
    if exposure.fault:
        return out(f"{exposure.fault}; replace the file", fault=True)
    begin, seconds, gain = exposure.begin, exposure.exposure_time, exposure.gain
    xbin, ybin = exposure.xbin, exposure.ybin
    if begin is None or seconds is None or gain is None or xbin is None or ybin is None:
        return out(
            "its headers do not tell date, exposure time, gain and binning; replace the file", fault=True
        )
    if exposure.amplifier != rules.amplifier:
        return out(f"CCDAMP {exposure.amplifier}, expected {rules.amplifier}")
    if exposure.subarray:
        return out("SUBARRAY T, expected a full frame")
    if exposure.flags:
        return out("; ".join(exposure.flags[:3]), fault=True)
    if exposure.target == rules.bias.target:
        longest = rules.bias.exposure_time_below
        if not 0 <= seconds < longest:
            return out(f"a bias of {seconds:g} s, expected less than {longest:g} s")
        if policy.superbias_mode(gain, xbin, ybin) is None:
            return out(f"superbiases of gain {gain}, {xbin}x{ybin} are not made: the policy has no such mode")
        return "bias"
    if gain != rules.dark.gain:
        return out(f"CCDGAIN {gain}, expected {rules.dark.gain}")
    if (xbin, ybin) != rules.dark.binning:
        return out(
            f"binning {xbin}x{ybin}, expected {'x'.join(str(factor) for factor in rules.dark.binning)}"
        )
    windows = [window for window in rules.dark.exposure_times if window.covers(begin)]
    # The archive's duration is that of the whole file; a file of several full-length imsets is as good.
    fits = [any(window.accepts(time) for window in windows) for time in exposure.exposure_times]
    if not any(window.accepts(seconds) for window in windows) and not (fits and all(fits)):
        expected = " or ".join(str(window) for window in windows) or "none at that date"
        return out(f"a dark of {seconds:g} s, expected {expected}")
    return "dark"


def screen_group(
    exposures: Sequence[Exposure], policy: Policy
) -> tuple[list[Exposure], dict[str, list[str]], list[Exclusion]]:
    """Compare each exposure of a group with the rest of it.

    Parameters
    ----------
    exposures : sequence of Exposure
        Exposures that are to be combined.
    policy : Policy
        With the limits, and what to do beyond them.

    Returns
    -------
    kept : list of Exposure
        All of them, unless the limits say exclude.
    cautions : dict
        Rootname to what deviates, each with its figure.
    exclusions : list of Exclusion
        Where the limits say so.
    """
    limits = policy.screening
    found: dict[int, list[tuple[str, str]]] = {}
    for name, limit, unit in (("level", limits.level, "DN"), ("rms", limits.rms, "DN")):
        values = [getattr(exposure, name) for exposure in exposures]
        measured = [np.median(value) for value in values if value]
        if len(measured) < limits.smallest_group:
            continue
        middle = float(np.median(measured))
        allowed = max(
            limit.least, limit.sigma * 1.4826 * float(np.median(np.abs(np.array(measured) - middle)))
        )
        for index, value in enumerate(values):
            worst = max(value, key=lambda figure: abs(figure - middle), default=middle)
            if abs(worst - middle) > allowed:
                label = "bias level" if name == "level" else "rms"
                text = f"{label} {worst:.1f} {unit}, its group has {middle:.1f} and {allowed:.1f} is allowed"
                found.setdefault(index, []).append((limit.action, text))
    for index, exposure in enumerate(exposures):
        worst = max(exposure.saturated, default=0.0)
        if worst > limits.saturated.fraction:
            text = f"{worst:.1%} of it is saturated, {limits.saturated.fraction:.1%} is allowed"
            found.setdefault(index, []).append((limits.saturated.action, text))
    kept: list[Exposure] = []
    cautions: dict[str, list[str]] = {}
    exclusions: list[Exclusion] = []
    for index, exposure in enumerate(exposures):
        faults = [text for action, text in found.get(index, ()) if action == "exclude"]
        if faults:
            exclusions.append(Exclusion.of(exposure, "; ".join(faults), fault=True))
            continue
        kept.append(exposure)
        if index in found:
            cautions[exposure.rootname] = [f"{exposure.name}: {text}" for _, text in found[index]]
    return kept, cautions, exclusions


def remove_duplicates(exposures: Iterable[Exposure]) -> tuple[list[Exposure], list[Exclusion]]:
    """Keep one file of each exposure.

    Parameters
    ----------
    exposures : iterable of Exposure
        Possibly with copies of the same exposure, or several versions of it.

    Returns
    -------
    kept : list of Exposure
        Of each rootname the sound file that the archive wrote last (its DATE), else the first by path.
    exclusions : list of Exclusion
        The others.
    """
    chosen: dict[str, Exposure] = {}
    others: list[Exposure] = []
    for exposure in sorted(exposures, key=lambda one: one.path):
        known = chosen.get(exposure.rootname)
        if known is None:
            chosen[exposure.rootname] = exposure
        elif (not exposure.fault, exposure.made) > (not known.fault, known.made):
            others.append(known)
            chosen[exposure.rootname] = exposure
        else:
            others.append(exposure)
    exclusions = []
    for exposure in others:
        best = chosen[exposure.rootname]
        if exposure.checksum == best.checksum:
            reason = f"a copy of {best.path}"
        else:
            reason = f"another version (written {exposure.made or 'at an unknown date'}) of {best.path}"
        exclusions.append(Exclusion.of(exposure, reason))
    return sorted(chosen.values(), key=lambda one: one.order), exclusions
