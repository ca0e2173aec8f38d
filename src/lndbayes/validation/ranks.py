"""One replicate of simulation-based calibration: parameters from the prior, data, fit, ranks.

Custody's data come from the NumPy simulator in its plain form, a second implementation of the
fitted law from the sites on, so that an error shared by a model's forward and inverse use is seen.
Other outcomes, and any outcome on the layout of given data, are drawn by
`lndbayes.model.replicate`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lndbayes.base.errors import Problem, SpecError
from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.estimands.averted import events_averted
from lndbayes.estimands.effects import pooled_effect, site_effects
from lndbayes.estimands.predictors import untreated_level
from lndbayes.fitting.chain_statistics import chain_statistics
from lndbayes.fitting.sampler import find_coordinates, sample_density
from lndbayes.fitting.threads import one_blas_thread
from lndbayes.fitting.trees import draws_tree
from lndbayes.model.design import Design, build_design
from lndbayes.model.layout import MULTIPLIERS, SCALARS, constrain, inactive, scalar_places
from lndbayes.model.predictive import cell_log_likelihood, prior_draws
from lndbayes.model.replicate import replicate_data
from lndbayes.money.costs import Costs
from lndbayes.money.savings import savings, total_saving
from lndbayes.spec.linear import LINEAR, normal_slots
from lndbayes.spec.model_spec import ModelSpec, with_changes
from lndbayes.synthetic import NAMES, WORLDS, World, plain, simulate, write_evaluation

__all__ = ["prior_world", "replicate", "shipped_layout"]

_FIRST_SEED = 9001
#: The outcome whose whole evaluation the simulator draws from a spec's prior.
_SIMULATED = "custody"
#: A site without own evidence, two with records, and late sites, of the 27 of the plain world.
_SITES = (1, 0, 10, 22, 26)


def shipped_layout(spec: ModelSpec) -> Design | None:
    """Layout of a synthetic evaluation with a spec's outcome; none where all of it is simulated.

    Raises
    ------
    SpecError
        If the simulator does not know the outcome.
    """
    name = spec.outcome.name
    if name == _SIMULATED:
        return None
    if name not in NAMES:
        rule = "is no outcome of the simulator: give data (--data), whose layout is then used"
        raise SpecError([Problem("spec", rule, column="outcome.name", value=name)])
    outcomes = tuple(filter(None, (name, spec.outcome.exposure_outcome)))
    return build_design(spec, _written(simulate(_FIRST_SEED, "effect", outcomes=outcomes)))


def _written(simulated: Any) -> EvaluationData:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        write_evaluation(simulated, path)
        return read_evaluation(path)


def prior_world(spec: ModelSpec, rng: np.random.Generator) -> tuple[World, dict[str, float]]:
    """Draw every hyper-parameter from its prior; the simulator draws the rest.

    Returns
    -------
    tuple
        The world, and the draws by prior slot.
    """
    v = {
        name: float(prior.frozen().rvs(random_state=rng))
        for name, prior in spec.priors.items()
        if name not in (*normal_slots(), "mix_share", "stage_level")
    }
    base = plain(WORLDS["effect"])
    kinds = len(base.interventions)

    def zero_sum(sd: float, length: int) -> tuple[float, ...]:
        z = rng.normal(size=length)
        return tuple(float(x) for x in sd * (z - z.sum() / length))

    season = spec.priors["season"]
    drawn: dict[str, Any] = {k: v[k] for k in v if k in World.__dataclass_fields__}
    # the order of these draws is part of what a replicate's number means
    drawn["mix_effects"] = zero_sum(v["mix_effect_sd"], kinds)
    drawn["mix_alpha"] = (spec.priors["mix_share"]["concentration"],) * kinds
    drawn["wave_effects"] = zero_sum(spec.sensitivity.wave_sd, 3)
    drawn["season"] = tuple(rng.normal(season["mu"], season["sigma"], 4))
    drawn["national_offset"] = float(rng.normal(0, spec.baseline.national_offset_sd))
    drawn["elicited_bias"] = float(rng.normal(0, spec.baseline.elicited_bias_sd))
    drawn["elicited_error"] = base.elicited_stated_sd
    if spec.family.free_stage_effect:
        level = spec.priors["stage_level"]
        at = rng.normal(level["mu"], level["sigma"], len(base.band_stages))
        v |= {f"stage_level {k + 1}": float(x) for k, x in enumerate(at)}
        drawn["band_stages"] = tuple(float(x) for x in at)
        drawn["band_site_sd"], drawn["band_shift"] = v["stage_site_sd"], v["stage_effect"]
    return replace(base, **drawn), v


def _sites(design: Design) -> tuple[int, ...]:
    """Sites whose effect and baseline are ranked: all of them would say the same many times."""
    sites = len(design.coords["site"])
    if sites > max(_SITES):
        return _SITES
    return tuple(range(min(sites, len(_SITES))))


def _quantities(
    values: Mapping[str, np.ndarray], design: Design, spec: ModelSpec
) -> dict[str, np.ndarray]:
    """Everything that is ranked, from constrained values with leading sample dims.

    Estimands come from the functions that users call, over the spec's window.
    """
    tree = draws_tree(values, spec, design)
    sites = site_effects(tree, withheld=False)
    level = untreated_level(tree)
    out = {
        "pooled effect": pooled_effect(tree, sites=sites).to_numpy(),
        "events averted": events_averted(tree).sum("site").to_numpy(),
        "log likelihood": cell_log_likelihood(values, design, spec.family).sum(axis=-1),
    }
    treated = {str(x) for x in sites["site"].to_numpy()}
    for s in _sites(design):
        label = str(design.coords["site"][s])
        if label in treated:
            out[f"effect of site {s + 1}"] = sites.sel(site=label).to_numpy()
        out[f"baseline of site {s + 1}"] = level.sel(site=label).to_numpy()
    fixed = tuple(name for name in MULTIPLIERS if not design[f"{name}_sd"])
    left_out = (*fixed, *inactive(spec))
    out |= {name: values[name] for name in scalar_places(design) if name not in left_out}
    for k in range(values["stage_level"].shape[-1]):
        out[f"stage level {k + 1}"] = values["stage_level"][..., k]
    # of coefficients that sites share, the first; those over months alone say little of an effect
    terms = [b for b in LINEAR if b.over != ("month",) and not b.per_site and b.name not in SCALARS]
    first = {f"{b.name.removesuffix('_effect')} 1": b.name for b in terms if b.name in values}
    for label, name in {"mix effect 1": "mix_effect", **first}.items():
        # one intervention or wave has no effect of its own
        if np.ndim(values[name]) < 3:
            out[label] = values[name]
        elif values[name].shape[-1] > 1 and np.any(values[name]):
            out[label] = values[name][..., 0]
    return out


def _priced(averted: xr.DataArray, outcome: str, costs: Costs, seed: int) -> np.ndarray:
    """Total saving in the headline scenario, (chain, draw), with factors drawn from their laws."""
    priced = savings({outcome: averted}, costs, seed=seed)
    total = total_saving(priced).sel(scenario=priced.attrs["headline_scenario"])
    return np.asarray(total.transpose(*SAMPLE_DIMS).to_numpy())


def _truth(simulated: Any, design: Design, drawn: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The simulator's parameters in the order of the design's labels, with sample dims (1, 1)."""
    truth = {k: np.asarray(v, float) for k, v in simulated.truth["parameters"].items()}
    labels = list(simulated.truth["axes"]["intervention"])
    order = [labels.index(str(k)) for k in design.coords["intervention"]]
    truth["mix_share"] = truth["mix_share"][:, order]
    truth["mix_effect"] = truth["mix_effect"][order]
    truth["mix_effect_sd"] = np.asarray(drawn["mix_effect_sd"])
    truth.setdefault("pulse", np.zeros(()))
    levels = [k for k in drawn if k.startswith("stage_level ")]
    stages = [drawn[k] for k in sorted(levels, key=lambda k: int(k.split()[1]))]
    truth["stage_level"] = np.array(stages)
    truth |= {k: np.asarray(drawn[k]) for k in ("stage_site_sd", "stage_effect") if k in drawn}
    if stages:
        truth["stage_site"] = np.asarray(simulated.truth["outcomes"]["custody"]["bands"]["site"])
    return {k: v[None, None] for k, v in truth.items()}


def _from_simulator(index: int, spec: ModelSpec) -> tuple[Design, Mapping[str, np.ndarray]]:
    """Design and true parameters of a whole evaluation drawn by the simulator."""
    world, drawn = prior_world(spec, np.random.default_rng([_FIRST_SEED, index]))
    simulated = simulate(_FIRST_SEED + index, world, outcomes=(_SIMULATED,))
    design = build_design(spec, _written(simulated))
    return design, _truth(simulated, design, drawn)


def _from_layout(
    index: int, spec: ModelSpec, layout: Design
) -> tuple[Design, Mapping[str, np.ndarray]]:
    """The same on a given layout, by the model's own law."""
    seeds = np.random.SeedSequence([_FIRST_SEED, index]).spawn(2)
    values = prior_draws(spec, layout, 1, int(seeds[0].generate_state(1)[0]))
    return replicate_data(values, layout, spec, np.random.default_rng(seeds[1])), values


@one_blas_thread
def replicate(
    index: int, spec: ModelSpec, costs: Costs | None, layout: Design | None = None
) -> dict[str, Any]:
    """Draw, simulate, fit and rank once.

    Parameters
    ----------
    index : int
        Number of the replicate: its seed.
    spec : ModelSpec
        The spec.
    costs : Costs or None
        With them the total saving is ranked too.
    layout : Design, optional
        Where counts and evidence are drawn; default a whole evaluation by the simulator.

    Returns
    -------
    dict
        ``index``, ``rank`` and ``z`` by quantity, ``divergences``, ``worst_ess``, ``pooled_ess``,
        ``worst_rhat``, ``seconds``.
    """
    start = time.perf_counter()
    if layout is None:
        design, true_values = _from_simulator(index, spec)
    else:
        design, true_values = _from_layout(index, spec, layout)
    spec = with_changes(spec, {"sampling.seed": index})
    raw = sample_density(spec, design, cores=1, coordinates=find_coordinates(spec, design, cores=1))
    values = constrain(raw.x, design)
    # the simulator has parameters of its own besides the model's
    true_values = {name: v for name, v in true_values.items() if name in values}
    found, truth = (_quantities(v, design, spec) for v in (values, true_values))
    if costs is not None:
        outcome = spec.outcome.name
        drawn, true = (events_averted(draws_tree(v, spec, design)) for v in (values, true_values))
        found["savings"] = _priced(drawn, outcome, costs, index)
        # one draw of every factor is this replicate's truth; two are made since one has no spread
        pair = true.isel(draw=[0, 0]).assign_coords(draw=[0, 1])
        truth["savings"] = _priced(pair, outcome, costs, 10**6 + index)[:, :1]
    chains = chain_statistics(np.stack([found[k] for k in found]))
    return {
        "index": index,
        "rank": {k: float((found[k] < truth[k]).mean()) for k in found},
        "z": {k: float((truth[k].item() - v.mean()) / v.std()) for k, v in found.items()},
        "divergences": int(raw.stats["diverging"].sum()),
        "worst_ess": float(np.nanmin(chains.ess_bulk)),
        "pooled_ess": float(chains.ess_bulk[0]),
        "worst_rhat": float(np.nanmax(chains.rhat)) if len(raw.x) > 1 else float("nan"),
        "seconds": round(time.perf_counter() - start, 1),
    }
