"""From predictors to counts, one law for each family of outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from lndbayes.synthetic.counts import (
    closing_counts,
    dispersion,
    negative_binomial_quantile,
    stage_shares,
    staged_counts,
)
from lndbayes.synthetic.outcome import beta_binomial_quantile
from lndbayes.synthetic.surface import expit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from lndbayes.synthetic.outcomes import OutcomeWorld

__all__ = ["OPEN", "Cells", "Counts", "draw_counts", "followed_bins", "natural"]

#: Marks a bin of duration that holds cases still open.
OPEN: Final = "open"

#: Bins that a case begun so many months before the extract has wholly behind it: its age lies in
#: 2 to 30 days in the last month, then 3 to 90 days (two months), then 4 to 180 days (three).
_BINS_BEHIND: Final = (1, 2, 2, 3, 3, 3)


@dataclass(frozen=True, slots=True)
class Cells:
    """What the counts of an outcome depend on, dims (site, month) unless another is given.

    Attributes
    ----------
    exposure, exposure_untreated : ndarray of int
        With the service and without it; the same unless another outcome is the exposure.
    eta0, eta1 : ndarray of float
        Predictor without and with the service.
    coverage : ndarray of float
        Dims (month). Share of the events that the source holds.
    newcomers : ndarray of float
        Expected persons whom the service brings in, per person always in treatment.
    """

    exposure: NDArray[np.int64]
    exposure_untreated: NDArray[np.int64]
    eta0: NDArray[np.float64]
    eta1: NDArray[np.float64]
    coverage: NDArray[np.float64]
    newcomers: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of an outcome with and without the service.

    Attributes
    ----------
    categories : tuple of str
        Names of the rows of a cell; one empty name where there are none.
    exposure : ndarray of int
        Dims (site, month).
    count, untreated : ndarray of int
        Dims (category, site, month).
    averted : ndarray of float
        Dims (site, month). Expected events at the exposure with the service, without minus with.
    averted_realised : ndarray of int
        Dims (site, month). The same with the counts, of the same random numbers.
    averted_in_all : ndarray of float
        Dims (site, month). As ``averted``, and with the exposure that would have been without it.
    """

    categories: tuple[str, ...]
    exposure: NDArray[np.int64]
    count: NDArray[np.int64]
    untreated: NDArray[np.int64]
    averted: NDArray[np.float64]
    averted_realised: NDArray[np.int64]
    averted_in_all: NDArray[np.float64]


def natural(family: str, eta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn predictors into what they are predictors of.

    Parameters
    ----------
    family : str
        Family of the outcome.
    eta : ndarray of float
        Any shape, link scale.

    Returns
    -------
    ndarray of float
        Probability (logit), rate per unit of exposure (log), hazard of the first bin (cloglog).
    """
    if family.startswith("negative_binomial"):
        return np.exp(eta)
    if family == "duration_hazard":
        hazard: NDArray[np.float64] = -np.expm1(-np.exp(eta))
        return hazard
    return expit(eta)


def followed_bins(months: int, bins: int) -> NDArray[np.int64]:
    """Bins that the cases of each month have wholly behind them at the extract.

    Parameters
    ----------
    months : int
        Length of the grid; the extract is made at its end.
    bins : int
        Number of bins, the last without end.

    Returns
    -------
    ndarray of int
        Dims (month); ``bins - 1`` where cases are followed to the last bin.
    """
    followed = np.full(months, bins - 1)
    newest = _BINS_BEHIND[:months]
    followed[months - len(newest) :] = newest[::-1]
    return np.minimum(followed, bins - 1)


def _beta_binomial(
    outcome: OutcomeWorld, cells: Cells, rngs: Mapping[str, np.random.Generator]
) -> Counts:
    uniform = rngs["outcome"].random(cells.exposure.shape)

    def count(eta: NDArray[np.float64]) -> NDArray[np.int64]:
        # an event that the source lacks is one of the others
        rate = cells.coverage * expit(eta)
        return beta_binomial_quantile(uniform, cells.exposure, rate, outcome.concentration)

    untreated = count(cells.eta0)
    treated = count(cells.eta1) if (cells.eta1 != cells.eta0).any() else untreated
    averted = cells.exposure * (expit(cells.eta0) - expit(cells.eta1))
    return _plain(cells.exposure, treated, untreated, averted)


def _plain(
    exposure: NDArray[np.int64],
    treated: NDArray[np.int64],
    untreated: NDArray[np.int64],
    averted: NDArray[np.float64],
) -> Counts:
    realised = untreated - treated
    return Counts(("",), exposure, treated[None], untreated[None], averted, realised, averted)


def _negative_binomial(
    outcome: OutcomeWorld, cells: Cells, rngs: Mapping[str, np.random.Generator]
) -> Counts:
    uniform = rngs["outcome"].random(cells.exposure.shape)

    def count(exposure: NDArray[np.int64], eta: NDArray[np.float64]) -> NDArray[np.int64]:
        size = dispersion(exposure, outcome.unit_dispersion, outcome.concentration)
        # Thinning a negative binomial multiplies its mean and leaves its size.
        mean = exposure * cells.coverage * np.exp(eta)
        return negative_binomial_quantile(uniform, mean, size)

    treated = count(cells.exposure, cells.eta1)
    same = (cells.eta1 == cells.eta0).all()
    held = treated if same else count(cells.exposure, cells.eta0)
    untreated = held
    if cells.exposure_untreated is not cells.exposure:
        untreated = count(cells.exposure_untreated, cells.eta0)
    rate0, rate1 = (natural(outcome.family, eta) for eta in (cells.eta0, cells.eta1))
    in_all: NDArray[np.float64] = cells.exposure_untreated * rate0 - cells.exposure * rate1
    return Counts(
        categories=("",),
        exposure=cells.exposure,
        count=treated[None],
        untreated=untreated[None],
        averted=cells.exposure * (rate0 - rate1),
        averted_realised=held - treated,
        averted_in_all=in_all,
    )


def _negative_binomial_from_one(
    outcome: OutcomeWorld, cells: Cells, rngs: Mapping[str, np.random.Generator]
) -> Counts:
    further = _negative_binomial(outcome, cells, rngs)
    treated, untreated = (x[0] + cells.exposure for x in (further.count, further.untreated))
    return _plain(cells.exposure, treated, untreated, further.averted)


def _duration_hazard(
    outcome: OutcomeWorld, cells: Cells, rngs: Mapping[str, np.random.Generator]
) -> Counts:
    (constants,) = outcome.stages
    names = outcome.categories
    followed = followed_bins(cells.exposure.shape[1], len(names))
    uniform = rngs["outcome"].random((len(constants), *cells.exposure.shape))

    def count(eta: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        hazards = [a + eta for a in constants]
        return closing_counts(uniform, cells.exposure, hazards, followed, outcome.concentration)

    closed, still_open = count(cells.eta1)
    closed0, open0 = count(cells.eta0) if (cells.eta1 != cells.eta0).any() else (closed, still_open)
    # Only bins that the newest cases can be in: a category has a row in every month.
    opened = sorted(set(followed.tolist()) - {len(names) - 1})
    hazard = [natural("duration_hazard", eta) for eta in (cells.eta0, cells.eta1)]
    averted = cells.exposure * (hazard[0] - hazard[1])
    return Counts(
        categories=(*names, *(f"{names[j]} {OPEN}" for j in opened)),
        exposure=cells.exposure,
        count=np.concatenate([closed, still_open[opened]]),
        untreated=np.concatenate([closed0, open0[opened]]),
        averted=averted,
        averted_realised=closed0[0] - closed[0],
        averted_in_all=averted,
    )


def _changes(
    outcome: OutcomeWorld,
    starts: NDArray[np.int64],
    eta: NDArray[np.float64],
    uniform: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Persons by start and review band, dims (start, review, site, month)."""
    return np.stack(
        [
            staged_counts(uniform[g], starts[g], [a + eta for a in row], outcome.concentration)
            for g, row in enumerate(outcome.stages)
        ]
    )


def _risen(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Persons whose review is above their start, dims (site, month)."""
    bands = range(table.shape[0])
    return sum((table[g, g + 1 :].sum(axis=0) for g in bands), np.zeros_like(table[0, 0]))


def _expected_risen(outcome: OutcomeWorld, eta: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Probability of a review above the start, by start band."""
    shares = (stage_shares([a + eta for a in row]) for row in outcome.stages)
    return [share[g + 1 :].sum(axis=0) for g, share in enumerate(shares)]


def _ordered_change(
    outcome: OutcomeWorld, cells: Cells, rngs: Mapping[str, np.random.Generator]
) -> Counts:
    bands = len(outcome.categories)
    shape = (bands, bands - 1, *cells.exposure.shape)
    starts = np.moveaxis(rngs["start"].multinomial(cells.exposure, outcome.start), -1, 0)
    uniform = rngs["outcome"].random(shape)
    always, untreated = (
        _changes(outcome, starts, eta, uniform) for eta in (cells.eta1, cells.eta0)
    )
    table, exposure = always, cells.exposure
    if outcome.selection is not None:
        new = rngs["newcomers"].poisson(cells.newcomers * _mean_exposure(cells.exposure))
        first = rngs["newcomer_start"].multinomial(new, outcome.selection.start)
        eta = cells.eta1 + outcome.selection.shift
        drawn = rngs["newcomer_outcome"].random(shape)
        table = always + _changes(outcome, np.moveaxis(first, -1, 0), eta, drawn)
        exposure = exposure + new
    risen0, risen1 = (_expected_risen(outcome, eta) for eta in (cells.eta0, cells.eta1))
    difference = [n * (p0 - p1) for n, p0, p1 in zip(starts, risen0, risen1, strict=True)]
    names, averted = outcome.categories, np.sum(difference, axis=0)
    return Counts(
        categories=tuple(f"{g}>{k}" for g in names for k in names),
        exposure=exposure,
        count=table.reshape(-1, *exposure.shape),
        untreated=untreated.reshape(-1, *exposure.shape),
        averted=averted,
        averted_realised=_risen(untreated) - _risen(always),
        averted_in_all=averted,
    )


def _mean_exposure(exposure: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over months, dims (site, 1): newcomers do not follow the month's chance."""
    mean: NDArray[np.float64] = exposure.mean(axis=1, keepdims=True)
    return mean


_FAMILIES: Final[
    Mapping[str, Callable[[OutcomeWorld, Cells, Mapping[str, np.random.Generator]], Counts]]
] = {
    "beta_binomial": _beta_binomial,
    "negative_binomial": _negative_binomial,
    "negative_binomial_from_one": _negative_binomial_from_one,
    "duration_hazard": _duration_hazard,
    "ordered_change": _ordered_change,
}


def draw_counts(
    outcome: OutcomeWorld, cells: Cells, rngs: Mapping[str, np.random.Generator]
) -> Counts:
    """Draw the counts of one outcome with and without the service.

    Parameters
    ----------
    outcome : OutcomeWorld
        Parameters.
    cells : Cells
        Exposures and predictors.
    rngs : mapping of str to numpy.random.Generator
        Streams of the outcome.

    Returns
    -------
    Counts
        Both from the same random numbers, as a source of this coverage holds them.

    Raises
    ------
    ValueError
        If records are missing and the family does not say how that looks.
    """
    lawless = ("duration_hazard", "ordered_change", "negative_binomial_from_one")
    if outcome.family in lawless and (cells.coverage < 1).any():
        raise ValueError(f"the family {outcome.family} has no law of records that are missing")
    return _FAMILIES[outcome.family](outcome, cells, rngs)
