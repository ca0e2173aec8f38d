"""Simulation-based calibration of the custody model: the tables of docs/calibration.md.

The same as ``lndbayes calibrate models/custody.toml --costs models/costs.toml``, with the sampler's
length to choose.

    python benchmarks/sbc.py [--replicates 200] [--jobs 2] [--chains 2] [--tune 200] [--draws 700]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from pathlib import Path

from lndbayes import load_costs, load_spec
from lndbayes.checks.calibration import calibrate
from lndbayes.spec import with_changes

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--tune", type=int, default=200)
    parser.add_argument("--draws", type=int, default=700)
    options = parser.parse_args()
    changes = {f"sampling.{k}": getattr(options, k) for k in ("chains", "tune", "draws")}
    spec = with_changes(load_spec(ROOT / "models" / "custody.toml"), changes)
    folder = ROOT / "results" / "benchmarks" / f"sbc-{spec.hash[:12]}"
    costs = load_costs(ROOT / "models" / "costs.toml")
    table = calibrate(
        spec,
        options.replicates,
        folder,
        costs=costs,
        workers=options.jobs,
        say=lambda line: print(line, flush=True),
    )
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
