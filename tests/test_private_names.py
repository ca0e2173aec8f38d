"""Tests ask for what a module promises: names that begin with an underscore are its own business.

A test of a private name goes red when code is put better and nothing is wrong, and it keeps quiet
about what users get. `MOST` counts what is left of such tests: it may only become smaller.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SRC = TESTS.parent / "src" / "lndbayes"
PRIVATE = re.compile(r"_[a-zA-Z]\w*")
#: Calls that replace or read a name given as text.
BY_TEXT = frozenset({"setattr", "getattr", "setitem", "object", "patch"})

#: How many private names of the package the test files still take up, each counted once a file.
#: Lower it with every one that is mended.
MOST = 36


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


def test_no_more_private_names_are_taken_up() -> None:
    private = package_names()
    assert len(private) > 100, "looked in the wrong place"
    found = [
        f"{path.relative_to(TESTS)}: {name}"
        for path in sorted(TESTS.rglob("*.py"))
        if path != Path(__file__)
        for name in sorted(uses(path.read_text(encoding="utf-8"), private))
    ]
    assert len(found) <= MOST, "ask through a public name:\n" + "\n".join(found)


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
