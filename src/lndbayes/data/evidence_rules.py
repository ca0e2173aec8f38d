"""Rules of the tables of evidence that need more than one cell."""

from __future__ import annotations

from typing import Final

from lndbayes.base.errors import Code, Problem
from lndbayes.data.facts import Facts
from lndbayes.data.tables import Parsed, month_number

__all__ = ["check_elicited", "check_national", "check_spans"]

#: Least relative standard error of a rate: its square root is that of as many events.
_MOST_EXACT: Final = 1e-5
#: Least relative width of a judgement's 90% interval.
_SUREST: Final = 1e-3


def check_spans(parsed: Parsed, facts: Facts) -> list[Problem]:
    """Check that national rows span whole periods, and that a series tells each month once."""
    months = parsed.frame["months"].to_numpy()
    broken = parsed.usable("months") & (months % facts.step != 0)
    rule = f"must be whole periods: a multiple of {facts.step} months"
    problems = parsed.problems(broken, "months", rule, Code.OFF_GRID)
    spans = parsed.frame[parsed.usable("outcome", "month", "months", "source")]
    if spans.empty:
        return problems
    starts = spans["month"].map(month_number)
    spans = spans.assign(start=starts, end=starts + spans["months"]).sort_values("start")
    reach = spans.groupby(["outcome", "source"])["end"].transform(lambda end: end.cummax().shift())
    late = spans[(spans["start"] < reach) & ~spans.duplicated(list(parsed.table.key))]
    overlapping = parsed.frame["row"].isin(late["row"]).to_numpy(bool)
    rule = "must not begin within an earlier row of the same outcome and source: it counts twice"
    return problems + parsed.problems(overlapping, "month", rule, Code.COUNTED_TWICE)


def check_elicited(parsed: Parsed) -> list[Problem]:
    """Check that quantiles are in order and of a width that a judgement can have."""
    low, middle, high = (parsed.frame[name].to_numpy() for name in ("q05", "q50", "q95"))
    order = Code.OUT_OF_ORDER
    problems = parsed.problems(middle <= low, "q50", "must be above q05", order)
    problems += parsed.problems(high <= middle, "q95", "must be above q50", order)
    sure = (low < middle) & (middle < high) & (high < low * (1 + _SUREST))
    rule = f"must be above q05 by {_SUREST:g} of it or more: nobody is as sure of a rate"
    return problems + parsed.problems(sure, "q95", rule, Code.OUT_OF_RANGE)


def check_national(parsed: Parsed) -> list[Problem]:
    """Check that standard errors are of a size that a count of events can have."""
    rate, se = parsed.frame["rate"].to_numpy(), parsed.frame["se"].to_numpy()
    rule = f"must be at least {_MOST_EXACT:g} of the rate, that of ten thousand million events"
    return parsed.problems(se < _MOST_EXACT * rate, "se", rule, Code.OUT_OF_RANGE)
