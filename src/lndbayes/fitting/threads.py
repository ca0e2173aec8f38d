"""One thread for linear algebra, so that the same inputs give the same digits."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from threadpoolctl import threadpool_limits

__all__ = ["one_blas_thread"]


def one_blas_thread[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Run a function with one thread of linear algebra.

    How a sum is split between threads changes its last digits, and with them, a thousand steps on,
    every draw. Chains run side by side, so that no core is idle.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with threadpool_limits(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return run
