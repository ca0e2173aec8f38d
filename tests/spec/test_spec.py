"""Specs: what is read, what is refused and how it is said, what the hash depends on."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest

from golden import differs
from lndbayes.base.errors import Code, Problem, SpecError
from lndbayes.spec.families import FAMILIES
from lndbayes.spec.model_spec import CHANNELS, ModelSpec, load_spec, parse_spec, with_changes
from lndbayes.spec.priors import SLOTS, PriorDistribution
from small import EXTRA, complete, raw_of

ROOT = Path(__file__).parents[2]
CUSTODY = ROOT / "models" / "custody.toml"
SPECS = Path(__file__).with_name("specs")

Raw = dict[str, Any]


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return load_spec(CUSTODY)


@pytest.fixture
def raw() -> Raw:
    return tomllib.loads(complete("custody"))


#: A family that has the slot.
OWNER = {
    "person_dispersion": "negative_binomial",
    "stage_level": "duration_hazard",
    "stage_site_sd": "ordered_bands",
    "stage_effect": "ordered_bands",
}


def raw_with(slot: str) -> Raw:
    """A valid spec that has the slot."""
    raw = raw_of(OWNER.get(slot, "beta_binomial"), 0.3 if slot == "pulse_months" else 0.0)
    if slot == "national_walk_sd":
        put(raw, "baseline.national_walk", 5)
        put(raw, f"priors.{slot}", {"dist": "LogNormal", "mu": -3.0, "sigma": 0.4})
    return raw


def put(raw: Raw, dotted: str, value: Any) -> Raw:
    *parents, leaf = dotted.split(".")
    node = raw
    for key in parents:
        node = node[key]
    node[leaf] = value
    return raw


def drop(raw: Raw, dotted: str) -> Raw:
    *parents, leaf = dotted.split(".")
    node = raw
    for key in parents:
        node = node[key]
    del node[leaf]
    return raw


def problems(read: Callable[[], object]) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        read()
    assert caught.value.problems
    assert str(caught.value) == "\n".join(str(p) for p in caught.value.problems)
    return caught.value.problems


def only(read: Callable[[], object]) -> Problem:
    (found,) = problems(read)
    return found


def leaves(node: Any, path: str = "") -> list[str]:
    """Dotted path of every value; a prior's parameters are values of their own."""
    if not isinstance(node, dict):
        return [path]
    return [p for key, value in node.items() for p in leaves(value, f"{path}.{key}".lstrip("."))]


LEAVES = leaves(tomllib.loads(complete("custody")))


# ---- what is read


def test_shipped_spec_is_read_as_written(spec, raw):
    assert spec.outcome.name == raw["outcome"]["name"]
    assert spec.effect.window == (7, 18)
    assert spec.effect.transition == (-3, 1)
    assert spec.sensitivity.wave_sd == raw["sensitivity"]["wave_sd"]
    assert spec.sampling.seed == raw["sampling"]["seed"]
    assert {name: getattr(spec.baseline.channels, name) for name in CHANNELS} == dict(
        raw["baseline"]["channels"]
    )
    assert {slot: prior.as_toml() for slot, prior in spec.priors.items()} == raw["priors"]
    assert spec.checks == raw["checks"]


def test_every_shipped_spec_is_valid_and_named_after_its_outcome():
    files = sorted((ROOT / "models").glob("*.toml"))
    assert CUSTODY in files
    for file in files:
        if file.stem != "costs":
            assert load_spec(file).outcome.name == file.stem


def test_whole_numbers_are_numbers(raw):
    assert parse_spec(put(raw, "sensitivity.wave_sd", 0), source="x").sensitivity.wave_sd == 0.0
    prior = parse_spec(put(raw, "priors.effect_mean.mu", 0), source="x").priors["effect_mean"]
    assert prior["mu"] == 0.0
    assert isinstance(prior["mu"], float)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("effect.window", [0, 0]),
        ("effect.window", [5, 5]),
        ("effect.transition", [0, -1]),
        ("effect.transition", [-6, -1]),
        ("effect.transition", [0, 12]),
        ("baseline.site_basis", 1),
        ("baseline.national_basis", 40),
        ("sampling.draws", 50),
        ("sampling.chains", 64),
        ("sampling.seed", 0),
        ("sampling.seed", 2**63 - 1),
        ("sampling.draws", 100_000),
        ("effect.window", [7, 1200]),
        ("effect.hide_first_months", 1200),
        ("sensitivity.wave_sd", 20.0),
        ("sensitivity.wave_sd", -0.0),
        ("checks", {"prior_rate_low": 0.0, "prior_rate_high": 1.0}),
        ("outcome.good_direction", "none"),
        ("outcome.exposure_outcome", "referrals"),
        ("baseline.seams", ["2015-12"]),
        ("baseline.seams", ["2015-01", "2016-06"]),
        ("baseline.seam_sd", 1e-6),
        ("effect.pulse_sd", 0),
        ("checks", {"rhat_max": 1.05, "enough": 3, "strict": True}),
    ],
)
def test_values_at_the_edge_are_accepted(raw, key, value):
    parse_spec(put(raw, key, value), source="x")


# ---- what is refused, one thing at a time


#: Keys of terms that came later: stored specs leave them out, and have the term off.
LATER = (
    *("baseline.drift_adoption_sd", "baseline.level_adoption_sd", "baseline.national_walk"),
    *("baseline.site_curve_order", "baseline.contamination", "baseline.contamination_ratio"),
)


@pytest.mark.parametrize(
    "key", [key for key in LEAVES if not key.startswith("checks.") and key not in LATER]
)
def test_every_key_must_be_there(raw, key):
    """No hidden defaults: whatever is taken away from a complete spec is missed by its name.

    Thresholds are the exception: those that are not overridden have documented values.
    """
    found = only(lambda: parse_spec(drop(raw, key), source="x.toml"))
    assert found.file == "x.toml"
    if key.startswith("priors."):
        slot = key.split(".")[1]
        assert found.column == f"priors.{slot}"
        assert found.code is Code.BAD_PRIOR
    else:
        assert found.column == key
        assert (found.code, found.value) == (Code.MISSING_KEY, None)


@pytest.mark.parametrize(
    "section",
    [
        *("outcome", "likelihood", "baseline", "baseline.channels", "effect", "sensitivity"),
        *("sampling", "checks"),
    ],
)
def test_every_section_must_be_there(raw, section):
    found = only(lambda: parse_spec(drop(raw, section), source="x"))
    assert (found.column, found.code) == (section, Code.MISSING_KEY)


@pytest.mark.parametrize("priors", [None, 3, "Normal", [1, 2]])
def test_priors_must_be_a_table(raw, priors):
    raw = drop(raw, "priors") if priors is None else put(raw, "priors", priors)
    found = only(lambda: parse_spec(raw, source="x"))
    assert (found.column, found.code) == ("priors", Code.MISSING_KEY)


@pytest.mark.parametrize("slot", SLOTS)
def test_every_slot_must_have_a_prior(slot):
    found = only(lambda: parse_spec(drop(raw_with(slot), f"priors.{slot}"), source="x"))
    assert (found.column, found.code) == (f"priors.{slot}", Code.MISSING_KEY)
    assert SLOTS[slot].description in found.rule


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("sampler", "sampling"),
        ("outcome.labels", "label"),
        ("likelihood.famly", "family"),
        ("baseline.nationl_basis", "national_basis"),
        ("baseline.channels.histroy", "history"),
        ("effect.windw", "window"),
        ("sensitivity.shared_bias", "shared_bias_sd"),
        ("sampling.target_acept", "target_accept"),
    ],
)
def test_unknown_key_is_refused_with_a_suggestion(raw, key, suggestion):
    found = only(lambda: parse_spec(put(raw, key, {} if key == "sampler" else 1), source="x"))
    assert (found.column, found.code) == (key, Code.UNKNOWN_KEY)
    assert repr(suggestion) in found.rule


def test_unknown_key_like_nothing_is_refused_without_a_suggestion(raw):
    found = only(lambda: parse_spec(put(raw, "sampling.zzz", 1), source="x"))
    assert (found.column, found.value, found.code) == ("sampling.zzz", "1", Code.UNKNOWN_KEY)
    assert "'" not in found.rule


def test_unknown_slot_is_refused_with_a_suggestion(raw):
    extra = put(raw, "priors.effect_maen", {"dist": "Normal", "mu": 0.0, "sigma": 1.0})
    found = only(lambda: parse_spec(extra, source="x"))
    assert (found.column, found.code) == ("priors.effect_maen", Code.UNKNOWN_KEY)
    assert "'effect_mean'" in found.rule


NORMAL = {"dist": "Normal", "mu": 0.0, "sigma": 1.0}


#: Priors that are refused; what is said of each is kept in a file.
WRONG_PRIORS = [
    ("effect_mean", {**NORMAL, "dist": "Norml"}),
    ("effect_mean", {"dist": "HalfNormal", "sigma": 1.0}),
    ("effect_mean", {"dist": "Dirichlet", "concentration": 1.0}),
    ("site_level_sd", NORMAL),
    ("mix_share", {"dist": "Gamma", "alpha": 1.0, "beta": 1.0}),
    ("effect_mean", {"dist": ["Normal"]}),
    ("effect_mean", {**NORMAL, "nu": 3.0}),
    ("effect_mean", {"dist": "Normal", "mu": 0.0}),
    ("effect_mean", {"dist": "StudentT", "mu": 0.0, "sd": 1.0}),
    ("site_level_sd", {"dist": "Exponential", "lam": 2.0}),
    ("effect_mean", {**NORMAL, "sigma": 0.0}),
    ("effect_mean", {**NORMAL, "sigma": -1.0}),
    ("ramp_months", {"dist": "Gamma", "alpha": 1.0, "beta": 0.0}),
    ("mix_share", {"dist": "Dirichlet", "concentration": -1.0}),
    ("effect_mean", {**NORMAL, "sigma": 1e300}),
    ("effect_mean", {**NORMAL, "sigma": 1e-300}),
    ("effect_mean", {**NORMAL, "sigma": 100.0}),
    ("effect_mean", {**NORMAL, "mu": 1e300}),
    ("effect_mean", {"dist": "StudentT", "nu": 0.5, "mu": 0.0, "sigma": 0.5}),
    ("site_level_sd", {"dist": "HalfNormal", "sigma": 1000.0}),
    ("site_level_sd", {"dist": "Gamma", "alpha": 1e-4, "beta": 1.0}),
    ("ramp_months", {"dist": "LogNormal", "mu": 400.0, "sigma": 1.0}),
    ("mix_share", {"dist": "Dirichlet", "concentration": 1e300}),
    ("effect_mean", {**NORMAL, "mu": float("nan")}),
    ("effect_mean", {**NORMAL, "sigma": float("inf")}),
    ("effect_mean", {**NORMAL, "mu": "0"}),
    ("effect_mean", {**NORMAL, "mu": True}),
    ("effect_mean", {**NORMAL, "mu": [0.0]}),
    ("effect_mean", {"mu": 0.0, "sigma": 1.0}),
    ("effect_mean", "Normal(0, 1)"),
    ("effect_mean", 0.5),
    ("season", {"dist": "StudentT", "nu": 3.0, "mu": 0.0, "sigma": 0.1}),
    ("stage_level", {"dist": "StudentT", "nu": 3.0, "mu": 0.0, "sigma": 0.1}),
    ("stage_site_sd", NORMAL),
    ("stage_effect", {"dist": "HalfNormal", "sigma": 1.0}),
    ("person_dispersion", NORMAL),
    ("pulse_months", NORMAL),
]


@pytest.mark.parametrize(("slot", "prior"), WRONG_PRIORS, ids=str)
def test_a_wrong_prior_is_refused_with_its_value(slot, prior):
    changed = put(raw_with(slot), f"priors.{slot}", prior)
    found = only(lambda: parse_spec(changed, source="x"))
    assert (found.column, found.code) == (f"priors.{slot}", Code.BAD_PRIOR)
    assert found.value


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize(
    "prior",
    [
        NORMAL,
        {"dist": "StudentT", "nu": 3.0, "mu": 0.0, "sigma": 1.0},
        {"dist": "HalfNormal", "sigma": 1.0},
        {"dist": "Exponential", "scale": 1.0},
        {"dist": "Gamma", "alpha": 2.0, "beta": 1.0},
        {"dist": "LogNormal", "mu": -1.0, "sigma": 1.0},
        {"dist": "Dirichlet", "concentration": 1.0},
    ],
    ids=lambda prior: prior["dist"],
)
def test_a_slot_takes_the_distributions_of_its_support(slot, prior):
    """Whole line, positive or shares; the season and the stages' levels a normal alone."""
    line, positive = {"Normal", "StudentT"}, {"HalfNormal", "Exponential", "Gamma", "LogNormal"}
    allowed = {"real": line, "positive": positive, "simplex": {"Dirichlet"}}[SLOTS[slot].support]
    allowed = allowed & {"Normal"} if slot in ("season", "stage_level") else allowed
    changed = put(raw_with(slot), f"priors.{slot}", prior)
    if prior["dist"] in allowed:
        assert parse_spec(changed, source="x").priors[slot].as_toml() == prior
    else:
        assert only(lambda: parse_spec(changed, source="x")).column == f"priors.{slot}"


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("outcome.name", "crime/theft", Code.BAD_NAME),
        ("outcome.name", "2custody", Code.BAD_NAME),
        ("outcome.name", "cust ody", Code.BAD_NAME),
        ("outcome.name", "", Code.BAD_NAME),
        ("outcome.label", 3, Code.WRONG_TYPE),
        ("outcome.good_direction", "down", Code.BAD_CHOICE),
        ("outcome.exposure_outcome", "-referrals", Code.BAD_NAME),
        ("outcome.exposure_outcome", "two words", Code.BAD_NAME),
        ("outcome.exposure_outcome", None, Code.WRONG_TYPE),
        ("outcome.selected", 0, Code.WRONG_TYPE),
        ("outcome.selected", "no", Code.WRONG_TYPE),
        ("likelihood.family", "poisson", Code.BAD_CHOICE),
        ("baseline.seam_sd", 0.0, Code.OUT_OF_RANGE),
        ("baseline.seam_sd", -0.1, Code.OUT_OF_RANGE),
        ("baseline.seam_sd", float("nan"), Code.NOT_A_NUMBER),
        ("effect.pulse_sd", -0.1, Code.OUT_OF_RANGE),
        ("effect.pulse_sd", float("nan"), Code.NOT_A_NUMBER),
        ("effect.pulse_sd", "0.1", Code.WRONG_TYPE),
        ("baseline.national_basis", 0, Code.OUT_OF_RANGE),
        ("baseline.national_basis", 41, Code.OUT_OF_RANGE),
        ("baseline.site_basis", 4.0, Code.WRONG_TYPE),
        ("baseline.site_basis", True, Code.WRONG_TYPE),
        ("baseline.national_offset_sd", 0.0, Code.OUT_OF_RANGE),
        ("baseline.elicited_bias_sd", -0.1, Code.OUT_OF_RANGE),
        ("baseline.elicited_bias_sd", float("inf"), Code.NOT_A_NUMBER),
        ("baseline.channels.history", "yes", Code.WRONG_TYPE),
        ("baseline.channels.history", 1, Code.WRONG_TYPE),
        ("effect.hide_first_months", -1, Code.OUT_OF_RANGE),
        ("effect.hide_first_months", 1.5, Code.WRONG_TYPE),
        ("sensitivity.wave_sd", -0.1, Code.OUT_OF_RANGE),
        ("sensitivity.drift_sd", float("nan"), Code.NOT_A_NUMBER),
        ("sensitivity.drift_sd", float("inf"), Code.NOT_A_NUMBER),
        ("sensitivity.go_live_step_sd", "0.1", Code.WRONG_TYPE),
        ("sampling.draws", 49, Code.OUT_OF_RANGE),
        ("sampling.draws", 1000.0, Code.WRONG_TYPE),
        ("sampling.tune", 0, Code.OUT_OF_RANGE),
        ("sampling.chains", 0, Code.OUT_OF_RANGE),
        ("sampling.chains", 65, Code.OUT_OF_RANGE),
        ("sampling.target_accept", 0.5, Code.OUT_OF_RANGE),
        ("sampling.target_accept", 1.0, Code.OUT_OF_RANGE),
        ("sampling.draws", 10**12, Code.OUT_OF_RANGE),
        ("sampling.tune", 10**12, Code.OUT_OF_RANGE),
        ("effect.hide_first_months", 10**9, Code.OUT_OF_RANGE),
        ("sensitivity.wave_sd", 1e300, Code.OUT_OF_RANGE),
        ("sensitivity.wave_sd", 1e-300, Code.NO_SUCH_SIZE),
        ("baseline.seam_sd", 1e-300, Code.NO_SUCH_SIZE),
        ("baseline.national_offset_sd", 1e300, Code.OUT_OF_RANGE),
        ("outcome.margin_per_1000", 1e300, Code.OUT_OF_RANGE),
        ("outcome.margin_per_1000", 0.0, Code.OUT_OF_RANGE),
        ("outcome.margin_per_1000", float("nan"), Code.NOT_A_NUMBER),
        ("outcome.margin_per_1000", "10", Code.WRONG_TYPE),
        ("baseline.seams", ("2015-01", "2015-01"), Code.REPEATED_NAME),
        ("sampling.seed", -1, Code.OUT_OF_RANGE),
        ("sampling.seed", 2**63, Code.OUT_OF_RANGE),
        ("sampling.seed", True, Code.WRONG_TYPE),
        ("effect", 3, Code.WRONG_TYPE),
        ("sampling", [1], Code.WRONG_TYPE),
    ],
)
def test_wrong_type_or_range_is_refused_with_the_value(raw, key, value, code):
    found = only(lambda: parse_spec(put(raw, key, value), source="x"))
    assert found.column == key
    assert (found.value, found.code) == (repr(value), code)


@pytest.mark.parametrize(
    "month", ["2015-13", "2015-00", "2015-1", "15-01", "2015-01-01", "2015/01", "Jan 2015", "", 3]
)
def test_a_seam_is_a_month(raw, month):
    found = only(lambda: parse_spec(put(raw, "baseline.seams", ["2015-06", month]), source="x"))
    assert found.column == "baseline.seams.1"
    assert found.value == repr(month)
    assert found.code is (Code.BAD_FORMAT if isinstance(month, str) else Code.WRONG_TYPE)


@pytest.mark.parametrize("value", ["2015-06", 3, True, {"2015-06": 1}])
def test_seams_are_a_list(raw, value):
    found = problems(lambda: parse_spec(put(raw, "baseline.seams", value), source="x"))
    assert {p.column for p in found} == {"baseline.seams"}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pulse_sd", [0.0, 0.3])
@pytest.mark.parametrize("slot", EXTRA)
def test_a_spec_has_the_slots_of_its_family_and_switches_and_no_other(family, pulse_sd, slot):
    """A prior that nothing uses would look like a setting and be none."""
    has = {
        "person_dispersion": family in ("negative_binomial", "negative_binomial_from_one"),
        "stage_level": family in ("ordered_bands", "duration_hazard", "ordered_change"),
        "stage_site_sd": family == "ordered_bands",
        "stage_effect": family == "ordered_bands",
        "pulse_months": pulse_sd > 0,
    }[slot]
    raw = raw_of(family, pulse_sd)
    assert (slot in parse_spec(copy.deepcopy(raw), source="x").priors) == has
    if has:
        found = only(lambda: parse_spec(drop(raw, f"priors.{slot}"), source="x"))
        assert found.code is Code.MISSING_KEY
    else:
        foreign = put(raw, f"priors.{slot}", dict(EXTRA[slot]))
        found = only(lambda: parse_spec(foreign, source="x"))
        assert found.code is Code.UNKNOWN_KEY
    assert found.column == f"priors.{slot}"


def test_an_unknown_family_is_one_problem_and_its_slots_are_not_judged_twice(raw):
    found = only(lambda: parse_spec(put(raw, "likelihood.family", "binomial"), source="x"))
    assert (found.column, found.code) == ("likelihood.family", Code.BAD_CHOICE)
    for family in FAMILIES:
        assert repr(family) in found.rule


@pytest.mark.parametrize(
    ("key", "value"),
    [("window", [18, 7]), ("window", [-1, 7]), ("transition", [1, 3]), ("transition", [-3, -2])],
)
def test_windows_must_be_in_order_and_round_go_live(raw, key, value):
    found = only(lambda: parse_spec(put(raw, f"effect.{key}", value), source="x"))
    assert (found.column, found.code) == ("effect", Code.OUT_OF_ORDER)
    assert key in found.rule


@pytest.mark.parametrize("value", [[7], [7, 18, 19], [7.0, 18], ["7", "18"], 7, "7-18"])
def test_window_must_be_two_whole_numbers(raw, value):
    found = problems(lambda: parse_spec(put(raw, "effect.window", value), source="x"))
    assert all(p.column.startswith("effect.window") for p in found)


@pytest.mark.parametrize("value", ["high", [1], None])
def test_thresholds_are_numbers_or_switches(raw, value):
    found = problems(lambda: parse_spec(put(raw, "checks.rhat_max", value), source="x"))
    assert all(p.column.startswith("checks.rhat_max") for p in found)


# ---- everything at once

EVERYWHERE = {
    "priors.retrospective_bais_sd": Code.UNKNOWN_KEY,
    "priors.effect_mean": Code.BAD_PRIOR,
    "priors.baseline_level": Code.BAD_PRIOR,
    "priors.national_slope": Code.BAD_PRIOR,
    "priors.season": Code.BAD_PRIOR,
    "priors.predecessor_effect": Code.BAD_PRIOR,
    "priors.national_curve_sd": Code.BAD_PRIOR,
    "priors.site_level_sd": Code.BAD_PRIOR,
    "priors.site_drift_sd": Code.BAD_PRIOR,
    "priors.mix_effect_sd": Code.BAD_PRIOR,
    "priors.site_effect_sd": Code.BAD_PRIOR,
    "priors.ramp_months": Code.BAD_PRIOR,
    "priors.retrospective_bias_sd": Code.MISSING_KEY,
    "priors.mix_share": Code.BAD_PRIOR,
    "outcome.name": Code.BAD_NAME,
    "outcome.label": Code.MISSING_KEY,
    "outcome.good_direction": Code.BAD_CHOICE,
    "outcome.exposure_outcome": Code.BAD_NAME,
    "outcome.selected": Code.MISSING_KEY,
    "outcome.lable": Code.UNKNOWN_KEY,
    "outcome.margin": Code.RENAMED_KEY,
    "likelihood.family": Code.BAD_CHOICE,
    "baseline.national_basis": Code.OUT_OF_RANGE,
    "baseline.site_basis": Code.WRONG_TYPE,
    "baseline.seams.1": Code.BAD_FORMAT,
    "baseline.seam_sd": Code.OUT_OF_RANGE,
    "baseline.national_offset_sd": Code.OUT_OF_RANGE,
    "baseline.elicited_bias_sd": Code.NOT_A_NUMBER,
    "baseline.channels.retrospective": Code.WRONG_TYPE,
    "baseline.channels.elicited": Code.MISSING_KEY,
    "baseline.channels.elictied": Code.UNKNOWN_KEY,
    "effect": Code.OUT_OF_ORDER,
    "sensitivity.shared_bias_sd": Code.OUT_OF_RANGE,
    "sensitivity.drift_sd": Code.WRONG_TYPE,
    "sensitivity.wave_sd": Code.MISSING_KEY,
    "sampling.draws": Code.OUT_OF_RANGE,
    "sampling.chains": Code.OUT_OF_RANGE,
    "sampling.target_accept": Code.OUT_OF_RANGE,
    "sampling.seed": Code.OUT_OF_RANGE,
}


#: What the file leaves out and the templates have.
FROM_TEMPLATES = {
    "outcome.selected",
    "baseline.channels.elicited",
    "sensitivity.wave_sd",
    "priors.retrospective_bias_sd",
}


@pytest.mark.parametrize("templates", [False, True])
def test_all_problems_are_told_at_once(templates):
    path = SPECS / "wrong_everywhere.toml"
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    found = problems(lambda: load_spec(path) if templates else parse_spec(raw, source=path.name))
    left_out = FROM_TEMPLATES if templates else set()
    told = {column: code for column, code in EVERYWHERE.items() if column not in left_out}
    assert {p.column: p.code for p in found} == told
    assert len(found) == len(told)
    assert {p.file for p in found} == {"wrong_everywhere.toml"}


def test_what_is_said_of_each_mistake_is_as_kept():
    """The sentences, all in one file; every other test asks for the code and the key."""
    path = SPECS / "wrong_everywhere.toml"
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    found = list(problems(lambda: parse_spec(raw, source=path.name)))
    for slot, prior in WRONG_PRIORS:
        changed = put(raw_with(slot), f"priors.{slot}", prior)
        found.append(only(lambda changed=changed: parse_spec(changed, source="prior.toml")))
    told = "".join(f"{problem.code}: {problem}\n" for problem in found)
    kept = Path(__file__).with_name("messages.txt")
    assert not (difference := differs(kept, told)), difference


# ---- files


def test_syntax_is_refused_with_its_line():
    path = SPECS / "wrong_syntax.toml"
    found = only(lambda: load_spec(path))
    assert found.file == str(path)
    assert (found.row, found.code) == (4, Code.NOT_TOML)


def test_text_must_be_utf_8(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes(CUSTODY.read_bytes().replace(b"Custodial sentence", b"Caf\xe9"))
    found = only(lambda: load_spec(path))
    assert (found.file, found.code) == (str(path), Code.NOT_UTF8)


def test_file_must_be_there(tmp_path):
    found = only(lambda: load_spec(tmp_path / "no.toml"))
    assert (found.file, found.code) == (str(tmp_path / "no.toml"), Code.UNREADABLE_FILE)
    assert only(lambda: load_spec(tmp_path)).code is Code.UNREADABLE_FILE


def test_empty_file_lacks_what_is_the_outcomes_own(tmp_path):
    """And an empty spec lacks every section."""
    path = tmp_path / "empty.toml"
    path.write_text("", encoding="utf-8")
    keys = ("name", "label", "event", "trials", "good_direction", "margin_per_1000")
    own = {f"outcome.{key}" for key in keys}
    own |= {"likelihood", "priors.effect_mean", "priors.baseline_level", "sampling.seed", "checks"}
    assert {p.column for p in problems(lambda: load_spec(path))} == own
    columns = {p.column for p in problems(lambda: parse_spec({}, source="x"))}
    # one without covariates says nothing of them
    assert columns == set(ModelSpec.model_fields) - {"covariates"}


# ---- changes


def test_changes_give_a_new_spec_and_leave_the_old_one(spec):
    before = spec.canonical()
    changed = with_changes(
        spec,
        {
            "baseline.channels.national": False,
            "sampling.seed": 1,
            "effect.window": (1, 3),
            "effect.transition": [-1, 0],
            "priors.effect_mean.sigma": 0.9,
            "priors.ramp_months": {"dist": "Gamma", "alpha": 2.0, "beta": 0.5},
            "priors.season": PriorDistribution("Normal", (("mu", 0.0), ("sigma", 0.2))),
            "checks": {"rhat_max": 1.05},
        },
    )
    assert spec.canonical() == before
    assert changed.baseline.channels.national is False
    assert changed.baseline.channels.history is True
    assert changed.sampling.seed == 1
    assert changed.effect.window == (1, 3)
    assert changed.effect.transition == (-1, 0)
    assert changed.priors["effect_mean"].as_toml() == {"dist": "Normal", "mu": 0.0, "sigma": 0.9}
    assert changed.priors["ramp_months"].dist == "Gamma"
    assert changed.priors["season"]["sigma"] == 0.2
    assert changed.checks == {"rhat_max": 1.05}


def test_no_change_is_an_equal_spec(spec):
    same = with_changes(spec, {})
    assert same == spec
    assert same.hash == spec.hash


@pytest.mark.parametrize(
    "key", ["sampling.seeds", "sampler.seed", "sampling.seed.deep", "nothing", "priors.x.mu"]
)
def test_changes_of_what_is_not_there_are_refused(spec, key):
    found = only(lambda: with_changes(spec, {key: 1}))
    assert (found.column, found.code) == (key, Code.UNKNOWN_KEY)


def test_changes_are_checked_like_a_file(spec):
    changes = {"sampling.draws": 1, "priors.effect_mean.sigma": -1.0}
    found = problems(lambda: with_changes(spec, changes))
    assert {p.column for p in found} == {"sampling.draws", "priors.effect_mean"}


# ---- hash


def shuffled(node: Any, rng: random.Random) -> Any:
    if not isinstance(node, dict):
        return node
    keys = list(node)
    rng.shuffle(keys)
    return {key: shuffled(node[key], rng) for key in keys}


@pytest.mark.parametrize("seed", range(5))
def test_hash_does_not_depend_on_the_order_of_keys(spec, raw, seed):
    other = parse_spec(shuffled(raw, random.Random(seed)), source="other")
    assert other.hash == spec.hash
    assert other.canonical() == spec.canonical()


def test_hash_does_not_depend_on_how_a_number_is_written(spec, raw):
    put(raw, "sensitivity.go_live_step_sd", 0)
    put(raw, "priors.effect_mean.mu", 0)
    assert parse_spec(raw, source="x").hash == spec.hash


def test_hash_does_not_depend_on_the_size_of_outliers_that_there_are_not(spec):
    sized = with_changes(spec, {"baseline.contamination_ratio": 5.0})
    assert sized.hash == spec.hash
    some = {"baseline.contamination": 0.2}
    assert with_changes(sized, some).hash != with_changes(spec, some).hash


def other_value(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case "lower":
            return "higher"
        case "":
            return "referrals"
        case []:
            return ["2016-01"]
        case str():
            return f"{value}_x"
        case int():
            return value + 1
        case float():
            return value + 0.01
        case list():
            return [value[0], value[1] + 1]
    raise AssertionError(value)


#: What cannot change alone: the slots of the spec change with it.
#: Likewise what is selected, and the outcome that says by what.
TOGETHER = (
    *("likelihood.family", "effect.pulse_sd", "baseline.national_walk"),
    *("outcome.selected", "baseline.contamination_ratio"),
)


@pytest.mark.parametrize(
    "key", [key for key in LEAVES if key not in TOGETHER and not key.endswith(".dist")]
)
def test_hash_depends_on_every_value(spec, raw, key):
    node = raw
    for part in key.split("."):
        node = node[part]
    other = 1 if key == "baseline.site_curve_order" else other_value(node)
    changed = parse_spec(put(copy.deepcopy(raw), key, other), source="x")
    assert changed.hash != spec.hash


def test_what_is_selected_is_selected_by_another_outcome(raw):
    chosen = put(copy.deepcopy(raw), "outcome.exposure_outcome", "referrals")
    both = put(copy.deepcopy(chosen), "outcome.selected", True)
    assert parse_spec(both, source="x").hash != parse_spec(chosen, source="x").hash
    for given in ("", raw["outcome"]["name"]):
        broken = put(copy.deepcopy(both), "outcome.exposure_outcome", given)
        found = only(lambda broken=broken: parse_spec(broken, source="x"))
        assert (found.column, found.code) == ("outcome", Code.CONTRADICTION)
    long = put(copy.deepcopy(raw), "outcome.name", "a" * 101)
    assert only(lambda: parse_spec(long, source="x")).code is Code.BAD_NAME


def test_hash_depends_on_the_family_and_on_the_scale_of_the_pulse():
    specs = [raw_of(family) for family in FAMILIES]
    specs += [raw_of("beta_binomial", 0.3), raw_of("beta_binomial", 0.4)]
    assert len({parse_spec(raw, source="x").hash for raw in specs}) == len(specs)


def test_hash_depends_on_the_distribution_and_on_thresholds(spec):
    same_numbers = {
        "HalfNormal": {"dist": "HalfNormal", "sigma": 0.1},
        "Exponential": {"dist": "Exponential", "scale": 0.1},
        "Gamma": {"dist": "Gamma", "alpha": 0.1, "beta": 0.1},
        "LogNormal": {"dist": "LogNormal", "mu": 0.1, "sigma": 0.1},
    }
    changes = [{"priors.site_level_sd": prior} for prior in same_numbers.values()]
    changes += [{"checks": {}}, {"checks": {"rhat_max": 1.02}}, {"checks": {"rhat_max": 1.03}}]
    hashes = {with_changes(spec, change).hash for change in changes}
    assert len(hashes) == len(changes)


def test_canonical_text_is_a_spec_itself(spec):
    """What a stored fit carries is enough to have its spec back, changed priors included."""
    changes = {"effect.window": (1, 3), "priors.effect_mean": NORMAL, "checks": {"rhat_max": 1.02}}
    for one in (spec, with_changes(spec, changes)):
        again = parse_spec(json.loads(one.canonical()), source="stored")
        assert again == one
        assert again.canonical() == one.canonical()


def test_hash_is_that_of_the_canonical_text(spec):
    assert spec.hash == hashlib.sha256(spec.canonical().encode()).hexdigest()
    assert "\n" not in spec.canonical()


def test_the_hash_of_a_spec_is_what_it_was():
    """Stored fits and committed results are found by it: moving it makes all of them stale."""
    pinned = "f958d5e7521528d3e88263e7d94ecb54ea2a95f9681154d9da6d2c1a708dba0c"
    assert load_spec(SPECS / "pinned.toml").hash == pinned


# ---- frozen


@pytest.mark.parametrize("section", sorted(ModelSpec.model_fields))
def test_sections_cannot_be_replaced(spec, section):
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(spec, section, getattr(spec, section))


def test_values_cannot_be_changed(spec):
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        spec.sampling.seed = 1
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        spec.baseline.channels.national = False
    with pytest.raises(AttributeError):
        spec.priors["season"].dist = "StudentT"


def test_the_callers_mapping_is_left_alone(raw):
    before = copy.deepcopy(raw)
    parse_spec(raw, source="x")
    assert raw == before


def test_a_spec_with_a_hash_cannot_be_changed_by_hand() -> None:
    spec = load_spec(CUSTODY)
    before = spec.hash
    for change in (
        lambda: spec.priors.update(effect_mean=spec.priors["season"]),
        lambda: spec.priors.__setitem__("effect_mean", spec.priors["season"]),
        lambda: spec.checks.pop("prior_rate_low"),
        lambda: spec.checks.clear(),
    ):
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    assert spec.hash == before
    again = pickle.loads(pickle.dumps(spec))
    assert again == spec
    assert again.hash == before
    with pytest.raises(TypeError):
        again.priors.clear()


def test_a_threshold_that_the_spec_does_not_override_can_be_changed() -> None:
    changed = with_changes(load_spec(CUSTODY), {"checks.rhat_max": 1.02})
    assert changed.checks["rhat_max"] == 1.02


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"effect.window": [7]}, Code.WRONG_TYPE),
        ({"effect.window": [7, 9, 18]}, Code.WRONG_TYPE),
        ({"checks.prior_rate_low": "low"}, Code.WRONG_TYPE),
        ({"priors.effect_mean": {"dist": "Normal", "mu": 10**400, "sigma": 1.0}}, Code.BAD_PRIOR),
    ],
)
def test_a_value_of_the_wrong_kind_is_one_problem(changes, code) -> None:
    with pytest.raises(SpecError) as caught:
        with_changes(load_spec(CUSTODY), changes)
    (problem,) = caught.value.problems
    assert problem.code is code


@pytest.mark.parametrize(
    ("family", "bands", "code"),
    [
        ("ordered_bands", ["short"], Code.CONTRADICTION),
        ("ordered_bands", ["short", "short"], Code.CONTRADICTION),
        ("ordered_bands", ["short", " long"], Code.CONTRADICTION),
        ("ordered_bands", ["short", ""], Code.CONTRADICTION),
        ("ordered_bands", ["short", 2], Code.WRONG_TYPE),
        ("beta_binomial", ["short", "long"], Code.CONTRADICTION),
    ],
)
def test_bands_are_different_labels_of_a_family_that_has_bands(family, bands, code) -> None:
    raw = raw_of(family)
    raw["likelihood"]["bands"] = bands
    found = only(lambda: parse_spec(raw, source="x"))
    assert found.column is not None
    assert found.column.startswith("likelihood")
    assert found.code is code


def test_bands_may_be_declared_and_belong_to_the_hash(spec) -> None:
    """Without them the numbers in the labels of the data say the order."""
    declared = with_changes(spec, {"likelihood.bands": ["short", "long"]})
    assert spec.likelihood.bands == ()
    assert declared.likelihood.bands == ("short", "long")
    assert declared.hash != spec.hash
    assert parse_spec(json.loads(declared.canonical()), source="x") == declared


@pytest.mark.parametrize("key", ["window", "transition"])
def test_windows_lie_within_the_longest_evaluation(raw, key) -> None:
    """A window to month 999,999,999 was accepted and took 23 GB."""
    far = {"window": [7, 999_999_999], "transition": [-999_999_999, 1]}[key]
    found = only(lambda: parse_spec(put(raw, f"effect.{key}", far), source="x"))
    assert (found.column, found.code) == ("effect", Code.OUT_OF_RANGE)
    assert key in found.rule


def test_all_draws_together_fit_into_memory(raw) -> None:
    many = put(put(raw, "sampling.draws", 100_000), "sampling.chains", 11)
    found = only(lambda: parse_spec(many, source="x"))
    assert (found.column, found.code) == ("sampling", Code.OUT_OF_RANGE)


def test_a_rate_beyond_one_is_no_threshold_of_a_share() -> None:
    high = {"prior_rate_low": 0.1, "prior_rate_high": 2.0}
    found = only(lambda: parse_spec(put(raw_of("beta_binomial"), "checks", high), source="x"))
    assert (found.column, found.code) == ("checks.prior_rate_high", Code.OUT_OF_RANGE)
    counts = put(raw_of("negative_binomial"), "checks", high)
    assert parse_spec(counts, source="x").checks["prior_rate_high"] == 2.0


def test_a_copy_takes_no_change_that_nobody_checks(spec):
    """Pydantic would take a bare dict as a prior, and any number as a number of chains."""
    for part, update in ((spec, {"priors": {}}), (spec.sampling, {"chains": -1})):
        with pytest.raises(TypeError, match="with_changes"):
            part.model_copy(update=update)
    assert spec.model_copy() == spec


def test_changes_take_numpys_numbers_and_only_of_a_spec(spec):
    assert with_changes(spec, {"sampling.draws": np.int64(100)}).sampling.draws == 100
    with pytest.raises(TypeError, match="first argument"):
        with_changes({"sampling.draws": 100}, spec)
