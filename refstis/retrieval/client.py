"""Requests that are patient: repeated where a failure passes, and never without a time limit."""

import os
import random
from dataclasses import dataclass

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util import Retry

from refstis.retrieval.selection import RetrievalError, policy

__all__ = ["PASSING", "Patience", "TokenAuth", "cause", "find_token", "make_patient", "session"]

# What a server says when another try may help.
PASSING = (429, 500, 502, 503, 504)

# Where astroquery keeps the token.
_KEYRING_ENTRY = ("astroquery:mast.stsci.edu.token", "masttoken")


@dataclass(frozen=True)
class Patience:
    """How often and how long an archive is waited for; times in seconds.

    Attributes
    ----------
    at_once : int
        Downloads that run at the same time.
    attempts : int
        Tries of one request, or of one body that brings nothing new.
    backoff, longest_pause : float
        Pause before the second try, doubled at each further one up to the longest.
    connect_timeout, read_timeout : float
        For a connection, and between two pieces of an answer.
    """

    at_once: int
    attempts: int
    backoff: float
    longest_pause: float
    connect_timeout: float
    read_timeout: float

    @classmethod
    def default(cls) -> "Patience":
        """Give the numbers of ``config/retrieval.yaml``."""
        return cls(**policy()["transfer"])

    def pause(self, failures: int) -> float:
        """Seconds to wait after this many failures, a little random so that clients do not march in step."""
        spread = random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        return min(self.longest_pause, self.backoff * 2 ** (failures - 1)) * spread


class TokenAuth(AuthBase):
    """MAST's token in the ``Authorization`` header, which requests does not pass on to another host.

    Parameters
    ----------
    token : str
        The token; it is only sent encrypted, or within this machine.
    """

    def __init__(self, token: str):
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request."""
        url = request.url or ""
        host = url.split("/")[2].rsplit(":", 1)[0]
        if not url.startswith("https:") and host not in ("127.0.0.1", "localhost", "[::1]"):
            raise RetrievalError(f"The MAST token is not sent to {host} in the clear: give an https address.")
        request.headers["Authorization"] = f"token {self._token}"
        return request


def find_token() -> str | None:
    """MAST's token, from ``MAST_API_TOKEN``, else from the keyring, where astroquery keeps it.

    Returns
    -------
    str or None
        None where there is none; public data need none.
    """
    token = os.environ.get("MAST_API_TOKEN")
    if token:
        return token
    try:
        import keyring
        import keyring.errors
    except ImportError:
        return None
    try:
        return keyring.get_password(*_KEYRING_ENTRY)
    except keyring.errors.KeyringError:  # no keyring on this machine, or locked
        return None


class _PatientAdapter(HTTPAdapter):
    """Repeats requests that fail in passing, and gives a time limit to those that have none."""

    def __init__(self, patience: Patience):
        self._timeout = (patience.connect_timeout, patience.read_timeout)
        super().__init__(
            pool_maxsize=patience.at_once,
            max_retries=Retry(
                total=patience.attempts - 1,
                backoff_factor=patience.backoff / 2,
                backoff_max=patience.longest_pause,
                backoff_jitter=patience.backoff / 4,
                status_forcelist=PASSING,
                allowed_methods=None,  # MAST's searches are POSTs, and as harmless to repeat as GETs
                raise_on_status=False,
                # An archive may ask for hours; it is better to say that it is down.
                respect_retry_after_header=False,
            ),
        )

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):
        return super().send(request, stream, timeout or self._timeout, verify, cert, proxies)


def make_patient(client: requests.Session, patience: Patience) -> requests.Session:
    """Give a session retries with back-off on 5xx and dropped connections, and time limits.

    Parameters
    ----------
    client : requests.Session
        Changed in place.
    patience : Patience
        How often and how long.

    Returns
    -------
    requests.Session
        The same session.
    """
    for scheme in ("https://", "http://"):
        client.mount(scheme, _PatientAdapter(patience))
    return client


def session(patience: Patience, token: str | None = None) -> requests.Session:
    """Open a session for downloads.

    Parameters
    ----------
    patience : Patience
        How often and how long.
    token : str, optional
        MAST's token; only needed within an exclusive-access period.

    Returns
    -------
    requests.Session
    """
    client = make_patient(requests.Session(), patience)
    # Lengths and ranges must count the bytes of the file, not of a compressed copy on the wire.
    client.headers["Accept-Encoding"] = "identity"
    if token:
        client.auth = TokenAuth(token)
    return client


def cause(error: BaseException) -> str:
    """Innermost reason of an error, which says more than what requests and urllib3 wrap around it.

    Parameters
    ----------
    error : BaseException
        What was caught.

    Returns
    -------
    str
    """
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((item for item in error.args if isinstance(item, BaseException)), None)
        if inner is None:
            # urllib3 writes "<connection object>: what happened".
            return str(error).rpartition(">: ")[2] or type(error).__name__
        error = inner
