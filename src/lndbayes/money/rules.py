"""Rules of a costs file that no single key can break alone, and messages that name the key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from lndbayes.base.errors import Code, Problem, validation_code
from lndbayes.base.formulas import NOT_A_FORMULA, runs
from lndbayes.money.factors import NOT_MONEY, NOT_STATED, hint, is_money

__all__ = [
    "ALL",
    "ALL_CASHABLE",
    "key_problem",
    "reference_problems",
]

#: Names of the sums over lines; no line, payer or outcome may take them.
ALL = "all"
ALL_CASHABLE = "all cashable"


def key_problem(error: Any, source: str, root: type[BaseModel]) -> Problem:
    """Turn one pydantic error into a problem that names the key and suggests a known one."""
    location = tuple(error["loc"])
    rule = error["msg"].removeprefix("Value error, ")
    value = None if error["type"] == "missing" else repr(error["input"])[:80]
    if error["type"] == "extra_forbidden":
        rule = "unknown key" + hint(str(location[-1]), _known_keys(root, location[:-1]))
        if location == ("national",):
            rule = (
                "not available: savings outside the evaluated sites need draws for a new site, and "
                "scaling up the evaluated sites would give an interval that is too narrow"
            )
    elif error["type"] == "missing":
        rule = "missing key: a costs file has no hidden defaults"
    code = validation_code(error["type"])
    return Problem(source, rule, column=".".join(map(str, location)), value=value, code=code)


def _known_keys(root: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Return the keys allowed at a place of the file, walking tables and arrays of tables."""
    model: Any = root
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation
        else:  # a name in a table of tables, or a position in an array of tables
            model = next((a for a in get_args(model) if _is_model(a)), None)
    return list(model.model_fields) if _is_model(model) else []


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _table(raw: object, key: str) -> Mapping[str, Any]:
    value = raw.get(key) if isinstance(raw, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def reference_problems(
    raw: Mapping[str, Any], source: str, formulas: Collection[str]
) -> list[Problem]:
    """Check what refers to what, on the raw file so that it works beside other problems."""
    problems: list[Problem] = []

    def say(column: str, value: object, rule: str, code: Code) -> None:
        problems.append(Problem(source, rule, column=column, value=str(value), code=code))

    meta, index = _table(raw, "meta"), _table(_table(raw, "deflator"), "index")
    base, scenarios = _table(raw, "factors"), _table(raw, "scenarios")
    in_scenario = {name: _table(body, "factors") for name, body in scenarios.items()}
    varying = {factor for factors in in_scenario.values() for factor in factors}

    headline = meta.get("headline_scenario")
    if isinstance(headline, str) and headline not in scenarios:
        rule = f"no such scenario{hint(headline, scenarios)}"
        say("meta.headline_scenario", headline, rule, Code.UNKNOWN_NAME)
    for factor in sorted(varying):
        if factor in base:
            rule = "also defined in a scenario: keep one of the two"
            say(f"factors.{factor}", factor, rule, Code.REPEATED_NAME)
        for scenario in (s for s in scenarios if factor not in in_scenario[s]):
            rule = "every scenario must define this factor"
            say(f"scenarios.{scenario}.factors", factor, rule, Code.MISSING_KEY)

    placed = [(f"factors.{k}", k, v) for k, v in base.items()]
    placed += [
        (f"scenarios.{s}.factors.{k}", k, v) for s, fs in in_scenario.items() for k, v in fs.items()
    ]
    years = [("meta.price_year", meta.get("price_year"))]
    years += [(f"{column}.price_year", _get(body, "price_year")) for column, _, body in placed]
    # without a table of prices all money must be in the common price year already
    known = index if "deflator" in raw else (meta.get("price_year"),)
    for column, year in years:
        if isinstance(year, str) and year not in (NOT_MONEY, NOT_STATED, *known):
            say(column, year, "not in the deflator table [deflator.index]", Code.UNKNOWN_NAME)

    money = {name for _, name, body in placed if is_money(_get(body, "unit"))}
    problems += _line_problems(raw, source, set(base) | varying, money, formulas)
    return problems


def _line_problems(
    raw: Mapping[str, Any],
    source: str,
    factors: set[str],
    money: set[str],
    formulas: Collection[str],
) -> list[Problem]:
    problems: list[Problem] = []
    lines = raw.get("lines")
    lines = [line for line in lines if isinstance(line, Mapping)] if isinstance(lines, list) else []
    payers, used, seen = _table(raw, "payers"), set[str](), set[str]()

    def say(column: str, value: object, rule: str, code: Code) -> None:
        problems.append(Problem(source, rule, column=column, value=str(value), code=code))

    names = [("payers", payer) for payer in payers]
    names += [("scenarios", name) for name in _table(raw, "scenarios")]
    names += [("factors", name) for name in factors]
    names += [("lines", str(line.get("name"))) for line in lines]
    for column, name in names:
        if runs(name):
            say(column, name, NOT_A_FORMULA, Code.FORMULA)
    for payer in payers:
        if payer == ALL:
            say("payers", payer, "reserved for the sum over payers", Code.RESERVED_NAME)
    for i, line in enumerate(lines):
        name, at = line.get("name"), f"lines.{line.get('name', i)}"
        if name in (ALL, ALL_CASHABLE):
            say(f"{at}.name", name, "reserved for the sum over lines", Code.RESERVED_NAME)
        if line.get("outcome") == ALL:
            say(f"{at}.outcome", ALL, "reserved for the sum over outcomes", Code.RESERVED_NAME)
        if name in seen:
            say(f"{at}.name", name, "two lines have this name", Code.REPEATED_NAME)
        seen.add(str(name))
        payer, formula = str(line.get("payer")), str(line.get("formula"))
        if "payer" in line and payer not in payers:
            rule = f"not listed under [payers]{hint(payer, payers)}"
            say(f"{at}.payer", payer, rule, Code.UNKNOWN_NAME)
        if "formula" in line and formula not in formulas:
            rule = f"unknown formula{hint(formula, formulas)}"
            say(f"{at}.formula", formula, rule, Code.UNKNOWN_NAME)
        named = line.get("factors")
        named = [str(f) for f in named] if isinstance(named, list) else []
        used |= set(named)
        for factor in dict.fromkeys(named):
            if factor not in factors:
                rule = f"unknown factor{hint(factor, factors)}"
                say(f"{at}.factors", factor, rule, Code.UNKNOWN_NAME)
            if named.count(factor) > 1:
                say(
                    f"{at}.factors",
                    factor,
                    "a factor enters a line at most once",
                    Code.REPEATED_NAME,
                )
        prices = [factor for factor in named if factor in money]
        if named and set(named) <= factors and len(prices) != 1:
            rule = "exactly one factor of a line must be in pounds"
            say(f"{at}.factors", prices, rule, Code.CONTRADICTION)
    for factor in sorted(factors - used):
        say(f"factors.{factor}", factor, "no line uses this factor", Code.UNUSED)
    return problems


def _get(body: object, key: str) -> Any:
    return body.get(key) if isinstance(body, Mapping) else None
