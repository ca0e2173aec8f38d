"""Section on what comparison alone says of one outcome, without the model."""

from __future__ import annotations

import math

from lndbayes.report.blocks import Block, Paragraph, Section
from lndbayes.report.figures.event_study import event_study
from lndbayes.report.lookup import Row, overview_row, withheld
from lndbayes.report.pictures import picture_of
from lndbayes.report.rounding import percent
from lndbayes.report.run import Run

__all__ = ["comparison_section"]

_NAMES = {"imputation": "imputation", "group_time": "group-time effects"}


def comparison_section(run: Run, outcome: str) -> Section | None:
    """Imputation and group-time effects beside the posterior, and the event study.

    Returns
    -------
    Section or None
        None where no effect is stated of the outcome, or the run was made without these columns.
    """
    row = overview_row(run, outcome)
    if withheld(run, outcome) or row is None or "compared_note" not in row:
        return None
    blocks: list[Block] = [Paragraph(_sentence(row))]
    table = run.event_study
    rows = None if table is None else table[table["outcome"] == outcome]
    if rows is not None and len(rows):
        ci = percent(float(rows["ci_prob"].iloc[0]))
        picture = picture_of(
            event_study(rows),
            alt=f"Points with {ci} intervals by month from go-live, before it and after; over them "
            "the model's course, a line in a band.",
            caption=f"Group-time effects by month from go-live, each with its own {ci} interval, "
            "and the posterior of the model's course. Months before go-live check the comparison: "
            "they should scatter about 1. The start-up months are left out. Which sites are "
            "compared changes from month to month, the model's course is of all treated sites; "
            "intervals that run off the axis are cut.",
            pixels=True,
        )
        blocks.append(picture)
    return Section(f"comparison-{outcome}", "What comparison alone says", tuple(blocks))


def _sentence(row: Row) -> str:
    """Both estimates beside the model's, or why there are none."""
    note = str(row["compared_note"])
    parts = [_estimate(row, name) for name in _NAMES]
    told = "; ".join(part for part in parts if part)
    if not told:
        return f"Comparison with untreated sites and months gives no estimate: {note}."
    ci = percent(float(row["ci_prob"]))
    model = f"the model's is {_ratio(row['median'], row['lower'], row['upper'])}"
    return (
        f"Without the model, by difference of differences on those cells that have untreated sites "
        f"to compare with, the {row['scale']} ({ci} interval) is: {told}. Over all cells {model}."
        + (f" To be known: {note}." if note else "")
    )


def _estimate(row: Row, name: str) -> str:
    numbers = [float(row[f"{name}_{end}"]) for end in ("ratio", "lower", "upper")]
    if math.isnan(numbers[0]):
        return ""
    share = percent(float(row[f"{name}_share"]))
    return f"{_NAMES[name]} {_ratio(*numbers)} on {share} of the cells of the pooled effect"


def _ratio(point: float, lower: float, upper: float) -> str:
    return f"{point:.2f} ({lower:.2f} to {upper:.2f})"
