"""What can be measured in a reference file, alone and against an earlier one."""

from __future__ import annotations

import numpy as np

from refstis.delivery.products import Product

__all__ = ["column_profile", "compare", "deviations", "measure", "row_profile"]

HOT_PIXEL = 16
CHIP = 1024 * 1024
# Rates above which hot pixels are counted (e-/s), as the anneal monitor counts them.
HOT_RATES = (0.1, 1.0, 10.0)
# Deviation, in standard deviations of both files, from which a pixel counts as changed.
CHANGED = 6.0
_MAD = 1.4826022185056018
_BELOW = 1e-30


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else float("nan")


def _robust(values: np.ndarray) -> float:
    """Standard deviation from the median absolute deviation."""
    return _MAD * _median(np.abs(values - _median(values)))


def row_profile(image: np.ndarray) -> np.ndarray:
    """Median of every row.

    Parameters
    ----------
    image : numpy.ndarray
        Two-dimensional.

    Returns
    -------
    numpy.ndarray
        One value for each row.
    """
    return np.median(image, axis=1)


def column_profile(image: np.ndarray) -> np.ndarray:
    """Median of every column.

    Parameters
    ----------
    image : numpy.ndarray
        Two-dimensional.

    Returns
    -------
    numpy.ndarray
        One value for each column.
    """
    return np.median(image, axis=0)


def _residual(profile: np.ndarray, width: int) -> np.ndarray:
    """A profile without its slow variation."""
    from scipy.ndimage import median_filter

    return profile - median_filter(profile, width, mode="nearest")


def _stuck(image: np.ndarray) -> int:
    """Rows and columns of which three quarters have one and the same value."""
    number = 0
    for axis in (0, 1):
        middle = np.median(image, axis=axis, keepdims=True)
        number += int(np.count_nonzero((image == middle).mean(axis=axis) > 0.75))
    return number


def _errors_above_values(sci: np.ndarray, err: np.ndarray) -> float:
    """Part of the pixels whose ERR is beyond the value and far beyond the typical ERR: not one in a sound file."""
    typical = _median(err[err > 0]) if (err > 0).any() else 0.0
    return float(np.mean((err > 10.0 * typical) & (err > np.abs(sci))))


def measure(product: Product) -> dict[str, float]:
    """Figures of a reference file.

    Parameters
    ----------
    product : Product
        With images.

    Returns
    -------
    dict
        Value by name; the names are those of ``config/limits.yaml``, where each is explained.
    """
    sci, err, dq = (np.asarray(image) for image in (product.sci, product.err, product.dq))
    sound = np.isfinite(sci) & np.isfinite(err)
    figures: dict[str, float] = {
        "frames": float(product.frames),
        "not_finite": float(np.count_nonzero(~sound)),
        "negative_errors": float(np.count_nonzero(err < 0)),
        "without_error": float(np.mean(err == 0)),
        "errors_above_values": _errors_above_values(sci, err),
        "stuck": float(_stuck(np.where(np.isfinite(sci), sci, 0.0))),
        "flagged_hot": float(np.mean((dq & HOT_PIXEL) != 0)),
        "other_flags": float(np.mean((dq & ~HOT_PIXEL) != 0)),
    }
    if not sound.any():
        return figures
    value = sci.astype(np.float64)
    value[~sound] = _median(value[sound])
    error = err.astype(np.float64)
    rows, columns = row_profile(value), column_profile(value)
    # Neighbours along a column share its offset, so their difference is noise alone.
    noise = _robust(np.diff(value, axis=0)) / np.sqrt(2.0)
    figures |= {
        "level": _median(value),
        "scatter": _robust(value),
        "noise": noise,
        "error": _median(error[sound & (error > 0)]),
        "rows_tilt": _tilt(rows),
        "columns_tilt": _tilt(columns),
        "rows_rms": _robust(_residual(rows, 31)),
        "columns_rms": _robust(_residual(columns, 31)),
    }
    if product.kind == "bias":
        figures["noise_over_error"] = noise / max(figures["error"], _BELOW)
        figures["outlying_columns"] = float(np.count_nonzero(np.abs(_residual(columns, 31)) > 2.0))
    elif product.kind == "dark":
        figures |= _measure_dark(product, value, error, dq, sound)
    return figures


def _tilt(profile: np.ndarray) -> float:
    """Change of a profile from one end to the other, from the medians of its outer quarters."""
    quarter = max(profile.size // 4, 1)
    return (_median(profile[-quarter:]) - _median(profile[:quarter])) * 4.0 / 3.0


def _measure_dark(product, value, error, dq, sound) -> dict[str, float]:
    size = value.size
    figures = {
        f"hot_above_{rate:g}": float(np.count_nonzero(value > rate)) * CHIP / size for rate in HOT_RATES
    }
    bright = value > 0.5
    figures["hot_unflagged"] = float(np.mean((dq[bright] & HOT_PIXEL) == 0)) if bright.any() else 0.0
    figures["tilt_relative"] = ratio(_tilt(row_profile(value)), _median(value))
    figures["columns_relative"] = ratio(
        float(np.count_nonzero(np.abs(_residual(column_profile(value), 31)) > 0.3 * abs(_median(value)))), 1.0
    )
    # Photon noise: beyond the read noise, ERR^2 grows with the rate by 1 / (total exposure time). Pixels that
    # saturate within an exposure do not follow, and mild ones are ruled by read noise.
    hot = sound & (value > 0.3) & (value < 8.0) & (error > 0)
    time = product.exposure_time or 1100.0 * product.frames
    if hot.sum() >= 20 and time > 0:
        floor = _median(error[sound & (error > 0)]) ** 2
        implied = (value[hot] - _median(value)) / np.maximum(error[hot] ** 2 - floor, _BELOW)
        figures["error_over_photons"] = float(np.sqrt(time / max(_median(implied), _BELOW)))
    return figures


def ratio(a: float, b: float) -> float:
    """Ratio of two figures; infinite where the second is 0.

    Parameters
    ----------
    a, b : float
        Any numbers.

    Returns
    -------
    float
        ``a / b``.
    """
    return a / b if b else float("inf")


def deviations(product: Product, earlier: Product) -> np.ndarray:
    """Difference of two reference files in standard deviations.

    Parameters
    ----------
    product, earlier : Product
        Of one mode.

    Returns
    -------
    numpy.ndarray
        float64, shape of the images; 0 where a pixel is not finite in either.
    """
    value, before = (np.asarray(p.sci, dtype=np.float64) for p in (product, earlier))
    variance = np.asarray(product.err, dtype=np.float64) ** 2 + np.asarray(earlier.err, dtype=np.float64) ** 2
    typical = _median(variance[np.isfinite(variance)])
    with np.errstate(invalid="ignore", over="ignore"):
        deviation = (value - before) / np.sqrt(np.where(variance > 0, variance, max(typical, _BELOW)))
    return np.nan_to_num(deviation, nan=0.0, posinf=0.0, neginf=0.0)


def compare(product: Product, earlier: Product) -> dict[str, float]:
    """Figures of a reference file against an earlier one of the same mode.

    Parameters
    ----------
    product, earlier : Product
        With images of one size.

    Returns
    -------
    dict
        Value by name; the names are those of ``config/limits.yaml``.
    """
    value, before = (np.asarray(p.sci, dtype=np.float64) for p in (product, earlier))
    both = np.isfinite(value) & np.isfinite(before)
    value, before = np.where(both, value, 0.0), np.where(both, before, 0.0)
    same = bool(np.array_equal(np.asarray(product.sci), np.asarray(earlier.sci)))
    figures = {
        "identical": float(same),
        "changed": float(np.mean(np.abs(deviations(product, earlier)) > CHANGED)),
        "error_change": _error_change(product, earlier),
    }
    if product.kind == "bias":
        new = _residual(column_profile(value - before), 31)
        figures["level_change"] = _median(value) - _median(before)
        figures["tilt_change"] = _tilt(row_profile(value)) - _tilt(row_profile(before))
        figures["new_columns"] = float(np.count_nonzero(np.abs(new) > 2.0))
        figures["largest_column"] = float(np.abs(new).max())
        figures["rows_change"] = float(np.abs(_residual(row_profile(value - before), 31)).max())
    elif product.kind == "dark":
        figures["level_ratio"] = ratio(_median(value), _median(before))
        figures["tilt_change"] = ratio(
            _tilt(row_profile(value)) - _tilt(row_profile(before)), abs(_median(before))
        )
        figures["hot_growth"] = ratio(
            float(np.count_nonzero(value > 0.1)), float(np.count_nonzero(before > 0.1))
        )
        hot = (before > 0.3) & (before < 8.0)
        figures["hot_lost"] = float(np.mean(value[hot] < 0.1)) if hot.any() else 0.0
        common = hot & (value > 0.1)
        figures["hot_scale"] = _median(value[common] / before[common]) if common.sum() >= 20 else 1.0
        profile = _residual(column_profile(value - before), 31)
        figures["new_columns"] = float(np.count_nonzero(np.abs(profile) > 0.3 * abs(_median(before))))
        figures["largest_column"] = ratio(float(np.abs(profile).max()), abs(_median(before)))
        profile = _residual(row_profile(value - before), 31)
        figures["rows_change"] = ratio(float(np.abs(profile).max()), abs(_median(before)))
    return figures


def _error_change(product: Product, earlier: Product) -> float:
    """Ratio of the typical ERR."""
    now, before = (np.asarray(p.err, dtype=np.float64) for p in (product, earlier))
    return ratio(_median(now[now > 0]), _median(before[before > 0]))
