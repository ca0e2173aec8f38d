"""Refits of the ledger: every subset of the sources, and sites without their own evidence.

All are the same compiled density on other arrays. Each is stored as soon as it is finished and
read again if nothing that it depends on has changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import xarray as xr

from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.coordinates.transform import Metric
from lndbayes.data.evaluation import EvaluationData
from lndbayes.estimands.predictors import untreated_predictor
from lndbayes.evidence.attribution.shares import subsets
from lndbayes.evidence.sensitivity import kept_draws, sites_of
from lndbayes.files.source import source_hash
from lndbayes.files.storage import stored_under, write_netcdf
from lndbayes.fitting.fit import fit, fit_key, metric_of
from lndbayes.fitting.parallel import Task, run_tasks
from lndbayes.spec.model_spec import CHANNELS, ModelSpec, with_changes

__all__ = [
    "CUT",
    "SOFT",
    "Refit",
    "borrowed_name",
    "ledger_refits",
    "present",
    "run_refits",
    "subset_name",
]

#: Refits need means and standard deviations only.
SHORT = {
    "sampling.chains": 2,
    "sampling.tune": 200,
    "sampling.draws": 400,
    "sampling.target_accept": 0.8,
}
#: Levels that data hardly inform need smaller steps.
_CAREFUL = {"sampling.target_accept": 0.9, "sampling.tune": 300}

#: The refit without treated outcomes, which keeps whole baselines.
CUT = "untreated_only"
#: The refit in which sites' effects are free of each other: a soft cut. A spread of one on the link
#: scale, known, says nothing of an effect (a ratio between 0.4 and 2.7 is within one sd).
SOFT = "effects_apart"
_APART = {"priors.site_effect_sd": {"dist": "LogNormal", "mu": 0.0, "sigma": 0.05}}
#: Baselines kept of the full cut.
BASELINES = 80

_OWN = ("retrospective", "history")


@dataclass(frozen=True)
class Refit:
    """One refit.

    Attributes
    ----------
    name : str
        Identifier, and the end of its file's name.
    label : str
        What a reader is told.
    changes : mapping of str to object
        Dotted spec keys to change.
    sites : tuple of str
        Sites whose own untreated months, records and histories are hidden.
    far : bool
        Whether the main fit's coordinates are worse than a pilot's of its own: see
        `lndbayes.evidence.sensitivity.Variant`.
    """

    name: str
    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    sites: tuple[str, ...] = ()
    far: bool = False


def present(spec: ModelSpec, data: EvaluationData, main: xr.DataTree) -> list[str]:
    """Sources that are on and speak in these data.

    Parameters
    ----------
    spec, data
        The outcome's spec and data.
    main : xarray.DataTree
        Its fit.
    """
    constants = main["constant_data"].to_dataset()
    untreated = (constants["site_weight"] > 0) & ~(constants["event_time"] >= 0)
    found = []
    for channel in CHANNELS:
        if channel == "not_yet_treated":
            speaks = bool(untreated.to_numpy().any())
        else:
            speaks = bool((data.evidence[channel]["outcome"] == spec.outcome.name).any())
        if speaks and getattr(spec.baseline.channels, channel):
            found.append(channel)
    return found


def subset_name(chosen: frozenset[str]) -> str:
    """Name of the refit with these sources only."""
    return "only_" + ("-".join(c for c in CHANNELS if c in chosen) or "nothing")


def borrowed_name(fold: int) -> str:
    """Name of the refit in which a fold's sites have no evidence of their own."""
    return f"borrowed_{fold + 1}"


def ledger_refits(channels: Sequence[str], folds: Sequence[Sequence[str]]) -> list[Refit]:
    """All refits of a ledger; that with every source is the main fit and not among them.

    Parameters
    ----------
    channels : sequence of str
        From `present`.
    folds : sequence of sequence of str
        Sites whose own evidence is hidden together.
    """
    refits = [
        Refit(CUT, "untreated months and evidence only", _CAREFUL, far=True),
        Refit(SOFT, "each site's effect free of the others'", {**_CAREFUL, **_APART}, far=True),
    ]
    for chosen in subsets(channels)[:-1]:
        changes: dict[str, Any] = {
            f"baseline.channels.{c}": False for c in channels if c not in chosen
        }
        far = "not_yet_treated" in channels and "not_yet_treated" not in chosen
        words = ", ".join(c for c in CHANNELS if c in chosen) or "nothing"
        label = f"only {words} on the untreated state"
        refits.append(
            Refit(subset_name(chosen), label, changes | (_CAREFUL if not chosen else {}), far=far)
        )
    for k, sites in enumerate(folds):
        label = f"without own evidence of {len(sites)} sites, fold {k + 1} of {len(folds)}"
        refits.append(Refit(borrowed_name(k), label, sites=tuple(sites), far=True))
    return refits


def run_refits(
    spec: ModelSpec,
    data: EvaluationData,
    main: xr.DataTree,
    refits: Sequence[Refit],
    folder: Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, xr.Dataset]:
    """Make refits, reading those that were made with the same inputs.

    Parameters
    ----------
    spec, data
        The outcome's spec and data.
    main : xarray.DataTree
        Its fit, from which refits that are near it take their coordinates.
    refits : sequence of Refit
        From `ledger_refits`.
    folder : Path
        Where they are kept.
    workers, scheduler
        See `lndbayes.fitting.parallel.run_tasks`.
    say : callable, optional
        Receives a line for each finished refit.

    Returns
    -------
    dict of str to xarray.Dataset
        By name: ``pooled`` (chain, draw) and ``level`` (chain, draw, site), link scale; of `CUT`
        also ``eta0`` (baseline, site, month) and the dispersion of each baseline.
    """
    done: dict[str, xr.Dataset] = {}
    tasks, keys = [], {}
    near = metric_of(main)
    for refit in refits:
        changed, less = _inputs(spec, data, refit)
        parts = refit.name, fit_key(changed, less), source_hash(__name__), main.attrs["fit_key"]
        keys[refit.name] = ":".join(parts)
        stored = stored_under(keys[refit.name], _path(folder, spec, refit.name))
        if stored is not None:
            done[refit.name] = stored
            continue
        tasks.append(Task(refit.name, make_refit, (spec, data, refit, None if refit.far else near)))
    if say and done:
        say(f"finished refits reused: {len(done)}, their inputs are unchanged")
    labels = {refit.name: refit.label for refit in refits}
    made = 0

    def finished(name: str, kept: xr.Dataset) -> None:
        nonlocal made
        kept.attrs["key"] = keys[name]
        write_netcdf(kept, _path(folder, spec, name))
        done[name] = kept
        made += 1
        if say:
            say(f"refit {made} of {len(tasks)} finished, {labels[name]}")

    run_tasks(tasks, finished, workers=workers, scheduler=scheduler)
    return {refit.name: done[refit.name] for refit in refits}


def _inputs(
    spec: ModelSpec, data: EvaluationData, refit: Refit
) -> tuple[ModelSpec, EvaluationData]:
    changed = with_changes(spec, {**SHORT, **refit.changes})
    return changed, without_own_rows(data, refit.sites) if refit.sites else data


def without_own_rows(data: EvaluationData, sites: Sequence[str]) -> EvaluationData:
    """Return the data without these sites' records and histories; judgement stays.

    Parameters
    ----------
    data : EvaluationData
        The data.
    sites : sequence of str
        Which sites.
    """
    evidence = dict(data.evidence)
    for name in _OWN:
        rows = evidence[name]
        evidence[name] = rows[~rows["site"].isin(list(sites))].reset_index(drop=True)
    return dataclasses.replace(data, evidence=evidence)


def untreated_cells(data: EvaluationData, sites: Sequence[str]) -> xr.DataArray:
    """Cells before go-live of these sites, dims (site, month); all of a site without go-live."""
    ds = data.ds
    index = xr.DataArray(np.arange(ds.sizes["month"]), dims="month", coords={"month": ds["month"]})
    go_live = ds["go_live"].fillna(ds.sizes["month"])
    return (index < go_live).transpose("site", "month") & ds["site"].isin(list(sites))


def make_refit(
    spec: ModelSpec, data: EvaluationData, refit: Refit, metric: Metric | None
) -> xr.Dataset:
    """Make one refit; see `run_refits` for what comes back."""
    changed, less = _inputs(spec, data, refit)
    tree = fit(
        changed,
        less,
        cores=1,
        predictive=False,
        metric=metric,
        hide_treated=refit.name == CUT,
        hidden=untreated_cells(data, refit.sites) if refit.sites else None,
    )
    kept = kept_draws(tree, spec.effect.window, sites_of(spec, data))
    if refit.name == CUT:
        kept = kept.merge(_baselines(tree))
    kept.attrs = {
        "label": refit.label,
        "divergences": int(tree["sample_stats"]["diverging"].to_numpy().sum()),
    }
    return kept.assign(effective(kept))


def effective(kept: xr.Dataset) -> dict[str, xr.DataArray]:
    """Effective draws of the pooled effect and of each site's level, which shares depend on."""
    found = az.ess(kept[["pooled", "level"]])
    return {f"{name}_ess": found[name] for name in ("pooled", "level")}


def _baselines(tree: xr.DataTree) -> xr.Dataset:
    """A few whole baselines, evenly spaced over all draws, with the cells' dispersion."""
    posterior = tree["posterior"].to_dataset()
    chains, draws = (posterior.sizes[dim] for dim in SAMPLE_DIMS)
    flat = np.linspace(0, chains * draws - 1, min(BASELINES, chains * draws)).astype(int)
    eta0 = untreated_predictor(tree).to_numpy()
    kept: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "eta0": (("baseline", "site", "month"), eta0.reshape(-1, *eta0.shape[2:])[flat])
    }
    for name in ("overdispersion", "person_dispersion"):
        if name in posterior:
            values = posterior[name].transpose(*SAMPLE_DIMS).to_numpy().ravel()[flat]
            kept[name] = (("baseline",), values)
    return xr.Dataset(kept, coords={"month": tree["constant_data"]["month"].to_numpy()})


def _path(folder: Path, spec: ModelSpec, name: str) -> Path:
    return folder / f"{spec.outcome.name}-{name}.nc"
