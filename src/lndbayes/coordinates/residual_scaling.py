"""Directions along which a density is more curved than a standard normal, in given coordinates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lndbayes.coordinates.site_gaussian_draws import Gradient
from lndbayes.coordinates.transform import Coordinates

__all__ = ["largest", "with_residual_scaling"]

#: Draws at which the curvature is looked at, and directions at most.
_POINTS, _MOST = 16, 12
#: Products with the curvature: twice as many as directions.
_PRODUCTS = 24
#: Curvature from which a direction counts. A standard normal's is 1, and sites' data alone come to
#: 2 or 3 in places; up to here a step of the sampler is not shorter for it.
_STEEP = 4.0
#: Length of what is rounding error, of a product with curvature.
_NOTHING = 1e-6
#: Of the differences, where every coordinate's spread is about 1.
_STEP = 1e-4


def with_residual_scaling(
    coordinates: Coordinates, x: np.ndarray, gradient: Gradient
) -> Coordinates:
    """Shorten the directions in which the density is most curved.

    The site Gaussian treats sites one by one. Numbers that sum to zero over sites couple all of
    them, and with many data the posterior is several times narrower along that coupling than in
    the coordinates: every step of the sampler would have to be as short.

    Parameters
    ----------
    coordinates : Coordinates
        From `lndbayes.coordinates.from_draws.coordinates_from`, without directions of its own.
    x : ndarray, shape (chain, draw, D)
        Unconstrained draws.
    gradient : callable
        Fills its second argument with the gradient of the log density in these coordinates.

    Returns
    -------
    Coordinates
        Its directions are eigenvectors of the mean curvature at some draws, by Lanczos's method;
        the scaling makes the curvature along them 1.

    References
    ----------
    Golub, Van Loan (2013). Matrix Computations, 4th edition, section 10.1.
    """
    draws = x.reshape(-1, x.shape[-1])
    points = coordinates.to_y(draws[np.linspace(0, len(draws) - 1, _POINTS).astype(int)])
    values, vectors = largest(_mean_curvature(points, gradient), points.shape[1])
    steep = values > _STEEP
    return replace(coordinates, directions=vectors[steep], residual_scaling=values[steep] ** -0.5)


def _mean_curvature(points: np.ndarray, gradient: Gradient) -> Callable[[np.ndarray], np.ndarray]:
    """Product of a direction with the negative second derivatives' mean over points, (P, D)."""
    here, there = np.empty_like(points), np.empty(points.shape[1])
    for point, out in zip(points, here, strict=True):
        gradient(point, out)

    def along(direction: np.ndarray) -> np.ndarray:
        total = np.zeros_like(direction)
        for point, before in zip(points, here, strict=True):
            gradient(point + _STEP * direction, there)
            total += before - there
        return total / (_STEP * len(points))

    return along


def largest(
    product: Callable[[np.ndarray], np.ndarray], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues of a symmetric matrix that is known by its products, by Lanczos's method.

    Parameters
    ----------
    product : callable
        The matrix times a vector, shape (size,).
    size : int
        Number of rows.

    Returns
    -------
    values : ndarray, shape (at most 12,)
        Largest first.
    vectors : ndarray, shape (as many, size)
        Rows of length 1.

    Notes
    -----
    A fixed number of products. `scipy.sparse.linalg.eigsh` goes on until the largest are known to a
    tolerance, which takes two to four times as many where none is large and none is wanted
    (docs/dependencies.md).
    """
    basis = np.zeros((min(_PRODUCTS, size), size))
    image = np.zeros_like(basis)
    left = np.random.default_rng(0).normal(size=size)
    for k in range(len(basis)):
        # twice: once leaves rounding errors as large as what is left
        for _ in range(2):
            left = left - (basis[:k] @ left) @ basis[:k]
        length = np.linalg.norm(left)
        if length < _NOTHING:
            # nothing is left beyond what the basis spans
            basis, image = basis[:k], image[:k]
            break
        basis[k] = left / length
        left = image[k] = product(basis[k])
    inner = image @ basis.T
    values, turn = np.linalg.eigh((inner + inner.T) / 2)
    most = slice(None, -_MOST - 1, -1)
    return values[most], (turn.T @ basis)[most]
