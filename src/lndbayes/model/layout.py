"""The unconstrained parameter vector: which number is where, and how to read it.

The transforms are those of the PyMC model's value variables, so that a point of one is a point of
the other. What all sites share comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lndbayes.model.course import pulse_means, ramp_means
from lndbayes.model.design import Design
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "MULTIPLIERS",
    "POSITIVE",
    "REAL",
    "SCALARS",
    "Block",
    "constrain",
    "extend_zero_sum",
    "inactive",
    "layout",
    "simplex",
    "size",
    "unconstrain",
]

#: Scalars on the whole line. ``baseline_level`` and ``national_slope`` are stored as the level and
#: slope of what is OBSERVED, treated months included; `MULTIPLIERS` are standard normal multipliers
#: of fixed scales. Every family's vector has all scalars: those that its spec has no prior for are
#: standard normal (their logarithm, where positive), touch nothing else, and are not reported.
REAL = (
    "effect_mean",
    "baseline_level",
    "national_slope",
    "predecessor_effect",
    "retrospective_bias",
    "history_selection",
    "shared_bias",
    "drift",
    "go_live_step",
    "pulse",
    "stage_effect",
)
#: Scalars that are multiplied by ``<name>_sd`` of the design.
MULTIPLIERS = ("shared_bias", "drift", "go_live_step", "pulse")
#: Positive scalars, stored as logarithms.
POSITIVE = (
    "national_curve_sd",
    "site_level_sd",
    "site_drift_sd",
    "site_curve_sd",
    "mix_effect_sd",
    "site_effect_sd",
    "ramp_months",
    "concentration",
    "mix_concentration",
    "retrospective_bias_sd",
    "crisis_dip",
    "crisis_recovery_months",
    "person_dispersion",
    "pulse_months",
    "stage_site_sd",
)
SCALARS = REAL + POSITIVE


@dataclass(frozen=True, slots=True)
class Block:
    """A run of the vector.

    Attributes
    ----------
    start : int
        First index.
    shape : tuple of int
        Shape in unconstrained space, row-major.
    """

    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        """One past the last index."""
        return self.start + int(np.prod(self.shape))


def layout(design: Design) -> Mapping[str, Block]:
    """Blocks of the vector by name, in order, after the scalars.

    Parameters
    ----------
    design : Design
        Gives the sizes: S sites, M interventions, W waves, R retrospective sites.
    """
    sizes = {name: len(values) for name, values in design.coords.items()}
    sites, mix = sizes["site"], sizes["intervention"]
    shapes = {
        "national_curve": (sizes["basis_national"],),
        "season": (sizes["harmonic"],),
        "seam": (sizes["seam_month"],),
        "stage_level": (sizes["stage"],),
        "mix_effect": (mix - 1,),
        "wave_effect": (sizes["wave"] - 1,),
        "site_drift": (sites - 1,),
        "site_curve": (sizes["basis_site"], sites - 1),
        "mix_share": (sites, mix - 1),
        "site_deviation": (sites,),
        "stage_site": (sizes["site_of_stage"],),
        "site_level": (sites,),
        "retrospective_site_bias": (sizes["retrospective_site"],),
    }
    blocks, start = {}, len(SCALARS)
    for name, shape in shapes.items():
        blocks[name] = Block(start, shape)
        start = blocks[name].stop
    return blocks


def size(design: Design) -> int:
    """Length of the vector."""
    return list(layout(design).values())[-1].stop


def extend_zero_sum(x: np.ndarray) -> np.ndarray:
    """Map n-1 coordinates isometrically to n numbers that sum to zero, over the last axis."""
    n = x.shape[-1] + 1
    total = x.sum(axis=-1, keepdims=True)
    norm = total / (np.sqrt(n) + n)
    return np.concatenate([x, norm - total / np.sqrt(n)], axis=-1) - norm


def simplex(x: np.ndarray) -> np.ndarray:
    """Map n-1 coordinates to n shares: their logarithms up to a constant, which sum to zero."""
    full = np.concatenate([x, -x.sum(axis=-1, keepdims=True)], axis=-1)
    full = np.exp(full - full.max(axis=-1, keepdims=True))
    return full / full.sum(axis=-1, keepdims=True)


def inactive(spec: ModelSpec) -> tuple[str, ...]:
    """Scalars of the vector that a spec's model does not use."""
    optional = ("person_dispersion", "stage_site_sd", "stage_effect", "pulse_months")
    return tuple(name for name in optional if name not in spec.priors)


def constrain(x: np.ndarray, design: Design) -> dict[str, np.ndarray]:
    """Turn unconstrained draws into the model's variables.

    Parameters
    ----------
    x : ndarray, shape (..., D)
        Unconstrained draws.
    design : Design
        The design they belong to.

    Returns
    -------
    dict of str to ndarray
        Each of shape (..., *dims of the variable); see ``posterior`` of a fit.
    """
    blocks = layout(design)
    out = {name: x[..., i] for i, name in enumerate(REAL)}
    out |= {name: np.exp(x[..., len(REAL) + i]) for i, name in enumerate(POSITIVE)}
    raw = {
        name: x[..., block.start : block.stop].reshape(*x.shape[:-1], *block.shape)
        for name, block in blocks.items()
    }
    for name in MULTIPLIERS:
        out[name] = out[name] * design[f"{name}_sd"]
    out["season"] = raw["season"]
    out["seam"] = design["seam_sd"] * raw["seam"]
    out["stage_level"] = raw["stage_level"]
    out["stage_site"] = out["stage_site_sd"][..., None] * raw["stage_site"]
    out["site_drift"] = out["site_drift_sd"][..., None] * extend_zero_sum(raw["site_drift"])
    out["site_curve"] = out["site_curve_sd"][..., None, None] * extend_zero_sum(raw["site_curve"])
    out["mix_share"] = simplex(raw["mix_share"])
    out["mix_effect"] = out["mix_effect_sd"][..., None] * extend_zero_sum(raw["mix_effect"])
    out["site_deviation"] = out["site_effect_sd"][..., None] * raw["site_deviation"]
    out["wave_effect"] = design["wave_sd"] * extend_zero_sum(raw["wave_effect"])
    out["retrospective_site_bias"] = (
        out["retrospective_bias"][..., None]
        + out["retrospective_bias_sd"][..., None] * raw["retrospective_site_bias"]
    )
    out["site_effect"] = site_effect(out, design)
    out["national_curve"] = raw["national_curve"]
    out["site_level"] = raw["site_level"] - _anchor(out, design)
    return out


def site_effect(values: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Long-run effect of each site: mean + mix + wave + predecessor + deviation.

    Parameters
    ----------
    values : mapping of str to ndarray
        Constrained variables with any leading sample dims.
    design : Design
        The design.

    Returns
    -------
    ndarray, shape (..., S)
        Link scale.
    """
    composition = values["mix_share"] - design["mix_centre"]
    return np.asarray(
        values["effect_mean"][..., None]
        + (composition * values["mix_effect"][..., None, :]).sum(axis=-1)
        + values["wave_effect"][..., design["wave_index"]]
        + values["predecessor_effect"][..., None] * design["predecessor"]
        + values["site_deviation"]
    )


def _anchor(values: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Mean of the rest of a site's predictor over its observed cells, shape (..., S)."""
    weight = design["site_weight"]
    event = design["event_time"]
    post_years = (weight * np.maximum(event, 0)).sum(axis=1) / 12
    after = (weight * (event >= 0)).sum(axis=1)
    national = (
        values["national_slope"][..., None] * design["time"]
        + values["national_curve"] @ design["national_functions"].T
        + values["season"] @ design["harmonics"].T
        + values["seam"] @ design["seam_functions"].T
    )
    shape = ramp_means(values["ramp_months"], weight, event, float(design["half_period"]))
    passing = pulse_means(values, weight, event, float(design["half_period"]))
    return np.asarray(
        passing
        + values["site_drift"] * (weight @ design["time"])
        + national @ weight.T
        + np.einsum("...ks,sk->...s", values["site_curve"], weight @ design["site_functions"])
        + values["drift"][..., None] * post_years
        + shape * values["site_effect"]
        + values["go_live_step"][..., None] * after
    )


def unconstrain(values: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Inverse of `constrain` for one point; used to start chains and in tests.

    Parameters
    ----------
    values : mapping of str to ndarray
        Constrained variables without sample dims.
    design : Design
        The design. Terms whose fixed scale is 0 map to 0.

    Returns
    -------
    ndarray, shape (D,)
    """
    x = np.zeros(size(design))
    values = {**values, "site_effect": site_effect(values, design)}
    for i, name in enumerate(REAL):
        value = values[name]
        if name in MULTIPLIERS:
            scale = float(design[f"{name}_sd"])
            value = np.asarray(value / scale if scale > 0 else 0.0)
        x[i] = value
    for i, name in enumerate(POSITIVE):
        x[len(REAL) + i] = np.log(values[name])
    log_share = np.log(values["mix_share"])
    wave_sd = float(design["wave_sd"])
    raw = {
        "national_curve": values["national_curve"],
        "season": values["season"],
        "seam": values["seam"] / design["seam_sd"],
        "stage_level": values["stage_level"],
        "stage_site": values["stage_site"] / values["stage_site_sd"],
        "site_drift": _reduce_zero_sum(values["site_drift"] / values["site_drift_sd"]),
        "site_curve": _reduce_zero_sum(values["site_curve"] / values["site_curve_sd"]),
        "mix_share": (log_share - log_share.mean(axis=-1, keepdims=True))[..., :-1],
        "mix_effect": _reduce_zero_sum(values["mix_effect"] / values["mix_effect_sd"]),
        "site_deviation": values["site_deviation"] / values["site_effect_sd"],
        "wave_effect": _reduce_zero_sum(values["wave_effect"] / (wave_sd if wave_sd > 0 else 1.0)),
        "site_level": values["site_level"] + _anchor(values, design),
        "retrospective_site_bias": (
            values["retrospective_site_bias"] - values["retrospective_bias"]
        )
        / values["retrospective_bias_sd"],
    }
    for name, block in layout(design).items():
        x[block.start : block.stop] = np.ravel(raw[name])
    return x


def _reduce_zero_sum(z: np.ndarray) -> np.ndarray:
    n = z.shape[-1]
    last = z[..., -1:]
    norm = -last * np.sqrt(n) / (np.sqrt(n) + n)
    return np.asarray(z[..., :-1] + norm)
