"""Weekly superbiases of few exposures: the week's hot columns on the month's baseline bias."""

from __future__ import annotations

from collections.abc import Sequence

from refstis.functions import Name, make_product, reference_path

__all__ = ["make_weekbias"]


def make_weekbias(input_list: Sequence[Name], refbias_name: Name, basebias: Name) -> None:
    """Make a weekly superbias.

    The week's biases are combined with rejection of cosmic rays, and their hot columns added to the baseline bias.
    A log ``<output>_joined_crreject_log.txt`` lies beside the product. The inputs stay as they are.

    Parameters
    ----------
    input_list : list of str
        The week's biases.
    refbias_name : str
        File to write.
    basebias : str
        The month's baseline bias.

    Raises
    ------
    InputError, ReferenceFileError
        Where an input or the baseline bias cannot be used; names it.
    """
    from refstis.pipelines import WeekBiasPipeline

    steps = {"add_hot_columns": {"override_basebias": reference_path(basebias)}}
    make_product(WeekBiasPipeline, input_list, refbias_name, "_joined_crreject_log.txt", steps)
