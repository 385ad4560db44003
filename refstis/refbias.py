"""Superbiases of a week or two: all frames combined."""

from __future__ import annotations

from collections.abc import Sequence

from refstis.functions import Name, make_product, update_in_place

__all__ = ["flag_hot_pixels", "make_refbias"]


def flag_hot_pixels(refbias_name: Name) -> None:
    """Flag the pixels of a superbias that stand out of their surroundings (DQ 16), in place.

    Hot is what exceeds a running median of 3 rows by 15 columns by the clipped mean plus 5 standard deviations of that
    residual.

    Parameters
    ----------
    refbias_name : str
        Superbias (DN).
    """
    from refstis.stages import FlagHotBiasStep

    update_in_place(refbias_name, FlagHotBiasStep().process)


def make_refbias(input_list: Sequence[Name], refbias_name: Name = "refbias.fits") -> None:
    """Make a superbias of all frames of its inputs.

    The frames are combined with rejection of cosmic rays, divided by their number, and hot pixels flagged. A log
    ``<output>_joined_crreject_log.txt`` lies beside the product. The inputs stay as they are.

    Parameters
    ----------
    input_list : list of str
        Biases of one mode.
    refbias_name : str
        File to write.

    Raises
    ------
    InputError
        Where an input cannot be used; names it.
    """
    from refstis.pipelines import RefBiasPipeline

    make_product(RefBiasPipeline, input_list, refbias_name, "_joined_crreject_log.txt")
