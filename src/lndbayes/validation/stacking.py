"""Stacking of predictive distributions, and draws of the stacked posterior.

Weights maximise the mean log of the mixture's predictive density over cells that none of the fits
has seen. They are valid for cells like those: weights from untreated months say nothing of sites
that never had any.

References
----------
Yao, Vehtari, Simpson, Gelman (2018). Using stacking to average Bayesian predictive distributions.
Bayesian Analysis 13(3), 917-1007.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

from lndbayes.base.names import CHAIN, DRAW, SAMPLE_DIMS

__all__ = ["stacked_fit", "stacking_weights"]

#: Bound on what the mean log density could still gain, at which the weights are taken.
_GAP = 1e-6
_ROUNDS = 100_000

#: Smooth curves: coefficients, the functions they multiply, and their dim.
_CURVES = (
    ("national_curve", "national_functions", "basis_national"),
    ("site_curve", "site_functions", "basis_site"),
)
#: What must be the same in all fits, since estimands of the stacked draws are computed with one.
_SHARED = (
    *("exposure_all", "exposure_exact", "count_exact"),
    *("event_time", "time", "harmonics", "half_period"),
)
_SHARED_IF_THERE = ("wave_sd", "mix_centre", "referrals", "wave_index", "predecessor")


def stacking_weights(log_density: np.ndarray) -> np.ndarray:
    """Weights of the mixture with the largest mean log predictive density.

    Parameters
    ----------
    log_density : np.ndarray, shape (cell, strategy)
        Log predictive densities of held-out cells, finite.

    Returns
    -------
    np.ndarray, shape (strategy,)
        Not negative, sum 1; the mean log density is within a millionth of the optimum (the largest
        gradient bounds what is missing, the problem being concave).
    """
    if log_density.ndim != 2 or log_density.size == 0 or not np.isfinite(log_density).all():
        raise ValueError("needs finite log densities of at least one cell and one strategy")
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    count = density.shape[1]

    def gradient_at(w: np.ndarray) -> np.ndarray:
        return np.asarray((density / (density @ w)[:, None]).mean(axis=0))

    # from the middle: at a corner a mixture could have the density zero in some cell
    w = np.full(count, 1 / count)
    for _ in range(_ROUNDS):
        gradient = gradient_at(w)
        if gradient.max() - 1 <= _GAP:
            return np.asarray(w)
        # expectation maximisation: never falls
        w = w * gradient
        w = w / w.sum()
    raise ValueError(f"stacking weights did not settle within {_ROUNDS} rounds")


def stacked_fit(
    fits: Mapping[str, xr.DataTree], weights: Mapping[str, float], *, seed: int
) -> xr.DataTree:
    """Draws of several fits in proportion to weights, as one fit that estimands can read.

    Smooth curves of different bases are put side by side: every draw has zeros in the coefficients
    of the others, so that its linear predictor is that of its own fit.

    Parameters
    ----------
    fits : mapping of str to xr.DataTree
        Fits of one outcome to the same data.
    weights : mapping of str to float
        For the same names; not negative, sum 1.
    seed : int
        Chooses the draws, without replacement as far as a fit has enough.

    Returns
    -------
    xr.DataTree
        Groups ``posterior`` (as many chains and draws as the first fit; variables that all fits
        have) and ``constant_data``; attributes of the first fit, with ``stacking`` (JSON) and
        without its ``fit_key``.

    Raises
    ------
    ValueError
        If names differ, weights are no weights, or the fits are not of the same data.
    """
    names = list(fits)
    w = np.array([weights[name] for name in names]) if set(weights) == set(names) else None
    if w is None or not (w >= 0).all() or abs(w.sum() - 1) > 1e-6:
        raise ValueError("weights must be given for exactly the fits, and sum to 1")
    _must_agree(fits)
    first = fits[names[0]]["posterior"].to_dataset()
    shape = (first.sizes[CHAIN], first.sizes[DRAW])
    rng = np.random.default_rng(seed)
    counts = _counts(w, shape[0] * shape[1])
    parts, functions = _side_by_side(fits)
    chosen = []
    for name, count in zip(names, counts, strict=True):
        flat = parts[name].stack(sample=SAMPLE_DIMS, create_index=False)
        flat = flat.drop_vars([*SAMPLE_DIMS], errors="ignore")
        size = flat.sizes["sample"]
        at = rng.choice(size, size=count, replace=count > size)
        chosen.append(flat.isel(sample=at))
    common = set.intersection(*(set(map(str, part.data_vars)) for part in chosen))
    keep = [str(v) for v in chosen[0].data_vars if str(v) in common]
    whole = xr.concat([part[keep] for part in chosen], dim="sample", join="exact")
    whole = whole.isel(sample=rng.permutation(whole.sizes["sample"]))
    posterior = _unstacked(whole, shape)
    constant = fits[names[0]]["constant_data"].to_dataset()
    drop = [v for v in constant.data_vars if str(v).startswith("unconstrained_")]
    dims = {dim for *_, dim in _CURVES if dim in constant.dims}
    constant = constant.drop_vars(drop).drop_dims([d for d in dims if d in functions])
    constant = constant.assign({n: v for found in functions.values() for n, v in found.items()})
    tree = xr.DataTree.from_dict({"/posterior": posterior, "/constant_data": constant})
    tree.attrs = {k: v for k, v in fits[names[0]].attrs.items() if k != "fit_key"}
    tree.attrs["stacking"] = json.dumps(dict(zip(names, map(float, w), strict=True)))
    return tree


def _must_agree(fits: Mapping[str, xr.DataTree]) -> None:
    constants = [fit["constant_data"].to_dataset() for fit in fits.values()]
    for name in (*_SHARED, *_SHARED_IF_THERE):
        there = [name in c for c in constants]
        if not any(there) and name in _SHARED_IF_THERE:
            continue
        if not all(there) or any(not constants[0][name].equals(c[name]) for c in constants[1:]):
            raise ValueError(f"the fits are not of the same data: {name} differs")


def _counts(weights: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers in proportion to weights with a given sum, by largest remainders."""
    exact = weights / weights.sum() * total
    counts = np.floor(exact).astype(int)
    for i in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[i] += 1
    return counts


def _side_by_side(
    fits: Mapping[str, xr.DataTree],
) -> tuple[dict[str, xr.Dataset], dict[str, dict[str, xr.DataArray]]]:
    """Posteriors on one basis, and that basis's functions by dim where the fits' bases differ."""
    posteriors = {name: fit["posterior"].to_dataset() for name, fit in fits.items()}
    constants = [fit["constant_data"].to_dataset() for fit in fits.values()]
    joined: dict[str, dict[str, xr.DataArray]] = {}
    for curve, functions, dim in _CURVES:
        if all(constants[0][functions].equals(c[functions]) for c in constants[1:]):
            continue
        sizes = [c.sizes[dim] for c in constants]
        labels = np.arange(sum(sizes))
        stack = np.concatenate([c[functions].transpose(..., dim).values for c in constants], axis=1)
        rows = next(d for d in constants[0][functions].dims if d != dim)
        joined[dim] = {functions: xr.DataArray(stack, dims=(rows, dim), coords={dim: labels})}
        start = 0
        for name, size in zip(fits, sizes, strict=True):
            old = posteriors[name][curve]
            own = labels[start : start + size]
            new = old.assign_coords({dim: own}).reindex({dim: labels}, fill_value=0.0)
            posteriors[name] = posteriors[name].drop_vars([curve, dim], errors="ignore")
            posteriors[name] = posteriors[name].assign({curve: new})
            start += size
    return posteriors, joined


def _unstacked(flat: xr.Dataset, shape: tuple[int, int]) -> xr.Dataset:
    variables = {}
    for name, array in flat.data_vars.items():
        last = array.transpose("sample", ...)
        values = last.values.reshape(*shape, *last.shape[1:])
        variables[str(name)] = ((*SAMPLE_DIMS, *last.dims[1:]), values)
    labels = {str(d): flat[d].values for d in flat.dims if d != "sample" and d in flat.coords}
    coords = {CHAIN: np.arange(shape[0]), DRAW: np.arange(shape[1]), **labels}
    return xr.Dataset(variables, coords=coords)
