"""Sections on comparisons and checks that go beyond one outcome's fit."""

from __future__ import annotations

import math

import pandas as pd

from lndbayes.report.blocks import Group, Paragraph, Section, Table, not_available
from lndbayes.report.figures.pieces import before_after_steps
from lndbayes.report.lookup import outcome_label, parts
from lndbayes.report.pictures import picture_of
from lndbayes.report.rounding import number, percent, show, significant, typeset
from lndbayes.report.run import Run

__all__ = ["backtest_section", "before_after_section", "joint_section", "powerscale_section"]

_PARTS = {
    "plain": "Plain before-after",
    "effect": "of which the service",
    "artefact": "of which crisis and selection",
    "time": "of which change over time",
}


def before_after_section(run: Run) -> Section:
    """What a plain before-after of persons would have shown, and what it is made of.

    Returns
    -------
    Section
        A figure and a table; one sentence where no outcome has histories of persons.
    """
    title = "The plain before-after comparison"
    table = run.before_after
    if table is None or table.empty:
        why = run.missing.get("before_after.csv", "no outcome has histories of persons")
        return not_available("before-after", title, why)
    text = (
        "People meet the service in a crisis, so their own past year is worse than usual and they "
        "would have got better without it: a comparison of the same persons before and after takes "
        "that for an effect. The model keeps the crisis apart; below, the comparison that it does "
        "not make, and what it is made of."
    )
    names = {o: outcome_label(run, o) for o in run.outcomes}
    ci = percent(float(table["ci_prob"].iloc[0]))
    picture = picture_of(
        before_after_steps(table, names),
        alt="A panel an outcome: bars for the service, for crisis and selection and for change "
        "over time, one after another, and below them the plain comparison that they add up to.",
        caption="Posterior means, which add up: each bar begins where the one above it ends, and "
        f"the last is all of them together. Lines: {ci} intervals of each part.",
    )
    return Section("before-after", title, (Paragraph(text), picture, _pieces(table, names, ci)))


def _pieces(table: pd.DataFrame, names: dict[str, str], ci: str) -> Table:
    groups = []
    for outcome, part in table.groupby("outcome", sort=False):
        rows = []
        for row in part.to_dict("records"):
            shown = show(*parts(row))
            name = _PARTS.get(str(row["part"]), str(row["part"]))
            rows.append((name, shown.point, shown.interval))
        title = names.get(str(outcome), str(outcome))
        groups.append(Group(f"{title} ({part['unit'].iloc[0]})", tuple(rows)))
    return Table(
        caption="Twelve months before referral against the window with the service",
        columns=("Part", "Median", f"{ci} interval"),
        groups=tuple(groups),
        numeric=frozenset({1, 2}),
        note="Crisis and selection: what the comparison shows also where the service does nothing. "
        "The service: at the sites that have histories of persons, so not the pooled effect. The "
        "parts add up in every draw; their medians nearly.",
    )


def powerscale_section(run: Run) -> Section | None:
    """How much each prior and each source bears on the pooled effect; None without the table."""
    table = run.powerscale
    if table is None or table.empty:
        return None
    table = table[~table["outcome"].isin(run.selected)]
    groups = []
    for outcome, part in table.groupby("outcome", sort=False):
        rows = tuple(
            (
                f"{str(r['term']).replace('_', ' ').capitalize()} ({r['kind']})",
                significant(float(r["sensitivity"]), 2),
                str(r["status"]),
                typeset(str(r["message"])),
            )
            for r in part.to_dict("records")
            if math.isfinite(float(r["sensitivity"])) or math.isfinite(float(r["pareto_k"]))
        )
        if rows:
            groups.append(Group(outcome_label(run, str(outcome)), rows))
    text = (
        "Each prior and each source of evidence is made a little stronger and weaker, and the "
        "pooled effect watched. Terms that a fit does not have are left out."
    )
    shown = Table(
        caption="Answer of the pooled effect to priors and sources",
        columns=("Term", "Sensitivity", "Status", "What it says"),
        groups=tuple(groups),
        numeric=frozenset({1}),
        note="Sensitivity: distance between the pooled effect's distributions per doubling of the "
        "term's weight (power-scaling); from 0.05 on a term counts.",
    )
    return Section("powerscale", "What bears on the effects", (Paragraph(text), shown))


def joint_section(run: Run) -> Section | None:
    """Correlation of sites' effects between outcomes; None without the table."""
    table = run.joint_correlation
    if table is None or table.empty:
        return None
    rows = []
    for row in table.to_dict("records"):
        pair = [outcome_label(run, str(row[f"outcome_{i}"])) for i in (1, 2)]
        found = _span(row["lower"], row["upper"])
        prior = _span(row["prior_lower"], row["prior_upper"])
        rows.append((" and ".join(pair), number(float(row["mean"]), 2), found, prior))
    ci = percent(float(table["ci_prob"].iloc[0]))
    text = (
        "Whether sites with a larger effect on one outcome have a larger one on another, from a "
        "joint model of the sites' effects. Where an interval is nearly as wide as the prior's, "
        "the data have said nothing."
    )
    shown = Table(
        caption="Correlation of sites' effects between outcomes",
        columns=("Outcomes", "Mean", f"{ci} interval", "Same interval of the prior"),
        groups=(Group("", tuple(rows)),),
        numeric=frozenset({1, 2, 3}),
    )
    return Section("joint", "Outcomes that move together", (Paragraph(text), shown))


def _span(lower: float, upper: float) -> str:
    return f"{number(float(lower), 2)} to {number(float(upper), 2)}"


def backtest_section(run: Run) -> Section | None:
    """How well hidden untreated months were reconstructed; None without the table."""
    table = run.backtest_summary
    if table is None or table.empty:
        return None
    table = table[table["wave"] == "all"] if (table["wave"] == "all").any() else table
    rows = []
    for row in table.to_dict("records"):
        name = f"{row['method']} ({row['channels']})".replace("_", " ")
        cover = (percent(float(row[k])) for k in ("coverage_50", "coverage_90", "expected_90"))
        seen = float(row["mean_observed"])
        bias = float(row["bias"]) / seen if seen > 0 else math.nan
        cells = number(float(row["cells"]), 0)
        rows.append((name, cells, *cover, percent(bias, 1)))
    text = (
        "Untreated months that were in fact observed were hidden, reconstructed and compared with "
        "what had been seen: an interval of 90% should hold about 90% of them."
    )
    shown = Table(
        caption="Back-test of the baseline, all waves",
        columns=(
            *("Method (evidence)", "Cells", "In 50% interval", "In 90% interval"),
            *("Expected in 90%", "Bias, share of mean rate"),
        ),
        groups=(Group("", tuple(rows)),),
        numeric=frozenset({1, 2, 3, 4, 5}),
    )
    return Section("backtest", "Back-test of the baseline", (Paragraph(text), shown))
