"""What must hold in every row of the extracts; all problems at once, each with its row.

A rule is an SQL condition on the typed table that is true where the rule is broken. Conditions are
counted first; only the rows of a broken rule are read again, to name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from lndbayes.base.errors import Code, Problem
from lndbayes.base.formulas import NOT_A_FORMULA
from lndbayes.data.tables import month_text
from lndbayes.extracts.load import projection
from lndbayes.extracts.read import Extract, quoted, typed
from lndbayes.extracts.settings import Settings
from lndbayes.extracts.shape import KIND_CODES, KIND_RULES

__all__ = ["SHOWN", "check_events", "check_persons", "check_referrals", "in_order"]

#: Most rows named per rule; the number of all of them is told with the first.
SHOWN = 20

#: Most years that anybody lives.
OLDEST = 120


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of one table.

    Attributes
    ----------
    column : str
        Column that is named.
    broken : str
        SQL condition on the typed table `t`, true where the rule is broken.
    text : str
        What must hold.
    code : Code
        What kind of rule it is.
    exact : str
        The same where the typed table knows hashes only: a condition on the text columns `id_...`
        of the rows read again. Empty where `broken` is exact.
    """

    column: str
    broken: str
    text: str
    code: Code
    exact: str = ""


def _kind(column: str, broken: str, kind: str) -> Rule:
    """A value that is not written as its kind is."""
    return Rule(column, broken, KIND_RULES[kind], KIND_CODES[kind])


def check_persons(
    connection: duckdb.DuckDBPyConnection, extract: Extract, settings: Settings
) -> list[Problem]:
    """Check the persons."""
    flags = [field.name for field in extract.shape.fields if field.kind == "flag"]
    repeated = "SELECT study_id FROM persons GROUP BY study_id HAVING count(*) > 1"
    extract_date = quoted(str(settings.extract_date))
    late = f"must not be after extract_date, {settings.extract_date}"
    rules = [
        _kind("study_id", "t.study_id IS NULL", "text"),
        Rule("study_id", f"t.study_id IN ({repeated})", "must not be repeated", Code.REPEATED_ROW),
        _kind("site", "t.site IS NULL", "text"),
        Rule(
            "site",
            "t.site NOT IN (SELECT site FROM sites)",
            "must be a site of sites",
            Code.UNKNOWN_SITE,
        ),
        _kind("birth_date", "t.birth_date IS NULL", "date"),
        _kind("death_date", "t.bad_death_date", "date"),
        Rule("death_date", f"t.death_date > DATE {extract_date}", late, Code.OUT_OF_ORDER),
        Rule(
            "death_date",
            "t.death_date < t.birth_date",
            "must not be before birth_date",
            Code.OUT_OF_ORDER,
        ),
        *_grid_rules("contact_date", settings),
        Rule(
            "contact_date",
            "t.contact_date < t.birth_date",
            "must not be before birth_date",
            Code.OUT_OF_ORDER,
        ),
        Rule(
            "birth_date",
            f"year(t.contact_date) - year(t.birth_date) > {OLDEST}",
            f"must be at most {OLDEST} years before contact_date",
            Code.OUT_OF_RANGE,
        ),
        Rule(
            "contact_date",
            "t.contact_date > t.death_date",
            "must not be after death_date",
            Code.OUT_OF_ORDER,
        ),
        *(_kind(flag, f"t.{flag} IS NULL", "flag") for flag in flags),
    ]
    return _broken(connection, extract, rules)


def _grid_rules(column: str, settings: Settings) -> list[Rule]:
    first, last = month_text(settings.first), month_text(settings.last)
    month = f"12 * year(t.{column}) + month(t.{column}) - 1"
    rule = f"must lie within the months {first} to {last} of extracts.toml"
    return [
        _kind(column, f"t.{column} IS NULL", "date"),
        Rule(
            column,
            f"{month} NOT BETWEEN {settings.first} AND {settings.last}",
            rule,
            Code.OUTSIDE_MONTHS,
        ),
    ]


def _life_rules(settings: Settings) -> list[Rule]:
    return [
        Rule("study_id", "t.person IS NULL", "must be a study_id of persons", Code.UNKNOWN_NAME),
        *_grid_rules("date", settings),
        Rule("date", "t.before_birth", "must not be before the person's birth", Code.OUT_OF_ORDER),
        Rule("date", "t.after_death", "must not be after the person's death", Code.OUT_OF_ORDER),
    ]


def check_referrals(
    connection: duckdb.DuckDBPyConnection, extract: Extract, settings: Settings
) -> list[Problem]:
    """Check the referrals to the service."""
    rules = [
        *_life_rules(settings),
        _kind("site", "t.site IS NULL", "text"),
        Rule(
            "site",
            "t.site NOT IN (SELECT site FROM sites)",
            "must be a site of sites",
            Code.UNKNOWN_SITE,
        ),
        _kind("intervention", "t.intervention IS NULL", "text"),
        Rule(
            "intervention",
            "regexp_matches(t.intervention, '^\\s*[-=+@]')",
            NOT_A_FORMULA,
            Code.FORMULA,
        ),
    ]
    return _broken(connection, extract, rules)


def check_events(
    connection: duckdb.DuckDBPyConnection, extract: Extract, settings: Settings
) -> list[Problem]:
    """Check the events of one source."""
    shape = extract.shape
    rules = _life_rules(settings)
    if shape.kinds:
        known = ", ".join(quoted(kind) for kind in shape.kinds)
        rule = f"must be one of {', '.join(shape.kinds)}"
        rules.append(
            Rule("kind", f"t.kind IS NULL OR t.kind NOT IN ({known})", rule, Code.BAD_CHOICE)
        )
    rules += _OWN_RULES[shape.name]
    return _broken(connection, extract, rules)


def _unique(column: str, table: str, key: str, exact: str, where: str, what: str) -> Rule:
    """No two rows share a key: found by the typed table, judged by what the rows say."""
    shared = f"SELECT {key} FROM {table} t WHERE {where} GROUP BY ALL HAVING count(*) > 1"
    own = f"SELECT {exact} FROM again t WHERE {where} GROUP BY ALL HAVING count(*) > 1"
    return Rule(
        column,
        f"({where}) AND ({key}) IN ({shared})",
        f"must not be repeated: one row for each {what}",
        Code.REPEATED_ROW,
        f"({where}) AND ({exact}) IN ({own})",
    )


def _pathway_rules(table: str) -> tuple[Rule, ...]:
    """Referrals and their attendances: the same in every health source."""
    own = f"{table} o WHERE o.kind = 'referral' AND o.referral_key = t.referral_key"
    same = f"{own} AND o.person = t.person"
    missing = "t.kind IN ('referral', 'attendance') AND t.no_referral_id"
    linked = "t.kind = 'attendance' AND NOT t.no_referral_id AND t.person IS NOT NULL"
    referral = "t.kind = 'referral' AND NOT t.no_referral_id"
    key, exact = "t.referral_key", "t.id_referral_id"
    return (
        Rule(
            "referral_id",
            missing,
            "must be given for a referral and for an attendance",
            Code.MISSING_VALUE,
        ),
        _unique("referral_id", table, key, exact, referral, "referral_id of a referral"),
        Rule(
            "referral_id",
            f"{linked} AND NOT EXISTS (SELECT 1 FROM {same})",
            "must be the referral_id of a referral of the same person",
            Code.UNKNOWN_NAME,
        ),
        Rule(
            "date",
            f"{linked} AND t.date < (SELECT min(o.date) FROM {same})",
            "must not be before the attendance's referral",
            Code.OUT_OF_ORDER,
        ),
    )


def _case_rules(table: str, key: str, what: str) -> tuple[Rule, ...]:
    where = "t.case_id IS NOT NULL AND t.person IS NOT NULL"
    return (
        _kind("case_id", "t.case_id IS NULL", "text"),
        _unique("case_id", table, key, key, where, what),
    )


_TOP = "t.kind IN ('top_start', 'top_review')"

_ATTENDANCE = ("hes_ae", "t.attendance_key", "t.id_attendance_id", "NOT t.no_attendance_id")

_OWN_RULES: Mapping[str, Sequence[Rule]] = {
    "hes_ae": (
        _kind("attendance_id", "t.no_attendance_id", "text"),
        _unique("attendance_id", *_ATTENDANCE, "attendance_id"),
    ),
    "mhsds": _pathway_rules("mhsds"),
    "iapt": _pathway_rules("iapt"),
    "ndtms": (
        *_pathway_rules("ndtms"),
        _kind("score", "t.bad_score", "integer"),
        Rule("score", "t.score NOT BETWEEN 0 AND 20", "must be within 0 to 20", Code.OUT_OF_RANGE),
        Rule(
            "score",
            f"{_TOP} AND t.score IS NULL AND NOT t.bad_score",
            "must be given for TOP",
            Code.MISSING_VALUE,
        ),
        Rule(
            "score",
            f"NOT {_TOP} AND t.score IS NOT NULL",
            "must be empty where it is not TOP",
            Code.NOT_EMPTY,
        ),
    ),
    "pnc": (
        *_case_rules(
            "pnc", "t.person, t.case_id, t.date, t.kind", "study_id, case_id, date and kind"
        ),
        _kind("custody_days", "t.bad_custody_days", "integer"),
        Rule("custody_days", "t.custody_days < 0", "must not be negative", Code.OUT_OF_RANGE),
        Rule(
            "custody_days",
            f"t.custody_days > {366 * OLDEST}",
            f"must be at most {OLDEST} years",
            Code.OUT_OF_RANGE,
        ),
        Rule(
            "custody_days",
            "t.kind = 'disposal' AND t.custody_days IS NULL AND NOT t.bad_custody_days",
            "must be given for a disposal (0 is not custodial)",
            Code.MISSING_VALUE,
        ),
        Rule(
            "custody_days",
            "t.kind = 'offence' AND t.custody_days IS NOT NULL",
            "must be empty for an offence",
            Code.NOT_EMPTY,
        ),
    ),
    "hmcts": (
        *_case_rules("hmcts", "t.person, t.case_id, t.date", "study_id, case_id and date"),
        _kind("completed", "t.completed IS NULL", "flag"),
    ),
}


def _broken(
    connection: duckdb.DuckDBPyConnection, extract: Extract, rules: Sequence[Rule]
) -> list[Problem]:
    """Count the rows that break each rule, and name the first of them."""
    table = extract.shape.name
    rows = connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
    if not rows:
        empty = "the table is empty: it has no rows (leave a source without events out of sources)"
        return [Problem(extract.file, empty, code=Code.EMPTY_FILE)]
    plain = [rule for rule in rules if "SELECT" not in rule.broken]
    counts = ", ".join(f"count(*) FILTER (WHERE {rule.broken})" for rule in plain)
    found = connection.execute(f"SELECT {counts} FROM {table} t").fetchall()[0]
    hits = [rule for rule, count in zip(plain, found, strict=True) if count]
    for rule in rules:
        if rule not in plain:
            query = f"SELECT count(*) FROM {table} t WHERE {rule.broken}"
            if connection.execute(query).fetchall()[0][0]:
                hits.append(rule)
    return [problem for rule in hits for problem in _told(connection, extract, rule)]


def _told(connection: duckdb.DuckDBPyConnection, extract: Extract, rule: Rule) -> list[Problem]:
    """Read the table again, with its rows numbered, and name the rows that break a rule."""
    fields = {field.name: typed(field, extract.types[field.name]) for field in extract.shape.fields}
    ids = ", ".join(f"{value} AS id_{name}" for name, value in fields.items() if "_id" in name)
    if extract.shape.name == "persons":
        values = ", ".join(f"{value} AS {name}" for name, value in fields.items())
        bad = "nullif(CAST(r.death_date AS VARCHAR), '') IS NOT NULL"
        values += f", {bad} AND {fields['death_date']} IS NULL AS bad_death_date"
    else:
        values = projection(extract)
    query = f"""
        WITH numbered AS (
            SELECT *, row_number() OVER () + {extract.first_row - 1} AS line_ FROM {extract.scan}
        ), again AS (
            SELECT {values}, {ids}, r.line_,
                   CAST(r."{rule.column}" AS VARCHAR) AS value_
            FROM numbered r LEFT JOIN person_key k ON k.study_id = {fields["study_id"]}
        )
        SELECT line_, id_study_id, value_, count(*) OVER () AS total
        FROM again t WHERE {rule.exact or rule.broken} ORDER BY line_ LIMIT {SHOWN}
        """
    connection.execute("SET preserve_insertion_order = true")
    rows = connection.execute(query).fetchall()
    connection.execute("SET preserve_insertion_order = false")
    problems = []
    for number, (line, study_id, value, total) in enumerate(rows):
        text = rule.text
        if number == 0 and total > 1:
            text += f" (broken in {total:,} rows)"
        if rule.column != "study_id" and study_id is not None:
            text += f" (study_id {study_id})"
        where = extract.file, text, int(line), rule.column, value or ""
        problems.append(Problem(*where, rule.code))
    return problems


def in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Put the first row of every broken rule before the others: a long list is cut off."""
    seen: set[tuple[str, str | None, str]] = set()
    first: list[Problem] = []
    others: list[Problem] = []
    for problem in problems:
        kind = problem.file, problem.column, problem.rule.split(" (")[0]
        (others if kind in seen else first).append(problem)
        seen.add(kind)
    return first + others
