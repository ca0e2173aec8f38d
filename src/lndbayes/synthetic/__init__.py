"""Synthetic evaluations with known truth, written in NumPy alone.

The simulator is a second, independent implementation of the model: it shares no code with
the fitted one, so that agreement between the two is evidence about both.
"""

from __future__ import annotations

from lndbayes.synthetic.generate import SimulatedEvaluation, simulate
from lndbayes.synthetic.outcome import beta_binomial_quantile
from lndbayes.synthetic.outcomes import NAMES
from lndbayes.synthetic.surface import rw2_basis
from lndbayes.synthetic.world import WORLDS, World, plain
from lndbayes.synthetic.write import write_evaluation

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
