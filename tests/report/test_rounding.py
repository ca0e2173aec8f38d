"""The rounding rule against cases worked by hand."""

from __future__ import annotations

import math

import pytest

from lndbayes.report.rounding import (
    decimals,
    headed,
    money,
    number,
    percent,
    probability,
    ratio,
    show,
    significant,
    typeset,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "sd", "mcse", "places"),
    [
        # sd / 50 = 0.0013, so the unit is 0.01; the error 0.0012 asks for no more
        (-0.3412, 0.065, 0.0012, 2),
        # error 0.012 > 0.01: the unit is 0.1
        (-0.3412, 0.065, 0.012, 1),
        # sd / 50 = 0.001 exactly: the unit is 0.001 and not 0.01
        (1.0, 0.05, NAN, 3),
        # sd / 50 = 9.2: the unit is 10
        (2310.0, 460.0, 2.0, -1),
        # sd / 50 = 11: the unit is 100
        (2310.0, 550.0, 2.0, -2),
        # nothing known: three significant figures
        (0.012345, NAN, NAN, 4),
        (123456.0, NAN, NAN, -3),
        (0.0, NAN, NAN, 0),
        (NAN, NAN, NAN, 0),
        # a standard deviation of zero says nothing about digits
        (2.0, 0.0, 0.0, 2),
    ],
)
def test_decimals(value: float, sd: float, mcse: float, places: int) -> None:
    assert decimals(value, sd, mcse) == places


@pytest.mark.parametrize("exponent", range(-6, 7))
@pytest.mark.parametrize("sd", [1.0, 1.7, 4.999, 5.0, 5.001, 9.99])
def test_sd_spans_five_to_fifty_units_of_the_last_digit(sd: float, exponent: int) -> None:
    scaled = sd * 10.0**exponent
    unit = 10.0 ** -decimals(0.0, scaled)
    assert 5 * (1 - 1e-9) <= scaled / unit <= 50 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (-0.341, 2, "\N{MINUS SIGN}0.34"),
        (-0.004, 2, "0.00"),
        (2314.6, -1, "2,310"),
        (1234567.0, 0, "1,234,567"),
        (NAN, 2, "\N{EN DASH}"),
        (math.inf, 2, "\N{EN DASH}"),
    ],
)
def test_number(value: float, places: int, text: str) -> None:
    assert number(value, places) == text


def test_all_parts_of_an_estimate_share_one_place() -> None:
    shown = show(-3.3312, -4.111, -2.4, 0.52, 0.01, unit="%")
    # sd / 50 = 0.0104: the unit is 0.1
    assert (shown.point, shown.interval, shown.sd) == (
        "\N{MINUS SIGN}3.3%",
        "\N{MINUS SIGN}4.1% to \N{MINUS SIGN}2.4%",
        "0.5%",
    )


def test_a_missing_end_leaves_no_interval() -> None:
    assert show(1.0, NAN, 2.0, 0.1).interval == "\N{EN DASH}"


def test_ratio_is_the_exponential_of_each_quantile() -> None:
    shown = ratio(math.log(0.7), math.log(0.6), math.log(0.8), 0.1, 0.001)
    # error 0.7 x 0.1 = 0.07, a fiftieth of it 0.0014: the unit is 0.01
    assert (shown.point, shown.interval, shown.sd) == ("0.70", "0.60 to 0.80", "0.07")


def test_money_keeps_one_unit_and_puts_the_sign_first() -> None:
    shown = money(2.3456e6, -0.41e6, 5.1e6, 1.6e6)
    assert (shown.point, shown.lower, shown.upper) == (
        "£2.3m",
        "\N{MINUS SIGN}\u2060£0.4m",
        "£5.1m",
    )
    shown = money(54_321.0, 12_345.0, 98_765.0, 30_000.0)
    assert shown.interval == "£12,000 to £99,000"
    assert money(12.34, 12.3, 12.4, 0.01).point == "£12"


@pytest.mark.parametrize(
    ("p", "text", "short"),
    [
        (0.0, "less than 1%", "<1%"),
        (0.0099, "less than 1%", "<1%"),
        (0.014, "1%", "1%"),
        (0.874, "87%", "87%"),
        (0.99, "99%", "99%"),
        (0.9901, "more than 99%", ">99%"),
        (1.0, "more than 99%", ">99%"),
        (NAN, "\N{EN DASH}", "\N{EN DASH}"),
    ],
)
def test_probability(p: float, text: str, short: str) -> None:
    assert probability(p) == text
    assert probability(p, short=True) == short


def test_percent() -> None:
    assert percent(0.123) == "12%"
    assert percent(0.123, 1) == "12.3%"
    assert percent(NAN) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.00431", "1.004"),
        ("0.0", "0"),
        ("812.0", "812"),
        (12345.6, "12,346"),
        (0.000123456, "0.0001235"),
        ("not a number", "not a number"),
        ("", "\N{EN DASH}"),
        ("nan", "\N{EN DASH}"),
        (-2.5, "\N{MINUS SIGN}2.5"),
    ],
)
def test_significant(value: float | str, text: str) -> None:
    assert significant(value) == text


def test_a_heading_keeps_the_capitals_of_names() -> None:
    assert headed("A&E attendances") == "A&E attendances"
    assert headed("rate ratio") == "Rate ratio"
    assert headed("") == ""


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("the mean by -0.02 sd", "the mean by \N{MINUS SIGN}0.02 sd"),
        ("-4% a year", "\N{MINUS SIGN}4% a year"),
        ("from 2014-04 to 2018-03", "from 2014-04 to 2018-03"),
        ("event months 7-18", "event months 7-18"),
        ("go-live at S-12", "go-live at S-12"),
        ("(-1 to 1)", "(\N{MINUS SIGN}1 to 1)"),
    ],
)
def test_minus_signs_are_minus_signs(written: str, shown: str) -> None:
    assert typeset(written) == shown
