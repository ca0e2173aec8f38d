"""Observed and replicated panels cell by cell, and how cells are grouped, paired and chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from lndbayes.base.names import CHAIN, DRAW, MONTH, SAMPLE_DIMS, SITE
from lndbayes.checks.structure import likelihood_cells

__all__ = [
    "Replication",
    "cells_near_go_live",
    "contradicted",
    "group_rates",
    "group_totals",
    "lagged_pairs",
    "replication",
    "standardised_residuals",
]


@dataclass(frozen=True, slots=True)
class Replication:
    """Observed and replicated outcome in the ``C`` cells of the likelihood.

    Attributes
    ----------
    y : np.ndarray, shape (C,)
        Observed counts.
    replicated : np.ndarray, shape (R, C)
        Replicated counts.
    expected : np.ndarray, shape (R, C), or None
        Expected counts of the same draws, from the rate ``mu`` that a fit may store beside ``y``;
        None where it does not.
    exposure : np.ndarray, shape (C,)
        Trials or exposure.
    site, month : np.ndarray of int, shape (C,)
        Position in the panel; cells are ordered by site, then month.
    event : np.ndarray, shape (C,)
        Months since go-live; NaN or far below zero for a site never treated.
    wave : np.ndarray, shape (C,)
        Wave of the cell's site; -1 where it never goes live.
    sites : tuple of str
        Names of the sites of the panel.
    lag_year : int
        Periods in a year: 12 for a monthly panel.
    """

    y: np.ndarray
    replicated: np.ndarray
    expected: np.ndarray | None
    exposure: np.ndarray
    site: np.ndarray
    month: np.ndarray
    event: np.ndarray
    wave: np.ndarray
    sites: tuple[str, ...]
    lag_year: int


def replication(fit: xr.DataTree, *, most: int) -> Replication:
    """Collect the likelihood's cells of the observed and the replicated panels.

    Parameters
    ----------
    fit : xr.DataTree
        Complete and finite, as `lndbayes.checks.structure` judges it.
    most : int
        More replicates than this are thinned evenly.

    Returns
    -------
    Replication
    """
    constant = fit["constant_data"].to_dataset()
    cells = likelihood_cells(fit)
    site, month = np.nonzero(cells)
    observed = fit["observed_data"].to_dataset()["y"].transpose(SITE, MONTH)
    group = fit["posterior_predictive"].to_dataset()
    y = group["y"].transpose(*SAMPLE_DIMS, SITE, MONTH)
    size = y.sizes[CHAIN] * y.sizes[DRAW]
    rows = np.linspace(0, size - 1, min(size, most)).round().astype(int)

    exposure = constant["exposure"].transpose(SITE, MONTH).values[site, month].astype(float)

    def in_cells(panel: xr.DataArray) -> np.ndarray:
        values = np.asarray(panel.values, dtype=float).reshape(size, *cells.shape)
        return values[rows][:, site, month]

    return Replication(
        y=observed.values[site, month].astype(float),
        replicated=in_cells(y),
        expected=in_cells(group["mu"].transpose(*y.dims)) * exposure if "mu" in group else None,
        exposure=exposure,
        site=site,
        month=month,
        event=constant["event_time"].transpose(SITE, MONTH).values[site, month].astype(float),
        wave=np.where(_live(constant), constant["wave_index"].values, -1)[site],
        sites=tuple(map(str, observed[SITE].values)),
        lag_year=12 // _months_a_period(observed[MONTH].values),
    )


def _live(constant: xr.Dataset) -> np.ndarray:
    """Sites that go live in the months."""
    event = constant["event_time"].transpose(SITE, MONTH).values
    return np.asarray((event >= 0).any(axis=1))


def _months_a_period(months: np.ndarray) -> int:
    """Length of the grid's period from its first two ``YYYY-MM`` labels."""
    if len(months) < 2:
        return 1
    first, second = (12 * int(str(m)[:4]) + int(str(m)[5:7]) for m in months[:2])
    return max(second - first, 1)


def contradicted(noise: np.ndarray) -> bool:
    """Whether replicated noise, shape (R, C), cannot have the mean zero (beyond 6 standard errors).

    Its sum over the panel is independent from draw to draw given the draws' own expectations, so
    this is a plain z-test, and catches an expectation on another scale or of other draws.
    """
    totals = noise.sum(axis=1)
    error = totals.std(ddof=1) / np.sqrt(len(totals))
    return not abs(totals.mean()) <= 6 * error


def standardised_residuals(
    y: np.ndarray, replicated: np.ndarray, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals from each draw's expectation, in units of the sd of the noise of their cell.

    Parameters
    ----------
    y : np.ndarray, shape (C,)
        Observed counts.
    replicated, expected : np.ndarray, shape (R, C)
        Replicated counts and the expectations they were drawn from.

    Returns
    -------
    observed, replicated : np.ndarray, shape (R, C)
        ``(y - expected) / sd`` and ``(replicated - expected) / sd``. The sd of a cell's noise comes
        from the replicates; for a replicate, from the others, so that estimating it from few
        replicates affects both sides alike.
    """
    size = len(replicated)
    noise = replicated - expected
    squares = (noise**2).sum(axis=0)
    # A cell of a very rare event may have no event in any replicate, and hardly any noise. The
    # variance of a count that is one in a single replicate, 1/R, is the least that can show.
    floor = 1.0 / size
    sd = np.sqrt(np.maximum(squares / size, floor))
    others = np.sqrt(np.maximum((squares - noise**2) / (size - 1), floor))
    return (y - expected) / sd, noise / others


def group_rates(data: Replication, by: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pooled rate of each group of cells: labels (G,), observed (G,), replicated (R, G)."""
    exposure = group_totals(data.exposure, by)
    return (
        np.unique(by),
        group_totals(data.y, by) / exposure,
        group_totals(data.replicated, by) / exposure,
    )


def group_totals(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Sum of the last axis over each group of cells, in the order of the sorted labels."""
    groups, member = np.unique(by, return_inverse=True)
    return np.asarray(values @ (member[:, None] == np.arange(len(groups))).astype(float))


def lagged_pairs(data: Replication, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of cells of one site that are ``lag`` periods apart, earlier and later."""
    months = int(data.month.max()) + 1
    at = np.full((len(data.sites), months + lag), -1)
    at[data.site, data.month] = np.arange(len(data.y))
    later = at[data.site, data.month + lag]
    return np.flatnonzero(later >= 0), later[later >= 0]


def cells_near_go_live(data: Replication, months: int, *, before: bool) -> np.ndarray:
    """Cells nearest to go-live on one side: of each site at most ``months``, within twice as many.

    The months around go-live that the likelihood leaves out are stepped over, not counted.
    """
    distance = -data.event if before else data.event + 1
    near = (distance > 0) & (distance <= 2 * months)
    chosen = []
    for site in np.unique(data.site[near]):
        mine = np.flatnonzero(near & (data.site == site))
        chosen.append(mine[np.argsort(distance[mine])][:months])
    return np.concatenate(chosen) if chosen else np.empty(0, dtype=int)
