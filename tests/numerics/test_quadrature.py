"""Gauss rules that stand for many lengths of rising factorials."""

import math

import numpy as np
import pytest

from lndbayes.numerics.quadrature import NODES, condensed
from lndbayes.numerics.vector import BLOCK, INNER, risings


def _lengths(middle: float, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    drawn = rng.poisson(rng.lognormal(math.log(middle), 0.8, count))
    numbers, weights = np.unique(drawn[drawn > 0], return_counts=True)
    return numbers.astype(float), weights.astype(float)


def _by_factors(a: float, numbers: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Sum of log rising factorials and its derivative in a, one factor at a time."""
    times = np.zeros(int(numbers.max()))
    for number, weight in zip(numbers.astype(int), weights, strict=True):
        times[:number] += weight
    factors = a + np.arange(len(times))
    return math.fsum(times * np.log(factors)), math.fsum(times / factors)


@pytest.mark.parametrize("a", [1e-9, 0.3, 7.0, 150.0, 4e3, 1e9])
@pytest.mark.parametrize("middle", [30.0, 3000.0])
def test_sums_and_slopes_are_those_of_every_length(middle: float, a: float) -> None:
    numbers, weights = _lengths(middle)
    few, times = condensed(numbers, weights)
    assert len(few) < 0.7 * len(numbers)
    value, slope = np.zeros((2, BLOCK))
    lengths = np.append(few, np.zeros(BLOCK - len(few)))
    risings(np.full(BLOCK, a), lengths, len(few), np.empty((INNER, BLOCK)), value, slope)
    sums = value[: len(few)] @ times, slope[: len(few)] @ times
    np.testing.assert_allclose(sums, _by_factors(a, numbers, weights), rtol=1e-13)


def test_moments_of_an_octave_are_kept() -> None:
    numbers = np.arange(64.0, 128.0)
    weights = np.random.default_rng(3).uniform(0.1, 5.0, 64)
    few, times = condensed(numbers, weights)
    assert len(few) == NODES
    assert (times > 0).all()
    assert few.min() > 64
    assert few.max() < 127
    powers = np.arange(2 * NODES)[:, None]
    about = [(numbers - 96) / 32, (few - 96) / 32]
    np.testing.assert_allclose(about[1] ** powers @ times, about[0] ** powers @ weights, atol=1e-11)


def test_few_numbers_stay_what_they_are() -> None:
    numbers, weights = np.array([0.0, 1.0, 2.0, 7.0, 700.0]), np.array([3.0, 1.0, 2.0, 1.0, 9.0])
    few, times = condensed(numbers, weights)
    np.testing.assert_array_equal(few, numbers)
    np.testing.assert_array_equal(times, weights)
    assert [len(part) for part in condensed(np.zeros(0), np.zeros(0))] == [0, 0]
