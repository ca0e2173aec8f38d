"""The order of bands: declared, or read from the numbers in their labels, or refused.

Text has an order of its own that is almost never that of the bands: ``181+ days`` sorts before
``31-90 days``. No order is taken from it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Final

from lndbayes.data.band_labels import DASHES, REVERSED, TIMES, LabelRange, read_range, stated_unit
from lndbayes.data.problems import hint

__all__ = ["OPEN", "BandOrder", "band_levels", "order_bands"]

#: What follows the bin of a case that is still open.
OPEN: Final = " open"

_ARROW: Final = ">"
#: A whole number at the start that may count the bands.
_LEADING = re.compile(r"[^\w-]*([0-9]+)(?![.,]?[0-9])")
#: A number before it is the lower end of a range.
_RUNS_ON = re.compile(rf" ?(?:[-\u2212{DASHES}]|_?to\b)", re.IGNORECASE)
#: What may stand between a number that counts and the rest of its label.
_MARKS: Final = " _-:.,;)]/" + DASHES
#: A number that is set off as a counter.
_SET_OFF = re.compile(rf"\W*[0-9]+(?: ?[_.):;/]| [-{DASHES}] )")
#: A range written without spaces, which no counter begins.
_TIGHT = re.compile(rf"\W*[0-9.]+[-{DASHES}][0-9]")


@dataclass(frozen=True, slots=True)
class BandOrder:
    """An order of bands, or why there is none.

    Attributes
    ----------
    labels : tuple of str
        The bands from the lowest to the highest; empty where the order cannot be known.
    problem : str
        Why it cannot be known; empty where it is.
    declared : bool
        Whether a spec declares it.
    gaps : tuple of pairs of str
        Neighbours whose ranges leave more than one unit between them: a band that never occurs has
        no rows, or was forgotten.
    """

    labels: tuple[str, ...]
    problem: str = ""
    declared: bool = False
    gaps: tuple[tuple[str, str], ...] = ()


def band_levels(categories: Iterable[str]) -> tuple[str, ...]:
    """Bands that categories are made of, each once.

    Parameters
    ----------
    categories : iterable of str
        Categories of one outcome: bands, bins of which some end in `OPEN`, or pairs
        ``start>review``.

    Returns
    -------
    tuple of str
        Bands, bins without `OPEN`, or the two sides of the pairs; in no order that means anything.
    """
    names = sorted(set(categories))
    pairs = [name.split(_ARROW) for name in names]
    if names and all(len(pair) == 2 and all(map(str.strip, pair)) for pair in pairs):
        return tuple(sorted({band.strip() for pair in pairs for band in pair}))
    return tuple(sorted({name.removesuffix(OPEN) for name in names}))


def order_bands(labels: Iterable[str], declared: Sequence[str] = ()) -> BandOrder:
    """Put bands in order.

    Parameters
    ----------
    labels : iterable of str
        The bands of the data, from `band_levels`.
    declared : sequence of str
        The order that a spec declares; may hold bands without any row in the data. Empty: the order
        is read from the numbers in the labels.

    Returns
    -------
    BandOrder
        Numbers are read in two ways. Where all labels begin with whole numbers that follow each
        other, these count them (``1 short``, ``2 long``). Else a label is a quantity or a range of
        it (``under 6 months``, ``6 to 12 months``, ``1 year or more``), and units of time are
        converted. Where numbers are lacking, equal, overlap or contradict each other, or units
        differ, the order cannot be known.
    """
    labels = tuple(sorted(set(labels)))
    if declared:
        return _declared(labels, tuple(declared))
    if len(labels) < 2:
        return BandOrder(labels)
    by_size, why = _by_size({label: label for label in labels})
    leading = _leading(labels)
    if leading and _consecutive(list(leading)):
        order = tuple(leading[number][0] for number in sorted(leading))
        if by_size == order:
            return BandOrder(order, gaps=_gaps(order))
        if by_size is not None:
            # amounts of units that differ: to count with them would reverse the bands
            if not any(map(_SET_OFF.match, labels)):
                return BandOrder(by_size, gaps=_gaps(by_size))
            return _unknown("the first numbers count in another order than the ranges have")
        counted = [leading[number] for number in sorted(leading)]
        clash = _amounts(counted) or _contradiction(counted)
        return _unknown(clash) if clash else BandOrder(order)
    if by_size is None and leading:
        # a counted band has no row in these data: the ranges say whether the numbers count
        order = tuple(leading[number][0] for number in sorted(leading))
        if not any(map(_RUNS_ON.match, (rest for _, rest in leading.values()))):
            rests = {label: rest.lstrip(_MARKS) for label, rest in leading.values()}
            by_size = order if _by_size(rests)[0] == order else None
    return _unknown(why) if by_size is None else BandOrder(by_size, gaps=_gaps(by_size))


def _declared(labels: tuple[str, ...], declared: tuple[str, ...]) -> BandOrder:
    unknown = [label for label in labels if label not in declared]
    if not unknown:
        return BandOrder(declared, declared=True)
    told = ", ".join(f"{label!r}{hint(label, declared)}" for label in unknown)
    return BandOrder((), f"the spec's bands lack {told}", declared=True)


def _unknown(why: str) -> BandOrder:
    return BandOrder((), f"the numbers in the labels give no order: {why}")


def _leading(labels: tuple[str, ...]) -> dict[int, tuple[str, str]]:
    """Label and what follows, by the whole number that it begins with; empty if one has none."""
    found: dict[int, tuple[str, str]] = {}
    for label in labels:
        number = _LEADING.match(label)
        if number is None or int(number[1]) in found:
            return {}
        found[int(number[1])] = label, label[number.end() :]
    return found


def _amounts(counted: list[tuple[str, str]]) -> str:
    """Whether numbers that follow each other are amounts of something rather than counters."""
    for label, _ in counted:
        if _TIGHT.match(label) and read_range(label) == REVERSED:
            return f"{label!r} {REVERSED}"
    units = {unit for label, _ in counted if (unit := stated_unit(label))}
    if len(units) < 2:
        return ""
    # counters beside ranges of their own: "2 3 to 12 months", "3 1 year or more"
    rests = {label: rest.lstrip(_MARKS) for label, rest in counted}
    if _by_size(rests)[0] == tuple(rests):
        return ""
    return f"they have different units ({', '.join(sorted(units))})"


def _consecutive(numbers: list[int]) -> bool:
    return max(numbers) - min(numbers) == len(numbers) - 1


def _contradiction(counted: list[tuple[str, str]]) -> str:
    """Whether what follows the numbers that count says another order."""
    said = {label: read_range(rest.lstrip(_MARKS)) for label, rest in counted}
    ranges = {label: found for label, found in said.items() if isinstance(found, LabelRange)}
    days = _common_unit(list(ranges.values()))
    if isinstance(days, str):
        return days
    ends = [(label, found.interval(days)) for label, found in ranges.items()]
    for (one, a), (other, b) in combinations(ends, 2):
        if a != b and a[0] >= b[0] and a[1] >= b[1]:
            return f"{one!r} is before {other!r} by its first number and after it by the others"
    return ""


def _by_size(texts: Mapping[str, str]) -> tuple[tuple[str, ...] | None, str]:
    """Labels by the ranges that their texts say, or why not."""
    ranges: dict[str, LabelRange] = {}
    for label, text in texts.items():
        found = read_range(text)
        if isinstance(found, str):
            return None, f"{label!r} {found}"
        ranges[label] = found
    days = _common_unit(list(ranges.values()))
    if isinstance(days, str):
        return None, days
    ends = {label: found.interval(days) for label, found in ranges.items()}
    order = tuple(sorted(ends, key=lambda label: ends[label]))
    for one, other in pairwise(order):
        if not _before(ends[one], ends[other]):
            return None, f"{one!r} and {other!r} do not follow each other"
    return order, ""


def _gaps(order: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Neighbours between whose ranges there is more than one unit."""
    ranges = {label: read_range(label) for label in order}
    found = []
    for one, other in pairwise(order):
        a, b = ranges[one], ranges[other]
        if isinstance(a, str) or isinstance(b, str) or (a.ends[0] == a.ends[1] is not None):
            continue
        days = _common_unit([a, b]) is True
        unit = min(
            (TIMES.get(u, 1.0) if days else 1.0 for u in (*a.units, *b.units) if u), default=1.0
        )
        if b.interval(days)[0] - a.interval(days)[1] > 1.05 * unit:
            found.append((one, other))
    return tuple(found)


def _before(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether one range lies below another, or both are open to the same side and one is wider."""
    if one == other:
        return False
    nested = one[0] == other[0] == -math.inf or one[1] == other[1] == math.inf
    return one[0] <= other[0] and one[1] <= other[1] and (nested or one[1] <= other[0])


def _common_unit(ranges: Sequence[LabelRange]) -> bool | str:
    """Whether numbers must be converted to days to compare them, or why they cannot be."""
    units = {unit for found in ranges for unit in found.units}
    named = units - {""}
    if len(named) < 2:
        return False
    bare = any(
        unit == "" and number != 0
        for found in ranges
        for number, unit in zip(found.numbers, found.units, strict=True)
    )
    if bare or not named <= set(TIMES):
        return f"they have different units ({', '.join(sorted(named))})"
    return True
