"""Lengths of custodial sentences: the total of a cell, split into bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lndbayes.synthetic.counts import stage_shares, staged_counts
from lndbayes.synthetic.effect import ramp_at
from lndbayes.synthetic.surface import expit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lndbayes.synthetic.effect import Effect
    from lndbayes.synthetic.layout import Layout
    from lndbayes.synthetic.surface import Surface
    from lndbayes.synthetic.world import World

__all__ = ["Bands", "band_logits", "draw_bands"]


@dataclass(frozen=True, slots=True)
class Bands:
    """Custodial sentences by length.

    Attributes
    ----------
    site : ndarray of float
        Dims (site). The sites' own levels in the stages, logits.
    count, untreated : ndarray of int
        Dims (band, site, month). With the service, and for the same random numbers without it.
    averted : ndarray of float
        Dims (band, site, month). Expected sentences, without minus with the service.
    """

    site: NDArray[np.float64]
    count: NDArray[np.int64]
    untreated: NDArray[np.int64]
    averted: NDArray[np.float64]


def band_logits(
    world: World,
    eta0: NDArray[np.float64],
    contrast: NDArray[np.float64],
    own: NDArray[np.float64],
    built: NDArray[np.float64],
) -> list[NDArray[np.float64]]:
    """Predictors of the length of a sentence, by stage.

    Parameters
    ----------
    world : World
        Constants, loading and lengthening.
    eta0, contrast : ndarray of float
        Dims (site, month). Untreated predictor of custody, and treated minus untreated.
    own : ndarray of float
        The sites' own levels, broadcast against these.
    built : ndarray of float
        Dims (site, month). How far the effect has built up, 0 to 1.

    Returns
    -------
    list of ndarray of float
        Logit of a longer band given this one or a longer one.
    """
    common = world.loading * (eta0 - world.baseline_level) + world.lengthening * contrast
    common = common + own + world.band_shift * built
    return [stage + common for stage in world.band_stages]


def draw_bands(
    world: World,
    layout: Layout,
    surface: Surface,
    effect: Effect,
    totals: tuple[NDArray[np.int64], NDArray[np.int64]],
    rngs: Mapping[str, np.random.Generator],
) -> Bands:
    """Split the totals, which are drawn already, into bands.

    Parameters
    ----------
    world, layout, surface, effect : World, Layout, Surface, Effect
        Parameters and what custody was drawn from.
    totals : tuple of ndarray of int
        Dims (site, month). Sentences with the service and without it.
    rngs : mapping of str to numpy.random.Generator
        From :func:`lndbayes.synthetic.layout.streams`.

    Returns
    -------
    Bands
        With and without the service from the same uniform numbers.
    """
    own = world.band_site_sd * rngs["band_site"].normal(size=len(layout.site))
    built = ramp_at(layout.event_time, effect.ramp_months[:, None])
    uniform = rngs["band"].random((len(world.band_stages), *layout.exposure.shape))
    logits = [
        band_logits(world, surface.eta0, on * effect.contrast, own[:, None], on * built)
        for on in (1, 0)
    ]
    count, untreated = (
        staged_counts(uniform, total, stages, world.concentration)
        for total, stages in zip(totals, logits, strict=True)
    )
    with_service, without = (
        layout.exposure * expit(eta) * stage_shares(stages)
        for eta, stages in zip((surface.eta0 + effect.contrast, surface.eta0), logits, strict=True)
    )
    return Bands(own, count, untreated, without - with_service)
