"""The second stage of effects by stratum: normal effects about a common mean, exactly.

An estimate y_v of each stratum's effect theta_v has the standard error e_v. Then

    y_v ~ N(theta_v, e_v^2),  theta_v = mu + delta_v,  delta_v ~ N(0, s^2),
    mu ~ N(m, m_sd^2),  s ~ HalfNormal(scale).

Given s everything is normal, so that s alone is integrated, on a grid, and draws are independent:
s from the grid, mu given s, theta given both. Nothing is iterated and nothing has to converge. This
is the normal hierarchical model of Rubin's eight schools (Gelman et al. 2013, section 5.4), there
with a flat prior.

References
----------
Gelman, Carlin, Stern, Dunson, Vehtari and Rubin (2013). Bayesian Data Analysis, third edition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["CHAINS", "DRAWS", "GRID", "PooledStrata", "pool_strata", "spread_posterior"]

#: Values of s: fine below the smallest standard error, then in equal ratios.
GRID = 4000

#: Chains and draws; the draws are independent.
CHAINS, DRAWS = 4, 2500


@dataclass(frozen=True, slots=True)
class PooledStrata:
    """Draws of the second stage, V strata.

    Attributes
    ----------
    effect : ndarray, shape (chain, draw, V)
    common : ndarray, shape (chain, draw)
        mu.
    spread : ndarray, shape (chain, draw)
        s.
    """

    effect: np.ndarray
    common: np.ndarray
    spread: np.ndarray


def spread_posterior(
    estimate: np.ndarray, error: np.ndarray, prior: tuple[float, float], scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of s on a grid: midpoints and their probabilities, each of shape (GRID,).

    Parameters
    ----------
    estimate, error : ndarray, shape (V,)
        Estimates and their standard errors, link scale.
    prior : tuple of float
        Mean and sd of mu.
    scale : float
        Scale of the half-normal prior of s; 0 puts all of it at zero.
    """
    # far beyond the prior and, should estimates lie far apart, beyond what they ask for
    top = 8 * scale + np.ptp(estimate) * (scale > 0)
    unit = float(np.min(error))
    at = (np.arange(GRID) + 0.5) * np.arcsinh(top / unit) / GRID
    grid = unit * np.sinh(at)
    mean, sd = prior
    weight = 1 / (error**2 + grid[:, None] ** 2)
    gap = estimate - mean
    total, pull = weight.sum(axis=1), weight @ gap
    # normal with covariance diag(1 / weight) + sd^2 J, by the matrix determinant and inverse lemmas
    log_p = 0.5 * np.log(weight).sum(axis=1) - 0.5 * np.log1p(sd**2 * total)
    log_p += np.log(np.cosh(at))  # width of a step
    log_p -= 0.5 * (weight @ gap**2 - pull**2 / (1 / sd**2 + total))
    if scale > 0:
        log_p -= 0.5 * (grid / scale) ** 2
    p = np.exp(log_p - log_p.max())
    return grid, p / p.sum()


def pool_strata(
    estimate: np.ndarray,
    error: np.ndarray,
    prior: tuple[float, float],
    scale: float,
    *,
    seed: int,
    chains: int = CHAINS,
    draws: int = DRAWS,
) -> PooledStrata:
    """Draw from the posterior of the strata's effects.

    Parameters
    ----------
    estimate, error, prior, scale
        See `spread_posterior`. With scale 0 all strata have one effect; where s is large beside the
        errors each keeps its own.
    seed : int
    chains, draws : int
        Shape of the draws, which are independent.

    Returns
    -------
    PooledStrata

    Raises
    ------
    ValueError
        If an estimate is not finite, an error or the sd of mu is not positive and finite, or the
        scale is negative.
    """
    positive = np.array([*error, prior[1]], dtype=float)
    usable = np.isfinite([*estimate, *positive, prior[0], scale]).all()
    if not (usable and (positive > 0).all() and scale >= 0):
        raise ValueError("estimates must be finite, standard errors and sds positive")
    rng = np.random.default_rng([seed, 29])
    grid, p = spread_posterior(estimate, error, prior, scale)
    spread = rng.choice(grid, size=(chains, draws), p=p)
    weight = 1 / (error**2 + spread[..., None] ** 2)
    precision = 1 / prior[1] ** 2 + weight.sum(axis=-1)
    middle = (prior[0] / prior[1] ** 2 + weight @ estimate) / precision
    common = middle + rng.normal(size=middle.shape) / np.sqrt(precision)
    # the share of an estimate's distance from mu that is kept; s = 0 keeps nothing
    kept = spread[..., None] ** 2 * weight
    effect = common[..., None] + kept * (estimate - common[..., None])
    effect += np.sqrt(kept) * error * rng.normal(size=effect.shape)
    return PooledStrata(effect, common, spread)
