"""What the prior says about the outcome, and how much of the answer is the prior's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.choices import one_of
from lndbayes.base.names import MONTH, SAMPLE_DIMS, SITE
from lndbayes.checks.structure import likelihood_cells
from lndbayes.spec.families import LOG_RATIO, inverse

__all__ = ["pooled_rates", "prior_changes", "rate_ratios", "sd_ratios"]

# Sampling noise of a total of this many events is at most 10%; smaller totals move by more than
# any plausible trend for no reason.
_FEWEST_EVENTS = 100


def pooled_rates(fit: xr.DataTree) -> np.ndarray:
    """Rate over all cells of the likelihood in each prior predictive panel.

    Parameters
    ----------
    fit : xr.DataTree

    Returns
    -------
    np.ndarray, shape (R,)
        Events per unit of exposure.
    """
    events, exposure = _by_month(fit)
    return np.asarray(events.sum(axis=1) / exposure.sum())


def prior_changes(fit: xr.DataTree) -> np.ndarray:
    """Relative changes of the pooled rate from one period to the next, prior predictive.

    Parameters
    ----------
    fit : xr.DataTree

    Returns
    -------
    np.ndarray, shape (n,)
        Over all panels and neighbouring periods with at least 100 events in each, so that sampling
        noise is not taken for a trend. May be empty.
    """
    events, exposure = _by_month(fit)
    # A period without exposure has no events either and drops out with those that have too few.
    rate = events / np.where(exposure > 0, exposure, 1.0)
    enough = (events[:, 1:] >= _FEWEST_EVENTS) & (events[:, :-1] >= _FEWEST_EVENTS)
    return np.asarray(rate[:, 1:][enough] / rate[:, :-1][enough] - 1)


def _by_month(fit: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    """Prior predictive events (R, month) and exposure (month,) over all sites."""
    cells = likelihood_cells(fit)
    y = fit["prior_predictive"].to_dataset()["y"].transpose(*SAMPLE_DIMS, SITE, MONTH)
    events = np.where(cells, y.values, 0.0).reshape(-1, *cells.shape).sum(axis=1)
    exposure = fit["constant_data"].to_dataset()["exposure"].transpose(SITE, MONTH).values
    return events, exposure.sum(axis=0)


def rate_ratios(prior: xr.Dataset, link: str) -> np.ndarray:
    """Rate ratio with the service against without, at the mean site, of each prior draw.

    Parameters
    ----------
    prior : xr.Dataset
        With scalars ``effect_mean`` and ``baseline_level``, both on the link scale.
    link : str
        ``logit``, ``log`` or ``cloglog``.

    Returns
    -------
    np.ndarray, shape (R,)

    Raises
    ------
    ValueError
        If there is no such link.
    """
    one_of("link", link, LOG_RATIO)
    effect = np.asarray(prior["effect_mean"].transpose(*SAMPLE_DIMS).values, dtype=float).ravel()
    if link == "log":
        return np.exp(effect)
    level = np.asarray(prior["baseline_level"].transpose(*SAMPLE_DIMS).values, dtype=float).ravel()
    if link == "cloglog":
        return np.asarray(inverse(link, level + effect) / inverse(link, level))
    # expit(level + effect) / expit(level), written without overflow.
    return np.exp(np.logaddexp(0, -level) - np.logaddexp(0, -(level + effect)))


def sd_ratios(fit: xr.DataTree) -> pd.DataFrame:
    """Posterior over prior sd of every scalar that has both.

    Parameters
    ----------
    fit : xr.DataTree

    Returns
    -------
    pd.DataFrame
        ``variable``, ``prior_sd``, ``posterior_sd``, ``ratio`` (NaN for a prior without spread),
        ordered by falling ratio: those the data say least about come first.
    """
    prior, posterior = fit["prior"].to_dataset(), fit["posterior"].to_dataset()
    rows = []
    for name, array in prior.data_vars.items():
        if set(array.dims) == set(SAMPLE_DIMS) and name in posterior:
            sd = float(array.std(ddof=1, skipna=False))
            learned = float(posterior[name].std(ddof=1, skipna=False))
            rows.append((name, sd, learned, learned / sd if sd > 0 else np.nan))
    table = pd.DataFrame(rows, columns=["variable", "prior_sd", "posterior_sd", "ratio"])
    return table.sort_values("ratio", ascending=False, ignore_index=True)
