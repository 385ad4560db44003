"""Baseline superdarks: all darks of an anneal month."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from refstis.datamodels.exposure import Exposure
from refstis.functions import Name, make_product, superbias_override, update_in_place

__all__ = ["find_hotpix", "make_basedark", "update_sci"]


def find_hotpix(filename: Name) -> None:
    """Flag hot pixels of a baseline dark (DQ 16), in place.

    Hot is what exceeds the clipped median by 5 standard deviations and the clipped mean by 0.1 e-/s.

    Parameters
    ----------
    filename : str
        Baseline dark (e-/s).
    """
    from refstis.calibration.superdark import above_median

    _flag(filename, above_median)


def update_sci(filename: Name) -> None:
    """Flag pixels of a baseline dark whose excess is large (DQ 16), in place.

    Large is what exceeds the clipped mean by 5 standard deviations and by 0.1 e-/s. SCI stays as it is.

    Parameters
    ----------
    filename : str
        Baseline dark (e-/s).
    """
    from refstis.calibration.superdark import above_mean

    _flag(filename, above_mean)


def _flag(filename: Name, is_hot: Callable[[np.ndarray], np.ndarray]) -> None:
    from refstis.calibration.superbias import HOT_PIXEL
    from refstis.datamodels.pixels import Pixels

    def change(dark: Exposure) -> Exposure:
        first, *others = dark.imsets
        dq = np.where(is_hot(first.sci[:]), np.int16(HOT_PIXEL), first.dq[:])
        return dark.changed(imsets=[first.with_pixels(dq=Pixels.of(dq)), *others])

    update_in_place(filename, change)


def make_basedark(
    input_list: Sequence[Name], refdark_name: Name = "basedark.fits", bias_file: Name | bool | None = None
) -> None:
    """Make the baseline superdark of an anneal month.

    Bias subtraction (where it is not done), temperature scaling, combination with rejection of cosmic rays,
    normalization to e-/s and flags of hot pixels. A log ``<output>_joined_bd_calstis_log.txt`` lies beside the
    product. The inputs stay as they are.

    Parameters
    ----------
    input_list : list of str
        The month's darks, raw or bias-subtracted.
    refdark_name : str
        File to write.
    bias_file : str, optional
        Superbias to subtract from raw darks; by default the one that their headers name.

    Raises
    ------
    InputError, ReferenceFileError
        Where an input or a reference file cannot be used; names it.
    """
    from refstis.pipelines import BaseDarkPipeline

    make_product(
        BaseDarkPipeline,
        input_list,
        refdark_name,
        "_joined_bd_calstis_log.txt",
        superbias_override(bias_file),
    )
