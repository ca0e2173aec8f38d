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
from lndbayes.model.build_terms import linear_term, prior_of, zero_sum
from lndbayes.model.design import Design, build_design
from lndbayes.spec.linear import Enters, entering
from lndbayes.spec.model_spec import ModelSpec

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
        base = _untreated_surface(spec, X, design)
        eta0, spread = _likelihood(spec, X, base, effect, design)
        covered = len(design.coords["retrospective_site"])
        _channels(spec, X, eta0, effect["shared_bias"], spread, covered)
    return model


def _inverse(link: str, eta: Any) -> tuple[Any, Any]:
    """Natural scale and, for shares, its complement to full precision."""
    if link == "logit":
        return pm.math.sigmoid(eta), pm.math.sigmoid(-eta)
    if link == "log":
        return pt.exp(eta), None
    hazard = pt.exp(eta)
    return -pt.expm1(-hazard), pt.exp(-hazard)


def _forward(link: str, rate: Any) -> Any:
    if link == "logit":
        return pt.log(rate / (np.float64(1.0) - rate))
    if link == "log":
        return pt.log(rate)
    return pt.log(-pt.log1p(-rate))


def _log_beta_binomial(y: Any, n: Any, p: Any, q: Any, phi: Any) -> Any:
    choose = pt.gammaln(n + 1) - pt.gammaln(y + 1) - pt.gammaln(n - y + 1)
    value = pt.gammaln(p * phi + y) - pt.gammaln(p * phi)
    value += pt.gammaln(q * phi + n - y) - pt.gammaln(q * phi)
    return value - pt.gammaln(phi + n) + pt.gammaln(phi) + choose


def _log_negative_binomial(y: Any, mean: Any, size: Any) -> Any:
    value = pt.gammaln(size + y) - pt.gammaln(size) - pt.gammaln(y + 1)
    shrink = pt.log1p(mean / size)
    return value + y * (pt.log(mean) - pt.log(size) - shrink) - size * shrink


def _effect(spec: ModelSpec, X: dict[str, Any], design: Design) -> dict[str, Any]:
    """Site effects: mean, mix measured with error, and the linear terms, the deviation the last."""
    mean, sd_mix = prior_of(spec, "effect_mean"), prior_of(spec, "mix_effect_sd")
    concentration = prior_of(spec, "mix_concentration")
    kinds = len(design.coords["intervention"])
    site_effect = mean
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
            sd_mix * zero_sum("mix_effect_z", "intervention", kinds),
            dims="intervention",
        )
        site_effect = site_effect + pt.dot(share - X["mix_centre"], mix_effect)
    for block in entering(Enters.SITE_EFFECT):
        site_effect = site_effect + linear_term(spec, X, block, design)
    site_effect = pm.Deterministic("site_effect", site_effect, dims="site")
    fixed = {
        name: pm.Deterministic(
            name, X[f"{name}_sd"] * pm.Normal(f"{name}_z", np.float64(0), np.float64(1))
        )
        for name in ("shared_bias", "pulse")
    }
    pulsing = spec.effect.pulse_sd > 0
    return {
        "pulse_months": prior_of(spec, "pulse_months") if pulsing else None,
        "effect_mean": mean,
        "site_effect": site_effect,
        "ramp_months": prior_of(spec, "ramp_months"),
        **fixed,
    }


def _untreated_surface(spec: ModelSpec, X: dict[str, Any], design: Design) -> Any:
    """Trends, curves, season, seams of the nation and of sites; no site level yet."""
    surface = pt.zeros(X["event_time"].shape)
    for block in entering(Enters.UNTREATED):
        surface = surface + linear_term(spec, X, block, design)
    return surface


def _likelihood(
    spec: ModelSpec,
    X: dict[str, Any],
    base: Any,
    effect: dict[str, Any],
    design: Design,
) -> tuple[Any, dict[str, Any]]:
    """Site level anchored at the site's observed mean, linear predictors, cells.

    The anchor has unit Jacobian: the prior of the site level is exact, and sites with
    no untreated data lose the ridge between their level and their effect.
    """
    event = X["event_time"].astype("float64")
    after = pt.ge(event, 0.0).astype("float64")
    elapsed = pt.maximum(event, 0.0)
    since = elapsed + X["half_period"]
    ramp = after * (np.float64(1.0) - pt.exp(-since / effect["ramp_months"]))
    treated = base + ramp * effect["site_effect"][:, None]
    for block in entering(Enters.RECORDS):
        treated = treated + linear_term(spec, X, block, design)
    if effect["pulse_months"] is not None:
        u = since / effect["pulse_months"]
        treated = treated + effect["pulse"] * after * u * pt.exp(np.float64(1.0) - u)
    anchor = (X["site_weight"] * treated).sum(axis=1)
    level_sd = prior_of(spec, "site_level_sd")
    typical = prior_of(spec, "baseline_level")
    level = pm.Normal("site_level_observed", typical + anchor, level_sd, dims="site")
    level = pm.Deterministic("site_level", level - anchor, dims="site")
    eta0 = pm.Deterministic("eta0", level[:, None] + base, dims=("site", "month"))
    eta1 = pm.Deterministic("eta1", level[:, None] + treated, dims=("site", "month"))
    rate, rest = _inverse(spec.family.link, eta1)
    mu = pm.Deterministic("mu", rate, dims=("site", "month"))
    spread = {"phi": prior_of(spec, "concentration")}
    if spec.family.link == "log":
        spread["r"] = prior_of(spec, "person_dispersion")
    _cells(X, mu, rest, spread, design)
    if spec.family.staged:
        _stages(spec, X, eta1, ramp, spread["phi"])
    return eta0, spread


def _size(n: Any, spread: dict[str, Any]) -> Any:
    """Size of a negative binomial cell: persons differ, and so do cells."""
    one = np.float64(1.0)
    return one / (one / (n * spread["r"]) + one / spread["phi"])


def _cells(X: dict[str, Any], mu: Any, rest: Any, spread: dict[str, Any], design: Design) -> None:
    """First stage of every cell: exact counts, or the sum over the counts it can stand for."""
    low, high, n = design["count"], design["count_high"], X["exposure"]
    held = X["coverage"] * mu
    width = int((high - low).max(initial=0)) + 1
    if width == 1 and rest is not None:
        # 1 - sigmoid(eta) loses digits at high rates; sigmoid(-eta) does not
        missed = rest + (np.float64(1.0) - X["coverage"]) * mu
        pm.BetaBinomial(
            "y",
            alpha=held * spread["phi"],
            beta=missed * spread["phi"],
            n=n.astype("int64"),
            observed=X["count"].astype("int64"),
            dims=("site", "month"),
        )
        return
    used = np.nonzero(design["exposure"])

    def logp(value: Any, top: Any, *rest_of: Any) -> Any:
        terms = []
        for k in range(width):
            y = value + k
            one = (
                _log_negative_binomial(y, *rest_of)
                if rest is None
                else _log_beta_binomial(y, *rest_of)
            )
            # a large negative number, not infinity: arithmetic on infinity is not kept exact
            terms.append(pt.switch(pt.le(y, top), one, np.float64(-1e30)))
        return pt.logsumexp(pt.stack(terms), axis=0)

    if rest is None:
        arguments = [(n * held)[used], _size(n[used], spread)]
    else:
        missed = rest + (np.float64(1.0) - X["coverage"]) * mu
        arguments = [n[used], held[used], missed[used], spread["phi"]]
    pm.CustomDist(
        "y",
        X["count_high"][used],
        *arguments,
        logp=logp,
        observed=X["count"].astype("float64")[used],
    )


def _stages(spec: ModelSpec, X: dict[str, Any], eta1: Any, ramp: Any, phi: Any) -> None:
    """Later stages, each beta-binomial among those who reached the one before."""
    prior = spec.priors["stage_level"]
    mean, sd = np.float64(prior["mu"]), np.float64(prior["sigma"])
    level = pm.Normal("stage_level", mean, sd, dims="stage")
    if spec.family.free_stage_effect:
        spread = prior_of(spec, "stage_site_sd")
        z = pm.Normal("stage_site_z", np.float64(0), np.float64(1), dims="site")
        own = pm.Deterministic("stage_site", spread * z, dims="site")
        f = own[:, None] + prior_of(spec, "stage_effect") * ramp
    else:
        f = eta1
    p, q = _inverse(spec.family.link, f[:, :, None] + level)
    pm.BetaBinomial(
        "y_stage",
        alpha=p * phi,
        beta=q * phi,
        n=X["stage_exposure"].astype("int64"),
        observed=X["stage_count"].astype("int64"),
        dims=("site", "month", "stage"),
    )


def _counted(
    spec: ModelSpec, X: dict[str, Any], channel: str, eta: Any, spread: dict[str, Any]
) -> None:
    """Rows of a counted channel: binomial, or for counts the law of the cells."""
    n, y = X[f"{channel}_exposure"], X[f"{channel}_count"].astype("int64")
    dims, link = f"{channel}_row", spec.family.link
    if link == "log":
        # a channel that is off has exposure 0, where the law is certain and its parameters are not
        used = pt.gt(n, 0.0)
        size = _size(pt.switch(used, n, 1.0), spread)
        mean = pt.switch(used, n, np.float64(1.0)) * pt.exp(eta)
        pm.CustomDist(
            f"y_{channel}",
            mean,
            size,
            used,
            logp=lambda value, mean, size, used: pt.switch(
                used, _log_negative_binomial(value, mean, size), np.float64(0.0)
            ),
            observed=X[f"{channel}_count"],
            dims=dims,
        )
    elif link == "logit":
        pm.Binomial(f"y_{channel}", n=n.astype("int64"), logit_p=eta, observed=y, dims=dims)
    else:
        p, _ = _inverse(link, eta)
        pm.Binomial(f"y_{channel}", n=n.astype("int64"), p=p, observed=y, dims=dims)


def _channels(
    spec: ModelSpec, X: dict[str, Any], eta0: Any, shared: Any, spread: dict[str, Any], covered: int
) -> None:
    """Reconstructed evidence on the untreated surface, each source with a common bias."""
    common = prior_of(spec, "retrospective_bias")
    bias_sd = prior_of(spec, "retrospective_bias_sd")
    dip, recovery = prior_of(spec, "crisis_dip"), prior_of(spec, "crisis_recovery_months")
    selection = prior_of(spec, "history_selection")
    if covered:
        z = pm.Normal(
            "retrospective_site_bias_z", np.float64(0), np.float64(1), dims="retrospective_site"
        )
        bias = pm.Deterministic(
            "retrospective_site_bias", common + bias_sd * z, dims="retrospective_site"
        )
        at = X["retrospective_at"]
        predictor = eta0[at[:, 0], at[:, 1]] + bias[at[:, 2]] + shared
        _counted(spec, X, "retrospective", predictor, spread)
    at = X["history_at"]
    if X["history_at"].get_value().shape[0]:
        lag = at[:, 2].astype("float64")
        crisis = dip * pt.exp(-(lag - np.float64(1.0)) / recovery)
        predictor = eta0[at[:, 0], at[:, 1]] + crisis + selection + shared
        _counted(spec, X, "history", predictor, spread)
    if X["national_logit"].get_value().size:
        monthly = pt.dot(X["national_share"], _inverse(spec.family.link, eta0)[0])
        rate = pt.dot(X["national_weight"], monthly)
        _biased(spec, X, "national", _forward(spec.family.link, rate) + shared)
    if X["elicited_logit"].get_value().size:
        level = pt.dot(eta0, X["elicited_month"])
        _biased(spec, X, "elicited", pt.dot(X["elicited_weight"], level) + shared)


def _biased(spec: ModelSpec, X: dict[str, Any], channel: str, mean: Any) -> None:
    """Rows with a common bias integrated out: normal, or now and then an outlying one."""
    given = {"observed": X[f"{channel}_logit"], "dims": f"{channel}_row"}
    usual = X[f"{channel}_chol"]
    if not spec.baseline.contamination:
        pm.MvNormal(f"y_{channel}", mu=mean, chol=usual, **given)
        return
    outlying, share = X[f"{channel}_chol_outlying"], X["contamination"]
    parts = [pm.MvNormal.dist(mu=mean, chol=chol) for chol in (usual, outlying)]
    pm.Mixture(f"y_{channel}", w=pt.stack([1 - share, share]), comp_dists=parts, **given)
