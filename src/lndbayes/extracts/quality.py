"""The data-quality table: rows and persons read, kept, and dropped for exactly one reason."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pandas as pd

from lndbayes.extracts.follow import REASONS

__all__ = ["quality_table"]


def quality_table(connection: duckdb.DuckDBPyConnection, sources: Iterable[str]) -> pd.DataFrame:
    """Count what was read, kept and dropped.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        With `persons`, `referrals` and the judged tables.
    sources : iterable of str
        Names of the sources.

    Returns
    -------
    pandas.DataFrame
        `table`, `reason` (`read`, `kept` or why rows were dropped), `rows`, `persons` (different
        persons among them). Per table the rows kept and dropped add up to those read.
    """
    consent = "CASE WHEN consented = 1 THEN 'kept' ELSE 'not consented' END AS reason"
    tables = {
        "persons": f"(SELECT person, {consent} FROM persons)",
        "referrals": f"(SELECT person, {consent} FROM referrals JOIN persons USING (person))",
        **{name: f"judged_{name}" for name in sources},
    }
    rows = []
    last = connection.execute("SELECT max(person) FROM persons").fetchall()[0][0]
    for table, judged in tables.items():
        # persons are numbered from 1, so that a bit for each tells who is there: seven times as
        # fast as distinct counts, in an eighth of a byte for each person and reason
        found = connection.execute(
            f"""
            WITH told AS MATERIALIZED (
                SELECT reason, count(*) AS n, bitstring_agg(person, 1, {last}) AS who
                FROM {judged} GROUP BY reason
            )
            SELECT reason, n, bit_count(who) FROM told
            UNION ALL
            SELECT 'read', (SELECT count(*) FROM {table}), bit_count(bit_or(who)) FROM told
            """
        ).fetchall()
        reasons = {reason: (count, persons) for reason, count, persons in found}
        order = ("read", "kept", *REASONS)
        rows += [(table, reason, *reasons[reason]) for reason in order if reason in reasons]
    return pd.DataFrame(rows, columns=["table", "reason", "rows", "persons"])
