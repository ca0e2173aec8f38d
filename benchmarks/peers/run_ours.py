"""Fit the shipped custody spec as `lndbayes fit` does: draws and times out.

python run_ours.py FOLDER [DRAWS]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Imports are part of what is timed, so the clock starts before them
START = time.perf_counter()

import numpy as np  # noqa: E402 - importing is part of what is timed

from lndbayes import fit, load_spec, pooled_effect, read_evaluation  # noqa: E402 - importing is part of what is timed
from lndbayes.fitting import sampler  # noqa: E402 - importing is part of what is timed
from lndbayes.spec.model_spec import with_changes  # noqa: E402 - importing is part of what is timed

ROOT = Path(__file__).parents[2]
NAMES = (
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
    folder = Path(sys.argv[1])
    spec = load_spec(ROOT / "models" / "custody.toml")
    if len(sys.argv) > 2:
        spec = with_changes(spec, {"sampling.draws": int(sys.argv[2])})
    data = read_evaluation(ROOT / "data" / "synthetic")
    steps: list[float] = []
    kept: list[float] = []

    def watch(into: list[float]) -> Callable[[Any], None]:
        def seen(chains: Any) -> None:
            if not into and any(c.finished_draws for c in chains):
                into.append(time.perf_counter() - START)

        return seen

    def sample(*given: Any, **options: Any) -> Any:
        # the pilot run has no receiver of its own: its first step is the sampler's first
        options["progress_callback"] = options["progress_callback"] or watch(steps)
        return original(*given, **options)

    original = sampler.start_sampling
    sampler.start_sampling = sample
    start = time.perf_counter()
    tree = fit(spec, data, predictive=False, callback=watch(kept))
    wall = time.perf_counter() - start
    draws = {name: tree["posterior"][name].to_numpy() for name in NAMES}
    draws["pooled"] = pooled_effect(tree).to_numpy()
    np.savez(folder / "draws.npz", **draws)
    stats = tree["sample_stats"]
    times = {
        "first_draw": steps[0],
        "first_kept": kept[0],
        "sample": wall,
        "gradients": int(stats["n_steps"].sum()),
        "divergences": int(stats["diverging"].sum()),
        "whole": time.perf_counter() - START,
        "parts": json.loads(tree.attrs["wall_seconds"]),
    }
    (folder / "times.json").write_text(json.dumps(times))


if __name__ == "__main__":
    main()
