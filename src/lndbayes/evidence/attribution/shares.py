"""Shapley shares: what each of a few sources adds, averaged over the orders of adding them.

References
----------
Shapley (1953). A value for n-person games. Contributions to the Theory of Games II, 307-317.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import factorial

import numpy as np

__all__ = ["shapley", "shapley_weights", "subsets"]

#: Sources beyond which all their subsets are too many fits.
MOST = 5


def subsets(channels: Sequence[str]) -> list[frozenset[str]]:
    """All subsets, the empty one first, the whole last.

    Parameters
    ----------
    channels : sequence of str
        Distinct names, at most `MOST`.

    Raises
    ------
    ValueError
        If a name is repeated or there are too many.
    """
    if len(set(channels)) < len(channels) or len(channels) > MOST:
        raise ValueError(f"at most {MOST} distinct sources, got {list(channels)}")
    return [
        frozenset(chosen)
        for size in range(len(channels) + 1)
        for chosen in combinations(channels, size)
    ]


def shapley_weights(channels: Sequence[str]) -> np.ndarray:
    """Coefficients of the subsets' values in each source's Shapley value.

    Returns
    -------
    ndarray, shape (K, 2**K)
        Rows in the order of `channels`, columns in that of `subsets`.
    """
    k = len(channels)
    weights = np.zeros((k, 2**k))
    for row, channel in enumerate(channels):
        for column, chosen in enumerate(subsets(channels)):
            size = len(chosen)
            if channel in chosen:
                weights[row, column] = factorial(size - 1) * factorial(k - size) / factorial(k)
            else:
                weights[row, column] = -factorial(size) * factorial(k - size - 1) / factorial(k)
    return weights


def shapley(
    channels: Sequence[str],
    values: Mapping[frozenset[str], np.ndarray],
    variances: Mapping[frozenset[str], np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Shapley values and their Monte Carlo standard errors.

    Parameters
    ----------
    channels : sequence of str
        The sources.
    values : mapping of frozenset of str to ndarray, each of shape (...)
        What each subset is worth, here a log precision.
    variances : mapping of frozenset of str to ndarray, optional
        Monte Carlo variance of each value, of independent refits; default 0.

    Returns
    -------
    values, errors : ndarray, shape (K, ...)
        The values sum to that of the whole less that of the empty subset.

    Raises
    ------
    KeyError
        If a subset has no value.
    """
    order = subsets(channels)
    weights = shapley_weights(channels)
    worth = np.stack([np.asarray(values[chosen], dtype=float) for chosen in order])
    found = np.tensordot(weights, worth, axes=1)
    if variances is None:
        return found, np.zeros_like(found)
    noise = np.stack([np.asarray(variances[chosen], dtype=float) for chosen in order])
    return found, np.sqrt(np.tensordot(weights**2, noise, axes=1))
