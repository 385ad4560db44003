"""Where a reference file comes from: override, association, header, CRDS, or built in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from astropy.time import Time

from refstis.datamodels.configuration import config_path, expand_home
from refstis.datamodels.exposure import Exposure
from refstis.errors import ReferenceFileError

__all__ = ["Reference", "find_reference", "resolve_name"]

# Reference images that refstis makes itself: their part in an association.
MADE_HERE = {"biasfile": "superbias", "basebias": "basebias", "basedark": "basedark"}


@dataclass(frozen=True)
class Reference:
    """A reference file and how it was found.

    Parameters
    ----------
    kind : str
        Keyword in lower case, such as "ccdtab".
    name : str
        Name as the header of a product shall give it.
    path : pathlib.Path or None
        Where it lies; None where the exposure asks for none (blank or N/A).
    how : str
        "override", "association", "header", "crds", "built-in" or "none".
    warning : str
        What a reader should know; empty where all is as the header asks.
    """

    kind: str
    name: str
    path: Path | None
    how: str
    warning: str = ""

    @property
    def file(self) -> Path:
        """Path of a reference that the exposure cannot do without.

        Raises
        ------
        ReferenceFileError
            Where it was overridden by "N/A".
        """
        if self.path is None:
            raise ReferenceFileError(
                f"{self.kind} is {self.name}, but it is needed. Give a file (override_{self.kind})."
            )
        return self.path


def resolve_name(name: str, folder: Path | None = None) -> tuple[Path | None, str]:
    """Path of a name as headers give it.

    Parameters
    ----------
    name : str
        ``oref$file``, ``$oref/file`` or a path.
    folder : pathlib.Path, optional
        Folder that a relative path may also start from.

    Returns
    -------
    tuple
        The path, None where the variable is not set; and the variable's name, empty where there is none.
    """
    variable, separator, rest = name.partition("$")
    if separator and not variable:
        variable, _, rest = rest.partition("/")
    if separator:
        root = os.environ.get(variable)
        return (Path(root) / rest if root else None), variable
    path = expand_home(name)
    if folder is not None and not path.is_absolute() and not os.path.exists(path):
        return folder / path, ""
    return path, ""


@cache
def _built_in():
    return yaml.safe_load(config_path("references.yaml").read_text(encoding="utf-8"))


@cache
def _begin(date: str) -> float:
    """A date (UTC) as MJD; parsing one leaves garbage behind that holds on to the pixels of who asked for it."""
    return Time(date, scale="utc").mjd


def find_reference(
    kind: str,
    exposure: Exposure,
    override: str | None = None,
    associated: Path | None = None,
    crds: bool = False,
) -> Reference:
    """Find a reference file for an exposure.

    Parameters
    ----------
    kind : str
        "ccdtab", "bpixtab", "crrejtab", "biasfile" or "darkfile".
    exposure : Exposure
        The exposure that is calibrated.
    override : str, optional
        A file that is taken in any case; "N/A" for none.
    associated : pathlib.Path, optional
        The association's.
    crds : bool
        Whether CRDS may be asked for its best reference.

    Returns
    -------
    Reference
        The file.

    Raises
    ------
    ReferenceFileError
        Where there is none; names what was tried.
    """
    if override:
        if override.strip().upper() == "N/A":
            return Reference(kind, "N/A", None, "override")
        return _existing(Reference(kind, override, expand_home(override).absolute(), "override"))
    if associated:
        return _existing(Reference(kind, str(associated), Path(associated), "association"))

    name = str(exposure.primary.get(kind.upper(), "")).strip()
    given = name.upper() not in {"", "N/A"}
    if not given and kind == "bpixtab":
        return Reference(kind, "N/A", None, "none")
    tried = f"{kind.upper()} is not in its header"
    if given:
        path, variable = resolve_name(name, exposure.path.parent if exposure.path else None)
        if path is not None and os.path.isfile(path):
            return Reference(kind, name, path.absolute(), "header")
        tried = f"${variable} is not set" if path is None else f"{path} does not exist"
    if crds:
        path = _from_crds(kind, exposure)
        return Reference(kind, f"oref${path.name}", path, "crds")
    return _from_built_in(kind, exposure, name, given, tried)


def _existing(reference):
    if not os.path.isfile(reference.path):
        raise ReferenceFileError(
            f"{reference.path}: no such file, given as {reference.kind} ({reference.how}). Check the name."
        )
    return reference


def _from_crds(kind, exposure):
    import crds

    try:
        found = crds.getreferences(exposure.get_crds_parameters(), reftypes=[kind], observatory="hst")
        return Path(found[kind])
    except (crds.core.exceptions.CrdsError, KeyError, OSError, SystemExit) as error:
        raise ReferenceFileError(
            f"{exposure.name}: CRDS gives no {kind} ({error}). Set CRDS_PATH and CRDS_SERVER_URL, or give the file "
            f"(override_{kind})."
        ) from None


def _from_built_in(kind, exposure, name, given, tried):
    built_in = _built_in().get(kind)
    remedy = f"Set $oref to the folder of the reference files, or give the file (override_{kind})."
    if kind in MADE_HERE:
        remedy = (
            f"Name it in the association (exptype {MADE_HERE[kind]}), or give the file (override_{kind})."
        )
    if built_in is None:
        raise ReferenceFileError(
            f"{exposure.name}: needs a {kind} ({name or 'none named'}; {tried}). {remedy}"
        )
    if exposure.start_mjd < _begin(str(built_in["begin"])):
        raise ReferenceFileError(
            f"{exposure.name}: {tried}, and the built-in {kind} ({built_in['name']}) holds from "
            f"{built_in['begin']} on; the "
            f"exposure began on {Time(exposure.start_mjd, format='mjd').iso[:10]}. {remedy}"
        )
    warning = ""
    if not given or name.split("$")[-1].split("/")[-1] != built_in["name"]:
        warning = f"{kind.upper()} {name or '(none named)'}: {tried}; used the built-in {built_in['name']}."
    return Reference(kind, f"built-in {built_in['name']}", config_path(built_in["file"]), "built-in", warning)
