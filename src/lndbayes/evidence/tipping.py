"""How wrong the evidence would have to be before the conclusion falls: tipping points.

Three biases that data cannot teach: a level bias common to all reconstructed evidence, a drift of
the untreated outcome after go-live, and a step in the records at go-live. The first two are let in
by a fit with ``sensitivity.shared_bias_sd`` and ``drift_sd`` above 0, whose draws are weighted to a
narrow normal about a given value of the bias: ratio of that density to the bias's prior, Pareto
smoothed. Where the weights cannot be trusted:

* a level bias of value d is fitted exactly, by moving what it acts on. Normal evidence (national
  series, judgements) moves by -d on the link scale, binomial evidence by d in the mean of the prior
  of its own common bias (``retrospective_bias``, ``history_selection``), which adds to it;
* a drift cannot be moved into the data of a binomial panel. It is fitted again with a wider prior,
  whose draws reach the value, and weighted as before.

A step at go-live is added to every treated month and so to the effect over a window after it: its
tipping point is a quantile of the pooled effect.

References
----------
Rambachan, Roth (2023). A more credible approach to parallel trends. Review of Economic Studies
90(5), 2555-2591: how large a violation has to be. Vehtari, Simpson, Gelman, Yao, Gabry (2024).
Pareto smoothed importance sampling. Journal of Machine Learning Research 25(72).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import ndtri

from lndbayes.base.errors import Problem, UsageError
from lndbayes.data.evaluation import EvaluationData
from lndbayes.estimands.effects import pooled_effect
from lndbayes.estimands.identification import has_evidence
from lndbayes.estimands.predictors import untreated_predictor
from lndbayes.evidence.tipping_points import FAR, TippingPoint, go_live_step, tipping_point
from lndbayes.fitting.fit import coordinates_of, fit
from lndbayes.spec.families import LOG_RATIO, forward, inverse, slope
from lndbayes.spec.model_spec import ModelSpec, with_changes

__all__ = [
    "TIPPING_COLUMNS",
    "at_level_bias",
    "require_question",
    "tipping_table",
    "weighted_table",
]

TIPPING_COLUMNS = (
    "outcome",
    "bias",
    "threshold",
    "value",
    "unit",
    "percent",
    "method",
    "pareto_k",
    "message",
)

Bias = Literal["level_bias", "drift", "go_live_step"]
_VARIABLE = {"level_bias": "shared_bias", "drift": "drift"}
_SCALE = {"level_bias": "sensitivity.shared_bias_sd", "drift": "sensitivity.drift_sd"}
_WORDS = {
    "level_bias": "all reconstructed evidence on the untreated rate would have to be off by {p}",
    "drift": "the untreated rate would have to drift by {p} a year after go-live",
    "go_live_step": "records would have to change by {p} at go-live for other reasons",
}

#: The same where the size is nothing: of two biases, the one that is not asked about stays free.
_NONE = {
    "level_bias": "without a level bias of the evidence, a drift being allowed for",
    "drift": "without a drift, a level bias of the evidence being allowed for",
    "go_live_step": "without any bias",
}

#: Refits for one tipping point; the probit of the probability is nearly linear in the bias.
_REFITS = 6
_CLOSE = 0.01


def at_level_bias(
    spec: ModelSpec, data: EvaluationData, value: float
) -> tuple[ModelSpec, EvaluationData]:
    """Spec and data whose fit is that with a level bias fixed at a value, exactly.

    Parameters
    ----------
    spec : ModelSpec
        The spec.
    data : EvaluationData
        The data.
    value : float
        Bias of all reconstructed evidence, link scale.

    Returns
    -------
    ModelSpec, EvaluationData
        Priors of the binomial sources' own common bias moved by `value`, normal sources by
        ``-value``, with their standard errors kept on the link scale.

    Raises
    ------
    UsageError
        If one of those priors has no location to move.
    """
    changes: dict[str, object] = {"sensitivity.shared_bias_sd": 0.0}
    for slot in ("retrospective_bias", "history_selection"):
        prior = spec.priors[slot].as_toml()
        if "mu" not in prior or prior["dist"] == "LogNormal":
            rule = "needs a prior with a location mu, so that a fixed bias can be added to it"
            raise UsageError(Problem("spec", rule, column=f"priors.{slot}", value=prior["dist"]))
        changes[f"priors.{slot}"] = {**prior, "mu": prior["mu"] + value}
    # other outcomes' rows are on other scales: a logit of their rates may not exist
    evidence = {
        name: frame[frame["outcome"] == spec.outcome.name].copy()
        for name, frame in data.evidence.items()
    }
    national, elicited = evidence["national"], evidence["elicited"]
    link, least = spec.family.link, spec.family.shift

    def shifted(rate: np.ndarray) -> np.ndarray:
        return inverse(link, forward(link, rate - least) - value)

    rate = national["rate"].to_numpy(float)
    moved = shifted(rate)
    national["se"] = national["se"].to_numpy(float) * slope(link, rate - least) / slope(link, moved)
    national["rate"] = moved + least
    for quantile in ("q05", "q50", "q95"):
        elicited[quantile] = shifted(elicited[quantile].to_numpy(float)) + least
    evidence |= {"national": national, "elicited": elicited}
    return with_changes(spec, changes), dataclasses.replace(data, evidence=evidence)


@dataclass(frozen=True, slots=True)
class _Question:
    spec: ModelSpec
    data: EvaluationData
    main: xr.DataTree
    window: tuple[int, int]
    sign: int


def require_question(spec: ModelSpec, data: EvaluationData) -> None:
    """Refuse a spec that has no tipping point, before anything is fitted.

    Raises
    ------
    UsageError
        If the outcome has no good direction or no effect is reported of it, or a bias cannot be
        added to a prior: see `at_level_bias`.
    """
    if spec.outcome.good_direction == "none":
        rule = "a tipping point needs an outcome with a good direction"
        raise UsageError(Problem("spec", rule, column="outcome.good_direction", value="none"))
    if spec.outcome.selected:
        rule = "is true: no effect is reported, so there is nothing that could tip"
        raise UsageError(Problem("spec", rule, column="outcome.selected"))
    at_level_bias(spec, data, 0.0)


def tipping_table(
    spec: ModelSpec,
    data: EvaluationData,
    main: xr.DataTree,
    *,
    level_sd: float = 0.15,
    drift_sd: float = 0.05,
    thresholds: Sequence[float] = (0.9, 0.5),
    say: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Tipping points of one outcome.

    Parameters
    ----------
    spec, data
        The outcome's spec and data.
    main : xr.DataTree
        Its fit.
    level_sd, drift_sd : float
        Priors of the two biases in the refit that lets them in, link scale (a year).
    thresholds : sequence of float
        Probabilities of a good effect, falling.
    say : callable, optional
        Receives a line for each refit.

    Returns
    -------
    pd.DataFrame
        Columns `TIPPING_COLUMNS`. ``percent`` is the bias as a change of a rate that has the
        typical untreated level. ``method`` is weights, refits (fixed value), wider refit or
        quantile; ``message`` is a sentence for a reader.

    Raises
    ------
    UsageError
        See `require_question`.
    """
    require_question(spec, data)
    sign = -1 if spec.outcome.good_direction == "lower" else 1
    question = _Question(spec, data, main, spec.effect.window, sign)
    changes = {"sensitivity.shared_bias_sd": level_sd, "sensitivity.drift_sd": drift_sd}
    trees = {"both": _refit(question, with_changes(spec, changes), data, say, "biases let in")}
    level = float(untreated_predictor(main, slice(None, None, 10)).to_numpy().mean())
    rows = []
    told = has_evidence(main)
    for threshold in thresholds:
        for bias, sd in (("level_bias", level_sd), ("drift", drift_sd)):
            if bias == "level_bias" and not told:
                rows.append(_no_evidence(spec, threshold))
                continue
            found, method = _searched(question, bias, trees, sd, threshold, say)
            rows.append(_row(spec, bias, threshold, found, method, level))
        pooled = pooled_effect(main, "link", spec.effect.window).to_numpy().ravel()
        step = go_live_step(pooled, sign, threshold)
        closed = TippingPoint(step, np.nan, True, step)
        rows.append(_row(spec, "go_live_step", threshold, closed, "quantile", level))
    return pd.DataFrame(rows, columns=list(TIPPING_COLUMNS))


def weighted_table(
    spec: ModelSpec,
    main: xr.DataTree,
    kept: xr.Dataset,
    *,
    level_sd: float = 0.15,
    drift_sd: float = 0.05,
    thresholds: Sequence[float] = (0.9, 0.5),
) -> pd.DataFrame:
    """Tipping points as far as weights of one refit tell them: no further refit.

    Parameters
    ----------
    spec, main, level_sd, drift_sd, thresholds
        See `tipping_table`.
    kept : xr.Dataset
        Variant ``bias_on`` of `lndbayes.evidence.sensitivity.run_variants`: ``pooled``,
        ``shared_bias`` and ``drift``, dims (chain, draw).

    Returns
    -------
    pd.DataFrame
        Columns `TIPPING_COLUMNS`; without rows for an outcome without a good direction. Where the
        weights fail the message says how far they reach, and `tipping_table` goes on.
    """
    if spec.outcome.good_direction == "none":
        return pd.DataFrame(columns=list(TIPPING_COLUMNS))
    sign = -1 if spec.outcome.good_direction == "lower" else 1
    level = float(untreated_predictor(main, slice(None, None, 50)).to_numpy().mean())
    pooled = kept["pooled"].to_numpy().ravel()
    rows = []
    told = has_evidence(main)
    for threshold in thresholds:
        for bias, sd in (("level_bias", level_sd), ("drift", drift_sd)):
            if bias == "level_bias" and not told:
                rows.append(_no_evidence(spec, threshold))
                continue
            draws = kept[_VARIABLE[bias]].to_numpy().ravel()
            found = tipping_point(pooled, draws, sd, sign, threshold)
            rows.append(_row(spec, bias, threshold, found, "weights", level))
        effect = pooled_effect(main, "link", spec.effect.window).to_numpy().ravel()
        step = go_live_step(effect, sign, threshold)
        closed = TippingPoint(step, np.nan, True, step)
        rows.append(_row(spec, "go_live_step", threshold, closed, "quantile", level))
    return pd.DataFrame(rows, columns=list(TIPPING_COLUMNS))


def _refit(
    question: _Question,
    spec: ModelSpec,
    data: EvaluationData,
    say: Callable[[str], None] | None,
    label: str,
) -> xr.DataTree:
    if say:
        say(f"{spec.outcome.name}: refit, {label}")
    return fit(spec, data, cores=1, predictive=False, coordinates=coordinates_of(question.main))


def _draws(question: _Question, tree: xr.DataTree, bias: str) -> tuple[np.ndarray, np.ndarray]:
    pooled = pooled_effect(tree, "link", question.window).to_numpy().ravel()
    return pooled, tree["posterior"][_VARIABLE[bias]].to_numpy().ravel()


def _searched(
    question: _Question,
    bias: str,
    trees: dict[str, xr.DataTree],
    sd: float,
    threshold: float,
    say: Callable[[str], None] | None,
) -> tuple[TippingPoint, str]:
    """Tipping point by the cheapest method that can be trusted; refits are added to `trees`."""
    draws = _draws(question, trees["both"], bias)
    found = tipping_point(*draws, sd, question.sign, threshold)
    if found.found:
        return found, "weights"
    if bias == "level_bias":
        return _by_refits(question, draws, found, sd, threshold, say), "refits"
    # a drift so large that it takes a prior this wide is looked for once
    wide = FAR * sd
    changed = with_changes(question.spec, {_SCALE[bias]: wide})
    if bias not in trees:
        trees[bias] = _refit(question, changed, question.data, say, f"{bias} with sd {wide:.3g}")
    draws = _draws(question, trees[bias], bias)
    return tipping_point(*draws, wide, question.sign, threshold), "wider refit"


def _by_refits(
    question: _Question,
    draws: tuple[np.ndarray, np.ndarray],
    found: TippingPoint,
    sd: float,
    threshold: float,
    say: Callable[[str], None] | None,
) -> TippingPoint:
    """Secant on the probit of the probability, from refits at fixed values of the level bias."""
    pooled, bias = draws
    slope = float(np.cov(pooled, bias)[0, 1] / bias.var(ddof=1))
    rest = pooled - slope * bias
    target = float(ndtri(threshold))
    # with a normal effect the probit is sign * (mean + slope * bias) / sd
    gradient = float(question.sign * slope / rest.std(ddof=1))
    value = (target - question.sign * float(rest.mean() / rest.std(ddof=1))) / gradient
    limit = FAR * sd * 5
    tried: list[tuple[float, float]] = []
    safe = 0.0
    for _ in range(_REFITS):
        if abs(value) > limit:
            return TippingPoint(np.nan, np.nan, False, safe)
        spec, data = at_level_bias(question.spec, question.data, value)
        tree = _refit(question, spec, data, say, f"level bias {value:+.3f}")
        effect = pooled_effect(tree, "link", question.window).to_numpy().ravel()
        share = float((question.sign * effect > 0).mean())
        if abs(share - threshold) <= _CLOSE:
            return TippingPoint(value, np.nan, True, value)
        safe = value if share > threshold and abs(value) > abs(safe) else safe
        # counts of draws: a probit at 0 or 1 would be infinite
        inside = float(np.clip(share, 0.5 / effect.size, 1 - 0.5 / effect.size))
        tried.append((value, float(ndtri(inside))))
        if len(tried) > 1 and tried[-1][1] != tried[-2][1]:
            gradient = (tried[-1][1] - tried[-2][1]) / (tried[-1][0] - tried[-2][0])
        value = value + (target - tried[-1][1]) / gradient
    return TippingPoint(np.nan, np.nan, False, safe)


def _no_evidence(spec: ModelSpec, threshold: float) -> tuple[object, ...]:
    """Row on a level bias where there is nothing that could be biased."""
    message = "No reconstructed evidence on the untreated rate is used: none of it could be off."
    unit = LOG_RATIO[spec.family.link]
    name = spec.outcome.name
    return name, "level_bias", threshold, np.nan, unit, np.nan, "none", np.nan, message


def _row(
    spec: ModelSpec, bias: str, threshold: float, found: TippingPoint, method: str, level: float
) -> tuple[object, ...]:
    link = spec.family.link

    def percent(value: float) -> float:
        ends = inverse(link, np.array([level + value, level]))
        return 100 * float(ends[0] / ends[1] - 1)

    shown = percent(found.value)
    falls = f"before the probability of a good effect falls to {threshold:g}"
    if not found.found:
        words = _WORDS[bias].format(p=f"more than {percent(found.reached):+.0f}%")
        message = f"{words[:1].upper()}{words[1:]} {falls}; beyond that the draws do not tell."
    elif found.value == 0:
        message = f"The probability of a good effect is at most {threshold:g} {_NONE[bias]}."
    else:
        words = _WORDS[bias].format(p=f"{shown:+.0f}%")
        message = f"{words[:1].upper()}{words[1:]} {falls}."
    name = spec.outcome.name
    unit = LOG_RATIO[link] + (" a year" if bias == "drift" else "")
    k = found.pareto_k if np.isfinite(found.pareto_k) else np.nan
    return name, bias, threshold, found.value, unit, shown, method, k, message
