"""Overrides of thresholds: strict, all problems at once, and never so loose that nothing fails."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from lndbayes.base.errors import SpecError
from lndbayes.checks.thresholds import DEFAULTS, Thresholds, thresholds_from


def test_no_override_gives_the_defaults():
    assert thresholds_from({}) == DEFAULTS


def test_overrides_change_what_they_name_only():
    changed = thresholds_from({"ess_min": 1000, "prior_rate_low": 0.03, "prior_rate_high": 0.3})
    assert changed == dataclasses.replace(
        DEFAULTS, ess_min=1000.0, prior_rate_low=0.03, prior_rate_high=0.3
    )
    assert isinstance(changed.ess_min, float)


def test_every_default_is_within_its_own_bounds_and_documented():
    for field in dataclasses.fields(Thresholds):
        default = getattr(DEFAULTS, field.name)
        if default is not None:
            assert field.metadata["low"] <= default <= field.metadata["high"], field.name
        assert field.name in (Thresholds.__doc__ or ""), field.name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"rhat": 1.01}, "is not a threshold (did you mean 'rhat_max'?)"),
        ({"max_rat": 1.01}, "is not a threshold"),
        ({"rhat_max": 10.0}, "must lie between 1 and 1.05"),
        ({"rhat_max": float("nan")}, "must be a finite number"),
        ({"rhat_max": "1.01"}, "must be a finite number"),
        ({"rhat_max": 10**400}, "must be a finite number"),
        ({"rhat_max": True}, "must be a finite number"),
        ({"chains_min": 3.5}, "must be a whole number"),
        ({"chains_min": 1}, "must lie between 2 and 64"),
        ({"ess_min": 100, "ess_fail": 200}, "ess_fail (200) must not be above ess_min (100)"),
        ({"prior_rate_low": 0.1}, "must be given together"),
        ({"prior_rate_low": 0.3, "prior_rate_high": 0.1}, "must not be above"),
    ],
)
def test_refuses(override, message):
    with pytest.raises(SpecError) as caught:
        thresholds_from(override, file="models/custody.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("models/custody.toml, column checks")


def test_all_problems_at_once():
    with pytest.raises(SpecError) as caught:
        thresholds_from({"rhat": 1.0, "bfmi_min": -1, "pareto_draws": "many"})
    assert [p.column for p in caught.value.problems] == [
        "checks.rhat",
        "checks.bfmi_min",
        "checks.pareto_draws",
    ]


def test_the_documented_table_is_the_code():
    text = (Path(__file__).parents[2] / "docs" / "checks.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) to (\S+) \|$", text, re.M)
    written = [
        (f.name, *("none" if x is None else f"{x:g}" for x in (f.default, *f.metadata.values())))
        for f in dataclasses.fields(Thresholds)
    ]
    assert rows == written
