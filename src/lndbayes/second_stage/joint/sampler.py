"""Gibbs sampler of the joint model of site effects across outcomes, in NumPy.

The model, for site s and outcome k, with R factors::

    theta[k, s] = mean[k] + sum_r loading[k, r] * score[s, r] + deviation[k, s]
    score[s, r] ~ N(0, 1)          deviation[k, s] ~ N(0, deviation_sd[k]^2)
    mean[k]     ~ N(m[k], v[k]^2)  loading[k, r] ~ N(0, (spread[k] * loading_scale)^2)
    loading_scale ~ half-normal    deviation_sd[k] / spread[k] ~ half-normal

What the data say of outcome k is a Gaussian likelihood of its site effects in information form,
``exp(vector' theta - theta' information theta / 2)``, which may be singular: a direction about
which nothing is known has information zero.

The deviations are integrated out of every step, which is what lets chains move where a deviation's
sd is near zero: with ``information = U diag(k) U'``, what remains of the likelihood at the sum of
mean and factors has information ``U diag(k / (1 + sd^2 k)) U'``. Means, loadings and scores are
then conjugate, scores with the means integrated out too. The two kinds of scale are drawn by slice
sampling of their prior probability (Neal 2003), the loading scale also with the standardised
loadings held fixed (Yu and Meng 2011), since either way alone is slow at one end.

References
----------
Neal (2003). Slice sampling. Annals of Statistics 31(3), 705-767.
Yu, Meng (2011). To center or not to center. JCGS 20(3), 531-570.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import erf, erfinv

from lndbayes.second_stage.joint.model import (
    TINY,
    Evidence,
    JointDraws,
    JointPrior,
    draw_prior,
    effects_given,
    log_integral,
)

__all__ = ["sample_joint", "sweep"]

_SHRINKS = 200


def sweep(
    state: JointDraws, data: Evidence, prior: JointPrior, rng: np.random.Generator
) -> JointDraws:
    """Draw every parameter once from its conditional distribution.

    Parameters
    ----------
    state : JointDraws, leading dims (F, C)
    data : Evidence
    prior : JointPrior
    rng : numpy.random.Generator

    Returns
    -------
    JointDraws
    """
    shrink = 1 / (1 + state.deviation_sd[..., None] ** 2 * data.values)
    weight, told = data.values * shrink, data.rotated * shrink
    mean, loadings, scores = state.mean, state.loadings, state.scores
    scale = state.loading_scale
    if prior.factors:
        scores = _draw_scores(loadings, weight, told, data, prior, rng)
        factors = data.axes.swapaxes(-1, -2) @ scores[..., None, :, :]
    else:
        factors = np.zeros((*weight.shape, 0))
    ones = data.axes.sum(axis=-2)
    mean, loadings = _draw_lines(ones, factors, weight, told, scale, prior, rng)
    if prior.factors:
        scale = _draw_scale_given_loadings(scale, loadings, prior, rng)
        scale, loadings = _draw_scale_given_shape(
            scale, mean, loadings, ones, factors, weight, told, prior, rng
        )
    moved = JointDraws(mean, loadings, scores, state.deviation_sd, scale)
    deviation_sd = _draw_deviation_sd(moved, data, prior, rng)
    return JointDraws(mean, loadings, scores, deviation_sd, scale)


def _normal(precision: np.ndarray, vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw from N(precision^-1 vector, precision^-1), batched."""
    root = np.linalg.cholesky(precision)
    half = np.linalg.solve(root, vector[..., None])
    noise = rng.normal(size=half.shape)
    return np.asarray(np.linalg.solve(np.swapaxes(root, -1, -2), half + noise)[..., 0])


def _draw_scores(
    loadings: np.ndarray,
    weight: np.ndarray,
    told: np.ndarray,
    data: Evidence,
    prior: JointPrior,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw scores with the means integrated out, which are drawn anew after them.

    A shift of all scores of a factor is nearly a shift of all means: given one, the other could
    not move.
    """
    batch, (outcomes, sites), factors = weight.shape[:2], weight.shape[2:], loadings.shape[-1]
    left = (data.axes * weight[..., None, :]) @ data.axes.swapaxes(-1, -2)  # (F, C, K, S, S)
    seen = (data.axes @ told[..., None])[..., 0]
    total = left.sum(axis=-1)
    precision = total.sum(axis=-1) + prior.mean_sd**-2
    centre = (seen.sum(axis=-1) + prior.mean / prior.mean_sd**2) / precision
    seen = seen - total * centre[..., None]
    left -= total[..., :, None] * (total / precision[..., None])[..., None, :]
    pairs = loadings[..., :, None] * loadings[..., None, :]  # (F, C, K, R, R)
    pairs = np.swapaxes(pairs.reshape(*batch, outcomes, factors**2), -1, -2)
    between = pairs @ left.reshape(*batch, outcomes, sites**2)
    between = between.reshape(*batch, factors, factors, sites, sites)
    size = factors * sites
    between = np.swapaxes(between, -3, -2).reshape(*batch, size, size) + np.eye(size)
    vector = (np.swapaxes(loadings, -1, -2) @ seen).reshape(*batch, size)
    flat = _normal(between, vector, rng)
    return np.swapaxes(flat.reshape(*batch, factors, sites), -1, -2)


def _draw_lines(
    ones: np.ndarray,
    factors: np.ndarray,
    weight: np.ndarray,
    told: np.ndarray,
    scale: np.ndarray,
    prior: JointPrior,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw each outcome's mean and loadings: a regression on a constant and the scores."""
    constant = np.broadcast_to(ones, factors.shape[:-1])[..., None]
    terms = np.concatenate([constant, factors], axis=-1)  # (F, C, K, S, 1 + R)
    flipped = np.swapaxes(terms, -1, -2)
    precision = flipped @ (terms * weight[..., None])
    vector = (flipped @ told[..., None])[..., 0]
    precision[..., 0, 0] += prior.mean_sd**-2
    vector[..., 0] += prior.mean / prior.mean_sd**2
    own = (prior.spread * scale[..., None]) ** -2
    for r in range(prior.factors):
        precision[..., 1 + r, 1 + r] += own
    drawn = _normal(precision, vector, rng)
    return drawn[..., 0], drawn[..., 1:]


def _draw_scale_given_loadings(
    scale: np.ndarray, loadings: np.ndarray, prior: JointPrior, rng: np.random.Generator
) -> np.ndarray:
    squares = ((loadings / prior.spread[:, None]) ** 2).sum(axis=(-1, -2))
    count = loadings.shape[-1] * loadings.shape[-2]

    def log_density(value: np.ndarray) -> np.ndarray:
        return np.asarray(-count * np.log(value) - squares / (2 * value**2))

    return _slice(scale, np.array(prior.loading_scale), log_density, rng)


def _draw_scale_given_shape(
    scale: np.ndarray,
    mean: np.ndarray,
    loadings: np.ndarray,
    ones: np.ndarray,
    factors: np.ndarray,
    weight: np.ndarray,
    told: np.ndarray,
    prior: JointPrior,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the scale with loadings in proportion to it.

    With a sign of its own its prior is normal, so that the draw is conjugate; a negative draw is
    the same point with all loadings' signs changed.
    """
    shape = loadings / scale[..., None, None]
    line = (factors @ shape[..., None])[..., 0]  # (F, C, K, S)
    precision = (line**2 * weight).sum(axis=(-1, -2)) + prior.loading_scale**-2
    rest = told - weight * ones * mean[..., None]
    centre = (line * rest).sum(axis=(-1, -2)) / precision
    signed = centre + rng.normal(size=centre.shape) / np.sqrt(precision)
    return np.maximum(np.abs(signed), TINY), shape * signed[..., None, None]


def _draw_deviation_sd(
    state: JointDraws, data: Evidence, prior: JointPrior, rng: np.random.Generator
) -> np.ndarray:
    left = (data.rotated - data.values * data.turn(state.centre)) ** 2

    def log_density(sd: np.ndarray) -> np.ndarray:
        return np.asarray(log_integral(sd[..., None] ** 2, data.values, left))

    return _slice(state.deviation_sd, prior.spread * prior.deviation_scale, log_density, rng)


def _slice(
    value: np.ndarray,
    scale: np.ndarray,
    log_density: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Slice sampling of a half-normal's probability: the slice shrinks from the whole (0, 1)."""

    def at(u: np.ndarray) -> np.ndarray:
        return np.asarray(np.maximum(scale * np.sqrt(2) * erfinv(u), scale * TINY))

    u = erf(value / (scale * np.sqrt(2)))
    level = log_density(value) + np.log(rng.uniform(size=value.shape))
    low, high = np.zeros_like(u), np.ones_like(u)
    out, pending = value.copy(), np.ones(u.shape, bool)
    for _ in range(_SHRINKS):
        trial = low + (high - low) * rng.uniform(size=u.shape)
        found = at(np.minimum(trial, 1 - 1e-15))
        good = pending & (log_density(found) >= level)
        out = np.where(good, found, out)
        pending &= ~good
        if not pending.any():
            return out
        low, high = np.where(trial < u, trial, low), np.where(trial >= u, trial, high)
    raise ValueError("slice sampling found no point: the density is not finite")


def sample_joint(
    data: Evidence,
    prior: JointPrior,
    *,
    chains: int,
    tune: int,
    draws: int,
    rng: np.random.Generator,
    effects: bool = True,
) -> tuple[JointDraws, np.ndarray | None]:
    """Run chains from draws of the prior, all data sets and chains at once.

    Parameters
    ----------
    data : Evidence
        F data sets.
    prior : JointPrior
    chains, tune, draws : int
        Chains a data set, sweeps that are thrown away, sweeps that are kept.
    rng : numpy.random.Generator
    effects : bool
        Whether to draw site effects too.

    Returns
    -------
    parameters : JointDraws, leading dims (F, C, draw)
    effects : ndarray, shape (F, C, draw, K, S), or None
    """
    sets, sites = data.values.shape[0], data.values.shape[-1]
    state = draw_prior(prior, (sets, chains), sites, rng)
    kept: list[JointDraws] = []
    sites_too: list[np.ndarray] = []
    for i in range(tune + draws):
        state = sweep(state, data, prior, rng)
        if i >= tune:
            kept.append(state)
            if effects:
                sites_too.append(effects_given(state, data, rng))
    stacked = [
        np.stack([getattr(s, name) for s in kept], axis=2)
        for name in ("mean", "loadings", "scores", "deviation_sd", "loading_scale")
    ]
    return JointDraws(*stacked), np.stack(sites_too, axis=2) if effects else None
