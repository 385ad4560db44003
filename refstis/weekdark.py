"""Weekly superdarks: the week's hot pixels on the month's baseline dark."""

from __future__ import annotations

from collections.abc import Sequence

from refstis.functions import Name, make_product, reference_path, superbias_override, update_in_place

__all__ = ["create_superdark", "make_weekdark"]


def create_superdark(crj_filename: Name, basedark: Name) -> None:
    """Bring the hot pixels of a week onto a baseline dark, in place.

    Parameters
    ----------
    crj_filename : str
        The week's dark rate (e-/s), which is replaced by the superdark.
    basedark : str
        The month's baseline dark.

    Raises
    ------
    ReferenceFileError
        Where the baseline dark is missing or has another size.
    """
    from refstis.stages import SuperdarkStep

    update_in_place(crj_filename, SuperdarkStep(override_basedark=reference_path(basedark)).process)


def make_weekdark(
    input_list: Sequence[Name], refdark_name: Name, thebasedark: Name, thebiasfile: Name | bool | None = None
) -> None:
    """Make a weekly superdark.

    Bias subtraction (where it is not done), temperature scaling, combination with rejection of cosmic rays,
    normalization to e-/s, and the hot pixels of the week on the baseline dark. A log
    ``<output>_joined_bd_calstis_log.txt`` lies beside the product. The inputs stay as they are.

    Parameters
    ----------
    input_list : list of str
        The week's darks, raw or bias-subtracted.
    refdark_name : str
        File to write.
    thebasedark : str
        The month's baseline dark.
    thebiasfile : str or bool, optional
        Superbias to subtract from raw darks; by default the one that their headers name.

    Raises
    ------
    InputError, ReferenceFileError
        Where an input or a reference file cannot be used; names it.
    """
    from refstis.pipelines import WeekDarkPipeline

    steps = {
        "superdark": {"override_basedark": reference_path(thebasedark)},
        **superbias_override(thebiasfile),
    }
    make_product(WeekDarkPipeline, input_list, refdark_name, "_joined_bd_calstis_log.txt", steps)
