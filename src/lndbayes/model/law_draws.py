"""The law of sites given their scales, found from draws and the curvature of the density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lndbayes.model.metric_parts import MetricParts
from lndbayes.model.shrinkage import LEAST_SD, regressions
from lndbayes.model.site_law import SiteLaw, within_groups

__all__ = ["Curvature", "Gradient", "curvature_at", "law_from", "scores_told"]

#: Fills its second argument with the gradient of the log density at the first.
Gradient = Callable[[np.ndarray, np.ndarray], float]

#: Draws at which the density's curvature is looked at.
_POINTS = 16
#: Draws of scales over which a law's middles are averaged.
_SOME_DRAWS = 200


@dataclass(frozen=True)
class Curvature:
    """Where and how a log density's second derivatives are taken.

    Attributes
    ----------
    gradient : callable
        Of the log density.
    points : ndarray, shape (P, D)
        Some of the draws.
    step : ndarray, shape (D,)
        Of the differences.
    """

    gradient: Gradient
    points: np.ndarray
    step: np.ndarray

    def within(self, members: np.ndarray) -> np.ndarray:
        """Negative second derivatives within groups at each point, shape (P, G, m, m)."""
        # which way groups move is no part of the model: the same at every call
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (len(self.points), *members.shape))
        return np.stack(
            [
                within_groups(self.gradient, point, members, self.step, sign)
                for point, sign in zip(self.points, signs, strict=True)
            ]
        )


def curvature_at(draws: np.ndarray, gradient: Gradient) -> Curvature:
    """Take curvature at some of the draws, shape (N, D), in steps small beside their spread."""
    points = draws[np.linspace(0, len(draws) - 1, _POINTS).astype(int)]
    return Curvature(gradient, points, 1e-3 * np.clip(draws.std(axis=0), 1e-2, 1.0))


def law_from(x: np.ndarray, parts: MetricParts, curvature: Curvature) -> SiteLaw:
    """Law of sites' coordinates given their scales.

    Its information is the density's mean curvature about the draws, by least squares in the
    products of two scales, since more is seen of it where scales are larger. Its score makes the
    mean of its middles that of the draws, weighted by the scales (the maximum of its likelihood).

    Parameters
    ----------
    x : ndarray, shape (N, D)
        Unconstrained draws.
    parts : MetricParts
        Which coordinates are those of sites.
    curvature : Curvature
        From `curvature_at`.
    """
    members, scalars = parts.sites, parts.scalars
    if not members.size:
        return SiteLaw()
    is_one, prior = members >= 0, 1.0 * (scalars >= 0)
    v, typical = _scales(x, scalars)
    at_points = _scales(curvature.points, scalars, typical)[0]
    both = (at_points[:, :, None] * at_points[:, None, :])[:, None]
    likelihood = curvature.within(members) - np.diag(prior)
    known = (both * likelihood).sum(axis=0) / (both**2).sum(axis=0)
    values, vectors = np.linalg.eigh(known * (is_one[:, :, None] & is_one[:, None, :]))
    known = (vectors * np.maximum(values, 0.0)[:, None, :]) @ vectors.swapaxes(1, 2)
    taken = np.where(is_one, x[:, members], 0.0)
    # what no scale multiplies has no prior to fall back on: a little of what draws show instead
    spread = np.maximum(taken.var(axis=0), LEAST_SD**2)
    known += np.where(prior > 0, 0.0, 0.01 / spread)[:, :, None] * np.eye(len(scalars))
    total = (taken * v[:, None, :]).mean(axis=0)
    score = np.linalg.solve(_gains(v, prior, known), total[..., None])[..., 0]
    return SiteLaw(members, scalars, known / np.multiply.outer(typical, typical), score / typical)


def scores_told(x: np.ndarray, among: np.ndarray, law: SiteLaw, parts: MetricParts) -> np.ndarray:
    """What standard coordinates that sites share add to the sites' scores.

    Least squares in the products of coordinates and scales: there what is told does not depend on
    the scales, and draws with larger ones, of which more is seen, count more.

    Parameters
    ----------
    x : ndarray, shape (N, D)
        Unconstrained draws.
    among : ndarray, shape (N, K)
        What is shared in the same draws, standardised and uncorrelated.
    law : SiteLaw
        From `law_from`.
    parts : MetricParts
        Which coordinates are alike.

    Returns
    -------
    ndarray, shape (S, m, K)
        0 where a site has no such coordinate.
    """
    is_one, prior = law.members >= 0, 1.0 * (law.scalars >= 0)
    v, typical = _scales(x, law.scalars)
    middle = x.copy()
    law.bend(np.zeros_like(x), np.zeros_like(x), middle)
    left = np.zeros_like(x)
    left[:, law.members[is_one]] = ((x - middle)[:, law.members] * v[:, None, :])[:, is_one]
    sd = np.maximum(left.std(axis=0), LEAST_SD)
    found = np.zeros((x.shape[1], among.shape[1]))
    found[parts.shared :] = regressions(left / sd, among, parts) * sd[parts.shared :, None]
    gains = _gains(v, prior, law.information * np.multiply.outer(typical, typical))
    moves = np.where(is_one[..., None], found[law.members], 0.0)
    return np.asarray(np.linalg.solve(gains, moves) / typical[:, None])


def _scales(
    x: np.ndarray, scalars: np.ndarray, typical: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scale of each kind over a typical one, shape (N, m); by default the draws' geometric mean."""
    log_v = np.where(scalars >= 0, x[:, np.maximum(scalars, 0)], 0.0)
    centre = log_v.mean(axis=0) if typical is None else np.log(typical)
    return np.exp(log_v - centre), np.exp(centre)


def _gains(v: np.ndarray, prior: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean over draws of ``v P^-1 v``: how the mean of products follows a score, in v's units."""
    some = v[:: -(-len(v) // _SOME_DRAWS)]
    products = (some[:, :, None] * some[:, None, :])[:, None]
    return np.asarray((products * np.linalg.inv(np.diag(prior) + products * known)).mean(axis=0))
