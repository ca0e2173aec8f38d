"""Few weighted numbers in the place of many, for sums of a smooth function."""

from __future__ import annotations

import numpy as np

__all__ = ["condensed"]

#: Numbers that stand for all within a factor of two. Log rising factorials, as functions of their
#: length, are analytic but for the negative half-line, so that what is left of a sum's error is
#: ``(3 + sqrt(8)) ** (-2 * 10)``, 5e-16 of it.
NODES = 10


def condensed(numbers: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss rules that sum a log rising factorial over many lengths at once.

    The sum of ``weights * f(numbers)`` is kept to rounding error for every
    ``f(n) = lgamma(a + n) - lgamma(a)``, with no more than `NODES` numbers between one power of two
    and the next.

    Parameters
    ----------
    numbers : ndarray, shape (N,)
        Different ones, not negative, ascending.
    weights : ndarray, shape (N,)
        Positive.

    Returns
    -------
    numbers, weights : ndarray, shape (M,)
        No more than before; numbers are not whole any more. Weights are positive.

    References
    ----------
    Golub, Welsch (1969). Calculation of Gauss quadrature rules. Mathematics of Computation 23,
    221-230.
    """
    octave = np.frexp(numbers)[1]
    rules = [_rule(numbers[octave == each], weights[octave == each]) for each in np.unique(octave)]
    empty = np.zeros(0)
    return (
        np.concatenate([numbers for numbers, _ in rules] or [empty]),
        np.concatenate([weights for _, weights in rules] or [empty]),
    )


def _rule(numbers: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss rule of one octave's numbers, by Lanczos' steps kept orthogonal."""
    if len(numbers) <= NODES:
        return numbers, weights
    total = weights.sum()
    centre, half = (numbers[-1] + numbers[0]) / 2, (numbers[-1] - numbers[0]) / 2
    z = (numbers - centre) / half
    basis = np.zeros((NODES, len(z)))
    basis[0] = np.sqrt(weights / total)
    jacobi = np.zeros((NODES, NODES))
    for k in range(NODES):
        step = z * basis[k]
        jacobi[k, k] = step @ basis[k]
        if k + 1 < NODES:
            for _ in range(2):
                step -= basis[: k + 1].T @ (basis[: k + 1] @ step)
            jacobi[k, k + 1] = jacobi[k + 1, k] = np.linalg.norm(step)
            basis[k + 1] = step / jacobi[k, k + 1]
    nodes, vectors = np.linalg.eigh(jacobi)
    return centre + half * nodes, total * vectors[0] ** 2
