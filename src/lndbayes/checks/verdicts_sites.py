"""Verdicts on sites against each other, from numbers and thresholds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lndbayes.checks.result import CheckResult, Status, not_run
from lndbayes.checks.sites import Outliers
from lndbayes.checks.thresholds import Thresholds

__all__ = ["levels", "possible_counts", "ratios"]


def possible_counts(outcome: str, found: pd.DataFrame) -> CheckResult:
    """FAIL if any observed count cannot be."""
    message = "Every observed count is a whole number between zero and its exposure."
    if len(found):
        first = found.iloc[0]
        message = (
            f"{len(found)} observed counts cannot be; first site {first['site']}, month"
            f" {first['month']}: {first['count']:g} of {first['exposure']:g}."
        )
    return CheckResult(
        outcome,
        "possible_counts",
        Status.FAIL if len(found) else Status.PASS,
        float(len(found)),
        "0 cells",
        message,
        found if len(found) else None,
    )


def levels(outcome: str, found: Outliers | str, thresholds: Thresholds) -> CheckResult:
    """REVIEW if one site's untreated level does not belong to those of the others."""
    if isinstance(found, str):
        return not_run(outcome, "site_levels", found)
    worst = found.worst
    message = (
        f"Site {worst['site']} has the most unusual untreated level: {worst['difference']:+.2f} on"
        f" the link scale from the median site, {abs(worst['z']):.1f} robust sds."
    )
    return _verdict(outcome, "site_levels", found, thresholds, message, large=True)


def ratios(outcome: str, check: str, found: Outliers | str, thresholds: Thresholds) -> CheckResult:
    """REVIEW if exposure and referrals of a site, or of a part of it, do not belong together."""
    if isinstance(found, str):
        return not_run(outcome, check, found)
    worst = found.worst
    factor = float(np.exp(worst["difference"]))
    where = f" in the half-year from {worst['from']}" if "from" in found.table else ""
    message = (
        f"Exposure over referrals at site {worst['site']}{where} is {factor:.2f} times what is"
        f" usual, {abs(worst['z']):.1f} robust sds."
    )
    large = max(factor, 1 / factor) >= thresholds.exposure_ratio_large
    return _verdict(outcome, check, found, thresholds, message, large=large)


def _verdict(
    outcome: str, check: str, found: Outliers, thresholds: Thresholds, message: str, *, large: bool
) -> CheckResult:
    level = thresholds.predictive_level
    # a site may be truly unlike the others: this is for a person to decide, so never FAIL, except
    # where there is no number
    status = Status.PASS if found.p >= level or not large else Status.REVIEW
    if not np.isfinite(found.table["z"]).all():
        status = Status.FAIL
    return CheckResult(outcome, check, status, found.p, f"p >= {level:g}", message, found.table)
