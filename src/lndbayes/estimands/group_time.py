"""Group-time effects of Callaway and Sant'Anna on link-scale cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lndbayes.estimands.link_panel import (
    LEAST_COMPARED,
    Compared,
    LinkPanel,
    asked_cells,
    comparison_fault,
    estimate_of,
    noise_by_site,
    not_compared,
)
from lndbayes.estimands.treated import Window

__all__ = ["BASE_MONTHS", "group_time_effects"]

#: Clean months before the transition whose mean a site's change is measured from. The source takes
#: the last one alone, whose noise then is in every effect; a year weighs seasons alike.
BASE_MONTHS = 12


def group_time_effects(
    panel: LinkPanel,
    windows: Sequence[Window],
    *,
    base_months: int = BASE_MONTHS,
    small_sample: bool = True,
) -> list[Compared]:
    """Mean effect over windows of event months, each treated site against those not yet treated.

    Parameters
    ----------
    panel : LinkPanel
        The cells.
    windows : sequence of tuple of int
        First and last event month of each; negative ones are leads, the estimator's own check.
    base_months : int
        How many months the mean before the transition is taken over: so many of the site's last
        clean periods, or those that there are; 1 is the source's base period.
    small_sample : bool
        Whether the standard error allows for few sites: deviations are divided by the root of one
        less the weight of what deviates in its own mean. Without it the error is the published one.

    Returns
    -------
    list of Compared
        One a window. Every identified cell counts alike, as in `lndbayes.pooled_effect`: a group's
        weight is its number of sites.

    Notes
    -----
    Of a cell of site i in month t: ``(y[i,t] - mean_B y[i]) - mean_j (y[j,t] - mean_B y[j])`` over
    the base months B of i and all sites j of other groups, not yet treated: without the service in
    t, and until the end of B. They count in proportion to their mean exposure. Where j lacks some
    months of B, both means are over those that it has, so that month effects cancel. A group is all
    sites of one go-live month; the mean of its sites' cells is its group-time effect. The error is
    that of the influence function by site, the estimation of the groups' weights in it, which makes
    it right for groups of one site too.

    References
    ----------
    Callaway and Sant'Anna (2021), Journal of Econometrics 225(2), 200-230.
    """
    asked = [asked_cells(panel, window) for window in windows]
    sites, number = len(panel.value), len(windows)
    cells = [np.zeros_like(panel.used) for _ in windows]
    totals, errors = np.zeros((number, sites)), np.zeros((number, sites))
    weights = [np.zeros(panel.value.shape) for _ in windows]
    weight, periods = _site_weight(panel), max(base_months // panel.step, 1)
    for site in np.flatnonzero(panel.treated & panel.clean.any(axis=1)):
        found = _against_untreated(panel, int(site), periods, weight)
        deviation = found.deviation
        if small_sample:
            deviation = deviation / np.sqrt(np.maximum(1 - found.share, 1e-12))
        for k, (window_cells, _) in enumerate(asked):
            at = window_cells[site] & found.compared
            cells[k][site] = at
            totals[k, site] = found.effect[at].sum()
            errors[k] -= (found.share * deviation)[:, at].sum(axis=1)
            weights[k] += np.where(at, found.share, 0.0)
    noise = [noise_by_site(panel, c + w) for c, w in zip(cells, weights, strict=True)]
    return [
        _window_effect(panel, asked[k], cells[k], totals[k], errors[k], noise[k], small_sample)
        for k in range(number)
    ]


@dataclass(frozen=True)
class _SiteContrast:
    """One site against those not yet treated, by month.

    Attributes
    ----------
    effect : ndarray, shape (T,)
        NaN where it has no cell or is not compared.
    compared : ndarray of bool, shape (T,)
        Months with at least `LEAST_COMPARED` sites to compare with.
    share, deviation : ndarray, shape (S, T)
        Weight of each compared site, and how far its change is from their mean.
    """

    effect: np.ndarray
    compared: np.ndarray
    share: np.ndarray
    deviation: np.ndarray


def _against_untreated(
    panel: LinkPanel, site: int, periods: int, site_weight: np.ndarray
) -> _SiteContrast:
    """Change of a site since its last clean periods, less that of sites not yet treated."""
    clean = panel.clean
    base = np.flatnonzero(clean[site])[-periods:]
    own, here = panel.value[site, base], clean[:, base]
    held = here.sum(axis=1)
    at_base = np.maximum(held, 1)
    before = (np.where(here, panel.value[:, base], 0.0)).sum(axis=1) / at_base
    # where the other site lacks base months, the months that it has are not the base's mean month
    shift = (here * own).sum(axis=1) / at_base - own.mean()
    others = clean & (held > 0)[:, None]
    # nor is a site of its own group compared with it, though leads find it untreated
    others &= panel.event[:, :1] != panel.event[site, 0]
    # nor one that starts before it, whose months of the base are not all untreated
    others &= clean[:, base[-1] :].any(axis=1)[:, None]
    change = np.where(others, panel.value - (before - shift)[:, None], 0.0)
    weight = np.where(others, site_weight[:, None], 0.0)
    compared = others.sum(axis=0) >= LEAST_COMPARED
    share = weight / np.where(compared, weight.sum(axis=0), 1.0)
    mean = (share * change).sum(axis=0)
    effect = np.where(compared, panel.value[site] - own.mean() - mean, np.nan)
    return _SiteContrast(effect, compared, share, np.where(others, change - mean, 0.0))


def _site_weight(panel: LinkPanel) -> np.ndarray:
    """Mean exposure of each site's clean cells, shape (S,)."""
    clean = panel.clean
    total = np.where(clean, panel.weight, 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(clean.sum(axis=1), 1))


def _window_effect(
    panel: LinkPanel,
    asked: tuple[np.ndarray, int],
    cells: np.ndarray,
    totals: np.ndarray,
    errors: np.ndarray,
    noise: np.ndarray,
    small_sample: bool,
) -> Compared:
    """Mean over the cells compared, with every site's influence on it."""
    window_cells, number = asked
    if reason := comparison_fault(panel, window_cells, cells):
        return not_compared(reason, number)
    counts = cells.sum(axis=1)
    estimate = float(totals.sum() / counts.sum())
    own = totals - counts * estimate
    if small_sample:
        own = own / np.sqrt(1 - counts / counts.sum())
    return estimate_of(estimate, (own + errors) / counts.sum(), noise, cells, number)
