"""The two sentences against the files, by arithmetic that shares no code with them."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lndbayes.report.answer import effect_sentence, savings_sentence
from lndbayes.report.lookup import interval_verdict
from lndbayes.report.run import read_run

MakeRun = Callable[..., Path]
NUMBER = r"[\N{MINUS SIGN}+]?\u2060?£?[\d,]+(?:\.\d+)?"


def rows(path: Path, **equal: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return [r for r in csv.DictReader(handle) if all(r[k] == v for k, v in equal.items())]


def the_row(path: Path, **equal: str) -> dict[str, str]:
    found = rows(path, **equal)
    assert len(found) == 1
    return found[0]


def parse(text: str) -> tuple[float, float]:
    """Value of a printed number, and half a unit of its last printed digit."""
    clean = re.sub("[\u2060£,+]", "", text).replace("\N{MINUS SIGN}", "-")
    places = len(clean.partition(".")[2])
    half = 0.5 * 10.0**-places
    if places == 0:  # zeros before the point may have come from rounding to tens or more
        half *= 10 ** (len(clean) - len(clean.rstrip("0")) if clean.strip("-0") else 0)
    return float(clean), half


def same(text: str, value: float) -> None:
    printed, half = parse(text)
    assert abs(printed - value) <= half * (1 + 1e-9), (text, value)
    assert abs(printed - value) <= 0.5 * abs(value) + 0.1  # not rounded away altogether


def pooled(run: Path, scale: str, estimand: str = "pooled") -> dict[str, str]:
    return the_row(run / "effects.csv", estimand=estimand, scale=scale, site="")


def test_every_number_of_the_effect_sentence_is_in_the_file(shared_run: Path) -> None:
    sentence = effect_sentence(read_run(shared_run), "custody")
    link, points = pooled(shared_run, "link"), pooled(shared_run, "natural")
    events = pooled(shared_run, "natural", "events_averted")
    pattern = (
        r"Over months 7 to 18 after go-live the service is estimated to have lowered the rate of "
        rf"sentences, as intended: the pooled odds ratio is ({NUMBER}) \(90% interval ({NUMBER}) "
        rf"to ({NUMBER})\), a change of ({NUMBER}) percentage points \(({NUMBER}) to ({NUMBER})\), "
        r"with a probability of benefit of (more than 99%); in the months observed, "
        rf"({NUMBER}) sentences were averted \(({NUMBER}) to ({NUMBER})\)\."
    )
    match = re.fullmatch(pattern, sentence)
    assert match is not None, sentence
    found = match.groups()
    for text, key in zip(found[:3], ("median", "lower", "upper"), strict=True):
        same(text, math.exp(float(link[key])))
    for text, key in zip(found[3:6], ("median", "lower", "upper"), strict=True):
        same(text, float(points[key]))
    assert float(link["p_below_zero"]) > 0.99
    for text, key in zip(found[7:], ("median", "lower", "upper"), strict=True):
        same(text, float(events[key]))


def test_every_number_of_the_savings_sentence_is_in_the_file(shared_run: Path) -> None:
    sentence = savings_sentence(read_run(shared_run))
    row = the_row(
        shared_run / "savings.csv",
        level="total",
        outcome="all",
        line="all",
        payer="all",
        scenario="direct",
    )
    pattern = (
        r"At 2016/17 prices in the scenario \N{LEFT SINGLE QUOTATION MARK}Direct cost"
        r"\N{RIGHT SINGLE QUOTATION MARK}, the total saving is "
        rf"({NUMBER})m \(90% interval ({NUMBER})m to ({NUMBER})m\), with a probability of "
        r"(.*) that it is above zero\."
    )
    match = re.fullmatch(pattern, sentence)
    assert match is not None, sentence
    for text, key in zip(match.groups()[:3], ("median", "lower", "upper"), strict=True):
        same(text, float(row[key]) / 1e6)
    p = float(row["p_positive"])
    assert match[4] == ("more than 99%" if p > 0.99 else f"{round(100 * p)}%")


def test_null_world_says_that_the_data_cannot_say(make_run: MakeRun) -> None:
    run = read_run(make_run(world="null"))
    sentence = effect_sentence(run, "custody")
    assert sentence.startswith("The data cannot say whether the service changed the rate of")
    assert "an interval that includes no effect" in sentence
    assert "estimated" not in sentence
    assert savings_sentence(run).startswith("The data cannot say whether money was saved: at ")


def test_harm_world_says_so(make_run: MakeRun) -> None:
    run = read_run(make_run(world="harm"))
    sentence = effect_sentence(run, "custody")
    assert "estimated to have raised the rate of sentences, the opposite of what is" in sentence
    assert "a change of +" in sentence
    assert "probability of benefit of less than 1%" in sentence
    assert re.search(r"sentences were added \(", sentence)
    assert savings_sentence(run).startswith("The service is estimated to have cost more than it")


def test_added_events_are_the_averted_ones_with_the_other_sign(make_run: MakeRun) -> None:
    path = make_run(world="harm")
    events = pooled(path, "natural", "events_averted")
    sentence = effect_sentence(read_run(path), "custody")
    match = re.search(rf"({NUMBER}) sentences were added \(({NUMBER}) to ({NUMBER})\)", sentence)
    assert match is not None
    for text, key in zip(match.groups(), ("median", "upper", "lower"), strict=True):
        same(text, -float(events[key]))


def test_a_posterior_as_wide_as_its_prior_rests_on_the_prior(make_run: MakeRun) -> None:
    path = make_run(world="prior")
    run = read_run(path)
    sentence = effect_sentence(run, "custody")
    base = the_row(path / "sensitivity.csv", variant="base")
    share = round(100 * float(base["sd"]) / float(base["prior_sd"]))
    assert sentence.startswith("This answer rests on the prior")
    assert f"is still {share}% of what was assumed before them" in sentence
    assert savings_sentence(run).endswith("like the effect it rests on the prior.")


@pytest.mark.parametrize(
    ("direction", "judged", "p_name"),
    [
        ("lower", ", as intended:", "benefit of more than 99%"),
        ("higher", ", the opposite of what is intended:", "benefit of less than 1%"),
        ("none", "sentences:", "a fall of more than 99%"),
    ],
)
def test_the_spec_says_which_direction_is_good(
    make_run: MakeRun, direction: str, judged: str, p_name: str
) -> None:
    sentence = effect_sentence(read_run(make_run(good_direction=direction)), "custody")
    assert judged in sentence
    assert f"with a probability of {p_name}" in sentence


@pytest.mark.parametrize(
    ("lower", "median", "upper", "share", "expected"),
    [
        (-0.4, -0.3, -0.2, 0.1, "lowers"),
        (0.2, 0.3, 0.4, 0.1, "raises"),
        (-0.1, 0.3, 0.4, 0.1, "cannot say"),
        (-0.4, -0.3, 0.0, 0.1, "cannot say"),
        (-0.4, -0.3, -0.2, 0.8, "rests on the prior"),
        (-0.4, -0.3, -0.2, 0.79, "lowers"),
        (-0.4, -0.3, -0.2, math.nan, "lowers"),
        (-0.4, math.nan, -0.2, 0.1, "not identified"),
    ],
)
def test_what_an_interval_alone_says(
    lower: float, median: float, upper: float, share: float, expected: str
) -> None:
    assert interval_verdict({"lower": lower, "median": median, "upper": upper}, share) == expected


def test_an_empty_pooled_row_is_said_to_be_absent(make_run: MakeRun) -> None:
    path = make_run()
    frame = pd.read_csv(path / "effects.csv")
    frame.loc[frame["estimand"] == "pooled", ["mean", "median", "lower", "upper", "sd"]] = math.nan
    frame.to_csv(path / "effects.csv", index=False)
    assert effect_sentence(read_run(path), "custody").startswith("No pooled effect on")


def test_without_savings_the_sentence_says_why(make_run: MakeRun) -> None:
    path = make_run()
    (path / "savings.csv").unlink()
    expected = "No saving is stated: savings.csv is not in the run directory."
    assert savings_sentence(read_run(path)) == expected
