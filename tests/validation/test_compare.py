"""Comparison by held-out cells, stacking weights, and draws of the stacked posterior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import expit
from scipy.stats import betabinom, norm

from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.estimands.averted import events_averted
from lndbayes.estimands.effects import pooled_effect, site_effects
from lndbayes.estimands.predictors import predictors
from lndbayes.fitting.fit import fit
from lndbayes.model.design import build_design
from lndbayes.spec.model_spec import ModelSpec, load_spec, with_changes
from lndbayes.synthetic import simulate, write_evaluation
from lndbayes.validation.compare import (
    cross_validate,
    elpd_table,
    future_folds,
    heldout_density,
    loo_by_cell,
    site_folds,
)
from lndbayes.validation.stacking import stacked_fit, stacking_weights
from small import MODELS

# --- weights --------------------------------------------------------------------------------------


def objective(w: np.ndarray, density: np.ndarray) -> float:
    return float(np.log(density @ w).mean())


def test_weights_are_those_of_a_grid() -> None:
    rng = np.random.default_rng(1)
    y = np.concatenate([rng.normal(-2, 1, 60), rng.normal(2, 1, 40)])
    log_density = np.column_stack([norm.logpdf(y, m, 1.2) for m in (-2.0, 2.0, 0.0)])
    w = stacking_weights(log_density)
    grid = np.linspace(0, 1, 201)
    best = max(
        ((a, b, 1 - a - b) for a in grid for b in grid if a + b <= 1 + 1e-12),
        key=lambda v: objective(np.clip(v, 0, 1), np.exp(log_density)),
    )
    assert w.sum() == pytest.approx(1)
    assert (w >= 0).all()
    assert (
        objective(w, np.exp(log_density)) >= objective(np.array(best), np.exp(log_density)) - 1e-6
    )
    np.testing.assert_allclose(w, best, atol=0.02)


def test_a_known_optimum() -> None:
    """Two experts, each right about cells that the other thinks nearly impossible: the shares."""
    density = np.full((100, 2), 1e-9)
    density[:30, 0] = 0.5
    density[30:, 1] = 0.5
    np.testing.assert_allclose(stacking_weights(np.log(density)), [0.3, 0.7], atol=1e-3)


def test_a_better_strategy_everywhere_gets_all() -> None:
    worse = np.random.default_rng(2).normal(-3, 1, 50)
    np.testing.assert_allclose(
        stacking_weights(np.column_stack([worse, worse + 0.5])), [0, 1], atol=1e-4
    )


def test_a_cell_of_no_density_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        stacking_weights(np.array([[0.0, -np.inf]]))


def test_standard_errors_are_of_sums_over_sites() -> None:
    scores = pd.DataFrame(
        {
            "fold": "f",
            "site": ["A", "A", "B", "C"],
            "month": list("1212"),
            "one": [-1.0, -2.0, -3.0, -5.0],
            "two": [-2.0, -2.0, -3.0, -7.0],
        }
    )
    table = elpd_table(scores)
    assert table["strategy"].tolist() == ["one", "two"]
    assert table["elpd"].tolist() == [-11.0, -14.0]
    assert table.loc[1, "difference"] == -3.0
    assert table.loc[1, "se_difference"] == pytest.approx(np.sqrt(3) * np.std([-1, 0, -2], ddof=1))


# --- fits -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    folder = tmp_path_factory.mktemp("compare") / "data"
    return read_evaluation(write_evaluation(simulate(6, "effect", 12), folder))


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return with_changes(
        load_spec(MODELS / "custody.toml"),
        {"sampling.draws": 300, "sampling.tune": 150, "sampling.chains": 2},
    )


@pytest.fixture(scope="module")
def fits(spec, data) -> dict[str, xr.DataTree]:
    other = with_changes(spec, {"baseline.national_basis": 5, "baseline.site_basis": 2})
    return {"one": fit(spec, data, cores=1), "two": fit(other, data, cores=1, predictive=False)}


def test_loo_by_cell(fits) -> None:
    numbers, table = loo_by_cell(fits["one"])
    assert numbers["cells"] == len(table) == fits["one"]["log_likelihood"].sizes["cell"]
    assert numbers["elpd"] == pytest.approx(table["elpd"].sum())
    assert numbers["bad"] == (table["pareto_k"] > 0.7).sum()
    # below the log density of the posterior mean, by about the parameters that are used
    cells = fits["one"]["log_likelihood"]["y"].to_numpy().astype(float)
    in_sample = np.log(np.exp(cells).mean(axis=(0, 1))).sum()
    assert numbers["p"] == pytest.approx(in_sample - numbers["elpd"], rel=0.02)


def test_folds_hide_each_untreated_site_once(spec, data) -> None:
    design = build_design(spec, data)
    untreated = (design["exposure"] > 0) & (design["event_time"] < 0)
    masks = site_folds(spec, data, 3)
    assert len(masks) == 3
    np.testing.assert_array_equal(sum(m.to_numpy().astype(int) for m in masks.values()), untreated)
    (mask,) = future_folds(spec, data, ["2016-01"]).values()
    assert mask.any()
    assert not mask.sel(month=mask["month"] < "2016-01").any()
    with pytest.raises(ValueError, match="no untreated month"):
        future_folds(spec, data, ["2019-03"])


def test_held_out_density_by_hand(spec, data) -> None:
    mask = next(iter(site_folds(spec, data, 3).values()))
    tree = fit(spec, data, cores=1, predictive=False, hidden=mask)
    table = heldout_density(tree, mask)
    row = table.iloc[3]
    at = {"site": row["site"], "month": row["month"]}
    eta = predictors(tree)["eta1"].sel(at).to_numpy()
    phi = tree["posterior"]["overdispersion"].to_numpy()
    n, y = (float(tree["constant_data"][k].sel(at)) for k in ("exposure_exact", "count_exact"))
    density = betabinom.pmf(y, n, expit(eta) * phi, expit(-eta) * phi)
    assert row["lpd"] == pytest.approx(np.log(density.mean()), rel=1e-6)
    seen = tree["constant_data"]["exposure"] > 0
    with pytest.raises(ValueError, match="in the likelihood"):
        heldout_density(tree, seen)


def test_strategies_are_compared_and_stacked(spec, data, tmp_path: Path) -> None:
    strategies = {
        "as_specified": spec,
        # certain of a steep national trend that is not there
        "wrong_trend": with_changes(
            spec, {"priors.national_slope": {"dist": "Normal", "mu": 1.0, "sigma": 0.01}}
        ),
    }
    scores = cross_validate(strategies, data, future_folds(spec, data, ["2016-01"]), tmp_path)
    table = elpd_table(scores)
    assert table.loc[0, "strategy"] == "as_specified"
    weights = stacking_weights(scores[list(strategies)].to_numpy())
    assert weights[0] > 0.5
    assert len(list(tmp_path.glob("*.nc"))) == 2


def test_stacked_draws_are_draws_of_the_fits(fits) -> None:
    stacked = stacked_fit(fits, {"one": 0.25, "two": 0.75}, seed=1)
    effect = pooled_effect(stacked).to_numpy().ravel()
    assert effect.shape == (600,)
    one, two = (pooled_effect(f).to_numpy().ravel() for f in fits.values())
    # link scale effects are one draw's own, to the digit
    assert np.isin(effect.round(10), one.round(10)).sum() == 150
    assert np.isin(effect.round(10), two.round(10)).sum() == 450
    assert site_effects(stacked).sizes["site"] == 12


def test_stacked_predictors_are_those_of_the_draws_own_fit(fits) -> None:
    """Bases of 8 and 4 functions beside bases of 5 and 2: a draw keeps its own surface."""
    stacked = stacked_fit(fits, {"one": 0.5, "two": 0.5}, seed=2)
    averted = events_averted(stacked).sum("site").to_numpy().ravel()
    own = np.concatenate([events_averted(f).sum("site").to_numpy().ravel() for f in fits.values()])
    gap = np.abs(averted[:, None] - own).min(axis=1)
    assert gap.max() < 1e-8
    assert np.ptp(averted) > 1


@pytest.mark.parametrize(
    "weights", [{"one": 1.0}, {"one": 0.5, "two": 0.6}, {"one": -0.5, "two": 1.5}]
)
def test_weights_that_are_none(fits, weights) -> None:
    with pytest.raises(ValueError, match="weights"):
        stacked_fit(fits, weights, seed=1)


def test_fits_of_other_data_are_not_stacked(fits) -> None:
    other = fits["two"].copy(deep=True)
    other["constant_data"]["count_exact"].values[0, 40] += 1
    with pytest.raises(ValueError, match="count_exact differs"):
        stacked_fit({"one": fits["one"], "two": other}, {"one": 0.5, "two": 0.5}, seed=1)
