"""FITS files as blocks: where each HDU lies, and its header without parsing the cards that nobody asks for.

A month has more than a thousand image extensions, of whose headers a few keywords are needed; parsing all their cards
would take longer than calibrating the pixels.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from astropy.io import fits

from refstis.errors import InputError

__all__ = ["HduBlocks", "RawHeader", "data_size", "parse_header", "scan_hdus", "scan_stream"]

BLOCK = 2880
CARD = 80
# A header longer than this is not one of an image.
MOST_HEADER_BLOCKS = 2000
# What the standard allows.
MOST_AXES = 999
# The largest frame of a STIS detector has 2048 pixels a side.
LONGEST_SIDE = 4096


class RawHeader:
    """Header of an HDU as it stands in the file.

    Parameters
    ----------
    cards : bytes
        Whole cards of 80 bytes, up to but without END.
    source : str
        File name, for messages.
    """

    def __init__(self, cards: bytes, source: str):
        self._cards = cards
        self._source = source
        self._values: dict[str, Any] = {}

    @cached_property
    def _index(self) -> dict[str, int]:
        """Place of the first card of each keyword."""
        index: dict[str, int] = {}
        for begin in range(0, len(self._cards), CARD):
            index.setdefault(self._cards[begin : begin + 8].rstrip().decode("latin-1"), begin)
        # the rest of a long string has no keyword of its own
        index.pop("CONTINUE", None)
        return index

    @cached_property
    def _parsed(self) -> fits.Header:
        return parse_header(self._cards)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __getitem__(self, keyword: str) -> Any:
        if keyword in self._values:
            return self._values[keyword]
        begin = self._index[keyword]
        following = self._cards[begin + CARD : begin + CARD + 8]
        try:
            if keyword in {"HISTORY", "COMMENT", ""} or following == b"CONTINUE":
                return self._parsed[keyword]
            card = self._cards[begin : begin + CARD]
            value = _simple_value(card)
            self._values[keyword] = parse_header(card).get(keyword) if value is None else value
            return self._values[keyword]
        except (ValueError, fits.VerifyError, UnicodeDecodeError) as error:
            raise InputError(
                f"{self._source}: keyword {keyword} cannot be read ({error}). Repair the header or retrieve "
                "the file again."
            ) from None

    def get(self, keyword: str, default: Any = None) -> Any:
        """Value of a keyword.

        Parameters
        ----------
        keyword : str
            Upper-case name.
        default : object
            What to return where it is missing.

        Returns
        -------
        object
            The value.
        """
        return self[keyword] if keyword in self._index else default

    def copy(self) -> fits.Header:
        """The header with all its cards.

        Returns
        -------
        astropy.io.fits.Header
            A new header.
        """
        return self._parsed.copy()


# What FITS and its usual conventions know as a card: commentary, a value indicator, or the rest of a long string.
_CARD = re.compile(rb"COMMENT |HISTORY |CONTINUE|        |HIERARCH .*?=|(?=.{8}= )[A-Za-z0-9_-]+ *=")
_QUESTION_MARKS = bytes(number if 32 <= number <= 126 else ord("?") for number in range(256))


def parse_header(cards: bytes) -> fits.Header:
    """Parse cards; those that no FITS reader knows what to make of are left out, as astropy only warns of them.

    Parameters
    ----------
    cards : bytes
        Whole cards of 80 bytes, up to END or up to where it stands.

    Returns
    -------
    astropy.io.fits.Header
        With ? for bytes that are no printable ASCII.
    """
    text = cards.translate(_QUESTION_MARKS)
    kept = [text[begin : begin + CARD] for begin in range(0, len(text), CARD)]
    kept = [card for card in kept if _CARD.match(card) and card[:8] != b"END     "]
    return fits.Header.fromstring(b"".join(kept))


# A value in its usual form: a string without quotes in it, a logical, an integer or a floating-point number.
_VALUE = re.compile(
    rb"[^=]{8}= *(?:'([^']*)'|([TF])|([+-]?[0-9]+)|([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[ED][+-]?[0-9]+)?)) *(?:/.*)?$"
)


def _simple_value(card: bytes) -> Any:
    """Value of a card in its usual form; None for what astropy has to look at."""
    match = _VALUE.match(card)
    if match is None:
        return None
    text, logical, integer, real = match.groups()
    if text is not None:
        return text.rstrip().decode("ascii") if text.isascii() and text.rstrip()[-1:] != b"&" else None
    if logical is not None:
        return logical == b"T"
    return int(integer) if integer is not None else float(real.replace(b"D", b"E"))


@dataclass(frozen=True)
class HduBlocks:
    """One HDU of a file.

    Parameters
    ----------
    header : RawHeader
        Its header.
    data_begin : int
        Where its data begin (bytes).
    data_size : int
        Length of its data without padding (bytes).
    """

    header: RawHeader
    data_begin: int
    data_size: int


def data_size(header: Mapping[str, Any] | RawHeader) -> int:
    """Length of the data behind a header, without padding.

    Parameters
    ----------
    header : mapping
        Keyword to value.

    Returns
    -------
    int
        In bytes.

    Raises
    ------
    KeyError, ValueError
        Where the header does not tell, or tells what cannot be.
    """

    def whole(keyword: str, default: int | None = None) -> int:
        value = header[keyword] if default is None else header.get(keyword, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{keyword} is {value!r}")
        return value

    if header["BITPIX"] not in (8, 16, 32, 64, -32, -64):
        raise ValueError(f"BITPIX is {header['BITPIX']!r}")
    number = whole("NAXIS")
    if number > MOST_AXES:
        raise ValueError(f"NAXIS is {number}")
    axes = [whole(f"NAXIS{n + 1}") for n in range(number)]
    if not axes:
        return 0
    return abs(header["BITPIX"]) // 8 * whole("GCOUNT", 1) * (whole("PCOUNT", 0) + math.prod(axes))


def scan_hdus(path: Path) -> list[HduBlocks]:
    """Find the HDUs of an uncompressed FITS file.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    list of HduBlocks
        Primary HDU and extensions.

    Raises
    ------
    InputError
        Where the file is no FITS file or ends too early.
    OSError
        Where it cannot be read.
    """
    with path.open("rb") as stream:
        return scan_stream(stream, path)


def scan_stream(stream: IO[bytes], path: Path) -> list[HduBlocks]:
    """Find the HDUs of an open, uncompressed FITS file.

    Parameters
    ----------
    stream : file object
        Seekable, in binary mode.
    path : pathlib.Path
        What messages call it.

    Returns
    -------
    list of HduBlocks
        Primary HDU and extensions.

    Raises
    ------
    InputError
        Where it is no FITS file or ends too early.
    """
    hdus: list[HduBlocks] = []
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    begin = 0
    while begin < size:
        header, length = _read_header(stream, path, begin, first=not hdus)
        if header is None:
            break
        # of a file that says it keeps to no standard astropy takes all that follows for data, and goes on for ever
        if not hdus and header["SIMPLE"] is not True:
            raise InputError(
                f"{path}: not a FITS file that keeps to the standard (SIMPLE is not T). Copy or retrieve it again."
            )
        try:
            size_of_data = data_size(header)
        except (KeyError, ValueError):
            raise InputError(
                f"{path}: not a readable FITS file (BITPIX or NAXIS of HDU {len(hdus)} is missing or no "
                "number). Copy or "
                "retrieve it again, or leave it out."
            ) from None
        data_begin = begin + length
        if data_begin + size_of_data > size:
            raise InputError(
                f"{path}: the file ends after {size} bytes; HDU {len(hdus)} needs "
                f"{data_begin + size_of_data}. It was cut "
                "short: copy or retrieve it again, or leave it out."
            )
        hdus.append(HduBlocks(header, data_begin, size_of_data))
        begin = data_begin + -(-size_of_data // BLOCK) * BLOCK
        stream.seek(begin)
    if not hdus:
        raise InputError(f"{path}: the file is empty. Copy or retrieve it again, or leave it out.")
    return hdus


def _read_header(stream, path, begin, first):
    """Header that begins here and its length with padding; None for what follows the last HDU."""
    cards = b""
    for _ in range(MOST_HEADER_BLOCKS):
        block = stream.read(BLOCK)
        if not cards and not first and not block.startswith(b"XTENSION"):
            return None, 0
        if not cards and first and not block.startswith(b"SIMPLE  ="):
            raise InputError(f"{path}: not a FITS file. Check the name, or retrieve it again.")
        cards += block
        for place in range(len(cards) - len(block), len(cards), CARD):
            if cards[place : place + 8].rstrip() == b"END":
                return RawHeader(cards[:place], path.name), len(cards)
        if len(block) < BLOCK:
            break
    raise InputError(
        f"{path}: the header that begins at byte {begin} has no end. The file was cut short: copy or retrieve "
        "it again, or "
        "leave it out."
    )
