"""Pieces of the compiled density that do not depend on the family: priors, zero sums, mix, ramp."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lndbayes.numerics.simd import dot
from lndbayes.numerics.vector import BLOCK, INNER, INSIDE, TINY, logs, risings

__all__ = ["extend", "extend_back", "mix", "pulses", "ramps", "scalar_prior", "shares"]


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


@njit(**INSIDE)
def ramps(
    event_time: np.ndarray,
    months: float,
    half: float,
    built: np.ndarray,
    change: np.ndarray,
    ramp: np.ndarray,
    slope: np.ndarray,
) -> None:
    """Ramp and its derivative in the time constant, by time since go-live and by site and month.

    The last place of `built` and of `change`, after that of the longest time, is for all time
    before go-live: it holds 0.
    """
    sites, periods = event_time.shape
    before = built.shape[0] - 1
    for e in range(before):
        left = math.exp(-(e + half) / months)
        built[e] = 1.0 - left
        change[e] = -left * (e + half) / (months * months)
    built[before], change[before] = 0.0, 0.0
    for s in range(sites):
        for t in range(periods):
            e = event_time[s, t] if event_time[s, t] >= 0 else before
            ramp[s, t] = built[e]
            slope[s, t] = change[e]


@njit(**INSIDE)
def pulses(
    event_time: np.ndarray, peak: float, half: float, shape: np.ndarray, slope: np.ndarray
) -> None:
    """Passing pulse ``(u / m) exp(1 - u / m)`` and its derivative in m, by site and month."""
    for s in range(event_time.shape[0]):
        for t in range(event_time.shape[1]):
            e = event_time[s, t]
            if e >= 0:
                u = (e + half) / peak
                shape[s, t] = u * math.exp(1.0 - u)
                slope[s, t] = shape[s, t] * (u - 1.0) / peak
            else:
                shape[s, t] = 0.0
                slope[s, t] = 0.0
