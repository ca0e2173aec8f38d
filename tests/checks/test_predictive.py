"""Predictive quantities by hand, and how often they cry wolf when the model is right."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from lndbayes.checks.predictive import (
    Discrepancy,
    SiteRates,
    Unavailable,
    discrepancies,
    site_rates,
)
from lndbayes.checks.replication import (
    Replication,
    cells_near_go_live,
    contradicted,
    group_rates,
    lagged_pairs,
    standardised_residuals,
)
from lndbayes.checks.result import CheckResult, Status
from lndbayes.checks.thresholds import DEFAULTS
from lndbayes.checks.verdicts_model import discrepancy, site_coverage

SITES, MONTHS, REPLICATES = 10, 36, 200
BLOCK = 6


def panel(
    y: np.ndarray, replicated: np.ndarray, expected: np.ndarray, exposure: np.ndarray
) -> Replication:
    """Replication of a full panel, arrays of shape (..., site, month); half the sites go live."""
    sites, months = y.shape
    site, month = np.nonzero(np.ones_like(y))
    go_live = np.where(np.arange(sites) % 2 == 0, months // 2, months // 3)
    return Replication(
        y=y.ravel().astype(float),
        replicated=replicated.reshape(len(replicated), -1).astype(float),
        expected=expected.reshape(len(expected), -1),
        exposure=exposure.ravel().astype(float),
        site=site,
        month=month,
        event=(month - go_live[site]).astype(float),
        wave=site % 2,
        sites=tuple(f"S{i}" for i in range(sites)),
        lag_year=12,
    )


def known_parameters(rng: np.random.Generator) -> Replication:
    """Data and replicates from the same beta-binomial rates."""
    n = rng.integers(30, 100, (SITES, MONTHS))
    p = np.clip(rng.normal(0.12, 0.03, (SITES, 1)), 0.04, 0.2) * np.ones(MONTHS)
    draw = rng.binomial(n, rng.beta(150 * p, 150 * (1 - p), (REPLICATES + 1, SITES, MONTHS)))
    return panel(draw[0], draw[1:], np.broadcast_to(n * p, draw[1:].shape), n)


def exact_posterior(rng: np.random.Generator) -> Replication:
    """Data from a binomial model with a rate for each half-year and site, and its posterior.

    The prior is flat, the posterior the exact beta distribution. One parameter for six cells is
    more than a real fit has, so this shows the double use of the data at its worst.
    """
    n = rng.integers(30, 100, (SITES, MONTHS))
    blocks = MONTHS // BLOCK
    p = np.repeat(rng.beta(12, 88, (SITES, blocks)), BLOCK, axis=1)
    y = rng.binomial(n, p)
    events, trials = (x.reshape(SITES, blocks, BLOCK).sum(axis=2) for x in (y, n))
    drawn = rng.beta(1 + events, 1 + trials - events, (REPLICATES, SITES, blocks))
    p_drawn = np.repeat(drawn, BLOCK, axis=2)
    return panel(y, rng.binomial(n, p_drawn), n * p_drawn, n)


def judge(data: Replication) -> list[CheckResult]:
    rates = site_rates(data, prob=DEFAULTS.site_interval_prob)
    return [
        site_coverage("custody", rates, DEFAULTS),
        *(discrepancy("custody", d, DEFAULTS) for d in discrepancies(data, DEFAULTS)),
    ]


RUNS = 200


@pytest.mark.slow
@pytest.mark.parametrize("world", [known_parameters, exact_posterior])
def test_false_alarms(world):
    """A right model is sent to review about as often as the levels say, and hardly ever fails.

    Each quantity has the level 1%: of 200 runs, 2 are expected, and more than 8 have the
    probability 0.0002 for one quantity and 0.003 for any of eleven. If all eleven were independent,
    11% of the runs would show at least one REVIEW: 22, and more than 36 with probability 0.001.
    """
    rng = np.random.default_rng(7)
    reviews, fails, alarmed = Counter(), Counter(), 0
    for _ in range(RUNS):
        results = judge(world(rng))
        assert Status.NOT_RUN not in {r.status for r in results}
        off = [r.check for r in results if r.status is not Status.PASS]
        fails.update(r.check for r in results if r.status is Status.FAIL)
        reviews.update(off)
        alarmed += bool(off)
    assert binom.sf(8, RUNS, 0.01) < 3e-4  # the level stated above
    assert not {check: k for check, k in reviews.items() if k > 8}
    assert not fails
    assert alarmed <= 36


def test_residuals_from_the_mean_would_cry_wolf():
    """Why residuals are taken from each draw's own expectation.

    With one parameter for six cells the residuals of the data from the *mean* expectation have five
    sixths of the noise variance, those of the replicates seven sixths: 0.71, where the check allows
    what a few percent of noise can do.
    """
    data = exact_posterior(np.random.default_rng(1))
    assert data.expected is not None
    mean = np.broadcast_to(data.expected.mean(axis=0), data.replicated.shape)
    from_mean = standardised_residuals(data.y, data.replicated, mean)
    from_own = standardised_residuals(data.y, data.replicated, data.expected)
    naive, own = ((y**2).mean() / (r**2).mean() for y, r in (from_mean, from_own))
    assert naive == pytest.approx((1 - 1 / BLOCK) / (1 + 1 / BLOCK), abs=0.12)
    assert own == pytest.approx(1.0, abs=0.12)


# --- by hand


def tiny() -> Replication:
    """Two sites, two months, two replicates; go-live at the second month."""
    return Replication(
        y=np.array([2.0, 4.0, 1.0, 3.0]),
        replicated=np.array([[3.0, 3.0, 1.0, 1.0], [1.0, 5.0, 3.0, 1.0]]),
        expected=np.array([[2.0, 4.0, 2.0, 3.0], [2.0, 4.0, 2.0, 2.0]]),
        exposure=np.array([10.0, 10.0, 20.0, 20.0]),
        site=np.array([0, 0, 1, 1]),
        month=np.array([0, 1, 0, 1]),
        event=np.array([-1.0, 0.0, -1.0, 0.0]),
        wave=np.array([0, 0, 1, 1]),
        sites=("A", "B"),
        lag_year=12,
    )


def test_rates_of_groups_by_hand():
    groups, observed, replicated = group_rates(tiny(), tiny().site)
    assert groups.tolist() == [0, 1]
    assert observed.tolist() == [6 / 20, 4 / 40]
    assert replicated.tolist() == [[6 / 20, 2 / 40], [6 / 20, 4 / 40]]


def test_residuals_by_hand():
    data = tiny()
    observed, replicated = standardised_residuals(data.y, data.replicated, data.expected)
    # Noise of the replicates: [1, -1, -1, -2] and [-1, 1, 1, -1]. Mean squares: 1, 1, 1, 5/2. For
    # a replicate the square of the other one counts: 1, 1, 1, and 1 for the first, 4 for the
    # second.
    root = np.sqrt(2.5)
    np.testing.assert_allclose(observed, [[0, 0, -1, 0], [0, 0, -1, 1 / root]])
    np.testing.assert_allclose(replicated, [[1, -1, -1, -2], [-1, 1, 1, -0.5]])


def test_a_cell_without_noise_has_the_least_noise_its_replicates_could_show():
    observed, replicated = standardised_residuals(
        np.ones(1), np.zeros((100, 1)), np.zeros((100, 1))
    )
    # One event in one of 100 replicates would be a variance of 1/100.
    assert (observed == 10.0).all()
    assert (replicated == 0.0).all()


def test_site_intervals_by_hand():
    table = site_rates(tiny(), prob=0.9).table
    assert table["site"].tolist() == ["A", "B"]
    # Site B: replicated rates 0.05 and 0.10, so the 5% quantile is 0.0525 and the 95% one 0.0975.
    assert table["lower"].iloc[1] == pytest.approx(0.0525)
    assert table["upper"].iloc[1] == pytest.approx(0.0975)
    assert table["inside"].tolist() == [True, False]
    assert table["difference"].tolist() == pytest.approx([0.0, 0.1 / 0.075 - 1])


def test_pairs_never_join_sites_or_bridge_gaps():
    data = dataclasses.replace(
        tiny(), site=np.array([0, 0, 0, 1]), month=np.array([0, 1, 3, 4]), sites=("A", "B")
    )
    for lag, expected in ((1, [(0, 1)]), (2, [(1, 2)]), (3, [(0, 2)]), (4, [])):
        assert list(zip(*lagged_pairs(data, lag), strict=True)) == expected


def test_the_months_next_to_go_live_step_over_the_transition():
    event = np.array([-14, -9, -6, -5, -4, 2, 3, 4, 13, np.nan], dtype=float)
    data = dataclasses.replace(tiny(), event=event, site=np.zeros(10, int))
    chosen = [event[cells_near_go_live(data, 3, before=b)].tolist() for b in (True, False)]
    assert chosen == [[-4, -5, -6], [2, 3, 4]]
    # At most twice the months away: of six months asked for, -14 and 13 are too far.
    chosen = [event[cells_near_go_live(data, 6, before=b)].tolist() for b in (True, False)]
    assert chosen == [[-4, -5, -6, -9], [2, 3, 4]]


def test_noise_without_mean_zero_is_noticed():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(200, 50))
    assert not contradicted(noise)
    # Standard error of a total: sqrt(50 / 200) = 0.5; a shift of 0.1 a cell is ten of them.
    assert contradicted(noise + 0.1)
    assert contradicted(noise * np.nan)


def quantity(observed: float, replicated: np.ndarray, **changes) -> Discrepancy:
    defaults = {"parts": 0, "effect": 1.0, "scale": "rate", "where": "a rate"}
    return Discrepancy(
        check="x",
        observed=np.array(observed),
        replicated=replicated,
        **(defaults | changes),
    )


REPLICATED = np.random.default_rng(4).normal(size=400)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (quantity(0.0, REPLICATED), Status.PASS),
        (quantity(3.2, REPLICATED), Status.REVIEW),  # beyond all but far fewer than 4 sd
        (quantity(9.0, REPLICATED), Status.FAIL),
        (quantity(-9.0, REPLICATED), Status.FAIL),
        (quantity(9.0, REPLICATED, effect=0.01), Status.REVIEW),  # certain, and too small to matter
        (quantity(-9.0, REPLICATED, parts=10), Status.PASS),  # the worst part is hardly wrong
        (quantity(4.4, REPLICATED, parts=1), Status.FAIL),
        (quantity(4.4, REPLICATED, parts=30), Status.REVIEW),  # needs 4.74: 30 chances
        (quantity(4.8, REPLICATED, parts=30), Status.FAIL),
        (quantity(9.0, REPLICATED, effect=np.nan), Status.FAIL),
        (quantity(np.nan, REPLICATED), Status.FAIL),
        (quantity(0.0, np.append(REPLICATED, np.nan)), Status.FAIL),
        (quantity(1.0, np.ones(400)), Status.PASS),  # ties count half
        (quantity(2.0, np.ones(400)), Status.FAIL),
        (Unavailable("x", "no data"), Status.NOT_RUN),
        (Unavailable("x", "wrong", fault=True), Status.FAIL),
    ],
)
def test_verdict_on_a_quantity(found, status):
    assert discrepancy("custody", found, DEFAULTS).status is status


def test_the_tail_probability_by_hand():
    found = quantity(2.0, np.array([1.0, 2.0, 3.0, 4.0, 5.0] * 40))
    # Of five, three are larger and one is equal: (3 + 1/2) / 5.
    assert discrepancy("custody", found, DEFAULTS).value == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("missed", "difference", "status"),
    [
        # Of 27 sites, each missed with probability 5%: more than 3 have the probability 4.5%, more
        # than 4 1.2%, more than 5 0.2%, more than 6 0.03%.
        (4, 0.5, Status.PASS),
        (5, 0.5, Status.PASS),
        (6, 0.5, Status.REVIEW),
        (7, 0.5, Status.FAIL),
        (7, 0.02, Status.REVIEW),
    ],
)
def test_how_many_sites_may_be_missed(missed, difference, status):
    inside = np.arange(27) >= missed
    table = pd.DataFrame(
        {"site": [f"S{i}" for i in range(27)], "inside": inside, "difference": difference}
    )
    result = site_coverage("custody", SiteRates(table), DEFAULTS)
    assert result.status is status
    assert "at most 5 of 27" in result.threshold
