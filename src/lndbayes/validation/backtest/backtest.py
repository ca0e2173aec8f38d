"""Masked-baseline back-test: hide what is known of the untreated state, reconstruct it, score it.

A fold is a few sites whose months before go-live are all left out of the fit, as if the service had
started before anyone counted. What the model then says of those months is scored against what was
counted, beside what would be done without a model. Every refit is the same compiled density.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.errors import DataError, Problem
from lndbayes.base.names import PERIOD_MONTHS, SAMPLE_DIMS
from lndbayes.checks.result import CheckResult, overall
from lndbayes.data.evaluation import EvaluationData
from lndbayes.estimands.predictors import untreated_predictor
from lndbayes.files.lock import alone
from lndbayes.files.places import require_run
from lndbayes.files.provenance import record_product
from lndbayes.fitting.fit import fit_key, load_fit, versions
from lndbayes.fitting.metadata import metadata
from lndbayes.fitting.parallel import FitJob, fit_many
from lndbayes.model.design import Design
from lndbayes.model.shown import live_cells
from lndbayes.model.support import supported_design
from lndbayes.spec.model_spec import CHANNELS, ModelSpec, with_changes
from lndbayes.validation.backtest.page import write_backtest
from lndbayes.validation.backtest.scores import ALL_CHANNELS, score_cells, summary_table, verdicts
from lndbayes.validation.comparators import COMPARATORS, MaskedPanel
from lndbayes.validation.observation import predicted_counts

__all__ = ["BacktestResult", "backtest", "folds_of", "hidden_counts"]

#: Sites of a fold unless asked otherwise.
FOLD_SITES = 3

#: Predictive draws of each comparator.
_DRAWS = 2000

#: Refits need the predictive law of some cells, not tail quantiles of every parameter.
_SHORT = {
    "sampling.chains": 2,
    "sampling.tune": 300,
    "sampling.draws": 500,
    "sampling.target_accept": 0.8,
}

PANEL = "panel_only"


@dataclass(frozen=True)
class BacktestResult:
    """What a back-test found.

    Attributes
    ----------
    cells, sites, summary : pandas.DataFrame
        ``backtest.csv``, ``backtest_sites.csv`` and ``backtest_summary.csv``.
    checks : list of CheckResult
        The verdicts.
    """

    cells: pd.DataFrame
    sites: pd.DataFrame
    summary: pd.DataFrame
    checks: list[CheckResult]


@alone("folder")
def backtest(
    spec: ModelSpec,
    data: EvaluationData,
    folder: str | Path,
    *,
    folds: int | None = None,
    each_channel: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> BacktestResult:
    """Hide, refit, reconstruct and score every site that has untreated months; resumable.

    Parameters
    ----------
    spec : ModelSpec
        The spec; its sampler settings are replaced by short ones.
    data : EvaluationData
        The data.
    folder : str or Path
        Refits are kept in ``folder/folds``, each as soon as it is finished.
    folds : int, optional
        Number of folds; default as many as make folds of about three sites.
    each_channel : bool
        Also refit with each reconstructed channel that has data left out.
    workers, scheduler
        See `lndbayes.fitting.parallel.fit_many`.
    say : callable, optional
        Receives a line for each finished refit.

    Returns
    -------
    BacktestResult
        Also written to ``backtest.csv``, ``backtest_sites.csv``, ``backtest_summary.csv``,
        ``backtest_checks.csv``, ``backtest.md``, ``backtest.svg``, ``backtest.png`` and
        ``backtest.json``.

    Raises
    ------
    DataError
        If no site has both untreated months and months with the service, or there are more folds
        than such sites.
    """
    folder, clock = Path(folder), time.perf_counter()
    require_run(folder)
    made_from = {spec.outcome.name: fit_key(spec, data)}
    spec = with_changes(spec, {**_SHORT, "baseline.channels.not_yet_treated": True})
    design = supported_design(spec, data)
    members = folds_of(spec, design, folds)
    jobs = _jobs(spec, data, design, members, each_channel=each_channel)
    paths = fit_many(
        {name: job for name, (job, _, _) in jobs.items()},
        folder / "folds",
        keep=hidden_counts,
        workers=workers,
        scheduler=scheduler,
        say=say,
    )
    scored, sampling = [], []
    for name, (_, channels, fold) in jobs.items():
        kept = load_fit(paths[name])
        sampling.append({"refit": name, **_sampling(kept)})
        scored.append(_score_model(kept, design, channels, fold, members[fold]))
    for fold, sites in enumerate(members):
        scored += _score_comparators(spec, data, design, fold, sites)
    cells, by_site = (
        pd.concat([getattr(part, table) for part in scored], ignore_index=True)
        for table in ("cells", "sites")
    )
    summary = summary_table(cells, np.concatenate([part.batches for part in scored]), by_site)
    divergent = sum(s["divergences"] for s in sampling) / sum(s["transitions"] for s in sampling)
    checks = verdicts(spec.outcome.name, summary, divergent)
    result = BacktestResult(cells, by_site, summary, checks)
    facts = {
        "outcome": spec.outcome.name,
        "data": data.name,
        "data_hash": data.hash,
        "made_from": made_from,
        "synthetic": data.synthetic,
        "folds": [[design.coords["site"][s] for s in sites] for sites in members],
        "status": overall(checks).value,
        "wall_seconds": round(time.perf_counter() - clock, 1),
        "refit_seconds": round(sum(s["wall_seconds"] for s in sampling), 1),
        "sampling": sampling,
        "versions": versions(),
    }
    write_backtest(folder, cells, by_site, summary, checks, facts)
    record_product(folder, "backtest", made_from)
    return result


def folds_of(spec: ModelSpec, design: Design, folds: int | None = None) -> list[list[int]]:
    """Deal the sites that can be back-tested over folds, so that each fold has sites of all waves.

    A site can be back-tested if it has counted months before the transition, which are hidden, and
    after it, which stay; suppressed and rounded ones are hidden too, and cannot be scored. A site
    that never goes live is not one of them: hiding its untreated months would leave nothing of it.

    Parameters
    ----------
    spec : ModelSpec
        Gives the transition.
    design : Design
        The data.
    folds : int, optional
        Number of folds; default as many as make folds of about three sites.

    Returns
    -------
    list of list of int
        Positions of the sites of each fold.

    Raises
    ------
    DataError
        See `backtest`.
    """
    event, used = design["event_time"], _counted(design)
    live = (event >= 0).any(axis=1)
    usable = live & (used & (event < 0)).any(axis=1) & (used & (event >= 0)).any(axis=1)
    sites = np.flatnonzero(usable)
    count = folds or max(round(len(sites) / FOLD_SITES), 1)
    if len(sites) == 0:
        rule = f"no site has months of {spec.outcome.name} both before and after its go-live"
        raise DataError(Problem("outcomes.csv", rule))
    if count > len(sites):
        rule = f"must be at most the number of sites with months before and after, {len(sites)}"
        raise DataError(Problem("--folds", rule, value=str(count)))
    order = sorted(sites, key=lambda s: (design["wave_index"][s], -event[s, 0], s))
    return [[int(s) for s in order[k::count]] for k in range(count)]


def _channel_sets(
    spec: ModelSpec, design: Design, *, each_channel: bool
) -> Mapping[str, dict[str, Any]]:
    """Spec changes of every set of channels that differs from the others in these data."""
    rows = {
        "retrospective": "retrospective_count",
        "national": "national_logit",
        "history": "history_count",
        "elicited": "elicited_logit",
    }
    live = [
        c
        for c in CHANNELS
        if c in rows and getattr(spec.baseline.channels, c) and len(design[rows[c]])
    ]
    off = {c: {f"baseline.channels.{c}": False} for c in live}
    sets: dict[str, dict[str, Any]] = {ALL_CHANNELS: {}}
    if live:
        sets[PANEL] = {k: v for change in off.values() for k, v in change.items()}
    if each_channel and len(live) > 1:
        sets |= {f"without_{c}": change for c, change in off.items()}
    return sets


def _jobs(
    spec: ModelSpec,
    data: EvaluationData,
    design: Design,
    members: list[list[int]],
    *,
    each_channel: bool,
) -> dict[str, tuple[FitJob, str, int]]:
    jobs = {}
    for channels, changes in _channel_sets(spec, design, each_channel=each_channel).items():
        for fold, sites in enumerate(members):
            labels = {dim: design.coords[dim] for dim in ("site", "month")}
            mask = xr.DataArray(_hidden(design, sites), dims=("site", "month"), coords=labels)
            job = FitJob(with_changes(spec, changes), data, mask)
            jobs[f"{spec.outcome.name}-{channels}-{fold + 1}"] = (job, channels, fold)
    return jobs


def _hidden(design: Design, sites: list[int]) -> np.ndarray:
    """Every cell of these sites before go-live, (S, T); those of the transition are out anyway."""
    chosen = np.isin(np.arange(len(design["event_time"])), sites)
    return np.asarray(chosen[:, None] & (design["event_time"] < 0))


def _counted(design: Design) -> np.ndarray:
    """Cells of the likelihood whose count is known exactly, (S, T)."""
    return np.asarray((design["exposure"] > 0) & (design["exposure_exact"] > 0))


def hidden_counts(tree: xr.DataTree) -> xr.DataTree:
    """What a back-test keeps of a refit: predictive counts of the cells that were hidden.

    Parameters
    ----------
    tree : xarray.DataTree
        A refit.

    Returns
    -------
    xarray.DataTree
        ``predictive`` with ``count`` (chain, draw, cell), ``cell_site`` and ``cell_month``
        (positions); attributes ``divergences``, ``transitions`` and ``ess``, the least effective
        number of draws of a hidden cell's rate.
    """
    constants = tree["constant_data"].to_dataset()
    event = constants["event_time"].to_numpy()
    first = json.loads(tree.attrs["spec_text"])["effect"]["transition"][0]
    live = live_cells(event).any(axis=1, keepdims=True)
    masked = (constants["exposure"] == 0) & (constants["exposure_exact"] > 0)
    hidden = masked.to_numpy() & (event < first) & live
    exposure = np.where(hidden, constants["exposure_exact"].to_numpy(), 0.0)
    eta0 = untreated_predictor(tree).transpose(*SAMPLE_DIMS, "site", "month").to_numpy()
    rng = np.random.default_rng([metadata(tree).seed, 64])
    count = predicted_counts(tree, eta0, exposure, rng)[..., hidden]
    site, month = np.nonzero(hidden)
    kept = xr.Dataset(
        {
            "count": ((*SAMPLE_DIMS, "cell"), count),
            "cell_site": ("cell", site),
            "cell_month": ("cell", month),
        }
    )
    diverging = tree["sample_stats"]["diverging"].to_numpy()
    level = xr.Dataset({"eta": ((*SAMPLE_DIMS, "cell"), eta0[..., hidden])})
    out = xr.DataTree.from_dict({"/predictive": kept})
    out.attrs = {
        "divergences": int(diverging.sum()),
        "transitions": diverging.size,
        "ess": float(az.ess(level)["eta"].min()),
    }
    return out


def _sampling(kept: xr.DataTree) -> dict[str, Any]:
    seconds = json.loads(kept.attrs["wall_seconds"])
    return {
        "divergences": int(kept.attrs["divergences"]),
        "transitions": int(kept.attrs["transitions"]),
        "ess": round(float(kept.attrs["ess"]), 1),
        "wall_seconds": round(sum(seconds.values()), 2),
    }


@dataclass(frozen=True)
class _Scored:
    """Scores of one method in one fold: by cell (with its CRPS by batch) and by site."""

    cells: pd.DataFrame
    batches: np.ndarray
    sites: pd.DataFrame


def _score_model(
    kept: xr.DataTree, design: Design, channels: str, fold: int, sites: list[int]
) -> _Scored:
    found = kept["predictive"].to_dataset()
    at = (found["cell_site"].to_numpy(), found["cell_month"].to_numpy())
    expected = np.nonzero(_hidden(design, sites) & _counted(design))
    if not all(np.array_equal(a, b) for a, b in zip(at, expected, strict=True)):
        raise ValueError("a refit's hidden cells are not those of its fold")
    rates = found["count"].to_numpy().reshape(-1, len(at[0])) / design["exposure_exact"][at]
    labels = {"fold": fold + 1, "method": "model", "channels": channels}
    return _score(rates, design, at, labels, np.random.default_rng([64, fold]))


def _score(
    rates: np.ndarray,
    design: Design,
    at: tuple[np.ndarray, np.ndarray],
    labels: Mapping[str, Any],
    rng: np.random.Generator,
) -> _Scored:
    """Score drawn rates (draw, cell), and each site's rate over all its hidden cells."""
    site, month = at
    exposure, count = design["exposure_exact"][at], design["count_exact"][at]
    table, batches = score_cells(rates, count / exposure, rng)
    members, start = np.unique(site, return_index=True)
    total = np.add.reduceat(exposure, start)
    whole = np.add.reduceat(rates * exposure, start, axis=1) / total
    by_site, _ = score_cells(whole, np.add.reduceat(count, start) / total, rng)
    names, waves = (np.asarray(design.coords[dim]) for dim in ("site", "wave"))

    def told(of: np.ndarray) -> dict[str, Any]:
        return {"site": names[of], "wave": waves[design["wave_index"][of]]}

    months = {"month": np.asarray(design.coords["month"])[month]}
    return _Scored(
        pd.DataFrame({**told(site), **months, **labels, "exposure": exposure}).join(table),
        batches,
        pd.DataFrame({**told(members), **labels, "exposure": total}).join(by_site),
    )


def _score_comparators(
    spec: ModelSpec, data: EvaluationData, design: Design, fold: int, sites: list[int]
) -> list[_Scored]:
    counted = _counted(design)
    mask = _hidden(design, sites)
    panel = MaskedPanel(
        family=spec.likelihood.family,
        exposure=design["exposure_exact"],
        count=design["count_exact"],
        event=design["event_time"],
        used=counted & ~mask,
        hidden=counted & mask,
        time=np.arange(counted.shape[1], dtype=float) * PERIOD_MONTHS[data.period],
    )
    at = np.nonzero(panel.hidden)
    out = []
    for index, (method, predict) in enumerate(COMPARATORS.items()):
        rng = np.random.default_rng([64, fold, index])
        draws = predict(panel, _DRAWS, rng)
        labels = {"fold": fold + 1, "method": method, "channels": PANEL}
        out.append(_score(draws, design, at, labels, rng))
    return out
