"""Two short simulated months with an anneal between, and a science exposure two days before it."""

import importlib.util
import logging
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from astropy.io import fits

from refstis.anneal.table import read_table
from refstis.simulation import Readout, Truth, simulate
from refstis.simulation.raws import Exposure, write_raw

# For tests/frames.py, under its own name: another distribution installs a package called `tests`.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ROOT = "od9e0z010"
# Small frames have the headers of frames binned 4x4, which no month is made of.
POLICY = """
selection: {dark: {binning: [4, 4]}}
superbias: [{gain: 1, xbin: 4, ybin: 4, refbias_from: 98, division: WK}]
"""


def expose_science(folder, mjd, size="small", rootname=ROOT):
    """Take an exposure of two images of 1000 s with the detector of a simulation."""
    detector = Truth.open(folder).detector
    readout = Readout("D", 1, (1, 1), size)
    names = tuple(f"{rootname[:6]}z{letter}q" for letter in "ab")
    starts = tuple(round(mjd + number * 0.0123, 8) for number in range(2))
    exposure = Exposure(
        rootname, "science", readout, starts, 1000.0, names, 14690, rootname[4:6].upper(), "Faint", "STAR"
    )
    frames = (
        detector.expose(name, start, 1000.0, readout, in_visit=number)
        for number, (name, start) in enumerate(zip(names, starts, strict=True))
    )
    return write_raw(Path(folder), exposure, frames, detector.figures)


@dataclass
class Sky:
    """What was simulated."""

    folder: Path
    anneals: Path
    oref: Path
    science: Path
    moment: float
    profile: str
    months: list
    darks: dict  # name to TEXPSTRT
    biases: dict

    @property
    def near(self):
        """Darks within three days of the exposure and in its period."""
        return self.darks_between(self.moment - 3.0, self.months[0].end)

    def darks_between(self, begin, end):
        return sorted(name for name, mjd in self.darks.items() if begin <= mjd < end)


def _make_sky(folder, *, size, days, imsets, seed=21):
    made = simulate(folder, months=2, days=days, size=size, imsets=imsets, seed=seed)
    months = read_table(made.anneals).months()[1:3]
    moment = months[0].end - 2.0
    science = expose_science(folder, moment, size)
    headers = {path.name: fits.getheader(path) for path in made.raws}
    begins = {
        target: {name: header["TEXPSTRT"] for name, header in headers.items() if header["TARGNAME"] == target}
        for target in ("DARK", "BIAS")
    }
    profile = folder / "profile"
    profile.mkdir()
    if size == "small":
        (profile / "policy.yaml").write_text(POLICY)
    return Sky(
        folder, made.anneals, made.oref, science, moment, str(profile), months, begins["DARK"], begins["BIAS"]
    )


@pytest.fixture(scope="session")
def make_sky():
    return _make_sky


@pytest.fixture(scope="session")
def sky(tmp_path_factory):
    return _make_sky(tmp_path_factory.mktemp("sky"), size="small", days=9, imsets=[14])


@pytest.fixture(scope="session")
def tables(sky):
    """$oref of the simulation, for as long as the session's own products are made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("oref", str(sky.oref) + "/")
        yield


@pytest.fixture(autouse=True)
def _tables(sky, monkeypatch):
    monkeypatch.setenv("oref", str(sky.oref) + "/")
    yield
    # What stpipe sets up for a run of a pipeline from a command line.
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def custom(sky, tables, tmp_path_factory):
    """The dark of the science exposure from raws and biases beside them; and the files before it was made."""
    from frames import checksums

    from refstis.custom import make_custom_dark

    before = checksums(sky.folder)
    made = make_custom_dark(
        sky.science,
        darks=sky.folder,
        anneals=sky.anneals,
        profile=sky.profile,
        output=tmp_path_factory.mktemp("made") / "custom",
    )
    return made, before


@pytest.fixture(scope="session")
def calibrated(sky, custom, tmp_path_factory):
    """Bias-subtracted darks around the exposure, as *_flt.fits."""
    from refstis.stages import BiasCorrStep, BlevCorrStep, DqiCorrStep

    folder = tmp_path_factory.mktemp("flt")
    steps = DqiCorrStep(), BlevCorrStep(), BiasCorrStep(override_biasfile=str(custom[0].superbias))
    for name in sky.near:
        dark = str(sky.folder / name)
        for step in steps:
            dark = step.process(dark)
        dark.save(folder / name.replace("_raw", "_flt"))
    return folder


@pytest.fixture
def some(tmp_path, sky):
    """A function that makes a folder of copies of some files."""

    def choose(names, source=None, rename=lambda name: name, **keywords):
        folder = tmp_path / "some"
        folder.mkdir(exist_ok=True)
        for name in names:
            copy = folder / rename(name)
            shutil.copyfile((source or sky.folder) / name, copy)
            for keyword, value in keywords.items():
                fits.setval(copy, keyword, value=value)
        return folder

    return choose


@pytest.fixture(scope="session")
def archive():
    """The loopback archive of the tests of retrieval."""
    path = Path(__file__).parent.parent / "retrieval" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tests_retrieval_archive", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
