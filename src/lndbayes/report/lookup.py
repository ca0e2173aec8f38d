"""Small questions to a run: one row, a name, a direction. No arithmetic beyond comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lndbayes.base.names import words
from lndbayes.base.vocabulary import EffectVerdict
from lndbayes.report.run import Run

__all__ = [
    "PRIOR_DOMINATED",
    "RATIOS",
    "Row",
    "assumption",
    "benefit_probability",
    "effect_rows",
    "events_name",
    "good_direction",
    "interval_verdict",
    "is_synthetic",
    "only",
    "outcome_label",
    "overview_row",
    "parts",
    "prior_share",
    "quoted",
    "ratio_name",
    "said_of",
    "small_label",
    "withheld",
]

Row = Mapping[Any, Any]
#: Posterior sd over prior sd from which an answer is said to rest on the prior. At 0.8 the data
#: have taken away 36% of the prior variance.
PRIOR_DOMINATED = 0.8

#: Unit of the link scale to the name of its exponential.
RATIOS: Mapping[str, str] = {
    "log odds": "odds ratio",
    "log rate": "rate ratio",
    "log hazard": "hazard ratio",
}


def assumption(row: Row) -> str:
    """Why a row of a table rests on assumption only; empty where it does not, or no one asked."""
    why = row.get("rests_on_assumption")
    return why if isinstance(why, str) else ""


def effect_rows(run: Run, outcome: str, estimand: str, scale: str) -> pd.DataFrame:
    """Rows of one estimand.

    Parameters
    ----------
    run : Run
        The run.
    outcome, estimand, scale : str
        Values of those columns of ``effects.csv``.

    Returns
    -------
    pd.DataFrame
        Rows in file order.
    """
    e = run.effects
    chosen = (e["outcome"] == outcome) & (e["estimand"] == estimand) & (e["scale"] == scale)
    return e[chosen].reset_index(drop=True)


def only(run: Run, outcome: str, estimand: str, scale: str) -> Row | None:
    """Row of all sites together of `effect_rows`, or None where the run has none with numbers."""
    rows = effect_rows(run, outcome, estimand, scale)
    rows = rows[(rows["site"] == "") & rows["median"].notna()]
    if rows.empty:
        return None
    return rows.to_dict("records")[0]


def parts(row: Row) -> tuple[float, float, float, float, float]:
    """Median, lower, upper, sd and Monte Carlo error of a row, as the rounding functions take them.

    Parameters
    ----------
    row : Row
        A row of any summary table; without a column ``mcse`` the error is NaN.

    Returns
    -------
    tuple of float
        Five numbers in the unit of the row.
    """
    known = (float(row[k]) for k in ("median", "lower", "upper", "sd"))
    median, lower, upper, sd = known
    return median, lower, upper, sd, float(row.get("mcse", math.nan))


def quoted(text: str) -> str:
    """Put typographic quotation marks around a label."""
    return f"\N{LEFT SINGLE QUOTATION MARK}{text}\N{RIGHT SINGLE QUOTATION MARK}"


def ratio_name(unit: str) -> str | None:
    """Return the name of the exponentiated link scale, or None where it has no meaning."""
    return RATIOS.get(unit)


def good_direction(run: Run, outcome: str) -> int | None:
    """Direction of a good change.

    Returns
    -------
    int or None
        -1 lower is better, 1 higher is better, None where neither is, or where no fit says.
    """
    design = run.fit_facts.get(outcome)
    stated = str(design.attrs.get("good_direction", "")) if design else ""
    return {"lower": -1, "-1": -1, "higher": 1, "1": 1}.get(stated)


def benefit_probability(row: Row, direction: int | None) -> tuple[str, float]:
    """Probability that the effect is good.

    Parameters
    ----------
    row : Row
        A row of ``effects.csv``.
    direction : int or None
        As `good_direction` gives it.

    Returns
    -------
    str
        What the probability is of: ``benefit``, or ``a fall`` where no direction is good.
    float
        Probability from 0 to 1.
    """
    below = float(row["p_below_zero"])
    if direction is None:
        return "a fall", below
    return "benefit", below if direction < 0 else 1.0 - below


def prior_share(run: Run, outcome: str) -> float:
    """Posterior sd of the pooled effect as a share of its prior sd; NaN where not known."""
    if run.sensitivity is None:
        return math.nan
    s = run.sensitivity
    base = s[(s["outcome"] == outcome) & (s["variant"] == "base")]
    if base.empty or not base["prior_sd"].iloc[0] > 0:
        return math.nan
    return float(base["sd"].iloc[0] / base["prior_sd"].iloc[0])


def interval_verdict(row: Row | None, share: float) -> EffectVerdict:
    """What the interval alone says of an effect: for a run without ``overview.csv``.

    Parameters
    ----------
    row : Row or None
        Pooled row.
    share : float
        As `prior_share` gives it.

    Returns
    -------
    EffectVerdict
        ``not identified``: no numbers; ``rests on the prior``: posterior nearly as wide as the
        prior; ``cannot say``: the interval includes no effect; else ``lowers`` or ``raises``.
    """
    if row is None or not all(math.isfinite(row[k]) for k in ("lower", "median", "upper")):
        return EffectVerdict.NOT_IDENTIFIED
    if share >= PRIOR_DOMINATED:
        return EffectVerdict.PRIOR
    if row["lower"] <= 0 <= row["upper"]:
        return EffectVerdict.CANNOT_SAY
    return EffectVerdict.LOWERS if row["median"] < 0 else EffectVerdict.RAISES


def overview_row(run: Run, outcome: str) -> Row | None:
    """Row of an outcome in ``overview.csv``, or None."""
    if run.overview is None:
        return None
    rows = run.overview[run.overview["outcome"] == outcome]
    return rows.to_dict("records")[0] if len(rows) else None


def outcome_label(run: Run, outcome: str) -> str:
    """Label of an outcome as its spec gives it, else its name in words."""
    row = overview_row(run, outcome)
    name = words(outcome)
    return str(row["label"]) if row else name[:1].upper() + name[1:]


def small_label(label: str) -> str:
    """Label inside a sentence: its first word small, unless it is an abbreviation."""
    first = label.split(" ", 1)[0]
    abbreviation = sum(c.isupper() for c in first) > 1
    return label if abbreviation else label[:1].lower() + label[1:]


def withheld(run: Run, outcome: str) -> str:
    """Say why no effect on an outcome is reported; empty where one is."""
    if outcome not in run.selected:
        return ""
    row = overview_row(run, outcome)
    why = str(row["note"]) if row else ""
    # the note names the outcome that people are chosen by as the data do
    for other in () if run.overview is None else run.overview["outcome"]:
        why = why.replace(f"({other})", f"({small_label(outcome_label(run, str(other)))})")
    why = words(why) or "the service helps to choose whom it measures"
    return (
        f"No effect on {outcome_label(run, outcome)} is reported: {why}. Their mean moves when "
        "other people enter, whether or not anybody has changed. See Bounds"
    )


def said_of(run: Run, outcome: str) -> EffectVerdict:
    """What may be said of an outcome.

    By the overview where the run has one, so that no page says two things of one effect; else by
    `interval_verdict`.
    """
    row = overview_row(run, outcome)
    if row is not None and str(row["verdict"]) in list(EffectVerdict):
        return EffectVerdict(str(row["verdict"]))
    return interval_verdict(only(run, outcome, "pooled", "link"), prior_share(run, outcome))


def events_name(run: Run, outcome: str) -> str:
    """Return what is counted, plural, in words: the unit of events averted, else the outcome."""
    row = only(run, outcome, "events_averted", "natural")
    return str(row["unit"]) if row else words(outcome)


def is_synthetic(run: Run) -> bool:
    """Tell whether the manifest or any fit says that the data are simulated."""
    stated = [run.manifest.get("synthetic")]
    stated += [d.attrs.get("synthetic") for d in run.fit_facts.values()]
    return any(str(s).strip().lower() in ("true", "1") for s in stated)
