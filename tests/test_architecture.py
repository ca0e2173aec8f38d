"""The architecture, read from the source: what may import what, and what may stand where.

`violations` looks at one module's text and knows nothing of the file system, so each rule is also
shown to fail on a few lines made up for it. A rule sees what is written, not what is meant: a
reduction over all dims at once, or over axes of a bare array, does not name the draws and passes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"

# From the ground up: a module may import from its own room and from the rooms before it.
# ARCHITECTURE.md says what each holds.
ROOMS = (
    *("base", "files", "data", "spec", "synthetic", "extracts"),
    *("numerics", "model", "density", "coordinates", "fitting"),
    *("estimands", "money", "checks", "evidence", "second_stage"),
    *("report", "validation", "app", "pytest_plugin", "__main__"),
)
# The package itself offers the public names of every room, so nothing inside may import from it.
PACKAGE = "lndbayes"

# Where a package may be imported at all: it stays out of everything that only reads stored draws.
HOMES: Mapping[str, tuple[str, ...]] = {
    "pymc": ("lndbayes.model", "lndbayes.fitting.fit", "lndbayes.validation.calibration"),
    "pytensor": ("lndbayes.model", "lndbayes.fitting.fit", "lndbayes.validation.calibration"),
    "numba": (
        *("lndbayes.numerics", "lndbayes.density", "lndbayes.coordinates"),
        *("lndbayes.model.pointwise", "lndbayes.fitting.c_functions", "lndbayes.fitting.compiled"),
    ),
    "nutpie": ("lndbayes.fitting",),
}

# Draws are carried to the end and reduced in one place, so that totals are sums of draws.
REDUCERS = (
    *("lndbayes.estimands.summaries", "lndbayes.fitting.chain_statistics", "lndbayes.checks"),
    *("lndbayes.evidence.powerscale", "lndbayes.validation.ranks"),
    "lndbayes.validation.backtest.scores",
)
# Where a command ends: what nobody foresaw gets its own exit status there, and a log.
LAST = "lndbayes.app.endings"
# Errors by which a mistake in the code shows: an except of several of them would hide it.
MISTAKES = frozenset(
    {"ArithmeticError", "AssertionError", "AttributeError", "IndexError", "KeyError", "LookupError"}
    | {"NameError", "RuntimeError", "TypeError"}
)
# Where several are caught nevertheless, or an except cannot be read, and why.
CAUGHT: Mapping[str, str] = {
    "lndbayes.files.storage": "what libraries raise on a damaged file, with nothing else in it",
    "lndbayes.fitting.parallel": "errors of a package that may be absent, so by a function",
}
REDUCTIONS = frozenset(
    {"all", "any", "argmax", "argmin", "count", "max", "mean", "median", "min", "prod", "quantile"}
    | {"reduce", "std", "sum", "var"}
)
SAMPLE_WORDS = frozenset({"chain", "draw", "sample", "CHAIN", "DRAW", "SAMPLE_DIMS"})

MODULE_LINES = 400
FUNCTION_LINES = 60  # without the docstring; above 40 look for a seam

# Longer than the limits, and why. An entry that is no longer needed fails.
LONG_MODULES: Mapping[str, str] = {}
LONG_FUNCTIONS: Mapping[str, str] = {}


def violations(module: str, source: str) -> list[str]:
    """Every rule that one module's text breaks, each with its line."""
    tree = ast.parse(source)
    if _place(module) is None:
        return [f"{module}: in no room; add it to ROOMS in tests/test_architecture.py"]
    found = [*_imports(module, tree), *_reductions(module, tree)]
    if module != LAST:
        found += _broad_excepts(tree)
        found += _hidden_mistakes(tree) if module not in CAUGHT else ()
    return [f"{module}:{line}: {message}" for line, message in sorted(set(found))]


def overlong(module: str, source: str) -> dict[str, int]:
    """Lines of the module and of each of its functions that is over the limit, by dotted name."""
    lines = len(source.splitlines())
    found = {module: lines} if lines > MODULE_LINES else {}
    for name, node in _functions(module, ast.parse(source)):
        first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
        lines = (node.end_lineno or 0) - first.lineno + 1
        if lines > FUNCTION_LINES:
            found[name] = lines
    return found


def _within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _place(module: str) -> int | None:
    """Number of a module's room from the ground; the package itself stands above all."""
    if module == PACKAGE:
        return len(ROOMS)
    first, *rest = module.split(".")
    return ROOMS.index(rest[0]) if first == PACKAGE and rest[0] in ROOMS else None


def _imports(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "relative import"
                continue
            # `from lndbayes import app` means the room, not the package.
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [name if _place(name) is not None else str(node.module) for name in whole]
        else:
            continue
        for target in targets:
            yield from ((node.lineno, message) for message in _import_faults(module, target))


def _import_faults(module: str, target: str) -> Iterator[str]:
    top = target.split(".")[0]
    if top in HOMES and not _within(module, HOMES[top]):
        yield f"imports {top}, which belongs in {', '.join(HOMES[top])}"
    if top == PACKAGE:
        here, there = _place(module), _place(target)
        if there is None:
            yield f"imports {target}, which is in no room"
        elif here is not None and there > here:
            name = ROOMS[there] if there < len(ROOMS) else PACKAGE
            yield f"imports {target} upwards, from {ROOMS[here]} to {name}"


def circles(modules: Mapping[str, str]) -> list[list[str]]:
    """Modules that import each other, at whatever depth, one list a circle."""
    arrows = {name: _targets(name, source, modules) for name, source in modules.items()}
    reach: dict[str, set[str]] = {}
    for start in arrows:
        seen, waiting = set(), [start]
        while waiting:
            new = arrows[waiting.pop()] - seen
            seen |= new
            waiting += new
        reach[start] = seen
    tied = {name: sorted(m for m in reach[name] if name in reach[m]) for name in reach}
    return sorted({tuple(group): group for group in tied.values() if group}.values())


def _targets(name: str, source: str, modules: Mapping[str, str]) -> set[str]:
    """Modules of the package that a module imports when it is loaded or later."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            # a name that is no module is taken from the module it stands in
            found |= {w if w in modules else str(node.module) for w in whole}
    return found & modules.keys()


def _reductions(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    if _within(module, REDUCERS):
        return
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        over = [*node.args, *(k.value for k in node.keywords if k.arg in ("dim", "dims", "axis"))]
        if node.func.attr in REDUCTIONS and any(_names_draws(argument) for argument in over):
            yield node.lineno, f".{node.func.attr}() over draws belongs in {', '.join(REDUCERS)}"


def _names_draws(argument: ast.expr) -> bool:
    """Whether an argument is a sample dim or a collection with one in it."""
    if isinstance(argument, ast.List | ast.Tuple | ast.Set):
        return any(_names_draws(element) for element in argument.elts)
    if isinstance(argument, ast.Starred):
        return _names_draws(argument.value)
    if isinstance(argument, ast.BinOp):
        return _names_draws(argument.left) or _names_draws(argument.right)
    if isinstance(argument, ast.Constant):
        return argument.value in SAMPLE_WORDS
    name = getattr(argument, "attr", getattr(argument, "id", None))
    return name in SAMPLE_WORDS


def _broad_excepts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            last = node.body[-1]
            # Clean up and pass it on: nothing is hidden.
            passes_on = isinstance(last, ast.Raise) and last.exc is None
            if (node.type is None or _is_broad(node.type)) and not passes_on:
                yield node.lineno, "broad except that does not re-raise"
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            if name == "suppress" and any(_is_broad(argument) for argument in node.args):
                yield node.lineno, "suppress() of a broad exception"


def _hidden_mistakes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield excepts that catch mistakes of several kinds, their constants read, or cannot be."""
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = _caught(node.type, constants)
            if None in caught:
                yield node.lineno, "except of errors that do not stand here"
            if len(MISTAKES & caught) > 1:
                yield node.lineno, "broad except: several errors by which a mistake shows"


def _caught(expression: ast.expr, constants: Mapping[str, ast.expr]) -> set[str | None]:
    """Names of the errors in an except; None for what the module does not spell out."""
    if isinstance(expression, ast.Tuple):
        return {name for e in expression.elts for name in _caught(e, constants)}
    if isinstance(expression, ast.Starred):
        return _caught(expression.value, constants)
    if isinstance(expression, ast.BinOp):
        return _caught(expression.left, constants) | _caught(expression.right, constants)
    name = getattr(expression, "attr", getattr(expression, "id", None))
    if name in constants:
        return _caught(constants[name], constants)
    # classes are written in capitals and small letters, constants in capitals
    return {None if name is None or name.isupper() else name}


def _is_broad(expression: ast.expr) -> bool:
    if isinstance(expression, ast.Tuple):
        return any(_is_broad(element) for element in expression.elts)
    name = getattr(expression, "attr", getattr(expression, "id", None))
    return name in ("Exception", "BaseException")


def _functions(
    prefix: str, node: ast.AST
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        name = f"{prefix}.{child.name}" if named else prefix
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, child
        yield from _functions(name, child)


def _modules() -> dict[str, str]:
    names = {
        ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (SRC / PACKAGE).rglob("*.py")
    }
    return {name: path.read_text(encoding="utf-8") for name, path in sorted(names.items())}


def test_the_package_keeps_the_rules() -> None:
    modules = _modules()
    assert {"lndbayes.base.errors", "lndbayes.base.names"} <= modules.keys(), (
        "looked in the wrong place"
    )
    found = [v for name, source in modules.items() for v in violations(name, source)]
    assert not found, "\n".join(found)


def test_what_may_catch_mistakes_does() -> None:
    modules = _modules()
    for name, reason in CAUGHT.items():
        assert list(_hidden_mistakes(ast.parse(modules[name]))), f"{name} is no exception: drop it"
        assert len(reason.split()) > 5


def test_every_room_is_there() -> None:
    inside = {name.split(".")[1] for name in _modules() if name != PACKAGE}
    assert inside == set(ROOMS)


def test_no_modules_import_each_other() -> None:
    modules = {name: source for name, source in _modules().items() if name != PACKAGE}
    assert circles(modules) == []


def test_a_circle_is_found_at_any_depth() -> None:
    modules = {
        "p.a": "from p import b",
        "p.b": "def f():\n    from p.c import x",
        "p.c": "import p.a",
        "p.d": "from p.a import y",
    }
    assert circles(modules) == [["p.a", "p.b", "p.c"]]
    assert circles({**modules, "p.c": ""}) == []


def test_what_is_long_has_a_reason_and_what_has_a_reason_is_long() -> None:
    found = {k: n for name, source in _modules().items() for k, n in overlong(name, source).items()}
    reasons = {**LONG_MODULES, **LONG_FUNCTIONS}
    unreasoned = [f"{name}: {n} lines" for name, n in found.items() if name not in reasons]
    assert not unreasoned, "\n".join(unreasoned)
    assert sorted(reasons.keys() - found.keys()) == [], "no longer long: drop the entry"
    assert [name for name, reason in reasons.items() if len(reason.split()) < 5] == []


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        (
            "lndbayes.spec.model_spec",
            "from lndbayes.model.build import build_model",
            "upwards, from spec to model",
        ),
        ("lndbayes.spec.model_spec", "from lndbayes import app", "lndbayes.app upwards"),
        (
            "lndbayes.estimands.summaries",
            "def f():\n    import lndbayes.money.tables",
            ":2: imports lndbayes.money.tables",
        ),
        ("lndbayes.app.cli", "from lndbayes import evaluate_all", "imports lndbayes upwards"),
        ("lndbayes.app.cli", "import lndbayes.extra", "lndbayes.extra, which is in no room"),
        ("lndbayes.extra", "", "add it to ROOMS"),
        ("lndbayes.modelling", "", "add it to ROOMS"),
        ("lndbayes.money.savings", "from .effects import site_effects", "relative import"),
        ("lndbayes.estimands.effects", "import pymc as pm", "imports pymc"),
        ("lndbayes.fitting.chain_statistics", "from pymc.math import exp", "imports pymc"),
        ("lndbayes.spec.priors", "import pytensor.tensor as pt", "imports pytensor"),
        ("lndbayes.fitting.fit", "from numba import njit", "imports numba"),
        ("lndbayes.model.build", "import nutpie", "imports nutpie"),
        ("lndbayes.money.savings", "x.mean(('chain', 'draw'))", ".mean() over draws"),
        ("lndbayes.money.savings", "x.mean(SAMPLE_DIMS)", ".mean() over draws"),
        (
            "lndbayes.money.savings",
            "x.quantile(0.5, dim=names.SAMPLE_DIMS)",
            ".quantile() over draws",
        ),
        ("lndbayes.estimands.effects", "x.sum(dim=['site', DRAW])", ".sum() over draws"),
        ("lndbayes.estimands.effects", "x.stack(sample=dims).std('sample')", ".std() over draws"),
        ("lndbayes.estimands.effects", "x.max([SITE, *SAMPLE_DIMS])", ".max() over draws"),
        ("lndbayes.report.run", "np.mean(x, axis=(SITE,) + SAMPLE_DIMS)", ".mean() over draws"),
        ("lndbayes.fitting.fit", "try:\n    f()\nexcept Exception:\n    pass", ":3: broad except"),
        ("lndbayes.fitting.fit", "try:\n    f()\nexcept:\n    g()", ":3: broad except"),
        (
            "lndbayes.fitting.fit",
            "try:\n    f()\nexcept (OSError, Exception) as e:\n    g(e)",
            "broad except",
        ),
        (
            "lndbayes.fitting.fit",
            "try:\n    f()\nexcept BaseException as e:\n    raise E from e",
            "broad",
        ),
        (
            "lndbayes.fitting.fit",
            "E = (OSError, KeyError, RuntimeError)\ntry:\n    f()\nexcept E:\n    g()",
            ":4: broad except: several",
        ),
        (
            "lndbayes.fitting.fit",
            "E = (KeyError, OSError)\ntry:\n    f()\nexcept (*E, TypeError):\n    g()",
            ":4: broad except: several",
        ),
        (
            "lndbayes.fitting.fit",
            "from a import DAMAGE\ntry:\n    f()\nexcept DAMAGE:\n    g()",
            "errors that do not stand here",
        ),
        ("lndbayes.fitting.fit", "try:\n    f()\nexcept e():\n    g()", "do not stand here"),
        ("lndbayes.fitting.fit", "with contextlib.suppress(Exception):\n    f()", "suppress()"),
    ],
)
def test_each_rule_can_fail(module: str, source: str, message: str) -> None:
    found = violations(module, source)
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lndbayes", "from lndbayes.app.cli import main"),
        (
            "lndbayes.spec.model_spec",
            "from lndbayes.spec.priors import SLOTS\nfrom lndbayes import base",
        ),
        ("lndbayes.app.cli", "from lndbayes import report"),
        ("lndbayes.density.kernel", "import numba"),
        ("lndbayes.fitting.fit", "import nutpie\nimport pymc\nimport pytensor"),
        ("lndbayes.estimands.summaries", "x.mean(('chain', 'draw'))"),
        ("lndbayes.fitting.chain_statistics", "x.mean(dim='draw')"),
        ("lndbayes.money.savings", "x.sum('site') + x.isel(draw=0).sum(dim=SITE)"),
        ("lndbayes.estimands.effects", "rng.draw('chain')\nx.transpose('chain', 'draw', ...)"),
        ("lndbayes.fitting.fit", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
        ("lndbayes.fitting.fit", "E = (OSError, KeyError)\ntry:\n    f()\nexcept E:\n    g()"),
        ("lndbayes.fitting.fit", "with suppress(FileNotFoundError):\n    f()"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_lengths_count_the_body_without_its_docstring() -> None:
    def source(body: int) -> str:
        notes = "\n".join(["    note"] * 50)
        lines = "\n".join(["        x = 1"] * body)
        return f'class A:\n    def f(self):\n        """Say.\n{notes}\n        """\n{lines}\n'

    assert overlong("m", source(FUNCTION_LINES)) == {}
    assert overlong("m", source(FUNCTION_LINES + 1)) == {"m.A.f": FUNCTION_LINES + 1}
    assert overlong("m", "x = 1\n" * MODULE_LINES) == {}
    assert overlong("m", "x = 1\n" * (MODULE_LINES + 1)) == {"m": MODULE_LINES + 1}
