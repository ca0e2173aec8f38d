"""Cells of an outcome as fixed-shape arrays: counts, intervals, coverage and ordered stages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.errors import DataError, Problem
from lndbayes.data.bands import OPEN, order_bands
from lndbayes.data.evaluation import EvaluationData
from lndbayes.data.rules import kinds_of_outcomes
from lndbayes.data.trials import check_trials
from lndbayes.spec.families import Family
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["WIDEST", "CellArrays", "cell_arrays", "incomplete_cells"]

#: Most counts that one suppressed or rounded cell may stand for.
WIDEST = 40

CellArrays = Mapping[str, np.ndarray]
_FILE = "outcomes.csv"


def cell_arrays(spec: ModelSpec, data: EvaluationData) -> dict[str, np.ndarray]:
    """Arrange an outcome's cells.

    Parameters
    ----------
    spec : ModelSpec
        Gives outcome and family.
    data : EvaluationData
        The evaluation data.

    Returns
    -------
    dict of str to ndarray
        S sites, T months, L later stages. ``exposure``, ``low``, ``high``, ``coverage``, shape
        (S, T): trials or amount of the first stage, bounds of its count (equal where exact), share
        of its events that the source holds. ``total``, shape (S, T): exposure of the whole cell.
        ``stage_exposure``, ``stage_count``, shape (S, T, L). Cells without usable data have
        exposure 0 and counts 0. ``stage``, shape (L,): labels.

    Raises
    ------
    DataError
        If the outcome is absent, has cells that the family cannot use, with every problem, or has
        bands whose order cannot be known.
    """
    name, family = spec.outcome.name, spec.family
    if name not in data.ds["outcome"].to_numpy():
        rule = f"has no rows for outcome {name!r}, which the spec models"
        raise DataError(Problem(_FILE, rule, column="outcome"))
    rows = data.outcomes[data.outcomes["outcome"] == name]
    if kinds_of_outcomes(rows).get(name) == "continuous":
        rule = f"{name} is given as n, mean and sd, which no family has a likelihood for"
        raise DataError(Problem(_FILE, rule, column="mean"))
    problems: list[Problem] = []
    if family.trials:
        try:
            check_trials(data, name)
        except DataError as error:
            problems += error.problems
    problems += _unusable(spec, data)
    if problems:
        raise DataError(problems)
    if family.staged:
        return _staged(spec, data)
    return _plain(data.ds.sel(outcome=name), family)


def _unusable(spec: ModelSpec, data: EvaluationData) -> list[Problem]:
    """Cells whose status or count the family has no likelihood for."""
    name, family = spec.outcome.name, spec.family
    ds = data.ds.sel(outcome=name)
    status, sites, months = (ds[k].to_numpy() for k in ("status", "site", "month"))

    def told(broken: np.ndarray, rule: str, column: str) -> list[Problem]:
        return [
            Problem(
                _FILE, f"cell of {name} (site {sites[s]}, month {months[t]}): {rule}", None, column
            )
            for s, t in zip(*np.nonzero(broken), strict=True)
        ]

    ranged = (status == 1) | (status == 2)
    if not family.intervals:
        rule = f"suppressed or rounded; the family {spec.likelihood.family!r} needs exact counts"
        return told(ranged, rule, "status")
    low, high = ds["count_low"].to_numpy(), ds["count_high"].to_numpy()
    if family.trials:
        # a bound beyond the trials says no more than the trials do
        high = np.minimum(high, ds["exposure"].to_numpy())
    wide = ranged & (high - low >= WIDEST)
    problems = told(wide, f"stands for more than {WIDEST} counts", "count_high")
    if family.shift:
        exposure = ds["exposure"].to_numpy()
        part = np.isfinite(exposure) & (exposure != np.floor(exposure))
        problems += told(part, "cases are counted one by one: must be a whole number", "exposure")
        least = np.where(ranged, low, ds["count"].to_numpy())
        few = np.isfinite(least) & (least < family.shift * exposure) & (_coverage(ds) == 1.0)
        problems += told(few, "fewer events than cases, each of which has at least one", "count")
    return problems


def incomplete_cells(spec: ModelSpec, data: EvaluationData) -> int:
    """Count the cells with data that coverage below 1 keeps out of the likelihood."""
    if not spec.family.shift:
        return 0
    ds = data.ds.sel(outcome=spec.outcome.name)
    status, exposure = ds["status"].to_numpy(), np.nan_to_num(ds["exposure"].to_numpy())
    told = (status >= 0) & (status <= 2) & (exposure > 0)
    return int((told & (_coverage(ds) < 1.0)).sum())


def _plain(ds: xr.Dataset, family: Family) -> dict[str, np.ndarray]:
    status = ds["status"].to_numpy()
    exposure, count = ds["exposure"].to_numpy(), ds["count"].to_numpy()
    exact = (status == 0) & np.isfinite(count)
    ranged = (status == 1) | (status == 2)
    low = np.where(exact, count, np.where(ranged, ds["count_low"].to_numpy(), np.nan))
    high = np.where(exact, count, np.where(ranged, ds["count_high"].to_numpy(), np.nan))
    if family.trials:
        # a bound beyond the trials says no more than the trials do
        high = np.minimum(high, exposure)
    coverage = _coverage(ds)
    usable = np.isfinite(exposure) & (exposure > 0) & np.isfinite(low) & np.isfinite(high)
    # the cases are known whatever the source lacks of their events, and weight what is averted
    total = np.where(usable, exposure, 0.0)
    if family.shift:
        # the first event of a case may be what is missing: the count less the cases has no law
        usable &= coverage == 1.0
    exposure = np.where(usable, exposure, 0.0)
    shift = family.shift * exposure
    empty = np.zeros((*exposure.shape, 0))
    return {
        "exposure": exposure,
        "total": total,
        "low": np.where(usable, low - shift, 0.0),
        "high": np.where(usable, high - shift, 0.0),
        "coverage": np.where(usable, coverage, 1.0),
        "stage_exposure": empty,
        "stage_count": empty,
        "stage": np.array([], dtype=str),
    }


def _coverage(ds: xr.Dataset) -> np.ndarray:
    if "coverage" not in ds:
        return np.ones(ds["exposure"].shape)
    return np.asarray(np.nan_to_num(ds["coverage"].to_numpy(), nan=1.0))


def _staged(spec: ModelSpec, data: EvaluationData) -> dict[str, np.ndarray]:
    """Counts at risk and counts that go on, stage by stage."""
    name, family = spec.outcome.name, spec.likelihood.family
    ds = data.ds.sel(outcome=name)
    rows = data.outcomes[data.outcomes["outcome"] == name]
    # a month that is missing as a whole need not name its bands
    rows = rows[(rows["category"] != "") | (rows["status"] != "missing")]
    if (rows["category"] == "").any() or rows.empty:
        rule = f"the family {family!r} needs ordered bands of {name}"
        raise DataError(Problem(_FILE, rule, column="category"))
    places = _places(list(rows["category"].unique()), family, name)
    levels = {level for place in places.values() for level in place if level is not None}
    bands = _ordered(levels, spec)
    counts = _by_band(rows, data)
    usable = (ds["status"].to_numpy() == 0) & (np.nan_to_num(ds["exposure"].to_numpy()) > 0)
    total = np.where(usable, np.nan_to_num(ds["exposure"].to_numpy()), 0.0)
    coverage = np.where(usable, _coverage(ds), 1.0)
    by_place = _summed(counts, places, bands)
    match family:
        case "ordered_bands":
            at_risk, going_on, labels = _bands(total, bands, by_place)
        case "duration_hazard":
            at_risk, going_on, labels = _hazard(total, bands, by_place)
            # a case whose end the source lacks is at risk in every later bin, so that their shares
            # are no hazards: of such a cell the first bin alone is used
            at_risk[..., 1:] *= (coverage == 1.0)[..., None]
            going_on[..., 1:] *= (coverage == 1.0)[..., None]
        case _:
            at_risk, going_on, labels = _change(bands, by_place)
            # a record that the source lacks is in neither the start nor the review: shares of those
            # recorded are what they are of all
            coverage = np.ones(total.shape)
    on = usable[:, :, None]
    at_risk, going_on = np.where(on, at_risk, 0.0), np.where(on, going_on, 0.0)
    return {
        "exposure": at_risk[..., 0],
        "total": total,
        "low": going_on[..., 0],
        "high": going_on[..., 0],
        "coverage": coverage,
        "stage_exposure": at_risk[..., 1:],
        "stage_count": going_on[..., 1:],
        "stage": np.array(labels[1:], dtype=str),
    }


#: Where a category counts: its band, or the band at the start and that at the review; or its bin,
#: and None beside it where the case is still open.
_Place = tuple[str | None, ...]


def _places(categories: list[str], family: str, name: str) -> dict[str, _Place]:
    """Bands of every category, as the family writes them."""
    if family == "ordered_bands":
        places: dict[str, _Place] = {category: (category,) for category in categories}
        least, rule = 1, ""
    elif family == "duration_hazard":
        places = {c: (c.removesuffix(OPEN), None) if c.endswith(OPEN) else (c,) for c in categories}
        least, rule = 2, f"{name} needs at least two bins"
    else:
        places = {c: tuple(map(str.strip, c.split(">"))) for c in categories}
        least, rule = 2, f"{name} needs categories written start>review, such as 1>2"
        if any(len(place) != 2 or not all(place) for place in places.values()):
            raise DataError(Problem(_FILE, rule, column="category"))
    if len({level for place in places.values() for level in place} - {None}) < least:
        raise DataError(Problem(_FILE, rule, column="category"))
    return places


def _ordered(levels: set[str], spec: ModelSpec) -> list[str]:
    """Bands from the lowest to the highest."""
    found = order_bands(levels, spec.likelihood.bands)
    if not found.problem:
        return list(found.labels)
    name = spec.outcome.name
    rule = f"the order of the bands of {name} cannot be known: {found.problem}"
    if not found.declared:
        rule += "; declare it, lowest first, in the spec: bands = [...] in [likelihood]"
    raise DataError(Problem(_FILE, rule, column="category"))


def _by_band(rows: pd.DataFrame, data: EvaluationData) -> dict[str, np.ndarray]:
    """Counts of every category, each of shape (S, T); strata are added up."""
    shape = (data.ds.sizes["site"], data.ds.sizes["month"])
    site = pd.Index(data.ds["site"].to_numpy()).get_indexer(pd.Index(rows["site"]))
    month, count = rows["month_index"].to_numpy(), np.nan_to_num(rows["count"].to_numpy(float))
    counts = {}
    for category in rows["category"].unique():
        own = (rows["category"] == category).to_numpy(bool)
        counts[str(category)] = np.zeros(shape)
        np.add.at(counts[str(category)], (site[own], month[own]), count[own])
    return counts


def _summed(
    counts: Mapping[str, np.ndarray], places: Mapping[str, _Place], bands: list[str]
) -> dict[_Place, np.ndarray]:
    """Counts by place; places without a category have none."""
    (nothing, *_) = (np.zeros_like(count) for count in counts.values())
    every: list[_Place] = [(band,) for band in bands]
    every += [(one, other) for one in bands for other in (*bands, None)]
    found = {place: nothing.copy() for place in every}
    for category, count in counts.items():
        found[places[category]] += count
    return found


_Stages = tuple[np.ndarray, np.ndarray, list[str]]
_Counts = Mapping[_Place, np.ndarray]


def _bands(total: np.ndarray, bands: list[str], counts: _Counts) -> _Stages:
    """Any band, then each band or a higher one given that it is at least the one before."""
    own = np.stack([counts[(band,)] for band in bands], axis=-1)
    at_least = np.cumsum(own[..., ::-1], axis=-1)[..., ::-1]
    at_risk = np.concatenate([total[..., None], at_least[..., :-1]], axis=-1)
    return at_risk, at_least, ["any", *(f"{b} or more" for b in bands[1:])]


def _hazard(total: np.ndarray, bins: list[str], counts: _Counts) -> _Stages:
    """Cases that end in each bin among those at risk; open cases leave before their bin."""
    ended = np.stack([counts[(name,)] for name in bins], axis=-1)
    left = np.stack([counts[(name, None)] for name in bins], axis=-1)
    gone = np.cumsum(ended + left, axis=-1) - ended - left
    at_risk = total[..., None] - gone - left
    # the last bin has no upper end, so nothing is known of ending within it
    return at_risk[..., :-1], ended[..., :-1], bins[:-1]


def _change(levels: list[str], counts: _Counts) -> _Stages:
    """Each start band's review bands: that band or a higher one given at least the one before."""
    at_risk, going_on, labels = [], [], []
    for start in levels:
        here = np.stack([counts[(start, review)] for review in levels], axis=-1)
        at_least = np.cumsum(here[..., ::-1], axis=-1)[..., ::-1]
        at_risk.append(at_least[..., :-1])
        going_on.append(at_least[..., 1:])
        labels += [f"{start}>{r} or more" for r in levels[1:]]
    return np.concatenate(at_risk, axis=-1), np.concatenate(going_on, axis=-1), labels
