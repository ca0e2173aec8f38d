"""Run directories and one rendered page, made once a session."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from lndbayes.report import write_report

MakeRun = Callable[..., Path]


def _load(name: str) -> ModuleType:
    # The suite imports test modules by path, so a sibling is not on the import path
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake_run() -> ModuleType:
    return _load("fake_run")


@pytest.fixture(scope="session")
def made(fake_run: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Make each kind of run once a session."""
    kinds: dict[str, Path] = {}

    def make(**options: object) -> Path:
        key = repr(sorted(options.items()))
        if key not in kinds:
            path = tmp_path_factory.mktemp("kind") / "run"
            kinds[key] = fake_run.write_fake_run(path, **{"n_sites": 9, **options})
        return kinds[key]

    return make


@pytest.fixture
def make_run(made: MakeRun, tmp_path: Path) -> MakeRun:
    """Hand out a copy of a run, free to be edited."""

    def copy(**options: object) -> Path:
        return Path(shutil.copytree(made(**options), tmp_path / "run"))

    return copy


@pytest.fixture(scope="session")
def shared_run(made: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nine-site run with its report; read only."""
    run = Path(shutil.copytree(made(), tmp_path_factory.mktemp("report") / "run"))
    write_report(run)
    return run
