"""Small multiples of the reconstructed baseline, one panel a site."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lndbayes.report.figures.style import (
    BAND,
    INK,
    MUTED,
    OBSERVED,
    REFERENCE,
    WIDTH,
    shorten,
    styled,
)

_Array = np.ndarray[Any, Any]

__all__ = ["PANELS_PER_PAGE", "baseline_panels"]

_COLUMNS = 4
_ROWS = 7
#: Most panels that stay legible on one A4 page.
PANELS_PER_PAGE = _COLUMNS * _ROWS
_HEAD, _PANEL, _FOOT = 0.5, 1.22, 0.2  # inches
_MOST_DOTS = 40  # more dots than this in a panel an inch and a half wide are a cloud
_GAP_X, _GAP_Y = 0.08, 0.3  # of a panel
_SHADE = "#ececec"


def baseline_panels(
    baseline: pd.DataFrame,
    sites: list[str],
    tiers: Mapping[str, str],
    go_live: Mapping[str, float],
    exposure: pd.DataFrame,
    *,
    share: bool,
    per: float = 1.0,
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
    per : float
        Unit of exposure to which rates are printed: 100 for events per 100 person-months.

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
        ax = figure.add_axes((0.062, _FOOT / height, 0.928, 1 - (_HEAD + _FOOT - 0.12) / height))
        step_x, step_y = (1 + _GAP_X) * len(months), -(1 + _GAP_Y) * top
        ends: list[tuple[float, float]] = []
        for k, site in enumerate(sites):
            at = (k % columns * step_x, k // columns * step_y)
            ends.append(at)
            _panel(ax, by_site[site].reindex(months), go_live.get(site, math.nan), at, top)
            when, rate, cases = dots[site]
            sizes = cases / largest if not exposure.empty else None
            _scatter(ax, when + at[0], np.where(rate <= top, rate, np.nan) + at[1], sizes)
            title = f"{shorten(site, 18)} · tier {tiers.get(site) or '?'}"
            middle = at[0] + len(months) / 2
            ax.text(middle, at[1] + 1.03 * top, title, ha="center", va="bottom")
        _scales(ax, ends, months, top, per, share=share)
        ax.set_xlim(-0.5, columns * step_x - _GAP_X * len(months))
        ax.set_ylim((rows - 1) * step_y - 0.16 * top, 1.16 * top)
        ax.set_axis_off()
        _legend(figure, step, with_sizes=not exposure.empty)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, start: float, at: tuple[float, float], top: float) -> None:
    """Draw one site into its place: all panels share one pair of axes, which costs a tenth."""
    x, y = at
    n = len(rows)
    if math.isfinite(start) and start < n:
        since = max(start, 0.0) - 0.5 + x
        ax.fill_between([since, x + n - 0.5], y, y + top, color=_SHADE, lw=0, zorder=0)
        if start >= 0:
            ax.vlines(since, y, y + top, color=INK, lw=0.9, zorder=3)
    t = np.arange(n) + x
    mean, lower, upper = (
        np.clip(rows[k].to_numpy(float), None, top) + y for k in ("mean", "lower", "upper")
    )
    ax.fill_between(t, lower, upper, color=BAND, alpha=0.55, lw=0, zorder=1)
    ax.plot(t, mean, color=REFERENCE, lw=1.0, zorder=2)


def _scales(
    ax: Axes,
    ends: list[tuple[float, float]],
    months: list[str],
    top: float,
    per: float,
    *,
    share: bool,
) -> None:
    """Axis lines and numbers of every panel: values at the left, years below each column."""
    n, lowest = len(months), {x: y for x, y in ends}
    frames = [[(x - 0.5, y + top), (x - 0.5, y), (x + n - 0.5, y)] for x, y in ends]
    ax.add_collection(LineCollection(frames, colors=MUTED, linewidths=0.6, zorder=5))
    values = [v for v in MaxNLocator(3).tick_values(0, top * per) if 0 <= v <= top * per]
    years = _years(months)
    ticks = [
        [(x - 0.5, y + v / per), (x - 0.5 - 0.015 * n, y + v / per)]
        for x, y in ends
        for v in values
    ]
    ticks += [[(x + i, y), (x + i, y - 0.025 * top)] for x, y in ends for i in years]
    ax.add_collection(LineCollection(ticks, colors=MUTED, linewidths=0.6, clip_on=False))
    for x, y in ends:
        for value in values if x == 0 else ():
            text = f"{100 * value:g}%" if share else f"{value:g}"
            place = (x - 0.5 - 0.025 * n, y + value / per)
            ax.text(*place, text, ha="right", va="center", fontsize=7.5)
        for i in years if lowest[x] == y else ():
            ax.text(x + i, y - 0.04 * top, months[i][:4], ha="center", va="top", fontsize=7.5)


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


def _years(months: list[str]) -> list[int]:
    januaries = [i for i, m in enumerate(months) if m.endswith("-01")]
    return januaries[:: max(1, math.ceil(len(januaries) / 4))] or [0]


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
