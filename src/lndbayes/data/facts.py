"""Reading `evaluation.toml`: the name, the period grid and what kind of data these are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lndbayes.base.characters import unwritable
from lndbayes.base.errors import Code, Problem
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
_VOCABULARIES = {"period": tuple(PERIOD_MONTHS), "disclosure": tuple(DISCLOSURES)}


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
        return None, [Problem(FILE, "the file is missing", code=Code.MISSING_FILE)]
    try:
        written = read_toml(root / FILE)
        lines = _key_lines(read_text(root / FILE))
    except Unreadable as error:
        return None, [error.problem(FILE)]
    problems = _check_keys(written, lines) + _check_values(written, lines)
    if problems:
        return None, problems
    step = PERIOD_MONTHS[written.get("period", "month")]
    first, last = (month_number(written[key]) for key in _MONTH_KEYS)
    if fault := _grid_fault(first, last, step):
        return None, [_problem("last_month", written["last_month"], *fault, lines)]
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


def _problem(key: str, value: object, rule: str, code: Code, lines: Mapping[str, int]) -> Problem:
    return Problem(FILE, rule, lines.get(key), key, str(value), code)


def _check_keys(written: Mapping[str, object], lines: Mapping[str, int]) -> list[Problem]:
    unknown = [key for key in written if key not in FACTS]
    problems = [
        _problem(
            key, written[key], f"the key is not known{hint(key, FACTS)}", Code.UNKNOWN_KEY, lines
        )
        for key in unknown
    ]
    problems += [
        Problem(FILE, f"the key is missing: it {rule}", None, key, code=Code.MISSING_KEY)
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
        if not isinstance(value, kind):
            problems.append(_problem(key, value, rule, Code.WRONG_TYPE, lines))
        elif isinstance(value, str) and (code := _text_code(key, value)):
            suffix = hint(value, _VOCABULARIES.get(key, ()))
            problems.append(_problem(key, value, rule + suffix, code, lines))
        elif broken := unwritable(str(value), lines=key == "notes"):
            problems.append(_problem(key, value, broken, Code.UNSEEN_CHARACTER, lines))
    return problems


def _text_code(key: str, value: str) -> Code | None:
    """What of the key's rule a text breaks."""
    if key in _MONTH_KEYS:
        fits = re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", value)
        return None if fits else Code.BAD_MONTH
    if key in _VOCABULARIES:
        return None if value in _VOCABULARIES[key] else Code.BAD_CHOICE
    return None if key == "notes" or value.strip() else Code.MISSING_VALUE


def _grid_fault(first: int, last: int, step: int) -> tuple[str, Code] | None:
    if last < first:
        return f"must not be before first_month, {month_text(first)}", Code.OUT_OF_ORDER
    if (last - first) % step:
        rule = (
            f"must be the first month of a period: a multiple of {step} months after first_month, "
            f"{month_text(first)}"
        )
        return rule, Code.OFF_GRID
    if last - first >= _MOST_YEARS * 12:
        rule = f"must be within {_MOST_YEARS} years of first_month, {month_text(first)}"
        return rule, Code.OUT_OF_RANGE
    return None
