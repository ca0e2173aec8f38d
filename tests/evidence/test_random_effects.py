"""Random-effects sd: published numbers, a brute force, and how often the intervals hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from lndbayes.evidence.random_effects import between_sites, error_covariance

#: The 13 trials of BCG of Colditz et al. (1994): vaccinated and not, with tuberculosis and without.
BCG = np.array(
    [
        [4, 119, 11, 128],
        [6, 300, 29, 274],
        [3, 228, 11, 209],
        [62, 13536, 248, 12619],
        [33, 5036, 47, 5761],
        [180, 1361, 372, 1079],
        [8, 2537, 10, 619],
        [505, 87886, 499, 87892],
        [29, 7470, 45, 7232],
        [17, 1699, 65, 1600],
        [186, 50448, 141, 27197],
        [5, 2493, 3, 2338],
        [27, 16886, 29, 17825],
    ],
    dtype=float,
)


def bcg() -> tuple[np.ndarray, np.ndarray]:
    """Log risk ratios and their variances."""
    a, b, c, d = BCG.T
    return np.log(a / (a + b) / (c / (c + d))), 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)


def q_at(tau: float, y: np.ndarray, covariance: np.ndarray) -> float:
    """The statistic with inverses written out."""
    inverse = np.linalg.inv(covariance + tau**2 * np.eye(len(y)))
    mean = inverse.sum(axis=0) @ y / inverse.sum()
    return float((y - mean) @ inverse @ (y - mean))


def test_published_heterogeneity_of_the_bcg_trials() -> None:
    """Viechtbauer (2007) and metafor: Paule-Mandel 0.3181, Q-profile 0.1197 to 1.1115."""
    y, variance = bcg()
    found = between_sites(y, np.diag(variance), seed=1, ci_prob=0.95)
    assert found.tau**2 == pytest.approx(0.3181, abs=5e-5)
    assert found.lower**2 == pytest.approx(0.1197, abs=5e-5)
    assert found.upper**2 == pytest.approx(1.1115, abs=5e-5)
    assert found.observed == pytest.approx(y.std(ddof=1))
    assert found.noise == pytest.approx(np.sqrt(variance.mean()))
    # the pooled log risk ratio is published as -0.7145 (se 0.18)
    assert np.median(found.sites.mean(axis=1)) == pytest.approx(-0.7145, abs=0.03)


def test_errors_that_sites_share_are_in_the_statistic() -> None:
    rng = np.random.default_rng(4)
    root = rng.normal(0, 0.1, (5, 5))
    covariance = root @ root.T + 0.02 * np.eye(5) + 0.3
    y = rng.normal(0, 0.5, 5)
    found = between_sites(y, covariance, seed=2)
    assert q_at(found.tau, y, covariance) == pytest.approx(4)
    assert q_at(found.lower, y, covariance) == pytest.approx(chi2.ppf(0.95, 4))
    assert q_at(found.upper, y, covariance) == pytest.approx(chi2.ppf(0.05, 4))
    # what is common to all sites makes none of the spread, however large
    more = between_sites(y, covariance + 5.0, seed=2)
    assert more.tau == pytest.approx(found.tau, rel=1e-6)
    assert more.noise == pytest.approx(found.noise, rel=1e-6)


def test_estimates_closer_than_their_errors_have_no_spread() -> None:
    found = between_sites(np.array([0.01, 0.0, -0.01]), np.diag([0.04] * 3), seed=3)
    assert found.tau == found.lower == 0
    assert found.upper >= 0
    # three sites whose errors are 0.2 do not show that no site is off
    assert np.median(np.abs(found.sites).max(axis=1)) > 0.05


def test_draws_have_the_quantiles_of_the_interval_and_the_limits_of_both_extremes() -> None:
    y = np.array([-0.6, -0.1, 0.2, 0.9])
    exact = between_sites(y, np.diag([1e-8] * 4), seed=4)
    np.testing.assert_allclose(exact.sites.mean(axis=0), y, atol=1e-4)
    vague = between_sites(y, np.diag([100.0] * 4), seed=5)
    assert vague.sites.std(axis=0) == pytest.approx(np.full(4, 5.0), rel=0.15)


@pytest.mark.parametrize(("sites", "tau"), [(3, 0.0), (3, 0.15), (8, 0.0), (8, 0.1)])
def test_intervals_hold(sites: int, tau: float) -> None:
    """The spread's and the pooled one's, over worlds in which sites share part of their errors."""
    rng = np.random.default_rng(sites)
    runs, held = 200, np.zeros(2)
    for run in range(runs):
        covariance = np.diag(rng.uniform(0.05, 0.2, sites) ** 2) + 0.1**2
        truth = rng.normal(0, tau, sites)
        y = truth + rng.multivariate_normal(np.zeros(sites), covariance)
        found = between_sites(y, covariance, seed=run)
        low, high = np.quantile(found.sites.mean(axis=1), (0.05, 0.95))
        held += found.lower <= tau <= found.upper, low <= truth.mean() <= high
    # four standard errors below 90%; without spread the interval may hold in up to 95 to 100%
    assert (held / runs > 0.815).all()
    assert held[0] / runs < (1.0 if tau == 0 else 0.985)


def test_a_covariance_of_more_sites_than_draws_is_regular() -> None:
    rng = np.random.default_rng(6)
    shared = rng.normal(0, 0.3, (50, 1))
    draws = shared + rng.normal(0, 0.2, (50, 80))
    found = error_covariance(draws, 50.0)
    np.testing.assert_allclose(np.diag(found), draws.var(axis=0, ddof=1))
    assert np.linalg.eigvalsh(found).min() > 0
    off = found[~np.eye(80, dtype=bool)]
    assert off.mean() == pytest.approx(0.09, rel=0.4)
    # what many draws tell of each pair stays
    cov = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.1], [0.0, 0.1, 1.0]])
    many = rng.multivariate_normal(np.zeros(3), cov, 20_000)
    np.testing.assert_allclose(error_covariance(many, 20_000.0), cov, atol=0.04)


@pytest.mark.parametrize(
    ("sites", "own", "shared", "draws"),
    [(10, (0.05, 0.5), 0.3, 100), (20, (0.02, 0.3), 0.3, 400), (6, (0.05, 0.3), 0.2, 100)],
)
def test_errors_of_very_different_sizes_have_a_covariance(sites, own, shared, draws) -> None:
    """A site that knows much, beside a large error that all share: sites still differ."""
    sds, true = np.geomspace(*own, sites), 0.3
    for seed in range(10):
        rng = np.random.default_rng(seed)
        errors = shared * rng.normal(size=(draws, 1)) + sds * rng.normal(size=(draws, sites))
        covariance = error_covariance(errors, draws)
        assert np.linalg.eigvalsh(covariance)[0] > 0
        np.testing.assert_allclose(np.diag(covariance), errors.var(axis=0, ddof=1))
        found = between_sites(true * rng.normal(size=sites) * 5, covariance, seed=1)
        assert np.isfinite(found.sites).all()
        assert found.tau > true


def test_what_is_no_covariance_is_refused_and_rounding_is_not() -> None:
    values = np.array([0.1, 0.5, 0.3])
    alike = between_sites(values, 0.01 * np.ones((3, 3)), seed=1)
    near = between_sites(values, 0.01 * np.ones((3, 3)) + 1e-12 * np.eye(3), seed=1)
    assert alike.tau == pytest.approx(near.tau, rel=1e-3)
    assert alike.noise == pytest.approx(0.0, abs=1e-6)
    for bad in (np.zeros((3, 3)), -np.eye(3), np.full((3, 3), np.nan), np.diag([1.0, 1.0, -0.5])):
        with pytest.raises(ValueError, match="must be"):
            between_sites(values, bad, seed=1)
    with pytest.raises(ValueError, match="finite"):
        between_sites(np.array([0.1, np.nan, 0.2]), np.eye(3), seed=1)
