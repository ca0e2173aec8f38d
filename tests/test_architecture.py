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

# A module may import modules of its own floor and of those below. The longest prefix counts.
FLOORS: Mapping[str, int] = {
    "lndbayes.characters": 0,
    "lndbayes.choices": 0,
    "lndbayes.errors": 0,
    "lndbayes.files": 0,
    "lndbayes.names": 0,
    "lndbayes.formulas": 0,
    "lndbayes.places": 0,
    "lndbayes.families": 0,
    "lndbayes.source": 0,
    "lndbayes.storage": 0,
    "lndbayes.lock": 0,
    "lndbayes.data": 1,
    "lndbayes.simulate": 1,
    "lndbayes.assemble": 2,
    "lndbayes.spec": 1,
    "lndbayes.sections": 1,
    "lndbayes.priors": 1,
    "lndbayes.costs": 1,
    "lndbayes.costs_rules": 1,
    "lndbayes.factors": 1,
    "lndbayes.model": 2,
    "lndbayes.sampler": 3,
    "lndbayes.fit": 3,
    "lndbayes.fit_shape": 3,
    "lndbayes.trees": 3,
    "lndbayes.many": 3,
    "lndbayes.effects": 4,
    "lndbayes.leverages": 4,
    "lndbayes.mix_effects": 4,
    "lndbayes.treated": 4,
    "lndbayes.predictors": 4,
    "lndbayes.averted": 4,
    "lndbayes.bounds": 4,
    "lndbayes.crisis": 4,
    "lndbayes.overview": 4,
    "lndbayes.savings": 4,
    "lndbayes.savings_tables": 4,
    "lndbayes.checks": 4,
    "lndbayes.summaries": 4,
    "lndbayes.identification": 4,
    "lndbayes.sensitivity": 4,
    "lndbayes.joint": 4,
    "lndbayes.joint_likelihood": 4,
    "lndbayes.joint_sampler": 4,
    "lndbayes.joint_model": 4,
    "lndbayes.joint_stage": 4,
    "lndbayes.joint_score": 4,
    "lndbayes.joint_run": 6,
    "lndbayes.strata": 4,
    "lndbayes.strata_pool": 4,
    "lndbayes.strata_run": 6,
    "lndbayes.observation": 4,
    "lndbayes.comparators": 4,
    "lndbayes.backtest_scores": 4,
    "lndbayes.backtest_page": 6,
    "lndbayes.backtest": 6,
    "lndbayes.tipping": 4,
    "lndbayes.tipping_points": 4,
    "lndbayes.ledger_shares": 4,
    "lndbayes.ledger_refits": 4,
    "lndbayes.ledger_cut": 4,
    "lndbayes.ledger_measures": 5,
    "lndbayes.ledger_verdicts": 5,
    "lndbayes.ledger_page": 5,
    "lndbayes.ledger": 6,
    "lndbayes.assumption": 5,
    "lndbayes.tables": 5,
    "lndbayes.ledger_tables": 5,
    "lndbayes.runs": 5,
    "lndbayes.provenance": 1,
    "lndbayes.prior_report": 3,
    "lndbayes.progress": 6,
    "lndbayes.exports": 6,
    "lndbayes.figures": 5,
    "lndbayes.report": 5,
    "lndbayes.pytest_plugin": 6,
    "lndbayes.evaluate": 6,
    "lndbayes.prepare": 6,
    "lndbayes.given": 1,
    "lndbayes.pricing": 1,
    "lndbayes.cli": 6,
    "lndbayes.endings": 6,
    "lndbayes.commands": 6,
    "lndbayes.__main__": 6,
}
# The package itself offers the public names of every floor, so nothing inside may import from it.
PACKAGE = "lndbayes"
TOP = 7

# Where a package may be imported at all: it stays out of everything that only reads stored draws.
HOMES: Mapping[str, tuple[str, ...]] = {
    "pymc": ("lndbayes.model", "lndbayes.fit", "lndbayes.checks.calibration"),
    "pytensor": ("lndbayes.model", "lndbayes.fit", "lndbayes.checks.calibration"),
    "numba": ("lndbayes.model",),
    "nutpie": ("lndbayes.fit", "lndbayes.sampler"),
}

# Draws are carried to the end and reduced in one place, so that totals are sums of draws.
REDUCERS = ("lndbayes.summaries", "lndbayes.checks", "lndbayes.backtest_scores")
# Where a command ends: what nobody foresaw gets its own exit status there, and a log.
LAST = "lndbayes.endings"
REDUCTIONS = frozenset(
    {"all", "any", "argmax", "argmin", "count", "max", "mean", "median", "min", "prod", "quantile"}
    | {"reduce", "std", "sum", "var"}
)
SAMPLE_WORDS = frozenset({"chain", "draw", "sample", "CHAIN", "DRAW", "SAMPLE_DIMS"})

MODULE_LINES = 400
FUNCTION_LINES = 60  # without the docstring; above 40 look for a seam

# Longer than the limits, and why. An entry that is no longer needed fails.
LONG_MODULES: Mapping[str, str] = {}
LONG_FUNCTIONS: Mapping[str, str] = {
    "lndbayes.model.kernel.evaluate_density": "a pass forward and one back over the same arrays",
    "lndbayes.model.pack.kernel_data": "one field of the density's argument after another",
}


def violations(module: str, source: str) -> list[str]:
    """Every rule that one module's text breaks, each with its line."""
    tree = ast.parse(source)
    if _floor(module) is None:
        return [f"{module}: on no floor; add it to FLOORS in tests/test_architecture.py"]
    found = [*_imports(module, tree), *_reductions(module, tree)]
    found += _broad_excepts(tree) if module != LAST else ()
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


def _floor(module: str) -> int | None:
    if module == PACKAGE:
        return TOP
    hits = [prefix for prefix in FLOORS if _within(module, (prefix,))]
    return FLOORS[max(hits, key=len)] if hits else None


def _imports(module: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "relative import"
                continue
            # `from lndbayes import names` means the module, not the package.
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = [name if _floor(name) is not None else str(node.module) for name in whole]
        else:
            continue
        for target in targets:
            yield from ((node.lineno, message) for message in _import_faults(module, target))


def _import_faults(module: str, target: str) -> Iterator[str]:
    top = target.split(".")[0]
    if top in HOMES and not _within(module, HOMES[top]):
        yield f"imports {top}, which belongs in {', '.join(HOMES[top])}"
    if top == PACKAGE:
        here, there = _floor(module), _floor(target)
        if there is None:
            yield f"imports {target}, which is on no floor"
        elif here is not None and there > here:
            yield f"imports {target} upwards, from floor {here} to floor {there}"


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
    assert {"lndbayes.errors", "lndbayes.names"} <= modules.keys(), "looked in the wrong place"
    found = [v for name, source in modules.items() for v in violations(name, source)]
    assert not found, "\n".join(found)


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
            "lndbayes.spec",
            "from lndbayes.model.build import build_model",
            "upwards, from floor 1 to 2",
        ),
        ("lndbayes.spec", "from lndbayes import fit", "lndbayes.fit upwards"),
        (
            "lndbayes.summaries",
            "def f():\n    import lndbayes.tables",
            ":2: imports lndbayes.tables",
        ),
        ("lndbayes.cli", "from lndbayes import evaluate_all", "imports lndbayes upwards"),
        ("lndbayes.cli", "import lndbayes.extra", "lndbayes.extra, which is on no floor"),
        ("lndbayes.extra", "", "add it to FLOORS"),
        ("lndbayes.modelling", "", "add it to FLOORS"),
        ("lndbayes.savings", "from .effects import site_effects", "relative import"),
        ("lndbayes.effects", "import pymc as pm", "imports pymc"),
        ("lndbayes.checks.mcmc", "from pymc.math import exp", "imports pymc"),
        ("lndbayes.priors", "import pytensor.tensor as pt", "imports pytensor"),
        ("lndbayes.fit", "from numba import njit", "imports numba"),
        ("lndbayes.model.build", "import nutpie", "imports nutpie"),
        ("lndbayes.savings", "x.mean(('chain', 'draw'))", ".mean() over draws"),
        ("lndbayes.savings", "x.mean(SAMPLE_DIMS)", ".mean() over draws"),
        ("lndbayes.savings", "x.quantile(0.5, dim=names.SAMPLE_DIMS)", ".quantile() over draws"),
        ("lndbayes.effects", "x.sum(dim=['site', DRAW])", ".sum() over draws"),
        ("lndbayes.effects", "x.stack(sample=dims).std('sample')", ".std() over draws"),
        ("lndbayes.effects", "x.max([SITE, *SAMPLE_DIMS])", ".max() over draws"),
        ("lndbayes.report.run", "np.mean(x, axis=(SITE,) + SAMPLE_DIMS)", ".mean() over draws"),
        ("lndbayes.fit", "try:\n    f()\nexcept Exception:\n    pass", ":3: broad except"),
        ("lndbayes.fit", "try:\n    f()\nexcept:\n    g()", ":3: broad except"),
        (
            "lndbayes.fit",
            "try:\n    f()\nexcept (OSError, Exception) as e:\n    g(e)",
            "broad except",
        ),
        ("lndbayes.fit", "try:\n    f()\nexcept BaseException as e:\n    raise E from e", "broad"),
        ("lndbayes.fit", "with contextlib.suppress(Exception):\n    f()", "suppress()"),
    ],
)
def test_each_rule_can_fail(module: str, source: str, message: str) -> None:
    found = violations(module, source)
    assert len(found) == 1
    assert message in found[0].replace("to floor", "to")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lndbayes", "from lndbayes.cli import main"),
        ("lndbayes.spec", "from lndbayes.priors import prior_table\nfrom lndbayes import names"),
        ("lndbayes.cli", "from lndbayes import evaluate"),
        ("lndbayes.model.kernel", "import numba\nimport pytensor\nimport pymc"),
        ("lndbayes.fit", "import nutpie\nimport pymc"),
        ("lndbayes.summaries", "x.mean(('chain', 'draw'))"),
        ("lndbayes.checks.mcmc", "x.mean(dim='draw')"),
        ("lndbayes.savings", "x.sum('site') + x.isel(draw=0).sum(dim=SITE)"),
        ("lndbayes.effects", "rng.draw('chain')\nx.transpose('chain', 'draw', ...)"),
        ("lndbayes.fit", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
        ("lndbayes.fit", "with suppress(FileNotFoundError):\n    f()"),
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
