"""The change of coordinates, compiled: forward for points, backward for gradients."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lndbayes.coordinates.mix_mean_shift import shift_backward, shift_forward
from lndbayes.density.argument_table import get
from lndbayes.numerics.simd import dot, fma
from lndbayes.numerics.vector import BLOCK, INSIDE, ONCE, log_product

__all__ = [
    "gaussian_backward",
    "gaussian_forward",
    "linear_backward",
    "linear_forward",
    "nonlinear_backward",
    "nonlinear_forward",
    "workspace",
]


@njit(**INSIDE)
def _root_back(work: np.ndarray, by: np.ndarray) -> None:
    """Turn derivatives by the Cholesky factors into those by the lower half of the precisions."""
    kinds, _, sites = by.shape
    for b in range(kinds - 1, -1, -1):
        per, own = work[kinds, b], by[b, b]
        for a in range(b + 1, kinds):
            here, root = by[a, b], work[a, b]
            for i in range(sites):
                here[i] *= per[i]
                own[i] = fma(-here[i], root[i], own[i])
            for k in range(b):
                to_a, to_b, left, right = by[a, k], by[b, k], work[a, k], work[b, k]
                for i in range(sites):
                    to_a[i] = fma(-here[i], right[i], to_a[i])
                    to_b[i] = fma(-here[i], left[i], to_b[i])
        for i in range(sites):
            own[i] *= 0.5 * per[i]
        for k in range(b):
            to_b, right = by[b, k], work[b, k]
            for i in range(sites):
                to_b[i] = fma(-2.0 * own[i], right[i], to_b[i])


@njit(**INSIDE)
def _forward(work: np.ndarray, v: np.ndarray) -> None:
    """Solve with the Cholesky factors of `workspace`, in place; kinds first, sites last."""
    kinds, sites = v.shape
    for a in range(kinds):
        mine, per = v[a], work[kinds, a]
        for k in range(a):
            left, before = work[a, k], v[k]
            for i in range(sites):
                mine[i] = fma(-left[i], before[i], mine[i])
        for i in range(sites):
            mine[i] *= per[i]


@njit(**INSIDE)
def _backward(work: np.ndarray, v: np.ndarray) -> None:
    """Solve with their transposes, in place."""
    kinds, sites = v.shape
    for a in range(kinds - 1, -1, -1):
        mine, per = v[a], work[kinds, a]
        for k in range(a + 1, kinds):
            left, before = work[k, a], v[k]
            for i in range(sites):
                mine[i] = fma(-left[i], before[i], mine[i])
        for i in range(sites):
            mine[i] *= per[i]


@njit(**ONCE)
def workspace(h: np.ndarray) -> np.ndarray:
    """Make the arrays that `gaussian_forward` fills and `gaussian_backward` reads.

    For m kinds the first m tables hold the Cholesky factors by row and column, then one each their
    reciprocal diagonals, what is known in coordinates w, the coordinates x, and the score with what
    shared coordinates and the mix add to it; sites last, so that loops run over sites.
    """
    members = get(h, "gaussian_members")
    kinds = members.shape[0]
    return np.zeros((kinds + 4, kinds, members.shape[1]))


@njit(**INSIDE)
def _scores(h: np.ndarray, x: np.ndarray, work: np.ndarray) -> None:
    """Fill the scores of `workspace`, with shifts by shared coordinates and by the sites' mixes."""
    score, score_slope, shared_scalars = (
        get(h, "gaussian_score"),
        get(h, "gaussian_score_slope"),
        get(h, "gaussian_shared_scalars"),
    )
    kinds, sites = score.shape
    shared = shared_scalars.shape[0]
    signal = np.empty(shared)
    for j in range(shared):
        signal[j] = x[j] * (math.exp(x[shared_scalars[j]]) if shared_scalars[j] >= 0 else 1.0)
    for a in range(kinds):
        own, total = score[a], work[kinds + 3, a]
        for i in range(sites):
            total[i] = own[i]
        for j in range(shared):
            one, more = signal[j], score_slope[a * shared + j]
            for i in range(sites):
                total[i] = fma(one, more[i], total[i])
    if get(h, "gaussian_reference_mix").shape[1] > 0:
        shift_forward(h, x, work)


@njit(**INSIDE)
def gaussian_forward(h: np.ndarray, w: np.ndarray, x: np.ndarray, work: np.ndarray) -> float:
    """Fill the sites' coordinates of x, and return the log of the Jacobian.

    See `lndbayes.coordinates.site_gaussian.SiteGaussian`; shared coordinates of x are set already.
    """
    members, scalars = get(h, "gaussian_members"), get(h, "gaussian_scalars")
    information = get(h, "gaussian_information")
    kinds, sites = members.shape
    scale, value = np.ones(kinds), 0.0
    for a in range(kinds):
        if scalars[a] >= 0:
            scale[a] = math.exp(x[scalars[a]])
    _scores(h, x, work)
    s, part = np.empty((2, BLOCK)), np.empty(BLOCK)
    known, out = work[kinds + 1], work[kinds + 2]
    for a in range(kinds):
        mine, total = known[a], work[kinds + 3, a]
        for i in range(sites):
            mine[i] = scale[a] * total[i]
        for b in range(a + 1):
            here, given = work[a, b], information[a * kinds + b]
            both, prior = scale[a] * scale[b], 1.0 if a == b and scalars[a] >= 0 else 0.0
            for i in range(sites):
                here[i] = fma(both, given[i], prior)
            for k in range(b):
                left, right = work[a, k], work[b, k]
                for i in range(sites):
                    here[i] = fma(-left[i], right[i], here[i])
            per = work[kinds, b]
            if a > b:
                for i in range(sites):
                    here[i] *= per[i]
                continue
            for i in range(sites):
                here[i] = math.sqrt(here[i])
                per[i] = 1.0 / here[i]
            for start in range(0, sites, BLOCK):
                n = min(BLOCK, sites - start)
                for i in range(n):
                    part[i] = per[start + i]
                value += log_product(part, n, s)
    _forward(work, known)
    for a in range(kinds):
        mine, before, at = out[a], known[a], members[a]
        for i in range(sites):
            mine[i] = before[i] + (w[at[i]] if at[i] >= 0 else 0.0)
    _backward(work, out)
    for a in range(kinds):
        mine, at = out[a], members[a]
        for i in range(sites):
            if at[i] >= 0:
                x[at[i]] = mine[i]
    return value


@njit(**INSIDE)
def gaussian_backward(h: np.ndarray, x: np.ndarray, grad: np.ndarray, work: np.ndarray) -> None:
    """Turn the gradient in the sites' x into that in their w; add to that of shared coordinates.

    References
    ----------
    Murray (2016). Differentiation of the Cholesky decomposition. arXiv:1602.07527.
    """
    members, scalars = get(h, "gaussian_members"), get(h, "gaussian_scalars")
    information = get(h, "gaussian_information")
    score_slope, shared_scalars = get(h, "gaussian_score_slope"), get(h, "gaussian_shared_scalars")
    kinds, sites = members.shape
    shared = shared_scalars.shape[0]
    known, out = work[kinds + 1], work[kinds + 2]
    scale = np.ones(kinds)
    for a in range(kinds):
        if scalars[a] >= 0:
            scale[a] = math.exp(x[scalars[a]])
    # by w, by v score, and by the Cholesky factor
    by_w, by_score = np.empty((kinds, sites)), np.empty((kinds, sites))
    by_root = np.empty((kinds, kinds, sites))
    for a in range(kinds):
        g, at = by_w[a], members[a]
        for i in range(sites):
            g[i] = grad[at[i]] if at[i] >= 0 else 0.0
    _forward(work, by_w)
    for a in range(kinds):
        g, by, at = by_w[a], by_score[a], members[a]
        for i in range(sites):
            by[i] = g[i]
            if at[i] >= 0:
                grad[at[i]] = g[i]
    _backward(work, by_score)
    for a in range(kinds):
        for b in range(a + 1):
            here, mine, one, by, other = by_root[a, b], out[a], by_w[b], by_score[a], known[b]
            for i in range(sites):
                here[i] = -fma(mine[i], one[i], by[i] * other[i])
        per, here = work[kinds, a], by_root[a, a]
        for i in range(sites):
            here[i] -= per[i]
    _root_back(work, by_root)
    ones = np.ones(sites)
    by_scale = np.zeros((kinds, sites))
    for a in range(kinds):
        mine, total, by = by_scale[a], work[kinds + 3, a], by_score[a]
        for i in range(sites):
            mine[i] = fma(total[i], by[i], mine[i])
        for b in range(a + 1):
            here, given, other = by_root[a, b], information[a * kinds + b], by_scale[b]
            for i in range(sites):
                mine[i] = fma(scale[b] * here[i], given[i], mine[i])
                other[i] = fma(scale[a] * here[i], given[i], other[i])
    for a in range(kinds):
        if scalars[a] >= 0:
            grad[scalars[a]] += scale[a] * dot(by_scale[a], ones, sites)
    if get(h, "gaussian_reference_mix").shape[1] > 0:
        shift_backward(h, x, grad, scale, by_score)
    for j in range(shared):
        pull = 0.0
        for a in range(kinds):
            pull += scale[a] * dot(score_slope[a * shared + j], by_score[a], sites)
        at = shared_scalars[j]
        size = math.exp(x[at]) if at >= 0 else 1.0
        grad[j] += pull * size
        if at >= 0:
            grad[at] += pull * size * x[j]


@njit(**INSIDE)
def _rescaled(h: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points, or gradients, scaled along some directions."""
    directions, residual_scaling, n = (
        get(h, "directions"),
        get(h, "residual_scaling"),
        y.shape[0],
    )
    out = y.copy()
    for k in range(residual_scaling.shape[0]):
        direction = directions[k]
        more = (residual_scaling[k] - 1.0) * dot(direction, y, n)
        for i in range(n):
            out[i] = fma(more, direction[i], out[i])
    return out


@njit(**ONCE)
def linear_forward(h: np.ndarray, point: np.ndarray, w: np.ndarray) -> None:
    """Fill w from y: the linear part of `lndbayes.coordinates.transform.Coordinates`."""
    y = _rescaled(h, point)
    mean, scale = get(h, "mean"), get(h, "scale")
    rows, factor = get(h, "rows"), get(h, "factor")
    for i in range(y.shape[0]):
        w[i] = fma(scale[i], y[i], mean[i])
    for i in range(rows.shape[0]):
        w[rows[i]] += dot(factor[i], y, factor.shape[1])
    local, members = get(h, "local"), get(h, "members")
    for i in range(local.shape[0]):
        group, row = i // local.shape[1], i % local.shape[1]
        at = members[group, row]
        if at >= 0:
            for j in range(row + 1):
                w[at] = fma(local[i, j], y[members[group, j]], w[at])


@njit(**ONCE)
def linear_backward(h: np.ndarray, grad: np.ndarray, out: np.ndarray) -> None:
    """Fill the gradient in y from the gradient in w."""
    scale, rows, factor = get(h, "scale"), get(h, "rows"), get(h, "factor")
    for i in range(grad.shape[0]):
        out[i] = scale[i] * grad[i]
    for i in range(rows.shape[0]):
        g = grad[rows[i]]
        for j in range(factor.shape[1]):
            out[j] = fma(factor[i, j], g, out[j])
    local, members = get(h, "local"), get(h, "members")
    for i in range(local.shape[0]):
        group, row = i // local.shape[1], i % local.shape[1]
        at = members[group, row]
        if at >= 0:
            g = grad[at]
            for j in range(row + 1):
                place = members[group, j]
                out[place] = fma(local[i, j], g, out[place])
    out[:] = _rescaled(h, out)


@njit(**ONCE)
def nonlinear_forward(h: np.ndarray, w: np.ndarray, x: np.ndarray, work: np.ndarray) -> float:
    """Fill x from w, and return the log of the Jacobian determinant.

    See `lndbayes.coordinates.transform.NonlinearMap`.

    Scalars come first in the vector, so that they are mapped before what depends on them.
    """
    skewed, shape, value = get(h, "skewed"), get(h, "shape"), 0.0
    for i in range(w.shape[0]):
        x[i] = w[i]
    for k in range(skewed.shape[0]):
        u = w[skewed[k]]
        root = math.sqrt(1.0 + u * u)
        x[skewed[k]] = shape[k, 0] + shape[k, 1] * (u * shape[k, 2] + root * shape[k, 3])
        value += math.log(shape[k, 1] * (shape[k, 2] + u / root * shape[k, 3]))
    runs, middle, information = get(h, "runs"), get(h, "middle"), get(h, "information")
    s, ratio = np.empty((2, BLOCK)), np.empty(BLOCK)
    at = 0
    for b in range(runs.shape[0]):
        power = math.exp(runs[b, 3] * x[runs[b, 0]])
        half = -0.5 if runs[b, 3] > 0 else 0.5
        for start in range(runs[b, 1], runs[b, 2], BLOCK):
            n = min(BLOCK, runs[b, 2] - start)
            for i in range(n):
                ratio[i] = fma(power, information[at + i], 1.0)
            value += half * log_product(ratio, n, s)
            for i in range(n):
                root = math.sqrt(ratio[i])
                spread = root if half > 0.0 else 1.0 / root
                x[start + i] = fma(w[start + i], spread, middle[at + i])
            at += n
    return value + gaussian_forward(h, w, x, work)


@njit(**ONCE)
def nonlinear_backward(
    h: np.ndarray, w: np.ndarray, x: np.ndarray, grad: np.ndarray, work: np.ndarray
) -> None:
    """Turn the gradient in x into that in w, in place, the Jacobian's own gradient included."""
    gaussian_backward(h, x, grad, work)
    runs, middle, information = get(h, "runs"), get(h, "middle"), get(h, "information")
    at, part = 0, np.empty(w.shape[0])
    for b in range(runs.shape[0]):
        power, total = math.exp(runs[b, 3] * x[runs[b, 0]]), 0.0
        half = -0.5 if runs[b, 3] > 0 else 0.5
        first, last = runs[b, 1], runs[b, 2]
        for i in range(first, last):
            ratio = fma(power, information[at + i - first], 1.0)
            moved = fma(grad[i], x[i] - middle[at + i - first], 1.0)
            part[i] = (ratio - 1.0) * moved / ratio
            root = math.sqrt(ratio)
            grad[i] *= root if half > 0.0 else 1.0 / root
        for i in range(first, last):
            total += part[i]
        at += last - first
        grad[runs[b, 0]] += half * runs[b, 3] * total
    skewed, shape = get(h, "skewed"), get(h, "shape")
    for k in range(skewed.shape[0]):
        u = w[skewed[k]]
        root = math.sqrt(1.0 + u * u)
        slope = shape[k, 2] + u / root * shape[k, 3]
        own = shape[k, 3] / (root * root * root * slope)
        grad[skewed[k]] = grad[skewed[k]] * shape[k, 1] * slope + own
