"""The delivery: files, form, certification, report and checksums in one folder."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from refstis.datamodels.atomic import atomic_write
from refstis.delivery.certification import Certification, certify_log
from refstis.delivery.checks import FAIL, Judgement
from refstis.delivery.form import Form, make_form
from refstis.delivery.products import Product, find_products, open_products
from refstis.delivery.regression import RegressionResult, failures
from refstis.errors import ConfigurationError, InputError, OutputError, RefstisError

__all__ = ["Package", "make_package", "parse_acceptances"]

FORM, TEXT_FORM, CERTIFICATION, VERDICTS, SUMS = (
    "delivery_form.yaml",
    "deliveryform.txt",
    "certification.log",
    "verdicts.json",
    "SHA256SUMS",
)


@dataclass(frozen=True)
class Package:
    """A delivery that is ready.

    Attributes
    ----------
    folder : pathlib.Path
        Where it lies.
    form : Form
        Its form.
    files : tuple of str
        Names of the reference files.
    """

    folder: Path
    form: Form
    files: tuple[str, ...]


def parse_acceptances(given: Sequence[str]) -> dict[str, str]:
    """Read what is delivered in spite of its verdict.

    Parameters
    ----------
    given : sequence of str
        Each ``NAME=REASON``.

    Returns
    -------
    dict
        Reason by name of the file.

    Raises
    ------
    ConfigurationError
        Where there is no reason.

    Examples
    --------
    >>> parse_acceptances(["weekdark_14825_05_wk01_drk.fits=safing on June 7, few darks"])
    {'weekdark_14825_05_wk01_drk.fits': 'safing on June 7, few darks'}
    """
    found = {}
    for one in given:
        name, separator, reason = one.partition("=")
        if not separator or not name.strip() or not reason.strip():
            raise ConfigurationError(f"--accept {one!r}: expected NAME=REASON, the name of a file and why.")
        found[name.strip()] = reason.strip()
    return found


def make_package(
    folder: str | os.PathLike,
    output: str | os.PathLike,
    *,
    deliverer: str,
    judgements: Sequence[Judgement],
    certifications: Sequence[Certification],
    regression: RegressionResult,
    documents: Sequence[Path],
    emails: Sequence[str] = (),
    current: Sequence[Product] = (),
    accepted: Mapping[str, str] | None = None,
    settings: str | os.PathLike | None = None,
    overwrite: bool = False,
    day: date | None = None,
) -> Package:
    """Put a month's delivery together; it appears whole or not at all.

    Parameters
    ----------
    folder : str or os.PathLike
        Of the month.
    output : str or os.PathLike
        Folder of the delivery; it must not exist.
    deliverer : str
        Who delivers.
    judgements : sequence of Judgement
        What `check_files` found of the month's files, baselines included or not.
    certifications : sequence of Certification
        What `certify_files` found of the files to deliver.
    regression : RegressionResult
        What `regress` found.
    documents : sequence of pathlib.Path
        Report and plots of the month, which go along.
    emails : sequence of str
        Other addresses for the form.
    current : sequence of Product
        Files that CRDS has now; one of the mode and USEAFTER of a new file is replaced by it.
    accepted : mapping, optional
        Reason by name of a file that is delivered in spite of its verdict.
    settings : str or os.PathLike, optional
        A form configuration of one's own.
    overwrite : bool
        Whether an earlier delivery in this folder may be replaced.
    day : datetime.date, optional
        Date of delivery; today by default.

    Returns
    -------
    Package
        What was made.

    Raises
    ------
    RefstisError
        Where a file failed a check, the certification or the regression and is not accepted; names each and the
        reason.
    ConfigurationError
        Where an acceptance names no file that failed, or the form cannot be filled.
    InputError
        Where there is nothing to deliver.
    OutputError
        Where the folder exists or cannot be written.
    """
    folder, output, accepted = Path(folder), Path(output).absolute(), dict(accepted or {})
    paths = find_products(folder)
    if not paths:
        raise InputError(
            f"{folder}: no superbiases (*_bia.fits) or superdarks (*_drk.fits) to deliver in it or below."
        )
    if output.exists() and not overwrite:
        raise OutputError(
            f"{output}: exists already. Remove it, choose another folder, or allow to replace it (--overwrite)."
        )
    names = {path.name for path in paths}
    _stop(names, judgements, certifications, regression, accepted)
    products = open_products(paths)
    replaced = {}
    for product in products:
        same = [old for old in current if old.mode == product.mode and old.useafter == product.useafter]
        if same:
            replaced[product.name] = same[0]
    form = make_form(
        paths,
        deliverer=deliverer,
        judgements=[one for one in judgements if one.name in names],
        certifications=certifications,
        regression=regression,
        emails=emails,
        month=folder.absolute().name,
        location=output,
        replaced=replaced,
        accepted=accepted,
        settings=settings,
        day=day,
    )
    part = output.parent / f".{output.name}.{os.getpid()}.{secrets.token_hex(4)}.part"
    try:
        part.mkdir(parents=True)
        for path in [*paths, *documents]:
            shutil.copy2(path, part / path.name)
        _texts(part, form, judgements, certifications, regression, accepted)
        _checksums(part)
        _replace(part, output)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be written ({error.strerror or error}). Check the folder, its rights and the free space."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Package(output, form, tuple(sorted(names)))


def _stop(
    names: set[str],
    judgements: Sequence[Judgement],
    certifications: Sequence[Certification],
    regression: RegressionResult,
    accepted: Mapping[str, str],
) -> None:
    """Refuse what failed and was not accepted by name."""
    found: dict[str, list[str]] = {}
    for one in judgements:
        if one.name in names and one.outcome == FAIL:
            reasons = [
                f"{verdict.check}: {verdict.reason}" for verdict in one.remarks if verdict.outcome == FAIL
            ]
            found.setdefault(one.name, []).extend(reasons)
    for certified in certifications:
        if certified.name in names and not certified.passed:
            found.setdefault(certified.name, []).extend(f"crds: {error}" for error in certified.errors)
    for reduction in regression.failures:
        words = failures([reduction])[0]
        culprit = next((name for name in (reduction.dark, reduction.bias) if name in names), "")
        found.setdefault(culprit or reduction.exposure, []).append(f"regression: {words}")
    unjudged = names - {one.name for one in judgements} - set(accepted)
    unjudged |= names - {one.name for one in certifications} - set(accepted)
    for name in unjudged:
        found.setdefault(name, []).append("not checked or not certified")
    needless = sorted(set(accepted) - set(found))
    if needless:
        raise ConfigurationError(f"--accept: {', '.join(needless)}: no such file among those that failed.")
    open_questions = {name: reasons for name, reasons in found.items() if name not in accepted}
    if open_questions:
        lines = [f"{name} ({'; '.join(reasons)})" for name, reasons in sorted(open_questions.items())]
        raise RefstisError(
            f"not delivered: {'. '.join(lines)}. Repair them, or deliver with --accept NAME=REASON."
        )


def _texts(
    part: Path,
    form: Form,
    judgements: Sequence[Judgement],
    certifications: Sequence[Certification],
    regression: RegressionResult,
    accepted: Mapping[str, str],
) -> None:
    verdicts = {
        "files": [one.to_dict() for one in judgements],
        "certification": [one.to_dict() for one in certifications],
        "regression": regression.to_dict(),
        "accepted": dict(accepted),
    }
    for name, text in (
        (FORM, form.yaml),
        (TEXT_FORM, form.text),
        (CERTIFICATION, certify_log(certifications)),
        (VERDICTS, json.dumps(verdicts, indent=1, allow_nan=False) + "\n"),
    ):
        with atomic_write(part / name, "w") as stream:
            stream.write(text)


def _checksums(part: Path) -> None:
    lines = [f"{Product(path).checksum}  {path.name}" for path in sorted(part.iterdir())]
    with atomic_write(part / SUMS, "w") as stream:
        stream.write("\n".join([*lines, ""]))


def _replace(part: Path, output: Path) -> None:
    if not output.exists():
        part.rename(output)
        return
    aside = output.parent / f".{output.name}.{secrets.token_hex(4)}.old"
    output.rename(aside)
    part.rename(output)
    shutil.rmtree(aside, ignore_errors=True)
