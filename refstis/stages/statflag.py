"""Stage statflag: statistics of the pixels in the header."""

from __future__ import annotations

from refstis.calibration.statistics import image_statistics
from refstis.datamodels.exposure import Imset
from refstis.datamodels.keywords import header_float
from refstis.stages.base import RefstisStep

__all__ = ["StatFlagStep", "with_statistics"]


class StatFlagStep(RefstisStep):
    """Write statistics of the good pixels into the header."""

    class_alias = "statflag"

    def process(self, exposure):
        """Take the statistics of an exposure.

        Parameters
        ----------
        exposure : str, os.PathLike or Exposure
            Any exposure.

        Returns
        -------
        Exposure
            With NGOODPIX, GOODMIN, GOODMAX, GOODMEAN, SNRMIN, SNRMAX and SNRMEAN.
        """
        return self.open(exposure).map_imsets(lambda imset: with_statistics(imset) if imset.good else imset)


def with_statistics(imset: Imset) -> Imset:
    """Image set whose headers tell the statistics of its pixels.

    Parameters
    ----------
    imset : Imset
        The image set.

    Returns
    -------
    Imset
        With new keywords; NGOODPIX alone where no pixel is good.
    """
    found = image_statistics(imset.sci[:], imset.err[:], imset.dq[:], imset.sdqflags)
    if not found.pixels:
        return imset.with_keywords({"NGOODPIX": 0}, {"NGOODPIX": 0})
    sci = {
        "GOODMIN": found.minimum, "GOODMAX": found.maximum, "GOODMEAN": found.mean,
        "SNRMIN": found.snr_minimum, "SNRMAX": found.snr_maximum, "SNRMEAN": found.snr_mean,
    }  # fmt: skip
    err = {"GOODMIN": found.err_minimum, "GOODMAX": found.err_maximum, "GOODMEAN": found.err_mean}
    return imset.with_keywords(
        {"NGOODPIX": found.pixels, **{key: header_float(value) for key, value in sci.items()}},
        {"NGOODPIX": found.pixels, **{key: header_float(value) for key, value in err.items()}},
    )
