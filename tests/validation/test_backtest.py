"""The back-test end to end on a small world, and what may not leak into it."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lndbayes.app.cli import main
from lndbayes.base.errors import DataError
from lndbayes.data.evaluation import read_evaluation
from lndbayes.model.design import build_design
from lndbayes.spec.model_spec import load_spec
from lndbayes.validation.backtest import backtest as module
from lndbayes.validation.backtest.backtest import backtest, folds_of
from small import MODELS, ROOT, write_small

SPEC = load_spec(MODELS / "custody.toml")


@pytest.fixture(scope="module")
def shipped():
    return build_design(SPEC, read_evaluation(ROOT / "data" / "synthetic"))


def test_folds_have_sites_of_all_waves_and_every_site_once(shipped):
    members = folds_of(SPEC, shipped)
    assert [len(sites) for sites in members] == [3, 3, 3, 3, 3, 2]
    wave = shipped["wave_index"]
    assert sorted(chain(*members)) == [s for s in range(27) if wave[s] > 0]
    # 13 sites of wave 2 and 4 of wave 3: none has two fewer than another
    for w in (1, 2):
        count = [int((wave[sites] == w).sum()) for sites in members]
        assert max(count) - min(count) <= 1
    assert len(folds_of(SPEC, shipped, 17)) == 17


def test_more_folds_than_sites_are_refused(shipped):
    with pytest.raises(DataError, match="17") as caught:
        folds_of(SPEC, shipped, 18)
    assert caught.value.problems[0].file == "--folds"


def test_a_site_that_never_goes_live_and_one_that_always_was_are_in_no_fold(shipped):
    event = shipped["event_time"].copy()
    event[26] = -100_000
    event[25] = np.arange(event.shape[1]) + 5
    changed = shipped.replace(event_time=event)
    assert {25, 26} & set(chain(*folds_of(SPEC, changed))) == set()
    with pytest.raises(DataError, match="no site has months"):
        folds_of(SPEC, shipped.replace(exposure=np.zeros_like(shipped["exposure"])))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_small(tmp_path_factory.mktemp("backtest"), sites=6)


@pytest.fixture(scope="module")
def run(world, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, models = world
    out = tmp_path_factory.mktemp("run")
    arguments = ["backtest", str(models / "custody.toml"), "--data", str(data), "--out", str(out)]
    assert main([*arguments, "--folds", "2", "--quiet"]) in (0, 1)
    return out


@pytest.mark.slow
def test_every_hidden_cell_is_scored_once_for_each_method(run, world):
    cells = pd.read_csv(run / "backtest.csv")
    design = build_design(SPEC, read_evaluation(world[0]))
    members = list(chain(*folds_of(SPEC, design)))
    hidden = (design["exposure"] > 0) & (design["event_time"] < 0)
    expected = int(hidden[members].sum())
    assert expected > 0
    counts = cells.groupby(["method", "channels"]).size()
    assert set(counts) == {expected}
    assert len(counts) == 5
    assert not cells.duplicated(["method", "channels", "site", "month"]).any()
    model = cells[cells["method"] == "model"]
    assert model[["mean", "lower", "upper", "crps", "pit"]].notna().all(axis=None)
    assert ((model["pit"] >= 0) & (model["pit"] <= 1)).all()
    # a count over its exposure lies between the bounds' counts
    assert (model["lower"] <= model["mean"]).all()
    assert (model["mean"] <= model["upper"]).all()


@pytest.mark.slow
def test_everything_is_written(run):
    names = {path.name for path in run.iterdir()}
    tables = {"backtest.csv", "backtest_sites.csv", "backtest_summary.csv", "backtest_checks.csv"}
    assert names == tables | {
        "backtest.md",
        "backtest.svg",
        "backtest.png",
        "backtest.json",
        "products.json",
        "folds",
    }
    checks = pd.read_csv(run / "backtest_checks.csv")
    assert list(checks["check"]) == [
        f"backtest_{name}" for name in ("coverage", "crps", "bias", "sampling")
    ]
    facts = json.loads((run / "backtest.json").read_text())
    assert len(facts["folds"]) == 2
    assert len(facts["sampling"]) == 4


@pytest.mark.slow
def test_a_second_run_fits_nothing_and_says_the_same(run, world, monkeypatch):
    before = (run / "backtest.csv").read_bytes()
    monkeypatch.setattr(
        "lndbayes.fitting.parallel.fit", lambda *a, **k: pytest.fail("was fitted before")
    )
    spec = load_spec(world[1] / "custody.toml")
    backtest(spec, read_evaluation(world[0]), run, folds=2)
    assert (run / "backtest.csv").read_bytes() == before


@pytest.mark.slow
def test_hidden_counts_do_not_leak_into_what_is_said_of_them(run, world, tmp_path):
    """With other counts in the hidden cells of one fold, all is said of them as before."""
    cells = pd.read_csv(run / "backtest.csv")
    fold = cells[cells["fold"] == 1]
    other = tmp_path / "data"
    other.mkdir()
    for file in world[0].rglob("*"):
        if file.is_file():
            target = other / file.relative_to(world[0])
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
    rows = pd.read_csv(other / "outcomes.csv", keep_default_na=False)
    keys = set(zip(fold["site"], fold["month"], strict=True))
    hit = np.array([key in keys for key in zip(rows["site"], rows["month"], strict=True)])
    hit &= (rows["outcome"] == "custody").to_numpy()
    # a cell may have several bands: all events go into its first
    first = hit & ~rows.duplicated(["outcome", "site", "month"]).to_numpy()
    assert sum(first) == len(keys)
    everyone = rows.loc[first, "exposure"].astype(float).astype(int).astype(str)
    rows["count"] = rows["count"].astype(str).mask(hit, "0").mask(first, everyone)
    rows.to_csv(other / "outcomes.csv", index=False)
    spec = load_spec(world[1] / "custody.toml")
    again = backtest(spec, read_evaluation(other), tmp_path / "run", folds=2).cells
    again = again[again["fold"] == 1]
    assert (again["observed"].to_numpy() != fold["observed"].to_numpy()).any()
    # every event that could happen happens in the hidden cells: a leak would be many times larger
    # than the Monte Carlo error of two refits, whose chains part ways at the last digit
    naive = (again["method"] != "model").to_numpy()
    for column in ("mean", "lower", "upper"):
        np.testing.assert_array_equal(again.loc[naive, column], fold.loc[naive, column])
    model = again.loc[~naive, "mean"].to_numpy() / fold.loc[~naive, "mean"].to_numpy()
    assert np.abs(model - 1).max() < 0.15


def test_the_sets_of_channels_are_those_that_have_data(shipped):
    every = module._channel_sets(SPEC, shipped, each_channel=True)
    assert list(every) == [
        "all",
        "panel_only",
        "without_retrospective",
        "without_national",
        "without_history",
        "without_elicited",
    ]
    assert list(module._channel_sets(SPEC, shipped, each_channel=False)) == ["all", "panel_only"]
