"""What rests on assumption only is marked wherever its number is shown, and nothing else is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from lndbayes.report.answer import savings_sentence
from lndbayes.report.blocks import Table
from lndbayes.report.effects import effects_section
from lndbayes.report.run import Run, read_run

MARK = "\N{DAGGER}"
COLUMN = "rests_on_assumption"


@pytest.fixture
def labelled(shared_run: Path, tmp_path: Path) -> Path:
    """A run whose third site, new site and net saving rest on assumption."""
    path = tmp_path / "run"
    shutil.copytree(shared_run, path)
    effects = pd.read_csv(path / "effects.csv", keep_default_na=False)
    weak = (effects["site"] == "S03") | (effects["estimand"] == "new_site")
    effects[COLUMN] = weak.map({True: "70% of the prior's variance is left", False: ""})
    effects.to_csv(path / "effects.csv", index=False)
    savings = pd.read_csv(path / "savings.csv", keep_default_na=False)
    net = (savings["outcome"] == "all") & (savings["level"] == "total")
    savings[COLUMN] = net.map({True: "custody: the posterior sd is 95% of the prior's", False: ""})
    savings.to_csv(path / "savings.csv", index=False)
    return path


def tables(run: Run) -> list[Table]:
    return [b for b in effects_section(run, "custody").blocks if isinstance(b, Table)]


def test_marked_rows_are_those_of_the_file_and_a_note_says_what_it_means(labelled: Path) -> None:
    estimands, sites = tables(read_run(labelled))
    marked = [row[0] for row in sites.groups[0].rows if MARK in row[1]]
    assert marked == ["S03"]
    marked = [row[0] for row in estimands.groups[0].rows if MARK in row[0]]
    assert len(marked) == 1
    assert "new" in marked[0].lower() or "further" in marked[0].lower()
    for table in (estimands, sites):
        assert f"{MARK} Rests on assumption only" in table.note


def test_without_a_label_nothing_is_marked(shared_run: Path) -> None:
    for table in tables(read_run(shared_run)):
        assert MARK not in table.note
        assert not any(MARK in cell for g in table.groups for row in g.rows for cell in row)


def test_the_savings_sentence_says_it(labelled: Path, shared_run: Path) -> None:
    said = "rests on assumption only (custody: the posterior sd is 95% of the prior's)"
    assert said in savings_sentence(read_run(labelled))
    assert "assumption" not in savings_sentence(read_run(shared_run))
