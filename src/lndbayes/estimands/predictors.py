"""Linear predictors of a fit's draws, from which estimands, checks and predictions are made."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.fitting.metadata import metadata
from lndbayes.model.shown import live_cells, whole_event_time
from lndbayes.model.surface import linear_predictors, untreated

__all__ = ["predictors", "untreated_level", "untreated_predictor"]

_DIMS = (*SAMPLE_DIMS, "site", "month")


def predictors(
    fit: xr.DataTree, draws: slice = slice(None), months: slice = slice(None)
) -> xr.Dataset:
    """Linear predictors without (``eta0``) and with the service (``eta1``).

    A step in recording or case-mix at go-live is a bias: it is no part of ``eta1`` here.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    draws, months : slice
        Positions along ``draw`` and ``month``.

    Returns
    -------
    xarray.Dataset
        ``eta0``, ``eta1`` with dims (chain, draw, site, month), link scale.
    """
    values, arrays, coords = _parts(fit, draws, months)
    eta0, eta1 = linear_predictors(values, arrays, recorded=False)
    return xr.Dataset({"eta0": (_DIMS, eta0), "eta1": (_DIMS, eta1)}, coords=coords)


def untreated_predictor(
    fit: xr.DataTree, draws: slice = slice(None), months: slice = slice(None)
) -> xr.DataArray:
    """``eta0`` of `predictors` alone, in half of the time.

    Parameters
    ----------
    fit, draws, months
        See `predictors`.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, site, month), link scale.
    """
    values, arrays, coords = _parts(fit, draws, months)
    return xr.DataArray(untreated(values, arrays), dims=_DIMS, coords=coords, name="eta0")


def untreated_level(tree: xr.DataTree) -> xr.DataArray:
    """Mean untreated predictor of each site over the 12 months before the first go-live.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, site), link scale.
    """
    data = tree["constant_data"].to_dataset()
    event, step = data["event_time"].to_numpy(), metadata(tree).step
    started = live_cells(event).any(axis=0)
    first = int(np.argmax(started)) if started.any() else event.shape[1]
    window = slice(max(first - 12 // step, 0), max(first, 1))
    return untreated_predictor(tree, months=window).mean("month", skipna=False)


def _parts(
    fit: xr.DataTree, draws: slice, months: slice
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, xr.DataArray]]:
    """Values of the draws, the design's arrays, and the coordinates of what is made of them."""
    posterior = fit["posterior"].to_dataset().isel(draw=draws)
    constants = fit["constant_data"].to_dataset().isel(month=months)
    values, arrays = (
        {str(k): v.to_numpy() for k, v in ds.data_vars.items()} for ds in (posterior, constants)
    )
    arrays["event_time"] = whole_event_time(arrays["event_time"])
    coords = {dim: posterior[dim] for dim in (*SAMPLE_DIMS, "site")} | {"month": constants["month"]}
    return values, arrays, coords
