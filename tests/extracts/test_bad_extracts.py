"""Bad extracts: one report of everything that is wrong, exit code 2, and nothing written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lndbayes.app.cli import main
from lndbayes.base.errors import Code, DataError, Problem, UsageError
from lndbayes.extracts import assemble
from small import load

extracts = load("extracts/extracts.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return extracts.write(tmp_path / "extracts", extracts.made(7, persons=40))


def refused(folder: Path) -> tuple[Problem, ...]:
    """Assert that nothing is written; return the problems."""
    out = folder.parent / "deep" / "out"
    with pytest.raises(DataError) as caught:
        assemble(folder, out, threads=1)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["extracts"]
    assert caught.value.problems
    return caught.value.problems


def spoil(folder: Path, name: str, column: str, value: str, where: Callable | None = None) -> int:
    """Change one cell of a CSV, of the first row that fits; return its line."""
    path = folder / f"{name}.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = table if where is None else table[where(table)]
    table.loc[rows.index[0], column] = value
    table.to_csv(path, index=False)
    return int(rows.index[0]) + 2


def kind(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: table["kind"] == name


CELLS = [
    ("persons", "site", "Z9", None, Code.UNKNOWN_SITE),
    ("persons", "site", "", None, Code.MISSING_VALUE),
    ("persons", "consented", "yes", None, Code.BAD_CHOICE),
    ("persons", "matched_pnc", "2", None, Code.BAD_CHOICE),
    ("persons", "mental_health", "", None, Code.BAD_CHOICE),
    ("persons", "birth_date", "17/05/1960", None, Code.BAD_FORMAT),
    ("persons", "birth_date", "", None, Code.BAD_FORMAT),
    ("persons", "birth_date", "0001-01-01", None, Code.OUT_OF_RANGE),
    ("persons", "death_date", "2014-2-3", None, Code.BAD_FORMAT),
    ("persons", "death_date", "2016-08-16", None, Code.OUT_OF_ORDER),
    ("persons", "death_date", "1950-01-01", None, Code.OUT_OF_ORDER),
    ("persons", "contact_date", "2012-12-31", None, Code.OUTSIDE_MONTHS),
    ("persons", "contact_date", "2016-07-01", None, Code.OUTSIDE_MONTHS),
    ("persons", "contact_date", "2014-02-30", None, Code.BAD_FORMAT),
    ("referrals", "site", "Z9", None, Code.UNKNOWN_SITE),
    ("referrals", "intervention", "", None, Code.MISSING_VALUE),
    ("referrals", "study_id", "P9999", None, Code.UNKNOWN_NAME),
    ("referrals", "date", "2016-07-01", None, Code.OUTSIDE_MONTHS),
    ("hes_ae", "study_id", "", None, Code.UNKNOWN_NAME),
    ("hes_ae", "date", "2012-12-31", None, Code.OUTSIDE_MONTHS),
    ("hes_ae", "date", "2017-01-01", None, Code.OUTSIDE_MONTHS),
    ("hes_ae", "date", "2014/01/01", None, Code.BAD_FORMAT),
    ("hes_ae", "date", "", None, Code.BAD_FORMAT),
    ("hes_ae", "attendance_id", "", None, Code.MISSING_VALUE),
    ("mhsds", "kind", "referal", None, Code.BAD_CHOICE),
    ("iapt", "kind", "", None, Code.BAD_CHOICE),
    ("mhsds", "referral_id", "", kind("attendance"), Code.MISSING_VALUE),
    ("mhsds", "referral_id", "P0", kind("attendance"), Code.UNKNOWN_NAME),
    ("iapt", "date", "2013-01-01", kind("attendance"), Code.OUT_OF_ORDER),
    ("ndtms", "score", "21", kind("top_start"), Code.OUT_OF_RANGE),
    ("ndtms", "score", "-1", kind("top_review"), Code.OUT_OF_RANGE),
    ("ndtms", "score", "7.5", kind("top_start"), Code.NOT_WHOLE),
    ("ndtms", "score", "", kind("top_review"), Code.MISSING_VALUE),
    ("ndtms", "score", "3", kind("referral"), Code.NOT_EMPTY),
    ("pnc", "custody_days", "-1", kind("disposal"), Code.OUT_OF_RANGE),
    ("pnc", "custody_days", "many", kind("disposal"), Code.NOT_WHOLE),
    ("pnc", "custody_days", "", kind("disposal"), Code.MISSING_VALUE),
    ("pnc", "custody_days", "0", kind("offence"), Code.NOT_EMPTY),
    ("pnc", "case_id", "", None, Code.MISSING_VALUE),
    ("hmcts", "completed", "no", None, Code.BAD_CHOICE),
]


@pytest.mark.parametrize(("name", "column", "value", "where", "code"), CELLS)
@pytest.mark.parametrize(
    "parquet", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["csv", "parquet"]
)
def test_one_cell(folder, name, column, value, where, code, parquet) -> None:
    line = spoil(folder, name, column, value, where)
    file = f"{name}.csv"
    if parquet:
        import duckdb

        duckdb.execute(
            f"COPY (FROM read_csv('{folder}/{file}', all_varchar = true)) "
            f"TO '{folder}/{name}.parquet'"
        )
        (folder / file).unlink()
        file, line = f"{name}.parquet", line - 1
    # a spoiled date can also lie before others that follow from it
    found = [p for p in refused(folder) if (p.row, p.column, p.code) == (line, column, code)]
    assert [(p.file, p.value) for p in found] == [(file, value)]


def test_life_and_death(folder) -> None:
    persons = pd.read_csv(folder / "persons.csv", dtype=str, keep_default_na=False)
    events = pd.read_csv(folder / "hes_ae.csv", dtype=str, keep_default_na=False)
    early, late = events["study_id"].unique()[:2]
    row = persons.index[persons["study_id"] == early][0]
    persons.loc[row, "birth_date"] = "2016-06-30"
    row = persons.index[persons["study_id"] == late][0]
    persons.loc[row, "death_date"] = persons.loc[row, "birth_date"]
    persons.to_csv(folder / "persons.csv", index=False)
    found = [p for p in refused(folder) if p.code is Code.OUT_OF_ORDER]
    # before birth and after death: two rules of each table
    for file, column in (("hes_ae.csv", "date"), ("persons.csv", "contact_date")):
        rules = {p.rule.split(" (")[0] for p in found if (p.file, p.column) == (file, column)}
        assert len(rules) == 2


REPEATED = [
    ("persons", "study_id", None),
    ("hes_ae", "attendance_id", None),
    ("mhsds", "referral_id", "referral"),
    ("iapt", "referral_id", "referral"),
    ("ndtms", "referral_id", "referral"),
    ("pnc", "case_id", "offence"),
    ("pnc", "case_id", "disposal"),
    ("hmcts", "case_id", None),
]


@pytest.mark.parametrize(("name", "column", "of"), REPEATED)
def test_repeated_keys(folder, name, column, of) -> None:
    path = folder / f"{name}.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    index = table.index[0 if of is None else table["kind"] == of]
    index = 0 if of is None else int(index[0])
    pd.concat([table, table.iloc[[index]]]).to_csv(path, index=False)
    problems = refused(folder)
    assert [p.row for p in problems] == [index + 2, len(table) + 2]
    assert {(p.file, p.column) for p in problems} == {(f"{name}.csv", column)}
    assert {p.code for p in problems} == {Code.REPEATED_ROW}
    assert "broken in 2 rows" in problems[0].rule


@pytest.mark.slow
def test_a_million_bad_rows_give_a_readable_message(folder, capsys) -> None:
    path = folder / "hes_ae.csv"
    lines = [f"X{n},2014-01-01,new-{n}\n" for n in range(1_000_000)]
    path.write_text("study_id,date,attendance_id\n" + "".join(lines), encoding="utf-8")
    spoil(folder, "pnc", "custody_days", "-1", kind("disposal"))
    out = folder.parent / "out"
    assert main(["assemble", str(folder), "--out", str(out), "--quiet"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert len(printed.err.splitlines()) < 60
    first = printed.err.splitlines()[1:3]
    assert "must be a study_id of persons (broken in 1,000,000 rows)" in first[0]
    assert "must not be negative" in first[1]
    assert not out.exists()


def test_all_problems_at_once(folder) -> None:
    spoil(folder, "persons", "site", "Z9")
    spoil(folder, "hmcts", "completed", "no")
    (folder / "iapt.csv").unlink()
    (folder / "evidence").mkdir()
    (folder / "evidence" / "history.csv").write_text("x\n", encoding="utf-8")
    sites = (folder / "sites.csv").read_text(encoding="utf-8")
    (folder / "sites.csv").write_text(sites.replace("2014-04", "April"), encoding="utf-8")
    files = {problem.file for problem in refused(folder)}
    assert files == {"persons.csv", "hmcts.csv", "iapt", "evidence/history.csv", "sites.csv"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sites", "sources", "persons", "referrals", "ndtms", "hmcts"])
def test_missing_tables_columns_and_rows(folder, name) -> None:
    path = folder / f"{name}.csv"
    text = path.read_text(encoding="utf-8")
    header = text.splitlines()[0]
    path.write_text("", encoding="utf-8")
    assert (path.name, Code.EMPTY_FILE) in {(p.file, p.code) for p in refused(folder)}
    path.write_text(header + "\n", encoding="utf-8")
    assert any(path.name == p.file for p in refused(folder))
    column = header.split(",")[1]
    path.write_text(text.replace(column, "other", 1), encoding="utf-8")
    found = [p for p in refused(folder) if p.code is Code.MISSING_COLUMN]
    assert [(p.file, p.column) for p in found] == [(path.name, column)]
    path.unlink()
    assert (name, Code.MISSING_FILE) in {(p.file, p.code) for p in refused(folder)}
    path.write_text(text, encoding="utf-8")
    extracts.to_parquet(folder, name)
    path.write_text(text, encoding="utf-8")
    assert (name, Code.REPEATED_NAME) in {(p.file, p.code) for p in refused(folder)}


@pytest.mark.parametrize("name", ["sites", "persons", "referrals", "hes_ae", "hmcts"])
def test_text_that_is_not_utf_8(folder, name) -> None:
    path = folder / f"{name}.csv"
    lines = path.read_bytes().split(b"\n")
    column = {"sites": 1, "persons": 1, "referrals": 3, "hes_ae": 2, "hmcts": 2}[name]
    cells = lines[2].split(b",")
    cells[column] = "Nürnberg".encode("latin-1")
    lines[2] = b",".join(cells)
    path.write_bytes(b"\n".join(lines))
    problems = refused(folder)
    found = [p for p in problems if p.code is Code.NOT_UTF8]
    assert [(p.file, p.row, p.value) for p in found] == [(path.name, 3, "b'\\xfc'")]


@pytest.mark.parametrize("name", ["persons", "hes_ae"])
def test_rows_of_another_length(folder, name) -> None:
    path = folder / f"{name}.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[3] += ",one more"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (problem,) = refused(folder)
    assert (problem.file, problem.row, problem.code) == (path.name, 4, Code.RAGGED_ROW)


@pytest.mark.parametrize("name", ["persons", "mhsds"])
@pytest.mark.parametrize("parts", [1, 3])
def test_parquet_that_is_cut_off(folder, name, parts) -> None:
    extracts.to_parquet(folder, name, parts)
    path = folder / name / "part-1.parquet" if parts > 1 else folder / f"{name}.parquet"
    content = path.read_bytes()
    for bad in (content[:-20], content[: len(content) // 2], b"", b"x" * 500):
        path.write_bytes(bad)
        (problem,) = refused(folder)
        assert problem.file == path.relative_to(folder).as_posix()
        assert problem.code is Code.DAMAGED_FILE
    # the end is whole, the middle is not
    path.write_bytes(content[:4] + bytes(len(content) // 3) + content[4 + len(content) // 3 :])
    (problem,) = refused(folder)
    assert problem.file.startswith(name)
    assert problem.code is Code.DAMAGED_FILE


def test_parquet_of_other_types(folder) -> None:
    import duckdb

    file = folder / "hes_ae.csv"
    duckdb.execute(
        f"COPY (SELECT 1 AS study_id, 20140101 AS date, attendance_id FROM '{file}') "
        f"TO '{folder}/hes_ae.parquet'"
    )
    file.unlink()
    problems = refused(folder)
    assert {(p.file, p.column) for p in problems} == {
        ("hes_ae.parquet", "study_id"),
        ("hes_ae.parquet", "date"),
    }
    assert {p.code for p in problems} == {Code.WRONG_TYPE}


def test_parts_of_other_shapes(folder) -> None:
    import duckdb

    extracts.to_parquet(folder, "hes_ae", parts=2)
    duckdb.execute(f"COPY (SELECT 'x' AS study_id) TO '{folder}/hes_ae/part-2.parquet'")
    (problem,) = refused(folder)
    assert problem.file == "hes_ae/part-2.parquet"
    assert problem.code is Code.NOT_THE_SAME


SETTINGS = [
    ({"last_month": "2012-01"}, "last_month", Code.OUT_OF_ORDER),
    ({"extract_date": "2016-06-29"}, "extract_date", Code.OUT_OF_ORDER),
    ({"extract_date": "2016-02-31"}, "extract_date", Code.BAD_FORMAT),
    ({"disclosure": "hes"}, "disclosure", Code.BAD_CHOICE),
    ({"first_month": "2013"}, "first_month", Code.BAD_MONTH),
    ({"first_month": "0001-01"}, "first_month", Code.BAD_MONTH),
    ({"last_month": "9999-12"}, "last_month", Code.BAD_MONTH),
    ({"synthetic": "yes"}, "synthetic", Code.WRONG_TYPE),
    ({"name": " "}, "name", Code.MISSING_VALUE),
    ({"extract_dat": "2016-08-15"}, "extract_dat", Code.UNKNOWN_KEY),
]


@pytest.mark.parametrize(("change", "column", "code"), SETTINGS)
def test_settings(folder, change, column, code) -> None:
    extracts.write(folder, {}, change)
    (problem,) = refused(folder)
    assert (problem.file, problem.column, problem.code) == ("extracts.toml", column, code)


def test_settings_that_are_no_toml(folder) -> None:
    (folder / "extracts.toml").write_text("name = Small\n", encoding="utf-8")
    (problem,) = refused(folder)
    assert problem.code is Code.NOT_TOML
    (folder / "extracts.toml").unlink()
    (problem,) = refused(folder)
    assert (problem.file, problem.code) == ("extracts.toml", Code.MISSING_FILE)


SOURCE_CELLS = [
    ("source", "hes", Code.BAD_CHOICE),
    ("source", "mhsds", Code.REPEATED_ROW),
    ("first_month", "2013-13", Code.BAD_MONTH),
    ("last_month", "2011-01", Code.OUT_OF_ORDER),
    ("seam", "2014-01;spring", Code.BAD_MONTH),
    ("reporting_delay_months", "0", Code.OUT_OF_RANGE),
    ("reporting_delay_months", "-2", Code.OUT_OF_RANGE),
    ("reporting_delay_months", "nan", Code.OUT_OF_RANGE),
    ("reporting_delay_months", "1e999", Code.OUT_OF_RANGE),
    ("reporting_delay_months", "900", Code.OUTSIDE_MONTHS),
    ("first_month", "2016-07", Code.OUT_OF_ORDER),
]


@pytest.mark.parametrize(("column", "value", "code"), SOURCE_CELLS)
def test_sources(folder, column, value, code) -> None:
    spoil(folder, "sources", column, value)
    told = [p for p in refused(folder) if (p.file, p.code) == ("sources.csv", code)]
    assert len(told) == 1


def test_sources_outside_the_grid(folder) -> None:
    table = pd.read_csv(folder / "sources.csv", dtype=str, keep_default_na=False)
    table.loc[0, ["first_month", "last_month"]] = "2017-01"
    table.to_csv(folder / "sources.csv", index=False)
    (problem,) = refused(folder)
    assert (problem.row, problem.column) == (2, "first_month")
    table.drop(index=0).to_csv(folder / "sources.csv", index=False)
    (problem,) = refused(folder)
    assert (problem.column, problem.value) == ("source", "hes_ae")


def test_evidence_is_checked_with_the_rest(folder) -> None:
    (folder / "evidence").mkdir()
    text = "outcome,month,months,rate,se,source\nmh_referral,2012-01,12,0.04,0.001,national\n"
    (folder / "evidence" / "national.csv").write_text(text, encoding="utf-8")
    (problem,) = refused(folder)
    assert (problem.file, problem.value) == ("evidence/national.csv", "mh_referral")
    (folder / "evidence" / "natoinal.csv").write_text(text, encoding="utf-8")
    assert "evidence/natoinal.csv" in {p.file for p in refused(folder)}


# --- the command ----------------------------------------------------------------------------------


def test_the_command_writes_what_validate_reads(folder, capsys) -> None:
    out = folder.parent / "new" / "out"
    arguments = ["assemble", str(folder), "--out", str(out), "--threads", "1", "--strata"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1] == f"wrote {out}"
    assert main(["validate", str(out)]) == 0
    assert "outcome custody" in capsys.readouterr().out
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_command_keeps_what_is_not_its_own(folder, capsys) -> None:
    mine = folder.parent / "thesis"
    mine.mkdir()
    (mine / "one.txt").write_text("mine", encoding="utf-8")
    for out in (mine, mine / "one.txt", folder):
        before = sorted(folder.parent.rglob("*"))
        assert main(["assemble", str(folder), "--out", str(out)]) == 2
        assert re.search("must be", capsys.readouterr().err)
        assert sorted(folder.parent.rglob("*")) == before
    with pytest.raises(DataError, match="there is no such directory"):
        assemble(folder / "other", folder.parent / "out")


@pytest.mark.parametrize("memory", ["1", "much", "-1GB", "1GB; DROP"])
def test_memory_must_be_an_amount(folder, memory) -> None:
    with pytest.raises(UsageError, match="memory must be an amount"):
        assemble(folder, folder.parent / "out", memory=memory)
    assert not (folder.parent / "out").exists()


# --- what is no plain file, and names that a spreadsheet would run ------------------------------


@pytest.mark.parametrize("name", ["persons.csv", "sources.csv", "pnc.csv", "extracts.toml"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_what_is_no_plain_file_is_told(folder, name, kind) -> None:
    path = folder / name
    path.unlink()
    make = {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to("nowhere"),
    }
    make[kind]()
    told = [problem for problem in refused(folder) if problem.code is Code.UNREADABLE_FILE]
    assert [problem.file.rstrip("/") for problem in told] == [name]


def test_evidence_that_is_no_folder_is_not_no_evidence(folder) -> None:
    (folder / "evidnce").mkdir()
    (problem,) = refused(folder)
    assert (problem.file, problem.code) == ("evidnce", Code.MISNAMED_FILE)
    assert "'evidence'" in problem.rule
    (folder / "evidnce").rmdir()
    (folder / "evidence").write_text("x", encoding="utf-8")
    (problem,) = refused(folder)
    assert problem.code is Code.UNREADABLE_FILE
    (folder / "evidence").unlink()
    (folder / "evidence").mkdir()
    os.mkfifo(folder / "evidence" / "national.csv")
    (problem,) = refused(folder)
    assert (problem.file, problem.code) == ("evidence/national.csv", Code.UNREADABLE_FILE)


@pytest.mark.parametrize("name", ["=1+1", "@x", " -cmd", "+x"])
def test_an_intervention_that_would_run_is_told_in_its_row(folder, name) -> None:
    line = spoil(folder, "referrals", "intervention", name)
    (problem,) = refused(folder)
    assert (problem.file, problem.row, problem.column) == ("referrals.csv", line, "intervention")
    assert problem.code is Code.FORMULA
