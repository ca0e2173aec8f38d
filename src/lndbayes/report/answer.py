"""The answer in two sentences, written from the numbers and never stronger than they are."""

from __future__ import annotations

from typing import Final

from lndbayes.base.vocabulary import EffectVerdict
from lndbayes.report.lookup import (
    Row,
    assumption,
    benefit_probability,
    events_name,
    good_direction,
    only,
    parts,
    prior_share,
    quoted,
    ratio_name,
    said_of,
    withheld,
)
from lndbayes.report.money import headline, label, no_saving
from lndbayes.report.rounding import money, percent, probability, ratio, show
from lndbayes.report.run import Run

__all__ = ["effect_sentence", "savings_sentence"]

#: Verdicts that claim nothing whatever the interval says, and why.
_HELD_BACK: Final = {
    EffectVerdict.BUILD_UP: "that rests on the shape assumed for the build-up",
    EffectVerdict.CHECK_FAILS: "a check of the fit says FAIL",
    EffectVerdict.RECONSTRUCTED: "most sites have no untreated month, so that it rests on "
    "reconstructed levels",
    EffectVerdict.UNTESTED: "the refits that would show what that rests on are not there",
}


def effect_sentence(run: Run, outcome: str) -> str:
    """Say what the service did to one outcome.

    Returns
    -------
    str
        One sentence: the pooled windowed effect with interval and probability of benefit, and the
        events averted.
    """
    row = only(run, outcome, "pooled", "link")
    share = prior_share(run, outcome)
    said = said_of(run, outcome)
    noun = f"the rate of {events_name(run, outcome)}"
    if why := withheld(run, outcome):
        return f"{why}."
    if row is None or said is EffectVerdict.NOT_IDENTIFIED:
        return f"No pooled effect on {noun} is available: effects.csv holds no numbers for it."
    span = f"months {str(row['window']).replace('-', ' to ')} after go-live"
    numbers = _numbers(run, outcome, row)
    events = _events(run, outcome)
    if said is EffectVerdict.PRIOR:
        return (
            f"This answer rests on the prior: after the data, the standard deviation of the pooled "
            f"effect on {noun} is still {percent(share)} of what was assumed before them, and "
            f"over {span} {numbers}{events}."
        )
    if said is EffectVerdict.SMALL:
        small = f"The service has no more than a small effect on {noun}"
        return f"{small}: over {span} {numbers}{events}."
    if said is EffectVerdict.CANNOT_SAY:
        return (
            f"The data cannot say whether the service changed {noun}: over {span} {numbers}, "
            f"an interval that includes no effect{events}."
        )
    if said in _HELD_BACK:
        return (
            f"No effect on {noun} is claimed or ruled out: over {span} {numbers}{events}, but "
            f"{_HELD_BACK[said]}."
        )
    verb = "lowered" if said.sign < 0 else "raised"
    little = ", by less than the margin that counts as none"
    by = little if said in (EffectVerdict.LOWERS_LITTLE, EffectVerdict.RAISES_LITTLE) else ""
    direction = good_direction(run, outcome)
    intended = {
        None: "",
        said.sign: ", as intended",
        -said.sign: ", the opposite of what is intended",
    }
    return (
        f"Over {span} the service is estimated to have {verb} {noun}{by}{intended[direction]}: "
        f"{numbers}{events}."
    )


def savings_sentence(run: Run) -> str:
    """Say what was saved, in the scenario that the costs file puts first.

    Returns
    -------
    str
        One sentence with interval, scenario, price year and probability.
    """
    row = headline(run)
    if row is None:
        return f"No saving is stated: {no_saving(run)}."
    shown = money(*parts(row))
    at = f"at {row['price_year']} prices"
    if row["scenario"]:
        at += f" in the scenario {quoted(label(run, 'scenario', row['scenario']))}"
    figures = (
        f"the total saving is {shown.point} ({percent(row['ci_prob'])} interval {shown.interval}), "
        f"with a probability of {probability(row['p_positive'])} that it is above zero"
    )
    if why := assumption(row):
        figures += f", and it rests on assumption only ({why})"
    elif any(_rests_on_prior(run, o) for o in run.outcomes):
        figures += ", and like the effect it rests on the prior"
    if row["lower"] <= 0 <= row["upper"]:
        return f"The data cannot say whether money was saved: {at}, {figures}."
    if row["upper"] < 0:
        return f"The service is estimated to have cost more than it saved: {at}, {figures}."
    return f"{at[0].upper()}{at[1:]}, {figures}."


def _rests_on_prior(run: Run, outcome: str) -> bool:
    return said_of(run, outcome) is EffectVerdict.PRIOR


def _numbers(run: Run, outcome: str, row: Row) -> str:
    name = ratio_name(row["unit"])
    shown = ratio(*parts(row)) if name else show(*parts(row), unit=f" {row['unit']}")
    text = (
        f"the pooled {name or 'effect'} is {shown.point} "
        f"({percent(row['ci_prob'])} interval {shown.interval})"
    )
    natural = only(run, outcome, "pooled", "natural")
    if natural is not None and name:
        n = show(*parts(natural))
        sign = "+" if natural["median"] > 0 else ""
        text += f", a change of {sign}{n.point} {natural['unit']} ({n.interval})"
    what, p = benefit_probability(row, good_direction(run, outcome))
    return f"{text}, with a probability of {what} of {probability(p)}"


def _events(run: Run, outcome: str) -> str:
    row = only(run, outcome, "events_averted", "natural")
    if row is None:
        return ""
    median, lower, upper = row["median"], row["lower"], row["upper"]
    what = "averted"
    if median < 0:
        median, lower, upper, what = -median, -upper, -lower, "added"
    n = show(median, lower, upper, row["sd"], row["mcse"])
    return f"; in the months observed, {n.point} {row['unit']} were {what} ({n.interval})"
