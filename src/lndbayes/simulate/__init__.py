"""Synthetic evaluations with known truth, written in NumPy alone.

The simulator is a second, independent implementation of the model: it shares no code with
the fitted one, so that agreement between the two is evidence about both.
"""

from __future__ import annotations

from lndbayes.simulate.generate import SimulatedEvaluation, simulate
from lndbayes.simulate.outcome import beta_binomial_quantile
from lndbayes.simulate.outcomes import NAMES
from lndbayes.simulate.surface import rw2_basis
from lndbayes.simulate.world import WORLDS, World, plain
from lndbayes.simulate.write import write_evaluation

__all__ = [
    "NAMES",
    "WORLDS",
    "SimulatedEvaluation",
    "World",
    "beta_binomial_quantile",
    "plain",
    "rw2_basis",
    "simulate",
    "write_evaluation",
]
