"""What one would do without a model of the untreated state, each with its own predictive law.

All work on the link scale with weighted least squares, weights in proportion to exposure, and see
what the model sees of the panel: the hidden cells and those around go-live are left out. None can
use reconstructed evidence. Predictive draws are those of the textbook prediction interval: Student
t, with the uncertainty of the coefficients and the residual variance (which holds the counting
noise) divided by the exposure of the cell.

A site whose months before go-live are all hidden has no untreated cell. Imputation from untreated
cells only (Borusyak, Jaravel and Spiess 2024) is then not defined, and the site's level is taken
from its months with the service, less an effect that is the same everywhere and always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lndbayes.validation.observation import empirical_link, rate_of

__all__ = [
    "COMPARATORS",
    "LeastSquares",
    "MaskedPanel",
    "before_after",
    "interrupted_series",
    "least_squares",
    "predictive_draws",
    "two_way_fixed_effects",
]

#: How far a row may lie from what the regressors span and still count as estimable.
_SPAN = 1e-6

_HUNDREDFOLD = float(np.log(100))

#: Singular values below this share of the largest are 0.
_RELATIVE_ZERO = 1e-10


@dataclass(frozen=True)
class MaskedPanel:
    """One outcome's panel with the cells of a fold hidden.

    Attributes
    ----------
    family : str
        Family, a key of `lndbayes.spec.families.FAMILIES`.
    exposure, count : ndarray, shape (S, T)
        As recorded, also in hidden cells; the counts of these are not used.
    event : ndarray, shape (S, T)
        Event months; far below 0 at a site that never goes live.
    used : ndarray of bool, shape (S, T)
        Cells that may be used.
    hidden : ndarray of bool, shape (S, T)
        Cells that are to be predicted; none of them is used.
    time : ndarray, shape (T,)
        Months since the first.
    """

    family: str
    exposure: np.ndarray
    count: np.ndarray
    event: np.ndarray
    used: np.ndarray
    hidden: np.ndarray
    time: np.ndarray

    def link(self) -> np.ndarray:
        """Observed rate on the link scale, (S, T); 0 in cells that are not used."""
        value = np.zeros(self.used.shape)
        value[self.used] = empirical_link(
            self.family, self.count[self.used], self.exposure[self.used]
        )
        return value

    def rates(self, drawn: np.ndarray) -> np.ndarray:
        """Rates of drawn link values, none further than a hundredfold above what is seen.

        Student t draws have no expectation after exponentiation; nobody would believe such rates
        either, so that a comparator is the better for it.
        """
        top = self.link()[self.used].max(initial=-np.inf) + _HUNDREDFOLD
        return rate_of(self.family, np.minimum(drawn, top))


@dataclass(frozen=True)
class LeastSquares:
    """A weighted regression.

    Attributes
    ----------
    coefficients : ndarray, shape (P,)
        The shortest solution where the regressors are linearly dependent.
    covariance : ndarray, shape (P, P)
        Of the coefficients, for a residual variance of 1.
    variance : float
        Residual variance at weight 1; NaN without residual degrees of freedom.
    freedom : int
        Residual degrees of freedom.
    spanned : ndarray, shape (P, P)
        Projection on what the regressors span.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    variance: float
    freedom: int
    spanned: np.ndarray


def least_squares(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> LeastSquares:
    """Weighted least squares, also where regressors are linearly dependent.

    Parameters
    ----------
    x : ndarray, shape (N, P)
        Regressors.
    y, weight : ndarray, shape (N,)
        Response, and weights above 0.
    """
    root = np.sqrt(weight)
    scaled = x * root[:, None]
    # site and month effects are dependent: a singular value that is 0 but for rounding is 0
    inverse = np.linalg.pinv(scaled, rcond=_RELATIVE_ZERO)
    coefficients = inverse @ (root * y)
    spanned = inverse @ scaled
    freedom = len(y) - round(float(np.trace(spanned)))
    squares = float((weight * (y - x @ coefficients) ** 2).sum())
    variance = squares / freedom if freedom > 0 else float("nan")
    return LeastSquares(coefficients, inverse @ inverse.T, variance, freedom, spanned)


def predictive_draws(
    found: LeastSquares, x: np.ndarray, weight: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws of new responses: jointly Student t in the coefficients, with residual noise.

    Parameters
    ----------
    found : LeastSquares
        The regression.
    x : ndarray, shape (N, P)
        Regressors of the new responses.
    weight : ndarray, shape (N,)
        Their weights.
    draws : int
        How many.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (draws, N)
        NaN where the regression says nothing of a response, or has no residual variance.
    """
    if found.freedom < 1 or len(x) == 0:
        return np.full((draws, len(x)), np.nan)
    values, vectors = np.linalg.eigh(found.covariance)
    factor = vectors * np.sqrt(np.maximum(values, 0.0))
    sd = np.sqrt(found.variance * found.freedom / rng.chisquare(found.freedom, size=(draws, 1)))
    noise = rng.normal(size=(draws, len(values))) @ (x @ factor).T
    noise += rng.normal(size=(draws, len(x))) / np.sqrt(weight)
    drawn = x @ found.coefficients + sd * noise
    estimable = np.abs(x @ found.spanned - x).max(axis=1) < _SPAN
    return np.where(estimable, drawn, np.nan)


def two_way_fixed_effects(panel: MaskedPanel, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Site and month effects, and one constant effect of the service.

    Parameters
    ----------
    panel : MaskedPanel
        The panel.
    draws : int
        How many predictive draws.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (draws, hidden cells)
        Rates without the service, in row-major order of the hidden cells.
    """
    rows = np.argwhere(panel.used)
    treated = panel.event[panel.used] >= 0
    x = _dummies(rows, panel.used.shape, treated)
    weight = panel.exposure[panel.used]
    found = least_squares(x, panel.link()[panel.used], weight)
    cells = np.argwhere(panel.hidden)
    new = _dummies(cells, panel.used.shape, np.zeros(len(cells)))
    drawn = predictive_draws(found, new, panel.exposure[panel.hidden], draws, rng)
    return panel.rates(drawn)


def _dummies(cells: np.ndarray, shape: tuple[int, ...], treated: np.ndarray) -> np.ndarray:
    site, month = np.eye(shape[0])[cells[:, 0]], np.eye(shape[1])[cells[:, 1]]
    return np.column_stack([site, month, treated])


def before_after(panel: MaskedPanel, draws: int, rng: np.random.Generator) -> np.ndarray:
    """A site's mean with the service, less the average before-after change of the other sites.

    The change of a site is that of its exposure-weighted means on the link scale; sites count
    alike, and the spread of their changes is the uncertainty of this one's. Returns what
    `two_way_fixed_effects` returns.
    """
    y = panel.link()
    before, after = (
        np.where(panel.used & side, panel.exposure, 0.0)
        for side in (panel.event < 0, panel.event >= 0)
    )
    means = [_weighted_mean(y, w) for w in (before, after)]
    changes = (means[1] - means[0])[(before.sum(axis=1) > 0) & (after.sum(axis=1) > 0)]
    out = np.full((draws, int(panel.hidden.sum())), np.nan)
    if len(changes) < 2:
        return out
    freedom = len(changes) - 1
    scale = np.sqrt(changes.var(ddof=1) * (1 + 1 / len(changes)))
    noise_variance = _within_variance(y, means, (before, after))
    site = np.argwhere(panel.hidden)[:, 0]
    exposure = panel.exposure[panel.hidden]
    for s in np.unique(site):
        total = after[s].sum()
        if total == 0:
            continue
        cells = site == s
        level = means[1][s] - changes.mean() + scale * rng.standard_t(freedom, size=(draws, 1))
        level = level + np.sqrt(noise_variance / total) * rng.normal(size=(draws, 1))
        noise = rng.normal(size=(draws, int(cells.sum()))) * np.sqrt(
            noise_variance / exposure[cells]
        )
        out[:, cells] = level + noise
    return panel.rates(out)


def _weighted_mean(y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    total = weight.sum(axis=1)
    return np.asarray((weight * y).sum(axis=1) / np.where(total > 0, total, 1.0))


def _within_variance(
    y: np.ndarray, means: list[np.ndarray], weights: tuple[np.ndarray, np.ndarray]
) -> float:
    """Residual variance at weight 1 around the mean of each site before and after."""
    squares, freedom = 0.0, 0
    for mean, weight in zip(means, weights, strict=True):
        squares += float((weight * (y - mean[:, None]) ** 2).sum())
        freedom += int((weight > 0).sum() - (weight.sum(axis=1) > 0).sum())
    return squares / freedom if freedom > 0 else float("nan")


def interrupted_series(panel: MaskedPanel, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Each site's own level and trend with the service, drawn on backwards.

    The segmented regression of an interrupted time series, of which only the segment after go-live
    is there. Returns what `two_way_fixed_effects` returns.
    """
    y = panel.link()
    cells = np.argwhere(panel.hidden)
    out = np.full((draws, len(cells)), np.nan)
    for s in np.unique(cells[:, 0]):
        after = panel.used[s] & (panel.event[s] >= 0)
        if not after.any():
            continue
        found = least_squares(_line(panel.time[after]), y[s, after], panel.exposure[s, after])
        mine = cells[:, 0] == s
        months = cells[mine, 1]
        new = _line(panel.time[months])
        out[:, mine] = predictive_draws(found, new, panel.exposure[s, months], draws, rng)
    return panel.rates(out)


def _line(time: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones_like(time), time / 12.0])


#: Comparators by name.
COMPARATORS: Mapping[str, Callable[[MaskedPanel, int, np.random.Generator], np.ndarray]] = {
    "two_way_fixed_effects": two_way_fixed_effects,
    "before_after": before_after,
    "interrupted_series": interrupted_series,
}
