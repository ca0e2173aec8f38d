"""Which baseline strategy predicts best what it has not seen.

By cell from one fit (Pareto smoothed leave-one-out), and by refits with cells hidden: untreated
months of whole sites, and untreated months after a date. Leaving out one cell says something of the
observation family only, since its neighbours give it away; a reconstructed baseline has to predict
a site without untreated months, or months to come.

References
----------
Vehtari, Gelman, Gabry (2017). Practical Bayesian model evaluation using leave-one-out
cross-validation and WAIC. Statistics and Computing 27, 1413-1432. Bürkner, Gabry, Vehtari (2020).
Approximate leave-future-out cross-validation for Bayesian time series models. Journal of
Statistical Computation and Simulation 90(14), 2499-2523.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

from lndbayes.base.names import MONTH, SITE
from lndbayes.data.evaluation import EvaluationData
from lndbayes.estimands.predictors import predictors
from lndbayes.fitting.fit import load_fit
from lndbayes.fitting.parallel import FitJob, fit_many
from lndbayes.model.design import build_design
from lndbayes.spec.families import FAMILIES, inverse
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "cross_validate",
    "elpd_table",
    "future_folds",
    "heldout_density",
    "loo_by_cell",
    "site_folds",
]

_K_MAX = 0.7
_CHUNK = 200


def loo_by_cell(fit: xr.DataTree) -> tuple[dict[str, object], pd.DataFrame]:
    """Leave-one-cell-out score of one fit, with the cells for which it cannot be trusted.

    Parameters
    ----------
    fit : xr.DataTree
        With group ``log_likelihood``.

    Returns
    -------
    dict
        ``elpd``, ``se``, ``p`` (effective parameters), ``cells``, ``bad`` (cells with Pareto k
        above 0.7) and ``advice``.
    pd.DataFrame
        ``site``, ``month``, ``elpd``, ``pareto_k``, worst k first.
    """
    array = fit["log_likelihood"].to_dataset()["y"].astype(float)
    tree = xr.DataTree.from_dict({"/log_likelihood": xr.Dataset({"y": array})})
    tree["posterior"] = xr.DataTree(fit["posterior"].to_dataset()[["effect_mean"]])
    with warnings.catch_warnings():
        # a large k is in the table and in the advice, where it is not overlooked
        warnings.simplefilter("ignore", UserWarning)
        found = az.loo(tree, pointwise=True, reff=1.0)
    k = np.asarray(found.pareto_k)
    table = pd.DataFrame(
        {
            "site": array["cell_site"].values,
            "month": array["cell_month"].values,
            "elpd": np.asarray(found.elpd_i),
            "pareto_k": k,
        }
    ).sort_values("pareto_k", ascending=False, ignore_index=True)
    bad = int((~(k <= _K_MAX)).sum())
    advice = "Every cell can be left out by weights."
    if bad:
        advice = (
            f"{bad} cells have a Pareto k above {_K_MAX}: refit without each of them, or compare"
            " by folds; the score of the others stands."
        )
    numbers = {"elpd": float(found.elpd), "se": float(found.se), "p": float(found.p)}
    return {**numbers, "cells": len(k), "bad": bad, "advice": advice}, table


# --- folds ----------------------------------------------------------------------------------------


def site_folds(spec: ModelSpec, data: EvaluationData, folds: int) -> dict[str, xr.DataArray]:
    """Untreated months of whole sites hidden: each site with any in one fold, waves spread evenly.

    Parameters
    ----------
    spec, data
        What is fitted.
    folds : int
        Number of folds, at least 2.

    Returns
    -------
    dict of str to xr.DataArray of bool
        Dims (site, month), as `lndbayes.fit` takes them.
    """
    if folds < 2:
        raise ValueError("at least 2 folds")
    used, event, wave = _cells(spec, data)
    untreated = used & (event < 0)
    sites = np.flatnonzero(untreated.any(axis=1))
    order = sites[np.lexsort((sites, wave[sites]))]
    masks = {}
    for fold in range(min(folds, len(order))):
        hidden = np.zeros_like(untreated)
        members = order[fold::folds]
        hidden[members] = untreated[members]
        masks[f"sites_{fold + 1}"] = _labelled(data, hidden)
    return masks


def future_folds(
    spec: ModelSpec, data: EvaluationData, origins: Sequence[str]
) -> dict[str, xr.DataArray]:
    """Every month from a date on hidden; what is scored of it are untreated months.

    Parameters
    ----------
    spec, data
        What is fitted.
    origins : sequence of str
        First hidden months, labels of the data's grid.

    Returns
    -------
    dict of str to xr.DataArray of bool
    """
    used, event, _ = _cells(spec, data)
    months = data.ds[MONTH].to_numpy()
    masks = {}
    for origin in origins:
        later = months >= origin
        if not (used & (event < 0) & later).any() or later.all():
            raise ValueError(f"no untreated month on both sides of {origin}")
        masks[f"from_{origin}"] = _labelled(data, used & later)
    return masks


def _cells(spec: ModelSpec, data: EvaluationData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    design = build_design(spec, data)
    # a withheld or rounded count has no density of its own
    exact = (design["exposure"] > 0) & (design["exposure_exact"] > 0)
    return exact, design["event_time"], design["wave_index"]


def _labelled(data: EvaluationData, values: np.ndarray) -> xr.DataArray:
    coords = {dim: data.ds[dim].to_numpy() for dim in (SITE, MONTH)}
    return xr.DataArray(values, dims=(SITE, MONTH), coords=coords)


# --- refits ---------------------------------------------------------------------------------------


def heldout_density(fit: xr.DataTree, cells: xr.DataArray) -> pd.DataFrame:
    """Log predictive density of cells that a fit has not seen.

    Parameters
    ----------
    fit : xr.DataTree
        Fitted with those cells hidden; groups ``posterior`` and ``constant_data``.
    cells : xr.DataArray of bool, dims (site, month)
        The cells to score.

    Returns
    -------
    pd.DataFrame
        ``site``, ``month``, ``lpd``: log of the mean over draws of the density of the first stage.
    """
    constant = fit["constant_data"].to_dataset()
    labels = {dim: constant[dim] for dim in (SITE, MONTH)}
    s, t = np.nonzero(cells.sel(labels).transpose(SITE, MONTH).to_numpy())
    n, y = (
        constant[k].transpose(SITE, MONTH).values[s, t] for k in ("exposure_exact", "count_exact")
    )
    seen = constant["exposure"].transpose(SITE, MONTH).values[s, t] > 0
    if seen.any():
        raise ValueError("cells to score were in the likelihood")
    if (n <= 0).any():
        raise ValueError("cells to score must have exact counts")
    posterior = fit["posterior"].to_dataset()
    # a step in the records is part of what is recorded
    step = posterior["go_live_step"].transpose("chain", "draw").values[..., None]
    after = np.nan_to_num(constant["event_time"].transpose(SITE, MONTH).values[s, t], nan=-1) >= 0
    family = FAMILIES[str(fit.attrs["family"])]
    held = constant["coverage"].transpose(SITE, MONTH).values[s, t]
    parts = []
    for start in range(0, posterior.sizes["draw"], _CHUNK):
        draws = slice(start, start + _CHUNK)
        eta = predictors(fit, draws)["eta1"].to_numpy()[..., s, t] + step[:, draws] * after
        phi, *shape = (
            posterior[k].transpose("chain", "draw").values[:, draws, None]
            for k in ("overdispersion", "person_dispersion")
            if k in posterior
        )
        if family.link == "log":
            size = 1 / (1 / (n * shape[0]) + 1 / phi)
            mean = n * held * np.exp(eta)
            parts.append(stats.nbinom(size, size / (size + mean)).logpmf(y))
        else:
            p = held * inverse(family.link, eta)
            parts.append(stats.betabinom(n.astype(int), p * phi, (1 - p) * phi).logpmf(y))
    density = np.concatenate(parts, axis=1).reshape(-1, len(s))
    return pd.DataFrame(
        {
            "site": constant[SITE].values[s],
            "month": constant[MONTH].values[t],
            "lpd": logsumexp(density, axis=0) - np.log(len(density)),
        }
    )


def kept_posterior(tree: xr.DataTree) -> xr.DataTree:
    """What `heldout_density` needs of a fit."""
    groups = {f"/{name}": tree[name].to_dataset() for name in ("posterior", "constant_data")}
    return xr.DataTree.from_dict(groups)


def cross_validate(
    strategies: Mapping[str, ModelSpec],
    data: EvaluationData,
    folds: Mapping[str, xr.DataArray],
    folder: str | Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    say: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Fit every strategy with each fold hidden, and score the fold's untreated cells.

    Parameters
    ----------
    strategies : mapping of str to ModelSpec
        By name.
    data : EvaluationData
        The data.
    folds : mapping of str to xr.DataArray
        From `site_folds` or `future_folds`.
    folder : str or Path
        Where refits are kept; those made from the same inputs are not made again.
    workers, scheduler, say
        See `lndbayes.fit_many`.

    Returns
    -------
    pd.DataFrame
        ``fold``, ``site``, ``month`` and a column of log predictive densities for each strategy.
    """
    jobs = {
        f"{name}-{fold}": FitJob(spec, data, hidden)
        for name, spec in strategies.items()
        for fold, hidden in folds.items()
    }
    paths = fit_many(
        jobs, folder, keep=kept_posterior, workers=workers, scheduler=scheduler, say=say
    )
    first = next(iter(strategies.values()))
    used, event, _ = _cells(first, data)
    untreated = _labelled(data, used & (event < 0))
    parts = []
    for fold, hidden in folds.items():
        columns = {
            name: heldout_density(load_fit(paths[f"{name}-{fold}"]), hidden & untreated)
            for name in strategies
        }
        table = next(iter(columns.values()))[["site", "month"]].assign(fold=fold)
        parts.append(table.assign(**{name: c["lpd"] for name, c in columns.items()}))
    whole = pd.concat(parts, ignore_index=True)
    return whole[["fold", "site", "month", *strategies]]


def elpd_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Expected log predictive density of each strategy, and its distance from the best.

    Parameters
    ----------
    scores : pd.DataFrame
        From `cross_validate`.

    Returns
    -------
    pd.DataFrame
        ``strategy``, ``elpd``, ``se``, ``difference`` (to the best, at most 0), ``se_difference``,
        ``cells``, ``sites``, best first. Cells of one site are not independent: standard errors
        are those of sums over sites.
    """
    names = [c for c in scores.columns if c not in ("fold", "site", "month")]
    by_site = scores.groupby("site")[names].sum()
    best = str(by_site.sum().idxmax())
    rows = []
    for name in names:
        gap = by_site[name] - by_site[best]
        rows.append(
            {
                "strategy": name,
                "elpd": float(by_site[name].sum()),
                "se": _se(by_site[name]),
                "difference": float(gap.sum()),
                "se_difference": _se(gap),
                "cells": len(scores),
                "sites": len(by_site),
            }
        )
    table = pd.DataFrame(rows).sort_values("elpd", ascending=False, ignore_index=True)
    return table


def _se(values: pd.Series) -> float:
    """Standard error of a sum of independent parts."""
    return float(np.sqrt(len(values)) * values.std(ddof=1)) if len(values) > 1 else float("nan")
