"""All outcomes on one page: verdicts, course, before-after, bounds, tipping, data quality."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lndbayes.base.vocabulary import EffectVerdict
from lndbayes.report.answer import effect_sentence
from lndbayes.report.lookup import withheld
from lndbayes.report.page import compose, render
from lndbayes.report.rounding import ABSENT
from lndbayes.report.run import Run, read_run
from lndbayes.report.together import (
    bounds_section,
    course_section,
    false_claims,
    overview_section,
    overview_sentences,
    quality_section,
    tipping_section,
    verdict_line,
)
from lndbayes.report.trust import checks_section

NAMES = {
    "custody": ("Custodial sentence", "lowers", 0.72, 0.64, 0.81),
    "ae": ("A&E attendances", "no more than a small effect", 0.98, 0.93, 1.02),
    "mh": ("Mental-health referrals", "raises", 1.2, 1.05, 1.4),
    "hearings": ("Hearings", "cannot say", 1.1, 0.9, 1.3),
    "duration": ("Court duration", "rests on the build-up's shape", 1.2, 1.1, 1.3),
    "offending": ("Proven offending", "lowers, by less than the margin", 0.96, 0.93, 0.99),
    "wellbeing": ("Quality of life (TOP)", "not identified", math.nan, math.nan, math.nan),
}
#: Of claimed effects: the first with placebos, the others without.
TIPS = {
    "custody": {"tipping_bias": 0.21, "bias_tolerance": 1.5, "bias_tolerance_note": ""},
    "mh": {"tipping_bias": 0.049, "bias_tolerance": math.nan, "bias_tolerance_note": "no sites"},
    "offending": {"tipping_bias": 0.01, "bias_tolerance": math.nan},
}


def overview() -> pd.DataFrame:
    rows = []
    for name, (label, verdict, median, lower, upper) in NAMES.items():
        rows.append(
            {"outcome": name, "label": label, "family": "x", "scale": "odds ratio"}
            | {"good_direction": "lower", "verdict": verdict, "note": ""}
            | {"median": median, "lower": lower, "upper": upper, "ci_prob": 0.9}
            | {"p_below_zero": 0.9, "p_within_margin": 0.2, "margin_low": 0.9, "margin_high": 1.1}
            | TIPS.get(name, {"tipping_bias": math.nan, "bias_tolerance": math.nan})
            | {"identified_share": 0.4, "sd_over_prior_sd": 0.2}
            | {f"tier_{t}": 2.0 for t in "abcd"}
        )
    return pd.DataFrame(rows)


@pytest.fixture
def run(shared_run: Path) -> Run:
    return replace(read_run(shared_run), overview=overview())


def test_every_outcome_is_told_once_and_none_is_claimed_that_is_not_identified(run) -> None:
    said = overview_sentences(run)
    assert said.startswith("The service lowers custodial sentence. It lowers proven offending, by")
    assert "It raises mental-health referrals." in said
    assert "no more than a small effect on A&E attendances" in said
    assert "cannot say whether it changes hearings" in said
    assert "No effect can be stated for quality of life (TOP)" in said
    section = overview_section(run)
    table = next(b for b in section.blocks if b.kind == "table")
    body = {row[0]: row for row in table.groups[0].rows}
    assert set(body) == {label for label, *_ in NAMES.values()}
    assert body["Custodial sentence"][3] == "0.72 (0.64 to 0.81)"
    assert body["Custodial sentence"][4] == "a bias of 0.21 (1.5 times the largest placebo effect)"
    assert body["Mental-health referrals"][4] == "a bias of 0.05 (no sites)"
    assert body["Hearings"][4] == ABSENT
    assert not any(c.isdigit() for row in body["Quality of life (TOP)"][3:5] for c in row)


def test_an_effect_that_rests_on_something_else_is_not_claimed(run) -> None:
    said = overview_sentences(run)
    assert "What is said of court duration rests on the shape assumed for the build-up" in said
    assert "raises court duration" not in said
    rows = overview().assign(outcome="custody")
    held = ("rests on the build-up's shape", "a check fails", "not tested")
    for verdict in (*held, "rests on reconstructed levels"):
        one = rows[rows["label"] == "Court duration"].assign(verdict=verdict)
        sentence = effect_sentence(replace(run, overview=one), "custody")
        assert sentence.startswith("No effect on the rate of sentences is claimed or ruled out")
        assert "estimated" not in sentence
        assert "raises" not in overview_sentences(replace(run, overview=one))


def test_every_verdict_is_told(run) -> None:
    for verdict in EffectVerdict:
        one = overview().iloc[:1].assign(verdict=verdict, outcome="custody")
        alone = replace(run, overview=one)
        assert "custodial sentence" in overview_sentences(alone)
        assert effect_sentence(alone, "custody").endswith(".")


def test_a_claim_within_the_margin_says_so(run) -> None:
    one = overview()
    one = one[one["label"] == "Proven offending"].assign(outcome="custody")
    sentence = effect_sentence(replace(run, overview=one), "custody")
    assert "have lowered the rate of sentences, by less than the margin" in sentence


def test_a_claim_tells_what_tips_it(run) -> None:
    line = verdict_line(run, "custody")
    assert "90% interval; tips at a bias of 0.21 (1.5 times the largest placebo effect)" in line
    assert "tips" not in verdict_line(run, "hearings")
    gone = ["tipping_bias", "bias_tolerance", "bias_tolerance_note"]
    older = replace(run, overview=run.overview.drop(columns=gone))
    table = next(b for b in overview_section(older).blocks if b.kind == "table")
    assert {row[4] for row in table.groups[0].rows} == {ABSENT}


def test_false_claims_to_be_expected_are_told_where_outcomes_stand_together(run) -> None:
    """Six of the seven outcomes have an interval of 90%; of one alone nobody has chosen."""
    told = false_claims(run)
    assert "none of these 6 outcomes, 0.6 of their intervals" in told
    texts = [b.text for b in overview_section(run).blocks if b.kind == "paragraph"]
    assert told in texts
    wider = replace(run, overview=overview().assign(ci_prob=0.5))
    assert "3.0 of their intervals" in false_claims(wider)
    assert false_claims(replace(run, overview=overview().iloc[:1])) == ""
    assert false_claims(replace(run, overview=None)) == ""


def test_a_run_without_an_overview_says_so(shared_run) -> None:
    section = overview_section(replace(read_run(shared_run), overview=None))
    assert "Not available" in section.blocks[0].text


def test_course_is_told_by_stretch(run) -> None:
    rows = pd.DataFrame(
        [
            {**dict.fromkeys(run.effects.columns, ""), "outcome": "mh", "estimand": "course"}
            | {"window": w, "median": m, "lower": m - 0.1, "upper": m + 0.1, "ci_prob": 0.9}
            for w, m in (("0-2", 0.45), ("3-6", 0.3), ("7-12", 0.12))
        ]
    )
    section = course_section(replace(run, effects=rows))
    table = next(b for b in section.blocks if b.kind == "table")
    assert [cell.count("\N{NO-BREAK SPACE}") for cell in table.groups[0].rows[0]] == [0, 2, 2, 2]
    told = [[c.replace("\N{NO-BREAK SPACE}", " ") for c in r] for r in table.groups[0].rows]
    assert told == [
        [
            "Mental-health referrals",
            "0.45 (0.35 to 0.55)",
            "0.30 (0.20 to 0.40)",
            "0.12 (0.02 to 0.22)",
        ]
    ]
    assert "Not available" in course_section(replace(run, effects=rows.iloc[:0])).blocks[0].text


def test_bounds_never_hold_an_interval_of_an_effect(run) -> None:
    row = {"outcome": "wellbeing", "given": "drug_alcohol_referrals", "quantity": "people"}
    row |= {"unit": "percentage points", "window": "7-18", "ci_prob": 0.9, "mean": 0, "sd": 1.0}
    table = pd.DataFrame(
        [
            row | {"bound": b, "median": m, "lower": m - 2, "upper": m + 2, "note": "what"}
            for b, m in (("low", -9.0), ("high", 13.0))
        ]
    )
    section = bounds_section(replace(run, bounds=table))
    assert section.blocks[0].label == "Not identified."
    assert "choose (drug alcohol referrals)" in section.blocks[0].text
    labelled = bounds_section(replace(run, bounds=table.assign(given="mh")))
    assert "choose (mental-health referrals)" in labelled.blocks[0].text
    assert [r[0] for r in section.blocks[1].groups[0].rows] == [
        "Lower bound (percentage points)",
        "Upper bound (percentage points)",
    ]
    assert "Nothing to show" in bounds_section(replace(run, bounds=None)).blocks[0].text


def test_what_people_are_chosen_by_has_its_label(run) -> None:
    note = "measured only among people whom the service helps to choose (mh)"
    table = run.overview.assign(note=note, verdict="not identified")
    told = withheld(replace(run, overview=table), "wellbeing")
    assert "to choose (mental-health referrals). Their mean moves" in told


def test_checks_stand_under_the_label_of_their_outcome(run) -> None:
    named = run.checks.assign(outcome="ae")
    section = checks_section(replace(run, checks=named))
    assert {b.caption for b in section.blocks[1:]} == {"Checks: A&E attendances"}


def test_tiers_that_no_site_has_are_left_out(run) -> None:
    table = run.overview.assign(tier_b=0.0, tier_d=0.0)
    assert "sites by tier: 2\xa0A, 2\xa0C." in verdict_line(replace(run, overview=table), "custody")


def test_tipping_sentences_and_data_quality_are_shown(run) -> None:
    told = [
        (0.9, "It would have to be off by more than 5% before it falls to 0.9."),
        (0.9, "Records would have to change by 2% before it falls to 0.9."),
        (0.9, "The probability is at most 0.9 without any bias."),
        (0.5, "It would have to be off by more than 5% before it falls to 0.5."),
        (0.5, "Records would have to change by 6% before it falls to 0.5."),
        (0.5, "The probability is at most 0.5 without any bias."),
    ]
    tipping = pd.DataFrame(told, columns=["threshold", "message"]).assign(outcome="custody")
    # more than so much before 0.9 is more than so much before 0.5; at most 0.5 is at most 0.9
    wanted = tuple(told[i][1] for i in (0, 1, 5, 4))
    for order in (tipping, tipping[::-1]):
        shown = tipping_section(replace(run, tipping=order)).blocks[2].texts
        assert sorted(shown) == sorted(wanted)
    assert tipping_section(replace(run, tipping=tipping)).blocks[2].texts == wanted
    assert quality_section(run) is None
    quality = pd.DataFrame(
        {"table": ["pnc"], "reason": ["unmatched"], "rows": [1200.0], "persons": [300.0]}
    )
    section = quality_section(replace(run, data_quality=quality))
    assert section is not None
    assert section.blocks[0].groups[0].rows == (("unmatched", "1,200", "300"),)


def test_a_page_of_several_outcomes_folds_their_sections_and_keeps_the_answer_open(run) -> None:
    second = run.effects.assign(outcome="ae")
    several = replace(run, effects=pd.concat([run.effects, second], ignore_index=True))
    page = compose(several)
    folded = {s.id: [p.id for p in s.parts] for s in page.sections if s.parts}
    wanted = ("effects", "baseline", "rests", "mix")
    assert folded == {f"outcome-{o}": [f"{part}-{o}" for part in wanted] for o in ("custody", "ae")}
    text = render(page)
    assert text.count("<details>") == len(folded)
    assert "content-visibility: visible" in text  # folded sections are printed
