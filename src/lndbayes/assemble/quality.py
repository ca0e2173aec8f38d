"""The data-quality table: rows and persons read, kept, and dropped for exactly one reason."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pandas as pd

from lndbayes.assemble.follow import REASONS

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
        "persons": f"SELECT person, {consent} FROM persons",
        "referrals": f"SELECT person, {consent} FROM referrals JOIN persons USING (person)",
        **{name: f"SELECT person, reason FROM judged_{name}" for name in sources},
    }
    rows = []
    for table, judged in tables.items():
        read = f"SELECT count(*), count(DISTINCT person) FROM {table}"
        rows.append((table, "read", *connection.execute(read).fetchall()[0]))
        reasons = {
            reason: (count, persons)
            for reason, count, persons in connection.execute(
                f"SELECT reason, count(*), count(DISTINCT person) FROM ({judged}) GROUP BY reason"
            ).fetchall()
        }
        order = ("kept", *REASONS)
        rows += [(table, reason, *reasons[reason]) for reason in order if reason in reasons]
    return pd.DataFrame(rows, columns=["table", "reason", "rows", "persons"])
