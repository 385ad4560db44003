"""A small MAST, and a small archive host with TLS, on this machine.

`MastServer` speaks the five requests that refstis makes of MAST. The form of its answers is that of the
answers which astroquery publishes with its tests (mission_columns.json, mission_results.json,
mission_products.json and, of the portal, advSearch.json); test_mast.py and test_anneals.py compare them field by
field. Reconstructed, because no recorded answer shows it, are: that ``retrieve_product`` sends Content-Length,
ETag and ranges, how long a page may be, and the status of errors.
"""

import hashlib
import io
import json
import re
import ssl
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files as resource_files
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits

MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)


def recorded(name):
    """An answer of MAST as astroquery publishes it."""
    return json.loads((resource_files("astroquery.mast.tests") / "data" / f"mission_{name}.json").read_text())


def raw_exposure(rootname, *, target="DARK", mjd=56000.0, exptime=1100.0, size=24, **keywords):
    """The bytes of a small raw exposure with the keywords by which exposures are chosen."""
    rng = np.random.default_rng(int.from_bytes(rootname.encode(), "little") % 2**32)
    primary = fits.PrimaryHDU()
    cards = {
        "NEXTEND": 3,
        "FILENAME": f"{rootname}_raw.fits",
        "TELESCOP": "HST",
        "INSTRUME": "STIS",
        "ROOTNAME": rootname,
        "TARGNAME": target,
        "PROPOSID": 12740,
        "TEXPSTRT": mjd,
        "TEXPTIME": exptime,
        "OBSMODE": "ACCUM",
        "DETECTOR": "CCD",
        "CCDAMP": "D",
        "CCDGAIN": 1,
        "CCDOFFST": 3,
        "BINAXIS1": 1,
        "BINAXIS2": 1,
    } | keywords
    for keyword, value in cards.items():
        primary.header[keyword] = value
    pixels = rng.integers(1400, 1600, (size, size)).astype(np.int16)
    hdus = [primary, fits.ImageHDU(pixels, name="SCI"), fits.ImageHDU(name="ERR"), fits.ImageHDU(name="DQ")]
    stream = io.BytesIO()
    fits.HDUList(hdus).writeto(stream)
    return stream.getvalue()


@dataclass
class Entry:
    dataset: str
    target: str
    start: float
    duration: float
    program: int
    content: bytes
    access: str = "PUBLIC"
    listed_size: int | None = None
    config: str = "STIS/CCD"
    title: str = "CCD Dark Monitor"

    @cached_property
    def row(self):
        start = MJD_ZERO + timedelta(days=self.start)
        return {
            "sci_data_set_name": self.dataset,
            "sci_targname": self.target,
            "sci_instrume": "STIS  ",
            "sci_instrument_config": self.config,
            "sci_pep_id": self.program,
            "sci_start_time": start.replace(tzinfo=None).isoformat(timespec="microseconds"),
            "sci_actual_duration": self.duration,
            "search_key": self.dataset,
        }

    @cached_property
    def products(self):
        name = self.dataset.lower()

        def product(filename, suffix, size):
            return {
                "product_key": f"{self.dataset}_{filename}",
                "access": self.access,
                "dataset": self.dataset,
                "instrument_name": "STIS  ",
                "filters": "MIRVIS",
                "filename": filename,
                "uri": f"{self.dataset}/{filename}",
                "authz_primary_identifier": self.dataset,
                "authz_secondary_identifier": "CAL",
                "file_suffix": suffix,
                "category": "UNCALIBRATED",
                "size": size,
                "type": "science",
            }

        size = self.listed_size if self.listed_size is not None else len(self.content)
        return [
            product(f"{name}_spt.fits", "SPT", 40320),
            product(f"{name}_raw.fits", "RAW", size),
            # Calibrated exposures come with the reference file that calibrated them.
            product("j3m1403io_drk.fits", "DRK", 11520),
        ]


@dataclass
class MastServer:
    """The state of the server; `faults` maps a path or product to what goes wrong at the next requests."""

    entries: dict = field(default_factory=dict)
    page_limit: int = 5000
    rate: float | None = None  # bytes a second of one download
    ranges: bool = True
    announce: bool = True  # Content-Length
    validator: str | None = "etag"
    headers: dict = field(default_factory=dict)
    token: str | None = None
    faults: dict = field(default_factory=lambda: defaultdict(list))
    requests: list = field(default_factory=list)
    served: Counter = field(default_factory=Counter)  # file -> bytes of its body that were sent
    begun: Counter = field(default_factory=Counter)  # file -> requests from its first byte
    finished: Counter = field(default_factory=Counter)  # file -> bodies sent to the last byte
    authorizations: list = field(default_factory=list)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def add(self, dataset, *, target="DARK", start=56000.0, duration=1100.0, program=12740, **more):
        entry_keys = {"access", "listed_size", "config", "title"}
        content = more.pop("content", None)
        options = {key: more.pop(key) for key in entry_keys & set(more)}
        if content is None:
            content = raw_exposure(
                dataset.lower(), target=target, mjd=start, exptime=duration, PROPOSID=program, **more
            )
        self.entries[dataset] = Entry(dataset, target, start, duration, program, content, **options)
        return self.entries[dataset]

    def fault(self, what):
        with self.lock:
            waiting = self.faults.get(what)
            return waiting.pop(0) if waiting else None

    def portal(self, request):
        """Exposures of the programmes whose title has the words, as the portal answers."""
        filters = {one["paramName"]: one for one in request["params"]["filters"]}
        words = filters["obs_title"]["freeText"].strip("%").lower()
        columns = request["params"]["columns"].split(",")
        rows = [
            {
                "obs_collection": "HST",
                "obs_id": one.dataset,
                "proposal_id": str(one.program),
                "obs_title": one.title,
            }
            for one in self.entries.values()
            if words in one.title.lower() and one.config in filters["instrument_name"]["values"]
        ]
        size = min(request["pagesize"], self.page_limit)
        first = (request["page"] - 1) * size
        return {
            "status": "COMPLETE",
            "msg": "",
            "data": [{name: row[name] for name in columns} for row in rows[first : first + size]],
            "fields": [{"name": name, "type": "string"} for name in columns],
            "paging": {
                "page": request["page"],
                "pageSize": size,
                "pagesFiltered": -(-len(rows) // size),
                "rows": len(rows),
                "rowsFiltered": len(rows),
                "rowsTotal": len(rows),
            },
        }

    def search(self, query):
        """The rows that meet the conditions, as the documentation of MAST's search explains them."""
        conditions = [_condition(*item) for condition in query["conditions"] for item in condition.items()]
        rows = [e.row for e in self.entries.values() if all(meets(e.row) for meets in conditions)]
        for column in reversed(query.get("sort_by") or []):
            rows.sort(key=lambda row: row[column])
        limit = min(query["limit"], self.page_limit)
        page = rows[query["offset"] : query["offset"] + limit]
        types = {"sci_actual_duration": "FLOAT", "sci_pep_id": "INTEGER", "sci_start_time": "DATETIME"}
        columns = query["select_cols"]
        return {
            "messages": [],
            "info": [{"name": name, "type": types.get(name, "VARCHAR")} for name in columns],
            "search_params": query,
            "totalResults": len(rows),
            "results": [
                {name: row[name] for name in dict.fromkeys([*columns, "search_key"])} for row in page
            ],
        }


def _condition(column, wanted):
    """What one condition of a search means: a value, a range, a limit, or several of them."""

    def like(text):
        return text.replace(" ", "T") if re.match(r"\d{4}-", text) else text

    def one(text):
        if ".." in text:
            low, high = (like(part) for part in text.split(".."))
            return lambda value: type(value)(low) <= value <= type(value)(high)
        if text.startswith(">="):
            return lambda value: value >= type(value)(like(text[2:]))
        if text.startswith("<="):
            return lambda value: value <= type(value)(like(text[2:]))
        return lambda value: value == type(value)(text)

    tests = [one(text) for text in str(wanted).split(",")]

    def meets(row):
        value = row[column].strip() if isinstance(row[column], str) else row[column]
        return any(test(value) for test in tests)

    return meets


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *args):
        pass

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, TimeoutError, ssl.SSLError):
            self.close_connection = True

    def send_body(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _MastHandler(_Quiet):
    @property
    def mast(self):
        return self.server.state

    def _fails(self, what):
        fault = self.mast.fault(what)
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return True
        if isinstance(fault, int):
            self.send_body(fault, b"not now", "text/plain")
            return True
        if isinstance(fault, bytes):
            self.send_body(200, fault)
            return True
        return False

    def do_POST(self):
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        query = json.loads(parse_qs(body)["request"][0] if path == "/api/v0/invoke" else body)
        self.mast.requests.append((path, query))
        if self._fails(path.rsplit("/", 1)[1]):
            return
        if path == "/search/hst/api/v0.1/search":
            answer = self.mast.search(query)
        elif path == "/search/hst/api/v0.1/post_list_products":
            known = [self.mast.entries[name] for name in query["dataset_ids"] if name in self.mast.entries]
            answer = {"products": [product for entry in known for product in entry.products]}
        elif path == "/api/v0/invoke":
            answer = self.mast.portal(query)
        else:
            self.send_body(404, b"")
            return
        self.send_body(200, json.dumps(answer).encode())

    def do_GET(self):
        url = urlsplit(self.path)
        parameters = parse_qs(url.query)
        self.mast.requests.append((url.path, parameters))
        if url.path == "/search/util/api/v0.1/column_list":
            if not self._fails("column_list"):
                self.send_body(200, json.dumps(recorded("columns")).encode())
        elif url.path == "/search/hst/api/v0.1/retrieve_product":
            self._product(parameters["product_name"][0])
        else:
            self.send_body(404, b"")

    def _product(self, uri):
        mast = self.mast
        dataset, filename = uri.split("/")
        entry = mast.entries.get(dataset)
        if entry is None:
            return self.send_body(404, b"")
        mast.authorizations.append(self.headers.get("Authorization"))
        if entry.access != "PUBLIC" and self.headers.get("Authorization") != f"token {mast.token}":
            return self.send_body(401, b"")
        with mast.lock:
            mast.now += 1
            mast.most = max(mast.most, mast.now)
        try:
            return self._send(entry, filename)
        finally:
            with mast.lock:
                mast.now -= 1

    def _send(self, entry, filename):
        mast = self.mast
        fault = mast.fault(filename)
        if isinstance(fault, int):
            return self.send_body(fault, b"not now", "text/plain")
        content = fault if isinstance(fault, bytes) else entry.content
        etag = f'"{hashlib.sha256(entry.content).hexdigest()[:16]}"'
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(asked[1]) if asked and mast.ranges else 0
        if self.headers.get("If-Range") not in (None, etag):
            begin = 0
        if begin >= len(content) > 0:
            return self.send_body(416, b"")
        body = content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Type", "application/fits")
        if mast.announce:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        if mast.validator == "etag":
            self.send_header("ETag", etag)
        for name, value in mast.headers.items():
            self.send_header(name, value(content) if callable(value) else value)
        self.end_headers()
        with mast.lock:
            mast.begun[filename] += begin == 0
        if fault == "cut":
            body = body[: len(body) // 2]
        step = len(body) or 1
        if mast.rate:
            step = max(1, int(mast.rate / 100))
        for position in range(0, len(body), step):
            piece = body[position : position + step]
            self.wfile.write(piece)
            with mast.lock:
                mast.served[filename] += len(piece)
            if mast.rate:
                time.sleep(0.01)
        if fault == "cut":
            self.wfile.flush()
            self.close_connection = True
            return None
        with mast.lock:
            mast.finished[filename] += 1
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # clients of these tests are killed on purpose


@contextmanager
def serving(handler, state, tls=None):
    server = _Server(("127.0.0.1", 0), handler)
    server.state = state
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def mast():
    state = MastServer()
    with serving(_MastHandler, state) as address:
        state.url = f"http://{address}"
        yield state


@pytest.fixture
def raw():
    return raw_exposure


@pytest.fixture
def answers():
    return recorded


@pytest.fixture
def patience():
    from refstis.retrieval.client import Patience

    return Patience(
        at_once=4, attempts=4, backoff=0.01, longest_pause=0.05, connect_timeout=5, read_timeout=5
    )


@pytest.fixture
def source(mast, patience):
    """A function that opens the loopback archive."""
    from refstis.retrieval import Mast

    def open_it(**options):
        return Mast(mast.url, **({"patience": patience} | options))

    return open_it


@dataclass
class ArchiveHost:
    """An archive that takes DADS requests. Its answers are reconstructed from what refstis 0.8.4 looks for."""

    answer: bytes = b"<html>SUCCESS. Your request is me12345.</html>"
    states: list = field(default_factory=lambda: ["COMPLETE"])
    status: int = 200
    forms: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    deliver: object = None
    address: str = ""


class _ArchiveHandler(_Quiet):
    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.state.forms.append((self.path, form))
        self.send_body(self.server.state.status, self.server.state.answer, "text/html")

    def do_GET(self):
        host = self.server.state
        host.asked.append(self.path)
        state = host.states.pop(0) if len(host.states) > 1 else host.states[0]
        if isinstance(state, int):
            self.send_body(state, b"", "text/html")
            return
        if state == "COMPLETE" and host.deliver is not None:
            host.deliver()
        page = f"<table><tr><td>me12345</td></tr><tr><td>State:</td><td>{state}</td></tr></table>"
        self.send_body(200, page.encode(), "text/html")


@pytest.fixture
def archive_host(tmp_path, monkeypatch):
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(bundle)
    # Where OpenSSL looks for authorities: the client itself has no switch that could weaken it.
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    host = ArchiveHost()
    with serving(_ArchiveHandler, host, context) as address:
        host.address = address
        yield host
