"""From a spec and evaluation data to the fixed-shape arrays a model is built on.

Every switch acts through these arrays and never through the graph: a masked cell has exposure 0, a
binomial channel that is off has exposure 0, a normal channel that is off has a standard deviation
of `OFF_SD`. One compiled density therefore serves every mask, channel switch and new data set of
the same shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lndbayes.base.names import PERIOD_MONTHS
from lndbayes.data.evaluation import EvaluationData
from lndbayes.model.basis import harmonics, scaled_time, smooth_basis, steps, walk_basis
from lndbayes.model.cells import cell_arrays
from lndbayes.model.channels import (
    OFF_SD,
    elicited_arrays,
    history_arrays,
    national_arrays,
    retrospective_arrays,
)
from lndbayes.model.covariates import covariate_arrays
from lndbayes.model.shown import NEVER
from lndbayes.spec.linear import fixed_scales, setting
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["OFF_SD", "Design", "acting_seams", "build_design", "event_time", "site_weights"]


@dataclass(frozen=True)
class Design:
    """Arrays of one outcome.

    Attributes
    ----------
    coords : mapping of str to sequence
        Labels of every dim: site, month, intervention, wave, harmonic, basis_national, basis_walk,
        basis_site, retrospective_site, and one per channel's rows.
    arrays : mapping of str to ndarray
        Named arrays, the names being those of the model's data variables. S sites, T periods,
        M interventions.
    dims : mapping of str to tuple of str
        Dims of every array.
    """

    coords: Mapping[str, list[object]]
    arrays: Mapping[str, np.ndarray]
    dims: Mapping[str, tuple[str, ...]]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def replace(self, **arrays: np.ndarray) -> Design:
        """Return a copy with arrays of the same shape replaced (new data, same graph)."""
        for name, value in arrays.items():
            if name not in self.arrays or np.shape(value) != self.arrays[name].shape:
                raise ValueError(f"{name}: no such array of that shape")
        return dataclasses.replace(self, arrays={**self.arrays, **arrays})


def build_design(spec: ModelSpec, data: EvaluationData) -> Design:
    """Build the arrays of one outcome's model.

    Parameters
    ----------
    spec : ModelSpec
        The outcome's spec: windows, switches, scales.
    data : EvaluationData
        The evaluation data.

    Returns
    -------
    Design
        Frozen; nothing in it is missing: a cell without data has exposure 0.

    Raises
    ------
    DataError
        If the outcome is absent or has cells that the family cannot use, with every problem.
    TypeError
        If the two are given in the other order.
    """
    for name, value, kind in (("spec", spec, ModelSpec), ("data", data, EvaluationData)):
        if not isinstance(value, kind):
            got = type(value).__name__
            raise TypeError(f"the arguments are (spec, data): {name} is of the type {got}")
    cells = cell_arrays(spec, data)
    stage = cells.pop("stage")
    step = PERIOD_MONTHS[data.period]
    times = np.arange(data.ds.sizes["month"], dtype=float) * step
    event = event_time(data)
    keep = _kept_cells(spec, event) & (cells["total"] > 0)
    arrays: dict[str, np.ndarray] = {
        "exposure": np.where(keep, cells["exposure"], 0.0),
        "count": np.where(keep, cells["low"], 0.0),
        "count_high": np.where(keep, cells["high"], 0.0),
        "coverage": cells["coverage"],
        "stage_exposure": np.where(keep[..., None], cells["stage_exposure"], 0.0),
        "stage_count": np.where(keep[..., None], cells["stage_count"], 0.0),
        "exposure_all": cells["total"],
        # what can be shown as observed: exact counts of the first stage
        "exposure_exact": np.where(cells["low"] == cells["high"], cells["exposure"], 0.0),
        "count_exact": np.where(cells["low"] == cells["high"], cells["low"], 0.0),
        "event_time": event,
        "time": scaled_time(times),
        "national_functions": smooth_basis(len(times), spec.baseline.national_basis, 2),
        "walk_functions": walk_basis(len(times), spec.baseline.national_walk, step),
        "site_functions": smooth_basis(
            len(times), spec.baseline.site_basis, spec.baseline.site_curve_order
        ),
        "harmonics": harmonics(times, step),
        "seam_functions": _seams(spec, data),
        "half_period": np.array(0.5 * step),
    }
    arrays["site_weight"] = site_weights(arrays)
    arrays |= _site_arrays(data, event)
    arrays |= covariate_arrays(spec, data, event)
    arrays |= retrospective_arrays(spec, data)
    arrays |= history_arrays(spec, data)
    arrays |= national_arrays(spec, data, arrays, step)
    arrays |= elicited_arrays(spec, data, step)
    arrays |= {
        name: np.array(setting(spec, key), dtype=float) for name, key in _FIXED_SCALES.items()
    }
    coords = _coords(spec, data, arrays, stage)
    return Design(coords, arrays, {k: _DIMS[k] for k in arrays})


def site_weights(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Weights of a site's observed cells, shape (S, T); rows sum to 1 or 0."""
    n = arrays["exposure"] + arrays["stage_exposure"].sum(axis=-1)
    return np.asarray(n / np.maximum(n.sum(axis=1, keepdims=True), 1e-9))


def acting_seams(spec: ModelSpec, data: EvaluationData) -> tuple[str, ...]:
    """Seams that part the evaluation's months; at the first month a step would be the level."""
    months = [str(m) for m in data.ds["month"].to_numpy()]
    return tuple(m for m in spec.baseline.seams if months[0] < m <= months[-1])


def _seams(spec: ModelSpec, data: EvaluationData) -> np.ndarray:
    """A step for each month in which the collection changed, shape (T, C)."""
    return steps([str(m) for m in data.ds["month"].to_numpy()], acting_seams(spec, data))


#: Dotted key of the spec of every fixed scale, by the array that holds it.
_FIXED_SCALES: Mapping[str, str] = {
    **{prior.array: prior.key for _, prior in fixed_scales()},
    "shared_bias_sd": "sensitivity.shared_bias_sd",
    "pulse_sd": "effect.pulse_sd",
    "contamination": "baseline.contamination",
}
_CELL = ("site", "month")
_DIMS: Mapping[str, tuple[str, ...]] = {
    "exposure": _CELL,
    "count": _CELL,
    "count_high": _CELL,
    "coverage": _CELL,
    "stage_exposure": (*_CELL, "stage"),
    "stage_count": (*_CELL, "stage"),
    "exposure_all": _CELL,
    "exposure_exact": _CELL,
    "count_exact": _CELL,
    "event_time": _CELL,
    "time": ("month",),
    "national_functions": ("month", "basis_national"),
    "walk_functions": ("month", "basis_walk"),
    "site_functions": ("month", "basis_site"),
    "harmonics": ("month", "harmonic"),
    "seam_functions": ("month", "seam_month"),
    "site_weight": _CELL,
    "half_period": (),
    "mix_count": ("site", "intervention"),
    "mix_centre": ("intervention",),
    "wave_index": ("site",),
    "predecessor": ("site",),
    "earliness": ("site",),
    "covariates": (*_CELL, "covariate"),
    "covariate_unit": ("covariate",),
    "modifiers": ("site", "modifier"),
    "modifier_unit": ("modifier",),
    "referrals": _CELL,
    "retrospective_at": ("retrospective_row", "retrospective_key"),
    "retrospective_exposure": ("retrospective_row",),
    "retrospective_count": ("retrospective_row",),
    "history_at": ("history_row", "history_key"),
    "history_exposure": ("history_row",),
    "history_count": ("history_row",),
    "national_weight": ("national_row", "month"),
    "national_share": ("site",),
    "national_logit": ("national_row",),
    "national_chol": ("national_row", "national_row_2"),
    "national_chol_outlying": ("national_row", "national_row_2"),
    "elicited_weight": ("elicited_row", "site"),
    "elicited_month": ("month",),
    "elicited_logit": ("elicited_row",),
    "elicited_chol": ("elicited_row", "elicited_row_2"),
    "elicited_chol_outlying": ("elicited_row", "elicited_row_2"),
    **dict.fromkeys(_FIXED_SCALES, ()),
}


def event_time(data: EvaluationData) -> np.ndarray:
    """Months since each site's go-live, shape (S, T); `NEVER` where it has none in the months."""
    step = PERIOD_MONTHS[data.period]
    go_live = data.ds["go_live"].to_numpy()
    index = np.arange(data.ds.sizes["month"])
    # a go-live after the last month says no more of these months than none
    never = ~(go_live < len(index))
    event = (index[None, :] - np.where(never, 0, go_live)[:, None]) * step
    return np.where(never[:, None], NEVER, event).astype(np.int64)


def _kept_cells(spec: ModelSpec, event: np.ndarray) -> np.ndarray:
    first, last = spec.effect.transition
    kept = (event < first) | (event > last)
    kept &= ~((event >= 0) & (event < spec.effect.hide_first_months))
    if not spec.baseline.channels.not_yet_treated:
        kept &= event > last
    return np.asarray(kept)


def _waves(data: EvaluationData, event: np.ndarray) -> np.ndarray:
    """Waves of the sites that go live in the months, in order; a wave of none where none does.

    A site without the service has no effect that could differ between waves.
    """
    wave = data.ds["wave"].to_numpy()[(event >= 0).any(axis=1)]
    return np.unique(wave) if wave.size else np.zeros(1, dtype=np.int64)


def _site_arrays(data: EvaluationData, event: np.ndarray) -> dict[str, np.ndarray]:
    ds = data.ds
    sites = ds.sizes["site"]
    mix = ds["mix"].to_numpy() if ds.sizes["intervention"] > 1 else np.zeros((sites, 1))
    mix = np.nan_to_num(mix)
    waves = _waves(data, event)
    wave = ds["wave"].to_numpy()
    # a site in none of them has a place in the arrays and no effect
    wave_index = np.where(np.isin(wave, waves), np.searchsorted(waves, wave), 0)
    predecessor = ds["predecessor"].to_numpy()
    known = np.isfinite(predecessor)
    centre = predecessor[known].mean() if known.any() else 0.0
    total = mix.sum()
    return {
        "mix_count": mix,
        "mix_centre": mix.sum(axis=0) / total
        if total > 0
        else np.full(mix.shape[1], 1 / mix.shape[1]),
        "wave_index": wave_index.astype(np.int64),
        "predecessor": np.where(known, predecessor - centre, 0.0),
        "earliness": _earliness(event),
        "referrals": np.nan_to_num(ds["referrals"].to_numpy()),
    }


def _earliness(event: np.ndarray) -> np.ndarray:
    """Standardised time of going live, early ones high; 0 for sites that never do, shape (S,)."""
    last = event[:, -1]
    live = last >= 0
    if not live.any() or not np.ptp(last[live]):
        return np.zeros(len(last))
    return np.where(live, (last - last[live].mean()) / last[live].std(), 0.0)


def _coords(
    spec: ModelSpec, data: EvaluationData, arrays: Mapping[str, np.ndarray], stage: np.ndarray
) -> dict[str, list[object]]:
    ds = data.ds
    interventions: list[object] = [str(x) for x in ds["intervention"].to_numpy()]
    covered = np.unique(arrays["retrospective_at"][:, 0])
    rows: dict[str, list[object]] = {
        name: list(range(len(arrays[array])))
        for name, array in {
            "retrospective_row": "retrospective_count",
            "history_row": "history_count",
            "national_row": "national_logit",
            "national_row_2": "national_logit",
            "elicited_row": "elicited_logit",
            "elicited_row_2": "elicited_logit",
        }.items()
    }
    return {
        "site": [str(x) for x in ds["site"].to_numpy()],
        "month": [str(x) for x in ds["month"].to_numpy()],
        "intervention": interventions if len(interventions) > 1 else ["all"],
        "wave": [int(x) for x in _waves(data, arrays["event_time"])],
        "harmonic": list(range(arrays["harmonics"].shape[1])),
        "seam_month": list(acting_seams(spec, data)),
        "covariate": list(spec.covariates.baseline),
        "modifier": list(spec.covariates.effect),
        "stage": [str(x) for x in stage],
        # sites once more, where later stages have levels of their own
        "site_of_stage": [str(x) for x in ds["site"].to_numpy()]
        if spec.family.free_stage_effect
        else [],
        "basis_national": list(range(arrays["national_functions"].shape[1])),
        "basis_walk": list(range(arrays["walk_functions"].shape[1])),
        "basis_site": list(range(arrays["site_functions"].shape[1])),
        "retrospective_site": [str(ds["site"].to_numpy()[int(i)]) for i in covered],
        "retrospective_key": ["site", "month", "row_site"],
        "history_key": ["site", "month", "lag"],
        **rows,
    }
