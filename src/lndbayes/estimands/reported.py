"""The exported tables, built from stored draws: effects, baseline, ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import CI_PROB
from lndbayes.base.vocabulary import Estimand, Tier
from lndbayes.estimands import effects
from lndbayes.estimands.averted import averted_by_band, events_averted
from lndbayes.estimands.identification import TIERS, identified_share, site_tiers
from lndbayes.estimands.mix_effects import component_effects, substitution_effects
from lndbayes.estimands.summaries import SUMMARY_COLUMNS, summarise
from lndbayes.estimands.treated import Window, treated_sites
from lndbayes.fitting.metadata import metadata
from lndbayes.model.shown import live_cells
from lndbayes.spec.families import LOG_RATIO

__all__ = [
    "EFFECT_COLUMNS",
    "baseline_table",
    "blank_tier_d",
    "effects_table",
    "link_draws",
    "prior_as_posterior",
    "reported_draws",
]

EFFECT_COLUMNS = (
    "outcome",
    "estimand",
    "site",
    "intervention",
    "scale",
    "unit",
    "mean",
    "sd",
    "lower",
    "median",
    "upper",
    "ci_prob",
    "p_below_zero",
    "mcse",
    "window",
    "identified",
    "band",
    "leverage_level_bias",
    "leverage_drift",
    "note",
)
_NUMBERS = [c for c in SUMMARY_COLUMNS if c != "ci_prob"]


def reported_draws(
    fit: xr.DataTree, window: Window, exposure_fit: xr.DataTree | None = None
) -> dict[Estimand, xr.DataArray]:
    """Draws of everything the effects table reports, by estimand and scale.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    window : tuple of int
        Event months of the estimand.
    exposure_fit : xarray.DataTree, optional
        Fit of the outcome whose counts are this one's exposure.

    Returns
    -------
    dict of Estimand to xarray.DataArray
        Dims (chain, draw) and site or intervention.
    """
    averted = events_averted(fit, exposure_fit)
    by_link, sites = (
        effects.site_effects(fit, scale, window, withheld=False) for scale in ("link", "natural")
    )
    out = link_draws(fit, window) | {
        Estimand.POOLED_NATURAL: 100 * effects.pooled_effect(fit, "natural", window, sites=sites),
        Estimand.SITE_LINK: by_link,
        Estimand.SITE_NATURAL: 100 * sites,
        Estimand.EVENTS_AVERTED: averted.sum("site").assign_attrs(_of_total(averted.attrs)),
        Estimand.EVENTS_AVERTED_SITE: averted,
    }
    by_band = averted_by_band(fit)
    if by_band is not None:
        out[Estimand.EVENTS_AVERTED_BAND] = by_band
    return out


def _of_total(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Attributes of a sum over sites: which of them are withheld is no longer said of it."""
    return {k: v for k, v in attrs.items() if k != "withheld"}


def link_draws(fit: xr.DataTree, window: Window) -> dict[Estimand, xr.DataArray]:
    """Draws, on the link scale, of what the effects table reports of all sites together.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit, or `prior_as_posterior` of one.
    window : tuple of int
        Event months of the estimand.

    Returns
    -------
    dict of Estimand to xarray.DataArray
        Dims (chain, draw) and intervention or window.
    """
    out = {
        Estimand.POOLED_LINK: effects.pooled_effect(fit, "link", window),
        Estimand.POOLED_SUPERPOPULATION: effects.mean_effect(fit, window),
        Estimand.NEW_SITE: effects.new_site_effect(fit, window=window),
        Estimand.PLATEAU: effects.plateau_effects(fit).mean("site"),
        Estimand.COURSE: effects.course_effects(fit),
    }
    referrals = fit["constant_data"]["referrals"].to_numpy()
    if referrals[treated_sites(fit)].sum() > 0:
        out[Estimand.POOLED_REFERRAL_WEIGHTED] = effects.pooled_effect(
            fit, "link", window, "referrals"
        )
    if fit["posterior"].sizes["intervention"] > 1:
        out[Estimand.INTERVENTION] = component_effects(fit, window)
        out[Estimand.SUBSTITUTION] = substitution_effects(fit, window)
    return out


_NOTES = {
    "pooled": "mean over the sites with a treated cell of their own, each site counting alike",
    "pooled_referral_weighted": "mean over the sites with a treated cell of their own, weighted by "
    "referrals",
    "pooled_superpopulation": "mean of the population of sites these stand for, at the mean mix",
    "new_site": "predicted effect at a further, exchangeable site with the mean mix",
    "plateau": "secondary: extrapolates the shape of the build-up",
    "intervention": "per 10 percentage points more, taken from the others in proportion: "
    "modification by mix across sites, not the effect of receiving it",
    "substitution": "10 percentage points moved: modification by mix across sites",
    "events_averted": "expected without minus with the service over the observed months",
    "site": "",
    "events_averted_band": "by ordered band; the bands add up to the total, draw by draw",
    "course": "mean over the sites of the effect in these event months",
}
_NO_CELL = "no treated cell of its own can be used, so no effect of its own"
_SELECTED = (
    "measured only among people whom the service helps to choose: no effect is reported; see bounds"
)


def effects_table(
    fit: xr.DataTree,
    window: Window,
    leverage: xr.Dataset | None = None,
    *,
    draws: Mapping[Estimand, xr.DataArray] | None = None,
    ci_prob: float = CI_PROB,
) -> pd.DataFrame:
    """Summarise every estimand of one outcome.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    window : tuple of int
        Event months of the estimand.
    leverage : xarray.Dataset, optional
        Variant ``bias_on`` of the sensitivity refits; without it the leverages are empty.
    draws : mapping, optional
        `reported_draws` where they are at hand.
    ci_prob : float
        Probability of the intervals.

    Returns
    -------
    pandas.DataFrame
        Columns `EFFECT_COLUMNS`. Sites of tier D keep their row and lose its numbers; sites that
        went live and have no treated cell of their own have rows that never had any.
    """
    draws = reported_draws(fit, window) if draws is None else draws
    tiers = site_tiers(fit, window).to_series()
    share = identified_share(fit)
    others = _without_effect(fit)
    parts = []
    for key, array in draws.items():
        name, scale = key.of, key.scale
        table = summarise(array, ci_prob=ci_prob)
        table["estimand"] = (
            Estimand.EVENTS_AVERTED.of if key is Estimand.EVENTS_AVERTED_SITE else name
        )
        table["scale"] = scale
        table["unit"] = _unit(fit, name, scale)
        table["note"] = _NOTES.get(name, "")
        if "site" in table:
            table = _with_others(table, others, ci_prob)
        parts.append(table)
    table = pd.concat(parts, ignore_index=True)
    for column in ("site", "intervention", "band"):
        table[column] = table[column].fillna("").astype(str) if column in table else ""
    table["outcome"] = metadata(fit).outcome
    course = table["estimand"] == "course"
    spans = table.get("window", "")
    table["window"] = np.where(course, spans, f"{window[0]}-{window[1]}")
    table.loc[table["estimand"].str.startswith("events_averted"), "window"] = "observed months"
    table["identified"] = [tiers.get(site, "") for site in table["site"]]
    pooled = table["estimand"] == "pooled"
    counts = tiers[tiers != Tier.NO_EFFECT].value_counts()
    mix = ", ".join(f"{counts[t]} {t}" for t in TIERS if t in counts)
    table.loc[pooled, "note"] += (
        f"; sites by tier: {mix}; {share:.0%} of treated exposure is identified by comparison with "
        "untreated observations, the rest by the model and the evidence channels"
    )
    if metadata(fit).exposure_outcome:
        chained = table["estimand"] == "events_averted"
        table.loc[chained, "note"] += _chain_note(fit, draws)
    table = _with_leverage(table, leverage)
    if metadata(fit).selected:
        table = _withheld(table)
    return blank_tier_d(table, table["identified"])[list(EFFECT_COLUMNS)]


def _without_effect(fit: xr.DataTree) -> list[str]:
    """Sites that went live within the months and have no treated cell in the likelihood."""
    event = fit["constant_data"]["event_time"].to_numpy()
    live = live_cells(event).any(axis=1)
    return [str(x) for x in fit["constant_data"]["site"].to_numpy()[live & ~treated_sites(fit)]]


def _with_others(table: pd.DataFrame, sites: list[str], ci_prob: float) -> pd.DataFrame:
    """Add a row without numbers for each of these sites, which says why."""
    if not sites:
        return table
    head = table[["estimand", "scale", "unit"]].iloc[0].to_dict()
    rows = [{"site": s, **head, "ci_prob": ci_prob, "note": _NO_CELL} for s in sites]
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True)


def _withheld(table: pd.DataFrame) -> pd.DataFrame:
    """Empty every number: what is not identified is told as bounds, never as an interval."""
    table = table.copy()
    table[[c for c in _NUMBERS if c in table]] = np.nan
    table[["leverage_level_bias", "leverage_drift"]] = np.nan
    table["note"] = _SELECTED
    return table


def _chain_note(fit: xr.DataTree, draws: Mapping[Estimand, xr.DataArray]) -> str:
    other = metadata(fit).exposure_outcome
    if draws[Estimand.EVENTS_AVERTED].attrs.get("chained"):
        return f"; with the effect on {other}, whose counts are the exposure"
    return f"; at the {other} that happened: the effect on them is not in it"


def _unit(fit: xr.DataTree, name: str, scale: str) -> str:
    if name.startswith("events_averted"):
        return metadata(fit).unit
    link = metadata(fit).link
    if name in ("intervention", "substitution"):
        return f"{LOG_RATIO[link]} per 10 percentage points"
    if scale == "link":
        return LOG_RATIO[link]
    return f"per 100 {metadata(fit).trials}" if link == "log" else "percentage points"


def _with_leverage(table: pd.DataFrame, leverage: xr.Dataset | None) -> pd.DataFrame:
    for column in ("leverage_level_bias", "leverage_drift"):
        table[column] = np.nan
        if leverage is None:
            continue
        pooled = (table["estimand"] == "pooled") & (table["scale"] == "link")
        table.loc[pooled, column] = float(leverage[column])
        by_site = leverage[f"site_{column}"].to_series()
        sites = (table["estimand"] == "site") & (table["scale"] == "link")
        table.loc[sites, column] = table.loc[sites, "site"].map(by_site).to_numpy(float)
    return table


def blank_tier_d(table: pd.DataFrame, tier: pd.Series) -> pd.DataFrame:
    """Empty the numbers of rows on sites of tier D: nothing of their own identifies them."""
    table = table.copy()
    numbers = [c for c in (*_NUMBERS, "p_positive") if c in table]
    rows = (tier == Tier.D) & (table["site"] != "")
    table.loc[rows, numbers] = np.nan
    if "note" in table:
        table.loc[rows, "note"] = "tier D: no own evidence on the untreated state, so no interval"
    return table


def baseline_table(fit: xr.DataTree, window: Window, *, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Untreated rate of every site and month, with the observed rate beside it.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    window : tuple of int
        Event months of the estimand, on which the sites' tiers depend.
    ci_prob : float
        Probability of the bands.

    Returns
    -------
    pandas.DataFrame
        Columns outcome, site, month, mean, lower, upper, observed, ci_prob, identified. An observed
        count is divided by its coverage: the events that happened, as the mean counts them.
    """
    table = summarise(effects.baseline_rates(fit), ci_prob=ci_prob, mcse=False)
    constants = fit["constant_data"]
    n, y = constants["exposure_exact"].to_numpy(), constants["count_exact"].to_numpy()
    # the mean is of all events, the count of those that the source holds
    n = n * constants["coverage"].to_numpy()
    observed = np.where(n > 0, y / np.where(n > 0, n, 1), np.nan)
    table.insert(0, "outcome", metadata(fit).outcome)
    table["observed"] = observed.ravel()
    table["identified"] = table["site"].map(site_tiers(fit, window).to_series())
    keep = [
        "outcome",
        "site",
        "month",
        "mean",
        "lower",
        "upper",
        "observed",
        "ci_prob",
        "identified",
    ]
    return table[keep]


def prior_as_posterior(fit: xr.DataTree) -> xr.DataTree:
    """Return a tree whose posterior is the fit's prior, so that every estimand has its prior."""
    groups = {
        "/posterior": fit["prior"].to_dataset(),
        "/constant_data": fit["constant_data"].to_dataset(),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = fit.attrs
    return tree
