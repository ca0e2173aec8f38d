"""Streams of the outcomes beside custody, and what their counts are among."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from lndbayes.synthetic.outcomes import OTHERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lndbayes.synthetic.layout import Layout
    from lndbayes.synthetic.outcomes import OutcomeWorld

__all__ = ["draw_exposures", "latest_coverage", "outcome_streams", "shared_streams"]

#: One random stream each; the order is part of the data: append, never insert.
_OUTCOME_STREAMS: Final = (
    "site_level",
    "site_drift",
    "site_curve",
    "national_curve",
    "shock",
    "site_deviation",
    "ramp",
    "outcome",
    "start",
    "newcomers",
    "newcomer_start",
    "newcomer_outcome",
    "national",
    "history",
)
_SHARED_STREAMS: Final = (
    "factor_health",
    "factor_justice",
    "contacts",
    "at_liberty",
    "in_treatment",
    "cases_begun",
    "cases_ended",
    "missing_pnc",
    "missing_hes_ae",
    "missing_mhsds",
    "missing_iapt",
    "missing_ndtms",
    "missing_hmcts",
)

#: First numbers of the spawn keys, out of reach of the streams of custody, which count from zero.
_SHARED_KEY: Final = 1000
_OUTCOME_KEY: Final = 2000

#: Months for which a person in contact stays in the cohort.
_COHORT_MONTHS: Final = 12
_AT_LIBERTY: Final = 0.93
#: A month, per unit of size.
_IN_TREATMENT: Final = 0.3
_CASES: Final = 0.8


def _named(
    seed: int, key: tuple[int, ...], names: tuple[str, ...]
) -> dict[str, np.random.Generator]:
    return {
        name: np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*key, i)))
        for i, name in enumerate(names)
    }


def shared_streams(seed: int) -> dict[str, np.random.Generator]:
    """Random streams of what several outcomes share: see `lndbayes.synthetic.layout.streams`."""
    return _named(seed, (_SHARED_KEY,), _SHARED_STREAMS)


def outcome_streams(seed: int, outcome: str) -> dict[str, np.random.Generator]:
    """Random streams of one outcome, the same whatever other outcomes are simulated.

    Parameters
    ----------
    seed : int
        Zero or positive.
    outcome : str
        A name in :data:`lndbayes.synthetic.outcomes.OTHERS`.

    Returns
    -------
    dict of str to numpy.random.Generator
        Keyed by component.
    """
    return _named(seed, (_OUTCOME_KEY, list(OTHERS).index(outcome)), _OUTCOME_STREAMS)


def draw_exposures(
    layout: Layout, rngs: dict[str, np.random.Generator]
) -> dict[str, NDArray[np.int64]]:
    """Draw what counts are among; none of it is changed by the service.

    Parameters
    ----------
    layout : Layout
        Sites, sizes and months.
    rngs : dict of str to numpy.random.Generator
        From :func:`shared_streams`.

    Returns
    -------
    dict of str to ndarray of int
        Dims (site, month). ``person_months``: persons with a contact in the last twelve months,
        twelve times the size on average; ``at_liberty``: those of them at liberty;
        ``in_treatment``: persons always in treatment with a score at start and review;
        ``cases_begun`` and ``cases_ended``: court cases of the month.
    """
    sites, months = layout.exposure.shape
    size = layout.size[:, None]
    contacts = rngs["contacts"].poisson(size, (sites, months + _COHORT_MONTHS - 1))
    until = np.cumsum(np.pad(contacts, ((0, 0), (1, 0))), axis=1)
    cohort = until[:, _COHORT_MONTHS:] - until[:, :-_COHORT_MONTHS]
    drawn = {
        "person_months": cohort,
        "at_liberty": rngs["at_liberty"].binomial(cohort, _AT_LIBERTY),
    }
    for name, share in (
        ("in_treatment", _IN_TREATMENT),
        ("cases_begun", _CASES),
        ("cases_ended", _CASES),
    ):
        drawn[name] = rngs[name].poisson(share * size, (sites, months))
    return drawn


def latest_coverage(outcome: OutcomeWorld, months: int) -> NDArray[np.float64]:
    """Share of the events that the source holds, dims (month).

    Parameters
    ----------
    outcome : OutcomeWorld
        Gives the shares of the newest months.
    months : int
        Length of the grid.

    Returns
    -------
    ndarray of float
        One except in the newest months.
    """
    share = np.ones(months)
    if outcome.coverage:
        share[-len(outcome.coverage) :] = outcome.coverage
    return share
