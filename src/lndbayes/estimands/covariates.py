"""Coefficients of covariates as a table.

None of them is an effect of the service, and none of them need be causal: a covariate stands for
all that goes along with it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import CI_PROB
from lndbayes.estimands.summaries import summarise
from lndbayes.spec.families import LOG_RATIO, RATIO

__all__ = ["COVARIATE_COLUMNS", "covariates_table"]

COVARIATE_COLUMNS = (
    *("outcome", "covariate", "enters", "scale", "unit", "one_sd"),
    *("mean", "sd", "lower", "median", "upper", "ci_prob", "p_below_zero", "mcse"),
    *("prior_sd", "note"),
)

#: By dim of the coefficients: variable, array of the prior sd, what it enters, note.
_KINDS = {
    "covariate": (
        *("covariate_effect", "baseline_sd", "untreated surface"),
        "untreated outcome where the covariate is one sd higher: what goes along with it, not what "
        "changing it would do",
    ),
    "modifier": (
        *("modifier_effect", "effect_sd", "site effect"),
        "long-run effect at a site where the covariate is one sd higher, against one at the mean: "
        "modification across sites",
    ),
}


def covariates_table(fit: xr.DataTree, *, ci_prob: float = CI_PROB) -> pd.DataFrame:
    """Summarise the coefficients of a fit's covariates.

    Parameters
    ----------
    fit : xarray.DataTree
        A fit.
    ci_prob : float
        Probability of the intervals.

    Returns
    -------
    pandas.DataFrame
        Columns `COVARIATE_COLUMNS`; two rows a covariate, on the ``link`` scale and as a ``ratio``,
        both per standard deviation of the covariate, which is ``one_sd`` in the covariate's own
        unit. Empty where the model has no covariates; without modifiers where no effect of the
        outcome is reported.
    """
    posterior, constants = fit["posterior"].to_dataset(), fit["constant_data"].to_dataset()
    link = str(fit.attrs.get("link", "logit"))
    parts = []
    for dim, (variable, prior_sd, enters, note) in _KINDS.items():
        if variable not in posterior or (dim == "modifier" and fit.attrs.get("selected")):
            continue
        draws = posterior[variable]
        for scale, unit in (("link", LOG_RATIO[link]), ("ratio", RATIO[link])):
            values = draws if scale == "link" else draws.copy(data=np.exp(draws.to_numpy()))
            table = summarise(values, ci_prob=ci_prob).rename(columns={dim: "covariate"})
            if scale == "ratio":
                table["p_below_zero"] = np.nan
            parts.append(
                table.assign(
                    outcome=fit.attrs["outcome"],
                    enters=enters,
                    scale=scale,
                    unit=f"{unit} per sd",
                    one_sd=constants[f"{dim}_unit"].to_numpy(),
                    prior_sd=float(constants[prior_sd]) if scale == "link" else np.nan,
                    note=note,
                )
            )
    if not parts:
        return pd.DataFrame(columns=list(COVARIATE_COLUMNS))
    return pd.concat(parts, ignore_index=True)[list(COVARIATE_COLUMNS)]
