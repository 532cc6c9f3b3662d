"""What the whole suite shares: the rows of the fault matrix, and the seed of its random faults."""

import os
import random

import pytest

SEED = "INTERMODAL_FAULT_SEED"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fault(area, tried, promise): a row of the fault matrix (docs/faults.md, written by tests/fault_matrix.py)")


@pytest.fixture
def fault_random(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of a fault test: the same for the same seed and test. `make faults SEED=...` sets the seed."""
    seed = os.environ.get(SEED, "0")
    request.node.add_report_section("setup", "fault seed", f"{SEED}={seed}; `make faults SEED={seed}` repeats this")
    return random.Random(f"{seed} {request.node.nodeid}")
