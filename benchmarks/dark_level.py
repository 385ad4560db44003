"""What makes the error of the dark level: the truth in the place of one part after the other.

    python benchmarks/dark_level.py                      the five seeds for tuning at three epochs, small frames
    python benchmarks/dark_level.py --size full --seeds 101 --epochs 2009

The profile is `improved`. Every figure is what a part makes in the median of the ordinary pixels of a basedark.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from accuracy import EPOCHS, SMALL_POLICY, TUNING_SEEDS, equivalent_seconds

from refstis.datamodels.exposure import Exposure
from refstis.datamodels.pixels import Pixels
from refstis.demo.chain import make_products
from refstis.simulation import simulate
from refstis.simulation.detector import parameters
from refstis.simulation.kernels import bleed
from refstis.simulation.scoring import compare
from refstis.simulation.truth import Truth
from refstis.stages import BlevCorrStep, CleanOverscanStep

PARTS = (
    "noise of the overscan",
    "charge in the virtual rows, each dark by itself",
    "charge in the virtual rows, the darks of a week together",
    "signal that lowers lines, not corrected for",
    "superbias",
    "temperatures, fit and the rest",
    "all together",
)


class Darks:
    """The darks of a month, with what is known of their levels.

    Parameters
    ----------
    month : pathlib.Path
        Folder of the raws.
    truth : Truth
        Their truth.
    superbiases : dict
        Path of the superbias of each dark, by the number of its frame.
    """

    def __init__(self, month: Path, truth: Truth, superbiases: dict[int, str]):
        self.truth, self.superbiases = truth, superbiases
        self.frames = list(superbiases)
        self.raws = [Exposure.open(month / f"{truth.frames['rootname'][f]}_raw.fits") for f in self.frames]
        self.readout = truth.readout(self.frames[0])
        self.levels = [self._level(frame) for frame in self.frames]

    def _level(self, frame: int) -> np.ndarray:
        """The true bias level of a dark (DN)."""
        rows, columns = self.readout.trim
        section, detector = self.readout.section, parameters()["detector"]
        known = {
            key: float(self.truth.frames[key][frame]) for key in ("level", "level_by_row", "level_by_column")
        }
        y = np.arange(rows.start, rows.stop) - self.readout.shape[0] / 2.0
        x = np.arange(columns.start, columns.stop) - (section.start + section.stop - 1) / 2.0
        charge = (self.truth.charge(frame) + self.truth.cosmic_rays(frame)).astype(np.float32)
        bleed(charge, detector["full_well"])
        lowered = charge.mean(axis=1) / detector["row_depression"] / detector["gain"][self.readout.gain]
        lines = known["level"] + known["level_by_row"] * y - lowered
        return lines[:, None] + known["level_by_column"] * x

    def by_themselves(self) -> list[Exposure]:
        """Cleaned one by one."""
        return [
            CleanOverscanStep(override_biasfile=self.superbiases[frame]).run(raw)
            for frame, raw in zip(self.frames, self.raws, strict=True)
        ]

    def by_week(self) -> list[Exposure]:
        """Those of one superbias cleaned together."""
        cleaned: dict[int, Exposure] = {}
        for superbias in dict.fromkeys(self.superbiases.values()):
            week = [
                (f, raw)
                for f, raw in zip(self.frames, self.raws, strict=True)
                if self.superbiases[f] == superbias
            ]
            step = CleanOverscanStep(override_biasfile=superbias)
            cleaned |= dict(zip([f for f, _ in week], step.run([raw for _, raw in week]), strict=True))
        return [cleaned[frame] for frame in self.frames]

    def by_truth(self) -> list[Exposure]:
        """Without the expected charge of the virtual rows."""
        return [self._without_charge(frame, raw) for frame, raw in zip(self.frames, self.raws, strict=True)]

    def _without_charge(self, frame: int, raw: Exposure) -> Exposure:
        rows, columns = self.readout.trim
        known = {key: float(self.truth.frames[key][frame]) for key in ("mjd", "exptime", "temperature")}
        charge = self.truth.detector.mean_charge(
            self.readout, known["mjd"], known["exptime"], known["temperature"]
        )
        pixels = np.array(raw.imsets[0].sci[:], dtype=np.float32)
        gain = parameters()["detector"]["gain"][self.readout.gain]
        pixels[: rows.start, columns] -= charge[: rows.start] / np.float32(gain)
        return raw.changed(imsets=[raw.imsets[0].with_pixels(sci=Pixels.of(pixels))])

    def error(self, cleaned: Sequence[Exposure], row_signal: float | None = 1380.0) -> np.ndarray:
        """Mean over the darks of true less subtracted level (DN)."""
        step = BlevCorrStep(clip=5.0, row_signal=row_signal)
        total = np.zeros(self.levels[0].shape)
        for raw, dark, level in zip(self.raws, cleaned, self.levels, strict=True):
            pixels = raw.imsets[0].sci[self.readout.trim].astype(np.float64)
            total += level - (pixels - step.run(dark).imsets[0].sci[:])
        return total / len(cleaned)


def parts_of(epoch: int, seed: int, size: str, work: Path | None) -> dict[str, float]:
    """What each part makes in the basedark of a month (1e-5 e-/s)."""
    with tempfile.TemporaryDirectory(prefix="refstis-level-", dir=work) as folder:
        month, policy = Path(folder) / "month", Path(folder) / "policy"
        policy.mkdir()
        (policy / "policy.yaml").write_text(SMALL_POLICY if size == "small" else "{}")
        simulate(month, epoch=epoch, seed=seed, size=size, products=("biases", "darks"))
        plan = make_products(
            month, Path(folder) / "products", f"{policy},improved", command=("benchmarks/dark_level.py",)
        )
        os.environ["oref"] = f"{month / 'oref'}{os.sep}"  # noqa: SIM112 - what headers name
        truth = Truth.open(month)
        superbiases, errors = {}, []
        for node in plan.nodes.values():
            if node.kind == "biassub":
                dark, superbias = node.inputs
                path = plan.path(plan.nodes[superbias.node])
                superbiases |= dict.fromkeys(map(int, truth.select([dark.name])), str(path))
        for path in dict.fromkeys(superbiases.values()):
            comparison = compare(path, truth)
            share = np.mean([one == path for one in superbiases.values()])
            errors.append(share * (comparison.value - comparison.truth))
        basedark = next(node for node in plan.nodes.values() if node.kind == "basedark")
        comparison = compare(plan.path(basedark), truth)
        ordinary = comparison.ordinary
        darks = Darks(month, truth, superbiases)
        seconds = np.mean([equivalent_seconds(truth, frame) for frame in darks.frames])
        scale = 1e5 * parameters()["detector"]["gain"][darks.readout.gain] / seconds

        def median(image: np.ndarray) -> float:
            return float(scale * np.median(image[ordinary]))

        week = darks.by_week()
        noise, level = median(darks.error(darks.by_truth())), median(darks.error(week))
        superbias = -float(scale * np.mean(sum(errors)[ordinary]))
        total = 1e5 * comparison.figures["ordinary"]["median"]
        found = (
            noise,
            median(darks.error(darks.by_themselves())) - noise,
            level - noise,
            median(darks.error(week, None)) - level,
            superbias,
            total - level - superbias,
            total,
        )
        return dict(zip(PARTS, found, strict=True))


def main() -> None:
    """Print what the parts of all months make."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--seeds", type=int, nargs="+", default=TUNING_SEEDS)
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS)
    parser.add_argument("--work", type=Path, default=None, help="folder for what is removed again")
    options = parser.parse_args()
    found = {
        epoch: [parts_of(epoch, seed, options.size, options.work) for seed in options.seeds]
        for epoch in options.epochs
    }
    kinds: dict[str, Callable[[list[float]], float]] = {
        "rms": lambda values: float(np.sqrt(np.mean(np.square(values)))),
        "mean": lambda values: float(np.mean(values)),
    }
    head = [f"{epoch}, {kind}" for epoch in found for kind in kinds]
    print(f"| 1e-5 e-/s | {' | '.join(head)} |")
    print("|---|" + "---:|" * len(head))
    for part in PARTS:
        cells = [
            f"{kind([month[part] for month in months]):.1f}"
            for months in found.values()
            for kind in kinds.values()
        ]
        print(f"| {part} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
