"""How one works here: what the hooks, the markers and CONTRIBUTING.md say is so."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def hooks() -> dict[str, dict[str, object]]:
    read = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    return {h["id"]: h | {"repo": repo["repo"]} for repo in read["repos"] for h in repo["hooks"]}


def run_hook(name: str, *files: Path) -> int:
    """Exit status of a hook on files, by the environment that runs the tests."""
    program, *arguments = str(hooks()[name]["entry"]).split()
    there = Path(sys.executable).parent / Path(program).name
    command = [str(there), *arguments, *map(str, files)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode


def test_hooks_are_the_projects_own_programs() -> None:
    assert list(hooks()) == ["ruff", "ruff-format", "mypy"]
    for hook in hooks().values():
        assert (hook["repo"], hook["language"]) == ("local", "system"), "nothing is fetched"
        program = str(hook["entry"]).split()[0]
        assert Path(program).parent == Path(".venv/bin")
        assert (Path(sys.executable).parent / Path(program).name).is_file()
    # what a commit is held to is what the tests are held to: mypy reads its files from pyproject
    assert hooks()["mypy"]["entry"] == ".venv/bin/mypy"
    assert re.search(r"^types:.*\n\t\$\(BIN\)/mypy$", MAKEFILE, re.M)


def test_the_style_hook_refuses_and_the_format_hook_mends(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text('"""Say."""\n\nX = 1\n', encoding="utf-8")
    bad.write_text('"""Say."""\nimport os\nX=1\n', encoding="utf-8")
    assert run_hook("ruff", good) == 0
    assert run_hook("ruff", bad) == 1
    assert run_hook("ruff-format", bad) == 0
    assert "X = 1" in bad.read_text(encoding="utf-8")


MADE_UP = """
import pytest
def test_plain(): pass
@pytest.mark.slow
def test_slow(): pass
@pytest.mark.release
def test_release(): pass
"""


def marked(target: str) -> list[str]:
    """The arguments by which a target of make chooses among the tests."""
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)
    assert recipe
    (line,) = [line for line in recipe[1].splitlines() if "-m pytest" in line]
    arguments = shlex.split(line.split("-m pytest")[1])
    return ["-m", arguments[arguments.index("-m") + 1]] if "-m" in arguments else []


@pytest.mark.parametrize(
    ("target", "chosen"),
    [("fast", {"plain"}), ("test", {"plain", "slow"}), ("release-check", {"release"})],
)
def test_targets_choose_tests_by_their_markers(
    target: str, chosen: set[str], tmp_path: Path
) -> None:
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    (tmp_path / "test_made_up.py").write_text(MADE_UP, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *marked(target)]
    done = subprocess.run(
        [*command, "test_made_up.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert set(re.findall(r"::test_(\w+) PASSED", done.stdout)) == chosen


def test_whatever_reads_a_committed_result_waits_for_a_release() -> None:
    tables = [path.name for path in (ROOT / "docs").rglob("*.csv")]
    assert tables
    readers = [
        path
        for path in TESTS.rglob("*.py")
        if any(f'DOCS / "{name}"' in path.read_text(encoding="utf-8") for name in tables)
    ]
    assert readers
    for path in readers:
        text = path.read_text(encoding="utf-8")
        assert re.search(r"^pytestmark = pytest\.mark\.release$", text, re.M), path


def test_contributing_names_targets_and_places_that_are_there() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.M))
    named = {
        word for line in re.findall(r"\bmake ([a-z -]+)", CONTRIBUTING) for word in line.split()
    }
    assert {"fast", "test", "release-check"} <= named & targets
    code = re.findall(r"`([^`\s]+)`", CONTRIBUTING)
    places = [name for name in code if "/" in name and not re.search(r"[<>*]", name)]
    assert len(places) >= 12
    roots = (ROOT, ROOT / "src" / "lndbayes")
    assert [name for name in places if not any((root / name).exists() for root in roots)] == []
    shown = re.findall(r"-m pytest (tests/\S+)", CONTRIBUTING)
    assert shown
    assert [name for name in shown if not (ROOT / name).exists()] == []
