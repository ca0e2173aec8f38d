"""Log probabilities of cells at many draws, in compiled loops."""

from __future__ import annotations

from typing import Any

import numpy as np

from lndbayes.numerics import simd, vector
from lndbayes.numerics.compile_cache import cached_njit
from lndbayes.numerics.source_stamp import source_stamp
from lndbayes.numerics.vector import BLOCK, INNER, JIT, TINY, log1ps, logs, risings

__all__ = ["count_log_probabilities", "share_log_probabilities"]


def _compile_pointwise(stamp: int) -> Any:
    @cached_njit(**JIT)
    def pointwise(
        p: Any, q: Any, phi: Any, levels: Any, which: Any, n: Any, y: Any, at: Any, out: Any
    ) -> None:
        if stamp == 0:
            return
        s = np.empty((INNER + 5, BLOCK))
        a, k, v, w, slope = s[INNER], s[INNER + 1], s[INNER + 2], s[INNER + 3], s[INNER + 4]
        norm = np.empty(levels.shape[0])
        for i in range(p.shape[0]):
            # what depends on the exposure alone, once for each exposure
            for start in range(0, levels.shape[0], BLOCK):
                size = min(BLOCK, levels.shape[0] - start)
                for j in range(size):
                    a[j] = phi[i]
                    k[j] = levels[start + j]
                risings(a, k, size, s, v, slope)
                for j in range(size):
                    norm[start + j] = v[j]
            for start in range(0, p.shape[1], BLOCK):
                size = min(BLOCK, p.shape[1] - start)
                for j in range(size):
                    a[j] = max(p[i, start + j] * phi[i], TINY)
                    k[j] = y[start + j]
                risings(a, k, size, s, v, slope)
                for j in range(size):
                    a[j] = max(q[i, start + j] * phi[i], TINY)
                    k[j] = n[start + j] - y[start + j]
                risings(a, k, size, s, w, slope)
                for j in range(size):
                    cell = start + j
                    out[i, at[cell]] += v[j] + w[j] - norm[which[cell]]

    return pointwise


def _compile_counts(stamp: int) -> Any:
    @cached_njit(**JIT)
    def counts(mean: Any, spread: Any, y: Any, out: Any) -> None:
        if stamp == 0:
            return
        s = np.empty((INNER + 7, BLOCK))
        k, m, v, slope = s[INNER], s[INNER + 1], s[INNER + 2], s[INNER + 3]
        odds, shrink, log_share = s[INNER + 4], s[INNER + 5], s[INNER + 6]
        for i in range(mean.shape[0]):
            for start in range(0, mean.shape[1], BLOCK):
                n = min(BLOCK, mean.shape[1] - start)
                for j in range(n):
                    k[j] = spread[i, start + j]
                    m[j] = y[start + j]
                    odds[j] = mean[i, start + j] / k[j]
                risings(k, m, n, s, v, slope)
                log1ps(odds, n, shrink)
                for j in range(n):
                    odds[j] = mean[i, start + j] / (k[j] + mean[i, start + j])
                logs(odds, n, log_share)
                for j in range(n):
                    out[i, start + j] = v[j] + m[j] * log_share[j] - k[j] * shrink[j]

    return counts


_pointwise = _compile_pointwise(source_stamp(vector.__file__, simd.__file__, __file__))
_counts = _compile_counts(source_stamp(vector.__file__, simd.__file__, __file__))


def share_log_probabilities(
    p: np.ndarray,
    q: np.ndarray,
    phi: np.ndarray,
    n: np.ndarray,
    y: np.ndarray,
    at: np.ndarray | None = None,
    size: int = 0,
) -> np.ndarray:
    """Beta-binomial log probabilities without factorials, shape of `p`; or summed `at` places."""
    at, size = (np.arange(n.size), n.size) if at is None else (at, size)
    out = np.zeros((phi.size, size))
    if n.size:
        flat = [np.ascontiguousarray(a.reshape(-1, n.size)) for a in (p, q)]
        levels, which = np.unique(n, return_inverse=True)
        _pointwise(*flat, np.ascontiguousarray(phi.reshape(-1)), levels, which, n, y, at, out)
    return out.reshape(*p.shape[:-1], size)


def count_log_probabilities(mean: np.ndarray, size: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Negative binomial log probabilities without the factorial, shape of `mean`."""
    if not y.size:
        return np.zeros(mean.shape)
    flat = [np.ascontiguousarray(a.reshape(-1, y.size)) for a in (mean, size)]
    out = np.empty_like(flat[0])
    _counts(*flat, y, out)
    return out.reshape(mean.shape)
