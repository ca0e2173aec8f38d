"""The battery on fits made of random numbers: clean ones pass, each planted fault is named."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fake_fit import changed, make_fit
from lndbayes.checks.battery import CHECKS, run_checks
from lndbayes.checks.result import CHECK_COLUMNS, CheckResult, Status, checks_table, exit_code
from lndbayes.checks.thresholds import thresholds_from
from lndbayes.spec.families import FAMILIES

THRESHOLDS = thresholds_from({"prior_rate_low": 0.03, "prior_rate_high": 0.30})
GROUPS = (
    "posterior",
    "sample_stats",
    "prior",
    "prior_predictive",
    "posterior_predictive",
    "log_likelihood",
    "observed_data",
    "constant_data",
)


@functools.cache
def clean() -> xr.DataTree:
    return make_fit(draws=1000)


@functools.cache
def small() -> xr.DataTree:
    """Enough for the checks of draws; too short for most predictive ones."""
    return make_fit(sites=3, months=24, draws=300, replicates=60)


def check(fit: xr.DataTree, **arguments) -> dict[str, CheckResult]:
    results = run_checks(fit, thresholds=THRESHOLDS, **arguments)
    assert tuple(result.check for result in results) == CHECKS
    return {result.check: result for result in results}


def set_draws(fit: xr.DataTree, name: str, at: tuple, value: object) -> xr.DataTree:
    """Copy of a fit with some draws of a posterior variable overwritten."""

    def change(ds: xr.Dataset) -> xr.Dataset:
        ds[name].values[at] = value
        return ds

    return changed(fit, "posterior", change)


def test_a_clean_fit_passes_everything():
    results = check(clean())
    table = checks_table(results.values())
    # Independent draws, the true parameters: nothing to object to. (The Monte Carlo error of a 5%
    # quantile from 4000 independent draws is about 3.3% of the sd.)
    assert table.loc[table["status"] != "PASS", ["check", "message"]].to_numpy().tolist() == []
    assert exit_code(results.values()) == 0


def test_the_table_has_the_contract_columns():
    table = checks_table(run_checks(small()))
    assert tuple(table.columns) == CHECK_COLUMNS
    assert set(table["status"]) <= {"PASS", "REVIEW", "FAIL", "NOT RUN"}
    assert (table["outcome"] == "custody").all()
    assert table["message"].str.len().min() > 0


def test_every_check_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "checks.md").read_text()
    documented = re.findall(r"`([a-z_0-9]+)`", "\n".join(re.findall(r"^### .*$", text, re.M)))
    assert sorted(documented) == sorted(CHECKS)


def test_a_stored_fit_gives_the_same_results(tmp_path):
    small().to_netcdf(tmp_path / "custody.nc", engine="netcdf4")
    with xr.open_datatree(tmp_path / "custody.nc", engine="netcdf4") as stored:
        assert run_checks(stored, thresholds=THRESHOLDS) == run_checks(
            small(), thresholds=THRESHOLDS
        )


def test_a_fit_is_left_as_it_was():
    before = small().copy(deep=True)
    run_checks(small())
    xr.testing.assert_identical(before, small())


# --- the fit as such


@pytest.mark.parametrize("group", GROUPS)
def test_an_absent_group_fails_and_what_needs_it_is_not_run(group):
    results = check(changed(small(), group, lambda ds: None))
    assert results["groups"].status is Status.FAIL
    assert f"{group}: the group is absent" in results["groups"].message
    assert any(r.status is Status.NOT_RUN and group in r.message for r in results.values())
    assert exit_code(results.values()) == 1


def test_no_group_at_all():
    results = check(xr.DataTree())
    assert results["groups"].value == len(GROUPS)
    assert {r.status for r in results.values()} == {Status.FAIL, Status.PASS, Status.NOT_RUN}
    # Nothing that depends on the content of a group may pass.
    assert [r.check for r in results.values() if r.status is Status.PASS] == ["finite"]


@pytest.mark.parametrize(
    ("group", "change", "message"),
    [
        ("posterior", lambda ds: ds.drop_vars("effect_mean"), "effect_mean is absent"),
        ("posterior", lambda ds: ds.isel(chain=0), "lacks the dims chain"),
        ("posterior", lambda ds: ds.assign(text=("draw", ["a"] * 300)), "text is not a number"),
        ("posterior", lambda ds: ds.assign(flat=("site", [1.0] * 3)), "flat lacks the dims"),
        ("posterior", lambda ds: ds.isel(draw=slice(0)), "effect_mean has no values"),
        ("sample_stats", lambda ds: ds.drop_vars("energy"), "energy is absent"),
        ("sample_stats", lambda ds: ds.isel(draw=slice(10)), "are not those of the posterior"),
        ("posterior_predictive", lambda ds: ds.isel(site=[1, 0, 2]), "sites are not those"),
        ("observed_data", lambda ds: ds.isel(month=slice(1, None)), "months are not those"),
        ("constant_data", lambda ds: ds.drop_vars("event_time"), "event_time is absent"),
        ("constant_data", lambda ds: ds.assign(exposure=-ds.exposure), "exposure is negative"),
        ("constant_data", lambda ds: ds.assign(exposure=0 * ds.exposure), "no cell has any"),
    ],
)
def test_a_malformed_group_fails(group, change, message):
    result = check(changed(small(), group, change))["groups"]
    assert result.status is Status.FAIL
    assert message in result.message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_draw_is_named_with_its_place(bad):
    results = check(set_draws(small(), "site_effect", (2, 17, 1), bad))
    assert results["finite"].status is Status.FAIL
    assert "posterior/site_effect at chain=2, draw=17, site=S01 (1 in all)" in (
        results["finite"].message
    )
    # Diagnostics of that element do not exist, and that is no pass.
    for name in ("rhat", "ess_bulk", "ess_tail", "rhat_reported", "ess_reported", "mcse_reported"):
        assert results[name].status is Status.FAIL, name
        assert "site_effect[site=S01]" in results[name].message


def test_a_posterior_of_nan_only():
    fit = changed(small(), "posterior", lambda ds: ds * np.nan)
    results = check(fit)
    assert all(results[n].status is Status.FAIL for n in ("finite", "rhat", "ess_bulk", "ess_tail"))


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("sample_stats", "energy"),
        ("prior", "effect_mean"),
        ("log_likelihood", "y"),
        ("posterior_predictive", "y"),
        ("posterior_predictive", "mu"),
        ("prior_predictive", "y"),
        ("observed_data", "y"),
        ("constant_data", "exposure"),
    ],
)
def test_a_bad_value_in_any_group_fails(group, name):
    cells = np.argwhere(small()["constant_data"]["exposure"].values > 0)[5]

    def spoil(ds: xr.Dataset) -> xr.Dataset:
        values = ds[name].values
        at = tuple(cells) if "site" in ds[name].dims else (5,)
        values[(0,) * (values.ndim - len(at)) + at] = np.nan
        return ds

    result = check(changed(small(), group, spoil))["finite"]
    assert result.status is Status.FAIL
    assert f"{group}/{name}" in result.message


def test_nan_outside_the_likelihood_is_no_fault():
    assert np.isnan(small()["observed_data"]["y"].values).any()
    assert check(small())["finite"].status is Status.PASS


# --- the sampler


def test_a_stuck_chain_fails():
    fit = set_draws(small(), "site_effect", (1, slice(None), 2), 0.25)
    result = check(fit)["stuck_chains"]
    assert result.status is Status.FAIL
    assert "site_effect[site=S02] in chain 1" in result.message


def test_identical_chains_fail():
    def copy(ds: xr.Dataset) -> xr.Dataset:
        for name in ds.data_vars:
            ds[name].values[3] = ds[name].values[0]
        return ds

    results = check(changed(small(), "posterior", copy))
    assert results["identical_chains"].status is Status.FAIL
    assert "Chains 0 and 3" in results["identical_chains"].message
    # What makes the check necessary: a copy does not disturb R-hat.
    assert results["rhat"].status is not Status.FAIL


def test_a_constant_element_fails_unless_declared_and_constant():
    fit = set_draws(small(), "mix_effect", (slice(None), slice(None), 0), 0.0)
    assert check(fit)["stuck_chains"].status is Status.FAIL
    for declared in ("mix_effect", "mix_effect[intervention=housing]"):
        fit.attrs["fixed_variables"] = json.dumps([declared])
        results = check(fit)
        assert results["stuck_chains"].status is Status.PASS
        assert results["rhat"].status is not Status.FAIL
        # Its other elements are still there: one fewer than without the declaration.
        assert len(results["rhat"].table) == len(check(small())["rhat"].table) - 1


def test_a_declaration_hides_nothing_that_moves():
    fit = set_draws(small(), "mix_effect", (0, slice(None), 1), 5.0)
    fit.attrs["fixed_variables"] = json.dumps(["mix_effect"])
    results = check(fit)
    assert results["stuck_chains"].status is Status.FAIL
    assert results["rhat"].status is Status.FAIL


def test_disagreeing_chains_fail():
    fit = changed(
        small(), "posterior", lambda ds: ds.assign(crisis_dip=ds["crisis_dip"] + 0.1 * ds["chain"])
    )
    result = check(fit)["rhat"]
    assert result.status is Status.FAIL
    assert "crisis_dip" in result.message
    assert result.table["element"].iloc[0] == "crisis_dip"


def slow_chains(name: str, rho: float, *, seed: int = 3) -> xr.DataTree:
    """Clean fit with one posterior variable autocorrelated."""
    rng = np.random.default_rng(seed)

    def change(ds: xr.Dataset) -> xr.Dataset:
        x = rng.normal(size=ds[name].shape)
        for t in range(1, x.shape[1]):
            x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * x[:, t]
        return ds.assign({name: (ds[name].dims, x)})

    return changed(clean(), "posterior", change)


def test_slow_chains_are_reviewed_or_fail():
    # 4000 draws at rho 0.9 are worth about 210, at 0.99 about 20.
    reviewed, failed = check(slow_chains("crisis_dip", 0.9)), check(slow_chains("crisis_dip", 0.99))
    assert reviewed["ess_bulk"].status is Status.REVIEW
    assert 100 < reviewed["ess_bulk"].value < 400
    assert failed["ess_bulk"].status is Status.FAIL
    assert failed["ess_tail"].status in (Status.REVIEW, Status.FAIL)
    assert "crisis_dip" in failed["ess_bulk"].message


def test_published_quantities_are_held_to_the_stricter_limit():
    results = check(slow_chains("effect_mean", 0.9))
    assert results["ess_bulk"].status is Status.REVIEW
    assert results["ess_reported"].status is Status.FAIL
    assert results["mcse_reported"].status in (Status.REVIEW, Status.FAIL)


def test_quantities_passed_in_are_checked_too():
    good = clean()["posterior"]["site_effect"] * 2
    assert check(clean(), reported={"doubled": good})["rhat_reported"].status is Status.PASS
    apart = good + 0.02 * xr.DataArray(np.arange(4.0), dims="chain")
    results = check(clean(), reported={"doubled": apart})
    assert results["rhat_reported"].status is Status.FAIL
    assert "doubled[site=" in results["rhat_reported"].message
    gone = check(clean(), reported={"doubled": good.where(good.site != "S03")})
    assert gone["rhat_reported"].status is Status.FAIL
    assert "doubled[site=S03]" in gone["rhat_reported"].message


@pytest.mark.parametrize(
    ("chains", "status"), [(1, Status.FAIL), (2, Status.REVIEW), (4, Status.PASS)]
)
def test_number_of_chains(chains, status):
    results = check(make_fit(sites=3, months=24, draws=300, replicates=60, chains=chains))
    assert results["chains"].status is status
    if chains == 1:
        assert results["rhat"].status is Status.FAIL  # it does not exist


@pytest.mark.parametrize(
    ("count", "status"),
    [(0, Status.PASS), (1, Status.REVIEW), (4, Status.REVIEW), (5, Status.FAIL)],
)
def test_divergences(count, status):
    def diverge(ds: xr.Dataset) -> xr.Dataset:
        ds["diverging"].values.ravel()[:count] = True
        return ds

    result = check(changed(clean(), "sample_stats", diverge))["divergences"]  # 4000 draws
    assert result.value == count
    assert result.status is status


def test_low_energy_fails():
    def wander(ds: xr.Dataset) -> xr.Dataset:
        ds["energy"].values[2] = np.cumsum(ds["energy"].values[2] - 100)
        return ds

    result = check(changed(small(), "sample_stats", wander))["energy"]
    assert result.status is Status.FAIL
    assert "chain 2" in result.message


def test_energy_that_does_not_vary_fails():
    fit = changed(small(), "sample_stats", lambda ds: ds.assign(energy=0 * ds["energy"]))
    assert check(fit)["energy"].status is Status.FAIL


def test_bfmi_by_hand():
    from lndbayes.checks.convergence import sampler_numbers

    stats = xr.Dataset(
        {
            "energy": (("chain", "draw"), [[1.0, 2.0, 1.0, 4.0]]),
            "diverging": (("chain", "draw"), [[False, True, False, False]]),
            "depth": (("chain", "draw"), [[3, 10, 11, 9]]),
        }
    )
    numbers = sampler_numbers(stats, depth_limit=10)
    # Squared steps 1, 1, 9: mean 11/3. Variance of 1, 2, 1, 4 about 2: (1 + 0 + 1 + 4) / 3 = 2.
    assert numbers.bfmi[0] == pytest.approx(11 / 3 / 2)
    assert (numbers.draws, numbers.divergent, numbers.depth_share) == (4, 1, 0.5)


def test_cut_off_trajectories_are_reviewed():
    def deepen(ds: xr.Dataset) -> xr.Dataset:
        ds["depth"].values[:, :30] = 10
        return ds

    result = check(changed(small(), "sample_stats", deepen))["tree_depth"]
    assert result.status is Status.REVIEW
    assert result.value == pytest.approx(0.1)


# --- predictions


FAULTS = {
    "sites exchanged": ({"prediction_swap": (2, 9)}, {"worst_site_rate", "overdispersion"}),
    "baseline 0.3 too high": (
        {"prediction_shift": 0.3},
        {"site_rates", "worst_site_rate", "wave_rates", "rate_before", "rate_after"},
    ),
    "autocorrelated data": (
        {"data_noise_sd": 0.3, "data_noise_rho": 0.8},
        {"autocorrelation_1", "overdispersion"},
    ),
    "overdispersed data": ({"data_overdispersion": 15.0}, {"overdispersion", "max_change"}),
    "site seasons": ({"data_season_sd": 0.4}, {"autocorrelation_year"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_model_fails_where_it_is_wrong(fault):
    arguments, expected = FAULTS[fault]
    results = check(make_fit(**arguments))
    failed = {name for name, result in results.items() if result.status is Status.FAIL}
    assert expected <= failed
    # The draws themselves are fine, and nothing about them may be blamed.
    assert not failed & {"groups", "finite", "rhat", "ess_bulk", "stuck_chains", "divergences"}
    assert exit_code(results.values()) == 1


def test_underdispersed_data_are_seen():
    """Data without overdispersion under a model with a lot of it."""
    fit = make_fit(data_overdispersion=1e6)
    # The model's panels get the overdispersion of 15 instead of 150.
    rough = make_fit(data_overdispersion=15.0)
    wide = changed(
        fit,
        "posterior_predictive",
        lambda ds: ds.assign(y=(ds["y"].dims, _rough_counts(rough, ds["mu"].values))),
    )
    result = check(wide)["overdispersion"]
    assert result.status is Status.FAIL
    assert result.value > 0.995


def _rough_counts(fit: xr.DataTree, mu: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(5)
    n = fit["constant_data"]["exposure"].values
    p = np.nan_to_num(mu, nan=0.5)
    y = rng.binomial(n.astype(int), rng.beta(15 * p, 15 * (1 - p))).astype(float)
    return np.where(n > 0, y, np.nan)


def test_noise_that_starts_at_go_live_is_seen():
    fit, noisy = make_fit(), make_fit(data_overdispersion=20.0)
    after = fit["constant_data"]["event_time"] >= 0
    mixed = changed(
        fit,
        "observed_data",
        lambda ds: ds.assign(y=ds["y"].where(~after, noisy["observed_data"]["y"])),
    )
    assert check(mixed)["variance_ratio"].status is Status.FAIL


def test_a_step_the_ramp_does_not_have_is_seen_just_before_go_live():
    """Rates half as high again in the months before go-live: anticipation, or other recording."""
    fit = make_fit()
    event = fit["constant_data"]["event_time"]
    fit = changed(
        fit,
        "observed_data",
        lambda ds: ds.assign(
            y=xr.where((event < 0) & (event > -12), (1.5 * ds["y"]).round(), ds["y"]).transpose(
                "site", "month"
            )
        ),
    )
    results = check(fit)
    assert results["rate_before"].status is Status.FAIL
    assert results["event_curve"].status is Status.FAIL
    assert results["rate_after"].status is Status.PASS
    assert (results["event_curve"].table["event_month"] < 0).any()


def test_an_expectation_that_is_not_the_replicates_own_fails():
    """Counts where rates belong, or the expectation of other draws."""
    fit = changed(make_fit(), "posterior_predictive", lambda ds: ds.assign(mu=ds["mu"] * 1.05))
    result = check(fit)["overdispersion"]
    assert result.status is Status.FAIL
    assert "expectation mu" in result.message


def test_without_expectations_residuals_are_not_checked_and_all_else_is():
    fit = changed(make_fit(), "posterior_predictive", lambda ds: ds.drop_vars("mu"))
    results = check(fit)
    left_out = {n for n, r in results.items() if r.status is Status.NOT_RUN}
    assert left_out == {
        "overdispersion",
        "autocorrelation_1",
        "autocorrelation_year",
        "variance_ratio",
        "site_correlation",
        "worst_site_year",
        "zero_run",
    }


def test_replicates_that_are_all_the_same_fail():
    def freeze(ds: xr.Dataset) -> xr.Dataset:
        return ds.assign(y=ds["y"].isel(chain=0, draw=0).broadcast_like(ds["y"]))

    results = check(changed(small(), "posterior_predictive", freeze))
    assert results["predictive_draws"].status is Status.FAIL
    assert results["worst_site_rate"].status is Status.NOT_RUN


@pytest.mark.parametrize(("each", "status"), [(2, Status.FAIL), (10, Status.REVIEW)])
def test_too_few_replicates(each, status):
    fit = changed(small(), "posterior_predictive", lambda ds: ds.isel(draw=slice(each)))
    assert check(fit)["predictive_draws"].status is status


def test_an_unknown_family_is_not_judged_by_rates():
    fit = small().copy()
    fit.attrs["family"] = "normal"
    results = check(fit)
    assert results["overdispersion"].status is Status.NOT_RUN
    assert "'normal'" in results["overdispersion"].message


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clean_fit_of_any_family_has_no_fault(family):
    """Every check has a verdict, and none accuses a right model, whatever its link and counts."""
    results = check(make_fit(3, family=family))
    assert [r.message for r in results.values() if r.status is Status.FAIL] == []
    assert results["possible_counts"].status is Status.PASS
    assert results["prior_effect"].status is not Status.NOT_RUN


@pytest.mark.parametrize("family", FAMILIES)
def test_more_events_than_trials_fail_in_every_family_that_has_trials(family):
    def planted(ds):
        ds["y"].values[2, 9] = 10_000
        return ds

    fit = changed(make_fit(3, draws=20, replicates=10, family=family), "observed_data", planted)
    status = check(fit)["possible_counts"].status
    assert status is (Status.FAIL if FAMILIES[family].trials else Status.PASS)


def test_counts_of_an_unknown_family_are_not_called_possible():
    fit = small().copy()
    fit.attrs["family"] = "normal"
    assert check(fit)["possible_counts"].status is Status.NOT_RUN


def test_a_short_panel_says_what_it_lacks():
    results = check(small())
    assert results["autocorrelation_year"].status is Status.NOT_RUN
    assert "pairs of cells" in results["autocorrelation_year"].message


# --- prior and influence


def test_an_implausible_prior_fails():
    def raise_rates(ds: xr.Dataset) -> xr.Dataset:
        n = clean()["constant_data"]["exposure"]
        return ds.assign(y=(ds["y"] + (0.4 * n).round()).clip(max=n).transpose(*ds["y"].dims))

    result = check(changed(clean(), "prior_predictive", raise_rates))["prior_rate"]
    assert result.status is Status.FAIL
    assert result.value < 0.05


def test_the_plausible_rate_is_the_specs_to_say():
    result = run_checks(small())[CHECKS.index("prior_rate")]
    assert result.status is Status.NOT_RUN
    assert "prior_rate_low" in result.message
    # Python and the command line judge by the same lines: those of the fit's own spec
    fit = small()
    told = {"prior_rate_low": 0.0001, "prior_rate_high": 0.9999}
    fit.attrs = {**fit.attrs, "spec_text": json.dumps({"checks": told})}
    assert run_checks(fit)[CHECKS.index("prior_rate")].status is Status.PASS


def test_a_jumping_prior_is_reviewed():
    def jump(ds: xr.Dataset) -> xr.Dataset:
        odd = xr.DataArray(np.arange(ds.sizes["month"]) % 8 == 0, dims="month")
        return ds.assign(y=xr.where(odd, ds["y"] * 2, ds["y"]).transpose(*ds["y"].dims))

    result = check(changed(clean(), "prior_predictive", jump))["prior_change"]
    assert result.status is Status.REVIEW


def test_a_prior_with_absurd_effects_is_reviewed_or_fails():
    for factor, status in ((3, Status.REVIEW), (30, Status.FAIL)):
        fit = changed(
            small(), "prior", lambda ds, f=factor: ds.assign(effect_mean=f * ds["effect_mean"])
        )
        assert check(fit)["prior_effect"].status is status


def test_an_answer_that_is_the_priors_is_reviewed():
    # Posterior sd 0.48 where the prior's is 0.5.
    result = check(make_fit(sites=3, months=24, draws=300, replicates=60, effect_sd=0.48))[
        "prior_dominance"
    ]
    assert result.status is Status.REVIEW
    assert "rests on the prior" in result.message
    assert result.value == pytest.approx(0.96, abs=0.1)


def test_a_prior_without_spread_fails_dominance():
    fit = changed(small(), "prior", lambda ds: ds.assign(effect_mean=0 * ds["effect_mean"]))
    assert check(fit)["prior_dominance"].status is Status.FAIL


def test_cells_that_carry_the_posterior_are_reviewed():
    rng = np.random.default_rng(8)

    def burden(ds: xr.Dataset) -> xr.Dataset:
        # Log likelihoods with tails like these give weights without a variance.
        heavy = -3 * rng.exponential(size=ds["y"].shape)
        few = np.arange(ds.sizes["cell"]) % 10 == 0
        return ds.assign(y=(ds["y"].dims, np.where(few, heavy, ds["y"].values)))

    result = check(changed(small(), "log_likelihood", burden))["pareto_k"]
    assert result.status is Status.REVIEW
    assert result.value == pytest.approx(0.1, abs=0.03)
