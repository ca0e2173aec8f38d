"""Faults planted on purpose, in data before a fit and in a fit after it, for checks to find.

A fault of data or spec is refitted: what counts is what the battery says of a fit that believed it.
A fault of a fit is planted in a copy of its groups. `caught_by` names the checks that must not pass
any more; a fault without one is one that nothing here can see, and `reason` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fake_fit import changed

Frames = dict[str, pd.DataFrame]

__all__ = ["DATA_FAULTS", "FIT_FAULTS", "SPEC_FAULTS", "DataFault", "FitFault", "SpecFault"]


@dataclass(frozen=True)
class DataFault:
    """Tables of an evaluation, changed by `plant(frames, rng)`."""

    name: str
    what: str
    plant: Callable[[Frames, np.random.Generator], Frames]
    caught_by: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class SpecFault:
    """Keys of a spec, changed."""

    name: str
    what: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    caught_by: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class FitFault:
    """Groups of a fit, changed by `plant(tree)`."""

    name: str
    what: str
    plant: Callable[[xr.DataTree], xr.DataTree]
    caught_by: tuple[str, ...] = ()
    reason: str = ""


# --- data -----------------------------------------------------------------------------------------


def _outcomes(change: Callable[[pd.DataFrame, Frames, np.random.Generator], pd.DataFrame]) -> Any:
    def plant(frames: Frames, rng: np.random.Generator) -> Frames:
        return {**frames, "outcomes.csv": change(frames["outcomes.csv"].copy(), frames, rng)}

    return plant


def _swapped(first: str, second: str) -> Any:
    """Outcome rows of two sites change places, in the months that both have."""

    def change(table: pd.DataFrame, frames: Frames, rng: np.random.Generator) -> pd.DataFrame:
        table["site"] = table["site"].replace({first: second, second: first})
        return table.sort_values(["site", "month"], ignore_index=True)

    return _outcomes(change)


def _shuffled_months(table: pd.DataFrame, frames: Frames, rng: np.random.Generator) -> pd.DataFrame:
    for rows in table.groupby("site").groups.values():
        order = rng.permutation(rows)
        table.loc[rows, ["exposure", "count"]] = table.loc[order, ["exposure", "count"]].to_numpy()
    return table


def _event_months(table: pd.DataFrame, frames: Frames) -> pd.Series:
    go_live = frames["sites.csv"].set_index("site")["go_live"]
    starts = table["site"].map(go_live)
    known = starts.notna() & (starts != "")
    months = pd.Series(np.nan, index=table.index)
    months[known] = [
        12 * (int(m[:4]) - int(g[:4])) + int(m[5:7]) - int(g[5:7])
        for m, g in zip(table["month"][known], starts[known], strict=True)
    ]
    return months


def _recording_step(table: pd.DataFrame, frames: Frames, rng: np.random.Generator) -> pd.DataFrame:
    """Records of events rise by 0.3 on the logit scale at go-live, in every site."""
    after = _event_months(table, frames) >= 0
    rate = (table["count"] + 0.5) / (table["exposure"] + 1)
    moved = 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) + 0.3)))
    # only events that were not recorded can be added: each with the probability that moves the rate
    extra = rng.binomial(
        (table["exposure"] - table["count"]).astype(int), (moved - rate) / (1 - rate)
    )
    table.loc[after, "count"] = (table["count"] + extra)[after]
    return table


def _times(site: str, factor: float) -> Any:
    def change(table: pd.DataFrame, frames: Frames, rng: np.random.Generator) -> pd.DataFrame:
        rows = table["site"] == site
        table.loc[rows, "exposure"] = (table.loc[rows, "exposure"] * factor).round().astype(int)
        return table

    return _outcomes(change)


def _year_halved(site: str, year: str) -> Any:
    def change(table: pd.DataFrame, frames: Frames, rng: np.random.Generator) -> pd.DataFrame:
        rows = (table["site"] == site) & table["month"].str.startswith(year)
        assert rows.any()
        half = (table.loc[rows, "exposure"] * 0.5).round().astype(int)
        table.loc[rows, "exposure"] = np.maximum(half, table.loc[rows, "count"])
        return table

    return _outcomes(change)


def _copied(source: str, target: str) -> Any:
    """Exposure and counts of one site take the place of another's, month by month."""

    def change(table: pd.DataFrame, frames: Frames, rng: np.random.Generator) -> pd.DataFrame:
        values = ["exposure", "count"]
        given = table[table["site"] == source].set_index("month")[values]
        rows = table.index[(table["site"] == target) & table["month"].isin(given.index)]
        assert len(rows) > 0
        table.loc[rows, values] = given.loc[table.loc[rows, "month"]].to_numpy()
        return table

    return _outcomes(change)


def _go_live_moved(months: int, *sites: str) -> Any:
    def plant(frames: Frames, rng: np.random.Generator) -> Frames:
        table = frames["sites.csv"].copy()
        for i in table.index[table["site"].isin(sites)]:
            start = pd.Period(table.at[i, "go_live"], freq="M") + months
            table.loc[i, "go_live"] = str(start)
        return {**frames, "sites.csv": table}

    return plant


def _mix_permuted(frames: Frames, rng: np.random.Generator) -> Frames:
    mix = frames["mix.csv"].copy()
    sites = sorted(mix["site"].unique())
    shifted = dict(zip(sites, sites[1:] + sites[:1], strict=True))
    mix["site"] = mix["site"].map(shifted)
    return {**frames, "mix.csv": mix.sort_values(["site", "month"], ignore_index=True)}


def _all_zero(site: str) -> Any:
    def change(table: pd.DataFrame, frames: Frames, rng: np.random.Generator) -> pd.DataFrame:
        table.loc[table["site"] == site, "count"] = 0
        return table

    return _outcomes(change)


def _lost_year(site: str, year: str) -> Any:
    """Events of one year were not recorded: counts of zero where there were some."""

    def change(table: pd.DataFrame, frames: Frames, rng: np.random.Generator) -> pd.DataFrame:
        rows = (table["site"] == site) & table["month"].str.startswith(year)
        assert table.loc[rows, "count"].sum() > 0
        table.loc[rows, "count"] = 0
        return table

    return _outcomes(change)


def _year_thrice(site: str, year: str) -> Any:
    def change(table: pd.DataFrame, frames: Frames, rng: np.random.Generator) -> pd.DataFrame:
        rows = (table["site"] == site) & table["month"].str.startswith(year)
        assert table.loc[rows, "count"].sum() > 0
        table.loc[rows, "count"] = np.minimum(3 * table.loc[rows, "count"], table["exposure"][rows])
        return table

    return _outcomes(change)


_ALIASED = "aliased with the effect: the same numbers in every cell"

DATA_FAULTS: tuple[DataFault, ...] = (
    DataFault(
        "swapped_sites",
        "outcome rows of two sites exchanged",
        _swapped("S04", "S10"),
        ("exposure_ratios",),
    ),
    DataFault(
        "exposure_tripled",
        "exposure of one site times 3",
        _times("S07", 3.0),
        ("exposure_ratios",),
    ),
    DataFault(
        "exposure_halved",
        "exposure of one site halved in one year",
        _year_halved("S07", "2016"),
        ("exposure_breaks",),
    ),
    DataFault(
        "duplicated_site",
        "exposure and counts of one site copied to another",
        _copied("S05", "S09"),
        ("site_correlation",),
    ),
    DataFault(
        "all_zero_site",
        "no event recorded at one site in any month",
        _all_zero("S08"),
        ("site_levels",),
    ),
    DataFault(
        "lost_year",
        "no event recorded at one site in one year",
        _lost_year("S10", "2016"),
        ("zero_run",),
    ),
    DataFault(
        "year_thrice",
        "events of one site counted three times in one year",
        _year_thrice("S04", "2016"),
        ("worst_site_year",),
    ),
    DataFault(
        "recording_step",
        "records of events up by 0.3 logits from go-live on, at every site",
        _outcomes(_recording_step),
        reason=_ALIASED + "; see `go_live_step` in the tipping analysis",
    ),
    DataFault(
        "mix_permuted",
        "records of the mix moved on by one site",
        _mix_permuted,
        reason="mix explains little of the sites' effects, and nothing else depends on it",
    ),
    DataFault(
        "shuffled_months",
        "months shuffled within each site",
        _outcomes(_shuffled_months),
        reason="a flat curve and a small effect describe the shuffled data well",
    ),
    DataFault(
        "go_live_late",
        "go-live dates 12 months late at three of twelve sites",
        _go_live_moved(12, "S05", "S07", "S09"),
        reason="a year at three sites has too few events for the effect to show by itself",
    ),
)

SPEC_FAULTS: tuple[SpecFault, ...] = (
    SpecFault(
        "tight_wrong_prior",
        "prior of the effect certain of a rise",
        {"priors.effect_mean": {"dist": "Normal", "mu": 0.6, "sigma": 0.02}},
        ("prior_dominance",),
    ),
)


# --- fits -----------------------------------------------------------------------------------------


def _in(group: str, name: str, change: Callable[[xr.DataArray], None]) -> Any:
    def plant(tree: xr.DataTree) -> xr.DataTree:
        def edit(ds: xr.Dataset) -> xr.Dataset:
            values = ds[name].copy(deep=True)
            change(values)
            return ds.assign({name: values})

        return changed(tree, group, edit)

    return plant


def _nan_draw(values: xr.DataArray) -> None:
    values[1, 17, 2] = np.nan


def _stuck(values: xr.DataArray) -> None:
    values[2] = values[2, 0].to_numpy()


def _shifted(values: xr.DataArray) -> None:
    values[3] = values[3] + 2 * values.std()


def _same(values: xr.DataArray) -> None:
    values[1] = values[0].to_numpy()


def _infinite(values: xr.DataArray) -> None:
    values[0, 3, 5] = -np.inf


def _too_many(values: xr.DataArray) -> None:
    s, t = np.argwhere(np.isfinite(values.to_numpy()))[4]
    values[s, t] = 100_000


def _diverging(values: xr.DataArray) -> None:
    values[:, ::20] = True


def _without(group: str) -> Any:
    return lambda tree: changed(tree, group, lambda ds: None)


def _logit_expectation(values: xr.DataArray) -> None:
    values[:] = np.log(values / (1 - values)).to_numpy()


FIT_FAULTS: tuple[FitFault, ...] = (
    FitFault("nan_draw", "one NaN draw", _in("posterior", "site_effect", _nan_draw), ("finite",)),
    FitFault(
        "stuck_chain",
        "one chain that never moves",
        _in("posterior", "ramp_months", _stuck),
        ("stuck_chains", "rhat"),
    ),
    FitFault(
        "shifted_chain",
        "one chain about another mean",
        _in("posterior", "effect_mean", _shifted),
        ("rhat", "rhat_reported"),
    ),
    FitFault(
        "copied_chain",
        "one chain copied from another",
        _in("posterior", "effect_mean", _same),
        ("identical_chains",),
    ),
    FitFault(
        "infinite_log_likelihood",
        "one cell impossible in one draw",
        _in("log_likelihood", "y", _infinite),
        ("finite",),
    ),
    FitFault(
        "impossible_count",
        "more events than trials in one cell of the fit",
        _in("observed_data", "y", _too_many),
        ("possible_counts", "max_change"),
    ),
    FitFault(
        "divergent_draws",
        "one draw in twenty divergent",
        _in("sample_stats", "diverging", _diverging),
        ("divergences",),
    ),
    FitFault(
        "no_sample_stats", "group sample_stats missing", _without("sample_stats"), ("groups",)
    ),
    FitFault(
        "wrong_expectation",
        "expectations stored on another scale than the replicates",
        _in("posterior_predictive", "mu", _logit_expectation),
        ("overdispersion", "site_correlation"),
    ),
)
