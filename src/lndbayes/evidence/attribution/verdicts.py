"""Verdicts of the attribution in words: what a site's baseline, and the pooled effect, rest on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lndbayes.base.vocabulary import Tier
from lndbayes.evidence.assumption import label_assumption
from lndbayes.evidence.attribution.measures import TREATED
from lndbayes.spec.families import inverse

__all__ = ["VERDICT_COLUMNS", "halving_percent", "verdicts_table"]

VERDICT_COLUMNS = (
    "outcome",
    "of",
    "site",
    "tier",
    "rests_on",
    "assumption_only",
    "reasons",
    "gain_untreated_months",
    "gain_records_and_histories",
    "gain_national_and_judgement",
    "gain_treated_outcomes",
    "contraction_prior",
    "contraction_borrowed",
    "feedback_share",
    "feedback_shift",
    "leverage_level_bias",
    "halving_percent",
    "ramp_leak_ratio",
    "verdict",
)

#: Share of a baseline's precision above which treated outcomes are named as its source.
MUCH_FEEDBACK = 0.5
#: Largest error of the evidence that is worth naming, link scale: four sds of the usual bias.
_FAR = 0.6

_PARTS: Mapping[str, tuple[str, ...]] = {
    "gain_untreated_months": ("not_yet_treated",),
    "gain_records_and_histories": ("retrospective", "history"),
    "gain_national_and_judgement": ("national", "elicited"),
    "gain_treated_outcomes": (TREATED,),
}
_WORDS = {
    "gain_untreated_months": "untreated months",
    "gain_records_and_histories": "records and histories",
    "gain_national_and_judgement": "the national series and judgement",
    "gain_treated_outcomes": "treated outcomes, read through the model",
}


def halving_percent(effect: float, leverage: float, level: float, link: str) -> float:
    """Error of all reconstructed evidence that would halve an effect, per cent of the rate.

    Parameters
    ----------
    effect : float
        Mean effect, link scale.
    leverage : float
        Change of the effect per unit of common level bias.
    level : float
        Untreated level, link scale.
    link : str
        The link.

    Returns
    -------
    float
        Signed; NaN where no error of up to `_FAR` on the link scale would.
    """
    if not (np.isfinite([effect, leverage, level]).all() and leverage != 0):
        return float("nan")
    error = -0.5 * effect / leverage
    if abs(error) > _FAR:
        return float("nan")
    rates = inverse(link, np.array([level + error, level]))
    return 100 * float(rates[0] / rates[1] - 1)


def verdicts_table(
    full: pd.DataFrame, effects: Mapping[str, float], levels: Mapping[str, float], link: str
) -> pd.DataFrame:
    """One row for the pooled effect and one for each site.

    Parameters
    ----------
    full : pandas.DataFrame
        From `lndbayes.evidence.attribution.measures.measures`.
    effects : mapping of str to float
        Mean effect by site, link scale, ``""`` the pooled one; sites without go-live are absent.
    levels : mapping of str to float
        Mean untreated level by site, ``""`` over all sites.
    link : str
        The link.

    Returns
    -------
    pandas.DataFrame
        Columns `VERDICT_COLUMNS`. Gains are in log precision, over the prior.
    """
    shown = full[full["of"].isin(["pooled", "site"])]
    rows = []
    for key, part in shown.groupby(["of", "site"], sort=False):
        of, site = (str(label) for label in key)
        numbers = part.set_index(["quantity", "item"])["value"]
        row = {"outcome": part["outcome"].iloc[0], "of": of, "site": site}
        row["tier"] = part["tier"].iloc[0]
        row |= {
            name: float(sum(numbers.get(("log_precision_gain", i), 0.0) for i in items))
            for name, items in _PARTS.items()
        }
        for name in VERDICT_COLUMNS[11:18]:
            row[name] = float(numbers.get((name, ""), np.nan))
        # a site of tier D has no effect of its own to halve
        effect = np.nan if row["tier"] == Tier.D else effects.get(site, np.nan)
        row["halving_percent"] = halving_percent(
            effect, row["leverage_level_bias"], levels[site], link
        )
        rows.append(row | _verdict(row, effect_known=site in effects))
    return pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))


def _verdict(row: Mapping[str, object], *, effect_known: bool) -> dict[str, object]:
    left = 1 - float(str(row["contraction_prior"]))
    pooled = row["of"] == "pooled"
    if pooled:
        reasons = label_assumption(sd_ratio=float(np.sqrt(left)) if left >= 0 else np.nan)
    else:
        reasons = label_assumption(str(row["tier"]), left)
    gains = {name: float(str(row[name])) for name in _PARTS}
    top = max(gains, key=lambda name: gains[name])
    if not reasons and not np.isfinite(list(gains.values())).all():
        reasons = "what the sources add could not be computed"
    if not reasons and gains[top] <= 0:
        reasons = "nothing adds to the prior"
    if reasons:
        return {
            "rests_on": "assumption",
            "assumption_only": True,
            "reasons": reasons,
            "verdict": f"rests on assumption only: {reasons}",
        }
    text = f"rests on {_source(top, str(row['tier']), pooled=pooled)}"
    if top != "gain_untreated_months" and effect_known and "treated" not in top:
        text += f": {_halving(float(str(row['halving_percent'])))}"
    feedback = float(str(row["feedback_share"]))
    if feedback > MUCH_FEEDBACK:
        text += f"; treated outcomes add {feedback:.0%} of its precision"
    name = top.removeprefix("gain_")
    return {"rests_on": name, "assumption_only": False, "reasons": "", "verdict": text}


def _source(top: str, tier: str, *, pooled: bool) -> str:
    if top != "gain_untreated_months" or pooled:
        return _WORDS[top]
    return "own untreated months" if tier in ("A", "B", "-") else "other sites' untreated months"


def _halving(percent: float) -> str:
    if not np.isfinite(percent):
        return "no plausible common error of the evidence would halve the effect"
    return f"off by {percent:+.0f}% would halve the effect"
