"""Many tasks: here, in processes, and on a real cluster of which a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lndbayes import many
from lndbayes.errors import FitError, Problem, UsageError
from lndbayes.many import Task, run_tasks

pytestmark = pytest.mark.xdist_group("cluster")


def note(folder: str, index: int, seconds: float) -> int:
    """Take some time, and leave a line for each start and each end."""
    with (Path(folder) / "starts").open("a") as handle:
        handle.write(f"{index} {os.getpid()}\n")
    time.sleep(seconds)
    with (Path(folder) / "ends").open("a") as handle:
        handle.write(f"{index} {os.getpid()}\n")
    return index * index


def fail(index: int) -> int:
    if index == 2:
        raise FitError(Problem("a.csv", "must not be two", value="2"))
    return index


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
    monkeypatch.setattr(many, "_PATIENCE", 1)
    with pytest.raises(UsageError) as caught:
        run_tasks([Task("a", fail, (0,))], lambda name, value: None, scheduler=address)
    (problem,) = caught.value.problems
    assert problem.value == address
    assert "no Dask scheduler" in problem.rule


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    # scheduler and workers import the tasks of this file by the name it was collected under
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{folder.parent}{os.pathsep}{folder}"}
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
    tmp_path = tmp_path_factory.mktemp("cluster")
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
        for i in range(2)
    ]
    for i in range(2):
        log = tmp_path / f"worker{i}.log"
        wait_for(lambda log=log: "Registered to" in log.read_text(), 30, "a worker")
    yield json.loads(port.read_text())["address"], workers
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
