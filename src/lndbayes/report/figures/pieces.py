"""A plain before-after comparison taken to pieces, as steps that add up."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lndbayes.report.figures.style import BAND, INK, MUTED, REFERENCE, WIDTH, shorten, styled

__all__ = ["before_after_steps"]

#: Part to (name, colour, hatch): the hatch alone tells them apart in greyscale.
_PARTS = {
    "effect": ("the service", REFERENCE, ""),
    "artefact": ("crisis and selection", "#d0d0d0", "////"),
    "time": ("change over time", BAND, "...."),
    "plain": ("plain before-after", "white", ""),
}
_COLUMNS = 2


def before_after_steps(table: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """Draw each comparison as steps: the parts one after another, and below what they make.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``outcome``, ``part``, ``unit``, ``mean``, ``lower``, ``upper`` of one or more
        outcomes. Means are drawn, since means add up and medians need not.
    labels : dict of str to str
        Outcome to its name; others are shown by what they are called in the table.

    Returns
    -------
    Figure
        A panel an outcome, two beside each other, each with its own axis.
    """
    outcomes = list(dict.fromkeys(table["outcome"]))
    columns = min(_COLUMNS, len(outcomes))
    rows = -(-len(outcomes) // columns)
    with styled():
        figure = Figure(figsize=(WIDTH, 0.2 + 1.45 * rows), layout="constrained")
        panels = np.ravel(figure.subplots(rows, columns, squeeze=False, sharey=True))
        for axes, outcome in zip(panels, outcomes, strict=False):
            part = table[table["outcome"] == outcome].set_index("part")
            end = 0.0
            for y, (name, (_, colour, hatch)) in enumerate(_PARTS.items()):
                if name not in part.index:
                    continue
                row = part.loc[name]
                size = float(row["mean"])
                start = 0.0 if name == "plain" else end
                axes.barh(
                    y, size, left=start, height=0.62, color=colour, hatch=hatch, ec=INK, lw=0.8
                )
                low, high = (start + float(row[k]) for k in ("lower", "upper"))
                axes.plot([low, high], [y, y], color=INK, lw=1.1)
                if name != "plain":
                    end = start + size
                    axes.plot([end, end], [y, y + 1], color=MUTED, lw=0.7, ls=":")
            axes.axvline(0, color=INK, lw=0.8)
            axes.margins(x=0.08)
            axes.use_sticky_edges = False
            axes.set_title(shorten(labels.get(str(outcome), str(outcome)), 34), loc="left")
            axes.set_xlabel(str(part["unit"].iloc[0]))
            axes.set_yticks(range(len(_PARTS)), [name for name, *_ in _PARTS.values()])
            axes.set_ylim(len(_PARTS) - 0.5, -0.5)
        for axes in panels[len(outcomes) :]:
            axes.set_visible(False)
    return figure
