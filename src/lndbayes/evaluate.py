"""The main job: from an evaluation directory and model specs to a checked, exported run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.checks.result import Status, checks_table, overall
from lndbayes.checks.thresholds import thresholds_from
from lndbayes.costs import load_costs
from lndbayes.data.evaluation import EvaluationData, read_evaluation, with_rows_of
from lndbayes.errors import DataError, Problem, SpecError
from lndbayes.exports import VARIANT_FOLDER, Outcome, check_fit, finish, with_checks, write_exports
from lndbayes.fit import fit, fit_key, save_fit, stored_fit
from lndbayes.many import Task, run_tasks
from lndbayes.model.design import build_design
from lndbayes.model.support import supported_design
from lndbayes.runs import Progress, Steps, file_hash, write_table
from lndbayes.sensitivity import run_variants
from lndbayes.spec import ModelSpec, load_spec

__all__ = ["check_models", "evaluate", "fit_outcome", "load_models"]

COSTS_FILE = "costs.toml"

#: Receives the sampler's progress of one fit: a label, then nutpie's list of chain progress.
Watch = Callable[[str], Callable[[Any], None]]


def load_models(folder: str | Path, outcomes: Sequence[str] | None = None) -> dict[str, ModelSpec]:
    """Read the specs of a models folder, by outcome.

    Parameters
    ----------
    folder : str or Path
        Holds one TOML file per outcome, and ``costs.toml``.
    outcomes : sequence of str, optional
        Keep these only.

    Returns
    -------
    dict of str to ModelSpec

    Raises
    ------
    SpecError
        All problems of all specs at once; also if an outcome asked for has no spec.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SpecError(Problem(str(folder), "there is no such folder of model specs"))
    specs: dict[str, ModelSpec] = {}
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.toml")):
        if path.name == COSTS_FILE:
            continue
        try:
            spec = load_spec(path)
            thresholds_from(spec.checks, file=path.name)
        except SpecError as error:
            problems += error.problems
            continue
        if spec.outcome.name in specs:
            rule = f"a second spec for outcome {spec.outcome.name!r}"
            problems.append(Problem(path.name, rule, column="outcome.name"))
        specs[spec.outcome.name] = spec
    for name in outcomes or ():
        if name not in specs and not problems:
            rule = f"no spec for this outcome; there are {', '.join(specs) or 'none'}"
            problems.append(Problem(str(folder), rule, value=name))
    if problems:
        raise SpecError(problems)
    if not specs:
        raise SpecError(Problem(str(folder), "holds no model spec"))
    return {k: v for k, v in specs.items() if not outcomes or k in outcomes}


def evaluate(
    directory: str | Path,
    models: str | Path,
    out: str | Path,
    *,
    outcomes: Sequence[str] | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    command: str = "",
    say: Progress,
    watch: Watch | None = None,
) -> Status:
    """Evaluate every outcome that has a spec, and write the run directory.

    Parameters
    ----------
    directory : str or Path
        Evaluation directory.
    models : str or Path
        Folder of model specs with ``costs.toml``.
    out : str or Path
        Run directory. Finished fits in it are reused if their inputs are unchanged.
    outcomes : sequence of str, optional
        Only these.
    jobs : int, optional
        Chains or fits at the same time; default all cores.
    scheduler : str, optional
        Address of a Dask scheduler that runs all fits.
    command : str
        Command line for the manifest.
    say : callable
        Receives progress messages.
    watch : callable, optional
        Makes a receiver of the sampler's progress for a labelled fit.

    Returns
    -------
    Status
        Worst status over all checks.

    Raises
    ------
    DataError, SpecError
        Before anything is written.
    """
    steps = Steps()
    out, models = Path(out), Path(models)
    with steps.step("read and check"):
        specs = load_models(models, outcomes)
        costs = load_costs(models / COSTS_FILE)
        data = read_evaluation(directory)
        specs = _with_data(specs, data, explicit=outcomes is not None)
        inputs = _input_hashes(Path(directory), models)
    _prepare(out)
    pool = Pool(jobs or os.cpu_count() or 1, scheduler)
    done = _outcomes(specs, data, out, pool, steps, say, watch)
    _keep_quality(Path(directory), out)
    write_exports(out, done, costs, steps, say)
    facts = {
        "name": data.name,
        "synthetic": data.synthetic,
        "command_line": command,
        "inputs": inputs,
        "data_hash": data.hash,
        "seeds": {name: spec.sampling.seed for name, spec in specs.items()},
        # a reused fit holds the thresholds of its own day
        "thresholds": {name: dict(spec.checks) for name, spec in specs.items()},
        "data_notes": [f"{k}: {v}" for k, v in data.notes.items()],
    }
    return finish(out, facts, steps, [c for o in done.values() for c in o.checks], say)


def _keep_quality(directory: Path, out: Path) -> None:
    """Copy what the assembly of extracts said of their rows, for the report."""
    source, target = directory / "data_quality.csv", out / "data_quality.csv"
    if source.is_file():
        write_table(pd.read_csv(source, dtype=str, keep_default_na=False), target)
    else:
        target.unlink(missing_ok=True)


def check_models(models: str | Path, data: EvaluationData) -> dict[str, ModelSpec]:
    """Read the specs and build their designs on the data, fitting nothing.

    Parameters
    ----------
    models : str or Path
        Folder of specs with ``costs.toml``.
    data : EvaluationData
        The evaluation data.

    Returns
    -------
    dict of str to ModelSpec
        The specs of outcomes that the data hold.

    Raises
    ------
    SpecError, DataError
        If a spec or the costs break a rule, or the data cannot carry a model.
    """
    specs = load_models(models)
    load_costs(Path(models) / COSTS_FILE)
    return _with_data(specs, data, explicit=False)


def fit_outcome(
    spec: ModelSpec,
    data: EvaluationData,
    out: Path,
    *,
    jobs: int | None = None,
    say: Progress,
    watch: Watch | None = None,
) -> bool:
    """Fit and check one outcome into a run directory; reuse a finished fit.

    Parameters
    ----------
    spec : ModelSpec
        The spec.
    data : EvaluationData
        The evaluation data.
    out : Path
        Run directory.
    jobs : int, optional
        Chains at the same time.
    say, watch : callable
        See `evaluate`.

    Returns
    -------
    bool
        Whether a check says FAIL.
    """
    _with_data({spec.outcome.name: spec}, data, explicit=True)
    _prepare(out)
    pool = Pool(jobs or os.cpu_count() or 1, None)
    tree = _fits({spec.outcome.name: spec}, data, out, pool, say, watch)[spec.outcome.name]
    results = check_fit(spec, tree)
    write_table(checks_table(results), out / "checks.csv")
    say(f"{spec.outcome.name}: {overall(results).value}, written to {out}")
    return overall(results) is Status.FAIL


@dataclass(frozen=True)
class Pool:
    """Who does the work: so many cores of this machine, or a Dask scheduler's workers."""

    workers: int
    scheduler: str | None


def _fits(
    specs: Mapping[str, ModelSpec],
    data: EvaluationData,
    out: Path,
    pool: Pool,
    say: Progress,
    watch: Watch | None,
) -> dict[str, xr.DataTree]:
    """Main fit of every outcome; finished ones are reused, new ones stored one by one."""
    path = {name: out / "fits" / f"{name}.nc" for name in specs}
    done: dict[str, xr.DataTree] = {}
    for name, spec in specs.items():
        tree = stored_fit(path[name], fit_key(spec, data))
        if tree is not None:
            say(f"{name}: finished fit reused, its inputs are unchanged")
            done[name] = tree
    todo = {name: spec for name, spec in specs.items() if name not in done}

    def finished(name: str, tree: xr.DataTree) -> None:
        save_fit(tree, path[name])
        done[name] = tree
        say(f"{name}: fitted, {len(done)} of {len(specs)} outcomes")

    if pool.scheduler is None and (len(todo) == 1 or pool.workers == 1):
        # one fit on this machine: its chains are the parallel part, and its progress can be shown
        for name, spec in todo.items():
            say(f"{name}: sampling {spec.sampling.chains} chains")
            callback = watch(name) if watch else None
            finished(name, fit(spec, data, cores=pool.workers, callback=callback))
    else:
        # the longest first, so that no worker is left alone with one at the end
        order = sorted(todo, key=lambda name: _work(todo[name], data), reverse=True)
        light = {name: with_rows_of(data, todo[name].outcome.name) for name in order}
        tasks = [Task(name, _fit_alone, (todo[name], light[name])) for name in order]
        run_tasks(tasks, finished, workers=pool.workers, scheduler=pool.scheduler)
    return {name: done[name] for name in specs}


def _work(spec: ModelSpec, data: EvaluationData) -> int:
    """Draws times terms of the likelihood: the seconds of a fit go roughly along."""
    design = build_design(spec, data)
    terms = sum(int(np.count_nonzero(design[name])) for name in ("exposure", "stage_exposure"))
    return spec.sampling.chains * spec.sampling.draws * terms


def _fit_alone(spec: ModelSpec, data: EvaluationData) -> xr.DataTree:
    return fit(spec, data, cores=1)


def _prepare(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(Problem(str(out), "is a file; the run directory must be a folder"))
    foreign = out.is_dir() and any(out.iterdir()) and not (out / "fits").is_dir()
    if foreign and not (out / "manifest.json").is_file():
        raise DataError(Problem(str(out), "is not empty and not a run directory"))
    try:
        (out / "fits").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(Problem(str(out), f"cannot be made: {error.strerror}")) from error


def _with_data(
    specs: dict[str, ModelSpec], data: EvaluationData, *, explicit: bool
) -> dict[str, ModelSpec]:
    """Keep the specs whose outcome the data hold; build each design so that errors come first."""
    present = {str(x) for x in data.ds["outcome"].to_numpy()}
    usable = {k: v for k, v in specs.items() if explicit or k in present}
    if not usable:
        wanted = ", ".join(specs)
        rule = f"holds none of the outcomes that have a spec ({wanted})"
        raise DataError(Problem("outcomes.csv", rule, column="outcome"))
    problems: list[Problem] = []
    for spec in usable.values():
        try:
            supported_design(spec, data)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return usable


def _outcomes(
    specs: Mapping[str, ModelSpec],
    data: EvaluationData,
    out: Path,
    pool: Pool,
    steps: Steps,
    say: Progress,
    watch: Watch | None,
) -> dict[str, Outcome]:
    with steps.step("fits"):
        trees = _fits(specs, data, out, pool, say, watch)
    with steps.step("sensitivity"):
        variants = run_variants(
            # where no effect is reported, refits would show nothing
            [(s, data, trees[name]) for name, s in specs.items() if not s.outcome.selected],
            out / VARIANT_FOLDER,
            workers=pool.workers,
            scheduler=pool.scheduler,
            say=say,
        )
    with steps.step("checks"):
        return with_checks(
            {
                name: Outcome(spec, trees[name], variants.get(name, {}), [])
                for name, spec in specs.items()
            }
        )


def _input_hashes(directory: Path, models: Path) -> dict[str, str]:
    files = [
        *sorted(directory.glob("*.csv")),
        *sorted(directory.glob("*.toml")),
        *sorted((directory / "evidence").glob("*.csv")),
    ]
    # a pipe that nobody reads is no input
    hashes = {p.relative_to(directory).as_posix(): file_hash(p) for p in files if p.is_file()}
    return hashes | {f"models/{p.name}": file_hash(p) for p in sorted(models.glob("*.toml"))}
