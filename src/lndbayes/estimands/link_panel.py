"""Observed cells on the link scale, and what an estimator of differences makes of them.

The model's own cells, without the model: exact counts of the first stage that are in the
likelihood, months of the transition left out, turned into an empirical predictor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.stats import t as student_t

from lndbayes.estimands.treated import Window, treated_sites
from lndbayes.fitting.metadata import metadata
from lndbayes.model.shown import live_cells, whole_event_time
from lndbayes.spec.families import Family, forward

__all__ = [
    "LEAST_COMPARED",
    "Compared",
    "LinkPanel",
    "asked_cells",
    "compared_interval",
    "comparison_fault",
    "empirical_predictor",
    "estimate_of",
    "link_panel",
    "noise_by_site",
    "not_compared",
]

#: Fewest untreated sites in a month that make it comparable. The shock of a single one cannot be
#: told from the month's: there is an estimate, and every formula gives it a standard error of zero.
LEAST_COMPARED = 2
#: Added to events and to what has none (Haldane 1956; Gart and Zweifel 1967).
_CORRECTION = 0.5
_CELL = ("site", "month")


@dataclass(frozen=True)
class LinkPanel:
    """Cells of one outcome, S sites and T periods.

    Attributes
    ----------
    value : ndarray, shape (S, T)
        Empirical predictor, link scale; NaN where there is no usable cell.
    weight : ndarray, shape (S, T)
        Exposure that the source covers; 0 where there is no usable cell.
    event : ndarray of int, shape (S, T)
        Months since go-live; `lndbayes.model.shown.NEVER` where there is none.
    treated : ndarray of bool, shape (S,)
        Sites over which the pooled effect is a mean.
    step : int
        Months a period.
    median_events : float
        Events in the median cell, or cases without one where these are fewer; NaN without cells.
    """

    value: np.ndarray
    weight: np.ndarray
    event: np.ndarray
    treated: np.ndarray
    step: int
    median_events: float = float("nan")

    @property
    def used(self) -> np.ndarray:
        """Cells that have a value, bool, shape (S, T)."""
        return np.isfinite(self.value)

    @property
    def clean(self) -> np.ndarray:
        """Untreated cells that have a value, bool, shape (S, T)."""
        return np.asarray(self.used & ~live_cells(self.event))


@dataclass(frozen=True)
class Compared:
    """What an estimator of differences says of an effect.

    Attributes
    ----------
    estimate, standard_error : float
        Link scale; NaN where nothing is identified.
    df : float
        Degrees of freedom of its interval, at least 1: sites that bear the error less one.
    cells, sites : int
        Treated cells and treated sites that it averages over.
    share : float
        Part of the asked cells (treated sites times periods of the window) that these are; NaN
        where none is asked for.
    reason : str
        Why there are no numbers; empty where there are.
    """

    estimate: float
    standard_error: float
    df: float
    cells: int
    sites: int
    share: float
    reason: str = ""


def link_panel(fit: xr.DataTree) -> LinkPanel:
    """Turn a fit's cells into empirical predictors.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit; its draws are not read.

    Returns
    -------
    LinkPanel
        Cells of the likelihood whose count is exact: of suppressed and rounded ones, of the
        transition and of hidden months there is none. Later stages of a family are not in it.
    """
    data = fit["constant_data"].to_dataset()
    names = ("event_time", "exposure", "exposure_exact", "count_exact", "coverage")
    event, kept, exposure, count, coverage = (
        data[name].transpose(*_CELL).to_numpy().astype(float) for name in names
    )
    about = metadata(fit)
    # of a cell of which the source holds nothing, nothing is known
    used = (kept > 0) & (coverage * exposure > 0)
    weight = np.where(used, coverage * exposure, 0.0)
    value = np.full(used.shape, np.nan)
    value[used] = empirical_predictor(about.family, count[used], weight[used])
    few = np.minimum(count, exposure - count) if about.family.trials else count
    return LinkPanel(
        value=value,
        weight=weight,
        event=whole_event_time(event),
        treated=treated_sites(fit),
        step=about.step,
        median_events=float(np.median(few[used])) if used.any() else float("nan"),
    )


def empirical_predictor(family: Family, count: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Predictor of a rate from one cell, finite for every count.

    Parameters
    ----------
    family : Family
        Gives the link, and whether counts are of trials.
    count, amount : ndarray
        Events, and the exposure in which they could have been recorded (coverage times exposure).

    Returns
    -------
    ndarray
        ``log((y + 1/2) / n)`` of rates; of shares the link of ``(y + 1/2) / (n + 1)``, which for
        the logit is ``log((y + 1/2) / (n - y + 1/2))``.

    Notes
    -----
    With half an event added the first-order bias of the logit and of the log vanishes (Gart and
    Zweifel 1967, Biometrika 54). What is left matters below about three events a cell: there
    differences are drawn towards zero.
    """
    corrected = count + _CORRECTION
    if not family.trials:
        return forward(family.link, corrected / amount)
    # coverage is not exact: more events than covered trials may be recorded
    return forward(family.link, corrected / (np.maximum(amount, count) + 2 * _CORRECTION))


def asked_cells(panel: LinkPanel, window: Window) -> tuple[np.ndarray, int]:
    """Cells of a window of event months, and how many the pooled effect averages over.

    Parameters
    ----------
    panel : LinkPanel
        The cells.
    window : tuple of int
        First and last event month; negative ones are leads.

    Returns
    -------
    ndarray of bool, shape (S, T)
        Usable cells of treated sites in the window.
    int
        Treated sites times periods of the window, inside the months of the data or not.
    """
    first, last = window
    inside = (panel.event >= first) & (panel.event <= last) & panel.treated[:, None]
    # event times are multiples of the period's length
    periods = last // panel.step - (first - 1) // panel.step
    return inside & panel.used, int(panel.treated.sum()) * periods


def comparison_fault(panel: LinkPanel, asked: np.ndarray, cells: np.ndarray) -> str:
    """Say why a comparison identifies nothing; empty where it identifies something.

    Parameters
    ----------
    panel : LinkPanel
        The cells.
    asked, cells : ndarray of bool, shape (S, T)
        From `asked_cells`, and those of them that the estimator can compare.
    """
    if not asked.any():
        return "no treated cell with an exact count in the window"
    if not (asked & panel.clean.any(axis=1)[:, None]).any():
        return "no site of the window has an untreated month of its own"
    if not cells.any():
        return f"no month of the window has {LEAST_COMPARED} untreated sites to compare with"
    if cells.any(axis=1).sum() < LEAST_COMPARED:
        return "a single site can be compared: its own noise cannot be told from its effect"
    return ""


def not_compared(reason: str, asked: int) -> Compared:
    """Say that, and why, a comparison identifies nothing."""
    share = 0.0 if asked else float("nan")
    return Compared(float("nan"), float("nan"), 0.0, 0, 0, share, reason)


def noise_by_site(panel: LinkPanel, weights: np.ndarray) -> np.ndarray:
    """Variance that each site would bring in were noise alike per exposure, up to a factor, (S,).

    Parameters
    ----------
    panel : LinkPanel
        The cells.
    weights : ndarray, shape (S, T)
        Weights of the cells in the estimate; 0 where there is no cell.
    """
    return np.asarray((weights**2 / np.where(panel.used, panel.weight, 1.0)).sum(axis=1))


def estimate_of(
    estimate: float, errors: np.ndarray, noise: np.ndarray, cells: np.ndarray, asked: int
) -> Compared:
    """Put together an estimate and its standard error clustered by site.

    Parameters
    ----------
    estimate : float
        Link scale.
    errors : ndarray, shape (S,)
        What each site contributes to the estimate's error; sites are independent.
    noise : ndarray, shape (S,)
        From `noise_by_site`: how many sites bear the error, for its degrees of freedom
        (Satterthwaite's, of a sum of squares with these variances, less one).
    cells : ndarray of bool, shape (S, T)
        Treated cells averaged over.
    asked : int
        From `asked_cells`.
    """
    sites = int(cells.any(axis=1).sum())
    bearing = float(noise.sum() ** 2 / (noise**2).sum())
    return Compared(
        estimate=estimate,
        standard_error=float(np.sqrt((errors**2).sum())),
        df=max(min(bearing, float(sites)) - 1, 1.0),
        cells=int(cells.sum()),
        sites=sites,
        share=float(cells.sum() / asked),
    )


def compared_interval(found: Compared, ci_prob: float) -> tuple[float, float]:
    """Equal-tailed interval, link scale: Student's t, since few sites bear the error.

    Parameters
    ----------
    found : Compared
        From an estimator.
    ci_prob : float
        Its probability.

    Returns
    -------
    tuple of float
        Ends; NaN where there is no estimate.
    """
    if found.reason:
        return float("nan"), float("nan")
    half = float(student_t.ppf(0.5 + ci_prob / 2, found.df)) * found.standard_error
    return found.estimate - half, found.estimate + half
