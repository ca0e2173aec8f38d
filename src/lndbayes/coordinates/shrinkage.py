"""Regressions of many alike coordinates on a few shared ones, from few draws."""

from __future__ import annotations

import numpy as np

from lndbayes.coordinates.groups import CoordinateGroups

__all__ = ["LEAST_SD", "regressions", "towards_mean"]

#: Spread below which a coordinate did not move.
LEAST_SD = 1e-6


def regressions(z: np.ndarray, whitened: np.ndarray, groups: CoordinateGroups) -> np.ndarray:
    """Coefficients of each further coordinate on the shared ones, alike ones towards their mean.

    Parameters
    ----------
    z : ndarray, shape (N, D)
        Standardised draws.
    whitened : ndarray, shape (N, K)
        What is shared, standardised and uncorrelated.
    groups : CoordinateGroups
        How many of the D are shared, and which others are alike: those in one place of a group.

    Returns
    -------
    ndarray, shape (D - shared, K)
    """
    half = len(z) // 2
    first, second = (
        z[own, groups.shared :].T @ whitened[own] / half
        for own in (slice(half), slice(-half, None))
    )
    out = np.asarray((first + second) / 2)
    for index in groups.correlated.T:
        rows = index[index >= 0] - groups.shared
        out[rows] = towards_mean(out[rows], _noise_of_halves(first[rows], second[rows]))
    return out


def towards_mean(rows: np.ndarray, noise: float | np.ndarray) -> np.ndarray:
    """Shrink each column towards its mean by the share of its variance that is noise.

    References
    ----------
    James, Stein (1961). Estimation with quadratic loss. Proc. Fourth Berkeley Symposium 1, 361-379.
    """
    if len(rows) < 4:
        return rows
    centre = rows.mean(axis=0)
    spread = np.maximum(rows.var(axis=0, ddof=1), 1e-300)
    return np.asarray(centre + np.maximum(1.0 - noise / spread, 0.0) * (rows - centre))


def _noise_of_halves(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Part of each column's variance that is noise, from two independent estimates.

    What two halves of the draws agree about is no noise. A number of draws would not do: those of
    a slow scale are worth few independent ones, and what is regressed on it has that much more
    noise.
    """
    if len(first) < 4:
        return np.zeros(first.shape[1])
    one, other = first - first.mean(axis=0), second - second.mean(axis=0)
    agreed = (one * other).sum(axis=0) / (len(first) - 1)
    return np.asarray(((first + second) / 2).var(axis=0, ddof=1) - np.maximum(agreed, 0.0))
