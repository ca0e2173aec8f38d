"""What the label of a band says: a quantity or a range, with its unit."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["DASHES", "REVERSED", "TIMES", "LabelRange", "read_range", "stated_unit"]

#: Dashes that stand for a hyphen: hyphens proper, en and em dash.
DASHES: Final = "\u2010\u2011\u2013\u2014"
#: A number, with a sign where it cannot be the dash of a range.
_NUMBER = re.compile(
    r"(?:(?:^|(?<=[a-z] ))[-\u2212])?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
)
#: Days in each unit of time.
TIMES: Final = {
    **dict.fromkeys(("second", "sec"), 1 / 86400),
    **dict.fromkeys(("minute", "min"), 1 / 1440),
    **dict.fromkeys(("hour", "hr", "h"), 1 / 24),
    **dict.fromkeys(("day", "d"), 1.0),
    **dict.fromkeys(("week", "wk", "w"), 7.0),
    "fortnight": 14.0,
    **dict.fromkeys(("month", "mth", "mnth", "mo"), 365.25 / 12),
    "quarter": 365.25 / 4,
    **dict.fromkeys(("year", "yr", "y"), 365.25),
    "decade": 3652.5,
}
#: Words that are units too, which no number of days stands for; ``m`` may be minutes or months.
_OTHER_UNITS: Final = frozenset(
    [
        "m",
        "s",
        "mg",
        "g",
        "kg",
        "gram",
        "kilogram",
        "tonne",
        "lb",
        "oz",
        "mm",
        "cm",
        "km",
        "metre",
        "kilometre",
        "mile",
        "inch",
        "foot",
        "ml",
        "l",
        "litre",
        "p",
        "pence",
        "pound",
        "penny",
        "k",
        "hundred",
        "thousand",
        "million",
        "mn",
        "bn",
        "billion",
        "percent",
        "night",
        "session",
        "dozen",
    ]
)
#: The unit that may follow a number.
_WORD = re.compile(r"[ -]?([^\W\d_]+)\.?")
_LAST = re.compile(r" ([^\W\d_]+)$")
_LARGER = "(?:more|longer|older|higher|greater)"
_SMALLER = "(?:less|fewer|shorter|younger|lower)"
_BELOW = rf"(?:under|below|up to|to|until|within|at most|<=?|≤|-|no {_LARGER} than|{_SMALLER} than)"
_ABOVE = rf"(?:over|above|from|at least|>=?|≥|exceeding|no {_SMALLER} than|{_LARGER} than)"
_AND_LESS = rf"(?:or|and) (?:under|below|{_SMALLER})"
_AND_MORE = rf"(?:\+|plus|(?:or|and) (?:over|above|up|{_LARGER})|up(?:wards)?|and upwards)"
_BETWEEN = rf"(?:-|to|up to|until|and|(?:to|but|and) (?:under|below|{_SMALLER} than))"
#: Words after a number that are no unit of it.
_JOINING: Final = frozenset(
    ("to", "up", "or", "and", "but", "until", "under", "below", "over", "above", "plus", "upwards")
)
#: Between a number and its unit, beside other numbers.
_PASSED: Final = _JOINING | frozenset(
    [
        "more",
        "longer",
        "older",
        "higher",
        "greater",
        "less",
        "fewer",
        "shorter",
        "younger",
        "lower",
        "than",
        "between",
        "within",
    ]
)
#: How a range may be written, numbers being # and units left out.
_RANGES: Final[tuple[tuple[re.Pattern[str], tuple[int | None, int | None]], ...]] = (
    (re.compile(rf"{_BELOW} ?#|# ?{_AND_LESS}"), (None, 0)),
    (re.compile(rf"{_ABOVE} ?#|# ?{_AND_MORE}"), (0, None)),
    (re.compile(rf"(?:between |{_ABOVE} ?)?# ?{_BETWEEN} ?#"), (0, 1)),
    (re.compile(r"(?:exactly )?#"), (0, 0)),
)

#: Why a label is no range though its ends can be read.
REVERSED: Final = "has a range that ends before it begins"


@dataclass(frozen=True, slots=True)
class LabelRange:
    """What a label says: numbers with their units, empty where it has none, and which are ends."""

    numbers: tuple[float, ...]
    units: tuple[str, ...]
    ends: tuple[int | None, int | None]

    def interval(self, days: bool) -> tuple[float, float]:
        """Lower and upper end, infinite where open; in days if asked."""
        values = [
            number * (TIMES[unit] if days and unit else 1.0)
            for number, unit in zip(self.numbers, self.units, strict=True)
        ]
        low, high = self.ends
        return (
            -math.inf if low is None else values[low],
            math.inf if high is None else values[high],
        )


def stated_unit(label: str) -> str:
    """Known unit that follows the first number, whatever other numbers stand between."""
    for word in re.findall(r"[^\W\d_]+", label.lower()):
        if word in _PASSED:
            continue
        unit = word if word in TIMES or word in _OTHER_UNITS else word.removesuffix("s")
        return unit if unit in TIMES or unit in _OTHER_UNITS else ""
    return ""


def read_range(label: str) -> LabelRange | str:
    """Read a label as a range, or say why not."""
    text = " ".join(re.sub(f"[{DASHES}]", "-", label.lower()).replace("_", " ").split())
    text = re.sub("[£$€]", "", text)
    numbers = [float(n.replace(",", "").replace("\u2212", "-")) for n in _NUMBER.findall(text)]
    parts = _NUMBER.split(text)
    if not numbers:
        return "has no number"
    if any(part in (".", ",") for part in parts[1:-1]):
        return "has a number that can be read in two ways"
    units = [_unit(part) for part in parts[1:]]
    if len(units) == 2 and not units[0]:
        units[0] = units[1]  # "6 to 12 months"
    shape = parts[0]
    for part in parts[1:]:
        shape += "#" + (_WORD.sub("", part, count=1) if _unit(part) else part)
    ends = _ends(" ".join(shape.split()))
    last = _LAST.search(text)
    if ends is None and last and not any(units):
        # "181+ days", "12 or more months"
        ends = _ends(" ".join(shape.split()).removesuffix(last[1]).strip())
        units = [_unit(last[1])] * len(units)
    if ends is None:
        return "cannot be read as a quantity or a range"
    found = LabelRange(tuple(numbers), tuple(units), ends)
    low, high = found.interval(days=set(units) <= set(TIMES))
    return found if low <= high else REVERSED


def _ends(shape: str) -> tuple[int | None, int | None] | None:
    """Which numbers are the ends of a range so written, None where it is not one."""
    return next((ends for pattern, ends in _RANGES if pattern.fullmatch(shape)), None)


def _unit(after: str) -> str:
    """Unit in the singular that follows a number, empty if another word or none does."""
    word = _WORD.match(after)
    if word is None or word[1] in _JOINING:
        return ""
    return word[1] if word[1] in TIMES else word[1].removesuffix("s")
