"""Site effects, the build-up and the linear predictors of the compiled density, and the way back.

Derivatives by what is called `name` are in `by_name`; those by the scalars v in g.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from lndbayes.density.argument_table import block, get, scalar
from lndbayes.density.priors_and_shapes import (
    by_course,
    extend,
    extend_back,
    mix,
    passed,
    shares,
    since,
)
from lndbayes.numerics.simd import dot
from lndbayes.numerics.vector import ONCE

__all__ = [
    "Effects",
    "Shapes",
    "Surfaces",
    "build_up",
    "predictors",
    "predictors_back",
    "site_effects",
    "site_effects_back",
]


class Effects(NamedTuple):
    """What makes the site effects: S sites, M interventions, F4 shared coefficients."""

    share: np.ndarray  # (S, M)
    moderation: np.ndarray  # (M,), effect of each intervention over its scale
    effect: np.ndarray  # (S,)


class Shapes(NamedTuple):
    """The build-up's shapes by month of going live: C such months, E times since."""

    built: np.ndarray  # (E + 1,), by time since go-live; the last, for all time before it, is 0
    change: np.ndarray  # (E + 1,), its derivative in the time constant
    ramp: np.ndarray  # (C, T)
    ramp_slope: np.ndarray  # (C, T)
    pulse: np.ndarray  # (C, T), or no row where there is no pulse
    pulse_slope: np.ndarray  # (C, T)


class Surfaces(NamedTuple):
    """Linear predictors without and with the service, and the sites' levels in them."""

    eta0: np.ndarray  # (S, T)
    eta: np.ndarray  # (S, T)
    level: np.ndarray  # (S,)


@njit(**ONCE)
def site_effects(
    h: np.ndarray, x: np.ndarray, v: np.ndarray, coefficient: np.ndarray, own: np.ndarray
) -> Effects:
    """Mean, linear terms, and the mix."""
    centre, basis, rows = get(h, "mix_centre"), get(h, "effect_basis"), get(h, "own")
    sites, kinds, sd = own.shape[1], centre.shape[0], get(h, "own_sd")
    places, in_surface = get(h, "block_at"), get(h, "own_basis").shape[0]
    share, moderation = np.ones((sites, kinds)), np.zeros(kinds)
    if kinds > 1:
        shares(x, places[block("mix_share"), 0], share)
        first = places[block("mix_effect"), 0]
        extend(x[first : first + kinds - 1], moderation)
    effect = np.full(sites, v[scalar("effect_mean")])
    at = coefficient.shape[0] - basis.shape[0]
    for f in range(basis.shape[0]):
        for s in range(sites):
            effect[s] += coefficient[at + f] * basis[f, s]
    for r in range(in_surface, own.shape[0]):
        size = sd[r] * v[rows[r, 1]] if rows[r, 1] >= 0 else sd[r]
        for s in range(sites):
            effect[s] += size * own[r, s]
    for s in range(sites):
        for m in range(kinds):
            effect[s] += (share[s, m] - centre[m]) * v[scalar("mix_effect_sd")] * moderation[m]
    return Effects(share, moderation, effect)


@njit(**ONCE)
def site_effects_back(
    h: np.ndarray,
    x: np.ndarray,
    grad: np.ndarray,
    v: np.ndarray,
    g: np.ndarray,
    effects: Effects,
    by_effect: np.ndarray,
    by_coefficient: np.ndarray,
    by_own: np.ndarray,
) -> float:
    """From derivatives by the site effects; priors and likelihood of the mix."""
    centre, basis, places = get(h, "mix_centre"), get(h, "effect_basis"), get(h, "block_at")
    share, moderation = effects.share, effects.moderation
    sites, kinds, sd = by_effect.shape[0], centre.shape[0], v[scalar("mix_effect_sd")]
    at = by_coefficient.shape[0] - basis.shape[0]
    for f in range(basis.shape[0]):
        by_coefficient[at + f] = dot(by_effect, basis[f], sites)
    for r in range(get(h, "own_basis").shape[0], by_own.shape[0]):
        by_own[r] = by_effect
    by_moderation, by_share = np.zeros(kinds), np.zeros((sites, kinds))
    for s in range(sites):
        g[scalar("effect_mean")] += by_effect[s]
        for m in range(kinds):
            gap = share[s, m] - centre[m]
            g[scalar("mix_effect_sd")] += by_effect[s] * gap * moderation[m]
            by_moderation[m] += by_effect[s] * gap * sd
            by_share[s, m] = by_effect[s] * sd * moderation[m]
    if kinds == 1:
        return 0.0
    first = places[block("mix_effect"), 0]
    here = slice(first, first + kinds - 1)
    value = extend_back(x[here], by_moderation, grad[here])
    alpha, kappa = get(h, "share_concentration"), v[scalar("mix_concentration")]
    first, counts = places[block("mix_share"), 0], get(h, "mix_count")
    of_mix, by_kappa = mix(x, grad, share, by_share, first, kappa, counts, alpha)
    g[scalar("mix_concentration")] += by_kappa
    return value + of_mix


@njit(**ONCE)
def build_up(h: np.ndarray, v: np.ndarray) -> Shapes:
    """Ramp and pulse, once for all sites that went live in the same month."""
    times, half = get(h, "course_time"), get(h, "half_period")
    courses, months = times.shape
    longest = 0
    for k in range(courses):
        for t in range(months):
            longest = max(longest, times[k, t])
    built, change = np.empty(longest + 2), np.empty(longest + 2)
    since(v[scalar("ramp_months")], half, built, change)
    ramp, ramp_slope = np.empty((courses, months)), np.empty((courses, months))
    by_course(times, built, ramp)
    by_course(times, change, ramp_slope)
    pulsing = courses if get(h, "scalar_factor")[scalar("pulse")] > 0.0 else 0
    pulse, pulse_slope = np.empty((pulsing, months)), np.empty((pulsing, months))
    if pulsing > 0:
        height, tilt = np.empty(longest + 2), np.empty(longest + 2)
        passed(v[scalar("pulse_months")], half, height, tilt)
        by_course(times, height, pulse)
        by_course(times, tilt, pulse_slope)
    return Shapes(built, change, ramp, ramp_slope, pulse, pulse_slope)


@njit(**ONCE)
def predictors(
    h: np.ndarray,
    x: np.ndarray,
    v: np.ndarray,
    coefficient: np.ndarray,
    own: np.ndarray,
    effects: Effects,
    shapes: Shapes,
) -> Surfaces:
    """Both surfaces: linear terms, build-up and pulse, about a site level that is anchored.

    The vector holds what a site's treated predictor is in the mean over its observed cells.
    """
    common, untreated = get(h, "month_basis"), get(h, "untreated_basis")
    records, own_basis = get(h, "records_basis"), get(h, "own_basis")
    rows, sd, weight = get(h, "own"), get(h, "own_sd"), get(h, "site_weight")
    course, first = get(h, "course"), get(h, "block_at")[block("site_level"), 0]
    sites, months = weight.shape
    eta0, eta, level = np.empty((sites, months)), np.empty((sites, months)), np.empty(sites)
    nation = np.zeros(months)
    for f in range(common.shape[0]):
        by = coefficient[f]
        for t in range(months):
            nation[t] += by * common[f, t]
    for s in range(sites):
        base, treated, went = eta0[s], eta[s], course[s]
        base[:] = nation
        for r in range(own_basis.shape[0]):
            by = sd[r] * v[rows[r, 1]] * own[r, s] if rows[r, 1] >= 0 else sd[r] * own[r, s]
            for t in range(months):
                base[t] += by * own_basis[r, t]
        at = common.shape[0]
        for f in range(s, untreated.shape[0], sites):
            by = coefficient[at]
            for t in range(months):
                base[t] += by * untreated[f, t]
            at += 1
        by, ramp = effects.effect[s], shapes.ramp[went]
        for t in range(months):
            treated[t] = base[t] + by * ramp[t]
        if shapes.pulse.shape[0] > 0:
            by, pulse = v[scalar("pulse")], shapes.pulse[went]
            for t in range(months):
                treated[t] += by * pulse[t]
        for f in range(s, records.shape[0], sites):
            by = coefficient[at]
            for t in range(months):
                treated[t] += by * records[f, t]
            at += 1
        level[s] = x[first + s] - dot(weight[s], treated, months)
        for t in range(months):
            base[t] += level[s]
            treated[t] += level[s]
    return Surfaces(eta0, eta, level)


@njit(**ONCE)
def predictors_back(
    h: np.ndarray,
    v: np.ndarray,
    g: np.ndarray,
    effects: Effects,
    shapes: Shapes,
    by_eta0: np.ndarray,
    by_eta: np.ndarray,
    by_coefficient: np.ndarray,
    by_own: np.ndarray,
    by_effect: np.ndarray,
) -> None:
    """From derivatives by the surfaces, of which `by_eta0` has those by `eta` as well."""
    common, untreated = get(h, "month_basis"), get(h, "untreated_basis")
    records, own_basis, course = get(h, "records_basis"), get(h, "own_basis"), get(h, "course")
    sites, months = by_eta.shape
    by_nation = np.zeros(months)
    for s in range(sites):
        base, treated, went = by_eta0[s], by_eta[s], course[s]
        for t in range(months):
            by_nation[t] += base[t]
        for r in range(own_basis.shape[0]):
            by_own[r, s] = dot(base, own_basis[r], months)
        at = common.shape[0]
        for f in range(s, untreated.shape[0], sites):
            by_coefficient[at] += dot(base, untreated[f], months)
            at += 1
        for f in range(s, records.shape[0], sites):
            by_coefficient[at] += dot(treated, records[f], months)
            at += 1
        by_effect[s] = dot(treated, shapes.ramp[went], months)
        slope = dot(treated, shapes.ramp_slope[went], months)
        g[scalar("ramp_months")] += slope * effects.effect[s]
        if shapes.pulse.shape[0] > 0:
            g[scalar("pulse")] += dot(treated, shapes.pulse[went], months)
            slope = dot(treated, shapes.pulse_slope[went], months)
            g[scalar("pulse_months")] += v[scalar("pulse")] * slope
    for f in range(common.shape[0]):
        by_coefficient[f] = dot(by_nation, common[f], months)
