"""Comparators against panels whose answer can be worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from lndbayes.spec.families import FAMILIES
from lndbayes.validation.comparators import (
    COMPARATORS,
    MaskedPanel,
    before_after,
    interrupted_series,
    least_squares,
    predictive_draws,
    two_way_fixed_effects,
)
from lndbayes.validation.observation import empirical_link, rate_of

MANY = 1e6


def panel(
    eta: np.ndarray, go_live: list[int], hidden: list[int], **other: np.ndarray
) -> MaskedPanel:
    """Panel of a log-link family whose observed rates are exactly ``exp(eta)``."""
    exposure = other.get("exposure", np.full(eta.shape, MANY))
    event = np.arange(eta.shape[1])[None, :] - np.array(go_live)[:, None]
    mask = np.zeros(eta.shape, bool)
    for s in hidden:
        mask[s] = event[s] < 0
    # half an event is added to a count before its log is taken
    count = exposure * np.exp(eta) - 0.5
    time = np.arange(eta.shape[1], dtype=float)
    return MaskedPanel("negative_binomial", exposure, count, event, ~mask, mask, time)


def test_weighted_mean_and_its_prediction_by_hand():
    # weights 1, 1, 2 and values 0, 2, 3: mean 2, squares 4 + 0 + 2, variance 6 / 2
    found = least_squares(np.ones((3, 1)), np.array([0.0, 2.0, 3.0]), np.array([1.0, 1.0, 2.0]))
    assert found.coefficients == pytest.approx([2.0])
    assert found.covariance == pytest.approx(np.array([[0.25]]))
    assert (found.variance, found.freedom) == (pytest.approx(3.0), 2)
    rng = np.random.default_rng(1)
    drawn = predictive_draws(found, np.ones((1, 1)), np.array([0.5]), 200_000, rng)[:, 0]
    # sd of a new value of weight 1/2: sqrt(3 (1/4 + 2)), Student t with 2 degrees of freedom
    law = stats.t(2, loc=2, scale=np.sqrt(3 * 2.25))
    for prob in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert (drawn <= law.ppf(prob)).mean() == pytest.approx(prob, abs=0.005)


def test_dependent_regressors_do_no_harm_and_what_they_do_not_span_is_not_predicted():
    x = np.array([[1.0, 0, 1], [1, 0, 1], [0, 1, 1], [0, 1, 1.0]])
    found = least_squares(x, np.array([1.0, 3, 5, 7]), np.ones(4))
    assert found.freedom == 2
    assert x @ found.coefficients == pytest.approx([2, 2, 6, 6])
    new = np.array([[1.0, 0, 1], [0, 0, 1]])
    drawn = predictive_draws(found, new, np.ones(2), 10, np.random.default_rng(1))
    assert np.isfinite(drawn[:, 0]).all()
    assert np.isnan(drawn[:, 1]).all()


def test_two_way_fixed_effects_recover_an_additive_panel():
    rng = np.random.default_rng(2)
    site, month = rng.normal(-3, 0.3, 5), rng.normal(0, 0.1, 12)
    go_live = [3, 5, 7, 9, 11]
    base = site[:, None] + month
    treated = np.arange(12)[None, :] >= np.array(go_live)[:, None]
    masked = panel(base - 0.4 * treated, go_live, hidden=[1])
    drawn = two_way_fixed_effects(masked, 50, rng)
    assert drawn == pytest.approx(np.tile(np.exp(base[1, :5]), (50, 1)), rel=1e-6)


def test_two_way_fixed_effects_say_nothing_of_a_month_that_nobody_else_counted():
    masked = panel(np.full((3, 6), -3.0), [2, 3, 4], hidden=[1])
    used = masked.used.copy()
    used[:, 0] = False
    drawn = two_way_fixed_effects(
        dataclasses.replace(masked, used=used), 5, np.random.default_rng(1)
    )
    assert np.isnan(drawn[:, 0]).all()
    assert np.isfinite(drawn[:, 1:]).all()


def test_before_after_by_hand():
    # others change by -0.1 and -0.5 at go-live: the hidden level is 0.3 above, give or take a
    # Student t with 1 degree of freedom times sqrt(0.08 * 1.5)
    levels = np.array([[-3.0, -3.1], [-2.0, -2.5], [-9.0, -4.0]])
    masked = panel(np.repeat(levels, 3, axis=1), [3, 3, 3], hidden=[2])
    drawn = before_after(masked, 100_000, np.random.default_rng(3))
    scale = np.sqrt(0.08 * 1.5)
    for prob in (0.25, 0.5, 0.75):
        expected = -4.0 + 0.3 + scale * stats.t(1).ppf(prob)
        assert np.log(np.quantile(drawn[:, 0], prob)) == pytest.approx(expected, abs=0.01)
    # one level for all months of a site
    np.testing.assert_array_equal(drawn, drawn[:, [0, 0, 0]])


def test_before_after_needs_two_other_sites():
    masked = panel(np.full((2, 6), -3.0), [3, 3], hidden=[1])
    assert np.isnan(before_after(masked, 5, np.random.default_rng(1))).all()


def test_interrupted_series_draw_a_straight_line_backwards():
    eta = np.array([-3 + 0.05 * np.arange(12), np.full(12, -2.0)])
    masked = panel(eta, [4, 10], hidden=[0, 1])
    drawn = interrupted_series(masked, 20, np.random.default_rng(4))
    assert drawn[:, :4] == pytest.approx(np.tile(np.exp(eta[0, :4]), (20, 1)), rel=1e-6)
    # two months with the service determine a line and leave nothing to judge it by
    assert np.isnan(drawn[:, 4:]).all()


def noisy(seed: int) -> MaskedPanel:
    rng = np.random.default_rng(seed)
    exposure = rng.uniform(50, 400, (6, 20))
    eta = rng.normal(-2, 0.3, (6, 1)) + rng.normal(0, 0.2, (6, 20))
    return panel(eta, [4, 6, 8, 10, 12, 14], hidden=[1, 4], exposure=exposure)


@pytest.mark.parametrize("method", COMPARATORS)
def test_what_is_hidden_is_not_looked_at(method):
    masked = noisy(5)
    count = np.where(masked.hidden, 7.0, masked.count)
    other = dataclasses.replace(masked, count=count)
    a, b = (COMPARATORS[method](p, 30, np.random.default_rng(6)) for p in (masked, other))
    np.testing.assert_array_equal(a, b)
    assert a.shape == (30, masked.hidden.sum())
    assert np.isfinite(a).all()


@pytest.mark.parametrize("method", COMPARATORS)
def test_order_of_sites_does_not_matter(method):
    masked = noisy(7)
    arrays = ("exposure", "count", "event", "used", "hidden")
    turned = dataclasses.replace(masked, **{k: getattr(masked, k)[::-1] for k in arrays})

    def middle(p: MaskedPanel) -> np.ndarray:
        out = np.full(p.hidden.shape, np.nan)
        drawn = np.log(COMPARATORS[method](p, 4000, np.random.default_rng(8)))
        out[p.hidden] = np.median(drawn, axis=0)
        return out

    a, b = middle(masked), middle(turned)[::-1]
    assert a[masked.hidden] == pytest.approx(b[masked.hidden], abs=0.05)


def test_intervals_of_two_way_fixed_effects_have_their_probability():
    # in its own world: additive surface, constant effect, normal noise with variance over exposure
    rng = np.random.default_rng(9)
    inside = []
    for _ in range(60):
        go_live = [3, 5, 7, 9, 11, 13]
        exposure = rng.uniform(50, 500, (6, 16))
        base = rng.normal(-2, 0.3, (6, 1)) + rng.normal(0, 0.1, 16)
        treated = np.arange(16)[None, :] >= np.array(go_live)[:, None]
        eta = base - 0.3 * treated + rng.normal(size=base.shape) * np.sqrt(4 / exposure)
        masked = panel(eta, go_live, hidden=[2], exposure=exposure)
        low, high = np.quantile(
            np.log(two_way_fixed_effects(masked, 1000, rng)), (0.05, 0.95), axis=0
        )
        inside.append(((eta[2, :7] >= low) & (eta[2, :7] <= high)).mean())
    # cells of one panel share its site level: about 60 panels' worth of noise
    assert np.mean(inside) == pytest.approx(0.9, abs=3 * np.std(inside) / np.sqrt(60))


def test_empirical_links_are_those_of_the_rate():
    n, y = np.array([1e9, 1e9]), np.array([2e8, 5e6])
    for family in FAMILIES:
        assert rate_of(family, empirical_link(family, y, n)) == pytest.approx(y / n, rel=1e-6)
    zero = np.array([0.0])
    assert empirical_link("beta_binomial", zero, np.array([9.5])) == pytest.approx([np.log(0.05)])
    assert empirical_link("negative_binomial", zero, np.array([5.0])) == pytest.approx(
        [np.log(0.1)]
    )
