"""Small multiples of the probability integral transforms of a back-test."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lndbayes.report.figures.style import BAND, INK, MUTED, REFERENCE, WIDTH, shorten, styled

__all__ = ["pit_panels"]

_BINS = 10
_MOST_WAVES = 3
_HEAD, _PANEL, _FOOT = 0.35, 0.92, 0.42  # inches


def pit_panels(cells: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw a histogram for each method and wave, with the coverage of its intervals.

    Parameters
    ----------
    cells : pandas.DataFrame
        ``backtest.csv``: ``method``, ``channels``, ``wave``, ``pit``.
    summary : pandas.DataFrame
        ``backtest_summary.csv``.

    Returns
    -------
    Figure
        One row a method and evidence, one column a wave and one for all; flat histograms are
        right, a U is too narrow, a hill too wide, a slope is a bias. With many waves only the
        column for all.
    """
    rows = list(dict.fromkeys(zip(cells["method"], cells["channels"], strict=True)))
    waves = [str(w) for w in sorted(cells["wave"].unique())]
    columns = [*(waves if 1 < len(waves) <= _MOST_WAVES else []), "all"]
    height = _HEAD + _FOOT + _PANEL * len(rows)
    keyed = {(r["method"], r["channels"], r["wave"]): r for _, r in summary.iterrows()}
    with styled():
        figure = Figure(figsize=(WIDTH, height))
        grid = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
        figure.subplots_adjust(0.23, _FOOT / height, 0.99, 1 - _HEAD / height, 0.08, 0.32)
        for axes, (method, channels) in zip(grid, rows, strict=True):
            group = cells[(cells["method"] == method) & (cells["channels"] == channels)]
            for ax, wave in zip(axes, columns, strict=True):
                part = group if wave == "all" else group[group["wave"].astype(str) == wave]
                _panel(ax, part["pit"].dropna().to_numpy(), model=method == "model")
                _note(ax, keyed[method, channels, wave])
            name = shorten(str(method).replace("_", " "), 24)
            detail = shorten(str(channels).replace("_", " "), 24)
            axes[0].set_ylabel(f"{name}\n{detail}", rotation=0, ha="right", va="center")
        for ax, wave in zip(grid[0], columns, strict=True):
            ax.set_title("all waves" if wave == "all" else f"wave {wave}", pad=14)
        for ax in grid[-1]:
            ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        middle = (grid[-1, 0].get_position().x0 + grid[-1, -1].get_position().x1) / 2
        figure.text(middle, 0.08 / height, "randomised probability transform", ha="center")
        grid[0, 0].set_yticks([0, 1, 2])
        grid[0, 0].set_ylim(0, 3)
    return figure


def _panel(ax: Axes, pit: np.ndarray, *, model: bool) -> None:
    height, edges = np.histogram(pit, bins=_BINS, range=(0, 1))
    density = height * _BINS / max(len(pit), 1)
    color = REFERENCE if model else BAND
    ax.bar(edges[:-1], np.minimum(density, 3), 1 / _BINS, align="edge", color=color, lw=0)
    ax.axhline(1, color=INK, lw=0.7, ls="--")
    ax.set_xlim(0, 1)
    ax.tick_params(length=2)


def _note(ax: Axes, row: pd.Series) -> None:
    text = "predicts nothing"
    if row["cells"]:
        text = f"50%: {100 * row['coverage_50']:.0f}   90%: {100 * row['coverage_90']:.0f}"
    ax.text(0.5, 1.02, text, transform=ax.transAxes, ha="center", color=MUTED, fontsize=7)
