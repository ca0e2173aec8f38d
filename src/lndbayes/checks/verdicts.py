"""Verdicts on the fit as such and on the sampler, from numbers and thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lndbayes.checks.convergence import SamplerNumbers
from lndbayes.checks.result import CheckResult, Status, at_least, at_most
from lndbayes.checks.structure import NonFinite
from lndbayes.checks.thresholds import Thresholds

__all__ = [
    "chains",
    "divergences",
    "element_checks",
    "energy",
    "finite",
    "groups",
    "identical_chains",
    "reported_checks",
    "stuck_chains",
    "tree_depth",
]

# --- the fit as such


def groups(outcome: str, broken: Mapping[str, Sequence[str]]) -> CheckResult:
    """FAIL if a group is absent or unusable."""
    status = Status.FAIL if broken else Status.PASS
    faults = [f"{group}: {', '.join(reasons)}" for group, reasons in broken.items()]
    message = f"Unusable: {'; '.join(faults)}." if faults else "All groups are there and usable."
    return CheckResult(outcome, "groups", status, float(len(broken)), "0 unusable groups", message)


def finite(outcome: str, found: Sequence[NonFinite]) -> CheckResult:
    """FAIL if any value is NaN or infinite."""
    total = sum(item.count for item in found)
    message = "No value is NaN or infinite."
    table = None
    if found:
        message = f"NaN or infinite: {found[0]}; {len(found)} variables are affected."
        table = pd.DataFrame(
            [(f.group, f.variable, f.count, f.first) for f in found],
            columns=["group", "variable", "count", "first"],
        )
    status = Status.FAIL if total else Status.PASS
    rule = "0 non-finite values"
    return CheckResult(outcome, "finite", status, float(total), rule, message, table)


# --- the sampler


def chains(outcome: str, count: int, draws: int, thresholds: Thresholds) -> CheckResult:
    """FAIL for one chain, REVIEW for fewer than asked."""
    status = at_least(count, thresholds.chains_min, 2)
    message = f"{count} chains of {draws} draws."
    if status is Status.FAIL:
        message += " One chain cannot be compared with anything."
    return CheckResult(
        outcome, "chains", status, float(count), f">= {thresholds.chains_min}", message
    )


def stuck_chains(outcome: str, table: pd.DataFrame) -> CheckResult:
    """FAIL if a chain never moves in some element."""
    stuck = table[table["stuck"] >= 0]
    message = "Every chain moves in every element."
    if len(stuck):
        first = stuck.iloc[0]
        message = (
            f"{len(stuck)} elements do not move in some chain; first {first['element']} in chain"
            f" {first['stuck']}. If it is constant by construction, the fit must declare it so."
        )
    return _none_allowed(outcome, "stuck_chains", stuck, message, "0 elements")


def identical_chains(outcome: str, table: pd.DataFrame) -> CheckResult:
    """FAIL if two chains have the same draws of some element."""
    same = table[table["same"] != ""]
    message = "No two chains have the same draws."
    if len(same):
        first = same.iloc[0]
        message = (
            f"Chains {first['same']} have the same draws of {first['element']}"
            f" ({len(same)} elements in all): one run was counted twice."
        )
    return _none_allowed(outcome, "identical_chains", same, message, "0 elements")


def _none_allowed(
    outcome: str, check: str, offending: pd.DataFrame, message: str, rule: str
) -> CheckResult:
    status = Status.FAIL if len(offending) else Status.PASS
    table = offending.reset_index(drop=True) if len(offending) else None
    return CheckResult(outcome, check, status, float(len(offending)), rule, message, table)


def element_checks(outcome: str, table: pd.DataFrame, thresholds: Thresholds) -> list[CheckResult]:
    """R-hat, bulk ESS and tail ESS over every element of the posterior."""
    t = thresholds
    return [
        _worst_element(outcome, "rhat", table, "rhat", t.rhat_max, t.rhat_fail, high_is_bad=True),
        _worst_element(
            outcome, "ess_bulk", table, "ess_bulk", t.ess_min, t.ess_fail, high_is_bad=False
        ),
        _worst_element(
            outcome, "ess_tail", table, "ess_tail", t.ess_min, t.ess_fail, high_is_bad=False
        ),
    ]


def reported_checks(outcome: str, table: pd.DataFrame, thresholds: Thresholds) -> list[CheckResult]:
    """R-hat, ESS and Monte Carlo error of the published quantities."""
    t = thresholds
    # The smaller of the two; NaN in either stays NaN.
    least = table[["ess_bulk", "ess_tail"]].min(axis=1, skipna=False)
    table = table.assign(ess=least)
    return [
        _worst_element(
            outcome, "rhat_reported", table, "rhat", t.rhat_max, t.rhat_max, high_is_bad=True
        ),
        _worst_element(
            outcome, "ess_reported", table, "ess", t.ess_min, t.ess_min, high_is_bad=False
        ),
        _worst_element(
            outcome,
            "mcse_reported",
            table,
            "mcse_share",
            t.mcse_max,
            t.mcse_fail,
            high_is_bad=True,
        ),
    ]


def _worst_element(
    outcome: str,
    check: str,
    table: pd.DataFrame,
    column: str,
    limit: float,
    fail: float,
    *,
    high_is_bad: bool,
) -> CheckResult:
    """Judge the worst value of a column; a value that could not be computed is the worst."""
    rule = f"{'<=' if high_is_bad else '>='} {limit:g}"
    if table.empty:
        message = "There is no element to judge."
        return CheckResult(outcome, check, Status.FAIL, None, rule, message)
    values = table[column].to_numpy(dtype=float)
    badness = np.where(np.isnan(values), np.inf, values if high_is_bad else -values)
    order = np.argsort(-badness, kind="stable")
    value, worst = float(values[order[0]]), table["element"].iloc[order[0]]
    status = (at_most if high_is_bad else at_least)(value, limit, fail)
    beyond = np.count_nonzero(badness > (limit if high_is_bad else -limit))
    message = f"Worst of {len(table)}: {worst}; {beyond} beyond the limit."
    if np.isnan(value):
        message = (
            f"Cannot be computed for {worst}: that takes two chains of at least four draws,"
            " all finite and not all the same."
        )
    ordered = table.iloc[order].reset_index(drop=True)
    return CheckResult(outcome, check, status, value, rule, message, ordered)


def divergences(outcome: str, numbers: SamplerNumbers, thresholds: Thresholds) -> CheckResult:
    """FAIL above the tolerated share of divergences, REVIEW for any."""
    share = numbers.divergent / numbers.draws
    status = at_most(share, 0.0, thresholds.divergence_share_max)
    message = f"{numbers.divergent} of {numbers.draws} transitions diverged."
    return CheckResult(
        outcome, "divergences", status, float(numbers.divergent), "0 divergences", message
    )


def tree_depth(outcome: str, numbers: SamplerNumbers, thresholds: Thresholds) -> CheckResult:
    """REVIEW if too many trajectories were cut off."""
    limit = thresholds.tree_depth_share_max
    status = at_most(numbers.depth_share, limit, 1.0)
    message = (
        f"{numbers.depth_share:.1%} of trajectories were cut off at depth"
        f" {thresholds.tree_depth_limit}."
    )
    return CheckResult(
        outcome, "tree_depth", status, numbers.depth_share, f"<= {limit:g} of draws", message
    )


def energy(outcome: str, numbers: SamplerNumbers, thresholds: Thresholds) -> CheckResult:
    """FAIL if a chain does not explore the energy levels."""
    bfmi = np.where(np.isfinite(numbers.bfmi), numbers.bfmi, -np.inf)
    i = int(bfmi.argmin())
    status = Status.PASS if bfmi[i] > thresholds.bfmi_min else Status.FAIL
    message = f"Lowest E-BFMI in chain {i}."
    if np.isinf(bfmi[i]):
        message = f"E-BFMI of chain {i} cannot be computed: its energy does not vary."
    return CheckResult(
        outcome, "energy", status, float(numbers.bfmi[i]), f"> {thresholds.bfmi_min:g}", message
    )
