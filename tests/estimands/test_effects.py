"""Estimands on hand-made draws: closed forms, brute force over cells, what must not matter."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lndbayes.estimands import effects
from lndbayes.estimands.averted import events_averted
from lndbayes.estimands.effects import (
    baseline_rates,
    course_effects,
    mean_effect,
    new_site_effect,
    plateau_effects,
    pooled_effect,
    site_effects,
    weighted_change,
)
from lndbayes.estimands.leverages import leverages
from lndbayes.estimands.mix_effects import component_effects, substitution_effects
from lndbayes.estimands.predictors import predictors, untreated_predictor
from lndbayes.estimands.summaries import summarise
from lndbayes.estimands.treated import treated_sites
from small import fake_fit, isel

#: With this ramp ``exp(-(e + 1/2) / months)`` is ``2 ** -(e + 1/2)``: arithmetic by hand.
HALVING = 1 / math.log(2)


def by_hand(fit: xr.DataTree, c: int, d: int, s: int, t: int) -> tuple[float, float]:
    """Both rates of one draw in one cell, from scalars, as the model's equations are written."""
    draw = {str(k): v.to_numpy()[c, d] for k, v in fit["posterior"].to_dataset().items()}
    data = {str(k): v.to_numpy() for k, v in fit["constant_data"].to_dataset().items()}
    event = data["event_time"][s, t]
    eta0 = draw["site_level"][s]
    eta0 += (draw["national_slope"] + draw["site_drift"][s]) * data["time"][t]
    for k in range(data["national_functions"].shape[1]):
        eta0 += draw["national_curve"][k] * data["national_functions"][t, k]
    for k in range(data["site_functions"].shape[1]):
        eta0 += draw["site_curve"][k, s] * data["site_functions"][t, k]
    for k in range(data["harmonics"].shape[1]):
        eta0 += draw["season"][k] * data["harmonics"][t, k]
    if event > 0:
        eta0 += draw["drift"] * event / 12
    eta1 = eta0
    if event >= 0:
        ramp = 1 - math.exp(-(event + float(data["half_period"])) / draw["ramp_months"])
        eta1 += draw["site_effect"][s] * ramp
        if "pulse_months" in draw:
            u = (event + float(data["half_period"])) / draw["pulse_months"]
            eta1 += draw["pulse"] * u * math.exp(1 - u)
    rate = {
        "logit": lambda eta: 1 / (1 + math.exp(-eta)),
        "log": math.exp,
        "cloglog": lambda eta: 1 - math.exp(-math.exp(eta)),
    }[fit.attrs["link"]]
    return rate(eta0), rate(eta1)


#: A pulse that differs from draw to draw, and fits of it.
PULSE = {
    "pulse": np.array([[0.4, -0.2, 0.3], [0.1, 0.5, -0.6]]),
    "pulse_months": np.array([[1.5, 2.0, 0.7], [3.0, 1.0, 4.0]]),
}


def cells(fit: xr.DataTree) -> list[tuple[int, int]]:
    sizes = fit["posterior"].sizes
    return list(product(range(sizes["chain"]), range(sizes["draw"])))


def test_predictors_are_the_models_equations() -> None:
    fit = fake_fit()
    eta = predictors(fit)
    for (c, d), s, t in product(cells(fit), range(3), range(26)):
        p0, p1 = by_hand(fit, c, d, s, t)
        assert eta["eta0"].values[c, d, s, t] == pytest.approx(math.log(p0 / (1 - p0)), abs=1e-12)
        assert eta["eta1"].values[c, d, s, t] == pytest.approx(math.log(p1 / (1 - p1)), abs=1e-12)
    assert eta["eta0"].dims == ("chain", "draw", "site", "month")
    xr.testing.assert_identical(untreated_predictor(fit), eta["eta0"])
    part = slice(1, None, 2)
    # sums over fewer draws may be split otherwise: the last digit
    xr.testing.assert_allclose(untreated_predictor(fit, part), eta["eta0"].isel(draw=part), 1e-12)
    some = slice(5, 17)
    xr.testing.assert_allclose(predictors(fit, months=some), eta.isel(month=some), 1e-12)
    here = eta["eta0"].isel(draw=part, month=some)
    xr.testing.assert_allclose(untreated_predictor(fit, part, some), here, 1e-12)


def test_a_weighted_change_is_its_sum_over_months_also_where_they_have_gaps() -> None:
    fit = fake_fit()
    weight = np.zeros((3, 26))
    weight[0, 7], weight[1, 12], weight[1, 20] = 2.0, -1.0, 0.5
    found = weighted_change(fit, weight)
    for c, d in cells(fit):
        change = np.array(
            [[np.subtract(*by_hand(fit, c, d, s, t)[::-1]) for t in range(26)] for s in range(3)]
        )
        np.testing.assert_allclose(found.values[c, d], (change * weight).sum(axis=1), atol=1e-14)
    assert (weighted_change(fit, 0 * weight) == 0).all()


@pytest.mark.parametrize("family", ["beta_binomial", "negative_binomial", "duration_hazard"])
@pytest.mark.parametrize("posterior", [None, PULSE], ids=["no pulse", "pulse"])
def test_what_is_on_the_natural_scale_is_on_that_of_the_familys_link(family, posterior) -> None:
    """Rates, their differences and events averted, with and without a pulse, by brute force."""
    fit = fake_fit((6, 10, None), family=family, posterior=posterior)
    natural, averted, base = site_effects(fit, "natural"), events_averted(fit), baseline_rates(fit)
    exposure = fit["constant_data"]["exposure_all"].to_numpy()
    for c, d in cells(fit):
        rates = np.array([[by_hand(fit, c, d, s, t) for t in range(26)] for s in range(3)])
        np.testing.assert_allclose(base.values[c, d], rates[..., 0], rtol=1e-12)
        gap = rates[..., 1] - rates[..., 0]
        for s, start in enumerate((6, 10)):
            wanted = gap[s, start + 7 : start + 19].mean()
            assert natural.values[c, d, s] == pytest.approx(wanted, abs=1e-12)
            wanted = -(exposure[s] * gap[s])[start:].sum()
            assert averted.values[c, d, s] == pytest.approx(wanted, abs=1e-11)


def test_the_pulse_is_part_of_every_effect_on_the_link_scale_but_of_no_difference() -> None:
    """Its mean over the window's months, the same at every site."""
    fit, without = fake_fit(posterior=PULSE), fake_fit()
    u = (np.arange(7, 19) + 0.5) / PULSE["pulse_months"][..., None]
    passing = PULSE["pulse"] * (u * np.exp(1 - u)).mean(axis=-1)
    for function in (site_effects, pooled_effect, mean_effect, new_site_effect):
        gap = function(fit) - function(without)
        wanted = passing[..., None] if "site" in gap.dims else passing
        np.testing.assert_allclose(gap, np.broadcast_to(wanted, gap.shape), atol=1e-13)
    for function in (plateau_effects, component_effects, substitution_effects):
        np.testing.assert_array_equal(function(fit), function(without))


@pytest.mark.parametrize(
    ("family", "unit"),
    [
        ("ordered_bands", "log odds"),
        ("negative_binomial_from_one", "log rate"),
        ("duration_hazard", "log hazard"),
    ],
)
def test_effects_are_told_in_the_unit_of_their_link(family, unit) -> None:
    fit = fake_fit(family=family)
    for function in (site_effects, pooled_effect, mean_effect, new_site_effect, plateau_effects):
        assert function(fit).attrs["unit"] == unit
    assert component_effects(fit).attrs["unit"] == f"{unit} per 10 percentage points"


def test_the_course_is_the_mean_effect_of_stretches_of_event_time() -> None:
    fit = fake_fit((6, 10, None), months=24, posterior=PULSE)  # site A has event months up to 17
    course = course_effects(fit)
    # a stretch ends where the data do
    assert list(course["window"].values) == ["0-2", "3-6", "7-12", "13-17"]
    draws = fit["posterior"].to_dataset()
    for label, found in zip(course["window"].values, course.transpose("window", ...), strict=True):
        first, last = (int(x) for x in str(label).split("-"))
        for c, d in cells(fit):
            total = 0.0
            for e in range(first, last + 1):
                u = (e + 0.5) / PULSE["pulse_months"][c, d]
                ramp = 1 - math.exp(-(e + 0.5) / draws["ramp_months"].values[c, d])
                plateau = draws["site_effect"].values[c, d, :2].mean()
                total += plateau * ramp + PULSE["pulse"][c, d] * u * math.exp(1 - u)
            wanted = total / (last - first + 1)
            assert found.values[c, d] == pytest.approx(wanted, abs=1e-12)


def test_the_window_on_the_link_scale_in_closed_form() -> None:
    fit = fake_fit(posterior={"ramp_months": HALVING, "site_effect": -0.4})
    # e = 1 and 2: the mean of 1 - 2**-1.5 and 1 - 2**-2.5 is 1 - 1.5 * 2**-2.5
    short = site_effects(fit, "link", (1, 2))
    np.testing.assert_allclose(short, -0.4 * (1 - 1.5 * 2**-2.5), rtol=1e-13)
    # e = 7 .. 18: the 12 terms 2**-7.5 .. 2**-18.5 sum to 2**-6.5 * (1 - 2**-12)
    usual = site_effects(fit)
    np.testing.assert_allclose(usual, -0.4 * (1 - 2**-6.5 * (1 - 2**-12) / 12), rtol=1e-13)
    assert usual.dims == ("chain", "draw", "site")
    assert usual.attrs["unit"] == "log odds"


@pytest.mark.parametrize(
    ("period", "events"), [("month", range(7, 19)), ("quarter", (9, 12, 15, 18)), ("year", (12,))]
)
def test_the_window_has_the_periods_that_start_in_it(period, events) -> None:
    fit = fake_fit((2, 3, None), months=22 if period == "month" else 12, period=period)
    step = {"month": 1, "quarter": 3, "year": 12}[period]
    found = site_effects(fit).to_numpy()
    for c, d in cells(fit):
        ramp_months = fit["posterior"]["ramp_months"].values[c, d]
        ramp = sum(1 - math.exp(-(e + step / 2) / ramp_months) for e in events) / len(events)
        for s in range(2):
            effect = fit["posterior"]["site_effect"].values[c, d, s] * ramp
            assert found[c, d, s] == pytest.approx(effect, abs=1e-13)


def test_a_window_in_which_no_period_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="no period of 3 months begins in event months 7 to 8"):
        site_effects(fake_fit(period="quarter"), "link", (7, 8))


def test_the_natural_scale_is_the_mean_of_the_rates_differences() -> None:
    fit = fake_fit((6, 10, None))
    found = site_effects(fit, "natural", (7, 18))
    assert list(found["site"].values) == ["A", "B"]
    for (c, d), s in product(cells(fit), range(2)):
        start = (6, 10)[s]
        # site A has months 13 to 24 of the grid in the window; site B 17 to 25
        months = [t for t in range(26) if 7 <= t - start <= 18]
        assert len(months) == (12, 9)[s]
        differences = [by_hand(fit, c, d, s, t) for t in months]
        wanted = sum(p1 - p0 for p0, p1 in differences) / len(months)
        assert found.values[c, d, s] == pytest.approx(wanted, abs=1e-13)


def test_a_window_that_a_site_does_not_reach_is_nan_on_the_natural_scale_only() -> None:
    fit = fake_fit((6, 20, None))
    natural = site_effects(fit, "natural")
    assert list(natural["site"].values) == ["A", "B"]
    assert np.isfinite(natural.sel(site="A")).all()
    assert np.isnan(natural.sel(site="B")).all()
    assert np.isfinite(site_effects(fit, "link")).all()


#: Every estimand over a window.
WINDOWED = (
    site_effects,
    lambda fit, **more: site_effects(fit, "natural", **more),
    pooled_effect,
    lambda fit, **more: pooled_effect(fit, "natural", **more),
    mean_effect,
    new_site_effect,
    component_effects,
    substitution_effects,
)


@pytest.mark.parametrize("function", WINDOWED)
def test_the_window_is_the_specs_unless_another_is_asked_for(function) -> None:
    fit = fake_fit(window=(2, 5))
    xr.testing.assert_identical(function(fit), function(fit, window=(2, 5)))
    assert not np.allclose(function(fit), function(fit, window=(7, 18)))
    del fit.attrs["spec_text"]
    with pytest.raises(ValueError, match="give window="):
        function(fit)


@pytest.mark.parametrize("function", WINDOWED)
@pytest.mark.parametrize("window", [(70, 80), (7, 20), (20, 21), (18, 7), (-3, 5)])
def test_a_window_that_the_data_do_not_show_is_refused_with_the_months_they_show(
    function, window
) -> None:
    fit = fake_fit()  # months 6 to 25: event months 0 to 19 at site A
    told = "0 to 19" if window[0] >= 0 and window[1] > 18 else "first <= last"
    with pytest.raises(ValueError, match=told):
        function(fit, window=window)


@pytest.mark.parametrize("window", ["7-18", (7,), (7, 18, 20), (7.5, 18.2), 7])
def test_what_is_no_pair_of_months_is_no_window(window) -> None:
    with pytest.raises(TypeError, match="two whole numbers"):
        site_effects(fake_fit(), window=window)
    whole = tuple(np.array([7, 18]))
    assert site_effects(fake_fit(), window=whole).identical(site_effects(fake_fit()))


def test_a_window_whose_treated_cells_are_masked_is_not_shown() -> None:
    exposure = np.full((3, 26), 30.0)
    exposure[0, 6:16] = exposure[1, 10:20] = 0.0
    fit = fake_fit(constants={"exposure": exposure})
    with pytest.raises(ValueError, match=r"in event months 2 to 5: .* 10 to 19"):
        site_effects(fit, window=(2, 5))
    assert np.isfinite(site_effects(fit)).all()
    hidden = fake_fit(constants={"exposure": np.where(np.arange(26) < 6, 30.0, 0.0)})
    with pytest.raises(ValueError, match="no site has a treated month"):
        site_effects(hidden)


def test_names_that_do_not_exist_are_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"'link', 'natural', got 'odds'"):
        site_effects(fake_fit(), "odds")  # type: ignore[arg-type]  # no such scale, on purpose
    with pytest.raises(ValueError, match=r"'equal', 'referrals'.*mean 'referrals'"):
        pooled_effect(fake_fit(), weights="referral")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weights must be one of"):
        pooled_effect(fake_fit(), weights=None)  # type: ignore[arg-type]


def test_a_site_without_evidence_of_its_own_is_withheld_unless_asked_for() -> None:
    fit = fake_fit((6, 0, None))  # B has no untreated month, no record, no history
    whole = site_effects(fit, withheld=False)
    told = site_effects(fit)
    assert told.attrs["withheld"] == ["B"]
    assert np.isnan(told.sel(site="B")).all()
    np.testing.assert_array_equal(told.sel(site="A"), whole.sel(site="A"))
    assert np.isfinite(whole).all()
    assert "withheld" not in whole.attrs
    np.testing.assert_array_equal(pooled_effect(fit), whole.to_numpy() @ np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="withheld=False"):
        pooled_effect(fit, sites=told)
    table = summarise(told).set_index("site")
    assert np.isfinite(table.loc["A", "upper"])
    assert np.isnan(
        table.loc["B", ["mean", "sd", "lower", "median", "upper", "mcse"]].to_list()
    ).all()


def test_events_averted_can_be_summed_and_are_not_told_of_a_withheld_site() -> None:
    fit = fake_fit((6, 0, None))
    averted = events_averted(fit)
    assert np.isfinite(averted).all()
    table = summarise(averted).set_index("site")
    assert np.isfinite(table.loc["A", "mean"])
    assert np.isnan(table.loc["B", "mean"])
    assert np.isfinite(summarise(averted.sum("site"))["mean"]).all()


def test_a_site_without_a_treated_cell_of_its_own_has_no_effect_of_its_own() -> None:
    """Never live, live in the last month with that month masked: the same answer."""
    exposure = np.full((3, 26), 30.0)
    exposure[2, 25] = 0.0
    late = fake_fit((6, 10, 25), constants={"exposure": exposure, "referrals": 2.0})
    never = fake_fit((6, 10, None), constants={"exposure": exposure, "referrals": 2.0})
    assert list(treated_sites(late)) == [True, True, False]
    for function in (
        *WINDOWED,
        plateau_effects,
        course_effects,
        events_averted,
        lambda fit: pooled_effect(fit, weights="referrals"),
    ):
        xr.testing.assert_identical(function(late), function(never))


def test_events_averted_by_brute_force() -> None:
    fit = fake_fit((-2, 10, None))
    found = events_averted(fit)
    assert found.attrs["unit"] == "custodial sentences"
    assert list(found["site"].values) == ["A", "B"]
    exposure = fit["constant_data"]["exposure_all"].to_numpy()
    for (c, d), s in product(cells(fit), range(2)):
        wanted = 0.0
        for t in range(26):
            if t >= (-2, 10)[s]:
                p0, p1 = by_hand(fit, c, d, s, t)
                wanted += exposure[s, t] * (p0 - p1)
        assert found.values[c, d, s] == pytest.approx(wanted, abs=1e-12)


def test_events_averted_count_months_left_out_of_the_likelihood() -> None:
    fit = fake_fit()
    few = np.full((3, 26), 30.0)
    few[:, 6:25] = 0.0  # one treated cell a site is left
    hidden = fake_fit(
        constants={"exposure": few, "exposure_all": fit["constant_data"]["exposure_all"]}
    )
    np.testing.assert_array_equal(events_averted(fit), events_averted(hidden))
    halved = fit["constant_data"]["exposure_all"].to_numpy() / 2
    half = events_averted(fake_fit(constants={"exposure_all": halved}))
    np.testing.assert_allclose(half, events_averted(fit) / 2, rtol=1e-13)


def test_fewer_events_are_averted_events_and_a_negative_effect() -> None:
    fit = fake_fit(posterior={"site_effect": -0.5})
    assert (site_effects(fit) < 0).all()
    assert (site_effects(fit, "natural") < 0).all()
    assert (events_averted(fit) > 0).all()


def test_the_pooled_effect_is_the_mean_over_the_sites_that_go_live() -> None:
    fit = fake_fit((6, None, 10, 3))
    assert list(treated_sites(fit)) == [True, False, True, True]
    for scale in ("link", "natural"):
        sites = site_effects(fit, scale)
        assert list(sites["site"].values) == ["A", "C", "D"]
        pooled = pooled_effect(fit, scale)
        for c, d in cells(fit):
            wanted = sum(sites.values[c, d, s] for s in range(3)) / 3
            assert pooled.values[c, d] == pytest.approx(wanted, abs=1e-14)
        assert pooled.attrs == sites.attrs


def test_referrals_weigh_the_sites() -> None:
    # 24 months of 3, 5 and 1: only the treated sites count, 3/4 and 1/4
    fit = fake_fit((6, None, 10), constants={"referrals": np.array([[3.0], [5.0], [1.0]])})
    sites = site_effects(fit).to_numpy()
    found = pooled_effect(fit, weights="referrals")
    np.testing.assert_allclose(found, 0.75 * sites[..., 0] + 0.25 * sites[..., 1], rtol=1e-13)


def test_sites_without_a_window_month_leave_the_pooled_natural_effect() -> None:
    fit = fake_fit((6, 20, None))
    one = site_effects(fit, "natural").sel(site="A")
    np.testing.assert_array_equal(pooled_effect(fit, "natural"), one)
    # with all the weight on a site that cannot be used, nothing is left to average
    referrals = np.array([[0.0], [4.0], [4.0]])
    lost = fake_fit((6, 20, None), constants={"referrals": referrals})
    with pytest.raises(ValueError, match="no site has a window month"):
        pooled_effect(lost, "natural", weights="referrals")


def test_no_effect_is_zero_everywhere() -> None:
    none: dict[str, Any] = dict.fromkeys(("site_effect", "mix_effect"), 0.0)
    fit = fake_fit(posterior={**none, "effect_mean": 0.0, "site_effect_sd": 0.0}, waves=1)
    results = [
        *(site_effects(fit, scale) for scale in ("link", "natural")),
        *(pooled_effect(fit, scale) for scale in ("link", "natural")),
        *(f(fit) for f in (plateau_effects, events_averted, mean_effect, new_site_effect)),
        *(f(fit) for f in (component_effects, substitution_effects)),
    ]
    assert all((draws == 0).all() for draws in results)


def test_a_step_in_recording_at_go_live_is_no_part_of_any_effect() -> None:
    fit, without = fake_fit(), fake_fit(posterior={"go_live_step": 0.0})
    assert (fit["posterior"]["go_live_step"] != 0).all()
    for function in (
        lambda f: site_effects(f, "link"),
        lambda f: site_effects(f, "natural"),
        plateau_effects,
        events_averted,
        mean_effect,
        new_site_effect,
    ):
        xr.testing.assert_identical(function(fit), function(without))


def test_permuting_sites_permutes_the_results() -> None:
    fit = fake_fit((6, 10, None, 3))
    order = [3, 2, 0, 1]
    permuted = isel(fit, site=order)
    treated = [3, 0, 1]
    names = [fit["posterior"]["site"].values[s] for s in treated]
    for function in (
        lambda f: site_effects(f, "link"),
        lambda f: site_effects(f, "natural"),
        plateau_effects,
        events_averted,
    ):
        found = function(permuted)
        assert list(found["site"].values) == names
        np.testing.assert_array_equal(found, function(fit).sel(site=names))
    for scale in ("link", "natural"):
        np.testing.assert_allclose(
            pooled_effect(permuted, scale), pooled_effect(fit, scale), rtol=1e-12
        )


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_chunks_of_draws_do_not_change_results(monkeypatch, size) -> None:
    fit = fake_fit(draws=5)
    monkeypatch.setattr(effects, "CHUNK", 1000)
    whole = site_effects(fit, "natural"), events_averted(fit)
    monkeypatch.setattr(effects, "CHUNK", size)
    for one, other in zip(whole, (site_effects(fit, "natural"), events_averted(fit)), strict=True):
        xr.testing.assert_allclose(one, other, rtol=1e-13)


def test_the_window_approaches_the_plateau_as_the_ramp_shortens() -> None:
    fit = fake_fit(posterior={"ramp_months": 1e-3})
    np.testing.assert_allclose(site_effects(fit), plateau_effects(fit), rtol=1e-14)
    # exp(-7.5 / 0.5) = 3.06e-7 is what the first month of the window still lacks
    near = fake_fit(posterior={"ramp_months": 0.5})
    short = 1 - site_effects(near, "link", (7, 7)) / plateau_effects(near)
    np.testing.assert_allclose(short, math.exp(-15), rtol=1e-8)


def test_the_mean_effect_and_the_plateau_are_the_named_parameters() -> None:
    fit = fake_fit(posterior={"ramp_months": HALVING})
    ramp = 1 - 2**-6.5 * (1 - 2**-12) / 12
    posterior = fit["posterior"]
    np.testing.assert_allclose(mean_effect(fit), posterior["effect_mean"] * ramp, rtol=1e-13)
    wanted = posterior["site_effect"].isel(site=[0, 1])
    np.testing.assert_array_equal(plateau_effects(fit), wanted)


def test_ten_points_more_of_one_intervention() -> None:
    fit = fake_fit(
        interventions=("advice", "health", "housing"),
        posterior={"mix_effect": np.array([0.6, -0.2, -0.4]), "ramp_months": 1e-3},
        constants={"mix_centre": np.array([0.5, 0.3, 0.2])},
    )
    # advice: 0.1 * (0.6 - (0.3 * -0.2 + 0.2 * -0.4) / 0.5) = 0.1 * (0.6 + 0.28)
    # health: 0.1 * (-0.2 - (0.5 * 0.6 + 0.2 * -0.4) / 0.7) = 0.1 * (-0.2 - 0.22 / 0.7)
    # housing: 0.1 * (-0.4 - (0.5 * 0.6 + 0.3 * -0.2) / 0.8) = 0.1 * (-0.4 - 0.3)
    found = component_effects(fit)
    assert found.dims == ("chain", "draw", "intervention")
    wanted = np.array([0.088, -0.02 - 0.022 / 0.7, -0.07])
    np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), rtol=1e-13)
    moved = substitution_effects(fit)
    assert list(moved["intervention"].values) == [
        "advice -> health",
        "advice -> housing",
        "health -> housing",
    ]
    # 10 points from a to b: 0.1 * (effect of b - effect of a)
    wanted = np.array([-0.08, -0.10, -0.02])
    np.testing.assert_allclose(moved, np.broadcast_to(wanted, moved.shape), rtol=1e-13)


def test_mix_contrasts_agree_with_each_other_and_with_the_ramp() -> None:
    fit = fake_fit(interventions=("a", "b", "c", "d"))
    back = substitution_effects(isel(fit, intervention=[3, 2, 1, 0]))
    there = substitution_effects(fit)
    pairs = [str(x).split(" -> ") for x in there["intervention"].values]
    assert len(pairs) == 6
    for a, b in pairs:
        one, other = there.sel(intervention=f"{a} -> {b}"), back.sel(intervention=f"{b} -> {a}")
        np.testing.assert_allclose(one, -other.to_numpy(), rtol=1e-12)
    # 10 points more of b, from the others in proportion, is the mean of the moves to b
    whole = component_effects(fit)
    centre = fit["constant_data"]["mix_centre"]
    for b in "abcd":
        total = 0.0
        for a in "abcd".replace(b, ""):
            move = (
                there.sel(intervention=f"{a} -> {b}")
                if a < b
                else -there.sel(intervention=f"{b} -> {a}")
            )
            total = total + move.to_numpy() * float(
                centre.sel(intervention=a) / (1 - centre.sel(intervention=b))
            )
        np.testing.assert_allclose(whole.sel(intervention=b), total, rtol=1e-10, atol=1e-14)
    # both are differences of windowed effects, so they carry the ramp's mean
    flat = fake_fit(interventions=("a", "b", "c", "d"), posterior={"ramp_months": 1e-3})
    only = fake_fit(interventions=("a", "b", "c", "d"), posterior={"site_effect": 1.0})
    np.testing.assert_allclose(
        there, substitution_effects(flat) * site_effects(only).isel(site=0), rtol=1e-12
    )


def test_a_single_intervention_has_no_contrast() -> None:
    fit = fake_fit(interventions=("all",), posterior={"mix_effect": 0.0})
    assert substitution_effects(fit).sizes == {"chain": 2, "draw": 3, "intervention": 0}
    assert (component_effects(fit) == 0).all()


@pytest.mark.parametrize("waves", [1, 3])
def test_the_spread_of_a_new_sites_effect(waves) -> None:
    draws = 100_000
    fit = fake_fit(
        (0, None),
        months=20,
        draws=draws,
        waves=waves,
        posterior={
            "effect_mean": -0.3,
            "site_effect_sd": 0.25,
            "ramp_months": HALVING,
        },
        constants={"wave_sd": 0.2},
    )
    found = new_site_effect(fit, window=(1, 2)).to_numpy()
    ramp = 1 - 1.5 * 2**-2.5
    # sites 0.25**2; a wave is a standard normal less the mean of the waves, times 0.2
    variance = ramp**2 * (0.0625 + 0.04 * (1 - 1 / waves))
    # a variance of N normal draws has relative standard error sqrt(2 / N); five of them
    assert found.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / (2 * draws)))
    margin = 5 * math.sqrt(variance / (2 * draws))
    assert found.mean() == pytest.approx(-0.3 * ramp, abs=margin)


def test_a_new_sites_mix_shifts_its_effect_draw_by_draw() -> None:
    fit = fake_fit()
    share = {"advice": 0.2, "health": 0.7, "housing": 0.1}
    posterior, centre = fit["posterior"], fit["constant_data"]["mix_centre"].to_numpy()
    only = fake_fit(posterior={"site_effect": 1.0})
    ramp = site_effects(only).isel(site=0).to_numpy()
    moved = (np.array([0.2, 0.7, 0.1]) - centre) @ posterior["mix_effect"].to_numpy()[..., None]
    shift = new_site_effect(fit, share) - new_site_effect(fit)
    np.testing.assert_allclose(shift, moved[..., 0] * ramp, rtol=1e-10)
    at_centre = dict(zip(share, centre, strict=True))
    np.testing.assert_allclose(new_site_effect(fit, at_centre), new_site_effect(fit), rtol=1e-12)
    np.testing.assert_array_equal(new_site_effect(fit), new_site_effect(fit))


@pytest.mark.parametrize(
    "mix", [{"advice": 1.0}, {"advice": 0.5, "health": 0.5, "housing": 0.5}, {}]
)
def test_a_new_sites_mix_must_be_shares_of_all_interventions(mix) -> None:
    with pytest.raises(ValueError, match="shares that sum to 1 for exactly advice, health, hous"):
        new_site_effect(fake_fit(), mix)


def test_the_baseline_is_the_rate_without_the_service() -> None:
    fit = fake_fit()
    found = baseline_rates(fit)
    assert found.dims == ("chain", "draw", "site", "month")
    for (c, d), s, t in product(cells(fit), range(3), range(26)):
        assert found.values[c, d, s, t] == pytest.approx(by_hand(fit, c, d, s, t)[0], abs=1e-14)
    # about as many draws as asked for: every third of 2 x 9
    few = baseline_rates(fake_fit(draws=9), draws=6)
    assert list(few["draw"].values) == [0, 3, 6]


def test_leverages_recover_a_known_line() -> None:
    fit = fake_fit(draws=8)
    bias, drift = fit["posterior"]["shared_bias"], fit["posterior"]["drift"]
    pooled = 0.7 + 2.0 * bias - 3.0 * drift
    found = leverages(fit, pooled)
    assert float(found["leverage_level_bias"]) == pytest.approx(2.0, abs=1e-12)
    assert float(found["leverage_drift"]) == pytest.approx(-3.0, abs=1e-12)
    # sites in another order of dims keep their names
    slope = xr.DataArray([0.5, -1.5], dims="site", coords={"site": ["B", "A"]})
    found = leverages(fit, (slope * bias + 2 * slope * drift).transpose("site", "draw", "chain"))
    np.testing.assert_allclose(found["leverage_level_bias"], slope, atol=1e-12)
    np.testing.assert_allclose(found["leverage_drift"], 2 * slope, atol=1e-12)
    assert list(found["site"].values) == ["B", "A"]


@pytest.mark.parametrize("name", ["shared_bias", "drift"])
def test_leverages_need_both_bias_terms(name) -> None:
    fit = fake_fit(posterior={name: 0.0})
    with pytest.raises(ValueError, match="shared_bias_sd and drift_sd above 0"):
        leverages(fit, pooled_effect(fit))
