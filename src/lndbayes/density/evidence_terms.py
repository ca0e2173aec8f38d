"""Likelihood terms of interval cells and of the evidence channels, with derivatives by hand.

Cells with an exact count, the bulk of the work, are in `lndbayes.density.cell_likelihood`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lndbayes.density.argument_table import block, get, grid, line, scalar
from lndbayes.density.priors_and_shapes import contaminated
from lndbayes.numerics.simd import dot
from lndbayes.numerics.special import rates, rising
from lndbayes.numerics.vector import BLOCK, INSIDE, LINKS, TINY, exps, log1ps, logs, shares_of

__all__ = ["channels", "ranged"]

_LOG = LINKS["log"]
_CLOGLOG = LINKS["cloglog"]


@njit(**INSIDE)
def _share(link: int, eta: float) -> tuple[float, float, float]:
    """Probability, its complement, and its derivative in eta, for the two links of shares."""
    if link == _CLOGLOG:
        hazard = math.exp(eta)
        q = math.exp(-hazard)
        return -math.expm1(-hazard), q, q * hazard
    p, q = rates(eta)
    return p, q, p * q


@njit(**INSIDE)
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


@njit(**INSIDE)
def ranged(h: np.ndarray, at: np.ndarray) -> float:
    """Cells known to lie between two counts: the sum of the counts' probabilities, exactly.

    The first probability is found as for an exact cell, each further one by its ratio to the one
    before; the derivative is the mean of theirs under those probabilities. Arguments
    are those of `lndbayes.density.cell_likelihood.trials`.
    """
    cell, cell_value = get(h, "ranged"), get(h, "ranged_value")
    sites, months = get(h, "event_time").shape
    numbers = get(h, "scalar_at").size
    eta = grid(at, "ranged", "eta", sites, months)
    by_eta = grid(at, "ranged", "by_eta", sites, months)
    scalars, g = line(at, "ranged", "v", numbers), line(at, "ranged", "g", numbers)
    phi, r = scalars[scalar("concentration")], scalars[scalar("person_dispersion")]
    link, value = get(h, "link"), 0.0
    for i in range(cell.shape[0]):
        s, t = cell[i, 0], cell[i, 1]
        n, low, high = cell_value[i, 0], cell_value[i, 1], cell_value[i, 2]
        c = cell_value[i, 3]
        if link == _LOG:
            v, de, dphi, dr = _ranged_counts(n, low, high, eta[s, t] + math.log(n * c), phi, r)
            by_eta[s, t] = de
            g[scalar("person_dispersion")] += dr
        else:
            p, q, dp = _share(link, eta[s, t])
            q += (1.0 - c) * p
            p *= c
            v, da, db, dphi = _ranged_trials(n, low, high, p, q, phi)
            by_eta[s, t] = dp * c * (da - db)
        value += v + cell_value[i, 4]
        g[scalar("concentration")] += dphi
    return value


@njit(**INSIDE)
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


@njit(**INSIDE)
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


@njit(**INSIDE)
def _evidence(
    link: int,
    trials: np.ndarray,
    y: np.ndarray,
    v: np.ndarray,
    n: int,
    s: np.ndarray,
    x: np.ndarray,
    g: np.ndarray,
) -> float:
    """Rows of a counted channel with predictors `x`, whose place their derivatives then take.

    Binomial, or a negative binomial like that of the cells; adds to those of phi and r.
    """
    value = 0.0
    if link == _LOG:
        phi, r = v[scalar("concentration")], v[scalar("person_dispersion")]
        for i in range(n):
            if trials[i] > 0:
                eta = x[i] + math.log(trials[i])
                one, x[i], dphi, dr = _negative_binomial(trials[i], y[i], eta, phi, r)
                value += one
                g[scalar("concentration")] += dphi
                g[scalar("person_dispersion")] += dr
            else:
                x[i] = 0.0
        return value
    p, q, dp, log_p, log_q = s[2], s[3], s[4], s[5], s[6]
    if link != _CLOGLOG:
        # without probabilities, which far out are no doubles any more
        for i in range(n):
            q[i] = -abs(x[i])
        exps(q, n, p)
        log1ps(p, n, log_q)
        for i in range(n):
            share = 1.0 / (1.0 + p[i])
            share = share if x[i] > 0.0 else p[i] * share
            value += y[i] * x[i] - trials[i] * (max(x[i], 0.0) + log_q[i])
            x[i] = y[i] - trials[i] * share
        return value
    shares_of(link, x, n, s, p, q, dp)
    for i in range(n):
        # a probability that is no double any more still has a logarithm
        p[i] = p[i] if p[i] > TINY else TINY
        q[i] = q[i] if q[i] > TINY else TINY
    logs(p, n, log_p)
    logs(q, n, log_q)
    for i in range(n):
        left = trials[i] - y[i]
        x[i] = y[i] * (dp[i] / p[i]) - left * (dp[i] / q[i])
    # where nobody was asked, nothing is said
    return dot(y, log_p, n) + dot(trials, log_q, n) - dot(y, log_q, n)


@njit(**INSIDE)
def channels(h: np.ndarray, at: np.ndarray) -> float:
    """Reconstructed evidence on the untreated predictor eta0.

    Parameters
    ----------
    h : ndarray of int64, shape (HEADER,)
        Addresses of the data.
    at : ndarray of int64
        Addresses of what `PARTS` has for ``channels``: eta0, shape (S, T); the retrospective site
        biases, shape (R,); the scalars; and the derivatives, added to.
    """
    sites, months = get(h, "event_time").shape
    numbers, places = get(h, "scalar_at").size, get(h, "block_at")
    eta0 = grid(at, "channels", "eta0", sites, months)
    by_eta0 = grid(at, "channels", "by_eta0", sites, months)
    recorded = block("retrospective_site_bias")
    covered = places[recorded, 1] - places[recorded, 0]
    bias, by_bias = line(at, "channels", "bias", covered), line(at, "channels", "by_bias", covered)
    v, g = line(at, "channels", "v", numbers), line(at, "channels", "g", numbers)
    value = _counted(h, eta0, by_eta0, bias, by_bias, v, g)
    return value + _national(h, eta0, by_eta0, v, g) + _elicited(h, eta0, by_eta0, v, g)


@njit(**INSIDE)
def _counted(
    h: np.ndarray,
    eta0: np.ndarray,
    by_eta0: np.ndarray,
    bias: np.ndarray,
    by_bias: np.ndarray,
    v: np.ndarray,
    g: np.ndarray,
) -> float:
    """Counts read back from records, and referred persons' own counts before referral."""
    asked, asked_value = get(h, "retrospective_at"), get(h, "retrospective_value")
    own, own_value = get(h, "history_at"), get(h, "history_value")
    link, value, s = get(h, "link"), 0.0, np.empty((9, BLOCK))
    x, decay, by_shared = s[7], s[8], 0.0
    for start in range(0, asked.shape[0], BLOCK):
        n = min(BLOCK, asked.shape[0] - start)
        for i in range(n):
            site, month, k = asked[start + i]
            x[i] = eta0[site, month] + bias[k] + v[scalar("shared_bias")]
        here = slice(start, start + n)
        value += _evidence(link, asked_value[0, here], asked_value[1, here], v, n, s, x, g)
        for i in range(n):
            site, month, k = asked[start + i]
            by_eta0[site, month] += x[i]
            by_bias[k] += x[i]
            by_shared += x[i]
    dip, months = v[scalar("crisis_dip")], v[scalar("crisis_recovery_months")]
    common = v[scalar("history_selection")] + v[scalar("shared_bias")]
    by_common, by_dip, by_months = 0.0, 0.0, 0.0
    for start in range(0, own.shape[0], BLOCK):
        n = min(BLOCK, own.shape[0] - start)
        for i in range(n):
            site, month, lag = own[start + i]
            decay[i] = math.exp(-(lag - 1.0) / months)
            x[i] = eta0[site, month] + dip * decay[i] + common
        here = slice(start, start + n)
        value += _evidence(link, own_value[0, here], own_value[1, here], v, n, s, x, g)
        for i in range(n):
            site, month, lag = own[start + i]
            by_eta0[site, month] += x[i]
            by_common += x[i]
            by_dip += x[i] * decay[i]
            by_months += x[i] * dip * decay[i] * (lag - 1.0) / (months * months)
    g[scalar("shared_bias")] += by_shared + by_common
    g[scalar("history_selection")] += by_common
    g[scalar("crisis_dip")] += by_dip
    g[scalar("crisis_recovery_months")] += by_months
    return value


@njit(**INSIDE)
def _national(
    h: np.ndarray, eta0: np.ndarray, by_eta0: np.ndarray, v: np.ndarray, g: np.ndarray
) -> float:
    """National series, its offset integrated out: link of the sites' weighted mean rate."""
    sites, months = eta0.shape
    logit, share, weight = (
        get(h, "national_logit"),
        get(h, "national_share"),
        get(h, "national_weight"),
    )
    size = logit.shape[0]
    if size == 0:
        return 0.0
    link = get(h, "link")
    first, last = months, 0
    for i in range(size):
        for t in range(months):
            if weight[i, t] > 0.0:
                first, last = min(first, t), max(last, t + 1)
    rate, slope = np.zeros(months), np.empty((sites, months))
    s = np.empty((6, BLOCK))
    x, p, q, dp = s[2], s[3], s[4], s[5]
    # rows of a few sites side by side fill a block
    width = max(min(last - first, BLOCK), 1)
    together = BLOCK // width
    for left in range(first, last, width):
        n = min(width, last - left)
        for start in range(0, sites, together):
            rows = min(together, sites - start)
            for k in range(rows):
                for i in range(n):
                    x[k * n + i] = eta0[start + k, left + i]
            if link == _LOG:
                exps(x, rows * n, p)
                dp[: rows * n] = p[: rows * n]
            else:
                shares_of(link, x, rows * n, s, p, q, dp)
            for k in range(rows):
                for i in range(n):
                    slope[start + k, left + i] = dp[k * n + i]
                    rate[left + i] += share[start + k] * p[k * n + i]
    gap, on_rate = np.empty(size), np.empty(size)
    for i in range(size):
        mean = dot(weight[i], rate, months)
        if link == _LOG:
            level, on_rate[i] = math.log(mean), 1.0 / mean
        elif link == _CLOGLOG:
            hazard = -math.log1p(-mean)
            level, on_rate[i] = math.log(hazard), 1.0 / ((1.0 - mean) * hazard)
        else:
            level, on_rate[i] = math.log(mean / (1.0 - mean)), 1.0 / (mean * (1.0 - mean))
        gap[i] = logit[i] - (level + v[scalar("shared_bias")])
    pull, g_rate = np.empty(size), np.zeros(months)
    usual, outlying = get(h, "national_precision"), get(h, "national_outlying")
    value = contaminated(gap, usual, outlying, get(h, "national_log_odds"), pull)
    for i in range(size):
        g[scalar("shared_bias")] += pull[i]
    for i in range(size):
        for t in range(months):
            g_rate[t] += weight[i, t] * pull[i] * on_rate[i]
    for i in range(sites):
        for t in range(first, last):
            by_eta0[i, t] += g_rate[t] * share[i] * slope[i, t]
    return value


@njit(**INSIDE)
def _elicited(
    h: np.ndarray, eta0: np.ndarray, by_eta0: np.ndarray, v: np.ndarray, g: np.ndarray
) -> float:
    """Elicited judgements, the experts' common bias integrated out."""
    sites, months = eta0.shape
    logit, month = get(h, "elicited_logit"), get(h, "elicited_month")
    weight = get(h, "elicited_weight")
    size = logit.shape[0]
    if size == 0:
        return 0.0
    level = np.zeros(sites)
    for t in range(months):
        if month[t] > 0:
            for s in range(sites):
                level[s] += month[t] * eta0[s, t]
    gap = np.empty(size)
    for i in range(size):
        gap[i] = logit[i] - v[scalar("shared_bias")]
        for s in range(sites):
            gap[i] -= weight[i, s] * level[s]
    pull, g_level = np.empty(size), np.zeros(sites)
    usual, outlying = get(h, "elicited_precision"), get(h, "elicited_outlying")
    value = contaminated(gap, usual, outlying, get(h, "elicited_log_odds"), pull)
    for i in range(size):
        g[scalar("shared_bias")] += pull[i]
    for i in range(size):
        for s in range(sites):
            g_level[s] += weight[i, s] * pull[i]
    for t in range(months):
        if month[t] > 0:
            for s in range(sites):
                by_eta0[s, t] += month[t] * g_level[s]
    return value
