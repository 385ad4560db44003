"""Header keywords that are read through and changed by adding, never in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from astropy.io import fits

from refstis.datamodels.blocks import RawHeader
from refstis.errors import printable

__all__ = ["Keywords", "header_double", "header_float", "header_text"]


def header_float(value: float | np.floating) -> float:
    """A float32 as CALSTIS writes it into a header: 8 significant digits.

    Parameters
    ----------
    value : float
        Any finite number.

    Returns
    -------
    float
        The number that the header's text stands for.

    Examples
    --------
    >>> header_float(6.24)
    6.2399998
    """
    return float(format(float(np.float32(value)), ".7E")) + 0.0


def header_double(value: float | np.floating) -> float:
    """A double as CALSTIS writes it into a header: 13 significant digits, and no negative zero.

    Parameters
    ----------
    value : float
        Any finite number.

    Returns
    -------
    float
        The number that the header's text stands for.
    """
    return float(format(float(value), ".12E")) + 0.0


def header_text(text: str) -> str:
    """A text as a header can hold it: names of files may have any characters, cards have printable ASCII.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        With escapes in place of other characters.
    """
    return printable(text).encode("ascii", "backslashreplace").decode()


class Keywords:
    """A FITS header under a layer of changes.

    The header below is shared and never changed, so that a changed copy costs next to nothing.

    Parameters
    ----------
    header : astropy.io.fits.Header or RawHeader
        The header as read; it must not be changed afterwards.
    changes : mapping, optional
        New values by keyword, or (value, comment) pairs; None removes a keyword.
    history : tuple of str
        Lines of HISTORY to add at the end.
    """

    __slots__ = ("_changes", "_header", "_history")

    def __init__(
        self,
        header: fits.Header | RawHeader,
        changes: Mapping[str, Any] | None = None,
        history: Iterable[str] = (),
    ):
        self._header = header
        self._changes = {
            key: v if isinstance(v, tuple) or v is None else (v, None) for key, v in (changes or {}).items()
        }
        self._history = tuple(history)

    def get(self, keyword: str, default: Any = None) -> Any:
        """Value of a keyword.

        Parameters
        ----------
        keyword : str
            Upper-case name.
        default : object
            What to return where the keyword is missing or has no value.

        Returns
        -------
        object
            The value; of strings without trailing blanks.
        """
        if keyword in self._changes:
            change = self._changes[keyword]
            value = default if change is None else change[0]
        else:
            value = self._header.get(keyword, default)
        # astropy's headers give None for a keyword without a value, its cards their own object
        if value is None or isinstance(value, fits.card.Undefined):
            return default
        return value.rstrip() if isinstance(value, str) else value

    def __getitem__(self, keyword: str) -> Any:
        if keyword not in self:
            raise KeyError(keyword)
        return self.get(keyword)

    def __contains__(self, keyword: str) -> bool:
        if keyword in self._changes:
            return self._changes[keyword] is not None
        return keyword in self._header

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._header, *self._changes]))

    @property
    def history(self) -> tuple[str, ...]:
        """All lines of HISTORY, those added last at the end."""
        lines = self._header.get("HISTORY", ())
        return (*(str(line) for line in lines), *self._history)

    def changed(self, changes: Mapping[str, Any], history: Iterable[str] = ()) -> Keywords:
        """The same keywords with changes.

        Parameters
        ----------
        changes : mapping
            New values by keyword, or (value, comment) pairs; None removes a keyword.
        history : iterable of str
            Lines of HISTORY to add.

        Returns
        -------
        Keywords
            A new object.
        """
        merged = Keywords(self._header, changes)
        merged._changes = {**self._changes, **merged._changes}
        merged._history = (*self._history, *history)
        return merged

    def header(self) -> fits.Header:
        """The header with all changes made.

        Returns
        -------
        astropy.io.fits.Header
            A new header.
        """
        header = self._header.copy()
        for keyword, change in self._changes.items():
            if change is None:
                header.remove(keyword, ignore_missing=True, remove_all=True)
            else:
                value, comment = change
                header.set(keyword, header_text(value) if isinstance(value, str) else value, comment)
        for line in self._history:
            header.add_history(header_text(line))
        return header
