"""What the extracts say about themselves: `extracts.toml` and the table `sources`."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lndbayes.base.characters import text_problems
from lndbayes.base.errors import Code, Problem
from lndbayes.base.names import DISCLOSURES
from lndbayes.data.problems import hint
from lndbayes.data.tables import YEARS, month_number, month_text
from lndbayes.extracts.shape import EVENTS
from lndbayes.files.reading import Unreadable, read_toml, there_is

__all__ = ["FILE", "Settings", "Source", "parse_sources", "read_settings"]

FILE: Final = "extracts.toml"

#: Months that hold less than this share of their events so far are left out.
LEAST_COVERAGE: Final = 0.5

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+")

_BETWEEN: Final = f"{YEARS[0]} to {YEARS[-1]}"
_KEYS: Final[Mapping[str, str]] = {
    "name": "must be a text that is not empty",
    "first_month": f'must be a month in quotes written "YYYY-MM", in the years {_BETWEEN}',
    "last_month": f'must be a month in quotes written "YYYY-MM", in the years {_BETWEEN}',
    "extract_date": "must be a date written YYYY-MM-DD",
    "synthetic": "must be true or false, without quotes",
    "disclosure": f"must be one of {', '.join(DISCLOSURES)}",
}
#: Longest mean delay of reports, months: what comes later on average is never complete.
_LONGEST_DELAY: Final = 1200
_OTHER_KEYS: Final = ("notes", "quarterly")


@dataclass(frozen=True, slots=True)
class Settings:
    """The facts of `extracts.toml`; months are numbers, `12 * year + month - 1`.

    Attributes
    ----------
    name, disclosure, notes : str
        As written.
    first, last : int
        The grid's first and last month, both evaluated.
    extract_date : datetime.date
        Last day that the extracts can know of.
    synthetic : bool
        Whether the persons are simulated.
    """

    name: str
    first: int
    last: int
    extract_date: dt.date
    synthetic: bool
    disclosure: str
    notes: str


@dataclass(frozen=True, slots=True)
class Source:
    """One source, cut to the grid.

    Attributes
    ----------
    name : str
        Name of the source and of its table.
    first, last : int
        Months it covers.
    counted : int
        Last month that is counted: later ones hold less than half of their events so far.
    end : datetime.date
        Last day observed: the extract's, or the last of the covered months where that is earlier.
    delay : float or None
        Mean reporting delay, months.
    seams : tuple of str
        Months in which the collection changed.
    extract_month : int
        Month of the extract.
    """

    name: str
    first: int
    last: int
    counted: int
    end: dt.date
    delay: float | None
    seams: tuple[str, ...]
    extract_month: int

    def coverage(self, month: int) -> float:
        """Share of a month's events that the extract holds, under an exponential delay."""
        return _coverage(self.delay, self.extract_month - month)


def _coverage(delay: float | None, months: int) -> float:
    return 1.0 if delay is None else 1.0 - math.exp(-(months + 0.5) / delay)


#: What a value of a key breaks that is not as its rule says; elsewhere it is empty.
_CODES = {
    "synthetic": Code.WRONG_TYPE,
    "extract_date": Code.BAD_FORMAT,
    "first_month": Code.BAD_MONTH,
    "last_month": Code.BAD_MONTH,
    "disclosure": Code.BAD_CHOICE,
}


def read_settings(root: Path) -> tuple[Settings | None, list[Problem]]:
    """Read and check `extracts.toml`; no settings where anything in it is wrong."""
    if not there_is(root / FILE):
        return None, [Problem(FILE, "the file is missing", code=Code.MISSING_FILE)]
    try:
        written = read_toml(root / FILE)
    except Unreadable as error:
        return None, [error.problem(FILE)]
    problems = text_problems(written, FILE, lines=("notes",))
    problems += [
        Problem(FILE, f"the key is not known{hint(key, _KEYS)}", None, key, code=Code.UNKNOWN_KEY)
        for key in written
        if key not in _KEYS and key not in _OTHER_KEYS
    ]
    for key, rule in _KEYS.items():
        if key not in written:
            rule = f"the key is missing: it {rule}"
            problems.append(Problem(FILE, rule, None, key, code=Code.MISSING_KEY))
        elif not _fits(key, written[key]):
            suffix = hint(str(written[key]), DISCLOSURES) if key == "disclosure" else ""
            where = FILE, rule + suffix, None, key, str(written[key])
            problems.append(Problem(*where, _CODES.get(key, Code.MISSING_VALUE)))
    if problems:
        return None, problems
    settings = Settings(
        name=written["name"].strip(),
        first=month_number(written["first_month"]),
        last=month_number(written["last_month"]),
        extract_date=_day(written["extract_date"]),
        synthetic=written["synthetic"],
        disclosure=written["disclosure"],
        notes=str(written.get("notes", "")),
    )
    problems = _check_grid(settings)
    return (None, problems) if problems else (settings, [])


def _fits(key: str, value: Any) -> bool:
    if key == "synthetic":
        return isinstance(value, bool)
    if key == "extract_date":
        return _day(value) is not None
    if not isinstance(value, str):
        return False
    if key.endswith("_month"):
        return _MONTH.fullmatch(value) is not None and int(value[:4]) in YEARS
    return value in DISCLOSURES if key == "disclosure" else bool(value.strip())


def _day(value: Any) -> Any:
    """Return the date of a TOML date or an ISO text, else None."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if not (isinstance(value, str) and _DAY.fullmatch(value)):
        return None
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        return None


def last_day(month: int) -> dt.date:
    """Last day of a month number."""
    return dt.date((month + 1) // 12, (month + 1) % 12 + 1, 1) - dt.timedelta(days=1)


def _check_grid(settings: Settings) -> list[Problem]:
    if settings.last < settings.first:
        rule = f"must not be before first_month, {month_text(settings.first)}"
        where = FILE, rule, None, "last_month", month_text(settings.last)
        return [Problem(*where, Code.OUT_OF_ORDER)]
    end = last_day(settings.last)
    if settings.extract_date < end:
        rule = f"must not be before the last day of last_month, {end}: a month is counted whole"
        where = FILE, rule, None, "extract_date", str(settings.extract_date)
        return [Problem(*where, Code.OUT_OF_ORDER)]
    return []


def parse_sources(
    file: str, rows: Sequence[Sequence[str]], settings: Settings
) -> tuple[dict[str, Source], list[Problem]]:
    """Check the rows of `sources`.

    Parameters
    ----------
    file : str
        Name of the file, for messages.
    rows : sequence of sequence of str
        Source, first month, last month, seams, delay; empty text where there is none.
    settings : Settings
        The grid and the extract date.

    Returns
    -------
    tuple of dict of str to Source, and list of Problem
        By name, in the order of `shape.EVENTS`.
    """
    problems: list[Problem] = []
    found: dict[str, Source] = {}
    for line, (name, first, last, seam, delay) in enumerate(rows, start=2):
        seams = tuple(part.strip() for part in seam.split(";") if part.strip())
        broken = _source_problems(file, line, (name, first, last, seams, delay))
        if name in found:
            broken.append(
                Problem(file, "repeats another row", line, "source", name, Code.REPEATED_ROW)
            )
        problems += broken
        if broken:
            continue
        source = _source(name, first, last, seams, delay, settings)
        if source.last < source.first:
            rule = "must cover some month of the grid of extracts.toml"
            problems.append(Problem(file, rule, line, "first_month", first, Code.OUTSIDE_MONTHS))
        elif source.counted < source.first:
            rule = "leaves no month with half of its events reported"
            where = file, rule, line, "reporting_delay_months", delay
            problems.append(Problem(*where, Code.OUTSIDE_MONTHS))
        found[name] = source
    return {name: found[name] for name in EVENTS if name in found}, problems


def _source_problems(
    file: str, line: int, written: tuple[str, str, str, tuple[str, ...], str]
) -> list[Problem]:
    name, first, last, seams, delay = written
    problems = []
    if name not in EVENTS:
        rule = f"must be one of {', '.join(EVENTS)}{hint(name, EVENTS)}"
        problems.append(Problem(file, rule, line, "source", name, Code.BAD_CHOICE))
    months = (("first_month", first), ("last_month", last), *(("seam", seam) for seam in seams))
    for column, value in months:
        if not _MONTH.fullmatch(value):
            rule = "must be a month written YYYY-MM"
            problems.append(Problem(file, rule, line, column, value, Code.BAD_MONTH))
    if not problems and last < first:
        rule = "must not be before first_month"
        problems.append(Problem(file, rule, line, "last_month", last, Code.OUT_OF_ORDER))
    if delay and not (_NUMBER.fullmatch(delay) and 0 < float(delay) <= _LONGEST_DELAY):
        rule = f"must be a number above 0, at most {_LONGEST_DELAY}, or empty for no delay"
        where = file, rule, line, "reporting_delay_months", delay
        problems.append(Problem(*where, Code.OUT_OF_RANGE))
    return problems


def _source(
    name: str, first: str, last: str, seams: tuple[str, ...], delay: str, settings: Settings
) -> Source:
    start = max(month_number(first), settings.first)
    stop = min(month_number(last), settings.last)
    mean = float(delay) if delay else None
    extract = settings.extract_date
    extract_month = 12 * extract.year + extract.month - 1
    counted = [
        month
        for month in range(start, stop + 1)
        if _coverage(mean, extract_month - month) >= LEAST_COVERAGE
    ]
    return Source(
        name=name,
        first=start,
        last=stop,
        counted=max(counted, default=start - 1),
        end=min(extract, last_day(stop)),
        delay=mean,
        seams=seams,
        extract_month=extract_month,
    )
