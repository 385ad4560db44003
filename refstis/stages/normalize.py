"""Stage normalize: one frame of a bias, one second of a dark."""

from __future__ import annotations

import logging

import numpy as np

from refstis.calibration.superdark import normalize_dark
from refstis.datamodels.exposure import Imset
from refstis.errors import InputError
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import reference_image

__all__ = ["NormalizeStep"]

logger = logging.getLogger(__name__)


class NormalizeStep(RefstisStep):
    """Divide a combined bias by its number of frames, a combined dark by exposure time over gain (to e-/s)."""

    class_alias = "normalize"

    def process(self, exposure):
        """Normalize a combination.

        Parameters
        ----------
        exposure : str, os.PathLike or Exposure
            Biases or darks after cosmic-ray rejection (DN).

        Returns
        -------
        Exposure
            Mean frame (DN) of biases; rate (e-/s) of darks, with TEXPTIME 1.

        Raises
        ------
        InputError
            Where cosmic rays were not rejected, or a dark has no exposure time.
        """
        exposure = self.open(exposure)
        if not exposure.done("CRCORR"):
            raise InputError(
                f"{exposure.name}: CRCORR is {exposure.switch('CRCORR')}; expected COMPLETE. Run crcorr first."
            )
        image = reference_image(exposure)
        like = exposure.imsets[0]
        if str(exposure.primary.get("TARGNAME", "")).strip() == "DARK":
            exptime = float(exposure.primary.get("TEXPTIME", 0.0))
            if not exptime > 0:
                raise InputError(f"{exposure.name}: TEXPTIME is {exptime}; a dark needs its exposure time.")
            gain = float(exposure.primary["ATODGAIN"])
            rate = normalize_dark(image, exptime, gain)
            imset = Imset.of_arrays(*rate, like).with_keywords(
                {"BUNIT": "ELECTRONS/S", "EXPTIME": 1.0}, {"BUNIT": "ELECTRONS/S"}
            )
            words = f"The sum was normalized to electrons per second ({exptime:g} s, {gain:g} e-/DN)."
            return exposure.changed({"TEXPTIME": 1.0}, [imset], procedure=words)
        count = np.float32(exposure.ncombine)
        words = f"The sum was divided by the number of frames, {exposure.ncombine}."
        return exposure.changed(
            imsets=[Imset.of_arrays(image.sci / count, image.err / count, image.dq, like)], procedure=words
        )
