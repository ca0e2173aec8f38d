"""Own code beside the library's that could take its place: same answer, what it costs.

Largest eigenvalues of a curvature that is known by its products (each is 16 gradients), with no
steep direction, as shipped data mostly have, and with some; and Pareto k of many cells at once.

    python benchmarks/bench_libraries.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from scipy.sparse.linalg import LinearOperator, eigsh

from lndbayes.checks.influence import pareto_k
from lndbayes.coordinates import residual_scaling

SIZE, STEEP_FROM, MOST = 342, 4.0, 12
CELLS, DRAWS = 2592, 2000


def counted(matrix: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], list[int]]:
    """Product with a matrix, and how often it was asked for."""
    asked = [0]

    def product(v: np.ndarray) -> np.ndarray:
        asked[0] += 1
        return np.asarray(matrix @ np.ravel(v))

    return product, asked


def eigenvalues(steep: int) -> str:
    """One row: products until the steep directions are known."""
    rng = np.random.default_rng(steep)
    turn, _ = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))
    values = np.concatenate([rng.uniform(4.5, 60, steep), rng.uniform(0.3, 3, SIZE - steep)])
    product, asked = counted((turn * values) @ turn.T)
    ours, _ = residual_scaling.largest(product, SIZE)
    own = asked[0]
    product, asked = counted((turn * values) @ turn.T)
    start = np.random.default_rng(0).normal(size=SIZE)
    theirs = eigsh(
        LinearOperator((SIZE, SIZE), product, dtype=float), MOST, which="LA", v0=start, tol=1e-2
    )[0]
    found = [int((w > STEEP_FROM).sum()) for w in (ours, theirs)]
    return (
        f"| {steep} steep directions | {own} products, {found[0]} found "
        f"| {asked[0]} products, {found[1]} found |"
    )


def pareto() -> str:
    """One row: seconds of Pareto k of every cell, and the largest difference."""
    values = -np.random.default_rng(1).gamma(2, 1, size=(CELLS, 4, DRAWS // 4))
    cells = xr.DataArray(values, dims=("cell", "chain", "draw"))
    seconds, found = [], []
    for call in (
        lambda: pareto_k(cells, most=DRAWS),
        lambda: array_stats.psislw(values.reshape(CELLS, -1), axis=-1)[1],
    ):
        start = time.process_time()
        found.append(call())
        seconds.append(time.process_time() - start)
    gap = np.abs(found[0] - found[1]).max()
    return (
        f"| Pareto k of {CELLS:,} cells | {seconds[0]:.1f} s | {seconds[1]:.1f} s, "
        f"largest difference {gap:.0e} |"
    )


def main() -> None:
    """Print the table of docs/dependencies.md."""
    print("| what | own | library |\n|---|---|---|")
    for steep in (0, 2, 8, 14):
        print(eigenvalues(steep))
    print(pareto())


if __name__ == "__main__":
    main()
