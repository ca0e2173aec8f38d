"""Simulation-based calibration of a spec: draw from the prior, simulate, fit, rank.

If model, simulator and sampler agree, the rank of each true value among the posterior draws is
uniform (Talts et al. 2018; Modrák et al. 2023 on data-dependent quantities such as the log
likelihood). One replicate is made in `lndbayes.validation.ranks`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lndbayes.base.errors import CheckError
from lndbayes.base.names import CI_PROB
from lndbayes.data.evaluation import EvaluationData
from lndbayes.files.places import require_run
from lndbayes.files.reading import Unreadable, read_json
from lndbayes.files.source import source_hash
from lndbayes.files.storage import SEAL
from lndbayes.files.whole import clean_parts
from lndbayes.files.writing import write_bytes, write_table
from lndbayes.fitting.fit import versions
from lndbayes.fitting.parallel import Task, run_tasks
from lndbayes.model.design import Design, build_design
from lndbayes.money.costs import Costs
from lndbayes.spec.model_spec import ModelSpec
from lndbayes.validation.ranks import replicate, shipped_layout

__all__ = ["calibrate", "calibration_table", "simultaneous_p"]

#: Uniform samples from which simultaneous bands are found.
_BAND_DRAWS = 4000


def calibrate(
    spec: ModelSpec,
    replicates: int,
    folder: str | Path,
    *,
    first: int = 0,
    data: EvaluationData | None = None,
    costs: Costs | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Rank parameters and estimands over replicates; resumable.

    Parameters
    ----------
    spec : ModelSpec
        The spec, of any family.
    replicates : int
        How many.
    folder : str or Path
        Finished replicates are kept in ``folder/replicates`` and not made again while spec, costs,
        package versions and the source text that they come from are the same.
    first : int
        Number of the first replicate: replicates of other numbers are independent of each other.
    data : EvaluationData, optional
        Its sites, exposures, gaps and evidence are the layout on which counts are drawn from the
        model's own law. Default: for custody each replicate is a whole synthetic evaluation of the
        NumPy simulator, for another outcome the layout is that of one such evaluation.
    costs : Costs, optional
        With them the total saving is ranked too.
    workers, scheduler
        See `lndbayes.fitting.parallel.run_tasks`.
    say : callable, optional
        Receives a line for each finished replicate.

    Returns
    -------
    pandas.DataFrame
        `calibration_table` of the replicates, which is also written to ``calibration.csv``.

    Raises
    ------
    SpecError
        If there are no data and the outcome is none that the simulator knows.
    DataError
        If the data cannot carry the model.
    CheckError
        If fewer replicates are there than were asked for.
    """
    require_run(Path(folder))
    layout = shipped_layout(spec) if data is None else build_design(spec, data)
    store = Path(folder) / "replicates"
    store.mkdir(parents=True, exist_ok=True)
    clean_parts(store)
    key = _key(spec, costs, layout)
    wanted = range(first, first + replicates)
    done = {i: found for i in wanted if (found := _stored(store / f"{i}.json", key))}
    todo = [i for i in wanted if i not in done]
    clock = time.monotonic()

    def finished(name: str, result: dict[str, Any]) -> None:
        index = int(name)
        result["key"] = key
        text = json.dumps({**result, SEAL: _seal(result)})
        write_bytes(text.encode(), store / f"{index}.json")
        done[index] = result
        made = len(done) - (replicates - len(todo))
        if say:
            left = (time.monotonic() - clock) / made * (len(todo) - made)
            say(f"replicate {made} of {len(todo)} finished, about {left:.0f} s left")

    tasks = [Task(str(i), replicate, (i, spec, costs, layout)) for i in todo]
    run_tasks(tasks, finished, workers=workers, scheduler=scheduler)
    if len(done) != replicates:
        raise CheckError(f"only {len(done)} of {replicates} replicates are there")
    table = calibration_table([done[i] for i in wanted])
    write_table(table, Path(folder) / "calibration.csv")
    return table


def _key(spec: ModelSpec, costs: Costs | None, layout: Design | None) -> str:
    settings = json.loads(spec.canonical())
    settings.pop("checks")
    parts = {
        "spec": settings,
        "versions": versions(),
        "source": source_hash(replicate.__module__),
        "costs": repr(costs),
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for name, array in sorted(layout.arrays.items() if layout else ()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _stored(path: Path, key: str) -> dict[str, Any] | None:
    """Return a finished replicate; what is absent, torn, edited or of another key is made again."""
    try:
        found = read_json(path)
    except Unreadable:
        return None
    if not isinstance(found, dict) or found.get("key") != key:
        return None
    return found if found.pop(SEAL, None) == _seal(found) else None


def _seal(result: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


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
    parts = max(2, min(count, 100))
    points = np.arange(1, parts) / parts
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
