"""Prior draws, predictive draws and pointwise log likelihoods, in NumPy and compiled loops.

Nothing here compiles a model graph: a prior predictive check is there at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from scipy.special import expit, gammaln

from lndbayes.model import special
from lndbayes.model.design import Design
from lndbayes.model.layout import POSITIVE, REAL, constrain, layout, size
from lndbayes.model.special import rates, rising
from lndbayes.model.stamp import source_stamp
from lndbayes.model.surface import linear_predictors
from lndbayes.spec import ModelSpec

__all__ = ["cell_log_likelihood", "draw_counts", "prior_draws"]


def prior_draws(spec: ModelSpec, design: Design, draws: int, seed: int) -> dict[str, np.ndarray]:
    """Draw every variable from its prior.

    Parameters
    ----------
    spec : ModelSpec
        Gives the priors.
    design : Design
        Gives the shapes and the fixed constants (centre of the mix, wave membership).
    draws : int
        Number of independent draws.
    seed : int
        Seed.

    Returns
    -------
    dict of str to ndarray
        Shape (1, draws, *dims), as `lndbayes.model.layout.constrain` returns them.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1, draws, size(design)))
    # without the shears, coordinates are the parameters themselves
    design = design.replace(shear=np.zeros_like(design["shear"]))
    blocks = layout(design)
    for i, name in enumerate((*REAL, *POSITIVE)):
        if name in spec.priors:
            value = spec.priors[name].frozen().rvs(size=draws, random_state=rng)
            x[0, :, i] = value if name in REAL else np.log(value)
    curve_sd = np.exp(x[..., len(REAL) + POSITIVE.index("national_curve_sd")])
    block = blocks["national_curve"]
    x[..., block.start : block.stop] *= curve_sd[..., None]
    block = blocks["season"]
    season = spec.priors["season"]
    x[..., block.start : block.stop] *= season["sigma"]
    x[..., block.start : block.stop] += season["mu"]
    block = blocks["mix_share"]
    kinds = block.shape[1] + 1
    if kinds > 1:
        alpha = np.full(kinds, spec.priors["mix_share"]["concentration"])
        log_share = np.log(np.maximum(rng.dirichlet(alpha, size=(draws, block.shape[0])), 1e-300))
        centred = log_share - log_share.mean(axis=-1, keepdims=True)
        x[0, :, block.start : block.stop] = centred[..., :-1].reshape(draws, -1)
    # the site level is drawn on its own scale and anchored afterwards
    block = blocks["site_level"]
    level_z = x[..., block.start : block.stop].copy()
    x[..., block.start : block.stop] = 0.0
    values = constrain(x, design)
    values["site_level"] = (
        values["baseline_level"][..., None] + values["site_level_sd"][..., None] * level_z
    )
    return values


def draw_counts(
    eta: np.ndarray, overdispersion: np.ndarray, exposure: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw beta-binomial counts.

    Parameters
    ----------
    eta : ndarray, shape (..., S, T)
        Linear predictor, logit scale.
    overdispersion : ndarray, shape (...)
        Beta concentration.
    exposure : ndarray, shape (S, T)
        Trials; cells with none give NaN.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (..., S, T)
        Counts as float, NaN where there is no exposure.
    """
    out = np.full(eta.shape, np.nan)
    used = exposure > 0
    phi = np.asarray(overdispersion)[..., None]
    p, q = expit(eta[..., used]), expit(-eta[..., used])
    rate = rng.beta(np.maximum(p * phi, 1e-12), np.maximum(q * phi, 1e-12))
    out[..., used] = rng.binomial(exposure[used].astype(np.int64), rate)
    return out


def _compile_pointwise(stamp: int) -> Any:
    @njit(cache=True, nogil=True, error_model="numpy")
    def pointwise(eta, phi, n, y, constant, out):  # type: ignore[no-untyped-def]
        if stamp == 0:
            return
        for i in range(eta.shape[0]):
            for j in range(eta.shape[1]):
                p, q = rates(eta[i, j])
                a, _ = rising(p * phi[i], y[j])
                b, _ = rising(q * phi[i], n[j] - y[j])
                c, _ = rising(phi[i], n[j])
                out[i, j] = a + b - c + constant[j]

    return pointwise


_pointwise = _compile_pointwise(source_stamp(special.__file__, __file__))


def cell_log_likelihood(values: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Log likelihood of every cell in the likelihood, for each draw.

    Parameters
    ----------
    values : mapping of str to ndarray
        Constrained draws with leading dims (chain, draw).
    design : Design
        The data.

    Returns
    -------
    ndarray, shape (chain, draw, cell)
        Cells in row-major (site, month) order.
    """
    _, eta = linear_predictors(values, design)
    used = design["exposure"] > 0
    n, y = design["exposure"][used], design["count"][used]
    flat = np.ascontiguousarray(eta[..., used].reshape(-1, n.size))
    phi = np.ascontiguousarray(values["overdispersion"].reshape(-1))
    out = np.empty_like(flat)
    _pointwise(flat, phi, n, y, gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1), out)
    return out.reshape(*eta.shape[:-2], n.size)
