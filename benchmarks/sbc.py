"""Simulation-based calibration of the custody model: docs/calibration.csv and its table.

The same as ``lndbayes calibrate models/custody.toml --costs models/costs.toml``, with the sampler's
length to choose. The table of docs/calibration.md between its two marks is written anew.

    python benchmarks/sbc.py [--replicates 200] [--jobs 2] [--chains 2] [--tune 200] [--draws 400]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lndbayes import load_costs, load_spec
from lndbayes.checks.calibration import calibrate
from lndbayes.spec import with_changes

ROOT = Path(__file__).parents[1]


MARKS = ("<!-- table -->", "<!-- end of table -->")


def write_table(
    table: pd.DataFrame,
    done: list[dict[str, Any]],
    spec: str,
    options: argparse.Namespace,
    wall: float,
) -> None:
    """Put the table between the marks of docs/calibration.md."""
    ess = [r["pooled_ess"] for r in done]
    low, high = table["lower_limit"].iloc[0], table["upper_limit"].iloc[0]
    lines = [
        f"Spec `{spec}`, {len(done)} replicates of {options.chains} chains of {options.tune} + "
        f"{options.draws} draws after a pilot run. Bulk ESS of the pooled effect: "
        f"median {np.median(ess):.0f}, least {min(ess):.0f}. Replicates with any divergence: "
        f"{sum(r['divergences'] > 0 for r in done)}; none was dropped. Seconds a replicate, a "
        f"core of a shared machine: {np.median([r['seconds'] for r in done]):.0f} (median), "
        f"{sum(r['seconds'] for r in done) / 60:.0f} minutes in all; "
        f"this call took {wall / 60:.0f}.",
        "",
        f"*Covered*: 90% intervals that hold the true value; {low} to {high} are the 99% limits. "
        "*p*: of the rank ECDF against its simultaneous band (Säilynoja et al. 2022); inside the "
        "95% band if above 0.05.",
        "",
        "| quantity | covered | mean z | sd z | p | inside its band |",
        "|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        inside = "yes" if row.inside_band else "**no**"
        lines.append(
            f"| {row.quantity} | {row.covered} | {row.mean_z:.3f} | {row.sd_z:.2f} | "
            f"{row.p_simultaneous:.3f} | {inside} |"
        )
    page = ROOT / "docs" / "calibration.md"
    text = page.read_text(encoding="utf-8")
    head, rest = text.split(MARKS[0])
    tail = rest.split(MARKS[1])[1]
    body = "\n".join(lines)
    page.write_text(f"{head}{MARKS[0]}\n{body}\n{MARKS[1]}{tail}", encoding="utf-8")


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--tune", type=int, default=200)
    parser.add_argument("--draws", type=int, default=400)
    options = parser.parse_args()
    changes = {f"sampling.{k}": getattr(options, k) for k in ("chains", "tune", "draws")}
    spec = with_changes(load_spec(ROOT / "models" / "custody.toml"), changes)
    folder = ROOT / "results" / "benchmarks" / f"sbc-{spec.hash[:12]}"
    costs = load_costs(ROOT / "models" / "costs.toml")
    clock = time.perf_counter()
    table = calibrate(
        spec,
        options.replicates,
        folder,
        costs=costs,
        workers=options.jobs,
        say=lambda line: print(line, flush=True),
    )
    wall = time.perf_counter() - clock
    done = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((folder / "replicates").glob("*.json"))
    ]
    kept = table.assign(
        spec=spec.hash, chains=options.chains, tune=options.tune, draws=options.draws
    )
    kept.to_csv(ROOT / "docs" / "calibration.csv", index=False, float_format="%.6g")
    write_table(table, done, spec.hash[:12], options, wall)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
