"""Pareto k-hat against ArviZ, and where the answer is known."""

from __future__ import annotations

import arviz_stats
import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats

from lndbayes.checks.influence import pareto_k, smoothed_weights


def log_likelihood(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("cell", "chain", "draw"))


# Both rules for the length of the tail (below and above 225 draws), and more cells than a block.
@pytest.mark.parametrize(("cells", "draws"), [(50, 100), (50, 224), (50, 226), (600, 1000)])
def test_equals_arviz(rng, cells, draws):
    scale = np.exp(rng.normal(size=cells))[:, None, None]
    values = -0.5 * scale * rng.chisquare(1, size=(cells, 2, draws // 2))
    reference = array_stats.psislw(values.reshape(cells, -1), r_eff=1)[1]
    ours = pareto_k(log_likelihood(values), most=10**6)
    np.testing.assert_allclose(ours, reference, rtol=1e-9, atol=1e-12)


def test_equals_the_k_of_arviz_loo(rng):
    values = -0.05 * rng.chisquare(1, size=(30, 4, 250))  # light tails: no warning
    tree = xr.DataTree.from_dict(
        {
            "/posterior": xr.Dataset({"a": (("chain", "draw"), rng.normal(size=(4, 250)))}),
            "/log_likelihood": xr.Dataset({"y": (("cell", "chain", "draw"), values)}),
        }
    )
    loo = arviz_stats.loo(tree, pointwise=True, reff=1.0)
    np.testing.assert_allclose(
        pareto_k(log_likelihood(values), most=10**6), loo.pareto_k.values, rtol=1e-9, atol=1e-12
    )


def test_exact_pareto_tails_are_recovered(rng):
    """If the log weight is k times an exponential, the weight is Pareto with shape k."""
    for k in (0.3, 0.9):
        values = -k * rng.exponential(size=(200, 4, 1000))
        estimates = pareto_k(log_likelihood(values), most=10**6)
        # Tail of 189 draws: standard error (1 + k) / sqrt(189) each, and a pull of 10 / 199
        # towards one half; over 200 cells only the pull remains.
        pulled = (189 * k + 10 * 0.5) / 199
        assert estimates.mean() == pytest.approx(pulled, abs=0.05)


def test_a_cell_that_does_not_vary_has_no_influence(rng):
    values = np.zeros((2, 2, 100))
    values[1] = rng.normal(size=(2, 100))
    k = pareto_k(log_likelihood(values), most=1000)
    assert np.isneginf(k[0])
    assert np.isfinite(k[1])


def test_a_tail_without_a_shape_has_no_k():
    """Two values only: the tail is one point, and no Pareto fits it."""
    values = np.zeros((1, 2, 500))
    values[0, 0, :250] = -1.0
    assert np.isnan(pareto_k(log_likelihood(values), most=1000)[0])


def test_too_few_draws_for_a_tail(rng):
    assert np.isnan(pareto_k(log_likelihood(rng.normal(size=(1, 2, 10))), most=1000)).all()


def test_smoothed_weights_are_those_of_arviz(rng):
    log_ratio = rng.normal(size=800)
    weight, k = smoothed_weights(log_ratio)
    expected, expected_k = array_stats.psislw(-log_ratio)
    np.testing.assert_allclose(np.log(weight), expected - np.logaddexp.reduce(expected))
    assert k == expected_k


@pytest.mark.parametrize("draws", [3, 24, 40, 800])
@pytest.mark.parametrize("same", ["tail", "all"])
def test_weights_whose_tail_is_all_the_same_have_no_k(rng, draws, same):
    # a chain that is stuck gives the same draw many times over
    log_ratio = np.minimum(rng.normal(size=draws), -1.0) if same == "tail" else np.zeros(draws)
    weight, k = smoothed_weights(log_ratio)
    assert np.isnan(k)
    np.testing.assert_allclose(weight, np.exp(log_ratio) / np.exp(log_ratio).sum())


def test_thinning_changes_little(rng):
    values = -0.5 * rng.exponential(size=(300, 4, 1000))
    whole, thinned = (pareto_k(log_likelihood(values), most=m).mean() for m in (4000, 1000))
    assert thinned == pytest.approx(whole, abs=0.05)
