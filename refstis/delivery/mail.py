"""Mail with the delivery form."""

from __future__ import annotations

import base64
import os
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Literal

from refstis.datamodels.settings import Settings
from refstis.errors import ConfigurationError, OutputError

__all__ = ["MailServer", "mail_password", "send_mail"]

PASSWORD_VARIABLE = "REFSTIS_SMTP_PASSWORD"  # noqa: S105 - the name of a variable
PORTS = {"none": 25, "starttls": 587, "ssl": 465}


@dataclass(frozen=True)
class MailServer:
    """A mail server, and the account there.

    Attributes
    ----------
    host : str
        ``host`` or ``host:port``; port 25, with STARTTLS 587, with TLS from the start 465 by default.
    security : str
        ``none``, ``starttls`` or ``ssl``.
    user : str or None
        The server is not asked for a login without it.
    password : str or None
        Of the account; it is never shown.

    Raises
    ------
    ConfigurationError
        Where there is an account and no password, or the password would be sent in the clear.
    """

    host: str
    security: Literal["none", "starttls", "ssl"] = "none"
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self):
        if not self.user:
            return
        if self.security == "none":
            raise ConfigurationError(
                f"mail: the password of {self.user} is not sent to {self.host} in the clear; set smtp_security (or "
                "--security) to starttls or ssl."
            )
        if not self.password:
            raise ConfigurationError(
                f"mail: no password of {self.user} at {self.host}; put it into ${PASSWORD_VARIABLE} or the keyring "
                f"(smtp://{self.host})."
            )

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        host: str | None = None,
        security: Literal["none", "starttls", "ssl"] | None = None,
        user: str | None = None,
    ) -> MailServer:
        """The server of a configuration, with the password from where passwords are kept.

        Parameters
        ----------
        settings : Settings
            The configuration.
        host, security, user : str, optional
            In place of what it says.

        Returns
        -------
        MailServer
            Of which nothing is missing.
        """
        host, user = host or settings.smtp, user or settings.smtp_user
        password = mail_password(user, host) if user else None
        return cls(host, security or settings.smtp_security, user, password)


def mail_password(user: str, host: str) -> str | None:
    """Password of a mail account, from the environment or the keyring.

    Parameters
    ----------
    user, host : str
        Account and mail server.

    Returns
    -------
    str or None
        Of ``$REFSTIS_SMTP_PASSWORD``, else of the keyring under the service ``smtp://HOST``; None where neither has it.
    """
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None
    try:
        return keyring.get_password(f"smtp://{host}", user)
    except KeyringError:
        return None


def send_mail(
    subject: str,
    text: str,
    *,
    sender: str,
    recipients: Sequence[str],
    server: MailServer,
    attachments: Sequence[str | os.PathLike] = (),
    context: ssl.SSLContext | None = None,
    timeout: float = 60.0,
) -> None:
    """Send a mail through an SMTP server.

    Parameters
    ----------
    subject, text : str
        Any characters.
    sender : str
        Address.
    recipients : sequence of str
        Addresses.
    server : MailServer
        Who takes it.
    attachments : sequence of str or os.PathLike
        Files to attach.
    context : ssl.SSLContext, optional
        How the server's certificate is checked; the system's authorities by default.
    timeout : float
        How long to wait for the server (s).

    Raises
    ------
    ConfigurationError
        Where an address is missing or none.
    OutputError
        Where the server cannot be reached, refuses the login or a recipient; names the server and the cause.
    """
    if not sender or not recipients:
        raise ConfigurationError("mail: sender and recipients are needed; set email in the configuration.")
    strange = [address for address in (sender, *recipients) if not address.isascii() or "@" not in address]
    if strange:
        raise ConfigurationError(f"mail: {strange[0]!r} is no address such as name@example.org.")
    name, _, told = server.host.partition(":")
    number = int(told) if told.isdigit() else PORTS[server.security]
    message = _message(subject, text, sender, recipients, attachments)
    secure = context or ssl.create_default_context()
    try:
        if server.security == "ssl":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(name, number, timeout=timeout, context=secure)
        else:
            connection = smtplib.SMTP(name, number, timeout=timeout)
        with connection:
            if server.security == "starttls":
                connection.starttls(context=secure)
            if server.user and server.password:
                _login(connection, server.user, server.password)
            # not send_message, which puts a '>' before lines that begin with "From "
            refused = connection.sendmail(sender, list(recipients), message.as_bytes(policy=SMTP))
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise OutputError(
            f"mail: {name}:{number} did not take it ({_words(error)}). Nothing else is lost by that."
        ) from None
    if refused:
        raise OutputError(f"mail: {name}:{number} refused {', '.join(sorted(refused))}; the others got it.")


def _login(server: smtplib.SMTP, user: str, password: str) -> None:
    if (user + password).isascii():
        server.login(user, password)
        return
    # smtplib only knows ASCII; RFC 4616 says UTF-8
    server.ehlo_or_helo_if_needed()
    secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode("ascii")
    code, answer = server.docmd("AUTH", f"PLAIN {secret}")
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, answer)


def _words(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        told = (
            error.smtp_error.decode("utf-8", "replace")
            if isinstance(error.smtp_error, bytes)
            else error.smtp_error
        )
        return f"{error.smtp_code} {told}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"recipients refused: {', '.join(sorted(error.recipients))}"
    return str(error) or type(error).__name__


def _message(
    subject: str, text: str, sender: str, recipients: Sequence[str], attachments: Sequence[str | os.PathLike]
) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].strip("> ") or None)
    message.set_content(text)
    for path in map(Path, attachments):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise OutputError(f"mail: {path} cannot be attached ({error.strerror}).") from None
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=path.name)
    return message
