"""What a spec says before any fit: prior table and prior predictive summary, as text."""

from __future__ import annotations

import numpy as np

from lndbayes.data.evaluation import EvaluationData
from lndbayes.model.design import build_design
from lndbayes.model.predictive import prior_draws
from lndbayes.model.surface import linear_predictors
from lndbayes.spec.families import RATIO, inverse
from lndbayes.spec.model_spec import ModelSpec
from lndbayes.spec.prior_table import prior_table

__all__ = ["prior_report"]

_DRAWS = 500
_QUANTILES = (0.05, 0.5, 0.95)


def prior_report(spec: ModelSpec, data: EvaluationData) -> str:
    """Describe the priors and what they predict for this evaluation.

    Parameters
    ----------
    spec : ModelSpec
        The spec.
    data : EvaluationData
        Gives sites, months and exposures; its counts are not used.

    Returns
    -------
    str
        The prior table, then 5, 50 and 95 per cent points of the prior predictive distribution of
        the untreated rate, of the month-to-month change of the exposure-weighted national rate, of
        the effect (odds ratio, event months of the window) and of the events averted.
    """
    design = build_design(spec, data)
    table = prior_table(spec, interventions=len(design.coords["intervention"]))
    text = table.round(3).to_string(index=False, max_colwidth=60)
    values = prior_draws(spec, design, _DRAWS, spec.sampling.seed)
    eta0, eta1 = linear_predictors(values, design)
    link = spec.family.link
    p0, p1 = inverse(link, eta0), inverse(link, eta1)
    n, event = design["exposure_all"], design["event_time"]
    weight = n / np.maximum(n.sum(axis=0), 1)
    observed = n.sum(axis=0) > 0
    national = (p0 * weight).sum(axis=-2)[..., observed]
    change = national[..., 1:] / national[..., :-1]
    first, last = spec.effect.window
    window = (event >= first) & (event <= last)
    lines = {
        "untreated rate of a site-month": p0[..., n > 0],
        "month-to-month ratio of the national rate": change,
        f"effect in event months {first} to {last}, {RATIO[link]}": np.exp(
            (eta1 - eta0)[..., window]
        ),
        f"{spec.outcome.event} averted, all sites": ((n * (event >= 0)) * (p0 - p1)).sum(
            axis=(-1, -2)
        ),
    }
    rows = [
        f"  {name}: " + ", ".join(f"{q:.3g}" for q in np.quantile(draws, _QUANTILES))
        for name, draws in lines.items()
    ]
    return "\n".join([text, "", "prior predictive, 5%, 50% and 95% points:", *rows])
