"""The custody model a second time, from the tables and in SciPy alone: no anchors, no vector.

It follows the model's statement (docs/synthetic.md has the same law) and shares nothing with the
fitting code but the spec: not the design, the bases, the transforms or the special functions. Only
`idle_log_density` knows the vector, for the scalars in it that this model does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

from lndbayes.data.evaluation import EvaluationData
from lndbayes.model.layout import SCALARS
from lndbayes.spec.model_spec import ModelSpec
from lndbayes.synthetic import rw2_basis  # the simulator's own, by singular values

Theta = Mapping[str, np.ndarray]

STEP = {"month": 1, "quarter": 3, "year": 12}

#: Scalars of the parameter vector that this model has no use for: those of other families and of
#: the passing pulse.
IDLE = ("pulse", "pulse_months", "person_dispersion", "stage_site_sd", "stage_effect")

POSITIVE_SLOTS = (
    "national_curve_sd",
    "site_level_sd",
    "site_drift_sd",
    "site_curve_sd",
    "mix_effect_sd",
    "site_effect_sd",
    "ramp_months",
    "concentration",
    "mix_concentration",
    "retrospective_bias_sd",
    "crisis_dip",
    "crisis_recovery_months",
)
REAL_SLOTS = (
    "effect_mean",
    "baseline_level",
    "national_slope",
    "predecessor_effect",
    "retrospective_bias",
    "history_selection",
)


def scipy_prior(name: str, p: Mapping[str, float]) -> Any:
    return {
        "Normal": lambda: stats.norm(p["mu"], p["sigma"]),
        "StudentT": lambda: stats.t(df=p["nu"], loc=p["mu"], scale=p["sigma"]),
        "HalfNormal": lambda: stats.halfnorm(scale=p["sigma"]),
        "Exponential": lambda: stats.expon(scale=p["scale"]),
        "Gamma": lambda: stats.gamma(p["alpha"], scale=1 / p["beta"]),
        "LogNormal": lambda: stats.lognorm(s=p["sigma"], scale=np.exp(p["mu"])),
    }[name]()


def zero_sum(z: np.ndarray) -> float:
    """Standard normal density on the hyperplane of vectors that sum to zero, last axis."""
    assert np.abs(z.sum(axis=-1)).max() < 1e-9
    free = z.size - z.size // z.shape[-1]
    return float(-0.5 * (z**2).sum() - 0.5 * free * np.log(2 * np.pi))


def idle_log_density(x: np.ndarray) -> float:
    """Log density of the idle scalars of a point of the vector, each standard normal there.

    They touch nothing else: the compiled density less this is the model's own.
    """
    index = [SCALARS.index(name) for name in IDLE]
    return float(stats.norm().logpdf(np.asarray(x)[index]).sum())


class ByHand:
    """One outcome's joint log density by term, at given values of its parameters."""

    def __init__(self, spec: ModelSpec, data: EvaluationData, theta: Theta) -> None:
        self.spec, self.data, self.theta = spec, data, theta
        self.step = STEP[data.period]
        self.sites = data.ds["site"].values.tolist()
        self.kinds = data.ds.sizes["intervention"]
        self.periods = data.ds.sizes["month"]
        # what begins after the last month is as what never begins
        begins = np.where(data.ds["go_live"] < self.periods, data.ds["go_live"], np.nan)
        self.go_live = dict(zip(self.sites, begins.tolist(), strict=True))
        live = [g for g in self.go_live.values() if not np.isnan(g)]
        self.first_go_live = int(min(live)) if live else self.periods
        self.eta0 = {s: self.untreated(i, s) for i, s in enumerate(self.sites)}
        self.plateau = {s: self.site_plateau(i, s) for i, s in enumerate(self.sites)}

    def event_month(self, site: str, period: int) -> float:
        """Months since go-live; minus infinity at a site that never goes live."""
        go_live = self.go_live[site]
        return -np.inf if np.isnan(go_live) else (period - go_live) * self.step

    def untreated(self, s: int, site: str) -> np.ndarray:
        th, periods = self.theta, np.arange(self.periods)
        time = (periods - (self.periods - 1) / 2) * self.step / 24
        national = rw2_basis(self.periods, len(th["national_curve"]))
        own = rw2_basis(self.periods, len(th["site_curve"]), self.spec.baseline.site_curve_order)
        # every path of a random walk of unit steps, less its mean, by its principal directions
        paths = np.cumsum(np.eye(self.periods)[:, 1:], axis=0) * np.sqrt(self.step)
        directions, sizes, _ = np.linalg.svd(paths - paths.mean(axis=0), full_matrices=False)
        steps = th.get("national_walk", np.zeros(0))
        walk = (directions * np.sign(directions[0]) * sizes)[:, : len(steps)]
        # not there where it is switched off
        adoption = th.get("level_adoption", 0.0) + th.get("drift_adoption", 0.0) * time
        angle = 2 * np.pi * periods * self.step / 12
        waves = [np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
        after = np.array([max(self.event_month(site, t), 0) for t in periods])
        return (
            th["site_level"][s]
            + th["site_drift"][s] * time
            + own @ th["site_curve"][:, s]
            + th["national_slope"] * time
            + national @ th["national_curve"]
            + walk @ steps
            + self.earliness(site) * adoption
            + sum(c * w for c, w in zip(th["season"], waves, strict=False))
            + th["drift"] * after / 12
        )

    def earliness(self, site: str) -> float:
        """Sds by which a site goes live before the mean; 0 at one that never does."""
        live = np.array([g for g in self.go_live.values() if not np.isnan(g)])
        own = self.go_live[site]
        return 0.0 if np.isnan(own) or np.ptp(live) == 0 else (live.mean() - own) / live.std()

    def site_plateau(self, s: int, site: str) -> float:
        th, ds = self.theta, self.data.ds
        before = ds["predecessor"].values
        known = before[~np.isnan(before)]
        value = th["effect_mean"] + th["site_deviation"][s]
        if not np.isnan(before[s]):
            value = value + th["predecessor_effect"] * (before[s] - known.mean())
        wave, live = ds["wave"].values, ~np.isnan(list(self.go_live.values()))
        waves = sorted(set(wave[live].tolist()))
        if live[s]:
            value = value + th["wave_effect"][waves.index(int(wave[s]))]
        if self.kinds > 1:
            contacts = np.nan_to_num(ds["mix"].values)
            pooled = contacts.sum(axis=0) / contacts.sum()
            value = value + (th["mix_share"][s] - pooled) @ th["mix_effect"]
        return float(value)

    def treated(self, site: str, period: int) -> float:
        e, value = self.event_month(site, period), self.eta0[site][period]
        if e < 0:
            return float(value)
        built = 1 - np.exp(-(e + self.step / 2) / self.theta["ramp_months"])
        return float(value + built * self.plateau[site] + self.theta["go_live_step"])

    def rows(self, channel: str) -> pd.DataFrame:
        return self.data.evidence[channel]

    def priors(self) -> dict[str, float]:
        spec, th = self.spec, self.theta
        found = {}
        for name in (*REAL_SLOTS, *POSITIVE_SLOTS):
            prior = spec.priors[name]
            found[name] = scipy_prior(prior.dist, dict(prior.parameters)).logpdf(th[name])
        season = spec.priors["season"]
        found["season"] = stats.norm(season["mu"], season["sigma"]).logpdf(th["season"]).sum()
        curve = stats.norm(0, th["national_curve_sd"]).logpdf(th["national_curve"])
        found["national_curve"] = curve.sum()
        if "national_walk" in th:
            scale = spec.priors["national_walk_sd"]
            law = scipy_prior(scale.dist, dict(scale.parameters))
            found["national_walk_sd"] = law.logpdf(th["national_walk_sd"])
            walk = stats.norm().logpdf(th["national_walk"] / th["national_walk_sd"])
            found["national_walk"] = walk.sum()
        for name in {"level_adoption", "drift_adoption"} & set(th):
            scale = getattr(spec.baseline, f"{name}_sd")
            found[name] = stats.norm().logpdf(th[name] / scale)
        found["site_drift"] = zero_sum(th["site_drift"] / th["site_drift_sd"])
        found["site_curve"] = zero_sum(th["site_curve"] / th["site_curve_sd"])
        deviation = th["site_deviation"] / th["site_effect_sd"]
        found["site_deviation"] = stats.norm().logpdf(deviation).sum()
        if len(th["wave_effect"]) > 1:
            found["wave_effect"] = zero_sum(th["wave_effect"] / spec.sensitivity.wave_sd)
        for name in ("shared_bias", "drift", "go_live_step"):
            scale = getattr(spec.sensitivity, f"{name}_sd")
            found[name] = stats.norm().logpdf(th[name] / scale)
        level = stats.norm(th["baseline_level"], th["site_level_sd"])
        found["site_level"] = level.logpdf(th["site_level"]).sum()
        bias = th["retrospective_site_bias"] - th["retrospective_bias"]
        found["retrospective_site_bias"] = (
            stats.norm().logpdf(bias / th["retrospective_bias_sd"]).sum()
        )
        if self.kinds > 1:
            found["mix_effect"] = zero_sum(th["mix_effect"] / th["mix_effect_sd"])
            law = stats.dirichlet(np.full(self.kinds, spec.priors["mix_share"]["concentration"]))
            found["mix_share"] = sum(law.logpdf(share) for share in th["mix_share"])
        return {name: float(value) for name, value in found.items()}

    def jacobians(self) -> float:
        """Of the logarithms and of the shares; zero-sum coordinates are isometric."""
        further = [name for name in ("national_walk_sd",) if name in self.theta]
        value = sum(np.log(self.theta[name]) for name in (*POSITIVE_SLOTS, *further))
        if self.kinds > 1:
            share = self.theta["mix_share"]
            value = value + np.log(share).sum() + len(share) * np.log(self.kinds)
        return float(value)

    def panel(self) -> float:
        effect, value = self.spec.effect, 0.0
        first, last = effect.transition
        for row in self.data.outcomes.itertuples():
            e = self.event_month(row.site, row.month_index)
            hidden = first <= e <= last or 0 <= e < effect.hide_first_months
            if hidden or (e <= last and not self.spec.baseline.channels.not_yet_treated):
                continue
            rate = expit(self.treated(row.site, row.month_index))
            phi = self.theta["concentration"]
            beta = rate * phi, (1 - rate) * phi
            value += stats.betabinom.logpmf(int(row.count), int(row.exposure), *beta)
        return value

    def mix(self) -> float:
        value = 0.0
        for s, contacts in enumerate(np.nan_to_num(self.data.ds["mix"].values)):
            if contacts.sum() > 0:
                alpha = self.theta["mix_concentration"] * self.theta["mix_share"][s]
                total = int(contacts.sum())
                value += stats.dirichlet_multinomial(alpha, total).logpmf(contacts.astype(int))
        return value

    def retrospective(self) -> float:
        rows, value = self.rows("retrospective"), 0.0
        covered = [site for site in self.sites if site in set(rows["site"])]
        for row in rows.itertuples():
            eta = self.eta0[row.site][row.month_index] + self.theta["shared_bias"]
            eta += self.theta["retrospective_site_bias"][covered.index(row.site)]
            value += stats.binom.logpmf(int(row.count), int(row.exposure), expit(eta))
        return value

    def history(self) -> float:
        value, th = 0.0, self.theta
        for row in self.rows("history").itertuples():
            months_before = -row.months_from_referral
            crisis = th["crisis_dip"] * np.exp(-(months_before - 1) / th["crisis_recovery_months"])
            eta = self.eta0[row.site][row.month_index] + crisis
            eta += th["history_selection"] + th["shared_bias"]
            value += stats.binom.logpmf(int(row.count), int(row.persons), expit(eta))
        return value

    def national(self) -> float:
        population = self.data.ds["population"].values
        share = population / population.sum()
        found, mean, variance = [], [], []
        for row in self.rows("national").itertuples():
            length = row.months // self.step
            if row.month_index + length > self.first_go_live:
                continue
            months = range(row.month_index, row.month_index + length)
            rates = [
                sum(w * expit(self.eta0[s][t]) for w, s in zip(share, self.sites, strict=True))
                for t in months
            ]
            mean.append(logit(np.mean(rates)) + self.theta["shared_bias"])
            found.append(logit(row.rate))
            variance.append((row.se / (row.rate * (1 - row.rate))) ** 2)
        return self.correlated(found, mean, variance, self.spec.baseline.national_offset_sd)

    def elicited(self) -> float:
        last = self.first_go_live
        year = slice(max(last - 12 // self.step, 0), last)
        level = {site: eta[year].mean() for site, eta in self.eta0.items()}
        found, mean, variance = [], [], []
        for row in self.rows("elicited").itertuples():
            middle = level[row.site] if row.site else np.mean(list(level.values()))
            mean.append(middle + self.theta["shared_bias"])
            found.append(logit(row.q50))
            width = logit(row.q95) - logit(row.q05)
            variance.append((width / (2 * stats.norm.ppf(0.95))) ** 2)
        return self.correlated(found, mean, variance, self.spec.baseline.elicited_bias_sd)

    def correlated(
        self, found: list[float], mean: list[float], variance: list[float], common: float
    ) -> float:
        """Normal rows that share an error of sd `common`."""
        if not found:
            return 0.0
        share, ratio = self.spec.baseline.contamination, self.spec.baseline.contamination_ratio
        usual, outlying = (
            stats.multivariate_normal(mean, np.diag(variance) + sd**2).logpdf(found)
            for sd in (common, common * ratio)
        )
        if not share:
            return float(usual)
        return float(np.logaddexp(np.log(1 - share) + usual, np.log(share) + outlying))

    def likelihoods(self) -> dict[str, float]:
        """All of them; for specs whose channels are all on."""
        found = {"y": self.panel()}
        if self.kinds > 1:
            found["mix"] = self.mix()
        for name in ("retrospective", "history", "national", "elicited"):
            found[f"y_{name}"] = getattr(self, name)()
        return found

    def total(self) -> float:
        return sum(self.priors().values()) + self.jacobians() + sum(self.likelihoods().values())
