"""Products of the profiles against the truth of simulated months.

    python benchmarks/accuracy.py                     the report: ten seeds at three epochs, small frames
    python benchmarks/accuracy.py --tuning            the five seeds that parameters were chosen with
    python benchmarks/accuracy.py --size full --seeds 1
    python benchmarks/accuracy.py --ablation --size full --seeds 1 --products biases

Small frames have a sixteenth of the pixels, with the statistics of unbinned ones; the noise of the bias level, which
comes from the overscan, is larger in them. What is measured lies in the output folder: `accuracy.json`, with the
figures of every product of every month, and `accuracy.md`, with medians and ranges.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import refstis
from refstis.anneal.policy import load_profile
from refstis.datamodels.atomic import atomic_write
from refstis.demo.chain import make_products
from refstis.simulation import simulate
from refstis.simulation.scoring import Comparison, compare
from refstis.simulation.truth import Truth

EPOCHS = (1999, 2009, 2023)
TUNING_SEEDS = (101, 102, 103, 104, 105)
REPORT_SEEDS = (541, 542, 543, 544, 545, 546, 547, 548, 549, 550)
PROFILES = ("heritage", "improved")

# The thresholds of unbinned frames, for frames that have the layout of 4x4.
SMALL_POLICY = """
selection: {dark: {binning: [4, 4]}}
superbias:
  - {gain: 1, xbin: 4, ybin: 4, refbias_from: 98, division: WK}
  - {gain: 4, xbin: 4, ybin: 4, refbias_from: 1, division: BIWK}
"""

# What is taken over from `improved`, one after the other.
ABLATION = {
    "heritage": (),
    "charge out of the virtual overscan": ("clean_overscan",),
    "means of the overscan": ("blevcorr",),
    "noise model, pixels that change": ("crcorr",),
    "hot columns and pixels kept": ("replace_hot_columns", "replace_hot_pixels"),
    "week drawn towards the month": ("add_hot_columns", "blend_superbias"),
    "defects flagged where they are": ("flag_hot_bias", "flag_defects"),
    "rates fitted": ("fit_rates", "normalize", "flag_hot_dark", "flag_hot_rates"),
    "week and month by what they know": ("superdark", "blend_baseline"),
    "improved": None,
}

# What is taken away from `improved`, one at a time.
WITHOUT = {
    "one slope of 7 % for all": {"fit_rates": {"log_rates": [0.0], "slopes": [0.07]}},
    "no slopes of single pixels": {"fit_rates": {"scatter": 0.0}},
    "temperatures of the headers": {"fit_rates": {"prior": 0.0}},
    "wings of hits kept": {"fit_rates": {"neighbours": "keep"}},
    "neighbours of hits left out": {"fit_rates": {"neighbours": "leave_out"}},
    "no pixel changes": {"fit_rates": {"penalty": 0.0}},
    "rates exact at 18 C": {"fit_rates": {"exact_at": 18.0}},
    "ordinary pixels not drawn to their surroundings": {"fit_rates": {"squares": 0}},
    "uncertain rates flagged from 0.1 e-/s on": {"flag_hot_rates": {"uncertain": 0.1}},
}

Figures = dict[str, float]


def figures_of_superbias(comparison: Comparison, _truth: Truth) -> tuple[Figures, Figures]:
    """Figures of a superbias, and the limits of those that have one."""
    found = comparison.figures
    ordinary, columns, pulls = found["ordinary"], found["columns"], found["pulls"]
    excess = comparison.truth - np.median(comparison.truth, axis=1, keepdims=True)
    figures = {
        "mean error, absolute (DN)": abs(ordinary["mean"]),
        "tilt along the lines, absolute (DN)": abs(columns["tilt"]),
        "column means, rms (DN)": columns["rms"],
        "ordinary pixels: rms over limit": ordinary["rms_ratio"],
        "hot columns: mean error (DN)": found["hot_columns"].get("mean", np.nan),
        "hot columns: rms over limit": found["hot_columns"].get("rms_ratio", np.nan),
        "hot pixels: mean error (DN)": found["hot_pixels"].get("mean", np.nan),
        "hot pixels: rms over limit": found["hot_pixels"].get("rms_ratio", np.nan),
        "ordinary pixels: standard deviation of pulls": pulls["ordinary"]["standard_deviation"],
        "hot pixels and columns: standard deviation of pulls": pulls["hot"].get("standard_deviation", np.nan),
        "hot pixels and columns: pulls beyond 5 (%)": 100.0 * pulls["hot"].get("beyond_5", np.nan),
        "flagged of more than 5 DN (%)": 100.0 * float(comparison.flagged[excess > 5.0].mean()),
        "flagged of less than 1 DN (%)": 100.0 * float(comparison.flagged[excess < 1.0].mean()),
    }
    level, tilt = level_limits(comparison.truth.shape, float(np.median(comparison.limit)))
    limits = {
        "mean error, absolute (DN)": level,
        "tilt along the lines, absolute (DN)": tilt,
        "column means, rms (DN)": columns["rms_limit"],
        "hot columns: mean error (DN)": 0.0,
        "hot pixels: mean error (DN)": 0.0,
    }
    limits |= {name: 1.0 for name in figures if "over limit" in name or "standard deviation" in name}
    return figures, limits | {
        "hot pixels and columns: pulls beyond 5 (%)": 0.0,
        "flagged of more than 5 DN (%)": 100.0,
        "flagged of less than 1 DN (%)": 0.0,
    }


def level_limits(shape: tuple[int, ...], noise: float, charge: float = 0.0) -> tuple[float, float]:
    """Median of the absolute errors of level and tilt that the noise of the overscan leaves, in its units.

    A straight line through the means of the section, and another one through the means of the virtual rows, whose slope
    is extrapolated from the section to the middle of the frame. The charge of the virtual rows is in electrons.
    """
    rows, columns = shape
    full = columns > 500
    section, virtual, distance = (15, 20, 11.0) if full else (7, 10, 2.0)
    slope = np.hypot(noise, np.sqrt(charge)) / np.sqrt(virtual * columns**3 / 12.0)
    level = np.hypot(noise / np.sqrt(section * rows), slope * (columns / 2.0 + distance))
    usual = statistics.NormalDist().inv_cdf(0.75)
    return float(usual * level), float(usual * slope * columns)


def dark_limits(comparison: Comparison, truth: Truth) -> tuple[float, float]:
    """What levels and superbias leave in a dark rate: median of absolute errors (e-/s), and rms over the limit's.

    The level of each dark and of each bias of the month comes from its own overscan, whose virtual rows have the noise
    of their spurious charge, too, and the zero of the temperatures from the steps of the headers. The limit of `score`
    knows the bias, and no cosmic ray has hit; here the superbias is the mean of all biases of the month, and pixels
    that rays raised by more than 4 sigma are lost.
    """
    frames = truth.frames
    darks = np.flatnonzero((frames["kind"] == "dark") & (frames["exptime"] > 600.0))
    readout = truth.readout(int(darks[0]))
    biases = sum(
        truth.readout(int(frame)) == readout and frames["exptime"][frame] == 0.0
        for frame in np.flatnonzero(frames["kind"] == "bias")
    )
    noise, number = truth.detector.noise(readout), comparison.figures["frames"]
    seconds = np.mean([equivalent_seconds(truth, int(frame)) for frame in darks])
    level, _ = level_limits(comparison.truth.shape, noise, virtual_charge(truth, int(darks[0])))
    zero = zero_limit(truth, darks) * comparison.figures["true_median"]
    lost = np.mean(
        [
            np.mean(truth.cosmic_rays(int(frame)) > 4.0 * np.sqrt(noise**2 + truth.charge(int(frame))))
            for frame in darks[:5]
        ]
    )
    best = np.mean(comparison.limit[comparison.ordinary] ** 2)
    attainable = np.sqrt((1.0 + noise**2 / biases / seconds**2 / best) / (1.0 - lost))
    overscan = level / seconds * np.sqrt(1.0 / number + 1.0 / biases)
    return float(np.hypot(overscan, zero)), float(attainable)


def virtual_charge(truth: Truth, frame: int) -> float:
    """Usual charge of a pixel of the virtual rows (electrons)."""
    readout = truth.readout(frame)
    row = {key: float(truth.frames[key][frame]) for key in ("mjd", "exptime", "temperature")}
    charge = truth.detector.mean_charge(readout, row["mjd"], row["exptime"], row["temperature"])
    return float(np.median(charge[: readout.trim[0].start * readout.bins[1]]))


def zero_limit(truth: Truth, darks: np.ndarray) -> float:
    """Median of the absolute relative errors of ordinary rates that the steps of OCCDHTAV leave.

    Where temperatures of darks are known relative to each other, what they have in common lies between the shifts at
    which the first of them leaves its step, up or down, with equal probability.
    """
    from refstis.simulation.detector import parameters

    if truth.detector.side == 1:
        return 0.0
    ladder = np.array(parameters()["dark"]["housing_ladder"])
    edges = 0.5 * (ladder[1:] + ladder[:-1])
    temperatures = truth.frames["temperature"][darks]
    above = np.searchsorted(edges, temperatures)
    width = np.min(edges[above] - temperatures) + np.min(temperatures - edges[above - 1])
    mean = float(temperatures.mean())
    slope = truth.detector.base_factor(mean + 1.0) / truth.detector.base_factor(mean) - 1.0
    # of a uniform law half lies within a quarter of its width
    return float(0.25 * width * slope)


def figures_of_superdark(comparison: Comparison, truth: Truth) -> tuple[Figures, Figures]:
    """Figures of a superdark, and the limits of those that have one."""
    found = comparison.figures
    ordinary, hot, pulls, flags = found["ordinary"], found["hot"], found["pulls"], found["flags"]
    level, attainable = dark_limits(comparison, truth)
    figures = {
        "ordinary pixels: median error (1e-5 e-/s)": 1e5 * ordinary["median"],
        "ordinary pixels: median error, absolute (1e-5 e-/s)": 1e5 * abs(ordinary["median"]),
        "ordinary pixels: rms over limit": ordinary["rms_ratio"],
        "ordinary pixels: rms over that with the month's biases and rays": ordinary["rms_ratio"] / attainable,
        "ordinary pixels: robust rms over limit": ordinary["robust_rms_ratio"],
        "ordinary pixels with ERR = 0": pulls["ordinary"]["without_error"],
        "ordinary pixels: standard deviation of pulls": pulls["ordinary"]["standard_deviation"],
        "ordinary pixels: pulls beyond 5 (%)": 100.0 * pulls["ordinary"]["beyond_5"],
        "hot pixels: median relative error (%)": 100.0 * hot["relative_bias"],
        "hot pixels: standard deviation of pulls": pulls["hot"].get("standard_deviation", np.nan),
        "hot pixels: robust standard deviation of pulls": pulls["hot"].get(
            "robust_standard_deviation", np.nan
        ),
        "hot pixels: pulls beyond 5 (%)": 100.0 * pulls["hot"].get("beyond_5", np.nan),
        "column means, rms (1e-5 e-/s)": 1e5 * found["columns"]["rms"],
        "flagged of those above 0.12 e-/s (%)": 100.0 * (flags["completeness_above_0.12"] or np.nan),
        "flagged of those below 0.08 e-/s (%)": 100.0 * (flags["false_below_0.08"] or 0.0),
    }
    limits = {
        "ordinary pixels: median error (1e-5 e-/s)": 0.0,
        "ordinary pixels: median error, absolute (1e-5 e-/s)": 1e5 * level,
        "ordinary pixels with ERR = 0": 0.0,
        "ordinary pixels: pulls beyond 5 (%)": 0.0,
        "hot pixels: median relative error (%)": 0.0,
        "hot pixels: pulls beyond 5 (%)": 0.0,
        "column means, rms (1e-5 e-/s)": 1e5 * found["columns"]["rms_limit"],
        "flagged of those above 0.12 e-/s (%)": 100.0,
        "flagged of those below 0.08 e-/s (%)": 0.0,
    }
    limits |= {name: 1.0 for name in figures if " over " in name or "standard deviation" in name}
    return figures, limits


MEASURES = {"bias": figures_of_superbias, "dark": figures_of_superdark}

# Lines of a spectrum that are summed, and lines on both sides of it that its background is taken from.
SPECTRUM, BACKGROUND = 3, (12, 40)


def figures_of_science(
    raw: Path, truth: Truth, superbias: Path, superdark: Path, shares: dict[str, float]
) -> tuple[int, Figures, Figures]:
    """Figures of a faint science exposure that is calibrated as CALSTIS does, and those of a perfect calibration.

    The share of the pixels that are flagged in an exposure is kept in `shares`, or, where it stands there already, as
    many are left out: the flagged ones, then those whose rate or uncertainty is greatest.
    """
    from astropy.io import fits

    from refstis.datamodels.exposure import Exposure
    from refstis.simulation.detector import parameters
    from refstis.stages import BiasCorrStep, BlevCorrStep, DarkCorrStep, DqiCorrStep

    level = BlevCorrStep().run(DqiCorrStep().run(Exposure.open(raw)))
    done = DarkCorrStep(override_darkfile=str(superdark)).run(
        BiasCorrStep(override_biasfile=str(superbias)).run(level)
    )
    unlit = Truth(truth.detector, truth.frames)
    with fits.open(superdark) as hdus:
        worst = np.maximum(hdus["SCI", 1].data, 2.0 * hdus["ERR", 1].data)
    collected: dict[str, list[tuple[float, float]]] = {}
    for number, frame in enumerate(truth.select([raw.name])):
        readout = truth.readout(int(frame))
        gain = parameters()["detector"]["gain"][readout.gain]
        charge = truth.charge(int(frame))
        dark = unlit.charge(int(frame))
        light = charge - dark
        clean = (truth.cosmic_rays(int(frame)) == 0) & (charge < 25000.0)
        sigma = float(np.sqrt(truth.detector.noise(readout) ** 2 + np.median(charge)))
        before = level.imsets[number].sci[:].astype(np.float64) * gain
        perfect = before - truth.pattern(readout) * gain - dark
        calibrated = done.imsets[number].sci[:].astype(np.float64) * gain
        flags = done.imsets[number].dq[:] & 16
        share = shares.setdefault(f"{raw.name} {number}", float(np.mean(flags != 0)))
        order = np.argsort(np.where(flags != 0, -np.inf, -worst), axis=None, kind="stable")
        left = np.ones(order.size, dtype=np.bool_)
        left[order[: round(share * order.size)]] = False
        left = left.reshape(flags.shape)
        for name, value in _science(calibrated, perfect, light, clean, flags, left, sigma).items():
            collected.setdefault(name, []).append(value)
        hot = dark >= 0.1 * equivalent_seconds(truth, int(frame))
        collected.setdefault("pixels flagged (%)", []).append(
            (100.0 * float(np.mean(flags != 0)), 100.0 * float(hot.mean()))
        )
    means = {name: np.mean(values, axis=0) for name, values in collected.items()}
    return (
        len(done.imsets),
        {name: float(value[0]) for name, value in means.items()},
        {name: float(value[1]) for name, value in means.items()},
    )


def equivalent_seconds(truth: Truth, frame: int) -> float:
    """Seconds in which an ordinary pixel at 18 C would collect what it collects in a frame."""
    return float(
        truth.frames["exptime"][frame] * truth.detector.base_factor(float(truth.frames["temperature"][frame]))
    )


def _science(
    calibrated: np.ndarray,
    perfect: np.ndarray,
    light: np.ndarray,
    clean: np.ndarray,
    flags: np.ndarray,
    left: np.ndarray,
    sigma: float,
) -> dict[str, tuple[float, float]]:
    """Figures of one image (electrons): of the calibration, and of a perfect one."""
    middle = light.shape[0] // 2
    rows = np.arange(light.shape[0])[:, None] - middle
    box = (np.abs(rows) <= SPECTRUM) & clean
    around = (np.abs(rows) >= BACKGROUND[0]) & (np.abs(rows) <= BACKGROUND[1]) & clean
    whole = (clean | (np.abs(rows) > SPECTRUM)).all(axis=0)
    spectrum = slice(middle - SPECTRUM, middle + SPECTRUM + 1)

    def off(image: np.ndarray, chosen: np.ndarray) -> float:
        return 1e6 * float(np.mean(np.abs(image - light)[chosen] > 5.0 * sigma))

    def noise(image: np.ndarray) -> float:
        sums = (image - light)[spectrum][:, whole].sum(axis=0)
        # robust: one hot pixel would be all that is seen
        return float(np.diff(np.percentile(sums, [25, 75]))[0]) / 1.349

    error = calibrated - perfect
    ordinary = np.abs(error) < 5.0 * sigma
    background = float(error[around & ordinary].mean())
    continuum = float(light[box].mean())
    line = error[spectrum][:, whole].mean(axis=0)
    unflagged = clean & (flags == 0)
    return {
        "pixels off by more than 5 sigma (per million)": (off(calibrated, clean), off(perfect, clean)),
        "the same, of those not flagged": (off(calibrated, unflagged), off(perfect, unflagged)),
        "the same, where as many are left out as heritage flags": (
            off(calibrated, clean & left),
            off(perfect, clean & left),
        ),
        "noise of a column of the spectrum, 7 lines, robust (e-)": (noise(calibrated), noise(perfect)),
        "background, error, absolute (e-)": (abs(background), 0.0),
        "continuum of 8 e- a pixel, median error, absolute (%)": (
            100.0 * abs(float(np.median(line)) - background) / continuum,
            0.0,
        ),
    }


def measure_science(month: Path, plan: Any, truth: Truth, shares: dict[str, float]) -> list[dict[str, Any]]:
    """Calibrate the science exposures of a month with its products, where there are any."""
    rows = []
    numbers = np.flatnonzero((truth.frames["kind"] == "science") & (truth.frames["extver"] == 1))
    for number in numbers:
        moment, name = float(truth.frames["mjd"][number]), str(truth.frames["rootname"][number])
        found = {
            kind: next(
                plan.path(node)
                for node in plan.nodes.values()
                if node.kind in kinds
                and "4-" not in node.name
                and node.period.begin <= moment < node.period.end
            )
            for kind, kinds in (("bias", ("refbias", "weekbias", "refaver")), ("dark", ("weekdark",)))
        }
        before = os.environ.get("oref")  # noqa: SIM112 - what headers name
        os.environ["oref"] = f"{month / 'oref'}{os.sep}"  # noqa: SIM112
        try:
            frames, figures, limits = figures_of_science(
                month / f"{name}_raw.fits", truth, found["bias"], found["dark"], shares
            )
        finally:
            os.environ.pop("oref")
            if before is not None:
                os.environ["oref"] = before  # noqa: SIM112
        rows.append(
            {
                "product": "science exposure",
                "name": name,
                "frames": frames,
                "figures": figures,
                "limits": limits,
            }
        )
    return rows


def measure(
    month: Path, work: Path, profile: str, policy: str, shares: dict[str, float]
) -> list[dict[str, Any]]:
    """Make the products of a month with a profile, and compare them with the truth."""
    begin = time.monotonic()
    plan = make_products(month, work, f"{policy},{profile}", command=("benchmarks/accuracy.py",))
    seconds = time.monotonic() - begin
    truth = Truth.open(month)
    rows = []
    for node in plan.nodes.values():
        if node.intermediate or "4-" in node.name:
            continue
        comparison = compare(plan.path(node), truth)
        figures, limits = MEASURES[comparison.figures["kind"]](comparison, truth)
        rows.append(
            {
                "product": node.kind,
                "name": node.name,
                "frames": comparison.figures["frames"],
                "figures": figures,
                "limits": limits,
            }
        )
    rows += measure_science(month, plan, truth, shares)
    rows.append(
        {"product": "time", "name": "", "frames": 0, "figures": {"all products (s)": seconds}, "limits": {}}
    )
    return rows


def ablation_profiles(folder: Path) -> dict[str, str]:
    """Profiles between heritage and improved, each with one stage more of the latter; name to folder."""
    import asdf

    made, taken = {}, set()
    heritage, improved = load_profile("heritage"), load_profile("improved")
    kinds = ("basebias", "refbias", "weekbias", "basedark", "weekdark")

    def write(words: str, chosen: Mapping[str, list[Any]]) -> None:
        target = folder / f"{len(made):02}"
        target.mkdir(parents=True)
        for kind, steps in chosen.items():
            asdf.AsdfFile({"parameters": {}, "steps": steps}).write_to(target / f"{kind}.asdf")
        made[words] = str(target)

    for words, names in ABLATION.items():
        taken |= set(names or ())
        chosen = {}
        for kind in kinds:
            before = {step["name"]: step for step in heritage.parameters(kind)["steps"]}
            # of darks, crcorr and normalize rest where rates are fitted, and not before
            here = taken if "dark" not in kind or "fit_rates" in taken else taken - {"crcorr", "normalize"}
            after = improved.parameters(kind)["steps"]
            chosen[kind] = [
                step if names is None or step["name"] in here else before[step["name"]] for step in after
            ]
        write(words, chosen)
    for words, changes in WITHOUT.items():
        chosen = {}
        for kind in kinds:
            after = improved.parameters(kind)["steps"]
            chosen[kind] = [
                {**step, "parameters": {**step.get("parameters", {}), **changes.get(step["name"], {})}}
                for step in after
            ]
        write(f"improved, but {words}", chosen)
    return made


def collect(options: argparse.Namespace, profiles: Mapping[str, str]) -> list[dict[str, Any]]:
    """Figures of all products of all months, month by month."""
    rows = []
    seeds = (TUNING_SEEDS if options.tuning or options.ablation else REPORT_SEEDS)[: options.seeds]
    for epoch in options.epochs:
        for seed in seeds:
            with tempfile.TemporaryDirectory(prefix="refstis-accuracy-", dir=options.work) as folder:
                month, policy = Path(folder) / "month", Path(folder) / "policy"
                policy.mkdir()
                (policy / "policy.yaml").write_text(SMALL_POLICY if options.size == "small" else "{}")
                simulate(month, epoch=epoch, seed=seed, size=options.size, products=tuple(options.products))
                shares: dict[str, float] = {}
                for name, profile in profiles.items():
                    work = Path(folder) / "products"
                    rows += [
                        {"epoch": epoch, "seed": seed, "profile": name, **row}
                        for row in measure(month, work, profile, str(policy), shares)
                    ]
                    shutil.rmtree(work)
                    print(
                        f"{epoch}, seed {seed}, {name}: {rows[-1]['figures']['all products (s)']:.0f} s",
                        flush=True,
                    )
    return rows


def summary(rows: Iterable[Mapping[str, Any]], profiles: Iterable[str]) -> str:
    """Medians as Markdown: of two profiles beside each other with ranges and limits, of more of them one in a line."""
    rows, profiles = list(rows), list(profiles)
    epochs = list(dict.fromkeys(row["epoch"] for row in rows))
    lines = []
    for product in dict.fromkeys(row["product"] for row in rows):
        mine = [row for row in rows if row["product"] == product]
        names = list(mine[0]["figures"])
        frames = sorted({row["frames"] for row in mine})
        words = f", {frames[0]} to {frames[-1]} frames" if frames[-1] else ""
        lines += [f"### {product}{words}", ""]
        if len(profiles) == 2:
            lines += [f"| | {' | '.join(map(str, epochs))} |", "|---|" + "---|" * len(epochs)]
            for name in names:
                cells = [
                    _pair([row for row in mine if row["epoch"] == epoch], name, profiles) for epoch in epochs
                ]
                lines.append(f"| {name} | {' | '.join(cells)} |")
        else:
            lines += [f"| | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
            for profile in profiles:
                own = [row["figures"] for row in mine if row["profile"] == profile]
                cells = [_number(_median(figures[name] for figures in own)) for name in names]
                lines.append(f"| {profile} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _pair(rows: list[Mapping[str, Any]], name: str, profiles: list[str]) -> str:
    """The medians of a figure with either profile, the range of the second one, and the limit."""
    first, second = ([row["figures"][name] for row in rows if row["profile"] == one] for one in profiles)
    cell = f"{_number(_median(first))} → **{_number(_median(second))}**"
    known = [value for value in second if np.isfinite(value)]
    if len(known) > 1:
        cell += f" ({_number(min(known))} to {_number(max(known))})"
    limits = [row["limits"][name] for row in rows if name in row["limits"]]
    # what the name of a figure says already needs no limit
    if limits and statistics.median(limits) not in (0.0, 1.0, 100.0):
        cell += f"; limit {_number(statistics.median(limits))}"
    return cell


def _median(values: Iterable[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return statistics.median(known) if known else np.nan


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def drift_errors(epoch: int, seeds: Iterable[int], frames: int = 104) -> dict[str, Figures]:
    """Errors of the bias level in the middle of full frames that the slope of the virtual overscan makes (DN).

    Of each chip only the mean of so many frames is simulated, which is all that a superbias sees of the drift.
    """
    from refstis.calibration.overscan import column_gain, hot_charge
    from refstis.simulation.detector import Detector
    from refstis.simulation.readout import Readout

    found: dict[str, list[float]] = {}
    readout = Readout()
    rows, columns = readout.trim
    x = np.arange(columns.stop - columns.start)
    middle = x.size / 2.0 + columns.start - (readout.section.start + readout.section.stop - 1) / 2.0
    for seed in seeds:
        chip, generator = Detector(seed, epoch), np.random.default_rng(seed)
        charge = chip.mean_charge(readout, chip.begin + 10.0, 0.0, chip.figures["temperature"])
        noise = chip.noise(readout) / np.sqrt(frames)
        image = charge + chip.pattern(readout)[:, columns] + generator.normal(0.0, noise, charge.shape)
        virtual, hot = image[: rows.start].mean(axis=0), hot_charge(image[rows])
        gain, outside = column_gain(virtual, hot)
        _, standing_out = column_gain(virtual, np.zeros(x.size))
        for words, profile, kept in (
            ("nothing", virtual, np.full(x.size, True)),
            ("columns beyond 3 sigma left out", virtual, ~standing_out),
            ("charge of hot pixels subtracted, then the same", virtual - gain * hot, ~outside),
            (
                "nothing to take away: noise alone",
                generator.normal(0.0, noise / np.sqrt(rows.start), x.size),
                np.full(x.size, True),
            ),
        ):
            found.setdefault(words, []).append(middle * float(np.polyfit(x[kept], profile[kept], 1)[0]))
    return {
        words: {
            "rms (DN)": float(np.sqrt(np.mean(np.square(errors)))),
            "largest (DN)": float(np.abs(errors).max()),
        }
        for words, errors in found.items()
    }


def tell_of_drift(epochs: Iterable[int]) -> None:
    """Print what the charge in the virtual overscan does to the level, and what is left of it."""
    print("| taken out of the virtual overscan | epoch | rms (DN) | largest (DN) |")
    print("|---|---:|---:|---:|")
    for epoch in epochs:
        for words, figures in drift_errors(epoch, range(101, 125)).items():
            print(f"| {words} | {epoch} | {' | '.join(_number(value) for value in figures.values())} |")


def main() -> None:
    """Simulate, make, compare, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tuning", action="store_true", help="use the seeds that parameters are chosen with")
    parser.add_argument(
        "--ablation", action="store_true", help="one improvement after the other, tuning seeds"
    )
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--seeds", type=int, default=None, help="use only the first so many seeds")
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS)
    parser.add_argument(
        "--products", nargs="+", default=("biases", "darks", "science"), help="what is simulated"
    )
    parser.add_argument("--output", type=Path, default=Path("accuracy"))
    parser.add_argument("--work", type=Path, default=None, help="folder for what is removed again")
    parser.add_argument(
        "--drift", action="store_true", help="only the drift of the bias level, of 24 chips an epoch"
    )
    options = parser.parse_args()
    if options.drift:
        tell_of_drift(options.epochs)
        return
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        profiles = (
            ablation_profiles(Path(folder))
            if options.ablation
            else dict(zip(PROFILES, PROFILES, strict=True))
        )
        rows = collect(options, profiles)
    text = summary(rows, profiles)
    print(text)
    about = {"refstis": refstis.__version__, "python": platform.python_version(), "size": options.size}
    with atomic_write(options.output / "accuracy.json", "w") as stream:
        json.dump({**about, "products": rows}, stream, indent=1)
    with atomic_write(options.output / "accuracy.md", "w") as stream:
        stream.write(text)


if __name__ == "__main__":
    main()
