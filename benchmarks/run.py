"""Measure the products of one simulated anneal month: wall and CPU time, peak memory and bytes written.

python benchmarks/run.py DATA [--repeat 3] [--only refbias ...] [--json result.json] [--compare earlier.json]
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

SEED = 11
# What is measured: name, pipeline, association of the simulated month, and the products that it needs.
PRODUCTS = {
    "refbias 130 imsets": ("RefBiasPipeline", "refbias_wk01_asn.json", ()),
    "refbias 104 imsets": ("RefBiasPipeline", "refbias_wk02_asn.json", ()),
    "basebias 413 imsets": ("BaseBiasPipeline", "basebias_asn.json", ()),
    "weekbias 61 imsets": ("WeekBiasPipeline", "weekbias_wk03_asn.json", ("basebias_asn.json",)),
    "basedark 56 darks": ("BaseDarkPipeline", "basedark_asn.json", ("refbias_wk*_asn.json",)),
}
COMMAND = """
import logging, sys
import refstis
logging.disable(logging.WARNING)
getattr(refstis, sys.argv[1]).call(sys.argv[2], output_file=sys.argv[3], configure_log=False)
"""


def prepare(data: Path) -> Path:
    """Folder of the simulated month, made where it is not there yet."""
    month = data / "month"
    if not (month / "truth.asdf").exists():
        subprocess.run([sys.executable, "-m", "refstis", "simulate", month, "--seed", str(SEED)], check=True)
    return month


def run(pipeline: str, association: Path, output: Path, oref: Path) -> dict[str, float]:
    """One product in a process of its own."""
    environment = {**os.environ, "oref": f"{oref}/"}
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, pipeline, association, output], env=environment
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{pipeline} of {association} failed (status {status})")
    written = sum(path.stat().st_size for path in output.parent.glob(f"{output.stem}.*"))
    return {
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "written_mb": written / 1e6,
    }


def needed(month: Path, patterns) -> None:
    """Products that an association names, made once beside the raws."""
    kinds = {"basebias": "BaseBiasPipeline", "refbias": "RefBiasPipeline"}
    for pattern in patterns:
        for association in sorted(month.glob(pattern)):
            name = json.loads(association.read_text())["products"][0]["name"]
            target = month / f"{name}.fits"
            if not target.exists():
                run(kinds[association.name.split("_")[0]], association, target, month / "oref")


def measure(month: Path, only, repeat: int) -> dict[str, dict[str, list[float]]]:
    """All products, each several times after one that warms caches."""
    results = {}
    with tempfile.TemporaryDirectory(dir=month.parent) as folder:
        for name, (pipeline, association, before) in PRODUCTS.items():
            if only and not any(word in name for word in only):
                continue
            needed(month, before)
            output = Path(folder) / "product.fits"
            runs = [run(pipeline, month / association, output, month / "oref") for _ in range(repeat + 1)][1:]
            results[name] = {key: [one[key] for one in runs] for key in runs[0]}
            line = {key: statistics.median(values) for key, values in results[name].items()}
            spread = max(results[name]["wall_s"]) - min(results[name]["wall_s"])
            print(
                f"{name:22s} wall {line['wall_s']:6.2f} s (spread {spread:4.2f})  cpu {line['cpu_s']:6.2f} s  "
                f"peak {line['peak_mb']:5.0f} MB  written {line['written_mb']:5.1f} MB",
                flush=True,
            )
    return results


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="words of the names of what to measure")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--compare", type=Path)
    arguments = parser.parse_args()
    results = measure(prepare(arguments.data.absolute()), arguments.only, arguments.repeat)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    versions = {name: version(name) for name in ("refstis", "numpy", "numba", "astropy", "stpipe")}
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": machine, "versions": versions, "results": results}, indent=1)
        )
    if arguments.compare:
        earlier = json.loads(arguments.compare.read_text())["results"]
        for name in results.keys() & earlier.keys():
            ratio = statistics.median(earlier[name]["wall_s"]) / statistics.median(results[name]["wall_s"])
            print(f"{name}: {ratio:.2f} times as fast as in {arguments.compare}")


if __name__ == "__main__":
    main()
