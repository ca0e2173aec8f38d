"""How much estimates of several sites differ beyond their own errors: a random-effects sd.

Estimates ``y`` of K sites have errors with a known covariance ``S`` and site values around a common
mean with sd ``tau``: ``y ~ Normal(mu, S + tau^2 I)``. The generalised Q statistic at the true
``tau`` has a chi-squared law with K - 1 degrees of freedom, whatever ``mu``. Its mean gives the
point estimate (Paule and Mandel 1982), its quantiles the interval (Q-profile, Viechtbauer 2007),
and a draw from it a draw of ``tau`` (the generalised pivotal quantity of Iyer, Wang and Mathew
2004), whose quantiles are the Q-profile's limits. No prior of ``tau`` is needed, and few sites give
a wide interval rather than a narrow zero.

Errors that sites share, as that of the national course, are in ``S`` and cancel in differences.

References
----------
Paule, Mandel (1982). Consensus values and weighting factors. Journal of Research of the National
Bureau of Standards 87(5), 377-385. Viechtbauer (2007). Confidence intervals for the amount of
heterogeneity in meta-analysis. Statistics in Medicine 26(1), 37-52. Iyer, Wang, Mathew (2004).
Models and confidence intervals for true values in interlaboratory trials. Journal of the American
Statistical Association 99(468), 1060-1071. Schaefer, Strimmer (2005). A shrinkage approach to
large-scale covariance matrix estimation. Statistical Applications in Genetics and Molecular Biology
4(1), 32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2

from lndbayes.base.names import CI_PROB

__all__ = ["Spread", "between_sites", "error_covariance"]

_DRAWS = 4000
#: Largest correlation of all errors alike, below 1: the target is regular.
_MOST_SHARED = 0.999
#: Smallest eigenvalue of an error covariance, as a share of the largest; less is rounding.
_SMALLEST = 1e-12
#: Values of tau between which draws are interpolated.
_GRID = 4000
#: Share of draws beyond the largest of them.
_BEYOND = 1e-4


@dataclass(frozen=True)
class Spread:
    """What sites differ by.

    Attributes
    ----------
    tau, lower, upper : float
        Random-effects sd and its Q-profile interval; 0 where the errors explain all.
    observed : float
        Sd over sites of the estimates.
    noise : float
        What that sd would be from errors alone: the root of its expected square at ``tau`` 0.
    sites : ndarray, shape (draw, K)
        Draws of the sites' own values, their errors taken off.
    """

    tau: float
    lower: float
    upper: float
    observed: float
    noise: float
    sites: np.ndarray


def error_covariance(draws: np.ndarray, effective: float) -> np.ndarray:
    """Covariance of the sites' errors from posterior draws, regular for any number of sites.

    Parameters
    ----------
    draws : ndarray, shape (draw, K)
        Draws of the sites' effects without pooling.
    effective : float
        How many independent draws they are worth.

    Returns
    -------
    ndarray, shape (K, K)
        The sample covariance, its correlations shrunk towards their mean as far as they cannot be
        told from it (Schaefer and Strimmer 2005, constant correlation as the target). Both parts
        are covariances, and so is what lies between them, however much variances differ.
    """
    centred = draws - draws.mean(axis=0)
    sd = np.sqrt((centred**2).sum(axis=0) / (len(draws) - 1))
    z = centred / sd
    sample = z.T @ z / (len(draws) - 1)
    off = ~np.eye(sample.shape[0], dtype=bool)
    shared = min(max(float(sample[off].mean()), 0.0), _MOST_SHARED)
    # variance of each entry over draws, for as many as are independent
    fourth = (z**2).T @ z**2 / len(draws)
    variance = (fourth - sample**2)[off].sum() / effective
    distance = ((sample - shared)[off] ** 2).sum()
    weight = float(np.clip(variance / distance, 0.0, 1.0)) if distance > 0 else 1.0
    correlation = np.where(off, (1 - weight) * sample + weight * shared, 1.0)
    return np.asarray(correlation * np.outer(sd, sd))


def between_sites(
    estimate: np.ndarray, covariance: np.ndarray, *, seed: int, ci_prob: float = CI_PROB
) -> Spread:
    """Random-effects sd of the sites' values, with its interval and draws of these values.

    Parameters
    ----------
    estimate : ndarray, shape (K,)
        Estimates without pooling; at least two.
    covariance : ndarray, shape (K, K)
        Of their errors, positive definite.
    seed : int
        Of the draws.
    ci_prob : float
        Probability of the interval.

    Returns
    -------
    Spread
        In the unit of the estimates.

    Raises
    ------
    ValueError
        If a number is not finite, or the covariance is none.
    """
    degrees = len(estimate) - 1
    if not (np.isfinite(estimate).all() and np.isfinite(covariance).all()):
        raise ValueError("estimates and the covariance of their errors must be finite")
    # a common variance tau^2 leaves the eigenvectors as they are
    errors, vectors = np.linalg.eigh(covariance)
    largest = float(errors[-1])
    if not (largest > 0 and errors[0] > -1e-8 * largest):
        raise ValueError("the covariance of the errors must be positive semi-definite and not 0")
    errors = np.maximum(errors, _SMALLEST * largest)
    y, one = vectors.T @ estimate, vectors.sum(axis=0)

    def mean_at(tau: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weight = 1 / (errors + tau[..., None] ** 2)
        precision = (weight * one**2).sum(axis=-1)
        return (weight * one * y).sum(axis=-1) / precision, precision

    def q(tau: np.ndarray) -> np.ndarray:
        mean, _ = mean_at(tau)
        square = (y - one * mean[..., None]) ** 2 / (errors + tau[..., None] ** 2)
        return np.asarray(square.sum(axis=-1))

    tail = (1 - ci_prob) / 2
    rng = np.random.default_rng(seed)
    tau = _drawn(q, degrees, rng)
    mean, precision = mean_at(tau)
    common = one * (mean + rng.normal(size=tau.shape) / np.sqrt(precision))[:, None]
    square = tau[:, None] ** 2
    within = square * errors / (square + errors)
    centre = (square * y + errors * common) / (square + errors)
    own = centre + np.sqrt(within) * rng.normal(size=centre.shape)
    off_mean = (covariance.sum() - np.trace(covariance)) / (len(estimate) * degrees)
    return Spread(
        tau=_solved(q, degrees),
        lower=_solved(q, chi2.isf(tail, degrees)),
        upper=_solved(q, chi2.ppf(tail, degrees)),
        observed=float(estimate.std(ddof=1)),
        noise=float(np.sqrt(max(np.diag(covariance).mean() - off_mean, 0.0))),
        sites=own @ vectors.T,
    )


_Statistic = Callable[[np.ndarray], np.ndarray]


def _solved(q: _Statistic, value: float) -> float:
    """Tau at which the falling statistic has a value; 0 where it is below it throughout."""

    def excess(tau: float) -> float:
        return float(q(np.array(tau))) - value

    if excess(0.0) <= 0:
        return 0.0
    top = 1.0
    while excess(top) > 0:
        top *= 2
    return float(brentq(excess, 0.0, top, xtol=1e-12))


def _drawn(q: _Statistic, degrees: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of tau: where the statistic equals a draw from its law, 0 where it never does."""
    top = _solved(q, chi2.ppf(_BEYOND, degrees))
    # denser near 0, where the statistic falls fastest
    grid = top * np.linspace(0, 1, _GRID) ** 2
    drawn = chi2.ppf(rng.uniform(_BEYOND, 1, _DRAWS), degrees)
    return np.asarray(np.interp(-drawn, -q(grid), grid))
