"""Tables of one outcome, from its stored draws alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import xarray as xr

from lndbayes.base.vocabulary import Estimand, VariantName
from lndbayes.checks.result import (
    CheckResult,
    Status,
    bearing_failures,
)
from lndbayes.estimands.bounds import bounds_table
from lndbayes.estimands.compared import compared_columns, event_study_table
from lndbayes.estimands.covariates import covariates_table
from lndbayes.estimands.effects import pooled_effect
from lndbayes.estimands.mix_effects import mix_is_told
from lndbayes.estimands.overview import OVERVIEW_COLUMNS, overview_row
from lndbayes.estimands.regression_to_mean import before_after_table
from lndbayes.estimands.reported import (
    baseline_table,
    effects_table,
    link_draws,
    prior_as_posterior,
)
from lndbayes.estimands.summaries import summarise
from lndbayes.evidence.assumption import (
    ASSUMPTION,
    effect_labels,
    label_assumption,
    prior_sd_ratios,
    site_labels,
)
from lndbayes.evidence.attribution.tables import ledger_table
from lndbayes.evidence.kept import kept_draws
from lndbayes.evidence.placebo import PlaceboResult, placebo_result, placebo_table
from lndbayes.evidence.powerscale import powerscale_table
from lndbayes.evidence.sensitivity import sensitivity_table
from lndbayes.evidence.tipping import weighted_table
from lndbayes.spec.model_spec import ModelSpec
from lndbayes.spec.prior_table import prior_table

__all__ = ["Outcome", "exposure_fit", "outcome_tables"]


@dataclass(frozen=True)
class Outcome:
    """One outcome's fit with what was made from it; `reported` serves checks and tables."""

    spec: ModelSpec
    fit: xr.DataTree
    variants: Mapping[str, xr.Dataset]
    checks: Sequence[CheckResult]
    reported: Mapping[Estimand, xr.DataArray] = field(default_factory=dict)
    placebo: xr.Dataset | None = None


def exposure_fit(spec: ModelSpec, done: Mapping[str, Outcome]) -> xr.DataTree | None:
    """Fit of the outcome whose counts are this one's exposure, if it is in the run."""
    parent = done.get(spec.outcome.exposure_outcome)
    return parent.fit if parent is not None else None


def outcome_tables(outcome: Outcome, exposures: xr.DataTree | None) -> dict[str, pd.DataFrame]:
    """Every table of an outcome but the savings, by the name of its file.

    Parameters
    ----------
    outcome : Outcome
        Fit, refits and checks.
    exposures : xarray.DataTree or None
        Fit of the outcome whose counts are this one's exposure.
    """
    spec, tree = outcome.spec, outcome.fit
    window = spec.effect.window
    base = kept_draws(tree, window)
    prior = prior_as_posterior(tree)
    prior_sd = float(summarise(pooled_effect(prior, "link", window))["sd"].iloc[0])
    interventions = tree["posterior"].sizes["intervention"]
    priors = prior_table(spec, interventions=interventions)
    selected = spec.outcome.selected
    draws = outcome.reported
    bias_on = outcome.variants.get(VariantName.BIAS_ON)
    placebo = placebo_result(spec, tree, outcome.placebo)
    overview = pd.DataFrame([_overview_row(outcome, prior_sd, placebo)])
    found = {
        "overview": overview[list(OVERVIEW_COLUMNS)].assign(**compared_columns(tree, window)),
        "event_study": event_study_table(tree),
        "effects": effects_table(tree, window, bias_on, draws=draws),
        "before_after": before_after_table(tree, window),
        "covariate_effects": covariates_table(tree),
        "baseline": baseline_table(tree, window),
        "priors": priors.assign(outcome=spec.outcome.name),
        "placebo": placebo_table(placebo),
    }
    if selected:
        return found | {"bounds": bounds_table(tree, exposures, window)}
    ledger = ledger_table(tree, window, base, outcome.variants)
    ratios = prior_sd_ratios(draws, link_draws(prior, window))
    found |= {
        "powerscale": powerscale_table(tree, spec, draws[Estimand.POOLED_LINK]),
        "tipping": weighted_table(spec, tree, outcome.variants[VariantName.BIAS_ON]),
        "ledger": ledger,
        "sensitivity": sensitivity_table(spec.outcome.name, base, outcome.variants, prior_sd),
    }
    return _with_assumption(found, ledger, ratios, mix_told=mix_is_told(tree))


def _overview_row(outcome: Outcome, prior_sd: float, placebo: PlaceboResult) -> dict[str, Any]:
    """Row of the overview, with what else of the outcome its verdict asks for."""
    run = placebo.status is not Status.NOT_RUN
    return overview_row(
        outcome.spec,
        outcome.fit,
        prior_sd,
        refits=outcome.variants,
        failed=bearing_failures(outcome.checks),
        largest_violation=placebo.largest if run else None,
        no_placebo=placebo.reason,
    )


#: Tables whose rows all speak of the pooled effect.
_OF_POOLED = ("overview", "before_after", "tipping")


def _with_assumption(
    tables: Mapping[str, pd.DataFrame],
    ledger: pd.DataFrame,
    ratios: Mapping[tuple[str, str, str], float],
    *,
    mix_told: bool,
) -> dict[str, pd.DataFrame]:
    """Say in every row that concludes something what rests on assumption only."""
    effects = tables["effects"]
    labelled = effects.assign(
        **{ASSUMPTION: effect_labels(effects, ledger, ratios, mix_told=mix_told)}
    )
    pooled = labelled.loc[labelled["estimand"] == "pooled", ASSUMPTION].iloc[0]
    of_site = tables["baseline"]["site"].map(site_labels(ledger))
    refits = [label_assumption(sd_ratio=float(x)) for x in tables["sensitivity"]["sd_ratio"]]
    return {
        **tables,
        "effects": labelled,
        "baseline": tables["baseline"].assign(**{ASSUMPTION: of_site}),
        "sensitivity": tables["sensitivity"].assign(**{ASSUMPTION: refits}),
        **{k: tables[k].assign(**{ASSUMPTION: pooled}) for k in _OF_POOLED},
    }
