"""Simulation-based calibration: the band by brute force, ranks that are known, resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lndbayes.app.cli import main
from lndbayes.base.errors import CheckError
from lndbayes.data.evaluation import read_evaluation
from lndbayes.estimands.averted import events_averted
from lndbayes.estimands.effects import pooled_effect, site_effects
from lndbayes.fitting.trees import draws_tree
from lndbayes.model.design import build_design
from lndbayes.model.predictive import prior_draws
from lndbayes.money.costs import load_costs
from lndbayes.spec.model_spec import ModelSpec, load_spec, parse_spec, with_changes
from lndbayes.synthetic import simulate, write_evaluation
from lndbayes.validation import calibration
from lndbayes.validation.calibration import calibrate, calibration_table, simultaneous_p
from lndbayes.validation.ranks import _quantities, prior_world, replicate, shipped_layout
from small import raw_of

ROOT = Path(__file__).parents[2]
SHORT = {"sampling.chains": 1, "sampling.tune": 50, "sampling.draws": 50}


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return with_changes(load_spec(ROOT / "models" / "custody.toml"), SHORT)


def fake(index: int, spec: ModelSpec, costs: Any, layout: Any = None) -> dict[str, Any]:
    """A replicate whose rank is uniform, and one whose posterior is too narrow."""
    rng = np.random.default_rng([7, index])
    z = rng.normal()
    return {
        "index": index,
        "rank": {"right": float(stats.norm.cdf(z)), "narrow": float(stats.norm.cdf(2 * z))},
        "z": {"right": z, "narrow": 2 * z},
    }


def test_the_band_holds_uniform_ranks_as_often_as_it_says() -> None:
    """Its own level, from samples other than those that it was found with."""
    ranks = np.random.default_rng(3).random((60, 800))
    p = simultaneous_p(ranks)
    # 800 ECDFs: 5% with a standard error of 0.8%
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert stats.kstest(p, "uniform").statistic < 0.08


def test_the_tail_probability_is_that_of_the_binomial() -> None:
    """Four ranks, one point: all four below one half has probability 1/16, two-sided 1/8."""
    points = np.array([0.5])
    assert calibration._smallest_tail(np.array([0.1, 0.2, 0.3, 0.4]), points) == pytest.approx(
        1 / 8
    )
    assert calibration._smallest_tail(np.array([0.1, 0.2, 0.8, 0.9]), points) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["narrow", "wide", "shifted"])
def test_ranks_that_are_not_uniform_leave_the_band(how) -> None:
    rng = np.random.default_rng(5)
    z = rng.normal(size=300)
    scale, shift = {"narrow": (1.5, 0), "wide": (0.6, 0), "shifted": (1, 0.4)}[how]
    ranks = np.column_stack([stats.norm.cdf(z), stats.norm.cdf(scale * z + shift)])
    right, wrong = simultaneous_p(ranks)
    assert right > 0.05
    assert wrong < 0.01


def test_the_table_counts_coverage_and_tells_what_is_outside() -> None:
    done = [fake(i, None, None) for i in range(200)]  # type: ignore[arg-type]  # reads neither
    table = calibration_table(done).set_index("quantity")
    z = np.array([r["z"]["right"] for r in done])
    assert table.loc["right", "covered"] == np.sum(np.abs(z) <= stats.norm.ppf(0.95))
    assert table.loc["narrow", "sd_z"] == pytest.approx(2 * table.loc["right", "sd_z"])
    assert (table["lower_limit"] == stats.binom.ppf(0.005, 200, 0.9)).all()
    assert bool(table.loc["right", "inside_band"])
    assert not bool(table.loc["narrow", "inside_band"])


@pytest.mark.slow
def test_hyper_parameters_come_from_their_priors(spec) -> None:
    draws = [prior_world(spec, np.random.default_rng(i)) for i in range(400)]
    for slot in ("effect_mean", "site_effect_sd", "concentration", "crisis_dip"):
        values = [drawn[slot] for _, drawn in draws]
        assert stats.kstest(values, spec.priors[slot].frozen().cdf).pvalue > 1e-4, slot
        if slot != "concentration":
            assert all(getattr(world, slot) == drawn[slot] for world, drawn in draws)
    offsets = [world.national_offset for world, _ in draws]
    assert stats.kstest(offsets, stats.norm(0, spec.baseline.national_offset_sd).cdf).pvalue > 1e-4


@pytest.mark.slow
def test_replicates_are_kept_and_made_again_only_for_a_reason(spec, tmp_path, monkeypatch) -> None:
    calls: list[int] = []

    def counted(index: int, spec: ModelSpec, costs: Any, layout: Any) -> dict[str, Any]:
        calls.append(index)
        return fake(index, spec, costs)

    monkeypatch.setattr(calibration, "replicate", counted)
    said: list[str] = []
    first = calibrate(spec, 3, tmp_path, say=said.append)
    assert calls == [0, 1, 2]
    assert "replicate 3 of 3 finished" in said[-1]
    calibrate(spec, 5, tmp_path)
    assert calls == [0, 1, 2, 3, 4]
    assert (first["replicates"] == 3).all()
    (tmp_path / "replicates" / "1.json").write_text("{torn", encoding="utf-8")
    calibrate(spec, 5, tmp_path)
    assert calls[5:] == [1]
    calibrate(with_changes(spec, {"sampling.draws": 60}), 2, tmp_path)
    assert calls[6:] == [0, 1]
    calibrate(with_changes(spec, {"sampling.draws": 60}), 3, tmp_path, first=1)
    assert calls[8:] == [2, 3]


def test_fewer_replicates_than_asked_for_are_an_error(spec, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(calibration, "run_tasks", lambda *a, **k: None)
    with pytest.raises(CheckError, match="only 0 of 2"):
        calibrate(spec, 2, tmp_path)
    assert not (tmp_path / "calibration.csv").exists()


@pytest.mark.slow
def test_one_replicate_ranks_parameters_estimands_and_savings(spec) -> None:
    costs = load_costs(ROOT / "models" / "costs.toml")
    found = replicate(3, spec, costs)
    for name in ("pooled effect", "events averted", "savings", "log likelihood", "effect_mean"):
        assert 0 <= found["rank"][name] <= 1
        assert np.isfinite(found["z"][name])
    again = replicate(3, spec, None)
    assert "savings" not in again["rank"]
    assert again["rank"] == {k: v for k, v in found["rank"].items() if k != "savings"}
    json.dumps(found)


@pytest.mark.slow
def test_the_command_writes_the_table(tmp_path, spec, monkeypatch, capsys) -> None:
    monkeypatch.setattr(calibration, "replicate", fake)
    arguments = ["calibrate", str(ROOT / "models" / "custody.toml"), "--replicates"]
    status = main([*arguments, "120", "--out", str(tmp_path), "--jobs", "1", "--quiet"])
    printed = capsys.readouterr()
    assert status == 1
    assert "narrow" in printed.err
    assert "right" not in printed.err
    assert "inside_band" in printed.out
    assert (tmp_path / "calibration.csv").is_file()
    assert main([*arguments, "0", "--out", str(tmp_path)]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iapt_attendances", "court_duration"])
def test_other_outcomes_are_drawn_on_the_simulators_layout(name) -> None:
    other = with_changes(load_spec(ROOT / "models" / f"{name}.toml"), SHORT)
    layout = shipped_layout(other)
    assert layout is not None
    found = replicate(1, other, None, layout)
    assert {"pooled effect", "events averted", "log likelihood", "wave 1"} <= set(found["rank"])
    # a parameter that the family lacks has no rank
    assert ("person_dispersion" in found["rank"]) == (name == "iapt_attendances")
    assert all(np.isfinite(z) for z in found["z"].values())
    again = replicate(1, other, None, layout)
    assert again["rank"] == found["rank"]


@pytest.mark.slow
@pytest.mark.parametrize("window", [(7, 18), (3, 9)])
@pytest.mark.parametrize("pulse", [0.0, 0.5])
def test_what_is_ranked_is_what_users_are_told(window, pulse, tmp_path) -> None:
    """The shipped estimands of the same draws: the spec's window, the pulse, no step in records."""
    simulated = simulate(4, "effect", 6, outcomes=("custody",))
    data = read_evaluation(write_evaluation(simulated, tmp_path / "data"))
    spec = with_changes(
        parse_spec(raw_of("beta_binomial", pulse), source="spec"),
        {"effect.window": window, "sensitivity.go_live_step_sd": 0.3},
    )
    design = build_design(spec, data)
    values = prior_draws(spec, design, 20, 1)
    found = _quantities(values, design, spec)
    tree = draws_tree(values, spec, design)
    np.testing.assert_array_equal(found["pooled effect"], pooled_effect(tree, window=window))
    averted = events_averted(tree).sum("site")
    np.testing.assert_array_equal(found["events averted"], averted)
    by_site = site_effects(tree, window=window, withheld=False)
    label = by_site["site"].values[1]
    at = design.coords["site"].index(label) + 1
    np.testing.assert_array_equal(found[f"effect of site {at}"], by_site.sel(site=label))
    still = {**values, "go_live_step": 0 * values["go_live_step"]}
    np.testing.assert_array_equal(
        _quantities(still, design, spec)["events averted"], found["events averted"]
    )


def test_custody_is_simulated_whole(spec) -> None:
    assert shipped_layout(spec) is None


def test_an_outcome_that_the_simulator_does_not_know_needs_data(spec, tmp_path, capsys) -> None:
    text = (ROOT / "models" / "custody.toml").read_text(encoding="utf-8")
    path = tmp_path / "bail.toml"
    path.write_text(text.replace('name = "custody"', 'name = "bail"'), encoding="utf-8")
    out = tmp_path / "run"
    assert main(["calibrate", str(path), "--replicates", "2", "--out", str(out)]) == 2
    assert "--data" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_given_data_are_the_layout(spec, tmp_path, monkeypatch) -> None:
    """Also for custody; and replicates of another layout are made again."""
    layouts: list[Any] = []

    def kept(index: int, spec: ModelSpec, costs: Any, layout: Any) -> dict[str, Any]:
        layouts.append(layout)
        return fake(index, spec, costs)

    monkeypatch.setattr(calibration, "replicate", kept)
    simulated = simulate(4, "null", 6, outcomes=("custody",))
    data = read_evaluation(write_evaluation(simulated, tmp_path / "data"))
    calibrate(spec, 1, tmp_path / "run", data=data)
    np.testing.assert_array_equal(layouts[0]["exposure"], build_design(spec, data)["exposure"])
    calibrate(spec, 1, tmp_path / "run", data=data)
    assert len(layouts) == 1
    calibrate(spec, 1, tmp_path / "run")
    assert layouts[1:] == [None]
