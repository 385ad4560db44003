"""The DADS request: an XML document, posted to the archive, which then delivers files to a folder.

The names of its elements and fields are those of the request that release 0.8.4 of refstis sent.
"""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from html import unescape
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

from refstis.datamodels.configuration import expand_home
from refstis.errors import ConfigurationError, InputError
from refstis.retrieval.selection import (
    ArchiveFile,
    Fetched,
    Findings,
    Left,
    RetrievalError,
    Selection,
    policy,
)

__all__ = ["Dads", "build_xml_request", "everything_retrieved", "submit_xml_request"]

log = logging.getLogger("refstis.retrieval")

_DOCTYPE = '<!DOCTYPE distributionRequest SYSTEM "http://dmswww.stsci.edu/dtd/sso/distribution.dtd">'
_ARCHIVE = "archive.stsci.edu"
_CONFIGURE_FILE = "~/refstis_config.yaml"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _setting(settings: Mapping[str, Any], key: str) -> str:
    value = settings.get(key)
    if value is None or str(value).strip() == "":
        raise ConfigurationError(f"The configuration has no '{key}', which the DADS request needs: add it.")
    return str(value)


def _characters(text: str, what: str) -> str:
    """Text that XML can hold; quotes, angle brackets and line ends are the serializer's business."""
    if _NOT_XML.search(text):
        raise ConfigurationError(f"{what}, {text!r}, has characters that XML cannot hold: remove them.")
    return text


def build_xml_request(datasets: Sequence[str], settings: Mapping[str, Any]) -> str:
    """Build the XML request for the given datasets.

    Parameters
    ----------
    datasets : list of str
        Rootnames to have delivered.
    settings : dict
        The configure file: ``archive_user``, ``email``, ``host``, ``ftp_user`` and ``retrieve_directory``.

    Returns
    -------
    str
        The XML request.

    Raises
    ------
    refstis.errors.InputError
        If there are no datasets.
    refstis.errors.ConfigurationError
        If a setting is missing, or holds what XML cannot.

    Examples
    --------
    >>> settings = {
    ...     "archive_user": "me",
    ...     "email": "me@x.org",
    ...     "host": "x.org",
    ...     "ftp_user": "me",
    ...     "retrieve_directory": "/data",
    ... }
    >>> print(build_xml_request(["o4sp040b0"], settings).splitlines()[-4].strip())
    <rootname>o4sp040b0</rootname>
    """
    if isinstance(datasets, str) or not datasets:
        raise InputError("A DADS request needs a list of at least one rootname.")

    def setting(key):
        return _characters(_setting(settings, key), f"The setting '{key}'")

    root = ET.Element("distributionRequest")
    head = ET.SubElement(root, "head")
    ET.SubElement(
        head,
        "requester",
        {"userId": setting("archive_user"), "email": setting("email"), "source": "starview"},
    )
    delivery = ET.SubElement(head, "delivery")
    ET.SubElement(
        delivery,
        "ftp",
        {
            "hostName": setting("host"),
            "loginName": setting("ftp_user"),
            "directory": setting("retrieve_directory"),
            "secure": "true",
        },
    )
    ET.SubElement(head, "process", {"compression": "none"})
    include = ET.SubElement(ET.SubElement(root, "body"), "include")
    select = ET.SubElement(include, "select")
    ET.SubElement(select, "suffix", {"name": "RAW"})
    for name in datasets:
        ET.SubElement(include, "rootname").text = _characters(str(name), "The rootname")
    ET.indent(root)
    return f'<?xml version="1.0"?>\n{_DOCTYPE}\n{ET.tostring(root, encoding="unicode")}\n'


def submit_xml_request(xml_request: str, settings: Mapping[str, Any]) -> HTTPResponse:
    """Submit the XML request to the archive, over TLS.

    The request is signed (XML-DSig, enveloped, RSA with SHA-256) where ``private_key`` in the settings names
    a PEM file.

    Parameters
    ----------
    xml_request : str
        The request, as `build_xml_request` makes it.
    settings : dict
        The configure file: ``archive`` (a host, with or without a port) and ``dads_host``.

    Returns
    -------
    http.client.HTTPResponse
        What the archive answers; its text is still to be read.

    Raises
    ------
    RetrievalError
        If the archive cannot be reached over TLS, or answers with an error.
    """
    archive = _setting(settings, "archive")
    if settings.get("private_key"):
        xml_request = _sign(xml_request, expand_home(str(settings["private_key"])))
    form = urlencode(
        {
            "dadshost": _setting(settings, "dads_host"),
            "dadsport": policy()["dads"]["port"],
            "mission": "HST",
            "request": xml_request,
        }
    )
    return _speak(archive, "POST", "/cgi-bin/dads.cgi", form)


def everything_retrieved(tracking_id: str) -> tuple[bool, bool]:
    """Check the status page of a request.

    The page is asked of the ``archive`` that ``~/refstis_config.yaml`` names, where there is such a file, or
    else of archive.stsci.edu.

    Parameters
    ----------
    tracking_id : str
        A submission ID.

    Returns
    -------
    done : bool
        Whether everything was delivered.
    killed : bool
        Whether the request was killed.

    Raises
    ------
    RetrievalError
        If the status page cannot be had.
    """
    return _state(tracking_id, _configured_archive())


def _configured_archive() -> str:
    from refstis.datamodels.damage import parse_yaml

    path = Path(_CONFIGURE_FILE).expanduser()
    try:
        settings = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _ARCHIVE
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as YAML: {error}") from error
    return str(settings.get("archive") or _ARCHIVE) if isinstance(settings, dict) else _ARCHIVE


def _state(tracking_id: str, archive: str) -> tuple[bool, bool]:
    with _speak(archive, "GET", f"/cgi-bin/reqstat?reqnum={quote(tracking_id, safe='')}") as answer:
        page = _text(answer, archive)
    # "State" and its value may stand in neighbouring cells of a table.
    words = unescape(re.sub(r"<[^>]*>", " ", page))
    states = {state.upper() for state in re.findall(r"\bState\b[\s:=-]*(\w+)", words, re.IGNORECASE)}
    return "COMPLETE" in states, "KILLED" in states


def _text(answer: HTTPResponse, archive: str) -> str:
    try:
        return answer.read().decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        raise RetrievalError(f"{archive} broke off in the middle of its answer: {error}") from error


def _speak(archive: str, method: str, path: str, form: str | None = None) -> HTTPResponse:
    """One request over TLS; its answer owns the connection."""
    import ssl

    from refstis import __version__

    headers = {"Accept": "text/html", "Connection": "close", "User-Agent": f"refstis/{__version__}"}
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        connection = HTTPSConnection(
            archive, timeout=policy()["transfer"]["read_timeout"], context=ssl.create_default_context()
        )
    except (HTTPException, ValueError) as error:
        raise ConfigurationError(f"The setting 'archive', {archive!r}, is not a host: {error}.") from error
    try:
        connection.request(method, path, form, headers)
        answer = connection.getresponse()
    except ssl.SSLError as error:
        connection.close()
        raise RetrievalError(f"{archive} does not identify itself: {error}. Nothing was sent.") from error
    except (OSError, HTTPException, ValueError) as error:
        connection.close()
        raise RetrievalError(f"{archive} cannot be reached over TLS: {error}") from error
    if connection.sock is not None:
        connection.sock.close()  # in truth, when the answer is closed or read to its end
    if answer.status != 200:
        answer.close()
        raise RetrievalError(f"{archive}{path.partition('?')[0]} answers {answer.status} {answer.reason}")
    return answer


def _sign(xml_request: str, key: Path) -> str:
    try:
        from lxml import etree
        from signxml import XMLSigner, methods
    except ImportError:
        raise ConfigurationError(
            "The configuration asks for signed DADS requests (private_key), which needs the package signxml: "
            "pip install 'refstis[dads]', or remove private_key."
        ) from None
    try:
        pem = key.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"The private key {key} cannot be read: {error.strerror}.") from error
    body = xml_request[xml_request.index("<distributionRequest") :]
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    signer = XMLSigner(method=methods.enveloped, signature_algorithm="rsa-sha256", digest_algorithm="sha256")
    try:
        signed = signer.sign(etree.fromstring(body, parser), key=pem)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"The private key {key} cannot be used ({error}): "
            "an RSA key in PEM form without a passphrase is expected."
        ) from error
    return f'<?xml version="1.0"?>\n{_DOCTYPE}\n{etree.tostring(signed, encoding="unicode")}\n'


class Dads:
    """Files that the archive delivers on request, as a `~refstis.retrieval.selection.Source`.

    Parameters
    ----------
    settings : dict
        The configure file.
    poll_interval, give_up_after : float, optional
        Seconds between two looks at the status page, and until the request is given up;
        ``config/retrieval.yaml`` by default.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        poll_interval: float | None = None,
        give_up_after: float | None = None,
    ):
        self.settings = settings
        self.poll_interval = policy()["dads"]["poll_interval"] if poll_interval is None else poll_interval
        self.give_up_after = policy()["dads"]["give_up_after"] if give_up_after is None else give_up_after

    def find(self, selection: Selection) -> Findings:
        """Name the files of the exposures that are asked for.

        Parameters
        ----------
        selection : Selection
            With rootnames: DADS delivers, it does not search.

        Returns
        -------
        Findings
        """
        if not selection.rootnames or selection.suffix != "raw":
            raise ConfigurationError(
                "A DADS request asks for raw exposures by rootname: search with MAST or in a folder."
            )
        names = dict.fromkeys(name.lower() for name in selection.rootnames)
        return Findings(selection, [ArchiveFile(f"{name}_raw.fits", name) for name in names])

    def fetch(
        self, findings: Findings, destination: str | Path | None = None, *, progress: bool = False
    ) -> Fetched:
        """Submit a request and wait until its files are delivered.

        Parameters
        ----------
        findings : Findings
            What `find` returned.
        destination : str or pathlib.Path, optional
            Folder for copies; None to leave the files in ``retrieve_directory``.
        progress : bool, optional
            Show a bar on stderr while files are copied.

        Returns
        -------
        Fetched
            What was not delivered, or not whole, has failed.

        Raises
        ------
        RetrievalError
            If the request is refused, killed, or not complete in time.
        """
        from refstis.retrieval.folder import Folder

        archive = _setting(self.settings, "archive")
        user = _setting(self.settings, "archive_user")
        request = build_xml_request([file.location for file in findings.files], self.settings)
        with submit_xml_request(request, self.settings) as answer:
            text = _text(answer, archive)
        tracking = re.search(rf"{re.escape(user)}\d{{5,}}", text)
        if "SUCCESS" not in text or tracking is None:
            said = " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())[:200]
            raise RetrievalError(
                f"{archive} did not accept the request of {len(findings.files)} files: {said}"
            )
        self._wait(tracking[0], archive)
        delivered = Folder(_setting(self.settings, "retrieve_directory"))
        fetched = delivered.fetch(delivered.find(findings.selection), destination, progress=progress)
        for file in findings.files:
            if file.filename not in fetched.paths and not any(
                file.filename in left.name for left in fetched.failed
            ):
                fetched.failed.append(Left(file.filename, f"was not delivered to {delivered.path}"))
        return fetched

    def _wait(self, tracking_id: str, archive: str) -> None:
        deadline = time.monotonic() + self.give_up_after
        while True:
            try:
                done, killed = _state(tracking_id, archive)
            except RetrievalError as error:  # the status page may be down for a while; the request is not
                log.warning("Request %s: %s", tracking_id, error)
                done = killed = False
            if killed:
                raise RetrievalError(
                    f"The archive killed the request {tracking_id}: submit it again, or ask MAST."
                )
            if done:
                return
            if time.monotonic() + self.poll_interval > deadline:
                raise RetrievalError(
                    f"The request {tracking_id} is not complete after {self.give_up_after / 3600:.1f} h: "
                    f"look at {archive} what became of it."
                )
            log.info("Request %s: waiting for files to be delivered.", tracking_id)
            time.sleep(self.poll_interval)
