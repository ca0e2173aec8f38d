"""Section on savings."""

from __future__ import annotations

import pandas as pd

from lndbayes.money.rules import ALL
from lndbayes.money.tables import INTERACTIONS, explain_total
from lndbayes.report.blocks import Block, Group, Paragraph, Section, Table, not_available
from lndbayes.report.figures import savings_histogram
from lndbayes.report.lookup import Row, parts, quoted
from lndbayes.report.money import (
    comparison,
    headline,
    headline_scenario,
    label,
    line_rows,
    no_saving,
    savings_notes,
    scenario_rows,
    total_draws,
)
from lndbayes.report.pictures import picture_of
from lndbayes.report.rounding import money, percent, probability
from lndbayes.report.run import Run

__all__ = ["savings_section"]


def savings_section(run: Run) -> Section:
    """Total saving, its distribution, its lines, its scenarios and what makes it wide."""
    row = headline(run)
    if row is None:
        return not_available("savings", "Savings", no_saving(run))
    shown = money(*parts(row))
    ci = percent(row["ci_prob"])
    scenario = label(run, "scenario", headline_scenario(run))
    blocks: list[Block] = [
        Paragraph(
            f"Total over all sites, lines and payers, scenario "
            f"{quoted(scenario)}, {row['price_year']} prices: median "
            f"{shown.point} ({ci} interval {shown.interval}), probability of being above zero: "
            f"{probability(row['p_positive'])}."
        ),
        *_picture(run, row, ci),
        *_against_published(run, row),
        _lines(run, ci, scenario),
        _scenarios(run, ci),
        *_drivers(run, scenario),
        *(Paragraph(f"{note[:1].upper()}{note[1:]}.") for note in savings_notes(run)),
    ]
    return Section("savings", "Savings", tuple(blocks))


def _picture(run: Run, row: Row, ci: str) -> list[Block]:
    draws = total_draws(run)
    if draws is None:
        return [Paragraph(f"The distribution is not shown: {run.missing['savings.nc']}.")]
    outside = comparison(run)
    ends = (outside.low, outside.high) if outside else None
    figure = savings_histogram(draws, row["median"], row["lower"], row["upper"], ends)
    ours = money(*parts(row))
    bracket = ""
    if outside:
        theirs = money(outside.low, outside.low, outside.high)
        bracket = f" A bracket apart from it marks the published range {theirs.interval}."
    return [
        picture_of(
            figure,
            alt=f"Histogram of the total saving: median {ours.point}, {ci} interval "
            f"{ours.interval}.{bracket}",
            caption=f"Total saving, central 99% of the draws; blue: the {ci} interval, vertical "
            f"line: median {ours.point}.",
        )
    ]


def _against_published(run: Run, row: Row) -> list[Block]:
    outside = comparison(run)
    if outside is None:
        return []
    theirs = money(outside.low, outside.low, outside.high)
    ours = money(*parts(row))
    if row["upper"] < outside.low:
        where = "lies wholly below it"
    elif row["lower"] > outside.high:
        where = "lies wholly above it"
    else:
        where = "overlaps it"
    return [
        Paragraph(
            f"{outside.label}: {theirs.interval} ({outside.source}). {_sentence(outside.note)} It "
            "is an outside comparison and was not a target of anything here; what it counts may "
            "differ, so that agreement or disagreement proves little. The interval of this "
            f"evaluation, {ours.interval}, {where}.",
            style="warning",
            label="Not the same quantity.",
        )
    ]


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def _cells(row: Row) -> tuple[str, str, str]:
    shown = money(*parts(row))
    return shown.point, shown.interval, probability(row["p_positive"], short=True)


def _cashable(text: str) -> str:
    return {"true": "yes", "false": "no"}.get(text.strip().lower(), text or "not stated")


def _lines(run: Run, ci: str, scenario: str) -> Table:
    frame = line_rows(run)
    groups = []
    for outcome, part in frame.groupby("outcome", sort=False):
        rows = []
        for row in part.to_dict("records"):
            payer = label(run, "payer", str(row["payer"]))
            line = label(run, "line", str(row["line"]))
            rows.append((line, payer, _cashable(str(row["cashable"])), *_cells(row)))
        groups.append(Group(_capital(str(outcome)), tuple(rows)))
    return Table(
        caption=f"Savings by line, all sites, scenario {quoted(scenario)} "
        "(positive: less is spent)",
        columns=("Line", "Payer", "Cashable", "Median", f"{ci} interval", "Probability above zero"),
        groups=tuple(groups),
        numeric=frozenset({3, 4, 5}),
        note="Cashable: a public budget bears it and could release the money. Rows are summaries "
        "and need not add up; the total is summed within each draw.",
    )


def _scenarios(run: Run, ci: str) -> Table:
    frame = scenario_rows(run)
    groups = []
    for scenario, part in frame.groupby("scenario", sort=False):
        rows = []
        for row in _ordered(part).to_dict("records"):
            what = "All lines" if row["line"] == ALL else "All cashable lines"
            payer = "all" if row["payer"] == ALL else label(run, "payer", str(row["payer"]))
            rows.append((what, payer, *_cells(row)))
        title = label(run, "scenario", str(scenario))
        first = " (reported first)" if scenario == headline_scenario(run) else ""
        groups.append(Group(f"Scenario: {title}{first}", tuple(rows)))
    return Table(
        caption="Total saving by scenario and payer, all sites",
        columns=("Sum of", "Payer", "Median", f"{ci} interval", "Probability above zero"),
        groups=tuple(groups),
        numeric=frozenset({2, 3, 4}),
        note="Scenarios are choices, such as which prison cost to count. They are not averaged.",
    )


def _ordered(part: pd.DataFrame) -> pd.DataFrame:
    whole = (part["line"] == ALL) & (part["payer"] == ALL)
    return pd.concat([part[whole], part[~whole]])


def _drivers(run: Run, scenario: str) -> list[Block]:
    if run.money is None:
        return [Paragraph(f"What makes it wide is not available: {run.missing['savings.nc']}.")]
    table = explain_total(run.money)
    rows = []
    for row in table.to_dict("records"):
        name = str(row["factor"])
        words = "Several of these acting together" if name == INTERACTIONS else _driver(name)
        rows.append((words, percent(float(row["share"]))))
    return [
        Table(
            caption=f"What makes the total's interval wide, scenario {quoted(scenario)}",
            columns=("Unknown", "Share of variance"),
            groups=(Group("", tuple(rows)),),
            numeric=frozenset({1}),
            note="Share of the variance of the total that would go if this one were known "
            "(first-order). The last row is what no single unknown explains; sampling error can "
            "make it slightly negative.",
        )
    ]


def _driver(name: str) -> str:
    if name.startswith("averted: "):
        return f"Events averted: {name.removeprefix('averted: ').replace('_', ' ')}"
    return _capital(name)


def _capital(name: str) -> str:
    """Name in words, its own capitals kept."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]
