"""Fixed bases over time: smooth low-rank functions and seasonal harmonics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["harmonics", "scaled_time", "smooth_basis", "steps", "walk_basis"]


def scaled_time(times: np.ndarray) -> np.ndarray:
    """Centre months at the middle of the grid and count in units of 24 months.

    Parameters
    ----------
    times : ndarray, shape (T,)
        Months since the first month of the grid.

    Returns
    -------
    ndarray, shape (T,)
    """
    return (times - (times[0] + times[-1]) / 2) / 24.0


def smooth_basis(length: int, rank: int, order: int) -> np.ndarray:
    """Low-rank basis of smooth functions, orthogonal to intercept and slope.

    The eigenvectors of a second-order random walk's structure matrix with the smallest non-zero
    eigenvalues. Their sds fall as 1/k, like those of a first-order random walk, or as 1/k^2, as
    the second-order walk's do. They are scaled so that standard normal coefficients give a mean
    marginal variance of 1 (Sørbye and Rue 2014), which gives the coefficients' standard deviation
    the unit of the link scale.

    Parameters
    ----------
    length : int
        Number of periods.
    rank : int
        Number of basis functions; reduced to ``length - 2`` when that is smaller.
    order : int
        Order of the random walk whose spectrum they have: 1 or 2.

    Returns
    -------
    ndarray, shape (length, rank)
        The sign is fixed so that the last row is positive: eigenvectors have no sign of their own,
        and a basis must not depend on the linear algebra library.
    """
    rank = min(rank, length - 2)
    if rank < 1:
        return np.zeros((length, 0))
    difference = np.diff(np.eye(length), 2, axis=0)
    values, vectors = np.linalg.eigh(difference.T @ difference)
    # the k-th eigenvalue grows as k^4
    basis = vectors[:, 2 : 2 + rank] / values[2 : 2 + rank] ** (order / 4)
    basis *= np.sign(basis[-1])
    return np.asarray(basis / np.sqrt((basis**2).sum(axis=1).mean()))


def walk_basis(length: int, rank: int, period_months: int) -> np.ndarray:
    """Modes of a first-order random walk with mean 0.

    With ``length - 1`` modes and standard normal coefficients times a scale it is exactly a random
    walk, less its mean, whose steps from month to month have that scale. Fewer modes leave out the
    fastest. The modes are those of the discrete cosine transform (Rue and Held 2005, section 3.3).

    Parameters
    ----------
    length : int
        Number of periods.
    rank : int
        Number of modes, the slowest first; at most ``length - 1``.
    period_months : int
        Length of a period in months, over which so many months' steps add up.

    Returns
    -------
    ndarray, shape (length, rank)
        The first row is positive.
    """
    k = np.arange(1, min(rank, length - 1) + 1)
    angle = np.pi * k / length
    modes = np.cos(angle * (np.arange(length)[:, None] + 0.5)) * np.sqrt(2 / length)
    return np.asarray(modes / (2 * np.sin(angle / 2)) * np.sqrt(period_months))


def harmonics(times: np.ndarray, period_months: int) -> np.ndarray:
    """Two annual harmonics: cosine and sine of each.

    Parameters
    ----------
    times : ndarray, shape (T,)
        Months since the first month of the grid.
    period_months : int
        Length of a period in months; columns that the period cannot resolve (the second harmonic's
        sine in quarters, all of them in years) are left out.

    Returns
    -------
    ndarray, shape (T, H)
        H is 4 for months, 3 for quarters, 0 for years.
    """
    angle = 2 * np.pi * times / 12
    columns = [np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    keep = {1: 4, 3: 3, 12: 0}[period_months]
    return np.stack(columns[:keep], axis=1) if keep else np.zeros((len(times), 0))


def steps(months: Sequence[str], seams: Sequence[str]) -> np.ndarray:
    """Unit steps at months in which a collection changed.

    Parameters
    ----------
    months : sequence of str
        First months of the periods, ``YYYY-MM``, in order.
    seams : sequence of str
        Months of change; a seam within a longer period steps at the next period.

    Returns
    -------
    ndarray, shape (T, C)
        Each column has mean 0, so that a step moves no level.
    """
    table = np.array([[float(m >= seam) for seam in seams] for m in months])
    table = table.reshape(len(months), len(seams))
    return np.asarray(table - table.mean(axis=0, keepdims=True))
