"""A starting point near the bulk: prior medians and observed site levels."""

from __future__ import annotations

import numpy as np

from lndbayes.model.design import Design
from lndbayes.model.layout import REAL, layout, scalar_places, size
from lndbayes.spec.families import forward, inverse
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["start_point"]


def start_point(spec: ModelSpec, design: Design) -> np.ndarray:
    """Choose where chains start, before jitter.

    Parameters
    ----------
    spec : ModelSpec
        Gives prior medians.
    design : Design
        Gives each site's observed rate (add-half, so that empty and all-zero sites are finite).

    Returns
    -------
    ndarray, shape (D,)
    """
    x = np.zeros(size(design))
    for name, place in scalar_places(design).items():
        if name in spec.priors:
            median = float(spec.priors[name].frozen().median())
            x[place] = median if name in REAL else np.log(median)
    n, y = design["exposure"].sum(axis=1), design["count"].sum(axis=1)
    link = spec.family.link
    level = spec.priors["baseline_level"].frozen().median()
    rate = (y.sum() + 0.5) / (n.sum() + 1.0) if n.sum() > 0 else float(inverse(link, level))
    # shrink each site's rate towards the pooled one with the weight of 20 units of exposure
    block = layout(design)["site_level"]
    x[block.start : block.stop] = forward(link, (y + 20 * rate) / (n + 20))
    x[REAL.index("baseline_level")] = float(forward(link, np.array(rate)))
    # later stages start where their counts are
    at_risk, going_on = design["stage_exposure"], design["stage_count"]
    if at_risk.shape[-1]:
        share = (going_on.sum(axis=(0, 1)) + 0.5) / (at_risk.sum(axis=(0, 1)) + 1.0)
        block = layout(design)["stage_level"]
        centre = 0.0 if spec.family.free_stage_effect else x[REAL.index("baseline_level")]
        x[block.start : block.stop] = forward(link, share) - centre
    return x
