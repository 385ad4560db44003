"""`refstis deliver`: everything that CRDS and the archive get, in one folder."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from refstis.commands.options import begin_ledger
from refstis.commands.regress import Engine

__all__ = ["deliver"]


def deliver(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the month.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Folder of the delivery (default: of the configuration)."
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=REASON", help="Deliver this file in spite of FAIL; the reason is recorded."
        ),
    ] = None,
    deliverer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who delivers (default: of the configuration).")
    ] = None,
    email: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Other address for the form and the mail.")
    ] = None,
    previous: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Folder or file of the period before.")
    ] = None,
    current: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="File, or folder of files, that CRDS gives now: those of the same USEAFTER are replaced.",
        ),
    ] = None,
    limits: Annotated[Path | None, typer.Option(metavar="limits.yaml", help="Limits of your own.")] = None,
    context: Annotated[
        str | None, typer.Option(metavar="hst_1204.pmap", help="Certify against this context.")
    ] = None,
    suite: Annotated[Path | None, typer.Option(metavar="DIR", help="Exposures for the regression.")] = None,
    engine: Annotated[Engine, typer.Option(help="Who calibrates the regression's exposures.")] = Engine.auto,
    form: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answers of your own to the delivery form.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier delivery.")] = False,
    send: Annotated[bool, typer.Option("--send", help="Mail the form.")] = False,
    smtp: Annotated[
        str | None, typer.Option(metavar="HOST[:PORT]", help="Mail server (default: of the configuration).")
    ] = None,
    security: Annotated[
        Literal["none", "starttls", "ssl"] | None,
        typer.Option(help="How to speak to the mail server (default: of the configuration)."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Account there; password in $REFSTIS_SMTP_PASSWORD or the keyring (default: of the configuration).",
        ),
    ] = None,
    to: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Who gets the mail (default: --email).")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Configuration file (default: ~/refstis_config.yaml)."),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Record the delivery; compare with what was delivered last."),
    ] = None,
) -> None:
    """Check, certify and regress a month's files, and put the delivery together. Nothing is submitted.

    A file that fails stops it, unless it is accepted by name.
    """
    from contextlib import ExitStack

    from rich.console import Console

    from refstis.datamodels.settings import Settings
    from refstis.delivery.mail import MailServer
    from refstis.delivery.month import deliver_month, examine_month, mail_form
    from refstis.delivery.package import parse_acceptances
    from refstis.errors import ConfigurationError

    settings = Settings.find(config)
    accepted = parse_acceptances(accept or [])
    addresses = email or ([settings.email] if settings.email else [])
    recipients = to or addresses
    if output is None:
        if not settings.delivery_directory:
            raise ConfigurationError(
                "no folder for the delivery: give --output, or delivery_directory in the configuration."
            )
        output = Path(settings.delivery_directory) / folder.absolute().name
    if send and not recipients:
        raise ConfigurationError(
            "--send: nobody to send to; give --to or --email, or email in the configuration."
        )
    # what is missing is told before the long work
    server = None
    if send:
        server = MailServer.of(settings, host=smtp, security=security, user=user)
    with ExitStack() as stack:
        status = stack.enter_context(Console(stderr=True).status("looking at the files"))
        opened = None
        if ledger is not None:
            opened = stack.enter_context(begin_ledger(ledger, Path()))
        findings = examine_month(
            folder,
            previous=previous,
            current=current,
            limits=limits,
            context=context,
            suite=suite or (Path(settings.test_suite) if settings.test_suite else None),
            engine=engine.value,
            ledger=opened,
        )
        status.update("putting the delivery together")
        package = deliver_month(
            folder,
            output,
            findings,
            deliverer=deliverer or ", ".join(settings.deliverers),
            emails=addresses,
            current=current,
            accepted=accepted,
            settings=form,
            overwrite=overwrite,
            ledger=opened,
        )
    typer.echo(f"{len(package.files)} files with form, certification, report and checksums: {package.folder}")
    if server is not None:
        sender = addresses[0] if addresses else recipients[0]
        mail_form(package, server, sender=sender, recipients=recipients, settings=form)
        typer.echo(f"mailed to {', '.join(recipients)}")
