"""Stage fit_rates: dark rates fitted to darks at their own temperatures, each pixel judged by its own noise."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refstis.calibration.darkcorr import DRK_VS_T, REF_TEMP
from refstis.calibration.darkfit import DarkModel, Recipe, combine_darks, superbias_variance
from refstis.calibration.superdark import draw_to_surroundings
from refstis.datamodels.association import ExposureLibrary
from refstis.datamodels.exposure import Exposure, Imset
from refstis.datamodels.keywords import header_double, header_float
from refstis.errors import ConfigurationError, InputError
from refstis.stages.base import RefstisStep
from refstis.stages.biascorr import open_reference
from refstis.stages.tempcorr import as_collected

__all__ = ["FitRatesStep"]

logger = logging.getLogger(__name__)


class FitRatesStep(RefstisStep):
    """Fit the dark rate of every pixel to its darks; it takes the place of crcorr and normalize.

    Cosmic rays are what exceeds a model of the pixel's own signal and noise at each dark's temperature, and its wings.
    """

    class_alias = "fit_rates"
    exact_at: float | None
    changed_before: np.ndarray | None = None

    spec = """
    skip       = boolean(default=True)  # Whether crcorr and normalize combine the darks, as refstis 0.8 did
    sigma      = float(min=1, default=4.0)  # Least significance of a cosmic ray (sigma)
    excess     = float(min=0, default=0.03)  # And its least size relative to the pixel's own signal
    neighbours = option('fit', 'leave_out', 'keep', default='fit')  # Pixels beside a hit: mean of its wings subtracted
    cut        = float(default=2.0)  # Neighbours that are raised by more are left out (sigma)
    penalty    = float(min=0, default=20.0)  # Price of a change of a pixel's rate (chi square); 0: no pixel changes
    near       = float(default=2.5)  # A rise is no cosmic ray by itself where no neighbour is raised as much (sigma)
    log_rates  = float_list(min=1, default=list(-2.5, -1.25, 1.0))  # Decimal logarithms of rates (e-/s at 18 C)
    slopes     = float_list(min=1, default=list(0.053, 0.088, 0.058))  # Relative change of these rates (1/deg C)
    scatter    = float(min=0, default=0.008)  # Scatter of the slopes of hot pixels (1/deg C)
    prior      = float(min=0, default=0.11)  # Uncertainty of OCCDHTAV (deg C); 0: not improved by the hot pixels
    exact_at   = float(default=None)  # Temperature that CALSTIS's scaling is exact at (deg C); mean of the darks
    changed    = option('mean', 'longest', default='mean')  # Rate of pixels that changed: the mean, or the longest one
    mark       = integer(min=0, max=32767, default=0)  # Flag of pixels that changed; 0 for none
    squares    = integer(min=0, default=0)  # Side of squares whose typical rate ordinary pixels are drawn to; 0: not
    ignored    = integer(min=0, max=32767, default=16)  # Flags that superbiases do not hand on
    threads    = integer(min=0, default=0)  # Threads; 0 for as many as are at hand
    """

    def process(self, darks):
        """Fit rates.

        Parameters
        ----------
        darks : str, os.PathLike, Exposure, ExposureLibrary or sequence
            Darks without overscan and bias, at their own or at the reference temperature.

        Returns
        -------
        Exposure
            One image set: the rate (e-/s), CRCORR COMPLETE.

        Raises
        ------
        InputError
            Where fewer than two image sets are usable, or they do not fit together.
        ConfigurationError
            Where slopes and rates are not of one length.
        """
        exposures = self._opened(darks)
        imsets = [(exposure, imset) for exposure in exposures for imset in exposure.imsets if imset.good]
        self._check(exposures, imsets)
        # changes of pixels are found in the order of time
        imsets.sort(key=lambda pair: float(pair[1].sci_header.get("EXPSTART", 0.0)))
        slopes = np.array(self.slopes, dtype=np.float64)
        if len(self.log_rates) != len(slopes) or np.any(np.diff(self.log_rates) <= 0):
            raise ConfigurationError(
                f"fit_rates: log_rates {self.log_rates} and slopes {self.slopes}; expected as many of both, log_rates "
                "ascending."
            )
        scales, warmth = zip(*(as_collected(self, *pair) for pair in imsets), strict=True)
        side2 = any(warmth)
        exact = REF_TEMP + float(np.mean(warmth)) if self.exact_at is None else self.exact_at
        model = DarkModel(
            np.array([imset.exptime for _, imset in imsets]),
            np.array(warmth),
            np.array([float(exposure.primary["READNSE"]) ** 2 for exposure, _ in imsets]),
            np.array(self.log_rates, dtype=np.float64),
            slopes,
            self.scatter if side2 else 0.0,
            0.0,
        )
        recipe = Recipe(
            self.sigma, self.excess, self.neighbours, self.cut, self.penalty, self.near, self.prior,
            exact - REF_TEMP if side2 else 0.0, self.changed == "longest",
        )  # fmt: skip
        shape = imsets[0][1].sci.shape

        def counts(rows):
            stack = np.empty((len(imsets), rows.stop - rows.start, shape[1]), dtype=np.float32)
            for plane, scale, (_, imset) in zip(stack, scales, imsets, strict=True):
                np.multiply(imset.sci[rows], scale, out=plane)
            return stack

        flagged = any(imset.dq.constant != 0 for _, imset in imsets)

        def flags(rows):
            return np.stack([imset.dq[rows] for _, imset in imsets]) if flagged else None

        changed = self.changed_before
        made = combine_darks(
            counts, flags, shape, model, recipe, self.threads,
            changed if changed is not None and changed.shape == shape else None,
        )  # fmt: skip
        if not np.isfinite(made.rate).all():
            raise InputError(
                f"{_names(exposures)}: pixels that are not finite numbers. Leave such files out."
            )
        slope = float(np.interp(np.log10(max(made.model.usual, 1e-30)), self.log_rates, slopes))
        # what CALSTIS multiplies by when it brings the rate to that temperature
        law = 1.0 + (slope * recipe.exact_at)
        electrons = float(np.mean(model.exptimes * (1.0 + slope * made.model.warmth)))
        variance = made.variance / law**2 + self._superbias_variance(imsets, electrons)
        rate, words = made.rate / law, ""
        if self.squares:
            rate, variance, spread = draw_to_surroundings(rate, variance, made.stretches > 1, self.squares)
            words = (
                f" Ordinary pixels, which differ by {100.0 * spread:.1f} percent, were drawn towards the typical rate "
                f"of squares of {self.squares} x {self.squares} pixels by the uncertainty of either."
            )
        return self._product(exposures, imsets, made, rate, variance, slope, side2, exact, words)

    def as_baseline(self, baseline: Path) -> None:
        """Give rates at the temperature at which those of a baseline dark are exact, and learn what has changed in it.

        Parameters
        ----------
        baseline : pathlib.Path
            The baseline dark. The temperature does not change where it does not say, or one is given.
        """
        opened = Exposure.open(baseline)
        temperature = opened.primary.get("EXACT_AT")
        if self.exact_at is None and temperature is not None:
            self.exact_at = float(temperature)
        if self.mark:
            self.changed_before = (opened.imsets[0].dq[:] & np.int16(self.mark)) != 0

    def _opened(self, darks):
        if isinstance(darks, ExposureLibrary) or (
            isinstance(darks, Sequence) and not isinstance(darks, str | bytes)
        ):
            return [self.open(dark) for dark in darks]
        return [self.open(darks)]

    def _check(self, exposures, imsets):
        names = _names(exposures)
        if len(imsets) < 2:
            raise InputError(
                f"{names}: {len(imsets)} usable image set; cosmic rays are found by comparing at least 2. Add darks."
            )
        shape = imsets[0][1].sci.shape
        for exposure, imset in imsets:
            if exposure.done("CRCORR"):
                raise InputError(
                    f"{exposure.name}: CRCORR is COMPLETE; it is a combination of exposures already. Give the single "
                    "exposures."
                )
            for key in ("READNSE", "ATODGAIN"):
                if not exposure.primary.get(key):
                    raise InputError(
                        f"{exposure.name}: {key} is {exposure.primary.get(key, 'missing')}; the overscan was not "
                        "subtracted. Run blevcorr first."
                    )
            if imset.sci.shape != shape:
                raise InputError(
                    f"{exposure.name}: {imset.sci.shape[1]} x {imset.sci.shape[0]} pixels; {exposures[0].name} has "
                    f"{shape[1]} x {shape[0]}. Combine darks of one mode."
                )
            if not imset.exptime > 0:
                raise InputError(
                    f"{exposure.name}: EXPTIME is {imset.exptime}; a dark needs its exposure time."
                )

    def _superbias_variance(self, imsets, electrons):
        """Variance of the rate that the superbiases leave, as far as their files are known."""
        known = {
            reference.path.name: reference.path
            for reference in self.root.references_used
            if reference.kind == "biasfile" and reference.path
        }
        used: dict[str, int] = {}
        for exposure, _ in imsets:
            name = str(exposure.primary.get("BIASFILE", "")).strip().split("$")[-1].split("/")[-1]
            used[name] = used.get(name, 0) + 1
        gain = float(imsets[0][0].primary["ATODGAIN"])
        errors, shares = [], []
        for name, count in used.items():
            if name not in known:
                logger.info("The superbias %s is not at hand: its noise is not in ERR.", name or "(none)")
                continue
            _, image = open_reference(known[name])
            if image.err.shape == imsets[0][1].sci.shape:
                errors.append(image.err * np.float32(gain))
                shares.append(count / len(imsets))
        return superbias_variance(errors, shares, electrons)

    def _product(self, exposures, imsets, made, rate, variance, slope, side2, exact, more):
        first = exposures[0]
        starts = [float(imset.sci_header.get("EXPSTART", 0.0)) for _, imset in imsets]
        ends = [float(imset.sci_header.get("EXPEND", 0.0)) for _, imset in imsets]
        begin, end = header_double(min(starts)), header_double(max(ends))
        total = float(np.sum(made.model.exptimes))
        primary = {
            "TEXPTIME": 1.0, "TEXPSTRT": begin, "TEXPEND": end, "CRCORR": "COMPLETE",
            "REJ_RATE": header_float(made.hit * rate.size * len(imsets) / total),
            "REF_TEMP": REF_TEMP, "DRK_VS_T": DRK_VS_T,
        }  # fmt: skip
        sci = {
            "EXPTIME": 1.0, "EXPSTART": begin, "EXPEND": end, "NCOMBINE": len(imsets), "BUNIT": "ELECTRONS/S"
        }  # fmt: skip
        words = (
            f"Rates were fitted to {len(imsets)} darks with the noise that they imply; {100.0 * made.hit:.2f} percent "
            f"of the pixels of a dark were left out as cosmic rays, at {self.sigma:g} sigma (neighbours: "
            f"{self.neighbours}, up to {self.cut:g} sigma); {int(np.count_nonzero(made.stretches > 1))} pixels changed "
            f"and have the {self.changed} of their rates (penalty {self.penalty:g})."
        )
        if side2:
            primary["TEMPCORR"] = ("COMPLETE", "dark scaled to the reference temperature")
            primary["DRK_VS_T"] = round(slope, 5)
            primary["EXACT_AT"] = round(exact, 4)
            mean = float(np.mean(made.model.warmth)) + REF_TEMP
            sci["OCCDHTAV"] = header_float(mean)
            words += (
                f" Every pixel was brought to {exact:.2f} C by the slope of its rate, {min(self.slopes):g} to "
                f"{max(self.slopes):g} per deg C with a scatter of {self.scatter:g}, and is given as what "
                f"1 + {slope:.5f} (T - {REF_TEMP:g} C) brings to that; temperatures of darks are those of their hot "
                f"pixels about OCCDHTAV +- {self.prior:g} C."
            )
        else:
            words += " Side 1: the CCD was temperature controlled and the darks were not scaled."
        words += more
        imset = Imset.of_arrays(
            rate.astype(np.float32),
            np.sqrt(variance).astype(np.float32),
            (made.flags & np.int16(~self.ignored))
            | np.where(made.stretches > 1, self.mark, 0).astype(np.int16),
            first.imsets[0],
        ).with_keywords(sci, {"BUNIT": "ELECTRONS/S"})
        product = first.changed(primary, [imset])
        told = dict.fromkeys(sentence for exposure in exposures for sentence in exposure.procedure)
        return Exposure(
            primary=product.primary,
            imsets=product.imsets,
            path=first.path,
            inputs=tuple(record for exposure in exposures for record in exposure.inputs),
            procedure=(*told, words),
        )


def _names(exposures):
    return exposures[0].name if len(exposures) == 1 else f"{exposures[0].name} and {len(exposures) - 1} more"
