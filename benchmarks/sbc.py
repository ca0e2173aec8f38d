"""Simulation-based calibration of the custody model, written to docs/calibration.md.

Parameters are drawn from the spec's own priors, the data by the NumPy simulator (a second,
independent implementation of the model), and the model is fitted to them: if model, simulator and
sampler agree, the rank of each true value among the posterior draws is uniform. Every replicate is
stored as it finishes; a second run continues.

    python benchmarks/sbc.py [--replicates 200] [--jobs 2] [--tune 200] [--draws 700] [--name long]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import special, stats

from lndbayes import load_spec, read_evaluation
from lndbayes.checks.mcmc import chain_statistics
from lndbayes.model.design import Design, build_design
from lndbayes.model.layout import SCALARS, constrain, ramp_means
from lndbayes.model.predictive import cell_log_likelihood
from lndbayes.model.surface import linear_predictors
from lndbayes.sampler import find_metric, sample_density
from lndbayes.simulate import WORLDS, World, plain, simulate, write_evaluation
from lndbayes.spec import ModelSpec, with_changes

ROOT = Path(__file__).parents[1]
FIRST_SEED = 9001
STEPS = ("shared_bias", "drift", "go_live_step")
#: A site without own evidence, two with records, and late sites.
SITES = (1, 0, 10, 22, 26)


def prior_world(spec: ModelSpec, rng: np.random.Generator) -> tuple[World, dict[str, float]]:
    """Draw every hyper-parameter from its prior; the simulator draws the rest."""
    v = {
        name: float(prior.frozen().rvs(random_state=rng))
        for name, prior in spec.priors.items()
        if name not in ("season", "mix_share")
    }
    base = plain(WORLDS["effect"])
    kinds = len(base.interventions)

    def zero_sum(sd: float, length: int) -> tuple[float, ...]:
        z = rng.normal(size=length)
        return tuple(float(x) for x in sd * (z - z.mean()))

    season = spec.priors["season"]
    same = {k: v[k] for k in v if k in World.__dataclass_fields__}
    world = replace(
        base,
        **same,
        mix_effects=zero_sum(v["mix_effect_sd"], kinds),
        mix_alpha=(spec.priors["mix_share"]["concentration"],) * kinds,
        wave_effects=zero_sum(spec.sensitivity.wave_sd, 3),
        season=tuple(rng.normal(season["mu"], season["sigma"], 4)),
        national_offset=float(rng.normal(0, spec.baseline.national_offset_sd)),
        elicited_bias=float(rng.normal(0, spec.baseline.elicited_bias_sd)),
        elicited_error=base.elicited_stated_sd,
    )
    return world, v


def quantities(values: Mapping[str, np.ndarray], design: Design) -> dict[str, np.ndarray]:
    """Everything that is ranked, from constrained values with leading sample dims."""
    event = design["event_time"]
    months = np.arange(7, 19)[None, :]
    ramp = ramp_means(values["ramp_months"], np.full((1, 12), 1 / 12), months, 0.5)[..., 0]
    eta0, eta1 = linear_predictors(values, design)
    weight = design["exposure_all"] * (event >= 0)
    first = int(np.argmax((event >= 0).any(axis=0)))
    level = eta0[..., first - 12 : first].mean(axis=-1)
    out = {
        "pooled effect": ramp * values["site_effect"].mean(axis=-1),
        "events averted": (weight * (special.expit(eta0) - special.expit(eta1))).sum(axis=(-1, -2)),
        "log likelihood": cell_log_likelihood(values, design).sum(axis=-1),
    }
    for s in SITES:
        out[f"effect of site {s + 1}"] = ramp * values["site_effect"][..., s]
        out[f"baseline of site {s + 1}"] = level[..., s]
    out |= {name: values[name] for name in SCALARS if name not in STEPS}
    out |= {"mix effect 1": values["mix_effect"][..., 0], "wave 1": values["wave_effect"][..., 0]}
    return out


def truth_of(simulated: Any, design: Design, drawn: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The simulator's parameters in the order of the design's labels, with sample dims (1, 1)."""
    truth = {k: np.asarray(v, float) for k, v in simulated.truth["parameters"].items()}
    labels = list(simulated.truth["axes"]["intervention"])
    order = [labels.index(str(k)) for k in design.coords["intervention"]]
    truth["mix_share"] = truth["mix_share"][:, order]
    truth["mix_effect"] = truth["mix_effect"][order]
    truth["mix_effect_sd"] = np.asarray(drawn["mix_effect_sd"])
    return {k: v[None, None] for k, v in truth.items()}


def one(index: int, spec: ModelSpec, pilot: bool) -> dict[str, Any]:
    """Draw, simulate, fit and rank."""
    start = time.perf_counter()
    rng = np.random.default_rng([FIRST_SEED, index])
    world, drawn = prior_world(spec, rng)
    simulated = simulate(FIRST_SEED + index, world)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        write_evaluation(simulated, path)
        design = build_design(spec, read_evaluation(path))
    spec = with_changes(spec, {"sampling.seed": index})
    metric = find_metric(spec, design, cores=1) if pilot else None
    raw = sample_density(spec, design, cores=1, metric=metric)
    draws = quantities(constrain(raw.x, design), design)
    truth = quantities(truth_of(simulated, design, drawn), design)
    ranks = {k: float((draws[k] < truth[k]).mean()) for k in draws}
    z = {k: float((truth[k].item() - draws[k].mean()) / draws[k].std()) for k in draws}
    chains = chain_statistics(np.stack([draws[k] for k in draws]))
    return {
        "index": index,
        "rank": ranks,
        "z": z,
        "divergences": int(raw.stats["diverging"].sum()),
        "worst_ess": float(np.nanmin(chains.ess_bulk)),
        "pooled_ess": float(chains.ess_bulk[0]),
        "worst_rhat": float(np.nanmax(chains.rhat)),
        "seconds": round(time.perf_counter() - start, 1),
    }


def table(done: list[dict[str, Any]]) -> pd.DataFrame:
    """Per quantity: coverage, mean and sd of z, Kolmogorov-Smirnov p of the ranks."""
    rows = []
    for name in done[0]["rank"]:
        rank = np.array([r["rank"][name] for r in done])
        z = np.array([r["z"][name] for r in done])
        covered = int(((rank >= 0.05) & (rank <= 0.95)).sum())
        low, high = stats.binom.ppf([0.005, 0.995], len(done), 0.9)
        rows.append(
            {
                "quantity": name,
                "covered": covered,
                "of": len(done),
                "99% limits": f"{low:.0f} to {high:.0f}",
                "mean z": z.mean(),
                "sd z": z.std(ddof=1),
                "KS p": stats.kstest(rank, "uniform").pvalue,
            }
        )
    return pd.DataFrame(rows)


def markdown(done: list[dict[str, Any]], spec: ModelSpec, name: str) -> str:
    """Write one run as a section."""
    frame = table(done)
    head = "| " + " | ".join(frame.columns) + " |\n|" + "---|" * len(frame.columns) + "\n"
    body = ""
    for row in frame.itertuples(index=False):
        cells = [f"{c:.3g}" if isinstance(c, float) else str(c) for c in row]
        body += "| " + " | ".join(cells) + " |\n"
    s = spec.sampling
    ess = np.array([r["pooled_ess"] for r in done])
    return f"""## {name}: {s.chains} chain(s) of {s.tune} + {s.draws} draws, {len(done)} replicates

Spec `{spec.hash[:12]}`. Bulk ESS of the pooled effect: median {np.median(ess):.0f}, least
{ess.min():.0f}. Replicates with any divergence: {sum(r["divergences"] > 0 for r in done)}; none was
dropped. Smallest of {len(frame)} Kolmogorov-Smirnov p values: {frame["KS p"].min():.3g} (expected
about {1 / len(frame):.2g}).

{head}{body}"""


def main() -> None:
    """Run what is missing and print the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--tune", type=int, default=200)
    parser.add_argument("--draws", type=int, default=700)
    parser.add_argument("--no-pilot", action="store_true", help="unit metric at the start")
    parser.add_argument("--name", default="long")
    options = parser.parse_args()
    changes = {f"sampling.{k}": getattr(options, k) for k in ("chains", "tune", "draws")}
    spec = with_changes(load_spec(ROOT / "models" / "custody.toml"), changes)
    folder = ROOT / "results" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    kind = "-no-pilot" if options.no_pilot else ""
    store = folder / f"sbc-{spec.hash[:12]}{kind}.jsonl"
    lines = store.read_text(encoding="utf-8").splitlines() if store.is_file() else []
    done = [json.loads(line) for line in lines]
    todo = [i for i in range(options.replicates) if i not in {r["index"] for r in done}]
    made = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
        delayed(one)(i, spec, not options.no_pilot) for i in todo
    )
    for count, result in enumerate(made, start=1):
        done.append(result)
        with store.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(result) + "\n")
        print(f"{count} of {len(todo)}: {result['seconds']} s", flush=True)
    if len(done) < options.replicates:
        raise SystemExit(f"only {len(done)} of {options.replicates} replicates finished")
    (folder / f"sbc-{options.name}.md").write_text(markdown(done, spec, options.name), "utf-8")
    print(markdown(done, spec, options.name))


if __name__ == "__main__":
    main()
