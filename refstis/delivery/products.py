"""Finished reference files as delivery looks at them: whole or spoiled, of this program or another."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from refstis.datamodels.checksums import checksum_of
from refstis.datamodels.damage import UNREADABLE, open_fits, read_asdf
from refstis.datamodels.reference_header import MONTHS, ReferenceHistory
from refstis.errors import InputError

__all__ = ["Product", "Source", "find_products", "open_products", "product_paths"]

# A file, a folder, or several of them.
Source = str | os.PathLike | Iterable[str | os.PathLike]

# How the names of files for delivery end; baselines, sub-lists and bias-subtracted darks have other names.
DELIVERED = ("_bia.fits", "_drk.fits")
FILETYPES = {"CCD BIAS IMAGE": "bias", "DARK IMAGE": "dark"}
BASELINE_TASKS = ("BASEJOIN", "BASEDARK")
_MJD_ZERO = datetime(1858, 11, 17)
# Where a file without a date stands among the others.
_NO_DATE = datetime(1, 1, 1)


@dataclass
class Product:
    """A reference file in memory, with whatever of it can be read.

    Parameters
    ----------
    path : pathlib.Path
        Where it lies.
    fault : str
        Why it cannot be used at all; empty where it can.
    primary : astropy.io.fits.Header
        Primary header.
    sci_header : astropy.io.fits.Header
        Header of the science image.
    sci, err : numpy.ndarray
        Values and uncertainties as stored (float32 in a sound file); empty where there is a fault.
    dq : numpy.ndarray
        Flags as stored (int16 in a sound file).
    record : dict
        What the parameter file beside the product remembers of how it was made: ``inputs``, ``references``,
        ``versions``; empty where there is none.
    parameters : dict
        Parameters of the pipeline and its stages, from the same file.
    """

    path: Path
    fault: str = ""
    primary: fits.Header = field(default_factory=fits.Header)
    sci_header: fits.Header = field(default_factory=fits.Header)
    sci: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    err: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    dq: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int16))
    record: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | os.PathLike) -> Product:
        """Read a reference file; what is wrong with it is remembered and not raised.

        Parameters
        ----------
        path : str or os.PathLike
            The file.

        Returns
        -------
        Product
            With a `fault` where its images cannot be read.
        """
        product = cls(Path(path).absolute())
        product.record, product.parameters = _read_record(product.path.with_suffix(".asdf"))
        try:
            with open_fits(product.path) as hdus:
                product.primary = _legible(hdus[0].header)
                found = {(hdu.name, hdu.ver): hdu for hdu in hdus[1:] if hdu.is_image}
                product.sci_header = (
                    _legible(found["SCI", 1].header) if ("SCI", 1) in found else fits.Header()
                )
                images = {name: found[name, 1].data for name in ("SCI", "ERR", "DQ") if (name, 1) in found}
        except UNREADABLE as error:
            product.fault = f"cannot be read ({error or type(error).__name__})"
            return product
        missing = [name for name in ("SCI", "ERR", "DQ") if getattr(images.get(name), "ndim", 0) != 2]
        if missing:
            product.fault = f"no image in extension {', '.join(missing)} (EXTVER 1)"
            return product
        if len({image.shape for image in images.values()}) > 1:
            product.fault = "SCI, ERR and DQ differ in size"
            return product
        if images["DQ"].dtype.kind not in "iu":
            product.fault = f"DQ has {images['DQ'].dtype.name} pixels, expected int16"
            return product
        product.sci, product.err, product.dq = images["SCI"], images["ERR"], images["DQ"]
        return product

    @property
    def name(self) -> str:
        """File name without folder."""
        return self.path.name

    def text(self, keyword: str) -> str:
        """A keyword of the primary header as text, empty where it is missing."""
        value = self.primary.get(keyword, "")
        return "" if isinstance(value, fits.card.Undefined) else str(value).strip()

    def number(self, keyword: str) -> int | None:
        """A keyword of the primary header as a whole number; None where it is missing or none."""
        value = self.primary.get(keyword)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def kind(self) -> str:
        """Either "bias" or "dark", from FILETYPE, else from the name; empty where neither tells."""
        known = FILETYPES.get(self.text("FILETYPE"))
        if known:
            return known
        return {DELIVERED[0]: "bias", DELIVERED[1]: "dark"}.get(self.name[-9:], "")

    @cached_property
    def history(self) -> ReferenceHistory:
        """What HISTORY tells of the inputs."""
        return ReferenceHistory.parse(self.primary.get("HISTORY", ()))

    @cached_property
    def history_mode(self) -> dict[str, str]:
        """CCDAMP, CCDGAIN, BINAXIS1 and BINAXIS2 of the inputs as HISTORY tells them."""
        text = " ".join(str(line) for line in self.primary["HISTORY"]) if "HISTORY" in self.primary else ""
        pairs = re.findall(r"(CCDAMP|CCDGAIN|BINAXIS1|BINAXIS2)\s*=\s*([A-D]|-?\d+)", text)
        return dict(reversed(pairs))

    @property
    def exposure_time(self) -> float | None:
        """Total exposure time of a dark (s) as HISTORY tells it; None where it does not."""
        text = " ".join(str(line) for line in self.primary["HISTORY"]) if "HISTORY" in self.primary else ""
        found = re.search(r"normalized to electrons per second \(([0-9.]+) s", text)
        return float(found[1]) if found else None

    @property
    def gain(self) -> int | None:
        """CCDGAIN of the inputs: of HISTORY, as darks have -1 in the header, else of the header."""
        told = self.history_mode.get("CCDGAIN")
        return int(told) if told else self.number("CCDGAIN")

    @property
    def frames(self) -> int:
        """Number of input frames that HISTORY tells; 0 where it does not."""
        return self.history.count

    @property
    def mode(self) -> tuple:
        """What files have in common that replace each other: kind, amplifier, gain and binning."""
        keys = ("CCDAMP", "CCDGAIN", "BINAXIS1", "BINAXIS2")
        return (self.kind, *(self.text(key) for key in keys))

    @property
    def mode_words(self) -> str:
        """Kind, gain and binning for a reader, such as ``bias, gain 4, 1x1``."""
        gain = "" if self.kind == "dark" or self.gain is None else f", gain {self.gain}"
        binning = f", {self.text('BINAXIS1')}x{self.text('BINAXIS2')}"
        return f"{self.kind}{gain}{binning}"

    @property
    def baseline(self) -> bool:
        """Whether the file is a month's baseline or a sub-list, made for other products and not delivered."""
        if re.search(r"_grp\d\d$", self.path.stem):
            return True
        task = self.text("TASKNAME").upper()
        return task in BASELINE_TASKS if task else self.name.startswith(("basebias", "basedark"))

    @cached_property
    def useafter(self) -> datetime | None:
        """USEAFTER; None where it is missing or no date."""
        return parse_useafter(self.text("USEAFTER"))

    @cached_property
    def pedigree(self) -> tuple[datetime, datetime] | None:
        """First and last day of PEDIGREE; None where it is not INFLIGHT with two dates."""
        found = re.fullmatch(r"INFLIGHT (\d\d)/(\d\d)/(\d{4}) (\d\d)/(\d\d)/(\d{4})", self.text("PEDIGREE"))
        if not found:
            return None
        numbers = [int(word) for word in found.groups()]
        try:
            return datetime(*reversed(numbers[:3])), datetime(*reversed(numbers[3:]))  # type: ignore[arg-type]
        except ValueError:
            return None

    @property
    def begin(self) -> datetime | None:
        """First day of the inputs (PEDIGREE), else USEAFTER."""
        return self.pedigree[0] if self.pedigree else self.useafter

    @property
    def mjd(self) -> float | None:
        """`begin` as MJD."""
        return None if self.begin is None else (self.begin - _MJD_ZERO).total_seconds() / 86400.0

    @cached_property
    def checksum(self) -> str:
        """sha256 of the file; empty where it cannot be read."""
        try:
            return checksum_of(self.path)
        except OSError:
            return ""


def _legible(header: fits.Header) -> fits.Header:
    """The cards that can be parsed; of the others the check of conformance reports."""
    kept = fits.Header()
    for card in header.cards:
        try:
            kept.append((card.keyword, card.value, card.comment))
        except (ValueError, fits.VerifyError):
            continue
    return kept


def parse_useafter(text: str) -> datetime | None:
    """Moment of USEAFTER.

    Parameters
    ----------
    text : str
        Such as ``Sep 16 2023 06:00:00``; the time may be missing.

    Returns
    -------
    datetime.datetime or None
        None where the text is no such date.

    Examples
    --------
    >>> parse_useafter("Sep 16 2023 06:00:00")
    datetime.datetime(2023, 9, 16, 6, 0)
    """
    found = re.fullmatch(r"([A-Z][a-z]{2})[a-z]* (\d{1,2}),? (\d{4})(?: (\d\d):(\d\d):(\d\d))?", text.strip())
    if not found or found[1] not in MONTHS:
        return None
    hour, minute, second = (int(word or 0) for word in found.groups()[3:])
    try:
        return datetime(int(found[3]), MONTHS.index(found[1]) + 1, int(found[2]), hour, minute, second)
    except ValueError:
        return None


def _read_record(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not path.is_file():
        return {}, {}
    try:
        tree = read_asdf(path)
        record = dict(tree.get("record") or {})
        parameters = {
            "parameters": dict(tree.get("parameters") or {}),
            "steps": list(tree.get("steps") or []),
        }
    except (OSError, ValueError, TypeError):
        return {}, {}
    return record, parameters


def find_products(folder: str | os.PathLike, baselines: bool = False) -> list[Path]:
    """Reference files in a folder and below it.

    Parameters
    ----------
    folder : str or os.PathLike
        Of a month, or with files for delivery.
    baselines : bool
        Whether to return the months' baselines (``basebias*``, ``basedark*``), too.

    Returns
    -------
    list of pathlib.Path
        In the order of their names; a file that is there under the same name and with the same content twice
        counts once.

    Raises
    ------
    InputError
        Where there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder. Give the folder of a month, or one with files for delivery."
        )
    endings = list(DELIVERED)
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.fits"), key=lambda path: (path.name, len(path.parts), path)):
        wanted = path.name.endswith(tuple(endings)) or (
            baselines and path.name.startswith(("basebias", "basedark"))
        )
        if wanted and path.name not in found and not path.name.startswith("."):
            found[path.name] = path
    return list(found.values())


def product_paths(source: Source | None) -> list[Path]:
    """Reference files that somebody names by file or by folder.

    Parameters
    ----------
    source : str, os.PathLike, iterable of them or None
        Files, and folders whose files are meant, baselines among them.

    Returns
    -------
    list of pathlib.Path
        Files as given, those of folders by name.

    Raises
    ------
    InputError
        Where a folder or file does not exist.
    """
    if source is None:
        return []
    entries = [source] if isinstance(source, str | os.PathLike) else list(source)
    found: list[Path] = []
    for entry in map(Path, entries):
        try:
            found += [entry] if entry.is_file() else find_products(entry, baselines=True)
        except OSError as error:  # a name that is too long, a folder without rights
            raise InputError(f"{entry}: cannot be looked at ({error.strerror}).") from None
    return found


def open_products(paths: Iterable[str | os.PathLike]) -> list[Product]:
    """Read reference files and sort them by kind, mode and time.

    Parameters
    ----------
    paths : iterable of str or os.PathLike
        Files.

    Returns
    -------
    list of Product
        Sound and spoiled ones.
    """
    products = [Product.open(path) for path in paths]
    return sorted(products, key=lambda p: (not p.baseline, p.mode, p.useafter or _NO_DATE, p.name))
