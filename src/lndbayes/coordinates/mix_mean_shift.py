"""Shift of the mean of a site's deviation by its mix, compiled, and its gradient.

See `lndbayes.coordinates.site_gaussian.SiteGaussian`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lndbayes.density.argument_table import get
from lndbayes.density.priors_and_shapes import extend, shares
from lndbayes.numerics.simd import fma
from lndbayes.numerics.vector import INSIDE

__all__ = ["shift_backward", "shift_forward"]


@njit(**INSIDE)
def _mix(h: np.ndarray, x: np.ndarray, share: np.ndarray, effect: np.ndarray) -> None:
    """Fill shares, shape (S, M), and effects of interventions, shape (M,)."""
    at = get(h, "gaussian_mix_at")
    shares(x, at[0], share)
    extend(x[at[1] : at[1] + effect.shape[0] - 1], effect)
    size = math.exp(x[at[2]])
    for m in range(effect.shape[0]):
        effect[m] *= size


@njit(**INSIDE)
def shift_forward(h: np.ndarray, x: np.ndarray, work: np.ndarray) -> None:
    """Subtract from the scores what the mix adds to the sites' deviations."""
    reference_mix, information = get(h, "gaussian_reference_mix"), get(h, "gaussian_information")
    sites, mixed = reference_mix.shape
    kinds, kind = work.shape[1], get(h, "gaussian_mix_at")[3]
    share, effect = np.empty((sites, mixed)), np.empty(mixed)
    _mix(h, x, share, effect)
    for i in range(sites):
        shift = 0.0
        for m in range(mixed):
            shift = fma(share[i, m] - reference_mix[i, m], effect[m], shift)
        for a in range(kinds):
            work[kinds + 3, a, i] -= information[a * kinds + kind, i] * shift


@njit(**INSIDE)
def shift_backward(
    h: np.ndarray, x: np.ndarray, grad: np.ndarray, scale: np.ndarray, by_score: np.ndarray
) -> None:
    """Add to the gradient of shares and effects, from that of the scores over their scales."""
    reference_mix, information = get(h, "gaussian_reference_mix"), get(h, "gaussian_information")
    sites, mixed = reference_mix.shape
    at, kinds = get(h, "gaussian_mix_at"), by_score.shape[0]
    share, effect = np.empty((sites, mixed)), np.empty(mixed)
    by_effect = np.zeros(mixed)
    _mix(h, x, share, effect)
    for i in range(sites):
        by = 0.0
        for a in range(kinds):
            by -= scale[a] * information[a * kinds + at[3], i] * by_score[a, i]
        middle = 0.0
        for m in range(mixed):
            middle += share[i, m] * effect[m]
            by_effect[m] += by * (share[i, m] - reference_mix[i, m])
        last = share[i, mixed - 1] * (effect[mixed - 1] - middle)
        for m in range(mixed - 1):
            pull = share[i, m] * (effect[m] - middle) - last
            grad[at[0] + i * (mixed - 1) + m] += by * pull
    size, total = math.exp(x[at[2]]), 0.0
    for m in range(mixed - 1):
        total += by_effect[m]
    common = -total / (mixed + math.sqrt(mixed)) - by_effect[mixed - 1] / math.sqrt(mixed)
    for m in range(mixed):
        grad[at[2]] += by_effect[m] * effect[m]
        if m < mixed - 1:
            grad[at[1] + m] += size * (by_effect[m] + common)
