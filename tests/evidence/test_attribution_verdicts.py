"""Verdicts of the ledger: what is labelled an assumption, what is said of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lndbayes.evidence.assumption import label_assumption
from lndbayes.evidence.attribution.measures import FULL_COLUMNS, TREATED
from lndbayes.evidence.attribution.verdicts import VERDICT_COLUMNS, halving_percent, verdicts_table


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"tier": "D"}, "tier D"),
        ({"tier": "A", "prior_share": 0.51}, "51%"),
        ({"tier": "A", "prior_share": np.nan}, "could not be computed"),
        ({"tier": "A", "prior_share": np.inf}, "could not be computed"),
        ({"sd_ratio": 0.91}, "91%"),
        ({"sd_ratio": np.nan}, "could not be computed"),
        ({"tier": "D", "prior_share": 0.2}, "tier D"),
    ],
)
def test_assumptions_are_labelled(arguments: dict[str, Any], told: str) -> None:
    assert told in label_assumption(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"tier": "A"},
        {"tier": "C", "prior_share": 0.5},
        {"tier": "-", "prior_share": 0.01},
        {"sd_ratio": 0.9},
    ],
)
def test_evidence_is_not(arguments: dict[str, Any]) -> None:
    assert label_assumption(**arguments) == ""


def test_nothing_to_judge_by_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        label_assumption()


def test_halving_by_hand() -> None:
    # an effect of -0.4 that moves by -0.8 a unit of bias is halved by a bias of -0.25
    level = np.log(0.2 / 0.8)
    odds = 0.25 * np.exp(-0.25)
    wanted = 100 * (odds / (1 + odds) / 0.2 - 1)
    assert halving_percent(-0.4, -0.8, level, "logit") == pytest.approx(wanted)
    assert halving_percent(-0.4, -0.8, 0.3, "log") == pytest.approx(100 * np.expm1(-0.25))


@pytest.mark.parametrize("leverage", [0.0, 0.1, np.nan])
def test_a_bias_that_is_too_far_off_halves_nothing(leverage: float) -> None:
    assert np.isnan(halving_percent(-0.4, leverage, -1.0, "logit"))


SOURCES = ("not_yet_treated", "retrospective", "history", "national")


def full_of(
    site: str = "S1",
    tier: str = "A",
    of: str = "site",
    *,
    gains: dict[str, float] | None = None,
    **numbers: float,
) -> pd.DataFrame:
    values = {"contraction_prior": 0.95, "feedback_share": 0.1, "leverage_level_bias": -0.8}
    values |= {"feedback_shift": 0.3, "ramp_leak_ratio": 1.2, "contraction_borrowed": 0.4}
    rows = [(q, "", v) for q, v in (values | numbers).items()]
    base = {"not_yet_treated": 2.0, "retrospective": 0.6, "history": 0.5, "national": 0.1}
    rows += [
        ("log_precision_gain", c, v) for c, v in (base | {TREATED: 0.9} | (gains or {})).items()
    ]
    table = pd.DataFrame(rows, columns=["quantity", "item", "value"])
    table = table.assign(outcome="custody", of=of, site=site, tier=tier, mcse=np.nan, note="")
    return table[list(FULL_COLUMNS)]


def verdict(full: pd.DataFrame) -> dict[str, Any]:
    site = full["site"].iloc[0]
    table = verdicts_table(full, {site: -0.4}, {site: np.log(0.25)}, "logit")
    assert list(table.columns) == list(VERDICT_COLUMNS)
    (row,) = table.to_dict("records")
    return row


def test_own_untreated_months() -> None:
    row = verdict(full_of())
    assert row["verdict"] == "rests on own untreated months"
    assert row["rests_on"] == "untreated_months"
    assert row["assumption_only"] is False
    assert row["gain_records_and_histories"] == pytest.approx(1.1)
    assert row["gain_treated_outcomes"] == pytest.approx(0.9)
    # another site's months are not this one's own
    assert verdict(full_of(tier="C"))["verdict"] == "rests on other sites' untreated months"


def test_records_say_how_far_off_they_may_be() -> None:
    row = verdict(full_of(tier="C", gains={"retrospective": 2.5}))
    assert row["verdict"] == ("rests on records and histories: off by -19% would halve the effect")
    assert row["halving_percent"] == pytest.approx(
        100 * (0.25 * np.exp(-0.25) / (1 + 0.25 * np.exp(-0.25)) / 0.2 - 1)
    )
    row = verdict(full_of(tier="C", gains={"retrospective": 2.5}, leverage_level_bias=0.01))
    assert "no plausible common error" in row["verdict"]


def test_feedback_is_named() -> None:
    row = verdict(full_of(feedback_share=0.62, gains={TREATED: 3.0}))
    assert row["verdict"] == (
        "rests on treated outcomes, read through the model; "
        "treated outcomes add 62% of its precision"
    )


@pytest.mark.parametrize(
    ("full", "told"),
    [
        (full_of(tier="D"), "tier D"),
        (full_of(contraction_prior=0.3), "70%"),
        (full_of(contraction_prior=np.nan), "could not be computed"),
        (full_of(gains={"history": np.nan}), "could not be computed"),
        (full_of("", "", "pooled", contraction_prior=0.1, feedback_share=np.nan), "95%"),
        (full_of(gains=dict.fromkeys([*SOURCES, TREATED], -0.1)), "nothing adds"),
    ],
)
def test_assumption_only(full: pd.DataFrame, told: str) -> None:
    row = verdict(full)
    assert row["assumption_only"] is True
    assert row["rests_on"] == "assumption"
    assert row["verdict"].startswith("rests on assumption only: ")
    assert told in row["reasons"]


def test_tier_d_has_no_effect_to_halve() -> None:
    assert np.isnan(verdict(full_of(tier="D"))["halving_percent"])


def test_the_pooled_effect_is_judged_by_its_sd_not_by_the_sites_rule() -> None:
    # 60% of the variance is left: too much for a site, while its root, 77%, is not for the pooled
    row = verdict(full_of("", "", "pooled", contraction_prior=0.4, feedback_share=np.nan))
    assert row["verdict"] == "rests on untreated months"
