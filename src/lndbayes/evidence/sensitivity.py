"""Refits that show what a conclusion rests on: evidence switched off, months hidden, biases let in.

Every variant is the same compiled density on other arrays, so a refit costs seconds. What is kept
of one is small: draws of the pooled effect and of the sites' untreated level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import CI_PROB, PERIOD_MONTHS
from lndbayes.coordinates.transform import Metric
from lndbayes.data.evaluation import EvaluationData, with_rows_of
from lndbayes.estimands.effects import effect_over
from lndbayes.estimands.leverages import window_leverages
from lndbayes.estimands.predictors import untreated_predictor
from lndbayes.estimands.summaries import summarise
from lndbayes.estimands.treated import Window, treated_sites
from lndbayes.files.source import source_hash
from lndbayes.files.storage import stored_under, write_netcdf
from lndbayes.fitting.fit import fit, fit_key, metric_of
from lndbayes.fitting.parallel import Task, run_tasks
from lndbayes.model.design import build_design
from lndbayes.model.shown import own_treated
from lndbayes.spec.model_spec import CHANNELS, ModelSpec, with_changes

__all__ = [
    "VARIANTS",
    "Variant",
    "run_variants",
    "sensitivity_table",
    "twins",
    "untreated_level",
]

#: Effective draws of the pooled effect below which a refit is tried once more and its row says so:
#: its mean moves by a tenth of its sd.
_FEWEST = 100

_HIDDEN_MONTHS = 15


def _off(*channels: str) -> dict[str, Any]:
    return {f"baseline.channels.{c}": False for c in channels}


@dataclass(frozen=True, slots=True)
class Variant:
    """One refit.

    Attributes
    ----------
    name, label : str
        Identifier, and what a reader is told.
    changes : mapping of str to object
        Dotted spec keys to change.
    far : bool
        Whether the posterior is so far from the main fit's (no untreated months, or no effect in
        the likelihood) that its coordinates come from a pilot run, which starts in the main fit's.
    """

    name: str
    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    far: bool = False


#: Refits need means and standard deviations, not tail quantiles of every parameter; in the main
#: fit's coordinates they need no long tuning either.
_SHORT = {
    "sampling.chains": 2,
    "sampling.tune": 100,
    "sampling.draws": 400,
    "sampling.target_accept": 0.7,
}

#: Coordinates from a pilot are rougher; levels that data hardly inform need smaller steps.
_FAR = {"sampling.target_accept": 0.8, "sampling.tune": 200}
_CAREFUL = {"sampling.target_accept": 0.9, "sampling.tune": 300}

_PANEL_ONLY = _off(*(c for c in CHANNELS if c != "not_yet_treated"))
_WITHOUT_PANEL = {**_off("not_yet_treated"), **_FAR}

VARIANTS: tuple[Variant, ...] = (
    Variant("no_not_yet_treated", "without sites not yet treated", _WITHOUT_PANEL, far=True),
    Variant("no_retrospective", "without retrospective records", _off("retrospective")),
    Variant("no_national", "without the national series", _off("national")),
    Variant("no_history", "without persons' own history", _off("history")),
    Variant("no_elicited", "without elicited judgement", _off("elicited")),
    Variant("panel_only", "only sites not yet treated: no reconstructed evidence", _PANEL_ONLY),
    Variant(
        "ramp_hidden",
        f"first {_HIDDEN_MONTHS} months after go-live hidden",
        {"effect.hide_first_months": _HIDDEN_MONTHS},
    ),
    Variant(
        "all_off",
        "no evidence on the untreated state, build-up visible (what the ramp's shape leaks)",
        {**_off(*CHANNELS), **_FAR},
        far=True,
    ),
    Variant(
        "all_off_ramp_hidden",
        f"no evidence on the untreated state, first {_HIDDEN_MONTHS} months hidden",
        {**_off(*CHANNELS), "effect.hide_first_months": _HIDDEN_MONTHS, **_CAREFUL},
        far=True,
    ),
    Variant(
        "untreated_only",
        "untreated months and evidence only: no treated outcome",
        {**_CAREFUL},
        far=True,
    ),
    Variant(
        "bias_on",
        "level bias of all reconstructed evidence (sd 0.15) and drift (sd 0.05 a year) allowed",
        {"sensitivity.shared_bias_sd": 0.15, "sensitivity.drift_sd": 0.05},
    ),
)


def untreated_level(tree: xr.DataTree) -> xr.DataArray:
    """Mean untreated predictor of each site over the 12 months before the first go-live.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, site), link scale.
    """
    data = tree["constant_data"].to_dataset()
    event, step = data["event_time"].to_numpy(), PERIOD_MONTHS[tree.attrs["period"]]
    started = (event >= 0).any(axis=0)
    first = int(np.argmax(started)) if started.any() else event.shape[1]
    window = slice(max(first - 12 // step, 0), max(first, 1))
    return untreated_predictor(tree, months=window).mean("month", skipna=False)


def sites_of(spec: ModelSpec, data: EvaluationData) -> np.ndarray:
    """Sites that have an effect of their own in the main fit, bool, shape (S,)."""
    design = build_design(spec, data)
    return np.asarray(own_treated(design["event_time"], design["site_weight"] > 0).any(axis=1))


def kept_draws(tree: xr.DataTree, window: Window, sites: np.ndarray | None = None) -> xr.Dataset:
    """Draws that sensitivity and ledger need: pooled effect and untreated levels.

    `sites`, bool (S,), are those to pool over; default, those with a treated cell in `tree`. A
    refit that hides treated cells is still about the sites of the main fit.
    """
    pooled = effect_over(tree, window, treated_sites(tree) if sites is None else sites)
    return xr.Dataset({"pooled": pooled, "level": untreated_level(tree)})


def run_variants(
    jobs: Sequence[tuple[ModelSpec, EvaluationData, xr.DataTree]],
    folder: Path,
    *,
    variants: Sequence[Variant] = VARIANTS,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, dict[str, xr.Dataset]]:
    """Refit every variant of every outcome, reading those that were fitted with the same inputs.

    Parameters
    ----------
    jobs : sequence of (ModelSpec, EvaluationData, xarray.DataTree)
        Per outcome its spec, data and main fit, from which refits take their coordinates.
    folder : Path
        Where refits are kept, each stored as soon as it is finished.
    variants : sequence of Variant
        What to change.
    workers, scheduler
        See `lndbayes.fitting.parallel.run_tasks`.
    say : callable, optional
        Receives a line for each finished refit.

    Returns
    -------
    dict of str to dict of str to xarray.Dataset
        By outcome and variant: ``pooled`` (chain, draw) and ``level`` (chain, draw, site), link
        scale; for ``bias_on`` also the leverages of the pooled and the site effects.
    """
    done: dict[str, dict[str, xr.Dataset]] = {}
    tasks: list[Task] = []
    where: dict[str, tuple[str, str, Path, str]] = {}
    same: list[tuple[str, str, str, str]] = []
    for spec, data, main in jobs:
        outcome = spec.outcome.name
        done[outcome] = {}
        known, light = twins(spec, data, variants), with_rows_of(data, outcome)
        for variant in variants:
            path = folder / f"{outcome}-{variant.name}.nc"
            key = _key(spec, data, variant, main)
            if (stored := stored_under(key, path)) is not None:
                done[outcome][variant.name] = stored
                continue
            if variant.name in known:
                same.append((outcome, variant.name, known[variant.name], key))
                continue
            name = f"{outcome}: {variant.label}"
            tasks.append(Task(name, fit_variant, (spec, light, variant, metric_of(main))))
            where[name] = (outcome, variant.name, path, key)

    def finished(name: str, kept: xr.Dataset) -> None:
        outcome, variant, path, key = where[name]
        kept.attrs["key"] = key
        write_netcdf(kept, path)
        done[outcome][variant] = kept
        if say:
            say(f"refit {len(where) - len(waiting) + 1} of {len(where)} finished, {name}")
        waiting.discard(name)

    waiting = set(where)
    reused = len(jobs) * len(variants) - len(where) - len(same)
    if say and reused:
        say(f"finished refits reused: {reused}, their inputs are unchanged")
    # the longest first, so that no worker is left alone with one at the end
    tasks.sort(key=lambda task: not task.arguments[2].far)
    run_tasks(tasks, finished, workers=workers, scheduler=scheduler)
    bases = {spec.outcome.name: (main, spec.effect.window) for spec, _, main in jobs}
    for outcome, name, first, key in same:
        twin = kept_draws(*bases[outcome]) if first == "base" else done[outcome][first]
        kept = twin.assign_attrs(variant=name, same_as=first, key=key)
        write_netcdf(kept, folder / f"{outcome}-{name}.nc")
        done[outcome][name] = kept
    names = [variant.name for variant in variants]
    return {o: {name: kept[name] for name in names if name in kept} for o, kept in done.items()}


def _effective(spec: ModelSpec, data: EvaluationData, variant: Variant) -> tuple[object, ...]:
    """What of a variant reaches the likelihood: to remove an absent source changes nothing."""
    changed = with_changes(spec, dict(variant.changes))
    rows = data.evidence.items()
    told = {name for name, table in rows if (table["outcome"] == spec.outcome.name).any()}
    present = tuple(
        channel
        for channel in CHANNELS
        if getattr(changed.baseline.channels, channel)
        and (channel == "not_yet_treated" or channel in told)
    )
    return (
        present,
        changed.effect.hide_first_months,
        changed.sensitivity,
        variant.name == "untreated_only",
    )


def twins(
    spec: ModelSpec, data: EvaluationData, variants: Sequence[Variant] = VARIANTS
) -> dict[str, str]:
    """Variants that are not refitted, with the one, or ``base``, whose draws are theirs.

    Parameters
    ----------
    spec : ModelSpec
        The spec.
    data : EvaluationData
        The data.
    variants : sequence of Variant
        In order.
    """
    settings = {_effective(spec, data, Variant("base", "")): "base"}
    found = {}
    for variant in variants:
        first = settings.setdefault(_effective(spec, data, variant), variant.name)
        if first != variant.name:
            found[variant.name] = first
    return found


def _key(spec: ModelSpec, data: EvaluationData, variant: Variant, main: xr.DataTree) -> str:
    """Identify a refit: the main fit decides where it starts, so other main draws count."""
    changed = with_changes(spec, {**_SHORT, **variant.changes})
    parts = variant.name, fit_key(changed, data), source_hash(__name__), main.attrs["fit_key"]
    return ":".join(parts)


def fit_variant(
    spec: ModelSpec, data: EvaluationData, variant: Variant, metric: Metric
) -> xr.Dataset:
    """Refit one variant; see `run_variants` for what comes back.

    Short chains that start far off may end where they cannot leave: another seed then has a second
    try, and the one with more effective draws is kept.
    """
    kept = _refit(spec, data, variant, metric)
    if not kept.attrs["ess"] >= _FEWEST:
        other = with_changes(spec, {"sampling.seed": spec.sampling.seed + 1})
        second = _refit(other, data, variant, metric)
        kept = max(kept, second, key=lambda draws: np.nan_to_num(draws.attrs["ess"]))
    return kept


def _refit(spec: ModelSpec, data: EvaluationData, variant: Variant, metric: Metric) -> xr.Dataset:
    changed = with_changes(spec, {**_SHORT, **variant.changes})
    tree = fit(
        changed,
        data,
        cores=1,
        predictive=False,
        metric=metric,
        far=variant.far,
        hide_treated=variant.name == "untreated_only",
    )
    window = spec.effect.window
    kept = kept_draws(tree, window, sites_of(spec, data))
    if variant.name == "bias_on":
        biases = tree["posterior"].to_dataset()[["shared_bias", "drift"]]
        kept = kept.merge(window_leverages(tree, window)).merge(biases)
    kept.attrs = {
        "variant": variant.name,
        "divergences": int(tree["sample_stats"]["diverging"].to_numpy().sum()),
        "ess": float(az.ess(kept[["pooled"]])["pooled"]),
    }
    return kept


def sensitivity_table(
    outcome: str,
    base: xr.Dataset,
    variants: Mapping[str, xr.Dataset],
    prior_sd: float,
    *,
    ci_prob: float = CI_PROB,
) -> pd.DataFrame:
    """Pooled effect under every variant.

    Parameters
    ----------
    outcome : str
        Name of the outcome.
    base : xarray.Dataset
        `kept_draws` of the main fit.
    variants : mapping of str to xarray.Dataset
        From `run_variant`.
    prior_sd : float
        Standard deviation of the same pooled effect under the prior.
    ci_prob : float
        Probability of the intervals.

    Returns
    -------
    pandas.DataFrame
        Columns outcome, variant, label, mean, sd, lower, median, upper, ci_prob, prior_sd,
        sd_ratio (to the prior's sd), sd_ratio_base (to the main fit's), shift (of the mean, in sds
        of the main fit), note.
    """
    labels = {"base": "all evidence, as specified"} | {v.name: v.label for v in VARIANTS}
    rows = []
    centre = summarise(base["pooled"], ci_prob=ci_prob).iloc[0]
    for name, draws in {"base": base, **variants}.items():
        row = summarise(draws["pooled"], ci_prob=ci_prob).iloc[0]
        rows.append(
            {
                "outcome": outcome,
                "variant": name,
                "label": labels[name],
                **{k: row[k] for k in ("mean", "sd", "lower", "median", "upper", "ci_prob")},
                "prior_sd": prior_sd,
                "sd_ratio": row["sd"] / prior_sd,
                "sd_ratio_base": row["sd"] / centre["sd"],
                "shift": (row["mean"] - centre["mean"]) / centre["sd"],
                "note": _note(draws),
            }
        )
    return pd.DataFrame(rows)


def _note(draws: xr.Dataset) -> str:
    """What a reader should know of the refit's draws before trusting its row."""
    parts = []
    if first := draws.attrs.get("same_as"):
        label = {v.name: v.label for v in VARIANTS}.get(str(first), "all evidence")
        parts.append(f"not refitted, since these data make it the same as: {label}")
    if divergences := int(draws.attrs.get("divergences", 0)):
        parts.append(f"{divergences} divergent transition{'s' * (divergences != 1)}")
    ess = float(draws.attrs.get("ess", np.inf))
    if not ess >= _FEWEST:
        parts.append(f"only {ess:.0f} effective draws: indicative")
    return "; ".join(parts)
