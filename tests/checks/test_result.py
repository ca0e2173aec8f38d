"""Verdicts of several checks together."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest

from lndbayes.checks.result import (
    CheckResult,
    Status,
    at_least,
    at_most,
    checks_table,
    exit_code,
    not_run,
    overall,
)


def results(*statuses: Status) -> list[CheckResult]:
    return [CheckResult("custody", f"c{i}", s, 1.0, "<= 2", "m") for i, s in enumerate(statuses)]


PASS, REVIEW, FAIL, NOT_RUN = Status.PASS, Status.REVIEW, Status.FAIL, Status.NOT_RUN


@pytest.mark.parametrize(
    ("statuses", "verdict", "code"),
    [
        ((PASS, PASS), PASS, 0),
        ((PASS, REVIEW), REVIEW, 0),
        ((PASS, NOT_RUN), REVIEW, 0),
        ((PASS, REVIEW, FAIL, NOT_RUN), FAIL, 1),
        ((), FAIL, 1),
    ],
)
def test_the_worst_decides(statuses, verdict, code):
    assert overall(results(*statuses)) is verdict
    assert exit_code(results(*statuses)) == code


def test_statuses_are_written_as_the_contract_says():
    assert [str(s) for s in Status] == ["PASS", "REVIEW", "FAIL", "NOT RUN"]


def test_a_table_of_nothing_has_its_columns():
    table = checks_table([])
    assert list(table.columns) == ["outcome", "check", "status", "value", "threshold", "message"]


def test_a_missing_value_is_empty():
    table = checks_table([*results(PASS), not_run("custody", "x", "no data")])
    assert table["value"].isna().tolist() == [False, True]
    assert table["message"].iloc[1] == "Not run: no data."


def test_results_are_frozen_and_compare_without_their_tables():
    result = results(PASS)[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.status = FAIL  # type: ignore[misc]  # frozen is what is tested
    assert dataclasses.replace(result, table=pd.DataFrame({"a": [1]})) == result


@pytest.mark.parametrize(
    ("value", "high", "low"),
    [
        (1.0, PASS, FAIL),
        (2.0, PASS, FAIL),
        (2.5, REVIEW, FAIL),
        (3.0, REVIEW, FAIL),
        (4.0, FAIL, REVIEW),
        (5.0, FAIL, PASS),
        (math.nan, FAIL, FAIL),
        (math.inf, FAIL, PASS),
        (-math.inf, PASS, FAIL),
    ],
)
def test_limits_include_themselves_and_nan_fails(value, high, low):
    assert at_most(value, 2.0, 3.0) is high
    assert at_least(value, 5.0, 4.0) is low
