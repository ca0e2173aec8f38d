"""What an analyst gets wrong: each mistake is told once, with file, row, column, value and rule."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from golden import differs
from lndbayes.base.errors import Code, DataError, Problem
from lndbayes.data.describe import describe
from lndbayes.data.evaluation import read_evaluation
from lndbayes.data.problems import PER_FILE, PER_KIND, data_error, hint

OUT = "outcomes.csv"
MIX = "mix.csv"
REF = "referrals.csv"
COV = "covariates.csv"
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

#: One changed cell: name, file, which row, column, written value, code.
CELLS = [
    ("wave is a word", "sites.csv", FIRST, "wave", "one", Code.NOT_A_NUMBER),
    ("wave below one", "sites.csv", FIRST, "wave", "0", Code.OUT_OF_RANGE),
    ("wave between two", "sites.csv", FIRST, "wave", "1.5", Code.NOT_WHOLE),
    ("wave left out", "sites.csv", FIRST, "wave", "", Code.MISSING_VALUE),
    ("go-live as a date", "sites.csv", {"site": "A03"}, "go_live", "2014-07-01", Code.BAD_MONTH),
    ("nobody lives there", "sites.csv", FIRST, "population", "0", Code.OUT_OF_RANGE),
    ("population with a comma", "sites.csv", FIRST, "population", "412,000", Code.NOT_A_NUMBER),
    ("predecessor in percent", "sites.csv", FIRST, "predecessor", "25", Code.OUT_OF_RANGE),
    ("month in words", OUT, CELL, "month", "Feb-14", Code.BAD_MONTH),
    ("thirteenth month", OUT, CELL, "month", "2014-13", Code.BAD_MONTH),
    ("month before the first", OUT, CELL, "month", "2013-12", Code.OUTSIDE_MONTHS),
    ("month after the last", OUT, CELL, "month", "2015-01", Code.OUTSIDE_MONTHS),
    ("site mistyped", OUT, CELL, "site", "a02", Code.UNKNOWN_SITE),
    ("outcome with a slash", OUT, CELL, "outcome", "cus/tody", Code.BAD_NAME),
    ("outcome too long", OUT, CELL, "outcome", "c" * 101, Code.BAD_NAME),
    ("outcome by case only", OUT, CELL, "outcome", "CUSTODY", Code.LOOKS_ALIKE),
    ("source left out", OUT, CELL, "source", "", Code.MISSING_VALUE),
    (
        "exposure negative",
        OUT,
        CELL,
        "exposure",
        "-3",
        Code.OUT_OF_RANGE,
    ),
    ("exposure infinite", OUT, CELL, "exposure", "inf", Code.NOT_A_NUMBER),
    ("exposure not a number", OUT, CELL, "exposure", "NaN", Code.NOT_A_NUMBER),
    ("exposure too large", OUT, CELL, "exposure", "1e999", Code.NOT_A_NUMBER),
    ("exposure beyond all people", OUT, CELL, "exposure", "1e300", Code.NO_SUCH_SIZE),
    ("exposure next to nothing", OUT, CELL, "exposure", "1e-300", Code.NO_SUCH_SIZE),
    ("count beyond all people", OUT, CELL, "count", "9007199254740991", Code.NO_SUCH_SIZE),
    ("population of nobody", "sites.csv", FIRST, "population", "1e-300", Code.NO_SUCH_SIZE),
    ("wave without end", "sites.csv", FIRST, "wave", "1e300", Code.NO_SUCH_SIZE),
    ("go-live in year 1", "sites.csv", FIRST, "go_live", "0001-01", Code.OUT_OF_RANGE),
    ("mean beyond measure", OUT, MEAN, "mean", "-1e300", Code.NO_SUCH_SIZE),
    ("spread next to nothing", OUT, MEAN, "sd", "1e-300", Code.NO_SUCH_SIZE),
    ("contacts without end", MIX, {"site": "A02"}, "contacts", "1e15", Code.NO_SUCH_SIZE),
    ("referrals without end", REF, FIRST, "referrals", "1e15", Code.NO_SUCH_SIZE),
    ("rate beyond measure", NATIONAL, {}, "rate", "1e300", Code.NO_SUCH_SIZE),
    ("rate known too well", NATIONAL, {}, "se", "1e-8", Code.OUT_OF_RANGE),
    ("span without end", NATIONAL, {}, "months", "1e300", Code.OUT_OF_RANGE),
    ("history without end", HISTORY, {}, "months_from_referral", "-1e9", Code.OUT_OF_RANGE),
    ("exposure left out", OUT, CELL, "exposure", "", Code.MISSING_VALUE),
    ("events to nobody", OUT, CELL, "exposure", "0", Code.TOO_MANY_EVENTS),
    ("count with a fraction", OUT, CELL, "count", "4.5", Code.NOT_WHOLE),
    ("count negative", OUT, CELL, "count", "-1", Code.OUT_OF_RANGE),
    ("count starred", OUT, CELL, "count", "*", Code.NOT_A_NUMBER),
    ("count not available", OUT, CELL, "count", "N/A", Code.NOT_A_NUMBER),
    ("count in other digits", OUT, CELL, "count", "\u0664", Code.NOT_A_NUMBER),
    ("count left out", OUT, CELL, "count", "", Code.MISSING_VALUE),
    ("status unknown", OUT, CELL, "status", "ok", Code.BAD_CHOICE),
    ("status capital", OUT, CELL, "status", "Observed", Code.BAD_CHOICE),
    ("status left out", OUT, CELL, "status", "", Code.MISSING_VALUE),
    ("bound beside an exact count", OUT, CELL, "count_low", "1", Code.NOT_EMPTY),
    ("withheld without low", OUT, WITHHELD, "count_low", "", Code.MISSING_VALUE),
    ("withheld without high", OUT, WITHHELD, "count_high", "", Code.MISSING_VALUE),
    ("bounds the wrong way", OUT, WITHHELD, "count_high", "0", Code.OUT_OF_ORDER),
    ("withheld with a mean", OUT, WITHHELD, "mean", "3", Code.NOT_EMPTY),
    ("rounded outside its bounds", OUT, ROUNDED, "count", "15", Code.OUT_OF_RANGE),
    ("missing with a count", OUT, MISSING, "count", "0", Code.NOT_EMPTY),
    ("missing with a bound", OUT, MISSING, "count_high", "7", Code.NOT_EMPTY),
    ("no measurements", OUT, MEAN, "n", "0", Code.OUT_OF_RANGE),
    ("half a measurement", OUT, MEAN, "n", "20.5", Code.NOT_WHOLE),
    ("sd negative", OUT, MEAN, "sd", "-0.1", Code.OUT_OF_RANGE),
    ("sd left out", OUT, MEAN, "sd", "", Code.MISSING_VALUE),
    ("mean and count at once", OUT, MEAN, "count", "4", Code.NOT_EMPTY),
    ("a total beside strata", OUT, MEAN, "stratum", "", Code.COUNTED_TWICE),
    ("a total beside bands", OUT, BAND, "category", "", Code.COUNTED_TWICE),
    ("contacts negative", MIX, FIRST | {"site": "A02"}, "contacts", "-4", Code.OUT_OF_RANGE),
    ("contacts in percent", MIX, {"site": "A02"}, "contacts", "12.5", Code.NOT_WHOLE),
    ("intervention left out", MIX, {"site": "A02"}, "intervention", "", Code.MISSING_VALUE),
    ("mix of an unknown site", MIX, {"site": "A05"}, "site", "B05", Code.UNKNOWN_SITE),
    ("referrals negative", REF, FIRST, "referrals", "-12", Code.OUT_OF_RANGE),
    ("referrals with a fraction", REF, FIRST, "referrals", "12.25", Code.NOT_WHOLE),
    ("covariate of an unknown site", COV, FIRST, "site", "A1", Code.UNKNOWN_SITE),
    ("covariate after the last month", COV, FIRST, "month", "2015-01", Code.OUTSIDE_MONTHS),
    ("covariate without a name", COV, FIRST, "name", "", Code.MISSING_VALUE),
    ("covariate as a text", COV, FIRST, "value", "high", Code.NOT_A_NUMBER),
    ("covariate infinite", COV, FIRST, "value", "inf", Code.NOT_A_NUMBER),
    ("coverage in percent", RETRO, {}, "coverage_mean", "60", Code.OUT_OF_RANGE),
    ("coverage of nothing", RETRO, {}, "coverage_mean", "0", Code.OUT_OF_RANGE),
    ("coverage sd negative", RETRO, {}, "coverage_sd", "-0.1", Code.OUT_OF_RANGE),
    ("coverage sd impossible", RETRO, {}, "coverage_sd", "0.5", Code.OUT_OF_RANGE),
    ("records outside the months", RETRO, {}, "month", "2013-11", Code.OUTSIDE_MONTHS),
    ("records of nothing", RETRO, {}, "count", "", Code.MISSING_VALUE),
    ("rate without error", NATIONAL, {}, "se", "0", Code.OUT_OF_RANGE),
    ("rate of nothing", NATIONAL, {}, "rate", "0", Code.OUT_OF_RANGE),
    ("span of no months", NATIONAL, {}, "months", "0", Code.OUT_OF_RANGE),
    ("spans overlap", NATIONAL, {"month": "2014-01"}, "month", "2013-12", Code.COUNTED_TWICE),
    ("outcome of evidence", NATIONAL, {}, "outcome", "custdy", Code.UNKNOWN_OUTCOME),
    ("records after go-live", RETRO, {}, "month", "2014-08", Code.AFTER_GO_LIVE),
    ("proxy after go-live", PROXY, {}, "month", "2014-07", Code.AFTER_GO_LIVE),
    ("proxy without exposure", PROXY, {}, "exposure", "", Code.MISSING_VALUE),
    ("history at referral", HISTORY, {}, "months_from_referral", "0", Code.OUT_OF_RANGE),
    ("history after go-live", HISTORY, {}, "calendar_month", "2014-09", Code.AFTER_GO_LIVE),
    ("history of nobody", HISTORY, {}, "persons", "0", Code.OUT_OF_RANGE),
    ("history of a continuous outcome", HISTORY, {}, "outcome", "wellbeing", Code.WRONG_KIND),
    ("elicited after go-live", ELICITED, {}, "quantity", "effect", Code.BAD_CHOICE),
    ("quantiles out of order", ELICITED, {}, "q50", "0.25", Code.OUT_OF_ORDER),
    ("quantiles equal", ELICITED, {}, "q05", "0.12", Code.OUT_OF_ORDER),
    ("nobody judged", ELICITED, {}, "who", "", Code.MISSING_VALUE),
]

#: What is suggested in place of a name that is not known.
SUGGESTED = {
    "site mistyped": "'A02'",
    "status capital": "'observed'",
    "outcome of evidence": "'custody'",
    "outcome by case only": "'custody'",
    "key mistyped": "'period'",
    "period plural": "'month'",
    "disclosure as text": "'hes_2018'",
    "disclosure misspelt": "'hes_2018'",
    "column mistyped": "'Referals'",
}

#: Mistakes told at another cell of the row than the one that was changed.
TOLD_AT = {
    "history of a continuous outcome": ("count", "7"),
    "quantiles out of order": ("q95", "0.2"),
    "quantiles equal": ("q50", "0.12"),
}


@pytest.mark.parametrize("case", CELLS, ids=[case[0] for case in CELLS])
def test_one_wrong_cell_is_told_once_where_it_is(tiny, case):
    name, file, where, column, value, code = case
    tiny.keep(file)
    line = tiny.set(file, where, **{column: value})
    tiny.write()
    (problem,) = tiny.problems()
    told_column, told_value = TOLD_AT.get(name, (column, value))
    assert (problem.file, problem.row) == (file, line)
    assert (problem.column, problem.value) == (told_column, told_value)
    assert problem.code is code
    assert SUGGESTED.get(name, "") in problem.rule


#: One changed or added key: name, text before, text after, line, key, value, code.
FACTS = [
    ("key mistyped", "period =", "perod =", 2, "perod", "month", Code.UNKNOWN_KEY),
    ("key unknown", "notes =", "author =", 7, "author", "made for tests", Code.UNKNOWN_KEY),
    ("key missing", 'name = "Tiny evaluation"\n', "", None, "name", None, Code.MISSING_KEY),
    (
        "month as a date",
        '"2014-01"',
        '"2014-01-01"',
        3,
        "first_month",
        "2014-01-01",
        Code.BAD_MONTH,
    ),
    (
        "month without quotes",
        '"2014-01"',
        "2014-01-01",
        3,
        "first_month",
        "2014-01-01",
        Code.WRONG_TYPE,
    ),
    ("months swapped", '"2014-12"', '"2013-12"', 4, "last_month", "2013-12", Code.OUT_OF_ORDER),
    ("a far year", '"2014-12"', '"2914-12"', 4, "last_month", "2914-12", Code.OUT_OF_RANGE),
    ("period unknown", '"month"', '"week"', 2, "period", "week", Code.BAD_CHOICE),
    ("period plural", '"month"', '"months"', 2, "period", "months", Code.BAD_CHOICE),
    ("off the grid", '"month"', '"quarter"', 4, "last_month", "2014-12", Code.OFF_GRID),
    ("synthetic as text", "= true", '= "true"', 5, "synthetic", "true", Code.WRONG_TYPE),
    ("disclosure as text", '"none"', '"HES 2018"', 6, "disclosure", "HES 2018", Code.BAD_CHOICE),
    ("disclosure misspelt", '"none"', '"hes_2081"', 6, "disclosure", "hes_2081", Code.BAD_CHOICE),
    ("disclosure unknown", '"none"', '"zz"', 6, "disclosure", "zz", Code.BAD_CHOICE),
    ("name empty", '"Tiny evaluation"', '" "', 1, "name", " ", Code.MISSING_VALUE),
    (
        "no quotes",
        '"none"',
        "none",
        6,
        None,
        None,
        Code.NOT_TOML,
    ),
]


@pytest.mark.parametrize("case", FACTS, ids=[case[0] for case in FACTS])
def test_a_wrong_fact_is_told_at_its_key(tiny, case):
    name, before, after, row, key, value, code = case
    tiny.keep()
    assert tiny.toml.count(before) == 1
    tiny.toml = tiny.toml.replace(before, after)
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.column) == ("evaluation.toml", row, key)
    assert problem.value == value
    assert problem.code is code
    assert SUGGESTED.get(name, "") in problem.rule


def test_what_is_said_of_each_mistake_is_as_kept(tiny, tmp_path):
    """The sentences, all in one file; every other test asks for the code and the place."""
    told, another = [], type(tiny)
    for at, (name, file, where, column, value, _) in enumerate(CELLS):
        tiny = another(tmp_path / str(at))
        tiny.keep(file)
        tiny.set(file, where, **{column: value})
        tiny.write()
        told += [f"{name}: {problem.code}: {problem}" for problem in tiny.problems()]
    for name, before, after, *_, code in FACTS:
        if code is Code.NOT_TOML:
            continue  # the parser's own words are in it
        tiny = another(tmp_path / name)
        tiny.keep()
        tiny.toml = tiny.toml.replace(before, after)
        tiny.write()
        told += [f"{name}: {problem.code}: {problem}" for problem in tiny.problems()]
    kept = Path(__file__).with_name("messages.txt")
    assert not (difference := differs(kept, "\n".join(told) + "\n")), difference


#: One added row: name, file, like which row, changed values, key columns, key, first row's line.
REPEATED = [
    ("site", "sites.csv", FIRST, {"label": "Other"}, "site", "A01"),
    ("outcome", OUT, CELL, {"count": "1"}, "outcome, site, month, stratum, category", None),
    ("source", OUT, CELL, {"source": "x"}, "outcome, site, month, stratum, category", None),
    ("mix", MIX, FIRST, {}, "site, month, intervention", "A01, 2014-07, assessment"),
    ("referrals", REF, FIRST, {"referrals": "1"}, "site, month", "A01, 2014-01"),
    ("covariate", COV, FIRST, {"value": "9"}, "site, month, name", "A01, 2014-01, unemployment"),
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
    assert problem.code is Code.REPEATED_ROW
    assert f"row {first})" in problem.rule
    assert key is None or problem.value == key


def test_whole_period_and_monthly_mix_rows_do_not_go_together(tiny):
    line = tiny.add(MIX, tiny.line(MIX, site="A02"), month="")
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.column, problem.value) == (MIX, line, "month", "")
    assert problem.code is Code.COUNTED_TWICE


def test_a_mix_of_no_contacts_is_no_mix(tiny):
    lines = [tiny.set(MIX, line, contacts="0") for line in range(2, 6)]
    assert {tiny.tables[MIX][line - 2]["site"] for line in lines} == {"A01"}
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.row, problem.column, problem.value) == (2, "contacts", "0")
    assert problem.code is Code.OUT_OF_RANGE


def test_bands_share_one_exposure(tiny):
    line = tiny.set(OUT, BAND, exposure="51")
    tiny.write()
    problems = tiny.problems()
    assert [problem.row for problem in problems] == [line - 1, line]
    assert [problem.value for problem in problems] == ["50", "51"]
    assert all(problem.column == "exposure" for problem in problems)
    assert {problem.code for problem in problems} == {Code.NOT_THE_SAME}


def test_a_band_without_a_row_is_not_zero(tiny):
    line = tiny.line(OUT, **BAND)
    del tiny.tables[OUT][line - 2]
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.row, problem.column) == (line - 1, "category")
    assert problem.value == "A02, 2014-02"
    assert problem.code is Code.MISSING_ROW
    assert "2 over 3 months" in problem.rule


def test_an_outcome_is_counted_or_continuous_not_both(tiny):
    where = {"outcome": "wellbeing", "month": "2014-03", "stratum": "m"}
    values = {"n": "", "mean": "", "sd": "", "count": "3", "exposure": "20"}
    counted = tiny.set(OUT, where, **values)
    values = {"n": "9", "mean": "2", "sd": "1", "count": "", "exposure": ""}
    continuous = tiny.set(OUT, CELL, **values)
    tiny.write()
    first, second = tiny.problems()
    assert (first.row, first.column, first.value) == (continuous, "mean", "2")
    assert (second.row, second.column, second.value) == (counted, "count", "3")
    assert first.code is second.code is Code.WRONG_KIND


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
    assert {problem.code for problem in problems} == {Code.NOT_EMPTY}


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
    assert problem.code is Code.OFF_GRID


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
    assert problem.code is Code.OFF_GRID


def latin(before: str, after: str):
    """Change a text and encode it as a spreadsheet of an older system does."""
    return lambda text: text.replace(before, after).encode("latin-1")


#: One changed file: name, file, change of its text to bytes, row, column, value, code.
FILES = [
    ("empty", OUT, lambda _: b"", 1, None, None, Code.EMPTY_FILE),
    ("blank lines", OUT, lambda _: b"\n\n,,\n", 1, None, None, Code.EMPTY_FILE),
    ("header only", OUT, lambda t: t.split("\n")[0].encode(), 1, None, None, Code.EMPTY_FILE),
    ("semicolons", REF, lambda t: t.replace(",", ";").encode(), 1, None,
     "site;month;referrals", Code.NOT_CSV),
    ("tabs", REF, lambda t: t.replace(",", "\t").encode(), 1, None,
     "site\tmonth\treferrals", Code.NOT_CSV),
    ("column missing", REF, lambda t: t.replace("referrals", "n", 1).encode(), 1, "referrals",
     None, Code.MISSING_COLUMN),
    ("column mistyped", REF, lambda t: t.replace("referrals", "Referals", 1).encode(), 1,
     "referrals", None, Code.MISSING_COLUMN),
    ("column twice", REF, lambda t: t.replace("\n", ",x\n").replace("s,x", "s,site", 1).encode(), 1,
     "site", "site", Code.REPEATED_COLUMN),
    ("column unnamed", REF, lambda t: t.replace("\n", ",\n").encode(), 1, "4", "",
     Code.UNNAMED_COLUMN),
    ("no measure", OUT, lambda t: t.replace("count,", "events,").replace(",mean,", ",mn,")
     .replace(",n,", ",k,").replace(",sd,", ",s,").encode(), 1, "count", None, Code.MISSING_COLUMN),
    ("row too long", REF, lambda t: t.replace("2014-03,12", "2014-03,1,200", 1).encode(), 4, None,
     "A01,2014-03,1,200", Code.RAGGED_ROW),
    ("row too short", REF, lambda t: t.replace("2014-03,12", "2014-03", 1).encode(), 4, None,
     "A01,2014-03", Code.RAGGED_ROW),
    ("Latin-1", "sites.csv", latin("Area A02", "Ar\u00e9a"), 3, None, "b'\\xe9'",
     Code.NOT_UTF8),
    ("UTF-16", REF, lambda t: t.encode("utf-16"), 1, None, "b'\\xff'", Code.NOT_UTF8),
    ("NUL", REF, lambda t: t.replace("12\n", "\x00\n", 1).encode(), 2, None, None, Code.NOT_CSV),
    ("open quote", REF, lambda t: t.replace("A01,2014-02", '"A01,2014-02').encode(), 3, None, None,
     Code.NOT_CSV),
    ("toml in Latin-1", "evaluation.toml", latin("Tiny", "T\u00edny"), 1, None, "b'\\xed'",
     Code.NOT_UTF8),
]  # fmt: skip


@pytest.mark.parametrize("case", FILES, ids=[case[0] for case in FILES])
def test_a_file_that_is_not_the_table_it_should_be(tiny, case):
    name, file, change, row, column, value, code = case
    tiny.keep(file)
    path = tiny.write() / file
    path.write_bytes(change(path.read_text(encoding="utf-8")))
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.column, problem.value) == (file, row, column, value)
    assert problem.code is code
    assert SUGGESTED.get(name, "") in problem.rule


@pytest.mark.parametrize("file", ["evaluation.toml", "sites.csv", OUT])
def test_a_needed_file_is_missing(tiny, file):
    (tiny.write() / file).unlink()
    (problem,) = tiny.problems()
    assert (problem.file, problem.row, problem.code) == (file, None, Code.MISSING_FILE)


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
    assert problem.code is Code.MISNAMED_FILE
    assert f"is it {file}?" in problem.rule


def test_a_directory_that_is_not_there(tmp_path):
    (tmp_path / "file").write_text("x")
    for name, code in (("nowhere", Code.MISSING_FILE), ("file", Code.UNREADABLE_FILE)):
        with pytest.raises(DataError) as caught:
            read_evaluation(tmp_path / name)
        (problem,) = caught.value.problems
        assert (problem.file, problem.code) == (str(tmp_path / name), code)


def test_a_file_that_may_not_be_read(tiny, monkeypatch):
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "mix.csv":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    tiny.write()
    monkeypatch.setattr(Path, "read_bytes", refuse)
    (problem,) = tiny.problems()
    assert (problem.file, problem.code) == (MIX, Code.UNREADABLE_FILE)


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
    assert text.splitlines()[1:] == [str(problem) for problem in problems]
    assert text.startswith("6 problems ")


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
        assert all(problem.rule and problem.code for problem in error.problems)
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
    assert {problem.code for problem in problems} == {Code.NOT_THE_SAME}


@pytest.mark.parametrize("value", ["0", "1.01", "-0.2", "most"])
def test_coverage_is_a_share(tiny, value):
    line = tiny.set(OUT, CELL, coverage=value)
    tiny.write()
    (problem,) = tiny.problems()
    assert (problem.row, problem.column, problem.value) == (line, "coverage", value)
    assert problem.code in (Code.OUT_OF_RANGE, Code.NOT_A_NUMBER)


def test_coverage_is_not_for_means(tiny):
    lines = [
        tiny.set(OUT, MEAN | {"month": "2014-02", "stratum": sex}, coverage="0.9") for sex in "fm"
    ]
    tiny.write()
    problems = tiny.problems()
    assert [(problem.row, problem.column) for problem in problems] == [
        (line, "coverage") for line in lines
    ]
    assert {problem.code for problem in problems} == {Code.NOT_EMPTY}


#: What a label is written as beside `A02`, and what is said of it.
ALIKE = [
    ("A02\u200b", Code.UNSEEN_CHARACTER),  # a space of no width
    ("A\u00a002", Code.UNSEEN_CHARACTER),  # that does not break
    ("A0\u00ad2", Code.UNSEEN_CHARACTER),  # a hyphen that is not shown
    ("\u202eA02", Code.UNSEEN_CHARACTER),  # right to left
    ("\uff2102", Code.LOOKS_ALIKE),  # in full width
    ("\u041002", Code.LOOKS_ALIKE),  # Cyrillic
    ("\u039102", Code.LOOKS_ALIKE),  # Greek
]


@pytest.mark.parametrize(("written", "code"), ALIKE, ids=[ascii(w) for w, _ in ALIKE])
def test_a_site_that_looks_like_another_is_refused(tiny, written, code):
    row = ",".join([written, "Area", "North", "1", "", "", ""])
    tiny.text("sites.csv", lambda text: f"{text}{row}\n")
    found = [problem for problem in tiny.problems() if problem.column == "site"]
    assert found
    assert {(problem.file, problem.row) for problem in found} == {("sites.csv", 8)}
    assert found[0].code is code


def test_bands_and_interventions_that_look_alike_are_refused_and_labels_may_be_anything(tiny):
    first = {"site": "A02"}
    line = tiny.set(MIX, first, intervention="\u0430ssessment")
    band = tiny.set(OUT, BAND, category="2  over 3 months")
    tiny.set("sites.csv", FIRST, label="Area\u200bA01")
    tiny.write()
    found = {(p.file, p.row, p.column) for p in tiny.problems() if p.code is Code.LOOKS_ALIKE}
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
    assert problem.code is Code.OUT_OF_RANGE


def test_names_that_look_the_same_are_told_by_what_cannot_be_seen():
    told = hint("Caf\u00e9", ["Cafe\u0301"])
    assert "Cafe\\u0301" in told
    assert "Caf\\xe9" in told
    assert hint("Caff", ["Caf\u00e9"]) == " (did you mean 'Caf\u00e9'?)"
