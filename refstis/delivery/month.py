"""A month's reference files from checks to delivery, for the commands and the pipeline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from refstis.delivery.certification import Certification, certify_files
from refstis.delivery.checks import FAIL, PASS, Judgement, check_files
from refstis.delivery.form import read_form_settings
from refstis.delivery.limits import Limits
from refstis.delivery.mail import MailServer, send_mail
from refstis.delivery.package import TEXT_FORM, Package, make_package
from refstis.delivery.plots import plot_obset
from refstis.delivery.products import Source, find_products, open_products, product_paths
from refstis.delivery.records import RunRecord, anneals_near, read_run
from refstis.delivery.regression import RegressionResult, failures, regress
from refstis.delivery.report import FACTS, write_report
from refstis.errors import InputError

if TYPE_CHECKING:
    from refstis.anneal.ledger import Ledger, Verdict

__all__ = [
    "Findings",
    "deliver_month",
    "document_month",
    "examine_month",
    "last_delivered",
    "mail_form",
    "report_month",
]

# Name of the entry that a ledger keeps of a delivered file.
DELIVERED = "delivered"


@dataclass(frozen=True)
class Findings:
    """All that was found out about a month.

    Attributes
    ----------
    judgements : list of Judgement
        Of all its files, baselines among them.
    certifications : list of Certification
        Of the files to deliver and the baselines.
    regression : RegressionResult or None
        None where it was left out, or there are no superbias and superdark.
    run : RunRecord
        What the run that made them said.
    previous : tuple of pathlib.Path
        Files of the period before.
    """

    judgements: list[Judgement]
    certifications: list[Certification]
    regression: RegressionResult | None
    run: RunRecord
    previous: tuple[Path, ...] = ()


def last_delivered(ledger: Ledger, but: str | os.PathLike = "") -> list[Path]:
    """Files that were delivered, as far as they are still there.

    Parameters
    ----------
    ledger : Ledger
        Where deliveries are recorded.
    but : str or os.PathLike
        Folder of the month at hand, whose own files do not count.

    Returns
    -------
    list of pathlib.Path
        Each once.
    """
    own = Path(but).absolute()
    found = {Path(verdict.reason): None for verdict in ledger.verdicts() if verdict.name == DELIVERED}
    names = {path.name for path in find_products(own)} if but else set()
    return [path for path in found if path.is_file() and path.name not in names]


def examine_month(
    folder: str | os.PathLike,
    *,
    previous: Source | None = None,
    current: Source | None = None,
    limits: Limits | str | os.PathLike | None = None,
    context: str | None = None,
    suite: str | os.PathLike | None = None,
    engine: Literal["auto", "refstis", "calstis"] = "auto",
    regression: bool = True,
    ledger: Ledger | None = None,
) -> Findings:
    """Check, certify and regress the files of a month.

    Parameters
    ----------
    folder : str or os.PathLike
        Of the month.
    previous : str, os.PathLike or iterable of them, optional
        Folders or files of the period before; the ledger's last delivered by default.
    current : str, os.PathLike or iterable of them, optional
        Files that CRDS gives now for these dates.
    limits : Limits, str or os.PathLike, optional
        Limits of one's own.
    context : str, optional
        CRDS context to certify against.
    suite : str or os.PathLike, optional
        Folder of exposures for the regression; simulated ones by default.
    engine : str
        ``auto``, ``refstis`` or ``calstis``.
    regression : bool
        Whether to run the regression.
    ledger : Ledger, optional
        Where the verdicts are recorded.

    Returns
    -------
    Findings
        All of it.

    Raises
    ------
    InputError
        Where there are no reference files.
    ConfigurationError
        Where limits, context or engine are wrong.
    """
    paths = find_products(folder, baselines=True)
    if not paths:
        raise InputError(f"{folder}: no superbiases (*_bia.fits) or superdarks (*_drk.fits) in it or below.")
    before = tuple(product_paths(previous))
    if previous is None and ledger is not None:
        before = tuple(last_delivered(ledger, folder))
    run = read_run(folder)
    judgements = check_files(
        paths, previous=before, current=current, limits=limits, cautions=run.cautions, ledger=ledger
    )
    readable = [
        one.path
        for one in judgements
        if one.verdicts[0].check != "readable" or one.verdicts[0].outcome == PASS
    ]
    certifications = certify_files([path for path in paths if path.absolute() in readable], context)
    result = None
    if regression and {one.kind for one in judgements} >= {"bias", "dark"}:
        result = regress(folder, suite, engine)
    if ledger is not None:
        ledger.add_verdicts(_verdicts(judgements, certifications, result))
    return Findings(judgements, certifications, result, run, before)


def _verdicts(
    judgements: Sequence[Judgement],
    certifications: Sequence[Certification],
    regression: RegressionResult | None,
) -> list[Verdict]:
    """What a ledger keeps of certification and regression; of the checks, `check_files` has told it."""
    from refstis.anneal.ledger import Verdict

    checksums = {str(one.path): one.checksum for one in judgements}
    found = []
    for certified in certifications:
        path = str(certified.path.absolute())
        outcome, reason = (
            (PASS, certified.context) if certified.passed else (FAIL, "; ".join(certified.errors))
        )
        found.append(Verdict(path, checksums.get(path, ""), "certification", outcome, reason))
    done = regression.reductions if regression is not None else []
    for judgement in judgements:
        mine = [one for one in done if judgement.name in (one.bias, one.dark)]
        failed = [one for one in mine if not one.passed]
        if mine:
            reason = "; ".join(failures(failed)) or f"{len(mine)} reductions"
            outcome = FAIL if failed else PASS
            found.append(Verdict(str(judgement.path), judgement.checksum, "regression", outcome, reason))
    return found


def report_month(
    folder: str | os.PathLike,
    findings: Findings,
    *,
    output: str | os.PathLike | None = None,
    anneals: str | os.PathLike | None = None,
    accepted: Mapping[str, str] | None = None,
    index: str | None = None,
) -> Path:
    """Write the report of a month.

    Parameters
    ----------
    folder : str or os.PathLike
        Of the month.
    findings : Findings
        What was found out.
    output : str or os.PathLike, optional
        Folder to write to; the month's own by default.
    anneals : str or os.PathLike, optional
        Anneal table of one's own.
    accepted : mapping, optional
        Reason by name of a file that is delivered in spite of its verdict.
    index : str, optional
        Address of the index, relative to the report.

    Returns
    -------
    pathlib.Path
        The page.
    """
    products = open_products(find_products(folder))
    return write_report(
        folder,
        previous=findings.previous,
        judgements=findings.judgements,
        certifications=findings.certifications,
        regression=findings.regression,
        accepted=accepted,
        reasons=findings.run.reasons,
        anneals=anneals_near(products, anneals),
        output=output,
        index=index,
    )


def document_month(
    folder: str | os.PathLike,
    findings: Findings,
    *,
    accepted: Mapping[str, str] | None = None,
    anneals: str | os.PathLike | None = None,
) -> list[Path]:
    """Write the report and the plots of a month to its folder.

    Parameters
    ----------
    folder : str or os.PathLike
        Of the month.
    findings : Findings
        What was found out.
    accepted : mapping, optional
        Reason by name of a file that is delivered in spite of its verdict.
    anneals : str or os.PathLike, optional
        Anneal table of one's own.

    Returns
    -------
    list of pathlib.Path
        The page, its figures and the plots.
    """
    page = report_month(folder, findings, accepted=accepted, anneals=anneals)
    return [page, page.with_name(FACTS), *plot_obset(folder, findings.previous)]


def deliver_month(
    folder: str | os.PathLike,
    output: str | os.PathLike,
    findings: Findings,
    *,
    deliverer: str,
    emails: Sequence[str] = (),
    current: Source | None = None,
    accepted: Mapping[str, str] | None = None,
    anneals: str | os.PathLike | None = None,
    settings: str | os.PathLike | None = None,
    overwrite: bool = False,
    ledger: Ledger | None = None,
) -> Package:
    """Plot and report a month, and put its delivery together.

    Plots and report are written to the month's own folder, too: they are there to be looked at where a failed file
    stops the delivery.

    Parameters
    ----------
    folder : str or os.PathLike
        Of the month.
    output : str or os.PathLike
        Folder of the delivery.
    findings : Findings
        What was found out.
    deliverer : str
        Who delivers.
    emails : sequence of str
        Other addresses for the form.
    current : str, os.PathLike or iterable of them, optional
        Files that CRDS gives now for these dates.
    accepted : mapping, optional
        Reason by name of a file that is delivered in spite of its verdict.
    anneals : str or os.PathLike, optional
        Anneal table of one's own, for the report.
    settings : str or os.PathLike, optional
        A form configuration of one's own.
    overwrite : bool
        Whether an earlier delivery in this folder may be replaced.
    ledger : Ledger, optional
        Where the delivery and acceptances are recorded.

    Returns
    -------
    Package
        What was made.

    Raises
    ------
    RefstisError
        Where a file failed and is not accepted, or the form or the folder is wrong.
    """
    documents = document_month(folder, findings, accepted=accepted, anneals=anneals)
    package = make_package(
        folder,
        output,
        deliverer=deliverer,
        judgements=findings.judgements,
        certifications=findings.certifications,
        regression=findings.regression or RegressionResult("none", []),
        documents=documents,
        emails=emails,
        current=[product for product in open_products(product_paths(current)) if not product.fault],
        accepted=accepted,
        settings=settings,
        overwrite=overwrite,
    )
    if ledger is not None:
        from refstis.anneal.ledger import Verdict

        by_name = {one.name: one for one in findings.judgements}
        entries = [
            Verdict(
                str(by_name[name].path), by_name[name].checksum, DELIVERED, PASS, str(package.folder / name)
            )
            for name in package.files
        ]
        entries += [
            replace(entry, name="accepted", reason=(accepted or {})[Path(entry.product).name])
            for entry in entries
            if Path(entry.product).name in (accepted or {})
        ]
        ledger.add_verdicts(entries)
    return package


def mail_form(
    package: Package,
    server: MailServer,
    *,
    sender: str,
    recipients: Sequence[str],
    settings: str | os.PathLike | None = None,
) -> None:
    """Mail the text form of a delivery, with the certification attached.

    Parameters
    ----------
    package : Package
        The delivery.
    server : MailServer
        Who takes it.
    sender : str
        Address.
    recipients : sequence of str
        Addresses.
    settings : str or os.PathLike, optional
        A form configuration of one's own, whose subject is used.

    Raises
    ------
    ConfigurationError
        Where an address is missing.
    OutputError
        Where the server does not take the mail; the delivery is not touched.
    """
    subject = str(read_form_settings(settings)["mail"]["subject"]).format(month=package.folder.name)
    text = (package.folder / TEXT_FORM).read_text(encoding="utf-8")
    attachments = [package.folder / name for name in ("delivery_form.yaml", "certification.log")]
    send_mail(subject, text, sender=sender, recipients=recipients, server=server, attachments=attachments)
