"""Which cells are treated in the likelihood, and which windows of event months they show."""

from __future__ import annotations

import numpy as np

__all__ = [
    "NEVER",
    "Window",
    "live_cells",
    "own_treated",
    "shown_months",
    "whole_event_time",
    "window_fault",
]

Window = tuple[int, int]

#: Event time of a site that never goes live, or goes live after the last month, where it must be a
#: whole number: in designs, for the density. Labelled data hold NaN for it.
NEVER = -100_000


def live_cells(event: np.ndarray) -> np.ndarray:
    """Cells from go-live on.

    Parameters
    ----------
    event : ndarray, shape (...)
        Months since go-live, of a design or of labelled data.

    Returns
    -------
    ndarray of bool, shape (...)
        False throughout for a site that never goes live.
    """
    return np.asarray(event) >= 0


def whole_event_time(event: np.ndarray) -> np.ndarray:
    """Event times of labelled data as a design holds them: `NEVER` for NaN.

    Parameters
    ----------
    event : ndarray, shape (...)
        Months since go-live.
    """
    return np.where(np.isnan(event), NEVER, event).astype(np.int64)


def own_treated(event: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Treated cells of the likelihood.

    Parameters
    ----------
    event : ndarray, shape (S, T)
        Months since go-live, of a design or of labelled data.
    used : ndarray of bool, shape (S, T)
        Whether the cell is in the likelihood.

    Returns
    -------
    ndarray of bool, shape (S, T)
    """
    return np.asarray(used & live_cells(event))


def shown_months(event: np.ndarray, treated: np.ndarray) -> np.ndarray:
    """Event months of which some site has a treated cell, sorted.

    Parameters
    ----------
    event : ndarray, shape (S, T)
        Months since go-live.
    treated : ndarray of bool, shape (S, T)
        From `own_treated`.
    """
    return np.unique(np.asarray(event)[treated]).astype(int)


def window_fault(shown: np.ndarray, window: Window, step: int) -> str:
    """Say why data cannot show a window; empty if they can.

    Parameters
    ----------
    shown : ndarray of int
        From `shown_months`.
    window : tuple of int
        First and last event month.
    step : int
        Months a period.
    """
    first, last = window
    asked = np.arange(0, last + 1, step)
    asked = asked[asked >= first]
    if asked.size == 0:
        return f"no period of {step} months begins in event months {first} to {last}"
    if shown.size == 0:
        return "no site has a treated month in the likelihood: the data show no effect"
    told = f"the data show event months {shown.min()} to {shown.max()}"
    if not np.isin(asked, shown).any():
        return f"no site has a treated month in event months {first} to {last}: {told}"
    if asked.max() > shown.max():
        return f"event months {first} to {last} reach beyond the data: {told}"
    return ""
