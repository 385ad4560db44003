"""The DADS request: its XML, and a loopback archive with TLS."""

import base64
import ssl
from http.client import HTTPResponse
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from refstis.errors import ConfigurationError, InputError
from refstis.retrieval import (
    Dads,
    Folder,
    RetrievalError,
    Selection,
    build_xml_request,
    collect,
    everything_retrieved,
    open_source,
    submit_xml_request,
)

NASTY = [
    '"/><evil/>',
    "'><x a='",
    "]]>&amp;<!-- -->",
    "&lt;&xxe;",
    "a\nb\tc",
    "$archive_user ${email} {0} %s",
    "ä ☃ 𝔽",
    "</rootname></include>",
    '<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]>',
]


@pytest.fixture
def settings(tmp_path):
    folder = tmp_path / "requested"
    folder.mkdir()
    return {
        "archive": "archive.example.org",
        "archive_user": "me",
        "email": "me@example.org",
        "host": "host.example.org",
        "ftp_user": "me",
        "dads_host": "dads.example.org",
        "retrieve_directory": str(folder),
        "mast_password": "Pa$$w3rD",
    }


@pytest.fixture(scope="module")
def dtd():
    etree = pytest.importorskip("lxml.etree")
    return etree.DTD(str(Path(__file__).with_name("distribution.dtd")))


def parse(request):
    etree = pytest.importorskip("lxml.etree")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    return etree.fromstring(request, parser)


def test_request_has_the_documented_elements_and_is_valid(settings, dtd):
    request = build_xml_request(["o4sp040b0", "o56502010"], settings)
    root = parse(request)
    assert dtd.validate(root), dtd.error_log
    assert root.getroottree().docinfo.doctype == (
        '<!DOCTYPE distributionRequest SYSTEM "http://dmswww.stsci.edu/dtd/sso/distribution.dtd">'
    )
    assert dict(root.find("head/requester").attrib) == {
        "userId": "me",
        "email": "me@example.org",
        "source": "starview",
    }
    assert dict(root.find("head/delivery/ftp").attrib) == {
        "hostName": "host.example.org",
        "loginName": "me",
        "directory": settings["retrieve_directory"],
        "secure": "true",
    }
    assert root.find("head/process").get("compression") == "none"
    assert root.find("body/include/select/suffix").get("name") == "RAW"
    assert [name.text for name in root.findall("body/include/rootname")] == ["o4sp040b0", "o56502010"]
    assert "w3rD" not in request


@pytest.mark.parametrize("text", NASTY)
def test_special_characters_do_not_break_out(settings, dtd, text):
    plain = [element.tag for element in parse(build_xml_request(["o4sp040b0"], settings)).iter()]
    for key in ("archive_user", "email", "host", "ftp_user", "retrieve_directory"):
        root = parse(build_xml_request(["o4sp040b0"], settings | {key: text}))
        assert [element.tag for element in root.iter()] == plain
        assert dtd.validate(root)
        assert text in [value for element in root.iter() for value in element.attrib.values()]
    root = parse(build_xml_request([text], settings))
    assert [element.tag for element in root.iter()] == plain
    assert root.findtext("body/include/rootname") == text


@pytest.mark.parametrize("text", ["\0", "a\x1bb", "\ud800", "\ufffe"])
def test_characters_that_xml_cannot_hold_are_refused(settings, text):
    with pytest.raises(ConfigurationError, match="'email'"):
        build_xml_request(["o4sp040b0"], settings | {"email": text})
    with pytest.raises(ConfigurationError, match="rootname"):
        build_xml_request([text], settings)


def test_what_is_missing_is_named(settings):
    with pytest.raises(InputError, match="at least one rootname"):
        build_xml_request([], settings)
    with pytest.raises(InputError, match="a list"):
        build_xml_request("o4sp040b0", settings)
    del settings["ftp_user"]
    with pytest.raises(ConfigurationError, match="'ftp_user'"):
        build_xml_request(["o4sp040b0"], settings)


def test_submits_a_form_over_tls(settings, archive_host):
    settings["archive"] = archive_host.address
    request = build_xml_request(["o4sp040b0"], settings)
    answer = submit_xml_request(request, settings)
    assert isinstance(answer, HTTPResponse)
    assert b"SUCCESS" in answer.read()
    ((path, form),) = archive_host.forms
    assert path == "/cgi-bin/dads.cgi"
    assert form == {
        "dadshost": ["dads.example.org"],
        "dadsport": ["4703"],
        "mission": ["HST"],
        "request": [request],
    }


def test_sends_nothing_to_a_host_that_does_not_identify_itself(settings, archive_host, monkeypatch):
    settings["archive"] = archive_host.address
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(RetrievalError, match="does not identify itself"):
        submit_xml_request("<x/>", settings)
    assert archive_host.forms == []


def test_sends_nothing_without_tls(settings, mast):
    settings["archive"] = mast.url.removeprefix("http://")
    with pytest.raises(RetrievalError):
        submit_xml_request("<x/>", settings)
    assert mast.requests == []


@pytest.mark.parametrize("archive", ["127.0.0.1:9", "no.such.host.invalid"])
def test_hosts_that_cannot_be_reached(settings, archive):
    with pytest.raises(RetrievalError, match="cannot be reached"):
        submit_xml_request("<x/>", settings | {"archive": archive})


@pytest.mark.parametrize("archive", ["host:port", "a\r\nX-Evil: 1", "no such host"])
def test_hosts_that_are_none(settings, archive):
    with pytest.raises(ConfigurationError, match="'archive'"):
        submit_xml_request("<x/>", settings | {"archive": archive})


def test_errors_of_the_archive_are_errors(settings, archive_host):
    archive_host.status = 500
    with pytest.raises(RetrievalError, match="answers 500"):
        submit_xml_request("<x/>", settings | {"archive": archive_host.address})


@pytest.fixture
def key(tmp_path):
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = tmp_path / "key.pem"
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    return path, private


def test_signed_only_where_a_key_is_configured(settings, archive_host, dtd, key):
    signxml = pytest.importorskip("signxml")
    path, private = key
    settings |= {"archive": archive_host.address, "private_key": str(path)}
    request = build_xml_request(["o4sp040b0"], settings)
    assert "Signature" not in request
    submit_xml_request(request, settings).close()
    signed = archive_host.forms[0][1]["request"][0]
    assert signed.count("<!DOCTYPE distributionRequest") == 1
    assert "PRIVATE" not in signed
    body = signed[signed.index("<distributionRequest") :]
    expected = signxml.SignatureConfiguration(require_x509=False)
    verified = signxml.XMLVerifier().verify(body, expect_config=expected)
    assert [name.text for name in verified.signed_xml.iter("rootname")] == ["o4sp040b0"]
    modulus = parse(body).findtext(".//{*}Modulus")
    assert int.from_bytes(base64.b64decode(modulus)) == private.public_key().public_numbers().n
    # A request that was changed on its way does not verify.
    with pytest.raises(signxml.InvalidSignature):
        signxml.XMLVerifier().verify(body.replace("o4sp040b0", "o4sp040c0"), expect_config=expected)
    assert dtd.validate(parse(signed)), dtd.error_log


def test_keys_that_cannot_be_used_are_named(settings, key, tmp_path):
    pytest.importorskip("signxml")
    request = build_xml_request(["o4sp040b0"], settings)
    with pytest.raises(ConfigurationError, match=r"missing\.pem cannot be read"):
        submit_xml_request(request, settings | {"private_key": str(tmp_path / "missing.pem")})
    (tmp_path / "bad.pem").write_text("no key")
    with pytest.raises(ConfigurationError, match="without a passphrase"):
        submit_xml_request(request, settings | {"private_key": str(tmp_path / "bad.pem")})


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("COMPLETE", (True, False)),
        ("KILLED", (False, True)),
        ("INCOMPLETE", (False, False)),
        ("PROCESSING", (False, False)),
        ("", (False, False)),
    ],
)
def test_states_are_understood(archive_host, tmp_path, monkeypatch, state, expected):
    """The host is the one of the configure file, as the documented function has no argument for it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "refstis_config.yaml").write_text(f"archive: '{archive_host.address}'\n")
    archive_host.states = [state]
    assert everything_retrieved("me 12345&x=1") == expected
    assert archive_host.asked == ["/cgi-bin/reqstat?reqnum=me%2012345%26x%3D1"]


def test_status_host_without_a_configure_file(tmp_path, monkeypatch):
    from refstis.retrieval.dads import _configured_archive

    monkeypatch.setenv("HOME", str(tmp_path))
    assert _configured_archive() == "archive.stsci.edu"
    (tmp_path / "refstis_config.yaml").write_text("a: [")
    with pytest.raises(ConfigurationError, match=r"refstis_config\.yaml cannot be read"):
        _configured_archive()


def test_requests_waits_and_takes_what_is_delivered(settings, archive_host, raw, tmp_path):
    settings["archive"] = archive_host.address
    delivered = Path(settings["retrieve_directory"])

    def deliver():
        (delivered / "o4sp040b0_raw.fits").write_bytes(raw("o4sp040b0"))
        (delivered / "o4sp040c0_raw.fits").write_bytes(raw("o4sp040c0")[:5760])

    archive_host.deliver = deliver
    archive_host.states = ["PENDING", 503, "PROCESSING", "COMPLETE"]
    source = Dads(settings, poll_interval=0.01, give_up_after=20)
    found = source.find(Selection(rootnames=("O4SP040B0", "o4sp040c0", "o4sp040d0")))
    fetched = source.fetch(found, tmp_path / "month")
    assert list(fetched.paths) == ["o4sp040b0_raw.fits"]
    assert (tmp_path / "month" / "o4sp040b0_raw.fits").read_bytes() == raw("o4sp040b0")
    reasons = {Path(left.name).name: left.reason for left in fetched.failed}
    assert "cut off" in reasons["o4sp040c0_raw.fits"]
    assert "was not delivered" in reasons["o4sp040d0_raw.fits"]
    assert len(reasons) == 2
    assert len(archive_host.asked) == 4


def test_killed_requests_end(settings, archive_host):
    settings["archive"] = archive_host.address
    archive_host.states = ["PROCESSING", "KILLED"]
    source = Dads(settings, poll_interval=0.01, give_up_after=20)
    with pytest.raises(RetrievalError, match="killed the request me12345"):
        source.fetch(source.find(Selection(rootnames=("o4sp040b0",))))


@pytest.mark.parametrize("state", ["PROCESSING", 503])
def test_waiting_ends(settings, archive_host, state):
    settings["archive"] = archive_host.address
    archive_host.states = [state]
    source = Dads(settings, poll_interval=0.02, give_up_after=0.1)
    with pytest.raises(RetrievalError, match="is not complete after"):
        source.fetch(source.find(Selection(rootnames=("o4sp040b0",))))
    assert 2 <= len(archive_host.asked) <= 6


@pytest.mark.parametrize("answer", [b"<b>ERROR</b> no such user", b"SUCCESS but no number", b"me12345"])
def test_requests_that_are_not_accepted(settings, archive_host, answer):
    settings["archive"] = archive_host.address
    archive_host.answer = answer
    source = Dads(settings, poll_interval=0.01, give_up_after=1)
    with pytest.raises(RetrievalError, match="did not accept the request of 1 files"):
        source.fetch(source.find(Selection(rootnames=("o4sp040b0",))))
    assert archive_host.asked == []


def test_dads_does_not_search(settings):
    with pytest.raises(ConfigurationError, match="by rootname"):
        Dads(settings).find(Selection())


def test_collect_from_dads(settings, archive_host, raw):
    settings |= {"archive": archive_host.address, "retrieve_from": "dads"}
    delivered = Path(settings["retrieve_directory"])
    archive_host.deliver = lambda: (delivered / "o4sp040b0_raw.fits").write_bytes(raw("o4sp040b0"))
    assert collect(["o4sp040b0"], settings) is True
    assert collect(["o4sp040b0", "o4sp040c0"], settings) is False


def test_collect_from_mast_is_the_default(settings, mast, monkeypatch, patience):
    from refstis.retrieval import Mast
    from refstis.retrieval import mast as module

    monkeypatch.setattr(module, "Mast", lambda **options: Mast(mast.url, patience=patience, **options))
    entry = mast.add("O4SP040B0")
    assert collect([], settings) is True
    assert mast.requests == []
    assert collect(["o4sp040b0"], settings) is True
    assert (Path(settings["retrieve_directory"]) / "o4sp040b0_raw.fits").read_bytes() == entry.content
    assert collect(["o4sp040b0", "o4sp040c0"], settings) is False
    del settings["retrieve_directory"]
    with pytest.raises(ConfigurationError, match="retrieve_directory"):
        collect(["o4sp040b0"], settings)


def test_collect_from_a_folder(settings, raw, tmp_path):
    tree = tmp_path / "tree" / "12740"
    tree.mkdir(parents=True)
    (tree / "o4sp040b0_raw.fits").write_bytes(raw("o4sp040b0"))
    assert collect(["O4SP040B0"], settings | {"retrieve_from": str(tmp_path / "tree")}) is True
    assert (Path(settings["retrieve_directory"]) / "o4sp040b0_raw.fits").exists()


def test_sources_by_name(tmp_path):
    from refstis.retrieval import Mast

    assert isinstance(open_source("mast"), Mast)
    assert isinstance(open_source("dads", {}), Dads)
    assert isinstance(open_source(tmp_path), Folder)


def test_the_elements_are_those_of_a_plain_document(settings):
    """The standard library reads it, too, with its document type."""
    assert ET.fromstring(build_xml_request(["o4sp040b0"], settings)).tag == "distributionRequest"  # noqa: S314


def test_tls_is_not_weakened():
    assert ssl.create_default_context().check_hostname
