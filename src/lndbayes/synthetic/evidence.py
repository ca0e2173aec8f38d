"""Evidence about the untreated surface from outside the outcome panel, each channel with its bias.

Every channel sees the untreated surface only: none has a row from after a site's go-live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from lndbayes.synthetic.outcomes import CUSTODY
from lndbayes.synthetic.surface import expit, logit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lndbayes.synthetic.layout import Layout
    from lndbayes.synthetic.world import World

__all__ = ["elicited", "history", "national", "retrospective"]

#: Standard normal quantile at .95.
_Z95: Final = 1.6448536269514722

#: Half-year windows of a person's own record, months before referral.
WINDOWS: Final = (6, 12, 18, 24, 30, 36)
#: Months either side of a window's middle that must lie inside the grid and before go-live.
HALF_WINDOW: Final = 3


def retrospective(
    world: World,
    layout: Layout,
    eta0: NDArray[np.float64],
    rngs: Mapping[str, np.random.Generator],
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Draw partial records of the twelve months before the panel.

    Parameters
    ----------
    world : World
        Parameters.
    layout : Layout
        Sites, exposures and which sites kept records.
    eta0 : ndarray of float
        Dims (site, month). Untreated surface, logits.
    rngs : mapping of str to numpy.random.Generator
        From :func:`lndbayes.synthetic.layout.streams`.

    Returns
    -------
    table : pandas.DataFrame
        Rows of ``evidence/retrospective.csv``.
    bias : ndarray of float
        Dims (retrospective_site). Each site's own bias, logits.
    """
    a, b = world.coverage
    sites = layout.retrospective
    months = np.arange(world.panel_start - 12, world.panel_start)
    coverage = rngs["coverage"].beta(a, b, size=sites.size)
    bias = world.retrospective_bias + world.retrospective_bias_sd * rngs[
        "retrospective_bias"
    ].normal(size=sites.size)
    cells = np.ix_(sites, months)
    seen = rngs["retrospective"].binomial(layout.exposure[cells], coverage[:, None])
    rate = expit(eta0[cells] + bias[:, None] + world.shared_bias)
    count = rngs["retrospective"].binomial(seen, rate)
    mean, sd = a / (a + b), float(np.sqrt(a * b / (a + b + 1)) / (a + b))
    rows = [
        (CUSTODY, layout.site[s], layout.month[t], int(seen[i, j]), int(count[i, j]), mean, sd)
        for i, s in enumerate(sites)
        for j, t in enumerate(months)
        if seen[i, j] > 0  # a month in which no record survived has no row
    ]
    columns = ["outcome", "site", "month", "exposure", "count", "coverage_mean", "coverage_sd"]
    return pd.DataFrame(rows, columns=columns), bias


def national(
    world: World, layout: Layout, eta0: NDArray[np.float64], rng: np.random.Generator
) -> pd.DataFrame:
    """Draw the national quarterly series, for quarters wholly before the first go-live.

    Parameters
    ----------
    world : World
        Parameters.
    layout : Layout
        Sites and populations, the weights of the series.
    eta0 : ndarray of float
        Dims (site, month). Untreated surface, logits.
    rng : numpy.random.Generator
        Its own stream.

    Returns
    -------
    pandas.DataFrame
        Rows of ``evidence/national.csv``; ``se`` is on the scale of the rate.
    """
    quarters = range(int(layout.go_live.min()) // 3)
    true = quarterly_rates(layout, expit(eta0[:, : 3 * len(quarters)]))
    noise = world.national_noise * rng.normal(size=len(quarters))
    rate = expit(logit(true) + world.national_offset + world.shared_bias + noise)
    se = world.national_noise * rate * (1 - rate)
    return national_rows(CUSTODY, layout, quarters, rate, se, "simulated national court statistics")


def quarterly_rates(layout: Layout, monthly: NDArray[np.float64]) -> NDArray[np.float64]:
    """National rate of each quarter: sites weighted by population; `monthly` has (site, month)."""
    weight = layout.population / layout.population.sum()
    return np.asarray(weight @ monthly.reshape(len(layout.site), -1, 3).mean(axis=2))


def national_rows(
    outcome: str,
    layout: Layout,
    quarters: range,
    rate: NDArray[np.float64],
    se: NDArray[np.float64],
    source: str,
) -> pd.DataFrame:
    """Rows of ``evidence/national.csv`` of one outcome; ``se`` is on the scale of the rate."""
    return pd.DataFrame(
        {
            "outcome": outcome,
            "month": [layout.month[3 * q] for q in quarters],
            "months": 3,
            "rate": rate,
            "se": se,
            "source": source,
        }
    )


def history(
    world: World, layout: Layout, eta0: NDArray[np.float64], rng: np.random.Generator
) -> pd.DataFrame:
    """Draw the earlier records of persons who were later referred, crisis included.

    Parameters
    ----------
    world : World
        Parameters.
    layout : Layout
        Sites, sizes and go-lives.
    eta0 : ndarray of float
        Dims (site, month). Untreated surface, logits.
    rng : numpy.random.Generator
        Its own stream.

    Returns
    -------
    pandas.DataFrame
        Rows of ``evidence/history.csv``: only windows wholly before the site's go-live.
    """
    before, month, persons = followed_persons(world, layout, rng)
    crisis = world.crisis_dip * np.exp(-(before - 1) / world.crisis_recovery_months)
    bias = crisis + world.history_selection + world.shared_bias
    count = rng.binomial(persons, expit(eta0[:, month] + bias))
    return history_rows(CUSTODY, world, layout, persons, count)


def followed_persons(
    world: World, layout: Layout, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Months before referral and calendar months of the windows; persons, (site, window)."""
    before, month = _windows(world)
    expected = world.history_persons * layout.size / world.size_median
    return before, month, rng.poisson(expected[:, None], (len(layout.site), before.size))


def _windows(world: World) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    before = np.array(WINDOWS)
    return before, world.history_referral_month - before


def history_rows(
    outcome: str,
    world: World,
    layout: Layout,
    persons: NDArray[np.int64],
    count: NDArray[np.int64],
) -> pd.DataFrame:
    """Rows of ``evidence/history.csv`` of one outcome: windows wholly before the site's go-live."""
    rows = [
        (outcome, layout.site[s], -int(j), layout.month[m], int(persons[s, k]), int(count[s, k]))
        for s in range(len(layout.site))
        for k, (j, m) in enumerate(zip(*_windows(world), strict=True))
        if m + HALF_WINDOW < layout.go_live[s] and m >= HALF_WINDOW and persons[s, k] > 0
    ]
    columns = ["outcome", "site", "months_from_referral", "calendar_month", "persons", "count"]
    return pd.DataFrame(rows, columns=columns)


def elicited(
    world: World, layout: Layout, eta0: NDArray[np.float64], rng: np.random.Generator
) -> pd.DataFrame:
    """Draw what practitioners remember of the year before the first go-live, first-wave sites.

    Parameters
    ----------
    world : World
        Parameters.
    layout : Layout
        Sites and waves.
    eta0 : ndarray of float
        Dims (site, month). Untreated surface, logits.
    rng : numpy.random.Generator
        Its own stream.

    Returns
    -------
    pandas.DataFrame
        Rows of ``evidence/elicited.csv``; quantiles are rates.
    """
    first = int(layout.go_live.min())
    sites = np.flatnonzero(layout.wave == 1)
    error = world.elicited_error * rng.normal(size=sites.size)
    year = eta0[sites, first - 12 : first].mean(axis=1)
    value = year + world.elicited_bias + world.shared_bias + error
    spread = _Z95 * world.elicited_stated_sd
    return pd.DataFrame(
        {
            "outcome": CUSTODY,
            "site": [layout.site[s] for s in sites],
            "quantity": "pre_go_live_rate",
            "q05": expit(value - spread),
            "q50": expit(value),
            "q95": expit(value + spread),
            "who": "panel of practitioners",
        }
    )
