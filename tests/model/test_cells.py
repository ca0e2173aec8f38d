"""Cells that a family has no likelihood for, and the stages of those it has, by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from family_cases import family_spec, family_tables
from lndbayes.base.errors import DataError, Problem
from lndbayes.data.bands import band_levels
from lndbayes.model.cells import WIDEST, cell_arrays, incomplete_cells
from lndbayes.model.design import build_design
from lndbayes.spec.model_spec import with_changes
from model_cases import Tables, read_tables, tiny_tables

Change = Callable[[pd.DataFrame], pd.DataFrame]
LEVELS = ("ordered_bands", "duration_hazard", "ordered_change")


@pytest.fixture
def cells(tmp_path):
    """Arrays of a family's tiny evaluation after a change of its outcomes."""

    def arrange(family: str, change: Change = lambda frame: frame, tables: Tables | None = None):
        tables = (tables or family_tables(family)).change("outcomes.csv", change)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return cell_arrays(family_spec(family), read_tables(tables, folder))

    return arrange


def refused(build: Callable[[], object]) -> tuple[Problem, ...]:
    with pytest.raises(DataError) as caught:
        build()
    return caught.value.problems


def hide(low: int, high: int, *rows: int, status: str = "suppressed") -> Change:
    """Withhold the counts of rows, by position."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({"count": object}).assign(count_low=None, count_high=None)
        columns = ["count", "status", "count_low", "count_high"]
        for row in rows:
            frame.loc[frame.index[row], columns] = [None, status, low, high]
        return frame

    return change


def put(row: int, **values: object) -> Change:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        for name, value in values.items():
            frame.loc[frame.index[row], name] = value
        return frame

    return change


# ---- refusals


@pytest.mark.slow
@pytest.mark.parametrize("family", LEVELS)
@pytest.mark.parametrize("status", ["suppressed", "rounded"])
def test_a_staged_family_needs_exact_counts(cells, family, status):
    (problem,) = refused(lambda: cells(family, hide(1, 4, 0, status=status)))
    assert (problem.file, problem.column) == ("outcomes.csv", "status")
    assert "site T1, month 2013-01" in problem.rule
    assert repr(family) in problem.rule
    assert "needs exact counts" in problem.rule


def test_an_interval_beyond_the_trials_stands_for_no_more_than_the_trials(cells):
    n = int(family_tables("beta_binomial").frames["outcomes.csv"]["exposure"].iloc[0])
    least = max(n - 10, 0)
    found = cells("beta_binomial", hide(least, n + 500, 0))
    assert (found["low"][0, 0], found["high"][0, 0]) == (least, n)


def test_an_interval_stands_for_forty_counts_at_most(cells):
    """Forty pass, one more is refused, and every such cell is told."""
    assert WIDEST == 40
    family = "negative_binomial"
    passed = cells(family, hide(3, 42, 0))
    assert (passed["low"][0, 0], passed["total"][0, 0] > 0) == (3, True)
    problems = refused(lambda: cells(family, hide(3, 43, 0, 21)))
    assert [p.column for p in problems] == ["count_high"] * 2
    for problem, cell in zip(
        problems, ("site T1, month 2013-01", "site T2, month 2013-02"), strict=True
    ):
        assert cell in problem.rule
        assert "more than 40 counts" in problem.rule


def test_every_case_has_at_least_one_event(cells):
    family = "negative_binomial_from_one"
    exposure = family_tables(family).frames["outcomes.csv"]["exposure"].iloc[0]
    exact = cells(family, put(0, count=exposure))
    assert exact["low"][0, 0] == exact["high"][0, 0] == 0  # less one event a case
    (problem,) = refused(lambda: cells(family, put(0, count=exposure - 1)))
    assert problem.column == "count"
    assert "fewer events than cases" in problem.rule
    assert "site T1, month 2013-01" in problem.rule


def test_lower_bound_of_a_cell_from_one_is_at_least_its_cases(cells):
    family = "negative_binomial_from_one"
    exposure = int(family_tables(family).frames["outcomes.csv"]["exposure"].iloc[0])
    ranged = cells(family, hide(exposure, exposure + 5, 0))
    assert (ranged["low"][0, 0], ranged["high"][0, 0]) == (0, 5)
    (problem,) = refused(lambda: cells(family, hide(exposure - 1, exposure + 5, 0)))
    assert "fewer events than cases" in problem.rule


def test_an_incomplete_cell_from_one_is_as_good_as_missing(tmp_path):
    """The first event of a case may be what is missing, so too few events are no fault."""
    family = "negative_binomial_from_one"
    spec, base = family_spec(family), family_tables(family)

    def built(name, change):
        return build_design(spec, read_tables(base.change("outcomes.csv", change), tmp_path / name))

    def thin(frame):
        frame = frame.assign(coverage=None)
        frame.loc[frame.index[[0, 25]], "coverage"] = 0.5
        frame.loc[frame.index[0], "count"] = 0
        return frame

    def missing(frame):
        frame = frame.astype({"count": object})
        frame.loc[frame.index[[0, 25]], ["count", "status"]] = [None, "missing"]
        return frame

    one, other = built("thin", thin), built("missing", missing)
    for name in ("exposure", "count", "count_high", "coverage", "site_weight", "exposure_exact"):
        np.testing.assert_array_equal(one[name], other[name])
    # the cases are known
    assert (one["exposure_all"] > 0).sum() == (other["exposure_all"] > 0).sum() + 2
    data = read_tables(base.change("outcomes.csv", thin), tmp_path / "counted")
    assert incomplete_cells(spec, data) == 2
    assert incomplete_cells(family_spec("negative_binomial"), data) == 0


def test_cases_are_whole(cells):
    family = "negative_binomial_from_one"
    part = put(0, exposure=20.5, count=90)
    (problem,) = refused(lambda: cells(family, lambda f: part(f.astype({"exposure": float}))))
    assert (problem.column, "whole number" in problem.rule) == ("exposure", True)


def test_spaces_around_the_arrow_of_a_change_are_none_of_its_bands():
    assert band_levels(["1 > 2", "2 >1", "1>1"]) == ("1", "2")


@pytest.mark.parametrize("family", LEVELS)
def test_a_staged_family_needs_bands(cells, family):
    (problem,) = refused(lambda: cells(family, tables=tiny_tables()))
    assert (problem.file, problem.column) == ("outcomes.csv", "category")
    assert problem.rule == f"the family {family!r} needs ordered bands of custody"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1-2", "1>2>3", "12", "1 to 2"])
def test_categories_of_a_change_are_start_and_review(cells, name):
    def rename(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(category=frame["category"].replace({"1>2": name}))

    (problem,) = refused(lambda: cells("ordered_change", rename))
    assert (problem.file, problem.column) == ("outcomes.csv", "category")
    assert problem.rule == "custody needs categories written start>review, such as 1>2"


def test_one_level_is_no_change(cells):
    def only(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["category"] == "1>1"]

    (problem,) = refused(lambda: cells("ordered_change", only))
    assert "start>review" in problem.rule


def test_one_bin_is_no_duration(cells):
    def only(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["category"] == "1 first"]

    (problem,) = refused(lambda: cells("duration_hazard", only))
    assert problem.rule == "custody needs at least two bins"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["beta_binomial", *LEVELS])
def test_trials_are_not_exceeded_where_the_family_has_trials(cells, family):
    problems = refused(lambda: cells(family, put(0, exposure=5, count=6)))
    assert any("exposure" in problem.rule for problem in problems)
    assert {problem.file for problem in problems} == {"outcomes.csv"}


# ---- seams


@pytest.mark.parametrize("month", ["2012-12", "2013-01", "2014-09"])
def test_a_seam_outside_the_evaluations_months_is_left_out(tiny, month):
    """At the first month too: a step there would be the level."""
    spec = with_changes(family_spec("beta_binomial"), {"baseline.seams": ["2013-05", month]})
    without = build_design(with_changes(spec, {"baseline.seams": ["2013-05"]}), tiny)
    found = build_design(spec, tiny)
    assert found.coords == without.coords
    np.testing.assert_array_equal(found["seam_functions"], without["seam_functions"])


def test_a_seam_is_a_step_from_its_month_on(tiny):
    seams = ("2013-02", "2014-08")
    spec = with_changes(family_spec("beta_binomial"), {"baseline.seams": seams})
    design = build_design(spec, tiny)
    assert design.coords["seam_month"] == list(seams)
    for column, first in zip(design["seam_functions"].T, (1, 19), strict=True):
        steps = np.diff(column)
        assert steps[first - 1] == pytest.approx(1.0)
        np.testing.assert_allclose(np.delete(steps, first - 1), 0, atol=1e-12)


# ---- stages, cell by cell from the rows


def by_cell(tables: Tables):
    frame = tables.frames["outcomes.csv"].assign(
        t=lambda f: f["month"].map(lambda m: (int(m[:4]) - 2013) * 12 + int(m[5:]) - 1),
        s=lambda f: f["site"].str[1:].astype(int) - 1,
    )
    for (s, t), rows in frame.groupby(["s", "t"]):
        yield (
            s,
            t,
            int(rows["exposure"].iloc[0]),
            dict(zip(rows["category"], rows["count"], strict=True)),
        )


def stages(found, s: int, t: int) -> list[tuple[float, float]]:
    risk = [found["exposure"][s, t], *found["stage_exposure"][s, t]]
    on = [found["low"][s, t], *found["stage_count"][s, t]]
    return list(zip(risk, on, strict=True))


def test_bands_are_each_given_the_one_before(cells):
    found = cells("ordered_bands")
    assert found["stage"].tolist() == ["2 middle or more", "3 long or more"]
    for s, t, n, k in by_cell(family_tables("ordered_bands")):
        long, middle, short = k["3 long"], k["2 middle"], k["1 short"]
        expected = [(n, short + middle + long), (short + middle + long, middle + long)]
        assert stages(found, s, t) == [*expected, (middle + long, long)]


def test_bins_are_hazards_of_those_still_at_risk(cells):
    """Open cases are not at risk in the bin they are open in."""
    found = cells("duration_hazard")
    assert found["stage"].tolist() == ["2 month"]
    for s, t, n, k in by_cell(family_tables("duration_hazard")):
        first, left = k["1 first"], k["2 month open"]
        assert stages(found, s, t) == [(n, first), (n - first - left, k["2 month"])]


def test_changes_are_bands_of_each_start(cells):
    found = cells("ordered_change")
    labels = ["1>3 or more", "2>2 or more", "2>3 or more", "3>2 or more", "3>3 or more"]
    assert found["stage"].tolist() == labels
    for s, t, _, k in by_cell(family_tables("ordered_change")):
        expected = []
        for a in "123":
            one, two, three = (k[f"{a}>{b}"] for b in "123")
            expected += [(one + two + three, two + three), (two + three, three)]
        assert stages(found, s, t) == expected


#: Labels of the same bands that sort otherwise as text, by family.
RELABELLED = {
    "ordered_bands": {"1 short": "under 6", "2 middle": "6 to 12", "3 long": "12 or more"},
    "duration_hazard": {
        **{"1 first": "0-30 days", "2 month": "31-180 days", "3 later": "181+ days"},
        **{"2 month open": "31-180 days open", "3 later open": "181+ days open"},
    },
    "ordered_change": {
        f"{a}>{b}": f"{new[a]}>{new[b]}"
        for new in ({"1": "9", "2": "10", "3": "100"},)
        for a in "123"
        for b in "123"
    },
}


def relabel(family: str, labels: dict[str, str]) -> Change:
    return lambda frame: frame.assign(category=frame["category"].map(labels))


@pytest.mark.slow
@pytest.mark.parametrize("family", LEVELS)
def test_other_labels_of_the_same_bands_are_the_same_arrays(cells, family):
    """Text order would put 181 before 31: a hazard ratio of 0.40 was found as 0.27."""
    first, again = cells(family), cells(family, relabel(family, RELABELLED[family]))
    assert first.pop("stage").tolist() != again.pop("stage").tolist()
    for name, value in first.items():
        assert value.tobytes() == again[name].tobytes(), name


def test_bands_have_the_order_that_the_spec_declares(tmp_path):
    labels = {"1 short": "short", "2 middle": "middle", "3 long": "long"}
    tables = family_tables("ordered_bands")
    first = cell_arrays(family_spec("ordered_bands"), read_tables(tables, tmp_path / "first"))
    renamed = tables.change("outcomes.csv", relabel("ordered_bands", labels))
    data = read_tables(renamed, tmp_path / "renamed")
    (problem,) = refused(lambda: cell_arrays(family_spec("ordered_bands"), data))
    assert (problem.file, problem.column) == ("outcomes.csv", "category")
    assert "'long' has no number" in problem.rule
    assert "bands = [...] in [likelihood]" in problem.rule
    bands = [*labels.values(), "life"]
    spec = with_changes(family_spec("ordered_bands"), {"likelihood.bands": bands})
    again = cell_arrays(spec, data)
    assert again["stage"].tolist() == ["middle or more", "long or more", "life or more"]
    for name in ("stage_exposure", "stage_count"):
        np.testing.assert_array_equal(again[name][..., :2], first[name])
    # a band without any case in these data is a band
    np.testing.assert_array_equal(again["stage_exposure"][..., 2], first["stage_count"][..., 1])
    assert not again["stage_count"][..., 2].any()
    wrong = with_changes(spec, {"likelihood.bands": ["short", "midle", "long"]})
    (problem,) = refused(lambda: cell_arrays(wrong, data))
    assert "lack 'middle' (did you mean 'midle'?)" in problem.rule


def test_spaces_round_the_arrow_of_a_change_are_no_part_of_a_band(cells):
    spaced = {f"{a}>{b}": f"{a} > {b}" for a in "123" for b in "123"}
    first = cells("ordered_change")
    again = cells("ordered_change", relabel("ordered_change", spaced))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("family", LEVELS)
def test_coverage_of_bands(cells, family):
    """It thins any band, and the first bin; of a change both sides go missing together."""
    whole = cells(family)
    covered = cells(family, tables=family_tables(family, coverage=True))
    less = covered["coverage"] < 1
    first = ("exposure", "low", "high", "total")
    later = ("stage_exposure", "stage_count")
    for name in first if family == "duration_hazard" else (*first, *later):
        np.testing.assert_array_equal(covered[name], whole[name])
    if family == "ordered_change":
        assert not less.any()
        return
    used = whole["total"] > 0
    assert less.any()
    assert set(covered["coverage"][less]) == {0.8}
    assert 0.2 < less[used].mean() < 0.5
    if family == "duration_hazard":
        # an end that is missed looks like no end: shares of later bins are no hazards
        for name in later:
            np.testing.assert_array_equal(covered[name], whole[name] * ~less[..., None])


@pytest.mark.slow
@pytest.mark.parametrize("family", LEVELS)
def test_order_of_rows_does_not_matter(cells, family):
    def shuffle(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.sample(frac=1.0, random_state=3).reset_index(drop=True)

    first, again = cells(family), cells(family, shuffle)
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)


def test_coverage_is_that_of_cells_in_use(tmp_path):
    """A cell without data has a coverage of one, whatever stands beside it."""
    data = read_tables(family_tables("negative_binomial"), tmp_path)
    share = np.random.default_rng(3).uniform(0.5, 1.0, data.ds["exposure"].shape)
    covered = data.ds.assign(coverage=(data.ds["exposure"].dims, share))
    found = cell_arrays(family_spec("negative_binomial"), dataclasses.replace(data, ds=covered))
    used = found["exposure"] > 0
    assert used.any()
    assert not used.all()
    expected = covered["coverage"].sel(outcome="custody").transpose("site", "month").to_numpy()
    np.testing.assert_array_equal(found["coverage"], np.where(used, expected, 1.0))
