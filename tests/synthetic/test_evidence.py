"""Each channel against its formula, and the rule that none looks past a go-live."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from cells import cells, of_outcome
from lndbayes.synthetic import World, simulate
from lndbayes.synthetic.surface import expit, logit

simulate_custody = partial(simulate, outcomes=("custody",))


def surface(sim):
    return np.array(sim.truth["baseline"]["eta0"])


def located(sim, frame, month):
    """Site and month indices of the rows of a table."""
    site = {name: s for s, name in enumerate(sim.truth["axes"]["site"])}
    when = {name: t for t, name in enumerate(sim.truth["axes"]["month"])}
    return frame["site"].map(site).to_numpy(), frame[month].map(when).to_numpy()


def standardised(count, n, rate, inflation=1.0):
    """Sum of counts, as a number of standard deviations from its expectation."""
    return (count - n * rate).sum() / np.sqrt((n * rate * (1 - rate) * inflation).sum())


@pytest.mark.parametrize("sites", [2, 27, 120])
@pytest.mark.parametrize("referral_month", [60, 74, 96])
def test_history_lies_wholly_before_go_live(sites, referral_month):
    sim = simulate_custody(8, World(history_referral_month=referral_month), sites)
    frame = of_outcome(sim, "evidence/history.csv")
    s, t = located(sim, frame, "calendar_month")
    go_live = np.array(sim.truth["sites"]["go_live"])
    assert len(frame) > 0 or sites == 2
    assert (t + 3 < go_live[s]).all()
    assert (t >= 3).all()
    assert (t - frame["months_from_referral"].to_numpy() == referral_month).all()


def test_history_counts_have_crisis_and_selection():
    # Many persons, so that a recovery that starts a month early or late would show.
    world = World(history_persons=1e6, crisis_dip=0.9, crisis_recovery_months=9.0)
    sim = simulate_custody(8, world)
    frame = of_outcome(sim, "evidence/history.csv")
    s, t = located(sim, frame, "calendar_month")
    before = -frame["months_from_referral"].to_numpy()
    eta = surface(sim)[s, t] - 0.10
    persons, count = frame["persons"].to_numpy(), frame["count"].to_numpy()
    crisis = 0.9 * np.exp(-(before - 1) / 9.0)
    assert abs(standardised(count, persons, expit(eta + crisis))) < 4
    assert standardised(count, persons, expit(eta)) > 8


def test_no_outcome_before_the_panel_and_none_untreated_after():
    sim = simulate_custody(9)
    _, t = located(sim, cells(sim), "month")
    assert t.min() == 36
    s, t = located(sim, sim.frames["referrals.csv"], "month")
    assert (t >= np.array(sim.truth["sites"]["go_live"])[s]).all()


def test_outcomes_follow_treated_rates_with_overdispersion():
    sim = simulate_custody(10, World(concentration=40.0), sites=300)
    frame = cells(sim)
    s, t = located(sim, frame, "month")
    truth = sim.truth["sites"]
    e = t - np.array(truth["go_live"])[s]
    ramp = np.where(
        e >= 0, 1 - np.exp(-(np.maximum(e, 0) + 0.5) / np.array(truth["ramp_months"])[s]), 0
    )
    rate = expit(surface(sim)[s, t] + ramp * np.array(truth["plateau"])[s])
    n, count = frame["exposure"].to_numpy(), frame["count"].to_numpy()
    inflation = (n + 40.0) / 41.0
    assert abs(standardised(count, n, rate, inflation)) < 4
    assert standardised(count, n, expit(surface(sim)[s, t]), inflation) < -20
    z2 = (count - n * rate) ** 2 / (n * rate * (1 - rate) * inflation)
    assert z2.mean() == pytest.approx(1, abs=5 * z2.std() / np.sqrt(len(z2)))


def test_retrospective_counts_have_bias_and_coverage():
    world = World(retrospective_bias=0.4, shared_bias=0.1, size_median=120.0)
    sim = simulate_custody(11, world, sites=120)
    frame = sim.frames["evidence/retrospective.csv"]
    s, t = located(sim, frame, "month")
    assert sorted(set(t)) == list(range(24, 36))
    chosen = {name: k for k, name in enumerate(sim.truth["axes"]["retrospective_site"])}
    bias = np.array(sim.truth["parameters"]["retrospective_site_bias"])
    own = bias[frame["site"].map(chosen).to_numpy()]
    n, count = frame["exposure"].to_numpy(), frame["count"].to_numpy()
    assert abs(standardised(count, n, expit(surface(sim)[s, t] + own + 0.1))) < 4
    assert standardised(count, n, expit(surface(sim)[s, t])) > 10
    # The spread and mean of the sites' own biases, five standard errors of 49 sites.
    assert bias.mean() == pytest.approx(0.4, abs=5 * 0.08 / np.sqrt(len(bias)))
    assert bias.std() == pytest.approx(0.08, abs=5 * 0.08 / np.sqrt(2 * len(bias)))
    # Beta(12, 8): mean .6, variance .6 x .4 / 21.
    assert frame["coverage_mean"].unique() == pytest.approx([0.6])
    assert frame["coverage_sd"].unique() == pytest.approx([np.sqrt(0.24 / 21)])


def test_coverage_is_a_share_of_all_persons():
    wide = simulate_custody(11, World(coverage=(1e7, 1e-2)))
    frame = wide.frames["evidence/retrospective.csv"]
    assert len(frame) == 11 * 12
    sizes = frame.groupby("site")["exposure"].mean()
    half = simulate_custody(11, World(coverage=(1e7, 1e7))).frames["evidence/retrospective.csv"]
    ratio = half.groupby("site")["exposure"].mean() / sizes
    assert ratio.mean() == pytest.approx(0.5, abs=0.03)


def test_national_series_is_the_weighted_untreated_rate():
    world = World(national_noise=1e-12, national_offset=-0.25, shared_bias=0.05)
    sim = simulate_custody(13, world)
    frame, sites = of_outcome(sim, "evidence/national.csv"), sim.frames["sites.csv"]
    weight = sites["population"] / sites["population"].sum()
    rate = expit(surface(sim))
    months = sim.truth["axes"]["month"]
    assert frame["month"].tolist() == months[0:36:3]
    assert (frame["months"] == 3).all()
    for q in range(12):
        pooled = sum(weight[s] * rate[s, 3 * q : 3 * q + 3].mean() for s in range(27))
        assert logit(frame["rate"][q]) == pytest.approx(logit(pooled) - 0.20, abs=1e-9)


def test_national_error_is_stated_on_the_scale_of_the_rate():
    base = World()
    quiet = of_outcome(
        simulate_custody(13, replace(base, national_noise=1e-12)), "evidence/national.csv"
    )
    noise = []
    for seed in range(25):
        frame = of_outcome(simulate_custody(seed, base, sites=3), "evidence/national.csv")
        silent = simulate_custody(seed, replace(base, national_noise=1e-12), sites=3)
        clean = of_outcome(silent, "evidence/national.csv")
        noise += list(logit(frame["rate"].to_numpy()) - logit(clean["rate"].to_numpy()))
        np.testing.assert_allclose(frame["se"], 0.02 * frame["rate"] * (1 - frame["rate"]))
    assert len(quiet) == 12
    # 300 draws: five standard errors of a standard deviation.
    assert np.std(noise) == pytest.approx(0.02, abs=5 * 0.02 / np.sqrt(600))


def test_elicited_quantiles_bracket_the_biased_level():
    world = World(elicited_error=0.0, elicited_bias=0.12, shared_bias=-0.05)
    sim = simulate_custody(14, world)
    frame = sim.frames["evidence/elicited.csv"]
    assert frame["site"].tolist() == sim.truth["axes"]["site"][:10]
    level = surface(sim)[:10, 24:36].mean(axis=1)
    np.testing.assert_allclose(logit(frame["q50"].to_numpy()), level + 0.07, atol=1e-9)
    for low, high in (("q05", "q50"), ("q50", "q95")):
        width = logit(frame[high].to_numpy()) - logit(frame[low].to_numpy())
        np.testing.assert_allclose(width, 1.6448536269514722 * 0.30, atol=1e-9)


def test_elicited_errors_have_the_worlds_spread():
    noisy, quiet = (
        simulate_custody(15, World(elicited_error=error), sites=150).frames["evidence/elicited.csv"]
        for error in (0.25, 0.0)
    )
    error = logit(noisy["q50"].to_numpy()) - logit(quiet["q50"].to_numpy())
    assert error.std() == pytest.approx(0.25, abs=5 * 0.25 / np.sqrt(2 * len(error)))
