"""Two source trees' compiled densities side by side: value, gradient, and what they cost.

    python benchmarks/compare_density.py OLD NEW [--models DIR] [--data DIR] [--turns N] [--cold N]

OLD and NEW are folders that hold the package ``lndbayes``. Each runs in processes of its own, in
turns. Points, in the parameter vector of OLD, are draws of the prior and draws about where chains
start; each outcome is looked at as it is shipped and with every bias term on. Exit status 1 if a
value or gradient differs by more than 1e-10 of its size.

A gradient, with its value, is timed in seconds of one processor in two processes that take turns
of a few hundredths of a second, and what is told is the median ratio of the turns: a machine that
others use changes its speed by half within minutes. With --cold a process that finds nothing
compiled is timed by the wall clock, from import to the first draw's density.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
#: What differs by at most so much is the same.
TOLERANCE = 1e-10
#: Where each tree has what is needed: modules have moved.
HOMES = {
    "build_design": ("model.design",),
    "layout": ("model.layout",),
    "prior_draws": ("model.predictive",),
    "kernel_data": ("density.arguments", "model.kernel"),
    "compiled_density": ("fitting.compiled", "model.compiled"),
    "start_point": ("fitting.start", "model.start"),
    "with_changes": ("spec.model_spec", "spec"),
}
BIASES = {
    "sensitivity.shared_bias_sd": 0.15,
    "sensitivity.drift_sd": 0.05,
    "sensitivity.go_live_step_sd": 0.1,
}
POINTS = 4
#: Evaluations that are timed together.
REPEATS = 200


def found(name: str) -> Any:
    """Return a function of the tree on the path, wherever it has it."""
    for module in HOMES[name]:
        try:
            return getattr(importlib.import_module(f"lndbayes.{module}"), name)
        except ModuleNotFoundError:
            continue
    raise SystemExit(f"{name} is in none of {', '.join(HOMES[name])}")


def cases(models: Path, data: Path) -> Any:
    """Every outcome's spec and design, shipped and with its biases on."""
    from lndbayes import load_spec, read_evaluation

    evaluation = read_evaluation(data)
    for file in sorted(models.glob("*.toml")):
        if file.name != "costs.toml":
            spec = load_spec(file)
            for label, changes in (("shipped", {}), ("biases on", BIASES)):
                changed = found("with_changes")(spec, changes)
                yield f"{file.stem}, {label}", changed, found("build_design")(changed, evaluation)


def points(spec: Any, design: Any) -> np.ndarray:
    """Draws of the prior and draws about where chains start, shape (2 * POINTS, D)."""
    rng = np.random.default_rng(1)
    layout = importlib.import_module("lndbayes.model.layout")
    prior = found("prior_draws")(spec, design, POINTS, 1)
    drawn = [
        layout.unconstrain({k: v[0, i] for k, v in prior.items()}, design) for i in range(POINTS)
    ]
    start = found("start_point")(spec, design)
    about = [start + rng.normal(0, sd, len(start)) for sd in np.linspace(0.1, 0.6, POINTS)]
    return np.stack([*drawn, *about])


def evaluated(models: Path, data: Path, given: Path | None) -> Any:
    """Every case's name, compiled density and points: its own, or those of a file."""
    at = dict(np.load(given)) if given else {}
    for name, spec, design in cases(models, data):
        x = at[f"{name}|x"] if given else points(spec, design)
        density = found("compiled_density")(found("kernel_data")(spec, design), x.shape[1])
        yield name, density, x


def dump(models: Path, data: Path, given: Path | None, out: Path) -> None:
    """Write values, gradients and points of every case."""
    kept: dict[str, np.ndarray] = {}
    for name, density, x in evaluated(models, data, given):
        gradient = np.empty_like(x)
        value = np.array([density.evaluate(x[i], gradient[i]) for i in range(len(x))])
        kept |= {f"{name}|x": x, f"{name}|value": value, f"{name}|gradient": gradient}
    np.savez(out, **kept)


def serve(models: Path, data: Path, given: Path) -> None:
    """Print the seconds of one gradient of the case named on each line of the input."""
    ready = {name: (density, x) for name, density, x in evaluated(models, data, given)}
    print("ready", flush=True)
    for line in sys.stdin:
        density, x = ready[line.strip()]
        scratch = np.empty(x.shape[1])
        clock = time.thread_time()
        for i in range(REPEATS):
            density.evaluate(x[i % len(x)], scratch)
        print((time.thread_time() - clock) / REPEATS, flush=True)


def first(models: Path, data: Path) -> None:
    """Print the seconds from import to the first gradient of custody."""
    clock = time.perf_counter()
    name, spec, design = next(case for case in cases(models, data) if case[0].startswith("custody"))
    start = found("start_point")(spec, design)
    ready = time.perf_counter()
    density = found("compiled_density")(found("kernel_data")(spec, design), len(start))
    density.evaluate(start, np.empty_like(start))
    seconds = {"all": time.perf_counter() - clock, "compiling": time.perf_counter() - ready}
    print(json.dumps({"case": name, **seconds}))


def command(tree: Path, *arguments: str, cache: str | None = None) -> dict[str, Any]:
    """What `subprocess` needs to run this file on one tree."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    if cache:
        environment |= {"NUMBA_CACHE_DIR": cache, "LNDBAYES_CACHE_DIR": cache}
    return {"args": [sys.executable, __file__, *arguments], "env": environment, "text": True}


def run(tree: Path, *arguments: str, cache: str | None = None) -> str:
    """Run this file on one tree; what it prints."""
    asked = command(tree, *arguments, cache=cache)
    return subprocess.run(**asked, check=True, stdout=subprocess.PIPE).stdout


def in_turns(trees: list[list[str]], homes: list[Path], names: list[str], turns: int) -> Any:
    """Seconds of one gradient by case, shape (turns, 2): the trees one after the other."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 1}
    both = [
        subprocess.Popen(**command(home, *arguments), **pipes)
        for home, arguments in zip(homes, trees, strict=True)
    ]
    took = {name: np.zeros((turns, 2)) for name in names}
    for one in both:
        one.stdout.readline()
    for turn in range(turns):
        for name in names:
            for k in (0, 1) if turn % 2 else (1, 0):
                both[k].stdin.write(name + "\n")
                took[name][turn, k] = float(both[k].stdout.readline())
    for one in both:
        one.stdin.close()
        one.wait()
    return took


def difference(old: np.ndarray, new: np.ndarray) -> float:
    """Largest difference over the size of the whole; of points without a density none."""
    both = np.isfinite(old) & np.isfinite(new)
    if not (np.isfinite(old) == np.isfinite(new)).all():
        return float("inf")
    scale = np.maximum(np.abs(old), 1e-4 * np.sqrt((old[both] ** 2).mean())) + 1e-300
    return float((np.abs(new - old) / scale)[both].max(initial=0.0))


def main() -> int:
    """Compare, time, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trees", nargs="*", type=Path)
    parser.add_argument("--models", type=Path, help="default: beside each tree")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "synthetic")
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--cold", type=int, default=0)
    parser.add_argument("--dump", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--given", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--first", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.dump:
        dump(asked.models, asked.data, asked.given, asked.dump)
        return 0
    if asked.serve:
        serve(asked.models, asked.data, asked.given)
        return 0
    if asked.first:
        first(asked.models, asked.data)
        return 0
    old, new = (tree.absolute() for tree in asked.trees)
    with tempfile.TemporaryDirectory() as folder:
        worst = same(old, new, asked, Path(folder), asked.turns)
        for i in range(asked.cold):
            for label, tree in (("old", old), ("new", new)):
                cache = f"{folder}/{label}{i}"
                print(label, run(tree, "--first", *inputs(tree, asked), cache=cache).strip())
    print(f"largest difference {worst:.1e}, of at most {TOLERANCE:.0e}")
    return int(worst > TOLERANCE)


def inputs(tree: Path, asked: argparse.Namespace) -> list[str]:
    """Arguments that say where a tree's specs and data are: specs have changed their form."""
    models = asked.models or tree.parent / "models"
    return ["--models", str(models), "--data", str(asked.data)]


def same(old: Path, new: Path, asked: argparse.Namespace, folder: Path, turns: int) -> float:
    """Compare and time every case; the largest difference."""
    files = [folder / "old.npz", folder / "new.npz"]
    run(old, "--dump", str(files[0]), *inputs(old, asked))
    run(new, "--dump", str(files[1]), "--given", str(files[0]), *inputs(new, asked))
    before, after = (dict(np.load(file)) for file in files)
    names = [key.split("|")[0] for key in before if key.endswith("|value")]
    given = ["--serve", "--given", str(files[0])]
    took = in_turns(
        [[*given, *inputs(tree, asked)] for tree in (old, new)], [old, new], names, turns
    )
    worst = 0.0
    print("case, value differs by, gradient differs by, old and new microseconds, ratio")
    for name in names:
        value, gradient = (
            difference(before[f"{name}|{what}"], after[f"{name}|{what}"])
            for what in ("value", "gradient")
        )
        worst = max(worst, value, gradient)
        slow, fast = 1e6 * np.median(took[name], axis=0)
        ratio = np.median(took[name][:, 1] / took[name][:, 0])
        print(f"{name}: {value:.1e}, {gradient:.1e}, {slow:.0f}, {fast:.0f}, {ratio:.2f}")
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
