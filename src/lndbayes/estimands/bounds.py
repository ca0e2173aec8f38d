"""Bounds for outcomes that are measured only among people whom the service helps to choose.

Quality of life is known for people in treatment, and the service changes who enters treatment:
their mean moves without anybody's having changed. What can be said without an assumption on who the
new people are is a pair of bounds for those who would be in treatment either way (Lee 2009, *Review
of Economic Studies* 76(3), 1071-1102): the observed share, with the most or the least favourable
part of the size of the inflow taken off.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import CI_PROB, SAMPLE_DIMS
from lndbayes.estimands.effects import natural, pooled_effect
from lndbayes.estimands.predictors import predictors
from lndbayes.estimands.summaries import summarise
from lndbayes.estimands.treated import Window, asked_window, treated_sites
from lndbayes.fitting.metadata import metadata

__all__ = ["BOUND_COLUMNS", "bounds_table", "selection_bounds", "trimmed"]

BOUND_COLUMNS = (
    "outcome",
    "given",
    "quantity",
    "unit",
    "bound",
    "mean",
    "sd",
    "lower",
    "median",
    "upper",
    "ci_prob",
    "window",
    "note",
)


def trimmed(share: np.ndarray, inflow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of a share among those who are measured either way.

    Parameters
    ----------
    share : ndarray
        Share with the event among all who are measured.
    inflow : ndarray
        Part of them who are measured only because of the service, in [0, 1).

    Returns
    -------
    tuple of ndarray
        Least and greatest share among the others: the inflow had the event, or did not.
    """
    stay = 1.0 - inflow
    low = np.clip((share - inflow) / stay, 0.0, 1.0)
    return np.asarray(low), np.asarray(np.clip(share / stay, 0.0, 1.0))


def selection_bounds(
    fit: xr.DataTree, exposure_fit: xr.DataTree, window: Window | None = None
) -> xr.Dataset:
    """Bounds of the pooled difference of shares among people measured with and without the service.

    Parameters
    ----------
    fit : xarray.DataTree
        Fit of the selected outcome.
    exposure_fit : xarray.DataTree
        Fit of the outcome that says how many more, or fewer, are measured: its pooled rate ratio.
    window : tuple of int, optional
        Event months; default the window of the fit's spec.

    Returns
    -------
    xarray.Dataset
        Draws ``low``, ``high``, ``naive`` (no allowance for the inflow) and ``inflow`` (part of
        those measured with the service who would not be without it; negative for an outflow),
        dims (chain, draw).

    Notes
    -----
    An inflow is taken off those measured with the service, an outflow off those without it:
    everybody is assumed to be moved in the same direction (monotone selection).
    """
    window = asked_window(fit, window)
    sizes = [tree["posterior"].sizes for tree in (fit, exposure_fit)]
    chains, draws = (min(s[d] for s in sizes) for d in SAMPLE_DIMS)
    some = {"chain": slice(chains), "draw": slice(draws)}
    ratio = np.exp(pooled_effect(exposure_fit, "link", window).isel(some).to_numpy())
    before, after = (rate[:chains, :draws] for rate in _window_rates(fit, window))
    inflow = np.where(ratio >= 1, 1 - 1 / ratio, 0.0)
    outflow = np.where(ratio < 1, 1 - ratio, 0.0)
    low_after, high_after = trimmed(after, inflow[..., None])
    low_before, high_before = trimmed(before, outflow[..., None])
    posterior = fit["posterior"].to_dataset().isel(some)
    coords = {dim: posterior[dim] for dim in SAMPLE_DIMS}
    mean = {
        "low": (low_after - high_before).mean(axis=-1),
        "high": (high_after - low_before).mean(axis=-1),
        "naive": (after - before).mean(axis=-1),
        "inflow": inflow - outflow,
    }
    return xr.Dataset({k: (SAMPLE_DIMS, v) for k, v in mean.items()}, coords=coords)


def _window_rates(fit: xr.DataTree, window: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean shares over the window without and with the service, (chain, draw, site)."""
    event = fit["constant_data"]["event_time"].to_numpy()
    inside = (event >= window[0]) & (event <= window[1])
    used = treated_sites(fit) & inside.any(axis=1)
    weight = inside[used] / inside[used].sum(axis=1, keepdims=True)
    eta = predictors(fit)
    before, after = (
        (natural(fit, eta[name].to_numpy()[:, :, used]) * weight).sum(axis=-1)
        for name in ("eta0", "eta1")
    )
    return before, after


def bounds_table(
    fit: xr.DataTree,
    exposure_fit: xr.DataTree | None,
    window: Window | None = None,
    *,
    ci_prob: float = CI_PROB,
) -> pd.DataFrame:
    """Bounds with the uncertainty of each, in percentage points.

    Parameters
    ----------
    fit, exposure_fit, window
        See `selection_bounds`; without `exposure_fit` nothing is bounded and the row says why.
    ci_prob : float
        Probability of the intervals.

    Returns
    -------
    pandas.DataFrame
        Columns `BOUND_COLUMNS`; rows ``low``, ``high``, ``naive`` and ``inflow``. Between the
        lower end of ``low`` and the upper end of ``high`` lies all that the data leave open; no
        point between them is better supported than another.
    """
    head = {"outcome": metadata(fit).outcome, "given": metadata(fit).exposure_outcome}
    window = asked_window(fit, window)
    span = f"{window[0]}-{window[1]}"
    if exposure_fit is None:
        note = f"no bounds: {head['given']} was not fitted in this run"
        empty = dict.fromkeys(("mean", "sd", "lower", "median", "upper"), np.nan)
        row = {**head, "quantity": "share", "unit": "percentage points", "bound": "low", **empty}
        only = pd.DataFrame([{**row, "ci_prob": ci_prob, "window": span, "note": note}])
        return only[list(BOUND_COLUMNS)]
    draws = selection_bounds(fit, exposure_fit, window)
    notes = {
        "low": "if the inflow were those with the event",
        "high": "if the inflow were those without it",
        "naive": "all who are measured, as if nobody had been added: not an effect",
        "inflow": "part of those measured with the service who would not be without it",
    }
    rows = []
    for name, note in notes.items():
        found = summarise(100 * draws[name], ci_prob=ci_prob).iloc[0]
        numbers = {k: found[k] for k in ("mean", "sd", "lower", "median", "upper", "ci_prob")}
        unit = "per cent" if name == "inflow" else "percentage points"
        rows.append(
            {**head, "quantity": metadata(fit).unit, "unit": unit, "bound": name}
            | numbers
            | {"window": span, "note": note}
        )
    return pd.DataFrame(rows)[list(BOUND_COLUMNS)]
