"""The order of bands: declared, read from numbers, or refused, and never that of the text."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lndbayes.data.bands import band_levels, order_bands

#: Labels from the lowest to the highest, as people write them.
ORDERS = [
    ("0-30 days", "31-90 days", "91-180 days", "181+ days"),
    ("1_under_6m", "2_6_to_12m", "3_12m_or_more"),
    ("under 6", "6 to 12", "12 or more"),
    ("1 up to 3 months", "2 3 to 6 months", "3 6 to 12 months", "4 over 12 months"),
    ("1 up to 3 months", "2 3 to 6 months", "4 over 12 months"),
    ("1 first hearing", "2 to 30 days", "3 to 90 days", "4 to 180 days", "5 over 180 days"),
    ("1 first", "2 month", "3 later"),
    ("under 6 months", "6 months to 1 year", "1 to 2 years", "over 2 years"),
    ("6 months", "1 year", "2 years"),
    ("2 months", "1 year"),
    ("0-2 months", "3-11 months", "1-2 years"),
    ("up to 30 days", "up to 90 days", "over 90 days"),
    ("-10 to -1", "0", "1 to 10"),
    ("under 1,000", "1,000 to 2,000", "2,001 to 10,000"),
    ("1", "2", "10", "11"),
    ("0", "0.5", "1"),
    ("0\u20135", "6\u201310", "11\u201315"),
    ("<6", "6-11", "≥12"),
    ("less than 10 days", "10 to under 20 days", "20 days or more"),
    ("under 12 months", "12 or more months"),
    ("0", "1 to 6 months", "1 year or more"),
    ("1) low", "2) mid", "3) high"),
    ("2 to 11 months", "1 year or more"),
    ("0 to 1 month", "2 to 11 months", "1 year or more"),
    ("2 to 3 weeks", "1 month or more"),
    ("2 to 23 hours", "1 day or more"),
    ("2-11 months", "1+ years"),
    ("2-11 months", "1 + years"),
    ("2-11 months", "1year+"),
    ("2-11 mths", "1 yr +"),
    ("3 or more days", "2 or more weeks", "1 or more months"),
    ("1 up to 3 months", "2 3 to 12 months", "3 1 year or more"),
    ("0-30 days", "91-180 days", "181+ days"),
    ("1_under_6_weeks", "2_6_weeks_or_more"),
    ("2 short", "3 long"),
    ("2-11 months", "1-2 years"),
]

#: Labels whose numbers do not say an order, or say two.
UNKNOWN = [
    ("short", "middle", "long"),
    ("none", "1-30", "31+"),
    ("1-30", "1-30 days"),
    ("6 to 12", "6-12"),
    ("1-10", "5-20"),
    ("under 6", "5 to 12"),
    ("12 to 6", "20"),
    ("6 months", "500 g"),
    ("30m", "1h", "2h"),
    ("1 year", "2 months", "3+"),
    ("3 up to 1", "2 1 to 6", "1 over 6"),
    ("1 over 12 months", "2 up to 3 months"),
    ("0,5 to 1", "1 to 2"),
    ("10 mild", "20 severe"),
    ("1_a", "1_b"),
    ("not over 5", "over 5"),
    ("30-0 days", "31-90 days"),
    ("2-11 m", "1y+"),
    ("2 g", "1 kg"),
    ("0-30 days", "20-90 days"),
    ("1) 2 years", "2) 3 months"),
]


@pytest.mark.parametrize("labels", ORDERS)
def test_numbers_in_labels_say_the_order_whatever_the_order_of_the_rows(labels):
    for shuffled in itertools.permutations(labels):
        assert order_bands(shuffled).labels == labels


@pytest.mark.parametrize("labels", UNKNOWN)
def test_an_order_that_cannot_be_known_is_refused_and_can_be_declared(labels):
    found = order_bands(labels)
    assert found.labels == ()
    assert "give no order" in found.problem
    assert order_bands(labels, labels[::-1]).labels == labels[::-1]


#: Units, longest last, in days.
LENGTHS = {
    "hour": 1 / 24,
    "day": 1,
    "week": 7,
    "month": 30.4375,
    "year": 365.25,
    "hrs": 1 / 24,
    "d": 1,
    "wks": 7,
    "mths": 30.4375,
    "yrs": 365.25,
}


@pytest.mark.parametrize("seed", range(300))
def test_ranges_of_any_units_have_their_true_order_or_none(seed):
    """Cut points in any units, written in any way."""
    rng = np.random.default_rng(seed)
    drawn = [(int(rng.integers(1, 5)), str(rng.choice(list(LENGTHS)))) for _ in range(3)]
    cuts = sorted({n * LENGTHS[u]: (n, u) for n, u in drawn}.items())
    said = [f"{n} {u}" for _, (n, u) in cuts]
    tails = ("{} or more", "{}+", "{} +", "{} and over")
    middles = ("{} to {}", "{} - {}", "{} up to {}", "{}-{}")
    true = [("up to {}", "under {}", "0 to {}", "{} or less")[rng.integers(4)].format(said[0])]
    true += [str(rng.choice(middles)).format(*pair) for pair in itertools.pairwise(said)]
    true += [str(rng.choice(tails)).format(said[-1])]
    if rng.random() < 0.3:
        true = true[1:]  # the first is never seen
    for shuffled in itertools.permutations(true):
        found = order_bands(shuffled)
        assert found.labels in ((), tuple(true)), found


def test_a_range_that_no_band_holds_is_told():
    assert order_bands(("0-30 days", "91-180 days", "181+ days")).gaps == (
        ("0-30 days", "91-180 days"),
    )
    assert order_bands(("0-30 days", "31-90 days", "91+ days")).gaps == ()


def test_a_declared_order_stands_against_the_numbers_and_may_hold_empty_bands():
    found = order_bands(("1", "2"), ("2", "3", "1"))
    assert (found.labels, found.problem, found.declared) == (("2", "3", "1"), "", True)


def test_a_label_that_is_not_declared_is_refused_with_a_suggestion():
    found = order_bands(("short", "lnog"), ("short", "long"))
    assert found.labels == ()
    assert "'lnog' (did you mean 'long'?)" in found.problem


def test_bands_of_pairs_and_of_open_cases_are_counted_once():
    assert band_levels(["1>2", "2>1", "1>1"]) == ("1", "2")
    assert band_levels(["1 a", "2 b", "2 b open"]) == ("1 a", "2 b")
    assert band_levels(["> 5", "5"]) == ("5", "> 5")
