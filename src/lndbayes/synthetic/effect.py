"""Intervention mix, and the effect that depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd

from lndbayes.base.names import EFFECT_WINDOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lndbayes.synthetic.layout import Layout
    from lndbayes.synthetic.world import World

__all__ = [
    "Effect",
    "Mix",
    "NewSite",
    "draw_effect",
    "draw_mix",
    "draw_new_site",
    "fading",
    "ramp_at",
]


@dataclass(frozen=True, slots=True)
class Mix:
    """True shares, observed contacts and their monthly table.

    Attributes
    ----------
    share : ndarray of float
        Dims (site, intervention). True shares.
    contacts : ndarray of int
        Dims (site, intervention). Observed contacts over the whole period.
    pooled : ndarray of float
        Dims (intervention). Shares of the observed contacts of all sites together.
    table : pandas.DataFrame
        Rows of ``mix.csv``.
    """

    share: NDArray[np.float64]
    contacts: NDArray[np.int64]
    pooled: NDArray[np.float64]
    table: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of the service at each site, logits.

    Attributes
    ----------
    plateau, deviation, ramp_months, window : ndarray of float
        Dims (site). Plateau of the ramp; the site's own deviation in it; the site's ramp constant;
        mean of treated minus untreated over the effect window.
    contrast : ndarray of float
        Dims (site, month). Treated minus untreated predictor, zero before go-live.
    recording : ndarray of float
        Dims (site, month). Step of the records at go-live, which is no part of the effect.
    mix_effect, wave_effect : ndarray of float
        Zero-sum effects of shares, dims (intervention), and of waves, dims (wave).
    """

    plateau: NDArray[np.float64]
    deviation: NDArray[np.float64]
    ramp_months: NDArray[np.float64]
    window: NDArray[np.float64]
    contrast: NDArray[np.float64]
    recording: NDArray[np.float64]
    mix_effect: NDArray[np.float64]
    wave_effect: NDArray[np.float64]


class NewSite(NamedTuple):
    """A further site from the same law: shares, plateau and windowed effect, logits."""

    share: NDArray[np.float64]
    plateau: float
    window: float


def ramp_at(event_time: NDArray[np.int64], ramp_months: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the plateau that is reached at an event time.

    Parameters
    ----------
    event_time : ndarray of int
        Months since go-live; the go-live month is 0.
    ramp_months : ndarray of float
        Ramp constant in months, broadcast against ``event_time``.

    Returns
    -------
    ndarray of float
        ``1 - exp(-(e + 1/2) / ramp_months)`` from go-live on, 0 before.
    """
    live = event_time >= 0
    grown = -np.expm1(-(np.where(live, event_time, 0) + 0.5) / ramp_months)
    return np.where(live, grown, 0.0)


#: Event month from which a fading effect fades.
_FADES_AFTER: Final = 18


def fading(world: World, event_time: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the effect that is left at an event time: 1 where none fades."""
    if not world.fading_months:
        return np.ones(event_time.shape)
    return np.exp(-np.maximum(event_time - _FADES_AFTER, 0) / world.fading_months)


def draw_mix(world: World, layout: Layout, rngs: Mapping[str, np.random.Generator]) -> Mix:
    """Draw true shares, the contacts observed, and the months they are reported in.

    Parameters
    ----------
    world, layout, rngs
        See :func:`lndbayes.synthetic.surface.draw_surface`.

    Returns
    -------
    Mix
        Contacts are Dirichlet-multinomial given the total, whatever months are missing.
    """
    share = rngs["mix_share"].dirichlet(world.mix_alpha, size=len(layout.site))
    total = rngs["mix_total"].poisson(layout.size * world.contacts_per_size).clip(min=1)
    contacts = np.stack(
        [
            # A share that underflows to zero is no Dirichlet parameter.
            rngs["mix_count"].multinomial(
                n, rngs["mix_count"].dirichlet(np.maximum(p * world.mix_concentration, 1e-9))
            )
            for n, p in zip(total, share, strict=True)
        ]
    )
    rows = []
    spread = rngs["mix_month"]
    for s, site in enumerate(layout.site):
        live = np.arange(layout.go_live[s], world.months)
        kept = live[spread.random(live.size) >= world.mix_missing_share]
        kept = kept if kept.size else live[:1]
        monthly = spread.multinomial(contacts[s], np.full(kept.size, 1 / kept.size))
        rows += [
            (site, layout.month[t], name, int(monthly[m, k]))
            for k, t in enumerate(kept)
            for m, name in enumerate(world.interventions)
        ]
    table = pd.DataFrame(rows, columns=["site", "month", "intervention", "contacts"])
    return Mix(share, contacts, contacts.sum(axis=0) / contacts.sum(), table)


def draw_effect(
    world: World, layout: Layout, mix: Mix, rngs: Mapping[str, np.random.Generator]
) -> Effect:
    """Draw the sites' effects, given the contacts that were observed.

    Parameters
    ----------
    world : World
        Parameters.
    layout : Layout
        Sites, months, go-lives, waves and predecessors.
    mix : Mix
        Shares are centred at the pooled share of the *observed* contacts, as in the model.
    rngs : mapping of str to numpy.random.Generator
        From :func:`lndbayes.synthetic.layout.streams`.

    Returns
    -------
    Effect
        All on the logit scale.
    """
    sites = len(layout.site)
    mix_effect = np.array(world.mix_effects) - np.mean(world.mix_effects)
    wave_effect = np.array(world.wave_effects) - np.mean(world.wave_effects)
    own = _heavy_tailed(world, rngs["site_deviation"], sites)
    deviation = world.site_effect_sd * _by_need(world, mix, own)
    known = ~np.isnan(layout.predecessor)
    before = np.where(known, layout.predecessor - layout.predecessor[known].mean(), 0.0)
    plateau = (
        world.effect_mean
        + (mix.share - mix.pooled) @ mix_effect
        + wave_effect[layout.wave - 1]
        + world.predecessor_effect * before
        + deviation
    )
    ramp_months = world.ramp_months * np.exp(world.ramp_spread * rngs["ramp"].normal(size=sites))
    ramp = ramp_at(layout.event_time, ramp_months[:, None])
    step = np.float64(world.go_live_step) * (layout.event_time >= 0)
    return Effect(
        plateau=plateau,
        deviation=deviation,
        ramp_months=ramp_months,
        window=_window(plateau, ramp_months),
        contrast=ramp * plateau[:, None] * fading(world, layout.event_time),
        recording=step,
        mix_effect=mix_effect,
        wave_effect=wave_effect,
    )


def _heavy_tailed(world: World, rng: np.random.Generator, sites: int) -> NDArray[np.float64]:
    """Standard deviations of sites: normal, or Student t with the same scale."""
    own = rng.normal(size=sites)
    if not world.deviation_df:
        return own
    return own / np.sqrt(rng.chisquare(world.deviation_df, size=sites) / world.deviation_df)


def _by_need(world: World, mix: Mix, own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Deviations that go along with the share of the fourth intervention; `own` where none do."""
    if not world.mix_by_need:
        return own
    share = mix.share[:, min(3, mix.share.shape[1] - 1)]
    along = (share - share.mean()) / share.std()
    return world.mix_by_need * along + np.sqrt(1 - world.mix_by_need**2) * own


def draw_new_site(
    world: World, mix: Mix, mix_effect: NDArray[np.float64], rng: np.random.Generator
) -> NewSite:
    """Draw a site that is not among the evaluated ones.

    Parameters
    ----------
    world : World
        Parameters.
    mix : Mix
        Gives the point at which shares are centred.
    mix_effect : ndarray of float
        Dims (intervention). Zero-sum.
    rng : numpy.random.Generator
        Its own stream.

    Returns
    -------
    NewSite
        At no particular wave and at the mean predecessor, as the new-site estimand has it.
    """
    share = rng.dirichlet(world.mix_alpha)
    deviation = world.site_effect_sd * rng.normal()
    ramp_months = world.ramp_months * np.exp(world.ramp_spread * rng.normal())
    plateau = np.array([world.effect_mean + (share - mix.pooled) @ mix_effect + deviation])
    window = _window(plateau, np.array([ramp_months]))
    return NewSite(share, float(plateau[0]), float(window[0]))


def _window(plateau: NDArray[np.float64], ramp_months: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean effect over the window's event months, whether or not the grid holds them all."""
    first, last = EFFECT_WINDOW
    return plateau * ramp_at(np.arange(first, last + 1), ramp_months[:, None]).mean(axis=1)
