"""Dots with intervals: site effects, sensitivity of the pooled effect, mix contrasts."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lndbayes.base.names import words
from lndbayes.base.vocabulary import Tier
from lndbayes.report.figures.style import (
    BAND,
    INK,
    MUTED,
    REFERENCE,
    TIER_MARKS,
    WIDTH,
    shorten,
    styled,
)

__all__ = ["ROWS_PER_PAGE", "caterpillar", "mix_contrasts", "sensitivity"]

#: Most sites in one caterpillar plot: more would not fit an A4 page at a legible size.
ROWS_PER_PAGE = 32
_ROW = 0.235  # inches for one labelled row: 7.5 pt text with air
_PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
_RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 10)


def caterpillar(
    sites: pd.DataFrame, pooled: pd.Series[Any], unit: str, ratio: str | None
) -> list[Figure]:
    """Draw the site effects, largest fall first, with the pooled effect behind them.

    Parameters
    ----------
    sites : pd.DataFrame
        Columns ``site``, ``identified`` (tier A to D), ``median``, ``lower``, ``upper`` on the
        link scale. A tier D row is listed without a mark whatever its numbers are.
    pooled : pd.Series
        ``median``, ``lower``, ``upper`` of the pooled effect.
    unit : str
        Unit of the link scale.
    ratio : str or None
        Name of the exponentiated scale for a second axis (``odds ratio``), None for no such axis.

    Returns
    -------
    list of Figure
        A4 wide, one row a site, at most `ROWS_PER_PAGE` rows each, all with the same axis.
    """
    unshown = (sites["identified"] == Tier.D) | sites["median"].isna()
    drawn = sites[~unshown].sort_values("median", kind="stable").assign(shown=True)
    listed = sites[unshown].sort_values("site", kind="stable").assign(shown=False)
    rows = [*drawn.to_dict("records"), *listed.to_dict("records")]
    ends = [*drawn["lower"], *drawn["upper"], 0.0, pooled["lower"], pooled["upper"]]
    limits = _limits(np.array(ends, dtype=float))
    tiers = set(sites["identified"])
    pages = math.ceil(len(rows) / ROWS_PER_PAGE)
    most = math.ceil(len(rows) / max(pages, 1))
    parts = [rows[i * most : (i + 1) * most] for i in range(pages)]
    return [_caterpillar_page(part, pooled, limits, tiers, (unit, ratio)) for part in parts]


def _caterpillar_page(
    rows: list[dict[Any, Any]],
    pooled: pd.Series[Any],
    limits: tuple[float, float],
    tiers: set[str],
    scale: tuple[str, str | None],
) -> Figure:
    n = len(rows)
    with styled():
        figure = Figure(figsize=(WIDTH, 1.75 + _ROW * max(n, 3)), layout="constrained")
        ax = figure.add_subplot()
        ax.set_xlim(*limits)
        ax.axvspan(pooled["lower"], pooled["upper"], color=BAND, alpha=0.3, lw=0, zorder=0)
        ax.axvline(pooled["median"], color=REFERENCE, lw=1.2, zorder=1)
        ax.axvline(0, color=INK, lw=0.9, ls=(0, (4, 2)), zorder=1)
        for y, row in enumerate(rows):
            tier = str(row["identified"])
            if not row["shown"]:
                why = "no evidence of its own" if tier == Tier.D else "not available"
                text = f"no interval: {why}"
                ax.text(np.mean(limits), y, text, ha="center", va="center", bbox=_PLATE)
                continue
            marker, colour, filled = TIER_MARKS.get(tier, ("D", MUTED, False))
            _interval(ax, row, y, colour)
            face = colour if filled else "white"
            ax.plot(row["median"], y, marker, color=colour, mfc=face, ms=5, mew=1.1)
        names = [f"{shorten(str(r['site']))}  [{r['identified'] or '?'}]" for r in rows]
        _row_axis(ax, names)
        _effect_axes(ax, *scale)
        _tier_legend(figure, tiers)
    return figure


def sensitivity(variants: pd.DataFrame, unit: str) -> Figure:
    """Draw the pooled effect under each refit, the base fit's interval behind all of them.

    Parameters
    ----------
    variants : pd.DataFrame
        Columns ``variant``, ``label``, ``median``, ``lower``, ``upper``, ``sd``, ``prior_sd``; in
        the order to be drawn.
    unit : str
        Unit of the link scale.

    Returns
    -------
    Figure
        A4 wide, one row a variant; the share of the prior's sd at the right of each.
    """
    n, unit = len(variants), shorten(unit, 40)
    with styled():
        figure = Figure(figsize=(WIDTH, 1.1 + 0.31 * n), layout="constrained")
        ax = figure.add_subplot()
        base = variants[variants["variant"] == "base"]
        for row in base.to_dict("records"):
            ax.axvspan(row["lower"], row["upper"], color=BAND, alpha=0.3, lw=0)
        ax.axvline(0, color=INK, lw=0.9, ls=(0, (4, 2)))
        for y, row in enumerate(variants.to_dict("records")):
            colour = REFERENCE if row["variant"] == "base" else INK
            _interval(ax, row, y, colour)
            ax.plot(
                row["median"], y, "D" if row["variant"] == "base" else "o", color=colour, ms=4.5
            )
            share = row["sd"] / row["prior_sd"] if row["prior_sd"] > 0 else math.nan
            text = f"{100 * share:.0f}%" if math.isfinite(share) else "?"
            ax.text(1.02, y, text, transform=ax.get_yaxis_transform(), va="center")
        ax.text(1.02, -0.95, "sd, % of\nprior's", transform=ax.get_yaxis_transform(), va="bottom")
        _row_axis(ax, [textwrap.fill(shorten(s, 120), 46) for s in variants["label"]])
        ax.set_xlim(*_limits(np.append(variants[["lower", "upper"]].to_numpy(float), 0.0)))
        ax.set_xlabel(f"Pooled effect ({unit}); shaded: interval of the fit as reported")
    return figure


def mix_contrasts(interventions: pd.DataFrame, moves: pd.DataFrame, unit: str) -> Figure:
    """Draw how the effect varies with the mix: above, one against one; below, one against all.

    Parameters
    ----------
    interventions : pd.DataFrame
        Columns ``intervention``, ``median``, ``lower``, ``upper``: difference in a site's effect
        per 10 percentage points more of one intervention.
    moves : pd.DataFrame
        The same columns, for 10 percentage points moved; ``intervention`` is ``a -> b``.
    unit : str
        Unit of the link scale.

    Returns
    -------
    Figure
        One or two panels, each with its own axis: the two quantities differ in size.
    """
    unit = shorten(unit, 40)
    panels = [
        (moves, f"Contacts moved from the first to the second ({unit})", True),
        (interventions, f"More of one, less of all others in proportion ({unit})", False),
    ]
    panels = [p for p in panels if len(p[0])]
    # Ten interventions have 45 pairs: rows move closer rather than run off the page
    row_height = max(min(_ROW, 7.5 / sum(len(p[0]) for p in panels)), 0.14)
    heights = [0.6 + row_height * len(p[0]) for p in panels]
    with styled():
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.2), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, (frame, label, main) in _pairs(axes, panels):
            colour = REFERENCE if main else MUTED
            ax.axvline(0, color=INK, lw=0.9, ls=(0, (4, 2)))
            for y, row in enumerate(frame.to_dict("records")):
                _interval(ax, row, y, colour)
                ax.plot(row["median"], y, "o" if main else "s", color=colour, ms=4.5)
            _row_axis(ax, [_arrow(s) for s in frame["intervention"]])
            ax.set_xlim(*_limits(np.append(frame[["lower", "upper"]].to_numpy(float), 0.0)))
            ax.set_xlabel(label)
    return figure


def _arrow(name: str) -> str:
    parts = [shorten(words(p), 24) for p in name.split(" -> ")]
    return " \N{RIGHTWARDS ARROW} ".join(parts)


def _pairs(left: Any, right: Any) -> Any:
    return zip(left, right, strict=True)


def _limits(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    pad = 0.05 * (high - low) or 0.1
    return low - pad, high + pad


def _interval(ax: Axes, row: Mapping[Any, Any], y: float, colour: str) -> None:
    ax.plot([row["lower"], row["upper"]], [y, y], color=colour, lw=1.4, solid_capstyle="butt")


def _row_axis(ax: Axes, names: list[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color="#e2e2e2", lw=0.5)


def _effect_axes(ax: Axes, unit: str, ratio: str | None) -> None:
    ax.set_xlabel(
        f"Effect in the window ({shorten(unit, 40)})\n"
        "\N{LEFTWARDS ARROW} lower with the service     "
        "higher with the service \N{RIGHTWARDS ARROW}"
    )
    if ratio is None:
        return
    low, high = ax.get_xlim()
    top = ax.twiny()
    top.set_xlim(low, high)
    ticks = [r for r in _RATIOS if low <= math.log(r) <= high]
    # Close ratios would print over one another on a wide axis
    kept: list[float] = []
    for r in ticks:
        if r == 1.0 or not kept or math.log(r / kept[-1]) > 0.055 * (high - low):
            if r == 1.0 and kept and math.log(r / kept[-1]) <= 0.055 * (high - low):
                kept.pop()
            kept.append(r)
    top.set_xticks([math.log(r) for r in kept], [f"{r:g}" for r in kept])
    top.spines["top"].set_visible(True)
    top.set_xlabel(f"{ratio.capitalize()} (1 = no effect)")


def _tier_legend(figure: Figure, tiers: set[str]) -> None:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=c, marker=m, mfc=c if f else "white", ms=5, lw=1.3, label=f"tier {t}")
        for t, (m, c, f) in TIER_MARKS.items()
        if t != Tier.D and t in tiers
    ]
    handles += [
        Line2D([], [], color=REFERENCE, lw=1.2, label="pooled effect"),
        Patch(color=BAND, alpha=0.3, lw=0, label="its interval"),
        Line2D([], [], color=INK, lw=0.9, ls=(0, (4, 2)), label="no effect"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
