"""What a check hands back, and how results become a table, one verdict and an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import pandas as pd

__all__ = [
    "CHECK_COLUMNS",
    "SILENT",
    "CheckResult",
    "Status",
    "at_least",
    "at_most",
    "bearing_failures",
    "checks_table",
    "exit_code",
    "not_run",
    "overall",
]

#: Checks whose FAIL says nothing against a conclusion on the pooled effect. The priors of the
#: national curve and of the season are centred at no change, so that `prior_change` fails by being
#: too wide: that lengthens the interval and moves it nowhere. Every other FAIL is of draws that
#: cannot be trusted, of a model that does not describe the data, or of a prior that may be wrong to
#: one side.
SILENT = frozenset({"prior_change"})

CHECK_COLUMNS = ("outcome", "check", "status", "value", "threshold", "message")


class Status(StrEnum):
    """Verdict of one check; the values are those written to ``checks.csv``."""

    PASS = "PASS"
    REVIEW = "REVIEW"
    FAIL = "FAIL"
    NOT_RUN = "NOT RUN"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Verdict of one check on one outcome.

    Attributes
    ----------
    outcome : str
        Outcome of the fit.
    check : str
        Name of the check, a heading of ``docs/checks.md``.
    status : Status
        The verdict.
    value : float or None
        The number that was judged, unrounded; None where there is none (a check that could not be
        run, or one that fails before a number exists).
    threshold : str
        The rule a value must meet to pass, such as ``"<= 1.01"``.
    message : str
        One or two sentences: what was found, where it is worst, and what it means.
    table : pd.DataFrame or None
        The numbers behind the verdict, for those who want to look; not part of equality.
    """

    outcome: str
    check: str
    status: Status
    value: float | None
    threshold: str
    message: str
    table: pd.DataFrame | None = field(default=None, compare=False, repr=False)


def not_run(outcome: str, check: str, reason: str) -> CheckResult:
    """Result of a check that could not be run, with the reason."""
    return CheckResult(outcome, check, Status.NOT_RUN, None, "", f"Not run: {reason}.")


def at_most(value: float, limit: float, fail: float) -> Status:
    """PASS up to `limit`, REVIEW up to `fail`, FAIL above it and for NaN.

    Comparisons with NaN are false, so it is passing that has to be true: ``not value <= fail``
    fails for NaN where ``value > fail`` would let it through.
    """
    if not value <= fail:
        return Status.FAIL
    return Status.PASS if value <= limit else Status.REVIEW


def at_least(value: float, limit: float, fail: float) -> Status:
    """PASS down to `limit`, REVIEW down to `fail`, FAIL below it and for NaN."""
    return at_most(-value, -limit, -fail)


def checks_table(results: Iterable[CheckResult]) -> pd.DataFrame:
    """Results as the rows of ``checks.csv``.

    Parameters
    ----------
    results : iterable of CheckResult

    Returns
    -------
    pd.DataFrame
        Columns ``outcome``, ``check``, ``status``, ``value`` (NaN where there is none),
        ``threshold``, ``message``, in the order of the results.
    """
    rows = [(r.outcome, r.check, str(r.status), r.value, r.threshold, r.message) for r in results]
    table = pd.DataFrame(rows, columns=list(CHECK_COLUMNS))
    return table.astype({"value": float})


def overall(results: Iterable[CheckResult]) -> Status:
    """One verdict for many: the worst of them.

    A check that was not run leaves a question open, so it counts as REVIEW here; and no result at
    all is a FAIL, because nothing has been checked.

    Parameters
    ----------
    results : iterable of CheckResult

    Returns
    -------
    Status
        PASS, REVIEW or FAIL, never NOT RUN.
    """
    statuses = {result.status for result in results}
    if not statuses or Status.FAIL in statuses:
        return Status.FAIL
    return Status.PASS if statuses == {Status.PASS} else Status.REVIEW


def bearing_failures(results: Iterable[CheckResult]) -> tuple[str, ...]:
    """Names of the checks that say FAIL and bear on the pooled effect: all but `SILENT`.

    Parameters
    ----------
    results : iterable of CheckResult
        Of one outcome.

    Returns
    -------
    tuple of str
        In the order of the results.
    """
    return tuple(r.check for r in results if r.status is Status.FAIL and r.check not in SILENT)


def exit_code(results: Iterable[CheckResult]) -> int:
    """Exit code of a command that ran these checks.

    Parameters
    ----------
    results : iterable of CheckResult

    Returns
    -------
    int
        1 if the overall verdict is FAIL, else 0.
    """
    return 1 if overall(results) is Status.FAIL else 0
