"""Likelihood of the cells and of their later stages, block by block, with derivatives by hand.

The same terms, one cell at a time, are in `lndbayes.model.terms`, which has what is rare.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lndbayes.model.address import FIELDS, floats, grid, line, places, spots, table
from lndbayes.model.vector import (
    BLOCK,
    INNER,
    INSIDE,
    ONCE,
    TINY,
    exps,
    log1ps,
    logs,
    risings,
    risings_of_few,
    shares_of,
)

__all__ = ["counts", "stages", "trials"]

_FAMILY, _EVENT_TIME, _STAGE_PRIOR = (
    FIELDS[name] for name in ("family", "event_time", "stage_prior")
)
_CELL, _CELL_VALUE, _EXPOSURE_LEVEL, _EXPOSURE_TIMES = (
    FIELDS[name] for name in ("cell", "cell_value", "exposure_level", "exposure_times")
)
_STAGE, _STAGE_VALUE, _STAGE_EXPOSURE = (
    FIELDS[name] for name in ("stage", "stage_value", "stage_exposure")
)
#: Up to here products are cheaper than series.
_FEW = 6.0


@njit(**INSIDE)
def _totals(
    levels: np.ndarray, times: np.ndarray, phi: float, s: np.ndarray, out: np.ndarray
) -> float:
    """Minus the sum of ``times`` log rising factorials of phi; adds its derivative to out[0]."""
    a, k, value, slope = s[INNER], s[INNER + 1], s[INNER + 2], s[INNER + 3]
    total, tilt, count = 0.0, 0.0, levels.shape[0]
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        for i in range(n):
            a[i] = phi
            k[i] = levels[start + i]
        risings(a, k, n, s, value, slope)
        for i in range(n):
            total -= times[start + i] * value[i]
            tilt -= times[start + i] * slope[i]
    out[0] += tilt
    return total


@njit(**INSIDE)
def _beta_binomials(
    y: np.ndarray,
    left: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    phi: float,
    n: int,
    s: np.ndarray,
    value: np.ndarray,
    da: np.ndarray,
    db: np.ndarray,
) -> None:
    """Beta-binomial without ``rising(phi, n)`` and factorials; derivatives in p phi and q phi.

    `s` has ``INNER + 3`` rows; `y` went on and `left` did not, the larger of them in rising order.
    """
    a, b, second = s[INNER], s[INNER + 1], s[INNER + 2]
    for i in range(n):
        u, v = p[i] * phi, q[i] * phi
        a[i] = u if u > TINY else TINY
        b[i] = v if v > TINY else TINY
    most = max(y[n - 1], left[n - 1])
    if most <= _FEW:
        risings_of_few(a, y, b, left, n, int(most), s, value, da, db)
        return
    risings(a, y, n, s, value, da)
    risings(b, left, n, s, second, db)
    for i in range(n):
        value[i] += second[i]


@njit(**ONCE)
def trials(h: np.ndarray, at: np.ndarray) -> float:
    """First stage of every cell with an exact count: beta-binomials.

    Parameters
    ----------
    h : ndarray of int64, shape (HEADER,)
        Addresses of the data.
    at : ndarray of int64
        Addresses of eta, shape (S, T); (phi, r); the derivative in eta, filled for these cells; and
        the derivatives in phi and r, added to.
    """
    cell = spots(h, _CELL)
    cell_value = table(h, _CELL_VALUE)
    link = places(h, _FAMILY)[0]
    sites, months = h[3 * _EVENT_TIME + 2], h[3 * _EVENT_TIME + 3]
    eta, g = grid(at, 0, sites, months), grid(at, 2, sites, months)
    phi, out = line(at, 1, 2)[0], line(at, 3, 2)
    s = np.empty((INNER + 12, BLOCK))
    x, p, q, dp = s[INNER + 3], s[INNER + 4], s[INNER + 5], s[INNER + 6]
    y, left, v, da, db = s[INNER + 7], s[INNER + 8], s[INNER + 9], s[INNER + 10], s[INNER + 11]
    on_phi, levels, times = 0.0, floats(h, _EXPOSURE_LEVEL), floats(h, _EXPOSURE_TIMES)
    value = _totals(levels, times, phi, s, out)
    count = cell.shape[0]
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        for i in range(n):
            x[i] = eta[cell[start + i, 0], cell[start + i, 1]]
            y[i] = cell_value[start + i, 1]
            left[i] = cell_value[start + i, 0] - y[i]
        shares_of(link, x, n, s, p, q, dp)
        for i in range(n):
            c = cell_value[start + i, 2]
            # the source holds a share c of the events: a complete one changes nothing
            q[i] = q[i] + (1.0 - c) * p[i] if c < 1.0 else q[i]
            p[i] *= c
            dp[i] *= c
        _beta_binomials(y, left, p, q, phi, n, s, v, da, db)
        for i in range(n):
            value += v[i]
            on_phi += p[i] * da[i] + q[i] * db[i]
            g[cell[start + i, 0], cell[start + i, 1]] = dp[i] * phi * (da[i] - db[i])
    out[0] += on_phi
    return value


@njit(**ONCE)
def counts(h: np.ndarray, at: np.ndarray) -> float:
    """First stage of every cell with an exact count: negative binomials without factorials.

    Variance ``mu + mu^2 (1 / (n r) + 1 / phi)``: persons differ, and so do cells. Arguments are
    those of `trials`.
    """
    cell = spots(h, _CELL)
    cell_value = table(h, _CELL_VALUE)
    sites, months = h[3 * _EVENT_TIME + 2], h[3 * _EVENT_TIME + 3]
    eta, g = grid(at, 0, sites, months), grid(at, 2, sites, months)
    phi, r, out = line(at, 1, 2)[0], line(at, 1, 2)[1], line(at, 3, 2)
    s = np.empty((INNER + 9, BLOCK))
    x, mu, size, y = s[INNER], s[INNER + 1], s[INNER + 2], s[INNER + 3]
    odds, shrink, log_share = s[INNER + 4], s[INNER + 5], s[INNER + 6]
    v, slope = s[INNER + 7], s[INNER + 8]
    value, on_phi, on_r, count = 0.0, 0.0, 0.0, cell.shape[0]
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        for i in range(n):
            x[i] = eta[cell[start + i, 0], cell[start + i, 1]] + cell_value[start + i, 3]
            y[i] = cell_value[start + i, 1]
            size[i] = 1.0 / (1.0 / (cell_value[start + i, 0] * r) + 1.0 / phi)
        exps(x, n, s, mu)
        for i in range(n):
            odds[i] = mu[i] / size[i]
            # without events 0 log 0 is 0: a share that is no double any more stays above 0
            share = mu[i] / (size[i] + mu[i])
            x[i] = share if share > TINY else TINY
        # log1p keeps the digits where the cell is close to Poisson
        log1ps(odds, n, s, shrink)
        logs(x, n, s, log_share)
        risings(size, y, n, s, v, slope)
        for i in range(n):
            k = size[i]
            value += v[i] + y[i] * log_share[i] - k * shrink[i]
            d_size = slope[i] - shrink[i] + (mu[i] - y[i]) / (k + mu[i])
            on_phi += d_size * (k / phi) ** 2
            on_r += d_size * k * k / (cell_value[start + i, 0] * r * r)
            g[cell[start + i, 0], cell[start + i, 1]] = k * (y[i] - mu[i]) / (k + mu[i])
    out[0] += on_phi
    out[1] += on_r
    return value


@njit(**ONCE)
def stages(h: np.ndarray, at: np.ndarray) -> float:
    """Later stages, each given the one before.

    A stage moves with the first one; or, where the family lets lengths differ, it has a level of
    the site's `own` and an effect of its own that builds up with `ramp` (`bend` is its derivative
    in the time constant), so that lengths say nothing of the rate.

    Parameters
    ----------
    h : ndarray of int64, shape (HEADER,)
        Addresses of the data.
    at : ndarray of int64
        Addresses of eta, ramp and bend, shape (S, T); level, shape (J,); own, shape (S,); (phi,
        effect); and derivatives, added to: in eta, level and own, and in (phi, effect, time
        constant).
    """
    stage = spots(h, _STAGE)
    stage_value = table(h, _STAGE_VALUE)
    stage_exposure = table(h, _STAGE_EXPOSURE)
    link, free = places(h, _FAMILY)[0], places(h, _FAMILY)[1]
    sites, months = h[3 * _EVENT_TIME + 2], h[3 * _EVENT_TIME + 3]
    later = h[3 * _STAGE_PRIOR + 2]
    eta, ramp, bend = (
        grid(at, 0, sites, months),
        grid(at, 1, sites, months),
        grid(at, 2, sites, months),
    )
    level, own, par = line(at, 3, later), line(at, 4, sites), line(at, 5, 2)
    g1, g_level, g_own = grid(at, 6, sites, months), line(at, 7, later), line(at, 8, sites)
    g_par, phi = line(at, 9, 3), par[0]
    w = np.empty((INNER + 12, BLOCK))
    x, p, q, dp = w[INNER + 3], w[INNER + 4], w[INNER + 5], w[INNER + 6]
    y, left, v, da, db = w[INNER + 7], w[INNER + 8], w[INNER + 9], w[INNER + 10], w[INNER + 11]
    # what depends on the number at risk alone, once for each number
    value = _totals(stage_exposure[0], stage_exposure[1], phi, w, g_par)
    on_phi, on_effect, on_ramp = 0.0, 0.0, 0.0
    count = stage.shape[0]
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        for i in range(n):
            s, t, j = stage[start + i, 0], stage[start + i, 1], stage[start + i, 2]
            x[i] = level[j] + (own[s] + par[1] * ramp[s, t] if free else eta[s, t])
            y[i] = stage_value[start + i, 1]
            left[i] = stage_value[start + i, 0] - y[i]
        shares_of(link, x, n, w, p, q, dp)
        _beta_binomials(y, left, p, q, phi, n, w, v, da, db)
        for i in range(n):
            s, t, j = stage[start + i, 0], stage[start + i, 1], stage[start + i, 2]
            value += v[i]
            on_phi += p[i] * da[i] + q[i] * db[i]
            df = dp[i] * phi * (da[i] - db[i])
            g_level[j] += df
            if free:
                g_own[s] += df
                on_effect += df * ramp[s, t]
                on_ramp += df * bend[s, t]
            else:
                g1[s, t] += df
    g_par[0] += on_phi
    g_par[1] += on_effect
    g_par[2] += on_ramp * par[1]
    return value
