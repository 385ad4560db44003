"""Stage clean_overscan: charge of hot columns and hot pixels out of the virtual overscan."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from refstis.calibration.geometry import overscan_geometry
from refstis.calibration.overscan import add_clipped, add_frame, column_gain, hot_charge
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
# Groups of frames whose means are compared, so that no cosmic ray is taken for a hot pixel.
GROUPS = 9


class CleanOverscanStep(RefstisStep):
    """Take the charge of hot columns and hot pixels out of the virtual overscan, so that it does not pull the drift.

    Hot pixels of biases are those of their mean, hot pixels of darks those of their superbias.
    """

    class_alias = "clean_overscan"
    reference_file_types: ClassVar = ["ccdtab", "biasfile"]

    spec = """
    skip     = boolean(default=True)  # refstis 0.8 does not do this
    hot      = float(min=0, default=4.0)  # Least significance of a hot pixel, which tells of its charge (sigma)
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
        rows, columns = geometry.trim(exposures[0].imsets[0].sci.shape)
        virtual, image = self._means(exposures, geometry, whole_frames=True)
        charge = hot_charge(image[rows, columns], self.hot)
        gain, flagged = column_gain(virtual, charge, self.sigma)
        return {one.name: gain * charge for one in exposures}, flagged

    def _of_darks(self, darks, geometry):
        """Charge of each column by dark, from their superbiases, and columns to leave out, from all darks."""
        found: dict[str, np.ndarray] = {}
        charges = {}
        for dark in darks:
            name = self.get_reference(dark, "biasfile").name
            if name not in found:
                found[name] = self._of_superbias(dark, geometry)
            charges[dark.name] = found[name]
        virtual, _ = self._means(darks, geometry)
        gain, flagged = column_gain(
            virtual, np.mean([charges[dark.name] for dark in darks], axis=0), self.sigma
        )
        return {name: gain * charge for name, charge in charges.items()}, flagged

    def _means(self, exposures, geometry, *, whole_frames=False):
        """Mean of the virtual rows by column, NaN where it was clipped; if asked for, the frames without rays."""
        first = exposures[0]
        shape = first.imsets[0].sci.shape
        ccd = ccd_parameters(self, first)
        limit = CLIP * ccd.readnoise / ccd.gain
        columns = geometry.trim(shape)[1]
        section = slice(geometry.section[0], geometry.section[1] + 1)
        rows = slice(geometry.virtual_y[0], geometry.virtual_y[1] + 1)
        total = np.zeros((rows.stop - rows.start, shape[1]))
        count = np.zeros(total.shape, dtype=np.int64)
        frames = sum(len(exposure.imsets) for exposure in exposures)
        groups = np.zeros((min(frames, GROUPS), *shape) if whole_frames else (0, 0, 0), dtype=np.float32)
        members = np.zeros(max(len(groups), 1))
        number = 0
        for exposure in exposures:
            with exposure.held():
                for imset in exposure.imsets:
                    pixels = np.ascontiguousarray(imset.sci[rows])
                    level = float(np.median(pixels[:, section]))
                    add_clipped(pixels, level, limit, total, count)
                    if whole_frames:
                        group = number % len(groups)
                        add_frame(np.ascontiguousarray(imset.sci[:]), level, groups[group])
                        members[group] += 1
                    number += 1
        # of a column so hot that its values were clipped nobody knows the mean
        known = np.all(count[:, columns] > WHOLE * frames, axis=0)
        virtual = np.full(known.size, np.nan)
        virtual[known] = (total[:, columns][:, known] / count[:, columns][:, known]).mean(axis=0)
        for image, frames_of_it in zip(groups, members, strict=False):
            image /= frames_of_it
        return virtual, np.median(groups, axis=0, overwrite_input=True) if whole_frames else None

    def _of_superbias(self, exposure, geometry):
        found = self.get_reference(exposure, "biasfile")
        rows, columns = geometry.trim(exposure.imsets[0].sci.shape)
        nothing = np.zeros(columns.stop - columns.start)
        if found.path is None:
            return nothing
        _, image = open_reference(found.path)
        if image.sci.shape != (rows.stop - rows.start, columns.stop - columns.start):
            logger.warning(
                "%s: %s has another mode; only columns that stand out are left out of the virtual overscan.",
                exposure.name,
                found.name,
            )
            return nothing
        return hot_charge(image.sci, self.hot)


def _geometry(exposure):
    imset = exposure.imsets[0]
    try:
        return overscan_geometry(
            str(exposure.primary.get("CCDAMP", "")).strip()[:1].upper(), imset.sci.shape, imset.grid.bins
        )
    except ValueError as error:
        raise InputError(f"{exposure.name}: {error}. Repair the header or leave the exposure out.") from None


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

    def hold(self, users):
        self.raw.hold(users)


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
