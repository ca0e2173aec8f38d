"""The parameter table of docs/synthetic.md against the code."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from lndbayes.simulate import World

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
