"""Load: many raws in one folder, many image sets in one file, many months, many runs at once; `python tests/faults/load.py`."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from faults.commands import Stock, digests, unfinished
from frames import write_raw

REFSTIS = [sys.executable, "-m", "refstis"]


def finish(process):
    """Exit status, seconds of processor time and peak memory (MB) of a process."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, round(used.ru_utime + used.ru_stime, 1), round(used.ru_maxrss / 1024)


def start(words, cwd, limit=None, **environment):
    def arrange():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    return subprocess.Popen(
        [*REFSTIS, *words], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, **environment}, preexec_fn=arrange,  # noqa: PLW1509 - one thread
    )  # fmt: skip


def spread(folder, number, months):
    """So many raws of different headers, spread over so many months; and the anneals between them."""
    folder.mkdir()
    # a bias of two image sets of 12 x 40 pixels: what is planned is told by headers
    template = write_raw(
        folder / "o00000000_raw.fits", shape=(12, 40), primary={"ROOTNAME": "o00000000"}
    ).read_bytes()
    (folder / "o00000000_raw.fits").unlink()
    card = next(
        template[at : at + 80] for at in range(0, len(template), 80) if template[at : at + 8] == b"TEXPSTRT"
    )
    starts = [
        template[at : at + 80] for at in range(0, len(template), 80) if template[at : at + 8] == b"EXPSTART"
    ]
    rows = ["begin,end,proposal,visit,source,remark"]
    rows += [f"{52000 + 28 * one},{52000.5 + 28 * one},{10000 + one},01,x," for one in range(months + 1)]
    (folder.parent / "anneals.csv").write_text("\n".join(rows) + "\n")
    for one in range(number):
        begin = 52001 + 28 * (one % months) + 20 * (one // months) / max(1, number // months)
        root = f"o{one:08d}"
        content = template.replace(b"o00000000", root.encode())
        content = content.replace(card, f"TEXPSTRT= {begin:20.8f}".encode().ljust(80))
        for old in starts:
            content = content.replace(old, f"EXPSTART= {begin:20.8f}".encode().ljust(80))
        (folder / f"{root}_raw.fits").write_bytes(content)


def many_raws(folder):
    spread(folder / "raws", 2000, 200)
    words = [
        "plan",
        str(folder / "raws"),
        "--anneals",
        str(folder / "anneals.csv"),
        "-o",
        str(folder / "out"),
        "--json",
    ]
    rows = []
    for text in ("2,000 raws in one folder, 200 months: first plan", "the same, planned again"):
        begin = time.monotonic()
        status, processor, peak = finish(start(words, folder))
        rows.append((text, status == 0, round(time.monotonic() - begin, 1), processor, peak))
    return rows


def many_imsets(folder):
    frames = [
        np.random.default_rng(one).normal(1500, 5, (266, 271)).round().astype(np.uint16) for one in range(600)
    ]
    path = write_raw(
        folder / "o1_raw.fits",
        imsets=600,
        binning=(4, 4),
        shape=(266, 271),
        frames=frames,
        primary={"BPIXTAB": "N/A"},
    )
    cap = 2 << 30
    begin = time.monotonic()
    status, processor, peak = finish(start(["refbias", str(path), "-o", "refbias.fits"], folder, cap))
    made = (folder / "refbias.fits").is_file()
    size = path.stat().st_size / 1e6
    text = f"one file of 600 image sets of 271 x 266 pixels ({size:.0f} MB), address space capped at 2 GB"
    return [(text, status == 0 and made, round(time.monotonic() - begin, 1), processor, peak)]


def many_runs(folder):
    (folder / "stock").mkdir()
    stock = Stock(folder / "stock")
    here = stock.folder
    words = [
        "run",
        str(here / "raws"),
        "--anneals",
        str(here / "raws" / "anneals.csv"),
        "--profile",
        str(here / "profile"),
        "-o",
    ]
    rows, expected = [], None
    for text, names in (
        ("8 runs at once, each in a folder of its own", [f"out{one}" for one in range(8)]),
        ("8 runs at once in the same folder", ["same"] * 8),
    ):
        begin = time.monotonic()
        started = [start([*words, str(folder / name)], folder, oref=f"{here / 'oref'}/") for name in names]
        ended = [finish(one) for one in started]
        good = all(status == 0 for status, _, _ in ended)
        for name in set(names):
            made = {
                one: digest
                for one, digest in digests(folder / name).items()
                if one.endswith(".fits") and not unfinished(one)
            }
            expected = expected or made
            good = good and made == expected and bool(made)
        rows.append(
            (
                text,
                good,
                round(time.monotonic() - begin, 1),
                round(sum(one[1] for one in ended), 1),
                max(one[2] for one in ended),
            )
        )
    return rows


def run():
    """Rows of the table: what, whether it held, seconds, seconds of processor time, peak memory of a process in MB."""
    rows = []
    for part in (many_raws, many_imsets, many_runs):
        with tempfile.TemporaryDirectory(prefix="refstis-load-") as folder:
            rows += part(Path(folder))
            print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", help="JSON file for the numbers")
    chosen = parser.parse_args()
    made = run()
    if chosen.table:
        Path(chosen.table).write_text(json.dumps(made, indent=1))
