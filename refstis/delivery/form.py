"""The delivery form: derived from the files, as YAML for CRDS and as numbered text."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

from refstis.datamodels import config_path
from refstis.datamodels.damage import parse_yaml
from refstis.delivery.certification import Certification
from refstis.delivery.checks import CAUTION, FAIL, Judgement
from refstis.delivery.products import Product, open_products
from refstis.delivery.regression import RegressionResult
from refstis.errors import ConfigurationError, InputError

__all__ = ["Form", "make_form", "read_form_settings"]

# What CRDS takes as a description
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._\s/,=\-+]")


@dataclass(frozen=True)
class Form:
    """A filled form.

    Attributes
    ----------
    answers : dict
        Value by key of CRDS's form, in its order.
    text : str
        The same as numbered text.
    """

    answers: dict[str, Any]
    text: str

    @property
    def yaml(self) -> str:
        """What ``crds.submit --redcat-parameters`` reads."""
        return yaml.safe_dump(self.answers, sort_keys=False, allow_unicode=True, width=100)


def read_form_settings(path: str | os.PathLike | None = None) -> dict[str, Any]:
    """The questions, and the answers that no file gives.

    Parameters
    ----------
    path : str or os.PathLike, optional
        YAML file with what differs from the shipped ``delivery.yaml``.

    Returns
    -------
    dict
        ``keys``, ``answers``, ``placeholders`` and ``mail``.

    Raises
    ------
    ConfigurationError
        Where the file is missing or wrong; names the key.
    """
    shipped = yaml.safe_load(config_path("delivery.yaml").read_text(encoding="utf-8"))
    if path is None:
        return shipped
    try:
        own = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path}: cannot be read as YAML ({' '.join(str(error).split())})."
        ) from None
    unknown = sorted({str(key) for key in own} - set(shipped)) if isinstance(own, Mapping) else []
    if not isinstance(own, Mapping) or unknown:
        words = f"unknown key {', '.join(unknown)}; " if unknown else ""
        raise ConfigurationError(f"{path}: {words}expected some of {', '.join(shipped)}.")
    merged = {}
    for key, value in shipped.items():
        given = own.get(key, value)
        if type(given) is not type(value):
            raise ConfigurationError(
                f"{path}: {key}: expected a {'list' if isinstance(value, list) else 'mapping'}."
            )
        merged[key] = {**value, **given} if isinstance(value, dict) else given
    strange = sorted({str(key) for key in merged["answers"]} - set(merged["keys"]))
    if strange:
        raise ConfigurationError(f"{path}: answers: the form has no {', '.join(strange)}.")
    return merged


def make_form(
    files: Iterable[str | os.PathLike],
    *,
    deliverer: str,
    judgements: Sequence[Judgement],
    certifications: Sequence[Certification],
    regression: RegressionResult,
    emails: Sequence[str] = (),
    month: str = "",
    location: str | os.PathLike = "",
    replaced: Mapping[str, Product] | None = None,
    accepted: Mapping[str, str] | None = None,
    settings: str | os.PathLike | None = None,
    day: date | None = None,
) -> Form:
    """Fill the delivery form from the files and what was found out about them.

    Parameters
    ----------
    files : iterable of str or os.PathLike
        Files to deliver.
    deliverer : str
        Who delivers.
    judgements : sequence of Judgement
        What `check_files` found.
    certifications : sequence of Certification
        What `certify_files` found.
    regression : RegressionResult
        What `regress` found.
    emails : sequence of str
        Other addresses.
    month : str
        Name of the anneal month.
    location : str or os.PathLike
        Folder where the files will lie.
    replaced : mapping, optional
        Files in CRDS that are replaced, by name of the new file.
    accepted : mapping, optional
        Reason by name of a file that is delivered in spite of its verdict.
    settings : str or os.PathLike, optional
        A form configuration of one's own.
    day : datetime.date, optional
        Date of delivery; today by default.

    Returns
    -------
    Form
        The answers and the text.

    Raises
    ------
    ConfigurationError
        Where an answer is missing, has the wrong form or is a placeholder; names the key.
    InputError
        Where a file cannot be read.
    """
    products = open_products(files)
    for product in products:
        if product.fault:
            raise InputError(f"{product.path}: {product.fault}; it cannot be delivered.")
    content = read_form_settings(settings)
    replaced, accepted = replaced or {}, accepted or {}
    derived = _derived(products, judgements, certifications, regression, replaced, accepted, month)
    given = {"deliverer": deliverer, "other_email": ", ".join(emails)}
    answers = {key: {**derived, **content["answers"], **given}.get(key) for key in content["keys"]}
    _validate(answers, content)
    return Form(
        answers,
        _text(answers, products, certifications, Path(location or "."), day or datetime.now(UTC).date()),
    )


def _clean(text: str) -> str:
    """Text with the characters that CRDS takes."""
    replacements = {"(": ", ", ")": "", ";": ".", ":": " -", "%": " percent", "'": "", '"': "", "_": "_"}
    for before, after in replacements.items():
        text = text.replace(before, after)
    return " ".join(_NOT_ALLOWED.sub(" ", text).split()).replace(" ,", ",")


def _derived(
    products: Sequence[Product],
    judgements: Sequence[Judgement],
    certifications: Sequence[Certification],
    regression: RegressionResult,
    replaced: Mapping[str, Product],
    accepted: Mapping[str, str],
    month: str,
) -> dict[str, Any]:
    kinds = {"bias": "bia", "dark": "drk"}
    outcome = {(one.name, verdict.check): verdict.outcome for one in judgements for verdict in one.verdicts}

    def sound(*checks: str) -> bool:
        return all(
            outcome.get((product.name, check)) not in (None, FAIL) for product in products for check in checks
        )

    matches = [
        old.useafter == next(p for p in products if p.name == name).useafter for name, old in replaced.items()
    ]
    names = {one.name for one in certifications if one.passed}
    modes = list(dict.fromkeys(product.mode_words for product in products))
    return {
        "file_type": ", ".join(
            kinds[kind] for kind in kinds if any(product.kind == kind for product in products)
        ),
        "history_updated": sound("history"),
        "pedigree_updated": sound("pedigree"),
        "keywords_checked": sound("keywords", "mode"),
        "descrip_updated": sound("descrip"),
        "useafter_updated": sound("useafter"),
        "useafter_matches": "N/A" if not replaced else ("Yes" if all(matches) else "No"),
        "compliance_verified": "Yes" if all(product.name in names for product in products) else "No",
        "calpipe_version": _software(regression),
        "replacement_files": bool(replaced),
        "old_reference_files": ", ".join(sorted(old.name for old in replaced.values())),
        "modes_affected": f"All STIS CCD modes that use them - {'. '.join(modes)}".replace(",", ""),
        "correctness_testing": _testing(regression),
        "additional_considerations": _considerations(judgements, accepted),
        "description": _clean(_description(products, month)),
    }


def _software(regression: RegressionResult) -> str:
    from importlib.metadata import version

    if not regression.reductions:
        return ""
    if regression.reductions[0].engine == "calstis":
        return f"Yes, CALSTIS {_calstis_version()}"
    return f"Yes, dqicorr, blevcorr, biascorr and darkcorr of refstis {version('refstis')}, equal to those of CALSTIS"


def _calstis_version() -> str:
    import shutil
    import subprocess

    program = shutil.which("cs0.e")
    if program is None:
        return ""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    return done.stdout.strip()


def _testing(regression: RegressionResult) -> str:
    import numpy as np

    done = [one for one in regression.reductions if one.passed and "after" in one.figures]
    if not done:
        return ""
    engine = "CALSTIS" if done[0].engine == "calstis" else "refstis"
    before, after = (float(np.median([one.figures[key] for one in done])) for key in ("before", "after"))
    exposures = len({one.exposure for one in done})
    text = (
        f"{exposures} exposures were reduced with these files as if they were science images ({engine}; "
        f"{len(regression.reductions)} reductions, {len(regression.failures)} failures). The median of ordinary pixels "
        f"went from {before:.3g} DN without to {after:.3g} DN with superbias and superdark"
    )
    hot = [one for one in done if "hot_after" in one.figures]
    if hot:
        before, after = (
            float(np.median([one.figures[key] for one in hot])) for key in ("hot_before", "hot_after")
        )
        text += f", that of hot pixels from {before:.3g} DN to {after:.3g} DN"
    return text + ". Statistics, profiles and the change since the files before were checked against limits."


def _considerations(judgements: Sequence[Judgement], accepted: Mapping[str, str]) -> str:
    lines = [f"{name} is delivered in spite of its verdict: {reason}" for name, reason in accepted.items()]
    lines += [
        f"{one.name}: {'; '.join(verdict.reason for verdict in one.remarks)}"
        for one in judgements
        if one.outcome == CAUTION and one.name not in accepted
    ]
    return ". ".join(lines)


def _description(products: Sequence[Product], month: str) -> str:
    dates = [day for product in products if product.pedigree for day in product.pedigree]
    number = {kind: sum(product.kind == kind for product in products) for kind in ("bias", "dark")}
    month = f" {month}" if month else ""
    span = f" with exposures from {min(dates):%Y-%m-%d} to {max(dates):%Y-%m-%d}" if dates else ""
    what = f"{number['bias']} superbiases and {number['dark']} superdarks of the STIS CCD"
    return f"New {what} for the anneal month{month}{span}, to calibrate data taken then."


def _validate(answers: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    for key, form in content["keys"].items():
        value = answers[key]
        if form == "yes":
            if not isinstance(value, bool):
                raise ConfigurationError(f"delivery form: {key} is {value!r}; expected true or false.")
            continue
        if not isinstance(value, str) or (form != "text" and not value.strip()):
            raise ConfigurationError(f"delivery form: {key} is {value!r}; expected words. {_remedy(key)}")
        if form == "choice" and value not in ("Yes", "No", "N/A"):
            raise ConfigurationError(f"delivery form: {key} is {value!r}; expected Yes, No or N/A.")
        found = [word for word in content["placeholders"] if word.lower() in value.lower()]
        if found:
            raise ConfigurationError(
                f"delivery form: {key} still holds the placeholder {found[0]!r}: {value!r}. {_remedy(key)}"
            )
    if answers.get("change_level") not in ("TRIVIAL", "MODERATE", "SEVERE"):
        raise ConfigurationError(
            f"delivery form: change_level is {answers.get('change_level')!r}; expected TRIVIAL, MODERATE or SEVERE."
        )


def _remedy(key: str) -> str:
    if key == "deliverer":
        return "Give --deliverer, or deliverers in the configuration."
    if key in ("calpipe_version", "correctness_testing"):
        return "A regression has to have passed."
    return "Set it under answers in a file of your own (--form)."


def _text(
    answers: Mapping[str, Any],
    products: Sequence[Product],
    certifications: Sequence[Certification],
    location: Path,
    day: date,
) -> str:
    import crds
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(config_path("templates")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - plain text for people
    )
    environment.filters["wrap"] = lambda text: textwrap.fill(
        text, 88, initial_indent="   ", subsequent_indent="   "
    )
    environment.filters["yes"] = lambda value: "yes" if value else "no"
    depths = sorted({one.context or "values of keywords" for one in certifications})
    certified = [f"crds {crds.__version__} ({', '.join(depths)})"] if certifications else []
    return environment.get_template("deliveryform.txt").render(
        form=answers,
        date=f"{day:%m/%d/%Y}",
        certified=certified,
        validity=_validity(products),
        location=str(location),
        files=[
            {"name": product.name, "size": product.path.stat().st_size, "checksum": product.checksum}
            for product in sorted(products, key=lambda product: product.name)
        ],
    )


def _validity(products: Sequence[Product]) -> list[str]:
    """For which dates each file holds: until the next one of its mode."""
    lines = []
    for mode in dict.fromkeys(product.mode for product in products):
        same = sorted(
            (p for p in products if p.mode == mode and p.useafter), key=lambda p: (p.useafter, p.name)
        )
        for number, product in enumerate(same):
            begin = f"{product.useafter:%b %d %Y}"
            if number + 1 < len(same):
                lines.append(f"{product.name} is for dates {begin} to {same[number + 1].useafter:%b %d %Y}")
            else:
                lines.append(f"{product.name} is for dates after {begin}")
    return lines
