"""Stage crcorr: cosmic rays rejected by combining exposures."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

import entrypoints
import numpy as np

from refstis.calibration.crcorr import COSMIC_RAY, Combination, RejectionParameters, StackImage, sky_of
from refstis.calibration.geometry import sequential_sum
from refstis.datamodels.association import ExposureLibrary
from refstis.datamodels.exposure import Exposure, Imset
from refstis.datamodels.keywords import header_double, header_float
from refstis.datamodels.pixels import Pixels
from refstis.datamodels.stack import FrameStack
from refstis.datamodels.tables import ReferenceTable, read_rejection_parameters
from refstis.errors import ConfigurationError, InputError
from refstis.stages.base import RefstisStep

__all__ = ["CrCorrStep"]

logger = logging.getLogger(__name__)

ENGINES = "refstis.crcorr_engines"


class CrCorrStep(RefstisStep):
    """Combine the image sets of one or more exposures, rejecting cosmic rays.

    Parameters that are not given come from the row of the CRREJTAB for the number of images and their mean exposure.
    """

    class_alias = "crcorr"
    reference_file_types: ClassVar = ["crrejtab"]

    spec = """
    crsigmas = float_list(default=None)  # Limit of each iteration (sigma); at a shell: 6,5 (one value: 5,)
    initgues = option('minimum', 'median', None, default=None)  # First guess
    skysub   = option('mode', 'none', None, default=None)  # Sky subtraction
    crradius = float(min=0, default=None)  # Radius of propagation around a hit (pixels)
    crthresh = float(default=None)  # Limit within the radius, in units of crsigmas
    scalense = float(min=0, default=None)  # Multiplicative noise (percent)
    badinpdq = integer(min=-32768, max=32767, default=None)  # Flags of pixels that take no part
    crmask   = boolean(default=None)  # Give the updated flags of the inputs
    engine   = string(default='native')  # Entry point of the group refstis.crcorr_engines: native, calstis, model
    threads  = integer(min=0, default=0)  # Threads; 0 for as many as are at hand
    """

    def process(self, exposures):
        """Combine exposures.

        Parameters
        ----------
        exposures : str, os.PathLike, Exposure, ExposureLibrary or sequence
            One exposure of several image sets, or several; without overscan.

        Returns
        -------
        Exposure
            One image set: the sum (DN), scaled to the total exposure time or, for biases, to the number of
            frames; CRCORR
            COMPLETE. Its ``input_dq`` holds the updated flags of each image set that went in, where CRMASK says so.

        Raises
        ------
        InputError
            Where fewer than two image sets are usable or they do not fit together.
        """
        exposures = self._opened(exposures)
        first = exposures[0]
        if len(exposures) == 1 and first.done("CRCORR"):
            logger.info("%s: CRCORR is COMPLETE already.", first.name)
            return first
        for exposure in exposures:
            if exposure.done("CRCORR"):
                raise InputError(
                    f"{exposure.name}: CRCORR is COMPLETE; it is a combination of exposures already. Give the "
                    "single exposures."
                )
        imsets = [(exposure, imset) for exposure in exposures for imset in exposure.imsets if imset.good]
        self._check(exposures, imsets)
        exptimes = [imset.exptime for _, imset in imsets]
        parameters, origin, row = self._parameters(first, exptimes)
        images = FrameStack(_stack_image(exposure, imset) for exposure, imset in imsets)
        try:
            combination = self._engine()(images, parameters, self.threads)
        except ValueError as error:
            _check_inputs_finite(imsets)
            raise InputError(f"{_names(exposures)}: {error}.") from None
        _check_finite(combination, imsets)
        crmask = bool(row.get("CRMASK", False)) if self.crmask is None else self.crmask
        from_row = self.crsigmas is None
        sigmas = row["CRSIGMAS"] if from_row else ",".join(f"{sigma:g}" for sigma in parameters.sigmas)
        return _combined(exposures, imsets, combination, parameters, sigmas, crmask, origin)

    def prepare(self, exposure):
        """Find the skies of an exposure that is to be combined, while its pixels are at hand.

        Parameters
        ----------
        exposure : Exposure
            An exposure without overscan.
        """
        if self.skysub == "none" or self.skip:
            return
        for imset in exposure.imsets:
            if imset.good:
                # whoever combines the image sets tells of those whose sky is none
                with suppress(ValueError):
                    sky_of(_stack_image(exposure, imset))

    def _opened(self, exposures) -> list[Exposure]:
        if isinstance(exposures, ExposureLibrary) or (
            isinstance(exposures, Sequence) and not isinstance(exposures, str | bytes)
        ):
            return [self.open(exposure) for exposure in exposures]
        return [self.open(exposures)]

    def _check(self, exposures, imsets):
        names = _names(exposures)
        if len(imsets) < 2:
            raise InputError(
                f"{names}: {len(imsets)} usable image set; cosmic rays are found by comparing at least 2. Add "
                "exposures."
            )
        first = exposures[0]
        for exposure in exposures:
            for key in ("READNSE", "ATODGAIN"):
                if not exposure.primary.get(key):
                    raise InputError(
                        f"{exposure.name}: {key} is {exposure.primary.get(key, 'missing')}; the overscan was "
                        "not subtracted. "
                        "Run blevcorr first."
                    )
            if exposure.primary.get("CCDAMP") != first.primary.get("CCDAMP"):
                raise InputError(
                    f"{exposure.name}: CCDAMP is {exposure.primary.get('CCDAMP')}; {first.name} has "
                    f"{first.primary.get('CCDAMP')}. Combine exposures of one amplifier."
                )
        shape = imsets[0][1].sci.shape
        for exposure, imset in imsets:
            if imset.sci.shape != shape:
                raise InputError(
                    f"{exposure.name}: {imset.sci.shape[1]} x {imset.sci.shape[0]} pixels; {first.name} has "
                    f"{shape[1]} x {shape[0]}. Combine exposures of one mode, all with or all without overscan."
                )
        times = [imset.exptime for _, imset in imsets]
        if 0 in times and any(times):
            exposure = imsets[times.index(0)][0]
            raise InputError(
                f"{exposure.name}: EXPTIME is 0 and that of other exposures is not. Combine biases or darks alone."
            )

    def _parameters(self, first: Exposure, exptimes):
        """Parameters in force, where they came from, and the row of the table (empty where none was needed)."""
        given = {
            "sigmas": None if self.crsigmas is None else tuple(float(s) for s in self.crsigmas),
            "initial_guess": self.initgues,
            "sky": self.skysub,
            "radius": self.crradius,
            "threshold": self.crthresh,
            "scale_noise": self.scalense,
            "bad_bits": self.badinpdq,
        }
        given = {key: value for key, value in given.items() if value is not None}
        try:
            if len(given) == 7 and self.crmask is not None:
                return RejectionParameters(**given), "parameters", {}
            spectroscopic = str(first.primary.get("OBSTYPE", "")).strip() == "SPECTROSCOPIC"
            reference = self.get_reference(first, "crrejtab")
            parameters, row = read_rejection_parameters(
                ReferenceTable.open(reference.file), exptimes, spectroscopic
            )
            if given:
                parameters = RejectionParameters(**{**vars(parameters), **given})
        except ValueError as error:
            raise ConfigurationError(f"crcorr: {error}.") from None
        return parameters, reference.name, row

    def _engine(self):
        try:
            return _load_engine(self.engine)
        except entrypoints.NoSuchEntryPoint:
            known = ", ".join(sorted(entrypoints.get_group_named(ENGINES)))
            raise ConfigurationError(f"crcorr: no engine {self.engine!r}; installed are {known}.") from None


@functools.cache
def _load_engine(name):
    """The engine's function; the search goes through all installed packages, so it is made once."""
    return entrypoints.get_single(ENGINES, name).load()


def _names(exposures):
    return exposures[0].name if len(exposures) == 1 else f"{exposures[0].name} and {len(exposures) - 1} more"


def _stack_image(exposure: Exposure, imset: Imset) -> StackImage:
    return StackImage(
        sci=imset.sci,
        dq=None if imset.dq.constant == 0 else imset.dq,
        exptime=imset.exptime,
        gain=float(exposure.primary["ATODGAIN"]),
        readnoise=float(exposure.primary["READNSE"]),
    )


def _check_finite(combination: Combination, imsets):
    if np.isfinite(combination.sci).all() and np.isfinite(combination.err).all():
        return
    _check_inputs_finite(imsets)
    raise InputError(
        "the combined image has pixels that are not finite numbers; check the exposures' EXPTIME and ATODGAIN."
    )


def _check_inputs_finite(imsets):
    for exposure, imset in imsets:
        bad = np.argwhere(~np.isfinite(imset.sci[:]))
        if len(bad):
            y, x = bad[0]
            raise InputError(
                f"{exposure.name}: pixel ({x + 1}, {y + 1}) and {len(bad) - 1} more are not finite numbers. Repair "
                "the file or leave it out."
            )


def _combined(exposures, imsets, combination, parameters, sigmas, crmask, origin):
    """The product: headers of the first exposure and its first image set, pixels of the combination."""
    first = exposures[0]
    template = first.imsets[0]
    count = len(imsets)
    exptot = combination.exptime
    starts = [float(imset.sci_header.get("EXPSTART", 0.0)) for _, imset in imsets]
    ends = [float(imset.sci_header.get("EXPEND", 0.0)) for _, imset in imsets]
    begin, end = header_double(min(starts)), header_double(max(ends))
    primary = {
        "TEXPTIME": header_float(exptot),
        "SKYSUM": (header_float(sequential_sum(combination.sky)), "Total sky level (DN)"),
        "TEXPSTRT": begin,
        "TEXPEND": end,
        "INITGUES": parameters.initial_guess,
        "SKYSUB": parameters.sky,
        "CRSIGMAS": sigmas,
        "MEANEXP": header_float(np.float64(exptot) / count),
        "CRRADIUS": header_float(parameters.radius),
        "CRTHRESH": header_float(parameters.threshold),
        "SCALENSE": header_float(parameters.scale_noise),
        "BADINPDQ": parameters.bad_bits,
        "CRMASK": crmask,
        "CRCORR": "COMPLETE",
    }
    if exptot > 0:
        primary["REJ_RATE"] = header_float(np.float32(combination.rejected_count) / exptot)
    sci = {"EXPTIME": header_float(exptot), "EXPSTART": begin, "EXPEND": end, "NCOMBINE": count}
    temperatures = [-1.0 if i.housing_temperature is None else i.housing_temperature for _, i in imsets]
    weights = np.array([imset.exptime for _, imset in imsets], dtype=np.float32)
    temptot = sequential_sum(np.array(temperatures, dtype=np.float32) * weights)
    if exptot > 0 and temptot > 0:
        sci["OCCDHTAV"] = header_float(temptot / exptot)

    imset = Imset.of_arrays(combination.sci, combination.err, combination.dq, template).with_keywords(sci)
    words = (
        f"{count} frames were combined and cosmic rays rejected in {len(parameters.sigmas)} pass(es) at {sigmas} sigma "
        f"(initial guess {parameters.initial_guess}, sky {parameters.sky}, radius {parameters.radius:g} "
        "pixels, threshold "
        f"{parameters.threshold:g}, multiplicative noise {parameters.scale_noise:g} percent, excluded flags "
        f"{parameters.bad_bits}; from {origin})."
    )
    records = tuple(record for exposure in exposures for record in exposure.inputs)
    # darks of several weeks have had several superbiases: what was done to any of them is told
    told = dict.fromkeys(sentence for exposure in exposures for sentence in exposure.procedure)
    product = first.changed(primary, [imset])
    return Exposure(
        primary=product.primary,
        imsets=product.imsets,
        path=first.path,
        inputs=records,
        procedure=(*told, words),
        input_dq=tuple(_updated_dq(i.dq, combination, n) for n, (_, i) in enumerate(imsets))
        if crmask
        else (),
    )


def _updated_dq(dq: Pixels, combination: Combination, n: int) -> Pixels:
    """Flags of one input, with 8192 where it was rejected and only there."""

    def produce(rows, columns):
        rejected = combination.rejected(n)[rows, columns]
        return (dq[rows, columns] & np.int16(~COSMIC_RAY)) | np.where(
            rejected, np.int16(COSMIC_RAY), np.int16(0)
        )

    return Pixels(dq.shape, np.int16, produce)
