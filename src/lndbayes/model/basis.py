"""Fixed bases over time: smooth low-rank functions and seasonal harmonics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["harmonics", "rw2_basis", "scaled_time", "steps"]


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


def rw2_basis(length: int, rank: int) -> np.ndarray:
    """Low-rank basis of a second-order random walk.

    The eigenvectors of the structure matrix with the smallest non-zero eigenvalues, divided by the
    root of the eigenvalue: orthogonal to intercept and slope by construction, and scaled so that
    standard normal coefficients give a mean marginal variance of 1 (Sørbye and Rue 2014), which
    gives the coefficients' standard deviation the unit of the link scale.

    Parameters
    ----------
    length : int
        Number of periods.
    rank : int
        Number of basis functions; reduced to ``length - 2`` when that is smaller.

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
    basis = vectors[:, 2 : 2 + rank] / np.sqrt(values[2 : 2 + rank])
    basis *= np.sign(basis[-1])
    return np.asarray(basis / np.sqrt((basis**2).sum(axis=1).mean()))


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
