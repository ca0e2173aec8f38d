"""Which sites of a fit have a treated cell of their own, and which window is meant.

One answer to each of these questions: every estimand, tier, table and report asks here.
"""

from __future__ import annotations

import json
from numbers import Integral

import numpy as np
import xarray as xr

from lndbayes.base.choices import pair_of
from lndbayes.fitting.metadata import metadata
from lndbayes.model.shown import Window, own_treated, shown_months, window_fault

__all__ = [
    "Window",
    "asked_window",
    "fit_window",
    "treated_cells",
    "treated_sites",
]


def treated_cells(fit: xr.DataTree) -> np.ndarray:
    """Treated cells of a fit's likelihood, bool, shape (S, T).

    Masked months (transition, first months hidden), missing cells and those that the family cannot
    use are none.
    """
    data = fit["constant_data"].to_dataset()
    used = data["site_weight"].transpose("site", "month").to_numpy() > 0
    return own_treated(data["event_time"].transpose("site", "month").to_numpy(), used)


def treated_sites(fit: xr.DataTree) -> np.ndarray:
    """Return which sites have a treated cell of their own in the likelihood, bool, shape (S,).

    Only these have an effect of their own: of a site that never goes live, goes live after the last
    month, or has no usable cell after it, the model's effect is the other sites'.
    """
    return np.asarray(treated_cells(fit).any(axis=1))


def fit_window(fit: xr.DataTree) -> Window:
    """Event months of the estimand in the fit's own spec.

    Raises
    ------
    ValueError
        If the fit holds no spec.
    """
    if "spec_text" not in fit.attrs:
        raise ValueError("the fit holds no spec (attribute spec_text): give window=(first, last)")
    first, last = json.loads(str(fit.attrs["spec_text"]))["effect"]["window"]
    return int(first), int(last)


def asked_window(fit: xr.DataTree, window: Window | None) -> Window:
    """Return the window to use: the one asked for, or that of the fit's spec.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    window : tuple of int or None
        First and last event month.

    Raises
    ------
    TypeError
        If it is no pair of whole numbers.
    ValueError
        If it is no window, or the data do not show it; says which event months they show.
    """
    first, last = fit_window(fit) if window is None else pair_of("window", window, Integral)
    if not 0 <= first <= last:
        raise ValueError(f"window must be (first, last) with 0 <= first <= last, got {window}")
    event = fit["constant_data"]["event_time"].transpose("site", "month").to_numpy()
    shown = shown_months(event, treated_cells(fit))
    if fault := window_fault(shown, (first, last), metadata(fit).step):
        raise ValueError(fault)
    return int(first), int(last)
