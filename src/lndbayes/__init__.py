"""Bayesian evaluation of services that went live before anyone gathered a baseline."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# estimands, from draws
from lndbayes.averted import events_averted

# money
from lndbayes.costs import load_costs

# data
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.effects import (
    component_effects,
    new_site_effect,
    pooled_effect,
    site_effects,
)

# fits
from lndbayes.fit import fit, load_fit, save_fit
from lndbayes.many import FitJob, fit_many

# priors
from lndbayes.priors import prior_table
from lndbayes.savings import savings
from lndbayes.simulate import simulate
from lndbayes.spec import ModelSpec, load_spec
from lndbayes.summaries import summarise

if TYPE_CHECKING:
    from lndbayes.checks.battery import run_checks
    from lndbayes.model.build import build_model
    from lndbayes.report import write_report

__all__ = [
    "EvaluationData",
    "FitJob",
    "ModelSpec",
    "build_model",
    "component_effects",
    "events_averted",
    "fit",
    "fit_many",
    "load_costs",
    "load_fit",
    "load_spec",
    "new_site_effect",
    "pooled_effect",
    "prior_table",
    "read_evaluation",
    "run_checks",
    "save_fit",
    "savings",
    "simulate",
    "site_effects",
    "summarise",
    "write_report",
]

#: What a fit does not need, and the module it is in: imported when first asked for, because PyMC,
#: the report's writers and ArviZ's checks are a good part of the wait for a first draw.
_LATER = {
    "build_model": "lndbayes.model.build",
    "run_checks": "lndbayes.checks.battery",
    "write_report": "lndbayes.report",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'lndbayes' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
