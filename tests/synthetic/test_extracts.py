"""The persons' lives: needs, crisis, effects of the service, and what the worlds share.

Tolerances are 4.5 standard errors of the binomial or Poisson count that a test looks at, so that
about one in 100,000 such comparisons would fail by chance; the seed is fixed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lndbayes.base.errors import SpecError
from lndbayes.synthetic import simulate
from lndbayes.synthetic.extracts import EXTRACT_WORLDS, SOURCES, ExtractWorld, simulate_extracts

GRID = ("2011-04", "2019-03")
SITES = simulate(31).frames["sites.csv"]
Z = 4.5


def extracts(world="effect", scale=0.02, seed=31):
    return simulate_extracts(SITES, *GRID, seed=seed, world=world, persons_scale=scale)


@pytest.fixture(scope="module")
def large():
    return extracts(scale=0.3)


@pytest.fixture(scope="module")
def worlds():
    return {name: extracts(name, scale=0.1) for name in EXTRACT_WORLDS}


def near(count, size, share):
    """Whether a binomial count is where its share puts it."""
    return abs(count - size * share) <= Z * np.sqrt(size * share * (1 - share)) + 1e-9


def month_of(day):
    return pd.Series(np.asarray(day, dtype="datetime64[D]").astype("datetime64[M]").astype(int))


def since_contact(sim, rows):
    """Calendar months from the person's contact to each row."""
    contact = month_of(sim.frames["persons"]["contact_date"].to_numpy()).to_numpy()
    return month_of(rows["day"].to_numpy()).to_numpy() - contact[rows["person"]]


def test_needs_have_their_shares_and_come_together(large):
    persons, world = large.frames["persons"], ExtractWorld()
    flags = persons[["mental_health", "drug_alcohol", "other_need"]].astype(bool)
    size = len(persons)
    assert near(flags["mental_health"].sum(), size, 0.71)
    assert near(flags["drug_alcohol"].sum(), size, 0.52)
    assert near(flags.any(axis=1).sum(), size, 0.88)
    assert near((flags["mental_health"] & flags["drug_alcohol"]).sum(), size, world.share_both)
    # more persons without any need than independence would have, and each pair together more often
    assert (~flags).all(axis=1).mean() > (1 - flags.mean()).prod() + 0.02
    for a, b in (("mental_health", "drug_alcohol"), ("mental_health", "other_need")):
        assert (flags[a] & flags[b]).mean() > flags[a].mean() * flags[b].mean()


def test_consent_falls_with_need_and_stays_between_its_ends(large):
    persons = large.frames["persons"]
    needs = persons[["mental_health", "drug_alcohol", "other_need"]].sum(axis=1)
    rate = persons.groupby(needs)["consented"].mean()
    assert rate.is_monotonic_decreasing
    assert rate.loc[0] - rate.loc[3] > 0.05
    assert rate.between(0.55, 0.80).all()


def test_each_source_fails_to_find_its_share_of_persons(large):
    persons = large.frames["persons"]
    for source in SOURCES:
        missed = ExtractWorld().source(source).missed
        assert 0.04 <= missed <= 0.12
        assert near((persons[f"matched_{source}"] == 0).sum(), len(persons), missed), source


@pytest.mark.parametrize(
    ("source", "kind", "law"),
    [("hes_ae", "attendance", "ae"), ("mhsds", "referral", "mh")],
)
def test_the_crisis_peaks_at_contact_and_decays_alike_on_both_sides(large, source, kind, law):
    rows = large.complete[source]
    rows = rows[rows["untreated"] & (rows["kind"] == kind)]
    # persons whose whole simulated span is inside the grid and who live through it
    persons, world = large.frames["persons"], ExtractWorld()
    contact = month_of(persons["contact_date"].to_numpy()) - month_of(["2011-04-01"])[0]
    whole = contact.between(36, 96 - 18).to_numpy() & persons["death_date"].isna().to_numpy()
    rows = rows[whole[rows["person"]]]
    count = np.bincount(since_contact(large, rows) + 36, minlength=54)
    assert count.argmax() == 36
    for j in range(1, 13):
        before, after = count[36 - j], count[36 + j]
        assert near(before, before + after, 0.5), j
    peak = getattr(world, law).crisis
    # at 24 to 36 months before nothing of the crisis is left but a thousandth
    assert np.log(count[36] / count[:13].mean()) == pytest.approx(
        peak, abs=Z * np.sqrt(1 / count[36] + 1 / count[:13].sum()) + 0.05
    )
    # follow-up falls back by itself: regression to the mean without any service
    assert count[36:39].sum() > 1.2 * count[45:48].sum()


def test_offences_peak_at_contact_too(large):
    rows = large.complete["pnc"]
    rows = rows[rows["untreated"] & (rows["kind"] == "offence")]
    count = pd.Series(since_contact(large, rows)).value_counts()
    assert count.idxmax() == 0
    assert count[-3] > count[-12] > 0
    assert count[2] > count[11]


def test_some_persons_have_no_event_at_all(large):
    persons = large.frames["persons"]
    linked = persons["consented"].astype(bool)
    for source in SOURCES:
        linked &= persons[f"matched_{source}"] == 1
    seen = {i for source in SOURCES for i in large.frames[source]["study_id"]}
    silent = ~persons.loc[linked, "study_id"].isin(seen)
    assert 0.005 < silent.mean() < 0.3


def test_without_an_effect_the_two_lives_are_one(worlds):
    null = worlds["null"]
    for source in SOURCES:
        rows = null.complete[source]
        assert (rows["treated"] == rows["untreated"]).all(), source
    pnc, top = null.complete["pnc"], null.complete["ndtms"]
    assert (pnc["custody_days"] == pnc["custody_days_untreated"]).all()
    assert (top["score"] == top["score_untreated"]).all()
    for name, outcome in null.truth["outcomes"].items():
        assert not np.any(outcome["plateau"]), name
        assert not np.any(outcome["window_effect"]), name


def test_the_worlds_share_persons_and_untreated_lives(worlds):
    null = worlds["null"]
    for name in ("effect", "harm"):
        pd.testing.assert_frame_equal(worlds[name].frames["persons"], null.frames["persons"])
        pd.testing.assert_frame_equal(worlds[name].frames["referrals"], null.frames["referrals"])
        for source in ("hes_ae", "mhsds", "iapt"):
            lives = [
                sim.complete[source].query("untreated and kind in ('referral', 'attendance')")
                for sim in (worlds[name], null)
            ]
            if source != "hes_ae":  # what follows a referral has its own numbers
                lives = [rows[rows["kind"] == "referral"] for rows in lives]
            a, b = (r[["person", "day"]].sort_values(["person", "day"]).to_numpy() for r in lives)
            np.testing.assert_array_equal(a, b)
    harm, effect = (worlds[n].complete["pnc"]["custody_days_untreated"] for n in ("harm", "effect"))
    np.testing.assert_array_equal(harm, effect)


def test_what_the_service_leaves_alone_has_a_truth_of_exactly_zero(worlds):
    for sim in worlds.values():
        for name in ("offending", "court_duration", "hearings"):
            assert not np.any(sim.truth["outcomes"][name]["plateau"])
            assert not np.any(sim.truth["outcomes"][name]["window_effect"])


def test_custody_falls_or_rises_as_the_world_says_and_short_sentences_go_first(worlds):
    for name, sign in (("effect", -1), ("harm", 1)):
        custody = worlds[name].truth["follow_up_from_go_live"]["custody"]
        rates = {
            life: np.sum(custody[f"expected_{life}"]) / np.sum(custody[f"disposals_{life}"])
            for life in ("treated", "untreated")
        }
        shift = np.log(rates["treated"] / (1 - rates["treated"]))
        shift -= np.log(rates["untreated"] / (1 - rates["untreated"]))
        # sites weigh by their disposals; the ramp's first months and severity weaken it a little
        window = worlds[name].truth["outcomes"]["custody"]["window_effect"]
        expected = np.average(window, weights=custody["disposals_untreated"])
        assert shift == pytest.approx(expected, abs=0.05), name
        assert expected == pytest.approx(sign * 0.334, abs=Z * 0.17 / np.sqrt(27))
        assert np.sign(shift) == sign
    rows = worlds["effect"].complete["pnc"].query("kind == 'disposal'")
    averted = rows[(rows["custody_days"] == 0) & (rows["custody_days_untreated"] > 0)]
    assert len(averted) > 30
    short = {
        life: (days[days > 0] <= 91).mean()
        for life, days in (("t", rows["custody_days"]), ("u", rows["custody_days_untreated"]))
    }
    assert short["t"] < short["u"]


@pytest.mark.parametrize("source", ["hes_ae", "mhsds", "iapt", "ndtms"])
def test_the_service_changes_nothing_before_contact_or_go_live(large, source):
    rows = large.complete[source]
    rows = rows[(rows["parent"] < 0) & (rows["treated"] != rows["untreated"])]
    assert len(rows) > 100
    assert since_contact(large, rows).min() >= 0
    site = large.frames["persons"]["site"].to_numpy()[rows["person"]]
    live = pd.to_datetime(SITES.set_index("site")["go_live"] + "-01").loc[site]
    assert (rows["day"].to_numpy().astype("datetime64[D]") >= live.to_numpy()).all()


def test_referrals_to_mental_health_rise_with_a_pulse_that_passes(large):
    rows = large.complete["mhsds"]
    rows = rows[rows["kind"] == "referral"]
    persons = large.frames["persons"]
    site = persons["site"].to_numpy()[rows["person"]]
    live = SITES.set_index("site")["go_live"].map(lambda m: month_of([f"{m}-01"])[0])
    event_time = month_of(rows["day"].to_numpy()).to_numpy() - live.loc[site].to_numpy()
    followed = pd.Series(since_contact(large, rows)).between(0, 11).to_numpy()

    def ratio(first, last):
        here = rows[followed & (event_time >= first) & (event_time <= last)]
        return here["treated"].sum() / here["untreated"].sum(), here["untreated"].sum()

    before, n = ratio(-24, -1)
    assert before == 1.0
    assert n > 500
    early, n = ratio(0, 3)
    since = np.arange(4) + 0.5
    law = 0.10 * -np.expm1(-since / 4) + 0.6 * since / 2 * np.exp(1 - since / 2)
    # the number added is Poisson given the untreated
    assert early == pytest.approx(np.exp(law).mean(), abs=Z * np.sqrt(0.8 / n) + 0.05)
    late, n = ratio(18, 60)
    assert late == pytest.approx(np.exp(0.10), abs=Z * np.sqrt(0.11 / n) + 0.03)


def test_attendance_at_a_and_e_goes_down_by_what_the_truth_says(large):
    counted = large.truth["follow_up_from_go_live"]["ae_attendances"]
    treated, untreated = sum(counted["treated"]), sum(counted["untreated"])
    window = np.mean(large.truth["outcomes"]["ae_attendances"]["window_effect"])
    assert window == pytest.approx(-0.056, abs=Z * 0.03 / np.sqrt(27))
    # the number removed is binomial given the untreated; the ramp's first months weaken it
    assert np.log(treated / untreated) == pytest.approx(
        window, abs=Z * np.sqrt(0.06 / untreated) + 0.015
    )


def test_nobody_offends_while_in_custody(large):
    rows = large.complete["pnc"]
    rows = rows[rows["treated"]]
    terms = rows[rows["custody_days"] > 0]
    assert len(terms) > 1000
    pairs = terms.merge(rows[rows["kind"] == "offence"], on="person", suffixes=("_term", ""))
    inside = (pairs["day"] >= pairs["day_term"]) & (
        pairs["day"] <= pairs["day_term"] + pairs["custody_days_term"] / 2
    )
    assert len(pairs) > 1000
    assert not inside.any()


def test_the_same_seed_gives_the_same_extracts_and_another_gives_others():
    one, same, other = extracts(seed=7), extracts(seed=7), extracts(seed=8)
    for name, frame in one.frames.items():
        pd.testing.assert_frame_equal(frame, same.frames[name], check_exact=True)
    assert one.truth == same.truth
    assert not one.frames["persons"].equals(other.frames["persons"])


def test_few_sites_and_few_persons_do():
    few = simulate_extracts(SITES.head(2), *GRID, seed=1, persons_scale=0.0005)
    assert len(few.frames["persons"]) < 20
    assert set(few.frames) == {"sites", "sources", "persons", "referrals", *SOURCES}


def test_parameters_out_of_range_are_refused_all_at_once():
    world = ExtractWorld()
    with pytest.raises(SpecError) as caught:
        replace(
            world,
            crisis_months=0.0,
            share_both=0.6,
            index_case=float("nan"),
            ae=replace(world.ae, level=-1.0, need="housing"),
            pnc=replace(world.pnc, recorded=(0.9, 0.8)),
            offending=replace(world.offending, effect=0.1),
            interventions=("advice",),
        )
    assert {p.column for p in caught.value.problems} == {
        *("crisis_months", "share_both", "index_case", "ae.level", "ae.need"),
        *("pnc.recorded", "offending.effect", "mix_alpha", "custody_mix_effects"),
    }


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"seed": -1}, "seed"),
        ({"world": "none"}, "world"),
        ({"scale": float("nan")}, "persons_scale"),
    ],
)
def test_bad_arguments_are_refused(change, column):
    with pytest.raises(SpecError) as caught:
        extracts(**change)
    assert [p.column for p in caught.value.problems] == [column]
