"""A simulated anneal month of small frames, and what the documented functions are called with."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from astropy.io import fits

from refstis.anneal.policy import SuperbiasMode, load_profile
from refstis.functions import bd_calstis, bias_subtract_data, msjoin
from refstis.refbias import make_refbias
from refstis.simulation import simulate


def raws_of(month, target, gain=1):
    chosen = []
    for raw in month.raws:
        header = fits.getheader(raw)
        if (header["TARGNAME"], header["CCDGAIN"]) == (target, gain):
            chosen.append(str(raw))
    return chosen


@pytest.fixture(scope="session")
def month(tmp_path_factory):
    """Two weeks of biases and darks with a sixteenth of the pixels, and a faint star."""
    folder = tmp_path_factory.mktemp("month")
    return simulate(
        folder,
        days=14,
        size="small",
        products=("biases", "darks", "science"),
        imsets=[6, 4],
        seed=4,
        epoch=2017,
    )


@pytest.fixture(autouse=True)
def _oref(month, monkeypatch):
    monkeypatch.setenv("oref", f"{month.oref}/")
    # make_path_safe writes it
    monkeypatch.setenv("refdir", "")


@pytest.fixture(scope="session")
def made(month, tmp_path_factory):
    """Intermediate files of the month, made once and only copied by tests."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("oref", f"{month.oref}/")
        superbias = str(folder / "superbias.fits")
        make_refbias(raws_of(month, "BIAS"), superbias)
        flts = [bias_subtract_data(raw, superbias, outdir=str(folder)) for raw in raws_of(month, "DARK")[:6]]
        msjoin(flts, str(folder / "darks_joined.fits"))
        bd_calstis(str(folder / "darks_joined.fits"))
    return SimpleNamespace(folder=folder, superbias=superbias, flts=flts)


@pytest.fixture
def files(month, made, tmp_path, monkeypatch):
    """Copies for one test, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)

    def copy(path, name=None):
        target = tmp_path / (name or Path(path).name)
        shutil.copy(path, target)
        return str(target)

    return SimpleNamespace(
        folder=tmp_path,
        copy=copy,
        biases=raws_of(month, "BIAS"),
        darks=raws_of(month, "DARK")[:6],
        flts=[copy(flt) for flt in made.flts],
        superbias=copy(made.superbias),
        joined=copy(made.folder / "darks_joined.fits"),
        crj=copy(made.folder / "darks_joined_crj.fits"),
    )


@pytest.fixture
def small_policy(monkeypatch):
    """The shipped policy for frames binned 4 by 4, which no real month has."""
    profile = load_profile()
    selection = profile.policy.selection
    dark = selection.dark.model_copy(update={"binning": (4, 4)})
    mode = SuperbiasMode(gain=1, xbin=4, ybin=4, refbias_from=6, division="WK")
    profile.policy = profile.policy.model_copy(
        update={
            "selection": selection.model_copy(update={"dark": dark}),
            "superbias": (*profile.policy.superbias, mode),
        }
    )
    for module in ("refstis.pipeline", "refstis.anneal.survey"):
        monkeypatch.setattr(f"{module}.load_profile", lambda name="heritage": profile)
    return profile.policy
