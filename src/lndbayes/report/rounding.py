"""Numbers as a reader sees them: the only place in the project that rounds.

One rule decides how many digits are shown. The unit of the last digit is the smallest power of
ten that is at least the Monte Carlo standard error (so that another seed would seldom change the
last printed digit by more than two) and at least a fiftieth of the posterior standard deviation
(so that no digit is printed which the posterior cannot tell from the next).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

__all__ = [
    "ABSENT",
    "Shown",
    "decimals",
    "headed",
    "money",
    "number",
    "percent",
    "probability",
    "ratio",
    "show",
    "significant",
    "typeset",
]

MINUS = "\N{MINUS SIGN}"
ABSENT = "\N{EN DASH}"
JOINER = "\N{WORD JOINER}"
#: A hyphen that stands for a minus: before a digit, and after nothing that it could join.
_HYPHEN = re.compile(r"(?<![\w)-])-(?=\d)")

#: A unit of the last printed digit is worth at least this many Monte Carlo standard errors.
MCSE_PER_UNIT = 1.0
#: The posterior standard deviation spans at most this many units of the last printed digit.
UNITS_PER_SD = 50.0
#: Significant figures where neither a standard deviation nor an error is known.
FALLBACK_FIGURES = 3
#: Finer places than this are noise of the file format, not of the analysis.
MOST_PLACES = 12


@dataclass(frozen=True, slots=True)
class Shown:
    """One rounded estimate: every part at the same decimal place.

    Attributes
    ----------
    point, lower, upper, sd : str
        Rounded text, with its unit where one was asked for; an en dash where absent.
    """

    point: str
    lower: str
    upper: str
    sd: str

    @property
    def interval(self) -> str:
        """The interval as ``lower to upper``, or an en dash where either end is absent."""
        if ABSENT in (self.lower, self.upper):
            return ABSENT
        return f"{self.lower} to {self.upper}"


def decimals(value: float, sd: float = math.nan, mcse: float = math.nan) -> int:
    """Decimal places to print.

    Parameters
    ----------
    value : float
        The estimate; used only where neither `sd` nor `mcse` is known.
    sd, mcse : float
        Posterior standard deviation and Monte Carlo standard error, in the unit of `value`;
        NaN (or zero) where unknown.

    Returns
    -------
    int
        Places after the decimal point; negative for tens, hundreds and so on.
    """
    unit = 0.0
    if math.isfinite(mcse) and mcse > 0:
        unit = MCSE_PER_UNIT * mcse
    if math.isfinite(sd) and sd > 0:
        unit = max(unit, sd / UNITS_PER_SD)
    if unit > 0:
        # log10(0.001) must not become -2.9999999999999996 and cost a digit
        return min(-math.ceil(round(math.log10(unit), 9)), MOST_PLACES)
    if not math.isfinite(value) or value == 0:
        return 0
    return min(FALLBACK_FIGURES - 1 - math.floor(math.log10(abs(value))), MOST_PLACES)


def number(value: float, places: int) -> str:
    """Format one number with a true minus sign, thousands separators and no negative zero.

    Parameters
    ----------
    value : float
        Any number; NaN and infinities become an en dash.
    places : int
        Decimal places as given by `decimals`.

    Returns
    -------
    str
        The text.
    """
    if not math.isfinite(value):
        return ABSENT
    rounded = round(value, places)
    text = f"{abs(rounded):,.{max(places, 0)}f}"
    return f"{MINUS}{text}" if rounded < 0 else text


def show(
    point: float,
    lower: float,
    upper: float,
    sd: float = math.nan,
    mcse: float = math.nan,
    *,
    unit: str = "",
) -> Shown:
    """Round an estimate, its interval and its standard deviation to one decimal place.

    Parameters
    ----------
    point, lower, upper, sd, mcse : float
        The estimate in its own unit.
    unit : str
        Text put after each number, for instance ``%``.

    Returns
    -------
    Shown
        The rounded parts.
    """
    places = decimals(point, sd, mcse)

    def text(value: float) -> str:
        shown = number(value, places)
        return shown if shown == ABSENT else f"{shown}{unit}"

    return Shown(text(point), text(lower), text(upper), text(sd))


def ratio(
    point: float, lower: float, upper: float, sd: float = math.nan, mcse: float = math.nan
) -> Shown:
    """Odds or rate ratio of an estimate on a log scale.

    Quantiles pass through the exponential unchanged, so `point` must be the median.

    Parameters
    ----------
    point, lower, upper, sd, mcse : float
        Median, interval, standard deviation and Monte Carlo error on the log scale.

    Returns
    -------
    Shown
        Ratio, rounded by the first-order error ``ratio x sd``; its `sd` is that error.
    """
    centre = math.exp(point)
    return show(centre, math.exp(lower), math.exp(upper), centre * sd, centre * mcse)


def money(
    point: float, lower: float, upper: float, sd: float = math.nan, mcse: float = math.nan
) -> Shown:
    """Round pounds; millions are written as ``£1.2m``.

    Parameters
    ----------
    point, lower, upper, sd, mcse : float
        Pounds.

    Returns
    -------
    Shown
        Text with the pound sign after the minus sign, all parts in one unit.
    """
    sizes = [abs(v) for v in (point, lower, upper) if math.isfinite(v)]
    divisor, suffix = (1e6, "m") if sizes and max(sizes) >= 1e6 else (1.0, "")
    places = decimals(point / divisor, sd / divisor, mcse / divisor)
    if not suffix:
        places = min(places, 0)

    def text(value: float) -> str:
        shown = number(value / divisor, places)
        if shown == ABSENT:
            return shown
        sign, digits = (MINUS, shown[1:]) if shown.startswith(MINUS) else ("", shown)
        # Without the joiner a line may end between the minus and the pound sign
        return f"{sign}{JOINER if sign else ''}£{digits}{suffix}"

    return Shown(text(point), text(lower), text(upper), text(sd))


def probability(value: float, *, short: bool = False) -> str:
    """Probability in words a reader can repeat; never 0% or 100%, which draws cannot show.

    Parameters
    ----------
    value : float
        Probability from 0 to 1; NaN becomes an en dash.
    short : bool
        For a table's cell: ``>99%`` in place of ``more than 99%``.

    Returns
    -------
    str
        For instance ``87%`` or ``more than 99%``.
    """
    if not math.isfinite(value):
        return ABSENT
    if value < 0.01:
        return "<1%" if short else "less than 1%"
    if value > 0.99:
        return ">99%" if short else "more than 99%"
    return f"{round(100 * value)}%"


def percent(value: float, places: int = 0) -> str:
    """Share as a percentage.

    Parameters
    ----------
    value : float
        Share, 1 = all; NaN becomes an en dash.
    places : int
        Decimal places of the percentage.

    Returns
    -------
    str
        For instance ``12%``.
    """
    shown = number(100 * value, places)
    return shown if shown == ABSENT else f"{shown}%"


def significant(value: float | str, figures: int = 4) -> str:
    """Round a number whose error is not known, such as a check's value, to significant figures.

    Parameters
    ----------
    value : float or str
        A number, or text as it stands in a file; text that is no number is handed back unchanged.
    figures : int
        Significant figures; digits before the decimal point are never dropped.

    Returns
    -------
    str
        The text; an en dash for an empty text and for a number that is not finite.
    """
    try:
        as_number = float(value)
    except ValueError:
        return str(value).strip() or ABSENT
    if not math.isfinite(as_number):
        return ABSENT
    if as_number == 0:
        return "0"
    places = max(figures - 1 - math.floor(math.log10(abs(as_number))), 0)
    text = number(as_number, min(places, MOST_PLACES))
    return text.rstrip("0").rstrip(".") if "." in text else text


def headed(text: str) -> str:
    """Text with a capital first letter; the others as they are, for names such as A&E or IAPT.

    Parameters
    ----------
    text : str
        Any text, also none.
    """
    return text[:1].upper() + text[1:]


def typeset(text: str) -> str:
    """Text of a run's tables with true minus signs; dates and ranges keep their hyphens.

    Parameters
    ----------
    text : str
        Any text.
    """
    return _HYPHEN.sub(MINUS, text)
