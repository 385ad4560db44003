"""Whatever somebody hands over is used, or refused in one line: generated cases of every kind, and all earlier findings."""

import tarfile
from pathlib import Path

import pytest
from fuzz.cases import Bench
from fuzz.choices import DrawnChoices, RandomChoices
from fuzz.kinds import KINDS, Stock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CORPUS = Path(__file__).resolve().parent / "corpus"
# Cases of the usual test run: drawn by hypothesis, and by a seeded generator, which is faster and so tries more.
DRAWN = {
    "structure": 8, "headers": 8, "members": 2, "pixels": 2, "tables in stages": 2, "names": 2, "command lines": 3,
    "products": 3,
}  # fmt: skip
SEEDED = {
    "structure": 100, "headers": 80, "tables": 200, "associations": 200, "anneal tables": 200, "configuration": 40,
    "parameters": 40, "MAST": 100, "DADS": 200, "ledgers": 15, "members": 8, "pixels": 4, "names": 6,
    "command lines": 8, "tables in stages": 5, "products": 8,
}  # fmt: skip


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    return Bench(folder / "bench", Stock(folder))


@pytest.fixture(autouse=True)
def _no_references(monkeypatch):
    monkeypatch.delenv("oref", raising=False)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_cases_that_hypothesis_draws(bench, kind):
    @settings(
        max_examples=DRAWN.get(kind.name, 15), derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), print_blob=False,
    )  # fmt: skip
    @given(st.data())
    def used_or_refused(data):
        bench.make(kind, DrawnChoices(data))
        bench.judge(kind)

    used_or_refused()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_cases_of_a_seeded_generator(bench, kind):
    for case in range(SEEDED[kind.name]):
        bench.make(kind, RandomChoices(f"{kind.name} tests {case}"))
        bench.judge(kind)


@pytest.mark.parametrize(
    "kept", sorted(CORPUS.glob("*.tar.gz")), ids=lambda path: path.name.removesuffix(".tar.gz")
)
def test_earlier_findings(bench, kept, tmp_path):
    kind = next(kind for kind in KINDS if kind.name.replace(" ", "_") == kept.name.rsplit("-", 2)[0])
    with tarfile.open(kept) as archive:
        archive.extractall(tmp_path / "case", filter="data")
    bench.load(tmp_path / "case")
    bench.judge(kind)
