"""Counts by inversion: one uniform number a cell (and stage), whatever the rate.

The negative binomial, and counts that fall into ordered classes one stage after the other. As with
:func:`lndbayes.synthetic.outcome.beta_binomial_quantile`, the same uniform numbers give the treated
and the untreated counts, so that the two differ by the effect alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from lndbayes.synthetic.outcome import beta_binomial_quantile
from lndbayes.synthetic.surface import expit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "closing_counts",
    "dispersion",
    "negative_binomial_quantile",
    "stage_shares",
    "staged_counts",
]

#: A probability below which the rest of the tail no longer moves a sum that is near one.
_NOTHING: Final = 1e-18


def dispersion(exposure: NDArray[np.int64], per_unit: float, of_cell: float) -> NDArray[np.float64]:
    """Size of the negative binomial of a cell.

    Parameters
    ----------
    exposure : ndarray of int
        Any shape, zero or positive.
    per_unit : float
        Size per unit of exposure: units differ in their rates.
    of_cell : float
        Size of the cell: the months of a site differ in theirs.

    Returns
    -------
    ndarray of float
        Same shape: ``k`` with ``1 / k = 1 / (exposure per_unit) + 1 / of_cell``, so that
        ``Var = mean + mean^2 / k``.
    """
    own = np.maximum(exposure, 1) * per_unit  # a cell without exposure has no events either way
    size: NDArray[np.float64] = own * of_cell / (own + of_cell)
    return size


def negative_binomial_quantile(
    uniform: NDArray[np.float64], mean: NDArray[np.float64], size: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Quantile function of the negative binomial.

    Parameters
    ----------
    uniform : ndarray of float
        Any shape, in [0, 1).
    mean : ndarray of float
        Same shape, zero or positive.
    size : ndarray of float
        Same shape, positive: ``Var = mean + mean^2 / size``.

    Returns
    -------
    ndarray of int
        Smallest count whose distribution function reaches ``uniform``; increasing in ``mean``.

    Notes
    -----
    From the probability of no event upwards by the ratio of neighbours,
    ``(k + size) / (k + 1) mean / (mean + size)``, in logarithms so that a small first probability
    does not underflow. Cells that have reached their number are left out of later steps.
    """
    count = np.zeros(uniform.size, dtype=np.int64)
    cell = np.flatnonzero(mean.reshape(-1) > 0)
    u, mu, k = (x.reshape(-1)[cell] for x in (uniform, mean, size))
    log_odds = np.log(mu) - np.log(mu + k)
    log_p = -k * np.log1p(mu / k)
    below = np.exp(log_p)
    step = 0
    while True:
        # Rounding may leave the sum a hair below a uniform number that is nearly one.
        spent = (step > mu) & (log_p < np.log(_NOTHING))
        left = (below < u) & ~spent
        if not left.any():
            return count.reshape(uniform.shape)
        if not left.all():
            cell, u, mu, k, log_odds, log_p, below = (
                x[left] for x in (cell, u, mu, k, log_odds, log_p, below)
            )
        log_p = log_p + np.log((step + k) / (step + 1)) + log_odds
        below = below + np.exp(log_p)
        step += 1
        count[cell] = step


def staged_counts(
    uniform: NDArray[np.float64],
    total: NDArray[np.int64],
    logits: Sequence[NDArray[np.float64]],
    concentration: float,
) -> NDArray[np.int64]:
    """Split totals into ordered bands, one stage after the other.

    Parameters
    ----------
    uniform : ndarray of float
        Dims (stage, ...), in [0, 1).
    total : ndarray of int
        Zero or positive.
    logits : sequence of ndarray of float
        By stage, each of the shape of ``total``: logit of the probability of a higher band, given
        this one or a higher one.
    concentration : float
        Beta-binomial precision of every stage.

    Returns
    -------
    ndarray of int
        Dims (band, ...), one band more than stages; sums to ``total``.
    """
    bands, left = [], total
    for u, eta in zip(uniform, logits, strict=True):
        higher = beta_binomial_quantile(u, left, expit(eta), concentration)
        bands.append(left - higher)
        left = higher
    return np.stack([*bands, left])


def stage_shares(logits: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Probabilities of ordered bands from those of their stages.

    Parameters
    ----------
    logits : sequence of ndarray of float
        As in :func:`staged_counts`.

    Returns
    -------
    ndarray of float
        Dims (band, ...); sums to one.
    """
    shares, left = [], np.ones_like(logits[0])
    for eta in logits:
        higher = expit(eta)
        shares.append(left * (1 - higher))
        left = left * higher
    return np.stack([*shares, left])


def closing_counts(
    uniform: NDArray[np.float64],
    cases: NDArray[np.int64],
    log_hazard: Sequence[NDArray[np.float64]],
    followed: NDArray[np.int64],
    concentration: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Let cases close bin by bin, as far as they are followed.

    Parameters
    ----------
    uniform : ndarray of float
        Dims (stage, site, month), in [0, 1).
    cases : ndarray of int
        Dims (site, month).
    log_hazard : sequence of ndarray of float
        By stage, dims (site, month): complementary log-log of the hazard of a bin.
    followed : ndarray of int
        Dims (month). Bins that the cases of a month have wholly behind them at the extract.
    concentration : float
        Beta-binomial precision among those at risk.

    Returns
    -------
    closed : ndarray of int
        Dims (bin, site, month), one bin more than stages: the last has no end.
    still_open : ndarray of int
        Dims (bin, site, month). A case whose follow-up ends within a bin is open in it, also where
        it closed before the extract: only the quick ones could be seen to close there.
    """
    closed, still_open, left = [], [], cases
    for j, (u, eta) in enumerate(zip(uniform, log_hazard, strict=True)):
        ends_here = np.broadcast_to(followed == j, left.shape)
        still_open.append(np.where(ends_here, left, 0))
        at_risk = left - still_open[-1]
        closed.append(beta_binomial_quantile(u, at_risk, -np.expm1(-np.exp(eta)), concentration))
        left = at_risk - closed[-1]
    return np.stack([*closed, left]), np.stack([*still_open, np.zeros_like(cases)])
