"""How commands end: exit statuses, the log of what nobody foresaw, signals, closed pipes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lndbayes
from lndbayes.app import cli, commands
from lndbayes.app.cli import main
from lndbayes.base.errors import MachineError, Problem
from lndbayes.files import places
from lndbayes.files.places import LOG
from small import load

directory = load("data/conftest.py")

SECRET = "site Northtown had 3 events"


def raising(error: BaseException) -> Callable[[object], int]:
    def run(options: object) -> int:
        raise error

    return run


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, Path]]:
    """Call `report` with a body that raises, on a run directory or on something else."""

    def call(error: BaseException, *, run: bool = True) -> tuple[int, Path]:
        out = tmp_path / "run"
        out.mkdir(exist_ok=True)
        if run:
            (out / "manifest.json").write_text("{}", encoding="utf-8")
        monkeypatch.setattr(commands, "report", raising(error))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        (tmp_path / "tmp").mkdir(exist_ok=True)
        return main(["report", str(out), "--quiet"]), out

    return call


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError(SECRET), "unexpected error (KeyError)"),
        (RecursionError(SECRET), "unexpected error (RecursionError)"),
        (MemoryError(SECRET), "out of memory"),
        (OSError(28, "No space left on device", "x"), "No space left on device"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
        (MachineError(Problem("x.nc", "could not be written")), "x.nc: could not be written"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_nobody_foresaw_has_its_own_status_and_a_log(error, told, failing, capsys) -> None:
    status, out = failing(error)
    assert status == 70
    printed = capsys.readouterr()
    assert printed.out == ""
    assert told in printed.err
    assert "Traceback" not in printed.err
    assert SECRET not in printed.err
    log = out / LOG
    assert str(log) in printed.err
    assert type(error).__name__ in log.read_text(encoding="utf-8")
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    # the next one is added
    before = log.stat().st_size
    failing(error)
    assert log.stat().st_size > before


def test_without_a_run_directory_the_log_is_a_private_file(failing, tmp_path, capsys) -> None:
    status, out = failing(KeyError(SECRET), run=False)
    assert status == 70
    assert list(out.iterdir()) == [], "somebody else's folder"
    (log,) = (tmp_path / "tmp").iterdir()
    assert str(log) in capsys.readouterr().err
    assert SECRET in log.read_text(encoding="utf-8")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_log_is_not_written_through_a_link(failing, tmp_path, capsys) -> None:
    other = tmp_path / "other"
    other.write_text("mine", encoding="utf-8")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOG).symlink_to(other)
    assert failing(KeyError("x"))[0] == 70
    assert other.read_text(encoding="utf-8") == "mine"
    assert str(tmp_path / "tmp") in capsys.readouterr().err


def test_no_log_is_said(failing, monkeypatch, capsys) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", refuse)
    assert failing(KeyError("x"))[0] == 70
    assert "no log could be written" in capsys.readouterr().err


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_request_to_end_is_an_interruption(name, monkeypatch, tmp_path, capsys) -> None:
    number = getattr(signal, name)
    # tests that run in the background inherit signals that are ignored, and these stay ignored
    usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    before = signal.signal(number, usual)

    def run(options: object) -> int:
        os.kill(os.getpid(), number)
        time.sleep(5)
        return 0

    try:
        monkeypatch.setattr(commands, "report", run)
        assert main(["report", str(tmp_path)]) == 130
        assert "interrupted: finished fits are kept" in capsys.readouterr().err
        assert signal.getsignal(number) is usual
        assert list(tmp_path.iterdir()) == []
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch, tmp_path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def run(options: object) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return 0

    try:
        monkeypatch.setattr(commands, "report", run)
        assert main(["report", str(tmp_path)]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


# --- pipes, as processes --------------------------------------------------------------------------


def lndbayes_process(arguments: list[str], **options: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(lndbayes.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-m", "lndbayes", *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload]  # Popen has no type for options handed on
    )


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the end", "at once"])
def test_a_closed_pipe_is_quiet(unbuffered, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    directory.Directory(tmp_path / "tiny").write()
    read, write = os.pipe()
    os.close(read)  # nobody reads: as `| head` after it has what it wants
    process = lndbayes_process(["validate", str(tmp_path / "tiny")], stdout=write)
    os.close(write)
    _, told = process.communicate(timeout=120)
    assert told == b""
    assert process.returncode == 141


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the end", "at once"])
def test_help_into_a_closed_pipe_is_quiet(unbuffered, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    read, write = os.pipe()
    os.close(read)
    process = lndbayes_process(["--help"], stdout=write)
    os.close(write)
    _, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_told(tmp_path) -> None:
    with Path("/dev/full").open("wb") as full:
        process = lndbayes_process(["--version"], stdout=full)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 70
    assert b"No space left on device" in told
    assert b"Traceback" not in told


# --- version --------------------------------------------------------------------------------------


def test_the_version_is_that_of_the_package(capsys) -> None:
    assert main(["--version"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"lndbayes {lndbayes.__version__}\n", "")
    assert lndbayes.__version__ == cli.version("lndbayes")
    assert "__version__" in lndbayes.__all__


# --- where a run may be written -------------------------------------------------------------------


def test_places_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rules(out: Path) -> str:
        found = places.run_problems(out, [tmp_path / "data"])
        return " / ".join(str(problem) for problem in found)

    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "file").write_text("x", encoding="utf-8")
    run = tmp_path / "run"
    assert rules(run) == rules(tmp_path / "new" / "deep") == ""
    for out in (data, data / "inside" / "run", tmp_path / "new" / ".." / "data" / "run"):
        assert "must not lie in" in rules(out)
    (tmp_path / "link").symlink_to(data)
    assert "must not lie in" in rules(tmp_path / "link" / "run")
    assert "is a file" in rules(tmp_path / "file")
    assert "cannot be made" in rules(tmp_path / "file" / "run")
    assert "too long" in rules(tmp_path / ("x" * 300))
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert "link to something that is not there" in rules(tmp_path / "nowhere")
    places.make_run(run)
    assert rules(run) == ""
    (run / "effects.csv").mkdir()
    (run / "fits" / "custody.nc").mkdir()
    assert rules(run).count("must be a file of the run") == 2
    (run / "effects.csv").rmdir()
    (run / "fits" / "custody.nc").rmdir()
    (run / "sensitivity").write_text("x", encoding="utf-8")
    assert "must be a folder of the run" in rules(run)
    (run / "sensitivity").unlink()
    monkeypatch.setattr(places.os, "access", lambda path, mode: False)
    assert "cannot be written to" in rules(run) or "Permission denied" in rules(run)
    assert "cannot be made" in rules(tmp_path / "new")
