"""One evaluation as several: the same sites and months, a stratum of the persons in each."""

from __future__ import annotations

import dataclasses

import pandas as pd

from lndbayes.base.errors import Code, DataError, Problem
from lndbayes.base.names import MONTH, OUTCOME, SITE
from lndbayes.data.evaluation import EvaluationData
from lndbayes.data.panel import sum_cells
from lndbayes.data.schema import OUTCOMES

__all__ = ["by_stratum"]

_CELL = (OUTCOME, SITE, MONTH)


def by_stratum(data: EvaluationData, outcome: str) -> dict[str, EvaluationData]:
    """Split one outcome's cells by stratum.

    Parameters
    ----------
    data : EvaluationData
        The evaluation data; left as they are.
    outcome : str
        The outcome; no other is kept.

    Returns
    -------
    dict of str to EvaluationData
        By label, in the order of the text. Each has the sites, mix, referrals and months of the
        whole, the rows of its stratum alone, a content hash of its own, and no evidence beside the
        panel: records of the past, national series, histories and judgements are not by stratum.

    Raises
    ------
    DataError
        If the outcome has no rows, no strata, or a month that is not split.
    """
    rows = data.outcomes[data.outcomes["outcome"] == outcome]
    _check(rows, outcome)
    labels = sorted(str(label) for label in rows["stratum"].unique())
    return {label: _part(data, rows, outcome, label) for label in labels}


def _check(rows: pd.DataFrame, outcome: str) -> None:
    file = OUTCOMES.file
    if rows.empty:
        where = file, "has no rows of this outcome", None, "outcome", outcome
        raise DataError(Problem(*where, Code.UNKNOWN_OUTCOME))
    blank = rows["stratum"] == ""
    if blank.all():
        rule = f"outcome {outcome} is not stratified: write its cells by stratum"
        rule += " (lndbayes assemble --strata)"
        raise DataError(Problem(file, rule, column="stratum", code=Code.MISSING_VALUE))
    rule = f"must not be empty where other months of outcome {outcome} have a stratum"
    problems = [
        Problem(file, rule, int(row), "stratum", code=Code.MISSING_VALUE)
        for row in rows.loc[blank, "row"]
    ]
    if problems:
        raise DataError(problems)


def _part(data: EvaluationData, rows: pd.DataFrame, outcome: str, label: str) -> EvaluationData:
    own = rows[rows["stratum"] == label].reset_index(drop=True)
    whole = data.ds.sel({OUTCOME: [outcome]})
    cells, _ = sum_cells(own, {dim: whole[dim].to_numpy() for dim in _CELL})
    ds = whole.assign({name: (_CELL, values, whole[name].attrs) for name, values in cells.items()})
    for variable in ds.variables.values():
        variable.values.setflags(write=False)
    notes = {
        **{k: v for k, v in data.notes.items() if k != "strata"},
        "stratum": f"{label}, of outcome {outcome}",
        "evidence beside the panel": "not by stratum: left out",
    }
    return dataclasses.replace(
        data,
        ds=ds,
        outcomes=own,
        evidence={name: frame.iloc[:0] for name, frame in data.evidence.items()},
        notes=notes,
    )
