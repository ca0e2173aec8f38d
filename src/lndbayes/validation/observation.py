"""What a family says of one cell: its observed rate on the link scale, and counts it expects.

The only place of a back-test that knows of families; what they are stands in
`lndbayes.spec.families`.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from lndbayes.fitting.metadata import metadata
from lndbayes.model.predictive import dispersion, draw_counts
from lndbayes.spec.families import FAMILIES, forward, inverse

__all__ = ["empirical_link", "predicted_counts", "rate_of"]


def rate_of(family: str, eta: np.ndarray) -> np.ndarray:
    """Rate per unit of exposure at a value on the link scale.

    Parameters
    ----------
    family : str
        A key of `lndbayes.spec.families.FAMILIES`.
    eta : ndarray
        Link scale.

    Returns
    -------
    ndarray
        Events per unit of exposure.
    """
    return inverse(FAMILIES[family].link, eta)


def empirical_link(family: str, count: np.ndarray, exposure: np.ndarray) -> np.ndarray:
    """Observed rate on the link scale, finite for a count of 0 too.

    Half an event is added to the events, and in families with trials to the non-events (for the
    logit the empirical logit of Haldane 1956 and Anscombe 1956).

    Parameters
    ----------
    family : str
        A key of `lndbayes.spec.families.FAMILIES`.
    count, exposure : ndarray
        Events and exposure, the latter above 0.

    Returns
    -------
    ndarray
        Link scale.
    """
    among = exposure + 1.0 if FAMILIES[family].trials else exposure
    return forward(FAMILIES[family].link, (count + 0.5) / among)


def predicted_counts(
    tree: xr.DataTree, eta: np.ndarray, exposure: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw recorded counts from a fit's own predictive law, one for each posterior draw.

    Parameters
    ----------
    tree : xarray.DataTree
        A fit; gives the family, its dispersion, and the share of events the source holds.
    eta : ndarray, shape (chain, draw, S, T)
        Linear predictor, link scale.
    exposure : ndarray, shape (S, T)
        Exposure; cells with none give NaN.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (chain, draw, S, T)
        Counts of the first stage as float, less what each unit of exposure has at least.
    """
    family = metadata(tree).family
    values = {str(k): v.to_numpy() for k, v in tree["posterior"].to_dataset().data_vars.items()}
    coverage = tree["constant_data"]["coverage"].to_numpy()
    return draw_counts(eta, dispersion(values, family), exposure, coverage, family, rng)
