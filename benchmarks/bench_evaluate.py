"""Wall seconds of every step of ``lndbayes evaluate``: cold, warm and reused.

Cold: no compiled code on the machine. Warm: compiled code cached, nothing fitted. Reused: the same
run directory again. Whole processes, imports included. Writes docs/timings.md.

    python benchmarks/bench_evaluate.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(out: Path, cache: Path) -> tuple[float, dict[str, float]]:
    """Evaluate the shipped data in a new process; return wall seconds, whole and by step."""
    command = [sys.executable, "-m", "lndbayes", "evaluate", "data/synthetic"]
    command += ["--models", "models", "--out", str(out), "--quiet"]
    start = time.perf_counter()
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if status != 0:
        raise SystemExit(f"evaluate ended with status {status}")
    wall = time.perf_counter() - start
    steps = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["steps"]
    return wall, {s["step"]: s["wall_seconds"] for s in steps}


def main() -> None:
    """Time three runs and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        timed = {
            "cold": run(base / "a", base / "cache"),
            "warm": run(base / "b", base / "cache"),
            "reused": run(base / "b", base / "cache"),
        }
    names = list(timed["cold"][1])
    lines = ["| step | " + " | ".join(timed) + " |", "|---|" + "---|" * len(timed)]
    for name in names:
        lines.append(
            f"| {name} | " + " | ".join(f"{s[name]:.1f}" for _, s in timed.values()) + " |"
        )
    lines.append(
        "| **whole process** | " + " | ".join(f"{w:.1f}" for w, _ in timed.values()) + " |"
    )
    text = "\n".join(lines)
    page = f"""# Timings

Wall seconds of `lndbayes evaluate` on the shipped data (custody, 27 sites, all sensitivity refits,
report included), made by `python benchmarks/bench_evaluate.py` on {os.cpu_count()} cores. Cold: no
compiled code cached. Warm: compiled code cached, nothing fitted. Reused: every fit finished before.

{text}
"""
    (ROOT / "docs" / "timings.md").write_text(page, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
