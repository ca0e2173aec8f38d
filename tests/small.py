"""Small things several tests share: a hand-made fit, and a small evaluation on disk.

`fake_fit` has the groups, dims and attributes of a stored fit that estimands and tables read, and a
few random draws: small enough for a brute force over every chain, draw, site and month.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import xarray as xr

from lndbayes.spec.families import FAMILIES
from lndbayes.spec.priors import required_slots
from lndbayes.spec.shown import shown_spec
from lndbayes.synthetic import simulate, write_evaluation

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models"

BASIS = 2
HARMONICS = 2
SCALARS = ("effect_mean", "national_slope", "drift", "go_live_step", "shared_bias")
POSITIVE = ("ramp_months", "site_effect_sd", "concentration")
DIMS: Mapping[str, tuple[str, ...]] = {
    "national_curve": ("basis_national",),
    "season": ("harmonic",),
    "site_level": ("site",),
    "site_drift": ("site",),
    "site_curve": ("basis_site", "site"),
    "site_effect": ("site",),
    "mix_effect": ("intervention",),
    "wave_effect": ("wave",),
}
ARRAYS_BY_CELL = (
    *("exposure", "exposure_all", "exposure_exact", "count_exact", "coverage", "referrals"),
    "site_weight",
)
ARRAYS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(ARRAYS_BY_CELL, ("site", "month")),
    "event_time": ("site", "month"),
    "time": ("month",),
    "national_functions": ("month", "basis_national"),
    "site_functions": ("month", "basis_site"),
    "harmonics": ("month", "harmonic"),
    "half_period": (),
    "wave_sd": (),
    "mix_centre": ("intervention",),
    "mix_count": ("site", "intervention"),
    **dict.fromkeys(("retrospective_at", "history_at"), ("row", "key")),
    **dict.fromkeys(("retrospective_exposure", "history_exposure"), ("row",)),
}


def fake_fit(
    go_live: Sequence[float | None] = (6, 10, None),
    *,
    months: int = 26,
    window: tuple[int, int] = (7, 18),
    chains: int = 2,
    draws: int = 3,
    waves: int = 2,
    interventions: Sequence[str] = ("advice", "health", "housing"),
    period: str = "month",
    seed: int = 3,
    family: str = "beta_binomial",
    posterior: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> xr.DataTree:
    """Build a fit by hand.

    `go_live` is an index into the periods, None for a site that never goes live. `posterior` and
    `constants` replace random values; they are broadcast to the shape of the variable.
    """
    rng = np.random.default_rng(seed)
    step = {"month": 1, "quarter": 3, "year": 12}[period]
    start = np.array([np.nan if g is None else g for g in go_live], dtype=float)
    event = (np.arange(months) - start[:, None]) * step
    exposure = rng.integers(20, 60, event.shape).astype(float)
    sizes = {"site": len(start), "month": months, "intervention": len(interventions)}
    sizes |= {"wave": waves, "harmonic": HARMONICS, "basis_national": BASIS, "basis_site": BASIS}
    sizes |= {"row": 1, "key": 3}
    share = rng.uniform(1, 3, len(interventions))
    arrays: dict[str, Any] = {
        "exposure": exposure,
        "exposure_all": exposure,
        "exposure_exact": exposure,
        "coverage": np.ones_like(exposure),
        "count_exact": rng.binomial(exposure.astype(int), 0.2).astype(float),
        "referrals": rng.integers(0, 30, event.shape).astype(float),
        "event_time": event,
        "time": (np.arange(months) - months / 2) * step / 24,
        "national_functions": rng.normal(size=(months, BASIS)),
        "site_functions": rng.normal(size=(months, BASIS)),
        "harmonics": rng.normal(size=(months, HARMONICS)),
        "half_period": step / 2,
        "wave_sd": 0.2,
        "mix_centre": share / share.sum(),
        "mix_count": np.random.default_rng(seed).integers(1, 90, (len(start), len(share))),
        "retrospective_at": np.zeros((1, 3), int),
        "history_at": np.zeros((1, 3), int),
        "retrospective_exposure": np.zeros(1),
        "history_exposure": np.zeros(1),
    }
    given = {**arrays, **(constants or {})}
    n = np.broadcast_to(given["exposure"], event.shape)
    given.setdefault("site_weight", n / np.maximum(n.sum(axis=1, keepdims=True), 1e-9))
    rows = max(len(np.atleast_1d(given[f"{c}_exposure"])) for c in ("retrospective", "history"))
    sizes["row"] = rows
    labels = {
        "site": [chr(ord("A") + s) for s in range(len(start))],
        "month": [f"{2014 + m * step // 12}-{m * step % 12 + 1:02d}" for m in range(months)],
        "intervention": list(interventions),
        "wave": list(range(1, waves + 1)),
    }
    data = xr.Dataset(
        {
            name: (dims, np.broadcast_to(given[name], [sizes[d] for d in dims]).copy())
            for name, dims in ARRAYS.items()
        },
        coords={d: labels[d] for d in ("site", "month", "intervention")},
    )
    tree = xr.DataTree.from_dict(
        {
            "/posterior": _draws(rng, sizes, labels, chains, draws, posterior or {}),
            "/prior": _draws(rng, sizes, labels, 1, 4 * draws, {}),
            "/constant_data": data,
        }
    )
    tree.attrs = {
        "outcome": "custody",
        "family": family,
        "link": FAMILIES[family].link,
        "unit": "custodial sentences",
        "period": period,
        "seed": seed,
        "synthetic": 1,
        "spec_text": json.dumps({"effect": {"window": list(window)}}),
    }
    return tree


def _draws(
    rng: np.random.Generator,
    sizes: Mapping[str, int],
    labels: Mapping[str, list[Any]],
    chains: int,
    draws: int,
    given: Mapping[str, Any],
) -> xr.Dataset:
    variables = {}
    for name in (*SCALARS, *POSITIVE, *DIMS):
        dims = ("chain", "draw", *DIMS.get(name, ()))
        shape = [{**sizes, "chain": chains, "draw": draws}[d] for d in dims]
        value = rng.normal(0, 0.3, shape)
        if name in POSITIVE:
            value = np.exp(1 + value)
        if name == "site_level":
            value = value - 1.5
        variables[name] = (dims, np.broadcast_to(given.get(name, value), shape).copy())
    # no pulse unless one is given; then its month, which only a fit with a pulse stores, is too
    for name in ("pulse", "pulse_months"):
        if name in given or name == "pulse":
            value = np.broadcast_to(given.get(name, 0.0), (chains, draws)).copy()
            variables[name] = (("chain", "draw"), value)
    unknown = given.keys() - variables.keys()
    if unknown:
        raise KeyError(f"no such variables: {sorted(unknown)}")
    coords = {d: labels[d] for d in ("site", "intervention", "wave")}
    return xr.Dataset(
        variables, coords={"chain": np.arange(chains), "draw": np.arange(draws), **coords}
    )


def isel(fit: xr.DataTree, **indexers: Any) -> xr.DataTree:
    """Choose or reorder labels in every group that has the dim."""
    groups = {
        f"/{name}": node.to_dataset().isel(
            {d: i for d, i in indexers.items() if d in node.to_dataset().dims}
        )
        for name, node in fit.children.items()
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(fit.attrs)
    return tree


#: Priors of slots that the shipped spec has no parameter for.
EXTRA: dict[str, dict[str, Any]] = {
    "person_dispersion": {"dist": "LogNormal", "mu": 0.2, "sigma": 0.7},
    "stage_level": {"dist": "Normal", "mu": -0.3, "sigma": 1.1},
    "stage_site_sd": {"dist": "HalfNormal", "sigma": 0.5},
    "stage_effect": {"dist": "Normal", "mu": -0.2, "sigma": 0.6},
    "pulse_months": {"dist": "LogNormal", "mu": 0.7, "sigma": 0.4},
}


def complete(name: str) -> str:
    """Text of a shipped spec with every value that is in force, templates included."""
    return shown_spec(MODELS / f"{name}.toml")


def raw_of(family: str, pulse_sd: float = 0.0) -> dict[str, Any]:
    """The shipped spec in another family, as it would be read from a file."""
    raw = tomllib.loads(complete("custody"))
    raw["likelihood"]["family"] = family
    raw["effect"]["pulse_sd"] = pulse_sd
    wanted = required_slots(family, pulse=pulse_sd > 0)
    raw["priors"] = {slot: prior for slot, prior in raw["priors"].items() if slot in wanted}
    raw["priors"] |= {slot: dict(EXTRA[slot]) for slot in wanted if slot in EXTRA}
    return raw


def write_small(
    root: Path, *, simulation: int = 5, sites: int = 6, **settings: object
) -> tuple[Path, Path]:
    """Write a small synthetic evaluation and its models; return both folders.

    `simulation` is the seed of the data; `settings` are keys of the spec's sections to change, for
    example ``draws=100``.
    """
    data, models = root / "data", root / "models"
    write_evaluation(simulate(simulation, "effect", sites, outcomes=("custody",)), data)
    models.mkdir(parents=True)
    (models / "custody.toml").write_text(complete("custody"), encoding="utf-8")
    shutil.copyfile(MODELS / "costs.toml", models / "costs.toml")
    set_keys(models / "custody.toml", **settings)
    return data, models


def set_keys(spec: Path, **settings: object) -> None:
    """Change keys of a spec file, whatever section they are in; each must be there once."""
    text = spec.read_text(encoding="utf-8")
    for key, value in settings.items():
        text, found = re.subn(rf"(?m)^{key} = [^#\n]*", f"{key} = {value} ", text)
        if found != 1:
            raise KeyError(f"{key} is {found} times in {spec.name}")
    spec.write_text(text, encoding="utf-8")


def set_checks(spec: Path, **thresholds: float) -> None:
    """Replace the thresholds of a spec file."""
    text = spec.read_text(encoding="utf-8")
    head, found, _ = text.partition("[checks]\n")
    if not found:
        raise KeyError(f"{spec.name} has no [checks]")
    lines = [f"{key} = {value}\n" for key, value in thresholds.items()]
    spec.write_text(head + found + "".join(lines), encoding="utf-8")


def load(path: str) -> ModuleType:
    """Import a module of the tests by its path below them."""
    file = ROOT / "tests" / path
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
