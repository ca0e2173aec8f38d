"""Arguments of the compiled density, packed from a spec and a design."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from scipy.special import gammaln

from lndbayes.density.argument_fields import BLOCKS, Arguments, Style
from lndbayes.density.linear_arguments import linear_arguments
from lndbayes.model.design import Design
from lndbayes.model.layout import MULTIPLIERS, REAL, layout, scalar_places, size
from lndbayes.numerics.quadrature import condensed
from lndbayes.numerics.vector import FEW, LINKS
from lndbayes.spec.model_spec import ModelSpec

__all__ = ["kernel_data"]

_CODES = {"Normal": 0, "StudentT": 1, "HalfNormal": 2, "Exponential": 3, "Gamma": 4, "LogNormal": 5}


def _array(values: object, dtype: type = float) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=dtype)


def _priors(spec: ModelSpec, names: Iterable[str]) -> tuple[np.ndarray, np.ndarray, float]:
    """Codes and parameters of the scalars' priors, and the constants left out of the kernel."""
    code, value, constant = [], [], 0.0
    for name in names:
        if name not in spec.priors:
            # a multiplier of a fixed scale, or a scalar that the family does not use
            kind = "Normal" if name in REAL else "LogNormal"
            p = {"mu": 0.0, "sigma": 1.0}
        else:
            kind, p = spec.priors[name].dist, dict(spec.priors[name].parameters)
        match kind:
            case "Normal" | "LogNormal":
                row = (p["mu"], p["sigma"], 0.0)
                constant -= math.log(p["sigma"]) + 0.5 * math.log(2 * math.pi)
            case "StudentT":
                row, nu = (p["mu"], p["sigma"], p["nu"]), p["nu"]
                constant += float(gammaln((nu + 1) / 2) - gammaln(nu / 2))
                constant -= 0.5 * math.log(nu * math.pi) + math.log(p["sigma"])
            case "HalfNormal":
                row = (0.0, p["sigma"], 0.0)
                constant += 0.5 * math.log(2 / math.pi) - math.log(p["sigma"])
            case "Exponential":
                row = (0.0, p["scale"], 0.0)
                constant -= math.log(p["scale"])
            case _:
                row = (p["alpha"], p["beta"], 0.0)
                constant += p["alpha"] * math.log(p["beta"]) - float(gammaln(p["alpha"]))
        code.append(_CODES[kind])
        value.append(row)
    return _array(code, np.int64), _array(value), constant


def _scalars(spec: ModelSpec, design: Design) -> tuple[dict[str, np.ndarray], float]:
    """Arguments that say what the scalars are, and what is constant of their priors."""
    places = scalar_places(design)
    code, value, constant = _priors(spec, places)
    factor = [design[f"{name}_sd"] if name in MULTIPLIERS else 1.0 for name in places]
    return {
        "scalar_at": _array(list(places.values()), np.int64),
        "scalar_positive": _array([name not in REAL for name in places], np.int64),
        "scalar_factor": _array(factor),
        "prior_code": code,
        "prior_value": value,
    }, constant


def _precision(chol: np.ndarray) -> tuple[np.ndarray, float]:
    """Inverse covariance and log normalising constant of a multivariate normal."""
    inverse = np.linalg.inv(chol) if len(chol) else np.zeros((0, 0))
    log_det = float(np.log(np.diag(chol)).sum())
    return _array(inverse.T @ inverse), -log_det - 0.5 * len(chol) * math.log(2 * math.pi)


#: Log odds of what does not occur: its exponential is 0, and it is finite, as compiled code needs.
_NEVER = -1e5


def _biased(design: Design, name: str) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Two precisions and log odds of a channel whose common bias is integrated out; its constant.

    Of a usual bias and of an outlying one; see `argument_fields.Arguments`.
    """
    usual, log_usual = _precision(design[f"{name}_chol"])
    outlying, log_outlying = _precision(design[f"{name}_chol_outlying"])
    share = float(design["contamination"])
    odds = math.log(share / (1 - share)) + log_outlying - log_usual if share else _NEVER
    return usual, outlying, odds, log_usual + (math.log1p(-share) if len(usual) else 0.0)


def _log_choose(n: np.ndarray, k: np.ndarray) -> float:
    return float(np.sum(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)))


def _stage_prior(spec: ModelSpec, design: Design) -> np.ndarray:
    """Mean and sd of the later stages' levels."""
    stages = design["stage_exposure"].shape[-1]
    level = spec.priors.get("stage_level")
    later = [(level["mu"], level["sigma"])] * stages if level is not None else []
    return _array(later).reshape(-1, 2)


def _cells(design: Design, counts: bool) -> tuple[dict[str, np.ndarray], float]:
    """Exact cells, cells known as intervals, and later stages; and what is constant of them.

    Exact cells hold exposure, count, coverage and the logarithm of what is observed of the
    exposure. An interval cell's first probability is found
    from scratch and the others by ratios, so that it keeps its own constant.
    """
    n, low, high = design["exposure"], design["count"], design["count_high"]
    coverage = design["coverage"]
    exact, ranged = (n > 0) & (low == high), (n > 0) & (low < high)
    levels, times = _lengths(n[exact])
    held = [n[exact], low[exact], coverage[exact], np.log(n[exact] * coverage[exact])]
    # neighbours have like rates: few blocks then have a parameter near 0 among others far from it
    order = _few_first(n[exact], low[exact], low[exact] / n[exact])
    out = {
        "cell": _array(np.flatnonzero(exact)[order], np.int64),
        "cell_value": _array(np.vstack(held)[:, order]),
        "exposure_level": _array(levels),
        "exposure_times": _array(times),
    }
    constant = _count_constant(n[exact], low[exact], counts)
    own = np.array(
        [_count_constant(a, b, counts) for a, b in zip(n[ranged], low[ranged], strict=True)]
    )
    out["ranged"] = _array(np.column_stack(np.nonzero(ranged)), np.int64)
    out["ranged_value"] = _array(
        np.column_stack([n[ranged], low[ranged], high[ranged], coverage[ranged], own])
    ).reshape(-1, 5)
    at_risk, going_on = design["stage_exposure"], design["stage_count"]
    used = at_risk > 0
    site, month, which = np.nonzero(used)
    event = design["event_time"][site, month]
    # the last of the ramp's times is for all time before go-live
    event = np.where(event >= 0, event, max(int(design["event_time"].max()), 0) + 1)
    # neighbours of one stage and of several sites: sums by stage stay where they are, and no sum by
    # site waits for the one before
    order = _few_first(at_risk[used], going_on[used], which, month, site)
    flat = site * at_risk.shape[1] + month
    out["stage"] = _array(np.column_stack([flat, site, which, event])[order], np.int64)
    out["stage_value"] = _array(np.vstack([at_risk[used], going_on[used]])[:, order])
    out["stage_exposure"] = _array(np.vstack(_lengths(at_risk[used])))
    return out, constant + _log_choose(at_risk[used], going_on[used])


def _lengths(n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the rising factorials that depend on no predictor, and how often each counts."""
    distinct, times = np.unique(n, return_counts=True)
    return condensed(distinct, times.astype(float))


def _few_first(n: np.ndarray, y: np.ndarray, *then: np.ndarray) -> np.ndarray:
    """Order that puts few beside few: blocks of them need products only, no series.

    First where both counts are few, by the larger; then where the first is, where the second is,
    and where neither is; and within these by what else is given.
    """
    left = n - y
    kind = 1 * (left > FEW) + 2 * (y > FEW)
    return np.lexsort((*then[::-1], np.where(kind == 0, np.maximum(y, left), 0), kind))


def _count_constant(n: np.ndarray, y: np.ndarray, counts: bool) -> float:
    """Log of the factorials that no parameter is in."""
    n, y = np.asarray(n), np.asarray(y)
    return -float(np.sum(gammaln(y + 1))) if counts else _log_choose(n, y)


def _channel_constants(design: Design, counts: bool) -> float:
    total = 0.0
    for channel in ("retrospective", "history"):
        n, y = design[f"{channel}_exposure"], design[f"{channel}_count"]
        total += _count_constant(n[n > 0], y[n > 0], counts)
    return total


def _mix_constant(mix: np.ndarray, a: float) -> float:
    """Constants of the shares' Dirichlet and of the contacts, shape (S, M)."""
    sites, kinds = mix.shape
    if kinds < 2:
        return 0.0
    shares = float(gammaln(a * kinds)) - kinds * float(gammaln(a)) + math.log(kinds)
    return sites * shares + float(gammaln(mix.sum(axis=1) + 1).sum() - gammaln(mix + 1).sum())


def kernel_data(spec: ModelSpec, design: Design) -> Arguments:
    """Pack a spec and a design into the compiled density's arguments.

    Parameters
    ----------
    spec : ModelSpec
        Gives the priors.
    design : Design
        Gives everything else.
    """
    scalars, constant = _scalars(spec, design)
    stage_prior = _stage_prior(spec, design)
    terms = linear_arguments(spec, design)
    blocks = layout(design)
    cells, constant_cells = _cells(design, spec.family.link == "log")
    constant += constant_cells
    mix = design["mix_count"]
    sites, kinds = mix.shape
    a = spec.priors["mix_share"]["concentration"]
    constant += _channel_constants(design, spec.family.link == "log")
    # sites that went live together share ramp and pulse
    course_time, course = np.unique(design["event_time"], axis=0, return_inverse=True)
    national, national_far, national_odds, log_national = _biased(design, "national")
    elicited, elicited_far, elicited_odds, log_elicited = _biased(design, "elicited")
    constant += log_national + log_elicited
    # all that is no scalar and no share is normal
    normals = size(design) - len(scalars["scalar_at"]) - sites * (kinds - 1)
    constant -= 0.5 * math.log(2 * math.pi) * normals
    constant -= float(np.log(stage_prior[:, 1]).sum())
    centred = terms["term"][terms["term"][:, 0] == Style.CENTRED]
    for _, _, first, count, _ in centred.tolist():
        constant -= float(np.log(terms["coefficient"][first : first + count, 1]).sum())
    constant += _mix_constant(mix, float(a))
    return Arguments(
        block_at=_array([(blocks[name].start, blocks[name].stop) for name in BLOCKS], np.int64),
        **scalars,
        **terms,
        link=LINKS[spec.family.link],
        free_stages=int(spec.family.free_stage_effect),
        share_concentration=float(a),
        site_weight=_array(design["site_weight"]),
        event_time=_array(design["event_time"], np.int64),
        course=_array(course.ravel(), np.int64),
        course_time=_array(course_time, np.int64),
        half_period=float(design["half_period"]),
        **cells,
        stage_prior=stage_prior,
        mix_count=_array(mix),
        mix_centre=_array(design["mix_centre"]),
        retrospective_at=_array(design["retrospective_at"], np.int64),
        retrospective_value=_array(
            np.vstack([design["retrospective_exposure"], design["retrospective_count"]])
        ),
        history_at=_array(design["history_at"], np.int64),
        history_value=_array(np.vstack([design["history_exposure"], design["history_count"]])),
        national_weight=_array(design["national_weight"]),
        national_share=_array(design["national_share"]),
        national_logit=_array(design["national_logit"]),
        national_precision=national,
        national_outlying=national_far,
        national_log_odds=national_odds,
        elicited_weight=_array(design["elicited_weight"]),
        elicited_month=_array(design["elicited_month"]),
        elicited_logit=_array(design["elicited_logit"]),
        elicited_precision=elicited,
        elicited_outlying=elicited_far,
        elicited_log_odds=elicited_odds,
        constant=constant,
    )
