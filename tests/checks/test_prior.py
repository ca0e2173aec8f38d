"""Numbers about the prior, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.special import expit

from lndbayes.checks.prior import pooled_rates, prior_changes, rate_ratios, sd_ratios


def scalars(**values: list[float]) -> xr.Dataset:
    return xr.Dataset({name: (("chain", "draw"), [v]) for name, v in values.items()})


def panels(y: list, exposure: list) -> xr.DataTree:
    """Prior predictive panels (draw, site, month)."""
    return xr.DataTree.from_dict(
        {
            "/prior_predictive": xr.Dataset({"y": (("chain", "draw", "site", "month"), [y])}),
            "/constant_data": xr.Dataset({"exposure": (("site", "month"), exposure)}),
        }
    )


def test_rate_ratios_are_ratios_of_rates():
    level, effect = np.array([-2.0, 0.0, 3.0]), np.array([-0.5, 0.8, 0.1])
    prior = scalars(baseline_level=list(level), effect_mean=list(effect))
    np.testing.assert_allclose(
        rate_ratios(prior, "logit"), expit(level + effect) / expit(level), rtol=1e-12
    )
    np.testing.assert_allclose(rate_ratios(prior, "log"), np.exp(effect), rtol=1e-12)


def test_rate_ratios_do_not_overflow():
    """Near rate zero the odds ratio is the rate ratio; near one no rate can rise."""
    prior = scalars(baseline_level=[-800.0, 800.0], effect_mean=[1.0, 1.0])
    np.testing.assert_allclose(rate_ratios(prior, "logit"), [np.e, 1.0], rtol=1e-12)


def test_pooled_rates_count_the_likelihoods_cells_only():
    nan = np.nan
    fit = panels(
        y=[[[1.0, 2.0], [3.0, nan]], [[0.0, 0.0], [6.0, nan]]], exposure=[[10.0, 10.0], [20.0, 0.0]]
    )
    assert pooled_rates(fit).tolist() == [6 / 40, 6 / 40]


def test_changes_by_hand():
    # Two sites of 1000 a month: 200, 300 and 99 events; the last are too few to tell.
    fit = panels(
        y=[[[100.0, 150.0, 50.0], [100.0, 150.0, 49.0]]], exposure=[[1000.0] * 3, [1000.0] * 3]
    )
    assert prior_changes(fit).tolist() == pytest.approx([0.5])


def test_sd_ratios():
    fit = xr.DataTree.from_dict(
        {
            "/prior": scalars(
                a=[0.0, 2.0, 4.0], b=[1.0, 2.0, 3.0], fixed=[1.0] * 3, lone=[1.0] * 3
            ),
            "/posterior": scalars(a=[0.0, 1.0, 2.0], b=[1.0, 2.0, np.nan], fixed=[1.0] * 3).assign(
                vector=(("chain", "draw", "site"), np.zeros((1, 3, 2)))
            ),
        }
    )
    table = sd_ratios(fit).set_index("variable")
    assert sorted(table.index) == ["a", "b", "fixed"]
    assert table.loc["a"].tolist() == [2.0, 1.0, 0.5]
    # Neither a NaN draw nor a prior without spread gives a ratio.
    assert np.isnan(table.loc["b", "ratio"])
    assert np.isnan(table.loc["fixed", "ratio"])
