"""Coordinates in which a posterior is near a standard normal, found from draws of it.

A metric changes how fast a sampler moves, never what it samples: it is a bijection, and the density
takes its Jacobian into account. Its linear part takes off correlations. Its bends take off what no
linear map can: a scale that data hardly know has a long tail towards zero in its logarithm, and
the coordinates that it multiplies are known the better the larger it is.

References
----------
Jones, Pewsey (2009). Sinh-arcsinh distributions. Biometrika 96(4), 761-780.
Papaspiliopoulos, Roberts, Sköld (2007). A general framework for the parametrization of hierarchical
models. Statistical Science 22(1), 59-73.
Parno, Marzouk (2018). Transport map accelerated Markov chain Monte Carlo. SIAM/ASA Journal on
Uncertainty Quantification 6(2), 645-682.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lndbayes.model.metric_parts import MetricParts, Run

__all__ = ["Bends", "Metric", "metric_from", "without_bends"]


def _empty(*shape: int, dtype: type = float) -> np.ndarray:
    return np.zeros(shape, dtype=dtype)


@dataclass(frozen=True)
class Bends:
    """From coordinates w, linear in the sampler's, to the unconstrained x.

    A skewed coordinate is ``x = centre + width * (w cosh(e) + sqrt(1 + w^2) sinh(e))``: where w is
    standard normal, x has the sinh-arcsinh law with skewness of the sign of e. The coordinates of a
    `lndbayes.model.metric_parts.Run` are ``x = middle + w * spread``, where the spread follows a
    scalar v, itself stored as a logarithm: ``1 / sqrt(1 + v^2 information)``, what is left of a
    standard normal prior's where a normal likelihood knows the product with so much information; or
    ``sqrt(1 + information / v)``. The first kind comes first, so that scalars can be of it.

    Attributes
    ----------
    skewed : ndarray of int, shape (K,)
        Coordinates of the first kind.
    shape : ndarray, shape (K, 4)
        Centre, width, cosh(e) and sinh(e) of each.
    runs : ndarray of int, shape (B, 4)
        For each run of coordinates of the second kind the scalar's place, first, one past last, and
        the scalar's power in front of the information, 2 or -1.
    middle, information : ndarray, shape (sum of the runs' lengths,)
        Of each coordinate in the runs, in their order; information is at least 0.
    """

    skewed: np.ndarray = field(default_factory=lambda: _empty(0, dtype=np.int64))
    shape: np.ndarray = field(default_factory=lambda: _empty(0, 4))
    runs: np.ndarray = field(default_factory=lambda: _empty(0, 4, dtype=np.int64))
    middle: np.ndarray = field(default_factory=lambda: _empty(0))
    information: np.ndarray = field(default_factory=lambda: _empty(0))

    def bend(self, w: np.ndarray) -> np.ndarray:
        """Unconstrained coordinates x of points w, shape (..., D)."""
        x = w.copy()
        centre, width, cosh, sinh = self.shape.T
        u = w[..., self.skewed]
        x[..., self.skewed] = centre + width * (u * cosh + np.sqrt(1 + u * u) * sinh)
        for run, middle, spread in self._spreads(x):
            x[..., run] = middle + w[..., run] * spread
        return x

    def straighten(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Undo `bend`; also the log of its Jacobian determinant there, shape (...)."""
        w = x.copy()
        centre, width, _, sinh = self.shape.T
        u = np.sinh(np.arcsinh((x[..., self.skewed] - centre) / width) - np.arcsinh(sinh))
        w[..., self.skewed] = u
        jacobian = np.log(self._steepness(u)).sum(axis=-1)
        for run, middle, spread in self._spreads(x):
            w[..., run] = (x[..., run] - middle) / spread
            jacobian = jacobian + np.log(spread).sum(axis=-1)
        return w, jacobian

    def slopes(self, w: np.ndarray) -> np.ndarray:
        """Change of each x with its own w at a point, shape (D,)."""
        slope = np.ones_like(w)
        slope[self.skewed] = self._steepness(w[self.skewed])
        for run, _, spread in self._spreads(self.bend(w)):
            slope[run] = spread
        return slope

    def _steepness(self, u: np.ndarray) -> np.ndarray:
        """Change of each skewed coordinate with its own u, shape (..., K)."""
        _, width, cosh, sinh = self.shape.T
        return width * (cosh + u / np.sqrt(1 + u * u) * sinh)

    def _spreads(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Each run with its middle and its spread, shape (..., length)."""
        at = 0
        for scalar, first, last, rate in self.runs.tolist():
            own = slice(at, at + last - first)
            at = own.stop
            ratio = 1 + np.exp(rate * x[..., scalar])[..., None] * self.information[own]
            yield slice(first, last), self.middle[own], ratio ** (-0.5 if rate > 0 else 0.5)


@dataclass(frozen=True)
class Metric:
    """Coordinates y in which a posterior is near a standard normal.

    ``w = mean + scale * y``, plus `factor` times the first K coordinates y, plus `local` within
    each of B disjoint groups; `bends` lead from w to x. So K coordinates are correlated with
    everything, the rest with these and within their group. That costs K multiplications a
    coordinate: linear in sites, where a whole covariance would be quadratic.

    Attributes
    ----------
    mean : ndarray, shape (D,)
        Where ``y = 0`` lies, before the bends.
    scale : ndarray, shape (D,)
        Of coordinates that are in neither part; 0 for those that are.
    factor : ndarray, shape (D, K)
        Lower triangular in its first K rows.
    local : ndarray, shape (B, m, m)
        Lower triangular; rows without a member are 0.
    members : ndarray of int, shape (B, m)
        Coordinates of each group, in their order, then -1 where a group has fewer than m.
    bends : Bends
        From w to x; by default the two are the same.
    """

    mean: np.ndarray
    scale: np.ndarray
    factor: np.ndarray
    local: np.ndarray
    members: np.ndarray
    bends: Bends = field(default_factory=Bends)

    @staticmethod
    def diagonal(mean: np.ndarray, scale: np.ndarray) -> Metric:
        """Coordinates that are scaled one by one."""
        nothing = _empty(len(mean), 0), _empty(0, 0, 0), _empty(0, 0, dtype=np.int64)
        return Metric(mean, scale, *nothing)

    def to_x(self, y: np.ndarray) -> np.ndarray:
        """Coordinates x of points y, shape (..., D)."""
        w = self.mean + self.scale * y + y[..., : self.factor.shape[1]] @ self.factor.T
        moved = np.einsum("bij,...bj->...bi", self.local, y[..., self.members])
        is_one = self.members >= 0
        w[..., self.members[is_one]] += moved[..., is_one]
        return self.bends.bend(np.asarray(w))


def without_bends(metric: Metric) -> Metric:
    """Linear coordinates that agree with a metric's in its middle.

    Bends follow one posterior into its tails. Where another is far off they lead astray: what one
    data set knows of a scale's coordinates another does not.
    """
    slope = metric.bends.slopes(metric.mean)
    return Metric(
        metric.bends.bend(metric.mean),
        metric.scale * slope,
        metric.factor * slope[:, None],
        metric.local * slope[metric.members][..., None],
        metric.members,
    )


def metric_from(x: np.ndarray, parts: MetricParts) -> Metric:
    """Coordinates in which draws are near a standard normal.

    Parameters
    ----------
    x : ndarray, shape (chain, draw, D)
        Unconstrained draws.
    parts : MetricParts
        From `lndbayes.model.metric_parts.metric_parts`: the shared coordinates are taken with all
        their correlations, every other one with its regression on them and within its group.

    Returns
    -------
    Metric
        Its bends from the draws' skewness and variances, the rest from the covariance of what the
        bends leave. Few draws are enough: each part is shrunk towards its diagonal
        as if by as many more draws without correlation as it has coordinates, and regressions that
        should be alike towards their mean, by the share of their spread that is noise (James and
        Stein), since small errors of many sites would add up.
    """
    bent = x.reshape(-1, x.shape[-1])
    bends = _bends_from(bent, parts)
    flat, _ = bends.straighten(bent)
    shared = parts.shared
    mean = flat.mean(axis=0)
    # a coordinate that never moved has no scale of its own
    sd = np.maximum(flat.std(axis=0), _LEAST_SD)
    z = (flat - mean) / sd
    members = _table_of(parts.groups)
    weight = len(flat) / (len(flat) + max(shared, members.shape[1]))
    top = weight * (z[:, :shared].T @ z[:, :shared]) / len(flat)
    np.fill_diagonal(top, 1.0)
    factor = np.zeros((len(sd), shared))
    factor[:shared] = np.linalg.cholesky(top)
    whitened = np.linalg.solve(factor[:shared], z[:, :shared].T).T
    factor[shared:] = weight * (z[:, shared:].T @ whitened) / len(flat)
    for index in parts.alike:
        factor[index] = _towards_mean(factor[index], 1.0 / len(flat))
    # what the shared coordinates do not explain; never nothing, however few the draws
    rest = np.sqrt(np.maximum(1.0 - (factor**2).sum(axis=1), 0.05))
    rest[:shared] = 0.0
    local = _within_groups(z - whitened @ factor.T, rest * sd, members, weight)
    rest[members[members >= 0]] = 0.0
    return Metric(mean, rest * sd, factor * sd[:, None], local, members, bends)


def _towards_mean(rows: np.ndarray, noise: float) -> np.ndarray:
    """Shrink each column towards its mean by the share of its variance that is noise."""
    if len(rows) < 4:
        return rows
    centre = rows.mean(axis=0)
    spread = np.maximum(rows.var(axis=0, ddof=1), 1e-300)
    return np.asarray(centre + np.maximum(1.0 - noise / spread, 0.0) * (rows - centre))


def _table_of(groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Members of each group in a row, then -1."""
    members = np.full((len(groups), max(map(len, groups), default=0)), -1, dtype=np.int64)
    for row, group in zip(members, groups, strict=True):
        row[: len(group)] = group
    return members


def _within_groups(
    left: np.ndarray, scale: np.ndarray, members: np.ndarray, weight: float
) -> np.ndarray:
    """Factors of what the shared coordinates leave within each group, with the scales given."""
    # what no member stands for is nothing
    within = np.where(members >= 0, left[:, members], 0.0)
    covariance = np.einsum("nbi,nbj->bij", within, within, optimize=True) / len(left)
    own = np.sqrt(np.maximum(np.einsum("bii->bi", covariance), 1e-12))
    correlation = weight * covariance / (own[:, :, None] * own[:, None, :])
    np.einsum("bii->bi", correlation)[:] = 1.0
    return np.linalg.cholesky(correlation) * np.where(members >= 0, scale[members], 0.0)[..., None]


#: Spread below which a coordinate did not move.
_LEAST_SD = 1e-6
#: Draws of a scale that are worth one independent draw of it.
_THINNING = 5
#: Skewness of the sinh-arcsinh law by its parameter e, by Gauss-Hermite quadrature. More skewness
#: than the last row's is taken for that: the law then hardly gets more skewed.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(101)
_SKEW_PARAMETER = np.linspace(0.0, 1.0, 41)


def _law(e: np.ndarray) -> np.ndarray:
    return _NODES * np.cosh(e)[..., None] + np.sqrt(1 + _NODES**2) * np.sinh(e)[..., None]


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, sd and skewness over the last axis."""
    weights = weights / weights.sum()
    mean = values @ weights
    centred = values - mean[..., None]
    sd = np.sqrt(centred**2 @ weights)
    # the cube of the least number must be one too
    return mean, sd, (centred**3 @ weights) / np.maximum(sd, 1e-100) ** 3


_SKEWNESS = _moments(_law(_SKEW_PARAMETER), _WEIGHTS)[2]


def _bends_from(flat: np.ndarray, parts: MetricParts) -> Bends:
    """Bends that take off the skewness of scales, and their hold on what they multiply."""
    scales = flat[:, parts.scales].T
    mean, sd, skewness = _moments(scales, np.ones(len(flat)))
    noise = 6.0 * _THINNING / len(flat)
    skewness = skewness * np.maximum(1.0 - noise / np.maximum(skewness**2, 1e-300), 0.0)
    e = np.sign(skewness) * np.interp(np.abs(skewness), _SKEWNESS, _SKEW_PARAMETER)
    law_mean, law_sd, _ = _moments(_law(e), _WEIGHTS)
    width = sd / law_sd
    # what never moved has a spread by rounding, which would be a bend's width
    bent = (e != 0) & (sd > _LEAST_SD)
    shape = np.column_stack([mean - width * law_mean, width, np.cosh(e), np.sinh(e)])[bent]
    skewed = np.asarray(parts.scales, dtype=np.int64)[bent]
    places = [(run.scalar, run.first, run.last, run.rate) for run in parts.runs]
    runs = np.array(places, dtype=np.int64).reshape(-1, 4)
    known = [_run_from(flat, run) for run in parts.runs]
    middle, information = (np.concatenate([np.zeros(0), *(k[i] for k in known)]) for i in (0, 1))
    return Bends(skewed, shape, runs, middle, information)


def _run_from(flat: np.ndarray, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Middle and information of a run's coordinates."""
    z = flat[:, run.first : run.last]
    if run.information is not None:
        return z.mean(axis=0), run.information
    return np.zeros(z.shape[1]), _information(z, flat[:, run.scalar])


def _information(z: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """Information that leaves coordinates the variance they have, on average over their scale."""
    variance = _towards_mean(z.var(axis=0)[:, None], 2.0 * _THINNING / len(z))[:, 0]
    centre = log_scale.mean()
    squares = np.exp(2 * (np.quantile(log_scale, np.linspace(0.01, 0.99, 50)) - centre))
    low, high = np.full(len(variance), -12.0), np.full(len(variance), 12.0)
    for _ in range(40):
        middle = (low + high) / 2
        larger = (1 / (1 + squares[:, None] * np.exp(middle))).mean(axis=0) > variance
        low, high = np.where(larger, middle, low), np.where(larger, high, middle)
    # a variance of the prior's or more is that of no information
    return np.asarray(np.where(variance < 1, np.exp(low - 2 * centre), 0.0))
