"""What an effect needs of the data: refused in a line each, before anything is fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from family_cases import family_spec, family_tables
from lndbayes.base.errors import DataError, Problem
from lndbayes.fitting.fit import fit
from lndbayes.model.support import supported_design
from lndbayes.spec.families import FAMILIES
from lndbayes.spec.model_spec import with_changes
from model_cases import Tables, read_tables, tiny_tables

Change = Callable[[pd.DataFrame], pd.DataFrame]
CHANNELS = ("not_yet_treated", "retrospective", "national", "history", "elicited")
WINDOW = {"effect.window": [3, 6]}


def found(tables: Tables, folder, family: str = "beta_binomial", **changes: Any):
    """The one problem that the data have with the spec, none if they carry it."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    spec = with_changes(family_spec(family), WINDOW | named)
    try:
        supported_design(spec, read_tables(tables, folder))
    except DataError as error:
        (problem,) = error.problems
        return problem
    return None


def missing(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(count=None, status="missing")


def no_exposure(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(count=0, exposure=0)


def only(keep: Callable[[pd.DataFrame], pd.Series]) -> Change:
    return lambda frame: frame[keep(frame)]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_tiny_evaluation_carries_every_family(tmp_path, family):
    assert found(family_tables(family), tmp_path, family) is None


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("change", [missing, no_exposure])
def test_an_outcome_without_data_is_refused(tmp_path, family, change):
    """It was sampled from its prior, after the evidence beside it."""
    tables = family_tables(family).change("outcomes.csv", change)
    problem = found(tables, tmp_path, family)
    assert isinstance(problem, Problem)
    assert (problem.file, problem.column) == ("outcomes.csv", "status")
    assert "no cell of custody has data" in problem.rule
    with pytest.raises(DataError, match="no cell of custody has data"):
        fit(family_spec(family), read_tables(tables, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_means_have_no_family(tmp_path, family):
    def means(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(count=None, n=20, mean=9.5, sd=4.0)

    problem = found(tiny_tables(evidence=False).change("outcomes.csv", means), tmp_path, family)
    assert isinstance(problem, Problem)
    assert (problem.file, problem.column) == ("outcomes.csv", "mean")
    assert "n, mean and sd" in problem.rule


def test_an_outcome_without_treated_months_in_the_window_is_refused(tmp_path):
    early = tiny_tables().change("outcomes.csv", only(lambda f: f["month"] < "2013-12"))
    problem = found(early, tmp_path)
    assert isinstance(problem, Problem)
    assert problem.rule.startswith("no cell of custody 3 to 6 months after go-live has data")


def test_go_live_too_late_for_the_window_is_refused(tmp_path):
    late = tiny_tables().change("sites.csv", lambda f: f.assign(go_live="2014-07"))
    problem = found(late, tmp_path)
    assert isinstance(problem, Problem)
    assert (problem.file, problem.column) == ("sites.csv", "go_live")


def test_a_spec_that_hides_every_treated_month_is_refused(tmp_path):
    problem = found(tiny_tables(), tmp_path, effect__hide_first_months=60)
    assert isinstance(problem, Problem)
    assert "no treated cell of custody is in the likelihood" in problem.rule


@pytest.mark.slow
@pytest.mark.parametrize("channel", CHANNELS)
def test_one_source_of_the_untreated_state_is_enough_and_none_is_refused(tmp_path, channel):
    off = {f"baseline__channels__{name}": False for name in CHANNELS}
    assert found(tiny_tables(), tmp_path, **off | {f"baseline__channels__{channel}": True}) is None
    problem = found(tiny_tables(), tmp_path, **off)
    assert isinstance(problem, Problem)
    assert "nothing speaks of custody without the service" in problem.rule
