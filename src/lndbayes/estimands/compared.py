"""What comparison alone says, beside the posterior: columns of the overview, and an event study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import CI_PROB
from lndbayes.estimands.effects import window_shape
from lndbayes.estimands.group_time import group_time_effects
from lndbayes.estimands.imputation import imputed_effect
from lndbayes.estimands.link_panel import Compared, LinkPanel, compared_interval, link_panel
from lndbayes.estimands.summaries import summarise
from lndbayes.estimands.treated import Window, asked_window, treated_cells, treated_sites
from lndbayes.fitting.metadata import metadata
from lndbayes.model.shown import shown_months
from lndbayes.spec.families import RATIO

__all__ = ["COMPARED_COLUMNS", "EVENT_STUDY_COLUMNS", "compared_columns", "event_study_table"]

_NUMBERS = ("ratio", "lower", "upper", "share")
COMPARED_COLUMNS = (
    *(f"imputation_{x}" for x in _NUMBERS),
    *(f"group_time_{x}" for x in _NUMBERS),
    "compared_note",
)
EVENT_STUDY_COLUMNS = (
    *("outcome", "event_month", "scale", "ratio", "lower", "upper", "ci_prob", "cells", "sites"),
    *("model_median", "model_lower", "model_upper"),
)
#: Median events a cell below which nothing is stated, and below which it is said that the link
#: scale draws differences towards none.
_TOO_FEW, _FEW = 2.0, 5.0
#: Event months of the event study: two years of leads, three years with the service.
_SHOWN: Window = (-24, 36)
#: Fewest sites that make a month's point: the error of two is told by their one difference.
_LEAST_SITES = 3
_MODEL = ("median", "lower", "upper")


def compared_columns(
    fit: xr.DataTree, window: Window | None = None, *, ci_prob: float = CI_PROB
) -> dict[str, Any]:
    """Imputation and group-time effects of one outcome, as columns of ``overview.csv``.

    Parameters
    ----------
    fit : xarray.DataTree
        Its fit; the draws are not read.
    window : tuple of int, optional
        Event months; default the window of the fit's spec.
    ci_prob : float
        Probability of the intervals.

    Returns
    -------
    dict
        Keys `COMPARED_COLUMNS`. Ratios, as of the other columns; shares of the pooled effect's
        cells that are compared. NaN where nothing is identified, cells hold too few events or the
        outcome is selected: ``compared_note`` says which, and what else is to be known.
    """
    if metadata(fit).selected:
        note = "no effect is stated of an outcome measured among selected people"
        return dict.fromkeys(COMPARED_COLUMNS, np.nan) | {"compared_note": note}
    window, panel = asked_window(fit, window), link_panel(fit)
    found = {
        "imputation": imputed_effect(panel, window),
        "group_time": group_time_effects(panel, [window])[0],
    }
    too_few = panel.median_events < _TOO_FEW
    row: dict[str, Any] = {}
    for name, one in found.items():
        ends = (np.nan, np.nan, np.nan) if too_few else _ratios(one, ci_prob)
        numbers = (*ends, 0.0 if too_few else one.share)
        row |= {f"{name}_{x}": value for x, value in zip(_NUMBERS, numbers, strict=True)}
    return row | {"compared_note": _note(panel, found)}


def _ratios(found: Compared, ci_prob: float) -> tuple[float, float, float]:
    """Estimate and ends as ratios."""
    low, high = np.exp(compared_interval(found, ci_prob))
    return float(np.exp(found.estimate)), float(low), float(high)


def _note(panel: LinkPanel, found: dict[str, Compared]) -> str:
    """Why there are no numbers, or what draws those that there are."""
    median = f"the median cell holds {panel.median_events:g} events"
    if panel.median_events < _TOO_FEW:
        return f"{median}: too few for the link scale"
    reasons = {k: one.reason for k, one in found.items() if one.reason}
    if len(set(reasons.values())) == 1 and len(reasons) == len(found):
        return next(iter(reasons.values()))
    told = [f"{k.replace('_', '-')}: {reason}" for k, reason in reasons.items()]
    if panel.median_events < _FEW:
        told.append(f"{median}: drawn towards no effect")
    return "; ".join(told)


def event_study_table(fit: xr.DataTree, *, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Group-time effects by event month, leads included, beside the model's course.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    ci_prob : float
        Probability of the intervals, of each month by itself.

    Returns
    -------
    pandas.DataFrame
        Columns `EVENT_STUDY_COLUMNS`, ratios; one row an event month from 24 before to 36 after
        go-live in which three treated sites or more are compared (``cells``, ``sites``; 0 and no
        ratio elsewhere) or the data show the model's effect, the mean over all treated sites. Empty
        for a selected outcome, for one with too few events a cell, and where no month is compared.
    """
    about, panel = metadata(fit), link_panel(fit)
    first, last = (-(-_SHOWN[0] // panel.step) * panel.step, _SHOWN[1])
    months = range(first, last + 1, panel.step)
    found = dict(zip(months, group_time_effects(panel, [(m, m) for m in months]), strict=True))
    compared = [m for m, one in found.items() if one.sites >= _LEAST_SITES]
    if about.selected or panel.median_events < _TOO_FEW or not compared:
        return pd.DataFrame(columns=list(EVENT_STUDY_COLUMNS))
    model = _model_course(fit, last, ci_prob)
    rows = []
    for month in sorted({*compared, *model.index}):
        row: dict[str, float] = {"event_month": month, "cells": 0, "sites": 0}
        if month in compared:
            one = found[month]
            row |= dict(zip(("ratio", "lower", "upper"), _ratios(one, ci_prob), strict=True))
            row |= {"cells": one.cells, "sites": one.sites}
        if month in model.index:
            row |= {f"model_{k}": float(ratio) for k, ratio in model.loc[month].items()}
        rows.append(row)
    table = pd.DataFrame(rows).assign(
        outcome=about.outcome, scale=RATIO[about.family.link], ci_prob=ci_prob
    )
    return table.reindex(columns=list(EVENT_STUDY_COLUMNS))


def _model_course(fit: xr.DataTree, last: int, ci_prob: float) -> pd.DataFrame:
    """Posterior of the mean effect as a ratio, by event month that the data show."""
    event = fit["constant_data"]["event_time"].transpose("site", "month").to_numpy()
    shown = [int(m) for m in shown_months(event, treated_cells(fit)) if m <= last]
    if not shown:
        return pd.DataFrame(columns=list(_MODEL))
    # the course is the same at every site: one site that has the mean effect stands for them
    effect = fit["posterior"].to_dataset()["site_effect"].isel(site=treated_sites(fit)).mean("site")
    shapes = [window_shape(fit, (m, m)) for m in shown]
    draws = xr.concat([effect * ramp + passing for ramp, passing in shapes], dim="event_month")
    summary = summarise(draws.assign_coords(event_month=shown), ci_prob=ci_prob, mcse=False)
    return pd.DataFrame(np.exp(summary.set_index("event_month")[list(_MODEL)]))
