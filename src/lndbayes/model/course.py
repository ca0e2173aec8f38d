"""The effect's build-up in event time: its shapes, and their means by site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["PULSE", "RAMP", "Shape", "pulse", "ramp", "shape_means"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A course after go-live, 0 before it, of time u since go-live and a time constant m.

    Attributes
    ----------
    months : str
        Name of the parameter m.
    value, slope : callable
        The course, and its derivative in m, from u and m, in months; of NumPy's functions alone,
        so that they are compiled as they are.
    """

    months: str
    value: Callable[[Any, Any], Any]
    slope: Callable[[Any, Any], Any]

    def at(self, event_time: np.ndarray, months: np.ndarray, half_period: float) -> np.ndarray:
        """The course at event times.

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
        since = np.where(on, event_time, 0) + half_period
        return np.where(on, self.value(since, months), 0.0)


def _ramp(u: Any, m: Any) -> Any:
    return -np.expm1(-u / m)


def _ramp_slope(u: Any, m: Any) -> Any:
    return -np.exp(-u / m) * u / (m * m)


def _pulse(u: Any, m: Any) -> Any:
    return u / m * np.exp(1.0 - u / m)


def _pulse_slope(u: Any, m: Any) -> Any:
    return u / m * np.exp(1.0 - u / m) * (u / m - 1.0) / m


#: Build-up of the effect, towards 1: ``1 - exp(-u / m)``.
RAMP = Shape("ramp_months", _ramp, _ramp_slope)
#: Passing pulse, 1 at its height, after m months: ``(u / m) exp(1 - u / m)``.
PULSE = Shape("pulse_months", _pulse, _pulse_slope)

ramp = RAMP.at
pulse = PULSE.at


def shape_means(
    shape: Shape,
    months: np.ndarray,
    weight: np.ndarray,
    event_time: np.ndarray,
    half_period: float,
) -> np.ndarray:
    """Weighted means of a course by site, for each draw.

    Parameters
    ----------
    shape : Shape
        The course.
    months : ndarray, shape (...)
        Draws of its time constant.
    weight : ndarray, shape (S, T)
        Weights; zero where a month does not count.
    event_time : ndarray, shape (S, T)
        Months since go-live.
    half_period : float
        See `Shape.at`.

    Returns
    -------
    ndarray, shape (..., S)
    """
    levels, inverse = np.unique(event_time, return_inverse=True)
    inverse = inverse.reshape(event_time.shape)
    by_level = np.zeros((len(event_time), len(levels)))
    for s in range(len(event_time)):
        by_level[s] = np.bincount(inverse[s], weight[s], minlength=len(levels))
    return np.asarray(shape.at(levels, months[..., None], half_period) @ by_level.T)
