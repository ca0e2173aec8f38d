"""The joint model on fits: what is read, what must not matter, what is refused, what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lndbayes.app.cli import main
from lndbayes.base.errors import DataError
from lndbayes.estimands.effects import mean_effect, site_effects
from lndbayes.evidence.assumption import ASSUMPTION
from lndbayes.files.writing import read_dataset
from lndbayes.fitting.fit import SCHEMA, save_fit
from lndbayes.second_stage.joint.outcomes import (
    COMPARISON_COLUMNS,
    CORRELATION_COLUMNS,
    JOINT_COLUMNS,
    comparison_table,
    correlation_table,
    joint_effects,
    joint_table,
    prior_interval,
    sampling_problems,
)
from lndbayes.second_stage.joint.stage import build_stage, effect_likelihood, effect_prior
from lndbayes.spec.model_spec import load_spec
from small import MODELS, fake_fit, isel

SITES = 9
#: Half the sites start late enough for a clean year; the last never starts.
STARTS = (14, 2, 16, 1, 18, 3, 14, 0, None)
NOISE = 0.12
QUICK = {"chains": 2, "tune": 100, "draws": 200}


def outcome_fit(
    name: str, effects: np.ndarray, seed: int, draws: int = 2000, scale: float = 1.0
) -> xr.DataTree:
    """A fit whose posterior is exact: normal estimates of `effects`, known mean, sd and ramp."""
    rng = np.random.default_rng(seed)
    fit = fake_fit(STARTS, months=40, chains=2, draws=draws, seed=seed)
    sites = len(effects)
    estimate = effects + NOISE * scale * rng.normal(size=sites)
    mean, sd = -0.3 * scale, 0.25 * scale * rng.uniform(0.8, 1.2, (2, draws, 1))
    variance = 1 / (1 / (NOISE * scale) ** 2 + 1 / sd**2)
    centre = variance * (estimate / (NOISE * scale) ** 2 + mean / sd**2)
    effect = centre + np.sqrt(variance) * rng.normal(size=(2, draws, sites))
    posterior = fit["posterior"].to_dataset()
    by_site = ("chain", "draw", "site")
    posterior = posterior.assign(
        site_effect=(by_site, effect),
        site_deviation=(by_site, effect - mean),
        site_effect_sd=(("chain", "draw"), sd[..., 0]),
        # a ramp that is over before the window: the window's mean is the site effect itself
        ramp_months=(("chain", "draw"), np.full((2, draws), 0.01)),
    )
    prior = fit["prior"].to_dataset()
    shape = tuple(prior.sizes[d] for d in ("chain", "draw"))
    centre = 0.5 * scale * rng.normal(size=shape)
    prior = prior.assign(
        effect_mean=(("chain", "draw"), centre),
        site_effect=(by_site, centre[..., None] + 0.25 * scale * rng.normal(size=(*shape, sites))),
        ramp_months=(("chain", "draw"), np.full(shape, 0.01)),
    )
    prior = prior.assign(site_deviation=prior["site_effect"] - prior["effect_mean"])
    groups = {"/posterior": posterior, "/prior": prior}
    groups["/constant_data"] = fit["constant_data"].to_dataset()
    tree = xr.DataTree.from_dict(groups)
    spec = load_spec(MODELS / "custody.toml")
    tree.attrs = {
        **fit.attrs, "outcome": name, "spec_text": spec.canonical(), "schema": SCHEMA,
        "fit_key": f"key-{name}", "seed": seed,
    }  # fmt: skip
    return tree


@pytest.fixture(scope="module")
def fits() -> dict[str, xr.DataTree]:
    rng = np.random.default_rng(3)
    score = rng.normal(size=SITES)
    return {
        "a": outcome_fit("a", -0.3 + 0.25 * score, 11),
        "b": outcome_fit("b", -0.3 + 0.25 * score, 12),
        "c": outcome_fit("c", -30 - 25 * score, 13, scale=100.0),
    }


def changed(fit: xr.DataTree, **variables: xr.DataArray | None) -> xr.DataTree:
    groups = {f"/{name}": node.to_dataset() for name, node in fit.children.items()}
    for name, values in variables.items():
        posterior = groups["/posterior"]
        groups["/posterior"] = (
            posterior.drop_vars(name) if values is None else posterior.assign({name: values})
        )
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(fit.attrs)
    return tree


def test_the_likelihood_of_a_fit_is_the_one_it_was_made_with(fits) -> None:
    found, sites = effect_likelihood(fits["a"])
    assert sites == list("ABCDEFGH")
    assert found.floored == 0
    expected = np.eye(8) / NOISE**2
    np.testing.assert_allclose(found.information, expected, atol=0.2 / NOISE**2)
    # in the other unit the same, but for the draws
    other, _ = effect_likelihood(fits["c"])
    np.testing.assert_allclose(other.information * 100**2, expected, atol=0.2 / NOISE**2)


def test_the_ramp_scales_deviation_and_spread_as_it_does_effects(fits) -> None:
    slow = xr.full_like(fits["a"]["posterior"]["ramp_months"], 12.0)
    fit = changed(fits["a"], ramp_months=slow)
    ratio = site_effects(fit) / site_effects(fits["a"])
    ramp = float(ratio.isel(chain=0, draw=0, site=0))
    assert 0.4 < ramp < 0.9
    quick, late = effect_likelihood(fits["a"])[0], effect_likelihood(fit)[0]
    np.testing.assert_allclose(late.information * ramp**2, quick.information, rtol=1e-6, atol=1e-6)


def test_scales_come_from_the_outcomes_own_prior_draws(fits) -> None:
    prior = fits["c"]["prior"].to_dataset()
    mean, sd, spread = effect_prior(fits["c"])
    values = mean_effect(changed(fits["c"], **{k: prior[k] for k in ()})).to_numpy()
    assert np.isfinite(values).all()
    centre = prior["effect_mean"].to_numpy()
    assert mean == pytest.approx(centre.mean())
    assert sd == pytest.approx(centre.std(ddof=1))
    gap = prior["site_effect"].to_numpy()[..., :8] - centre[..., None]
    assert spread == pytest.approx(np.sqrt((gap**2).mean()))


def test_order_of_sites_and_outcomes_changes_nothing_but_the_order(fits) -> None:
    windows = dict.fromkeys(fits, (7, 18))
    base = build_stage(fits, windows, 1)
    order = [3, 0, 7, 1, 2, 8, 6, 4, 5]
    turned = {k: isel(fits[k], site=order if k == "c" else range(9)) for k in ("c", "a", "b")}
    other = build_stage(turned, windows, 1)
    outcome = [other.outcomes.index(k) for k in base.outcomes]
    site = [other.sites.index(s) for s in base.sites]
    for k, j in enumerate(outcome):
        np.testing.assert_allclose(
            other.information[j][np.ix_(site, site)], base.information[k], rtol=1e-6, atol=1e-9
        )
        np.testing.assert_allclose(other.vector[j, site], base.vector[k], rtol=1e-6)

    # and the answers agree within their Monte Carlo error
    one = correlation_table(joint_effects(fits, seed=1))
    two = correlation_table(joint_effects(turned, seed=2))
    pairs = [
        {frozenset((r.outcome_1, r.outcome_2)): r for r in table.itertuples()}
        for table in (one, two)
    ]
    assert pairs[0].keys() == pairs[1].keys()
    for pair, row in pairs[0].items():
        assert row.mean == pytest.approx(pairs[1][pair].mean, abs=0.05)


def test_a_common_factor_is_found_whatever_the_unit_and_the_sign(fits) -> None:
    ds = joint_effects(fits, seed=1)
    assert sampling_problems(ds) == []
    table = correlation_table(ds).set_index(["outcome_1", "outcome_2"])
    assert list(table.index) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert table.loc[("a", "b"), "lower"] > 0
    assert table.loc[("a", "c"), "upper"] < 0
    assert (ds["loading"].sel(outcome="a", factor=1) > 0).all()
    # the same centre and loadings with either sign of the factor
    shared = (ds["loading"] * ds["score"]).sum("factor") + ds["mean"]
    rest = (ds["effect"] - shared).std(("chain", "draw", "site"))
    assert (rest < 1.5 * ds["deviation_sd"].mean(("chain", "draw"))).all()


def test_two_factors_are_stored_triangular(fits) -> None:
    ds = joint_effects(fits, factors=2, seed=1, **QUICK)
    loading = ds["loading"].to_numpy()
    np.testing.assert_allclose(loading[..., 0, 1], 0, atol=1e-10)
    assert (loading[..., 0, 0] > 0).all()
    assert (loading[..., 1, 1] > 0).all()
    cross = loading @ np.swapaxes(loading, -1, -2)
    variance = np.diagonal(cross, axis1=-2, axis2=-1) + ds["deviation_sd"].to_numpy() ** 2
    expected = cross[..., 0, 2] / np.sqrt(variance[..., 0] * variance[..., 2])
    np.testing.assert_allclose(ds["correlation"].to_numpy()[..., 0, 2], expected, rtol=1e-8)


def test_a_site_that_an_outcome_lacks_gets_no_number_there(fits) -> None:
    some = {**fits, "b": isel(fits["b"], site=[0, 1, 3, 4, 5, 6, 7, 8])}
    ds = joint_effects(some, seed=1, **QUICK)
    table = joint_table(ds)
    assert ("b", "C") not in set(zip(table["outcome"], table["site"], strict=True))
    assert len(table) == 8 + 7 + 8
    assert np.isnan(ds["effect"].sel(outcome="b", site="C")).all()
    assert np.isfinite(ds["effect"].sel(outcome="a", site="C")).all()
    compared = comparison_table(some, folds=3, seed=1, **QUICK).set_index("outcome")
    assert compared["cells"].to_dict() == {"a": 8, "b": 7, "c": 8, "all": 23}


def test_tier_d_keeps_its_row_and_loses_its_numbers(fits) -> None:
    table = joint_table(joint_effects(fits, seed=1, **QUICK))
    assert list(table.columns) == list(JOINT_COLUMNS)
    # the eighth site starts in the first month: nothing of its own before
    hidden = table["tier"] == "D"
    assert set(table.loc[hidden, "site"]) == {"H"}
    numbers = table.drop(columns=["outcome", "site", "tier", "unit"])
    assert numbers[hidden].isna().all(axis=None)
    assert numbers[~hidden].notna().all(axis=None)


def test_separate_numbers_are_the_fits_own(fits) -> None:
    table = joint_table(joint_effects(fits, seed=1, **QUICK)).set_index(["outcome", "site"])
    draws = site_effects(fits["b"]).sel(site="D").to_numpy()
    assert table.loc[("b", "D"), "separate_mean"] == pytest.approx(draws.mean())
    assert table.loc[("b", "D"), "separate_sd"] == pytest.approx(draws.std(ddof=1))


def test_without_factors_site_effects_are_those_of_a_grid_over_the_spread(fits) -> None:
    """Normal means integrated in closed form, the one scale by sums over a fine grid."""
    stage = build_stage(fits, dict.fromkeys(fits, (7, 18)), 1)
    found = joint_effects(fits, seed=1)["unlinked_effect"]
    for k, name in enumerate(stage.outcomes):
        information, prior = stage.information[k], stage.prior
        size = len(information)
        covariance = np.linalg.inv(information)
        gap = covariance @ stage.vector[k] - prior.mean[k]
        grid = prior.spread[k] * np.linspace(0.0005, 4, 2000)
        log_p, mean, second = [], [], []
        for sd in grid:
            own = sd**2 * np.eye(size) + prior.mean_sd[k] ** 2
            pull = own @ np.linalg.inv(covariance + own)
            log_p.append(
                -0.5 * np.linalg.slogdet(covariance + own)[1]
                - 0.5 * gap @ np.linalg.solve(covariance + own, gap)
                - 0.5 * (sd / prior.spread[k]) ** 2
            )
            mean.append(pull @ gap)
            second.append(np.diag(own - pull @ own) + mean[-1] ** 2)
        p = np.exp(log_p - np.max(log_p))
        p /= p.sum()
        expected = p @ np.array(mean)
        sd = np.sqrt(p @ np.array(second) - expected**2)
        draws = found.sel(outcome=name).to_numpy().reshape(-1, size)
        # 6000 draws with an effective size of at least 400: means right to 0.05 sd
        assert np.abs((draws.mean(axis=0) - prior.mean[k] - expected) / sd).max() < 0.15, name
        np.testing.assert_allclose(draws.std(axis=0), sd, rtol=0.1)


def test_the_prior_interval_is_symmetric_and_says_little() -> None:
    for factors in (1, 2):
        low, high = prior_interval(factors)
        assert low == pytest.approx(-high, abs=0.02)
        assert high > 0.6


def test_what_cannot_be_used_is_refused_all_at_once(fits) -> None:
    broken = fits["a"]["posterior"]["site_effect"].copy()
    broken[0, 3, 2] = np.nan
    bad = {
        "a": changed(fits["a"], site_effect=broken),
        "b": changed(fits["b"], site_deviation=None),
        "c": isel(fits["c"], draw=slice(0, 20)),
    }
    with pytest.raises(DataError) as caught:
        joint_effects(bad, seed=1)
    text = [str(problem) for problem in caught.value.problems]
    assert len(text) == 3
    assert text[0] == "fits/a.nc: a draw of a site effect is not finite"
    assert "fits/b.nc: has no site_deviation: fit it again" in text[1]
    assert "too few for 8 sites" in text[2]
    with pytest.raises(DataError, match="at least 2 outcomes"):
        joint_effects({"a": fits["a"]}, seed=1)
    with pytest.raises(DataError, match="at least 4 outcomes"):
        joint_effects(fits, factors=3, seed=1)
    few = {k: isel(fit, site=[0, 1]) for k, fit in fits.items()}
    with pytest.raises(DataError, match="fewer than 3 sites"):
        joint_effects(few, seed=1)


def test_chains_that_do_not_settle_or_are_not_finite_are_told(fits) -> None:
    ds = joint_effects(fits, seed=1)
    assert sampling_problems(ds) == []
    short = joint_effects(fits, seed=1, chains=2, tune=1, draws=20)
    assert any(problem.startswith("correlation") for problem in sampling_problems(short))
    ds["mean"][0, 5, 1] = np.nan
    assert sampling_problems(ds) == ["mean: 1 of 3 outside R-hat 1.01 and ESS 400"]


def write_run(root: Path, fits: dict[str, xr.DataTree]) -> Path:
    (root / "fits").mkdir(parents=True)
    for name, fit in fits.items():
        save_fit(fit, root / "fits" / f"{name}.nc")
    return root


def test_the_command_writes_draws_and_tables(fits, tmp_path, capsys) -> None:
    run = write_run(tmp_path / "run", fits)
    assert main(["joint", str(run), "--outcomes", "c,a"]) == 0
    told = capsys.readouterr().err
    assert "joint model of 2 outcomes: c, a" in told
    assert "prediction of left-out sites: " in told
    tables = {
        name: pd.read_csv(run / f"{name}.csv")
        for name in ("joint", "joint_correlation", "joint_comparison")
    }
    assert list(tables["joint"].columns) == [*JOINT_COLUMNS, ASSUMPTION]
    why = tables["joint"][ASSUMPTION].fillna("")
    assert ((why != "") == (tables["joint"]["tier"] == "D")).all()
    assert list(tables["joint_correlation"].columns) == list(CORRELATION_COLUMNS)
    assert list(tables["joint_comparison"].columns) == list(COMPARISON_COLUMNS)
    assert set(tables["joint"]["outcome"]) == {"a", "c"}
    stored = read_dataset(run / "joint.nc")
    assert stored["effect"].dims == ("chain", "draw", "outcome", "site")
    assert stored.attrs["sampling"] == "settled"
    mean = float(stored["correlation"].sel(outcome="c", outcome_other="a").mean())
    assert mean == pytest.approx(tables["joint_correlation"].loc[0, "mean"])
    assert json.loads(fits["a"].attrs["spec_text"])["effect"]["window"] == [7, 18]

    first = (run / "joint.csv").read_bytes()
    assert main(["joint", str(run), "--outcomes", "c,a", "--quiet"]) == 0
    assert (run / "joint.csv").read_bytes() == first


def test_the_command_refuses_what_is_not_there_and_writes_nothing(fits, tmp_path, capsys) -> None:
    run = write_run(tmp_path / "run", {"a": fits["a"], "b": fits["b"]})
    assert main(["joint", str(run), "--outcomes", "a,x,y"]) == 2
    told = capsys.readouterr().err
    assert "2 problems" in told
    assert "value 'x': no stored fit; there are a, b" in told
    assert main(["joint", str(run), "--factors", "2"]) == 2
    assert "at least 3 outcomes" in capsys.readouterr().err
    assert main(["joint", str(tmp_path / "none")]) == 2
    assert main(["joint", str(run), "--factors", "0"]) == 2
    assert sorted(path.name for path in run.iterdir()) == ["fits"]
