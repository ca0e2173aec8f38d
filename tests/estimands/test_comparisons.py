"""Imputation and group-time effects: by hand, against another implementation, and over worlds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from diff_diff import CallawaySantAnna, ImputationDiD
from scipy.special import logit

from lndbayes.estimands.compared import (
    COMPARED_COLUMNS,
    EVENT_STUDY_COLUMNS,
    compared_columns,
    event_study_table,
)
from lndbayes.estimands.effects import pooled_effect
from lndbayes.estimands.group_time import group_time_effects
from lndbayes.estimands.imputation import imputed_cells, imputed_effect
from lndbayes.estimands.link_panel import (
    Compared,
    LinkPanel,
    compared_interval,
    empirical_predictor,
    link_panel,
)
from lndbayes.model.shown import NEVER
from lndbayes.spec.families import FAMILIES
from small import fake_fit

Estimator = Callable[..., Compared]
WINDOW = (7, 18)
LONG = (0, 1000)


def group_time_effect(panel: LinkPanel, window: tuple[int, int], **more: Any) -> Compared:
    return group_time_effects(panel, [window], **more)[0]


BOTH = pytest.mark.parametrize("estimator", [imputed_effect, group_time_effect])


def event_times(go_live: np.ndarray, months: int) -> np.ndarray:
    event = np.arange(months)[None, :] - go_live[:, None]
    return np.where(go_live[:, None] < months, event, NEVER)


def panel_of(
    value: np.ndarray, go_live: np.ndarray, transition: tuple[int, int] | None = None
) -> LinkPanel:
    """Cells of equal weight; sites whose go-live is after the last month never start."""
    event = event_times(go_live, value.shape[1])
    kept = np.isfinite(value)
    if transition is not None:
        kept &= (event < transition[0]) | (event > transition[1])
    value = np.where(kept, value, np.nan)
    return LinkPanel(value, kept.astype(float), event, go_live < value.shape[1], 1)


def additive(seed: int, go_live: np.ndarray, months: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (len(go_live), 1)) + rng.normal(0, 1, (1, months))


# --- by hand --------------------------------------------------------------------------------------


@BOTH
def test_two_periods_and_two_groups_give_the_difference_of_differences(
    estimator: Estimator,
) -> None:
    value = np.array([[1.0, 4.0], [2.0, 4.0], [0.0, 1.0], [3.0, 3.0], [1.0, 2.0]])
    go_live = np.array([1, 1, 9, 9, 9])
    found = estimator(panel_of(value, go_live), LONG, small_sample=False)
    change = value[:, 1] - value[:, 0]
    treated, others = change[:2], change[2:]
    assert found.estimate == pytest.approx(treated.mean() - others.mean())
    # the variance of a difference of means, clustered: sums of squared deviations over n squared
    variance = sum(((x - x.mean()) ** 2).sum() / len(x) ** 2 for x in (treated, others))
    assert found.standard_error == pytest.approx(np.sqrt(variance))
    assert (found.cells, found.sites, found.share, found.reason) == (2, 2, 1 / 1001, "")


def test_with_few_sites_the_error_of_two_groups_is_the_unbiased_one() -> None:
    rng = np.random.default_rng(3)
    value, go_live = rng.normal(size=(9, 2)), np.repeat([1, 9], [4, 5])
    change = value[:, 1] - value[:, 0]
    variance = sum(x.var(ddof=1) / len(x) for x in (change[:4], change[4:]))
    found = group_time_effect(panel_of(value, go_live), LONG)
    assert found.standard_error == pytest.approx(np.sqrt(variance))
    assert 1 < found.df < 3 + 1e-9


@BOTH
def test_additive_worlds_without_noise_are_recovered_whatever_is_missing(
    estimator: Estimator,
) -> None:
    rng = np.random.default_rng(5)
    go_live = np.array([8, 11, 11, 14, 18, 22, 60, 60, 60])
    value = additive(5, go_live, 40)
    value[rng.random(value.shape) < 0.25] = np.nan
    effect = rng.normal(size=value.shape)
    event = event_times(go_live, 40)
    panel = panel_of(value + np.where(event >= -2, effect, 0.0), go_live, transition=(-2, 1))
    found = estimator(panel, WINDOW)
    inside = (event >= 7) & (event <= 18) & panel.used & (panel.clean.sum(axis=0) >= 2)
    assert found.cells == inside.sum() > 40
    assert found.estimate == pytest.approx(effect[inside].mean(), abs=1e-10)
    assert found.share == pytest.approx(inside.sum() / (6 * 12))


@BOTH
def test_each_identified_cell_counts_alike(estimator: Estimator) -> None:
    # the last months have no untreated site to compare with: their effects count nowhere
    go_live = np.array([5, 8, 20, 20])
    event = event_times(go_live, 30)
    effect = np.where(event >= 0, 0.1 * event, 0.0)
    found = estimator(panel_of(additive(1, go_live, 30) + effect, go_live), LONG)
    inside = (event >= 0) & (np.arange(30) < 20) & (go_live[:, None] < 20)
    assert found.cells == inside.sum()
    assert found.sites == 2
    assert found.estimate == pytest.approx(effect[inside].mean())


def test_weights_are_exposure_and_not_counts() -> None:
    value = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 0.0], [0.0, 3.0]])
    panel = panel_of(value, np.array([1, 1, 9, 9]))
    heavy = replace(panel, weight=np.array([[1.0] * 2, [1.0] * 2, [2.0] * 2, [1.0] * 2]))
    for estimator in (imputed_effect, group_time_effect):
        # treated changes 1 and 2 count alike; untreated 0 and 3 as two to one
        assert estimator(heavy, LONG).estimate == pytest.approx(1.5 - 1.0)


# --- nothing from nothing -------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("go_live", "why"),
    [
        ([0, 0, 9, 9], "untreated month of its own"),
        ([2, 2, 3, 3], "no month of the window"),
        ([2, 2, 9], "no month of the window"),
        ([2, 9, 9, 9], "a single site"),
        ([9, 9, 9, 9], "no treated cell"),
    ],
)
def test_what_nothing_identifies_has_no_number_and_a_reason(
    estimator: Estimator, go_live: list[int], why: str
) -> None:
    starts = np.array(go_live)
    value = np.random.default_rng(0).normal(size=(len(starts), 6))
    found = estimator(panel_of(value, starts), (1, 2))
    assert why in found.reason
    assert np.isnan([found.estimate, found.standard_error, *compared_interval(found, 0.9)]).all()
    assert found.cells == 0
    assert found.share == 0.0 or np.isnan(found.share)


def test_cells_that_no_chain_of_untreated_cells_links_are_not_imputed() -> None:
    value = np.full((6, 8), np.nan)
    value[:3, :3] = value[3:, 4:7] = 0.0
    value[0, 5] = value[4, 6] = 0.0
    panel = panel_of(value, np.array([3, 9, 9, 9, 6, 9]))
    # site 0's only treated cell is in a month that other sites share among themselves alone
    assert not imputed_cells(panel)[0, 5]
    assert imputed_cells(panel)[4, 6]


def test_a_site_is_not_compared_with_its_own_group_before_go_live() -> None:
    rng = np.random.default_rng(2)
    go_live = np.repeat([10, 30], [3, 3])
    value = rng.normal(size=(6, 20))
    found = group_time_effect(panel_of(value, go_live), (-4, -4), base_months=1)
    change = value[:, 6] - value[:, 9]
    assert found.estimate == pytest.approx(change[:3].mean() - change[3:].mean())


# --- against another implementation ---------------------------------------------------------------


@functools.cache
def staggered() -> tuple[LinkPanel, pd.DataFrame]:
    """A balanced panel of equal weights with three months of anticipation."""
    rng = np.random.default_rng(11)
    go_live, months = np.repeat([10, 14, 19, 99], 6), 30
    value = additive(11, go_live, months) + rng.normal(0, 0.3, (24, months))
    value += np.where(event_times(go_live, months) >= 0, -0.4, 0.0)
    rows = [
        {"site": s, "month": t, "value": value[s, t], "start": g if g < months else 0}
        for s, g in enumerate(go_live)
        for t in range(months)
    ]
    return panel_of(value, go_live, transition=(-3, -1)), pd.DataFrame(rows)


KEYS = ("value", "site", "month", "start")


def test_imputation_agrees_with_an_independent_implementation() -> None:
    panel, rows = staggered()
    # one mean an event month: what one mean of all averaged cells is for windows of one month
    reference = ImputationDiD(anticipation=3, aux_partition="horizon").fit(rows, *KEYS)
    study = reference.aggregate("event_study").to_dataframe().set_index("event_time")
    for month in range(12):
        found = imputed_effect(panel, (month, month), small_sample=False)
        assert found.estimate == pytest.approx(study.at[month, "att"], abs=1e-8)
        assert found.standard_error == pytest.approx(study.at[month, "se"], rel=1e-7)


def test_group_time_effects_agree_with_an_independent_implementation() -> None:
    panel, rows = staggered()
    reference = CallawaySantAnna(
        control_group="not_yet_treated",
        anticipation=3,
        base_period="universal",
        estimation_method="reg",
    ).fit(rows, *KEYS)
    study = reference.aggregate("event_study").to_dataframe().set_index("event_time")
    months = [*range(-9, -4), *range(12)]
    found = group_time_effects(panel, [(m, m) for m in months], base_months=1, small_sample=False)
    for month, one in zip(months, found, strict=True):
        assert one.estimate == pytest.approx(study.at[month, "att"], abs=1e-10)
        assert one.standard_error == pytest.approx(study.at[month, "se"], rel=1e-9)


# --- over worlds ----------------------------------------------------------------------------------


def world(seed: int) -> tuple[LinkPanel, np.ndarray]:
    """Shocks that last, unequal sites and effects, single-site groups, a tenth of cells missing."""
    rng = np.random.default_rng(seed)
    go_live = np.array([14, 18, 20, 20, 23, 26, 29, 32, 36, 40, 99, 99, 99])
    months, sites = 48, 13
    event = event_times(go_live, months)
    exposure = rng.uniform(20, 100, (sites, 1)) * np.ones(months)
    shock = np.zeros((sites, months))
    before = rng.normal(0, 0.1, sites)
    for t in range(months):
        before = 0.5 * before + rng.normal(0, 0.087, sites)
        shock[:, t] = before
    ramp = np.where(event >= 0, 1 - np.exp(-(np.maximum(event, 0) + 0.5) / 4), 0.0)
    effect = rng.normal(-0.3, 0.1, (sites, 1)) * ramp
    value = additive(seed + 1000, go_live, months) + shock + effect
    value += rng.normal(size=value.shape) * np.sqrt(10 / exposure)
    value[rng.random(value.shape) < 0.1] = np.nan
    panel = panel_of(value, go_live, transition=(-3, 1))
    return replace(panel, weight=panel.weight * exposure), effect


@pytest.mark.slow
def test_ninety_per_cent_intervals_hold_in_about_ninety_per_cent_of_worlds() -> None:
    held = {"imputation": 0, "group_time": 0}
    for panel, effect in map(world, range(200)):
        inside = (panel.event >= 7) & (panel.event <= 18) & imputed_cells(panel) & panel.used
        truth = effect[inside].mean()
        for name, estimator in (("imputation", imputed_effect), ("group_time", group_time_effect)):
            found = estimator(panel, WINDOW)
            assert found.cells == inside.sum()
            low, high = compared_interval(found, 0.9)
            held[name] += low <= truth <= high
    # 99.9% limits of a true 90% are 165 to 193; unequal effects count as noise, which widens
    assert all(165 <= n <= 196 for n in held.values()), held


# --- from a fit -----------------------------------------------------------------------------------


def test_predictors_of_cells_are_finite_and_nearly_unbiased() -> None:
    shares, rates = FAMILIES["beta_binomial"], FAMILIES["negative_binomial"]
    count, trials = np.array([0.0, 5.0, 20.0]), np.full(3, 20.0)
    assert empirical_predictor(shares, count, trials) == pytest.approx(
        np.log((count + 0.5) / (trials - count + 0.5))
    )
    assert empirical_predictor(rates, count, trials) == pytest.approx(np.log((count + 0.5) / 20))
    assert np.isfinite(empirical_predictor(FAMILIES["duration_hazard"], count, trials)).all()
    # a source that holds half of the events of a rate of one in ten
    rng = np.random.default_rng(0)
    seen = rng.binomial(400, 0.05, 100_000).astype(float)
    mean = empirical_predictor(shares, seen, np.full(100_000, 200.0)).mean()
    assert mean == pytest.approx(logit(0.1), abs=0.01)


@pytest.mark.parametrize("period", ["month", "quarter"])
def test_a_fit_gives_its_exact_cells_of_the_likelihood(period: str) -> None:
    exposure = np.full((3, 26), 30.0)
    exact, kept = exposure.copy(), exposure.copy()
    exact[0, 3] = 0.0  # suppressed
    kept[1, 9] = 0.0  # transition
    constants = {
        "exposure": kept,
        "exposure_exact": exact,
        "count_exact": np.where(exact > 0, 6.0, 0.0),
        "coverage": 0.5,
    }
    panel = link_panel(fake_fit((6, 10, None), period=period, constants=constants))
    assert not panel.used[0, 3]
    assert not panel.used[1, 9]
    assert panel.used.sum() == 3 * 26 - 2
    assert panel.value[panel.used] == pytest.approx(np.log(6.5 / 9.5))
    assert panel.weight[2, 0] == 15.0
    assert panel.event[2, 0] == NEVER
    assert list(panel.treated) == [True, True, False]
    assert panel.median_events == 6
    assert panel.step == {"month": 1, "quarter": 3}[period]


def test_a_window_counts_the_periods_that_begin_in_it() -> None:
    go_live = np.array([2, 2, 9, 9])
    value = additive(0, go_live, 9)
    event = np.where(go_live[:, None] < 9, event_times(go_live, 9) * 3, NEVER)
    panel = LinkPanel(value, np.ones(value.shape), event, go_live < 9, 3)
    for estimator in (imputed_effect, group_time_effect):
        found = estimator(panel, WINDOW)
        # quarters that begin in months 9, 12, 15 and 18 after go-live
        assert (found.cells, found.share) == (8, 1.0)


# --- beside the posterior -------------------------------------------------------------------------


def comparable_fit(events: float = 12.0, **attrs: object) -> Any:
    """Ten sites in 48 months, five of them with an odds ratio of 1/2 from go-live on."""
    go_live = [20, 22, 24, 24, 27, None, None, None, None, None]
    trials = np.full((10, 48), 4 * events)
    rate = np.full(trials.shape, 0.25)
    for site, start in enumerate(go_live):
        if start is not None:
            rate[site, start:] = 1 / 7
    constants = {
        "exposure": trials,
        "exposure_exact": trials,
        "count_exact": np.random.default_rng(4).binomial(trials.astype(int), rate),
    }
    fit = fake_fit(go_live, months=48, constants=constants)
    fit.attrs |= attrs
    return fit


def test_columns_are_ratios_with_the_share_that_is_compared() -> None:
    row = compared_columns(comparable_fit(40.0))
    assert tuple(row) == COMPARED_COLUMNS
    for name in ("imputation", "group_time"):
        assert row[f"{name}_lower"] < 0.5 < row[f"{name}_upper"]
        assert row[f"{name}_lower"] < row[f"{name}_ratio"] < row[f"{name}_upper"] < 0.7
        assert row[f"{name}_share"] == 1.0
    assert row["compared_note"] == ""


@pytest.mark.parametrize(
    ("fit", "why"),
    [
        (comparable_fit(selected=1), "selected people"),
        (comparable_fit(1.0), "too few"),
        (fake_fit((6, 10, None)), "no month of the window"),
    ],
)
def test_columns_without_numbers_say_why(fit: Any, why: str) -> None:
    row = compared_columns(fit)
    assert why in row["compared_note"]
    numbers = [row[c] for c in COMPARED_COLUMNS if not c.endswith(("share", "note"))]
    assert np.isnan(np.array(numbers, dtype=float)).all()
    assert event_study_table(fit).empty


def test_few_events_are_told_beside_the_numbers() -> None:
    row = compared_columns(comparable_fit(3.0))
    assert "drawn towards no effect" in row["compared_note"]
    assert np.isfinite(row["imputation_ratio"])


def test_the_event_study_has_leads_effects_and_the_models_course() -> None:
    fit = comparable_fit(40.0)
    table = event_study_table(fit).set_index("event_month")
    assert list(table.columns) == [c for c in EVENT_STUDY_COLUMNS if c != "event_month"]
    leads = table.loc[:-1]
    # over the base months, the last twelve before go-live, leads average to zero
    assert np.log(table.loc[-12:-1, "ratio"]).mean() == pytest.approx(0.0, abs=1e-10)
    assert leads["model_median"].isna().all()
    after = table.loc[0:20]
    assert (after["ratio"] < 0.8).all()
    # two sites alone have a month 24: their one difference tells no error
    assert table.loc[24, "sites"] == 0
    assert np.isnan(table.loc[24, "ratio"])
    model = pooled_effect(fit, window=(5, 5))
    assert np.log(table.at[5, "model_median"]) == pytest.approx(np.median(model))


def test_a_cell_of_which_a_source_holds_nothing_has_no_value() -> None:
    tree = fake_fit()
    constants = tree["constant_data"].to_dataset()
    coverage = constants["coverage"].copy()
    coverage[0, :3] = 0.0
    tree["constant_data"] = xr.DataTree(constants.assign(coverage=coverage))
    panel = link_panel(tree)
    assert not panel.used[0, :3].any()
    assert (panel.weight[panel.used] > 0).all()
