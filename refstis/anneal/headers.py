"""Reading only the header blocks of a FITS file.

A plan needs some thirty keywords of each of hundreds of raws, and their pixels of none. This reader walks from
header to header without touching the data between, checks on the way that the file is as long as its headers say,
and is robust: whatever the bytes are, the result is keywords or one `InputError`.
"""

import gzip
import os
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from refstis.errors import InputError

__all__ = ["HeaderUnit", "Headers", "open_fits", "read_headers"]

_BLOCK = 2880
_CARD = 80
# More than any STIS exposure has by far; a header or a file beyond it is garbage that happens to look like FITS.
_MOST_BLOCKS = 1000
_MOST_UNITS = 10_000


@dataclass
class HeaderUnit:
    """One header of a FITS file.

    Attributes
    ----------
    keywords : dict
        Keyword to value (str, int, float, bool, or None where it has none); the first of duplicates. Commentary
        cards and CONTINUE cards are left out.
    data_offset, data_size : int
        Where its data begin, in bytes from the start of the file, and how long they are without padding.
    """

    keywords: dict[str, str | int | float | bool | None]
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
    def primary(self) -> dict:
        """Keywords of the primary header."""
        return self.units[0].keywords

    def extensions(self, name: str) -> list[HeaderUnit]:
        """The extensions of this EXTNAME, in the order of the file."""
        return [unit for unit in self.units[1:] if unit.keywords.get("EXTNAME") == name]


def open_fits(path: str | os.PathLike) -> BinaryIO:
    """Open a FITS file for reading, unpacking it on the way where it is gzipped.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    file object
        In binary mode, seekable.

    Raises
    ------
    refstis.errors.InputError
        Where it is no regular file or cannot be opened.
    """
    try:
        # A named pipe of that name would make open() wait for ever.
        if not os.path.isfile(path):
            raise InputError(f"{path}: is not there, or is not a file; a FITS file was expected")
        handle = open(path, "rb")  # noqa: SIM115 - the caller closes it
        magic = handle.read(2)
        handle.seek(0)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return gzip.GzipFile(fileobj=handle) if magic == b"\x1f\x8b" else handle  # type: ignore[return-value]


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
    with open_fits(path) as handle:
        try:
            length = _length(handle)
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
                    headers.fault = f"byte {offset} should begin an extension and does not"
                    break
                headers.units.append(unit)
                end = unit.data_offset + unit.data_size
                if end > length:
                    headers.fault = f"truncated: {length} bytes, at least {end} expected"
                    break
                offset = unit.data_offset + -(-unit.data_size // _BLOCK) * _BLOCK
        except (OSError, EOFError, zlib.error) as error:
            if not headers.units:
                raise InputError(f"{path}: cannot be read: {error}; download it again") from None
            headers.fault = f"cannot be read to its end: {error}"
    expected = headers.primary.get("NEXTEND")
    if not headers.fault and isinstance(expected, int) and expected != len(headers.units) - 1:
        headers.fault = f"{len(headers.units) - 1} extensions, NEXTEND says {expected}"
    return headers


def _length(handle: BinaryIO) -> int:
    if isinstance(handle, gzip.GzipFile):
        # The length of what is packed is known only by unpacking it, which also checks its CRC.
        while handle.read(1 << 20):
            pass
        return handle.tell()
    return os.fstat(handle.fileno()).st_size


def _read_unit(handle: BinaryIO, offset: int, first: bool) -> HeaderUnit | None:
    keywords: dict[str, str | int | float | bool | None] = {}
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
                size = _data_size(keywords)
                if size is None:
                    return None
                return HeaderUnit(keywords, offset + (number + 1) * _BLOCK, size)
            if text[start + 8 : start + 10] == "= " and name not in keywords:
                keywords[name] = _value(text[start + 10 : start + _CARD])
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


def _data_size(keywords: dict) -> int | None:
    def whole(name: str, default: int | None = None) -> int | None:
        value = keywords.get(name, default)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    bitpix, axes = keywords.get("BITPIX"), whole("NAXIS")
    if bitpix not in (8, 16, 32, 64, -32, -64) or axes is None or axes > 999:
        return None
    if axes == 0:
        return 0
    pixels = 1
    for axis in range(1, axes + 1):
        length = whole(f"NAXIS{axis}")
        if length is None:
            return None
        pixels *= length
    groups, heap = whole("GCOUNT", 1), whole("PCOUNT", 0)
    if groups is None or heap is None:
        return None
    return abs(bitpix) // 8 * groups * (heap + pixels)
