"""Cells taken out of a design's likelihood: same shapes, so the same compiled density."""

from __future__ import annotations

import numpy as np

from lndbayes.model.design import Design, national_shear, site_weights

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
        With exposure 0 in those cells; sampling coordinates are chosen anew for what remains.
    """
    masked = _masked(design, np.asarray(hidden, dtype=bool))
    return masked.replace(shear=national_shear(masked.arrays))


def without_treated(design: Design) -> Design:
    """Return the design with every month after go-live masked.

    The national curve is then not sheared against an effect that nothing in the likelihood sees.
    """
    masked = _masked(design, design["event_time"] >= 0)
    return masked.replace(shear=np.zeros_like(design["shear"]))


def _masked(design: Design, hidden: np.ndarray) -> Design:
    """Mask cells, and anchor the site level at the cells that remain."""
    arrays = {
        name: np.where(hidden, 0.0, design[name]) for name in ("exposure", "count", "count_high")
    } | {
        name: np.where(hidden[..., None], 0.0, design[name])
        for name in ("stage_exposure", "stage_count")
    }
    return design.replace(**arrays, site_weight=site_weights(arrays))
