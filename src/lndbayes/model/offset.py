"""What a site's mix adds to its deviation in the sites' law, compiled, and the way back.

See `lndbayes.model.site_law.SiteLaw`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lndbayes.model.address import FIELDS, places, table
from lndbayes.model.lanes import dot, fma
from lndbayes.model.parts import extend
from lndbayes.model.vector import INSIDE, ONCE, exp

__all__ = ["offset_back", "offset_forth"]

_INFORMATION, _USUAL, _MIX_AT = (
    FIELDS[name] for name in ("law_information", "law_usual", "law_mix_at")
)


@njit(**ONCE)
def _row(room: np.ndarray, m: int) -> np.ndarray:
    """Shares of intervention m by site: rows of what the law's scratch has beyond its own."""
    kinds = room.shape[1]
    return room[kinds + 4 + m // kinds, m % kinds]


@njit(**INSIDE)
def _effects(h: np.ndarray, x: np.ndarray) -> np.ndarray:
    at, mixed = places(h, _MIX_AT), table(h, _USUAL).shape[1]
    effect, size = np.empty(mixed), math.exp(x[at[2]])
    extend(x[at[1] : at[1] + mixed - 1], effect)
    for m in range(mixed):
        effect[m] *= size
    return effect


@njit(**INSIDE)
def offset_forth(h: np.ndarray, x: np.ndarray, room: np.ndarray) -> None:
    """Take from the scores in `lndbayes.model.moves.law_room` what the mix adds to deviations."""
    usual, information, at = table(h, _USUAL), table(h, _INFORMATION), places(h, _MIX_AT)
    sites, mixed = usual.shape
    kinds, first, last = room.shape[1], at[0], mixed - 1
    effect, total, least = _effects(h, x), np.zeros(sites), _row(room, last)
    for i in range(sites):
        least[i] = 0.0
    for m in range(last):
        here = _row(room, m)
        for i in range(sites):
            here[i] = x[first + i * last + m]
            least[i] -= here[i]
    top = np.full(sites, -np.inf)
    for m in range(mixed):
        here = _row(room, m)
        for i in range(sites):
            top[i] = max(top[i], here[i])
    for m in range(mixed):
        here = _row(room, m)
        for i in range(sites):
            here[i] = exp(here[i] - top[i])
            total[i] += here[i]
    offset = np.zeros(sites)
    for m in range(mixed):
        here = _row(room, m)
        for i in range(sites):
            here[i] /= total[i]
            offset[i] = fma(here[i] - usual[i, m], effect[m], offset[i])
    for a in range(kinds):
        mine, given = room[kinds + 3, a], information[a * kinds + at[3]]
        for i in range(sites):
            mine[i] = fma(-given[i], offset[i], mine[i])


@njit(**INSIDE)
def offset_back(
    h: np.ndarray,
    x: np.ndarray,
    grad: np.ndarray,
    room: np.ndarray,
    scale: np.ndarray,
    by_score: np.ndarray,
) -> None:
    """Add what the scores' derivatives, over their scales, say of shares and effects."""
    usual, information, at = table(h, _USUAL), table(h, _INFORMATION), places(h, _MIX_AT)
    sites, mixed = usual.shape
    kinds, first, last = by_score.shape[0], at[0], mixed - 1
    effect, least = _effects(h, x), _row(room, last)
    by, middle = np.zeros(sites), np.zeros(sites)
    for a in range(kinds):
        mine, given = by_score[a], information[a * kinds + at[3]]
        for i in range(sites):
            by[i] = fma(-scale[a] * mine[i], given[i], by[i])
    for m in range(mixed):
        here = _row(room, m)
        for i in range(sites):
            middle[i] = fma(here[i], effect[m], middle[i])
    by_effect, moved = np.empty(mixed), np.empty(sites)
    for m in range(mixed):
        here = _row(room, m)
        for i in range(sites):
            moved[i] = here[i] - usual[i, m]
        by_effect[m] = dot(by, moved, sites)
        if m < last:
            for i in range(sites):
                pull = here[i] * (effect[m] - middle[i]) - least[i] * (effect[last] - middle[i])
                grad[first + i * last + m] += by[i] * pull
    size, total = math.exp(x[at[2]]), 0.0
    for m in range(last):
        total += by_effect[m]
    common = -total / (mixed + math.sqrt(mixed)) - by_effect[last] / math.sqrt(mixed)
    for m in range(last):
        grad[at[1] + m] += size * (by_effect[m] + common)
    grad[at[2]] += dot(by_effect, effect, mixed)
