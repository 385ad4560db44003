"""One small simulated month for all tests that only look at it."""

import pytest

from refstis.simulation import simulate


@pytest.fixture(scope="session")
def month(tmp_path_factory):
    folder = tmp_path_factory.mktemp("month")
    return simulate(
        folder,
        size="small",
        seed=11,
        imsets=[20, 7, 9, 16],
        products=("biases", "darks", "anneals", "science"),
    )
