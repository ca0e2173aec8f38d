"""Data from the model's own law on a design's layout: same sites, exposures, gaps and evidence.

In NumPy, from the linear predictors on: beside `lndbayes.model.build` and the compiled density a
third writing of the law, which the tests hold to the density by its mean score.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lndbayes.model.design import Design, site_weights
from lndbayes.model.predictive import beta_binomial, dispersion, draw_counts
from lndbayes.model.surface import channel_predictors, linear_predictors, stage_predictors
from lndbayes.spec.families import inverse
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["replicate_data"]


def replicate_data(
    values: Mapping[str, np.ndarray], design: Design, spec: ModelSpec, rng: np.random.Generator
) -> Design:
    """Draw everything that the likelihood sees, given parameters.

    Parameters
    ----------
    values : mapping of str to ndarray
        One draw of every parameter, constrained, with leading dims (1, 1).
    design : Design
        The layout: exposures, coverage, event times, positions of the evidence.
    spec : ModelSpec
        The family and which evidence is on.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Design
        The same with other counts, later stages, mix counts and evidence. Every cell is exact, also
        where the data's own are suppressed or rounded. Of those who reach a later stage the same
        share is at risk in it as in the data: others have not been followed so far. The point at
        which the mix is centred is the data's.
    """
    eta0, eta1 = linear_predictors(values, design)
    spread = dispersion(values, spec.family)
    exposure = design["exposure"]
    count = draw_counts(eta1, spread, exposure, design["coverage"], spec.family, rng)[0, 0]
    count = np.where(exposure > 0, count, 0.0)
    arrays = {
        "count": count,
        "count_high": count,
        "exposure_exact": exposure,
        "count_exact": count,
        **_stages(values, design, spec, eta1, count, rng),
        "mix_count": _mix(values, design, rng),
        **_evidence(values, design, spec, eta0, spread, rng),
    }
    drawn = design.replace(**arrays)
    # these choose coordinates only, and follow from who is at risk
    return drawn.replace(site_weight=site_weights(drawn.arrays))


def _stages(
    values: Mapping[str, np.ndarray],
    design: Design,
    spec: ModelSpec,
    eta1: np.ndarray,
    count: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Later stages, each among those who are left of the one before."""
    stages = design["stage_exposure"].shape[-1]
    if not stages:
        return {}
    f = stage_predictors(values, design, eta1, free_stage_effect=spec.family.free_stage_effect)
    p = inverse(spec.family.link, f[0, 0])
    phi = np.asarray(values["concentration"])[0, 0]
    at_risk = np.concatenate([design["exposure"][..., None], design["stage_exposure"]], axis=-1)
    counted = np.concatenate([design["count"][..., None], design["stage_count"]], axis=-1)
    risk, going = at_risk.copy(), np.zeros(at_risk.shape)
    going[..., 0] = count
    # bands of change have a run of stages for each band at the start
    run = _run_length(stages + 1) if spec.likelihood.family == "ordered_change" else stages + 1
    for k in range(1, stages + 1):
        if k % run:
            left = _left(spec, risk[..., k - 1], going[..., k - 1])
            seen = _left(spec, at_risk[..., k - 1], counted[..., k - 1])
            share = np.where(seen > 0, at_risk[..., k] / np.maximum(seen, 1.0), 1.0)
            risk[..., k] = np.round(left * share)
        going[..., k] = beta_binomial(risk[..., k], p[..., k - 1], 1.0 - p[..., k - 1], phi, rng)
    return {"stage_exposure": risk[..., 1:], "stage_count": going[..., 1:]}


def _left(spec: ModelSpec, at_risk: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Who can reach the next stage: of bands those counted, of durations the others."""
    return at_risk - counted if spec.likelihood.family == "duration_hazard" else counted


def _run_length(stages: int) -> int:
    """Stages of one start band: K bands give K (K - 1) stages."""
    bands = round((1 + np.sqrt(1 + 4 * stages)) / 2)
    return bands - 1


def _mix(values: Mapping[str, np.ndarray], design: Design, rng: np.random.Generator) -> np.ndarray:
    """Contacts by intervention, Dirichlet-multinomial at each site's own total."""
    total = design["mix_count"].sum(axis=1)
    if design["mix_count"].shape[1] < 2:
        return design["mix_count"]
    alpha = np.asarray(values["mix_concentration"])[..., None, None] * values["mix_share"]
    # a parameter that rounds to zero would spoil the draw
    shares = (rng.dirichlet(np.maximum(a, 1e-12)) for a in alpha[0, 0])
    rows = [rng.multinomial(int(n), share) for n, share in zip(total, shares, strict=True)]
    return np.array(rows, dtype=float)


def _evidence(
    values: Mapping[str, np.ndarray],
    design: Design,
    spec: ModelSpec,
    eta0: np.ndarray,
    spread: tuple[np.ndarray, ...],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Rows of the channels that are on; the others keep what they have, which weighs nothing."""
    out = {}
    for name, mean in channel_predictors(eta0, values, design, spec).items():
        if f"{name}_chol" in design.arrays:
            outlying = bool(rng.uniform() < design["contamination"])
            chol = design[f"{name}_chol_outlying" if outlying else f"{name}_chol"]
            noise = chol @ rng.normal(size=mean.shape[-1])
            out[f"{name}_logit"] = mean[0, 0] + noise
            continue
        n = design[f"{name}_exposure"]
        if spec.family.link == "log":
            drawn = draw_counts(mean, spread, n, np.ones(n.shape), spec.family, rng)[0, 0]
            out[f"{name}_count"] = np.nan_to_num(drawn)
        else:
            rate = inverse(spec.family.link, mean[0, 0])
            out[f"{name}_count"] = rng.binomial(n.astype(np.int64), rate).astype(float)
    return out
