"""Baseline superbiases: the biases of an anneal month, each file combined alone, then averaged."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refstis.datamodels.exposure import Exposure
from refstis.functions import Name, make_product, reject_biases, renamed, update_in_place

__all__ = ["average_biases", "calibrate", "make_basebias", "replace_hot_cols", "replace_hot_pix"]

logger = logging.getLogger(__name__)


def average_biases(bias_list: Sequence[Name]) -> tuple[str, float]:
    """Average combined biases, each frame with the same weight.

    Parameters
    ----------
    bias_list : list of str
        Biases after cosmic-ray rejection, as `calibrate` writes them.

    Returns
    -------
    mean_file : str
        The average, ``mean.fits`` beside the first bias.
    totalweight : float
        Number of frames: the sum of NCOMBINE.

    Raises
    ------
    InputError
        Where a bias holds more than one image set, or fewer than two frames were combined in it.
    """
    from refstis.stages import AverageStep

    mean = AverageStep().process([os.fspath(bias) for bias in bias_list])
    return mean.save(Path(bias_list[0]).with_name("mean.fits")), float(mean.ncombine)


def calibrate(input_file: Name) -> str | None:
    """Combine the frames of one bias file.

    Parameters
    ----------
    input_file : str
        Bias; it stays as it is.

    Returns
    -------
    str or None
        Name of the sum of its frames without overscan and cosmic rays, ``<input>_crj.fits``. None where the file holds
        a single image set, in which cosmic rays cannot be found, unless CRCORR is COMPLETE.
    """
    bias = Exposure.open(input_file)
    if len(bias.imsets) == 1 and not bias.done("CRCORR"):
        logger.warning("%s: left out, as cosmic rays cannot be found in a single image set.", input_file)
        return None
    return reject_biases(bias).save(renamed(input_file, "_crj.fits"))


def replace_hot_cols(
    mean_bias: Name, median_image: np.ndarray, residual_image: np.ndarray, yfrac: float = 1
) -> None:
    """Replace hot columns of a superbias by its running median, in place.

    Hot is a column whose mean residual exceeds the clipped mean of all columns by 3 standard deviations.

    Parameters
    ----------
    mean_bias : str
        Superbias (DN).
    median_image, residual_image : numpy.ndarray
        As `refstis.functions.make_residual` gives them, y by x.
    yfrac : float
        Fraction of the rows, from the bottom, that columns are judged by.
    """
    from refstis.calibration.superbias import replace_hot_columns

    _replace(mean_bias, lambda sci: replace_hot_columns(sci, residual_image, median_image, (yfrac,)))


def replace_hot_pix(mean_bias: Name, median_image: np.ndarray) -> None:
    """Replace single hot pixels of a superbias by its running median, in place.

    Hot is a pixel whose residual exceeds the clipped mean residual by 5 standard deviations.

    Parameters
    ----------
    mean_bias : str
        Superbias (DN).
    median_image : numpy.ndarray
        As `refstis.functions.make_residual` gives it, y by x.
    """
    from refstis.calibration.superbias import replace_hot_pixels

    _replace(mean_bias, lambda sci: replace_hot_pixels(sci, median_image))


def _replace(filename, new_pixels):
    from refstis.datamodels.pixels import Pixels

    def change(bias: Exposure) -> Exposure:
        first, *others = bias.imsets
        sci = new_pixels(np.asarray(first.sci, dtype=np.float32)).astype(np.float32)
        return bias.changed(imsets=[first.with_pixels(sci=Pixels.of(sci)), *others])

    update_in_place(filename, change)


def make_basebias(input_list: Sequence[Name], refbias_name: Name = "basebias.fits") -> None:
    """Make the baseline superbias of an anneal month.

    Each file is combined alone, the combinations are averaged, and hot columns and pixels replaced by a running median.
    Files of a single image set are left out. The inputs stay as they are.

    Parameters
    ----------
    input_list : list of str
        The month's biases of one mode.
    refbias_name : str
        File to write.

    Raises
    ------
    InputError
        Where an input cannot be used; names it.
    """
    from refstis.pipelines import BaseBiasPipeline

    make_product(BaseBiasPipeline, input_list, refbias_name)
