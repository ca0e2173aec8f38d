"""Verdicts on the model's predictions, its prior and the weight of single cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import binom, norm

from lndbayes.checks.predictive import Discrepancy, SiteRates, Unavailable
from lndbayes.checks.result import CheckResult, Status, at_least, at_most, not_run
from lndbayes.checks.thresholds import Thresholds

__all__ = [
    "discrepancy",
    "pareto",
    "predictive_draws",
    "prior_change",
    "prior_dominance",
    "prior_effect",
    "prior_rate",
    "site_coverage",
]

# Tail probability of the number of missed sites below which it is no accident: 1% to be looked at,
# one in a thousand to fail.
_MISS_REVIEW, _MISS_FAIL = 0.01, 0.001
# A prior more likely than not to contradict common knowledge is a mistake, not an opinion.
_PRIOR_FAIL = 0.5


# --- posterior predictive


def predictive_draws(outcome: str, replicated: np.ndarray, thresholds: Thresholds) -> CheckResult:
    """FAIL if the replicated panels are far too few or all the same."""
    count = len(replicated)
    status = at_least(count, thresholds.replicates_min, thresholds.replicates_min / 10)
    message = f"{count} replicated panels are used."
    if bool((replicated == replicated[:1]).all()):
        status, message = Status.FAIL, "All replicated panels are the same."
    return CheckResult(
        outcome,
        "predictive_draws",
        status,
        float(count),
        f">= {thresholds.replicates_min}",
        message,
    )


def site_coverage(outcome: str, rates: SiteRates, thresholds: Thresholds) -> CheckResult:
    """REVIEW or FAIL if more site rates lie outside their intervals than chance allows."""
    table, prob = rates.table, thresholds.site_interval_prob
    missed = table[~table["inside"]]
    # If the intervals are right each site is missed with probability 1 - prob.
    tail = float(binom.sf(len(missed) - 1, len(table), 1 - prob))
    share = len(missed) / len(table)
    far = not missed["difference"].abs().mean() < thresholds.rate_difference_large
    if tail < _MISS_FAIL and share >= thresholds.site_miss_share_large and far:
        status = Status.FAIL
    else:
        status = Status.REVIEW if tail < _MISS_REVIEW else Status.PASS
    allowed = int(binom.isf(_MISS_REVIEW, len(table), 1 - prob))
    rule = f">= {1 - allowed / len(table):.3g} (at most {allowed} of {len(table)} outside)"
    message = (
        f"{len(missed)} of {len(table)} site rates lie outside their {prob:.0%} predictive"
        f" interval{': ' + ', '.join(missed['site']) if len(missed) else ''}."
    )
    return CheckResult(outcome, "site_rates", status, 1 - share, rule, message, table)


def discrepancy(
    outcome: str, found: Discrepancy | Unavailable, thresholds: Thresholds
) -> CheckResult:
    """REVIEW if the model hardly ever gives the observed value, FAIL if also far and large."""
    if isinstance(found, Unavailable):
        if not found.fault:
            return not_run(outcome, found.check, found.reason)
        message = f"Cannot be judged: {found.reason}."
        return CheckResult(outcome, found.check, Status.FAIL, None, "", message)
    gap = np.broadcast_to(found.observed, found.replicated.shape) - found.replicated
    # Share of replicates at least as large as the data; ties count half.
    p = float((gap < 0).mean() + 0.5 * (gap == 0).mean())
    level = thresholds.predictive_level
    low, high = (level, 1.0) if found.parts else (level / 2, 1 - level / 2)
    status = Status.PASS if low <= p <= high else Status.REVIEW
    large = not found.effect < _large(found, thresholds)
    if p in (0.0, 1.0) and status is Status.REVIEW and large and _far(found, gap, thresholds):
        status = Status.FAIL
    rule = f"p >= {low:g}" if found.parts else f"{low:g} <= p <= {high:g}"
    if not np.isfinite(gap).all():
        status, p = Status.FAIL, float("nan")
    message = f"{found.where[:1].upper()}{found.where[1:]}; tail probability {p:.3f}."
    return CheckResult(outcome, found.check, status, p, rule, message, found.table)


def _far(found: Discrepancy, gap: np.ndarray, thresholds: Thresholds) -> bool:
    """Whether the data are further out than replicates, of which there are few, could show.

    Sds from the mean replicate, by a normal tail; the worst of several parts is held to the limit
    that gives all of them together the same tail (Bonferroni).
    """
    limit = thresholds.predictive_far_sd
    if found.parts:
        typical = float(np.median(found.observed))
        return not typical < norm.isf(norm.sf(limit) / found.parts)
    return not abs(float(gap.mean())) < limit * float(gap.std(ddof=1))


def _large(found: Discrepancy, thresholds: Thresholds) -> float:
    limits = {
        "rate": thresholds.rate_difference_large,
        "autocorrelation": thresholds.autocorrelation_large,
        "ratio": thresholds.variance_ratio_large,
    }
    return limits[found.scale]


# --- prior and influence


def prior_rate(outcome: str, rates: np.ndarray, thresholds: Thresholds) -> CheckResult:
    """REVIEW or FAIL if the prior puts the outcome's rate outside the plausible range."""
    low, high = thresholds.prior_rate_low, thresholds.prior_rate_high
    if low is None or high is None:
        reason = "the spec names no plausible range (prior_rate_low, prior_rate_high)"
        return not_run(outcome, "prior_rate", reason)
    quantiles = np.quantile(rates, (0.05, 0.5, 0.95))
    return _prior_share(
        outcome,
        "prior_rate",
        (rates >= low) & (rates <= high),
        thresholds.prior_rate_share_min,
        _PRIOR_FAIL,
        lambda share: (
            f"Prior probability {share:.3f} of a pooled rate between {low:g} and {high:g};"
            f" 5%, 50%, 95% of the prior: {', '.join(f'{q:.3g}' for q in quantiles)}."
        ),
    )


def prior_change(outcome: str, changes: np.ndarray, thresholds: Thresholds) -> CheckResult:
    """REVIEW or FAIL if the prior lets the pooled rate jump."""
    if len(changes) < thresholds.cells_min:
        reason = "too few prior predictive periods with enough events to tell trend from noise"
        return not_run(outcome, "prior_change", reason)
    limit = thresholds.prior_change_max
    return _prior_share(
        outcome,
        "prior_change",
        np.abs(changes) <= limit,
        thresholds.prior_change_share_min,
        _PRIOR_FAIL,
        lambda share: (
            f"Prior probability {share:.3f} of a change of at most {limit:.0%} from one period"
            " to the next."
        ),
    )


def prior_effect(outcome: str, ratios: np.ndarray, thresholds: Thresholds) -> CheckResult:
    """REVIEW or FAIL if the prior allows implausible pooled effects."""
    low, high = thresholds.prior_ratio_low, thresholds.prior_ratio_high
    return _prior_share(
        outcome,
        "prior_effect",
        (ratios >= low) & (ratios <= high),
        thresholds.prior_ratio_share_min,
        _PRIOR_FAIL,
        lambda share: (
            f"Prior probability {share:.3f} of a rate ratio between {low:g} and {high:g}."
        ),
    )


def _prior_share(
    outcome: str,
    check: str,
    inside: np.ndarray,
    limit: float,
    fail: float,
    message: Callable[[float], str],
) -> CheckResult:
    share = float(inside.mean())
    return CheckResult(
        outcome, check, at_least(share, limit, fail), share, f">= {limit:g}", message(share)
    )


def prior_dominance(
    outcome: str, table: pd.DataFrame, variable: str, thresholds: Thresholds
) -> CheckResult:
    """REVIEW if the data hardly narrowed the pooled effect."""
    ratio = float(table.set_index("variable")["ratio"].get(variable, np.nan))
    limit = thresholds.dominance_max
    status = at_most(ratio, limit, np.inf)
    message = f"The posterior sd of {variable} is {ratio:.2f} of its prior sd."
    if not np.isfinite(ratio):
        status, message = Status.FAIL, f"Prior and posterior sd of {variable} have no ratio."
    elif status is Status.REVIEW:
        message += " The answer rests on the prior."
    return CheckResult(outcome, "prior_dominance", status, ratio, f"<= {limit:g}", message, table)


def pareto(outcome: str, k: np.ndarray, thresholds: Thresholds) -> CheckResult:
    """REVIEW if single cells carry the posterior."""
    limit = thresholds.pareto_share_max
    share = float((~(k <= thresholds.pareto_k_max)).mean())
    message = (
        f"{share:.1%} of {len(k)} cells have a Pareto k above {thresholds.pareto_k_max:g}:"
        " leave-one-out scores of the observation model are"
        f" {'reliable' if share <= limit else 'not reliable'}."
    )
    return CheckResult(
        outcome, "pareto_k", at_most(share, limit, 1.0), share, f"<= {limit:g} of cells", message
    )
