"""Draws and designs as labelled trees: what estimands read, whatever made the draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from lndbayes.base.names import PERIOD_MONTHS, SAMPLE_DIMS
from lndbayes.model.design import Design
from lndbayes.model.layout import inactive
from lndbayes.model.shown import NEVER
from lndbayes.spec.linear import LINEAR
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "DIMS",
    "constant_dataset",
    "draws_dataset",
    "draws_tree",
    "sample_coords",
    "spec_attributes",
]

#: Dims of every parameter beside those of draws; scalars are not listed.
DIMS: Mapping[str, tuple[str, ...]] = {
    **{block.name: block.variable_dims for block in LINEAR if block.variable_dims},
    "stage_level": ("stage",),
    "stage_site": ("site",),
    "site_level": ("site",),
    "mix_share": ("site", "intervention"),
    "mix_effect": ("intervention",),
    "site_effect": ("site",),
    "retrospective_site_bias": ("retrospective_site",),
}


def sample_coords(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Labels of chains and draws."""
    return {"chain": np.arange(shape[0]), "draw": np.arange(shape[1])}


def draws_dataset(values: Mapping[str, np.ndarray], spec: ModelSpec, design: Design) -> xr.Dataset:
    """Variables the model has: neither idle scalars nor empty arrays."""
    idle = inactive(spec)
    variables = {
        name: ((*SAMPLE_DIMS, *DIMS.get(name, ())), value)
        for name, value in values.items()
        if name not in idle and value.size
    }
    used = {dim for dims, _ in variables.values() for dim in dims}
    labels = {dim: design.coords[dim] for dim in design.coords if dim in used}
    first = next(iter(values.values()))
    return xr.Dataset(variables, coords={**sample_coords(first.shape), **labels})


def constant_dataset(design: Design) -> xr.Dataset:
    """The design's arrays with their labels; event time is NaN where the service never starts."""
    # an array without any element has nothing to say, and not every file format holds one
    variables = {
        name: (design.dims[name], value) for name, value in design.arrays.items() if value.size
    }
    labels = {
        dim: design.coords[dim]
        for dim in design.coords
        if any(dim in dims for dims, _ in variables.values())
    }
    data = xr.Dataset(variables, coords=labels)
    event = data["event_time"].astype(float)
    data["event_time"] = event.where(event > NEVER)
    return data


def spec_attributes(spec: ModelSpec) -> dict[str, Any]:
    """What a fit's root attributes say of its spec."""
    return {
        "outcome": spec.outcome.name,
        "label": spec.outcome.label,
        "family": spec.likelihood.family,
        "link": spec.family.link,
        "exposure_outcome": spec.outcome.exposure_outcome,
        "selected": int(spec.outcome.selected),
        "unit": spec.outcome.event,
        "trials": spec.outcome.trials,
        "good_direction": spec.outcome.good_direction,
        "spec_text": spec.canonical(),
        "spec_hash": spec.hash,
        "seed": spec.sampling.seed,
    }


def draws_tree(values: Mapping[str, np.ndarray], spec: ModelSpec, design: Design) -> xr.DataTree:
    """Make of constrained values a tree from which every estimand can be had.

    Parameters
    ----------
    values : mapping of str to ndarray
        As `lndbayes.model.layout.constrain` returns, with leading sample dims (chain, draw).
    spec : ModelSpec
        The spec.
    design : Design
        The design.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior`` and ``constant_data`` and the attributes of a fit that are the spec's.
    """
    groups = {
        "/posterior": draws_dataset(values, spec, design),
        "/constant_data": constant_dataset(design),
    }
    tree = xr.DataTree.from_dict(groups)
    step = round(2 * float(design["half_period"]))
    (period,) = [name for name, months in PERIOD_MONTHS.items() if months == step]
    tree.attrs = {**spec_attributes(spec), "period": period}
    return tree
