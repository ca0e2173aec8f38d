"""Placebo go-lives: worlds without an effect, planted steps, what is told where nothing is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from lndbayes.base.vocabulary import PlaceboRow
from lndbayes.checks.result import Status
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.evidence.placebo import (
    PLACEBO,
    PLACEBO_COLUMNS,
    PlaceboResult,
    placebo_fault,
    placebo_result,
    placebo_table,
    run_placebos,
)
from lndbayes.evidence.refits import Effort, make_refit
from lndbayes.fitting.trees import constant_dataset, spec_attributes
from lndbayes.model.design import build_design
from lndbayes.spec.model_spec import ModelSpec, load_spec, with_changes
from lndbayes.synthetic import simulate, write_evaluation
from small import MODELS, ROOT

#: Go-lives of a small world that nothing happens in: four with years before them, one at once.
GO_LIVE = ("2012-04", "2016-01", "2016-07", "2017-01", "2017-07")
TINY = Effort({"sampling.chains": 2, "sampling.draws": 200})


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return load_spec(MODELS / "ae_attendances.toml")


def world(folder: Path, seed: int, *, step: float = 0.0) -> EvaluationData:
    """No effect anywhere; with a step, counts of S03 are higher in the year before its go-live."""
    simulated = simulate(seed, "null", len(GO_LIVE), outcomes=("ae_attendances",))
    sites = simulated.frames["sites.csv"].assign(go_live=GO_LIVE)
    simulated.frames["sites.csv"] = sites
    rows = simulated.frames["outcomes.csv"]
    if step:
        at = (rows["site"] == "S03") & rows["month"].between("2015-07", "2016-06")
        counts = np.round(rows["count"].astype(float) * np.exp(step))
        simulated.frames["outcomes.csv"] = rows.assign(
            count=counts.where(at, rows["count"]).astype(int)
        )
    return read_evaluation(write_evaluation(simulated, folder))


def unfitted(spec: ModelSpec, data: EvaluationData) -> xr.DataTree:
    """What of a main fit says whether go-lives can be moved."""
    tree = xr.DataTree.from_dict({"/constant_data": constant_dataset(build_design(spec, data))})
    tree.attrs = {**spec_attributes(spec), "period": data.period, "fit_key": "main"}
    return tree


def found_in(spec: ModelSpec, data: EvaluationData, effort: Effort = TINY) -> PlaceboResult:
    kept = make_refit(spec, data, PLACEBO, None, np.zeros(len(GO_LIVE), bool), effort)
    return placebo_result(spec, unfitted(spec, data), kept)


@pytest.fixture(scope="module")
def null(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> PlaceboResult:
    return found_in(spec, world(tmp_path_factory.mktemp("null") / "data", 3))


@pytest.fixture(scope="module")
def planted(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> PlaceboResult:
    return found_in(spec, world(tmp_path_factory.mktemp("step") / "data", 3, step=0.8))


@pytest.mark.slow
def test_sites_and_months_of_a_refit(null: PlaceboResult) -> None:
    sites = null.sites.set_index("site")
    assert list(sites.index) == ["S02", "S03", "S04", "S05"]
    assert list(sites["go_live"]) == ["2015-01", "2015-07", "2016-01", "2016-07"]
    # months 2 to 8 after the moved go-live, where none is missing
    assert sites["months_after"].between(5, 7).all()
    assert (sites["months_before"] >= 12).all()
    assert null.pooled.sizes["draw"] > 1000


@pytest.mark.slow
def test_a_planted_step_is_found_where_it_is(null: PlaceboResult, planted: PlaceboResult) -> None:
    """The same world with and without it."""
    before, after = (r.sites.set_index("site") for r in (null, planted))
    moved = (after["mean"] - before["mean"]) / before["sd"]
    assert moved["S03"] > 3
    assert (moved.drop("S03").abs() < 1).all()
    assert not after["holds_zero"]["S03"]
    assert planted.status is Status.REVIEW
    assert "differ beyond noise" in planted.reason
    assert planted.spread_lower > 0
    assert planted.spread > 0.2
    assert planted.largest == pytest.approx(after["mean"]["S03"], rel=0.25)
    assert planted.largest > null.largest_upper
    # noise is that of the data, whatever was planted
    assert planted.noise_sd == pytest.approx(null.noise_sd, rel=0.3)


@pytest.mark.slow
def test_zero_holds_where_nothing_happened(spec: ModelSpec, tmp_path: Path) -> None:
    """Of 16 sites' intervals in four worlds, at least 11: fewer have a chance of 0.2% at 90%."""
    found = [found_in(spec, world(tmp_path / str(seed), seed)) for seed in range(11, 15)]
    held = sum(int(result.sites["holds_zero"].sum()) for result in found)
    assert held >= 11
    ends = [np.quantile(result.pooled, (0.05, 0.95)) for result in found]
    assert sum(low <= 0 <= high for low, high in ends) >= 2
    assert sum(result.spread_lower == 0 for result in found) >= 2


def test_two_sites_are_too_few(spec: ModelSpec, tmp_path: Path) -> None:
    data = world(tmp_path / "data", 3).sel(sites=["S01", "S02", "S03"])
    main = unfitted(spec, data)
    fault = placebo_fault(spec, main)
    assert fault.startswith("2 sites have 24 untreated months")
    assert fault.endswith("3 are needed")
    # and nothing is fitted
    assert run_placebos([(spec, data, main)], tmp_path / "refits") == {}
    result = placebo_result(spec, main, None)
    assert result.status is Status.NOT_RUN
    assert result.reason == fault
    assert result.pooled.size == len(result.sites) == 0
    numbers = ("spread", "spread_lower", "spread_upper", "noise_sd", "observed_sd", "largest")
    assert all(np.isnan(getattr(result, name)) for name in numbers)
    table = placebo_table(result)
    assert list(table.columns) == list(PLACEBO_COLUMNS)
    (row,) = table.to_dict("records")
    assert (row["quantity"], row["status"], row["note"]) == ("pooled", "NOT RUN", fault)
    assert np.isnan(row["median"])


def test_which_shipped_outcomes_have_placebos() -> None:
    data = read_evaluation(ROOT / "data" / "synthetic")
    faults = {}
    for path in sorted(MODELS.glob("*.toml")):
        if path.stem != "costs":
            spec = load_spec(path)
            faults[path.stem] = placebo_fault(spec, unfitted(spec, data))
    assert [name for name, fault in faults.items() if fault] == ["wellbeing"]
    assert "selected" in faults["wellbeing"]


def kept_by_hand(draws: np.ndarray) -> xr.Dataset:
    sites = [f"S{k}" for k in range(draws.shape[-1])]
    of_site = {"months_before": [20] * len(sites), "months_after": [7] * len(sites)}
    return xr.Dataset(
        {
            "effect": (("chain", "draw", "effect_site"), draws),
            **{name: ("effect_site", values) for name, values in of_site.items()},
            "go_live": ("effect_site", ["2016-01"] * len(sites)),
        },
        coords={"effect_site": sites},
    )


def test_the_table_by_hand(spec: ModelSpec) -> None:
    data = read_evaluation(ROOT / "data" / "synthetic")
    rng = np.random.default_rng(8)
    centre = np.array([0.0, 0.05, -0.05, 0.9])
    draws = centre + rng.normal(0, 0.1, (2, 1000, 4))
    result = placebo_result(spec, unfitted(spec, data), kept_by_hand(draws))
    table = placebo_table(result)
    assert list(table.columns) == list(PLACEBO_COLUMNS)
    rows = table.set_index("quantity")
    sites = rows.loc[PlaceboRow.SITE]
    np.testing.assert_allclose(
        sites["median"].astype(float), np.exp(np.median(draws, axis=(0, 1))), rtol=1e-12
    )
    assert sites["holds_zero"].tolist() == [True, True, True, False]
    assert set(sites["scale"]) == {"rate ratio"}
    flat = draws.reshape(-1, 4)
    assert rows["median"][PlaceboRow.OBSERVED] == pytest.approx(flat.mean(axis=0).std(ddof=1))
    assert rows["median"][PlaceboRow.NOISE] == pytest.approx(0.1, rel=0.05)
    # nearly all that is seen is beyond noise: the variance that is left
    left = np.sqrt(flat.mean(axis=0).var(ddof=1) - 0.1**2)
    assert rows["median"][PlaceboRow.SPREAD] == pytest.approx(left, rel=0.02)
    assert rows["lower"][PlaceboRow.SPREAD] > 0
    assert rows["median"][PlaceboRow.LARGEST] == pytest.approx(0.9, abs=0.04)
    assert result.largest_lower < result.largest < result.largest_upper
    assert set(table["status"]) == {"REVIEW"}
    pooled = rows.loc[PlaceboRow.POOLED]
    # errors of four sites of 0.1 each: the mean's is half of one
    assert np.log(pooled["median"]) == pytest.approx(0.225, abs=0.01)
    assert pooled["sd"] == pytest.approx(0.05, rel=0.1)
    assert pooled["holds_zero"] is False


def test_a_refit_that_the_data_allow_must_be_there(spec: ModelSpec) -> None:
    data = read_evaluation(ROOT / "data" / "synthetic")
    with pytest.raises(ValueError, match="no refit is given"):
        placebo_result(spec, unfitted(spec, data), None)


def test_a_known_spread_of_the_spec_changes_nothing_but_what_it_must(spec: ModelSpec) -> None:
    """A drift that the spec allows would take the place of what is to be seen."""
    changed = with_changes(with_changes(spec, {"sensitivity.drift_sd": 0.05}), PLACEBO.changes)
    assert changed.sensitivity.drift_sd == 0
    assert changed.sensitivity.shared_bias_sd == spec.sensitivity.shared_bias_sd
    assert changed.baseline == spec.baseline
    assert changed.effect.window == (7, 12)
