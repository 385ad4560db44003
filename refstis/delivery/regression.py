"""Exposures calibrated with new reference files: whether that runs, and whether the dark is gone."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from refstis.delivery.products import Product, find_products, open_products
from refstis.errors import ConfigurationError, InputError, RefstisError

__all__ = ["Reduction", "RegressionResult", "regress"]

logger = logging.getLogger(__name__)

PROGRAM = "cs0.e"
# Rate from which a pixel of the superdark counts as hot (e-/s).
HOT = 0.1
# Switches of steps that need more than superbias, superdark and the tables of the CCD
BEYOND_DARKCORR = ("CRCORR", "FLATCORR", "WAVECORR", "RPTCORR", "X1DCORR", "X2DCORR", "PHOTCORR")
STEPS = ("dqicorr", "blevcorr", "biascorr", "darkcorr")


@dataclass
class Reduction:
    """One exposure calibrated with one pair of reference files.

    Attributes
    ----------
    exposure, bias, dark : str
        Names of the files.
    engine : str
        ``refstis`` or ``calstis``.
    imsets : int
        Image sets of the exposure.
    step : str
        Step that failed; empty where none did.
    error : str
        Why.
    figures : dict
        ``before`` and ``after``: median (DN) without overscan alone, and with bias and dark subtracted;
        ``hot_before`` and ``hot_after``: medians of the superdark's hot pixels; ``hot_scatter``: robust scatter of
        the hot pixels in units of their ERR; ``scatter`` of all others; ``error``: median ERR (DN).
    products : list of str
        Files that CALSTIS made.
    """

    exposure: str
    bias: str
    dark: str
    engine: str
    imsets: int = 0
    step: str = ""
    error: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    products: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every step ran and the background came closer to nothing."""
        return not self.error

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        figures = {key: value if np.isfinite(value) else None for key, value in self.figures.items()}
        return {**vars(self), "figures": figures, "passed": self.passed}


@dataclass
class RegressionResult:
    """All reductions of a regression.

    Attributes
    ----------
    suite : str
        Where the exposures come from.
    reductions : list of Reduction
        One for each exposure and pair of files.
    """

    suite: str
    reductions: list[Reduction]

    @property
    def failures(self) -> list[Reduction]:
        """Reductions that failed."""
        return [one for one in self.reductions if not one.passed]

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return {
            "suite": self.suite,
            "passed": self.passed,
            "reductions": [one.to_dict() for one in self.reductions],
        }


def regress(
    folder: str | os.PathLike,
    suite: str | os.PathLike | None = None,
    engine: Literal["auto", "refstis", "calstis"] = "auto",
) -> RegressionResult:
    """Calibrate a suite of exposures with the superbiases and superdarks of a folder.

    Each exposure is calibrated with every pair of a superdark and the superbias of its period and of the exposure's
    mode, in a copy: neither the suite nor the reference files are changed.

    Parameters
    ----------
    folder : str or os.PathLike
        With ``*_bia.fits`` and ``*_drk.fits``, in it or below.
    suite : str or os.PathLike, optional
        Folder with raw science and dark exposures (and their wavecals). Without it exposures are simulated of the
        chip as the first reference files of the folder describe it: what is then left is noise, and what changed since.
    engine : str
        ``refstis``: dqicorr, blevcorr, biascorr and darkcorr of this package; ``calstis``: the C programs through
        stistools; ``auto``: those where they are installed.

    Returns
    -------
    RegressionResult
        Figures of every reduction; a failure names the file and the step.

    Raises
    ------
    InputError
        Where there are no superbias and superdark, or no exposures.
    ConfigurationError
        Where the C programs are asked for and not installed.
    """
    products = [product for product in open_products(find_products(folder)) if not product.fault]
    biases = [product for product in products if product.kind == "bias"]
    darks = [product for product in products if product.kind == "dark"]
    if not biases or not darks:
        lacking = "superbias (*_bia.fits)" if not biases else "superdark (*_drk.fits)"
        raise InputError(f"{folder}: no readable {lacking}; a regression needs both.")
    installed = shutil.which(PROGRAM) is not None
    if engine == "calstis" and not installed:
        raise ConfigurationError(
            f"the C program {PROGRAM} of HSTCAL is not on the PATH; install HSTCAL, or leave --engine out."
        )
    use_calstis = engine == "calstis" or (engine == "auto" and installed)
    with tempfile.TemporaryDirectory(prefix="refstis-") as work:
        tables: dict[str, str] = {}
        if suite is None:
            words = "simulated exposures of the chip that the first files describe"
            raws, tables = _simulated_suite(Path(work) / "suite", biases, darks)
        else:
            words = str(suite)
            raws = sorted(Path(suite).rglob("*_raw.fits")) if Path(suite).is_dir() else []
            if not raws:
                raise InputError(f"{suite}: no raw exposures (*_raw.fits) in it or below. Check its name.")
        reductions = []
        for dark in darks:
            for raw in raws:
                bias = _matching_bias(raw, biases, dark)
                if isinstance(bias, str):
                    reductions.append(Reduction(raw.name, "", dark.name, "", step="selection", error=bias))
                elif bias is not None:
                    reduce = _reduce_calstis if use_calstis else _reduce_native
                    reductions.append(reduce(raw, bias, dark, tables, Path(work)))
    return RegressionResult(words, reductions)


def _matching_bias(raw: Path, biases: Sequence[Product], dark: Product) -> Product | str | None:
    """Superbias of the exposure's mode, nearest in time to the dark; words where the exposure cannot be read."""
    from refstis.datamodels.exposure import Exposure

    try:
        header = Exposure.open(raw).primary
    except RefstisError as error:
        return str(error)
    keys = ("CCDAMP", "CCDGAIN", "CCDOFFST", "BINAXIS1", "BINAXIS2")
    fitting = [bias for bias in biases if all(bias.primary.get(key) == header.get(key) for key in keys)]
    if dark.useafter is None:
        return fitting[0] if fitting else None
    dated = [(abs(bias.useafter - dark.useafter), bias.name, bias) for bias in fitting if bias.useafter]
    return min(dated, default=(None, "", None), key=lambda one: one[:2])[2]


def _reduce_native(raw: Path, bias: Product, dark: Product, tables: dict[str, str], work: Path) -> Reduction:  # noqa: ARG001
    from refstis.stages import BiasCorrStep, BlevCorrStep, DarkCorrStep, DqiCorrStep

    result = Reduction(raw.name, bias.name, dark.name, "refstis")
    overrides = {f"override_{kind}": path for kind, path in tables.items()}
    files = {"override_biasfile": str(bias.path), "override_darkfile": str(dark.path)}
    exposure: Any = str(raw)
    before: Any = None
    for step, stage in zip(STEPS, (DqiCorrStep, BlevCorrStep, BiasCorrStep, DarkCorrStep), strict=True):
        wanted = {f"override_{kind}" for kind in stage.reference_file_types}
        try:
            exposure = stage(**{k: v for k, v in {**overrides, **files}.items() if k in wanted}).process(
                exposure
            )
        except (RefstisError, ValueError, ArithmeticError, LookupError, TypeError) as error:
            result.step, result.error = step, str(error)
            return result
        if step == "blevcorr":
            before = exposure
    result.imsets = len(exposure.imsets)
    _judge(result, dark, [imset.sci[:] for imset in before.imsets], [i.sci[:] for i in exposure.imsets], [
        i.err[:] for i in exposure.imsets
    ])  # fmt: skip
    return result


def _judge(
    result: Reduction,
    dark: Product,
    before: Sequence[np.ndarray],
    after: Sequence[np.ndarray],
    errors: Sequence[np.ndarray],
) -> None:
    """Figures of a calibrated exposure, and what they must fulfil."""
    bad = sum(
        int(np.count_nonzero(~(np.isfinite(a) & np.isfinite(e)))) for a, e in zip(after, errors, strict=True)
    )
    if bad:
        result.step, result.error = "darkcorr", f"{bad} pixels of the result are not finite numbers"
        return
    # binned exposures add up pixels, so their hot pixels are not those of the superdark
    fits = after[0].shape == np.shape(dark.sci)
    hot = np.asarray(dark.sci) > HOT if fits else np.zeros(after[0].shape, dtype=bool)
    steady = hot & (np.asarray(dark.sci) < 8.0) if fits else hot
    pulls = np.concatenate(
        [(a / np.where(e > 0, e, np.inf))[steady] for a, e in zip(after, errors, strict=True)]
    )
    rest = np.concatenate([a[~hot] for a in after])
    result.figures = {
        "before": float(np.median(np.concatenate([b[~hot] for b in before]))),
        "after": float(np.median(rest)),
        "scatter": _robust(rest),
        "error": float(np.median(np.concatenate([e.ravel() for e in errors]))),
    }
    if steady.any():
        result.figures |= {
            "hot_before": float(np.median(np.concatenate([b[steady] for b in before]))),
            "hot_after": float(np.median(np.concatenate([a[steady] for a in after]))),
            "hot_scatter": _robust(pulls),
        }
    if abs(result.figures["after"]) >= abs(result.figures["before"]):
        result.step = "darkcorr"
        result.error = (
            f"the median is {result.figures['after']:.3g} DN with superbias and superdark subtracted, "
            f"{result.figures['before']:.3g} DN before; it should come closer to 0"
        )


def _robust(values: np.ndarray) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if values.size else float("nan")


# ---------------------------------------------------------------------------- CALSTIS


def _reduce_calstis(raw: Path, bias: Product, dark: Product, tables: dict[str, str], work: Path) -> Reduction:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of modules that stistools imports and this does not use
        from stistools.calstis import calstis

    result = Reduction(raw.name, bias.name, dark.name, "calstis")
    folder = Path(tempfile.mkdtemp(prefix="run", dir=work))
    names = {"BIASFILE": bias.name, "DARKFILE": dark.name}
    for product in (bias, dark):
        shutil.copy(product.path, folder / product.name)
    copies = []
    wavecal = raw.with_name(raw.name.replace("_raw", "_wav"))
    for original in (raw, wavecal):
        if original.is_file():
            copies.append(str(folder / original.name))
            _copy_for_calstis(original, folder, names, tables)
    log = folder / "calstis.log"
    second = copies[1] if len(copies) > 1 else ""
    status = calstis(copies[0], wavecal=second, outroot=f"{folder}/", trailer=str(log))
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    made = sorted(
        path for path in folder.glob("*.fits") if path.name not in {*names.values(), raw.name, wavecal.name}
    )
    result.products = [path.name for path in made]
    images = [path for path in made if path.name.endswith(("_flt.fits", "_crj.fits"))]
    if status or not images:
        step = next(
            (line.split()[0] for line in reversed(lines) if line[:8].isupper() and "CORR" in line), "calstis"
        )
        result.step = step.lower()
        result.error = f"{PROGRAM} failed (status {status}): {' | '.join(lines[-3:]) or 'no output'}"
        return result
    _judge_calstis(result, raw, images, dark, tables)
    return result


def _copy_for_calstis(original: Path, folder: Path, names: dict[str, str], tables: dict[str, str]) -> None:
    """An exposure that names the new files; a simulated one has no tables for what comes after DARKCORR."""
    from astropy.io import fits

    with fits.open(original, memmap=False, do_not_scale_image_data=True) as hdus:
        header = hdus[0].header
        for key, name in names.items():
            header[key] = (str(folder / name), "")
        for kind, path in tables.items():
            header[kind.upper()] = (path, "")
        for key in BEYOND_DARKCORR if tables else ():
            if key in header:
                header[key] = "OMIT"
        hdus.writeto(folder / original.name)


def _judge_calstis(
    result: Reduction, raw: Path, images: Sequence[Path], dark: Product, tables: dict[str, str]
) -> None:
    from refstis.datamodels.exposure import Exposure
    from refstis.stages import BlevCorrStep, DqiCorrStep

    done = Exposure.open(next((path for path in images if path.name.endswith("_flt.fits")), images[0]))
    overrides = {f"override_{kind}": path for kind, path in tables.items()}
    overscan = {key: value for key, value in overrides.items() if key == "override_ccdtab"}
    try:
        before = BlevCorrStep(**overscan).process(DqiCorrStep(**overrides).process(str(raw)))
    except RefstisError as error:
        result.step, result.error = "blevcorr", str(error)
        return
    result.imsets = len(done.imsets)
    _judge(
        result,
        dark,
        [imset.sci[:] for imset in before.imsets],
        [imset.sci[:] for imset in done.imsets],
        [imset.err[:] for imset in done.imsets],
    )


# ---------------------------------------------------------------------------- the simulated suite


def _simulated_suite(
    folder: Path, biases: Sequence[Product], darks: Sequence[Product]
) -> tuple[list[Path], dict[str, str]]:
    """A dark and a blank science exposure in each mode that there is a superbias of, and their tables."""
    from refstis.simulation.raws import Exposure, write_raw
    from refstis.simulation.readout import Readout
    from refstis.simulation.references import write_references

    first = darks[0]
    size = "small" if np.shape(first.sci) != (1024, 1024) else "full"
    patterns: dict[Readout, np.ndarray] = {}
    for bias in biases:
        binning = (bias.number("BINAXIS1") or 1, bias.number("BINAXIS2") or 1)
        small = size == "small"
        if (
            (small and binning != (4, 4))
            or bias.text("CCDAMP") not in tuple("ABCD")
            or bias.gain not in (1, 4)
        ):
            continue
        readout = Readout(bias.text("CCDAMP"), bias.gain, (1, 1) if small else binning, size)
        patterns.setdefault(readout, np.asarray(bias.sci, dtype=np.float32))
    detector = _described_detector(first, patterns, size)
    folder.mkdir(parents=True)
    raws = []
    begin = detector.begin + 0.5
    for number, readout in enumerate(patterns):
        for kind, target, exptime, imsets in (
            ("dark", "DARK", 1100.0, 1),
            ("science", "BLANK-SKY", 600.0, 2),
        ):
            names = tuple(f"otst{number:02d}{kind[0]}{i}q" for i in range(imsets))
            exposure = Exposure(
                rootname=names[0],
                kind=kind,
                readout=readout,
                starts=tuple(begin + 0.1 * number + 0.02 * i for i in range(imsets)),
                exptime=exptime,
                expnames=names,
                proposal=detector.figures["programmes"]["science"],
                visit=f"{number:02d}",
                title="Regression of reference files",
                target=target,
            )
            frames = (
                detector.expose(name, start, exptime, readout, in_visit=i)
                for i, (name, start) in enumerate(zip(exposure.expnames, exposure.starts, strict=True))
            )
            raws.append(write_raw(folder, exposure, frames, detector.figures))
    oref = write_references(folder / "oref", detector)
    return raws, {"ccdtab": str(next(oref.glob("*_ccd.fits"))), "bpixtab": str(next(oref.glob("*_bpx.fits")))}


def _described_detector(dark: Product, patterns: dict, size: str):
    """The chip whose dark rate and fixed structure are those of reference files."""
    from refstis.simulation.detector import Detector, parameters

    epochs = sorted(parameters()["epochs"])
    year = dark.begin.year if dark.begin else epochs[-1]
    epoch = max((known for known in epochs if known <= year), default=epochs[0])
    nobody: dict[str, Any] = {
        key: np.zeros(0, dtype="i4" if key in "xy" else "f8")
        for key in ("y", "x", "rate", "slope", "born", "healed", "swing", "days", "phase", "charge")
    }

    class Described(Detector):
        """No spurious charge and no hot columns of its own: the superbias has them."""

        def pattern(self, readout):
            frame = np.zeros(readout.shape, dtype=np.float32)
            frame[readout.trim] = patterns[readout]
            return frame

        def mean_charge(self, readout, mjd, exptime, temperature, scene=None):  # noqa: ARG002
            charge = np.zeros((readout.shape[0] * readout.bins[1], self.sensor[1]), dtype=np.float32)
            first = readout.offset[1]
            # the temperature is known as well as the header tells it, and so is the law
            factor = 1.0 + 0.07 * (self.header_temperature(temperature) - 18.0) if self.side == 2 else 1.0
            charge[first : first + self.sensor[0]] = self.base * np.float32(exptime * factor)
            return charge

    chip = Detector(0, epoch, size)
    base = np.zeros(chip.sensor, dtype=np.float32)
    rate = np.clip(np.nan_to_num(np.asarray(dark.sci, dtype=np.float32)), 0.0, None)
    base[: rate.shape[0], : rate.shape[1]] = rate
    return Described(0, epoch, size, begin=dark.mjd, tables={"base": base, "hot": nobody, "columns": nobody})


def failures(results: Iterable[Reduction]) -> list[str]:
    """Failures as lines that name file and step.

    Parameters
    ----------
    results : iterable of Reduction
        Of a regression.

    Returns
    -------
    list of str
        Empty where all passed.
    """
    return [
        f"{one.exposure} with {one.bias or 'no superbias'} and {one.dark}: {one.step}: {one.error}"
        for one in results
        if not one.passed
    ]
