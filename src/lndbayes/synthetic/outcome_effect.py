"""Effects of the service on the outcomes beside custody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lndbayes.base.names import EFFECT_WINDOW
from lndbayes.synthetic.effect import fading, ramp_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lndbayes.synthetic.effect import Mix
    from lndbayes.synthetic.layout import Layout
    from lndbayes.synthetic.outcomes import OutcomeWorld
    from lndbayes.synthetic.world import World

__all__ = ["OutcomeEffect", "draw_outcome_effect", "pulse_at"]


@dataclass(frozen=True, slots=True)
class OutcomeEffect:
    """Effect of the service on one outcome, on its link scale.

    Attributes
    ----------
    plateau, deviation, ramp_months : ndarray of float
        Dims (site). Plateau of the ramp; the site's own deviation in it; the site's ramp constant.
    window, window_ramp : ndarray of float
        Dims (site). Mean over the effect window of treated minus untreated, and of the part of it
        that is no pulse.
    ramp, contrast : ndarray of float
        Dims (site, month). Share of the plateau reached, and treated minus untreated predictor.
    mix_effect : ndarray of float
        Zero-sum effects of shares, dims (intervention).
    pulse_peak : float
        Height of the pulse's highest point.
    """

    plateau: NDArray[np.float64]
    deviation: NDArray[np.float64]
    ramp_months: NDArray[np.float64]
    window: NDArray[np.float64]
    window_ramp: NDArray[np.float64]
    ramp: NDArray[np.float64]
    contrast: NDArray[np.float64]
    mix_effect: NDArray[np.float64]
    pulse_peak: float


def pulse_at(event_time: NDArray[np.int64], peak: float, months: float) -> NDArray[np.float64]:
    """Pulse after go-live: what a new service brings in at first and then no longer.

    Parameters
    ----------
    event_time : ndarray of int
        Months since go-live; the go-live month is 0.
    peak, months : float
        Height of the highest point, and when it is reached.

    Returns
    -------
    ndarray of float
        ``peak (u / months) exp(1 - u / months)`` with ``u = e + 1/2`` from go-live on, 0 before.
    """
    u = (np.maximum(event_time, 0) + 0.5) / months
    return np.where(event_time >= 0, peak * u * np.exp(1 - u), 0.0)


def draw_outcome_effect(
    world: World,
    outcome: OutcomeWorld,
    layout: Layout,
    mix: Mix,
    factor: NDArray[np.float64],
    rngs: Mapping[str, np.random.Generator],
) -> OutcomeEffect:
    """Draw the sites' effects on one outcome.

    Parameters
    ----------
    world : World
        Gives the ramp law, and ``other_effects``, which multiplies every part of the effect.
    outcome : OutcomeWorld
        Parameters of the outcome.
    layout, mix : Layout, Mix
        Sites and months; shares, centred at the pooled share of the observed contacts.
    factor : ndarray of float
        Dims (site). Standard normal, shared by the outcomes of a group.
    rngs : mapping of str to numpy.random.Generator
        Streams of the outcome.

    Returns
    -------
    OutcomeEffect
        On the outcome's link scale.
    """
    sites = len(layout.site)
    # Adding zero keeps a zero effect from being minus zero.
    scale = world.other_effects
    mix_effect = scale * (np.array(outcome.mix_effects) - np.mean(outcome.mix_effects)) + 0.0
    own = rngs["site_deviation"].normal(size=sites)
    loading = outcome.factor_loading
    shared = loading * factor + np.sqrt(1 - loading**2) * own
    deviation = scale * outcome.site_effect_sd * shared + 0.0
    of_mix = (mix.share - mix.pooled) @ mix_effect
    plateau = scale * outcome.effect_mean + of_mix + deviation + 0.0
    ramp_months = world.ramp_months * np.exp(world.ramp_spread * rngs["ramp"].normal(size=sites))
    peak = scale * outcome.pulse_peak
    first, last = EFFECT_WINDOW
    window = np.arange(first, last + 1)
    window_ramp = plateau * ramp_at(window, ramp_months[:, None]).mean(axis=1)
    ramp = ramp_at(layout.event_time, ramp_months[:, None])
    pulse = pulse_at(layout.event_time, peak, outcome.pulse_months)
    return OutcomeEffect(
        plateau=plateau,
        deviation=deviation,
        ramp_months=ramp_months,
        window=window_ramp + pulse_at(window, peak, outcome.pulse_months).mean(),
        window_ramp=window_ramp,
        ramp=ramp,
        contrast=ramp * plateau[:, None] * fading(world, layout.event_time) + pulse,
        mix_effect=mix_effect,
        pulse_peak=peak,
    )
