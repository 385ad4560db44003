"""The products of a simulated month of full frames, made by refstis 0.8 with the C programs and by refstis: every bit.

    python benchmarks/parity.py DATA --calstis FOLDER --original PYTHON

Both sides call the same documented functions on copies of the same raws, one product after the other. DATA is the
folder of `run.py`. About 5 minutes of processor time for the original. The status is 1 where any pixel differs.
A smaller month of one's own goes into DATA/month first: refstis simulate DATA/month --days 7 --imsets 16.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from run import Data

# Calls of the documented functions, for the Python of each side; the working directory holds copies of the raws.
CALL = """
import importlib, json, sys
module, function, arguments = json.loads(sys.argv[1])
getattr(importlib.import_module(f"refstis.{module}"), function)(*arguments)
"""


def members(association: Path, role: str) -> list[str]:
    """Names of the raws of an association."""
    product = json.loads(association.read_text())["products"][0]
    return [one["expname"] for one in product["members"] if one["exptype"] == role]


def products(month: Path) -> list[tuple[str, str, str, list[str], list[str]]]:
    """Module, function, output, raws and further arguments of each product, in the order in which they are made."""
    weeks = range(1, 1 + len(list(month.glob("refbias_wk*_asn.json"))))
    calls = [("refbias", "make_refbias", f"refbias_wk{week:02d}", "bias", ()) for week in weeks]
    calls += [("basejoint", "make_basebias", "basebias", "bias", ())]
    calls += [
        ("weekbias", "make_weekbias", f"weekbias_wk{week:02d}", "bias", ("basebias",)) for week in weeks
    ]
    calls += [("basedark", "make_basedark", "basedark", "dark", ("refbias_wk01",))]
    calls += [
        ("weekdark", "make_weekdark", f"weekdark_wk{week:02d}", "dark", ("basedark", "refbias_wk01"))
        for week in weeks
    ]
    return [
        (
            module,
            function,
            f"{name}.fits",
            members(month / f"{name}_asn.json", role),
            [f"{one}.fits" for one in more],
        )
        for module, function, name, role, more in calls
    ]


def make(python: str, month: Path, folder: Path, calstis: Path | None) -> None:
    """Make all products in a folder."""
    folder.mkdir()
    path = f"{calstis.absolute()}:{os.environ['PATH']}" if calstis else os.environ["PATH"]
    environment = os.environ | {
        "oref": f"{month.absolute() / 'oref'}/",
        "PATH": f"{Path(python).parent}:{path}",
    }
    for module, function, output, raws, more in products(month):
        print(f"{folder.name}: {output} of {len(raws)} raws", flush=True)
        # 0.8 changes its inputs
        copies = [shutil.copy(month / name, folder) for name in raws]
        arguments = [copies, str(folder / output), *(str(folder / name) for name in more)]
        done = subprocess.run(
            [python, "-c", CALL, json.dumps([module, function, arguments])],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{folder.name}: {output} failed:\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}")
        for path in folder.glob("*_*"):
            if path.name not in {one[2] for one in products(month)}:
                path.unlink()


def differences(one: Path, other: Path) -> dict[str, int]:
    """Number of pixels that differ in any bit."""
    with fits.open(one, memmap=False) as first, fits.open(other, memmap=False) as second:
        bits = {
            name: [hdus[name, 1].data.view(f"u{hdus[name, 1].data.itemsize}") for hdus in (first, second)]
            for name in ("SCI", "ERR", "DQ")
        }
        return {name: int(np.count_nonzero(a != b)) for name, (a, b) in bits.items()}


def main() -> None:
    """Make and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder for the simulated month; kept for the next time")
    parser.add_argument("--calstis", type=Path, required=True, help="folder with cs0.e, cs1.e and cs2.e")
    parser.add_argument(
        "--original", required=True, help="Python of an environment with refstis 0.8 and stistools"
    )
    arguments = parser.parse_args()
    month = Data(arguments.data).month
    with tempfile.TemporaryDirectory() as work:
        ours, theirs = Path(work) / "refstis", Path(work) / "original"
        make(sys.executable, month, ours, None)
        make(arguments.original, month, theirs, arguments.calstis)
        found = {
            output: differences(theirs / output, ours / output) for _, _, output, _, _ in products(month)
        }
    for output, counts in found.items():
        print(f"{output:20}", *(f"{name}: {count} pixels differ" for name, count in counts.items()), sep="  ")
    sys.exit(any(any(counts.values()) for counts in found.values()))


if __name__ == "__main__":
    main()
