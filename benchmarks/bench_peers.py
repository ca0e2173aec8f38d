"""The shipped custody posterior, by us and by others, on this machine in one run.

Writes docs/peers.md. Each engine runs in a process of its own; what is not installed is skipped
with a message. The others get the model as its text reads (benchmarks/peers/), but without its
later stages; we get the spec. How far their posteriors are apart is told. An engine is stopped
after the limit.

    python benchmarks/bench_peers.py [--limit 900] [--python PATH] [--engines ours,pymc]

`--python` names an interpreter whose environment has PyMC and numpyro (default: this one).
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import psutil
import xarray as xr
from recovery import write_page

from lndbayes import load_spec, read_evaluation
from lndbayes.model.design import build_design

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "benchmarks" / "peers"
STORE = ROOT / "results" / "benchmarks" / "peers.json"


@dataclass
class Row:
    """What one engine did."""

    engine: str
    note: str
    cold: float | None = None
    warm: float | None = None
    sample: float | None = None
    gradients: int | None = None
    divergences: int | None = None
    memory: float | None = None
    least: float | None = None
    least_of: str = ""
    pooled: float | None = None
    means: dict[str, tuple[float, float, float]] | None = None


def numbers() -> dict[str, Any]:
    """Everything the naive model needs, from the shipped data and spec."""
    spec = load_spec(ROOT / "models" / "custody.toml")
    design = build_design(spec, read_evaluation(ROOT / "data" / "synthetic"))
    a = design.arrays
    channels = ("retrospective_", "history_", "national_", "elicited_")
    return {
        **{k: a[k] for k in a if k.startswith(channels)},
        "exposure": a["exposure"].astype(int),
        "count": a["count"].astype(int),
        "event": np.maximum(a["event_time"], -1),
        "time": a["time"],
        "national": a["national_functions"],
        "local": a["site_functions"],
        "harmonics": a["harmonics"],
        "mix_count": a["mix_count"].astype(int),
        "mix_centre": a["mix_centre"],
        "wave": a["wave_index"],
        "wave_sd": float(a["wave_sd"]),
        "predecessor": a["predecessor"],
        "window": spec.effect.window,
    }


def stan_numbers(d: dict[str, Any]) -> dict[str, Any]:
    """The same under the names and the 1-based positions of naive.stan."""
    site, month = np.nonzero(d["exposure"])
    retro, history = d["retrospective_at"] + 1, d["history_at"]
    out = {
        "S": len(d["event"]), "T": len(d["time"]), "M": len(d["mix_centre"]),
        "W": int(d["wave"].max()) + 1, "K": d["national"].shape[1], "L": d["local"].shape[1],
        "H": d["harmonics"].shape[1], "C": len(site), "cell_site": site + 1,
        "cell_month": month + 1, "cell_n": d["exposure"][site, month],
        "cell_y": d["count"][site, month], "event": d["event"], "time": d["time"],
        "national": d["national"], "local": d["local"], "harmonics": d["harmonics"],
        "mix_count": d["mix_count"], "mix_centre": d["mix_centre"], "wave": d["wave"] + 1,
        "predecessor": d["predecessor"], "wave_sd": d["wave_sd"], "R": len(retro),
        "retro_site": retro[:, 0], "retro_month": retro[:, 1], "retro_key": retro[:, 2],
        "retro_n": d["retrospective_exposure"].astype(int),
        "retro_y": d["retrospective_count"].astype(int), "RS": int(retro[:, 2].max()),
        "Q": len(history), "hist_site": history[:, 0] + 1, "hist_month": history[:, 1] + 1,
        "hist_lag": history[:, 2].astype(float), "hist_n": d["history_exposure"].astype(int),
        "hist_y": d["history_count"].astype(int), "N": len(d["national_logit"]),
        "nat_weight": d["national_weight"], "nat_share": d["national_share"],
        "nat_logit": d["national_logit"], "nat_chol": d["national_chol"],
        "E": len(d["elicited_logit"]), "eli_weight": d["elicited_weight"],
        "eli_month": d["elicited_month"], "eli_logit": d["elicited_logit"],
        "eli_chol": d["elicited_chol"], "window_first": d["window"][0],
        "window_last": d["window"][1],
    }  # fmt: skip
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in out.items()}


def watched(command: list[str], environment: dict[str, str], limit: float) -> tuple[bool, float]:
    """Run a command; return whether it ended in time, and peak memory of its tree in MB."""
    log = (STORE.parent / "peers.log").open("a", encoding="utf-8")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    peak = 0.0
    done = threading.Event()

    def poll() -> None:
        nonlocal peak
        root = psutil.Process(process.pid)
        while not done.wait(0.3):
            total = 0
            for p in (root, *root.children(recursive=True)):
                try:
                    total += p.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak = max(peak, total / 1e6)

    watcher = threading.Thread(target=poll, daemon=True)
    watcher.start()
    try:
        ended = process.wait(limit) == 0
    except subprocess.TimeoutExpired:
        for p in psutil.Process(process.pid).children(recursive=True):
            p.kill()
        process.kill()
        ended = False
    done.set()
    watcher.join(5)
    return ended, peak


def commands(engine: str, python: str, folder: Path, short: bool) -> list[str]:
    """Command line of an engine; `short` asks for a few draws, to see what waiting is left."""
    if engine == "ours":
        return [sys.executable, str(PEERS / "run_ours.py"), str(folder), *(["60"] if short else [])]
    if engine == "rstan":
        draws = "10" if short else "300"
        return [
            "Rscript",
            str(PEERS / "rstan.R"),
            str(folder),
            str(PEERS / "naive.stan"),
            draws,
            "2",
        ]
    length = "10" if short else "1000" if engine == "pymc" else "300"
    return [python, str(PEERS / "run_pymc.py"), str(folder), engine, length, length]


def available(engine: str, python: str) -> str:
    """Why an engine cannot run here, or nothing."""
    if engine == "rstan":
        if shutil.which("Rscript") is None:
            return "R is not installed"
        wanted = ["Rscript", "-e", "library(rstan); library(jsonlite); library(BH)"]
    elif engine == "numpyro":
        wanted = [python, "-c", "import pymc, numpyro"]
    else:
        return ""
    found = subprocess.run(wanted, capture_output=True, check=False).returncode
    return "" if found == 0 else f"{engine}, or what it needs to compile, is not installed"


def draws_of(engine: str, folder: Path) -> dict[str, np.ndarray]:
    """Draws by quantity, first dims chain and draw."""
    if engine != "rstan":
        return dict(np.load(folder / "draws.npz"))
    frame = pd.read_csv(folder / "draws.csv")
    chains = [part.drop(columns="chain") for _, part in frame.groupby("chain")]
    stacked = np.stack([part.to_numpy() for part in chains])
    names = list(chains[0].columns)
    out: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(n.split(".")[0].split("[")[0] for n in names):
        columns = [i for i, n in enumerate(names) if n.split(".")[0].split("[")[0] == name]
        out[name] = stacked[..., columns] if len(columns) > 1 else stacked[..., columns[0]]
    return out


def measure(engine: str, python: str, limit: float) -> Row:
    """Run an engine with empty caches, then briefly with warm ones."""
    if why := available(engine, python):
        print(f"{engine}: skipped, {why}", flush=True)
        return Row(engine, f"skipped: {why}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        d = numbers()
        (folder / "data.pickle").write_bytes(pickle.dumps(d))
        (folder / "data.json").write_text(json.dumps(stan_numbers(d)))
        environment = {
            **os.environ,
            "NUMBA_CACHE_DIR": str(folder / "numba"),
            "PYTENSOR_FLAGS": f"base_compiledir={folder / 'pytensor'}",
        }
        start = time.perf_counter()
        ended, memory = watched(commands(engine, python, folder, False), environment, limit)
        wall = time.perf_counter() - start
        if not ended:
            stopped = wall >= limit
            note = f"stopped after {limit:.0f} s" if stopped else "failed, see results/benchmarks"
            print(f"{engine}: {note}", flush=True)
            return Row(engine, note, memory=memory)
        times = json.loads((folder / "times.json").read_text())
        row = Row(engine, "", memory=memory, sample=times["sample"])
        row.gradients, row.divergences = int(times["gradients"]), int(times["divergences"])
        # where a sampler tells nothing before its end: all but sampling
        row.cold = times.get("first_draw") or times.get("compile")
        draws = draws_of(engine, folder)
        row.means, row.least, row.least_of, row.pooled = summary(draws)
        kept = [times.get("first_kept")]
        (folder / "times.json").unlink()
        start = time.perf_counter()
        watched(commands(engine, python, folder, True), environment, limit)
        times = json.loads((folder / "times.json").read_text())
        row.warm = times.get("first_draw") or time.perf_counter() - start
        kept.append(times.get("first_kept"))
        if engine == "ours":
            row.note = f"the chains that are kept: {kept[0]:.1f} s cold, {kept[1]:.1f} s warm"
        if engine == "numpyro":
            row.note = "first draw: a whole run of 10 + 10 draws"
            row.cold = None
    print(f"{engine}: {row.sample:.0f} s, least ESS {row.least:.0f}", flush=True)
    return row


def summary(
    draws: dict[str, np.ndarray],
) -> tuple[dict[str, tuple[float, float, float]], float, str, float]:
    """Mean, sd and ESS of every scalar; the least ESS, whose, and that of the pooled effect."""
    out = {}
    for name, values in draws.items():
        flat = values.reshape(*values.shape[:2], -1)
        ess = az.ess(xr.Dataset({"x": (("chain", "draw", "i"), flat)}))["x"].to_numpy()
        for i in range(flat.shape[-1]):
            label = name if flat.shape[-1] == 1 else f"{name} {i + 1}"
            out[label] = (float(flat[..., i].mean()), float(flat[..., i].std()), float(ess[i]))
    least_of = min(out, key=lambda k: out[k][2])
    return out, out[least_of][2], least_of, out["pooled"][2]


def agreement(rows: list[Row]) -> str:
    """Largest difference of posterior means between two engines, in Monte Carlo errors."""
    with_means = [r for r in rows if r.means]
    if not with_means or with_means[0].engine != "ours":
        return ""
    ours = with_means[0].means or {}
    lines = []
    for row in with_means[1:]:
        theirs = row.means or {}
        z = {
            k: (ours[k][0] - theirs[k][0])
            / np.hypot(ours[k][1] / np.sqrt(ours[k][2]), theirs[k][1] / np.sqrt(theirs[k][2]))
            for k in ours
        }
        ratio = {k: ours[k][1] / theirs[k][1] for k in ours}
        worst = max(z, key=lambda k: abs(z[k]))
        lines.append(
            f"- `{row.engine}`: over {len(z)} quantities the largest difference of means is "
            f"{abs(z[worst]):.1f} Monte Carlo standard errors ({worst}); ratios of posterior sds "
            f"lie between {min(ratio.values()):.2f} and {max(ratio.values()):.2f}"
        )
    return "\n".join(lines)


def cell(value: float | None, digits: int = 0) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


LABELS = {
    "ours": "lndbayes, defaults",
    "pymc": "PyMC `pm.sample`, defaults",
    "numpyro": "numpyro through PyMC",
    "rstan": "rstan",
}


def markdown(rows: list[Row]) -> str:
    """Write the page."""
    head = (
        "| engine | first draw, cold, s | first draw, warm, s | sampling, s | gradients | "
        "divergences | peak memory, MB | least ESS | least ESS / s | least ESS / 1000 gradients | "
        "pooled effect ESS / s | note |\n|" + "---|" * 12 + "\n"
    )
    body = ""
    for r in rows:
        rate = None if r.sample is None or r.least is None else r.least / r.sample
        per = None if not r.gradients or r.least is None else 1000 * r.least / r.gradients
        pooled = None if r.sample is None or r.pooled is None else r.pooled / r.sample
        least = "-" if r.least is None else f"{r.least:.0f} ({r.least_of})"
        body += (
            f"| {LABELS[r.engine]} | {cell(r.cold, 1)} | {cell(r.warm, 1)} | {cell(r.sample)} | "
            f"{cell(r.gradients)} | {cell(r.divergences)} | {cell(r.memory)} | {least} | "
            f"{cell(rate, 2)} | {cell(per, 2)} | {cell(pooled, 1)} | {r.note} |\n"
        )
    return f"""# Against others

Made by `python benchmarks/bench_peers.py` on {os.cpu_count()} cores, all engines in one run:
the posterior of the shipped custody spec on the shipped data (27 sites, 96 months, every channel of
evidence). The others get the model as its text reads (`benchmarks/peers/naive.py`, `naive.stan`),
without its later stages,
4 chains of 1,000 + 1,000 draws (PyMC's defaults; numpyro and rstan 300 + 300, to end in time), on 2
cores; we get the spec with its own settings.

*First draw*: from the start of the command to the sampler's first step, imports, reading and
compiling included; cold is with empty caches. It is a step of tuning: of `pm.sample`'s, or of our
pilot run; for when the chains that are kept start after it, see the note. *Sampling* is the call
that samples, compiling, tuning and our pilot run included. *Gradients* are those after tuning.
*Least ESS*: bulk, over the pooled effect, the sites' effects and the scales.

{head}{body}
How far posteriors are apart:

{agreement(rows)}
"""


def main() -> None:
    """Run every engine and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=900)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--engines", default="ours,pymc,numpyro,rstan")
    options = parser.parse_args()
    STORE.parent.mkdir(parents=True, exist_ok=True)
    rows = [measure(e, options.python, options.limit) for e in options.engines.split(",")]
    STORE.write_text(json.dumps([asdict(r) for r in rows], indent=1), encoding="utf-8")
    write_page(ROOT / "docs" / "peers.md", markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
