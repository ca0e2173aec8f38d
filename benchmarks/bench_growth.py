"""How the cost of a fit grows with sites, months, persons and outcomes.

Writes docs/growth.md and docs/images/growth.png. Fits simulated worlds at the shipped settings.

    python benchmarks/bench_growth.py [--only sites|months|persons|outcomes]

With `--only` the other tables are those measured before, kept under results/benchmarks.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import arviz as az
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

from lndbayes import FitJob, fit, fit_many, load_spec, pooled_effect, read_evaluation
from lndbayes.data.evaluation import EvaluationData
from lndbayes.density.arguments import kernel_data
from lndbayes.fitting.compiled import CompiledDensity, compiled_density
from lndbayes.fitting.fit import coordinates_of
from lndbayes.model.design import build_design
from lndbayes.model.layout import POSITIVE, inactive
from lndbayes.spec.model_spec import ModelSpec, with_changes
from lndbayes.synthetic import WORLDS, simulate, write_evaluation

ROOT = Path(__file__).parents[1]
STORE = ROOT / "results" / "benchmarks" / "growth.json"
PARTS = ("sites", "months", "persons", "outcomes")
SITES, MONTHS = (27, 54, 108, 270), (48, 96, 144, 192)
PERSONS, OUTCOMES = (1, 10, 100, 1000), (1, 2, 4)
#: Times that each fit is made.
TURNS, TURNS_OF_PERSONS = 2, 8


def world(folder: Path, *, sites: int = 27, months: int = 96, persons: int = 1) -> EvaluationData:
    """Simulate an evaluation of some size and read it.

    The roll-out needs more than 84 months, so a shorter evaluation is the middle of a longer one.
    """
    base = WORLDS["effect"]
    whole = max(months, 96)
    low, high = base.size_limits
    bigger = replace(
        base,
        months=whole,
        size_median=base.size_median * persons,
        size_limits=(low * persons, high * persons),
    )
    path = folder / f"{sites}-{months}-{persons}"
    write_evaluation(simulate(20140401, bigger, sites), path)
    if months < whole:
        cut(path, pd.period_range("2011-04", periods=whole, freq="M")[24 : 24 + months])
    return read_evaluation(path)


def cut(path: Path, kept: pd.PeriodIndex) -> None:
    """Leave these months of a written evaluation."""
    names = {str(month) for month in kept}
    for file, column in (
        ("outcomes.csv", "month"),
        ("mix.csv", "month"),
        ("referrals.csv", "month"),
        ("evidence/retrospective.csv", "month"),
        ("evidence/history.csv", "calendar_month"),
    ):
        frame = pd.read_csv(path / file, dtype=str, keep_default_na=False)
        frame[frame[column].isin({*names, ""})].to_csv(path / file, index=False)
    settings = (path / "evaluation.toml").read_text(encoding="utf-8").splitlines()
    edges = {"first_month": kept[0], "last_month": kept[-1]}
    lines = [
        f'{key} = "{edges[key]}"' if (key := line.split(" ")[0]) in edges else line
        for line in settings
    ]
    (path / "evaluation.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(
    spec: ModelSpec, worlds: dict[str, EvaluationData], turns: int = TURNS
) -> list[dict[str, Any]]:
    """Seconds of a gradient and of a fit, and effective draws, of each size in turns.

    The machine changes its speed within minutes: what is compared is done in turns, there and back,
    and the least of several times is kept.
    """
    rows: dict[str, dict[str, Any]] = {}
    densities = {}
    for turn in range(turns):
        for label, data in list(worlds.items())[:: -1 if turn % 2 else 1]:
            start = time.perf_counter()
            tree = fit(spec, data, predictive=False)
            wall = time.perf_counter() - start
            if turn == 0:
                rows[label] = facts(spec, data, tree) | {"case": label, "fit_s": wall}
                densities[label] = density_of(spec, data, tree)
            rows[label]["fit_s"] = min(rows[label]["fit_s"], wall)
            rows[label]["most_s"] = max(rows[label].get("most_s", wall), wall)
            print(label, f"{wall:.1f} s", flush=True)
    for label, least in gradients(densities).items():
        rows[label]["gradient_us"] = 1e6 * least
        rows[label]["ess_rate"] = rows[label]["ess"] / rows[label]["fit_s"]
        print(rows[label], flush=True)
    return list(rows.values())


def facts(spec: ModelSpec, data: EvaluationData, tree: xr.DataTree) -> dict[str, Any]:
    """What of a fit does not depend on the machine; and the process's memory."""
    stats = tree["sample_stats"]
    posterior = tree["posterior"].to_dataset()
    scales = [name for name in POSITIVE if name in posterior and name not in inactive(spec)]
    least = az.ess(posterior[scales]).to_array().to_series()
    design = build_design(spec, data)
    return {
        "coordinates": len(coordinates_of(tree).mean),
        "cells": int((design["exposure"] > 0).sum()),
        # what the likelihood visits: cells, and later stages that anybody is in
        "counts": int((design["exposure"] > 0).sum() + (design["stage_exposure"] > 0).sum()),
        "steps": float(stats["n_steps"].mean()),
        "ess": float(az.ess(xr.Dataset({"x": pooled_effect(tree)}))["x"]),
        "least": float(least.min()),
        "least_of": str(least.idxmin()),
        "divergences": int(stats["diverging"].sum()),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def density_of(spec: ModelSpec, data: EvaluationData, tree: xr.DataTree) -> CompiledDensity:
    """Density in the coordinates that a fit found."""
    coordinates = coordinates_of(tree)
    return compiled_density(
        kernel_data(spec, build_design(spec, data)), len(coordinates.mean), coordinates
    )


def gradients(densities: dict[str, CompiledDensity]) -> dict[str, float]:
    """Seconds of one gradient of each density: the least of 25 means, taken in turns."""
    least = dict.fromkeys(densities, np.inf)
    for _ in range(25):
        for label, density in densities.items():
            point, gradient = np.zeros(density.size), np.empty(density.size)
            start = time.perf_counter()
            for _ in range(40):
                density.evaluate(point, gradient)
            least[label] = min(least[label], (time.perf_counter() - start) / 40)
    return least


def several(spec: ModelSpec, data: EvaluationData, folder: Path) -> list[tuple[int, float]]:
    """Wall seconds for as many outcomes, in processes; one seed each stands for an outcome."""
    rows = []
    for count in OUTCOMES:
        jobs = {
            str(i): FitJob(with_changes(spec, {"sampling.seed": i}), data) for i in range(count)
        }
        start = time.perf_counter()
        fit_many(jobs, folder / f"many{count}", workers=os.cpu_count() or 1)
        rows.append((count, time.perf_counter() - start))
        print(rows[-1], flush=True)
    return rows


def table(rows: list[dict[str, Any]], what: str) -> str:
    """One block of the page."""
    first = rows[0]
    lines = [
        f"| {what} | coordinates | cells | gradient, µs | per cell, ns | steps a draw | fit, s | "
        "fit / first | pooled ESS / s | least ESS of a scale | divergences | peak memory, MB |",
        "|" + "---|" * 12,
    ]
    for r in rows:
        # rows kept from before this was measured have none
        least = f"{r['least']:.0f} ({r['least_of']})" if "least" in r else "-"
        lines.append(
            f"| {r['case']} | {r['coordinates']:,} | {r['cells']:,} | {r['gradient_us']:.0f} | "
            f"{1e3 * r['gradient_us'] / r['cells']:.0f} | {r['steps']:.0f} | {r['fit_s']:.1f} | "
            f"{r['fit_s'] / first['fit_s']:.2f} | {r['ess_rate']:.0f} | "
            f"{least} | {r['divergences']} | {r['memory_mb']:.0f} |"
        )
    return "\n".join(lines)


def figure(sites: list[dict[str, Any]], months: list[dict[str, Any]], path: Path) -> None:
    """Gradient and fit against size, with the line of growth in proportion."""
    mpl.use("Agg")
    shown, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for axis, rows, name in ((axes[0], sites, "sites"), (axes[1], months, "months")):
        size = np.array([float(r["case"]) for r in rows])
        for key, label, colour, mark in (
            ("gradient_us", "one gradient", "#1b6ca8", "o"),
            ("fit_s", "a whole fit", "#c05a00", "s"),
        ):
            value = np.array([r[key] for r in rows])
            axis.plot(size, value / value[0], color=colour, marker=mark, label=label)
        axis.plot(size, size / size[0], color="0.6", linestyle="--", label="in proportion")
        axis.set(xscale="log", yscale="log", xlabel=name, ylabel=f"time, {size[0]:.0f} {name} = 1")
        axis.set_xticks(size, [f"{s:.0f}" for s in size])
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    shown.savefig(path, dpi=150)


def main() -> None:
    """Measure what was asked for, keep it, and write the page from what is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    wanted = parser.parse_args().only or PARTS
    spec = load_spec(ROOT / "models" / "custody.toml")
    kept = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit(with_changes(spec, {"sampling.draws": 50}), world(folder), predictive=False)  # compile
        for part in wanted:
            kept[part] = part_rows(part, spec, folder)
            STORE.parent.mkdir(parents=True, exist_ok=True)
            STORE.write_text(json.dumps(kept), encoding="utf-8")
    write(spec, kept)


def part_rows(part: str, spec: ModelSpec, folder: Path) -> list[Any]:
    """Rows of one table."""
    match part:
        case "sites":
            return measure(spec, {str(n): world(folder, sites=n) for n in SITES})
        case "months":
            return measure(spec, {str(n): world(folder, months=n) for n in MONTHS})
        case "persons":
            several_times = {f"x {n}": world(folder, persons=n) for n in PERSONS}
            return measure(spec, several_times, TURNS_OF_PERSONS)
        case _:
            return several(spec, world(folder), folder)


def per_draw(rows: list[dict[str, Any]], draws: str = "ess") -> float:
    """Seconds for one effective draw at the largest size over those at the first."""
    first, last = rows[0], rows[-1]
    return float(last["fit_s"] / last[draws] / (first["fit_s"] / first[draws]))


def write(spec: ModelSpec, kept: dict[str, list[Any]]) -> None:
    """Write the page and its figure."""
    sites, months, persons, outcomes = (kept[part] for part in PARTS)
    figure(sites, months, ROOT / "docs" / "images" / "growth.png")
    ratio = sites[-1]["fit_s"] / sites[0]["fit_s"]
    visited = ", ".join(f"{r['counts']:,} at {r['case']}" for r in persons)
    each = ", ".join(f"{1e3 * r['gradient_us'] / r['counts']:.0f}" for r in persons)
    longer = ", ".join(f"{r['fit_s'] / persons[0]['fit_s']:.2f}" for r in persons[1:])
    spread = max(r["most_s"] / r["fit_s"] for r in persons) - 1
    more = ", ".join(f"{r['counts'] / persons[0]['counts']:.2f}" for r in persons[1:])
    many = "\n".join(f"| {n} | {wall:.1f} | {wall / n:.1f} |" for n, wall in outcomes)
    page = f"""# How cost grows

Made by `python benchmarks/bench_growth.py` on {os.cpu_count()} cores: simulated worlds, the
shipped custody spec with its own settings ({spec.sampling.chains} chains of {spec.sampling.tune}
+ {spec.sampling.draws} draws after a pilot run), compiled code cached. The machine changes its
speed, so sizes take turns, there and back: a fit is the least of {TURNS}, with more persons of
{TURNS_OF_PERSONS}, a gradient the least of 25 means over 40, the change of coordinates included.
Memory is the process's peak so far.

![Time of a gradient and of a fit against sites and months](images/growth.png)

## Sites

{table(sites, "sites")}

A gradient costs no more a cell at 270 sites, and most paths end at 7 steps as they do at 27:
steps shrink with the coordinates (at a fixed acceptance rate as their fourth root: Beskos et al.
2013) and come near to where paths double. So ten times the sites take {ratio:.1f} times the seconds
of a fit. Its draws are worth fewer independent ones: one effective draw of the
pooled effect costs {per_draw(sites):.0f} times as much at 270 sites as at 27, and one of the
slowest scale {per_draw(sites, "least"):.0f} times.

## Months

{table(months, "months")}

## Persons

The same 27 sites and 96 months, with as many times the persons.

{table(persons, "persons")}

Persons enter as counts. What a gradient visits are cells and later stages that anybody is in
({visited}): {more} times as many as at the first size, where a fifth of the later stages are
empty. It takes {each} ns for each. Paths are as long at every size: what data leave open becomes
less, and the coordinates follow ([performance](performance.md)). A fit takes {longer} times the
seconds of the first size, of which the counts that fill are the most; the rest is tuning, the
first pilot run, which is farther from where it starts, and the machine, on which the same fit
takes up to {spread:.0%} more from one time to the next. The slowest scale has fewer effective
draws the more persons there are.

## Outcomes

Fits of several outcomes by `fit_many` in {os.cpu_count()} processes, their
start included.

| outcomes | wall, s | each, s |
|---|---|---|
{many}
"""
    (ROOT / "docs" / "growth.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
