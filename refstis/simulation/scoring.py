"""How close a product, or a single frame, comes to the truth of the simulation that it was made from."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from refstis.errors import InputError
from refstis.simulation.detector import parameters
from refstis.simulation.kernels import bleed
from refstis.simulation.readout import Readout
from refstis.simulation.truth import Truth

__all__ = ["Comparison", "compare", "score"]

_HOT_PIXEL = 16
_REJECTED = 8192
# Rates that bound the bins in which hot-pixel flags are judged (electrons/s).
RATE_EDGES = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5, 1.0, 10.0, 1000.0)
# Charges that bound the bins in which cosmic-ray rejection is judged (standard deviations of the pixel).
SIGNIFICANCE_EDGES = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 100.0, 1.0e6)


@dataclass
class _Image:
    """What is read of a product."""

    name: str
    kind: str
    sci: np.ndarray
    err: np.ndarray
    dq: np.ndarray
    inputs: list[str]
    single: bool
    scaled: bool
    exptime: float
    expname: str
    exact_at: float
    law: float


@dataclass
class Comparison:
    """Figures of a comparison, and the images behind them.

    Attributes
    ----------
    figures : dict
        What `score` returns.
    value, error, truth, limit : numpy.ndarray
        Image of the product, its reported uncertainty, the truth, and the smallest possible standard
        deviation of each pixel.
    flagged : numpy.ndarray
        Pixels that the product flags as hot.
    ordinary : numpy.ndarray
        Pixels that are neither hot nor in a hot column.
    """

    figures: dict[str, Any]
    value: np.ndarray = field(repr=False)
    error: np.ndarray = field(repr=False)
    truth: np.ndarray = field(repr=False)
    limit: np.ndarray = field(repr=False)
    flagged: np.ndarray = field(repr=False)
    ordinary: np.ndarray = field(repr=False)


def _listed_inputs(header: Any) -> list[str]:
    """Names in the HISTORY block of input files."""
    names: list[str] = []
    started = False
    for line in header.get("HISTORY", []):
        text = str(line).strip()
        if started:
            if not text:
                break
            names.append(text)
        started = started or text.startswith("The following input files were used")
    return names


def _read(path: Path) -> _Image:
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            primary = hdus[0].header
            sci = hdus["SCI", 1]
            if sci.data is None:
                raise InputError(f"{path}: SCI has no pixels; give a product or a calibrated image")
            planes = {}
            for name in ("ERR", "DQ"):
                data = hdus[name, 1].data if (name, 1) in hdus else None
                planes[name] = np.zeros(sci.data.shape) if data is None else np.asarray(data)
            filetype = str(primary.get("FILETYPE", "")).strip()
            target = str(primary.get("TARGNAME", "")).strip()
            kinds = {"CCD BIAS IMAGE": "bias", "DARK IMAGE": "dark"}
            single = filetype not in kinds
            kind = kinds.get(filetype, {"BIAS": "bias", "DARK": "dark"}.get(target, ""))
            inputs = _listed_inputs(primary)
            if single and not inputs:
                inputs = [str(primary.get("ROOTNAME", path.name))]
            return _Image(
                name=path.name,
                kind=kind,
                sci=np.asarray(sci.data, dtype=np.float64),
                err=np.asarray(planes["ERR"], dtype=np.float64),
                dq=np.asarray(planes["DQ"]).astype(np.int64),
                inputs=inputs,
                single=single,
                scaled=str(primary.get("TEMPCORR", "")).strip() == "COMPLETE",
                exptime=float(sci.header.get("EXPTIME", 0.0)),
                expname=str(sci.header.get("EXPNAME", "")).strip()
                if sci.header.get("NCOMBINE", 1) == 1
                else "",
                exact_at=float(primary.get("EXACT_AT", 18.0)),
                law=float(primary.get("DRK_VS_T", 0.07)),
            )
    except (OSError, KeyError) as error:
        raise InputError(
            f"{path}: cannot be read as a product ({error}); give FITS with SCI, ERR and DQ"
        ) from error


def _spread(values: np.ndarray) -> float:
    """Standard deviation of the core: from the median absolute deviation."""
    return float(1.482602218505602 * np.median(np.abs(values - np.median(values))))


def _ratio(value: float, limit: float) -> float:
    return value / limit if limit > 0.0 else float("nan")


def _error_figures(error: np.ndarray, limit: np.ndarray) -> dict[str, Any]:
    """Figures of the errors of some pixels; `limit` is each pixel's smallest standard deviation."""
    if error.size == 0:
        return {"pixels": 0}
    rms = float(np.sqrt(np.mean(error**2)))
    best = float(np.sqrt(np.mean(limit**2)))
    spread = _spread(error)
    typical = float(np.median(limit))
    return {
        "pixels": int(error.size),
        "mean": float(error.mean()),
        "mean_limit": best / error.size**0.5,
        "median": float(np.median(error)),
        "rms": rms,
        "rms_limit": best,
        "rms_ratio": _ratio(rms, best),
        "robust_rms": spread,
        "robust_rms_limit": typical,
        "robust_rms_ratio": _ratio(spread, typical),
        "largest": float(np.abs(error).max()),
        "largest_limit": float(typical * np.sqrt(2.0 * np.log(max(error.size, 2)))),
    }


def _pull_figures(error: np.ndarray, sigma: np.ndarray) -> dict[str, Any]:
    known = sigma > 0.0
    if not known.any():
        return {"pixels": 0}
    pull = error[known] / sigma[known]
    return {
        "pixels": int(known.sum()),
        "without_error": int((~known).sum()),
        "mean": float(pull.mean()),
        "standard_deviation": float(pull.std()),
        "standard_deviation_limit": 1.0,
        "robust_standard_deviation": _spread(pull),
        "beyond_5": float(np.mean(np.abs(pull) > 5.0)),
        "beyond_5_limit": 5.7e-7,
    }


def _column_figures(error: np.ndarray, limit: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    count = chosen.sum(axis=0)
    use = count > 0.2 * chosen.shape[0]
    mean = np.where(chosen, error, 0.0).sum(axis=0)[use] / count[use]
    best = np.sqrt(np.where(chosen, limit**2, 0.0).sum(axis=0)[use]) / count[use]
    if mean.size == 0:
        return {"columns": 0}
    # The mean error of all pixels has a figure of its own.
    mean -= mean.mean()
    return {
        "columns": int(use.sum()),
        "rms": float(np.sqrt(np.mean(mean**2))),
        "rms_limit": float(np.sqrt(np.mean(best**2))),
        "largest": float(np.abs(mean).max()),
        "tilt": float(np.polyfit(np.flatnonzero(use), mean, 1)[0] * error.shape[1]),
    }


def _bias(
    image: _Image, truth: Truth, frames: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
    readout = truth.readout(int(frames[0]))
    gain = parameters()["detector"]["gain"][readout.gain]
    charge = np.mean([truth.charge(int(frame)) for frame in frames], axis=0)
    true = truth.pattern(readout) + charge / gain
    noise = truth.detector.noise(readout)
    limit = np.sqrt((noise**2 + charge) / len(frames)) / gain
    # Excess over the usual charge of the row: a pixel is hot from an electron on, a column where many are.
    excess = charge - np.median(charge, axis=1, keepdims=True)
    bright = excess > 1.0
    columns = np.broadcast_to(bright.mean(axis=0) > 0.1, bright.shape) & (excess > 0.5)
    pixels = bright & ~columns
    ordinary = ~(bright | columns)
    error = image.sci - true
    figures = {
        "unit": "DN",
        "ordinary": _error_figures(error[ordinary], limit[ordinary]),
        "columns": _column_figures(error, limit, ordinary),
        "hot_columns": _error_figures(error[columns], limit[columns]),
        "hot_pixels": _error_figures(error[pixels], limit[pixels]),
        "pulls": {
            "ordinary": _pull_figures(error[ordinary], image.err[ordinary]),
            "hot": _pull_figures(error[~ordinary], image.err[~ordinary]),
        },
    }
    return true, limit, ordinary, figures


def _dark(
    image: _Image, truth: Truth, frames: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
    readout = truth.readout(int(frames[0]))
    noise = truth.detector.noise(readout)
    # Where a superdark says at which temperature its scaling is exact, it is compared there.
    true = truth.dark_rate(frames, image.exact_at) / (1.0 + image.law * (image.exact_at - 18.0))
    # The best estimate of a rate weights each frame with its variance: photons and read noise.
    information, fullest = np.zeros_like(true), np.zeros_like(true)
    for frame in frames:
        seconds = truth.frames["exptime"][frame] * truth.detector.base_factor(
            float(truth.frames["temperature"][frame])
        )
        charge = truth.charge(int(frame))
        np.maximum(fullest, charge, out=fullest)
        information += seconds**2 / (charge + noise**2)
    limit = 1.0 / np.sqrt(information)
    value = image.sci
    if image.single:
        value = _rate_of_counts(image, truth, frames)
    error = value - true
    usual = float(np.median(truth.detector.base)) * readout.bins[0] * readout.bins[1]
    saturated = _saturated(fullest, truth, readout)
    ordinary = (true < 2.0 * usual) & ~saturated
    hot = (true >= 0.1) & ~saturated
    warm = ~(ordinary | hot | saturated)
    figures = {
        "unit": "electrons/s at 18 C",
        "true_median": float(np.median(true[ordinary])),
        "ordinary": _error_figures(error[ordinary], limit[ordinary]),
        "warm": _error_figures(error[warm], limit[warm]),
        "hot": _error_figures(error[hot], limit[hot])
        | {"relative_bias": float(np.median(error[hot] / true[hot])) if hot.any() else 0.0},
        "columns": _column_figures(error, limit, ordinary),
        "pulls": {
            "ordinary": _pull_figures(error[ordinary], image.err[ordinary]),
            "hot": _pull_figures(error[hot], image.err[hot]),
        },
        "saturated": int(saturated.sum()),
        "flags": _flag_figures(true, (image.dq & _HOT_PIXEL) != 0),
    }
    return true, limit, ordinary, figures


def _saturated(charge: np.ndarray, truth: Truth, readout: Readout) -> np.ndarray:
    """Pixels above the saturation of the CCDTAB, and those into which full wells bleed."""
    detector = parameters()["detector"]
    spilled = charge.astype(np.float32)
    bleed(spilled, detector["full_well"])
    level = truth.detector.typical_level(readout)
    full = charge / detector["gain"][readout.gain] + level > detector["saturate"][readout.gain]
    return full | (spilled > charge.astype(np.float32))


def _rate_of_counts(image: _Image, truth: Truth, frames: np.ndarray) -> np.ndarray:
    """Rates at 18 C of a calibrated image in counts; its errors are scaled in place."""
    readout = truth.readout(int(frames[0]))
    if image.exptime <= 0.0:
        raise InputError(f"{image.name}: EXPTIME is {image.exptime}; a dark in counts needs it")
    factor = parameters()["detector"]["gain"][readout.gain] / image.exptime
    if not image.scaled:
        slope = float(
            np.mean([truth.detector.base_factor(float(truth.frames["temperature"][f])) for f in frames])
        )
        factor /= slope
    image.err = image.err * factor
    return image.sci * factor


def _flag_figures(true: np.ndarray, flagged: np.ndarray) -> dict[str, Any]:
    bins = []
    for low, high in pairwise(RATE_EDGES):
        inside = (true >= low) & (true < high)
        number = int(inside.sum())
        bins.append(
            {
                "from": low,
                "to": high,
                "pixels": number,
                "flagged": float(flagged[inside].mean()) if number else None,
            }
        )
    total = int(flagged.sum())
    above, below = true >= 0.12, true < 0.08

    def share(chosen: np.ndarray, within: np.ndarray) -> float | None:
        return float(chosen[within].mean()) if within.any() else None

    return {
        "flagged": total,
        "hot": int((true >= 0.1).sum()),
        "completeness": share(flagged, true >= 0.1),
        "purity": share(true >= 0.1, flagged),
        "completeness_above_0.12": share(flagged, above),
        "false_below_0.08": share(flagged, below),
        "by_rate": bins,
    }


def _rejection(path: Path, truth: Truth) -> dict[str, Any]:
    """How well cosmic rays were found: DQ bit 8192 of the imsets of a file."""
    from astropy.io import fits

    names = {str(name): number for number, name in enumerate(truth.frames["expname"])}
    counts = np.zeros((2, len(SIGNIFICANCE_EDGES) - 1))
    clean = false = imsets = 0
    with fits.open(path, memmap=False) as hdus:
        for hdu in hdus:
            if hdu.name != "DQ" or hdu.data is None:
                continue
            frame = names.get(str(hdu.header.get("EXPNAME", "")).strip())
            if frame is None:
                raise InputError(f"{path}: EXPNAME of DQ,{hdu.ver} is no exposure of this simulation")
            rays = truth.cosmic_rays(frame)
            if rays.shape != hdu.data.shape:
                raise InputError(f"{path}: DQ,{hdu.ver} has {hdu.data.shape}, the truth {rays.shape} pixels")
            noise = truth.detector.noise(truth.readout(frame))
            significance = rays / np.sqrt(noise**2 + truth.charge(frame))
            found = (hdu.data & _REJECTED) != 0
            counts[0] += np.histogram(significance, SIGNIFICANCE_EDGES)[0]
            counts[1] += np.histogram(significance[found], SIGNIFICANCE_EDGES)[0]
            clean += int((rays == 0).sum())
            false += int((found & (rays == 0)).sum())
            imsets += 1
    if not imsets:
        raise InputError(f"{path}: no DQ arrays; give the inputs of the rejection after it wrote its masks")
    strong = slice(SIGNIFICANCE_EDGES.index(5.0), None)
    return {
        "imsets": imsets,
        "completeness_above_5_sigma": float(counts[1][strong].sum() / max(counts[0][strong].sum(), 1)),
        "false_alarms": false / max(clean, 1),
        "by_significance": [
            {"from": low, "to": high, "pixels": int(n), "found": float(m / n) if n else None}
            for (low, high), n, m in zip(pairwise(SIGNIFICANCE_EDGES), *counts, strict=True)
        ],
    }


def compare(
    product: str | os.PathLike[str],
    truth: Truth | str | os.PathLike[str],
    *,
    inputs: Sequence[str] | None = None,
    rejected: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Compare a product with the truth, and keep the images.

    Parameters
    ----------
    product : str or os.PathLike
        Superbias (DN), superdark (electrons/s at 18 C), or one calibrated bias or dark (DN).
    truth : Truth or str or os.PathLike
        Truth of the simulation, or its file.
    inputs : sequence of str, optional
        Exposures that the product is made of; default what its HISTORY says.
    rejected : str or os.PathLike, optional
        File whose DQ arrays hold the masks of the rejection of cosmic rays (bit 8192).

    Returns
    -------
    Comparison
        Figures and images.

    Raises
    ------
    InputError
        If the product cannot be read, does not say what it is made of, or is not of this simulation.
    """
    path = Path(product)
    truth = truth if isinstance(truth, Truth) else Truth.open(truth)
    image = _read(path)
    if image.kind not in ("bias", "dark"):
        raise InputError(f"{path}: neither bias nor dark by its FILETYPE and TARGNAME")
    names = list(inputs or image.inputs)
    if not names:
        raise InputError(f"{path}: its HISTORY names no input files; say which exposures it is made of")
    frames = truth.select(names)
    if image.single and image.expname:
        # One image of an exposure that has several.
        frames = frames[truth.frames["expname"][frames] == image.expname]
        if not frames.size:
            raise InputError(f"{path}: EXPNAME {image.expname} is no exposure of this simulation")
    if len({truth.readout(int(frame)) for frame in frames}) > 1:
        raise InputError(f"{path}: its inputs were read in different modes")
    rows, columns = truth.readout(int(frames[0])).trim
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    if image.sci.shape != shape:
        raise InputError(f"{path}: {image.sci.shape} pixels, the truth of its inputs has {shape}")
    true, limit, ordinary, figures = (_bias if image.kind == "bias" else _dark)(image, truth, frames)
    value = (
        _rate_of_counts(_read(path), truth, frames) if image.single and image.kind == "dark" else image.sci
    )
    result = {
        "product": image.name,
        "kind": image.kind,
        "frames": len(frames),
        "exposures": len(names),
        "epoch": truth.detector.epoch,
        "seed": truth.detector.seed,
        **figures,
    }
    if rejected is not None:
        result["rejection"] = _rejection(Path(rejected), truth)
    flagged = (image.dq & _HOT_PIXEL) != 0
    return Comparison(result, value, image.err, true, limit, flagged, ordinary)


def score(
    product: str | os.PathLike[str],
    truth: Truth | str | os.PathLike[str],
    *,
    inputs: Sequence[str] | None = None,
    rejected: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """How right a product is, beside the best that its exposures allow.

    The limits assume that the bias is known, that no cosmic ray hit, and that photon and read noise are all
    there is.

    Parameters
    ----------
    product : str or os.PathLike
        Superbias (DN), superdark (electrons/s at 18 C), or one calibrated bias or dark (DN).
    truth : Truth or str or os.PathLike
        Truth of the simulation, or its file.
    inputs : sequence of str, optional
        Exposures that the product is made of; default what its HISTORY says.
    rejected : str or os.PathLike, optional
        File whose DQ arrays hold the masks of the rejection of cosmic rays (bit 8192).

    Returns
    -------
    dict
        Numbers and texts only, ready for JSON. ``ordinary`` and the hot classes: error of the value (mean,
        rms, largest) with ``..._limit`` beside; ``columns``; ``pulls``: (value - truth) / ERR; ``flags`` of
        darks: completeness and purity of DQ 16; ``rejection`` where masks were given.

    Raises
    ------
    InputError
        If the product cannot be read, does not say what it is made of, or is not of this simulation.
    """
    return compare(product, truth, inputs=inputs, rejected=rejected).figures
