"""Scores of predictive draws against what was hidden, cell by cell, and their summary.

References
----------
Gneiting and Raftery (2007), Strictly proper scoring rules, prediction, and estimation, JASA 102.
Ferro (2014), Fair scores for ensemble forecasts, Q. J. R. Meteorol. Soc. 140.
Czado, Gneiting and Held (2009), Predictive model assessment for count data, Biometrics 65.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lndbayes.checks.result import CheckResult, at_most, not_run

__all__ = [
    "PROBABILITIES",
    "fair_crps",
    "randomised_pit",
    "score_cells",
    "summary_table",
    "verdicts",
]

#: Probabilities of the equal-tailed predictive intervals.
PROBABILITIES = (0.5, 0.9)

#: Batches from whose scores the Monte Carlo error is found.
BATCHES = 10

#: Channel set of the model as its spec has it.
ALL_CHANNELS = "all"

#: What a wave's row is called that holds all waves.
ALL_WAVES = "all"

#: Departure of the coverage of 90% intervals from 90%: above the first REVIEW, above the second
#: FAIL. Five points are what one more site in twenty missed throughout would cost.
COVERAGE_LIMITS = (0.05, 0.15)

#: CRPS over that of the best comparator: above the first REVIEW, above the second FAIL.
CRPS_LIMITS = (1.0, 1.1)

#: Mean error over the mean observed rate.
BIAS_LIMITS = (0.10, 0.25)

#: Share of divergent transitions over all refits; any is REVIEW.
DIVERGENCE_LIMITS = (0.0, 0.01)


def fair_crps(draws: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score, unbiased for any number of draws.

    The mean distance of draws from the observation, less half the mean distance between two
    distinct draws: with the number of pairs of distinct draws in the denominator its expectation
    does not depend on how many draws there are (Ferro 2014).

    Parameters
    ----------
    draws : ndarray, shape (D, C)
        At least two predictive draws of each cell.
    observed : ndarray, shape (C,)
        What was observed.

    Returns
    -------
    ndarray, shape (C,)
        In the unit of the draws; smaller is better. NaN where a draw is NaN.
    """
    count = len(draws)
    if count < 2:
        raise ValueError("a score needs at least two draws")
    ordered = np.sort(draws, axis=0)
    # the sum of |x_i - x_j| over pairs is a sum over order statistics: the k-th smallest of D is
    # the larger one k-1 times and the smaller one D-k times
    rank = 2.0 * np.arange(1, count + 1) - count - 1
    spread = (rank[:, None] * ordered).sum(axis=0) / (count * (count - 1) / 2)
    return np.asarray(np.abs(draws - observed).mean(axis=0) - spread / 2)


def randomised_pit(draws: np.ndarray, observed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Probability integral transform, uniform under a right law of counts too.

    Drawn uniformly between the probabilities of less than, and of at most, what was observed
    (Czado, Gneiting and Held 2009).

    Parameters
    ----------
    draws, observed
        See `fair_crps`.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (C,)
        Between 0 and 1; NaN where a draw is NaN.
    """
    below, equal = (draws < observed).sum(axis=0), (draws == observed).sum(axis=0)
    # the observation is one more exchangeable value: its rank among the draws is then uniform
    pit = (below + rng.uniform(size=len(observed)) * (equal + 1)) / (len(draws) + 1)
    return np.where(np.isfinite(draws).all(axis=0), pit, np.nan)


def score_cells(
    draws: np.ndarray, observed: np.ndarray, rng: np.random.Generator
) -> tuple[pd.DataFrame, np.ndarray]:
    """Score every cell of one method in one fold.

    Parameters
    ----------
    draws, observed, rng
        See `randomised_pit`; draws in the order in which they were made.

    Returns
    -------
    table : pandas.DataFrame
        One row a cell: ``observed``, ``mean``, ``lower``, ``upper`` (90%), ``inside_50``,
        ``inside_90`` (1 or 0), ``expected_50``, ``expected_90`` (probability that the law itself
        gives to the closed interval: above the nominal one where few counts are possible),
        ``crps``, ``pit``. NaN where the method predicts nothing.
    batches : ndarray, shape (cells, BATCHES)
        CRPS of each batch of consecutive draws.
    """
    known = np.isfinite(draws).all(axis=0)
    columns: dict[str, np.ndarray] = {"observed": observed, "mean": draws.mean(axis=0)}
    for prob in PROBABILITIES:
        tails = ((1 - prob) / 2, (1 + prob) / 2)
        # a quantile that is one of the draws: between two counts there is nothing to observe
        low, high = np.quantile(draws, tails, axis=0, method="inverted_cdf")
        name = f"{100 * prob:.0f}"
        if prob == PROBABILITIES[-1]:
            columns["lower"], columns["upper"] = low, high
        columns[f"inside_{name}"] = (observed >= low) & (observed <= high)
        columns[f"expected_{name}"] = ((draws >= low) & (draws <= high)).mean(axis=0)
    columns["crps"] = fair_crps(draws, observed)
    columns["pit"] = randomised_pit(draws, observed, rng)
    table = pd.DataFrame(columns).astype(float)
    table.loc[~known, table.columns.drop("observed")] = np.nan
    parts = [fair_crps(part, observed) for part in np.array_split(draws, BATCHES)]
    return table, np.where(known[:, None], np.column_stack(parts), np.nan)


def summary_table(cells: pd.DataFrame, batches: np.ndarray, sites: pd.DataFrame) -> pd.DataFrame:
    """Average scores by method, channel set and wave.

    Parameters
    ----------
    cells : pandas.DataFrame
        Rows of `score_cells` with ``site``, ``month``, ``wave``, ``method`` and ``channels``.
    batches : ndarray, shape (len(cells), BATCHES)
        CRPS by batch, in the same order.
    sites : pandas.DataFrame
        The same columns but ``month``, scores being of a site's rate over all its hidden cells.

    Returns
    -------
    pandas.DataFrame
        ``method``, ``channels``, ``wave``, ``sites``, ``cells``, ``not_predicted``,
        ``coverage_50``, ``coverage_90``, ``coverage_90_se``, ``expected_50``, ``expected_90``,
        ``pit_50``, ``pit_90`` (shares of PIT values in the central ranges: nominal under a right
        law, however few counts are possible), ``crps``, ``crps_se``,
        ``crps_excess`` (over the model's with all its evidence, in the same cells),
        ``crps_excess_se``, ``mean_observed``, ``bias``, ``mcse`` (Monte Carlo error of ``crps``).
        The ``_se`` are over sites: the cells of one are nearly one observation. ``site_...`` are
        of the sites' rates over all their hidden cells, where counting noise hides less.
    """
    rows = []
    model = cells[(cells["method"] == "model") & (cells["channels"] == ALL_CHANNELS)]
    least = model.set_index(["site", "month"])["crps"]
    at = pd.MultiIndex.from_frame(cells[["site", "month"]])
    cells = cells.assign(excess=cells["crps"] - least.reindex(at).to_numpy())
    for (method, channels), group in cells.groupby(["method", "channels"], sort=False):
        for wave in [*sorted(group["wave"].unique()), ALL_WAVES]:
            part = group if wave == ALL_WAVES else group[group["wave"] == wave]
            known = part[part["crps"].notna()]
            row = {"method": method, "channels": channels, "wave": str(wave)}
            row |= _averages(known, batches[known.index], len(part))
            mine = (sites["method"] == method) & (sites["channels"] == channels)
            if wave != ALL_WAVES:
                mine &= sites["wave"] == wave
            rows.append(row | _site_averages(sites[mine].dropna(subset="crps")))
    return pd.DataFrame(rows)


def _averages(known: pd.DataFrame, batches: np.ndarray, asked: int) -> dict[str, float]:
    out: dict[str, float] = {"sites": known["site"].nunique(), "cells": len(known)}
    out["not_predicted"] = asked - len(known)
    if known.empty:
        return out
    for column in ("coverage_50", "coverage_90"):
        out[column] = float(known[column.replace("coverage", "inside")].mean())
    out["coverage_90_se"] = _by_site(known, known["inside_90"])
    for column in ("expected_50", "expected_90"):
        out[column] = float(known[column].mean())
    for prob in PROBABILITIES:
        central = np.abs(known["pit"] - 0.5) <= prob / 2
        out[f"pit_{100 * prob:.0f}"] = float(central.mean())
    out["crps"] = float(known["crps"].mean())
    out["crps_se"] = _by_site(known, known["crps"])
    out["crps_excess"] = float(known["excess"].mean())
    out["crps_excess_se"] = _by_site(known, known["excess"])
    out["mean_observed"] = float(known["observed"].mean())
    out["bias"] = float((known["mean"] - known["observed"]).mean())
    out["mcse"] = float(batches.mean(axis=0).std(ddof=1) / np.sqrt(batches.shape[1]))
    return out


def _site_averages(sites: pd.DataFrame) -> dict[str, float]:
    if sites.empty:
        return {}
    return {
        "site_coverage_90": float(sites["inside_90"].mean()),
        "site_crps": float(sites["crps"].mean()),
        "site_bias": float((sites["mean"] - sites["observed"]).mean()),
    }


def _by_site(cells: pd.DataFrame, values: pd.Series) -> float:
    """Standard error of a mean over cells that come in sites (the ratio estimator's)."""
    residual = (values - values.mean()).groupby(cells["site"]).sum().to_numpy()
    sites = len(residual)
    if sites < 2:
        return float("nan")
    return float(np.sqrt(sites / (sites - 1) * (residual**2).sum()) / len(cells))


def verdicts(outcome: str, summary: pd.DataFrame, divergent: float) -> list[CheckResult]:
    """Judge the model's reconstruction, with all its evidence, of what was hidden.

    Parameters
    ----------
    outcome : str
        The outcome.
    summary : pandas.DataFrame
        From `summary_table`.
    divergent : float
        Share of divergent transitions in all refits.

    Returns
    -------
    list of CheckResult
        ``backtest_coverage``, ``backtest_crps``, ``backtest_bias``, ``backtest_sampling``.
    """
    whole = summary[(summary["wave"] == ALL_WAVES) & (summary["cells"] > 0)]
    model = whole[(whole["method"] == "model") & (whole["channels"] == ALL_CHANNELS)]
    if model.empty:
        reason = "no hidden cell was reconstructed"
        names = ("coverage", "crps", "bias", "sampling")
        return [not_run(outcome, f"backtest_{name}", reason) for name in names]
    row = model.iloc[0]
    return [
        _coverage(outcome, row),
        _against_best(outcome, row, whole[whole["method"] != "model"]),
        _bias(outcome, row),
        _sampling(outcome, divergent),
    ]


def _coverage(outcome: str, row: pd.Series) -> CheckResult:
    # closed intervals of small counts hold more than their nominal share even under a right law;
    # central transform values do not
    share = float(row["pit_90"])
    message = (
        f"{100 * row['coverage_90']:.1f}% of {row['cells']:.0f} hidden cells at {row['sites']:.0f}"
        f" sites lie in their 90% predictive interval (standard error over sites"
        f" {100 * row['coverage_90_se']:.1f}; the law itself expects"
        f" {100 * row['expected_90']:.1f}%, counts being whole); with ties broken at random"
        f" {100 * share:.1f}%, which is judged."
    )
    limit = f"within {COVERAGE_LIMITS[0]:g} of 0.9"
    status = at_most(abs(share - 0.9), *COVERAGE_LIMITS)
    return CheckResult(outcome, "backtest_coverage", status, share, limit, message)


def _against_best(outcome: str, row: pd.Series, others: pd.DataFrame) -> CheckResult:
    # a method that predicts only the easy cells must not be the one to beat
    others = others[others["not_predicted"] == 0]
    if others.empty:
        return not_run(outcome, "backtest_crps", "no comparator predicts every hidden cell")
    best = others.sort_values("crps").iloc[0]
    ratio = float(row["crps"] / best["crps"])
    message = (
        f"CRPS {row['crps']:.3g} against {best['crps']:.3g} of the best comparator,"
        f" {str(best['method']).replace('_', ' ')}; the difference, {best['crps_excess']:+.2g}, has"
        f" a standard error over sites of {best['crps_excess_se']:.2g}."
    )
    status = at_most(ratio, *CRPS_LIMITS)
    return CheckResult(outcome, "backtest_crps", status, ratio, f"<= {CRPS_LIMITS[0]:g}", message)


def _bias(outcome: str, row: pd.Series) -> CheckResult:
    share = abs(float(row["bias"])) / float(row["mean_observed"])
    message = (
        f"The reconstruction is {row['bias']:+.3g} off on average, where the mean observed rate is"
        f" {row['mean_observed']:.3g}."
    )
    status = at_most(share, *BIAS_LIMITS)
    return CheckResult(outcome, "backtest_bias", status, share, f"<= {BIAS_LIMITS[0]:g}", message)


def _sampling(outcome: str, divergent: float) -> CheckResult:
    status = at_most(divergent, *DIVERGENCE_LIMITS)
    message = f"{100 * divergent:.2g}% of the refits' transitions diverged."
    return CheckResult(outcome, "backtest_sampling", status, divergent, "none", message)
