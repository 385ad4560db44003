"""Reference tables and the selection of their rows: CCDTAB, BPIXTAB, CRREJTAB, engineering temperatures."""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from refstis.calibration.blevcorr import BLEV_CLIP
from refstis.calibration.crcorr import RejectionParameters
from refstis.calibration.dqicorr import BadPixelRun
from refstis.datamodels.checksums import file_state
from refstis.datamodels.damage import UNREADABLE, open_fits
from refstis.datamodels.exposure import Exposure
from refstis.datamodels.keywords import header_float
from refstis.errors import ReferenceFileError

__all__ = [
    "BadPixelTable",
    "CcdParameters",
    "ReferenceTable",
    "parse_sigmas",
    "read_bad_pixels",
    "read_ccd_parameters",
    "read_rejection_parameters",
    "read_temperatures",
]

ANY_STRING, ANY_NUMBER = "ANY", -1
MOST_SIGMAS = 20
# A value of more is none; its square leaves the range of a float32.
MOST = 1e18
WARMEST = 1000.0


@dataclass(frozen=True, eq=False)
class ReferenceTable:
    """A reference table as read; the same one for each state of its file.

    Parameters
    ----------
    path : pathlib.Path
        Where it lies.
    rows : list of dict
        Values by upper-case column name; strings without trailing blanks.
    header : dict
        Keywords of the table.
    pedigree, descrip : str
        PEDIGREE and DESCRIP of the primary header.
    """

    path: Path
    rows: list[dict[str, Any]]
    header: dict[str, Any]
    pedigree: str
    descrip: str

    @property
    def dummy(self) -> bool:
        """Whether the table stands for a missing one (PEDIGREE begins with DUMMY)."""
        return self.pedigree.upper().startswith("DUMMY")

    @classmethod
    def open(cls, path: str | os.PathLike) -> ReferenceTable:
        """Read a table.

        Parameters
        ----------
        path : str or os.PathLike
            FITS table in the first extension, or an ECSV table.

        Returns
        -------
        ReferenceTable
            The table.

        Raises
        ------
        ReferenceFileError
            Where the file is missing or no table.
        """
        path = Path(path)
        try:
            state = file_state(path)
        except OSError:
            raise ReferenceFileError(f"{path}: no such reference table. Check the name and $oref.") from None
        return cls._read(path.absolute(), state)

    @classmethod
    @functools.lru_cache(maxsize=64)
    def _read(cls, path, _state):
        """Read a table, once for each state of its file: a month asks for the same ones hundreds of times."""
        try:
            if path.suffix == ".ecsv":
                table = Table.read(path, format="ascii.ecsv")
                header = dict(table.meta)
                primary = header
            else:
                with open_fits(path) as hdus:
                    primary, header = hdus[0].header, dict(hdus[1].header)
                    table = Table(hdus[1].data)
            rows = [{name.upper(): _plain(row[name]) for name in table.colnames} for row in table]
            return cls(path, rows, header, str(primary.get("PEDIGREE", "")), str(primary.get("DESCRIP", "")))
        except UNREADABLE as error:
            raise ReferenceFileError(f"{path}: not a readable reference table ({error}).") from error

    def value(self, row: dict[str, Any], column: str, kind: type = float) -> Any:
        """A value of a row as a number.

        Parameters
        ----------
        row : dict
            The row.
        column : str
            Column name.
        kind : type
            float or int; strings that hold numbers are converted.

        Returns
        -------
        object
            The value.

        Raises
        ------
        ReferenceFileError
            Where the column is missing or holds no such number.
        """
        try:
            number = kind(row[column])
        except KeyError:
            raise ReferenceFileError(
                f"{self.path}: no column {column}. Check that this is the right table."
            ) from None
        except (OverflowError, TypeError, ValueError):
            number = math.nan
        if abs(number) < (2**31 if kind is int else MOST):
            return number
        words = "a whole number of 32 bits" if kind is int else "a number of a usual size"
        raise ReferenceFileError(
            f"{self.path}: {column} is {row[column]!r}, which is not {words}. Repair the table, or give another."
        )


def _plain(value):
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        return value.rstrip()
    return value.item() if isinstance(value, np.generic) else value


def _is_given(name):
    return bool(name) and name.strip().upper() not in {"", "N/A"}


@dataclass(frozen=True)
class CcdParameters:
    """One row of the CCDTAB.

    Parameters
    ----------
    gain : float
        Calibrated gain ATODGAIN (e-/DN), with the digits that the header keeps.
    bias : float
        Default bias level CCDBIAS (DN).
    readnoise : float
        Read noise READNSE (e- rms), with the digits that the header keeps.
    saturate : float
        Saturation SATURATE (DN).
    blev_clip : float
        Clip of the virtual overscan BLEV_CLIP (sigma).
    descrip : str
        Description of the row.
    """

    gain: float
    bias: float
    readnoise: float
    saturate: float
    blev_clip: float = BLEV_CLIP
    descrip: str = ""


def read_ccd_parameters(table: ReferenceTable, exposure: Exposure) -> CcdParameters:
    """First row of the CCDTAB that holds for an exposure.

    Parameters
    ----------
    table : ReferenceTable
        The CCDTAB; "ANY" and -1 in it match everything.
    exposure : Exposure
        The exposure: CCDAMP, CCDGAIN, CCDOFFST, BINAXIS1, BINAXIS2.

    Returns
    -------
    CcdParameters
        The values, as float32.

    Raises
    ------
    ReferenceFileError
        Where no row matches or the table is a dummy.
    """
    if table.dummy:
        raise ReferenceFileError(
            f"{table.path}: PEDIGREE is DUMMY; the CCD's parameters are needed. Give a real CCDTAB."
        )
    amp = str(exposure.primary.get("CCDAMP", "")).strip()
    amp = amp[:1].upper() + amp[1:]  # as CALSTIS reads it
    mode = {key: int(exposure.primary.get(key, 1)) for key in ("CCDGAIN", "CCDOFFST", "BINAXIS1", "BINAXIS2")}
    for row in table.rows:
        if row.get("CCDAMP", ANY_STRING) not in {ANY_STRING, amp}:
            continue
        if any(table.value(row, key, int) not in {ANY_NUMBER, value} for key, value in mode.items()):
            continue
        return CcdParameters(
            gain=header_float(table.value(row, "ATODGAIN")),
            bias=float(np.float32(table.value(row, "CCDBIAS"))),
            readnoise=header_float(table.value(row, "READNSE")),
            saturate=float(np.float32(table.value(row, "SATURATE"))),
            blev_clip=float(np.float32(table.value(row, "BLEV_CLIP"))) if "BLEV_CLIP" in row else BLEV_CLIP,
            descrip=str(row.get("DESCRIP", "")),
        )
    words = ", ".join(f"{key} {value}" for key, value in {"CCDAMP": amp, **mode}.items())
    raise ReferenceFileError(
        f"{exposure.name}: {table.path.name} has no row for {words}. Set $oref to a folder that holds the "
        "CCDTAB of the "
        "header, or give one (override_ccdtab)."
    )


@dataclass(frozen=True)
class BadPixelTable:
    """The runs of a BPIXTAB that hold for an exposure.

    Parameters
    ----------
    runs : tuple of BadPixelRun
        Runs in the order of the table.
    size : tuple of int
        SIZAXIS1 and SIZAXIS2.
    """

    runs: tuple[BadPixelRun, ...]
    size: tuple[int, int]


@functools.lru_cache(maxsize=16)
def read_bad_pixels(table: ReferenceTable, opt_elem: str) -> BadPixelTable:
    """Runs of bad pixels for an optical element.

    Parameters
    ----------
    table : ReferenceTable
        The BPIXTAB.
    opt_elem : str
        Optical element of the exposure; a table without the column OPT_ELEM holds for any.

    Returns
    -------
    BadPixelTable
        The runs.

    Raises
    ------
    ReferenceFileError
        Where a column or the size is missing, or a run has no length or axis.
    """
    try:
        size = int(table.header["SIZAXIS1"]), int(table.header["SIZAXIS2"])
    except (KeyError, OverflowError, TypeError, ValueError):
        raise ReferenceFileError(
            f"{table.path}: SIZAXIS1 and SIZAXIS2 are missing from the table's header."
        ) from None
    runs = []
    for number, row in enumerate(table.rows, start=1):
        pix1, pix2, length, axis, value = (
            table.value(row, column, int) for column in ("PIX1", "PIX2", "LENGTH", "AXIS", "VALUE")
        )
        if axis not in {1, 2} or length <= 0:
            raise ReferenceFileError(
                f"{table.path}: row {number} has AXIS {axis} and LENGTH {length}; repair the table."
            )
        if row.get("OPT_ELEM", ANY_STRING) in {ANY_STRING, opt_elem}:
            runs.append(BadPixelRun(pix1, pix2, length, axis, int(np.int32(value).astype(np.int16))))
    return BadPixelTable(tuple(runs), size)


def parse_sigmas(text: str) -> tuple[float, ...]:
    """Limits of the iterations from the text of CRSIGMAS.

    Parameters
    ----------
    text : str
        Numbers separated by commas, semicolons, slashes or blanks; blanks may follow a separator.

    Returns
    -------
    tuple of float
        One limit for each iteration.

    Raises
    ------
    ValueError
        Where the text holds no numbers, an empty word or more than 20.

    Examples
    --------
    >>> parse_sigmas("6.5,5.5 4.5")
    (6.5, 5.5, 4.5)
    """
    # blanks are a separator, and may follow one
    words = re.split("[,;/ ] *", text.lstrip(" "))
    if not words[-1]:
        words.pop()
    if (
        not words
        or len(words) > MOST_SIGMAS
        or any(not word or word[0] not in "-.0123456789" for word in words)
    ):
        raise ValueError(f"CRSIGMAS {text!r} is not a list of 1 to {MOST_SIGMAS} numbers")
    limits = [float(word) for word in words]
    if not all(abs(limit) < MOST for limit in limits):
        raise ValueError(f"CRSIGMAS {text!r} has numbers beyond all sense")
    return tuple(float(np.float32(limit)) for limit in limits)


def read_rejection_parameters(
    table: ReferenceTable, exptimes: Sequence[float], spectroscopic: bool
) -> tuple[RejectionParameters, dict[str, Any]]:
    """Row of the CRREJTAB for a stack of images.

    Parameters
    ----------
    table : ReferenceTable
        The CRREJTAB.
    exptimes : sequence of float
        Exposure times of the images (s).
    spectroscopic : bool
        Whether OBSTYPE is SPECTROSCOPIC: then no sky is subtracted.

    Returns
    -------
    tuple
        The parameters and the row, for CRMASK and the texts that the product's header repeats.

    Raises
    ------
    ReferenceFileError
        Where no row holds for the number of images and their mean exposure time.
    """
    count = len(exptimes)
    total = np.add.accumulate(np.asarray(exptimes, dtype=np.float32))[-1]
    mean = float(total) / count
    splits = [table.value(row, "CRSPLIT", int) for row in table.rows]
    want = min(count, max(splits, default=0))
    best, least = None, None
    for row, split in zip(table.rows, splits, strict=True):
        margin = table.value(row, "MEANEXP") - mean
        if split == want and margin >= 0 and (least is None or margin <= least):
            best, least = row, margin
    if best is None:
        raise ReferenceFileError(
            f"{table.path}: no row for {count} images (CRSPLIT {want}) of {mean:g} s on average (MEANEXP). "
            "Give a table that "
            "has one (override_crrejtab), or the parameters themselves."
        )
    guess, sky = str(best.get("INITGUES", "")).lower(), str(best.get("SKYSUB", "")).lower()
    try:
        parameters = RejectionParameters(
            sigmas=parse_sigmas(str(best.get("CRSIGMAS", ""))),
            initial_guess="median" if guess.startswith("med") else "minimum",
            sky="none" if spectroscopic else sky,
            radius=table.value(best, "CRRADIUS"),
            threshold=table.value(best, "CRTHRESH"),
            scale_noise=table.value(best, "SCALENSE"),
            bad_bits=table.value(best, "BADINPDQ", int),
        )
    except ValueError as error:
        raise ReferenceFileError(f"{table.path}: {error}.") from None
    return parameters, best


def read_temperatures(table: ReferenceTable) -> tuple[np.ndarray, np.ndarray]:
    """Engineering temperatures of the CCD housing.

    Parameters
    ----------
    table : ReferenceTable
        An ``_epc`` table.

    Returns
    -------
    tuple of numpy.ndarray
        Times (MJD) and temperatures (deg C), float64.
    """
    pairs = [(table.value(row, "TIME"), table.value(row, "VALUE")) for row in table.rows]
    times, values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    if (np.abs(values) > WARMEST).any():
        raise ReferenceFileError(
            f"{table.path}: VALUE has no temperatures (deg C). Repair the table, or give another."
        )
    return times, values
