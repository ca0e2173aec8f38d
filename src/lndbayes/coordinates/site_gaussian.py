"""Gaussian of a site's coordinates given the scales that multiply them.

What a site's data know of its drift, curves, effect, level and record bias is nearly a normal
likelihood of their products with the scales. Prior and likelihood together are then normal given
the scales, with a mean and a covariance that follow all of them at once. In coordinates that are
standard normal under it, scales and sites are nearly independent, however many sites there
are, and however much is known of each.

References
----------
Papaspiliopoulos, Roberts, Sköld (2003). Non-centered parameterisations for hierarchical models and
data augmentation. Bayesian Statistics 7, 307-326.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lndbayes.model.layout import extend_zero_sum, simplex

__all__ = ["SiteGaussian", "within_groups"]


@dataclass(frozen=True)
class SiteGaussian:
    """From standard coordinates w of each site to its unconstrained x.

    With the products ``b = v x`` of coordinates and scales and the likelihood
    ``exp(score b - b information b / 2)``, x has the precision
    ``P = prior + v information v = L L'`` and the mean ``P^-1 v score``; so
    ``x = L'^-1 (w + L^-1 v score)``. `prior` is 1 for what a scale multiplies. What all sites share
    moves the score: the first K coordinates, each times its own scale if it has one. Data inform
    a site's deviation through its sum with the effect of the site's mix, so that mix shifts the
    deviation's mean: by shares less the `reference_mix`, times the effects of interventions.

    Attributes
    ----------
    members : ndarray of int, shape (S, m)
        Coordinates of each site, one of each kind; -1 where a site has none.
    scalars : ndarray of int, shape (m,)
        Place of the log scale of each kind; -1 where none multiplies it.
    information : ndarray, shape (S, m, m)
        Positive semidefinite, and positive where no scale multiplies.
    score : ndarray, shape (S, m)
        In units of information times b; where all shared coordinates are 0.
    score_slope : ndarray, shape (S, m, K)
        What each shared coordinate, times its scale, adds to the score.
    shared_scalars : ndarray of int, shape (K,)
        Place of the log scale of each shared coordinate; -1 where none multiplies it.
    reference_mix : ndarray, shape (S, M)
        Shares of M interventions at which the shift is 0; M = 0: no mix.
    mix_at : ndarray of int, shape (4,)
        First coordinate of shares, M - 1 for each site; that of effects, M - 1; the place of the
        effects' log scale; which kind is the deviation.
    """

    members: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    scalars: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    information: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))
    score: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    score_slope: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))
    shared_scalars: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    reference_mix: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    mix_at: np.ndarray = field(default_factory=lambda: np.zeros(4, dtype=np.int64))

    def forward(self, w: np.ndarray, x: np.ndarray) -> None:
        """Fill sites' coordinates of x, shape (..., D), whose shared ones are already there."""
        rows, known = self._cholesky(x)
        left = self._gather(w)
        kinds = len(rows)
        for a in reversed(range(kinds)):
            value = left[a] + known[a]
            for b in range(a + 1, kinds):
                value = value - rows[b][a] * left[b]
            left[a] = value / rows[a][a]
        self._scatter(left, x)

    def inverse(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Undo `forward` into w; the log of its Jacobian determinant, shape (...)."""
        rows, known = self._cholesky(x)
        taken = self._gather(x)
        kinds = range(len(rows))
        out = [sum(rows[b][a] * taken[b] for b in kinds[a:]) - known[a] for a in kinds]
        self._scatter(out, w)
        return -sum((np.log(rows[a][a]).sum(axis=-1) for a in kinds), np.zeros(x.shape[:-1]))

    def factors(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Change of a site's x with its w, and with the shared x through the score, at one point.

        ``L'^-1``, shape (S, m, m), and ``P^-1 v`` times the change of the score, shape (S, m, K).
        """
        sites, kinds = self.members.shape
        rows, _ = self._cholesky(x)
        lower = np.zeros((sites, kinds, kinds))
        for a in range(kinds):
            for b in range(a + 1):
                lower[:, a, b] = rows[a][b]
        turn = np.linalg.inv(lower).swapaxes(1, 2)
        scale = [np.exp(x[at]) if at >= 0 else 1.0 for at in self.scalars.tolist()]
        gain = turn @ turn.swapaxes(1, 2) * np.array(scale)
        signals, own = self.signals(x), np.flatnonzero(self.shared_scalars >= 0)
        change = np.diag(self._sizes(x))
        change[own, self.shared_scalars[own]] += signals[own]
        return turn, gain @ self.score_slope @ change

    def signals(self, x: np.ndarray) -> np.ndarray:
        """Shared coordinates times their scales, shape (..., K)."""
        return np.asarray(x[..., : len(self.shared_scalars)] * self._sizes(x))

    def _sizes(self, x: np.ndarray) -> np.ndarray:
        return np.where(
            self.shared_scalars >= 0, np.exp(x[..., np.maximum(self.shared_scalars, 0)]), 1.0
        )

    def shares(self, x: np.ndarray) -> np.ndarray:
        """Each site's shares of interventions, shape (..., S, M)."""
        sites, kinds = self.reference_mix.shape
        first, length = self.mix_at[0], sites * (kinds - 1)
        logits = x[..., first : first + length].reshape(*x.shape[:-1], sites, kinds - 1)
        return simplex(logits)

    def effects(self, x: np.ndarray) -> np.ndarray:
        """Effects of interventions, which sum to zero, shape (..., M)."""
        kinds = self.reference_mix.shape[1]
        _, first, scale, _ = self.mix_at
        return np.asarray(
            np.exp(x[..., scale, None]) * extend_zero_sum(x[..., first : first + kinds - 1])
        )

    def explained_curvature(self, x: np.ndarray) -> np.ndarray:
        """Curvature in a site's shares that is explained by its `members` following them.

        Shape (..., S, M - 1, M - 1), at points x.
        """
        shares, effects = self.shares(x), self.effects(x)[..., None, :]
        kind = self.mix_at[3]
        rows, _ = self._cholesky(x)
        scale = [np.exp(x[..., at])[..., None] if at >= 0 else 1.0 for at in self.scalars.tolist()]
        # L^-1 v information, in the deviation's column: its square is the explained curvature
        taken = np.zeros(shares.shape[:-1])
        solved: list[np.ndarray] = []
        for a, own in enumerate(scale):
            here = own * self.information[:, a, kind]
            for b in range(a):
                here = here - rows[a][b] * solved[b]
            solved.append(here / rows[a][a])
            taken = taken + solved[a] ** 2
        pull = shares * (effects - (shares * effects).sum(axis=-1, keepdims=True))
        slope = pull[..., :-1] - pull[..., -1:]
        return np.asarray(taken[..., None, None] * slope[..., :, None] * slope[..., None, :])

    def _mix_mean_shift(self, x: np.ndarray) -> np.ndarray:
        """Shift of each site's deviation times its scale by its mix, shape (..., S)."""
        if not self.reference_mix.size:
            return np.zeros((*x.shape[:-1], len(self.members)))
        moved = self.shares(x) - self.reference_mix
        return np.asarray((moved * self.effects(x)[..., None, :]).sum(axis=-1))

    def _cholesky(self, x: np.ndarray) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
        """Rows of L and ``L^-1 v score``, each of shape (..., S)."""
        scale = [np.exp(x[..., at])[..., None] if at >= 0 else 1.0 for at in self.scalars.tolist()]
        signals, shift, kind = self.signals(x), self._mix_mean_shift(x), self.mix_at[3]
        rows: list[list[np.ndarray]] = []
        known: list[np.ndarray] = []
        for a, own in enumerate(scale):
            rows.append([])
            for b in range(a + 1):
                value = own * scale[b] * self.information[:, a, b]
                if a == b and self.scalars[a] >= 0:
                    value = value + 1.0
                for k in range(b):
                    value = value - rows[a][k] * rows[b][k]
                rows[a].append(np.sqrt(value) if a == b else value / rows[b][b])
            score = self.score[:, a] + signals @ self.score_slope[:, a].T
            here = own * (score - self.information[:, a, kind] * shift)
            for k in range(a):
                here = here - rows[a][k] * known[k]
            known.append(here / rows[a][a])
        return rows, known

    def _gather(self, x: np.ndarray) -> list[np.ndarray]:
        """Each kind's coordinates, 0 where a site has none."""
        return [np.where(at >= 0, x[..., at], 0.0) for at in self.members.T]

    def _scatter(self, values: list[np.ndarray], x: np.ndarray) -> None:
        for at, value in zip(self.members.T, values, strict=True):
            x[..., at[at >= 0]] = value[..., at >= 0]


def within_groups(
    evaluate: Callable[[np.ndarray, np.ndarray], float],
    x: np.ndarray,
    members: np.ndarray,
    step: np.ndarray,
    sign: np.ndarray,
) -> np.ndarray:
    """Negative second derivatives of a log density within disjoint groups of coordinates.

    One coordinate of every group moves at a time, so that the cost does not grow with the groups.
    What groups have to do with each other comes with signs that differ: over points it cancels, and
    so does what one-sided differences leave.

    Parameters
    ----------
    evaluate : callable
        Fills its second argument with the gradient at the first.
    x : ndarray, shape (D,)
        Where.
    members : ndarray of int, shape (G, m)
        Coordinates of each group; -1 where it has fewer.
    step : ndarray, shape (D,)
        Of the differences.
    sign : ndarray, shape (G, m)
        1 or -1: which way each group moves.

    Returns
    -------
    ndarray, shape (G, m, m)
        Symmetric; 0 in rows and columns without a member.

    References
    ----------
    Curtis, Powell, Reid (1974). On the estimation of sparse Jacobian matrices. IMA Journal of
    Applied Mathematics 13, 117-119.
    Bekas, Kokiopoulou, Saad (2007). An estimator for the diagonal of a matrix. Applied Numerical
    Mathematics 57, 1214-1229.
    """
    is_one = members >= 0
    out = np.zeros((*members.shape, members.shape[1]))
    here, there = np.empty_like(x), np.empty_like(x)
    evaluate(x, here)
    for j in range(members.shape[1]):
        moved = is_one[:, j]
        at = members[moved, j]
        change = step[at] * sign[moved, j]
        point = x.copy()
        point[at] += change
        evaluate(point, there)
        out[moved, :, j] = ((here - there)[members[moved]]) / change[:, None]
    out *= is_one[:, :, None] & is_one[:, None, :]
    return (out + out.swapaxes(1, 2)) / 2
