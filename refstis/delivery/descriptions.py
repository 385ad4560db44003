"""DESCRIP of finished files."""

from __future__ import annotations

import os
from pathlib import Path

from astropy.io import fits
from astropy.time import Time

from refstis.datamodels.atomic import atomic_write
from refstis.datamodels.reference_header import PRODUCTS, description
from refstis.delivery.products import Product, find_products
from refstis.errors import InputError

__all__ = ["set_descrip"]

KINDS = {kind.taskname.upper(): kind for kind in PRODUCTS.values()}
# For files that do not tell how they were made
DEFAULT_KINDS = {"bias": PRODUCTS["weekbias"], "dark": PRODUCTS["weekdark"]}


def set_descrip(folder: str | os.PathLike) -> list[Path]:
    """Give every superbias and superdark of a folder the DESCRIP that its header implies.

    Files of refstis have it already. It helps with files of other makers, and after USEAFTER was changed by hand.

    Parameters
    ----------
    folder : str or os.PathLike
        With ``*_bia.fits`` and ``*_drk.fits``, in it or below.

    Returns
    -------
    list of pathlib.Path
        Files that were changed; each was written anew and replaced at once.

    Raises
    ------
    InputError
        Where a file lacks what its DESCRIP says: kind, USEAFTER, amplifier or gain.
    """
    changed = []
    for path in find_products(folder):
        product = Product.open(path)
        text = _descrip(product)
        if product.text("DESCRIP") == text:
            continue
        with (
            fits.open(path, memmap=False, do_not_scale_image_data=True) as hdus,
            atomic_write(path) as stream,
        ):
            hdus[0].header["DESCRIP"] = text
            hdus.writeto(stream, output_verify="silentfix")
        changed.append(path)
    return changed


def _descrip(product: Product) -> str:
    kind = KINDS.get(product.text("TASKNAME").upper()) or DEFAULT_KINDS.get(product.kind)
    told = product.history_mode
    amp = told.get("CCDAMP") or (product.text("CCDAMP") if product.kind == "bias" else "D")
    gain = product.gain
    if kind is None or product.useafter is None or not amp or gain is None:
        fault = product.fault or "FILETYPE, USEAFTER, CCDAMP or CCDGAIN is missing or wrong"
        raise InputError(
            f"{product.path}: {fault}; DESCRIP cannot be told from its header. Repair it or take it away."
        )
    text = description(kind, gain, amp, Time(product.useafter, scale="utc").mjd)
    if "provisional" in product.text("DESCRIP").lower():
        return f"{text.rstrip('-')}, provisional".ljust(len(text), "-")
    return text
