"""Estimands from stored draws: one verb per estimand, labelled draws in, labelled draws out.

Signs: an effect is with the service minus without it; events averted are without minus with.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import xarray as xr

from lndbayes.base.choices import one_of
from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.estimands.identification import unidentified_sites
from lndbayes.estimands.predictors import predictors, untreated_predictor
from lndbayes.estimands.treated import Window, asked_window, treated_cells, treated_sites
from lndbayes.fitting.metadata import metadata
from lndbayes.model.course import PULSE, RAMP, Shape, shape_means
from lndbayes.model.shown import shown_months, window_fault
from lndbayes.spec.families import LOG_RATIO, inverse

__all__ = [
    "baseline_rates",
    "course_effects",
    "effect_over",
    "mean_effect",
    "natural",
    "new_site_effect",
    "plateau_effects",
    "pooled_effect",
    "site_effects",
    "site_effects_over",
    "unit_of",
    "weighted_change",
    "window_shape",
    "with_unit",
]

Scale = Literal["link", "natural"]
Weights = Literal["equal", "referrals"]
CHUNK = 200


def _window_weights(fit: xr.DataTree, window: Window) -> np.ndarray:
    """Equal weights of the window's event months within the grid, (S, T); rows sum to 1 or 0."""
    event = fit["constant_data"]["event_time"].to_numpy()
    inside = (event >= window[0]) & (event <= window[1])
    return inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)


def window_shape(fit: xr.DataTree, window: Window) -> tuple[xr.DataArray, xr.DataArray]:
    """Means over all event months of the window of the ramp and of the pulse, (chain, draw).

    The whole window counts, also where a site's months end before it does: on the link scale the
    effect is a function of event time alone.
    """
    step = metadata(fit).step
    events = np.arange(0, window[1] + 1, step)
    events = events[events >= window[0]]
    posterior = fit["posterior"].to_dataset()
    half = float(fit["constant_data"]["half_period"])
    weight = np.full((1, events.size), 1 / events.size)

    def mean(shape: Shape) -> np.ndarray:
        months = posterior[shape.months].to_numpy()
        return shape_means(shape, months, weight, events[None, :], half)[..., 0]

    ramp = mean(RAMP)
    passing = np.zeros_like(ramp)
    if PULSE.months in posterior:
        passing = posterior["pulse"].to_numpy() * mean(PULSE)
    return xr.DataArray(ramp, dims=SAMPLE_DIMS), xr.DataArray(passing, dims=SAMPLE_DIMS)


def unit_of(fit: xr.DataTree) -> str:
    """Name the unit of effects on the link scale."""
    return LOG_RATIO[metadata(fit).link]


def natural(fit: xr.DataTree, eta: np.ndarray) -> np.ndarray:
    """Natural values of linear predictors: the inverse of the fit's link."""
    return inverse(metadata(fit).link, eta)


def site_effects(
    fit: xr.DataTree,
    scale: Scale = "link",
    window: Window | None = None,
    *,
    withheld: bool = True,
) -> xr.DataArray:
    """Mean effect at each site over a window after go-live (estimand E1).

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    scale : {"link", "natural"}
        ``link``: log odds, log rate or log hazard. ``natural``: difference of rates, averaged over
        the window's months that lie in the data's months.
    window : tuple of int, optional
        First and last event month; default the window of the fit's spec.
    withheld : bool
        Whether sites that nothing of their own identifies (tier D) are withheld: their draws are
        NaN and the attribute ``withheld`` names them. With False their draws are given: they
        describe the model and the other sites, and serve sums over all sites.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, site), sites with a treated cell of their own only; on the natural scale
        NaN where no month of the window lies in the data.

    Raises
    ------
    ValueError
        If the scale is unknown, or the data do not show the window.
    """
    one_of("scale", scale, get_args(Scale))
    window = asked_window(fit, window)
    treated = treated_sites(fit)
    if scale == "link":
        draws = with_unit(_link_effects(fit, window).isel(site=treated), unit_of(fit))
    else:
        weight = _window_weights(fit, window)
        effect = weighted_change(fit, weight)
        seen = effect.where(xr.DataArray(weight.sum(axis=1) > 0, dims="site"))
        draws = with_unit(seen.isel(site=treated), "rate difference")
    if not withheld:
        return draws
    hidden = unidentified_sites(fit)[treated]
    if not hidden.any():
        return draws
    attrs = {**draws.attrs, "withheld": [str(x) for x in draws["site"].to_numpy()[hidden]]}
    return draws.where(xr.DataArray(~hidden, dims="site")).assign_attrs(attrs)


def _link_effects(fit: xr.DataTree, window: Window) -> xr.DataArray:
    """Effect of every site over any window, link scale: also where no cell speaks of it."""
    ramp, passing = window_shape(fit, window)
    return fit["posterior"].to_dataset()["site_effect"] * ramp + passing


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


def with_unit(draws: xr.DataArray, unit: str) -> xr.DataArray:
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
    return with_unit(effect.isel(site=treated_sites(fit)), unit_of(fit))


def pooled_effect(
    fit: xr.DataTree,
    scale: Scale = "link",
    window: Window | None = None,
    weights: Weights = "equal",
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
        Their `site_effects`, where they are at hand, with none withheld.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw): the mean over all sites with a treated cell of their own, those of tier
        D among them. Sites without any window month in the data are left out on the natural scale.

    Raises
    ------
    ValueError
        If the scale or the weights are unknown, the data do not show the window, or `sites` lacks
        withheld ones.
    """
    one_of("weights", weights, get_args(Weights))
    if sites is None:
        sites = site_effects(fit, scale, window, withheld=False)
    elif sites.attrs.get("withheld"):
        raise ValueError("sites must be site_effects(..., withheld=False): the mean is over all")
    if weights == "equal":
        return _mean_over(sites, np.ones(sites.sizes["site"]))
    referrals = fit["constant_data"]["referrals"].to_numpy().sum(axis=1)
    return _mean_over(sites, referrals[treated_sites(fit)])


def _mean_over(effects: xr.DataArray, weight: np.ndarray) -> xr.DataArray:
    """Weighted mean over the sites that have draws, (chain, draw)."""
    usable = np.isfinite(effects.to_numpy()).all(axis=(0, 1))
    if (weight := np.where(usable, weight, 0.0)).sum() == 0:
        raise ValueError("no site has a window month in the data, or no referrals are recorded")
    values = np.nan_to_num(effects.to_numpy()) @ (weight / weight.sum())
    coords = {dim: effects[dim] for dim in SAMPLE_DIMS}
    return with_unit(xr.DataArray(values, dims=SAMPLE_DIMS, coords=coords), effects.attrs["unit"])


def effect_over(fit: xr.DataTree, window: Window, sites: np.ndarray) -> xr.DataArray:
    """Mean effect over given sites, link scale, whatever the fit's likelihood holds of them.

    For refits that hide treated cells: they are compared over the sites of the main fit.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    window : tuple of int
        First and last event month.
    sites : ndarray of bool, shape (S,)
        Which sites, such as `lndbayes.estimands.treated.treated_sites` of the main fit.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw).
    """
    effects = site_effects_over(fit, window, sites)
    return _mean_over(effects, np.ones(effects.sizes["site"]))


def site_effects_over(fit: xr.DataTree, window: Window, sites: np.ndarray) -> xr.DataArray:
    """Effect of each of given sites, link scale, whatever the fit's likelihood holds of them.

    Parameters
    ----------
    fit, window, sites
        See `effect_over`.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, site).
    """
    return with_unit(_link_effects(fit, window).isel(site=sites), unit_of(fit))


def mean_effect(fit: xr.DataTree, window: Window | None = None) -> xr.DataArray:
    """Mean of the population of sites that these stand for, at the mean mix (E3), link scale.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw); wider than `pooled_effect` by the sampling of sites.
    """
    posterior = fit["posterior"].to_dataset()
    ramp, passing = window_shape(fit, asked_window(fit, window))
    return with_unit(posterior["effect_mean"] * ramp + passing, unit_of(fit))


def new_site_effect(
    fit: xr.DataTree,
    mix: dict[str, float] | None = None,
    window: Window | None = None,
) -> xr.DataArray:
    """Predict the effect at a further, exchangeable site (E4), link scale.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    mix : dict of str to float, optional
        Shares of the interventions at the new site, summing to 1; default the mean mix.
    window : tuple of int, optional
        See `site_effects`.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw): mean, mix and predictive draws of wave and site deviation.
    """
    posterior = fit["posterior"].to_dataset()
    rng = np.random.default_rng([metadata(fit).seed, 28])
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
    ramp, passing = window_shape(fit, asked_window(fit, window))
    return with_unit(plateau * ramp + passing, unit_of(fit))


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
    return with_unit(
        xr.DataArray(natural(fit, eta0.to_numpy()), dims=eta0.dims, coords=eta0.coords), "rate"
    )


#: Event months over which the effect's course is told.
COURSE = ((0, 2), (3, 6), (7, 12), (13, 18), (19, 30), (31, 60))


def course_effects(fit: xr.DataTree) -> xr.DataArray:
    """Mean effect over the sites by stretches of event time, link scale: build-up and pulse.

    A stretch ends where the data do; one that they show nothing of is left out.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, window), labels such as ``"0-2"``.
    """
    event = fit["constant_data"]["event_time"].transpose("site", "month").to_numpy()
    shown, step = shown_months(event, treated_cells(fit)), metadata(fit).step
    longest = int(shown.max(initial=-1))
    sites, parts, labels = treated_sites(fit), [], []
    for first, last in ((first, min(last, longest)) for first, last in COURSE):
        if first <= last and not window_fault(shown, (first, last), step):
            parts.append(effect_over(fit, (first, last), sites))
            labels.append(f"{first}-{last}")
    if not parts:
        raise ValueError("no site has a treated month in the likelihood: there is no course")
    joined = xr.concat(parts, dim="window", coords="minimal")
    return with_unit(joined.assign_coords(window=labels), unit_of(fit))
