"""Draws from the compiled density with nutpie's NUTS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import nutpie
from nutpie.compiled_pyfunc import from_pyfunc

from lndbayes.errors import FitError
from lndbayes.model.design import Design
from lndbayes.model.kernel import kernel_data, log_density
from lndbayes.model.start import start_point
from lndbayes.spec import ModelSpec

__all__ = ["RawDraws", "Warm", "sample_density"]

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


@dataclass(frozen=True)
class Warm:
    """Where and how wide a similar posterior was: lets a refit tune in a third of the time.

    Only coordinates change: the refit samples ``(x - mean) / sd``, and its draws come back as x.

    Attributes
    ----------
    mean, sd : ndarray, shape (D,)
        Of the unconstrained draws of the similar fit; every sd above 0.
    """

    mean: np.ndarray
    sd: np.ndarray


def sample_density(
    spec: ModelSpec,
    design: Design,
    *,
    cores: int,
    warm: Warm | None = None,
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
    warm : Warm, optional
        From a fit of the same model to similar data.

    Returns
    -------
    RawDraws

    Raises
    ------
    FitError
        If the sampler cannot start.
    """
    data = kernel_data(spec, design)
    centre = start_point(spec, design) if warm is None else warm.mean
    scale = np.ones_like(centre) if warm is None else warm.sd
    length = len(centre)
    if not np.isfinite(log_density(centre, np.empty(length), data)):
        raise FitError(f"{spec.outcome.name}: the log density is not finite at the starting point")

    def make_density() -> Callable[..., tuple[float, np.ndarray]]:
        grad = np.empty(length)

        def density(y: np.ndarray) -> tuple[float, np.ndarray]:
            value = log_density(centre + scale * y, grad, data)
            return value, grad * scale

        return density

    def make_expand(seed1: int, seed2: int, chain: int) -> Callable[..., dict[str, np.ndarray]]:
        def expand(y: np.ndarray) -> dict[str, np.ndarray]:
            return {"x": centre + scale * y}

        return expand

    def initial(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(0, _JITTER, length)

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
    running = nutpie.sample(
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
        blocking=False,
    )
    try:
        tree = running.wait()
    except BaseException:
        # nutpie's own waiting hands back the draws so far when it is interrupted: they would be
        # taken for a finished fit
        running.cancel()
        raise
    raw = tree["posterior"].to_dataset()
    found = tree["sample_stats"].to_dataset()
    stats = {new: found[old].to_numpy() for old, new in _STATS.items()}
    return RawDraws(raw["x"].to_numpy(), stats)
