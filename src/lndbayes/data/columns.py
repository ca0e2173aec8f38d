"""What a column and a table are, and the columns that several tables share."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from lndbayes.base.names import NAME_RULE

__all__ = [
    "COUNT_COLUMN",
    "EXPOSURE_COLUMN",
    "MOMENT_COLUMNS",
    "MONTH_COLUMN",
    "SITE_COLUMN",
    "SOURCE_COLUMN",
    "Column",
    "Kind",
    "Table",
    "example_rows",
    "number",
    "whole",
]

Kind = Literal["text", "name", "month", "integer", "number", "choice"]

_KIND_RULES: Final[Mapping[str, str]] = {
    "text": "must not be empty",
    "name": NAME_RULE,
    "month": "must be a month written YYYY-MM, such as 2014-04",
    "integer": "must be a whole number",
    "number": "must be a finite number written like 1250.5",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of one table.

    Attributes
    ----------
    name : str
        Column name in the file.
    kind : {"text", "name", "month", "integer", "number", "choice"}
        How a cell is read. A whole number may be written `12` or `12.0`.
    meaning : str
        What it holds.
    unit : str
        Unit of the values; empty for labels.
    empty : str
        What an empty cell means; an empty string says that a cell must not be empty.
    needed : bool
        Whether the file must have the column.
    low, high : float or None
        Bounds of a number, inclusive unless `low_open` or `high_open`.
    choices : tuple of str
        Vocabulary of a choice.
    free : bool
        Whether a text is free: any other names something, in other tables too.
    """

    name: str
    kind: Kind
    meaning: str
    unit: str = ""
    empty: str = ""
    needed: bool = True
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    choices: tuple[str, ...] = ()
    free: bool = False

    @property
    def rule(self) -> str:
        """What a filled cell must be, in one sentence."""
        if self.kind == "text" and self.empty:
            return "may be any text"
        if self.kind == "choice":
            *others, last = self.choices
            return f"must be {', '.join(others)} or {last}" if others else f"must be {last}"
        bounds = []
        if self.low is not None:
            bounds.append(f"above {self.low:g}" if self.low_open else f"at least {self.low:g}")
        if self.high is not None:
            bounds.append(f"below {self.high:g}" if self.high_open else f"at most {self.high:g}")
        return ", ".join([_KIND_RULES[self.kind], *([" and ".join(bounds)] if bounds else [])])


def whole(name: str, unit: str, meaning: str, **more: Any) -> Column:
    """Column of whole numbers; `more` as in `Column`."""
    return Column(name=name, kind="integer", unit=unit, meaning=meaning, **more)


def number(name: str, unit: str, meaning: str, **more: Any) -> Column:
    """Column of numbers; `more` as in `Column`."""
    return Column(name=name, kind="number", unit=unit, meaning=meaning, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One file of the evaluation directory.

    Attributes
    ----------
    file : str
        Path inside the evaluation directory.
    what : str
        What a row is.
    columns : tuple of Column
        Columns in the contract's order.
    key : tuple of str
        Columns that no two rows share.
    needed : bool
        Whether the file must exist and have rows.
    measured : bool
        Whether a row holds either `count` or `n`, `mean` and `sd`.
    extensible : bool
        Whether a spec may name further columns: they are kept as written.
    examples : tuple of mapping
        Example rows, as written in the file.
    """

    file: str
    what: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    needed: bool = False
    measured: bool = False
    extensible: bool = False
    examples: tuple[Mapping[str, str], ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in the contract's order."""
        return tuple(column.name for column in self.columns)

    def __getitem__(self, name: str) -> Column:
        """Return the column of that name."""
        return next(column for column in self.columns if column.name == name)


def example_rows(header: str, *lines: str) -> tuple[Mapping[str, str], ...]:
    """Rows of a table from lines as they stand in its file."""
    return tuple(csv.DictReader([header, *lines]))


SITE_COLUMN = Column(name="site", kind="text", meaning="a site of `sites.csv`")
MONTH_COLUMN = Column(name="month", kind="month", meaning="first month of the period")
EXPOSURE_COLUMN = number(
    "exposure",
    "trials, or an amount such as person-months",
    "persons or events at risk, or any amount the rate is per; 0 only with count 0",
    low=0,
    empty="no exposure: only in a continuous or a missing row",
)
COUNT_COLUMN = whole(
    "count",
    "events",
    "events among the exposure",
    low=0,
    empty="not a counted row, or withheld, or missing",
    needed=False,
)
MOMENT_COLUMNS = (
    whole(
        "n",
        "measurements",
        "measurements behind the mean",
        low=1,
        empty="not a continuous row",
        needed=False,
    ),
    number(
        "mean",
        "unit of the outcome",
        "mean of the measurements",
        empty="not a continuous row",
        needed=False,
    ),
    number(
        "sd",
        "unit of the outcome",
        "their sample standard deviation (divisor n - 1)",
        low=0,
        empty="not a continuous row",
        needed=False,
    ),
)
SOURCE_COLUMN = Column(name="source", kind="text", meaning="where the row comes from")
