"""Log-gamma, digamma and the rising factorial against SciPy and against exact products."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import digamma, gammaln, poch

from lndbayes.numerics.special import lgamma_digamma, rising

EPS = np.finfo(float).eps

ARGUMENTS = np.concatenate(
    [
        np.geomspace(1e-3, 1e7, 2001),
        np.linspace(0.5, 12.0, 1151),  # the roots at 1 and 2, the switch at 10
        np.nextafter([1.0, 2.0, 10.0, 10.0], [0.0, 3.0, 0.0, 11.0]),
    ]
)


def test_log_gamma_and_digamma_are_scipys():
    found = np.array([lgamma_digamma(x) for x in ARGUMENTS])
    for ours, theirs in zip(found.T, (gammaln(ARGUMENTS), digamma(ARGUMENTS)), strict=True):
        # Relative to 1 + |value|: both have roots, where a relative error means nothing.
        assert (np.abs(ours - theirs) / (1 + np.abs(theirs))).max() < 1e-14


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 11, 20, 171])
def test_log_gamma_of_a_whole_number_is_of_its_factorial(n):
    value, slope = lgamma_digamma(float(n))
    assert value == pytest.approx(math.log(math.factorial(n - 1)), rel=1e-14, abs=1e-14)
    harmonic = math.fsum(1 / k for k in range(1, n))
    assert slope == pytest.approx(harmonic - 0.57721566490153286, rel=1e-13)


def bounds(a: float, k: float) -> tuple[float, float]:
    """Rounding to expect: exact products to 8, then a difference of two large numbers."""
    if k <= 8:
        return 8 * EPS * (1 + abs(math.log(a)) * (1 + k)), 4 * EPS * (1 + k) / a
    return (
        30 * EPS * (1 + abs(gammaln(a + k)) + abs(gammaln(a))),
        10 * EPS * (1 + 1 / a + abs(digamma(a + k)) + abs(digamma(a))),
    )


@given(st.floats(1e-3, 1e7), st.integers(0, 300))
@example(150.0, 8)
@example(150.0, 9)
@example(1e7, 9)
@example(1e-3, 1)
@example(1e-3, 300)
def test_rising_factorial_is_the_product_and_its_slope_the_sum_of_reciprocals(a, k):
    value, slope = rising(a, float(k))
    value_bound, slope_bound = bounds(a, k)
    exact = math.fsum(math.log(a + i) for i in range(k))
    assert abs(value - exact) <= value_bound + 4 * EPS * k
    assert abs(slope - math.fsum(1 / (a + i) for i in range(k))) <= slope_bound


@pytest.mark.parametrize("a", [1e-3, 0.4, 1.0, 9.99, 150.0, 3e4])
@pytest.mark.parametrize("k", [0.0, 1.0, 7.0, 8.0, 9.0, 10.0, 45.0])
def test_rising_factorial_is_scipys(a, k):
    value, slope = rising(a, k)
    assert value == pytest.approx(np.log(poch(a, k)), rel=1e-10, abs=1e-12)
    assert slope == pytest.approx(digamma(a + k) - digamma(a), rel=1e-8, abs=1e-12)


def test_no_trials_say_nothing_of_the_parameter():
    assert rising(123.4, 0.0) == (0.0, 0.0)


def test_short_and_long_forms_meet():
    """At 8 trials the product gives way to the difference: (a)_9 = (a)_8 (a + 8)."""
    for a in np.geomspace(1e-2, 1e4, 25):
        short, short_slope = rising(a, 8.0)
        long, long_slope = rising(a, 9.0)
        assert long == pytest.approx(short + math.log(a + 8), rel=1e-11, abs=1e-12)
        assert long_slope == pytest.approx(short_slope + 1 / (a + 8), rel=1e-8)
