"""The written directory, read by the reader of the data contract."""

from __future__ import annotations

import numpy as np
import pytest

from lndbayes.data.evaluation import read_evaluation
from lndbayes.simulate import simulate, write_evaluation


@pytest.mark.parametrize("sites", [2, 27])
def test_the_reader_finds_no_fault_and_the_same_numbers(tmp_path, sites):
    sim = simulate(31, sites=sites)
    data = read_evaluation(write_evaluation(sim, tmp_path / "out"))
    axes, truth = sim.truth["axes"], sim.truth["sites"]
    assert data.synthetic
    assert data.ds["site"].values.tolist() == axes["site"]
    assert data.ds["month"].values.tolist() == axes["month"]
    assert data.ds["outcome"].values.tolist() == ["custody"]
    np.testing.assert_array_equal(data.ds["go_live"], truth["go_live"])
    np.testing.assert_array_equal(data.ds["wave"], truth["wave"])

    outcomes = sim.frames["outcomes.csv"]
    count = data.ds["count"].sel(outcome="custody")
    assert int(count.notnull().sum()) == len(outcomes)
    for row in outcomes.sample(40, random_state=1).itertuples():
        assert float(count.sel(site=row.site, month=row.month)) == row.count

    mix = sim.frames["mix.csv"].groupby(["site", "intervention"])["contacts"].sum()
    for (site, intervention), contacts in mix.items():
        assert float(data.ds["mix"].sel(site=site, intervention=intervention)) == contacts

    for name in ("retrospective", "national", "history", "elicited"):
        assert len(data.evidence[name]) == len(sim.frames[f"evidence/{name}.csv"])
    assert len(data.evidence["proxy"]) == 0
