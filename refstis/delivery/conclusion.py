"""What a run ends with where its products are to be delivered: checks, report and delivery of every month."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refstis.delivery.checks import FAIL
from refstis.delivery.limits import load_limits
from refstis.delivery.mail import MailServer
from refstis.delivery.month import Findings, deliver_month, document_month, examine_month, mail_form
from refstis.delivery.package import Package
from refstis.delivery.products import Source
from refstis.delivery.report import REPORT, overall, write_index
from refstis.errors import ConfigurationError, RefstisError

if TYPE_CHECKING:
    from refstis.anneal.ledger import Ledger
    from refstis.anneal.runner import Listener, Result

__all__ = ["Delivered", "DeliveryOrder", "conclude"]


@dataclass(frozen=True)
class DeliveryOrder:
    """Who delivers what to where.

    Attributes
    ----------
    output : pathlib.Path
        Folder in which a folder for each month appears.
    deliverer : str
        Who delivers.
    emails : tuple of str
        Addresses for the form and the mail.
    server : MailServer or None
        Who mails the form; None where it is not mailed.
    previous : str, os.PathLike or iterable of them, optional
        Folders or files of the period before; the ledger's last delivered by default.
    accepted : mapping
        Reason by name of a file that is delivered in spite of its verdict.
    suite : str or os.PathLike, optional
        Folder of exposures for the regression.
    anneals : str or os.PathLike, optional
        Anneal table of one's own, for the report.

    Raises
    ------
    ConfigurationError
        Where something is missing that would be missed only after the products were made.
    """

    output: Path
    deliverer: str
    emails: tuple[str, ...] = ()
    server: MailServer | None = None
    previous: Source | None = None
    accepted: Mapping[str, str] = field(default_factory=dict)
    suite: str | os.PathLike | None = None
    anneals: str | os.PathLike | None = None

    def __post_init__(self):
        if not self.deliverer.strip():
            raise ConfigurationError(
                "nobody delivers: give --deliverer NAME, or deliverers in the configuration."
            )
        if self.server is not None and not self.emails:
            raise ConfigurationError("the form cannot be mailed: email in the configuration says to whom.")
        if self.suite is not None and not Path(self.suite).is_dir():
            raise ConfigurationError(
                f"{self.suite}: no such folder; the regression's exposures were expected."
            )
        load_limits()


@dataclass(frozen=True)
class Delivered:
    """What came of a month: what its files are worth, and where its delivery lies.

    Attributes
    ----------
    findings : Findings or None
        None where nothing could be examined.
    page : pathlib.Path or None
        The report.
    package : Package or None
        The delivery; None where it was refused.
    refused : str
        Why there is no delivery, or why it was not mailed.
    accepted : mapping
        Reason by name of a file that is delivered in spite of its verdict.
    """

    findings: Findings | None
    page: Path | None
    package: Package | None
    refused: str = ""
    accepted: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The worst of checks, certification and regression; FAIL where there is no delivery."""
        if self.refused or self.findings is None:
            return FAIL
        found = self.findings
        return overall(found.judgements, found.certifications, found.regression, self.accepted)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        told: dict[str, Any] = {
            "verdict": self.verdict,
            "report": str(self.page) if self.page else None,
            "delivery": str(self.package.folder) if self.package else None,
            "refused": self.refused or None,
            "accepted": dict(self.accepted),
        }
        if self.findings is not None:
            regression = self.findings.regression
            told["files"] = [
                {
                    "file": one.name,
                    "sha256": one.checksum,
                    "verdict": one.outcome,
                    "compared_with": one.earlier or None,
                    "remarks": [
                        {"check": verdict.check, "outcome": verdict.outcome, "reason": verdict.reason}
                        for verdict in one.remarks
                    ],
                }
                for one in self.findings.judgements
            ]
            told["certification"] = [one.to_dict() for one in self.findings.certifications]
            told["regression"] = None if regression is None else regression.to_dict()
        return told


def conclude(
    result: Result, order: DeliveryOrder, ledger: Ledger, listener: Listener
) -> dict[str, Delivered]:
    """Check, report and deliver every month of a run.

    Parameters
    ----------
    result : Result
        Of the run.
    order : DeliveryOrder
        Who delivers what to where.
    ledger : Ledger
        Where verdicts and deliveries are recorded; knows what was delivered last.
    listener : Listener
        Who is told how it goes on.

    Returns
    -------
    dict
        Name of a month to what came of it, in order of time.

    Raises
    ------
    ConfigurationError
        Where a file is accepted that no month has.
    """
    plan = result.plan
    names = {node.name for node in plan.nodes.values()}
    strange = sorted(set(order.accepted) - names)
    if strange:
        raise ConfigurationError(f"--accept: {', '.join(strange)}: the plan has no such product.")
    found = {}
    for one in plan.months:
        month = one.month.name
        listener.said(f"{month}: looking at its files.")
        mine = {node.name for node in plan.nodes.values() if node.month == month}
        accepted = {name: reason for name, reason in order.accepted.items() if name in mine}
        found[month] = _conclude_month(plan.output / month, order, accepted, _lacking(result, month), ledger)
    if any(one.page for one in found.values()):
        write_index(plan.output)
    return found


def _lacking(result: Result, month: str) -> list[str]:
    """Products of a month that are not there as planned, and files there that are not planned."""
    plan = result.plan
    nodes = [node for node in plan.nodes.values() if node.month == month and not node.intermediate]
    lacking = [
        f"{Path(one.identity).name} was not made"
        for one in result.failed
        if Path(one.identity).parts[0] == month
    ]
    lacking += [
        f"{node.name} is not made yet"
        for node in nodes
        if node.status != "made" and node.identity not in result.outcomes
    ]
    lacking += [
        f"{Path(stale).name} is there and the plan does not make it; remove it"
        for stale in plan.stale
        if Path(stale).parts[0] == month
    ]
    return lacking


def _conclude_month(
    folder: Path, order: DeliveryOrder, accepted: Mapping[str, str], lacking: Sequence[str], ledger: Ledger
) -> Delivered:
    findings = page = package = None
    refused = ""
    try:
        findings = examine_month(folder, previous=order.previous, suite=order.suite, ledger=ledger)
        if lacking:
            document_month(folder, findings, accepted=accepted, anneals=order.anneals)
            refused = f"not delivered: {'; '.join(lacking)}."
        else:
            package = deliver_month(
                folder, order.output / folder.name, findings, deliverer=order.deliverer, emails=order.emails,
                accepted=accepted, anneals=order.anneals, overwrite=True, ledger=ledger,
            )  # fmt: skip
            if order.server is not None:
                mail_form(package, order.server, sender=order.emails[0], recipients=order.emails)
    except RefstisError as error:
        refused = str(error)
    if findings is not None and (folder / REPORT).is_file():
        page = folder / REPORT
    return Delivered(findings, page, package, refused, accepted)
