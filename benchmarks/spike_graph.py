"""What a PyTensor surface with a likelihood of our own would cost at least: a lower bound.

A design that was weighed: the linear predictors as a PyTensor graph, compiled by Numba, and only
the likelihood as an operation of ours with its own gradient. Its cost is that of the graph with a
likelihood that costs nothing, plus the likelihood. This script measures the first: log priors and
a linear functional of both predictors, so that every derivative that the likelihood would send
back is needed. Compared with one gradient of the whole compiled density, evidence and cells
included.

    python benchmarks/spike_graph.py [models/custody.toml]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace

from lndbayes import load_spec, read_evaluation
from lndbayes.density.kernel import kernel_data
from lndbayes.fitting.compiled import compiled_density
from lndbayes.model.build import model_from_design
from lndbayes.model.design import build_design
from lndbayes.model.layout import size

ROOT = Path(__file__).parents[1]


def least(call: object, repeats: int = 25, calls: int = 40) -> float:
    """Seconds of a call: the least of `repeats` means over `calls`."""
    assert callable(call)
    means = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        means.append((time.perf_counter() - start) / calls)
    return min(means)


def main() -> None:
    """Print seconds of compiling and of a gradient, graph and density."""
    parser = argparse.ArgumentParser()
    parser.add_argument("spec", nargs="?", default=str(ROOT / "models" / "custody.toml"))
    spec = load_spec(parser.parse_args().spec)
    design = build_design(spec, read_evaluation(ROOT / "data" / "synthetic"))

    start = time.perf_counter()
    density = compiled_density(kernel_data(spec, design), size(design))
    point, gradient = np.zeros(density.size), np.empty(density.size)
    density.evaluate(point, gradient)
    first = time.perf_counter() - start
    whole = least(lambda: density.evaluate(point, gradient))
    print(
        f"compiled density: first value {first:.1f} s (cached where it was), {1e6 * whole:.0f} us"
    )

    start, busy = time.perf_counter(), time.process_time()
    model = model_from_design(spec, design)
    rng = np.random.default_rng(1)
    with model:
        eta0, eta1 = model.replace_rvs_by_values([model["eta0"], model["eta1"]])
        weights = rng.normal(size=(2, *design["exposure"].shape))
        value = (eta0 * weights[0]).sum() + (eta1 * weights[1]).sum()
        value += model.logp(vars=model.free_RVs)
        inputs = model.value_vars
        slopes = pytensor.grad(value, inputs)
    at = model.initial_point()
    sizes = [np.asarray(at[v.name]).size for v in inputs]
    joined = pt.vector("x")
    parts, offset = {}, 0
    for v, n in zip(inputs, sizes, strict=True):
        shape = np.asarray(at[v.name]).shape
        parts[v] = joined[offset : offset + n].reshape(shape).astype(v.dtype)
        offset += n
    out = graph_replace([value, pt.concatenate([pt.flatten(s) for s in slopes])], replace=parts)
    function = pytensor.function([joined], out, mode="NUMBA")
    x = np.zeros(offset)
    function(x)
    built, busy = time.perf_counter() - start, time.process_time() - busy
    graph = least(lambda: function(x))
    print(
        f"graph without cells and evidence: compiled in {built:.0f} s ({busy:.0f} s of one core), "
        f"{1e6 * graph:.0f} us"
    )
    print(f"gradient at least {graph / whole:.2f} times, before any likelihood")


if __name__ == "__main__":
    main()
