"""How a user's code is typed: every public function by its result; `make types` reads it.

Nothing here is run. A name that type checkers take for Any, as a module of a function's name once
made of `fit`, fails: Any is no type that `assert_type` was told.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import pandas as pd
import xarray as xr

import lndbayes as lnd
from lndbayes.checks.result import CheckResult
from lndbayes.money.costs import Costs
from lndbayes.synthetic.generate import SimulatedEvaluation


def whole_way(folder: Path) -> None:
    """One call of each public function, as the README makes them."""
    data = assert_type(lnd.read_evaluation(folder), lnd.EvaluationData)
    spec = assert_type(lnd.load_spec(folder / "custody.toml"), lnd.ModelSpec)
    spec = assert_type(lnd.with_changes(spec, {"sampling.seed": 1}), lnd.ModelSpec)
    assert_type(lnd.prior_table(spec), pd.DataFrame)
    tree = assert_type(lnd.fit(spec, data), xr.DataTree)
    assert_type(lnd.save_fit(tree, folder / "fit.nc"), Path)
    assert_type(lnd.load_fit(folder / "fit.nc"), xr.DataTree)
    jobs = {"custody": lnd.FitJob(spec, data)}
    assert_type(lnd.fit_many(jobs, folder), dict[str, Path])
    assert_type(lnd.run_checks(tree), list[CheckResult])
    effect = assert_type(lnd.pooled_effect(tree), xr.DataArray)
    assert_type(lnd.site_effects(tree), xr.DataArray)
    assert_type(lnd.new_site_effect(tree), xr.DataArray)
    assert_type(lnd.component_effects(tree), xr.DataArray)
    averted = assert_type(lnd.events_averted(tree), xr.DataArray)
    costs = assert_type(lnd.load_costs(folder / "costs.toml"), Costs)
    assert_type(lnd.savings({"custody": averted}, costs, seed=1), xr.Dataset)
    assert_type(lnd.summarise(effect), pd.DataFrame)
    assert_type(lnd.write_report(folder), Path)
    assert_type(lnd.simulate(1), SimulatedEvaluation)
