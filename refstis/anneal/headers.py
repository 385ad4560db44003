"""Reading only the header blocks of a FITS file.

A plan needs some thirty keywords of each of hundreds of raws, and their pixels of none. This reader walks from
header to header without touching the data between, checks on the way that the file is as long as its headers say,
and is robust: whatever the bytes are, the result is keywords or one `InputError`.
"""

import io
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from refstis.datamodels.blocks import data_size
from refstis.errors import InputError

__all__ = ["HeaderKeywords", "HeaderUnit", "Headers", "open_fits", "read_headers"]

_BLOCK = 2880
# Bytes that are read at a time, at least.
_BUFFER = 2**15
_CARD = 80
# More than any STIS exposure has by far; a header or a file beyond it is garbage that happens to look like FITS.
_MOST_BLOCKS = 1000
_MOST_UNITS = 10_000


class HeaderKeywords(Mapping[str, Any]):
    """Keywords of a header, whose values are only made of what stands in the file where somebody asks for them.

    Commentary cards and CONTINUE cards are left out.
    """

    def __init__(self):
        self._texts: dict[str, str] = {}

    def add(self, name: str, text: str) -> None:
        """Add a keyword with what follows its value indicator; the first of duplicates counts."""
        self._texts.setdefault(name, text)

    def __getitem__(self, name: str) -> Any:
        return _value(self._texts[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


@dataclass
class HeaderUnit:
    """One header of a FITS file.

    Attributes
    ----------
    keywords : HeaderKeywords
        Keyword to value (str, int, float, bool, or None where it has none); the first of duplicates.
    data_offset, data_size : int
        Where its data begin, in bytes from the start of the file, and how long they are without padding.
    """

    keywords: HeaderKeywords
    data_offset: int
    data_size: int


@dataclass
class Headers:
    """All headers of a FITS file.

    Attributes
    ----------
    units : list of HeaderUnit
        The primary header first.
    fault : str
        What is wrong with the file behind these headers; empty where nothing is. A file that was cut off still
        tells what it was.
    """

    units: list[HeaderUnit] = field(default_factory=list)
    fault: str = ""

    @property
    def primary(self) -> HeaderKeywords:
        """Keywords of the primary header."""
        return self.units[0].keywords

    def extensions(self, name: str) -> list[HeaderUnit]:
        """The extensions of this EXTNAME, in the order of the file."""
        return [unit for unit in self.units[1:] if unit.keywords.get("EXTNAME") == name]


def open_fits(path: str | os.PathLike) -> tuple[BinaryIO, str]:
    """Open a FITS file for reading; a gzipped one is unpacked in memory.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    handle : file object
        In binary mode, seekable.
    fault : str
        Why a gzipped file could not be unpacked to its end; empty where it could.

    Raises
    ------
    refstis.errors.InputError
        Where it is no regular file or cannot be opened.
    """
    try:
        # A named pipe of that name would make open() wait for ever.
        if not Path(path).is_file():
            raise InputError(f"{path}: is not there, or is not a file; a FITS file was expected")
        # the headers of an image set lie beside each other
        handle = Path(path).open("rb", _BUFFER)  # noqa: SIM115 - the caller closes it
        magic = handle.read(2)
        handle.seek(0)
        if magic != b"\x1f\x8b":
            return handle, ""
        with handle:
            return _unpack(handle)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _unpack(handle: BinaryIO) -> tuple[BinaryIO, str]:
    # The gzip module loses what it unpacked last before an error, and with it the headers of a small file.
    unpacked = io.BytesIO()
    unpacker = zlib.decompressobj(wbits=31)
    fault = ""
    try:
        while (packed := handle.read(1 << 20)) and not unpacker.eof:
            unpacked.write(unpacker.decompress(packed))
    except zlib.error as error:
        fault = f"cannot be unpacked: {error}"
    if not fault and not unpacker.eof:
        fault = "truncated: the gzipped file has no end"
    return unpacked, fault


def read_headers(path: str | os.PathLike) -> Headers:
    """Read the headers of a FITS file.

    Parameters
    ----------
    path : path-like
        The file, gzipped or not.

    Returns
    -------
    Headers
        As many headers as could be read, with the file's fault where it has one.

    Raises
    ------
    refstis.errors.InputError
        Where not even the primary header can be read.
    """
    headers = Headers()
    handle, headers.fault = open_fits(path)
    with handle:
        try:
            length = handle.seek(0, os.SEEK_END)
            offset = 0
            while offset < length:
                if len(headers.units) >= _MOST_UNITS:
                    headers.fault = f"more than {_MOST_UNITS} extensions"
                    break
                handle.seek(offset)
                unit = _read_unit(handle, offset, first=not headers.units)
                if unit is None:
                    if not headers.units:
                        raise InputError(f"{path}: is not a FITS file; download it again")
                    # Anything may follow the last extension in FITS, but nothing does in an archive file.
                    headers.fault = headers.fault or (
                        f"truncated or damaged: byte {offset} of {length} should begin an extension and does not"
                    )
                    break
                headers.units.append(unit)
                end = unit.data_offset + unit.data_size
                if end > length:
                    headers.fault = headers.fault or f"truncated: {length} bytes, at least {end} expected"
                    break
                offset = unit.data_offset + -(-unit.data_size // _BLOCK) * _BLOCK
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not headers.units:
        raise InputError(f"{path}: {headers.fault or 'is empty'}; download it again")
    expected = headers.primary.get("NEXTEND")
    if not headers.fault and isinstance(expected, int) and expected != len(headers.units) - 1:
        headers.fault = f"{len(headers.units) - 1} extensions, NEXTEND says {expected}"
    return headers


def _read_unit(handle: BinaryIO, offset: int, first: bool) -> HeaderUnit | None:
    keywords = HeaderKeywords()
    for number in range(_MOST_BLOCKS):
        block = handle.read(_BLOCK)
        if number == 0 and not block.startswith(b"SIMPLE  =" if first else b"XTENSION="):
            return None
        if len(block) < _BLOCK:
            return None
        text = block.decode("latin-1")
        for start in range(0, _BLOCK, _CARD):
            name = text[start : start + 8].rstrip()
            if name == "END":
                try:
                    size = data_size(keywords)
                except (KeyError, ValueError):
                    return None
                return HeaderUnit(keywords, offset + (number + 1) * _BLOCK, size)
            if text[start + 8 : start + 10] == "= ":
                keywords.add(name, text[start + 10 : start + _CARD])
    return None


def _value(text: str) -> str | int | float | bool | None:
    text = text.strip()
    if text.startswith("'"):
        end = 1
        while True:
            end = text.find("'", end)
            if end < 0:
                end = len(text)
                break
            if text[end : end + 2] != "''":
                break
            end += 2
        # What is no printable ASCII has no place in a header, and must reach neither terminal nor data base.
        clean = text[1:end].replace("''", "'").rstrip()
        return clean if clean.isprintable() and clean.isascii() else ascii(clean)[1:-1]
    text = text.partition("/")[0].strip()
    if text in ("T", "F"):
        return text == "T"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text.replace("D", "E").replace("d", "e"))
    except ValueError:
        return None
