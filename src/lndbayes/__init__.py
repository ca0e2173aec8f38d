"""Bayesian evaluation of services that went live before anyone gathered a baseline."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lndbayes.checks.battery import run_checks
    from lndbayes.data.evaluation import EvaluationData, read_evaluation
    from lndbayes.estimands.averted import events_averted
    from lndbayes.estimands.effects import new_site_effect, pooled_effect, site_effects
    from lndbayes.estimands.mix_effects import component_effects
    from lndbayes.estimands.summaries import summarise
    from lndbayes.fitting.fit import fit, load_fit, save_fit
    from lndbayes.fitting.parallel import FitJob, fit_many
    from lndbayes.model.build import build_model
    from lndbayes.money.costs import load_costs
    from lndbayes.money.savings import savings
    from lndbayes.report import write_report
    from lndbayes.spec.model_spec import ModelSpec, load_spec, with_changes
    from lndbayes.spec.prior_table import prior_table
    from lndbayes.synthetic import simulate

    __version__: str

__all__ = [
    "EvaluationData",
    "FitJob",
    "ModelSpec",
    "__version__",
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
    "with_changes",
    "write_report",
]

#: The module of every public name. Each is imported when first asked for: reading a help text or
#: checking a directory should not wait for samplers, compilers and figures.
_HOME = {
    # data
    "EvaluationData": "lndbayes.data.evaluation",
    "read_evaluation": "lndbayes.data.evaluation",
    "simulate": "lndbayes.synthetic",
    # specs and fits
    "ModelSpec": "lndbayes.spec.model_spec",
    "load_spec": "lndbayes.spec.model_spec",
    "with_changes": "lndbayes.spec.model_spec",
    "prior_table": "lndbayes.spec.prior_table",
    "build_model": "lndbayes.model.build",
    "fit": "lndbayes.fitting.fit",
    "load_fit": "lndbayes.fitting.fit",
    "save_fit": "lndbayes.fitting.fit",
    "FitJob": "lndbayes.fitting.parallel",
    "fit_many": "lndbayes.fitting.parallel",
    "run_checks": "lndbayes.checks.battery",
    # estimands, from draws
    "component_effects": "lndbayes.estimands.mix_effects",
    "new_site_effect": "lndbayes.estimands.effects",
    "pooled_effect": "lndbayes.estimands.effects",
    "site_effects": "lndbayes.estimands.effects",
    "events_averted": "lndbayes.estimands.averted",
    "summarise": "lndbayes.estimands.summaries",
    # money, and what is handed on
    "load_costs": "lndbayes.money.costs",
    "savings": "lndbayes.money.savings",
    "write_report": "lndbayes.report",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("lndbayes")
    if name not in _HOME:
        raise AttributeError(f"module 'lndbayes' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
