"""The text a number comes from: every module that a fit imports, found without importing any."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lndbayes.files.source
from lndbayes.files.source import source_files, source_hash

SRC = Path(lndbayes.files.source.__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SRC / "lndbayes").rglob("*.py"))
}


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, by the language's own parser."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names & (MODULES.keys() - {"lndbayes"})


@pytest.mark.parametrize(
    "module",
    [
        "lndbayes.fitting.fit",
        "lndbayes.evidence.sensitivity",
        "lndbayes.validation.ranks",
        "lndbayes.validation.backtest.backtest",
    ],
)
def test_every_import_is_followed(module: str) -> None:
    waiting, whole = [module], set()
    while waiting:
        name = waiting.pop()
        if name not in whole:
            whole.add(name)
            waiting += imported(MODULES[name])
    beside = {f"{name}.toml": MODULES[name].with_suffix(".toml") for name in whole}
    wanted = {name: MODULES[name] for name in whole}
    wanted |= {name: path for name, path in beside.items() if path.is_file()}
    assert {name: path.resolve() for name, path in source_files(module).items()} == {
        name: path.resolve() for name, path in wanted.items()
    }


def test_numbers_beside_a_module_are_its_source() -> None:
    found = source_files("lndbayes.validation.ranks")
    assert found["lndbayes.synthetic.outcomes.toml"].read_text(encoding="utf-8").startswith("#")


def test_a_fit_rests_on_its_density_and_no_report() -> None:
    found = source_files("lndbayes.fitting.fit")
    parts = (
        *("density.kernel", "density.cell_likelihood", "density.evidence_terms"),
        *("numerics.vector", "model.design", "coordinates.from_draws", "model.predictive"),
    )
    assert {f"lndbayes.{part}" for part in parts} <= found.keys()
    assert {
        "lndbayes.fitting.sampler",
        "lndbayes.spec.families",
        "lndbayes.data.panel",
    } <= found.keys()
    assert not [name for name in found if name.startswith(("lndbayes.report", "lndbayes.checks"))]


#: Prints the hash of a fit's source in whatever copy of the package comes first.
PRINTS = "from lndbayes.files.source import source_hash; print(source_hash('lndbayes.fitting.fit'))"


def hash_in(root: Path) -> str:
    command = [sys.executable, "-c", PRINTS]
    return subprocess.check_output(command, cwd=root, env={"PYTHONPATH": str(root)}, text=True)


def test_only_the_text_counts_and_all_of_it(tmp_path: Path) -> None:
    """A wheel at another place with other line endings is the same source; an edit is not."""
    shutil.copytree(
        SRC / "lndbayes", tmp_path / "lndbayes", ignore=shutil.ignore_patterns("__pycache__")
    )
    here = source_hash("lndbayes.fitting.fit")
    for path in (tmp_path / "lndbayes").rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert hash_in(tmp_path).strip() == here
    kernel = tmp_path / "lndbayes" / "density" / "kernel.py"
    kernel.write_bytes(kernel.read_bytes() + b"# edited\r\n")
    assert hash_in(tmp_path).strip() != here


def test_names_of_the_package_lead_to_their_home(tmp_path: Path, monkeypatch) -> None:
    script = tmp_path / "a_script.py"
    script.write_text(
        "from lndbayes import (\n    pooled_effect,  # (a note)\n)\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("a_script")
    found = source_files("a_script")
    assert found["a_script"] == script
    assert "lndbayes.estimands.effects" in found
    assert "lndbayes.fitting.fit" not in found
