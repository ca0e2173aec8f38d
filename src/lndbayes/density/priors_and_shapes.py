"""Pieces of the compiled density that do not depend on the family: priors, zero sums, mix, ramp."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lndbayes.model.course import PULSE, RAMP
from lndbayes.numerics.simd import dot
from lndbayes.numerics.vector import BLOCK, INNER, INSIDE, TINY, logs, risings

__all__ = [
    "by_course",
    "contaminated",
    "extend",
    "extend_back",
    "mix",
    "passed",
    "scalar_prior",
    "shares",
    "since",
]


@njit(**INSIDE)
def scalar_prior(code: int, a: float, b: float, c: float, v: float) -> tuple[float, float]:
    """Log prior without constants, and its derivative, at the constrained value."""
    if code == 0:
        z = (v - a) / b
        return -0.5 * z * z, -z / b
    if code == 1:
        z = (v - a) / b
        return -0.5 * (c + 1.0) * math.log1p(z * z / c), -(c + 1.0) * z / (b * (c + z * z))
    if code == 2:
        z = v / b
        return -0.5 * z * z, -z / b
    if code == 3:
        return -v / b, -1.0 / b
    if code == 4:
        return (a - 1.0) * math.log(v) - b * v, (a - 1.0) / v - b
    z = (math.log(v) - a) / b
    return -0.5 * z * z - math.log(v), -(z / b + 1.0) / v


@njit(**INSIDE)
def extend(x: np.ndarray, z: np.ndarray) -> None:
    """Fill z, length n, with the isometric image of the first n - 1 of x that sums to zero."""
    n = z.shape[0]
    if n == 1:
        z[0] = 0.0
        return
    total = 0.0
    for i in range(n - 1):
        total += x[i]
    root = math.sqrt(n)
    norm = total / (root + n)
    for i in range(n - 1):
        z[i] = x[i] - norm
    z[n - 1] = -total / root


@njit(**INSIDE)
def extend_back(x: np.ndarray, gz: np.ndarray, gx: np.ndarray) -> float:
    """Add the transposed extension of gz to gx, with the standard normal prior that is returned."""
    n = gz.shape[0]
    if n == 1:
        return 0.0
    root = math.sqrt(n)
    norm = 1.0 / (root + n)
    total = 0.0
    for i in range(n - 1):
        total += gz[i]
    common = -norm * total - gz[n - 1] / root
    value = 0.0
    for i in range(n - 1):
        gx[i] += gz[i] + common - x[i]
        value -= 0.5 * x[i] * x[i]
    return value


@njit(**INSIDE)
def mix(
    x: np.ndarray,
    grad: np.ndarray,
    share: np.ndarray,
    g_share: np.ndarray,
    first: int,
    kappa: float,
    counts: np.ndarray,
    alpha: float,
) -> tuple[float, float]:
    """Dirichlet prior, Dirichlet-multinomial likelihood and the way back to the vector.

    `g_share` holds what the effects already ask of the shares. Returns the value and the
    derivative with respect to kappa.
    """
    sites, kinds = share.shape
    value, g_kappa = 0.0, 0.0
    s = np.empty((INNER + 4, BLOCK))
    a, v, d, wide = s[INNER], s[INNER + 1], s[INNER + 2], s[INNER + 3]
    total = np.zeros(sites)
    for m in range(kinds):
        for i in range(sites):
            total[i] += counts[i, m]
    for start in range(0, sites, BLOCK):
        n = min(BLOCK, sites - start)
        for i in range(n):
            wide[i] = kappa
        risings(wide, total[start:], n, s, v, d)
        for i in range(n):
            value -= v[i]
            g_kappa -= d[i]
    # shares and counts of all sites one after the other
    p, k, size = share.reshape(-1), counts.reshape(-1), sites * kinds
    slope = np.empty(size)
    for start in range(0, size, BLOCK):
        n = min(BLOCK, size - start)
        here = p[start : start + n]
        for i in range(n):
            a[i] = kappa * here[i] if kappa * here[i] > TINY else TINY
        risings(a, k[start:], n, s, v, d)
        for i in range(n):
            value += v[i]
            slope[start + i] = d[i]
        g_kappa += dot(d, here, n)
        logs(here, n, v)
        for i in range(n):
            value += alpha * v[i]
    g = np.empty(kinds)
    for site in range(sites):
        inner = 0.0
        for m in range(kinds):
            g[m] = (g_share[site, m] + kappa * slope[site * kinds + m]) * share[site, m] + alpha
            inner += g[m]
        for m in range(kinds - 1):
            i = first + site * (kinds - 1) + m
            grad[i] += (g[m] - share[site, m] * inner) - (
                g[kinds - 1] - share[site, kinds - 1] * inner
            )
    return value, g_kappa


@njit(**INSIDE)
def shares(x: np.ndarray, start: int, share: np.ndarray) -> None:
    """Fill share, shape (S, M), with simplices from coordinates that begin at `start`."""
    sites, kinds = share.shape
    for s in range(sites):
        total, top = 0.0, -1e300
        for m in range(kinds - 1):
            v = x[start + s * (kinds - 1) + m]
            share[s, m] = v
            total -= v
            top = max(top, v)
        share[s, kinds - 1] = total
        top = max(top, total)
        norm = 0.0
        for m in range(kinds):
            share[s, m] = math.exp(share[s, m] - top)
            norm += share[s, m]
        for m in range(kinds):
            share[s, m] /= norm


_ramp, _ramp_slope = njit(**INSIDE)(RAMP.value), njit(**INSIDE)(RAMP.slope)
_pulse, _pulse_slope = njit(**INSIDE)(PULSE.value), njit(**INSIDE)(PULSE.slope)


@njit(**INSIDE)
def since(months: float, half: float, built: np.ndarray, change: np.ndarray) -> None:
    """Ramp, and its derivative in the time constant, by time since go-live.

    The last place, after that of the longest time, is for all time before go-live: it holds 0.
    """
    before = built.shape[0] - 1
    for e in range(before):
        built[e] = _ramp(e + half, months)
        change[e] = _ramp_slope(e + half, months)
    built[before], change[before] = 0.0, 0.0


@njit(**INSIDE)
def passed(months: float, half: float, built: np.ndarray, change: np.ndarray) -> None:
    """Passing pulse, and its derivative in the time constant; see `since`."""
    before = built.shape[0] - 1
    for e in range(before):
        built[e] = _pulse(e + half, months)
        change[e] = _pulse_slope(e + half, months)
    built[before], change[before] = 0.0, 0.0


@njit(**INSIDE)
def by_course(event_time: np.ndarray, built: np.ndarray, out: np.ndarray) -> None:
    """Spread what `since` or `passed` filled over months of going live and months."""
    before = built.shape[0] - 1
    for k in range(event_time.shape[0]):
        for t in range(event_time.shape[1]):
            e = event_time[k, t]
            out[k, t] = built[e if e >= 0 else before]


@njit(**INSIDE)
def contaminated(
    gap: np.ndarray,
    usual: np.ndarray,
    outlying: np.ndarray,
    log_odds: float,
    pull: np.ndarray,
) -> float:
    """Log density of rows with a common bias integrated out, without constants.

    A mixture of two normals, of a usual and of an outlying bias. `pull` becomes the derivative by
    the mean.
    """
    size = gap.shape[0]
    near, far = 0.0, 0.0
    wide = np.zeros(size)
    for i in range(size):
        pull[i] = 0.0
        for j in range(size):
            pull[i] += usual[i, j] * gap[j]
            wide[i] += outlying[i, j] * gap[j]
        near -= 0.5 * gap[i] * pull[i]
        far -= 0.5 * gap[i] * wide[i]
    odds = log_odds + far - near
    if odds > 0.0:
        rest = math.exp(-odds)
        value, share = far + log_odds + math.log1p(rest), 1.0 / (1.0 + rest)
    else:
        rest = math.exp(odds)
        value, share = near + math.log1p(rest), rest / (1.0 + rest)
    for i in range(size):
        pull[i] += share * (wide[i] - pull[i])
    return value
