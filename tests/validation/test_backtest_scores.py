"""Scores against brute force, closed forms and hand-made tables."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lndbayes.checks.result import Status
from lndbayes.validation.backtest.scores import (
    BATCHES,
    fair_crps,
    randomised_pit,
    score_cells,
    summary_table,
    verdicts,
)


def test_crps_is_that_of_all_pairs():
    rng = np.random.default_rng(1)
    draws, observed = rng.normal(size=(7, 3)), rng.normal(size=3)
    pairs = list(itertools.combinations(range(7), 2))
    spread = np.mean([np.abs(draws[i] - draws[j]) for i, j in pairs], axis=0)
    expected = np.abs(draws - observed).mean(axis=0) - spread / 2
    assert fair_crps(draws, observed) == pytest.approx(expected, rel=1e-12)


def test_crps_of_two_draws_by_hand():
    draws = np.array([[0.0, 0.0], [1.0, 4.0]])
    assert fair_crps(draws, np.array([0.0, 5.0])) == pytest.approx([0.0, 1.0])
    with pytest.raises(ValueError, match="two draws"):
        fair_crps(draws[:1], np.array([0.0, 5.0]))


def test_crps_of_a_normal_law_is_the_closed_form():
    rng = np.random.default_rng(2)
    y = 0.7
    closed = y * (2 * stats.norm.cdf(y) - 1) + 2 * stats.norm.pdf(y) - 1 / np.sqrt(np.pi)
    assert fair_crps(rng.normal(size=(400_000, 1)), np.array([y]))[0] == pytest.approx(
        closed, abs=0.003
    )
    # few draws do not make it larger or smaller on average
    few = fair_crps(rng.normal(size=(3, 200_000)), np.full(200_000, y))
    assert few.mean() == pytest.approx(closed, abs=4 * few.std() / np.sqrt(few.size))


def test_transform_is_uniform_under_a_right_law_of_few_counts():
    rng = np.random.default_rng(3)
    rate = rng.gamma(2.0, size=4000)
    pit = randomised_pit(rng.poisson(rate, size=(99, 4000)), rng.poisson(rate), rng)
    assert stats.kstest(pit, "uniform").pvalue > 0.01
    assert (
        randomised_pit(rng.poisson(2 * rate, size=(99, 4000)), rng.poisson(rate), rng).mean() < 0.45
    )


def test_cells_by_hand():
    draws = np.column_stack([np.arange(100.0), np.full(100, 5.0), np.r_[np.nan, np.ones(99)]])
    table, batches = score_cells(draws, np.array([4.0, 5.0, 1.0]), np.random.default_rng(4))
    # the inverse distribution function of 0..99 at 5% and 95% is 4 and 94, at 25% and 75% 24 and 74
    first = table.iloc[0]
    assert (first["lower"], first["upper"]) == (4.0, 94.0)
    assert (first["inside_90"], first["inside_50"]) == (1.0, 0.0)
    assert (first["expected_90"], first["expected_50"]) == (0.91, 0.51)
    assert table.iloc[1][["inside_90", "inside_50", "expected_90", "crps"]].tolist() == [1, 1, 1, 0]
    assert table.iloc[2].drop("observed").isna().all()
    assert table.iloc[2]["observed"] == 1.0
    assert batches.shape == (3, BATCHES)
    assert np.isnan(batches[2]).all()


def cells(method: str, channels: str, crps: list[float]) -> pd.DataFrame:
    """Two sites, A with two cells and B with one."""
    n = len(crps)
    inside = np.array([1.0, 1.0, 0.0])[:n]
    return pd.DataFrame(
        {
            "site": ["A", "A", "B"][:n],
            "wave": [1, 1, 2][:n],
            "month": ["2014-01", "2014-02", "2014-01"][:n],
            "method": method,
            "channels": channels,
            "observed": 0.2,
            "mean": 0.3,
            "inside_50": inside,
            "inside_90": inside,
            "expected_50": 0.6,
            "expected_90": 0.95,
            "crps": crps,
            "pit": [0.5, 0.2, 0.99][:n],
        }
    )


def summary() -> pd.DataFrame:
    table = pd.concat(
        [cells("model", "all", [1.0, 2.0, 3.0]), cells("naive", "panel_only", [2.0, np.nan, 5.0])],
        ignore_index=True,
    )
    batches = np.where(
        table["crps"].isna().to_numpy()[:, None], np.nan, table["crps"].to_numpy()[:, None]
    ) + np.tile([0.0, 0.1], BATCHES // 2)
    return summary_table(table, batches, table.drop(columns="month"))


def test_averages_by_hand():
    rows = summary().set_index(["method", "wave"])
    model = rows.loc[("model", "all")]
    assert model[["sites", "cells", "not_predicted"]].tolist() == [2, 3, 0]
    assert model["coverage_90"] == pytest.approx(2 / 3)
    assert (model["pit_50"], model["pit_90"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert model["crps"] == pytest.approx(2.0)
    assert model["bias"] == pytest.approx(0.1)
    # residuals sum to -1 at A and +1 at B: sqrt(2 / 1 * 2) / 3
    assert model["crps_se"] == pytest.approx(2 / 3)
    # batch means 2.0 and 2.1 in turn: sd 0.05 sqrt(10 / 9), over sqrt(10)
    assert model["mcse"] == pytest.approx(0.05 * np.sqrt(10 / 9) / np.sqrt(10))
    naive = rows.loc[("naive", "all")]
    assert naive[["cells", "not_predicted"]].tolist() == [2, 1]
    assert naive["crps_excess"] == pytest.approx(1.5)
    assert rows.loc[("model", "1"), "cells"] == 2


def table_of(**changes: float) -> pd.DataFrame:
    row = {
        "channels": "all",
        "wave": "all",
        "sites": 9,
        "cells": 90,
        "not_predicted": 0,
        "coverage_90": 0.93,
        "coverage_90_se": 0.02,
        "expected_90": 0.94,
        "pit_90": 0.9,
        "crps": 1.0,
        "crps_excess": 0.1,
        "crps_excess_se": 0.05,
        "mean_observed": 0.2,
        "bias": 0.001,
    }
    model = {**row, "method": "model"} | {k: v for k, v in changes.items() if k[:6] != "naive_"}
    naive = {**row, "method": "naive", "channels": "panel_only", "crps": 1.1}
    naive |= {k[6:]: v for k, v in changes.items() if k[:6] == "naive_"}
    return pd.DataFrame([model, naive])


@pytest.mark.parametrize(
    ("check", "changes", "status"),
    [
        ("coverage", {}, "PASS"),
        ("coverage", {"pit_90": 0.84}, "REVIEW"),
        ("coverage", {"pit_90": 0.96}, "REVIEW"),
        ("coverage", {"pit_90": 0.7}, "FAIL"),
        ("coverage", {"pit_90": np.nan}, "FAIL"),
        ("crps", {}, "PASS"),
        ("crps", {"crps": 1.15}, "REVIEW"),
        ("crps", {"crps": 1.3}, "FAIL"),
        ("crps", {"crps": np.nan}, "FAIL"),
        # what predicts only some cells is not the one to beat
        ("crps", {"naive_not_predicted": 3}, "NOT RUN"),
        ("bias", {"bias": -0.03}, "REVIEW"),
        ("bias", {"bias": 0.1}, "FAIL"),
        ("bias", {"bias": np.nan}, "FAIL"),
    ],
)
def test_verdicts(check, changes, status):
    results = {r.check: r for r in verdicts("custody", table_of(**changes), 0.0)}
    assert results[f"backtest_{check}"].status == status


def test_divergent_transitions_and_nothing_at_all():
    for share, status in ((0.0, "PASS"), (0.001, "REVIEW"), (0.1, "FAIL"), (np.nan, "FAIL")):
        *_, last = verdicts("custody", table_of(), share)
        assert last.status == status
    results = verdicts("custody", table_of(cells=0), 0.0)
    assert len(results) == 4
    assert {r.status for r in results} == {Status.NOT_RUN}
