"""Where each check draws its lines, and how a spec moves them.

The numbers live here and nowhere else; why each is what it is stands in ``docs/checks.md``. Every
field has bounds that an override must respect, so that no spec can move a line so far that the
check behind it cannot fail.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lndbayes.base.errors import Code, Problem, SpecError

__all__ = ["DEFAULTS", "Thresholds", "thresholds_from"]


def _within(default: float | None, low: float, high: float) -> Any:
    """Field with a default and the closed range of values an override may take."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds of all checks.

    Attributes
    ----------
    chains_min : int
        ``chains``: fewer is REVIEW; fewer than two is always FAIL.
    rhat_max, rhat_fail : float
        ``rhat``: a posterior element above the first is REVIEW, above the second FAIL.
        ``rhat_reported``: a reported quantity above the first is FAIL.
    ess_min, ess_fail : float
        ``ess_bulk`` and ``ess_tail``: below the first is REVIEW, below the second FAIL.
        ``ess_reported``: below the first is FAIL.
    mcse_max, mcse_fail : float
        ``mcse_reported``: Monte Carlo standard error of a reported 5% or 95% quantile as a share of
        the quantity's posterior sd; above the first REVIEW, above the second FAIL.
    divergence_share_max : float
        ``divergences``: none is PASS, up to this share of the draws REVIEW, more FAIL.
    tree_depth_limit : int
        ``tree_depth``: the depth at which the sampler stops a trajectory.
    tree_depth_share_max : float
        ``tree_depth``: a larger share of draws at the limit is REVIEW.
    bfmi_min : float
        ``energy``: a chain at or below is FAIL.
    replicates_min : int
        ``predictive_draws``: fewer replicated data sets are REVIEW, fewer than a tenth FAIL.
    replicates_max : int
        More replicated data sets than this are thinned evenly, for speed.
    predictive_level : float
        Two-sided level of each predictive quantity: a tail probability below half of it or above
        one minus half of it is REVIEW.
    predictive_far_sd : float
        FAIL needs an observed value beyond every replicate, at least this many sds from their mean
        (the worst of several parts correspondingly more), and a large effect (next four).
    rate_difference_large : float
        Rates: relative difference between observed and predicted that counts as large.
    variance_ratio_large : float
        Variances and the largest monthly change: ratio that counts as large, either way.
    autocorrelation_large : float
        Autocorrelations: difference that counts as large.
    site_miss_share_large : float
        ``site_rates``: share of sites outside their interval that counts as large.
    site_interval_prob : float
        ``site_rates``: probability of each site's predictive interval.
    cells_min : int
        Fewest cells, or pairs of cells, from which a predictive quantity is computed.
    before_after_months : int
        ``rate_before`` and ``rate_after``: the last (first) likelihood months before (after)
        go-live that are pooled, at most twice as many months away from it.
    event_first, event_last : int
        ``event_curve``: range of event months.
    exposure_ratio_large : float
        ``exposure_ratios`` and ``exposure_breaks``: factor between exposure and referrals, against
        the other sites or half-years, below which an outlier is of no consequence.
    prior_rate_low, prior_rate_high : float or None
        ``prior_rate``: plausible range of the outcome's rate. None: the check is not run, because
        no range is right for every outcome; the spec has to say.
    prior_rate_share_min : float
        ``prior_rate``: a smaller prior probability of the range is REVIEW, below one half FAIL.
    prior_change_max, prior_change_share_min : float
        ``prior_change``: plausible relative change of the pooled rate from one period to the next,
        and the least prior probability of it (REVIEW below).
    prior_ratio_low, prior_ratio_high, prior_ratio_share_min : float
        ``prior_effect``: plausible rate ratio of the pooled effect, and the least prior probability
        of it (REVIEW below, FAIL below one half).
    dominance_max : float
        ``prior_dominance``: posterior sd over prior sd of the pooled effect; above is REVIEW.
    pareto_k_max, pareto_share_max : float
        ``pareto_k``: a larger share of cells with k-hat above the limit is REVIEW.
    pareto_draws : int
        ``pareto_k``: draws used, thinned evenly, for speed.
    """

    chains_min: int = _within(4, 2, 64)
    rhat_max: float = _within(1.01, 1.0, 1.05)
    rhat_fail: float = _within(1.05, 1.0, 1.1)
    ess_min: float = _within(400.0, 100.0, 1e6)
    ess_fail: float = _within(100.0, 50.0, 1e6)
    mcse_max: float = _within(0.05, 0.001, 0.10)
    mcse_fail: float = _within(0.15, 0.001, 0.25)
    divergence_share_max: float = _within(0.001, 0.0, 0.01)
    tree_depth_limit: int = _within(10, 1, 20)
    tree_depth_share_max: float = _within(0.01, 0.0, 0.25)
    bfmi_min: float = _within(0.3, 0.2, 1.0)
    replicates_min: int = _within(200, 100, 100_000)
    replicates_max: int = _within(1000, 200, 100_000)
    predictive_level: float = _within(0.01, 0.001, 0.2)
    predictive_far_sd: float = _within(4.0, 2.0, 6.0)
    rate_difference_large: float = _within(0.10, 0.0, 0.5)
    variance_ratio_large: float = _within(1.5, 1.0, 3.0)
    autocorrelation_large: float = _within(0.2, 0.0, 0.5)
    site_miss_share_large: float = _within(0.2, 0.0, 0.5)
    site_interval_prob: float = _within(0.95, 0.5, 0.99)
    cells_min: int = _within(30, 10, 1000)
    before_after_months: int = _within(6, 1, 24)
    event_first: int = _within(-12, -60, 0)
    event_last: int = _within(24, 1, 120)
    exposure_ratio_large: float = _within(1.15, 1.0, 2.0)
    prior_rate_low: float | None = _within(None, 0.0, math.inf)
    prior_rate_high: float | None = _within(None, 0.0, math.inf)
    prior_rate_share_min: float = _within(0.9, 0.5, 1.0)
    prior_change_max: float = _within(0.3, 0.01, 1.0)
    prior_change_share_min: float = _within(0.95, 0.5, 1.0)
    prior_ratio_low: float = _within(0.3, 0.001, 1.0)
    prior_ratio_high: float = _within(3.0, 1.0, 1000.0)
    prior_ratio_share_min: float = _within(0.95, 0.5, 1.0)
    dominance_max: float = _within(0.8, 0.1, 0.99)
    pareto_k_max: float = _within(0.7, 0.3, 0.7)
    pareto_share_max: float = _within(0.05, 0.0, 0.2)
    pareto_draws: int = _within(1000, 200, 100_000)


DEFAULTS = Thresholds()

# Pairs that must stay in order, or one of the two verdicts could never be given.
_ORDERED = (
    ("rhat_max", "rhat_fail"),
    ("ess_fail", "ess_min"),
    ("mcse_max", "mcse_fail"),
    ("replicates_min", "replicates_max"),
    ("prior_rate_low", "prior_rate_high"),
)


def thresholds_from(mapping: Mapping[str, Any], *, file: str = "spec") -> Thresholds:
    """Thresholds with the overrides of a spec's ``[checks]`` section.

    Parameters
    ----------
    mapping : mapping of str to number
        Names of fields of `Thresholds` and their values; may be empty.
    file : str
        Named in the problems, the path of the spec.

    Returns
    -------
    Thresholds

    Raises
    ------
    SpecError
        With every problem: an unknown name (with a suggestion), a value that is not a finite
        number, one outside the bounds of its field, or a pair in the wrong order.
    """
    fields = {f.name: f for f in dataclasses.fields(Thresholds)}
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        fault = _fault(str(name), value, fields)
        if fault is None:
            values[name] = float(value) if _is_real(fields[name]) else value
        else:
            rule, code = fault
            where = file, rule, None, f"checks.{name}", str(value)
            problems.append(Problem(*where, code))
    if not problems:
        thresholds = dataclasses.replace(DEFAULTS, **values)
        code = Code.OUT_OF_ORDER
        orders = _broken_orders(thresholds)
        problems = [Problem(file, rule, column="checks", code=code) for rule in orders]
    if problems:
        raise SpecError(problems)
    return thresholds


def _is_real(f: dataclasses.Field[Any]) -> bool:
    return f.type != "int"


def _fault(name: str, value: object, fields: Mapping[str, Any]) -> tuple[str, Code] | None:
    if name not in fields:
        near = difflib.get_close_matches(name, fields, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"is not a threshold{hint}", Code.UNKNOWN_KEY
    f = fields[name]
    # bool is an int in Python, and `true` is no threshold.
    kinds = (int, float) if _is_real(f) else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not _is_finite(value):
        rule = "must be a finite number" if _is_real(f) else "must be a whole number"
        return rule, Code.NOT_A_NUMBER if _is_real(f) else Code.NOT_WHOLE
    low, high = f.metadata["low"], f.metadata["high"]
    if not low <= value <= high:
        return f"must lie between {low:g} and {high:g}", Code.OUT_OF_RANGE
    return None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any double
        return False


def _broken_orders(thresholds: Thresholds) -> list[str]:
    rules = []
    for low, high in _ORDERED:
        a, b = getattr(thresholds, low), getattr(thresholds, high)
        if (a is None) != (b is None):
            rules.append(f"{low} and {high} must be given together")
        elif a is not None and a > b:
            rules.append(f"{low} ({a:g}) must not be above {high} ({b:g})")
    return rules
