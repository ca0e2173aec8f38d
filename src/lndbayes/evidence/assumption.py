"""What rests on assumption only, said in every exported row: baselines, effects, savings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.vocabulary import Estimand, Tier
from lndbayes.estimands.summaries import summarise
from lndbayes.money.rules import ALL

__all__ = [
    "ASSUMPTION",
    "effect_labels",
    "label_assumption",
    "prior_sd_ratios",
    "savings_labels",
    "site_labels",
]

#: Column of the exported tables: reasons, joined by "; "; empty where there are none.
ASSUMPTION = "rests_on_assumption"

#: Above these a conclusion rests on assumption only.
MOST_PRIOR_SHARE = 0.5
MOST_SD_RATIO = 0.9


#: Estimands that compare sites by their mix.
_OF_MIX = ("intervention", "substitution")
_NO_MIX = "no two sites with an effect of their own have different known mixes"


def label_assumption(
    tier: str | None = None,
    prior_share: float | None = None,
    sd_ratio: float | None = None,
) -> str:
    """Reasons why a conclusion rests on assumption only.

    Parameters
    ----------
    tier : str, optional
        Identification tier of the site.
    prior_share : float, optional
        Posterior over prior variance of the site's level.
    sd_ratio : float, optional
        Posterior over prior sd of the effect.

    Returns
    -------
    str
        Joined by "; ", empty if there is none. What is None does not apply; a number that is given
        and not finite is a reason, since what cannot be computed does not pass.

    Raises
    ------
    ValueError
        If nothing applies.
    """
    if tier is None and prior_share is None and sd_ratio is None:
        raise ValueError("nothing to judge by")
    reasons = []
    if tier == Tier.D:
        reasons.append("no own evidence on the untreated state (tier D)")
    for value, most, words in (
        (prior_share, MOST_PRIOR_SHARE, "{:.0%} of the prior's variance is left"),
        (sd_ratio, MOST_SD_RATIO, "the posterior sd is {:.0%} of the prior's"),
    ):
        if value is None:
            continue
        if not np.isfinite(value):
            reasons.append("the share of the prior could not be computed")
        elif value > most:
            reasons.append(words.format(value))
    return "; ".join(reasons)


def prior_sd_ratios(
    posterior: Mapping[Estimand, xr.DataArray], prior: Mapping[Estimand, xr.DataArray]
) -> dict[tuple[str, str, str], float]:
    """Posterior over prior standard deviation of everything that is not of one site.

    Parameters
    ----------
    posterior, prior : mapping of Estimand to xarray.DataArray
        From `lndbayes.estimands.reported.link_draws`, dims (chain, draw) and at most
        one more; only what both have is compared.

    Returns
    -------
    dict of (str, str, str) to float
        By estimand, intervention and stretch of event time, the last two empty where they do not
        apply. NaN where the prior has no spread.
    """
    ratios: dict[tuple[str, str, str], float] = {}
    for key, draws in posterior.items():
        if key not in prior or "site" in draws.dims:
            continue
        table = summarise(draws, mcse=False)
        before = summarise(prior[key], mcse=False)["sd"].to_numpy(float)
        spread = table["sd"].to_numpy(float) / np.where(before > 0, before, np.nan)
        empty = [""] * len(table)
        ratios |= {
            (key.of, str(intervention), str(stretch)): float(value)
            for intervention, stretch, value in zip(
                table.get("intervention", empty), table.get("window", empty), spread, strict=True
            )
        }
    return ratios


def effect_labels(
    effects: pd.DataFrame,
    ledger: pd.DataFrame,
    ratios: Mapping[tuple[str, str, str], float],
    *,
    mix_told: bool = True,
) -> pd.Series:
    """Reasons for every row of an effects table of one outcome.

    Parameters
    ----------
    effects : pandas.DataFrame
        From `lndbayes.estimands.reported.effects_table`.
    ledger : pandas.DataFrame
        From `lndbayes.evidence.attribution.tables.ledger_table`; columns ``site``, ``tier``,
        ``prior_share``.
    ratios : mapping of (str, str, str) to float
        From `prior_sd_ratios`.
    mix_told : bool
        From `lndbayes.estimands.mix_effects.mix_is_told`.

    Returns
    -------
    pandas.Series
        Index of `effects`. A row on one site is judged by its level: tier and share of the prior;
        any other by the effect, events averted by the pooled effect. What has no ratio of its own
        is judged by the pooled one.
    """
    sites = site_labels(ledger)

    def told(row: pd.Series) -> str:
        if row["site"]:
            return sites.get(row["site"], "")
        stretch = row["window"] if row["estimand"] == "course" else ""
        key = (row["estimand"], row["intervention"], stretch)
        reason = label_assumption(sd_ratio=ratios.get(key, ratios["pooled", "", ""]))
        if row["estimand"] in _OF_MIX and not mix_told:
            return "; ".join(filter(None, (_NO_MIX, reason)))
        return reason

    return effects.apply(told, axis=1).astype(str)


def site_labels(ledger: pd.DataFrame) -> dict[str, str]:
    """Reasons by site, from a ledger table of one outcome."""
    one = ledger.drop_duplicates("site")
    rows = zip(one["site"], one["tier"], one["prior_share"], strict=True)
    return {site: label_assumption(str(tier), float(share)) for site, tier, share in rows}


def savings_labels(table: pd.DataFrame, effects: Mapping[str, pd.DataFrame]) -> pd.Series:
    """Reasons for every row of a savings table.

    Parameters
    ----------
    table : pandas.DataFrame
        From `lndbayes.money.tables.savings_table`.
    effects : mapping of str to pandas.DataFrame
        By outcome its effects table, with the column `ASSUMPTION`.

    Returns
    -------
    pandas.Series
        Index of `table`. A saving rests on what its events averted rest on; a sum of several
        outcomes on all that theirs do, each with its outcome's name.
    """
    reasons: dict[tuple[str, str], str] = {}
    for name, one in effects.items():
        averted = one[one["estimand"] == "events_averted"]
        for site, why in zip(averted["site"], averted[ASSUMPTION], strict=True):
            reasons[name, site] = why
    priced = [str(name) for name in pd.unique(table["outcome"]) if name != ALL]

    def told(row: pd.Series) -> str:
        if row["outcome"] != ALL:
            return reasons.get((row["outcome"], row["site"]), "")
        each = {name: reasons.get((name, row["site"]), "") for name in priced}
        return "; ".join(f"{name}: {why}" for name, why in each.items() if why)

    return table.apply(told, axis=1).astype(str)
