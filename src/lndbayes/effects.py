"""Estimands from stored draws: one verb per estimand, labelled draws in, labelled draws out.

Signs: an effect is with the service minus without it; events averted are without minus with.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from lndbayes.families import LOG_RATIO, inverse
from lndbayes.model.course import pulse_means, ramp_means
from lndbayes.names import EFFECT_WINDOW, PERIOD_MONTHS, SAMPLE_DIMS
from lndbayes.predictors import predictors, untreated_predictor

__all__ = [
    "baseline_rates",
    "component_effects",
    "course_effects",
    "leverages",
    "mean_effect",
    "named",
    "natural",
    "new_site_effect",
    "plateau_effects",
    "pooled_effect",
    "site_effects",
    "substitution_effects",
    "weighted_change",
]

Scale = Literal["link", "natural"]
CHUNK = 200


def treated_sites(fit: xr.DataTree) -> np.ndarray:
    """Return which sites ever go live, bool, shape (S,)."""
    return np.isfinite(fit["constant_data"]["event_time"].to_numpy()).any(axis=1)


def _window_weights(fit: xr.DataTree, window: tuple[int, int]) -> np.ndarray:
    """Equal weights of the window's event months within the grid, (S, T); rows sum to 1 or 0."""
    event = fit["constant_data"]["event_time"].to_numpy()
    inside = (event >= window[0]) & (event <= window[1])
    return inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)


def _window_shape(fit: xr.DataTree, window: tuple[int, int]) -> tuple[xr.DataArray, xr.DataArray]:
    """Means over all event months of the window of the ramp and of the pulse, (chain, draw).

    The whole window counts, also where a site's months end before it does: on the link scale the
    effect is a function of event time alone.
    """
    step = PERIOD_MONTHS[fit.attrs["period"]]
    events = np.arange(0, window[1] + 1, step)
    events = events[events >= window[0]]
    if events.size == 0:
        raise ValueError(f"no {fit.attrs['period']} starts in the window {window}")
    posterior = fit["posterior"].to_dataset()
    half = float(fit["constant_data"]["half_period"])
    weight = np.full((1, events.size), 1 / events.size)
    ramp = ramp_means(posterior["ramp_months"].to_numpy(), weight, events[None, :], half)[..., 0]
    passing = np.zeros_like(ramp)
    if "pulse_months" in posterior:
        values = {name: posterior[name].to_numpy() for name in ("pulse", "pulse_months")}
        passing = pulse_means(values, weight, events[None, :], half)[..., 0]
    return xr.DataArray(ramp, dims=SAMPLE_DIMS), xr.DataArray(passing, dims=SAMPLE_DIMS)


def _unit(fit: xr.DataTree) -> str:
    return LOG_RATIO[str(fit.attrs.get("link", "logit"))]


def natural(fit: xr.DataTree, eta: np.ndarray) -> np.ndarray:
    """Natural values of linear predictors: the inverse of the fit's link."""
    return inverse(str(fit.attrs.get("link", "logit")), eta)


def site_effects(
    fit: xr.DataTree, scale: Scale = "link", window: tuple[int, int] = EFFECT_WINDOW
) -> xr.DataArray:
    """Mean effect at each site over a window after go-live (estimand E1).

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    scale : {"link", "natural"}
        ``link``: log odds, log rate or log hazard. ``natural``: difference of rates, averaged over
        the window's months that lie in the data's months.
    window : tuple of int
        First and last event month.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, site), sites that go live only; on the natural scale NaN where no month
        of the window lies in the data.
    """
    treated = treated_sites(fit)
    posterior = fit["posterior"].to_dataset()
    if scale == "link":
        ramp, passing = _window_shape(fit, window)
        effect = posterior["site_effect"] * ramp + passing
        return named(effect.isel(site=treated), _unit(fit))
    if scale != "natural":
        raise ValueError("scale must be 'link' or 'natural'")
    weight = _window_weights(fit, window)
    effect = weighted_change(fit, weight)
    seen = effect.where(xr.DataArray(weight.sum(axis=1) > 0, dims="site"))
    return named(seen.isel(site=treated), "rate difference")


def weighted_change(fit: xr.DataTree, weight: np.ndarray) -> xr.DataArray:
    """Sum over months of a weight times what the service changes of the rate.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    weight : ndarray, shape (S, T)
        Months that have none at any site are not computed.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, site). Made in chunks of draws, to bound memory.
    """
    posterior = fit["posterior"].to_dataset()
    used = np.flatnonzero(weight.any(axis=0))
    months = slice(used[0], used[-1] + 1) if used.size else slice(0)
    parts = []
    for start in range(0, posterior.sizes["draw"], CHUNK):
        eta = predictors(fit, slice(start, start + CHUNK), months)
        p0, p1 = (natural(fit, eta[name].to_numpy()) for name in ("eta0", "eta1"))
        parts.append(((p1 - p0) * weight[:, months]).sum(axis=-1))
    dims = (*SAMPLE_DIMS, "site")
    coords = {dim: posterior[dim] for dim in dims}
    return xr.DataArray(np.concatenate(parts, axis=1), dims=dims, coords=coords)


def named(draws: xr.DataArray, unit: str) -> xr.DataArray:
    """Return draws with sample dims first and their unit as the only attribute."""
    draws = draws.transpose(*SAMPLE_DIMS, ...)
    draws.attrs = {"unit": unit}
    return draws


def plateau_effects(fit: xr.DataTree) -> xr.DataArray:
    """Limit of the ramp at each site (E1'): secondary, it extrapolates the ramp's shape.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, site), link scale.
    """
    effect = fit["posterior"].to_dataset()["site_effect"]
    return named(effect.isel(site=treated_sites(fit)), _unit(fit))


def pooled_effect(
    fit: xr.DataTree,
    scale: Scale = "link",
    window: tuple[int, int] = EFFECT_WINDOW,
    weights: Literal["equal", "referrals"] = "equal",
    *,
    sites: xr.DataArray | None = None,
) -> xr.DataArray:
    """Mean effect over the evaluation's own sites (E2, finite population).

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    scale, window
        See `site_effects`.
    weights : {"equal", "referrals"}
        Sites count alike, or in proportion to their referrals.
    sites : xarray.DataArray, optional
        Their `site_effects`, where they are at hand.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw). Sites without any window month in the data are left out on the natural
        scale.
    """
    effects = site_effects(fit, scale, window) if sites is None else sites
    referrals = fit["constant_data"]["referrals"].to_numpy().sum(axis=1)[treated_sites(fit)]
    weight = np.ones(effects.sizes["site"]) if weights == "equal" else referrals
    usable = np.isfinite(effects.to_numpy()).all(axis=(0, 1))
    if (weight := np.where(usable, weight, 0.0)).sum() == 0:
        raise ValueError("no site has a window month in the data, or no referrals are recorded")
    values = np.nan_to_num(effects.to_numpy()) @ (weight / weight.sum())
    coords = {dim: effects[dim] for dim in SAMPLE_DIMS}
    return named(xr.DataArray(values, dims=SAMPLE_DIMS, coords=coords), effects.attrs["unit"])


def mean_effect(fit: xr.DataTree, window: tuple[int, int] = EFFECT_WINDOW) -> xr.DataArray:
    """Mean of the population of sites that these stand for, at the mean mix (E3), link scale.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw); wider than `pooled_effect` by the sampling of sites.
    """
    posterior = fit["posterior"].to_dataset()
    ramp, passing = _window_shape(fit, window)
    return named(posterior["effect_mean"] * ramp + passing, _unit(fit))


def new_site_effect(
    fit: xr.DataTree,
    mix: dict[str, float] | None = None,
    window: tuple[int, int] = EFFECT_WINDOW,
) -> xr.DataArray:
    """Predict the effect at a further, exchangeable site (E4), link scale.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    mix : dict of str to float, optional
        Shares of the interventions at the new site, summing to 1; default the mean mix.
    window : tuple of int
        Event months.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw): mean, mix and predictive draws of wave and site deviation.
    """
    posterior = fit["posterior"].to_dataset()
    rng = np.random.default_rng([int(fit.attrs["seed"]), 28])
    shape = tuple(posterior.sizes[dim] for dim in SAMPLE_DIMS)
    plateau = posterior["effect_mean"] + posterior["site_effect_sd"] * xr.DataArray(
        rng.normal(size=shape), dims=SAMPLE_DIMS
    )
    wave_sd = float(fit["constant_data"]["wave_sd"])
    waves = posterior.sizes["wave"]
    # a wave effect is a standard normal less the waves' mean: its variance is 1 - 1/W
    spread = wave_sd * np.sqrt(1 - 1 / waves)
    plateau = plateau + spread * xr.DataArray(rng.normal(size=shape), dims=SAMPLE_DIMS)
    if mix is not None:
        labels = [str(x) for x in posterior["intervention"].to_numpy()]
        if set(mix) != set(labels) or abs(sum(mix.values()) - 1) > 1e-6:
            raise ValueError(f"mix must give shares that sum to 1 for exactly {', '.join(labels)}")
        centre = fit["constant_data"]["mix_centre"]
        shares = xr.DataArray([mix[k] for k in labels], dims="intervention")
        plateau = plateau + ((shares - centre) * posterior["mix_effect"]).sum("intervention")
    ramp, passing = _window_shape(fit, window)
    return named(plateau * ramp + passing, _unit(fit))


def component_effects(fit: xr.DataTree, window: tuple[int, int] = EFFECT_WINDOW) -> xr.DataArray:
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
    ramp, _ = _window_shape(fit, window)
    mean = (centre * posterior["mix_effect"]).sum("intervention")
    slope = (posterior["mix_effect"] - mean) / (1 - centre).clip(min=1e-12)
    return named(0.1 * slope * ramp, f"{_unit(fit)} per 10 percentage points")


def substitution_effects(fit: xr.DataTree, window: tuple[int, int] = EFFECT_WINDOW) -> xr.DataArray:
    """Difference in a site's effect when 10 points move from one intervention to another.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, intervention); labels ``"a -> b"``, every unordered pair once.
    """
    posterior = fit["posterior"].to_dataset()
    labels = [str(x) for x in posterior["intervention"].to_numpy()]
    ramp, _ = _window_shape(fit, window)
    effect = posterior["mix_effect"]
    pairs = [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]
    parts = [
        0.1 * ramp * (effect.sel(intervention=b, drop=True) - effect.sel(intervention=a, drop=True))
        for a, b in pairs
    ]
    if not parts:
        return named((effect * ramp).isel(intervention=slice(0, 0)), _unit(fit))
    joined = xr.concat(parts, dim="intervention", coords="minimal")
    joined = joined.assign_coords(intervention=[f"{a} -> {b}" for a, b in pairs])
    return named(joined, f"{_unit(fit)} per 10 percentage points")


def baseline_rates(fit: xr.DataTree, draws: int = 1000) -> xr.DataArray:
    """Rate without the service in every month: the reconstructed baseline.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    draws : int
        About how many draws to keep over all chains; bands need no more.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, site, month), rate.
    """
    posterior = fit["posterior"]
    step = max(1, posterior.sizes["draw"] * posterior.sizes["chain"] // draws)
    eta0 = untreated_predictor(fit, slice(None, None, step))
    return named(
        xr.DataArray(natural(fit, eta0.to_numpy()), dims=eta0.dims, coords=eta0.coords), "rate"
    )


#: Event months over which the effect's course is told.
COURSE = ((0, 2), (3, 6), (7, 12), (13, 18), (19, 30), (31, 60))


def course_effects(fit: xr.DataTree) -> xr.DataArray:
    """Mean effect over the sites by stretches of event time, link scale: build-up and pulse.

    Stretches that begin after the longest follow-up are left out.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, window), labels such as ``"0-2"``.
    """
    longest = np.nanmax(fit["constant_data"]["event_time"].to_numpy())
    step = PERIOD_MONTHS[fit.attrs["period"]]
    parts, labels = [], []
    for first, last in COURSE:
        if first <= longest and -(-first // step) * step <= last:
            parts.append(pooled_effect(fit, "link", (first, last)))
            labels.append(f"{first}-{last}")
    joined = xr.concat(parts, dim="window", coords="minimal")
    return named(joined.assign_coords(window=labels), _unit(fit))


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
