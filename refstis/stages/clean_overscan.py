"""Stage clean_overscan: charge of hot columns and hot pixels out of the virtual overscan."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from refstis.calibration.geometry import overscan_geometry
from refstis.calibration.overscan import add_clipped, gained_charge, standing_out
from refstis.datamodels.dq import DataQuality
from refstis.datamodels.pixels import Pixels
from refstis.errors import InputError
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import open_reference
from refstis.stages.ccd import ccd_parameters

__all__ = ["CleanOverscanStep"]

logger = logging.getLogger(__name__)

# Pixels that differ from the level of the overscan by more than this multiple of the read noise do not enter the means.
CLIP = 6.0
# Least fraction of the values of a column that must not have been clipped.
WHOLE = 0.9


class CleanOverscanStep(RefstisStep):
    """Take the charge of hot columns and hot pixels out of the virtual overscan, so that it does not pull the drift.

    Biases are looked at together. Darks take the charge from their superbias, and together tell what it does not show.
    """

    class_alias = "clean_overscan"
    reference_file_types: ClassVar = ["ccdtab", "biasfile"]

    spec = """
    skip     = boolean(default=True)  # refstis 0.8 does not do this
    fraction = float(min=0.001, max=0.5, default=0.1)  # Fraction of the lines that are read last, and first
    sigma    = float(min=0, default=3.0)  # Columns that still stand out by this many standard deviations are flagged
    """

    def process(self, exposures):
        """Clean the virtual overscan of raw exposures.

        Parameters
        ----------
        exposures : str, os.PathLike, Exposure or sequence
            Raw exposures of one mode, with overscan.

        Returns
        -------
        Exposure or list of Exposure
            The same with other pixels and flags in the virtual rows; everything else is as it was. What has no overscan
            any more is returned as it is.

        Raises
        ------
        InputError
            Where amplifier or binning are none of the CCD's.
        """
        several = isinstance(exposures, Sequence) and not isinstance(exposures, str | bytes)
        opened = [self.open(one) for one in (exposures if several else [exposures])]
        known: dict[tuple, tuple] = {}
        cleaned = []
        for exposure in opened:
            geometry = None if exposure.done("BLEVCORR") else _geometry(exposure)
            if geometry is None or not geometry.has_drift:
                cleaned.append(exposure)
                continue
            mode = (geometry, exposure.imsets[0].sci.shape)
            if mode not in known:
                alike = [one for one in opened if not one.done("BLEVCORR") and _geometry(one) == geometry]
                dark = str(exposure.primary.get("TARGNAME", "")).strip() == "DARK"
                known[mode] = self._of_darks(alike, geometry) if dark else self._of_frames(alike, geometry)
            charge, flagged = known[mode]
            cleaned.append(_cleaned(exposure, geometry, charge[exposure.name], flagged))
        return cleaned if several else cleaned[0]

    def _of_frames(self, exposures, geometry):
        """Charge of each column by exposure, the same for all, and columns to leave out, from the frames themselves."""
        windows = _windows(geometry, exposures[0].imsets[0].sci.shape, self.fraction)
        means, whole = self._means(exposures, geometry, windows)
        charge = gained_charge(means[1], means[2])
        return {one.name: charge for one in exposures}, self._standing_out(means[0], whole, charge)

    def _of_darks(self, darks, geometry):
        """Charge of each column by dark, from their superbiases, and columns to leave out.

        A superbias does not show what is gained beyond the middle of the lines that are read last, and of a column that
        begins among the lines that are read first it shows nothing; the virtual rows of all darks show both.
        """
        found: dict[str, tuple] = {}
        charges, left_out = {}, False
        for dark in darks:
            name = self.get_reference(dark, "biasfile").name
            if name not in found:
                found[name] = self._of_superbias(dark, geometry)
            charges[dark.name], flagged = found[name]
            left_out = left_out | flagged
        windows = _windows(geometry, darks[0].imsets[0].sci.shape, self.fraction)[:1]
        means, whole = self._means(darks, geometry, windows)
        charge = np.mean([charges[dark.name] for dark in darks], axis=0)
        return charges, left_out | self._standing_out(means[0], whole, charge)

    def _means(self, exposures, geometry, windows):
        """Mean of the frames in some windows, and columns whose first window was hardly clipped."""
        first = exposures[0]
        shape = first.imsets[0].sci.shape
        ccd = ccd_parameters(self, first)
        limit = CLIP * ccd.readnoise / ccd.gain
        columns = geometry.trim(shape)[1]
        section = slice(geometry.section[0], geometry.section[1] + 1)
        sums = [
            (np.zeros((w.stop - w.start, shape[1])), np.zeros((w.stop - w.start, shape[1]), dtype=np.int64))
            for w in windows
        ]
        for exposure in exposures:
            for imset in exposure.imsets:
                for window, (total, count) in zip(windows, sums, strict=True):
                    pixels = np.ascontiguousarray(imset.sci[window])
                    add_clipped(pixels, float(np.median(pixels[:, section])), limit, total, count)
            exposure.release()
        with np.errstate(invalid="ignore"):
            means = [np.where(count > 0, total / count, np.nan)[:, columns] for total, count in sums]
        frames = sum(len(exposure.imsets) for exposure in exposures)
        return means, (sums[0][1][:, columns] > WHOLE * frames).all(axis=0)

    def _standing_out(self, virtual, whole, charge):
        # of a column so hot that its values were clipped nobody knows the mean
        profile = np.full(charge.size, np.nan)
        profile[whole] = virtual[:, whole].mean(axis=0) - charge[whole]
        return standing_out(profile, self.sigma)

    def _of_superbias(self, exposure, geometry):
        found = self.get_reference(exposure, "biasfile")
        shape = exposure.imsets[0].sci.shape
        rows, columns = geometry.trim(shape)
        nothing = (
            np.zeros(columns.stop - columns.start),
            np.zeros(columns.stop - columns.start, dtype=np.bool_),
        )
        if found.path is None:
            return nothing
        _, image = open_reference(found.path)
        if image.sci.shape != (rows.stop - rows.start, columns.stop - columns.start):
            logger.warning(
                "%s: %s has another mode; the virtual overscan stays as it is.", exposure.name, found.name
            )
            return nothing
        _, last, start = (
            slice(w.start - rows.start, w.stop - rows.start) for w in _windows(geometry, shape, self.fraction)
        )
        charge = gained_charge(image.sci[last].astype(np.float64), image.sci[start].astype(np.float64))
        ccd = ccd_parameters(self, exposure)
        # where that much was gained, some of it was gained within the last lines, too
        return charge, np.abs(charge) > self.sigma * ccd.readnoise / ccd.gain


def _geometry(exposure):
    imset = exposure.imsets[0]
    try:
        return overscan_geometry(
            str(exposure.primary.get("CCDAMP", "")).strip()[:1].upper(), imset.sci.shape, imset.grid.bins
        )
    except ValueError as error:
        raise InputError(f"{exposure.name}: {error}. Repair the header or leave the exposure out.") from None


def _windows(geometry, shape, fraction):
    """Rows of the frame: virtual ones, the lines read last before them, and those read first but for the very first."""
    rows, _ = geometry.trim(shape)
    virtual = slice(geometry.virtual_y[0], geometry.virtual_y[1] + 1)
    count = max(1, round(fraction * (rows.stop - rows.start)))
    low, high = slice(rows.start, rows.start + count), slice(rows.stop - count, rows.stop)
    if virtual.start < rows.start:
        return virtual, low, slice(high.start - 1, high.stop - 1)
    return virtual, high, slice(low.start + 1, low.stop + 1)


class _Cleaned:
    """Raw pixels, in the virtual rows less the charge of their columns."""

    def __init__(self, raw: Pixels, rows: slice, charge: np.ndarray):
        self.raw, self.rows, self.charge = raw, rows, charge

    def __call__(self, rows, columns):
        pixels = self.raw[rows, columns].astype(np.float32)
        first, last = max(rows.start, self.rows.start), min(rows.stop, self.rows.stop)
        if first < last:
            pixels[first - rows.start : last - rows.start] -= self.charge[columns]
        return pixels

    def release(self):
        self.raw.release()


def _cleaned(exposure, geometry, charge, flagged):
    """The exposure with cleaned virtual rows, and flags in the columns to leave out."""
    rows = slice(geometry.virtual_y[0], geometry.virtual_y[1] + 1)
    shape = exposure.imsets[0].sci.shape
    _, columns = geometry.trim(shape)
    by_column = np.zeros(shape[1], dtype=np.float32)
    by_column[columns] = charge
    bits = np.zeros(shape[1], dtype=np.int16)
    bits[columns] = np.where(flagged, np.int16(DataQuality.HOT_PIXEL), np.int16(0))

    def flags(dq):
        def produce(y, x):
            out = dq[y, x].copy()
            first, last = max(y.start, rows.start), min(y.stop, rows.stop)
            if first < last:
                out[first - y.start : last - y.start] |= bits[x]
            return out

        return Pixels(dq.shape, np.int16, produce)

    shared: dict[int, Pixels] = {}

    def clean(imset):
        if not imset.good or imset.sci.shape != shape:
            return imset
        # image sets that share their flags, or have none, go on sharing them
        key = 0 if imset.dq.constant == 0 else id(imset.dq)
        if key not in shared:
            shared[key] = flags(imset.dq)
        return imset.with_pixels(
            sci=Pixels(shape, np.float32, _Cleaned(imset.sci, rows, by_column)), dq=shared[key]
        )

    return exposure.map_imsets(clean).changed(
        procedure=(
            f"The charge that columns gain in the transfer (standard deviation {float(charge.std()):.2f} DN) was "
            f"subtracted from the virtual overscan, and {int(np.count_nonzero(flagged))} columns were left out there."
        )
    )
