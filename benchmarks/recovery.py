"""Recovery and calibration of the custody model on fresh worlds, written to docs/recovery.md.

Twenty seeds of the worlds ``effect`` and ``harm``, a hundred of ``null`` (a false-claim rate needs
more): fit, compare with the truth that the simulator kept, and count. Every result is stored as it
finishes; a second run continues.

    python benchmarks/recovery.py [--seeds 20] [--null-seeds 100] [--jobs 2]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from joblib import Parallel, delayed

from lndbayes import (
    events_averted,
    fit,
    load_costs,
    load_spec,
    new_site_effect,
    pooled_effect,
    read_evaluation,
    savings,
    site_effects,
)
from lndbayes.base.vocabulary import VariantName
from lndbayes.data.evaluation import EvaluationData
from lndbayes.estimands.effects import baseline_rates
from lndbayes.estimands.overview import overview_row
from lndbayes.estimands.reported import prior_as_posterior
from lndbayes.estimands.summaries import summarise
from lndbayes.evidence.sensitivity import VARIANTS, run_variants
from lndbayes.files.source import source_hash, versions
from lndbayes.money.savings import total_saving
from lndbayes.spec.model_spec import ModelSpec, with_changes
from lndbayes.synthetic import simulate, write_evaluation

ROOT = Path(__file__).parents[1]
WORLDS = ("effect", "null", "harm")
#: Heading of what is written by hand below a table, and kept.
SAID = "## What it says"
FIRST_SEED = 5001
PROB = 0.90
SETTINGS = {
    "sampling.chains": 2,
    "sampling.tune": 200,
    "sampling.draws": 700,
    "sampling.target_accept": 0.8,
}


def score(draws: np.ndarray, truth: np.ndarray) -> dict[str, list[float]]:
    """Position of each truth among its draws (first axis), z and error."""
    draws = draws.reshape(draws.shape[0], -1)
    truth = np.ravel(truth)
    sd = draws.std(axis=0)
    return {
        "rank": (draws < truth).mean(axis=0).tolist(),
        "z": ((draws.mean(axis=0) - truth) / sd).tolist(),
        "error": (draws.mean(axis=0) - truth).tolist(),
        "sd": sd.tolist(),
        "below_zero": (draws < 0).mean(axis=0).tolist(),
    }


def verdict_of(
    spec: ModelSpec, data: EvaluationData, tree: xr.DataTree, failed: Sequence[str] = ()
) -> str:
    """Verdict with the refits that it asks for, as `lndbayes evaluate` makes them.

    `failed` are checks that say FAIL; by default none, since chains are short here.
    """
    wanted = [v for v in VARIANTS if v.name in (VariantName.ALL_OFF, VariantName.RAMP_HIDDEN)]
    with tempfile.TemporaryDirectory() as folder:
        refits = run_variants([(spec, data, tree)], Path(folder), variants=wanted)
    prior = pooled_effect(prior_as_posterior(tree), "link", spec.effect.window)
    prior_sd = float(summarise(prior)["sd"].iloc[0])
    found = refits[spec.outcome.name]
    return str(overview_row(spec, tree, prior_sd, refits=found, failed=failed)["verdict"])


def flat(array: xr.DataArray) -> np.ndarray:
    """Sample dims first and joined."""
    values = array.transpose("chain", "draw", ...).to_numpy()
    return values.reshape(-1, *values.shape[2:])


def one(seed: int, world: str, spec: ModelSpec) -> dict[str, Any]:
    """Simulate, fit and score one evaluation."""
    start = time.perf_counter()
    simulated = simulate(seed, world)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        write_evaluation(simulated, path)
        data = read_evaluation(path)
    truth = simulated.truth
    tree = fit(with_changes(spec, {"sampling.seed": seed}), data, cores=1, predictive=False)
    averted = events_averted(tree)
    costs = load_costs(ROOT / "models" / "costs.toml")
    priced = savings({"custody": averted}, costs, seed=seed)
    scenario = priced.attrs["headline_scenario"]
    # one draw of every unit cost is the truth of this replicate
    true_averted = xr.DataArray(
        np.broadcast_to(truth["sites"]["events_averted"], (1, 2, averted.sizes["site"])),
        dims=("chain", "draw", "site"),
        coords={"chain": [0], "draw": [0, 1], "site": averted["site"]},
    )
    true_saving = total_saving(savings({"custody": true_averted}, costs, seed=10**6 + seed))
    first = int(np.nanmin(data.ds["go_live"]))
    before = baseline_rates(tree, draws=10**9).isel(month=slice(first - 12, first)).mean("month")
    scores = {
        "site effects": score(
            flat(site_effects(tree, withheld=False)), np.array(truth["sites"]["window_effect"])
        ),
        "pooled effect": score(flat(pooled_effect(tree)), truth["pooled"]["window_effect"]),
        "pre-period baselines": score(
            flat(before), np.array(truth["sites"]["baseline_rate_before"])
        ),
        "sentences averted": score(flat(averted.sum("site")), truth["events_averted"]["total"]),
        "new site": score(flat(new_site_effect(tree)), truth["new_site"]["window_effect"]),
        "savings": score(
            flat(total_saving(priced).sel(scenario=scenario)),
            float(true_saving.sel(scenario=scenario).isel(chain=0, draw=0)),
        ),
    }
    stats = tree["sample_stats"]
    return {
        "seed": seed,
        "world": world,
        "divergences": int(stats["diverging"].sum()),
        "seconds": round(time.perf_counter() - start, 1),
        "scores": scores,
    }


def store_of(name: str, *modules: str) -> Path:
    """File of finished results under this name, and of these modules' source as it is now."""
    parts = [*versions().items(), *(source_hash(module) for module in modules)]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    store = ROOT / "results" / "benchmarks" / f"{name}-{digest[:12]}.jsonl"
    store.parent.mkdir(parents=True, exist_ok=True)
    return store


def results(path: Path) -> list[dict[str, Any]]:
    """Read finished results."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def table(done: list[dict[str, Any]]) -> pd.DataFrame:
    """Coverage, bias and z over seeds, by world and quantity."""
    rows = []
    tail = (1 - PROB) / 2
    for world in WORLDS:
        part = [r for r in done if r["world"] == world]
        if not part:
            continue
        for name in part[0]["scores"]:
            rank, z, error, sd = (
                np.array([r["scores"][name][k] for r in part]) for k in ("rank", "z", "error", "sd")
            )
            covered = (rank >= tail) & (rank <= 1 - tail)
            mean_error = error.mean(axis=1)
            rows.append(
                {
                    "world": world,
                    "quantity": name,
                    "seeds": len(part),
                    "values": rank.size,
                    "coverage": covered.mean(),
                    "mean error": mean_error.mean(),
                    "its standard error": mean_error.std(ddof=1) / np.sqrt(len(part)),
                    "mean z": z.mean(),
                    "sd z": z.std(ddof=1),
                    "mean posterior sd": sd.mean(),
                }
            )
    return pd.DataFrame(rows)


def claims(done: list[dict[str, Any]], world: str) -> tuple[int, int]:
    """Seeds whose 90% interval for the pooled effect leaves out zero, and seeds."""
    part = [r["scores"]["pooled effect"]["below_zero"][0] for r in done if r["world"] == world]
    tail = (1 - PROB) / 2
    return sum(p < tail or p > 1 - tail for p in part), len(part)


def markdown(done: list[dict[str, Any]], spec: ModelSpec) -> str:
    """Write the results as a page."""
    frame = table(done)
    head = "| " + " | ".join(frame.columns) + " |\n|" + "---|" * len(frame.columns) + "\n"
    body = ""
    for row in frame.itertuples(index=False):
        cells = [f"{c:,.3g}" if isinstance(c, float) else str(c) for c in row]
        body += "| " + " | ".join(cells) + " |\n"
    lines = [
        f"- `{w}`: the 90% interval of the pooled effect leaves out zero in {k} of {n} seeds"
        for w in WORLDS
        for k, n in [claims(done, w)]
        if n
    ]
    divergences = sum(r["divergences"] for r in done)
    return f"""# Recovery on fresh worlds

Made by `python benchmarks/recovery.py`; the shipped custody spec (hash `{spec.hash[:12]}`) with
{spec.sampling.chains} chains of {spec.sampling.tune} + {spec.sampling.draws} draws. Seeds from
{FIRST_SEED} on; the worlds are those of [synthetic.md](synthetic.md), which are deliberately unlike
the fitted model: ramps that differ between sites, autocorrelated shocks, another law of the smooth
curves, gaps, and evidence with non-zero biases that are the same in every seed.

Coverage is of equal-tailed 90% intervals. An effect is in log odds (mean over event months 7 to
18), a baseline is the mean rate in the 12 months before the first go-live, `savings` is in pounds
in the headline scenario, the true unit costs being one draw of `models/costs.toml` per seed.

{head}{body}
{chr(10).join(lines)}

{divergences} divergent transitions in {len(done)} fits.
"""


def write_page(page: Path, text: str) -> None:
    """Write a page of results; what was written by hand under `SAID` is kept.

    Whether that still holds is for a reader of both to see.
    """
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    _, mark, said = old.partition(SAID)
    page.write_text(f"{text}\n{mark}{said}" if mark else text, encoding="utf-8")


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--null-seeds", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    spec = with_changes(load_spec(ROOT / "models" / "custody.toml"), SETTINGS)
    store = store_of(f"recovery-{spec.hash[:12]}", __name__)
    have = {(r["seed"], r["world"]) for r in results(store)}
    todo = [
        (FIRST_SEED + i, world)
        for world in WORLDS
        for i in range(options.null_seeds if world == "null" else options.seeds)
        if (FIRST_SEED + i, world) not in have
    ]
    made = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
        delayed(one)(seed, world, spec) for seed, world in todo
    )
    for count, result in enumerate(made, start=1):
        with store.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(result) + "\n")
        print(f"{count} of {len(todo)}: {result['world']} {result['seed']}, {result['seconds']} s")
    done = results(store)
    write_page(options.out / "recovery.md", markdown(done, spec))
    table(done).to_csv(options.out / "recovery.csv", index=False, float_format="%.4g")
    print(table(done).to_string(index=False))
    print(markdown(done, spec).rsplit("|\n", 1)[1])


if __name__ == "__main__":
    main()
