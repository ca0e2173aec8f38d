"""Covariates in a hundred small worlds: coefficients recovered, and what leaving them out does.

Eight sites, 36 months, a confounder that falls about go-live and lowers the untreated rate with it,
and a modifier of the effect. Each world is fitted with both named in the spec and with none. Worlds
are drawn here, by NumPy alone. Every result is stored as it finishes; a second run continues.

    python benchmarks/covariates.py [--seeds 100] [--jobs 1]
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
from recovery import PROB, flat, results, score, store_of
from recovery_families import rows_of

from lndbayes import fit, load_spec, pooled_effect, read_evaluation, site_effects
from lndbayes.model.covariate_notes import CHANCE, shift_by_chance
from lndbayes.spec.model_spec import ModelSpec, parse_spec, with_changes
from lndbayes.spec.priors import required_slots

ROOT = Path(__file__).parents[1]
FIRST_SEED = 9001
SITES, MONTHS = 8, 36
#: Months from the first to go-live; the last site has none.
GO_LIVE = (12, 12, 15, 15, 18, 18, 21, None)
WINDOW = (3, 14)
#: Change of the untreated log odds per sd of the confounder, and the prior sd of such changes.
CONFOUNDER, BASELINE_SD, EFFECT_SD = 0.3, 0.3, 0.2
FITS = {
    "named": {
        "covariates.effect": ["deprivation"],
        "covariates.effect_sd": EFFECT_SD,
        "covariates.baseline": ["unemployment"],
        "covariates.baseline_sd": BASELINE_SD,
    },
    "left out": {},
}


def small_spec() -> ModelSpec:
    """The custody spec as a beta-binomial without bands, with few smooth functions and draws."""
    shipped = load_spec(ROOT / "models" / "custody.toml")
    raw = shipped.model_dump(mode="python")
    raw["likelihood"] = {"family": "beta_binomial"}
    slots = required_slots("beta_binomial", pulse=False)
    raw["priors"] = {slot: shipped.priors[slot].as_toml() for slot in slots}
    raw["baseline"] |= {"national_basis": 6, "site_basis": 3}
    raw["effect"] |= {"window": list(WINDOW), "transition": [0, -1]}
    raw["sampling"] |= {"chains": 2, "tune": 200, "draws": 400, "target_accept": 0.8}
    return parse_spec(raw, source="small custody")


def world(seed: int) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Draw one evaluation: tables by file name, and the truth."""
    rng = np.random.default_rng(seed)
    month = np.arange(MONTHS)
    start = np.array([10**6 if g is None else g for g in GO_LIVE])
    event = month - start[:, None]
    live = event >= 0
    # the confounder falls by two over the year about go-live, beside levels and noise of its own
    fall = np.clip((event + 6) / 12, 0, 1)
    unemployment = 7 + rng.normal(0, 0.7, (SITES, 1)) - 2 * fall + rng.normal(0, 0.5, event.shape)
    unemployment = unemployment.round(2)
    deprivation = rng.normal(20, 6, SITES).round(1)
    modifier = rng.normal(0, EFFECT_SD)
    treated = live.any(axis=1)
    own = deprivation[treated]
    standard = np.where(treated, (deprivation - own.mean()) / own.std(), 0.0)
    # sites and waves differ as much as the spec's priors expect: a coefficient of sites is told by
    # what else lies between them
    wave = np.array([1 if g is None else (g - 9) // 3 for g in GO_LIVE])
    by_wave = rng.normal(0, 0.2, wave.max())
    deviation = rng.gamma(2.0, 1 / 10.0) * rng.normal(size=SITES)
    effect = -0.3 + modifier * standard + (by_wave - by_wave.mean())[wave - 1] + deviation
    ramp = np.where(live, 1 - np.exp(-(np.maximum(event, 0) + 0.5) / 4), 0.0)
    level = -1.6 + rng.normal(0, 0.3, (SITES, 1)) + rng.normal(0, 0.05, (SITES, 1)) * month / 24
    season = 0.05 * np.sin(2 * np.pi * month / 12)
    per_sd = CONFOUNDER / unemployment.std()
    eta = level + season + per_sd * (unemployment - unemployment.mean()) + ramp * effect[:, None]
    exposure = rng.integers(60, 200, event.shape)
    rate = 1 / (1 + np.exp(-eta))
    count = rng.binomial(exposure, rng.beta(rate * 200, (1 - rate) * 200))
    sites = [f"S{s + 1}" for s in range(SITES)]
    label = [str(m) for m in pd.period_range("2013-01", periods=MONTHS, freq="M")]
    at = [(s, t) for s in range(SITES) for t in range(MONTHS)]
    cell = {"site": [sites[s] for s, _ in at], "month": [label[t] for _, t in at]}
    frames = {
        "sites.csv": pd.DataFrame(
            {
                "site": sites,
                "label": sites,
                "region": "North",
                "wave": wave,
                "go_live": ["" if g is None else label[g] for g in GO_LIVE],
                "population": 100_000,
                "predecessor": "",
                "deprivation": deprivation,
            }
        ),
        "outcomes.csv": pd.DataFrame(
            cell
            | {"outcome": "custody", "source": "courts", "status": "observed"}
            | {"exposure": exposure.ravel(), "count": count.ravel()}
        ),
        "covariates.csv": pd.DataFrame(
            cell | {"name": "unemployment", "value": unemployment.ravel()}
        ),
    }
    ends = np.arange(WINDOW[0], WINDOW[1] + 1) + 0.5
    built = float((1 - np.exp(-ends / 4)).mean())
    truth = {
        "confounder": CONFOUNDER,
        "modifier": modifier,
        "sites": (built * effect[treated]).tolist(),
        "pooled": built * float(effect[treated].mean()),
        "warned": float(shift_by_chance(unemployment, event, seed) <= CHANCE),
    }
    return frames, truth


def one(seed: int, name: str) -> dict[str, Any]:
    """Draw, fit and score one world."""
    start = time.perf_counter()
    frames, truth = world(seed)
    with tempfile.TemporaryDirectory() as folder:
        settings = ("name", "first_month", "last_month", "disclosure")
        values = ("Covariates", "2013-01", "2015-12", "none")
        text = "".join(f'{k} = "{v}"\n' for k, v in zip(settings, values, strict=True))
        (Path(folder) / "evaluation.toml").write_text(text + "synthetic = true\n", encoding="utf-8")
        for file, frame in frames.items():
            frame.to_csv(Path(folder) / file, index=False)
        data = read_evaluation(folder)
    spec = with_changes(small_spec(), {**FITS[name], "sampling.seed": seed})
    tree = fit(spec, data, cores=1, predictive=False)
    scores = {
        "pooled effect": score(flat(pooled_effect(tree)), truth["pooled"]),
        "site effects": score(flat(site_effects(tree, withheld=False)), np.array(truth["sites"])),
    }
    if spec.covariates:
        for quantity, variable in (("confounder", "covariate"), ("modifier", "modifier")):
            draws = flat(tree["posterior"][f"{variable}_effect"])
            scores[f"{quantity}, per sd"] = score(draws, np.array(truth[quantity]))
    return {
        "seed": seed,
        "fit": name,
        "warned": truth["warned"],
        "divergences": int(tree["sample_stats"]["diverging"].sum()),
        "seconds": round(time.perf_counter() - start, 1),
        "scores": scores,
    }


def table(done: list[dict[str, Any]]) -> pd.DataFrame:
    """Coverage, error and spread over worlds, by fit and quantity."""
    rows, tail = [], (1 - PROB) / 2
    for name in FITS:
        part = [r for r in done if r["fit"] == name]
        for quantity in part[0]["scores"] if part else ():
            rank, z, error, sd = (
                np.array([r["scores"][quantity][k] for r in part])
                for k in ("rank", "z", "error", "sd")
            )
            held = (rank >= tail) & (rank <= 1 - tail)
            rows.append(
                {
                    "covariates": name,
                    "quantity": quantity,
                    "worlds": len(part),
                    "values": rank.size,
                    "intervals that hold the truth": held.mean(),
                    "mean error": error.mean(),
                    "its standard error": error.mean(axis=1).std(ddof=1) / np.sqrt(len(part)),
                    "root mean square error": np.sqrt((error**2).mean()),
                    "mean posterior sd": sd.mean(),
                    "sd z": z.std(),
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    """Run what is missing and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    store = store_of("covariates", __name__, "recovery")
    have = {(r["seed"], r["fit"]) for r in results(store)}
    todo = [(FIRST_SEED + i, name) for name in FITS for i in range(options.seeds)]
    made = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
        delayed(one)(*task) for task in todo if task not in have
    )
    for result in made:
        with store.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(result) + "\n")
        print(result["seed"], result["fit"], result["seconds"], flush=True)
    done = results(store)
    frame = table(done)
    print(frame.to_string(index=False))
    print("warned in", np.mean([r["warned"] for r in done if r["fit"] == "named"]))
    print("divergences", sum(r["divergences"] for r in done), "in", len(done))
    page = options.out / "covariates.md"
    head, rest = page.read_text(encoding="utf-8").split("<!-- table -->")
    tail = rest.split("<!-- end of table -->")[1]
    whole = f"{head}<!-- table -->\n{rows_of(frame)}<!-- end of table -->{tail}"
    page.write_text(whole, encoding="utf-8")
    frame.to_csv(options.out / "covariates.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
