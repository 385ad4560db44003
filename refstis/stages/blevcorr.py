"""Stage blevcorr: bias level from the overscan, trimming and initial uncertainties."""

from __future__ import annotations

import logging
from typing import ClassVar

import numpy as np

from refstis.calibration.blevcorr import LevelledFrame, fit_bias_level
from refstis.calibration.geometry import overscan_geometry
from refstis.calibration.noise import pixel_uncertainty
from refstis.datamodels.exposure import Imset
from refstis.datamodels.keywords import header_double, header_float
from refstis.datamodels.pixels import Pixels
from refstis.errors import InputError
from refstis.stages.base import RefstisStep
from refstis.stages.ccd import ccd_parameters, with_ccd_keywords

__all__ = ["BlevCorrStep"]

logger = logging.getLogger(__name__)


class BlevCorrStep(RefstisStep):
    """Subtract the bias level that the overscan shows, cut the overscan off and initialize the uncertainties."""

    class_alias = "blevcorr"
    reference_file_types: ClassVar = ["ccdtab"]

    spec = """
    clip       = float(min=0, default=None)  # Means of the overscan within so many sigma of the noise; else medians
    row_signal = float(min=1, default=None)  # Mean signal of a line that lowers it by 1 DN (DN); else not corrected
    """

    def process(self, exposure):
        """Subtract the bias level from an exposure.

        Parameters
        ----------
        exposure : str, os.PathLike or Exposure
            A raw exposure. Where BLEVCORR is COMPLETE only uncertainties that are all 0 are initialized.

        Returns
        -------
        Exposure
            Trimmed (DN), with BLEVCORR COMPLETE and MEANBLEV.

        Raises
        ------
        InputError
            Where amplifier or binning are none of the CCD's.
        """
        exposure = self.open(exposure)
        ccd = ccd_parameters(self, exposure)
        if exposure.done("BLEVCORR"):
            logger.info("%s: BLEVCORR is COMPLETE already.", exposure.name)
            return with_ccd_keywords(exposure, ccd).map_imsets(
                lambda imset: _with_uncertainty(imset, ccd, ccd.bias)
            )
        return exposure.remember(
            ("blevcorr", ccd, self.clip, self.row_signal),
            lambda: _levelled(exposure, ccd, self.clip, self.row_signal),
        )


def _levelled(exposure, ccd, clip, row_signal):
    """The exposure trimmed and without its bias level."""
    sources: list[str] = []

    def subtract(imset: Imset) -> Imset:
        if not imset.good:
            return imset
        within = None if clip is None else clip * ccd.readnoise / ccd.gain
        trimmed, source = _subtract(exposure, imset, ccd, within, row_signal)
        sources.append(source)
        return _with_uncertainty(trimmed, ccd, 0.0)

    done = with_ccd_keywords(exposure, ccd).map_imsets(subtract)
    source = sources[0] if sources else "no image set is good"
    return done.changed(
        {"BLEVCORR": "COMPLETE"},
        procedure=f"The bias level was subtracted from every frame ({source}) and the overscan cut off.",
        history=[f"BLEVCORR complete: {source}"],
    )


def _subtract(exposure, imset, ccd, mean_within, row_signal):
    """Trimmed imset without its bias level, and where the level came from."""
    try:
        geometry = overscan_geometry(
            str(exposure.primary.get("CCDAMP", "")).strip()[:1].upper(), imset.sci.shape, imset.grid.bins
        )
    except ValueError as error:
        raise InputError(f"{exposure.name}: {error}. Repair the header or leave the exposure out.") from None
    raw = imset.sci
    if geometry is None:
        level = np.full(raw.shape[0], float(np.float32(ccd.bias)))
        sci = Pixels(raw.shape, np.float32, LevelledFrame(raw, level, np.zeros(raw.shape[1])))
        whole = imset.with_pixels(sci=sci).with_keywords({"MEANBLEV": header_float(ccd.bias)})
        return whole, f"CCDBIAS {ccd.bias:g} DN, as the frame has no overscan"

    rows, columns = geometry.trim(raw.shape)
    corner = rows.start, columns.start
    shape = rows.stop - rows.start, columns.stop - columns.start
    flags = None if imset.dq.constant == 0 else imset.dq
    fit = fit_bias_level(
        raw, flags, geometry, imset.sdqflags, ccd.bias, ccd.blev_clip, mean_within, row_signal
    )
    trimmed = imset.with_pixels(
        sci=Pixels(shape, np.float32, LevelledFrame(raw, fit.level, fit.drift, corner)),
        err=imset.err.window(*corner, shape),
        # image sets that share their flags go on sharing them
        dq=imset.dq.window(*corner, shape),
    )
    wcs = _trimmed_wcs(imset, columns.start, rows.start)
    trimmed = trimmed.with_keywords({**wcs, "MEANBLEV": header_float(fit.mean)}, wcs, wcs)
    source = (
        "from the overscan" if fit.from_overscan else f"CCDBIAS {ccd.bias:g} DN, as no overscan pixel is good"
    )
    return trimmed, source + (" with drift along the lines" if fit.has_drift else " without drift")


def _trimmed_wcs(imset, left, bottom):
    """Coordinate keywords after the margins were cut off."""
    header = imset.sci_header
    offsets = {"CRPIX1": left, "CRPIX2": bottom, "LTV1": left, "LTV2": bottom}
    changes = {key: header_double(float(header.get(key, 0.0)) - offset) for key, offset in offsets.items()}
    identity = {"CD1_1": 1.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1.0, "LTM1_1": 1.0, "LTM2_2": 1.0}
    return {
        **changes,
        **{key: header_double(float(header.get(key, default))) for key, default in identity.items()},
    }


def _with_uncertainty(imset, ccd, bias):
    """Imset with uncertainties from its counts, where all of them are 0."""
    err = imset.err
    if not imset.good or (err.constant if err.constant is not None else err[:].any()):
        return imset
    sci = imset.sci

    def produce(rows, columns):
        return pixel_uncertainty(
            np.asarray(sci[rows, columns], dtype=np.float32), ccd.gain, ccd.readnoise, bias
        )

    return imset.with_pixels(err=Pixels(sci.shape, np.float32, produce))
