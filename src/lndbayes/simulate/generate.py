"""One call from a seed to a synthetic evaluation with its truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from lndbayes.errors import Problem, SpecError
from lndbayes.simulate import evidence
from lndbayes.simulate.effect import draw_effect, draw_mix, draw_new_site
from lndbayes.simulate.layout import draw_layout, streams
from lndbayes.simulate.outcome import beta_binomial_quantile
from lndbayes.simulate.surface import draw_surface, expit
from lndbayes.simulate.truth import Parts, describe_truth
from lndbayes.simulate.world import WORLDS, World

if TYPE_CHECKING:
    from lndbayes.simulate.layout import Layout

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


def simulate(seed: int, world: str | World = "effect", sites: int = 27) -> SimulatedEvaluation:
    """Simulate the custody outcome of a rollout whose truth is known.

    Parameters
    ----------
    seed : int
        Zero or positive. The same seed, world and number of sites give the same evaluation.
    world : str or World
        A name in :data:`lndbayes.simulate.WORLDS`, or the parameters themselves.
    sites : int
        Number of sites, 2 to 300.

    Returns
    -------
    SimulatedEvaluation
        Tables, settings and truth.

    Raises
    ------
    SpecError
        If the seed, the world or the number of sites is not usable.

    Notes
    -----
    Exposures and gaps come first, then the mix and its counts, then the effects (which are centred
    at the observed mix), then outcomes: the joint law is the fitted model's, in that order. Each
    component has its own random stream, so worlds that differ in the effect alone share everything
    else.
    """
    name, parameters = _resolve(seed, world, sites)
    rngs = streams(seed)
    layout = draw_layout(parameters, sites, rngs)
    mix = draw_mix(parameters, layout, rngs)
    effect = draw_effect(parameters, layout, mix, rngs)
    surface = draw_surface(parameters, layout, rngs)
    uniform = rngs["outcome"].random(layout.exposure.shape)
    count, untreated = (
        beta_binomial_quantile(uniform, layout.exposure, expit(eta), parameters.overdispersion)
        for eta in (surface.eta0 + effect.contrast + effect.recording, surface.eta0)
    )
    records, bias = evidence.retrospective(parameters, layout, surface.eta0, rngs)
    parts = Parts(
        world=parameters,
        layout=layout,
        mix=mix,
        effect=effect,
        surface=surface,
        new_site=draw_new_site(parameters, mix, effect.mix_effect, rngs["new_site"]),
        count=count,
        count_untreated=untreated,
        retrospective_bias=bias,
    )
    frames = {
        "sites.csv": _sites(layout),
        "outcomes.csv": _outcomes(parts),
        "mix.csv": mix.table,
        "referrals.csv": _referrals(parameters, layout, rngs["referrals"]),
        "evidence/retrospective.csv": records,
        "evidence/national.csv": evidence.national(
            parameters, layout, surface.eta0, rngs["national"]
        ),
        "evidence/history.csv": evidence.history(parameters, layout, surface.eta0, rngs["history"]),
        "evidence/elicited.csv": evidence.elicited(
            parameters, layout, surface.eta0, rngs["elicited"]
        ),
    }
    return SimulatedEvaluation(
        frames, _evaluation(layout, name, seed), describe_truth(parts, name, seed)
    )


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


def _outcomes(parts: Parts) -> pd.DataFrame:
    layout = parts.layout
    s, t = np.nonzero(layout.published)
    return pd.DataFrame(
        {
            "outcome": evidence.OUTCOME,
            "site": np.array(layout.site, dtype=object)[s],
            "month": np.array(layout.month, dtype=object)[t],
            "source": "simulated court records",
            "exposure": layout.exposure[s, t],
            "count": parts.count[s, t],
            "status": "observed",
            "count_low": np.nan,
            "count_high": np.nan,
        }
    )


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
