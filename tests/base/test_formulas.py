"""Names and texts that a spreadsheet would run."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from lndbayes.app.cli import main
from lndbayes.base.errors import SpecError
from lndbayes.base.formulas import NOT_A_FORMULA, neutral, neutral_table, plain, runs
from lndbayes.files.writing import write_table
from lndbayes.money.costs import load_costs
from small import MODELS, load

directory = load("data/conftest.py")

HOSTILE = (
    "=cmd|' /C calc'!A0",
    "@SUM(A1)",
    "+1+cmd|x",
    "-1+cmd|x",
    "-cmd",
    "\t=1+1",
    "\r=1",
    "\uff1d1+1",
    "=1",
    "--1",
    "-2 to A1",
    "-1+cmd|' /C calc'!A0",
    "-5 or A1",
    "-5 or less+1",
    "-1*2",
    "- under SUM(1)",
    "-10 to -1>=A1",
)
HARMLESS = (
    "",
    "-0.3",
    "+4",
    "-1e-05",
    "-.5",
    "-0.41 to 0.2",
    "-12 to -6",
    "-6--1",
    "-5 or less",
    "- under 1",
    "-10 to -1>0 to 9",
    "-10 to -1 > -5 or less",
    "-3.5%",
    "-inf",
    "-",
    "-1,250.5",
    "-2, -1",
    "S01",
    "a = b",
    "<= 1.01",
    "'quoted'",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_runs_is_neutral_in_a_table_and_comes_back(text: str) -> None:
    assert runs(text)
    assert not runs(neutral(text))
    assert plain(neutral(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_stays(text: str) -> None:
    assert neutral(text) == plain(text) == text


def test_no_cell_of_a_written_table_runs(tmp_path: Path) -> None:
    texts = [*HOSTILE, *HARMLESS]
    table = pd.DataFrame({"text": texts, "number": [-1.5] * len(texts), "whole": -3})
    table["mixed"] = pd.Series([-2.0, None, *texts[2:]], dtype=object)
    write_table(table, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert not any(runs(cell) for row in rows for cell in row.values())
    assert {row["number"] for row in rows} == {"-1.5"}
    assert {row["whole"] for row in rows} == {"-3"}
    assert [plain(row["text"]) for row in rows] == texts
    assert neutral_table(table)["number"].dtype == float
    # a table of numbers is written as it was
    plainly = table[["number", "whole"]]
    write_table(plainly, tmp_path / "y.csv")
    told = (tmp_path / "y.csv").read_text(encoding="utf-8")
    assert told == plainly.to_csv(index=False, lineterminator="\n")


@pytest.mark.parametrize(
    ("file", "where", "column"),
    [
        ("sites.csv", {"site": "A02"}, "site"),
        ("outcomes.csv", {"site": "A02"}, "source"),
        ("mix.csv", {"site": "A02"}, "intervention"),
        ("evidence/proxy.csv", {"month": "2014-02"}, "source"),
    ],
)
def test_names_that_would_run_are_refused(file, where, column, tmp_path, capsys) -> None:
    tiny = directory.Directory(tmp_path / "tiny")
    line = tiny.set(file, where, **{column: "=1+1"})
    assert main(["validate", str(tiny.write())]) == 2
    told = capsys.readouterr().err
    assert f"{file}, row {line}, column {column}, value '=1+1': {NOT_A_FORMULA}" in told


def test_free_texts_are_accepted(tmp_path, capsys) -> None:
    tiny = directory.Directory(tmp_path / "tiny")
    tiny.set("sites.csv", {"site": "A02"}, label="=1+1", region="-")
    assert main(["validate", str(tiny.write())]) == 0


@pytest.mark.parametrize("name", ["prison_places", "HMPPS", "direct", "place_mix"])
def test_names_of_costs_that_would_run_are_refused(name, tmp_path) -> None:
    text = (MODELS / "costs.toml").read_text(encoding="utf-8")
    path = tmp_path / "costs.toml"
    lines = []
    for line in text.splitlines():
        head, _, rest = line.partition("=")
        if head.strip() == name:
            line = f'"@{name}" ={rest}'
        elif line.strip().startswith("[") and f".{name}" in line:
            line = line.replace(f".{name}", f'."@{name}"')
        lines.append(line.replace(f'"{name}"', f'"@{name}"'))
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_costs(path)
    found = [p for p in caught.value.problems if p.rule == NOT_A_FORMULA]
    assert [p.value for p in found] == [f"@{name}"]
