"""Associations: which files a product is made of, and the part that each plays."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from astropy.io import fits

from refstis.calibration.darkcorr import SIDE2_BEGIN
from refstis.datamodels.damage import UNREADABLE, open_fits, parse_yaml
from refstis.datamodels.exposure import Exposure
from refstis.errors import InputError

__all__ = ["ROLES", "Association", "ExposureLibrary", "Member"]

ROLES = ("bias", "dark", "superbias", "basebias", "basedark")
# Keywords that all members of a group share (DESIGN: groups are of one mode).
MODE_KEYWORDS = ("CCDAMP", "CCDGAIN", "CCDOFFST", "BINAXIS1", "BINAXIS2")
# Member types of HST association tables that are no exposures of the detector's own.
OTHER_MEMBERS = ("PROD", "DTH", "WAVECAL", "AUTO-WAVECAL")


@dataclass(frozen=True)
class Member:
    """One file of an association.

    Parameters
    ----------
    path : pathlib.Path
        Where it lies.
    role : str or None
        One of `ROLES`; None where the file itself has to tell.
    """

    path: Path
    role: str | None = None


@dataclass(frozen=True)
class Association:
    """Files that belong together.

    Parameters
    ----------
    members : tuple of Member
        Files in their order.
    name : str or None
        Name of the product, where the association gives one.
    path : pathlib.Path or None
        File that it was read from.
    """

    members: tuple[Member, ...]
    name: str | None = None
    path: Path | None = None

    @classmethod
    def open(cls, path: str | os.PathLike) -> Association:
        """Read an association; its kind is told from its content.

        Parameters
        ----------
        path : str or os.PathLike
            JSON or YAML with products and members, an HST association table (``_asn.fits``), or a list of names, one on
            each line. A single image is an association of its own.

        Returns
        -------
        Association
            Members with names relative to the association's folder made absolute.

        Raises
        ------
        InputError
            Where the file is missing, is none of these, or names a file twice.
        """
        path = Path(path)
        try:
            with path.open("rb") as stream:
                start = stream.read(9)
            if start[:2] == b"\x1f\x8b" or start.startswith(b"SIMPLE  ="):
                return cls._of_fits(path)
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise InputError(f"{path}: no such file. Check the name and the folder.") from None
        except UnicodeDecodeError:
            raise InputError(
                f"{path}: neither text nor FITS. Give an association, a list of names or an image."
            ) from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
        return cls._of_text(path, text)

    @classmethod
    def _of_text(cls, path, text):
        content = None
        try:
            content = json.loads(text)
        except ValueError as error:
            if "\x00" not in text:
                with suppress(ValueError):
                    content = parse_yaml(text)
            if content is None and text.lstrip().startswith("{"):
                raise InputError(f"{path}: not valid JSON ({error}). Mend the association.") from None
        if isinstance(content, dict):
            return cls._of_products(path, content)
        lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
        return cls._checked(path, None, [(line, None) for line in lines if line])

    @classmethod
    def _of_products(cls, path, content):
        try:
            products = content["products"]
            product = products[0]
            members = [(member["expname"], member.get("exptype")) for member in product["members"]]
            name = product.get("name")
        except (KeyError, TypeError, IndexError, AttributeError):
            raise InputError(
                f"{path}: not an association. Expected: products, a list whose first entry has a name and "
                "members, each with "
                f"expname and exptype (one of {', '.join(ROLES)})."
            ) from None
        if len(products) > 1:
            raise InputError(
                f"{path}: {len(products)} products; an association for refstis makes one. Split it."
            )
        for expname, role in members:
            if not isinstance(expname, str) or (role is not None and role not in ROLES):
                raise InputError(
                    f"{path}: member {expname!r} has exptype {role!r}; expected one of {', '.join(ROLES)}."
                )
        if name is not None and (
            not isinstance(name, str) or Path(name).name != name or name in {"", ".", ".."} or "\x00" in name
        ):
            raise InputError(f"{path}: product name {name!r}; expected a file name without folder.")
        return cls._checked(path, name, members)

    @classmethod
    def _of_fits(cls, path):
        try:
            with open_fits(path) as hdus:
                table = next(
                    (hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU) and _is_association(hdu)), None
                )
                rows = [] if table is None else [(str(r["MEMNAME"]), str(r["MEMTYPE"])) for r in table.data]
        except UNREADABLE as error:
            raise InputError(f"{path}: not a readable FITS file ({error}).") from error
        if table is None:
            return cls((Member(path.absolute()),), None, None)
        members = []
        for name, kind in rows:
            if not kind.strip().upper().startswith(OTHER_MEMBERS):
                members += _files_of(path.parent, name)
        if not members:
            # the exposures of a CR split lie in the file of their product
            for name, kind in rows:
                if kind.strip().upper().startswith("PROD"):
                    members += _files_of(path.parent, name)
        if not members:
            names = ", ".join(name.strip().lower() for name, _ in rows)
            raise InputError(
                f"{path}: no raw, flt or crj file of {names} in {path.absolute().parent}. Retrieve them."
            )
        return cls._checked(path, None, [(str(member), None) for member in members])

    @classmethod
    def _checked(cls, path, name, members):
        if not members:
            raise InputError(f"{path}: names no files. Add the exposures, one on each line or as members.")
        for expname, _ in members:
            if "\x00" in expname:
                raise InputError(f"{path}: {expname!r} is no file name. Mend the association.")
        paths = [(path.parent / expname).absolute() for expname, _ in members]
        seen: dict[Path, str] = {}
        for file, (expname, _) in zip(paths, members, strict=True):
            real = Path(os.path.realpath(file))
            if real in seen:
                raise InputError(f"{path}: names {expname} twice (as {seen[real]}). Remove one of them.")
            seen[real] = expname
        return cls(
            tuple(Member(p, role) for p, (_, role) in zip(paths, members, strict=True)), name, path.absolute()
        )

    @classmethod
    def of_files(cls, paths: Iterable[str | os.PathLike]) -> Association:
        """Association of a list of files.

        Parameters
        ----------
        paths : iterable of str or os.PathLike
            Files in their order.

        Returns
        -------
        Association
            Members whose headers tell their part.
        """
        members = [(os.fspath(path), None) for path in paths]
        listed = cls._checked(
            Path("list of inputs"), None, [(str(Path(p).absolute()), role) for p, role in members]
        )
        return cls(listed.members)


def _is_association(hdu):
    return {"MEMNAME", "MEMTYPE"} <= {name.upper() for name in hdu.columns.names}


def _files_of(folder, name):
    root = name.strip().lower()
    for suffix in ("raw", "flt", "crj"):
        for ending in (".fits", ".fits.gz"):
            file = folder / f"{root}_{suffix}{ending}"
            if file.exists():
                return [file.name]
    return []


@dataclass(frozen=True)
class ExposureLibrary:
    """The members of an association with their headers read; pixels follow on demand.

    Parameters
    ----------
    exposures : tuple of Exposure
        Biases and darks in the order of the association.
    references : dict
        Superbias, basebias and basedark by role.
    association : Association or None
        Where they come from.
    """

    exposures: tuple[Exposure, ...]
    references: dict[str, Path] = field(default_factory=dict)
    association: Association | None = None

    @classmethod
    def open(cls, source, role: str) -> ExposureLibrary:
        """Open what a pipeline is called with, and check that its members can be combined.

        Parameters
        ----------
        source : str, os.PathLike, Association, Exposure or sequence
            An association or its file, an image, or a list of images.
        role : str
            "bias" or "dark": what the pipeline combines.

        Returns
        -------
        ExposureLibrary
            The members.

        Raises
        ------
        InputError
            Names the member that cannot be used, and why, before any pixel is read.
        """
        if isinstance(source, ExposureLibrary):
            library = source
        elif isinstance(source, Exposure):
            library = cls((source,))
        elif isinstance(source, Association):
            library = cls._of_association(source)
        elif isinstance(source, str | os.PathLike):
            library = cls._of_association(Association.open(source))
        elif all(isinstance(item, Exposure) for item in source):
            library = cls(tuple(source))
        else:
            library = cls._of_association(Association.of_files(source))
        library.check(role)
        return library

    @classmethod
    def _of_association(cls, association):
        exposures: list[Exposure] = []
        references: dict[str, Path] = {}
        for member in association.members:
            role = member.role
            if role in {None, "bias", "dark"}:
                exposure = Exposure.open(member.path)
                role = role or _role(exposure)
                if role in {"bias", "dark"}:
                    exposures.append(exposure)
                    continue
            elif not os.path.exists(member.path):
                raise InputError(
                    f"{member.path}: no such file, named as {role}. Check the name and the folder."
                )
            if role in references:
                raise InputError(
                    f"{member.path}: a second {role} beside {references[role].name}. Remove one of them."
                )
            references[role] = member.path
        return cls(tuple(exposures), references, association)

    def __len__(self) -> int:
        return len(self.exposures)

    def __iter__(self) -> Iterator[Exposure]:
        return iter(self.exposures)

    def check(self, role: str) -> None:
        """Check that the members are STIS CCD exposures of one kind and one mode.

        Parameters
        ----------
        role : str
            "bias" or "dark".

        Raises
        ------
        InputError
            Names the first member that does not fit.
        """
        if not self.exposures:
            raise InputError(f"{self._name}: no {role} exposures in it. Add them.")
        first = self.exposures[0]
        for exposure in self.exposures:
            _check_member(exposure, role)
            for keyword in MODE_KEYWORDS:
                mine, theirs = exposure.primary.get(keyword), first.primary.get(keyword)
                if mine != theirs:
                    raise InputError(
                        f"{exposure.name}: {keyword} is {mine}; {first.name} has {theirs}. A product is made "
                        "of exposures of "
                        "one mode: make one for each."
                    )
            if exposure.done("PCTECORR") != first.done("PCTECORR"):
                raise InputError(
                    f"{exposure.name}: PCTECORR is {exposure.switch('PCTECORR')}; {first.name} has "
                    f"{first.switch('PCTECORR')}. Exposures corrected for CTI and others cannot be combined."
                )
            if (exposure.start_mjd > SIDE2_BEGIN) != (first.start_mjd > SIDE2_BEGIN):
                raise InputError(
                    f"{exposure.name}: taken on the other side of STIS's electronics than {first.name} (2001 July). "
                    "Make a product for each side."
                )
        self._check_sizes()

    def _check_sizes(self):
        # raw exposures and such without overscan may stand side by side: those of one state have one size
        seen: dict[bool, tuple[str, tuple[int, int]]] = {}
        for exposure in self.exposures:
            for version, imset in enumerate(exposure.imsets, start=1):
                name, shape = seen.setdefault(exposure.done("BLEVCORR"), (exposure.name, imset.sci.shape))
                if imset.sci.shape != shape:
                    raise InputError(
                        f"{exposure.name}: image set {version} has {imset.sci.shape[1]} x {imset.sci.shape[0]} pixels; "
                        f"{name} has {shape[1]} x {shape[0]}. A product is made of images of one size: leave it out."
                    )

    @property
    def _name(self):
        path = self.association.path if self.association else None
        return path or "the list of inputs"


def _role(exposure):
    filetype = str(exposure.primary.get("FILETYPE", "")).strip().upper()
    task = str(exposure.primary.get("TASKNAME", "")).strip().upper()
    if filetype == "CCD BIAS IMAGE":
        return "basebias" if task == "BASEJOIN" else "superbias"
    if filetype == "DARK IMAGE":
        return "basedark"
    role = str(exposure.primary.get("TARGNAME", "")).strip().lower()
    if role not in {"bias", "dark"}:
        raise InputError(
            f"{exposure.name}: TARGNAME is {exposure.primary.get('TARGNAME')!r}; expected BIAS or DARK. Leave "
            "it out, or name "
            "its part in an association (exptype)."
        )
    return role


def _check_member(exposure, role):
    header = exposure.primary
    for keyword, expected in (("INSTRUME", "STIS"), ("DETECTOR", "CCD"), ("TARGNAME", role.upper())):
        value = str(header.get(keyword, "")).strip()
        if value != expected:
            raise InputError(f"{exposure.name}: {keyword} is {value!r}; expected {expected!r}. Leave it out.")
    for keyword in ("CCDAMP", "CCDGAIN", "TEXPSTRT"):
        if header.get(keyword) is None:
            raise InputError(
                f"{exposure.name}: {keyword} is missing from the primary header. Retrieve the file again."
            )
    if header["CCDGAIN"] not in {1, 4}:
        raise InputError(
            f"{exposure.name}: CCDGAIN is {header['CCDGAIN']}; reference files are made at 1 and 4. Leave it out."
        )
    for version, imset in enumerate(exposure.imsets, start=1):
        flag = str(imset.sci_header.get("EXPFLAG", "NORMAL")).strip() or "NORMAL"
        if flag != "NORMAL":
            raise InputError(
                f"{exposure.name}: EXPFLAG of image set {version} is {flag!r}; expected 'NORMAL'. Leave it out."
            )
        if not imset.good:
            raise InputError(
                f"{exposure.name}: image set {version} is marked as bad (IMSET_OK = F). Leave the file out."
            )
        if imset.sci_header.get("EXPTIME") is None:
            raise InputError(
                f"{exposure.name}: EXPTIME of image set {version} is missing. Retrieve the file again."
            )
