"""The whole simulation: worlds, random numbers, limits and independence."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cells import cells
from lndbayes.base.errors import SpecError
from lndbayes.synthetic import NAMES, WORLDS, World, simulate

COLUMNS = {
    "sites.csv": "site label region wave go_live population predecessor",
    "outcomes.csv": "outcome site month source exposure count status count_low count_high category "
    "coverage",
    "mix.csv": "site month intervention contacts",
    "referrals.csv": "site month referrals",
    "evidence/retrospective.csv": ("outcome site month exposure count coverage_mean coverage_sd"),
    "evidence/national.csv": "outcome month months rate se source",
    "evidence/history.csv": "outcome site months_from_referral calendar_month persons count",
    "evidence/elicited.csv": "outcome site quantity q05 q50 q95 who",
}


def test_tables_have_the_contracts_columns():
    frames = simulate(1).frames
    assert {name: " ".join(frame.columns) for name, frame in frames.items()} == COLUMNS
    assert all(len(frame) for frame in frames.values())
    outcomes = frames["outcomes.csv"]
    assert outcomes["outcome"].unique().tolist() == list(NAMES)
    assert not outcomes.duplicated(["outcome", "site", "month", "category"]).any()
    trials = ("custody", "offending", "wellbeing", "court_duration")
    for name in trials:
        found = cells(simulate(1, outcomes=(name,)), name)
        assert (found["count"] <= found["exposure"]).all()


def test_worlds_share_everything_but_the_effect():
    sims = {name: simulate(21, name) for name in WORLDS}
    effect, found = sims["effect"], {name: cells(sim) for name, sim in sims.items()}
    go_live = dict(
        zip(effect.frames["sites.csv"]["site"], effect.frames["sites.csv"]["go_live"], strict=True)
    )
    before = found["effect"]
    untreated = before["month"] < before["site"].map(go_live)
    assert untreated.sum() > 300
    for world in ("null", "harm"):
        other = sims[world]
        assert other.truth["baseline"] == effect.truth["baseline"]
        for name in COLUMNS:
            if name != "outcomes.csv":
                pd.testing.assert_frame_equal(other.frames[name], effect.frames[name])
        after = found[world]
        pd.testing.assert_frame_equal(after[untreated], before[untreated])
        assert (after["count"] != before["count"]).sum() > 100
        rows = [sim.frames["outcomes.csv"] for sim in (effect, other)]
        first = [r[r["month"] < r["site"].map(go_live)].reset_index(drop=True) for r in rows]
        pd.testing.assert_frame_equal(*first)
    counts = {name: table["count"] for name, table in found.items()}
    assert (counts["effect"] <= counts["null"] + 1).all()
    assert counts["effect"].sum() < counts["null"].sum() < counts["harm"].sum()


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ({"retrospective_bias": 0.5}, "evidence/retrospective.csv"),
        ({"national_offset": 0.1}, "evidence/national.csv"),
        ({"crisis_dip": 0.0}, "evidence/history.csv"),
        ({"elicited_bias": 0.5}, "evidence/elicited.csv"),
        ({"mix_missing_share": 0.5}, "mix.csv"),
        ({"referrals_per_size": 3.0}, "referrals.csv"),
        ({"predecessor_unknown": 0, "predecessor_effect": 0.0}, "sites.csv"),
        ({"concentration": 10.0}, "outcomes.csv"),
    ],
)
def test_a_component_changes_its_own_table_only(change, touched):
    fixed = World(predecessor_effect=0.0)
    one, two = simulate(22, fixed), simulate(22, replace(fixed, **change))
    differing = {name for name in COLUMNS if not one.frames[name].equals(two.frames[name])}
    assert differing == {touched}


def test_seeds_differ_and_repeat():
    first, again, other = simulate(23), simulate(23), simulate(24)
    assert first.truth == again.truth
    assert first.truth["baseline"] != other.truth["baseline"]
    assert not first.frames["outcomes.csv"].equals(other.frames["outcomes.csv"])


def test_a_world_given_by_its_parameters_is_recognised():
    assert simulate(1, World()).truth["world"] == "effect"
    custom = simulate(1, World(mix_alpha=(1.5,) * 5, mix_effects=(0.3, -0.1, -0.4, 0.1, 0.1)))
    assert custom.truth["world"] == "custom"
    assert custom.truth["world_parameters"]["mix_alpha"] == [1.5] * 5
    assert custom.evaluation["synthetic"] is True


def test_two_and_three_hundred_sites():
    for sites in (2, 300):
        sim = simulate(25, sites=sites, outcomes=("custody", "iapt_attendances"))
        assert len(sim.frames["sites.csv"]) == sites
        assert np.shape(sim.truth["baseline"]["eta0"]) == (sites, 96)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": True}, "seed"),
        ({"seed": 1, "sites": 1}, "between 2 and 300"),
        ({"seed": 1, "sites": 301}, "between 2 and 300"),
        ({"seed": 1, "world": "heaven"}, "effect, null, harm"),
        ({"seed": 1, "outcomes": ("custody", "height")}, "height"),
        ({"seed": 1, "outcomes": ()}, "one or more of custody, offending"),
        ({"seed": 1, "outcomes": "custody"}, "one or more of"),
    ],
)
def test_unusable_arguments_are_refused(arguments, words):
    with pytest.raises(SpecError, match=words):
        simulate(**arguments)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("site_effect_sd", -0.1),
        ("concentration", 0.0),
        ("effect_mean", float("nan")),
        ("season", (0.1, float("inf"), 0.0, 0.0)),
        ("season", (0.1, 0.2)),
        ("missing_share", 1.0),
        ("missing_year_sites", 28),
        ("mix_effects", (0.1, 0.2)),
        ("mix_alpha", (1.0, 1.0, 1.0, 1.0, 0.0)),
        ("interventions", ("a", "a", "b", "c", "d")),
        ("smooth", "spline"),
        ("shock_autocorrelation", 1.0),
        ("panel_start", 37),
        ("months", 84),
        ("history_referral_month", 97),
        ("size_limits", (160.0, 12.0)),
        ("band_stages", (0.1, 0.2)),
        ("bands", ("1", "3", "2", "4")),
        ("other_effects", float("inf")),
    ],
)
def test_parameters_out_of_range_are_refused(field, value):
    with pytest.raises(SpecError) as caught:
        World(**{field: value})
    assert {problem.column for problem in caught.value.problems} == {field}


def test_all_broken_parameters_are_named_at_once():
    with pytest.raises(SpecError) as caught:
        World(smooth="spline", ramp_months=0.0, coverage=(1.0, -1.0))
    assert [p.column for p in caught.value.problems] == ["ramp_months", "coverage", "smooth"]


def test_the_simulator_shares_no_code_with_the_model():
    allowed = {"lndbayes.base.errors", "lndbayes.base.names"}
    allowed |= {f"lndbayes.files.{part}" for part in ("reading", "whole", "writing")}
    outside = {"numpy", "pandas"}
    for path in Path(inspect.getfile(World)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                modules = [node.module]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                continue
            for module in modules:
                root = module.split(".")[0]
                if root == "lndbayes":
                    assert module in allowed or module.startswith("lndbayes.synthetic")
                else:
                    assert root in outside or root in sys.stdlib_module_names
