"""Bad extracts: one report of everything that is wrong, exit code 2, and nothing written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lndbayes.app.cli import main
from lndbayes.base.errors import DataError, Problem, UsageError
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


MONTHS = "must lie within the months 2013-01 to 2016-06 of extracts.toml"
DATE = "must be a date written YYYY-MM-DD"

CELLS = [
    ("persons", "site", "Z9", None, "must be a site of sites"),
    ("persons", "site", "", None, "must be text that is not empty"),
    ("persons", "consented", "yes", None, "must be 0 or 1"),
    ("persons", "matched_pnc", "2", None, "must be 0 or 1"),
    ("persons", "mental_health", "", None, "must be 0 or 1"),
    ("persons", "birth_date", "17/05/1960", None, DATE),
    ("persons", "birth_date", "", None, DATE),
    ("persons", "birth_date", "0001-01-01", None, "must be at most 120 years before contact_date"),
    ("persons", "death_date", "2014-2-3", None, DATE),
    ("persons", "death_date", "2016-08-16", None, "must not be after extract_date, 2016-08-15"),
    ("persons", "death_date", "1950-01-01", None, "must not be before birth_date"),
    ("persons", "contact_date", "2012-12-31", None, MONTHS),
    ("persons", "contact_date", "2016-07-01", None, MONTHS),
    ("persons", "contact_date", "2014-02-30", None, DATE),
    ("referrals", "site", "Z9", None, "must be a site of sites"),
    ("referrals", "intervention", "", None, "must be text that is not empty"),
    ("referrals", "study_id", "P9999", None, "must be a study_id of persons"),
    ("referrals", "date", "2016-07-01", None, MONTHS),
    ("hes_ae", "study_id", "", None, "must be a study_id of persons"),
    ("hes_ae", "date", "2012-12-31", None, MONTHS),
    ("hes_ae", "date", "2017-01-01", None, MONTHS),
    ("hes_ae", "date", "2014/01/01", None, DATE),
    ("hes_ae", "date", "", None, DATE),
    ("hes_ae", "attendance_id", "", None, "must be text that is not empty"),
    ("mhsds", "kind", "referal", None, "must be one of referral, attendance"),
    ("iapt", "kind", "", None, "must be one of referral, attendance"),
    ("mhsds", "referral_id", "", kind("attendance"), "must be given for a referral"),
    ("mhsds", "referral_id", "P0", kind("attendance"), "must be the referral_id of a referral"),
    ("iapt", "date", "2013-01-01", kind("attendance"), "must not be before the attendance's"),
    ("ndtms", "score", "21", kind("top_start"), "must be within 0 to 20"),
    ("ndtms", "score", "-1", kind("top_review"), "must be within 0 to 20"),
    ("ndtms", "score", "7.5", kind("top_start"), "must be a whole number"),
    ("ndtms", "score", "", kind("top_review"), "must be given for TOP"),
    ("ndtms", "score", "3", kind("referral"), "must be empty where it is not TOP"),
    ("pnc", "custody_days", "-1", kind("disposal"), "must not be negative"),
    ("pnc", "custody_days", "many", kind("disposal"), "must be a whole number"),
    ("pnc", "custody_days", "", kind("disposal"), "must be given for a disposal"),
    ("pnc", "custody_days", "0", kind("offence"), "must be empty for an offence"),
    ("pnc", "case_id", "", None, "must be text that is not empty"),
    ("hmcts", "completed", "no", None, "must be 0 or 1"),
]


@pytest.mark.parametrize(("name", "column", "value", "where", "rule"), CELLS)
@pytest.mark.parametrize(
    "parquet", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["csv", "parquet"]
)
def test_one_cell(folder, name, column, value, where, rule, parquet) -> None:
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
    found = [p for p in refused(folder) if p.row == line and p.rule.startswith(rule)]
    assert [(p.file, p.column, p.value) for p in found] == [(file, column, value)]


def test_life_and_death(folder) -> None:
    persons = pd.read_csv(folder / "persons.csv", dtype=str, keep_default_na=False)
    events = pd.read_csv(folder / "hes_ae.csv", dtype=str, keep_default_na=False)
    early, late = events["study_id"].unique()[:2]
    row = persons.index[persons["study_id"] == early][0]
    persons.loc[row, "birth_date"] = "2016-06-30"
    row = persons.index[persons["study_id"] == late][0]
    persons.loc[row, "death_date"] = persons.loc[row, "birth_date"]
    persons.to_csv(folder / "persons.csv", index=False)
    told = {(p.file, p.column, p.rule.split(" (")[0]) for p in refused(folder)}
    assert ("hes_ae.csv", "date", "must not be before the person's birth") in told
    assert ("hes_ae.csv", "date", "must not be after the person's death") in told
    assert ("persons.csv", "contact_date", "must not be before birth_date") in told
    assert ("persons.csv", "contact_date", "must not be after death_date") in told


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
    assert all(p.rule.startswith("must not be repeated") for p in problems)
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
    assert any(p.file == path.name and "the file is empty" in p.rule for p in refused(folder))
    path.write_text(header + "\n", encoding="utf-8")
    assert any(path.name == p.file for p in refused(folder))
    column = header.split(",")[1]
    path.write_text(text.replace(column, "other", 1), encoding="utf-8")
    found = [p for p in refused(folder) if "the column is missing" in p.rule]
    assert [(p.file, p.column) for p in found] == [(path.name, column)]
    path.unlink()
    assert any(p.file == name and "the table is missing" in p.rule for p in refused(folder))
    path.write_text(text, encoding="utf-8")
    extracts.to_parquet(folder, name)
    path.write_text(text, encoding="utf-8")
    assert any(p.file == name and "the table is there twice" in p.rule for p in refused(folder))


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
    found = [p for p in problems if "must be UTF-8 text" in p.rule]
    assert [(p.file, p.row, p.value) for p in found] == [(path.name, 3, "b'\\xfc'")]


@pytest.mark.parametrize("name", ["persons", "hes_ae"])
def test_rows_of_another_length(folder, name) -> None:
    path = folder / f"{name}.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[3] += ",one more"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (problem,) = refused(folder)
    assert (problem.file, problem.row) == (path.name, 4)
    assert "cannot be split into the columns" in problem.rule


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
        assert "damaged or cut off" in problem.rule
    # the end is whole, the middle is not
    path.write_bytes(content[:4] + bytes(len(content) // 3) + content[4 + len(content) // 3 :])
    (problem,) = refused(folder)
    assert problem.file.startswith(name)
    assert "damaged or cut off" in problem.rule


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
    assert all("must not have the type INTEGER" in p.rule for p in problems)


def test_parts_of_other_shapes(folder) -> None:
    import duckdb

    extracts.to_parquet(folder, "hes_ae", parts=2)
    duckdb.execute(f"COPY (SELECT 'x' AS study_id) TO '{folder}/hes_ae/part-2.parquet'")
    (problem,) = refused(folder)
    assert problem.file == "hes_ae/part-2.parquet"
    assert "the same columns" in problem.rule


SETTINGS = [
    ({"last_month": "2012-01"}, "last_month", "must not be before first_month"),
    ({"extract_date": "2016-06-29"}, "extract_date", "must not be before the last day"),
    ({"extract_date": "2016-02-31"}, "extract_date", "must be a date"),
    ({"disclosure": "hes"}, "disclosure", "must be one of none, hes_2018, ons_srs"),
    ({"first_month": "2013"}, "first_month", "must be a month"),
    ({"first_month": "0001-01"}, "first_month", "must be a month"),
    ({"last_month": "9999-12"}, "last_month", "must be a month"),
    ({"synthetic": "yes"}, "synthetic", "must be true or false"),
    ({"name": " "}, "name", "must be a text"),
    ({"extract_dat": "2016-08-15"}, "extract_dat", "the key is not known"),
]


@pytest.mark.parametrize(("change", "column", "rule"), SETTINGS)
def test_settings(folder, change, column, rule) -> None:
    extracts.write(folder, {}, change)
    (problem,) = refused(folder)
    assert (problem.file, problem.column) == ("extracts.toml", column)
    assert problem.rule.startswith(rule)


def test_settings_that_are_no_toml(folder) -> None:
    (folder / "extracts.toml").write_text("name = Small\n", encoding="utf-8")
    (problem,) = refused(folder)
    assert "not valid TOML" in problem.rule
    (folder / "extracts.toml").unlink()
    (problem,) = refused(folder)
    assert (problem.file, problem.rule) == ("extracts.toml", "the file is missing")


SOURCE_CELLS = [
    ("source", "hes", "must be one of hes_ae"),
    ("source", "mhsds", "repeats another row"),
    ("first_month", "2013-13", "must be a month"),
    ("last_month", "2011-01", "must not be before first_month"),
    ("seam", "2014-01;spring", "must be a month"),
    ("reporting_delay_months", "0", "must be a number above 0"),
    ("reporting_delay_months", "-2", "must be a number above 0"),
    ("reporting_delay_months", "nan", "must be a number above 0"),
    ("reporting_delay_months", "1e999", "must be a number above 0"),
    ("reporting_delay_months", "900", "leaves no month"),
    ("first_month", "2016-07", "must not be before"),
]


@pytest.mark.parametrize(("column", "value", "rule"), SOURCE_CELLS)
def test_sources(folder, column, value, rule) -> None:
    spoil(folder, "sources", column, value)
    told = [p for p in refused(folder) if p.file == "sources.csv" and p.rule.startswith(rule)]
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
    told = [problem for problem in refused(folder) if "cannot be read" in problem.rule]
    assert [problem.file.rstrip("/") for problem in told] == [name]


def test_evidence_that_is_no_folder_is_not_no_evidence(folder) -> None:
    (folder / "evidnce").mkdir()
    (problem,) = refused(folder)
    assert (problem.file, "is it 'evidence'?" in problem.rule) == ("evidnce", True)
    (folder / "evidnce").rmdir()
    (folder / "evidence").write_text("x", encoding="utf-8")
    (problem,) = refused(folder)
    assert problem.rule == "cannot be read: it is a file, not a directory"
    (folder / "evidence").unlink()
    (folder / "evidence").mkdir()
    os.mkfifo(folder / "evidence" / "national.csv")
    (problem,) = refused(folder)
    assert problem.file == "evidence/national.csv"
    assert "a pipe" in problem.rule


@pytest.mark.parametrize("name", ["=1+1", "@x", " -cmd", "+x"])
def test_an_intervention_that_would_run_is_told_in_its_row(folder, name) -> None:
    line = spoil(folder, "referrals", "intervention", name)
    (problem,) = refused(folder)
    assert (problem.file, problem.row, problem.column) == ("referrals.csv", line, "intervention")
    assert "as a formula" in problem.rule
