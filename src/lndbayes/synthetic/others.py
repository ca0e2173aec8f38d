"""The outcomes beside custody: drawn, and written as rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lndbayes.synthetic.exposures import (
    draw_exposures,
    latest_coverage,
    outcome_streams,
    shared_streams,
)
from lndbayes.synthetic.families import Cells, draw_counts
from lndbayes.synthetic.layout import draw_gaps
from lndbayes.synthetic.outcome_effect import draw_outcome_effect
from lndbayes.synthetic.outcomes import OTHERS
from lndbayes.synthetic.rows import cell_rows
from lndbayes.synthetic.surface import draw_surface

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from lndbayes.synthetic.effect import Mix
    from lndbayes.synthetic.families import Counts
    from lndbayes.synthetic.layout import Layout
    from lndbayes.synthetic.outcome_effect import OutcomeEffect
    from lndbayes.synthetic.outcomes import OutcomeWorld
    from lndbayes.synthetic.surface import Surface
    from lndbayes.synthetic.world import World

__all__ = ["OutcomeDraw", "draw_others", "outcome_rows", "seam_steps"]


@dataclass(frozen=True, slots=True)
class OutcomeDraw:
    """Everything drawn for one outcome beside custody.

    Attributes
    ----------
    name : str
        Name of the outcome.
    outcome : OutcomeWorld
        Its parameters.
    first : int
        Month index of the first rows.
    surface, effect, cells, counts
        See their own modules; ``surface.eta0`` is without the seams, ``cells.eta0`` with them.
    published : ndarray of bool
        Dims (site, month). Whether the cell has rows.
    """

    name: str
    outcome: OutcomeWorld
    first: int
    surface: Surface
    effect: OutcomeEffect
    cells: Cells
    counts: Counts
    published: NDArray[np.bool_]


def seam_steps(outcome: OutcomeWorld, layout: Layout) -> NDArray[np.float64]:
    """Steps of the untreated surface where a collection changed, added up, dims (month).

    Parameters
    ----------
    outcome : OutcomeWorld
        Gives the months and the steps.
    layout : Layout
        The grid.

    Returns
    -------
    ndarray of float
        Link scale; zero before the first seam.
    """
    # YYYY-MM texts sort as the months do.
    month = np.array(layout.month)
    steps = np.zeros(month.size)
    for seam, step in outcome.seams:
        steps = steps + step * (month >= seam)
    return steps


def draw_others(
    seed: int, names: Sequence[str], world: World, layout: Layout, mix: Mix
) -> dict[str, OutcomeDraw]:
    """Draw the outcomes beside custody.

    Parameters
    ----------
    seed : int
        Zero or positive.
    names : sequence of str
        Outcomes asked for.
    world, layout, mix : World, Layout, Mix
        As for custody, which shares nothing else with these outcomes.

    Returns
    -------
    dict of str to OutcomeDraw
        In the order of :data:`lndbayes.synthetic.outcomes.OTHERS`. What one outcome's numbers are
        does not depend on which others are asked for.
    """
    rngs = shared_streams(seed)
    sites = len(layout.site)
    sources = {outcome.source for outcome in OTHERS.values()}
    shared = _Shared(
        world=world,
        layout=layout,
        mix=mix,
        exposures=draw_exposures(layout, rngs),
        factors={g: rngs[f"factor_{g}"].normal(size=sites) for g in ("health", "justice")},
        gaps={s: draw_gaps(world, 0, sites, rngs[f"missing_{s}"]) for s in sources},
    )
    needed = {*names, *(OTHERS[name].exposure_outcome for name in names if name in OTHERS)}
    drawn: dict[str, OutcomeDraw] = {}
    for name, outcome in OTHERS.items():
        if name in needed:
            partner = drawn[outcome.exposure_outcome].counts if outcome.exposure_outcome else None
            drawn[name] = _draw(name, outcome, shared, partner, outcome_streams(seed, name))
    return {name: one for name, one in drawn.items() if name in names}


@dataclass(frozen=True, slots=True)
class _Shared:
    """What several outcomes have in common."""

    world: World
    layout: Layout
    mix: Mix
    exposures: Mapping[str, NDArray[np.int64]]
    factors: Mapping[str, NDArray[np.float64]]
    gaps: Mapping[str, NDArray[np.bool_]]


def _draw(
    name: str,
    outcome: OutcomeWorld,
    shared: _Shared,
    partner: Counts | None,
    rngs: Mapping[str, np.random.Generator],
) -> OutcomeDraw:
    world, layout = shared.world, shared.layout
    surface = draw_surface(_surface_world(world, outcome), layout, rngs)
    factor = shared.factors[outcome.factor]
    effect = draw_outcome_effect(world, outcome, layout, shared.mix, factor, rngs)
    if partner is None:
        exposure = untreated = shared.exposures[outcome.exposure]
    else:
        exposure, untreated = partner.count[0], partner.untreated[0]
    share = outcome.selection.newcomers if outcome.selection else 0.0
    eta0 = surface.eta0 + seam_steps(outcome, layout)
    cells = Cells(
        exposure=exposure,
        exposure_untreated=untreated,
        eta0=eta0,
        eta1=eta0 + effect.contrast,
        coverage=latest_coverage(outcome, world.months),
        newcomers=world.other_effects * share * effect.ramp,
    )
    counts = draw_counts(outcome, cells, rngs)
    first = max(world.panel_start - outcome.lead, 0)
    started = np.arange(world.months) >= first
    published = shared.gaps[outcome.source] & started & (counts.exposure > 0)
    return OutcomeDraw(name, outcome, first, surface, effect, cells, counts, published)


def _surface_world(world: World, outcome: OutcomeWorld) -> World:
    """Give the surface's law the outcome's parameters; stress tests are of custody alone."""
    return replace(
        world,
        baseline_level=outcome.level,
        site_level_sd=outcome.site_level_sd,
        site_drift_sd=outcome.site_drift_sd,
        site_curve_sd=outcome.site_curve_sd,
        national_slope=outcome.national_slope,
        national_curve_sd=outcome.national_curve_sd,
        season=outcome.season,
        drift=0.0,
    )


def outcome_rows(drawn: OutcomeDraw, layout: Layout) -> pd.DataFrame:
    """Arrange the published cells of one outcome as rows of ``outcomes.csv``.

    Parameters
    ----------
    drawn : OutcomeDraw
        The outcome.
    layout : Layout
        Sites and months.

    Returns
    -------
    pandas.DataFrame
        One row per site, month and category.
    """
    return cell_rows(
        layout,
        drawn.published,
        drawn.counts.exposure,
        drawn.counts.count,
        outcome=drawn.name,
        source=drawn.outcome.source,
        categories=drawn.counts.categories,
        coverage=drawn.cells.coverage,
    )
