"""Worlds rougher than the model, bad results included, written to docs/broken-worlds.md.

Each world has one thing that the plain one has not. The plain world runs on the same seeds beside
it, and the terms for rough worlds beside the shipped spec. Results are stored as they finish; a
second run continues.

    python benchmarks/broken_worlds.py [--first 9001] [--seeds 100] [--jobs 2] [--screen]
        [--outcome custody] [--base effect] [--world plain ...] [--variant shipped rough ...]

`--screen` prints the table of what is asked for and writes no page.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from recovery import PROB, flat, results, score, store_of, write_page

from lndbayes import (
    events_averted,
    fit,
    load_spec,
    pooled_effect,
    read_evaluation,
    run_checks,
    site_effects,
)
from lndbayes.checks.thresholds import thresholds_from
from lndbayes.spec.model_spec import ModelSpec, with_changes
from lndbayes.synthetic import WORLDS, simulate, write_evaluation

ROOT = Path(__file__).parents[1]
FIRST_SEED = 9001
SETTINGS = {"sampling.chains": 2, "sampling.tune": 200, "sampling.draws": 500}
BROKEN: dict[str, tuple[str, dict[str, float]]] = {
    "plain": ("as the simulator has it, which is rougher than the model already", {}),
    "adoption trend": (
        "sites that start early have an untreated trend of their own: 0.10 on the link scale per "
        "24 months for each standard deviation of the go-live month",
        {"adoption_trend": 0.10},
    ),
    "adoption level": (
        "and an untreated level of their own: 0.3 for each standard deviation",
        {"adoption_level": 0.3},
    ),
    "national step": (
        "every site's untreated level steps by -0.25 in the month in which the second wave begins",
        {"national_shock": -0.25},
    ),
    "shocks": (
        "shocks of a site last: AR(1), 0.8 from month to month, sd 0.06",
        {"shock_sd": 0.06, "shock_autocorrelation": 0.8},
    ),
    "mix by need": (
        "a site's own effect deviation goes along (correlation 0.8) with its share of specialist "
        "referrals",
        {"mix_by_need": 0.8},
    ),
    "recording step": (
        "records step by 0.15 at go-live, which is no effect",
        {"go_live_step": 0.15},
    ),
    "fading": (
        "effects fade from month 18 on, to 1/e in 24 months",
        {"fading_months": 24.0},
    ),
    "heavy tails": (
        "site effects deviate as a Student t with 3 degrees of freedom, of the same scale",
        {"deviation_df": 3.0},
    ),
}
#: Worlds that terms of the model speak of; with the plain one, those of A&E attendances.
NAMED = ("plain", "adoption trend", "adoption level", "national step", "shocks")
_HEAVY = {"dist": "StudentT", "nu": 4.0, "mu": 0.0}
#: Terms for rough worlds, which are off by default.
ROUGH: dict[str, Any] = {
    "baseline.site_basis": 8,
    "baseline.site_curve_order": 1,
    "baseline.national_walk": 24,
    "priors.national_walk_sd": {"dist": "LogNormal", "mu": float(np.log(0.05)), "sigma": 0.4},
    "baseline.drift_adoption_sd": 0.1,
    "baseline.level_adoption_sd": 0.3,
    "baseline.contamination": 0.2,
    "sensitivity.shared_bias_sd": 0.15,
    "sensitivity.drift_sd": 0.05,
    "priors.retrospective_bias": {**_HEAVY, "sigma": 0.15},
    "priors.history_selection": {**_HEAVY, "sigma": 0.25},
}
#: Designs side by side, as changes of the shipped spec.
VARIANTS: dict[str, dict[str, Any]] = {
    "shipped": {},
    "rough": ROUGH,
    "rough, every month": {**ROUGH, "baseline.national_walk": 95},
}


def one(
    seed: int, world: str, base: str, outcome: str, variant: str, spec: ModelSpec
) -> dict[str, Any]:
    """Simulate, fit, check and score one evaluation."""
    start = time.perf_counter()
    wanted = tuple(filter(None, (outcome, spec.outcome.exposure_outcome)))
    simulated = simulate(seed, replace(WORLDS[base], **BROKEN[world][1]), outcomes=wanted)
    with tempfile.TemporaryDirectory() as folder:
        data = read_evaluation(write_evaluation(simulated, Path(folder) / "data"))
    truth = simulated.truth if outcome == "custody" else simulated.truth["outcomes"][outcome]
    own = with_changes(spec, {"sampling.seed": seed, **VARIANTS[variant]})
    clock = time.process_time()
    tree = fit(own, data, cores=1, predictive=variant == "shipped")
    seconds = time.process_time() - clock
    checks = (
        run_checks(tree, thresholds=thresholds_from(spec.checks)) if variant == "shipped" else []
    )
    posterior = tree["posterior"]
    scales = ("site_curve_sd", "site_drift_sd", "national_curve_sd", "national_walk_sd")
    return {
        "seed": seed,
        "world": world,
        "base": base,
        "outcome": outcome,
        "variant": variant,
        "wall": round(time.perf_counter() - start, 1),
        "seconds": round(seconds, 2),
        "divergences": int(tree["sample_stats"]["diverging"].sum()),
        "flags": [
            f"{c.check} {c.status.value}" for c in checks if c.status.value in ("FAIL", "REVIEW")
        ],
        "terms": {
            k: float(posterior[k].mean())
            for k in (*scales, "level_adoption", "drift_adoption", "shared_bias", "drift")
            if k in posterior
        },
        "scores": {
            "site effects": score(
                flat(site_effects(tree, withheld=False)), np.array(truth["sites"]["window_effect"])
            ),
            "pooled effect": score(flat(pooled_effect(tree)), truth["pooled"]["window_effect"]),
            "events averted": score(
                flat(events_averted(tree).sum("site")), truth["events_averted"]["total"]
            ),
        },
    }


def held(part: list[dict[str, Any]], quantity: str) -> np.ndarray:
    """Whether intervals hold the truth."""
    rank = np.concatenate([np.atleast_1d(r["scores"][quantity]["rank"]) for r in part])
    tail = (1 - PROB) / 2
    return (rank >= tail) & (rank <= 1 - tail)


def table(done: list[dict[str, Any]]) -> pd.DataFrame:
    """Coverage, bias and claims by outcome, world and variant."""
    rows = []
    keys = ("outcome", "base", "world", "variant")
    plain = {
        (r["outcome"], r["base"], r["variant"], r["seed"]): r["scores"]["pooled effect"]
        for r in done
        if r["world"] == "plain"
    }
    for group in dict.fromkeys(tuple(r[k] for k in keys) for r in done):
        part = [r for r in done if tuple(r[k] for k in keys) == group]
        scores = [r["scores"]["pooled effect"] for r in part]
        error, sd, z, below = (
            np.array([s[k][0] for s in scores]) for k in ("error", "sd", "z", "below_zero")
        )
        beside = [plain.get((r["outcome"], r["base"], r["variant"], r["seed"])) for r in part]
        moved = [s["error"][0] - p["error"][0] for s, p in zip(scores, beside, strict=True) if p]
        tail = (1 - PROB) / 2
        rows.append(
            {
                **dict(zip(keys, group, strict=True)),
                "seeds": len(part),
                "pooled held": int(held(part, "pooled effect").sum()),
                "rms z": np.sqrt((z**2).mean()),
                "mean error": error.mean(),
                "mean sd": sd.mean(),
                "against plain": np.mean(moved) if moved else np.nan,
                "s.e.": np.std(moved) / np.sqrt(len(moved)) if len(moved) > 1 else np.nan,
                "sites": held(part, "site effects").mean(),
                "averted": int(held(part, "events averted").sum()),
                "excludes zero": int(((below < tail) | (below > 1 - tail)).sum()),
                "seconds": np.median([r["seconds"] for r in part]),
            }
        )
    frame = pd.DataFrame(rows)
    order = {name: i for i, name in enumerate(BROKEN)}
    return frame.sort_values(
        ["outcome", "base", "world", "variant"],
        key=lambda c: c.map(order) if c.name == "world" else c,
        ignore_index=True,
    )


def todo(options: argparse.Namespace, have: set[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Fits that are not there yet, seeds outermost: a run that is cut short is balanced."""
    for seed in range(options.first, options.first + options.seeds):
        for outcome in options.outcome:
            for base in options.base:
                if base == "null" and outcome != "custody":
                    continue
                for world in options.world:
                    if outcome != "custody" and world not in NAMED:
                        continue
                    for variant in options.variant:
                        key = (seed, world, base, outcome, variant)
                        if key not in have:
                            yield key


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=FIRST_SEED)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--outcome", nargs="+", default=["custody", "ae_attendances"])
    parser.add_argument("--base", nargs="+", default=["effect", "null"])
    parser.add_argument("--world", nargs="+", choices=BROKEN, default=list(BROKEN))
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=["shipped", "rough"])
    parser.add_argument("--screen", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    return parser.parse_args()


def main() -> None:
    """Run what is missing and write the page."""
    options = arguments()
    specs = {
        name: with_changes(load_spec(ROOT / "models" / f"{name}.toml"), SETTINGS)
        for name in options.outcome
    }
    digest = "-".join(spec.hash[:6] for spec in specs.values())
    store = store_of(f"broken-{digest}", __name__, "recovery")
    keys = ("seed", "world", "base", "outcome", "variant")
    missing = list(todo(options, {tuple(r[k] for k in keys) for r in results(store)}))
    made = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
        delayed(one)(*key, specs[key[3]]) for key in missing
    )
    for count, result in enumerate(made, start=1):
        with store.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(result) + "\n")
        told = " ".join(str(result[k]) for k in keys)
        print(f"{count} of {len(missing)}: {told}, {result['seconds']} s", flush=True)
    frame = table(results(store))
    print(frame.round(3).to_string(index=False))
    if not options.screen:
        write_page(options.out / "broken-worlds.md", markdown(frame, specs, options.first))


def markdown(frame: pd.DataFrame, specs: dict[str, ModelSpec], first: int) -> str:
    """Write the results as a page; what they mean is written by hand below the marker."""
    head = "| " + " | ".join(frame.columns) + " |\n|" + "---|" * len(frame.columns) + "\n"
    body = ""
    for row in frame.itertuples(index=False):
        cells = [f"{c:.3f}" if isinstance(c, float) else str(c) for c in row]
        body += "| " + " | ".join(cells) + " |\n"
    worlds = "\n".join(f"- **{name}**: {told}" for name, (told, _) in BROKEN.items())
    hashes = ", ".join(f"{name} `{spec.hash[:12]}`" for name, spec in specs.items())
    return f"""# Worlds rougher than the model

Made by `python benchmarks/broken_worlds.py`: shipped priors ({hashes}, with 2 chains of 200 + 500
draws), seeds from {first} on; each world with the effect of the shipped data and with none, `null`.
`rough` is the same fit with the terms for rough worlds. Intervals are of 90%: of 100, 82
to 96 hold where they deserve the name. `against plain` is how far the mean of the pooled effect
moves from that of the plain world on the same seed, with its standard error. `excludes zero` in a
`null` world counts false claims by the interval alone.

{worlds}

{head}{body}
"""


if __name__ == "__main__":
    main()
