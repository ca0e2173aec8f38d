"""Shapley shares: efficiency exactly, brute force over orders, the Gaussian toy in closed form."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from lndbayes.evidence.attribution.shares import shapley, shapley_weights, subsets

NAMES = ["a", "b", "c", "d", "e"]


def by_orders(channels: list[str], values: dict[frozenset[str], np.ndarray]) -> np.ndarray:
    """Mean over all orders of what each source adds to those before it."""
    orders = list(permutations(channels))
    found = np.zeros((len(channels), *np.shape(values[frozenset()])))
    for order in orders:
        for place, channel in enumerate(order):
            before = frozenset(order[:place])
            found[channels.index(channel)] += values[before | {channel}] - values[before]
    return found / len(orders)


@pytest.mark.parametrize("k", range(1, 6))
def test_shares_are_those_of_all_orders_and_sum_to_the_whole(k: int, rng) -> None:
    channels = NAMES[:k]
    values = {chosen: rng.normal(size=(3, 2)) for chosen in subsets(channels)}
    found, errors = shapley(channels, values)
    np.testing.assert_allclose(found, by_orders(channels, values), atol=1e-12)
    whole = values[frozenset(channels)] - values[frozenset()]
    np.testing.assert_allclose(found.sum(axis=0), whole, atol=1e-12)
    assert not errors.any()


def test_efficiency_holds_exactly_on_whole_numbers() -> None:
    # multiples of 5! leave no rounding
    channels = NAMES
    values = {s: np.array(120.0 * (7 * len(s) ** 2 + ("a" in s))) for s in subsets(channels)}
    found, _ = shapley(channels, values)
    assert float(found.sum()) == pytest.approx(120.0 * (7 * 25 + 1), abs=1e-9)
    assert float(found[0] - found[1]) == pytest.approx(120.0, abs=1e-9)


def gaussian(channels: dict[str, float], prior: float = 1.0) -> dict[frozenset[str], np.ndarray]:
    """Log posterior precision of a normal mean, sources adding their precisions."""
    return {
        s: np.array(np.log(prior + sum(channels[c] for c in s))) for s in subsets(list(channels))
    }


def test_a_source_that_says_nothing_gets_nothing_and_changes_nothing() -> None:
    found, _ = shapley(["a", "b", "none"], gaussian({"a": 4.0, "b": 1.5, "none": 0.0}))
    without, _ = shapley(["a", "b"], gaussian({"a": 4.0, "b": 1.5}))
    np.testing.assert_allclose(found[:2], without, atol=1e-14)
    assert found[2] == pytest.approx(0, abs=1e-14)


def test_a_duplicate_splits_its_share_evenly() -> None:
    # the copy is the same datum again: both together say no more than one
    def log_precision(chosen: frozenset[str]) -> np.ndarray:
        return np.array(np.log(1 + 4 * bool(chosen & {"a", "copy"}) + 1.5 * ("b" in chosen)))

    channels = ["a", "copy", "b"]
    found, _ = shapley(channels, {s: log_precision(s) for s in subsets(channels)})
    assert found[0] == pytest.approx(found[1], abs=1e-14)
    # two sources in closed form: the mean of first and last in the order
    assert found.sum() == pytest.approx(np.log(6.5))
    equal, _ = shapley(["a", "b"], gaussian({"a": 2.0, "b": 2.0}))
    np.testing.assert_allclose(equal, np.log(5.0) / 2, atol=1e-14)


def test_errors_are_those_of_the_linear_combination(rng) -> None:
    channels = NAMES[:3]
    variances = {s: np.array(0.1 + len(s)) for s in subsets(channels)}
    draws = [
        shapley(channels, {s: rng.normal(0, np.sqrt(v)) for s, v in variances.items()})[0]
        for _ in range(4000)
    ]
    _, errors = shapley(channels, dict.fromkeys(variances, np.array(0.0)), variances)
    # an sd from 4000 draws is known to 1.1%
    np.testing.assert_allclose(np.std(draws, axis=0), errors, rtol=0.05)


def test_weights_of_a_row_cancel() -> None:
    # a constant added to every subset is nobody's
    weights = shapley_weights(NAMES)
    np.testing.assert_allclose(weights.sum(axis=1), 0, atol=1e-14)


@pytest.mark.parametrize("channels", [["a", "a"], [*NAMES, "f"]])
def test_sources_must_be_few_and_distinct(channels: list[str]) -> None:
    with pytest.raises(ValueError, match="distinct"):
        subsets(channels)


def test_a_subset_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        shapley(["a"], {frozenset(): np.array(0.0)})
