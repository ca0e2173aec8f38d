"""All outcomes side by side: where the service does something, nothing, or the data cannot say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from lndbayes.base.names import CI_PROB
from lndbayes.base.vocabulary import EffectVerdict, VariantName
from lndbayes.estimands.effects import pooled_effect
from lndbayes.estimands.identification import TIERS, identified_share, site_tiers
from lndbayes.estimands.margins import link_margins, untreated_rate
from lndbayes.estimands.summaries import summarise
from lndbayes.estimands.verdict import Findings, bias_tolerance, tipping_bias, verdict
from lndbayes.spec.families import FAMILIES, RATIO
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["OVERVIEW_COLUMNS", "overview_row"]

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
    "margin_per_1000",
    "untreated_rate",
    "margin_low",
    "margin_high",
    "p_within_margin",
    "verdict",
    "tipping_bias",
    "bias_tolerance",
    "bias_tolerance_note",
    "build_up_share",
    "build_up_shift",
    "build_up_chance",
    "tier_a",
    "tier_b",
    "tier_c",
    "tier_d",
    "identified_share",
    "sd_over_prior_sd",
    "note",
)
#: Numbers that an outcome without an effect does not have.
_NUMBERS = (
    *("median", "lower", "upper", "p_below_zero", "p_within_margin", "sd_over_prior_sd"),
    *("untreated_rate", "margin_low", "margin_high", "tipping_bias", "bias_tolerance"),
    *("build_up_share", "build_up_shift", "build_up_chance"),
)


def overview_row(
    spec: ModelSpec,
    fit: xr.DataTree,
    prior_sd: float,
    *,
    refits: Mapping[str, xr.Dataset] | None = None,
    failed: Sequence[str] = (),
    largest_violation: float | None = None,
    no_placebo: str = "no placebo was run",
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
    refits : mapping of str to xarray.Dataset, optional
        Sensitivity refits by name, with ``pooled`` (chain, draw), link scale; of them
        `VariantName.ALL_OFF` and `VariantName.RAMP_HIDDEN` are read. Without these two the verdict
        is ``not tested``.
    failed : sequence of str
        Checks that say FAIL and bear on the pooled effect.
    largest_violation : float, optional
        Largest placebo effect in size, link scale; None where no placebo was run.
    no_placebo : str
        Why there is none.
    ci_prob : float
        Probability of the interval.

    Returns
    -------
    dict
        Keys `OVERVIEW_COLUMNS`. Numbers are ratios (`scale` says of what) of the pooled effect over
        the window; a selected outcome has none. ``margin_low`` and ``margin_high`` are NaN where
        every change on that side is within the margin. ``tipping_bias`` is on the link scale.
    """
    tiers = site_tiers(fit, spec.effect.window).to_series().value_counts()
    row: dict[str, Any] = {
        "outcome": spec.outcome.name,
        "label": spec.outcome.label,
        "family": spec.likelihood.family,
        "scale": RATIO[spec.family.link],
        "good_direction": spec.outcome.good_direction,
        "ci_prob": ci_prob,
        "margin_per_1000": spec.outcome.margin_per_1000,
        **{f"tier_{t.lower()}": int(tiers.get(t, 0)) for t in TIERS},
        "identified_share": identified_share(fit),
        "note": FAMILIES[spec.likelihood.family].rate,
    }
    if spec.outcome.selected:
        told = "measured only among people whom the service helps to choose"
        told += f" ({spec.outcome.exposure_outcome})"
        return (
            row
            | dict.fromkeys(_NUMBERS, np.nan)
            | {"verdict": EffectVerdict.NOT_IDENTIFIED, "note": told, "bias_tolerance_note": ""}
        )
    draws = pooled_effect(fit, "link", spec.effect.window)
    one = summarise(draws, ci_prob=ci_prob).iloc[0]
    rate = _mean(untreated_rate(fit, spec.effect.window))
    margin = link_margins(spec.family.link, rate, spec.outcome.margin_per_1000)
    build_up = _build_up(refits or {}, float(one["mean"]), float(one["sd"]))
    found = Findings(
        lower=float(one["lower"]),
        upper=float(one["upper"]),
        margin=margin,
        sd_over_prior_sd=float(one["sd"]) / prior_sd,
        build_up_share=build_up["build_up_share"],
        build_up_shift=build_up["build_up_shift"],
        build_up_chance=build_up["build_up_chance"],
        failed=tuple(failed),
        tiers={t: int(tiers.get(t, 0)) for t in TIERS},
    )
    within = (draws >= margin[0]) & (draws <= margin[1])
    row |= {k: float(np.exp(one[k])) for k in ("median", "lower", "upper")}
    row |= {f"margin_{k}": _ratio(end) for k, end in zip(("low", "high"), margin, strict=True)}
    row |= build_up
    row |= _tolerance(found, largest_violation, no_placebo)
    return row | {
        "p_below_zero": float(one["p_below_zero"]),
        "untreated_rate": rate,
        "p_within_margin": _mean(within.astype(float)),
        "verdict": verdict(found),
        "sd_over_prior_sd": found.sd_over_prior_sd,
    }


def _ratio(margin: float) -> float:
    """Margin as a ratio; NaN where there is none on that side."""
    return float(np.exp(margin)) if np.isfinite(margin) else np.nan


def _mean(draws: xr.DataArray) -> float:
    return float(summarise(draws, mcse=False)["mean"].iloc[0])


def _build_up(refits: Mapping[str, xr.Dataset], mean: float, sd: float) -> dict[str, float]:
    """What the build-up's shape tells of the pooled effect, as `Findings` has it.

    NaN where the refit that says it is not there.
    """
    share = shift = chance = np.nan
    if (alone := refits.get(VariantName.ALL_OFF)) is not None:
        share = (sd / float(summarise(alone["pooled"], mcse=False)["sd"].iloc[0])) ** 2
    if (hidden := refits.get(VariantName.RAMP_HIDDEN)) is not None:
        other = summarise(hidden["pooled"], mcse=False).iloc[0]
        shift = (float(other["mean"]) - mean) / sd
        # draws are finite in number: the wider fit may come out the narrower
        chance = math.sqrt(max((float(other["sd"]) / sd) ** 2 - 1, 0.0))
    return {"build_up_share": share, "build_up_shift": shift, "build_up_chance": chance}


def _tolerance(found: Findings, largest: float | None, no_placebo: str) -> dict[str, Any]:
    """Tipping bias and bias tolerance, with the reason where there is no tolerance."""
    tipping = tipping_bias(found)
    tolerance = bias_tolerance(found, np.nan if largest is None else largest)
    if np.isfinite(tolerance):
        why = ""
    elif not np.isfinite(tipping):
        why = "no effect is claimed"
    elif largest is None:
        why = no_placebo
    else:
        why = "no violation above zero was seen"
    return {"tipping_bias": tipping, "bias_tolerance": tolerance, "bias_tolerance_note": why}
