"""Checksums of what a product is made of: taken beside the calibration, and never of another state of a file."""

import hashlib
import os
import threading

import pytest
from frames import MONTH_SHAPE, write_raw

import refstis
from refstis.datamodels.checksums import PIECE, file_checksum
from refstis.errors import ReferenceFileError


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 5])
def test_checksum_of_a_file(tmp_path, size):
    path = tmp_path / "any.fits"
    path.write_bytes(os.urandom(size))
    assert file_checksum(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_checksum_follows_the_file(tmp_path):
    path = tmp_path / "any.fits"
    for content in (b"one", b"other"):
        path.write_bytes(content)
        assert file_checksum(path) == hashlib.sha256(content).hexdigest()


def test_a_run_that_fails_leaves_no_thread(tmp_path):
    sci = {"LTV1": 0.0, "LTV2": 0.0}
    raws = [tmp_path / f"{name}_raw.fits" for name in ("one", "two")]
    for raw in raws:
        write_raw(raw, "BIAS", primary={"BPIXTAB": "N/A"}, sci=sci, imsets=3, shape=MONTH_SHAPE)
    before = threading.active_count()
    steps = {"dqicorr": {"override_ccdtab": str(tmp_path / "lost_ccd.fits")}}
    with pytest.raises(ReferenceFileError, match="lost_ccd"):
        refstis.RefBiasPipeline.call([str(raw) for raw in raws], steps=steps)
    assert threading.active_count() == before
