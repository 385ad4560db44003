"""Cases of one kind that are led by coverage: `python tests/fuzz/guided.py headers -max_total_time=600`.

Needs atheris. What follows the kind is libFuzzer's; the first finding ends the run, and its case lies in `finding`.
"""

import importlib
import pkgutil
import sys
import tempfile
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

        def attempt(data):
            bench.make(kind, GuidedChoices(atheris.FuzzedDataProvider(data)))
            try:
                bench.judge(kind)
            except Finding:
                bench.keep(Path("finding"))
                raise

        atheris.Setup([sys.argv[0], *sys.argv[2:]], attempt)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
