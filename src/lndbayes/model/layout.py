"""The unconstrained parameter vector: which number is where, and how to read it.

The transforms are those of the PyMC model's value variables, so that a point of one is a point of
the other. What all sites share comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lndbayes.model.blocks import fixed_scale, mean_part, scale, site_effect_part
from lndbayes.model.course import PULSE, RAMP, shape_means
from lndbayes.model.design import Design
from lndbayes.spec.linear import LINEAR, LinearBlock, learned_scales
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "MULTIPLIERS",
    "POSITIVE",
    "REAL",
    "SCALARS",
    "Block",
    "constrain",
    "extend_zero_sum",
    "further_scales",
    "inactive",
    "layout",
    "scalar_places",
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

    The order is part of what stored draws and coordinates mean: linear terms and scales that are
    not named here follow what they are like, and take no place where they have no coefficients.

    Parameters
    ----------
    design : Design
        Gives the sizes: S sites, M interventions, W waves, R retrospective sites.
    """
    sizes = {name: len(values) for name, values in design.coords.items()}
    sites, mix = sizes["site"], sizes["intervention"]
    shapes = {
        **_linear_shapes(design, ("national_curve", "season", "seam")),
        "stage_level": (sizes["stage"],),
        "mix_effect": (mix - 1,),
        **_linear_shapes(design, ("wave_effect",)),
        **_linear_shapes(design, _further(per_site=False)),
        **_linear_shapes(design, ("site_drift", "site_curve")),
        "mix_share": (sites, mix - 1),
        **_linear_shapes(design, ("site_deviation",)),
        "stage_site": (sizes["site_of_stage"],),
        "site_level": (sites,),
        "retrospective_site_bias": (sizes["retrospective_site"],),
        **_linear_shapes(design, _further(per_site=True)),
    }
    blocks, start = {}, len(SCALARS)
    for name, shape in shapes.items():
        blocks[name] = Block(start, shape)
        start = blocks[name].stop
    return blocks


_NAMED = (
    *("national_curve", "season", "seam", "wave_effect"),
    *("site_drift", "site_curve", "site_deviation"),
)


def _further(*, per_site: bool) -> tuple[str, ...]:
    """Linear terms and scales that have no fixed place: shared ones, or those of sites.

    A scale is shared whatever it multiplies.
    """
    own = [b.name for b in LINEAR if b.name not in (*_NAMED, *REAL) and b.per_site == per_site]
    return (*own, *(() if per_site else further_scales()))


def _linear_shapes(design: Design, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of terms by name, and of scales: (0,) where there are no coefficients."""
    by_name = {block.name: block for block in LINEAR}
    shapes = {}
    for name in names:
        if name in by_name:
            shapes[name] = _linear_shape(design, by_name[name])
        else:
            scaled = [block for block, prior in learned_scales() if prior.slot == name]
            size = sum(int(np.prod(_linear_shape(design, block))) for block in scaled)
            shapes[name] = () if size else (0,)
    return shapes


def _linear_shape(design: Design, block: LinearBlock) -> tuple[int, ...]:
    columns = tuple(len(design.coords[dim]) for dim in block.dims)
    sites = len(design.coords["site"])
    if block.per_site:
        return (*columns, sites - 1 if block.zero_sum else sites)
    if not columns:
        # one coefficient outside the scalars is there where its scale is
        return () if np.any(fixed_scale(block, design)[1]) else (0,)
    return (max(columns[0] - 1, 0),) if block.zero_sum else columns


def scalar_places(design: Design) -> dict[str, int]:
    """Place of every scalar of the vector: those that all vectors have, then further scales."""
    places = {name: i for i, name in enumerate(SCALARS)}
    blocks = layout(design)
    return places | {
        slot: blocks[slot].start for slot in further_scales() if blocks[slot].shape == ()
    }


def further_scales() -> tuple[str, ...]:
    """Prior slots of learned scales that only vectors with their terms have."""
    slots = dict.fromkeys(prior.slot for _, prior in learned_scales())
    return tuple(slot for slot in slots if slot not in POSITIVE)


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
    positive = {name: i for name, i in scalar_places(design).items() if name not in REAL}
    out |= {name: np.exp(x[..., i]) for name, i in positive.items()}
    raw = {
        name: x[..., block.start : block.stop].reshape((*x.shape[:-1], *block.shape))
        for name, block in blocks.items()
    }
    for name in MULTIPLIERS:
        out[name] = out[name] * design[f"{name}_sd"]
    for block in LINEAR:
        if block.name in REAL:
            continue
        columns = [len(design.coords[dim]) for dim in block.dims]
        if 0 in columns or (not block.variable_dims and raw[block.name].shape[-1:] == (0,)):
            if block.name in _NAMED:
                # empty, and so not stored
                out[block.name] = raw[block.name]
            continue
        z = extend_zero_sum(raw[block.name]) if block.zero_sum else raw[block.name]
        out[block.name] = fixed_scale(block, design)[0] + scale(block, out, design) * z
    out["stage_level"] = raw["stage_level"]
    out["stage_site"] = out["stage_site_sd"][..., None] * raw["stage_site"]
    out["mix_share"] = simplex(raw["mix_share"])
    out["mix_effect"] = out["mix_effect_sd"][..., None] * extend_zero_sum(raw["mix_effect"])
    out["retrospective_site_bias"] = (
        out["retrospective_bias"][..., None]
        + out["retrospective_bias_sd"][..., None] * raw["retrospective_site_bias"]
    )
    out["site_effect"] = site_effect(out, design)
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
        + site_effect_part(values, design)
        + (composition * values["mix_effect"][..., None, :]).sum(axis=-1)
    )


def _anchor(values: Mapping[str, np.ndarray], design: Design) -> np.ndarray:
    """Mean of the rest of a site's predictor over its observed cells, shape (..., S)."""
    weight, event = design["site_weight"], design["event_time"]
    half = float(design["half_period"])
    built = shape_means(RAMP, values[RAMP.months], weight, event, half) * values["site_effect"]
    if np.any(values["pulse"]):
        passing = shape_means(PULSE, values[PULSE.months], weight, event, half)
        built = built + passing * values["pulse"][..., None]
    return np.asarray(mean_part(values, design, weight) + built)


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
    for name, place in scalar_places(design).items():
        if name not in REAL:
            x[place] = np.log(values[name])
    log_share = np.log(values["mix_share"])
    raw = {
        **{b.name: _coordinates(b, values, design) for b in LINEAR if b.name not in REAL},
        "stage_level": values["stage_level"],
        "stage_site": values["stage_site"] / values["stage_site_sd"],
        "mix_share": (log_share - log_share.mean(axis=-1, keepdims=True))[..., :-1],
        "mix_effect": _reduce_zero_sum(values["mix_effect"] / values["mix_effect_sd"]),
        "site_level": values["site_level"] + _anchor(values, design),
        "retrospective_site_bias": (
            values["retrospective_site_bias"] - values["retrospective_bias"]
        )
        / values["retrospective_bias_sd"],
    }
    for name, block in layout(design).items():
        if name in raw:
            x[block.start : block.stop] = np.ravel(raw[name])
    return x


def _coordinates(
    block: LinearBlock, values: Mapping[str, np.ndarray], design: Design
) -> np.ndarray:
    """Coordinates of a term's coefficients; 0 where a fixed scale of 0 leaves none to read."""
    if block.name not in values:
        return np.zeros(0)
    size = np.asarray(scale(block, values, design))
    z = (values[block.name] - fixed_scale(block, design)[0]) / np.where(size > 0, size, 1.0)
    return _reduce_zero_sum(z) if block.zero_sum else z


def _reduce_zero_sum(z: np.ndarray) -> np.ndarray:
    n = z.shape[-1]
    last = z[..., -1:]
    norm = -last * np.sqrt(n) / (np.sqrt(n) + n)
    return np.asarray(z[..., :-1] + norm)
