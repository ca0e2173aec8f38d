"""Data in which go-lives are earlier than they were: what a model says where nothing happened.

A site with enough untreated months goes live, as far as the model is told, some months before it
did. Every month with the service is left out, at every site, so that the truth of what remains is
an effect of zero. Sites without enough untreated months keep theirs, as not yet treated ones to
compare with; so do sites that never go live, which have no go-live to move.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr

from lndbayes.base.names import PERIOD_MONTHS
from lndbayes.data.evaluation import EvaluationData
from lndbayes.model.design import build_design, event_time
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["UNTREATED_MONTHS", "movable_sites", "moved_earlier"]

#: Fewest untreated months of a site whose go-live is moved: half of them lie before the new one.
UNTREATED_MONTHS = 24


def movable_sites(
    spec: ModelSpec, event: np.ndarray, used: np.ndarray, step: int, months: int
) -> np.ndarray:
    """Sites whose go-live can be moved.

    Parameters
    ----------
    spec : ModelSpec
        Gives the transition.
    event : ndarray, shape (S, T)
        Months since go-live, of a design or of labelled data.
    used : ndarray of bool, shape (S, T)
        Whether the cell is in the likelihood.
    step : int
        Months a period.
    months : int
        By how many the go-live is to be moved.

    Returns
    -------
    ndarray of bool, shape (S,)
        True for a site that goes live within the data, has at least `UNTREATED_MONTHS` months of
        untreated cells in the likelihood before its transition, and would have such cells on both
        sides of the transition of the moved go-live.
    """
    first, last = spec.effect.transition
    clean = used & (event < first)
    moved = event + months
    before = clean & (moved < first)
    after = clean & (moved >= 0) & (moved > last) & (moved >= spec.effect.hide_first_months)
    live = (event >= 0).any(axis=1)
    enough = clean.sum(axis=1) * step >= UNTREATED_MONTHS
    return np.asarray(live & enough & before.any(axis=1) & after.any(axis=1))


def moved_earlier(
    spec: ModelSpec, data: EvaluationData, months: int
) -> tuple[EvaluationData, xr.DataArray]:
    """Move the go-lives that can be moved.

    Evidence on the untreated state stays as it would have been had the service started then: at a
    moved site no record and no history of a month from the new go-live on, which would tell the
    model what it is to find out. Judgements are about the months before the first go-live; where
    that is a moved one they are about other months, and left out.

    Parameters
    ----------
    spec : ModelSpec
        The spec.
    data : EvaluationData
        The data.
    months : int
        By how many: a number of whole periods.

    Returns
    -------
    EvaluationData
        With the moved go-lives, and the evidence that is left.
    xarray.DataArray of bool
        Dims (site, month): cells from the true go-live's transition on, which the likelihood must
        not hold.
    """
    step = PERIOD_MONTHS[data.period]
    design, event = build_design(spec, data), event_time(data)
    sites = movable_sites(spec, event, design["site_weight"] > 0, step, months)
    ds = data.ds
    before = ds["go_live"].to_numpy()
    go_live = np.where(sites, before - months // step, before)
    labels = {dim: ds[dim].to_numpy() for dim in ("site", "month")}
    after = xr.DataArray(event >= spec.effect.transition[0], labels, ("site", "month"))
    evidence = dict(data.evidence)
    limit = dict(zip(labels["site"][sites], go_live[sites], strict=True))
    for name in ("retrospective", "history"):
        rows = evidence[name]
        told = rows["month_index"] >= rows["site"].map(limit).astype(float).fillna(np.inf)
        evidence[name] = rows[~told].reset_index(drop=True)
    if sites.any() and np.nanmin(go_live) < np.nanmin(before):
        judged = evidence["elicited"]
        other = judged["outcome"] != spec.outcome.name
        evidence["elicited"] = judged[other].reset_index(drop=True)
    dated = ds.assign(go_live=ds["go_live"].copy(data=go_live))
    return dataclasses.replace(data, ds=dated, evidence=evidence), after
