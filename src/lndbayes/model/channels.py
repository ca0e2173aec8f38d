"""Evidence on the untreated outcome as fixed-shape arrays, one function a channel.

A channel that is off keeps its shapes: binomial rows have exposure 0, normal rows a standard
deviation of `OFF_SD`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lndbayes.base.errors import DataError, Problem
from lndbayes.data.evaluation import EvaluationData
from lndbayes.spec.families import forward, slope
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "OFF_SD",
    "elicited_arrays",
    "history_arrays",
    "national_arrays",
    "retrospective_arrays",
]

#: Standard deviation of a normal channel that is switched off: on the logit scale it carries
#: 1e-6 of the information of a unit-variance observation.
OFF_SD = 1e3

_Z95 = 1.6448536269514722


def _rows(data: EvaluationData, channel: str, outcome: str) -> pd.DataFrame:
    frame = data.evidence[channel]
    return frame[frame["outcome"] == outcome].reset_index(drop=True)


def _site_index(data: EvaluationData, labels: pd.Series) -> np.ndarray:
    index = pd.Index(data.ds["site"].to_numpy())
    return np.asarray(index.get_indexer(labels), dtype=np.int64)


def _shifted(spec: ModelSpec, frame: pd.DataFrame, exposure: str, channel: str) -> np.ndarray:
    """Counts of a channel's rows, less what every unit of exposure has at least."""
    part = frame[exposure] != np.floor(frame[exposure])
    if spec.family.shift and part.any():
        rule = "cases are counted one by one: must be a whole number"
        file = f"evidence/{channel}.csv"
        raise DataError([Problem(file, rule, int(r), exposure) for r in frame["row"][part]])
    count = frame["count"].to_numpy(float) - spec.family.shift * frame[exposure].to_numpy(float)
    if (count < 0).any():
        rule = "fewer events than cases, each of which has at least one"
        raise DataError(
            [
                Problem(f"evidence/{channel}.csv", rule, int(row), "count")
                for row in frame["row"][count < 0]
            ]
        )
    return count


def retrospective_arrays(spec: ModelSpec, data: EvaluationData) -> dict[str, np.ndarray]:
    """Positions (site, month, order among the sites with records), exposures and counts of records.

    Raises
    ------
    DataError
        If a row has fewer events than the family allows, or no whole number of cases.
    """
    frame = _rows(data, "retrospective", spec.outcome.name)
    site = _site_index(data, frame["site"])
    on = float(spec.baseline.channels.retrospective)
    order = np.searchsorted(np.unique(site), site)
    at = np.column_stack([site, frame["month_index"].to_numpy(np.int64), order])
    return {
        "retrospective_at": at.astype(np.int64).reshape(-1, 3),
        "retrospective_exposure": frame["exposure"].to_numpy(float) * on,
        "retrospective_count": _shifted(spec, frame, "exposure", "retrospective") * on,
    }


def history_arrays(spec: ModelSpec, data: EvaluationData) -> dict[str, np.ndarray]:
    """Positions (site, month, months before referral), persons and counts of own histories.

    Raises
    ------
    DataError
        If a row has fewer events than the family allows.
    """
    frame = _rows(data, "history", spec.outcome.name)
    site = _site_index(data, frame["site"])
    lag = -frame["months_from_referral"].to_numpy(np.int64)
    on = float(spec.baseline.channels.history)
    at = np.column_stack([site, frame["month_index"].to_numpy(np.int64), lag])
    return {
        "history_at": at.astype(np.int64).reshape(-1, 3),
        "history_exposure": frame["persons"].to_numpy(float) * on,
        "history_count": _shifted(spec, frame, "persons", "history") * on,
    }


def national_arrays(
    spec: ModelSpec, data: EvaluationData, arrays: Mapping[str, np.ndarray], step: int
) -> dict[str, np.ndarray]:
    """National rows that end before the first go-live; later ones contain treated sites."""
    frame = _rows(data, "national", spec.outcome.name)
    first_go_live = min(_first_go_live(data), data.ds.sizes["month"])
    length = frame["months"].to_numpy(np.int64) // step
    start = frame["month_index"].to_numpy(np.int64)
    clean = (start + length <= first_go_live) & (length >= 1) & (start >= 0)
    frame, start, length = frame[clean], start[clean], length[clean]
    months = np.arange(arrays["exposure"].shape[1])
    inside = (months >= start[:, None]) & (months < (start + length)[:, None])
    link, shift = spec.family.link, spec.family.shift
    rate = frame["rate"].to_numpy(float) - shift
    if (rate <= 0).any():
        rule = f"must be above {shift}: every case has at least one event"
        raise DataError(Problem("evidence/national.csv", rule, column="rate"))
    se = frame["se"].to_numpy(float) * slope(link, rate)
    size = len(frame)
    noise, bias = np.diag(se**2), spec.baseline.national_offset_sd
    on = spec.baseline.channels.national
    population = data.ds["population"].to_numpy()
    mean_exposure = arrays["exposure_all"].sum(axis=1)
    weight = population if np.isfinite(population).all() else np.maximum(mean_exposure, 1e-9)
    return {
        "national_weight": inside / np.maximum(length, 1)[:, None],
        "national_share": weight / weight.sum(),
        "national_logit": forward(link, rate),
        **_biased("national", noise, bias, spec, on=bool(on and size)),
    }


def _biased(
    name: str, noise: np.ndarray, bias: float, spec: ModelSpec, *, on: bool
) -> dict[str, np.ndarray]:
    """Cholesky factors of rows with a common bias integrated out: a usual and an outlying one."""
    sds = {"chol": bias, "chol_outlying": bias * spec.baseline.contamination_ratio}
    return {
        f"{name}_{which}": np.linalg.cholesky(noise + sd**2) if on else OFF_SD * np.eye(len(noise))
        for which, sd in sds.items()
    }


def _first_go_live(data: EvaluationData) -> int:
    go_live = data.ds["go_live"].to_numpy()
    known = go_live[np.isfinite(go_live)]
    return int(known.min()) if known.size else data.ds.sizes["month"]


def elicited_arrays(spec: ModelSpec, data: EvaluationData, step: int) -> dict[str, np.ndarray]:
    """Judgements on the mean rate of the 12 months before the first go-live."""
    frame = _rows(data, "elicited", spec.outcome.name)
    sites, periods = data.ds.sizes["site"], data.ds.sizes["month"]
    first = _first_go_live(data)
    # the 12 months before the first go-live, as far as the grid holds them
    window = np.zeros(periods)
    window[max(first - 12 // step, 0) : max(min(first, periods), 0)] = 1.0
    on = spec.baseline.channels.elicited and len(frame) > 0
    if on and not window.any():
        rule = (
            "the 12 months before the first go-live, which judgements are about, must reach into "
            f"the evaluation's months, {data.ds['month'].to_numpy()[0]} to "
            f"{data.ds['month'].to_numpy()[-1]}"
        )
        raise DataError(Problem("evidence/elicited.csv", rule, column="quantity"))
    weight = np.full((len(frame), sites), 1.0 / sites)
    site = _site_index(data, frame["site"])
    for row, index in enumerate(site):
        if index >= 0:
            weight[row] = np.eye(sites)[index]
    link, shift = spec.family.link, spec.family.shift
    if (frame["q05"].to_numpy(float) <= shift).any():
        rule = f"must be above {shift}: every case has at least one event"
        raise DataError(Problem("evidence/elicited.csv", rule, column="q05"))
    low, middle, high = (
        forward(link, frame[q].to_numpy(float) - shift) for q in ("q05", "q50", "q95")
    )
    noise = np.diag(((high - low) / (2 * _Z95)) ** 2)
    return {
        "elicited_weight": weight,
        "elicited_month": window / max(window.sum(), 1.0),
        "elicited_logit": np.asarray(middle),
        **_biased("elicited", noise, spec.baseline.elicited_bias_sd, spec, on=on),
    }
