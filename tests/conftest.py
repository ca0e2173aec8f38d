"""What every test starts from: one thread a process, no display, no wall clock, one seed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before NumPy, Numba or Matplotlib are imported: their threads would fight over the cores that the
# test processes share, and a figure must not look for a display.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import numpy as np
import pytest

# Tests are imported by path, so what they share (small.py) has to be put on the path by hand.
sys.path.insert(0, str(Path(__file__).parent))

# No deadline: on shared cores it measures the neighbours. Derandomised: two runs try the same.
hypothesis.settings.register_profile(
    "lndbayes", deadline=None, derandomize=True, database=None, max_examples=50
)
hypothesis.settings.load_profile("lndbayes")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, so that what they share is built once.

    Files that share something dear name a common group instead, with
    `pytestmark = pytest.mark.xdist_group("fit")`.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that starts from the same seed in every test."""
    return np.random.default_rng(20140401)
