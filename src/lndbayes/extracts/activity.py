"""Contacts with the service by kind, persons referred, and what happened to them before."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pandas as pd

from lndbayes.extracts.load import month_of
from lndbayes.extracts.settings import Source

__all__ = ["HISTORY", "history_of", "make_first_referrals", "mix_of", "referrals_of"]

#: Months before the first referral that are looked at.
_MONTHS_BEFORE = 36

#: Outcomes with a history, and their source.
HISTORY: Mapping[str, str] = {
    "ae_attendances": "hes_ae",
    "mh_referrals": "mhsds",
    "offending": "pnc",
}


def make_first_referrals(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table `first_referral`: consented persons' first day with the service."""
    connection.execute(
        """
        -- of two sites on the first day, the first by name
        CREATE TABLE first_referral AS
        SELECT r.person, min(r.m) AS m, arg_min(r.site, (r.date, r.site)) AS site
        FROM referrals r JOIN persons p USING (person)
        WHERE p.consented = 1 GROUP BY r.person
        """
    )


def mix_of(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Contacts by site of the service, month number `m` and intervention."""
    return connection.execute(
        """
        SELECT r.site, r.m, r.intervention, count(*) AS contacts
        FROM referrals r JOIN persons p USING (person) JOIN sites s ON s.site = r.site
        WHERE p.consented = 1
        GROUP BY s.number, r.site, r.m, r.intervention
        ORDER BY s.number, r.m, r.intervention
        """
    ).df()


def referrals_of(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Persons by site of the service and month number `m` of their first contact with it."""
    return connection.execute(
        """
        SELECT f.site, f.m, count(*) AS referrals
        FROM first_referral f JOIN sites s ON s.site = f.site
        GROUP BY s.number, f.site, f.m ORDER BY s.number, f.m
        """
    ).df()


def history_of(connection: duckdb.DuckDBPyConnection, outcome: str, source: Source) -> pd.DataFrame:
    """Events of referred persons in the months before their first referral.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        With the judged tables and `first_referral`.
    outcome : str
        One of `HISTORY`.
    source : Source
        Its source.

    Returns
    -------
    pandas.DataFrame
        `site` (of the person), `months_from_referral` (-36 to -1), `m` (month number), `persons`
        (person-months; for offending those at liberty) and `count` (for offending person-months
        with an offence). Only months under coverage and before the site's go-live.
    """
    connection.execute(
        f"""
        -- months of each person's history: alive, under coverage, before the site's go-live
        CREATE OR REPLACE TEMP TABLE span AS
        SELECT p.person, p.site, f.m AS referred,
               greatest(f.m - {_MONTHS_BEFORE}, {source.first}, {month_of("p.birth_date")}) AS low,
               least(f.m - 1, {source.counted}, s.go_live - 1) AS high
        FROM first_referral f JOIN persons p USING (person) JOIN sites s ON s.site = p.site
        WHERE p.matched_{source.name} = 1
        """
    )
    return connection.execute(
        f"""
        WITH followed AS (
            SELECT site, referred, unnest(generate_series(low, high)) AS m, persons
            FROM (SELECT site, referred, low, high, count(*) AS persons FROM span GROUP BY ALL)
        ), exposures AS (
            SELECT site, m - referred AS months_from_referral, m, sum(persons) AS persons
            FROM followed GROUP BY ALL
        ), confined_months AS ({_confined(outcome)}),
        events AS (
            SELECT h.site, e.m - h.referred AS months_from_referral, e.m, {_counted(outcome)} AS n
            FROM judged_{source.name} e JOIN span h ON h.person = e.person
            WHERE e.m BETWEEN h.low AND h.high AND {_kind(outcome)} GROUP BY ALL
        )
        SELECT site, months_from_referral, m,
               CAST(persons - coalesce(c.months, 0) AS BIGINT) AS persons,
               CAST(coalesce(e.n, 0) AS BIGINT) AS count
        FROM exposures
        LEFT JOIN confined_months c USING (site, months_from_referral, m)
        LEFT JOIN events e USING (site, months_from_referral, m)
        JOIN sites s USING (site)
        WHERE persons > coalesce(c.months, 0)
        ORDER BY s.number, months_from_referral, m
        """
    ).df()


def _kind(outcome: str) -> str:
    kinds = {"mh_referrals": "e.kind = 'referral'", "offending": "e.kind = 'offence' AND e.free"}
    return kinds.get(outcome, "true")


def _counted(outcome: str) -> str:
    return "count(DISTINCT e.person)" if outcome == "offending" else "count(*)"


def _confined(outcome: str) -> str:
    """Person-months touched by custody, which only offending leaves out."""
    if outcome != "offending":
        return "SELECT '' AS site, 0 AS months_from_referral, 0 AS m, 0 AS months WHERE false"
    return """
            SELECT h.site, c.m - h.referred AS months_from_referral, c.m, count(*) AS months
            FROM confined c JOIN span h USING (person) WHERE c.m BETWEEN h.low AND h.high
            GROUP BY ALL"""
