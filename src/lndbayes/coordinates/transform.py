"""Coordinates in which a posterior is near a standard normal, found from draws of it.

Coordinates change how fast a sampler moves, never what it samples: the map is a bijection, and the
density takes its Jacobian into account. Its linear part removes correlations. Its nonlinear part
removes what no linear map can: the logarithm of a weakly identified scale has a long tail towards
zero, and the coordinates that a scale multiplies are the better identified the larger it is. Where
one site has several of these, `lndbayes.coordinates.site_gaussian` has them follow all their scales
together. docs/coordinates.md has the equations and the reasons.

References
----------
Jones, Pewsey (2009). Sinh-arcsinh distributions. Biometrika 96(4), 761-780.
Papaspiliopoulos, Roberts, Sköld (2007). A general framework for the parametrization of hierarchical
models. Statistical Science 22(1), 59-73.
Parno, Marzouk (2018). Transport map accelerated Markov chain Monte Carlo. SIAM/ASA Journal on
Uncertainty Quantification 6(2), 645-682.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from lndbayes.coordinates.site_gaussian import SiteGaussian

__all__ = ["Coordinates", "NonlinearMap", "linearised"]


def _empty(*shape: int, dtype: type = float) -> np.ndarray:
    return np.zeros(shape, dtype=dtype)


@dataclass(frozen=True)
class NonlinearMap:
    """From coordinates w, linear in the sampler's, to the unconstrained x.

    A skewed coordinate is ``x = centre + width * (w cosh(e) + sqrt(1 + w^2) sinh(e))``: where w is
    standard normal, x is sinh-arcsinh with skewness of the sign of e. The coordinates of a
    `lndbayes.coordinates.groups.Run` are ``x = middle + w * spread``, where the spread follows a
    scalar v, itself stored as a logarithm: ``1 / sqrt(1 + v^2 information)``, what is left of a
    standard normal prior's where a normal likelihood knows the product with so much information; or
    ``sqrt(1 + information / v)``. The first kind comes first, so that scalars can be of it. A
    site's own coordinates are of a third kind, `gaussian`.

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
    gaussian : SiteGaussian
        Of the coordinates of sites.
    """

    skewed: np.ndarray = field(default_factory=lambda: _empty(0, dtype=np.int64))
    shape: np.ndarray = field(default_factory=lambda: _empty(0, 4))
    runs: np.ndarray = field(default_factory=lambda: _empty(0, 4, dtype=np.int64))
    middle: np.ndarray = field(default_factory=lambda: _empty(0))
    information: np.ndarray = field(default_factory=lambda: _empty(0))
    gaussian: SiteGaussian = field(default_factory=SiteGaussian)

    def forward(self, w: np.ndarray) -> np.ndarray:
        """Unconstrained coordinates x of points w, shape (..., D)."""
        x = w.copy()
        centre, width, cosh, sinh = self.shape.T
        u = w[..., self.skewed]
        x[..., self.skewed] = centre + width * (u * cosh + np.sqrt(1 + u * u) * sinh)
        for run, middle, spread in self._spreads(x):
            x[..., run] = middle + w[..., run] * spread
        self.gaussian.forward(w, x)
        return x

    def inverse(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Undo `forward`; also the log of its Jacobian determinant there, shape (...)."""
        w = x.copy()
        centre, width, _, sinh = self.shape.T
        u = np.sinh(np.arcsinh((x[..., self.skewed] - centre) / width) - np.arcsinh(sinh))
        w[..., self.skewed] = u
        jacobian = np.log(self._slope(u)).sum(axis=-1)
        for run, middle, spread in self._spreads(x):
            w[..., run] = (x[..., run] - middle) / spread
            jacobian = jacobian + np.log(spread).sum(axis=-1)
        return w, jacobian + self.gaussian.inverse(x, w)

    def slopes(self, w: np.ndarray) -> np.ndarray:
        """Change of each x with its own w at a point, shape (D,); 1 for those of `gaussian`."""
        slope = np.ones_like(w)
        slope[self.skewed] = self._slope(w[self.skewed])
        for run, _, spread in self._spreads(self.forward(w)):
            slope[run] = spread
        return slope

    def _slope(self, u: np.ndarray) -> np.ndarray:
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
class Coordinates:
    """Coordinates y in which a posterior is near a standard normal.

    ``w = mean + scale * y``, plus `factor` times the first K coordinates y, plus `local` within
    each of B disjoint groups; `nonlinear` leads from w to x. So K coordinates are correlated with
    everything, the rest with these and within their group. That costs K multiplications a
    coordinate: linear in sites, where a whole covariance would be quadratic.

    Attributes
    ----------
    mean : ndarray, shape (D,)
        The w of ``y = 0``.
    scale : ndarray, shape (D,)
        Of coordinates that are in neither part; 0 for those that are.
    factor : ndarray, shape (D, K)
        Lower triangular in its first K rows; 0 where there is nothing to take off.
    local : ndarray, shape (B, m, m)
        Lower triangular; rows without a member are 0.
    members : ndarray of int, shape (B, m)
        Coordinates of each group, in their order, then -1 where a group has fewer than m.
    nonlinear : NonlinearMap
        From w to x; by default the two are the same.
    directions : ndarray, shape (R, D)
        Orthonormal; along each of them y is first multiplied by `residual_scaling`. So what couples
        all coordinates at once, as numbers that sum to zero over sites do, is removed as well.
    residual_scaling : ndarray, shape (R,)
        Positive.
    """

    mean: np.ndarray
    scale: np.ndarray
    factor: np.ndarray
    local: np.ndarray
    members: np.ndarray
    nonlinear: NonlinearMap = field(default_factory=NonlinearMap)
    directions: np.ndarray = field(default_factory=lambda: _empty(0, 0))
    residual_scaling: np.ndarray = field(default_factory=lambda: _empty(0))

    @staticmethod
    def diagonal(mean: np.ndarray, scale: np.ndarray) -> Coordinates:
        """Coordinates that are scaled one by one."""
        nothing = _empty(len(mean), 0), _empty(0, 0, 0), _empty(0, 0, dtype=np.int64)
        return Coordinates(mean, scale, *nothing)

    def to_x(self, y: np.ndarray) -> np.ndarray:
        """Coordinates x of points y, shape (..., D)."""
        y = self._rescaled(y, self.residual_scaling)
        w = self.mean + self.scale * y + y[..., : self.factor.shape[1]] @ self.factor.T
        moved = np.einsum("bij,...bj->...bi", self.local, y[..., self.members])
        is_one = self.members >= 0
        w[..., self.members[is_one]] += moved[..., is_one]
        return self.nonlinear.forward(np.asarray(w))

    def to_y(self, x: np.ndarray) -> np.ndarray:
        """Undo `to_x`."""
        left = self.nonlinear.inverse(x)[0] - self.mean
        shared = self.factor.shape[1]
        y = left / np.where(self.scale > 0, self.scale, 1.0)
        y[..., :shared] = np.linalg.solve(self.factor[:shared], left[..., :shared, None])[..., 0]
        left = left - y[..., :shared] @ self.factor.T
        alone = self.scale > 0
        y[..., alone] = left[..., alone] / self.scale[alone]
        is_one = self.members >= 0
        # a group that has fewer members than others stands still in the places left over
        local = self.local + (~is_one)[:, :, None] * np.eye(is_one.shape[1])
        own = np.where(is_one, left[..., self.members], 0.0)[..., None]
        y[..., self.members[is_one]] = np.linalg.solve(local, own)[..., 0][..., is_one]
        return self._rescaled(y, 1.0 / self.residual_scaling)

    def _rescaled(self, y: np.ndarray, by: np.ndarray) -> np.ndarray:
        if not len(by):
            return y
        return y + ((by - 1.0) * (y @ self.directions.T)) @ self.directions


def linearised(coordinates: Coordinates) -> Coordinates:
    """Linear coordinates that agree with these to first order at their centre.

    The nonlinear map follows one posterior into its tails, and misleads where another is far off:
    what one data set identifies of a scale's coordinates another does not. Directions of the
    residual scaling are left out, and so is how sites follow their shares.
    """
    nonlinear = coordinates.nonlinear
    slope = nonlinear.slopes(coordinates.mean)
    middle = nonlinear.forward(coordinates.mean)
    scale, factor = coordinates.scale * slope, coordinates.factor * slope[:, None]
    sites, kinds = nonlinear.gaussian.members.shape
    groups, most = coordinates.members.shape
    members = np.full((groups + sites, max(kinds, most)), -1, dtype=np.int64)
    local = np.zeros((*members.shape, members.shape[1]))
    members[:groups, :most], members[groups:, :kinds] = (
        coordinates.members,
        nonlinear.gaussian.members,
    )
    local[:groups, :most, :most] = coordinates.local * slope[coordinates.members][..., None]
    is_one = nonlinear.gaussian.members >= 0
    turn, moved = nonlinear.gaussian.factors(middle)
    own = np.where(is_one, scale[nonlinear.gaussian.members], 1.0)
    among = np.where(is_one[..., None], factor[nonlinear.gaussian.members], 0.0)
    moved = turn @ among + moved @ factor[: moved.shape[-1]]
    factor[nonlinear.gaussian.members[is_one]] = moved[is_one]
    # another root of the same covariance: lower triangular, as the sampler's loops want it
    covariance = np.einsum("sij,sj,skj->sik", turn, own**2, turn)
    root = np.linalg.cholesky(covariance) if sites else covariance
    local[groups:, :kinds, :kinds] = root * (is_one[:, :, None] & is_one[:, None, :])
    scale[nonlinear.gaussian.members[is_one]] = 0.0
    return Coordinates(middle, scale, factor, local, members)
