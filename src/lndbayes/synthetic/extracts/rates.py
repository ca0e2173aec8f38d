"""Untreated surfaces, effects of the service, and the events that both give rise to.

Lives with and without the service share their random numbers: the untreated events come first; the
service then removes some of them, or adds others from a stream of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lndbayes.base.names import EFFECT_WINDOW
from lndbayes.synthetic.extracts.world import NEEDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lndbayes.synthetic.extracts.people import Calendar, People, Rollout
    from lndbayes.synthetic.extracts.world import ExtractWorld, RateLaw

__all__ = [
    "OUTCOMES",
    "Effect",
    "Truths",
    "draw_events",
    "draw_truths",
    "untreated_and_treated",
]

#: Outcomes that have an untreated surface of their own, in the order of their random numbers.
OUTCOMES: Final = (
    *("ae_attendances", "mh_referrals", "iapt_referrals", "drug_alcohol_referrals"),
    *("mh_attendances", "iapt_attendances", "drug_alcohol_attendances"),
    *("offending", "custody", "court_duration", "hearings", "wellbeing"),
)
_FOLLOW_UP: Final = 12


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of the service on one outcome, link scale.

    Attributes
    ----------
    plateau : ndarray of float
        Dims (site).
    contrast : ndarray of float
        Dims (site, month). With minus without the service, pulse included; 0 before go-live.
    window : ndarray of float
        Dims (site). Mean contrast over the event months of the effect window.
    """

    plateau: NDArray[np.float64]
    contrast: NDArray[np.float64]
    window: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Truths:
    """What the simulation knows.

    Attributes
    ----------
    eta0 : dict of str to ndarray of float
        By outcome, dims (site, month): deviation of the untreated link from its level.
    effect : dict of str to Effect
        By outcome.
    share : ndarray of float
        Dims (site, intervention). True mix.
    reach : ndarray of float
        Dims (site). Share of persons with a need whom the service sees.
    """

    eta0: dict[str, NDArray[np.float64]]
    effect: dict[str, Effect]
    share: NDArray[np.float64]
    reach: NDArray[np.float64]


def draw_truths(
    world: ExtractWorld,
    rollout: Rollout,
    calendar: Calendar,
    rngs: Mapping[str, np.random.Generator],
) -> Truths:
    """Draw surfaces, mix and effects.

    Parameters
    ----------
    world : ExtractWorld
        Parameters.
    rollout : Rollout
        Sites and go-lives.
    calendar : Calendar
        The grid.
    rngs : mapping of str to numpy.random.Generator
        Streams ``surface``, ``mix`` and ``effects``.

    Returns
    -------
    Truths
        The same surfaces, mix and reach whatever the effects.
    """
    sites, months = len(rollout.site), len(calendar.month)
    eta0 = {name: _surface(world, sites, months, rngs["surface"]) for name in OUTCOMES}
    share = rngs["mix"].dirichlet(world.mix_alpha, size=sites)
    reach = rngs["mix"].uniform(*world.reach_range, size=sites)
    slopes = np.array(world.custody_mix_effects) - np.mean(world.custody_mix_effects)
    mix = (share - share.mean(axis=0)) @ slopes
    event_time = np.arange(months)[None, :] - rollout.go_live[:, None]
    effect = {}
    for name, (mean, spread, pulse) in _effect_laws(world).items():
        own = rngs["effects"].normal(size=sites)
        plateau = mean + spread * own + (mix if name == "custody" else 0.0)
        effect[name] = Effect(
            plateau=plateau,
            contrast=_contrast(world, plateau, pulse, event_time),
            window=_contrast(world, plateau, pulse, _window(sites)).mean(axis=1),
        )
    return Truths(eta0, effect, share, reach)


def _window(sites: int) -> NDArray[np.int64]:
    first, last = EFFECT_WINDOW
    return np.tile(np.arange(first, last + 1), (sites, 1))


def _effect_laws(world: ExtractWorld) -> dict[str, tuple[float, float, float]]:
    """Mean plateau, its spread and the pulse, by outcome."""
    return {
        "ae_attendances": _of(world.ae),
        "mh_referrals": _of(world.mh),
        "iapt_referrals": _of(world.iapt),
        "drug_alcohol_referrals": _of(world.drug),
        "mh_attendances": (world.mh_attendance_effect, 0.0, 0.0),
        "iapt_attendances": (world.iapt_attendance_effect, 0.0, 0.0),
        "drug_alcohol_attendances": (world.drug_attendance_effect, 0.0, 0.0),
        "offending": (0.0, 0.0, 0.0),
        "custody": (world.custody_effect, world.custody_effect_sd, 0.0),
        "court_duration": (0.0, 0.0, 0.0),
        "hearings": (0.0, 0.0, 0.0),
        "wellbeing": (world.wellbeing_effect, 0.0, 0.0),
    }


def _of(law: RateLaw) -> tuple[float, float, float]:
    return law.effect, law.effect_sd, law.pulse


def _contrast(
    world: ExtractWorld,
    plateau: NDArray[np.float64],
    pulse: float,
    event_time: NDArray[np.int64],
) -> NDArray[np.float64]:
    live = event_time >= 0
    since = np.where(live, event_time, 0) + 0.5
    ramp = -np.expm1(-since / world.ramp_months)
    short = since / world.pulse_months * np.exp(1 - since / world.pulse_months)
    return np.where(live, ramp * plateau[:, None] + pulse * short, 0.0)


def _surface(
    world: ExtractWorld, sites: int, months: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Deviation from the level: sites, drifts, a national wave, the year."""
    level = world.site_level_sd * rng.normal(size=(sites, 1))
    drift = world.site_drift_sd * rng.normal(size=(sites, 1))
    phase = rng.uniform(0, 2 * np.pi, size=2)
    time = (np.arange(months) - (months - 1) / 2) / 24
    wave = world.national_wave * np.sin(2 * np.pi * 1.3 * np.arange(months) / months + phase[0])
    year = world.season * np.cos(2 * np.pi * np.arange(months) / 12 + phase[1])
    return level + (world.national_slope + drift) * time + wave + year


def draw_events(
    world: ExtractWorld,
    law: RateLaw,
    people: People,
    calendar: Calendar,
    eta0: NDArray[np.float64],
    contrast: NDArray[np.float64],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Draw one kind of event over the persons' simulated months.

    Parameters
    ----------
    world : ExtractWorld
        Parameters.
    law : RateLaw
        How often the event happens.
    people : People
        Persons.
    calendar : Calendar
        The grid.
    eta0, contrast : ndarray of float
        Dims (site, month). Untreated surface and effect, log scale.
    rng : numpy.random.Generator
        The kind's own stream.

    Returns
    -------
    pandas.DataFrame
        Columns ``person``, ``day``, ``treated``, ``untreated``: whether the event happens with and
        without the service. The effect reaches the months from contact on. No event is after
        death.
    """
    ahead = np.arange(-world.months_before, world.months_after)
    month = people.contact_month[:, None] + ahead
    inside = (month >= 0) & (month < len(calendar.month))
    month = np.where(inside, month, 0)
    site = people.site[:, None]
    weight = _weights(law, people, rng)
    rate = np.exp(eta0)[site, month] * weight[:, None]
    rate *= np.where(inside, law.level * _crisis(world, law, ahead), 0.0)
    base, extra_seed = rng.spawn(2)
    happened = base.poisson(rate)
    row = np.repeat(np.arange(rate.size), happened.ravel())
    factor = np.where(ahead >= 0, np.exp(contrast)[site, month], 1.0)
    uniform = base.random((row.size, 2))
    added = extra_seed.poisson(rate * np.maximum(factor - 1, 0.0))
    new = np.repeat(np.arange(rate.size), added.ravel())
    cell = np.concatenate([row, new])
    chance = np.concatenate([uniform[:, 0], extra_seed.random(new.size)])
    person, column = np.divmod(cell, ahead.size)
    t = people.contact_month[person] + ahead[column]
    length = calendar.start[t + 1] - calendar.start[t]
    frame = pd.DataFrame(
        {
            "person": person,
            "day": calendar.start[t] + np.floor(chance * length).astype(np.int64),
            "treated": np.concatenate(
                [uniform[:, 1] < factor.ravel()[row], np.ones(new.size, dtype=bool)]
            ),
            "untreated": np.arange(cell.size) < row.size,
        }
    )
    alive = frame["day"].to_numpy() <= people.death[person]
    return frame[alive].reset_index(drop=True)


def untreated_and_treated(
    mean: NDArray[np.float64],
    factor: NDArray[np.float64],
    treated: NDArray[np.bool_],
    untreated: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Draw what follows from each of some events, with and without the service.

    Parameters
    ----------
    mean : ndarray of float
        Dims (event). Mean number that follows untreated.
    factor : ndarray of float
        Dims (event). Its ratio with the service.
    treated, untreated : ndarray of bool
        Dims (event). Whether the event itself happens with and without the service.
    rng : numpy.random.Generator
        Its own stream.

    Returns
    -------
    parent : ndarray of int
        Dims (follower). Index of the event.
    treated, untreated : ndarray of bool
        Dims (follower). Whether it happens with and without the service.
    """
    base, other = rng.spawn(2)
    first = np.repeat(np.arange(mean.size), base.poisson(mean))
    kept = base.random(first.size) < factor[first]
    second = np.repeat(np.arange(mean.size), other.poisson(mean * np.maximum(factor - 1, 0.0)))
    parent = np.concatenate([first, second])
    original = np.arange(parent.size) < first.size
    remains = np.concatenate([kept, np.ones(second.size, dtype=bool)])
    return parent, treated[parent] & remains, untreated[parent] & original


def _weights(law: RateLaw, people: People, rng: np.random.Generator) -> NDArray[np.float64]:
    """Persons' multipliers, mean 1 over the persons at hand."""
    log = law.severity * people.severity
    if law.need:
        log = log + law.need_log * people.needs[:, NEEDS.index(law.need)]
    weight = np.exp(log) * rng.gamma(law.frailty, 1 / law.frailty, size=log.size)
    return weight / weight.mean() if weight.size else weight


def _crisis(world: ExtractWorld, law: RateLaw, ahead: NDArray[np.int64]) -> NDArray[np.float64]:
    """Multiplier by month from contact, mean 1 over the months of follow-up."""
    follow_up = np.arange(_FOLLOW_UP)
    mean = np.exp(law.crisis * np.exp(-follow_up / world.crisis_months)).mean()
    return np.exp(law.crisis * np.exp(-np.abs(ahead) / world.crisis_months)) / mean
