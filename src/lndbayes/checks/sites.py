"""Sites against each other: copied, exchanged and mismeasured records show between sites.

A model with a free level for each site fits a wrong exposure or a foreign series as well as the
right one, so predictions of the fitted cells cannot find them. These numbers compare what no
parameter is free to match: residuals of two sites, a year of one site with its smooth curve, the
exposure of a site with its referrals, the level of a site with that of the others.

References
----------
Iglewicz, Hoaglin (1993). How to detect and handle outliers. ASQC Quality Press: the modified
z-score, here with a null distribution by simulation instead of a rule of thumb.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import MONTH, SITE
from lndbayes.checks.predictive import Discrepancy, Unavailable
from lndbayes.checks.replication import Replication, contradicted, standardised_residuals
from lndbayes.checks.thresholds import Thresholds

__all__ = [
    "Outliers",
    "exposure_breaks",
    "exposure_ratios",
    "modified_z",
    "site_discrepancies",
    "site_levels",
]

#: Fewest sites, or parts of sites, among which an outlier can be told from the spread.
_FEWEST = 5
_SIMULATIONS = 4000
#: Sites with fewer months in common say little of each other.
_COMMON = 12
#: Periods whose referrals and exposure are added up before their ratio is taken.
_BLOCK = 6


@dataclass(frozen=True, slots=True)
class Outliers:
    """Values of which one may not belong to the others.

    Attributes
    ----------
    table : pd.DataFrame
        One row a value: its labels, ``value`` (log scale), ``difference`` (from the median),
        ``z`` (modified z-score).
    p : float
        Probability that the largest absolute z of as many normal values is at least the one found.
    """

    table: pd.DataFrame
    p: float

    @property
    def worst(self) -> dict[str, Any]:
        """Row of the largest absolute z."""
        at = int(self.table["z"].abs().to_numpy().argmax())
        return {str(k): v for k, v in self.table.iloc[at].to_dict().items()}


def modified_z(values: np.ndarray, noise: np.ndarray | float = 0.0) -> tuple[np.ndarray, float]:
    """Distance of each value from the median, in robust sds, and how unusual the largest is.

    Parameters
    ----------
    values : np.ndarray, shape (n,)
        Values that would be alike up to normal noise.
    noise : np.ndarray, shape (n,), or float
        Known sd of each value's own noise: the least its sd can be.

    Returns
    -------
    z : np.ndarray, shape (n,)
        Modified z-scores; zero where neither the values nor their noise vary.
    p : float
        Share of simulated normal samples of this size, treated alike, whose largest |z| is at least
        as large. The medians of few values are noisy: that of 12 exceeds 6.3 in 1% of samples.
    """
    z = _z(values[None, :], noise)[0]
    rng = np.random.default_rng(len(values))
    null = np.abs(_z(rng.normal(size=(_SIMULATIONS, len(values))), 0.0)).max(axis=1)
    worst = np.abs(z).max()
    return z, float((1 + (null >= worst).sum()) / (1 + _SIMULATIONS))


def _z(values: np.ndarray, noise: np.ndarray | float) -> np.ndarray:
    away = values - np.median(values, axis=1, keepdims=True)
    spread = 1.4826 * np.median(np.abs(away), axis=1, keepdims=True)
    scale = np.maximum(spread, noise)
    return np.divide(away, scale, out=np.zeros_like(away), where=scale > 0)


def site_levels(fit: xr.DataTree) -> Outliers | str:
    """Posterior mean of each site's untreated level against those of the others.

    Parameters
    ----------
    fit : xr.DataTree
        With a usable group ``posterior``.

    Returns
    -------
    Outliers or str
        On the link scale; the reason where it cannot be computed.
    """
    posterior = fit["posterior"].to_dataset()
    if "site_level" not in posterior:
        return "the fit has no site_level"
    level = posterior["site_level"].mean(("chain", "draw"))
    if level.size < _FEWEST:
        return f"only {level.size} sites"
    z, p = modified_z(level.values)
    away = level.values - np.median(level.values)
    table = pd.DataFrame(
        {"site": level[SITE].values, "value": level.values, "difference": away, "z": z}
    )
    return Outliers(table, p)


def exposure_ratios(fit: xr.DataTree) -> Outliers | str:
    """Log of exposure over referrals of each site, in the months that have both.

    Exposure and referrals are counted by different people: records of one site under the name of
    another, or an exposure in another unit, leave the pair apart.

    Parameters
    ----------
    fit : xr.DataTree
        With a usable group ``constant_data``.

    Returns
    -------
    Outliers or str
        The reason where it cannot be computed.
    """
    found = _both(fit)
    if isinstance(found, str):
        return found
    sites, exposure, referrals = found
    total = np.column_stack([exposure.sum(axis=1), referrals.sum(axis=1)])
    used = np.flatnonzero((total > 0).all(axis=1))
    if len(used) < _FEWEST:
        return f"only {len(used)} sites have exposure and referrals in the same months"
    value = np.log(total[used, 0] / total[used, 1])
    z, p = modified_z(value, np.sqrt((1 / total[used]).sum(axis=1)))
    table = pd.DataFrame(
        {"site": sites[used], "value": value, "difference": value - np.median(value), "z": z}
    )
    return Outliers(table, p)


def exposure_breaks(fit: xr.DataTree) -> Outliers | str:
    """Log of exposure over referrals in each half-year of each site, from the site's median.

    Parameters
    ----------
    fit : xr.DataTree
        With a usable group ``constant_data``.

    Returns
    -------
    Outliers or str
        Blocks of six periods; the reason where it cannot be computed.
    """
    found = _both(fit)
    if isinstance(found, str):
        return found
    sites, exposure, referrals = found
    months = fit["constant_data"].to_dataset()[MONTH].values
    rows = []
    for start in range(0, exposure.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        e, r = exposure[:, block].sum(axis=1), referrals[:, block].sum(axis=1)
        rows += [
            (sites[s], str(months[start]), np.log(e[s] / r[s]), np.sqrt(1 / e[s] + 1 / r[s]))
            for s in np.flatnonzero((e > 0) & (r > 0))
        ]
    table = pd.DataFrame(rows, columns=["site", "from", "value", "noise"])
    table = table[table.groupby("site")["value"].transform("size") >= 3]
    if len(table) < _FEWEST:
        return "too few half-years have exposure and referrals"
    # sites have ratios of their own, and all of them may move together
    table["difference"] = table["value"] - table.groupby("site")["value"].transform("median")
    table["difference"] -= table.groupby("from")["difference"].transform("median")
    z, p = modified_z((table["difference"] / table["noise"]).to_numpy(), 1.0)
    return Outliers(table.assign(z=z).reset_index(drop=True), p)


def _both(fit: xr.DataTree) -> tuple[np.ndarray, np.ndarray, np.ndarray] | str:
    """Sites, exposure and referrals, zero in months without both."""
    constant = fit["constant_data"].to_dataset()
    if not {"referrals", "exposure_all"} <= set(constant.data_vars):
        return "the fit has no referrals or no exposure_all"
    exposure, referrals = (
        np.nan_to_num(constant[name].transpose(SITE, MONTH).values)
        for name in ("exposure_all", "referrals")
    )
    both = (exposure > 0) & (referrals > 0)
    return constant[SITE].values, np.where(both, exposure, 0.0), np.where(both, referrals, 0.0)


# --- residuals between sites and over years of a site


def site_discrepancies(
    data: Replication, thresholds: Thresholds
) -> list[Discrepancy | Unavailable]:
    """Largest correlation of two sites' residuals, worst year of a site, longest run of zeros.

    Parameters
    ----------
    data : Replication
    thresholds : Thresholds
        Only its least number of cells is used.

    Returns
    -------
    list of Discrepancy or Unavailable
        For ``site_correlation``, ``worst_site_year`` and ``zero_run``; residuals are taken from the
        expectation of each draw, as in `lndbayes.checks.predictive`.
    """
    checks = ("site_correlation", "worst_site_year", "zero_run")
    if data.expected is None:
        reason = "the fit has no mu (expectation of each draw) in posterior_predictive"
        return [Unavailable(check, reason) for check in checks]
    if contradicted(data.replicated - data.expected):
        reason = "the replicates do not have the expectation mu that is stored beside them"
        return [Unavailable(check, reason, fault=True) for check in checks]
    both = standardised_residuals(data.y, data.replicated, data.expected)
    observed, replicated = (_cube(data, z) for z in both)
    used = _cube(data, np.ones((1, len(data.y))))[0]
    return [
        _correlation(data, observed, replicated, used),
        _site_year(data, observed, replicated, used, thresholds),
        _zero_run(data, used),
    ]


def _cube(data: Replication, values: np.ndarray) -> np.ndarray:
    """Values of cells as (R, site, month), zero where there is no cell."""
    out = np.zeros((len(values), len(data.sites), int(data.month.max()) + 1))
    out[:, data.site, data.month] = values
    return out


def _correlation(
    data: Replication, observed: np.ndarray, replicated: np.ndarray, used: np.ndarray
) -> Discrepancy | Unavailable:
    i, j = np.triu_indices(len(data.sites), 1)
    common = (used @ used.T)[i, j]
    i, j, common = (x[common >= _COMMON] for x in (i, j, common))
    if len(i) == 0:
        return Unavailable("site_correlation", f"no two sites have {_COMMON} periods in common")

    def correlations(z: np.ndarray) -> np.ndarray:
        product = z @ z.transpose(0, 2, 1)
        square = (z**2) @ used.T
        return np.asarray(product[:, i, j] / np.sqrt(square[:, i, j] * square[:, j, i]))

    def fisher(r: np.ndarray) -> np.ndarray:
        # a sum of squares of zero gives no correlation; a copied series gives one
        inside = np.clip(np.nan_to_num(r), -1 + 1e-12, 1 - 1e-12)
        return np.asarray(np.arctanh(inside) * np.sqrt(common - 3))

    found, model = correlations(observed), correlations(replicated)
    z = fisher(found)
    pair = int(np.median(z, axis=0).argmax())
    largest = float(np.median(found[:, pair]))
    usual = float(np.median(model.max(axis=1)))
    names = np.array(data.sites)
    return Discrepancy(
        check="site_correlation",
        observed=z[:, pair],
        replicated=fisher(model).max(axis=1),
        parts=len(i),
        effect=abs(largest - usual),
        scale="autocorrelation",
        where=f"residuals of {names[i[pair]]} and {names[j[pair]]} correlate {largest:.3f},"
        f" the closest replicated pair {usual:.3f}",
        table=pd.DataFrame(
            {"site": names[i], "other": names[j], "correlation": np.median(found, axis=0)}
        ).sort_values("correlation", ascending=False, ignore_index=True),
    )


def _site_year(
    data: Replication,
    observed: np.ndarray,
    replicated: np.ndarray,
    used: np.ndarray,
    thresholds: Thresholds,
) -> Discrepancy | Unavailable:
    length = min(data.lag_year, used.shape[1])

    def windows(z: np.ndarray) -> np.ndarray:
        total = np.concatenate([np.zeros((*z.shape[:-1], 1)), np.cumsum(z, axis=-1)], axis=-1)
        return np.asarray(total[..., length:] - total[..., :-length])

    size = windows(used)
    enough = size >= max(length // 2, 1)
    if enough.sum() < thresholds.cells_min:
        return Unavailable("worst_site_year", f"only {int(enough.sum())} years of a site")
    scale = np.sqrt(size[enough])
    found = windows(observed)[:, enough] / scale
    model = windows(replicated)[:, enough] / scale
    worst = int(np.abs(np.median(found, axis=0)).argmax())
    s, t = (index[enough][worst] for index in np.indices(size.shape))
    year = (data.site == s) & (data.month >= t) & (data.month < t + length)
    assert data.expected is not None
    rate = data.y[year].sum() / data.exposure[year].sum()
    told = data.expected[:, year].sum(axis=1).mean() / data.exposure[year].sum()
    return Discrepancy(
        check="worst_site_year",
        observed=np.abs(found[:, worst]),
        replicated=np.abs(model).max(axis=1),
        parts=int(enough.sum()),
        effect=abs(rate / told - 1) if told > 0 else float("inf"),
        scale="rate",
        where=f"worst year of a site: {data.sites[s]} from period {t + 1}, observed rate"
        f" {rate:.4g}, predicted {told:.4g}",
    )


def _zero_run(data: Replication, used: np.ndarray) -> Discrepancy:
    """Events expected in a run of periods without any, at the site where that is most."""
    assert data.expected is not None
    expected = _cube(data, data.expected)

    def runs(y: np.ndarray) -> np.ndarray:
        """Largest total of each site, shape (R, site); a period that is no cell is stepped over."""
        total = np.zeros(expected.shape[:2])
        most = np.zeros_like(total)
        for t in range(expected.shape[2]):
            total = np.where((y[:, :, t] == 0) | (used[:, t] == 0), total + expected[:, :, t], 0.0)
            most = np.maximum(most, total)
        return most

    found = runs(_cube(data, data.y[None, :]))
    model = runs(_cube(data, data.replicated)).max(axis=1)
    site = int(np.median(found, axis=0).argmax())
    typical, usual = float(np.median(found[:, site])), float(np.median(model))
    return Discrepancy(
        check="zero_run",
        # a maximum is skewed, and zero where no period is without events
        observed=np.log1p(found[:, site]),
        replicated=np.log1p(model),
        parts=0,
        effect=(1 + typical) / (1 + usual),
        scale="ratio",
        where=f"most events expected in a run of periods without any: {typical:.3g} at site"
        f" {data.sites[site]}, replicated {usual:.3g}",
    )
