"""Chain statistics of many scalar quantities at once: R-hat, effective sample sizes, MCSE.

Everything takes a plain array of shape ``(quantity, chain, draw)`` and depends on NumPy and SciPy
only. The formulas are those of Vehtari et al. (2021), computed the way ``arviz_stats`` computes
them and tested against it to rounding; they are repeated here because ``arviz_stats`` loops over
quantities in Python (about 5 ms for each of some thousand quantities of every fit), while ranks,
Fourier transforms and the truncation rule all work on whole blocks.

Where ``arviz_stats`` answers for input that has no answer, this module returns NaN, so that a
verdict can fail closed: any non-finite draw makes every statistic of that quantity NaN.

References
----------
Vehtari, Gelman, Simpson, Carpenter, Bürkner (2021). Rank-normalization, folding, and localization:
an improved R-hat for assessing convergence of MCMC. Bayesian Analysis 16(2), 667-718.
https://doi.org/10.1214/20-BA1221
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import ndtri

__all__ = ["ChainStatistics", "chain_statistics", "ess_mean"]

#: Quantiles whose effective sample sizes make the tail ESS: the ends of a 90% interval.
TAIL_PROBS = (0.05, 0.95)

# Quantities handled at a time: 128 of them with 4000 draws are 4 MB, which stays in cache.
_BLOCK = 128
_MIN_DRAWS = 4


@dataclass(frozen=True, slots=True)
class ChainStatistics:
    """Statistics of ``n`` scalar quantities.

    Attributes
    ----------
    rhat : np.ndarray, shape (n,)
        Rank-normalised split R-hat, the larger of its bulk and folded versions. NaN with fewer than
        two chains, with fewer than four draws, for a constant, or where a draw is not finite.
    ess_bulk : np.ndarray, shape (n,)
        Effective sample size of the rank-normalised draws.
    ess_tail : np.ndarray, shape (n,)
        Smaller of the effective sample sizes of the 5% and the 95% quantile.
    """

    rhat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray


def chain_statistics(draws: np.ndarray) -> ChainStatistics:
    """R-hat, bulk ESS and tail ESS of every quantity.

    Parameters
    ----------
    draws : np.ndarray, shape (quantity, chain, draw)

    Returns
    -------
    ChainStatistics
    """
    stacked = _in_blocks(draws, _block_statistics, width=3)
    return ChainStatistics(rhat=stacked[:, 0], ess_bulk=stacked[:, 1], ess_tail=stacked[:, 2])


def ess_mean(draws: np.ndarray) -> np.ndarray:
    """Effective sample size for the mean of every quantity.

    Parameters
    ----------
    draws : np.ndarray, shape (quantity, chain, draw)

    Returns
    -------
    np.ndarray, shape (quantity,)
        The number of draws for a constant quantity (its mean has no Monte Carlo error); NaN where a
        draw is not finite or with fewer than four draws a chain.
    """
    return _in_blocks(draws, lambda block: _ess(_split(block))[:, None], width=1)[:, 0]


def _in_blocks(
    draws: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], width: int
) -> np.ndarray:
    draws = np.asarray(draws)
    if draws.ndim != 3:
        raise ValueError(f"draws need the shape (quantity, chain, draw), got {draws.shape}")
    out = np.full((draws.shape[0], width), np.nan)
    if draws.shape[1] < 1 or draws.shape[2] < _MIN_DRAWS:
        return out
    for start in range(0, draws.shape[0], _BLOCK):
        block = np.asarray(draws[start : start + _BLOCK], dtype=float)
        finite = np.isfinite(block).all(axis=(1, 2))
        if finite.any():
            rows = start + np.flatnonzero(finite)
            out[rows] = statistic(np.ascontiguousarray(block[finite]))
    return out


def _block_statistics(x: np.ndarray) -> np.ndarray:
    split = _split(x)
    flat = split.reshape(len(x), -1)
    order = np.argsort(flat, axis=1)
    values = np.take_along_axis(flat, order, axis=1)
    bulk = _normal_scores(order, values).reshape(split.shape)
    out = np.full((x.shape[0], 3), np.nan)
    if x.shape[1] >= 2:
        # distances from the median of sorted draws fall, then rise: two runs, which a stable sort
        # merges
        away = np.abs(values - np.median(values, axis=1, keepdims=True))
        again = np.argsort(away, axis=1, kind="stable")
        folded = _normal_scores(
            np.take_along_axis(order, again, axis=1), np.take_along_axis(away, again, axis=1)
        ).reshape(split.shape)
        out[:, 0] = np.maximum(_rhat(bulk), _rhat(folded))
    out[:, 1] = _ess(bulk)
    low, high = np.quantile(x, TAIL_PROBS, axis=(1, 2))
    out[:, 2] = np.minimum(
        _ess(_split(x <= low[:, None, None])), _ess(_split(x <= high[:, None, None]))
    )
    return out


def _split(x: np.ndarray) -> np.ndarray:
    """Halves of each chain as chains of their own; the middle draw of an odd number is dropped."""
    half = x.shape[2] // 2
    return np.concatenate([x[:, :, :half], x[:, :, -half:]], axis=1)


def _normal_scores(order: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks, ties averaged (Blom's offset 3/8).

    `values`, shape (n, size), are in order; `order` has the place of each.
    """
    n, size = values.shape
    place = np.arange(size)
    score = np.broadcast_to(ndtri((place + 0.625) / (size + 0.25)), (n, size))
    tied = values[:, 1:] == values[:, :-1]
    if tied.any():
        # a sampler that rejects stays where it is: runs of equal draws are short, but common
        gap = np.ones((n, 1), dtype=bool)
        first = np.maximum.accumulate(np.where(np.hstack([gap, ~tied]), place, 0), axis=1)
        ends = np.where(np.hstack([~tied, gap]), place, size)
        last = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
        shared = first < last
        score = score.copy()
        score[shared] = ndtri(((first + last)[shared] / 2 + 0.625) / (size + 0.25))
    z = np.empty((n, size))
    np.put_along_axis(z, order, score, axis=1)
    return z


def _rhat(x: np.ndarray) -> np.ndarray:
    draws = x.shape[2]
    between = draws * x.mean(axis=2).var(axis=1, ddof=1)
    within = x.var(axis=2, ddof=1).mean(axis=1)
    # A constant has no within-chain variance: 0/0 is the NaN that the caller must see.
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt((between / within + draws - 1) / draws)


def _ess(x: np.ndarray) -> np.ndarray:
    """Effective sample size by Geyer's initial monotone sequence; x has shape (n, chain, draw)."""
    x = np.asarray(x, dtype=float)
    n, chains, draws = x.shape
    size = chains * draws
    out = np.full(n, float(size))
    varying = x.max(axis=(1, 2)) - x.min(axis=(1, 2)) >= np.finfo(float).resolution
    if not varying.any():
        return out
    rho = _autocorrelation(x[varying])
    # Sums of neighbouring autocorrelations (lag 0 with 1, 2 with 3, ...) are positive and falling
    # for a reversible chain; the estimate is cut at the first sum that is not positive.
    pairs = max((draws - 1) // 2, 1)
    even = rho[:, 0 : 2 * pairs : 2]
    sums = even + rho[:, 1 : 2 * pairs : 2]
    stop = np.where((sums <= 0).any(axis=1), (sums <= 0).argmax(axis=1), pairs - 1)
    before = np.arange(pairs)[None, :] < stop[:, None]
    monotone = np.minimum.accumulate(np.where(before, sums, np.inf), axis=1)
    rows = np.arange(len(stop))
    last_even, last_sum = even[rows, stop], sums[rows, stop]
    last = np.where((last_even > 0) | (last_sum >= 0), last_even, 0.0)
    tau = -1 + 2 * np.where(before, monotone, 0.0).sum(axis=1) + last
    # The floor keeps antithetic chains from claiming an unlimited sample size.
    out[varying] = size / np.maximum(tau, 1 / np.log10(size))
    return out


def _autocorrelation(x: np.ndarray) -> np.ndarray:
    """Autocorrelation over all chains, with the between-chain variance in the denominator."""
    chains, draws = x.shape[1:]
    means = x.mean(axis=2, keepdims=True)
    length = next_fast_len(2 * draws, real=True)
    spectrum = rfft(x - means, n=length, axis=2)
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=1)
    covariance = irfft(power, n=length, axis=1)[:, :draws] / draws
    variance = covariance[:, :1] * draws / (draws - 1)
    total = covariance[:, :1].copy()
    if chains > 1:
        total += means[:, :, 0].var(axis=1, ddof=1)[:, None]
    rho = 1 - (variance - covariance) / total
    rho[:, 0] = 1.0
    return rho
