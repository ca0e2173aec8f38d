"""The exported ``ledger.csv``: what each site's baseline rests on, from fit and refits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.vocabulary import VariantName
from lndbayes.estimands.identification import site_tiers
from lndbayes.estimands.predictors import untreated_level
from lndbayes.estimands.reported import prior_as_posterior
from lndbayes.estimands.summaries import summarise
from lndbayes.estimands.treated import Window
from lndbayes.fitting.metadata import metadata
from lndbayes.spec.model_spec import CHANNELS

__all__ = ["LEDGER_COLUMNS", "ledger_table"]

LEDGER_COLUMNS = (
    "outcome",
    "site",
    "tier",
    "channel",
    "contribution",
    "shift_if_removed",
    "prior_share",
    "feedback_share",
    "leverage_level_bias",
    "leverage_drift",
)


def ledger_table(
    fit: xr.DataTree,
    window: Window,
    base: xr.Dataset,
    variants: Mapping[str, xr.Dataset],
) -> pd.DataFrame:
    """What each site's baseline rests on.

    Parameters
    ----------
    fit : xarray.DataTree
        The main fit.
    window : tuple of int
        Event months of the estimand, on which the sites' tiers depend.
    base : xarray.Dataset
        Its kept draws.
    variants : mapping of str to xarray.Dataset
        Sensitivity refits.

    Returns
    -------
    pandas.DataFrame
        Columns `LEDGER_COLUMNS`, a row per site and channel. ``contribution``: share of the
        baseline's precision that is lost when the channel alone is removed. ``shift_if_removed``:
        of the pooled effect, in its standard deviations. ``prior_share``: prior precision over
        posterior precision. ``feedback_share``: share of the precision that treated outcomes add
        to untreated months and evidence. Shares are of the site's level over the 12 months before
        the first go-live; single refits carry a Monte Carlo error of a few points.
    """
    variance = _variances(base["level"])
    prior = _variances(untreated_level(prior_as_posterior(fit)))
    alone = _variances(variants[VariantName.UNTREATED_ONLY]["level"])
    bias = variants[VariantName.BIAS_ON]
    centre = summarise(base["pooled"], mcse=False).iloc[0]
    tiers = site_tiers(fit, window).to_series()
    rows = []
    for channel in CHANNELS:
        without = variants[f"no_{channel}"]
        moved = summarise(without["pooled"], mcse=False).iloc[0]
        removed = _variances(without["level"])
        for site in variance.index:
            rows.append(
                {
                    "outcome": metadata(fit).outcome,
                    "site": site,
                    "tier": tiers[site],
                    "channel": channel,
                    "contribution": 1 - min(variance[site] / removed[site], 1.0),
                    "shift_if_removed": (moved["mean"] - centre["mean"]) / centre["sd"],
                    "prior_share": min(variance[site] / prior[site], 1.0),
                    "feedback_share": 1 - min(variance[site] / alone[site], 1.0),
                    "leverage_level_bias": _at_site(bias["site_leverage_level_bias"], site),
                    "leverage_drift": _at_site(bias["site_leverage_drift"], site),
                }
            )
    return pd.DataFrame(rows, columns=list(LEDGER_COLUMNS))


def _variances(level: xr.DataArray) -> pd.Series:
    table = summarise(level, mcse=False)
    return pd.Series(table["sd"].to_numpy() ** 2, index=table["site"])


def _at_site(values: xr.DataArray, site: str) -> float:
    series = values.to_series()
    return float(series.get(site, np.nan))
