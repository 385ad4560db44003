"""Let the tests here import what they share, tests/frames.py; and a month of small exposures."""

import os
import sys
from pathlib import Path

import pytest

# under its own name: another distribution installs a package called `tests`
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from frames import write_month


@pytest.fixture(scope="session")
def shared_month(tmp_path_factory):
    folder = tmp_path_factory.mktemp("month")
    write_month(folder)
    return folder


@pytest.fixture
def month(shared_month, tmp_path):
    """A month of its own for a test, which is the working directory's neighbour."""
    folder = tmp_path / "month"
    folder.mkdir()
    for file in shared_month.iterdir():
        # no file is copied: whoever wrote into one would be found out by its checksum in the other tests
        os.link(file, folder / file.name)
    return folder


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
