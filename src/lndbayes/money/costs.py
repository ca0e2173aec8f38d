"""Unit costs: one strict TOML file of factors, scenarios and savings lines, read into `Costs`.

A line prices one outcome for one payer: sign x quantity x product of named factors. Every factor
is a distribution with a source; it is drawn once per posterior draw and shared by all sites, months
and scenarios. What cannot be learnt but is chosen (direct or overall prison cost) is a scenario,
never a distribution. Nothing in the file is code: a new kind of formula is one entry of `FORMULAS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field, ValidationError, model_validator

from lndbayes.base.characters import text_problems
from lndbayes.base.errors import Problem, SpecError
from lndbayes.base.names import CI_PROB
from lndbayes.files.reading import Unreadable, read_toml
from lndbayes.money.factors import (
    NOT_MONEY,
    NOT_STATED,
    Factor,
    Positive,
    Strict,
    Text,
    Year,
    deflate,
)
from lndbayes.money.rules import key_problem, reference_problems

__all__ = [
    "FORMULAS",
    "Comparison",
    "Costs",
    "Factor",
    "Line",
    "costs_hash",
    "deflate",
    "draw_factors",
    "factor_table",
    "load_costs",
    "parse_costs",
    "uprating",
]


def _product(quantity: xr.DataArray, factors: Sequence[xr.DataArray]) -> xr.DataArray:
    for factor in factors:
        quantity = quantity * factor
    return quantity


#: formula -> function of the line's quantity and its factors. A formula must be linear in the
#: quantity and in each factor taken by itself: the explanation of the total's variance rests on it.
FORMULAS: Mapping[str, Callable[[xr.DataArray, Sequence[xr.DataArray]], xr.DataArray]] = {
    "product": _product,
}


class Meta(Strict):
    """The common price year, and the scenario that is reported first."""

    name: Text
    price_year: Year
    headline_scenario: str


class Deflator(Strict):
    """Price index by financial year."""

    source: Text
    index: dict[Year, Positive]


class Scenario(Strict):
    """One perspective; every scenario defines the same factors."""

    label: Text
    description: Text
    factors: dict[str, Factor]


class Line(Strict):
    """One line of the account: sign x formula(quantity, factors), for one outcome and payer.

    Attributes
    ----------
    quantity : str
        ``averted`` (events averted of the line's outcome) or ``referrals``.
    cashable : bool
        Whether a public budget bears it and could release it.
    sign : int
        1 where averting events saves the payer money, -1 where it costs.
    """

    name: Text
    label: Text
    outcome: Text
    payer: Text
    cashable: bool
    sign: Literal[1, -1]
    formula: str
    quantity: Literal["averted", "referrals"]
    factors: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    description: Text


class Comparison(Strict):
    """A published range shown beside the result; nothing is calibrated to it."""

    label: Text
    low: Positive
    high: Positive
    source: Text
    note: Text

    @model_validator(mode="after")
    def _ordered(self) -> Comparison:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class Costs(Strict):
    """A whole costs file, checked and frozen.

    Attributes
    ----------
    deflator : Deflator or None
        None where all money is in the common price year, or states none.
    comparison : Comparison or None
        None where no range has been published.
    """

    meta: Meta
    deflator: Deflator | None = None
    payers: dict[str, Text]
    factors: dict[str, Factor]
    scenarios: Annotated[dict[str, Scenario], Field(min_length=1)]
    lines: Annotated[tuple[Line, ...], Field(strict=False, min_length=1)]
    comparison: Comparison | None = None

    def versions(self) -> dict[str, dict[str, Factor]]:
        """Factors by name and scenario, in file order.

        Returns
        -------
        dict of str to dict of str to Factor
            The inner key is the scenario, or ``""`` where the factor is the same in all scenarios.
        """
        named: dict[str, dict[str, Factor]] = {k: {"": v} for k, v in self.factors.items()}
        for scenario, body in self.scenarios.items():
            for name, factor in body.factors.items():
                named.setdefault(name, {})[scenario] = factor
        return named


def load_costs(path: str | Path) -> Costs:
    """Read and check a costs file.

    Parameters
    ----------
    path : str or Path
        A TOML file; `docs/costs.md` describes it.

    Returns
    -------
    Costs
        The frozen costs.

    Raises
    ------
    SpecError
        Listing every problem found.
    """
    path = Path(path)
    try:
        raw = read_toml(path)
    except Unreadable as error:
        raise SpecError(error.problem(str(path))) from error
    return parse_costs(raw, source=path.name)


def parse_costs(raw: Mapping[str, Any], *, source: str) -> Costs:
    """Check parsed costs; see `load_costs`.

    Parameters
    ----------
    raw : mapping
        The file as `tomllib` reads it; left as it is.
    source : str
        Name of the file for messages.

    Returns
    -------
    Costs
        The frozen costs.

    Raises
    ------
    SpecError
        Listing every problem found.
    """
    told = text_problems(raw, source, lines=("description", "source", "note"))
    problems: list[Problem] = []
    costs: Costs | None = None
    try:
        costs = Costs.model_validate(raw)
    except ValidationError as error:
        problems = [key_problem(e, source, Costs) for e in error.errors()]
    problems += told + reference_problems(raw, source, FORMULAS)
    if problems or costs is None:
        raise SpecError(problems)
    return costs


def costs_hash(costs: Costs) -> str:
    """SHA-256 of the costs' canonical JSON: what is in the file, not how it is laid out.

    Parameters
    ----------
    costs : Costs
        Checked costs.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    text = json.dumps(costs.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def uprating(costs: Costs, factor: Factor) -> float:
    """Return what a factor is multiplied by to be in the common price year.

    Parameters
    ----------
    costs : Costs
        Checked costs.
    factor : Factor
        One of their factors.

    Returns
    -------
    float
        1 where the factor is not money, or where its source states no price year.
    """
    if factor.price_year in (NOT_MONEY, NOT_STATED, costs.meta.price_year):
        return 1.0
    index = costs.deflator.index if costs.deflator else {}
    return deflate(1.0, factor.price_year, costs.meta.price_year, index)


def draw_factors(costs: Costs, n: int, seed: int) -> xr.Dataset:
    """Draw every factor `n` times, in the common price year.

    Each factor has its own stream, seeded by `seed` and its name, so adding a factor leaves the
    draws of the others as they were. A factor that differs between scenarios is the same uniform
    number put through each scenario's quantile function (common random numbers).

    Parameters
    ----------
    costs : Costs
        Checked costs.
    n : int
        Number of draws: one per posterior draw.
    seed : int
        Non-negative.

    Returns
    -------
    xr.Dataset
        One variable per factor, dims (sample) or (sample, scenario), float64, with its unit,
        price year, distribution and source in the attributes.
    """
    # Open at 0: a quantile function may be infinite there.
    smallest = float(np.nextafter(0.0, 1.0))
    variables = {}
    for name, versions in costs.versions().items():
        word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        u = np.random.default_rng([seed, word]).uniform(smallest, 1.0, size=n)
        columns = {s: f.value.ppf(u) * uprating(costs, f) for s, f in versions.items()}
        first = next(iter(versions.values()))
        attrs = {
            "label": first.label,
            "unit": first.unit,
            "price_year": costs.meta.price_year if first.is_money else NOT_MONEY,
            "distribution": "; ".join(f"{s} {f.value}".strip() for s, f in versions.items()),
            "known": "; ".join(dict.fromkeys(f.known for f in versions.values())),
            "source": "; ".join(dict.fromkeys(f.source for f in versions.values())),
        }
        if "" in columns:
            variables[name] = xr.DataArray(columns[""], dims="sample", attrs=attrs)
        else:
            stacked = np.stack([columns[s] for s in costs.scenarios], axis=-1)
            variables[name] = xr.DataArray(stacked, dims=("sample", "scenario"), attrs=attrs)
    return xr.Dataset(variables, coords={"scenario": list(costs.scenarios)})


def factor_table(costs: Costs, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """List every factor with its distribution, interval, source and how well it is known.

    Parameters
    ----------
    costs : Costs
        Checked costs.
    ci_prob : float
        Probability of the equal-tailed interval.

    Returns
    -------
    pd.DataFrame
        Columns ``factor``, ``scenario`` (empty = all), ``label``, ``unit``, ``distribution`` (as
        written), ``lower``, ``median``, ``upper`` (in the common price year), ``ci_prob``,
        ``price_year`` (as written), ``known``, ``source``.
    """
    tail = (1 - ci_prob) / 2
    rows = []
    for name, versions in costs.versions().items():
        for scenario, factor in versions.items():
            quantiles = factor.value.ppf(np.array([tail, 0.5, 1 - tail])) * uprating(costs, factor)
            rows.append(
                {
                    "factor": name,
                    "scenario": scenario,
                    "label": factor.label,
                    "unit": factor.unit,
                    "distribution": str(factor.value),
                    "lower": float(quantiles[0]),
                    "median": float(quantiles[1]),
                    "upper": float(quantiles[2]),
                    "ci_prob": ci_prob,
                    "price_year": factor.price_year,
                    "known": factor.known,
                    "source": factor.source,
                }
            )
    return pd.DataFrame(rows)
