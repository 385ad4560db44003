"""Reading files that may be damaged: whatever a library raises or warns of there becomes one known error."""

from __future__ import annotations

import gzip
import io
import os
import re
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from astropy.io import fits

from refstis.datamodels.atomic import atomic_write
from refstis.datamodels.blocks import scan_stream
from refstis.errors import InputError, OutputError

__all__ = ["UNREADABLE", "check_structure", "open_fits", "parse_yaml", "read_asdf", "silently", "write_asdf"]

# What astropy raises, in this place or that, where the bytes of a file are not what its headers say.
UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, TypeError, ValueError,
    fits.VerifyError, re.error, zlib.error,
)  # fmt: skip
# What the constructors of YAML raise of their own: of a date 2013-02-30, of !!bool x, of a thousand brackets.
_NOT_YAML = (
    yaml.YAMLError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)

_one_at_a_time = threading.RLock()


@contextmanager
def silently() -> Iterator[None]:
    """Read a file without warnings: what is wrong with it becomes an error or a verdict of ours, or does not matter.

    Python's list of warning filters belongs to all threads, so that only one of them may have changed it at a time.

    Yields
    ------
    None
        While nothing is warned of.
    """
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_structure(path: Path) -> None:
    """See that the HDUs of a file follow each other to its end; astropy reads a damaged one for ever.

    Parameters
    ----------
    path : pathlib.Path
        A FITS file, gzipped or not.

    Raises
    ------
    ValueError
        Where they do not.
    OSError, zlib.error
        Where it cannot be read or unpacked.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(2) != b"\x1f\x8b":
                scan_stream(stream, path)
                return
        with gzip.open(path) as packed:
            scan_stream(io.BytesIO(packed.read()), path)
    except InputError as error:
        raise ValueError(str(error).removeprefix(f"{path}: ")) from None


@contextmanager
def open_fits(path: str | os.PathLike, **options: Any) -> Iterator[fits.HDUList]:
    """Open a FITS file that may be damaged, without warnings.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    **options
        Of `astropy.io.fits.open`.

    Yields
    ------
    astropy.io.fits.HDUList
        Its HDUs, read into memory where they are asked for; what this raises, here or there, is among `UNREADABLE`.
    """
    check_structure(Path(path))
    with silently(), fits.open(path, memmap=False, **options) as hdus:
        yield hdus


def parse_yaml(text: str) -> Any:
    """Parse YAML of plain values; nothing in it is executed.

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    object
        Mappings, lists, strings, numbers, dates.

    Raises
    ------
    ValueError
        In one line, where the text is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except _NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise ValueError(f"not YAML{where}: {' '.join(str(problem).split())}") from None


def read_asdf(path: str | os.PathLike) -> dict[str, Any]:
    """Read the tree of an ASDF file.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    dict
        Its tree.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    ValueError
        In one line, where it cannot be read as ASDF.
    """
    import asdf

    try:
        with silently(), asdf.open(Path(path), lazy_load=False, memmap=False) as file:
            return dict(file.tree)
    except FileNotFoundError:
        raise
    except (*UNREADABLE, *_NOT_YAML, RuntimeError, asdf.ValidationError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def write_asdf(path: str | os.PathLike, tree: Mapping[str, Any]) -> None:
    """Write an ASDF file, whole or not at all.

    Where asdf cannot read one of its own schemas, as when descriptors have run out, it only warns, and orders the keys
    in another way: the file would not be the same as at other times.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    tree : mapping
        What it holds.

    Raises
    ------
    OutputError
        Where it cannot be written.
    """
    import asdf

    with atomic_write(path) as stream, _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("error", asdf.exceptions.AsdfWarning)
        try:
            with asdf.AsdfFile(_encodable(dict(tree))) as document:
                document.write_to(stream)
        except asdf.exceptions.AsdfWarning as error:
            raise OutputError(
                f"{path}: cannot be written ({error}). Check the installation of asdf and the limits (ulimit -a)."
            ) from error


def _encodable(value: Any) -> Any:
    """A tree without what UTF-8 cannot hold: the names of files may be any bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(one) for key, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list) else value
