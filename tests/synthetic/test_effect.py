"""Mix, effects and the truth that is computed from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cells import cells
from lndbayes.synthetic import World, plain, simulate
from lndbayes.synthetic.effect import draw_effect, draw_mix, ramp_at
from lndbayes.synthetic.layout import draw_layout, streams
from lndbayes.synthetic.truth import averted, saving_lines


def drawn(world, sites=27, seed=5):
    rngs = streams(seed)
    layout = draw_layout(world, sites, rngs)
    mix = draw_mix(world, layout, rngs)
    return layout, mix, draw_effect(world, layout, mix, rngs)


def test_ramp_by_hand():
    value = ramp_at(np.array([-5, -1, 0, 7, 400]), np.array([4.0]))
    np.testing.assert_allclose(
        value, [0, 0, 1 - np.exp(-0.125), 1 - np.exp(-1.875), 1.0], rtol=1e-12, atol=0
    )


def test_mix_rows_add_up_to_the_draw():
    layout, mix, _ = drawn(World())
    names = World().interventions
    total = mix.table.groupby(["site", "intervention"])["contacts"].sum().unstack()[list(names)]
    np.testing.assert_array_equal(total.to_numpy(), mix.contacts)
    np.testing.assert_allclose(mix.pooled, mix.contacts.sum(0) / mix.contacts.sum())
    assert (mix.table.groupby(["site", "month"]).size() == len(names)).all()
    index = {month: t for t, month in enumerate(layout.month)}
    for s, site in enumerate(layout.site):
        months = mix.table.loc[mix.table["site"] == site, "month"].map(index)
        assert months.min() >= layout.go_live[s]
    live = (layout.event_time >= 0).sum()
    present = len(mix.table) / len(names) / live
    assert present == pytest.approx(0.8, abs=5 * np.sqrt(0.16 / live))


def test_contacts_are_dirichlet_multinomial():
    world = World(mix_concentration=20.0)
    _, mix, _ = drawn(world, sites=300)
    n = mix.contacts.sum(axis=1, keepdims=True)
    expected = n * mix.share
    variance = expected * (1 - mix.share) * (n + 20) / 21
    z = (mix.contacts - expected) / np.sqrt(variance)
    # The standard error of a mean of 300 unit variances is .06 for near-normal shares, and more
    # where a share piles up at zero; a multinomial (no concentration) would give about 1/17.
    assert z.mean(axis=0) == pytest.approx(0, abs=5 / np.sqrt(300))
    assert (z**2).mean() == pytest.approx(1, abs=0.2)


def test_effect_is_the_formula():
    world = World(ramp_spread=0.4, go_live_step=0.07, wave_effects=(0.2, -0.1, -0.1))
    layout, mix, effect = drawn(world)
    known = layout.predecessor[~np.isnan(layout.predecessor)]
    for s in range(27):
        before = layout.predecessor[s] - known.mean()
        plateau = (
            -0.35
            + sum((mix.share[s, m] - mix.pooled[m]) * world.mix_effects[m] for m in range(5))
            + {1: 0.2, 2: -0.1, 3: -0.1}[int(layout.wave[s])]
            + (0.0 if np.isnan(before) else 0.10 * before)
            + effect.deviation[s]
        )
        assert effect.plateau[s] == pytest.approx(plateau, abs=1e-12)
        ramp = [1 - np.exp(-(e + 0.5) / effect.ramp_months[s]) for e in range(60)]
        g = layout.go_live[s]
        assert not effect.contrast[s, :g].any()
        np.testing.assert_allclose(
            effect.contrast[s, g:], plateau * np.array(ramp[: 96 - g]), atol=1e-12
        )
        # a step in recording moves the records and is no part of the effect
        assert not effect.recording[s, :g].any()
        assert (effect.recording[s, g:] == 0.07).all()
        window = plateau * np.mean(ramp[7:19])
        assert effect.window[s] == pytest.approx(window, abs=1e-12)
    np.testing.assert_allclose(effect.mix_effect, world.mix_effects, atol=1e-12)  # already zero-sum


def test_component_effects_are_centred():
    world = World(mix_effects=(1.0, 0.0, 0.0, 0.0, 0.0), wave_effects=(0.3, 0.0, 0.0))
    _, _, effect = drawn(world)
    np.testing.assert_allclose(effect.mix_effect, [0.8, -0.2, -0.2, -0.2, -0.2], atol=1e-12)
    np.testing.assert_allclose(effect.wave_effect, [0.2, -0.1, -0.1], atol=1e-12)


def test_laws_of_deviation_and_ramp():
    _, _, effect = drawn(World(), sites=300)
    assert effect.deviation.std() == pytest.approx(0.12, abs=5 * 0.12 / np.sqrt(600))
    spread = np.log(effect.ramp_months / 4.0)
    assert spread.std() == pytest.approx(0.25, abs=5 * 0.25 / np.sqrt(600))
    assert spread.mean() == pytest.approx(0, abs=5 * 0.25 / np.sqrt(300))


def test_events_and_savings_by_hand():
    exposure = np.array([[10, 20, 30], [40, 50, 60]])
    without = np.array([[0.5, 0.5, 0.5], [0.2, 0.2, 0.2]])
    with_service = np.array([[0.5, 0.4, 0.3], [0.2, 0.2, 0.25]])
    counted = np.array([[False, True, True], [False, False, True]])
    events = averted(exposure, without, with_service, counted)
    # 20 x .1 + 30 x .2 = 8; 60 x (-.05) = -3: more events with the service.
    np.testing.assert_allclose(events, [8.0, -3.0])
    world = World(
        time_served_years=0.5,
        place_cost=20_000.0,
        alternative_cost=1_000.0,
        employment_probability=0.1,
        output_per_year=10_000.0,
    )
    lines = saving_lines(world, events)
    # One averted sentence: half a year at 20,000; less 1,000; plus half a year at .1 x 10,000.
    np.testing.assert_allclose(lines["place_time"], [80_000, -30_000])
    np.testing.assert_allclose(lines["alternative_sentence"], [-8_000, 3_000])
    np.testing.assert_allclose(lines["productivity"], [4_000, -1_500])
    np.testing.assert_allclose(lines["total"], [76_000, -28_500])


def test_truth_of_two_sites_recomputed_from_the_tables():
    sim = simulate(12, "effect", sites=2)
    truth, outcomes = sim.truth, cells(sim)
    months, sites = truth["axes"]["month"], truth["axes"]["site"]
    rate = truth["baseline"]["rate"]
    expected = dict.fromkeys(sites, 0.0)
    differences = {site: {} for site in sites}
    for s, site in enumerate(sites):
        plateau, ramp_months = (truth["sites"][key][s] for key in ("plateau", "ramp_months"))
        for t in range(truth["sites"]["go_live"][s], 96):
            e = t - truth["sites"]["go_live"][s]
            eta0 = truth["baseline"]["eta0"][s][t]
            eta1 = eta0 + plateau * (1 - np.exp(-(e + 0.5) / ramp_months))
            p0, p1 = 1 / (1 + np.exp(-eta0)), 1 / (1 + np.exp(-eta1))
            assert rate[s][t] == pytest.approx(p0, abs=1e-12)
            differences[site][e] = p1 - p0
            row = outcomes[(outcomes["site"] == site) & (outcomes["month"] == months[t])]
            expected[site] += float(row["exposure"].sum()) * (p0 - p1)
    np.testing.assert_allclose(truth["sites"]["events_averted"], list(expected.values()))
    assert truth["events_averted"]["total"] == pytest.approx(sum(expected.values()))
    natural = [np.mean([differences[site][e] for e in range(7, 19)]) for site in sites]
    np.testing.assert_allclose(truth["sites"]["window_effect_natural"], natural)
    assert truth["pooled"]["window_effect"] == pytest.approx(
        np.mean(truth["sites"]["window_effect"])
    )
    assert truth["savings"]["total"] == pytest.approx(sum(truth["sites"]["saving"]))
    assert truth["sites"]["baseline_rate_before"] == pytest.approx(
        [np.mean(rate[s][24:36]) for s in range(2)]
    )


def test_natural_window_uses_only_months_of_the_grid():
    truth = simulate(3).truth
    # The last site goes live in month 84: of its window, months 91 to 102, the grid holds five.
    s, lam = 26, truth["sites"]["ramp_months"][26]
    eta0 = np.array(truth["baseline"]["eta0"][s][91:])
    eta1 = eta0 + truth["sites"]["plateau"][s] * (1 - np.exp(-(np.arange(7, 12) + 0.5) / lam))
    expected = np.mean(1 / (1 + np.exp(-eta1)) - 1 / (1 + np.exp(-eta0)))
    assert truth["sites"]["window_effect_natural"][s] == pytest.approx(expected, abs=1e-12)
    late = simulate(3, World(months=96, panel_start=45)).truth
    assert late["sites"]["window_effect_natural"][26] is None


def test_null_is_exactly_zero():
    truth = simulate(4, "null").truth
    for key in ("plateau", "window_effect", "window_effect_natural", "events_averted", "saving"):
        assert truth["sites"][key] == [0.0] * 27
    assert truth["sites"]["events_averted_realised"] == [0] * 27
    assert set(truth["pooled"].values()) == {0.0}
    assert truth["new_site"]["window_effect"] == 0.0
    assert truth["savings"]["total"] == 0.0


def test_harm_is_effect_moved_up():
    effect, harm = simulate(4, "effect").truth, simulate(4, "harm").truth
    shift = np.subtract(harm["sites"]["plateau"], effect["sites"]["plateau"])
    np.testing.assert_allclose(shift, 0.7, atol=1e-12)
    assert harm["events_averted"]["total"] < 0 < effect["events_averted"]["total"]
    assert harm["events_averted"]["realised_total"] < 0


def test_realised_events_scatter_round_the_expected_ones():
    truth = simulate(6, World(missing_share=0.0, missing_year_sites=0), sites=300).truth
    expected = np.array(truth["sites"]["events_averted"])
    difference = np.array(truth["sites"]["events_averted_realised"]) - expected
    # Given the rates, a site's realised events are unbiased for the expected ones.
    assert abs(difference.sum()) < 5 * np.sqrt((difference**2).sum())
    # The same random numbers make them close: within a few per cent in total.
    assert difference.sum() / expected.sum() == pytest.approx(0, abs=0.03)


def test_new_site_has_the_law_of_the_sites():
    world = replace(World(), predecessor_effect=0.0, wave_effects=(0.0, 0.0, 0.0))
    plateaus = [
        simulate(seed, world, sites=4, outcomes=("custody",)).truth["new_site"]["plateau"]
        for seed in range(60)
    ]
    # Standard deviation: .12 of the site itself and about .04 from its mix; four standard errors.
    assert np.mean(plateaus) == pytest.approx(-0.35, abs=4 * 0.13 / np.sqrt(60))
    assert 0.08 < np.std(plateaus) < 0.18


def test_plain_has_one_ramp_and_honest_experts():
    world = plain(World())
    assert (world.elicited_error, world.ramp_spread, world.shock_sd) == (0.30, 0.0, 0.0)
    truth = simulate(2, world).truth
    assert truth["sites"]["ramp_months"] == [4.0] * 27
    assert np.shape(truth["parameters"]["national_curve"]) == (8,)
    assert np.shape(truth["parameters"]["site_curve"]) == (4, 27)
    assert simulate(2).truth["parameters"]["national_curve"] is None
