"""The labelled cube: outcomes by site and month, site facts, mix and referrals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import xarray as xr

from lndbayes.base.names import INTERVENTION, MONTH, OUTCOME, SITE
from lndbayes.data.facts import Facts
from lndbayes.data.schema import CONTINUOUS, STATUS

__all__ = ["build_dataset", "sum_cells"]

#: Statuses from the least to the most serious; a sum is as good as its worst part.
_SEVERITY = np.array([STATUS[s] for s in ("observed", "rounded", "suppressed", "missing")])

_UNITS = {
    "exposure": "trials, or an amount such as person-months",
    "count": "events",
    "coverage": "share of the events that the source holds",
    "count_low": "events",
    "count_high": "events",
    "n": "measurements",
    "mean": "unit of the outcome",
    "sd": "unit of the outcome",
    "mix": "contacts in the whole period",
    "mix_months": "periods with rows",
    "referrals": "referrals per period",
    "go_live": "periods since the first month",
    "population": "persons",
    "predecessor": "share, 0 to 1",
}

_Arrays = dict[str, np.ndarray]


def build_dataset(
    frames: Mapping[str, pd.DataFrame], facts: Facts
) -> tuple[xr.Dataset, dict[str, str]]:
    """Arrange checked tables as one Dataset with read-only arrays.

    Parts of a cell are summed only where that is exact. Strata add up in `exposure` and `count`;
    the bands (`category`) of a cell share one exposure and add up in `count`; continuous rows are
    pooled by `n`. A cell is as good as its worst part: with a suppressed or rounded part it keeps
    the summed bounds (an exact part counts as both of its bounds), with a missing part, or without
    a row for a stratum that its site reports elsewhere, it is missing.

    Parameters
    ----------
    frames : mapping of str to pandas.DataFrame
        The checked tables `sites`, `outcomes`, `mix`, `referrals`, in the order of their keys.
    facts : Facts
        The period grid.

    Returns
    -------
    xarray.Dataset
        Dims outcome, site, month, intervention. (outcome, site, month): `exposure`, `count` (not
        given for suppressed cells), `count_low`, `count_high` (suppressed or rounded cells only),
        `n`, `mean`, `sd`, `coverage` (1 where not given), and `status` (int8: -1 no row,
        0 observed, 1 suppressed, 2 rounded, 3 missing). (site, intervention): `mix`, NaN at a
        site without mix rows. (site):
        `mix_months` (periods with mix rows; all of them for a row on the whole period), `go_live`
        (periods since the first month, NaN = never), `wave`, `population`, `predecessor`, `label`,
        `region`. (site, month): `referrals`.
    dict of str to str
        What was set aside.
    """
    sites = frames["sites"]
    outcomes, mix, referrals = frames["outcomes"], frames["mix"], frames["referrals"]
    coords = {
        OUTCOME: np.array(sorted(outcomes["outcome"].unique()), dtype=str),
        SITE: sites["site"].to_numpy(str),
        MONTH: np.array(facts.months, dtype=str),
        INTERVENTION: np.array(sorted(mix["intervention"].unique()), dtype=str),
    }
    cells, notes = sum_cells(outcomes, coords)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        name: ((OUTCOME, SITE, MONTH), values) for name, values in cells.items()
    }
    variables |= {name: ((SITE,), values) for name, values in _sites(sites, facts).items()}
    variables["mix"], variables["mix_months"] = _mix(mix, coords)
    variables["referrals"] = ((SITE, MONTH), _referrals(referrals, coords))
    for values in (*coords.values(), *(values for _, values in variables.values())):
        values.setflags(write=False)
    ds = xr.Dataset(
        {
            name: (dims, values, {"units": _UNITS[name]} if name in _UNITS else {})
            for name, (dims, values) in variables.items()
        },
        coords=coords,
        attrs={"name": facts.name, "period": facts.period},
    )
    ds["status"].attrs["codes"] = "-1 no row, " + ", ".join(f"{v} {k}" for k, v in STATUS.items())
    later = (sites["go_live"] > facts.months[-1]).to_numpy()
    if later.any():
        named = ", ".join(sites["site"][later])
        notes["sites that go live after the last month, to every model as never live"] = named
    return ds, notes | _notes(ds) | _untimely(ds, mix, referrals)


def _positions(labels: np.ndarray, values: pd.Series) -> np.ndarray:
    return np.asarray(pd.Index(labels).get_indexer(pd.Index(values)), dtype=np.int64)


def sum_cells(
    outcomes: pd.DataFrame, coords: Mapping[str, np.ndarray]
) -> tuple[_Arrays, dict[str, str]]:
    """Sum the parts of every cell.

    Parameters
    ----------
    outcomes : pandas.DataFrame
        Checked rows with `month_index`, index 0, 1, ..., in the order of their key.
    coords : mapping of str to numpy.ndarray
        Labels of `outcome`, `site` and `month`.

    Returns
    -------
    dict of str to numpy.ndarray, shape (outcome, site, month)
        Cell variables of `build_dataset`.
    dict of str to str
        What was set aside.
    """
    shape = tuple(len(coords[dim]) for dim in (OUTCOME, SITE, MONTH))
    at = np.ravel_multi_index(
        (
            _positions(coords[OUTCOME], outcomes["outcome"]),
            _positions(coords[SITE], outcomes["site"]),
            outcomes["month_index"].to_numpy(),
        ),
        shape,
    )
    size = int(np.prod(shape))
    short = _cells_short_of_strata(outcomes, at)
    status = _worst_status(outcomes, at, short, size)
    columns = {name: outcomes[name].to_numpy(float) for name in (*CONTINUOUS, "count")}
    exact = (outcomes["status"] == "observed").to_numpy(bool)
    low, high = (
        np.where(exact, columns["count"], outcomes[name].to_numpy(float))
        for name in ("count_low", "count_high")
    )

    def total(values: np.ndarray) -> np.ndarray:
        """Sum per cell; a NaN part makes a NaN sum, and so does a cell without rows."""
        sums = np.bincount(at, weights=values, minlength=size)
        return np.where(np.bincount(at, minlength=size) > 0, sums, np.nan)

    exposure = total(_exposure_once(outcomes, at))
    exposure[short] = np.nan
    n, mean, sd = _pooled(at, total, columns)
    missing, withheld = status == STATUS["missing"], status == STATUS["suppressed"]
    ranged = withheld | (status == STATUS["rounded"])
    coverage = np.ones(size)
    coverage[at] = outcomes["coverage"].fillna(1.0)  # the same in all rows of a cell
    cells = {
        "exposure": exposure,
        "count": np.where(
            missing | (status == STATUS["suppressed"]), np.nan, total(columns["count"])
        ),
        "count_low": np.where(ranged, total(low), np.nan),
        "count_high": np.where(ranged, total(high), np.nan),
        "n": np.where(missing, np.nan, n),
        "mean": np.where(missing, np.nan, mean),
        "sd": np.where(missing, np.nan, sd),
        "coverage": coverage,
        "status": status,
    }
    notes = {}
    if len(short):
        notes["strata"] = (
            "cells taken as missing for want of a row for a stratum that the site reports in other "
            f"months: {len(short)}"
        )
    return {name: values.reshape(shape) for name, values in cells.items()}, notes


def _cells_short_of_strata(outcomes: pd.DataFrame, at: np.ndarray) -> np.ndarray:
    """Flat cells without all the strata that their outcome and site report."""
    stratified = outcomes.loc[outcomes["stratum"] != "", ["outcome", "site", "stratum"]]
    if stratified.empty:
        return np.zeros(0, dtype=np.int64)
    stratified = stratified.assign(cell=at[stratified.index])
    every = stratified.groupby(["outcome", "site"])["stratum"].transform("nunique")
    here = stratified.groupby("cell")["stratum"].transform("nunique")
    return np.unique(stratified.loc[here < every, "cell"].to_numpy(np.int64))


def _worst_status(
    outcomes: pd.DataFrame, at: np.ndarray, short: np.ndarray, size: int
) -> np.ndarray:
    codes = outcomes["status"].map(dict(STATUS)).to_numpy(np.int64)
    rank = np.full(size, -1, dtype=np.int64)
    np.maximum.at(rank, at, np.argsort(_SEVERITY)[codes])
    rank[short] = len(_SEVERITY) - 1
    return np.where(rank < 0, -1, _SEVERITY[rank]).astype(np.int8)


def _exposure_once(outcomes: pd.DataFrame, at: np.ndarray) -> np.ndarray:
    """Exposure per row, with the one that the bands of a cell share counted at the first band."""
    parts = [at, outcomes["stratum"]]
    exposure = outcomes["exposure"].groupby(parts).transform("max").to_numpy(float)
    first = ~pd.DataFrame({"at": at, "stratum": outcomes["stratum"]}).duplicated().to_numpy(bool)
    return np.where(first, exposure, 0.0)


def _pooled(
    at: np.ndarray, total: Callable[[np.ndarray], np.ndarray], parts: _Arrays
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Size, mean and sample sd of the parts of every cell taken together.

    The sum of squares of the whole is that within the parts plus that between their means. A cell
    of one part keeps its numbers as written.
    """
    n, mean, sd = (parts[name] for name in CONTINUOUS)
    size = total(n)
    middle = total(n * mean) / size
    within = np.where(n > 1, (n - 1) * sd**2, 0.0)
    squares = total(within + n * (mean - middle[at]) ** 2)
    spread = np.sqrt(squares / np.where(size > 1, size - 1, np.nan))
    single = np.bincount(at, minlength=len(size)) == 1
    return size, np.where(single, total(mean), middle), np.where(single, total(sd), spread)


def _sites(sites: pd.DataFrame, facts: Facts) -> _Arrays:
    label = np.where(sites["label"] == "", sites["site"], sites["label"])
    go_live = [facts.index(month) if month else np.nan for month in sites["go_live"]]
    return {
        "go_live": np.array(go_live, dtype=float),
        "wave": sites["wave"].fillna(0).to_numpy(float).astype(np.int64),
        "population": sites["population"].to_numpy(float).copy(),
        "predecessor": sites["predecessor"].to_numpy(float).copy(),
        "label": label.astype(str),
        "region": sites["region"].to_numpy(str),
    }


def _mix(
    mix: pd.DataFrame, coords: Mapping[str, np.ndarray]
) -> tuple[tuple[tuple[str, ...], np.ndarray], tuple[tuple[str, ...], np.ndarray]]:
    shape = (len(coords[SITE]), len(coords[INTERVENTION]))
    site = _positions(coords[SITE], mix["site"])
    contacts = np.zeros(shape)
    np.add.at(
        contacts, (site, _positions(coords[INTERVENTION], mix["intervention"])), mix["contacts"]
    )
    contacts[~np.isin(np.arange(shape[0]), site)] = np.nan
    months = np.zeros(shape[0], dtype=np.int64)
    for position, month in set(zip(site.tolist(), mix["month"].tolist(), strict=True)):
        months[position] += 1 if month else len(coords[MONTH])
    return ((SITE, INTERVENTION), contacts), ((SITE,), months)


def _referrals(referrals: pd.DataFrame, coords: Mapping[str, np.ndarray]) -> np.ndarray:
    values = np.full((len(coords[SITE]), len(coords[MONTH])), np.nan)
    site = _positions(coords[SITE], referrals["site"])
    values[site, referrals["month_index"].to_numpy()] = referrals["referrals"].to_numpy()
    return values


def _notes(ds: xr.Dataset) -> dict[str, str]:
    """Sites that a table says nothing about, where it does about others."""
    notes = {}
    names = ds["site"].to_numpy()
    without = {
        "sites without outcome rows": (ds["status"] >= 0).any([OUTCOME, MONTH]),
        "sites without mix rows": ds["mix_months"] > 0,
        "sites without referrals": ds["referrals"].notnull().any(MONTH),
    }
    for subject, has in without.items():
        lacking = [str(name) for name in names[~has.to_numpy()]]
        if 0 < len(lacking) < len(names):
            notes[subject] = ", ".join(lacking)
    return notes


def _untimely(ds: xr.Dataset, mix: pd.DataFrame, referrals: pd.DataFrame) -> dict[str, str]:
    """Activity where there is no service, and a mix that no two sites can be compared by."""
    notes = {}
    go_live = ds["go_live"].to_series()
    months = pd.Series(np.arange(ds.sizes[MONTH]), index=ds[MONTH].to_numpy())
    for subject, frame in (
        ("contacts", mix.rename(columns={"contacts": "number"})),
        ("referrals", referrals.rename(columns={"referrals": "number"})),
    ):
        start = frame[SITE].map(go_live).fillna(np.inf)
        # a row on the whole period reaches its last month
        early = (frame["number"] > 0) & (frame["month"].map(months).fillna(months.max()) < start)
        if early.any():
            named = ", ".join(dict.fromkeys(frame.loc[early, SITE].astype(str)))
            notes[f"{subject} before go-live or at sites that never go live"] = named
    known = ds["mix"].where(ds["go_live"].notnull()).dropna(SITE)
    share = known / known.sum(INTERVENTION)
    differs = known.sizes[SITE] > 1 and bool((share.max(SITE) > share.min(SITE)).any())
    if ds.sizes[INTERVENTION] > 1 and not differs:
        notes["mix without a comparison"] = (
            "no two sites that go live have different known mixes: effects of the mix are the prior"
        )
    return notes
