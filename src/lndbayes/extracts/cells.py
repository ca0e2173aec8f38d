"""Cells of every outcome, one query for the exposure and one for the count.

A cell is (site of the person, calendar month), with stratum and category where used. Persons are
`p`; a source's months are those that it covers, on the grid, with most of their events reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import pandas as pd

from lndbayes.extracts.follow import FOLLOWED_DAYS
from lndbayes.extracts.read import quoted
from lndbayes.extracts.settings import Source

__all__ = ["OUTCOMES", "Outcome", "cells_of"]

_SENTENCES = ("1 up to 3 months", "2 3 to 6 months", "3 6 to 12 months", "4 over 12 months")
_BINS = ("1 first hearing", "2 to 30 days", "3 to 90 days", "4 to 180 days", "5 over 180 days")
_DURATIONS = tuple(sorted((*_BINS, *(f"{name} open" for name in _BINS[:-1]))))
_CHANGES = tuple(f"{start}>{review}" for start in range(1, 5) for review in range(1, 5))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One outcome.

    Attributes
    ----------
    name, source : str
        Outcome and the source it is counted in.
    categories : tuple of str
        Every category, each of which has a row in every cell; empty where there is none.
    trials : bool
        Whether a count cannot exceed its exposure.
    at_least_one : bool
        Whether a count cannot fall below its exposure.
    parts : bool
        Whether the categories of a cell add up to its exposure.
    together : bool
        Whether a record that comes late is missing from exposure and count alike, so that of the
        exposure counted no event is missing.
    """

    name: str
    source: str
    categories: tuple[str, ...] = ()
    trials: bool = False
    at_least_one: bool = False
    parts: bool = False
    together: bool = False


OUTCOMES = (
    Outcome("custody", "pnc", _SENTENCES, trials=True, together=True),
    Outcome("offending", "pnc", trials=True),
    Outcome("ae_attendances", "hes_ae"),
    Outcome("mh_referrals", "mhsds"),
    Outcome("mh_attendances", "mhsds"),
    Outcome("iapt_referrals", "iapt"),
    Outcome("iapt_attendances", "iapt"),
    Outcome("drug_alcohol_referrals", "ndtms"),
    Outcome("drug_alcohol_attendances", "ndtms"),
    Outcome("wellbeing", "ndtms", _CHANGES, trials=True, parts=True, together=True),
    Outcome("court_duration", "hmcts", _DURATIONS, trials=True, parts=True),
    Outcome("hearings", "hmcts", at_least_one=True),
)


def _person_months(source: Source) -> str:
    return f"""
        -- person-months: persons alike in site, stratum and window are counted once and together
        SELECT site, stratum, m, sum(persons) AS exposure
        FROM (
            SELECT site, stratum, persons,
                   unnest(generate_series(greatest(m0, {source.first}),
                                          least(m1, {source.counted}))) AS m
            FROM (
                SELECT site, stratum, m0, m1, count(*) AS persons FROM persons
                WHERE consented = 1 AND matched_{source.name} = 1 GROUP BY ALL
            )
        )
        GROUP BY ALL"""


def _rows(source: Source, kind: str = "") -> str:
    return f"""
        -- rows that are kept
        SELECT site, stratum, cell AS m, '' AS category, count(*) AS count
        FROM judged_{source.name} WHERE reason = 'kept' {kind and f"AND kind = '{kind}'"}
        GROUP BY ALL"""


def _followed_referrals(source: Source) -> str:
    return f"""
        -- referrals whose attendances have all been observed
        SELECT site, stratum, cell AS m, count(*) AS exposure FROM judged_{source.name}
        WHERE reason = 'kept' AND kind = 'referral'
          AND day + {FOLLOWED_DAYS} <= DATE {quoted(str(source.end))}
        GROUP BY ALL"""


def _at_liberty(source: Source) -> str:
    return f"""
        -- person-months less those touched by custody
        SELECT a.site, a.stratum, a.m, a.exposure - coalesce(c.months, 0) AS exposure
        FROM ({_person_months(source)}) a
        LEFT JOIN (
            SELECT p.site, p.stratum, c.m, count(*) AS months
            FROM confined c JOIN persons p USING (person)
            WHERE c.m BETWEEN p.m0 AND p.m1
              AND c.m BETWEEN {source.first} AND {source.counted}
            GROUP BY ALL
        ) c USING (site, stratum, m)"""


_OFFENDING = """
        -- person-months with an offence or more
        SELECT site, stratum, m, '' AS category, count(DISTINCT person) AS count
        FROM judged_pnc WHERE reason = 'kept' AND kind = 'offence' GROUP BY ALL"""

_FIRST_DISPOSALS = """
        -- first disposal in the window, one a person; of several on a day the longest sentence
        SELECT person, site, stratum, arg_min(m, day) AS m,
               arg_min(custody_days, (day, -custody_days)) AS days
        FROM judged_pnc WHERE reason = 'kept' AND kind = 'disposal'
        GROUP BY person, site, stratum"""

_SENTENCED = f"""
        SELECT site, stratum, m, CASE WHEN days <= 91 THEN '{_SENTENCES[0]}'
            WHEN days <= 182 THEN '{_SENTENCES[1]}' WHEN days <= 365 THEN '{_SENTENCES[2]}'
            ELSE '{_SENTENCES[3]}' END AS category, count(*) AS count
        FROM ({_FIRST_DISPOSALS}) WHERE days > 0 GROUP BY ALL"""

_BROUGHT = f"""
        SELECT site, stratum, m, count(*) AS exposure FROM ({_FIRST_DISPOSALS}) GROUP BY ALL"""


def _band(score: str) -> str:
    return (
        f"CASE WHEN {score} <= 7 THEN 1 WHEN {score} <= 11 THEN 2 "
        f"WHEN {score} <= 15 THEN 3 ELSE 4 END"
    )


_REVIEWED = f"""
        -- persons with both scores, in the month of the start; of two reviews on a day the lower
        SELECT person, site, stratum, cell AS m,
               {_band("start_score")} || '>'
               || {_band("arg_min(score, (day, score))")} AS category
        FROM judged_ndtms WHERE reason = 'kept' AND kind = 'top_review'
        GROUP BY person, site, stratum, cell, start_score"""

_FIRST_CASES = """
        -- the person's case that was first heard first in the window
        SELECT person, site, stratum, arg_min(cell, (first_day, case_id)) AS m,
               arg_min(case_id, (first_day, case_id)) AS case_id,
               min(first_day) AS first_day
        FROM judged_hmcts WHERE reason = 'kept' GROUP BY person, site, stratum"""


def _durations(source: Source) -> str:
    bins = " ".join(
        f"WHEN days <= {days} THEN '{name}'"
        for days, name in zip((0, 30, 90, 180), _BINS[:-1], strict=True)
    )
    return f"""
        -- days to completion, or so far where the case is open
        SELECT site, stratum, m, CASE {bins} ELSE '{_BINS[-1]}' END
            || CASE WHEN done IS NULL AND days <= 180 THEN ' open' ELSE '' END AS category,
            count(*) AS count
        FROM (
            SELECT f.site, f.stratum, f.m, c.done,
                   coalesce(c.done, DATE {quoted(str(source.end))}) - c.first_day AS days
            FROM ({_FIRST_CASES}) f JOIN court_case c USING (person, case_id)
        )
        GROUP BY ALL"""


def _heard_cases(source: Source) -> str:
    """Cases whose hearings have all been observed, with the number of them."""
    return f"""
        SELECT f.site, f.stratum, f.m, f.case_id, count(*) AS hearings
        FROM ({_FIRST_CASES}) f
        JOIN judged_hmcts h ON h.person = f.person AND h.case_id = f.case_id
        WHERE h.reason = 'kept' AND h.day - h.first_day <= {FOLLOWED_DAYS}
          AND (h.done IS NOT NULL
               OR h.first_day + {FOLLOWED_DAYS} <= DATE {quoted(str(source.end))})
        GROUP BY f.person, f.site, f.stratum, f.m, f.case_id"""


def _summed(relation: str, what: str, name: str, category: str = "") -> str:
    return f"SELECT site, stratum, m, {category} {what} AS {name} FROM ({relation}) GROUP BY ALL"


def _queries(outcome: Outcome, source: Source) -> tuple[str, str]:
    """SQL of the exposure and of the count."""
    none, own = "'' AS category,", "category,"
    made: Mapping[str, tuple[str, str]] = {
        "custody": (_BROUGHT, _SENTENCED),
        "offending": (_at_liberty(source), _OFFENDING),
        "ae_attendances": (_person_months(source), _rows(source)),
        "wellbeing": (
            _summed(_REVIEWED, "count(*)", "exposure"),
            _summed(_REVIEWED, "count(*)", "count", own),
        ),
        "court_duration": (
            _summed(_FIRST_CASES, "count(*)", "exposure"),
            _durations(source),
        ),
        "hearings": (
            _summed(_heard_cases(source), "count(*)", "exposure"),
            _summed(_heard_cases(source), "sum(hearings)", "count", none),
        ),
    }
    if outcome.name in made:
        return made[outcome.name]
    if outcome.name.endswith("_attendances"):
        return _followed_referrals(source), _rows(source, "attendance")
    return _person_months(source), _rows(source, "referral")


def cells_of(
    connection: duckdb.DuckDBPyConnection, outcome: Outcome, source: Source, strata: tuple[str, ...]
) -> pd.DataFrame:
    """Count one outcome.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        With the judged tables.
    outcome : Outcome
        What to count.
    source : Source
        Its source.
    strata : tuple of str
        Every stratum, each of which has a row in every cell; one empty text where not used.

    Returns
    -------
    pandas.DataFrame
        `site`, `m` (month number), `stratum`, `category`, `exposure`, `count`, in the order of
        sites and of the others. A site and month with no exposure has no row.
    """
    exposure, count = _queries(outcome, source)
    listed = ", ".join(quoted(text) for text in strata)
    categories = ", ".join(quoted(text) for text in outcome.categories or ("",))
    return connection.execute(
        f"""
        WITH exposures AS ({exposure}), counts AS ({count}),
        cell AS (SELECT site, m FROM exposures GROUP BY ALL HAVING sum(exposure) > 0)
        SELECT cell.site, cell.m, stratum, category,
               CAST(coalesce(e.exposure, 0) AS BIGINT) AS exposure,
               CAST(coalesce(c.count, 0) AS BIGINT) AS count
        FROM cell
        CROSS JOIN (SELECT unnest([{listed}]) AS stratum)
        CROSS JOIN (SELECT unnest([{categories}]) AS category)
        LEFT JOIN exposures e USING (site, m, stratum)
        LEFT JOIN counts c USING (site, m, stratum, category)
        JOIN sites s ON s.site = cell.site
        ORDER BY s.number, cell.m, stratum, category
        """
    ).df()
