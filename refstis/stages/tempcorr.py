"""Stage tempcorr: Side-2 darks brought to the reference housing temperature."""

from __future__ import annotations

import logging

import numpy as np

from refstis.calibration.blevcorr import LevelledFrame
from refstis.calibration.darkcorr import DRK_VS_T, REF_TEMP, SIDE2_BEGIN
from refstis.calibration.tempcorr import dark_scale_factor, scale_uncertainty
from refstis.datamodels.pixels import Pixels
from refstis.errors import InputError
from refstis.stages.base import RefstisStep
from refstis.stages.darkcorr import with_engineering_temperature

__all__ = ["TempCorrStep", "as_collected"]

logger = logging.getLogger(__name__)


class TempCorrStep(RefstisStep):
    """Bring a Side-2 dark to the reference housing temperature."""

    class_alias = "tempcorr"

    spec = f"""
    slope             = float(min=0, default={DRK_VS_T})  # Relative change of the dark rate (1/deg C)
    reference         = float(default={REF_TEMP})  # Reference housing temperature (deg C)
    first_mjd         = float(default={SIDE2_BEGIN})  # Darks that began up to here (MJD, Side 1) are left as they are
    temperature_table = string(default=None)  # Engineering temperatures (_epc table) that replace OCCDHTAV
    """

    def process(self, dark):
        """Scale a dark.

        Parameters
        ----------
        dark : str, os.PathLike or Exposure
            A dark without overscan and bias.

        Returns
        -------
        Exposure
            With values and uncertainties at the reference temperature, and TEMPCORR COMPLETE; as it was where
            it was taken
            on Side 1 or is scaled already.

        Raises
        ------
        InputError
            Where OCCDHTAV is missing or not positive in a Side-2 dark.
        """
        dark = self.open(dark)
        if dark.done("TEMPCORR"):
            logger.info("%s: TEMPCORR is COMPLETE already.", dark.name)
            return dark
        if dark.start_mjd <= self.first_mjd:
            return dark.changed(
                procedure="Side 1: the CCD was temperature controlled and the darks were not scaled."
            )
        if self.temperature_table:  # it may warn
            return self._at_reference(dark)
        return dark.remember(("tempcorr", self.slope, self.reference), lambda: self._at_reference(dark))

    def _at_reference(self, dark):
        imsets = [self._scaled(dark, imset, version) for version, imset in enumerate(dark.imsets, start=1)]
        law = f"1 / (1 + {self.slope:g} (OCCDHTAV - {self.reference:g} C))"
        return dark.changed(
            {"TEMPCORR": ("COMPLETE", "dark scaled to the reference temperature")},
            imsets,
            procedure=f"Every dark was scaled to a housing temperature of {self.reference:g} C by {law}.",
            history=[f"TEMPCORR complete: multiplied by {law}"],
        )

    def _scaled(self, dark, imset, version):
        if self.temperature_table:
            imset = with_engineering_temperature(imset, self.temperature_table)
        temperature = imset.housing_temperature
        if temperature is None or not temperature > 0:
            state = "is missing" if temperature is None else f"is {temperature:g}"
            raise InputError(
                f"{dark.name}: OCCDHTAV {state} in imset {version}; a Side-2 dark (MJD {dark.start_mjd:.1f}) "
                "needs the housing "
                "temperature. Leave the exposure out of the association, or repair its header from the "
                "engineering data "
                "(_epc)."
            )
        try:
            factor = dark_scale_factor(temperature, self.slope, self.reference)
        except ValueError as error:
            raise InputError(
                f"{dark.name}: imset {version}: {error}. Check OCCDHTAV and the slope."
            ) from None
        sci, err = imset.sci, imset.err
        # a frame that is levelled when it is read is scaled in the same step
        scaled = sci.source.times(np.float32(factor)) if isinstance(sci.source, LevelledFrame) else None
        return imset.with_pixels(
            sci=Pixels(sci.shape, np.float32, scaled or (lambda y, x: sci[y, x] * np.float32(factor))),
            err=Pixels(err.shape, np.float32, lambda y, x: scale_uncertainty(err[y, x], factor)),
        )


def as_collected(stage, exposure, imset) -> tuple[np.float32, float]:
    """Scale of a dark as it was collected, whether it was brought to the reference temperature or not.

    Parameters
    ----------
    stage : RefstisStep
        The stage that asks; the law of its pipeline's tempcorr is taken as undone.
    exposure : Exposure
        The dark.
    imset : Imset
        One of its image sets.

    Returns
    -------
    scale : numpy.float32
        Electrons per DN.
    warmth : float
        Temperature above the reference (deg C); 0 where it is not known.

    Raises
    ------
    InputError
        Where the dark was scaled and its temperature is not known any more.
    """
    gain = float(exposure.primary["ATODGAIN"])
    temperature = imset.housing_temperature
    if temperature is None or not temperature > 0:
        if exposure.done("TEMPCORR"):
            raise InputError(
                f"{exposure.name}: TEMPCORR is COMPLETE and OCCDHTAV is {temperature}; the scaling cannot be "
                "undone. Leave the exposure out, or give it as it was before."
            )
        return np.float32(gain), 0.0
    if not exposure.done("TEMPCORR"):
        return np.float32(gain), temperature - REF_TEMP
    # brought to the reference temperature by the law of all pixels, as this pipeline or one before it has it
    law = getattr(stage.parent, "tempcorr", None)
    slope, reference = (law.slope, law.reference) if law else (DRK_VS_T, REF_TEMP)
    return np.float32(gain / dark_scale_factor(temperature, slope, reference)), temperature - REF_TEMP
