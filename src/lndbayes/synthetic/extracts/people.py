"""The calendar, the sites and the persons: who they are, whom the sources find, when they die."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lndbayes.synthetic.extracts.world import SOURCES
from lndbayes.synthetic.layout import named_streams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lndbayes.synthetic.extracts.world import ExtractWorld

__all__ = ["NEVER", "Calendar", "People", "Rollout", "draw_people", "month_index", "streams"]

#: A day later than any in an extract.
NEVER: Final = np.int64(2**31)
_DAYS_PER_YEAR: Final = 365.25

#: One random stream each, so that a change to one leaves the numbers of the others as they were.
#: The order is part of the data: append, never insert.
_STREAMS: Final = (
    *("people", "needs", "severity", "consent", "match", "ages", "deaths", "surface", "effects"),
    *("mix", "referrals", "ae", "mh", "iapt", "drug", "mh_attendances", "iapt_attendances"),
    *("drug_attendances", "top", "offending", "index", "court", "custody", "recording"),
)
#: Keeps these streams apart from those of the aggregate simulator with the same seed.
_BRANCH: Final = 20_170_901


@dataclass(frozen=True, slots=True)
class Calendar:
    """Months of the grid in days since 1970-01-01.

    Attributes
    ----------
    month : tuple of str
        ``YYYY-MM`` labels, length month.
    start : ndarray of int
        First day of each month, with one more entry for the end of the grid.
    extract : int
        The day on which all sources were extracted.
    """

    month: tuple[str, ...]
    start: NDArray[np.int64]
    extract: int

    @classmethod
    def of(cls, first_month: str, last_month: str) -> Calendar:
        """Lay out a grid; the extract is made on its last day.

        Parameters
        ----------
        first_month, last_month : str
            ``YYYY-MM``.

        Returns
        -------
        Calendar
            The grid.
        """
        months = pd.period_range(first_month, last_month, freq="M")
        edges = pd.period_range(first_month, months[-1] + 1, freq="M").to_timestamp()
        days = edges.to_numpy().astype("datetime64[D]").astype(np.int64)
        return cls(tuple(str(m) for m in months), days, int(days[-1]) - 1)

    def index(self, day: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the month of a day, not limited to the grid at its end.

        Parameters
        ----------
        day : ndarray of int
            Days since 1970-01-01.

        Returns
        -------
        ndarray of int
            -1 before the grid, the number of months of the grid after it.
        """
        return np.searchsorted(self.start, day, side="right") - 1


@dataclass(frozen=True, slots=True)
class Rollout:
    """Sites of the evaluation.

    Attributes
    ----------
    site : tuple of str
        Names.
    go_live : ndarray of int
        Dims (site). Month index.
    size : ndarray of float
        Dims (site). Expected eligible persons a month.
    """

    site: tuple[str, ...]
    go_live: NDArray[np.int64]
    size: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class People:
    """Persons, one entry each in every array, in the order of their study ids.

    Attributes
    ----------
    study_id : ndarray of str
        ``P000001`` on.
    site, contact_month : ndarray of int
        Index of the site; month of the grid.
    birth, contact, death : ndarray of int
        Days since 1970-01-01; ``NEVER`` for who is alive at the extract.
    needs : ndarray of bool
        Dims (person, need) in the order of ``world.NEEDS``.
    severity : ndarray of float
        Mean 0, standard deviation near 1.
    consented : ndarray of bool
        Whether records may be linked.
    matched : ndarray of bool
        Dims (person, source) in the order of ``world.SOURCES``.
    """

    study_id: NDArray[np.str_]
    site: NDArray[np.int64]
    contact_month: NDArray[np.int64]
    birth: NDArray[np.int64]
    contact: NDArray[np.int64]
    death: NDArray[np.int64]
    needs: NDArray[np.bool_]
    severity: NDArray[np.float64]
    consented: NDArray[np.bool_]
    matched: NDArray[np.bool_]


def streams(seed: int) -> dict[str, np.random.Generator]:
    """Random streams of the extracts, as `lndbayes.synthetic.layout.streams` of an evaluation."""
    return named_streams(np.random.SeedSequence([seed, _BRANCH]), _STREAMS)


def month_index(first_month: str, label: str) -> int:
    """Count the months from the start of the grid.

    Parameters
    ----------
    first_month, label : str
        ``YYYY-MM``.

    Returns
    -------
    int
        0 for the first month.
    """
    return int((np.datetime64(label, "M") - np.datetime64(first_month, "M")).astype(int))


def draw_people(
    world: ExtractWorld,
    rollout: Rollout,
    calendar: Calendar,
    rngs: Mapping[str, np.random.Generator],
) -> People:
    """Draw the persons in contact with police custody or court over the grid.

    Parameters
    ----------
    world : ExtractWorld
        Parameters.
    rollout : Rollout
        Sites, with their sizes.
    calendar : Calendar
        The grid.
    rngs : mapping of str to numpy.random.Generator
        From :func:`streams`.

    Returns
    -------
    People
        One eligible contact each. Ids are in random order, so they say nothing of site or date.
    """
    sites, months = len(rollout.site), len(calendar.month)
    rng = rngs["people"]
    count = rng.poisson(np.repeat(rollout.size, months))
    cell = rng.permutation(np.repeat(np.arange(sites * months), count))
    site, month = np.divmod(cell, months)
    persons = cell.size
    length = np.diff(calendar.start)[month]
    contact = calendar.start[month] + np.floor(rng.random(persons) * length).astype(np.int64)
    needs = _needs(world, rngs["needs"].random((persons, 2)))
    centred = needs.sum(axis=1) - _mean_needs(world)
    severity = rngs["severity"].normal(size=persons) + world.severity_per_need * centred
    best, worst = world.consent_range
    consent = worst + (best - worst) / (1 + np.exp(1.7 * severity))
    missed = np.array([world.source(name).missed for name in SOURCES])
    low, high = world.age_range
    age = low + (high - low) * rngs["ages"].beta(1.2, 2.5, size=persons)
    hazard = world.deaths_per_year / _DAYS_PER_YEAR * np.exp(0.4 * severity)
    waiting = rngs["deaths"].exponential(size=persons) / np.maximum(hazard, 1e-12)
    death = contact + 1 + np.minimum(waiting, 1e6).astype(np.int64)
    width = max(6, len(str(persons)))
    return People(
        study_id=np.char.mod(f"P%0{width}d", np.arange(1, persons + 1)),
        site=site,
        contact_month=month,
        birth=contact - np.ceil(age * _DAYS_PER_YEAR).astype(np.int64),
        contact=contact,
        death=np.where(death <= calendar.extract, death, NEVER),
        needs=needs,
        severity=severity,
        consented=rngs["consent"].random(persons) < consent,
        matched=rngs["match"].random((persons, len(SOURCES))) >= missed,
    )


def _needs(world: ExtractWorld, uniform: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Lay the joint law of the needs over two uniform numbers a person."""
    both, mh_only, drug_only, other_only = _patterns(world)
    edges = np.cumsum([both, mh_only, drug_only, other_only])
    pattern = np.searchsorted(edges, uniform[:, 0], side="right")  # 4: no need
    other = uniform[:, 1] < np.array([*world.other_given, 1.0, 0.0])[pattern]
    return np.stack([pattern <= 1, (pattern == 0) | (pattern == 2), other], axis=1)


def _patterns(world: ExtractWorld) -> tuple[float, float, float, float]:
    mh, drug, both = world.share_mental_health, world.share_drug_alcohol, world.share_both
    return both, mh - both, drug - both, world.share_any_need - (mh + drug - both)


def _mean_needs(world: ExtractWorld) -> float:
    both, mh_only, drug_only, other_only = _patterns(world)
    other = float(np.dot(world.other_given, (both, mh_only, drug_only))) + other_only
    return world.share_mental_health + world.share_drug_alcohol + other
