"""Reading `evaluation.toml`: the name, the period grid and what kind of data these are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lndbayes.base.characters import unwritable
from lndbayes.base.errors import Problem
from lndbayes.base.names import DISCLOSURES, PERIOD_MONTHS
from lndbayes.data.problems import hint
from lndbayes.data.schema import FACTS
from lndbayes.data.tables import month_number, month_text
from lndbayes.files.reading import Unreadable, read_text, read_toml, there_is

__all__ = ["FILE", "Facts", "read_facts"]

FILE = "evaluation.toml"

#: Longest period grid; more is a typing error in a year.
_MOST_YEARS = 100

_MONTH_KEYS = ("first_month", "last_month")


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of `evaluation.toml`.

    Attributes
    ----------
    name : str
        Name of the evaluation.
    period : {"month", "quarter", "year"}
        Length of a period.
    months : tuple of str
        First month of every period, `YYYY-MM`.
    synthetic : bool
        Whether the data are simulated.
    disclosure : str
        Name of a disclosure preset, or `none`.
    notes : str
        The author's notes.
    """

    name: str
    period: str
    months: tuple[str, ...]
    synthetic: bool
    disclosure: str
    notes: str

    @property
    def step(self) -> int:
        """Months in one period."""
        return PERIOD_MONTHS[self.period]

    def index(self, month: str) -> float:
        """Periods from the first month to `month`; a fraction where it is not on the grid."""
        return (month_number(month) - month_number(self.months[0])) / self.step


def read_facts(root: Path) -> tuple[Facts | None, list[Problem]]:
    """Read and check `evaluation.toml`.

    Returns
    -------
    tuple of Facts or None, and list of Problem
        No facts where any of them is wrong.
    """
    if not there_is(root / FILE):
        return None, [Problem(FILE, "the file is missing")]
    try:
        written = read_toml(root / FILE)
        lines = _key_lines(read_text(root / FILE))
    except Unreadable as error:
        return None, [Problem(FILE, error.rule, error.row, None, error.value)]
    problems = _check_keys(written, lines) + _check_values(written, lines)
    if problems:
        return None, problems
    step = PERIOD_MONTHS[written.get("period", "month")]
    first, last = (month_number(written[key]) for key in _MONTH_KEYS)
    if rule := _grid_rule(first, last, step):
        return None, [_problem("last_month", written["last_month"], rule, lines)]
    return (
        Facts(
            name=written["name"].strip(),
            period=written.get("period", "month"),
            months=tuple(month_text(number) for number in range(first, last + 1, step)),
            synthetic=written["synthetic"],
            disclosure=written["disclosure"],
            notes=str(written.get("notes", "")),
        ),
        [],
    )


def _key_lines(text: str) -> dict[str, int]:
    keys = (re.match(r"\s*\[*\s*[\"']?([A-Za-z0-9_-]+)", line) for line in text.splitlines())
    lines: dict[str, int] = {}
    for number, key in enumerate(keys, start=1):
        if key:
            lines.setdefault(key[1], number)
    return lines


def _problem(key: str, value: object, rule: str, lines: Mapping[str, int]) -> Problem:
    return Problem(FILE, rule, lines.get(key), key, str(value))


def _check_keys(written: Mapping[str, object], lines: Mapping[str, int]) -> list[Problem]:
    unknown = [key for key in written if key not in FACTS]
    problems = [
        _problem(key, written[key], f"the key is not known{hint(key, FACTS)}", lines)
        for key in unknown
    ]
    problems += [
        Problem(FILE, f"the key is missing: it {rule}", None, key)
        for key, (needed, _, rule) in FACTS.items()
        if needed and key not in written
    ]
    return problems


def _check_values(written: Mapping[str, object], lines: Mapping[str, int]) -> list[Problem]:
    problems = []
    for key, (_, kind, rule) in FACTS.items():
        if key not in written:
            continue
        value = written[key]
        if not isinstance(value, kind) or (isinstance(value, str) and not _text_fits(key, value)):
            known: Iterable[str] = {"period": PERIOD_MONTHS, "disclosure": DISCLOSURES}.get(key, ())
            suffix = hint(str(value), known)
            problems.append(_problem(key, value, rule + suffix, lines))
        elif broken := unwritable(str(value), lines=key == "notes"):
            problems.append(_problem(key, value, broken, lines))
    return problems


def _text_fits(key: str, value: str) -> bool:
    if key in _MONTH_KEYS:
        return re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", value) is not None
    if key == "period":
        return value in PERIOD_MONTHS
    if key == "disclosure":
        return value in DISCLOSURES
    return key == "notes" or bool(value.strip())


def _grid_rule(first: int, last: int, step: int) -> str:
    if last < first:
        return f"must not be before first_month, {month_text(first)}"
    if (last - first) % step:
        return (
            f"must be the first month of a period: a multiple of {step} months after first_month, "
            f"{month_text(first)}"
        )
    if last - first >= _MOST_YEARS * 12:
        return f"must be within {_MOST_YEARS} years of first_month, {month_text(first)}"
    return ""
