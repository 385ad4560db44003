"""Many cases of each kind: `python tests/fuzz/campaign.py --cases 50000`; prints what was tried and every finding."""

import argparse
import collections
import functools
import json
import os
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--keep", help="folder for the files of findings")
    parser.add_argument("--table", help="JSON file for the numbers")
    words = parser.parse_args()
    os.environ.pop("oref", None)

    def tell(table):
        if words.table:
            Path(words.table).write_text(json.dumps(table, indent=1))

    run(words.cases, words.seed, words.only, words.keep, tell=tell)
