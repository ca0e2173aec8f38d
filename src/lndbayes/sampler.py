"""Draws from the compiled density with nutpie's NUTS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nutpie
import numpy as np
from nutpie.compiled_pyfunc import from_pyfunc

from lndbayes.errors import FitError
from lndbayes.model.design import Design
from lndbayes.model.kernel import kernel_data, log_density
from lndbayes.model.start import start_point
from lndbayes.spec import ModelSpec

__all__ = ["RawDraws", "sample_density"]

#: Spread of the chains' starting points about the common one, unconstrained scale. Wide enough
#: for R-hat to see chains that do not mix, narrow enough to start in the typical set's reach.
_JITTER = 0.2

_STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "depth": "depth",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "logp": "lp",
}


@dataclass(frozen=True)
class RawDraws:
    """Unconstrained draws.

    Attributes
    ----------
    x : ndarray, shape (chain, draw, D)
        Draws after tuning.
    stats : dict of str to ndarray, shape (chain, draw)
        diverging, energy, depth, n_steps, step_size, lp.
    """

    x: np.ndarray
    stats: dict[str, np.ndarray]


def sample_density(
    spec: ModelSpec,
    design: Design,
    *,
    cores: int,
    progress: bool = False,
    callback: Callable[[Any], None] | None = None,
) -> RawDraws:
    """Sample a design's posterior.

    Parameters
    ----------
    spec : ModelSpec
        Priors and sampler settings, the seed among them: same spec and design, same draws.
    design : Design
        The data.
    cores : int
        Chains run at the same time, in threads; the density releases the interpreter's lock.
    progress : bool
        Show nutpie's progress bar.
    callback : callable, optional
        Receives nutpie's list of chain progress.

    Returns
    -------
    RawDraws

    Raises
    ------
    FitError
        If the sampler cannot start.
    """
    data = kernel_data(spec, design)
    centre = start_point(spec, design)
    length = len(centre)
    if not np.isfinite(log_density(centre, np.empty(length), data)):
        raise FitError(f"{spec.outcome.name}: the log density is not finite at the starting point")

    def make_density() -> Callable[..., tuple[float, np.ndarray]]:
        grad = np.empty(length)

        def density(x: np.ndarray) -> tuple[float, np.ndarray]:
            return log_density(x, grad, data), grad

        return density

    def make_expand(seed1: int, seed2: int, chain: int) -> Callable[..., dict[str, np.ndarray]]:
        def expand(x: np.ndarray) -> dict[str, np.ndarray]:
            return {"x": np.asarray(x)}

        return expand

    def initial(seed: int) -> np.ndarray:
        return centre + np.random.default_rng(seed).normal(0, _JITTER, length)

    model = from_pyfunc(
        length,
        make_density,
        make_expand,
        [np.dtype("float64")],
        [(length,)],
        ["x"],
        make_initial_point_fn=initial,
    )
    s = spec.sampling
    tree = nutpie.sample(
        model,
        draws=s.draws,
        tune=s.tune,
        chains=s.chains,
        cores=min(cores, s.chains),
        seed=s.seed,
        target_accept=s.target_accept,
        save_warmup=False,
        progress_bar=progress,
        progress_callback=callback,
    )
    raw = tree["posterior"].to_dataset()
    found = tree["sample_stats"].to_dataset()
    stats = {new: found[old].to_numpy() for old, new in _STATS.items()}
    return RawDraws(raw["x"].to_numpy(), stats)
