"""Rules that need more than one cell: keys, months, vocabularies, and what a row may hold at once.

Each function takes parsed tables and returns every problem it finds. A cell that is unreadable has
been reported already, and no rule here looks at it again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import pandas as pd

from lndbayes.base.errors import Code, Problem
from lndbayes.data.evidence_rules import check_elicited, check_national, check_spans
from lndbayes.data.facts import Facts
from lndbayes.data.problems import hint
from lndbayes.data.schema import CONTINUOUS
from lndbayes.data.tables import Parsed
from lndbayes.data.texts import check_labels

__all__ = ["check_tables", "kinds_of_outcomes"]

#: Two numbers that were written from the same double.
_SAME = 1e-9

#: Tables whose months must lie inside the evaluated months, and the column that holds them.
_INSIDE = {
    "outcomes": "month",
    "mix": "month",
    "referrals": "month",
    "covariates": "month",
    "retrospective": "month",
    "proxy": "month",
    "history": "calendar_month",
}


def check_tables(tables: Mapping[str, Parsed], facts: Facts | None) -> list[Problem]:
    """Check all tables against each other and the period grid.

    Parameters
    ----------
    tables : mapping of str to Parsed
        The tables that could be read, by stem of their file name.
    facts : Facts or None
        The period grid; without it nothing about months is checked.

    Returns
    -------
    list of Problem
        Every problem found.
    """
    problems: list[Problem] = []
    for parsed in tables.values():
        problems += _check_key(parsed) + check_labels(parsed)
    if facts is not None:
        problems += _check_all_months(tables, facts)
    if "sites" in tables:
        problems += _check_sites(tables)
    if "outcomes" in tables:
        problems += _check_outcome_names(tables)
    checks: dict[str, Callable[[Parsed], list[Problem]]] = {
        "outcomes": _check_outcomes,
        "retrospective": _check_retrospective,
        "proxy": _check_exposure,
        "mix": _check_mix,
        "national": check_national,
        "elicited": check_elicited,
    }
    for name, check in checks.items():
        if name in tables:
            problems += check(tables[name])
    return problems


def kinds_of_outcomes(outcomes: pd.DataFrame) -> dict[str, str]:
    """Tell the counted outcomes from the continuous ones.

    Returns
    -------
    dict of str to {"count", "continuous"}
        By which of the two most of an outcome's filled rows hold.
    """
    continuous = outcomes[list(CONTINUOUS)].notna().any(axis=1)
    counted = outcomes[["count", "count_low", "count_high"]].notna().any(axis=1)
    votes = (continuous.astype(int) - counted.astype(int)).groupby(outcomes["outcome"]).sum()
    return {str(name): "continuous" if vote > 0 else "count" for name, vote in votes.items()}


def _check_key(parsed: Parsed) -> list[Problem]:
    """Check that no two rows share the table's key."""
    key = parsed.table.key
    lines = parsed.frame["row"].to_numpy()
    rows = zip(*(parsed.frame[name].tolist() for name in key), strict=True)
    rule = f"repeats another row: there must be {parsed.table.what}"
    first: dict[tuple[object, ...], int] = {}
    problems = []
    for index, (values, usable) in enumerate(zip(rows, parsed.usable(*key), strict=True)):
        if usable and first.setdefault(values, index) != index:
            told = f"{rule} (first at row {lines[first[values]]})"
            written = ", ".join(str(parsed.text[name][index]) for name in key)
            where = parsed.table.file, told, int(lines[index]), ", ".join(key)
            problems.append(Problem(*where, written, Code.REPEATED_ROW))
    return problems


def _check_all_months(tables: Mapping[str, Parsed], facts: Facts) -> list[Problem]:
    problems = []
    for name, column in (*_INSIDE.items(), ("national", "month"), ("sites", "go_live")):
        if name in tables:
            problems += _check_months(tables[name], column, facts, inside=name in _INSIDE)
    if "national" in tables:
        problems += check_spans(tables["national"], facts)
    return problems


def _check_months(parsed: Parsed, column: str, facts: Facts, *, inside: bool) -> list[Problem]:
    first, last = facts.months[0], facts.months[-1]
    range_rule = f"must be within first_month and last_month, {first} to {last}"
    grid_rule = (
        f"must be the first month of a {facts.period}: a multiple of {facts.step} months from "
        f"first_month, {first}"
    )
    rules: dict[str, str] = {"": ""}
    codes = {range_rule: Code.OUTSIDE_MONTHS, grid_rule: Code.OFF_GRID}
    for month in parsed.frame[column].unique():
        if not month:
            continue
        index = facts.index(month)
        if inside and not 0 <= index <= len(facts.months) - 1:
            rules[month] = range_rule
        else:
            rules[month] = "" if index.is_integer() else grid_rule
    found = _looked_up(parsed.frame[column], rules, "")
    broken = found != ""
    told = list(found[broken])
    return parsed.problems(broken, column, told, [codes[rule] for rule in told])


def _looked_up(values: pd.Series, known: Mapping[str, str], default: str) -> np.ndarray:
    """Entry of every value, shape (row,), as text."""
    return np.array([known.get(value, default) for value in values.tolist()], dtype=object)


def _lists_all(parsed: Parsed, column: str) -> bool:
    """Whether the table's own problems leave out no value of the column."""
    return parsed.whole and bool(parsed.usable(column).all())


def _check_member(
    parsed: Parsed, column: str, known: Collection[str], rule: str, code: Code
) -> list[Problem]:
    """Check that every filled cell is one of `known`, with a suggestion where it is not."""
    values = parsed.frame[column].tolist()
    names = {"", *known}
    unknown = np.array([value not in names for value in values], dtype=bool)
    broken = parsed.usable(column) & unknown
    wrong = [values[row] for row in np.flatnonzero(broken)]
    hints = {value: hint(value, known) for value in set(wrong)}
    return parsed.problems(broken, column, [rule + hints[value] for value in wrong], code)


def _check_sites(tables: Mapping[str, Parsed]) -> list[Problem]:
    """Check that sites are known everywhere, and that some evidence ends at their go-live."""
    sites = tables["sites"].frame
    problems = []
    for name, parsed in tables.items():
        if name != "sites" and "site" in parsed.table.names and _lists_all(tables["sites"], "site"):
            rule = "must be a site of sites.csv"
            problems += _check_member(parsed, "site", sites["site"], rule, Code.UNKNOWN_SITE)
    live = tables["sites"].usable("site", "go_live") & (sites["go_live"] != "").to_numpy(bool)
    without = live & ~tables["sites"].filled("wave")
    rule = "must not be empty at a site that goes live"
    problems += tables["sites"].problems(without, "wave", rule, Code.MISSING_VALUE)
    go_live = dict(zip(sites.loc[live, "site"], sites.loc[live, "go_live"], strict=True))
    dated = (("retrospective", "month"), ("proxy", "month"), ("history", "calendar_month"))
    for name, column in dated:
        if name not in tables:
            continue
        parsed = tables[name]
        limit = _looked_up(parsed.frame["site"], go_live, "9999-12")
        # YYYY-MM texts sort as the months do
        late = parsed.usable("site", column) & (parsed.frame[column].to_numpy(object) >= limit)
        rule = "must be before the site's go-live: this evidence is on the untreated state only"
        found = [f"{rule} (go-live {month})" for month in limit[late]]
        problems += parsed.problems(late, column, found, Code.AFTER_GO_LIVE)
    return problems


def _check_outcome_names(tables: Mapping[str, Parsed]) -> list[Problem]:
    """Check that evidence is about outcomes that exist, of the same kind."""
    outcomes = tables["outcomes"]
    kinds = kinds_of_outcomes(outcomes.frame)
    kinds.pop("", None)
    rule = "must be an outcome of outcomes.csv"
    problems = []
    for name in ("retrospective", "national", "proxy", "history", "elicited"):
        if name in tables and _lists_all(outcomes, "outcome"):
            problems += _check_member(tables[name], "outcome", kinds, rule, Code.UNKNOWN_OUTCOME)
    for name in ("outcomes", "retrospective", "proxy", "history"):
        if name in tables:
            problems += _check_kind(tables[name], kinds)
    return problems


def _check_kind(parsed: Parsed, kinds: Mapping[str, str]) -> list[Problem]:
    frame = parsed.frame
    kind = _looked_up(frame["outcome"], kinds, "")
    continuous = (kind == "continuous") & parsed.filled("count")
    if not parsed.table.measured:
        rule = "must not be about a continuous outcome: this table holds counts only"
        return parsed.problems(continuous, "count", rule, Code.WRONG_KIND)
    counted = (kind == "count") & parsed.filled("mean")
    # a row that breaks another rule about what it holds is not told twice
    plain = ~(parsed.filled("count") & parsed.filled(*CONTINUOUS))
    if "status" in frame:
        plain &= (frame["status"] == "observed").to_numpy(bool)
    rule = "must be empty: most rows of the outcome hold n, mean and sd, so it is continuous"
    problems = parsed.problems(plain & continuous, "count", rule, Code.WRONG_KIND)
    rule = "must be empty: most rows of the outcome hold a count, so it is counted"
    return problems + parsed.problems(plain & counted, "mean", rule, Code.WRONG_KIND)


def _check_measures(parsed: Parsed, live: np.ndarray, exact: np.ndarray) -> list[Problem]:
    """Check that a live row holds a count or n, mean and sd, and an exact one all of it.

    `live` marks rows that say something, `exact` those that say it without a range.
    """
    counted, continuous = parsed.filled("count"), parsed.filled(*CONTINUOUS)
    both = live & counted & continuous
    rule = "must be empty where n, mean or sd is given: a row holds a count or a mean, not both"
    problems = parsed.problems(both, "count", rule, Code.NOT_EMPTY)
    neither = exact & ~counted & ~continuous
    rule = "must be given, or else n, mean and sd (a month without data has no row or is missing)"
    problems += parsed.problems(neither, "count", rule, Code.MISSING_VALUE)
    for column in CONTINUOUS:
        gap = exact & continuous & ~counted & ~parsed.filled(column)
        if column == "sd":  # one measurement has no sample standard deviation
            gap &= ~(parsed.frame["n"] == 1).to_numpy(bool)
        rule = "must be given with the others of n, mean and sd"
        problems += parsed.problems(gap, column, rule, Code.MISSING_VALUE)
    without = live & ~continuous & ~parsed.filled("exposure")
    rule = "must be given for a count"
    problems += parsed.problems(without, "exposure", rule, Code.MISSING_VALUE)
    return problems + _check_exposure(parsed)


def _check_exposure(parsed: Parsed) -> list[Problem]:
    """Check that events have somebody to happen to."""
    frame = parsed.frame
    least = frame["count"]
    if "count_low" in frame:
        least = least.fillna(frame["count_low"])
    broken = (frame["exposure"] == 0) & (least > 0)
    rule = "must be above 0 where events are counted"
    return parsed.problems(broken.to_numpy(bool), "exposure", rule, Code.TOO_MANY_EVENTS)


def _check_outcomes(parsed: Parsed) -> list[Problem]:
    status = parsed.frame["status"]
    known = parsed.usable("status")
    observed = (status == "observed").to_numpy(bool)
    ranged = status.isin(["suppressed", "rounded"]).to_numpy(bool)
    missing = (status == "missing").to_numpy(bool)
    problems = _check_measures(parsed, known & ~missing, observed)
    for column in ("count", *CONTINUOUS, "count_low", "count_high"):
        broken = missing & parsed.filled(column)
        rule = "must be empty where status is missing"
        problems += parsed.problems(broken, column, rule, Code.NOT_EMPTY)
    for column in CONTINUOUS:
        broken = ranged & parsed.filled(column)
        rule = "must be empty where status is suppressed or rounded (a withheld mean is missing)"
        problems += parsed.problems(broken, column, rule, Code.NOT_EMPTY)
    for column in ("count_low", "count_high"):
        broken = ranged & ~parsed.filled(column)
        rule = "must be given where status is suppressed or rounded"
        problems += parsed.problems(broken, column, rule, Code.MISSING_VALUE)
    problems += _check_range(parsed, observed, ranged) + _check_coverage(parsed)
    return problems + _check_parts(parsed)


def _check_coverage(parsed: Parsed) -> list[Problem]:
    """Check that coverage is told once for a cell, and only of counts."""
    cell = [parsed.frame[name] for name in ("outcome", "site", "month")]
    groups = parsed.frame["coverage"].fillna(1.0).groupby(cell)
    differs = (groups.transform("max") > groups.transform("min")).to_numpy(bool)
    broken = differs & parsed.usable("outcome", "site", "month", "coverage")
    rule = "must be the same in every row of one outcome, site and month (empty is 1)"
    problems = parsed.problems(broken, "coverage", rule, Code.NOT_THE_SAME)
    broken = parsed.filled("coverage") & parsed.filled(*CONTINUOUS)
    rule = "must be empty where n, mean and sd are given: it is a share of counted events"
    return problems + parsed.problems(broken, "coverage", rule, Code.NOT_EMPTY)


def _check_range(parsed: Parsed, observed: np.ndarray, ranged: np.ndarray) -> list[Problem]:
    frame = parsed.frame
    low, high, count = (frame[name].to_numpy() for name in ("count_low", "count_high", "count"))
    rule = "must not be below count_low"
    problems = parsed.problems(ranged & (high < low), "count_high", rule, Code.OUT_OF_ORDER)
    outside = ranged & (low <= high) & ((count < low) | (count > high))
    rule = "must lie within count_low and count_high, or be empty"
    problems += parsed.problems(outside, "count", rule, Code.OUT_OF_RANGE)
    for column, bound in (("count_low", low), ("count_high", high)):
        broken = observed & parsed.filled(column) & parsed.usable(column, "count")
        broken &= bound != count
        rule = "must be empty where status is observed (or equal to count)"
        problems += parsed.problems(broken, column, rule, Code.NOT_EMPTY)
    return problems


def _check_parts(parsed: Parsed) -> list[Problem]:
    """Check that strata and bands add up: no total beside parts, no band left out."""
    frame = parsed.frame
    cell = ["outcome", "site", "month"]
    usable = parsed.usable(*cell)
    problems = []
    mixed = np.zeros(len(frame), dtype=bool)
    for column, within in (("stratum", cell), ("category", [*cell, "stratum"])):
        filled = parsed.filled(column)
        if not filled.any():
            continue
        groups = [frame[name] for name in within]
        some = pd.Series(filled).groupby(groups).transform("any").to_numpy(bool)
        total = usable & some & ~filled
        mixed = pd.Series(total).groupby(groups).transform("any").to_numpy(bool)
        rule = f"must not be empty where other rows of the same month have a {column}"
        rule += ": a total beside its parts counts twice"
        problems += parsed.problems(total, column, rule, Code.COUNTED_TWICE)
    broken = usable & parsed.filled("category") & parsed.filled(*CONTINUOUS)
    rule = "must be empty where n, mean and sd are given: bands are of counts"
    problems += parsed.problems(broken, "category", rule, Code.NOT_EMPTY)
    # rows told of above are not bands, and a cell with a total lacks that band
    banded = usable & parsed.filled("category") & ~broken & ~mixed
    return problems + (_check_bands(parsed, banded) if banded.any() else [])


def _check_bands(parsed: Parsed, banded: np.ndarray) -> list[Problem]:
    """Check that the bands of a cell share an exposure and are all there.

    A band without a row would be taken as no events.
    """
    frame = parsed.frame
    bands = frame[banded].groupby(["outcome", "site", "month", "stratum"])
    spread = bands["exposure"].transform("max") - bands["exposure"].transform("min")
    unequal = np.zeros(len(frame), dtype=bool)
    unequal[np.flatnonzero(banded)] = (spread > _SAME * frame.loc[banded, "exposure"]).to_numpy()
    rule = "must be the same in every category of one site and month: bands share one exposure"
    problems = parsed.problems(unequal, "exposure", rule, Code.NOT_THE_SAME)
    for outcome, rows in frame[banded].groupby("outcome"):
        every = sorted(rows["category"].unique())
        cells = rows.groupby(["site", "month", "stratum"])
        short = cells["category"].nunique()
        firsts = cells["row"].first()
        for key in short.index[short < len(every)]:
            seen = set(cells.get_group(key)["category"])
            absent = ", ".join(band for band in every if band not in seen)
            rule = (
                f"every month of outcome {outcome} with categories needs a row for each of them; "
                f"write 0 or status missing (without a row: {absent})"
            )
            value = ", ".join(part for part in key if part)
            row = int(firsts[key])
            where = parsed.table.file, rule, row, "category", value
            problems.append(Problem(*where, Code.MISSING_ROW))
    return problems


def _check_retrospective(parsed: Parsed) -> list[Problem]:
    everywhere = np.ones(len(parsed.frame), dtype=bool)
    problems = _check_measures(parsed, everywhere, everywhere)
    mean = parsed.frame["coverage_mean"].to_numpy()
    sd = parsed.frame["coverage_sd"].to_numpy()
    # a share with mean m has at most the variance m (1 - m), that of a coin
    broken = sd > np.sqrt(mean * (1 - mean)) + _SAME
    rule = "must not exceed sqrt(coverage_mean (1 - coverage_mean)), the most a share can vary"
    return problems + parsed.problems(broken, "coverage_sd", rule, Code.OUT_OF_RANGE)


def _check_mix(parsed: Parsed) -> list[Problem]:
    frame = parsed.frame
    usable = parsed.usable("site", "month")
    whole = pd.Series(usable & (frame["month"] == "").to_numpy(bool))
    monthly = pd.Series(usable & (frame["month"] != "").to_numpy(bool))
    some_monthly = monthly.groupby(frame["site"]).transform("any")
    both = (whole & some_monthly).to_numpy(bool)
    rule = "must be given: the site has rows by month too, which the whole period counts twice"
    problems = parsed.problems(both, "month", rule, Code.COUNTED_TWICE)
    contacts = frame["contacts"].fillna(1).groupby(frame["site"]).transform("sum")
    first = ~frame["site"].duplicated().to_numpy(bool)
    none = first & (contacts == 0).to_numpy(bool) & parsed.usable("site")
    rule = "must not be 0 in all rows of a site: leave the site out if its mix is unknown"
    return problems + parsed.problems(none, "contacts", rule, Code.OUT_OF_RANGE)
