"""The custody model as its text reads, in plain PyMC: what a user would write without our tricks.

The shipped spec's model without its later stages, bands of sentence length, on the same numbers:
docs/peers.md says what that moves. Nothing of `lndbayes` is imported, so that it runs in any
environment with PyMC. Deviations are non-centred, as handbooks advise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt


def build(d: dict[str, Any]) -> pm.Model:
    """Build the model from the numbers that `bench_peers.py` writes out."""
    S, M, W = len(d["mix_count"]), len(d["mix_centre"]), int(d["wave"].max()) + 1
    K, H = d["national"].shape[1], d["harmonics"].shape[1]
    site, month = np.nonzero(d["exposure"] > 0)
    with pm.Model() as model:
        effect_mean = pm.Normal("effect_mean", 0, 0.5)
        site_effect_sd = pm.Gamma("site_effect_sd", 2, 10)
        mix_effect_sd = pm.HalfNormal("mix_effect_sd", 0.25)
        predecessor = pm.Normal("predecessor_effect", 0, 0.2)
        ramp_months = pm.LogNormal("ramp_months", np.log(4), 0.5)
        baseline_level = pm.Normal("baseline_level", -2.0, 0.7)
        slope = pm.Normal("national_slope", 0, 0.2)
        curve_sd = pm.LogNormal("national_curve_sd", np.log(0.08), 0.5)
        season = pm.Normal("season", 0, 0.08, shape=H)
        level_sd = pm.HalfNormal("site_level_sd", 0.5)
        drift_sd = pm.Exponential("site_drift_sd", scale=0.06)
        bend_sd = pm.Exponential("site_curve_sd", scale=0.06)
        phi = pm.LogNormal("concentration", np.log(150), 0.7)
        kappa = pm.LogNormal("mix_concentration", np.log(300), 0.5)

        share = pm.Dirichlet("mix_share", np.full(M, 1.5), shape=(S, M))
        pm.DirichletMultinomial(
            "mix", n=d["mix_count"].sum(1), a=kappa * share, observed=d["mix_count"]
        )
        mix_effect = mix_effect_sd * pm.ZeroSumNormal("mix_effect_z", shape=M)
        wave = d["wave_sd"] * pm.ZeroSumNormal("wave_z", shape=W)
        deviation = site_effect_sd * pm.Normal("site_deviation_z", shape=S)
        site_effect = pm.Deterministic(
            "site_effect",
            effect_mean
            + predecessor * d["predecessor"]
            + pt.dot(share - d["mix_centre"], mix_effect)
            + wave[d["wave"]]
            + deviation,
        )
        curve = curve_sd * pm.Normal("national_curve_z", shape=K)
        national = slope * d["time"] + pt.dot(d["national"], curve) + pt.dot(d["harmonics"], season)
        drift = drift_sd * pm.ZeroSumNormal("site_drift_z", shape=S)
        bend = bend_sd * pm.ZeroSumNormal("site_curve_z", shape=(d["local"].shape[1], S))
        level = baseline_level + level_sd * pm.Normal("site_level_z", shape=S)
        eta0 = (
            level[:, None]
            + national[None, :]
            + drift[:, None] * d["time"]
            + pt.dot(bend.T, d["local"].T)
        )
        event = d["event"]
        elapsed = np.maximum(event, 0) + 0.5
        ramp = (event >= 0) * (1 - pt.exp(-elapsed / ramp_months))
        mu = pm.math.sigmoid(eta0 + ramp * site_effect[:, None])[site, month]
        pm.BetaBinomial(
            "y",
            alpha=mu * phi,
            beta=(1 - mu) * phi,
            n=d["exposure"][site, month],
            observed=d["count"][site, month],
        )
        _channels(d, eta0)
        window = [(event[s] >= d["window"][0]) & (event[s] <= d["window"][1]) for s in range(S)]
        treated = [s for s in range(S) if window[s].any()]
        effects = pt.stack([ramp[s][window[s]].mean() * site_effect[s] for s in treated])
        pm.Deterministic("window_effect", effects)
        pm.Deterministic("pooled", effects.mean())
    return model


def _channels(d: dict[str, Any], eta0: Any) -> None:
    common = pm.Normal("retrospective_bias", 0, 0.15)
    spread = pm.HalfNormal("retrospective_bias_sd", 0.15)
    at = d["retrospective_at"]
    bias = common + spread * pm.Normal("retrospective_z", shape=int(at[:, 2].max()) + 1)
    pm.Binomial(
        "y_retrospective",
        n=d["retrospective_exposure"],
        logit_p=eta0[at[:, 0], at[:, 1]] + bias[at[:, 2]],
        observed=d["retrospective_count"],
    )
    dip = pm.HalfNormal("crisis_dip", 0.8)
    recovery = pm.LogNormal("crisis_recovery_months", np.log(12), 0.4)
    selection = pm.Normal("history_selection", 0, 0.25)
    at = d["history_at"]
    pm.Binomial(
        "y_history",
        n=d["history_exposure"],
        logit_p=eta0[at[:, 0], at[:, 1]] + dip * pt.exp(-(at[:, 2] - 1.0) / recovery) + selection,
        observed=d["history_count"],
    )
    rate = pt.dot(d["national_weight"], pt.dot(d["national_share"], pm.math.sigmoid(eta0)))
    pm.MvNormal(
        "y_national", mu=pm.math.logit(rate), chol=d["national_chol"], observed=d["national_logit"]
    )
    level = pt.dot(d["elicited_weight"], pt.dot(eta0, d["elicited_month"]))
    pm.MvNormal("y_elicited", mu=level, chol=d["elicited_chol"], observed=d["elicited_logit"])
