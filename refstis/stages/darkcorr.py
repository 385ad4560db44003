"""Stage darkcorr: subtraction of the superdark, for tests of reference files on science images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

import numpy as np

from refstis.calibration.darkcorr import DRK_VS_T, REF_TEMP, SIDE2_BEGIN, dark_scale, median_dark
from refstis.calibration.tempcorr import mean_temperature
from refstis.datamodels.exposure import Imset
from refstis.datamodels.keywords import header_float
from refstis.datamodels.tables import ReferenceTable, read_temperatures
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import (
    header_name,
    is_dummy,
    matched_reference,
    open_reference,
    subtract_reference,
)
from refstis.stages.ccd import ccd_parameters, with_ccd_keywords

__all__ = ["DarkCorrStep", "with_engineering_temperature"]

logger = logging.getLogger(__name__)


class DarkCorrStep(RefstisStep):
    """Subtract the superdark, scaled to exposure time, gain and, on Side 2, housing temperature."""

    class_alias = "darkcorr"
    reference_file_types: ClassVar = ["ccdtab", "darkfile"]

    spec = f"""
    first_mjd         = float(default={SIDE2_BEGIN})  # Earlier exposures (Side 1) are not scaled by temperature (MJD)
    temperature_table = string(default=None)  # Engineering temperatures (_epc table) that replace OCCDHTAV
    """

    def process(self, exposure):
        """Subtract the superdark from an exposure.

        Parameters
        ----------
        exposure : str, os.PathLike or Exposure
            An exposure without overscan and bias.

        Returns
        -------
        Exposure
            With the dark subtracted (DN), its uncertainty and flags added, MEANDARK, and DARKCORR COMPLETE.

        Raises
        ------
        ReferenceFileError
            Where there is no superdark, or it does not cover the exposure.
        """
        exposure = self.open(exposure)
        if exposure.done("DARKCORR"):
            logger.info("%s: DARKCORR is COMPLETE already.", exposure.name)
            return exposure
        ccd = ccd_parameters(self, exposure)
        found = self.get_reference(exposure, "darkfile")
        done = with_ccd_keywords(exposure, ccd)
        if found.path is None:
            return done.changed({"DARKCORR": "OMIT"}, procedure="No superdark was subtracted (DARKFILE N/A).")
        superdark, image = open_reference(found.path)
        if is_dummy(superdark):
            return done.changed(
                {"DARKCORR": "SKIPPED"}, procedure=f"No superdark was subtracted ({found.name} is a dummy)."
            )
        slope = float(superdark.primary.get("DRK_VS_T", DRK_VS_T))
        reference_temperature = float(superdark.primary.get("REF_TEMP", REF_TEMP))

        def subtract(imset: Imset) -> Imset:
            if not imset.good:
                return imset
            if self.temperature_table:
                imset = with_engineering_temperature(imset, self.temperature_table)
            side2 = float(imset.sci_header.get("EXPSTART", 0.0)) >= self.first_mjd
            temperature = imset.housing_temperature if side2 else None
            factor = dark_scale(
                imset.exptime,
                ccd.gain,
                -1.0 if temperature is None else temperature,
                slope,
                reference_temperature,
            )
            dark = matched_reference(image, superdark, imset, exposure, found).scaled(factor)
            median = header_float(median_dark(dark.sci, dark.dq))
            return subtract_reference(imset, dark).with_keywords({"MEANDARK": median})

        return done.map_imsets(subtract).changed(
            {"DARKCORR": "COMPLETE", "DARKFILE": header_name(found)},
            procedure=f"The superdark {found.path.name} was scaled and subtracted.",
            history=[f"DARKCORR complete: {found.path.name}"],
        )


def with_engineering_temperature(imset: Imset, table: str | Path) -> Imset:
    """Image set whose OCCDHTAV comes from engineering telemetry.

    Parameters
    ----------
    imset : Imset
        The image set.
    table : str or pathlib.Path
        An ``_epc`` table.

    Returns
    -------
    Imset
        Itself, where the telemetry does not cover the exposure.
    """
    header = imset.sci_header
    times, values = read_temperatures(ReferenceTable.open(table))
    temperature = mean_temperature(
        times, values, float(header["EXPSTART"]), float(header["EXPEND"]), imset.exptime
    )
    if temperature is None:
        logger.warning("%s does not cover the exposure; OCCDHTAV of its header is used.", table)
        return imset
    return imset.with_keywords({"OCCDHTAV": header_float(np.float32(temperature))})
