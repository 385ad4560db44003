"""Many cases of each kind: `python tests/fuzz/campaign.py --cases 50000`; prints what was tried and every finding.

`--guided 30` lets atheris lead the cases by coverage instead, so many seconds for each kind.
"""

import argparse
import collections
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fuzz.cases import Bench, Finding
from fuzz.choices import RandomChoices
from fuzz.kinds import KINDS, Stock


def run(cases, seed=0, only=(), keep=None, say=functools.partial(print, flush=True), tell=None):
    """Try so many cases, shared among the kinds.

    Returns
    -------
    dict
        Name of the kind to the numbers of good, refused and found cases, and seconds.
    """
    whole = sum(kind.share for kind in KINDS)
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "bench", Stock(Path(folder)))
        for kind in KINDS:
            if only and kind.name not in only:
                continue
            number = -(-cases * kind.share // whole)
            counts, begin = collections.Counter(), time.monotonic()
            seen = collections.Counter()
            for case in range(number):
                bench.make(kind, RandomChoices(f"{kind.name} {seed} {case}"))
                try:
                    counts[bench.judge(kind)] += 1
                except Finding as finding:
                    counts["found"] += 1
                    digest = (
                        str(finding).split(":")[0] + str(finding).split(":")[1][:12]
                        if ":" in str(finding)
                        else str(finding)[:40]
                    )
                    seen[digest] += 1
                    if seen[digest] <= 2:
                        say(f"{kind.name} {case}: {finding}")
                        if keep is not None:
                            bench.keep(Path(keep) / f"{kind.name.replace(' ', '_')}-{seed}-{case}")
            table[kind.name] = {**counts, "cases": number, "seconds": round(time.monotonic() - begin, 1)}
            if tell is not None:
                tell(table)
            say(f"{kind.name}: {table[kind.name]} {dict(seen)}")
    return table


def guide(seconds, only=(), keep=None, say=functools.partial(print, flush=True), tell=None):
    """Let atheris choose, so many seconds for each kind, until its first finding."""
    table = {}
    for kind in KINDS:
        if only and kind.name not in only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            tally, finding = Path(folder) / "tally.json", Path(folder) / "finding"
            words = [
                sys.executable,
                Path(__file__).with_name("guided.py"),
                kind.name,
                f"-max_total_time={seconds}",
            ]
            ended = subprocess.run(
                [*words, f"-artifact_prefix={folder}/"], cwd=folder, env={**os.environ, "REFSTIS_FUZZ_TALLY": str(tally)},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            counts = json.loads(tally.read_text()) if tally.exists() else {}
            if ended.returncode and not counts.get("found"):
                raise RuntimeError(f"{kind.name}: {ended.stderr[-2000:]}")
            if counts.get("found"):
                say(f"{kind.name}: {ended.stdout[-1500:]}{ended.stderr[-1500:]}")
                if keep is not None:
                    shutil.copytree(
                        finding, Path(keep) / f"{kind.name.replace(' ', '_')}-guided-0", symlinks=True
                    )
        table[kind.name] = {**counts, "cases": sum(counts.values()), "seconds": seconds}
        if tell is not None:
            tell(table)
        say(f"{kind.name}: {table[kind.name]}")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", type=int, help="seconds for each kind, led by coverage (needs atheris)")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--keep", help="folder for the files of findings")
    parser.add_argument("--table", help="JSON file for the numbers")
    words = parser.parse_args()
    os.environ.pop("oref", None)

    def tell(table):
        if words.table:
            Path(words.table).write_text(json.dumps(table, indent=1))

    if words.guided:
        guide(words.guided, words.only, words.keep, tell=tell)
    else:
        run(words.cases, words.seed, words.only, words.keep, tell=tell)
