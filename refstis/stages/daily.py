"""Stage daily: hot pixels from the darks nearest in time to one exposure."""

from __future__ import annotations

import logging

import numpy as np

from refstis.calibration.daily import prefer_nearest
from refstis.calibration.darkcorr import DRK_VS_T
from refstis.datamodels.exposure import Imset
from refstis.errors import InputError
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import reference_image
from refstis.stages.tempcorr import as_collected

__all__ = ["DailyStep"]

logger = logging.getLogger(__name__)

# Fewer cannot outvote a cosmic ray.
_FEWEST = 3


class DailyStep(RefstisStep):
    """Let the hot pixels of a superdark follow the darks that were taken nearest to one exposure."""

    class_alias = "daily"

    spec = """
    moment = float(default=None)  # Time of the exposure that the superdark is for (MJD); None: nothing is done
    days   = float(min=0.01, default=2.0)  # Time in which the weight of a dark falls to 1/e (days)
    sigma  = float(min=0, default=5.0)  # Least significance of a change that is followed, and of a hot pixel
    """

    def process(self, superdark, darks):
        """Follow the nearest darks where they differ from the superdark.

        Parameters
        ----------
        superdark : str, os.PathLike or Exposure
            The superdark (e-/s).
        darks : sequence of str, os.PathLike or Exposure
            The darks it was made of, without bias and at the reference temperature (DN).

        Returns
        -------
        Exposure
            The superdark (e-/s).

        Raises
        ------
        InputError
            Where there are fewer than three image sets.
        """
        superdark = self.open(superdark)
        if self.moment is None:
            logger.info("%s: no moment is given, the superdark stays as it is.", superdark.name)
            return superdark
        # such a superdark has a law of its own, which its darks are brought to
        law = float(superdark.primary.get("DRK_VS_T", DRK_VS_T)) if "EXACT_AT" in superdark.primary else None
        rates, distances, exptimes, first = [], [], [], None
        for dark in (self.open(one) for one in darks):
            first = first or dark
            gain = float(dark.primary["ATODGAIN"])
            for imset in (one for one in dark.imsets if one.good):
                scale = gain
                if law is not None:
                    collected, warmth = as_collected(self, dark, imset)
                    scale = float(collected) / (1.0 + law * warmth)
                rates.append(imset.sci[:] * np.float32(scale / imset.exptime))
                distances.append(float(imset.sci_header["EXPSTART"]) - self.moment)
                exptimes.append(imset.exptime)
        if first is None or len(rates) < _FEWEST:
            raise InputError(
                f"{superdark.name}: made of {len(rates)} image set(s); changes are told from cosmic rays by comparing "
                f"at least {_FEWEST}. Add darks, or leave daily.moment out."
            )
        result, replaced = prefer_nearest(
            reference_image(superdark),
            rates,
            distances,
            float(np.mean(exptimes)),
            float(first.primary["READNSE"]),
            self.days,
            self.sigma,
        )
        words = (
            f"Rates of hot pixels follow the darks nearest in time to MJD {self.moment:.5f}: "
            f"{int(replaced.sum())} pixels whose median, weighted by exp(-|days|/{self.days:g}), differs by more than "
            f"{self.sigma:g} sigma were replaced by it."
        )
        return superdark.changed(imsets=[Imset.of_arrays(*result, superdark.imsets[0])], procedure=words)
