"""Distributions of unit costs and other factors, and the price index.

A distribution is given by parameters a person can state and check, is drawn through its quantile
function, and is never below zero: who spends is said by the sign of a savings line.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from scipy import stats

from lndbayes.base.errors import Problem, SpecError

__all__ = [
    "DISTRIBUTIONS",
    "NOT_MONEY",
    "NOT_STATED",
    "Distribution",
    "Factor",
    "Positive",
    "PriceYear",
    "Strict",
    "Text",
    "Year",
    "deflate",
    "hint",
    "is_money",
]

_Z95 = float(stats.norm.ppf(0.95))

Parameters = Mapping[str, float]


class _Fixed:
    """A point mass, with the two methods of a frozen scipy distribution that are used here."""

    def __init__(self, value: float) -> None:
        self.value = value

    def ppf(self, u: Any) -> Any:
        return np.full(np.shape(u), self.value)

    def support(self) -> tuple[float, float]:
        return self.value, self.value


def _positive(*names: str) -> Callable[[Parameters], str | None]:
    def rule(p: Parameters) -> str | None:
        bad = [name for name in names if p[name] <= 0]
        return f"{' and '.join(bad)} must be above 0" if bad else None

    return rule


def _lognormal_rule(p: Parameters) -> str | None:
    return None if 0 < p["median"] < p["q95"] else "needs 0 < median < q95"


def _triangular_rule(p: Parameters) -> str | None:
    ordered = p["low"] <= p["mode"] <= p["high"] and p["low"] < p["high"]
    return None if ordered else "needs low <= mode <= high and low < high"


def _uniform_rule(p: Parameters) -> str | None:
    return None if p["low"] < p["high"] else "needs low < high"


def _normal_rule(p: Parameters) -> str | None:
    # At five standard deviations a draw below zero has probability 3e-7: a factor never turns sign.
    if p["sd"] <= 0:
        return "sd must be above 0"
    if p["mean"] < 5 * p["sd"]:
        return "mean must be at least 5 sd, so that no draw is negative; use LogNormal instead"
    return None


def _frozen_triangular(p: Parameters) -> Any:
    width = p["high"] - p["low"]
    return stats.triang((p["mode"] - p["low"]) / width, loc=p["low"], scale=width)


def _frozen_lognormal(p: Parameters) -> Any:
    # By median and 95% quantile, because those are what a person can state and check.
    return stats.lognorm(np.log(p["q95"] / p["median"]) / _Z95, scale=p["median"])


#: distribution -> (parameters, rule that returns what is wrong or None, frozen distribution)
DISTRIBUTIONS: Mapping[
    str,
    tuple[tuple[str, ...], Callable[[Parameters], str | None], Callable[[Parameters], Any]],
] = {
    "Fixed": (("value",), lambda p: None, lambda p: _Fixed(p["value"])),
    "LogNormal": (("median", "q95"), _lognormal_rule, _frozen_lognormal),
    "Normal": (("mean", "sd"), _normal_rule, lambda p: stats.norm(p["mean"], p["sd"])),
    "Beta": (
        ("alpha", "beta"),
        _positive("alpha", "beta"),
        lambda p: stats.beta(p["alpha"], p["beta"]),
    ),
    "Triangular": (("low", "mode", "high"), _triangular_rule, _frozen_triangular),
    "Uniform": (
        ("low", "high"),
        _uniform_rule,
        lambda p: stats.uniform(p["low"], p["high"] - p["low"]),
    ),
}


#: `price_year` of a factor that is not money, and of money whose source states no price year.
NOT_MONEY = "none"
NOT_STATED = "not stated"


def _year(value: str) -> str:
    match = re.fullmatch(r"(\d{4})/(\d{2})", value)
    if match is None or (int(match[1]) + 1) % 100 != int(match[2]):
        raise ValueError("must be a financial year such as 2016/17")
    return value


def _price_year(value: str) -> str:
    return value if value in (NOT_MONEY, NOT_STATED) else _year(value)


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


Text = Annotated[str, AfterValidator(_said)]
Year = Annotated[str, AfterValidator(_year)]
PriceYear = Annotated[str, AfterValidator(_price_year)]
#: Sizes of a price, an index or a parameter other than 0: products of such numbers stay finite.
_SMALLEST, _LARGEST = 1e-9, 1e9


def _sized(value: float) -> float:
    if not _SMALLEST <= value <= _LARGEST:
        raise ValueError(f"must have a size between {_SMALLEST:g} and {_LARGEST:g}")
    return value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_sized)]


class Strict(BaseModel):
    """Base of every part of a costs file: closed, frozen, no coercion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy as it is; a change is refused, which pydantic would not check."""
        if update:
            raise TypeError("costs are copied unchanged: change the file and load it again")
        return super().model_copy(deep=deep)


class Distribution(Strict):
    """A named distribution with all its parameters; a key of `DISTRIBUTIONS`."""

    dist: str
    parameters: tuple[tuple[str, float], ...]

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            raise ValueError('must be a table such as { dist = "Fixed", value = 1.0 }')
        dist = raw.get("dist")
        if not isinstance(dist, str) or dist not in DISTRIBUTIONS:
            raise ValueError(f"unknown distribution {dist!r}{hint(str(dist), DISTRIBUTIONS)}")
        names, rule, _ = DISTRIBUTIONS[dist]
        given = {k: v for k, v in raw.items() if k != "dist"}
        wrong = [f"unknown parameter {k!r}{hint(str(k), names)}" for k in given if k not in names]
        wrong += [f"missing parameter {k!r}" for k in names if k not in given]
        wrong += [
            f"parameter {k!r} must be a finite number"
            for k, v in given.items()
            if isinstance(v, bool) or not isinstance(v, int | float) or not _is_finite(v)
        ]
        wrong += [
            f"parameter {k!r} must be 0 or have a size between {_SMALLEST:g} and {_LARGEST:g}"
            for k, v in given.items()
            if isinstance(v, int | float) and v and not _SMALLEST <= abs(v) <= _LARGEST
            if _is_finite(v)
        ]
        if not wrong and (broken := rule(given)):
            wrong.append(f"{dist} {broken}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return {"dist": dist, "parameters": tuple((k, float(given[k])) for k in names)}

    def __str__(self) -> str:
        inside = ", ".join(f"{name} {value:,.6g}" for name, value in self.parameters)
        return f"{self.dist}({inside})"

    @property
    def _frozen(self) -> Any:
        return DISTRIBUTIONS[self.dist][2](dict(self.parameters))

    @property
    def support(self) -> tuple[float, float]:
        """Smallest and largest value; a Normal counts as positive by its rule."""
        low, high = self._frozen.support()
        return (0.0 if self.dist == "Normal" else float(low)), float(high)

    def ppf(self, u: Any) -> Any:
        """Quantiles at probabilities `u`, in the factor's own price year."""
        return self._frozen.ppf(u)


class Factor(Strict):
    """One unknown that lines multiply by.

    Attributes
    ----------
    label : str
        Name for tables.
    value : Distribution
        What is believed about it, in `unit` and in prices of `price_year`.
    unit : str
        A unit with a pound sign is money; the unit ``probability`` is bounded by 0 and 1.
    price_year : str
        Financial year, ``not stated`` (money taken at face value) or ``none`` (not money).
    known : str
        How well known, by the weakest part of the value and its spread.
    source : str
        Where it comes from and what is judgement.
    shared : bool
        Always true: one unknown for all sites, so the sites' savings move together.
    """

    label: Text
    value: Distribution
    unit: Text
    price_year: PriceYear
    known: Literal["published", "secondary", "assumption"]
    source: Text
    shared: Literal[True]

    @model_validator(mode="after")
    def _consistent(self) -> Factor:
        low, high = self.value.support
        if low < 0:
            what = "a price" if self.is_money else "a factor"
            raise ValueError(f"{what} must not be negative (a line's sign says who spends)")
        if self.unit == "probability" and high > 1:
            raise ValueError("a probability must not exceed 1")
        if self.is_money and self.price_year == NOT_MONEY:
            raise ValueError(f"money needs a price_year (or {NOT_STATED!r})")
        if not self.is_money and self.price_year != NOT_MONEY:
            raise ValueError(f"price_year must be {NOT_MONEY!r} for a unit without a pound sign")
        return self

    @property
    def is_money(self) -> bool:
        """Whether the unit is in pounds."""
        return is_money(self.unit)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any double
        return False


def is_money(unit: object) -> bool:
    """Return whether a unit is in pounds."""
    return isinstance(unit, str) and "£" in unit


def deflate(value: float, from_year: str, to_year: str, table: Mapping[str, float]) -> float:
    """Restate a price of one financial year in prices of another.

    Parameters
    ----------
    value : float
        Pounds in prices of `from_year`.
    from_year, to_year : str
        Financial years, keys of `table`.
    table : mapping of str to float
        Price index.

    Returns
    -------
    float
        ``value * table[to_year] / table[from_year]``.

    Raises
    ------
    SpecError
        If a year is not in the table.
    """
    absent = [year for year in dict.fromkeys((from_year, to_year)) if year not in table]
    if absent:
        rule = "not in the deflator table"
        raise SpecError([Problem("costs", rule, column="deflator.index", value=y) for y in absent])
    return value * table[to_year] / table[from_year]


def hint(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" for the nearest known word, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
