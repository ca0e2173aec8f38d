"""Synthetic person-level extracts with known truth, written in NumPy and pandas.

They share the sites and the roll-out of the aggregate simulator and nothing else: persons live
their lives, sources record parts of them, and the aggregate law is what comes of it.
"""

from __future__ import annotations

from lndbayes.synthetic.extracts.generate import DEFAULT_SCALE, SimulatedExtracts, simulate_extracts
from lndbayes.synthetic.extracts.recording import LOSSES
from lndbayes.synthetic.extracts.world import (
    EXTRACT_WORLDS,
    NEEDS,
    SOURCES,
    ExtractWorld,
    RateLaw,
    SourceLaw,
)
from lndbayes.synthetic.extracts.write import check_target, write_extracts

__all__ = [
    "DEFAULT_SCALE",
    "EXTRACT_WORLDS",
    "LOSSES",
    "NEEDS",
    "SOURCES",
    "ExtractWorld",
    "RateLaw",
    "SimulatedExtracts",
    "SourceLaw",
    "check_target",
    "simulate_extracts",
    "write_extracts",
]
