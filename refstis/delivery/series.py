"""What a month's exposures and products tell one after the other: single darks, and pixels that changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from refstis.calibration.darkcorr import SIDE2_BEGIN
from refstis.calibration.tempcorr import dark_scale_factor
from refstis.delivery.measures import CHANGED, deviations
from refstis.delivery.products import Product
from refstis.delivery.records import read_run
from refstis.errors import RefstisError

__all__ = ["changed_pixels", "dark_series"]

# Rate above which a pixel counts as hot (e-/s).
HOT = 0.1


def dark_series(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """Rate and temperature of each dark of a month.

    Parameters
    ----------
    folder : str or os.PathLike
        Of the month, with bias-subtracted ``*_flt.fits`` below it, or with the record of a run that made its superdarks
        of raws that lie elsewhere: those are bias-subtracted here.

    Returns
    -------
    list of dict
        ``name``, ``date``, ``rate`` (median, e-/s), ``scaled`` (at 18 C), ``temperature`` (deg C; None where it is
        not known) of each imset, in order of time. A file that cannot be read is left out.
    """
    from refstis.datamodels.exposure import Exposure
    from refstis.stages import BiasCorrStep, BlevCorrStep

    sources: list[tuple[Path, Path | None]] = [
        (path, None) for path in sorted(Path(folder).rglob("*_fl[tc].fits"))
    ]
    found = []
    for path, superbias in sources or read_run(folder).darks:
        try:
            exposure = Exposure.open(path)
            if superbias is not None:
                exposure = BlevCorrStep().process(exposure)
                exposure = BiasCorrStep(override_biasfile=str(superbias)).process(exposure)
            if str(exposure.primary.get("TARGNAME", "")).strip() != "DARK" or not exposure.done("BIASCORR"):
                continue
            for imset in exposure.imsets:
                seconds = imset.exptime
                if seconds <= 0:
                    continue
                begin = float(imset.sci_header.get("EXPSTART", exposure.start_mjd))
                rate = float(np.median(imset.sci[:])) * float(exposure.primary.get("ATODGAIN", 1.0)) / seconds
                temperature = imset.housing_temperature
                if temperature is None or temperature <= 0 or begin <= SIDE2_BEGIN:
                    temperature, scaled = None, rate
                else:
                    scaled = rate * dark_scale_factor(temperature)
                found.append(
                    {
                        "name": path.name,
                        "date": datetime(1858, 11, 17) + timedelta(days=begin),
                        "rate": rate,
                        "scaled": scaled,
                        "temperature": temperature,
                    }
                )
        except (RefstisError, KeyError, TypeError, ValueError):
            continue
    return sorted(found, key=lambda dark: dark["date"])


def changed_pixels(darks: Sequence[Product]) -> list[dict[str, Any]]:
    """Pixels that turned hot or healed from one superdark to the next.

    Parameters
    ----------
    darks : sequence of Product
        Superdarks of one size in order of time.

    Returns
    -------
    list of dict
        ``before`` and ``after`` (names), ``born`` and ``healed``: pixels that crossed 0.1 e-/s by more than 6 sigma.
    """
    steps = []
    for before, after in pairwise(darks):
        if np.shape(before.sci) != np.shape(after.sci):
            continue
        significant = deviations(after, before)
        hot_before, hot_after = np.asarray(before.sci) > HOT, np.asarray(after.sci) > HOT
        steps.append(
            {
                "before": before.name,
                "after": after.name,
                "born": int(np.count_nonzero(hot_after & ~hot_before & (significant > CHANGED))),
                "healed": int(np.count_nonzero(hot_before & ~hot_after & (significant < -CHANGED))),
            }
        )
    return steps
