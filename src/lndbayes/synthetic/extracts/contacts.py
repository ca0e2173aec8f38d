"""Contacts with the Liaison and Diversion service: the service's own record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from lndbayes.synthetic.extracts.people import Calendar, People, Rollout
    from lndbayes.synthetic.extracts.rates import Truths
    from lndbayes.synthetic.extracts.world import ExtractWorld

__all__ = ["draw_contacts"]

_FIRST_DAYS: Final = 2.0


def draw_contacts(
    world: ExtractWorld,
    rollout: Rollout,
    people: People,
    calendar: Calendar,
    truths: Truths,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Draw whom the service sees, when, and what it does.

    Parameters
    ----------
    world : ExtractWorld
        Parameters.
    rollout : Rollout
        Sites and go-lives.
    people : People
        Persons.
    calendar : Calendar
        The grid.
    truths : Truths
        Mix and reach.
    rng : numpy.random.Generator
        Its own stream.

    Returns
    -------
    pandas.DataFrame
        Columns ``person``, ``day``, ``intervention``; persons with and without consent. Nobody is
        seen whose contact was before the site's go-live.
    """
    persons = people.site.size
    live = people.contact_month >= rollout.go_live[people.site]
    need = np.where(people.needs.any(axis=1), 1.0, world.reach_without_need)
    uniform, wait = rng.random(persons), rng.exponential(_FIRST_DAYS, persons)
    further = rng.poisson(world.further_contacts, persons)
    seen = np.flatnonzero(live & (uniform < truths.reach[people.site] * need))
    first = people.contact[seen] + np.floor(wait[seen]).astype(np.int64)
    again = np.repeat(np.arange(seen.size), further[seen])
    later = 1 + np.floor(rng.exponential(world.further_contact_days, again.size)).astype(np.int64)
    person = np.concatenate([seen, seen[again]])
    day = np.concatenate([first, first[again] + later])
    cumulative = np.cumsum(truths.share, axis=1)[people.site[person], :-1]
    kind = (rng.random(person.size)[:, None] >= cumulative).sum(axis=1)
    names = np.array(world.interventions, dtype=object)
    frame = pd.DataFrame({"person": person, "day": day, "intervention": names[kind]})
    return frame[(day <= people.death[person]) & (day <= calendar.extract)]
