"""The section on placebo go-lives: one row an outcome, and why there is none."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lndbayes.base.vocabulary import PlaceboRow
from lndbayes.evidence.placebo import PLACEBO_COLUMNS
from lndbayes.report.blocks import Items, Paragraph, Table
from lndbayes.report.placebo import placebo_section
from lndbayes.report.run import COLUMNS, read_run
from small import load

fake_run = load("report/fake_run.py")


def written(path: Path) -> Path:
    run = fake_run.write_fake_run(path, outcomes=("custody", "hearings"))
    told = {"outcome": "custody", "status": "REVIEW", "note": "sites differ", "ci_prob": 0.9}
    ratio = {"scale": "odds ratio", "sd": 0.1}
    effect = {"median": 1.04, "lower": 0.9, "upper": 1.2, "holds_zero": True}
    rows = [
        {"quantity": PlaceboRow.POOLED, **ratio, **effect},
        {"quantity": PlaceboRow.SITE, "site": "S01", **ratio, **effect},
        {"quantity": PlaceboRow.SITE, "site": "S02", **ratio, **effect, "holds_zero": False},
        {"quantity": PlaceboRow.OBSERVED, "median": 0.23},
        {"quantity": PlaceboRow.NOISE, "median": 0.14},
        {"quantity": PlaceboRow.SPREAD, "median": 0.18, "lower": 0.0, "upper": 0.41},
        {"quantity": PlaceboRow.LARGEST, "median": 0.3, "lower": 0.1, "upper": 0.52},
    ]
    absent = {"outcome": "hearings", "quantity": "pooled", "status": "NOT RUN", "ci_prob": 0.9}
    table = pd.concat(
        [pd.DataFrame(rows).assign(**told), pd.DataFrame([{**absent, "note": "2 sites only"}])]
    )
    table.reindex(columns=list(PLACEBO_COLUMNS)).to_csv(run / "placebo.csv", index=False)
    return run


def test_the_columns_read_are_those_written() -> None:
    texts, numbers = COLUMNS["placebo.csv"]
    assert {*texts, *numbers} == set(PLACEBO_COLUMNS)


def test_one_row_an_outcome_and_a_reason_where_there_is_none(tmp_path: Path) -> None:
    section = placebo_section(read_run(written(tmp_path)))
    (table,) = [block for block in section.blocks if isinstance(block, Table)]
    assert len(table.groups[0].rows) == 1
    label, point, interval, held, *spreads = table.groups[0].rows[0]
    assert (label, held) == ("Custody", "1 of 2")
    assert point.startswith("1.04")
    assert [float(x) for x in interval.split(" to ")] == [0.9, 1.2]
    assert spreads == ["0.23", "0.14", "0.18 (0 to 0.41)", "0.3 (0.1 to 0.52)"]
    assert len(table.columns) == len(table.groups[0].rows[0])
    (items,) = [block for block in section.blocks if isinstance(block, Items)]
    assert items.texts == ("Hearings: not run: 2 sites only.",)


def test_a_run_without_the_table_says_so(tmp_path: Path) -> None:
    section = placebo_section(read_run(fake_run.write_fake_run(tmp_path)))
    (text,) = [block for block in section.blocks if isinstance(block, Paragraph)]
    assert "placebo.csv" in text.text
