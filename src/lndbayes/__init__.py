"""Bayesian evaluation of services that went live before anyone gathered a baseline."""

from __future__ import annotations

# estimands, from draws
from lndbayes.averted import events_averted

# fits and checks
from lndbayes.checks.battery import run_checks

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
from lndbayes.fit import fit, load_fit, save_fit
from lndbayes.many import FitJob, fit_many

# models
from lndbayes.model.build import build_model
from lndbayes.priors import prior_table
from lndbayes.report import write_report
from lndbayes.savings import savings
from lndbayes.simulate import simulate
from lndbayes.spec import ModelSpec, load_spec
from lndbayes.summaries import summarise

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
