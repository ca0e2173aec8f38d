"""The outcomes beside custody: laws, exact zeros, common random numbers, truth."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from cells import cells, of_outcome
from lndbayes.synthetic import NAMES, WORLDS, World, plain
from lndbayes.synthetic import simulate as fresh
from lndbayes.synthetic.bands import band_logits
from lndbayes.synthetic.counts import dispersion, stage_shares
from lndbayes.synthetic.effect import draw_mix, ramp_at
from lndbayes.synthetic.exposures import draw_exposures, shared_streams
from lndbayes.synthetic.families import followed_bins
from lndbayes.synthetic.layout import draw_layout, streams
from lndbayes.synthetic.others import draw_others, seam_steps
from lndbayes.synthetic.outcome_effect import pulse_at
from lndbayes.synthetic.outcomes import OTHERS
from lndbayes.synthetic.surface import expit, logit

#: Nothing below changes what it is given.
simulate = cache(fresh)

ZERO = ("offending", "court_duration", "hearings")
HEALTH = [name for name, outcome in OTHERS.items() if outcome.factor == "health"]
RATES = [name for name, outcome in OTHERS.items() if outcome.family == "negative_binomial"]


@cache
def drawn(world=WORLDS["effect"], names=NAMES, sites=27, seed=5):
    rngs = streams(seed)
    layout = draw_layout(world, sites, rngs)
    mix = draw_mix(world, layout, rngs)
    return layout, mix, draw_others(seed, names, world, layout, mix)


#: SHA-256 of site, month, exposure and custodial sentences as they were before sentences had
#: lengths and other outcomes existed.
TOTALS = {
    (20140401, "effect", 27): "bde5c75359cf037adc8159ba24f91385f9fd53e36b72c693eb85919ec2c88b7c",
    (21, "null", 27): "2b85008e9e51cd66ed6e6629022b116a511cbffc83489d5454496432608b4aff",
    (7, "harm", 5): "6bb20c2cd601b8acfff5cd4dab5b8074625a655a2793371007258b4c6ced6d77",
}


@pytest.mark.parametrize(("arguments", "digest"), TOTALS.items())
def test_custody_keeps_its_totals(arguments, digest):
    for outcomes in (None, ("custody",)):
        text = cells(simulate(*arguments, outcomes=outcomes)).to_csv(
            index=False, lineterminator="\n"
        )
        assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_an_outcome_does_not_depend_on_the_others_asked_for():
    whole = simulate(4)
    for names in (("mh_attendances",), ("hearings", "custody"), ("wellbeing", "offending")):
        part = simulate(4, outcomes=names)
        assert set(part.frames["outcomes.csv"]["outcome"]) == set(names)
        for name in names:
            for table in ("outcomes.csv", "evidence/national.csv", "evidence/history.csv"):
                pd.testing.assert_frame_equal(
                    of_outcome(part, table, name), of_outcome(whole, table, name)
                )
            assert part.truth["outcomes"][name] == whole.truth["outcomes"][name]
    assert len(simulate(4, outcomes=("hearings",)).frames["evidence/elicited.csv"]) == 0


def test_null_has_no_effect_on_anything():
    sim = simulate(4, "null")
    for name, truth in sim.truth["outcomes"].items():
        for key in ("plateau", "window_effect", "window_effect_natural", "events_averted"):
            assert truth["sites"][key] == [0.0] * 27, (name, key)
        assert truth["sites"]["events_averted_realised"] == [0] * 27
        assert truth["pulse"]["peak"] == 0.0
        assert not any(truth["pooled"].values())
    selection = sim.truth["outcomes"]["wellbeing"]["selection"]["pooled"]
    assert selection["newcomer_share"] == 0.0
    assert selection["naive_window_effect"] == pytest.approx(0, abs=1e-12)
    _, _, others = drawn(WORLDS["null"])
    for one in others.values():
        assert not one.effect.contrast.any()
        np.testing.assert_array_equal(one.counts.count, one.counts.untreated)


@pytest.mark.parametrize("world", ["effect", "harm"])
def test_three_outcomes_have_no_effect_in_any_world(world):
    _, _, others = drawn(WORLDS[world])
    truth = simulate(5, world).truth["outcomes"]
    for name, one in others.items():
        zero = name in ZERO
        assert (not one.effect.contrast.any()) is zero
        assert (not one.effect.deviation.any()) is zero
        assert np.array_equal(one.counts.count, one.counts.untreated) is zero
        assert (truth[name]["events_averted"]["total"] == 0.0) is zero
    assert truth["iapt_attendances"]["pooled"]["plateau"] == pytest.approx(0, abs=0.08)


def test_harm_changes_custody_alone():
    effect, harm = simulate(6), simulate(6, "harm")
    for name in NAMES:
        same = of_outcome(effect, "outcomes.csv", name).equals(
            of_outcome(harm, "outcomes.csv", name)
        )
        assert same is (name != "custody")


def test_counts_before_go_live_are_those_of_null():
    null, effect = (drawn(WORLDS[w])[2] for w in ("null", "effect"))
    layout = drawn()[0]
    before = layout.event_time < 0
    for name in OTHERS:
        one, two = null[name].counts.count, effect[name].counts.count
        np.testing.assert_array_equal(one[:, before], two[:, before])
        np.testing.assert_array_equal(null[name].counts.untreated, effect[name].counts.untreated)


def test_pulse_by_hand():
    found = pulse_at(np.array([-3, -1, 0, 1, 2, 60]), 0.6, 2.0)
    u = np.array([0.5, 1.5, 2.5, 60.5]) / 2
    np.testing.assert_allclose(found, [0, 0, *(0.6 * u * np.exp(1 - u))], atol=1e-15)
    fine = 0.6 * np.linspace(0, 6, 601) * np.exp(1 - np.linspace(0, 6, 601))
    assert fine.max() == pytest.approx(0.6)


def test_effects_are_the_formula():
    layout, mix, others = drawn()
    for name, one in others.items():
        outcome, effect = one.outcome, one.effect
        weights = np.array(outcome.mix_effects) - np.mean(outcome.mix_effects)
        for s in (0, 12, 26):
            plateau = outcome.effect_mean + effect.deviation[s]
            plateau += sum((mix.share[s, m] - mix.pooled[m]) * weights[m] for m in range(5))
            assert effect.plateau[s] == pytest.approx(plateau, abs=1e-12)
            e = layout.event_time[s]
            pulse = 0.6 if name == "mh_referrals" else 0.0
            u = (np.maximum(e, 0) + 0.5) / 2.0
            wanted = plateau * (1 - np.exp(-(np.maximum(e, 0) + 0.5) / effect.ramp_months[s]))
            wanted = np.where(e >= 0, wanted + pulse * u * np.exp(1 - u), 0.0)
            np.testing.assert_allclose(effect.contrast[s], wanted, atol=1e-12)
            months = np.arange(7, 19)
            ramp = ramp_at(months, effect.ramp_months[s : s + 1]).mean()
            u = (months + 0.5) / 2.0
            window = plateau * ramp + np.mean(pulse * u * np.exp(1 - u))
            assert effect.window[s] == pytest.approx(window, abs=1e-12)
            assert effect.window_ramp[s] == pytest.approx(plateau * ramp, abs=1e-12)


def test_health_outcomes_share_a_factor_and_custody_does_not():
    _, _, others = drawn(names=tuple(HEALTH), sites=100)
    deviation = np.array([others[name].effect.deviation for name in HEALTH])
    loading = np.array([OTHERS[name].factor_loading for name in HEALTH])
    # Five standard errors of a standard deviation, and of a correlation, of 100 sites.
    np.testing.assert_allclose(deviation.std(axis=1), 0.08, atol=5 * 0.08 / np.sqrt(200))
    expected = np.outer(loading, loading)
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(np.corrcoef(deviation), expected, atol=5 / np.sqrt(100))
    # Tolerances of single correlations would pass independent outcomes; all together do not.
    z = (
        (deviation / 0.08).T
        @ loading
        / np.sqrt((loading**2).sum() ** 2 + (loading**2 * (1 - loading**2)).sum())
    )
    assert z.std() == pytest.approx(1, abs=5 / np.sqrt(200))
    custody = simulate(5, sites=100, outcomes=("custody",)).truth["parameters"]["site_deviation"]
    found = np.corrcoef(np.vstack([deviation, custody]))[-1, :-1]
    assert np.abs(found).max() < 4 / np.sqrt(100)


def test_justice_outcomes_would_share_a_factor_of_their_own(monkeypatch):
    loud = {
        name: replace(one, site_effect_sd=0.08) if one.factor == "justice" else one
        for name, one in OTHERS.items()
    }
    # The package's `simulate` is a function too, so the module has to be asked for by its path.
    monkeypatch.setattr(importlib.import_module("lndbayes.synthetic.others"), "OTHERS", loud)
    _, _, others = drawn.__wrapped__(
        names=("mh_referrals", "hearings", "court_duration"), sites=300
    )
    names = ("court_duration", "hearings", "mh_referrals")
    found = np.corrcoef([others[name].effect.deviation for name in names])
    # Loadings 0.5 and -0.5, and 0 between the groups; four standard errors of 300 sites.
    assert found[0, 1] == pytest.approx(-0.25, abs=4 / np.sqrt(300))
    np.testing.assert_allclose(found[2, :2], 0.0, atol=4 / np.sqrt(300))


def test_seams_are_steps_of_the_untreated_surface():
    layout, _, others = drawn()
    month = {name: t for t, name in enumerate(layout.month)}
    steps = seam_steps(OTHERS["mh_referrals"], layout)
    np.testing.assert_allclose(steps[: month["2014-09"]], 0)
    np.testing.assert_allclose(steps[month["2014-09"] : month["2016-01"]], -0.12)
    np.testing.assert_allclose(steps[month["2016-01"] :], -0.02)
    for one in others.values():
        added = one.cells.eta0 - one.surface.eta0
        np.testing.assert_allclose(
            added, np.tile(seam_steps(one.outcome, layout), (27, 1)), atol=1e-12
        )
        assert np.abs([s for _, s in one.outcome.seams] or [0]).max() <= 0.12
    assert set(OTHERS["ae_attendances"].seams) == {("2017-10", -0.1)}


def test_surfaces_have_the_outcomes_own_parameters():
    _, _, others = drawn()
    for name, one in others.items():
        outcome, level = one.outcome, one.surface.level
        sd = outcome.site_level_sd
        assert level.mean() == pytest.approx(outcome.level, abs=5 * sd / np.sqrt(27)), name
        assert level.std() == pytest.approx(sd, abs=5 * sd / np.sqrt(54)), name
    truth = simulate(3, plain(World()), outcomes=("iapt_referrals",)).truth["outcomes"]
    assert np.shape(truth["iapt_referrals"]["parameters"]["national_curve"]) == (8,)
    assert np.shape(truth["iapt_referrals"]["parameters"]["site_curve"]) == (4, 27)
    assert truth["iapt_referrals"]["sites"]["ramp_months"] == [4.0] * 27


def test_rates_have_the_stated_mean_and_variance():
    _, _, others = drawn(names=tuple(RATES), sites=100)
    for name in RATES:
        one = others[name]
        outcome, exposure = one.outcome, one.counts.exposure
        mean = exposure * one.cells.coverage * np.exp(one.cells.eta1)
        size = dispersion(exposure, outcome.unit_dispersion, outcome.concentration)
        z = (one.counts.count[0] - mean)[one.published]
        z = z / np.sqrt(mean + mean**2 / size)[one.published]
        assert z.mean() == pytest.approx(0, abs=5 / np.sqrt(z.size)), name
        assert (z**2).mean() == pytest.approx(1, abs=5 * (z**2).std() / np.sqrt(z.size)), name
        # The newest months alone, in which part of the events is not in yet.
        newest = (one.counts.count[0] - mean)[:, -3:].sum() / mean[:, -3:].sum()
        assert newest == pytest.approx(0, abs=0.06), name
        if outcome.exposure_outcome:
            np.testing.assert_array_equal(
                exposure, others[outcome.exposure_outcome].counts.count[0]
            )


def test_coverage_thins_the_newest_reports():
    sim = simulate(3)
    rows = sim.frames["outcomes.csv"]
    given = rows[rows["coverage"].notna()]
    assert set(given["outcome"]) == {"drug_alcohol_referrals", "drug_alcohol_attendances"}
    by_month = given.groupby("month")["coverage"].agg(["min", "max"])
    assert by_month["min"].tolist() == by_month["max"].tolist() == [0.95, 0.85, 0.6]
    assert by_month.index.tolist() == sim.truth["axes"]["month"][-3:]


def test_offending_is_beta_binomial_with_its_rate():
    _, _, others = drawn(names=("offending",), sites=50)
    one = others["offending"]
    n, rate = one.counts.exposure, expit(one.cells.eta1)
    inflation = (n + 400.0) / 401.0
    z = ((one.counts.count[0] - n * rate) / np.sqrt(n * rate * (1 - rate) * inflation))[
        one.published
    ]
    assert z.mean() == pytest.approx(0, abs=5 / np.sqrt(z.size))
    assert (z**2).mean() == pytest.approx(1, abs=5 * (z**2).std() / np.sqrt(z.size))


def test_hearings_are_at_least_one_a_case():
    found = cells(simulate(8, outcomes=("hearings",)), "hearings")
    assert (found["count"] >= found["exposure"]).all()
    _, _, others = drawn(names=("hearings",), sites=100)
    one = others["hearings"]
    mean = one.counts.exposure * np.exp(one.cells.eta0)
    further = one.counts.count[0] - one.counts.exposure
    assert further.sum() / mean.sum() == pytest.approx(1, abs=0.01)


def test_cases_are_open_only_where_their_time_is_not_over():
    np.testing.assert_array_equal(followed_bins(9, 5), [4, 4, 4, 3, 3, 3, 2, 2, 1])
    rows = of_outcome(simulate(9, outcomes=("court_duration",)), "outcomes.csv", "court_duration")
    assert sorted(rows["category"].unique()) == [
        "1 first hearing",
        "2 to 30 days",
        "2 to 30 days open",
        "3 to 90 days",
        "3 to 90 days open",
        "4 to 180 days",
        "4 to 180 days open",
        "5 over 180 days",
    ]
    wide = rows.pivot_table(index=["site", "month", "exposure"], columns="category", values="count")
    assert (wide.sum(axis=1) == wide.index.get_level_values("exposure")).all()
    filled = (wide > 0).groupby("month").any()
    last = sorted(set(rows["month"]))
    assert filled.loc[last[-1], "2 to 30 days open"]
    assert not filled.loc[last[-1], ["2 to 30 days", "3 to 90 days", "3 to 90 days open"]].any()
    assert not filled.loc[last[-3], ["3 to 90 days", "4 to 180 days", "2 to 30 days open"]].any()
    assert not filled.loc[last[:-6], [c for c in wide if c.endswith("open")]].any().any()
    first = wide["1 first hearing"].sum() / wide.index.get_level_values("exposure").to_numpy().sum()
    assert first == pytest.approx(0.55, abs=0.06)


def test_changes_have_the_shares_of_their_stages():
    """Null has no newcomers, so the table is one law throughout."""
    _, _, others = drawn(WORLDS["null"], names=("wellbeing",), sites=80)
    one = others["wellbeing"]
    table = one.counts.count.reshape(4, 4, *one.counts.exposure.shape)
    np.testing.assert_array_equal(table.sum(axis=(0, 1)), one.counts.exposure)
    start = table.sum(axis=(1, 2, 3)) / table.sum()
    np.testing.assert_allclose(start, one.outcome.start, atol=0.01)
    for g, constants in enumerate(one.outcome.stages):
        share = stage_shares([a + one.cells.eta0 for a in constants])
        n = table[g].sum(axis=0)
        expected = (n * share).sum(axis=(1, 2))
        found, p = table[g].sum(axis=(1, 2)) / n.sum(), expected / n.sum()
        # Few persons a cell, so hardly more than multinomial: five standard errors.
        assert (np.abs(found - p) < 5 * np.sqrt(p * (1 - p) / n.sum())).all()


def test_who_is_new_in_treatment_hides_the_effect():
    layout, _, others = drawn(names=("wellbeing",), sites=80)
    one = others["wellbeing"]
    late = layout.event_time >= 24
    table = one.counts.count.reshape(4, 4, *layout.exposure.shape)[:, :, late].sum(axis=2)
    untreated = one.counts.untreated.reshape(4, 4, *layout.exposure.shape)[:, :, late].sum(axis=2)
    share = 1 - untreated.sum() / table.sum()
    assert share == pytest.approx(0.3 / 1.3, abs=0.01)
    seen, without = (logit(1 - t[0, 0] / t[0].sum()) for t in (table, untreated))
    always = one.effect.plateau.mean()
    assert always == pytest.approx(0.15, abs=0.03)
    assert seen - without < always - 0.08
    truth = simulate(5, sites=80, outcomes=("wellbeing",)).truth["outcomes"]["wellbeing"][
        "selection"
    ]["pooled"]
    assert truth["naive_window_effect"] == pytest.approx(seen - without, abs=0.05)
    assert truth["newcomer_share"] == pytest.approx(share, abs=0.03)


def test_averted_sentences_come_from_the_short_end():
    sim = simulate(10, sites=100, outcomes=("custody",))
    bands = sim.truth["outcomes"]["custody"]["bands"]
    assert sum(bands["events_averted"]) == pytest.approx(sim.truth["events_averted"]["total"])
    assert sum(bands["events_averted_realised"]) == sim.truth["events_averted"]["realised_total"]
    rows = of_outcome(sim, "outcomes.csv")
    totals = rows.groupby("category")["count"].sum()
    assert totals.index.tolist() == bands["names"]
    lost = np.array(bands["events_averted"]) / (totals.to_numpy() + bands["events_averted"])
    assert (np.diff(lost) < 0).all()
    null = simulate(10, "null", sites=100, outcomes=("custody",)).truth["outcomes"]["custody"][
        "bands"
    ]
    assert null["events_averted"] == [0.0] * 4
    assert null["events_averted_realised"] == [0] * 4


def test_bands_follow_their_stages():
    sim = simulate(11, sites=200, outcomes=("custody",))
    world, truth = World(), sim.truth
    site = {name: s for s, name in enumerate(truth["axes"]["site"])}
    month = {name: t for t, name in enumerate(truth["axes"]["month"])}
    wide = of_outcome(sim, "outcomes.csv").pivot_table(
        index=["site", "month"], columns="category", values="count"
    )
    s, t = (wide.index.get_level_values(k).map(at) for k, at in (("site", site), ("month", month)))
    e = t.to_numpy() - np.array(truth["sites"]["go_live"])[s]
    ramp = ramp_at(e, np.array(truth["sites"]["ramp_months"])[s])
    contrast = ramp * np.array(truth["sites"]["plateau"])[s]
    eta0 = np.array(truth["baseline"]["eta0"])[s, t]
    own = np.array(truth["outcomes"]["custody"]["bands"]["site"])[s]
    by_hand = [a + 0.1 * (eta0 + 2.0) - 0.6 * contrast + own for a in (0.3, 0.2, 0.3)]
    found = band_logits(world, eta0, contrast, own, ramp)
    np.testing.assert_allclose(found, by_hand, atol=1e-12)
    assert 0.05 < np.unique(own).std() < 0.3
    share = stage_shares(by_hand)
    total = wide.sum(axis=1).to_numpy()
    for k in range(4):
        p = (total * share[k]).sum() / total.sum()
        found = wide.iloc[:, k].sum() / total.sum()
        assert found == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / total.sum()))


def test_events_averted_recomputed_from_the_tables():
    sim = simulate(12, sites=3, outcomes=("ae_attendances", "drug_alcohol_attendances"))
    layout, _, others = drawn(
        sites=3, seed=12, names=("ae_attendances", "drug_alcohol_attendances")
    )
    for name, one in others.items():
        rows = cells(sim, name)
        wanted = dict.fromkeys(layout.site, 0.0)
        for row in rows.itertuples():
            s, t = layout.site.index(row.site), layout.month.index(row.month)
            if layout.event_time[s, t] >= 0:
                wanted[row.site] += row.exposure * (
                    np.exp(one.cells.eta0[s, t]) - np.exp(one.cells.eta1[s, t])
                )
        truth = sim.truth["outcomes"][name]
        np.testing.assert_allclose(truth["sites"]["events_averted"], list(wanted.values()))
        assert truth["events_averted"]["total"] == pytest.approx(sum(wanted.values()))
        before = np.exp(one.cells.eta0)[:, 24:36].mean(axis=1)
        np.testing.assert_allclose(truth["sites"]["baseline_rate_before"], before)


def test_realised_events_are_close_to_the_expected_ones():
    truth = simulate(6, sites=60, outcomes=(*RATES, "wellbeing")).truth["outcomes"]
    for name in (*RATES, "wellbeing"):
        total, realised = (truth[name]["events_averted"][k] for k in ("total", "realised_total"))
        # The same random numbers make them close; near zero there is no ratio to speak of.
        if abs(total) > 2000:
            assert realised / total == pytest.approx(1, abs=0.06), name
    given = truth["mh_attendances"]["events_averted"]
    assert given["total_through_referrals"] < 2 * given["total"] < 0


def test_national_series_begin_with_their_source():
    quiet = World(national_noise=1e-12)
    sim = simulate(13, quiet)
    frame, sites = sim.frames["evidence/national.csv"], sim.frames["sites.csv"]
    assert set(NAMES) - set(frame["outcome"]) == {"wellbeing", "hearings", "court_duration"}
    layout, _, others = drawn(quiet, seed=13)
    weight = (sites["population"] / sites["population"].sum()).to_numpy()
    for name, rows in frame[frame["outcome"] != "custody"].groupby("outcome"):
        one = others[str(name)]
        first = 36 - one.outcome.lead
        assert rows["month"].tolist() == list(layout.month[first:36:3])
        log = one.outcome.family != "beta_binomial"
        rate = np.exp(one.cells.eta0) if log else expit(one.cells.eta0)
        for q, found in enumerate(rows["rate"]):
            pooled = weight @ rate[:, first + 3 * q : first + 3 * q + 3].mean(axis=1)
            link = np.log if log else logit
            assert link(found) == pytest.approx(
                link(pooled) + one.outcome.national_offset, abs=1e-9
            )
    noisy = simulate(13).frames["evidence/national.csv"]
    rates = noisy[noisy["outcome"].isin(RATES)]
    np.testing.assert_allclose(rates["se"], 0.02 * rates["rate"])


@pytest.mark.parametrize("name", ["ae_attendances", "mh_referrals", "offending"])
def test_histories_lie_before_go_live_and_rise_towards_referral(name):
    world = World(history_persons=200_000.0)
    frame = of_outcome(simulate(8, world, outcomes=(name,)), "evidence/history.csv", name)
    layout, _, others = drawn(world, seed=8, names=(name,))
    one = others[name]
    s = frame["site"].map({site: k for k, site in enumerate(layout.site)}).to_numpy()
    t = frame["calendar_month"].map({month: k for k, month in enumerate(layout.month)}).to_numpy()
    before = -frame["months_from_referral"].to_numpy()
    assert (t + 3 < layout.go_live[s]).all()
    assert (t + before == 74).all()
    peak, recovery, selection = one.outcome.crisis
    eta = one.cells.eta0[s, t] + selection + peak * np.exp(-(before - 1) / recovery)
    rate = expit(eta) if name == "offending" else np.exp(eta)
    ratio = frame["count"].to_numpy() / (frame["persons"].to_numpy() * rate)
    # A cell's own spread is at most 1 / sqrt(80).
    assert ratio.mean() == pytest.approx(1, abs=5 / np.sqrt(80 * len(ratio)))
    flat = (
        frame["count"].to_numpy()
        / (frame["persons"].to_numpy() * rate)
        * np.exp(peak * np.exp(-(before - 1) / recovery))
    )
    assert np.corrcoef(flat, before)[0, 1] < -0.3


def test_only_some_outcomes_have_histories():
    frames = simulate(8).frames
    history = set(frames["evidence/history.csv"]["outcome"])
    assert history == {"custody", "offending", "ae_attendances", "mh_referrals"}
    for name in ("retrospective", "elicited"):
        assert set(frames[f"evidence/{name}.csv"]["outcome"]) == {"custody"}


def test_cohort_is_a_year_of_contacts_and_moves_slowly():
    layout = draw_layout(World(), 100, streams(2))
    exposures = draw_exposures(layout, shared_streams(2))
    cohort = exposures["person_months"]
    ratio = cohort.mean(axis=1) / layout.size
    # Twelve months of Poisson contacts over 96 overlapping windows: about 9 independent ones.
    assert ratio.mean() == pytest.approx(12, abs=0.2)
    steps = np.abs(np.diff(cohort, axis=1)).mean()
    assert steps < 0.05 * cohort.mean()
    assert (exposures["at_liberty"] <= cohort).all()


def test_first_months_are_those_of_the_sources():
    sim = simulate(20140401)
    first = sim.frames["outcomes.csv"].groupby("outcome")["month"].min()
    years = {24: "2012-04", 12: "2013-04", 0: "2014-04"}
    for name, outcome in OTHERS.items():
        assert first[name] == years[outcome.lead] == sim.truth["outcomes"][name]["first_month"]
    assert (sim.frames["outcomes.csv"]["exposure"] > 0).all()
    early = simulate(1, World(panel_start=12), outcomes=("ae_attendances",))
    assert early.frames["outcomes.csv"]["month"].min() == "2011-04"


def test_truth_names_every_outcome():
    truth = simulate(1).truth["outcomes"]
    assert list(truth) == list(NAMES)
    for name, one in truth.items():
        assert one["pooled"]["window_effect"] == pytest.approx(
            np.mean(one["sites"]["window_effect"])
        )
        assert len(one["sites"]["plateau"]) == 27, name
    assert truth["mh_referrals"]["pulse"] == {"peak": 0.6, "months": 2.0}
