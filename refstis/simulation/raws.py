"""Raw FITS files with the structure and the keywords of the archive's.

The keywords of each HDU, their formats, defaults and comments are the table
``config/simulation_keywords.csv``. Cards are formatted here and not by a library, so that the bytes of a raw
file do not depend on a library's version.
"""

import csv
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from refstis.datamodels import config_path
from refstis.datamodels.atomic import atomic_write
from refstis.simulation.detector import Frame, date_of
from refstis.simulation.readout import Readout

__all__ = ["Exposure", "header", "write_raw"]

_BLOCK = 2880
# Reference point of imaging and spectroscopic headers on the sensor (unbinned pixels).
_REFERENCE_POINT = (516.384, 516.67)


@dataclass(frozen=True)
class Exposure:
    """One raw file to be taken.

    Attributes
    ----------
    rootname : str
        Nine characters.
    kind : str
        ``bias``, ``dark`` or ``science``.
    readout : Readout
        How it is read.
    starts : tuple of float
        Start of each imset (MJD).
    exptime : float
        Exposure time of an imset (s).
    expnames : tuple of str
        Name of each imset.
    proposal : int
        Programme.
    visit : str
        Two characters.
    title : str
        Title of the programme.
    target : str
        TARGNAME.
    """

    rootname: str
    kind: str
    readout: Readout
    starts: tuple[float, ...]
    exptime: float
    expnames: tuple[str, ...]
    proposal: int
    visit: str
    title: str
    target: str

    @property
    def filename(self) -> str:
        """Name of the raw file."""
        return f"{self.rootname}_raw.fits"

    @property
    def end(self) -> float:
        """End of the last imset (MJD)."""
        return self.starts[-1] + self.exptime / 86400.0


@functools.cache
def _table() -> dict[str, list[dict[str, str]]]:
    rows: dict[str, list[dict[str, str]]] = {}
    with config_path("simulation_keywords.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["hdu"], []).append(row)
    return rows


def _value(form: str, value: Any) -> str:
    if form.startswith("S"):
        text = str(value).replace("'", "''")[:68]
        return ("'" + text.ljust(int(form[1:])) + "'").ljust(20)
    if form == "L":
        return ("T" if value in (True, "T") else "F").rjust(20)
    if form == "I":
        return f"{int(value):d}".rjust(20)
    return (form % float(value)).rjust(20)


def header(hdu: str, values: Mapping[str, Any], scope: str = "imaging") -> bytes:
    """A FITS header.

    Parameters
    ----------
    hdu : str
        ``primary``, ``sci``, ``err`` or ``dq``.
    values : mapping
        Values of the keywords that have no default, or another value.
    scope : str
        ``imaging`` or ``spectroscopic``: some keywords belong to one of them only.

    Returns
    -------
    bytes
        Whole blocks of 2880 bytes.
    """
    cards = []
    for row in _table()[hdu]:
        if row["scope"] not in ("", scope):
            continue
        if not row["keyword"]:
            cards.append(f"              / {row['comment']}" if row["comment"] else "")
            continue
        text = _value(row["format"], values.get(row["keyword"], row["value"]))
        comment = f" / {row['comment']}" if row["comment"] else ""
        cards.append(f"{row['keyword']:<8}= {text}{comment}"[:80])
    cards.append("END")
    data = "".join(card.ljust(80) for card in cards).encode("ascii")
    return data + b" " * (-len(data) % _BLOCK)


def _geometry(readout: Readout) -> dict[str, float]:
    values: dict[str, float] = {}
    for axis, scale, offset, point in zip((1, 2), readout.ltm, readout.ltv, _REFERENCE_POINT, strict=True):
        values |= {f"LTM{axis}_{axis}": scale, f"LTV{axis}": offset, f"CRPIX{axis}": point * scale + offset}
    return values


def _primary(exposure: Exposure, figures: Mapping[str, Any]) -> dict[str, Any]:
    begin = date_of(exposure.starts[0])
    imsets = len(exposure.starts)
    science = exposure.kind == "science"
    values = {
        "NEXTEND": 3 * imsets,
        "DATE": f"{begin:%Y-%m-%d}",
        "FILENAME": exposure.filename,
        "BSIDEOPS": "TRUE" if exposure.starts[0] > 59410.0 else "FALSE",
        "ROOTNAME": exposure.rootname,
        "TARGNAME": exposure.target,
        "PROPOSID": exposure.proposal,
        "LINENUM": f"{exposure.visit.upper()}.001",
        "TDATEOBS": f"{begin:%Y-%m-%d}",
        "TTIMEOBS": f"{begin:%H:%M:%S}",
        "TEXPSTRT": exposure.starts[0],
        "TEXPEND": exposure.end,
        "TEXPTIME": exposure.exptime * imsets,
        "OBSTYPE": "SPECTROSCOPIC" if science else "IMAGING",
        "NRPTEXP": 1 if science else imsets,
        "CRSPLIT": imsets if science else 1,
        "CCDAMP": exposure.readout.amp,
        "CCDGAIN": exposure.readout.gain,
        "BINAXIS1": exposure.readout.binning[0],
        "BINAXIS2": exposure.readout.binning[1],
        "BIASCORR": "OMIT" if exposure.kind == "bias" else "PERFORM",
        "BPIXTAB": "oref$h1v11475o_bpx.fits",
        "CCDTAB": f"oref${figures['ccdtab']}",
        "CRREJTAB": "oref$j3m1403io_crr.fits",
        "BIASFILE": f"oref${figures['biasfile']}",
        "DARKFILE": f"oref${figures['darkfile']}",
        "PROPTTL1": exposure.title,
        "OBSET_ID": exposure.visit.upper(),
    }
    if science:
        values |= {
            "OPT_ELEM": "G430L",
            "APERTURE": "52X2",
            "PROPAPER": "52X2",
            "APER_FOV": "52x2",
            "CRCORR": "PERFORM",
            "DARKCORR": "PERFORM",
            "FLATCORR": "PERFORM",
            "EXPSCORR": "PERFORM",
            "WAVECORR": "OMIT",
            "LFLTFILE": "oref$pcc2026jo_lfl.fits",
        }
    return values


def _imset(exposure: Exposure, extver: int, frame: Frame) -> Iterator[tuple[str, dict[str, Any]]]:
    begin = date_of(frame.mjd)
    ny, nx = frame.data.shape
    science = exposure.kind == "science"
    common: dict[str, Any] = {
        "EXTVER": extver,
        "ROOTNAME": exposure.rootname,
        "EXPNAME": exposure.expnames[extver - 1],
        "NPIX1": nx,
        "NPIX2": ny,
        "DATAMIN": 0.0,
        "DATAMAX": 0.0,
        "NGOODPIX": nx * ny,
        "GOODMIN": frame.least,
        "GOODMAX": frame.most,
        "GOODMEAN": frame.total / (nx * ny),
    } | _geometry(frame.readout)
    if science:
        common |= {
            "CTYPE1": "LAMBDA",
            "CTYPE2": "ANGLE",
            "CRVAL1": 4300.0,
            "CD1_1": 2.746,
            "CD2_2": 1.41056e-5,
        }
    sci = common | {
        "NAXIS1": nx,
        "NAXIS2": ny,
        "DATAMIN": frame.least,
        "DATAMAX": frame.most,
        "ASN_MTYP": "CRSPLIT" if science else "",
        "DATE-OBS": f"{begin:%Y-%m-%d}",
        "TIME-OBS": f"{begin:%H:%M:%S}",
        "EXPSTART": frame.mjd,
        "EXPEND": frame.mjd + frame.exptime / 86400.0,
        "EXPTIME": frame.exptime,
        "OCCDHTAV": frame.header_temperature,
    }
    yield "sci", sci
    yield "err", common
    yield "dq", common


def write_raw(folder: Path, exposure: Exposure, frames: Iterable[Frame], figures: Mapping[str, Any]) -> Path:
    """Write one raw file, whole or not at all; frames are taken one after the other.

    Parameters
    ----------
    folder : pathlib.Path
        Where to.
    exposure : Exposure
        What it is.
    frames : iterable of Frame
        One for each imset.
    figures : mapping
        The epoch's section of simulation.yaml: names of the reference files.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    path = folder / exposure.filename
    scope = "spectroscopic" if exposure.kind == "science" else "imaging"
    with atomic_write(path) as file:
        file.write(header("primary", _primary(exposure, figures), scope))
        for extver, frame in enumerate(frames, start=1):
            for hdu, values in _imset(exposure, extver, frame):
                file.write(header(hdu, values, scope))
                if hdu == "sci":
                    # 16-bit integers with BZERO = 32768: the highest bit is turned over.
                    data = (frame.data ^ np.uint16(0x8000)).astype(">u2")
                    file.write(data.data)
                    file.write(b"\0" * (-data.nbytes % _BLOCK))
    return path
