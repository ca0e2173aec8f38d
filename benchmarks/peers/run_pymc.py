"""Fit the naive model with one of PyMC's samplers: numbers in, draws and times out.

python run_pymc.py FOLDER pymc|numpyro TUNE DRAWS
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from pathlib import Path

# Imports are part of what is timed, so the clock starts before them
START = time.perf_counter()

import numpy as np  # noqa: E402 - importing is part of what is timed
import pymc as pm  # noqa: E402 - importing is part of what is timed

sys.path.insert(0, str(Path(__file__).parent))
from naive import build  # noqa: E402 - beside this script, found by the line above

NAMES = (
    "pooled",
    "effect_mean",
    "site_effect",
    "site_effect_sd",
    "mix_effect_sd",
    "site_level_sd",
    "site_drift_sd",
    "site_curve_sd",
    "national_curve_sd",
    "concentration",
)


def main() -> None:
    """Sample and write draws.npz and times.json."""
    folder, engine, tune, draws = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    data = pickle.loads((folder / "data.pickle").read_bytes())
    first: list[float] = []

    def seen(trace: object, draw: object) -> None:
        if not first:
            first.append(time.perf_counter() - START)

    with build(data):
        start = time.perf_counter()
        options = {"callback": seen} if engine == "pymc" else {}
        if engine == "numpyro":
            options |= {
                "nuts_sampler": "numpyro",
                "nuts_sampler_kwargs": {"chain_method": "vectorized"},
            }
        trace = pm.sample(
            draws=draws,
            tune=tune,
            chains=4,
            cores=2,
            random_seed=1,
            progressbar=False,
            compute_convergence_checks=False,
            **options,
        )
        wall = time.perf_counter() - start
    posterior, stats = trace["posterior"], trace["sample_stats"]
    np.savez(folder / "draws.npz", **{name: posterior[name].to_numpy() for name in NAMES})
    times = {
        "first_draw": first[0] if first else None,
        "sample": wall,
        "gradients": int(stats["n_steps"].sum()),
        "divergences": int(stats["diverging"].sum()),
        "whole": time.perf_counter() - START,
    }
    (folder / "times.json").write_text(json.dumps(times))


if __name__ == "__main__":
    main()
