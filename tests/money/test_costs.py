from __future__ import annotations

import copy
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from lndbayes.base.errors import SpecError
from lndbayes.money.costs import (
    Costs,
    costs_hash,
    deflate,
    draw_factors,
    factor_table,
    load_costs,
    parse_costs,
    uprating,
)
from lndbayes.money.factors import DISTRIBUTIONS, Distribution

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "models" / "costs.toml"
RAW = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))


def shipped() -> dict[str, Any]:
    return copy.deepcopy(RAW)


def problems(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_costs(raw, source="costs.toml")
    return [str(problem) for problem in caught.value.problems]


def test_a_published_range_and_a_price_index_are_needed_only_where_there_are_any() -> None:
    raw = shipped()
    del raw["comparison"]
    assert parse_costs(raw, source="costs.toml").comparison is None
    del raw["deflator"]
    year = raw["meta"]["price_year"]
    old = [
        (name, factor)
        for place in (raw, *raw["scenarios"].values())
        for name, factor in place["factors"].items()
        if factor["price_year"] not in (year, "none", "not stated")
    ]
    for _, factor in old:
        factor["price_year"] = year
    costs = parse_costs(raw, source="costs.toml")
    assert all(uprating(costs, factor) == 1.0 for factor in costs.factors.values())
    factor = next(f for f in raw["factors"].values() if f["price_year"] == year)
    factor["price_year"] = "2013/14"
    assert any("deflator" in told for told in problems(raw))


# --- distributions ------------------------------------------------------------------------------

U = np.array([0.001, 0.05, 0.1, 0.5, 0.8, 0.95, 0.999])


def _triangular(u: float, low: float, mode: float, high: float) -> float:
    """Inverse of the piecewise quadratic distribution function, written out."""
    at_mode = (mode - low) / (high - low)
    if u <= at_mode:
        return low + math.sqrt(u * (high - low) * (mode - low))
    return high - math.sqrt((1 - u) * (high - low) * (high - mode))


@pytest.mark.parametrize(
    ("raw", "closed_form"),
    [
        ({"dist": "Fixed", "value": 7.2}, lambda u: 7.2),
        # log X is Normal: the median is exp(mu), and q95 lies 1.645 sd above it on the log scale
        (
            {"dist": "LogNormal", "median": 0.2, "q95": 0.75},
            lambda u: 0.2 * 3.75 ** (NormalDist().inv_cdf(u) / NormalDist().inv_cdf(0.95)),
        ),
        ({"dist": "Normal", "mean": 10.0, "sd": 2.0}, lambda u: NormalDist(10, 2).inv_cdf(u)),
        # Beta(a, 1) has distribution function x^a, Beta(1, b) has 1 - (1 - x)^b
        ({"dist": "Beta", "alpha": 3.0, "beta": 1.0}, lambda u: u ** (1 / 3)),
        ({"dist": "Beta", "alpha": 1.0, "beta": 4.0}, lambda u: 1 - (1 - u) ** 0.25),
        (
            {"dist": "Triangular", "low": 832, "mode": 1560, "high": 1950},
            lambda u: _triangular(u, 832, 1560, 1950),
        ),
        (
            {"dist": "Triangular", "low": 1.0, "mode": 1.0, "high": 3.0},
            lambda u: _triangular(u, 1, 1, 3),
        ),
        ({"dist": "Uniform", "low": 1400, "high": 4200}, lambda u: 1400 + 2800 * u),
    ],
)
def test_quantiles_match_the_closed_form(
    raw: dict[str, Any], closed_form: Callable[[float], float]
) -> None:
    got = Distribution.model_validate(raw).ppf(U)
    np.testing.assert_allclose(got, [closed_form(u) for u in U], rtol=1e-9)


def test_every_distribution_has_a_closed_form_test() -> None:
    assert set(DISTRIBUTIONS) == {"Fixed", "LogNormal", "Normal", "Beta", "Triangular", "Uniform"}


@pytest.mark.parametrize("name", ["time_served", "p_employed", "hours_per_year"])
def test_draws_follow_the_distribution_they_are_said_to_follow(name: str) -> None:
    costs = load_costs(SHIPPED)
    # scipy in its own parameters, not through our table of distributions
    expected = {
        "time_served": stats.lognorm(s=math.log(0.75 / 0.20) / 1.6448536269514722, scale=0.20),
        "p_employed": stats.beta(6.8, 33.2),
        "hours_per_year": stats.triang(c=(1560 - 832) / (1950 - 832), loc=832, scale=1950 - 832),
    }[name]
    draws = draw_factors(costs, 20_000, 11)[name].values
    # Fails by chance once in 10,000 seeds; the seed is fixed.
    assert stats.kstest(draws, expected.cdf).pvalue > 1e-4


# --- deflator -----------------------------------------------------------------------------------


def test_deflator_arithmetic() -> None:
    table = load_costs(SHIPPED).deflator.index
    # 33,785 x 73.5353 / 70.5952 = 35,192.05...
    assert round(deflate(33_785, "2013/14", "2016/17", table)) == 35_192
    # 109 x 73.5353 / 67.9779 = 117.91...
    assert round(deflate(109, "2011/12", "2016/17", table)) == 118
    there = deflate(100.0, "2006/07", "2024/25", table)
    assert deflate(there, "2024/25", "2006/07", table) == pytest.approx(100.0)


def test_deflator_names_every_year_it_does_not_have() -> None:
    with pytest.raises(SpecError) as caught:
        deflate(1.0, "1999/00", "2050/51", {"2016/17": 73.5})
    assert [problem.value for problem in caught.value.problems] == ["1999/00", "2050/51"]


def test_prices_are_uprated_and_prices_without_a_year_are_not() -> None:
    raw = shipped()
    raw["factors"]["hourly_output"] |= {"price_year": "2013/14"}
    costs = parse_costs(raw, source="costs.toml")
    draws = draw_factors(costs, 3, 0)
    # 7.20 x 73.5353 / 70.5952 = 7.49986...
    np.testing.assert_allclose(draws["hourly_output"], 7.20 * 73.5353 / 70.5952)
    assert uprating(costs, costs.factors["alternative_cost"]) == 1.0
    assert uprating(costs, costs.factors["time_served"]) == 1.0
    table = factor_table(costs).set_index("factor")
    assert table.loc["hourly_output", "median"] == pytest.approx(7.20 * 73.5353 / 70.5952)


# --- draws --------------------------------------------------------------------------------------


def test_same_seed_same_draws_other_seed_other_draws() -> None:
    costs = load_costs(SHIPPED)
    assert draw_factors(costs, 50, 5).identical(draw_factors(costs, 50, 5))
    first, second = draw_factors(costs, 50, 5), draw_factors(costs, 50, 6)
    assert (first["time_served"] != second["time_served"]).all()


def test_a_new_factor_leaves_the_draws_of_the_others_as_they_were() -> None:
    raw = shipped()
    raw["factors"] = {
        "new": raw["factors"]["place_mix"] | {"label": "Something else"},
        **raw["factors"],
    }
    raw["lines"][0]["factors"].append("new")
    before = draw_factors(load_costs(SHIPPED), 40, 9)
    after = draw_factors(parse_costs(raw, source="costs.toml"), 40, 9)
    for name in before.data_vars:
        assert before[name].identical(after[name])
    assert (after["new"] != after["place_mix"]).all()


def test_factors_are_drawn_independently_of_each_other() -> None:
    draws = draw_factors(load_costs(SHIPPED), 20_000, 3)
    names = ["time_served", "place_mix", "alternative_cost", "p_employed", "hours_per_year"]
    ranks = np.array([stats.rankdata(draws[name].values) for name in names])
    off = np.corrcoef(ranks)[np.triu_indices(len(names), 1)]
    # Under independence the sd of a rank correlation is 1/sqrt(20,000) = .007; ten pairs, 4.5 sd.
    assert np.abs(off).max() < 0.032


def test_scenarios_share_their_random_numbers() -> None:
    raw = shipped()
    for scenario, median in (("direct", 24_664.0), ("overall", 38_042.0)):
        factor = raw["scenarios"][scenario]["factors"]["place_cost"]
        factor["value"] = {"dist": "LogNormal", "median": median, "q95": 1.2 * median}
    draws = draw_factors(parse_costs(raw, source="costs.toml"), 200, 1)["place_cost"]
    # Same shape, other scale: the ratio of the two is the same in every draw.
    ratio = draws.sel(scenario="overall") / draws.sel(scenario="direct")
    np.testing.assert_allclose(ratio, 38_042 / 24_664)
    assert draws.sel(scenario="direct").std() > 0


# --- the shipped file ---------------------------------------------------------------------------


def test_shipped_file_holds_the_sourced_figures() -> None:
    costs = load_costs(SHIPPED)
    assert costs.meta.headline_scenario == "direct"
    assert costs.meta.price_year == "2016/17"
    place = {
        name: scenario.factors["place_cost"].value for name, scenario in costs.scenarios.items()
    }
    assert place["direct"].ppf(0.5) == 24_664
    assert place["overall"].ppf(0.5) == 38_042
    assert costs.factors["alternative_cost"].value.support == (1400, 4200)
    assert costs.factors["hourly_output"].value.ppf(0.5) == 7.20
    # Beta(6.8, 33.2) has mean 6.8 / 40 = 0.17
    alpha, beta = (value for _, value in costs.factors["p_employed"].value.parameters)
    assert alpha / (alpha + beta) == pytest.approx(0.17)
    assert (costs.comparison.low, costs.comparison.high) == (13.1e6, 41.5e6)
    assert "never a calibration target" in costs.comparison.note


def test_shipped_time_served_sits_where_its_source_text_says() -> None:
    served = load_costs(SHIPPED).factors["time_served"].value
    log_sd = math.log(0.75 / 0.20) / NormalDist().inv_cdf(0.95)

    def below(years: float) -> float:
        return NormalDist().cdf(math.log(years / 0.20) / log_sd)

    assert served.ppf(0.05) * 365.25 / 7 == pytest.approx(2.8, abs=0.05)  # "3 weeks"
    assert served.ppf(0.95) * 12 == pytest.approx(9.0)
    assert below(6 * 7 / 365.25) == pytest.approx(0.25, abs=0.01)  # six weeks: lower quartile
    assert 1 - below(16.6 / 12) == pytest.approx(0.01, abs=0.003)  # all custody: 1% above


def test_productivity_is_not_cashable_and_the_alternative_is_a_cost() -> None:
    lines = {line.name: line for line in load_costs(SHIPPED).lines}
    assert not lines["productivity"].cashable
    assert lines["productivity"].payer == "society"
    assert lines["alternative_sentence"].sign == -1


def test_every_factor_line_and_scenario_is_documented() -> None:
    text = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
    costs = load_costs(SHIPPED)
    names = [*costs.versions(), *(line.name for line in costs.lines), *costs.scenarios]
    assert [name for name in names if f"`{name}`" not in text] == []
    for row in factor_table(costs).itertuples():
        assert row.distribution in text, row.factor
    for figure in ("24,664", "38,042", "1,400", "4,200", "HL8904", "SI 2016/68", "not found"):
        assert figure in text


def test_hash_is_of_the_content_not_of_its_layout() -> None:
    costs = load_costs(SHIPPED)
    shuffled = dict(reversed(shipped().items()))
    assert costs_hash(parse_costs(shuffled, source="other.toml")) == costs_hash(costs)
    raw = shipped()
    raw["factors"]["time_served"]["value"]["q95"] = 0.76
    assert costs_hash(parse_costs(raw, source="costs.toml")) != costs_hash(costs)


def test_factor_table_is_in_the_common_price_year() -> None:
    table = factor_table(load_costs(SHIPPED), ci_prob=0.8).set_index(["factor", "scenario"])
    assert table.loc[("place_cost", "overall"), "median"] == 38_042
    row = table.loc[("alternative_cost", "")]
    # Uniform(1400, 4200): 10% and 90% points are 1680 and 3920
    assert (row["lower"], row["upper"]) == pytest.approx((1680, 3920))
    assert (table["source"].str.len() > 40).all()


def test_reading_leaves_the_callers_table_as_it_was() -> None:
    raw = shipped()
    parse_costs(raw, source="costs.toml")
    assert raw == RAW


def test_costs_are_frozen() -> None:
    costs = load_costs(SHIPPED)
    with pytest.raises(ValueError, match="frozen"):
        costs.meta.price_year = "2017/18"  # type: ignore[misc]  # frozen is what is tested


# --- wrong files --------------------------------------------------------------------------------

Edit = Callable[[dict[str, Any]], None]


def _set(*path: Any, value: Any) -> Edit:
    def edit(raw: dict[str, Any]) -> None:
        node: Any = raw
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    return edit


def _drop(*path: Any) -> Edit:
    def edit(raw: dict[str, Any]) -> None:
        node: Any = raw
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]

    return edit


def _fixed(value: Any) -> dict[str, Any]:
    return {"dist": "Fixed", "value": value}


SERVED = ("factors", "time_served")
WRONG: dict[str, tuple[Edit, str, str]] = {
    # case: (edit, key the message must name, rule it must state)
    "unknown section": (_set("scenario", value={}), "scenario", "did you mean 'scenarios'?"),
    "unknown key of a factor": (_set(*SERVED, "sourse", value="x"), "time_served.sourse", "source"),
    "unknown key of a line": (
        _set("lines", 0, "cashble", value=True),
        "lines.0.cashble",
        "did you mean 'cashable'?",
    ),
    "unknown key of a scenario's factor": (
        _set("scenarios", "direct", "factors", "place_cost", "units", value="x"),
        "scenarios.direct.factors.place_cost.units",
        "did you mean 'unit'?",
    ),
    "national section": (_set("national", value={"volume": 1}), "national", "new site"),
    "missing source": (_drop(*SERVED, "source"), "time_served.source", "missing key"),
    "empty source": (_set(*SERVED, "source", value=" "), "time_served.source", "empty"),
    "missing headline": (_drop("meta", "headline_scenario"), "meta.headline_scenario", "missing"),
    "missing high": (_drop("comparison", "high"), "comparison.high", "missing key"),
    "unknown headline": (
        _set("meta", "headline_scenario", value="dirct"),
        "meta.headline_scenario",
        "did you mean 'direct'?",
    ),
    "not a financial year": (_set("meta", "price_year", value="2016/18"), "price_year", "2016/17"),
    "price year without a deflator": (
        _set("factors", "hourly_output", "price_year", value="1999/00"),
        "factors.hourly_output.price_year",
        "not in the deflator table",
    ),
    "negative index": (
        _set("deflator", "index", "2016/17", value=-1.0),
        "deflator.index.2016/17",
        "greater than 0",
    ),
    "negative price": (
        _set("factors", "hourly_output", "value", value=_fixed(-7.2)),
        "factors.hourly_output",
        "a price must not be negative",
    ),
    "negative amount": (
        _set(*SERVED, "value", value={"dist": "Uniform", "low": -1.0, "high": 1.0}),
        "factors.time_served",
        "a factor must not be negative",
    ),
    "Normal that reaches below zero": (
        _set(*SERVED, "value", value={"dist": "Normal", "mean": 1.0, "sd": 0.5}),
        "factors.time_served.value",
        "5 sd",
    ),
    "probability above one": (
        _set("factors", "p_employed", "value", value=_fixed(17.0)),
        "factors.p_employed",
        "must not exceed 1",
    ),
    "money without a price year": (
        _set("factors", "hourly_output", "price_year", value="none"),
        "factors.hourly_output",
        "needs a price_year",
    ),
    "price year of something that is not money": (
        _set(*SERVED, "price_year", value="2016/17"),
        "factors.time_served",
        "must be 'none'",
    ),
    "unknown distribution": (
        _set(*SERVED, "value", value={"dist": "Lognormal", "median": 1, "q95": 2}),
        "factors.time_served.value",
        "did you mean 'LogNormal'?",
    ),
    "unknown parameter": (
        _set(*SERVED, "value", value={"dist": "LogNormal", "median": 1, "q90": 2}),
        "factors.time_served.value",
        "unknown parameter 'q90'; did you mean 'q95'?; missing parameter 'q95'",
    ),
    "quantiles the wrong way round": (
        _set(*SERVED, "value", value={"dist": "LogNormal", "median": 2, "q95": 1}),
        "factors.time_served.value",
        "0 < median < q95",
    ),
    "value that is text": (
        _set(*SERVED, "value", value={"dist": "Fixed", "value": "0.2"}),
        "factors.time_served.value",
        "finite number",
    ),
    "value that is not finite": (
        _set(*SERVED, "value", value=_fixed(float("nan"))),
        "factors.time_served.value",
        "finite number",
    ),
    "value without a distribution": (_set(*SERVED, "value", value=0.2), "time_served", "table"),
    "mode outside": (
        _set(*SERVED, "value", value={"dist": "Triangular", "low": 1, "mode": 5, "high": 3}),
        "factors.time_served.value",
        "low <= mode <= high",
    ),
    "bounds the wrong way round": (
        _set(*SERVED, "value", value={"dist": "Uniform", "low": 3, "high": 1}),
        "factors.time_served.value",
        "low < high",
    ),
    "Beta with a zero": (
        _set(*SERVED, "value", value={"dist": "Beta", "alpha": 0.0, "beta": 1.0}),
        "factors.time_served.value",
        "alpha must be above 0",
    ),
    "unknown degree of knowledge": (_set(*SERVED, "known", value="sure"), "known", "published"),
    "not shared between sites": (
        _set(*SERVED, "shared", value=False),
        "time_served.shared",
        "True",
    ),
    "unknown factor in a line": (
        _set("lines", 0, "factors", value=["time_servd", "place_cost", "place_mix"]),
        "lines.prison_places.factors",
        "did you mean 'time_served'?",
    ),
    "factor twice in a line": (
        _set("lines", 0, "factors", value=["time_served"] * 2 + ["place_cost", "place_mix"]),
        "lines.prison_places.factors",
        "at most once",
    ),
    "line without a price": (
        _set("lines", 1, "factors", value=["time_served"]),
        "lines.alternative_sentence.factors",
        "exactly one factor",
    ),
    "line with two prices": (
        _set("lines", 0, "factors", value=["time_served", "place_cost", "alternative_cost"]),
        "lines.prison_places.factors",
        "exactly one factor",
    ),
    "factor nobody uses": (
        _set("lines", 0, "factors", value=["time_served", "place_cost"]),
        "factors.place_mix",
        "no line uses",
    ),
    "unknown payer": (
        _set("lines", 0, "payer", value="HMPS"),
        "lines.prison_places.payer",
        "did you mean 'HMPPS'?",
    ),
    "unknown formula": (
        _set("lines", 0, "formula", value="prodct"),
        "lines.prison_places.formula",
        "did you mean 'product'?",
    ),
    "sign that is an amount": (_set("lines", 0, "sign", value=2), "lines.0.sign", "1 or -1"),
    "cashable that is text": (
        _set("lines", 0, "cashable", value="yes"),
        "lines.0.cashable",
        "bool",
    ),
    "two lines of one name": (
        _set("lines", 1, "name", value="prison_places"),
        "lines.prison_places.name",
        "two lines",
    ),
    "line with a reserved name": (_set("lines", 0, "name", value="all"), "lines.all", "reserved"),
    "payer with a reserved name": (_set("payers", "all", value="x"), "payers", "reserved"),
    "outcome with a reserved name": (
        _set("lines", 0, "outcome", value="all"),
        "lines.prison_places.outcome",
        "reserved",
    ),
    "no lines": (_set("lines", value=[]), "lines", "at least 1"),
    "no scenarios": (_set("scenarios", value={}), "scenarios", "at least 1"),
    "scenario without the factor": (
        _drop("scenarios", "overall", "factors", "place_cost"),
        "scenarios.overall.factors",
        "every scenario must define",
    ),
    "factor in and outside scenarios": (
        _set("factors", "place_cost", value=RAW["scenarios"]["direct"]["factors"]["place_cost"]),
        "factors.place_cost",
        "keep one of the two",
    ),
    "range the wrong way round": (_set("comparison", "low", value=5e7), "comparison", "below high"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_costs_are_refused_by_name(case: str) -> None:
    edit, key, rule = WRONG[case]
    raw = shipped()
    edit(raw)
    found = problems(raw)
    assert any(key in text and rule in text for text in found), found
    assert all(text.startswith("costs.toml") for text in found)


def test_all_problems_are_reported_at_once() -> None:
    raw = shipped()
    raw["factors"]["time_served"]["value"]["median"] = -1.0
    raw["lines"][2]["factors"][0] = "time_srved"
    raw["lines"][1]["payer"] = "HMP"
    del raw["comparison"]["source"]
    found = "\n".join(problems(raw))
    for part in ("time_served.value", "'time_served'?", "'HMPPS'?", "comparison.source"):
        assert part in found


@pytest.mark.parametrize(
    ("content", "rule"),
    [(b"[meta\n", "not valid TOML"), (b"\xff\xfe", "UTF-8"), (None, "cannot be read")],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, rule: str) -> None:
    path = tmp_path / "costs.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=rule):
        load_costs(path)


def test_sections_of_the_wrong_kind_are_problems_not_crashes() -> None:
    for section in RAW:
        raw = shipped()
        raw[section] = 1
        assert any(section in text for text in problems(raw))


def test_round_trip_of_the_frozen_model() -> None:
    costs = load_costs(SHIPPED)
    assert isinstance(costs, Costs)
    assert costs == parse_costs(shipped(), source="costs.toml")


@pytest.mark.parametrize("value", [1e300, 10**400, 1e-300, float("nan"), float("inf"), 1e10])
@pytest.mark.parametrize("dist", ["Fixed", "LogNormal", "Uniform", "Beta"])
def test_numbers_beyond_any_price_are_refused(value, dist) -> None:
    """A saving that is not finite would end the report after all fits."""
    parameters = {
        "Fixed": {"value": value},
        "LogNormal": {"median": 1.0, "q95": value},
        "Uniform": {"low": 0.0, "high": value},
        "Beta": {"alpha": value, "beta": 1.0},
    }[dist]
    with pytest.raises(ValidationError, match=r"must be a finite number|must be 0 or have a size"):
        Distribution.model_validate({"dist": dist, **parameters})
