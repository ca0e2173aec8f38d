"""Where draws of an effect and of a bias say that a conclusion falls: weights and a quantile.

See `lndbayes.evidence.tipping` for what is asked and for what is done where weights cannot be
trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lndbayes.checks.influence import smoothed_weights

__all__ = ["FAR", "Conclusion", "TippingPoint", "conclusion_at", "go_live_step", "tipping_point"]

#: Largest Pareto k, and the narrowest normal about a fixed value, in sds of the bias's prior.
_K_MAX = 0.7
_WIDTH = 0.2
#: Fewer draws have no tail to smooth (Vehtari et al. 2024 want five in it, a fifth of all).
_FEWEST_DRAWS = 25
#: Farthest value looked at, in sds of the bias's prior, and the steps on the way.
FAR, _STEPS = 4.0, 80


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What draws say if a bias has a certain value.

    Attributes
    ----------
    probability : float
        Probability that the pooled effect has the good direction.
    pareto_k : float
        Of the weights; minus infinity without weights, NaN where their tail has no shape.
    """

    probability: float
    pareto_k: float


@dataclass(frozen=True, slots=True)
class TippingPoint:
    """Smallest bias that takes the probability of a good effect down to a threshold.

    Attributes
    ----------
    value : float
        On the link scale; 0 if the probability is below it without any bias; NaN if it was not
        found.
    pareto_k : float
        Of the weights that gave it; NaN without weights.
    found : bool
        Whether the weights could be trusted all the way to the value.
    reached : float
        The last value looked at.
    """

    value: float
    pareto_k: float
    found: bool
    reached: float


def conclusion_at(
    value: float, pooled: np.ndarray, bias: np.ndarray, prior_sd: float, sign: int
) -> Conclusion:
    """Weight draws to a bias of about a given value.

    Parameters
    ----------
    value : float
        Value of the bias; its prior becomes Normal(value, (0.2 prior_sd)^2).
    pooled, bias : np.ndarray, shape (draw,)
        Draws of the pooled effect and of the bias.
    prior_sd : float
        Sd of the bias's prior in the fit, Normal(0, prior_sd^2).
    sign : {-1, 1}
        Sign of a good effect.

    Returns
    -------
    Conclusion
        NaN where there are too few draws to judge the weights, and so to trust them.
    """
    if pooled.size < _FEWEST_DRAWS:
        return Conclusion(np.nan, np.nan)
    width = _WIDTH * prior_sd
    log_ratio = -0.5 * ((bias - value) / width) ** 2 + 0.5 * (bias / prior_sd) ** 2
    weight, k = smoothed_weights(log_ratio)
    good = sign * pooled > 0
    return Conclusion(float((weight * good).sum()), k)


def tipping_point(
    pooled: np.ndarray, bias: np.ndarray, prior_sd: float, sign: int, threshold: float
) -> TippingPoint:
    """Look for the tipping point along the direction in which the bias speaks against the effect.

    Parameters
    ----------
    pooled, bias, prior_sd, sign
        See `conclusion_at`.
    threshold : float
        Probability of a good effect at the tipping point.

    Returns
    -------
    TippingPoint
        Linear between the steps (a twentieth of the prior's sd).
    """
    adverse = -sign * float(np.sign(np.cov(pooled, bias)[0, 1]))
    steps = np.linspace(0.0, FAR * prior_sd, _STEPS + 1)
    before: tuple[float, float] | None = None
    k = float("nan")
    for size in steps:
        at = conclusion_at(adverse * size, pooled, bias, prior_sd, sign)
        k = at.pareto_k
        if not k <= _K_MAX:
            return TippingPoint(np.nan, k, False, float(adverse * size))
        if at.probability <= threshold:
            if before is None:
                return TippingPoint(0.0, k, True, 0.0)
            share = (before[1] - threshold) / (before[1] - at.probability)
            value = adverse * (before[0] + share * (size - before[0]))
            return TippingPoint(float(value), k, True, float(value))
        before = (float(size), at.probability)
    return TippingPoint(np.nan, k, False, float(adverse * steps[-1]))


def go_live_step(pooled: np.ndarray, sign: int, threshold: float) -> float:
    """Step in the records at go-live that takes the probability of a good effect to a threshold.

    With a step z the effect is pooled - z: the tipping point is the quantile of the pooled effect
    beyond which, in the good direction, the threshold's share of it lies; 0 if there is less.
    """
    step = float(np.quantile(pooled, threshold if sign < 0 else 1 - threshold))
    return step if sign * step > 0 else 0.0
