"""The prior table: every prior of a spec with the range it implies in units a reader can judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from lndbayes.base.names import CI_PROB
from lndbayes.spec.families import RATIO, inverse
from lndbayes.spec.linear import fixed_scales, setting
from lndbayes.spec.model_spec import ModelSpec
from lndbayes.spec.priors import SLOTS

__all__ = ["prior_table"]


def prior_table(
    spec: ModelSpec, *, interventions: int = 5, ci_prob: float = CI_PROB
) -> pd.DataFrame:
    """Every prior with the range it implies in units a reader can judge.

    Parameters
    ----------
    spec : ModelSpec
        The spec.
    interventions : int
        Number of interventions in the data (the marginal prior of one share depends on it).
    ci_prob : float
        Probability of the equal-tailed range.

    Returns
    -------
    pandas.DataFrame
        Columns ``slot``, ``distribution``, ``dims``, ``unit``, ``lower``, ``median``, ``upper``,
        ``ci_prob``, ``note``; one row a slot, then one row per fixed scale.
    """
    tail = (1 - ci_prob) / 2
    quantiles = np.array([tail, 0.5, 1 - tail])
    rows = []
    link = spec.family.link
    for name in spec.priors:
        slot, prior = SLOTS[name], spec.priors[name]
        if prior.dist == "Dirichlet":
            a = prior["concentration"]
            several = interventions > 1
            values = (
                stats.beta(a, a * (interventions - 1)).ppf(quantiles) if several else np.ones(3)
            )
        else:
            values = _to_unit(name, link, prior.frozen().ppf(quantiles))
        off = slot.channel is not None and not getattr(spec.baseline.channels, slot.channel)
        rows.append(
            {
                "slot": name,
                "distribution": str(prior),
                "dims": ", ".join(slot.dims) or "scalar",
                "unit": slot.unit.replace("odds ratio", RATIO[link]),
                **dict(zip(("lower", "median", "upper"), values, strict=True)),
                "ci_prob": ci_prob,
                "note": slot.description + (f" ({slot.channel} is switched off)" if off else ""),
            }
        )
    return pd.DataFrame(rows + _fixed_rows(spec, quantiles, ci_prob))


def _to_unit(name: str, link: str, values: np.ndarray) -> np.ndarray:
    if name in ("baseline_level", "stage_level"):
        return inverse(link, values)
    return SLOTS[name].to_unit(values)


def _fixed_rows(spec: ModelSpec, quantiles: np.ndarray, ci_prob: float) -> list[dict[str, Any]]:
    fixed = {
        "national_offset": (spec.baseline.national_offset_sd, "common offset, integrated out"),
        "elicited_bias": (
            spec.baseline.elicited_bias_sd,
            "bias common to all experts, integrated out",
        ),
        "shared_bias": (spec.sensitivity.shared_bias_sd, "bias of all reconstructed evidence"),
        "pulse": (spec.effect.pulse_sd, "passing pulse after go-live, at its height"),
    }
    dims = {block.name: ", ".join(block.dims) for block, _ in fixed_scales()}
    fixed |= {block.name: (setting(spec, prior.key), block.note) for block, prior in fixed_scales()}
    sd, note = fixed.pop("seam")
    if spec.baseline.seams:
        fixed["seam"] = (sd, f"{note}: {', '.join(spec.baseline.seams)}")
    named = spec.covariates
    for term, covariates in (
        ("covariate_effect", named.baseline),
        ("modifier_effect", named.effect),
    ):
        sd, note = fixed.pop(term)
        if covariates:
            fixed[term] = (sd, f"{note}: {', '.join(covariates)}")
    biased = ("national_offset", "elicited_bias")
    share, ratio = spec.baseline.contamination, spec.baseline.contamination_ratio
    return [
        {
            "slot": name,
            "distribution": _told(sd, share if name in biased else 0.0, ratio),
            "dims": dims.get(name) or "scalar",
            "unit": RATIO[spec.family.link],
            **dict(
                zip(
                    ("lower", "median", "upper"),
                    np.exp(sd * _quantiles(quantiles, share if name in biased else 0.0, ratio)),
                    strict=True,
                )
            ),
            "ci_prob": ci_prob,
            "note": note,
        }
        for name, (sd, note) in fixed.items()
    ]


def _told(sd: float, share: float, ratio: float) -> str:
    """A fixed scale's distribution, with its outlying part if it has one."""
    if sd <= 0:
        return "off (0)"
    if not share:
        return f"Normal(mu=0, sigma={sd:g}), sigma fixed"
    outlying = f"{share:g} Normal(mu=0, sigma={ratio * sd:g})"
    return f"{1 - share:g} Normal(mu=0, sigma={sd:g}) + {outlying}, sigma fixed"


def _quantiles(probability: np.ndarray, share: float, ratio: float) -> np.ndarray:
    """Quantiles of a standard normal, of which a share is `ratio` times as wide."""
    if not share:
        return np.asarray(stats.norm.ppf(probability))

    def beyond(x: float, p: float) -> float:
        return float((1 - share) * stats.norm.cdf(x) + share * stats.norm.cdf(x / ratio) - p)

    ends = [(min(z, ratio * z), max(z, ratio * z)) for z in stats.norm.ppf(probability)]
    return np.array(
        [
            optimize.brentq(beyond, low - 1e-9, high + 1e-9, args=(p,))
            for p, (low, high) in zip(probability, ends, strict=True)
        ]
    )
