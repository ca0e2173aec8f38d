"""One call from a seed to a synthetic evaluation with its truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lndbayes.base.errors import Problem, SpecError
from lndbayes.synthetic import evidence
from lndbayes.synthetic.bands import draw_bands
from lndbayes.synthetic.effect import draw_effect, draw_mix, draw_new_site
from lndbayes.synthetic.exposures import outcome_streams
from lndbayes.synthetic.layout import draw_layout, streams
from lndbayes.synthetic.other_evidence import outcome_history, outcome_national
from lndbayes.synthetic.others import draw_others, outcome_rows
from lndbayes.synthetic.outcome import beta_binomial_quantile
from lndbayes.synthetic.outcomes import CUSTODY, NAMES
from lndbayes.synthetic.rows import cell_rows
from lndbayes.synthetic.surface import draw_surface, expit
from lndbayes.synthetic.truth import Parts, describe_truth
from lndbayes.synthetic.world import WORLDS, World

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lndbayes.synthetic.layout import Layout

__all__ = ["SimulatedEvaluation", "simulate"]

MAX_SITES: Final = 300


@dataclass(frozen=True, slots=True)
class SimulatedEvaluation:
    """A synthetic evaluation in memory.

    Attributes
    ----------
    frames : dict of str to pandas.DataFrame
        Tables keyed by file name relative to the evaluation directory.
    evaluation : dict of str to Any
        Content of ``evaluation.toml``.
    truth : dict of str to Any
        Content of ``truth.json``, at full precision.
    """

    frames: dict[str, pd.DataFrame]
    evaluation: dict[str, Any]
    truth: dict[str, Any]


def simulate(
    seed: int,
    world: str | World = "effect",
    sites: int = 27,
    *,
    outcomes: Sequence[str] | None = None,
) -> SimulatedEvaluation:
    """Simulate the outcomes of a rollout whose truth is known.

    Parameters
    ----------
    seed : int
        Zero or positive. The same seed, world and number of sites give the same evaluation.
    world : str or World
        A name in :data:`lndbayes.synthetic.WORLDS`, or the parameters themselves.
    sites : int
        Number of sites, 2 to 300.
    outcomes : sequence of str, optional
        Names in :data:`lndbayes.synthetic.NAMES`; all of them unless given. The numbers of one
        outcome do not depend on which others are asked for.

    Returns
    -------
    SimulatedEvaluation
        Tables, settings and truth.

    Raises
    ------
    SpecError
        If the seed, the world, the number of sites or an outcome is not usable.

    Notes
    -----
    Exposures and gaps come first, then the mix and its counts, then the effects (which are centred
    at the observed mix), then outcomes: the joint law is the fitted model's, in that order. Each
    component has its own random stream, so worlds that differ in the effect alone share everything
    else.
    """
    name, parameters = _resolve(seed, world, sites)
    asked = _asked(outcomes)
    rngs = streams(seed)
    layout = draw_layout(parameters, sites, rngs)
    mix = draw_mix(parameters, layout, rngs)
    effect = draw_effect(parameters, layout, mix, rngs)
    surface = draw_surface(parameters, layout, rngs)
    uniform = rngs["outcome"].random(layout.exposure.shape)
    count, untreated = (
        beta_binomial_quantile(uniform, layout.exposure, expit(eta), parameters.concentration)
        for eta in (surface.eta0 + effect.contrast + effect.recording, surface.eta0)
    )
    records, bias = evidence.retrospective(parameters, layout, surface.eta0, rngs)
    totals = (count, untreated)
    parts = Parts(
        world=parameters,
        layout=layout,
        mix=mix,
        effect=effect,
        surface=surface,
        new_site=draw_new_site(parameters, mix, effect.mix_effect, rngs["new_site"]),
        count=count,
        count_untreated=untreated,
        bands=draw_bands(parameters, layout, surface, effect, totals, rngs),
        retrospective_bias=bias,
        others=draw_others(seed, asked, parameters, layout, mix),
    )
    frames = {
        "sites.csv": _sites(layout),
        "outcomes.csv": _outcomes(parts, asked),
        "mix.csv": mix.table,
        "referrals.csv": _referrals(parameters, layout, rngs["referrals"]),
    } | _evidence(parts, records, rngs, seed, asked)
    return SimulatedEvaluation(
        frames, _evaluation(layout, name, seed), describe_truth(parts, name, seed)
    )


def _asked(outcomes: Sequence[str] | None) -> tuple[str, ...]:
    """Put the names of outcomes in the order of the data."""
    if outcomes is None:
        return NAMES
    rule = f"must be one or more of {', '.join(NAMES)}"
    wrong = [name for name in outcomes if name not in NAMES]
    if wrong or not outcomes or isinstance(outcomes, str):
        told = [str(outcomes)] if isinstance(outcomes, str) else wrong or [""]
        raise SpecError([Problem("simulation", rule, column="outcomes", value=v) for v in told])
    return tuple(name for name in NAMES if name in outcomes)


def _evidence(
    parts: Parts,
    records: pd.DataFrame,
    rngs: Mapping[str, np.random.Generator],
    seed: int,
    asked: tuple[str, ...],
) -> dict[str, pd.DataFrame]:
    """Draw all tables of evidence, those on custody first."""
    world, layout, eta0 = parts.world, parts.layout, parts.surface.eta0
    found = {
        "retrospective": [records],
        "national": [evidence.national(world, layout, eta0, rngs["national"])],
        "history": [evidence.history(world, layout, eta0, rngs["history"])],
        "elicited": [evidence.elicited(world, layout, eta0, rngs["elicited"])],
    }
    if CUSTODY not in asked:
        found = {name: [table.iloc[:0] for table in tables] for name, tables in found.items()}
    for name, drawn in parts.others.items():
        own = outcome_streams(seed, name)
        found["national"].append(outcome_national(world, layout, drawn, own["national"]))
        found["history"].append(outcome_history(world, layout, drawn, own["history"]))
    return {f"evidence/{name}.csv": _stacked(tables) for name, tables in found.items()}


def _stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]


def _resolve(seed: int, world: str | World, sites: int) -> tuple[str, World]:
    problems = []
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        rule = "must be a whole number, zero or positive"
        problems.append(Problem("simulation", rule, column="seed", value=str(seed)))
    if not 2 <= sites <= MAX_SITES:
        rule = f"must be between 2 and {MAX_SITES}"
        problems.append(Problem("simulation", rule, column="sites", value=str(sites)))
    if isinstance(world, str) and world not in WORLDS:
        rule = f"must be one of {', '.join(WORLDS)}"
        problems.append(Problem("simulation", rule, column="world", value=world))
    if problems:
        raise SpecError(problems)
    if isinstance(world, str):
        return world, WORLDS[world]
    return next((name for name, known in WORLDS.items() if known == world), "custom"), world


def _evaluation(layout: Layout, name: str, seed: int) -> dict[str, Any]:
    return {
        "name": f"Synthetic rollout at {len(layout.site)} fictional sites",
        "period": "month",
        "first_month": layout.month[0],
        "last_month": layout.month[-1],
        "synthetic": True,
        "disclosure": "none",
        "notes": f"Simulated (world {name}, seed {seed}). Sites, places and numbers are fictional.",
    }


def _sites(layout: Layout) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "site": layout.site,
            "label": layout.label,
            "region": layout.region,
            "wave": layout.wave,
            "go_live": [layout.month[g] for g in layout.go_live],
            "population": layout.population,
            "predecessor": layout.predecessor,
        }
    )


def _outcomes(parts: Parts, asked: tuple[str, ...]) -> pd.DataFrame:
    layout = parts.layout
    tables = [outcome_rows(drawn, layout) for drawn in parts.others.values()]
    if CUSTODY in asked:
        custody = cell_rows(
            layout,
            layout.published,
            layout.exposure,
            parts.bands.count,
            outcome=CUSTODY,
            source="pnc",
            categories=parts.world.bands,
        )
        tables = [custody, *tables]
    return pd.concat(tables, ignore_index=True)


def _referrals(world: World, layout: Layout, rng: np.random.Generator) -> pd.DataFrame:
    # Drawn over the whole grid, so that a moved go-live leaves the other months as they were.
    expected = (layout.size * world.referrals_per_size)[:, None]
    drawn = rng.poisson(expected, layout.exposure.shape)
    s, t = np.nonzero(layout.event_time >= 0)
    return pd.DataFrame(
        {
            "site": np.array(layout.site, dtype=object)[s],
            "month": np.array(layout.month, dtype=object)[t],
            "referrals": drawn[s, t],
        }
    )
