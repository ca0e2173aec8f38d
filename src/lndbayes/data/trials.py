"""Whether an outcome's exposure can be a number of trials, for families that need it to be."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lndbayes.base.errors import Code, Problem
from lndbayes.data.evaluation import EvaluationData
from lndbayes.data.problems import data_error
from lndbayes.data.rules import kinds_of_outcomes
from lndbayes.data.schema import EVIDENCE, OUTCOMES

__all__ = ["check_trials"]


def check_trials(data: EvaluationData, outcome: str) -> None:
    """Check that an outcome counts events among trials.

    The tables cannot say whether `exposure` is a number of trials or an amount: the model's family
    does. A family with trials calls this before it uses the data.

    Parameters
    ----------
    data : EvaluationData
        The evaluation data.
    outcome : str
        Outcome to check, in the outcomes table and in all evidence on it.

    Raises
    ------
    DataError
        If the outcome is absent or continuous, or if any of its exposures is not whole, its counts
        exceed the exposure (bands together), or its rates are not below 1; all problems at once.
    """
    rows = data.outcomes[data.outcomes["outcome"] == outcome]
    if rows.empty:
        where = OUTCOMES.file, "there are no rows for the outcome", None, "outcome", outcome
        raise data_error([Problem(*where, Code.UNKNOWN_OUTCOME)])
    if kinds_of_outcomes(rows)[outcome] == "continuous":
        rule = "the outcome is continuous: it has no trials"
        raise data_error([Problem(OUTCOMES.file, rule, None, "outcome", outcome, Code.WRONG_KIND)])
    problems = _check_counts(OUTCOMES.file, _least_events(rows), "exposure")
    for name, table in EVIDENCE.items():
        frame = data.evidence[name]
        frame = frame[frame["outcome"] == outcome]
        if "count" in frame:
            trials = "exposure" if "exposure" in frame else "persons"
            problems += _check_counts(table.file, frame, trials)
        rate = {"national": "rate", "elicited": "q95"}.get(name)
        if rate:
            rule = "must be below 1: it is a share of trials"
            problems += _problems(table.file, frame, frame[rate] >= 1, rate, rule, Code.NO_TRIALS)
    if problems:
        raise data_error(problems)


def _least_events(rows: pd.DataFrame) -> pd.DataFrame:
    """Fewest events that each row tells of, with the bands of a cell together."""
    least = rows["count"].where(rows["status"] == "observed", rows["count_low"])
    cell = [rows[name] for name in ("site", "month", "stratum")]
    return rows.assign(count=least.groupby(cell).transform("sum"))


def _check_counts(file: str, frame: pd.DataFrame, trials: str) -> list[Problem]:
    exposure = frame[trials]
    rule = "must be a whole number: it counts trials"
    problems = _problems(file, frame, exposure != np.round(exposure), trials, rule, Code.NO_TRIALS)
    rule = f"must not exceed {trials}: it counts events among trials"
    more = frame["count"] > exposure
    return problems + _problems(file, frame, more, "count", rule, Code.TOO_MANY_EVENTS)


def _problems(
    file: str, frame: pd.DataFrame, broken: pd.Series, column: str, rule: str, code: Code
) -> list[Problem]:
    rows = frame[broken & frame[column].notna()]
    return [
        Problem(file, rule, int(row), column, f"{value:g}", code)
        for row, value in zip(rows["row"], rows[column], strict=True)
    ]
