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

from lndbayes.app.exports import VARIANT_FOLDER, Outcome, finish, with_checks, write_exports
from lndbayes.app.prepare import Prepared, prepared
from lndbayes.app.runs import Progress, Steps
from lndbayes.base.names import disclosure_warning
from lndbayes.checks.fit_checks import check_fit
from lndbayes.checks.result import Status, checks_table, overall
from lndbayes.data.evaluation import EvaluationData
from lndbayes.evidence.placebo import run_placebos
from lndbayes.evidence.sensitivity import run_variants
from lndbayes.files.lock import alone
from lndbayes.files.places import make_run, require_run
from lndbayes.files.storage import file_hash
from lndbayes.files.writing import write_table
from lndbayes.fitting.fit import fit_prepared, save_fit, stored_fit
from lndbayes.fitting.parallel import Task, run_tasks
from lndbayes.fitting.prepared import PreparedOutcome, prepare_outcome
from lndbayes.money.pricing import drop_savings
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["evaluate", "fit_outcome"]

#: Receives the sampler's progress of one fit: a label, then nutpie's list of chain progress.
Watch = Callable[[str], Callable[[Any], None]]


@alone("out")
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
        Folder of model specs; without a ``costs.toml`` in it no saving is stated.
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
    DataError, SpecError, UsageError
        See `lndbayes.app.prepare.prepared`: before anything is fitted or written.
    """
    steps = Steps()
    out, models = Path(out), Path(models)
    with steps.step("read and check"):
        ready = prepared(directory, models, outcomes, out=out, scheduler=scheduler)
        data, specs = ready.data, ready.specs
        inputs = _input_hashes(Path(directory), models)
    for note in (*ready.notes, *ready.savings_notes):
        say(f"note: {note}")
    make_run(out)
    pool = Pool(jobs or os.cpu_count() or 1, scheduler)
    done = _outcomes(ready, out, pool, steps, say, watch)
    _keep_quality(Path(directory), out)
    if ready.costs is None:
        drop_savings(out)
    write_exports(out, done, ready.costs, steps, say)
    facts = {
        "name": data.name,
        "synthetic": data.synthetic,
        "disclosure": data.disclosure,
        "disclosure_warning": disclosure_warning(data.disclosure),
        "command_line": command,
        "inputs": inputs,
        "data_hash": data.hash,
        "seeds": {name: spec.sampling.seed for name, spec in specs.items()},
        # a reused fit holds the thresholds of its own day
        "thresholds": {name: dict(spec.checks) for name, spec in specs.items()},
        "data_notes": [f"{k}: {v}" for k, v in data.notes.items()],
        "notes": list(ready.notes),
        "outcomes_known": list(ready.known),
        "savings_notes": list(ready.savings_notes),
    }
    return finish(out, facts, steps, [c for o in done.values() for c in o.checks], say)


def _keep_quality(directory: Path, out: Path) -> None:
    """Copy what the assembly of extracts said of their rows, for the report."""
    source, target = directory / "data_quality.csv", out / "data_quality.csv"
    if source.is_file():
        write_table(pd.read_csv(source, dtype=str, keep_default_na=False), target)
    else:
        target.unlink(missing_ok=True)


@alone("out")
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
    outcome = prepare_outcome(spec, data)
    require_run(out)
    make_run(out)
    pool = Pool(jobs or os.cpu_count() or 1, None)
    tree = _fits({spec.outcome.name: outcome}, out, pool, say, watch)[spec.outcome.name]
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
    outcomes: Mapping[str, PreparedOutcome],
    out: Path,
    pool: Pool,
    say: Progress,
    watch: Watch | None,
) -> dict[str, xr.DataTree]:
    """Main fit of every outcome; finished ones are reused, new ones stored one by one."""
    path = {name: out / "fits" / f"{name}.nc" for name in outcomes}
    done: dict[str, xr.DataTree] = {}
    for name, outcome in outcomes.items():
        tree = stored_fit(path[name], outcome.key)
        if tree is not None:
            say(f"{name}: finished fit reused, its inputs are unchanged")
            done[name] = tree
    todo = {name: outcome for name, outcome in outcomes.items() if name not in done}

    def finished(name: str, tree: xr.DataTree) -> None:
        save_fit(tree, path[name])
        done[name] = tree
        say(f"{name}: fitted, {len(done)} of {len(outcomes)} outcomes")

    if pool.scheduler is None and (len(todo) == 1 or pool.workers == 1):
        # one fit on this machine: its chains are the parallel part, and its progress can be shown
        for name, outcome in todo.items():
            say(f"{name}: sampling {outcome.spec.sampling.chains} chains")
            callback = watch(name) if watch else None
            finished(name, fit_prepared(outcome, cores=pool.workers, callback=callback))
    else:
        # the longest first, so that no worker is left alone with one at the end
        order = sorted(todo, key=lambda name: _work(todo[name]), reverse=True)
        tasks = [Task(name, _fit_alone, (todo[name],)) for name in order]
        run_tasks(tasks, finished, workers=pool.workers, scheduler=pool.scheduler)
    return {name: done[name] for name in outcomes}


def _work(outcome: PreparedOutcome) -> int:
    """Draws times terms of the likelihood: the seconds of a fit go roughly along."""
    design, sampling = outcome.design, outcome.spec.sampling
    terms = sum(int(np.count_nonzero(design[name])) for name in ("exposure", "stage_exposure"))
    return sampling.chains * sampling.draws * terms


def _fit_alone(outcome: PreparedOutcome) -> xr.DataTree:
    return fit_prepared(outcome, cores=1)


def _outcomes(
    ready: Prepared,
    out: Path,
    pool: Pool,
    steps: Steps,
    say: Progress,
    watch: Watch | None,
) -> dict[str, Outcome]:
    with steps.step("fits"):
        trees = _fits(ready.outcomes, out, pool, say, watch)
    with steps.step("sensitivity"):
        # where no effect is reported, refits would show nothing
        shown = [
            (spec, ready.data, trees[name])
            for name, spec in ready.specs.items()
            if not spec.outcome.selected
        ]
        work: dict[str, Any] = {"workers": pool.workers, "scheduler": pool.scheduler, "say": say}
        variants = run_variants(shown, out / VARIANT_FOLDER, **work)
    with steps.step("placebo"):
        placebos = run_placebos(shown, out / VARIANT_FOLDER, **work)
    with steps.step("checks"):
        return with_checks(
            {
                name: Outcome(
                    spec, trees[name], variants.get(name, {}), [], placebo=placebos.get(name)
                )
                for name, spec in ready.specs.items()
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
