"""Whether data can carry a model: cells, treated and untreated, before anything is fitted."""

from __future__ import annotations

import numpy as np

from lndbayes.base.errors import DataError, Problem
from lndbayes.data.evaluation import EvaluationData
from lndbayes.model.cells import incomplete_cells
from lndbayes.model.channels import OFF_SD
from lndbayes.model.design import Design, acting_seams, build_design
from lndbayes.model.shown import own_treated, shown_months, window_fault
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["idle_parts", "lacking", "supported_design"]

_FILE = "outcomes.csv"


def supported_design(spec: ModelSpec, data: EvaluationData) -> Design:
    """Build a design that data can carry.

    Parameters
    ----------
    spec : ModelSpec
        The spec.
    data : EvaluationData
        The evaluation data.

    Returns
    -------
    Design
        See `lndbayes.model.design.build_design`.

    Raises
    ------
    DataError
        As `lndbayes.model.design.build_design`, or with what `lacking` finds.
    """
    design = build_design(spec, data)
    if problems := lacking(spec, data, design):
        raise DataError(problems)
    return design


def lacking(spec: ModelSpec, data: EvaluationData, design: Design) -> list[Problem]:
    """Say what an effect needs and a design has not.

    Parameters
    ----------
    spec : ModelSpec
        Gives outcome, window and channels.
    data : EvaluationData
        Gives the length of a period.
    design : Design
        Of this spec and these data.

    Returns
    -------
    list of Problem
        Empty if there is a treated cell in the likelihood, the window is one that treated cells
        show, and something speaks of the untreated state. Without these the posterior of what they
        are about is its prior, however narrow.
    """
    name = spec.outcome.name
    held, used = design["exposure_all"] > 0, design["site_weight"] > 0
    event = design["event_time"]
    if not held.any():
        rule = f"no cell of {name} has data: all are missing, without exposure or without a row"
        return [Problem(_FILE, rule, column="status")]
    first, last = spec.effect.window
    window = (event >= first) & (event <= last)
    problems = []
    if not window.any():
        rule = (
            f"no site has a {data.period} {first} to {last} months after go-live within the "
            f"evaluation's months: nothing to estimate for {name}"
        )
        problems.append(Problem("sites.csv", rule, column="go_live"))
    elif not (held & window).any():
        rule = f"no cell of {name} {first} to {last} months after go-live has data"
        problems.append(Problem(_FILE, f"{rule}: nothing to estimate", column="month"))
    elif not own_treated(event, used).any():
        rule = (
            f"no treated cell of {name} is in the likelihood: all lie in the transition, in the "
            "months that the spec hides, or are incomplete (coverage below 1)"
        )
        problems.append(Problem("spec", rule, column="effect"))
    elif fault := window_fault(
        shown_months(event, own_treated(event, used)),
        spec.effect.window,
        round(2 * float(design["half_period"])),
    ):
        problems.append(Problem("spec", f"{name}: {fault}", column="effect.window"))
    if not (used & (event < 0)).any() and not _channels(design):
        rule = (
            f"nothing speaks of {name} without the service: no untreated cell is in the "
            "likelihood, and no source of evidence that is on has rows on it"
        )
        problems.append(Problem(_FILE, rule, column="month"))
    return problems


def _channels(design: Design) -> bool:
    """Whether any reconstructed source is on and has rows."""
    counted = (design[f"{name}_exposure"] for name in ("retrospective", "history"))
    normal = (np.diag(design[f"{name}_chol"]) for name in ("national", "elicited"))
    return any((n > 0).any() for n in counted) or any((sd < OFF_SD).any() for sd in normal)


def idle_parts(spec: ModelSpec, data: EvaluationData) -> list[str]:
    """Cells and seams of a spec, and evidence of its outcome, that do not enter its model."""
    name, notes = spec.outcome.name, []
    if count := incomplete_cells(spec, data):
        notes.append(
            f"{count:,} cells of {name} have coverage below 1 and are left out of the likelihood: "
            "which cases lack their first event is not known"
        )
    acting = acting_seams(spec, data)
    if idle := [month for month in spec.baseline.seams if month not in acting]:
        notes.append(
            f"seams of {name} with no step between two of the evaluation's months are left out: "
            + ", ".join(idle)
        )
    for channel, rows in data.evidence.items():
        on = getattr(spec.baseline.channels, channel, True)
        if count := 0 if on else int((rows["outcome"] == name).sum()):
            notes.append(
                f"{count:,} rows of {name} in evidence/{channel}.csv are left out: "
                f"baseline.channels.{channel} is off in its spec"
            )
    return notes
