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
    "lndbayes.base.characters": 0,
    "lndbayes.base.choices": 0,
    "lndbayes.base.errors": 0,
    "lndbayes.files.reading": 0,
    "lndbayes.base.names": 0,
    "lndbayes.base.formulas": 0,
    "lndbayes.files.places": 0,
    "lndbayes.spec.families": 0,
    "lndbayes.files.source": 0,
    "lndbayes.files.storage": 0,
    "lndbayes.files.lock": 0,
    "lndbayes.data": 1,
    "lndbayes.synthetic": 1,
    "lndbayes.extracts": 2,
    "lndbayes.spec.model_spec": 1,
    "lndbayes.spec.sections": 1,
    "lndbayes.spec.priors": 1,
    "lndbayes.money.costs": 1,
    "lndbayes.money.rules": 1,
    "lndbayes.money.factors": 1,
    "lndbayes.model": 2,
    "lndbayes.fitting.sampler": 3,
    "lndbayes.fitting.fit": 3,
    "lndbayes.fitting.fit_shape": 3,
    "lndbayes.fitting.trees": 3,
    "lndbayes.fitting.parallel": 3,
    "lndbayes.estimands.effects": 4,
    "lndbayes.estimands.leverages": 4,
    "lndbayes.estimands.mix_effects": 4,
    "lndbayes.estimands.treated": 4,
    "lndbayes.estimands.predictors": 4,
    "lndbayes.estimands.averted": 4,
    "lndbayes.estimands.bounds": 4,
    "lndbayes.estimands.regression_to_mean": 4,
    "lndbayes.estimands.overview": 4,
    "lndbayes.money.savings": 4,
    "lndbayes.money.tables": 4,
    "lndbayes.checks": 4,
    "lndbayes.estimands.summaries": 4,
    "lndbayes.estimands.identification": 4,
    "lndbayes.evidence.sensitivity": 4,
    "lndbayes.second_stage.joint.joint": 4,
    "lndbayes.second_stage.likelihood": 4,
    "lndbayes.second_stage.joint.sampler": 4,
    "lndbayes.second_stage.joint.model": 4,
    "lndbayes.second_stage.joint.stage": 4,
    "lndbayes.second_stage.joint.score": 4,
    "lndbayes.app.joint": 6,
    "lndbayes.second_stage.strata.strata": 4,
    "lndbayes.second_stage.strata.pool": 4,
    "lndbayes.app.strata": 6,
    "lndbayes.validation.observation": 4,
    "lndbayes.validation.comparators": 4,
    "lndbayes.validation.backtest.scores": 4,
    "lndbayes.validation.backtest.page": 6,
    "lndbayes.validation.backtest.backtest": 6,
    "lndbayes.evidence.tipping": 4,
    "lndbayes.evidence.tipping_points": 4,
    "lndbayes.evidence.attribution.shares": 4,
    "lndbayes.evidence.attribution.refits": 4,
    "lndbayes.evidence.attribution.cut": 4,
    "lndbayes.evidence.attribution.measures": 5,
    "lndbayes.evidence.attribution.verdicts": 5,
    "lndbayes.evidence.attribution.page": 5,
    "lndbayes.app.attribution": 6,
    "lndbayes.evidence.assumption": 5,
    "lndbayes.estimands.reported": 5,
    "lndbayes.evidence.attribution.tables": 5,
    "lndbayes.app.runs": 5,
    "lndbayes.files.provenance": 1,
    "lndbayes.checks.prior_report": 3,
    "lndbayes.app.progress": 6,
    "lndbayes.app.exports": 6,
    "lndbayes.report.figures": 5,
    "lndbayes.report": 5,
    "lndbayes.pytest_plugin": 6,
    "lndbayes.app.evaluate": 6,
    "lndbayes.app.prepare": 6,
    "lndbayes.spec.exposure_outcome": 1,
    "lndbayes.money.pricing": 1,
    "lndbayes.app.cli": 6,
    "lndbayes.app.endings": 6,
    "lndbayes.app.commands": 6,
    "lndbayes.__main__": 6,
}
# The package itself offers the public names of every floor, so nothing inside may import from it.
PACKAGE = "lndbayes"
TOP = 7

# Where a package may be imported at all: it stays out of everything that only reads stored draws.
HOMES: Mapping[str, tuple[str, ...]] = {
    "pymc": ("lndbayes.model", "lndbayes.fitting.fit", "lndbayes.validation.calibration"),
    "pytensor": ("lndbayes.model", "lndbayes.fitting.fit", "lndbayes.validation.calibration"),
    "numba": ("lndbayes.model",),
    "nutpie": ("lndbayes.fitting.fit", "lndbayes.fitting.sampler"),
}

# Draws are carried to the end and reduced in one place, so that totals are sums of draws.
REDUCERS = (
    "lndbayes.estimands.summaries",
    "lndbayes.checks",
    "lndbayes.validation.backtest.scores",
)
# Where a command ends: what nobody foresaw gets its own exit status there, and a log.
LAST = "lndbayes.app.endings"
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
    "lndbayes.density.kernel.evaluate_density": "a pass forward and one back over the same arrays",
    "lndbayes.density.arguments.kernel_data": "one field of the density's argument after another",
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
    assert {"lndbayes.base.errors", "lndbayes.base.names"} <= modules.keys(), (
        "looked in the wrong place"
    )
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
            "lndbayes.spec.model_spec",
            "from lndbayes.model.build import build_model",
            "upwards, from floor 1 to 2",
        ),
        ("lndbayes.spec.model_spec", "from lndbayes import fit", "lndbayes.fit upwards"),
        (
            "lndbayes.estimands.summaries",
            "def f():\n    import lndbayes.estimands.reported",
            ":2: imports lndbayes.estimands.reported",
        ),
        ("lndbayes.app.cli", "from lndbayes import evaluate_all", "imports lndbayes upwards"),
        ("lndbayes.app.cli", "import lndbayes.extra", "lndbayes.extra, which is on no floor"),
        ("lndbayes.extra", "", "add it to FLOORS"),
        ("lndbayes.modelling", "", "add it to FLOORS"),
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
        ("lndbayes.fitting.fit", "with contextlib.suppress(Exception):\n    f()", "suppress()"),
    ],
)
def test_each_rule_can_fail(module: str, source: str, message: str) -> None:
    found = violations(module, source)
    assert len(found) == 1
    assert message in found[0].replace("to floor", "to")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lndbayes", "from lndbayes.app.cli import main"),
        (
            "lndbayes.spec.model_spec",
            "from lndbayes.spec.priors import prior_table\nfrom lndbayes import names",
        ),
        ("lndbayes.app.cli", "from lndbayes import evaluate"),
        ("lndbayes.density.kernel", "import numba\nimport pytensor\nimport pymc"),
        ("lndbayes.fitting.fit", "import nutpie\nimport pymc"),
        ("lndbayes.estimands.summaries", "x.mean(('chain', 'draw'))"),
        ("lndbayes.fitting.chain_statistics", "x.mean(dim='draw')"),
        ("lndbayes.money.savings", "x.sum('site') + x.isel(draw=0).sum(dim=SITE)"),
        ("lndbayes.estimands.effects", "rng.draw('chain')\nx.transpose('chain', 'draw', ...)"),
        ("lndbayes.fitting.fit", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
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
