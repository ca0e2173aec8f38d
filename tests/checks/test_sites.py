"""Sites against each other: by hand, and how often a right model is accused."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom

from fake_fit import changed, make_fit
from lndbayes.checks.counts import impossible_counts
from lndbayes.checks.predictive import Discrepancy, Unavailable
from lndbayes.checks.replication import Replication
from lndbayes.checks.result import CheckResult, Status
from lndbayes.checks.sites import (
    exposure_breaks,
    exposure_ratios,
    modified_z,
    site_discrepancies,
    site_levels,
)
from lndbayes.checks.thresholds import DEFAULTS
from lndbayes.checks.verdicts_model import discrepancy
from lndbayes.checks.verdicts_sites import levels, ratios
from small import load

worlds = load("checks/test_predictive.py")
RUNS = 150


def judge(data: Replication) -> list[CheckResult]:
    return [discrepancy("custody", d, DEFAULTS) for d in site_discrepancies(data, DEFAULTS)]


@pytest.mark.slow
@pytest.mark.parametrize("world", ["known_parameters", "exact_posterior"])
def test_false_alarms(world) -> None:
    """Level 1% each: of 150 runs 1.5 are expected, more than 6 have probability 0.0008."""
    assert binom.sf(6, RUNS, 0.01) < 1e-3
    rng = np.random.default_rng(8)
    reviews, fails = Counter(), 0
    for _ in range(RUNS):
        results = judge(getattr(worlds, world)(rng))
        assert len(results) == 3
        assert Status.NOT_RUN not in {r.status for r in results}
        reviews.update(r.check for r in results if r.status is not Status.PASS)
        fails += sum(r.status is Status.FAIL for r in results)
    assert not {check: k for check, k in reviews.items() if k > 6}
    assert fails == 0


def test_a_copied_series_is_found_and_named() -> None:
    data = worlds.known_parameters(np.random.default_rng(1))
    y = data.y.copy()
    y[data.site == 7] = y[data.site == 2]
    exposure = data.exposure.copy()
    exposure[data.site == 7] = exposure[data.site == 2]
    result = judge(dataclasses.replace(data, y=y, exposure=exposure))[0]
    assert result.status is Status.FAIL
    assert "S2 and S7" in result.message


def test_correlation_is_numpys_about_zero() -> None:
    data = worlds.known_parameters(np.random.default_rng(2))
    found = site_discrepancies(data, DEFAULTS)[0]
    assert isinstance(found, Discrepancy)
    z, _ = worlds.standardised_residuals(data.y, data.replicated, data.expected)
    pair = found.table.iloc[0]
    a, b = (z[:, data.site == int(s[1:])] for s in (pair["site"], pair["other"]))
    r = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    assert pair["correlation"] == pytest.approx(np.median(r))
    np.testing.assert_allclose(found.observed, np.arctanh(r) * np.sqrt(a.shape[1] - 3))


def test_runs_without_events_by_hand() -> None:
    """Expected 2, 3, 4, 5 at one site; the data have events in the second period only."""
    data = worlds.tiny()
    data = dataclasses.replace(
        data,
        y=np.array([0.0, 6.0, 0.0, 0.0]),
        expected=np.array([[2.0, 3.0, 4.0, 5.0]] * 2),
        replicated=np.array([[1.0, 0.0, 4.0, 9.0], [3.0, 5.0, 4.0, 1.0]]),
        site=np.zeros(4, int),
        month=np.array([0, 1, 2, 4]),  # the fourth is no cell: stepped over
        sites=("A",),
    )
    run = site_discrepancies(data, DEFAULTS)[-1]
    assert isinstance(run, Discrepancy)
    np.testing.assert_allclose(np.expm1(run.observed), [9.0, 9.0])
    np.testing.assert_allclose(np.expm1(run.replicated), [3.0, 0.0])


def test_without_expectations_nothing_is_claimed() -> None:
    data = worlds.known_parameters(np.random.default_rng(3))
    found = site_discrepancies(dataclasses.replace(data, expected=None), DEFAULTS)
    assert [type(f) for f in found] == [Unavailable] * 3


def test_modified_z_by_hand_and_its_null() -> None:
    z, p = modified_z(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))
    # median 3, median absolute deviation 1
    np.testing.assert_allclose(z, np.array([-2.0, -1.0, 0.0, 1.0, 97.0]) / 1.4826)
    assert p < 0.01
    rng = np.random.default_rng(4)
    accused = sum(modified_z(rng.normal(size=12))[1] < 0.01 for _ in range(400))
    assert accused <= binom.isf(0.001, 400, 0.01)
    z, p = modified_z(np.ones(6))
    assert not z.any()
    assert p == 1.0


def test_exposure_and_referrals() -> None:
    fit = make_fit()
    assert ratios("o", "exposure_ratios", exposure_ratios(fit), DEFAULTS).status is Status.PASS

    def tripled(ds):
        ds["exposure_all"].values[3] *= 3
        return ds

    result = ratios(
        "o", "exposure_ratios", exposure_ratios(changed(fit, "constant_data", tripled)), DEFAULTS
    )
    assert result.status is Status.REVIEW
    assert "S03" in result.message
    assert "3.00 times" in result.message

    def halved(ds):
        ds["exposure_all"].values[5, 24:36] /= 2
        return ds

    result = ratios(
        "o", "exposure_breaks", exposure_breaks(changed(fit, "constant_data", halved)), DEFAULTS
    )
    assert result.status is Status.REVIEW
    assert "S05" in result.message

    def slight(ds):
        ds["exposure_all"].values[3] *= 1.14
        return ds

    # beyond chance, but of no consequence
    found = exposure_ratios(changed(fit, "constant_data", slight))
    assert found.p < DEFAULTS.predictive_level
    assert ratios("o", "exposure_ratios", found, DEFAULTS).status is Status.PASS


def test_levels() -> None:
    def moved(ds):
        ds["site_level"].values[:, :, 4] -= 4
        return ds

    fit = make_fit()
    assert levels("o", site_levels(fit), DEFAULTS).status is Status.PASS
    result = levels("o", site_levels(changed(fit, "posterior", moved)), DEFAULTS)
    assert result.status is Status.REVIEW
    assert "S04" in result.message
    assert "only 3 sites" in site_levels(make_fit(sites=3, months=24, draws=50, replicates=10))


@pytest.mark.parametrize("bad", [-1.0, 2.5, 1e6])
def test_counts_that_cannot_be(bad) -> None:
    def planted(ds):
        ds["y"].values[2, 9] = bad
        return ds

    fit = make_fit()
    assert fit["constant_data"]["exposure"].values[2, 9] > 0
    assert len(impossible_counts(fit)) == 0
    (row,) = impossible_counts(changed(fit, "observed_data", planted)).itertuples()
    assert (row.site, row.count_ if hasattr(row, "count_") else row[3]) == ("S02", bad)


@pytest.mark.parametrize("stage", [4.0, 2.5, -1.0])
def test_a_later_stage_cannot_count_more_than_reached_it(stage) -> None:
    fit = make_fit(3, draws=20, replicates=10, family="ordered_bands")
    cells = fit["observed_data"]["y"]
    reached = xr.full_like(cells, 3.0).expand_dims(stage=["long"], axis=-1)
    fit["observed_data"] = fit["observed_data"].to_dataset().assign(y_stage=reached - 1)
    fit["constant_data"] = fit["constant_data"].to_dataset().assign(stage_exposure=reached)
    assert len(impossible_counts(fit)) == 0
    fit["observed_data"]["y_stage"][2, 9, 0] = stage
    assert len(impossible_counts(fit)) == 1
