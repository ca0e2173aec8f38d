"""Full cut: module 2 against a brute-force grid, its likelihood against SciPy, and its pooling."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from lndbayes.app.attribution import cut_rows
from lndbayes.evidence.attribution.cut import (
    CutData,
    Priors,
    cut_cells,
    cut_fault,
    cut_priors,
    full_cut,
    log_likelihood,
    module_two,
)
from lndbayes.spec.model_spec import ModelSpec, load_spec, parse_spec, with_changes
from small import MODELS, fake_fit, raw_of

PHI = {"concentration": 150.0, "person_dispersion": 2.0}


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return load_spec(MODELS / "custody.toml")


def cells_of(
    effects: list[float], *, n: int = 120, months: int = 8, seed: int = 1, link: str = "logit"
) -> tuple[CutData, np.ndarray]:
    """Treated cells of a few sites with given effects, and the baseline they had."""
    rng = np.random.default_rng(seed)
    sites = len(effects)
    eta0 = -1.2 + 0.2 * rng.normal(size=(sites, months))
    event = np.broadcast_to(np.arange(months), (sites, months)) + 6.0
    eta1 = eta0 + (1 - np.exp(-(event + 0.5) / 4)) * np.array(effects)[:, None]
    p = 1 / (1 + np.exp(-eta1))
    count = rng.binomial(n, rng.beta(p * 150, (1 - p) * 150)).astype(float)
    at = np.broadcast_to(np.arange(months), event.shape)
    full = np.full(event.shape, float(n))
    return CutData(full, count, np.ones(event.shape), event, at, np.arange(sites), link, 0.5), eta0


def brute_force(cells: CutData, eta0: np.ndarray, priors: Priors) -> tuple[float, float, float]:
    """Mean and sd of the mean over sites, and the mean spread: every integral on a grid."""
    effect = np.linspace(-2.5, 2.5, 1001)
    mean = np.linspace(-2, 2, 161)
    total, first, second, spreads = 0.0, 0.0, 0.0, 0.0
    top = np.zeros(len(cells.site))
    for r, months in enumerate(priors.ramps):
        shape = 1 - np.exp(-(cells.event + 0.5) / months)
        eta = eta0 + shape * effect[:, None, None]
        like = log_likelihood(cells, eta, PHI)  # (effect, site)
        top = like.max(axis=0) if r == 0 else top
        like = np.exp(like - top)
        for c, spread in enumerate(priors.spreads):
            around = stats.norm.pdf(effect, mean[:, None], spread)
            parts = [around @ (like * effect[:, None] ** k) for k in range(3)]
            one, two = (p / np.maximum(parts[0], 1e-300) for p in parts[1:])
            weight = parts[0].prod(axis=1) * stats.norm.pdf(mean, priors.mean, priors.sd)
            weight = weight * np.exp(priors.log_weight[r, c])
            average = one.mean(axis=1)
            # sites are independent given mean, spread and ramp
            spare = (two - one**2).sum(axis=1) / one.shape[1] ** 2
            total += weight.sum()
            first += (weight * average).sum()
            second += (weight * (average**2 + spare)).sum()
            spreads += weight.sum() * spread
    average = first / total
    return average, np.sqrt(second / total - average**2), spreads / total


def few_priors(spec: ModelSpec) -> Priors:
    """Coarse grids; no spread so narrow that the brute force's grid of effects misses it."""
    whole = cut_priors(spec, 12, 4)
    wide = whole.spreads > 0.02
    return dataclasses.replace(
        whole, spreads=whole.spreads[wide], log_weight=whole.log_weight[:, wide]
    )


@pytest.mark.parametrize(
    ("effects", "months", "close"),
    [([-0.5, -0.3], 8, 0.1), ([0.1, -0.9, -0.4], 8, 0.1), ([0.1, -0.9, -0.4], 60, 0.04)],
)
def test_module_two_is_the_brute_force_grid(spec, effects, months, close) -> None:
    cells, eta0 = cells_of(effects, months=months)
    priors = few_priors(spec)
    mean, sd, spread = brute_force(cells, eta0, priors)
    found = module_two(cells, eta0, PHI, priors, 40_000, np.random.default_rng(2))
    pooled = found["site_effect"].mean(axis=1)
    # Monte Carlo error is 0.005 sd; the rest is what a normal likelihood of few cells costs, and
    # with more cells goes away
    assert pooled.mean() == pytest.approx(mean, abs=close * sd)
    assert pooled.std() == pytest.approx(sd, rel=0.04)
    assert found["spread"].mean() == pytest.approx(spread, rel=0.04)


def test_without_information_module_two_is_the_prior(spec) -> None:
    cells, eta0 = cells_of([0.0, 0.0])
    empty = dataclasses.replace(cells, exposure=0 * cells.exposure, count=0 * cells.count)
    found = module_two(empty, eta0, PHI, cut_priors(spec), 40_000, np.random.default_rng(3))
    assert found["mean"].mean() == pytest.approx(0, abs=4 * 0.5 / 200)
    assert found["mean"].std() == pytest.approx(0.5, rel=0.02)
    # Gamma(2, 10) has mean 0.2, LogNormal(log 4, 0.5) the median 4
    assert found["spread"].mean() == pytest.approx(0.2, rel=0.03)
    assert np.log(found["ramp_months"]).mean() == pytest.approx(np.log(4), abs=0.05)


def test_a_baseline_that_is_higher_makes_the_effect_lower(spec) -> None:
    cells, eta0 = cells_of([-0.4, -0.4], n=2000)
    found = [
        module_two(cells, eta0 + move, PHI, cut_priors(spec), 4000, np.random.default_rng(4))
        for move in (0.0, 0.1)
    ]
    by_site = [f["site_effect"].mean() for f in found]
    # the ramp is near its limit: an error of the baseline is one of the effect, as prior allows
    assert by_site[1] - by_site[0] == pytest.approx(-0.1, rel=0.25)


@pytest.mark.parametrize("link", ["logit", "cloglog", "log"])
def test_the_likelihood_is_scipys(link, rng) -> None:
    cells, eta0 = cells_of([-0.5, 0.2], link=link)
    cells = dataclasses.replace(cells, coverage=rng.uniform(0.5, 1, cells.coverage.shape))
    cells.exposure[1, 3:] = 0
    n, y, held = cells.exposure, cells.count, cells.coverage
    if link == "log":
        size = 1 / (1 / (np.maximum(n, 1) * 2.0) + 1 / 150.0)
        law = stats.nbinom(size, size / (size + np.maximum(n, 1) * held * np.exp(eta0)))
    else:
        p = stats.logistic.cdf(eta0) if link == "logit" else 1 - np.exp(-np.exp(eta0))
        law = stats.betabinom(np.maximum(n, y), held * p * 150, (1 - held * p) * 150)
    wanted = np.where(n > 0, law.logpmf(y), 0).sum(axis=1)
    np.testing.assert_allclose(log_likelihood(cells, eta0, PHI), wanted, rtol=1e-9)


def test_cells_are_treated_exact_and_in_the_likelihood() -> None:
    fit = fake_fit((6, 10, None), months=24, constants={})
    data = fit["constant_data"].to_dataset()
    data["coverage"] = xr.ones_like(data["exposure"])
    data["exposure"][0, 6:9] = 0
    data["exposure_exact"][1, 23] = 0
    fit["constant_data"] = xr.DataTree(data)
    cells = cut_cells(fit)
    assert list(cells.site) == [0, 1]
    assert list(cells.at[0][cells.exposure[0] > 0]) == list(range(9, 24))
    assert list(cells.at[1][cells.exposure[1] > 0]) == list(range(10, 23))
    for row, s in enumerate(cells.site):
        used = cells.exposure[row] > 0
        np.testing.assert_array_equal(
            cells.count[row][used], data["count_exact"].to_numpy()[s, cells.at[row][used]]
        )
        assert (cells.event[row][used] >= 0).all()


def pooled_fit(count: int) -> tuple[xr.DataTree, xr.Dataset]:
    fit = fake_fit((5, 10, None), months=24)
    data = fit["constant_data"].to_dataset()
    data["coverage"] = xr.ones_like(data["exposure"])
    fit["constant_data"] = xr.DataTree(data)
    rng = np.random.default_rng(6)
    eta0 = -1.4 + 0.1 * rng.normal(size=(count, 3, 24))
    kept = {
        "eta0": (("baseline", "site", "month"), eta0),
        "concentration": ("baseline", np.full(count, 150.0)),
    }
    return fit, xr.Dataset(kept)


def test_pooling_adds_the_variance_between_baselines(spec) -> None:
    fit, baselines = pooled_fit(40)
    table = full_cut(spec, fit, baselines).set_index("quantity")
    total = table["sd"] ** 2
    np.testing.assert_allclose(total, table["within_sd"] ** 2 + table["between_sd"] ** 2, rtol=0.03)
    # the same baseline 40 times has nothing between
    same = baselines.isel(baseline=[0] * 40)
    alone = full_cut(spec, fit, same, draws=400).set_index("quantity")
    assert alone.loc["pooled", "between_sd"] < 0.1 * alone.loc["pooled", "within_sd"]
    # the same seed, the same numbers
    again = full_cut(spec, fit, baselines).set_index("quantity")
    np.testing.assert_array_equal(again.to_numpy(), table.to_numpy())


def test_too_few_baselines_are_refused(spec) -> None:
    fit, baselines = pooled_fit(39)
    with pytest.raises(ValueError, match="40 baselines"):
        full_cut(spec, fit, baselines)


def test_a_cut_that_would_be_of_something_else_is_not_told(spec) -> None:
    """With a pulse, a step in the records or withheld cells it would be another estimand."""
    fit, baselines = pooled_fit(40)
    assert cut_fault(spec, fit) == ""
    pulse = parse_spec(raw_of("beta_binomial", 0.5), source="spec")
    withheld, _ = pooled_fit(40)
    withheld["constant_data"]["exposure_exact"][0, 20] = 0
    step = with_changes(spec, {"sensitivity.go_live_step_sd": 0.1})
    for asked, main in ((pulse, fit), (step, fit), (spec, withheld)):
        assert cut_fault(asked, main)
        with pytest.raises(ValueError, match="module 2"):
            full_cut(asked, main, baselines)
        rows = cut_rows(asked, main, baselines).set_index(["quantity", "item"])
        assert np.isnan(rows.loc[("cut_mean", "pooled"), "value"])
        assert "not told" in rows.loc[("cut_sd", "spread"), "note"]
        assert rows.loc[("joint_sd", "pooled"), "value"] > 0
    # untreated cells may be withheld: they are in module 1
    withheld["constant_data"]["exposure_exact"][0, 20] = 30
    withheld["constant_data"]["exposure_exact"][0, 2] = 0
    assert cut_fault(spec, withheld) == ""
