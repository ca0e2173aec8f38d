"""The written directory, read by the reader of the data contract."""

from __future__ import annotations

import numpy as np
import pytest

from cells import cells
from lndbayes.data.evaluation import read_evaluation
from lndbayes.synthetic import NAMES, simulate, write_evaluation
from lndbayes.synthetic.outcomes import OTHERS


@pytest.mark.parametrize("sites", [2, 27])
def test_the_reader_finds_no_fault_and_the_same_numbers(tmp_path, sites):
    sim = simulate(31, sites=sites)
    data = read_evaluation(write_evaluation(sim, tmp_path / "out"))
    axes, truth = sim.truth["axes"], sim.truth["sites"]
    assert data.synthetic
    assert data.ds["site"].values.tolist() == axes["site"]
    assert data.ds["month"].values.tolist() == axes["month"]
    assert data.ds["outcome"].values.tolist() == sorted(NAMES)
    np.testing.assert_array_equal(data.ds["go_live"], truth["go_live"])
    np.testing.assert_array_equal(data.ds["wave"], truth["wave"])

    for name in NAMES:
        outcome, cube = cells(sim, name), data.ds.sel(outcome=name)
        assert int(cube["count"].notnull().sum()) == len(outcome)
        for row in outcome.sample(min(40, len(outcome)), random_state=1).itertuples():
            at = cube.sel(site=row.site, month=row.month)
            assert (float(at["count"]), float(at["exposure"])) == (row.count, row.exposure)

    late = OTHERS["drug_alcohol_referrals"].coverage
    coverage = data.ds["coverage"].where(data.ds["status"] >= 0)
    for name in NAMES:
        newest = coverage.sel(outcome=name, month=axes["month"][-4:]).max("site").values
        wanted = (1, *late) if name.startswith("drug_alcohol") else (1, 1, 1, 1)
        np.testing.assert_array_equal(
            newest[~np.isnan(newest)], np.array(wanted)[~np.isnan(newest)]
        )

    mix = sim.frames["mix.csv"].groupby(["site", "intervention"])["contacts"].sum()
    for (site, intervention), contacts in mix.items():
        assert float(data.ds["mix"].sel(site=site, intervention=intervention)) == contacts

    for name in ("retrospective", "national", "history", "elicited"):
        assert len(data.evidence[name]) == len(sim.frames[f"evidence/{name}.csv"])
    assert len(data.evidence["proxy"]) == 0
