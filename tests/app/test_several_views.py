"""Bounds, the before-after taken to pieces, products and bands of averted events."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import xarray as xr

from lndbayes.estimands.averted import averted_by_band, events_averted
from lndbayes.estimands.bounds import bounds_table, selection_bounds, trimmed
from lndbayes.estimands.effects import pooled_effect
from lndbayes.estimands.predictors import predictors
from lndbayes.estimands.regression_to_mean import before_after, before_after_table
from lndbayes.estimands.treated import treated_sites
from lndbayes.spec.families import inverse
from small import fake_fit

WINDOW = (2, 5)


# --- bounds ---------------------------------------------------------------------------------------


def test_bounds_of_ten_persons_by_hand() -> None:
    """Of ten measured six had the event; two would not be measured without the service."""
    low, high = trimmed(np.array(0.6), np.array(0.2))
    assert float(low) == pytest.approx(4 / 8)  # both newcomers had it
    assert float(high) == pytest.approx(6 / 8)  # neither had


def test_bounds_hold_every_way_of_choosing_the_newcomers() -> None:
    """Brute force over all sets of three newcomers among eight measured."""
    had = np.array([1, 1, 1, 0, 0, 1, 0, 1])
    shares = [np.delete(had, list(some)).mean() for some in itertools.combinations(range(8), 3)]
    low, high = trimmed(np.array(had.mean()), np.array(3 / 8))
    assert float(low) == pytest.approx(min(shares))
    assert float(high) == pytest.approx(max(shares))


def with_effect(value: float, **changes: Any) -> xr.DataTree:
    """A fit whose sites all have this effect at once, on the link scale."""
    fit = fake_fit(posterior={"site_effect": value, "ramp_months": 1e-3}, **changes)
    return fit


def test_an_inflow_widens_the_bounds_and_none_closes_them() -> None:
    fit = with_effect(0.3)
    none = selection_bounds(fit, with_effect(0.0), WINDOW)
    np.testing.assert_allclose(none["low"], none["naive"], atol=1e-12)
    np.testing.assert_allclose(none["high"], none["naive"], atol=1e-12)
    inflow = selection_bounds(fit, with_effect(np.log(1.25)), WINDOW)
    np.testing.assert_allclose(inflow["inflow"], 0.2, rtol=1e-6)
    assert (inflow["low"] < inflow["naive"]).all()
    assert (inflow["high"] > inflow["naive"]).all()
    outflow = selection_bounds(fit, with_effect(np.log(0.8)), WINDOW)
    np.testing.assert_allclose(outflow["inflow"], -0.2, rtol=1e-6)
    assert (outflow["low"] < outflow["naive"]).all()
    assert (outflow["high"] > outflow["naive"]).all()


def test_bounds_without_the_outcome_that_is_given_say_so_and_hold_no_number() -> None:
    fit = fake_fit()
    fit.attrs["exposure_outcome"] = "drug_alcohol_referrals"
    table = bounds_table(fit, None, WINDOW)
    assert table[["mean", "lower", "upper"]].isna().all().all()
    assert "drug_alcohol_referrals was not fitted" in table["note"].iloc[0]
    full = bounds_table(fit, fake_fit(seed=8), WINDOW)
    assert full["bound"].tolist() == ["low", "high", "naive", "inflow"]
    assert np.isfinite(full[["mean", "lower", "upper"]]).all().all()


# --- before and after -----------------------------------------------------------------------------


def history_fit(effect: float = 0.0, dip: float = 0.6) -> xr.DataTree:
    at = np.array([[0, 1, 6], [0, 2, 12], [1, 3, 6], [1, 1, 24]])
    crisis = {"crisis_dip": dip, "crisis_recovery_months": 9.0, "history_selection": 0.05}
    fit = fake_fit(
        posterior={"site_effect": effect},
        constants={
            "history_at": at,
            "history_exposure": np.array([30.0, 20.0, 40.0, 50.0]),
            "retrospective_at": np.zeros((4, 3), int),
            "retrospective_exposure": np.zeros(4),
        },
    )
    posterior = fit["posterior"].to_dataset()
    shape = {d: posterior.sizes[d] for d in ("chain", "draw")}
    for name, value in crisis.items():
        posterior[name] = (("chain", "draw"), np.full(tuple(shape.values()), value))
    fit["posterior"] = xr.DataTree(posterior)
    return fit


def test_the_pieces_of_a_before_after_add_up_draw_by_draw() -> None:
    parts = before_after(history_fit(0.4), WINDOW)
    assert parts is not None
    total = parts["effect"] + parts["artefact"] + parts["time"]
    np.testing.assert_allclose(parts["plain"], total, atol=1e-12)


def test_without_any_effect_the_plain_comparison_shows_the_crisis() -> None:
    """A service that does nothing looks good: the artefact is minus the mean excess."""
    parts = before_after(history_fit(0.0), WINDOW)
    assert parts is not None
    np.testing.assert_allclose(parts["effect"], 0.0, atol=1e-12)
    assert (parts["artefact"] < -0.2).all()
    calm = history_fit(0.0, dip=0.0)
    posterior = calm["posterior"].to_dataset()
    posterior["history_selection"] = 0 * posterior["history_selection"]
    calm["posterior"] = xr.DataTree(posterior)
    parts = before_after(calm, WINDOW)
    assert parts is not None
    np.testing.assert_allclose(parts["artefact"], 0.0, atol=1e-12)


def test_histories_older_than_a_year_are_no_baseline_of_a_before_after() -> None:
    """By hand on the log scale: rows of 6 and 12 months count, that of 24 does not."""
    fit = history_fit(0.3)
    fit.attrs["link"] = "log"
    parts = before_after(fit, WINDOW)
    assert parts is not None
    eta0 = predictors(fit)["eta0"].to_numpy()[0, 0]
    rows = ((0, 1, 6, 30), (0, 2, 12, 20), (1, 3, 6, 40))
    past = sum(
        n * np.exp(eta0[s, t] + 0.6 * np.exp(-(lag - 1) / 9) + 0.05) for s, t, lag, n in rows
    )
    usual = sum(n * np.exp(eta0[s, t]) for s, t, _, n in rows)
    assert float(parts["artefact"][0, 0]) == pytest.approx(np.log(usual / past))


def test_a_fit_without_histories_has_no_before_after() -> None:
    fit = fake_fit()
    assert before_after(fit, WINDOW) is None
    assert before_after_table(fit, WINDOW).empty
    assert len(before_after_table(history_fit(), WINDOW)) == 4


# --- products and bands ---------------------------------------------------------------------------


@pytest.mark.parametrize("least", [(0, 0), (1, 0), (0, 1)])
def test_attendances_through_referrals_by_brute_force(least: tuple[int, int]) -> None:
    """Also where every case has at least one event, which the rate leaves out."""
    referrals, attendances = fake_fit(seed=4), fake_fit(seed=9)
    for fit, shift in zip((referrals, attendances), least, strict=True):
        fit.attrs["family"] = "negative_binomial" + ("_from_one" if shift else "")
    referrals.attrs["link"] = attendances.attrs["link"] = "log"
    with pytest.raises(ValueError, match="'custody'"):
        events_averted(attendances, referrals)
    attendances.attrs["exposure_outcome"] = referrals.attrs["outcome"]
    found = events_averted(attendances, referrals)
    one, other = (predictors(f) for f in (referrals, attendances))
    data = referrals["constant_data"]
    event, n = data["event_time"].to_numpy(), data["exposure_all"].to_numpy()
    for c, d, s in itertools.product(range(2), range(3), range(2)):
        total = 0.0
        for t in range(event.shape[1]):
            if event[s, t] >= 0:
                cell = {"chain": c, "draw": d, "site": s, "month": t}
                with_, without = (
                    (least[0] + np.exp(float(one[k].isel(cell))))
                    * (least[1] + np.exp(float(other[k].isel(cell))))
                    for k in ("eta1", "eta0")
                )
                total += n[s, t] * (without - with_)
        assert float(found[c, d, s]) == pytest.approx(total)
    assert found.attrs["chained"] == 1


def test_without_an_effect_on_referrals_the_product_is_the_plain_sum_of_expected_referrals() -> (
    None
):
    still = fake_fit(seed=4, posterior={"site_effect": 0.0})
    moved = fake_fit(seed=9)
    for fit in (still, moved):
        fit.attrs |= {"link": "log", "exposure_outcome": "custody"}
    nothing = fake_fit(seed=9, posterior={"site_effect": 0.0})
    nothing.attrs |= {"link": "log", "exposure_outcome": "custody"}
    np.testing.assert_allclose(events_averted(nothing, still), 0.0, atol=1e-12)
    assert (abs(events_averted(moved, still)) > 0).all()


def banded_fit() -> xr.DataTree:
    fit = fake_fit(constants={})
    fit.attrs["family"] = "ordered_bands"
    posterior = fit["posterior"].to_dataset()
    rng = np.random.default_rng(2)
    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    posterior["stage_level"] = (("chain", "draw", "stage"), rng.normal(size=(*shape, 2)))
    posterior = posterior.assign_coords(stage=["2 or more", "3 or more"])
    posterior["stage_effect"] = (("chain", "draw"), np.full(shape, 0.7))
    own = rng.normal(size=(*shape, posterior.sizes["site"]))
    posterior["stage_site"] = (("chain", "draw", "site"), own)
    fit["posterior"] = xr.DataTree(posterior)
    return fit


def test_bands_of_averted_events_by_brute_force_and_add_up_to_the_total() -> None:
    fit = banded_fit()
    found = averted_by_band(fit)
    assert found is not None
    np.testing.assert_allclose(found.sum("band"), events_averted(fit).sum("site"), rtol=1e-10)
    eta = predictors(fit)
    data, posterior = fit["constant_data"], fit["posterior"]
    event, n = data["event_time"].to_numpy(), data["exposure_all"].to_numpy()
    treated = treated_sites(fit)
    c, d = 1, 2
    expected = np.zeros(3)
    for s, t in itertools.product(range(event.shape[0]), range(event.shape[1])):
        if not (treated[s] and event[s, t] >= 0):
            continue
        cell = {"chain": c, "draw": d, "site": s, "month": t}
        e0, e1 = (float(eta[k].isel(cell)) for k in ("eta0", "eta1"))
        half = float(data["half_period"])
        built = 1 - np.exp(-(event[s, t] + half) / float(posterior["ramp_months"][c, d]))
        own = float(posterior["stage_site"][c, d, s])
        for sign, e, on in ((1, e0, 0.0), (-1, e1, built)):
            level = posterior["stage_level"][c, d].to_numpy()
            go = inverse("logit", level + own + 0.7 * on)
            p = float(inverse("logit", np.array(e)))
            rates = np.array([p * (1 - go[0]), p * go[0] * (1 - go[1]), p * go[0] * go[1]])
            expected += sign * n[s, t] * rates
    np.testing.assert_allclose(found[c, d], expected, rtol=1e-10)
    assert averted_by_band(fake_fit()) is None


def test_pooled_effects_of_bounds_use_the_window_asked_for() -> None:
    given = fake_fit(seed=5)
    draws = selection_bounds(fake_fit(), given, WINDOW)
    ratio = np.exp(pooled_effect(given, "link", WINDOW))
    expected = np.where(ratio >= 1, 1 - 1 / ratio, ratio - 1)
    np.testing.assert_allclose(draws["inflow"], expected, rtol=1e-12)
