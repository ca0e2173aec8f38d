"""Likelihood terms of interval cells and of the evidence channels, with derivatives by hand.

Cells with an exact count, the bulk of the work, are in `lndbayes.model.likelihood`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lndbayes.model.pack import KernelData
from lndbayes.model.special import rates, rising
from lndbayes.model.vector import JIT, LINKS

__all__ = ["channels", "ranged"]

_LOG = LINKS["log"]
_CLOGLOG = LINKS["cloglog"]


@njit(**JIT)
def _share(link: int, eta: float) -> tuple[float, float, float]:
    """Probability, its complement, and its derivative in eta, for the two links of shares."""
    if link == _CLOGLOG:
        hazard = math.exp(eta)
        q = math.exp(-hazard)
        return -math.expm1(-hazard), q, q * hazard
    p, q = rates(eta)
    return p, q, p * q


@njit(**JIT)
def _negative_binomial(
    n: float, y: float, log_mu: float, phi: float, r: float
) -> tuple[float, float, float, float]:
    """Negative binomial without the factorial of y; derivatives in log mu, phi and r.

    Variance ``mu + mu^2 (1 / (n r) + 1 / phi)``: persons differ, and so do cells.
    """
    size = 1.0 / (1.0 / (n * r) + 1.0 / phi)
    mu = math.exp(log_mu)
    v, d = rising(size, y)
    # log1p keeps the digits where the cell is close to Poisson
    shrink = math.log1p(mu / size)
    value = v + y * (log_mu - math.log(size) - shrink) - size * shrink
    d_size = d - shrink + (mu - y) / (size + mu)
    return (
        value,
        size * (y - mu) / (size + mu),
        d_size * (size / phi) ** 2,
        d_size * size * size / (n * r * r),
    )


@njit(**JIT)
def ranged(
    d: KernelData, eta: np.ndarray, phi: float, r: float, g: np.ndarray, out: np.ndarray
) -> float:
    """Cells known to lie between two counts: the sum of the counts' probabilities, exactly.

    The first probability is found as for an exact cell, each further one by its ratio to the one
    before; the derivative is the mean of theirs under those probabilities.
    """
    link, value = d.family[0], 0.0
    for i in range(d.ranged.shape[0]):
        s, t = d.ranged[i, 0], d.ranged[i, 1]
        n, low, high = d.ranged_value[i, 0], d.ranged_value[i, 1], d.ranged_value[i, 2]
        c = d.ranged_value[i, 3]
        if link == _LOG:
            v, de, dphi, dr = _ranged_counts(n, low, high, eta[s, t] + math.log(n * c), phi, r)
            g[s, t] = de
            out[1] += dr
        else:
            p, q, dp = _share(link, eta[s, t])
            q += (1.0 - c) * p
            p *= c
            v, da, db, dphi = _ranged_trials(n, low, high, p, q, phi)
            g[s, t] = dp * c * (da - db)
        value += v + d.ranged_value[i, 4]
        out[0] += dphi
    return value


@njit(**JIT)
def _ranged_trials(
    n: float, low: float, high: float, p: float, q: float, phi: float
) -> tuple[float, float, float, float]:
    a, b = p * phi, q * phi
    base, da = rising(a, low)
    vb, db = rising(b, n - low)
    vn, dn = rising(phi, n)
    base += vb - vn
    weight, total, mean_a, mean_b = 1.0, 1.0, da, db
    k = low
    while k < high:
        # of a beta-binomial's neighbouring probabilities
        weight *= (n - k) * (a + k) / ((k + 1.0) * (b + n - k - 1.0))
        da += 1.0 / (a + k)
        db -= 1.0 / (b + n - k - 1.0)
        total += weight
        mean_a += weight * da
        mean_b += weight * db
        k += 1.0
    mean_a /= total
    mean_b /= total
    return (
        base + math.log(total),
        phi * mean_a,
        phi * mean_b,
        p * mean_a + q * mean_b - dn,
    )


@njit(**JIT)
def _ranged_counts(
    n: float, low: float, high: float, log_mu: float, phi: float, r: float
) -> tuple[float, float, float, float]:
    base, de, dphi, dr = _negative_binomial(n, low, log_mu, phi, r)
    size = 1.0 / (1.0 / (n * r) + 1.0 / phi)
    mu = math.exp(log_mu)
    shrink = size / (size + mu)
    d_size = 0.0
    weight, total, mean_e, mean_size = 1.0, 1.0, 0.0, 0.0
    k = low
    while k < high:
        weight *= (size + k) / (k + 1.0) * mu / (size + mu)
        # what one more event adds to the derivatives
        d_size += 1.0 / (size + k) - 1.0 / (size + mu)
        total += weight
        mean_e += weight * (k + 1.0 - low) * shrink
        mean_size += weight * d_size
        k += 1.0
    mean_size /= total
    return (
        base + math.log(total),
        de + mean_e / total,
        dphi + mean_size * (size / phi) ** 2,
        dr + mean_size * size * size / (n * r * r),
    )


@njit(**JIT)
def _evidence(
    link: int, n: float, y: float, eta: float, phi: float, r: float
) -> tuple[float, float, float, float]:
    """One row of a counted channel; derivatives in eta, phi and r."""
    if link == _LOG:
        return _negative_binomial(n, y, eta + math.log(n), phi, r)
    if link == _CLOGLOG:
        p, q, dp = _share(link, eta)
        return y * math.log(p) + (n - y) * math.log(q), dp * (y / p - (n - y) / q), 0.0, 0.0
    if eta > 0:
        tail = math.exp(-eta)
        return y * eta - n * (eta + math.log1p(tail)), y - n / (1.0 + tail), 0.0, 0.0
    tail = math.exp(eta)
    return y * eta - n * math.log1p(tail), y - n * tail / (1.0 + tail), 0.0, 0.0


@njit(**JIT)
def channels(
    d: KernelData,
    eta0: np.ndarray,
    g0: np.ndarray,
    bias: np.ndarray,
    g_bias: np.ndarray,
    par: np.ndarray,
    g_par: np.ndarray,
) -> float:
    """Reconstructed evidence on eta0.

    `bias` are the retrospective site biases; `par` is (shared bias, dip, recovery, selection, phi,
    r). Derivatives are added to `g0`, `g_bias` and `g_par`.
    """
    link, value = d.family[0], 0.0
    for i in range(d.retrospective_at.shape[0]):
        n = d.retrospective_value[i, 0]
        if n > 0:
            s, t, k = d.retrospective_at[i]
            v, g, dphi, dr = _evidence(
                link,
                n,
                d.retrospective_value[i, 1],
                eta0[s, t] + bias[k] + par[0],
                par[4],
                par[5],
            )
            value += v
            g0[s, t] += g
            g_bias[k] += g
            g_par[0] += g
            g_par[4] += dphi
            g_par[5] += dr
    for i in range(d.history_at.shape[0]):
        n = d.history_value[i, 0]
        if n > 0:
            s, t, lag = d.history_at[i]
            decay = math.exp(-(lag - 1.0) / par[2])
            v, g, dphi, dr = _evidence(
                link,
                n,
                d.history_value[i, 1],
                eta0[s, t] + par[1] * decay + par[3] + par[0],
                par[4],
                par[5],
            )
            value += v
            g0[s, t] += g
            g_par[0] += g
            g_par[1] += g * decay
            g_par[2] += g * par[1] * decay * (lag - 1.0) / (par[2] * par[2])
            g_par[3] += g
            g_par[4] += dphi
            g_par[5] += dr
    return value + _national(d, eta0, g0, par, g_par) + _elicited(d, eta0, g0, par, g_par)


@njit(**JIT)
def _national(
    d: KernelData, eta0: np.ndarray, g0: np.ndarray, par: np.ndarray, g_par: np.ndarray
) -> float:
    """National series, its offset integrated out: link of the sites' weighted mean rate."""
    sites, months = eta0.shape
    if d.national_logit.shape[0] == 0:
        return 0.0
    link = d.family[0]
    used = d.national_weight.sum(axis=0)
    rate = np.zeros(months)
    slope = np.zeros((sites, months))
    for t in range(months):
        if used[t] > 0:
            for s in range(sites):
                if link == _LOG:
                    p = math.exp(eta0[s, t])
                    slope[s, t] = p
                else:
                    p, _, slope[s, t] = _share(link, eta0[s, t])
                rate[t] += d.national_share[s] * p
    mean = d.national_weight @ rate
    if link == _LOG:
        level, on_rate = np.log(mean), 1.0 / mean
    elif link == _CLOGLOG:
        level, on_rate = np.log(-np.log1p(-mean)), 1.0 / ((1.0 - mean) * -np.log1p(-mean))
    else:
        level, on_rate = np.log(mean / (1.0 - mean)), 1.0 / (mean * (1.0 - mean))
    gap = d.national_logit - (level + par[0])
    pull = d.national_precision @ gap
    g_par[0] += pull.sum()
    g_rate = d.national_weight.T @ (pull * on_rate)
    for t in range(months):
        if used[t] > 0:
            for s in range(sites):
                g0[s, t] += g_rate[t] * d.national_share[s] * slope[s, t]
    return -0.5 * (gap * pull).sum()


@njit(**JIT)
def _elicited(
    d: KernelData, eta0: np.ndarray, g0: np.ndarray, par: np.ndarray, g_par: np.ndarray
) -> float:
    """Elicited judgements, the experts' common bias integrated out."""
    sites, months = eta0.shape
    if d.elicited_logit.shape[0] == 0:
        return 0.0
    level = np.zeros(sites)
    for t in range(months):
        if d.elicited_month[t] > 0:
            for s in range(sites):
                level[s] += d.elicited_month[t] * eta0[s, t]
    gap = d.elicited_logit - (d.elicited_weight @ level + par[0])
    pull = d.elicited_precision @ gap
    g_par[0] += pull.sum()
    g_level = d.elicited_weight.T @ pull
    for t in range(months):
        if d.elicited_month[t] > 0:
            for s in range(sites):
                g0[s, t] += d.elicited_month[t] * g_level[s]
    return -0.5 * (gap * pull).sum()
