"""Small simulated months with their products, made once for all tests of the delivery room."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from refstis.datamodels.association import Association
from refstis.datamodels.exposure import Exposure
from refstis.delivery.regression import PROGRAM
from refstis.pipelines import (
    BaseBiasPipeline,
    BaseDarkPipeline,
    RefBiasPipeline,
    WeekBiasPipeline,
    WeekDarkPipeline,
)
from refstis.simulation import simulate
from refstis.stages import BiasCorrStep, BlevCorrStep, DqiCorrStep


@dataclass
class Months:
    """Two successive anneal months of one simulated chip."""

    raws: Path
    before: Path
    now: Path

    def product(self, ending: str) -> Path:
        """A product of the second month by the end of its name."""
        return next(path for path in sorted(self.now.rglob("*.fits")) if path.name.endswith(ending))


def _members(folder, name):
    members = Association.open(folder / f"{name}_asn.json").members
    return [str(member.path) for member in members if member.role in ("bias", "dark")]


def make_products(raws: Path, out: Path, month: int, tag: str) -> Path:
    """All products of one month, in the documented folders under the documented names."""
    label = f"_m{month:02d}"
    names = sorted(path.name.removesuffix("_asn.json") for path in raws.glob("*_asn.json"))
    basebias = out / "basebias.fits"
    BaseBiasPipeline.call(_members(raws, f"basebias{label}"), output_file=str(basebias))
    weeks = [name for name in names if name.startswith(f"refbias{label}_wk")]
    for number, name in enumerate(weeks):
        week = name.rsplit("_", 1)[-1]
        target = out / "biases" / "1-1x1" / week / f"weekbias_{tag}_{week}_bia.fits"
        steps = {"steps": {"add_hot_columns": {"override_basebias": str(basebias)}}} if number % 2 else {}
        pipeline = WeekBiasPipeline if number % 2 else RefBiasPipeline
        pipeline.call(_members(raws, name), output_file=str(target), **steps)
    for name in names:
        if name.startswith(f"refbias{label}_4"):
            week = name.rsplit("_", 1)[-1]
            target = out / "biases" / "4-1x1" / week / f"weekbias_{tag}_{week}_bia.fits"
            RefBiasPipeline.call(_members(raws, name), output_file=str(target))
    subtracted = {}
    for name in names:
        if not name.startswith(f"weekdark{label}_"):
            continue
        week = name.rsplit("_", 1)[-1]
        superbias = out / "biases" / "1-1x1" / week / f"weekbias_{tag}_{week}_bia.fits"
        subtracted[week] = []
        for raw in _members(raws, name):
            dark = BlevCorrStep().process(DqiCorrStep().process(Exposure.open(raw)))
            target = out / "darks" / week / Path(raw).name.replace("_raw", "_flt")
            BiasCorrStep(override_biasfile=str(superbias)).process(dark).save(target)
            subtracted[week].append(str(target))
    basedark = out / f"basedark_{tag}.fits"
    BaseDarkPipeline.call([path for week in subtracted.values() for path in week], output_file=str(basedark))
    for week, darks in subtracted.items():
        target = out / "darks" / week / f"weekdark_{tag}_{week}_drk.fits"
        make_weekdark(darks, target, basedark)
    return out


def make_weekdark(darks, target, basedark, **steps):
    """A weekdark of bias-subtracted darks."""
    steps = {"superdark": {"override_basedark": str(basedark)}, **steps}
    WeekDarkPipeline.call([str(dark) for dark in darks], output_file=str(target), steps=steps)
    return target


def make_months(folder: Path, seed: int, epoch: int = 2017, days: float = 10.0) -> Months:
    """Simulate two months and make their products."""
    raws = folder / "raws"
    simulate(raws, months=2, days=days, size="small", seed=seed, epoch=epoch, imsets=[24, 14], threads=2)
    before, now = folder / "14825_05", folder / "14825_08"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("oref", f"{raws / 'oref'}/")
        make_products(raws, before, 1, before.name)
        make_products(raws, now, 2, now.name)
    return Months(raws, before, now)


@pytest.fixture(scope="module", autouse=True)
def _without_calstis():
    """Hide C programs that this machine may have: the engine is chosen by what is on the PATH."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join(one for one in folders if not (Path(one) / PROGRAM).exists()))
        yield


@pytest.fixture(scope="session")
def months(tmp_path_factory):
    """Two months of seed 101; tests must not change them."""
    return make_months(tmp_path_factory.mktemp("months"), seed=101)


@pytest.fixture(name="make_months")
def _make_months():
    return make_months


@pytest.fixture(name="make_weekdark")
def _make_weekdark():
    return make_weekdark
