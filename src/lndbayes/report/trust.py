"""Sections on whether to trust the run: checks, priors, assumptions, data notes, provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from lndbayes.report.blocks import (
    Block,
    Group,
    Heading,
    Items,
    Paragraph,
    Section,
    Table,
    Terms,
    not_available,
)
from lndbayes.report.lookup import outcome_label, small_label
from lndbayes.report.prose import ASSUMPTIONS, CONVENTIONS, GLOSSARY, NOT_IDENTIFIED
from lndbayes.report.rounding import percent, significant, typeset
from lndbayes.report.run import STATUSES, Run

__all__ = [
    "assumptions_section",
    "checks_section",
    "glossary_section",
    "notes_section",
    "overall",
    "priors_section",
    "provenance_section",
    "status_counts",
]

_SYMBOLS = {
    "FAIL": "\N{HEAVY BALLOT X}",
    "REVIEW": "\N{BLACK UP-POINTING TRIANGLE}",
    "NOT RUN": "\N{WHITE CIRCLE}",
    "PASS": "\N{HEAVY CHECK MARK}",
}


def overall(run: Run) -> Literal["FAIL", "REVIEW", "PASS"]:
    """One verdict on the run, by the rule of the check battery.

    Returns
    -------
    str
        FAIL if any check fails or an outcome has no check at all: nothing has been checked then.
        REVIEW if any check asks for it or was not run. Else PASS.
    """
    statuses = set(run.checks["status"])
    unchecked = set(run.outcomes) - set(run.checks["outcome"])
    if unchecked or "FAIL" in statuses:
        return "FAIL"
    return "PASS" if statuses == {"PASS"} else "REVIEW"


def status_counts(run: Run) -> str:
    """Count the checks by status, worst first, in words."""
    counts = run.checks["status"].value_counts()
    unchecked = sorted(set(run.outcomes) - set(run.checks["outcome"]))
    text = ", ".join(f"{int(counts.get(s, 0))} {s}" for s in STATUSES)
    return text + (f"; no check at all for {', '.join(unchecked)}" if unchecked else "")


def checks_section(run: Run) -> Section:
    """All checks, worst first, one table an outcome."""
    blocks: list[Block] = [Paragraph(f"{status_counts(run)}.")]
    for outcome, frame in run.checks.groupby("outcome", sort=False):
        groups, name = [], str(outcome)
        for status in STATUSES:
            part = frame[frame["status"] == status]
            rows = tuple(
                (
                    str(row["check"]).replace("_", " "),
                    f"{_SYMBOLS[status]} {status}".replace(" ", "\N{NO-BREAK SPACE}"),
                    significant(str(row["value"])),
                    str(row["threshold"]),
                    typeset(str(row["message"])),
                )
                for row in part.to_dict("records")
            )
            if rows:
                groups.append(Group(f"{status} ({len(rows)})", rows))
        blocks.append(
            Table(
                caption="Checks: "
                + (small_label(outcome_label(run, name)) if name else "the whole run"),
                columns=("Check", "Status", "Value", "Must be", "Message"),
                groups=tuple(groups),
                numeric=frozenset({2}),
            )
        )
    return Section("checks", "Checks", tuple(blocks))


def priors_section(run: Run) -> Section:
    """All priors with their implied ranges."""
    if run.priors is None or run.priors.empty:
        why = run.missing.get("priors.csv", "priors.csv has no rows")
        return not_available("priors", "Priors", why)
    frame = run.priors
    by = "outcome" if "outcome" in frame else None
    parts = frame.groupby(by, sort=False) if by else [("", frame)]
    groups = []
    for outcome, part in parts:
        rows = tuple(
            (
                _slot(str(row["slot"]), str(row["dims"])),
                str(row["distribution"]),
                *(significant(row[k], 3) for k in ("lower", "median", "upper")),
                str(row["unit"]),
                str(row["note"]),
            )
            for row in part.to_dict("records")
        )
        groups.append(Group(outcome_label(run, str(outcome)), rows))
    ci = frame["ci_prob"].dropna()
    inside = f": {percent(float(ci.iloc[0]))} of the prior lies between lower and upper"
    table = Table(
        caption="Priors" + (inside if len(ci) else ""),
        columns=("Parameter", "Prior", "Lower", "Median", "Upper", "Unit", "Note"),
        groups=tuple(groups),
        numeric=frozenset({2, 3, 4}),
    )
    return Section("priors", "Priors", (table,))


def _slot(name: str, dims: str) -> str:
    words = name.replace("_", " ")
    return words if dims in ("", "scalar") else f"{words} (each {dims})"


def assumptions_section() -> Section:
    """List what is assumed, and what no data of this kind can tell."""
    return Section(
        "assumptions",
        "Assumptions, and what is not identified",
        (
            Paragraph("The results hold if these hold:"),
            Terms(ASSUMPTIONS),
            Heading("Not identified without further evidence"),
            Items(NOT_IDENTIFIED),
        ),
    )


def notes_section(run: Run) -> Section:
    """Notes that reading the data left, if any."""
    stated = run.manifest.get("data_notes")
    notes = tuple(str(n) for n in stated) if isinstance(stated, list) else ()
    absent = tuple(f"{why}." for why in run.missing.values())
    blocks: list[Block] = [
        Items(notes)
        if notes
        else Paragraph(
            "Reading the data left no notes."
            if isinstance(stated, list)
            else "Not available: manifest.json holds no data_notes."
        )
    ]
    if absent:
        blocks += [Heading("Not in this run"), Items(absent)]
    return Section("data-notes", "Data quality notes", tuple(blocks))


def provenance_section(run: Run) -> Section:
    """Everything the manifest and the fits say about how the numbers came about."""
    general: list[tuple[str, str]] = []
    tables: list[Table] = []
    for key, value in run.manifest.items():
        if key == "data_notes":
            continue
        title = str(key).replace("_", " ").capitalize()
        if isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            tables.append(_records_table(title, value))
        elif isinstance(value, Mapping):
            tables.append(_pairs_table(title, list(_flat(value))))
        else:
            general.append((title, _plain(value)))
    for outcome, design in run.fit_facts.items():
        # The spec's text stands in the fit; here its hash is enough
        attrs = {k: _parsed(v) for k, v in sorted(design.attrs.items()) if k != "spec_text"}
        tables.append(_pairs_table(f"Fit of {outcome.replace('_', ' ')}", list(_flat(attrs))))
    if run.money is not None:
        attrs = {str(k): v for k, v in sorted(run.money.attrs.items()) if _plain(v)}
        tables.append(_pairs_table("Savings", list(_flat(attrs))))
    blocks: list[Block] = [Heading("Conventions"), Items(CONVENTIONS), Heading("This run")]
    blocks.append(_pairs_table("General", general))
    return Section("provenance", "Provenance", (*blocks, *tables))


def glossary_section() -> Section:
    """Terms used on the page."""
    return Section("glossary", "Glossary", (Terms(GLOSSARY),))


def _flat(value: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, inner in value.items():
        name = f"{above}{key}"
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{name} / ")
        else:
            yield name, _plain(inner)


def _parsed(value: Any) -> Any:
    """Unpack an attribute that holds JSON; NetCDF attributes cannot nest."""
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    if isinstance(value, float):
        return significant(value) if math.isfinite(value) else ""
    return "" if value is None else str(value)


def _pairs_table(title: str, pairs: list[tuple[str, str]]) -> Table:
    return Table(
        caption=title,
        columns=("Item", "Value"),
        groups=(Group("", tuple(pairs)),),
        breakable=True,
    )


def _records_table(title: str, records: list[Mapping[Any, Any]]) -> Table:
    keys = list(dict.fromkeys(k for record in records for k in record))
    rows = tuple(tuple(_plain(record.get(k)) for k in keys) for record in records)
    numeric = frozenset(
        i
        for i, k in enumerate(keys)
        if i and all(isinstance(r.get(k), int | float | None) for r in records)
    )
    heads = tuple(str(k).replace("_", " ").capitalize() for k in keys)
    return Table(caption=title, columns=heads, groups=(Group("", rows),), numeric=numeric)
