"""Recovery of every outcome beside custody on fresh worlds, written to docs/recovery-outcomes.md.

Twenty seeds of the world ``effect``: fit each outcome with its shipped spec, compare with the truth
that the simulator kept, and count; then once more with the two refits that the verdict asks for.
Every result is stored as it finishes; a second run continues.

    python benchmarks/recovery_families.py [--seeds 20] [--jobs 2] [--outcomes a,b] [--claims c,d]
    python benchmarks/recovery_families.py --first 7001 --seeds 40 --outcomes a,b --claims ""
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from recovery import PROB, flat, results, score, store_of, verdict_of, write_page

from lndbayes import events_averted, fit, load_spec, pooled_effect, read_evaluation, site_effects
from lndbayes.base.vocabulary import EffectVerdict
from lndbayes.estimands.bounds import selection_bounds
from lndbayes.estimands.effects import baseline_rates
from lndbayes.spec.model_spec import ModelSpec, with_changes
from lndbayes.synthetic import simulate, write_evaluation

ROOT = Path(__file__).parents[1]
FIRST_SEED = 6001
SETTINGS = {
    "sampling.chains": 2,
    "sampling.tune": 200,
    "sampling.draws": 500,
    "sampling.target_accept": 0.8,
}
OUTCOMES = (
    "offending",
    "ae_attendances",
    "mh_referrals",
    "mh_attendances",
    "iapt_referrals",
    "iapt_attendances",
    "drug_alcohol_referrals",
    "drug_alcohol_attendances",
    "wellbeing",
    "court_duration",
    "hearings",
)
#: Verdicts, with the refits that they ask for, are stored under the outcome's name and this.
JUDGED = " verdict"
#: Outcomes whose verdicts are counted: three without any effect, and some with one.
CLAIMS = (
    "offending",
    "court_duration",
    "hearings",
    "ae_attendances",
    "mh_attendances",
    "drug_alcohol_referrals",
)
#: Stretches of event months in which the course of the mental-health referrals is scored.
COURSE = ((0, 2), (3, 6), (7, 12), (13, 18))


def shipped(name: str) -> ModelSpec:
    """The outcome's spec with the benchmark's chains."""
    return with_changes(load_spec(ROOT / "models" / f"{name}.toml"), SETTINGS)


def one(seed: int, name: str) -> dict[str, Any]:
    """Simulate, fit and score one outcome of one world, or say its verdict."""
    start = time.perf_counter()
    judged, label = name.endswith(JUDGED), name
    name = name.removesuffix(JUDGED)
    spec = shipped(name)
    given = spec.outcome.exposure_outcome
    simulated = simulate(seed, "effect", outcomes=tuple(filter(None, (name, given))))
    with tempfile.TemporaryDirectory() as folder:
        data = read_evaluation(write_evaluation(simulated, Path(folder) / "data"))
    truth = simulated.truth["outcomes"][name]
    own = with_changes(spec, {"sampling.seed": seed})
    tree = fit(own, data, cores=1, predictive=judged)
    if judged:
        found = score(flat(pooled_effect(tree)), truth["pooled"]["window_effect"])
        scores = {"pooled effect": found | {"verdict": [verdict_of(own, data, tree)]}}
    elif spec.outcome.selected:
        parent = fit(
            with_changes(shipped(given), {"sampling.seed": seed}), data, cores=1, predictive=False
        )
        scores = _bounded(tree, parent, truth)
    else:
        scores = _scores(tree, data, truth, spec)
    return {
        "seed": seed,
        "world": label,
        "divergences": int(tree["sample_stats"]["diverging"].sum()),
        "seconds": round(time.perf_counter() - start, 1),
        "scores": scores,
    }


def _scores(tree: Any, data: Any, truth: dict[str, Any], spec: ModelSpec) -> dict[str, Any]:
    first = int(np.nanmin(data.ds["go_live"]))
    before = baseline_rates(tree, draws=10**9).isel(month=slice(first - 12, first)).mean("month")
    base = np.array(
        [np.nan if v is None else v for v in truth["sites"]["baseline_rate_before"]], float
    )
    known = np.isfinite(base)
    found = {
        "site effects": score(
            flat(site_effects(tree, withheld=False)), np.array(truth["sites"]["window_effect"])
        ),
        "pooled effect": score(flat(pooled_effect(tree)), truth["pooled"]["window_effect"]),
        "pre-period baselines": score(flat(before)[:, known], base[known]),
        "events averted": score(
            flat(events_averted(tree).sum("site")), truth["events_averted"]["total"]
        ),
    }
    if truth["pulse"] and truth["pulse"]["peak"]:
        for span in COURSE:
            found[f"months {span[0]} to {span[1]}"] = score(
                flat(pooled_effect(tree, window=span)), _course(truth, span)
            )
    return found


def _course(truth: dict[str, Any], span: tuple[int, int]) -> float:
    """True mean effect over the sites and these event months: ramp and pulse."""
    u = np.arange(span[0], span[1] + 1) + 0.5
    ramp = 1 - np.exp(-u / np.array(truth["sites"]["ramp_months"])[:, None])
    plateau = np.array(truth["sites"]["plateau"])[:, None]
    v = u / truth["pulse"]["months"]
    return float((plateau * ramp).mean() + (truth["pulse"]["peak"] * v * np.exp(1 - v)).mean())


def _bounded(tree: Any, parent: Any, truth: dict[str, Any]) -> dict[str, Any]:
    """Whether the bounds, with their uncertainty, hold the effect on those always measured."""
    draws = selection_bounds(tree, parent)
    low, high, naive = (flat(draws[k]) for k in ("low", "high", "naive"))
    true = truth["pooled"]["window_effect_natural"]
    tail = (1 - PROB) / 2
    return {
        "bounds": {
            "holds": [float(np.quantile(low, tail) <= true <= np.quantile(high, 1 - tail))],
            "width": [float(np.median(high) - np.median(low))],
        },
        "as if nobody had entered": score(naive, true),
    }


def table(done: list[dict[str, Any]]) -> pd.DataFrame:
    """Coverage, bias and z over seeds, by outcome and quantity."""
    rows = []
    tail = (1 - PROB) / 2
    for name in OUTCOMES:
        part = [r for r in done if r["world"] == name]
        for quantity in part[0]["scores"] if part else []:
            values = [r["scores"][quantity] for r in part]
            row: dict[str, Any] = {"outcome": name, "quantity": quantity, "seeds": len(part)}
            if quantity == "bounds":
                row |= {"values": len(part), "coverage": np.mean([v["holds"] for v in values])}
                row["mean posterior sd"] = np.mean([v["width"] for v in values])
                rows.append(row)
                continue
            rank, z, error, sd = (
                np.array([v[k] for v in values]) for k in ("rank", "z", "error", "sd")
            )
            mean_error = error.mean(axis=1)
            rows.append(
                row
                | {
                    "values": rank.size,
                    "coverage": ((rank >= tail) & (rank <= 1 - tail)).mean(),
                    "mean error": mean_error.mean(),
                    "its standard error": mean_error.std(ddof=1) / np.sqrt(len(part)),
                    "mean z": z.mean(),
                    "sd z": z.std(ddof=1),
                    "mean posterior sd": sd.mean(),
                }
            )
    return pd.DataFrame(rows)


def _sides(done: list[dict[str, Any]], world: str) -> dict[int, int]:
    """By seed: -1 or 1 where the pooled effect's interval lies below or above zero, else 0."""
    tail = (1 - PROB) / 2
    below = {
        r["seed"]: r["scores"]["pooled effect"]["below_zero"][0]
        for r in done
        if r["world"] == world
    }
    return {seed: int(p < tail) - int(p > 1 - tail) for seed, p in below.items()}


def claims(done: list[dict[str, Any]]) -> pd.DataFrame:
    """Claims by outcome: of the interval alone, and of the verdict."""
    rows = []
    for name in CLAIMS:
        alone = _sides(done, name + JUDGED)
        said = {
            r["seed"]: EffectVerdict(r["scores"]["pooled effect"]["verdict"][0])
            for r in done
            if r["world"] == name + JUDGED
        }
        rows.append(
            {
                "outcome": name,
                "true effect": "zero" if name in CLAIMS[:3] else "not zero",
                "seeds": len(said),
                "interval leaves out zero": sum(side != 0 for side in alone.values()),
                "verdict claims": sum(verdict.sign != 0 for verdict in said.values()),
            }
        )
    return pd.DataFrame(rows)


def rows_of(frame: pd.DataFrame) -> str:
    """Write a table in Markdown."""
    text = "| " + " | ".join(frame.columns) + " |\n|" + "---|" * len(frame.columns) + "\n"
    for row in frame.itertuples(index=False):
        cells = ["" if c != c else f"{c:,.3g}" if isinstance(c, float) else str(c) for c in row]
        text += "| " + " | ".join(cells) + " |\n"
    return text


def markdown(done: list[dict[str, Any]]) -> str:
    """Write the results as a page."""
    specs = ", ".join(f"{name} `{shipped(name).hash[:8]}`" for name in OUTCOMES)
    return f"""# Recovery of the other outcomes

Made by `python benchmarks/recovery_families.py`: shipped specs with 2 chains of 200 + 500 draws on
fresh worlds of [synthetic.md](synthetic.md), seeds from {FIRST_SEED} on. Custody is in
[recovery](recovery.md). Effects are in log odds, log rates or log hazards (mean over event months 7
to 18); `months a to b` are the course of mental-health referrals, with its passing pulse. Baselines
are of the twelve months before the first go-live, in which several sources had not started: those
are reconstructed. Coverage is of equal-tailed 90% intervals; with 20 values, 15 to 20 covered is
within the 98% limits of a true 90%.

For `wellbeing` no effect is reported. `bounds` counts the seeds in which the effect on people who
are in treatment either way lies between the lower end of the lower bound and the upper end of the
upper bound; in the column of posterior sds stands the distance of the two bounds. Taken as if
nobody had entered treatment, the comparison is biased, as its row shows. What was tried on A&E
attendances, which cover least, is in [recovery-worlds](recovery-worlds.md).

{rows_of(table(done))}
**Claims.** By the interval alone: those that leave out zero. By the verdict: those of which it says
that the outcome falls or rises, by the rules of [methods](methods.md#estimands), with the refits
that they ask for; failed checks are left out, since chains are shorter here.

{rows_of(claims(done))}
{sum(r["divergences"] for r in done)} divergent transitions in {len(done)} fits.

Specs: {specs}.
"""


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--first", type=int, default=FIRST_SEED, help="others: print, write no page"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--outcomes", default=",".join(OUTCOMES))
    parser.add_argument("--claims", default=",".join(CLAIMS))
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    key = "-".join(shipped(name).hash[:2] for name in OUTCOMES)
    further = "" if options.first == FIRST_SEED else f"-from-{options.first}"
    store = store_of(f"recovery-outcomes-{key}{further}", __name__, "recovery")
    have = {(r["seed"], r["world"]) for r in results(store)}
    todo = [
        (options.first + i, name)
        for i in range(options.seeds)
        for name in (
            *filter(None, options.outcomes.split(",")),
            *(name + JUDGED for name in filter(None, options.claims.split(","))),
        )
        if (options.first + i, name) not in have
    ]
    made = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
        delayed(one)(seed, name) for seed, name in todo
    )
    for count, result in enumerate(made, start=1):
        with store.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(result) + "\n")
        print(
            f"{count} of {len(todo)}: {result['world']} {result['seed']}, {result['seconds']} s",
            flush=True,
        )
    done = results(store)
    if further:
        print(table(done).to_string(index=False))
        return
    page, frame = markdown(done), table(done)
    write_page(options.out / "recovery-outcomes.md", page)
    frame.to_csv(options.out / "recovery-outcomes.csv", index=False, float_format="%.4g")
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
