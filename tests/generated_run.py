"""Generated evaluations through the commands: taken and finished with finite numbers, or refused.

As a script it tries many, one after the other, keeps a line for each and goes on where it stopped::

    python tests/generated_run.py --first 0 --count 300 --lines results/generated.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import math
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import openpyxl
import xarray as xr

import lndbayes.app.evaluate
import lndbayes.app.exports
from generated import Recipe, sampled, told, write
from lndbayes.app.cli import main
from lndbayes.app.endings import UNEXPECTED
from lndbayes.data.evaluation import read_evaluation
from lndbayes.density.arguments import kernel_data
from lndbayes.evidence import sensitivity
from lndbayes.evidence.kept import kept_draws
from lndbayes.evidence.sensitivity import VARIANTS, run_variants
from lndbayes.fitting import sampler
from lndbayes.fitting.compiled import compiled_density
from lndbayes.fitting.fit import fit
from lndbayes.fitting.start import start_point
from lndbayes.model.design import build_design
from lndbayes.spec.model_spec import load_spec

__all__ = ["faults_of", "judged", "not_finite", "quick", "refused"]

OK, FAILED, BAD = 0, 1, 2

_LOG = re.compile(r"/[^\s'\"]+\.log")

_WORD = re.compile(r"(?<![\w.&;/-])[-\u2212+]?(nan|inf|infinity)(?![\w.-])", re.IGNORECASE)
_NO_NUMBER = re.compile(r"[-+]?(nan|inf|infinity)", re.IGNORECASE)


# --- short runs -----------------------------------------------------------------------------------


def one_refit(
    jobs: Sequence[tuple[Any, Any, xr.DataTree]], folder: Path, **options: Any
) -> dict[str, dict[str, xr.Dataset]]:
    """Take the main fit's draws for every refit but the one that lets biases in.

    Its table needs the biases' own draws; what the others say is not looked at here.
    """
    (biased,) = (variant for variant in VARIANTS if variant.name == "bias_on")
    made = run_variants(jobs, folder, variants=(biased,), **options)
    for spec, _, tree in jobs:
        name = spec.outcome.name
        kept = kept_draws(tree, spec.effect.window).assign_attrs(same_as="base")
        made[name] = {v.name: made[name].get(v.name, kept) for v in VARIANTS}
    return made


@contextlib.contextmanager
def quick(*, report: bool = True) -> Iterator[None]:
    """Pilots, refits and prior draws as few as there can be; without `report` no pages either."""
    few = {"tune": 50, "draws": 50}
    fits = sys.modules[fit.__module__]
    with contextlib.ExitStack() as stack:
        for name in ("FIRST_PILOT", "PILOT", "WARM_PILOT"):
            stack.enter_context(patch.dict(getattr(sampler, name), few))
        stack.enter_context(patch.object(sampler, "ROUNDS", 1))
        stack.enter_context(patch.object(fits, "_PRIOR_DRAWS", 100))
        short = {f"sampling.{key}": value for key, value in few.items()}
        stack.enter_context(patch.dict(sensitivity._SHORT, short))
        # a second try follows from few draws, which all of these have
        stack.enter_context(patch.object(sensitivity, "_FEWEST", 0))
        stack.enter_context(patch.object(lndbayes.app.evaluate, "run_variants", one_refit))
        if not report:
            stack.enter_context(
                patch.object(lndbayes.app.exports, "write_report", lambda run: None)
            )
        yield


# --- what may be written --------------------------------------------------------------------------


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _in_table(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    return [
        f"{path.name}: {rows[0][i]} is {cell}"
        for row in rows[1:]
        for i, cell in enumerate(row)
        if _NO_NUMBER.fullmatch(cell.strip())
    ]


def _in_workbook(path: Path) -> list[str]:
    book = openpyxl.load_workbook(path, read_only=True)
    cells = ((s.title, c) for s in book for row in s.iter_rows(values_only=True) for c in row)
    return [
        f"{path.name}: {cell} in sheet {title}"
        for title, cell in cells
        if (isinstance(cell, float) and not math.isfinite(cell))
        or (isinstance(cell, str) and _NO_NUMBER.fullmatch(cell.strip()))
    ]


def _in_page(path: Path) -> list[str]:
    # a check's own words
    text = path.read_text(encoding="utf-8").replace("NaN or infinite", "")
    text = re.sub(r"<(style|script|svg)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL)
    return [
        f"{path.name}: {text[max(m.start() - 60, 0) : m.end() + 20]!r}"
        for m in _WORD.finditer(text)
    ]


def _in_draws(path: Path) -> list[str]:
    with xr.open_datatree(path, engine="netcdf4") as tree:
        groups = ("posterior", "prior", "sample_stats")
        nodes = [tree[g] for g in groups if g in tree.children] or [tree]
        return [
            f"{path.name}: {name} has draws that are no numbers"
            for node in nodes
            for name, values in node.to_dataset().items()
            if values.dtype.kind == "f" and not np.isfinite(values.to_numpy()).all()
        ]


def _in_json(path: Path) -> list[str]:
    try:
        json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except ValueError as error:
        return [f"{path.name}: {error}"]
    return []


_LOOK = {".csv": _in_table, ".xlsx": _in_workbook, ".html": _in_page, ".json": _in_json}


def not_finite(run: Path) -> list[str]:
    """Every place of a run's files that holds inf or nan where a number or nothing should be."""
    found: list[str] = []
    for path in sorted(run.rglob("*")):
        if path.suffix in _LOOK:
            found += _LOOK[path.suffix](path)
        elif path.suffix == ".nc" and path.parent.name != "sensitivity":
            found += _in_draws(path)
    return list(dict.fromkeys(found))[:20]


# --- one example ----------------------------------------------------------------------------------


def _run(arguments: list[str]) -> tuple[int, str]:
    """Status and what went to stderr, with the log of an unexpected error."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        status = main(arguments)
    said = err.getvalue()
    for log in _LOG.findall(said) if status == UNEXPECTED else ():
        said += Path(log).read_text(encoding="utf-8") if Path(log).is_file() else ""
    return status, said


def refused(said: str) -> set[str]:
    """The problems that a command told, without what names their number."""
    lines = (line.strip() for line in said.splitlines())
    return {line for line in lines if ": " in line and not line.startswith("lndbayes: ")}


def _design_faults(recipe: Recipe, data: Path, models: Path) -> list[str]:
    """Arrays, density and slopes of what `validate` let pass must be finite."""
    faults = []
    read = read_evaluation(data)
    present = set(read.ds["outcome"].to_numpy().tolist())
    for path in sorted(models.glob("*.toml")):
        if path.name == "costs.toml" or path.stem not in present:
            continue
        spec = load_spec(path)
        design = build_design(spec, read)
        faults += [
            f"{path.stem}: {name} is not finite"
            for name, value in design.arrays.items()
            if not np.isfinite(value).all()
        ]
        x = start_point(spec, design)
        evaluate = compiled_density(kernel_data(spec, design), len(x)).evaluate
        rng = np.random.default_rng(recipe.seed)
        for point in (x, x + rng.normal(0, 0.2, len(x)), x + rng.normal(0, 1.0, len(x))):
            gradient = np.empty_like(x)
            value = evaluate(point, gradient)
            if not (np.isfinite(value) and np.isfinite(gradient).all()):
                faults.append(f"{path.stem}: log density {value}, or its slope, near the start")
    return faults


def judged(recipe: Recipe, root: Path, *, fits: bool = True) -> tuple[str, list[str]]:
    """Put one example through `validate` and `evaluate`.

    Parameters
    ----------
    recipe : Recipe
        What to try.
    root : Path
        A folder of its own; what an earlier example left there is removed.
    fits : bool
        Whether to evaluate what `validate` takes. What it refuses is always evaluated: nothing is
        fitted then.

    Returns
    -------
    tuple of str and list of str
        `taken` or `refused`, and every fault: an unexpected error, another answer of the second
        command, files after a refusal, a number that is none.
    """
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    data, models = write(recipe, root)
    out = root / "run"
    status, said = _run(["validate", str(data), "--models", str(models)])
    verdict = "taken" if status == OK else "refused"
    if status not in (OK, BAD):
        return verdict, [f"validate ended with {status}: {said[-600:]}"]
    if status == OK and not fits:
        return verdict, _design_faults(recipe, data, models)
    again, told_again = _run(
        [
            "evaluate",
            str(data),
            "--models",
            str(models),
            "--out",
            str(out),
            "--jobs",
            "1",
            "--quiet",
        ]
    )
    if status == BAD:
        faults = [] if again == BAD else [f"evaluate ended with {again}: {told_again[-600:]}"]
        if again == BAD and refused(said) != refused(told_again):
            other = sorted(refused(said) ^ refused(told_again))
            faults.append(f"validate and evaluate tell other problems: {other[:4]}")
        if out.exists():
            faults.append(f"files after a refusal: {sorted(p.name for p in out.rglob('*'))[:5]}")
        return verdict, faults
    if again not in (OK, FAILED):
        return verdict, [f"evaluate ended with {again}: {told_again[-900:]}"]
    return verdict, not_finite(out)


def faults_of(recipe: Recipe, *, fits: bool = True, report: bool = True) -> list[str]:
    """Every fault of one example, tried in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, quick(report=report):
        return judged(recipe, Path(folder) / "example", fits=fits)[1]


# --- many examples --------------------------------------------------------------------------------


def _done(lines: Path) -> dict[int, Mapping[str, Any]]:
    if not lines.is_file():
        return {}
    read = (json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines())
    return {int(row["seed"]): row for row in read}


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=0, help="number of the first example")
    parser.add_argument("--count", type=int, default=300, help="how many")
    parser.add_argument("--lines", type=Path, required=True, help="a line for each; goes on there")
    parser.add_argument("--no-fits", action="store_true", help="designs and densities only")
    return parser.parse_args(arguments)


def try_many(arguments: Sequence[str]) -> int:
    """Try examples by number, tell every fault, and count."""
    options = _options(arguments)
    options.lines.parent.mkdir(parents=True, exist_ok=True)
    done = _done(options.lines)
    wanted = range(options.first, options.first + options.count)
    for seed in wanted:
        if seed in done:
            continue
        recipe = sampled(seed)
        with tempfile.TemporaryDirectory() as folder, quick():
            verdict, faults = judged(recipe, Path(folder) / "one", fits=not options.no_fits)
        done[seed] = {"seed": seed, "verdict": verdict, "faults": faults}
        with options.lines.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(done[seed]) + "\n")
        for fault in faults:
            print(f"{seed} ({told(recipe)}): {fault}", flush=True)
    found = [done[seed] for seed in wanted]
    counts = Counter(row["verdict"] for row in found)
    kinds = Counter(fault.split(":")[0] for row in found for fault in row["faults"])
    print(f"{len(found)} examples: {dict(counts)}; faults: {dict(kinds) or 'none'}")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(try_many(sys.argv[1:]))
