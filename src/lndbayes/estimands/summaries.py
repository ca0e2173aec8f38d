"""From labelled draws to tidy tables: the one place, besides the checks, that averages over draws.

Draws are summarised last and once. Anything computed from several quantities (a difference, a total
over sites, a saving) is computed draw by draw before it comes here; the numbers of a summary are
never added, scaled or otherwise worked on afterwards.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import CHAIN, CI_PROB, DRAW, SAMPLE_DIMS, SITE
from lndbayes.fitting.chain_statistics import ess_mean

__all__ = ["SUMMARY_COLUMNS", "summarise"]

SUMMARY_COLUMNS = ("mean", "sd", "lower", "median", "upper", "ci_prob", "p_below_zero", "mcse")


def summarise(draws: xr.DataArray, *, ci_prob: float = CI_PROB, mcse: bool = True) -> pd.DataFrame:
    """Summarise posterior draws over ``chain`` and ``draw``.

    Parameters
    ----------
    draws : xr.DataArray, dims (chain, draw, ...) in any order
        Draws of one quantity, any unit. The remaining dims become columns, in their order; a dim
        without a coordinate gets its positions 0, 1, ...
    ci_prob : float
        Probability of the equal-tailed interval, strictly between 0 and 1.
    mcse : bool
        Whether to add the Monte Carlo standard error of the mean: sd over the square root of the
        effective sample size of the mean (Vehtari et al. 2021). It costs most of the time; without
        it the column is left out.

    Returns
    -------
    pd.DataFrame
        One row for each combination of the remaining coordinates (a single row if there are none),
        the last dim fastest. Columns: those dims, then ``mean``, ``sd`` (n - 1 in the denominator),
        ``lower``, ``median``, ``upper`` (in the unit of the draws), ``ci_prob``, ``p_below_zero``
        (share of draws strictly below zero), ``mcse``. A row any of whose draws is not finite is
        NaN in every number but ``ci_prob``: draws are never dropped. So is the row of a site that
        the attribute ``withheld`` of the draws names (see `lndbayes.events_averted`). ``mcse`` is
        also NaN with fewer than four draws a chain, and zero for a constant.

    Raises
    ------
    TypeError
        If ``draws`` is not a DataArray.
    ValueError
        If a sample dim is absent, there are fewer than two draws, the draws are not numbers,
        ``ci_prob`` is out of range, a dim is named like a column, or a dim has several levels.
    """
    _validate(draws, ci_prob)
    labels = [str(dim) for dim in draws.dims if dim not in SAMPLE_DIMS]
    ordered = draws.transpose(*labels, *SAMPLE_DIMS)
    chains, per_chain = ordered.sizes[CHAIN], ordered.sizes[DRAW]
    # The number of rows is spelt out because -1 cannot be inferred when a dim has length zero.
    rows = int(np.prod([ordered.sizes[label] for label in labels], dtype=int))
    values = np.asarray(ordered.values, dtype=float).reshape(rows, chains, per_chain)
    index = pd.MultiIndex.from_product(
        [ordered.indexes.get(label, pd.RangeIndex(ordered.sizes[label])) for label in labels]
        or [[0]],
        names=labels or ["row"],
    )
    table = index.to_frame(index=False)[labels]
    for column, numbers in _columns(values, ci_prob=ci_prob, mcse=mcse).items():
        table[column] = numbers
    if SITE in labels and len(names := np.atleast_1d(draws.attrs.get("withheld", []))):
        told = [c for c in SUMMARY_COLUMNS if c in table and c != "ci_prob"]
        table.loc[table[SITE].isin(names), told] = np.nan
    return table


def _columns(values: np.ndarray, *, ci_prob: float, mcse: bool) -> dict[str, np.ndarray]:
    """Numbers of each column, shape (row,); ``values`` has shape (row, chain, draw)."""
    finite = np.isfinite(values).all(axis=(1, 2))
    # Rows that cannot be summarised are computed on zeros and blanked below: arithmetic on inf
    # would warn, and nan-skipping functions would hide the loss.
    usable = values if finite.all() else np.where(finite[:, None, None], values, 0.0)
    flat = usable.reshape(len(usable), values.shape[1] * values.shape[2])
    tail = (1 - ci_prob) / 2
    lower, median, upper = np.quantile(flat, (tail, 0.5, 1 - tail), axis=1)
    sd = flat.std(axis=1, ddof=1)
    columns = {
        "mean": flat.mean(axis=1),
        "sd": sd,
        "lower": lower,
        "median": median,
        "upper": upper,
        "ci_prob": np.full(len(flat), float(ci_prob)),
        "p_below_zero": (flat < 0).mean(axis=1),
    }
    if mcse:
        columns["mcse"] = sd / np.sqrt(ess_mean(usable))
    for name, numbers in columns.items():
        if name != "ci_prob":
            numbers[~finite] = np.nan
    return columns


def _validate(draws: xr.DataArray, ci_prob: float) -> None:
    if not isinstance(draws, xr.DataArray):
        raise TypeError(f"draws must be an xarray.DataArray, got {type(draws).__name__}")
    absent = [dim for dim in SAMPLE_DIMS if dim not in draws.dims]
    if absent:
        raise ValueError(
            f"draws need the dims {SAMPLE_DIMS}; absent: {absent}, found: {draws.dims}"
        )
    if draws.dtype.kind not in "fiub":
        raise ValueError(f"draws must be numbers, got dtype {draws.dtype}")
    if draws.sizes[CHAIN] * draws.sizes[DRAW] < 2:
        raise ValueError("at least two draws are needed to summarise")
    if not 0 < ci_prob < 1:
        raise ValueError(f"ci_prob must lie strictly between 0 and 1, got {ci_prob}")
    clash = sorted({str(dim) for dim in draws.dims} & set(SUMMARY_COLUMNS))
    if clash:
        raise ValueError(f"dims cannot be named like a column of the summary: {clash}")
    levels = [dim for dim in draws.dims if getattr(draws.indexes.get(dim), "nlevels", 1) > 1]
    if levels:
        raise ValueError(f"dims with several levels must be unstacked first: {levels}")
