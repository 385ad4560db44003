"""Exposures for the anneal room: tiny raws, raws that are nowhere, and simulated months that are really made."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy
from astropy.io import fits

from refstis.anneal.exposures import Exposure
from refstis.anneal.ledger import Ledger
from refstis.anneal.runner import run
from refstis.anneal.survey import Survey, open_ledger
from refstis.datamodels.checksums import checksum_of

MONTH = 56428.790812824074  # end of the anneal 13134_23; the month has 24.36 days


def _write_raw(
    path, target="BIAS", begin=MONTH + 1.0, imsets=2, level=1480, primary=(), sci=(), shape=(12, 40)
):
    """A raw with everything that a plan looks at, and images of a few pixels."""
    exptime = 1100.0 if target == "DARK" else 0.0
    header = fits.Header(
        {
            "DATE": "2013-06-01", "FILENAME": path.name, "FILETYPE": "SCI", "TELESCOP": "HST", "INSTRUME": "STIS",
            "ROOTNAME": path.name.partition("_")[0], "TARGNAME": target, "PROPOSID": 13132, "OBSET_ID": "01",
            "TEXPSTRT": begin, "TEXPEND": begin + 0.02, "TEXPTIME": exptime, "OBSMODE": "ACCUM", "SUBARRAY": False,
            "DETECTOR": "CCD", "CCDAMP": "D", "CCDGAIN": 1, "CCDOFFST": 3, "BINAXIS1": 1, "BINAXIS2": 1,
            "CCDTAB": "oref$16j1600do_ccd.fits", "BPIXTAB": "oref$h1v11475o_bpx.fits",
            "CRREJTAB": "oref$j3m1403io_crr.fits",
        }
    )  # fmt: skip
    header["NEXTEND"] = 3 * imsets
    header.update(dict(primary))
    hdus = fits.HDUList([fits.PrimaryHDU(header=header)])
    generator = np.random.default_rng(abs(hash(path.name)) % 2**32)
    for number in range(1, imsets + 1):
        image = generator.normal(level, 6.0, shape).round().clip(0, 65535).astype(np.uint16)
        science = fits.ImageHDU(image, name="SCI", ver=number)
        science.header.update(
            {"EXPNAME": path.name[:9], "EXPSTART": begin, "EXPEND": begin + 0.02, "EXPTIME": exptime / imsets,
             "EXPFLAG": "NORMAL", "LTV1": 5.0, "OCCDHTAV": 18.7, "MEANBLEV": 0.0}
        )  # fmt: skip
        science.header.update(dict(sci))
        hdus.append(science)
        for name in ("ERR", "DQ"):
            null = fits.ImageHDU(name=name, ver=number)
            null.header["NPIX1"], null.header["NPIX2"], null.header["PIXVALUE"] = shape[1], shape[0], 0
            hdus.append(null)
    hdus.writeto(path)
    return path


def _exposure(rootname, target="BIAS", begin=MONTH + 1.0, imsets=2, **changes):
    """What is remembered of a sound raw."""
    exptime = 1100.0 if target == "DARK" else 0.0
    made = Exposure(
        path=f"/raws/{rootname}_raw.fits", checksum=f"{rootname:0>64}", rootname=rootname, instrument="STIS",
        detector="CCD", target=target, filetype="SCI", obsmode="ACCUM", amplifier="D", gain=1, offset=3, xbin=1,
        ybin=1, size=(1062, 1044), begin=begin, end=begin + 0.02, exposure_time=exptime,
        exposure_times=(exptime / imsets,) * imsets, imsets=imsets, made="2013-06-01",
    )  # fmt: skip
    return replace(made, **changes)


def _month_of_exposures(begin=MONTH, days=24, start="o", biases=(104, 61, 30), gain4=4, darks=2):
    """Biases with the given numbers of imsets by week, gain-4 biases and darks, spread over a month."""
    made = []
    weeks = len(biases)
    for week, total in enumerate(biases):
        files = [8] * (total // 8) + ([total % 8] if total % 8 else [])
        for number, imsets in enumerate(files):
            when = begin + week * days / weeks + (number + 0.5) / len(files) * days / weeks * 0.9 + 0.1
            made.append(_exposure(f"{start}b{week}{number:03d}q", "BIAS", when, imsets))
    for number in range(gain4):
        when = begin + (number + 0.5) * days / max(gain4, 1)
        made.append(_exposure(f"{start}g0{number:03d}q", "BIAS", when, 4, gain=4))
    made += [
        _exposure(f"{start}d{number:04d}q", "DARK", begin + (number + 0.5) / darks, 1)
        for number in range(days * darks)
    ]
    return made


@pytest.fixture(scope="session")
def write_raw():
    return _write_raw


@pytest.fixture(scope="session")
def exposure():
    return _exposure


@pytest.fixture(scope="session")
def month_of_exposures():
    return _month_of_exposures


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request, tmp_path):
    """A new ledger, on SQLite and on the PostgreSQL server that the environment names."""
    if request.param == "sqlite":
        with Ledger(tmp_path / "ledger.db") as opened:
            yield opened
        return
    url = os.environ.get("REFSTIS_POSTGRESQL_URL")
    if not url:
        pytest.skip("no PostgreSQL server: REFSTIS_POSTGRESQL_URL is not set")
    # a schema of its own: other processes test on the same server at the same time
    name = f"test_{os.getpid()}"
    server = sqlalchemy.create_engine(url)
    with server.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA {name}"))
    try:
        with Ledger(f"{url}?options=-csearch_path%3D{name}") as opened:
            yield opened
    finally:
        with server.begin() as connection:
            connection.execute(sqlalchemy.text(f"DROP SCHEMA {name} CASCADE"))
        server.dispose()


# ---------------------------------------------------------------- simulated months that are really made


@dataclass
class SimulatedMonth:
    """Raws of small frames, with the profile that makes reference files of them."""

    folder: Path
    raws: list
    oref: Path
    anneals: Path
    profile: Path

    def copy(self, folder):
        """Raws of one's own, to spoil."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("truth*", "*_asn.json"))
        return SimulatedMonth(
            folder, [folder / raw.name for raw in self.raws], self.oref, self.anneals, self.profile
        )

    def options(self, output):
        """Words of a command line."""
        return [
            str(self.folder), "--anneals", str(self.anneals), "--profile", str(self.profile), "-o", str(output),
        ]  # fmt: skip


POLICY = """\
selection: {dark: {binning: [4, 4]}}
superbias:
  - {gain: 1, xbin: 4, ybin: 4, refbias_from: 8, division: WK}
sublists_above: 12
"""
GAIN_4 = "  - {gain: 4, xbin: 4, ybin: 4, refbias_from: 1, division: BIWK}\n"


def _simulated(folder, policy=POLICY, **options):
    from refstis.simulation import simulate

    made = simulate(folder / "raws", size="small", **options)
    profile = folder / "profile"
    profile.mkdir()
    (profile / "policy.yaml").write_text(policy)
    return SimulatedMonth(folder / "raws", made.raws, made.oref, made.anneals, profile)


@pytest.fixture(scope="session")
def four_weeks(tmp_path_factory):
    """28 days with one week each for sub-lists, refbias, weekbias and refbias, gain 4, and 56 darks."""
    policy = POLICY.replace("sublists_above", f"{GAIN_4}sublists_above")
    return _simulated(tmp_path_factory.mktemp("four_weeks"), policy, imsets=(14, 9, 5, 10), seed=7)


@pytest.fixture(scope="session")
def two_weeks(tmp_path_factory):
    """12 days with a week each for refbias and weekbias, and 24 darks."""
    folder = tmp_path_factory.mktemp("two_weeks")
    return _simulated(folder, days=12, imsets=(8, 4), binning=(4, 4), seed=8)


class Notes:
    """A listener that remembers."""

    def __init__(self):
        self.plans, self.begun, self.outcomes, self.texts = [], [], [], []

    def planned(self, plan, chosen):
        self.plans.append((plan, list(chosen)))

    def started(self, node):
        self.begun.append(node.identity)

    def finished(self, node, outcome):
        self.outcomes.append(outcome)

    def said(self, text):
        self.texts.append(text)

    def made(self):
        """Names of the products that were made, without folders."""
        return sorted(one.identity.rpartition("/")[2] for one in self.outcomes if one.status == "made")


@pytest.fixture
def make(monkeypatch):
    """Make a simulated month in this process; gives the result and what the listener heard."""

    def run_month(month, output, choice=None, ledger=None, **options):
        monkeypatch.setenv("oref", str(month.oref))
        notes = Notes()
        with open_ledger(ledger, output) as opened:
            survey = Survey(
                month.folder, output, opened, anneals=month.anneals, profile=str(month.profile), **options
            )
            return run(survey, choice=choice, listener=notes), notes

    return run_month


@pytest.fixture(scope="session")
def digests():
    """Sha256 of every product below a folder, by its path."""

    def of(folder):
        return {
            str(path.relative_to(folder)): checksum_of(path) for path in sorted(Path(folder).rglob("*.fits"))
        }

    return of


@pytest.fixture(scope="session")
def two_weeks_made(two_weeks, tmp_path_factory):
    """The products of two weeks, made without any trouble; nobody changes them."""
    output = tmp_path_factory.mktemp("made") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("oref", str(two_weeks.oref))
        with open_ledger(None, output) as opened:
            survey = Survey(
                two_weeks.folder, output, opened, anneals=two_weeks.anneals, profile=str(two_weeks.profile)
            )
            result = run(survey, listener=Notes())
    assert result.exit_status == 0
    return output
