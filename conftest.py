"""Surroundings of every test, offline and nobody's own; and the code in README and docs as tests."""

import os
import socket

import pytest
from sybil import Sybil
from sybil.parsers.myst import DocTestDirectiveParser, PythonCodeBlockParser

# What a user's shell may hold, and what must not decide a test
_FOREIGN = ("oref", "CRDS_CONTEXT", "CRDS_PATH", "CRDS_SERVER_URL", "STPIPE_DISABLE_CRDS_STEPPARS")
_THIS_MACHINE = ("127.", "::1", "localhost")


# They configure Sphinx by being imported: compiled functions would stay plain Python for the tests that follow.
collect_ignore = ["docs/conf.py", "docs/_ext"]


def pytest_configure():
    """Forget the user's reference files before any fixture, of whatever scope, looks for them."""
    for name in _FOREIGN:
        os.environ.pop(name, None)


def needs_postgresql(item):
    """Whether a test has the parameter `postgresql`."""
    return "[postgresql" in item.nodeid


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Let a test that skips PostgreSQL fail where a server was promised."""
    report = yield
    if report.skipped and needs_postgresql(item) and os.environ.get("REFSTIS_POSTGRESQL_URL"):
        report.outcome = "failed"
    return report


@pytest.fixture(autouse=True)
def _variables():
    """Forget the reference folder that a test left: the documented pipeline sets it for the process."""
    before = {name: os.environ.get(name) for name in _FOREIGN}
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(autouse=True)
def _surroundings(request, monkeypatch, tmp_path_factory):
    """Give each test an empty home folder, no `$oref`, and no network but the machine itself."""
    # fixtures of a session may have set them for what they make, while other tests follow in the same process
    for name in _FOREIGN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def connect_here(self, address):
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(_THIS_MACHINE):
            pytest.fail(f"connects to {address}: tests are offline unless marked 'network'")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)


@pytest.fixture
def close_folders(monkeypatch):
    """Let folders of a name be such that nobody may list, not even root."""

    def close(name):
        list_folder = os.scandir

        def refuse(path):
            if str(path).endswith(name):
                raise PermissionError(13, "Permission denied", str(path))
            return list_folder(path)

        monkeypatch.setattr(os, "scandir", refuse)

    return close


@pytest.fixture
def in_empty_folder(tmp_path, monkeypatch):
    """Keep what the examples write out of the checkout."""
    monkeypatch.chdir(tmp_path)


# Blocks of `python` are run, those of `py` need what only a reader has.
pytest_collect_file = Sybil(
    parsers=[DocTestDirectiveParser(), PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    fixtures=["in_empty_folder"],
).pytest()
