"""Measure stages, products and a simulated anneal month: wall and CPU time, peak memory, bytes read and written.

python benchmarks/run.py DATA [--repeat 3] [--only refbias ...] [--json result.json] [--compare earlier.json]
                              [--calstis FOLDER] [--original PYTHON]
python benchmarks/run.py DATA --scaling [--repeat 3] [--json scaling.json] [--plot scaling.svg]
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

SEED = 11
# Files of 7 bias frames that the stages are measured on, and image sets of the largest product.
STACK_FILES, MOST_IMSETS = 14, 600
# Months of the largest run, and seed of their chip.
MONTHS, SCALING_SEED = 4, 21

# Calls in one process, of which the first is not counted.
CALLS = 4

# What the processes run that are measured: arguments follow.
PRODUCT = """
import logging, sys
import refstis
logging.disable(logging.WARNING)
getattr(refstis, sys.argv[1]).call(sys.argv[2], output_file=sys.argv[3], configure_log=False)
"""
BASIC2D = """
import sys
from refstis.stages import BlevCorrStep, DqiCorrStep
BlevCorrStep().run(DqiCorrStep().run(sys.argv[1])).save(sys.argv[2])
"""
OCRREJECT = """
import sys
from refstis.stages import CrCorrStep
CrCorrStep().run(sys.argv[1]).save(sys.argv[2])
"""
# The documented functions, which have the same names and arguments in refstis 0.8.
FUNCTION = """
import importlib, json, sys
module, function, arguments = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
getattr(importlib.import_module(module), function)(*arguments)
"""
# One of the above several times in one process, each time with its own folder and arguments; the first one imports.
AGAIN = """
import json, os, shutil, sys, time
code, calls = compile(sys.argv[1], "measured", "exec"), json.loads(sys.argv[2])
for folder, words in calls:
    sys.argv[1:] = words
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    exec(code, {})
    print("call", time.perf_counter() - wall, sum(os.times()[:4]) - cpu, flush=True)
    shutil.rmtree(folder)
"""
JOIN = """
import sys
from astropy.io import fits
from refstis.functions import msjoin
msjoin(sys.argv[2:], sys.argv[1])
with fits.open(sys.argv[1], mode="update") as hdus:
    count = sum(hdu.name == "SCI" for hdu in hdus)
    hdus[0].header.update(NRPTEXP=count, CRSPLIT=1, CRCORR="PERFORM", APERTURE="50CCD", APER_FOV="50x50")
"""


@dataclass(frozen=True)
class Case:
    """Something to measure.

    Attributes
    ----------
    name : str
        What is measured.
    ours, theirs : callable
        Give the command for an empty folder, which the command writes to; None where there is no original.
    """

    name: str
    ours: Callable[[Path], Sequence[object]]
    theirs: Callable[[Path], Sequence[object]] | None = None


def run(command: Sequence[object], folder: Path, oref: Path, path: str = "") -> dict[str, float]:
    """One command in a process of its own, or calls in it; programs that it calls count with it."""
    environment = {**os.environ, "oref": f"{oref}/", "PATH": f"{path}:{os.environ['PATH']}"}
    os.sync()  # what was measured before may have left much to write and to delete
    before = _transferred()
    begin = time.perf_counter()
    with (folder / "output.txt").open("w") as output:
        words = [str(word) for word in command]
        process = subprocess.Popen(words, env=environment, cwd=folder, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    if status:
        text = (folder / "output.txt").read_text()[-2000:]
        raise SystemExit(f"{' '.join(words)[:300]} failed (status {status})\n{text}")
    after = _transferred()
    measured = {
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "read_mb": (after[0] - before[0]) / 1e6,
        "written_mb": (after[1] - before[1]) / 1e6,
    }
    lines = (folder / "output.txt").read_text(errors="replace").splitlines()
    calls = [[float(word) for word in line.split()[1:]] for line in lines if line.startswith("call ")]
    if calls:
        measured["wall_s"], measured["cpu_s"] = map(statistics.median, zip(*calls[1:], strict=True))
        measured["read_mb"] /= len(calls)
        measured["written_mb"] /= len(calls)
    return measured


def _transferred() -> tuple[int, int]:
    """Bytes that the processes waited for have read and written (Linux)."""
    try:
        lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    except OSError:
        return 0, 0
    return int(lines["rchar"]), int(lines["wchar"])


class Data:
    """The simulated month and what the measurements need besides; made by seed where it is not there yet."""

    def __init__(self, folder: Path):
        self.month = folder / "month"
        self.oref = self.month / "oref"
        self.extra = folder / "extra"
        if not (self.month / "truth.asdf").exists():
            command = [sys.executable, "-m", "refstis", "simulate", self.month, "--seed", str(SEED)]
            subprocess.run(command, check=True)
        self.extra.mkdir(exist_ok=True)

    def members(self, name: str, role: str) -> list[Path]:
        """Exposures of an association."""
        members = json.loads((self.month / f"{name}_asn.json").read_text())["products"][0]["members"]
        return [self.month / one["expname"] for one in members if one["exptype"] == role]

    def made(self, name: str, command: Callable[[Path], Sequence[object]]) -> Path:
        """A file that something else is measured on, made once."""
        target = self.extra / name
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=self.extra) as folder:
                run(command(target), Path(folder), self.oref)
        return target

    def product(self, name: str, pipeline: str) -> Path:
        """A product of the month, beside the raws, where the associations that need it name it."""
        target = self.month / json.loads((self.month / f"{name}_asn.json").read_text())["products"][0]["name"]
        target = target.with_name(f"{target.name}.fits")
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=self.extra) as folder:
                command = [sys.executable, "-c", PRODUCT, pipeline, self.month / f"{name}_asn.json", target]
                run(command, Path(folder), self.oref)
        return target

    def joined(self) -> Path:
        """98 raw bias frames in one file."""
        raws = self.members("basebias", "bias")[:STACK_FILES]
        return self.made("joined_raw.fits", lambda target: [sys.executable, "-c", JOIN, target, *raws])

    def calibrated(self) -> Path:
        """The same without overscan."""
        raw = self.joined()
        return self.made("joined_blv.fits", lambda target: [sys.executable, "-c", BASIC2D, raw, target])

    def many(self) -> list[Path]:
        """Files of 600 bias frames: those of the month, and some of them again under other names."""
        raws = self.members("basebias", "bias")
        folder = self.extra / "many"
        folder.mkdir(exist_ok=True)
        found = []
        for number in range(-(-MOST_IMSETS // 7)):
            link = folder / f"o{number:07d}q_raw.fits"
            if not link.exists():
                os.link(raws[number % (len(raws) - 1)], link)
            found.append(link)
        return found

    def subtracted(self) -> list[Path]:
        """The darks of one week without their superbias."""
        superbias = self.product("refbias_wk02", "RefBiasPipeline")
        flts = []
        for raw in self.members("weekdark_wk02", "dark")[:14]:
            name = raw.name.replace("_raw", "_flt")
            arguments = json.dumps([str(raw), str(superbias), str(self.extra)])
            flts.append(
                self.made(
                    name,
                    lambda _, words=arguments: [
                        sys.executable, "-c", FUNCTION, "refstis.functions", "bias_subtract_data", words,
                    ],
                )
            )  # fmt: skip
        return flts

    def copies(self, folder: Path, files: Sequence[Path]) -> list[str]:
        """Copies of files: refstis 0.8 writes to its inputs."""
        return [str(shutil.copy(path, folder)) for path in files]


def cases(data: Data, calstis: Path | None, original: Path | None) -> list[Case]:
    """Everything that can be measured, from the stages to the month."""
    python = sys.executable

    def product(name, pipeline):
        return lambda folder: [
            python, "-c", PRODUCT, pipeline, data.month / f"{name}_asn.json", folder / "product.fits",
        ]  # fmt: skip

    def once(interpreter, code, words):
        """A process of its own."""
        return lambda folder: [interpreter, "-c", code, *words(folder)]

    def again(interpreter, code, words):
        """The same several times in one process."""

        def command(folder):
            folders = [folder / str(number) for number in range(CALLS)]
            for one in folders:
                one.mkdir()
            return [interpreter, "-c", AGAIN, code, json.dumps([(str(one), words(one)) for one in folders])]

        return command

    def words(module, name, arguments):
        """What FUNCTION takes."""
        return lambda folder: [f"refstis.{module}", name, json.dumps(arguments(folder))]

    def function(module, name, arguments):
        """The original's function on copies of the files."""
        return original and once(original, FUNCTION, words(module, name, arguments))

    def program(name, words):
        """A program of CALSTIS."""
        return calstis and (lambda folder: [calstis.absolute() / name, *words(folder)])

    def biases(name):
        return lambda folder: [data.copies(folder, data.members(name, "bias")), str(folder / "product.fits")]

    def weekdark(folder):
        before(weeks)
        association = data.month / "basedark_asn.json"
        basedark = data.made(
            "basedark.fits",
            lambda target: [python, "-c", PRODUCT, "BaseDarkPipeline", association, target],
        )
        superbias = data.product("refbias_wk02", "RefBiasPipeline")
        flts = data.copies(folder, data.subtracted())
        return [flts, str(folder / "product.fits"), *data.copies(folder, [basedark, superbias])]

    def basic2d_words(folder):
        return [str(data.joined()), str(folder / "out.fits")]

    def ocrreject_words(folder):
        return [str(data.calibrated()), str(folder / "out.fits")]

    def months(folder):
        root = folder / "14444_01"
        root.mkdir()
        data.copies(root, sorted(data.month.glob("o*_raw.fits")))
        return [str(root)]

    def weekbias(folder):
        inputs, output = biases("weekbias_wk03")(folder)
        return [inputs, output, *data.copies(folder, [data.product("basebias", "BaseBiasPipeline")])]

    def before(names):
        """What an association needs is made before its product is measured."""
        for name, pipeline in names:
            data.product(name, pipeline)

    weeks = [(f"refbias_wk0{week}", "RefBiasPipeline") for week in range(1, 5)]
    weekdark_words = words("weekdark", "make_weekdark", weekdark)
    cs1 = program("cs1.e", lambda folder: [*basic2d_words(folder), "-dqi", "-blev"])
    cs2 = program("cs2.e", lambda folder: [*data.copies(folder, [data.calibrated()]), folder / "out.fits"])
    return [
        Case("basic2d 98 imsets", once(python, BASIC2D, basic2d_words), cs1),
        Case("basic2d again", again(python, BASIC2D, basic2d_words), cs1),
        Case("ocrreject 98 imsets", once(python, OCRREJECT, ocrreject_words), cs2),
        Case("ocrreject again", again(python, OCRREJECT, ocrreject_words), cs2),
        Case(
            "refbias 130 imsets",
            product("refbias_wk01", "RefBiasPipeline"),
            function("refbias", "make_refbias", biases("refbias_wk01")),
        ),
        Case(
            "refbias 104 imsets",
            product("refbias_wk02", "RefBiasPipeline"),
            function("refbias", "make_refbias", biases("refbias_wk02")),
        ),
        Case(
            f"refbias {MOST_IMSETS} imsets",
            lambda folder: [
                python, "-c", FUNCTION, "refstis.refbias", "make_refbias",
                json.dumps([[str(path) for path in data.many()], str(folder / "product.fits")]),
            ],
        ),
        Case(
            "basebias 413 imsets",
            product("basebias", "BaseBiasPipeline"),
            function("basejoint", "make_basebias", biases("basebias")),
        ),
        Case(
            "weekbias 61 imsets",
            lambda folder: (
                before([("basebias", "BaseBiasPipeline")]) or product("weekbias_wk03", "WeekBiasPipeline")(folder)
            ),
            function("weekbias", "make_weekbias", weekbias),
        ),
        Case(
            "basedark 56 darks",
            lambda folder: before(weeks) or product("basedark", "BaseDarkPipeline")(folder),
        ),
        Case(
            "weekdark 14 flt files",
            once(python, FUNCTION, weekdark_words),
            function("weekdark", "make_weekdark", weekdark),
        ),
        Case(
            "weekdark again",
            again(python, FUNCTION, weekdark_words),
            original and again(original, FUNCTION, weekdark_words),
        ),
        Case(
            "month",
            lambda folder: [python, "-m", "refstis", "run", data.month, "--output", folder / "out"],
            function("pipeline", "make_pipeline_reffiles", months),
        ),
    ]  # fmt: skip


def measure(
    data: Data, wanted: Sequence[Case], repeat: int, calstis: Path | None
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Each case several times after a run that warms caches, in turn with the original where there is one."""
    results: dict[str, dict[str, dict[str, list[float]]]] = {}
    for case in wanted:
        sides = {"refstis": case.ours, "original": case.theirs}
        for number in range(repeat + 1):
            for side, command in sides.items():
                # programs need no warming
                if command is None or (side == "original" and not number):
                    continue
                with tempfile.TemporaryDirectory(dir=data.extra) as name:
                    folder = Path(name)
                    one = run(command(folder), folder, data.oref, str(calstis or ""))
                if number:
                    columns = results.setdefault(case.name, {}).setdefault(side, {})
                    for key, value in one.items():
                        columns.setdefault(key, []).append(value)
        _print(case.name, results[case.name])
    return results


def _print(name, sides):
    for side, columns in sides.items():
        line = {key: statistics.median(values) for key, values in columns.items()}
        spread = max(columns["wall_s"]) - min(columns["wall_s"])
        text = (
            f"{name:22s} {side:8s} wall {line['wall_s']:7.2f} s "
            f"(best {min(columns['wall_s']):.2f}, spread {spread:.2f})  "
            f"cpu {line['cpu_s']:7.2f} s  peak {line['peak_mb']:5.0f} MB  read {line['read_mb']:7.0f} MB  "
            f"written {line['written_mb']:7.0f} MB"
        )
        print(text, flush=True)
    if len(sides) == 2:
        ratios = {
            key: statistics.median(sides["original"][key]) / statistics.median(sides["refstis"][key])
            for key in ("wall_s", "cpu_s")
        }
        print(f"{name:22s} ratio    wall {ratios['wall_s']:7.1f}    cpu {ratios['cpu_s']:7.1f}", flush=True)


class Runs:
    """Runs of one to four months, on one core and on two, by threads and by processes.

    The months are those of one chip. Each run looks at a folder with its own months only.

    Parameters
    ----------
    folder : pathlib.Path
        For the simulated months; made by seed where they are not there yet.
    """

    def __init__(self, folder: Path):
        self.raws = folder / "months"
        self.oref = self.raws / "oref"
        self.anneals = self.raws / "anneals.csv"
        self.work = folder
        if not (self.raws / "truth.asdf").exists():
            command = [sys.executable, "-m", "refstis", "simulate", self.raws, "--months", str(MONTHS)]
            subprocess.run([*command, "--seed", str(SCALING_SEED)], check=True)

    def part(self, months: int) -> Path:
        """A folder with the raws of the first so many months."""
        from astropy.io import fits

        from refstis.anneal.table import read_table

        folder = self.work / f"first_{months}"
        if not folder.exists():
            folder.mkdir()
            end = sorted(one.begin for one in read_table(self.anneals))[months]
            for raw in self.raws.glob("o*_raw.fits"):
                if fits.getval(raw, "TEXPSTRT") < end:
                    os.link(raw, folder / raw.name)
        return folder

    def measure(self, months: int, processors: int, workers: int = 0) -> dict[str, float]:
        """One run, bound to the first so many cores."""
        with tempfile.TemporaryDirectory(dir=self.work) as name:
            folder = Path(name)
            command = [
                sys.executable, "-m", "refstis", "run", self.part(months), "--anneals", self.anneals,
                "--output", folder / "out", "--workers", str(workers),
            ]  # fmt: skip
            all_of_them = os.sched_getaffinity(0)
            os.sched_setaffinity(0, sorted(all_of_them)[:processors])
            try:
                return run(command, folder, self.oref)
            finally:
                os.sched_setaffinity(0, all_of_them)


def scaling(folder: Path, repeat: int) -> dict[str, dict[str, list[float]]]:
    """Measure how the time of a run grows with its months and falls with the cores, and print it."""
    runs = Runs(folder)
    found: dict[str, dict[str, list[float]]] = {}
    runs.measure(1, 2)  # warms the caches
    wanted = [
        (f"{months} months, {cores} cores", (months, cores, 0)) for cores in (2, 1) for months in (1, 2, 3, 4)
    ]
    wanted += [
        (f"{MONTHS} months, {workers} worker processes", (MONTHS, workers, workers)) for workers in (1, 2)
    ]
    for _ in range(repeat):
        for name, one in wanted:
            for key, value in runs.measure(*one).items():
                found.setdefault(name, {}).setdefault(key, []).append(value)
    wall = {name: statistics.median(columns["wall_s"]) for name, columns in found.items()}
    for name, columns in found.items():
        print(
            f"{name:30s} wall {wall[name]:7.2f} s ({min(columns['wall_s']):.2f} to {max(columns['wall_s']):.2f})  "
            f"cpu {statistics.median(columns['cpu_s']):7.2f} s  peak {max(columns['peak_mb']):5.0f} MB"
        )
    for cores in (2, 1):
        times = [wall[f"{months} months, {cores} cores"] for months in (1, 2, 3, 4)]
        slope, start = statistics.linear_regression((1, 2, 3, 4), times)
        off = [time / (start + slope * months) - 1.0 for months, time in enumerate(times, start=1)]
        print(
            f"{cores} cores: {start:.1f} s and {slope:.1f} s a month; off this line by "
            f"{', '.join(f'{one:+.1%}' for one in off)} with 1 to 4 months"
        )
    one, two = (wall[f"{MONTHS} months, {workers} worker processes"] for workers in (1, 2))
    print(f"efficiency of two worker processes: {one / (2.0 * two):.0%}")
    return found


def plot_scaling(results: Mapping[str, Mapping[str, Sequence[float]]], target: Path) -> None:
    """Draw the wall time of one to four months, each run with its straight line."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    months = (1, 2, 3, MONTHS)
    _, axes = plt.subplots(figsize=(5.4, 3.2), layout="constrained")
    for cores, color, place in ((1, "#c8553d", (-10, 8)), (2, "#2a6f97", (10, -16))):
        wall = [results[f"{count} months, {cores} cores"]["wall_s"] for count in months]
        middle = [statistics.median(times) for times in wall]
        slope, start = statistics.linear_regression(months, middle)
        axes.plot(months, [start + slope * count for count in months], color=color, lw=0.8)
        for count, times in zip(months, wall, strict=True):
            axes.plot([count] * len(times), times, "o", color=color, ms=4)
        axes.annotate(
            f"{cores} core{'s' * (cores > 1)}: {start:.1f} s + {slope:.1f} s a month",
            (months[2], start + slope * months[2]),
            xytext=place,
            textcoords="offset points",
            ha="right" if place[0] < 0 else "left",
            color=color,
        )
    axes.set(xlabel="anneal months", ylabel="wall time (s)", xticks=months, ylim=(0, None))
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    plt.savefig(target, metadata={"Date": None})


def limits(data: Data) -> dict[str, float]:
    """What no program can do without (s): reading the raws, writing the products, one pass over a stack."""
    import numpy as np

    buffer = bytearray(2**22)
    begin = time.perf_counter()
    for path in data.month.glob("o*_raw.fits"):
        with path.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
    read = time.perf_counter() - begin
    # 14 products of 10.5 MB
    with tempfile.TemporaryDirectory(dir=data.extra) as folder:
        begin = time.perf_counter()
        for number in range(14):
            with (Path(folder) / str(number)).open("wb") as stream:
                stream.write(bytes(10_500_000))
                os.fsync(stream.fileno())
        write = time.perf_counter() - begin
    stack = np.ones(98 * 2**20, dtype=np.float32)
    begin = time.perf_counter()
    stack.max()
    return {"read_s": read, "write_s": write, "pass_98_imsets_s": time.perf_counter() - begin}


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="words of the names of what to measure")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--compare", type=Path, help="JSON of an earlier run")
    parser.add_argument("--calstis", type=Path, help="folder with cs0.e, cs1.e and cs2.e")
    parser.add_argument(
        "--scaling", action="store_true", help="only runs of one to four months, on one core and two"
    )
    parser.add_argument("--plot", type=Path, help="where to draw the runs of --scaling")
    parser.add_argument(
        "--original", type=Path, help="Python of an environment with refstis 0.8 and stistools"
    )
    arguments = parser.parse_args()
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    machine["load"] = os.getloadavg()[0]
    least = {}
    if arguments.scaling:
        results = {
            name: {"refstis": columns}
            for name, columns in scaling(arguments.data.absolute(), arguments.repeat).items()
        }
        if arguments.plot:
            plot_scaling({name: one["refstis"] for name, one in results.items()}, arguments.plot)
    else:
        data = Data(arguments.data.absolute())
        wanted = [
            case
            for case in cases(data, arguments.calstis, arguments.original)
            if not arguments.only or any(word in case.name for word in arguments.only)
        ]
        results = measure(data, wanted, arguments.repeat, arguments.calstis and arguments.calstis.absolute())
        least = limits(data)
        print(", ".join(f"{key} {value:.3f}" for key, value in least.items()))
    versions = {name: version(name) for name in ("refstis", "numpy", "numba", "astropy", "stpipe")}
    if arguments.json:
        record = {"machine": machine, "versions": versions, "results": results, "limits": least}
        arguments.json.write_text(json.dumps(record, indent=1))
    if arguments.compare:
        earlier = json.loads(arguments.compare.read_text())["results"]
        for name in results.keys() & earlier.keys():
            now, then = (statistics.median(one[name]["refstis"]["wall_s"]) for one in (results, earlier))
            print(f"{name}: {then / now:.2f} times as fast as in {arguments.compare}")


if __name__ == "__main__":
    main()
