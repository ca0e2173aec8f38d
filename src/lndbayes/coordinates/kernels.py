"""The change of coordinates of a metric, compiled: forth, and the way back for gradients."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lndbayes.coordinates.mix_mean_shift import offset_back, offset_forth
from lndbayes.density.argument_table import FIELDS, floats, places, spots, table
from lndbayes.numerics.simd import dot, fma
from lndbayes.numerics.vector import BLOCK, INSIDE, ONCE, log_product

__all__ = ["from_x", "law_back", "law_forth", "law_room", "to_w", "to_x", "to_y"]

_MEAN, _SCALE, _FACTOR, _LOCAL, _MEMBERS = (
    FIELDS[name] for name in ("mean", "scale", "factor", "local", "members")
)
_ROWS, _SKEWED, _SHAPE, _RUNS, _MIDDLE, _INFORMATION = (
    FIELDS[name] for name in ("rows", "skewed", "shape", "runs", "middle", "information")
)
_LAW_MEMBERS, _LAW_SCALARS, _LAW_INFORMATION, _LAW_SCORE, _LAW_TOLD, _LAW_PRODUCTS = (
    FIELDS[f"law_{name}"]
    for name in ("members", "scalars", "information", "score", "told", "products")
)
_LAW_USUAL = FIELDS["law_usual"]
_DIRECTIONS, _STRETCH = FIELDS["directions"], FIELDS["stretch"]


@njit(**INSIDE)
def _root_back(room: np.ndarray, by: np.ndarray) -> None:
    """Turn derivatives by the Cholesky factors into those by the lower half of the precisions."""
    kinds, _, sites = by.shape
    for b in range(kinds - 1, -1, -1):
        per, own = room[kinds, b], by[b, b]
        for a in range(b + 1, kinds):
            here, root = by[a, b], room[a, b]
            for i in range(sites):
                here[i] *= per[i]
                own[i] = fma(-here[i], root[i], own[i])
            for k in range(b):
                to_a, to_b, left, right = by[a, k], by[b, k], room[a, k], room[b, k]
                for i in range(sites):
                    to_a[i] = fma(-here[i], right[i], to_a[i])
                    to_b[i] = fma(-here[i], left[i], to_b[i])
        for i in range(sites):
            own[i] *= 0.5 * per[i]
        for k in range(b):
            to_b, right = by[b, k], room[b, k]
            for i in range(sites):
                to_b[i] = fma(-2.0 * own[i], right[i], to_b[i])


@njit(**INSIDE)
def _forward(room: np.ndarray, v: np.ndarray) -> None:
    """Solve with the Cholesky factors of `law_room`, in place; kinds first, sites last."""
    kinds, sites = v.shape
    for a in range(kinds):
        mine, per = v[a], room[kinds, a]
        for k in range(a):
            left, before = room[a, k], v[k]
            for i in range(sites):
                mine[i] = fma(-left[i], before[i], mine[i])
        for i in range(sites):
            mine[i] *= per[i]


@njit(**INSIDE)
def _backward(room: np.ndarray, v: np.ndarray) -> None:
    """Solve with their transposes, in place."""
    kinds, sites = v.shape
    for a in range(kinds - 1, -1, -1):
        mine, per = v[a], room[kinds, a]
        for k in range(a + 1, kinds):
            left, before = room[k, a], v[k]
            for i in range(sites):
                mine[i] = fma(-left[i], before[i], mine[i])
        for i in range(sites):
            mine[i] *= per[i]


@njit(**ONCE)
def law_room(h: np.ndarray) -> np.ndarray:
    """Scratch that `law_forth` fills for `law_back`.

    For m kinds the first m tables hold the Cholesky factors by row and column, then one each their
    reciprocal diagonals, what is known in coordinates w, the coordinates x, and the score with what
    shared coordinates and the mix add to it; sites last, so that loops run over sites.
    """
    members = spots(h, _LAW_MEMBERS)
    kinds = members.shape[0]
    return np.zeros((kinds + 4, kinds, members.shape[1]))


@njit(**INSIDE)
def _scores(h: np.ndarray, x: np.ndarray, room: np.ndarray) -> None:
    """Fill the scores of `law_room` with what shared coordinates and the sites' mixes make them."""
    score, told, products = table(h, _LAW_SCORE), table(h, _LAW_TOLD), places(h, _LAW_PRODUCTS)
    kinds, sites = score.shape
    shared = products.shape[0]
    signal = np.empty(shared)
    for j in range(shared):
        signal[j] = x[j] * (math.exp(x[products[j]]) if products[j] >= 0 else 1.0)
    for a in range(kinds):
        own, total = score[a], room[kinds + 3, a]
        for i in range(sites):
            total[i] = own[i]
        for j in range(shared):
            one, more = signal[j], told[a * shared + j]
            for i in range(sites):
                total[i] = fma(one, more[i], total[i])
    if table(h, _LAW_USUAL).shape[1] > 0:
        offset_forth(h, x, room)


@njit(**INSIDE)
def law_forth(h: np.ndarray, w: np.ndarray, x: np.ndarray, room: np.ndarray) -> float:
    """Fill the sites' coordinates of x, and return the log of the Jacobian.

    See `lndbayes.coordinates.site_gaussian.SiteLaw`; what is shared of x is already there.
    """
    members, scalars = spots(h, _LAW_MEMBERS), places(h, _LAW_SCALARS)
    information = table(h, _LAW_INFORMATION)
    kinds, sites = members.shape
    scale, value = np.ones(kinds), 0.0
    for a in range(kinds):
        if scalars[a] >= 0:
            scale[a] = math.exp(x[scalars[a]])
    _scores(h, x, room)
    s, part = np.empty((2, BLOCK)), np.empty(BLOCK)
    known, out = room[kinds + 1], room[kinds + 2]
    for a in range(kinds):
        mine, total = known[a], room[kinds + 3, a]
        for i in range(sites):
            mine[i] = scale[a] * total[i]
        for b in range(a + 1):
            here, given = room[a, b], information[a * kinds + b]
            both, prior = scale[a] * scale[b], 1.0 if a == b and scalars[a] >= 0 else 0.0
            for i in range(sites):
                here[i] = fma(both, given[i], prior)
            for k in range(b):
                left, right = room[a, k], room[b, k]
                for i in range(sites):
                    here[i] = fma(-left[i], right[i], here[i])
            per = room[kinds, b]
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
    _forward(room, known)
    for a in range(kinds):
        mine, before, at = out[a], known[a], members[a]
        for i in range(sites):
            mine[i] = before[i] + (w[at[i]] if at[i] >= 0 else 0.0)
    _backward(room, out)
    for a in range(kinds):
        mine, at = out[a], members[a]
        for i in range(sites):
            if at[i] >= 0:
                x[at[i]] = mine[i]
    return value


@njit(**INSIDE)
def law_back(h: np.ndarray, x: np.ndarray, grad: np.ndarray, room: np.ndarray) -> None:
    """Make the gradient in the sites' x that in their w, and add to that of what is shared.

    References
    ----------
    Murray (2016). Differentiation of the Cholesky decomposition. arXiv:1602.07527.
    """
    members, scalars = spots(h, _LAW_MEMBERS), places(h, _LAW_SCALARS)
    information = table(h, _LAW_INFORMATION)
    told, products = table(h, _LAW_TOLD), places(h, _LAW_PRODUCTS)
    kinds, sites = members.shape
    shared = products.shape[0]
    known, out = room[kinds + 1], room[kinds + 2]
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
    _forward(room, by_w)
    for a in range(kinds):
        g, by, at = by_w[a], by_score[a], members[a]
        for i in range(sites):
            by[i] = g[i]
            if at[i] >= 0:
                grad[at[i]] = g[i]
    _backward(room, by_score)
    for a in range(kinds):
        for b in range(a + 1):
            here, mine, one, by, other = by_root[a, b], out[a], by_w[b], by_score[a], known[b]
            for i in range(sites):
                here[i] = -fma(mine[i], one[i], by[i] * other[i])
        per, here = room[kinds, a], by_root[a, a]
        for i in range(sites):
            here[i] -= per[i]
    _root_back(room, by_root)
    ones = np.ones(sites)
    by_scale = np.zeros((kinds, sites))
    for a in range(kinds):
        mine, total, by = by_scale[a], room[kinds + 3, a], by_score[a]
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
    if table(h, _LAW_USUAL).shape[1] > 0:
        offset_back(h, x, grad, scale, by_score)
    for j in range(shared):
        pull = 0.0
        for a in range(kinds):
            pull += scale[a] * dot(told[a * shared + j], by_score[a], sites)
        at = products[j]
        size = math.exp(x[at]) if at >= 0 else 1.0
        grad[j] += pull * size
        if at >= 0:
            grad[at] += pull * size * x[j]


@njit(**INSIDE)
def _stretched(h: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Points, or gradients, with their parts along some directions stretched."""
    directions, stretch, n = table(h, _DIRECTIONS), floats(h, _STRETCH), y.shape[0]
    out = y.copy()
    for k in range(stretch.shape[0]):
        direction = directions[k]
        more = (stretch[k] - 1.0) * dot(direction, y, n)
        for i in range(n):
            out[i] = fma(more, direction[i], out[i])
    return out


@njit(**ONCE)
def to_w(h: np.ndarray, given: np.ndarray, w: np.ndarray) -> None:
    """Linear part of the change of coordinates; see `lndbayes.coordinates.transform.Metric`."""
    y = _stretched(h, given)
    mean, scale = floats(h, _MEAN), floats(h, _SCALE)
    rows, factor = places(h, _ROWS), table(h, _FACTOR)
    for i in range(y.shape[0]):
        w[i] = fma(scale[i], y[i], mean[i])
    for i in range(rows.shape[0]):
        w[rows[i]] += dot(factor[i], y, factor.shape[1])
    local, members = table(h, _LOCAL), spots(h, _MEMBERS)
    for i in range(local.shape[0]):
        group, row = i // local.shape[1], i % local.shape[1]
        at = members[group, row]
        if at >= 0:
            for j in range(row + 1):
                w[at] = fma(local[i, j], y[members[group, j]], w[at])


@njit(**ONCE)
def to_y(h: np.ndarray, grad: np.ndarray, out: np.ndarray) -> None:
    """Gradient in y from the gradient in w."""
    scale, rows, factor = floats(h, _SCALE), places(h, _ROWS), table(h, _FACTOR)
    for i in range(grad.shape[0]):
        out[i] = scale[i] * grad[i]
    for i in range(rows.shape[0]):
        g = grad[rows[i]]
        for j in range(factor.shape[1]):
            out[j] = fma(factor[i, j], g, out[j])
    local, members = table(h, _LOCAL), spots(h, _MEMBERS)
    for i in range(local.shape[0]):
        group, row = i // local.shape[1], i % local.shape[1]
        at = members[group, row]
        if at >= 0:
            g = grad[at]
            for j in range(row + 1):
                place = members[group, j]
                out[place] = fma(local[i, j], g, out[place])
    out[:] = _stretched(h, out)


@njit(**ONCE)
def to_x(h: np.ndarray, w: np.ndarray, x: np.ndarray, room: np.ndarray) -> float:
    """Bends of the coordinates, and the log of their Jacobian.

    See `lndbayes.coordinates.transform.Bends`.

    Scalars come first in the vector, so that they are bent before what follows them.
    """
    skewed, shape, value = places(h, _SKEWED), table(h, _SHAPE), 0.0
    for i in range(w.shape[0]):
        x[i] = w[i]
    for k in range(skewed.shape[0]):
        u = w[skewed[k]]
        root = math.sqrt(1.0 + u * u)
        x[skewed[k]] = shape[k, 0] + shape[k, 1] * (u * shape[k, 2] + root * shape[k, 3])
        value += math.log(shape[k, 1] * (shape[k, 2] + u / root * shape[k, 3]))
    runs, middle, information = spots(h, _RUNS), floats(h, _MIDDLE), floats(h, _INFORMATION)
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
    return value + law_forth(h, w, x, room)


@njit(**ONCE)
def from_x(h: np.ndarray, w: np.ndarray, x: np.ndarray, grad: np.ndarray, room: np.ndarray) -> None:
    """Make the gradient in x that in w, the Jacobian's own included."""
    law_back(h, x, grad, room)
    runs, middle, information = spots(h, _RUNS), floats(h, _MIDDLE), floats(h, _INFORMATION)
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
    skewed, shape = places(h, _SKEWED), table(h, _SHAPE)
    for k in range(skewed.shape[0]):
        u = w[skewed[k]]
        root = math.sqrt(1.0 + u * u)
        slope = shape[k, 2] + u / root * shape[k, 3]
        own = shape[k, 3] / (root * root * root * slope)
        grad[skewed[k]] = grad[skewed[k]] * shape[k, 1] * slope + own
