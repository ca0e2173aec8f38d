"""Moved go-lives: which sites, and that nothing of a month with the service is left."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.evidence.moved import movable_sites, moved_earlier
from lndbayes.model.design import Design, build_design
from lndbayes.model.mask import without_cells
from lndbayes.model.shown import NEVER
from lndbayes.spec.model_spec import ModelSpec, load_spec, with_changes
from small import MODELS, ROOT

SPEC = load_spec(MODELS / "custody.toml")
MOVED = ("S25", "S26", "S27")


@pytest.fixture(scope="module")
def shipped() -> EvaluationData:
    return read_evaluation(ROOT / "data" / "synthetic")


def masked(spec: ModelSpec, data: EvaluationData) -> tuple[Design, xr.DataArray]:
    moved, hidden = moved_earlier(spec, data, 12)
    design = build_design(spec, moved)
    return without_cells(design, hidden.transpose("site", "month").to_numpy()), hidden


def test_sites_with_two_years_are_moved_and_no_others(shipped: EvaluationData) -> None:
    moved, _ = moved_earlier(SPEC, shipped, 12)
    shift = (moved.ds["go_live"] - shipped.ds["go_live"]).to_series()
    assert tuple(shift.index[shift == -12]) == MOVED
    assert (shift[~shift.index.isin(MOVED)] == 0).all()
    # what is given stays as it was
    assert float(shipped.ds["go_live"].sel(site="S27")) == 84


def test_no_treated_cell_of_any_site_enters(shipped: EvaluationData) -> None:
    """By the arrays, and by treated counts that are replaced: every array stays the same."""
    design, _ = masked(SPEC, shipped)
    go_live = shipped.ds["go_live"].to_numpy()
    true_event = np.arange(96) - go_live[:, None]
    after = true_event >= SPEC.effect.transition[0]
    for name in ("exposure", "count", "count_high", "site_weight"):
        assert not design[name][after].any(), name
    for name in ("stage_exposure", "stage_count"):
        assert not design[name][after].any(), name
    # the months between the moved go-live and the true one are there: 2 to 8 after the moved one
    moved = design["event_time"]
    seen = moved[(moved >= 0) & (design["site_weight"] > 0)]
    assert sorted(set(seen)) == list(range(2, 9))
    rows = shipped.outcomes
    treated = rows["site"].map(dict(zip(shipped.ds["site"].to_numpy(), go_live, strict=True)))
    at = (rows["outcome"] == "custody") & (rows["month_index"] >= treated - 3)
    ds = shipped.ds
    cells = xr.DataArray(after, {"site": ds["site"], "month": ds["month"]}, ("site", "month"))
    other = dataclasses.replace(
        shipped,
        ds=ds.assign(count=ds["count"].where(~cells, 0.0)),
        outcomes=rows.assign(count=rows["count"].mask(at, 0.0)),
    )
    changed, _ = masked(SPEC, other)
    kept = set(design.arrays) - {"count_exact"}
    for name in kept:
        np.testing.assert_array_equal(design[name], changed[name], err_msg=name)
    assert not np.array_equal(design["count_exact"], changed["count_exact"])


def test_evidence_tells_nothing_of_the_months_that_are_looked_at(shipped: EvaluationData) -> None:
    rows = shipped.evidence["history"]
    late = rows.assign(site="S27", month_index=72, calendar_month="2017-04")
    early = rows.assign(site="S27", month_index=71, calendar_month="2017-03")
    other = rows.assign(site="S11", month_index=72)
    more = {**shipped.evidence, "history": pd.concat([late, early, other], ignore_index=True)}
    moved, _ = moved_earlier(SPEC, dataclasses.replace(shipped, evidence=more), 12)
    left = moved.evidence["history"]
    # the go-live of S27 is moved from period 84 to 72
    assert set(left.loc[left["site"] == "S27", "month_index"]) == {71}
    assert (left["site"] == "S11").sum() == len(rows)
    for name in ("national", "elicited"):
        pd.testing.assert_frame_equal(moved.evidence[name], shipped.evidence[name])


def test_judgements_on_other_months_are_left_out(shipped: EvaluationData) -> None:
    """They are about the year before the first go-live: of these sites that is a moved one."""
    late = shipped.sel(sites=["S25", "S26", "S27"])
    more = {**late.evidence, "elicited": shipped.evidence["elicited"].assign(site="S25")}
    judged = dataclasses.replace(late, evidence=more)
    moved, _ = moved_earlier(SPEC, judged, 12)
    names = set(moved.evidence["elicited"]["outcome"])
    assert names == set(more["elicited"]["outcome"]) - {"custody"}


def by_hand(months: list[int], *, last: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Event times and use of one site that goes live after `last` months, used in these."""
    event = np.arange(last + 12)[None] - last
    return event, np.isin(event, months)


@pytest.mark.parametrize(
    ("months", "moves"),
    [
        (range(-27, -3), True),  # 24 months before a transition of 3
        (range(-26, -3), False),  # 23
        (range(-30, -6), True),
        # none between the transition of the moved go-live and that of the true one
        (range(-60, -12), False),
        # months with the service and in the transition do not count
        (range(-26, 12), False),
    ],
)
def test_which_months_allow_it(months: range, moves: bool) -> None:
    event, used = by_hand(list(months))
    assert movable_sites(SPEC, event, used, 1, 12).tolist() == [moves]


def test_a_site_that_never_goes_live_is_not_moved(shipped: EvaluationData) -> None:
    event = np.full((1, 60), NEVER)
    assert not movable_sites(SPEC, event, np.ones((1, 60), bool), 1, 12).any()
    assert not movable_sites(SPEC, np.full((1, 60), np.nan), np.ones((1, 60), bool), 1, 12).any()
    ds = shipped.ds
    go_live = ds["go_live"].where(ds["site"] != "S26")
    moved, hidden = moved_earlier(
        SPEC, dataclasses.replace(shipped, ds=ds.assign(go_live=go_live)), 12
    )
    assert np.isnan(float(moved.ds["go_live"].sel(site="S26")))
    # all its months are to compare with
    assert not hidden.sel(site="S26").any()


@pytest.mark.parametrize(("quarters", "moves"), [(9, True), (8, False)])
def test_quarters_count_as_three_months(quarters: int, moves: bool) -> None:
    """Eight quarters are used where nine lie before go-live: one is the transition."""
    event = 3 * (np.arange(20) - 12)[None]
    used = event >= -3 * quarters
    assert movable_sites(SPEC, event, used, 3, 12).tolist() == [moves]
    # of years, the month after the moved go-live is the true one's
    years = 12 * (np.arange(20) - 12)[None]
    assert not movable_sites(SPEC, years, years < 0, 12, 12).any()


def test_a_spec_without_untreated_months_moves_none(shipped: EvaluationData, tmp_path: Path):
    spec = with_changes(SPEC, {"baseline.channels.not_yet_treated": False})
    moved, _ = moved_earlier(spec, shipped, 12)
    assert moved.ds["go_live"].equals(shipped.ds["go_live"])
