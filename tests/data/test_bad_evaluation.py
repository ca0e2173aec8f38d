"""What an analyst gets wrong: each mistake is told once, with file, row, column, value and rule."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lndbayes.base.errors import DataError, Problem
from lndbayes.data.describe import describe
from lndbayes.data.evaluation import read_evaluation
from lndbayes.data.problems import PER_FILE, PER_KIND, data_error, hint

OUT = "outcomes.csv"
MIX = "mix.csv"
REF = "referrals.csv"
RETRO = "evidence/retrospective.csv"
NATIONAL = "evidence/national.csv"
PROXY = "evidence/proxy.csv"
HISTORY = "evidence/history.csv"
ELICITED = "evidence/elicited.csv"

CELL = {"outcome": "custody", "site": "A02", "month": "2014-02"}
WITHHELD = {"outcome": "custody", "site": "A03", "month": "2014-03"}
ROUNDED = {"outcome": "custody", "site": "A03", "month": "2014-04"}
MISSING = {"outcome": "custody", "site": "A03", "month": "2014-05"}
MEAN = {"outcome": "wellbeing", "month": "2014-02", "stratum": "f"}
BAND = {"outcome": "sentence", "month": "2014-02", "category": "2 over 3 months"}
FIRST = {"site": "A01"}

#: One changed cell: name, file, which row, column, written value, rule.
CELLS = [
    ("wave is a word", "sites.csv", FIRST, "wave", "one", "whole number, at least 1"),
    ("wave below one", "sites.csv", FIRST, "wave", "0", "whole number, at least 1"),
    ("wave between two", "sites.csv", FIRST, "wave", "1.5", "whole number, at least 1"),
    ("wave left out", "sites.csv", FIRST, "wave", "", "must not be empty"),
    ("go-live as a date", "sites.csv", {"site": "A03"}, "go_live", "2014-07-01", "YYYY-MM"),
    ("nobody lives there", "sites.csv", FIRST, "population", "0", "above 0"),
    ("population with a comma", "sites.csv", FIRST, "population", "412,000", "finite number"),
    ("predecessor in percent", "sites.csv", FIRST, "predecessor", "25", "at least 0 and at most 1"),
    ("month in words", OUT, CELL, "month", "Feb-14", "written YYYY-MM, such as 2014-04"),
    ("thirteenth month", OUT, CELL, "month", "2014-13", "written YYYY-MM"),
    ("month before the first", OUT, CELL, "month", "2013-12", "2014-01 to 2014-12"),
    ("month after the last", OUT, CELL, "month", "2015-01", "2014-01 to 2014-12"),
    ("site mistyped", OUT, CELL, "site", "a02", "a site of sites.csv (did you mean 'A02'?)"),
    ("outcome with a slash", OUT, CELL, "outcome", "cus/tody", "letters, digits, _ and -"),
    ("outcome too long", OUT, CELL, "outcome", "c" * 101, "at most 100 letters"),
    ("outcome by case only", OUT, CELL, "outcome", "CUSTODY", "by case only ('custody')"),
    ("source left out", OUT, CELL, "source", "", "must not be empty"),
    (
        "exposure negative",
        OUT,
        CELL,
        "exposure",
        "-3",
        "finite number written like 1250.5, at least 0",
    ),
    ("exposure infinite", OUT, CELL, "exposure", "inf", "finite number"),
    ("exposure not a number", OUT, CELL, "exposure", "NaN", "finite number"),
    ("exposure too large", OUT, CELL, "exposure", "1e999", "finite number"),
    ("exposure beyond all people", OUT, CELL, "exposure", "1e300", "between 1e-09 and 1e+10"),
    ("exposure next to nothing", OUT, CELL, "exposure", "1e-300", "between 1e-09 and 1e+10"),
    ("count beyond all people", OUT, CELL, "count", "9007199254740991", "and 1e+10"),
    ("population of nobody", "sites.csv", FIRST, "population", "1e-300", "between 1e-09"),
    ("wave without end", "sites.csv", FIRST, "wave", "1e300", "and 1e+10"),
    ("go-live in year 1", "sites.csv", FIRST, "go_live", "0001-01", "years 1900 to 2199"),
    ("mean beyond measure", OUT, MEAN, "mean", "-1e300", "between 1e-09 and 1e+10"),
    ("spread next to nothing", OUT, MEAN, "sd", "1e-300", "between 1e-09 and 1e+10"),
    ("contacts without end", MIX, {"site": "A02"}, "contacts", "1e15", "and 1e+10"),
    ("referrals without end", REF, FIRST, "referrals", "1e15", "and 1e+10"),
    ("rate beyond measure", NATIONAL, {}, "rate", "1e300", "between 1e-09 and 1e+10"),
    ("rate known too well", NATIONAL, {}, "se", "1e-8", "at least 1e-05 of the rate"),
    ("span without end", NATIONAL, {}, "months", "1e300", "at most 1200"),
    ("history without end", HISTORY, {}, "months_from_referral", "-1e9", "at least -1200"),
    ("exposure left out", OUT, CELL, "exposure", "", "must be given for a count"),
    ("events to nobody", OUT, CELL, "exposure", "0", "above 0 where events are counted"),
    ("count with a fraction", OUT, CELL, "count", "4.5", "whole number, at least 0"),
    ("count negative", OUT, CELL, "count", "-1", "whole number, at least 0"),
    ("count starred", OUT, CELL, "count", "*", "whole number, at least 0"),
    ("count not available", OUT, CELL, "count", "N/A", "whole number, at least 0"),
    ("count in other digits", OUT, CELL, "count", "\u0664", "whole number, at least 0"),
    ("count left out", OUT, CELL, "count", "", "must be given, or else n, mean and sd"),
    ("status unknown", OUT, CELL, "status", "ok", "observed, suppressed, rounded or missing"),
    ("status capital", OUT, CELL, "status", "Observed", "(did you mean 'observed'?)"),
    ("status left out", OUT, CELL, "status", "", "must not be empty"),
    ("bound beside an exact count", OUT, CELL, "count_low", "1", "empty where status is observed"),
    ("withheld without low", OUT, WITHHELD, "count_low", "", "given where status is suppressed"),
    ("withheld without high", OUT, WITHHELD, "count_high", "", "given where status is suppressed"),
    ("bounds the wrong way", OUT, WITHHELD, "count_high", "0", "must not be below count_low"),
    ("withheld with a mean", OUT, WITHHELD, "mean", "3", "a withheld mean is missing"),
    ("rounded outside its bounds", OUT, ROUNDED, "count", "15", "within count_low and count_high"),
    ("missing with a count", OUT, MISSING, "count", "0", "empty where status is missing"),
    ("missing with a bound", OUT, MISSING, "count_high", "7", "empty where status is missing"),
    ("no measurements", OUT, MEAN, "n", "0", "whole number, at least 1"),
    ("half a measurement", OUT, MEAN, "n", "20.5", "whole number, at least 1"),
    ("sd negative", OUT, MEAN, "sd", "-0.1", "at least 0"),
    ("sd left out", OUT, MEAN, "sd", "", "with the others of n, mean and sd"),
    ("mean and count at once", OUT, MEAN, "count", "4", "a count or a mean, not both"),
    ("a total beside strata", OUT, MEAN, "stratum", "", "a total beside its parts counts twice"),
    ("a total beside bands", OUT, BAND, "category", "", "a total beside its parts counts twice"),
    ("contacts negative", MIX, FIRST | {"site": "A02"}, "contacts", "-4", "at least 0"),
    ("contacts in percent", MIX, {"site": "A02"}, "contacts", "12.5", "whole number"),
    ("intervention left out", MIX, {"site": "A02"}, "intervention", "", "must not be empty"),
    ("mix of an unknown site", MIX, {"site": "A05"}, "site", "B05", "must be a site of sites.csv"),
    ("referrals negative", REF, FIRST, "referrals", "-12", "whole number, at least 0"),
    ("referrals with a fraction", REF, FIRST, "referrals", "12.25", "whole number, at least 0"),
    ("coverage in percent", RETRO, {}, "coverage_mean", "60", "above 0 and at most 1"),
    ("coverage of nothing", RETRO, {}, "coverage_mean", "0", "above 0 and at most 1"),
    ("coverage sd negative", RETRO, {}, "coverage_sd", "-0.1", "at least 0"),
    ("coverage sd impossible", RETRO, {}, "coverage_sd", "0.5", "the most a share can vary"),
    ("records outside the months", RETRO, {}, "month", "2013-11", "2014-01 to 2014-12"),
    ("records of nothing", RETRO, {}, "count", "", "must be given, or else n, mean and sd"),
    ("rate without error", NATIONAL, {}, "se", "0", "above 0"),
    ("rate of nothing", NATIONAL, {}, "rate", "0", "above 0"),
    ("span of no months", NATIONAL, {}, "months", "0", "whole number, at least 1"),
    ("spans overlap", NATIONAL, {"month": "2014-01"}, "month", "2013-12", "it counts twice"),
    ("outcome of evidence", NATIONAL, {}, "outcome", "custdy", "(did you mean 'custody'?)"),
    ("records after go-live", RETRO, {}, "month", "2014-08", "before the site's go-live"),
    ("proxy after go-live", PROXY, {}, "month", "2014-07", "before the site's go-live"),
    ("proxy without exposure", PROXY, {}, "exposure", "", "must not be empty"),
    ("history at referral", HISTORY, {}, "months_from_referral", "0", "below 0"),
    ("history after go-live", HISTORY, {}, "calendar_month", "2014-09", "(go-live 2014-07)"),
    ("history of nobody", HISTORY, {}, "persons", "0", "at least 1"),
    ("history of a continuous outcome", HISTORY, {}, "outcome", "wellbeing", "counts only"),
    ("elicited after go-live", ELICITED, {}, "quantity", "effect", "must be pre_go_live_rate"),
    ("quantiles out of order", ELICITED, {}, "q50", "0.25", "must be above q50"),
    ("quantiles equal", ELICITED, {}, "q05", "0.12", "must be above q05"),
    ("nobody judged", ELICITED, {}, "who", "", "must not be empty"),
]

#: Mistakes told at another cell of the row than the one that was changed.
TOLD_AT = {
    "history of a continuous outcome": ("count", "7"),
    "quantiles out of order": ("q95", "0.2"),
    "quantiles equal": ("q50", "0.12"),
}


@pytest.mark.parametrize("case", CELLS, ids=[case[0] for case in CELLS])
def test_one_wrong_cell_is_told_once_where_it_is(tiny, case):
    name, file, where, column, value, rule = case
    tiny.keep(file)
    line = tiny.set(file, where, **{column: value})
    tiny.write()
    (problem,) = tiny.problems()
    told_column, told_value = TOLD_AT.get(name, (column, value))
    assert (problem.file, problem.row) == (file, line)
    assert (problem.column, problem.value) == (told_column, told_value)
    assert rule in problem.rule


#: One changed or added key: name, text before, text after, line, key, value, rule.
FACTS = [
    ("key mistyped", "period =", "perod =", 2, "perod", "month", "(did you mean 'period'?)"),
    ("key unknown", "notes =", "author =", 7, "author", "made for tests", "not known"),
    ("key missing", 'name = "Tiny evaluation"\n', "", None, "name", None, "the key is missing"),
    ("month as a date", '"2014-01"', '"2014-01-01"', 3, "first_month", "2014-01-01", "YYYY-MM"),
    ("month without quotes", '"2014-01"', "2014-01-01", 3, "first_month", "2014-01-01", "quotes"),
    ("months swapped", '"2014-12"', '"2013-12"', 4, "last_month", "2013-12", "before first_month"),
    ("a far year", '"2014-12"', '"2914-12"', 4, "last_month", "2914-12", "within 100 years"),
    ("period unknown", '"month"', '"week"', 2, "period", "week", "month, quarter or year"),
    ("period plural", '"month"', '"months"', 2, "period", "months", "(did you mean 'month'?)"),
    ("off the grid", '"month"', '"quarter"', 4, "last_month", "2014-12", "a multiple of 3 months"),
    ("synthetic as text", "= true", '= "true"', 5, "synthetic", "true", "without quotes"),
    ("disclosure as text", '"none"', '"HES 2018"', 6, "disclosure", "HES 2018", "'hes_2018'?"),
    ("disclosure misspelt", '"none"', '"hes_2081"', 6, "disclosure", "hes_2081", "'hes_2018'?"),
    ("disclosure unknown", '"none"', '"zz"', 6, "disclosure", "zz", "none, hes_2018, ons_srs"),
    ("name empty", '"Tiny evaluation"', '" "', 1, "name", " ", "must be a text that is not empty"),
    (
        "no quotes",
        '"none"',
        "none",
        6,
        None,
        None,
        "is not valid TOML, in which texts stand in quotes",
    ),
]


@pytest.mark.parametrize("case", FACTS, ids=[case[0] for case in FACTS])
def test_a_wrong_fact_is_told_at_its_key(tiny, case):
    _, before, after, row, key, value, rule = case
    tiny.keep()
    assert tiny.toml.count(before) == 1
    tiny.toml = tiny.toml.replace(before, after)
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.column) == ("evaluation.toml", row, key)
    assert problem.value == value
    assert rule in problem.rule


#: One added row: name, file, like which row, changed values, key columns, key, first row's line.
REPEATED = [
    ("site", "sites.csv", FIRST, {"label": "Other"}, "site", "A01"),
    ("outcome", OUT, CELL, {"count": "1"}, "outcome, site, month, stratum, category", None),
    ("source", OUT, CELL, {"source": "x"}, "outcome, site, month, stratum, category", None),
    ("mix", MIX, FIRST, {}, "site, month, intervention", "A01, 2014-07, assessment"),
    ("referrals", REF, FIRST, {"referrals": "1"}, "site, month", "A01, 2014-01"),
    ("records", RETRO, {}, {}, "outcome, site, month", "custody, A03, 2014-01"),
    ("series", NATIONAL, {}, {"rate": "0.3"}, "outcome, month, months, source", None),
    ("proxy", PROXY, {}, {}, "outcome, site, month, source", "custody, A03, 2014-01, courts"),
    ("history", HISTORY, {}, {}, "outcome, site, months_from_referral, calendar_month", None),
    ("judgement", ELICITED, {"site": "A01"}, {}, "outcome, site, quantity, who", None),
]


@pytest.mark.parametrize("case", REPEATED, ids=[case[0] for case in REPEATED])
def test_a_row_that_repeats_another_names_both(tiny, case):
    _, file, where, values, columns, key = case
    tiny.keep(file)
    first = tiny.line(file, **where)
    line = tiny.add(file, first, **values)
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.column) == (file, line, columns)
    assert "repeats another row: there must be one row per" in problem.rule
    assert f"(first at row {first})" in problem.rule
    assert key is None or problem.value == key


def test_whole_period_and_monthly_mix_rows_do_not_go_together(tiny):
    line = tiny.add(MIX, tiny.line(MIX, site="A02"), month="")
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.column, problem.value) == (MIX, line, "month", "")
    assert "the whole period counts twice" in problem.rule


def test_a_mix_of_no_contacts_is_no_mix(tiny):
    lines = [tiny.set(MIX, line, contacts="0") for line in range(2, 6)]
    assert {tiny.tables[MIX][line - 2]["site"] for line in lines} == {"A01"}
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.row, problem.column, problem.value) == (2, "contacts", "0")
    assert "must not be 0 in all rows of a site" in problem.rule


def test_bands_share_one_exposure(tiny):
    line = tiny.set(OUT, BAND, exposure="51")
    tiny.write()
    problems = tiny.problems()
    assert [problem.row for problem in problems] == [line - 1, line]
    assert [problem.value for problem in problems] == ["50", "51"]
    assert all(problem.column == "exposure" for problem in problems)
    assert all("bands share one exposure" in problem.rule for problem in problems)


def test_a_band_without_a_row_is_not_zero(tiny):
    line = tiny.line(OUT, **BAND)
    del tiny.tables[OUT][line - 2]
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.row, problem.column) == (line - 1, "category")
    assert problem.value == "A02, 2014-02"
    assert "write 0 or status missing (without a row: 2 over 3 months)" in problem.rule


def test_an_outcome_is_counted_or_continuous_not_both(tiny):
    where = {"outcome": "wellbeing", "month": "2014-03", "stratum": "m"}
    values = {"n": "", "mean": "", "sd": "", "count": "3", "exposure": "20"}
    counted = tiny.set(OUT, where, **values)
    values = {"n": "9", "mean": "2", "sd": "1", "count": "", "exposure": ""}
    continuous = tiny.set(OUT, CELL, **values)
    tiny.write()
    first, second = tiny.problems()
    assert (first.row, first.column, first.value) == (continuous, "mean", "2")
    assert "so it is counted" in first.rule
    assert (second.row, second.column, second.value) == (counted, "count", "3")
    assert "so it is continuous" in second.rule


def test_bands_are_not_for_means(tiny):
    lines = [
        tiny.set(OUT, MEAN | {"month": month, "stratum": sex}, category="1 low")
        for month in ("2014-01", "2014-02", "2014-03")
        for sex in ("f", "m")
    ]
    tiny.write()
    problems = tiny.problems()
    assert [problem.row for problem in problems] == lines
    assert {problem.column for problem in problems} == {"category"}
    assert all("bands are of counts" in problem.rule for problem in problems)


@pytest.mark.parametrize(
    ("file", "where", "column"),
    [
        (OUT, {"outcome": "attendances"}, "month"),
        (REF, {}, "month"),
        (MIX, {}, "month"),
        ("sites.csv", {"site": "A04"}, "go_live"),
        (PROXY, {}, "month"),
        (NATIONAL, {"month": "2014-04"}, "month"),
    ],
)
def test_quarters_begin_on_the_grid(tiny, file, where, column):
    tiny.toml = tiny.toml.replace('"month"', '"quarter"').replace('"2014-12"', '"2014-10"')
    for name, rows in tiny.tables.items():
        months = {"month", "calendar_month", "go_live"}
        for row in rows:
            if name == "sites.csv" and row["go_live"] == "2014-12":
                row["go_live"] = "2015-01"
        if name != "sites.csv":
            keep = (None, "", "2013-10", "2014-01", "2014-04", "2014-07", "2014-10")
            rows[:] = [row for row in rows if all(row.get(month) in keep for month in months)]
    read_evaluation(tiny.write())
    line = tiny.set(file, where, **{column: "2014-06"})
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.column) == (file, line, column)
    assert problem.value == "2014-06"
    assert "first month of a quarter: a multiple of 3 months from first_month" in problem.rule


def test_a_national_span_is_whole_periods(tiny):
    tiny.toml = tiny.toml.replace('"month"', '"year"').replace('"2014-12"', '"2014-01"')
    for file in list(tiny.tables):
        if file not in ("sites.csv", OUT):
            del tiny.tables[file]
    for row in tiny.tables["sites.csv"]:
        row["go_live"] = "2014-01" if row["go_live"] else ""
    tiny.tables[OUT] = [row for row in tiny.tables[OUT] if row["month"] == "2014-01"]
    row = {"outcome": "custody", "month": "2013-01", "months": "3", "rate": "0.1", "se": "0.01"}
    tiny.tables[NATIONAL] = [row | {"source": "series"}]
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.column, problem.value) == (
        NATIONAL,
        2,
        "months",
        "3",
    )
    assert "a multiple of 12 months" in problem.rule


def latin(before: str, after: str):
    """Change a text and encode it as a spreadsheet of an older system does."""
    return lambda text: text.replace(before, after).encode("latin-1")


#: One changed file: name, file, change of its text to bytes, row, column, value, rule.
FILES = [
    ("empty", OUT, lambda _: b"", 1, None, None, "the file is empty"),
    ("blank lines", OUT, lambda _: b"\n\n,,\n", 1, None, None, "the file is empty"),
    ("header only", OUT, lambda t: t.split("\n")[0].encode(), 1, None, None, "has no rows"),
    ("semicolons", REF, lambda t: t.replace(",", ";").encode(), 1, None,
     "site;month;referrals", "separated by commas"),
    ("tabs", REF, lambda t: t.replace(",", "\t").encode(), 1, None,
     "site\tmonth\treferrals", "separated by commas"),
    ("column missing", REF, lambda t: t.replace("referrals", "n", 1).encode(), 1, "referrals",
     None, "the column is missing"),
    ("column mistyped", REF, lambda t: t.replace("referrals", "Referals", 1).encode(), 1,
     "referrals", None, "(is it 'Referals'?)"),
    ("column twice", REF, lambda t: t.replace("\n", ",x\n").replace("s,x", "s,site", 1).encode(), 1,
     "site", "site", "two columns have the same name"),
    ("column unnamed", REF, lambda t: t.replace("\n", ",\n").encode(), 1, "4", "",
     "a column has no name"),
    ("no measure", OUT, lambda t: t.replace("count,", "events,").replace(",mean,", ",mn,")
     .replace(",n,", ",k,").replace(",sd,", ",s,").encode(), 1, "count", None, "is missing"),
    ("row too long", REF, lambda t: t.replace("2014-03,12", "2014-03,1,200", 1).encode(), 4, None,
     "A01,2014-03,1,200", "must have 3 fields like the header, and has 4"),
    ("row too short", REF, lambda t: t.replace("2014-03,12", "2014-03", 1).encode(), 4, None,
     "A01,2014-03", "must have 3 fields like the header, and has 2"),
    ("Latin-1", "sites.csv", latin("Area A02", "Ar\u00e9a"), 3, None, "b'\\xe9'",
     "must be UTF-8 text"),
    ("UTF-16", REF, lambda t: t.encode("utf-16"), 1, None, "b'\\xff'", "must be UTF-8 text"),
    ("NUL", REF, lambda t: t.replace("12\n", "\x00\n", 1).encode(), 2, None, None, "NUL character"),
    ("open quote", REF, lambda t: t.replace("A01,2014-02", '"A01,2014-02').encode(), 3, None, None,
     "must be comma-separated text"),
    ("toml in Latin-1", "evaluation.toml", latin("Tiny", "T\u00edny"), 1, None, "b'\\xed'",
     "must be UTF-8 text"),
]  # fmt: skip


@pytest.mark.parametrize("case", FILES, ids=[case[0] for case in FILES])
def test_a_file_that_is_not_the_table_it_should_be(tiny, case):
    _, file, change, row, column, value, rule = case
    tiny.keep(file)
    path = tiny.write() / file
    path.write_bytes(change(path.read_text(encoding="utf-8")))
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.column, problem.value) == (file, row, column, value)
    assert rule in problem.rule


@pytest.mark.parametrize("file", ["evaluation.toml", "sites.csv", OUT])
def test_a_needed_file_is_missing(tiny, file):
    (tiny.write() / file).unlink()
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.rule) == (file, None, "the file is missing")


@pytest.mark.parametrize(
    ("file", "wrong"),
    [
        (OUT, "outcome.csv"),
        ("sites.csv", "Sites.csv"),
        (NATIONAL, "national.csv"),
        (RETRO, "evidence/retrospectve.csv"),
        (MIX, "mix.xlsx"),
    ],
)
def test_a_file_under_another_name_is_not_left_out_silently(tiny, file, wrong):
    path = tiny.write()
    (path / file).rename(path / wrong)
    problem = tiny.problems()[-1]
    assert problem.file == wrong
    assert f"would be left out (is it {file}?)" in problem.rule


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="there is no such directory"):
        read_evaluation(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file, not a directory"):
        read_evaluation(tmp_path / "file")


def test_a_file_that_may_not_be_read(tiny, monkeypatch):
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "mix.csv":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    tiny.write()
    monkeypatch.setattr(Path, "read_bytes", refuse)
    (problem,) = tiny.problems()
    assert (problem.file, problem.rule) == (MIX, "cannot be read: Permission denied")


def test_lines_are_counted_as_an_editor_does(tiny):
    """Blank lines, rows of empty cells and a line break inside quotes all count."""
    tiny.text(
        "sites.csv",
        lambda text: (
            text.replace("Area A01", '"Area\nA01"')
            .replace("\nA03", "\n\n,,,,,,\nA03")
            .replace("A04,Area A04,South,2", "A04,Area A04,South,two")
        ),
    )
    (problem,) = tiny.problems()
    lines = (tiny.path / "sites.csv").read_text().splitlines()
    assert problem.row == 8
    assert lines[problem.row - 1].startswith("A04,")


def test_several_problems_in_several_files_come_in_one_error(tiny):
    tiny.toml = tiny.toml.replace("synthetic = true\n", "")
    expected = [
        ("evaluation.toml", None, "synthetic"),
        ("sites.csv", tiny.set("sites.csv", {"site": "A02"}, wave="x", population="-1"), "wave"),
        ("sites.csv", 3, "population"),
        (OUT, tiny.set(OUT, CELL, site="Z9", count="-1"), "count"),
        (OUT, tiny.line(OUT, site="Z9"), "site"),
        (HISTORY, tiny.set(HISTORY, {}, persons="none"), "persons"),
    ]
    tiny.write()
    problems = tiny.problems()
    assert [(p.file, p.row, p.column) for p in problems] == expected
    with pytest.raises(DataError) as caught:
        read_evaluation(tiny.path)
    text = str(caught.value)
    assert text.startswith("6 problems in the evaluation data\n")
    assert "outcomes.csv, row 15, column count, value '-1': must be a whole number" in text
    assert len(text.splitlines()) == 7


@pytest.mark.parametrize(
    ("before", "after", "row", "column"),
    [("wave", "Welle", 1, "wave"), ("A02,", ",", 3, "site"), ("North,", "North;", 2, None)],
)
def test_an_unreadable_site_does_not_make_its_rows_wrong(tiny, before, after, row, column):
    tiny.text("sites.csv", lambda text: text.replace(before, after, 1))
    problems = tiny.problems()
    assert [(p.file, p.row, p.column) for p in problems] == [("sites.csv", row, column)]


def test_a_wrong_period_does_not_make_every_month_wrong(tiny):
    tiny.toml = tiny.toml.replace("2014-12", "2014")
    tiny.write()
    assert [(p.file, p.column) for p in tiny.problems()] == [("evaluation.toml", "last_month")]


def test_all_problems_are_kept_and_a_readable_number_is_printed(tiny):
    for row in tiny.tables[OUT]:
        row["site"] = "elsewhere"
    tiny.set(OUT, 60, exposure="-1")
    tiny.write()
    problems = tiny.problems()
    unknown = [p for p in problems if p.column == "site"]
    assert len(unknown) == len(tiny.tables[OUT])
    with pytest.raises(DataError) as caught:
        read_evaluation(tiny.path)
    lines = str(caught.value).splitlines()
    shown = [line for line in lines if "column site, value 'elsewhere'" in line]
    assert len(shown) == PER_KIND
    assert (
        f"outcomes.csv, column site: and {len(unknown) - PER_KIND} more of the same kind" in lines
    )
    assert any("row 60, column exposure, value '-1'" in line for line in lines)


JUNK = ["", "x", "0", "-1", "1", "0.5", "1e300", "inf", '"', "a,b", "\n", "\u0664", "A03", "m"]
JUNK += ["2014-05", "2013-01", "custody", "wellbeing", "missing", "suppressed", "rounded"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_wrong_it_is_a_data_error_and_nothing_is_written(tiny, seed):
    """Cells, rows and columns spoiled at random: told as problems, never as another exception."""
    choice = random.Random(seed).choice
    for _ in range(choice([1, 2, 5, 40, 400])):
        file = choice(list(tiny.tables))
        rows = tiny.tables[file]
        spoil = choice(["cell"] * 6 + ["row", "less", "column"])
        if spoil == "cell":
            row = choice(rows)
            row[choice(list(row))] = choice(JUNK)
        elif spoil == "row":
            rows.append(dict(choice(rows)))
        elif spoil == "less" and len(rows) > 1:
            rows.remove(choice(rows))
        elif spoil == "column" and len(rows[0]) > 1:
            name = choice(list(rows[0]))
            for row in rows:
                row.pop(name, None)
    path = tiny.write()
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    try:
        assert describe(read_evaluation(path))
    except DataError as error:
        assert error.problems
        assert all(problem.rule for problem in error.problems)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_the_printed_number_is_capped_per_file():
    problems = [
        Problem("a.csv", f"rule {kind}", row, "x", "1") for kind in range(9) for row in range(8)
    ]
    problems.append(Problem("b.csv", "rule", 2))
    error = data_error(problems)
    lines = str(error).splitlines()
    assert len(error.problems) == 73
    assert sum(line.startswith("a.csv, row") for line in lines) == PER_FILE
    assert "a.csv, column x: and 6 more of the same kind" in lines
    assert "a.csv: and 16 more problems of other kinds" in lines
    assert lines[-1] == "b.csv, row 2: rule"


def test_coverage_is_the_same_in_all_rows_of_a_cell(tiny):
    line = tiny.set(OUT, BAND, coverage="0.9")  # the other band of the cell is silent: 1
    tiny.write()
    problems = tiny.problems()
    assert [problem.row for problem in problems] == [line - 1, line]
    assert [problem.value for problem in problems] == ["", "0.9"]
    assert {problem.column for problem in problems} == {"coverage"}
    assert all("must be the same in every row" in problem.rule for problem in problems)


@pytest.mark.parametrize("value", ["0", "1.01", "-0.2", "most"])
def test_coverage_is_a_share(tiny, value):
    line = tiny.set(OUT, CELL, coverage=value)
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.row, problem.column, problem.value) == (line, "coverage", value)
    assert "above 0 and at most 1" in problem.rule


def test_coverage_is_not_for_means(tiny):
    lines = [
        tiny.set(OUT, MEAN | {"month": "2014-02", "stratum": sex}, coverage="0.9") for sex in "fm"
    ]
    tiny.write()
    problems = tiny.problems()
    assert [(problem.row, problem.column) for problem in problems] == [
        (line, "coverage") for line in lines
    ]
    assert all("share of counted events" in problem.rule for problem in problems)


#: What a label is written as beside `A02`, and what is said of it.
ALIKE = [
    ("A02\u200b", "U+200B"),  # a space of no width
    ("A\u00a002", "U+00A0"),  # that does not break
    ("A0\u00ad2", "U+00AD"),  # a hyphen that is not shown
    ("\u202eA02", "U+202E"),  # right to left
    ("\uff2102", "look like"),  # in full width
    ("\u041002", "look like"),  # Cyrillic
    ("\u039102", "look like"),  # Greek
]


@pytest.mark.parametrize(("written", "said"), ALIKE, ids=[ascii(w) for w, _ in ALIKE])
def test_a_site_that_looks_like_another_is_refused(tiny, written, said):
    row = ",".join([written, "Area", "North", "1", "", "", ""])
    tiny.text("sites.csv", lambda text: f"{text}{row}\n")
    found = [problem for problem in tiny.problems() if problem.column == "site"]
    assert found
    assert {(problem.file, problem.row) for problem in found} == {("sites.csv", 8)}
    assert said in found[0].rule


def test_bands_and_interventions_that_look_alike_are_refused_and_labels_may_be_anything(tiny):
    first = {"site": "A02"}
    line = tiny.set(MIX, first, intervention="\u0430ssessment")
    band = tiny.set(OUT, BAND, category="2  over 3 months")
    tiny.set("sites.csv", FIRST, label="Area\u200bA01")
    tiny.write()
    found = {(p.file, p.row, p.column) for p in tiny.problems() if "look like" in p.rule}
    assert (OUT, band, "category") in found
    # the first of two is taken as it is, whichever was meant
    assert {f for f, _, column in found if column == "intervention"} == {MIX}
    assert line > 1
    assert {f for f, _, _ in found} == {OUT, MIX}


def test_a_judgement_is_not_surer_than_anybody(tiny):
    line = tiny.set(ELICITED, {}, q05="0.12", q50="0.1200001", q95="0.1200002")
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.column) == (ELICITED, line, "q95")
    assert "nobody is as sure" in problem.rule


def test_names_that_look_the_same_are_told_by_what_cannot_be_seen():
    told = hint("Caf\u00e9", ["Cafe\u0301"])
    assert "Cafe\\u0301" in told
    assert "Caf\\xe9" in told
    assert hint("Caff", ["Caf\u00e9"]) == " (did you mean 'Caf\u00e9'?)"
