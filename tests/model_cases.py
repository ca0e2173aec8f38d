"""Small evaluations with every feature, and PyMC models compiled in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
from pymc.pytensorf import compile as compile_graph
from pytensor.compile.mode import Mode
from pytensor.gradient import grad

from lndbayes.data.evaluation import EvaluationData, read_evaluation
from lndbayes.model.build import model_from_design
from lndbayes.model.design import Design, build_design
from lndbayes.model.layout import SCALARS, inactive, layout, scalar_places, size
from lndbayes.spec.model_spec import ModelSpec, load_spec, parse_spec
from lndbayes.spec.priors import required_slots
from lndbayes.synthetic import WORLDS, plain, simulate, write_evaluation

CUSTODY = Path(__file__).parents[1] / "models" / "custody.toml"

#: A family of prior per slot that the shipped spec does not use there.
OTHER_PRIORS: Mapping[str, Mapping[str, Any]] = {
    "effect_mean": {"dist": "StudentT", "nu": 4.0, "mu": -0.1, "sigma": 0.4},
    "baseline_level": {"dist": "StudentT", "nu": 7.0, "mu": -1.8, "sigma": 0.6},
    "national_slope": {"dist": "StudentT", "nu": 3.0, "mu": 0.05, "sigma": 0.25},
    "predecessor_effect": {"dist": "Normal", "mu": 0.1, "sigma": 0.3},
    "season": {"dist": "Normal", "mu": 0.02, "sigma": 0.1},
    "national_curve_sd": {"dist": "HalfNormal", "sigma": 0.2},
    "site_level_sd": {"dist": "LogNormal", "mu": -1.0, "sigma": 0.6},
    "site_drift_sd": {"dist": "Gamma", "alpha": 0.7, "beta": 8.0},
    "site_curve_sd": {"dist": "HalfNormal", "sigma": 0.1},
    "mix_effect_sd": {"dist": "Exponential", "scale": 0.2},
    "site_effect_sd": {"dist": "LogNormal", "mu": -2.0, "sigma": 0.5},
    "ramp_months": {"dist": "Gamma", "alpha": 4.0, "beta": 1.0},
    "concentration": {"dist": "Exponential", "scale": 150.0},
    "mix_concentration": {"dist": "HalfNormal", "sigma": 400.0},
    "retrospective_bias_sd": {"dist": "Gamma", "alpha": 2.0, "beta": 15.0},
    "crisis_dip": {"dist": "Exponential", "scale": 0.7},
    "crisis_recovery_months": {"dist": "Gamma", "alpha": 6.0, "beta": 0.5},
    "mix_share": {"dist": "Dirichlet", "concentration": 2.5},
}


def custody() -> ModelSpec:
    """The shipped spec in its reduced form, any sentence or none: the others have test_families."""
    raw = load_spec(CUSTODY).model_dump(mode="python")
    raw["likelihood"]["family"] = "beta_binomial"
    wanted = required_slots("beta_binomial", pulse=False)
    raw["priors"] = {slot: load_spec(CUSTODY).priors[slot].as_toml() for slot in wanted}
    return parse_spec(raw, source="custody in its reduced form")


def month(first: str, ahead: int) -> str:
    return str(pd.Period(first, "M") + ahead)


@dataclass
class Tables:
    """An evaluation before it is written: settings, and frames by file name."""

    settings: dict[str, Any]
    frames: dict[str, pd.DataFrame]

    def change(self, file: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Tables:
        return Tables(self.settings, {**self.frames, file: change(self.frames[file])})


def read_tables(tables: Tables, folder: Path) -> EvaluationData:
    (folder / "evidence").mkdir(parents=True, exist_ok=True)
    # a JSON text or boolean is also a TOML one
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in tables.settings.items())
    (folder / "evaluation.toml").write_text(text, encoding="utf-8")
    for file, frame in tables.frames.items():
        frame.to_csv(folder / file, index=False, lineterminator="\n")
    return read_evaluation(folder)


def tiny_tables(
    seed: int = 11,
    *,
    periods: int = 20,
    step: int = 1,
    go_live: tuple[int | None, ...] = (8, 8, 13, None),
    waves: tuple[int, ...] = (1, 1, 2, 2),
    interventions: tuple[str, ...] = ("advice", "liaison", "outreach"),
    evidence: bool = True,
) -> Tables:
    """Plausible numbers without a law: what a density is evaluated on, not what it is fitted to.

    `go_live` is in periods since the first; the third site's second period has no row.
    """
    rng = np.random.default_rng(seed)
    first = "2013-01"
    sites = [f"T{i + 1}" for i in range(len(go_live))]
    label = [month(first, step * t) for t in range(periods)]
    exposure = rng.integers(15, 90, size=(len(sites), periods))
    exposure[0, -1] = 7  # small enough for the short form of the rising factorial
    count = rng.binomial(exposure, 0.14)
    rows = [
        ("custody", site, label[t], "courts", exposure[s, t], count[s, t], "observed")
        for s, site in enumerate(sites)
        for t in range(periods)
        if (s, t) != (2, 1)
    ]
    settings = {
        "name": "Tiny evaluation",
        "period": {1: "month", 3: "quarter", 12: "year"}[step],
        "first_month": label[0],
        "last_month": label[-1],
        "synthetic": True,
        "disclosure": "none",
    }
    columns = ["outcome", "site", "month", "source", "exposure", "count", "status"]
    frames = {
        "outcomes.csv": pd.DataFrame(rows, columns=columns),
        "sites.csv": pd.DataFrame(
            {
                "site": sites,
                "label": sites,
                "region": "North",
                "wave": waves,
                "go_live": ["" if g is None else month(first, step * g) for g in go_live],
                "population": 10_000 * (np.arange(len(sites)) + 2),
                "predecessor": ["" if s == 1 else f"{0.2 * s:.1f}" for s in range(len(sites))],
            }
        ),
    }
    if interventions:
        mix = [
            (site, "", kind, int(rng.integers(5, 60)))
            for site in sites[: len(sites) - 1]  # the last site's mix is unknown
            for kind in interventions
        ]
        columns = ["site", "month", "intervention", "contacts"]
        frames["mix.csv"] = pd.DataFrame(mix, columns=columns)
    if evidence:
        frames |= _evidence(rng, sites, label, step)
    return Tables(settings, frames)


def _evidence(
    rng: np.random.Generator, sites: list[str], label: list[str], step: int
) -> dict[str, pd.DataFrame]:
    """Rows in every channel; sites 1 and 3 have retrospective records."""
    base = {"outcome": "custody"}
    retrospective = [
        base
        | {"site": site, "month": label[t], "exposure": (n := int(rng.integers(10, 40)))}
        | {"count": int(rng.binomial(n, 0.15)), "coverage_mean": 0.6, "coverage_sd": 0.1}
        for site, months in ((sites[0], (0, 1, 2)), (sites[2], (2, 3)))
        for t in months
    ]
    national = [
        base
        | {"month": label[t], "months": step * length, "rate": rate, "se": 0.004}
        | {"source": "national series"}
        for t, length, rate in ((0, 2, 0.12), (2, 2, 0.125), (4, 1, 0.13), (5, 2, 0.11))
    ]
    history = [
        base
        | {"site": site, "months_from_referral": -lag, "calendar_month": label[t]}
        | {"persons": (n := int(rng.integers(20, 60))), "count": int(rng.binomial(n, 0.2))}
        for site, lag, t in (
            (sites[1], 6, 3),
            (sites[1], 12, 1),
            (sites[2], 6, 7),
            (sites[3], 18, 2),
        )
    ]
    elicited = [
        base
        | {"site": site, "quantity": "pre_go_live_rate", "q05": low, "q50": middle, "q95": high}
        | {"who": "panel"}
        for site, low, middle, high in (("", 0.08, 0.12, 0.17), (sites[0], 0.1, 0.16, 0.24))
    ]
    frames = {
        "retrospective": retrospective,
        "national": national,
        "history": history,
        "elicited": elicited,
    }
    return {f"evidence/{name}.csv": pd.DataFrame(rows) for name, rows in frames.items()}


#: What the simulated law does not have, at values at which it has no part: no pulse, seam or stage.
ABSENT: Mapping[str, Any] = {
    **dict.fromkeys(("pulse", "stage_effect"), 0.0),
    **dict.fromkeys(("person_dispersion", "pulse_months", "stage_site_sd"), 1.0),
    **dict.fromkeys(("seam", "stage_level", "stage_site"), ()),
}


@dataclass(frozen=True)
class Simulated:
    """A simulated evaluation, read back, with its truth as draws of the model's variables.

    `truth` has leading dims (1, 1) and the data's own order of interventions.
    """

    data: EvaluationData
    design: Design
    truth: dict[str, np.ndarray]
    raw: Mapping[str, Any]


def simulated(seed: int, folder: Path, **changes: Any) -> Simulated:
    """Simulate a world of the model's own law; `changes` are fields of the world."""
    sim = simulate(seed, replace(plain(WORLDS["effect"]), **changes))
    data = read_evaluation(write_evaluation(sim, folder))
    design = build_design(custody(), data)
    truth = {k: np.asarray(v, dtype=float) for k, v in (ABSENT | sim.truth["parameters"]).items()}
    names = list(sim.truth["axes"]["intervention"])
    order = [names.index(name) for name in design.coords["intervention"]]
    truth["mix_share"] = truth["mix_share"][:, order]
    truth["mix_effect"] = truth["mix_effect"][order]
    draws = {name: value[None, None] for name, value in truth.items()}
    return Simulated(data, design, draws, sim.truth)


def cheap_mode() -> Mode:
    """No C compiler, no fusion: seconds to compile, tens of milliseconds to run."""
    return Mode(linker="py", optimizer="fast_compile").excluding(
        "fusion",
        "add_mul_fusion",
        "local_add_canonizer",
        "canonicalize",
        "add_flatten",
        "local_add_mul_fusion",
    )


def vector_name(value_variable: str) -> str:
    """Name in the vector's layout of a PyMC value variable."""
    for suffix in ("_log__", "_zerosum__", "_simplex__"):
        value_variable = value_variable.removesuffix(suffix)
    return value_variable.removesuffix("_observed").removesuffix("_z")


def place(name: str, design: Design) -> tuple[slice, tuple[int, ...]]:
    """Where a name is in the vector, and its shape."""
    places = scalar_places(design)
    if name in places:
        return slice(places[name], places[name] + 1), ()
    block = layout(design)[name]
    return slice(block.start, block.stop), block.shape


@dataclass(frozen=True)
class Compiled:
    """A PyMC model whose functions are compiled when they are first asked for."""

    spec: ModelSpec
    design: Design
    model: pm.Model

    def load(self, design: Design) -> Design:
        """Put a design's arrays into the compiled graph; the same shapes, no new compilation."""
        for name, value in design.arrays.items():
            self.model.set_data(name, value)
        return design

    def density(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Joint log density and its gradient, in the vector's order."""
        value, *parts = self._joint(*self._values(x))
        gradient = np.full(size(self.design), np.nan)
        # scalars that the graph does not have are standard normal in the vector
        for name in inactive(self.spec):
            i = SCALARS.index(name)
            value = value - 0.5 * x[i] ** 2 - 0.5 * np.log(2 * np.pi)
            gradient[i] = -x[i]
        for variable, part in zip(self.model.value_vars, parts, strict=True):
            gradient[place(vector_name(variable.name), self.design)[0]] = np.ravel(part)
        return float(value), gradient

    def variables(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Every unobserved variable on its own scale."""
        names = [variable.name for variable in self.model.unobserved_RVs]
        return dict(zip(names, self._unobserved(*self._values(x)), strict=True))

    def log_terms(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Elementwise log density of every random variable, without Jacobians."""
        names = [variable.name for variable in self.model.basic_RVs]
        return dict(zip(names, self._terms(*self._values(x)), strict=True))

    def _values(self, x: np.ndarray) -> list[np.ndarray]:
        """Values of the model's value variables at a point of the vector."""
        found = []
        for variable in self.model.value_vars:
            where, shape = place(vector_name(variable.name), self.design)
            found.append(np.array(x[where].reshape(shape)))
        return found

    def _function(self, outputs: list[Any]) -> Callable[..., list[Any]]:
        inputs = self.model.value_vars
        return compile_graph(inputs, outputs, mode=cheap_mode(), on_unused_input="ignore")

    @cached_property
    def _joint(self) -> Callable[..., list[Any]]:
        joint, *others = [term.sum() for term in self.model.logp(sum=False)]
        for term in others:
            joint = joint + term
        return self._function([joint, *grad(joint, self.model.value_vars)])

    @cached_property
    def _unobserved(self) -> Callable[..., list[Any]]:
        return self._function(self.model.replace_rvs_by_values(self.model.unobserved_RVs))

    @cached_property
    def _terms(self) -> Callable[..., list[Any]]:
        variables = self.model.basic_RVs
        return self._function(self.model.logp(vars=variables, jacobian=False, sum=False))


def with_model(spec: ModelSpec, design: Design) -> Compiled:
    return Compiled(spec, design, model_from_design(spec, design))
