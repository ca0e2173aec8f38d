"""What a second stage takes the prior of a fit by: effects less their conditional prior means."""

from __future__ import annotations

import xarray as xr

from lndbayes.estimands.effects import unit_of, window_shape, with_unit
from lndbayes.estimands.treated import Window, asked_window, treated_sites

__all__ = ["ramp_mean", "site_deviations"]


def ramp_mean(fit: xr.DataTree, window: Window | None = None) -> xr.DataArray:
    """Mean of the ramp over a window: what a plateau is multiplied by, (chain, draw).

    A pulse is no part of it: it is not what differs between sites, nor does the prior of the
    plateau reach it.
    """
    return window_shape(fit, asked_window(fit, window))[0]


def site_deviations(
    fit: xr.DataTree, window: Window | None = None
) -> tuple[xr.DataArray, xr.DataArray]:
    """Site effects over a window less their conditional prior mean, and their conditional prior sd.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    window : tuple of int, optional
        See `site_effects`.

    Returns
    -------
    deviations : xarray.DataArray
        Dims (chain, draw, site), link scale; sites with a treated cell of their own.
    sd : xarray.DataArray
        Dims (chain, draw).
    """
    posterior, ramp = fit["posterior"].to_dataset(), ramp_mean(fit, window)
    deviations = (posterior["site_deviation"] * ramp).isel(site=treated_sites(fit))
    sd = posterior["site_effect_sd"] * ramp
    return with_unit(deviations, unit_of(fit)), with_unit(sd, unit_of(fit))
