"""The Gaussian of sites given their scales, found from draws and the curvature of the density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import hadamard

from lndbayes.coordinates.groups import CoordinateGroups
from lndbayes.coordinates.shrinkage import LEAST_SD
from lndbayes.coordinates.site_gaussian import SiteGaussian, within_groups

__all__ = ["Curvature", "Gradient", "curvature_at", "site_gaussian_from"]

#: Fills its second argument with the gradient of the log density at the first.
Gradient = Callable[[np.ndarray, np.ndarray], float]

#: Draws at which the density's curvature is looked at: a power of two, as Hadamard matrices have
#: rows, and more than the 27 sites.
_POINTS = 32
#: Of the solution for what sites follow: as near as this in the sites' own units, or so many steps.
_CLOSE, _MOST_STEPS = 0.001, 30
#: Draws of scales over which the Gaussian's means are averaged.
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
        signs = _signs(len(self.points), len(members))[..., None] * np.ones(members.shape[1])
        return np.stack(
            [
                within_groups(self.gradient, point, members, self.step, sign)
                for point, sign in zip(self.points, signs, strict=True)
            ]
        )

    def product_at(self, point: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Product of the negative second derivatives at a point with directions, (K, D)."""
        here = np.empty_like(point)
        self.gradient(point, here)

        def along(directions: np.ndarray) -> np.ndarray:
            out, there = np.zeros_like(directions), np.empty_like(point)
            for k, direction in enumerate(directions):
                most = np.abs(direction / self.step).max()
                if most > 0:
                    self.gradient(point + direction / most, there)
                    out[k] = (here - there) * most
            return out

        return along


def _signs(points: int, groups: int) -> np.ndarray:
    """Which way each group moves at each point, shape (points, groups).

    Any two of as many groups as there are points go the same way at half of the points: what they
    have to do with each other cancels exactly, where the density curves alike at all points. By
    chance it would cancel on average, and a few percent of what other sites know are more than
    what is known of a direction that data hardly see (Bekas, Kokiopoulou and Saad 2007).
    """
    rows = hadamard(points)
    turned = np.random.default_rng(0).choice([-1.0, 1.0], groups)
    return rows[:, np.arange(groups) % rows.shape[1]] * turned


def curvature_at(draws: np.ndarray, gradient: Gradient) -> Curvature:
    """Take curvature at some of the draws, shape (N, D), in steps small beside their spread."""
    points = draws[np.linspace(0, len(draws) - 1, _POINTS).astype(int)]
    return Curvature(gradient, points, 1e-5 * np.clip(draws.std(axis=0), 1e-2, 1.0))


def site_gaussian_from(
    x: np.ndarray, groups: CoordinateGroups, curvature: Curvature
) -> SiteGaussian:
    """Gaussian of sites' coordinates given their scales and all that sites share.

    Its information is the density's mean curvature at draws of the products of coordinates and
    scales, with typical scales. Shared coordinates move the score so that sites' means follow
    them as the density's modes do. The score makes the mean of the means that of the draws,
    weighted by the scales (the maximum of its likelihood).

    Parameters
    ----------
    x : ndarray, shape (N, D)
        Unconstrained draws.
    groups : CoordinateGroups
        Which coordinates are those of sites.
    curvature : Curvature
        From `curvature_at`.
    """
    members, scalars = groups.sites, groups.scalars
    if not members.size:
        return SiteGaussian()
    is_one, prior = members >= 0, 1.0 * (scalars >= 0)
    v, typical = _scales(x, scalars)
    moved = replace(curvature, points=_at_typical_scales(curvature.points, x.mean(axis=0), groups))
    known = moved.within(members).mean(axis=0) - np.diag(prior)
    values, vectors = np.linalg.eigh(known * (is_one[:, :, None] & is_one[:, None, :]))
    known = (vectors * np.maximum(values, 0.0)[:, None, :]) @ vectors.swapaxes(1, 2)
    taken = np.where(is_one, x[:, members], 0.0)
    # what no scale multiplies has no prior to fall back on: a little of what draws show instead
    spread = np.maximum(taken.var(axis=0), LEAST_SD**2)
    known += np.where(prior > 0, 0.0, 0.01 / spread)[:, :, None] * np.eye(len(scalars))
    information = known / np.multiply.outer(typical, typical)
    gaussian = SiteGaussian(
        members, scalars, information, 0.0 * members, _score_slope(x, groups, curvature, known)
    )
    gaussian = replace(gaussian, shared_scalars=groups.shared_scalars)
    if groups.mix_at.size:
        gaussian = replace(
            gaussian, mix_at=groups.mix_at, reference_mix=np.zeros((len(members), _mixed(groups)))
        )
        gaussian = replace(gaussian, reference_mix=gaussian.shares(_middle(x, groups)))
    middle = x.copy()
    gaussian.forward(np.zeros_like(x), middle)
    left = np.where(is_one, (x - middle)[:, members], 0.0) * v[:, None, :]
    score = np.linalg.solve(_gains(v, prior, known), left.mean(axis=0)[..., None])[..., 0]
    return replace(gaussian, score=score / typical)


def _score_slope(
    x: np.ndarray, groups: CoordinateGroups, curvature: Curvature, known: np.ndarray
) -> np.ndarray:
    """Slope of the sites' scores in shared coordinates times their scales, shape (S, m, K).

    From how the density's mode of all sites together follows each of them. Sites alone would not
    do: deviations sum to zero, so that all of them cannot follow what all sites share.
    """
    members, scalars = groups.sites, groups.scalars
    is_one = members >= 0
    # scales, of sites or of what is shared, say nothing beyond what they multiply
    others = np.setdiff1d(np.arange(groups.shared), np.union1d(scalars, groups.shared_scalars))
    typical = x.mean(axis=0)
    point = _middle(x, groups)
    own = np.where(is_one[:, None, :] & is_one[:, :, None], known, 0.0)
    own += np.where(is_one, 1.0 * (scalars >= 0), 1.0)[:, None, :] * np.eye(len(scalars))
    product = curvature.product_at(point)

    def seen(direction: np.ndarray) -> np.ndarray:
        """Curvature along directions of sites, shape (K, S, m), as sites see it."""
        whole = np.zeros((len(direction), x.shape[1]))
        whole[:, members[is_one]] = direction[:, is_one]
        return np.where(is_one, product(whole)[:, members], 0.0)

    across = np.where(is_one, product(np.eye(x.shape[1])[others])[:, members], 0.0)
    follows = conjugate_gradients(seen, own, -across)
    score_slope = np.zeros((*members.shape, groups.shared))
    score_slope[..., others] = np.einsum("sij,ksj->sik", own, follows)
    scale = np.exp(np.where(scalars >= 0, typical[scalars], 0.0))
    size = np.exp(np.where(groups.shared_scalars >= 0, typical[groups.shared_scalars], 0.0))
    return score_slope / scale[:, None] / size


def _mixed(groups: CoordinateGroups) -> int:
    """How many interventions share a mix."""
    return 1 + groups.correlated.shape[1]


def _middle(x: np.ndarray, groups: CoordinateGroups) -> np.ndarray:
    """Where modes are followed from, and whose shares are the reference mix."""
    return np.asarray(_at_typical_scales(x, x.mean(axis=0), groups).mean(axis=0))


def conjugate_gradients(
    curvature: Callable[[np.ndarray], np.ndarray], near: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Solve with a curvature that is near a block diagonal one, for several right hand sides.

    Parameters
    ----------
    curvature : callable
        Product with each of K vectors, shape (K, S, m).
    near : ndarray, shape (S, m, m)
        The blocks.
    b : ndarray, shape (K, S, m)
        Right hand sides.

    Returns
    -------
    ndarray, shape (K, S, m)

    References
    ----------
    Hestenes, Stiefel (1952). Methods of conjugate gradients for solving linear systems. Journal of
    Research of the National Bureau of Standards 49, 409-436.
    """
    inverse = np.linalg.inv(near)

    def dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.einsum("ksm,ksm->k", one, other)

    found, left = np.zeros_like(b), b.copy()
    direction = np.einsum("sij,ksj->ksi", inverse, left)
    size = dot(left, direction)
    enough = _CLOSE**2 * size
    for _ in range(_MOST_STEPS):
        on = size > enough
        if not on.any():
            break
        image = curvature(direction * on[:, None, None])
        steep = dot(direction, image)
        # where the density curves the wrong way, as in a tail, what was found so far has to do
        on &= steep > 0
        step = np.where(on, size / np.where(on, steep, 1.0), 0.0)[:, None, None]
        found, left = found + step * direction, left - step * image
        towards = np.einsum("sij,ksj->ksi", inverse, left)
        before, size = size, np.where(on, dot(left, towards), 0.0)
        turn = np.where(on, size / np.where(on, before, 1.0), 0.0)
        direction = towards + turn[:, None, None] * direction
    return found


def _at_typical_scales(
    points: np.ndarray, typical: np.ndarray, groups: CoordinateGroups
) -> np.ndarray:
    """Points with the same products of coordinates and scales, and the same scales at each."""
    out = points.copy()
    pairs = [(groups.sites[:, k], at) for k, at in enumerate(groups.scalars.tolist())]
    pairs += [(np.array([j]), at) for j, at in enumerate(groups.shared_scalars.tolist())]
    for members, at in pairs:
        if at >= 0:
            ratio = np.exp(points[:, at] - typical[at])
            out[:, members[members >= 0]] *= ratio[:, None]
            out[:, at] = typical[at]
    return out


def _scales(x: np.ndarray, scalars: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale of each kind over a typical one, the draws' geometric mean, shape (N, m)."""
    log_v = np.where(scalars >= 0, x[:, scalars], 0.0)
    centre = log_v.mean(axis=0)
    return np.exp(log_v - centre), np.exp(centre)


def _gains(v: np.ndarray, prior: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean over draws of ``v P^-1 v``: how the mean of products follows a score, in v's units."""
    some = v[:: -(-len(v) // _SOME_DRAWS)]
    outer = (some[:, :, None] * some[:, None, :])[:, None]
    return np.asarray((outer * np.linalg.inv(np.diag(prior) + outer * known)).mean(axis=0))
