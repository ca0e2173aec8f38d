"""What the data alone say of site effects: a fit's posterior with its own prior taken out again.

A second stage that took first-stage posteriors as data would count each fit's pooling twice. Given
its hyperparameters h (mean, mix, wave, spread), a fit's prior on site effects is independent
normal, ``theta[s] | h ~ N(m[s], v)`` with m and v known draw by draw. If the likelihood of theta is
Gaussian with information K and vector b, then in every posterior

    score:  d/dtheta log p(theta | h, y) = b - K theta - (theta - m) / v

and integration by parts gives, for any positive weight w(h) and constant c,

    E[w (b - K theta)] = E[w (theta - m) / v]
    E[w (b - K theta)(theta - c)'] = E[w (theta - m)(theta - c)' / v] - E[w] I.

Two linear equations for K and b: exact whatever the prior of h is, with the hyperparameters
integrated over their posterior draws rather than fixed at a guess (score matching; Hyvärinen 2005).
The weight w = v removes every division by a spread near zero and lets those draws count most whose
pooling hides least. With one fixed h this is the subtraction of precisions.

References
----------
Hyvärinen (2005). Estimation of non-normalized statistical models by score matching. Journal of
Machine Learning Research 6, 695-709.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["SiteLikelihood", "drop_sites", "remove_prior"]

#: Fewest effective draws per site: the mean of an inverse covariance is then right to about 10%.
DRAWS_PER_SITE = 10

#: Information that counts as none, in units of the prior's: a direction is given no less.
FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class SiteLikelihood:
    """Gaussian likelihood of one outcome's site effects.

    Attributes
    ----------
    information : ndarray, shape (S, S)
        Symmetric, eigenvalues not below the floor; per squared unit of the effect.
    vector : ndarray, shape (S,)
        Information times the estimates; per unit of the effect.
    floored : int
        Directions whose information was raised to the floor: there the posterior was no narrower
        than its prior.
    effective_draws : float
        Draws behind it, after weighting.
    shift : ndarray, shape (S,)
        How well a Gaussian stands in for the likelihood: mean that it gives back with the fit's own
        hyperparameters, less the fit's, in the fit's posterior sds.
    width : ndarray, shape (S,)
        Likewise the sd that it gives back, over the fit's.
    """

    information: np.ndarray
    vector: np.ndarray
    floored: int
    effective_draws: float
    shift: np.ndarray
    width: np.ndarray


def remove_prior(effects: np.ndarray, deviations: np.ndarray, sd: np.ndarray) -> SiteLikelihood:
    """Take the fit's own prior out of its posterior of site effects.

    Parameters
    ----------
    effects : ndarray, shape (N, S)
        Posterior draws of site effects.
    deviations : ndarray, shape (N, S)
        The same draws less their conditional prior mean.
    sd : ndarray, shape (N,)
        The same draws' conditional prior sd.

    Returns
    -------
    SiteLikelihood

    Raises
    ------
    ValueError
        If a draw is not finite, an sd is not positive, there are fewer effective draws than
        `DRAWS_PER_SITE` for each site, or site effects do not vary.
    """
    if not (np.isfinite(effects).all() and np.isfinite(deviations).all()):
        raise ValueError("a draw of a site effect is not finite")
    if not (np.isfinite(sd).all() and (sd > 0).all()):
        raise ValueError("a draw of the sd between sites is not finite and above 0")
    weight = sd**2 / (sd**2).sum()
    effective = float(1 / (weight**2).sum())
    sites = effects.shape[1]
    if effective < DRAWS_PER_SITE * sites:
        rule = f"{effective:.0f} effective draws are too few for {sites} sites"
        raise ValueError(f"{rule}: at least {DRAWS_PER_SITE * sites} are needed")
    mean = weight @ effects
    centred = effects - mean
    covariance = (weight[:, None] * centred).T @ centred
    variance = float((sd**2).mean())
    # both right-hand sides over the mean of the weights, the prior variance
    told = np.eye(sites) - deviations.T @ centred / (len(sd) * variance)
    information = _symmetric_solution(told, covariance)
    vector = information @ mean + deviations.mean(axis=0) / variance
    information, vector, floored = _floored(information, vector, mean, FLOOR / variance)
    again_mean, again_sd = _given_back(information, vector, effects - deviations, sd**2)
    own_sd = effects.std(axis=0, ddof=1)
    return SiteLikelihood(
        information,
        vector,
        floored,
        effective,
        shift=(again_mean - effects.mean(axis=0)) / own_sd,
        width=again_sd / own_sd,
    )


def _given_back(
    information: np.ndarray, vector: np.ndarray, centre: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of site effects when the likelihood meets the fit's hyperparameter draws again.

    `centre` (N, S) and `variance` (N,) are the conditional prior of each draw.
    """
    values, axes = np.linalg.eigh(information)
    inflated = 1 + variance[:, None] * values
    means = ((variance[:, None] * (vector @ axes) + centre @ axes) / inflated) @ axes.T
    within = (axes**2) @ (variance[:, None] / inflated).mean(axis=0)
    return means.mean(axis=0), np.sqrt(within + means.var(axis=0, ddof=1))


def _symmetric_solution(right: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Solve K V = R for symmetric K, in the least squares that score matching minimises.

    R is only nearly what makes K symmetric: K V + V K = R + R' has one solution, the minimiser.
    """
    values, axes = np.linalg.eigh(covariance)
    if values[0] <= 1e-12 * values[-1]:
        raise ValueError("site effects do not vary, or two sites' draws are the same")
    turned = axes.T @ (right + right.T) @ axes
    return np.asarray(axes @ (turned / (values[:, None] + values[None, :])) @ axes.T)


def _floored(
    information: np.ndarray, vector: np.ndarray, mean: np.ndarray, floor: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Raise eigenvalues to the floor, with an estimate at the posterior mean where that is done."""
    values, axes = np.linalg.eigh(information)
    low = values < floor
    told = axes.T @ vector
    told[low] = floor * (axes.T @ mean)[low]
    values = np.where(low, floor, values)
    return np.asarray((axes * values) @ axes.T), np.asarray(axes @ told), int(low.sum())


def drop_sites(
    information: np.ndarray, vector: np.ndarray, sites: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take some sites' data out of a likelihood: that of the other sites' estimates alone.

    Estimates are N(theta, K^-1), so the others' information is the Schur complement; the sites
    taken out are left with information zero.

    Parameters
    ----------
    information : ndarray, shape (S, S)
    vector : ndarray, shape (S,)
    sites : ndarray of int
        Positions.

    Returns
    -------
    information : ndarray, shape (S, S)
    vector : ndarray, shape (S,)
    """
    if len(sites) == 0:
        return information, vector
    across = information[:, sites]
    pull = np.linalg.solve(information[np.ix_(sites, sites)], across.T)  # (H, S)
    left = information - across @ pull
    rest = vector - pull.T @ vector[sites]
    left[sites], left[:, sites], rest[sites] = 0.0, 0.0, 0.0
    return (left + left.T) / 2, rest
