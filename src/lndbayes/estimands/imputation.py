"""Imputation estimator of Borusyak, Jaravel and Spiess on link-scale cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

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

__all__ = ["imputed_cells", "imputed_effect"]

#: Leverage from which a cell fits itself: its residual is zero whatever its noise.
_SELF_FIT = 1 - 1e-9


def imputed_effect(panel: LinkPanel, window: Window, *, small_sample: bool = True) -> Compared:
    """Mean effect over a window, untreated values of treated cells imputed from untreated cells.

    Parameters
    ----------
    panel : LinkPanel
        The cells.
    window : tuple of int
        First and last event month, none below 0.
    small_sample : bool
        Whether the standard error allows for few sites: the mean that a site's effect is held
        against leaves the site out, and residuals of untreated cells are divided by the root of one
        less their leverage. Without it the error is the published one, smaller with few sites.

    Returns
    -------
    Compared
        Every identified cell counts alike: the weights of `lndbayes.pooled_effect` on what
        `imputed_cells` leaves of the window.

    Notes
    -----
    Site and month effects are fitted to untreated cells by least squares, weighted by exposure.
    Delta-method precisions would weight a cell by its own count, so that one high by chance counted
    for more. The error is the conservative one of the source's theorem 3, clustered by site: the
    effects of treated cells are held against one mean of all averaged cells (its coarsest
    partition), so that differences between sites count as noise, also where a cohort is one site.

    References
    ----------
    Borusyak, Jaravel and Spiess (2024), Review of Economic Studies 91(6), 3253-3285; leaving a site
    out: their supplementary appendix A.9.
    """
    asked, number = asked_cells(panel, window)
    cells = asked & imputed_cells(panel)
    if reason := comparison_fault(panel, asked, cells):
        return not_compared(reason, number)
    fitted = _fit_untreated(panel)
    share = cells / cells.sum()
    effect = np.where(cells, panel.value - fitted.value, 0.0)
    estimate = float((share * effect).sum())
    own = _own_error(share, effect, small_sample=small_sample)
    residual = np.where(panel.clean, panel.value - fitted.value, 0.0)
    if small_sample:
        free = fitted.leverage < _SELF_FIT
        residual = residual / np.sqrt(np.where(free, 1 - fitted.leverage, 1.0))
    untreated = fitted.weights(share)
    errors = own + (untreated * residual).sum(axis=1)
    return estimate_of(estimate, errors, noise_by_site(panel, share + untreated), cells, number)


def _own_error(share: np.ndarray, effect: np.ndarray, *, small_sample: bool) -> np.ndarray:
    """What the treated cells of each site contribute to the error, shape (S,)."""
    weight, total = share.sum(axis=1), (share * effect).sum(axis=1)
    if not small_sample:
        return np.asarray(total - weight * (weight * total).sum() / (weight**2).sum())
    others = (weight**2).sum() - weight**2
    mean = ((weight * total).sum() - weight * total) / others
    return np.asarray(total - weight * mean)


def imputed_cells(panel: LinkPanel) -> np.ndarray:
    """Cells whose untreated value a comparison gives with a standard error, bool, shape (S, T).

    Their site has an untreated cell, their month has at least `LEAST_COMPARED` untreated sites, and
    untreated cells link the two: a chain of sites and months that they share.
    """
    clean = panel.clean
    sites, months = clean.shape
    at = np.nonzero(clean)
    links = coo_matrix((np.ones(len(at[0])), (at[0], sites + at[1])), shape=(sites + months,) * 2)
    _, part = connected_components(links, directed=False)
    linked = part[:sites, None] == part[None, sites:]
    enough = clean.sum(axis=0) >= LEAST_COMPARED
    return np.asarray(linked & clean.any(axis=1)[:, None] & enough[None, :])


@dataclass(frozen=True)
class _Fitted:
    """Least squares on untreated cells: values and leverages, shape (S, T), and what solves it."""

    value: np.ndarray
    leverage: np.ndarray
    inverse: np.ndarray
    weight: np.ndarray

    def weights(self, share: np.ndarray) -> np.ndarray:
        """Weights of untreated cells in a weighted sum of effects, shape (S, T)."""
        sums = np.concatenate([share.sum(axis=1), share.sum(axis=0)])
        moved = self.inverse @ sums
        sites = len(share)
        return np.asarray(-self.weight * (moved[:sites, None] + moved[None, sites:]))


def _fit_untreated(panel: LinkPanel) -> _Fitted:
    """Fit site and month effects; where neither is identified the value means nothing."""
    weight = np.where(panel.clean, panel.weight, 0.0)
    weight = weight / weight.max()
    value = np.where(panel.clean, panel.value, 0.0)
    sites = len(weight)
    normal = np.block(
        [
            [np.diag(weight.sum(axis=1)), weight],
            [weight.T, np.diag(weight.sum(axis=0))],
        ]
    )
    # levels of sites and months are known up to a constant in every linked part
    inverse = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
    right = np.concatenate([(weight * value).sum(axis=1), (weight * value).sum(axis=0)])
    effects = inverse @ right
    diagonal = np.diag(inverse)
    spread = diagonal[:sites, None] + diagonal[None, sites:] + 2 * inverse[:sites, sites:]
    value = effects[:sites, None] + effects[None, sites:]
    return _Fitted(value, weight * spread, inverse, weight)
