"""The second stage of effects by stratum against brute force, its limits, and its own law."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from lndbayes.second_stage.strata.pool import GRID, pool_strata, spread_posterior

ESTIMATE = np.array([-0.05, -0.2, -0.5])
ERROR = np.array([0.08, 0.12, 0.2])
PRIOR = (0.1, 0.4)
SCALE = 0.2
MANY = {"chains": 4, "draws": 10_000}


def brute_force() -> tuple[np.ndarray, np.ndarray, float]:
    """Means and covariance of theta, and mean of s, with full covariance matrices and another rule.

    s by Gauss-Legendre over (0, 6 scale), which leaves out 2e-9 of the prior.
    """
    nodes, weights = np.polynomial.legendre.leggauss(200)
    values = 3 * SCALE * (nodes + 1)
    p, means, seconds = [], [], []
    for s, w in zip(values, weights, strict=True):
        own = s**2 * np.eye(3) + PRIOR[1] ** 2
        whole = own + np.diag(ERROR**2)
        law = stats.multivariate_normal(np.full(3, PRIOR[0]), whole)
        p.append(w * law.pdf(ESTIMATE) * stats.halfnorm(scale=SCALE).pdf(s))
        gain = own @ np.linalg.inv(whole)
        mean = PRIOR[0] + gain @ (ESTIMATE - PRIOR[0])
        means.append(mean)
        seconds.append(own - gain @ own + np.outer(mean, mean))
    share = np.array(p) / np.sum(p)
    mean = share @ np.array(means)
    second = np.einsum("s,sij->ij", share, np.array(seconds))
    return mean, second - np.outer(mean, mean), float(share @ values)


def test_draws_are_those_of_brute_force() -> None:
    mean, covariance, spread = brute_force()
    found = pool_strata(ESTIMATE, ERROR, PRIOR, SCALE, seed=1, **MANY)
    theta = found.effect.reshape(-1, 3)
    sd = np.sqrt(np.diag(covariance))
    # 40,000 independent draws: five standard errors of a mean are 0.025 sd, of a variance 3.5%
    np.testing.assert_allclose((theta.mean(axis=0) - mean) / sd, 0, atol=0.025)
    scaled = np.cov(theta.T) / np.outer(sd, sd)
    np.testing.assert_allclose(scaled, covariance / np.outer(sd, sd), atol=0.036)
    assert found.spread.mean() == pytest.approx(spread, rel=0.02)
    grid, p = spread_posterior(ESTIMATE, ERROR, PRIOR, SCALE)
    assert len(grid) == GRID
    assert p @ grid == pytest.approx(spread, rel=1e-4)
    # a difference is made within the draw
    pair = covariance[0, 0] + covariance[2, 2] - 2 * covariance[0, 2]
    assert np.var(theta[:, 2] - theta[:, 0]) == pytest.approx(pair, rel=0.036)


def test_without_spread_strata_have_one_effect() -> None:
    found = pool_strata(ESTIMATE, ERROR, PRIOR, 0.0, seed=1, **MANY)
    np.testing.assert_array_equal(found.effect, np.repeat(found.common[..., None], 3, axis=-1))
    precision = 1 / PRIOR[1] ** 2 + (1 / ERROR**2).sum()
    mean = (PRIOR[0] / PRIOR[1] ** 2 + (ESTIMATE / ERROR**2).sum()) / precision
    assert found.common.mean() == pytest.approx(mean, abs=0.025 / np.sqrt(precision))
    assert found.common.std() == pytest.approx(1 / np.sqrt(precision), rel=0.02)
    # and a spread that is all but zero is that limit
    near = pool_strata(ESTIMATE, ERROR, PRIOR, 1e-4, seed=1, **MANY)
    assert near.effect.mean(axis=(0, 1)) == pytest.approx(np.full(3, mean), abs=0.002)


def test_where_the_spread_is_huge_strata_are_separate() -> None:
    # a wide prior of s alone does not separate strata that agree: estimates far apart do
    apart = np.array([-50.0, 0.0, 70.0])
    found = pool_strata(apart, ERROR, (0.0, 40.0), 1e3, seed=1, **MANY)
    theta = found.effect.reshape(-1, 3)
    np.testing.assert_allclose((theta.mean(axis=0) - apart) / ERROR, 0, atol=0.025)
    np.testing.assert_allclose(theta.std(axis=0) / ERROR, 1, rtol=0.02)
    assert abs(np.corrcoef(theta.T)[0, 2]) < 0.025


@pytest.mark.parametrize("scale", [1e-3, 0.2, 10.0, 1e4])
def test_the_grid_is_fine_enough_for_any_scale(scale: float) -> None:
    """Mean of s by adaptive quadrature over log s, with full covariance matrices."""

    def log_density(s: float) -> float:
        whole = np.diag(ERROR**2 + s**2) + PRIOR[1] ** 2
        law = stats.multivariate_normal(np.full(3, PRIOR[0]), whole)
        return float(law.logpdf(ESTIMATE) - 0.5 * (s / scale) ** 2)

    ends = np.log([1e-9, 9 * scale])
    total, moment = (
        integrate.quad(
            lambda u, k=k: np.exp(log_density(np.exp(u)) + (k + 1) * u), *ends, limit=500
        )[0]
        for k in (0, 1)
    )
    grid, p = spread_posterior(ESTIMATE, ERROR, PRIOR, scale)
    assert p @ grid == pytest.approx(moment / total, rel=1e-4)


def test_a_stratum_without_information_gets_the_law_of_a_new_one() -> None:
    error = np.array([0.08, 0.12, 400.0])
    found = pool_strata(ESTIMATE, error, PRIOR, SCALE, seed=1, **MANY)
    two = pool_strata(ESTIMATE[:2], error[:2], PRIOR, SCALE, seed=2, **MANY)
    np.testing.assert_allclose(found.common.mean(), two.common.mean(), atol=0.006)
    expected = np.sqrt(two.common.var() + (two.spread**2).mean())
    assert found.effect[..., 2].std() == pytest.approx(expected, rel=0.03)


def test_order_and_unit_change_nothing_else() -> None:
    base = pool_strata(ESTIMATE, ERROR, PRIOR, SCALE, seed=1, **MANY)
    turn = [2, 0, 1]
    other = pool_strata(ESTIMATE[turn], ERROR[turn], PRIOR, SCALE, seed=2, **MANY)
    difference = other.effect.mean(axis=(0, 1)) - base.effect.mean(axis=(0, 1))[turn]
    np.testing.assert_allclose(difference, 0, atol=0.006)
    large = pool_strata(-100 * ESTIMATE, 100 * ERROR, (-10.0, 40.0), 20.0, seed=1, **MANY)
    np.testing.assert_allclose(large.spread, 100 * base.spread, rtol=1e-9)
    assert large.effect.mean() == pytest.approx(-100 * base.effect.mean(), abs=0.6)


def test_the_seed_fixes_the_draws() -> None:
    one, two, three = (pool_strata(ESTIMATE, ERROR, PRIOR, SCALE, seed=k) for k in (4, 4, 5))
    np.testing.assert_array_equal(one.effect, two.effect)
    assert (one.effect != three.effect).any()
    assert one.effect.shape == (4, 2500, 3)


@pytest.mark.parametrize("scale", [0.05, 0.2, 1.0])
def test_ranks_of_the_truth_are_uniform(scale: float) -> None:
    """Simulation-based calibration: truth from the prior, 500 times, its rank among 199 draws."""
    rng = np.random.default_rng(8)
    ranks = []
    for replicate in range(500):
        s = abs(rng.normal(0, scale))
        mu = rng.normal(*PRIOR)
        theta = mu + s * rng.normal(size=3)
        estimate = theta + ERROR * rng.normal(size=3)
        found = pool_strata(estimate, ERROR, PRIOR, scale, seed=replicate, chains=1, draws=199)
        effect = found.effect[0]
        truth = [*theta, mu, s, theta[2] - theta[0]]
        drawn = [*effect.T, found.common[0], found.spread[0], effect[:, 2] - effect[:, 0]]
        ranks.append([(d < t).sum() for d, t in zip(drawn, truth, strict=True)])
    for column in np.array(ranks).T:
        counts = np.bincount(column // 20, minlength=10)
        # six quantities at three scales: a uniform rank fails here once in about 2,800 such runs
        assert stats.chisquare(counts).pvalue > 2e-5
        # 90% intervals: four standard errors of a share of 500 are 5.4 points
        assert ((column >= 10) & (column < 190)).mean() == pytest.approx(0.9, abs=0.054)


@pytest.mark.parametrize(
    ("estimate", "error", "prior", "scale"),
    [
        ([np.nan, 0.0], [0.1, 0.1], PRIOR, SCALE),
        ([0.1, 0.0], [0.1, 0.0], PRIOR, SCALE),
        ([0.1, 0.0], [0.1, np.inf], PRIOR, SCALE),
        ([0.1, 0.0], [0.1, np.nan], PRIOR, SCALE),
        ([0.1, 0.0], [0.1, 0.1], (0.0, 0.0), SCALE),
        ([0.1, 0.0], [0.1, 0.1], (np.nan, 1.0), SCALE),
        ([0.1, 0.0], [0.1, 0.1], PRIOR, -0.1),
        ([0.1, 0.0], [0.1, 0.1], PRIOR, np.nan),
    ],
)
def test_what_is_no_number_is_refused(estimate, error, prior, scale) -> None:
    with pytest.raises(ValueError, match="estimates must be finite"):
        pool_strata(np.array(estimate), np.array(error), prior, scale, seed=1)
