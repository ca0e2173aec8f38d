"""Opening the extracts with DuckDB: CSV, Parquet or a folder of Parquet parts, as typed tables.

Text becomes a number or a date only where it is written as one: DuckDB's own casts would round 1.5
to 2 and read 2014/4/1. What cannot be read is NULL in the typed table and found by `rules`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from lndbayes.base.errors import Code, Problem
from lndbayes.data.problems import hint
from lndbayes.extracts.shape import Field, Shape
from lndbayes.files.reading import there_is, why_no_file, why_no_folder

__all__ = ["Extract", "open_extract", "quoted", "reading_problem", "typed"]


@dataclass(frozen=True, slots=True)
class Extract:
    """One table as found on disk.

    Attributes
    ----------
    shape : Shape
        What it must be.
    file : str
        Its name for messages, such as `persons.csv`.
    path : Path
        Where it lies.
    scan : str
        SQL table function that reads it, in the order of its rows.
    types : mapping of str to str
        DuckDB's type of every column of the file.
    """

    shape: Shape
    file: str
    path: Path
    scan: str
    types: Mapping[str, str]

    @property
    def first_row(self) -> int:
        """Number of the first row in messages: a CSV has a header line."""
        return 2 if self.path.suffix == ".csv" else 1


def quoted(text: str | Path) -> str:
    """SQL literal of a text."""
    return "'" + str(text).replace("'", "''") + "'"


def open_extract(
    connection: duckdb.DuckDBPyConnection, root: Path, shape: Shape
) -> tuple[Extract | None, list[Problem]]:
    """Find a table and check its columns, without reading its rows.

    Returns
    -------
    tuple of Extract or None, and list of Problem
        No extract where the table is absent, unreadable or lacks a column.
    """
    places = [root / f"{shape.name}.csv", root / f"{shape.name}.parquet", root / shape.name]
    found = [place for place in places if there_is(place)]
    if len(found) != 1:
        rule = (
            f"the table is there twice, as {found[0].name} and {found[1].name}: keep one"
            if found
            else "the table is missing (CSV, Parquet, or a folder of Parquet parts)"
        )
        code = Code.REPEATED_NAME if found else Code.MISSING_FILE
        return None, [Problem(shape.name, rule, code=code)]
    path = found[0]
    file = f"{path.name}/" if path.is_dir() else path.name
    if why := why_no_folder(path) if path.is_dir() and not path.suffix else why_no_file(path):
        return None, [Problem(file, why, code=Code.UNREADABLE_FILE)]
    if path.suffix == ".csv":
        types, scan, problems = _open_csv(path)
    else:
        types, scan, problems = _open_parquet(connection, path, file)
    if problems:
        return None, problems
    problems = _check_columns(file, shape, types)
    return (None, problems) if problems else (Extract(shape, file, path, scan, types), [])


def _open_csv(path: Path) -> tuple[dict[str, str], str, list[Problem]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            header = next(csv.reader(handle, strict=True), [])
    except UnicodeDecodeError:
        return {}, "", [_encoding_problem(path)]
    except (OSError, csv.Error) as error:
        rule = f"cannot be read: {error}"
        return {}, "", [Problem(path.name, rule, code=Code.UNREADABLE_FILE)]
    if not header:
        rule = "the file is empty: it must begin with a header of column names"
        return {}, "", [Problem(path.name, rule, 1, code=Code.EMPTY_FILE)]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or "" in header:
        rule = "every column needs a name of its own"
        code = Code.REPEATED_COLUMN if twice else Code.UNNAMED_COLUMN
        return {}, "", [Problem(path.name, rule, 1, value=", ".join(twice), code=code)]
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in header)
    scan = (
        f"read_csv({quoted(path)}, columns = {{{columns}}}, auto_detect = false, header = true, "
        "delim = ',', quote = '\"', escape = '\"', strict_mode = true)"
    )
    return dict.fromkeys(header, "VARCHAR"), scan, []


def _open_parquet(
    connection: duckdb.DuckDBPyConnection, path: Path, file: str
) -> tuple[dict[str, str], str, list[Problem]]:
    parts = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not parts:
        return {}, "", [Problem(file, "the folder holds no Parquet file", code=Code.EMPTY_FILE)]
    problems = []
    schemas: list[dict[str, str]] = []
    for part in parts:
        name = part.relative_to(path.parent).as_posix()
        if why := why_no_file(part):
            problems.append(Problem(name, why, code=Code.UNREADABLE_FILE))
            continue
        try:
            rows = connection.execute(f"DESCRIBE FROM read_parquet({quoted(part)})").fetchall()
        except duckdb.Error:
            problems.append(Problem(name, _DAMAGED, code=Code.DAMAGED_FILE))
            continue
        schemas.append({str(row[0]): str(row[1]) for row in rows})
        if schemas[-1] != schemas[0]:
            rule = "must have the same columns and types as the other parts"
            problems.append(Problem(name, rule, code=Code.NOT_THE_SAME))
    if problems:
        return {}, "", problems
    listed = ", ".join(quoted(part) for part in parts)
    return schemas[0], f"read_parquet([{listed}], hive_partitioning = false)", []


_DAMAGED = "cannot be read as Parquet: it is damaged or cut off"


def _encoding_problem(path: Path) -> Problem:
    """Name the first line that is not UTF-8."""
    with path.open("rb") as handle:
        for line, content in enumerate(handle, start=1):
            try:
                content.decode("utf-8")
            except UnicodeDecodeError as error:
                rule = "must be UTF-8 text (in a spreadsheet, save as 'CSV UTF-8')"
                value = repr(content[error.start : error.start + 1])
                return Problem(path.name, rule, line, value=value, code=Code.NOT_UTF8)
    return Problem(path.name, "must be UTF-8 text", code=Code.NOT_UTF8)


def reading_problem(extract: Extract, error: duckdb.Error) -> Problem:
    """Say why the rows of a table could not be read."""
    if extract.path.suffix != ".csv":
        return Problem(extract.file, _DAMAGED, code=Code.DAMAGED_FILE)
    text = str(error)
    if "nicode" in text or "utf-8" in text.lower():
        return _encoding_problem(extract.path)
    at = re.search(r"[Ll]ine:? (\d+)", text)
    reason = re.search(r"Expected Number of Columns: \d+ Found: \d+", text)
    told = f" ({reason[0]})" if reason else ""
    rule = f"cannot be split into the columns of the header{told}"
    return Problem(extract.file, rule, int(at[1]) if at else None, code=Code.RAGGED_ROW)


def _check_columns(file: str, shape: Shape, types: Mapping[str, str]) -> list[Problem]:
    problems = []
    for field in shape.fields:
        if field.name not in types:
            rule = f"the column is missing{hint(field.name, types)}"
            problems.append(Problem(file, rule, None, field.name, code=Code.MISSING_COLUMN))
        elif not _type_fits(field, types[field.name]):
            rule = f"must not have the type {types[field.name]}: {_wanted(field)}"
            problems.append(Problem(file, rule, None, field.name, code=Code.WRONG_TYPE))
    return problems


_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_TYPES: Mapping[str, Sequence[str]] = {
    "text": (),
    "date": ("DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S"),
    "flag": ("BOOLEAN", *_NUMBERS, "UBIGINT", "DOUBLE", "FLOAT"),
    "integer": (*_NUMBERS, "UBIGINT", "DOUBLE", "FLOAT"),
}


def _type_fits(field: Field, given: str) -> bool:
    # a column without any value may have been written without a type
    nothing = given == '"NULL"' and not field.needed
    return nothing or given in ("VARCHAR", *_TYPES[field.kind])


def _wanted(field: Field) -> str:
    wanted = {"text": "text", "date": "a date", "flag": "0 or 1", "integer": "a whole number"}
    return f"it holds {wanted[field.kind]}"


def typed(field: Field, given: str) -> str:
    """SQL expression of a column's typed value, NULL where it is empty or not readable.

    The rows are those of a relation named `r`.
    """
    raw = f'r."{field.name}"'
    if field.kind == "text":
        return f"nullif(CAST({raw} AS VARCHAR), '')"
    if field.kind == "date":
        if given == "VARCHAR":
            whole = f"length({raw}) = 10 AND {raw}[5] = '-' AND {raw}[8] = '-'"
            return f"CASE WHEN {whole} THEN TRY_CAST({raw} AS DATE) END"
        return f"CASE WHEN {raw} = TRY_CAST({raw} AS DATE) THEN TRY_CAST({raw} AS DATE) END"
    # 12.0 is a whole number: programs write them so in columns with gaps
    digits = "[01]" if field.kind == "flag" else "-?[0-9]{1,9}"
    if given == "VARCHAR":
        number = f"CAST(CAST({raw} AS DOUBLE) AS INTEGER)"
        return f"CASE WHEN regexp_full_match({raw}, '{digits}([.]0*)?') THEN {number} END"
    number = f"TRY_CAST({raw} AS INTEGER)"
    whole = f"{raw} = {number}" + (f" AND {number} IN (0, 1)" if field.kind == "flag" else "")
    if given == "BOOLEAN":
        whole = "true"
    return f"CASE WHEN {whole} THEN {number} END"
