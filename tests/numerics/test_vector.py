"""Special functions over blocks, against exact sums and the standard library."""

import math
from fractions import Fraction

import numpy as np
import pytest
from numba import njit
from scipy.special import expit

from lndbayes.density.cell_likelihood import _beta_binomials, _far, _rising
from lndbayes.numerics import vector
from lndbayes.numerics.simd import dot, fma
from lndbayes.numerics.vector import (
    BLOCK,
    FAR,
    FEW,
    INNER,
    JIT,
    above,
    exps,
    far_risings,
    log1ps,
    log_product,
    log_shares,
    logs,
    products,
    risings,
    shares_of,
)

RNG = np.random.default_rng(20261124)
LOGIT, CLOGLOG = vector.LINKS["logit"], vector.LINKS["cloglog"]


def scratch() -> np.ndarray:
    return np.full((INNER, BLOCK), np.nan)


def block(values: object) -> np.ndarray:
    out = np.full(BLOCK, np.nan)
    values = np.asarray(values, dtype=float)
    out[: len(values)] = values
    return out


def over(function, x: np.ndarray) -> np.ndarray:
    """Apply a function of blocks to an array of any length."""
    out = []
    for start in range(0, len(x), BLOCK):
        part = x[start : start + BLOCK]
        found = np.full(BLOCK, np.nan)
        function(block(part), len(part), found)
        out.append(found[: len(part)])
    return np.concatenate(out)


def test_logarithms_within_a_unit_in_the_last_place() -> None:
    x = np.concatenate([np.exp(RNG.uniform(-700, 700, 5000)), 1 + RNG.normal(0, 1e-3, 5000), [1.0]])
    exact = np.array([math.log(v) for v in x])
    assert (np.abs(over(logs, x) - exact) <= np.spacing(np.abs(exact)) + 1e-320).all()


def test_logarithms_of_what_has_none() -> None:
    found = over(logs, np.array([0.0, 1e-310, np.inf, -1.0, np.nan, -np.inf]))
    np.testing.assert_array_equal(found, [-np.inf, -np.inf, np.inf, np.nan, np.nan, np.nan])


def test_log_of_one_plus_keeps_its_digits() -> None:
    x = np.concatenate([np.exp(RNG.uniform(-700, 300, 5000)), [0.0, np.inf]])
    np.testing.assert_allclose(over(log1ps, x), np.log1p(x), rtol=1e-15)


def test_exponentials_within_a_few_units() -> None:
    x = np.concatenate([RNG.uniform(-707, 708, 5000), RNG.normal(0, 1e-8, 100), [0.0]])
    np.testing.assert_allclose(over(exps, x), np.exp(x), rtol=5e-16)
    held = over(exps, np.array([-1e4, 1e4, -np.inf, np.inf]))
    np.testing.assert_allclose(held, np.exp([-708.0, 709, -708, 709]), rtol=1e-14)


@pytest.mark.parametrize("spread", [1.0, 10.0, 200.0])
def test_shares_keep_their_small_end(spread: float) -> None:
    p, q, dp = np.empty((3, BLOCK))
    eta = RNG.normal(0, spread, BLOCK).clip(-700, 700)
    shares_of(LOGIT, eta, BLOCK, scratch(), p, q, dp)
    np.testing.assert_allclose(p, expit(eta), rtol=1e-15)
    np.testing.assert_allclose(q, expit(-eta), rtol=1e-15)
    np.testing.assert_allclose(dp, expit(eta) * expit(-eta), rtol=1e-15)
    eta = eta.clip(-700, 6.5)
    shares_of(CLOGLOG, eta, BLOCK, scratch(), p, q, dp)
    hazard = np.exp(eta)
    np.testing.assert_allclose(p, -np.expm1(-hazard), rtol=1e-15)
    # exp of a large argument multiplies its rounding
    np.testing.assert_allclose(q, np.exp(-hazard), rtol=1e-12)
    np.testing.assert_allclose(
        dp[hazard < 700], (hazard * np.exp(-hazard))[hazard < 700], rtol=1e-12
    )


def exact_rising(a: float, k: float) -> tuple[float, float]:
    steps = [a + i for i in range(int(k))]
    return math.fsum(map(math.log, steps)), math.fsum(1 / v for v in steps)


def test_rising_factorials_are_their_sums() -> None:
    a = np.exp(RNG.uniform(-12, 14, 1000))
    k = np.floor(np.exp(RNG.uniform(0, 7, 1000)))
    k[:50] = 0
    for start in range(0, 1000, BLOCK):
        part = slice(start, start + BLOCK)
        n = len(a[part])
        value, slope = np.full((2, BLOCK), np.nan)
        risings(block(a[part]), block(k[part]), n, scratch(), value, slope)
        exact = np.array([exact_rising(*pair) for pair in zip(a[part], k[part], strict=True)])
        np.testing.assert_allclose(value[:n], exact[:, 0], rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(slope[:n], exact[:, 1], rtol=1e-13, atol=1e-15)
        assert (value[:n][k[part] == 0] == 0).all() and (slope[:n][k[part] == 0] == 0).all()
        assert np.isnan(value[n:]).all()


@njit(**JIT)
def sum_of_rising(
    few: bool, far: bool, a: np.ndarray, k: np.ndarray, s: np.ndarray, slope: np.ndarray
) -> float:
    return float(_rising(few, far, a, k, len(a), s, slope))


@pytest.mark.parametrize(("least", "most"), [(1e-5, 6), (1e-5, 3000), (8.0, 3000), (8.0, 6)])
def test_every_sort_of_block_has_the_same_sums(least: float, most: int) -> None:
    """Products of few, the series, and the series without a shift where arguments allow."""
    a = least * np.exp(RNG.uniform(0, 14, BLOCK))
    a[0] = least
    k = RNG.integers(0, most + 1, BLOCK).astype(float)
    k[1] = 0.0
    slope = np.full(BLOCK, np.nan)
    total = sum_of_rising(most <= FEW, a.min() >= FAR, a, k, scratch(), slope)
    exact = np.array([exact_rising(*pair) for pair in zip(a, k, strict=True)])
    assert total == pytest.approx(math.fsum(exact[:, 0]), rel=1e-13)
    np.testing.assert_allclose(slope, exact[:, 1], rtol=1e-13, atol=1e-15)
    assert slope[1] == 0


def test_the_series_is_long_enough_where_it_starts() -> None:
    """At the least argument and few factors, where nothing hides what the last terms add."""
    a, k = np.repeat([FAR, FAR + 0.5], 5), np.tile(np.arange(1.0, 6.0), 2)
    value, slope = np.full((2, BLOCK), np.nan)
    slope[: len(a)] = 0.0
    far_risings(block(a), block(k), len(a), 0.0, value, slope)
    exact = np.array([exact_rising(*pair) for pair in zip(a, k, strict=True)])
    np.testing.assert_allclose(value[: len(a)], exact[:, 0], rtol=1e-13)
    np.testing.assert_allclose(slope[: len(a)], exact[:, 1], rtol=2e-13)


def exact_beta_binomials(
    y: np.ndarray, left: np.ndarray, odds: np.ndarray, phi: float
) -> tuple[float, np.ndarray, float]:
    """Their sum without what depends on phi alone, by sums over factors, and its derivatives."""
    p, q = expit(odds), expit(-odds)
    ends = [(p * phi, y), (q * phi, left)]
    exact = [np.array([exact_rising(*pair) for pair in zip(*end, strict=True)]) for end in ends]
    (a, da), (b, db) = (end.T for end in exact)
    return math.fsum((*a, *b)), p * q * phi * (da - db), math.fsum(p * da + q * db)


@njit(**JIT)
def sum_of_far(
    y: np.ndarray, left: np.ndarray, odds: np.ndarray, phi: float, s: np.ndarray, out: np.ndarray
) -> tuple[float, float]:
    p, q, dp = np.empty_like(y), np.empty_like(y), np.empty_like(y)
    shares_of(LOGIT, odds, len(y), s, p, q, dp)
    return _far(y, left, odds, p, q, dp, phi, len(y), s, out)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 50, BLOCK])
@pytest.mark.parametrize("phi", [20.0, 150.0, 9e3])
def test_both_rising_factorials_of_many_trials_at_once(phi: float, n: int) -> None:
    """Against sums over factors; their parameters are shares of `phi`, from log odds."""
    odds = RNG.uniform(-0.4, 0.4, n) if phi < 100 else RNG.normal(-1.0, 0.5, n)
    y, left = RNG.integers(0, 3000, (2, n)).astype(float)
    y[0] = left[-1] = 0.0
    s, on_eta = np.full((INNER, BLOCK), np.nan), np.full(n, np.nan)
    total, on_phi = sum_of_far(y, left, odds, phi, s, on_eta)
    exact, exact_on_eta, exact_on_phi = exact_beta_binomials(y, left, odds, phi)
    # what cancels has phi log a in every row
    lost = 2e-16 * n * phi * math.log(phi)
    assert total == pytest.approx(exact, rel=1e-13, abs=lost)
    np.testing.assert_allclose(on_eta, exact_on_eta, rtol=1e-11, atol=1e-11 * phi)
    assert on_phi == pytest.approx(exact_on_phi, rel=1e-11)


@njit(**JIT)
def sum_of_beta_binomials(
    y: np.ndarray, left: np.ndarray, odds: np.ndarray, phi: float, s: np.ndarray, out: np.ndarray
) -> tuple[float, float]:
    p, q, dp = np.empty_like(y), np.empty_like(y), np.empty_like(y)
    shares_of(LOGIT, odds, len(y), s, p, q, dp)
    return _beta_binomials(y, left, p, q, dp, phi, len(y), s, out, odds, True)


@pytest.mark.parametrize(("most_y", "most_left"), [(6, 6), (6, 900), (900, 6), (900, 900)])
@pytest.mark.parametrize(
    ("phi", "middle"), [(0.3, 0.0), (9.0, 0.0), (20.0, -2.0), (20.0, 2.0), (300.0, 0.0), (1e7, 0.0)]
)
def test_every_sort_of_beta_binomials_has_its_sums(
    phi: float, middle: float, most_y: int, most_left: int
) -> None:
    """Few and many, near 0 and far, either or both; and too concentrated for the fastest."""
    odds = middle + RNG.uniform(-1.0, 1.0, BLOCK)
    y, left = (RNG.integers(0, most + 1, BLOCK).astype(float) for most in (most_y, most_left))
    s, on_eta = np.full((INNER + 4, BLOCK), np.nan), np.full(BLOCK, np.nan)
    total, on_phi = sum_of_beta_binomials(y, left, odds, phi, s, on_eta)
    exact, exact_on_eta, exact_on_phi = exact_beta_binomials(y, left, odds, phi)
    assert total == pytest.approx(exact, rel=1e-13)
    np.testing.assert_allclose(on_eta, exact_on_eta, rtol=1e-9, atol=1e-10)
    assert on_phi == pytest.approx(exact_on_phi, rel=1e-9)


@pytest.mark.parametrize("most", range(9))
def test_products_of_few_are_the_same_sums(most: int) -> None:
    a = np.exp(RNG.uniform(-12, 14, BLOCK))
    k = RNG.integers(0, most + 1, BLOCK).astype(float)
    value, slope = np.empty((2, BLOCK))
    products(a, k, BLOCK, value, slope)
    exact = np.array([exact_rising(*pair) for pair in zip(a, k, strict=True)])
    np.testing.assert_allclose(np.log(value), exact[:, 0], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(slope, exact[:, 1], rtol=1e-13)


@pytest.mark.parametrize("n", [0, 1, 2, 63, 64, 65, 127, 128])
def test_log_of_a_product_is_the_sum_of_logs(n: int) -> None:
    """Of numbers whose product is no double."""
    x = np.exp(RNG.uniform(-700, 700, n))
    exact = math.fsum(map(math.log, x))
    found = log_product(block(x), n, scratch())
    assert found == pytest.approx(exact, rel=1e-14, abs=1e-12)
    assert log_product(block(1 / x), n, scratch()) == pytest.approx(-found, rel=1e-13, abs=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 63, 64, 65, 127, 128])
def test_log_of_a_product_of_shares_is_the_sum_of_logs(n: int) -> None:
    x = np.exp(RNG.uniform(math.log(1e-4), 0.0, n))
    x[:64] = 1e-4
    found = log_shares(block(x), n, scratch())
    assert found == pytest.approx(math.fsum(map(math.log, x)), rel=1e-14)


@pytest.mark.parametrize("level", [0.0, 6.0, math.inf])
def test_how_many_are_above(level: float) -> None:
    x = RNG.integers(0, 12, BLOCK).astype(float)
    for n in (0, 1, 77, BLOCK):
        assert counted(x, n, level) == (x[:n] > level).sum()


@njit(**JIT)
def counted(x: np.ndarray, n: int, level: float) -> int:
    return int(above(x, n, level))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_log_of_a_product_does_not_hide_what_is_no_number(bad: float) -> None:
    x = np.ones(77)
    x[40] = bad
    assert math.isnan(log_product(block(x), 77, scratch()))


@pytest.mark.parametrize("n", [0, 1, 3, 4, 15, 16, 17, 40, 96, 127])
def test_dot_is_the_sum_of_products_and_looks_no_further(n: int) -> None:
    a, b = RNG.normal(size=(2, 130))
    exact = math.fsum(a[:n] * b[:n])
    size = math.fsum(np.abs(a[:n] * b[:n]))
    a[n:] = math.nan
    found = summed(a, b, n)
    assert found == pytest.approx(exact, abs=1e-15 * (size + 1))
    memory = np.zeros(200)
    for shift in range(1, 9):
        memory[shift : shift + 130] = a
        assert summed(memory[shift : shift + 130], b, n) == found


@njit(**JIT)
def summed(a: np.ndarray, b: np.ndarray, n: int) -> float:
    return dot(a, b, n)


@njit(**JIT)
def once(a: float, b: float, c: float) -> float:
    return fma(a, b, c)


def test_a_product_and_its_sum_are_rounded_once() -> None:
    """The rounding error of a product, which is lost where the product is rounded first."""
    a, b = RNG.normal(size=(2, 200))
    for u, v in zip(a, b, strict=True):
        error = Fraction(u) * Fraction(v) - Fraction(u * v)
        assert once(u, v, -u * v) == float(error)
    assert any(once(u, v, -u * v) for u, v in zip(a, b, strict=True))


def test_no_digit_depends_on_where_arrays_lie() -> None:
    """Vector loops start and end at other places of an array that lies elsewhere."""

    @njit(**JIT)
    def all_of_them(a, k, s, out):
        risings(a, k, a.shape[0], s, out[0], out[1])
        shares_of(CLOGLOG, k, a.shape[0], s, out[2], out[3], out[4])

    a, k = np.exp(RNG.normal(2, 3, BLOCK)), RNG.integers(0, 60, BLOCK).astype(float)
    k[::3] /= -30
    first = None
    for shift in range(9):
        memory = np.zeros((INNER + 7) * BLOCK + 16)
        here = memory[shift : shift + (INNER + 7) * BLOCK].reshape(INNER + 7, BLOCK)
        here[0], here[1] = a, k
        all_of_them(here[0], here[1], here[7:], here[2:7])
        first = here[2:7].copy() if first is None else first
        np.testing.assert_array_equal(here[2:7], first)
        for n in (1, 5, 77):
            part = np.full((2, BLOCK), np.nan)
            risings(here[0], here[1], n, here[7:], part[0], part[1])
            np.testing.assert_array_equal(part[:, :n], first[:2, :n])
