"""Verdicts: one test for each rule, margins in closed form, the bias that tips a conclusion."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lndbayes.base.vocabulary import EffectVerdict, Tier, VariantName
from lndbayes.checks.battery import CHECKS
from lndbayes.checks.result import SILENT, CheckResult, Status, bearing_failures
from lndbayes.estimands.effects import pooled_effect
from lndbayes.estimands.margins import link_margins, untreated_rate
from lndbayes.estimands.overview import OVERVIEW_COLUMNS, overview_row
from lndbayes.estimands.predictors import predictors
from lndbayes.estimands.verdict import RULES, Findings, bias_tolerance, tipping_bias, verdict
from lndbayes.spec.families import inverse
from lndbayes.spec.model_spec import ModelSpec, load_spec, with_changes
from small import MODELS, fake_fit

NAN, INF = math.nan, math.inf
#: Nothing stands against what the interval says.
CLEAR = Findings(
    lower=-0.5,
    upper=-0.2,
    margin=(-0.1, 0.1),
    sd_over_prior_sd=0.2,
    build_up_share=0.1,
    build_up_shift=0.3,
    build_up_chance=0.2,
    tiers={Tier.A: 3, Tier.B: 1, Tier.C: 2, Tier.D: 1},
)


def told(**changes: Any) -> EffectVerdict:
    return verdict(replace(CLEAR, **changes))


# --- the rules, in their order --------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{"selected": True}, {"lower": NAN}, {"lower": -INF}, {"upper": INF}]
)
def test_measured_among_the_chosen_or_not_finite(changes) -> None:
    assert told(**changes) is EffectVerdict.NOT_IDENTIFIED
    assert told(**changes, sd_over_prior_sd=2.0) is EffectVerdict.NOT_IDENTIFIED


@pytest.mark.parametrize("ratio", [0.91, 1.5, NAN])
def test_a_posterior_as_wide_as_the_prior_rests_on_it(ratio) -> None:
    assert told(sd_over_prior_sd=ratio) is EffectVerdict.PRIOR
    assert told(sd_over_prior_sd=0.9) is EffectVerdict.LOWERS
    # the refits of a fit that knows nothing say nothing
    assert told(sd_over_prior_sd=ratio, build_up_share=1.0) is EffectVerdict.PRIOR


@pytest.mark.parametrize("lacking", ["build_up_share", "build_up_shift", "build_up_chance"])
@pytest.mark.parametrize("lower", [-0.5, -0.25, 0.1])
def test_without_the_refits_nothing_is_claimed(lacking, lower) -> None:
    assert told(lower=lower, upper=lower + 0.15, **{lacking: NAN}) is EffectVerdict.UNTESTED
    assert told(**{lacking: NAN}, failed=("rhat",)) is EffectVerdict.UNTESTED


@pytest.mark.parametrize(
    "changes", [{"build_up_share": 0.51}, {"build_up_shift": 1.01}, {"build_up_shift": -1.01}]
)
def test_what_the_build_ups_shape_alone_tells_is_not_claimed(changes) -> None:
    assert told(**changes) is EffectVerdict.BUILD_UP
    assert told(**changes, failed=("rhat",)) is EffectVerdict.BUILD_UP
    assert told(build_up_share=0.5, build_up_shift=-1.0) is EffectVerdict.LOWERS


def test_a_shift_that_chance_may_cause_takes_nothing_away() -> None:
    """A refit 1.25 times as wide moves by 0.75 posterior sds on average: 1.5 is no surprise."""
    chance = math.sqrt(1.25**2 - 1)
    assert told(build_up_shift=1.5, build_up_chance=chance) is EffectVerdict.LOWERS
    assert told(build_up_shift=2.0, build_up_chance=chance) is EffectVerdict.BUILD_UP
    assert told(build_up_shift=-2.0, build_up_chance=chance) is EffectVerdict.BUILD_UP
    # and a surprise that is small
    assert told(build_up_shift=0.9, build_up_chance=0.0) is EffectVerdict.LOWERS


def test_the_chance_of_a_shift_is_that_of_fits_to_nested_data() -> None:
    """Means of all of 40 draws and of the last 24 of them, 4,000 times."""
    values = np.random.default_rng(3).normal(size=(4000, 40))
    shift = values[:, 16:].mean(axis=1) - values.mean(axis=1)
    chance = math.sqrt(1 / 24 - 1 / 40)
    assert shift.std() == pytest.approx(chance, rel=0.05)


def test_a_failed_check_caps_the_claim() -> None:
    assert told(failed=("site_rates",)) is EffectVerdict.CHECK_FAILS
    everything_d = {Tier.D: 9}
    assert told(failed=("site_rates",), tiers=everything_d) is EffectVerdict.CHECK_FAILS
    assert told(failed=()) is EffectVerdict.LOWERS


@pytest.mark.parametrize(
    ("tiers", "capped"),
    [
        ((3, 1, 2, 1), False),
        ((2, 1, 2, 1), False),  # half is no majority
        ((1, 1, 2, 1), True),
        ((0, 0, 1, 0), True),
        ((1, 0, 0, 2), True),
        ((0, 0, 0, 0), False),
    ],
)
def test_a_majority_of_sites_without_an_untreated_month_caps_the_claim(tiers, capped) -> None:
    counts = dict(zip((Tier.A, Tier.B, Tier.C, Tier.D), tiers, strict=True))
    wanted = EffectVerdict.RECONSTRUCTED if capped else EffectVerdict.LOWERS
    # sites without an effect of their own have no voice
    assert told(tiers=counts | {Tier.NO_EFFECT: 50}) is wanted


@pytest.mark.parametrize(
    ("lower", "upper", "wanted"),
    [
        (-0.5, -0.2, EffectVerdict.LOWERS),
        (-0.101, -0.01, EffectVerdict.LOWERS),
        (-0.09, -0.01, EffectVerdict.LOWERS_LITTLE),  # zero is judged before the margin
        (0.02, 0.4, EffectVerdict.RAISES),
        (0.01, 0.09, EffectVerdict.RAISES_LITTLE),
        (0.01, 0.101, EffectVerdict.RAISES),
        (-0.05, 0.08, EffectVerdict.SMALL),
        (-0.1, 0.1, EffectVerdict.SMALL),
        (-0.1, 0.0, EffectVerdict.SMALL),  # an end at zero leaves it in
        (0.0, 0.05, EffectVerdict.SMALL),
        (-0.3, 0.1, EffectVerdict.CANNOT_SAY),
        (-0.1, 0.101, EffectVerdict.CANNOT_SAY),
    ],
)
def test_zero_first_then_the_margin(lower, upper, wanted) -> None:
    assert told(lower=lower, upper=upper) is wanted


def test_a_margin_has_two_sides() -> None:
    uneven = (-0.3, 0.05)
    assert told(lower=-0.25, upper=-0.1, margin=uneven) is EffectVerdict.LOWERS_LITTLE
    assert told(lower=0.01, upper=0.1, margin=uneven) is EffectVerdict.RAISES
    assert told(lower=-9.0, upper=0.04, margin=(-INF, 0.05)) is EffectVerdict.SMALL


def test_every_verdict_has_one_rule_and_the_last_rule_takes_what_is_left() -> None:
    assert sorted(rule.verdict for rule in RULES) == sorted(EffectVerdict)
    nothing = replace(CLEAR, lower=-1.0, upper=1.0)
    assert [rule.verdict for rule in RULES if rule.applies(nothing)] == [RULES[-1].verdict]


def test_methods_has_the_table_of_rules() -> None:
    text = (MODELS.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| `(.+?)` \| (.+) \|$", text, flags=re.MULTILINE)
    assert rows == [(rule.verdict.value, rule.when) for rule in RULES]


# --- failed checks --------------------------------------------------------------------------------


def test_a_check_that_only_lengthens_intervals_does_not_cap() -> None:
    assert set(CHECKS) > SILENT
    results = [
        CheckResult("o", "rhat", Status.FAIL, 2.0, "", ""),
        CheckResult("o", "prior_change", Status.FAIL, 0.1, "", ""),
        CheckResult("o", "site_rates", Status.REVIEW, 0.1, "", ""),
        CheckResult("o", "pareto_k", Status.NOT_RUN, None, "", ""),
        CheckResult("o", "energy", Status.FAIL, None, "", ""),
    ]
    assert bearing_failures(results) == ("rhat", "energy")


# --- margins --------------------------------------------------------------------------------------


def test_margins_in_closed_form() -> None:
    """Ten in 1,000 either way of a rate of 0.2: odds of 19 to 81, 20 to 80 and 21 to 79."""
    low, high = link_margins("logit", 0.2, 10.0)
    assert np.exp(low) == pytest.approx((19 / 81) / (20 / 80))
    assert np.exp(high) == pytest.approx((21 / 79) / (20 / 80))
    low, high = link_margins("log", 4.0, 500.0)
    assert (np.exp(low), np.exp(high)) == pytest.approx((3.5 / 4, 4.5 / 4))
    low, high = link_margins("cloglog", 0.5, 100.0)
    assert np.exp(low) == pytest.approx(np.log(0.6) / np.log(0.5))
    assert np.exp(high) == pytest.approx(np.log(0.4) / np.log(0.5))


@pytest.mark.parametrize("link", ["logit", "log", "cloglog"])
def test_a_margin_of_the_whole_rate_has_no_end(link) -> None:
    low, high = link_margins(link, 0.02, 20.0)
    assert low == -INF
    assert 0 < high < INF
    assert link_margins(link, 0.02, 30.0)[0] == -INF
    assert (link_margins(link, 0.99, 15.0)[1] == INF) == (link != "log")


def test_the_untreated_rate_by_brute_force() -> None:
    """Over the window's months in the data and the sites that have an effect of their own."""
    fit = fake_fit((6, 10, 20, None))
    eta = predictors(fit)["eta0"].to_numpy()
    sites = []
    for s, start in enumerate((6, 10, 20)):
        months = [start + e for e in range(7, 19) if start + e < eta.shape[-1]]
        if months:
            sites.append(inverse("logit", eta[:, :, s, months]).mean(axis=-1))
    assert len(sites) == 2  # the third has no month of the window
    np.testing.assert_allclose(untreated_rate(fit), np.mean(sites, axis=0), rtol=1e-12)
    one = fake_fit((6, None))
    eta = predictors(one)["eta0"].to_numpy()
    short = inverse("logit", eta[:, :, 0, 8:11]).mean(axis=-1)
    np.testing.assert_allclose(untreated_rate(one, (2, 4)), short, rtol=1e-12)


# --- how much bias it takes -----------------------------------------------------------------------


def test_the_tipping_bias_is_the_nearer_end_of_a_claimed_effect() -> None:
    assert tipping_bias(CLEAR) == pytest.approx(0.2)
    assert tipping_bias(replace(CLEAR, lower=0.03, upper=0.09)) == pytest.approx(0.03)
    for held_back in ({"failed": ("rhat",)}, {"upper": 0.1}, {"build_up_share": NAN}):
        assert math.isnan(tipping_bias(replace(CLEAR, **held_back)))
    # a step of just that size puts the end on zero: the claim is gone
    step = tipping_bias(CLEAR)
    moved = replace(CLEAR, lower=CLEAR.lower + step, upper=CLEAR.upper + step)
    assert not verdict(moved).sign


def test_the_tolerance_is_in_units_of_the_largest_violation() -> None:
    assert bias_tolerance(CLEAR, 0.05) == pytest.approx(4.0)
    assert bias_tolerance(CLEAR, 0.4) == pytest.approx(0.5)
    for none in (NAN, 0.0):
        assert math.isnan(bias_tolerance(CLEAR, none))
    assert math.isnan(bias_tolerance(replace(CLEAR, selected=True), 0.05))


# --- a row of the overview ------------------------------------------------------------------------


SPEC = load_spec(Path(MODELS) / "custody.toml")


def treated(effect: float = -0.5, **more: Any) -> xr.DataTree:
    """Sites with this effect at once and a little spread of the pooled one."""
    draws = effect + np.linspace(-0.02, 0.02, 80).reshape(2, 40)[..., None]
    given = {"site_effect": draws, "ramp_months": 1e-3}
    return fake_fit(draws=40, posterior=given, **more)


def refit(draws: xr.DataArray, *, wider: float = 1.0, shift: float = 0.0) -> xr.Dataset:
    """A refit whose sd is so many times that of the draws, its mean so many sds from theirs."""
    mean, sd = float(draws.mean()), float(draws.std(ddof=1))
    return xr.Dataset({"pooled": mean + (draws - mean) * wider + shift * sd})


def row_of(
    fit: xr.DataTree, *, wider: float = 3.0, shift: float = 0.0, spec: ModelSpec = SPEC, **more: Any
) -> dict[str, Any]:
    draws = pooled_effect(fit, "link", spec.effect.window)
    refits = {
        VariantName.ALL_OFF.value: refit(draws, wider=wider),
        VariantName.RAMP_HIDDEN.value: refit(draws, shift=shift),
    }
    return overview_row(spec, fit, 5.0, **{"refits": refits} | more)


def test_a_row_asks_the_refits_for_what_the_build_up_tells() -> None:
    fit = treated()
    clear = row_of(fit)
    assert set(clear) == set(OVERVIEW_COLUMNS)
    assert clear["verdict"] is EffectVerdict.LOWERS
    assert clear["build_up_share"] == pytest.approx(1 / 9)
    assert clear["build_up_shift"] == pytest.approx(0.0, abs=1e-9)
    assert clear["build_up_chance"] == pytest.approx(0.0, abs=1e-6)
    assert row_of(fit, wider=1.3)["verdict"] is EffectVerdict.BUILD_UP
    assert row_of(fit, wider=1.5)["verdict"] is EffectVerdict.LOWERS
    moved = row_of(fit, shift=-1.2)
    assert moved["build_up_shift"] == pytest.approx(-1.2)
    assert moved["verdict"] is EffectVerdict.BUILD_UP
    draws = pooled_effect(fit, "link", SPEC.effect.window)
    wide = {
        VariantName.ALL_OFF.value: refit(draws, wider=3.0),
        VariantName.RAMP_HIDDEN.value: refit(draws, wider=1.25, shift=1.5),
    }
    chance = row_of(fit, refits=wide)
    assert chance["build_up_chance"] == pytest.approx(0.75)
    assert chance["verdict"] is EffectVerdict.LOWERS
    alone = row_of(fit, refits=None)
    assert alone["verdict"] is EffectVerdict.UNTESTED
    assert np.isnan([alone["build_up_share"], alone["build_up_shift"]]).all()
    assert row_of(fit, failed=("rhat",))["verdict"] is EffectVerdict.CHECK_FAILS


def test_an_outcome_most_of_whose_sites_were_treated_from_the_start_is_not_claimed() -> None:
    """Sites B to E have no untreated month: C and D with persons' histories, B and E without."""
    rows = {"history_at": np.array([[2, 3, 0], [3, 3, 0]]), "history_exposure": np.full(2, 30.0)}
    most = treated(go_live=(12, 0, 0, 0, 0, None), months=48, constants=rows)
    row = row_of(most)
    assert [row[f"tier_{t}"] for t in "abcd"] == [1, 0, 2, 2]
    assert row["verdict"] is EffectVerdict.RECONSTRUCTED
    some = treated(go_live=(12, 12, 12, 0, 0, None), months=48, constants=rows)
    assert row_of(some)["verdict"] is EffectVerdict.LOWERS


def test_a_row_has_its_margin_in_both_units() -> None:
    fit = treated(-0.01)
    row = row_of(fit)
    rate = float(untreated_rate(fit, SPEC.effect.window).mean())
    low, high = link_margins("logit", rate, SPEC.outcome.margin_per_1000)
    assert row["untreated_rate"] == pytest.approx(rate)
    assert row["margin_per_1000"] == SPEC.outcome.margin_per_1000
    assert np.log([row["margin_low"], row["margin_high"]]) == pytest.approx([low, high])
    draws = pooled_effect(fit, "link", SPEC.effect.window).to_numpy()
    inside = ((low <= draws) & (draws <= high)).mean()
    assert row["p_within_margin"] == pytest.approx(inside)
    assert row["verdict"] is EffectVerdict.SMALL
    frequent = {"dist": "Normal", "mu": 2.0, "sigma": 1.0}
    wide = with_changes(SPEC, {"outcome.margin_per_1000": 700.0, "priors.baseline_level": frequent})
    all_of_it = row_of(treated(-3.0), spec=wide)
    assert all_of_it["verdict"] is EffectVerdict.LOWERS_LITTLE
    assert np.isnan(all_of_it["margin_low"])
    assert all_of_it["p_within_margin"] == 1.0


def test_a_row_says_why_it_has_no_tolerance() -> None:
    fit = treated()
    upper = np.log(row_of(fit)["upper"])
    clear = row_of(fit, largest_violation=0.1)
    assert clear["tipping_bias"] == pytest.approx(-upper)
    assert clear["bias_tolerance"] == pytest.approx(-upper / 0.1)
    assert clear["bias_tolerance_note"] == ""
    none = row_of(fit, no_placebo="two sites have 24 untreated months")
    assert np.isnan(none["bias_tolerance"])
    assert none["tipping_bias"] == pytest.approx(-upper)
    assert none["bias_tolerance_note"] == "two sites have 24 untreated months"
    unclaimed = row_of(treated(0.0), largest_violation=0.1)
    assert np.isnan([unclaimed["tipping_bias"], unclaimed["bias_tolerance"]]).all()
    assert unclaimed["bias_tolerance_note"] == "no effect is claimed"


def test_a_row_of_an_outcome_among_the_chosen_has_no_number() -> None:
    selected = with_changes(
        SPEC, {"outcome.selected": True, "outcome.exposure_outcome": "referrals"}
    )
    row = row_of(treated(), spec=selected, largest_violation=0.1)
    assert set(row) == set(OVERVIEW_COLUMNS)
    assert row["verdict"] is EffectVerdict.NOT_IDENTIFIED
    numbers = ("median", "lower", "upper", "margin_low", "tipping_bias", "build_up_share")
    assert np.isnan([row[k] for k in numbers]).all()


@pytest.mark.parametrize("link", ["logit", "log", "cloglog"])
def test_margins_at_the_ends_of_a_rate_are_infinite(link) -> None:
    assert link_margins(link, 0.0, 5.0) == (-np.inf, np.inf)
    assert link_margins(link, 0.004, 5.0)[0] == -np.inf
    if link != "log":
        assert link_margins(link, 1.0, 5.0) == (-np.inf, np.inf)
        assert link_margins(link, 0.996, 5.0)[1] == np.inf


def test_an_interval_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be above"):
        replace(CLEAR, lower=0.5, upper=0.2)
