"""Likelihood of the cells and of their later stages, block by block, with derivatives by hand.

The same terms, one cell at a time, are in `lndbayes.density.evidence_terms`: it has what is rare.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from lndbayes.density.argument_table import get, line, scalar
from lndbayes.numerics.simd import dot, fma
from lndbayes.numerics.vector import (
    BLOCK,
    FAR,
    FEW,
    INNER,
    INSIDE,
    LINKS,
    ONCE,
    TINY,
    above,
    exp,
    far_risings,
    log,
    log1p,
    log_product,
    log_shares,
    products,
    raised,
    remainder,
    risings,
    shares_of,
    shortfall,
)

__all__ = ["counts", "stages", "trials"]

_LOGIT = LINKS["logit"]
#: Largest concentration of a beta distribution whose logarithms are subtracted as they are.
_PLAIN: Final = 1e4


@njit(**INSIDE)
def _totals(
    levels: np.ndarray, times: np.ndarray, phi: float, s: np.ndarray
) -> tuple[float, float]:
    """Minus the sum of ``times`` log rising factorials of phi, and its derivative."""
    a, k, value, slope = s[INNER], s[INNER + 1], s[INNER + 2], s[INNER + 3]
    total, tilt, count = 0.0, 0.0, levels.shape[0]
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        for i in range(n):
            a[i] = phi
            k[i] = levels[start + i]
        risings(a, k, n, s, value, slope)
        total -= dot(value, times[start:], n)
        tilt -= dot(slope, times[start:], n)
    return total, tilt


@njit(**INSIDE)
def _rising(
    few: bool, far: bool, a: np.ndarray, k: np.ndarray, n: int, s: np.ndarray, slope: np.ndarray
) -> float:
    """Sum of log rising factorials, by products or by series; `slope` has the derivatives in a.

    Which of them, says the sort of block: whether every k is small, and whether every a is far
    from 0. `s` has `INNER` rows.
    """
    value, one = s[2], s[3]
    if few:
        products(a, k, n, value, slope)
        return log_product(value, n, s)
    total, shift = 0.0, 0.0
    if far:
        for i in range(n):
            slope[i] = 0.0
    else:
        raised(a, k, n, one, slope)
        total, shift = -log_product(one, n, s), FAR
    far_risings(a, k, n, shift, value, slope)
    for i in range(n):
        one[i] = 1.0
    return total + dot(value, one, n)


@njit(**INSIDE)
def _far(
    y: np.ndarray,
    left: np.ndarray,
    odds: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    dp: np.ndarray,
    phi: float,
    n: int,
    s: np.ndarray,
    on_eta: np.ndarray,
) -> tuple[float, float]:
    """`_beta_binomials` far from 0, where `p` has these log odds.

    Logarithms of the two parameters a and b differ by the log odds, and of log a only the sum is
    wanted: everything has it phi - 1 times. What cancels in the sum is less than `_PLAIN` log
    `_PLAIN` times a row's rounding error.
    """
    value, tilt, one = s[1], s[2], s[3]
    for i in range(n):
        a, b = p[i] * phi, q[i] * phi
        high, further = a + y[i], b + left[i]
        per, each = 1.0 / (a * high), 1.0 / (b * further)
        log_y, log_left = log(high), log(further)
        v = fma(high - 0.5, log_y, fma(further - 0.5, log_left, fma(b - 0.5, odds[i], -y[i])))
        v += remainder(a * per) - remainder(high * per)
        value[i] = v - left[i] + (remainder(b * each) - remainder(further * each))
        up = log_y + (shortfall(high * per) - shortfall(a * per))
        down = log_left + odds[i] + (shortfall(further * each) - shortfall(b * each))
        on_eta[i] = dp[i] * phi * (up - down)
        tilt[i] = fma(p[i], up, q[i] * down)
        one[i] = 1.0
    logs_a = log_shares(p, n, s) + n * math.log(phi)
    return dot(value, one, n) - (phi - 1.0) * logs_a, dot(tilt, one, n) - logs_a


@njit(**INSIDE)
def _beta_binomials(
    y: np.ndarray,
    left: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    dp: np.ndarray,
    phi: float,
    n: int,
    s: np.ndarray,
    on_eta: np.ndarray,
    odds: np.ndarray,
    are_odds: bool,
) -> tuple[float, float]:
    """Sum of beta-binomials without ``rising(phi, n)`` and factorials, and its derivative in phi.

    `s` has ``INNER + 4`` rows; `y` went on and `left` did not; `on_eta` is filled with the
    derivatives in the linear predictors; `odds` may be the log odds of `p`.
    """
    few_y, few_left = above(y, n, FEW) == 0, above(left, n, FEW) == 0
    far_y, far_left = above(p, n, FAR / phi) == n, above(q, n, FAR / phi) == n
    if are_odds and far_y and far_left and phi <= _PLAIN and not few_y and not few_left:
        return _far(y, left, odds, p, q, dp, phi, n, s, on_eta)
    a, b, da, db = s[INNER], s[INNER + 1], s[INNER + 2], s[INNER + 3]
    for i in range(n):
        u, v = p[i] * phi, q[i] * phi
        a[i] = u if u > TINY else TINY
        b[i] = v if v > TINY else TINY
    value = _rising(few_y, far_y, a, y, n, s, da)
    value += _rising(few_left, far_left, b, left, n, s, db)
    for i in range(n):
        on_eta[i] = dp[i] * phi * (da[i] - db[i])
    return value, dot(p, da, n) + dot(q, db, n)


@njit(**ONCE)
def trials(h: np.ndarray, at: np.ndarray) -> float:
    """First stage of every cell with an exact count: beta-binomials.

    Parameters
    ----------
    h : ndarray of int64, shape (HEADER,)
        Addresses of the data.
    at : ndarray of int64
        Addresses of what `PARTS` has for ``cells``: eta, shape (S, T), the scalars, the derivative
        in eta, filled for these cells, and the derivatives in the scalars, added to.
    """
    cells, values = get(h, "cell").view(np.uint64), get(h, "cell_value")
    link, size = get(h, "link"), get(h, "event_time").size
    eta, by_eta = line(at, "cells", "eta", size), line(at, "cells", "by_eta", size)
    numbers = get(h, "scalar_at").size
    v, g = line(at, "cells", "v", numbers), line(at, "cells", "g", numbers)
    phi = v[scalar("concentration")]
    s = np.empty((INNER + 10, BLOCK))
    x, p, q, dp, left, df = (
        s[INNER + 4],
        s[INNER + 5],
        s[INNER + 6],
        s[INNER + 7],
        s[INNER + 8],
        s[INNER + 9],
    )
    value, by_phi = _totals(get(h, "exposure_level"), get(h, "exposure_times"), phi, s)
    count = cells.shape[0]
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        cell, y = cells[start : start + n], values[1, start : start + n]
        trial, held = values[0, start : start + n], values[2, start : start + n]
        for i in range(n):
            x[i] = eta[cell[i]]
            left[i] = trial[i] - y[i]
        shares_of(link, x, n, s, p, q, dp)
        complete = link == _LOGIT
        for i in range(n):
            c = held[i]
            complete &= c == 1.0
            # the source holds a share c of the events: a complete one changes nothing
            q[i] = q[i] + (1.0 - c) * p[i] if c < 1.0 else q[i]
            p[i] *= c
            dp[i] *= c
        part, on_phi = _beta_binomials(y, left, p, q, dp, phi, n, s, df, x, complete)
        value += part
        by_phi += on_phi
        for i in range(n):
            by_eta[cell[i]] = df[i]
    g[scalar("concentration")] += by_phi
    return value


@njit(**ONCE)
def counts(h: np.ndarray, at: np.ndarray) -> float:
    """First stage of every cell with an exact count: negative binomials without factorials.

    Variance ``mu + mu^2 (1 / (n r) + 1 / phi)``: persons differ, and so do cells. Arguments are
    those of `trials`.
    """
    cells, values = get(h, "cell").view(np.uint64), get(h, "cell_value")
    width, numbers = get(h, "event_time").size, get(h, "scalar_at").size
    eta, by_eta = line(at, "cells", "eta", width), line(at, "cells", "by_eta", width)
    scalars, g = line(at, "cells", "v", numbers), line(at, "cells", "g", numbers)
    phi, r = scalars[scalar("concentration")], scalars[scalar("person_dispersion")]
    s = np.empty((INNER + 6, BLOCK))
    x, mu, size, slope = s[INNER], s[INNER + 1], s[INNER + 2], s[INNER + 3]
    tilt, one, v, ratio = s[INNER + 4], s[INNER + 5], s[2], s[3]
    value, by_phi, by_r, count = 0.0, 0.0, 0.0, cells.shape[0]
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        cell, y = cells[start : start + n], values[1, start : start + n]
        exposed, offset = values[0, start : start + n], values[3, start : start + n]
        for i in range(n):
            x[i] = eta[cell[i]] + offset[i]
            persons = exposed[i] * r
            size[i] = persons * phi / (persons + phi)
        # a rising factorial, as in `_rising`, whose first logarithm takes the share along
        raised(size, y, n, ratio, slope)
        value -= log_product(ratio, n, s)
        for i in range(n):
            mu[i] = exp(x[i])
            odds = mu[i] / size[i]
            # without events 0 log 0 is 0: a share that is no double any more stays above 0
            share = mu[i] / (size[i] + mu[i])
            share = share if share > TINY else TINY
            low = size[i] + FAR
            high = low + y[i]
            per = 1.0 / (low * high)
            near, far = high * per, low * per
            # log1p keeps the digits where the cell is close to Poisson
            k, shrink, step = size[i], log1p(odds), log1p(y[i] * near)
            v[i] = fma(y[i], log(high * share) - 1.0, fma(low - 0.5, step, -k * shrink))
            v[i] += remainder(far) - remainder(near)
            gap = (mu[i] - y[i]) / (k + mu[i])
            d_size, part = slope[i] + step - shrink + gap, k / phi
            d_size += shortfall(near) - shortfall(far)
            slope[i] = d_size * part * part
            tilt[i] = d_size * k * (1.0 - part)
            mu[i], one[i] = -k * gap, 1.0
        value += dot(v, one, n)
        by_phi += dot(slope, one, n)
        by_r += dot(tilt, one, n)
        for i in range(n):
            by_eta[cell[i]] = mu[i]
    g[scalar("concentration")] += by_phi
    g[scalar("person_dispersion")] += by_r / r
    return value


@njit(**ONCE)
def stages(h: np.ndarray, at: np.ndarray) -> float:
    """Later stages, each given the one before.

    A stage moves with the first one; or, where the family lets lengths differ, it has a level of
    the site's `own` and an effect of its own that builds up with the ramp, so that lengths say
    nothing of the rate.

    Parameters
    ----------
    h : ndarray of int64, shape (HEADER,)
        Addresses of the data.
    at : ndarray of int64
        Addresses of what `PARTS` has for ``stages``: eta, shape (S, T); the ramp and its derivative
        in the time constant, by time since go-live as `lndbayes.density.priors_and_shapes.since`
        fills them; levels, shape (J,), and those of sites, shape (S,); the scalars; and
        derivatives, added to: in eta, both sorts of level, and the scalars.
    """
    rows, values = get(h, "stage").view(np.uint64), get(h, "stage_value")
    exposure = get(h, "stage_exposure")
    link, free = get(h, "link"), get(h, "free_stages")
    sites, later = get(h, "event_time").shape[0], get(h, "stage_prior").shape[0]
    size, numbers = get(h, "event_time").size, get(h, "scalar_at").size
    eta, by_eta = line(at, "stages", "eta", size), line(at, "stages", "by_eta", size)
    # as long as any time since go-live can be
    built, change = line(at, "stages", "built", size), line(at, "stages", "change", size)
    level, by_level = line(at, "stages", "level", later), line(at, "stages", "by_level", later)
    own, by_own = line(at, "stages", "site", sites), line(at, "stages", "by_site", sites)
    v, g = line(at, "stages", "v", numbers), line(at, "stages", "g", numbers)
    phi, effect = v[scalar("concentration")], v[scalar("stage_effect")]
    w = np.empty((INNER + 11, BLOCK))
    x, p, q, dp, left = w[INNER + 4], w[INNER + 5], w[INNER + 6], w[INNER + 7], w[INNER + 8]
    df, ramp = w[INNER + 9], w[INNER + 10]
    # what depends on the number at risk alone, once for each number
    value, by_phi = _totals(exposure[0], exposure[1], phi, w)
    # rows of one stage are neighbours: its sum is kept at hand
    at_level, on_level, count = np.uint64(0), 0.0, rows.shape[0]
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        row, y = rows[start : start + n], values[1, start : start + n]
        at_risk = values[0, start : start + n]
        if free:
            for i in range(n):
                ramp[i] = built[row[i, 3]]
                x[i] = fma(effect, ramp[i], level[row[i, 2]] + own[row[i, 1]])
        else:
            for i in range(n):
                x[i] = level[row[i, 2]] + eta[row[i, 0]]
        for i in range(n):
            left[i] = at_risk[i] - y[i]
        shares_of(link, x, n, w, p, q, dp)
        part, on_phi = _beta_binomials(y, left, p, q, dp, phi, n, w, df, x, link == _LOGIT)
        value += part
        by_phi += on_phi
        for i in range(n):
            if row[i, 2] != at_level:
                by_level[at_level] += on_level
                at_level, on_level = row[i, 2], 0.0
            on_level += df[i]
        if free:
            for i in range(n):
                by_own[row[i, 1]] += df[i]
                x[i] = change[row[i, 3]]
            g[scalar("stage_effect")] += dot(df, ramp, n)
            g[scalar("ramp_months")] += dot(df, x, n) * effect
        else:
            for i in range(n):
                by_eta[row[i, 0]] += df[i]
    by_level[at_level] += on_level
    g[scalar("concentration")] += by_phi
    return value
