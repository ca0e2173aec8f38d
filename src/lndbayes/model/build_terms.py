"""Priors and linear terms as PyMC variables: what `lndbayes.model.build` is written in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from lndbayes.model.blocks import basis
from lndbayes.model.design import Design
from lndbayes.model.layout import REAL
from lndbayes.spec.linear import FixedScale, LearnedScale, LinearBlock, OwnPrior
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["linear_term", "prior_of", "zero_sum"]


def prior_of(spec: ModelSpec, name: str) -> Any:
    """Place a scalar prior."""
    prior = spec.priors[name]
    p = {k: np.float64(v) for k, v in prior.parameters}
    match prior.dist:
        case "Normal":
            return pm.Normal(name, p["mu"], p["sigma"])
        case "StudentT":
            return pm.StudentT(name, nu=p["nu"], mu=p["mu"], sigma=p["sigma"])
        case "HalfNormal":
            return pm.HalfNormal(name, p["sigma"])
        case "Exponential":
            return pm.Exponential(name, scale=p["scale"])
        case "Gamma":
            return pm.Gamma(name, alpha=p["alpha"], beta=p["beta"])
        case _:
            return pm.LogNormal(name, p["mu"], p["sigma"])


def zero_sum(name: str, dims: str | tuple[str, ...] | None, *shape: int) -> Any:
    """Standard zero-sum normal over the last dim; zeros when that dim has one entry."""
    if shape[-1] == 1:
        return pt.zeros(shape)
    return pm.ZeroSumNormal(name, sigma=np.float64(1.0), dims=dims)


def linear_term(spec: ModelSpec, X: dict[str, Any], block: LinearBlock, design: Design) -> Any:
    """One linear term: coefficients with their prior, times the basis.

    Of shape (site, month), or (site,) in the site effect; or what broadcasts to it.
    """
    coefficients = _coefficients(spec, X, block, design)
    if coefficients is None:
        return np.float64(0.0)
    if block.basis is None:
        return coefficients
    if block.membership:
        return coefficients[X[str(block.basis)]]
    b = basis(block, X)
    if not block.dims:
        return coefficients[:, None] * b if block.per_site else coefficients * b
    if block.per_site:
        return pt.dot(coefficients.T, b.T)
    return (b * coefficients).sum(axis=-1)


def _coefficients(spec: ModelSpec, X: dict[str, Any], block: LinearBlock, design: Design) -> Any:
    """Coefficients of a linear term; None where it is switched off or has no columns.

    Those with a learned scale are that scale times standard normals, for a smooth posterior,
    unless they are centred; those with a fixed one are so for every such scale.
    """
    shape = tuple(len(design.coords[dim]) for dim in block.variable_dims)
    dims = block.variable_dims or None
    if 0 in shape:
        return None
    one = {"mu": np.float64(0), "sigma": np.float64(1)}
    match block.prior:
        case OwnPrior(slot) if not block.dims:
            return prior_of(spec, slot)
        case OwnPrior(slot):
            prior = spec.priors[slot]
            mean, sd = np.float64(prior["mu"]), np.float64(prior["sigma"])
            return pm.Normal(block.name, mean, sd, dims=dims)
        case LearnedScale(slot, centred=True):
            return pm.Normal(block.name, np.float64(0), _scale(spec, slot), dims=dims)
        case LearnedScale(slot):
            mean, sd = np.float64(0), _scale(spec, slot)
        case FixedScale(_, mean_of):
            if not dims and block.name not in REAL and not np.any(design[block.prior.array]):
                return None
            mean = X[mean_of] if mean_of is not None else np.float64(0)
            sd = X[block.prior.array]
            sd = sd[:, None] if sd.ndim and block.per_site else sd
    name = f"{block.name}_z"
    z = zero_sum(name, dims, *shape) if block.zero_sum else pm.Normal(name, **one, dims=dims)
    return pm.Deterministic(block.name, mean + sd * z, dims=dims)


def _scale(spec: ModelSpec, slot: str) -> Any:
    """A learned scale: one parameter, whatever it multiplies."""
    model = pm.modelcontext(None)
    return model[slot] if slot in model.named_vars else prior_of(spec, slot)
