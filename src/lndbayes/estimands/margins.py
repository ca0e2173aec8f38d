"""Which effects count as none: a margin in events per 1,000 exposed, on the link scale."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.estimands.effects import natural, with_unit
from lndbayes.estimands.predictors import untreated_predictor
from lndbayes.estimands.treated import Window, asked_window, treated_sites
from lndbayes.spec.families import forward

__all__ = ["link_margins", "untreated_rate"]


def link_margins(link: str, rate: float, per_1000: float) -> tuple[float, float]:
    """Turn a margin in events per 1,000 exposed into margins of the effect on the link scale.

    Parameters
    ----------
    link : {"logit", "log", "cloglog"}
        The family's link ``h``.
    rate : float
        Untreated rate ``p``: events per one exposed.
    per_1000 : float
        Margin ``m``.

    Returns
    -------
    tuple of float
        ``h(p - m / 1000) - h(p)`` and ``h(p + m / 1000) - h(p)``: not symmetric. Minus infinity
        where the whole rate is within the margin, infinity where all that a share could gain is.
    """
    size = per_1000 / 1000
    ends = np.array([max(rate - size, 0.0), rate, rate + size])
    if link != "log":
        ends = np.minimum(ends, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, middle, high = forward(link, ends)
    below = float(low - middle) if np.isfinite(low) and np.isfinite(middle) else -np.inf
    above = float(high - middle) if np.isfinite(high) and np.isfinite(middle) else np.inf
    return below, above


def untreated_rate(
    fit: xr.DataTree, window: Window | None = None, *, draws: int = 1000
) -> xr.DataArray:
    """Mean rate without the service over the window, at the sites with an effect of their own.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    window : tuple of int, optional
        First and last event month; default the window of the fit's spec. Its months that lie in
        the data's months count.
    draws : int
        About how many draws to keep over all chains; a mean needs no more.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw): equal weights for the sites that have a month of the window, and for a
        site's months, as in the pooled effect on the natural scale.

    Raises
    ------
    ValueError
        If the data do not show the window.
    """
    first, last = asked_window(fit, window)
    event = fit["constant_data"]["event_time"].transpose("site", "month").to_numpy()
    inside = (event >= first) & (event <= last) & treated_sites(fit)[:, None]
    weight = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    used = np.flatnonzero(inside.any(axis=0))
    months = slice(used[0], used[-1] + 1)
    posterior = fit["posterior"]
    step = max(1, posterior.sizes["draw"] * posterior.sizes["chain"] // draws)
    eta0 = untreated_predictor(fit, slice(None, None, step), months)
    rate = (natural(fit, eta0.to_numpy()) * weight[:, months]).sum(axis=(-2, -1)) / weight.sum()
    coords = {dim: eta0[dim] for dim in SAMPLE_DIMS}
    return with_unit(xr.DataArray(rate, dims=SAMPLE_DIMS, coords=coords), "rate")
