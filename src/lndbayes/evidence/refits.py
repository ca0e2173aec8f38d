"""Refits of an outcome on other evidence, cells or scales: made once, kept, and read again.

Every refit is the same compiled density on other arrays, so it costs seconds. What is kept of one
is small, and stored as soon as it is finished under a key of everything it depends on. Refits that
these data make the same, or the same as the main fit, are made once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lndbayes.coordinates.transform import Coordinates
from lndbayes.data.evaluation import EvaluationData, with_rows_of
from lndbayes.estimands.treated import treated_sites
from lndbayes.evidence.kept import Keep, kept_of
from lndbayes.evidence.moved import moved_earlier
from lndbayes.files.source import source_hash
from lndbayes.files.storage import stored_under, write_netcdf
from lndbayes.fitting.fit import coordinates_of, fit, fit_key
from lndbayes.fitting.metadata import metadata
from lndbayes.fitting.parallel import Task, run_tasks
from lndbayes.spec.model_spec import CHANNELS, ModelSpec, with_changes

__all__ = [
    "BASE",
    "Effort",
    "Job",
    "Pilot",
    "Refit",
    "duplicate_refits",
    "make_refit",
    "run_refits",
    "untreated_cells",
    "without_own_rows",
]

#: An outcome's spec, its data, and its main fit.
type Job = tuple[ModelSpec, EvaluationData, xr.DataTree]

#: Name under which the main fit stands beside its refits.
BASE = "base"

#: Evidence that is a site's own.
_OWN = ("retrospective", "history")


class Pilot(StrEnum):
    """Where a refit's coordinates come from."""

    #: The main fit's: the posterior is near it.
    NONE = "none"
    #: A pilot run that starts in the main fit's.
    FROM_MAIN = "from main"
    #: A pilot run that starts from the prior.
    ALONE = "alone"


@dataclass(frozen=True, slots=True)
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
    hide_treated : bool
        Whether every month after go-live is hidden.
    months_earlier : int
        Months by which go-lives are moved earlier where untreated months allow it, every month with
        the service being left out: see `lndbayes.evidence.moved`. What is pooled and kept is then
        of the sites with a moved go-live.
    pilot : Pilot
        Where its coordinates come from: a posterior far from the main fit's (no untreated months,
        or no effect in the likelihood) needs a pilot run.
    keep : Keep, optional
        What is kept beside the usual.
    """

    name: str
    label: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    sites: tuple[str, ...] = ()
    hide_treated: bool = False
    months_earlier: int = 0
    pilot: Pilot = Pilot.NONE
    keep: Keep | None = None


@dataclass(frozen=True, slots=True)
class Effort:
    """How long refits run that are to be compared with each other.

    Attributes
    ----------
    settings : mapping of str to object
        Dotted spec keys of the sampler; a refit's own changes go over them.
    fewest : float
        Effective draws of the pooled effect below which a refit is tried once more with another
        seed: short chains that start far off may end where they cannot leave.
    """

    settings: Mapping[str, Any]
    fewest: float = 0.0


def run_refits(
    jobs: Sequence[Job],
    refits: Sequence[Refit],
    folder: Path,
    *,
    effort: Effort,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, dict[str, xr.Dataset]]:
    """Make every refit of every outcome, reading those that were made with the same inputs.

    Parameters
    ----------
    jobs : sequence of (ModelSpec, EvaluationData, xarray.DataTree)
        Per outcome its spec, data and main fit, from which refits take their coordinates.
    refits : sequence of Refit
        With distinct names.
    folder : Path
        Where they are kept, each stored as soon as it is finished.
    effort : Effort
        How long they run.
    workers, scheduler
        See `lndbayes.fitting.parallel.run_tasks`.
    say : callable, optional
        Receives a line for each finished refit.

    Returns
    -------
    dict of str to dict of str to xarray.Dataset
        By outcome and refit: ``pooled`` (chain, draw) and ``level`` (chain, draw, site), link
        scale, their effective draws ``pooled_ess`` and ``level_ess`` (site), and what the refit
        asks to keep. One that was not made since its draws are those of another, or of the main
        fit, names it in the attribute ``same_as``.
    """
    made: dict[tuple[str, str], xr.Dataset] = {}
    places: dict[str, _Place] = {}
    tasks: list[Task] = []
    copies: list[tuple[_Place, str, Job]] = []
    for job in jobs:
        spec, data, main = job
        outcome = spec.outcome.name
        known, light = duplicate_refits(spec, data, refits), with_rows_of(data, outcome)
        for refit in refits:
            key = _key(spec, data, refit, effort, metadata(main).key)
            place = _Place(outcome, refit, folder / f"{outcome}-{refit.name}.nc", key)
            if (stored := stored_under(key, place.path)) is not None:
                made[outcome, refit.name] = stored
            elif refit.name in known:
                copies.append((place, known[refit.name], job))
            else:
                coordinates = None if refit.pilot is Pilot.ALONE else coordinates_of(main)
                places[place.path.stem] = place
                arguments = (spec, light, refit, coordinates, treated_sites(main), effort)
                tasks.append(Task(place.path.stem, make_refit, arguments))
    if say and made:
        say(f"finished refits reused: {len(made)}, their inputs are unchanged")
    count = 0

    def finished(name: str, kept: xr.Dataset) -> None:
        nonlocal count
        place = places[name]
        made[place.outcome, place.refit.name] = _stored(kept, place)
        count += 1
        if say:
            said = f"{place.outcome}: {place.refit.label}"
            say(f"refit {count} of {len(tasks)} finished, {said}")

    # the longest first, so that no worker is left alone with one at the end
    tasks.sort(key=lambda task: places[task.name].refit.pilot is Pilot.NONE)
    run_tasks(tasks, finished, workers=workers, scheduler=scheduler)
    for place, first, (spec, _, main) in copies:
        same = (
            kept_of(main, spec.effect.window, place.refit.keep)
            if first == BASE
            else made[place.outcome, first]
        )
        made[place.outcome, place.refit.name] = _stored(same.assign_attrs(same_as=first), place)
    outcomes = [spec.outcome.name for spec, _, _ in jobs]
    return {name: {refit.name: made[name, refit.name] for refit in refits} for name in outcomes}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a refit of an outcome is kept, and what its file must say of its inputs."""

    outcome: str
    refit: Refit
    path: Path
    key: str


def _stored(kept: xr.Dataset, place: _Place) -> xr.Dataset:
    kept = kept.assign_attrs(refit=place.refit.name, key=place.key)
    write_netcdf(kept, place.path)
    return kept


def _key(spec: ModelSpec, data: EvaluationData, refit: Refit, effort: Effort, main: str) -> str:
    """Identify a refit: the main fit decides where it starts, so other main draws count."""
    changed, less = _inputs(spec, data, refit, effort)
    options = [refit.sites, refit.hide_treated, refit.pilot, refit.keep, effort.fewest]
    options.append(refit.months_earlier)
    told = hashlib.sha256(json.dumps(options).encode()).hexdigest()
    return ":".join((refit.name, told, fit_key(changed, less), source_hash(__name__), main))


def _inputs(
    spec: ModelSpec, data: EvaluationData, refit: Refit, effort: Effort
) -> tuple[ModelSpec, EvaluationData]:
    changed = with_changes(spec, {**effort.settings, **refit.changes})
    return changed, without_own_rows(data, refit.sites) if refit.sites else data


# --- refits that these data make the same ---------------------------------------------------------


def duplicate_refits(
    spec: ModelSpec, data: EvaluationData, refits: Sequence[Refit]
) -> dict[str, str]:
    """Refits that are not made, with the one, or `BASE`, whose draws are theirs.

    Parameters
    ----------
    spec : ModelSpec
        The spec.
    data : EvaluationData
        The data.
    refits : sequence of Refit
        In order.
    """
    settings = {_reaching(spec, data, Refit(BASE, "")): BASE}
    found = {}
    for refit in refits:
        first = settings.setdefault(_reaching(spec, data, refit), refit.name)
        if first != refit.name:
            found[refit.name] = first
    return found


def _reaching(spec: ModelSpec, data: EvaluationData, refit: Refit) -> tuple[object, ...]:
    """What of a refit reaches the likelihood: to remove an absent source changes nothing."""
    changed = with_changes(spec, dict(refit.changes))
    rows = data.evidence.items()
    told = {name for name, table in rows if (table["outcome"] == spec.outcome.name).any()}
    present = tuple(
        channel
        for channel in CHANNELS
        if getattr(changed.baseline.channels, channel)
        and (channel == "not_yet_treated" or channel in told)
    )
    settings = json.loads(changed.canonical())
    for silent in ("checks", "sampling"):
        del settings[silent]
    del settings["baseline"]["channels"]
    options = refit.hide_treated, refit.months_earlier, refit.sites
    return present, json.dumps(settings, sort_keys=True), *options


# --- one refit ------------------------------------------------------------------------------------


def make_refit(
    spec: ModelSpec,
    data: EvaluationData,
    refit: Refit,
    coordinates: Coordinates | None,
    sites: np.ndarray,
    effort: Effort,
) -> xr.Dataset:
    """Make one refit; see `run_refits` for what comes back.

    Parameters
    ----------
    spec, data
        The outcome's spec and data.
    refit : Refit
        What to change.
    coordinates : Coordinates, optional
        Coordinates of the main fit; None for `Pilot.ALONE`.
    sites : ndarray of bool, shape (S,)
        Sites with an effect of their own in the main fit, to pool over.
    effort : Effort
        How long it runs. Of two tries the one with more effective draws is kept.
    """
    kept = _made(spec, data, refit, coordinates, sites, effort)
    if not _ess(kept) >= effort.fewest:
        other = with_changes(spec, {"sampling.seed": spec.sampling.seed + 1})
        second = _made(other, data, refit, coordinates, sites, effort)
        kept = max(kept, second, key=lambda draws: np.nan_to_num(_ess(draws)))
    return kept


def _ess(kept: xr.Dataset) -> float:
    return float(kept["pooled_ess"])


def _made(
    spec: ModelSpec,
    data: EvaluationData,
    refit: Refit,
    coordinates: Coordinates | None,
    sites: np.ndarray,
    effort: Effort,
) -> xr.Dataset:
    changed, less = _inputs(spec, data, refit, effort)
    hidden = untreated_cells(data, refit.sites) if refit.sites else None
    if refit.months_earlier:
        less, hidden = moved_earlier(changed, less, refit.months_earlier)
    tree = fit(
        changed,
        less,
        cores=1,
        predictive=False,
        coordinates=coordinates,
        needs_pilot=refit.pilot is not Pilot.NONE,
        hide_treated=refit.hide_treated,
        hidden=hidden,
    )
    pooled = None if refit.months_earlier else sites
    return kept_of(tree, changed.effect.window, refit.keep, pooled)


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
