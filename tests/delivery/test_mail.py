"""Mail arrives whole at a real server, and an error loses nothing."""

import email
import email.policy
import socket
import ssl

import pytest

from refstis.datamodels.settings import Settings
from refstis.delivery.mail import MailServer, mail_password, send_mail
from refstis.errors import ConfigurationError, OutputError

controller = pytest.importorskip("aiosmtpd.controller")
trustme = pytest.importorskip("trustme")


class Box:
    """Keeps what arrives."""

    def __init__(self):
        self.mails = []

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - aiosmtpd's name
        if address.startswith("nobody"):
            return "550 no such box"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.mails.append(
            (envelope.mail_from, envelope.rcpt_tos, envelope.content, session.ssl, session.authenticated)
        )
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    from aiosmtpd.smtp import AuthResult

    return AuthResult(success=(data.login, data.password) == (b"ada", "gehéim".encode()), handled=False)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def server(authority, request):
    """An SMTP server on loopback: plain, with STARTTLS and login, or with TLS from the start."""
    security = request.param
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    box = Box()
    given = {
        "none": {},
        "starttls": {
            "tls_context": context, "require_starttls": True, "authenticator": authenticate, "auth_required": True,
        },
        "ssl": {"ssl_context": context},
    }[security]  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = controller.Controller(box, hostname="127.0.0.1", port=port, **given)
    running.start()
    yield box, port, security
    running.stop()


SUBJECT = "Delivery form: Superdarks – “été” 漢字"
TEXT = "Ligne 1: é è ñ Ω 漢字\n.\nFrom here: a line of its own\n" + "x" * 1200 + "\n"


def send(port, security="none", user=None, password=None, **given):
    given = {
        "sender": "ada@example.org",
        "recipients": ["team@example.org"],
        "server": MailServer(f"localhost:{port}", security, user, password),
        **given,
    }
    send_mail(SUBJECT, TEXT, timeout=10.0, **given)


@pytest.mark.parametrize("server", ["none", "starttls", "ssl"], indirect=True)
def test_mail_arrives_whole(server, trusting, tmp_path):
    box, port, security = server
    attachment = tmp_path / "forme é.yaml"
    attachment.write_bytes(bytes(range(256)) * 40)
    login = {"user": "ada", "password": "gehéim"} if security == "starttls" else {}
    send(
        port,
        security=security,
        context=trusting,
        attachments=[attachment],
        recipients=["a@b.org", "c@d.org"],
        **login,
    )
    ((sender, recipients, content, encrypted, known),) = box.mails
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert (sender, recipients) == ("ada@example.org", ["a@b.org", "c@d.org"])
    assert message["Subject"] == SUBJECT
    assert message.get_body().get_content().replace("\r\n", "\n") == TEXT  # lines end so in mail
    (part,) = message.iter_attachments()
    assert part.get_filename() == attachment.name
    assert part.get_content() == attachment.read_bytes()
    if security == "starttls":
        assert encrypted is not None
    assert bool(known) == (security == "starttls")


@pytest.mark.parametrize("server", ["starttls"], indirect=True)
@pytest.mark.parametrize("password", ["wrong-secret", "wrong-sécret"])
def test_refused_login(server, trusting, password):
    box, port, security = server
    with pytest.raises(OutputError, match=rf"localhost:{port} did not take it \(535") as caught:
        send(port, security=security, context=trusting, user="ada", password=password)
    assert password not in str(caught.value)
    assert box.mails == []


@pytest.mark.parametrize("server", ["ssl"], indirect=True)
def test_certificate_of_a_stranger(server):
    box, port, security = server
    with pytest.raises(OutputError, match="certificate verify failed"):
        send(port, security=security)
    assert box.mails == []


@pytest.mark.parametrize("server", ["none"], indirect=True)
def test_refused_recipients(server):
    box, port, _ = server
    with pytest.raises(OutputError, match=r"recipients refused: nobody@example\.org"):
        send(port, recipients=["nobody@example.org"])
    with pytest.raises(OutputError, match=r"refused nobody@example\.org; the others got it"):
        send(port, recipients=["nobody@example.org", "team@example.org"])
    assert len(box.mails) == 1


def test_dead_host():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(OutputError, match=f"localhost:{port} did not take it .*refused"):
        send(port)


def test_what_is_missing_is_named(monkeypatch):
    with pytest.raises(ConfigurationError, match="sender and recipients"):
        send(25, recipients=[])
    with pytest.raises(ConfigurationError, match="'team' is no address"):
        send(25, recipients=["team"])
    with pytest.raises(ConfigurationError, match="REFSTIS_SMTP_PASSWORD"):
        send(25, security="starttls", user="ada")


def test_no_password_goes_out_in_the_clear():
    with pytest.raises(ConfigurationError, match="not sent to localhost:25 in the clear") as caught:
        send(25, user="ada", password="geheim")
    assert "geheim" not in str(caught.value)


def test_password_of_the_environment(monkeypatch):
    monkeypatch.setenv("REFSTIS_SMTP_PASSWORD", "geheim")
    assert mail_password("ada", "localhost") == "geheim"


def test_server_of_the_configuration(monkeypatch):
    monkeypatch.setenv("REFSTIS_SMTP_PASSWORD", "geheim")
    settings = Settings(smtp="mail.example.org", smtp_security="ssl", smtp_user="ada")
    server = MailServer.of(settings)
    assert server == MailServer("mail.example.org", "ssl", "ada", "geheim")
    assert "geheim" not in repr(server)
    other = MailServer.of(settings, host="localhost:1", security="starttls", user="emmy")
    assert other == MailServer("localhost:1", "starttls", "emmy", "geheim")
    assert MailServer.of(Settings()) == MailServer("smtp.stsci.edu")


def test_password_of_the_keyring(monkeypatch):
    keyring = pytest.importorskip("keyring")
    monkeypatch.delenv("REFSTIS_SMTP_PASSWORD", raising=False)
    monkeypatch.setattr(
        keyring, "get_password", {("smtp://mail.example.org", "ada"): "geheim"}.__getitem__, raising=True
    )
    monkeypatch.setattr(keyring, "get_password", lambda service, user: f"{service} {user}")
    assert mail_password("ada", "mail.example.org") == "smtp://mail.example.org ada"
