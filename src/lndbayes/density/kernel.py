"""The model's log density and gradient, written out and compiled.

The same density as `lndbayes.model.build.build_model` (a test holds the two together to rounding
error), about six times faster per gradient, and compiled in seconds once per machine instead of
minutes per model: family, switches, masks, priors and data are arguments, never code.

Derivatives are by hand, in reverse: the likelihood's derivative with respect to each cell's linear
predictor is pushed back through the surface. Empty cells are never visited, and terms that depend
on the exposure alone are computed once per distinct exposure.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lndbayes.density.argument_table import FIELDS, PARTS, call, floats, places, spots, table
from lndbayes.density.arguments import BLOCKS, KernelData, kernel_data
from lndbayes.density.priors_and_shapes import (
    extend,
    extend_back,
    mix,
    pulses,
    ramps,
    scalar_prior,
    shares,
)
from lndbayes.model.layout import REAL, SCALARS
from lndbayes.numerics.simd import dot
from lndbayes.numerics.vector import INSIDE

__all__ = ["KernelData", "evaluate_density", "kernel_data"]

# Places of scalars and blocks in the vector, as constants of the compiled code.
_REALS = len(REAL)
_MEAN, _LEVEL, _SLOPE, _PREDECESSOR, _RETRO_BIAS, _SELECTION = (
    SCALARS.index(name)
    for name in (
        "effect_mean",
        "baseline_level",
        "national_slope",
        "predecessor_effect",
        "retrospective_bias",
        "history_selection",
    )
)
_SHARED, _DRIFT, _STEP, _PULSE, _ALONG = (
    SCALARS.index(name)
    for name in (
        "shared_bias",
        "drift",
        "go_live_step",
        "pulse",
        "stage_effect",
    )
)
_SD_CURVE, _SD_LEVEL, _SD_DRIFT, _SD_BEND, _SD_MIX, _SD_SITE, _SD_RETRO = (
    SCALARS.index(name)
    for name in (
        "national_curve_sd",
        "site_level_sd",
        "site_drift_sd",
        "site_curve_sd",
        "mix_effect_sd",
        "site_effect_sd",
        "retrospective_bias_sd",
    )
)
_RAMP, _PHI, _KAPPA, _DIP, _RECOVERY, _PERSONS, _PEAK, _SD_STAGE = (
    SCALARS.index(name)
    for name in (
        "ramp_months",
        "concentration",
        "mix_concentration",
        "crisis_dip",
        "crisis_recovery_months",
        "person_dispersion",
        "pulse_months",
        "stage_site_sd",
    )
)
_AT_CURVE, _AT_SEASON, _AT_STAGE, _AT_DRIFT, _AT_BEND, _AT_SHARE = (
    BLOCKS.index(name)
    for name in (
        "national_curve",
        "season",
        "stage_level",
        "site_drift",
        "site_curve",
        "mix_share",
    )
)
_AT_MIX, _AT_DEVIATION, _AT_OWN, _AT_WAVE, _AT_LEVEL, _AT_RETRO = (
    BLOCKS.index(name)
    for name in (
        "mix_effect",
        "site_deviation",
        "stage_site",
        "wave_effect",
        "site_level",
        "retrospective_site_bias",
    )
)

# Numbers of the parts and of the fields in the header.
_CELLS, _RANGED_CELLS, _STAGES, _CHANNELS = (
    PARTS[name] for name in ("cells", "ranged", "stages", "channels")
)
_STARTS, _WAVE, _EVENT_TIME, _COURSE, _COURSE_TIME = (
    FIELDS[name] for name in ("starts", "wave", "event_time", "course", "course_time")
)
_HALF_PERIOD, _CONSTANT, _TIME, _SCALES = (
    FIELDS[name] for name in ("half_period", "constant", "time", "scales")
)
_PRIOR_CODE, _PRIOR_VALUE, _COMMON_PRIOR, _STAGE_PRIOR = (
    FIELDS[name] for name in ("prior_code", "prior_value", "common_prior", "stage_prior")
)
_BASIS_NATIONAL, _BASIS_SITE, _COMMON_FUNCTIONS, _SITE_WEIGHT, _OLD_SERVICE = (
    FIELDS[name]
    for name in (
        "basis_national",
        "basis_site",
        "common_functions",
        "site_weight",
        "predecessor",
    )
)
_MIX_COUNT, _MIX_CENTRE, _SHARE_CONCENTRATION = (
    FIELDS[name] for name in ("mix_count", "mix_centre", "share_concentration")
)


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
        Addresses of what `kernel_data` returns, and of the parts that the data need.

    Returns
    -------
    float
        Including the log Jacobians of the transforms.
    """
    starts = places(h, _STARTS)
    prior_code = places(h, _PRIOR_CODE)
    prior_value = table(h, _PRIOR_VALUE)
    common_prior = table(h, _COMMON_PRIOR)
    scales = floats(h, _SCALES)
    time = floats(h, _TIME)
    basis_national = table(h, _BASIS_NATIONAL)
    basis_site = table(h, _BASIS_SITE)
    common_functions = table(h, _COMMON_FUNCTIONS)
    site_weight = table(h, _SITE_WEIGHT)
    event_time, course = spots(h, _EVENT_TIME), places(h, _COURSE)
    course_time = spots(h, _COURSE_TIME)
    stage_prior = table(h, _STAGE_PRIOR)
    wave = places(h, _WAVE)
    predecessor = floats(h, _OLD_SERVICE)
    mix_count = table(h, _MIX_COUNT)
    mix_centre = floats(h, _MIX_CENTRE)
    half_period = floats(h, _HALF_PERIOD)[0]
    sites, months = event_time.shape
    kinds = mix_count.shape[1]
    rank, curve = basis_site.shape[0], basis_national.shape[0]
    commons, covered = common_functions.shape[0], grad.shape[0] - starts[_AT_RETRO]
    later = stage_prior.shape[0]
    waves = starts[_AT_DRIFT] - starts[_AT_WAVE] + 1
    n_scalar = prior_code.shape[0]
    i_curve, i_season, i_stage = starts[_AT_CURVE], starts[_AT_SEASON], starts[_AT_STAGE]
    i_drift, i_bend, i_share = starts[_AT_DRIFT], starts[_AT_BEND], starts[_AT_SHARE]
    i_mix, i_dev, i_wave = starts[_AT_MIX], starts[_AT_DEVIATION], starts[_AT_WAVE]
    i_level, i_retro = starts[_AT_LEVEL], starts[_AT_RETRO]
    value = floats(h, _CONSTANT)[0]
    grad[:] = 0.0
    # ---- scalars: v on their own scale, g the derivative with respect to v
    v, g = np.empty(n_scalar), np.zeros(n_scalar)
    for i in range(n_scalar):
        v[i] = x[i] if i < _REALS else math.exp(x[i])
    # ---- effect of each site, and what it moves
    share, zd, zw = np.ones((sites, kinds)), np.zeros(kinds), np.zeros(waves)
    if kinds > 1:
        shares(x, i_share, share)
        extend(x[i_mix : i_mix + kinds - 1], zd)
    extend(x[i_wave : i_wave + waves - 1], zw)
    tau = np.empty(sites)
    for s in range(sites):
        tau[s] = v[_MEAN] + scales[4] * zw[wave[s]] + v[_PREDECESSOR] * predecessor[s]
        tau[s] += v[_SD_SITE] * x[i_dev + s]
        for m in range(kinds):
            tau[s] += (share[s, m] - mix_centre[m]) * v[_SD_MIX] * zd[m]
        value -= 0.5 * x[i_dev + s] ** 2
    for i in range(n_scalar):
        p, dp = scalar_prior(
            prior_code[i], prior_value[i, 0], prior_value[i, 1], prior_value[i, 2], v[i]
        )
        value += p
        g[i] += dp
    alpha, slope = v[_LEVEL], v[_SLOPE]
    shared, drift, step = v[_SHARED] * scales[0], v[_DRIFT] * scales[1], v[_STEP] * scales[2]
    pulse = v[_PULSE] * scales[3]
    s_nat, s_a, s_b, s_g = v[_SD_CURVE], v[_SD_LEVEL], v[_SD_DRIFT], v[_SD_BEND]
    s_d, s_u, s_k = v[_SD_MIX], v[_SD_SITE], v[_SD_RETRO]
    lam, phi, kappa, persons = v[_RAMP], v[_PHI], v[_KAPPA], v[_PERSONS]
    # ---- national curve
    nat = slope * time
    for k in range(curve):
        c = x[i_curve + k]
        z = c / s_nat
        value -= 0.5 * z * z + math.log(s_nat)
        g[_SD_CURVE] += (z * z - 1.0) / s_nat
        grad[i_curve + k] -= z / s_nat
        for t in range(months):
            nat[t] += basis_national[k, t] * c
    # season and seams: coefficients of fixed functions, one run of the vector
    for k in range(commons):
        z = (x[i_season + k] - common_prior[k, 0]) / common_prior[k, 1]
        value -= 0.5 * z * z
        grad[i_season + k] -= z / common_prior[k, 1]
        for t in range(months):
            nat[t] += common_functions[k, t] * x[i_season + k]
    # ---- site drift and smooth deviations, zero-sum over sites
    zb, zg = np.empty(sites), np.empty((rank, sites))
    extend(x[i_drift : i_drift + sites - 1], zb)
    for k in range(rank):
        extend(x[i_bend + k * (sites - 1) : i_bend + (k + 1) * (sites - 1)], zg[k])
    # ---- surfaces
    # by the month of going live: sites that share it share these
    courses = course_time.shape[0]
    ramp, bend = np.empty((courses, months)), np.empty((courses, months))
    longest = 0
    for k in range(courses):
        for t in range(months):
            longest = max(longest, course_time[k, t])
    built, change = np.empty(longest + 2), np.empty(longest + 2)
    ramps(course_time, lam, half_period, built, change, ramp, bend)
    passes = courses if scales[3] > 0.0 else 0
    passing, tilt = np.empty((passes, months)), np.empty((passes, months))
    if passes > 0:
        pulses(course_time, v[_PEAK], half_period, passing, tilt)
    eta0, eta = np.empty((sites, months)), np.empty((sites, months))
    intercept = np.empty(sites)
    for s in range(sites):
        slope_s = s_b * zb[s]
        for t in range(months):
            eta0[s, t] = nat[t] + slope_s * time[t]
        for k in range(rank):
            c = s_g * zg[k, s]
            for t in range(months):
                eta0[s, t] += c * basis_site[k, t]
        if drift != 0.0:
            for t in range(months):
                eta0[s, t] += drift * max(event_time[s, t], 0) / 12.0
        went = course[s]
        for t in range(months):
            eta[s, t] = eta0[s, t] + ramp[went, t] * tau[s]
        if passes > 0:
            for t in range(months):
                eta[s, t] += pulse * passing[went, t]
        if step != 0.0:
            for t in range(months):
                if event_time[s, t] >= 0:
                    eta[s, t] += step
        intercept[s] = x[i_level + s] - dot(site_weight[s], eta[s], months)
        for t in range(months):
            eta0[s, t] += intercept[s]
            eta[s, t] += intercept[s]
    # ---- likelihood of the cells and of the channels
    g1, g0 = np.zeros((sites, months)), np.zeros((sites, months))
    at_cells = np.array([phi, persons])
    g_cells = np.zeros(2)
    value += call(h, _RANGED_CELLS, (eta, at_cells, g1, g_cells))
    value += call(h, _CELLS, (eta, at_cells, g1, g_cells))
    g[_PHI] += g_cells[0]
    g[_PERSONS] += g_cells[1]
    if later > 0:
        level, g_level = x[i_stage : i_stage + later], grad[i_stage : i_stage + later]
        for j in range(later):
            z = (level[j] - stage_prior[j, 0]) / stage_prior[j, 1]
            value -= 0.5 * z * z
            g_level[j] -= z / stage_prior[j, 1]
        own, g_own = np.zeros(sites), np.zeros(sites)
        i_own, count = starts[_AT_OWN], starts[_AT_LEVEL] - starts[_AT_OWN]
        for k in range(count):
            own[k] = v[_SD_STAGE] * x[i_own + k]
            value -= 0.5 * x[i_own + k] ** 2
        along = np.array([phi, v[_ALONG]])
        g_along = np.zeros(3)
        value += call(
            h, _STAGES, (eta, built, change, level, own, along, g1, g_level, g_own, g_along)
        )
        for k in range(count):
            g[_SD_STAGE] += g_own[k] * x[i_own + k]
            grad[i_own + k] += g_own[k] * v[_SD_STAGE] - x[i_own + k]
        g[_PHI] += g_along[0]
        g[_ALONG] += g_along[1]
        g[_RAMP] += g_along[2]
    bias, g_bias = np.empty(covered), np.zeros(covered)
    for r in range(covered):
        bias[r] = v[_RETRO_BIAS] + s_k * x[i_retro + r]
        value -= 0.5 * x[i_retro + r] ** 2
    par = np.array([shared, v[_DIP], v[_RECOVERY], v[_SELECTION], phi, persons])
    g_par = np.zeros(6)
    value += call(h, _CHANNELS, (eta0, g0, bias, g_bias, par, g_par))
    g[_SHARED] += g_par[0] * scales[0]
    g[_DIP] += g_par[1]
    g[_RECOVERY] += g_par[2]
    g[_SELECTION] += g_par[3]
    g[_PHI] += g_par[4]
    g[_PERSONS] += g_par[5]
    for r in range(covered):
        g[_RETRO_BIAS] += g_bias[r]
        g[_SD_RETRO] += g_bias[r] * x[i_retro + r]
        grad[i_retro + r] += g_bias[r] * s_k - x[i_retro + r]
    # ---- back through the surfaces
    g_nat, g_tau = np.zeros(months), np.zeros(sites)
    g_zb, g_zg, ones = np.zeros(sites), np.zeros((rank, sites)), np.ones(months)
    for s in range(sites):
        z = (intercept[s] - alpha) / s_a
        value -= 0.5 * z * z + math.log(s_a)
        pull = -z / s_a
        g[_LEVEL] -= pull
        g[_SD_LEVEL] += (z * z - 1.0) / s_a
        pull += dot(ones, g1[s], months) + dot(ones, g0[s], months)
        grad[i_level + s] += pull
        # g1 becomes the derivative by the effect's part of the predictor, g0 by the surface's
        for t in range(months):
            g1[s, t] -= pull * site_weight[s, t]
            g0[s, t] += g1[s, t]
            g_nat[t] += g0[s, t]
        g_zb[s] = dot(g0[s], time, months)
        g_tau[s] = dot(g1[s], ramp[course[s]], months)
        g[_RAMP] += dot(g1[s], bend[course[s]], months) * tau[s]
        for k in range(rank):
            g_zg[k, s] = dot(g0[s], basis_site[k], months)
        if passes > 0:
            g[_PULSE] += scales[3] * dot(g1[s], passing[course[s]], months)
            g[_PEAK] += pulse * dot(g1[s], tilt[course[s]], months)
        if scales[1] > 0.0 or scales[2] > 0.0:
            for t in range(months):
                e = event_time[s, t]
                if e >= 0:
                    g[_DRIFT] += scales[1] * g0[s, t] * e / 12.0
                    g[_STEP] += scales[2] * g1[s, t]
    # ---- back to the vector
    g[_SLOPE] += dot(g_nat, time, months)
    for k in range(curve):
        grad[i_curve + k] += dot(g_nat, basis_national[k], months)
    for k in range(commons):
        grad[i_season + k] += dot(g_nat, common_functions[k], months)
    for s in range(sites):
        g[_SD_DRIFT] += g_zb[s] * zb[s]
        g_zb[s] *= s_b
        for k in range(rank):
            g[_SD_BEND] += g_zg[k, s] * zg[k, s]
            g_zg[k, s] *= s_g
    value += extend_back(
        x[i_drift : i_drift + sites - 1], g_zb, grad[i_drift : i_drift + sites - 1]
    )
    for k in range(rank):
        a, b = i_bend + k * (sites - 1), i_bend + (k + 1) * (sites - 1)
        value += extend_back(x[a:b], g_zg[k], grad[a:b])
    g_zw, g_zd, g_share = np.zeros(waves), np.zeros(kinds), np.zeros((sites, kinds))
    for s in range(sites):
        g[_MEAN] += g_tau[s]
        g[_PREDECESSOR] += g_tau[s] * predecessor[s]
        g[_SD_SITE] += g_tau[s] * x[i_dev + s]
        grad[i_dev + s] += g_tau[s] * s_u - x[i_dev + s]
        g_zw[wave[s]] += g_tau[s] * scales[4]
        for m in range(kinds):
            gap = share[s, m] - mix_centre[m]
            g[_SD_MIX] += g_tau[s] * gap * zd[m]
            g_zd[m] += g_tau[s] * gap * s_d
            g_share[s, m] = g_tau[s] * s_d * zd[m]
    value += extend_back(x[i_wave : i_wave + waves - 1], g_zw, grad[i_wave : i_wave + waves - 1])
    if kinds > 1:
        value += extend_back(x[i_mix : i_mix + kinds - 1], g_zd, grad[i_mix : i_mix + kinds - 1])
        alpha_share = floats(h, _SHARE_CONCENTRATION)[0]
        part, dp = mix(x, grad, share, g_share, i_share, kappa, mix_count, alpha_share)
        value += part
        g[_KAPPA] += dp
    for i in range(n_scalar):
        if i < _REALS:
            grad[i] += g[i]
        else:
            grad[i] += g[i] * v[i] + 1.0
            value += x[i]
    return value
