"""Posterior predictive quantities: what the model says data should look like, and how they look.

Each quantity is computed in the same way from the observed panel and from every replicated panel
(Gelman, Meng and Stern 1996), in the cells of the likelihood only, the same cells in both. There
are two kinds:

* rates of groups of cells (sites, waves, months around go-live) and the largest change from month
  to month are functions of the data alone;
* variances and autocorrelations are functions of data *and* draw: residuals are taken from the
  expectation ``mu`` of each draw, observed and replicated alike. Residuals from the mean over draws
  would not do. In a Gaussian model with hat matrix H the observed ones have the covariance
  s2 (I - H), the replicated ones s2 (I + H): a right model with many parameters would look
  underdispersed and negatively autocorrelated. Residuals from each draw's own expectation have
  the covariance s2 I in both.

Tail probabilities stay conservative, because the observed data have been used to fit: what the
model fits directly (the level of a site) hardly ever looks extreme by accident.

References
----------
Gelman, Meng, Stern (1996). Posterior predictive assessment of model fitness via realized
discrepancies. Statistica Sinica 6, 733-807.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lndbayes.checks.replication import (
    Replication,
    cells_near_go_live,
    contradicted,
    group_rates,
    group_totals,
    lagged_pairs,
    standardised_residuals,
)
from lndbayes.checks.thresholds import Thresholds

__all__ = [
    "RESIDUAL_CHECKS",
    "Discrepancy",
    "SiteRates",
    "Unavailable",
    "discrepancies",
    "site_rates",
]

_TINY = 2 * np.finfo(float).tiny

#: Checks that need the expectation of each draw.
RESIDUAL_CHECKS = ("overdispersion", "autocorrelation_1", "autocorrelation_year", "variance_ratio")


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One quantity, observed and replicated.

    Attributes
    ----------
    check : str
        Name of the check.
    observed : np.ndarray, shape () or (R,)
        Value in the data; one for each draw where the quantity depends on the draw.
    replicated : np.ndarray, shape (R,)
        Value in each replicate.
    parts : int
        For the largest absolute z-value of several parts, how many there are; else 0. Only large
        values of it speak against the model: the parts are fitted, so the worst of the observed
        ones is small even when all is well.
    effect : float
        Size of the disagreement in the unit its threshold has: a relative difference of rates, a
        difference of autocorrelations, or a ratio (always 1 or more).
    scale : str
        Which threshold ``effect`` is held against: ``rate``, ``autocorrelation`` or ``ratio``.
    where : str
        What the number describes and where it is worst, for the message.
    table : pd.DataFrame or None
        Parts of the quantity (sites, waves, event months).
    """

    check: str
    observed: np.ndarray
    replicated: np.ndarray
    parts: int
    effect: float
    scale: str
    where: str
    table: pd.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A quantity that cannot be computed.

    Attributes
    ----------
    check : str
        Name of the check.
    reason : str
        Why it cannot be computed.
    fault : bool
        Whether the fit is at fault; otherwise these data simply do not have the quantity.
    """

    check: str
    reason: str
    fault: bool = False


@dataclass(frozen=True, slots=True)
class SiteRates:
    """Observed rate of each site against its predictive interval.

    Attributes
    ----------
    table : pd.DataFrame
        One row a site with cells: ``site``, ``observed``, ``lower``, ``median``, ``upper`` (rates),
        ``inside`` (bool), ``difference`` (observed over predicted mean, minus one).
    """

    table: pd.DataFrame


def site_rates(data: Replication, *, prob: float) -> SiteRates:
    """Rate of each site over all its cells, observed and replicated.

    Parameters
    ----------
    data : Replication
    prob : float
        Probability of the equal-tailed predictive interval.

    Returns
    -------
    SiteRates
    """
    groups, observed, replicated = group_rates(data, data.site)
    lower, median, upper = np.quantile(replicated, ((1 - prob) / 2, 0.5, (1 + prob) / 2), axis=0)
    table = pd.DataFrame(
        {
            "site": [data.sites[s] for s in groups],
            "observed": observed,
            "lower": lower,
            "median": median,
            "upper": upper,
            "inside": (observed >= lower) & (observed <= upper),
            "difference": _relative(observed, replicated.mean(axis=0)),
        }
    )
    return SiteRates(table)


def discrepancies(data: Replication, thresholds: Thresholds) -> list[Discrepancy | Unavailable]:
    """All posterior predictive quantities but the coverage of site rates.

    Parameters
    ----------
    data : Replication
    thresholds : Thresholds
        Its ranges and least numbers of cells are used, none of its verdicts.

    Returns
    -------
    list of Discrepancy or Unavailable
    """
    names = np.array(data.sites)
    # the last is that of sites which never go live: their wave is -1
    waves = np.array([*map(str, range(int(data.wave.max(initial=0)) + 1)), "none"])
    return [
        _worst_rate(data, data.site, "worst_site_rate", "site", names),
        _worst_rate(data, data.wave, "wave_rates", "wave", waves),
        *_residual_quantities(data, thresholds),
        _largest_change(data, thresholds),
        _window_rate(data, thresholds, before=True),
        _window_rate(data, thresholds, before=False),
        _event_curve(data, thresholds),
    ]


def _residual_quantities(
    data: Replication, thresholds: Thresholds
) -> list[Discrepancy | Unavailable]:
    if data.expected is None:
        reason = "the fit has no mu (expectation of each draw) in posterior_predictive"
        return [Unavailable(check, reason) for check in RESIDUAL_CHECKS]
    if contradicted(data.replicated - data.expected):
        reason = "the replicates do not have the expectation mu that is stored beside them"
        return [Unavailable(check, reason, fault=True) for check in RESIDUAL_CHECKS]
    observed, replicated = standardised_residuals(data.y, data.replicated, data.expected)
    residuals = _Residuals(observed, replicated)
    return [
        _overdispersion(residuals),
        _autocorrelation(data, residuals, 1, "autocorrelation_1", thresholds),
        _autocorrelation(data, residuals, data.lag_year, "autocorrelation_year", thresholds),
        _variance_ratio(data, residuals, thresholds),
    ]


@dataclass(frozen=True, slots=True)
class _Residuals:
    """Standardised residuals, both of shape (R, C)."""

    observed: np.ndarray
    replicated: np.ndarray


def _relative(observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Observed over predicted, minus one; infinite for something where nothing was predicted."""
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = observed / predicted - 1
    return np.where(observed == predicted, 0.0, difference)


def _ratio(observed: np.ndarray, replicated: np.ndarray) -> float:
    """Typical observed over typical replicated value or its inverse, whichever is above 1."""
    data, model = float(np.median(observed)), float(np.median(replicated))
    if data <= 0 or model <= 0:
        return 1.0 if data == model else float("inf")
    return max(data / model, model / data)


def _worst_rate(
    data: Replication, by: np.ndarray, check: str, unit: str, names: np.ndarray | None
) -> Discrepancy:
    """Largest standardised difference between observed and predicted rate over groups of cells."""
    groups, observed, replicated = group_rates(data, by)
    predicted = replicated.mean(axis=0)
    # As in the residuals: one event in one replicate is the least spread that could have shown.
    floor = 1 / (group_totals(data.exposure, by) * np.sqrt(len(replicated)))
    sd = np.maximum(replicated.std(axis=0, ddof=1), floor)
    z = (observed - predicted) / sd
    i = int(np.abs(z).argmax())
    labels = groups if names is None else names[groups]
    difference = _relative(observed, predicted)
    return Discrepancy(
        check=check,
        observed=np.abs(z[i]),
        replicated=np.abs((replicated - predicted) / sd).max(axis=1),
        parts=len(groups),
        effect=float(np.abs(difference[i])),
        scale="rate",
        where=f"worst {unit.replace('_', ' ')} {labels[i]}: observed rate {observed[i]:.4g},"
        f" predicted {predicted[i]:.4g}",
        table=pd.DataFrame({unit: labels, "observed": observed, "predicted": predicted, "z": z}),
    )


def _overdispersion(residuals: _Residuals) -> Discrepancy:
    observed = (residuals.observed**2).mean(axis=1)
    model = (residuals.replicated**2).mean(axis=1)
    return Discrepancy(
        check="overdispersion",
        observed=observed,
        replicated=model,
        parts=0,
        effect=_ratio(observed, model),
        scale="ratio",
        where=f"mean squared standardised residual {np.median(observed):.3g},"
        f" replicated {np.median(model):.3g}",
    )


def _autocorrelation(
    data: Replication, residuals: _Residuals, lag: int, check: str, thresholds: Thresholds
) -> Discrepancy | Unavailable:
    if check == "autocorrelation_year" and lag == 1:
        return Unavailable(check, "a yearly panel has its one-year lag in autocorrelation_1")
    earlier, later = lagged_pairs(data, lag)
    if len(earlier) < thresholds.cells_min:
        return Unavailable(check, f"only {len(earlier)} pairs of cells are {lag} periods apart")

    def correlation(z: np.ndarray) -> np.ndarray:
        return np.asarray((z[:, earlier] * z[:, later]).mean(axis=1) / (z**2).mean(axis=1))

    observed, model = correlation(residuals.observed), correlation(residuals.replicated)
    typical, usual = float(np.median(observed)), float(np.median(model))
    return Discrepancy(
        check=check,
        observed=observed,
        replicated=model,
        parts=0,
        effect=abs(typical - usual),
        scale="autocorrelation",
        where=f"residuals {lag} periods apart correlate {typical:.3f}, replicated {usual:.3f}",
    )


def _largest_change(data: Replication, thresholds: Thresholds) -> Discrepancy | Unavailable:
    earlier, later = lagged_pairs(data, 1)
    if len(earlier) < thresholds.cells_min:
        return Unavailable("max_change", f"only {len(earlier)} pairs of neighbouring cells")

    def changes(y: np.ndarray) -> np.ndarray:
        rate = y / data.exposure
        return np.abs(rate[..., later] - rate[..., earlier])

    each = changes(data.y)
    i = int(each.argmax())
    model = changes(data.replicated).max(axis=1)
    return Discrepancy(
        check="max_change",
        # A maximum is skewed; distances from its mean in sds mean more on the log scale. Twice the
        # smallest positive number stands in for the log of no change at all.
        observed=np.log(np.maximum(each[i], _TINY)),
        replicated=np.log(np.maximum(model, _TINY)),
        parts=0,
        effect=_ratio(each[i], model),
        scale="ratio",
        where=f"largest change of a rate from one period to the next {each[i]:.3g} at site"
        f" {data.sites[data.site[earlier[i]]]}, replicated {np.median(model):.3g}",
    )


def _window_rate(
    data: Replication, thresholds: Thresholds, *, before: bool
) -> Discrepancy | Unavailable:
    check = "rate_before" if before else "rate_after"
    side = "before" if before else "after"
    cells = cells_near_go_live(data, thresholds.before_after_months, before=before)
    if len(cells) < thresholds.cells_min:
        return Unavailable(check, f"only {len(cells)} cells lie just {side} go-live")
    exposure = data.exposure[cells].sum()
    observed = data.y[cells].sum() / exposure
    model = data.replicated[:, cells].sum(axis=1) / exposure
    predicted = model.mean()
    return Discrepancy(
        check=check,
        observed=observed,
        replicated=model,
        parts=0,
        effect=float(np.abs(_relative(observed, predicted))),
        scale="rate",
        where=f"rate just {side} go-live, {len(np.unique(data.site[cells]))} sites:"
        f" observed {observed:.4g}, predicted {predicted:.4g}",
    )


def _variance_ratio(
    data: Replication, residuals: _Residuals, thresholds: Thresholds
) -> Discrepancy | Unavailable:
    after = data.event >= 0
    fewest = int(min(after.sum(), (~after).sum()))
    if fewest < thresholds.cells_min:
        return Unavailable("variance_ratio", f"only {fewest} cells on one side of go-live")

    def ratio(z: np.ndarray) -> np.ndarray:
        squares = z**2
        return np.asarray(squares[:, after].mean(axis=1) / squares[:, ~after].mean(axis=1))

    observed, model = ratio(residuals.observed), ratio(residuals.replicated)
    return Discrepancy(
        check="variance_ratio",
        # A ratio is skewed; distances from its mean in sds mean something on the log scale only.
        observed=np.log(observed),
        replicated=np.log(model),
        parts=0,
        effect=_ratio(observed, model),
        scale="ratio",
        where=f"residual variance after over before go-live {np.median(observed):.3g},"
        f" replicated {np.median(model):.3g}",
    )


def _event_curve(data: Replication, thresholds: Thresholds) -> Discrepancy | Unavailable:
    first, last = thresholds.event_first, thresholds.event_last
    cells = np.flatnonzero((data.event >= first) & (data.event <= last))
    if len(cells) < thresholds.cells_min:
        return Unavailable("event_curve", f"only {len(cells)} cells in event months {first}-{last}")
    inside = dataclasses.replace(
        data,
        y=data.y[cells],
        replicated=data.replicated[:, cells],
        exposure=data.exposure[cells],
    )
    return _worst_rate(inside, data.event[cells].astype(int), "event_curve", "event_month", None)
