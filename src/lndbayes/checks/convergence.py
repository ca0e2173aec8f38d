"""Numbers about the sampler: chains of every scalar element, divergences, energy, tree depth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats

from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.checks.structure import HEADLINE, element_labels
from lndbayes.fitting.chain_statistics import TAIL_PROBS, chain_statistics

# Fewer draws a chain have no effective sample size.
_MIN_DRAWS = 4

__all__ = ["SamplerNumbers", "elements", "reported_elements", "sampler_numbers"]

#: Root attribute of a fit: JSON list of variables, or labels of elements, constant by construction.
FIXED = "fixed_variables"


@dataclass(frozen=True, slots=True)
class SamplerNumbers:
    """What the sampler says about itself.

    Attributes
    ----------
    draws : int
        Draws over all chains.
    divergent : int
        Divergent transitions among them.
    bfmi : np.ndarray, shape (chain,)
        Estimated Bayesian fraction of missing information (Betancourt 2016); NaN for a chain whose
        energy does not vary.
    depth_share : float
        Share of draws whose trajectory reached the depth limit.
    """

    draws: int
    divergent: int
    bfmi: np.ndarray
    depth_share: float


def sampler_numbers(stats: xr.Dataset, *, depth_limit: int) -> SamplerNumbers:
    """Divergences, energy and tree depth.

    Parameters
    ----------
    stats : xr.Dataset
        Group ``sample_stats`` with ``diverging``, ``energy`` and ``depth``, dims (chain, draw).
    depth_limit : int
        Depth at which the sampler stops a trajectory.

    Returns
    -------
    SamplerNumbers

    References
    ----------
    Betancourt (2016). Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo.
    arXiv:1604.00695.
    """
    diverging = stats["diverging"].values.astype(bool)
    energy = stats["energy"].transpose(*SAMPLE_DIMS).values.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        bfmi = np.asarray(array_stats.bfmi(energy), dtype=float)
    return SamplerNumbers(
        draws=diverging.size,
        divergent=int(diverging.sum()),
        bfmi=bfmi,
        depth_share=float((stats["depth"].values >= depth_limit).mean()),
    )


def elements(fit: xr.DataTree) -> pd.DataFrame:
    """Chain statistics of every scalar element of every posterior variable.

    Parameters
    ----------
    fit : xr.DataTree

    Returns
    -------
    pd.DataFrame
        One row an element: ``variable``, ``element`` (label with coordinates), ``rhat``,
        ``ess_bulk``, ``ess_tail`` (NaN where they cannot be computed), ``stuck`` (first chain that
        never moves, -1 if none), ``same`` (first pair of chains with the same draws throughout,
        such as ``"0 and 2"``, empty if none). Elements that the fit declares fixed in its root
        attribute ``fixed_variables``, and that are in fact constant, are left out.
    """
    posterior = fit["posterior"].to_dataset()
    fixed = set(json.loads(fit.attrs.get(FIXED, "[]")))
    frames = [
        _variable_elements(array, str(name), fixed) for name, array in posterior.data_vars.items()
    ]
    return pd.concat(frames, ignore_index=True)


def reported_elements(fit: xr.DataTree, reported: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    """Chain statistics of the published quantities.

    Parameters
    ----------
    fit : xr.DataTree
        Its headline posterior variables count as published.
    reported : mapping of str to xr.DataArray, dims (chain, draw, ...)
        Quantities computed from the draws (window effects, events averted, savings).

    Returns
    -------
    pd.DataFrame
        As `elements`, and ``mcse_share``: the larger Monte Carlo standard error of the 5% and the
        95% quantile, as a share of the quantity's sd (NaN where it cannot be computed).
    """
    posterior = fit["posterior"].to_dataset()
    fixed = set(json.loads(fit.attrs.get(FIXED, "[]")))
    quantities = {name: posterior[name] for name in HEADLINE} | dict(reported)
    frames = []
    for name, array in quantities.items():
        frame = _variable_elements(array, name, fixed, with_mcse=True)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _variable_elements(
    array: xr.DataArray, name: str, fixed: set[str], *, with_mcse: bool = False
) -> pd.DataFrame:
    last = array.transpose(..., *SAMPLE_DIMS)
    values = np.asarray(last.values, dtype=float)
    values = values.reshape(int(np.prod(values.shape[:-2])), *values.shape[-2:])
    labels = element_labels(last, name)
    # A declaration alone excludes nothing: an element that moves is checked like any other.
    constant = (values == values[:, :1, :1]).all(axis=(1, 2))
    declared = np.array([name in fixed or label in fixed for label in labels], dtype=bool)
    keep = np.flatnonzero(~(constant & declared))
    values = values[keep]
    statistics = chain_statistics(values)
    frame = pd.DataFrame(
        {
            "variable": name,
            "element": [labels[i] for i in keep],
            "rhat": statistics.rhat,
            "ess_bulk": statistics.ess_bulk,
            "ess_tail": statistics.ess_tail,
            "stuck": _stuck(values),
            "same": _same(values),
        }
    )
    if with_mcse:
        frame["mcse_share"] = _mcse_share(values)
    return frame


def _stuck(values: np.ndarray) -> np.ndarray:
    """First chain that never moves, -1 if none; shape (element,)."""
    still = (values == values[:, :, :1]).all(axis=2)
    return np.where(still.any(axis=1), still.argmax(axis=1), -1)


def _same(values: np.ndarray) -> list[str]:
    """First pair of chains with equal draws throughout.

    Two chains of a continuous quantity agree in all draws only if one was copied or both had the
    same seed; constants are left to `_stuck`, which names them better.
    """
    pairs = [""] * len(values)
    moving = (values != values[:, :, :1]).any(axis=2)
    chains = values.shape[1]
    for i in range(chains):
        for j in range(i + 1, chains):
            equal = (values[:, i] == values[:, j]).all(axis=1) & moving[:, i]
            for row in np.flatnonzero(equal):
                pairs[row] = pairs[row] or f"{i} and {j}"
    return pairs


def _mcse_share(values: np.ndarray) -> np.ndarray:
    share = np.full(len(values), np.nan)
    usable = np.isfinite(values).all(axis=(1, 2))
    usable[usable] = values[usable].std(axis=(1, 2)) > 0
    if usable.any() and values.shape[2] >= _MIN_DRAWS:
        kept = values[usable]
        errors = [array_stats.mcse(kept, method="quantile", prob=p) for p in TAIL_PROBS]
        share[usable] = np.maximum(*errors) / kept.std(axis=(1, 2), ddof=1)
    return share
