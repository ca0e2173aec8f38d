"""The effect's course in event time: build-up and passing pulse, and their means by site."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["pulse", "pulse_means", "ramp", "ramp_means"]


def ramp(event_time: np.ndarray, months: np.ndarray, half_period: float) -> np.ndarray:
    """Build-up of the effect, 0 before go-live, towards 1: ``1 - exp(-(e + half) / months)``.

    Parameters
    ----------
    event_time : ndarray, shape (...)
        Months since go-live.
    months : ndarray
        Time constant; broadcasts against `event_time`.
    half_period : float
        Half a period in months: the middle of the period is what counts.
    """
    on = event_time >= 0
    return np.where(on, -np.expm1(-(np.where(on, event_time, 0) + half_period) / months), 0.0)


def pulse(event_time: np.ndarray, months: np.ndarray, half_period: float) -> np.ndarray:
    """Passing pulse after go-live: 0 before, 1 at its height, ``(u / m) exp(1 - u / m)``.

    Parameters
    ----------
    event_time : ndarray, shape (...)
        Months since go-live; ``u`` is that plus `half_period`.
    months : ndarray
        Month of the height; broadcasts against `event_time`.
    half_period : float
        Half a period in months.
    """
    on = event_time >= 0
    u = (np.where(on, event_time, 0) + half_period) / months
    return np.where(on, u * np.exp(1.0 - u), 0.0)


def ramp_means(
    months: np.ndarray, weight: np.ndarray, event_time: np.ndarray, half_period: float
) -> np.ndarray:
    """Weighted means of the ramp by site, for each draw.

    Parameters
    ----------
    months : ndarray, shape (...)
        Draws of the ramp's time constant.
    weight : ndarray, shape (S, T)
        Weights; zero where a month does not count.
    event_time : ndarray, shape (S, T)
        Months since go-live.
    half_period : float
        See `ramp`.

    Returns
    -------
    ndarray, shape (..., S)
    """
    levels, by_level = _by_level(weight, event_time)
    return np.asarray(ramp(levels, months[..., None], half_period) @ by_level.T)


def pulse_means(
    values: Mapping[str, np.ndarray], weight: np.ndarray, event_time: np.ndarray, half_period: float
) -> np.ndarray:
    """Weighted means of the pulse, with its height, by site; see `ramp_means`."""
    if not np.any(values["pulse"]):
        return np.zeros((*np.shape(values["pulse"]), len(weight)))
    levels, by_level = _by_level(weight, event_time)
    shape = pulse(levels, values["pulse_months"][..., None], half_period) @ by_level.T
    return np.asarray(values["pulse"][..., None] * shape)


def _by_level(weight: np.ndarray, event_time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct event times, and each site's weight on them."""
    levels, inverse = np.unique(event_time, return_inverse=True)
    inverse = inverse.reshape(event_time.shape)
    by_level = np.zeros((len(event_time), len(levels)))
    for s in range(len(event_time)):
        by_level[s] = np.bincount(inverse[s], weight[s], minlength=len(levels))
    return levels, by_level
