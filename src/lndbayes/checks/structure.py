"""What a fit must contain before anything else about it can be judged.

A fit with a group missing, a variable without its dims or a NaN among its draws would slip through
comparisons that are all false for NaN; here such a fit is named for what it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lndbayes.base.names import MONTH, SAMPLE_DIMS, SITE

__all__ = [
    "HEADLINE",
    "REQUIRED",
    "NonFinite",
    "broken_groups",
    "element_labels",
    "likelihood_cells",
    "non_finite",
]

#: Posterior variables that are published, held to the stricter standard of reported quantities.
HEADLINE = ("effect_mean", "site_effect")

_CELL = {SITE, MONTH}
_SAMPLE = set(SAMPLE_DIMS)

#: Variables each group must have, and the dims each must have at least.
REQUIRED: Mapping[str, Mapping[str, set[str]]] = {
    "posterior": {"effect_mean": _SAMPLE, "site_effect": _SAMPLE | {SITE}},
    "sample_stats": {"diverging": _SAMPLE, "energy": _SAMPLE, "depth": _SAMPLE},
    "prior": {"effect_mean": _SAMPLE, "baseline_level": _SAMPLE},
    "prior_predictive": {"y": _SAMPLE | _CELL},
    "posterior_predictive": {"y": _SAMPLE | _CELL},
    "log_likelihood": {"y": _SAMPLE},
    "observed_data": {"y": _CELL},
    "constant_data": {"exposure": _CELL, "event_time": _CELL, "wave_index": {SITE}},
}

# Groups whose values are draws and must be finite, all of them or in the likelihood's cells.
_DRAWS = ("posterior", "sample_stats", "prior", "log_likelihood")
_CELLS = ("posterior_predictive", "prior_predictive", "observed_data")


@dataclass(frozen=True, slots=True)
class NonFinite:
    """Non-finite values of one variable.

    Attributes
    ----------
    group, variable : str
        Where they are.
    count : int
        How many there are.
    first : str
        Coordinates of the first in storage order, such as ``chain=0, draw=12, site=A``.
    """

    group: str
    variable: str
    count: int
    first: str

    def __str__(self) -> str:
        return f"{self.group}/{self.variable} at {self.first} ({self.count} in all)"


def broken_groups(fit: xr.DataTree) -> dict[str, list[str]]:
    """Groups that are absent or unusable, with every reason.

    Parameters
    ----------
    fit : xr.DataTree

    Returns
    -------
    dict of str to list of str
        Empty for a complete fit. Reasons: the group is absent or empty, a required variable is
        absent, lacks a dim, is not a number or has no values; the draws of a group do not match
        those of the posterior; the sites or months of two groups differ.
    """
    found: dict[str, list[str]] = {}
    for group, required in REQUIRED.items():
        reasons = _reasons(fit, group, required)
        if reasons:
            found[group] = reasons
    for group, reason in _mismatches(fit, found):
        found.setdefault(group, []).append(reason)
    return found


def _reasons(fit: xr.DataTree, group: str, required: Mapping[str, set[str]]) -> list[str]:
    if group not in fit.children:
        return ["the group is absent"]
    ds = fit[group].to_dataset()
    reasons = []
    for name, dims in required.items():
        if name not in ds:
            reasons.append(f"{name} is absent")
        elif lacking := sorted(dims - set(map(str, ds[name].dims))):
            reasons.append(f"{name} lacks the dims {', '.join(lacking)}")
    judged = ds.data_vars if group == "posterior" else [n for n in required if n in ds]
    for name in map(str, judged):
        variable = ds[name]
        if variable.dtype.kind not in "fiub":
            reasons.append(f"{name} is not a number")
        elif name in required and variable.size == 0:
            reasons.append(f"{name} has no values")
        elif group == "posterior" and not set(map(str, variable.dims)) >= _SAMPLE:
            reasons.append(f"{name} lacks the dims chain and draw")
    if group == "constant_data" and not reasons:
        exposure = ds["exposure"].values
        if (exposure < 0).any():
            reasons.append("exposure is negative in some cell")
        elif not (exposure != 0).any():
            reasons.append("no cell has any exposure")
    return list(dict.fromkeys(reasons))


def _mismatches(fit: xr.DataTree, broken: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    if not {"posterior", "sample_stats"} & set(broken):
        draws = [{d: fit[g].to_dataset().sizes[d] for d in SAMPLE_DIMS} for g in _DRAWS[:2]]
        if draws[0] != draws[1]:
            yield "sample_stats", f"its draws {draws[1]} are not those of the posterior {draws[0]}"
    if "constant_data" in broken:
        return
    exposure = fit["constant_data"].to_dataset()["exposure"]
    for group in _CELLS:
        if group in broken:
            continue
        y = fit[group].to_dataset()["y"]
        for dim in (SITE, MONTH):
            same = y.sizes[dim] == exposure.sizes[dim] and np.array_equal(
                y[dim].values, exposure[dim].values
            )
            if not same:
                yield group, f"its {dim}s are not those of constant_data"


def likelihood_cells(fit: xr.DataTree) -> np.ndarray:
    """Cells of the panel that are in the likelihood.

    Parameters
    ----------
    fit : xr.DataTree
        With a usable group ``constant_data``.

    Returns
    -------
    np.ndarray of bool, shape (site, month)
        Where the exposure is not zero. A missing exposure counts as a cell, so that it is found.
    """
    exposure = fit["constant_data"].to_dataset()["exposure"].transpose(SITE, MONTH).values
    return np.asarray(exposure != 0)


def non_finite(fit: xr.DataTree, broken: Mapping[str, object]) -> list[NonFinite]:
    """Variables with NaN or infinite values where there must be numbers.

    Parameters
    ----------
    fit : xr.DataTree
    broken : mapping
        Groups that cannot be looked at, as from `broken_groups`.

    Returns
    -------
    list of NonFinite
        Draws must be finite everywhere; the outcome ``y``, observed or replicated, in the cells of
        the likelihood; exposure in every cell.
    """
    found = []
    for group in _DRAWS:
        if group not in broken:
            ds = fit[group].to_dataset()
            names = list(REQUIRED[group]) if group == "sample_stats" else list(ds.data_vars)
            found += [_located(group, str(n), ds[n]) for n in names if ds[n].dtype.kind == "f"]
    if "constant_data" not in broken:
        found.append(
            _located("constant_data", "exposure", fit["constant_data"].to_dataset()["exposure"])
        )
        cells = likelihood_cells(fit)
        for group in _CELLS:
            if group not in broken:
                found += _in_cells(fit[group].to_dataset(), group, cells)
    return [item for item in found if item.count]


def _in_cells(ds: xr.Dataset, group: str, cells: np.ndarray) -> list[NonFinite]:
    found = []
    for name in ("y", "mu"):
        if name in ds:
            values = ds[name].transpose(..., SITE, MONTH)
            judged = values.copy(data=np.where(cells, values.values, 0.0))
            found.append(_located(group, name, judged))
    return found


def _located(group: str, name: str, values: xr.DataArray) -> NonFinite:
    bad = ~np.isfinite(values.values)
    count = int(np.count_nonzero(bad))
    first = ""
    if count:
        at = np.unravel_index(int(bad.argmax()), bad.shape)
        labels = zip(values.dims, at, strict=True)
        first = ", ".join(f"{dim}={values[dim].values[i]}" for dim, i in labels)
    return NonFinite(group, name, count, first)


def element_labels(values: xr.DataArray, name: str) -> list[str]:
    """Names of all scalar elements of a variable, such as ``site_effect[site=A]``.

    Parameters
    ----------
    values : xr.DataArray, dims (chain, draw, ...) in any order
    name : str
        Name of the variable.

    Returns
    -------
    list of str
        In the order of the remaining dims, the last fastest; the bare name for a scalar.
    """
    rest = [dim for dim in values.dims if dim not in SAMPLE_DIMS]
    if not rest:
        return [name]
    parts = [[f"{dim}={label}" for label in values[dim].values] for dim in rest]
    return [f"{name}[{', '.join(combination)}]" for combination in itertools.product(*parts)]
