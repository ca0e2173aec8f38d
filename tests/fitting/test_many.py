"""Many tasks: here, in processes, and on a real cluster of which a worker is killed."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import worker_functions
from lndbayes.base.errors import FitError, MachineError, UsageError
from lndbayes.fitting import parallel as many
from lndbayes.fitting.parallel import Task, run_tasks
from worker_functions import die, fail, note

pytestmark = pytest.mark.xdist_group("cluster")


def lines(folder: Path, name: str) -> list[tuple[int, int]]:
    path = folder / name
    if not path.is_file():
        return []
    pairs = (line.split() for line in path.read_text().splitlines())
    return [(int(a), int(b)) for a, b in pairs]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_result_is_handed_over_once(tmp_path, workers):
    got: list[tuple[str, int]] = []
    tasks = [Task(f"t{i}", note, (str(tmp_path), i, 0.0)) for i in range(7)]
    run_tasks(tasks, lambda name, value: got.append((name, value)), workers=workers)
    assert sorted(got) == [(f"t{i}", i * i) for i in range(7)]
    assert Counter(index for index, _ in lines(tmp_path, "starts")) == Counter(range(7))
    where = {pid for _, pid in lines(tmp_path, "starts")}
    assert (where == {os.getpid()}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_before_an_error_are_kept_and_the_error_is_whole(workers):
    got = {}
    with pytest.raises(FitError) as caught:
        run_tasks([Task(str(i), fail, (i,)) for i in range(3)], got.__setitem__, workers=workers)
    (problem,) = caught.value.problems
    assert (problem.file, problem.value) == ("a.csv", "2")
    assert got.items() <= {"0": 0, "1": 1}.items()
    if workers == 1:
        assert got == {"0": 0, "1": 1}


def test_no_tasks_start_nothing():
    run_tasks([], lambda name, value: pytest.fail("there was nothing to do"), workers=4)
    run_tasks([], lambda name, value: pytest.fail("there was nothing to do"), scheduler="nowhere")


def test_two_tasks_of_one_name_are_a_mistake():
    with pytest.raises(ValueError, match="distinct names"):
        run_tasks([Task("a", fail, (0,)), Task("a", fail, (1,))], lambda name, value: None)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "no address"])
def test_no_scheduler_is_told(address, monkeypatch):
    monkeypatch.setattr(many, "PATIENCE", 1)
    with pytest.raises(UsageError) as caught:
        run_tasks([Task("a", fail, (0,))], lambda name, value: None, scheduler=address)
    (problem,) = caught.value.problems
    assert problem.value == address
    assert "no Dask scheduler" in problem.rule


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    # scheduler and workers import the tasks by name, and the package from where this process has it
    paths = [str(Path(worker_functions.__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with log.open("wb") as handle:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdout=handle,
            stderr=handle,
            env=environment,
            cwd=log.parent,
        )


def wait_for(condition: Any, seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            pytest.fail(f"waited in vain for {what}")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, three processes of their own, without a nanny to revive them."""
    with running_cluster(tmp_path_factory.mktemp("cluster"), 2) as (address, _, workers):
        yield address, workers


@contextmanager
def running_cluster(
    tmp_path: Path, count: int
) -> Iterator[tuple[str, subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]]:
    """A scheduler and its workers."""
    port = tmp_path / "scheduler.json"
    where = f"--scheduler-file {port}"
    scheduler = start(
        f"distributed.cli.dask_scheduler --port 0 --no-dashboard --host 127.0.0.1 {where}".split(),
        tmp_path / "scheduler.log",
    )
    wait_for(port.is_file, 30, "the scheduler")
    workers = [
        start(
            f"distributed.cli.dask_worker --nthreads 1 --no-nanny --no-dashboard {where}".split(),
            tmp_path / f"worker{i}.log",
        )
        for i in range(count)
    ]
    for i in range(count):
        log = tmp_path / f"worker{i}.log"
        wait_for(lambda log=log: "Registered to" in log.read_text(), 30, "a worker")
    yield json.loads(port.read_text())["address"], scheduler, workers
    for process in (*workers, scheduler):
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_an_error_on_a_worker_arrives_with_its_problems(cluster):
    address, _ = cluster
    got: dict[str, int] = {}
    with pytest.raises(FitError) as caught:
        run_tasks([Task(str(i), fail, (i,)) for i in range(3)], got.__setitem__, scheduler=address)
    assert caught.value.problems[0].value == "2"


@pytest.mark.slow
def test_a_worker_with_other_packages_is_refused(cluster, monkeypatch):
    """Its draws would not be those that this process would have made and named."""
    address, _ = cluster
    monkeypatch.setattr(many, "versions", lambda: {"nutpie": "0.1"})
    with pytest.raises(UsageError, match="other versions"):
        run_tasks([Task("a", fail, (0,))], lambda name, value: None, scheduler=address)


@pytest.mark.slow
def test_a_worker_with_another_source_is_refused(cluster, monkeypatch):
    address, _ = cluster
    monkeypatch.setattr(many, "_source_of", lambda task: "an edit")
    with pytest.raises(UsageError, match="another source of lndbayes"):
        run_tasks([Task("a", fail, (0,))], lambda name, value: None, scheduler=address)


def test_a_killed_process_is_told_in_a_line_and_what_was_finished_is_kept(tmp_path):
    got: dict[str, int] = {}
    first = Task("first", note, (str(tmp_path), 3, 0.0))
    tasks = [first, Task("dies", die, (str(tmp_path),))]
    with pytest.raises(MachineError, match="a worker process was killed") as caught:
        run_tasks(tasks, got.__setitem__, workers=2)
    assert got == {"first": 9}
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 70


@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_told_in_a_line(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("short"), 1) as (address, scheduler, _):
        got: dict[str, int] = {}

        def finished(name: str, value: int) -> None:
            got[name] = value
            scheduler.send_signal(signal.SIGKILL)

        folder = str(tmp_path_factory.mktemp("notes"))
        tasks = [Task(f"t{i}", note, (folder, i, 0.5)) for i in range(6)]
        with pytest.raises(MachineError, match="the cluster gave out") as caught:
            run_tasks(tasks, finished, scheduler=address)
        assert got
        assert "\n" not in str(caught.value)


# last in this file: it leaves the cluster with one worker
@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_nothing_is_done_twice(cluster, tmp_path):
    """Twelve tasks on two workers, one of which dies amid its second."""
    address, workers = cluster
    got: list[tuple[str, int]] = []
    killed: list[int] = []

    def finished(name: str, value: int) -> None:
        got.append((name, value))
        if len(got) == 4:
            # amid a task: the victim has begun one that has not ended
            def begun() -> set[int]:
                ended = {i for i, _ in lines(tmp_path, "ends")}
                victim = workers[0].pid
                return {
                    i for i, pid in lines(tmp_path, "starts") if pid == victim and i not in ended
                }

            wait_for(begun, 20, "a task on the first worker")
            killed.extend(begun())
            workers[0].send_signal(signal.SIGKILL)

    tasks = [Task(f"t{i}", note, (str(tmp_path), i, 0.4)) for i in range(12)]
    run_tasks(tasks, finished, scheduler=address)
    # nothing lost, nothing handed over twice
    assert sorted(got) == sorted((f"t{i}", i * i) for i in range(12))
    # nothing done twice: each task ended once, and only those amid which the worker died began anew
    assert Counter(i for i, _ in lines(tmp_path, "ends")) == Counter(range(12))
    starts = Counter(i for i, _ in lines(tmp_path, "starts"))
    assert {i for i, n in starts.items() if n > 1} == set(killed)
    assert len(killed) == 1
    pids = {pid for _, pid in lines(tmp_path, "starts")}
    assert pids == {w.pid for w in workers}


# --- names by which workers import ----------------------------------------------------------------


def handed_to_workers(source: str) -> set[str]:
    """Functions of the module itself that it hands to tasks, or as `keep` to many fits."""
    module = ast.parse(source)
    own = {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
    given: list[ast.expr] = []
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            given += node.args[1:2] if called == "Task" else []
            wanted = {"Task": "function", "fit_many": "keep"}.get(called)
            given += [k.value for k in node.keywords if k.arg == wanted]
    return own & {node.id for node in given if isinstance(node, ast.Name)}


def test_no_test_hands_a_function_of_its_own_to_workers() -> None:
    files = Path(__file__).parent.rglob("test_*.py")
    found = {path.name: handed_to_workers(path.read_text(encoding="utf-8")) for path in files}
    assert "test_many.py" in found
    assert {name: own for name, own in found.items() if own} == {}


def test_what_counts_as_handed_to_workers() -> None:
    source = """
def mine(x): ...
def kept(x): ...
def free(x): ...
run_tasks([many.Task("a", mine, (1,)), Task("b", other, ())], free)
fit_many(jobs, folder, keep=kept)
"""
    assert handed_to_workers(source) == {"mine", "kept"}


def test_workers_find_their_functions_beside_another_package_called_tests(tmp_path) -> None:
    """As some distributions install one; a folder of that name comes after it."""
    foreign = tmp_path / "site"
    (foreign / "tests").mkdir(parents=True)
    (foreign / "tests" / "__init__.py").write_text("", encoding="utf-8")
    paths = [os.environ.get("PYTHONPATH", ""), str(foreign)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    chosen = "every_result_is_handed_over_once"
    command = [sys.executable, "-m", "pytest", __file__, "-q", "-k", chosen]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert " passed" in done.stdout
