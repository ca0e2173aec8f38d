"""What identifies each site's baseline: tiers A to D, and the share that comparison identifies."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lndbayes.base.names import TIER_A_MONTHS
from lndbayes.base.vocabulary import Tier
from lndbayes.estimands.treated import Window, asked_window, treated_sites
from lndbayes.fitting.metadata import metadata
from lndbayes.model.channels import OFF_SD
from lndbayes.model.shown import live_cells

__all__ = [
    "TIERS",
    "has_evidence",
    "identified_share",
    "site_tiers",
    "unidentified_sites",
]

#: Tiers of sites that have an effect of their own, and what each says.
TIERS = {
    Tier.A: "own untreated months, and untreated sites to compare with throughout the window",
    Tier.B: "own untreated months fix the level; the trend under the window is the model's",
    Tier.C: "no own untreated month: the level rests on own records or persons' history",
    Tier.D: "no own evidence on the untreated state: no site interval",
}


def site_tiers(fit: xr.DataTree, window: Window | None = None) -> xr.DataArray:
    """Label each site by what its untreated level rests on.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit; masked months and channels that are switched off do not count as evidence.
    window : tuple of int, optional
        Event months of the estimand; default the window of the fit's spec.

    Returns
    -------
    xarray.DataArray
        Dims (site), values of `Tier`; `Tier.NO_EFFECT` for a site without a treated cell of its own
        in the likelihood: it never goes live, or not within the months that can be used.

    Raises
    ------
    ValueError
        If the data do not show the window.
    """
    window = asked_window(fit, window)
    data = fit["constant_data"].to_dataset()
    event = data["event_time"].to_numpy()
    clean = (data["site_weight"].to_numpy() > 0) & ~live_cells(event)
    own = clean.sum(axis=1) * metadata(fit).step
    untreated_sites = clean.sum(axis=0)
    treated, unidentified = treated_sites(fit), unidentified_sites(fit)
    tiers = []
    for s in range(len(event)):
        if not treated[s]:
            tiers.append(Tier.NO_EFFECT)
            continue
        in_window = (event[s] >= window[0]) & (event[s] <= window[1])
        whole = in_window.sum() > 0 and event[s].max() >= window[1]
        compared = whole and bool((untreated_sites[in_window] > 0).all())
        if own[s] >= TIER_A_MONTHS and compared:
            tiers.append(Tier.A)
        elif own[s] > 0:
            tiers.append(Tier.B)
        else:
            tiers.append(Tier.D if unidentified[s] else Tier.C)
    return xr.DataArray(tiers, dims="site", coords={"site": data["site"]})


def unidentified_sites(fit: xr.DataTree) -> np.ndarray:
    """Sites without any evidence of their own on the untreated state, bool, shape (S,).

    Where such a site has a treated cell it is of tier D, whatever the window.
    """
    data = fit["constant_data"].to_dataset()
    event = data["event_time"].to_numpy()
    own = ((data["site_weight"].to_numpy() > 0) & ~live_cells(event)).any(axis=1)
    return np.array([not (own[s] or _own_channel(data, s)) for s in range(len(own))], dtype=bool)


def _own_channel(data: xr.Dataset, site: int) -> bool:
    for channel in ("retrospective", "history"):
        # a channel without any row is not stored
        if f"{channel}_at" not in data:
            continue
        at = data[f"{channel}_at"].to_numpy()
        used = data[f"{channel}_exposure"].to_numpy() > 0
        if (used & (at[:, 0] == site)).any():
            return True
    return False


def has_evidence(fit: xr.DataTree) -> bool:
    """Whether any reconstructed evidence on the untreated rate is on and has rows."""
    data = fit["constant_data"].to_dataset()
    # a channel without any row is not stored; one that is switched off has no weight
    counted = [f"{name}_exposure" for name in ("retrospective", "history")]
    normal = [f"{name}_chol" for name in ("national", "elicited")]
    return any((data[name].to_numpy() > 0).any() for name in counted if name in data) or any(
        (np.diag(data[name].to_numpy()) < OFF_SD).any() for name in normal if name in data
    )


def identified_share(fit: xr.DataTree) -> float:
    """Share of treated exposure that comparison with untreated observations identifies.

    A cell counts if its site has an untreated observation and its month has an untreated site: the
    cells for which an imputation estimator (Borusyak, Jaravel and Spiess) exists. The rest of an
    effect is model and evidence channels. Sites without an effect of their own do not count.

    Returns
    -------
    float
        Between 0 and 1; NaN if nothing is treated.
    """
    data = fit["constant_data"].to_dataset()
    event = data["event_time"].to_numpy()
    clean = (data["site_weight"].to_numpy() > 0) & ~live_cells(event)
    treated = data["exposure_all"].to_numpy() * live_cells(event)
    treated = treated * treated_sites(fit)[:, None]
    covered = clean.any(axis=1)[:, None] & clean.any(axis=0)[None, :]
    total = treated.sum()
    return float((treated * covered).sum() / total) if total > 0 else float("nan")
