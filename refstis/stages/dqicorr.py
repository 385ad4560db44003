"""Stage dqicorr: data quality initialization."""

from __future__ import annotations

import functools
import logging
from typing import ClassVar

import numpy as np

from refstis.calibration.dqicorr import SATURATED, aperture_mask, bad_pixel_mask, saturated_pixels
from refstis.datamodels.exposure import Imset
from refstis.datamodels.pixels import Pixels
from refstis.datamodels.tables import ReferenceTable, read_bad_pixels
from refstis.stages.base import RefstisStep
from refstis.stages.ccd import ccd_parameters, with_ccd_keywords

__all__ = ["DqiCorrStep"]

logger = logging.getLogger(__name__)


class DqiCorrStep(RefstisStep):
    """Flag saturated pixels, the bad pixels of the BPIXTAB and, in science exposures, the edges of the aperture."""

    class_alias = "dqicorr"
    reference_file_types: ClassVar = ["ccdtab", "bpixtab"]

    def process(self, exposure):
        """Flag the pixels of an exposure.

        Parameters
        ----------
        exposure : str, os.PathLike or Exposure
            A raw exposure; one that is flagged already keeps its flags.

        Returns
        -------
        Exposure
            With new flags and DQICORR COMPLETE.
        """
        exposure = self.open(exposure)
        ccd = ccd_parameters(self, exposure)
        reference = self.get_reference(exposure, "bpixtab")
        table = ReferenceTable.open(reference.path) if reference.path else None
        opt_elem = str(exposure.primary.get("OPT_ELEM", "")).strip()
        bad = read_bad_pixels(table, opt_elem) if table and not table.dummy else None

        state = "SKIPPED" if table is not None and table.dummy else "COMPLETE"
        source = "saturation only" if bad is None or not bad.runs else f"saturation and {reference.name}"
        return exposure.remember(
            ("dqicorr", ccd, bad, state, source), lambda: _initialized(exposure, ccd, bad, state, source)
        )


def _initialized(exposure, ccd, bad, state, source):
    """The exposure with its flags."""
    masks: dict[tuple, Pixels | None] = {}

    def flag(imset: Imset) -> Imset:
        if not imset.good:
            return imset
        key = imset.sci.shape, imset.grid
        if key not in masks:
            masks[key] = _table_mask(exposure, imset, bad)
        return imset.with_pixels(dq=_flagged(imset, masks[key], ccd.saturate))

    done = with_ccd_keywords(exposure, ccd).map_imsets(flag)
    return done.changed(
        {"DQICORR": state},
        procedure=f"Data quality was initialized ({source}; raw values above {ccd.saturate:g} DN count as saturated).",
        history=[f"DQICORR {state.lower()}: {source}; SATURATE {ccd.saturate:g} DN"],
    )


def _table_mask(exposure, imset, bad):
    """Flags of table and aperture, shared by all image sets of one mode; None where there are none."""
    shared = None if bad is None else _mask_of_runs(bad, imset.sci.shape, imset.grid)
    header = exposure.primary
    if str(header.get("TARGNAME", "")).strip() not in {"BIAS", "DARK"}:
        sci = imset.sci_header
        cd11, cd12, cd21, cd22 = (float(sci.get(f"CD{i}_{j}", i == j)) for i in (1, 2) for j in (1, 2))
        mask = aperture_mask(
            str(header.get("APER_FOV", "")),
            imset.sci.shape,
            imset.grid,
            ((cd11, cd12), (cd21, cd22)),
            imaging=str(header.get("OBSTYPE", "")).strip() == "IMAGING",
            dispaxis=int(sci.get("DISPAXIS", 1)),
        )
        if shared is not None:
            mask |= shared[:]
        return Pixels.of(mask) if mask.any() else None
    return shared


@functools.lru_cache(maxsize=4)
def _mask_of_runs(bad, shape, grid):
    """Flags of a table on one mode of read-out, shared by all exposures of a run; None where there are none."""
    mask = bad_pixel_mask(bad.runs, bad.size, shape, grid)
    return Pixels.of(mask) if mask.any() else None


def _flagged(imset, mask, saturate):
    """Flags of an image set with those of the mask and of saturation; few pixels are saturated, so their places do."""
    saturated = saturated_pixels(imset.sci[:], saturate)
    if mask is None and not len(saturated):
        return imset.dq
    if not len(saturated) and imset.dq.constant == 0:
        return mask
    dq, width = imset.dq, imset.sci.shape[1]
    parts = [part for part in (dq, mask) if part is not None and part.constant != 0]

    def produce(rows, columns):
        flags = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.int16)
        for part in parts:
            flags |= part[rows, columns]
        first, last = np.searchsorted(saturated, (rows.start * width, rows.stop * width))
        y, x = np.divmod(saturated[first:last], width)
        inside = (x >= columns.start) & (x < columns.stop)
        flags[y[inside] - rows.start, x[inside] - columns.start] |= SATURATED
        return flags

    return Pixels(dq.shape, np.int16, produce)
