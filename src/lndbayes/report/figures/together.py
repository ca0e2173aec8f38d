"""All outcomes in one figure: pooled effects as ratios, and their course over event time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from lndbayes.base.vocabulary import EffectVerdict
from lndbayes.report.figures.style import BAND, INK, MUTED, REFERENCE, WIDTH, shorten, styled

__all__ = ["course_panels", "overview_intervals"]

_CLAIMS = frozenset(word for word in EffectVerdict if word.sign)
_ROW = 0.27
_TICKS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)


def overview_intervals(overview: pd.DataFrame) -> Figure:
    """Draw the pooled ratio of every outcome with its interval and what it says, in words.

    Parameters
    ----------
    overview : pandas.DataFrame
        Columns ``label``, ``median``, ``lower``, ``upper`` (ratios), ``margin_low``,
        ``margin_high``, ``verdict``, ``tier_a`` to ``tier_d``. A row without numbers is listed
        without a mark. A margin that is NaN in a row with numbers has no end on that side.

    Returns
    -------
    Figure
        One row an outcome, in the order given.
    """
    with styled():
        height = 0.75 + _ROW * len(overview)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        drawn = overview[overview["median"].notna()]
        low, high = _ends(drawn)
        _margins(axes, overview, low, high)
        axes.axvline(1.0, color=INK, lw=0.8)
        for y, row in enumerate(overview.to_dict("records")):
            if not math.isnan(float(row["median"])):
                strong = row["verdict"] in _CLAIMS
                axes.plot([row["lower"], row["upper"]], [y, y], color=REFERENCE, lw=1.6)
                axes.plot(
                    [row["median"]],
                    [y],
                    marker="o",
                    ms=5,
                    color=REFERENCE,
                    mfc=REFERENCE if strong else "white",
                )
            axes.text(
                1.02,
                y,
                _said(row),
                transform=axes.get_yaxis_transform(),
                va="center",
                fontsize=6.8,
                linespacing=0.95,
            )
        axes.set_yticks(range(len(overview)), [shorten(str(x), 30) for x in overview["label"]])
        axes.set_ylim(len(overview) - 0.4, -0.6)
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        ticks = [t for t in _TICKS if low <= t <= high]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{t:g}" for t in ticks])
        axes.set_xlabel("ratio with the service to without (1 = no effect); grey: counts as none")
        return figure


def _ends(drawn: pd.DataFrame) -> tuple[float, float]:
    """Ends of the axis: all intervals and a little more, at least some 15% to either side."""
    ends = drawn[["lower", "upper"]].to_numpy(float).ravel()
    return 0.97 * float(np.min([*ends, 0.85])), 1.03 * float(np.max([*ends, 1.15]))


def _margins(axes: Axes, overview: pd.DataFrame, low: float, high: float) -> None:
    """Shade what counts as none in rows with numbers; to an end of the axis where it has none."""
    for y, row in enumerate(overview.to_dict("records")):
        if math.isnan(float(row["median"])):
            continue
        ends = [float(row["margin_low"]), float(row["margin_high"])]
        first, last = np.where(np.isfinite(ends), ends, (low, high))
        axes.barh(y, last - first, left=first, height=1.0, color="#e6e6e6", lw=0, zorder=0)


def _said(row: Mapping[Any, Any]) -> str:
    tiers = " ".join(f"{int(row[f'tier_{t}'])}{t.upper()}" for t in "abcd" if row[f"tier_{t}"] > 0)
    return f"{row['verdict']}\n[{tiers}]"


def course_panels(course: pd.DataFrame) -> Figure:
    """Draw the pooled effect by stretches of event time, a panel an outcome.

    Parameters
    ----------
    course : pandas.DataFrame
        Columns ``outcome``, ``window`` (such as ``0-2``), ``median``, ``lower``, ``upper``, link
        scale.

    Returns
    -------
    Figure
        Intervals over event months; the axes of all panels are alike across and not down.
    """
    outcomes = list(dict.fromkeys(course["outcome"]))
    columns = 3
    rows = -(-len(outcomes) // columns)
    with styled():
        figure = Figure(figsize=(WIDTH, 0.35 + 1.35 * rows), layout="constrained")
        panels = np.atleast_1d(figure.subplots(rows, columns, sharex=True, squeeze=False)).ravel()
        for axes, outcome in zip(panels, outcomes, strict=False):
            part = course[course["outcome"] == outcome]
            for row in part.to_dict("records"):
                first, last = (int(x) for x in str(row["window"]).split("-"))
                axes.fill_between(
                    [first, last + 1], row["lower"], row["upper"], color=BAND, alpha=0.6, lw=0
                )
                axes.plot([first, last + 1], [row["median"]] * 2, color=REFERENCE, lw=1.4)
            axes.axhline(0, color=INK, lw=0.6)
            axes.set_title(shorten(str(outcome).replace("_", " "), 30), loc="left")
        for axes in panels[len(outcomes) :]:
            axes.set_visible(False)
        for axes in panels[max(len(outcomes) - columns, 0) : len(outcomes)]:
            axes.tick_params(labelbottom=True)
        figure.supxlabel("months after go-live", color=MUTED, fontsize=8)
        figure.supylabel("effect, link scale", color=MUTED, fontsize=8)
        return figure
