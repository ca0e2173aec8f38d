"""What is kept of a fit that others are compared with: its effect, its levels, and little more."""

from __future__ import annotations

from enum import StrEnum

import arviz as az
import numpy as np
import xarray as xr

from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.estimands.effects import effect_over, site_effects_over
from lndbayes.estimands.leverages import window_leverages
from lndbayes.estimands.predictors import untreated_level, untreated_predictor
from lndbayes.estimands.treated import Window, treated_sites
from lndbayes.fitting.metadata import metadata

__all__ = ["BASELINES", "Keep", "effective", "kept_draws", "kept_of"]

#: Whole baselines that are kept where they are asked for.
BASELINES = 80


class Keep(StrEnum):
    """What is kept of a refit beside its pooled effect and levels."""

    #: Draws of the two biases, and the leverages of each on the effects.
    BIASES = "biases"
    #: A few whole baselines with the cells' dispersion.
    BASELINES = "baselines"
    #: Draws of each site's effect, and how many months of its own speak of it.
    SITES = "sites"


def kept_draws(tree: xr.DataTree, window: Window, sites: np.ndarray | None = None) -> xr.Dataset:
    """Draws that sensitivity and attribution need: pooled effect and untreated levels.

    `sites`, bool (S,), are those to pool over; default, those with a treated cell in `tree`. A
    refit that hides treated cells is still about the sites of the main fit.
    """
    pooled = effect_over(tree, window, treated_sites(tree) if sites is None else sites)
    return xr.Dataset({"pooled": pooled, "level": untreated_level(tree)})


def kept_of(
    tree: xr.DataTree, window: Window, keep: Keep | None, sites: np.ndarray | None = None
) -> xr.Dataset:
    """`kept_draws` with their effective draws, the divergent transitions, and what is asked for."""
    kept = kept_draws(tree, window, sites)
    if keep is Keep.BIASES:
        biases = tree["posterior"].to_dataset()[["shared_bias", "drift"]]
        kept = kept.merge(window_leverages(tree, window)).merge(biases)
    if keep is Keep.BASELINES:
        kept = kept.merge(_baselines(tree))
    if keep is Keep.SITES:
        kept = kept.merge(_sites(tree, window))
    divergences = int(tree["sample_stats"]["diverging"].to_numpy().sum())
    return kept.assign(effective(kept)).assign_attrs(divergences=divergences)


def effective(kept: xr.Dataset) -> dict[str, xr.DataArray]:
    """Effective draws of the pooled effect and of each site's level, which shares depend on."""
    found = az.ess(kept[["pooled", "level"]])
    return {f"{name}_ess": found[name] for name in ("pooled", "level")}


def _sites(tree: xr.DataTree, window: Window) -> xr.Dataset:
    """Effects of the sites with a treated cell, with their go-lives and months on either side."""
    treated, data = treated_sites(tree), tree["constant_data"].to_dataset()
    event = data["event_time"].transpose("site", "month").to_numpy()[treated]
    used = data["site_weight"].transpose("site", "month").to_numpy()[treated] > 0
    step, months = metadata(tree).step, data["month"].to_numpy()
    effect = site_effects_over(tree, window, treated).rename(site="effect_site")
    of_site = {
        "months_before": (used & (event < 0)).sum(axis=1) * step,
        "months_after": (used & (event >= 0)).sum(axis=1) * step,
        "go_live": months[(event >= 0).argmax(axis=1)].astype(str),
    }
    return xr.Dataset({"effect": effect, **{k: ("effect_site", v) for k, v in of_site.items()}})


def _baselines(tree: xr.DataTree) -> xr.Dataset:
    """A few whole baselines, evenly spaced over all draws, with the cells' dispersion."""
    posterior = tree["posterior"].to_dataset()
    chains, draws = (posterior.sizes[dim] for dim in SAMPLE_DIMS)
    flat = np.linspace(0, chains * draws - 1, min(BASELINES, chains * draws)).astype(int)
    eta0 = untreated_predictor(tree).to_numpy()
    kept: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "eta0": (("baseline", "site", "month"), eta0.reshape(-1, *eta0.shape[2:])[flat])
    }
    for name in ("concentration", "person_dispersion"):
        if name in posterior:
            values = posterior[name].transpose(*SAMPLE_DIMS).to_numpy().ravel()[flat]
            kept[name] = (("baseline",), values)
    return xr.Dataset(kept, coords={"month": tree["constant_data"]["month"].to_numpy()})
