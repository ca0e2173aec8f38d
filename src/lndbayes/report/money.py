"""Savings as the report needs them: the headline row, labels, draws and the published range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.money.pricing import NO_SAVING
from lndbayes.money.rules import ALL, ALL_CASHABLE
from lndbayes.money.savings import total_saving
from lndbayes.report.lookup import Row
from lndbayes.report.run import Run

__all__ = [
    "Comparison",
    "comparison",
    "headline",
    "headline_scenario",
    "label",
    "line_rows",
    "no_saving",
    "savings_notes",
    "scenario_rows",
    "total_draws",
]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A published range that is shown beside the result and used for nothing else.

    Attributes
    ----------
    low, high : float
        Pounds.
    label, source, note : str
        What it is, where it comes from, what is not known about it.
    """

    low: float
    high: float
    label: str
    source: str
    note: str


def comparison(run: Run) -> Comparison | None:
    """Published range stored with the draws; None where the costs name none."""
    if run.money is None or "comparison_low" not in run.money.attrs:
        return None
    stated = run.money.attrs
    return Comparison(
        low=float(stated["comparison_low"]),
        high=float(stated["comparison_high"]),
        label=str(stated["comparison_label"]),
        source=str(stated["comparison_source"]),
        note=str(stated["comparison_note"]),
    )


def headline_scenario(run: Run) -> str:
    """Scenario that is reported first: as stored with the draws, else the first of the table."""
    if run.money is not None and "headline_scenario" in run.money.attrs:
        return str(run.money.attrs["headline_scenario"])
    if run.savings is None or run.savings.empty or "scenario" not in run.savings:
        return ""
    return str(run.savings["scenario"].iloc[0])


def _totals(run: Run) -> pd.DataFrame:
    if run.savings is None:
        return pd.DataFrame()
    s = run.savings[run.savings["level"] == "total"]
    return s if "scenario" in s else s.assign(scenario="")


def headline(run: Run) -> Row | None:
    """Total saving over all outcomes, lines and payers in the headline scenario.

    Returns
    -------
    Row or None
        A row of ``savings.csv``; None where there is none with numbers.
    """
    s = _totals(run)
    if s.empty:
        return None
    everything = (s["outcome"] == ALL) & (s["line"] == ALL) & (s["payer"] == ALL)
    s = s[everything & (s["scenario"] == headline_scenario(run)) & s["median"].notna()]
    return s.to_dict("records")[0] if len(s) else None


def savings_notes(run: Run) -> list[str]:
    """What the costs leave out of this run, as its manifest says."""
    notes = run.manifest.get("savings_notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


def no_saving(run: Run) -> str:
    """Why there is no headline row."""
    why = run.missing.get("savings.csv", "savings.csv has no total over all lines")
    return "; ".join(note.removeprefix(NO_SAVING) for note in savings_notes(run)) or why


def line_rows(run: Run) -> pd.DataFrame:
    """Rows of the single lines, all sites together, in the headline scenario."""
    s = _totals(run)
    if s.empty:
        return s
    return s[~s["line"].isin([ALL, ALL_CASHABLE]) & (s["scenario"] == headline_scenario(run))]


def scenario_rows(run: Run) -> pd.DataFrame:
    """Rows of the net of all lines and of all cashable lines, by scenario and payer."""
    s = _totals(run)
    if s.empty:
        return s
    return s[s["line"].isin([ALL, ALL_CASHABLE]) & (s["outcome"] == ALL)]


def label(run: Run, dim: str, name: str) -> str:
    """Label of a line, payer or scenario as stored with the draws, else its name in words."""
    if run.money is not None and f"{dim}_label" in run.money.coords:
        names = [str(v) for v in run.money[dim].values]
        if name in names:
            return str(run.money[f"{dim}_label"].values[names.index(name)])
    return name.replace("_", " ")


def total_draws(run: Run) -> np.ndarray[Any, Any] | None:
    """Draws of the headline total.

    Returns
    -------
    np.ndarray or None
        Shape (chain x draw,), pounds; None where the run has no draws.
    """
    if run.money is None:
        return None
    total = total_saving(run.money).sel(scenario=headline_scenario(run))
    return np.asarray(total.transpose(*SAMPLE_DIMS).values).ravel()
