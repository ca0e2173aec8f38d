"""Tests ask for what a module promises: names that begin with an underscore are its own business.

A test of a private name goes red when code is put better and nothing is wrong, and it keeps quiet
about what users get. `KNOWN` counts what is left of such tests: no file may take up more.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SRC = TESTS.parent / "src" / "lndbayes"
PRIVATE = re.compile(r"_[a-zA-Z]\w*")
#: Calls that replace or read a name given as text.
BY_TEXT = frozenset({"setattr", "getattr", "setitem", "object", "patch"})

#: How many private names of the package a test file still takes up. Lower it when one is mended.
KNOWN: Mapping[str, int] = {
    "generated_run.py": 7,
    "test_backtest.py": 1,
    "test_calibration.py": 2,
    "test_compiled.py": 1,
    "test_evaluate.py": 2,
    "test_geometry.py": 1,
    "test_ledger.py": 1,
    "test_ledger_measures.py": 7,
    "test_many.py": 1,
    "test_metric.py": 5,
    "test_page.py": 2,
    "test_powerscale.py": 2,
    "test_sampler.py": 1,
    "test_strata.py": 3,
    "test_vector.py": 3,
}


def private_names(tree: ast.Module) -> set[str]:
    """Names with an underscore that a module has at its top."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            inner = [name for target in targets for name in ast.walk(target)]
            found |= {name.id for name in inner if isinstance(name, ast.Name)}
    return {name for name in found if PRIVATE.fullmatch(name)}


def uses(source: str, private: set[str]) -> set[str]:
    """Private names of the package that a test imports, reads, or replaces by text."""
    return {name for name in _names(ast.parse(source)) if name in private}


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lndbayes":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and not _of_itself(node.value):
            yield node.attr
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            if called in BY_TEXT:
                yield from _texts(node)
        elif isinstance(node, ast.Constant) and str(node.value).isupper():
            # constants that a loop replaces: `for name in ("_MOST", "_FEWEST")`
            yield str(node.value)


def _of_itself(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def _texts(call: ast.Call) -> Iterator[str]:
    for argument in call.args:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value.rsplit(".", 1)[-1]


def package_names() -> set[str]:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in SRC.rglob("*.py"))
    return set().union(*map(private_names, trees))


def test_no_test_takes_up_a_private_name() -> None:
    private = package_names()
    assert len(private) > 100, "looked in the wrong place"
    more = {}
    for path in sorted(TESTS.rglob("*.py")):
        found = uses(path.read_text(encoding="utf-8"), private) if path != Path(__file__) else ()
        if len(found) > KNOWN.get(path.name, 0):
            more[path.name] = sorted(found)
    assert more == {}, "ask through a public name"


@pytest.mark.parametrize(
    "source",
    [
        "from lndbayes.fitting.sampler import _PATHS",
        "from lndbayes.fitting import sampler\nsampler._PATHS",
        "monkeypatch.setattr(sampler, '_PATHS', 2)",
        "patch('lndbayes.fitting.sampler._PATHS', 2)",
        "for name in ('_PATHS',):\n    patch.object(module, name, 2)",
    ],
)
def test_each_way_to_a_private_name_is_seen(source: str) -> None:
    assert uses(source, {"_PATHS"}) == {"_PATHS"}


@pytest.mark.parametrize(
    "source",
    ["self._PATHS", "x = 'see _PATHS'", "from elsewhere import _PATHS", "sampler.PATHS", "_PATHS"],
)
def test_what_is_no_private_name_of_the_package_passes(source: str) -> None:
    assert uses(source, {"_PATHS"}) == set()
