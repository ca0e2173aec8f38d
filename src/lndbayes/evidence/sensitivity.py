"""Refits that show what a conclusion rests on: evidence switched off, months hidden, biases let in.

Every variant is the same compiled density on other arrays, so a refit costs seconds. What is kept
of one is small: draws of the pooled effect and of the sites' untreated level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import CI_PROB
from lndbayes.base.vocabulary import VariantName
from lndbayes.estimands.summaries import summarise
from lndbayes.evidence.kept import Keep
from lndbayes.evidence.refits import BASE, Effort, Job, Pilot, Refit, run_refits
from lndbayes.spec.model_spec import CHANNELS

__all__ = ["VARIANTS", "effort", "run_variants", "sensitivity_table"]

#: Effective draws of the pooled effect below which a refit is tried once more and its row says so:
#: its mean moves by a tenth of its sd.
_FEWEST = 100

_HIDDEN_MONTHS = 15


def _off(*channels: str) -> dict[str, Any]:
    return {f"baseline.channels.{c}": False for c in channels}


#: Refits need means and standard deviations, not tail quantiles of every parameter; in the main
#: fit's coordinates they need no long tuning either.
_SHORT = {
    "sampling.chains": 2,
    "sampling.tune": 100,
    "sampling.draws": 400,
    "sampling.target_accept": 0.7,
}

#: Coordinates from a pilot are rougher; levels that data hardly inform need smaller steps.
_FAR = {"sampling.target_accept": 0.8, "sampling.tune": 200}
_CAREFUL = {"sampling.target_accept": 0.9, "sampling.tune": 300}

_PANEL_ONLY = _off(*(c for c in CHANNELS if c != "not_yet_treated"))
_WITHOUT_PANEL = {**_off("not_yet_treated"), **_FAR}

VARIANTS: tuple[Refit, ...] = (
    Refit(
        "no_not_yet_treated",
        "without sites not yet treated",
        _WITHOUT_PANEL,
        pilot=Pilot.FROM_MAIN,
    ),
    Refit("no_retrospective", "without retrospective records", _off("retrospective")),
    Refit("no_national", "without the national series", _off("national")),
    Refit("no_history", "without persons' own history", _off("history")),
    Refit("no_elicited", "without elicited judgement", _off("elicited")),
    Refit(
        VariantName.PANEL_ONLY, "only sites not yet treated: no reconstructed evidence", _PANEL_ONLY
    ),
    Refit(
        VariantName.RAMP_HIDDEN,
        f"first {_HIDDEN_MONTHS} months after go-live hidden",
        {"effect.hide_first_months": _HIDDEN_MONTHS},
    ),
    Refit(
        VariantName.ALL_OFF,
        "no evidence on the untreated state, build-up visible (what the ramp's shape leaks)",
        {**_off(*CHANNELS), **_FAR},
        pilot=Pilot.FROM_MAIN,
    ),
    Refit(
        VariantName.ALL_OFF_RAMP_HIDDEN,
        f"no evidence on the untreated state, first {_HIDDEN_MONTHS} months hidden",
        {**_off(*CHANNELS), "effect.hide_first_months": _HIDDEN_MONTHS, **_CAREFUL},
        pilot=Pilot.FROM_MAIN,
    ),
    Refit(
        VariantName.UNTREATED_ONLY,
        "untreated months and evidence only: no treated outcome",
        _CAREFUL,
        hide_treated=True,
        pilot=Pilot.FROM_MAIN,
    ),
    Refit(
        VariantName.BIAS_ON,
        "level bias of all reconstructed evidence (sd 0.15) and drift (sd 0.05 a year) allowed",
        {"sensitivity.shared_bias_sd": 0.15, "sensitivity.drift_sd": 0.05},
        keep=Keep.BIASES,
    ),
    Refit(
        "bias_off",
        "no level bias of all reconstructed evidence and no drift allowed",
        {"sensitivity.shared_bias_sd": 0.0, "sensitivity.drift_sd": 0.0},
    ),
    Refit(
        "no_adoption",
        "untreated levels and trends do not go along with an early start",
        {"baseline.level_adoption_sd": 0.0, "baseline.drift_adoption_sd": 0.0},
    ),
    Refit(
        "no_national_walk",
        "no steps and shocks common to all sites",
        {"baseline.national_walk": 0},
        pilot=Pilot.ALONE,
    ),
    Refit(
        "smooth_sites",
        "sites depart from the nation smoothly, as a second-order random walk",
        {"baseline.site_curve_order": 2},
    ),
    Refit(
        "no_outliers",
        "no outlying bias of experts and of the national series",
        {"baseline.contamination": 0.0},
    ),
)


def effort() -> Effort:
    """How long the refits run."""
    return Effort(_SHORT, _FEWEST)


def run_variants(
    jobs: Sequence[Job],
    folder: Path,
    *,
    variants: Sequence[Refit] = VARIANTS,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, dict[str, xr.Dataset]]:
    """Make the refits of `VARIANTS`; see `lndbayes.evidence.refits.run_refits`.

    Returns
    -------
    dict of str to dict of str to xarray.Dataset
        By outcome and variant: ``pooled`` (chain, draw) and ``level`` (chain, draw, site), link
        scale; for ``bias_on`` also the leverages of the pooled and the site effects.
    """
    return run_refits(
        jobs, variants, folder, effort=effort(), workers=workers, scheduler=scheduler, say=say
    )


def sensitivity_table(
    outcome: str,
    base: xr.Dataset,
    variants: Mapping[str, xr.Dataset],
    prior_sd: float,
    *,
    ci_prob: float = CI_PROB,
) -> pd.DataFrame:
    """Pooled effect under every variant.

    Parameters
    ----------
    outcome : str
        Name of the outcome.
    base : xarray.Dataset
        `lndbayes.evidence.kept.kept_draws` of the main fit.
    variants : mapping of str to xarray.Dataset
        From `run_variants`.
    prior_sd : float
        Standard deviation of the same pooled effect under the prior.
    ci_prob : float
        Probability of the intervals.

    Returns
    -------
    pandas.DataFrame
        Columns outcome, variant, label, mean, sd, lower, median, upper, ci_prob, prior_sd,
        sd_ratio (to the prior's sd), sd_ratio_base (to the main fit's), shift (of the mean, in sds
        of the main fit), note.
    """
    labels = {BASE: "all evidence, as specified"} | {v.name: v.label for v in VARIANTS}
    rows = []
    centre = summarise(base["pooled"], ci_prob=ci_prob).iloc[0]
    for name, draws in {BASE: base, **variants}.items():
        row = summarise(draws["pooled"], ci_prob=ci_prob).iloc[0]
        rows.append(
            {
                "outcome": outcome,
                "variant": name,
                "label": labels[name],
                **{k: row[k] for k in ("mean", "sd", "lower", "median", "upper", "ci_prob")},
                "prior_sd": prior_sd,
                "sd_ratio": row["sd"] / prior_sd,
                "sd_ratio_base": row["sd"] / centre["sd"],
                "shift": (row["mean"] - centre["mean"]) / centre["sd"],
                "note": _note(draws),
            }
        )
    return pd.DataFrame(rows)


def _note(draws: xr.Dataset) -> str:
    """What a reader should know of the refit's draws before trusting its row."""
    parts = []
    if first := draws.attrs.get("same_as"):
        label = {v.name: v.label for v in VARIANTS}.get(str(first), "all evidence")
        parts.append(f"not refitted, since these data make it the same as: {label}")
    if first == BASE:  # the main fit's draws have checks of their own
        return "; ".join(parts)
    if divergences := int(draws.attrs.get("divergences", 0)):
        parts.append(f"{divergences} divergent transition{'s' * (divergences != 1)}")
    ess = float(draws.get("pooled_ess", np.inf))
    if not ess >= _FEWEST:
        parts.append(f"only {ess:.0f} effective draws: indicative")
    return "; ".join(parts)
