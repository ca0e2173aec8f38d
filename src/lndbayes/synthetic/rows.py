"""Rows of ``outcomes.csv`` from arrays by category, site and month."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lndbayes.synthetic.layout import Layout

__all__ = ["cell_rows"]


def cell_rows(
    layout: Layout,
    published: NDArray[np.bool_],
    exposure: NDArray[np.int64],
    count: NDArray[np.int64],
    *,
    outcome: str,
    source: str,
    categories: Sequence[str] = ("",),
    coverage: NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """Arrange published cells as rows.

    Parameters
    ----------
    layout : Layout
        Sites and months.
    published : ndarray of bool
        Dims (site, month). Cells that have rows.
    exposure : ndarray of int
        Dims (site, month).
    count : ndarray of int
        Dims (category, site, month).
    outcome, source : str
        Names.
    categories : sequence of str
        Names of the categories; one empty name where there are none.
    coverage : ndarray of float, optional
        Dims (month). Written where it is not one.

    Returns
    -------
    pandas.DataFrame
        One row per site, month and category, in this order.
    """
    s, t = np.nonzero(published)
    held = np.ones(len(layout.month)) if coverage is None else coverage
    each = len(categories)
    return pd.DataFrame(
        {
            "outcome": outcome,
            "site": np.repeat(np.array(layout.site, dtype=object)[s], each),
            "month": np.repeat(np.array(layout.month, dtype=object)[t], each),
            "source": source,
            "exposure": np.repeat(exposure[s, t], each),
            "count": count[:, s, t].T.reshape(-1),
            "status": "observed",
            "count_low": np.nan,
            "count_high": np.nan,
            "category": np.tile(np.array(categories, dtype=object), s.size),
            "coverage": np.repeat(np.where(held[t] == 1, np.nan, held[t]), each),
        }
    )
