"""What libraries only warn of, and what would then be another file."""

import resource
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

from refstis.datamodels.atomic import atomic_write
from refstis.datamodels.damage import read_asdf, write_asdf
from refstis.errors import OutputError

DESCRIPTORS = Path("/proc/self/fd")
TREE = {"class": "refstis.X", "name": "x", "parameters": {"b": 1, "a": [1.5, None]}}


@contextmanager
def descriptors_left(number):
    """Let this process open so many files more, and no others."""
    # the one that lists them is closed by then
    used = {int(one.name) for one in list(DESCRIPTORS.iterdir()) if one.exists()}
    free = [one for one in range(len(used) + number + 1) if one not in used]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[number], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="needs Linux")
def test_an_asdf_file_has_the_same_bytes_or_is_not_written(tmp_path):
    write_asdf(tmp_path / "sound.asdf", TREE)
    refused = 0
    for number in range(4):
        target = tmp_path / f"{number}.asdf"
        # a user's filters are not those of the tests
        with warnings.catch_warnings(), descriptors_left(number):
            warnings.simplefilter("ignore")
            try:
                write_asdf(target, TREE)
            except OutputError as error:
                refused += 1
                assert str(error).startswith(f"{target}: cannot be written")  # noqa: PT017 - the next may succeed
                assert not target.exists()
        if target.exists():
            assert target.read_bytes() == (tmp_path / "sound.asdf").read_bytes()
    # there is no room for the file, then for the file and no schema
    assert refused == 2


def test_names_that_are_no_utf8_are_escaped(tmp_path):
    name = b"\xff_raw.fits".decode("utf-8", "surrogateescape")
    write_asdf(tmp_path / "x.asdf", {"record": {"inputs": [{"name": name, name: 1}]}})
    assert read_asdf(tmp_path / "x.asdf")["record"]["inputs"] == [
        {"name": "\\udcff_raw.fits", "\\udcff_raw.fits": 1}
    ]
    with atomic_write(tmp_path / "x.log", "w") as stream:
        stream.write(f"Opening {name}.\n")
    assert (tmp_path / "x.log").read_text() == "Opening \\udcff_raw.fits.\n"
