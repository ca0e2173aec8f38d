"""Tables of savings: intervals by site and in total, and what the width of the total comes from."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.errors import DataError, Problem
from lndbayes.base.names import CI_PROB, OUTCOME, SAMPLE_DIMS, SITE
from lndbayes.estimands.summaries import summarise
from lndbayes.money.rules import ALL, ALL_CASHABLE
from lndbayes.money.savings import FACTOR_PREFIX, LINE, SCENARIO, net_saving, total_saving

__all__ = ["INTERACTIONS", "SAVINGS_COLUMNS", "explain_total", "savings_table"]

SAVINGS_COLUMNS = (
    "level",
    "site",
    "outcome",
    "line",
    "payer",
    "cashable",
    "scenario",
    "mean",
    "sd",
    "lower",
    "median",
    "upper",
    "ci_prob",
    "p_positive",
    "mcse",
    "price_year",
)

#: Last row of the explanation: variance that no single unknown explains alone.
INTERACTIONS = "interactions"


def savings_table(ds: xr.Dataset, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Summarise savings by site and in total, line by line and net.

    Parameters
    ----------
    ds : xr.Dataset
        From `lndbayes.money.savings.savings`.
    ci_prob : float
        Probability of the equal-tailed interval.

    Returns
    -------
    pd.DataFrame
        Columns `SAVINGS_COLUMNS`; pounds, positive when less is spent. ``level`` is ``site`` or
        ``total`` (``site`` is then empty): a national figure would need draws for new sites.
        ``line`` is a line, ``all`` (the net of all lines) or ``all cashable`` (the net of the
        cashable ones); ``outcome`` and ``payer`` likewise are one, or ``all``. ``cashable`` says
        whether every line summed is. Rows of one draw's lines add up; rows of this table do not.
    """
    rows = _rows(ds)
    blocks: list[xr.DataArray] = [
        net_saving(ds, line=row.line, payer=row.payer, outcome=row.outcome) for row in rows
    ]
    draws = xr.concat(blocks, dim=pd.RangeIndex(len(rows), name="row"))
    parts = []
    for level, part in (("site", draws), ("total", draws.sum(SITE))):
        table = summarise(part.transpose(..., "row", SCENARIO), ci_prob=ci_prob)
        # Counted, not taken as one minus the share below zero: a saving may be exactly zero.
        flipped = summarise(-part.transpose(..., "row", SCENARIO), ci_prob=ci_prob, mcse=False)
        parts.append(table.assign(level=level, p_positive=flipped["p_below_zero"]))
    parts[1]["site"] = ""
    table = pd.concat(parts, ignore_index=True)
    for column in _Row._fields:
        table[column] = [getattr(rows[i], column) for i in table["row"]]
    return table.assign(price_year=ds.attrs["price_year"])[list(SAVINGS_COLUMNS)]


def explain_total(ds: xr.Dataset, *, scenario: str | None = None, line: str = ALL) -> pd.DataFrame:
    """Say what the width of the total saving comes from: first-order shares of its variance.

    The share of an unknown X is Var(E[S | X]) / Var(S) (a first-order Sobol index). Every formula
    is linear in the events averted and in each factor taken alone, and these are independent, so
    E[S | X] is a straight line in X and the share is exactly the squared correlation of S with X:
    no smoother and no bin width has to be chosen. What is left acts only jointly (a product varies
    more than its parts) and is the row ``interactions``, which sampling error can make slightly
    negative. Outcomes whose draws are dependent share some variance, and then so do their rows.

    Parameters
    ----------
    ds : xr.Dataset
        From `lndbayes.money.savings.savings`.
    scenario : str, optional
        The headline scenario if not given.
    line : str
        A line, ``all`` or ``all cashable``.

    Returns
    -------
    pd.DataFrame
        Columns ``factor`` (``averted: <outcome>``, ``referrals`` or a factor's name), ``share``;
        largest first, ``interactions`` last. A factor that does not vary has share 0.

    Raises
    ------
    DataError
        If the scenario is unknown, or the total does not vary.
    """
    scenario = ds.attrs["headline_scenario"] if scenario is None else scenario
    if scenario not in ds[SCENARIO].values:
        raise DataError(Problem("savings", "no such scenario", column=SCENARIO, value=scenario))
    total = _flat(total_saving(ds, line=line).sel({SCENARIO: scenario}))
    if np.ptp(total) == 0:
        raise DataError(Problem("savings", "the total does not vary: nothing to explain", None))
    shares = {
        name: 0.0 if np.ptp(values) == 0 else float(np.corrcoef(total, values)[0, 1] ** 2)
        for name, values in _unknowns(ds, scenario, line).items()
    }
    table = pd.DataFrame({"factor": list(shares), "share": list(shares.values())})
    table = table.sort_values("share", ascending=False, kind="stable", ignore_index=True)
    rest = pd.DataFrame({"factor": [INTERACTIONS], "share": [1.0 - table["share"].sum()]})
    return pd.concat([table, rest], ignore_index=True)


class _Row(NamedTuple):
    """What one block of rows sums."""

    outcome: str
    line: str
    payer: str
    cashable: bool


def _rows(ds: xr.Dataset) -> list[_Row]:
    """Every line by itself, then the net by outcome and payer, then everything."""
    columns = [ds[c].values for c in ("line_outcome", LINE, "line_payer", "cashable")]
    single = [_Row(str(o), str(n), str(p), bool(c)) for o, n, p, c in zip(*columns, strict=True)]
    rows = list(single)
    for outcome in [*map(str, ds[OUTCOME].values), ALL]:
        inside = [row for row in single if outcome in (ALL, row.outcome)]
        for payer in [*dict.fromkeys(row.payer for row in inside), ALL]:
            cashable = all(row.cashable for row in inside if payer in (ALL, row.payer))
            rows.append(_Row(outcome, ALL, payer, cashable))
        rows.append(_Row(outcome, ALL_CASHABLE, ALL, True))
    return rows


def _unknowns(ds: xr.Dataset, scenario: str, line: str) -> dict[str, np.ndarray]:
    """Draws of everything that enters the lines asked for, by name."""
    names = [str(v) for v in ds[LINE].values]
    if line == ALL:
        wanted = names
    elif line == ALL_CASHABLE:
        wanted = [n for n, c in zip(names, ds["cashable"].values, strict=True) if c]
    else:
        wanted = [line]
    lines = ds[["line_outcome", "line_quantity", "line_factors"]].sel({LINE: wanted})
    quantities = list(zip(lines["line_quantity"].values, lines["line_outcome"].values, strict=True))
    unknowns: dict[str, np.ndarray] = {}
    for outcome in dict.fromkeys(str(o) for q, o in quantities if q == "averted"):
        unknowns[f"averted: {outcome}"] = _flat(ds["averted"].sel({OUTCOME: outcome}).sum(SITE))
    if any(q == "referrals" for q, _ in quantities):
        # Referrals may be plain counts: one value for every draw, so no share of the variance.
        per_draw = xr.zeros_like(ds["averted"].sum([SITE, OUTCOME])) + ds["referrals"].sum(SITE)
        unknowns["referrals"] = _flat(per_draw)
    for factor in dict.fromkeys(
        f for text in lines["line_factors"].values for f in json.loads(text)
    ):
        draws = ds[FACTOR_PREFIX + factor]
        if SCENARIO in draws.dims:
            draws = draws.sel({SCENARIO: scenario})
        unknowns[factor] = _flat(draws)
    return unknowns


def _flat(draws: xr.DataArray) -> np.ndarray:
    return draws.transpose(*SAMPLE_DIMS).values.ravel()
