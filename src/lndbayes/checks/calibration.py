"""Simulation-based calibration of a spec: draw from the prior, simulate, fit, rank.

If model, simulator and sampler agree, the rank of each true value among the posterior draws is
uniform (Talts et al. 2018; Modrák et al. 2023 on data-dependent quantities such as the log
likelihood). The data come from the NumPy simulator in its plain form, a second implementation of
the fitted law, so that an error shared by a model's forward and inverse use is seen.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats
from threadpoolctl import threadpool_limits

from lndbayes.checks.mcmc import chain_statistics
from lndbayes.costs import Costs
from lndbayes.data.evaluation import read_evaluation
from lndbayes.errors import CheckError
from lndbayes.families import inverse
from lndbayes.fit import versions
from lndbayes.many import Task, run_tasks
from lndbayes.model.course import ramp_means
from lndbayes.model.design import Design, build_design
from lndbayes.model.layout import SCALARS, constrain, inactive
from lndbayes.model.predictive import cell_log_likelihood
from lndbayes.model.surface import linear_predictors
from lndbayes.names import CI_PROB
from lndbayes.sampler import find_metric, sample_density
from lndbayes.savings import savings, total_saving
from lndbayes.simulate import WORLDS, World, plain, simulate, write_evaluation
from lndbayes.spec import ModelSpec, with_changes

__all__ = ["calibrate", "calibration_table", "prior_world", "simultaneous_p"]

_FIRST_SEED = 9001
_FIXED = ("shared_bias", "drift", "go_live_step", "pulse")
#: A site without own evidence, two with records, and late sites, of the 27 of the plain world.
_SITES = (1, 0, 10, 22, 26)
_WINDOW = np.arange(7, 19)
#: Uniform samples from which simultaneous bands are found.
_BAND_DRAWS = 4000


def calibrate(
    spec: ModelSpec,
    replicates: int,
    folder: str | Path,
    *,
    costs: Costs | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Rank parameters and estimands over replicates; resumable.

    Parameters
    ----------
    spec : ModelSpec
        The spec; the family must be the simulator's.
    replicates : int
        How many.
    folder : str or Path
        Finished replicates are kept in ``folder/replicates`` and not made again while spec, costs
        and package versions are the same.
    costs : Costs, optional
        With them the total saving is ranked too.
    workers, scheduler
        See `lndbayes.many.run_tasks`.
    say : callable, optional
        Receives a line for each finished replicate.

    Returns
    -------
    pandas.DataFrame
        `calibration_table` of the replicates, which is also written to ``calibration.csv``.

    Raises
    ------
    CheckError
        If fewer replicates are there than were asked for.
    """
    store = Path(folder) / "replicates"
    store.mkdir(parents=True, exist_ok=True)
    key = _key(spec, costs)
    done = {i: found for i in range(replicates) if (found := _stored(store / f"{i}.json", key))}
    todo = [i for i in range(replicates) if i not in done]
    clock = time.monotonic()

    def finished(name: str, result: dict[str, Any]) -> None:
        index = int(name)
        result["key"] = key
        part = store / f".{index}.part"
        part.write_text(json.dumps(result), encoding="utf-8")
        part.replace(store / f"{index}.json")
        done[index] = result
        made = len(done) - (replicates - len(todo))
        if say:
            left = (time.monotonic() - clock) / made * (len(todo) - made)
            say(f"replicate {made} of {len(todo)} finished, about {left:.0f} s left")

    tasks = [Task(str(i), replicate, (i, spec, costs)) for i in todo]
    run_tasks(tasks, finished, workers=workers, scheduler=scheduler)
    if len(done) != replicates:
        raise CheckError(f"only {len(done)} of {replicates} replicates are there")
    table = calibration_table([done[i] for i in range(replicates)])
    part = Path(folder) / ".calibration.part"
    table.to_csv(part, index=False, lineterminator="\n")
    part.replace(Path(folder) / "calibration.csv")
    return table


def _key(spec: ModelSpec, costs: Costs | None) -> str:
    settings = json.loads(spec.canonical())
    settings.pop("checks")
    parts = {"spec": settings, "versions": versions(), "costs": repr(costs)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _stored(path: Path, key: str) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # absent or torn: made again
        return None
    return found if isinstance(found, dict) and found.get("key") == key else None


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
        if name not in ("season", "mix_share", "stage_level")
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
    if spec.family.lengthens:
        level = spec.priors["stage_level"]
        at = rng.normal(level["mu"], level["sigma"], len(base.band_stages))
        v |= {f"stage_level {k + 1}": float(x) for k, x in enumerate(at)}
        drawn["band_stages"] = tuple(float(x) for x in at)
        drawn["band_site_sd"], drawn["band_shift"] = v["stage_site_sd"], v["stage_effect"]
    return replace(base, **drawn), v


def _quantities(
    values: Mapping[str, np.ndarray], design: Design, spec: ModelSpec
) -> dict[str, np.ndarray]:
    """Everything that is ranked, from constrained values with leading sample dims."""
    event = design["event_time"]
    months = _WINDOW[None, :]
    weight = np.full((1, len(_WINDOW)), 1 / len(_WINDOW))
    ramp = ramp_means(values["ramp_months"], weight, months, 0.5)[..., 0]
    eta0, _ = linear_predictors(values, design)
    first = int(np.argmax((event >= 0).any(axis=0)))
    level = eta0[..., first - 12 : first].mean(axis=-1)
    averted = _averted(values, design, spec)
    out = {
        "pooled effect": ramp * values["site_effect"].mean(axis=-1),
        "events averted": averted.sum(axis=-1),
        "log likelihood": cell_log_likelihood(values, design, spec.family).sum(axis=-1),
    }
    for s in _SITES:
        out[f"effect of site {s + 1}"] = ramp * values["site_effect"][..., s]
        out[f"baseline of site {s + 1}"] = level[..., s]
    left_out = (*_FIXED, *inactive(spec))
    out |= {name: values[name] for name in SCALARS if name not in left_out}
    for k in range(values["stage_level"].shape[-1]):
        out[f"stage level {k + 1}"] = values["stage_level"][..., k]
    out |= {"mix effect 1": values["mix_effect"][..., 0], "wave 1": values["wave_effect"][..., 0]}
    return out


def _averted(values: Mapping[str, np.ndarray], design: Design, spec: ModelSpec) -> np.ndarray:
    """Events averted by site, (..., S)."""
    eta0, eta1 = linear_predictors(values, design)
    exposed = design["exposure_all"] * (design["event_time"] >= 0)
    p0, p1 = (inverse(spec.family.link, eta) for eta in (eta0, eta1))
    return np.asarray((exposed * (p0 - p1)).sum(axis=-1))


def _priced(averted: np.ndarray, outcome: str, costs: Costs, seed: int) -> np.ndarray:
    """Total saving in the headline scenario, (chain, draw), with factors drawn from their laws."""
    chains, draws, sites = averted.shape
    labelled = xr.DataArray(
        averted,
        dims=("chain", "draw", "site"),
        coords={
            "chain": range(chains),
            "draw": range(draws),
            "site": [str(s) for s in range(sites)],
        },
    )
    priced = savings({outcome: labelled}, costs, seed=seed)
    total = total_saving(priced).sel(scenario=priced.attrs["headline_scenario"])
    return np.asarray(total.transpose("chain", "draw").to_numpy())


def _truth(simulated: Any, design: Design, drawn: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The simulator's parameters in the order of the design's labels, with sample dims (1, 1)."""
    truth = {k: np.asarray(v, float) for k, v in simulated.truth["parameters"].items()}
    labels = list(simulated.truth["axes"]["intervention"])
    order = [labels.index(str(k)) for k in design.coords["intervention"]]
    truth["mix_share"] = truth["mix_share"][:, order]
    truth["mix_effect"] = truth["mix_effect"][order]
    truth["mix_effect_sd"] = np.asarray(drawn["mix_effect_sd"])
    truth.setdefault("pulse", np.zeros(()))
    stages = [drawn[k] for k in sorted(drawn) if k.startswith("stage_level ")]
    truth["stage_level"] = np.array(stages)
    truth |= {k: np.asarray(drawn[k]) for k in ("stage_site_sd", "stage_effect") if k in drawn}
    if stages:
        truth["stage_site"] = np.asarray(simulated.truth["outcomes"]["custody"]["bands"]["site"])
    return {k: v[None, None] for k, v in truth.items()}


@threadpool_limits.wrap(limits=1, user_api="blas")
def replicate(index: int, spec: ModelSpec, costs: Costs | None) -> dict[str, Any]:
    """Draw, simulate, fit and rank once.

    Returns
    -------
    dict
        ``index``, ``rank`` and ``z`` by quantity, ``divergences``, ``worst_ess``, ``pooled_ess``,
        ``worst_rhat``, ``seconds``.
    """
    start = time.perf_counter()
    world, drawn = prior_world(spec, np.random.default_rng([_FIRST_SEED, index]))
    simulated = simulate(_FIRST_SEED + index, world, outcomes=("custody",))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "data"
        write_evaluation(simulated, path)
        design = build_design(spec, read_evaluation(path))
    spec = with_changes(spec, {"sampling.seed": index})
    raw = sample_density(spec, design, cores=1, metric=find_metric(spec, design, cores=1))
    values = constrain(raw.x, design)
    true_values = _truth(simulated, design, drawn)
    found, truth = (_quantities(v, design, spec) for v in (values, true_values))
    if costs is not None:
        outcome = spec.outcome.name
        found["savings"] = _priced(_averted(values, design, spec), outcome, costs, index)
        # one draw of every factor is this replicate's truth; two are made since one has no spread
        pair = np.repeat(_averted(true_values, design, spec), 2, axis=1)
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


def calibration_table(done: list[dict[str, Any]], *, seed: int = 0) -> pd.DataFrame:
    """Coverage, z and uniformity of ranks, by quantity.

    Parameters
    ----------
    done : list of dict
        From `replicate`.
    seed : int
        Of the samples from which the simultaneous band is found.

    Returns
    -------
    pandas.DataFrame
        Columns quantity, replicates, covered (intervals of probability `CI_PROB` that hold the true
        value), lower_limit, upper_limit (99% limits of covered), mean_z, sd_z, p_simultaneous,
        inside_band (of the rank ECDF's 95% simultaneous band).
    """
    names = list(done[0]["rank"])
    ranks = np.array([[r["rank"][name] for name in names] for r in done])
    z = np.array([[r["z"][name] for name in names] for r in done])
    tail = (1 - CI_PROB) / 2
    low, high = (float(stats.binom.ppf(q, len(done), CI_PROB)) for q in (0.005, 0.995))
    p = simultaneous_p(ranks, seed=seed)
    return pd.DataFrame(
        {
            "quantity": names,
            "replicates": len(done),
            "covered": ((ranks >= tail) & (ranks <= 1 - tail)).sum(axis=0),
            "lower_limit": int(low),
            "upper_limit": int(high),
            "mean_z": z.mean(axis=0),
            "sd_z": z.std(axis=0, ddof=1) if len(done) > 1 else np.nan,
            "p_simultaneous": p,
            "inside_band": p > 0.05,
        }
    )


def simultaneous_p(ranks: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Probability, under uniformity, of an ECDF that leaves pointwise bands as far as this one.

    Säilynoja, Bürkner and Vehtari (2022): at each of K points the count below it is binomial; the
    smallest of the K two-sided tail probabilities is compared with its own distribution, found by
    simulation. An ECDF lies inside the simultaneous band of level 1 - a if this p is above a.

    Parameters
    ----------
    ranks : ndarray, shape (N, Q)
        Ranks as shares in [0, 1], one column a quantity.
    seed : int
        Of the simulation.

    Returns
    -------
    ndarray, shape (Q,)
    """
    count = len(ranks)
    points = np.arange(1, min(count, 100)) / min(count, 100)
    uniform = np.random.default_rng(seed).random((_BAND_DRAWS, count))
    reference = np.sort([_smallest_tail(sample, points) for sample in uniform])
    found = np.array([_smallest_tail(column, points) for column in ranks.T])
    below = np.searchsorted(reference, found, side="right")
    return np.asarray((1 + below) / (1 + _BAND_DRAWS))


def _smallest_tail(ranks: np.ndarray, points: np.ndarray) -> float:
    """Smallest two-sided binomial tail probability of the ECDF over the points."""
    count = len(ranks)
    at = np.searchsorted(np.sort(ranks), points, side="right")
    lower, upper = stats.binom.cdf(at, count, points), stats.binom.sf(at - 1, count, points)
    return float(np.minimum(1.0, 2 * np.minimum(lower, upper)).min())
