"""Evidence about the untreated surfaces of the outcomes beside custody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lndbayes.synthetic.counts import dispersion
from lndbayes.synthetic.evidence import (
    followed_persons,
    history_rows,
    national_rows,
    quarterly_rates,
)
from lndbayes.synthetic.families import natural
from lndbayes.synthetic.surface import expit, logit

if TYPE_CHECKING:
    from lndbayes.synthetic.layout import Layout
    from lndbayes.synthetic.others import OutcomeDraw
    from lndbayes.synthetic.world import World

__all__ = ["outcome_history", "outcome_national"]


def outcome_national(
    world: World, layout: Layout, drawn: OutcomeDraw, rng: np.random.Generator
) -> pd.DataFrame:
    """Draw the national quarterly series of one outcome.

    Parameters
    ----------
    world, layout : World, Layout
        Noise; populations, the weights of the series.
    drawn : OutcomeDraw
        The outcome.
    rng : numpy.random.Generator
        Its own stream.

    Returns
    -------
    pandas.DataFrame
        Quarters from the first of the source to the last wholly before the first go-live; without
        rows where the outcome has no series. ``se`` is on the scale of the rate.
    """
    outcome, family = drawn.outcome, drawn.outcome.family
    first, last = -(-drawn.first // 3), int(layout.go_live.min()) // 3
    if outcome.national_offset is None or first >= last:
        return pd.DataFrame()
    quarters = range(first, last)
    true = quarterly_rates(layout, natural(family, drawn.cells.eta0[:, 3 * first : 3 * last]))
    shift = outcome.national_offset + world.national_noise * rng.normal(size=len(quarters))
    if family == "beta_binomial":
        rate = expit(logit(true) + shift)
        slope = rate * (1 - rate)
    else:
        rate = true * np.exp(shift)
        slope = rate
    source = f"simulated national statistics ({outcome.source})"
    return national_rows(drawn.name, layout, quarters, rate, world.national_noise * slope, source)


def outcome_history(
    world: World, layout: Layout, drawn: OutcomeDraw, rng: np.random.Generator
) -> pd.DataFrame:
    """Draw the earlier records of persons who were later referred, for one outcome.

    Parameters
    ----------
    world, layout : World, Layout
        Persons in a window and the month of their referral; sizes and go-lives.
    drawn : OutcomeDraw
        The outcome.
    rng : numpy.random.Generator
        Its own stream.

    Returns
    -------
    pandas.DataFrame
        Only windows wholly before the site's go-live; without rows where there are no histories.
        Counts are binomial, or negative binomial of the outcome's own dispersion.
    """
    outcome = drawn.outcome
    if not outcome.crisis:
        return pd.DataFrame()
    peak, recovery, selection = outcome.crisis
    before, month, persons = followed_persons(world, layout, rng)
    crisis = peak * np.exp(-(before - 1) / recovery)
    rate = natural(outcome.family, drawn.cells.eta0[:, month] + crisis + selection)
    if outcome.family == "beta_binomial":
        count = rng.binomial(persons, rate)
    else:
        size = dispersion(persons, outcome.unit_dispersion, outcome.concentration)
        count = rng.poisson(rng.gamma(size) * persons * rate / size)
    return history_rows(drawn.name, world, layout, persons, count)
