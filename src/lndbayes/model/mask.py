"""Cells taken out of a design's likelihood: same shapes, so the same compiled density."""

from __future__ import annotations

import numpy as np

from lndbayes.model.design import Design, site_weights

__all__ = ["without_cells", "without_treated"]


def without_cells(design: Design, hidden: np.ndarray) -> Design:
    """Return the design with cells masked.

    Parameters
    ----------
    design : Design
        The design.
    hidden : ndarray of bool, shape (S, T)
        Cells to leave out of the likelihood.

    Returns
    -------
    Design
        With exposure 0 in those cells, and levels anchored at what remains.
    """
    return _masked(design, np.asarray(hidden, dtype=bool))


def without_treated(design: Design) -> Design:
    """Return the design with every month after go-live masked."""
    return _masked(design, design["event_time"] >= 0)


def _masked(design: Design, hidden: np.ndarray) -> Design:
    """Mask cells, and anchor the site level at the cells that remain."""
    arrays = {
        name: np.where(hidden, 0.0, design[name]) for name in ("exposure", "count", "count_high")
    } | {
        name: np.where(hidden[..., None], 0.0, design[name])
        for name in ("stage_exposure", "stage_count")
    }
    return design.replace(**arrays, site_weight=site_weights(arrays))
