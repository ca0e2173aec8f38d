"""The castle-doctrine example: populations from rates, and the directory made of them."""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from lndbayes.data.evaluation import read_evaluation
from lndbayes.model.design import build_design
from lndbayes.spec.model_spec import load_spec
from small import ROOT

FOLDER = ROOT / "examples" / "castle"


def castle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_castle", FOLDER / "make_castle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = castle()


def made_up(seed: int, states: tuple[int, ...] = (1, 5, 10), years: int = 11) -> pd.DataFrame:
    """Panel of the same form: counts over a population, in single precision."""
    rng = np.random.default_rng(seed)
    rows = []
    for state in states:
        people = rng.integers(500_000, 30_000_000) * np.cumprod(rng.uniform(0.99, 1.03, years))
        people = np.round(people)
        mean = float(np.float32(people.mean()))
        for t in range(years):
            counts = rng.poisson(np.array([5, 120, 300, 800, 2500, 350, 4.5]) * people[t] / 1e5)
            rates = np.float32(1e5 * counts / people[t]).astype(float)
            row = {"sid": state, "year": 2000 + t, "post": float(state == 10 and t > 5)}
            row |= {"popwt": mean, "people": people[t], "true": counts[0]}
            rows.append(row | dict(zip(make.RATES, rates, strict=True)))
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seed", range(5))
def test_counts_and_populations_are_found_again(seed):
    panel = made_up(seed)
    found = make.recover(panel)
    assert (found["count"] == found["true"]).all()
    # single precision keeps seven digits
    assert found["population"].to_numpy() == pytest.approx(found["people"].to_numpy(), rel=2e-7)


def test_rates_that_are_no_counts_are_refused():
    panel = made_up(1)
    panel.loc[3, "robbery"] *= 1.0001
    with pytest.raises(SystemExit, match="state 1: no population"):
        make.recover(panel)


def test_a_mean_that_is_not_the_populations_is_refused():
    panel = made_up(1)
    panel["popwt"] *= 1.01
    with pytest.raises(SystemExit, match="not the stated"):
        make.recover(panel)


def test_go_live_is_the_year_before_the_first_full_one():
    table = make.sites(make.recover(made_up(2)))
    assert table["go_live"].tolist() == ["", "", "2005-01"]
    assert table["wave"].tolist() == [2, 2, 1]
    assert table["site"].tolist() == ["Alabama", "California", "Florida"]


def test_the_panel_itself(tmp_path):
    try:
        version("causaldata")
    except PackageNotFoundError:
        pytest.skip("the optional package causaldata is not installed")
    panel = make.recover(make.read_panel())
    assert len(panel) == 550
    make.write(panel, tmp_path)
    data = read_evaluation(tmp_path)
    design = build_design(load_spec(FOLDER / "castle.toml"), data)
    assert design["exposure"].shape == (50, 11)
    go_live = pd.read_csv(tmp_path / "sites.csv")["go_live"].value_counts()
    assert go_live.to_dict() == {
        "2005-01": 1,
        "2006-01": 13,
        "2007-01": 4,
        "2008-01": 2,
        "2009-01": 1,
    }


def test_the_spec_reads():
    assert load_spec(FOLDER / "castle.toml").outcome.name == "homicide"
