"""Refits of the attribution: every subset of the sources, and sites without their own evidence.

`lndbayes.evidence.refits` makes and keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr

from lndbayes.data.evaluation import EvaluationData
from lndbayes.evidence.attribution.shares import subsets
from lndbayes.evidence.kept import Keep
from lndbayes.evidence.refits import Effort, Pilot, Refit
from lndbayes.spec.model_spec import CHANNELS, ModelSpec

__all__ = [
    "CUT",
    "EFFORT",
    "SOFT",
    "attribution_refits",
    "borrowed_name",
    "present",
    "subset_name",
]

#: Refits need means and standard deviations only.
EFFORT = Effort(
    {
        "sampling.chains": 2,
        "sampling.tune": 200,
        "sampling.draws": 400,
        "sampling.target_accept": 0.8,
    }
)
#: Levels that data hardly inform need smaller steps.
_CAREFUL = {"sampling.target_accept": 0.9, "sampling.tune": 300}

#: The refit without treated outcomes, which keeps whole baselines.
CUT = "untreated_only"
#: The refit in which sites' effects are free of each other: a soft cut. A spread of one on the link
#: scale, known, says nothing of an effect (a ratio between 0.4 and 2.7 is within one sd).
SOFT = "unpooled_effects"
_UNPOOLED = {"priors.site_effect_sd": {"dist": "LogNormal", "mu": 0.0, "sigma": 0.05}}


def present(spec: ModelSpec, data: EvaluationData, main: xr.DataTree) -> list[str]:
    """Sources that are on and speak in these data.

    Parameters
    ----------
    spec, data
        The outcome's spec and data.
    main : xarray.DataTree
        Its fit.
    """
    constants = main["constant_data"].to_dataset()
    untreated = (constants["site_weight"] > 0) & ~(constants["event_time"] >= 0)
    found = []
    for channel in CHANNELS:
        if channel == "not_yet_treated":
            speaks = bool(untreated.to_numpy().any())
        else:
            speaks = bool((data.evidence[channel]["outcome"] == spec.outcome.name).any())
        if speaks and getattr(spec.baseline.channels, channel):
            found.append(channel)
    return found


def subset_name(chosen: frozenset[str]) -> str:
    """Name of the refit with these sources only."""
    return "only_" + ("-".join(c for c in CHANNELS if c in chosen) or "nothing")


def borrowed_name(fold: int) -> str:
    """Name of the refit in which a fold's sites have no evidence of their own."""
    return f"borrowed_{fold + 1}"


def attribution_refits(channels: Sequence[str], folds: Sequence[Sequence[str]]) -> list[Refit]:
    """All refits of an attribution; that with every source is the main fit and not among them.

    Parameters
    ----------
    channels : sequence of str
        From `present`.
    folds : sequence of sequence of str
        Sites whose own evidence is hidden together.
    """
    refits = [
        Refit(
            CUT,
            "untreated months and evidence only",
            _CAREFUL,
            hide_treated=True,
            pilot=Pilot.ALONE,
            keep=Keep.BASELINES,
        ),
        Refit(
            SOFT,
            "each site's effect free of the others'",
            {**_CAREFUL, **_UNPOOLED},
            pilot=Pilot.ALONE,
        ),
    ]
    for chosen in subsets(channels)[:-1]:
        changes: dict[str, Any] = {
            f"baseline.channels.{c}": False for c in channels if c not in chosen
        }
        needs_pilot = "not_yet_treated" in channels and "not_yet_treated" not in chosen
        words = ", ".join(c for c in CHANNELS if c in chosen) or "nothing"
        refits.append(
            Refit(
                subset_name(chosen),
                f"only {words} on the untreated state",
                changes | (_CAREFUL if not chosen else {}),
                pilot=Pilot.ALONE if needs_pilot else Pilot.NONE,
            )
        )
    for k, sites in enumerate(folds):
        label = f"without own evidence of {len(sites)} sites, fold {k + 1} of {len(folds)}"
        refits.append(Refit(borrowed_name(k), label, sites=tuple(sites), pilot=Pilot.ALONE))
    return refits
