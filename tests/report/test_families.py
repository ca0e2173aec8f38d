"""A run of several outcomes, each with a link of its own, one of them selected."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import docx
import numpy as np
import openpyxl
import pandas as pd
import pytest

from lndbayes.report import write_report
from lndbayes.report.answer import effect_sentence
from lndbayes.report.figures.baseline import baseline_panels
from lndbayes.report.figures.pieces import before_after_steps
from lndbayes.report.figures.together import overview_intervals
from lndbayes.report.further import backtest_section, before_after_section
from lndbayes.report.page import compose
from lndbayes.report.run import Run, read_run

MakeRun = Callable[..., Path]
OUTCOMES = ("custody", "ae_attendances", "court_duration", "wellbeing")
OPTIONS = {
    "n_sites": 9,
    "outcomes": OUTCOMES,
    "links": ("logit", "log", "cloglog", "logit"),
    "selected": ("wellbeing",),
}
TOGETHER = ("overview.csv", "before_after.csv", "bounds.csv")
FURTHER = ("data_quality", "joint_correlation", "backtest_summary", "powerscale", "tipping")


@pytest.fixture(scope="module")
def run_path(fake_run: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = fake_run.write_fake_run(tmp_path_factory.mktemp("families") / "run", **OPTIONS)
    fake_run.write_further_tables(path)
    write_report(path)
    return path


@pytest.fixture(scope="module")
def run(run_path: Path) -> Run:
    return read_run(run_path)


@pytest.fixture(scope="module")
def text(run_path: Path) -> str:
    page = (run_path / "report.html").read_text(encoding="utf-8")
    page = re.sub(r"<style>.*?</style>|src=\"[^\"]*\"", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def test_each_outcome_speaks_in_the_units_of_its_link(run: Run) -> None:
    sentences = [effect_sentence(run, o) for o in OUTCOMES[:3]]
    for sentence, name in zip(sentences, ("odds", "rate", "hazard"), strict=True):
        assert f"the pooled {name} ratio is 0.7" in sentence
    assert "per 100 person-months" in sentences[1]
    assert "percentage points" in sentences[0]
    captions = {s.id: s.parts[1].blocks[1].caption for s in compose(run).sections if s.parts}
    assert "(events per 100 person-months)" in captions["outcome-ae_attendances"]
    assert "per 100" not in captions["outcome-court_duration"]


def test_a_selected_outcome_has_no_number_of_an_effect_even_if_the_files_hold_one(
    fake_run: ModuleType, tmp_path: Path
) -> None:
    path = fake_run.write_fake_run(tmp_path / "run", **OPTIONS)
    for name in ("effects", "sensitivity", "before_after"):
        frame = pd.read_csv(path / f"{name}.csv", keep_default_na=False).astype(object)
        chosen = frame["outcome"] == "wellbeing"
        assert chosen.any()
        frame.loc[chosen, ["mean", "sd", "lower", "median", "upper"]] = 7.77
        frame.to_csv(path / f"{name}.csv", index=False)
    run = read_run(path)
    assert effect_sentence(run, "wellbeing").startswith("No effect on Wellbeing is reported")
    sections = {s.id: s for s in compose(run).sections}
    assert [p.id for p in sections["outcome-wellbeing"].parts] == [
        "effects-wellbeing",
        "baseline-wellbeing",
    ]
    assert "7.77" not in str([s for s in sections.values() if s.id != "provenance"])
    assert "measured only among people in treatment" in str(sections["outcome-wellbeing"])
    row = next(
        r
        for b in sections["together"].blocks
        if b.kind == "table"
        for r in b.groups[0].rows
        if r[0] == "Wellbeing"
    )
    assert row[1] == "not identified"
    assert not any(c.isdigit() for c in row[3])


def test_every_further_table_has_its_section_and_may_be_absent(
    run: Run, run_path: Path, text: str, fake_run: ModuleType, tmp_path: Path
) -> None:
    ids = {s.id for s in compose(run).sections}
    wanted = {"together", "course", "before-after", "bounds", "data-quality", "joint"}
    assert wanted | {"backtest", "powerscale", "tipping"} <= ids
    assert "Custody and Hearings" in text.replace("hearings", "Hearings")
    bare = fake_run.write_fake_run(tmp_path / "run", **OPTIONS)
    for name in TOGETHER:
        (bare / name).unlink()
    page = write_report(bare).read_text(encoding="utf-8")
    for name in (*TOGETHER, *(f"{n}.csv" for n in FURTHER)):
        assert f"{name} is not in the run directory" in page
    assert not {"data-quality", "joint", "backtest", "powerscale"} & set(
        re.findall(r'<section id="([^"]+)"', page)
    )
    assert "outcome-wellbeing" in page


def test_the_backtest_shows_all_waves_together(run: Run) -> None:
    section = backtest_section(run)
    assert section is not None
    assert section.blocks[1].groups[0].rows == (
        ("model (all)", "90", "52%", "88%", "90%", "\N{MINUS SIGN}2.0%"),
    )


def test_the_steps_of_a_before_after_add_up(run: Run) -> None:
    assert run.before_after is not None
    assert "wellbeing" not in set(run.before_after["outcome"])
    figure = before_after_steps(run.before_after, {"custody": "Custodial sentence"})
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert panels[0].get_title(loc="left") == "Custodial sentence"
    assert len(panels) == 3
    for ax in panels:
        bars = [(b.get_x(), b.get_width()) for b in ax.patches]
        ends = [x + w for x, w in bars]
        assert [x for x, _ in bars] == pytest.approx([0.0, ends[0], ends[1], 0.0])
        assert ends[2] == pytest.approx(ends[3], abs=1e-9)
    assert [b.kind for b in before_after_section(run).blocks] == ["paragraph", "picture", "table"]


def test_the_overview_shades_margins_and_marks_claims() -> None:
    """Only in rows with numbers; where every fall is within the margin, to the end of the axis."""
    rows = pd.DataFrame(
        {
            "label": ["a", "b", "c"],
            "median": [0.8, math.nan, 0.7],
            "lower": [0.7, math.nan, 0.5],
            "upper": [0.9, math.nan, 0.95],
            "margin_low": [0.9, math.nan, math.nan],
            "margin_high": [1.1, math.nan, 1.05],
            "verdict": ["lowers, by less than the margin", "not identified", "a check fails"],
            **{f"tier_{t}": [1.0, 0.0, 0.0] for t in "abcd"},
        }
    )
    ax = overview_intervals(rows).axes[0]
    low = ax.get_xlim()[0]
    assert low == pytest.approx(0.5 * 0.97)
    shaded = [(p.get_y() + 0.5, p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]
    assert shaded == [pytest.approx((0, 0.9, 1.1)), pytest.approx((2, low, 1.05))]
    assert [t.get_text() for t in ax.texts] == [
        "lowers, by less than the margin\n[1A 1B 1C 1D]",
        "not identified\n[]",
        "a check fails\n[]",
    ]
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == "white" for line in marks] == [False, True]


def test_baseline_panels_lie_apart_and_print_rates_in_their_unit() -> None:
    months = [str(m) for m in pd.period_range("2014-01", periods=24, freq="M")]
    sites = ["a", "b", "c", "d", "e"]
    frame = pd.DataFrame({"site": np.repeat(sites, 24), "month": months * 5, "observed": 0.04})
    frame = frame.assign(mean=0.04, lower=0.03, upper=0.05)
    start = dict.fromkeys(sites, 12.0)
    figure = baseline_panels(frame, sites, {}, start, pd.DataFrame(), share=False, per=100.0)
    ax = figure.axes[0]
    labels = {t.get_text() for t in ax.texts if re.fullmatch(r"[\d.]+", t.get_text())}
    assert {"0", "2", "4"} <= labels
    assert not [t for t in ax.texts if "%" in t.get_text()]
    bands = [c.get_paths()[0].get_extents() for c in ax.collections if c.get_zorder() == 1]
    assert len(bands) == 5
    assert len({(round(b.x0, 6), round(b.y0, 6)) for b in bands}) == 5
    for i, one in enumerate(bands):
        assert one.height == pytest.approx(0.02)
        assert not any(one.overlaps(other) for other in bands[i + 1 :])


def test_document_and_workbook_have_the_new_sections_and_tables(run_path: Path, run: Run) -> None:
    word = docx.Document(str(run_path / "report.docx"))
    heads = [p.text for p in word.paragraphs if p.style.name == "Heading 2"]
    number = [s.id for s in compose(run).sections].index("outcome-custody") + 1
    assert [h for h in heads if h.startswith(f"{number}.")] == [
        f"{number}.1 Effects",
        f"{number}.2 Baseline",
        f"{number}.3 What the baseline rests on",
        f"{number}.4 Mix of interventions",
    ]
    names = openpyxl.load_workbook(run_path / "tables.xlsx", read_only=True).sheetnames
    for name in (*FURTHER, "overview", "before_after", "bounds"):
        assert name.capitalize() in names
