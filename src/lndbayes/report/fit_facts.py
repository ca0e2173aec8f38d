"""What a report needs to know of a stored fit besides its summaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.errors import DataError, Problem
from lndbayes.base.names import MONTH, SITE
from lndbayes.files.storage import Damaged, read_group

__all__ = ["FitFacts", "read_fit_facts"]

#: What figures need of a fit, group ``constant_data``, dims (site, month).
_CONSTANTS = ("event_time", "exposure_all", "exposure", "count", "count_high", "coverage")


@dataclass(frozen=True, slots=True)
class FitFacts:
    """What a figure needs to know of one fit besides its summaries.

    Attributes
    ----------
    months : tuple of str
        The grid, ``YYYY-MM``.
    go_live : Mapping of str to float
        Site to go-live as an index into `months` (may lie outside it); NaN = never.
    exposure : pd.DataFrame
        Index site, columns month: observed exposure, NaN where nothing was observed; empty
        where the fit does not carry it.
    used : pd.DataFrame
        As `exposure`, of the cells of the likelihood only.
    low, high : pd.DataFrame
        Bounds of the events of these cells, all that happened: what the source holds over its
        coverage. Equal where the count is exact.
    attrs : Mapping of str to object
        Root attributes of the fit.
    """

    months: tuple[str, ...]
    go_live: Mapping[str, float]
    exposure: pd.DataFrame
    used: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    attrs: Mapping[str, Any]


def read_fit_facts(path: Path) -> FitFacts:
    """Read what is needed of a stored fit.

    Raises
    ------
    DataError
        If the file is damaged or lacks it.
    """
    try:
        attrs, constant = read_group(path, "constant_data", _CONSTANTS)
    except Damaged as error:
        file = f"fits/{path.name}"
        raise DataError(Problem(file, f"must be a readable fit: {error}")) from error
    absent = [name for name in _CONSTANTS if name not in constant]
    if absent:
        rule = "must hold these in the group constant_data"
        raise DataError(Problem(f"fits/{path.name}", rule, value=", ".join(absent)))
    event = constant["event_time"].transpose(SITE, MONTH)
    sites, months = ([str(x) for x in event[dim].values] for dim in (SITE, MONTH))
    first = event.values[:, 0].astype(float)
    # Event time counts months, the grid counts periods
    steps = np.diff(event.values, axis=1)
    steps = steps[np.isfinite(steps)]
    period = float(steps[0]) if steps.size else 1.0

    def by_cell(values: xr.DataArray, where: str) -> pd.DataFrame:
        shown = values.where(constant[where] > 0).transpose(SITE, MONTH)
        return pd.DataFrame(shown.to_numpy(), index=sites, columns=months)

    go_live = dict(zip(sites, map(float, -first / period), strict=True))
    low, high = (constant[name] / constant["coverage"] for name in ("count", "count_high"))
    return FitFacts(
        months=tuple(months),
        go_live=go_live,
        exposure=by_cell(constant["exposure_all"], "exposure_all"),
        used=by_cell(constant["exposure"], "exposure"),
        low=by_cell(low, "exposure"),
        high=by_cell(high, "exposure"),
        attrs=attrs,
    )
