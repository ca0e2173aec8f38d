"""Cells of a simulated evaluation: what tests of `lndbayes.simulate` share."""

from __future__ import annotations

import pandas as pd

from lndbayes.synthetic import SimulatedEvaluation


def cells(sim: SimulatedEvaluation, outcome: str = "custody") -> pd.DataFrame:
    """Rows of one outcome with its categories added up, one row per site and month."""
    rows = sim.frames["outcomes.csv"]
    rows = rows[rows["outcome"] == outcome]
    added = rows.groupby(["site", "month"], as_index=False)
    return added.agg(exposure=("exposure", "first"), count=("count", "sum"))


def of_outcome(sim: SimulatedEvaluation, table: str, outcome: str = "custody") -> pd.DataFrame:
    """Rows of a table on one outcome."""
    rows = sim.frames[table]
    return rows[rows["outcome"] == outcome].reset_index(drop=True)
