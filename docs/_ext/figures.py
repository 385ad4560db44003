"""The figures of the stage pages: one function a stage, drawn from a simulated month when the docs are built.

Run as ``python figures.py FOLDER``. Everything follows from the seed, so equal code gives equal figures.
"""

import functools
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

from refstis import stages
from refstis.calibration.blevcorr import masked_medians
from refstis.calibration.crcorr import COSMIC_RAY
from refstis.calibration.daily import nearness
from refstis.calibration.geometry import overscan_geometry
from refstis.calibration.robust import clip, median_filter_zero_padded
from refstis.calibration.superbias import HOT_PIXEL, column_residual, residual_image
from refstis.datamodels.exposure import Exposure
from refstis.simulation import Truth, simulate

FIGURES = {}
INK, WARM, COOL, GREY = "#1b2a41", "#c8553d", "#2a6f97", "#9aa5b1"
STYLE = {
    "figure.dpi": 110, "savefig.dpi": 110, "font.size": 9.5, "axes.titlesize": 9.5, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "image.origin": "lower", "image.interpolation": "auto",
    "axes.titlelocation": "left", "axes.edgecolor": INK, "axes.linewidth": 0.7, "image.cmap": "magma",
}  # fmt: skip


def figure(function):
    """Register a figure under the name of its stage."""
    FIGURES[function.__name__] = function
    return function


def panels(columns, height=3.0, **options):
    return plt.subplots(1, columns, figsize=(8.6, height), layout="constrained", **options)


def show(axis, image, title, low=None, high=None, **options):
    shown = axis.imshow(image, vmin=low, vmax=high, **options)
    axis.set_title(title)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
    return shown


def pixels(exposure, number=0):
    imset = exposure.imsets[number]
    return SimpleNamespace(sci=imset.sci[:], err=imset.err[:], dq=imset.dq[:])


class World:
    """A month of small frames, calibrated as far as a figure asks for."""

    def __init__(self, folder):
        self.folder = folder
        self.made = simulate(folder, days=12, size="small", imsets=[40, 14], seed=3)
        os.environ["oref"] = f"{self.made.oref}{os.sep}"  # noqa: SIM112 - CALSTIS writes it so
        self.truth = Truth.open(folder)
        self.raws = [Exposure.open(path) for path in self.made.raws]

    def of(self, target, begin=0, end=None, gain=1):
        chosen = [
            raw
            for raw in self.raws
            if raw.primary["TARGNAME"] == target and int(raw.primary["CCDGAIN"]) == gain
        ]
        return chosen[begin:end]

    def frames(self, raw):
        return stages.BlevCorrStep().process(stages.DqiCorrStep().process(raw))

    @functools.cached_property
    def biases(self):
        return [self.frames(raw) for raw in self.of("BIAS")]

    @functools.cached_property
    def mean(self):
        """The month's mean bias, hot columns and pixels in it."""
        return stages.AverageStep().process(iter([stages.CrCorrStep().process(bias) for bias in self.biases]))

    @functools.cached_property
    def basebias(self):
        columns = stages.ReplaceHotColumnsStep().process(self.mean)
        pixels = stages.ReplaceHotPixelsStep().process(columns, self.mean)
        return self.file(stages.ReferenceHeaderStep(product="basebias").process(pixels), "basebias")

    @functools.cached_property
    def superbias(self):
        rate = stages.NormalizeStep().process(stages.CrCorrStep().process(self.biases))
        flagged = stages.FlagHotBiasStep().process(rate)
        return self.file(stages.ReferenceHeaderStep(product="refbias").process(flagged), "superbias")

    @functools.cached_property
    def darks(self):
        """Darks without bias, at the temperatures that they were taken at."""
        step = stages.BiasCorrStep(override_biasfile=str(self.folder / self.superbias.name))
        return [step.process(self.frames(raw)) for raw in self.of("DARK")]

    @functools.cached_property
    def scaled(self):
        return [stages.TempCorrStep().process(dark) for dark in self.darks]

    def rate(self, darks):
        return stages.NormalizeStep().process(stages.CrCorrStep().process(darks))

    @functools.cached_property
    def basedark(self):
        flagged = stages.FlagHotDarkStep().process(self.rate(self.scaled))
        return self.file(stages.ReferenceHeaderStep(product="basedark").process(flagged), "basedark")

    @functools.cached_property
    def week(self):
        return self.rate(self.scaled[-9:])

    def file(self, exposure, name):
        exposure.save(self.folder / f"{name}.fits")
        return Exposure.open(self.folder / f"{name}.fits")


@figure
def dqicorr(world):
    raw = world.of("DARK")[3]
    flagged = pixels(stages.DqiCorrStep().process(raw))
    saturated = np.argwhere(flagged.dq & 256)
    y, x = saturated[len(saturated) // 2] if len(saturated) else (120, 120)
    part = window(flagged.sci.shape, y, x, 12)
    figure, (left, right) = panels(2)
    level = np.median(flagged.sci)
    show(
        left,
        np.clip(flagged.sci[part] - level, 1, None),
        "raw dark above its median (DN, log)",
        norm=LogNorm(5, 6e4),
    )
    bits = flagged.dq[part]
    kinds = np.where(bits & 256, 2, np.where(bits != 0, 1, 0))
    show(right, kinds, "flags: 256 (black), bad pixel table (grey)", -0.2, 2, cmap="Greys")
    return figure


def window(shape, y, x, half):
    y, x = (int(np.clip(v, half, n - half - 1)) for v, n in zip((y, x), shape, strict=True))
    return slice(y - half, y + half + 1), slice(x - half, x + half + 1)


@figure
def blevcorr(world):
    raw = world.of("DARK")[0]
    imset = raw.imsets[0]
    frame = imset.sci[:]
    geometry = overscan_geometry("D", frame.shape, imset.grid.bins)
    rows, columns = geometry.trim(frame.shape)
    section = slice(geometry.section[0], geometry.section[1] + 1)
    good = np.ones((frame.shape[0], section.stop - section.start), dtype=bool)
    lines, _ = masked_medians(frame[:, section].astype(float), good)
    virtual = frame[geometry.virtual_y[0] : geometry.virtual_y[1] + 1, columns].astype(float)
    done = pixels(stages.BlevCorrStep().process(raw)).sci
    level = frame[rows, columns].astype(float) - done
    figure, axes = panels(3, width_ratios=[1, 1.3, 1.3])
    show(axes[0], frame, "raw frame with its overscan", *np.percentile(frame, [1, 97]))
    axes[0].axvspan(section.start, section.stop, color=COOL, alpha=0.6, lw=0)
    axes[0].axhspan(geometry.virtual_y[0], geometry.virtual_y[1], color=WARM, alpha=0.6, lw=0)
    y = np.arange(rows.start, rows.stop)
    axes[1].plot(y, lines[rows], ".", ms=2, color=COOL)
    zero = round(sum(geometry.section) / 2) - columns.start
    drift = (level[-1, -1] - level[-1, 0]) / (level.shape[1] - 1)
    axes[1].plot(y, level[:, 0] - drift * (0 - zero), color=INK)
    axes[1].set(title="level of each line", xlabel="line", ylabel="DN")
    x = np.arange(columns.start, columns.stop)
    axes[2].plot(x, np.median(virtual, axis=0), ".", ms=2, color=WARM)
    middle = level[0] - np.mean(level[0]) + np.median(virtual)
    axes[2].plot(x, middle, color=INK)
    spread = 6 * np.std(np.median(virtual, axis=0)[: len(x) // 2])
    axes[2].set(title="virtual overscan of each column", xlabel="column")
    axes[2].set_ylim(np.median(virtual) - spread, np.median(virtual) + spread)
    return figure


@figure
def biascorr(world):
    before = pixels(world.frames(world.of("DARK")[0])).sci
    after = pixels(world.darks[0]).sci
    bias = pixels(world.superbias).sci
    figure, axes = panels(3)
    limits = np.percentile(bias, [1, 99])
    show(axes[0], bias, "superbias (DN)", *limits)
    columns = np.arange(bias.shape[1])
    axes[1].plot(columns, np.median(before, axis=0), lw=0.8, color=GREY, label="before")
    axes[1].plot(columns, np.median(after, axis=0), lw=0.8, color=INK, label="after")
    axes[1].plot(columns, np.median(bias, axis=0), lw=0.8, color=WARM, label="superbias")
    axes[1].set(title="medians of the columns of one dark (DN)", xlabel="column")
    axes[1].legend()
    show(axes[2], after, "the dark without its bias", *np.percentile(after, [1, 97]))
    return figure


@figure
def tempcorr(world):
    def points(darks):
        hot = pixels(world.basedark).sci > 0.3
        temperature = [dark.imsets[0].housing_temperature for dark in darks]
        rates = [np.median(pixels(dark).sci[hot]) / dark.imsets[0].exptime for dark in darks]
        return np.array(temperature), np.array(rates)

    figure, (left, right) = panels(2)
    temperature, before = points(world.darks)
    _, after = points(world.scaled)
    mean = np.mean(after)
    left.plot(temperature, before, "o", ms=4, color=GREY, label="as taken")
    left.plot(temperature, after, "o", ms=4, color=INK, label="at 18 C")
    t = np.linspace(17.5, max(temperature) + 0.5)
    left.plot(t, mean * (1 + 0.07 * (t - 18)), color=WARM, lw=1, label=r"$1 + 0.07\,(T - 18)$")
    left.set(
        xlabel="housing temperature OCCDHTAV (C)",
        ylabel="median of hot pixels (DN/s)",
        title="hot pixels of each dark",
    )
    left.legend()
    times = [dark.start_mjd - world.darks[0].start_mjd for dark in world.darks]
    right.plot(times, before / np.mean(before), "o-", ms=3, lw=0.7, color=GREY)
    right.plot(times, after / mean, "o-", ms=3, lw=0.7, color=INK)
    right.set(xlabel="day", title="relative to their means")
    return figure


@figure
def crcorr(world):
    combined = stages.CrCorrStep(crmask=True).process(world.scaled)
    count = len(world.scaled)
    masks = np.array([(dq[:] & COSMIC_RAY) > 0 for dq in combined.input_dq])
    first = pixels(world.scaled[0]).sci
    struck = masks[0].astype(float)
    density = [struck[y : y + 40, x : x + 40].sum() for y in range(0, 200, 40) for x in range(0, 200, 40)]
    place = int(np.argmax(density))
    part = slice(place // 5 * 40, place // 5 * 40 + 40), slice(place % 5 * 40, place % 5 * 40 + 40)
    figure, axes = panels(4, width_ratios=[1, 1, 1, 1.3])
    limits = np.percentile(first, [2, 98.5])
    show(axes[0], first[part], "one dark (DN)", *limits)
    show(axes[1], masks[0][part], "what is rejected in it", 0, 1, cmap="Greys")
    show(axes[2], pixels(combined).sci[part] / count, f"combination of {count}", *limits)
    values = np.array([pixels(dark).sci for dark in world.scaled])
    hits = masks[0] & (masks.sum(axis=0) == 1) & (first > 300) & (first < 3000)
    y, x = np.argwhere(hits)[0]
    stack = values[:, y, x]
    kept = np.median(stack)
    dark = world.scaled[0]
    gain, noise = float(dark.primary["ATODGAIN"]), float(dark.primary["READNSE"])
    limit = 5 * np.sqrt((noise / gain) ** 2 + max(kept, 0) / gain)
    axes[3].axhspan(kept - limit, kept + limit, color=COOL, alpha=0.2, lw=0)
    rejected = masks[:, y, x]
    axes[3].plot(np.flatnonzero(~rejected), stack[~rejected], "o", ms=4, color=INK)
    axes[3].plot(np.flatnonzero(rejected), stack[rejected], "x", ms=6, color=WARM)
    axes[3].set(title="one pixel, 5 sigma", xlabel="exposure", ylabel="DN")
    return figure


@figure
def normalize(world):
    frame = pixels(world.biases[0]).sci
    summed = stages.CrCorrStep().process(world.biases)
    mean = pixels(stages.NormalizeStep().process(summed)).sci
    count = summed.ncombine
    figure, (left, right) = panels(2)
    bins = np.linspace(-25, 25, 90)
    left.hist((frame - np.median(frame)).ravel(), bins, histtype="step", color=GREY, label="one frame")
    left.hist((mean - np.median(mean)).ravel(), bins, histtype="step", color=INK, label=f"mean of {count}")
    left.set(yscale="log", xlabel="DN about the median", title="biases")
    left.legend()
    rate = pixels(world.rate(world.scaled)).sci
    right.hist(rate.ravel(), np.geomspace(1e-3, 30, 90), histtype="step", color=INK)
    right.set(xscale="log", yscale="log", xlabel="electrons/s", title=f"rate of {len(world.scaled)} darks")
    return figure


@figure
def average(world):
    combined = [stages.CrCorrStep().process(bias) for bias in world.biases]
    figure, (left, right) = panels(2)
    counts, scatter, stated = [], [], []
    for number in range(1, len(combined) + 1):
        mean = stages.AverageStep().process(iter(combined[:number]))
        image = pixels(mean)
        smooth = median_filter_zero_padded(image.sci, (3, 15))
        counts.append(mean.ncombine)
        scatter.append(clip(image.sci - smooth, 3, 30).std)
        stated.append(np.median(image.err))
    left.plot(counts, stated, "-", color=WARM, label="median of ERR")
    left.plot(counts, scatter, "o", ms=4, color=INK, label="scatter about the surroundings")
    left.set(xscale="log", yscale="log", xlabel="frames", ylabel="DN", title="noise of the average")
    left.set_xticks([10, 20, 50], ["10", "20", "50"])
    left.tick_params(axis="x", which="minor", labelbottom=False)
    left.legend()
    mean = pixels(world.mean).sci
    show(right, mean, "the average (DN)", *np.percentile(mean, [1, 99]))
    return figure


@figure
def replace_hot_columns(world):
    before = pixels(world.mean).sci
    after = pixels(stages.ReplaceHotColumnsStep().process(world.mean)).sci
    residual, _ = residual_image(before)
    figure, axes = panels(3, width_ratios=[1, 1, 1.5])
    limits = np.percentile(before, [1, 99])
    show(axes[0], before, "before (DN)", *limits)
    show(axes[1], after, "after", *limits)
    for fraction, color in ((1.0, INK), (0.2, COOL)):
        columns = column_residual(residual, fraction)
        found = clip(columns, 3.0, 40)
        axes[2].plot(columns, lw=0.7, color=color, label=f"lowest {fraction:.0%} of the rows")
        axes[2].axhline(found.mean + 3 * found.std, color=color, ls=":", lw=1)
    axes[2].set(
        title="mean residual of the columns, and the limits", xlabel="column", ylabel="DN", yscale="symlog"
    )
    axes[2].legend()
    return figure


@figure
def replace_hot_pixels(world):
    before = pixels(stages.ReplaceHotColumnsStep().process(world.mean)).sci
    after = pixels(stages.ReplaceHotPixelsStep().process(
        stages.ReplaceHotColumnsStep().process(world.mean), world.mean
    )).sci  # fmt: skip
    _, median = residual_image(pixels(world.mean).sci)
    residual = before - median
    found = clip(residual, 5, 40)
    figure, axes = panels(3, width_ratios=[1, 1, 1.5])
    y, x = np.argwhere(before != after)[0]
    part = window(before.shape, y, x, 25)
    limits = np.percentile(before, [1, 99.5])
    show(axes[0], before[part], "before (DN)", *limits)
    show(axes[1], after[part], "after", *limits)
    axes[2].hist(residual.ravel(), np.linspace(-8, 25, 100), histtype="step", color=INK)
    axes[2].axvline(found.mean + 5 * found.std, color=WARM, ls="--", label="limit: 5 sigma")
    axes[2].set(yscale="log", xlabel="DN above the running median", title="residual of all pixels")
    axes[2].legend()
    return figure


@figure
def flag_hot_bias(world):
    image = pixels(world.superbias)
    smooth = median_filter_zero_padded(image.sci, (3, 15))
    smooth += clip(image.sci, 3, 30).mean - clip(smooth, 3, 30).mean
    residual = image.sci - smooth
    found = clip(residual, 3, 30)
    figure, axes = panels(3, width_ratios=[1, 1, 1.5])
    show(axes[0], image.sci, "superbias (DN)", *np.percentile(image.sci, [1, 99.5]))
    show(axes[1], image.dq == HOT_PIXEL, "flagged with 16", 0, 1, cmap="Greys")
    axes[2].hist(residual.ravel(), np.linspace(-8, 25, 100), histtype="step", color=INK)
    axes[2].axvline(found.mean + 5 * found.std, color=WARM, ls="--", label="limit: 5 sigma")
    axes[2].set(yscale="log", xlabel="DN above the running median", title="residual of all pixels")
    axes[2].legend()
    return figure


@figure
def add_hot_columns(world):
    week = stages.NormalizeStep().process(stages.CrCorrStep().process(world.biases[-3:]))
    base = pixels(world.basebias).sci
    step = stages.AddHotColumnsStep(override_basebias=str(world.folder / world.basebias.name))
    result = pixels(step.process(week)).sci
    residual, _ = residual_image(pixels(week).sci)
    columns = column_residual(residual, 0.25)
    found = clip(columns, 3.0, 20)
    figure, axes = panels(4, width_ratios=[1, 1, 1, 1.5])
    limits = np.percentile(result, [1, 99.5])
    show(axes[0], pixels(week).sci, "week (DN)", *limits)
    show(axes[1], base, "baseline", *limits)
    show(axes[2], result, "weekbias", *limits)
    axes[3].plot(columns, lw=0.8, color=INK)
    axes[3].axhline(found.mean + 5 * found.std, color=WARM, ls="--", label="limit: 5 sigma")
    axes[3].set(title="residual of the week's columns", xlabel="column", ylabel="DN", yscale="symlog")
    axes[3].legend()
    return figure


@figure
def flag_hot_dark(world):
    image = pixels(world.basedark)
    before = pixels(world.rate(world.scaled))
    statistics = clip(image.sci, 5, 50)
    second = clip(image.sci, 3, 40)
    own = (image.dq == HOT_PIXEL) & (before.dq != HOT_PIXEL)
    inherited = (image.dq == HOT_PIXEL) & ~own
    figure, (left, right) = panels(2, width_ratios=[1, 1.8])
    show(left, image.dq == HOT_PIXEL, "flagged with 16", 0, 1, cmap="Greys")
    bins = np.geomspace(2e-3, 30, 100)
    right.hist(image.sci.ravel(), bins, histtype="step", color=GREY, label="all pixels")
    right.hist(image.sci[own], bins, histtype="step", color=WARM, label="flagged here")
    right.hist(image.sci[inherited], bins, histtype="step", color=COOL, label="flagged by the superbias")
    right.axvline(statistics.mean + 0.1, color=INK, ls="--", lw=1)
    right.axvline(second.mean + 0.1, color=INK, ls=":", lw=1)
    right.set(xscale="log", yscale="log", xlabel="electrons/s", title="rates, and the two limits")
    right.legend()
    return figure


@figure
def superdark(world):
    week, base = pixels(world.week), pixels(world.basedark)
    step = stages.SuperdarkStep(override_basedark=str(world.folder / world.basedark.name))
    result = pixels(step.process(world.week))
    statistics = clip(week.sci, 5, 40)
    limit = statistics.median + 5 * statistics.std
    new = (week.sci > max(limit, 0.06)) & (base.sci < limit)
    blocks = new[:250, :250].reshape(10, 25, 10, 25).sum(axis=(1, 3))
    y, x = np.unravel_index(np.argmax(blocks), blocks.shape)
    part = slice(y * 25, y * 25 + 25), slice(x * 25, x * 25 + 25)
    figure, axes = panels(4, width_ratios=[1, 1, 1, 1.5])
    norm = LogNorm(0.01, 1)
    for axis, image, title in zip(
        axes, (base, week, result), ("baseline (e-/s, log)", "week", "superdark"), strict=False
    ):
        show(axis, np.clip(image.sci[part], 0.01, None), title, norm=norm)
        for row, column in np.argwhere(new[part]):
            axis.plot(column, row, "o", mfc="none", mec="white", ms=9, mew=0.8)
    axes[3].loglog(base.sci.ravel(), week.sci.ravel(), ".", ms=1, color=INK, alpha=0.4, rasterized=True)
    axes[3].axhline(limit, color=WARM, ls="--", lw=1, label="limit of the week")
    axes[3].axvline(limit, color=WARM, ls="--", lw=1)
    axes[3].set(xlim=(3e-3, 30), ylim=(3e-3, 30), xlabel="baseline (e-/s)", title="week against baseline")
    axes[3].legend(loc="upper left")
    return figure


@figure
def daily(world):
    plain = stages.SuperdarkStep(override_basedark=str(world.folder / world.basedark.name)).process(
        world.week
    )
    darks = world.scaled[-9:]
    moment = darks[4].start_mjd + 0.2
    followed = stages.DailyStep(moment=moment).process(plain, darks)
    before, after = pixels(plain).sci, pixels(followed).sci
    gain = float(darks[0].primary["ATODGAIN"])
    rates = np.array([pixels(dark).sci * gain / dark.imsets[0].exptime for dark in darks])
    days = np.array([dark.start_mjd - moment for dark in darks])
    jump = np.median(rates[5:], axis=0) - np.median(rates[:4], axis=0)
    candidates = np.where((rates.max(axis=0) < 20) & (jump > 0.1), np.abs(after - before), 0)
    y, x = np.unravel_index(np.argmax(candidates), candidates.shape)
    figure, (left, right) = panels(2)
    weights = nearness(days, 2.0)
    left.scatter(
        days, rates[:, y, x], s=60 * weights / weights.max() + 6, color=INK, label="darks, by weight"
    )
    left.axhline(before[y, x], color=GREY, label="superdark of the week")
    left.axhline(after[y, x], color=WARM, label="followed")
    left.axvline(0, color=COOL, ls=":", lw=1)
    left.set(xlabel="days from the exposure", ylabel="electrons/s", title="a pixel whose rate changed")
    left.legend()
    d = np.linspace(-6, 6, 200)
    right.plot(d, np.exp(-np.abs(d) / 2.0), color=GREY, lw=1, label=r"$e^{-|d|/\tau}$, $\tau$ = 2 days")
    right.plot(days, weights, "o", color=INK, ms=5, label="weights, capped at the third")
    right.set(xlabel="days from the exposure", title="weights of the darks", ylim=(0, 1.35))
    right.legend(loc="upper left")
    return figure


@figure
def darkcorr(world):
    dark = world.darks[-1]
    step = stages.DarkCorrStep(override_darkfile=str(world.folder / world.basedark.name))
    before, after = pixels(dark).sci, pixels(step.process(dark)).sci
    figure, axes = panels(3, width_ratios=[1, 1, 1.5])
    limits = np.percentile(before, [2, 97])
    part = slice(60, 160), slice(60, 160)
    show(axes[0], before[part], "before (DN)", *limits)
    show(axes[1], after[part], "after", *(limits - np.median(before)))
    bins = np.linspace(-60, 250, 120)
    axes[2].hist(before.ravel(), bins, histtype="step", color=GREY, label="before")
    axes[2].hist(after.ravel(), bins, histtype="step", color=INK, label="after")
    axes[2].set(yscale="log", xlabel="DN", title="a dark, its superdark subtracted")
    axes[2].legend()
    return figure


@figure
def refaver(world):
    header = stages.ReferenceHeaderStep(product="refbias")
    halves = []
    for number in (0, 1):
        mean = stages.NormalizeStep().process(stages.CrCorrStep().process(world.biases[number::2]))
        halves.append(world.file(header.process(mean), f"half{number}"))
    average = stages.RefaverStep().process([str(world.folder / half.name) for half in halves])
    figure, (left, right) = panels(2)
    bins = np.linspace(-8, 8, 90)
    for exposure, color, label in (
        (halves[0], GREY, "first half"),
        (halves[1], COOL, "second half"),
        (average, INK, "average"),
    ):
        image = pixels(exposure).sci
        residual = image - median_filter_zero_padded(image, (3, 15))
        left.hist(
            residual.ravel(),
            bins,
            histtype="step",
            color=color,
            label=f"{label}: {clip(residual, 3, 30).std:.2f} DN",
        )
    left.set(yscale="log", xlabel="DN above the running median", title="noise")
    left.legend()
    first, second = (pixels(half).sci.ravel() for half in halves)
    right.plot(first, second, ".", ms=1, alpha=0.3, color=INK, rasterized=True)
    ends = np.percentile(first, [0.1, 99.9])
    right.plot(ends, ends, color=WARM, lw=1)
    right.set(xlim=ends, ylim=ends, xlabel="first half (DN)", ylabel="second half (DN)", title="both halves")
    return figure


@figure
def reference_header(world):
    product = world.basedark
    figure, axis = panels(1, 1.9)
    begin = world.darks[0].start_mjd
    for dark in world.darks:
        axis.plot(
            [dark.start_mjd - begin, float(dark.primary["TEXPEND"]) - begin],
            [1, 1],
            color=INK,
            lw=9,
            solid_capstyle="butt",
        )
    last = max(float(dark.primary["TEXPEND"]) for dark in world.darks) - begin
    axis.annotate("", (0, 0.55), (last, 0.55), arrowprops={"arrowstyle": "<->", "color": WARM})
    axis.text(last / 2, 0.6, f"PEDIGREE  {product.primary['PEDIGREE']}", color=WARM, ha="center", va="bottom")
    axis.plot(0, 0.2, "^", color=COOL, clip_on=False)
    axis.text(0.2, 0.2, f"USEAFTER  {product.primary['USEAFTER']}", color=COOL, va="center")
    axis.text(0, 1.25, f"DESCRIP  {product.primary['DESCRIP'].rstrip('-')}", color=INK, va="bottom")
    axis.set(ylim=(0, 1.5), yticks=[], xlabel="days from the first dark")
    axis.spines["left"].set_visible(False)
    return figure


@figure
def statflag(world):
    product = world.basedark
    image, header = pixels(product), product.imsets[0].sci_header
    figure, axis = panels(1)
    good = (image.dq & int(header.get("SDQFLAGS", 31743))) == 0
    bins = np.geomspace(1e-3, 30, 120)
    axis.hist(image.sci.ravel(), bins, histtype="step", color=GREY, label="all pixels")
    axis.hist(image.sci[good], bins, histtype="step", color=INK, label=f"NGOODPIX = {header['NGOODPIX']}")
    axis.axvline(header["GOODMEAN"], color=WARM, ls="--", label=f"GOODMEAN = {header['GOODMEAN']:.4f}")
    axis.axvline(header["GOODMAX"], color=COOL, ls="--", label=f"GOODMAX = {header['GOODMAX']:.3f}")
    axis.set(xscale="log", yscale="log", xlabel="electrons/s", title="a basedark: what SDQFLAGS leave")
    axis.legend()
    return figure


@figure
def clean_overscan(world):
    raws = world.of("BIAS")
    cleaned = stages.CleanOverscanStep(skip=False).process(raws)
    geometry = overscan_geometry("D", raws[0].imsets[0].sci.shape, raws[0].imsets[0].grid.bins)
    _, columns = geometry.trim(raws[0].imsets[0].sci.shape)
    rows = slice(geometry.virtual_y[0], geometry.virtual_y[1] + 1)

    def profile(exposures):
        frames = [
            imset.sci[rows, columns].astype(float).mean(axis=0)
            for exposure in exposures
            for imset in exposure.imsets
        ]
        return np.mean([frame - np.median(frame) for frame in frames], axis=0)

    figure, axis = panels(1, 2.6)
    before, after = profile(raws), profile(cleaned)
    axis.plot(before, lw=0.8, color=GREY, label="virtual overscan of all biases")
    axis.plot(after, lw=0.8, color=INK, label="cleaned")
    axis.set(xlabel="column", ylabel="DN", ylim=(-3, np.percentile(before, 99.5) + 2))
    axis.legend()
    return figure


@figure
def fit_rates(world):
    true = world.truth.dark_rate(world.truth.select([dark.name for dark in world.darks]))
    combined = pixels(world.rate(world.scaled)).sci
    fitted = pixels(stages.FitRatesStep(skip=False).process(world.darks)).sci
    figure, axes = panels(3)
    for axis, rate, title in zip(
        axes, (combined, fitted), ("crcorr and normalize", "fit_rates"), strict=False
    ):
        axis.loglog(
            true.ravel(), np.clip(rate, 3e-3, None).ravel(), ".", ms=1, color=INK, alpha=0.4, rasterized=True
        )
        axis.set(
            title=title, xlabel="true rate (e-/s)", ylabel="rate (e-/s)", xlim=(3e-3, 30), ylim=(3e-3, 30)
        )
    hot = (true > 0.1) & (true < 10)
    bins = np.linspace(-0.15, 0.15, 80)
    for rate, color, label in ((combined, GREY, "crcorr and normalize"), (fitted, INK, "fit_rates")):
        axes[2].hist((rate / true - 1)[hot], bins, histtype="step", color=color, label=label)
    axes[2].set(title="hot pixels: relative error", yscale="log")
    axes[2].set_ylim(top=30 * axes[2].get_ylim()[1])
    axes[2].legend(loc="upper center")
    return figure


@figure
def blend_baseline(world):
    darks = world.darks[-9:]
    true = world.truth.dark_rate(world.truth.select([dark.name for dark in darks]))
    month = stages.FlagHotRatesStep(skip=False).process(stages.FitRatesStep(skip=False).process(world.darks))
    base = world.file(stages.ReferenceHeaderStep(product="basedark").process(month), "fitted")
    week = stages.FitRatesStep(skip=False).process(darks)
    step = stages.BlendBaselineStep(skip=False, override_basedark=str(world.folder / base.name))
    blended = pixels(step.process(week)).sci
    figure, (left, right) = panels(2)
    bins = np.linspace(-8, 8, 90)
    ordinary = true < 0.05
    for rate, color, label in (
        (pixels(week).sci, GREY, "week alone"),
        (pixels(base).sci, COOL, "month alone"),
        (blended, INK, "blended"),
    ):
        left.hist(1000 * (rate - true)[ordinary], bins, histtype="step", color=color, label=label)
        wrong = np.abs(rate - true)[~ordinary] / true[~ordinary]
        right.hist(wrong, np.geomspace(1e-3, 30, 60), histtype="step", color=color, label=label)
    left.set(title="errors of ordinary pixels", xlabel="0.001 e-/s", yscale="log")
    right.set(title="relative errors of warm and hot pixels", xscale="log", yscale="log")
    left.legend()
    return figure


@figure
def flag_hot_rates(world):
    image = pixels(
        stages.FlagHotRatesStep(skip=False).process(stages.FitRatesStep(skip=False).process(world.darks))
    )
    figure, axis = panels(1)
    bins = np.geomspace(2e-3, 30, 120)
    axis.hist(image.sci.ravel(), bins, histtype="step", color=GREY, label="all pixels")
    axis.hist(
        image.sci[(image.dq & HOT_PIXEL) != 0], bins, histtype="step", color=WARM, label="flagged with 16"
    )
    axis.axvline(0.1, color=INK, ls="--", lw=1)
    axis.set(xscale="log", yscale="log", xlabel="electrons/s", title="rates of a month")
    axis.legend()
    return figure


@figure
def blend_superbias(world):
    week = stages.NormalizeStep().process(stages.CrCorrStep().process(world.biases[-3:]))
    month = stages.NormalizeStep().process(stages.CrCorrStep().process(world.biases))
    base = world.file(stages.ReferenceHeaderStep(product="basebias").process(month), "monthbias")
    step = stages.BlendSuperbiasStep(skip=False, override_basebias=str(world.folder / base.name))
    result = pixels(step.process(week)).sci
    figure, axes = panels(4, width_ratios=[1, 1, 1, 1.5])
    limits = np.percentile(pixels(base).sci, [1, 99.5])
    for axis, image, title in zip(
        axes, (pixels(week).sci, pixels(base).sci, result), ("week (DN)", "month", "blended"), strict=False
    ):
        show(axis, image, title, *limits)
    true = world.truth.bias(world.truth.select([bias.name for bias in world.biases[-3:]]))
    bins = np.linspace(-8, 8, 90)
    for image, color, label in ((pixels(week).sci, GREY, "week"), (result, INK, "blended")):
        axes[3].hist((image - true).ravel(), bins, histtype="step", color=color, label=label)
    axes[3].set(title="errors of all pixels", xlabel="DN", yscale="log")
    axes[3].legend()
    return figure


@figure
def flag_defects(world):
    mean = stages.NormalizeStep().process(stages.CrCorrStep().process(world.biases))
    image = pixels(stages.FlagDefectsStep(skip=False).process(mean))
    old = pixels(stages.FlagHotBiasStep().process(mean)).dq == HOT_PIXEL
    figure, axes = panels(3)
    show(axes[0], image.sci, "superbias (DN)", *np.percentile(image.sci, [1, 99.5]))
    show(axes[1], old, "flag_hot_bias", 0, 1, cmap="Greys")
    show(axes[2], (image.dq & HOT_PIXEL) != 0, "flag_defects", 0, 1, cmap="Greys")
    return figure


def draw(folder):
    """Draw all figures into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, mpl.rc_context(STYLE):
        world = World(Path(scratch))
        for name, function in FIGURES.items():
            drawn = function(world)
            drawn.savefig(folder / f"{name}.png", metadata={"Software": None})
            plt.close(drawn)


if __name__ == "__main__":
    draw(sys.argv[1])
