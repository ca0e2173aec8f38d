"""Suppressed cells as intervals, against what else is done with them: docs/suppression.md.

Referrals to talking therapies at fresh worlds whose sites are somewhat smaller than the shipped
ones, with the disclosure rule of hospital statistics since 2018 (1 to 7 withheld, the rest rounded
to the nearest 5, zero kept) applied to the counts: a third of cells are withheld. The same fit four
times: on the exact counts, with intervals in the likelihood, with withheld cells taken for zero,
and with withheld cells dropped (rounded counts taken for exact in both).

    python benchmarks/suppression.py [--seeds 20] [--jobs 2]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from recovery import PROB, flat, results, score, store_of, write_page

from lndbayes import fit, load_spec, pooled_effect, read_evaluation, site_effects
from lndbayes.estimands.effects import baseline_rates
from lndbayes.spec.model_spec import ModelSpec, with_changes
from lndbayes.synthetic import WORLDS, SimulatedEvaluation, simulate, write_evaluation

ROOT = Path(__file__).parents[1]
OUTCOME = "iapt_referrals"
FIRST_SEED = 4001
#: Sites of median size 36 in the place of 45, down to 8: so that a third of cells is withheld.
WORLD = replace(WORLDS["effect"], size_median=36.0, size_limits=(8.0, 160.0))
SETTINGS = {
    "sampling.chains": 2,
    "sampling.tune": 200,
    "sampling.draws": 500,
    "sampling.target_accept": 0.8,
}
TREATMENTS = ("exact counts", "intervals", "withheld as zero", "withheld dropped")


def disclosed(table: pd.DataFrame, treatment: str) -> pd.DataFrame:
    """Outcome rows as published under the rule, then treated."""
    if treatment == "exact counts":
        return table
    count = table["count"].to_numpy(float)
    withheld = (count >= 1) & (count <= 7)
    rounded = 5 * np.round(count / 5)
    if treatment == "withheld dropped":
        return table.assign(count=rounded.astype(int))[~withheld]
    if treatment == "withheld as zero":
        return table.assign(count=np.where(withheld, 0, rounded).astype(int))
    above = count > 7
    low = np.where(withheld, 1, np.maximum(rounded - 2, 8))
    high = np.where(withheld, 7, rounded + 2)
    shown = pd.array(np.where(withheld, 0, rounded).astype(int), dtype="Int64")
    shown[withheld] = pd.NA
    known = withheld | above
    bounds = [pd.array(np.where(known, b, 0).astype(int), dtype="Int64") for b in (low, high)]
    for bound in bounds:
        bound[~known] = pd.NA
    status = np.where(withheld, "suppressed", np.where(above, "rounded", "observed"))
    return table.assign(count=shown, status=status, count_low=bounds[0], count_high=bounds[1])


def one(seed: int, treatment: str, spec: ModelSpec) -> dict[str, Any]:
    """Simulate, disclose, fit and score."""
    start = time.perf_counter()
    simulated = simulate(seed, WORLD, outcomes=(OUTCOME,))
    table = simulated.frames["outcomes.csv"]
    frames = {**simulated.frames, "outcomes.csv": disclosed(table, treatment)}
    shown: SimulatedEvaluation = replace(simulated, frames=frames)
    with tempfile.TemporaryDirectory() as folder:
        data = read_evaluation(write_evaluation(shown, Path(folder) / "data"))
    truth = simulated.truth["outcomes"][OUTCOME]
    own = with_changes(spec, {"sampling.seed": seed})
    tree = fit(own, data, cores=1, predictive=False)
    first = int(np.nanmin(data.ds["go_live"]))
    before = baseline_rates(tree, draws=10**9).isel(month=slice(first - 12, first)).mean("month")
    return {
        "seed": seed,
        "world": treatment,
        "seconds": round(time.perf_counter() - start, 1),
        "withheld": float(((table["count"] >= 1) & (table["count"] <= 7)).mean()),
        "divergences": int(tree["sample_stats"]["diverging"].sum()),
        "scores": {
            "pooled effect": score(flat(pooled_effect(tree)), truth["pooled"]["window_effect"]),
            "site effects": score(
                flat(site_effects(tree, withheld=False)), np.array(truth["sites"]["window_effect"])
            ),
            "log baselines": score(
                np.log(flat(before)), np.log(truth["sites"]["baseline_rate_before"])
            ),
        },
    }


def table(done: list[dict[str, Any]]) -> pd.DataFrame:
    """Coverage and bias by treatment and quantity."""
    rows = []
    tail = (1 - PROB) / 2
    for treatment in TREATMENTS:
        part = [r for r in done if r["world"] == treatment]
        for quantity in part[0]["scores"] if part else []:
            rank, error, sd = (
                np.array([r["scores"][quantity][k] for r in part]) for k in ("rank", "error", "sd")
            )
            by_seed = error.mean(axis=1)
            rows.append(
                {
                    "treatment": treatment,
                    "quantity": quantity,
                    "seeds": len(part),
                    "coverage": ((rank >= tail) & (rank <= 1 - tail)).mean(),
                    "mean error": by_seed.mean(),
                    "its standard error": by_seed.std(ddof=1) / np.sqrt(len(part)),
                    "mean posterior sd": sd.mean(),
                }
            )
    return pd.DataFrame(rows)


def markdown(done: list[dict[str, Any]], spec: ModelSpec) -> str:
    """Write the results as a page."""
    frame = table(done)
    head = "| " + " | ".join(frame.columns) + " |\n|" + "---|" * len(frame.columns) + "\n"
    body = ""
    for row in frame.itertuples(index=False):
        cells = [f"{c:.3f}" if isinstance(c, float) else str(c) for c in row]
        body += "| " + " | ".join(cells) + " |\n"
    share = np.mean([r["withheld"] for r in done])
    return f"""# What suppression costs, and what treating it wrongly costs

Made by `python benchmarks/suppression.py`: `{OUTCOME}` (spec `{spec.hash[:12]}`, 2 chains of 200 +
500 draws), seeds from {FIRST_SEED} on, sites of median size {WORLD.size_median:.0f} where the
shipped ones have {WORLDS["effect"].size_median:.0f}. The disclosure rule of HES and ECDS outputs
since September 2018 (1 to 7 withheld, the rest rounded to the nearest 5, zero kept; NHS Digital) is
applied to every count: {share:.0%} of cells are withheld. Errors are in log rates; coverage is of
90% intervals.

{head}{body}
"""


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    spec = with_changes(load_spec(ROOT / "models" / f"{OUTCOME}.toml"), SETTINGS)
    name = f"suppression-{spec.hash[:12]}-{WORLD.size_median:.0f}"
    store = store_of(name, __name__, "recovery")
    have = {(r["seed"], r["world"]) for r in results(store)}
    todo = [
        (FIRST_SEED + i, treatment)
        for i in range(options.seeds)
        for treatment in TREATMENTS
        if (FIRST_SEED + i, treatment) not in have
    ]
    made = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
        delayed(one)(seed, treatment, spec) for seed, treatment in todo
    )
    for count, result in enumerate(made, start=1):
        with store.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(result) + "\n")
        told = f"{result['world']} {result['seed']}, {result['seconds']} s"
        print(f"{count} of {len(todo)}: {told}", flush=True)
    done = results(store)
    write_page(options.out / "suppression.md", markdown(done, spec))
    print(table(done).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
