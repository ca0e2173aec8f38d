"""Section on placebo go-lives: what the same method finds where nothing happened."""

from __future__ import annotations

import pandas as pd

from lndbayes.base.vocabulary import PlaceboRow
from lndbayes.report.blocks import Block, Group, Items, Paragraph, Section, Table, not_available
from lndbayes.report.lookup import Row, outcome_label
from lndbayes.report.rounding import percent, show, significant, typeset
from lndbayes.report.run import Run

__all__ = ["placebo_section"]

_TITLE = "What the method finds where nothing happened"
_TEXT = (
    "Sites with at least two years before the service are treated as if it had started 12 months "
    "before it did, and every month with the service is left out. The same model then looks for an "
    "effect 7 to 12 months after that date. Nothing happened there, so a ratio of 1 is right, and "
    "what is found is error. Nine in ten intervals should hold 1. Sites differ even so, since "
    "counts are counts: the table sets the spread that is seen beside the one that noise alone "
    "would give, and tells what is left beyond it."
)
_NOTE = (
    "Spreads are standard deviations over sites on the log scale: 0.05 is about 5%. Beyond noise: "
    "what sites' errors do not explain; an interval that begins at 0 says that noise may explain "
    "all. Largest: the error of the site that is furthest off, with its noise taken off; where "
    "sites are few and uncertain it is what cannot be ruled out. Compare it with the bias at which "
    "a conclusion would fall, and the spread with the drift that the model allows for."
)


def placebo_section(run: Run) -> Section:
    """What placebo go-lives show of each outcome, and where they could not be had.

    Parameters
    ----------
    run : Run
        The run.
    """
    table = run.placebo
    if table is None or table.empty:
        why = run.missing.get("placebo.csv", "placebo.csv has no rows")
        return not_available("placebo", _TITLE, why)
    rows, absent = [], []
    for outcome, part in table.groupby("outcome", sort=False):
        label = outcome_label(run, str(outcome))
        if (part["status"] == "NOT RUN").any():
            absent.append(typeset(f"{label}: not run: {part['note'].iloc[0]}."))
        else:
            rows.append(_row(label, part))
    blocks: list[Block] = [Paragraph(_TEXT)]
    if rows:
        ci = percent(float(table["ci_prob"].iloc[0]))
        columns = ("Outcome", "Placebo effect, ratio", f"{ci} interval", "Sites that hold 1")
        spreads = ("Spread seen", "From noise", "Beyond noise", "Largest")
        blocks.append(
            Table(
                caption=f"Placebo go-lives: effects that should be 1, with {ci} intervals",
                columns=(*columns, *spreads),
                groups=(Group("", tuple(rows)),),
                numeric=frozenset(range(1, 8)),
                note=_NOTE,
            )
        )
    if absent:
        blocks.append(Items(tuple(absent)))
    return Section("placebo", _TITLE, tuple(blocks))


def _row(label: str, part: pd.DataFrame) -> tuple[str, ...]:
    by: dict[str, Row] = {
        str(row["quantity"]): row
        for row in part.to_dict("records")
        if row["quantity"] != PlaceboRow.SITE
    }
    pooled = by[PlaceboRow.POOLED]
    shown = show(
        pooled["median"], pooled["lower"], pooled["upper"], pooled["median"] * pooled["sd"]
    )
    sites = part[part["quantity"] == PlaceboRow.SITE]
    held = int((sites["holds_zero"] == "True").sum())
    spread, largest = (by[name] for name in (PlaceboRow.SPREAD, PlaceboRow.LARGEST))
    return (
        label,
        shown.point,
        shown.interval,
        f"{held} of {len(sites)}",
        *(significant(float(by[n]["median"]), 2) for n in (PlaceboRow.OBSERVED, PlaceboRow.NOISE)),
        _with_interval(spread),
        _with_interval(largest),
    )


def _with_interval(row: Row) -> str:
    point, low, high = (significant(float(row[k]), 2) for k in ("median", "lower", "upper"))
    return f"{point} ({low} to {high})"
