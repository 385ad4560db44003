"""Anneal months of raw exposures with their truth: what the instrument takes, and when."""

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from refstis.cores import cores
from refstis.datamodels.atomic import atomic_write, make_folder
from refstis.errors import ConfigurationError, OutputError
from refstis.simulation import streams
from refstis.simulation.detector import Detector, Frame, date_of, mjd_of, parameters
from refstis.simulation.raws import Exposure, write_raw
from refstis.simulation.readout import Readout
from refstis.simulation.references import write_references
from refstis.simulation.truth import save_hits, save_truth

__all__ = ["PRODUCTS", "Month", "Simulation", "plan_months", "simulate"]

PRODUCTS = ("biases", "darks", "short-darks", "binned", "anneals", "science")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Month:
    """The time between two anneals.

    Attributes
    ----------
    begin, end : float
        End of one anneal and begin of the next (MJD).
    anneal_end : float
        End of the anneal that closes the month (MJD).
    weeks : tuple of tuple of float
        Begin and end of each week.
    exposures : tuple of Exposure
        In the order of time.
    """

    begin: float
    end: float
    anneal_end: float
    weeks: tuple[tuple[float, float], ...]
    exposures: tuple[Exposure, ...]


@dataclass
class Simulation:
    """What a simulation wrote.

    Attributes
    ----------
    folder : pathlib.Path
        Where everything lies.
    raws : list of pathlib.Path
        Raw files in the order of time.
    oref : pathlib.Path
        Folder of reference tables: what ``$oref`` is to point at.
    anneals : pathlib.Path
        Anneal table of the simulated months.
    associations : dict of str to pathlib.Path
        By name of the product.
    truth : pathlib.Path
        Truth of the whole.
    """

    folder: Path
    raws: list[Path] = field(default_factory=list)
    oref: Path = Path()
    anneals: Path = Path()
    associations: dict[str, Path] = field(default_factory=dict)
    truth: Path = Path()


def _weeks(begin: float, end: float) -> tuple[tuple[float, float], ...]:
    """Weeks of a month as reference files have them: at most nine days each, the longer ones first."""
    days = int(end - begin)
    number = max(1, -(-days // 9))
    lengths = [days // number + (1 if i < days % number else 0) for i in range(number)]
    starts = begin + np.concatenate([[0], np.cumsum(lengths[:-1])])
    return tuple(zip(starts.tolist(), [*starts[1:].tolist(), end], strict=True))


class _Namer:
    """Rootnames like the archive's: o, programme, visit, exposure; q for one imset, 0 for several."""

    def __init__(self) -> None:
        self._visits: dict[str, int] = {}

    def visit(self, code: str) -> tuple[str, str]:
        number = self._visits.get(code, 0) + 1
        self._visits[code] = number
        over, rest = divmod(number, 36 * 36)
        last = _DIGITS[(_DIGITS.index(code[2]) + over) % 36]
        return "o" + code[:2] + last, _DIGITS[rest // 36] + _DIGITS[rest % 36]

    @staticmethod
    def single(prefix: str, visit: str, number: int) -> str:
        return f"{prefix}{visit}{_DIGITS[(number * 7 + 10) % 36]}{_DIGITS[number % 36]}q"


class _Planner:
    def __init__(self, detector: Detector, amp: str, gain: int, binning: tuple[int, int], size: str):
        self.figures = detector.figures
        self.cadence = parameters()["cadence"]
        self.amp, self.gain, self.binning, self.size = amp, gain, binning, size
        self.namer = _Namer()
        self.stream = streams.stream("refstis", detector.seed, detector.epoch, "plan")
        self.exposures: list[Exposure] = []

    def _jitter(self, width: float) -> float:
        return width * (2.0 * float(streams.uniform_array(self.stream, 1)[0]) - 1.0)

    def _free(self, start: float, seconds: float) -> float:
        """The first moment from `start` at which nothing else is taken."""
        need = seconds / 86400.0 + 0.002
        for other in sorted(self.exposures, key=lambda exposure: exposure.starts[0]):
            if start < other.end + 0.002 and other.starts[0] < start + need:
                start = other.end + 0.003
        return start

    def add(
        self,
        kind: str,
        programme: str,
        start: float,
        exptime: float,
        imsets: int,
        readout: Readout,
        target: str,
    ) -> None:
        """Plan a visit of one raw file."""
        xbin, ybin = readout.bins
        overhead = self.cadence["bias_seconds"] * (0.4 + 0.6 / (xbin * ybin))
        seconds = imsets * (exptime + overhead)
        start = self._free(start, seconds)
        starts = tuple(round(start + i * (exptime + overhead) / 86400.0, 8) for i in range(imsets))
        prefix, visit = self.namer.visit(self.figures["codes"][programme])
        expnames = tuple(self.namer.single(prefix, visit, i + 1) for i in range(imsets))
        self.exposures.append(
            Exposure(
                rootname=expnames[0] if imsets == 1 else f"{prefix}{visit}010",
                kind=kind,
                readout=readout,
                starts=starts,
                exptime=exptime,
                expnames=expnames,
                proposal=self.figures["programmes"][programme],
                visit=visit,
                title=self.cadence["titles"][programme],
                target=target,
            )
        )

    def biases(self, weeks: Sequence[tuple[float, float]], imsets: Sequence[int], readout: Readout) -> None:
        for (begin, end), number in zip(weeks, imsets, strict=True):
            if number == 0:
                continue
            files = -(-number // self.cadence["imsets_per_file"])
            for i, part in enumerate(np.array_split(np.arange(number), files)):
                start = begin + (end - begin - 0.3) * (i + 0.5) / files + 0.1 + self._jitter(0.05)
                self.add("bias", "bias", start, 0.0, len(part), readout, "BIAS")

    def month(
        self, begin: float, end: float, products: Sequence[str], imsets: Sequence[int]
    ) -> tuple[tuple[float, float], ...]:
        cadence = self.cadence
        weeks = _weeks(begin, end)
        readout = Readout(self.amp, self.gain, self.binning, self.size)
        days = end - begin
        if "darks" in products:
            number = max(1, round(cadence["darks_per_day"] * days))
            first = min(cadence["first_dark"], 0.3 * days)
            spacing = (days - first - 0.2) / number
            for i in range(number):
                start = begin + first + spacing * i + self._jitter(0.3 * spacing) * (i > 0)
                self.add("dark", "dark", start, cadence["dark_exptime"], 1, readout, "DARK")
        if "short-darks" in products:
            number = round(cadence["short_darks_per_day"] * days)
            for i in range(number):
                start = begin + 0.1 + (days - 0.3) * i / number
                self.add("dark", "dark", start, cadence["short_dark_exptime"], 1, readout, "DARK")
        if "biases" in products:
            self.biases(weeks, imsets, readout)
            if (self.gain, tuple(self.binning)) == (1, (1, 1)):
                high = Readout(self.amp, 4, self.binning, self.size)
                for begin_week, end_week in weeks:
                    for i in range(cadence["gain4_files_per_week"]):
                        start = (
                            begin_week
                            + (end_week - begin_week - 0.3) * (i + 0.4) / cadence["gain4_files_per_week"]
                        )
                        self.add("bias", "bias", start, 0.0, cadence["gain4_imsets"], high, "BIAS")
        if "binned" in products:
            for day in range(int(days)):
                for binning in ((1, 2), (2, 1), (2, 2)):
                    mode = Readout(self.amp, 1, binning, "full")
                    self.add("bias", "bias", begin + day + 0.5, 0.0, cadence["binned_imsets"], mode, "BIAS")
        if "anneals" in products:
            for start in (begin + 0.02, end - 0.12):
                self.add("bias", "anneal", start, 0.0, 5, readout, "BIAS")
                self.add("dark", "anneal", start + 0.01, cadence["dark_exptime"], 5, readout, "DARK")
        if "science" in products:
            self.add("science", "science", begin + 0.6 * days, 1000.0, 2, readout, "FAINT-STAR")
        return weeks


def plan_months(
    detector: Detector,
    months: Sequence[tuple[float, float, float]],
    products: Sequence[str],
    imsets: Sequence[int],
    amp: str = "D",
    gain: int = 1,
    binning: tuple[int, int] = (1, 1),
) -> list[Month]:
    """What is taken in some anneal months.

    Parameters
    ----------
    detector : Detector
        The chip.
    months : sequence of tuple of float
        Begin, end, and end of the closing anneal (MJD).
    products : sequence of str
        Of `PRODUCTS`.
    imsets : sequence of int
        Imsets of biases in each week; repeated when there are more weeks.
    amp : str
        Amplifier.
    gain : int
        CCDGAIN of the biases and darks; with gain 1 unbinned there are biases of gain 4 too.
    binning : tuple of int
        BINAXIS1 and BINAXIS2.

    Returns
    -------
    list of Month
        With the exposures in the order of time.
    """
    planner = _Planner(detector, amp, gain, binning, detector.size)
    planned = []
    done = 0
    for begin, end, anneal_end in months:
        planner.exposures = []
        number = len(_weeks(begin, end))
        chosen = [imsets[(done + i) % len(imsets)] for i in range(number)]
        weeks = planner.month(begin, end, products, chosen)
        done += number
        exposures = tuple(sorted(planner.exposures, key=lambda exposure: exposure.starts[0]))
        planned.append(Month(begin, end, anneal_end, weeks, exposures))
    return planned


def _associations(months: Sequence[Month]) -> dict[str, dict[str, Any]]:
    """Associations of every product of the months: name of the product to content."""
    content: dict[str, dict[str, Any]] = {}

    def add(name: str, members: list[tuple[str, str]]) -> None:
        entries = [{"expname": expname, "exptype": exptype} for expname, exptype in members]
        content[name] = {"asn_type": "None", "products": [{"name": name, "members": entries}]}

    monitor = {"BIAS": "bias", "DARK": "dark"}
    anneal = {figures["programmes"]["anneal"] for figures in parameters()["epochs"].values()}
    for number, month in enumerate(months, start=1):
        label = f"_m{number:02d}" if len(months) > 1 else ""
        taken = [e for e in month.exposures if e.target in monitor and e.proposal not in anneal]
        darks = [e for e in taken if e.target == "DARK" and e.exptime >= 1000.0]
        modes: dict[Readout, list[Exposure]] = {}
        for exposure in taken:
            if exposure.target == "BIAS":
                modes.setdefault(exposure.readout, []).append(exposure)
        for readout, biases in modes.items():
            mode = (
                "" if readout.gain == 1 and readout.bins == (1, 1) else f"_{readout.mode.replace(' ', '-')}"
            )
            files = [(e.filename, "bias") for e in biases]
            if not mode:
                add(f"basebias{label}", files)
            half = max(1, -(-int(month.end - month.begin) // 18)) if mode else 0
            step = (month.end - month.begin) / half if half else 0.0
            parts = (
                [
                    (f"biwk{i + 1:02d}", month.begin + i * step, month.begin + (i + 1) * step)
                    for i in range(half)
                ]
                if mode
                else [(f"wk{i + 1:02d}", begin, end) for i, (begin, end) in enumerate(month.weeks)]
            )
            for week, begin, end in parts:
                files = [(e.filename, "bias") for e in biases if begin <= e.starts[0] < end]
                if files:
                    add(f"refbias{label}{mode}_{week}_bia", files)
                    if not mode:
                        add(f"weekbias{label}_{week}_bia", [*files, (f"basebias{label}.fits", "basebias")])
        if darks:
            has_bias = any(name.startswith(f"refbias{label}_wk01") for name in content)
            bias = [(f"refbias{label}_wk01_bia.fits", "superbias")] if has_bias else []
            add(f"basedark{label}", [*((e.filename, "dark") for e in darks), *bias])
            for i, (begin, end) in enumerate(month.weeks, start=1):
                files = [(e.filename, "dark") for e in darks if begin <= e.starts[0] < end]
                name = f"refbias{label}_wk{i:02d}_bia"
                bias = [(f"{name}.fits", "superbias")] if name in content else []
                if files:
                    members = [*files, *bias, (f"basedark{label}.fits", "basedark")]
                    add(f"weekdark{label}_wk{i:02d}_drk", members)
    return content


def _anneal_table(detector: Detector, months: Sequence[Month]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["begin", "end", "proposal", "visit", "remark"])
    length = parameters()["cadence"]["anneal_days"]
    anneals = [
        (months[0].begin - length, months[0].begin),
        *((month.end, month.anneal_end) for month in months),
    ]
    for number, (begin, end) in enumerate(anneals):
        writer.writerow(
            [
                date_of(begin).isoformat(),
                date_of(end).isoformat(),
                detector.figures["programmes"]["anneal"],
                f"{2 + 3 * number:02d}",
                "simulated",
            ]
        )
    return text.getvalue()


def _scene(detector: Detector) -> np.ndarray:
    """A faint continuum along the middle row and some faint stars (electrons/s)."""
    from refstis.simulation.kernels import add_point_sources

    ny, nx = detector.sensor
    scene = np.zeros((ny, nx))
    rows = np.arange(ny) - ny / 2.0
    profile = streams.exp_array(-0.5 * (rows / 1.2) ** 2)
    continuum = 0.02 + 0.06 * (np.arange(nx) / nx)
    scene += (profile / profile.sum())[:, None] * continuum[None, :]
    stream = streams.stream("refstis", detector.seed, "scene")
    number = max(4, round(60 * detector.density))
    y = streams.uniform_array(stream, number) * ny
    x = streams.uniform_array(stream, number) * nx
    flux = streams.exp_array(-2.0 + 5.0 * streams.uniform_array(stream, number))
    add_point_sources(scene, y, x, flux, 1.0)
    return scene


# Names of the raws that a simulation is writing; one that was killed leaves it, and may be begun again.
BEGUN = ".simulation.json"


def _forget_broken_off(folder: Path) -> None:
    """Take away the raws of a simulation that was killed: their truth is not known."""
    try:
        names = json.loads((folder / BEGUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for name in names:
        (folder / Path(name).name).unlink(missing_ok=True)


def simulate(
    out: str | os.PathLike[str],
    *,
    months: int = 1,
    days: float | None = None,
    products: Sequence[str] = ("biases", "darks"),
    imsets: Sequence[int] | None = None,
    epoch: int = 2017,
    seed: int = 0,
    amp: str = "D",
    gain: int = 1,
    binning: tuple[int, int] = (1, 1),
    size: str = "full",
    cti: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Simulation:
    """Write the raw exposures of anneal months, reference tables, associations and the truth.

    Frames are made in parallel and written one by one, so that memory does not grow with their number. Equal
    arguments give equal raw files, byte by byte.

    Parameters
    ----------
    out : str or os.PathLike
        Folder; made if need be. It must not hold raw files already.
    months : int
        Number of anneal months of 28 days.
    days : float, optional
        Length of a month in days, in place of 28.
    products : sequence of str
        ``biases`` (of gain 1 and 4), ``darks`` of 1100 s, ``short-darks`` of 60 s, ``binned`` biases,
        ``anneals`` (the exposures before and after each anneal), ``science`` (a faint spectrum and stars).
    imsets : sequence of int, optional
        Imsets of biases in each week, repeated when there are more weeks; default 130, 104, 61, 118.
    epoch : int
        1999, 2009, 2017 or 2023.
    seed : int
        Everything follows from it.
    amp : str
        Amplifier.
    gain : int
        CCDGAIN of biases and darks.
    binning : tuple of int
        BINAXIS1 and BINAXIS2.
    size : str
        ``full``, or ``small`` for frames with a sixteenth of the pixels.
    cti : bool
        Charge transfer inefficiency and its trails.
    threads : int, optional
        How many frames to make at a time; default one per processor.
    progress : callable, optional
        Called with the number of files done, their total and the file's name.

    Returns
    -------
    Simulation
        Paths of what was written.

    Raises
    ------
    ConfigurationError
        For an argument that has no meaning.
    OutputError
        If the folder holds other raw files or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = simulate(folder, days=6, size="small", products=["biases"], imsets=[14], seed=3)
    ...     len(made.raws), sorted(made.associations)
    (4, ['basebias', 'refbias_4-4x4_biwk01_bia', 'refbias_wk01_bia', 'weekbias_wk01_bia'])
    """
    cadence = parameters()["cadence"]
    unknown = sorted(set(products) - set(PRODUCTS))
    if unknown or not products:
        raise ConfigurationError(f"products {unknown}: give some of {', '.join(PRODUCTS)}")
    if months < 1 or (days is not None and days < 1):
        raise ConfigurationError("a simulation takes at least one month, and a month at least one day")
    imsets = list(cadence["weekly_imsets"] if imsets is None else imsets)
    if not imsets or min(imsets) < 0:
        raise ConfigurationError(f"imsets {imsets}: give the number of bias imsets of each week")
    binning = (int(binning[0]), int(binning[1]))
    folder = Path(out)
    _forget_broken_off(folder)
    if any(folder.glob("*_raw.fits")):
        raise OutputError(f"{folder}: holds raw files already; choose an empty folder")

    figures = parameters()["epochs"].get(epoch)
    length = cadence["month_days"] if days is None else float(days)
    # A little more than whole days, so that the month has them all.
    spans = []
    begin = mjd_of(figures["begin"]) if figures else 0.0
    for _ in range(months):
        spans.append((begin, begin + length + 0.05, begin + length + 0.05 + cadence["anneal_days"]))
        begin = spans[-1][2]
    detector = Detector(
        seed, epoch, size, days=spans[-1][2] - spans[0][0], anneals=tuple(end for _, end, _ in spans), cti=cti
    )
    planned = plan_months(detector, spans, products, imsets, amp, gain, binning)
    exposures = [exposure for month in planned for exposure in month.exposures]
    scene = _scene(detector) if "science" in products else None
    made = Simulation(make_folder(folder))
    made.oref = write_references(folder / "oref", detector)
    made.anneals = folder / "anneals.csv"
    with atomic_write(made.anneals, "w") as file:
        file.write(_anneal_table(detector, planned))
    for name, content in _associations(planned).items():
        made.associations[name] = folder / f"{name.removesuffix('_bia').removesuffix('_drk')}_asn.json"
        with atomic_write(made.associations[name], "w") as file:
            json.dump(content, file, indent=1)
    hits = make_folder(folder / "truth")
    with atomic_write(folder / BEGUN, "w") as file:
        json.dump([f"{exposure.rootname}_raw.fits" for exposure in exposures], file)

    def take(exposure: Exposure) -> tuple[Path, list[dict[str, Any]]]:
        known, struck = [], []

        def frames():
            for i, (expname, start) in enumerate(zip(exposure.expnames, exposure.starts, strict=True)):
                light = scene if exposure.kind == "science" else None
                frame = detector.expose(
                    expname, start, exposure.exptime, exposure.readout, in_visit=i, scene=light
                )
                known.append(_known(exposure, i + 1, frame))
                struck.append((frame.hit_index, frame.hit_charge))
                yield frame

        path = write_raw(folder, exposure, frames(), detector.figures)
        save_hits(hits / f"{exposure.rootname}.asdf", struck)
        return path, known

    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(threads or cores()) as pool:
        for number, (path, known) in enumerate(pool.map(take, exposures), start=1):
            made.raws.append(path)
            rows.extend(known)
            if progress is not None:
                progress(number, len(exposures), path.name)
    made.truth = folder / "truth.asdf"
    save_truth(made.truth, detector, rows, scene)
    (folder / BEGUN).unlink()
    return made


def _known(exposure: Exposure, extver: int, frame: Frame) -> dict[str, Any]:
    """The row of a frame in the truth."""
    readout = frame.readout
    return {
        "rootname": exposure.rootname,
        "extver": extver,
        "expname": frame.name,
        "kind": exposure.kind,
        "amp": readout.amp,
        "gain": readout.gain,
        "binaxis1": readout.binning[0],
        "binaxis2": readout.binning[1],
        "mjd": frame.mjd,
        "exptime": frame.exptime,
        "temperature": frame.temperature,
        "occdhtav": frame.header_temperature,
        "level": frame.level,
        "level_by_row": frame.level_by_row,
        "level_by_column": frame.level_by_column,
        "cosmic_rays": frame.events,
    }
