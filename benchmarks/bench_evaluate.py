"""Wall seconds of every step of ``lndbayes evaluate``: cold, warm and reused.

Cold: no compiled code on the machine. Warm: compiled code cached, nothing fitted. Reused: the same
run directory again. Whole processes, imports included. Writes docs/timings.md; finished tables are
kept in results/benchmarks, so that the page can be made of two runs on one day.

    python benchmarks/bench_evaluate.py                # custody alone, and all outcomes
    python benchmarks/bench_evaluate.py --only custody
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from recovery import write_page

ROOT = Path(__file__).parents[1]


KEPT = ROOT / "results" / "benchmarks" / "timings.json"
SETS = {"custody": ["--outcomes", "custody"], "all": []}
HEADINGS = {"custody": "Custody alone", "all": "All twelve outcomes"}


def run(out: Path, cache: Path, extra: list[str]) -> dict[str, float]:
    """Evaluate the shipped data in a new process; return wall seconds by step, the whole last."""
    command = [sys.executable, "-m", "lndbayes", "evaluate", "data/synthetic"]
    command += ["--models", "models", "--out", str(out), "--quiet", *extra]
    start = time.perf_counter()
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if status != 0:
        raise SystemExit(f"evaluate ended with status {status}")
    wall = time.perf_counter() - start
    steps = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["steps"]
    return {s["step"]: s["wall_seconds"] for s in steps} | {"**whole process**": wall}


def timed(extra: list[str]) -> dict[str, dict[str, float]]:
    """Three runs: cold, warm, reused."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        return {
            "cold": run(base / "a", base / "cache", extra),
            "warm": run(base / "b", base / "cache", extra),
            "reused": run(base / "b", base / "cache", extra),
        }


def table(times: dict[str, dict[str, float]]) -> str:
    """One row a step."""
    lines = ["| step | " + " | ".join(times) + " |", "|---|" + "---|" * len(times)]
    for name in times["cold"]:
        cells = (f"{t[name]:.1f}" if name in t else "-" for t in times.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Time what is asked and write the page of all that is kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=SETS)
    only = parser.parse_args().only
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    for name in [only] if only else SETS:
        kept[name] = {"date": date.today().isoformat(), "times": timed(SETS[name])}
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        KEPT.write_text(json.dumps(kept), encoding="utf-8")
    parts = [
        f"""# Timings

Wall seconds of `lndbayes evaluate` on the shipped data (27 sites, all sensitivity refits, report
included), made by `python benchmarks/bench_evaluate.py` on {os.cpu_count()} cores, nothing else
running, the environment there already. Cold: no compiled code cached. Warm: compiled code cached,
nothing fitted. Reused: every fit finished before.
"""
    ]
    for name, heading in HEADINGS.items():
        if name in kept:
            times = table(kept[name]["times"])
            parts.append(f"## {heading}\n\nMeasured {kept[name]['date']}.\n\n{times}\n")
    parts.append(
        """What a second run of all outcomes saves by its cached code is the compiling alone: time
goes to sampling, in the fits themselves and in the refits of the sensitivity analysis. What makes
a second run short is that finished fits are reused.
"""
    )
    write_page(ROOT / "docs" / "timings.md", "\n".join(parts))
    print("\n".join(parts))


if __name__ == "__main__":
    main()
