"""Special functions over short arrays, in loops that the compiler turns into vector instructions.

Every loop works element by element, without branches and without sums over elements, so that its
results do not depend on the width of the machine's vectors, nor on where arrays lie in memory. One
cell of a beta-binomial costs about a third of what scalar calls of the same functions cost.

Blocks of `BLOCK` elements keep the scratch arrays in the fastest cache.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit

from lndbayes.numerics.simd import bits, double, fma

__all__ = [
    "BLOCK",
    "FAR",
    "FEW",
    "INNER",
    "INSIDE",
    "JIT",
    "LINKS",
    "ONCE",
    "TINY",
    "above",
    "exp",
    "exps",
    "far_risings",
    "log",
    "log1p",
    "log1ps",
    "log_product",
    "log_shares",
    "logs",
    "products",
    "raised",
    "remainder",
    "risings",
    "shares_of",
    "shortfall",
]

# No fastmath. With sums reassociated, the compiler keeps two versions of a loop and chooses by
# where the arrays lie in memory; their last digits differ, and a thousand steps on, every draw:
# one chain in twenty was not the one that its seed had given before. The price is about a tenth.
JIT: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy"}
#: Of functions that only compiled code calls: no entry points for Python, which cost more to
#: compile than many of the functions.
INSIDE: Final[dict[str, Any]] = {**JIT, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
#: Of functions that are called in one place and are not large: written out where they are called,
#: before anything is optimised.
ONCE: Final[dict[str, Any]] = {**INSIDE, "inline": "always"}
#: Codes of the links.
LINKS: Final = {"logit": 0, "log": 1, "cloglog": 2}
#: Elements worked on at once.
BLOCK: Final = 128
#: Up to here `products` are cheaper than `risings`.
FEW: Final = 6
#: From here on the Stirling series holds as it is.
FAR: Final = 8.0
#: Least parameter of a beta distribution: below it, a share that was rounded to 0 is meant.
TINY: Final = 1e-280
#: Rows of scratch that the functions here need, each of `BLOCK` elements.
INNER: Final = 4
_CLOGLOG: Final = LINKS["cloglog"]

# A double's bits: exponent, significand, and the number that moves an integer into a significand.
_FROM_ROOT = np.uint64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
_ROOT = np.uint64(0x3FE6A09E667F3BCD)
_SIGNIFICAND = np.uint64(0x000FFFFFFFFFFFFF)
_MAGIC_BITS = np.uint64(0x4338000000000000)
_PLACES = np.uint64(52)
_BIAS = np.uint64(1023)
_MAGIC = 6755399441055744.0
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOG2_E = 1.44269504088896338700
_LEAST = 2.2250738585072014e-308


@njit(**ONCE)
def above(x: np.ndarray, n: int, level: float) -> int:
    """How many of the first `n` are larger."""
    # a whole number: its sum may run in any order, that of doubles or a maximum may not
    count = 0
    for i in range(n):
        count += x[i] > level
    return count


@njit(**ONCE)
def _significand(moved: Any) -> Any:
    """Between 0.707 and 1.414, of a number whose bits were moved by `_FROM_ROOT`."""
    return double((moved & _SIGNIFICAND) + _ROOT)


@njit(**ONCE)
def _exponent(moved: Any) -> Any:
    return double((moved >> _PLACES) + _MAGIC_BITS) - (_MAGIC + 1023.0)


@njit(**ONCE)
def log(x: Any) -> Any:
    """Natural logarithm of a normal positive number, within a unit in the last place.

    The algorithm of fdlibm's ``log`` (Sun Microsystems 1993), for loops over elements.
    """
    moved = bits(x) + _FROM_ROOT
    k, f = _exponent(moved), _significand(moved) - 1.0
    r = f / (2.0 + f)
    z = r * r
    w = z * z
    even = w * fma(
        w,
        fma(w, 1.531383769920937332e-01, 2.222219843214978396e-01),
        3.999999999940941908e-01,
    )
    odd = fma(w, 1.479819860511658591e-01, 1.818357216161805012e-01)
    odd = fma(w, fma(w, odd, 2.857142874366239149e-01), 6.666666666666735130e-01)
    half = 0.5 * f * f
    tail = fma(r, half + fma(z, odd, even), k * _LN2_LOW)
    return fma(k, _LN2_HIGH, f - (half - tail))


@njit(**ONCE)
def log1p(x: Any) -> Any:
    """``log(1 + x)`` of a finite number that is not negative, to full relative precision.

    The rounding of 1 + x is put back to first order (Kahan).
    """
    one = 1.0 + x
    return log(one) + (x - (one - 1.0)) / one


@njit(**JIT)
def logs(x: np.ndarray, n: int, out: np.ndarray) -> None:
    """Natural logarithms of the first `n` of `x`, within a unit in the last place.

    Numbers below the least normal double count as 0.

    Parameters
    ----------
    x, out : ndarray, shape (BLOCK,)
        Different arrays: in place, the compiler gives up vectors.
    n : int
        Elements to work on.
    """
    for i in range(n):
        odd_one = np.inf if x[i] > 1.0 else (-np.inf if x[i] >= 0.0 else np.nan)
        out[i] = log(x[i]) if x[i] >= _LEAST and x[i] < np.inf else odd_one


@njit(**JIT)
def log_product(x: np.ndarray, n: int, s: np.ndarray) -> float:
    """Logarithm of the product of the first `n` of `x`, positive and normal; `s` has two rows.

    Significands are multiplied and exponents added, which costs a third of their logarithms. Not a
    number where one is none, or infinite.
    """
    m, e = s[0], s[1]
    for i in range(n):
        moved = bits(x[i]) + _FROM_ROOT
        # infinity less itself is no number
        e[i] = _exponent(moved) + (x[i] - x[i])
        m[i] = _significand(moved)
    for i in range(n, BLOCK):
        m[i], e[i] = 1.0, 0.0
    half = BLOCK // 2
    while half > 0:
        # significands lie about 1: their product stays far from the ends of the range
        for i in range(half):
            m[i] *= m[i + half]
            e[i] += e[i + half]
        half //= 2
    return math.log(m[0]) + e[0] * _LN2_LOW + e[0] * _LN2_HIGH


@njit(**JIT)
def log_shares(x: np.ndarray, n: int, s: np.ndarray) -> float:
    """Logarithm of the product of the first `n` of `x`, between 1e-4 and 1; `s` has a row.

    So many of them have a product that is a double.
    """
    m = s[0]
    for i in range(n):
        m[i] = x[i]
    for i in range(n, BLOCK):
        m[i] = 1.0
    half = BLOCK // 2
    while half > 1:
        for i in range(half):
            m[i] *= m[i + half]
        half //= 2
    return math.log(m[0]) + math.log(m[1])


@njit(**JIT)
def log1ps(x: np.ndarray, n: int, out: np.ndarray) -> None:
    """``log(1 + x)`` of the first `n`, not negative, to full relative precision."""
    for i in range(n):
        out[i] = log1p(x[i]) if x[i] < np.inf else x[i]


@njit(**ONCE)
def exp(x: Any) -> Any:
    """Exponential of a number, held within -708 and 709.

    The algorithm of fdlibm's ``exp`` (Sun Microsystems 1993), for loops over elements.
    """
    v = -708.0 if x < -708.0 else (709.0 if x > 709.0 else x)
    power = v * _LOG2_E + _MAGIC
    k = power - _MAGIC
    high, low = fma(-k, _LN2_HIGH, v), k * _LN2_LOW
    r = high - low
    z = r * r
    c = fma(z, 4.13813679705723846039e-08, -1.65339022054652515390e-06)
    c = fma(z, fma(z, c, 6.61375632143793436117e-05), -2.77777777770155933842e-03)
    c = fma(-z, fma(z, c, 1.66666666666666019037e-01), r)
    part = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    return part * double((bits(power) + _BIAS) << _PLACES)


@njit(**JIT)
def exps(x: np.ndarray, n: int, out: np.ndarray) -> None:
    """Exponentials of the first `n`, arguments held within -708 and 709."""
    for i in range(n):
        out[i] = exp(x[i])


@njit(**JIT)
def shares_of(
    link: int,
    eta: np.ndarray,
    n: int,
    s: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    dp: np.ndarray,
) -> None:
    """Probabilities, complements and derivatives in `eta`, for the two links of shares.

    `s` has two rows. Both `p` and `q` keep full relative precision at their small end.
    """
    a, b = s[0], s[1]
    if link == _CLOGLOG:
        exps(eta, n, a)
        for i in range(n):
            q[i] = exp(-a[i])
        logs(q, n, b)
        for i in range(n):
            # 1 - exp(-h) without cancellation: where exp(-h) is rounded, so is its logarithm
            whole = (1.0 - q[i]) * a[i] / -b[i]
            p[i] = a[i] if q[i] == 1.0 else (1.0 if a[i] > 40.0 else whole)
            dp[i] = q[i] * a[i] if a[i] < 700.0 else 0.0
        return
    for i in range(n):
        odds = exp(-abs(eta[i]))
        large = 1.0 / (1.0 + odds)
        small = odds * large
        p[i] = large if eta[i] > 0.0 else small
        q[i] = small if eta[i] > 0.0 else large
        dp[i] = large * small


@njit(**JIT)
def raised(a: np.ndarray, k: np.ndarray, n: int, ratio: np.ndarray, slope: np.ndarray) -> None:
    """What raising both ends of rising factorials by `FAR` takes: its factors, and their slopes.

    The eight factors are, with ``q = x (x + 7)``, ``q (q + 6) (q + 10) (q + 12)``.
    """
    for i in range(n):
        x, y = a[i], a[i] + k[i]
        q, r = x * (x + 7.0), y * (y + 7.0)
        a1, b1 = q * (q + 6.0), (q + 10.0) * (q + 12.0)
        a2, b2 = r * (r + 6.0), (r + 10.0) * (r + 12.0)
        c1, c2 = a1 * b1, a2 * b2
        per1, per2 = 1.0 / c1, 1.0 / c2
        # a quotient to the last digit: 1 exactly where k is 0
        ratio[i] = fma(fma(-c2 * per1, c1, c2), per1, c2 * per1)
        d1 = fma(2.0, x, 7.0) * fma(fma(2.0, q, 6.0), b1, a1 * fma(2.0, q, 22.0))
        d2 = fma(2.0, y, 7.0) * fma(fma(2.0, r, 6.0), b2, a2 * fma(2.0, r, 22.0))
        slope[i] = d1 * per1 - d2 * per2


@njit(**ONCE)
def remainder(h: Any) -> Any:
    """What Stirling's series adds to log gamma, for one over an argument of `FAR` or more.

    To the sixth term (Abramowitz and Stegun 6.1.41).
    """
    z = h * h
    v = fma(-z, fma(-z, 691.0 / 360360.0, 1.0 / 1188.0), 1.0 / 1680.0)
    v = fma(-z, fma(-z, v, 1.0 / 1260.0), 1.0 / 360.0)
    return h * fma(-z, v, 1.0 / 12.0)


@njit(**ONCE)
def shortfall(h: Any) -> Any:
    """How far digamma stays below the logarithm, for one over an argument of `FAR` or more.

    To the sixth term (Abramowitz and Stegun 6.3.18).
    """
    z = h * h
    v = fma(-z, fma(-z, 691.0 / 32760.0, 1.0 / 132.0), 1.0 / 240.0)
    v = fma(-z, fma(-z, v, 1.0 / 252.0), 1.0 / 120.0)
    return fma(0.5, h, z * fma(-z, v, 1.0 / 12.0))


@njit(**JIT)
def far_risings(
    a: np.ndarray, k: np.ndarray, n: int, shift: float, value: np.ndarray, slope: np.ndarray
) -> None:
    """`risings` of arguments that are at least `FAR` with the shift; adds to `slope`."""
    for i in range(n):
        low = a[i] + shift
        high = low + k[i]
        # division is slow: one for two reciprocals
        per = 1.0 / (low * high)
        g, h = high * per, low * per
        step = log1p(k[i] * g)
        v = fma(k[i], log(high) - 1.0, fma(low - 0.5, step, remainder(h) - remainder(g)))
        value[i] = v
        slope[i] += step + (shortfall(g) - shortfall(h))


@njit(**JIT)
def risings(
    a: np.ndarray, k: np.ndarray, n: int, s: np.ndarray, value: np.ndarray, slope: np.ndarray
) -> None:
    """Log rising factorials ``lgamma(a + k) - lgamma(a)`` and their derivatives in `a`.

    Written as differences throughout, so that nothing cancels where k is small beside a: for k = 0
    both are 0 exactly. By Stirling's series, both ends raised by `FAR`.

    Parameters
    ----------
    a : ndarray, shape (BLOCK,)
        From `TINY` up to 1e38.
    k : ndarray, shape (BLOCK,)
        Not negative.
    n : int
        Elements to work on.
    s : ndarray, shape (1, BLOCK)
        Scratch.
    value, slope : ndarray, shape (BLOCK,)
        Filled.
    """
    ratio = s[0]
    raised(a, k, n, ratio, slope)
    far_risings(a, k, n, FAR, value, slope)
    for i in range(n):
        value[i] -= log(ratio[i])


@njit(**JIT)
def products(a: np.ndarray, k: np.ndarray, n: int, value: np.ndarray, slope: np.ndarray) -> None:
    """Rising factorials themselves, multiplied out, for small whole k, and log derivatives.

    Exact, and cheaper than `risings` where k is small. Arguments are those of `risings`.
    """
    for i in range(n):
        value[i], slope[i] = 1.0, 0.0
    step = 0.0
    while above(k, n, step) > 0:
        # two at a time: what is read and written once serves both
        further = step + 1.0
        for i in range(n):
            u, v, more, yet = a[i] + step, a[i] + further, k[i] > step, k[i] > further
            p, d = value[i], slope[i]
            d = fma(d, u, p) if more else d
            p = p * u if more else p
            slope[i] = fma(d, v, p) if yet else d
            value[i] = p * v if yet else p
        step += 2.0
    for i in range(n):
        slope[i] /= value[i]
