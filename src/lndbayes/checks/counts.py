"""Observed counts that no outcome of the family can have."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import MONTH, SITE
from lndbayes.checks.structure import likelihood_cells
from lndbayes.fitting.metadata import metadata

__all__ = ["impossible_counts"]


def impossible_counts(fit: xr.DataTree) -> pd.DataFrame:
    """Observed counts that cannot be: negative, not whole, or more events than trials.

    Parameters
    ----------
    fit : xr.DataTree
        With usable groups ``observed_data`` and ``constant_data``; of a known family, which says
        whether the exposure is a number of trials.

    Returns
    -------
    pd.DataFrame
        ``site``, ``month``, ``count``, ``exposure``; one row a cell of the likelihood.
    """
    cells = likelihood_cells(fit)
    observed = fit["observed_data"].to_dataset()["y"].transpose(SITE, MONTH)
    exposure = fit["constant_data"].to_dataset()["exposure"].transpose(SITE, MONTH).values
    y = observed.values
    # what is not a number is not possible either: `not possible` instead of `impossible`
    possible = (y >= 0) & (y == np.round(y))
    if metadata(fit).family.trials:
        possible &= y <= exposure
    possible &= _possible_stages(fit)
    s, t = np.nonzero(cells & ~possible)
    return pd.DataFrame(
        {
            "site": observed[SITE].values[s],
            "month": observed[MONTH].values[t],
            "count": y[s, t],
            "exposure": exposure[s, t],
        }
    )


def _possible_stages(fit: xr.DataTree) -> np.ndarray:
    """Cells whose later stages count no more than reached them, bool, shape (S, T)."""
    observed, constant = (fit[g].to_dataset() for g in ("observed_data", "constant_data"))
    if "y_stage" not in observed or "stage_exposure" not in constant:
        return np.ones(tuple(observed["y"].sizes[d] for d in (SITE, MONTH)), dtype=bool)
    y = observed["y_stage"].transpose(SITE, MONTH, ...).values
    reached = constant["stage_exposure"].transpose(SITE, MONTH, ...).values
    fine = (y >= 0) & (y == np.round(y)) & (y <= reached)
    return np.asarray((fine | (reached <= 0)).all(axis=-1))
