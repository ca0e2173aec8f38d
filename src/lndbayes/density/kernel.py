"""The model's log density and gradient, written out and compiled.

The same density as `lndbayes.model.build.build_model` (a test holds the two together to rounding
error), about six times faster per gradient, and compiled in seconds once per machine instead of
minutes per model: family, switches, linear terms, masks, priors and data are arguments, never code.

Derivatives are by hand, in reverse: the likelihood's derivative with respect to each cell's linear
predictor is pushed back through the surface. Empty cells are never visited, and terms that depend
on the exposure alone are computed once per distinct exposure. Derivatives by what is called `name`
are in `by_name`; those by the scalars v in g.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lndbayes.density.argument_table import block, call, get, part, scalar
from lndbayes.density.linear_terms import (
    coefficients,
    coefficients_back,
    own_coefficients,
    own_coefficients_back,
    scalars,
    scalars_back,
)
from lndbayes.density.surfaces import (
    Shapes,
    Surfaces,
    build_up,
    predictors,
    predictors_back,
    site_effects,
    site_effects_back,
)
from lndbayes.numerics.simd import dot
from lndbayes.numerics.vector import INSIDE, ONCE

__all__ = ["evaluate_density"]


@njit(**INSIDE)
def evaluate_density(x: np.ndarray, grad: np.ndarray, h: np.ndarray) -> float:
    """Log density of the unconstrained vector, normalised as PyMC's ``logp`` is.

    Parameters
    ----------
    x : ndarray, shape (D,)
        The point; see `lndbayes.model.layout`.
    grad : ndarray, shape (D,)
        Overwritten with the gradient.
    h : ndarray of int64, shape (HEADER,)
        Addresses of what `lndbayes.density.arguments.kernel_data` returns, and of the parts that
        the data need.

    Returns
    -------
    float
        Including the log Jacobians of the transforms.
    """
    sites, months = get(h, "event_time").shape
    count, shared = get(h, "scalar_at").shape[0], get(h, "coefficient").shape[0]
    v, g = np.empty(count), np.zeros(count)
    coefficient, by_coefficient = np.empty(shared), np.zeros(shared)
    own = np.empty((get(h, "own").shape[0], sites))
    by_own = np.zeros(own.shape)
    by_eta0, by_eta = np.zeros((sites, months)), np.zeros((sites, months))
    grad[:] = 0.0
    value = get(h, "constant") + scalars(h, x, grad, v)
    value += coefficients(h, x, grad, v, g, coefficient)
    own_coefficients(h, x, own)
    effects = site_effects(h, x, v, coefficient, own)
    shapes = build_up(h, v)
    surfaces = predictors(h, x, v, coefficient, own, effects, shapes)
    value += call(h, part("ranged"), (surfaces.eta, v, by_eta, g))
    value += call(h, part("cells"), (surfaces.eta, v, by_eta, g))
    value += later_stages(h, x, grad, v, g, surfaces, shapes, by_eta)
    value += evidence(h, x, grad, v, g, surfaces, by_eta0)
    value += site_levels(h, grad, v, g, surfaces, by_eta0, by_eta)
    by_effect = np.zeros(sites)
    predictors_back(h, v, g, effects, shapes, by_eta0, by_eta, by_coefficient, by_own, by_effect)
    value += site_effects_back(h, x, grad, v, g, effects, by_effect, by_coefficient, by_own)
    value += own_coefficients_back(h, x, grad, v, g, own, by_own)
    value += coefficients_back(h, x, grad, v, g, by_coefficient)
    scalars_back(h, grad, v, g)
    return float(value)


@njit(**ONCE)
def later_stages(
    h: np.ndarray,
    x: np.ndarray,
    grad: np.ndarray,
    v: np.ndarray,
    g: np.ndarray,
    surfaces: Surfaces,
    shapes: Shapes,
    by_eta: np.ndarray,
) -> float:
    """Levels of the later stages and of sites in them, with their priors, and the likelihood."""
    prior, places = get(h, "stage_prior"), get(h, "block_at")
    later, sites = prior.shape[0], by_eta.shape[0]
    if later == 0:
        return 0.0
    value, first, own = 0.0, places[block("stage_level"), 0], places[block("stage_site"), 0]
    level, by_level = x[first : first + later], grad[first : first + later]
    for j in range(later):
        z = (level[j] - prior[j, 0]) / prior[j, 1]
        value -= 0.5 * z * z
        by_level[j] -= z / prior[j, 1]
    site, by_site, sd = np.zeros(sites), np.zeros(sites), v[scalar("stage_site_sd")]
    count = places[block("stage_site"), 1] - own
    for k in range(count):
        site[k] = sd * x[own + k]
        value -= 0.5 * x[own + k] ** 2
    arrays = (surfaces.eta, shapes.built, shapes.change, level, site, v)
    value += call(h, part("stages"), (*arrays, by_eta, by_level, by_site, g))
    for k in range(count):
        g[scalar("stage_site_sd")] += by_site[k] * x[own + k]
        grad[own + k] += by_site[k] * sd - x[own + k]
    return value


@njit(**ONCE)
def evidence(
    h: np.ndarray,
    x: np.ndarray,
    grad: np.ndarray,
    v: np.ndarray,
    g: np.ndarray,
    surfaces: Surfaces,
    by_eta0: np.ndarray,
) -> float:
    """Biases of the sites with records, with their prior, and the likelihood of all channels."""
    places, sd = get(h, "block_at"), v[scalar("retrospective_bias_sd")]
    first = places[block("retrospective_site_bias"), 0]
    covered = places[block("retrospective_site_bias"), 1] - first
    bias, by_bias, value = np.empty(covered), np.zeros(covered), 0.0
    for r in range(covered):
        bias[r] = v[scalar("retrospective_bias")] + sd * x[first + r]
        value -= 0.5 * x[first + r] ** 2
    value += call(h, part("channels"), (surfaces.eta0, bias, v, by_eta0, by_bias, g))
    for r in range(covered):
        g[scalar("retrospective_bias")] += by_bias[r]
        g[scalar("retrospective_bias_sd")] += by_bias[r] * x[first + r]
        grad[first + r] += by_bias[r] * sd - x[first + r]
    return value


@njit(**ONCE)
def site_levels(
    h: np.ndarray,
    grad: np.ndarray,
    v: np.ndarray,
    g: np.ndarray,
    surfaces: Surfaces,
    by_eta0: np.ndarray,
    by_eta: np.ndarray,
) -> float:
    """Prior of the sites' levels, and what all derivatives say of them by way of the anchor.

    Afterwards `by_eta` has derivatives by what is in the treated predictor only, `by_eta0` those by
    what is in both.
    """
    weight, first = get(h, "site_weight"), get(h, "block_at")[block("site_level"), 0]
    sites, months = weight.shape
    ones, sd, value = np.ones(months), v[scalar("site_level_sd")], 0.0
    for s in range(sites):
        z = (surfaces.level[s] - v[scalar("baseline_level")]) / sd
        value -= 0.5 * z * z + math.log(sd)
        pull = -z / sd
        g[scalar("baseline_level")] -= pull
        g[scalar("site_level_sd")] += (z * z - 1.0) / sd
        pull += dot(ones, by_eta[s], months) + dot(ones, by_eta0[s], months)
        grad[first + s] += pull
        for t in range(months):
            by_eta[s, t] -= pull * weight[s, t]
            by_eta0[s, t] += by_eta[s, t]
    return value
