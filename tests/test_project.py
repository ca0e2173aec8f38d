"""The project's own files: pins, the Python that make finds, the environment it builds, paths."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PIN = re.compile(r"([a-z0-9][a-z0-9-]*)==([0-9][0-9a-z.]*)")

# What the recipes and the interpreter finder call, and nothing that could be a Python.
TOOLS = ("awk", "cat", "chmod", "cksum", "cp", "make", "mkdir", "rm", "sh", "sort")

# Import names whose distribution has another name, or comes with the one it belongs to.
BROUGHT_BY = {
    "docx": "python-docx",
    "arviz_base": "arviz",
    "arviz_stats": "arviz",
    "pytensor": "pymc",
    "pydantic_core": "pydantic",
}
# Never imported by name: xarray calls it as its engine.
ENGINES = {"netcdf4"}


def requirements(*parts: str) -> dict[str, Requirement]:
    """Direct requirements of the named parts: run, dev, build."""
    written = {
        "run": PYPROJECT["project"]["dependencies"],
        "cluster": PYPROJECT["project"]["optional-dependencies"]["cluster"],
        "dev": PYPROJECT["project"]["optional-dependencies"]["dev"],
        "build": PYPROJECT["build-system"]["requires"],
    }
    found = [Requirement(text) for part in parts for text in written[part]]
    return {canonicalize_name(r.name): r for r in found}


def pins() -> dict[str, str]:
    """Version by name; a line that is neither a comment nor an exact pin fails."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if not line.startswith("#"):
            match = PIN.fullmatch(line)
            assert match, f"constraints.txt: not an exact pin: {line!r}"
            found[match[1]] = match[2]
    assert len(found) == sum(not line.startswith("#") for line in lines), "a name is pinned twice"
    return found


def test_constraints_are_exact_and_allowed_by_every_direct_bound() -> None:
    pinned = pins()
    for name, requirement in requirements("run", "dev").items():
        assert requirement.specifier, f"{name} has no bound in pyproject.toml"
        assert name in pinned, f"{name} has no pin in constraints.txt"
        assert requirement.specifier.contains(pinned[name]), f"{name}: pin outside its bound"


def test_constraints_are_the_whole_closure_and_nothing_else() -> None:
    pinned, closure = pins(), set()
    waiting = [(name, "") for name in requirements("run", "dev")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in closure:
            continue
        closure.add((name, extra))
        for text in distribution(name).requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(needed.name), e) for e in ("", *needed.extras)]
    names = {name for name, _ in closure}
    assert sorted(names - pinned.keys()) == [], "needed, but not pinned"
    assert sorted(pinned.keys() - names) == [], "pinned, but not needed"
    installed = {name: distribution(name).version for name in names}
    assert installed == pinned, "the tests do not run on the pinned versions"


def test_every_direct_dependency_has_its_line() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    headings = {
        "To run": requirements("run"),
        "To run on a cluster": requirements("cluster"),
        # the tests need a cluster too
        "To develop": requirements("dev").keys() - requirements("cluster").keys(),
        "To build": requirements("build"),
    }
    for heading, names in headings.items():
        section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
        lines = dict(re.findall(r"^- `([a-z0-9-]+)`: (.+)$", section, flags=re.MULTILINE))
        assert list(lines) == sorted(names), heading
        assert [name for name, reason in lines.items() if len(reason.split()) < 4] == []


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    imported = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    # the plugin is loaded by a pytest that is there, or never
    outside = imported - sys.stdlib_module_names - {"lndbayes", "pytest", "_pytest"}
    needed = {canonicalize_name(BROUGHT_BY.get(name, name)) for name in outside} | ENGINES
    declared = set(requirements("run", "cluster"))
    assert sorted(needed - declared) == [], "imported, but not in pyproject.toml"
    assert sorted(declared - needed) == [], "in pyproject.toml, but never imported"


Home = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A copy of what make needs, at a path with a space, on a machine with no Python at all.

    The function returned runs make there: `home("target", NAME=value)`.
    """
    clone, tools = tmp_path / "a clone", tmp_path / "tools"
    for directory in (clone / "tools", tools, tmp_path / "home"):
        directory.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "tools/find-python.sh"):
        shutil.copy(ROOT / name, clone / name)
    for name in TOOLS:
        found = shutil.which(name)
        assert found, f"{name} is not on PATH"
        (tools / name).symlink_to(found)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "HOME": str(tmp_path / "home"),
            "PATH": os.pathsep.join([str(tmp_path / "bin"), str(tools)]),
            "LC_ALL": "C",
            **variables,
        }
        return subprocess.run(
            [str(tools / "make"), "-s", *arguments],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def fake_python(path: Path, version: str, *, venv: bool = True) -> str:
    """An executable that answers what the finder asks and makes environments of itself.

    As pip it appends its arguments to `pip.log` beside the environment, and fails if a file
    `pip.fails` lies there. With no version it fails as a pyenv shim does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""#!/bin/sh
[ -n "{version}" ] || {{ echo "pyenv: command not found" >&2; exit 127; }}
case "$*" in
    *version_info*) echo "{version}" ;;
    *ensurepip*) exit {0 if venv else 1} ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip "*) echo "$*" >> pip.log; [ ! -e pip.fails ] ;;
esac
""",
        encoding="utf-8",
    )
    path.chmod(0o755)
    return str(path)


def test_help_lists_every_target(home: Home) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[1].split())
    shown = home()
    assert shown.returncode == 0, shown.stderr
    listed = set(re.findall(r"^  ([a-z-]+) {2,}\S", shown.stdout, flags=re.MULTILINE))
    assert {"evaluate", "test", "synthetic"} <= targets == phony == listed


@pytest.mark.parametrize(
    ("on_path", "pyenv", "chosen"),
    [
        pytest.param({"python3": "3.12.4"}, {}, "bin/python3", id="plain python3"),
        pytest.param(
            {"python3": "3.14.1", "python3.12": "3.12.4", "python3.13": "3.13.9"},
            {},
            "bin/python3.13",
            id="3.13 before 3.12 before others",
        ),
        pytest.param(
            {"python3": "3.11.2", "python3.13": "", "python3.12": "3.12.4"},
            {"3.13.1": "3.13.1"},
            "bin/python3.12",
            id="a shim that fails is passed over; PATH before pyenv",
        ),
        pytest.param(
            {"python3": "3.11.2", "python3.13": "", "python3.12": ""},
            {"3.11.7": "3.11.7", "3.12.1": "3.12.1", "3.13.2": "3.13.2", "3.13.10": "3.13.10"},
            "home/.pyenv/versions/3.13.10/bin/python",
            id="pyenv: the newest patch, as a number",
        ),
        pytest.param(
            {"python3": "3.11.2"},
            {"3.9.18": "3.9.18", "3.12.1": "3.12.1", "3.14.0": "3.14.0", "3.13.0": ""},
            "home/.pyenv/versions/3.12.1/bin/python",
            id="pyenv: a broken installation is passed over",
        ),
        pytest.param(
            {"python3": "2.7.18"},
            {"3.13.9t": "3.13.9t", "3.15.0": "3.15.0"},
            "home/.pyenv/versions/3.15.0/bin/python",
            id="free-threaded is passed over; newer than known is taken last",
        ),
    ],
)
def test_the_interpreter_found(
    tmp_path: Path, home: Home, on_path: dict[str, str], pyenv: dict[str, str], chosen: str
) -> None:
    for name, version in on_path.items():
        fake_python(tmp_path / "bin" / name, version)
    for name, version in pyenv.items():
        fake_python(tmp_path / "home" / ".pyenv" / "versions" / name / "bin" / "python", version)
    found = home("print-python")
    assert found.stdout == f"{tmp_path / chosen}\n", found.stderr
    assert found.returncode == 0


def test_an_interpreter_without_venv_is_passed_over(tmp_path: Path, home: Home) -> None:
    fake_python(tmp_path / "bin" / "python3.13", "3.13.5", venv=False)
    pyenv = tmp_path / "pyenv root"
    other = fake_python(pyenv / "versions" / "3.12.9" / "bin" / "python", "3.12.9")
    assert home("print-python", PYENV_ROOT=str(pyenv)).stdout == f"{other}\n"


def test_no_interpreter_says_what_was_tried(tmp_path: Path, home: Home) -> None:
    old = fake_python(tmp_path / "bin" / "python3", "3.11.7")
    shim = fake_python(tmp_path / "bin" / "python3.13", "")
    bare = fake_python(tmp_path / "bin" / "python3.12", "3.12.3", venv=False)
    found = home("print-python")
    assert found.returncode == 2
    assert found.stdout == ""
    for said in (
        "needs Python 3.12 or newer, and found none",
        f"{old}: is 3.11.7\n",
        f"{shim}: does not run\n",
        f"{bare}: is 3.12.3 but lacks ensurepip",
        "python3.14: not on PATH",
        f"{tmp_path / 'home' / '.pyenv' / 'versions'}: no such directory",
        "make PYTHON=",
    ):
        assert said in found.stderr
    built = home("venv")
    assert built.returncode == 2
    assert "found none" in built.stderr


def test_python_given_is_used_or_refused(tmp_path: Path, home: Home) -> None:
    fake_python(tmp_path / "bin" / "python3.13", "3.13.5")
    wanted = fake_python(tmp_path / "some where" / "python", "3.12.9")
    old = fake_python(tmp_path / "old" / "python", "3.10.1")
    assert home("print-python", f"PYTHON={wanted}").stdout == f"{wanted}\n"
    refused = home("print-python", PYTHON=old)
    assert refused.returncode == 2
    assert f"PYTHON={old} will not do" in refused.stderr
    assert f"{old}: is 3.10.1" in refused.stderr


def test_the_environment_is_built_once_and_rebuilt_when_it_must_be(
    tmp_path: Path, home: Home
) -> None:
    clone = tmp_path / "a clone"
    log, leftover = clone / "pip.log", clone / ".venv" / "leftover"

    def installs() -> int:
        return len(log.read_text(encoding="utf-8").splitlines())

    fake_python(tmp_path / "bin" / "python3.13", "3.13.5")
    (clone / "pip.fails").touch()
    failed = home("venv")
    assert failed.returncode == 2
    assert "could not be built" in failed.stderr
    leftover.touch()

    (clone / "pip.fails").unlink()
    built = home("venv")
    assert built.returncode == 0
    assert "about 2 minutes" in built.stderr
    assert not leftover.exists(), "a half-built environment was kept"
    assert "-c constraints.txt -e .[dev]" in log.read_text(encoding="utf-8")
    assert installs() == 2

    again = home("venv")
    assert (again.returncode, again.stdout, again.stderr, installs()) == (0, "", "", 2)

    leftover.touch()
    with (clone / "constraints.txt").open("a", encoding="utf-8") as file:
        file.write("# moved\n")
    assert "up to date" in home("venv").stderr
    assert leftover.exists(), "new pins are installed over a whole environment"
    assert installs() == 3

    fake_python(clone / ".venv" / "bin" / "python", "")
    assert "Building" in home("venv").stderr
    assert not leftover.exists(), "a Python that no longer runs was kept"
    assert installs() == 4

    shutil.copytree(clone, tmp_path / "a copy")
    assert "Building" in home("-C", str(tmp_path / "a copy"), "venv").stderr
    assert installs() == 4, "the copy's scripts led back to where it came from"


@pytest.mark.parametrize(
    ("status", "meaning"),
    [(0, "all good"), (1, "a check says FAIL"), (2, "bad input"), (130, "interrupted")],
)
def test_evaluate_says_the_commands_own_exit_status(
    tmp_path: Path, home: Home, status: int, meaning: str
) -> None:
    fake_python(tmp_path / "bin" / "python3.13", "3.13.5")
    assert home("venv").returncode == 0
    command = tmp_path / "a clone" / ".venv" / "bin" / "lndbayes"
    command.write_text(f'#!/bin/sh\necho "$*"\nexit {status}\n', encoding="utf-8")
    command.chmod(0o755)
    run = home("evaluate", "ARGS=--outcomes custody")
    assert run.stdout == (
        "evaluate data/synthetic --models models --out results --outcomes custody\n"
    )
    assert f"exit status {status} ({meaning}" in run.stderr
    assert (run.returncode == 0) == (status == 0)


def test_no_file_names_a_machine_or_a_registry() -> None:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    paths = [ROOT / os.fsdecode(name) for name in listed.split(b"\0") if name]
    assert ROOT / "pyproject.toml" in paths
    found = []
    for path in paths:
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            lines = content.decode("utf-8").splitlines()
            found += [f"{path}:{n}: {line}" for n, line in enumerate(lines, 1) if FOREIGN(line)]
    assert not found, "\n".join(found)


# Put together from pieces, so that this file does not name what it looks for.
FOREIGN = re.compile(
    r"(?<![\w.:/-])/(?:work|root|farm|home|Users)/"
    + "|"
    + "|".join(
        re.escape(host + "." + domain)
        for host, domain in (
            ("pypi", "org"),
            ("python" + "hosted", "org"),
            ("registry.npm" + "js", "org"),
            ("registry.yarn" + "pkg", "com"),
            ("anaconda", "org"),
            ("deb.debian", "org"),
            ("archive.ubuntu", "com"),
        )
    )
).search


@pytest.mark.parametrize(
    ("line", "foreign"),
    [
        ("see /" + "work/main/x", True),
        ('"/' + 'root/.cache"', True),
        ("index-url = https://" + "pypi" + ".org/simple", True),
        ("https://files.python" + "hosted.org/x", True),
        ("paid work/home/", False),
        ("https://example.org/work/index.html", False),
        ("src/work/x.py and ./home/y", False),
    ],
)
def test_what_counts_as_a_machine_or_a_registry(line: str, foreign: bool) -> None:
    assert bool(FOREIGN(line)) == foreign
