"""`docs/data-contract.md` says what the code does: the same columns and rules, working examples."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from lndbayes.data.columns import Column, Table
from lndbayes.data.evaluation import read_evaluation
from lndbayes.data.facts import FILE
from lndbayes.data.schema import FACTS, TABLES
from lndbayes.report.run import COLUMNS

DOC = Path(__file__).parents[2] / "docs" / "data-contract.md"
TEXT = DOC.read_text(encoding="utf-8")


def section(file: str) -> str:
    """Text below a file's heading."""
    (found,) = re.findall(rf"^## `{re.escape(file)}`\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    return found


def example(file: str) -> str:
    kind = "toml" if file == FILE else f"csv {re.escape(file)}"
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", section(file), re.M | re.S)
    return found


def table(text: str, first: str) -> list[list[str]]:
    """Rows of the Markdown table whose header begins with a word."""
    (found,) = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.M)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found.splitlines()]


def row(column: Column) -> list[str]:
    name = f"`{column.name}`" + ("" if column.needed else " (optional)")
    return [name, column.rule, column.unit or "-", column.empty or "not allowed", column.meaning]


def named(file: str) -> Table:
    return next(table for table in TABLES if table.file == file)


@pytest.mark.parametrize("file", [table.file for table in TABLES])
def test_a_table_is_documented_as_it_is_read(file):
    assert table(section(file), "column") == [row(column) for column in named(file).columns]
    what = named(file).what
    start = " ".join(section(file).split())
    assert start.startswith(f"{what[0].upper()}{what[1:]}.")


@pytest.mark.parametrize("file", [table.file for table in TABLES])
def test_the_example_rows_are_the_schemas(file):
    rows = list(csv.DictReader(io.StringIO(example(file))))
    filled = [{name: value for name, value in row.items() if value} for row in rows]
    wanted = [{name: v for name, v in row.items() if v} for row in named(file).examples]
    assert filled == wanted
    assert filled


def test_the_facts_are_documented_as_they_are_read():
    rows = [[f"`{k}`" + ("" if needed else " (optional)"), rule] for k, (needed, _, rule) in
            FACTS.items()]  # fmt: skip
    assert table(section(FILE), "key") == rows


def test_the_examples_together_are_a_valid_evaluation(tmp_path):
    (tmp_path / "evidence").mkdir()
    for file in [FILE, *(table.file for table in TABLES)]:
        (tmp_path / file).write_text(example(file), encoding="utf-8")
    data = read_evaluation(tmp_path)
    assert set(data.ds["outcome"].values) == {"custody", "wellbeing"}
    assert float(data.ds["count"].sel(outcome="custody", site="S01", month="2014-04")) == 6
    assert all(len(frame) for frame in data.evidence.values())
    assert not any("not read" in subject for subject in data.notes)


def test_no_file_is_documented_that_is_not_read():
    headings = re.findall(r"^## `(.*)`$", TEXT, re.M)
    assert headings == [FILE, *(table.file for table in TABLES)]


#: The columns that users were promised, in the order in which they were promised.
PROMISED = {
    "sites.csv": "site label region wave go_live population predecessor",
    "outcomes.csv": "outcome site month source exposure count n mean sd status count_low "
    "count_high stratum category coverage",
    "mix.csv": "site month intervention contacts",
    "referrals.csv": "site month referrals",
    "covariates.csv": "site month name value",
    "evidence/retrospective.csv": "outcome site month exposure count n mean sd coverage_mean "
    "coverage_sd",
    "evidence/national.csv": "outcome month months rate se source",
    "evidence/proxy.csv": "outcome site month exposure count source",
    "evidence/history.csv": "outcome site months_from_referral calendar_month persons count",
    "evidence/elicited.csv": "outcome site quantity q05 q50 q95 who",
}


def test_no_promised_column_is_lost():
    assert {table.file: " ".join(table.names) for table in TABLES} == PROMISED


def test_every_number_has_a_unit():
    for one in TABLES:
        for column in one.columns:
            if column.kind in ("integer", "number") and column.name != "wave":
                assert column.unit, f"{one.file}: {column.name}"


def test_every_table_that_a_report_reads_is_among_the_files_of_a_run():
    listed = " ".join(cells[0] for cells in table(section_of_runs(), "file"))
    for name in COLUMNS:
        assert f"`{name}`" in listed or (name.startswith("joint") and "`joint*.csv`" in listed), (
            name
        )


def section_of_runs() -> str:
    return TEXT.split("## What a run writes")[1]
