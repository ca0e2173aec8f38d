"""Group-time effects by month from go-live, with the model's course drawn over them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MultipleLocator, NullLocator

from lndbayes.report.figures.style import BAND, INK, MUTED, OBSERVED, REFERENCE, WIDTH, styled

__all__ = ["event_study"]

_RATIOS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0)
_FINE = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5)
#: Ratio beyond which an interval is cut off, to both sides: a month of three sites may span more.
_FARTHEST = 10.0


def event_study(table: pd.DataFrame) -> Figure:
    """Draw observed points with intervals over event time, and the posterior of the course.

    Parameters
    ----------
    table : pandas.DataFrame
        One outcome's rows of ``event_study.csv``: ``event_month``, ``scale``, ``ratio``,
        ``lower``, ``upper``, ``sites``, ``model_median``, ``model_lower``, ``model_upper``, ratios.

    Returns
    -------
    Figure
        A4 wide, a ratio axis; larger dots where more sites are compared.
    """
    with styled():
        figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(1.0, color=INK, lw=0.9, ls=(0, (4, 2)))
        axes.axvline(-0.5, color=INK, lw=0.9)
        points = table[table["ratio"].notna()]
        month = points["event_month"].to_numpy(float)
        low, high = points["lower"].to_numpy(float), points["upper"].to_numpy(float)
        axes.vlines(month, low, high, color=OBSERVED, lw=1.0, alpha=0.75)
        size = 3 + 17 * points["sites"] / points["sites"].max()
        axes.scatter(
            month, points["ratio"], s=size, color=OBSERVED, lw=0, zorder=3,
            label="group-time effect, interval (larger: more sites)",
        )  # fmt: skip
        model = table[table["model_median"].notna()]
        when = model["event_month"].to_numpy(float)
        axes.fill_between(
            when, model["model_lower"], model["model_upper"], color=BAND, alpha=0.45, lw=0,
            zorder=2, label="model's course, interval",
        )  # fmt: skip
        axes.plot(
            when, model["model_median"], color=REFERENCE, lw=1.5, zorder=4, label="its median"
        )
        _ratio_axis(axes, points, model)
        axes.xaxis.set_major_locator(MultipleLocator(6))
        axes.set_xlabel("months from go-live")
        axes.set_ylabel(f"{points['scale'].iloc[0]} (1 = no effect)")
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def _ratio_axis(axes: Axes, points: pd.DataFrame, model: pd.DataFrame) -> None:
    """Logarithmic, wide enough for most intervals and for all points."""
    ends = np.log(points[["lower", "upper"]].to_numpy(float))
    most = [*np.nanquantile(ends, [0.1, 0.9]), *np.log(points["ratio"])]
    most += [*np.log(model[["model_lower", "model_upper"]].to_numpy(float)).ravel(), 0.0]
    limit = math.log(_FARTHEST)
    low, high = (float(np.clip(x, -limit, limit)) for x in (min(most), max(most)))
    pad = 0.06 * (high - low) or 0.05
    axes.set_yscale("log")
    ends_drawn = math.exp(low - pad), math.exp(high + pad)
    ticks = [t for t in _ticks(high - low) if ends_drawn[0] <= t <= ends_drawn[1]]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels([f"{t:g}" for t in ticks])
    axes.set_ylim(*ends_drawn)
    axes.grid(axis="y", color=MUTED, lw=0.4, alpha=0.3)


def _ticks(width: float) -> tuple[float, ...]:
    """Ratios to mark on an axis of so many log units."""
    return _FINE if width < 1.0 else _RATIOS
