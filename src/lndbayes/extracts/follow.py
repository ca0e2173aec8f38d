"""Who is followed and which rows count: every event row gets the one reason why it does not.

The table `judged_<source>` holds a row for every row of the source's table: `person`, `site`,
`stratum`, `cell` (month of the cell it is counted in), what its outcomes need, and `reason`, `kept`
or why the row is dropped. Cells and the data-quality table both read it, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import duckdb

from lndbayes.extracts.load import month_of
from lndbayes.extracts.read import quoted
from lndbayes.extracts.settings import Source

__all__ = ["FOLLOWED_DAYS", "REASONS", "judge"]

#: Days after a referral, a first hearing or a start of treatment that are looked at.
FOLLOWED_DAYS = 182

#: Why a row is dropped, in the order in which the reasons are tried.
REASONS = (
    "not consented",
    "unmatched",
    "outside coverage",
    "outside follow-up",
    "reporting delay",
    "follow-up not complete",
    "not at liberty",
)


def judge(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Make the table `judged_<source>`, and what it needs."""
    for statement in _JUDGED[source.name](source):
        connection.execute(statement)


def _who(source: Source) -> str:
    """Cases for the person: `p` is the person."""
    return f"""
            WHEN p.consented = 0 THEN 'not consented'
            WHEN p.matched_{source.name} = 0 THEN 'unmatched'"""


def _covered(source: Source, month: str) -> str:
    return f"{month} BETWEEN {source.first} AND {source.last}"


def _window(month: str) -> str:
    return f"{month} BETWEEN p.m0 AND p.m1"


def _judged_hes_ae(source: Source) -> list[str]:
    return [
        f"""
        -- attendances count in their own month
        CREATE TABLE judged_hes_ae AS
        SELECT e.person, p.site, p.stratum, e.m, e.m AS cell, CASE {_who(source)}
            WHEN NOT {_covered(source, "e.m")} THEN 'outside coverage'
            WHEN NOT {_window("e.m")} THEN 'outside follow-up'
            WHEN e.m > {source.counted} THEN 'reporting delay'
            ELSE 'kept' END AS reason
        FROM hes_ae e JOIN persons p USING (person)
        """
    ]


def _first_starts(source: Source) -> str:
    return f"""
        -- first start of treatment with a score in the window, one a person; of two on a day the
        -- lower score
        CREATE TABLE first_start AS
        SELECT person, arg_min(day, (day, score)) AS day, arg_min(score, (day, score)) AS score
        FROM (
            SELECT e.person, e.date AS day, e.score
            FROM {source.name} e JOIN persons p USING (person)
            WHERE e.kind = 'top_start' AND p.consented = 1 AND p.matched_{source.name} = 1
              AND {_covered(source, "e.m")} AND {_window("e.m")} AND e.m <= {source.counted}
        )
        GROUP BY person
        """


def _judged_pathway(source: Source) -> list[str]:
    """Referrals count in their month, attendances in that of their referral."""
    name, scored = source.name, source.name == "ndtms"
    anchor = "CASE WHEN e.kind = 'attendance' THEN r.day ELSE e.date END"
    reviewed = "WHEN e.kind = 'top_review' THEN s.day"
    if scored:
        anchor = anchor.replace("ELSE", f"{reviewed} ELSE")
    starts = "LEFT JOIN first_start s ON e.kind = 'top_review' AND s.person = e.person"
    score = "e.score, s.score AS start_score" if scored else "NULL AS score, NULL AS start_score"
    return [
        *([_first_starts(source)] if scored else []),
        f"""
        -- each attendance beside its referral, each review beside its person's first start
        CREATE TABLE linked_{name} AS
        SELECT e.person, e.kind, e.m, e.date AS day, {anchor} AS anchor, {score}
        FROM {name} e
        LEFT JOIN (
            SELECT person, referral_key, min(date) AS day FROM {name}
            WHERE kind = 'referral' GROUP BY person, referral_key
        ) r ON e.kind = 'attendance' AND r.person = e.person AND r.referral_key = e.referral_key
        {starts if scored else ""}
        """,
        f"""
        CREATE TABLE judged_{name} AS
        SELECT e.person, p.site, p.stratum, e.kind, e.m, e.cell, e.day, e.score, e.start_score,
            CASE {_who(source)}
            WHEN NOT {_covered(source, "e.m")} OR NOT {_covered(source, "e.cell")}
                THEN 'outside coverage'
            WHEN e.cell IS NULL OR NOT {_window("e.cell")} THEN 'outside follow-up'
            WHEN e.kind = 'attendance' AND e.day - e.anchor > {FOLLOWED_DAYS}
                THEN 'outside follow-up'
            WHEN e.kind = 'top_review' AND e.day - e.anchor NOT BETWEEN 28 AND {FOLLOWED_DAYS}
                THEN 'outside follow-up'
            WHEN e.cell > {source.counted} THEN 'reporting delay'
            WHEN e.kind = 'attendance' AND {_followed(source, "e.anchor")} IS FALSE
                THEN 'follow-up not complete'
            ELSE 'kept' END AS reason
        FROM (SELECT *, {month_of("anchor")} AS cell FROM linked_{name}) e
        JOIN persons p USING (person)
        """,
        f"DROP TABLE linked_{name}",
    ]


def _followed(source: Source, day: str) -> str:
    """Whether the days after `day` that are looked at have all been observed."""
    return f"({day} + {FOLLOWED_DAYS} <= DATE {quoted(str(source.end))})"


def _judged_pnc(source: Source) -> list[str]:
    half = "least(e.custody_days, 36525) // 2"
    return [
        f"""
        -- months touched by custody: from a custodial disposal to half its sentence later; beyond
        -- 100 years a sentence says nothing more, and its end would be no date
        CREATE TABLE confined AS
        SELECT DISTINCT person, unnest(generate_series(m, least(last, {source.last}))) AS m
        FROM (
            SELECT e.person, e.m, {month_of(f"CAST(e.date + {half} AS DATE)")} AS last
            FROM pnc e JOIN persons p USING (person)
            WHERE e.kind = 'disposal' AND e.custody_days > 0
              AND p.consented = 1 AND p.matched_pnc = 1 AND {_covered(source, "e.m")}
        )
        """,
        f"""
        CREATE TABLE judged_pnc AS
        SELECT e.person, p.site, p.stratum, e.kind, e.m, e.m AS cell, e.date AS day, e.custody_days,
            c.person IS NULL AS free,
            CASE {_who(source)}
            WHEN NOT {_covered(source, "e.m")} THEN 'outside coverage'
            WHEN NOT {_window("e.m")} THEN 'outside follow-up'
            WHEN e.m > {source.counted} THEN 'reporting delay'
            WHEN e.kind = 'offence' AND c.person IS NOT NULL THEN 'not at liberty'
            ELSE 'kept' END AS reason
        FROM pnc e JOIN persons p USING (person)
        LEFT JOIN confined c ON c.person = e.person AND c.m = e.m
        """,
    ]


def _judged_hmcts(source: Source) -> list[str]:
    return [
        f"""
        -- cases by their first hearing under coverage
        CREATE TABLE court_case AS
        SELECT e.person, e.case_id, min(e.date) AS first_day, min(e.m) AS cell,
               min(e.date) FILTER (WHERE e.completed = 1) AS done
        FROM hmcts e JOIN persons p USING (person)
        WHERE p.consented = 1 AND p.matched_hmcts = 1 AND {_covered(source, "e.m")}
        GROUP BY e.person, e.case_id
        """,
        f"""
        -- hearings are followed with their case, whose first hearing is in the person's window
        CREATE TABLE judged_hmcts AS
        SELECT e.person, p.site, p.stratum, e.case_id, e.m, e.date AS day,
            c.cell, c.first_day, c.done,
            CASE {_who(source)}
            WHEN NOT {_covered(source, "e.m")} THEN 'outside coverage'
            WHEN NOT {_window("c.cell")} THEN 'outside follow-up'
            WHEN c.cell > {source.counted} THEN 'reporting delay'
            ELSE 'kept' END AS reason
        FROM hmcts e JOIN persons p USING (person)
        LEFT JOIN court_case c ON c.person = e.person AND c.case_id = e.case_id
        """,
    ]


_JUDGED: Mapping[str, Callable[[Source], list[str]]] = {
    "hes_ae": _judged_hes_ae,
    "mhsds": _judged_pathway,
    "iapt": _judged_pathway,
    "ndtms": _judged_pathway,
    "pnc": _judged_pnc,
    "hmcts": _judged_hmcts,
}
