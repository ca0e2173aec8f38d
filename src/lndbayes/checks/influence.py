"""Pareto k-hat of importance weights: of leaving out single cells, and of weights that are used.

`pareto_k` is the fit of ``arviz_stats``, for all cells at once and without the smoothed weights,
which nobody asks for there; it is tested against ``arviz_stats``.

References
----------
Vehtari, Simpson, Gelman, Yao, Gabry (2024). Pareto smoothed importance sampling. Journal of Machine
Learning Research 25(72). Zhang, Stephens (2009). A new and efficient estimation method for the
generalized Pareto distribution. Technometrics 51(3), 316-325.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from lndbayes.base.names import SAMPLE_DIMS

__all__ = ["pareto_k", "smoothed_weights"]

# Constants of the estimator of Zhang and Stephens, and the weight (in tail draws) of the prior that
# draws k-hat to one half (Vehtari et al.).
_PRIOR_QUANTILE, _PRIOR_WEIGHT, _PRIOR_K = 3, 10, 0.5
_FEWEST_TAIL_DRAWS = 5
# Cells at a time: the fit makes an array of cells x grid points x tail draws (some 7 MB for 256).
_BLOCK = 256


def pareto_k(log_likelihood: xr.DataArray, *, most: int) -> np.ndarray:
    """Shape of the tail of the importance weights that leave one cell out.

    Parameters
    ----------
    log_likelihood : xr.DataArray, dims (chain, draw, ...)
        Pointwise log likelihood, finite.
    most : int
        More draws than this are thinned evenly.

    Returns
    -------
    np.ndarray, shape (cell,)
        k-hat; minus infinity for a cell whose likelihood does not vary (leaving it out changes
        nothing), NaN where the tail has no generalised Pareto shape or fewer than five draws.
    """
    last = log_likelihood.transpose(..., *SAMPLE_DIMS)
    draws = last.sizes[SAMPLE_DIMS[0]] * last.sizes[SAMPLE_DIMS[1]]
    values = np.asarray(last.values, dtype=float).reshape(-1, draws)
    if draws > most:
        values = values[:, np.linspace(0, draws - 1, most).round().astype(int)]
    k = np.full(len(values), -np.inf)
    varies = np.ptp(values, axis=1) > 1e-10
    k[varies] = _tail_shape(-values[varies])
    return k


def smoothed_weights(log_ratio: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed importance weights of one target.

    Parameters
    ----------
    log_ratio : np.ndarray, shape (draw,)
        Log density of the target over that of the draws, up to a constant.

    Returns
    -------
    weight : np.ndarray, shape (draw,)
        Weights that sum to one.
    k : float
        k-hat; NaN where the largest weights have no generalised Pareto shape: fewer than five, or
        many of the same value. The weights are then not smoothed.
    """
    if np.isnan(_tail_shape(log_ratio[None])[0]):
        weight = np.exp(log_ratio - log_ratio.max())
        return weight / weight.sum(), float("nan")
    log_weight, k = array_stats.psislw(-log_ratio)
    weight = np.exp(log_weight - log_weight.max())
    return np.asarray(weight / weight.sum()), float(k)


def _tail_shape(log_weights: np.ndarray) -> np.ndarray:
    """Pareto k-hat of each row of log weights, shape (row, draw)."""
    rows, draws = log_weights.shape
    size = int(3 * np.sqrt(draws)) if draws > 225 else draws // 5
    k = np.full(rows, np.nan)
    if rows == 0 or size < _FEWEST_TAIL_DRAWS:
        return k
    tail = np.sort(np.partition(log_weights, draws - size - 1, axis=1)[:, -size - 1 :], axis=1)
    weight = np.exp(tail - tail[:, -1:])
    excess = weight[:, 1:] - weight[:, :1]
    quartile = excess[:, int(size / 4 + 0.5) - 1]
    # Below this the tail is so far from a Pareto that its scale cannot be set.
    usable = quartile > excess[:, 0]
    for block in np.array_split(np.flatnonzero(usable), max(rows // _BLOCK, 1)):
        k[block] = _pareto_fit(excess[block], quartile[block])
    return k


def _pareto_fit(excess: np.ndarray, quartile: np.ndarray) -> np.ndarray:
    """Generalised Pareto shape of sorted excesses (row, tail draw); posterior mean over a grid."""
    size = excess.shape[1]
    points = 30 + int(np.sqrt(size))
    grid = 1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))
    b = grid / (_PRIOR_QUANTILE * quartile[:, None]) + 1 / excess[:, -1:]
    mean_log = np.log1p(-b[:, :, None] * excess[:, None, :]).mean(axis=2)
    profile = size * (np.log(-b / mean_log) - mean_log - 1)
    weight = np.exp(profile - profile.max(axis=1, keepdims=True))
    b_mean = (b * weight).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
    shape = np.log1p(-b_mean * excess).mean(axis=1)
    return (size * shape + _PRIOR_WEIGHT * _PRIOR_K) / (size + _PRIOR_WEIGHT)
