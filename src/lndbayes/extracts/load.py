"""Extracts to typed tables inside DuckDB, whose rows carry a number for the person.

A table is read once. Its identifiers are kept as 64-bit hashes, which is enough to find rows that
may break a rule; such rows are then read again and judged by what they say.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from lndbayes.base.errors import Problem
from lndbayes.extracts.read import Extract, reading_problem, typed

__all__ = ["load_events", "load_persons", "month_of", "projection"]

#: Identifiers that are kept as a hash only.
_HASHED: Mapping[str, str] = {
    "attendance_id": "attendance_key",
    "referral_id": "referral_key",
}


def month_of(date: str) -> str:
    """SQL expression of a date's month number, `12 * year + month - 1`."""
    return f"CAST(12 * year({date}) + month({date}) - 1 AS INTEGER)"


def projection(extract: Extract) -> str:
    """SQL select list of the typed columns of a relation `r`, joined to `person_key k`.

    An optional number or date has a column `bad_...` beside it: filled, but not readable. Of the
    person's dates only what rules ask is kept, which is most of a row's bytes saved.
    """
    date, columns = _date(extract), []
    for field in extract.shape.fields:
        value = typed(field, extract.types[field.name])
        if field.name == "study_id":
            columns.append("k.person")
            columns.append(f"{date} < k.birth_date AS before_birth")
            columns.append(f"{date} > k.death_date AS after_death")
        elif field.name in _HASHED:
            columns.append(f"hash({value}) AS {_HASHED[field.name]}")
            columns.append(f"{value} IS NULL AS no_{field.name}")
        else:
            columns.append(f"{value} AS {field.name}")
        if not field.needed and field.kind != "text":
            filled = f"nullif(CAST(r.\"{field.name}\" AS VARCHAR), '')"
            columns.append(f"{filled} IS NOT NULL AND {value} IS NULL AS bad_{field.name}")
    return ", ".join(columns)


def load_persons(
    connection: duckdb.DuckDBPyConnection, extract: Extract, *, strata: bool
) -> list[Problem]:
    """Make the tables `persons` (typed, numbered) and `person_key` (one row a study_id)."""
    columns = ", ".join(
        f"{typed(field, extract.types[field.name])} AS {field.name}"
        for field in extract.shape.fields
    )
    death = next(field for field in extract.shape.fields if field.name == "death_date")
    bad = (
        f"nullif(CAST(r.death_date AS VARCHAR), '') IS NOT NULL "
        f"AND {typed(death, extract.types['death_date'])} IS NULL AS bad_death_date"
    )
    needs = "mental_health + drug_alcohol + other_need"
    stratum = f"CASE {needs} WHEN 0 THEN 'none' WHEN 1 THEN 'one' ELSE 'several' END"
    problems = _create(
        connection,
        extract,
        f"""
        -- months followed: 12 from that of the contact, the last that of death where it is earlier
        CREATE TABLE persons AS
        SELECT *,
               CAST(row_number() OVER () AS INTEGER) AS person,
               {stratum if strata else "''"} AS stratum,
               {month_of("contact_date")} AS m0,
               least({month_of("contact_date")} + 11, {month_of("death_date")}) AS m1
        FROM (SELECT {columns}, {bad} FROM {extract.scan} r)
        """,
    )
    if problems:
        return problems
    connection.execute(
        """
        -- one row a study_id, so that a repeated one is told of and multiplies nothing
        CREATE TABLE person_key AS
        SELECT study_id, min(person) AS person,
               arg_min(birth_date, person) AS birth_date,
               CASE WHEN count(*) = 1 THEN min(death_date) END AS death_date
        FROM persons WHERE study_id IS NOT NULL GROUP BY study_id
        """
    )
    return []


def load_events(connection: duckdb.DuckDBPyConnection, extract: Extract) -> list[Problem]:
    """Make the typed table of an event table, or of the referrals."""
    study_id = typed(extract.shape.fields[0], extract.types["study_id"])
    return _create(
        connection,
        extract,
        f"""
        CREATE TABLE {extract.shape.name} AS
        SELECT {projection(extract)}, {month_of("r.date_")} AS m
        FROM (SELECT *, {_date(extract)} AS date_, {study_id} AS id_ FROM {extract.scan} r) r
        LEFT JOIN person_key k ON k.study_id = r.id_
        """,
    )


def _date(extract: Extract) -> str:
    field = next(field for field in extract.shape.fields if field.name == "date")
    return typed(field, extract.types["date"])


def _create(
    connection: duckdb.DuckDBPyConnection, extract: Extract, statement: str
) -> list[Problem]:
    try:
        connection.execute(statement)
    except duckdb.Error as error:
        try:  # a full disk is not the file's fault: it can be read, then
            scan = f"SELECT max(hash(COLUMNS(*))) FROM {extract.scan}"
            connection.execute(scan).fetchall()
        except duckdb.Error:
            return [reading_problem(extract, error)]
        raise
    return []
