"""Log-gamma and digamma together, compiled; they share the logarithm and the reciprocal."""

from __future__ import annotations

import math

from numba import njit

__all__ = ["lgamma_digamma", "rates", "rising"]

_HALF_LOG_2PI = 0.9189385332046727418


@njit(nogil=True, error_model="numpy", inline="never")
def lgamma_digamma(x: float) -> tuple[float, float]:
    """Log-gamma and its derivative for positive x.

    Recurrence up to 10, then the Stirling series to the sixth term (Abramowitz and Stegun 6.1.41
    and 6.3.18); absolute error below 1e-14 of 1 + |value|.
    """
    product, shift = 1.0, 0.0
    while x < 10.0:
        product *= x
        shift += 1.0 / x
        x += 1.0
    r = 1.0 / x
    r2 = r * r
    log_x = math.log(x)
    series = r * (
        1.0 / 12.0
        - r2
        * (
            1.0 / 360.0
            - r2
            * (1.0 / 1260.0 - r2 * (1.0 / 1680.0 - r2 * (1.0 / 1188.0 - r2 * (691.0 / 360360.0))))
        )
    )
    slope = r2 * (
        1.0 / 12.0
        - r2
        * (
            1.0 / 120.0
            - r2 * (1.0 / 252.0 - r2 * (1.0 / 240.0 - r2 * (1.0 / 132.0 - r2 * (691.0 / 32760.0))))
        )
    )
    value = (x - 0.5) * log_x - x + _HALF_LOG_2PI + series
    if shift > 0.0:
        value -= math.log(product)
    return value, log_x - 0.5 * r - slope - shift


@njit(nogil=True, error_model="numpy", inline="never")
def rising(a: float, k: float) -> tuple[float, float]:
    """Log of the rising factorial ``lgamma(a + k) - lgamma(a)`` and its derivative in a.

    Small whole k multiply out, which is exact and needs one logarithm.
    """
    if k == 0.0:
        return 0.0, 0.0
    if k <= 8.0:
        product, derivative = 1.0, 0.0
        for i in range(int(k)):
            derivative = derivative * (a + i) + product
            product *= a + i
        return math.log(product), derivative / product
    high, d_high = lgamma_digamma(a + k)
    low, d_low = lgamma_digamma(a)
    return high - low, d_high - d_low


@njit(nogil=True, error_model="numpy")
def rates(eta: float) -> tuple[float, float]:
    """Rate and its complement, both to full relative precision at either extreme."""
    if eta > 0:
        tail = math.exp(-eta)
        p = 1.0 / (1.0 + tail)
        return p, tail * p
    tail = math.exp(eta)
    q = 1.0 / (1.0 + tail)
    return tail * q, q
