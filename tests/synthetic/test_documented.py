"""The parameter table of docs/synthetic.md against the code."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from lndbayes.synthetic import World
from lndbayes.synthetic.outcomes import OTHERS, OutcomeWorld

DOCUMENT = Path(__file__).parents[2] / "docs" / "synthetic.md"


def shown(value):
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(v if isinstance(v, str) else f"{v:.10g}" for v in values)


def test_every_parameter_is_documented_with_its_value_and_origin():
    section = DOCUMENT.read_text(encoding="utf-8").split("## Parameters")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", section, flags=re.MULTILINE)
    world = World()
    assert [name for name, _, _ in rows] == [field.name for field in fields(World)]
    assert {name: value for name, value, _ in rows} == {
        field.name: shown(getattr(world, field.name)) for field in fields(World)
    }
    for name, _, origin in rows:
        sourced = re.search(r"russellwebster|RAND|england\.nhs\.uk|Lords answer|see above", origin)
        assert "assumption" in origin or sourced, name


def listed(value):
    """A parameter as the tables of outcomes write it."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        mark = "; " if value and isinstance(value[0], tuple) else ", "
        return mark.join(map(listed, value)) or "-"
    return value if isinstance(value, str) else f"{value:.6g}"


def test_every_parameter_of_every_other_outcome_is_documented():
    text = DOCUMENT.read_text(encoding="utf-8").split("## Parameters of the other outcomes")[1]
    tables = re.findall(
        r"^\| outcome \| (.+) \|\n\|[-|]+\|\n((?:\|.*\n)+)",
        text.split("\n## ")[0],
        flags=re.MULTILINE,
    )
    told = {}
    for header, body in tables:
        names = header.replace("`", "").split(" | ")
        for line in body.splitlines():
            outcome, *values = line.strip("| ").split(" | ")
            told |= {(outcome.strip("`"), k): v.strip() for k, v in zip(names, values, strict=True)}
    missing = {"categories", "stages", "start"}
    for name, outcome in OTHERS.items():
        for field in fields(OutcomeWorld):
            value = getattr(outcome, field.name)
            if field.name == "selection":
                continue
            if field.name in missing and not value:
                assert (name, field.name) not in told or told[name, field.name] == "-"
                continue
            assert told.pop((name, field.name)) == listed(value), (name, field.name)
    assert set(told.values()) <= {"-"}


def test_selection_into_treatment_is_documented():
    selection = OTHERS["wellbeing"].selection
    text = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    start = ", ".join(f"{share:.2f}" for share in selection.start)
    assert f"{selection.newcomers:g} for each person who would be there anyway" in text
    assert f"(start bands {start}) and improve less (`eta` less {-selection.shift:g})" in text
    assert [one for one in OTHERS.values() if one.selection] == [OTHERS["wellbeing"]]
