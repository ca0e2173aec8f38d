"""Beta-binomial counts by inversion: one uniform number a cell, whatever the rate.

Because the same number gives the treated and the untreated count, the two differ only by the
effect, and worlds with different effects share every count before go-live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["beta_binomial_quantile"]

#: Probabilities held at a time: cells with many trials are worked off in blocks.
_BLOCK: Final = 400_000


def beta_binomial_quantile(
    uniform: NDArray[np.float64],
    trials: NDArray[np.int64],
    rate: NDArray[np.float64],
    concentration: float,
) -> NDArray[np.int64]:
    """Quantile function of the beta-binomial.

    Parameters
    ----------
    uniform : ndarray of float
        Any shape, in [0, 1).
    trials : ndarray of int
        Same shape, zero or positive.
    rate : ndarray of float
        Same shape. Mean of the beta law.
    concentration : float
        Precision: the beta law is ``Beta(rate * concentration, (1 - rate) * concentration)``.

    Returns
    -------
    ndarray of int
        Smallest count whose distribution function reaches ``uniform``; increasing in ``rate``.

    Notes
    -----
    The probability of no event is a product over trials; each further probability follows from the
    ratio of neighbours, ``(n - k) (a + k) / ((k + 1) (b + n - k - 1))``. Sums of logarithms keep
    both from underflowing.
    """
    n, p, u = (x.reshape(-1, 1) for x in (trials.astype(np.float64), rate, uniform))
    k = np.arange(int(trials.max()), dtype=np.float64)[None, :]
    rows = max(1, _BLOCK // (k.size + 1))
    blocks = [slice(i, i + rows) for i in range(0, n.size, rows)]
    count = np.concatenate([_block(u[i], n[i], p[i], k, concentration) for i in blocks])
    # Rounding may leave the last sum a hair below one.
    return np.minimum(count, trials.reshape(-1)).reshape(trials.shape)


def _block(
    uniform: NDArray[np.float64],
    n: NDArray[np.float64],
    rate: NDArray[np.float64],
    k: NDArray[np.float64],
    concentration: float,
) -> NDArray[np.int64]:
    """Probabilities of the cells of one block below their numbers, counted: dims (cell)."""
    a = rate * concentration
    b = (1 - rate) * concentration
    inside = k < n
    first = np.sum(np.log(np.where(inside, (b + k) / (a + b + k), 1.0)), axis=1, keepdims=True)
    left = np.where(inside, n - k, 1.0)
    ratio = left * (a + k) / ((k + 1) * (b + left - 1))
    log_pmf = first + np.cumsum(np.log(np.where(inside, ratio, 1.0)), axis=1)
    pmf = np.hstack([np.exp(first), np.where(inside, np.exp(log_pmf), 0.0)])
    below: NDArray[np.int64] = (np.cumsum(pmf, axis=1) < uniform).sum(axis=1)
    return below
