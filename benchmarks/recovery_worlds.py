"""Why A&E attendances cover less: worlds nearer to the model, and models nearer to the world.

The same seeds as docs/recovery-outcomes.md. Written to docs/recovery-worlds.md; every fit is stored
as it finishes, a second run continues.

    python benchmarks/recovery_worlds.py [--seeds 24] [--jobs 2] [--outcome ae_attendances]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from recovery import PROB, results, store_of
from recovery_families import FIRST_SEED, ROOT, _scores, rows_of, shipped

from lndbayes import fit, read_evaluation
from lndbayes.spec.model_spec import with_changes
from lndbayes.synthetic import WORLDS, simulate, write_evaluation

#: By variant: what it is, changes of the simulated world, changes of the spec.
VARIANTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "base": ("as shipped", {}, {}),
    "s8": ("8 site functions in the place of 4", {}, {"baseline.site_basis": 8}),
    "s8n14": (
        "and 14 national ones in the place of 8",
        {},
        {"baseline.site_basis": 8, "baseline.national_basis": 14},
    ),
    "rw2": ("world with the model's own curves", {"smooth": "rw2"}, {}),
    "rw2s0": ("and without monthly shocks", {"smooth": "rw2", "shock_sd": 0.0}, {}),
    "rw2s0r0": (
        "and with one build-up for all sites",
        {"smooth": "rw2", "shock_sd": 0.0, "ramp_spread": 0.0},
        {},
    ),
}
QUANTITIES = ("site effects", "pooled effect", "pre-period baselines", "events averted")


def one(seed: int, name: str, variant: str) -> dict[str, Any]:
    """Simulate, fit and score once."""
    _, world, changes = VARIANTS[variant]
    spec = shipped(name)
    wanted = tuple(filter(None, (name, spec.outcome.exposure_outcome)))
    simulated = simulate(seed, replace(WORLDS["effect"], **world), outcomes=wanted)
    with tempfile.TemporaryDirectory() as folder:
        data = read_evaluation(write_evaluation(simulated, Path(folder) / "data"))
    changed = with_changes(spec, {"sampling.seed": seed, **changes})
    tree = fit(changed, data, cores=1, predictive=False)
    scores = _scores(tree, data, simulated.truth["outcomes"][name], spec)
    return {"seed": seed, "name": name, "var": variant, "scores": scores}


def table(done: list[dict[str, Any]], name: str) -> pd.DataFrame:
    """Coverage, spread of z, and error beside the posterior's own, by variant and quantity."""
    rows = []
    tail = (1 - PROB) / 2
    for variant, (label, *_) in VARIANTS.items():
        part = [r["scores"] for r in done if r["name"] == name and r["var"] == variant]
        for quantity in QUANTITIES if part else ():
            rank, z, error, sd = (
                np.concatenate([np.atleast_1d(s[quantity][k]) for s in part])
                for k in ("rank", "z", "error", "sd")
            )
            rows.append(
                {
                    "variant": label,
                    "quantity": quantity,
                    "seeds": len(part),
                    "coverage": ((rank >= tail) & (rank <= 1 - tail)).mean(),
                    "sd z": z.std(),
                    "root mean square error": np.sqrt((error**2).mean()),
                    "mean posterior sd": sd.mean(),
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    """Run what is missing and write the page's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--outcome", default="ae_attendances")
    options = parser.parse_args()
    key = shipped(options.outcome).hash[:12]
    store = store_of(f"recovery-worlds-{key}", __name__, "recovery_families", "recovery")
    have = {(r["seed"], r["name"], r["var"]) for r in results(store)}
    todo = [(FIRST_SEED + i, options.outcome, v) for i in range(options.seeds) for v in VARIANTS]
    made = Parallel(n_jobs=options.jobs, return_as="generator_unordered")(
        delayed(one)(*task) for task in todo if task not in have
    )
    for result in made:
        with store.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(result) + "\n")
    found = rows_of(table(results(store), options.outcome))
    page = ROOT / "docs" / "recovery-worlds.md"
    text = page.read_text(encoding="utf-8")
    head, rest = text.split("<!-- table -->")
    tail = rest.split("<!-- end of table -->")[1]
    whole = f"{head}<!-- table -->\n{found}<!-- end of table -->{tail}"
    page.write_text(whole, encoding="utf-8")
    print(found)


if __name__ == "__main__":
    main()
