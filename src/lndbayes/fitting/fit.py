"""Fit one outcome: draws with provenance, as a plain `xarray.DataTree`, kept and reused."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lndbayes.base.errors import DataError, FitError, Problem
from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.coordinates.transform import Coordinates
from lndbayes.data.evaluation import EvaluationData
from lndbayes.files.source import versions
from lndbayes.files.storage import Damaged, read_netcdf_tree, write_netcdf
from lndbayes.fitting.prepared import SCHEMA, PreparedOutcome, fit_key, prepare_outcome
from lndbayes.fitting.sampler import (
    coordinates_of,
    find_coordinates,
    sample_density,
    stored_coordinates,
)
from lndbayes.fitting.threads import one_blas_thread
from lndbayes.fitting.trees import constant_dataset, draws_dataset, sample_coords, spec_attributes
from lndbayes.model.design import Design
from lndbayes.model.layout import REAL, constrain
from lndbayes.model.mask import without_cells, without_treated
from lndbayes.model.predictive import (
    cell_log_likelihood,
    complete_counts,
    dispersion,
    draw_counts,
    draw_stages,
    prior_draws,
)
from lndbayes.model.support import lacking
from lndbayes.model.surface import linear_predictors
from lndbayes.spec.families import inverse
from lndbayes.spec.linear import LINEAR, fixed_scales, setting
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["coordinates_of", "fit", "fit_key", "load_fit", "save_fit", "stored_fit", "versions"]


_PRIOR_DRAWS = 1000
_PREDICTIVE_DRAWS = 250


@one_blas_thread
def fit(
    spec: ModelSpec,
    data: EvaluationData,
    *,
    cores: int | None = None,
    progress: bool = False,
    callback: Callable[[Any], None] | None = None,
    predictive: bool = True,
    hide_treated: bool = False,
    hidden: xr.DataArray | None = None,
    coordinates: Coordinates | None = None,
    needs_pilot: bool = False,
) -> xr.DataTree:
    """Draw from the posterior of one outcome's model.

    Parameters
    ----------
    spec : ModelSpec
        Model, priors and sampler settings; ``spec.sampling.seed`` fixes every random number.
    data : EvaluationData
        The evaluation data.
    cores : int, optional
        Chains sampled at the same time; default all the machine's cores.
    progress : bool
        Show a progress bar.
    callback : callable, optional
        Receives the sampler's chain progress now and then.
    predictive : bool
        Whether to add prior, predictive and log likelihood groups, which checks need and refits
        for sensitivity do not.
    hide_treated : bool
        Leave out every month after go-live: what the untreated months and the evidence channels
        say of the baseline by themselves.
    hidden : xarray.DataArray of bool, optional
        Dims (site, month), labelled: cells to leave out of the likelihood, as a back-test does.
    coordinates : Coordinates, optional
        From `coordinates_of` of a similar fit; default, a short pilot run finds them.
    needs_pilot : bool
        Whether that fit is too different: a pilot run then starts in the linear part of its
        `coordinates`.

    Returns
    -------
    xarray.DataTree
        Groups ``posterior``, ``sample_stats``, ``prior``, ``prior_predictive``,
        ``posterior_predictive``, ``log_likelihood``, ``observed_data``, ``constant_data``, dims
        ``(chain, draw, ...)``; root attributes hold the spec's text and hash, the data hash, seed,
        versions and wall seconds.

    Raises
    ------
    DataError
        If the data cannot carry the model.
    FitError
        If sampling cannot start.
    """
    start = time.perf_counter()
    outcome = prepare_outcome(spec, data, supported=False)
    return fit_prepared(
        outcome,
        cores=cores,
        progress=progress,
        callback=callback,
        predictive=predictive,
        hide_treated=hide_treated,
        hidden=hidden,
        coordinates=coordinates,
        needs_pilot=needs_pilot,
        seconds=time.perf_counter() - start,
    )


@one_blas_thread
def fit_prepared(
    outcome: PreparedOutcome,
    *,
    cores: int | None = None,
    progress: bool = False,
    callback: Callable[[Any], None] | None = None,
    predictive: bool = True,
    hide_treated: bool = False,
    hidden: xr.DataArray | None = None,
    coordinates: Coordinates | None = None,
    needs_pilot: bool = False,
    seconds: float = 0.0,
) -> xr.DataTree:
    """Draw from the posterior of an outcome whose design is at hand; see `fit`.

    Parameters
    ----------
    outcome : PreparedOutcome
        From `lndbayes.fitting.prepared.prepare_outcome`.
    cores, progress, callback, predictive, hide_treated, hidden, coordinates, needs_pilot
        See `fit`.
    seconds : float
        What its design took.
    """
    clock = time.perf_counter() - seconds
    spec, data, design = outcome.spec, outcome.data, outcome.design
    if not design["exposure_all"].any():
        raise DataError(lacking(spec, data, design))
    if hide_treated:
        design = without_treated(design)
    if hidden is not None:
        labels = {dim: design.coords[dim] for dim in ("site", "month")}
        design = without_cells(design, hidden.sel(labels).transpose("site", "month").to_numpy())
    marks = {"design": time.perf_counter() - clock}
    clock = time.perf_counter()
    cores = cores or os.cpu_count() or 1
    if coordinates is None or needs_pilot:
        coordinates = find_coordinates(spec, design, cores=cores, start=coordinates)
        marks["pilot"] = time.perf_counter() - clock
        clock = time.perf_counter()
    raw = sample_density(
        spec, design, cores=cores, coordinates=coordinates, progress=progress, callback=callback
    )
    marks["sampling"] = time.perf_counter() - clock
    clock = time.perf_counter()
    values = constrain(raw.x, design)
    groups = {
        "posterior": draws_dataset(values, spec, design),
        "sample_stats": xr.Dataset(
            {k: (SAMPLE_DIMS, v) for k, v in raw.stats.items()}, coords=sample_coords(raw.x.shape)
        ),
        **(_predictive(spec, design, values, cores) if predictive else {}),
        "observed_data": _observed(spec, design, values),
        "constant_data": constant_dataset(design).merge(stored_coordinates(coordinates)),
    }
    tree = xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})
    marks["predictive"] = time.perf_counter() - clock
    tree.attrs = _attributes(outcome, marks)
    return tree


def _observed(spec: ModelSpec, design: Design, values: Mapping[str, np.ndarray]) -> xr.Dataset:
    """First-stage counts, interval cells completed by a draw; and the later stages' counts."""
    rng = np.random.default_rng(np.random.SeedSequence([spec.sampling.seed, 3]))
    y = complete_counts(values, design, spec.family, rng)
    coords = {dim: design.coords[dim] for dim in ("site", "month")}
    found = xr.Dataset({"y": (("site", "month"), y)}, coords=coords)
    if design.coords["stage"]:
        later = np.where(design["stage_exposure"] > 0, design["stage_count"], np.nan)
        found["y_stage"] = (("site", "month", "stage"), later)
        found = found.assign_coords(stage=design.coords["stage"])
    return found


def _predictive(
    spec: ModelSpec, design: Design, values: Mapping[str, np.ndarray], cores: int
) -> dict[str, xr.Dataset]:
    """Prior, both predictive groups (thinned, they only serve checks) and log likelihood."""
    prior_seed, prior_noise, noise = np.random.SeedSequence([spec.sampling.seed, 1]).spawn(3)
    prior = prior_draws(spec, design, _PRIOR_DRAWS, int(prior_seed.generate_state(1)[0]))
    step = max(1, spec.sampling.draws // _PREDICTIVE_DRAWS)
    thin = {k: v[:, ::step] for k, v in values.items()}
    few = {k: v[:, :_PREDICTIVE_DRAWS] for k, v in prior.items()}
    out = {"prior": draws_dataset(prior, spec, design)}
    family = spec.family
    for group, part, seed in (
        ("prior_predictive", few, prior_noise),
        ("posterior_predictive", thin, noise),
    ):
        _, eta1 = linear_predictors(part, design)
        rng = np.random.default_rng(seed)
        spread = dispersion(part, family)
        y = draw_counts(eta1, spread, design["exposure"], design["coverage"], family, rng)
        coords = {**sample_coords(y.shape), **{d: design.coords[d] for d in ("site", "month")}}
        dims = (*SAMPLE_DIMS, "site", "month")
        used = design["exposure"] > 0
        mu = np.where(used, design["coverage"] * inverse(family.link, eta1), np.nan)
        variables = {"y": (dims, y.astype(np.float32)), "mu": (dims, mu.astype(np.float32))}
        out[group] = xr.Dataset(variables, coords=coords)
    if family.staged and design.coords["stage"]:
        later = draw_stages(thin, design, family, rng, eta1).astype(np.float32)
        out["posterior_predictive"]["y_stage"] = ((*dims, "stage"), later)
        stages = out["posterior_predictive"].assign_coords(stage=design.coords["stage"])
        out["posterior_predictive"] = stages
    log_likelihood = cell_log_likelihood(values, design, family, cores=cores).astype(np.float32)
    site, month = np.nonzero(design["site_weight"] > 0)
    out["log_likelihood"] = xr.Dataset(
        {"y": ((*SAMPLE_DIMS, "cell"), log_likelihood)},
        coords={
            **sample_coords(log_likelihood.shape),
            "cell_site": ("cell", np.asarray(design.coords["site"])[site]),
            "cell_month": ("cell", np.asarray(design.coords["month"])[month]),
        },
    )
    return out


def _attributes(outcome: PreparedOutcome, marks: Mapping[str, float]) -> dict[str, Any]:
    spec, data = outcome.spec, outcome.data
    return {
        **spec_attributes(spec),
        "data_hash": data.hash,
        "data_name": data.name,
        "period": data.period,
        "synthetic": int(data.synthetic),
        "fit_key": outcome.key,
        "fixed_variables": json.dumps(_fixed_variables(spec, data, outcome.design)),
        "versions": json.dumps(versions(), sort_keys=True),
        "wall_seconds": json.dumps({k: round(v, 3) for k, v in marks.items()}),
        "schema": SCHEMA,
    }


def _fixed_variables(spec: ModelSpec, data: EvaluationData, design: Design) -> list[str]:
    """Variables that are constant by construction, so that their spread is no sign of trouble."""
    scales = {"shared_bias": "sensitivity.shared_bias_sd", "pulse": "effect.pulse_sd"}
    scales |= {b.name: prior.key for b, prior in fixed_scales() if b.name in REAL or b.dims}
    none = [block.name for block in LINEAR if any(not design.coords[dim] for dim in block.dims)]
    fixed = [k for k, key in scales.items() if k not in none and not np.any(setting(spec, key))]
    # what sums to zero over one place is zero
    for block in LINEAR:
        (summed, *_) = block.variable_dims[::-1] or ("",)
        if block.zero_sum and len(design.coords[summed]) == 1 and block.name not in fixed:
            fixed.append(block.name)
    if data.ds.sizes["intervention"] < 2:
        fixed += ["mix_effect", "mix_share"]
    return fixed


def save_fit(tree: xr.DataTree, path: str | Path) -> Path:
    """Write a fit as NetCDF, whole or not at all, under a seal of its content.

    Parameters
    ----------
    tree : xarray.DataTree
        A fit.
    path : str or Path
        Where to; parent folders are made.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    FitError
        If it was read from a file and changed since: see `lndbayes.files.storage.sealed`.
    DataError, MachineError
        If it cannot be written there.
    """
    path = Path(path)
    try:
        write_netcdf(tree, path)
    except Damaged as error:
        raise FitError(Problem(str(path), f"is not written: the fit {error}")) from error
    return path


def load_fit(path: str | Path) -> xr.DataTree:
    """Read a stored fit into memory.

    Parameters
    ----------
    path : str or Path
        A file that `save_fit` wrote.

    Returns
    -------
    xarray.DataTree

    Raises
    ------
    FitError
        If the file is missing, truncated, not a fit of this schema, or holds something else than
        was stored: edited draws and settings are not read.
    """
    path = Path(path)
    if not path.is_file():
        raise FitError(Problem(str(path), "no stored fit"))
    try:
        loaded = read_netcdf_tree(path)
    except Damaged as error:
        raise FitError(Problem(str(path), f"is not a readable fit: {error}")) from error
    if not np.array_equal(np.asarray(loaded.attrs.get("schema")), SCHEMA):
        raise FitError(Problem(str(path), f"was not written with schema {SCHEMA} of fit files"))
    return loaded


def stored_fit(path: str | Path, key: str) -> xr.DataTree | None:
    """Return the stored fit if it was made from the same inputs, else None.

    Parameters
    ----------
    path : str or Path
        Where the fit would be.
    key : str
        From `fit_key`.
    """
    if not Path(path).is_file():
        return None
    try:
        tree = load_fit(path)
    except FitError:
        # an unreadable or older file is not a finished fit: it is made again
        return None
    return tree if tree.attrs.get("fit_key") == key else None
