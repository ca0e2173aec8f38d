"""What a family says of one cell: its link, and the counts it expects to see.

The only place where code above the model asks which family a fit has. A further family is a line in
`LINKS`; its counts come from `lndbayes.model.predictive.draw_counts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import xarray as xr
from scipy.special import expit

from lndbayes.model.predictive import draw_counts

#: Logs above this are no rate of anything, and sums of their exponentials overflow.
_LARGEST_LOG = 500.0

__all__ = ["LINKS", "empirical_link", "predicted_counts", "rate_of"]

Link = Literal["logit", "log"]

#: Link of every family whose outcome is a count over an exposure.
LINKS: Mapping[str, Link] = {"beta_binomial": "logit", "negative_binomial": "log"}


def rate_of(family: str, eta: np.ndarray) -> np.ndarray:
    """Rate per unit of exposure at a value on the link scale.

    Parameters
    ----------
    family : str
        A key of `LINKS`.
    eta : ndarray
        Link scale.

    Returns
    -------
    ndarray
        Events per unit of exposure.
    """
    if LINKS[family] == "logit":
        return np.asarray(expit(eta))
    return np.asarray(np.exp(np.minimum(eta, _LARGEST_LOG)))


def empirical_link(family: str, count: np.ndarray, exposure: np.ndarray) -> np.ndarray:
    """Observed rate on the link scale, finite for a count of 0 too.

    Half an event is added to the events, and for the logit to the non-events (the empirical logit
    of Haldane 1956 and Anscombe 1956).

    Parameters
    ----------
    family : str
        A key of `LINKS`.
    count, exposure : ndarray
        Events and exposure, the latter above 0.

    Returns
    -------
    ndarray
        Link scale.
    """
    among = exposure - count + 0.5 if LINKS[family] == "logit" else exposure
    return np.asarray(np.log((count + 0.5) / among))


def predicted_counts(
    tree: xr.DataTree, eta: np.ndarray, exposure: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw counts from a fit's own predictive law, one for each posterior draw.

    Parameters
    ----------
    tree : xarray.DataTree
        A fit; gives the family and its dispersion.
    eta : ndarray, shape (chain, draw, S, T)
        Linear predictor, link scale.
    exposure : ndarray, shape (S, T)
        Exposure; cells with none give NaN.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, shape (chain, draw, S, T)
        Counts as float.
    """
    return draw_counts(eta, tree["posterior"]["overdispersion"].to_numpy(), exposure, rng)
