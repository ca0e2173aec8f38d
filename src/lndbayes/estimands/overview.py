"""All outcomes side by side: where the service does something, nothing, or the data cannot say."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from lndbayes.base.names import CI_PROB
from lndbayes.base.vocabulary import EffectVerdict
from lndbayes.estimands.effects import pooled_effect
from lndbayes.estimands.identification import TIERS, identified_share, site_tiers
from lndbayes.estimands.summaries import summarise
from lndbayes.spec.families import FAMILIES, RATIO
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["OVERVIEW_COLUMNS", "overview_row", "standing_verdict", "verdict"]

OVERVIEW_COLUMNS = (
    "outcome",
    "label",
    "family",
    "scale",
    "good_direction",
    "median",
    "lower",
    "upper",
    "ci_prob",
    "p_below_zero",
    "margin_low",
    "margin_high",
    "p_within_margin",
    "lower_bias_allowed",
    "upper_bias_allowed",
    "verdict",
    "tier_a",
    "tier_b",
    "tier_c",
    "tier_d",
    "identified_share",
    "sd_over_prior_sd",
    "note",
)
#: Posterior sd over prior sd above which the answer is the prior's.
_PRIOR = 0.9


def verdict(lower: float, upper: float, margin: float) -> EffectVerdict:
    """Say in words what an interval says of an effect.

    Parameters
    ----------
    lower, upper : float
        Ends of the interval, link scale.
    margin : float
        Effects within this of zero count as none.

    Returns
    -------
    EffectVerdict
        ``lowers`` or ``raises`` where the interval leaves out zero; ``no more than a small effect``
        where it lies within the margin; else ``cannot say``.
    """
    if not (np.isfinite(lower) and np.isfinite(upper)):
        return EffectVerdict.NOT_IDENTIFIED
    if -margin <= lower and upper <= margin:
        return EffectVerdict.SMALL
    if upper < 0:
        return EffectVerdict.LOWERS
    return EffectVerdict.RAISES if lower > 0 else EffectVerdict.CANNOT_SAY


def standing_verdict(alone: EffectVerdict, allowed: EffectVerdict) -> EffectVerdict:
    """Let a verdict stand only if it is also that of the refit with a bias allowed for.

    The fit as specified takes the evidence to be unbiased as a whole and the untreated outcome not
    to drift after go-live. Where few sites can be compared with untreated ones, an interval that
    leaves out zero may say no more than that (docs/recovery-outcomes.md counts how often).

    Parameters
    ----------
    alone, allowed : EffectVerdict
        From `verdict`: of the fit as specified, and of the refit ``bias_on``.

    Returns
    -------
    EffectVerdict
        `alone`, or ``rests on no bias``.
    """
    claimed = alone not in (EffectVerdict.CANNOT_SAY, EffectVerdict.NOT_IDENTIFIED)
    return EffectVerdict.FRAGILE if claimed and alone != allowed else alone


def overview_row(
    spec: ModelSpec,
    fit: xr.DataTree,
    prior_sd: float,
    *,
    allowed: xr.DataArray | None = None,
    ci_prob: float = CI_PROB,
) -> dict[str, Any]:
    """One outcome's row.

    Parameters
    ----------
    spec : ModelSpec
        Its spec.
    fit : xarray.DataTree
        Its fit.
    prior_sd : float
        Standard deviation of the pooled effect under the prior.
    allowed : xarray.DataArray, optional
        Dims (chain, draw): pooled effect, link scale, in the refit that allows a level bias and a
        drift; without it no effect is claimed or ruled out by the verdict.
    ci_prob : float
        Probability of the interval.

    Returns
    -------
    dict
        Keys `OVERVIEW_COLUMNS`. Numbers are ratios (`scale` says of what) of the pooled effect over
        the window; a selected outcome has none.
    """
    link, margin = spec.family.link, spec.outcome.margin
    tiers = site_tiers(fit, spec.effect.window).to_series().value_counts()
    row: dict[str, Any] = {
        "outcome": spec.outcome.name,
        "label": spec.outcome.label,
        "family": spec.likelihood.family,
        "scale": RATIO[link],
        "good_direction": spec.outcome.good_direction,
        "ci_prob": ci_prob,
        "margin_low": np.exp(-margin),
        "margin_high": np.exp(margin),
        **{f"tier_{t.lower()}": int(tiers.get(t, 0)) for t in TIERS},
        "identified_share": identified_share(fit),
        "note": FAMILIES[spec.likelihood.family].rate,
    }
    numbers = ["median", "lower", "upper", "p_below_zero", "p_within_margin", "sd_over_prior_sd"]
    numbers += ["lower_bias_allowed", "upper_bias_allowed"]
    if spec.outcome.selected:
        told = "measured only among people whom the service helps to choose"
        told += f" ({spec.outcome.exposure_outcome})"
        return (
            row
            | dict.fromkeys(numbers, np.nan)
            | {"verdict": EffectVerdict.NOT_IDENTIFIED, "note": told}
        )
    draws = pooled_effect(fit, "link", spec.effect.window)
    one = summarise(draws, ci_prob=ci_prob).iloc[0]
    within = summarise((abs(draws) <= margin).astype(float), ci_prob=ci_prob, mcse=False)
    ratio = float(one["sd"]) / prior_sd
    ends = (np.nan, np.nan)
    if allowed is not None:
        refit = summarise(allowed, ci_prob=ci_prob, mcse=False).iloc[0]
        ends = (float(refit["lower"]), float(refit["upper"]))
    told = verdict(float(one["lower"]), float(one["upper"]), margin)
    told = standing_verdict(told, verdict(*ends, margin))
    row |= {k: float(np.exp(one[k])) for k in ("median", "lower", "upper")}
    return row | {
        "p_below_zero": float(one["p_below_zero"]),
        "p_within_margin": float(within["mean"].iloc[0]),
        "lower_bias_allowed": float(np.exp(ends[0])),
        "upper_bias_allowed": float(np.exp(ends[1])),
        "sd_over_prior_sd": ratio,
        "verdict": EffectVerdict.PRIOR if ratio > _PRIOR else told,
    }
