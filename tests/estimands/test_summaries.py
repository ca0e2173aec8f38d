"""Summaries against hand arithmetic, NumPy and ArviZ."""

from __future__ import annotations

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from arviz_stats.base import array_stats

from lndbayes.base.names import CI_PROB
from lndbayes.estimands.summaries import SUMMARY_COLUMNS, summarise


def random_draws(rng: np.random.Generator) -> xr.DataArray:
    """Autocorrelated draws, so that the effective sample size is not the number of draws."""
    values = rng.normal(size=(4, 300, 3, 2))
    for t in range(1, 300):
        values[:, t] += 0.7 * values[:, t - 1]
    return xr.DataArray(
        values + np.arange(3)[:, None],
        dims=("chain", "draw", "site", "outcome"),
        coords={"site": ["A", "B", "C"], "outcome": ["x", "y"]},
    )


def test_five_draws_by_hand():
    draws = xr.DataArray([[-1.0, 0.0, 1.0, 2.0, 8.0]], dims=("chain", "draw"))
    row = summarise(draws, ci_prob=0.5, mcse=False).iloc[0]
    # mean 10/5; squares about it 9+4+1+0+36 = 50, over n - 1 = 4; quartiles are the 2nd and 4th of
    # five; one draw of five lies strictly below zero.
    assert row["mean"] == 2.0
    assert row["sd"] == np.sqrt(12.5)
    assert (row["lower"], row["median"], row["upper"]) == (0.0, 1.0, 2.0)
    assert row["p_below_zero"] == 0.2
    assert row["ci_prob"] == 0.5


def test_rows_carry_their_coordinates_the_last_dim_fastest(rng):
    draws = random_draws(rng)
    table = summarise(draws.transpose("site", "draw", "outcome", "chain"))
    assert list(table.columns) == ["site", "outcome", *SUMMARY_COLUMNS]
    assert type(table) is pd.DataFrame
    assert list(table["site"]) == ["A", "A", "B", "B", "C", "C"]
    assert list(table["outcome"]) == ["x", "y"] * 3
    for _, row in table.iterrows():
        cell = draws.sel(site=row["site"], outcome=row["outcome"]).values
        assert row["mean"] == pytest.approx(cell.mean(), rel=1e-12)
        assert row["upper"] == pytest.approx(np.quantile(cell, 0.5 + CI_PROB / 2), rel=1e-12)


def test_agrees_with_arviz(rng):
    draws = random_draws(rng)
    table = summarise(draws)
    eti = arviz_stats.eti(draws, prob=CI_PROB)
    np.testing.assert_allclose(table["lower"], eti.values[..., 0].ravel(), rtol=1e-12)
    np.testing.assert_allclose(table["upper"], eti.values[..., 1].ravel(), rtol=1e-12)
    mcse = arviz_stats.mcse(draws, method="mean").values.ravel()
    np.testing.assert_allclose(table["mcse"], mcse, rtol=1e-9)


def test_mcse_of_an_ar1_chain_is_its_known_value(rng):
    """Var(mean) of an AR(1) with coefficient r is sd^2 (1 + r) / (1 - r) / n for large n."""
    r, n, rows = 0.6, 2000, 200
    values = rng.normal(size=(rows, 4, n))
    values[..., 0] /= np.sqrt(1 - r**2)
    for t in range(1, n):
        values[..., t] += r * values[..., t - 1]
    draws = xr.DataArray(values, dims=("row", "chain", "draw"))
    table = summarise(draws)
    known = np.sqrt(1 / (1 - r**2) * (1 + r) / (1 - r) / (4 * n))
    # Each estimate has a standard error of some 5%; their mean over 200 rows is good to 1%.
    assert table["mcse"].mean() == pytest.approx(known, rel=0.03)
    assert table["mean"].std() == pytest.approx(known, rel=0.2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_single_bad_draw_blanks_its_row_and_no_other(rng, bad):
    draws = random_draws(rng)
    clean = summarise(draws)
    spoilt = draws.copy()
    spoilt[2, 17, 1, 0] = bad
    table = summarise(spoilt)
    numbers = [c for c in SUMMARY_COLUMNS if c != "ci_prob"]
    assert table.loc[2, numbers].isna().all()
    assert table.loc[2, "ci_prob"] == CI_PROB
    pd.testing.assert_frame_equal(table.drop(index=2), clean.drop(index=2))


def test_the_draws_are_left_as_they_were(rng):
    draws = random_draws(rng)
    draws[0, 0, 0, 0] = np.nan
    before = draws.copy(deep=True)
    summarise(draws)
    xr.testing.assert_identical(draws, before)


def test_a_constant_has_no_monte_carlo_error():
    row = summarise(xr.DataArray(np.full((4, 50), 3.0), dims=("chain", "draw"))).iloc[0]
    assert (row["mean"], row["sd"], row["lower"], row["upper"], row["mcse"]) == (3, 0, 3, 3, 0)


def test_scaling_and_shuffling(rng):
    """Ten times the draws give ten times every number with a unit; the order of sites is free."""
    draws = random_draws(rng)
    one, ten = summarise(draws), summarise(10 * draws)
    scaled = ["mean", "sd", "lower", "median", "upper", "mcse"]
    np.testing.assert_allclose(ten[scaled], 10 * one[scaled], rtol=1e-9)
    np.testing.assert_array_equal(ten["p_below_zero"], one["p_below_zero"])
    turned = summarise(draws.isel(site=[2, 0, 1]))
    pd.testing.assert_frame_equal(
        turned.sort_values(["site", "outcome"], ignore_index=True), one, check_exact=False
    )


def test_dims_without_coordinates_and_without_length():
    draws = xr.DataArray(np.zeros((2, 5, 3)), dims=("chain", "draw", "cell"))
    assert list(summarise(draws)["cell"]) == [0, 1, 2]
    empty = summarise(draws[:, :, :0])
    assert len(empty) == 0
    assert list(empty.columns) == ["cell", *SUMMARY_COLUMNS]


def test_without_mcse_the_column_is_absent():
    draws = xr.DataArray(np.zeros((2, 5)), dims=("chain", "draw"))
    assert "mcse" not in summarise(draws, mcse=False)


def test_too_few_draws_for_an_effective_sample_size():
    draws = xr.DataArray([[1.0, 2.0, 4.0]], dims=("chain", "draw"))
    assert np.isnan(array_stats.mcse(draws.values))
    assert np.isnan(summarise(draws).loc[0, "mcse"])


@pytest.mark.parametrize(
    ("draws", "arguments", "message"),
    [
        (xr.DataArray(np.zeros((4, 3)), dims=("chain", "site")), {}, "absent: \\['draw'\\]"),
        (xr.DataArray([["a", "b"]], dims=("chain", "draw")), {}, "must be numbers"),
        (xr.DataArray([[1.0]], dims=("chain", "draw")), {}, "two draws"),
        (xr.DataArray([[1.0, 2.0]], dims=("chain", "draw")), {"ci_prob": 1.0}, "strictly between"),
        (xr.DataArray([[1.0, 2.0]], dims=("chain", "draw")), {"ci_prob": 90}, "strictly between"),
        (xr.DataArray(np.zeros((1, 2, 1)), dims=("chain", "draw", "sd")), {}, "named like"),
        (
            xr.DataArray(np.zeros((1, 2, 1, 1)), dims=("chain", "draw", "a", "b")).stack(
                s=("a", "b")
            ),
            {},
            "several levels",
        ),
    ],
)
def test_refuses(draws, arguments, message):
    with pytest.raises(ValueError, match=message):
        summarise(draws, **arguments)


def test_refuses_a_bare_array():
    with pytest.raises(TypeError, match="DataArray"):
        summarise(np.zeros((2, 3)))
