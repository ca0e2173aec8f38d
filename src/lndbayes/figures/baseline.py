"""Small multiples of the reconstructed baseline, one panel a site."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from lndbayes.figures.style import BAND, INK, OBSERVED, REFERENCE, WIDTH, shorten, styled

_Array = np.ndarray[Any, Any]

__all__ = ["PANELS_PER_PAGE", "baseline_panels"]

_COLUMNS = 4
_ROWS = 7
#: Most panels that stay legible on one A4 page.
PANELS_PER_PAGE = _COLUMNS * _ROWS
_HEAD, _PANEL, _FOOT = 0.5, 1.22, 0.2  # inches
_MOST_DOTS = 40  # more dots than this in a panel an inch and a half wide are a cloud
_SHADE = "#ececec"


def baseline_panels(
    baseline: pd.DataFrame,
    sites: list[str],
    tiers: Mapping[str, str],
    go_live: Mapping[str, float],
    exposure: pd.DataFrame,
    *,
    share: bool,
) -> Figure:
    """Draw one page of panels: baseline band, observed values, go-live.

    Parameters
    ----------
    baseline : pd.DataFrame
        Rows of one outcome, columns ``site``, ``month``, ``mean``, ``lower``, ``upper``,
        ``observed``; all sites of the run, so that every page has the same vertical axis.
    sites : list of str
        Sites of this page in drawing order, at most `PANELS_PER_PAGE`.
    tiers : Mapping of str to str
        Site to identification tier.
    go_live : Mapping of str to float
        Site to go-live, index into the sorted months; NaN = never.
    exposure : pd.DataFrame
        Index site, columns month; dots are drawn with area in proportion. May be empty.
    share : bool
        Whether values are shares, to be printed as percentages.

    Returns
    -------
    Figure
        A grid with shared axes.
    """
    months = sorted(baseline["month"].unique())
    step = math.ceil(len(months) / _MOST_DOTS)
    rows = math.ceil(len(sites) / _COLUMNS)
    columns = math.ceil(len(sites) / rows)
    by_site = {str(s): f.set_index("month") for s, f in baseline.groupby("site", sort=False)}
    dots = {s: _dots(by_site[s].reindex(months), exposure, s, go_live, step) for s in by_site}
    top = _top(baseline, [rate for _, rate, _ in dots.values()])
    largest = max([1e-12, *(float(n.max()) for _, _, n in dots.values() if n.size)])
    height = _HEAD + _FOOT + _PANEL * rows
    with styled():
        figure = Figure(figsize=(WIDTH, height))
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        # Fixed margins: an automatic layout would give a ragged last row its own spacing
        figure.subplots_adjust(0.062, _FOOT / height, 0.99, 1 - _HEAD / height, 0.07, 0.27)
        for ax in grid.ravel()[len(sites) :]:
            ax.set_visible(False)
        for ax, site in zip(grid.ravel(), sites, strict=False):
            _panel(ax, by_site[site].reindex(months), go_live.get(site, math.nan))
            when, rate, cases = dots[site]
            _scatter(ax, when, rate, cases / largest if not exposure.empty else None)
            ax.set_title(f"{shorten(site, 18)} · tier {tiers.get(site) or '?'}", pad=2.5)
        first = grid[0, 0]
        _year_ticks(first, months)
        if share:
            first.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        first.set_ylim(-0.03 * top, top)
        # The lowest visible panel of each column carries the years, also in a ragged last row
        for j in range(columns):
            last = max(i for i in range(rows) if i * columns + j < len(sites))
            grid[last, j].tick_params(axis="x", labelbottom=True)
        _legend(figure, step, with_sizes=not exposure.empty)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, start: float) -> None:
    t = np.arange(len(rows))
    if math.isfinite(start) and start < len(rows):
        ax.axvspan(max(start, 0) - 0.5, len(rows) - 0.5, color=_SHADE, lw=0, zorder=0)
        if start >= 0:
            ax.axvline(start - 0.5, color=INK, lw=0.9, zorder=3)
    lower, upper = rows["lower"].to_numpy(float), rows["upper"].to_numpy(float)
    ax.fill_between(t, lower, upper, color=BAND, alpha=0.55, lw=0, zorder=1)
    ax.plot(t, rows["mean"].to_numpy(float), color=REFERENCE, lw=1.0, zorder=2)
    ax.set_xlim(-0.5, len(rows) - 0.5)
    ax.tick_params(length=2)


def _dots(
    rows: pd.DataFrame,
    exposure: pd.DataFrame,
    site: str,
    go_live: Mapping[str, float],
    step: int,
) -> tuple[_Array, _Array, _Array]:
    """Observed values in blocks of `step` grid points: mean time, weighted mean, weight.

    Blocks are counted from go-live, so that none mixes months before and after it.
    """
    value = rows["observed"].to_numpy(float)
    weight: _Array = np.ones(len(rows))
    if site in exposure.index:
        weight = exposure.loc[[site]].iloc[0].reindex(rows.index).to_numpy(float)
    t = np.arange(len(rows), dtype=float)
    start = go_live.get(site, math.nan)
    block = np.floor((t - (start if math.isfinite(start) else 0.0)) / step)
    seen = np.isfinite(value) & np.isfinite(weight) & (weight > 0)
    frame = pd.DataFrame({"b": block, "w": weight, "t": t * weight, "v": value * weight})[seen]
    total = frame.groupby("b").sum()
    n = total["w"].to_numpy()
    return total["t"].to_numpy() / n, total["v"].to_numpy() / n, n


def _scatter(ax: Axes, when: _Array, rate: _Array, size: _Array | None) -> None:
    # Four sizes, not a continuum: nobody reads more off a dot, and the file stays small
    level = np.full(len(when), 2) if size is None else np.ceil(4 * np.sqrt(size)).astype(int)
    for k in range(1, 5):
        at = level == k
        ax.plot(when[at], rate[at], "o", ms=0.9 * k, color=OBSERVED, mew=0, alpha=0.8, zorder=4)


def _top(baseline: pd.DataFrame, observed: list[_Array]) -> float:
    seen = np.concatenate(observed)
    upper = baseline["upper"].dropna().to_numpy(float)
    # One wild value of a tiny site must not flatten all other panels: the caption says so
    return 1.05 * max([*(np.quantile(x, 0.995) for x in (seen, upper) if x.size), 1e-9])


def _year_ticks(ax: Axes, months: list[str]) -> None:
    januaries = [i for i, m in enumerate(months) if m.endswith("-01")]
    step = max(1, math.ceil(len(januaries) / 4))
    ticks = januaries[::step] or [0]
    ax.set_xticks(ticks, [months[i][:4] for i in ticks])


def _legend(figure: Figure, step: int, *, with_sizes: bool) -> None:
    dots = "observed" + (f", {step}-month means" if step > 1 else "")
    dots += " (larger: more cases)" if with_sizes else ""
    handles: list[Line2D | Patch] = [
        Patch(color=BAND, alpha=0.55, lw=0, label="reconstructed baseline, interval"),
        Line2D([], [], color=REFERENCE, lw=1.0, label="its mean"),
        Line2D([], [], color=OBSERVED, marker="o", ms=3, lw=0, label=dots),
        Line2D([], [], color=INK, lw=0.9, label="go-live"),
        Patch(color=_SHADE, lw=0, label="after go-live"),
    ]
    figure.legend(
        handles=handles,
        loc="upper center",
        ncols=len(handles),
        fontsize=6.8,
        handlelength=1.4,
        handletextpad=0.5,
        columnspacing=1.4,
    )
