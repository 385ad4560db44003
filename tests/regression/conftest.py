"""Expected outputs of the original programs: where they are, and how they are compared."""

import gzip
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

ROOT = Path(os.environ.get("REFSTIS_TEST_DATA", Path(__file__).parents[3] / "shared"))

# Keywords that are not compared: what writers of files say of themselves, and storage.
SKIPPED = {
    "",
    "HISTORY",
    "COMMENT",
    "BITPIX",
    "NAXIS2",
    "DATE",
    "ORIGIN",
    "CAL_VER",
    "OPUS_VER",
    "CHECKSUM",
    "DATASUM",
}


def pytest_collection_modifyitems(items):
    if not (ROOT / "oracle" / "plan.json").is_file():
        skip = pytest.mark.skip(reason=f"expected outputs are not at {ROOT} (REFSTIS_TEST_DATA)")
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(skip)


@pytest.fixture
def shared():
    """Folder of the expected outputs and of facts."""
    return ROOT


def _plane(hdu, shape):
    return np.full(shape, hdu.header.get("PIXVALUE", 0)) if hdu.data is None else np.asarray(hdu.data)


class Oracle:
    """Raws, reference tables and expected outputs, unpacked when they are first asked for."""

    def __init__(self, work):
        self.root, self.work = ROOT / "oracle", work
        for table in (self.root / "oref").glob("*.gz"):
            self._unpack(table, work / "oref" / table.stem)

    @staticmethod
    def _unpack(source, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(source) as packed, target.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)

    @property
    def plan(self):
        return {step["id"]: step for step in json.loads((self.root / "plan.json").read_text())["steps"]}

    def raw(self, name):
        target = self.work / "raw" / name
        if not target.exists():
            self._unpack(self.root / "raw" / f"{name}.gz", target)
        return target

    def raws(self, step):
        return [self.raw(name) for name in self.plan[step]["in"] if name.endswith("_raw.fits")]

    def expected(self, step, name):
        return fits.open(self.root / "expected" / step / f"{name}.gz", memmap=False)

    @staticmethod
    def pixel_differences(expected, found):
        """Extensions whose pixels differ in any bit, with the number of pixels seen to differ."""
        differences = {}
        for hdu in expected[1:]:
            if hdu.data is None:
                other = _plane(found[hdu.name, hdu.ver], (1, 1))
                if (other != hdu.header["PIXVALUE"]).any():
                    differences[hdu.name, hdu.ver] = int((other != hdu.header["PIXVALUE"]).sum())
                continue
            header = hdu.header
            array = _plane(
                found[hdu.name, hdu.ver], (header.get("ORCLNY", hdu.data.shape[0]), hdu.data.shape[1])
            )
            if hdu.data.dtype.kind != "f":
                count = int((array != hdu.data).sum()) if array.shape == hdu.data.shape else -1
                if count:
                    differences[hdu.name, hdu.ver] = count
                continue
            digest = hashlib.sha256(np.ascontiguousarray(array, dtype="<f4").tobytes()).hexdigest()[:32]
            if digest != header["ORCLSHA"]:
                rows = array[header["ORCLOFF"] :: header["ORCLSTEP"]]
                differences[hdu.name, hdu.ver] = (
                    int((rows != hdu.data).sum()) if rows.shape == hdu.data.shape else -1
                )
        return differences

    @staticmethod
    def keyword_differences(expected, found, exceptions=frozenset()):
        """Keywords of the expected file that are missing or differ: "
        "{(extension, version, keyword): (expected, found)}."""
        differences = {}
        for hdu in expected:
            other = found[0].header if hdu is expected[0] else found[hdu.name, hdu.ver].header
            for keyword in hdu.header:
                if keyword in SKIPPED or keyword in exceptions or keyword.startswith("ORCL"):
                    continue
                if hdu.header[keyword] != other.get(keyword):
                    differences[hdu.name, hdu.ver, keyword] = (hdu.header[keyword], other.get(keyword))
        return differences


@pytest.fixture(scope="session")
def oracle(tmp_path_factory):
    return Oracle(tmp_path_factory.mktemp("oracle"))


@pytest.fixture
def oref(oracle, monkeypatch):
    """The reference folder of the expected outputs in the environment."""
    monkeypatch.setenv("oref", f"{oracle.work / 'oref'}/")
    return oracle.work / "oref"
