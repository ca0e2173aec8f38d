"""A realistic run directory from a seeded generator: no model, no fit, the contract's files.

Summaries are written from draws made here with NumPy alone, so that a test can hold a printed
number against an independent calculation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.files.storage import write_netcdf

MONTHS = [str(m) for m in pd.period_range("2011-04", "2019-03", freq="M")]
INTERVENTIONS = ["advice", "brief_intervention", "primary_care", "mental_health", "drug_alcohol"]
CHAINS, DRAWS = 4, 100
WORLDS = {"effect": -0.34, "null": -0.01, "harm": 0.36, "prior": -0.10}
VARIANTS = {
    "base": "as fitted, all sources of evidence on",
    "no_not_yet_treated": "Without sites not yet treated",
    "no_retrospective": "Without retrospective records",
    "no_national": "Without the national series",
    "no_history": "Without persons' own history",
    "no_elicited": "Without expert judgement",
    "panel_only": "Sites' own series only: all reconstructed evidence off",
    "ramp_hidden": "First 15 months after go-live hidden",
    "all_off": "All evidence off, build-up visible",
    "all_off_ramp_hidden": "All evidence off and first 15 months hidden",
    "bias_on": "Shared bias allowed for (sd 0.15)",
}

Label = Callable[[int], str]


def _site_name(i: int) -> str:
    return f"S{i + 1:02d}"


def _expit(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def _summary(draws: np.ndarray) -> dict[str, float]:
    lower, median, upper = np.quantile(draws, [0.05, 0.5, 0.95])
    return {
        "mean": float(draws.mean()),
        "sd": float(draws.std(ddof=1)),
        "lower": float(lower),
        "median": float(median),
        "upper": float(upper),
        "ci_prob": 0.9,
    }


def _row(draws: np.ndarray, **keys: object) -> dict[str, object]:
    mcse = float(draws.std(ddof=1) / np.sqrt(draws.size))
    below = float((draws < 0).mean())
    return {**keys, **_summary(draws), "p_below_zero": below, "mcse": mcse}


def _tiers(n: int) -> list[str]:
    pattern = {0: "D", 1: "D", 2: "C", 3: "C", 4: "C", 5: "C", 6: "B", 7: "B"}
    return [pattern.get(i, "A" if i < 23 else "B") for i in range(n)]


class _World:
    """Draws and panel of one outcome, shared by the writers below."""

    def __init__(self, seed: int, n: int, world: str, label: Label) -> None:
        rng = np.random.default_rng(seed)
        self.rng, self.n = rng, n
        self.sites = [label(i) for i in range(n)]
        self.tiers = _tiers(n)
        self.go_live = np.array([36.0 if i < 10 else 48.0 if i < 23 else 66.0 for i in range(n)])
        size = (CHAINS * DRAWS,)
        pooled_sd = 0.47 if world == "prior" else 0.065
        self.pooled = rng.normal(WORLDS[world], pooled_sd, size)
        spread = {"A": 0.07, "B": 0.10, "C": 0.16, "D": 0.25}
        truth = rng.normal(0, 0.12, n)
        self.site = np.stack(
            [self.pooled + truth[s] + rng.normal(0, spread[self.tiers[s]], size) for s in range(n)]
        )
        t = np.arange(len(MONTHS))
        national = 0.12 * np.sin(t / 17.0) - 0.002 * t + 0.05 * np.sin(2 * np.pi * t / 12)
        level = rng.normal(-2.0, 0.3, n)
        self.eta0 = level[:, None] + national[None] + rng.normal(0, 0.03, (n, 1)) * (t - 48) / 24
        self.eta0_sd = np.array([spread[x] for x in self.tiers])[:, None] * np.where(
            t[None] < self.go_live[:, None], 0.9, 0.6
        )
        size_n = rng.lognormal(np.log(45), 0.6, n)
        self.exposure = np.maximum(rng.poisson(size_n[:, None], (n, len(t))), 3).astype(float)
        ramp = np.where(t >= self.go_live[:, None], 1 - np.exp(-(t - self.go_live[:, None]) / 4), 0)
        rate = _expit(self.eta0 + ramp * np.median(self.site, axis=1)[:, None])
        self.observed = rng.binomial(self.exposure.astype(int), rate) / self.exposure
        for s, tier in enumerate(self.tiers):
            start = int(self.go_live[s]) - {"A": 30, "B": 6}.get(tier, 0)
            self.observed[s, :start] = np.nan
            self.exposure[s, :start] = np.nan


LOG_UNITS = {"logit": "log odds", "log": "log rate", "cloglog": "log hazard"}
RATIOS = {"logit": "odds ratio", "log": "rate ratio", "cloglog": "hazard ratio"}


def _effects(outcome: str, w: _World, link: str = "logit") -> pd.DataFrame:
    keys = {"outcome": outcome, "window": "7-18", "site": "", "intervention": ""}
    rows: list[dict[str, object]] = []
    base = _expit(w.eta0[:, 60])

    def both(name: str, draws: np.ndarray, **more: object) -> None:
        at = {**keys, "estimand": name, "identified": "", **more}
        rows.append(_row(draws, scale="link", unit=LOG_UNITS[link], **at))
        pp = 100 * (_expit(np.log(base.mean() / (1 - base.mean())) + draws) - base.mean())
        unit = "per 100 person-months" if link == "log" else "percentage points"
        rows.append(_row(pp, scale="natural", unit=unit, **at))

    rng, shape = w.rng, w.pooled.shape
    leverage = {"leverage_level_bias": 0.09, "leverage_drift": -0.55}
    both("pooled", w.pooled, **leverage)
    both("pooled_referral_weighted", w.pooled + rng.normal(0.01, 0.01, shape))
    both("pooled_superpopulation", w.pooled + rng.normal(0, 0.025, shape))
    both("new_site", w.pooled + rng.normal(0, 0.13, shape))
    both("plateau", 1.12 * w.pooled + rng.normal(0, 0.02, shape))
    for s, site in enumerate(w.sites):
        lev = {"leverage_level_bias": {"A": 0.05, "B": 0.2}.get(w.tiers[s], 0.8)}
        both("site", w.site[s], site=site, identified=w.tiers[s], leverage_drift=-0.4, **lev)
    component = w.pooled + rng.normal(0, 0.25, (len(INTERVENTIONS), *shape))
    mixed = {"scale": "link", "unit": f"{LOG_UNITS[link]} per 10 percentage points"}
    mixed |= {"identified": ""}
    for i, name in enumerate(INTERVENTIONS):
        more = 0.1 * (component[i] - component.mean(0))
        rows.append(_row(more, **{**keys, **mixed, "intervention": name}, estimand="intervention"))
    for i, a in enumerate(INTERVENTIONS):
        for j, b in enumerate(INTERVENTIONS[i + 1 :], start=i + 1):
            moved = 0.1 * (component[j] - component[i])
            at = {**keys, **mixed, "intervention": f"{a} -> {b}", "estimand": "substitution"}
            rows.append(_row(moved, **at))
    months = np.nansum(w.exposure * (np.arange(len(MONTHS)) >= w.go_live[:, None]), axis=1)
    events = (months * base)[:, None] - months[:, None] * _expit(
        np.log(base / (1 - base))[:, None] + w.site
    )
    natural = {"scale": "natural", "unit": "sentences", "estimand": "events_averted"}
    natural |= {"window": "observed months"}
    rows.append(_row(events.sum(0), **{**keys, **natural, "identified": ""}))
    for s, site in enumerate(w.sites):
        at = {**keys, **natural, "site": site, "identified": w.tiers[s]}
        rows.append(_row(events[s], **at))
    frame = pd.DataFrame(rows).assign(note="")
    frame.loc[frame["estimand"] == "pooled", "note"] = "each site counting alike"
    numbers = ["mean", "sd", "lower", "median", "upper", "p_below_zero", "mcse"]
    frame.loc[(frame["identified"] == "D") & (frame["site"] != ""), numbers] = np.nan
    return frame


def _baseline(outcome: str, w: _World) -> pd.DataFrame:
    s, t = np.meshgrid(np.arange(w.n), np.arange(len(MONTHS)), indexing="ij")
    columns = {
        "outcome": outcome,
        "site": np.array(w.sites, dtype=object)[s.ravel()],
        "month": np.array(MONTHS, dtype=object)[t.ravel()],
        "mean": _expit(w.eta0).ravel(),
        "lower": _expit(w.eta0 - 1.645 * w.eta0_sd).ravel(),
        "upper": _expit(w.eta0 + 1.645 * w.eta0_sd).ravel(),
        "observed": w.observed.ravel(),
    }
    return pd.DataFrame(columns)


def _sensitivity(outcome: str, w: _World) -> pd.DataFrame:
    centre, sd = float(w.pooled.mean()), float(w.pooled.std(ddof=1))
    width = {
        "ramp_hidden": 2.6,
        "all_off": 0.12 / sd,
        "all_off_ramp_hidden": 0.44 / sd,
        "panel_only": 1.15,
    }
    rows = []
    for i, (variant, label) in enumerate(VARIANTS.items()):
        s = sd * width.get(variant, 1.0 + 0.02 * i)
        m = centre * (1 if variant == "base" else 1 - 0.03 * i)
        row = {"outcome": outcome, "variant": variant, "label": label, "mean": m, "sd": s}
        row |= {"lower": m - 1.645 * s, "median": m, "upper": m + 1.645 * s, "ci_prob": 0.9}
        rows.append({**row, "prior_sd": 0.5, "sd_ratio": s / 0.5, "note": ""})
    return pd.DataFrame(rows)


def _ledger(outcome: str, w: _World) -> pd.DataFrame:
    channels = ["not_yet_treated", "retrospective", "national", "history", "elicited"]
    rows = []
    for s, site in enumerate(w.sites):
        share = w.rng.dirichlet(np.ones(len(channels)))
        for channel, value in zip(channels, share, strict=True):
            row = {"outcome": outcome, "site": site, "tier": w.tiers[s], "channel": channel}
            row |= {"contribution": value, "shift_if_removed": float(w.rng.normal(0, 0.3))}
            row |= {"prior_share": 0.2, "feedback_share": 0.4}
            rows.append({**row, "leverage_level_bias": 0.1, "leverage_drift": -0.5})
    return pd.DataFrame(rows)


def _savings(outcome: str, w: _World) -> tuple[pd.DataFrame, xr.Dataset]:
    events = np.maximum(40 - 60 * w.site, -200) - 40  # averted per site and draw
    n = w.pooled.size
    served, order = w.rng.gamma(30, 0.3 / 30, n), w.rng.gamma(20, 1_700 / 20, n)
    place = {"marginal": 6_000.0, "direct": 22_933.0, "overall": 35_371.0}
    lines = {"prison_time": True, "alternative_sentence": True, "productivity": False}
    payers = ["prison_service", "society"]
    # site, line, scenario, draw
    saving = np.empty((w.n, 3, 3, n))
    for k, cost in enumerate(place.values()):
        saving[:, 0, k], saving[:, 1, k] = events * served * cost, -events * order
        saving[:, 2, k] = events * served * 4_000
    rows: list[dict[str, object]] = []

    def add(line: str, payer: str, cashable: bool, of: str, chosen: list[int]) -> None:
        for k, scenario in enumerate(place):
            sites = saving[:, chosen, k].sum(1)
            for site, d in [*zip(w.sites, sites, strict=True), ("", sites.sum(0))]:
                row = {"level": "site" if site else "total", "site": site, "outcome": of}
                row |= {"line": line, "payer": payer, "cashable": cashable, "scenario": scenario}
                row |= _summary(d) | {"p_positive": float((d > 0).mean())}
                rows.append({**row, "mcse": d.std() / np.sqrt(n), "price_year": "2016/17"})

    owner = [payers[0], payers[0], payers[1]]
    for i, (line, cashable) in enumerate(lines.items()):
        add(line, owner[i], cashable, outcome, [i])
    for of in (outcome, "all"):
        add("all", payers[0], True, of, [0, 1])
        add("all", payers[1], False, of, [2])
        add("all", "all", False, of, [0, 1, 2])
        add("all cashable", "all", True, of, [0, 1])
    dense = np.zeros((CHAINS, DRAWS, w.n, 1, 2, 3, 3))
    for i in range(3):
        cell = saving[:, i].reshape(w.n, 3, CHAINS, DRAWS).transpose(2, 3, 0, 1)
        dense[:, :, :, 0, payers.index(owner[i]), i] = cell
    shape = (CHAINS, DRAWS)
    dims = ("chain", "draw", "site", "outcome", "payer", "line", "scenario")
    averted = events.T.reshape(*shape, w.n, 1)
    ds = xr.Dataset(
        {
            "saving": (dims, dense),
            "averted": (dims[:4], averted),
            "factor_years_served": (dims[:2], served.reshape(shape)),
            "factor_order_cost": (dims[:2], order.reshape(shape)),
        },
        coords={
            "chain": range(CHAINS),
            "draw": range(DRAWS),
            "site": w.sites,
            "outcome": [outcome],
            "payer": payers,
            "line": list(lines),
            "scenario": list(place),
            "cashable": ("line", list(lines.values())),
            "line_label": ("line", ["Prison time", "Alternative sentence", "Productivity"]),
            "line_outcome": ("line", [outcome] * 3),
            "line_payer": ("line", owner),
            "line_quantity": ("line", ["averted"] * 3),
            "line_factors": ("line", ['["years_served"]', '["order_cost"]', '["years_served"]']),
            "payer_label": ("payer", ["HM Prison and Probation Service", "Society"]),
            "scenario_label": ("scenario", ["Marginal cost", "Direct cost", "Overall cost"]),
        },
        attrs={
            "price_year": "2016/17",
            "headline_scenario": "direct",
            "comparison_label": "Published range",
            "comparison_low": 13.1e6,
            "comparison_high": 41.5e6,
            "comparison_source": "RAND Europe, report RR-A1271-1, 2021",
            "comparison_note": "Cohort and price year are not stated.",
            "costs_hash": "f" * 64,
        },
    )
    return pd.DataFrame(rows), ds


def _fit(outcome: str, w: _World, synthetic: bool, good_direction: str) -> xr.DataTree:
    coords = {"site": w.sites, "month": MONTHS}
    count = np.nan_to_num(np.round(w.observed * w.exposure))
    constant = xr.Dataset(
        {
            "exposure": (("site", "month"), np.nan_to_num(w.exposure)),
            "count": (("site", "month"), count),
            "count_high": (("site", "month"), count),
            "coverage": (("site", "month"), np.ones_like(count)),
            "exposure_all": (("site", "month"), np.nan_to_num(w.exposure)),
            "event_time": (("site", "month"), np.arange(len(MONTHS)) - w.go_live[:, None]),
        },
        coords=coords,
    )
    shape = (CHAINS, DRAWS)
    posterior = xr.Dataset(
        {"effect_mean": (("chain", "draw"), w.pooled.reshape(shape))},
        coords={"chain": range(CHAINS), "draw": range(DRAWS)},
    )
    tree = xr.DataTree.from_dict({"/posterior": posterior, "/constant_data": constant})
    tree.attrs = {
        "outcome": outcome,
        "good_direction": good_direction,
        "synthetic": int(synthetic),
        "seed": 20140401,
        "spec_hash": "a" * 64,
        "data_hash": "b" * 64,
    }
    return tree


def course(outcome: str, w: _World, link: str) -> pd.DataFrame:
    """Pooled effect by stretches of event time: a build-up."""
    keys = {"outcome": outcome, "estimand": "course", "site": "", "intervention": ""}
    keys |= {"scale": "link", "unit": LOG_UNITS[link], "identified": "", "note": ""}
    share = {"0-2": 0.3, "3-6": 0.7, "7-12": 1.0, "13-18": 1.05}
    return pd.DataFrame([_row(w.pooled * k, **{**keys, "window": x}) for x, k in share.items()])


def _overview(outcome: str, w: _World, link: str, *, selected: bool) -> pd.DataFrame:
    one = _summary(np.exp(w.pooled))
    row = {"outcome": outcome, "label": outcome.replace("_", " ").capitalize(), "family": "x"}
    row |= {"scale": RATIOS[link], "good_direction": "lower", "ci_prob": 0.9}
    row |= {k: one[k] for k in ("median", "lower", "upper")}
    row |= {"p_below_zero": float((w.pooled < 0).mean()), "margin_low": 0.9, "margin_high": 1.11}
    row |= {"p_within_margin": float((abs(w.pooled) < 0.1).mean()), "identified_share": 0.4}
    row |= {f"tier_{t.lower()}": w.tiers.count(t) for t in "ABCD"} | {"sd_over_prior_sd": 0.2}
    row |= {"margin_per_1000": 10.0, "untreated_rate": 0.12}
    row |= {"build_up_share": 0.1, "build_up_shift": 0.2, "build_up_chance": 0.7}
    claimed = one["upper"] < 1
    row |= {"tipping_bias": -np.log(one["upper"]) if claimed else np.nan}
    row |= {"bias_tolerance": np.nan, "bias_tolerance_note": "no placebo was run"}
    row |= {"verdict": "lowers" if claimed else "cannot say", "note": "rate"}
    if selected:
        row |= {"verdict": "not identified", "note": "measured only among people in treatment"}
        lost = ["median", "lower", "upper", "p_below_zero", "p_within_margin", "sd_over_prior_sd"]
        lost += ["margin_low", "margin_high", "untreated_rate", "tipping_bias", "bias_tolerance"]
        lost += ["build_up_share", "build_up_shift", "build_up_chance"]
        row |= dict.fromkeys(lost, np.nan)
    return pd.DataFrame([row])


def _before_after(outcome: str, w: _World, link: str) -> pd.DataFrame:
    size = w.pooled.shape
    crisis, time = w.rng.normal(-0.3, 0.1, size), w.rng.normal(0.05, 0.03, size)
    made = {"plain": w.pooled + crisis + time, "effect": w.pooled, "artefact": crisis}
    keys = {"outcome": outcome, "unit": LOG_UNITS[link], "window": "7-18", "note": ""}
    return pd.DataFrame(
        [{**keys, "part": k, **_summary(v)} for k, v in {**made, "time": time}.items()]
    )


def _bounds(outcome: str, w: _World) -> pd.DataFrame:
    keys = {"outcome": outcome, "given": "referrals", "quantity": "people", "window": "7-18"}
    keys |= {"unit": "percentage points", "note": ""}
    made = {"low": 10 * w.pooled - 8, "high": 10 * w.pooled + 12}
    return pd.DataFrame([{**keys, "bound": k, **_summary(v)} for k, v in made.items()])


def write_further_tables(path: Path) -> None:
    """Tables that other commands leave in a run directory."""
    tables = {
        "data_quality": [{"table": "pnc", "reason": "unmatched", "rows": 1200, "persons": 300}],
        "joint_correlation": [
            {"outcome_1": "custody", "outcome_2": "hearings", "mean": 0.41, "lower": -0.2}
            | {"upper": 0.9, "prior_lower": -0.8, "prior_upper": 0.8, "ci_prob": 0.9}
        ],
        "backtest_summary": [
            {"method": "model", "channels": "all", "wave": wave, "sites": 9, "cells": cells}
            | {"coverage_50": 0.52, "coverage_90": 0.88, "expected_90": 0.9}
            | {"mean_observed": 0.1, "bias": -0.002}
            for wave, cells in (("1", 40), ("all", 90))
        ],
        "powerscale": [
            {"outcome": "custody", "term": "panel", "kind": "likelihood", "sensitivity": 0.31}
            | {"pareto_k": 0.2, "status": "PASS", "message": "load-bearing"}
        ],
        "tipping": [
            {"outcome": "custody", "bias": "drift", "unit": "log odds", "method": "weights"}
            | {"threshold": 0.9, "value": 0.1, "percent": 10, "pareto_k": 0.3, "message": "Far."}
        ],
    }
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(path / f"{name}.csv", index=False)


def _manifest(outcomes: Sequence[str], synthetic: bool) -> dict[str, object]:
    return {
        "name": "Twenty-seven fictional sites",
        "synthetic": synthetic,
        "command_line": "lndbayes evaluate data/synthetic --models models --out results",
        "inputs": {"evaluation.toml": "c" * 64, "outcomes.csv": "d" * 64},
        "outputs": {"of-another-run.csv": "e" * 64},
        "seeds": {outcome: 20140401 for outcome in outcomes},
        "versions": {"lndbayes": "0.1.0", "pymc": "6.4.0", "python": "3.13.1"},
        "steps": [
            {"step": "fit custody", "wall_seconds": 48.21, "cpu_seconds": 160.4},
            {"step": "report", "wall_seconds": 3.4, "cpu_seconds": 3.3},
        ],
        "data_notes": ["S05 has no rows for 2016.", "Mix counts cover 80 of 96 months at S09."],
    }


def _checks(outcome: str, status: str) -> pd.DataFrame:
    rows = [
        ("rhat", "PASS", 1.004, "< 1.01", "largest R-hat over all reported quantities"),
        ("ess_bulk", "PASS", 812.0, ">= 400", "smallest bulk effective sample size"),
        ("divergences", "PASS", 0.0, "0", "divergent transitions after warm-up"),
        ("ppc_site_rates", status, 0.03, ">= 0.05", "posterior predictive site rates"),
        ("ramp_leak", "PASS", 2.6, "", "sd with the first 15 months hidden over sd"),
    ]
    columns = ["check", "status", "value", "threshold", "message"]
    return pd.DataFrame(rows, columns=columns).assign(outcome=outcome)


def _priors() -> pd.DataFrame:
    rows = [
        ("effect_mean", "Normal(0, 0.5)", "", "odds ratio", 0.44, 1.0, 2.28, 0.9, ""),
        ("site_effect_sd", "Gamma(2, 10)", "", "logit", 0.04, 0.17, 0.47, 0.9, "zero-avoiding"),
        ("baseline_level", "Normal(-2, 0.7)", "", "rate", 0.04, 0.12, 0.3, 0.9, ""),
    ]
    columns = ["slot", "distribution", "dims", "unit", "lower", "median", "upper", "ci_prob"]
    return pd.DataFrame(rows, columns=[*columns, "note"])


def write_fake_run(
    path: Path,
    *,
    n_sites: int = 27,
    world: str = "effect",
    outcomes: Sequence[str] = ("custody",),
    status: str = "PASS",
    synthetic: bool = True,
    good_direction: str = "lower",
    label: Label = _site_name,
    seed: int = 7,
    links: Sequence[str] = (),
    selected: Sequence[str] = (),
) -> Path:
    """Write a whole run directory and return its path.

    With `links`, one for each outcome, the tables of all outcomes together are written too; the
    effects of a `selected` outcome have no numbers.
    """
    (path / "fits").mkdir(parents=True)
    tables: dict[str, list[pd.DataFrame]] = {}
    for k, outcome in enumerate(outcomes):
        w = _World(seed + k, n_sites, world, label)
        effects = _effects(outcome, w, links[k] if links else "logit")
        if links:
            unknown = outcome in selected
            effects = pd.concat([effects, course(outcome, w, links[k])])
            if unknown:
                effects[["mean", "sd", "lower", "median", "upper", "p_below_zero"]] = np.nan
                tables.setdefault("bounds", []).append(_bounds(outcome, w))
            row = _overview(outcome, w, links[k], selected=unknown)
            tables.setdefault("overview", []).append(row)
            tables.setdefault("before_after", []).append(_before_after(outcome, w, links[k]))
        tables.setdefault("effects", []).append(effects)
        tables.setdefault("baseline", []).append(_baseline(outcome, w))
        tables.setdefault("ledger", []).append(_ledger(outcome, w))
        tables.setdefault("sensitivity", []).append(_sensitivity(outcome, w))
        tables.setdefault("checks", []).append(_checks(outcome, status))
        savings, draws = _savings(outcome, w)
        if k == 0:
            tables["savings"] = [savings]
            write_netcdf(draws, path / "savings.nc")
        fit = _fit(outcome, w, synthetic, good_direction)
        fit.to_netcdf(path / "fits" / f"{outcome}.nc", engine="netcdf4")
    tables["priors"] = [_priors()]
    for name, frames in tables.items():
        pd.concat(frames).to_csv(path / f"{name}.csv", index=False)
    manifest = _manifest(outcomes, synthetic)
    (path / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return path
