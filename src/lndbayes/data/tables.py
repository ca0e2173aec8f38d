"""Reading one CSV file as text with line numbers, and turning its cells into typed columns."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lndbayes.base.characters import unwritable
from lndbayes.base.errors import Code, Problem
from lndbayes.base.formulas import NOT_A_FORMULA, runs
from lndbayes.base.names import NAME
from lndbayes.data.columns import Column, Table
from lndbayes.data.problems import hint, nearest
from lndbayes.data.schema import CONTINUOUS
from lndbayes.files import reading

__all__ = [
    "YEARS",
    "Parsed",
    "columns_as_written",
    "empty_frame",
    "month_number",
    "month_text",
    "parse_column",
    "read_table",
    "read_text",
]

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")

#: Sizes that a number other than 0 may have: in any unit more than there are of anything, and less
#: than anybody measures. Sums and ratios of such numbers stay finite, and whole ones exact.
_SMALLEST, _LARGEST = 1e-9, 1e10
#: Years that a month may lie in; another is a typing error.
YEARS = range(1900, 2200)


@dataclass(frozen=True, slots=True)
class Parsed:
    """One table as read.

    Attributes
    ----------
    table : Table
        Its schema.
    frame : pandas.DataFrame
        One row per data row, every schema column typed (text as `str`, numbers as float with NaN
        where empty, months as `YYYY-MM` text) and `row`, the line in the file.
    text : mapping of str to ndarray
        The cells of every column as written, shape (row,).
    bad : mapping of str to ndarray
        Which of them have a problem already: cross-checks leave them alone.
    ignored : tuple of str
        Columns of the file that the contract does not know.
    further : mapping of str to ndarray
        Cells of these as written, shape (row,), where the table is extensible.
    whole : bool
        Whether every row of the file could be split into cells.
    """

    table: Table
    frame: pd.DataFrame
    text: Mapping[str, np.ndarray]
    bad: Mapping[str, np.ndarray]
    ignored: tuple[str, ...] = ()
    further: Mapping[str, np.ndarray] = field(default_factory=dict)
    whole: bool = True

    def usable(self, *columns: str) -> np.ndarray:
        """Rows whose cells in all these columns are readable, shape (row,)."""
        return ~np.any([self.bad[column] for column in columns], axis=0)

    def filled(self, *columns: str) -> np.ndarray:
        """Rows in which any of these cells is filled, readable or not, shape (row,)."""
        return np.any([self.text[column] != "" for column in columns], axis=0)

    def problems(
        self,
        broken: np.ndarray,
        column: str,
        rule: str | Sequence[str],
        code: Code | Sequence[Code],
    ) -> list[Problem]:
        """One problem per row marked in `broken`, shape (row,), with the value as written.

        `rule` is one text, or one per broken row; `code` likewise.
        """
        rows = np.flatnonzero(broken)
        rules = [rule] * len(rows) if isinstance(rule, str) else rule
        codes = [code] * len(rows) if isinstance(code, Code) else code
        values = self.text[column]
        lines = self.frame["row"].to_numpy()
        return [
            Problem(self.table.file, text, int(lines[i]), column, str(values[i]), kind)
            for i, text, kind in zip(rows, rules, codes, strict=True)
        ]


def month_number(text: str) -> int:
    """Months since year 0 of a `YYYY-MM` text."""
    return int(text[:4]) * 12 + int(text[5:7]) - 1


def month_text(number: int) -> str:
    """`YYYY-MM` text of a month number."""
    return f"{number // 12:04d}-{number % 12 + 1:02d}"


def empty_frame(table: Table, month_index: bool = False) -> pd.DataFrame:
    """Return a frame without rows that has every column of the table, typed, and `row`.

    With `month_index` also that, which tables with months have once they are checked.
    """
    none = np.zeros(0, dtype=np.int64)
    frame = _parse(table, {}, none)[0].frame
    return frame.assign(month_index=none) if month_index else frame


def columns_as_written(sites: Parsed | None = None) -> pd.DataFrame:
    """Columns of a table of sites as written, further ones included; index `site` and `row`."""
    columns = {} if sites is None else {**sites.text, **sites.further}
    index: list[Any] = [columns.pop("site", []), [] if sites is None else sites.frame["row"]]
    frame = pd.DataFrame(columns, index=pd.MultiIndex.from_arrays(index, names=["site", "row"]))
    return frame.sort_index()


def read_text(root: Path, file: str) -> tuple[str, list[Problem]]:
    """Read a file as UTF-8 text, with or without a byte order mark.

    Returns
    -------
    tuple of str and list of Problem
        The text, and what keeps it from being read: see `lndbayes.files.reading.read_text`.
    """
    try:
        return reading.read_text(root / file), []
    except reading.Unreadable as error:
        return "", [error.problem(file)]


def read_table(root: Path, table: Table) -> tuple[Parsed | None, list[Problem]]:
    """Read one table and check every cell by itself.

    Parameters
    ----------
    root : Path
        Evaluation directory; the file exists in it.
    table : Table
        What the file must be.

    Returns
    -------
    tuple of Parsed or None, and list of Problem
        No table where its columns could not be told.
    """
    text, problems = read_text(root, table.file)
    if problems:
        return None, problems
    records, problems = _records(table.file, text)
    if not records:
        rule = "the file is empty: it must begin with a header of column names"
        return None, problems or [Problem(table.file, rule, 1, code=Code.EMPTY_FILE)]
    header_line, header = records[0]
    header_problems = _check_header(table, header_line, header)
    if header_problems:
        return None, problems + header_problems
    rows, ragged = _full_rows(table.file, header, records[1:])
    problems += ragged
    if table.needed and not rows and not problems:
        rule = f"the file has no rows: it needs {table.what}"
        problems.append(Problem(table.file, rule, 1, code=Code.EMPTY_FILE))
    columns = list(zip(*(cells for _, cells in rows), strict=True)) or [()] * len(header)
    written = {
        name: np.array(cells, dtype=object)
        for name, cells in zip(header, columns, strict=True)
        if name in table.names or table.extensible
    }
    lines = np.array([line for line, _ in rows], dtype=np.int64)
    parsed, unreadable = _parse(table, written, lines)
    ignored = tuple(name for name in header if name not in table.names)
    further = {name: written[name] for name in ignored if table.extensible}
    parsed = dataclasses.replace(parsed, ignored=ignored, further=further, whole=not ragged)
    return parsed, problems + unreadable


def _records(file: str, text: str) -> tuple[list[tuple[int, list[str]]], list[Problem]]:
    """Split into records with the line each starts on, less those of empty cells only."""
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        rule = "must be text: it holds a NUL character"
        return [], [Problem(file, rule, line, code=Code.NOT_CSV)]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for record in reader:
            cells = list(map(str.strip, record))
            if any(cells):
                records.append((start, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        rule = f"must be comma-separated text: {error}"
        return records, [Problem(file, rule, start, code=Code.NOT_CSV)]
    return records, []


def _check_header(table: Table, line: int, header: list[str]) -> list[Problem]:
    file = table.file
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        rule = "columns must be separated by commas"
        return [Problem(file, rule, line, None, header[0], Code.NOT_CSV)]
    problems = [
        Problem(file, "two columns have the same name", line, name, name, Code.REPEATED_COLUMN)
        for name in dict.fromkeys(header)
        if name and header.count(name) > 1
    ]
    if "" in header:
        where = file, "a column has no name", line, str(header.index("") + 1)
        problems.append(Problem(*where, "", Code.UNNAMED_COLUMN))
    unknown = [name for name in header if name not in table.names]
    missing = [c.name for c in table.columns if c.needed and c.name not in header]
    if table.measured and "count" not in header and not set(CONTINUOUS) <= set(header):
        missing += [
            name for name in CONTINUOUS if name not in header and set(CONTINUOUS) & set(header)
        ]
        missing += ["count"] if not set(CONTINUOUS) & set(header) else []
    for name in missing:
        near = nearest(name, unknown)
        rule = "the column is missing" + (f" (is it {near!r}?)" if near else "")
        problems.append(Problem(file, rule, line, name, code=Code.MISSING_COLUMN))
    return problems


def _full_rows(
    file: str, header: list[str], records: list[tuple[int, list[str]]]
) -> tuple[list[tuple[int, list[str]]], list[Problem]]:
    rows, problems = [], []
    for line, cells in records:
        if len(cells) == len(header):
            rows.append((line, cells))
            continue
        rule = f"the row must have {len(header)} fields like the header, and has {len(cells)}"
        problems.append(Problem(file, rule, line, None, ",".join(cells), Code.RAGGED_ROW))
    return rows, problems


def _parse(
    table: Table, written: dict[str, np.ndarray], lines: np.ndarray
) -> tuple[Parsed, list[Problem]]:
    """Type every column; a column that the file lacks is empty throughout."""
    frame: dict[str, pd.Series] = {}
    texts: dict[str, np.ndarray] = {}
    faults: dict[str, np.ndarray] = {}
    for column in table.columns:
        absent = np.full(len(lines), "", dtype=object)
        cells = written.get(column.name, absent)
        frame[column.name], faults[column.name] = parse_column(column, cells)
        texts[column.name] = cells
    bad = {name: np.array([f is not None for f in found], bool) for name, found in faults.items()}
    parsed = Parsed(table, pd.DataFrame({**frame, "row": lines}), texts, bad)
    problems = []
    for name, found in faults.items():
        told = found[bad[name]].tolist()
        rules, codes = [rule for rule, _ in told], [code for _, code in told]
        problems += parsed.problems(bad[name], name, rules, codes)
    return parsed, problems


#: What is wrong with a cell by itself: the rule and its code; None where nothing is.
Fault = tuple[str, Code] | None


def parse_column(column: Column, cells: np.ndarray) -> tuple[pd.Series, np.ndarray]:
    """Type the cells of one column.

    Parameters
    ----------
    column : Column
        What the cells must be.
    cells : ndarray of str, shape (row,)
        As written.

    Returns
    -------
    pandas.Series
        Values, NaN or empty where a cell is empty or breaks a rule.
    ndarray of Fault, shape (row,)
        What is wrong with a cell by itself.
    """
    # each distinct text is looked at once
    codes, distinct = pd.factorize(cells)
    found = [_parse_cell(column, str(text)) for text in distinct]
    dtype = "float64" if column.kind in ("integer", "number") else "str"
    values = pd.Series([value for value, _ in found], dtype=dtype)
    faults = np.empty(len(found), dtype=object)
    for at, (_, fault) in enumerate(found):
        faults[at] = fault  # a list of pairs would be taken for a matrix
    return values.take(codes).reset_index(drop=True), faults[codes]


def _parse_cell(column: Column, text: str) -> tuple[str | float, Fault]:
    if column.kind in ("integer", "number"):
        return _parse_number(column, text)
    fault = _text_fault(column, text) if text else _absent(column)
    return (text, None) if fault is None else ("", fault)


def _absent(column: Column) -> Fault:
    rule = f"must not be empty: {column.rule}"
    rule = rule.replace("must not be empty: must not be empty", "must not be empty")
    return None if column.empty else (rule, Code.MISSING_VALUE)


def _text_fault(column: Column, text: str) -> Fault:
    if column.kind == "text" and (rule := unwritable(text, lines=column.free)):
        return rule, Code.UNSEEN_CHARACTER
    if column.kind == "text" and not column.free and runs(text):
        return NOT_A_FORMULA, Code.FORMULA
    if column.kind == "choice" and text not in column.choices:
        return column.rule + hint(text, column.choices), Code.BAD_CHOICE
    if column.kind == "name" and not NAME.fullmatch(text):
        return column.rule, Code.BAD_NAME
    if column.kind == "month" and not _MONTH.fullmatch(text):
        return column.rule, Code.BAD_MONTH
    if column.kind == "month" and int(text[:4]) not in YEARS:
        return f"must lie in the years {YEARS[0]} to {YEARS[-1]}", Code.OUT_OF_RANGE
    return None


def _parse_number(column: Column, text: str) -> tuple[float, Fault]:
    if not text:
        return math.nan, _absent(column)
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if code := _number_code(column, value):
        return math.nan, (column.rule, code)
    if value and not _SMALLEST <= abs(value) <= _LARGEST:
        rule = f"must be 0 or have a size between {_SMALLEST:g} and {_LARGEST:g}"
        return math.nan, (rule, Code.NO_SUCH_SIZE)
    return value + 0.0, None


def _number_code(column: Column, value: float) -> Code | None:
    """What of the column's rule a number breaks."""
    if not math.isfinite(value):
        return Code.NOT_A_NUMBER
    if column.kind == "integer" and value != math.floor(value):
        return Code.NOT_WHOLE
    low = -math.inf if column.low is None else column.low
    high = math.inf if column.high is None else column.high
    above = value > low if column.low_open else value >= low
    below = value < high if column.high_open else value <= high
    return None if above and below else Code.OUT_OF_RANGE
