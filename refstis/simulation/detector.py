"""A STIS CCD of which everything is known: maps, hot pixels, temperature and levels.

The figures and their sources are in ``config/simulation.yaml``; `Detector` draws one chip from them.
"""

import functools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from refstis.datamodels import config_path
from refstis.errors import ConfigurationError
from refstis.simulation import kernels, streams
from refstis.simulation.readout import Readout

__all__ = ["Detector", "Frame", "bias_frame", "dark_frame", "parameters"]

_MJD_UNIX = 40587.0


@functools.cache
def parameters() -> dict[str, Any]:
    """The contents of ``config/simulation.yaml``.

    Returns
    -------
    dict
        Sections ``epochs``, ``detector``, ``dark``, ``cosmic_rays``, ``transfer`` and ``cadence``.
    """
    import yaml

    return yaml.safe_load(config_path("simulation.yaml").read_text())


def mjd_of(moment: datetime) -> float:
    """Modified Julian date of a UTC date and time without a time zone.

    Parameters
    ----------
    moment : datetime.datetime
        Without a time zone.

    Returns
    -------
    float
        The date (MJD).
    """
    return moment.replace(tzinfo=UTC).timestamp() / 86400.0 + _MJD_UNIX


def date_of(mjd: float) -> datetime:
    """UTC date and time, to the second, of a modified Julian date.

    Parameters
    ----------
    mjd : float
        Modified Julian date.

    Returns
    -------
    datetime.datetime
        Without a time zone.
    """
    return datetime.fromtimestamp(round((mjd - _MJD_UNIX) * 86400.0), UTC).replace(tzinfo=None)


@dataclass
class Frame:
    """One simulated raw image and what is known about it.

    Attributes
    ----------
    data : numpy.ndarray
        uint16 raw frame (DN), overscan included.
    readout : Readout
        How it was read.
    name : str
        What the frame's random streams are named after.
    mjd, exptime : float
        Start (MJD) and exposure time (s).
    temperature, header_temperature : float
        True housing temperature and the quantized OCCDHTAV (deg C; -1 on Side 1).
    level, level_by_row, level_by_column : float
        Bias level in the middle row at the middle of the overscan section, and its slopes (DN).
    least, most, total : int
        Smallest and largest value, and the sum of all.
    hit_index, hit_charge : numpy.ndarray
        Flat index into the sensor (int32) and charge (electrons, uint16) of every pixel to which cosmic rays
        gave at least one electron.
    events : int
        Number of cosmic rays.
    """

    data: np.ndarray
    readout: Readout
    name: str
    mjd: float
    exptime: float
    temperature: float
    header_temperature: float
    level: float
    level_by_row: float
    level_by_column: float
    least: int
    most: int
    total: int
    hit_index: np.ndarray = field(repr=False)
    hit_charge: np.ndarray = field(repr=False)
    events: int = 0


class Detector:
    """One simulated chip over some time.

    Parameters
    ----------
    seed : int
        Everything follows from it.
    epoch : int
        1999, 2009, 2017 or 2023.
    size : str
        ``full`` or ``small`` (a sixteenth of the pixels).
    begin : float, optional
        First moment (MJD); default that of the epoch.
    days : float
        For how long hot pixels are born.
    anneals : sequence of float
        When annealing heals hot pixels (MJD).
    cti : bool
        Charge transfer inefficiency.
    tables : dict of numpy.ndarray, optional
        ``base``, ``hot`` and ``columns`` of another detector, in place of new ones.

    Attributes
    ----------
    base : numpy.ndarray
        Dark rate of the ordinary pixels at 18 C (electrons/s), float32, shape of the sensor.
    hot : dict of numpy.ndarray
        One entry per hot pixel: row ``y`` and column ``x`` on the sensor; ``rate`` above the ordinary one at
        18 C (electrons/s); relative ``slope`` with temperature (1/deg C); ``born`` and ``healed`` (MJD);
        ``swing``: relative change of unstable pixels, every ``days`` up or down by chance, counted from
        ``phase`` (days).
    columns : dict of numpy.ndarray
        Hot columns: ``x``, row ``y`` of the origin, ``charge`` (electrons per row), ``born`` (MJD).
    """

    def __init__(
        self,
        seed: int = 0,
        epoch: int = 2017,
        size: str = "full",
        *,
        begin: float | None = None,
        days: float = 28.0,
        anneals: tuple[float, ...] = (),
        cti: bool = False,
        tables: dict[str, Any] | None = None,
    ):
        epochs = parameters()["epochs"]
        if epoch not in epochs:
            raise ConfigurationError(
                f"epoch {epoch!r} cannot be simulated: give one of {', '.join(map(str, epochs))}"
            )
        self.seed, self.epoch, self.size, self.days, self.cti = seed, epoch, size, days, cti
        self.anneals = tuple(anneals)
        self.figures = epochs[epoch]
        self.begin = mjd_of(self.figures["begin"]) if begin is None else begin
        self.sensor = Readout(size=size).sensor
        if tables is None:
            self.base = self._draw_base()
            self.hot = self._draw_hot()
            self.columns = self._draw_columns()
        else:
            self.base, self.hot, self.columns = tables["base"], tables["hot"], tables["columns"]
        self._patterns: dict[Readout, np.ndarray] = {}

    def _stream(self, *names: object) -> np.ndarray:
        return streams.stream("refstis", self.seed, self.epoch, self.size, *names)

    @property
    def side(self) -> int:
        """Electronics side: 1, or 2 since July 2001."""
        return self.figures["side"]

    @property
    def density(self) -> float:
        """Pixels of this sensor relative to the whole chip."""
        return self.sensor[0] * self.sensor[1] / 1024.0**2

    # --- what the chip is like ---------------------------------------------------------------------

    def _draw_base(self) -> np.ndarray:
        dark = parameters()["dark"]
        ny, nx = self.sensor
        scatter = streams.exp_array(
            dark["scatter"] * streams.normal_array(self._stream("ordinary dark rate"), ny * nx)
        ).reshape(ny, nx)
        gradient = 1.0 - self.figures["dark_gradient"] * ((np.arange(ny) + 0.5) / ny - 0.5)
        return (self.figures["dark_rate"] * scatter * gradient[:, None]).astype(np.float32)

    def _rate_quantiles(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of hot pixels hotter than certain rates, from the hottest to the mildest."""
        dark = parameters()["dark"]
        counts = {float(rate): float(number) for rate, number in self.figures["hot_pixels"].items()}
        warm = max(dark["warm_limit"], 2.0 * self.figures["dark_rate"])
        rates = np.array([dark["top_rate"], 10.0, 1.0, 0.1, warm])
        numbers = np.array(
            [
                counts[10.0] * (dark["top_rate"] / 10.0) ** -dark["top_exponent"],
                counts[10.0],
                counts[1.0],
                counts[0.1],
                counts[0.1] * (0.1 / warm) ** dark["warm_exponent"],
            ]
        )
        return rates, numbers

    def _draw_hot(self) -> dict[str, np.ndarray]:
        dark = parameters()["dark"]
        rates, numbers = self._rate_quantiles()
        older = round(numbers[-1] * self.density)
        per_day = self.figures["births_per_day"] * numbers[-1] / numbers[3] * self.density
        stream = self._stream("hot pixels")
        younger = int(streams.poisson_array(stream, np.array([per_day * self.days]))[0])
        n = older + younger
        ny, nx = self.sensor

        def uniform() -> np.ndarray:
            return streams.uniform_array(stream, n)

        y = (uniform() * ny).astype(np.int32)
        x = (uniform() * nx).astype(np.int32)
        # Rates: invert N(> rate), a straight line between the counts in logarithms.
        log_rate = np.interp(
            streams.log_array(uniform() * numbers[-1]), streams.log_array(numbers), streams.log_array(rates)
        )
        total = streams.exp_array(log_rate)
        rate = np.maximum(total - self.figures["dark_rate"], 1e-4)
        slope = np.interp(log_rate / 2.302585092994046, dark["slope_log_rate"], dark["slope_median"])
        slope = np.clip(slope + dark["slope_scatter"] * streams.normal_array(stream, n), *dark["slope_range"])
        born = np.concatenate([np.full(older, -np.inf), self.begin + np.sort(uniform()[older:]) * self.days])
        healed = np.full(n, np.inf)
        chance = uniform()
        last = self.begin
        for anneal in sorted(self.anneals):
            recent = (born > last) & (born <= anneal)
            healed[recent & (chance < self.figures["anneal_heals"])] = anneal
            last = anneal
        low, high = dark["unstable_swing"]
        swing = np.where(uniform() < dark["unstable"], low + (high - low) * uniform(), 0.0)
        low, high = streams.log_array(np.array(dark["unstable_days"]))
        days = streams.exp_array(low + (high - low) * uniform())
        phase = uniform() * days
        return {
            "y": y,
            "x": x,
            "rate": rate.astype(np.float32),
            "slope": slope.astype(np.float32),
            "born": np.round(born, 6),
            "healed": healed,
            "swing": swing.astype(np.float32),
            "days": np.round(days, 4),
            "phase": np.round(phase, 4),
        }

    def _draw_columns(self) -> dict[str, np.ndarray]:
        detector = parameters()["detector"]
        ny, nx = self.sensor
        stream = self._stream("hot columns")
        young = round(detector["hot_column_births"] * self.days / 28.0)
        n = max(2, round(detector["hot_columns"] * nx / 1024.0)) + young
        low, high = streams.log_array(np.array(detector["hot_column_charge"]))
        charge = streams.exp_array(low + (high - low) * streams.uniform_array(stream, n))
        born = np.full(n, -np.inf)
        born[n - young :] = np.round(self.begin + streams.uniform_array(stream, young) * self.days, 6)
        return {
            "x": (streams.uniform_array(stream, n) * nx).astype(np.int32),
            "y": (streams.uniform_array(stream, n) * ny).astype(np.int32),
            "charge": charge.astype(np.float32),
            "born": born,
        }

    def pattern(self, readout: Readout) -> np.ndarray:
        """Fixed structure of raw frames relative to the overscan section, without any charge.

        Parameters
        ----------
        readout : Readout
            How frames are read.

        Returns
        -------
        numpy.ndarray
            float32, shape of the raw frame (DN).
        """
        if readout not in self._patterns:
            self._patterns[readout] = self._draw_pattern(readout)
        return self._patterns[readout]

    def _draw_pattern(self, readout: Readout) -> np.ndarray:
        detector = parameters()["detector"]
        rows, columns = readout.trim
        ny, nx = readout.shape
        stream = self._stream("pattern", readout.amp, readout.mode)
        by_column = detector["column_rms"] * streams.normal_array(stream, nx)
        by_row = detector["row_rms"] * streams.normal_array(stream, ny)
        order = np.arange(ny)[::-1] if readout.from_top else np.arange(ny)
        tilt = detector["tilt"] * (order / ny - 0.5)
        pattern = np.zeros((ny, nx))
        light = np.zeros((ny, nx), dtype=bool)
        light[rows, columns] = True
        pattern += np.where(light, by_column[None, :] + by_row[:, None] + tilt[:, None], 0.0)
        first = rows.stop - 1 if readout.from_top else rows.start
        pattern[first, columns] += detector["top_row"]
        leading = slice(columns.stop, nx) if readout.from_right else slice(0, columns.start)
        pattern[:, leading] += detector["prescan_step"]
        virtual = slice(0, rows.start) if readout.from_top else slice(rows.stop, ny)
        pattern[virtual, columns] += detector["virtual_step"]
        return (pattern / detector["gain"][readout.gain]).astype(np.float32)

    # --- how it is at some moment ------------------------------------------------------------------

    def _wave(self, name: str, mjd: float, amplitudes: list[float], periods: list[float]) -> float:
        """A slow, irregular function of time: a few sines with phases of their own."""
        phases = streams.uniform_array(self._stream(name), len(periods))
        table = streams.tables()[1]
        turns = (mjd - self.begin) / np.array(periods) + phases
        return float(np.dot(amplitudes, table[((turns % 1.0) * table.size).astype(int)]))

    def temperature(self, mjd: float) -> float:
        """True housing temperature at a moment.

        Parameters
        ----------
        mjd : float
            When.

        Returns
        -------
        float
            deg C; 18 on Side 1, where the temperature of the CCD itself was held.
        """
        if self.side == 1:
            return self.figures["temperature"]
        dark = parameters()["dark"]
        swing = self._wave("temperature", mjd, dark["housing_swing"], dark["housing_days"])
        return round(self.figures["temperature"] + swing, 4)

    def header_temperature(self, temperature: float) -> float:
        """OCCDHTAV as telemetry gives it: one of few values, -1 on Side 1."""
        if self.side == 1:
            return -1.0
        ladder = np.array(parameters()["dark"]["housing_ladder"])
        return float(ladder[np.argmin(np.abs(ladder - temperature))])

    def hot_rate(self, mjd: float) -> np.ndarray:
        """Rate of every hot pixel at 18 C at a moment, above the ordinary rate.

        Parameters
        ----------
        mjd : float
            When.

        Returns
        -------
        numpy.ndarray
            float64 (electrons/s); 0 before birth and after healing.
        """
        hot = self.hot
        rate = np.where((hot["born"] <= mjd) & (hot["healed"] > mjd), hot["rate"], 0.0).astype(np.float64)
        unstable = np.flatnonzero(hot["swing"] > 0.0)
        if unstable.size:
            bins = np.floor((mjd - self.begin + hot["phase"][unstable]) / hot["days"][unstable]).astype(
                np.int64
            )
            # One random bit for each pixel and bin, whatever was asked for before.
            key = (unstable.astype(np.uint64) << np.uint64(20)) ^ (bins + 512).astype(np.uint64)
            key = (key + np.uint64(self.seed & 0xFFFFFFFF)) * np.uint64(0x9E3779B97F4A7C15)
            key = (key ^ (key >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            up = ((key >> np.uint64(40)) & np.uint64(1)).astype(bool)
            rate[unstable] *= 1.0 + np.where(up, 1.0, -1.0) * hot["swing"][unstable]
        return rate

    def dark_rate(self, mjd: float, temperature: float = 18.0) -> np.ndarray:
        """Dark rate of every sensor pixel at a moment.

        Parameters
        ----------
        mjd : float
            When.
        temperature : float
            Housing temperature (deg C).

        Returns
        -------
        numpy.ndarray
            float64 (electrons/s), shape of the sensor.
        """
        rate = self.base.astype(np.float64) * self.base_factor(temperature)
        hot = self.hot_rate(mjd) * (1.0 + self.hot["slope"].astype(np.float64) * (temperature - 18.0))
        np.add.at(rate, (self.hot["y"], self.hot["x"]), hot)
        return rate

    def base_factor(self, temperature: float) -> float:
        """Rate of ordinary pixels at a housing temperature, relative to that at 18 C."""
        dark = parameters()["dark"]
        log_rate = np.log10(self.figures["dark_rate"])
        slope = round(float(np.interp(log_rate, dark["slope_log_rate"], dark["slope_median"])), 6)
        return 1.0 + slope * (temperature - 18.0)

    def mean_charge(
        self,
        readout: Readout,
        mjd: float,
        exptime: float,
        temperature: float,
        scene: np.ndarray | None = None,
    ) -> np.ndarray:
        """Expected electrons, cosmic rays apart.

        Parameters
        ----------
        readout : Readout
            How the frame is read: the direction decides on trails of hot pixels and on spurious charge.
        mjd, exptime : float
            Start (MJD) and exposure time (s).
        temperature : float
            Housing temperature (deg C).
        scene : numpy.ndarray, optional
            Light (electrons/s), shape of the sensor.

        Returns
        -------
        numpy.ndarray
            float32, unbinned rows of the frame (virtual ones included) by sensor columns.
        """
        detector = parameters()["detector"]
        rows = readout.shape[0] * readout.bins[1]
        out = np.empty((rows, self.sensor[1]), dtype=np.float32)
        seconds = exptime + detector["wait"]
        rate = self.hot_rate(mjd)
        active = np.flatnonzero(rate)
        rate = rate[active] * (1.0 + self.hot["slope"][active].astype(np.float64) * (temperature - 18.0))
        there = self.columns["born"] <= mjd
        mode = "1 1x1" if readout.size == "small" and readout.gain == 1 else readout.mode
        spurious = detector["spurious_charge"].get(mode, detector["spurious_charge"][f"{readout.gain} 1x1"])
        row_time = readout.shape[1] * detector["pixel_time"] + detector["row_overhead"]
        kernels.mean_charge(
            out,
            self.base,
            self.base_factor(temperature) * seconds,
            readout.offset[1],
            readout.from_top,
            2.0 * spurious / (readout.bins[0] * readout.bins[1]),
            (self.columns["x"][there], self.columns["y"][there], self.columns["charge"][there]),
            (self.hot["y"][active], self.hot["x"][active], rate * seconds, rate),
            row_time / readout.bins[1],
        )
        if scene is not None:
            first = readout.offset[1]
            out[first : first + self.sensor[0]] += (scene * exptime).astype(np.float32)
        return out

    def noise(self, readout: Readout) -> float:
        """Read noise as measured on frames: white noise, pick-up and digitization together.

        Parameters
        ----------
        readout : Readout
            How frames are read.

        Returns
        -------
        float
            Electrons rms.
        """
        value = self.figures["read_noise"][readout.gain]
        if readout.binning == (1, 1) or readout.gain != 1:
            return value
        name = "x".join(map(str, readout.binning))
        return round(value * parameters()["detector"]["binned_noise"][name], 4)

    def ccdbias(self, readout: Readout) -> float:
        """CCDBIAS of the epoch's CCDTAB (DN)."""
        modes = self.figures["ccdbias"] | {
            mode: value
            for mode, value in parameters()["detector"]["other_ccdbias"].items()
            if mode not in self.figures["ccdbias"]
        }
        return modes.get(readout.mode, modes["1 1x1"] if readout.gain == 1 else modes["4 1x1"])

    def typical_level(self, readout: Readout) -> float:
        """Bias level of the epoch in the overscan section (DN)."""
        if readout.mode in self.figures["level"]:
            return self.figures["level"][readout.mode]
        return self.ccdbias(readout) + self.figures["level"]["1 2x2"] - self.figures["ccdbias"]["1 2x2"]

    # --- exposures ---------------------------------------------------------------------------------

    def expose(
        self,
        name: str,
        mjd: float,
        exptime: float,
        readout: Readout,
        *,
        in_visit: int = 0,
        scene: np.ndarray | None = None,
    ) -> Frame:
        """Take one exposure.

        Parameters
        ----------
        name : str
            Name of the exposure; with the seed it decides every random number.
        mjd : float
            Start (MJD).
        exptime : float
            Exposure time (s); 0 for a bias.
        readout : Readout
            How to read it.
        in_visit : int
            How many frames of the visit came before: the level rises at first.
        scene : numpy.ndarray, optional
            Light (electrons/s), shape of the sensor.

        Returns
        -------
        Frame
            The raw image and its truth.
        """
        if readout.size != self.size:
            raise ConfigurationError(f"a {readout.size} read-out of a {self.size} detector")
        detector, rays = parameters()["detector"], parameters()["cosmic_rays"]
        normal, sine, guide, distribution = streams.tables()
        temperature = self.temperature(mjd)
        mean = self.mean_charge(readout, mjd, exptime, temperature, scene)
        charge = np.empty_like(mean)
        stream = self._stream(name, "charge")
        if exptime > 0.0:
            kernels.collect(charge, mean, stream, normal, guide, distribution)
        else:
            kernels.collect_fast(charge, mean, 4.0, stream, normal, guide, distribution)

        hits = np.zeros(self.sensor, dtype=np.float32)
        stream = self._stream(name, "cosmic rays")
        expected = rays["rate"] * (exptime + rays["read_out"]) * self.density
        events = int(streams.poisson_array(stream, np.array([expected]))[0])
        kernels.strike(hits, events, *_ray_tables(), stream, normal)
        index, struck = np.empty(hits.size, dtype=np.int32), np.empty(hits.size, dtype=np.uint16)
        number, fullest = kernels.deposit(charge, hits, readout.offset[1], index, struck)
        if fullest > detector["full_well"]:
            kernels.bleed(charge, detector["full_well"])
        if self.cti:
            self._transfer(charge, mean, readout, mjd)

        gain = detector["gain"][readout.gain]
        draws = streams.normal_array(self._stream(name, "level"), 4)
        visit = streams.normal_array(self._stream("visit", name[:6]), 1)[0]
        rise = detector["level_rise"] * (1.0 - 0.5**in_visit)
        level = self.typical_level(readout) + detector["level_scatter"] * visit + rise + 0.2 * draws[0]
        by_row, by_column = detector["slope_rows"] * draws[1], detector["slope_columns"] * draws[2]
        ny, nx = readout.shape
        middle = (readout.section.start + readout.section.stop - 1) / 2.0
        frame = np.empty((ny, nx), dtype=np.uint16)
        amplitude = self.figures["herringbone"]
        white = np.sqrt(max(self.noise(readout) ** 2 - amplitude**2 - gain**2 / 12.0, 0.01))
        least, most, total = kernels.read_out(
            frame,
            charge,
            readout.offset[0],
            readout.bins,
            readout.from_top,
            readout.from_right,
            self.pattern(readout),
            gain,
            float(white),
            (level, by_row, by_column, ny / 2.0, middle),
            detector["row_depression"],
            self._tone(name, mjd, amplitude),
            self._stream(name, "read-out"),
            normal,
            sine,
        )
        return Frame(
            data=frame,
            readout=readout,
            name=name,
            mjd=mjd,
            exptime=exptime,
            temperature=temperature,
            header_temperature=self.header_temperature(temperature),
            level=float(level),
            level_by_row=float(by_row),
            level_by_column=float(by_column),
            least=int(least),
            most=int(most),
            total=int(total),
            hit_index=index[:number].copy(),
            hit_charge=struck[:number].copy(),
            events=events,
        )

    def _tone(self, name: str, mjd: float, amplitude: float) -> tuple[float, np.uint64, np.uint64, np.uint64]:
        detector = parameters()["detector"]
        low, high = detector["herringbone_hertz"]
        swing = 0.5 * (high - low)
        hertz = 0.5 * (high + low) + swing * self._wave("herringbone", mjd, [0.6, 0.3], [3.1, 0.37])
        start, wander = streams.uniform_array(self._stream(name, "herringbone"), 2)
        hertz += 30.0 * (wander - 0.5)
        by_pixel = np.uint64(int(hertz * detector["pixel_time"] % 1.0 * 2.0**32))
        by_row = np.uint64(int(hertz * detector["row_overhead"] % 1.0 * 2.0**32))
        return amplitude * 2.0**0.5, np.uint64(int(start * 2.0**32)), by_pixel, by_row

    def _transfer(self, charge: np.ndarray, mean: np.ndarray, readout: Readout, mjd: float) -> None:
        figures = parameters()["transfer"]
        years = (mjd - figures["reference_mjd"]) / 365.25
        spread = streams.normal_array(self._stream("transfer"), self.sensor[1])
        strength = np.clip(1.0 + figures["column_rms"] * spread, 0.5, 1.7) * max(
            1.0 + figures["per_year"] * years, 0.1
        )
        kernels.transfer(
            charge,
            readout.from_top,
            float(np.median(mean)),
            strength,
            figures["norm"],
            figures["power"],
            figures["background_factor"],
            figures["background_power"],
            figures["trail"],
        )


@functools.cache
def _ray_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, float, np.ndarray]:
    from statistics import NormalDist

    rays = parameters()["cosmic_rays"]
    profile = NormalDist(0.0, rays["diffusion"])
    positions = 32
    edges = np.array([[k - 3 - (i + 0.5) / positions for k in range(8)] for i in range(positions)])
    cumulative = np.vectorize(profile.cdf)(edges)
    weights = np.round(np.diff(cumulative, axis=1) * 2.0**30) / 2.0**30
    return (
        np.array(rays["fractions"]),
        streams.log_array(np.array(rays["charge"])),
        streams.log_array(1.0 + np.array(rays["length"])),
        rays["rank_scatter"],
        weights,
    )


def bias_frame(
    detector: Detector, name: str, mjd: float | None = None, readout: Readout | None = None
) -> Frame:
    """A bias.

    Parameters
    ----------
    detector : Detector
        The chip.
    name : str
        Name of the exposure.
    mjd : float, optional
        When; default the detector's first moment.
    readout : Readout, optional
        How to read it; default amplifier D, gain 1, unbinned.

    Returns
    -------
    Frame
        The raw image and its truth.

    Examples
    --------
    >>> chip = Detector(seed=1, size="small")
    >>> frame = bias_frame(chip, "first")
    >>> frame.data.shape, frame.data.dtype
    ((266, 271), dtype('uint16'))
    """
    return detector.expose(
        name, detector.begin if mjd is None else mjd, 0.0, readout or Readout(size=detector.size)
    )


def dark_frame(
    detector: Detector,
    name: str,
    mjd: float | None = None,
    exptime: float = 1100.0,
    readout: Readout | None = None,
) -> Frame:
    """A dark.

    Parameters
    ----------
    detector : Detector
        The chip.
    name : str
        Name of the exposure.
    mjd : float, optional
        When; default the detector's first moment.
    exptime : float
        Exposure time (s).
    readout : Readout, optional
        How to read it; default amplifier D, gain 1, unbinned.

    Returns
    -------
    Frame
        The raw image and its truth.
    """
    return detector.expose(
        name, detector.begin if mjd is None else mjd, exptime, readout or Readout(size=detector.size)
    )
