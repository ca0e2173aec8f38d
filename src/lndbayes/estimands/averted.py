"""Events averted in the months that happened: in all, through referrals, and by ordered band."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.estimands.effects import CHUNK, natural, weighted_change, with_unit
from lndbayes.estimands.identification import unidentified_sites
from lndbayes.estimands.predictors import predictors
from lndbayes.estimands.treated import treated_sites
from lndbayes.fitting.metadata import metadata
from lndbayes.model.shown import live_cells
from lndbayes.model.surface import stage_predictors
from lndbayes.spec.families import FAMILIES, inverse

__all__ = ["averted_by_band", "events_averted"]


def events_averted(fit: xr.DataTree, exposure_fit: xr.DataTree | None = None) -> xr.DataArray:
    """Events averted in the months that happened (E6): expected without minus with the service.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    exposure_fit : xarray.DataTree, optional
        Fit of the outcome whose counts are this one's exposure, such as referrals of attendances:
        then the service changes the exposure too, and expected events are the product of both
        rates, draw by draw. The two likelihoods share no parameter, so that draws of separate
        fits, paired in any way, are draws of the joint posterior.

    Returns
    -------
    xarray.DataArray
        Dims (chain, draw, site), events, sites with a treated cell of their own only: the sum over
        observed months from go-live on of exposure times the difference of the two rates of the
        same draw. Draws of all these sites are there, to be summed; the attribute ``withheld``
        names those of tier D, whose rows `lndbayes.summarise` leaves empty.

    Raises
    ------
    ValueError
        If `exposure_fit` is not of the outcome that the fit's spec names, or the two fits have
        other sites or months.
    """
    if exposure_fit is not None:
        return _chained(fit, exposure_fit)
    constants = fit["constant_data"]
    event = constants["event_time"].to_numpy()
    weight = constants["exposure_all"].to_numpy() * live_cells(event)
    return _by_site(fit, 0.0 - weighted_change(fit, weight))


def _by_site(fit: xr.DataTree, averted: xr.DataArray) -> xr.DataArray:
    """Draws of the sites with an effect of their own, naming those of which none is told."""
    treated = treated_sites(fit)
    draws = with_unit(averted.isel(site=treated), metadata(fit).unit)
    hidden = unidentified_sites(fit)[treated]
    if not hidden.any():
        return draws
    return draws.assign_attrs(withheld=[str(x) for x in draws["site"].to_numpy()[hidden]])


def _chained(fit: xr.DataTree, exposure_fit: xr.DataTree) -> xr.DataArray:
    if (named_so := metadata(fit).exposure_outcome) != (other := metadata(exposure_fit).outcome):
        raise ValueError(f"the exposure is the counts of {named_so!r}, not {other!r}")
    ours, theirs = (tree["constant_data"] for tree in (fit, exposure_fit))
    if any(ours[d].to_numpy().tolist() != theirs[d].to_numpy().tolist() for d in ("site", "month")):
        raise ValueError("the two fits must have the same sites and months")
    event = theirs["event_time"].to_numpy()
    weight = theirs["exposure_all"].to_numpy() * live_cells(event)
    sizes = [tree["posterior"].sizes for tree in (fit, exposure_fit)]
    chains, draws = (min(s[d] for s in sizes) for d in SAMPLE_DIMS)
    parts = []
    for start in range(0, draws, CHUNK):
        some = slice(start, min(start + CHUNK, draws))
        rates = [
            _shift(tree) + natural(tree, eta.to_numpy()[:chains])
            for tree in (exposure_fit, fit)
            for eta in predictors(tree, some).data_vars.values()
        ]
        before, after = rates[0] * rates[2], rates[1] * rates[3]
        parts.append(((before - after) * weight).sum(axis=-1))
    posterior = fit["posterior"].to_dataset().isel(chain=slice(chains), draw=slice(draws))
    coords = {dim: posterior[dim] for dim in (*SAMPLE_DIMS, "site")}
    averted = xr.DataArray(
        np.concatenate(parts, axis=1), dims=(*SAMPLE_DIMS, "site"), coords=coords
    )
    return _by_site(fit, averted).assign_attrs(chained=1)


def _shift(fit: xr.DataTree) -> int:
    """Events that every unit of exposure has at least."""
    family = FAMILIES.get(str(fit.attrs.get("family")))
    return family.shift if family else 0


def averted_by_band(fit: xr.DataTree) -> xr.DataArray | None:
    """Events averted by ordered band, all sites together: which lengths are averted.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.

    Returns
    -------
    xarray.DataArray or None
        Dims (chain, draw, band), events; the bands add up to the total of `events_averted`, draw by
        draw. A band can be negative: where the shorter sentences are averted and the others are as
        before, or longer. None where the family has no bands of an event.
    """
    family = FAMILIES.get(str(fit.attrs.get("family")))
    if family is None or not family.free_stage_effect:
        return None
    constants = fit["constant_data"].to_dataset()
    event = constants["event_time"].to_numpy()
    weight = constants["exposure_all"].to_numpy() * live_cells(event)
    weight = weight * treated_sites(fit)[:, None]
    posterior = fit["posterior"].to_dataset()
    site, month = np.nonzero(weight)
    counted = weight[site, month]
    built = _site_sums(site, len(weight))
    # stage predictors cell by cell: each cell stands for a site with one month
    arrays = {
        "event_time": event[site, month][:, None],
        "half_period": constants["half_period"].to_numpy(),
    }
    parts = []
    for start in range(0, posterior.sizes["draw"], CHUNK):
        some = slice(start, start + CHUNK)
        eta = predictors(fit, some)
        any0, any1 = (
            inverse(family.link, eta[name].to_numpy()[..., site, month]) * counted
            for name in ("eta0", "eta1")
        )
        values = {
            name: posterior[name].isel(draw=some).transpose(*SAMPLE_DIMS, ...).to_numpy()
            for name in ("stage_level", "stage_site", "stage_effect", "ramp_months")
        }
        by_site = np.zeros((*any0.shape[:2], len(weight), 1))
        f0 = stage_predictors(values, {}, by_site, free_stage_effect=True, treated=False)
        # lengths without the service do not move from month to month
        without = _band_rates(any0 @ built, inverse(family.link, f0[..., 0, :]))
        values["stage_site"] = values["stage_site"][..., site]
        f1 = stage_predictors(values, arrays, any1[..., None], free_stage_effect=True)
        parts.append(without - _band_rates(any1, inverse(family.link, f1[..., 0, :])))
    labels = [str(x) for x in posterior["stage"].to_numpy()]
    bands = [f"below {labels[0]}", *labels]
    coords = {dim: posterior[dim] for dim in SAMPLE_DIMS} | {"band": bands}
    averted = xr.DataArray(
        np.concatenate(parts, axis=1), dims=(*SAMPLE_DIMS, "band"), coords=coords
    )
    return with_unit(averted, metadata(fit).unit)


def _site_sums(site: np.ndarray, sites: int) -> np.ndarray:
    """Matrix that adds up cells by site, (cell, site)."""
    return np.asarray(site[:, None] == np.arange(sites), dtype=float)


def _band_rates(any_band: np.ndarray, onward: np.ndarray) -> np.ndarray:
    """Events of each band, (..., K), over units' events of any band, (..., N).

    `onward`, (..., N, K - 1), are the shares that go on to the next band.
    """
    reached = np.empty((*any_band.shape[:-1], onward.shape[-1] + 1))
    still = any_band
    reached[..., 0] = still.sum(axis=-1)
    for k in range(onward.shape[-1]):
        still = still * onward[..., k]
        reached[..., k + 1] = still.sum(axis=-1)
    reached[..., :-1] -= reached[..., 1:].copy()
    return reached
