"""What an effect owes to biases that data cannot show: its change per unit of each."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.estimands.effects import pooled_effect, site_effects
from lndbayes.estimands.treated import Window

__all__ = ["leverages", "window_leverages"]


def window_leverages(fit: xr.DataTree, window: Window) -> xr.Dataset:
    """`leverages` of the pooled effect, and as ``site_*`` (treated_site) of every site's effect."""
    pooled = leverages(fit, pooled_effect(fit, "link", window))
    by_site = leverages(fit, site_effects(fit, "link", window, withheld=False))
    names = {str(k): f"site_{k}" for k in by_site.data_vars}
    return pooled.merge(by_site.rename({**names, "site": "treated_site"}))


def leverages(fit: xr.DataTree, effects: xr.DataArray) -> xr.Dataset:
    """Change in an effect per unit of level bias and of drift.

    From a fit whose ``shared_bias_sd`` and ``drift_sd`` are above 0: the regression of the effect's
    draws on the draws of the two bias terms.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit with both sensitivity terms switched on.
    effects : xarray.DataArray
        Draws of that fit, dims (chain, draw) or (chain, draw, site).

    Returns
    -------
    xarray.Dataset
        ``leverage_level_bias`` (link units per link unit) and ``leverage_drift`` (link units per
        link unit a year), dims of `effects` without the sample dims.
    """
    posterior = fit["posterior"].to_dataset()
    bias, drift = (posterior[k].to_numpy().ravel() for k in ("shared_bias", "drift"))
    if bias.std() == 0 or drift.std() == 0:
        raise ValueError("leverages need a fit with shared_bias_sd and drift_sd above 0")
    flat = effects.transpose(*SAMPLE_DIMS, ...).to_numpy().reshape(bias.size, -1)
    slopes = np.linalg.lstsq(np.column_stack([np.ones_like(bias), bias, drift]), flat)[0]
    coords = {d: effects[d] for d in effects.dims if d not in SAMPLE_DIMS}
    rest, shape = list(coords), [effects.sizes[d] for d in coords]
    return xr.Dataset(
        {
            "leverage_level_bias": (rest, slopes[1].reshape(shape)),
            "leverage_drift": (rest, slopes[2].reshape(shape)),
        },
        coords=coords,
    )
