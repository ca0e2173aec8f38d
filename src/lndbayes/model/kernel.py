"""The binomial-family model's log density and gradient, written out and compiled.

The same density as `lndbayes.model.build.build_model` (a test holds the two together to rounding
error), about six times faster per gradient, and compiled in seconds once per machine instead of
minutes per model: switches, masks, priors and data are arguments, never code.

Derivatives are by hand, in reverse: the likelihood's derivative with respect to each cell's linear
predictor is pushed back through the surface. Empty cells are never visited, and terms that depend
on the exposure alone are computed once per distinct exposure.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from scipy.special import gammaln

from lndbayes.model.design import Design
from lndbayes.model.layout import REAL, SCALARS, layout
from lndbayes.model.special import rates, rising
from lndbayes.spec import ModelSpec

__all__ = ["KernelData", "evaluate_density", "kernel_data"]

_CODES = {"Normal": 0, "StudentT": 1, "HalfNormal": 2, "Exponential": 3, "Gamma": 4, "LogNormal": 5}
#: Order in which the density takes the starts of the vector's blocks.
_BLOCKS = (
    "national_curve",
    "season",
    "site_drift",
    "site_curve",
    "mix_share",
    "mix_effect",
    "site_deviation",
    "wave_effect",
    "site_level",
    "retrospective_site_bias",
)
_MULTIPLIERS = ("shared_bias", "drift", "go_live_step")


class KernelData(NamedTuple):
    """Arguments of the compiled density; shapes in the names of `Design`."""

    starts: np.ndarray
    prior_code: np.ndarray
    prior_value: np.ndarray
    season_sd: np.ndarray
    share_concentration: float
    scales: np.ndarray
    shear: np.ndarray
    time: np.ndarray
    basis_national: np.ndarray
    basis_site: np.ndarray
    harmonics: np.ndarray
    site_weight: np.ndarray
    event_time: np.ndarray
    half_period: float
    cell: np.ndarray
    cell_value: np.ndarray
    exposure_level: np.ndarray
    exposure_times: np.ndarray
    wave: np.ndarray
    predecessor: np.ndarray
    mix_count: np.ndarray
    mix_centre: np.ndarray
    retrospective_at: np.ndarray
    retrospective_value: np.ndarray
    history_at: np.ndarray
    history_value: np.ndarray
    national_weight: np.ndarray
    national_share: np.ndarray
    national_logit: np.ndarray
    national_precision: np.ndarray
    elicited_weight: np.ndarray
    elicited_month: np.ndarray
    elicited_logit: np.ndarray
    elicited_precision: np.ndarray
    constant: float


def _array(values: object, dtype: type = float) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=dtype)


def _priors(spec: ModelSpec) -> tuple[np.ndarray, np.ndarray, float]:
    """Codes and parameters of the scalars' priors, and the constants left out of the kernel."""
    code, value, constant = [], [], 0.0
    for name in SCALARS:
        if name in _MULTIPLIERS:
            kind, p = "Normal", {"mu": 0.0, "sigma": 1.0}
        else:
            kind, p = spec.priors[name].dist, dict(spec.priors[name].parameters)
        match kind:
            case "Normal" | "LogNormal":
                row = (p["mu"], p["sigma"], 0.0)
                constant -= math.log(p["sigma"]) + 0.5 * math.log(2 * math.pi)
            case "StudentT":
                row, nu = (p["mu"], p["sigma"], p["nu"]), p["nu"]
                constant += float(gammaln((nu + 1) / 2) - gammaln(nu / 2))
                constant -= 0.5 * math.log(nu * math.pi) + math.log(p["sigma"])
            case "HalfNormal":
                row = (0.0, p["sigma"], 0.0)
                constant += 0.5 * math.log(2 / math.pi) - math.log(p["sigma"])
            case "Exponential":
                row = (0.0, p["scale"], 0.0)
                constant -= math.log(p["scale"])
            case _:
                row = (p["alpha"], p["beta"], 0.0)
                constant += p["alpha"] * math.log(p["beta"]) - float(gammaln(p["alpha"]))
        code.append(_CODES[kind])
        value.append(row)
    return _array(code, np.int64), _array(value), constant


def _precision(chol: np.ndarray) -> tuple[np.ndarray, float]:
    """Inverse covariance and log normalising constant of a multivariate normal."""
    inverse = np.linalg.inv(chol) if len(chol) else np.zeros((0, 0))
    log_det = float(np.log(np.diag(chol)).sum())
    return _array(inverse.T @ inverse), -log_det - 0.5 * len(chol) * math.log(2 * math.pi)


def _log_choose(n: np.ndarray, k: np.ndarray) -> float:
    return float((gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)).sum())


def kernel_data(spec: ModelSpec, design: Design) -> KernelData:
    """Pack a spec and a design into the compiled density's arguments.

    Parameters
    ----------
    spec : ModelSpec
        Gives the priors.
    design : Design
        Gives everything else.
    """
    code, value, constant = _priors(spec)
    season_prior = spec.priors["season"]
    if season_prior.dist != "Normal":
        raise ValueError("the compiled density needs a Normal prior on season")
    blocks = layout(design)
    n, y = design["exposure"], design["count"]
    site, month = np.nonzero(n)
    levels, which = np.unique(n[site, month], return_inverse=True)
    mix = design["mix_count"]
    sites, kinds = mix.shape
    a = spec.priors["mix_share"]["concentration"]
    total = mix.sum(axis=1)
    constant += _log_choose(n[site, month], y[site, month])
    constant += _log_choose(design["retrospective_exposure"], design["retrospective_count"])
    constant += _log_choose(design["history_exposure"], design["history_count"])
    national, log_national = _precision(design["national_chol"])
    elicited, log_elicited = _precision(design["elicited_chol"])
    constant += log_national + log_elicited
    normals = sum(
        int(np.prod(blocks[b].shape))
        for b in (
            "site_drift",
            "site_curve",
            "site_deviation",
            "retrospective_site_bias",
            "wave_effect",
        )
    )
    normals += (kinds - 1) + len(design["harmonics"][0]) + (design["shear"].shape[1] - 2) + sites
    constant -= 0.5 * math.log(2 * math.pi) * normals
    constant -= len(design["harmonics"][0]) * math.log(season_prior["sigma"])
    if kinds > 1:
        constant += sites * (
            float(gammaln(a * kinds)) - kinds * float(gammaln(a)) + math.log(kinds)
        )
        constant += float(gammaln(total + 1).sum() - gammaln(mix + 1).sum())
    return KernelData(
        starts=_array([blocks[name].start for name in _BLOCKS], np.int64),
        prior_code=code,
        prior_value=value,
        season_sd=_array([season_prior["mu"], season_prior["sigma"]]),
        share_concentration=float(a),
        scales=_array([design[f"{k}_sd"] for k in (*_MULTIPLIERS, "wave")]),
        shear=_array(design["shear"]),
        time=_array(design["time"]),
        basis_national=_array(design["national_functions"].T),
        basis_site=_array(design["site_functions"].T),
        harmonics=_array(design["harmonics"].T),
        site_weight=_array(design["site_weight"]),
        event_time=_array(design["event_time"], np.int64),
        half_period=float(design["half_period"]),
        cell=_array(np.column_stack([site, month, which]), np.int64),
        cell_value=_array(np.column_stack([n[site, month], y[site, month]])),
        exposure_level=_array(levels),
        exposure_times=_array(np.bincount(which, minlength=len(levels))),
        wave=_array(design["wave_index"], np.int64),
        predecessor=_array(design["predecessor"]),
        mix_count=_array(mix),
        mix_centre=_array(design["mix_centre"]),
        retrospective_at=_array(design["retrospective_at"], np.int64),
        retrospective_value=_array(
            np.column_stack([design["retrospective_exposure"], design["retrospective_count"]])
        ),
        history_at=_array(design["history_at"], np.int64),
        history_value=_array(
            np.column_stack([design["history_exposure"], design["history_count"]])
        ),
        national_weight=_array(design["national_weight"]),
        national_share=_array(design["national_share"]),
        national_logit=_array(design["national_logit"]),
        national_precision=national,
        elicited_weight=_array(design["elicited_weight"]),
        elicited_month=_array(design["elicited_month"]),
        elicited_logit=_array(design["elicited_logit"]),
        elicited_precision=elicited,
        constant=constant,
    )


# Reassociation lets sums over months use vector instructions; NaN and infinity keep their meaning.
_JIT: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract"},
}


@njit(**_JIT)
def _scalar_prior(code: int, a: float, b: float, c: float, v: float) -> tuple[float, float]:
    """Log prior without constants, and its derivative, at the constrained value."""
    if code == 0:
        z = (v - a) / b
        return -0.5 * z * z, -z / b
    if code == 1:
        z = (v - a) / b
        return -0.5 * (c + 1.0) * math.log1p(z * z / c), -(c + 1.0) * z / (b * (c + z * z))
    if code == 2:
        z = v / b
        return -0.5 * z * z, -z / b
    if code == 3:
        return -v / b, -1.0 / b
    if code == 4:
        return (a - 1.0) * math.log(v) - b * v, (a - 1.0) / v - b
    z = (math.log(v) - a) / b
    return -0.5 * z * z - math.log(v), -(z / b + 1.0) / v


@njit(**_JIT)
def _extend(x: np.ndarray, z: np.ndarray) -> None:
    n = z.shape[0]
    if n == 1:
        z[0] = 0.0
        return
    total = 0.0
    for i in range(n - 1):
        total += x[i]
    root = math.sqrt(n)
    norm = total / (root + n)
    for i in range(n - 1):
        z[i] = x[i] - norm
    z[n - 1] = -total / root


@njit(**_JIT)
def _extend_back(x: np.ndarray, gz: np.ndarray, gx: np.ndarray) -> float:
    """Add the transposed extension of gz to gx, with the standard normal prior that is returned."""
    n = gz.shape[0]
    if n == 1:
        return 0.0
    root = math.sqrt(n)
    norm = 1.0 / (root + n)
    total = 0.0
    for i in range(n - 1):
        total += gz[i]
    common = -norm * total - gz[n - 1] / root
    value = 0.0
    for i in range(n - 1):
        gx[i] += gz[i] + common - x[i]
        value -= 0.5 * x[i] * x[i]
    return value


@njit(**_JIT)
def _binomial(n: float, y: float, eta: float) -> tuple[float, float]:
    """Binomial log likelihood on the logit scale and its derivative."""
    if eta > 0:
        tail = math.exp(-eta)
        return y * eta - n * (eta + math.log1p(tail)), y - n / (1.0 + tail)
    tail = math.exp(eta)
    return y * eta - n * math.log1p(tail), y - n * tail / (1.0 + tail)


@njit(**_JIT)
def _mix(
    x: np.ndarray,
    grad: np.ndarray,
    share: np.ndarray,
    g_share: np.ndarray,
    start: int,
    kappa: float,
    counts: np.ndarray,
    alpha: float,
) -> tuple[float, float]:
    """Dirichlet prior, Dirichlet-multinomial likelihood and the way back to the vector.

    `g_share` holds what the effects already ask of the shares. Returns the value and the
    derivative with respect to kappa.
    """
    sites, kinds = share.shape
    value, g_kappa = 0.0, 0.0
    g = np.empty(kinds)
    for s in range(sites):
        total, inner = 0.0, 0.0
        for m in range(kinds):
            total += counts[s, m]
        if total > 0:
            v, d = rising(kappa, total)
            value -= v
            g_kappa -= d
        for m in range(kinds):
            p = share[s, m]
            v, d = rising(kappa * p, counts[s, m])
            value += v + alpha * math.log(p)
            g_kappa += d * p
            g[m] = (g_share[s, m] + kappa * d) * p + alpha
            inner += g[m]
        for m in range(kinds - 1):
            i = start + s * (kinds - 1) + m
            grad[i] += (g[m] - share[s, m] * inner) - (g[kinds - 1] - share[s, kinds - 1] * inner)
    return value, g_kappa


@njit(**_JIT)
def _shares(x: np.ndarray, start: int, share: np.ndarray) -> None:
    sites, kinds = share.shape
    for s in range(sites):
        total, top = 0.0, -1e300
        for m in range(kinds - 1):
            v = x[start + s * (kinds - 1) + m]
            share[s, m] = v
            total -= v
            top = max(top, v)
        share[s, kinds - 1] = total
        top = max(top, total)
        norm = 0.0
        for m in range(kinds):
            share[s, m] = math.exp(share[s, m] - top)
            norm += share[s, m]
        for m in range(kinds):
            share[s, m] /= norm


@njit(**_JIT)
def _cells(d: KernelData, eta: np.ndarray, phi: float, g: np.ndarray) -> tuple[float, float]:
    """Beta-binomial cells; fills the derivative in eta, returns value and derivative in phi."""
    value, g_phi = 0.0, 0.0
    for i in range(d.exposure_level.shape[0]):
        v, dv = rising(phi, d.exposure_level[i])
        value -= d.exposure_times[i] * v
        g_phi -= d.exposure_times[i] * dv
    for i in range(d.cell.shape[0]):
        s, t = d.cell[i, 0], d.cell[i, 1]
        p, q = rates(eta[s, t])
        n, y = d.cell_value[i, 0], d.cell_value[i, 1]
        va, da = rising(p * phi, y)
        vb, db = rising(q * phi, n - y)
        value += va + vb
        g[s, t] = phi * p * q * (da - db)
        g_phi += p * da + q * db
    return value, g_phi


@njit(**_JIT)
def _channels(
    d: KernelData,
    eta0: np.ndarray,
    g0: np.ndarray,
    bias: np.ndarray,
    g_bias: np.ndarray,
    par: np.ndarray,
    g_par: np.ndarray,
) -> float:
    """Reconstructed evidence on eta0.

    `bias` are the retrospective site biases; `par` is (shared bias, dip, recovery, selection).
    Derivatives are added to `g0`, `g_bias` and `g_par`.
    """
    value = 0.0
    for i in range(d.retrospective_at.shape[0]):
        n = d.retrospective_value[i, 0]
        if n > 0:
            s, t, r = d.retrospective_at[i]
            v, g = _binomial(n, d.retrospective_value[i, 1], eta0[s, t] + bias[r] + par[0])
            value += v
            g0[s, t] += g
            g_bias[r] += g
            g_par[0] += g
    for i in range(d.history_at.shape[0]):
        n = d.history_value[i, 0]
        if n > 0:
            s, t, lag = d.history_at[i]
            decay = math.exp(-(lag - 1.0) / par[2])
            v, g = _binomial(
                n, d.history_value[i, 1], eta0[s, t] + par[1] * decay + par[3] + par[0]
            )
            value += v
            g0[s, t] += g
            g_par[0] += g
            g_par[1] += g * decay
            g_par[2] += g * par[1] * decay * (lag - 1.0) / (par[2] * par[2])
            g_par[3] += g
    return value + _normal_channels(d, eta0, g0, par, g_par)


@njit(**_JIT)
def _normal_channels(
    d: KernelData, eta0: np.ndarray, g0: np.ndarray, par: np.ndarray, g_par: np.ndarray
) -> float:
    """National series and elicited judgements, their common biases integrated out."""
    sites, months = eta0.shape
    value = 0.0
    rows = d.national_logit.shape[0]
    if rows > 0:
        used = d.national_weight.sum(axis=0)
        rate = np.zeros(months)
        p = np.zeros((sites, months))
        for t in range(months):
            if used[t] > 0:
                for s in range(sites):
                    p[s, t] = 1.0 / (1.0 + math.exp(-eta0[s, t]))
                    rate[t] += d.national_share[s] * p[s, t]
        mean = d.national_weight @ rate
        gap = d.national_logit - (np.log(mean / (1.0 - mean)) + par[0])
        pull = d.national_precision @ gap
        value -= 0.5 * (gap * pull).sum()
        g_par[0] += pull.sum()
        g_rate = d.national_weight.T @ (pull / (mean * (1.0 - mean)))
        for t in range(months):
            if used[t] > 0:
                for s in range(sites):
                    g0[s, t] += g_rate[t] * d.national_share[s] * p[s, t] * (1.0 - p[s, t])
    if d.elicited_logit.shape[0] > 0:
        level = np.zeros(sites)
        for t in range(months):
            if d.elicited_month[t] > 0:
                for s in range(sites):
                    level[s] += d.elicited_month[t] * eta0[s, t]
        gap = d.elicited_logit - (d.elicited_weight @ level + par[0])
        pull = d.elicited_precision @ gap
        value -= 0.5 * (gap * pull).sum()
        g_par[0] += pull.sum()
        g_level = d.elicited_weight.T @ pull
        for t in range(months):
            if d.elicited_month[t] > 0:
                for s in range(sites):
                    g0[s, t] += d.elicited_month[t] * g_level[s]
    return value


@njit(**_JIT)
def _ramps(
    event_time: np.ndarray, months: float, half: float, ramp: np.ndarray, slope: np.ndarray
) -> None:
    """Ramp and its derivative in the time constant, by site and month."""
    top = 0
    for s in range(event_time.shape[0]):
        for t in range(event_time.shape[1]):
            top = max(top, event_time[s, t])
    table = np.empty(top + 1)
    for e in range(top + 1):
        table[e] = math.exp(-(e + half) / months)
    for s in range(event_time.shape[0]):
        for t in range(event_time.shape[1]):
            e = event_time[s, t]
            if e >= 0:
                ramp[s, t] = 1.0 - table[e]
                slope[s, t] = -table[e] * (e + half) / (months * months)
            else:
                ramp[s, t] = 0.0
                slope[s, t] = 0.0


@njit(**_JIT)
def evaluate_density(x: np.ndarray, grad: np.ndarray, d: KernelData) -> float:
    """Log density of the unconstrained vector, normalised as PyMC's ``logp`` is.

    Parameters
    ----------
    x : ndarray, shape (D,)
        The point; see `lndbayes.model.layout`.
    grad : ndarray, shape (D,)
        Overwritten with the gradient.
    d : KernelData
        From `kernel_data`.

    Returns
    -------
    float
        Including the log Jacobians of the transforms.
    """
    sites, months = d.event_time.shape
    kinds = d.mix_count.shape[1]
    rank, curve = d.basis_site.shape[0], d.basis_national.shape[0]
    seasons, covered = d.harmonics.shape[0], grad.shape[0] - d.starts[9]
    waves = d.starts[8] - d.starts[7] + 1
    n_real, n_scalar = 9, d.prior_code.shape[0]
    (i_curve, i_season, i_drift, i_bend, i_share, i_mix, i_dev, i_wave, i_level, i_retro) = (
        d.starts[0],
        d.starts[1],
        d.starts[2],
        d.starts[3],
        d.starts[4],
        d.starts[5],
        d.starts[6],
        d.starts[7],
        d.starts[8],
        d.starts[9],
    )
    value = d.constant
    grad[:] = 0.0
    # ---- scalars: v on their own scale, g the derivative with respect to v
    v, g = np.empty(n_scalar), np.zeros(n_scalar)
    for i in range(n_scalar):
        v[i] = x[i] if i < n_real else math.exp(x[i])
    # ---- effect of each site, and what it moves
    share, zd, zw = np.ones((sites, kinds)), np.zeros(kinds), np.zeros(waves)
    if kinds > 1:
        _shares(x, i_share, share)
        _extend(x[i_mix : i_mix + kinds - 1], zd)
    _extend(x[i_wave : i_wave + waves - 1], zw)
    tau, moved = np.empty(sites), np.zeros(curve + 2)
    for s in range(sites):
        tau[s] = v[0] + d.scales[3] * zw[d.wave[s]] + v[3] * d.predecessor[s] + v[14] * x[i_dev + s]
        for m in range(kinds):
            tau[s] += (share[s, m] - d.mix_centre[m]) * v[13] * zd[m]
        value -= 0.5 * x[i_dev + s] ** 2
        for k in range(curve + 2):
            moved[k] += tau[s] * d.shear[s, k]
    v[1] -= moved[0]
    v[2] -= moved[1]
    for i in range(n_scalar):
        p, dp = _scalar_prior(
            d.prior_code[i], d.prior_value[i, 0], d.prior_value[i, 1], d.prior_value[i, 2], v[i]
        )
        value += p
        g[i] += dp
    alpha, slope = v[1], v[2]
    shared, drift, step = v[6] * d.scales[0], v[7] * d.scales[1], v[8] * d.scales[2]
    s_nat, s_a, s_b, s_g, s_d, s_u = v[9], v[10], v[11], v[12], v[13], v[14]
    lam, phi, kappa, s_k = v[15], v[16], v[17], v[18]
    # ---- national curve and season
    nat = slope * d.time
    for k in range(curve):
        c = x[i_curve + k] - moved[k + 2]
        z = c / s_nat
        value -= 0.5 * z * z + math.log(s_nat)
        g[9] += (z * z - 1.0) / s_nat
        grad[i_curve + k] -= z / s_nat
        for t in range(months):
            nat[t] += d.basis_national[k, t] * c
    for k in range(seasons):
        z = (x[i_season + k] - d.season_sd[0]) / d.season_sd[1]
        value -= 0.5 * z * z
        grad[i_season + k] -= z / d.season_sd[1]
        for t in range(months):
            nat[t] += d.harmonics[k, t] * x[i_season + k]
    # ---- site drift and smooth deviations, zero-sum over sites
    zb, zg = np.empty(sites), np.empty((rank, sites))
    _extend(x[i_drift : i_drift + sites - 1], zb)
    for k in range(rank):
        _extend(x[i_bend + k * (sites - 1) : i_bend + (k + 1) * (sites - 1)], zg[k])
    # ---- surfaces
    ramp, bend = np.empty((sites, months)), np.empty((sites, months))
    _ramps(d.event_time, lam, d.half_period, ramp, bend)
    eta0, eta = np.empty((sites, months)), np.empty((sites, months))
    intercept = np.empty(sites)
    for s in range(sites):
        slope_s = s_b * zb[s]
        for t in range(months):
            eta0[s, t] = nat[t] + slope_s * d.time[t]
        for k in range(rank):
            c = s_g * zg[k, s]
            for t in range(months):
                eta0[s, t] += c * d.basis_site[k, t]
        if drift != 0.0:
            for t in range(months):
                eta0[s, t] += drift * max(d.event_time[s, t], 0) / 12.0
        for t in range(months):
            eta[s, t] = eta0[s, t] + ramp[s, t] * tau[s]
        if step != 0.0:
            for t in range(months):
                if d.event_time[s, t] >= 0:
                    eta[s, t] += step
        anchor = 0.0
        for t in range(months):
            anchor += d.site_weight[s, t] * eta[s, t]
        intercept[s] = x[i_level + s] - anchor
        for t in range(months):
            eta0[s, t] += intercept[s]
            eta[s, t] += intercept[s]
    # ---- likelihood of the cells and of the channels
    g1, g0 = np.zeros((sites, months)), np.zeros((sites, months))
    part, dp = _cells(d, eta, phi, g1)
    value += part
    g[16] += dp
    bias, g_bias = np.empty(covered), np.zeros(covered)
    for r in range(covered):
        bias[r] = v[4] + s_k * x[i_retro + r]
        value -= 0.5 * x[i_retro + r] ** 2
    par = np.array([shared, v[19], v[20], v[5]])
    g_par = np.zeros(4)
    value += _channels(d, eta0, g0, bias, g_bias, par, g_par)
    g[19] += g_par[1]
    g[20] += g_par[2]
    g[5] += g_par[3]
    g[6] += g_par[0] * d.scales[0]
    for r in range(covered):
        g[4] += g_bias[r]
        g[18] += g_bias[r] * x[i_retro + r]
        grad[i_retro + r] += g_bias[r] * s_k - x[i_retro + r]
    # ---- back through the surfaces
    g_nat, g_tau = np.zeros(months), np.zeros(sites)
    g_zb, g_zg = np.zeros(sites), np.zeros((rank, sites))
    for s in range(sites):
        z = (intercept[s] - alpha) / s_a
        value -= 0.5 * z * z + math.log(s_a)
        pull = -z / s_a
        g[1] -= pull
        g[10] += (z * z - 1.0) / s_a
        for t in range(months):
            pull += g1[s, t] + g0[s, t]
        grad[i_level + s] += pull
        # g1 becomes the derivative by the effect's part of the predictor, g0 by the surface's
        for t in range(months):
            g1[s, t] -= pull * d.site_weight[s, t]
            g0[s, t] += g1[s, t]
            g_nat[t] += g0[s, t]
        on_time, on_effect, on_ramp = 0.0, 0.0, 0.0
        for t in range(months):
            on_time += g0[s, t] * d.time[t]
            on_effect += g1[s, t] * ramp[s, t]
            on_ramp += g1[s, t] * bend[s, t]
        g_zb[s] = on_time
        g_tau[s] = on_effect
        g[15] += on_ramp * tau[s]
        for k in range(rank):
            total = 0.0
            for t in range(months):
                total += g0[s, t] * d.basis_site[k, t]
            g_zg[k, s] = total
        if d.scales[1] > 0.0 or d.scales[2] > 0.0:
            for t in range(months):
                e = d.event_time[s, t]
                if e >= 0:
                    g[7] += d.scales[1] * g0[s, t] * e / 12.0
                    g[8] += d.scales[2] * g1[s, t]
    # ---- back to the vector
    for t in range(months):
        g[2] += g_nat[t] * d.time[t]
    for k in range(curve):
        for t in range(months):
            grad[i_curve + k] += g_nat[t] * d.basis_national[k, t]
    for k in range(seasons):
        for t in range(months):
            grad[i_season + k] += g_nat[t] * d.harmonics[k, t]
    for s in range(sites):
        g[11] += g_zb[s] * zb[s]
        g_zb[s] *= s_b
        for k in range(rank):
            g[12] += g_zg[k, s] * zg[k, s]
            g_zg[k, s] *= s_g
    value += _extend_back(
        x[i_drift : i_drift + sites - 1], g_zb, grad[i_drift : i_drift + sites - 1]
    )
    for k in range(rank):
        a, b = i_bend + k * (sites - 1), i_bend + (k + 1) * (sites - 1)
        value += _extend_back(x[a:b], g_zg[k], grad[a:b])
    # level, slope and curve are sheared against the effects
    for s in range(sites):
        g_tau[s] -= g[1] * d.shear[s, 0] + g[2] * d.shear[s, 1]
        for k in range(curve):
            g_tau[s] -= grad[i_curve + k] * d.shear[s, k + 2]
    g_zw, g_zd, g_share = np.zeros(waves), np.zeros(kinds), np.zeros((sites, kinds))
    for s in range(sites):
        g[0] += g_tau[s]
        g[3] += g_tau[s] * d.predecessor[s]
        g[14] += g_tau[s] * x[i_dev + s]
        grad[i_dev + s] += g_tau[s] * s_u - x[i_dev + s]
        g_zw[d.wave[s]] += g_tau[s] * d.scales[3]
        for m in range(kinds):
            gap = share[s, m] - d.mix_centre[m]
            g[13] += g_tau[s] * gap * zd[m]
            g_zd[m] += g_tau[s] * gap * s_d
            g_share[s, m] = g_tau[s] * s_d * zd[m]
    value += _extend_back(x[i_wave : i_wave + waves - 1], g_zw, grad[i_wave : i_wave + waves - 1])
    if kinds > 1:
        value += _extend_back(x[i_mix : i_mix + kinds - 1], g_zd, grad[i_mix : i_mix + kinds - 1])
        part, dp = _mix(x, grad, share, g_share, i_share, kappa, d.mix_count, d.share_concentration)
        value += part
        g[17] += dp
    for i in range(n_scalar):
        if i < n_real:
            grad[i] += g[i]
        else:
            grad[i] += g[i] * v[i] + 1.0
            value += x[i]
    return value


assert len(REAL) == 9 and len(SCALARS) == 21  # the kernel indexes scalars by position
