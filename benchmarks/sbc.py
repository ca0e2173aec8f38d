"""Simulation-based calibration: docs/calibration.csv, calibration-outcomes.csv and their tables.

The same as ``lndbayes calibrate models/custody.toml --costs models/costs.toml``, with the sampler's
length to choose; of other outcomes as ``lndbayes calibrate models/NAME.toml``, without money. The
table of docs/calibration.md between its two marks is written anew.

    python benchmarks/sbc.py [--replicates 200] [--jobs 2] [--chains 2] [--tune 200] [--draws 400]
    python benchmarks/sbc.py --first 200 --replicates 200
    python benchmarks/sbc.py --outcomes iapt_attendances,hearings --replicates 60
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
from lndbayes.spec.model_spec import ModelSpec, with_changes
from lndbayes.validation.calibration import calibrate

ROOT = Path(__file__).parents[1]
CUSTODY = "custody"
#: Acceptance rate of the replicates, whatever the shipped specs have.
ACCEPT = 0.8

MARKS = ("<!-- table -->", "<!-- end of table -->")
OTHER_MARKS = ("<!-- outcomes -->", "<!-- end of outcomes -->")
#: What the table of other outcomes shows of each; the file has every quantity.
HEADLINES = ("pooled effect", "events averted", "log likelihood")


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
    between(MARKS, lines)


def between(marks: tuple[str, str], lines: list[str]) -> None:
    """Write lines between two marks of docs/calibration.md."""
    page = ROOT / "docs" / "calibration.md"
    head, rest = page.read_text(encoding="utf-8").split(marks[0])
    tail = rest.split(marks[1])[1]
    body = "\n".join(lines)
    page.write_text(f"{head}{marks[0]}\n{body}\n{marks[1]}{tail}", encoding="utf-8")


def write_others(kept: pd.DataFrame) -> None:
    """Put the table of other outcomes, one row each, between its marks."""
    lines = [
        "| outcome | spec | replicates | 99% limits | "
        + " | ".join(HEADLINES)
        + " | ranked | outside their band | smallest p | core minutes |",
        "|" + "---|" * (8 + len(HEADLINES)),
    ]
    for name, table in kept.groupby("outcome", sort=False):
        one, by = table.iloc[0], table.set_index("quantity")
        covered = " | ".join(str(by.loc[q, "covered"]) for q in HEADLINES)
        outside = ", ".join(table.loc[~table["inside_band"].astype(bool), "quantity"]) or "none"
        lines.append(
            f"| {name} | `{one['spec'][:12]}` | {one['replicates']} | "
            f"{one['lower_limit']} to {one['upper_limit']} | {covered} | {len(table)} | "
            f"{outside} | {table['p_simultaneous'].min():.4f} | {one['minutes']:.0f} |"
        )
    between(OTHER_MARKS, lines)


def of_others(names: list[str], options: argparse.Namespace) -> None:
    """Calibrate other outcomes; each is in the file and the table as soon as it is done."""
    file = ROOT / "docs" / "calibration-outcomes.csv"
    for name in names:
        spec, table, done, _ = calibrated(name, options)
        print(name, table.round(3).to_string(index=False), sep="\n", flush=True)
        if options.first:
            # further replicates do not take the place of the first in file and table
            continue
        new = table.assign(
            outcome=name,
            spec=spec.hash,
            chains=options.chains,
            tune=options.tune,
            draws=options.draws,
            minutes=sum(r["seconds"] for r in done) / 60,
        )
        before = pd.read_csv(file) if file.exists() else new.iloc[:0]
        kept = pd.concat([before[before["outcome"] != name], new], ignore_index=True)
        kept.to_csv(file, index=False, float_format="%.6g")
        write_others(kept)


def calibrated(
    name: str, options: argparse.Namespace
) -> tuple[ModelSpec, pd.DataFrame, list[dict[str, Any]], float]:
    """Spec, table, replicates and wall seconds of one outcome; custody's with savings."""
    changes: dict[str, float] = {"sampling.target_accept": ACCEPT}
    changes |= {f"sampling.{k}": getattr(options, k) for k in ("chains", "tune", "draws")}
    spec = with_changes(load_spec(ROOT / "models" / f"{name}.toml"), changes)
    folder = ROOT / "results" / "benchmarks" / f"sbc-{spec.hash[:12]}"
    costs = load_costs(ROOT / "models" / "costs.toml") if name == CUSTODY else None
    clock = time.perf_counter()
    table = calibrate(
        spec,
        options.replicates,
        folder,
        first=options.first,
        costs=costs,
        workers=options.jobs,
        say=lambda line: print(name, line, flush=True),
    )
    wall = time.perf_counter() - clock
    numbers = range(options.first, options.first + options.replicates)
    files = [folder / "replicates" / f"{i}.json" for i in numbers]
    return spec, table, [json.loads(f.read_text(encoding="utf-8")) for f in files], wall


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--tune", type=int, default=200)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument(
        "--first", type=int, default=0, help="above 0: custody has a file, others print"
    )
    parser.add_argument("--outcomes", type=lambda text: text.split(","))
    options = parser.parse_args()
    if options.outcomes:
        of_others(options.outcomes, options)
        return
    spec, table, done, wall = calibrated(CUSTODY, options)
    kept = table.assign(
        spec=spec.hash, chains=options.chains, tune=options.tune, draws=options.draws
    )
    if options.first:
        kept.to_csv(ROOT / "docs" / "calibration-further.csv", index=False, float_format="%.6g")
    else:
        kept.to_csv(ROOT / "docs" / "calibration.csv", index=False, float_format="%.6g")
        write_table(table, done, spec.hash[:12], options, wall)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
