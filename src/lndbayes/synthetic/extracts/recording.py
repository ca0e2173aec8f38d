"""What a source loses of what happened: consent, matching, coverage, seams, reporting delay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from lndbayes.synthetic.extracts.people import month_index
from lndbayes.synthetic.extracts.world import SOURCES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from lndbayes.synthetic.extracts.people import Calendar, People
    from lndbayes.synthetic.extracts.world import SourceLaw

__all__ = ["LOSSES", "last_month", "record"]

#: Reasons in the order in which a row is tried: it is lost for the first that applies.
LOSSES: Final = (
    *("no consent", "not matched", "outside coverage", "not recorded", "not yet reported"),
    "what it belongs to is lost",
)
_DAYS_PER_MONTH: Final = 365.25 / 12


def last_month(law: SourceLaw, calendar: Calendar) -> str:
    """Give the last month that a source covers.

    Parameters
    ----------
    law : SourceLaw
        The source.
    calendar : Calendar
        The grid.

    Returns
    -------
    str
        ``YYYY-MM``, inside the grid.
    """
    return min(law.last_month or calendar.month[-1], calendar.month[-1])


def record(
    source: str,
    law: SourceLaw,
    rows: pd.DataFrame,
    people: People,
    calendar: Calendar,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Decide which of the events that happened, with the service, reach the extract.

    Parameters
    ----------
    source : str
        Name of the table.
    law : SourceLaw
        What the collection holds.
    rows : pandas.DataFrame
        Complete table with ``person``, ``day``, ``treated`` and ``parent``.
    people : People
        Persons.
    calendar : Calendar
        The grid and the day of the extract.
    rng : numpy.random.Generator
        Its own stream.

    Returns
    -------
    kept : ndarray of bool
        Dims (row).
    lost : dict of str to int
        Rows that happened and are lost, each under one reason of :data:`LOSSES`.
    """
    person, day = rows["person"].to_numpy(), rows["day"].to_numpy()
    month = calendar.index(day)
    first = month_index(calendar.month[0], law.first_month)
    last = month_index(calendar.month[0], last_month(law, calendar))
    seams = [month_index(calendar.month[0], seam) for seam in law.seams]
    share = np.array(law.recorded)[np.searchsorted(seams, month, side="right")]
    uniform, waiting = rng.random(len(rows)), rng.exponential(size=len(rows))
    reported = day + waiting * law.delay_months * _DAYS_PER_MONTH
    faults = [
        ~people.consented[person],
        ~people.matched[person, SOURCES.index(source)],
        (month < first) | (month > last),
        uniform >= share,
        reported > calendar.extract,
    ]
    happened = rows["treated"].to_numpy()
    kept = happened & ~np.any(faults, axis=0)
    parent = rows["parent"].to_numpy()
    faults.append(_orphans(kept, parent))
    kept &= ~faults[-1]
    reason = np.argmax(faults, axis=0)[happened & ~kept]
    counts = np.bincount(reason, minlength=len(LOSSES))
    return kept, dict(zip(LOSSES, counts.tolist(), strict=True))


def _orphans(kept: NDArray[np.bool_], parent: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows whose parent is not kept, or has itself no kept parent."""
    orphan = np.zeros(kept.size, dtype=bool)
    # two generations at most: a review, its start, the referral
    for _ in range(2):
        orphan = (parent >= 0) & ~(kept & ~orphan)[parent]
    return orphan
