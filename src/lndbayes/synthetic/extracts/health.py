"""Attendances at A&E, referrals with the attendances that follow, and treatment with its TOP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lndbayes.synthetic.extracts.rates import draw_events, untreated_and_treated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lndbayes.synthetic.extracts.people import Calendar, People
    from lndbayes.synthetic.extracts.rates import Truths
    from lndbayes.synthetic.extracts.world import ExtractWorld

__all__ = ["BANDS", "draw_health"]

#: Bands of the 0 to 20 wellbeing score: first score of each, and one past the last.
BANDS: Final = (0, 8, 12, 16, 21)

#: Attendances after this many days belong to no outcome.
_ATTENDANCE_LIMIT: Final = 182
_START_DAYS: Final = 14.0
#: Reviews come so many days after the start, some too early or too late to count.
_REVIEW_DAYS: Final = (14, 210)

_REFERRAL_SOURCES: Final = (
    ("mhsds", "mh", "mh_referrals", "mh_attendances"),
    ("iapt", "iapt", "iapt_referrals", "iapt_attendances"),
    ("ndtms", "drug", "drug_alcohol_referrals", "drug_alcohol_attendances"),
)


def draw_health(
    world: ExtractWorld,
    people: People,
    calendar: Calendar,
    truths: Truths,
    rngs: Mapping[str, np.random.Generator],
) -> dict[str, pd.DataFrame]:
    """Draw what happens to the persons in health and treatment services.

    Parameters
    ----------
    world : ExtractWorld
        Parameters.
    people : People
        Persons.
    calendar : Calendar
        The grid.
    truths : Truths
        Surfaces and effects.
    rngs : mapping of str to numpy.random.Generator
        From :func:`lndbayes.synthetic.extracts.people.streams`.

    Returns
    -------
    dict of str to pandas.DataFrame
        Complete tables ``hes_ae``, ``mhsds``, ``iapt`` and ``ndtms``: ``person``, ``day``,
        ``treated``, ``untreated``, ``kind``, ``parent`` (the row that a row needs in order to be
        recorded, -1 for none); in ``ndtms`` also ``score`` and ``score_untreated`` (-1 for none).
    """
    name = "ae_attendances"
    contrast = truths.effect[name].contrast
    ae = draw_events(
        world, world.ae, people, calendar, truths.eta0[name], contrast, rngs["ae"]
    ).assign(kind="attendance", parent=-1)
    tables = {"hes_ae": ae}
    for source, key, referral, attendance in _REFERRAL_SOURCES:
        law = getattr(world, key)
        contrast = truths.effect[referral].contrast
        rows = draw_events(
            world, law, people, calendar, truths.eta0[referral], contrast, rngs[key]
        ).assign(kind="referral", parent=-1)
        parts = [rows, _attendances(world, people, calendar, truths, attendance, rows, rngs)]
        if source == "ndtms":
            parts = [part.assign(score=-1, score_untreated=-1) for part in parts]
            first = sum(len(part) for part in parts)
            parts.append(_top(world, people, calendar, truths, rows, first, rngs["top"]))
        tables[source] = pd.concat(parts, ignore_index=True)
    return tables


def _attendances(
    world: ExtractWorld,
    people: People,
    calendar: Calendar,
    truths: Truths,
    outcome: str,
    referrals: pd.DataFrame,
    rngs: Mapping[str, np.random.Generator],
) -> pd.DataFrame:
    key = outcome.replace("drug_alcohol", "drug")
    rng = rngs[key]
    person = referrals["person"].to_numpy()
    eta0, contrast = _at(people, calendar, truths, outcome, person, referrals["day"].to_numpy())
    # some attendances come after the limit: they are in the source and in no outcome
    within = -np.expm1(-_ATTENDANCE_LIMIT / world.attendance_days)
    shape = world.attendance_frailty
    mean = getattr(world, key) / within * np.exp(eta0) * rng.gamma(shape, 1 / shape, person.size)
    parent, treated, untreated = untreated_and_treated(
        mean,
        np.exp(contrast),
        referrals["treated"].to_numpy(),
        referrals["untreated"].to_numpy(),
        rng,
    )
    wait = 1 + np.floor(rng.exponential(world.attendance_days, parent.size)).astype(np.int64)
    frame = pd.DataFrame(
        {
            "person": person[parent],
            "day": referrals["day"].to_numpy()[parent] + wait,
            "treated": treated,
            "untreated": untreated,
            "kind": "attendance",
            "parent": parent,
        }
    )
    return frame[frame["day"].to_numpy() <= people.death[frame["person"]]]


def _at(
    people: People,
    calendar: Calendar,
    truths: Truths,
    outcome: str,
    person: NDArray[np.int64],
    day: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Untreated deviation and effect of an outcome for persons on days; none before contact."""
    month = calendar.index(day)
    cell = people.site[person], month.clip(0, len(calendar.month) - 1)
    reached = month >= people.contact_month[person]
    contrast = np.where(reached, truths.effect[outcome].contrast[cell], 0.0)
    return truths.eta0[outcome][cell], contrast


def _top(
    world: ExtractWorld,
    people: People,
    calendar: Calendar,
    truths: Truths,
    referrals: pd.DataFrame,
    first_row: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Start and review scores of the referrals that begin treatment with a TOP."""
    size = len(referrals)
    uniform = rng.random((size, 8))
    begins = np.flatnonzero(uniform[:, 0] < world.top_share)
    uniform = uniform[begins]
    person = referrals["person"].to_numpy()[begins]
    wait = 1 + np.floor(rng.exponential(_START_DAYS, size)).astype(np.int64)[begins]
    start = referrals["day"].to_numpy()[begins] + wait
    gap = _REVIEW_DAYS[0] + np.floor(uniform[:, 1] * (_REVIEW_DAYS[1] - _REVIEW_DAYS[0]))
    band = np.searchsorted(np.cumsum(world.start_bands)[:3], uniform[:, 2], side="right")
    untreated = referrals["untreated"].to_numpy()[begins]
    eta0, contrast = _at(people, calendar, truths, "wellbeing", person, start)
    eta0 = world.review_level + eta0
    eta1 = eta0 + contrast - world.wellbeing_selection * ~untreated
    review, without = (_review_band(world, band, eta, uniform[:, 3:6]) for eta in (eta1, eta0))
    common = {
        "person": person,
        "treated": referrals["treated"].to_numpy()[begins],
        "untreated": untreated,
    }
    score = _score(band, uniform[:, 6])
    starts = pd.DataFrame(
        {**common, "day": start, "kind": "top_start", "parent": begins, "score": score}
    ).assign(score_untreated=score)
    reviews = pd.DataFrame(
        {
            **common,
            "day": start + gap.astype(np.int64),
            "kind": "top_review",
            # a review is recorded only where its start is
            "parent": first_row + np.arange(begins.size),
            "score": _score(review, uniform[:, 7]),
            "score_untreated": _score(without, uniform[:, 7]),
        }
    )[rng.random(size)[begins] < world.review_share]
    alive_start = start <= people.death[person]
    # rows keep their places, which parents point to; who died before the start never began
    starts["treated"] &= alive_start
    starts["untreated"] &= alive_start
    alive = reviews["day"].to_numpy() <= people.death[reviews["person"]]
    return pd.concat([starts, reviews[alive]], ignore_index=True)


def _review_band(
    world: ExtractWorld,
    start: NDArray[np.int64],
    eta: NDArray[np.float64],
    uniform: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Band of review by continuation ratios: at least k + 1 given at least k, and the start."""
    band = np.zeros(start.size, dtype=np.int64)
    for k in range(3):
        up = 1 / (1 + np.exp(-(eta + world.review_step * (start - k))))
        band += (band == k) & (uniform[:, k] < up)
    return band


def _score(band: NDArray[np.int64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    edge = np.array(BANDS)
    return edge[band] + np.floor(uniform * (edge[band + 1] - edge[band])).astype(np.int64)
