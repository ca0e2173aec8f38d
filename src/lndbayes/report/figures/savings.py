"""Distribution of the total saving, with the published range as an outside comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lndbayes.report.figures.style import BAND, INK, OUTSIDE, REFERENCE, WIDTH, styled

__all__ = ["savings_histogram"]

_BINS = 40
_SHOWN = (0.005, 0.995)  # extreme draws are noise, and are not for publication either


def savings_histogram(
    draws: np.ndarray[Any, Any],
    median: float,
    lower: float,
    upper: float,
    published: tuple[float, float] | None,
) -> Figure:
    """Draw the total saving.

    Parameters
    ----------
    draws : np.ndarray
        Shape (draws,), pounds.
    median, lower, upper : float
        Summary of the same draws, pounds.
    published : tuple of float or None
        Ends of a published range, pounds: an outside comparison, drawn apart from the draws.

    Returns
    -------
    Figure
        Histogram of the central 99% of the draws.
    """
    low, high = np.quantile(draws, _SHOWN)
    shown = draws[(draws >= low) & (draws <= high)] / 1e6
    with styled():
        figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
        ax = figure.add_subplot()
        counts, edges = np.histogram(shown, bins=_BINS)
        inside = (edges[:-1] >= lower / 1e6) & (edges[1:] <= upper / 1e6)
        ax.stairs(counts, edges, fill=True, color="#b9b9b9")
        ax.stairs(np.where(inside, counts, 0), edges, fill=True, color=BAND)
        top = counts.max()
        ax.plot([median / 1e6] * 2, [0, top], color=REFERENCE, lw=1.6)
        ax.plot([0, 0], [0, top], color=INK, lw=0.9, ls=(0, (4, 2)))
        _bracket(ax, lower, upper, 1.08 * top, REFERENCE, "interval of this evaluation")
        if published is not None:
            _bracket(ax, *published, 1.28 * top, OUTSIDE, "published range (outside comparison)")
        ax.set_ylim(0, 1.46 * top)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ends = [0.0, low / 1e6, high / 1e6, *(p / 1e6 for p in published or ())]
        pad = 0.04 * (max(ends) - min(ends)) or 1.0
        ax.set_xlim(min(ends) - pad, max(ends) + pad)
        ax.set_xlabel("Total saving, £ million (positive: less is spent); dashed: no saving")
        ax.set_ylabel("relative frequency")
    return figure


def _bracket(ax: Any, low: float, high: float, y: float, colour: str, text: str) -> None:
    low, high = low / 1e6, high / 1e6
    ax.plot([low, low, high, high], [y - y * 0.03, y, y, y - y * 0.03], color=colour, lw=1.3)
    ax.text((low + high) / 2, y * 1.015, text, ha="center", va="bottom", color=colour)
