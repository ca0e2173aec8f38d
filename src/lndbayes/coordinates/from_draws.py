"""Coordinates found from draws: their covariance, and the density's curvature at some of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lndbayes.coordinates.groups import CoordinateGroups, Run
from lndbayes.coordinates.shrinkage import LEAST_SD, regressions, towards_mean
from lndbayes.coordinates.site_gaussian_draws import (
    Curvature,
    Gradient,
    curvature_at,
    site_gaussian_from,
)
from lndbayes.coordinates.transform import Coordinates, NonlinearMap

__all__ = ["coordinates_from"]

#: Draws of a scale that are worth one independent draw of it.
_THINNING = 5
#: Draws that coordinates are found from, at most.
_MOST_DRAWS = 2000


def coordinates_from(x: np.ndarray, groups: CoordinateGroups, gradient: Gradient) -> Coordinates:
    """Coordinates in which draws are near a standard normal.

    Parameters
    ----------
    x : ndarray, shape (chain, draw, D)
        Unconstrained draws.
    groups : CoordinateGroups
        From `lndbayes.coordinates.groups.coordinate_groups`: the shared coordinates are taken with
        all their correlations, those of sites by their Gaussian given these, every other one with
        its regression on the shared ones and within its group.
    gradient : callable
        Fills its second argument with the gradient of the log density at the first.

    Returns
    -------
    Coordinates
        Its nonlinear map has skewness and variances from the draws, and the sites' Gaussian from
        the density's curvature at some of them, which has no sampling error that adds up over many
        sites. The covariance of what the map leaves is that of the draws, within groups that of
        curvature. So few draws are enough: covariance is shrunk towards its diagonal as if by as
        many more draws without correlation as there are shared coordinates, and regressions of
        groups, which should be alike, towards their mean, by the share of their spread that is
        noise (James and Stein).
    """
    draws = x.reshape(-1, x.shape[-1])
    draws = draws[:: -(-len(draws) // _MOST_DRAWS)]
    curvature = curvature_at(draws, gradient)
    gaussian = site_gaussian_from(draws, groups, curvature)
    nonlinear = replace(_nonlinear_from(draws, groups), gaussian=gaussian)
    flat, _ = nonlinear.inverse(draws)
    shared = groups.shared
    # a coordinate that never moved has no scale of its own
    mean, sd = flat.mean(axis=0), np.maximum(flat.std(axis=0), LEAST_SD)
    z = (flat - mean) / sd
    weight = len(flat) / (len(flat) + shared)
    top = weight * (z[:, :shared].T @ z[:, :shared]) / len(flat)
    np.fill_diagonal(top, 1.0)
    root = np.linalg.cholesky(top)
    whitened = np.linalg.solve(root, z[:, :shared].T).T
    factor = np.vstack([root, weight * regressions(z, whitened, groups)]) * sd[:, None]
    # their dependence on shared coordinates is in the site Gaussian
    of_sites = gaussian.members[gaussian.members >= 0]
    factor[of_sites] = 0.0
    explained = whitened @ factor.T
    # what the shared coordinates do not explain; never nothing, however few the draws
    least = 0.2 * sd
    least[of_sites] = 0.2  # under the site Gaussian it is 1
    rest = np.maximum((flat - explained).std(axis=0), least)
    rest[:shared] = 0.0
    local = _within(curvature, nonlinear, groups.correlated, rest)
    rest[groups.correlated] = 0.0
    return Coordinates(mean, rest, factor, local, groups.correlated, nonlinear)


def _within(
    curvature: Curvature, nonlinear: NonlinearMap, members: np.ndarray, sd: np.ndarray
) -> np.ndarray:
    """Factors of the covariance within each group, from curvature, in the coordinates w."""
    if not members.size:
        return np.zeros((len(members), members.shape[1], members.shape[1]))
    slopes = np.stack(
        [nonlinear.slopes(nonlinear.inverse(x)[0])[members] for x in curvature.points]
    )
    scale = slopes * sd[members]
    known = curvature.within(members)
    if nonlinear.gaussian.reference_mix.size:
        # sites follow their shares: what is left is known of shares alone
        known = known - nonlinear.gaussian.explained_curvature(curvature.points)
    precision = (scale[..., :, None] * known * scale[..., None, :]).mean(axis=0)
    values, vectors = np.linalg.eigh(precision)
    # where the density is flat, what draws show of each coordinate
    covariance = (vectors / np.maximum(values, 0.25)[:, None, :]) @ vectors.swapaxes(1, 2)
    return np.linalg.cholesky(covariance) * sd[members][..., None]


#: Skewness of the sinh-arcsinh distribution by its parameter e, by Gauss-Hermite quadrature. More
#: skewness than the last row's is taken for that: the distribution then hardly gets more skewed.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(101)
_SKEW_PARAMETER = np.linspace(0.0, 1.0, 41)


def _sinh_arcsinh(e: np.ndarray) -> np.ndarray:
    return _NODES * np.cosh(e)[..., None] + np.sqrt(1 + _NODES**2) * np.sinh(e)[..., None]


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, sd and skewness over the last axis."""
    weights = weights / weights.sum()
    mean = values @ weights
    centred = values - mean[..., None]
    sd = np.sqrt(centred**2 @ weights)
    # the cube of the least number must be one too
    return mean, sd, (centred**3 @ weights) / np.maximum(sd, 1e-100) ** 3


_SKEWNESS = _moments(_sinh_arcsinh(_SKEW_PARAMETER), _WEIGHTS)[2]


def _nonlinear_from(flat: np.ndarray, groups: CoordinateGroups) -> NonlinearMap:
    """Map that removes the skewness of scales, and the dependence of spreads on them."""
    scales = flat[:, groups.scales].T
    mean, sd, skewness = _moments(scales, np.ones(len(flat)))
    noise = 6.0 * _THINNING / len(flat)
    skewness = skewness * np.maximum(1.0 - noise / np.maximum(skewness**2, 1e-300), 0.0)
    e = np.sign(skewness) * np.interp(np.abs(skewness), _SKEWNESS, _SKEW_PARAMETER)
    family_mean, family_sd, _ = _moments(_sinh_arcsinh(e), _WEIGHTS)
    width = sd / family_sd
    # what never moved has a spread by rounding, which must not become a width
    is_skewed = (e != 0) & (sd > LEAST_SD)
    shape = np.column_stack([mean - width * family_mean, width, np.cosh(e), np.sinh(e)])[is_skewed]
    skewed = np.asarray(groups.scales, dtype=np.int64)[is_skewed]
    places = [(run.scalar, run.first, run.last, run.rate) for run in groups.runs]
    runs = np.array(places, dtype=np.int64).reshape(-1, 4)
    known = [_run_from(flat, run) for run in groups.runs]
    middle, information = (np.concatenate([np.zeros(0), *(k[i] for k in known)]) for i in (0, 1))
    return NonlinearMap(skewed, shape, runs, middle, information)


def _run_from(flat: np.ndarray, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Middle and information of a run's coordinates."""
    z = flat[:, run.first : run.last]
    if run.information is not None:
        return z.mean(axis=0), run.information
    return np.zeros(z.shape[1]), _information(z, flat[:, run.scalar])


def _information(z: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """Information that leaves coordinates the variance they have, on average over their scale."""
    variance = towards_mean(z.var(axis=0)[:, None], 2.0 * _THINNING / len(z))[:, 0]
    centre = log_scale.mean()
    squares = np.exp(2 * (np.quantile(log_scale, np.linspace(0.01, 0.99, 50)) - centre))
    low, high = np.full(len(variance), -12.0), np.full(len(variance), 12.0)
    for _ in range(40):
        middle = (low + high) / 2
        larger = (1 / (1 + squares[:, None] * np.exp(middle))).mean(axis=0) > variance
        low, high = np.where(larger, middle, low), np.where(larger, high, middle)
    # a variance of the prior's or more is that of no information
    return np.asarray(np.where(variance < 1, np.exp(low - 2 * centre), 0.0))
