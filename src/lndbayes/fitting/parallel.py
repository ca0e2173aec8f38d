"""Many independent tasks: in this process, in processes of this machine, or on a cluster.

A result is handed over the moment it is there, so that what is finished is kept whatever happens to
the rest. Processes of one machine come from joblib. A cluster is driven by Dask directly and not by
way of joblib: that would spread large arguments over the workers' memory once, where a worker's
death loses them for good, while a task that carries its own arguments is simply run elsewhere.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from lndbayes.base.errors import LndbayesError, MachineError, Problem, UsageError
from lndbayes.data.evaluation import EvaluationData, with_rows_of
from lndbayes.files.source import source_hash
from lndbayes.files.storage import SEAL
from lndbayes.fitting.fit import fit, fit_key, save_fit, stored_fit, versions
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["PATIENCE", "FitJob", "Task", "check_scheduler", "fit_many", "run_tasks"]

#: Seconds to wait for a scheduler to answer.
PATIENCE = 15


@dataclass(frozen=True)
class Task:
    """One call of a module-level function.

    Attributes
    ----------
    name : str
        Identifies the task among those it is run with.
    function : callable
        Importable by name on every worker.
    arguments : tuple
        Picklable; sent with the task.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def run_tasks(
    tasks: Sequence[Task],
    finished: Callable[[str, Any], None],
    *,
    workers: int = 1,
    scheduler: str | None = None,
) -> None:
    """Run tasks and hand over each result once, in the order in which they finish.

    Parameters
    ----------
    tasks : sequence of Task
        Independent of each other, with distinct names.
    finished : callable
        Receives a task's name and its result, in this process; this is where results are stored.
    workers : int
        Processes on this machine; 1 runs everything here, in order.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tcp://host:8786``; `workers` is then not used. A task
        whose worker dies is run again elsewhere; a result that was handed over is never made again.

    Raises
    ------
    ValueError
        If two tasks have one name.
    UsageError
        If no scheduler answers at the address, or a worker has other versions of the packages that
        make the numbers, or another source of this one.
    MachineError
        If a worker process is killed, or the cluster is gone.
    Exception
        Whatever a task raises; results that came before it have been handed over.
    """
    if len({task.name for task in tasks}) < len(tasks):
        raise ValueError("tasks must have distinct names")
    if not tasks:
        return
    if scheduler is not None:
        results = _on_cluster(tasks, scheduler)
    elif workers == 1 or len(tasks) == 1:
        results = ((task.name, task.function(*task.arguments)) for task in tasks)
    else:
        results = _in_processes(tasks, workers)
    try:
        for name, result in results:
            finished(name, result)
    except _lost(scheduler) as error:
        rule = f"{_LOST[scheduler is None]} ({type(error).__name__}); finished fits are kept"
        raise MachineError(f"{rule}, the same command continues") from error


#: What happened, on a cluster and on this machine.
_LOST = (
    "the cluster gave out: its scheduler is gone, or one task ended several workers",
    "a worker process was killed, perhaps for want of memory: fewer --jobs need less",
)


def _lost(scheduler: str | None) -> tuple[type[Exception], ...]:
    """Errors by which one learns that whoever did the work is gone."""
    if scheduler is None:
        return (BrokenProcessPool,)
    from distributed import CancelledError
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    return CancelledError, CommClosedError, KilledWorker, TimeoutError


@dataclass(frozen=True)
class FitJob:
    """One of many fits.

    Attributes
    ----------
    spec : ModelSpec
        Model, priors and sampler settings.
    data : EvaluationData
        The data.
    hidden : xarray.DataArray of bool, optional
        Cells to leave out, as `lndbayes.fit` takes them.
    """

    spec: ModelSpec
    data: EvaluationData
    hidden: xr.DataArray | None = None


def fit_many(
    jobs: Mapping[str, FitJob],
    folder: str | Path,
    *,
    keep: Callable[[xr.DataTree], xr.DataTree] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Path]:
    """Fit one or several specs to many data sets or masks, each stored as soon as it is finished.

    Compiled code is shared: only the first fit on a machine may have to wait for it.

    Parameters
    ----------
    jobs : mapping of str to FitJob
        By name, which becomes the name of the file.
    folder : str or Path
        Where fits are kept. Those that are there and were made from the same inputs are not made
        again, so that an interrupted call continues.
    keep : callable, optional
        Module-level function from a fit to what is stored of it; default everything. It runs where
        the fit does, so that only what is kept travels.
    workers, scheduler
        See `run_tasks`; each fit runs its chains one after the other on one core.
    say : callable, optional
        Receives a line for each finished fit.

    Returns
    -------
    dict of str to Path
        File of every job, in the order of `jobs`.

    Raises
    ------
    DataError, FitError, UsageError
        See `lndbayes.fit` and `run_tasks`; fits that were finished before are kept.
    """
    folder = Path(folder)
    paths = {name: folder / f"{name}.nc" for name in jobs}
    keys = {name: _job_key(job, keep) for name, job in jobs.items()}
    todo = [name for name in jobs if stored_fit(paths[name], keys[name]) is None]
    clock, made = time.monotonic(), 0

    def finished(name: str, tree: xr.DataTree) -> None:
        nonlocal made
        tree.attrs["fit_key"] = keys[name]
        save_fit(tree, paths[name])
        made += 1
        if say:
            left = (time.monotonic() - clock) / made * (len(todo) - made)
            say(f"{name}: fit {made} of {len(todo)} finished, about {left:.0f} s left")

    tasks = [Task(name, _fit_and_keep, (_light(jobs[name]), keep)) for name in todo]
    run_tasks(tasks, finished, workers=workers, scheduler=scheduler)
    return paths


def _light(job: FitJob) -> FitJob:
    return replace(job, data=with_rows_of(job.data, job.spec.outcome.name))


def _job_key(job: FitJob, keep: Callable[[xr.DataTree], xr.DataTree] | None) -> str:
    """Key of what is stored: the fit's inputs, the mask, and what is kept."""
    digest = hashlib.sha256(fit_key(job.spec, job.data).encode())
    if job.hidden is not None:
        mask = job.hidden.transpose("site", "month").sortby(["site", "month"])
        for part in (mask["site"], mask["month"], mask):
            digest.update(repr(part.to_numpy().tolist()).encode())
    if keep is not None:
        digest.update(f"{keep.__module__}.{keep.__qualname__}".encode())
        digest.update(source_hash(keep.__module__).encode())
    return digest.hexdigest()


def _fit_and_keep(job: FitJob, keep: Callable[[xr.DataTree], xr.DataTree] | None) -> xr.DataTree:
    tree = fit(job.spec, job.data, cores=1, predictive=keep is None, hidden=job.hidden)
    if keep is None:
        return tree
    kept = keep(tree)
    kept.attrs = {**tree.attrs, **kept.attrs}
    kept.attrs.pop(SEAL, None)
    return kept


def _named(task: Task) -> tuple[str, Any]:
    return task.name, task.function(*task.arguments)


def _in_processes(tasks: Sequence[Task], workers: int) -> Iterator[tuple[str, Any]]:
    from joblib import Parallel, delayed, parallel_config

    # linear algebra in a worker uses its own core only: the workers are the parallelism
    with parallel_config("loky", n_jobs=min(workers, len(tasks)), inner_max_num_threads=1):
        results = Parallel(return_as="generator_unordered", batch_size=1)(
            delayed(_named)(task) for task in tasks
        )
        yield from results


def _source_of(task: Task) -> str:
    """Source of a task of this package; nothing of any other, which a worker may be handed."""
    module = task.function.__module__
    return source_hash(module) if module.startswith("lndbayes.") else ""


def _on_worker(expected: dict[str, str], source: str, task: Task) -> tuple[str, Any]:
    """Run a task on a worker with the same packages and source as here, and nowhere else."""
    found = versions()
    if found != expected:
        other = ", ".join(f"{k} {found[k]} for {v}" for k, v in expected.items() if found[k] != v)
        rule = f"a worker has other versions than this process: {other}"
        raise UsageError(Problem("--scheduler", rule))
    if _source_of(task) != source:
        rule = "a worker has another source of lndbayes than this process, of the same version"
        raise UsageError(Problem("--scheduler", rule))
    return _named(task)


def check_scheduler(address: str) -> None:
    """See that a Dask scheduler answers.

    Raises
    ------
    UsageError
        If it does not, or the package that talks to it is not installed.
    """
    _client(address).close()


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        rule = "needs the package distributed: install lndbayes with the extra `cluster`"
        raise UsageError(Problem("--scheduler", rule)) from error
    try:
        return Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        rule = "no Dask scheduler answers at this address"
        raise UsageError(Problem("--scheduler", rule, value=address)) from error


def _on_cluster(tasks: Sequence[Task], address: str) -> Iterator[tuple[str, Any]]:
    with _client(address) as client:
        from distributed import as_completed

        expected = versions()
        futures = [
            client.submit(_on_worker, expected, _source_of(task), task, pure=False)
            for task in tasks
        ]
        try:
            for future in as_completed(futures, loop=client.loop):
                yield future.result()
                # kept here now: the cluster need not keep it, and cannot be asked to make it again
                future.release()
        except (LndbayesError, KeyboardInterrupt, GeneratorExit):
            client.cancel(futures)
            raise
