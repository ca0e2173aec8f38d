"""Sections on all outcomes together: verdicts, course, before-after, bounds, tipping points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lndbayes.base.vocabulary import EffectVerdict
from lndbayes.report.answer import effect_sentence
from lndbayes.report.blocks import Block, Group, Items, Paragraph, Section, Table, not_available
from lndbayes.report.figures.together import course_panels, overview_intervals
from lndbayes.report.lookup import outcome_label, overview_row, small_label, withheld
from lndbayes.report.pictures import picture_of
from lndbayes.report.rounding import ABSENT, percent, probability, show, typeset
from lndbayes.report.run import Run

__all__ = [
    "bounds_section",
    "course_section",
    "false_claims",
    "overview_section",
    "overview_sentences",
    "quality_section",
    "tipping_section",
    "verdict_line",
]

_ORDER = tuple(EffectVerdict)
_SAID = {
    EffectVerdict.LOWERS: "The service lowers {what}.",
    EffectVerdict.LOWERS_LITTLE: "It lowers {what}, by less than the margin that counts as none.",
    EffectVerdict.RAISES: "It raises {what}.",
    EffectVerdict.RAISES_LITTLE: "It raises {what}, by less than the margin that counts as none.",
    EffectVerdict.SMALL: "There is no more than a small effect on {what}.",
    EffectVerdict.CANNOT_SAY: "The data cannot say whether it changes {what}.",
    EffectVerdict.RECONSTRUCTED: "What is said of {what} rests on reconstructed levels, since most "
    "sites have no untreated month: no effect is claimed.",
    EffectVerdict.CHECK_FAILS: "No effect on {what} is claimed: a check says FAIL.",
    EffectVerdict.BUILD_UP: "What is said of {what} rests on the shape assumed for the build-up: "
    "no effect is claimed.",
    EffectVerdict.UNTESTED: "No effect on {what} is claimed: the refits that would show what it "
    "rests on are not there.",
    EffectVerdict.PRIOR: "What is said of {what} rests on the prior.",
    EffectVerdict.NOT_IDENTIFIED: "No effect can be stated for {what}: see Bounds.",
}


def overview_section(run: Run) -> Section:
    """Where the service does something, where nothing, and where the data cannot say."""
    title = "All outcomes"
    table = run.overview
    if table is None or table.empty:
        why = run.missing.get("overview.csv", "overview.csv has no rows")
        return not_available("together", title, why)
    rank = table["verdict"].map({name: i for i, name in enumerate(_ORDER)}).fillna(len(_ORDER))
    table = table.assign(rank=rank).sort_values("rank", kind="stable").drop(columns="rank")
    ci = percent(float(table["ci_prob"].iloc[0]))
    said = overview_sentences(run)
    picture = picture_of(
        overview_intervals(table),
        alt=f"One row an outcome: pooled ratio with {ci} interval and verdict. {said}",
        caption=f"Pooled effect over the window as a ratio, median and {ci} interval: of odds, of "
        "rates or of hazards, as the table says. Filled marks: an effect is claimed. "
        "Grey: effects that small count as none; the size is set in each spec, in events per 1,000 "
        "exposed (outcome.margin_per_1000). In brackets: sites by tier of identification.",
    )
    each = Items(tuple(effect_sentence(run, str(o)) for o in _stated(table)))
    expected = [Paragraph(text) for text in (false_claims(run),) if text]
    return Section("together", title, (picture, _overview(table, ci), *expected, each))


def false_claims(run: Run) -> str:
    """How many of a run's intervals would leave out zero if none of its outcomes had an effect.

    Empty where fewer than two outcomes have an interval: nobody has chosen among them then.
    """
    table = run.overview
    if table is None or (n := len(_stated(table))) < 2:
        return ""
    each = 1 - float(table["ci_prob"].iloc[0])
    return (
        f"If the service changed none of these {n} outcomes, {n * each:.1f} of their intervals "
        f"would still be expected to leave out no effect ({percent(each)} each) where the model is "
        "right. Rates measured in simulated evaluations, also where it is wrong, are in "
        "docs/broken-worlds.md of the project."
    )


def verdict_line(run: Run, outcome: str) -> str:
    """One line on an outcome, as the overview has it; empty where the run has no overview."""
    row = overview_row(run, outcome)
    if row is None:
        return ""
    if why := withheld(run, outcome):
        return f"{why}."
    if math.isnan(float(row["median"])):
        return f"Verdict: {row['verdict']}."
    bias = f"; tips at {_tips(row)}" if _tips(row) != ABSENT else ""
    return (
        f"Verdict: {row['verdict']}. Pooled {row['scale']} {_ratio(row)}, "
        f"{percent(float(row['ci_prob']))} interval{bias}; sites by tier: {_tiers(row)}."
    )


def _ratio(row: Mapping[Any, Any]) -> str:
    return f"{row['median']:.2f} ({row['lower']:.2f} to {row['upper']:.2f})"


def _tips(row: Mapping[Any, Any]) -> str:
    """Bias that would tip the conclusion, and how many times the largest placebo effect it is.

    Absent where no effect is claimed; a run of before these columns has neither.
    """
    tipping, tolerance = (
        float(row.get(column, math.nan)) for column in ("tipping_bias", "bias_tolerance")
    )
    if math.isnan(tipping):
        return ABSENT
    if math.isnan(tolerance):
        why = str(row.get("bias_tolerance_note") or "no placebo is known")
        return f"a bias of {tipping:.2f} ({why})"
    return f"a bias of {tipping:.2f} ({tolerance:.1f} times the largest placebo effect)"


def _stated(table: pd.DataFrame) -> list[str]:
    return [str(o) for o in table.loc[table["median"].notna(), "outcome"]]


def overview_sentences(run: Run) -> str:
    """Say of all outcomes what the service does, in as many sentences as there are verdicts."""
    if run.overview is None:
        return ""
    table, sentences = run.overview, []
    for verdict in _ORDER:
        names = [small_label(str(x)) for x in table.loc[table["verdict"] == verdict, "label"]]
        if names:
            sentences.append(_SAID[verdict].format(what=_listed(names)))
    return " ".join(sentences)


def _tiers(row: Mapping[Any, Any]) -> str:
    """Sites by tier, where there are any; a number keeps to its letter at a line's end."""
    counts = {t.upper(): int(row[f"tier_{t}"]) for t in "abcd"}
    return ", ".join(f"{n}\N{NO-BREAK SPACE}{t}" for t, n in counts.items() if n) or "none"


def _overview(table: pd.DataFrame, ci: str) -> Table:
    rows = []
    for row in table.to_dict("records"):
        known = not math.isnan(float(row["median"]))
        shown = _ratio(row) if known else ABSENT
        rows.append(
            (
                str(row["label"]),
                str(row["verdict"]),
                str(row["scale"]),
                shown,
                _tips(row),
                probability(float(row["p_below_zero"]), short=True) if known else ABSENT,
                probability(float(row["p_within_margin"]), short=True) if known else ABSENT,
                _tiers(row),
                percent(float(row["identified_share"])),
            )
        )
    return Table(
        caption=f"Pooled effect of every outcome: median ({ci} interval)",
        columns=(
            "Outcome",
            "Verdict",
            "Ratio of",
            "Ratio",
            "Tips at",
            "Probability of a fall",
            "Probability of next to nothing",
            "Sites by tier",
            "Identified by comparison",
        ),
        groups=(Group("", tuple(rows)),),
        numeric=frozenset({3, 5, 6, 8}),
        note="Tips at: the step at go-live, on the scale of the model, that would take a claimed "
        "effect away, as a multiple of the largest effect found where go-live was moved to before "
        "it happened (Rambachan and Roth 2023). Below 1, what has been seen without any service "
        "could have made the claim. Identified by comparison: share of "
        "treated exposure in cells whose site has an "
        "untreated month and whose month has an untreated site. The rest is model and evidence. "
        "Every outcome that was evaluated is listed, whatever it shows; intervals are not adjusted "
        "for their number.",
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def course_section(run: Run) -> Section:
    """How the pooled effect builds up, passes or stays."""
    title = "Course of the effects"
    e = run.effects
    rows = e[(e["estimand"] == "course") & e["median"].notna()]
    if rows.empty:
        why = "effects.csv has no rows by stretches of event time"
        return not_available("course", title, why)
    ci = percent(float(rows["ci_prob"].iloc[0]))
    windows = sorted(dict.fromkeys(rows["window"]), key=lambda w: int(str(w).split("-")[0]))
    body = []
    names = {o: outcome_label(run, o) for o in run.outcomes}
    for outcome in dict.fromkeys(rows["outcome"]):
        part = rows[rows["outcome"] == outcome].set_index("window")
        cells = [
            # many columns: a line may end before the interval, never within it
            f"{_two(part.at[w, 'median'])} ({_two(part.at[w, 'lower'])}\N{NO-BREAK SPACE}to"
            f"\N{NO-BREAK SPACE}{_two(part.at[w, 'upper'])})"
            if w in part.index
            else ABSENT
            for w in windows
        ]
        body.append((names.get(str(outcome), str(outcome).replace("_", " ")), *cells))
    picture = picture_of(
        course_panels(rows.assign(outcome=rows["outcome"].map(lambda o: names.get(o, o)))),
        alt="A panel an outcome: pooled effect with interval by stretches of months after go-live.",
        caption=f"Mean effect over the sites by event months, median and {ci} interval, on the "
        "scale of each model (log odds, log rate, log hazard). The shape between them is the "
        "model's: one build-up for all sites and, where a spec has it, one passing pulse.",
    )
    table = Table(
        caption=f"Pooled effect by months after go-live: median ({ci} interval), link scale",
        columns=("Outcome", *(f"Months {str(w).replace('-', ' to ')}" for w in windows)),
        groups=(Group("", tuple(body)),),
        numeric=frozenset(range(1, len(windows) + 1)),
    )
    return Section("course", title, (picture, table))


def _two(value: float) -> str:
    """Two places, with a minus sign that is one, and none before a zero."""
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "\N{MINUS SIGN}")


def bounds_section(run: Run) -> Section:
    """Outcomes for which only bounds can be given."""
    title = "Bounds"
    table = run.bounds
    if table is None or table.empty:
        why = run.missing.get("bounds.csv", "no outcome is measured among selected people only")
        return Section("bounds", title, (Paragraph(f"Nothing to show: {why}."),))
    blocks: list[Block] = []
    for outcome in dict.fromkeys(table["outcome"]):
        part = table[table["outcome"] == outcome]
        given = small_label(outcome_label(run, str(part["given"].iloc[0])))
        name = outcome_label(run, str(outcome))
        blocks.append(
            Paragraph(
                f"{name} is measured only among people whom the service helps to "
                f"choose ({given}). Their mean moves when other people enter, without anybody's "
                "having changed, so no effect and no interval is stated. The bounds hold for those "
                "who would have been measured either way, whoever the others are.",
                style="warning",
                label="Not identified.",
            )
        )
        rows = [(_bound(row), *_point(row), str(row["note"])) for row in part.to_dict("records")]
        blocks.append(
            Table(
                caption=f"{name}: difference in {part['quantity'].iloc[0]}",
                columns=(
                    "Row",
                    "Median",
                    f"{percent(float(part['ci_prob'].iloc[0]))} interval",
                    "What it is",
                ),
                groups=(Group("", tuple(rows)),),
                numeric=frozenset({1, 2}),
            )
        )
    return Section("bounds", title, tuple(blocks))


def _bound(row: dict[Any, Any]) -> str:
    name = {"low": "Lower bound", "high": "Upper bound", "naive": "All who are measured"}
    return f"{name.get(str(row['bound']), 'Newly measured')} ({row['unit']})"


def _point(row: dict[Any, Any]) -> tuple[str, str]:
    if math.isnan(float(row["median"])):
        return ABSENT, ABSENT
    shown = show(*_five(row))
    return shown.point, shown.interval


def _five(row: dict[Any, Any]) -> tuple[float, float, float, float, float]:
    median, lower, upper, sd = (float(row[k]) for k in ("median", "lower", "upper", "sd"))
    return median, lower, upper, sd, math.nan


def tipping_section(run: Run) -> Section:
    """How wrong the evidence would have to be."""
    title = "How wrong the evidence would have to be"
    table = run.tipping
    if table is None or table.empty:
        why = run.missing.get("tipping.csv", "tipping.csv has no rows")
        return not_available("tipping", title, why)
    blocks: list[Block] = [
        Paragraph(
            "Three errors that no data of this kind can show: a bias of all reconstructed "
            "evidence, a drift of the untreated outcome after go-live, a step in the records at "
            "go-live. For each, the size at which the conclusion would fall. While one of the "
            "first two is tried the other is allowed for within its prior; the third is asked of "
            "the fit as specified."
        )
    ]
    for outcome in dict.fromkeys(table["outcome"]):
        part = table[table["outcome"] == outcome]
        blocks += [
            Paragraph("", label=f"{outcome_label(run, str(outcome))}."),
            Items(tuple(typeset(text) for text in _tipping_texts(part))),
        ]
    return Section("tipping", title, tuple(blocks))


def _tipping_texts(part: pd.DataFrame) -> list[str]:
    """Sentences of an outcome without those that another of them implies.

    What must be off by more than so much before a probability falls to 0.9 must be so before it
    falls to 0.5; and what is at most 0.5 is at most 0.9.
    """
    kept: dict[str, str] = {}
    for row in part.sort_values("threshold", ascending=False, kind="stable").to_dict("records"):
        text, limit = str(row["message"]), f"{float(row['threshold']):g}"
        if "is at most" in text:
            kept[text.replace(limit, "")] = text
        else:
            kept.setdefault(text.replace(f"falls to {limit}", ""), text)
    return list(kept.values())


def quality_section(run: Run) -> Section | None:
    """Rows that an assembly of person-level extracts read, kept and dropped; None without any."""
    table = run.data_quality
    if table is None or table.empty:
        return None
    groups = []
    for name in dict.fromkeys(table["table"]):
        part = table[table["table"] == name]
        rows = tuple(
            (str(r["reason"]), f"{float(r['rows']):,.0f}", f"{float(r['persons']):,.0f}")
            for r in part.to_dict("records")
        )
        groups.append(Group(str(name), rows))
    return Section(
        "data-quality",
        "Data quality",
        (
            Table(
                caption="Rows of person-level extracts by what became of them",
                columns=("Reason", "Rows", "Persons"),
                groups=tuple(groups),
                numeric=frozenset({1, 2}),
                note="Every dropped row has one reason: kept and dropped add up to read.",
            ),
        ),
    )
