"""Cases of one kind that are led by coverage: `python tests/fuzz/guided.py headers -max_total_time=600`.

Needs atheris. What follows the kind is libFuzzer's; the first finding ends the run, and its case lies in `finding`.
`python tests/fuzz/campaign.py --guided 30` does so for every kind, half a minute each, and counts.
"""

import collections
import importlib
import json
import os
import pkgutil
import sys
import tempfile
import time
from pathlib import Path

import atheris

import refstis.calibration
import refstis.simulation.kernels
import refstis.simulation.streams

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# What reads files.
READERS = ("refstis.anneal", "refstis.datamodels", "refstis.delivery", "refstis.retrieval")

# compiled kernels cannot be followed: they are imported before
for module in pkgutil.iter_modules(refstis.calibration.__path__, "refstis.calibration."):
    importlib.import_module(module.name)

with atheris.instrument_imports(include=["refstis"]):
    # also what is usually imported only when it is needed: what was imported before leads nobody
    for name in READERS:
        for module in pkgutil.iter_modules(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(module.name)
    from fuzz.cases import Bench, Finding
    from fuzz.choices import GuidedChoices
    from fuzz.kinds import KINDS, Stock


def main():
    """Take the kind from the command line and let atheris choose."""
    kind = next(one for one in KINDS if one.name == sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "bench", Stock(Path(folder)))

        tally = os.environ.get("REFSTIS_FUZZ_TALLY")
        counts, told = collections.Counter(), 0.0

        def tell():
            # libFuzzer ends the process without a word to Python
            nonlocal told
            if tally and time.monotonic() > told + 0.5:
                Path(tally).write_text(json.dumps(counts))
                told = time.monotonic()

        def attempt(data):
            nonlocal told
            bench.make(kind, GuidedChoices(atheris.FuzzedDataProvider(data)))
            try:
                counts[bench.judge(kind)] += 1
            except Finding:
                bench.keep(Path("finding"))
                counts["found"] += 1
                told = 0.0
                raise
            finally:
                tell()

        atheris.Setup([sys.argv[0], *sys.argv[2:]], attempt)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
