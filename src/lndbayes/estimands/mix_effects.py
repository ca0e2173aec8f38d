"""How a site's effect differs with its mix of interventions (E5): no effect of receiving one."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lndbayes.estimands.effects import unit_of, window_shape, with_unit
from lndbayes.estimands.treated import Window, asked_window, treated_sites

__all__ = ["component_effects", "mix_is_told", "substitution_effects"]


def mix_is_told(fit: xr.DataTree) -> bool:
    """Whether sites can be compared by their mix: two or more effects, of different known mixes.

    Only sites with a treated cell of their own have an effect. Without a comparison what is said of
    the mix is its prior.
    """
    count = fit["constant_data"]["mix_count"].transpose("site", "intervention").to_numpy()
    known = count[treated_sites(fit) & (count.sum(axis=1) > 0)]
    share = known / known.sum(axis=1, keepdims=True)
    return bool(np.ptp(share, axis=0).max() > 0) if len(known) else False


def component_effects(fit: xr.DataTree, window: Window | None = None) -> xr.DataArray:
    """Difference in a site's effect per 10 points more of one intervention, link scale (E5).

    The 10 percentage points are taken from all other interventions in proportion to the mean mix.
    This is effect modification by mix across sites, not the causal effect of receiving the
    intervention.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, intervention).
    """
    posterior = fit["posterior"].to_dataset()
    centre = fit["constant_data"]["mix_centre"]
    ramp, _ = window_shape(fit, asked_window(fit, window))
    mean = (centre * posterior["mix_effect"]).sum("intervention")
    slope = (posterior["mix_effect"] - mean) / (1 - centre).clip(min=1e-12)
    return with_unit(0.1 * slope * ramp, f"{unit_of(fit)} per 10 percentage points")


def substitution_effects(fit: xr.DataTree, window: Window | None = None) -> xr.DataArray:
    """Difference in a site's effect when 10 points move from one intervention to another.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, intervention); labels ``"a -> b"``, every unordered pair once.
    """
    posterior = fit["posterior"].to_dataset()
    labels = [str(x) for x in posterior["intervention"].to_numpy()]
    ramp, _ = window_shape(fit, asked_window(fit, window))
    effect = posterior["mix_effect"]
    pairs = [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]
    parts = [
        0.1 * ramp * (effect.sel(intervention=b, drop=True) - effect.sel(intervention=a, drop=True))
        for a, b in pairs
    ]
    if not parts:
        return with_unit((effect * ramp).isel(intervention=slice(0, 0)), unit_of(fit))
    joined = xr.concat(parts, dim="intervention", coords="minimal")
    joined = joined.assign_coords(intervention=[f"{a} -> {b}" for a, b in pairs])
    return with_unit(joined, f"{unit_of(fit)} per 10 percentage points")
