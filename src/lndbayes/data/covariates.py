"""Values of covariates on the panel: columns of `sites.csv`, and `covariates.csv` by month."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lndbayes.base.errors import Problem
from lndbayes.base.names import MONTH, SITE
from lndbayes.data.columns import Column
from lndbayes.data.evaluation import EvaluationData
from lndbayes.data.schema import SITES
from lndbayes.data.tables import parse_column

__all__ = ["column_values", "monthly_names", "monthly_values", "numeric_columns"]

#: Columns of `sites.csv` that the model has terms of its own for, or that are no numbers.
_OWN_TERMS = ("wave", "predecessor")


def numeric_columns(data: EvaluationData) -> tuple[str, ...]:
    """Columns of `sites.csv` that may modify effects: all that are not labels, months or terms."""
    known = {column.name: column for column in SITES.columns}
    return tuple(
        str(name)
        for name in data.site_columns
        if name not in known or (known[name].kind == "number" and name not in _OWN_TERMS)
    )


def column_values(data: EvaluationData, name: str) -> tuple[np.ndarray, list[Problem]]:
    """Numbers of one column of `sites.csv`.

    Parameters
    ----------
    data : EvaluationData
        The evaluation data.
    name : str
        One of `numeric_columns`.

    Returns
    -------
    ndarray, shape (S,)
        In the unit of the column; NaN where a cell is empty.
    list of Problem
        Cells that are no finite numbers, each with its row.
    """
    column = Column(name=name, kind="number", meaning="covariate", empty="not known")
    cells = data.site_columns[name]
    values, faults = parse_column(column, cells.to_numpy(object))
    rows = cells.index.get_level_values("row")
    problems = [
        Problem(SITES.file, fault[0], int(row), name, str(cell), fault[1])
        for fault, row, cell in zip(faults, rows, cells, strict=True)
        if fault
    ]
    by_site = pd.Series(values.to_numpy(float), index=cells.index.get_level_values(SITE))
    return by_site.reindex(data.ds[SITE].to_numpy()).to_numpy(float), problems


def monthly_names(data: EvaluationData) -> tuple[str, ...]:
    """Covariates that `covariates.csv` has rows of, in the order of the text."""
    return tuple(sorted(str(name) for name in data.covariates["name"].unique()))


def monthly_values(data: EvaluationData, name: str) -> np.ndarray:
    """Values of one covariate of `covariates.csv`, shape (S, T); NaN where none is known."""
    rows = data.covariates[data.covariates["name"] == name]
    values = np.full((data.ds.sizes[SITE], data.ds.sizes[MONTH]), np.nan)
    at = pd.Index(data.ds[SITE].to_numpy()).get_indexer(pd.Index(rows[SITE]))
    values[at, rows["month_index"].to_numpy(np.int64)] = rows["value"].to_numpy(float)
    return values
