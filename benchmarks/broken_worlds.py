"""Worlds that break the model, bad results included, written to docs/broken-worlds.md.

Each world has one thing that the model has no term for. Some seeds with the effect and as many
without any, custody with its shipped priors: coverage, false claims, and what the checks and the
refits without reconstructed evidence say. Results are stored as they finish.

    python benchmarks/broken_worlds.py [--seeds 20] [--jobs 2]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from recovery import PROB, flat, results, score, store_of, write_page

from lndbayes import (
    component_effects,
    events_averted,
    fit,
    load_spec,
    pooled_effect,
    read_evaluation,
    run_checks,
    site_effects,
)
from lndbayes.checks.thresholds import thresholds_from
from lndbayes.estimands.overview import overview_row
from lndbayes.estimands.treated import treated_sites
from lndbayes.evidence.refits import make_refit
from lndbayes.evidence.sensitivity import VARIANTS, effort
from lndbayes.fitting.fit import coordinates_of
from lndbayes.spec.model_spec import ModelSpec, with_changes
from lndbayes.synthetic import WORLDS, simulate, write_evaluation

ROOT = Path(__file__).parents[1]
FIRST_SEED = 8001
SETTINGS = {
    "sampling.chains": 2,
    "sampling.tune": 200,
    "sampling.draws": 500,
    "sampling.target_accept": 0.8,
}
BROKEN: dict[str, tuple[str, dict[str, float]]] = {
    "trends with adoption": (
        "sites that start early have an untreated trend of their own: 0.10 log odds per 24 months "
        "for each standard deviation of the go-live month",
        {"adoption_trend": 0.10},
    ),
    "national shock": (
        "every site's untreated level steps by -0.25 in the month in which the second wave begins",
        {"national_shock": -0.25},
    ),
    "mix by need": (
        "a site's own effect deviation goes along (correlation 0.8) with its share of specialist "
        "referrals",
        {"mix_by_need": 0.8},
    ),
}


def one(seed: int, world: str, base: str, spec: ModelSpec) -> dict[str, Any]:
    """Simulate, fit, check and score one evaluation; refit without reconstructed evidence."""
    start = time.perf_counter()
    simulated = simulate(seed, replace(WORLDS[base], **BROKEN[world][1]), outcomes=("custody",))
    with tempfile.TemporaryDirectory() as folder:
        data = read_evaluation(write_evaluation(simulated, Path(folder) / "data"))
    truth = simulated.truth
    own = with_changes(spec, {"sampling.seed": seed})
    tree = fit(own, data, cores=1)
    refits = {
        variant.name: make_refit(
            own, data, variant, coordinates_of(tree), treated_sites(tree), effort()
        )
        for variant in VARIANTS
        if variant.name in ("panel_only", "bias_on")
    }
    pooled, other = flat(pooled_effect(tree)), flat(refits["panel_only"]["pooled"])
    # the verdict leans on no prior's spread: 1 stands in for it
    told = overview_row(own, tree, 1.0, allowed=refits["bias_on"]["pooled"])["verdict"]
    checks = run_checks(tree, thresholds=thresholds_from(spec.checks))
    effects = np.array(truth["parameters"]["mix_effect"])
    labels = list(truth["axes"]["intervention"])
    found = component_effects(tree)
    order = [labels.index(str(k)) for k in found["intervention"].to_numpy()]
    centre = tree["constant_data"]["mix_centre"].to_numpy()
    slope = effects[order] - (centre * effects[order]).sum()
    # the ramp's mean over the window, which the truth's window effect holds against its plateau
    shape = (
        truth["pooled"]["window_effect"] / truth["pooled"]["plateau"] if base == "effect" else 1.0
    )
    return {
        "seed": seed,
        "world": f"{world}/{base}",
        "seconds": round(time.perf_counter() - start, 1),
        "divergences": int(tree["sample_stats"]["diverging"].sum()),
        "flags": [
            f"{c.check} {c.status.value}" for c in checks if c.status.value in ("FAIL", "REVIEW")
        ],
        "verdict": told,
        "shift_panel_only": float((other.mean() - pooled.mean()) / pooled.std()),
        "scores": {
            "site effects": score(
                flat(site_effects(tree, withheld=False)), np.array(truth["sites"]["window_effect"])
            ),
            "pooled effect": score(pooled, truth["pooled"]["window_effect"]),
            "sentences averted": score(
                flat(events_averted(tree).sum("site")), truth["events_averted"]["total"]
            ),
            "mix contrasts": score(flat(found), 0.1 * shape * slope / (1 - centre)),
        },
    }


def table(done: list[dict[str, Any]]) -> pd.DataFrame:
    """Coverage, bias and claims by world."""
    rows = []
    tail = (1 - PROB) / 2
    for name in dict.fromkeys(r["world"] for r in done):
        part = [r for r in done if r["world"] == name]
        below = np.array([r["scores"]["pooled effect"]["below_zero"][0] for r in part])
        row: dict[str, Any] = {"world": name, "seeds": len(part)}
        for quantity in part[0]["scores"]:
            rank = np.array([r["scores"][quantity]["rank"] for r in part])
            row[f"{quantity}: covered"] = ((rank >= tail) & (rank <= 1 - tail)).mean()
        row["pooled: mean error"] = np.mean(
            [r["scores"]["pooled effect"]["error"][0] for r in part]
        )
        row["pooled: mean sd"] = np.mean([r["scores"]["pooled effect"]["sd"][0] for r in part])
        row["excludes zero"] = np.mean((below < tail) | (below > 1 - tail))
        row["verdict claims"] = np.mean([r["verdict"] in ("lowers", "raises") for r in part])
        row["median shift without evidence, sds"] = np.median([r["shift_panel_only"] for r in part])
        rows.append(row)
    order = [f"{w}/{b}" for w in BROKEN for b in ("effect", "null")]
    frame = pd.DataFrame(rows)
    return frame.sort_values("world", key=lambda c: c.map(order.index), ignore_index=True)


#: Checks of the sampler, which say nothing about the world.
_SAMPLER = ("rhat", "ess", "mcse", "divergences", "tree_depth", "energy")


def flags(done: list[dict[str, Any]]) -> str:
    """What the checks said, by world."""
    lines = []
    for world in BROKEN:
        part = [r for r in done if r["world"].startswith(f"{world}/")]
        told = Counter(flag for r in part for flag in r["flags"] if not flag.startswith(_SAMPLER))
        words = ", ".join(f"`{k}` {v}" for k, v in told.most_common(6)) or "nothing"
        lines.append(f"- **{world}** ({len(part)} fits): {words}")
    return "\n".join(lines)


def markdown(done: list[dict[str, Any]], spec: ModelSpec) -> str:
    """Write the results as a page; what they mean is written by hand below the marker."""
    frame = table(done)
    head = "| " + " | ".join(frame.columns) + " |\n|" + "---|" * len(frame.columns) + "\n"
    body = ""
    for row in frame.itertuples(index=False):
        cells = [f"{c:.3f}" if isinstance(c, float) else str(c) for c in row]
        body += "| " + " | ".join(cells) + " |\n"
    worlds = "\n".join(f"- **{name}**: {told}" for name, (told, _) in BROKEN.items())
    return f"""# Worlds that break the model

Made by `python benchmarks/broken_worlds.py`: custody, shipped priors (spec `{spec.hash[:12]}` with
2 chains of 200 + 500 draws), seeds from {FIRST_SEED} on; each world with the effect of the shipped
data and with none. Coverage is of 90% intervals. `excludes zero` in a `null` world is the rate of
false claims by the interval alone; `verdict claims` counts what the report would say: that the
service lowers or raises it, for which the refit with a level bias and a drift allowed has to leave
out zero on the same side. The last column is how far the pooled effect moves, in its posterior
standard deviations, when all reconstructed evidence is switched off.

{worlds}

{head}{body}
What the checks said (sampler checks left out; number of fits):

{flags(done)}
"""


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    spec = with_changes(load_spec(ROOT / "models" / "custody.toml"), SETTINGS)
    store = store_of(f"broken-{spec.hash[:12]}", __name__, "recovery")
    have = {(r["seed"], r["world"]) for r in results(store)}
    todo = [
        (FIRST_SEED + i, world, base)
        for i in range(options.seeds)
        for world in BROKEN
        for base in ("effect", "null")
        if (FIRST_SEED + i, f"{world}/{base}") not in have
    ]
    made = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
        delayed(one)(seed, world, base, spec) for seed, world, base in todo
    )
    for count, result in enumerate(made, start=1):
        with store.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(result) + "\n")
        told = f"{result['world']} {result['seed']}, {result['seconds']} s"
        print(f"{count} of {len(todo)}: {told}", flush=True)
    done = results(store)
    write_page(options.out / "broken-worlds.md", markdown(done, spec))
    print(table(done).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
