"""What moves the pooled effect: priors and sources of evidence raised to powers near one.

The posterior with one term's density raised to the power alpha is reached from the draws of the
posterior by importance weights ``p ** (alpha - 1)``, Pareto smoothed. Two numbers say how the
effect answers to a doubling of the term: the distance of its distribution (cumulative
Jensen-Shannon, as `arviz.psense`) and the shift of its mean. Only priors that nothing lies above
are scaled: scaling a prior whose parameters are estimated takes what data say for what a prior
says.

References
----------
Kallioinen, Paananen, Bürkner, Vehtari (2024). Detecting and diagnosing prior and likelihood
sensitivity with power-scaling. Statistics and Computing 34, 57. Vehtari, Simpson, Gelman, Yao,
Gabry (2024). Pareto smoothed importance sampling. Journal of Machine Learning Research 25(72).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats

from lndbayes.base.names import SAMPLE_DIMS
from lndbayes.checks.influence import smoothed_weights
from lndbayes.checks.result import Status
from lndbayes.evidence.part_densities import channel_log_likelihood, log_prior, panel_log_likelihood
from lndbayes.spec.linear import Enters, scalar_slots
from lndbayes.spec.model_spec import ModelSpec

__all__ = [
    "POWERSCALE_COLUMNS",
    "PRIOR_GROUPS",
    "PowerScaling",
    "power_scaling",
    "powerscale_table",
]

#: Slots whose priors are scaled together.
PRIOR_GROUPS: Mapping[str, tuple[str, ...]] = {
    "effect": ("effect_mean", "mix_effect_sd", *scalar_slots(Enters.SITE_EFFECT)),
    "channel_biases": (
        "retrospective_bias",
        "retrospective_bias_sd",
        "history_selection",
        "crisis_dip",
        "crisis_recovery_months",
    ),
    "baseline": ("baseline_level", "site_level_sd", *scalar_slots(Enters.UNTREATED)),
    "ramp": ("ramp_months",),
}

POWERSCALE_COLUMNS = (
    "outcome",
    "term",
    "kind",
    "sensitivity",
    "shift",
    "pareto_k",
    "status",
    "message",
)

#: Powers of the derivative (those of the reference implementation), and of the shift and its guard.
_NEAR = (0.99, 1.01)
_FAR = (0.8, 1.25)
#: Largest Pareto k at which weighted draws are used, and sensitivity from which on a term counts.
_K_MAX = 0.7
_COUNTS = 0.05


@dataclass(frozen=True, slots=True)
class PowerScaling:
    """How a quantity answers to one term of the posterior.

    Attributes
    ----------
    sensitivity : float
        Distance between the distributions for a doubling of the term's power, at power one.
    shift : float
        Change of the mean for a doubling, in posterior sds, from powers 0.8 and 1.25.
    pareto_k : float
        Larger Pareto k of the weights at powers 0.8 and 1.25; minus infinity for a term that does
        not vary.
    """

    sensitivity: float
    shift: float
    pareto_k: float


def power_scaling(quantity: np.ndarray, log_density: np.ndarray) -> PowerScaling:
    """Power-scale one term of the posterior.

    Parameters
    ----------
    quantity : np.ndarray, shape (chain, draw)
        Draws of what is reported.
    log_density : np.ndarray, shape (chain, draw)
        Log density of the term in the same draws.

    Returns
    -------
    PowerScaling
        Sensitivity and shift are NaN where the Pareto k is above 0.7 or not a number: weighted
        draws then say nothing.
    """
    if np.ptp(log_density) < 1e-12:
        return PowerScaling(0.0, 0.0, -np.inf)
    means, ks = [], []
    for alpha in _FAR:
        weight, k = smoothed_weights((alpha - 1) * log_density.ravel())
        means.append(float((quantity.ravel() * weight).sum()))
        ks.append(k)
    k = max(ks) if np.isfinite(ks).all() else float("nan")
    if not k <= _K_MAX:
        return PowerScaling(np.nan, np.nan, k)
    low, high = (_weights(log_density, alpha) for alpha in _NEAR)
    sensitivity = array_stats.power_scale_sense(quantity, low, high, _NEAR[0], _NEAR[1])
    doublings = np.log2(_FAR[1] / _FAR[0])
    shift = (means[1] - means[0]) / doublings / quantity.std(ddof=1)
    return PowerScaling(float(sensitivity), float(shift), k)


def _weights(log_density: np.ndarray, alpha: float) -> np.ndarray:
    log_weights = array_stats.power_scale_lw(log_density, alpha=alpha, axis=(0, 1))
    weight = np.exp(log_weights - log_weights.max())
    return np.asarray(weight / weight.sum())


def powerscale_table(fit: xr.DataTree, spec: ModelSpec, pooled: xr.DataArray) -> pd.DataFrame:
    """Answer of the pooled effect to each group of priors and each source of evidence.

    Parameters
    ----------
    fit : xr.DataTree
        A fit with its log likelihood.
    spec : ModelSpec
        Its spec.
    pooled : xr.DataArray, dims (chain, draw)
        Draws of the pooled effect, as `lndbayes.estimands.effects.pooled_effect` gives.

    Returns
    -------
    pd.DataFrame
        Columns `POWERSCALE_COLUMNS`, one row a term; ``kind`` is prior or likelihood. A term whose
        weights cannot be trusted, or that the fit lacks, is NOT RUN and has no number.
    """
    outcome = str(fit.attrs.get("outcome", ""))
    draws = pooled.transpose(*SAMPLE_DIMS).values.astype(float)
    rows = []
    for name, slots in PRIOR_GROUPS.items():
        there = [s for s in slots if s in spec.priors and s in fit["posterior"].to_dataset()]
        density = log_prior(fit, spec, there) if there else None
        rows.append(_row(outcome, name, "prior", draws, density))
    panel = panel_log_likelihood(fit) if "log_likelihood" in fit.children else None
    channels = channel_log_likelihood(fit, spec)
    for name in ("panel", "retrospective", "national", "history", "elicited"):
        density = panel if name == "panel" else channels.get(name)
        rows.append(_row(outcome, name, "likelihood", draws, density))
    return pd.DataFrame(rows, columns=list(POWERSCALE_COLUMNS))


def _row(
    outcome: str, term: str, kind: str, draws: np.ndarray, density: np.ndarray | None
) -> tuple[str, str, str, float, float, float, str, str]:
    if density is None:
        reason = "Not run: the fit has no such term, or it is switched off."
        return outcome, term, kind, np.nan, np.nan, np.nan, str(Status.NOT_RUN), reason
    found = power_scaling(draws, density)
    # a term that does not vary has no weights whose tail could have a k, and a table no infinity
    k = found.pareto_k if np.isfinite(found.pareto_k) else np.nan
    if not found.pareto_k <= _K_MAX:
        told = f"is {k:.2f}, above {_K_MAX}" if np.isfinite(k) else "cannot be told"
        message = (
            f"Not run: Pareto k {told}: the draws do not reach the"
            " posterior with this term scaled; refit without it instead."
        )
        return outcome, term, kind, np.nan, np.nan, k, str(Status.NOT_RUN), message
    status, message = _judged(term, kind, found)
    numbers = (found.sensitivity, found.shift, k)
    return outcome, term, kind, *numbers, str(status), message


def _judged(term: str, kind: str, found: PowerScaling) -> tuple[Status, str]:
    counts = found.sensitivity >= _COUNTS
    # no sign before what rounds to nothing
    shift = f"{found.shift:+.2f}" if abs(found.shift) >= 0.005 else "0.00"
    moved = f"doubling its weight moves the mean by {shift} sd"
    if kind == "prior":
        if counts:
            return Status.REVIEW, f"The pooled effect depends on this prior: {moved}."
        return Status.PASS, f"The pooled effect hardly depends on this prior: {moved}."
    if term == "panel" and not counts:
        return Status.REVIEW, f"The outcome's own records hardly inform the pooled effect: {moved}."
    carries = "is load-bearing" if counts else "hardly matters"
    return Status.PASS, f"This evidence {carries}: {moved}."
