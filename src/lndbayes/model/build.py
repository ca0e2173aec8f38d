"""The model as a plain `pymc.Model`: the definition that the compiled density is held to.

Read `build_model` from top to bottom: effect, untreated surface, likelihood, evidence channels.
Every input is a ``pm.Data``, so one compiled graph serves masks, switches and new data of the same
shape. Linear predictors (``eta0``, ``eta1``), expectation (``mu``) and noisy outcome (``y``) are
separate variables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from lndbayes.data.evaluation import EvaluationData
from lndbayes.model.design import Design, build_design
from lndbayes.spec import ModelSpec

__all__ = ["build_model", "model_from_design"]


def build_model(spec: ModelSpec, data: EvaluationData) -> pm.Model:
    """Build the hierarchical model of one outcome.

    Parameters
    ----------
    spec : ModelSpec
        Priors, switches and windows.
    data : EvaluationData
        The evaluation data.

    Returns
    -------
    pymc.Model
        Sample it with any sampler, or use `lndbayes.fit`, which evaluates the same density faster.

    Raises
    ------
    DataError
        If the data cannot carry the model.
    """
    return model_from_design(spec, build_design(spec, data))


def model_from_design(spec: ModelSpec, design: Design) -> pm.Model:
    """Build the model on given arrays; see `build_model`."""
    with pm.Model(coords=dict(design.coords)) as model:
        X = {
            name: pm.Data(name, value, dims=design.dims[name] or None)
            for name, value in design.arrays.items()
        }
        effect = _effect(spec, X, design)
        moved = pt.dot(effect["site_effect"], X["shear"])
        base = _untreated_surface(spec, X, design, moved)
        eta0 = _likelihood(spec, X, base, effect, moved)
        _channels(spec, X, eta0, effect["shared_bias"], len(design.coords["retrospective_site"]))
    return model


def _prior(spec: ModelSpec, name: str, *, shift: Any = 0.0, rename: str | None = None) -> Any:
    """Place a scalar prior; `shift` moves a location prior (a shear with unit Jacobian)."""
    prior = spec.priors[name]
    p = {k: np.float64(v) for k, v in prior.parameters}
    label = rename or name
    match prior.dist:
        case "Normal":
            return pm.Normal(label, p["mu"] + shift, p["sigma"])
        case "StudentT":
            return pm.StudentT(label, nu=p["nu"], mu=p["mu"] + shift, sigma=p["sigma"])
        case "HalfNormal":
            return pm.HalfNormal(label, p["sigma"])
        case "Exponential":
            return pm.Exponential(label, scale=p["scale"])
        case "Gamma":
            return pm.Gamma(label, alpha=p["alpha"], beta=p["beta"])
        case _:
            return pm.LogNormal(label, p["mu"], p["sigma"])


def _zero_sum(name: str, dims: str | tuple[str, ...], *shape: int) -> Any:
    """Standard zero-sum normal over the last dim; zeros when that dim has one entry."""
    if shape[-1] == 1:
        return pt.zeros(shape)
    return pm.ZeroSumNormal(name, sigma=np.float64(1.0), dims=dims)


def _effect(spec: ModelSpec, X: dict[str, Any], design: Design) -> dict[str, Any]:
    """Site effects: mean, mix measured with error, wave, predecessor service, deviation."""
    mean = _prior(spec, "effect_mean")
    sd_mix, sd_site = _prior(spec, "mix_effect_sd"), _prior(spec, "site_effect_sd")
    predecessor = _prior(spec, "predecessor_effect")
    concentration = _prior(spec, "mix_concentration")
    kinds = len(design.coords["intervention"])
    site_effect = mean + predecessor * X["predecessor"]
    if kinds > 1:
        alpha = np.full(kinds, spec.priors["mix_share"]["concentration"])
        share = pm.Dirichlet("mix_share", alpha, dims=("site", "intervention"))
        pm.DirichletMultinomial(
            "mix",
            n=X["mix_count"].sum(axis=1).astype("int64"),
            a=concentration * share,
            observed=X["mix_count"].astype("int64"),
            dims=("site", "intervention"),
        )
        mix_effect = pm.Deterministic(
            "mix_effect",
            sd_mix * _zero_sum("mix_effect_z", "intervention", kinds),
            dims="intervention",
        )
        site_effect = site_effect + pt.dot(share - X["mix_centre"], mix_effect)
    deviation = pm.Deterministic(
        "site_deviation",
        sd_site * pm.Normal("site_deviation_z", np.float64(0), np.float64(1), dims="site"),
        dims="site",
    )
    wave = pm.Deterministic(
        "wave_effect",
        X["wave_sd"] * _zero_sum("wave_effect_z", "wave", len(design.coords["wave"])),
        dims="wave",
    )
    site_effect = pm.Deterministic(
        "site_effect", site_effect + wave[X["wave_index"]] + deviation, dims="site"
    )
    fixed = {
        name: pm.Deterministic(
            name, X[f"{name}_sd"] * pm.Normal(f"{name}_z", np.float64(0), np.float64(1))
        )
        for name in ("shared_bias", "drift", "go_live_step")
    }
    return {
        "effect_mean": mean,
        "site_effect": site_effect,
        "ramp_months": _prior(spec, "ramp_months"),
        **fixed,
    }


def _untreated_surface(spec: ModelSpec, X: dict[str, Any], design: Design, moved: Any) -> Any:
    """National curve, season, site drift and smooth site deviations; no site level yet.

    Slope and curve are stored as those of the OBSERVED national curve, `moved` by the effects: what
    the data know is the observed curve, and only its split into trend and effect is uncertain.
    """
    slope = _prior(spec, "national_slope", shift=moved[1], rename="national_slope_observed")
    slope = pm.Deterministic("national_slope", slope - moved[1])
    curve_sd = _prior(spec, "national_curve_sd")
    curve = pm.Normal("national_curve_observed", moved[2:], curve_sd, dims="basis_national")
    curve = pm.Deterministic("national_curve", curve - moved[2:], dims="basis_national")
    season_prior = spec.priors["season"]
    season = pm.Normal(
        "season", np.float64(season_prior["mu"]), np.float64(season_prior["sigma"]), dims="harmonic"
    )
    national = (
        slope * X["time"] + pt.dot(X["national_functions"], curve) + pt.dot(X["harmonics"], season)
    )
    sites, rank = len(design.coords["site"]), len(design.coords["basis_site"])
    drift = pm.Deterministic(
        "site_drift",
        _prior(spec, "site_drift_sd") * _zero_sum("site_drift_z", "site", sites),
        dims="site",
    )
    bend = pm.Deterministic(
        "site_curve",
        _prior(spec, "site_curve_sd")
        * _zero_sum("site_curve_z", ("basis_site", "site"), rank, sites),
        dims=("basis_site", "site"),
    )
    return drift[:, None] * X["time"] + national[None, :] + pt.dot(bend.T, X["site_functions"].T)


def _likelihood(
    spec: ModelSpec, X: dict[str, Any], base: Any, effect: dict[str, Any], moved: Any
) -> Any:
    """Site level anchored at the site's observed mean, linear predictors, beta-binomial cells.

    The anchor is a shear with unit Jacobian: the prior of the site level is exact, and sites with
    no untreated data lose the ridge between their level and their effect.
    """
    event = X["event_time"].astype("float64")
    after = pt.ge(event, 0.0).astype("float64")
    months = effect["ramp_months"]
    elapsed = pt.maximum(event, 0.0)
    ramp = after * (np.float64(1.0) - pt.exp(-(elapsed + X["half_period"]) / months))
    base = base + effect["drift"] * elapsed / np.float64(12.0)
    treated = base + ramp * effect["site_effect"][:, None] + effect["go_live_step"] * after
    anchor = (X["site_weight"] * treated).sum(axis=1)
    level_sd = _prior(spec, "site_level_sd")
    typical = _prior(spec, "baseline_level", shift=moved[0], rename="baseline_level_observed")
    typical = pm.Deterministic("baseline_level", typical - moved[0])
    level = pm.Normal("site_level_observed", typical + anchor, level_sd, dims="site")
    level = pm.Deterministic("site_level", level - anchor, dims="site")
    eta0 = pm.Deterministic("eta0", level[:, None] + base, dims=("site", "month"))
    eta1 = pm.Deterministic("eta1", level[:, None] + treated, dims=("site", "month"))
    mu = pm.Deterministic("mu", pm.math.sigmoid(eta1), dims=("site", "month"))
    phi = _prior(spec, "overdispersion")
    # 1 - sigmoid(eta) loses digits at high rates; sigmoid(-eta) does not
    pm.BetaBinomial(
        "y",
        alpha=mu * phi,
        beta=pm.math.sigmoid(-eta1) * phi,
        n=X["exposure"].astype("int64"),
        observed=X["count"].astype("int64"),
        dims=("site", "month"),
    )
    return eta0


def _channels(spec: ModelSpec, X: dict[str, Any], eta0: Any, shared: Any, covered: int) -> None:
    """Reconstructed evidence on the untreated surface, each source with a common bias."""
    common = _prior(spec, "retrospective_bias")
    spread = _prior(spec, "retrospective_bias_sd")
    dip, recovery = _prior(spec, "crisis_dip"), _prior(spec, "crisis_recovery_months")
    selection = _prior(spec, "history_selection")
    if covered:
        z = pm.Normal(
            "retrospective_site_bias_z", np.float64(0), np.float64(1), dims="retrospective_site"
        )
        bias = pm.Deterministic(
            "retrospective_site_bias", common + spread * z, dims="retrospective_site"
        )
        at = X["retrospective_at"]
        pm.Binomial(
            "y_retrospective",
            n=X["retrospective_exposure"].astype("int64"),
            logit_p=eta0[at[:, 0], at[:, 1]] + bias[at[:, 2]] + shared,
            observed=X["retrospective_count"].astype("int64"),
            dims="retrospective_row",
        )
    at = X["history_at"]
    if X["history_at"].get_value().shape[0]:
        lag = at[:, 2].astype("float64")
        pm.Binomial(
            "y_history",
            n=X["history_exposure"].astype("int64"),
            logit_p=eta0[at[:, 0], at[:, 1]]
            + dip * pt.exp(-(lag - np.float64(1.0)) / recovery)
            + selection
            + shared,
            observed=X["history_count"].astype("int64"),
            dims="history_row",
        )
    if X["national_logit"].get_value().size:
        monthly = pt.dot(X["national_share"], pm.math.sigmoid(eta0))
        rate = pt.dot(X["national_weight"], monthly)
        pm.MvNormal(
            "y_national",
            mu=pt.log(rate / (np.float64(1.0) - rate)) + shared,
            chol=X["national_chol"],
            observed=X["national_logit"],
            dims="national_row",
        )
    if X["elicited_logit"].get_value().size:
        level = pt.dot(eta0, X["elicited_month"])
        pm.MvNormal(
            "y_elicited",
            mu=pt.dot(X["elicited_weight"], level) + shared,
            chol=X["elicited_chol"],
            observed=X["elicited_logit"],
            dims="elicited_row",
        )
